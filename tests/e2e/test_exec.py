"""exec:COMMAND: a child for each connection, and never one too long."""
import contextlib
import os
import re
import resource
import select
import signal
import socket
import subprocess
import time

import pytest

from harness import (KIB, MIB, children_of, dial_when_served, exchange, is_running, is_zombie, noise, open_socket,
                     receive_exactly, receive_to_end, receive_to_reset, reset, send_until_stuck, wait_until)
from system import limit_files


@pytest.fixture
def run_for_each(tenon):
    """Serves with exec:COMMAND."""
    def start(command, url="tcp://127.0.0.1:0", **how):
        return tenon.serve(url, options=["--handler", f"exec:{command}"], **how)
    return start


def child_of(server):
    return wait_until(lambda: children_of(server.pid), "a child runs")[0]


def has_ended(pid):
    wait_until(lambda: not is_running(pid), f"child {pid} ends")
    wait_until(lambda: not is_zombie(pid), f"child {pid} is reaped")


def test_cat(tenon, run_for_each):
    server = run_for_each("cat")
    assert server.handlers == ["exec"] or server.handlers == ["exec:cat"]
    for size in (0, 1, 16, 65536, 65537, MIB):
        with open_socket(server.url) as client:
            assert exchange(client, noise(size), finish=True) == noise(size)


def test_tr(tenon, run_for_each):
    server = run_for_each("tr a-z A-Z")
    assert exchange(tenon.dial(server.url), b"hello, world\n", finish=True) == b"HELLO, WORLD\n"


@pytest.mark.parametrize("url", ["unix:{}/sock", "unix-seqpacket:{}/sock", "mptcp://127.0.0.1:0", "tcp://[::1]:0"])
def test_on_every_stream(tenon, run_for_each, url):
    server = run_for_each("rev", url.format(tenon.folder))
    client = tenon.dial(server.url)
    client.sendall(b"hello\n")
    client.shutdown(socket.SHUT_WR)
    assert receive_to_end(client) == b"olleh\n"


def test_the_command_is_a_shells(tenon, run_for_each):
    server = run_for_each("read name; echo \"Good day, $name\" | tr a-z A-Z; cat")
    client = tenon.dial(server.url)
    client.sendall(b"reader\nand the rest")
    client.shutdown(socket.SHUT_WR)
    assert receive_to_end(client) == b"GOOD DAY, READER\nand the rest"


@pytest.mark.parametrize("command", ["cat", "tee /dev/null | cat"])
def test_20_mib_both_ways(tenon, run_for_each, command):
    """More than all buffers on the way hold, in both directions at once: nobody may wait for the other for ever."""
    server = run_for_each(command)
    data = noise(20 * MIB)
    assert exchange(tenon.dial(server.url), data, finish=True) == data


def test_a_client_that_sends_all_before_it_reads(tenon, run_for_each):
    """The child is held up by its own unread output, so the client is; once it reads, all flows."""
    server = run_for_each("cat")
    client = tenon.dial(server.url, receive_buffer=16 * KIB)
    sent = send_until_stuck(client)
    other = tenon.dial(server.url)
    assert exchange(other, noise(MIB), finish=True) == noise(MIB)
    assert receive_exactly(client, len(sent)) == sent
    assert exchange(client, b"end", finish=True) == b"end"


def test_a_child_that_only_talks(tenon, run_for_each):
    server = run_for_each("seq 1 200000")
    assert receive_to_end(tenon.dial(server.url)) == b"".join(b"%d\n" % i for i in range(1, 200001))


def test_a_child_that_does_not_read_what_it_is_sent(tenon, run_for_each):
    """Its reply arrives all the same, and in good order."""
    server = run_for_each("echo enough")
    for _ in range(10):
        with open_socket(server.url) as client:
            client.sendall(noise(10 * KIB))
            assert receive_to_end(client) == b"enough\n"


def test_a_child_that_closes_its_input_and_goes_on(tenon, run_for_each):
    server = run_for_each("read line; exec <&-; sleep 0.2; echo $line; echo more")
    client = tenon.dial(server.url)
    client.sendall(b"first\n" + noise(200 * KIB))
    assert receive_to_end(client) == b"first\nmore\n"


@pytest.mark.parametrize("command", ["true", "exit 3", "kill -9 $$", "no-such-command-here"])
def test_a_child_that_ends_at_once(tenon, run_for_each, command):
    server = run_for_each(command)
    for _ in range(5):
        with open_socket(server.url) as client:
            assert receive_to_end(client) == b""
    server.wait_for_rest()


