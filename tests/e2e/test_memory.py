"""shm: streams through shared memory, as the command uses them: every side is a process of its own."""
import json
import os
import pathlib
import re
import resource
import signal
import socket
import stat
import subprocess

import pytest

from harness import KIB, MIB, OPTIONS, noise, wait_until
from test_attack import one_engine
from test_inspect import inspected

pytestmark = pytest.mark.skipif(OPTIONS["shm"] == "disabled", reason="a build without shm")

USAGE = 2
DATA = noise(2 * MIB + 17, 5)


def url_in(tenon, name="s", keys=""):
    return f"shm:{tenon.folder}/{name}{keys}"


@pytest.mark.parametrize("keys", ["", "?ring=4KiB", "?ring=1MiB"])
def test_echo_of_every_size(tenon, keys):
    server = tenon.serve(url_in(tenon, keys=keys), options=("--json",))
    assert server.url.startswith("shm:/")
    for size in [1, 64, 4095, 4096, 4097, 64 * KIB, MIB + 1]:
        data = noise(size, size)
        assert tenon.run("send", server.url, input=data).out == data
    opened = [event for event in server.events if event["event"] == "open"]
    assert opened and all(event["peer"] for event in opened)
    server.stop()
    assert not (tenon.folder / "s").exists()


def test_an_abstract_name(tenon):
    server = tenon.serve(f"shm:@{tenon.name}")
    assert tenon.run("send", server.url, input=DATA).out == DATA


def test_frames_and_formats(tenon):
    server = tenon.serve(url_in(tenon, keys="?frame=u16&format=json"))
    keys = "?frame=u16&format=json"
    assert tenon.run("send", server.url.partition("?")[0] + keys, '{"a":[1,2]}').out == b'{"a":[1,2]}\n'
    assert b"ends early" in tenon.run("send", server.url.partition("?")[0] + "?frame=u16", "{", status=None).out


def test_several_loops(tenon):
    server = tenon.serve(url_in(tenon), options=("--threads", "2"))
    clients = [tenon.start("send", server.url, stdin=tenon.opened(tenon.file(f"in{i}", noise(100 * KIB, i))))
               for i in range(6)]
    for i, client in enumerate(clients):
        client.wait()
        assert client.out == noise(100 * KIB, i)


def test_commands_behind_it(tenon):
    server = tenon.serve(url_in(tenon), options=("--handler", "exec:tr a-z A-Z"))
    assert tenon.run("send", server.url, input=b"hello").out == b"HELLO"


@pytest.mark.parametrize("listen, target", [("shm", "tcp"), ("tcp", "shm"), ("shm", "shm"), ("unix", "shm")])
def test_relays(tenon, listen, target):
    def at(scheme, name):
        return "tcp://127.0.0.1:0" if scheme == "tcp" else f"{scheme}:{tenon.folder}/{name}"
    server = tenon.serve(at(target, "target"))
    relay = tenon.relay(at(listen, "front"), server.url)
    assert tenon.run("send", relay.url, input=DATA).out == DATA
    relay.wait_for_event("session")
    relay.stop()


def test_bench(tenon):
    server = tenon.serve(url_in(tenon))
    for options in (["--conns", "8"], ["--size", "64KiB", "--depth", "4"], ["--mode", "connect"]):
        result = json.loads(tenon.run("bench", server.url, "--json", "--duration", "150ms", "--warmup", "0s",
                                      *options).lines[-1])
        assert result["errors"] == 0 and result["messages"] + result.get("connections", 0) > 0


def test_its_socket_is_listed(tenon):
    server = tenon.serve(url_in(tenon))
    found = [sock for sock in inspected(tenon, str(server.pid)) if sock.get("fd") is not None]
    assert any("unix" in json.dumps(sock) and str(tenon.folder / "s") in json.dumps(sock) for sock in found)


def test_who_may_connect(tenon):
    server = tenon.serve(url_in(tenon, keys="?mode=600"))
    assert stat.S_IMODE(os.stat(tenon.folder / "s").st_mode) == 0o600
    assert b"" == tenon.run("send", server.url.partition("?")[0], "").out.strip()


