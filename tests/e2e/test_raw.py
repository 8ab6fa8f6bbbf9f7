"""Sockets below the transports: raw IP, ICMP and packets, against Python's own and the kernel's answers."""
import contextlib
import socket
import struct

import pytest

import system
from harness import LIMIT

PROTOCOL, ETHER_TYPE = 253, 0x88b5  # for experiments: RFC 3692, IEEE 802
ECHO, REPLY, TIMESTAMP, ECHO6, REPLY6 = 8, 0, 13, 128, 129


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def raw(tenon, network, family, kind=socket.SOCK_RAW, protocol=PROTOCOL):
    """A socket of Python's in that network; closed at the end of the test."""
    sock = tenon.cleanups.enter_context(contextlib.closing(network.socket(family, kind, protocol)))
    sock.settimeout(LIMIT)
    return sock


def start_send(tenon, wire, url, *messages, options=("--wait", "15s")):
    return tenon.start("send", *options, url, *messages, preexec_fn=wire.near.enter)


# Raw IP

def test_dialled_raw(tenon, wire):
    peer = raw(tenon, wire.far, socket.AF_INET)
    send = start_send(tenon, wire, f"raw://10.9.0.2?proto={PROTOCOL}", "Hello, world!")
    packet, source = peer.recvfrom(2000)
    assert (packet[9], packet[(packet[0] & 15) * 4:], source[0]) == (PROTOCOL, b"Hello, world!", "10.9.0.1")
    peer.sendto(b"the answer", source)
    send.wait()
    assert send.out == b"the answer\n"  # without the IP header, with which the kernel gave it to us


def test_dialled_raw6(tenon, wire):
    peer = raw(tenon, wire.far, socket.AF_INET6)
    send = start_send(tenon, wire, f"raw://[fd09::2]?proto={PROTOCOL}", "Hello, world!")
    packet, source = peer.recvfrom(2000)
    assert (packet, source[0]) == (b"Hello, world!", "fd09::1")
    peer.sendto(b"the answer", source)
    send.wait()
    assert send.out == b"the answer\n"


def test_header_included(tenon, wire):
    peer = raw(tenon, wire.far, socket.AF_INET)
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 4711, 0, 33, PROTOCOL, 0, socket.inet_aton("10.9.0.77"),
                         socket.inet_aton("10.9.0.2"))
    message = tenon.file("message", header + b"payload")
    send = start_send(tenon, wire, f"raw://10.9.0.2?proto={PROTOCOL}&hdrincl=on", f"@{message}")
    packet, source = peer.recvfrom(2000)
    assert (source[0], packet[8], packet[4:6], packet[20:]) == ("10.9.0.77", 33, struct.pack("!H", 4711), b"payload")
    peer.sendto(b"the answer", ("10.9.0.1", 0))
    send.wait()
    came = send.out
    assert (came[0] >> 4, came[9], came[12:16], came[20:]) == (4, PROTOCOL, socket.inet_aton("10.9.0.2"), b"the answer")


@pytest.mark.parametrize("family, ours, theirs", [(socket.AF_INET, "10.9.0.1", "10.9.0.2"),
                                                  (socket.AF_INET6, "fd09::1", "fd09::2")])
def test_served_raw(tenon, wire, family, ours, theirs):
    host = f"[{ours}]" if ":" in ours else ours
    server = tenon.serve(f"raw://{host}?proto=gre", options=["--handler", "ack"], preexec_fn=wire.near.enter)
    assert server.urls == [f"raw://{host}?proto=47"]
    client = raw(tenon, wire.far, family, protocol=47)
    for text in (b"one", b"", b"three"):
        client.sendto(text, (ours, 0))
        packet, source = client.recvfrom(2000)
        assert (packet[20:] if family == socket.AF_INET else packet, source[0]) == (b"ack: " + text, ours)
    assert theirs != ours


def test_the_default_handler_says_nothing(tenon, wire):
    server = tenon.serve("raw://10.9.0.1?proto=253", "packet:near?proto=arp", "icmp://10.9.0.1",
                         preexec_fn=wire.near.enter)
    assert set(server.handlers) == {"discard"}


