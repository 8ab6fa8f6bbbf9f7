"""
The table of ends in tenon-relay(1): what one side of a session sees when the other half-closes, closes, resets, times
out, refuses or stops reading. Every cell, for each pair of kinds, both ways, on both engines.
"""
import contextlib
import socket
import ssl
import threading

import pytest

from harness import KIB, LIMIT, MIB, cpu_seconds, noise, open_socket, port_of, wait_until

HELLO, MORE, LAST = b"hello", b"more than that", b"and the last"
LINGER = b"\1\0\0\0\0\0\0\0"

# How an end and an error look to a peer of each kind. A Unix socket knows no reset.
BYTES, MESSAGES = ("tcp", "unix", "tls"), ("framed", "packets")
KNOWS_RESET = {"tcp", "tls", "framed"}
PAIRS = [(a, b) for kinds in (BYTES, MESSAGES) for a in kinds for b in kinds]


class End:
    """One side of a session, as the test has it: a client, or a target that has accepted."""

    def __init__(self, kind, sock):
        self.kind, self.sock, self.rest = kind, sock, b""

    def send(self, data):
        self.sock.sendall(len(data).to_bytes(4, "big") + data if self.kind == "framed" else data)

    def some(self):
        """What comes next: a message, or a piece of a stream. None: a reset, or for TLS an end without close_notify."""
        try:
            if self.kind != "framed":
                return self.sock.recv(256 * KIB)
            return self.message()
        except ssl.SSLZeroReturnError:
            return b""  # a close_notify behind our own
        except (ConnectionResetError, ssl.SSLError):
            return None

    def message(self):
        while len(self.rest) < 4 or len(self.rest) < 4 + int.from_bytes(self.rest[:4], "big"):
            came = self.sock.recv(256 * KIB)
            if not came:
                assert not self.rest, f"an end inside a message: {self.rest}"
                return b""
            self.rest += came
        size = 4 + int.from_bytes(self.rest[:4], "big")
        message, self.rest = self.rest[4:size], self.rest[size:]
        return message

    def expect(self, data):
        got = b""
        while len(got) < len(data):
            came = self.some()
            assert came, f"{'an error' if came is None else 'an end'} after {got!r}"
            got += came
        assert got == data

    def expect_end(self):
        assert self.some() == b"", "an end in good order"

    def expect_error(self):
        assert self.some() in ((None,) if self.kind in KNOWS_RESET else (None, b""))

    def half_close(self):
        if self.kind != "tls":
            self.sock.shutdown(socket.SHUT_WR)
            return
        self.sock.setblocking(False)
        with contextlib.suppress(ssl.SSLWantReadError):
            self.sock.unwrap()
        self.sock.settimeout(LIMIT)

    def close(self):
        if self.kind == "tls":
            self.half_close()
        self.sock.close()

    def reset(self, other):
        """Unix sockets send a reset when something has not been read."""
        if self.kind in KNOWS_RESET:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        else:
            other.send(b"unread")
            self.sock.recv(1, socket.MSG_PEEK)
        self.sock.close()


def listen_url(kind, tenon, authority, keys=""):
    keys = f"?{keys}" if keys else "?"
    return {"tcp": f"tcp://127.0.0.1:0{keys}", "unix": f"unix:{tenon.folder}/l{keys}",
            "tls": f"tls://127.0.0.1:0{keys}&{authority.pair('server')}",
            "framed": f"tcp://127.0.0.1:0{keys}&frame=u32",
            "packets": f"unix-seqpacket:{tenon.folder}/l{keys}"}[kind].replace("?&", "?").rstrip("?")


