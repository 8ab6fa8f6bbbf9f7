"""What a running server tells over HTTP: to curl, to Prometheus' own parsers, to a browser."""
import asyncio
import contextlib
import fcntl
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import termios
import threading
import urllib.request

import pytest

from harness import (KIB, LIMIT, OPTIONS, SANITIZED, Server, free_port, port_of, receive_exactly, receive_to_end,
                     wait_until)

USAGE = 2


class Admin:
    def __init__(self, port):
        self.port = port

    def get(self, path, method="GET", **headers):
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)
        with contextlib.closing(client):
            client.request(method, path, headers=headers)
            answer = client.getresponse()
            return answer.status, answer.read().decode(), answer.headers

    def json(self, path):
        status, text, _ = self.get(path)
        assert status == 200
        return json.loads(text)

    def values(self):
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
                for line in self.get("/metrics")[1].splitlines() if not line.startswith("#")}

    def raw(self, request):
        with socket.create_connection(("127.0.0.1", self.port), LIMIT) as sock:
            sock.sendall(request)
            sock.shutdown(socket.SHUT_WR)
            return receive_to_end(sock)


def serve(tenon, *urls, options=()):
    port = free_port()
    server = tenon.serve(*urls, options=[*options, "--admin", f"http://127.0.0.1:{port}"])
    admin = Admin(port)
    wait_until(lambda: admin.get("/readyz")[0] == 200, "it is ready")
    return server, admin


def events_of(sock):
    """Events of /events, as (name, object)."""
    with sock.makefile("rb") as stream:
        assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
        while stream.readline() != b"\r\n":
            pass
        name = "message"
        for line in stream:
            if line.startswith(b"event: "):
                name = line[7:-1].decode()
            elif line.startswith(b"data: "):
                yield name, json.loads(line[6:])
                name = "message"


def listen(admin):
    sock = socket.create_connection(("127.0.0.1", admin.port), LIMIT)
    sock.settimeout(LIMIT)
    sock.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return sock


@pytest.mark.parametrize("threads", ["1", "3"])
def test_numbers_are_those_of_the_clients(tenon, threads):
    server, admin = serve(tenon, "tcp://127.0.0.1:0?frame=line", "udp://127.0.0.1:0", options=["--threads", threads])
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port), LIMIT)) for _ in range(20)]
        for number, sock in enumerate(socks):
            sock.sendall(b"hello\n" * (number + 1))
            while sock.recv(1000)[-1:] != b"\n":
                pass
        tenon.run("send", server.urls[1], "abc", status=0)
        wait_until(lambda: admin.values()['tenon_sent_messages_total{server="0"}'] == 210, "all were answered")
        values = admin.values()
        assert values['tenon_connections{server="0"}'] == 20
        assert values['tenon_received_messages_total{server="0"}'] == 210
        assert values['tenon_received_bytes_total{server="0"}'] == 6 * 210
        assert values['tenon_received_messages_total{server="1"}'] == 1
        assert values["tenon_loops"] == int(threads)
        listed = [c for c in admin.json("/connections")["connections"] if c["server"] == 0]
        assert sorted(c["peer"] for c in listed) == sorted("tcp://{}:{}".format(*s.getsockname()) for s in socks)
        assert sorted(c["bytes_in"] for c in listed) == [6 * (n + 1) for n in range(20)]
        assert all(c["rtt_us"] > 0 and c["queued"] == 0 for c in listed)
        status = admin.json("/status")
        assert status["state"] == "ready" and status["pid"] == server.pid and status["loops"] == int(threads)
        assert [s["open"] for s in status["servers"]][0] == 20 and status["servers"][0]["url"] == server.url
    wait_until(lambda: admin.values()['tenon_closed_connections_total{server="0"}'] == 20, "all have closed")
    assert admin.values()['tenon_connection_duration_seconds_count{server="0"}'] == 20
    assert admin.values()['tenon_connection_size_bytes_sum{server="0"}'] == 2 * 6 * 210
    assert {c["server"] for c in admin.json("/connections")["connections"]} == {1}


def check_metrics(tenon, promtool, text):
    assert tenon.finish([promtool, "check", "metrics"], stdin=tenon.opened(
        tenon.file("metrics", text.encode()))).out == b""


