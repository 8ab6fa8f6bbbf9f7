"""tenon send: each message, and the reply to it."""
import base64
import contextlib
import fcntl
import json
import os
import re
import select
import socket
import struct
import subprocess
import termios
import threading
import time

import pytest

from harness import KIB, MIB, Tenon, load, noise, receive_exactly, receive_to_end, wait_until

FAILED, TIMED_OUT, REFUSED = 1, 3, 4

URLS = ["tcp://127.0.0.1:0", "tcp://[::1]:0", "mptcp://127.0.0.1:0", "unix:{}/sock", "unix-seqpacket:{}/sock",
        "udp://127.0.0.1:0", "udp://[::1]:0", "unix-dgram:{}/sock"]


@pytest.fixture(scope="module", params=URLS, ids=[url.split(":")[0] + ("6" if "[" in url else "") for url in URLS])
def echo(request, engine, tmp_path_factory):
    """A server that echoes, of every kind; one for all tests of this file."""
    with contextlib.closing(Tenon(tmp_path_factory.mktemp("echo"), engine)) as scene:
        yield scene.serve(request.param.format(scene.folder), options=["--handler", "echo"])


class Peer:
    """A server in a thread: `talk(socket)` for one client after another. Its URL, and what went wrong in it."""

    def __init__(self, talk):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.talk, self.open, self.trouble = talk, True, []
        self.url = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while True:
            sock, _ = self.listener.accept()
            with sock:
                if not self.open:
                    return
                sock.settimeout(20)
                try:
                    self.talk(sock)
                except ConnectionError:
                    pass  # a client may leave when it has what it came for
                except Exception as error:  # pylint: disable=broad-except
                    self.trouble.append(error)

    def close(self):
        self.open = False
        socket.create_connection(self.listener.getsockname()).close()
        self.thread.join()
        self.listener.close()
        assert not self.trouble


@pytest.fixture
def peer():
    """peer(talk): the URL of a server that does so."""
    with contextlib.ExitStack() as stack:
        yield lambda talk: stack.enter_context(contextlib.closing(Peer(talk))).url


# Against servers of ours

def test_the_first_thing_that_anybody_types(tenon):
    server = tenon.serve("udp://127.0.0.1:0")
    assert tenon.run("send", server.url, "Hello, world!").out == b"ack: Hello, world!\n"


def test_arguments(tenon, echo):
    result = tenon.run("send", echo.url, "one", "two words", "three", "ünïcödé")
    assert result.text == "one\ntwo words\nthree\nünïcödé\n" and result.err == ""


def test_lines(tenon, echo):
    result = tenon.run("send", echo.url, input=b"one\ntwo\nthree\n")
    assert result.text == "one\ntwo\nthree\n"


def is_bytes(url):
    """A stream without messages: standard input is sent, and the reply written, byte for byte."""
    return url.startswith(("tcp", "mptcp", "unix:"))


def test_a_last_line_without_a_line_feed(tenon, echo):
    assert tenon.run("send", echo.url, input=b"one\ntwo").text == "one\ntwo" + "\n" * (not is_bytes(echo.url))


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\n\n\n", noise(3 * MIB), b""], ids=len)
def test_standard_input_on_a_stream_is_one_message(tenon, peer, data):
    """A server that answers after the whole request; no line, and no byte, is lost or added."""
    def talk(sock):
        sock.sendall(receive_to_end(sock))
    path = tenon.file("request", data)
    with open(path, "rb") as request, open(tenon.folder / "reply", "wb") as reply:
        tenon.run("send", peer(talk), stdin=request, stdout=reply)
    assert (tenon.folder / "reply").read_bytes() == data


@pytest.mark.parametrize("bad,out", [("", b""), ("&bad=close", b""), ("&bad=skip", b"1\n")])
def test_a_bad_reply(tenon, peer, bad, out):
    """It is the end, unless the URL says to go on behind it; either way the exit status tells."""
    def talk(sock):
        sock.sendall(b"[\n1\n")
        receive_to_end(sock)
    result = tenon.run("send", f"{peer(talk)}?frame=line&format=json{bad}", "0", status=REFUSED)
    assert result.out == out and "reply: " in result.err and "the text ends early" in result.err


