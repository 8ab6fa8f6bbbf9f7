"""tenon connect --listen, and tenon serve --once: one client, and the end. Files both ways, each tool in each role."""
import re
import signal
import socket
import subprocess

import pytest

from harness import KIB, LIMIT, MIB, noise, open_socket, receive_exactly, receive_to_end, wait_until

DATA = noise(2 * MIB + 17, 5)
FAILED, USAGE = 1, 2


def listen(tenon, url, *options, **how):
    """tenon connect --listen, and the URL at which it listens."""
    process = tenon.start("connect", "--listen", *options, url, **how)
    process.url = process.wait_for_text(r"listening on (\S+)")[1]
    return process


# Theirs dials

SENDERS = {
    "nc": lambda port: ["nc", "-N", "127.0.0.1", port],
    "ncat": lambda port: ["ncat", "--send-only", "127.0.0.1", port],
    "socat": lambda port: ["socat", "-u", "-", f"TCP:127.0.0.1:{port}"],
}
RECEIVERS = {
    "nc": lambda port: ["nc", "-d", "127.0.0.1", port],
    "ncat": lambda port: ["ncat", "--recv-only", "127.0.0.1", port],
    "socat": lambda port: ["socat", "-u", f"TCP:127.0.0.1:{port}", "-"],
}


def port_of(process):
    return process.url.rpartition(":")[2]


@pytest.mark.parametrize("tool", SENDERS)
def test_a_file_from_another_tool_to_a_listener(tenon, program, tool):
    program(tool)
    process = listen(tenon, "tcp://127.0.0.1:0")
    tenon.feed(tenon.file("data", DATA), SENDERS[tool](port_of(process)))
    process.wait(0)
    assert process.out == DATA


@pytest.mark.parametrize("tool", RECEIVERS)
def test_a_file_from_a_listener_to_another_tool(tenon, program, tool):
    program(tool)
    process = listen(tenon, "tcp://127.0.0.1:0", stdin=tenon.opened(tenon.file("data", DATA)))
    assert tenon.finish(RECEIVERS[tool](port_of(process))).out == DATA
    process.wait(0)


# Theirs listens

LISTENERS = {
    "nc": lambda path: ["nc", "-N", "-l", "-U", path],
    "ncat": lambda path: ["ncat", "-l", "-U", path],
    "socat": lambda path: ["socat", "-t", LIMIT, "-", f"UNIX-LISTEN:{path}"],
}


def dial_when_there(tenon, path, *args, **how):
    """Their listeners do not say when they are ready."""
    def attempt():
        result = tenon.run("connect", *args, f"unix:{path}", status=None, **how)
        return result if result.status == 0 or "onnect" not in result.err else None
    return wait_until(attempt, f"{path} is served")


@pytest.mark.parametrize("tool", LISTENERS)
def test_a_file_to_a_listener_of_another_tool(tenon, program, tool):
    program(tool)
    path = tenon.folder / "sock"
    theirs = tenon.peer(*LISTENERS[tool](path))
    wait_until(path.is_socket, f"{tool} listens")
    dial_when_there(tenon, path, input=DATA)
    theirs.wait(0)
    path.unlink(missing_ok=True)  # only socat does
    assert theirs.out == DATA


@pytest.mark.parametrize("tool", LISTENERS)
def test_a_file_from_a_listener_of_another_tool(tenon, program, tool):
    """nc and ncat stop when they see our end: hence --no-fin."""
    program(tool)
    path = tenon.folder / "sock"
    theirs = tenon.peer(*LISTENERS[tool](path), stdin=tenon.opened(tenon.file("data", DATA)))
    wait_until(path.is_socket, f"{tool} listens")
    assert dial_when_there(tenon, path, "--no-fin").out == DATA
    theirs.wait(0)
    path.unlink(missing_ok=True)


# Both are ours

@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", "tcp://[::1]:0", "unix:{}/sock", "unix:@{}"])
def test_both_ways_at_once_between_two_of_ours(tenon, url):
    ours, theirs = noise(MIB, 1), noise(MIB + 5, 2)
    process = listen(tenon, url.format(tenon.folder), stdin=tenon.opened(tenon.file("ours", ours)))
    assert tenon.run("connect", process.url, input=theirs).out == ours
    process.wait(0)
    assert process.out == theirs and not (tenon.folder / "sock").exists()