def test_a_path_that_is_taken(tenon):
    tenon.serve(url_in(tenon))
    taken = tenon.run("serve", url_in(tenon), status=1)
    assert "another process serves this socket" in taken.err
    (tenon.folder / "file").write_text("mine")
    assert tenon.run("serve", url_in(tenon, "file"), status=1).err
    assert (tenon.folder / "file").read_text() == "mine"


def limited(kind, size):
    return lambda: resource.setrlimit(kind, (size, size))


@one_engine
@pytest.mark.parametrize("kind, size, words", [
    pytest.param(resource.RLIMIT_FSIZE, 64 * KIB, "shared memory: .*ulimit -f.*key ring", id="file"),
    pytest.param(resource.RLIMIT_AS, 512 * MIB, "shared memory: .*ulimit -v.*key ring", id="addresses",
                 marks=pytest.mark.skipif("TENON_SANITIZED" in os.environ, reason="sanitizers need addresses"))])
def test_limits_of_a_process(tenon, kind, size, words):
    """They refuse one connection with words, and no signal comes."""
    server = tenon.serve(url_in(tenon, keys="?ring=1GiB"), url_in(tenon, "small", "?ring=4KiB"), options=("--json",),
                         preexec_fn=limited(kind, size))
    assert tenon.run("send", url_in(tenon), "hello", status=1).err
    assert re.search(words, server.wait_for_event("trouble")["error"])
    assert tenon.run("send", url_in(tenon, "small"), input=b"others").out == b"others"


@pytest.fixture
def tight():
    """A memory cgroup of 32 MiB in which nobody is killed: only version 1 can be told so."""
    folder = pathlib.Path(f"/sys/fs/cgroup/memory/tenon-e2e-{os.getpid()}")
    try:
        folder.mkdir()
    except OSError as e:
        pytest.skip(f"no memory cgroup of version 1 here, and at a limit of version 2 the kernel kills: {e}")
    try:
        (folder / "memory.limit_in_bytes").write_text("32M", encoding="ascii")
        (folder / "memory.oom_control").write_text("1", encoding="ascii")
        yield folder
    finally:
        wait_until(lambda: not (folder / "cgroup.procs").read_text(encoding="ascii"), "its processes have ended")
        folder.rmdir()


@one_engine
@pytest.mark.skipif("TENON_SANITIZED" in os.environ, reason="sanitizers need memory")
def test_limit_of_memory(tenon, tight):
    """A ring for which there are no pages when it is first written ends its connection alone."""
    server = tenon.serve(url_in(tenon, keys="?ring=64MiB"), url_in(tenon, "small", "?ring=4KiB"), options=("--json",))
    (tight / "cgroup.procs").write_text(str(server.pid), encoding="ascii")
    tenon.run("send", url_in(tenon), "hello", status=1)
    assert "key ring" in server.wait_for_event("close")["error"]
    assert tenon.run("send", url_in(tenon, "small"), input=b"others").out == b"others"
    server.stop()


@one_engine
def test_a_path_that_is_squatted(tenon):
    """Nothing that is there is taken away, and the error names it; what a dead server has left is replaced."""
    def folder(at):
        at.mkdir()

    def link(at):
        at.symlink_to(tenon.folder / "nowhere")

    def dead(at):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(at))

    for i, make in enumerate([folder, link, os.mkfifo]):
        at = tenon.folder / f"squatted{i}"
        make(at)
        before = os.lstat(at)
        assert str(at) in tenon.run("serve", f"shm:{at}", status=1).err
        assert os.lstat(at).st_ino == before.st_ino and os.lstat(at).st_mode == before.st_mode
    dead(tenon.folder / "s")
    tenon.serve(url_in(tenon))
    assert tenon.run("send", url_in(tenon), input=DATA).out == DATA


def holds_memory(pid):
    return any("memfd:" in os.readlink(entry) for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir())