def test_a_request_in_pieces(tenon, peer):
    """What is no whole request gets no reply, and is not waited for."""
    def talk(sock):
        request = b""
        while not request.endswith(b"\n\n"):
            request += sock.recv(100)
        sock.sendall(b"%d lines\n" % request.count(b"\n"))
    script = '(echo one; sleep 0.7; echo two; sleep 0.7; echo) | "$@"'
    result = tenon.finish(["/bin/sh", "-c", script, "sh", *tenon.argv("send", "--wait", "500ms", peer(talk))])
    assert result.text == "3 lines\n"


def test_json_of_standard_input_on_a_stream(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    lines = tenon.run("send", "--json", server.url, input=b"one\ntwo\n").text.splitlines()
    assert [json.loads(line)["data"] for line in lines] == ["one\ntwo\n"]


def test_a_line_server(tenon, peer):
    """It ignores what is no line: that is told, and what helps; with frame=line it answers."""
    def talk(sock):
        with sock.makefile("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    sock.sendall(b"+PONG\n")
    url = peer(talk)
    for result in tenon.run("send", url, "PING"), tenon.run("send", url, input=b"PING"):
        assert "without a reply" in result.err and "frame=line" in result.err
    assert tenon.run("send", f"{url}?frame=line", "PING").text == "+PONG\n"
    assert tenon.run("send", url, input=b"PING\nPING\n").text == "+PONG\n+PONG\n"


def test_many_lines(tenon, echo):
    text = b"".join(b"line %d\n" % i for i in range(2000))
    assert tenon.run("send", echo.url, input=text).out == text


def test_count(tenon, echo):
    assert tenon.run("send", echo.url, "--count", "3", "one", "two").text == "one\ntwo\n" * 3
    assert tenon.run("send", "--count=2", echo.url, input=b"three\nfour\n").text == "three\nfour\n" * 2


def test_a_file(tenon, echo):
    path = tenon.file("message", noise(50 * KIB).replace(b"\n", b"x"))
    assert tenon.run("send", echo.url, f"@{path}").out == path.read_bytes()


def test_files_and_words(tenon, echo):
    path = tenon.file("message", b"from a file")
    result = tenon.run("send", echo.url, f"@{path}", "word", "@-", "@@at", input=b"from standard input")
    assert result.text == "from a file\nword\nfrom standard input\n@at\n"


def test_a_large_file(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    path = tenon.file("message", noise(30 * MIB))
    with open(tenon.folder / "reply", "wb") as reply:
        tenon.run("send", server.url, f"@{path}", stdout=reply)
    assert (tenon.folder / "reply").read_bytes() == path.read_bytes()


def test_no_such_file(tenon, echo):
    result = tenon.run("send", echo.url, f"@{tenon.folder}/nothing", status=FAILED)
    assert "nothing" in result.err and "No such file" in result.err and result.out == b""


def test_nothing_to_send(tenon, echo):
    result = tenon.run("send", echo.url)
    assert result.out == b"" and result.err == ""


def test_an_empty_message(tenon):
    server = tenon.serve("udp://127.0.0.1:0")
    assert tenon.run("send", server.url, "").text == "ack: \n"
    assert tenon.run("send", server.url, "", "two", "").text == "ack: \nack: two\nack: \n"
    assert tenon.run("send", server.url, input=b"one\n\nthree\n").text == "ack: one\nack: \nack: three\n"


def test_an_empty_message_on_a_stream(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    assert tenon.run("send", server.url, "").err == ""


def test_a_message_that_begins_with_a_dash(tenon, echo):
    assert tenon.run("send", echo.url, "--", "-x", "--json").text == "-x\n--json\n"


def test_binary_data_stay_as_they_are(tenon, echo):
    path = tenon.file("message", bytes(range(256)))
    assert tenon.run("send", echo.url, f"@{path}").out == bytes(range(256))


def test_a_reply_that_ends_with_a_line_feed_gets_no_second_one(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    path = tenon.file("message", b"hello\n")
    assert tenon.run("send", server.url, f"@{path}").text == "hello\n"


def test_standard_input_is_left_alone_when_there_are_messages(tenon):
    """Otherwise a loop over lines would lose all but the first."""
    server = tenon.serve("udp://127.0.0.1:0")
    script = 'while read -r line; do "$@" "$line"; done'
    result = tenon.finish(["/bin/sh", "-c", script, "sh", *tenon.argv("send", server.url)], input=b"one\ntwo\nthree\n")
    assert result.text == "ack: one\nack: two\nack: three\n"


def test_json(tenon, echo):
    began = time.monotonic()
    result = tenon.run("send", "--json", echo.url, "one", 'tw"o\n', "thr\xe9e")
    took_ms = (time.monotonic() - began) * 1000
    lines = [json.loads(line) for line in result.text.splitlines()]
    assert [line["data"] for line in lines] == ["one", 'tw"o\n', "thr\xe9e"]
    assert [line["message"] for line in lines] == [1, 2, 3]
    assert [line["bytes"] for line in lines] == [3, 5, 6]
    assert all(line["event"] == "reply" and 0 <= line["ms"] <= took_ms for line in lines)
    assert sum(line["ms"] for line in lines) <= took_ms


@pytest.mark.parametrize("count", [1, 3])
def test_more_lines_than_are_read_ahead(tenon, count):
    """All of them are sent, in their order, and again as often as is asked for."""
    lines = b"".join(b"line %d %s\n" % (i, b"x" * 1000) for i in range(300))
    server = tenon.serve("tcp://127.0.0.1:0?frame=line", options=["--handler", "echo"])
    result = tenon.run("send", "--count", count, f"{server.url.partition('?')[0]}?frame=line", input=lines)
    assert result.out == lines * count


def test_no_more_is_read_than_can_be_sent(tenon):
    """Of lines that wait for the replies to those before, a bound is read; the rest stays where it comes from."""
    listener = tenon.listen()
    process = tenon.start("send", "tcp://127.0.0.1:%d?frame=line" % listener.getsockname()[1], stdin=subprocess.PIPE)
    tenon.accept(listener)
    pipe = process.popen.stdin.fileno()
    os.set_blocking(pipe, False)
    taken, until = 0, time.monotonic() + 0.5
    while time.monotonic() < until and taken < 16 * MIB:
        with contextlib.suppress(BlockingIOError):
            taken += os.write(pipe, b"a line of some length\n" * 100)
            until = time.monotonic() + 0.5
    assert taken < MIB
    process.kill()


def test_json_of_bytes_that_are_no_text(tenon):
    server = tenon.serve("udp://127.0.0.1:0", options=["--handler", "echo"])
    path = tenon.file("message", b"\xff\x00\xc3(ok")
    line = json.loads(tenon.run("send", "--json", server.url, f"@{path}").text)
    assert base64.b64decode(line["data_base64"]) == b"\xff\x00\xc3(ok" and line["data"] == "\ufffd\0\ufffd(ok"


def test_verbose_names_both_ends(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    result = tenon.run("send", "-v", server.url, "hello")
    assert result.text == "hello\n" and server.url in result.err


@pytest.mark.parametrize("scheme", ["udp", "unix-dgram"])
def test_a_datagram_that_is_too_large(tenon, scheme):
    server = tenon.serve("udp://127.0.0.1:0" if scheme == "udp" else f"unix-dgram:{tenon.folder}/sock")
    path = tenon.file("message", noise(70000 if scheme == "udp" else 8 * MIB))
    result = tenon.run("send", server.url, f"@{path}", status=REFUSED)
    assert result.out == b"" and "long" in result.err.lower() or "large" in result.err.lower()


def test_the_largest_datagram(tenon):
    server = tenon.serve("udp://127.0.0.1:0", options=["--handler", "echo"])
    path = tenon.file("message", noise(65507))
    assert tenon.run("send", server.url, f"@{path}").out == noise(65507)


def test_a_reader_that_goes_away(tenon):
    """`tenon send ... | head -c 1`: it ends quietly."""
    server = tenon.serve("tcp://127.0.0.1:0")
    path = tenon.file("message", noise(5 * MIB))
    result = tenon.finish(["/bin/sh", "-c", '("$@"; echo $? >&2) | head -c 10', "sh",
                           *tenon.argv("send", server.url, f"@{path}")])
    assert result.out == noise(5 * MIB)[:10]
    assert result.err == "0\n"


# Against servers that others might write

def test_a_server_that_closes_after_its_reply(tenon, peer):
    def talk(sock):
        sock.sendall(b"reply to " + sock.recv(100))
    assert tenon.run("send", peer(talk), "one").text == "reply to one\n"


def test_a_server_that_never_closes(tenon, peer):
    done = threading.Event()

    def talk(sock):
        sock.sendall(sock.recv(100))
        done.wait(20)
    url = peer(talk)
    try:
        assert tenon.run("send", "--wait", "300ms", url, "hello").text == "hello\n"
    finally:
        done.set()


def test_a_server_that_answers_in_pieces(tenon, peer):
    def talk(sock):
        while data := sock.recv(100):
            for byte in data:
                sock.sendall(bytes([byte]))
    assert tenon.run("send", peer(talk), "one", "two two two", "three").text == "one\ntwo two two\nthree\n"


def test_a_server_that_answers_late_and_in_pieces(tenon, peer):
    def talk(sock):
        request = receive_to_end(sock)
        for i in range(5):
            sock.sendall(b"%d: %s\n" % (i, request))
            threading.Event().wait(0.1)
    url = peer(talk)
    assert tenon.run("send", url, "x").text == "".join(f"{i}: x\n" for i in range(5))


def test_a_server_that_answers_after_the_end_only(tenon, peer):
    def talk(sock):
        sock.sendall(receive_to_end(sock)[::-1])
    assert tenon.run("send", peer(talk), "hello").text == "olleh\n"


@pytest.mark.parametrize("scheme", ["tcp", "udp", "unix"])
def test_a_server_that_never_answers(tenon, scheme):
    family, kind, address = {"tcp": (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
                             "udp": (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
                             "unix": (socket.AF_UNIX, socket.SOCK_STREAM, str(tenon.folder / "sock"))}[scheme]
    listener = tenon.listen(family, address, kind)
    url = f"unix:{address}" if scheme == "unix" else f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
    result = tenon.run("send", "--wait", "200ms", url, "hello?", status=TIMED_OUT)
    assert result.out == b"" and url in result.err and "no reply" in result.err
    if scheme == "unix":
        (tenon.folder / "sock").unlink()


@pytest.mark.parametrize("engine", ["auto"], indirect=True)
def test_how_long_a_server_that_never_answers_is_waited_for(tenon):
    """Five seconds, where nothing else is said; beside that a whole second for each reply of many."""
    listener, sock = tenon.listen(), tenon.listen(kind=socket.SOCK_DGRAM)
    processes = [tenon.start("send", f"tcp://127.0.0.1:{listener.getsockname()[1]}", "hello?"),
                 tenon.start("send", f"udp://127.0.0.1:{sock.getsockname()[1]}", "hello?")]
    for process in processes:
        process.wait(TIMED_OUT)
        assert process.err.endswith(": no reply within 5 s\n")


def test_a_reply_of_one_byte(tenon, peer):
    """Shorter than what was asked: a short silence ends it, and the next message goes."""
    def talk(sock):
        for text in (b"one", b"two"):
            assert receive_exactly(sock, 3) == text
            sock.sendall(b".")
        assert sock.recv(1) == b""
        sock.sendall(b"the end")
    done = tenon.run("send", peer(talk), "one", "two")
    assert done.out == b".\n.the end\n"


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_an_input_that_ends_after_it_was_answered(tenon, peer, options):
    """The peer is told of the end, and may still say something; that it does not end is no failure."""
    over = threading.Event()

    def talk(sock):
        sock.sendall(receive_exactly(sock, 5))
        assert sock.recv(1) == b""
        sock.sendall(b"+")
        assert over.wait(60)
    process = tenon.start("send", "--wait", "400ms", *options, peer(talk), stdin=subprocess.PIPE)
    process.popen.stdin.write(b"hello")
    process.popen.stdin.flush()
    if options:
        select.select([], [], [], 0.2)
    else:
        wait_until(lambda: process.out == b"hello", lambda: process.out)
    process.popen.stdin.close()
    try:
        process.wait(0)
    finally:
        over.set()
    assert process.out == b"hello+" or json.loads(process.out)["data"] == "hello+"


@pytest.mark.parametrize("engine", ["auto"], indirect=True)
@pytest.mark.parametrize("keys", ["", "?frame=line"])
def test_standard_input_several_times(tenon, keys):
    server = tenon.serve(f"tcp://127.0.0.1:0{keys}")
    url = server.url.split("?")[0] + keys
    wanted = b"one\ntwo\n" * 3
    assert tenon.run("send", "--count", 3, url, input=b"one\ntwo\n").out == wanted


@pytest.mark.parametrize("engine", ["auto"], indirect=True)
def test_a_message_that_is_typed_wrongly(tenon):
    """Those before it are sent and answered; it and those behind it are not."""
    server = tenon.serve("tcp://127.0.0.1:0?frame=line&format=json", options=["--json"])
    url = f"{server.url.split('?')[0]}?frame=line&format=json"
    done = tenon.run("send", url, "[1]", "[2", "[3]", status=4)
    assert done.out == b"[1]\n" and re.search(r"^tenon: message 2: json: ", done.err)
    assert server.wait_for_event("close")["messages_in"] == 1
    done = tenon.run("send", url, input=b"[1]\n\n  \n[2]\n")
    assert done.out == b"[1]\n[2]\n"


@pytest.mark.parametrize("engine", ["auto"], indirect=True)
def test_json_numbers_its_replies(tenon, peer):
    def talk(sock):
        for text in (b"one\n", b"and two\n"):
            assert receive_exactly(sock, len(text)) == text
            select.select([], [], [], 0.1)
            sock.sendall(b"to " + text)
    done = tenon.run("send", "--json", f"{peer(talk)}?frame=line", "one", "and two")
    replies = [json.loads(line) for line in done.lines]
    assert [(r["message"], r["bytes"], r["data"]) for r in replies] == [(1, 6, "to one"), (2, 10, "to and two")]
    assert all(95 <= r["ms"] < 190 * load() for r in replies)


def test_a_server_that_answers_some_only(tenon):
    """A lost datagram: what came before it has been printed."""
    sock = tenon.listen(kind=socket.SOCK_DGRAM)
    process = tenon.start("send", "--wait", "300ms", f"udp://127.0.0.1:{sock.getsockname()[1]}", "one", "two", "three")
    data, address = sock.recvfrom(100)
    sock.sendto(b"got " + data, address)
    process.wait(TIMED_OUT)
    assert process.out == b"got one\n"


def test_a_server_that_closes_without_a_word(tenon, peer):
    def talk(sock):
        sock.recv(100)
    result = tenon.run("send", peer(talk), "one", "two", status=FAILED)
    assert result.out == b"" and "ended" in result.err


def test_a_server_that_closes_in_the_middle(tenon, peer):
    def talk(sock):
        sock.sendall(sock.recv(100))
    result = tenon.run("send", peer(talk), "one", "two", "three", status=FAILED)
    assert result.text.startswith("one\n")


def test_a_server_with_more_to_say_than_was_asked(tenon, peer):
    def talk(sock):
        sock.recv(100)
        sock.sendall(noise(5 * MIB))
    assert tenon.run("send", peer(talk), "all, please").out == noise(5 * MIB).removesuffix(b"\n") + b"\n"


def test_a_server_that_greets(tenon, peer):
    """A greeting is no reply, but what comes is printed, and nothing hangs."""
    def talk(sock):
        sock.sendall(b"220 good day\r\n")
        sock.sendall(b"you said " + receive_to_end(sock))
    result = tenon.run("send", peer(talk), "hello")
    assert result.text.endswith("you said hello\n")


def test_no_reply_does_not_wait(tenon):
    sock = tenon.listen()
    url = f"tcp://127.0.0.1:{sock.getsockname()[1]}"
    process = tenon.start("send", "--no-reply", url, "one", "two")
    client = tenon.accept(sock)
    assert receive_to_end(client) == b"onetwo"
    client.close()
    process.wait(0)
    assert process.out == b""


def test_no_reply_of_datagrams(tenon):
    sock = tenon.listen(kind=socket.SOCK_DGRAM)
    url = f"udp://127.0.0.1:{sock.getsockname()[1]}"
    assert tenon.run("send", "--no-reply", url, "one", "two", "--count", "2").out == b""
    assert [sock.recv(100) for _ in range(4)] == [b"one", b"two", b"one", b"two"]


def test_no_reply_of_much(tenon, peer):
    """All of it arrives, though the peer takes its time to read."""
    got = []

    def talk(sock):
        threading.Event().wait(0.3)
        got.append(receive_to_end(sock))
    url = peer(talk)
    path = tenon.file("message", noise(20 * MIB))
    tenon.run("send", "--no-reply", url, f"@{path}")
    for _ in range(1000):
        if got:
            break
        threading.Event().wait(0.02)
    assert got == [noise(20 * MIB)]


def test_lines_as_they_come(tenon):
    """A line typed is sent at once, and its reply printed before the next."""
    server = tenon.serve("udp://127.0.0.1:0")
    process = tenon.start("send", server.url, stdin=subprocess.PIPE)
    for i, text in enumerate((b"one\n", b"two\n", b"three\n")):
        process.popen.stdin.write(text)
        process.popen.stdin.flush()
        wait_until(lambda: len(process.lines) == i + 1, lambda: process.lines)
        assert process.lines[-1] == "ack: " + text.decode().strip()
    process.popen.stdin.close()
    process.wait(0)


def test_lines_as_they_come_on_a_stream(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    process = tenon.start("send", server.url, stdin=subprocess.PIPE)
    for i, text in enumerate((b"one\n", b"two\n", b"three\n")):
        process.popen.stdin.write(text)
        process.popen.stdin.flush()
        wait_until(lambda: len(process.lines) == i + 1, lambda: process.lines)
    process.popen.stdin.close()
    process.wait(0)
    assert process.out == b"one\ntwo\nthree\n"


def test_two_at_a_time_do_not_mix(tenon):
    server = tenon.serve("udp://127.0.0.1:0")
    processes = [tenon.start("send", server.url, *[f"{i}-{j}" for j in range(50)]) for i in range(8)]
    for i, process in enumerate(processes):
        process.wait(0)
        assert process.lines == [f"ack: {i}-{j}" for j in range(50)]


def test_an_empty_packet_is_no_message(tenon):
    """It would read as the end of the stream; what stood before it was sent."""
    server = tenon.serve("unix-seqpacket:" + str(tenon.folder / "sock"))
    result = tenon.run("send", server.url, "", status=4)
    assert "an empty message on unix-seqpacket is the end of the stream to its reader" in result.err
    result = tenon.run("send", server.url, input=b"hello\n\nagain\n", status=None)
    assert result.status in (0, 4) and result.out.startswith(b"hello\n"), result


def unread(sock):
    """Of what was sent on a Unix socket, as its reader has left it."""
    return struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0]


def test_replies_that_come_too_soon(tenon):
    """What had no room has not been sent, an empty message too: what comes then is no reply to it."""
    path, messages = str(tenon.folder / "sock"), [b"a" * MIB, b"b" * MIB, b"", b"end"]
    files = [f"@{tenon.file(f'message{i}', message)}" for i, message in enumerate(messages)]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        process = tenon.start("send", f"unix:{path}?frame=line&queue=4KiB&max=1MiB", *files)
        sock = tenon.accept(listener)
        os.unlink(path)
        receive_exactly(sock, 1)
        sock.sendall(b"1\nsoon\nsoon\nsoon\n")
        wait_until(lambda: unread(sock) == 0, "they have come")
        for i, message in enumerate(messages):
            assert receive_exactly(sock, len(message) + bool(i)) == (message if i else message[1:]) + b"\n"
            if i:
                sock.sendall(b"%d\n" % (i + 1))
        process.wait(0)
    assert process.out == b"1\n2\n3\n4\n"