def test_the_client_resets_and_the_child_goes(tenon, run_for_each):
    server = run_for_each("sleep 1000")
    client = open_socket(server.url)
    pid = child_of(server)
    reset(client)
    has_ended(pid)


def test_the_client_ends_and_a_child_that_reads_goes(tenon, run_for_each):
    """To a server, a client that has gone looks like one that has only said all: the child meets the end of its
    input."""
    server = run_for_each("cat >/dev/null")
    with open_socket(server.url):
        pid = child_of(server)
    has_ended(pid)


def test_the_client_goes_and_a_child_that_writes_goes(tenon, run_for_each):
    server = run_for_each("while :; do echo tick; sleep 0.02; done")
    with open_socket(server.url) as client:
        pid = child_of(server)
        assert client.recv(5) == b"tick\n"
    has_ended(pid)


def test_idle_ends_a_child_that_neither_reads_nor_writes(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "exec:sleep 1000", "--idle", "300ms"])
    with open_socket(server.url):
        pid = child_of(server)
    has_ended(pid)


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", "unix:{}/sock"])
def test_all_that_a_client_leaves_behind_arrives(tenon, run_for_each, url):
    """Fire and forget: it sends and goes, and the child gets every byte."""
    server = run_for_each(f"sleep 0.1; cat >{tenon.folder}/got; touch {tenon.folder}/done", url.format(tenon.folder))
    with open_socket(server.url) as client:
        client.sendall(noise(2 * MIB))
    wait_until((tenon.folder / "done").exists, "the child ends")
    assert (tenon.folder / "got").read_bytes() == noise(2 * MIB)


def test_a_child_that_does_not_want_to_go(tenon, run_for_each):
    server = run_for_each("trap '' TERM; echo ready; while :; do sleep 1000; done")
    client = open_socket(server.url)
    assert receive_exactly(client, 6) == b"ready\n"
    pid = child_of(server)
    reset(client)
    has_ended(pid)


def test_what_the_child_left_in_the_background_goes_too(tenon, run_for_each):
    server = run_for_each("sleep 1000 & echo $!; wait")
    client = open_socket(server.url)
    grandchild = int(client.recv(100))
    assert is_running(grandchild)
    reset(client)
    wait_until(lambda: not is_running(grandchild), "it ends with its leader")


def test_a_child_that_has_said_all_may_tidy_up(tenon, run_for_each):
    mark = tenon.folder / "tidied"
    server = run_for_each(f"cat; exec >&-; sleep 0.2; touch {mark}")
    assert exchange(tenon.dial(server.url), b"hello", finish=True) == b"hello"
    wait_until(mark.exists, "the child has finished its work")


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"])
def test_and_has_a_second_for_it(tenon, run_for_each, url):
    """Before it gets SIGTERM, counted from when it has closed its output."""
    mark = tenon.folder / "closed"
    server = run_for_each(f"read word; echo $word; : >{mark}; exec >&-; exec sleep 600", url)
    client = tenon.dial(server.url)
    client.sendall(b"hello\n")
    assert receive_exactly(client, 6) == b"hello\n"
    [child] = children_of(server.pid)
    client.close()
    has_ended(child)
    # The time of a file is that of the kernel's last tick
    assert time.time_ns() - mark.stat().st_mtime_ns >= 10**9


def test_it_may_trap_that(tenon, run_for_each):
    """It is SIGTERM that it gets, and not SIGKILL at once."""
    mark = tenon.folder / "told"
    server = run_for_each(f"trap ': >{mark}; exit' TERM; read word; echo $word; exec >&-; sleep 600 & wait")
    for _ in range(10):  # it has a second for that, too, which may not be enough on a busy machine
        client = tenon.dial(server.url)
        client.sendall(b"hello\n")
        assert receive_exactly(client, 6) == b"hello\n"
        child = child_of(server)
        client.close()
        has_ended(child)
        if mark.exists():
            return
    raise AssertionError("it is not told to end")