@one_engine
def test_its_socket_inherited(tenon):
    """fd:N is what its descriptor is, a Unix stream: both ends are told, and descriptors that come are closed."""
    server = tenon.serve(url_in(tenon), options=("--json",))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(tenon.folder / "s"))
        client = tenon.start("connect", f"fd:{sock.fileno()}", stdin=subprocess.PIPE, pass_fds=[sock.fileno()])
        client.wait_for_text("tenonshm", where="out")
        assert mapped(client.pid) == 0 and not holds_memory(client.pid)
        client.kill()
    assert "reset" in json.dumps(server.wait_for_event("close"))
    ours, theirs = socket.socketpair()
    with ours, theirs, open(os.memfd_create("any"), "wb") as memory:
        plain = tenon.start("serve", f"fd:{theirs.fileno()}", pass_fds=[theirs.fileno()])
        socket.send_fds(ours, [b"tenonshm"], [memory.fileno()])
        assert ours.recv(100) == b"tenonshm"
        assert not holds_memory(plain.pid)
        plain.kill()
    assert tenon.run("send", server.url, input=b"others").out == b"others"


def talker(tenon, server):
    """A client that has had an answer, and what it reads from."""
    read, write = os.pipe()
    client = tenon.start("connect", server.url, stdin=read)
    os.close(read)
    feed = tenon.cleanups.enter_context(os.fdopen(write, "wb", 0))
    feed.write(b"hello\n")
    client.wait_for_text("hello", where="out")
    return client, feed


def mapped(pid):
    return pathlib.Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").count("tenon-shm")


def test_what_a_connection_holds(tenon):
    """One descriptor and one piece of memory, for as long as it is there."""
    server = tenon.serve(url_in(tenon))
    before = len(os.listdir(f"/proc/{server.pid}/fd"))
    clients = [talker(tenon, server) for _ in range(3)]
    assert len(os.listdir(f"/proc/{server.pid}/fd")) == before + 3
    assert mapped(server.pid) == 3
    for client, feed in clients:
        feed.close()
        client.wait()
    wait_until(lambda: mapped(server.pid) == 0, "it is unmapped")
    assert len(os.listdir(f"/proc/{server.pid}/fd")) == before


def test_a_client_that_is_killed(tenon):
    server = tenon.serve(url_in(tenon), options=("--json",))
    client, _ = talker(tenon, server)
    client.signal(signal.SIGKILL)
    assert "reset" in json.dumps(server.wait_for_event("close"))
    assert tenon.run("send", server.url, input=b"others").out == b"others"


def test_a_server_that_is_killed(tenon):
    server = tenon.serve(url_in(tenon))
    client, _ = talker(tenon, server)
    server.signal(signal.SIGKILL)
    client.wait(status=1)
    assert "reset" in client.err
    (tenon.folder / "s").unlink()


def test_what_is_no_server_of_it(tenon):
    listener = tenon.listen(socket.AF_UNIX, str(tenon.folder / "s"))
    client = tenon.start("send", url_in(tenon), "hello")
    other = tenon.accept(listener)
    other.sendall(b"220 mail.example ESMTP\r\n")
    client.wait(status=1)
    assert "does not serve shm" in client.err
    client = tenon.start("send", url_in(tenon, keys="?connect=50ms"), "hello")
    client.wait(status=3)
    assert "timed out after 50ms" in client.err and "has said nothing" in client.err
    (tenon.folder / "s").unlink()


@pytest.mark.parametrize("url, words", [
    ("shm:/s?ring=4095", "ring"), ("shm:/s?ring=2GiB", "ring"), ("shm:/s?ring=0", "ring"), ("shm:/s?ring=x", "ring"),
    ("unix:/s?ring=64KiB", "applies to shm endpoints only"), ("shm://host:1", "shm:"), ("shm:", "path"),
    ("shmem:/s", "shm")])
def test_what_cannot_be(tenon, url, words):
    assert words in tenon.run("serve", url, status=USAGE).err


def test_the_ring_is_the_servers(tenon):
    assert "served endpoints only" in tenon.run("send", "shm:/s?ring=64KiB", "x", status=USAGE).err
