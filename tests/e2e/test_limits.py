"""What one client, or a crowd of them, may take: connections per address, connections per second, time per message,
depth."""
import contextlib
import os
import socket
import ssl
import struct
import subprocess
import time

import pytest

from harness import LIMIT, MIB, exchange, open_socket, port_of, receive_exactly, reset, wait_until

NOBODY = 65534


def dial_from(tenon, address, url):
    """As from another machine: the whole of 127.0.0.0/8 is this one."""
    sock = tenon.cleanups.enter_context(contextlib.closing(socket.socket()))
    sock.settimeout(LIMIT)
    sock.bind((address, 0))
    sock.connect(("127.0.0.1", port_of(url)))
    return sock


def is_served(sock):
    """Whether what it says comes back; otherwise its end must have been in good order."""
    with contextlib.suppress(BrokenPipeError):
        sock.sendall(b"hello?")
    got = sock.recv(6)
    assert got in (b"hello?", b"")
    return got != b""


def room_for_one_more(tenon, address, server):
    """A client that is served, as soon as there is room for it. Before, many are refused in a row, the later ones of
    them by a reset."""
    def dialled():
        sock = dial_from(tenon, address, server.url)
        with contextlib.suppress(ConnectionResetError):
            return is_served(sock) and sock

    return wait_until(dialled, "room for one more")


# Connections per address

@pytest.mark.parametrize("threads", [1, 3])
def test_one_address_takes_no_more_than_its_share(tenon, threads):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--per-source", 4, "--threads", threads, "--json"])
    greedy = [dial_from(tenon, "127.0.0.2", server.url) for _ in range(4)]
    assert all(map(is_served, greedy))
    for _ in range(12):
        assert dial_from(tenon, "127.0.0.2", server.url).recv(1) == b""  # and no reset
    trouble = server.wait_for_event("trouble", reason="limit")
    assert "127.0.0.2" in trouble["error"] and "per-source" in trouble["error"]
    others = [dial_from(tenon, f"127.0.0.{n}", server.url) for n in range(3, 40) for _ in range(4)]
    assert all(map(is_served, others)) and all(map(is_served, greedy))
    # Who leaves makes room, whether he goes in good order or not
    greedy.pop().close()
    reset(greedy.pop())
    for _ in range(2):
        greedy.append(room_for_one_more(tenon, "127.0.0.2", server))
    assert dial_from(tenon, "127.0.0.2", server.url).recv(1) == b""
    assert all(map(is_served, greedy))


def test_come_and_go_within_the_share(tenon):
    """Nothing is counted twice or kept: resets before, at and after the accept among them."""
    server = tenon.serve("tcp://127.0.0.1:0?per-source=8", options=["--threads", 2])
    for turn in range(30):
        clients = [dial_from(tenon, "127.0.0.5", server.url) for _ in range(8)]
        if turn % 3:
            for client in clients[:4]:
                reset(client)
        for client in clients:
            client.close()
    # Some may still wait to be accepted, and count for a moment then
    clients = [room_for_one_more(tenon, "127.0.0.5", server) for _ in range(8)]
    assert dial_from(tenon, "127.0.0.5", server.url).recv(1) == b""
    assert all(map(is_served, clients))


def test_an_address_is_the_same_on_both_ip_versions(tenon):
    """An IPv4 client of an IPv6 socket is known by its IPv4 address, not by the /64 that all of these share."""
    server = tenon.serve("tcp6://[::]:0?v6only=off&per-source=2")
    for address in ("127.0.0.1", "127.0.0.2"):
        assert all(is_served(dial_from(tenon, address, server.url)) for _ in range(2))
        assert dial_from(tenon, address, server.url).recv(1) == b""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_unix_clients_are_counted_by_user(tenon):
    server = tenon.serve("unix:@tenon-limits-" + str(os.getpid()), options=["--per-source", 2, "--threads", 2])
    for user in (0, NOBODY, 1):
        os.seteuid(user)
        try:
            clients = [tenon.dial(server.url) for _ in range(3)]
        finally:
            os.seteuid(0)
        assert sorted(map(is_served, clients)) == [False, True, True]


def tls_client(authority, url):
    made = ssl.create_default_context(cafile=authority.pem("ca"))
    return made.wrap_socket(socket.create_connection(("127.0.0.1", port_of(url)), LIMIT), server_hostname="127.0.0.1")


def test_tls_clients_are_counted(tenon, authority):
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}&per-source=2")
    with tls_client(authority, server.url) as first, tls_client(authority, server.url) as second:
        assert is_served(first) and is_served(second)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            tls_client(authority, server.url)


