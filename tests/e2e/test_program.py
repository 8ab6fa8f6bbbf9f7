"""The scheme exec: a program that is dialled, and ends with its connection."""
import os
import resource
import signal
import socket
import subprocess

import pytest

import system
from harness import MIB, is_running, noise, receive_to_end, wait_until

FAILED, USAGE = 1, 2
one_engine = pytest.mark.parametrize("engine", ["auto"], indirect=True)
AS_ROOT = ["--user", "root"] if os.geteuid() == 0 else []


def ended(pid):
    wait_until(lambda: not is_running(pid), f"{pid} ends")


def test_20_mib_both_ways(tenon):
    data = noise(20 * MIB)
    assert tenon.run("connect", "exec:cat", input=data).out == data


@one_engine
def test_how_it_ends(tenon):
    """Of connect and send: what comes, the status, what is said."""
    for command, input, output, status, said in [
            ("sort", b"b\na\n", b"a\nb\n", 0, ""),
            ("tr a-z A-Z | rev", b"abc\n", b"CBA\n", 0, ""),
            ("head -1", b"1\n" + bytes(MIB), b"1\n", 0, ""),  # what it does not read is its own business
            ("echo a; exec >&- <&-; exit 3", b"x", b"a\n", FAILED, "ended with status 3"),
            ("cat; kill -9 $$", b"x", b"x", FAILED, "signal 9, SIGKILL"),
            ("/no/such/program", b"", b"", FAILED, "status 127: it was not found"),
            ("echo $TENON_PEER%3F; stty", b"", b"?\n", FAILED, "standard input")]:
        done = tenon.run("connect", f"exec:{command}", input=input, status=status)
        assert (done.out, said in done.err, bool(done.err)) == (output, True, bool(said)), (command, done)
    assert tenon.run("send", "exec:sed -u s,^,+,?frame=line", "abc", "de").lines == ["+abc", "+de"]
    assert "status 4" in tenon.run("send", "exec:cat; exit 4", "abc", status=FAILED).err


@one_engine
def test_what_cannot_be(tenon):
    for command, url, why in [
            ("connect", "exec:", "the command is missing"), ("connect", "exec://cat", "exec:/bin/date"),
            ("connect", "exec:cat?open=read", "files (file:/path) only"), ("connect", "exec:cat?nodelay=on", "nodelay"),
            ("connect", "exec:a%00b", "zero byte"), ("connect", "system:cat", "did you mean 'exec'"),
            ("serve", "exec:cat", "--handler exec:COMMAND")]:
        assert why in tenon.run(command, url, status=USAGE).err


@one_engine
def test_it_ends_with_its_connection(tenon):
    """Also if it ignores signals, leaves somebody behind, or has closed its side."""
    for command in ["trap '' TERM; echo $$; while :; do sleep 1; done",
                    "echo $$; sleep 1000; :", "sleep 1000 & echo $!; exit 2",
                    "echo $$; exec >&- <&-; exec sleep 1000"]:
        done = tenon.run("connect", "--count", "1", f"exec:{command}?frame=line&drain=100ms")
        assert done.err == ""
        ended(int(done.out))
    process = tenon.start("connect", "exec:echo $$; exec sleep 1000?drain=1h")
    pid = int(process.wait_for_text(r"^\d+$", where="out")[0])
    wait_until(lambda: process.is_over() or process.signal(signal.SIGINT), "the second one ends both")
    ended(pid)


@one_engine
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_who_wants_to_leave_does_not_wait_for_another_users_program(tenon, program):
    process = tenon.start("connect", f"exec:echo $$; exec {program('setpriv')} --reuid 65534 sleep 1000?drain=1h",
                          stdin=subprocess.PIPE, preexec_fn=system.never_kill)
    pid = int(process.wait_for_text(r"^\d+$", where="out")[0])
    try:
        wait_until(lambda: os.stat(f"/proc/{pid}").st_uid == 65534, "it is another user's")
        process.signal(signal.SIGINT)
        wait_until(lambda: process.is_over() or process.signal(signal.SIGINT), "the second one ends it")
        assert is_running(pid)
    finally:
        os.kill(pid, signal.SIGKILL)
        ended(pid)


@one_engine
def test_a_relays_target(tenon, program):
    """For each client a program of its own, which knows for whom; how it has ended stands in the event."""
    relay = tenon.relay("tcp://127.0.0.1:0", "exec:echo $TENON_PEER; cat; exit 5", options=["--json", *AS_ROOT])
    answers = [tenon.finish([program("socat"), "-t", "10", "-", f"TCP:127.0.0.1:{relay.port}"], input=b"abc").lines
               for _ in range(2)]
    told = [relay.wait_for_event("session", client=peer) for peer, said in answers if said == "abc"]
    assert len(told) == 2
    event = told[0]
    assert (event["reason"], event["status"], event["signal"]) == ("command", 5, None)
    assert event["error"] == "the command ended with status 5" and event["target"].startswith("exec:echo")


@one_engine
def test_a_relays_client_that_does_not_end(tenon):
    """The program has ended, so its client is not waited for; and one that is reset takes its program along."""
    relay = tenon.relay("tcp://127.0.0.1:0", "exec:echo $$; read x; kill -USR1 $$", options=["--json", *AS_ROOT])
    client = tenon.dial(relay.url)
    client.sendall(b"\n")
    receive_to_end(client)
    assert relay.wait_for_event("session")["signal"] == "USR1"
    client = tenon.dial(relay.url)
    pid = int(client.recv(100))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    ended(pid)
    assert relay.wait_for_event("session", reason="reset")["status"] is None


@one_engine
def test_it_may_open_as_many_files_as_its_parents_parent_has_said(tenon):
    """A relay raises its own limit, which a program gets back."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    relay = tenon.relay("tcp://127.0.0.1:0", "exec:echo $(ulimit -Sn) $(ulimit -Hn) '%3F', $0; exit 3",
                        options=["--json", *AS_ROOT],
                        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (hard - 10, hard)))
    assert receive_to_end(tenon.dial(relay.url)).decode() == f"{hard - 10} {hard} ?, /bin/sh\n"
    assert relay.wait_for_event("session")["status"] == 3
