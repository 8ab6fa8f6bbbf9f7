"""Programs under a test's control: started, watched, and ended by their process ids. And what sockets need in tests."""
import contextlib
import json
import os
import pathlib
import random
import re
import select
import signal
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMMAND = os.environ.get("TENON") or str(ROOT / "build" / "tenon")
BUILD = pathlib.Path(os.environ.get("TENON_BUILD") or ROOT / "build")
PEERS = pathlib.Path(__file__).resolve().parent / "peers"
SANITIZED = bool(os.environ.get("TENON_SANITIZED"))
OPTIONS = {option["name"]: option["value"]
           for option in json.loads((BUILD / "meson-info" / "intro-buildoptions.json").read_text(encoding="utf-8"))}


def load():
    """How many processes want each processor now; at least 1. Every limit is as much longer."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


# Seconds. Whatever must happen at all has happened by then; nothing here measures speed
LIMIT_IDLE = 60 if SANITIZED else 20
LIMIT = round(LIMIT_IDLE * load())

KIB, MIB = 1024, 1024 * 1024


def environment(extra=None):
    left_out = ("NO_COLOR", "TENON_ENGINE", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
    env = {key: value for key, value in os.environ.items() if key not in left_out}
    env.update({"LC_ALL": "C.UTF-8", "TERM": "xterm", **(extra or {})})
    return env


def wait_until(check, what, limit=LIMIT_IDLE):
    """Waits for check() to be true and returns what it returned. The limit is that of an idle machine."""
    start = time.monotonic()
    while not (result := check()):
        waited = time.monotonic() - start
        assert waited < limit or waited < limit * load(), f"not within {limit} s: {what() if callable(what) else what}"
        time.sleep(0.005)
    return result


def noise(size, seed=1):
    """Bytes in which nothing that is lost, doubled or moved goes unnoticed."""
    return random.Random(seed).randbytes(size)


# What /proc says

def stat_of(pid):
    """The fields behind the name; None: no such process."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return text.rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def is_running(pid):
    return (stat := stat_of(pid)) is not None and stat[0] not in "ZX"


def is_zombie(pid):
    return (stat := stat_of(pid)) is not None and stat[0] == "Z"


def cpu_seconds(pid):
    stat = stat_of(pid)
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def running_ns(pid):
    """The same to the nanosecond, for what is short."""
    return sum(int((task / "schedstat").read_text(encoding="ascii").split()[0])
               for task in pathlib.Path(f"/proc/{pid}/task").iterdir())


def resident_bytes(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(re.search(r"^VmRSS:\s+(\d+) kB", text, re.M).group(1)) * KIB


def children_of(pid):
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in (task / "children").read_text(encoding="utf-8").split()]
    return found


