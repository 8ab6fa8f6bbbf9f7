"""tenon ping: what is answered, lost, late or doubled is counted as it was."""
import contextlib
import errno
import json
import signal
import socket
import struct
import threading

import pytest

import system
from harness import LIMIT, dial_when_served, free_port, wait_until

ECHO, REPLY, ECHO6, REPLY6 = 8, 0, 128, 129


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def allow_ping_sockets(network, allowed):
    system.write_inside(network, "/proc/sys/net/ipv4/ping_group_range", "0 2147483647" if allowed else "1 0")


def ping(tenon, *args, status=0, **how):
    """(the lines before the summary, the summary)"""
    lines = [json.loads(line) for line in tenon.run("ping", "--json", *args, status=status, **how).lines]
    assert lines[-1]["event"] == "summary", lines
    return lines[:-1], lines[-1]


def counts(summary):
    return tuple(summary[key] for key in ("sent", "answered", "late", "lost", "failed", "duplicates"))


def check_times(times):
    assert 0 < times["min"] <= times["p50"] * 1.001 and times["p50"] <= times["p90"] <= times["p99"] <= times["max"]
    assert times["min"] <= times["mean"] <= times["max"]


# ICMP

@pytest.mark.parametrize("how", ["ping socket", "raw socket"])
@pytest.mark.parametrize("host, url", [("10.9.0.2", "icmp://10.9.0.2"), ("fd09::2", "icmp://[fd09::2]")])
def test_across_a_cable(tenon, wire, how, host, url):
    allow_ping_sockets(wire.near, how == "ping socket")
    family, protocol = ((socket.AF_INET6, socket.IPPROTO_ICMPV6)
                        if ":" in host else (socket.AF_INET, socket.IPPROTO_ICMP))
    listener = tenon.cleanups.enter_context(contextlib.closing(wire.far.socket(family, socket.SOCK_RAW, protocol)))
    listener.settimeout(LIMIT)
    lines, summary = ping(tenon, "--count", 5, "--interval", "20ms", "--size", 100, host, preexec_fn=wire.near.enter)
    assert counts(summary) == (5, 5, 0, 0, 0, 0) and (summary["loss"], summary["url"]) == (0, url)
    assert [(line["event"], line["seq"], line["bytes"], line["from"]) for line in lines] == \
        [("reply", seq, 108, url) for seq in range(1, 6)]
    check_times(summary["rtt_ns"])
    assert (min(line["rtt_ns"] for line in lines), max(line["rtt_ns"] for line in lines)) == \
        (summary["rtt_ns"]["min"], summary["rtt_ns"]["max"])
    # What really was on the cable
    seen = []
    while len(seen) < 5:
        packet = listener.recv(2000)
        message = packet if family == socket.AF_INET6 else packet[20:]
        if message[0] in (ECHO, ECHO6) and len(message) == 108:
            seen.append(struct.unpack("!H", message[6:8])[0])
    assert seen == [1, 2, 3, 4, 5]


def drop(nft, network, rule):
    nft(network, f"table inet lossy {{\nchain in {{\ntype filter hook input priority 0;\n{rule}\n}}\n}}\n")


@pytest.mark.parametrize("host, message", [("10.9.0.2", "icmp type echo-request"),
                                           ("fd09::2", "icmpv6 type echo-request")])
def test_loss_is_counted_right(tenon, wire, nft, host, message):
    allow_ping_sockets(wire.near, True)
    drop(nft, wire.far, f"{message} numgen inc mod 4 == 0 drop")
    lines, summary = ping(tenon, "--count", 20, "--interval", "5ms", "--timeout", "2s", host,
                          preexec_fn=wire.near.enter)
    assert counts(summary) == (20, 15, 0, 5, 0, 0) and summary["loss"] == 0.25
    assert [line["seq"] for line in lines if line["event"] == "lost"] == [1, 5, 9, 13, 17]


