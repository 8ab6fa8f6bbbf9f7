"""The end of file, in every order: what is seen when the peer does this and our input does that (tenon-connect(1))."""
import contextlib
import hashlib
import os
import pty
import select
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest

from harness import (KIB, LIMIT, MIB, Process, free_port, noise, open_socket, receive_exactly, receive_to_end,
                     receive_to_reset, stat_of, wait_until)

FAILED = 1
one_engine = pytest.mark.parametrize("engine", ["auto"], indirect=True)


# A TLS peer that ends with a bare FIN, as ncat does

@pytest.mark.parametrize("handler,reply", [
    ("echo", b"hi\n"), ("ack", b"ack: hi\n"), ("exec:cat", b"hi\n"), ("exec:sleep 0.3; cat", b"hi\n"),
    ("exec:wc -c", b"3\n")])
def test_a_bare_fin_is_answered(tenon, authority, program, handler, reply):
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}", options=["--json", "--handler", handler])
    port = server.url.rsplit(":", 1)[1]
    for _ in range(3):
        result = subprocess.run([program("ncat"), "--ssl", "127.0.0.1", port], input=b"hi\n", stdout=subprocess.PIPE,
                                stderr=subprocess.DEVNULL, timeout=LIMIT, check=False)
        assert result.stdout == reply
        assert "close_notify" in server.wait_for_event("close")["error"]


@pytest.mark.parametrize("size", [0, 1, 100 * KIB])
def test_input_that_ends_at_once_over_tls(tenon, authority, trusted, size):
    """Our direction ends before the handshake has."""
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}")
    result = tenon.run("connect", f"{server.url}?{trusted}", input=noise(size))
    assert result.out == noise(size) and result.err == ""


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("family", ["unix", "tcp"])
def test_the_reply_of_a_peer_that_takes_no_more(tenon, authority, trusted, family, secured):
    """It reads a little, answers and closes: our writes fail, its answer is printed."""
    if family == "unix":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tenon.folder / "s"))
        listener.listen()
        url = f"{'tls+' if secured else ''}unix:{tenon.folder}/s"
    else:
        listener = tenon.listen()
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what Nagle holds back, a reset drops
        url = f"{'tls' if secured else 'tcp'}://127.0.0.1:{listener.getsockname()[1]}"

    def answer():
        peer, _ = listener.accept()
        if secured:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(authority.pem("server"), authority.key("server"))
            peer = context.wrap_socket(peer, server_side=True)
        receive_exactly(peer, KIB)
        peer.sendall(noise(30000))
        peer.close()
    thread = threading.Thread(target=answer)
    thread.start()
    try:
        result = tenon.run("connect", f"{url}?{trusted}" if secured else url, input=noise(4000 * KIB), status=FAILED)
    finally:
        thread.join(LIMIT)
        listener.close()
        if family == "unix":
            (tenon.folder / "s").unlink()
    assert hashlib.sha256(result.out).digest() == hashlib.sha256(noise(30000)).digest(), result.err


# connect: what the peer does, and what our input does

def sh(tenon, script, *argv, status=0):
    """A shell that runs `script`, in which "$@" is the command."""
    return tenon.finish(["/bin/sh", "-c", script, "sh", *tenon.argv(*argv)], status)


def transports(tenon, authority):
    """The streams whose two directions end apart: what to serve, and the keys of who dials."""
    keys = authority.pair("server")
    return {"tcp": ("tcp://127.0.0.1:0", ""), "unix": (f"unix:{tenon.folder}/s", ""),
            "mptcp": ("mptcp://127.0.0.1:0", ""), "seqpacket": (f"unix-seqpacket:{tenon.folder}/s", ""),
            "tls": (f"tls://127.0.0.1:0?{keys}", f"?ca={authority.pem('ca')}"),
            "tls+unix": (f"tls+unix:{tenon.folder}/s?{keys}", f"?ca={authority.pem('ca')}"),
            "dtls": (f"dtls://127.0.0.1:0?{keys}", f"?ca={authority.pem('ca')}")}


HALF_CLOSING = ["tcp", "unix", "mptcp", "tls", "tls+unix"]


