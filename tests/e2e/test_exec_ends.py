"""What a command has as its input and output: a terminal (exec-pty:), the client's own socket (exec-socket:), or what a
sender of datagrams says (key session)."""
import contextlib
import os
import re
import signal
import socket
import subprocess

import pytest

import system
from harness import LIMIT, MIB, children_of, exchange, is_running, noise, receive_to_end, reset, wait_until

USAGE = 2
AS_ROOT = ["--user", "root"] if os.geteuid() == 0 else []
one_engine = pytest.mark.parametrize("engine", ["auto"], indirect=True)
pytestmark = one_engine


def serve(tenon, handler, *urls, options=()):
    return tenon.serve(*(urls or ["tcp://127.0.0.1:0"]), options=["--handler", handler, "--json", *AS_ROOT, *options])


def said(client, data, finish=True):
    client.sendall(data)
    if finish:
        client.shutdown(socket.SHUT_WR)
    return receive_to_end(client)


def ended(pid):
    wait_until(lambda: not is_running(pid), f"{pid} ends")


def test_a_terminal(tenon, program):
    """The same that socat gives a command, but for the size: a terminal that controls it, with line ends and echo."""
    command = "tty | tr 0-9 N; stty size; stty -a | tr ';' '\\\\n' | grep -c echo; exec cat"
    (tenon.folder / "command").write_text(command.replace("\\\\", "\\"), encoding="ascii")
    server = serve(tenon, f"exec-pty:. {tenon.folder}/command")
    ours = said(tenon.dial(server.url), b"typed\nand cut off")
    socat = tenon.finish([program("socat"), "-t", "5", "-",
                          f"EXEC:sh {tenon.folder}/command,pty,ctty,setsid"], input=b"typed\n\4")
    wanted = {"/dev/pts/N", "2"}
    for answer in (ours, socat.out):
        assert wanted <= set(re.findall(r"/dev/pts/N|^2(?=\r$)", answer.decode(), re.M)), answer
        assert answer.count(b"typed\r\n") == 2
    assert b"24 80\r\n" in ours and ours.endswith(b"and cut off")
    assert server.wait_for_event("close", reason="end")["status"] == 0


def test_keys_of_a_terminal(tenon):
    """Ctrl-C is for the whole foreground; so is the end of the client."""
    server = serve(tenon, "exec-pty:echo ready; sleep 1000 | cat")
    client = tenon.dial(server.url)
    assert client.recv(7) == b"ready\r\n"
    assert b"^C" in said(client, b"\3", finish=False)
    assert server.wait_for_event("close")["signal"] == "INT"
    client = tenon.dial(server.url)
    assert client.recv(7) == b"ready\r\n"
    child = children_of(server.pid)[0]
    reset(client)
    ended(child)


@pytest.mark.parametrize("command", ["exec-pty:stty raw -echo; echo; cat", "exec-socket:echo; cat"])
def test_many_at_once(tenon, command):
    """What one of them needs to begin is closed behind it, and nothing of the others."""
    server = serve(tenon, command)
    clients = []
    for _ in range(8):
        clients.append(tenon.dial(server.url))
        assert clients[-1].recv(9) == b"\n"
    for client in clients:
        assert exchange(client, b"again") == b"again"


@pytest.mark.parametrize("handler", ["exec-pty", "exec-socket"])
def test_a_child_that_wants_to_stay(tenon, handler):
    """It ignores signals and closes its descriptors, or leaves somebody behind; its client goes."""
    server = serve(tenon, f"{handler}:trap '' HUP TERM INT; echo; sleep 1000 & sleep 1000; sleep 1000",
                   options=["--grace", "100ms"])
    client = tenon.dial(server.url)
    client.recv(1)
    wait_until(lambda: len(children_of(server.pid)) == 1, "it runs")
    client.close()
    wait_until(lambda: not children_of(server.pid), "it is ended")
    server.wait_for_event("close")


def test_a_socket(tenon, program):
    server = serve(tenon, "exec-socket:readlink /proc/self/fd/0; cat", "tcp://127.0.0.1:0",
                   f"unix:{tenon.folder}/s", "mptcp://127.0.0.1:0")
    data = noise(MIB)
    for url in server.urls:
        client = tenon.dial(url)
        head = b""
        while not head.endswith(b"\n"):
            head += client.recv(1)
        assert head.startswith(b"socket:[")
        assert exchange(client, data, finish=True) == data
    answer = tenon.finish([program("nc"), "-N", "127.0.0.1", str(server.port)], input=b"by nc").out
    assert answer.endswith(b"]\nby nc")
    assert {event["status"] for event in server.events if event["event"] == "close"} <= {0}