def command_of(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return "gone"


def descriptors_of(pid):
    """Number -> what it is, of those that come and go with connections and children."""
    found = {}
    for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            link = os.readlink(entry)
            if re.match(r"socket:|pipe:|anon_inode:\[pidfd\]", link):
                found[int(entry.name)] = link
    return found


def sockets_in(folder):
    return sorted(str(path) for path in pathlib.Path(folder).rglob("*") if path.is_socket())


# Sockets

def family_of(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


KINDS = {
    "tcp": (socket.SOCK_STREAM, 0), "tcp4": (socket.SOCK_STREAM, 0), "tcp6": (socket.SOCK_STREAM, 0),
    "mptcp": (socket.SOCK_STREAM, 262), "proxy": (socket.SOCK_STREAM, 0),
    "udp": (socket.SOCK_DGRAM, 0), "udp4": (socket.SOCK_DGRAM, 0), "udp6": (socket.SOCK_DGRAM, 0),
    "unix": (socket.SOCK_STREAM, 0), "unix-dgram": (socket.SOCK_DGRAM, 0), "unix-seqpacket": (socket.SOCK_SEQPACKET, 0),
}


def place_of(url):
    """(scheme, family, address as Python's socket module wants it)"""
    match = re.fullmatch(r"([a-z0-9]+)://\[?([^]]*?)\]?:(\d+)", url)
    if match:
        return match[1], family_of(match[2]), (match[2], int(match[3]))
    scheme, path = url.split(":", 1)
    return scheme, socket.AF_UNIX, "\0" + path[1:] if path.startswith("@") else path


def port_of(url):
    return place_of(url)[2][1]


def open_socket(url, timeout=LIMIT, receive_buffer=None):
    """A plain socket connected to the URL, as any other program would make it."""
    scheme, family, address = place_of(url)
    kind, protocol = KINDS[scheme]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.settimeout(timeout)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if family == socket.AF_UNIX and kind == socket.SOCK_DGRAM:
            sock.bind("")  # an abstract name of the kernel's choice, so that a reply finds us
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def dial_when_served(url):
    """For servers that do not say when they are ready: a Unix socket's file is there before anybody listens on it."""
    def dial():
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            return open_socket(url)
        return None
    return wait_until(dial, f"{url} is served")


def receive_exactly(sock, size):
    got = bytearray()
    while len(got) < size:
        data = sock.recv(min(size - len(got), 256 * KIB))
        assert data, f"the stream ended after {len(got)} of {size} bytes"
        got += data
    return bytes(got)


def receive_to_end(sock):
    got = bytearray()
    while data := sock.recv(256 * KIB):
        got += data
    return bytes(got)


def receive_to_reset(sock, may_end=False):
    """What came before the peer reset the connection. An end in good order fails, unless it `may_end`."""
    got = bytearray()
    try:
        while data := sock.recv(256 * KIB):
            got += data
    except ConnectionResetError:
        return bytes(got)
    if may_end:
        return bytes(got)
    raise AssertionError(f"an end in good order behind {bytes(got[-300:])!r}")


def exchange(sock, data, finish=False):
    """
    Sends the data and reads at the same time: as many bytes as were sent or, with `finish`, which ends our direction
    behind the data, until the peer ends its own. Returns what came.
    """
    sock.setblocking(False)
    got, rest, finished = bytearray(), memoryview(data), False
    poller, deadline = select.poll(), time.monotonic() + LIMIT
    poller.register(sock, 0)
    try:
        while finish or len(got) < len(data):
            if finish and not rest and not finished:
                sock.shutdown(socket.SHUT_WR)
                finished = True
            poller.modify(sock, select.POLLIN | (select.POLLOUT if rest else 0))
            ready = poller.poll(1000)
            assert time.monotonic() < deadline, f"{len(data) - len(rest)} bytes sent, {len(got)} received, no end"
            events = ready[0][1] if ready else 0
            if events & select.POLLOUT:
                rest = rest[sock.send(rest[:256 * KIB]):]
            if events & ~select.POLLOUT:
                came = sock.recv(256 * KIB)
                if not came:
                    break
                got += came
        return bytes(got)
    finally:
        sock.settimeout(LIMIT)


def send_until_stuck(sock, quiet=0.3):
    """Sends, never reading, until the other side has taken nothing for a while. Returns what was sent."""
    sock.setblocking(False)
    sent, piece, poller = bytearray(), noise(64 * KIB, 7), select.poll()
    poller.register(sock, select.POLLOUT)
    while poller.poll(quiet * 1000):
        with contextlib.suppress(BlockingIOError):
            sent += piece[:sock.send(piece)]
        assert len(sent) < 256 * MIB, "the server takes without end what its client does not read"
    sock.settimeout(LIMIT)
    return bytes(sent)


def reset(sock):
    """Closes with a reset, as a crashed machine or a rude program does."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


def free_port(host="127.0.0.1", kind=socket.SOCK_STREAM):
    """For programs that cannot be given port 0: a port that was free a moment ago."""
    with socket.socket(family_of(host), kind) as sock:
        sock.bind((host, 0))
        return sock.getsockname()[1]


# Programs

class Result:
    """A program that has ended."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err.decode(errors="replace")

    @property
    def text(self):
        return self.out.decode(errors="replace")

    @property
    def lines(self):
        return self.text.splitlines()

    def __repr__(self):
        return f"status {self.status}, stdout {self.out[:300]!r} ({len(self.out)} bytes), stderr {self.err!r}"


class Process:
    """A program in the background. Its output goes to files, so it is never held up by a test that does not read."""

    number = 0

    def __init__(self, argv, folder, stdout=None, stdin=subprocess.DEVNULL, env=None, **how):
        Process.number += 1
        self.argv = [str(arg) for arg in argv]
        self.base = pathlib.Path(folder) / f"{Process.number}-{pathlib.Path(self.argv[0]).name}"
        with open(f"{self.base}.out", "wb") as out, open(f"{self.base}.err", "wb") as err:
            self.popen = subprocess.Popen(self.argv, stdin=stdin, stdout=out if stdout is None else stdout, stderr=err,
                                          env=environment(env), **how)
        self.pid = self.popen.pid

    @property
    def out(self):
        return pathlib.Path(f"{self.base}.out").read_bytes()

    @property
    def err(self):
        return pathlib.Path(f"{self.base}.err").read_text(encoding="utf-8", errors="replace")

    @property
    def lines(self):
        """The whole lines that have been written by now."""
        return self.out.decode(errors="replace").split("\n")[:-1]

    def is_over(self):
        return self.popen.poll() is not None

    def wait(self, status=0, limit=LIMIT):
        """Waits for its end; None: any status will do."""
        try:
            self.popen.wait(limit)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self} did not end within {limit} s: {self.err}") from None
        ended = self.popen.returncode
        assert status is None or ended == status, f"{self} ended with {ended}, not {status}: {self.err}"
        return ended

    def signal(self, number):
        self.popen.send_signal(number)

    def wait_for_text(self, pattern, where="err"):
        """Waits for a match in what it writes, and returns it."""
        def look():
            text = self.err if where == "err" else self.out.decode(errors="replace")
            found = re.search(pattern, text, re.M)
            assert found or not self.is_over(), f"{self} ended with {self.popen.returncode}: {text}"
            return found
        return wait_until(look, lambda: f"{pattern!r} from {self}: {self.out[-500:]!r} {self.err[-500:]!r}")

    def kill(self):
        """Ends it without ceremony."""
        if not self.is_over():
            self.popen.kill()
        self.popen.wait()
        for stream in (self.popen.stdin, self.popen.stdout):
            if stream:
                with contextlib.suppress(OSError):
                    stream.close()

    def __str__(self):
        return " ".join(self.argv)


COUNTS = "bytes_in bytes_out messages_in messages_out duration_ms"
# What tenon-serve(1) and tenon-relay(1) promise of each event
MEMBERS = {"listening": "url handler time", "open": "id url peer local time",
           "close": f"id peer reason error {COUNTS} time", "child": "id pid reason status signal error time",
           "count": "id url peer messages bytes ms bytes_per_second lost time",
           "flow": "id url peer messages bytes ms bytes_per_second sent lost duplicates reordered jitter_us latency_us "
                   "time",
           "message": "id peer time",
           "bad": "id peer message error bytes time", "datagrams": f"url {COUNTS} lost dropped time",
           "trouble": "url reason error suppressed time", "stopped": "time",
           "tee": "url sessions copied dropped time",
           "target": "url state error time",
           "session": "id url client local target from tried bytes_in bytes_out messages_in messages_out lost "
                      "paused connect_ms handshake_ms first_byte_ms duration_ms ended_by reason error started time",
           "slow": "id name peer why dropped time", "cut": "id name peer why dropped time",
           "caught up": "id name peer why dropped time",
           "joined": "cluster server waiting time", "parted": "cluster why unconfirmed time",
           "unreachable": "cluster why time", "overflow": "why dropped time", "drained": "dropped time",
           "refused": "topic why refused time", "gap": "topic publisher missed time"}


def check_event(event):
    assert set(MEMBERS[event["event"]].split()) <= event.keys(), event
    if "time" in event:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["time"]), event