def listen(tenon, name):
    """A plain listener of ours, and its URL."""
    if name != "unix":
        kind = {"mptcp": socket.IPPROTO_MPTCP}.get(name, 0)
        sock = tenon.cleanups.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM, kind))
        sock.bind(("127.0.0.1", 0))
        url = f"{name}://127.0.0.1:{sock.getsockname()[1]}"
    else:
        sock = tenon.cleanups.enter_context(socket.socket(socket.AF_UNIX))
        sock.bind(str(tenon.folder / "s"))
        tenon.cleanups.callback((tenon.folder / "s").unlink)
        url = f"unix:{tenon.folder}/s"
    sock.listen()
    return sock, url


@pytest.mark.parametrize("name", ["tcp", "unix", "mptcp"])
def test_the_input_speaks_late(tenon, name):
    """The peer ends its direction at once and reads on: all that the input says arrives, however late."""
    listener, url = listen(tenon, name)
    process = tenon.start("connect", url, stdin=subprocess.PIPE)
    peer = tenon.accept(listener)
    peer.sendall(b"bye\n")
    peer.shutdown(socket.SHUT_WR)
    wait_until(lambda: process.out == b"bye\n", lambda: process.out)
    time.sleep(1.2)  # a peer that has ended is waited for a second, where nobody speaks
    for line in (b"late\n", b"later\n"):
        process.popen.stdin.write(line)
        process.popen.stdin.flush()
        assert receive_exactly(peer, len(line)) == line
    process.popen.stdin.close()
    assert peer.recv(1) == b""
    process.wait(0)
    assert process.err == ""


def test_the_input_speaks_late_over_tls(tenon, authority, trusted, program):
    """ncat ends its direction without close_notify: what our input says arrives; that it may have been cut is told."""
    port = free_port()
    with open(tenon.folder / "heard", "wb") as heard:
        listener = tenon.peer(program("ncat"), "--ssl", "--ssl-cert", authority.pem("server"), "--ssl-key",
                              authority.key("server"), "-l", "127.0.0.1", str(port), stdout=heard)
        wait_until(lambda: is_listening(port), "ncat listens")
        result = sh(tenon, '(sleep 1.3; echo late) | "$@"', "connect", f"tls://127.0.0.1:{port}?{trusted}",
                    status=FAILED)
        wait_until(lambda: (tenon.folder / "heard").read_bytes() == b"late\n", "the late line")
        listener.kill()
    assert "close_notify" in result.err


@pytest.mark.parametrize("name", [*HALF_CLOSING, "seqpacket", "dtls"])
def test_the_input_ends_first(tenon, authority, name):
    url, keys = transports(tenon, authority)[name]
    server = tenon.serve(url, options=["--handler", "ack" if name == "dtls" else "exec:cat; sleep 0.2; echo done"])
    out = sh(tenon, 'printf "hello\\n" | "$@" --wait 10s' if name == "dtls" else 'printf "hello\\n" | "$@"', "connect",
             server.url + keys).out
    assert out == (b"ack: hello\n" if name == "dtls" else b"hello\ndone\n")


@pytest.mark.parametrize("name", [*HALF_CLOSING, "seqpacket"])
def test_exit_on_end(tenon, authority, name):
    """The peer ends: all it said is written, and the input that is open is not waited for."""
    url, keys = transports(tenon, authority)[name]
    server = tenon.serve(url, options=["--handler", "exec:echo hello; echo bye"])
    process = tenon.start("connect", "--exit-on-end", server.url + keys, stdin=subprocess.PIPE)
    process.wait(0)
    assert process.out == b"hello\nbye\n" and process.err == ""


def test_wait_input(tenon):
    listener, url = listen(tenon, "tcp")
    process = tenon.start("connect", "--wait-input", "1s", url, stdin=subprocess.PIPE)
    peer = tenon.accept(listener)
    peer.shutdown(socket.SHUT_WR)
    process.popen.stdin.write(b"in time\n")
    process.popen.stdin.flush()
    assert receive_to_end(peer) == b"in time\n"
    process.wait(0)