def test_what_prometheus_reads(tenon, program):
    _, admin = serve(tenon, "tcp://127.0.0.1:0", "udp://127.0.0.1:0")
    status, text, headers = admin.get("/metrics")
    assert status == 200 and headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
    status, opened, headers = admin.get("/metrics", Accept=accept)
    assert headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    parser = pytest.importorskip("prometheus_client.parser")
    openmetrics = pytest.importorskip("prometheus_client.openmetrics.parser")
    families = {family.name: family for family in parser.text_string_to_metric_families(text)}
    strict = {family.name: family for family in openmetrics.text_string_to_metric_families(opened)}
    assert set(families) == set(strict) and len(strict) > 20
    assert all(family.type != "unknown" and family.documentation for family in strict.values())
    assert strict["tenon_received_bytes"].type == "counter"
    check_metrics(tenon, program("promtool"), text)


def test_events_come_as_they_do_with_json(tenon):
    server, admin = serve(tenon, "tcp://127.0.0.1:0?frame=line", options=["--threads", "2"])
    with listen(admin) as sock:
        events = events_of(sock)
        name, first = next(events)
        assert name == "status" and first["state"] == "ready"
        tenon.run("send", server.url + "?frame=line", "hello", status=0)
        seen = {}
        while len(seen) < 2:
            name, event = next(events)
            if name == "message":
                seen[event["event"]] = event
        assert seen["open"]["id"] == seen["close"]["id"] and seen["close"]["bytes_in"] == 6
        assert seen["close"]["reason"] == "end"
        while name != "status":
            name, event = next(events)
        assert event["servers"][0]["accepted"] == 1 and event["uptime_ms"] > first["uptime_ms"]
    assert not [line for line in server.lines if line.startswith("{")]


def test_a_slow_reader_is_cut_and_the_others_notice_nothing(tenon):
    server, admin = serve(tenon, "tcp://127.0.0.1:0?frame=line")
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect(("127.0.0.1", admin.port))
    slow.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    with slow, listen(admin) as sock:
        events = events_of(sock)
        next(events)
        sent = 0
        while not admin.values()["tenon_admin_slow_readers_total"]:
            for _ in range(200):
                with socket.create_connection(("127.0.0.1", server.port), LIMIT) as client:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sent += 1
            assert sent < 200000
            opened = 0
            while opened < 200:
                opened += next(events)[1].get("event") == "open"
        assert admin.values()["tenon_admin_slow_readers_total"] == 1
        assert admin.get("/healthz")[0] == 200


def test_a_thousand_readers(tenon):
    """More than may come are refused in words, and those that are there go on."""
    server, admin = serve(tenon, "tcp://127.0.0.1:0?frame=line")
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(listen(admin)) for _ in range(300)]
        firsts = [sock.recv(12) for sock in socks]
        assert firsts.count(b"HTTP/1.1 200") == 256 and firsts.count(b"HTTP/1.1 503") == 44
        tenon.run("send", server.url + "?frame=line", "hello", status=0)
        for sock in [s for s, first in zip(socks, firsts) if first == b"HTTP/1.1 200"][::50]:
            text = b""
            while b'"event":"close"' not in text:
                text += sock.recv(65536)
    wait_until(lambda: admin.get("/healthz")[0] == 200, "there is room again")


