"""Descriptors over Unix sockets: send --fd, and serve --fds, which gives them to commands of exec."""
import contextlib
import os
import resource
import socket
import subprocess

import pytest

from harness import descriptors_of, open_socket, receive_exactly, receive_to_end, wait_until

USAGE, TIMEOUT = 2, 3
KINDS = {"unix": socket.SOCK_STREAM, "unix-seqpacket": socket.SOCK_SEQPACKET, "unix-dgram": socket.SOCK_DGRAM}
one_engine = pytest.mark.parametrize("engine", ["auto"], indirect=True)


@one_engine
@pytest.mark.parametrize("scheme", KINDS)
def test_a_peer_gets_what_is_sent(tenon, scheme):
    """With the first message, in their order, whatever their numbers are; the others bring none."""
    files = [open(tenon.file(name, name.encode()), "rb") for name in ("one", "two")]
    numbers = [file.fileno() for file in files]
    with socket.socket(socket.AF_UNIX, KINDS[scheme]) as sock:
        sock.bind(f"{tenon.folder}/s")
        if scheme != "unix-dgram":
            sock.listen()
        process = tenon.start("send", "--no-reply", "--fd", numbers[1], "--fd", numbers[0],
                              f"{scheme}:{tenon.folder}/s", "hello", "again", pass_fds=numbers)
        peer = sock if scheme == "unix-dgram" else tenon.accept(sock)
        data, fds, _, _ = socket.recv_fds(peer, 5, 10)
        assert data == b"hello" and [os.pread(fd, 10, 0) for fd in fds] == [b"two", b"one"]
        assert socket.recv_fds(peer, 5, 10)[:2] == (b"again", [])
        process.wait(0)
        for fd in fds:
            os.close(fd)
        peer.close()
    os.unlink(f"{tenon.folder}/s")
    for file in files:
        file.close()


def fill(path):
    """Until the queue of the socket there is full, whatever limits a single sender."""
    for _ in range(20):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, contextlib.suppress(BlockingIOError):
            sender.setblocking(False)
            sender.connect(path)
            while True:
                sender.send(b"full")


@one_engine
def test_a_peer_without_room(tenon):
    """--wait is for this, too; when there is room they go, also with an empty message."""
    path = f"{tenon.folder}/s"
    with open(tenon.file("file", b"content"), "rb") as file, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        fill(path)
        args = ["--fd", file.fileno(), f"unix-dgram:{path}"]
        tenon.run("send", "--wait", "200ms", *args, "hello", status=TIMEOUT, pass_fds=[file.fileno()], limit=5)
        process = tenon.start("send", "-v", "--no-reply", *args, "", "again", pass_fds=[file.fileno()])
        process.wait_for_text("connected")
        came = iter(lambda: socket.recv_fds(sock, 10, 1)[:2], (b"again", []))
        (data, fds), = [message for message in came if message[0] != b"full"]
        assert (data, os.pread(fds[0], 10, 0)) == (b"", b"content")
        os.close(fds[0])
        process.wait(0)
    os.unlink(path)


REFUSED = [("99 unix:/x a", "no open descriptor"), ("-1 unix:/x a", "number"), ("0x1 unix:/x a", "number"),
           ("0 tcp://h:1 a", "Unix sockets"), ("0 tls+unix:/x?verify=off a", "Unix sockets"),
           ("0 shm:/x a", "Unix sockets"), ("0 unix:/x?frame=line a", "frame"),
           ("0 unix-seqpacket:/x?format=json 1", "format")]


@one_engine
def test_refused(tenon):
    for args, words in REFUSED:
        assert words in tenon.run("send", "--fd", *args.split(), status=USAGE).err


@one_engine
def test_an_empty_message_brings_none(tenon):
    tenon.serve(f"unix:{tenon.folder}/s")
    assert "a byte at least" in tenon.run("send", "--fd", "0", f"unix:{tenon.folder}/s", "", status=USAGE).err


SHOW = 'exec:echo "$TENON_FDS"; ls /proc/self/fd | tr "\\n" " "; cat <&3 2>&- || echo none; cat'