def test_inherited_raw(tenon, wire):
    sock = raw(tenon, wire.near, socket.AF_INET)
    sock.bind(("10.9.0.1", 0))
    server = tenon.serve(f"fd:{sock.fileno()}", options=["--handler", "ack"], pass_fds=[sock.fileno()])
    assert (server.urls, server.handlers) == ([f"fd:{sock.fileno()}"], ["ack"])
    client = raw(tenon, wire.far, socket.AF_INET)
    client.sendto(b"hello", ("10.9.0.1", 0))
    assert client.recv(2000)[20:] == b"ack: hello"


# A socket that sends to its own machine hears itself: whoever answers must not answer itself

@pytest.mark.parametrize("served, url", [
    ("raw://127.0.0.1?proto=253", "raw://127.0.0.1?proto=253"), ("raw://[::1]?proto=253", "raw://[::1]?proto=253"),
    ("raw://0.0.0.0?proto=253", "raw://127.0.0.1?proto=253"), ("packet:lo?proto=0x88b5", "packet:lo?proto=0x88b5")])
def test_nobody_answers_himself(tenon, network, served, url):
    sniffer = raw(tenon, network, socket.AF_PACKET, protocol=socket.htons(3))
    tenon.serve(served, options=["--handler", "echo"], preexec_fn=network.enter)
    for text in ("first", "second"):
        answer = tenon.run("send", "--wait", "15s", url, text, preexec_fn=network.enter)
        assert answer.out == text.encode() + b"\n"
    seen, marker = [], b"\xff" * 14 + b"the end"
    sniffer.sendto(marker, ("lo", 0))
    while True:
        packet, source = sniffer.recvfrom(2000)
        if source[2] == socket.PACKET_OUTGOING:
            continue
        if packet == marker:
            break
        seen += [text for text in (b"first", b"second") if text in packet]
    assert seen == [b"first", b"first", b"second", b"second"]  # a question and an answer each


@pytest.mark.parametrize("family, server, client",
                         [(socket.AF_INET, "127.0.0.2", "127.0.0.1"), (socket.AF_INET6, "fd09::1", "::1")])
def test_who_says_the_same_again_is_heard(tenon, wire, family, server, client):
    host = f"[{server}]" if ":" in server else server
    sock = raw(tenon, wire.near, family)
    wire.run(wire.near, "link set lo up")
    tenon.serve(f"raw://{host}?proto=253", options=["--handler", "echo"], preexec_fn=wire.near.enter)
    sock.bind((client, 0))
    for _ in range(5):
        sock.sendto(b"again", (server, 0))
        assert sock.recv(2000)[-5:] == b"again"
    for url in (f"raw://{host}?proto=253", "raw://127.0.0.1?proto=254"):
        if url.endswith("254"):
            tenon.serve(url, options=["--handler", "echo"], preexec_fn=wire.near.enter)
        said = tenon.run("send", "--wait", "15s", url, *["again"] * 5, preexec_fn=wire.near.enter)
        assert said.lines == ["again"] * 5, url


# ICMP

def allow_ping_sockets(network, allowed):
    system.write_inside(network, "/proc/sys/net/ipv4/ping_group_range", "0 2147483647" if allowed else "1 0")


@pytest.mark.parametrize("how", ["ping socket", "raw socket"])
@pytest.mark.parametrize("host, kind, reply", [("10.9.0.2", ECHO, REPLY), ("[fd09::2]", ECHO6, REPLY6)])
def test_dialled_icmp(tenon, wire, how, host, kind, reply):
    allow_ping_sockets(wire.near, how == "ping socket")
    question = tenon.file("question", struct.pack("!BBHHH", kind, 0, 0, 0, 77) + b"is anybody there")
    # Whatever id is asked for, it is one of the socket's own
    answer = tenon.run("send", "--wait", "15s", f"icmp://{host}", f"@{question}", preexec_fn=wire.near.enter).out
    assert struct.unpack("!BB", answer[:2]) == (reply, 0) and answer[6:] == struct.pack("!H", 77) + b"is anybody there"