@pytest.mark.parametrize("name", [*HALF_CLOSING, "seqpacket"])
def test_no_fin(tenon, authority, name):
    """The end of the input is not told: a peer that would stop at it speaks to its own end."""
    url, keys = transports(tenon, authority)[name]
    server = tenon.serve(url, options=["--handler", "exec:timeout 0.5 cat; echo no end, status $?"])
    assert sh(tenon, 'echo hi | "$@"', "connect", "--no-fin", server.url + keys).out == b"hi\nno end, status 124\n"


@pytest.mark.parametrize("name", [*HALF_CLOSING, "seqpacket"])
def test_the_key_fin(tenon, authority, name):
    url, keys = transports(tenon, authority)[name]
    server = tenon.serve(url, options=["--handler", "exec:timeout 0.5 cat; echo no end, status $?"])
    target = f"{server.url}{keys}{'&' if keys else '?'}fin=off"
    assert tenon.run("connect", target, input=b"hi\n").out == b"hi\nno end, status 124\n"


def test_the_key_fin_of_a_relay(tenon):
    """Its client ends, and the server does not hear of it."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "exec:timeout 0.5 cat; echo no end, status $?"])
    relay = tenon.relay("tcp://127.0.0.1:0", f"{server.url}?fin=off")
    client = tenon.dial(relay.url)
    client.sendall(b"hi\n")
    client.shutdown(socket.SHUT_WR)
    assert receive_to_end(client) == b"hi\nno end, status 124\n"


def test_the_key_fin_when_served(tenon):
    """Our end is told when the client's has come, or when the connection closes."""
    target = tenon.listen()
    relay = tenon.relay("tcp://127.0.0.1:0?fin=off", f"tcp://127.0.0.1:{target.getsockname()[1]}")
    client = tenon.dial(relay.url)
    peer = tenon.accept(target)
    peer.sendall(b"all")
    peer.shutdown(socket.SHUT_WR)
    assert client.recv(10) == b"all"
    client.sendall(b"more")
    assert peer.recv(10) == b"more"
    assert not select.select([client], [], [], 0.1)[0]
    client.shutdown(socket.SHUT_WR)
    assert receive_to_end(client) == b"" and receive_to_end(peer) == b""


def test_no_fin_with_ncat(tenon, program):
    """ncat stops at our end: without one it sends all of its file."""
    path, port = tenon.file("data", noise(20 * 1024 * KIB)), free_port()
    with open(path, "rb") as data:
        tenon.peer(program("ncat"), "-l", "127.0.0.1", str(port), stdin=data)
        wait_until(lambda: is_listening(port), "ncat listens")
        got = tenon.run("connect", "--no-fin", f"tcp://127.0.0.1:{port}").out
    assert hashlib.sha256(got).digest() == hashlib.sha256(noise(20 * 1024 * KIB)).digest()


def is_listening(port):
    with open("/proc/net/tcp", encoding="ascii") as table:
        return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in list(table)[1:])


@pytest.mark.parametrize("peer", [["nc", "-l", "127.0.0.1"], ["ncat", "-l", "127.0.0.1"]], ids=["nc", "ncat"])
def test_a_late_line_to_others(tenon, program, peer):
    """A foreign peer hears a line that comes after a pause."""
    port = free_port()
    argv = [program(peer[0]), *peer[1:], str(port)]
    with open(tenon.folder / "heard", "wb") as heard:
        listener = tenon.peer(*argv, stdin=subprocess.PIPE, stdout=heard)
        wait_until(lambda: is_listening(port), "it listens")
        sh(tenon, '(sleep 0.5; echo late) | "$@" --wait 1s', "connect", f"tcp://127.0.0.1:{port}", status=None)
        wait_until(lambda: (tenon.folder / "heard").read_bytes() == b"late\n", "the late line")
        listener.kill()


@pytest.mark.parametrize("name", ["tcp", "unix"])
def test_a_peer_that_is_gone_when_the_input_speaks(tenon, name):
    """What nobody takes any more is an error, not silence."""
    listener, url = listen(tenon, name)
    process = tenon.start("connect", url, stdin=subprocess.PIPE)
    peer = tenon.accept(listener)
    peer.sendall(b"bye\n")
    peer.close()
    wait_until(lambda: process.out == b"bye\n", lambda: process.out)
    with contextlib.suppress(BrokenPipeError):
        for _ in range(200):
            process.popen.stdin.write(b"anybody?\n")
            process.popen.stdin.flush()
            time.sleep(0.01)
    process.wait(FAILED)
    assert process.out == b"bye\n" and url in process.err