@pytest.mark.parametrize("scheme", ["unix", "unix-seqpacket"])
def test_a_command_gets_what_came(tenon, scheme):
    """From 3 on, and no others; bytes that came with them are its input. A client without any has its command too."""
    server = tenon.serve(f"{scheme}:{tenon.folder}/s", options=["--json", "--fds", "2", "--handler", SHOW])
    before = descriptors_of(server.pid)
    with open(tenon.file("file", b"content\n"), "rb") as file:
        for count, shown in [(1, b"1\n0 1 2 3 4 content\nhello"), (2, b"2\n0 1 2 3 4 5 content\nhello"),
                             (3, b"2\n0 1 2 3 4 5 content\nhello"), (0, b"\n0 1 2 3 none\nhello")]:
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            with open_socket(server.url) as sock:
                socket.send_fds(sock, [b"hello"], [file.fileno()] * count)
                sock.shutdown(socket.SHUT_WR)
                assert receive_to_end(sock) == shown
    wait_until(lambda: descriptors_of(server.pid) == before, "nothing is left open")
    told = wait_until(lambda: [e for e in server.events if e["event"] == "child"][3:] and
                      [e for e in server.events if e["event"] == "child"], "four ends")
    assert [event.get("fds") for event in told] == [1, 2, 2, None]


def test_a_command_waits_for_the_first_bytes(tenon):
    """However they come: at once with many clients, later, or never."""
    server = tenon.serve(f"unix:{tenon.folder}/s", options=["--fds", "1", "--handler", "exec:cat <&3; cat"])
    before = descriptors_of(server.pid)
    with open(tenon.file("file", b"content\n"), "rb") as file:
        socks = [open_socket(server.url) for _ in range(40)]
        for sock in socks:
            with open(file.name, "rb") as own:
                socket.send_fds(sock, [b"x"], [own.fileno()])
            sock.shutdown(socket.SHUT_WR)
        for sock in socks:
            assert receive_to_end(sock) == b"content\nx"
            sock.close()
    open_socket(server.url).close()
    with open_socket(server.url) as sock:
        sock.shutdown(socket.SHUT_WR)
        receive_to_end(sock)
    wait_until(lambda: descriptors_of(server.pid) == before, "nothing is left open")


@one_engine
def test_a_server_with_many_descriptors(tenon):
    """It has raised its own limit, which a command gets back: that has room for what it is given all the same."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    server = tenon.serve(f"unix:{tenon.folder}/s", options=["--fds", "1", "--handler", "exec:ulimit -n; cat <&3"],
                         preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (32, hard)))
    with contextlib.ExitStack() as waiting, open(tenon.file("file", b"content\n"), "rb") as file:
        for _ in range(32):
            waiting.enter_context(open_socket(server.url))
        wait_until(lambda: len(descriptors_of(server.pid)) > 40, "all have been taken")
        with open_socket(server.url) as sock:
            socket.send_fds(sock, [b"x"], [file.fileno()])
            assert receive_to_end(sock) == b"32\ncontent\n"


def test_what_nobody_wants_is_closed(tenon):
    """Without --fds, and later than with the first bytes: the other end of a pipe is closed as soon as it is read."""
    for options in (["--handler", "exec:cat"], ["--fds", "1", "--handler", "exec:cat"], ["--handler", "echo"]):
        name = f"{tenon.folder}/s{len(options)}{options[-1][0]}"
        server = tenon.serve(f"unix:{name}", options=options)
        with open_socket(server.url) as sock:
            sock.sendall(b"first")
            assert receive_exactly(sock, 5) == b"first"
            reading, writing = os.pipe()
            socket.send_fds(sock, [b"then"], [writing])
            os.close(writing)
            assert receive_exactly(sock, 4) == b"then"
            assert os.read(reading, 1) == b""
            os.close(reading)
        server.stop()


@one_engine
def test_where_none_can_come(tenon, authority):
    for url, handler in [("tcp://:0", "exec:cat"), ("unix:/x", "echo"), ("unix:/x", "exec-socket:cat"),
                         ("unix-dgram:/x", "exec:cat"), ("shm:/x", "exec:cat"),
                         (f"tls+unix:/x?{authority.pair('server')}", "exec:cat")]:
        assert "--fds" in tenon.run("serve", url, "--fds", "1", "--handler", handler, status=USAGE).err, url
    served, unlike = f"unix:{tenon.folder}/s?handler=exec:cat", f"unix:{tenon.folder}/t"
    tenon.serve(unlike, served, options=["--fds", "1"])


@one_engine
def test_both_ends(tenon):
    """As the manual has it."""
    server = tenon.serve(f"unix:{tenon.folder}/s", options=["--fds", "1", "--handler", "exec:sha256sum <&3"])
    path = tenon.file("file", b"content\n")
    result = tenon.finish(["/bin/sh", "-c", f'exec "$@" 3< {path}', "sh",
                           *tenon.argv("send", "--fd", "3", server.url, ".")])
    assert result.text.split()[0] == subprocess.check_output(["sha256sum", path], text=True).split()[0]
