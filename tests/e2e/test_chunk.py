"""connect --chunk and send --chunk: the input is cut into messages of a size, wherever lines end."""
import os
import socket
import subprocess

import pytest

from harness import KIB, noise, receive_exactly, receive_to_end

pytestmark = pytest.mark.parametrize("engine", ["auto"], indirect=True)
USAGE = 2
COMMANDS = (["connect"], ["send", "--no-reply"])


def test_datagrams_and_packets(tenon):
    """Of one size but for the last, with any bytes in them."""
    data = noise(2500)
    for nth, kind in enumerate([socket.SOCK_DGRAM, socket.SOCK_SEQPACKET]):
        for command in COMMANDS:
            path = f"{tenon.folder}/{command[0]}{nth}"
            with socket.socket(socket.AF_UNIX, kind) as sock:
                sock.bind(path)
                if kind == socket.SOCK_SEQPACKET:
                    sock.listen()
                process = tenon.start(*command, "--chunk", "1000",
                                      f"unix-{'seqpacket' if nth else 'dgram'}:{path}", stdin=subprocess.PIPE)
                process.popen.stdin.write(data)
                process.popen.stdin.close()
                peer = tenon.accept(sock) if nth else sock
                assert [peer.recv(4000) for _ in range(3)] == [data[:1000], data[1000:2000], data[2000:]]
                peer.close()
                process.wait(0)
            os.unlink(path)


def test_a_message_waits_until_all_of_it_is_there(tenon):
    udp = tenon.listen(kind=socket.SOCK_DGRAM)
    url = f"udp://127.0.0.1:{udp.getsockname()[1]}"
    for command in COMMANDS:
        process = tenon.start(*command, "--chunk", "4", url, stdin=subprocess.PIPE)
        for written, came in [(b"ab\n", []), (b"cd", [b"ab\nc"]), (b"efghijk", [b"defg", b"hijk"]), (b"l", [])]:
            process.popen.stdin.write(written)
            process.popen.stdin.flush()
            assert [udp.recv(100) for _ in came] == came
        process.popen.stdin.close()
        assert udp.recv(100) == b"l"
        process.wait(0)


def test_with_a_frame(tenon):
    """What comes back is the file, byte for byte: no line feed is taken away or added."""
    server = tenon.serve("tcp://127.0.0.1:0?frame=u32", options=["--handler", "echo"])
    data = noise(300 * KIB)
    with tenon.opened(tenon.file("data", data)) as file:
        result = tenon.run("connect", "--chunk", "64KiB", server.url + "?frame=u32", stdin=file)
    assert result.out == data


def test_pieces_of_a_stream(tenon):
    """All of it comes in their order, with --interval one after the other."""
    data = noise(200 * KIB)
    for command in COMMANDS:
        for options, size in ([], 200 * KIB), (["--interval", "1ms"], 20 * KIB):
            listener = tenon.listen()
            process = tenon.start(*command, "--chunk", "3000", *options,
                                  f"tcp://127.0.0.1:{listener.getsockname()[1]}", stdin=subprocess.PIPE)
            sock = tenon.accept(listener)
            process.popen.stdin.write(data[:3000])
            process.popen.stdin.flush()
            got = receive_exactly(sock, 3000)
            process.popen.stdin.write(data[3000:size])
            process.popen.stdin.close()
            assert got + receive_to_end(sock) == data[:size]
            sock.close()
            process.wait(0)


def test_refused(tenon):
    for args, words in [("connect --chunk 0 udp://h:1", "no size"), ("connect --chunk 65MiB tcp://h:1", "64MiB"),
                        ("connect --chunk 65508 udp://h:1", "65507"),
                        ("connect --chunk 10 udp://h:1?format=json", "format"),
                        ("send --chunk 10 udp://h:1?format=json", "format"),
                        ("send --chunk 10 udp://h:1 a", "arguments"), ("send --chunk 10 --size 5 udp://h:1", "--size")]:
        assert words in tenon.run(*args.split(), status=USAGE).err
