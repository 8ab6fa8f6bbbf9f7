"""What a service manager is told (sd_notify(3)), as systemd would hear it, and the unit files."""
import ctypes
import itertools
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

from harness import COMMAND, LIMIT, ROOT, SANITIZED, sockets_in, wait_until

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17


class Manager:
    """The socket of a service manager."""

    def __init__(self, place):
        self.place, self.heard = place, []
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(place).replace("@", "\0", 1))
        self.sock.settimeout(0.05)

    def env(self, **more):
        return {**os.environ, "NOTIFY_SOCKET": str(self.place), **more}

    def listen(self):
        try:
            while True:
                self.heard.append(self.sock.recv(4096).decode())
        except TimeoutError:
            return self.heard

    def wait_for(self, word):
        wait_until(lambda: any(word in text for text in self.listen()), lambda: f"{word}: {self.heard}")


@pytest.fixture
def manager(tenon):
    made = Manager(tenon.folder / "notify")
    yield made
    made.sock.close()
    made.place.unlink()


@pytest.mark.parametrize("command", ["serve", "relay"])
def test_ready_reloading_stopping(tenon, manager, authority, command):
    url = f"tls://127.0.0.1:0?{authority.pair('server')}"
    if command == "serve":
        server = tenon.serve(url, env=manager.env())
    else:
        server = tenon.relay(url, "tcp://127.0.0.1:1", env=manager.env())
    manager.wait_for("READY=1")
    assert manager.heard[0].startswith("READY=1\nSTATUS=") and not any("WATCHDOG" in text for text in manager.heard)
    server.signal(signal.SIGHUP)
    manager.wait_for("RELOADING=1\nMONOTONIC_USEC=")
    wait_until(lambda: manager.listen()[-1] == "READY=1", "it has reloaded")
    assert abs(int(manager.heard[-2].split("=")[-1]) / 1e6 - time.monotonic()) < LIMIT
    with socket.create_connection(("127.0.0.1", server.port), LIMIT):
        server.signal(signal.SIGTERM)
        manager.wait_for("STOPPING=1")


@pytest.mark.parametrize("command", ["serve", "relay", "hub"])
def test_a_long_drain_asks_for_the_time(tenon, manager, command):
    """Or TimeoutStopSec= of a unit would end it before."""
    urls = ["nats://127.0.0.1:0"] if command == "hub" else ["tcp://127.0.0.1:0"]
    server = getattr(tenon, command)(*urls, *(["tcp://127.0.0.1:1"] if command == "relay" else []), listeners=1,
                                     options=["--drain", "2m"], env=manager.env())
    server.signal(signal.SIGTERM)
    manager.wait_for("STOPPING=1")
    assert re.search(r"^EXTEND_TIMEOUT_USEC=125000000$", manager.heard[-1], re.M)


def test_an_abstract_name(tenon):
    made = Manager(f"@tenon-test-{os.getpid()}-{time.monotonic_ns()}")
    tenon.serve("tcp://127.0.0.1:0", env=made.env())
    made.wait_for("READY=1")
    made.sock.close()


def test_commands_are_not_the_service(tenon, manager):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "exec:env"],
                         env=manager.env(WATCHDOG_USEC="60000000"))
    with socket.create_connection(("127.0.0.1", server.port), LIMIT) as sock:
        sock.shutdown(socket.SHUT_WR)
        said = b""
        while data := sock.recv(65536):
            said += data
    assert b"TENON_PEER=" in said and b"NOTIFY_SOCKET" not in said and b"WATCHDOG" not in said


@pytest.mark.parametrize("command", ["serve", "relay"])
def test_a_reload_without_files_ends_nothing(tenon, manager, command):
    """The units' ExecReload sends it whatever is served, and an end by SIGHUP counts as a clean one."""
    server = getattr(tenon, command)("tcp://127.0.0.1:0", *(["tcp://127.0.0.1:1"] if command == "relay" else []),
                                     env=manager.env())
    manager.wait_for("READY=1")
    server.signal(signal.SIGHUP)
    manager.wait_for("RELOADING=1")
    wait_until(lambda: manager.listen()[-1] == "READY=1", "it has reloaded")
    server.signal(signal.SIGTERM)
    server.wait(0)


