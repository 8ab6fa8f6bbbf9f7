"""
What is measured as a whole process, from before it exists until it has ended: `tenon send` and `tenon convert`; and the
publishers, which tell by themselves what one delivery costs.
"""

import json
import os
import pathlib
import random
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time

from servers import START_LIMIT_S, Absent, need_command, need_file, spawn, stop

MESSAGE = b"Hello, world!"


def await_exit(pid, limit_s):
    """Waits for a child and reaps it; one that takes too long is killed. Returns its wait status."""
    watch = os.pidfd_open(pid)
    try:
        if not select.select([watch], [], [], limit_s)[0]:
            os.kill(pid, signal.SIGKILL)
        return os.waitpid(pid, 0)[1]
    finally:
        os.close(watch)


def time_process(command, folder):
    """Milliseconds from before the process exists until it has ended; it has to print the echo."""
    out = folder / "reply"
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, str(folder / "message"), os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(out), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
    ]
    began = time.perf_counter()
    status = await_exit(os.posix_spawn(command[0], command, os.environ, file_actions=actions), START_LIMIT_S)
    took = (time.perf_counter() - began) * 1e3
    if status or out.read_bytes().strip() != MESSAGE:
        return {"failed": f"{command[0]}: status {status}, printed {out.read_bytes()[:60]!r}"}
    return {"ms": took}


THREADS_HOW = {"floor-list": "bare", "tenon-handle": "tenon", "tenon-handles": "own", "tenon-loop": "loop"}
THREADS_MESSAGES = 5_000_000


def measure_threads(tools, name):
    """Threads that send into one loop, on whatever cores there are: messages a second, and CPU for each."""
    command = [need_file(tools.programs / "handle_send"), THREADS_HOW[name], str(THREADS_MESSAGES)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=START_LIMIT_S * 4, check=False)
    found = re.search(r"(\d+) msg/s +(\d+) ns", run.stdout)
    if run.returncode or not found:
        return {"failed": f"{name}: status {run.returncode}, {run.stderr.strip()}"}
    return {"rate": int(found[1]), "server_us": int(found[2]) / 1000}


def measure_ring(tools, scenario, settings):
    """Two processes and a bare ring between them."""
    command = [need_file(tools.programs / "shm_ring"), *(str(word) for word in (
        scenario.conns, scenario.size, scenario.depth, settings.duration, settings.warmup,
        f"{tools.server_core},{tools.client_core}"))]
    run = subprocess.run(command, capture_output=True, text=True, check=False,
                         timeout=START_LIMIT_S + settings.duration + settings.warmup)
    if run.returncode:
        return {"failed": f"shm_ring: status {run.returncode}, {run.stderr.strip()}"}
    return json.loads(run.stdout)


def measure_bare_oneway(tools, scenario, settings):
    command = [need_file(tools.programs / "udp_oneway"), str(scenario.size), str(settings.duration),
               f"{tools.server_core},{tools.client_core}"]
    run = subprocess.run(command, capture_output=True, text=True, check=False,
                         timeout=START_LIMIT_S + settings.duration)
    return json.loads(run.stdout) if run.returncode == 0 else {"failed": f"udp_oneway: {run.stderr.strip()}"}