def test_many_children(tenon, run_for_each):
    server = run_for_each("cat")
    clients = [tenon.dial(server.url) for _ in range(60)]
    for i, client in enumerate(clients):
        client.sendall(b"child %d" % i)
    for i, client in enumerate(clients):
        assert client.recv(100) == b"child %d" % i
    assert len(children_of(server.pid)) == 60
    for client in clients[:30]:
        client.close()
    wait_until(lambda: len(children_of(server.pid)) == 30, "half of the children end")
    for i, client in enumerate(clients[30:]):
        assert exchange(client, b"again %d" % i, finish=True) == b"again %d" % i


def test_many_children_on_threads(tenon, run_for_each):
    server = tenon.serve("tcp://127.0.0.1:0", f"unix:{tenon.folder}/sock",
                         options=["--handler", "exec:cat", "--threads", 3])
    for url in server.urls:
        clients = [tenon.dial(url) for _ in range(40)]
        for i, client in enumerate(clients):
            assert exchange(client, b"child %d" % i, finish=True) == b"child %d" % i


def test_no_zombie_ever(tenon, run_for_each):
    server = run_for_each("true")
    for _ in range(50):
        with open_socket(server.url) as client:
            assert receive_to_end(client) == b""
    server.wait_for_rest()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_children_end_with_the_server(tenon, run_for_each, number):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "exec:sleep 1000", "--drain", "200ms"])
    clients = [tenon.dial(server.url) for _ in range(5)]
    family = wait_until(lambda: len(found := children_of(server.pid)) == 5 and found, "five children run")
    server.untidy = True
    server.stop(number)
    assert not any(is_running(pid) for pid in family)
    assert len(clients) == 5


def test_children_end_with_a_server_that_is_killed(tenon, run_for_each):
    server = run_for_each("exec sleep 1000")
    client = tenon.dial(server.url)
    pid = child_of(server)
    server.stopped = True
    server.signal(signal.SIGKILL)
    server.wait(-signal.SIGKILL)
    wait_until(lambda: not is_running(pid), "the child ends with its parent")
    client.close()


def test_a_child_inherits_nothing(tenon, run_for_each):
    """Only its three descriptors (and the one that ls reads with); no other connection, no listener."""
    server = run_for_each("ls /proc/self/fd")
    others = [tenon.dial(server.url) for _ in range(3)]
    assert receive_to_end(tenon.dial(server.url)).split() == [b"0", b"1", b"2", b"3"]
    assert len(others) == 3


# The two that the C library keeps to itself: a process can set them only with a system call, and some container
# runtimes start theirs with one of them ignored
KEPT_BY_LIBC = 1 << 31 | 1 << 32


def test_a_child_starts_with_clean_signals(tenon, run_for_each):
    server = run_for_each("cat /proc/self/status")
    status = receive_to_end(tenon.dial(server.url)).decode()
    masks = re.findall(r"^Sig(?:Blk|Ign):\t(\w+)$", status, re.M)
    assert [int(mask, 16) & ~KEPT_BY_LIBC for mask in masks] == [0, 0], status


def test_a_child_starts_with_the_limits_that_the_server_was_given(tenon):
    """The server raises its own limit of open files; select(2) in a child could not live with that."""
    soft, hard = 512, resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "exec:ulimit -n"],
                         preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)))
    assert receive_to_end(tenon.dial(server.url)) == b"512\n"


def test_the_childs_errors_are_the_servers(tenon, run_for_each):
    server = run_for_each("echo oh dear >&2; echo fine")
    assert receive_to_end(tenon.dial(server.url)) == b"fine\n"
    wait_until(lambda: "oh dear" in server.err, "the message arrives")


@pytest.mark.parametrize("keys, bad", [("frame=line&max=1KiB", b"x" * 5000), ("frame=line&format=json", b"{no")],
                         ids=["max", "format"])
@pytest.mark.parametrize("command", ["cat", "sleep 0.3; cat"])
@pytest.mark.parametrize("place", ["tcp://127.0.0.1:0", "unix:{}/sock"])
def test_what_came_before_a_refused_message_is_answered(tenon, place, command, keys, bad):
    server = tenon.serve(f"{place.format(tenon.folder)}?{keys}", options=["--handler", f"exec:{command}", "--json"])
    with open_socket(server.url.split("?")[0]) as client:
        client.sendall(b"1\n2\n3\n" + bad + b"\n4\n")
        # all was read: a Unix socket knows no reset
        receive = receive_to_reset if place.startswith("tcp") else receive_to_end
        assert receive(client) == b"123\n"  # the command gets what messages contain, and answers in one
    assert server.wait_for_event("close")["error"]