@pytest.mark.parametrize("request_,status", [
    (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", 405),
    (b"DELETE /connections HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    (b"GET /secret HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    (b"GET /metrics HTTP/1.1\r\nHost: rebound.example\r\n\r\n", 421),
    (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n\r\n", 403),
    (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\n\r\n", 403),
    (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 9000 + b"\r\n\r\n", 431),
    (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n", 413),
    (b"\x16\x03\x01", 400),
])
def test_who_may_not(tenon, request_, status):
    _, admin = serve(tenon, "tcp://127.0.0.1:0")
    assert admin.raw(request_).startswith(b"HTTP/1.1 %d " % status)
    assert admin.get("/healthz")[0] == 200


def test_head_and_many_requests_in_a_row(tenon):
    _, admin = serve(tenon, "tcp://127.0.0.1:0")
    out = admin.raw(b"HEAD /connections HTTP/1.1\r\nHost: localhost\r\n\r\n"
                    b"GET /connections HTTP/1.1\r\nHost: localhost\r\n\r\n"
                    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert out.count(b"HTTP/1.1 200 OK") == 3 and out.endswith(b"\r\n\r\nok\n")
    assert out.count(b'{"connections":[') == 1


def test_head_of_what_never_ends(tenon):
    _, admin = serve(tenon, "tcp://127.0.0.1:0")
    out = admin.raw(b"HEAD /events HTTP/1.1\r\nHost: localhost\r\n\r\n"
                    b"HEAD /events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    heads = out.split(b"\r\n\r\n")
    assert len(heads) == 3 and heads[2] == b""
    for head in heads[:2]:
        assert head.startswith(b"HTTP/1.1 200 OK\r\n") and b"\r\nContent-Type: text/event-stream" in head
        assert b"Content-Length" not in head
    assert b"Connection: close" not in heads[0] and b"Connection: close" in heads[1]


def test_many_servers(tenon):
    """However many there are, each is told of."""
    server, admin = serve(tenon, *[f"unix:{tenon.folder}/{number}" for number in range(300)],
                          options=["--no-sandbox"])
    assert tenon.run("send", server.urls[-1], "hello").out == b"hello\n"
    servers = admin.json("/status")["servers"]
    assert len(servers) == 300 and servers[299]["accepted"] == 1
    assert admin.values()['tenon_accepted_connections_total{server="299"}'] == 1


@pytest.mark.parametrize("request_,status", [
    (b"GET /healthz HTTP/1.0\r\n\r\n", 200),  # as balancers ask that know no name
    (b"GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
    (b"GET http://localhost?x HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    (b"GET /healthz?a=http://b/c HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
    (b"GET http://localhost/healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
])
def test_requests_of_other_forms(tenon, request_, status):
    _, admin = serve(tenon, "tcp://127.0.0.1:0")
    assert admin.raw(request_).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize("threads", ["1", "2"])
def test_it_says_that_it_drains(tenon, threads):
    """And how far it is."""
    server, admin = serve(tenon, "tcp://127.0.0.1:0?frame=line", "udp://127.0.0.1:0",
                          options=["--drain", "30s", "--threads", threads])
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port), LIMIT)) for _ in range(3)]
        for sock in socks:
            sock.sendall(b"half a line")
        wait_until(lambda: admin.values()['tenon_received_bytes_total{server="0"}'] == 33, "it was read")
        server.signal(signal.SIGTERM)
        wait_until(lambda: admin.get("/readyz")[:2] == (503, "draining\n"), "it drains")
        assert admin.get("/healthz")[0] == 200 and admin.json("/status")["state"] == "draining"

        def left_over():
            return {port_of(conn["peer"]) for conn in admin.json("/connections")["connections"]
                    if conn["server"] == 0}
        assert left_over() == {sock.getsockname()[1] for sock in socks}
        for left in (2, 1):
            socks[left].sendall(b"\n")
            assert receive_to_end(socks[left]) == b"half a line\n"
            wait_until(lambda left=left: admin.values()['tenon_connections{server="0"}'] == left, "one is left less")
            assert left_over() == {sock.getsockname()[1] for sock in socks[:left]}
        wait_until(lambda: [s["over"] for s in admin.json("/status")["servers"]] == [False, True], "one has ended")
        assert [s["open"] for s in admin.json("/status")["servers"]] == [1, 0]
        assert admin.values()['tenon_sent_bytes_total{server="0"}'] == 24
        socks[0].sendall(b"\n")
        assert receive_to_end(socks[0]) == b"half a line\n"
    server.wait(0)


def test_the_manual_names_all_metrics():
    root = pathlib.Path(__file__).parents[2]
    named = set(re.findall(r"\btenon_[a-z_]+", (root / "docs/man/tenon-events.7").read_text(encoding="utf-8")))
    made = {name for source in (root / "cmd").rglob("*.c")
            for name in re.findall(r'"(tenon_[a-z_]+)["{ ]', source.read_text(encoding="utf-8"))}
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in made} == named


def test_targets_of_a_relay(tenon):
    target = tenon.serve("tcp://127.0.0.1:0?frame=line")
    port, dead = free_port(), free_port()
    relay = tenon.relay("tcp://127.0.0.1:0", target.url, f"tcp://127.0.0.1:{dead}",
                        options=["--admin", f"http://127.0.0.1:{port}"])
    admin = Admin(port)
    for _ in range(2):
        tenon.run("send", relay.url + "?frame=line", "hello", status=0)
    targets = admin.json("/status")["targets"]
    assert [t["alive"] for t in targets] == [True, False] and targets[1]["failures"] == 1
    assert admin.values()['tenon_target_up{target="1"}'] == 0


def check_even(admin, total, loops, what=lambda conn: 1):
    """Each loop has its share, within a tenth. Returns what is listed."""
    def listed():
        return [conn for conn in admin.json("/connections")["connections"] if conn["server"] == 0]
    wait_until(lambda: sum(map(what, listed())) == total, "all are there")
    shares = [sum(what(conn) for conn in listed() if conn["loop"] == loop) for loop in range(loops)]
    assert all(abs(share - total / loops) <= total / loops / 10 for share in shares), shares
    return listed()


@pytest.mark.parametrize("engine", ["auto"], indirect=True)
@pytest.mark.parametrize("scheme, count", [("tcp", 400), ("unix", 100), ("shm", 100)])
def test_clients_are_spread_evenly(tenon, scheme, count):
    """Also those that come when one loop has lost its own: nobody's turn or hash alone would even that out."""
    if OPTIONS.get(scheme) == "disabled":
        pytest.skip(f"a build without {scheme}")
    url = "tcp://127.0.0.1:0" if scheme == "tcp" else f"{scheme}:{tenon.folder}/s"
    server, admin = serve(tenon, url, options=("--threads", "4"))
    place = server.urls[0].replace("shm:", "unix:")
    clients = [tenon.dial(place) for _ in range(count)]
    listed = check_even(admin, count, 4)
    if scheme == "tcp":
        gone = {port_of(conn["peer"]) for conn in listed if conn["loop"] == 1}
        for client in clients:
            if client.getsockname()[1] in gone:
                client.close()
        wait_until(lambda: admin.values()['tenon_connections{server="0"}'] == count - len(gone), "they have gone")
        clients += [tenon.dial(place) for _ in gone]
        check_even(admin, count, 4)


@pytest.mark.parametrize("engine", ["auto"], indirect=True)
def test_datagrams_are_spread_evenly(tenon):
    """By the kernel, by a hash of their addresses: chance alone is past a tenth once in a billion times."""
    server, admin = serve(tenon, "udp://127.0.0.1:0?rcvbuf=4MiB", options=("--threads", "2", "--handler", "discard"))
    for sent in range(1, 4001):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", ("127.0.0.1", server.port))
        if sent % 500 == 0: # what waits in the sockets is bounded
            wait_until(lambda sent=sent: admin.values()['tenon_received_messages_total{server="0"}'] == sent, "read")
    check_even(admin, 4000, 2, lambda conn: conn["messages_in"])


def test_connections_while_others_come_and_go(tenon):
    """More than a loop tells of in one turn."""
    server, admin = serve(tenon, "tcp://127.0.0.1:0?frame=line")
    over = threading.Event()

    def come_and_go():
        while not over.is_set():
            with socket.create_connection(("127.0.0.1", server.port), LIMIT) as sock:
                sock.sendall(b"x\n")
                receive_exactly(sock, 2)

    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port), LIMIT)) for _ in range(250)]
        wait_until(lambda: admin.values()['tenon_connections{server="0"}'] == 250, "all are there")
        others = threading.Thread(target=come_and_go)
        others.start()
        try:
            for _ in range(5):
                listed = [port_of(c["peer"]) for c in admin.json("/connections")["connections"]]
                assert len(listed) == len(set(listed))
                assert {sock.getsockname()[1] for sock in socks} <= set(listed)
        finally:
            over.set()
            others.join()


def test_one_connection_with_all_its_options(tenon):
    server, admin = serve(tenon, "tcp://127.0.0.1:0", options=["--threads", "2"])
    with socket.create_connection(("127.0.0.1", server.port), LIMIT) as one, \
            socket.create_connection(("127.0.0.1", server.port), LIMIT):
        peer = "tcp://{}:{}".format(*one.getsockname())
        wait_until(lambda: len(admin.json("/connections")["connections"]) == 2, "both are there")
        number = next(c["id"] for c in admin.json("/connections")["connections"] if c["peer"] == peer)
        told, = admin.json(f"/connections?id={number}")["connections"]
        assert told["peer"] == peer and told["state"] == "established" and told["segment_bytes"] > 500
        assert told["options"]["nodelay"] == "on" and "keepidle" in told["options"]
        assert admin.json("/connections?id=999999")["connections"] == []
        for bad in ("id=", "id=0", "id=-1", "id=x", "id=1x", "name=1", "id=99999999999999999999999", "id=1&id=2"):
            status, words, _ = admin.get(f"/connections?{bad}")
            assert status == 400 and "?id=N" in words


def test_what_a_connection_holds_unread(tenon):
    """The server does not read on while its client does not take the echo."""
    server, admin = serve(tenon, "tcp://127.0.0.1:0?sndbuf=8KiB&rcvbuf=8KiB", options=["--handler", "echo"])
    client = tenon.dial(server.url, receive_buffer=4096)
    client.setblocking(False)

    def told():
        with contextlib.suppress(BlockingIOError):
            client.send(bytes(64 * KIB))
        conn, = admin.json("/connections")["connections"]
        return conn["unread"] > 0 and conn["unacked"] > 0
    wait_until(told, "something waits in both directions")


def test_a_load(tenon):
    """bench tells of its run while it goes on, and what it told is what it measured."""
    server, port = tenon.serve("tcp://127.0.0.1:0"), free_port()
    admin, events = Admin(port), []
    bench = tenon.start("bench", server.url, "--conns", "3", "--warmup", "0", "--duration", "30s", "--json",
                        "--admin", f"http://127.0.0.1:{port}")

    def first_second():
        with contextlib.suppress(OSError):
            return admin.json("/status")["bench"]["messages"]
    wait_until(first_second, "a second has been measured")
    with listen(admin) as sock:
        for name, event in events_of(sock):
            events.append(event)
            if name == "message" and event["event"] == "interval":
                break
    values, status = admin.values(), admin.json("/status")
    if promtool := shutil.which("promtool"):
        check_metrics(tenon, promtool, admin.get("/metrics")[1])
    bench.signal(signal.SIGINT)
    bench.wait(0)
    result = json.loads(bench.lines[-1])
    assert status["command"] == "bench" and status["bench"]["url"] == server.url and status["bench"]["connections"] == 3
    assert 0 < events[-1]["messages"] <= status["bench"]["messages"] <= result["messages"]
    assert status["bench"]["p50_us"] <= status["bench"]["p99_us"] <= status["bench"]["max_us"]
    assert 0 < values["tenon_bench_messages_total"] <= result["messages"] and values["tenon_bench_errors_total"] == 0
    assert values["tenon_bench_latency_seconds_count"] == values["tenon_bench_messages_total"]
    assert values['tenon_bench_latency_seconds_bucket{le="+Inf"}'] == values["tenon_bench_latency_seconds_count"]
    taken = tenon.run("bench", server.url, "--admin", f"http://127.0.0.1:{server.port}", status=1)
    assert "in use" in taken.err


def test_a_hub(tenon):
    port = free_port()
    hub = tenon.keep(Server(tenon.argv("hub", "nats://127.0.0.1:0", "--admin", f"http://127.0.0.1:{port}"),
                            tenon.folder, 1))
    admin = Admin(port)
    with socket.create_connection(("127.0.0.1", hub.port), LIMIT) as sock:
        sock.sendall(b"CONNECT {}\r\nSUB a 1\r\nPUB a 2\r\nhi\r\nPING\r\n")
        seen = b""
        while b"PONG\r\n" not in seen:
            seen += sock.recv(1000)
        wait_until(lambda: admin.values()["tenon_hub_delivered_total"] == 1, "it was counted")
        values, status = admin.values(), admin.json("/status")
        assert values["tenon_hub_published_total"] == 1 and values["tenon_hub_subscriptions"] == 1
        assert status["topics"] == [{"topic": "a", "subscriptions": 1}]
        assert status["command"] == "hub" and status["published"] == 1 and status["servers"][0]["handler"] == "nats"


def test_top(tenon):
    """In a terminal of its own, once, as JSON; and against what is none."""
    server, admin = serve(tenon, "tcp://127.0.0.1:0?frame=line")
    url = f"http://127.0.0.1:{admin.port}"
    with socket.create_connection(("127.0.0.1", server.port), LIMIT) as sock:
        sock.sendall(b"hello\n")
        assert sock.recv(10) == b"hello\n"
        said = tenon.run("top", url, "--once", status=0).text
        assert f"process {server.pid}" in said and server.url in said
        assert "tcp://{}:{}".format(*sock.getsockname()) in said
        lines = tenon.run("top", url, "--json", "--once", status=0).lines
        assert [json.loads(line)["pid"] for line in lines] == [server.pid]
    ours, theirs = os.openpty()
    try:
        top = tenon.peer(*tenon.argv("top", url, "--every", "50ms"), stdin=theirs, stdout=theirs)
        seen = b""
        while seen.count(b"CONNECTION") < 3:
            seen += os.read(ours, 65536)
        os.write(ours, b"s")
        while b"sorted by messages" not in seen:
            seen += os.read(ours, 65536)
        # drawn over, and from anew where the terminal is another one
        assert seen.count(b"\033[2J") == 1 and seen.count(b"\033[H") > 3
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 90, 0, 0))
        while seen.count(b"\033[2J") < 2:
            seen += os.read(ours, 65536)
        os.write(ours, b"q")
        top.wait(0)
    finally:
        os.close(ours)
        os.close(theirs)
    assert "no server of --admin" in tenon.run("top", f"http://127.0.0.1:{server.port}", status=1).err
    assert "no place of --admin" in tenon.run("top", server.url, status=USAGE).err
    tenon.run("top", f"http://127.0.0.1:{free_port()}", status=1)


