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


def url_of(proto, where, *keys):
    """Where a contender serves, as tenon says it."""
    url = f"unix:{where}" if proto == "unix" else f"{proto}://127.0.0.1:{where}"
    return url + ("?" + "&".join(keys) if keys else "")


# How each starts. `where` is a port or a path; port 0 is the server's choice, which it then tells


def tenon(tools, scenario, where, *options, framed=True, proto=None, command=None):
    keys = [f"frame={scenario.frame}"] if scenario.frame and framed else []
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


def proxy(tools, name, where):
    """nginx or haproxy in front of a bare echo, all of it on the server's core."""
    cert, key, both = certificate()
    return [need_command(PYTHON), str(HERE / "peers" / "tls_proxy.py"), need_command(name),
            need_file(tools.programs / "epoll_echo"), where, str(cert), str(key), str(both)]


def python(scenario, where, *options):
    return [need_command(PYTHON), str(HERE / "peers" / "asyncio_echo.py"), *options, scenario.proto, where]


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
    "floor-tls": floor_tls,
    "tenon": tenon,
    "tenon-uring": lambda t, s, w: tenon(t, s, w, "--engine=uring"),
    "tenon-epoll": lambda t, s, w: tenon(t, s, w, "--engine=epoll"),
    "tenon-unframed": lambda t, s, w: tenon(t, s, w, framed=False),
    "tenon-before": lambda t, s, w: tenon(t, s, w, command=t.before),
    "tenon-plain": lambda t, s, w: tenon(t, s, w, proto="tcp"),
    "libuv": lambda t, s, w: [need_file(t.programs / "libuv_echo"), s.proto, w],
    "uvloop": lambda t, s, w: python(s, w, "--uvloop"),
    "asyncio": lambda t, s, w: python(s, w),
    "socat": lambda t, s, w: socat(s, w),
    "ncat": lambda t, s, w: ncat(s, w),
    "nginx": lambda t, s, w: proxy(t, "nginx", w),
    "haproxy": lambda t, s, w: proxy(t, "haproxy", w),
}
# they say neither when they listen nor where: they get a free port and are tried
SILENT = ("socat", "ncat", "nginx", "haproxy")


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


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def accepts(proto, where):
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
            return url.path if url.scheme.endswith("unix") else str(url.port)
    return None


class Server:
    """A contender that serves: started on the server core, stopped at the end of the with block."""

    def __init__(self, tools, name, scenario, folder):
        self.tools, self.name, self.scenario, self.folder = tools, name, scenario, pathlib.Path(folder)
        self.proto = "tcp" if name == "tenon-plain" else scenario.proto
        self.framed = scenario.frame and name != "tenon-unframed"
        self.silent = name in SILENT

    def __enter__(self):
        path = self.folder / "socket"
        path.unlink(missing_ok=True)
        self.where = str(path) if self.proto == "unix" else free_port() if self.silent else "0"
        command = SERVERS[self.name](self.tools, self.scenario, self.where)
        # Into files: nobody has to read along while the measurement runs.
        with open(self.folder / "out", "wb") as out, open(self.folder / "err", "wb") as err:
            self.child = spawn(command, self.tools.server_core, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        try:
            self.await_listening()
        except BaseException:
            stop(self.child)
            raise
        return self

    def __exit__(self, *exc):
        stop(self.child)

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

    def target(self):
        """The same for the bare load."""
        return ["unix", self.where] if self.proto == "unix" else [self.proto, "127.0.0.1", self.where]

    def cpu_s(self):
        """CPU time of the whole process group, the children that ended included."""
        total = 0
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = text_of(stat).rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == self.child.pid:
                total += sum(map(int, fields[11:15]))
        return total / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self):
        try:
            rollup = text_of(f"/proc/{self.child.pid}/smaps_rollup")
            return int(re.search(r"^Rss:\s+(\d+)", rollup, re.M)[1]) * 1024
        except OSError:
            return int(text_of(f"/proc/{self.child.pid}/statm").split()[1]) * resource.getpagesize()
