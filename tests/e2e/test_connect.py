"""tenon connect: standard input to a socket and the socket to standard output, for pipes, files and people."""
import concurrent.futures
import fcntl
import os
import pty
import re
import socket
import subprocess
import time
import tty

import pytest

from harness import (KIB, LIMIT, MIB, SANITIZED, noise, open_socket, receive_exactly, receive_to_end,
                     resident_bytes, wait_until)

FAILED = 1

STREAMS = ["tcp://127.0.0.1:0", "tcp://[::1]:0", "mptcp://127.0.0.1:0", "unix:{}/sock"]


@pytest.fixture
def echo(tenon):
    return tenon.serve("tcp://127.0.0.1:0")


@pytest.fixture
def listener(tenon):
    """A socket of ours that listens, and its URL."""
    sock = tenon.listen()
    return sock, f"tcp://127.0.0.1:{sock.getsockname()[1]}"


@pytest.mark.parametrize("url", STREAMS, ids=["tcp", "tcp6", "mptcp", "unix"])
def test_every_size_through_pipes(tenon, url):
    server = tenon.serve(url.format(tenon.folder))
    for size in (0, 1, 15, 16, 17, 4096, 65536, 65537, MIB):
        assert tenon.run("connect", server.url, input=noise(size)).out == noise(size)


def test_50_mib_through_files(tenon, echo):
    path = tenon.file("data", noise(50 * MIB))
    with open(path, "rb") as source, open(tenon.folder / "copy", "wb") as sink:
        tenon.run("connect", echo.url, stdin=source, stdout=sink)
    tenon.finish(["cmp", path, tenon.folder / "copy"])


def test_50_mib_through_pipes(tenon, echo):
    """cat | tenon | cat, as shells join them."""
    path = tenon.file("data", noise(50 * MIB))
    script = f'cat {path} | "$@" | cat > {tenon.folder}/copy'
    tenon.finish(["/bin/sh", "-c", script, "sh", *tenon.argv("connect", echo.url)])
    tenon.finish(["cmp", path, tenon.folder / "copy"])


def test_a_file_into_a_program_that_answers_after_the_end(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "exec:md5sum"])
    import hashlib
    data = noise(20 * MIB)
    path = tenon.file("data", data)
    assert tenon.feed(path, tenon.argv("connect", server.url)).split()[0].decode() == hashlib.md5(data).hexdigest()


@pytest.mark.parametrize("how", ["<&-", "</dev/null", "< /dev/null > out"])
def test_no_input(tenon, how):
    """A server that speaks first is heard to its end."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "exec:seq 100000"])
    script = f'exec "$@" {how}'
    result = tenon.finish(["/bin/sh", "-c", script, "sh", *tenon.argv("connect", server.url)], cwd=tenon.folder)
    out = (tenon.folder / "out").read_bytes() if "out" in how else result.out
    assert out == b"".join(b"%d\n" % i for i in range(1, 100001)) and result.err == ""


def test_closed_output(tenon, echo):
    """Nobody wants the answer; what is said arrives all the same."""
    result = tenon.finish(["/bin/sh", "-c", 'exec "$@" >&-', "sh", *tenon.argv("connect", echo.url)], None,
                          input=noise(100 * KIB))
    assert result.status in (0, 1)


def test_all_three_closed(tenon, echo):
    tenon.finish(["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *tenon.argv("connect", echo.url)], None)


def test_a_slow_reader_holds_back_the_server(tenon):
    """Memory stays bounded, and nothing is lost when the reader reads at last."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "exec:seq 3000000"])
    process = tenon.start("connect", server.url, stdout=subprocess.PIPE)
    time.sleep(0.5)
    if not SANITIZED:
        assert resident_bytes(process.pid) < 32 * MIB
    assert process.popen.stdout.read() == b"".join(b"%d\n" % i for i in range(1, 3000001))
    process.wait(0)


def test_a_slow_server_holds_back_the_input(tenon, listener):
    process = tenon.start("connect", listener[1], stdin=subprocess.PIPE)
    sock = tenon.accept(listener[0])
    data = noise(64 * MIB)
    os.set_blocking(process.popen.stdin.fileno(), False)
    sent, quiet_since = 0, time.monotonic()
    while time.monotonic() - quiet_since < 0.4:
        try:
            sent += os.write(process.popen.stdin.fileno(), data[sent:sent + 64 * KIB])
            quiet_since = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
        assert sent < len(data), "nobody holds back the input"
    if not SANITIZED:
        assert resident_bytes(process.pid) < 32 * MIB
    process.popen.stdin.close()
    assert receive_to_end(sock) == data[:sent]
    sock.close()
    process.wait(0)


