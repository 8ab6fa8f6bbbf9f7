"""
Every command under the same eye. What can happen to its input, output, error output and peer, and by signals, is a
table; each row has one rule for the exit status and the words (tenon(1), EXIT STATUS), and every command is held
against it.
"""
import contextlib
import fcntl
import os
import pathlib
import re
import resource
import select
import signal
import socket
import subprocess
import termios
import threading
import time

import pytest

import packets
from harness import (COMMAND, KIB, LIMIT, MIB, Result, environment, free_port, is_running, open_socket, reset,
                     wait_until)

pytestmark = pytest.mark.parametrize("engine", ["auto"], indirect=True)
DONE, FAILED, TIMED_OUT, REFUSED = 0, 1, 3, 4
NO_COMPLAINT = re.compile(r"tenon: \S.*: \d+ (of \d+ )?packets; .*\n|tenon: capture: listening on .*\n|tenon: engine: "
                          r".*\n"
                          r"|tenon: \S+: the peer ended without a reply.*\nTry: .*\n|tenon: \d+ messages, .*\n"
                          r"|tenon: \S+: its files have been read again\n")
PACKETS = b"".join(packets.pcap(packets.ETHERNET, packets.frames(packets.ETHERNET)))


class World:
    """What the commands speak to and read; made once."""

    def __init__(self, folder):
        self.folder = folder
        self.server = subprocess.Popen([COMMAND, "serve", "tcp://127.0.0.1:0"], stdout=subprocess.PIPE,
                                       env=environment())
        subprocess.run([COMMAND, "cert", "new", "-q", "--out", folder / "certs"], stdout=subprocess.DEVNULL, check=True)
        (folder / "packets").write_bytes(PACKETS)
        (folder / "many.json").write_bytes(b'{"a":1}\n' * 500000)
        with open(folder / "large", "wb") as large:
            large.truncate(64 * MIB)
        os.mkfifo(folder / "fifo")
        self.silent, self.full = (socket.create_server(("127.0.0.1", 0), backlog=backlog) for backlog in (500, 0))
        self.fill = [socket.socket() for _ in range(4)]
        for sock in self.fill:
            sock.setblocking(False)
            sock.connect_ex(self.full.getsockname())
        self.words = {"PID": self.server.pid, "ECHO": self.server.stdout.readline().split()[1].decode(),
                      "SILENT": f"tcp://127.0.0.1:{self.silent.getsockname()[1]}",
                      "FULL": f"127.0.0.1:{self.full.getsockname()[1]}", "NOBODY": f"tcp://127.0.0.1:{free_port()}",
                      "CERT": folder / "certs/server.pem", "KEY": folder / "certs/server.key"}

    def close(self):
        self.server.terminate()
        self.server.communicate()
        for sock in (self.silent, self.full, *self.fill):
            sock.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("world"))
    yield made
    made.close()


def argv_of(world, line, **more):
    words = {**world.words, "FOLDER": world.folder, **more}
    return [COMMAND, *(re.sub("[A-Z]{3,}", lambda match: str(words.get(match[0], match[0])), word)
                       for word in line.split())]


def run(argv, **how):
    done = subprocess.run(argv, stderr=subprocess.PIPE, env=environment(), timeout=LIMIT, check=False, **how)
    return Result(done.returncode, done.stdout or b"", done.stderr)


def judge(result, status, words=None):
    """The one eye: the status, and no word or exactly one line that says what and why."""
    err = NO_COMPLAINT.sub("", result.err)
    assert result.status in (status if isinstance(status, tuple) else (status,)), result
    if words is None:
        assert err == "", result
    else:
        assert err.startswith("tenon: ") and err.count("\n") == 1 and re.search(words, err), result


