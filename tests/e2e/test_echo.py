"""Echo and ack on every kind of socket, against Python's socket module used the way tutorials use it."""
import json
import os
import socket
import struct
import threading
import time

import pytest

from harness import (KIB, LIMIT, MIB, exchange, family_of, noise, open_socket, place_of, port_of, receive_exactly,
                     receive_to_end)

IP_RECVTTL = 12  # Python has no name for it

SIZES = [0, 1, 15, 16, 17, 1024, 4095, 4096, 65535, 65536, 65537, MIB]

STREAMS = ["tcp://127.0.0.1:0", "tcp://[::1]:0", "tcp4://localhost:0", "tcp6://localhost:0", "mptcp://127.0.0.1:0",
           "unix:{folder}/stream.sock", "unix:@{name}-stream"]
DATAGRAMS = ["udp://127.0.0.1:0", "udp://[::1]:0", "udp4://localhost:0", "udp6://localhost:0",
             "unix-dgram:{folder}/dgram.sock", "unix-dgram:@{name}-dgram"]
PACKETS = ["unix-seqpacket:{folder}/packet.sock", "unix-seqpacket:@{name}-packet"]


def scheme_name(url):
    return url.split("{")[0].rstrip(":/").replace("://", "-")


@pytest.fixture
def url(request, tenon):
    """The parameter with this test's folder and a name that no other test uses."""
    return request.param.format(folder=tenon.folder, name=tenon.name)


def on(urls):
    return pytest.mark.parametrize("url", urls, indirect=True, ids=scheme_name)


@on(STREAMS)
def test_stream_echoes_every_size(tenon, url):
    server = tenon.serve(url)
    assert server.handlers == ["echo"]
    client = tenon.dial(server.url)
    for size in SIZES:
        data = noise(size, size)
        assert exchange(client, data) == data


@on(STREAMS)
def test_stream_echoes_to_the_last_byte_after_the_clients_end(tenon, url):
    server = tenon.serve(url)
    for size in [*SIZES, 3 * MIB + 1]:
        with open_socket(server.url) as client:
            data = noise(size, size)
            assert exchange(client, data, finish=True) == data