def test_a_conversation(tenon, echo):
    """Each line comes back before the next is typed: nothing waits for a buffer to fill."""
    process = tenon.start("connect", echo.url, stdin=subprocess.PIPE)
    text = b""
    for line in (b"one\n", b"two\n", b"three\n"):
        process.popen.stdin.write(line)
        process.popen.stdin.flush()
        text += line
        wait_until(lambda: process.out == text, lambda: process.out)
    process.popen.stdin.close()
    process.wait(0)


# The end

def test_the_server_ends_while_the_input_is_open(tenon, listener):
    """A pipe that stays open and silent keeps it, unless it is told not to wait."""
    process = tenon.start("connect", "--exit-on-end", listener[1], stdin=subprocess.PIPE)
    sock = tenon.accept(listener[0])
    sock.sendall(b"good bye")
    sock.close()
    process.wait(0)
    assert process.out == b"good bye" and process.err == ""


def test_the_server_ends_and_still_listens(tenon, listener):
    process = tenon.start("connect", listener[1], stdin=subprocess.PIPE)
    sock = tenon.accept(listener[0])
    sock.sendall(b"go on")
    sock.shutdown(socket.SHUT_WR)
    wait_until(lambda: process.out == b"go on", lambda: process.out)
    process.popen.stdin.write(noise(MIB))
    process.popen.stdin.close()
    assert receive_to_end(sock) == noise(MIB)
    sock.close()
    process.wait(0)


def test_the_server_goes_on_long_after_our_end(tenon, listener):
    process = tenon.start("connect", listener[1])
    sock = tenon.accept(listener[0])
    assert sock.recv(10) == b""
    for i in range(5):
        time.sleep(0.1)
        sock.sendall(b"%d" % i)
    sock.close()
    process.wait(0)
    assert process.out == b"01234"


def test_wait_is_how_long_a_silent_server_is_heard(tenon, listener):
    process = tenon.start("connect", "--wait", "200ms", listener[1])
    sock = tenon.accept(listener[0])
    assert sock.recv(10) == b""
    sock.sendall(b"the last word")
    process.wait(0)
    assert process.out == b"the last word"


def test_wait_is_not_for_who_reads_slowly(tenon, listener):
    """The server is not silent: it waits for our reader, such as a pager."""
    data = noise(8 * MIB)
    process = tenon.start("connect", "--wait", "500ms", listener[1], stdout=subprocess.PIPE)
    sock = tenon.accept(listener[0])
    with concurrent.futures.ThreadPoolExecutor() as pool:
        sent = pool.submit(lambda: (sock.sendall(data), sock.shutdown(socket.SHUT_WR)))
        time.sleep(1)
        assert process.popen.stdout.read() == data
        sent.result()
    process.wait(0)


# People

def terminal(tenon, url, stdout_too=True):
    """tenon connect on a terminal that does not echo. Returns (the person's side, the process)."""
    person, terminal_fd = pty.openpty()
    tenon.cleanups.callback(os.close, person)
    attributes = tty.tcgetattr(terminal_fd)
    attributes[3] &= ~tty.ECHO
    tty.tcsetattr(terminal_fd, tty.TCSANOW, attributes)
    process = tenon.start("connect", url, stdin=terminal_fd, stdout=terminal_fd if stdout_too else None,
                          start_new_session=True)
    os.close(terminal_fd)
    return person, process


def read_from(fd, size):
    import select
    got = b""
    while len(got) < size:
        assert select.select([fd], [], [], LIMIT)[0], got
        got += os.read(fd, 1000)
    return got


def test_a_person_at_a_terminal(tenon, echo):
    person, process = terminal(tenon, echo.url)
    for line in (b"hello\n", b"and again\n"):
        os.write(person, line)
        assert read_from(person, len(line) + 1) == line.replace(b"\n", b"\r\n")
    os.write(person, b"\x04")  # Ctrl-D: the end of file
    process.wait(0)


def test_a_server_that_ends_does_not_ask_a_person_for_the_end_too(tenon, listener):
    _, process = terminal(tenon, listener[1])
    sock = tenon.accept(listener[0])
    sock.shutdown(socket.SHUT_WR)
    assert receive_to_end(sock) == b""
    sock.close()
    process.wait(0)


