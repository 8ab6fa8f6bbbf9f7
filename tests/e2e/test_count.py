"""tenon serve --handler count: how much has come, as a line and as an event; nobody is answered."""
import pathlib
import re
import socket

import pytest

from harness import MIB, noise, wait_until

COUNT = ["--handler", "count"]


def test_count_of_a_stream(tenon):
    """The client hears nothing but the end; pieces are no messages."""
    server = tenon.serve("tcp://127.0.0.1:0", options=[*COUNT, "--json"])
    assert tenon.run("connect", server.url, input=noise(3 * MIB + 1)).out == b""
    event = server.wait_for_event("count")
    assert (event["bytes"], event["messages"], event["lost"]) == (3 * MIB + 1, None, 0)
    assert (event["bytes_per_second"] > 0) == (event["ms"] > 0)
    assert event["id"] == server.wait_for_event("close")["id"]
    assert event["peer"] == server.wait_for_event("open")["peer"] and event["url"] == server.url


def test_count_of_nothing(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=[*COUNT, "--json"])
    tenon.dial(server.url).close()
    event = server.wait_for_event("count")
    assert (event["bytes"], event["ms"], event["bytes_per_second"]) == (0, 0, 0)


@pytest.mark.parametrize("options", [[], ["-v"]])
def test_count_of_messages_for_people(tenon, options):
    """Two connections, each with its own line; -v is not needed."""
    server = tenon.serve("tcp://127.0.0.1:0?frame=u16", options=[*COUNT, *options])
    for n in (1, 20):
        tenon.run("send", "--no-reply", "--count", n, f"{server.url}?frame=u16", "hello")
    for n in (1, 20):
        server.wait_for_text(rf"^count #\d+ tcp://127.0.0.1:\d+: {n} messages, {5 * n} bytes in [\d.]+ s, .+/s$", "out")


def test_count_before_a_message_that_is_not_whole(tenon):
    """It does not count; what came before it does."""
    server = tenon.serve("tcp://127.0.0.1:0?frame=u8", options=[*COUNT, "--json"])
    client = tenon.dial(server.url.split("?")[0])
    client.sendall(b"\x03one\x03two\x09not whole"[:-3])
    client.shutdown(socket.SHUT_WR)
    event = server.wait_for_event("count")
    assert (event["messages"], event["bytes"]) == (2, 6)
    assert server.wait_for_event("close")["reason"] != "end"


def waiting_bytes(port):
    """What lies in the receive queue of a UDP socket on 127.0.0.1."""
    lines = pathlib.Path("/proc/net/udp").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[4].split(":")[1], 16) for line in lines if f" 0100007F:{port:04X} " in line)


@pytest.mark.parametrize("option", ["--json", "-v"])
def test_count_of_datagrams(tenon, option):
    """Of two senders together, when the server ends."""
    server = tenon.serve("udp://127.0.0.1:0", options=[*COUNT, option, "--threads", "1"])
    for _ in range(2):
        client = tenon.dial(server.url)
        for _ in range(5):
            client.send(b"1234567")
    wait_until(lambda: waiting_bytes(server.port) == 0, "the datagrams have been read")
    server.stop()
    if option == "--json":
        event = server.wait_for_event("count")
        assert (event["peer"], event["messages"], event["bytes"], event["lost"]) == (None, 10, 70, 0)
    else:
        line = rf"^count #\d+ {re.escape(server.url)}: 10 messages, 70 bytes in [\d.]+ s, .+/s, 0 lost$"
        assert re.search(line, server.out.decode(), re.M), server.out
