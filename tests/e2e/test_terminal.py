"""tenon connect --raw, --escape and --crlf: a terminal whose keys all go to the peer, and that is left as it was."""
import fcntl
import os
import pty
import select
import signal
import socket
import termios
import tty

import pytest

from harness import (KIB, LIMIT, MIB, SANITIZED, children_of, noise, open_socket, receive_exactly, receive_to_end,
                     reset, wait_until)

pytestmark = pytest.mark.parametrize("engine", ["auto"], indirect=True)
USAGE = 2


class Terminal:
    """A terminal, the person at it, and a command that has it as standard input and output."""

    def __init__(self, tenon):
        self.tenon = tenon
        self.person, self.fd = pty.openpty()
        tenon.cleanups.callback(os.close, self.person)
        tenon.cleanups.callback(os.close, self.fd)
        self.before = tty.tcgetattr(self.fd)

    def start(self, *args, shell=()):
        argv = [*shell, *self.tenon.argv("connect", *args)]

        def own():
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            for number in (signal.SIGINT, signal.SIGQUIT):  # a shell ignores them for what it runs in the background
                signal.signal(number, signal.SIG_DFL)
        self.process = self.tenon.peer(*argv, stdin=self.fd, stdout=self.fd, start_new_session=True, preexec_fn=own)
        return self.process

    @property
    def is_raw(self):
        return not tty.tcgetattr(self.fd)[3] & (tty.ICANON | tty.ECHO | tty.ISIG)

    def type(self, keys):
        os.write(self.person, keys)

    def read(self, size):
        got = b""
        while len(got) < size:
            assert select.select([self.person], [], [], LIMIT)[0], got
            got += os.read(self.person, size - len(got))
        return got

    def was_left(self, status=None):
        self.process.wait(status)
        assert tty.tcgetattr(self.fd) == self.before


@pytest.fixture
def terminal(tenon):
    return Terminal(tenon)


@pytest.fixture
def raw(tenon, terminal):
    """raw(options): a terminal in raw mode, and the socket that it is connected with."""
    listener = tenon.listen()

    def start(*options, url="tcp://127.0.0.1:{}", shell=()):
        terminal.start("--raw", *options, url.format(listener.getsockname()[1]), shell=shell)
        sock = tenon.accept(listener)
        wait_until(lambda: terminal.is_raw, "raw mode")
        return sock
    return start


EVERY_KEY = bytes(byte for byte in range(256) if byte != 0x1d)


def test_every_key_goes_out_and_every_byte_is_shown(terminal, raw):
    """Ctrl-C, Ctrl-D, Ctrl-S, CR and LF too, each as it is, both ways; ^] leaves, and is in no message."""
    sock = raw()
    terminal.type(EVERY_KEY)
    assert receive_exactly(sock, len(EVERY_KEY)) == EVERY_KEY
    every = bytes(range(256))
    sock.sendall(every)
    assert terminal.read(256) == every
    terminal.type(b"last\x1dnot this")
    assert receive_to_end(sock) == b"last"
    sock.close()
    terminal.was_left(0)
    assert "^] leaves" in terminal.process.err


@pytest.mark.parametrize("key,byte", [("^A", b"\1"), ("^a", b"\1"), ("^?", b"\x7f"), ("^@", b"\0")])
def test_another_key(terminal, raw, key, byte):
    sock = raw("-q", "--escape", key)
    terminal.type(b"\x1d" + byte)
    assert receive_to_end(sock) == b"\x1d"
    sock.close()
    terminal.was_left(0)
    assert terminal.process.err == ""


def test_no_key(terminal, raw):
    sock = raw("--escape", "off")
    terminal.type(b"a\x1db")
    assert receive_exactly(sock, 3) == b"a\x1db"
    sock.close()
    terminal.was_left(0)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGABRT,
                                 signal.SIGSEGV, signal.SIGUSR1, "peer's end", "peer's reset", "idle"], ids=str)
def test_the_terminal_is_left_as_it_was(terminal, raw, end):
    if SANITIZED and end == signal.SIGSEGV:
        pytest.skip("is the sanitizers' signal")
    sock = raw(url="tcp://127.0.0.1:{}?idle=50ms" if end == "idle" else "tcp://127.0.0.1:{}")
    if isinstance(end, int):
        os.kill(terminal.process.pid, end)
    elif end == "peer's reset":
        reset(sock)
    elif end == "peer's end":
        sock.close()
    terminal.was_left()
    sock.close()