def test_a_terminal_is_left_as_it_was(tenon, echo):
    person, terminal_fd = pty.openpty()
    before, flags = tty.tcgetattr(terminal_fd), fcntl.fcntl(terminal_fd, fcntl.F_GETFL)
    process = tenon.start("connect", echo.url, stdin=terminal_fd, stdout=terminal_fd, start_new_session=True)
    os.write(person, b"hello\n")
    read_from(person, 14)
    assert fcntl.fcntl(terminal_fd, fcntl.F_GETFL) == flags
    os.write(person, b"\x04")
    process.wait(0)
    assert tty.tcgetattr(terminal_fd) == before and fcntl.fcntl(terminal_fd, fcntl.F_GETFL) == flags
    os.close(terminal_fd)
    os.close(person)


def test_a_terminal_that_goes_away(tenon, listener):
    person, terminal_fd = pty.openpty()
    process = tenon.start("connect", listener[1], stdin=terminal_fd, stdout=terminal_fd, start_new_session=True)
    os.close(terminal_fd)
    sock = tenon.accept(listener[0])
    sock.sendall(b"hello")
    read_from(person, 5)
    os.close(person)
    sock.settimeout(1)
    try:
        while sock.recv(100):
            pass
    except (TimeoutError, ConnectionResetError):
        pass
    sock.close()
    process.wait(None)


# Being a good neighbour: what others share with us is as they left it

def test_pipes_are_left_as_they_were(tenon, echo):
    """Another program on the same pipe would not expect EAGAIN."""
    reading, writing = os.pipe()
    out_reading, out_writing = os.pipe()
    process = tenon.start("connect", echo.url, stdin=reading, stdout=out_writing)
    os.write(writing, b"hello")
    assert os.read(out_reading, 5) == b"hello"
    for fd in (reading, out_writing):
        assert not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK
    os.close(writing)
    process.wait(0)
    for fd in (reading, out_writing):
        assert not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK
        os.close(fd)
    os.close(out_reading)


@pytest.mark.parametrize("redirection,first", [(">", b""), (">>", b"before\n")])
def test_files_are_written_where_others_left_off(tenon, echo, redirection, first):
    path = tenon.file("out", b"before\n")
    script = f'(echo one; printf two | "$@"; echo three) {redirection} {path}'
    tenon.finish(["/bin/sh", "-c", script, "sh", *tenon.argv("connect", echo.url)])
    assert path.read_bytes() == first + b"one\ntwothree\n"


def test_a_file_is_read_from_where_others_left_off(tenon, echo):
    path = tenon.file("in", b"0123456789")
    with open(path, "rb") as file:
        os.lseek(file.fileno(), 4, os.SEEK_SET)
        assert tenon.run("connect", echo.url, stdin=file).out == b"456789"
        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 10


def test_sockets_as_standard_input_and_output(tenon, echo):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(LIMIT)
        process = tenon.start("connect", echo.url, stdin=theirs, stdout=theirs)
        theirs.close()
        ours.sendall(b"hello")
        assert receive_exactly(ours, 5) == b"hello"
        ours.shutdown(socket.SHUT_WR)
        assert receive_to_end(ours) == b""
        process.wait(0)


def test_a_fifo(tenon, echo):
    os.mkfifo(tenon.folder / "in")
    script = f'"$@" < {tenon.folder}/in & (echo hello; sleep 0.1; echo again) > {tenon.folder}/in; wait $!'
    result = tenon.finish(["/bin/sh", "-c", script, "sh", *tenon.argv("connect", echo.url)])
    assert result.text == "hello\nagain\n"


# Datagrams and packets

@pytest.mark.parametrize("url", ["udp://127.0.0.1:0", "udp://[::1]:0", "unix-dgram:{}/sock"])
def test_each_line_is_a_datagram(tenon, url):
    server = tenon.serve(url.format(tenon.folder))
    result = tenon.run("connect", "--wait", "300ms", server.url, input=b"one\ntwo\nthree")
    assert result.text == "ack: one\nack: two\nack: three"


def test_many_datagrams(tenon):
    """No more at a time than a socket holds: UDP loses the rest."""
    server = tenon.serve("udp://127.0.0.1:0", options=["--handler", "echo"])
    process = tenon.start("connect", server.url, stdin=subprocess.PIPE)
    text = b""
    for turn in range(20):
        for i in range(20):
            line = b"%d-%d\n" % (turn, i)
            process.popen.stdin.write(line)
            text += line
        process.popen.stdin.flush()
        wait_until(lambda: process.out == text, lambda: (process.out[-50:], text[-50:]))
    process.popen.stdin.close()
    process.wait(0)