def test_nobody_answers(tenon, wire, nft):
    allow_ping_sockets(wire.near, True)
    drop(nft, wire.far, "icmp type echo-request drop")
    _, summary = ping(tenon, "--count", 3, "--interval", "5ms", "--timeout", "200ms", "10.9.0.2", status=1,
                      preexec_fn=wire.near.enter)
    assert counts(summary) == (3, 0, 0, 3, 0, 0) and summary["loss"] == 1 and "rtt_ns" not in summary
    text = tenon.run("ping", "--count", 3, "--interval", "5ms", "--timeout", "200ms", "10.9.0.2", status=1,
                     preexec_fn=wire.near.enter).lines
    assert text[-1] == "icmp://10.9.0.2: 3 sent, 0 answered, 3 lost (100%)"
    assert text[0] == "icmp://10.9.0.2 seq=1 no answer within 200 ms"


@pytest.mark.parametrize("how", ["ping socket", "raw socket"])
@pytest.mark.parametrize("host, message, reason, words", [
    ("10.9.0.2", "icmp type echo-request", "icmp type host-unreachable", "No route to host"),
    ("fd09::2", "icmpv6 type echo-request", "icmpv6 type admin-prohibited", "Permission denied"),
])
def test_what_routers_say(tenon, wire, nft, how, host, message, reason, words):
    """A probe that a router sends back is told at once, and with the reason; it has not been lost without a trace."""
    allow_ping_sockets(wire.near, how == "ping socket")
    for limit in ("ipv4/icmp_ratelimit", "ipv6/icmp/ratelimit"):
        system.write_inside(wire.far, f"/proc/sys/net/{limit}", "0")
    drop(nft, wire.far, f"{message} reject with {reason}")
    args = "--count", 3, "--interval", "20ms", "--timeout", "30s", host
    lines, summary = ping(tenon, *args, status=1, preexec_fn=wire.near.enter)
    assert counts(summary) == (3, 0, 0, 0, 3, 0)
    told = [(line["event"], line["seq"], line["error"]) for line in lines]
    assert told == [("failed", seq, words) for seq in (1, 2, 3)]
    text = tenon.run("ping", *args, status=1, preexec_fn=wire.near.enter).lines
    assert text[-1].endswith("3 sent, 0 answered, 3 lost (100%), 3 of them with a reason")


def test_a_link_local_address(tenon, wire):
    """It is many machines' own: which one, only the interface tells."""
    lines, _ = ping(tenon, "--count", 1, "fe80::1", status=1, preexec_fn=wire.near.enter)
    assert "needs its interface" in lines[0]["error"]


class Responder(threading.Thread):
    """Answers echo requests in the kernel's place, in its own way."""

    def __init__(self, network, answer):
        super().__init__()
        system.write_inside(network, "/proc/sys/net/ipv4/icmp_echo_ignore_all", "1")
        self.sock = network.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.answer, self.over = answer, False
        self.sock.settimeout(0.1)

    def run(self):
        while not self.over:
            with contextlib.suppress(TimeoutError):
                packet, source = self.sock.recvfrom(70000)
                if packet[20] == ECHO:
                    self.answer(self, source, *struct.unpack("!HH", packet[24:28]), packet[28:])

    def reply(self, source, ident, seq, payload):
        head = struct.pack("!BBHHH", REPLY, 0, 0, ident, seq)
        self.sock.sendto(head[:2] + struct.pack("!H", checksum(head + payload)) + head[4:] + payload, source)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over = True
        self.join()
        self.sock.close()


