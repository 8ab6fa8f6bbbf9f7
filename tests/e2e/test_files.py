"""The schemes file, tty and pty: files that are read, written and followed; terminals, with socat at the other end."""
import contextlib
import os
import re
import subprocess
import termios
import threading
import time

import pytest

from harness import SANITIZED, cpu_seconds, noise, receive_exactly, wait_until

FAILED, USAGE = 1, 2
MIB = noise(1 << 20)


# Files

def test_a_file_is_read(tenon, tmp_path):
    (tmp_path / "in").write_bytes(MIB)
    assert tenon.run("connect", f"file:{tmp_path}/in").out == MIB
    assert tenon.run("connect", "file:in", cwd=tmp_path).out == MIB


@pytest.mark.parametrize("opened, left", [("write", MIB), ("append", b"before" + MIB)],
                         ids=["write", "append"])
def test_a_file_is_written(tenon, tmp_path, opened, left):
    (tmp_path / "out").write_bytes(b"before")
    tenon.run("connect", f"file:{tmp_path}/out?open={opened}", input=MIB)
    assert (tmp_path / "out").read_bytes() == left
    tenon.run("connect", f"file:{tmp_path}/new?open={opened}", input=b"x")
    assert (tmp_path / "new").read_bytes() == b"x"


def test_a_log_that_gets_a_message(tenon, tmp_path):
    for word in ("one", "two"):
        tenon.run("send", "--no-reply", f"file:{tmp_path}/log?open=append&frame=line", word)
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"


def test_a_file_that_grows_shrinks_and_is_replaced(tenon, tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    follower = tenon.start("connect", f"file:{path}?open=follow")

    def comes(text):
        wait_until(lambda: follower.out.endswith(text), text)
    comes(b"one\n")
    with path.open("ab") as file:
        file.write(b"two\n")
    comes(b"one\ntwo\n")
    path.write_bytes(b"3\n")
    comes(b"two\n3\n")
    path.rename(tmp_path / "log.1")
    with (tmp_path / "log.1").open("ab") as file:
        file.write(b"late\n")
    comes(b"3\nlate\n")
    path.write_bytes(b"another\n")
    comes(b"late\nanother\n")
    path.unlink()
    path.write_bytes(b"again\n")
    comes(b"another\nagain\n")
    assert follower.out == b"one\ntwo\n3\nlate\nanother\nagain\n"
    assert not follower.is_over()


@pytest.mark.skipif(SANITIZED, reason="under a sanitizer the CPU time is not the command's own")
def test_a_file_that_has_grown_is_waited_for_again(tenon, tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    follower = tenon.start("connect", f"file:{path}?open=follow")
    wait_until(lambda: follower.out == b"one\n", "the file")
    with path.open("ab") as file:
        file.write(b"two\n")
    wait_until(lambda: follower.out == b"one\ntwo\n", "what was appended")
    before = cpu_seconds(follower.pid)
    time.sleep(1)
    assert cpu_seconds(follower.pid) - before <= 0.05


@pytest.mark.parametrize("url, why, status", [
    ("file:", "the path is missing", USAGE), ("file:x?open=reed", "did you mean 'read'", USAGE),
    ("file:x?baud=300", "tty and pty", USAGE), ("tty:x?open=read", "files (file:/path) only", USAGE),
    ("tty:x?baud=fast", "integer", USAGE), ("tty:x?databits=9", "out of range (5 to 8)", USAGE),
    ("tty:x?parity=evn", "did you mean 'even'", USAGE), ("tty:x?stopbits=3", "1 to 2", USAGE),
    ("tty:x?flow=hard", "none|rtscts|xonxoff", USAGE), ("tty:x?echo=maybe", "on|off", USAGE),
    ("tty:x?nodelay=on", "nodelay", USAGE), ("serial:/dev/ttyS0", "did you mean 'tty'", USAGE),
    ("tty:x?speed=9600", "baud", USAGE), ("file://host/x", "a path has no host", USAGE),
    ("file:{0}/none", "No such file", FAILED), ("file:{0}", "Is a directory", FAILED),
    ("file:{0}/pipe", "a pipe is no file", FAILED), ("file:{0}/pipe?open=follow", "regular file", FAILED),
    ("tty:{0}/file", "this is no terminal", FAILED), ("tty:{0}/none", "No such file", FAILED),
    ("pty:{0}/file", "File exists", FAILED), ("pty:{0}/none/link", "No such file", FAILED)])
def test_what_cannot_be(tenon, tmp_path, url, why, status):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"kept")
    assert re.search(re.escape(why), tenon.run("connect", url.format(tmp_path), status=status).err, re.I)
    assert (tmp_path / "file").read_bytes() == b"kept"


@pytest.mark.parametrize("url", ["file:x", "tty:/dev/ttyS0", "pty:x"])
def test_they_are_not_served(tenon, url):
    assert "dialled" in tenon.run("serve", url, status=USAGE).err


# Terminals

@pytest.fixture
def pair(tenon, program, tmp_path):
    """Two terminals that socat connects: what is written to one is read from the other."""
    ends = tmp_path / "a", tmp_path / "b"
    process = tenon.peer(program("socat"), *(f"PTY,rawer,link={end}" for end in ends))
    wait_until(lambda: all(end.exists() for end in ends), "both terminals are there")
    return (*ends, process)


@contextlib.contextmanager
def terminal(path):
    """A terminal that is open and raw, as its number."""
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
    mode = termios.tcgetattr(fd)
    mode[0] = mode[1] = mode[3] = 0
    termios.tcsetattr(fd, termios.TCSANOW, mode)
    try:
        yield fd
    finally:
        os.close(fd)


def exchange(process, fd):
    """1 MiB each way at one time."""
    got = bytearray()

    def receive():
        while len(got) < len(MIB):
            got.extend(os.read(fd, 65536))
    reader = threading.Thread(target=receive, daemon=True)
    reader.start()
    done = 0
    while done < len(MIB):
        done += os.write(fd, MIB[done:done + 4096])
    wait_until(lambda: len(process.out) >= len(MIB), "all has come")
    reader.join(60)
    assert process.out == MIB and bytes(got) == MIB


def test_a_tty_loses_nothing(tenon, pair):
    a, b, _ = pair
    with terminal(b) as fd:
        process = tenon.start("connect", f"tty:{a}?baud=115200", stdin=tenon.file("in", MIB).open("rb"))
        exchange(process, fd)


def test_a_pty_loses_nothing(tenon, program, tmp_path):
    link = tmp_path / "link"
    process = tenon.start("connect", f"pty:{link}", stdin=tenon.file("in", MIB).open("rb"))
    wait_until(link.is_symlink, "the link is there")
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "echo"])
    socat = tenon.peer(program("socat"), f"{link},rawer", f"TCP:127.0.0.1:{server.port}")
    wait_until(lambda: len(process.out) == len(MIB), "all has come back")
    assert process.out == MIB
    socat.end() if hasattr(socat, "end") else socat.signal(15)
    process.wait()
    assert not link.is_symlink()


