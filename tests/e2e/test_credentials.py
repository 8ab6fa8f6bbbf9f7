"""Who is at the other end of a Unix socket: events, lists of users and groups, what commands are told."""
import os
import shutil
import signal
import socket

import pytest

from harness import COMMAND, wait_until
from system import let_others_reach

one_engine = pytest.mark.parametrize("engine", ["auto"], indirect=True)

STRANGERS = 54321
SCHEMES = ["unix", "unix-seqpacket", "shm", "ws+unix"]


@pytest.fixture
def stranger(tenon):
    """stranger(url): what a user and group 54321, who is in the groups 54322 and 54323 besides, is answered. The
    command may stand where only its owner comes: the stranger has a copy."""
    if os.geteuid() != 0:
        pytest.skip("another user is needed: only root becomes one")
    command = shutil.copy(COMMAND, tenon.folder / "tenon")

    def become():
        os.setgroups([54322, 54323])
        os.setresgid(STRANGERS, STRANGERS, STRANGERS)
        os.setresuid(STRANGERS, STRANGERS, STRANGERS)
    return lambda url: tenon.finish([command, "send", url, "x"], status=None, preexec_fn=become, cwd="/").out


def serve(tenon, scheme, keys="", **how):
    os.chmod(tenon.folder, 0o755)
    let_others_reach(tenon.folder)
    return tenon.serve(f"{scheme}:{tenon.folder}/sock?mode=777{keys}", options=["--json"], **how)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_event_tells(tenon, scheme):
    server = serve(tenon, scheme)
    client = tenon.start("send", server.url, "x")
    client.wait(0)
    said = server.wait_for_event("open")
    assert said["peer_pid"] == client.popen.pid
    assert (said["peer_uid"], said["peer_gid"]) == (os.geteuid(), os.getegid())
    assert "peer_label" in said


def test_others_have_none(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--json"])
    tenon.run("send", server.url, "x")
    assert "peer_uid" not in server.wait_for_event("open")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("keys, ours, others", [
    ("allow=user:root", True, False), ("allow=user:0,user:54321", True, True), ("allow=user:65534", False, False),
    ("allow=group:0", True, False), ("allow=group:54322", False, True), ("allow=unix&deny=user:54321", True, False),
    ("deny=group:54323", True, False), ("allow=group:root,user:54321&deny=group:54323", True, False)])
def test_lists(tenon, stranger, scheme, keys, ours, others):
    server = serve(tenon, scheme, f"&{keys}")
    assert tenon.run("send", server.url, "x", status=None).out == (b"x\n" if ours else b"")
    assert stranger(server.url) == (b"x\n" if others else b"")


@one_engine
def test_a_file_that_changes(tenon, stranger):
    """Names in it are known in the sandbox, too."""
    path = tenon.file("list", b"user:root # us\n")
    server = serve(tenon, "unix", f"&allow={path}")
    assert stranger(server.url) == b""
    with open(path, "wb") as file:
        file.write(b"user:54321\nuser:root\n")
    server.popen.send_signal(signal.SIGHUP)
    wait_until(lambda: stranger(server.url) == b"x\n", "the list")
    assert tenon.run("send", server.url, "x").out == b"x\n"


@one_engine
@pytest.mark.parametrize("url, words", [
    ("unix:/x?allow=user:no-such-user", "there is no user 'no-such-user'"),
    ("unix:/x?deny=root,group:", "no address or network"), ("unix:/x?deny=group:", "has no name"),
    ("unix:/x?deny=group:no-such-group", "there is no group"), ("unix:/x?allow=user:4294967295", "there is no user"),
    ("tcp://127.0.0.1:0?allow=user:root", "unix, unix-seqpacket and shm alone"),
    ("unix-dgram:/x?allow=user:root", "unix, unix-seqpacket and shm alone"),
    ("unix:/x?proxy=accept&trust=user:root", "allow and deny only")])
def test_bad_lists(tenon, url, words):
    assert words in tenon.run("serve", url, status=2).err


def test_commands_are_told(tenon):
    os.environ["TENON_PEER_UID"] = "7"  # of a tenon above this one
    try:
        server = tenon.serve(f"unix:{tenon.folder}/sock", "tcp://127.0.0.1:0", listeners=2,
                             options=["--handler", 'exec:echo "$TENON_PEER_UID $TENON_PEER_GID $TENON_PEER_PID"'])
    finally:
        del os.environ["TENON_PEER_UID"]
    client = tenon.dial(server.urls[0])
    assert client.recv(100).decode() == f"{os.geteuid()} {os.getegid()} {os.getpid()}\n"
    assert tenon.dial(server.urls[1]).recv(100) == b"  \n"


def test_a_relay_between_unix_and_tcp(tenon):
    """The side that is a Unix socket has credentials, whichever it is."""
    path = f"unix:{tenon.folder}/target"
    target = tenon.serve(path)
    listener = tenon.listen()
    to_unix = tenon.relay("tcp://127.0.0.1:0", path)
    tenon.run("send", to_unix.url, "x")
    said = to_unix.wait_for_event("session")
    assert said["target_pid"] == target.popen.pid and said["target_uid"] == os.geteuid()
    assert "client_uid" not in said
    from_unix = tenon.relay(f"unix:{tenon.folder}/front", f"tcp://127.0.0.1:{listener.getsockname()[1]}")
    client = tenon.dial(from_unix.url)
    tenon.accept(listener).close()
    client.close()
    said = from_unix.wait_for_event("session")
    assert said["client_pid"] == os.getpid() and said["client_gid"] == os.getegid() and "target_uid" not in said


@one_engine
def test_a_client_that_has_gone(tenon):
    """Its credentials are those of when it connected."""
    server = tenon.serve(f"unix:{tenon.folder}/sock?allow=user:{os.geteuid()}", options=["--json"])
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{tenon.folder}/sock")
    assert server.wait_for_event("open")["peer_uid"] == os.geteuid()
