"""tenon bench: what it counts is what happened, on every kind of endpoint; nothing here judges speed."""
import base64
import collections
import html.parser
import json
import os
import pty
import re
import resource
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
import zlib

import pytest

from harness import COMMAND, KIB, LIMIT, MIB, ROOT, SANITIZED, resident_bytes, stat_of, wait_until

DONE, FAILED, USAGE, REFUSED = 0, 1, 2, 4
LADDER = ["p50", "p90", "p99", "p99.9", "p99.99", "max"]
one_engine = pytest.mark.parametrize("engine", ["auto"], indirect=True)

URLS = ["tcp://127.0.0.1:0", "tcp://[::1]:0", "mptcp://127.0.0.1:0", "unix:{}/sock", "unix-seqpacket:{}/sock",
        "udp://127.0.0.1:0", "unix-dgram:{}/sock"]


@pytest.fixture(scope="session")
def schema():
    validator = pytest.importorskip("jsonschema")
    grammar = json.loads((ROOT / "docs" / "bench-result.schema.json").read_text(encoding="utf-8"))
    validator.Draft7Validator.check_schema(grammar)
    return validator.Draft7Validator(grammar)


def bench(tenon, *args, status=0, **how):
    """Runs `tenon bench ARGS --json`: its result, with the intervals that were told on the way as .told"""
    run = tenon.run("bench", *args, "--json", status=status, limit=LIMIT * 3, **how)
    events = [json.loads(line) for line in run.lines]
    assert [event["event"] for event in events] == ["interval"] * (len(events) - 1) + ["result"], run
    result = events[-1]
    result["told"], result["stderr"] = events[:-1], run.err
    return result


def check(schema, result):
    """Grammar, and what must be true of any result."""
    schema.validate({key: value for key, value in result.items() if key not in ("told", "stderr")})
    assert sum(result["errors_by_kind"].values()) == result["errors"]
    assert (sum(part["messages"] for part in result["intervals"]) == result["messages"] or
            result["setup"]["mode"] == "send")
    for part in result["intervals"]:
        assert part["p50_us"] <= part["p99_us"] <= part["max_us"] and (part["max_us"] > 0 or not part["heat"])
    if result["latency_us"]:
        steps = [result["latency_us"][name] for name in LADDER]
        assert steps == sorted(steps) and 0 < steps[0]
        counts = decode(result["histograms"]["service"]["v2"])
        assert sum(counts.values()) == result["messages"]


def decode(text):
    """HdrHistogram's compressed V2 format, read by its description and by nothing of ours: index -> count."""
    cookie, size, = struct.unpack(">ii", base64.b64decode(text)[:8])
    assert cookie == 0x1c849314
    plain = zlib.decompress(base64.b64decode(text)[8:8 + size])
    cookie, size, shift, digits, lowest, highest, ratio = struct.unpack(">iiiiqqd", plain[:40])
    assert (cookie, shift, digits, lowest, ratio) == (0x1c849313, 0, 3, 1, 1.0) and highest >= 3600 * 10**9
    counts, index, at = {}, 0, 40
    while at < 40 + size:
        number = place = 0
        while True:
            byte = plain[at]
            at += 1
            number |= (byte if place == 8 else byte & 127) << 7 * place
            place += 1
            if place == 9 or byte < 128:
                break
        number = (number >> 1) ^ -(number & 1)
        if number < 0:
            index += -number
        else:
            if number:
                counts[index] = number
            index += 1
    return counts


def encode(latencies):
    """The same the other way: latency in ns -> count, as a member of a result's histograms."""
    counts = collections.Counter()
    for ns, count in latencies.items():
        bucket = max(0, ns.bit_length() - 11)
        counts[(bucket << 10) + (ns >> bucket)] += count
    body, index = bytearray(), 0

    def add(number):
        number = number << 1 if number >= 0 else -number * 2 - 1
        while number > 127:
            body.append(number & 127 | 128)
            number >>= 7
        body.append(number)
    for at, count in sorted(counts.items()):
        if at > index:
            add(index - at)
        add(count)
        index = at + 1
    plain = struct.pack(">iiiiqqd", 0x1c849313, len(body), 0, 3, 1, 3600 * 10**9, 1.0) + bytes(body)
    packed = zlib.compress(plain)
    return {"min_ns": min(latencies), "max_ns": max(latencies),
            "v2": base64.b64encode(struct.pack(">ii", 0x1c849314, len(packed)) + packed).decode()}


class EchoServer:
    """
    A scripted TCP server in a thread: `reply(data, state)` says what goes back; it may sleep, which stalls all. After
    so many replies it ends its direction and drops what still comes.
    """

    def __init__(self, reply=lambda data, state: data, close_after=None):
        self.reply, self.close_after, self.over = reply, close_after, False
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"
        self.state = {"first": None, "clients": 0}
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def serve(self, sock, events):
        try:
            data = sock.recv(65536)
            if data and events[sock] != self.close_after:
                self.state["first"] = self.state["first"] or time.monotonic()
                sock.sendall(self.reply(data, self.state))
                events[sock] += 1
                if events[sock] == self.close_after:
                    sock.shutdown(socket.SHUT_WR)
        except OSError:
            data = b""
        if not data:
            del events[sock]
            self.selector.unregister(sock)
            sock.close()

    def run(self):
        events = collections.Counter()
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        while not self.over:
            for key, _ in self.selector.select(0.05):
                if key.fileobj is self.listener:
                    sock, _ = self.listener.accept()
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self.state["clients"] += 1
                    self.selector.register(sock, selectors.EVENT_READ)
                else:
                    self.serve(key.fileobj, events)
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        self.selector.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.over = True
        self.thread.join()


# Every kind of endpoint

@pytest.mark.parametrize("url", URLS, ids=[url.split(":")[0] + ("6" if "[" in url else "") for url in URLS])
def test_every_endpoint(tenon, schema, url):
    server = tenon.serve(url.format(tenon.folder), options=["--handler", "echo"])
    result = bench(tenon, server.url, "--requests", "600", "--conns", "3", "--depth", "2", "--expect", "echo",
                   "--timeout", "30s")
    check(schema, result)
    assert result["messages"] == result["sent"] == 600 and result["errors"] == 0
    assert result["bytes"] == 600 * 64 and result["setup"]["numbered"]
    assert ("datagrams" in result) == url.startswith("udp")


@pytest.mark.parametrize("keys", ["frame=line", "frame=u32", "frame=cobs", "frame=varint", "frame=fixed:64",
                                  "frame=line&format=json", "frame=u32&format=cbor", "frame=u32&format=msgpack",
                                  "frame=u32&format=xml"])
@one_engine
def test_frames_and_formats(tenon, schema, keys):
    server = tenon.serve(f"tcp://127.0.0.1:0?{keys}", options=["--handler", "echo"])
    result = bench(tenon, f"{server.url.split('?')[0]}?{keys}", "--requests", "300", "--conns", "2", "--expect", "echo")
    check(schema, result)
    assert result["messages"] == 300 and result["errors"] == 0 and result["setup"]["numbered"]


@pytest.mark.parametrize("size", ["1", "11", "12", "13", "1KiB", "64KiB", "1MiB", "1-3KiB"])
def test_sizes(tenon, schema, size):
    server = tenon.serve("tcp://127.0.0.1:0")
    result = bench(tenon, server.url, "--requests", "40", "--size", size, "--depth", "4", "--seed", "7")
    check(schema, result)
    assert result["messages"] == 40 and result["errors"] == 0
    if "-" in size:
        assert 40 < result["bytes"] < 40 * 3 * KIB
        again = bench(tenon, server.url, "--requests", "40", "--size", size, "--depth", "4", "--seed", "7")
        other = bench(tenon, server.url, "--requests", "40", "--size", size, "--depth", "4", "--seed", "8")
        assert again["bytes"] == result["bytes"] != other["bytes"]


def test_threads_and_a_crowd(tenon, schema):
    count = 300 if SANITIZED else 2000
    server = tenon.serve("tcp://127.0.0.1:0")
    result = bench(tenon, server.url, "--conns", str(count), "--threads", "2", "--requests", str(2 * count))
    check(schema, result)
    assert result["messages"] == 2 * count and result["errors"] == 0 and result["setup"]["threads"] == 2


@one_engine
def test_ten_thousand_connections(tenon, schema):
    """From one process, at a modest rate: each has its turn on the schedule, and none is lost."""
    count = 2000 if SANITIZED else 10000
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < count + 200:
        pytest.skip("the system does not allow so many descriptors")
    server = tenon.serve("tcp://127.0.0.1:0")
    result = bench(tenon, server.url, "--conns", str(count), "--rate", "5k", "--requests", str(2 * count),
                   "--timeout", "30s")
    check(schema, result)
    assert result["messages"] == result["sent"] == 2 * count and result["errors"] == 0
    assert result["setup"]["conns"] == count and result["reconnects"] == 0