class Server(Process):
    """A `tenon serve` that listens."""

    def __init__(self, argv, folder, listeners, **how):
        super().__init__(argv, folder, **how)
        self.uses_json, self.stopped, self.untidy = "--json" in self.argv, False, False
        self.urls, self.handlers = [], []
        wait_until(lambda: self.has_begun(listeners), lambda: f"{self} listens: {self.out!r} {self.err!r}")
        self.at_rest = descriptors_of(self.pid)

    def has_begun(self, listeners):
        ended = self.is_over()
        if self.uses_json:
            found = [(event["url"], event["handler"]) for event in self.events if event["event"] == "listening"]
        else:
            found = [match.groups() for line in self.lines
                     if (match := re.fullmatch(r"listening (.+) \(([^()]+)\)", line))]
        if len(found) >= listeners:
            self.urls, self.handlers = [url for url, _ in found], [handler for _, handler in found]
            assert len(found) == listeners, f"{self} has listeners that nobody asked for: {found}"
            return True
        assert not ended, f"{self} ended with {self.popen.returncode}: {self.err}"
        return False

    @property
    def url(self):
        return self.urls[0]

    @property
    def port(self):
        return port_of(self.urls[0])

    @property
    def events(self):
        return [json.loads(line) for line in self.lines]

    def wait_for_event(self, name, **members):
        """Waits for an event with these members, and returns it."""
        def look():
            return next((event for event in self.events if event["event"] == name and
                         all(event.get(key) == value for key, value in members.items())), None)
        return wait_until(look, lambda: f"event {name} {members} from {self}: {self.lines[-20:]}")

    def wait_for_rest(self):
        """Waits until it holds no more descriptors and children than before its first client."""
        wait_until(lambda: len(descriptors_of(self.pid)) <= len(self.at_rest) and not children_of(self.pid),
                   lambda: f"descriptors and children of {self}: at first {self.at_rest}, "
                           f"now {descriptors_of(self.pid)} and {[command_of(pid) for pid in children_of(self.pid)]}")

    def stop(self, number=signal.SIGTERM, status=0):
        """Ends it as a person would, and checks that it goes in good order."""
        self.stopped = True
        if not self.untidy and not self.is_over():
            self.wait_for_rest()
        family = children_of(self.pid)
        self.signal(number)
        self.wait(status)
        wait_until(lambda: not any(is_running(pid) for pid in family), "its children end with it")
        if self.uses_json:
            for event in self.events:
                check_event(event)
        assert "ERROR" not in self.err and "runtime error" not in self.err, self.err