def test_a_server_without_standard_descriptors(tenon):
    """As some init systems start one: the sockets must not take the place of 0, 1 and 2."""
    argv = tenon.argv("serve", f"unix:{tenon.folder}/sock", "--handler", "exec:cat")
    server = tenon.peer("/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *argv)
    with dial_when_served(f"unix:{tenon.folder}/sock") as client:
        assert exchange(client, b"hello", finish=True) == b"hello"
    server.signal(signal.SIGTERM)
    server.wait()


def test_no_descriptors_for_a_child(tenon):
    """A connection gets in but its pipes do not: it ends, the server goes on."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "exec:cat"], preexec_fn=limit_files(32))
    clients = [tenon.dial(server.url) for _ in range(20)]
    for client in clients:
        client.settimeout(2)
    alive = []
    for client in clients:
        try:
            client.sendall(b"?")
            if client.recv(1):
                alive.append(client)
        except OSError:
            pass
    assert 0 < len(alive) < 20
    for client in clients:
        client.close()
    wait_until(lambda: not children_of(server.pid), "all children end")
    assert exchange(tenon.dial(server.url), b"hello", finish=True) == b"hello"


# Datagrams: a child for each

@pytest.mark.parametrize("url", ["udp://127.0.0.1:0", "udp://[::1]:0", "unix-dgram:{}/sock"])
def test_a_child_for_each_datagram(tenon, run_for_each, url):
    server = run_for_each("tr a-z A-Z", url.format(tenon.folder))
    client = tenon.dial(server.url)
    for text in (b"hello", b"again", noise(2000)):
        client.send(text)
        wanted = bytes(byte - 32 if 97 <= byte <= 122 else byte for byte in text)
        assert client.recv(70000) == wanted


def test_datagrams_without_a_reply(tenon, run_for_each):
    server = run_for_each("cat >/dev/null", "udp://127.0.0.1:0")
    client = tenon.dial(server.url)
    for _ in range(5):
        client.send(b"hello")
    wait_until(lambda: not children_of(server.pid), "all children end")


def test_many_datagrams_have_many_children(tenon, run_for_each):
    """64 at a time; the others wait in the kernel."""
    server = run_for_each("sleep 1; cat", "udp://127.0.0.1:0")
    client, most = tenon.dial(server.url), 0
    wanted = {b"%d" % i for i in range(100)}
    for text in wanted:
        client.send(text)
    while not select.select([client], [], [], 0.05)[0]:  # none has ended yet
        most = max(most, len(children_of(server.pid)))
    assert {client.recv(100) for _ in range(100)} == wanted and most <= 64


@pytest.mark.parametrize("url", ["udp://127.0.0.1:0", "unix-dgram:{}/sock"])
def test_a_reply_is_cut_where_a_datagram_ends(tenon, url):
    server = tenon.serve(url.format(tenon.folder), options=["--handler", "exec:head -c 100000 /dev/zero"])
    client = tenon.dial(server.url)
    client.send(b"hello")
    assert client.recv(100000) == bytes(65507)


def test_the_reply_to_a_client_that_has_ended_over_datagrams(tenon, authority, trusted):
    """Its end is there before the command's reply, which is cut where a record of DTLS ends."""
    server = tenon.serve(f"dtls://127.0.0.1:0?{authority.pair('server')}", options=[
        "--json", "--handler", "exec:sleep 0.3; head -c 20000 /dev/zero"])
    done = tenon.run("connect", f"{server.url}?{trusted}", input=b"hello\n")
    assert done.out == bytes(16384)
    assert server.wait_for_event("close")["reason"] == "end"


def test_connections_over_datagrams_that_close_are_told(tenon, authority, trusted):
    """Each datagram has a command, and the connection none: what it keeps was once taken for one."""
    server = tenon.serve(f"dtls://127.0.0.1:0?{authority.pair('server')}", options=[
        "--json", "--handler", "exec:echo start; cat; echo end"])
    for count in range(1, 4):
        client = tenon.start("connect", f"{server.url}?{trusted}", stdin=subprocess.PIPE)
        client.popen.stdin.write(b"hi\n")
        client.popen.stdin.flush()
        client.wait_for_text("end", "out")
        client.popen.stdin.close()
        client.wait(0)
        wait_until(lambda n=count: sum(event["event"] == "close" for event in server.events) == n, "it is told")
    assert not any("status" in event for event in server.events if event["event"] == "close")


@pytest.mark.parametrize("scheme", ["udp", "tcp"])
def test_a_child_that_closes_its_output_has_a_second(tenon, scheme):
    """Its reply is there at once; it is ended when the second is over."""
    server = tenon.serve(f"{scheme}://127.0.0.1:0", options=["--handler", "exec:echo done; exec >&-; sleep 1000"])
    client = tenon.dial(server.url)
    client.send(b"hello")
    assert client.recv(100) == b"done\n"
    pid = child_of(server)
    client.close()
    has_ended(pid)
    server.untidy = scheme == "udp"


def test_children_of_datagrams_are_limited(tenon):
    """Each datagram is answered, or dropped because as many run as may, which is reported."""
    server = tenon.serve("udp://127.0.0.1:0", options=[
        "--handler", "exec:sleep 0.1; cat", "--max-children", 3, "--json"])
    client, most, came = tenon.dial(server.url), 0, set()
    for i in range(10):
        client.send(b"%d" % i)

    def all_are_accounted_for():
        nonlocal most
        most = max(most, len(children_of(server.pid)))
        if select.select([client], [], [], 0.01)[0]:
            came.add(client.recv(100))
        dropped = [event for event in server.events if event["event"] == "child" and event["reason"] == "limit"]
        return len(came) + len(dropped) == 10
    wait_until(all_are_accounted_for, lambda: f"{came} {server.lines}")
    assert 3 <= len(came) <= 10 and 2 <= most <= 3


def test_a_datagrams_child_ends_with_the_server(tenon):
    server = tenon.serve("udp://127.0.0.1:0", options=["--handler", "exec:sleep 1000", "--drain", "100ms"])
    tenon.dial(server.url).send(b"hello")
    pid = child_of(server)
    server.untidy = True
    server.stop()
    assert not is_running(pid)


def test_the_environment_and_the_folder_are_the_servers(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "exec:pwd; echo $GREETING"], cwd=tenon.folder,
                         env={"GREETING": "good day"})
    assert receive_to_end(tenon.dial(server.url)).decode() == f"{os.path.realpath(tenon.folder)}\ngood day\n"