def test_a_peer_that_takes_nothing_can_be_left(terminal, raw):
    """More is typed than all queues hold; the key is seen all the same."""
    sock = raw(url="tcp://127.0.0.1:{}?queue=4KiB&sndbuf=4KiB&drain=1ms")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    os.set_blocking(terminal.person, False)
    rest = b"x" * 512 * KIB + b"\x1d"
    while rest:
        select.select([], [terminal.person], [], LIMIT)
        rest = rest[os.write(terminal.person, rest[:4096]):]
    terminal.was_left()
    sock.close()


def test_stopped_and_continued(terminal, raw, program):
    """Stopped, the terminal is the shell's; in the foreground again it is raw again."""
    script = 'exec 2>/dev/tty; set -m; "$@"; echo stopped; read key; fg'
    sock = raw("-q", shell=[program("bash"), "-c", script, "bash"])
    os.kill(children_of(terminal.process.pid)[0], signal.SIGTSTP)
    shown = b""
    while not shown.endswith(b"stopped\r\n"):
        shown += terminal.read(1)
    assert tty.tcgetattr(terminal.fd)[3] == terminal.before[3]
    terminal.type(b"\n")
    wait_until(lambda: terminal.is_raw, "raw mode")
    terminal.type(b"\3")
    assert receive_exactly(sock, 1) == b"\3"
    sock.close()
    terminal.was_left()


def test_before_there_is_a_connection_ctrl_c_ends_it(tenon, terminal):
    with tenon.listen() as listener:
        port = listener.getsockname()[1]
    terminal.start("--raw", "--retry", "forever", f"tcp://127.0.0.1:{port}")
    terminal.process.wait_for_text("again in")
    assert not terminal.is_raw
    terminal.type(b"\3")
    terminal.was_left(1)


def test_one_client_after_the_other(terminal):
    """With --listen --keep: raw for each, and as it was between them."""
    process = terminal.start("--raw", "--listen", "--keep", "tcp://127.0.0.1:0")
    url = process.wait_for_text(r"(tcp://\S+:\d+)").group(1)
    for _ in range(2):
        with open_socket(url) as sock:
            wait_until(lambda: terminal.is_raw, "raw mode")
            terminal.type(b"\4")
            assert receive_exactly(sock, 1) == b"\4"
        wait_until(lambda: tty.tcgetattr(terminal.fd) == terminal.before, "the terminal as it was")
    with open_socket(url) as sock:
        wait_until(lambda: terminal.is_raw, "raw mode")
        terminal.type(b"\x1d")
        assert receive_to_end(sock) == b""
    terminal.was_left(0)


@pytest.mark.parametrize("scheme,keys", [("udp", ""), ("tcp", "?frame=u32")])
def test_what_is_typed_is_a_message(tenon, terminal, scheme, keys):
    """On datagrams and with a frame: as it is read, with no line feed taken away or added."""
    server = tenon.serve(f"{scheme}://127.0.0.1:0{keys}", options=["--handler", "echo"])
    terminal.start("--raw", server.url + keys)
    wait_until(lambda: terminal.is_raw, "raw mode")
    for keys in (b"a", b"b\n", b"\r"):
        terminal.type(keys)
        assert terminal.read(len(keys)) == keys
    terminal.type(b"\x1d")
    terminal.was_left(0)


def test_socat_as_the_peer(tenon, terminal, program):
    """A shell's terminal at the other end, made by socat: what a person types is edited and signalled there."""
    peer = tenon.peer(program("socat"), "-d", "-d", "TCP-LISTEN:0,bind=127.0.0.1",
                      "EXEC:cat,pty,setsid,ctty,sane,echo=0", start_new_session=True)
    port = peer.wait_for_text(r"listening on .*:(\d+)").group(1)
    terminal.start("--raw", f"tcp://127.0.0.1:{port}")
    wait_until(lambda: terminal.is_raw, "raw mode")
    terminal.type(b"hello\r")
    assert terminal.read(7) == b"hello\r\n"
    terminal.type(b"\4")  # which ends cat, and so socat
    terminal.was_left(0)
    peer.wait(None)