def filled(data):
    """A pipe that holds the data and ends behind it."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    assert os.write(writer, data) == len(data)
    os.close(writer)
    return reader


# Each does its work once and ends: the command line, and what it reads from standard input

ONCE = {
    "connect": ("connect ECHO", b"hello\n"), "send": ("send ECHO hello", None), "send lines": ("send ECHO", b"hello\n"),
    "send json": ("send --json ECHO hello", None),
    "ping": ("ping --count=1 ECHO", None), "bench": ("bench --requests=1 ECHO", None),
    "bench json": ("bench --json --requests=1 ECHO", None), "capture": ("capture --read FOLDER/packets", None),
    "capture stdin": ("capture --read -", PACKETS), "capture write": ("capture --read - --write -", PACKETS),
    "convert": ("convert -f json -t json", b"[1]\n"), "inspect": ("inspect PID", None),
    "inspect json": ("inspect --json PID", None), "options": ("options ECHO", None), "options list": ("options", None),
    "cert": ("cert show CERT", None), "help": ("--help", None), "version": ("--version", None),
}
EVERY = pytest.mark.parametrize("name", ONCE)


# Input

def opened(*how):
    return lambda: os.open(*how)


INPUTS = {  # how standard input is made (None: closed), and what a command that reads it says
    "directory": (opened("/", os.O_RDONLY), FAILED, "standard input: .*Is a directory"),
    "EIO": (opened("/proc/self/mem", os.O_RDONLY), FAILED, "standard input: .*Input/output error"),
    "empty": (opened("/dev/null", os.O_RDONLY), DONE, None),
    "closed": (None, DONE, None),  # an end, and no other descriptor takes its place
    "write-only": (opened("/dev/null", os.O_WRONLY), DONE, None),  # as nohup leaves it
    "midst": (lambda: filled(b"hel"), DONE, None),  # a line without a line feed is one
}
READERS = {  # where a message must have an end: what is said of an input that is none, or that has none
    ("capture", "empty"): (REFUSED, "standard input: byte 0: "),
    ("capture", "closed"): (REFUSED, "standard input: byte 0: "),
    ("capture", "write-only"): (FAILED, "standard input: byte 0: Bad file descriptor"),
    ("capture", "midst"): (REFUSED, "standard input: byte 300: the file ends inside a packet"),
    ("convert", "midst"): (REFUSED, "standard input: message 2: .*ends early"),
}
MIDST = {"capture": PACKETS[:300], "convert": b'[1]{"a":'}


@pytest.mark.parametrize("what", INPUTS)
@EVERY
def test_input(tenon, world, name, what):
    """Who reads it says what is wrong with it; nobody else looks at it."""
    line, reads = ONCE[name]
    make, status, words = INPUTS[what]
    command = name.split()[0]
    if reads is None:
        status, words = DONE, None
    else:
        status, words = READERS.get((command, what), (status, words))
    data = MIDST.get(command)
    fd = filled(data) if what == "midst" and data else make() if make else None
    result = run(argv_of(world, line), stdin=fd, stdout=subprocess.PIPE,
                 preexec_fn=None if make else lambda: os.close(0))
    if fd is not None:
        os.close(fd)
    judge(result, status, words)
    assert result.out or reads is not None


FILES = {"directory": "/", "EIO": "/proc/self/mem", "none": "/nowhere/none"}
NAMED = {"convert": "convert -f json -t json FILE", "send": "send ECHO @FILE", "capture": "capture --read FILE",
         "cert": "cert show FILE", "bench": "bench --requests=1 --payload FILE ECHO",
         "compare": "bench compare FILE FILE"}


@pytest.mark.parametrize("what", FILES)
@pytest.mark.parametrize("name", NAMED)
def test_a_file_that_cannot_be_read(tenon, world, name, what):
    result = run(argv_of(world, NAMED[name], FILE=FILES[what]), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    judge(result, FAILED, f"{FILES[what]}\\b" if what != "directory" else "directory|regular file")
    assert result.out == b""


# Output

def gone_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def gone_socket():
    ours, theirs = socket.socketpair()
    theirs.close()
    return ours.detach()


def reset_socket():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        reset(listener.accept()[0])
    return ours.detach()


def small_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))


def sigpipe(blocked, pending=False):
    """As a careless parent leaves it."""
    def prepare():
        signal.signal(signal.SIGPIPE, signal.SIG_DFL if blocked else signal.SIG_IGN)
        if blocked:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGPIPE])
        if pending:
            os.kill(os.getpid(), signal.SIGPIPE)
    return prepare


OUTPUTS = {  # how standard output is made, what happens before exec, and what is said of it
    "pipe gone": (gone_pipe, None, DONE, None),
    "socket gone": (gone_socket, None, DONE, None),
    "socket reset": (reset_socket, None, DONE, None),
    "SIGPIPE ignored": (gone_pipe, sigpipe(False), DONE, None),
    "SIGPIPE blocked": (gone_pipe, sigpipe(True), DONE, None),
    "SIGPIPE pending": (gone_pipe, sigpipe(True, True), DONE, None),
    "full": (opened("/dev/full", os.O_WRONLY), None, FAILED, "standard output: No space left on device"),
    "closed": (None, lambda: os.close(1), FAILED, "standard output: Bad file descriptor"),
    "read-only": (opened("/dev/null", os.O_RDONLY), None, FAILED, "standard output: Bad file descriptor"),
}
if "TENON_COUNTED" not in os.environ:  # a build with counters writes them to files that are longer
    OUTPUTS["limit"] = lambda: os.memfd_create("out"), small_files, FAILED, "standard output: File too large"


@pytest.mark.parametrize("what", OUTPUTS)
@EVERY
def test_output(tenon, world, name, what):
    """A reader that has gone is its right, and nothing else is: what could not be written is a failure, said once."""
    line, data = ONCE[name]
    make, prepare, status, words = OUTPUTS[what]
    out = make() if make else None
    # connect says so if input is left that nobody took: test_ends.py
    given = filled(b"" if status == DONE and name == "connect" else data or b"")
    result = run(argv_of(world, line), stdin=given, stdout=out, preexec_fn=prepare)
    for fd in (out, given):
        if fd is not None:
            os.close(fd)
    judge(result, status, words)


SERVES_ON = {"closed": (DONE, None), "read-only": (DONE, None)}


@pytest.mark.parametrize("what", OUTPUTS)
@pytest.mark.parametrize("options", ["", "-v", "--json"])
def test_output_of_a_server(tenon, world, options, what):
    """Serving is what it is for: it goes on without its output, but for events that nobody reads."""
    make, prepare, status, words = OUTPUTS[what]
    ends = options and status == DONE
    status, words = SERVES_ON.get(what, (status, words))
    path = tenon.folder / "sock"
    out = make() if make else None
    server = subprocess.Popen(argv_of(world, f"serve unix:{path} {options}"), stdin=subprocess.DEVNULL, stdout=out,
                              stderr=subprocess.PIPE, env=environment(), preexec_fn=prepare)
    if out is not None:
        os.close(out)
    tenon.cleanups.callback(server.kill)
    if not ends:
        with wait_until(lambda: served(path), "it serves") as client:
            client.sendall(b"hello")
            assert client.recv(5) == b"hello"
        server.terminate()
    _, err = server.communicate(timeout=LIMIT)
    judge(Result(server.returncode, b"", err), status, words)
    assert not path.exists()


def served(path):
    with contextlib.suppress(OSError):
        return open_socket(f"unix:{path}")
    return None


# Error output: what cannot be said changes nothing else

FAILS = {"serve": ("serve unix:/nowhere/sock", FAILED), "connect": ("connect NOBODY", FAILED),
         "send": ("send NOBODY hi", FAILED), "ping": ("ping --count=1 NOBODY", FAILED),
         "bench": ("bench --requests=1 NOBODY", FAILED), "capture": ("capture --read /dev/null", REFUSED),
         "convert": ("convert -f json -t json /dev/stdin", REFUSED), "inspect": ("inspect 99999999", FAILED),
         "options": ("options NOBODY", FAILED), "cert": ("cert show /dev/null", REFUSED),
         "usage": ("serve --nonsense", 2)}


@pytest.mark.parametrize("what", ["pipe gone", "socket reset", "full", "closed", "read-only"])
@pytest.mark.parametrize("name", FAILS)
def test_error_output(tenon, world, name, what):
    line, status = FAILS[name]
    make = OUTPUTS[what][0]
    err, given = make() if make else None, filled(b"[")
    done = subprocess.run(argv_of(world, line), stdin=given, stdout=subprocess.DEVNULL, stderr=err, env=environment(),
                          timeout=LIMIT, check=False, preexec_fn=None if make else lambda: os.close(2))
    for fd in (err, given):
        if fd is not None:
            os.close(fd)
    assert done.returncode == status


# The peer

class Peer:
    """Accepts until it is closed, and does to each connection what it is told, in a thread of its own."""

    def __init__(self, act):
        self.listener, self.act, self.socks, self.replies = socket.create_server(("127.0.0.1", 0)), act, [], 0
        self.url = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                sock.settimeout(LIMIT)
                self.socks.append(sock)
                with contextlib.suppress(OSError):
                    self.act(self, sock)

    def echo(self, sock):
        while data := sock.recv(64 * KIB):
            sock.sendall(data)
            self.replies += 1

    def __enter__(self):
        return self

    def __exit__(self, *why):
        for sock in (self.listener, *self.socks):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        for sock in (self.listener, *self.socks):
            sock.close()


def taken(sock):
    """Waits until the other side has acknowledged all, or is gone: a reset takes away what it has not."""
    poller = select.poll()
    poller.register(sock, 0)
    wait_until(lambda: fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)) == bytes(4) or poller.poll(0),
               "all is acknowledged")


def reset_before(peer, sock):
    sock.recv(KIB)
    reset(sock)


def reset_midst(peer, sock):
    sock.recv(KIB)
    sock.sendall(b"hal")
    taken(sock)
    reset(sock)


def reset_after(peer, sock):
    sock.sendall(sock.recv(KIB))
    taken(sock)
    reset(sock)


def end_before(peer, sock):
    sock.recv(KIB)
    sock.close()


def end_midst(peer, sock):
    sock.recv(KIB)
    sock.sendall(b"\0\0\0\x09hal")
    sock.close()


def half_close(peer, sock):
    sock.shutdown(socket.SHUT_WR)
    while sock.recv(KIB):
        pass
    sock.close()


def vanish(peer, sock):
    sock.recv(KIB)


def chatter(peer, sock):
    """More than a pipe, the sockets and the queues in between hold."""
    sock.sendall(bytes(16 * MIB))


DIALS = {"connect": "connect --wait=WAIT URL", "connect framed": "connect --wait=WAIT URL?frame=u32",
         "send": "send --wait=WAIT URL hello", "send framed": "send --wait=WAIT URL?frame=u32 hello",
         "ping": "ping --count=1 --timeout=WAIT URL?frame=u32", "bench": "bench --requests=1 URL?idle=WAIT",
         "options": "options URL"}
ENDED = (FAILED, "the peer ended the connection before it replied")
RESET = (FAILED, "(read|write|connect to .*): (Connection reset by peer|Broken pipe)")
CUT = (REFUSED, "the stream ended inside a message")
NOTHING = (DONE, None)  # options wants no more than to be connected
QUIET = (FAILED, None)  # what ping and bench find is their result, on standard output
PEERS = {  # what it does; what is said; where that is something else
    "refuses": (None,
                (FAILED, r"connect to \S+: Connection refused \(nothing listens there; is the server running\?\)"),
                {"ping": QUIET}),
    "never accepts": (None, (TIMED_OUT, r"timed out after 200ms while connecting to \S+ \(no answer: "),
                      {"ping": QUIET}),
    "resets before": (reset_before, RESET, {"ping": QUIET, "options": NOTHING}),
    "resets in the midst": (reset_midst, RESET, {"ping": QUIET, "options": NOTHING}),
    "resets after": (reset_after, RESET, {"send framed": NOTHING, "ping": NOTHING, "options": NOTHING,
                                            # its result may be there before the reset
                                            "bench": ((DONE, FAILED), None)}),
    "ends before": (end_before, NOTHING, {"send": (DONE, None), "send framed": ENDED, "ping": QUIET, "bench": QUIET}),
    "ends in the midst": (end_midst, NOTHING, {
        "connect framed": CUT, "send framed": CUT, "ping": QUIET, "bench": QUIET}),
    "half-closes": (half_close, NOTHING, {"send framed": ENDED, "ping": QUIET, "bench": QUIET}),
    "vanishes": (vanish, NOTHING, {"send": (TIMED_OUT, "no reply within 0.2 s"),
                                   "send framed": (TIMED_OUT, "no reply within 0.2 s"), "ping": QUIET,
                                   "bench": (TIMED_OUT, "idle for too long")}),
}


@pytest.mark.parametrize("what", PEERS)
@pytest.mark.parametrize("name", DIALS)
def test_peer(tenon, world, name, what):
    act, rule, others = PEERS[what]
    with contextlib.ExitStack() as stack:
        if what == "refuses":
            url = world.words["NOBODY"]
        elif what == "never accepts":
            url = f"tcp://{world.words['FULL']}?connect=200ms"
        else:
            url = stack.enter_context(Peer(act)).url
        given, wait = filled(b"hello\n"), "200ms" if what == "vanishes" else f"{LIMIT}s"
        argv = [word.replace("?connect=200ms?", "?connect=200ms&")
                for word in argv_of(world, DIALS[name], URL=url, WAIT=wait)]
        result = run(argv, stdin=given, stdout=subprocess.PIPE)
        os.close(given)
    judge(result, *others.get(name, rule))
    assert not result.err or url in result.err
    if what == "resets in the midst" and name in ("connect", "send"):
        assert result.out.startswith(b"hal"), "what came before is written"
    if what == "resets after" and name != "options":
        assert result.out


# Signals

def has_begun(pid):
    """It watches for signals: what is before that is the start."""
    masks = re.findall(r"Sig(?:Blk|Cgt):\t(\w+)", pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    return any(int(mask, 16) & 1 << signal.SIGTERM - 1 for mask in masks)


def is_pending(pid, number):
    masks = re.findall(r"(?:Sig|Shd)Pnd:\t(\w+)", pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    return any(int(mask, 16) & 1 << number - 1 for mask in masks)


def takes(process, number):
    """Sends it, and waits until it has been read: two of a kind that wait are one."""
    process.signal(number)
    wait_until(lambda: not is_running(process.pid) or not is_pending(process.pid, number), "the signal has been taken")


BY_SIGNAL = "by the signal"  # it has nothing to bring to an end
# What runs; what stands for it on standard output before the signal comes (a number: replies of the peer; None: that it
# watches for signals is enough); the status after it, and the words
LASTING = {
    "serve": ("serve unix:FOLDER/sock", "listening", DONE, None),
    "serve events": ("serve unix:FOLDER/sock --json --threads 2", "listening", DONE, None),
    "serve tls": ("serve tls://127.0.0.1:0?cert=CERT&key=KEY", "listening", DONE, None),
    "connect": ("connect PEER", 1, DONE, None),
    "connect dialling": ("connect tcp://FULL", None, FAILED, "interrupted before it was connected"),
    "connect flood": ("connect CHATTER", "\0", DONE, None),
    "send": ("send SILENT hello", None, BY_SIGNAL, None),
    "send dialling": ("send tcp://FULL hello", None, BY_SIGNAL, None),
    "ping": ("ping --interval=10ms PEER?frame=line", 2, DONE, None),
    "ping unanswered": ("ping SILENT?frame=line", None, FAILED, None),
    "ping dialling": ("ping tcp://FULL", None, FAILED, None),
    "bench": ("bench --duration=1h --warmup=0 PEER", 100, DONE, None),
    "bench rate": ("bench --duration=1h --rate=1k --warmup=0 PEER", 100, DONE, None),
    "bench unanswered": ("bench --duration=1h --warmup=0 --timeout=10ms SILENT", None, FAILED,
                         "interrupted before anything was measured"),
    "bench dialling": ("bench --duration=1h tcp://FULL", None, FAILED, "interrupted before anything was measured"),
    "capture": ("capture --read -", "tcp", DONE, None),
    "capture follow": ("capture --follow --read -", None, DONE, None),
    "convert": ("convert -f json -t json", "[1]", FAILED, None),
    "inspect": ("inspect --watch 1h PID", "ADDRESSES", DONE, None),
    "inspect json": ("inspect --watch 1ms --json PID", '"look"', DONE, None),
    "options": ("options tcp://FULL", None, BY_SIGNAL, None),
    "cert": ("cert show FOLDER/fifo", None, BY_SIGNAL, None),
    "cert dialling": ("cert show tls://FULL", None, BY_SIGNAL, None),
}
SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP],
                                  ids=lambda number: number.name)


@contextlib.contextmanager
def running(tenon, world, name, out=None):
    """Standard input holds something for who reads, and stays open."""
    line, begun, status, words = LASTING[name]
    reader, writer = os.pipe()
    os.write(writer, {"capture": PACKETS, "convert": b"[1]\n", "connect": b"hello\n"}.get(name, b""))
    with Peer(Peer.echo) as peer, Peer(chatter) as flood, os.fdopen(writer, "wb"), os.fdopen(reader, "rb") as given:
        argv = argv_of(world, line, PEER=peer.url, CHATTER=flood.url, FOLDER=world.folder if name ==
                       "cert" else tenon.folder)
        yield tenon.start(argv[1], *argv[2:], stdin=given, stdout=out), peer, begun, status, words


@pytest.mark.parametrize("times", [1, 2])
@SIGNALS
@pytest.mark.parametrize("name", LASTING)
def test_signal(tenon, world, name, number, times):
    """In the midst of its work. SIGHUP ends all, but a server with certificates, which reads them again."""
    with running(tenon, world, name) as (process, peer, begun, status, words):
        if isinstance(begun, int):
            wait_until(lambda: peer.replies >= begun, "the peer has replied")
        elif begun:
            process.wait_for_text(re.escape(begun), "out")
        if status != BY_SIGNAL:
            wait_until(lambda: has_begun(process.pid), "it watches for signals")
        for _ in range(times):
            takes(process, number)
        if number == signal.SIGHUP and name == "serve tls":
            assert not process.is_over()
            process.signal(signal.SIGTERM)
        elif number == signal.SIGHUP or status == BY_SIGNAL:
            status, words = -number, None
        elif times > 1:
            status = (status, FAILED, -number)  # it has been cut short, if it was not over
            words = words if process.wait(None) >= 0 and process.err else None
        judge(Result(process.wait(None), b"", process.err.encode()), status, words)
    if number == signal.SIGHUP:
        (tenon.folder / "sock").unlink(missing_ok=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", LASTING)
def test_signal_at_the_start(tenon, world, name, number):
    """Whenever it comes: it ends it in good order or kills it; nothing hangs, and a server leaves no socket behind."""
    for delay_ms in (0, 1, 3):
        with running(tenon, world, name) as (process, _, _, status, _):
            time.sleep(delay_ms / 1000)
            process.signal(number)
            ended = process.wait(None)
            assert ended == -number or (status != BY_SIGNAL and ended in (DONE, FAILED))
            assert ended == -number or not (tenon.folder / "sock").exists()
            (tenon.folder / "sock").unlink(missing_ok=True)


# A reader that goes in the midst

LASTING_TELLERS = [name for name in LASTING if name not in ("serve", "serve tls", "cert")]


def pipe():
    return os.pipe()


def socket_pair():
    return [end.detach() for end in socket.socketpair()]


def connection():
    """Closed by a reset."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        writer = socket.create_connection(listener.getsockname())
        reader, _ = listener.accept()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    return reader.detach(), writer.detach()


