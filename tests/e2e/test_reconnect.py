"""Key reconnect in connect and send: what is lost is dialled again, and nobody is told that all went well if not."""
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import termios

import pytest

from harness import KIB, MIB, noise, receive_exactly, receive_to_end, reset, wait_until
from test_terminal import Terminal

pytestmark = pytest.mark.parametrize("engine", ["auto"], indirect=True)
FAILED, USAGE, TIMEOUT = 1, 2, 3
QUICK = "reconnect=10ms-50ms"


@pytest.fixture
def listener(tenon):
    return tenon.listen()


def url_of(sock, keys=QUICK):
    return f"tcp://127.0.0.1:{sock.getsockname()[1]}?{keys}"


@pytest.mark.parametrize("options", [[], ["--trace", "text", "--trace-to", "/dev/null"]])
def test_both_ways_over_three_connections(tenon, listener, options):
    """A reset, then an end in good order: both are told. What comes is one stream, the end of the input is the end."""
    process = tenon.start("connect", url_of(listener), *options, stdin=subprocess.PIPE)
    for nth, end in enumerate([reset, socket.socket.close]):
        with tenon.accept(listener) as sock:
            process.popen.stdin.write(b"in %d\n" % nth)
            process.popen.stdin.flush()
            assert receive_exactly(sock, 5) == b"in %d\n" % nth
            sock.sendall(b"out %d\n" % nth)
            wait_until(lambda: process.out.endswith(b"out %d\n" % nth), "what was said")
            end(sock)
    sock = tenon.accept(listener)
    process.wait_for_text("reset.*; again in(.|\n)*connected again(.|\n)*ended the connection; again in(.|\n)*again$")
    process.popen.stdin.close()
    assert receive_to_end(sock) == b""
    sock.sendall(b"last\n")
    sock.close()
    process.wait(0)
    assert process.out == b"out 0\nout 1\nlast\n"


def test_what_is_said_while_it_is_away_is_kept(tenon):
    """Input that ends before anybody is there, too: all of it comes, and then the end."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    data = noise(MIB)
    with tenon.opened(tenon.file("data", data)) as file:
        process = tenon.start("connect", url_of(sock), stdin=file)
    process.wait_for_text("refused.*; again in")
    sock.listen()
    client = tenon.accept(sock)
    assert receive_to_end(client) == data
    client.close()
    sock.close()
    process.wait(0)
    assert process.err.count("again in") == 1


@pytest.mark.parametrize("command", ["connect", "send --no-reply"])
def test_what_was_queued_is_lost_which_is_told(tenon, listener, command):
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    process = tenon.start(*command.split(), url_of(listener, QUICK + "&sndbuf=4KiB"), stdin=subprocess.PIPE)
    sock = tenon.accept(listener)
    os.write(process.popen.stdin.fileno(), b"x" * 64 * KIB)
    wait_until(lambda: not fcntl.ioctl(process.popen.stdin, termios.FIONREAD, bytes(4)).strip(b"\0"), "all is read")
    reset(sock)
    process.wait_for_text("bytes have not been sent, and are lost")
    sock = tenon.accept(listener)
    process.popen.stdin.close()
    receive_to_end(sock)
    sock.close()
    process.wait(FAILED)


def test_who_only_sends_has_sent_what_it_could(tenon, listener):
    """The input has ended: another connection would have nothing to carry."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    process = tenon.start("connect", "--send-only", "--no-fin", url_of(listener, QUICK + "&sndbuf=4KiB"),
                          stdin=subprocess.PIPE)
    sock = tenon.accept(listener)
    os.write(process.popen.stdin.fileno(), b"x" * 64 * KIB)
    process.popen.stdin.close()
    wait_until(lambda: os.readlink(f"/proc/{process.pid}/fd/0") == "/dev/null", "the end of the input")
    reset(sock)
    process.wait(FAILED)
    assert "bytes have not been sent, and are lost" in process.err and "again in" not in process.err


def test_a_number_of_attempts(tenon):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        for command in ("connect", "send --no-reply"):
            result = tenon.run(*command.split(), url_of(sock, QUICK + "&reconnect-tries=3"), input=b"one\n",
                               status=FAILED)
            assert result.err.count("refused") == 2 and result.err.count("again in") == 1
            result = tenon.run(*command.split(), "-v", url_of(sock, QUICK + "&reconnect-tries=3"), input=b"one\n",
                               status=FAILED)
            assert result.err.count("again in") == 2