def test_crlf(tenon, program):
    """As nc -C: a CR that is there is not doubled, wherever the input is cut; a part of a line is not held back."""
    listener = tenon.listen()
    url = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    reading, writing = os.pipe()
    process = tenon.start("connect", "--crlf", url, stdin=reading)
    os.close(reading)
    sock = tenon.accept(listener)
    for written, sent in [(b"one\n", b"one\r\n"), (b"two\r\n\n", b"two\r\n\r\n"), (b"three\r", b"three\r"),
                          (b"\n\n", b"\n\r\n"), (b"no line", b"no line"), (b"\n", b"\r\n"), (b"\r\r\n", b"\r\r\n")]:
        os.write(writing, written)
        assert receive_exactly(sock, len(sent)) == sent
    os.close(writing)
    assert receive_to_end(sock) == b""
    sock.close()
    process.wait(0)
    data = noise(MIB).replace(b"\r", b"")
    path = tenon.file("data", data)
    peer = tenon.peer(program("socat"), "-u", "-d", "-d", "TCP-LISTEN:0,bind=127.0.0.1", "-")
    port = peer.wait_for_text(r"listening on .*:(\d+)").group(1)
    tenon.feed(path, tenon.argv("connect", "-C", f"tcp://127.0.0.1:{port}"))
    peer.wait(0)
    assert peer.out == data.replace(b"\n", b"\r\n")
    udp = tenon.listen(kind=socket.SOCK_DGRAM)
    tenon.run("connect", "-C", "--send-only", f"udp://127.0.0.1:{udp.getsockname()[1]}", input=b"one\ntwo\r\nthree")
    assert [udp.recv(100) for _ in range(3)] == [b"one\r\n", b"two\r\n", b"three"]


SIGNALLED = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <termios.h>
int tcsetattr(int fd, int how, const struct termios *wanted)
{
	if (wanted->c_lflag & ECHO)
		raise(SIGHUP);
	return ((int (*)(int, int, const struct termios *))dlsym(RTLD_NEXT, "tcsetattr"))(fd, how, wanted);
}
"""


@pytest.mark.skipif(SANITIZED, reason="sanitizers want to be loaded first")
def test_a_deadly_signal_while_the_terminal_is_restored(tenon, terminal, raw, program):
    """Right before the call that does it."""
    library = tenon.folder / "signalled.so"
    tenon.finish([program("cc"), "-shared", "-fPIC", "-o", library, tenon.file("signalled.c", SIGNALLED.encode())])
    sock = raw(shell=[program("env"), f"LD_PRELOAD={library}"])
    sock.close()
    terminal.was_left(-signal.SIGHUP)


@pytest.mark.parametrize("args,words", [
    (["--escape", "a", "--raw"], "control character"), (["--escape", "", "--raw"], "control character"),
    (["--escape", "^", "--raw"], "control character"), (["--escape", "^1", "--raw"], "control character"),
    (["--escape", "^]x", "--raw"], "control character"), (["--escape", "^M", "--raw"], "Enter"),
    (["--escape", "^j", "--raw"], "Enter"), (["--escape", "^A"], "only with --raw"),
    (["--raw"], "no terminal"), (["--raw", "--recv-only"], "--recv-only"),
    (["--raw", "--interval", "1s"], "--interval"), (["--crlf", "--recv-only"], "--crlf: the input is not read"),
    (["--chunk", "9", "--recv-only"], "--chunk: the"), (["--rate", "9", "--recv-only"], "--rate: the"),
    (["--interval", "1s", "--recv-only"], "--interval: the"),
], ids=" ".join)
def test_refused(tenon, args, words):
    result = tenon.run("connect", *args, "tcp://127.0.0.1:1", status=USAGE)
    assert words in result.err


@pytest.mark.parametrize("option,url,words", [
    ("--crlf", "tcp://127.0.0.1:1?frame=line", "frame=crlf"), ("--raw", "tcp://127.0.0.1:1?format=json", "format")])
def test_refused_with_messages(terminal, option, url, words):
    terminal.start(option, url)
    terminal.was_left(USAGE)
    assert words in terminal.process.err