def test_messages_of_a_frame_and_a_format(tenon):
    values = tenon.opened(tenon.file("in", b'{"a":1}\n[2]\n'))
    process = listen(tenon, "tcp://127.0.0.1:0?format=msgpack", stdin=values)
    url = process.url.partition("?")[0] + "?format=msgpack"
    assert tenon.run("connect", url, input=b'"x"\n').lines == ['{"a":1}', "[2]"]
    process.wait(0)
    assert process.out == b'"x"\n'


def test_the_second_client_is_refused(tenon):
    """With the first the address is free again."""
    process = listen(tenon, "tcp://127.0.0.1:0", stdin=subprocess.PIPE)
    first = tenon.dial(process.url)
    first.sendall(b"here")
    wait_until(lambda: process.out == b"here", lambda: process.out)
    with pytest.raises((ConnectionRefusedError, ConnectionResetError)):
        open_socket(process.url).recv(1)
    process.popen.stdin.write(b"still there\n")
    process.popen.stdin.close()
    assert receive_to_end(first) == b"still there\n"
    first.close()
    process.wait(0)


def test_a_client_that_has_gone_is_not_waited_for(tenon):
    """Standard input is open and silent."""
    for url in ("tcp://127.0.0.1:0", f"unix:{tenon.folder}/sock"):
        process = listen(tenon, url, stdin=subprocess.PIPE)
        with open_socket(process.url) as sock:
            sock.sendall(b"good bye")
        process.wait(0)
        assert process.out == b"good bye"


def test_a_client_that_only_ends_its_direction_is_answered(tenon):
    process = listen(tenon, "tcp://127.0.0.1:0", stdin=subprocess.PIPE)
    sock = tenon.dial(process.url)
    sock.shutdown(socket.SHUT_WR)
    process.popen.stdin.write(DATA)
    process.popen.stdin.close()
    assert receive_to_end(sock) == DATA
    process.wait(0)


def test_a_reset_is_an_error(tenon):
    from harness import reset
    process = listen(tenon, "tcp://127.0.0.1:0", stdin=subprocess.PIPE)
    sock = open_socket(process.url)
    sock.sendall(b"x")
    wait_until(lambda: process.out == b"x", lambda: process.out)
    reset(sock)
    process.wait(FAILED)


def test_tls_and_a_handshake_that_fails_before(tenon, authority, trusted):
    url = f"tls://127.0.0.1:0?{authority.pair('server')}"
    process = listen(tenon, url, stdin=tenon.opened(tenon.file("data", DATA)))
    with open_socket("tcp" + process.url.partition("?")[0][3:]) as stranger:
        stranger.sendall(b"GET / HTTP/1.0\r\n\r\n")
        receive_to_end(stranger)
    assert tenon.run("connect", f"{process.url.partition('?')[0]}?{trusted}").out == DATA
    process.wait(0)


# Datagrams

def test_datagrams_the_first_sender_is_the_peer(tenon):
    process = listen(tenon, "udp://127.0.0.1:0", "-v", stdin=subprocess.PIPE)
    first, other = tenon.dial(process.url), tenon.dial(process.url)
    first.send(b"one\n")
    wait_until(lambda: process.out == b"one\n", lambda: process.out)
    other.send(b"other\n")
    process.wait_for_text("ignored a datagram from 127.0.0.1:")
    process.popen.stdin.write(b"answer\nand another\n")
    process.popen.stdin.flush()
    assert [first.recv(100), first.recv(100)] == [b"answer\n", b"and another\n"]
    first.send(b"two\n")
    wait_until(lambda: process.out == b"one\ntwo\n", lambda: process.out)
    process.popen.stdin.close()
    process.wait(0)


@pytest.mark.parametrize("tool,argv", [("nc", ["nc", "-u", "-w1", "127.0.0.1"]),
                                       ("socat", ["socat", "-t", "0.1", "-"])])
def test_datagrams_of_other_tools(tenon, program, tool, argv):
    program(tool)
    process = listen(tenon, "udp://127.0.0.1:0")
    port = port_of(process)
    tenon.finish([*argv, port] if tool == "nc" else [*argv, f"UDP:127.0.0.1:{port}"], input=b"a datagram")
    process.wait(0)
    assert process.out == b"a datagram"