@pytest.mark.parametrize("size", [56, 0])
def test_duplicates_and_late_replies(tenon, wire, size):
    held = []

    def answer(responder, source, ident, seq, payload):
        if seq == 2:
            held.append((source, ident, seq, payload))
            return
        responder.reply(source, ident, seq, payload)
        if seq == 1:
            responder.reply(source, ident, seq, payload)
        responder.reply(source, ident ^ 0x5555, seq, payload)  # somebody else's
        if seq == 8:  # later than the timeout
            responder.reply(*held[0])
    allow_ping_sockets(wire.near, False)
    with Responder(wire.far, answer):
        lines, summary = ping(tenon, "--count", 9, "--interval", "400ms", "--timeout", "2s", "--size", size, "10.9.0.2",
                              preexec_fn=wire.near.enter)
    assert counts(summary) == (9, 8, 1, 0, 0, 1) and summary["loss"] == 0
    assert [(line["event"], line["seq"]) for line in lines if line["event"] != "reply"] == \
        [("duplicate", 1), ("lost", 2), ("late", 2)]
    assert summary["rtt_ns"]["max"] > 2e9


def test_damaged(tenon, wire):
    def answer(responder, source, ident, seq, payload):
        responder.reply(source, ident, seq, payload if seq != 2 else payload[:-1] + b"!")
    allow_ping_sockets(wire.near, True)
    with Responder(wire.far, answer):
        lines, summary = ping(tenon, "--count", 3, "--interval", "5ms", "10.9.0.2", preexec_fn=wire.near.enter)
    assert summary["damaged"] == 1 and [line["seq"] for line in lines if line.get("damaged")] == [2]


def test_flood(tenon, network):
    allow_ping_sockets(network, True)
    lines, summary = ping(tenon, "--flood", "--count", 3000, "127.0.0.1", preexec_fn=network.enter)
    assert lines == [] and counts(summary)[:2] == (3000, 3000)
    check_times(summary["rtt_ns"])


def test_sequence_numbers_wrap(tenon, network):
    allow_ping_sockets(network, True)
    count = 66000
    _, summary = ping(tenon, "--flood", "--count", count, "--size", 0, "::1", preexec_fn=network.enter, limit=4 * LIMIT)
    assert counts(summary) == (count, count, 0, 0, 0, 0)


# Other endpoints

def test_connecting(tenon):
    listener = tenon.listen()
    url = "tcp://127.0.0.1:%d" % listener.getsockname()[1]
    lines, summary = ping(tenon, "--count", 3, "--interval", "5ms", url)
    assert counts(summary) == (3, 3, 0, 0, 0, 0) and [line["from"] for line in lines] == [url] * 3
    assert all("handshake_ns" not in line and "bytes" not in line for line in lines)
    clients = [tenon.accept(listener) for _ in range(3)]
    assert [client.recv(10) for client in clients] == [b""] * 3  # nothing was sent, and the end is orderly


def test_refused(tenon):
    port = free_port()
    lines, summary = ping(tenon, "--count", 2, "--interval", "5ms", f"tcp://127.0.0.1:{port}", status=1)
    assert counts(summary) == (2, 0, 0, 0, 2, 0) and summary["loss"] == 1
    assert all(line["error"].startswith(f"connect to 127.0.0.1:{port}: Connection refused") for line in lines)
    assert len(lines) == 2
    told = tenon.run("ping", "--count", 1, f"tcp://127.0.0.1:{port}", status=1)
    assert f" seq=1 connect to 127.0.0.1:{port}: Connection refused" in told.text and not told.err, told
    _, summary = ping(tenon, "--count", 2, "--interval", "5ms", f"udp://127.0.0.1:{port}", status=1)
    assert counts(summary)[:3] == (2, 0, 0)


def test_service_that_comes_back(tenon):
    port = free_port()
    watch = tenon.start("ping", "--json", "--interval", "10ms", f"tcp://127.0.0.1:{port}")
    wait_until(lambda: '"failed"' in watch.out.decode(), "it is refused")
    tenon.listen(address=("127.0.0.1", port))
    wait_until(lambda: '"reply"' in watch.out.decode(), "it is answered")
    watch.signal(signal.SIGINT)
    watch.wait(0)
    summary = json.loads(watch.lines[-1])
    assert summary["answered"] > 0 and summary["failed"] > 0
    assert summary["sent"] == sum(summary[key] for key in ("answered", "late", "lost", "failed", "awaited"))