def test_a_payload_of_ones_own(tenon):
    server = tenon.serve("tcp://127.0.0.1:0?frame=line", options=["--handler", "echo"])
    path = tenon.file("message", b'{"user":"x"}')
    url = server.url.split("?")[0] + "?frame=line"
    for name in (f"@{path}", str(path)):
        result = bench(tenon, url, "--payload", name, "--requests", "20", "--expect", "echo")
        assert result["bytes"] == 20 * 12 and result["errors"] == 0 and not result["setup"]["numbered"]


@pytest.mark.parametrize("how", [["--depth", "4"], ["--rate", "1k"], ["--mode", "connect"], ["--mode", "send"]])
@one_engine
def test_so_many_after_the_warm_up(tenon, schema, how):
    server = tenon.serve("tcp://127.0.0.1:0")
    result = bench(tenon, server.url, *how, "--requests", "50", "--warmup", "200ms")
    check(schema, result)
    assert result["messages"] == 50


# One way

def test_small_messages_to_a_fast_reader_end_in_time(tenon):
    """The kernel takes all that one connection can send: the queue is never full, and the time is looked at all the
    same."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "discard"])
    result = bench(tenon, server.url, "--mode", "send", "--size", "16", "--duration", "1s", "--warmup", "0",
                   "--conns", "1")
    assert result["messages"] > 0 and result["duration_s"] < 10


def test_send(tenon, schema):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "discard"])
    result = bench(tenon, server.url, "--mode", "send", "--size", "4KiB", "--duration", "1s", "--warmup", "0",
                   "--conns", "2")
    check(schema, result)
    assert result["messages"] > 0 and result["errors"] == 0 and result["latency_us"] is None
    assert result["bytes"] == pytest.approx(result["messages"] * 4 * KIB,
                                            abs=2 * 4 * KIB), "the last of each may be in part"


@one_engine
def test_what_waits_when_the_warm_up_ends(tenon, schema):
    """What was queued before and leaves within the time that counts is of that time; what the kernel had before is
    not."""
    listener, size = tenon.listen(), 256 * KIB
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * KIB)
    url = f"tcp://127.0.0.1:{listener.getsockname()[1]}?sndbuf=64KiB&queue=256MiB"
    load = tenon.start("bench", url, "--mode", "send", "--size", "256KiB", "--rate", "20", "--warmup", "500ms",
                       "--duration", "3s", "--json")
    client = tenon.accept(listener)
    time.sleep(1.5)  # nothing is read before the warm-up is over: ten messages wait
    received = 0
    while data := client.recv(MIB):
        received += len(data)
    load.wait(DONE)
    result = json.loads(load.lines[-1])
    check(schema, result)
    assert received == 70 * size, received / size
    assert received - 6 * size <= result["bytes"] <= received and result["messages"] <= 70


def test_receive(tenon, schema):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "chargen"])
    result = bench(tenon, server.url, "--mode", "recv", "--duration", "2s", "--warmup", "100ms")
    check(schema, result)
    assert result["bytes"] > 10 * KIB and result["errors"] == 0 and result["latency_us"] is None


def test_connections(tenon, schema):
    server = tenon.serve("tcp://127.0.0.1:0")
    result = bench(tenon, server.url, "--mode", "connect", "--requests", "200", "--conns", "4")
    check(schema, result)
    assert result["messages"] == 200 and result["errors"] == 0
    result = bench(tenon, server.url, "--mode", "connect", "--rate", "100", "--requests", "100")
    check(schema, result)
    assert result["messages"] == 100 and result["duration_s"] >= 0.98 and result["response_us"]


# The schedule

@one_engine
def test_rate_is_met(tenon, schema):
    """What the schedule holds is sent, all of it, however late this machine let us be."""
    server = tenon.serve("tcp://127.0.0.1:0")
    result = bench(tenon, server.url, "--rate", "1k", "--conns", "7", "--duration", "2s", "--warmup", "200ms")
    check(schema, result)
    assert result["messages"] == 2000 and result["errors"] == 0
    assert result["rate"] == pytest.approx(1000, rel=0.01)
    assert result["latency_us"] == result["response_us"] and result["late_us"]
    assert result["response_us"]["mean"] >= result["service_us"]["mean"]


def stalling(data, state):
    """Goes deaf for a second, one second after the first message."""
    if "stalled" not in state and time.monotonic() - state["first"] > 1:
        state["stalled"] = True
        time.sleep(1.1)
    return data


@one_engine
def test_a_stall_shows_at_a_rate(tenon, schema):
    with EchoServer(stalling) as server:
        result = bench(tenon, server.url, "--rate", "500", "--duration", "3s", "--warmup", "0", "--conns", "2")
    check(schema, result)
    assert server.state["stalled"] and result["errors"] == 0
    assert result["messages"] == 1500
    assert result["latency_us"]["p99.9"] >= 0.9e6
    # About a third of the schedule fell into the stall, and each message waited for what was left of it
    assert result["latency_us"]["p90"] > 0.5e6


@one_engine
def test_a_stall_hardly_shows_in_a_closed_loop(tenon, schema):
    """It asks nothing while it waits: one message of each connection is late, whatever the stall was. So it is
    documented."""
    def stalling_in_between(data, state):
        state["asked"] = state.get("asked", 0) + 1
        if state["asked"] == 1500:
            time.sleep(1.1)
        return data
    with EchoServer(stalling_in_between) as server:
        result = bench(tenon, server.url, "--requests", "4000", "--conns", "2")
    check(schema, result)
    assert result["messages"] == 4000
    assert result["latency_us"]["max"] >= 0.9e6 and result["latency_us"]["p99.9"] < 0.9e6
    assert "--rate" in tenon.run("bench", "--help").text


@one_engine
def test_slo(tenon, schema):
    server = tenon.serve("tcp://127.0.0.1:0")
    result = bench(tenon, server.url, "--slo", "p50=500ms", "--conns", "2", "--duration", "300ms", "--warmup", "100ms",
                   status=None)
    check(schema, result)
    steps = result["slo"]["steps"]
    assert result["slo"]["quantile"] == 0.5 and result["slo"]["limit_us"] == 500e3 and steps
    kept = [step["rate"] for step in steps if step["kept"]]
    if kept:
        assert result["setup"]["rate"] == pytest.approx(max(kept))
    else:
        assert any("no rate" in text for text in result["generator"]["warnings"])


@one_engine
def test_slo_believes_no_single_failure(tenon, schema):
    """One run may be disturbed by anything: here by a stall of the server in the first. Most of several runs decide."""
    begun = time.monotonic()

    def stalling_once(data, state):
        if not state.get("stalled") and time.monotonic() - begun > 2.5:
            state["stalled"] = True
            time.sleep(0.4)
        return data
    with EchoServer(stalling_once) as server:
        begun = time.monotonic()
        result = bench(tenon, server.url, "--slo", "p99=150ms", "--conns", "2", "--duration", "1s", "-v", status=None)
    check(schema, result)
    steps = result["slo"]["steps"]
    for step in steps:
        assert step["least_us"] <= step["value_us"] <= step["most_us"] and 1 <= step["trials"] <= 3
        assert step["trials"] >= 2 or (step["kept"] and step["value_us"] <= 75e3), step
    assert any(step["trials"] >= 2 and step["most_us"] >= 200e3 for step in steps), steps
    assert re.search(r"^tenon: [\d.]+[kM]?/s: p99 [\d.]+ [mu]?s \([\d.]+ [mu]?s to [\d.]+ [mu]?s in \d runs\): "
                     r"(kept|missed)$",
                     result["stderr"], re.M), result["stderr"]


@one_engine
def test_interrupted_search(tenon, schema):
    server = tenon.serve("tcp://127.0.0.1:0")
    load = tenon.start("bench", server.url, "--slo", "p50=500ms", "-v", "--json")
    load.wait_for_text("/s: p50 .*: (kept|missed)")
    load.signal(signal.SIGINT)
    load.wait(FAILED)
    result = json.loads(load.lines[-1])
    check(schema, result)
    assert result["interrupted"] and result["slo"]["steps"] and result["messages"] == 0


# Datagrams

class Relay:
    """UDP between a load and a server. Of the replies it loses, doubles and delays some, and counts what it did."""

    def __init__(self, server_port):
        self.front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for sock in (self.front, self.back):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)
        self.front.bind(("127.0.0.1", 0))
        self.back.connect(("127.0.0.1", server_port))
        self.url = f"udp://127.0.0.1:{self.front.getsockname()[1]}"
        self.done, self.over = collections.Counter(), False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        client, held, number = None, None, 0
        poller = selectors.DefaultSelector()
        poller.register(self.front, selectors.EVENT_READ)
        poller.register(self.back, selectors.EVENT_READ)
        while not self.over:
            for key, _ in poller.select(0.05):
                if key.fileobj is self.front:
                    data, client = self.front.recvfrom(65536)
                    self.done["asked"] += 1
                    self.back.send(data)
                    continue
                data = self.back.recv(65536)
                number += 1
                if number % 7 == 0:
                    self.done["lost"] += 1
                    continue
                if number % 25 == 3 and held is None:
                    held = data  # until the next one has gone
                    continue
                self.front.sendto(data, client)
                if number % 11 == 0:
                    self.done["doubled"] += 1
                    self.front.sendto(data, client)
                if held is not None:
                    self.done["delayed"] += 1
                    self.front.sendto(held, client)
                    held = None
        poller.close()
        self.done["lost"] += held is not None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.over = True
        self.thread.join()
        self.front.close()
        self.back.close()


@pytest.mark.parametrize("handler", ["echo", "ack"])
@one_engine
def test_loss_is_counted_exactly(tenon, schema, handler):
    server = tenon.serve("udp://127.0.0.1:0", options=["--handler", handler])
    with Relay(server.port) as relay:
        result = bench(tenon, relay.url, "--rate", "400", "--requests", "400", "--timeout", "3s")
    check(schema, result)
    assert relay.done["asked"] == 400 == result["sent"] and result["errors"] == 0
    assert result["datagrams"] == {"lost": relay.done["lost"], "duplicates": relay.done["doubled"],
                                   "reordered": relay.done["delayed"], "late": 0}
    assert result["messages"] == 400 - relay.done["lost"] and min(relay.done.values()) > 10


@pytest.mark.parametrize("how", ["upper", "inherited"])
@one_engine
def test_loss_is_known_however_the_endpoint_is_named(tenon, schema, how):
    """UDP://, and a descriptor that is a datagram socket: the library says what a URL is."""
    server = tenon.serve("udp://127.0.0.1:0", options=["--handler", "echo"])
    with Relay(server.port) as relay, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", int(relay.url.rpartition(":")[2])))
        url = relay.url.upper() if how == "upper" else f"FD:{sock.fileno()}"
        result = bench(tenon, url, "--rate", "400", "--requests", "200", "--timeout", "3s", pass_fds=[sock.fileno()])
    check(schema, result)
    assert result["sent"] == 200 and result["errors"] == 0 and result["datagrams"]["lost"] == relay.done["lost"] > 0