def test_a_time_for_the_first_connection(tenon):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        for command in ("send", "send --no-reply"):
            result = tenon.run(*command.split(), "--wait", "200ms", url_of(sock, QUICK + "&frame=line"), "one",
                               status=TIMEOUT, limit=5)
            assert "connect: timed out after 0.2 s" in result.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_it_is_away(tenon, listener, number):
    process = tenon.start("connect", url_of(listener, "reconnect=1h"), stdin=subprocess.PIPE)
    tenon.accept(listener).close()
    process.wait_for_text("again in")
    process.popen.stdin.write(b"more\n")
    process.popen.stdin.flush()
    wait_until(lambda: os.readlink(f"/proc/{process.pid}/fd/0"), "input")
    process.signal(number)
    process.wait(None)
    process.popen.stdin.close()


def test_to_receive_alone(tenon, listener):
    """The input is not read; --count and --bytes count over all connections."""
    process = tenon.start("connect", "--recv-only", "--bytes", "6", url_of(listener))
    for text in (b"one", b"two", b""):
        sock = tenon.accept(listener)
        sock.sendall(text)
        if text == b"two":
            process.wait(0)
        sock.close()
        if text == b"two":
            break
    assert process.out == b"onetwo"


def test_a_heartbeat_finds_a_silent_peer(tenon, listener):
    """The peer's machine has gone without a word: no reply to the heartbeat, so it is dialled again."""
    process = tenon.start("connect", "--recv-only", url_of(listener, QUICK + "&frame=line&heartbeat=20ms:ping"))
    silent = tenon.accept(listener)
    sock = tenon.accept(listener)
    assert b"ping\n" in silent.recv(100)
    sock.sendall(b"here\n")
    wait_until(lambda: b"here\n" in process.out, "what the second says")
    process.signal(signal.SIGTERM)
    process.wait(0)
    silent.close()
    sock.close()


def test_a_raw_terminal_is_ordinary_while_it_is_away(tenon, listener):
    terminal = Terminal(tenon)
    terminal.start("--raw", url_of(listener))
    first = tenon.accept(listener)
    wait_until(lambda: terminal.is_raw, "raw mode")
    listener.close()
    first.close()
    wait_until(lambda: not terminal.is_raw, "its own mode")
    terminal.type(b"\3")
    terminal.was_left()


def framed(sock):
    size, = struct.unpack(">I", receive_exactly(sock, 4))
    return receive_exactly(sock, size)


def test_send_gives_up_the_message_under_way(tenon, listener):
    """The one whose reply cannot come any more is named, those behind it are sent."""
    process = tenon.start("send", url_of(listener, QUICK + "&frame=u32"), "one", "two", "three")
    sock = tenon.accept(listener)
    assert framed(sock) == b"one"
    sock.sendall(struct.pack(">I", 3) + b"ONE")
    assert framed(sock) == b"two"
    reset(sock)
    sock = tenon.accept(listener)
    assert framed(sock) == b"three"
    sock.sendall(struct.pack(">I", 5) + b"THREE")
    process.wait(FAILED)
    sock.close()
    assert process.out == b"ONE\nTHREE\n" and "message 2: the connection was lost before its reply" in process.err


def test_send_names_the_last_message_alone(tenon, listener):
    """Its server has ended in good order, and nothing is left to say: no error is told."""
    process = tenon.start("send", url_of(listener, QUICK + "&frame=u32"), "one")
    sock = tenon.accept(listener)
    assert framed(sock) == b"one"
    sock.close()
    process.wait(FAILED)
    assert process.err == "tenon: message 1: the connection was lost before its reply\n"


def test_lines_are_sent_over_a_restart(tenon, listener):
    """A line that comes while nobody is there waits."""
    process = tenon.start("send", "--no-reply", url_of(listener, QUICK + "&frame=line"), stdin=subprocess.PIPE)
    sock = tenon.accept(listener)
    process.popen.stdin.write(b"one\n")
    process.popen.stdin.flush()
    assert receive_exactly(sock, 4) == b"one\n"
    sock.close()
    process.wait_for_text("again in")
    process.popen.stdin.write(b"two\n")
    process.popen.stdin.close()
    sock = tenon.accept(listener)
    assert receive_to_end(sock) == b"two\n"
    sock.close()
    process.wait(0)


