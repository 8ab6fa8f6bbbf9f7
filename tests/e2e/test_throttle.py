"""--rate and --interval of tenon send and tenon connect: nothing is lost, and it takes its time (at least)."""
import os
import select
import signal
import subprocess
import time

import pytest

from harness import KIB, MIB, noise, receive_to_end

USAGE = 2
DATA = noise(60 * KIB + 7, 11)
LINES = b"one\ntwo\nthree\nno line feed"


def seconds(tenon, *args, **kwargs):
    begun = time.monotonic()
    result = tenon.run(*args, **kwargs)
    return time.monotonic() - begun, result


@pytest.mark.parametrize("command", ["send", "connect"])
def test_rate_of_a_stream(tenon, command):
    """60 KiB at 200 KiB a second: 0.3 s, of which 0.1 s (the first piece, and what is made up for) is for free."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "echo"])
    took, result = seconds(tenon, command, "--rate", "200KiB", server.url, input=DATA)
    assert result.out == DATA
    assert took > 0.19


def test_rate_of_an_argument(tenon):
    """It is one message: its reply is not waited for while it still goes out, however short --wait is."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "echo"])
    path = tenon.file("in", DATA)
    took, result = seconds(tenon, "send", "--rate", "100KiB", server.url, f"@{path}")
    assert result.out == DATA
    assert took > 0.45


@pytest.mark.parametrize("command", ["send", "connect"])
def test_rate_of_messages(tenon, command):
    """They stay whole: 4 of 5000 bytes at 40 kB a second, each waits for the one before."""
    server = tenon.serve("tcp://127.0.0.1:0?frame=line", options=["--handler", "echo"])
    text = b"".join(bytes([letter]) * 5000 + b"\n" for letter in b"abcd")
    took, result = seconds(tenon, command, "--rate", "40000", f"{server.url}?frame=line", input=text)
    assert result.out == text
    assert took > 0.3


@pytest.mark.parametrize("command,more", [("send", "--no-reply"), ("connect", "--send-only")])
def test_interval_of_lines_on_a_stream(tenon, command, more):
    """What has no line feed is a line too, and the end comes after it."""
    listener = tenon.listen()
    url = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    process = tenon.start(command, more, "--interval", "60ms", url, stdin=tenon.opened(tenon.file("in", LINES)))
    sock = tenon.accept(listener)
    assert receive_to_end(sock) == LINES
    sock.close()
    process.wait(0)


@pytest.mark.parametrize("command", ["send", "connect"])
@pytest.mark.parametrize("scheme,key", [("tcp", ""), ("tcp", "?frame=line"), ("udp", "")])
def test_interval(tenon, command, scheme, key):
    server = tenon.serve(f"{scheme}://127.0.0.1:0{key}", options=["--handler", "echo"])
    took, result = seconds(tenon, command, "--interval", "60ms", server.url + key, input=LINES)
    assert result.out.rstrip(b"\n") == LINES
    assert took >= 0.18


@pytest.mark.parametrize("option", [["--interval", "60ms"], ["--rate", "100"]], ids=["interval", "rate"])
def test_the_input_goes_on_when_its_lines_have_waited(tenon, option):
    """A program that writes a little now and then: that all of it was sent is not its end."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "echo"])
    process = tenon.start("connect", *option, server.url, stdin=subprocess.PIPE)
    for text in ("one\ntwo\nthree\n", "four\nfive\n", "six\n"):
        process.popen.stdin.write(text.encode())
        process.popen.stdin.flush()
        process.wait_for_text(text.split()[-1], where="out")
    process.popen.stdin.close()
    process.wait(0)
    assert process.out == b"one\ntwo\nthree\nfour\nfive\nsix\n"


def test_interval_of_arguments(tenon):
    """Also of those that are sent again: five intervals between six messages. A reply is no message."""
    server = tenon.serve("tcp://127.0.0.1:0?frame=line", options=["--handler", "ack"])
    took, result = seconds(tenon, "send", "--interval", "40ms", "--count", "3", f"{server.url}?frame=line", "a", "b")
    assert result.out == b"ack: a\nack: b\n" * 3
    assert took >= 0.2


def test_interval_with_a_client_that_comes(tenon):
    """--listen: the input waits until somebody is there."""
    server = tenon.start("connect", "--listen", "--interval", "20ms", "tcp://127.0.0.1:0",
                         stdin=tenon.opened(tenon.file("in", LINES)))
    url = server.wait_for_text(r"listening on (\S+)")[1]
    result = tenon.run("connect", url, stdin=subprocess.DEVNULL)
    assert result.out == LINES
    server.wait(0)


def test_interval_of_answers_to_a_sender_of_datagrams(tenon):
    """--listen on datagrams: lines wait for the first sender, and then for their time."""
    server = tenon.start("connect", "--listen", "--interval", "20ms", "udp://127.0.0.1:0",
                         stdin=tenon.opened(tenon.file("in", LINES)))
    client = tenon.dial(server.wait_for_text(r"listening on (\S+)")[1])
    client.send(b"hello")
    assert b"".join(client.recv(100) for _ in range(4)) == LINES
    server.wait(0)
    assert server.out == b"hello"


def test_a_rate_that_the_peer_does_not_keep_up_with(tenon):
    """The queue is full again and again: nothing is lost, and the end comes after the last byte."""
    listener = tenon.listen()
    url = f"tcp://127.0.0.1:{listener.getsockname()[1]}?sndbuf=8KiB"
    data = noise(MIB + 1, 12)
    process = tenon.start("connect", "--send-only", "--rate", "1GiB", url, stdin=tenon.opened(tenon.file("in", data)))
    sock = tenon.accept(listener)
    assert receive_to_end(sock) == data
    sock.close()
    process.wait(0)


def test_an_endless_input_is_not_read_ahead(tenon):
    """What the rate does not allow stays in the pipe: the writer is held back, nothing is stored."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "discard", "--json"])
    ours, theirs = os.pipe()
    process = tenon.start("connect", "--rate", "1KiB", server.url, stdin=ours)
    os.close(ours)
    server.wait_for_event("open")
    put = 0
    while put < 8 * MIB and select.select([], [theirs], [], 0.3)[1]:
        put += os.write(theirs, b"y\n" * 2 * KIB)
    process.signal(signal.SIGTERM)
    process.wait(1)
    os.close(theirs)
    assert put < MIB and "the rest of the input has not been sent" in process.err


@pytest.mark.parametrize("engine", ["auto"], indirect=True)
@pytest.mark.parametrize("command", ["send", "connect"])
@pytest.mark.parametrize("args,words", [
    (["--rate", "fast"], "--rate: 'fast' is not a size"),
    (["--rate", "0"], "out of range"),
    (["--rate", "1048577MiB"], "out of range"),
    (["--interval", "soon"], "is not a duration"),
])
def test_throttles_that_are_none(tenon, command, args, words):
    result = tenon.run(command, *args, "tcp://127.0.0.1:9", status=USAGE)
    assert words in result.err
