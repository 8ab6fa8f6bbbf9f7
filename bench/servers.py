"""Who is measured: for each contender that serves, how it starts and at which URL; and programs on a core of their
own."""

import atexit
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse

MODULES = pathlib.Path(os.environ.get("TENON_NODE_MODULES", "~/.cache/tenon/npm/node_modules")).expanduser()
HERE = pathlib.Path(__file__).resolve().parent
PYTHON = os.environ.get("PYTHON", "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else "python3")
START_LIMIT_S = 10
STOP_LIMIT_S = 5


def text_of(path):
    """What the system or a program has written: a process may have any name, so not every byte of it is UTF-8."""
    return pathlib.Path(path).read_text(encoding="utf-8", errors="replace")


class Absent(Exception):
    """The contender cannot run here; the text says why."""


def need_file(path):
    if not path.exists():
        raise Absent(f"{path.name} is not built")
    return str(path)


def need_command(name):
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if not path:
        raise Absent(f"{name} is not installed")
    return path


class Tools:
    """Where the programs are and which cores they may use."""

    def __init__(self, build, tenon, before=None):
        self.programs, self.tenon, self.before = build / "bench", tenon, before
        self.load = self.programs / "load"
        cores = sorted(os.sched_getaffinity(0))
        self.server_core, self.client_core = cores[0], cores[min(1, len(cores) - 1)]


def certificate():
    """The files of a self-signed EC P-256 certificate, made once, with its key behind it in a third file (haproxy's
    way)."""
    folder = pathlib.Path(tempfile.gettempdir()) / f"tenon-bench-{os.getpid()}"
    cert, key, both = folder / "cert.pem", folder / "key.pem", folder / "both.pem"
    if not both.exists():
        folder.mkdir(mode=0o700, exist_ok=True)
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        made = subprocess.run([need_command("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt",
                               "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj",
                               "/CN=localhost"], stderr=subprocess.PIPE, check=False)
        if made.returncode:
            raise Absent(f"no certificate: {made.stderr.decode(errors='replace').strip()}")
        both.write_text(text_of(cert) + text_of(key))
    return cert, key, both


PATHS = ("unix", "shm")


def url_of(proto, where, *keys):
    """Where a contender serves, as tenon says it."""
    url = f"{proto}:{where}" if proto in PATHS else f"{proto}://127.0.0.1:{where}"
    return url + ("?" + "&".join(keys) if keys else "")


# How each starts. `where` is a port or a path; port 0 is the server's choice, which it then tells


def tenon(tools, scenario, where, *options, framed=True, frame=None, proto=None, command=None, keys=()):
    keys = list(keys)
    keys += [f"frame={frame or scenario.frame}"] if scenario.frame and framed else []
    keys += ["spin=0"] if scenario.asleep else []
    proto = proto or scenario.proto
    if proto == "tls":
        cert, key, _ = certificate()
        keys += [f"cert={cert}", f"key={key}"]
    return [need_file(command or tools.tenon), "serve", "--threads", "1", *options, url_of(proto, where, *keys)]


def floor_epoll(tools, scenario, where, *options):
    return [need_file(tools.programs / "epoll_echo"), scenario.proto, where, *options]


def floor_uring(tools, scenario, where):
    bulk = ["--ring", "24x65536"] if scenario.size >= 4096 else []
    return [need_file(tools.programs / "uring_echo"), scenario.proto, where, *bulk]


def floor_tls(tools, scenario, where):
    cert, key, _ = certificate()
    return [need_file(tools.programs / "tls_echo"), where, str(cert), str(key)]


def floor_relay(tools, how, where, target):
    return [need_file(tools.programs / "relay"), how, where, target]


def join_relay(tools, engine, where, target):
    return [need_file(tools.programs / "join_relay"), engine, where, target]


def proxy(tools, name, where):
    """nginx or haproxy in front of a bare echo, all of it on the server's core."""
    cert, key, both = certificate()
    return [need_command(PYTHON), str(HERE / "peers" / "tls_proxy.py"), need_command(name),
            need_file(tools.programs / "epoll_echo"), where, str(cert), str(key), str(both)]


def command_relay(tools, scenario, where, target, *options):
    """Where the clients speak TLS, the target does not."""
    proto, keys = scenario.proto, []
    if proto == "tls":
        cert, key, _ = certificate()
        keys = [f"cert={cert}", f"key={key}"]
    return [need_file(tools.tenon), "relay", "-q", *options, url_of(proto, where, *keys),
            url_of("tcp" if proto == "tls" else proto, target)]


def stream_proxy(name, scenario, where, target):
    files = map(str, certificate()) if scenario.proto == "tls" else []
    return [need_command(PYTHON), str(HERE / "peers" / "tcp_proxy.py"), need_command(name), scenario.proto, where,
            target, *files]


def example(tools, scenario, where, engine, program):
    """An echo server that runs its loop, or has it inside another one."""
    return [need_command("env"), f"TENON_ENGINE={engine}", need_file(tools.programs.parent / "examples" / program),
            url_of(scenario.proto, where)]


def python(scenario, where, *options):
    return [need_command(PYTHON), str(HERE / "peers" / "asyncio_echo.py"), *options, scenario.proto, where]


def module(scenario, how, where, *options):
    """A server in Python; those of the module tenon find it in build-python, where `make python` builds it."""
    return [need_command("env"), f"PYTHONPATH={HERE.parent / 'build-python' / 'site'}", need_command(PYTHON),
            str(HERE / "peers" / "python_echo.py"), *options, how, scenario.proto, where]


def npm_ws(scenario, where):
    """npm's module ws: `npm install ws` in the folder above MODULES."""
    if not (MODULES / "ws").exists():
        raise Absent(f"npm's module ws is not in {MODULES} (TENON_NODE_MODULES)")
    return [need_command("env"), f"NODE_PATH={MODULES}", need_command("node"), str(HERE / "peers" / "ws_echo.js"),
            where, *["deflate"] * scenario.deflate]


def socat(scenario, where):
    listen = f"UNIX-LISTEN:{where},fork" if scenario.proto == "unix" else \
        f"TCP-LISTEN:{where},bind=127.0.0.1,fork,reuseaddr,nodelay"
    return [need_command("socat"), f"{listen},backlog=4096", "PIPE"]


def ncat(scenario, where):
    target = ["-U", where] if scenario.proto == "unix" else ["127.0.0.1", where]
    return [need_command("ncat"), "-l", "-k", "-m", "4096", "-e", need_command("cat"), *target]


SERVERS = {
    "floor-epoll": floor_epoll,
    "floor-epoll-spin": lambda t, s, w: floor_epoll(t, s, w, "--spin"),
    "floor-uring": floor_uring,
    "floor-udp": lambda t, s, w: [need_file(t.programs / "udp_ack"), w, "ack"],
    "floor-udp-joined": lambda t, s, w: [need_file(t.programs / "udp_ack"), w, "joined"],
    "floor-tls": floor_tls,
    "floor-ws": lambda t, s, w: [need_file(t.programs / "ws_echo"), w],
    "tenon": tenon,
    "tenon-uring": lambda t, s, w: tenon(t, s, w, "--engine=uring"),
    "tenon-epoll": lambda t, s, w: tenon(t, s, w, "--engine=epoll"),
    "tenon-joined": lambda t, s, w: tenon(t, s, w, keys=("gso=on", "gro=on")),
    "tenon-unframed": lambda t, s, w: tenon(t, s, w, framed=False),
    "tenon-head": lambda t, s, w: tenon(t, s, w, frame="head:size=4"),
    "tenon-head-kept": lambda t, s, w: tenon(t, s, w, frame="head:size=4,keep=on"),
    "tenon-own": lambda t, s, w: [need_file(t.programs / "own_echo"), url_of(s.proto, w, "frame=own")],
    "resp-server": lambda t, s, w: [need_file(t.programs.parent / "examples" / "resp_server"),
                                    url_of("tcp", w, "frame=resp")],
    "redis-server": lambda t, s, w: [need_command("redis-server"), "--port", w, "--bind", "127.0.0.1", "--save", "",
                                     "--appendonly", "no"],
    "hub": lambda t, s, w: [need_file(t.tenon), "hub", f"nats://127.0.0.1:{w}"],
    "nats-server": lambda t, s, w: [need_command("nats-server"), "-a", "127.0.0.1", "-p", w],
    "tenon-before": lambda t, s, w: tenon(t, s, w, command=t.before),
    "tenon-plain": lambda t, s, w: tenon(t, s, w, proto="tcp"),
    "tenon-unix": lambda t, s, w: tenon(t, s, w, proto="unix"),
    "libuv": lambda t, s, w: [need_file(t.programs / "libuv_echo"), s.proto, w],
    "uvloop": lambda t, s, w: python(s, w, "--uvloop"),
    "asyncio": lambda t, s, w: python(s, w),
    "py-callbacks": lambda t, s, w: module(s, "callbacks", w),
    "py-view": lambda t, s, w: module(s, "view", w),
    "py-framed": lambda t, s, w: module(s, "framed", w),
    "py-framed-aio": lambda t, s, w: module(s, "framed-aio", w, "--uvloop"),
    "uvloop-framed": lambda t, s, w: module(s, "framed-protocol", w, "--uvloop"),
    "py-values": lambda t, s, w: module(s, "values", w),
    "py-aio": lambda t, s, w: module(s, "aio", w),
    "py-aio-uvloop": lambda t, s, w: module(s, "aio", w, "--uvloop"),
    "streams": lambda t, s, w: module(s, "streams", w),
    "streams-uvloop": lambda t, s, w: module(s, "streams", w, "--uvloop"),
    "json-streams": lambda t, s, w: module(s, "json-streams", w),
    "gevent": lambda t, s, w: module(s, "gevent", w),
    "trio": lambda t, s, w: module(s, "trio", w),
    "websockets": lambda t, s, w: module(s, "websockets-deflate" if s.deflate else "websockets", w),
    "npm-ws": lambda t, s, w: npm_ws(s, w),
    "socat": lambda t, s, w: socat(s, w),
    "ncat": lambda t, s, w: ncat(s, w),
    "nginx": lambda t, s, w: proxy(t, "nginx", w),
    "haproxy": lambda t, s, w: proxy(t, "haproxy", w),
}
EXAMPLES = {"run": "echo_server", "poll": "embed_poll", "uv": "embed_uv", "glib": "embed_glib"}
SERVERS |= {f"{loop}-{engine}": lambda t, s, w, engine=engine, program=program: example(t, s, w, engine, program)
            for loop, program in EXAMPLES.items() for engine in ("epoll", "uring")}
# between the load and a bare echo, which runs on the load's core: what they use is theirs alone
RELAYS = {
    "floor-copy": lambda t, s, w, to: floor_relay(t, "copy", w, to),
    "floor-splice": lambda t, s, w, to: floor_relay(t, "splice", w, to),
    "floor-datagrams": lambda t, s, w, to: [need_file(t.programs / "udp_relay"), w, to],
    "tenon": lambda t, s, w, to: join_relay(t, "-", w, to),
    "tenon-uring": lambda t, s, w, to: join_relay(t, "uring", w, to),
    "tenon-epoll": lambda t, s, w, to: join_relay(t, "epoll", w, to),
    "relay-uring": lambda t, s, w, to: command_relay(t, s, w, to, "--engine=uring"),
    "relay-epoll": lambda t, s, w, to: command_relay(t, s, w, to, "--engine=epoll"),
    "nginx-tcp": lambda t, s, w, to: stream_proxy("nginx", s, w, to),
    "nginx-tls": lambda t, s, w, to: stream_proxy("nginx", s, w, to),
    "nginx-udp": lambda t, s, w, to: stream_proxy("nginx", s, w, to),
    "haproxy-tcp": lambda t, s, w, to: stream_proxy("haproxy", s, w, to),
    "haproxy-tls": lambda t, s, w, to: stream_proxy("haproxy", s, w, to),
    "socat": lambda t, s, w, to: [need_command("socat"), f"TCP-LISTEN:{w},bind=127.0.0.1,fork,reuseaddr,nodelay,"
                                                         "backlog=4096", f"TCP:127.0.0.1:{to},nodelay"],
}
# they fork, and what a child used is gone with it
FORKING = ("socat", "ncat", "nginx", "haproxy")
# they say neither when they listen nor where: they get a free port and are tried
SILENT = (*FORKING, "redis-server", "hub", "nats-server", "nginx-tcp", "nginx-tls", "nginx-udp", "haproxy-tcp",
          "haproxy-tls")


# Processes


def spawn(command, core, **streams):
    """A child on one core in a process group of its own, so that the children it forks are stopped with it."""
    return subprocess.Popen(command, start_new_session=True, preexec_fn=lambda: os.sched_setaffinity(0, {core}),
                            **streams)


def stop(child):
    """Ends one child's group: asks first, then insists."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, sign)
            child.wait(STOP_LIMIT_S)
        except ProcessLookupError:
            pass
        except subprocess.TimeoutExpired:
            continue
        break
    try:
        os.killpg(child.pid, signal.SIGKILL)  # whatever it left behind
    except ProcessLookupError:
        pass
    child.wait()


def cpu_of_group(leader):
    """CPU time of the whole process group, the children that ended included."""
    total = 0
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = text_of(stat).rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == leader:
            total += sum(map(int, fields[11:15]))
    return total / os.sysconf("SC_CLK_TCK")


def free_port(proto):
    with socket.socket(type=socket.SOCK_DGRAM if proto == "udp" else socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def answers(where):
    """Nothing else tells that a UDP server is there."""
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.2)
        probe.connect(("127.0.0.1", int(where)))
        try:
            probe.send(b"?")
            return bool(probe.recv(64))
        except OSError:
            return False


def accepts(proto, where):
    if proto == "udp":
        return answers(where)
    family, target = (socket.AF_UNIX, where) if proto == "unix" else (socket.AF_INET, ("127.0.0.1", int(where)))
    with socket.socket(family) as probe:
        return probe.connect_ex(target) == 0


def announced(text):
    """The port or path in the first complete line that says where a server listens, or None."""
    for line in text.splitlines(keepends=True):
        if line.startswith("listening ") and line.endswith("\n"):
            place = line.split()[1]
            if ":" not in place:
                return place
            url = urllib.parse.urlsplit(place)
            return url.path if url.scheme.endswith(PATHS) else str(url.port)
    return None


class Server:
    """A contender that serves: started on the server core, stopped at the end of the with block."""

    def __init__(self, tools, name, scenario, folder):
        self.tools, self.name, self.scenario, self.folder = tools, name, scenario, pathlib.Path(folder)
        self.proto = {"tenon-plain": "tcp", "tenon-unix": "unix"}.get(name, scenario.proto)
        self.framed = scenario.frame and name != "tenon-unframed"
        self.silent = name in SILENT
        self.target = None
        self.forks = name in FORKING

    def __enter__(self):
        path = self.folder / "socket"
        path.unlink(missing_ok=True)
        self.where = str(path) if self.proto in PATHS else free_port(self.proto) if self.silent else "0"
        # Into files: nobody has to read along while the measurement runs.
        with open(self.folder / "out", "wb") as out, open(self.folder / "err", "wb") as err:
            command = self.command()
            self.child = spawn(command, self.tools.server_core, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        try:
            self.await_listening()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        stop(self.child)
        if self.target:
            stop(self.target)

    def command(self):
        if not self.scenario.relay:
            return SERVERS[self.name](self.tools, self.scenario, self.where)
        program = ["udp_ack", "0", "ack"] if self.proto == "udp" else ["epoll_echo", "tcp", "0"]
        self.target = spawn([need_file(self.tools.programs / program[0]), *program[1:]], self.tools.client_core,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        where = self.target.stdout.readline().split()[-1]
        return RELAYS[self.name](self.tools, self.scenario, self.where, where)

    def await_listening(self):
        until = time.monotonic() + START_LIMIT_S
        while time.monotonic() < until:
            if self.child.poll() is not None:
                raise Absent("it ended: " + (text_of(self.folder / "err").strip() or "no reason given"))
            if self.silent:
                if accepts(self.proto, self.where):
                    return
            else:
                where = announced(text_of(self.folder / "out"))
                if where:
                    self.where = where
                    return
            time.sleep(0.01)
        raise Absent(f"did not listen within {START_LIMIT_S} s")

    def url(self, *keys):
        return url_of(self.proto, self.where, *keys)

    def bare_target(self):
        """The same for the bare load."""
        return ["unix", self.where] if self.proto == "unix" else [self.proto, "127.0.0.1", self.where]

    def cpu_s(self):
        return cpu_of_group(self.child.pid)

    def target_cpu_s(self):
        """Of the echo behind a relay, which is neither the server nor the load, and no disturbance either."""
        return cpu_of_group(self.target.pid) if self.target else 0

    def resident_bytes(self):
        try:
            rollup = text_of(f"/proc/{self.child.pid}/smaps_rollup")
            return int(re.search(r"^Rss:\s+(\d+)", rollup, re.M)[1]) * 1024
        except OSError:
            return int(text_of(f"/proc/{self.child.pid}/statm").split()[1]) * resource.getpagesize()