def test_handshake(tenon, program):
    tenon.run("cert", "new", "--out", tenon.folder / "certs", "--host", "localhost")
    port = free_port()
    tenon.peer(program("openssl"), "s_server", "-quiet", "-accept", f"127.0.0.1:{port}", "-cert",
               tenon.folder / "certs/server.pem", "-key", tenon.folder / "certs/server.key", stdin=-1)
    with contextlib.closing(dial_when_served(f"tcp://127.0.0.1:{port}")):
        pass
    url = f"tls4://localhost:{port}?ca={tenon.folder}/certs/ca.pem"
    lines, summary = ping(tenon, "--count", 2, "--interval", "50ms", url)
    assert counts(summary) == (2, 2, 0, 0, 0, 0)
    assert all(0 < line["handshake_ns"] and line["connect_ns"] + line["handshake_ns"] == line["rtt_ns"]
               for line in lines)
    check_times(summary["handshake_ns"])
    assert "connect:   min" in tenon.run("ping", "--count", 1, url).text
    # Whom one cannot trust does not answer
    refused = tenon.run("ping", "--count", 1, f"tls4://localhost:{port}", status=1)
    assert "no authority this system trusts" in refused.text, refused


@pytest.mark.parametrize("url", [
    "udp://127.0.0.1:0", "udp6://[::1]:0", "unix-dgram:{}/s", "unix-seqpacket:@{}", "tcp://127.0.0.1:0?frame=line",
    "tcp://127.0.0.1:0?frame=u32", "tcp://127.0.0.1:0?format=json", "tcp://127.0.0.1:0?frame=u16&format=xml",
    "tcp://127.0.0.1:0?format=cbor", "tcp://127.0.0.1:0?format=msgpack", "tcp://127.0.0.1:0?frame=line&format=text",
])
def test_messages(tenon, url):
    server = tenon.serve(url.format(tenon.folder))  # its default handlers: ack on datagrams, echo on the others
    url = server.url + ("?" + url.partition("?")[2] if "?" in url and "?" not in server.url else "")
    lines, summary = ping(tenon, "--count", 4, "--interval", "5ms", "--size", 200, url)
    assert counts(summary) == (4, 4, 0, 0, 0, 0)
    assert [line["seq"] for line in lines] == [1, 2, 3, 4] and all(line["bytes"] >= 200 for line in lines)


class Udp(threading.Thread):
    """A UDP service: answer(n, message) gives the answers to the n-th message."""

    def __init__(self, answer):
        super().__init__()
        self.sock, self.answer, self.over = socket.socket(type=socket.SOCK_DGRAM), answer, False
        self.sock.bind(("127.0.0.1", 0))
        self.sock.settimeout(0.1)
        self.url = "udp://127.0.0.1:%d" % self.sock.getsockname()[1]

    def run(self):
        number = 0
        while not self.over:
            with contextlib.suppress(TimeoutError):
                message, source = self.sock.recvfrom(70000)
                number += 1
                for reply in self.answer(number, message):
                    self.sock.sendto(reply, source)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over = True
        self.join()
        self.sock.close()


def test_lost_messages(tenon):
    with Udp(lambda n, message: [message] * (n % 2) + [message] * (n == 3)) as service:
        _, summary = ping(tenon, "--count", 6, "--interval", "20ms", "--timeout", "2s", service.url)
    assert counts(summary) == (6, 3, 0, 3, 0, 1) and summary["loss"] == 0.5


def test_answers_without_our_words(tenon):
    with Udp(lambda n, message: [b"pong"]) as service:
        lines, summary = ping(tenon, "--count", 3, "--interval", "20ms", service.url)
    assert counts(summary) == (3, 3, 0, 0, 0, 0) and [line["bytes"] for line in lines] == [4, 4, 4]