class Scene:
    """A relay of one kind to a target of another."""

    def __init__(self, tenon, authority, kinds, listen_keys="", target_keys=""):
        self.tenon, self.authority, (self.client_kind, self.target_kind) = tenon, authority, kinds
        unix = self.target_kind in ("unix", "packets")
        self.listener = tenon.listen(
            socket.AF_UNIX if unix else socket.AF_INET, f"{tenon.folder}/t" if unix else ("127.0.0.1", 0),
            socket.SOCK_SEQPACKET if self.target_kind == "packets" else socket.SOCK_STREAM)
        port = None if unix else self.listener.getsockname()[1]
        target = {"tcp": f"tcp://127.0.0.1:{port}?", "unix": f"unix:{tenon.folder}/t?",
                  "tls": f"tls://127.0.0.1:{port}?verify=off", "framed": f"tcp://127.0.0.1:{port}?frame=u32",
                  "packets": f"unix-seqpacket:{tenon.folder}/t?"}[self.target_kind]
        target = f"{target}&{target_keys}".replace("?&", "?").rstrip("?&")
        self.relay = tenon.relay(listen_url(self.client_kind, tenon, authority, listen_keys), target)
        tenon.cleanups.callback(lambda: (tenon.folder / "t").unlink(missing_ok=True))

    def client(self, receive_buffer=None):
        where = self.relay.url.split("?")[0]
        if self.client_kind != "tls":
            sock = open_socket(where, receive_buffer=receive_buffer)
        else:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            sock = socket.create_connection(("127.0.0.1", port_of(where)), LIMIT)
            sock = context.wrap_socket(sock, suppress_ragged_eofs=False)
        return End(self.client_kind, self.tenon.cleanups.enter_context(contextlib.closing(sock)))

    def target(self):
        sock = self.listener.accept()[0]
        sock.settimeout(LIMIT)
        if self.target_kind == "tls":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.authority.pem("server"), self.authority.key("server"))
            sock = context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False)
        return End(self.target_kind, self.tenon.cleanups.enter_context(contextlib.closing(sock)))

    def session(self):
        """Both ends of a session that works."""
        client, target = self.client(), self.target()
        client.send(HELLO)
        target.expect(HELLO)
        target.send(MORE)
        client.expect(MORE)
        return client, target


@pytest.fixture(params=PAIRS, ids="-".join)
def pair(request):
    return request.param


@pytest.fixture(params=["client", "target"])
def mover(request):
    """Who does it: the other one is looked at."""
    return request.param


def both(scene, mover):
    """(who does it, who sees it)"""
    client, target = scene.session()
    return (client, target) if mover == "client" else (target, client)


def told(scene, mover, reason):
    event = scene.relay.wait_for_event("session")
    assert (event["ended_by"], event["reason"]) == (mover, reason), event


def pump(one, other, data):
    """More than may be on its way is sent by a thread."""
    sender = threading.Thread(target=one.send, args=(data,))
    sender.start()
    other.expect(data)
    sender.join()


def test_half_close(tenon, authority, pair, mover):
    """The end is passed on behind everything, and the other direction goes on."""
    scene = Scene(tenon, authority, pair)
    one, other = both(scene, mover)
    one.send(LAST)
    one.half_close()
    other.expect(LAST)
    other.expect_end()
    other.send(MORE)
    other.send(LAST)
    one.expect(MORE + LAST)
    other.close()
    one.expect_end()
    told(scene, mover, "end")


def test_close(tenon, authority, pair, mover):
    """Everything is delivered, then the end."""
    scene = Scene(tenon, authority, pair)
    one, other = both(scene, mover)
    one.send(LAST)
    one.close()
    other.expect(LAST)
    other.expect_end()
    other.close()
    told(scene, mover, "end")


def test_reset(tenon, authority, pair, mover):
    """A reset stays one; what came before it is delivered first."""
    scene = Scene(tenon, authority, pair)
    one, other = both(scene, mover)
    one.send(LAST)
    other.expect(LAST)
    one.reset(other)
    other.expect_error()
    told(scene, mover, "reset")


def test_time_out(tenon, authority, pair, mover):
    """Key idle of one side: the other sees an error."""
    keys = {"listen_keys" if mover == "client" else "target_keys": "idle=300ms"}
    scene = Scene(tenon, authority, pair, **keys)
    _, other = both(scene, mover)
    other.expect_error()
    told(scene, mover, "idle")