def test_ping_socket_without_privileges(tenon, wire):
    allow_ping_sockets(wire.near, True)
    question = tenon.file("question", struct.pack("!BBHHH", ECHO, 0, 0, 0, 1) + b"hello")

    def enter_and_drop():
        wire.near.enter()
        system.drop_capabilities()
    answer = tenon.run("send", "--wait", "15s", "icmp://10.9.0.2", f"@{question}", preexec_fn=enter_and_drop).out
    assert answer[8:] == b"hello"


def test_others_replies_are_not_ours(tenon, wire):
    allow_ping_sockets(wire.near, False)
    peer = raw(tenon, wire.far, socket.AF_INET, protocol=socket.IPPROTO_ICMP)
    system.write_inside(wire.far, "/proc/sys/net/ipv4/icmp_echo_ignore_all", "1")
    question = tenon.file("question", struct.pack("!BBHHH", ECHO, 0, 0, 0, 5) + b"hello")
    send = start_send(tenon, wire, "icmp://10.9.0.2", f"@{question}")
    asked = peer.recv(2000)[20:]
    assert checksum(asked) == 0
    ident = struct.unpack("!H", asked[4:6])[0]

    def answer(number, text):
        head = struct.pack("!BBHHH", REPLY, 0, 0, number, 5)
        peer.sendto(head[:2] + struct.pack("!H", checksum(head + text)) + head[4:] + text, ("10.9.0.1", 0))
    answer(ident ^ 1, b"for another")
    answer(ident, b"for us!")
    send.wait()
    assert send.out[8:] == b"for us!"


def test_served_icmp(tenon, wire):
    tenon.serve("icmp://10.9.0.1", options=["--handler", "echo"], preexec_fn=wire.near.enter)
    client = raw(tenon, wire.far, socket.AF_INET, protocol=socket.IPPROTO_ICMP)
    body = struct.pack("!BBHHH", 200, 7, 0, 1, 2) + b"of no known type!"
    client.sendto(body[:2] + struct.pack("!H", checksum(body)) + body[4:], ("10.9.0.1", 0))
    came = client.recv(2000)[20:]
    assert came[:2] + came[4:] == body[:2] + body[4:] and checksum(came) == 0


# Packets of an interface

def packets(tenon, network, name, kind=socket.SOCK_RAW, ether_type=ETHER_TYPE):
    sock = raw(tenon, network, socket.AF_PACKET, kind, socket.htons(ether_type))
    sock.bind((name, ether_type))
    return sock


def hardware(sock):
    return ":".join(f"{byte:02x}" for byte in sock.getsockname()[4])


@pytest.mark.parametrize("kind", ["dgram", "raw"])
def test_dialled_packets(tenon, wire, kind):
    peer = packets(tenon, wire.far, "far")
    near = packets(tenon, wire.near, "near", ether_type=0x1234)
    ours, theirs = near.getsockname()[4], peer.getsockname()[4]
    head = theirs + ours + struct.pack("!H", ETHER_TYPE)
    message = tenon.file("message", (head if kind == "raw" else b"") + b"Hello, world!")
    send = start_send(tenon, wire, f"packet:near?proto={ETHER_TYPE}&type={kind}&to={hardware(peer)}", f"@{message}")
    assert peer.recv(2000) == head + b"Hello, world!"
    peer.send(ours + b"\2\0\0\0\0\x63" + head[12:] + b"from somebody else")
    peer.send(ours + theirs + head[12:] + b"the answer")
    send.wait()
    assert send.out == (ours + theirs + head[12:] if kind == "raw" else b"") + b"the answer"


def test_to_everybody(tenon, wire):
    peer = packets(tenon, wire.far, "far", socket.SOCK_DGRAM)
    send = start_send(tenon, wire, f"packet:near?proto={ETHER_TYPE}", "anybody?")
    packet, source = peer.recvfrom(2000)
    assert (packet, source[2]) == (b"anybody?", socket.PACKET_BROADCAST)
    peer.sendto(b"me", source)
    send.wait()
    assert send.out == b"me\n"


