"""tenon ping tcp://HOST:20-25,80: which ports are open."""
import json
import re
import signal
import socket

import pytest

FAILED, USAGE = 1, 2


def check(tenon, url, *options, status=0):
    events = [json.loads(line) for line in tenon.run("ping", "--json", *options, url, status=status).lines]
    assert [event["event"] for event in events[:-1]] == ["port"] * (len(events) - 1)
    return {event["port"]: event["state"] for event in events[:-1]}, events[-1]


@pytest.fixture
def full(tenon):
    """A port whose queue is full: nobody answers who knocks there, as behind a packet filter."""
    sock = tenon.listen(backlog=0)
    for _ in range(4):
        one = tenon.cleanups.enter_context(socket.socket())
        one.setblocking(False)
        one.connect_ex(sock.getsockname())
    return sock.getsockname()[1]


def test_open_refused_and_filtered(tenon, full):
    taken = tenon.listen()
    port = taken.getsockname()[1]
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))  # and nobody listens
    shut = closed.getsockname()[1]
    found, summary = check(tenon, f"tcp://127.0.0.1:{port},{shut},{full},{port}", "--timeout", "500ms")
    assert found == {port: "open", shut: "refused", full: "filtered"} and list(found) == sorted(found)
    assert [summary[key] for key in ("ports", "open", "refused", "filtered", "failed", "left")] == [3, 1, 1, 1, 0, 0]
    said = tenon.run("ping", f"tcp://127.0.0.1:{port},{shut},{full}", "--timeout", "100ms").lines[-1]
    assert said == "3 ports: 1 open, 1 refused, 1 filtered"
    closed.close()


def test_what_is_left_out_is_told(tenon, full):
    below = next(port for port in (tenon.listen().getsockname()[1] for _ in range(1000)) if port < full)
    scan = tenon.start("ping", "-v", f"tcp://127.0.0.1:{full},{below}", "--timeout", "1h")  # told in their order
    scan.wait_for_text(" open", "out")
    scan.signal(signal.SIGINT)
    scan.wait(None)
    assert scan.lines[-1] == "2 ports: 1 open, 0 refused, 0 filtered, 1 left out"


def test_the_same_as_nc_finds(tenon, program):
    program("nc")
    port = tenon.listen().getsockname()[1]
    low, high = max(port - 20, 1), min(port + 20, 65535)
    theirs = {int(found) for found in
              re.findall(r" (\d+) port .*succeeded", tenon.finish(["nc", "-nzv", "127.0.0.1", f"{low}-{high}"]).err)}
    found, _ = check(tenon, f"tcp://127.0.0.1:{low}-{high}")
    ours = {number for number, state in found.items() if state == "open"}
    assert port in theirs & ours and sorted(found) == list(range(low, high + 1))


def test_more_ports_than_are_asked_at_a_time(tenon):
    port = tenon.listen().getsockname()[1]
    low = max(1, port - 1500)
    result = tenon.run("ping", f"tcp://127.0.0.1:{low}-{low + 1999}")
    assert len(result.lines) == 2001 and f"tcp://127.0.0.1:{port} open" in result.text
    assert result.lines[-1].startswith("2000 ports: ")


def test_tls_is_open_behind_its_handshake(tenon, authority, trusted):
    secured = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}")
    plain = tenon.serve("tcp://127.0.0.1:0")
    ports = [server.url.partition("?")[0].rpartition(":")[2] for server in (secured, plain)]
    result = tenon.run("ping", "--json", f"tls://127.0.0.1:{','.join(ports)}?{trusted}&handshake=2s")
    events = {event.get("port"): event for event in map(json.loads, result.lines)}
    assert events[int(ports[0])]["state"] == "open" and events[int(ports[1])]["state"] == "failed"
    assert events[int(ports[1])]["error"]


def test_a_handshake_that_nobody_answers(tenon):
    """It took key handshake's ten seconds, whatever --timeout said, and was told as filtered."""
    port = tenon.listen().getsockname()[1]
    for scheme in ("tls", "ws"):
        result = tenon.run("ping", "--json", "--timeout", "200ms", f"{scheme}://127.0.0.1:{port},1", status=FAILED)
        events = {event.get("port"): event for event in map(json.loads, result.lines)}
        assert events[port]["state"] == "failed" and "handshake" in events[port]["error"]
        assert events[port]["took_ns"] < 9e9


def test_no_port_is_open(tenon):
    found, _ = check(tenon, "tcp://127.0.0.1:1-3", status=FAILED)
    assert set(found.values()) == {"refused"}


@pytest.mark.parametrize("args,why", [
    (["tcp://127.0.0.1:5-2"], "ports are numbers"),
    (["tcp://127.0.0.1:0-2"], "ports are numbers"),
    (["tcp://127.0.0.1:1,65536"], "ports are numbers"),
    (["tcp://127.0.0.1:1,,2"], "ports are numbers"),
    (["tcp://127.0.0.1:1-"], "ports are numbers"),
    (["tcp://127.0.0.1:80,"], "'80,': ports are numbers"),
    (["--interval", "2s", "tcp://127.0.0.1:1-3"], "asked once"),
    (["--deadline", "2s", "tcp://127.0.0.1:1-3"], "asked once"),
    (["udp://127.0.0.1:1-3"], "nobody answers a datagram"),
    (["--count", "2", "tcp://127.0.0.1:1-3"], "asked once"),
    (["tcp://127.0.0.1:1-3?nodely=on"], "nodelay"),
])
def test_ports_asked_for_wrongly(tenon, args, why):
    assert why in tenon.run("ping", *args, status=USAGE).err