def test_top_of_many_connections(tenon):
    """Where it is no terminal that is drawn over, only the first of them are shown."""
    server, admin = serve(tenon, "tcp://127.0.0.1:0")
    peers = ["tcp://{}:{}".format(*tenon.dial(server.url).getsockname()) for _ in range(25)]
    wait_until(lambda: admin.values()['tenon_connections{server="0"}'] == 25, "all are there")
    lines = tenon.run("top", f"http://127.0.0.1:{admin.port}", "--once", status=0).lines
    assert sum(peer in line for line in lines for peer in peers) == 20 and lines[-1] == "... and 5 more"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_top_ends_while_it_waits(tenon, number):
    """It has asked, and nobody answers."""
    with tenon.listen() as silent:
        top = tenon.start("top", "http://127.0.0.1:{}".format(silent.getsockname()[1]))
        sock = silent.accept()[0]
        with sock:
            assert sock.recv(1000).startswith(b"GET /status ")
            top.signal(number)
            top.wait(0)
    assert top.err == ""


def test_over_unix(tenon, program):
    place = tenon.folder / "admin.sock"
    tenon.serve("tcp://127.0.0.1:0", options=["--admin", f"unix:{place}"])
    out = tenon.finish([program("curl"), "-sS", "--unix-socket", place, "http://localhost/readyz"]).out
    assert out == b"ready\n"