def test_dtls_clients_are_counted(tenon, authority, trusted):
    server = tenon.serve(f"dtls://127.0.0.1:0?{authority.pair('server')}", options=["--per-source", "1"])
    first = tenon.start("connect", f"{server.url}?{trusted}", stdin=subprocess.PIPE)
    first.popen.stdin.write(b"hello\n")
    first.popen.stdin.flush()
    first.wait_for_text("^ack: hello$", "out")
    assert tenon.run("send", f"{server.url}?{trusted}", "x", status=1).out == b""
    server.wait_for_text("per-source")
    first.popen.stdin.close()
    first.wait()
    wait_until(lambda: tenon.run("send", f"{server.url}?{trusted}", "x", status=None).out == b"ack: x\n",
               "a free place")


# Connections per second

def test_a_burst_waits_and_nobody_is_refused(tenon):
    """The bound holds at every moment, however slow or fast this machine is: so many, and what the time since adds."""
    rate, threads = 50, 2
    folder = tenon.folder
    server = tenon.serve("tcp://127.0.0.1:0", f"unix:{folder}/sock",
                         options=["--accept-rate", rate, "--threads", threads])
    for url in server.urls:
        start = time.monotonic()
        clients = [tenon.dial(url) for _ in range(60)]
        for client in clients:
            client.sendall(b"?")
            client.setblocking(False)
        served = 0
        while clients:
            for client in list(clients):
                with contextlib.suppress(BlockingIOError):
                    assert client.recv(1) == b"?"
                    served += 1
                    clients.remove(client)
            assert served <= rate / 10 + threads + 1 + rate * (time.monotonic() - start)
            assert time.monotonic() - start < 3 * LIMIT
            time.sleep(0.005)


def test_churn_is_bounded(tenon):
    """Clients that come and go at once are no more work than the rate allows; those inside are served meanwhile."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--accept-rate", 20, "--json"])
    inside = tenon.dial(server.url)
    exchange(inside, b"hello")
    start = time.monotonic()
    while time.monotonic() - start < 1:
        for _ in range(20):
            reset(open_socket(server.url))
        assert exchange(inside, b"still here") == b"still here"
    opened = len([event for event in server.events if event["event"] == "open"])
    assert opened <= 1 + 3 + 20 * (time.monotonic() - start)
    server.untidy = True  # those that still wait are let in when it ends


def test_dtls_hellos_beyond_the_rate_come_again(tenon, authority, trusted):
    server = tenon.serve(f"dtls://127.0.0.1:0?{authority.pair('server')}&accept-rate=2")
    clients = [tenon.start("send", f"{server.url}?{trusted}", f"{n}") for n in range(2)]
    for n, client in enumerate(clients):
        client.wait()
        assert client.out == b"ack: %d\n" % n


# Time per message

FRAMED = {
    "line": (b"hello\n", b"hello"), "nul": (b"hello\0", b"hello"), "u32": (b"\0\0\0\5hello", b"hello"),
    "varint": (b"\5hello", b"hello"), "netstring": (b"5:hello,", b"hello"), "fixed:5": (b"hello", b"hello"),
    "cobs": (b"\6hello\0", b"hello"), "slip": (b"\xc0hello\xc0", b"hello"), "json": (b'"hello"', b'"hello"\n'),
    "cbor": (b"\x65hello", b"\x65hello"), "msgpack": (b"\xa5hello", b"\xa5hello"),
}


def gone(sock):
    """Whether the server has ended it."""
    sock.setblocking(False)
    try:
        return sock.recv(100) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


@pytest.mark.parametrize("frame", FRAMED)
def test_a_message_that_is_never_whole_ends_its_connection(tenon, frame):
    """Byte by byte, never resting: idle would not catch it."""
    server = tenon.serve(f"tcp://127.0.0.1:0?frame={frame}&request=300ms", options=["--json"])
    whole = FRAMED[frame][0]
    slow, silent, lively = (tenon.dial(server.url.split("?")[0]) for _ in range(3))
    lively.sendall(whole)  # and then rests: nothing has begun
    slow.sendall(whole)
    slow.recv(100)
    deadline, rest = time.monotonic() + LIMIT, list(whole[:-1])
    while not gone(slow):
        with contextlib.suppress(ConnectionError):
            if rest:
                slow.send(bytes([rest.pop(0)]))
        assert time.monotonic() < deadline, "the slow client is kept"
        time.sleep(0.08)
    closed = server.wait_for_event("close")
    assert closed["reason"] == "timeout" and "request" in closed["error"] and closed["messages_in"] == 1
    assert not gone(silent)
    lively.settimeout(LIMIT)
    assert lively.recv(100)
    lively.sendall(whole)
    assert lively.recv(100)


def test_who_sends_whole_messages_goes_on(tenon):
    """Each time a new one has begun by the time the last is whole: the deadline is each message's own."""
    server = tenon.serve("tcp://127.0.0.1:0?frame=line&request=1s", options=["--threads", 2])
    client = tenon.dial(server.url.split("?")[0])
    end = time.monotonic() + 2.5
    client.sendall(b"be")
    while time.monotonic() < end:
        client.sendall(b"ginning\nbe")
        assert receive_exactly(client, 10) == b"beginning\n"
        time.sleep(0.05)
    client.sendall(b"\n")
    assert receive_exactly(client, 3) == b"be\n"