# The end

def test_interrupt(tenon, network):
    allow_ping_sockets(network, True)
    for number in (signal.SIGINT, signal.SIGTERM):
        run = tenon.start("ping", "--interval", "10ms", "127.0.0.1", preexec_fn=network.enter)
        run.wait_for_text(r"seq=3 64 bytes", "out")
        run.signal(number)
        run.wait(0)
        assert "sent" in run.lines[-2] and "lost" in run.lines[-2] and run.lines[-1].startswith("min ")


def test_deadline(tenon):
    with Udp(lambda n, message: []) as silent:
        _, summary = ping(tenon, "--deadline", "300ms", "--interval", "100ms", "--timeout", "1h", silent.url, status=1)
        assert summary["sent"] == summary["awaited"] > 0 and summary["answered"] == 0
    with Udp(lambda n, message: [message]) as service:
        _, summary = ping(tenon, "--deadline", "500ms", "--interval", "20ms", service.url)
        assert summary["answered"] > 0


@pytest.mark.parametrize("engine", ["epoll"], indirect=True)
def test_a_kernel_that_waits_in_milliseconds(tenon):
    """Before 5.11 there is no epoll_pwait2(2): what is due is done all the same, late by a millisecond at most."""
    kernel = {"preexec_fn": system.refuse_call(system.EPOLL_PWAIT2, errno.ENOSYS)}
    server = tenon.serve("tcp://127.0.0.1:0", options=["--idle", "300ms", "--json"], **kernel)
    client = tenon.dial(server.url)
    lines, summary = ping(tenon, "--count", "3", "--interval", "20ms", server.url, **kernel)
    assert counts(summary) == (3, 3, 0, 0, 0, 0) and len(lines) == 3
    assert client.recv(1) == b"", "nothing was sent for so long"


def test_quiet(tenon):
    with Udp(lambda n, message: [message]) as service:
        lines = tenon.run("ping", "-q", "--count", 2, "--interval", "5ms", service.url).lines
        assert len(lines) == 2 and lines[0] == f"{service.url}: 2 sent, 2 answered, 0 lost (0%)"


def test_privileges(tenon, network):
    allow_ping_sockets(network, False)

    def enter_and_drop():
        network.enter()
        system.drop_capabilities()
    result = tenon.run("ping", "--count", 1, "127.0.0.1", status=1, preexec_fn=enter_and_drop)
    assert "CAP_NET_RAW" in result.err and "net.ipv4.ping_group_range" in result.err and not result.out
    allow_ping_sockets(network, True)
    assert ping(tenon, "--count", 1, "127.0.0.1", preexec_fn=enter_and_drop)[1]["answered"] == 1


@pytest.mark.parametrize("args, status, text", [
    ([], 2, "one host or URL"), (["a", "b"], 2, "one host or URL"), (["name.invalid"], 1, "name.invalid"),
    (["localhost:no-such"], 2, "no service"), (["tcp://localhost"], 2, "the port is missing"),
    (["--count", "0", "::1"], 2, "out of range"), (["--interval", "0", "::1"], 2, "--flood"),
    (["--timeout", "0", "::1"], 2, "no time"), (["--interval", "x", "::1"], 2, "not a duration"),
    (["--size", "65001", "::1"], 2, "no size from 0 to 65000"),
    (["--size", "10", "tcp://localhost:1"], 2, "nothing is sent"), (["--cuont", "1", "::1"], 2, "did you mean --count"),
    (["icmp4://[::1]"], 2, "other IP version"), (["icmp://localhost:1"], 2, "there are no ports"),
    (["x" * 5000], 2, "too long"), (["fe80::1%nosuch0"], 2, "no interface"),
])
@pytest.mark.parametrize("engine", ["auto"], indirect=True)
def test_bad_usage(tenon, args, status, text):
    result = tenon.run("ping", *args, status=status)
    assert text in result.err and not result.out, result