@pytest.mark.parametrize("url,said", [
    ("tcp://127.0.0.1:0", "is not HTTP"), ("ws://127.0.0.1:0/x", "is not HTTP"), ("nonsense", "nonsense"),
    ("http://127.0.0.1:0/x", "no path"), ("http://*:0", "others could reach it"),
])
def test_places_that_cannot_be(tenon, url, said):
    result = tenon.run("serve", "tcp://127.0.0.1:0", "--admin", url, status=USAGE)
    assert "admin" in result.err and said in result.err


def test_a_list_of_who_may_opens_it_to_others(tenon):
    port = free_port()
    tenon.serve("tcp://127.0.0.1:0", options=["--admin", f"http://*:{port}?allow=127.0.0.9"])
    with socket.create_connection(("127.0.0.1", port), LIMIT) as sock:
        with contextlib.suppress(ConnectionResetError):
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert not receive_to_end(sock).startswith(b"HTTP/1.1 200")


async def ask_page(port, expression):
    websockets = pytest.importorskip("websockets")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=LIMIT) as answer:
        target = [page for page in json.load(answer) if page["type"] == "page"][0]
    async with websockets.connect(target["webSocketDebuggerUrl"], max_size=None) as debugger:
        await debugger.send(json.dumps({"id": 1, "method": "Runtime.evaluate",
                                        "params": {"expression": expression, "returnByValue": True}}))
        while True:
            answer = json.loads(await debugger.recv())
            if answer.get("id") == 1:
                return answer["result"]["result"].get("value")