@pytest.mark.parametrize("interface", ["near", "*"])
def test_served_packets(tenon, wire, interface):
    server = tenon.serve(f"packet:{interface}?proto=0x88b5", options=["--handler", "echo"], preexec_fn=wire.near.enter)
    assert server.urls == [f"packet:{interface}?proto=0x88b5"]
    client, near = packets(tenon, wire.far, "far"), packets(tenon, wire.near, "near", ether_type=0x1234)
    other = packets(tenon, wire.far, "far", ether_type=0x88b6)
    ours, theirs = near.getsockname()[4], client.getsockname()[4]
    other.send(ours + theirs + b"\x88\xb6of another type")
    for _ in range(3):
        client.send(ours + theirs + b"\x88\xb5again")  # who says the same again is heard again
        assert client.recv(2000)[:19] == theirs + ours + b"\x88\xb5again"


# What is refused

@pytest.mark.parametrize("url, text", [
    ("raw://127.0.0.1?proto=253", "a raw socket needs the capability CAP_NET_RAW"),
    ("packet:lo", "a packet socket needs the capability CAP_NET_RAW"),
    ("icmp://127.0.0.1", "CAP_NET_RAW"),
])
@pytest.mark.parametrize("command", ["send", "serve"])
def test_privileges(tenon, network, command, url, text):
    allow_ping_sockets(network, False)

    def enter_and_drop():
        network.enter()
        system.drop_capabilities()
    args = [url, "x"] if command == "send" else [url]
    result = tenon.run(command, *args, status=1, preexec_fn=enter_and_drop)
    assert text in result.err and "setcap cap_net_raw+ep" in result.err
    if url.startswith("icmp") and command == "send":
        assert "net.ipv4.ping_group_range" in result.err


@pytest.mark.parametrize("url, text", [
    ("raw://127.0.0.1", "byte 15: which protocol?"), ("raw://127.0.0.1:5?proto=1", "there are no ports here"),
    ("raw://127.0.0.1?proto=0", "'0' is no such value"), ("raw://127.0.0.1?proto=256", "'256' is no such value"),
    ("raw://127.0.0.1?proto=icpm", "'icpm' is no such value"),
    ("raw:x?proto=1", "after the scheme comes // and a host"),
    ("icmp://127.0.0.1?proto=1", "raw and packet endpoints only"),
    ("icmp://127.0.0.1?hdrincl=on", "cannot apply to icmp"), ("icmp4://[::1]", "of the other IP version"),
    ("packet:nosuch0", "no interface 'nosuch0'; there are lo"), ("packet:", "interface's name is missing"),
    ("packet:*", "can be served but not dialled"), ("packet://lo", "interface's name is missing"),
    ("packet:lo?to=1:2:3", "looks like aa:bb:cc:dd:ee:ff"), ("packet:lo?type=stream", "it takes: dgram|raw"),
    ("packet:lo?proto=70000", "no such value"), ("tcp://localhost:1?proto=6", "raw and packet endpoints only"),
    ("raw://127.0.0.1?proto=1&to=00:00:00:00:00:00", "packet endpoints only"),
    ("packet:lo?nodelay=on", "cannot apply to packet"), ("raw://127.0.0.1?proto=6&frame=line", "streams only"),
])
@pytest.mark.parametrize("engine", ["auto"], indirect=True)
def test_bad_urls(tenon, url, text):
    result = tenon.run("send", url, "x", status=2)
    assert text in result.err and not result.out, result


def test_options_in_force(tenon, network):
    def values(url):
        return dict(line.split()[:2] for line in tenon.run("options", url, preexec_fn=network.enter).lines)
    found = values("raw://127.0.0.1?proto=89&ttl=7&hdrincl=on")
    assert (found["proto"], found["ttl"], found["hdrincl"]) == ("89", "7", "on") and "nodelay" not in found
    found = values("packet:lo?proto=arp&type=raw&priority=3")
    assert (found["proto"], found["type"], found["priority"]) == ("0x0806", "raw", "3") and "ttl" not in found