# What the server tells of commands, and how many there may be

@pytest.mark.parametrize("command, told", [
    ("exit 3", {"reason": "exit", "status": 3, "signal": None}),
    ("no-such-command-here", {"reason": "exit", "status": 127, "signal": None}),
    ("kill -9 $$", {"reason": "signal", "status": None, "signal": "KILL"}),
    ("cat >/dev/null", {"reason": "exit", "status": 0, "signal": None})])
def test_how_a_command_has_ended_is_told(tenon, command, told):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", f"exec:{command}", "--json"])
    with open_socket(server.url) as client:
        client.shutdown(socket.SHUT_WR)
        assert receive_to_end(client) == b""
    child = server.wait_for_event("child", id=1)
    assert {key: child[key] for key in told} == told
    close = server.wait_for_event("close", id=1)
    assert (close["status"], close["signal"]) == (told["status"], told["signal"])
    failed = told["signal"] or told["status"]
    assert close["reason"] == ("command" if failed else "end") and bool(close["error"]) == bool(failed), close


@pytest.mark.parametrize("command, told", [
    ("no-such-command-here", "the command ended with status 127: it was not found"),
    ("/", "the command ended with status 126: it could not be run"),
    ("exit 3", "the command ended with status 3"), ("kill -9 $$", "the command was ended by signal 9, SIGKILL"),
    ("true", None)])
def test_how_a_command_has_ended_is_told_to_people(tenon, command, told):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", f"exec:{command}", "-v"])
    with open_socket(server.url) as client:
        assert receive_to_end(client) == b""
    server.wait_for_text(rf"^child #1: pid \d+: {told or 'the command ended with status 0'}$", where="out")
    server.wait_for_text(rf"^close #1 .*, {f'command: {told}' if told else 'end'}$", where="out")


def leave_descriptors(pid, count):
    """From now on the process may open so many descriptors more, whatever it has open."""
    taken = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    free = (number for number in range(1024) if number not in taken)
    limit = [next(free) for _ in range(count + 1)][-1]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, limit))