def test_settings_as_stty_sees_them(tenon, pair, program):
    a, _, _ = pair
    process = tenon.start("connect", f"tty:{a}?baud=9600&stopbits=2&flow=xonxoff&echo=on&onlcr=on&opost=on&hupcl=on",
                          stdin=subprocess.PIPE)
    def stty():
        return tenon.finish([program("stty"), "-a", "-F", a]).text
    wait_until(lambda: "speed 9600 baud" in stty(), "it is set")
    words = set(re.split(r"[\s;]+", stty()))
    assert {"cstopb", "ixon", "ixoff", "echo", "onlcr", "opost", "hupcl", "-icanon", "-isig", "-icrnl",
            "clocal"} <= words
    assert not process.is_over()


def test_a_device_that_vanishes(tenon, pair):
    a, _, socat = pair
    process = tenon.start("connect", f"tty:{a}", stdin=subprocess.PIPE)
    wait_until(lambda: any(os.path.realpath(a) == os.path.realpath(f"/proc/{process.pid}/fd/{fd}")
                           for fd in os.listdir(f"/proc/{process.pid}/fd")), "it is open")
    socat.signal(15)
    socat.wait(None)
    process.wait(FAILED)
    assert "Input/output error" in process.err


def test_a_relay_between_a_port_and_a_tty(tenon, pair):
    a, b, _ = pair
    relay = tenon.relay("tcp://127.0.0.1:0?drain=100ms", f"tty:{a}?idle=200ms",
                        options=["--json", *(["--user", "root"] if os.geteuid() == 0 else [])])
    with terminal(b) as fd, tenon.dial(relay.urls[0]) as client:
        client.sendall(b"question")
        assert os.read(fd, 100) == b"question"
        os.write(fd, b"answer")
        assert receive_exactly(client, 6) == b"answer"


def test_a_link_is_replaced_only_if_it_leads_nowhere(tenon, tmp_path):
    link = tmp_path / "link"
    link.symlink_to("/dev/pts/99999")
    process = tenon.start("connect", "--exit-on-end", f"pty:{link}", stdin=subprocess.PIPE)
    wait_until(lambda: link.exists(), "it is replaced")
    assert "File exists" in tenon.run("connect", f"pty:{link}", status=FAILED).err
    with terminal(link) as fd:
        os.write(fd, b"x")
        wait_until(lambda: process.out == b"x", "it is read")
    process.wait()
    assert not link.is_symlink()