def test_who_is_held_back_is_not_late(tenon):
    """A client that does not read is not read from: the rest of its message lies in the socket, and that is our
    doing."""
    server = tenon.serve("tcp://127.0.0.1:0?frame=u32&request=500ms&queue=64KiB")
    client = tenon.dial(server.url.split("?")[0], receive_buffer=16384)
    message = struct.pack(">I", 100000) + bytes(100000)
    sent, client_end = 0, time.monotonic() + LIMIT
    client.setblocking(False)
    while time.monotonic() < client_end:
        try:
            sent += client.send(message[sent % len(message):])
            quiet = time.monotonic()
        except BlockingIOError:
            if time.monotonic() - quiet > 1.5:
                break
            time.sleep(0.01)
    client.settimeout(LIMIT)
    rest = len(message) - sent % len(message)
    received = receive_exactly(client, len(message))
    assert received == message
    got = len(message)
    client.setblocking(False)
    view = memoryview(message)[len(message) - rest:]
    while got < sent + rest:
        with contextlib.suppress(BlockingIOError):
            view = view[client.send(view):] if view else view
        with contextlib.suppress(BlockingIOError):
            data = client.recv(MIB)
            assert data, f"ended after {got} of {sent + rest}"
            got += len(data)
    assert got == sent + rest


def test_slow_records_are_slow_messages(tenon, authority):
    """Over TLS a message can be held up inside a record, where no byte of it has come yet."""
    server = tenon.serve(f"tls://127.0.0.1:0?frame=line&request=300ms&{authority.pair('server')}", options=["--json"])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    made = ssl.create_default_context(cafile=authority.pem("ca"))
    secured = made.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with socket.create_connection(("127.0.0.1", server.port), LIMIT) as sock:
        while True:
            try:
                secured.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                incoming.write(sock.recv(65536))
        sock.sendall(outgoing.read())
        server.wait_for_event("open")
        secured.write(bytes(1000))
        record = outgoing.read()
        for at in range(len(record) - 1):
            with contextlib.suppress(ConnectionError):
                sock.send(record[at:at + 1])
            if any(event["event"] == "close" for event in server.events):
                break
            time.sleep(0.02)
    closed = server.wait_for_event("close")
    assert closed["reason"] == "timeout" and closed["bytes_in"] == 0


def test_the_deadline_can_be_switched_off(tenon):
    server = tenon.serve("tcp://127.0.0.1:0?frame=line&request=0")
    client = tenon.dial(server.url.split("?")[0])
    client.sendall(b"be")
    time.sleep(0.5)
    client.sendall(b"ginning\n")
    assert receive_exactly(client, 10) == b"beginning\n"


def test_where_they_apply(tenon):
    refused = tenon.run("serve", "tcp://127.0.0.1:0?request=5s", status=2)
    assert "framed" in refused.err
    refused = tenon.run("serve", "udp://127.0.0.1:0?per-source=5", status=2)
    assert "per-source" in refused.err
    refused = tenon.run("send", "tcp://127.0.0.1:1?accept-rate=5", "x", status=2)
    assert "served" in refused.err


# Depth

@pytest.mark.parametrize("url", ["format=json", "format=json&strict=on", "format=cbor", "format=msgpack",
                                 "format=xml&frame=u32"])
def test_depth(tenon, url):
    def nested(depth):
        if "json" in url:
            return b"[" * depth + b"]" * depth
        if "xml" in url:
            text = b"<a>" * depth + b"</a>" * depth
            return struct.pack(">I", len(text)) + text
        return (b"\x81" if "cbor" in url else b"\x91") * (depth - 1) + (b"\x80" if "cbor" in url else b"\x90")
    for depth, keys in ((128, ""), (5, "&depth=5"), (1024, "&depth=1024")):
        server = tenon.serve(f"tcp://127.0.0.1:0?{url}{keys}", options=["--json"])
        where = server.url.split("?")[0]
        tenon.dial(where).sendall(nested(depth))
        client = tenon.dial(where)
        client.sendall(nested(depth + 1))
        bad = server.wait_for_event("bad")
        assert "deep" in bad["error"]
        assert len([event for event in server.events if event["event"] == "bad"]) == 1
        server.untidy = True