# Nothing is lost in silence

@pytest.mark.parametrize("keys,size", [("frame=line", 1024 * KIB), ("frame=line&max=4MiB", 2000000),
                                       ("frame=u32&max=4MiB", 4096 * KIB)])
def test_messages_as_long_as_they_may_be(tenon, keys, size):
    server = tenon.serve(f"tcp://127.0.0.1:0?{keys}")
    lines = b"".join(b"%c" % c * size + b"\n" for c in b"abc")
    assert tenon.run("connect", f"{server.url}?{keys}", input=lines).out == lines


def test_long_messages_to_a_command(tenon):
    server = tenon.serve("tcp://127.0.0.1:0?frame=line&max=4MiB", options=["--handler", "exec:wc -c | tr -d '\\n'"])
    assert tenon.run("connect", f"{server.url}?frame=line&max=4MiB", input=b"x" * 3000000 + b"\n").out == b"3000000\n"


def test_an_upload_that_is_abandoned_is_told(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--json"])
    result = sh(tenon, 'yes | ("$@"; echo $? >&2) | head -c 100', "connect", server.url)
    assert "its reader has gone" in result.err and result.err.endswith("1\n")
    assert server.wait_for_event("close")["error"], "an end in good order would say that this was all"


@pytest.mark.parametrize("first", ["input", "reader"])
def test_what_was_read_when_the_reader_went_is_told(tenon, first):
    """Both in one turn of the loop: the input has been read, and its reader has not been seen to be gone."""
    listener = tenon.listen()
    for _ in range(2):
        reading, writing = os.pipe()
        process = tenon.start("connect", f"tcp://127.0.0.1:{listener.getsockname()[1]}", stdin=subprocess.PIPE,
                              stdout=writing)
        os.close(writing)
        peer = tenon.accept(listener)
        process.popen.stdin.write(b"hello")
        process.popen.stdin.flush()
        assert receive_exactly(peer, 5) == b"hello"
        process.signal(signal.SIGSTOP)
        wait_until(lambda: stat_of(process.popen.pid)[0] == "T", "it is stopped")
        for what in ("input", "reader") if first == "input" else ("reader", "input"):
            if what == "reader":
                os.close(reading)
            else:
                process.popen.stdin.write(b"more")
                process.popen.stdin.flush()
        process.signal(signal.SIGCONT)
        process.wait(None)
        peer.settimeout(LIMIT)
        with contextlib.suppress(ConnectionResetError):
            if peer.recv(10) == b"more":
                continue  # it was sent, as it may be
        assert process.popen.returncode == FAILED and "its reader has gone" in process.err, process


def test_nothing_to_abandon_is_quiet(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "chargen"])
    assert sh(tenon, '("$@" < /dev/null; echo $? >&2) | head -c 100', "connect", server.url).err == "0\n"


