"""What a service manager is told (sd_notify(3)), as systemd would hear it, and the unit files."""
import ctypes
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

import pytest

from harness import LIMIT, ROOT, SANITIZED, wait_until

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


@pytest.mark.parametrize("engine", ["auto"], indirect=True)
@pytest.mark.parametrize("unit", sorted(path.name for path in (ROOT / "packaging/systemd").glob("*.service")))
def test_units_are_closed(tenon, unit):
    del tenon
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze here")
    said = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager",
                           pathlib.Path("packaging/systemd") / unit],
                          capture_output=True, text=True, timeout=LIMIT, cwd=ROOT, check=False)
    if "Overall exposure level" not in said.stdout:
        pytest.skip(f"systemd-analyze does not work here: {said.stderr[-200:]}")
    assert float(said.stdout.split("Overall exposure level for ")[1].split(": ")[1].split()[0]) <= 2.0
    assert not said.stderr