@pytest.mark.parametrize("keys", ["frame=u32&format=cbor", "frame=u32&%66ormat=cbor"])
@one_engine
def test_the_format_is_asked_of_the_library(tenon, schema, keys):
    """A key may be written with escapes, as any part of a URL."""
    server = tenon.serve(f"tcp://127.0.0.1:0?{keys}")
    result = bench(tenon, f"TCP{server.url[3:]}?{keys}", "--requests", "50")
    check(schema, result)
    assert result["messages"] == 50 and result["errors"] == 0


@one_engine
def test_loss_in_a_closed_loop(tenon, schema):
    server = tenon.serve("udp://127.0.0.1:0")
    with Relay(server.port) as relay:
        result = bench(tenon, relay.url, "--requests", "100", "--depth", "30", "--timeout", "2s")
    check(schema, result)
    assert result["sent"] == 100 and result["datagrams"]["lost"] == relay.done["lost"]
    assert result["messages"] == 100 - relay.done["lost"]


@one_engine
def test_a_reply_after_it_was_given_up(tenon, schema):
    """Late is not lost, and is told apart."""
    sock = tenon.listen(kind=socket.SOCK_DGRAM)
    load = tenon.start("bench", f"udp://127.0.0.1:{sock.getsockname()[1]}", "--requests", "1", "--conns", "1",
                       "--timeout", "300ms", "--json")
    data, client = sock.recvfrom(1000)
    load.wait(None)
    result = json.loads(load.lines[-1])
    assert result["datagrams"]["lost"] == 1 and result["messages"] == 0 and len(data) == 64
    load = tenon.start("bench", f"udp://127.0.0.1:{sock.getsockname()[1]}", "--requests", "2", "--depth", "1",
                       "--timeout", "3s", "--json")
    first, client = sock.recvfrom(1000)
    second, client = sock.recvfrom(1000)
    sock.sendto(first, client)
    sock.sendto(second, client)
    load.wait(DONE)
    result = json.loads(load.lines[-1])
    check(schema, result)
    assert result["datagrams"] == {"lost": 0, "duplicates": 0, "reordered": 0, "late": 1} and result["messages"] == 2


@pytest.mark.parametrize("how, sent, errors", [
    (["--requests", "10"], 1, {"no reply before the end, or before the connection ended": 1}),
    (["--requests", "10", "--depth", "20", "--conns", "2"], 10,
     {"no reply before the end, or before the connection ended": 10}),
    (["--requests", "5", "--rate", "1000"], 5, {"no reply before the end, or before the connection ended": 5}),
    (["--requests", "5", "--mode", "recv"], 0, {"nothing was sent or came for the time of --timeout": 1})])
def test_requests_that_nobody_answers(tenon, schema, how, sent, errors):
    """A number of messages has no other end on a stream that is silent."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "discard"])
    result = bench(tenon, server.url, *how, "--timeout", "300ms", status=None)
    check(schema, result)
    assert result["messages"] == 0 and result["sent"] == sent and result["errors_by_kind"] == errors


def test_requests_that_nobody_answers_any_more(tenon, schema):
    handler = "exec:dd bs=64 count=3 status=none; cat > /dev/null"
    server = tenon.serve(f"unix:{tenon.folder}/sock", options=["--handler", handler])
    result = bench(tenon, server.url, "--requests", "10", "--timeout", "300ms", status=None)
    check(schema, result)
    assert result["messages"] == 3 and result["sent"] == 4 and result["errors"] == 1


def test_requests_that_nobody_takes(tenon, schema):
    """A peer that does not read: what the kernel has not taken was not sent."""
    listener = tenon.listen()
    result = bench(tenon, f"tcp://127.0.0.1:{listener.getsockname()[1]}", "--mode", "send", "--size", "1MiB",
                   "--requests", "100", "--timeout", "300ms", status=None)
    check(schema, result)
    assert result["sent"] < 100
    assert result["errors_by_kind"] == {"nothing was sent or came for the time of --timeout": 1}


def test_requests_one_way(tenon, schema):
    """Who only receives sends nothing, and has as many as were asked for."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "chargen", "-v"])
    result = bench(tenon, server.url, "--mode", "recv", "--requests", "7", "--conns", "2")
    check(schema, result)
    assert result["messages"] == 7 and result["sent"] == 0
    server.wait_for_text("close #.*: 0 bytes in", "out")


@one_engine
def test_requests_at_a_slow_rate(tenon):
    """Between two messages nothing is to move."""
    server = tenon.serve("tcp://127.0.0.1:0")
    result = bench(tenon, server.url, "--requests", "2", "--rate", "0.4", "--timeout", "2s")
    assert result["messages"] == 2


@pytest.mark.parametrize("size", ["1", "1472", "17KiB", "60KiB", "1-60KiB"])
def test_datagrams_of_every_size(tenon, schema, size):
    server = tenon.serve("udp://127.0.0.1:0", options=["--handler", "echo"])
    result = bench(tenon, server.url, "--requests", "100", "--size", size, "--conns", "3", "--expect", "echo",
                   "--timeout", "30s")
    check(schema, result)
    assert result["messages"] == 100 and result["errors"] == 0 and result["datagrams"]["lost"] == 0


def test_empty_datagrams(tenon):
    sock = tenon.listen(kind=socket.SOCK_DGRAM)
    load = tenon.start("bench", f"udp://127.0.0.1:{sock.getsockname()[1]}", "--requests", "50", "--timeout", "30s",
                       "--json")
    for _ in range(50):
        sock.sendto(b"", sock.recvfrom(1000)[1])
    load.wait(DONE)
    result = json.loads(load.lines[-1])
    assert result["messages"] == 50 and result["datagrams"]["lost"] == 0


def test_more_datagrams_at_once_than_an_engine_has_room_for(tenon, schema):
    """What comes while the load does not run is all there when it does."""
    sock, copies = tenon.listen(kind=socket.SOCK_DGRAM), 200
    load = tenon.start("bench", f"udp://127.0.0.1:{sock.getsockname()[1]}?rcvbuf=1MiB", "--requests", "2",
                       "--timeout", "60s", "--json")
    first, client = sock.recvfrom(1000)
    load.signal(signal.SIGSTOP)
    wait_until(lambda: stat_of(load.pid)[0] == "T", "it is stopped")
    for _ in range(copies):
        sock.sendto(first, client)
    load.signal(signal.SIGCONT)
    second, client = sock.recvfrom(1000)
    sock.sendto(second, client)
    load.wait(DONE)
    result = json.loads(load.lines[-1])
    check(schema, result)
    assert result["messages"] == 2
    assert result["datagrams"] == {"lost": 0, "duplicates": copies - 1, "reordered": 0, "late": 0}