def test_50_mib_in_one_connection(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    data = noise(50 * MIB)
    assert exchange(tenon.dial(server.url), data, finish=True) == data


@pytest.mark.parametrize("engine", [f"sim:{seed}" for seed in range(1, 7)], indirect=True)
def test_echo_on_a_network_that_shreds_everything(tenon):
    """The engine `sim` reads short, writes byte by byte, delays and reorders, as its seed says."""
    server = tenon.serve("tcp://127.0.0.1:0", "udp://127.0.0.1:0", f"unix:{tenon.folder}/sock")
    for address in (server.urls[0], server.urls[2]):
        data = noise(100 * KIB, 5)
        assert exchange(tenon.dial(address), data, finish=True) == data
    with open_socket(server.urls[1]) as client:
        client.send(b"hello")
        assert client.recv(100) == b"ack: hello"
    assert tenon.run("send", server.urls[0], "hello").out == b"hello\n"
    data = noise(30 * KIB, 6)
    assert tenon.run("connect", server.urls[0], input=data).out == data


# The way tutorials do it

def test_tutorial_client_with_a_16_byte_receive_loop(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    for _ in range(3):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(20)
        sock.connect(("127.0.0.1", server.port))
        try:
            message = b"This is the message.  It will be repeated."
            sock.sendall(message)
            received, amount_expected = b"", len(message)
            while len(received) < amount_expected:
                data = sock.recv(16)
                assert 0 < len(data) <= 16
                received += data
            assert received == message
        finally:
            sock.close()


def test_tutorial_udp_client(tenon):
    server = tenon.serve("udp://127.0.0.1:0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(20)
        sock.sendto(b"This is the message.  It will be repeated.", ("127.0.0.1", server.port))
        data, address = sock.recvfrom(4096)
        assert data == b"ack: This is the message.  It will be repeated."
        assert address == ("127.0.0.1", server.port)


def test_tutorial_unix_client(tenon):
    path = str(tenon.folder / "uds_socket")
    tenon.serve(f"unix:{path}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(20)
        sock.connect(path)
        sock.sendall(b"This is the message.")
        assert sock.recv(16) + sock.recv(16) == b"This is the message."


def test_one_byte_at_a_time(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    client = tenon.dial(server.url)
    for byte in b"slowly does it":
        client.sendall(bytes([byte]))
        assert client.recv(10) == bytes([byte])


def test_a_file_object_over_the_socket(tenon):
    """makefile() and readline(), as line-based clients are written."""
    server = tenon.serve("tcp://127.0.0.1:0")
    with open_socket(server.url) as client, client.makefile("rwb") as file:
        for i in range(100):
            file.write(b"line %d\n" % i)
            file.flush()
            assert file.readline() == b"line %d\n" % i


def test_sendfile(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    data = noise(300 * KIB)
    path = tenon.file("data", data)
    client = tenon.dial(server.url)
    with open(path, "rb") as file:
        sender = threading.Thread(target=client.sendfile, args=(file,))
        sender.start()
        got = receive_exactly(client, len(data))
        sender.join()
    assert got == data


# Datagrams

@on(DATAGRAMS)
def test_datagrams_are_acknowledged_one_by_one(tenon, url):
    server = tenon.serve(url)
    assert server.handlers == ["ack"]
    client = tenon.dial(server.url)
    for size in [0, 1, 16, 512, 1472, 1473, 9000, 65000]:
        data = noise(size, size)
        client.send(data)
        assert client.recv(70000) == b"ack: " + data


@on(DATAGRAMS)
def test_datagrams_are_echoed(tenon, url):
    server = tenon.serve(url, options=["--handler", "echo"])
    client = tenon.dial(server.url)
    for size in [0, 1, 1472, 65507]:
        data = noise(size, size)
        client.send(data)
        assert client.recv(70000) == data


def test_many_datagrams_from_many_senders_each_get_their_own(tenon):
    server = tenon.serve("udp://127.0.0.1:0")
    clients = [tenon.dial(server.url) for _ in range(50)]
    for turn in range(0, 10, 4):  # never more at once than a receive buffer of the usual size holds
        turns = range(turn, turn + 4)
        for number in turns:
            for i, client in enumerate(clients):
                client.send(b"%d of %d" % (number, i))
        for i, client in enumerate(clients):
            assert {client.recv(100) for _ in turns} == {b"ack: %d of %d" % (number, i) for number in turns}


def test_a_datagram_too_large_for_its_acknowledgement_harms_nobody(tenon):
    """'ack: ' does not fit behind 65,507 bytes any more: this one goes unanswered, the next one does not."""
    server = tenon.serve("udp://127.0.0.1:0")
    client = tenon.dial(server.url)
    client.send(noise(65507))
    client.send(b"small")
    assert client.recv(70000) == b"ack: small"


def test_a_sender_that_has_gone_harms_nobody(tenon):
    """Its port answers with ICMP 'port unreachable', which the server's socket may be told as an error."""
    server = tenon.serve("udp://127.0.0.1:0")
    for _ in range(5):
        with open_socket(server.url) as rude:
            for _ in range(10):
                rude.send(b"and away")
    client = tenon.dial(server.url)
    for _ in range(5):
        client.send(b"still there?")
        assert client.recv(100) == b"ack: still there?"


def test_unix_datagrams_from_a_sender_without_a_name_harm_nobody(tenon):
    server = tenon.serve(f"unix-dgram:{tenon.folder}/sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nameless:
        nameless.sendto(b"answer me!", place_of(server.url)[2])
    client = tenon.dial(server.url)
    client.send(b"hello")
    assert client.recv(100) == b"ack: hello"


def test_a_unix_datagram_client_that_never_reads_is_forgotten_when_it_goes(tenon):
    """The kernel charges what it has not read to the server's send buffer: while it is there, replies may be lost."""
    server = tenon.serve(f"unix-dgram:{tenon.folder}/sock")
    deaf, other = tenon.dial(server.url), tenon.dial(server.url)
    deaf.settimeout(0.2)
    try:
        for _ in range(2000):
            deaf.send(noise(1000))
    except TimeoutError:
        pass  # the server holds us back, which it may
    deaf.close()
    other.send(b"hello")
    assert other.recv(100) == b"ack: hello"


def test_large_unix_datagrams_are_whole_or_not_at_all(tenon):
    """Unix datagrams can be larger than 64 KiB."""
    server = tenon.serve(f"unix-dgram:{tenon.folder}/sock", options=["--handler", "echo"])
    client = tenon.dial(server.url)
    for size in (65536, 65537, 100000, 150000):
        client.send(noise(size, size))
        client.send(b"behind it")
        got = client.recv(400000)
        if got != b"behind it":
            assert got == noise(size, size)
            got = client.recv(400000)
        assert got == b"behind it"


@on(PACKETS)
def test_packets_keep_their_bounds(tenon, url):
    server = tenon.serve(url)
    client = tenon.dial(server.url)
    sizes = [1, 2, 16, 4096, 65535, 3, 65536, 1000]
    for size in sizes:
        client.send(noise(size, size))
    for size in sizes:
        assert client.recv(200000) == noise(size, size)
    client.shutdown(socket.SHUT_WR)
    assert client.recv(100) == b""


def test_large_packets_are_whole_or_refused(tenon):
    """A packet larger than the server's buffers must never come back cut short."""
    server = tenon.serve(f"unix-seqpacket:{tenon.folder}/sock")
    for size in (65537, 100000, 150000):
        with open_socket(server.url) as client:
            client.send(noise(size, size))
            try:
                got = client.recv(400000)
            except ConnectionResetError:
                got = b""
            assert got in (noise(size, size), b"")


# Several at once

def test_localhost_is_both_loopbacks(tenon):
    server = tenon.serve("tcp://localhost:0", "udp://localhost:0", listeners=4)
    assert [place_of(url)[2][0] for url in server.urls] == ["127.0.0.1", "::1", "127.0.0.1", "::1"]
    assert port_of(server.urls[0]) == port_of(server.urls[1]) != 0
    assert port_of(server.urls[2]) == port_of(server.urls[3]) != 0
    assert server.handlers == ["echo", "echo", "ack", "ack"]
    for url in server.urls[:2]:
        assert exchange(tenon.dial(url), b"hello") == b"hello"
    for url in server.urls[2:]:
        client = tenon.dial(url)
        client.send(b"hello")
        assert client.recv(100) == b"ack: hello"


def test_no_host_is_localhost(tenon):
    server = tenon.serve("tcp://:0", listeners=2)
    assert [place_of(url)[2][0] for url in server.urls] == ["127.0.0.1", "::1"]


def test_every_interface_when_asked_for(tenon):
    server = tenon.serve("tcp://*:0", listeners=2)
    assert [place_of(url)[2][0] for url in server.urls] == ["0.0.0.0", "::"]
    for host in ("127.0.0.1", "[::1]"):
        assert exchange(tenon.dial(f"tcp://{host}:{server.port}"), b"hello") == b"hello"


def test_only_loopback_unless_told(tenon):
    server = tenon.serve("tcp://localhost:0", listeners=2)
    with pytest.raises(ConnectionRefusedError):
        open_socket(f"tcp://127.0.0.2:{server.port}")


def test_many_endpoints_in_one_process(tenon):
    folder = tenon.folder
    server = tenon.serve("tcp://127.0.0.1:0", "tcp://127.0.0.1:0", "tcp://[::1]:0", f"unix:{folder}/a",
                         f"unix-seqpacket:{folder}/b", f"unix-dgram:{folder}/c", "udp://127.0.0.1:0", "udp://[::1]:0")
    assert server.handlers == ["echo"] * 5 + ["ack"] * 3
    clients = [tenon.dial(url) for url in server.urls]
    for turn in (b"one", b"two"):
        for client in clients:
            client.send(turn)
        for client, handler in zip(clients, server.handlers):
            assert client.recv(100) == (b"ack: " if handler == "ack" else b"") + turn


def test_the_options_of_the_url_reach_the_socket(tenon):
    """What a client can see of them: the window that a small rcvbuf offers is small."""
    server = tenon.serve("tcp://127.0.0.1:0?rcvbuf=4KiB&nodelay=off&keepalive=on&keepidle=20s")
    data = noise(200 * KIB)
    assert exchange(tenon.dial(server.url), data) == data


def test_mptcp_server_speaks_tcp_too(tenon):
    server = tenon.serve("mptcp://127.0.0.1:0")
    assert server.url.startswith("mptcp://")
    data = noise(100 * KIB)
    assert exchange(tenon.dial(server.url.replace("mptcp", "tcp")), data) == data
    assert exchange(tenon.dial(server.url), data) == data


# Other handlers

def test_ack_on_a_stream(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "ack"])
    client = tenon.dial(server.url)
    client.sendall(b"hello")
    assert receive_exactly(client, 10) == b"ack: hello"


def test_discard_reads_all_and_says_nothing(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", "udp://127.0.0.1:0", options=["--handler", "discard"])
    client = tenon.dial(server.urls[0])
    client.sendall(noise(5 * MIB))
    client.shutdown(socket.SHUT_WR)
    assert receive_to_end(client) == b""
    with open_socket(server.urls[1]) as client:
        client.send(b"hello")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(100)


def chargen_lines(count):
    ring = bytes(range(32, 127))
    return b"".join((ring + ring)[i % 95:i % 95 + 72] + b"\r\n" for i in range(count))


def test_chargen_is_rfc_864s(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", "udp://127.0.0.1:0", options=["--handler", "chargen"])
    client = tenon.dial(server.urls[0])
    wanted = chargen_lines(30000)
    assert receive_exactly(client, len(wanted)) == wanted
    client.sendall(b"is ignored")
    assert client.recv(1000)
    client.close()
    with open_socket(server.urls[1]) as client:
        for _ in range(20):
            client.send(b"some, please")
            got = client.recv(1000)
            assert len(got) <= 512
            assert got == b"" or got in chargen_lines(300)


def test_chargen_goes_on_for_a_client_that_has_ended_its_side(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "chargen"])
    client = tenon.dial(server.url)
    client.shutdown(socket.SHUT_WR)
    wanted = chargen_lines(10000)
    assert receive_exactly(client, len(wanted)) == wanted


def from_port(address, server, data):
    client = socket.socket(socket.AF_INET6 if ":" in server[0] else socket.AF_INET, socket.SOCK_DGRAM)
    client.bind(address)
    client.settimeout(20)
    client.sendto(data, server)
    return client


@pytest.mark.parametrize("handler", ["echo", "ack", "chargen", "exec:cat"])
def test_services_that_answer_are_not_answered(tenon, handler):
    """One forged packet must not keep two servers busy for ever. Replies come in order: the last one tells of the
    others."""
    server = tenon.serve("udp://127.0.0.1:0", options=["--handler", handler])
    place = ("127.0.0.1", port_of(server.url))
    ports = (1900, 5353, 11211) if handler == "exec:cat" else (1900, 5353, 11211, port_of(server.url))
    own = f"127.1.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 2}"  # the same ports are wanted side by side
    silent = [from_port((own, port), place, b"x") for port in ports]
    if handler == "ack":
        silent += [from_port(("127.0.0.1", 0), place, data) for data in (b"ack: x", b"error: x")]
    with from_port(("127.0.0.1", 0), place, b"hello") as client:
        assert client.recv(1000).endswith(b"hello") or handler == "chargen"
    for client in silent:
        with client, pytest.raises(BlockingIOError):
            client.setblocking(False)
            client.recv(100)


def test_two_servers_do_not_talk_to_each_other(tenon):
    """What one says is handed to the other as if it had come from there, as a forger would begin it."""
    first = tenon.serve("udp://127.0.0.1:0", options=["--handler", "ack"])
    second = tenon.serve("udp://127.0.0.1:0?format=json", options=["--handler", "ack"])
    for data in (b"1", b"x", b'{"a":1}'):
        hops, said = 0, data
        while said is not None and hops < 5:
            place = ("127.0.0.1", port_of((first, second)[hops % 2].url))
            with from_port(("127.0.0.1", 0), place, said) as client:
                with from_port(("127.0.0.1", 0), place, b'"end"') as after:
                    after.recv(500)
                client.setblocking(False)
                try:
                    said = client.recv(500)
                except BlockingIOError:
                    said = None
            hops += 1
        assert hops <= 3, said


def forged(source, target, data, hops=64):
    """An IPv4 datagram whose sender is of our choice."""
    udp = struct.pack(">HHHH", source[1], target[1], 8 + len(data), 0) + data
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, hops, socket.IPPROTO_UDP, 0,
                     socket.inet_aton(source[0]), socket.inet_aton(target[0]))
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        sock.sendto(ip + udp, (target[0], 0))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can forge an address")
@pytest.mark.parametrize("handlers", [("echo", "echo"), ("echo", "chargen"), ("ack", "chargen"), ("echo", "exec:cat"),
                                      ("chargen", "chargen")])
@pytest.mark.parametrize("hops", [64, 1])
def test_no_two_servers_can_be_made_to_loop(tenon, handlers, hops):
    """Whatever they answer each other, it has a hop less to go each time; with the last hop it is answered 64 times."""
    servers = [tenon.serve("udp://127.0.0.1:0", options=["--handler", handler, "--json"]) for handler in handlers]
    places = [("127.0.0.1", server.port) for server in servers]
    for n in range(3):
        forged(places[1], places[0], b"%d from a stranger" % n, hops)
    time.sleep(1)
    for server in servers:
        server.untidy = True
        server.stop()
        told = server.wait_for_event("datagrams")
        assert 0 < told["messages_in"] <= 3 * 64


@pytest.mark.parametrize("handler", ["echo", "ack"])
@pytest.mark.parametrize("url,to,level,set_hops,tell_hops", [
    ("udp://127.0.0.1:0", "127.0.0.1", socket.IPPROTO_IP, socket.IP_TTL, IP_RECVTTL),
    ("udp://[::1]:0", "::1", socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, socket.IPV6_RECVHOPLIMIT),
    ("udp6://[::]:0?v6only=off", "127.0.0.1", socket.IPPROTO_IP, socket.IP_TTL, IP_RECVTTL),
])
def test_a_reply_has_a_hop_less_to_go(tenon, handler, url, to, level, set_hops, tell_hops):
    server = tenon.serve(url, options=["--handler", handler])
    with socket.socket(family_of(to), socket.SOCK_DGRAM) as client:
        client.settimeout(LIMIT)
        client.setsockopt(level, tell_hops, 1)
        client.connect((to, server.port))
        for hops, wanted in ((9, 8), (2, 1), (1, 1), (64, 63), (255, 64), (1, 1)):
            client.setsockopt(level, set_hops, hops)
            client.send(b"%d" % hops)
            data, told, _, _ = client.recvmsg(100, 100)
            assert data.endswith(b"%d" % hops) and struct.unpack("i", told[0][2]) == (wanted,)


@pytest.mark.parametrize("handler", ["echo", "ack", "chargen", "exec:cat"])
def test_who_asks_with_the_last_hop_is_answered(tenon, handler):
    """All multicast comes so: its datagrams have one hop unless somebody asks for more."""
    server = tenon.serve("udp://127.0.0.1:0", options=["--handler", handler])
    said = tenon.run("send", f"{server.url}?ttl=1", *[f"number {n}" for n in range(20)])
    assert len(said.lines) >= 20 and (handler == "chargen" or said.lines[-1].endswith("number 19"))


# For each format what is always answered, and what makes replies long
GREEDY = {
    "": (b"the end", [b"", b"x", bytes(1000)]),
    "json": (b'"the end"', [b"1", b"[1E400]", b"{", b"x", b"[1e15,1e15,1e15]", b'"\x7f"', b'{"a":1,"a":2}',
                            b"[" * 129]),
    "cbor": (b"\x67the end", [b"\1", b"\xff", b"\x9f\1\xff", b"\xf9\x3c\1", b"\xa1", b"\x81" * 129]),
    "msgpack": (b"\xa7the end", [b"\1", b"\xc1", b"\xdc", b"\xca\x3f\x80\0\0", b"\x91" * 129]),
    "text": (b"the end", [b"hello", b"\xff"]),
    "xml": (b'<null xmlns="http://www.w3.org/2005/xpath-functions"/>',
            [b"<a/>", b"<a", b"<a><![CDATA[<<<<<<<<]]></a>", b"<a>" + b"<b/>" * 100 + b"</a>"]),
}


@pytest.mark.parametrize("url", ["udp://127.0.0.1:0", "udp://[::1]:0", "udp6://[::]:0?v6only=off"])
def test_who_is_on_this_machine_gets_the_whole_reply(tenon, url):
    """However long it is beside what it answers: nobody else can have sent that."""
    server = tenon.serve(f"{url}{'&' if '?' in url else '?'}format=json", options=["--handler", "ack"])
    host = "::1" if "::1" in url else "127.0.0.1"
    with from_port((host, 0), (host, server.port), b"x") as client:
        assert "error" in json.loads(client.recv(1000))


@pytest.mark.parametrize("form", GREEDY)
def test_a_stranger_gets_no_more_than_he_sends(tenon, wire, form):
    """Whoever can forge an address must not have tenon multiply what he sends there: `ack: ` is all that is added."""
    added = {"json": 8, "xml": 69}.get(form, 5)
    server = tenon.serve("udp://10.9.0.1:0" + (f"?format={form}" if form else ""), preexec_fn=wire.near.enter)
    end, greedy = GREEDY[form]
    with wire.far.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(LIMIT)
        client.connect(("10.9.0.1", server.port))
        client.send(end)
        answer_to_end = client.recv(1000)
        assert len(answer_to_end) <= len(end) + added
        for data in greedy:
            client.send(data)
            client.send(end)
            while (reply := client.recv(70000)) != answer_to_end:
                assert len(reply) <= len(data) + added
