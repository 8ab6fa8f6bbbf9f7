"""A client of redis under faults, for pytest: `pytest examples/chaos`. Needs redis-server; TENON=build/tenon, or PATH.

The relay is a fixture that takes specs of --chaos, so that a test of your own program is the last ten lines.
"""
import contextlib
import os
import shutil
import socket
import subprocess
import time

import pytest

TENON = os.environ.get("TENON", "tenon")


@contextlib.contextmanager
def running(argv, path):
    """A server that listens at a Unix socket when this begins, and has ended when it ends."""
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    try:
        while not os.path.exists(path):
            assert process.poll() is None, f"{argv[0]} has ended"
            time.sleep(0.01)
        yield path
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def redis(tmp_path):
    if not shutil.which("redis-server"):
        pytest.skip("redis-server is not installed")
    path = f"{tmp_path}/redis"
    with running(["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", tmp_path], path):
        yield path


@pytest.fixture
def through(redis, tmp_path):
    """through("latency=10ms", ...) is a path at which redis is reached under these faults."""
    with contextlib.ExitStack() as stack:
        def begin(*specs):
            front = f"{tmp_path}/front"
            chaos = [word for spec in specs for word in ("--chaos", spec)]
            return stack.enter_context(running([TENON, "relay", f"unix:{front}", f"unix:{redis}", *chaos], front))
        yield begin


def ask(path, command, tries=1):
    """The program under test: a client that tries again."""
    for left in reversed(range(tries)):
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(10)
                client.connect(path)
                client.sendall(command + b"\r\n")
                reply = b""
                while not reply.endswith(b"\r\n"):
                    reply += client.recv(4096) or pytest.fail("the reply is cut short")
                return reply
        except OSError:
            if not left:
                raise


def test_replies_come_in_pieces(through):
    assert ask(through("latency=2ms,slice=1,slice-delay=1ms"), b"PING") == b"+PONG\r\n"


def test_it_tries_again(through):
    path = through("refuse,first=2")
    assert ask(path, b"SET a 1", tries=3) == b"+OK\r\n"


def test_a_reply_that_is_cut_is_noticed(through):
    with pytest.raises(pytest.fail.Exception):
        ask(through("down.limit=3"), b"PING")