def test_what_a_handler_cannot_serve(tenon, authority):
    for handler, url, why in [
            ("exec-socket", "udp://127.0.0.1:0", "sockets of streams"),
            ("exec-socket", f"unix-seqpacket:{tenon.folder}/s", "sockets of streams"),
            ("exec-socket", f"tls://127.0.0.1:0?{authority.pair('server')}", "translated here"),
            ("exec-socket", f"shm:{tenon.folder}/s", "translated here"),
            ("exec-socket", "tcp://127.0.0.1:0?frame=line", "keys frame"),
            ("exec-socket", "tcp://127.0.0.1:0?proxy=accept&trust=127.0.0.1", "proxy"),
            ("exec-socket", "tcp://127.0.0.1:0?idle=1s", "key idle"),
            ("exec-pty", "udp://127.0.0.1:0", "for one client"), ("exec-pty", "http://127.0.0.1:0", "HTTP")]:
        err = tenon.run("serve", url, "--handler", f"{handler}:cat", status=USAGE).err
        assert why in err and handler in err, err
    for options, why in [(["exec-pty"], "needs an argument"), (["exec-socket:cat", "--idle", "1s"], "key idle")]:
        assert why in tenon.run("serve", "tcp://127.0.0.1:0", "--handler", *options, status=USAGE).err


def test_idle_is_for_the_other_endpoints(tenon):
    server = serve(tenon, "exec-socket:cat", "tcp://127.0.0.1:0", "tcp://127.0.0.1:0?handler=echo",
                   options=["--idle", "200ms"])
    client, other = map(tenon.dial, server.urls)
    receive_to_end(other)
    assert exchange(client, b"hello", finish=True) == b"hello"


# Sessions of datagrams (key session)

def asks(peer, data):
    peer.send(data)
    return peer.recv(65536)


def insists(peer, data):
    """Of one who has had a child before: a datagram that comes while that session ends is lost with it."""
    peer.settimeout(1)

    def asked():
        peer.send(data)
        with contextlib.suppress(TimeoutError):
            return peer.recv(65536)
    got = wait_until(asked, "it has another one")
    peer.settimeout(LIMIT)
    return got


def answers(peer, wanted, got=b""):
    """All that comes until it ends so."""
    while not got.endswith(wanted):
        got += peer.recv(65536)
    return got


def test_a_child_for_each_sender(tenon):
    server = serve(tenon, "exec:echo $$ $TENON_PEER; sed -u s/^/+/; echo bye", "udp://127.0.0.1:0?session=300ms")
    peers = [tenon.dial(server.url) for _ in range(2)]
    children = set()
    for peer in [*peers, peers[0]]:
        peer.send(b"a\n")
        peer.send(b"b\n")
        pid, sender, *said = answers(peer, b"bye\n").decode().split()
        assert (sender, said) == (f"udp://127.0.0.1:{peer.getsockname()[1]}", ["+a", "+b", "bye"])
        children.add(pid)
        server.wait_for_event("child", pid=int(pid))
    assert len(children) == 3
    wait_until(lambda: not children_of(server.pid), "all have ended")


def test_names_that_begin_alike(tenon):
    """The name of one sender continues that of the other: still each has a child of its own."""
    serve(tenon, "exec:exec sed -u s/^/$$+/", f"unix-dgram:{tenon.folder}/sock?session=1s")
    heard = []
    for more in ("", "x"):
        peer = tenon.listen(socket.AF_UNIX, f"\0{tenon.name}{more}", socket.SOCK_DGRAM)
        peer.connect(f"{tenon.folder}/sock")
        heard.append(asks(peer, b"a\n").split(b"+"))
    assert heard[0][0] != heard[1][0] and {said for _, said in heard} == {b"a\n"}


def test_sessions_whose_child_ends_or_does_not(tenon):
    """By itself: the next datagram has another one. Not at all: it is ended. Its input alone: it may go on to write."""
    server = serve(tenon, "exec:read x; case $x in stay) trap '' TERM; echo; exec sleep 1000;; "
                   "deaf) exec <&-; echo 1; sleep 0.2; echo 2;; *) echo $$;; esac", "udp://127.0.0.1:0?session=1s",
                   options=["--grace", "100ms", "--max-children", "1"])
    peer = tenon.dial(server.url)
    pid = int(asks(peer, b"x\n"))
    ended(pid)
    server.wait_for_event("child", pid=pid)
    assert int(insists(peer, b"x\n")) != pid
    wait_until(lambda: not children_of(server.pid), "it has ended")
    got = answers(peer, b"1\n", insists(peer, b"deaf\n"))
    peer.send(b"more\n")
    answers(peer, b"2\n", got)
    wait_until(lambda: not children_of(server.pid), "it has ended")
    assert insists(peer, b"stay\n") == b"\n"
    tenon.dial(server.url).send(b"x\n")
    assert "--max-children" in server.wait_for_event("child", reason="limit")["error"]
    assert server.wait_for_event("child", signal="KILL")


def test_a_sender_whom_nobody_hears(tenon):
    """A child that has closed its input is idle, however often its sender repeats itself."""
    server = serve(tenon, "exec:exec <&-; echo $$; exec sleep 1000", "udp://127.0.0.1:0?session=300ms",
                   options=["--grace", "100ms"])
    peer = tenon.dial(server.url)
    pid = int(asks(peer, b"x"))
    wait_until(lambda: peer.send(b"x") and not is_running(pid), "it is ended")
    wait_until(lambda: not children_of(server.pid), "the next one too")