@pytest.mark.parametrize("scheme, count", [("tcp", 2), ("tcp", 5), ("udp", 1), ("udp", 4)])
def test_a_command_that_cannot_be_started_is_told_once(tenon, scheme, count):
    """There is room for the connection, and not for a pipe, or not for the descriptor of a process that runs
    already."""
    server = tenon.serve(f"{scheme}://127.0.0.1:0", options=["--handler", "exec:cat", "--json"])
    leave_descriptors(server.pid, count)
    with contextlib.suppress(OSError):  # refused already, before connect(2) has returned or after
        tenon.dial(server.url).send(b"x")
    told = wait_until(lambda: [event for event in server.events if event["event"] == "child"],
                      lambda: f"a failure is told: {server.lines}")
    if scheme == "tcp":
        server.wait_for_event("close")
        told = [event for event in server.events if event["event"] == "child"]
    assert [event["reason"] for event in told] == ["start"] and told[0]["status"] is None, told
    assert "Too many open files" in told[0]["error"]
    wait_until(lambda: not children_of(server.pid), "nobody is left")
    server.untidy = True


def test_commands_that_are_not_started_are_counted(tenon):
    """One line a second at most, and how many it stands for."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "exec:cat", "--max-children", 1])
    first = tenon.dial(server.url)
    assert exchange(first, b"hello") == b"hello"
    for _ in range(30):
        with contextlib.suppress(ConnectionResetError), open_socket(server.url) as client:
            assert client.recv(1) == b""
    first.close()
    server.stop()
    told = re.findall(r"no command was started: as many run as may \(--max-children\)(?: \(suppressed: (\d+)\))?$",
                      server.err, re.M)
    assert sum(1 + int(more or 0) for more in told) == 30 and len(told) < 30, server.err


def is_refused(client):
    """Closed in good order by the limit of connections, with a reset by that of commands."""
    return bool(select.select([client], [], [], 0)[0])


@pytest.mark.parametrize("options, most", [([], 128), (["--max-children", 5], 5), (["--max-conns", 140], 140)])
def test_children_are_limited(tenon, options, most):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "exec:sleep 1000", "--json", "--grace", "100ms",
                                                       *options])
    clients = [tenon.dial(server.url) for _ in range(most + 20)]
    wait_until(lambda: len(children_of(server.pid)) == most, "so many run")
    wait_until(lambda: sum(map(is_refused, clients)) == 20, "the others are refused")
    assert len(children_of(server.pid)) == most
    if "--max-conns" not in options:
        server.wait_for_event("close", reason="limit")
        assert "--max-children" in server.wait_for_event("child", reason="limit")["error"]


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", "tcp://[::1]:0", "unix:{}/sock", "unix-seqpacket:{}/sock"])
def test_a_silent_child_is_told_that_its_client_has_gone(tenon, url):
    """Not at once: it may have work left. One that only ended its direction, it goes on to wait for."""
    server = tenon.serve(url.format(tenon.folder), options=["--handler", "exec:trap 'exit 0' TERM; sleep 1000 & wait",
                                                            "--grace", "300ms", "--json"])
    waits = tenon.dial(server.url)
    waits.shutdown(socket.SHUT_WR)
    kept = child_of(server)
    with open_socket(server.url):
        wait_until(lambda: len(children_of(server.pid)) == 2, "both run")
        pid = next(pid for pid in children_of(server.pid) if pid != kept)
    has_ended(pid)
    assert is_running(kept)
    server.untidy = True


def test_a_child_has_no_descriptor_that_the_server_was_given(tenon):
    with open("/etc/hostname", "rb") as given:
        server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "exec:ls /proc/self/fd"],
                             pass_fds=[given.fileno()])
    assert receive_to_end(tenon.dial(server.url)).split() == [b"0", b"1", b"2", b"3"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a process the first of its kind")
def test_the_first_process_reaps_orphans(tenon, program):
    """As in a container: what commands leave behind falls to PID 1."""
    folder = tenon.folder
    argv = tenon.argv("serve", f"unix:{folder}/sock", "--handler", "exec:setsid sh -c 'sleep 0.1' & echo started")
    server = tenon.peer(program("unshare"), "--pid", "--fork", "--kill-child", *argv)
    for _ in range(3):
        with dial_when_served(f"unix:{folder}/sock") as client:
            assert receive_to_end(client) == b"started\n"
    first = children_of(server.pid)[0]
    wait_until(lambda: not [pid for pid in children_of(first) if is_running(pid) or is_zombie(pid)], "all are reaped")
    os.kill(first, signal.SIGTERM)
    server.wait(None)