@pytest.mark.parametrize("place", ["/no/such/place", "@tenon-nobody-listens", "vsock:2:9999", "/" + "x" * 200])
def test_a_manager_that_is_not_there(tenon, place):
    server = tenon.serve("tcp://127.0.0.1:0", env={**os.environ, "NOTIFY_SOCKET": place})
    assert "NOTIFY_SOCKET" in server.err
    assert tenon.run("send", server.url, "hello", status=0).out == b"hello\n"


def ptrace(request, tid):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(request, tid, None, None) < 0:
        pytest.skip(f"ptrace: {os.strerror(ctypes.get_errno())}")


@pytest.mark.skipif(SANITIZED, reason="who looks for leaks is a debugger too")
@pytest.mark.parametrize("which", [0, 1])
def test_the_watchdog_hears_nothing_when_a_loop_hangs(tenon, manager, which):
    """One of two loops is stopped by a debugger."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--threads", "2"], env=manager.env(WATCHDOG_USEC="100000"))
    wait_until(lambda: sum("WATCHDOG=1" in text for text in manager.listen()) >= 5, "it is told")
    threads = sorted(int(tid) for tid in os.listdir(f"/proc/{server.pid}/task"))
    ptrace(PTRACE_SEIZE, threads[which])
    ptrace(PTRACE_INTERRUPT, threads[which])
    os.waitpid(threads[which], 0x40000000)  # __WALL
    manager.listen()
    time.sleep(0.3)  # what was under way
    manager.listen()
    before = len(manager.heard)
    time.sleep(0.5)
    assert len(manager.listen()) == before
    ptrace(PTRACE_DETACH, threads[which])
    wait_until(lambda: len(manager.listen()) >= before + 3, "it goes on")


def test_another_processs_watchdog(tenon, manager):
    tenon.serve("tcp://127.0.0.1:0", env=manager.env(WATCHDOG_USEC="20000", WATCHDOG_PID="1"))
    manager.wait_for("READY=1")
    time.sleep(0.2)
    assert not any("WATCHDOG" in text for text in manager.listen())


COMMANDS = ["serve", "relay", "hub"]
UNITS = [f"tenon-{command}@.service" for command in COMMANDS]
SOCKETS = [f"tenon-{command}{kind}@.socket"
           for command, kind in itertools.product(COMMANDS, ["", "-datagram", "-packet"])
           if command != "hub" or not kind]


def unit_of(name):
    return (pathlib.Path(os.environ["TENON_BUILD"]) / "packaging" / "systemd" / name).read_text(encoding="utf-8")


def values_of(text, key):
    return re.findall(rf"^{key}=(.*)$", text, re.M)


@pytest.fixture(name="analyze")
def analyzer(tmp_path):
    """systemd-analyze on the units, as they would be installed for the command that is tested."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze here")

    def analyze(*argv):
        for name in UNITS + SOCKETS:
            text = re.sub(r"^ExecStart=\S+", f"ExecStart={COMMAND}", unit_of(name), flags=re.M)
            text = re.sub(r"^Documentation=.*\n", "", text, flags=re.M)  # no pages are installed
            (tmp_path / name).write_text(text, encoding="utf-8")
        return subprocess.run(["systemd-analyze", *argv], capture_output=True, text=True, timeout=LIMIT, cwd=tmp_path,
                              check=False, env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"})
    return analyze


@pytest.mark.parametrize("engine", ["auto"], indirect=True)
@pytest.mark.parametrize("unit", UNITS)
def test_units_are_closed(tenon, analyze, unit):
    del tenon
    said = analyze("security", "--offline=true", "--no-pager", unit)
    if "Overall exposure level" not in said.stdout:
        pytest.skip(f"systemd-analyze does not work here: {said.stderr[-200:]}")
    assert float(said.stdout.split("Overall exposure level for ")[1].split(": ")[1].split()[0]) <= 2.0
    assert not said.stderr


@pytest.mark.parametrize("engine", ["auto"], indirect=True)
def test_units_are_understood(tenon, analyze):
    del tenon
    said = analyze("verify", "--man=no", *[name.replace("@.", "@test.") for name in UNITS + SOCKETS])
    if re.search(r"Failed to (init|initialize|setup|set up)", said.stderr):
        pytest.skip(f"systemd-analyze does not work here: {said.stderr[-200:]}")
    ours = [line for line in said.stderr.splitlines() if "tenon" in line]
    assert not ours and said.returncode == 0, said.stderr
    planted = analyze("verify", "--man=no", "no-such-unit@test.service")
    assert planted.returncode != 0


@pytest.mark.parametrize("command", ["serve", "relay"])
def test_each_socket_unit_hands_over_its_kind(tenon, program, command):
    """What systemd binds for each unit, under the name that it gives: all are served by one process."""
    kinds = {"ListenStream": socket.SOCK_STREAM, "ListenDatagram": socket.SOCK_DGRAM,
             "ListenSequentialPacket": socket.SOCK_SEQPACKET}
    socks, names = [], []
    for name in [name for name in SOCKETS if f"-{command}" in name]:
        text = unit_of(name)
        (kind,) = [kind for kind in kinds if values_of(text, kind)]
        path = tenon.folder / pathlib.Path(values_of(text, kind)[0].replace("%i", "test")).name
        assert values_of(text, "Service") == [f"tenon-{command}@%i.service"]
        names += values_of(text, "FileDescriptorName")
        socks.append(tenon.listen(socket.AF_UNIX, str(path), kinds[kind]))
    assert len(set(names)) == 3
    moves = " ".join(f"{10 + at}<&{sock.fileno()}" for at, sock in enumerate(socks))
    moves += " " + " ".join(f"{3 + at}<&{10 + at} {10 + at}<&-" for at in range(3))
    script = f'export LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES={":".join(names)}; exec "$@" {moves}'
    urls = [f"fd:{name}" for name in names]
    if command == "relay":  # a relay's listeners all carry the same
        urls = [urls[0], tenon.serve("tcp://127.0.0.1:0").url]
    server = tenon.peer(program("bash"), "-c", script, "bash", *tenon.argv(command, *urls),
                        pass_fds=[sock.fileno() for sock in socks])
    wait_until(lambda: len(server.lines) == (3 if command == "serve" else 1), lambda: server.err)
    for sock in socks[:3 if command == "serve" else 1]:
        with socket.socket(socket.AF_UNIX, sock.type) as client:
            client.settimeout(LIMIT)
            client.bind(f"{sock.getsockname()}.client")
            client.connect(sock.getsockname())
            client.send(b"hello")
            assert b"hello" in client.recv(100)
    server.signal(signal.SIGTERM)
    server.wait(0)
    for path in sockets_in(tenon.folder):
        os.unlink(path)


def test_users_and_folders_are_those_of_the_units():
    folder = ROOT / "packaging" / "systemd"
    groups = re.findall(r"^g (\S+) -$", (folder / "tenon.sysusers").read_text(encoding="utf-8"), re.M)
    made = {line.split()[1]: line.split()[2:5] for line in (folder / "tenon.tmpfiles").read_text().splitlines()
            if line.startswith("d ")}
    for name in UNITS:
        assert values_of(unit_of(name), "SupplementaryGroups") == groups
        assert str(pathlib.Path(values_of(unit_of(name), "EnvironmentFile")[0]).parent) in made
    for name in SOCKETS:
        assert values_of(unit_of(name), "SocketGroup") == groups
        path = [value for key in ("ListenStream", "ListenDatagram", "ListenSequentialPacket")
                for value in values_of(unit_of(name), key)]
        assert str(pathlib.Path(path[0]).parent) in made
    assert all(owner == "root" and group in ["root", *groups] for _, owner, group in made.values())
    for tool, file in (("systemd-sysusers", "tenon.sysusers"), ("systemd-tmpfiles", "tenon.tmpfiles")):
        if not shutil.which(tool):
            continue
        argv = [tool, "--dry-run", folder / file] if tool == "systemd-sysusers" else \
            [tool, "--create", "--root=/no/such/root", "--prefix=/none", folder / file]
        said = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT, check=False)
        assert file not in said.stderr, said.stderr
