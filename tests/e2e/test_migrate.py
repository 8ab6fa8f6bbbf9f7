"""tenon-migrate(7): each line of ours on the page is typed, in a network where its addresses are free."""
import os
import pathlib
import re
import signal
import socket

import pytest

from harness import COMMAND, LIMIT, ROOT, SANITIZED, noise, stat_of, wait_until

pytestmark = pytest.mark.skipif(SANITIZED, reason="it is about a page")

one_engine = pytest.mark.parametrize("engine", ["auto"], indirect=True)
PAGE = (ROOT / "docs" / "man" / "tenon-migrate.7").read_text(encoding="utf-8")
LINES = [line.replace("\\-", "-").replace("\\e", "\\") for line in re.findall(r"^\.Dl [$#] (.*)$", PAGE, re.M)]
SERVES = re.compile(r" --listen | serve | relay ")
USAGE = 2


@pytest.fixture
def typed(tenon, network, authority):
    """typed(line): the shell that was given the line, in a folder that has what the lines name."""
    tenon.file("file", noise(1000))
    tenon.file("ca.pem", pathlib.Path(authority.pem("ca")).read_bytes())

    def start(line):
        path = f"{os.path.dirname(os.path.abspath(COMMAND))}:{os.environ['PATH']}"
        line = line.replace("/tmp/", f"{tenon.folder}/")
        script = line if "<" in line else f"printf 'one\\n' | {line}"
        return tenon.peer("/bin/sh", "-c", script, cwd=tenon.folder, preexec_fn=network.enter, env={"PATH": path},
                          start_new_session=True)
    return start


def end(process):
    if not process.is_over():
        os.killpg(process.pid, signal.SIGTERM)
    process.wait(None)
    wait_until(lambda: not group_lives(process.pid), "what the shell has started has ended, too")


def group_lives(leader):
    """Whether a process of its group runs; nobody may be there to reap the dead ones."""
    stats = [stat_of(entry.name) for entry in pathlib.Path("/proc").iterdir() if entry.name.isdigit()]
    return any(stat and int(stat[2]) == leader and stat[0] not in "ZX" for stat in stats)


def test_the_page_has_lines():
    assert len(LINES) > 40 and len(re.findall(r"^\.Dl", PAGE, re.M)) == len(LINES)


@one_engine
def test_every_line_that_dials(tenon, network, typed, authority):
    pair = authority.pair("server")
    inside = {"preexec_fn": network.enter}
    tenon.serve("tcp://localhost:9000", "udp://localhost:9000", f"tls://localhost:9443?{pair}&alpn=h2",
                "ws://localhost:9080/", f"unix:{tenon.folder}/app.sock", listeners=9,
                options=["--handler", "echo"], **inside)
    tenon.serve("tcp://localhost:9009", listeners=2, options=["--handler", "discard"], **inside)
    tenon.serve("tcp://localhost:9019", listeners=2, options=["--handler", "chargen"], **inside)
    tenon.serve("tcp://localhost:9029", "udp://localhost:9029", listeners=4, options=["--handler", "count"], **inside)
    for line in LINES:
        if SERVES.search(line):
            continue
        process = typed(line)
        if " --iface " in line:
            with network.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
                sock.connect(("127.0.0.1", 9000))
                process.wait_for_text("listening on|capturing|")
                wait_until(lambda: sock.send(b"x") and process.is_over(), line)
        process.wait(None)
        assert process.popen.returncode == 0, f"{line}: {process.popen.returncode}: {process.err}"


@one_engine
@pytest.mark.parametrize("line", [line for line in LINES if SERVES.search(line)])
def test_every_line_that_serves(tenon, network, typed, line):
    tenon.serve("tcp://localhost:9000", listeners=2, preexec_fn=network.enter)
    process = typed(line)
    wait_until(lambda: "listening" in process.err or "listening" in process.out.decode() or process.is_over(), line)
    assert not process.is_over(), f"{line}: {process.err}"
    if "unix:" in line:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(f"{tenon.folder}/new.sock")
    else:
        sock = network.socket(socket.AF_INET, socket.SOCK_DGRAM if "udp://" in line else socket.SOCK_STREAM)
        sock.connect(("127.0.0.1", 9001))
    with sock:
        sock.settimeout(LIMIT)
        sock.send(b"x")
    end(process)
    assert process.popen.returncode != USAGE, process.err