# What servers answer

@one_engine
def test_replies_that_are_no_echo(tenon, schema):
    server = tenon.serve("tcp://127.0.0.1:0?frame=line", options=["--handler", "ack"])
    url = server.url.split("?")[0] + "?frame=line"
    assert bench(tenon, url, "--requests", "50")["messages"] == 50
    assert bench(tenon, url, "--requests", "50", "--expect", "^ack: ")["errors"] == 0
    for wanted in ("echo", "^nack"):
        result = bench(tenon, url, "--requests", "50", "--expect", wanted, status=FAILED)
        check(schema, result)
        assert result["errors"] == 50 and result["messages"] == 50


@one_engine
def test_a_reply_in_pieces_that_is_known_by_its_words(tenon):
    def http(data, state):
        return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    request = tenon.file("request", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    with EchoServer(http) as server:
        result = bench(tenon, server.url, "--payload", f"@{request}", "--expect", "200 OK.*\r\n\r\nok$",
                       "--requests", "50")
        assert result["messages"] == 50 and result["errors"] == 0
        result = bench(tenon, server.url, "--expect", "any", "--requests", "50")
        assert result["messages"] == 50 and result["errors"] == 0


@one_engine
def test_bytes_that_change_on_the_way(tenon, schema):
    def corrupt(data, state):
        state["n"] = state.get("n", 0) + 1
        return data if state["n"] % 10 else data[:-1] + b"?"
    with EchoServer(corrupt) as server:
        result = bench(tenon, server.url, "--requests", "100", status=FAILED)
    check(schema, result)
    assert result["errors_by_kind"] == {"a reply is not what was sent": 10} and result["messages"] == 100


@one_engine
@pytest.mark.parametrize("size", ["64", "20-80"])
def test_replies_that_come_several_at_once_and_in_pieces(tenon, schema, size):
    """One byte of every 1000 is wrong, wherever the pieces end: each spoils the one message that it stands in."""
    def corrupt(data, state):
        data, at = bytearray(data), state.get("at", 0)
        for i in range(-at % 1000, len(data), 1000):
            data[i] ^= 1
        state["at"], held = at + len(data), state.get("held", b"") + data
        keep = 7 if len(held) > 64 else 0  # the rest comes in front of the next piece
        state["held"] = held[len(held) - keep:]
        return bytes(held[:len(held) - keep])
    with EchoServer(corrupt) as server:
        result = bench(tenon, server.url, "--depth", "16", "--requests", "2000", "--size", size, "--timeout", "1s",
                       status=FAILED)
    check(schema, result)
    assert result["messages"] + result["unanswered"] == result["sent"] == 2000 and result["unanswered"] < 2
    spoilt = (server.state["at"] + 999) // 1000
    assert spoilt - 1 <= result["errors_by_kind"]["a reply is not what was sent"] <= spoilt


# Trouble

@pytest.mark.parametrize("url", ["tcp://127.0.0.1:{port}", "udp://127.0.0.1:{port}", "unix:{folder}/nobody"])
def test_nobody_there(tenon, url):
    with socket.socket() as sock, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        other.bind(("127.0.0.1", port))
        other.close()
        result = tenon.run("bench", url.format(port=port, folder=tenon.folder), "--duration", "5s", status=FAILED)
    assert re.search("refused|No such file", result.err) and result.out == b""


def test_a_server_that_hangs_up(tenon, schema):
    """Errors are counted, the run goes on with new connections, and the result is told."""
    with EchoServer(close_after=20) as server:
        result = bench(tenon, server.url, "--conns", "3", "--requests", "600", status=FAILED)
    check(schema, result)
    assert result["errors_by_kind"]["the peer ended the connection"] >= 20
    assert result["reconnects"] >= 20 and server.state["clients"] >= 23
    assert result["sent"] == 600 and 500 < result["messages"] == 600 - result["unanswered"]
    text = None
    with EchoServer(close_after=20) as server:
        text = tenon.run("bench", server.url, "--requests", "100", status=FAILED).text
    assert "the peer ended the connection" in text and "p99.9" in text


@one_engine
def test_a_server_that_dies(tenon, schema):
    server = tenon.serve("tcp://127.0.0.1:0")
    load = tenon.start("bench", server.url, "--conns", "2", "--duration", "1h", "--warmup", "0", "--json")
    load.wait_for_text('"interval"', "out")
    server.untidy = True
    server.stopped = True
    server.kill()
    wait_until(lambda: sum(json.loads(line)["errors"] for line in load.lines) >= 4, "two ended, and were refused again")
    load.signal(signal.SIGINT)
    load.wait(FAILED)
    result = json.loads(load.lines[-1])
    check(schema, result)
    assert result["messages"] > 0 and any("refused" in kind for kind in result["errors_by_kind"])


@one_engine
def test_a_server_that_never_answers(tenon, schema):
    with EchoServer(lambda data, state: b"") as server:
        result = bench(tenon, server.url, "--duration", "300ms", "--warmup", "0", "--timeout", "200ms", "--conns", "2",
                       "--rate", "100", status=FAILED)
    check(schema, result)
    assert result["messages"] == 0 and result["unanswered"] == result["sent"] > 0 and result["latency_us"] is None
    assert sum(result["errors_by_kind"].values()) == result["unanswered"]


@pytest.mark.parametrize("args,words", [
    ([], "which URL"), (["tcp://h:1", "udp://h:2"], "together"), (["tcp://h:1?nodelya=1"], "nodelay"),
    (["tcp://h:1", "--rate", "fast"], "--rate: 'fast'"), (["tcp://h:1", "--rate", "-5"], "--rate"),
    (["tcp://h:1", "--rate", "0"], "--rate"), (["tcp://h:1", "--rate", "nan"], "--rate"),
    (["tcp://h:1", "--so", "1"], "did you mean --slo"),
    (["tcp://h:1", "--slo", "99=10ms"], "--slo"), (["tcp://h:1", "--slo", "p99=0ms"], "--slo"),
    (["tcp://h:1", "--slo", "p100=1s"], "--slo"), (["tcp://h:1", "--slo", "p99=1s", "--rate", "5"], "by itself"),
    (["tcp://h:1", "--mode", "rcv"], "did you mean recv"), (["udp://h:1", "--mode", "recv"], "datagrams"),
    (["udp://h:1", "--mode", "connect"], "no connections"),
    (["tcp://h:1", "--mode", "send", "--depth", "2"], "--depth"),
    (["tcp://h:1", "--mode", "recv", "--size", "2"], "sends nothing"),
    (["tcp://h:1", "--mode", "recv", "--rate", "2"], "--rate"), (["tcp://h:1", "--size", "0"], "--size"),
    (["tcp://h:1", "--size", "9-3"], "--size"), (["tcp://h:1", "--size", "x"], "--size"),
    (["tcp://h:1", "--size", "5", "--payload", "f"], "the file is the message"),
    (["tcp://h:1", "--expect", "("], "--expect"), (["tcp://h:1", "--expect", "any", "--depth", "2"], "--depth 1"),
    (["tcp://h:1", "--expect", "a.c", "--rate", "5"], "--depth 1"), (["tcp://h:1", "--seed", "x"], "--seed"),
    (["tcp://h:1", "--conns", "0"], "out of range"), (["tcp://h:1", "--duration", "x"], "duration"),
    (["tcp://h:1", "--duration", "0"], "--duration"), (["udp://h:1", "--timeout", "0"], "--timeout"),
    (["compare", "x"], "which two"), (["merge", "x"], "merge which"),
])
@one_engine
def test_bad_options(tenon, args, words):
    result = tenon.run("bench", *args, status=USAGE)
    assert words in result.err and result.out == b""


@pytest.mark.parametrize("option", ["--output", "--html", "--hlog"])
@one_engine
def test_a_file_that_cannot_be_written(tenon, option):
    """It is told before the run, which would be lost."""
    result = tenon.run("bench", tenon.serve("tcp://127.0.0.1:0").url, option, tenon.folder / "nowhere" / "file",
                       "--duration", "1h", status=FAILED)
    assert "nowhere/file: No such file" in result.err and result.out == b""


@one_engine
def test_a_message_that_the_endpoint_does_not_take(tenon):
    server = tenon.serve("tcp://127.0.0.1:0?frame=u8")
    url = server.url.split("?")[0] + "?frame=u8"
    assert "tenon:" in tenon.run("bench", url, "--size", "300", "--duration", "5s", status=REFUSED).err
    assert "No such file" in tenon.run("bench", url, "--payload", "@/nowhere", status=FAILED).err
    assert "/dev/null: not a regular file" in tenon.run("bench", url, "--payload", "@/dev/null", status=FAILED).err
    udp = tenon.serve("udp://127.0.0.1:0")
    assert "too" in tenon.run("bench", udp.url, "--size", "100KiB", status=REFUSED).err.lower()


# While it runs

@one_engine
def test_seconds_are_told(tenon, schema):
    """While it runs, and without a gap; a second for which this machine had no time is told with the next."""
    server = tenon.serve("tcp://127.0.0.1:0")
    load = tenon.start("bench", server.url, "--rate", "200", "--conns", "3", "--threads", "2", "--duration", "1h",
                       "--warmup", "0", "--json")
    wait_until(lambda: len(load.lines) >= 3, "three stretches of time are told")
    load.signal(signal.SIGINT)
    load.wait(DONE)
    *told, result = map(json.loads, load.lines)
    check(schema, result)
    assert (len(told) >= 3 and {part["event"] for part in told} == {"interval"} and
            sum(part["messages"] for part in told) > 0)
    intervals, at = result["intervals"], 0
    assert [{**part, "event": None, "heat": None} for part in intervals] == \
        [{**part, "event": None, "heat": None} for part in told]
    for part in intervals:
        assert part["at_s"] == pytest.approx(at, abs=1e-3) and part["seconds"] > 0
        at += part["seconds"]
    assert at == pytest.approx(result["duration_s"], abs=0.1)
    for part in told[:-1]:  # the last one is what was left
        assert part["seconds"] >= 1 and part["seconds"] == pytest.approx(round(part["seconds"]), abs=1e-3)


@one_engine
def test_interrupted(tenon, schema):
    server = tenon.serve("tcp://127.0.0.1:0")
    load = tenon.start("bench", server.url, "--conns", "4", "--duration", "1h", "--warmup", "0", "--json")
    load.wait_for_text('"interval"', "out")
    load.signal(signal.SIGINT)
    load.wait(DONE)
    result = json.loads(load.lines[-1])
    check(schema, result)
    assert (result["interrupted"] and result["messages"] > 0 and 0.9 < result["duration_s"] < 600 and
            result["errors"] == 0)


@pytest.mark.parametrize("args", [["--warmup", "1h"], ["--warmup", "1h", "--rate", "100"],
                                  ["--mode", "send", "--warmup", "1h"], ["--slo", "p99=1h"]])
@one_engine
def test_interrupted_before_anything_was_measured(tenon, args):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--json"])
    load = tenon.start("bench", server.url, *args, "--json")
    server.wait_for_event("open")
    load.signal(signal.SIGINT)
    load.wait(FAILED)
    assert "interrupted before anything was measured" in load.err
    # no result where the signal came before the run
    assert not load.lines or json.loads(load.lines[-1])["messages"] == 0


class Head:
    """A reader that takes some lines and goes: `| head -1`."""

    def __init__(self, process):
        self.stream = process.popen.stdout

    def take(self, lines):
        taken = [self.stream.readline() for _ in range(lines)]
        self.stream.close()
        return taken


@pytest.mark.parametrize("args, lines", [(["--json"], 1), (["--json", "--rate", "100"], 1), (["--json"], 0), ([], 0),
                                         (["--json", "--slo", "p99=1h"], 0), (["--mode", "connect"], 0),
                                         (["--json", "--threads", "2", "--conns", "2"], 1)])
@one_engine
def test_the_load_ends_with_its_reader(tenon, args, lines):
    """At once, though nothing is being written, and without a word."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--json"])
    load = tenon.start("bench", server.url, *args, "--duration", "1h", "--warmup", "0", stdout=subprocess.PIPE)
    server.wait_for_event("open")
    Head(load).take(lines)
    load.wait(DONE)
    assert load.err == ""


@one_engine
def test_a_reader_that_goes_leaves_the_files(tenon, schema):
    """What was asked for in a file is there, as after Ctrl-C; replies that are owed are not waited for."""
    silent = tenon.listen()
    kept = tenon.folder / "result.json"
    load = tenon.start("bench", f"tcp://127.0.0.1:{silent.getsockname()[1]}", "--duration", "1h", "--warmup", "0",
                       "--timeout", "1h", "--output", kept, "--json", stdout=subprocess.PIPE)
    client, _ = silent.accept()
    assert client.recv(64)
    load.popen.stdout.close()
    load.wait(DONE)
    client.close()
    result = json.loads(kept.read_text(encoding="utf-8"))
    assert result["interrupted"] and result["messages"] == 0


def on_a_terminal(tenon, *args):
    person, terminal = pty.openpty()
    with subprocess.Popen([COMMAND, "bench", *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=terminal,
                          env={**os.environ, "TERM": "xterm"}) as process:
        os.close(terminal)
        shown = b""
        try:
            while data := os.read(person, 10000):
                shown += data
        except OSError:  # the other side is closed
            pass
        out = process.stdout.read()
    os.close(person)
    assert process.returncode == 0
    return shown.decode(), out.decode()


@one_engine
def test_live_view(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    shown, out = on_a_terminal(tenon, server.url, "--rate", "100", "--duration", "3s", "--warmup", "1s")
    assert ("░" in shown and "warming up" in shown and re.search(r"p50 \S+ [um]?s", shown) and
            re.search("[▁-█]", shown))
    bars = re.findall(r"(█*)(░*) +(\d+) %", shown)
    assert all(len(done + left) == 24 and len(done) == pytest.approx(0.24 * int(share), abs=1.2)
               for done, left, share in bars)
    assert shown.endswith("\x1b[J") and "p99.9" in out and "\x1b" not in out
    assert on_a_terminal(tenon, server.url, "--requests", "50", "-q")[0] == ""
    assert tenon.run("bench", server.url, "--requests", "50").err == ""


@pytest.mark.skipif(SANITIZED, reason="memory is not the command's own under a sanitizer")
@one_engine
def test_memory_is_flat(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    load = tenon.start("bench", server.url, "--conns", "8", "--depth", "4", "--duration", "1h", "--warmup", "0",
                       "--json")

    def seconds_told():
        return json.loads(load.lines[-1])["at_s"] if load.lines else 0
    wait_until(lambda: seconds_told() >= 2, "three seconds have been told")
    before = resident_bytes(load.pid)
    wait_until(lambda: seconds_told() >= 6, "seven seconds have been told")
    after = resident_bytes(load.pid)
    load.signal(signal.SIGINT)
    load.wait(DONE)
    assert after - before < 2 * MIB


# Results in files

def two_results(tenon, *options):
    server = tenon.serve("tcp://127.0.0.1:0")
    paths = [tenon.folder / name for name in ("a.json", "b.json")]
    for path in paths:
        tenon.run("bench", server.url, "--requests", "500", "--conns", "2", "--output", path, *options)
    return paths


@one_engine
def test_targets_are_merged(tenon, schema):
    """By URL, whichever order they were given in; with a run of one URL nothing is told by URL."""
    urls = [tenon.serve("tcp://127.0.0.1:0").url for _ in range(2)]
    paths = [tenon.folder / name for name in ("a.json", "b.json", "c.json")]
    for path, given in zip(paths, (urls, urls[::-1], urls[:1])):
        tenon.run("bench", *given, "--requests", "300", "--conns", "2", "--output", path)
    a, b = (json.loads(path.read_text(encoding="utf-8")) for path in paths[:2])
    merged = bench(tenon, "merge", *paths[:2])
    check(schema, merged)
    for n, target in enumerate(merged["targets"]):
        one, two = a["targets"][n], b["targets"][1 - n]
        assert target["url"] == urls[n] == one["url"] == two["url"]
        assert target["messages"] == one["messages"] + two["messages"] and target["conns"] == 1
        assert decode(target["histogram"]["v2"]) == (collections.Counter(decode(one["histogram"]["v2"])) +
                                                     collections.Counter(decode(two["histogram"]["v2"])))
    assert "targets" not in bench(tenon, "merge", *paths)


@one_engine
def test_merged_exactly(tenon, schema):
    for options in ([], ["--rate", "1000"]):
        paths = two_results(tenon, *options)
        a, b = (json.loads(path.read_text(encoding="utf-8")) for path in paths)
        merged = bench(tenon, "merge", *paths)
        check(schema, merged)
        assert not merged["stderr"] and merged["path"] == a["path"]
        assert sum(part["bytes"] for part in merged["intervals"]) == merged["bytes"] == a["bytes"] + b["bytes"] > 0
        for name in ("service", "response", "late"):
            one, two, both = (r["histograms"][name] for r in (a, b, merged))
            if one:
                assert (decode(both["v2"]) == collections.Counter(decode(one["v2"])) +
                        collections.Counter(decode(two["v2"])))
                assert both["max_ns"] == max(one["max_ns"],
                                             two["max_ns"]) and both["min_ns"] == min(one["min_ns"], two["min_ns"])
        assert merged["messages"] == 1000 and merged["rounds"] == 2
        assert merged["duration_s"] == pytest.approx(a["duration_s"] + b["duration_s"])
        other_way = bench(tenon, "merge", *reversed(paths))
        assert other_way["latency_us"] == merged["latency_us"]
        part = tenon.folder / "part.json"
        part.write_text(json.dumps({k: v for k, v in merged.items() if k not in ("told", "stderr")}), encoding="utf-8")
        wanted = bench(tenon, "merge", *paths, paths[0])
        assert bench(tenon, "merge", part, paths[0])["latency_us"] == wanted["latency_us"]


@one_engine
def test_files_that_are_no_results(tenon):
    path, other = two_results(tenon)
    whole = path.read_text(encoding="utf-8")
    bad = tenon.folder / "bad.json"
    for text, words in [("", "empty"), (whole[:len(whole) // 2], "cut short"), (whole[:-3], "cut short"),
                        (whole.replace("tenon-bench-1", "tenon-bench-7"), "version tenon-bench-7"),
                        ('{"a":1}', "no result of tenon bench"), ("<html>", "no whole result"),
                        (whole.replace('"messages":500,"errors"', '"messages":501,"errors"'), "contradict"),
                        (whole.replace('"rounds":1', '"rounds":4294967295'), "rounds contradict"),
                        (whole.replace('"round":0', '"round":1'), "rounds contradict"),
                        (re.sub(r'"v2":"(.{40}).{8}', r'"v2":"\1AAAAAAAA', whole), "histogram")]:
        bad.write_text(text, encoding="utf-8")
        for command in ("compare", "merge"):
            result = tenon.run("bench", command, other, bad, status=REFUSED)
            assert words in result.err and "bad.json" in result.err and result.out == b""
    assert "No such file" in tenon.run("bench", "compare", other, tenon.folder / "none", status=FAILED).err
    many = [path] * 1201
    assert "more rounds than" in tenon.run("bench", "merge", *many, "--json", status=FAILED).err


@one_engine
def test_what_is_in_no_known_encoding(tenon):
    """A file's name, and what replies must match, may be any bytes: what is written of them can be read again."""
    url, path = f"unix:{tenon.folder}/\udcff", tenon.folder / "result.json"  # the byte 255, as Python says it
    tenon.serve(url)
    tenon.run("bench", url, "--requests", "100", "--expect", ".|\udcfe", "--output", path)
    setup = json.loads(path.read_text(encoding="utf-8"))["setup"]
    assert setup["url"].endswith("/\ufffd") and setup["expect"] == ".|\ufffd"
    tenon.run("bench", "compare", path, path)


@one_engine
def test_what_strangers_write_into_results(tenon):
    """No terminal acts on it, and what is written of it can be read again."""
    path, _ = two_results(tenon)
    result = json.loads(path.read_text(encoding="utf-8"))
    result["setup"]["url"] = "tcp://\x1b[31m\x9b1m\x07"
    result["started"], result["duration_s"] = "\x1b]0;title\x07", 1e308
    result["errors_by_kind"] = {"\x1b[2J": 1, "a" + "\u00e9" * 100: 2}
    result["intervals"][0]["heat"] = [[1], 1, [], {}, [[2], [3]], "x"]
    path.write_text(json.dumps(result, ensure_ascii=False), encoding="utf-8")
    odd = tenon.folder / "odd.json"
    odd.write_text(json.dumps({**result, "errors_by_kind": ["one"], "slo": {"steps": {"a": {}}},
                               "intervals": {str(i): result["intervals"][0] for i in range(100)}}), encoding="utf-8")
    for command in ("compare", "merge"):
        tenon.run("bench", command, odd, odd)
        run = tenon.run("bench", command, path, path)
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", run.text + run.err), run
    merged = tenon.folder / "merged.json"
    tenon.run("bench", "merge", path, path, "--output", merged)
    tenon.run("bench", "compare", merged, path)
    assert json.loads(merged.read_text(encoding="utf-8"))["errors_by_kind"] == {"?[2J": 2, "a" + "\u00e9" * 59: 4}


@one_engine
def test_what_else_two_results_differ_in_is_told(tenon):
    path, other = two_results(tenon)
    result = json.loads(path.read_text(encoding="utf-8"))
    same = tenon.run("bench", "compare", path, other).err
    assert "differ in more" not in same
    for section, key, value, words in (("setup", "size", "7", "message size"), ("machine", "host", "else", "host"),
                                       ("setup", "conns", 9, "connections x depth"),
                                       ("setup", "depth", 5, "connections x depth")):
        changed = json.loads(json.dumps(result))
        changed[section][key] = value
        other.write_text(json.dumps(changed), encoding="utf-8")
        told = tenon.run("bench", "compare", path, other).err
        assert told.count("differ in more") == 1 and f": {words} " in told and str(value) in told, told


@one_engine
def test_results_of_two_kinds(tenon):
    closed = two_results(tenon)[0]
    scheduled = tenon.folder / "rate.json"
    server = tenon.serve("tcp://127.0.0.1:0")
    tenon.run("bench", server.url, "--requests", "50", "--rate", "500", "--output", scheduled)
    assert "another kind" in tenon.run("bench", "merge", closed, scheduled, status=REFUSED).err


def altered(result, factor, noise=0.0):
    """The same run, had it been so much faster, with seconds that differ so much."""
    part = result["intervals"][0]
    result["intervals"] = [{**part, "at_s": i, "seconds": 1, "errors": 0, "bytes": 0, "heat": [],
                            "messages": int(10000 * factor * (1 + noise * ((i * 7) % 5 - 2))),
                            "p50_us": 100 / factor, "p99_us": 300 / factor} for i in range(20)]
    result["duration_s"] = sum(part["messages"] for part in result["intervals"]) and \
        result["messages"] / (sum(part["messages"] for part in result["intervals"]) / 20)
    return result


@one_engine
@pytest.mark.parametrize("factor,noise,verdict", [(1.0, 0.01, "same"), (1.2, 0.01, "better"), (0.8, 0.01, "worse"),
                                                  (1.02, 0.2, "same"), (1.002, 0.0, "same")])
def test_compared(tenon, factor, noise, verdict):
    paths = two_results(tenon)
    for path, by in zip(paths, (1.0, factor)):
        path.write_text(json.dumps(altered(json.loads(path.read_text(encoding="utf-8")), by, noise)), encoding="utf-8")
    rate = json.loads(tenon.run("bench", "compare", *paths, "--json").text)["metrics"][0]
    assert rate["name"] == "rate" and rate["verdict"] == verdict
    assert rate["change"] == pytest.approx(factor - 1, abs=0.002) and rate["low"] <= rate["change"] + 0.002
    text = tenon.run("bench", "--compare", *paths).text
    assert {"same": "no difference", "better": "B is better", "worse": "B is worse"}[verdict] in text
    assert tenon.run("bench", "compare", *paths).text == text


@one_engine
def test_too_short_to_compare(tenon):
    text = tenon.run("bench", "compare", *two_results(tenon)).text
    assert "not known" in text


@one_engine
def test_logs_of_histograms(tenon, schema):
    """Written as HdrHistogram's logs are, and read back from another program's hand."""
    server, log = tenon.serve("tcp://127.0.0.1:0"), tenon.folder / "seconds.hlog"
    result = bench(tenon, server.url, "--rate", "300", "--duration", "4s", "--warmup", "0", "--hlog", log)
    lines = log.read_text(encoding="utf-8").splitlines()
    assert "#[Histogram log format version 1.3]" in lines
    data = [line.split(",") for line in lines if re.match(r"\d", line)]
    assert len(data) == len(result["intervals"]) >= 2 and all(len(fields) == 4 for fields in data)
    total = collections.Counter()
    for fields in data:
        total += collections.Counter(decode(fields[3]))
    assert total == decode(result["histograms"]["response"]["v2"])
    merged = bench(tenon, "merge", log, log)
    check(schema, merged)
    assert merged["messages"] == 2400
    assert merged["service_us"]["p50"] == pytest.approx(result["response_us"]["p50"], rel=0.002)
    for text in ("\n".join(lines)[:-7], "\n".join([*lines[:4], "nan,1,1," + data[0][3]]),
                 "\n".join([*lines[:4], "1,inf,1," + data[0][3]])):
        log.write_text(text, encoding="utf-8")
        assert "histogram log" in tenon.run("bench", "merge", log, log, status=REFUSED).err


@one_engine
def test_logs_of_older_encodings(tenon):
    """V0 and V1 of HdrHistogram are told apart from a file that was cut short."""
    log = tenon.folder / "old.hlog"
    for cookie, version in ((0x1c849309, 0), (0x1c849302 | 0x10, 1), (0x1c849308, 0)):
        text = base64.b64encode(struct.pack(">II", cookie, 4) + b"abcd").decode()
        log.write_text(f"#[Histogram log format version 1.1]\n0.0,1.0,1.0,{text}\n")
        for how in (["merge", log, log], ["compare", log, log]):
            err = tenon.run("bench", *how, status=REFUSED).err
            assert "line 2" in err and f"version {version}; only version 2" in err and "cut short" not in err
    log.write_text("#[Histogram log format version 1.3]\n0.0,1.0,1.0,HISTFA")
    assert "line 2" in (err := tenon.run("bench", "merge", log, log, status=REFUSED).err) and "cut short" in err


# The page

class Page(html.parser.HTMLParser):
    """The elements of a page, with their attributes; fails where they do not nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.text = [], [], ""
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), [e for e, _ in self.open]))
        if tag not in ("meta", "br"):
            self.open.append((tag, attrs))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), [e for e, _ in self.open]))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1][0] == tag, f"</{tag}> ends {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attrs for name, attrs, _ in self.elements if name == tag]


def make_page(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    path = tenon.folder / "page.html"
    tenon.run("bench", f"{server.url}?tos=ef&priority=1", "--rate", "500", "--duration", "2s", "--warmup", "100ms",
              "--html", path)
    return path


@one_engine
def test_page(tenon):
    text = make_page(tenon).read_text(encoding="utf-8")
    page = Page(text)
    assert not re.search(r"https?:|src=|<script|<link|@import|url\(", text), "it needs nothing else"
    assert {attrs["id"] for attrs in page.all("svg")} == {"percentiles", "heatmap", "throughput"}
    curves = [attrs["points"].split() for attrs in page.all("polyline")]
    assert len(curves) == 3 and len(curves[0]) > 300 and len(curves[1]) > 300
    for curve in curves[:2]:  # no percentile is below the one before; y grows downwards
        heights = [float(point.split(",")[1]) for point in curve]
        assert heights == sorted(heights, reverse=True)
    for attrs in page.all("rect"):
        assert 0 <= float(attrs["x"]) <= 920 and 0 <= float(attrs["y"]) <= 300 and float(attrs["height"]) > 0
    heat = re.findall(r"<title>[\d.]+ s: (\d+) of", text)
    assert sum(map(int, heat)) == 1000, "every message is in the heat map"
    assert "tos=ef&priority=1" in page.text and "prefers-color-scheme:dark" in text
    # At least ten columns a second, a key to the colours, words at the axes, and both of their ends have a label
    cells = [attrs for attrs in page.all("rect") if "opacity" in attrs]
    assert len({attrs["x"] for attrs in cells}) >= 20 and max(int(attrs["x"]) for attrs in cells) in range(19, 41)
    assert all(attrs[name].isdigit() for attrs in cells
               for name in ("x", "y", "width", "height")), "edges that all share"
    strengths = {float(attrs["opacity"]) for attrs in cells}
    keys = [float(match) for match in re.findall(r'class="cell" style="opacity:([\d.]+)"', text)]
    assert min(keys) == min(strengths) > 0.1 and max(keys) == max(strengths) == 1 and keys == sorted(keys)
    spans = [attrs for attrs in page.all("span")]
    assert len([attrs for attrs in spans if attrs.get("class") == "name"]) == 3
    for plot in re.findall(r'<div class="plot">.*?</div>', text, re.S):
        heights = [float(part) for part in re.findall(r'class="y" style="bottom:([\d.]+)%"', plot)]
        assert heights == sorted(heights) and heights[0] == 0 and heights[-1] == 100 and len(heights) >= 3
    assert '<meta name="viewport" content="width=device-width,initial-scale=1">' in text
    for words in ("p99.9", "Set-up", "generator", "response", "service", "500 messages/s"):
        assert words in page.text


@one_engine
def test_labels_of_a_wide_axis(tenon):
    """From microseconds to a third of a second there are more round steps than labels have room."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "exec:sleep 0.3; cat"])
    path = tenon.folder / "page.html"
    tenon.run("bench", server.url, "--rate", "200", "--duration", "1s", "--warmup", "0", "--html", path)
    plots = re.findall(r'<div class="plot">.*?</div>', path.read_text(encoding="utf-8"), re.S)
    for plot in plots[:2]:
        heights = [float(part) for part in re.findall(r'class="y" style="bottom:([\d.]+)%"', plot)]
        assert 3 <= len(heights) <= 9 and all(b - a >= 5.9 for a, b in zip(heights, heights[1:])), heights


def stand_in_order(text, *words):
    """Each behind the one before; a newline between two counts for both."""
    at = 0
    for word in words:
        at = text.find(word, max(0, at - 1))
        if at < 0:
            return False
        at += len(word)
    return True


@one_engine
def test_all_that_a_result_has_is_shown_in_order(tenon):
    server = tenon.serve("udp://127.0.0.1:0")
    path, page = tenon.folder / "result.json", tenon.folder / "page.html"
    tenon.run("bench", server.url, "--requests", "200", "--rate", "1000", "--output", path)
    result = json.loads(path.read_text(encoding="utf-8"))
    result.update(errors=3, errors_by_kind={"the first kind": 1, "the second kind": 2}, reconnects=5)
    result["datagrams"].update(lost=4, duplicates=2, reordered=1, late=7)
    path.write_text(json.dumps(result), encoding="utf-8")
    table = tenon.run("bench", "merge", path, path, "--html", page).text
    assert stand_in_order(table, f"{server.url}\n", "request mode", "\n  messages ", "\n  rate ", "\n  payload ",
                          "\n  latency ", "\n  p50 ", "\n  max ", "\n  mean ", "\n  lost         8 ",
                          "\n  duplicates   4\n", "\n  reordered    2\n", "\n  late         14 ", "\n  errors       6",
                          " 2   the first kind\n", " 4   the second kind\n", "\n  reconnects   10",
                          "\n  generator "), table
    shown = Page(page.read_text(encoding="utf-8"))
    assert stand_in_order(shown.text, "Latency by percentile", "Latency over time", "Throughput over time", "Set-up",
                          "endpoint", "mode", "connections", "rate by schedule", "message size", "measured", "warm-up",
                          "messages", "threads", "engine", "generator's CPU time", "generator busy", "host",
                          "processor", "kernel", "started", "the first kind", "the second kind"), shown.text


@one_engine
def test_page_of_merged_runs(tenon, schema):
    """As finely as each was measured, one behind the other; a result of before, which has no slices, by its
    intervals."""
    server = tenon.serve("tcp://127.0.0.1:0")
    paths, page = [tenon.folder / f"{name}.json" for name in "ab"], tenon.folder / "page.html"
    for path in paths:
        check(schema, bench(tenon, server.url, "--rate", "300", "--duration", "1s", "--warmup", "0", "--output", path))

    def cells():
        text = page.read_text(encoding="utf-8")
        assert sum(map(int, re.findall(r"<title>[\d.]+ s: (\d+) of", text))) == 600
        return {int(attrs["x"]) for attrs in Page(text).all("rect") if "opacity" in attrs}
    merged = bench(tenon, "merge", *paths, "--html", page)
    check(schema, merged)
    assert sum(count for heat in merged["slices"]["heat"] for _, count in heat) == 600
    assert len(cells()) >= 20 and max(cells()) in range(20, 45)
    old = json.loads(paths[0].read_text(encoding="utf-8"))
    del old["slices"]
    paths[0].write_text(json.dumps(old), encoding="utf-8")
    for order in (paths, paths[::-1]):
        merged = bench(tenon, "merge", *order, "--html", page)
        assert "slices" not in merged and 2 <= len(cells()) <= 6
    # What somebody has changed draws nothing that is not there
    for slices in ({"seconds": 1e300, "heat": [[[1, 2]]]}, {"seconds": 0, "heat": [[]]},
                   {"seconds": 0.05, "heat": [[[1]], 5, {}, "x"]}, {"seconds": 0.05, "heat": [[]] * 601},
                   {"seconds": -1}, 7, {"seconds": 0.07, "heat": [[[500, 1], [2, -3]]] * 600}):
        paths[0].write_text(json.dumps({**old, "slices": slices}), encoding="utf-8")
        bench(tenon, "merge", *paths, "--html", page)
        Page(page.read_text(encoding="utf-8"))


def pixels_of(png):
    """Rows of (red, green, blue), of a picture as Chromium writes it: 8 bits, no interlace."""
    width, height, depth, kind = struct.unpack(">IIBB", png[16:26])
    assert depth == 8 and kind in (2, 6)
    data, at, size = b"", 8, 3 if kind == 2 else 4
    while at < len(png):
        length, name = struct.unpack(">I4s", png[at:at + 8])
        data += png[at + 8:at + 8 + length] if name == b"IDAT" else b""
        at += 12 + length
    plain, before, rows = zlib.decompress(data), bytearray(width * size), []
    for y in range(height):
        start = y * (width * size + 1)
        kind, row = plain[start], bytearray(plain[start + 1:start + 1 + width * size])
        for i in range(width * size if kind else 0):
            left, up, corner = (row[i - size], before[i], before[i - size]) if i >= size else (0, before[i], 0)
            if kind == 4:
                guess = left + up - corner
                near = min((abs(guess - left), 0, left), (abs(guess - up), 1, up), (abs(guess - corner), 2, corner))[2]
            else:
                near = (left, up, (left + up) // 2)[kind - 1]
            row[i] = (row[i] + near) & 255
        rows.append([tuple(row[i:i + 3]) for i in range(0, len(row), size)])
        before = row
    return rows


@one_engine
def test_the_measuring_scripts_bear_any_process_name(tenon):
    """`make bench` reads /proc of every process of the machine; a name need not be UTF-8."""
    asking = """import os, sys, types
sys.path.insert(0, sys.argv[1])
import servers
with open("/proc/self/comm", "wb") as comm:
    comm.write(b"\\xff) \\xe4 (x")
child = types.SimpleNamespace(pid=os.getpgid(0))
print(servers.Server.cpu_s(types.SimpleNamespace(child=child)))"""
    result = tenon.finish(["/usr/bin/python3", "-B", "-c", asking, ROOT / "bench"], DONE, start_new_session=True)
    assert float(result.text) >= 0


def make_page_of_known_data(tenon):
    """The page of a run that went as no real one does: all that is drawn is known."""
    server = tenon.serve("tcp://127.0.0.1:0")
    path, page = tenon.folder / "known.json", tenon.folder / "known.html"
    tenon.run("bench", server.url, "--rate", "500", "--duration", "1s", "--warmup", "0", "--output", path)
    result = json.loads(path.read_text(encoding="utf-8"))
    heat = [[16 + 3 * i, 2**i] for i in range(8)]  # cells of different strength
    total = sum(count for _, count in heat) * 20
    shares = [10 * total >> i + 1 for i in range(9)]
    shares[0] += 10 * total - sum(shares)
    result["histograms"] = {name: encode({base << i: count for i, count in enumerate(shares)})
                            for name, base in (("service", 20000), ("response", 100000), ("late", 50))}
    result["intervals"] = [{**result["intervals"][0], "at_s": i, "messages": total, "rate": total,
                            "heat": [[at, count * 20] for at, count in heat]} for i in range(10)]
    result["slices"] = {"seconds": 0.05, "heat": [heat] * 200}
    result.update(messages=10 * total, sent=10 * total, duration_s=10, rate=total)
    path.write_text(json.dumps(result), encoding="utf-8")
    tenon.run("bench", "merge", path, path, "--html", page)
    return page


@one_engine
def test_page_in_a_browser(tenon):
    """As a browser draws it: three plots, each with its curves, and the colours of the heat map in between."""
    browser = shutil.which("chromium")
    if not browser or SANITIZED:
        pytest.skip("no chromium here")
    page, shot = make_page_of_known_data(tenon), tenon.folder / "shot.png"
    asking = tenon.folder / "asking.html"
    asking.write_text(page.read_text(encoding="utf-8").replace("</body>", """<script>document.title = JSON.stringify(
        [...document.querySelectorAll("svg")].map(e => [e.id, ...["x", "y", "width", "height"].map(
        n => Math.round(e.getBoundingClientRect()[n]))]))</script></body>"""), encoding="utf-8")
    argv = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
            "--disable-background-networking", f"--user-data-dir={tenon.folder}/chromium", "--window-size=600,1600"]
    result = tenon.finish([*argv, f"--screenshot={shot}", f"file://{page}"], None, limit=LIMIT * 3)
    if not shot.exists():
        pytest.skip(f"chromium does not run here: {result.err[-300:]}")
    dom = tenon.finish([*argv, "--dump-dom", f"file://{asking}"], None, limit=LIMIT * 3).text
    boxes = json.loads(re.search(r"<title>(.*?)</title>", dom)[1])
    assert [box[0] for box in boxes] == ["percentiles", "heatmap", "throughput"]
    rows = pixels_of(shot.read_bytes())
    plots = {name: [pixel for row in rows[y:y + height] for pixel in row[x:x + width]] for name, x, y, width,
             height in boxes}

    def count(name, is_so):
        return sum(is_so(red, green, blue) for red, green, blue in plots[name])
    assert count("percentiles", lambda red, green, blue: blue - red > 100) > 300, "the blue curve"
    assert count("percentiles", lambda red, green, blue: red - blue > 100) > 300, "the orange curve"
    area = count("throughput", lambda red, green, blue: blue - red > 20)
    assert area > len(plots["throughput"]) / 3, "the area under the curve"
    shades = [pixel for pixel, times in collections.Counter(plots["heatmap"]).items() if times > 50 and
              pixel[2] - pixel[0] > 20]
    assert len(shades) >= 4, "cells of different strength"


WIDTHS = [360, 411, 613, 777]


def in_frames(tenon, name, text, widths, height):
    """A page that shows another one at several widths, and tells in its title how wide each says it is."""
    (tenon.folder / f"{name}.html").write_text(text.replace("</body>", """<script>onload = () => parent.postMessage(
        [innerWidth, document.documentElement.scrollWidth], "*")</script></body>"""), encoding="utf-8")
    frames = tenon.folder / f"{name}-frames.html"
    frames.write_text("""<body style="margin:0"><script>seen = []; onmessage = e => { seen.push(e.data);
        document.title = JSON.stringify(seen) }</script>""" + "".join(
            f'<iframe style="border:0;display:block" width={width} height={height} src={name}.html></iframe>'
            for width in widths),
                      encoding="utf-8")
    return frames


@one_engine
def test_page_at_every_width(tenon):
    """No seams between the cells of the heat map, nothing that is wider than a phone, light and dark."""
    browser = shutil.which("chromium")
    if not browser or SANITIZED:
        pytest.skip("no chromium here")
    text = make_page(tenon).read_text(encoding="utf-8")
    # Every cell of the map, all of one colour: whatever else is seen within is a seam
    columns = max(map(int, re.findall(r'<rect x="(\d+)"[^>]*opacity', text))) + 1
    cells = "".join(f'<rect x="{x}" y="{y}" width="1" height="1"/>' for x in range(columns) for y in range(132))
    plot = re.search(r'<div class="plot">\n<svg id="heatmap".*?</div>', text, re.S)[0]
    plot = re.sub(r'(<g class="heat"[^>]*>).*?</g>', lambda match: f"{match[1]}{cells}</g>", plot, flags=re.S)
    height = 340
    frames = in_frames(tenon, "map", f"{text[:text.index('<body>')]}<body>{plot}</body>", WIDTHS, height)
    argv = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
            "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync"]
    for scheme, blue, widths in (("1", (11, 98, 196), WIDTHS), ("0", (109, 179, 255), WIDTHS[:1])):  # light, dark
        shot = tenon.folder / f"shot{scheme}.png"
        result = tenon.finish([*argv, f"--user-data-dir={tenon.folder}/chromium{scheme}",
                               f"--blink-settings=preferredColorScheme={scheme}",
                               f"--window-size={max(500, *widths)},{height * len(widths)}", f"--screenshot={shot}",
                               f"file://{frames}"], None, limit=LIMIT * 3)
        if not shot.exists():
            pytest.skip(f"chromium does not run here: {result.err[-300:]}")
        rows = pixels_of(shot.read_bytes())
        for i, width in enumerate(widths):
            lines = [[x for x, pixel in enumerate(row[:width]) if pixel == blue]
                     for row in rows[i * height:(i + 1) * height]]
            solid = [y for y, at in enumerate(lines) if len(at) > width * 0.6]
            assert len(solid) > 150, f"{width}: the map is {len(solid)} lines high"
            assert solid == list(range(solid[0], solid[-1] + 1)), f"{width}: a seam from side to side"
            for y in solid:
                assert lines[y] == list(range(lines[y][0], lines[y][-1] + 1)), f"{width}: a seam in line {y}"
    frames = in_frames(tenon, "whole", text, WIDTHS, 500)
    dom = tenon.finish([*argv, f"--user-data-dir={tenon.folder}/chromium2", "--dump-dom", f"file://{frames}"], None,
                       limit=LIMIT * 3).text
    told = json.loads(re.search(r"<title>(.*?)</title>", dom)[1])
    assert sorted(told) == [[width, width] for width in WIDTHS], "nothing is wider than the page"