def test_lost_datagrams_are_counted(tenon):
    """Standard output stalls, the kernel's buffer overflows: how many were lost is told."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        process = tenon.start("connect", "--wait", "1s", f"udp://127.0.0.1:{peer.getsockname()[1]}?rcvbuf=16KiB",
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process.popen.stdin.write(b"hello\n")
        process.popen.stdin.close()
        client = peer.recvfrom(100)[1]
        for _ in range(3000):
            peer.sendto(noise(1000), client)
        got = len(process.popen.stdout.read())
        process.wait(0)
    lost = int(process.err.split(" datagrams were lost")[0].split()[-1])
    assert lost > 0 and got // 1000 + lost == 3000


def test_ping_until_a_reply(tenon):
    """To wait for a service, as the manual says."""
    server = tenon.serve("tcp://127.0.0.1:0")
    for script in ('"$@" | grep -m1 -q reply', '"$@" | head -1 | grep -q .'):
        sh(tenon, script, "ping", "--json", "--interval", "100ms", server.url)


# A message that is refused

REFUSED = {"too long": ("max=1KiB", b"x" * 5000 + b"\n"), "not the format": ("format=json", b"[1\n"),
           "not UTF-8": ("format=text", b"\xff\n")}


@pytest.mark.parametrize("handler", ["echo", "discard", "exec:cat"])
@pytest.mark.parametrize("why", REFUSED)
@pytest.mark.parametrize("name", ["tcp", "mptcp", "unix", "tls", "tls+unix"])
def test_the_sender_of_a_refused_message_is_told(tenon, authority, name, why, handler):
    """What was right before it is answered; then comes a reset and not an end, which would say that all was taken."""
    url, keys = transports(tenon, authority)[name]
    bound, message = REFUSED[why]
    server = tenon.serve(f"{url}{'&' if '?' in url else '?'}frame=line&{bound}",
                         options=["--json", "--handler", handler, "--on-bad", "close"])
    rest = b"4\n" * 200000 if name == "unix" else b"4\n"  # all of it read, a Unix socket knows no reset
    result = tenon.run("connect", f"{server.url}{keys}{'&' if keys else '?'}frame=line",
                       input=b"1\n2\n3\n" + message + rest, status=FAILED)
    assert {"echo": result.out.startswith(b"1\n2\n3\n"), "discard": not result.out,
            "exec:cat": result.out == b"123\n"}[handler]
    assert "reset" in result.err.lower() or "close_notify" in result.err or "Broken pipe" in result.err
    assert server.wait_for_event("close")["reason"] == "refused"


@pytest.mark.parametrize("place", ["tcp://127.0.0.1:0", "unix:{}/s"])
def test_a_refused_client_that_writes_before_it_reads(tenon, place):
    """What it still says is taken away, so that it comes to read the long reply to what was right. A Unix socket is
    only reset where some of it was not."""
    handler = f"exec:cat > /dev/null; head -c {12 * MIB} /dev/zero"
    server = tenon.serve(place.format(tenon.folder) + "?frame=line&format=text&queue=64KiB",
                         options=["--on-bad", "close", "--handler", handler])
    with open_socket(server.url.split("?")[0]) as client:
        client.sendall(b"1\n\xff\n" + b"4\n" * (10 * MIB))
        assert receive_to_reset(client, may_end=place.startswith("unix")).count(b"\0") == 12 * MIB


# What is easily forgotten

def test_wait_with_a_reader_that_pauses(tenon):
    """The peer is not silent while it is held back."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "exec:cat > /dev/null; seq 500000"])
    process = tenon.start("connect", "--wait", "300ms", server.url, stdout=subprocess.PIPE)
    time.sleep(1.5)
    assert process.popen.stdout.read() == b"".join(b"%d\n" % i for i in range(1, 500001))
    process.wait(0)


@one_engine
def test_progress_for_a_person(tenon):
    """While nothing answers, and while much flows: on a terminal, and only there."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as full:
        url = f"tcp://127.0.0.1:{full.getsockname()[1]}"
        fill = [socket.socket() for _ in range(4)]
        for sock in fill:
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        ours, theirs = pty.openpty()
        process = tenon.keep(Process(tenon.argv("connect", f"{url}?connect=60s"), tenon.folder, stdin=subprocess.PIPE))
        watched = subprocess.Popen(tenon.argv("connect", f"{url}?connect=60s"), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=theirs)
        os.close(theirs)
        seen = b""
        while b"connecting to" not in seen:
            seen += os.read(ours, 1000)
        assert process.err == ""
        for each in (watched, process.popen):
            each.kill()
            each.wait()
        process.popen.stdin.close()
        os.close(ours)
        for sock in fill:
            sock.close()


@one_engine
def test_progress_of_convert(tenon):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(tenon.argv("convert", "--from", "json", "--to", "cbor"), stdin=subprocess.PIPE,
                               stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    process.stdin.write(b"1\n2\n")
    process.stdin.flush()
    seen = b""
    while b"2 messages" not in seen:
        seen += os.read(ours, 1000)
    process.stdin.close()
    assert process.wait(LIMIT) == 0
    os.close(ours)