@pytest.mark.parametrize("command", ["send", "send --no-reply"])
def test_no_line_is_left_for_another_connection(tenon, listener, command):
    """All replies are there, and the server has gone for good, when the input ends."""
    process = tenon.start(*command.split(), url_of(listener, QUICK + "&frame=line"), stdin=subprocess.PIPE)
    sock = tenon.accept(listener)
    listener.close()
    process.popen.stdin.write(b"one\n")
    process.popen.stdin.flush()
    assert receive_exactly(sock, 4) == b"one\n"
    if command == "send":
        sock.sendall(b"ONE\n")
        wait_until(lambda: process.out == b"ONE\n", "the reply")
    sock.close()
    process.wait_for_text("again in")
    process.popen.stdin.close()
    process.wait(0)


@pytest.mark.parametrize("args,words", [
    ("connect --retry 3 tcp://h:1?reconnect=1s", "--retry"),
    ("send --retry 3 --no-reply tcp://h:1?reconnect=1s", "--retry"),
    ("connect --exit-on-end tcp://h:1?reconnect=1s", "--exit-on-end"),
    ("connect --wait-input 1s tcp://h:1?reconnect=1s", "--wait-input"),
    ("connect --listen tcp://127.0.0.1:0?reconnect=1s", "reconnect"), ("send tcp://h:1?reconnect=1s a", "--no-reply"),
    ("ping tcp://h:1?reconnect=1s", "not dialled again"), ("ping tcp://h:1,2?reconnect=1s", "not dialled again"),
    ("relay tcp://127.0.0.1:0 tcp://h:1?reconnect=1s", "not dialled again"),
    ("relay tcp://127.0.0.1:0 tcp://h:1 --tee tcp://h:2?reconnect=1s", "not dialled again"),
    ("replay /dev/null tcp://h:1?reconnect=1s", "not dialled again"),
    ("hub nats://127.0.0.1:0 --join nats://h?reconnect=1s", "not dialled again")])
def test_refused(tenon, args, words):
    assert words in tenon.run(*args.split(), status=USAGE).err


@pytest.mark.parametrize("scheme", ["tls", "ws"])
def test_tls_and_websocket_begin_anew(tenon, authority, trusted, scheme):
    """A server that is killed, and one that takes its place."""
    path, keys = ("", f"&{trusted}") if scheme == "tls" else ("/", "")
    served = f"?frame=line&{authority.pair('server')}" if scheme == "tls" else path
    server = tenon.serve(f"{scheme}://127.0.0.1:0{served}", options=["--handler", "echo"])
    port = server.url.split(":")[2].split("/")[0]
    frame = "&frame=line" if scheme == "tls" else ""
    process = tenon.start("connect", f"{scheme}://127.0.0.1:{port}{path}?{QUICK}{keys}{frame}", stdin=subprocess.PIPE)
    for text in (b"one\n", b"two\n"):
        process.popen.stdin.write(text)
        process.popen.stdin.flush()
        wait_until(lambda: process.out.endswith(text), text)
        if text == b"one\n":
            server.kill()
            process.wait_for_text("again in")
            tenon.serve(f"{scheme}://127.0.0.1:{port}{served}", options=["--handler", "echo"])
    process.popen.stdin.close()
    process.wait(0)
    assert process.out == b"one\ntwo\n"


def test_each_connection_is_looked_at(tenon, listener):
    """--trace shows what passes on the second as on the first, and what was typed in between; so does --record."""
    path = tenon.folder / "r.pcapng"
    process = tenon.start("connect", "--trace", "json", "--record", path, url_of(listener, QUICK + "&frame=line"),
                          stdin=subprocess.PIPE)
    for nth in range(2):
        with tenon.accept(listener) as sock:
            process.popen.stdin.write(b"in %d\n" % nth)
            process.popen.stdin.flush()
            assert receive_exactly(sock, 5) == b"in %d\n" % nth
            sock.sendall(b"out %d\n" % nth)
            wait_until(lambda: process.out.endswith(b"out %d\n" % nth), "what was said")
    sock = tenon.accept(listener)
    process.popen.stdin.close()
    assert receive_to_end(sock) == b""
    sock.close()
    process.wait(0)
    shown = [json.loads(line) for line in process.err.splitlines() if line.startswith("{")]
    assert [line["data"] for line in shown] == ["in 0", "out 0", "in 1", "out 1"]
    recorded = path.read_bytes()
    assert all(text in recorded for text in (b"in 0", b"out 0", b"in 1", b"out 1"))