@pytest.mark.parametrize("far", [pipe, socket_pair, connection])
@pytest.mark.parametrize("name", LASTING_TELLERS)
def test_reader_goes(tenon, world, name, far):
    """It ends at once, quietly, though nothing is being written."""
    reader, writer = far()
    with running(tenon, world, name, writer) as (process, peer, begun, _, _):
        os.close(writer)
        if isinstance(begun, int):
            wait_until(lambda: peer.replies >= begun, "the peer has replied")
        elif begun:
            got = b""
            while begun.encode() not in got:
                got += os.read(reader, 64 * KIB)
        os.close(reader)
        judge(Result(process.wait(None), b"", process.err.encode()), DONE)


# While it drains

# what waits, and what it reads; the status and words, whether what holds it up goes on or a second signal comes
DRAINING = {
    "connect output": ("connect CHATTER", "/dev/null", DONE, None),
    "connect peer": ("connect SLOW", "FOLDER/large", FAILED, "interrupted: the rest of the input has not been sent"),
    "convert output": ("convert -f json -t json", "FOLDER/many.json", FAILED, None),
}


@pytest.mark.parametrize("second", [False, True], ids=["goes on", "second"])
@pytest.mark.parametrize("name", DRAINING)
def test_signal_while_it_drains(tenon, world, name, second):
    """What has come is written and what is queued is sent, however long that takes; a second signal does not wait."""
    line, source, status, words = DRAINING[name]
    slow, (reader, writer) = tenon.listen(), os.pipe()
    with Peer(chatter) as peer, os.fdopen(reader, "rb") as output:
        _, source, *argv = argv_of(world, f"{source} {line}", CHATTER=peer.url,
                                   SLOW=f"tcp://127.0.0.1:{slow.getsockname()[1]}")
        process = tenon.start(*argv, stdin=tenon.opened(source), stdout=writer)
        if name == "connect peer":
            client = tenon.accept(slow)
            wait_until(lambda: is_stuck(process.pid), "nothing is taken any more")
        else:
            wait_until(lambda: not select.select([], [writer], [], 0)[1], "its output is full")
        os.close(writer)
        takes(process, signal.SIGINT)
        assert not process.is_over()
        if second:
            takes(process, signal.SIGTERM)
            status = FAILED
        elif name == "connect peer":
            while client.recv(MIB):
                pass
            client.close()
        else:
            written = output.read()
            assert not written.strip(b'{"a":1}\n\0') and (name != "convert output" or written.endswith(b"}\n"))
        judge(Result(process.wait(None), b"", process.err.encode()), status, words)


def is_stuck(pid):
    """Whether it has read some of its input, and reads no more."""
    def position():
        return int(pathlib.Path(f"/proc/{pid}/fdinfo/0").read_text(encoding="ascii").split()[1])
    before = position()
    time.sleep(0.02)
    return before == position() > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_certificates_are_made_all_or_none(tenon, number):
    """Half of a pair would be in the way of the next run."""
    for i in range(8):
        folder = tenon.folder / str(i)
        process = tenon.start("cert", "new", "-q", "--out", folder)
        wait_until(lambda: process.is_over() or (folder.exists() and os.listdir(folder)), "the first file is there")
        process.signal(number)
        assert process.wait(None) in (DONE, -number)
        assert sorted(os.listdir(folder)) == sorted(f"{pair}.{half}" for pair in ("ca", "client", "server")
                                                    for half in ("key", "pem"))