def test_a_server_ends_when_its_sessions_have_answered(tenon):
    """But not when they are idle: this one would be for a minute."""
    server = serve(tenon, "exec:sed -u 's/^/sleep 0.5; echo /' | sh", "udp://127.0.0.1:0?session=1m",
                   options=["--drain", "1m"])
    peer = tenon.dial(server.url)
    assert asks(peer, b"a\n") == b"a\n"
    peer.send(b"b\n")
    server.stopped = True
    server.signal(signal.SIGTERM)
    assert peer.recv(10) == b"b\n"
    server.wait()


def test_keys_of_sessions(tenon, authority, trusted):
    for url, options, why in [
            ("udp://:0?session=1s", [], "only datagrams of the handler exec"),
            ("udp://:0?session=soon", ["--handler", "exec:cat"], "'soon' is no duration"),
            ("udp://:0?session=0", ["--handler", "exec:cat"], "from 1ms up"),
            ("udp://:0?session=1s&session=2s&handler=exec:cat", [], "key 'session': this key stands there for the"),
            ("tcp://:0?session=1s&handler=exec:cat", [], "only datagrams")]:
        assert why in tenon.run("serve", url, *options, status=USAGE).err
    server = serve(tenon, "exec:cat; echo bye", f"dtls://127.0.0.1:0?session=1m&{authority.pair('server')}")
    done = tenon.run("connect", f"dtls://localhost:{server.port}?{trusted}", input=b"one\ntwo\n")
    assert done.out == b"one\ntwo\nbye\n"


def test_a_reply_that_cannot_go(tenon, authority, trusted):
    """It is lost, as datagrams are: here it is longer than key max. The connection has the others."""
    server = serve(tenon, "exec:read x; printf %2000d 1; exec sed -u s/x/ok/",
                   f"dtls://127.0.0.1:0?session=1m&max=1KiB&{authority.pair('server')}")
    client = tenon.start("connect", f"dtls://localhost:{server.port}?{trusted}", stdin=subprocess.PIPE)

    def hears():
        client.popen.stdin.write(b"x\n")
        client.popen.stdin.flush()
        return b"ok" in client.out
    wait_until(hears, "it hears another one")
    client.popen.stdin.close()
    client.wait()


# Standard error (--stderr)

@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"])
def test_a_child_of_another_user(tenon, program, url):
    """It may not be killed, and is left to itself: the server ends all the same."""
    command = f"exec {program('setpriv')} --reuid 65534 sleep 1000"
    server = tenon.serve(url, options=["--handler", f"exec:{command}", "--json", "--drain", "0", *AS_ROOT],
                         preexec_fn=system.never_kill)
    tenon.dial(server.url).send(b"x")
    wait_until(lambda: any(os.stat(f"/proc/{pid}").st_uid == 65534 for pid in children_of(server.pid)), "it runs")
    pid, = children_of(server.pid)
    try:
        server.stopped = True
        server.signal(signal.SIGTERM)
        server.wait(0)
        assert is_running(pid)
    finally:
        os.kill(pid, signal.SIGKILL)
        ended(pid)


def test_where_standard_error_goes(tenon):
    command = "echo out; echo err >&2; printf 'half a line' >&2; cat"
    for options, heard, on_stderr, logged in [
            ([], b"out\n", True, False), (["--stderr", "none"], b"out\n", False, False),
            (["--stderr", "client"], b"out\nerr\nhalf a line", False, False),
            (["--stderr", "log", "--log-file", tenon.folder / "log"], b"out\n", False, True)]:
        server = serve(tenon, f"exec:{command}", options=options)
        assert said(tenon.dial(server.url), b"") == heard
        socket_server = serve(tenon, f"exec-socket:{command}", options=options)
        assert said(tenon.dial(socket_server.url), b"") == heard
        for each in (server, socket_server):
            each.stop()
            assert ("err\nhalf a line" in each.err) == on_stderr, options
        log = tenon.folder / "log"
        words = re.findall("command of #[0-9]+: (err|half a line)", log.read_text()) if logged else []
        assert words == ["err", "half a line"] * 2 * logged
    assert "is none of" in tenon.run("serve", "tcp://:0", "--handler", "exec:cat", "--stderr", "x", status=USAGE).err
    assert "no endpoint runs" in tenon.run("serve", "tcp://:0", "--stderr", "none", status=USAGE).err


def test_a_log_that_outlives_its_child(tenon):
    """Who was left behind has its standard error: the server does not wait for that, nor for a line without an end."""
    log = tenon.folder / "log"
    server = serve(tenon, "exec:printf '%2000d' 1 >&2; setsid sleep 1000 <&- >&- & echo $!",
                   options=["--log-file", log])
    pid = int(said(tenon.dial(server.url), b""))
    wait_until(lambda: log.read_text().count("command of #") == 1, "as much as a record has stands there")
    server.untidy = True
    server.stop()
    assert log.read_text().count("command of #") == 2
    os.kill(pid, 9)