def test_datagrams_with_keep_whoever_sent_last_is_answered(tenon):
    process = listen(tenon, "udp://127.0.0.1:0", "--keep", stdin=subprocess.PIPE)
    first, other = tenon.dial(process.url), tenon.dial(process.url)
    heard = b""
    for sock, text in ((first, b"a\n"), (other, b"b\n"), (first, b"c\n")):
        sock.send(text)
        heard += text
        wait_until(lambda: process.out == heard, lambda: process.out)
        process.popen.stdin.write(text.upper())
        process.popen.stdin.flush()
        assert sock.recv(100) == text.upper()
    process.signal(signal.SIGTERM)
    process.wait(None)


# Several, one after the other

def test_keep_takes_one_client_after_the_other(tenon):
    process = listen(tenon, "tcp://127.0.0.1:0", "--keep", stdin=subprocess.PIPE)
    heard = b""
    for i in range(5):
        text = b"client %d\n" % i
        with open_socket(process.url) as sock:
            sock.sendall(text)
            heard += text
            wait_until(lambda: process.out == heard, lambda: process.out)
            process.popen.stdin.write(text)
            process.popen.stdin.flush()
            assert receive_exactly(sock, len(text)) == text
    process.signal(signal.SIGTERM)
    process.wait(0)


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:9", "tls://127.0.0.1:9", "tls://127.0.0.1:9?queue=1MiB"])
def test_keep_is_for_listeners(tenon, url):
    """Who keeps to nothing but TLS may have meant curl's --insecure: that is a key, of TLS alone."""
    result = tenon.run("connect", "--keep", url, status=USAGE)
    assert "only with --listen" in result.err
    hint = f"'{url}{'&' if '?' in url else '?'}verify=off'"
    assert hint in result.err if url.startswith("tls") else "verify" not in result.err


def test_keep_lets_others_wait_for_their_turn(tenon):
    process = listen(tenon, "tcp://127.0.0.1:0", "--keep")
    socks = [tenon.dial(process.url) for _ in range(4)]
    for i, sock in enumerate(socks):
        sock.sendall(b"%d" % i * 100 * KIB)
    for sock in socks:
        sock.shutdown(socket.SHUT_WR)
        assert receive_to_end(sock) == b""
    wait_until(lambda: len(process.out) == 400 * KIB, lambda: len(process.out))
    assert re.fullmatch(b"0+1+2+3+", process.out)
    process.signal(signal.SIGINT)
    process.wait(0)


def test_keep_goes_on_after_a_client_that_fails(tenon):
    from harness import reset
    process = listen(tenon, f"unix:{tenon.folder}/sock", "--keep")
    open_socket(process.url).close()
    process.signal(signal.SIGTERM)
    process.wait(0)
    assert not (tenon.folder / "sock").exists()
    process = listen(tenon, "tcp://127.0.0.1:0", "--keep", stdin=subprocess.PIPE)
    sock = open_socket(process.url)
    sock.sendall(b"1")
    wait_until(lambda: process.out == b"1", lambda: process.out)
    reset(sock)
    process.wait_for_text("reset")
    with open_socket(process.url) as sock:
        sock.sendall(b"2")
        wait_until(lambda: process.out == b"12", lambda: process.out)
    process.signal(signal.SIGTERM)
    process.wait(0)


@pytest.mark.parametrize("keys,options,said,kept", [
    ("", ["--bytes", "5"], [b"abc", b"defgh"], b"abcde"),
    ("?frame=line", ["--count", "3"], [b"a\nb\n", b"c\nd\n"], b"a\nb\nc\n"),
])
def test_keep_counts_all_clients_together(tenon, keys, options, said, kept):
    """A second client was let go at once, with nothing of what it said, and the command never ended."""
    process = listen(tenon, f"tcp://127.0.0.1:0{keys}", "--keep", *options)
    for text in said:
        with open_socket(process.url) as sock:
            sock.sendall(text)
            sock.shutdown(socket.SHUT_WR)
            receive_to_end(sock)
    process.wait(0)
    assert process.out == kept