def measure_oneway(tools, name, scenario, settings):
    """One sender and one receiver: what both have counted a second."""
    if name == "floor-oneway":
        return measure_bare_oneway(tools, scenario, settings)
    engine = f"--engine={name.removeprefix('tenon-')}"
    server = spawn([need_file(tools.tenon), "serve", "udp://127.0.0.1:0?rcvbuf=4MiB", "--handler", "count",
                    "--threads", "1", "--json", engine], tools.server_core, stdin=subprocess.DEVNULL,
                   stdout=subprocess.PIPE, text=True)
    try:
        url = json.loads(server.stdout.readline())["url"]
        command = [need_file(tools.tenon), "bench", url, "--mode", "one-way", "--json", "--size", str(scenario.size),
                   "--duration", f"{settings.duration}s", "--warmup", f"{settings.warmup}s", engine]
        load = spawn(command, tools.client_core, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        try:
            out = load.communicate(timeout=START_LIMIT_S + settings.duration + settings.warmup)[0]
        finally:
            stop(load)
    finally:
        stop(server)
    if load.returncode:
        return {"failed": f"tenon bench ended with {load.returncode}"}
    result = json.loads(out.splitlines()[-1])
    received = result["received"]
    return {"sent_rate": result["rate"], "received_rate": received["messages"] / max(received["seconds"], 1e-9),
            "sent": result["sent"], "received": received["messages"]}


def send_command(tools, name, where):
    if name == "nc":
        return [shutil.which("nc.openbsd") or need_command("nc"), "-N", "127.0.0.1", where]
    return [need_file(tools.tenon), "send", f"tcp://127.0.0.1:{where}", MESSAGE.decode()]


def measure_send(tools, name, where, folder):
    """One of `nc` and `tenon send`, as a whole process on the client's core."""
    own = os.sched_getaffinity(0)
    (folder / "message").write_bytes(MESSAGE)
    command = send_command(tools, name, where)
    os.sched_setaffinity(0, {tools.client_core})  # posix_spawn hands it down
    try:
        return time_process(command, folder)
    finally:
        os.sched_setaffinity(0, own)


# One message to many connections

FANOUT_BYTES = 1 << 30  # sent in each run, at most
FANOUT_LIMIT_S = 300


def fanout_command(tools, name, scenario):
    each = str(scenario.conns // 2)
    rounds = max(5, min(50, FANOUT_BYTES // (scenario.conns * scenario.size)))
    numbers = [each, each, str(scenario.size), str(rounds), f"{tools.server_core},{tools.client_core}"]
    if name == "floor-send":
        return [need_file(tools.programs / "fanout"), *numbers]
    engine, how = ("epoll", "send") if name == "tenon-unshared" else (name.removeprefix("tenon-"), "shared")
    return [need_file(tools.programs / "fanout_tenon"), engine, how, *numbers]


def measure_fanout(tools, name, scenario):
    """The publisher and its readers are one program; its last line is the result."""
    try:
        run = subprocess.run(fanout_command(tools, name, scenario), capture_output=True, timeout=FANOUT_LIMIT_S,
                             encoding="utf-8", errors="replace", check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"it did not end within {FANOUT_LIMIT_S} s"}
    if run.returncode or not run.stdout.strip():
        return {"failed": run.stderr.strip() or f"ended with {run.returncode}"}
    return json.loads(run.stdout.splitlines()[-1])


# Converting files: JSON lines to CBOR in u32 frames and back

PROBE_MESSAGES = 500


def small_messages():
    """JSON lines as logs and queues have them: half a dozen members, some text, now and then a list. Always the
    same."""
    source = random.Random(1)
    number = 0
    while True:
        number += 1
        message = {"id": number, "name": f"sensor-{source.randrange(1000)}", "ok": source.random() < 0.9,
                   "value": source.randrange(-100000, 100000), "ratio": source.randrange(1, 1000) / 8,
                   "note": source.choice(["", "all is well", "caf\u00e9", "a \"quoted\" word", "line\nbreak", None])}
        if number % 5 == 0:
            message["tags"] = [source.choice(["red", "green", "blue"]) for _ in range(source.randrange(6))]
        if number % 7 == 0:
            message["at"] = {"lat": source.randrange(-9000, 9000) / 128, "lon": source.randrange(-18000, 18000) / 128}
        yield json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def write_messages(path, size):
    """At least so many bytes of messages: a row of them, over and over."""
    source = small_messages()
    block = b"".join(next(source) for _ in range(min(20000, size // 100 + 1)))
    with open(path, "wb") as out:
        while out.tell() < size:
            out.write(block)


def convert_command(tools, name, direction):
    if name == "floor-convert":
        return [need_file(tools.programs / "convert_floor"), direction]
    words = ["json/line", "cbor/u32"] if direction == "json-cbor" else ["cbor/u32", "json/line"]
    tenon = need_file(tools.tenon)
    if subprocess.run([tenon, "convert", "--help"], capture_output=True, timeout=START_LIMIT_S, check=False).returncode:
        raise Absent("this tenon has no command convert")
    return [tenon, "convert", "--from", words[0], "--to", words[1]]


def convert_file(tools, command, source, target):
    """One conversion as a whole process: its time, its processor time and its peak memory."""
    with open(source, "rb") as data, open(target, "wb") as out, tempfile.TemporaryFile() as err:
        began = time.perf_counter()
        child = spawn(command, tools.server_core, stdin=data, stdout=out, stderr=err)
        try:
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if child.returncode is None:
                stop(child)
        took = time.perf_counter() - began
        err.seek(0)
        if child.returncode:
            return {"failed": err.read().decode(errors="replace").strip() or f"ended with {child.returncode}"}
    return {"seconds": took, "cpu_s": usage.ru_utime + usage.ru_stime, "peak_bytes": usage.ru_maxrss * 1024,
            "bytes_per_second": os.path.getsize(source) / took}


class Conversions:
    """The files, made when they are needed, and whether a contender does what it should before it is measured."""

    def __init__(self, tools, folder, size):
        self.tools, self.folder, self.size = tools, pathlib.Path(folder), size

    def file(self, name, size=None):
        path = self.folder / name
        if not path.exists() and name.endswith(".json"):
            write_messages(path, size or self.size)
        elif not path.exists():
            run = convert_file(self.tools, convert_command(self.tools, "floor-convert", "json-cbor"),
                               self.file(name.replace(".cbor", ".json")), path)
            if "failed" in run:
                raise Absent("the bare loop: " + run["failed"])
        return path

    def check(self, name):
        """There and back again, some messages must say the same."""
        lines, there, back = (self.folder / f"probe-{name}.{end}" for end in ("json", "cbor", "back"))
        source = small_messages()
        lines.write_bytes(b"".join(next(source) for _ in range(PROBE_MESSAGES)))
        for direction, source, target in (("json-cbor", lines, there), ("cbor-json", there, back)):
            run = convert_file(self.tools, convert_command(self.tools, name, direction), source, target)
            if "failed" in run:
                raise Absent(f"{direction}: {run['failed']}")
        wanted, found = ([json.loads(line) for line in path.read_bytes().splitlines()] for path in (lines, back))
        if wanted != found:
            raise Absent("what it converted there and back is not what it was")

    def measure(self, scenario, name):
        if scenario.kind == "convert":
            direction = scenario.name.removeprefix("convert-")
            source = self.file("all.json" if direction == "json-cbor" else "all.cbor")
            return convert_file(self.tools, convert_command(self.tools, name, direction), source, os.devnull)
        command = convert_command(self.tools, name, "json-cbor")
        runs = [convert_file(self.tools, command, source, os.devnull)
                for source in (self.file("eighth.json", self.size // 8), self.file("all.json"))]
        failed = [run for run in runs if "failed" in run]
        return failed[0] if failed else {"growth_bytes": runs[1]["peak_bytes"] - runs[0]["peak_bytes"],
                                         "peak_bytes": runs[1]["peak_bytes"]}