class Tenon:
    """What a test is given: it starts the command, peers and sockets, and knows how to end them all."""

    def __init__(self, folder, engine):
        self.folder, self.engine = pathlib.Path(folder), engine
        self.processes, self.cleanups = [], contextlib.ExitStack()
        # That no other test has, nor one that runs beside it
        self.name = "-".join(["tenon-e2e", *self.folder.parts[-3:]])

    def argv(self, command, *args):
        engine = [] if self.engine == "auto" else [f"--engine={self.engine}"]
        tested = BUILD / "tests" / "tenon-test" if self.engine.startswith("sim") else COMMAND
        return [tested, command, *engine, *[str(arg) for arg in args]]

    def run(self, command, *args, status=0, **how):
        """Runs `tenon COMMAND ARGS` to its end."""
        return self.finish(self.argv(command, *args), status, **how)

    def finish(self, argv, status=0, input=b"", env=None, limit=LIMIT, **how):
        """Runs any program to its end and returns its Result. Status None: any will do."""
        if "stdin" not in how:
            how["input"] = input
        how.setdefault("stdout", subprocess.PIPE)
        done = subprocess.run([str(arg) for arg in argv], stderr=subprocess.PIPE, env=environment(env), timeout=limit,
                              check=False, **how)
        result = Result(done.returncode, done.stdout or b"", done.stderr)
        assert status is None or result.status == status, f"{' '.join(map(str, argv))}: not {status}: {result}"
        return result

    def start(self, command, *args, **how):
        """Starts `tenon COMMAND ARGS` in the background."""
        return self.keep(Process(self.argv(command, *args), self.folder, **how))

    def serve(self, *urls, options=(), listeners=None, **how):
        """Starts `tenon serve` and waits until it listens."""
        listeners = len(urls) if listeners is None else listeners
        return self.keep(Server(self.argv("serve", *urls, *options), self.folder, listeners, **how))

    def relay(self, *urls, options=("--json",), listeners=1, **how):
        """Starts `tenon relay` and waits until it listens."""
        return self.keep(Server(self.argv("relay", *urls, *options), self.folder, listeners, **how))

    def hub(self, *urls, options=("--json",), listeners=None, **how):
        """Starts `tenon hub` and waits until it listens."""
        listeners = len(urls) if listeners is None else listeners
        return self.keep(Server(self.argv("hub", *urls, *options), self.folder, listeners, **how))

    def peer(self, *argv, **how):
        """Starts somebody else's program in the background."""
        return self.keep(Process(argv, self.folder, **how))

    def keep(self, process):
        self.processes.append(process)
        return process

    def dial(self, url, **how):
        """A socket of Python's, connected; closed at the end of the test."""
        return self.cleanups.enter_context(contextlib.closing(open_socket(url, **how)))

    def listen(self, family=socket.AF_INET, address=("127.0.0.1", 0), kind=socket.SOCK_STREAM, backlog=16):
        """A listening (or bound datagram) socket of Python's; closed at the end of the test."""
        sock = self.cleanups.enter_context(contextlib.closing(socket.socket(family, kind)))
        sock.settimeout(LIMIT)
        sock.bind(address)
        if kind != socket.SOCK_DGRAM:
            sock.listen(backlog)
        return sock

    def accept(self, listener):
        sock, _ = listener.accept()
        sock.settimeout(LIMIT)
        return self.cleanups.enter_context(contextlib.closing(sock))

    def feed(self, path, argv):
        """What the program, with the file as its standard input, writes before it ends by itself."""
        return self.finish(argv, stdin=self.opened(path)).out

    def opened(self, path, mode="rb"):
        """An open file, closed at the end of the test."""
        return self.cleanups.enter_context(open(path, mode))

    def file(self, name, data):
        path = self.folder / name
        path.write_bytes(data)
        return path

    def close(self):
        """Ends everything, servers in good order. Raises what went wrong, after all has been ended."""
        try:
            self.cleanups.close()
            for process in self.processes:
                if isinstance(process, Server) and not process.stopped and not process.is_over():
                    process.stop()
        finally:
            for process in self.processes:
                process.kill()