def test_datagrams_from_a_server_that_speaks_much(tenon):
    sock = tenon.listen(kind=socket.SOCK_DGRAM)
    process = tenon.start("connect", f"udp://127.0.0.1:{sock.getsockname()[1]}", stdin=subprocess.PIPE)
    process.popen.stdin.write(b"hello\n")
    process.popen.stdin.flush()
    data, address = sock.recvfrom(100)
    assert data == b"hello\n"
    for i in range(50):
        sock.sendto(b"%d\n" % i, address)
    wait_until(lambda: process.out == b"".join(b"%d\n" % i for i in range(50)), lambda: process.out)
    process.popen.stdin.close()
    process.wait(0)


def test_a_line_too_long_for_a_datagram(tenon):
    server = tenon.serve("udp://127.0.0.1:0")
    result = tenon.run("connect", server.url, status=4, input=b"x" * 70000 + b"\n")
    assert "65507" in result.err


def test_each_line_is_a_packet(tenon):
    server = tenon.serve(f"unix-seqpacket:{tenon.folder}/sock")
    text = b"".join(b"line %d\n" % i for i in range(3000))
    assert tenon.run("connect", server.url, input=text).out == text


def test_nobody_there_for_datagrams_in_the_middle(tenon):
    """The server goes away; the kernel tells, and so do we."""
    server = tenon.serve("udp://127.0.0.1:0")
    process = tenon.start("connect", server.url, stdin=subprocess.PIPE)
    process.popen.stdin.write(b"hello\n")
    process.popen.stdin.flush()
    wait_until(lambda: process.out == b"ack: hello\n", lambda: process.out)
    server.stop()
    process.popen.stdin.write(b"hello?\n")
    process.popen.stdin.flush()
    process.wait(FAILED)
    assert "refused" in process.err.lower()


def test_verbose_names_both_ends(tenon, echo):
    result = tenon.run("connect", "-v", echo.url, input=b"hello")
    assert result.out == b"hello" and echo.url in result.err


assert open_socket


# Lines and messages

def test_more_lines_than_the_queue_holds(tenon):
    """Each is a message, in order, however slowly they go."""
    server = tenon.serve("tcp://127.0.0.1:0?frame=u32")
    lines = b"".join(b"%d %s\n" % (i, b"x" * (i % 200)) for i in range(20000))
    assert tenon.run("connect", f"{server.url.split('?')[0]}?frame=u32&queue=16KiB", input=lines).out == lines


@pytest.mark.parametrize("engine", ["auto"], indirect=True)
def test_a_line_that_is_not_in_the_format(tenon):
    """It is told with its number and left out; the others are sent, blank ones among them pass."""
    server = tenon.serve("tcp://127.0.0.1:0?frame=line&format=json", options=["--json"])
    url = f"{server.url.split('?')[0]}?frame=line&format=json"
    done = tenon.run("connect", url, input=b"[1]\n\n[2\n[ 3 ]", status=4)
    assert done.out == b"[1]\n[3]\n" and re.search(r"^tenon: line 3: json: ", done.err)
    assert server.wait_for_event("close")["messages_in"] == 2


@pytest.mark.parametrize("engine", ["auto"], indirect=True)
@pytest.mark.parametrize("bad,out,status", [("skip", b"[1]\n[2]\n", 4), ("close", b"[1]\n", 4)])
def test_a_peer_that_does_not_keep_to_the_format(tenon, listener, bad, out, status):
    process = tenon.start("connect", f"{listener[1]}?frame=line&format=json&bad={bad}")
    sock = tenon.accept(listener[0])
    sock.sendall(b"[1]\n[,\n[2]\n")
    sock.close()
    process.wait(status)
    assert process.out == out and process.err.count("\n") == 1 and "json: " in process.err


def test_bytes_that_have_not_been_sent_are_told(tenon, listener):
    """A peer that takes nothing, after the end of the input: --wait is over, exit 3."""
    listener[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * KIB)
    data = tenon.opened(tenon.file("much", bytes(2 * MIB)))
    process = tenon.start("connect", "--wait", "500ms", f"{listener[1]}?sndbuf=16KiB&queue=4MiB", stdin=data)
    tenon.accept(listener[0])
    process.wait(3)
    assert re.search(r"\d bytes have not been sent: the peer does not take them$", process.err, re.M)