def test_keep_does_not_tell_the_next_what_the_last_was_told(tenon):
    process = listen(tenon, "tcp://127.0.0.1:0?frame=line", "--keep", stdin=subprocess.PIPE)
    with open_socket(process.url) as sock:
        process.popen.stdin.write(b"first\nhalf a line")
        process.popen.stdin.flush()
        assert receive_exactly(sock, 6) == b"first\n"
    with open_socket(process.url) as sock:
        sock.sendall(b"next\n")
        wait_until(lambda: process.out == b"next\n", lambda: process.out)
        process.popen.stdin.write(b"second\n")
        process.popen.stdin.flush()
        assert receive_exactly(sock, 7) == b"second\n"
    process.signal(signal.SIGTERM)
    process.wait(0)


@pytest.mark.parametrize("args,why", [
    (["--send-only", "--bytes", "1", "tcp://127.0.0.1:1"], "--bytes: what comes is dropped"),
    (["--send-only", "--count", "1", "udp://127.0.0.1:1"], "--count: what comes is dropped"),
    (["--recv-only", "--wait-input", "1s", "tcp://127.0.0.1:1"], "the input is not read"),
    (["--exit-on-end", "--wait-input", "1s", "tcp://127.0.0.1:1"], "give one of them"),
])
def test_options_of_connect_that_contradict_each_other(tenon, args, why):
    assert why in tenon.run("connect", *args, status=USAGE).err


def test_interrupted_before_anybody_came(tenon):
    process = listen(tenon, "tcp://127.0.0.1:0")
    process.signal(signal.SIGTERM)
    process.wait(FAILED)
    assert "interrupted before it was connected" in process.err


# What cannot be

@pytest.mark.parametrize("args,why", [
    (["--keep", "tcp://127.0.0.1:1"], "only with --listen"),
    (["--listen", "proxy://127.0.0.1:0"], "standard input cannot answer"),
    (["--listen", "http://127.0.0.1:0"], "standard input cannot answer"),
    (["--listen", "tcp://127.0.0.1:0?connect=1s"], "dialled endpoints only"),
    (["--listen"], "which URL"),
    (["--listen", "tcp://127.0.0.1:0", "tcp://127.0.0.1:0"], "one URL"),
])
def test_listening_asked_for_wrongly(tenon, args, why):
    assert why in tenon.run("connect", *args, status=USAGE).err


def test_an_address_that_somebody_has(tenon):
    taken = tenon.listen()
    result = tenon.run("connect", "--listen", f"tcp://127.0.0.1:{taken.getsockname()[1]}", status=FAILED)
    assert "in use" in result.err and "it belongs to python" in result.err


# tenon serve --once, --count

def test_serve_once(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--once", "--json"])
    first = tenon.dial(server.url)
    first.sendall(b"hello")
    assert receive_exactly(first, 5) == b"hello"
    with pytest.raises((ConnectionRefusedError, ConnectionResetError)):
        open_socket(server.url).recv(1)
    first.sendall(b"again")
    assert receive_exactly(first, 5) == b"again"
    first.close()
    server.wait(0)
    assert [event["event"] for event in server.events] == ["listening", "open", "close", "stopped"]


@pytest.mark.parametrize("threads", ["1", "2"])
def test_serve_count_is_over_all_endpoints(tenon, threads):
    server = tenon.serve("tcp://127.0.0.1:0", f"unix:{tenon.folder}/sock",
                         options=["--count", "3", "--threads", threads, "--handler", "exec:cat"])
    for url in (server.urls[0], server.urls[1], server.urls[0]):
        assert not server.is_over()
        assert tenon.run("connect", url, input=b"x").out == b"x"
    server.wait(0)


@pytest.mark.parametrize("args,why", [
    (["--once", "--count", "2"], "--once is --count 1"),
    (["--once", "udp://127.0.0.1:0"], "datagrams have no connections"),
    (["--count", "0"], "--count"),
    (["--count", "2", "--handler", "relay:tcp://127.0.0.1:1", "tcp://127.0.0.1:0"], "a relay"),
])
def test_counting_asked_for_wrongly(tenon, args, why):
    assert why in tenon.run("serve", *args, status=USAGE).err
