"""tenon inspect --state, --kind, --port, --peer, --process, --summary, --kill: which sockets are meant."""
import json
import socket

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
    (["--peer", "localhost"], "neither an IP address nor a network"),
    (["--peer", ""], "neither an IP address nor a network"),
    (["--peer", "1" * 99], "neither an IP address nor a network"),
    (["--peer", "127.0.0.0/33"], "from 0 to 32"),
    (["--peer", "127.0.0.0/"], "from 0 to 32"),
    (["--peer", "::/129"], "from 0 to 128"),
])
def test_filters_asked_for_wrongly(tenon, args, why):
    assert why in tenon.run("inspect", *args, status=USAGE).err


@pytest.mark.parametrize("served, dialled, inside, outside", [
    ("tcp4://127.0.0.1:0", "127.0.0.1", ["127.0.0.1", "127.0.0.0/8", "126.0.0.0/7", "0.0.0.0/0", "::/0"],
     ["127.0.0.2", "128.0.0.0/1", "127.0.0.128/25", "::1", "2000::/3"]),
    ("tcp6://[::1]:0", "::1", ["::1", "::1/128", "::/127", "::/0"], ["::2", "127.0.0.1", "0.0.0.0/0", "8000::/1"]),
    ("tcp6://[::]:0?v6only=off", "127.0.0.1", ["127.0.0.1", "127.0.0.0/9", "::ffff:127.0.0.1"], ["127.128.0.0/9"])])
def test_peers_of_a_network(tenon, served, dialled, inside, outside):
    server = tenon.serve(served)
    with socket.create_connection((dialled, server.port)) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        for net in inside:
            assert [sock["state"] for sock in look(tenon, server.pid, "--peer", net)] == ["established"], net
        for net in outside:
            assert "--peer" in tenon.run("inspect", server.pid, "--peer", net, status=FAILED).err, net


def summary(tenon, *args):
    return json.loads(tenon.run("inspect", "--summary", "--json", *args).out)


def test_summary_counts_kinds_and_states(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", "udp://127.0.0.1:0")
    clients = [tenon.dial(server.urls[0]) for _ in range(3)]
    for client in clients:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    got = summary(tenon, server.pid)
    assert got["kinds"]["tcp"] == {"established": 3, "listening": 1} and got["kinds"]["udp"] == {"bound": 1}
    assert got["total"] == sum(sum(states.values()) for states in got["kinds"].values())
    assert summary(tenon, server.pid, "--kind", "udp") == {"total": 1, "kinds": {"udp": {"bound": 1}}}
    head, *lines, total = tenon.run("inspect", "--summary", "--kind", "tcp", server.pid).lines
    assert head.split() == ["KIND", "STATE", "SOCKETS"] and total.split() == ["total", "4"]
    assert [line.split() for line in lines] == [["tcp", "established", "3"], ["tcp", "listening", "1"]]


def test_summary_counts_what_is_dying(tenon, network):
    """Whoever counts wants connections that no process holds any more; so does who asks for their state."""
    listener = network.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    with network.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.connect(listener.getsockname())
        server, _ = listener.accept()
    assert server.recv(1) == b""
    server.close()
    done = tenon.run("inspect", "--summary", "--json", preexec_fn=network.enter)
    assert json.loads(done.out)["kinds"]["tcp"] == {"listening": 1, "time-wait": 1}
    line, = tenon.run("inspect", "--json", "--state", "time-wait", preexec_fn=network.enter).lines
    assert json.loads(line)["local"] and listener.fileno() >= 0
    listener.close()