def test_refuse(tenon, authority, pair):
    """Nobody listens at the target: the client sees an error."""
    scene = Scene(tenon, authority, pair)
    scene.listener.close()
    with contextlib.suppress(ConnectionResetError):  # it may come before connect(2) has returned
        scene.client().expect_error()
    told(scene, "relay", "error")


def test_stop_reading(tenon, authority, pair, mover):
    """Who sends is held back, with a bounded amount on its way; all of it arrives when the other reads again."""
    scene = Scene(tenon, authority, pair)
    slow, fast = both(scene, mover)
    piece, sent, most = noise(16 * KIB, 8), 0, 48 * MIB
    fast.sock.settimeout(0.5)
    with contextlib.suppress(TimeoutError, BlockingIOError, ssl.SSLWantWriteError):
        while sent < most and fast.kind not in ("framed", "tls"):
            sent += fast.sock.send(piece) if fast.kind == "packets" else fast.sock.send(piece[sent % len(piece):])
        while sent < most and fast.kind in ("framed", "tls"):
            fast.send(piece)
            sent += len(piece)
    assert sent < most, "the relay takes without end what its target does not read"
    got = b""
    while len(got) < sent:
        came = slow.some()
        assert came, f"{len(got)} of {sent}"
        assert came == (piece * (len(came) // len(piece) + 2))[len(got) % len(piece):][:len(came)]
        got += came
    fast.sock.settimeout(LIMIT)


# What others have got wrong

def test_a_reply_behind_a_half_close(tenon, authority, pair):
    """Queued bytes are sent before the end: 4 MB that the client does not read for a while."""
    scene = Scene(tenon, authority, pair)
    client, target = scene.session()
    client.half_close()
    target.expect_end()
    data = noise(32 * KIB, 9) * 128
    target.sock.setblocking(True)
    for at in range(0, len(data), 32 * KIB):
        if at == 64 * KIB:
            break
        target.send(data[at:at + 32 * KIB])
    target.close()
    got = b""
    while came := client.some():
        got += came
    assert got == data[:64 * KIB]


def test_data_before_a_reset_that_has_not_been_read(tenon, authority):
    """The target answers, then resets: the client, which reads late, gets the whole answer and then the reset."""
    scene = Scene(tenon, authority, ("tcp", "tcp"))
    client, target = scene.session()
    answer = noise(48 * KIB, 10)
    target.send(answer)
    wait_until(lambda: len(client.sock.recv(64 * KIB, socket.MSG_PEEK)) == len(answer), "the answer")
    target.reset(client)
    scene.relay.wait_for_event("session")
    client.expect(answer)
    client.expect_error()


def test_no_processor_time_for_half_closed_sessions(tenon, authority):
    """Splice loops of others spin at the end of one direction."""
    scene = Scene(tenon, authority, ("tcp", "tcp"))
    sessions = [scene.session() for _ in range(8)]
    big = noise(256 * KIB, 11)
    for client, target in sessions:
        for _ in range(8):  # so that the kernel moves them
            pump(client, target, big)
        client.half_close()
        target.expect_end()
    before = cpu_seconds(scene.relay.pid)
    sessions[0][0].sock.settimeout(1)
    with pytest.raises(TimeoutError):
        sessions[0][0].sock.recv(1)
    assert cpu_seconds(scene.relay.pid) - before < 0.3
    for client, target in sessions:
        target.close()
        client.expect_end()


def test_a_quiet_stream_is_not_delayed(tenon, authority):
    """After much has been moved, a single byte arrives by itself: nothing waits for more (SPLICE_F_MORE, MSG_MORE)."""
    scene = Scene(tenon, authority, ("tcp", "tcp"))
    client, target = scene.session()
    big = noise(256 * KIB, 12)
    for _ in range(8):
        pump(client, target, big)
    delays = []
    for _ in range(20):
        client.send(b"x")
        target.expect(b"x")
        target.send(b"y")
        client.expect(b"y")
        info = target.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 4)
        delays.append(info[0])
    assert set(delays) == {1}  # established, and nothing was cut