def end(browser):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(browser.pid, signal.SIGKILL)
    browser.wait(None)


@contextlib.contextmanager
def browser_at(tenon, program, url):
    """A browser that shows a page. Yields what evaluates an expression there."""
    folder = tenon.folder / "chromium"
    browser = tenon.peer(program("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                         "--no-first-run", "--disable-background-networking", "--disable-component-update",
                         "--disable-sync", f"--user-data-dir={folder}", "--remote-debugging-port=0", url,
                         start_new_session=True)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, True)
        stack.callback(end, browser)
        port = folder / "DevToolsActivePort"
        wait_until(lambda: browser.is_over() or (port.exists() and port.read_text().count("\n")), "it runs", LIMIT * 3)
        if browser.is_over():
            pytest.skip(f"chromium does not run here: {browser.err[-300:]}")
        number = int(port.read_text().split()[0])

        def shown(expression):
            with contextlib.suppress(OSError, IndexError):
                return asyncio.run(asyncio.wait_for(ask_page(number, expression), LIMIT))
            return None
        yield shown


in_a_browser = [pytest.mark.skipif(SANITIZED, reason="a browser takes long enough by itself"),
                pytest.mark.parametrize("engine", ["auto"], indirect=True)]


def marked(test):
    for mark in in_a_browser:
        test = mark(test)
    return test


