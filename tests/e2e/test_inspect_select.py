"""tenon inspect --state, --kind, --port, --process: which sockets are shown."""
import json

import pytest

FAILED, USAGE = 1, 2


def look(tenon, *args):
    return [json.loads(line) for line in tenon.run("inspect", "--json", *args, status=None).lines]


def test_each_filter_and_all_of_them(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", "udp://127.0.0.1:0")
    client = tenon.dial(server.urls[0])
    client.sendall(b"x")
    assert client.recv(1) == b"x"
    pid, port = server.pid, server.port
    assert {sock["kind"] for sock in look(tenon, pid, "--kind", "udp")} == {"udp"}
    assert [sock["state"] for sock in look(tenon, pid, "--state", "listen")] == ["listening"]
    assert [sock["state"] for sock in look(tenon, pid, "--kind", "tcp", "--state", "ESTAB")] == ["established"]
    assert sorted(sock["state"] for sock in look(tenon, pid, "--port", port)) == ["established", "listening"]
    assert [sock["state"] for sock in look(tenon, "--port", port, "--process", "tenon", "--state", "listening")] == [
        "listening"]


def test_no_socket_is_so(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    result = tenon.run("inspect", server.pid, "--kind", "tcp", "--state", "syn-sent", status=FAILED)
    assert "no socket is as" in result.err and result.out == b""


@pytest.mark.parametrize("args,why", [
    (["--state", "listning"], "is no state; there are"),
    (["--state", ""], "--state"),
    (["--port", "0"], "no port from 1"),
    (["--port", "65536"], "no port from 1"),
])
def test_filters_asked_for_wrongly(tenon, args, why):
    assert why in tenon.run("inspect", *args, status=USAGE).err