@marked
def test_the_page_shows_what_the_server_did(tenon, program):
    server, admin = serve(tenon, "tcp://127.0.0.1:0?frame=line")
    with contextlib.ExitStack() as stack:
        shown = stack.enter_context(browser_at(tenon, program, f"http://127.0.0.1:{admin.port}/"))
        socks = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port), LIMIT)) for _ in range(30)]
        for sock in socks:
            sock.sendall(b"hello\n")
            assert sock.recv(10) == b"hello\n"
        wait_until(lambda: shown("document.querySelector('.card b')?.textContent") == "30", "it counts", LIMIT * 2)
        wait_until(lambda: shown("document.getElementById('count').textContent") == "(30)", "the page lists", LIMIT * 2)
        row = shown("document.querySelector('#servers tr').innerText").split("\t")
        assert row[0] == server.url and row[2:6] == ["30", "30", "30", "30"]
        last = "tcp://{}:{}".format(*socks[7].getsockname())
        shown(f"$('filter').value='{last}';$('filter').oninput()")
        assert shown("document.querySelectorAll('#rows tr').length") == 1
        shown("document.querySelector('#rows tr').click()")
        facts = shown("document.getElementById('facts').innerText")
        assert last in facts and "messages in\t1" in facts
        wait_until(lambda: "established" in shown("$('facts').innerText"), "it asks for more")
        assert "nodelay\ton" in shown("$('options').innerText")
        shown("$('one').close();$('filter').value='';$('filter').oninput();$('head').children[1].firstChild.click()")
        ids = json.loads(shown("JSON.stringify([...$('rows').rows].map(r=>+r.cells[1].innerText))"))
        assert ids == sorted(ids, reverse=True) and shown("$('head').children[1].ariaSort") == "descending"
        press = "$('grid').dispatchEvent(new KeyboardEvent('keydown',{key:'%s'}))"
        shown(f"{press % 'End'};{press % 'ArrowUp'};{press % 'Enter'}")
        assert shown("$('whose').textContent") == shown("shown[28].peer") and shown("$('one').open")
        shown("$('one').close()")
        assert shown("!$('latency').hidden && $('heat').ariaLabel").startswith("Round-trip times: p50 ")
        assert shown("$('theme').click();getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert shown("$('theme').click();getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
        for event in ({"event": "session", "client": "<b>c", "target": "t", "duration_ms": 5, "error": "broken"},
                      {"event": "slow", "id": 7, "peer": "p", "name": "n", "dropped": 9}, {"event": "other"}):
            shown(f"source.onmessage({{data:{json.dumps(json.dumps(event))}}})")
        shown("show();onStatus({...last,targets:[{url:'u',alive:false,sessions:1,failures:2}],"
              "topics:[{topic:'a.>',subscriptions:3}],published:0,delivered:0,dropped:9,cut:0,subscriptions:3})")
        assert shown("$('sessions').innerText").startswith("<b>c\tt\t5.0 ms\t")
        assert shown("$('slow').innerText") == "p\tn\tslow\t9" and shown("$('topics').innerText") == "a.>\t3"
        assert shown("$('targets').innerText").startswith("u\tleft out\t1\t2")
        many = "connections=Array.from({length:10000},(_,i)=>({...connections[0],id:i+1,peer:'tcp://'+i}))"
        # In one go: the page asks the server again each second
        assert shown(f"{many};arrange();$('list').scrollTop=200000;paint();[$('rows').rows.length,"
                     "$('list').scrollHeight>10000*28,[...$('rows').rows].some(r=>r.index==7150)]") == [30, True, True]
        stack.enter_context(socket.create_connection(("127.0.0.1", server.port), LIMIT))
        wait_until(lambda: "open" in shown("document.getElementById('log').textContent"), "the page logs", LIMIT * 2)
        assert admin.get("/")[2]["Content-Security-Policy"].startswith("default-src 'none'")


def listed(shown, kind):
    """The entries of a kind on the browser's time line: [name, when]."""
    return json.loads(shown(f"JSON.stringify(performance.getEntriesByType('{kind}').map(e=>[e.name,e.startTime]))"))


@marked
def test_the_page_is_painted_before_it_asks(tenon, program):
    """Its first paint waits for nothing but the file itself, and asks nobody but this server."""
    _, admin = serve(tenon, "tcp://127.0.0.1:0")
    own = f"http://127.0.0.1:{admin.port}/"
    with browser_at(tenon, program, own) as shown:
        wait_until(lambda: shown("performance.getEntriesByType('resource').length"), "it asks", LIMIT * 2)
        asked, painted = listed(shown, "resource"), listed(shown, "paint")
        assert painted and all(at >= painted[0][1] for _, at in asked), (painted, asked)
        assert {name for name, _ in asked} <= {own + "connections", own + "events"}


def test_the_page_is_one_file(tenon):
    _, admin = serve(tenon, "tcp://127.0.0.1:0")
    page = admin.get("/")[1]
    assert len(page) < 60 * KIB
    assert not re.search(r"<(link|img|iframe|object|embed|base)\b|\bsrc=|@import|url\(|\bimport\(", page)


@marked
def test_the_page_shows_the_last_messages(tenon, program):
    server, admin = serve(tenon, "tcp://127.0.0.1:0?frame=line&format=json",
                          options=["--handler", "echo", "--admin-trace", "4"])
    with browser_at(tenon, program, f"http://127.0.0.1:{admin.port}/") as shown, \
            contextlib.closing(socket.create_connection(("127.0.0.1", server.port), LIMIT)) as sock:
        sock.sendall(b'{"a":[1]}\n"<b>\\n"\n')
        assert sock.recv(100)
        wait_until(lambda: shown("$('rows').rows.length") == 1, "the page lists", LIMIT * 2)
        shown("$('rows').rows[0].click()")
        wait_until(lambda: shown("$('lines').rows.length") == 4, "it shows them")
        cell = "$('lines').rows[%d].cells[%d].textContent"
        times = [shown(cell % (row, 0)) for row in range(4)]
        assert all(re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}", time) for time in times) and times == sorted(times)
        assert sorted(shown(cell % (row, 1)) for row in range(4)) == ["in", "in", "out", "out"]
        assert [shown(cell % (row, 3)) for row in (0, 3)] == ['{"a":[1]}', '"<b>\\n"']
        change = "$('how').value='%s';$('how').onchange()"
        shown(change % "hex")
        assert shown(cell % (0, 3)) == "0000  7b 22 61 22 3a 5b 31 5d 7d".ljust(55) + '{"a":[1]}'
        shown(change % "JSON")
        assert shown(cell % (0, 3)) == '{\n  "a": [\n    1\n  ]\n}'


@marked
def test_the_page_has_no_messages_unless_they_are_kept(tenon, program):
    server, admin = serve(tenon, "tcp://127.0.0.1:0")
    with browser_at(tenon, program, f"http://127.0.0.1:{admin.port}/") as shown, \
            contextlib.closing(socket.create_connection(("127.0.0.1", server.port), LIMIT)):
        wait_until(lambda: shown("$('rows').rows.length") == 1, "the page lists", LIMIT * 2)
        shown("$('rows').rows[0].click()")
        wait_until(lambda: "nodelay" in shown("$('options').innerText"), "it asks for more")
        assert shown("$('said').hidden") is True
