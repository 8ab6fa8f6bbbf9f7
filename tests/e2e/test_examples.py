"""The programs in examples/, each run as its first lines say."""
import contextlib
import re
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from harness import (BUILD, KIB, LIMIT, exchange, free_port, noise, open_socket, receive_exactly, receive_to_reset,
                     wait_until)

pytestmark = pytest.mark.parametrize("engine", ["auto"], indirect=True)


@pytest.fixture
def example():
    """example("request"): its path."""
    def find(name):
        path = BUILD / "examples" / name
        assert path.exists(), f"{path} has not been built"
        return path
    return find


def started(tenon, *argv, lines=1, **how):
    """A server and its URLs, from the lines that it prints."""
    server = tenon.peer(*argv, **how)
    wait_until(lambda: len(server.lines) >= lines or server.is_over(), lambda: f"{argv}: {server.out}{server.err}")
    assert len(server.lines) == lines, server.err
    return server, [line.removeprefix("listening ") for line in server.lines]


def test_servers_have_places_of_their_own(tenon):
    """Each server's default is its own, so that all can be tried at once."""
    places = {}
    for source in sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.c")):
        text = source.read_text()
        default = re.search(r'"((?:tcp|udp)://localhost:(\d+))', text)
        if "tn_serve(" in text and default:
            assert default[1] not in places, f"{source.name} and {places[default[1]]} take {default[1]}"
            places[default[1]] = source.name
    assert len(places) > 1


def test_echo_server(tenon, example):
    server, urls = started(tenon, example("echo_server"), "tcp://127.0.0.1:0")
    clients = [tenon.dial(urls[0]) for _ in range(20)]
    for client in clients:
        assert exchange(client, noise(100 * KIB)) == noise(100 * KIB)
    assert exchange(clients[0], noise(300 * KIB), finish=True) == noise(300 * KIB)
    server.signal(signal.SIGTERM)
    server.wait(0)


@pytest.mark.parametrize("url", ["unix:{}/sock", "tcp://localhost:0"])
def test_echo_server_anywhere(tenon, example, url):
    server, urls = started(tenon, example("echo_server"), url.format(tenon.folder),
                           lines=2 if "localhost" in url else 1)
    for address in urls:
        with open_socket(address) as client:
            assert exchange(client, b"hello", finish=True) == b"hello"
    server.signal(signal.SIGTERM)
    server.wait(0)
    (tenon.folder / "sock").unlink(missing_ok=True)


def test_echo_server_answers_before_it_stops(tenon, example):
    server, urls = started(tenon, example("echo_server"), "tcp://127.0.0.1:0")
    client = tenon.dial(urls[0])
    data = noise(300 * KIB)
    client.sendall(data[:1000])
    assert client.recv(1)
    server.signal(signal.SIGTERM)
    with contextlib.suppress(ConnectionError):
        assert data[1:1000].startswith(client.recv(999))
    server.wait(0)


@pytest.mark.parametrize("name", ["udp_ack_server", "json_server", "parts"])
def test_servers_stop_in_good_order(tenon, example, name):
    server, _ = started(tenon, example(name), "udp://127.0.0.1:0" if name == "udp_ack_server" else "tcp://127.0.0.1:0")
    server.signal(signal.SIGTERM)
    server.wait(0)


def test_messages_that_come_in_parts(tenon, example):
    server, urls = started(tenon, example("parts"), "tcp://127.0.0.1:0")
    client = tenon.dial(urls[0])
    for byte in b"5\nhello":  # each byte a part
        client.sendall(bytes([byte]))
        time.sleep(0.01)
    assert receive_exactly(client, 4) == b"%d\n" % sum(b"hello")
    client.sendall(b"1\na0\n2\nbc3\nde")  # several at once, and the beginning of another
    assert receive_exactly(client, 9) == b"97\n0\n197\n"
    client.sendall(b"f")
    assert receive_exactly(client, 4) == b"303\n"
    for bad in (b"\n", b"x\n", b"1234567890\n"):
        other = tenon.dial(urls[0])
        other.sendall(bad)
        assert receive_to_reset(other) == b""
    client.sendall(b"1000\n" + b"x" * 999)
    client.sendall(b"x")
    server.signal(signal.SIGTERM)
    assert receive_exactly(client, 7) == b"120000\n"
    server.wait(0)


def test_request(tenon, example):
    _, urls = started(tenon, example("echo_server"), "tcp://127.0.0.1:0")
    assert tenon.finish([example("request"), urls[0]]).text == "Hello, world!\n"
    assert tenon.finish([example("request"), urls[0], "something else"]).text == "something else\n"
    server = tenon.serve("udp://127.0.0.1:0")
    assert tenon.finish([example("request"), server.url, "hello"]).text == "ack: hello\n"


def test_request_of_nobody(tenon, example):
    result = tenon.finish([example("request"), f"tcp://127.0.0.1:{free_port()}"], 1)
    assert "Connection refused" in result.err and result.out == b""


def test_udp_ack(tenon, example):
    _, urls = started(tenon, example("udp_ack_server"), "udp://127.0.0.1:0")
    assert tenon.finish([example("udp_ack_client"), urls[0]]).text == "ack: Hello, world!\n"
    words = ["one", "two words", "three"]
    assert tenon.finish([example("udp_ack_client"), urls[0], *words]).lines == [f"ack: {word}" for word in words]
    with open_socket(urls[0]) as client:
        client.send(b"hello")
        assert client.recv(100) == b"ack: hello"
    assert tenon.run("send", urls[0], "hello").text == "ack: hello\n"


def test_udp_ack_client_sends_again_what_was_lost(tenon, example):
    sock = tenon.listen(kind=socket.SOCK_DGRAM)
    client = tenon.peer(example("udp_ack_client"), f"udp://127.0.0.1:{sock.getsockname()[1]}", "one", "two")
    assert sock.recv(100) == b"one"  # and no answer: it was lost
    data, address = sock.recvfrom(100)
    assert data == b"one"
    sock.sendto(b"ack: one", address)
    data, address = sock.recvfrom(100)
    assert data == b"two"
    sock.sendto(b"ack: two", address)
    client.wait(0)
    assert client.lines == ["ack: one", "ack: two"]


def test_udp_ack_client_gives_up(tenon, example):
    sock = tenon.listen(kind=socket.SOCK_DGRAM)
    result = tenon.finish([example("udp_ack_client"), f"udp://127.0.0.1:{sock.getsockname()[1]}", "hello"], 1)
    assert "no answer to 'hello'" in result.err


@pytest.mark.parametrize("keys", ["frame=line&format=json", "frame=u32&format=json"])
def test_json_service(tenon, example, keys):
    server, urls = started(tenon, example("json_server"), f"tcp://127.0.0.1:0?{keys}")
    url = f"{urls[0]}?{keys}"
    assert tenon.finish([example("json_client"), url, "1", "2", "3.5"]).text == "6.5\n"
    assert tenon.finish([example("json_client"), url]).text == "0\n"
    assert tenon.run("send", url, '{"add":[1,7]}', "[]").text == '{"sum":8.0}\n{"sum":0.0}\n'
    client = tenon.dial(urls[0])
    client.sendall(b'{"add":[1}\n' if "line" in keys else b"\0\0\0\1]")
    assert receive_to_reset(client) == b""  # refused, and the server goes on
    assert tenon.finish([example("json_client"), url, "1"]).text == "1\n"
    assert not server.is_over()


def test_json_client_without_arguments(tenon, example):
    assert "usage" in tenon.finish([example("json_client")], 1).err


def test_chat(tenon, example):
    """Three people: each reads what the other two type."""
    _, urls = started(tenon, example("chat"), "serve", "tcp://127.0.0.1:0?frame=line")
    url = urls[0].split("?")[0] + "?frame=line"
    names = ["ann", "bob", "cat"]
    people = {name: tenon.peer(example("chat"), "join", url, name, stdin=subprocess.PIPE) for name in names}

    def say(name, text):
        people[name].popen.stdin.write(text)
        people[name].popen.stdin.flush()

    # Whoever hears it again is there; what was said before is not kept for those who come later
    wait_until(lambda: say("ann", b"anybody?\n") or all(people[name].lines for name in ("bob", "cat")), "all have come")
    wait_until(lambda: say("cat", b"yes\n") or "cat: yes" in people["ann"].lines, "ann hears")
    say("bob", b"good day\n")
    for name in ("ann", "cat"):
        wait_until(lambda: "bob: good day" in people[name].lines, lambda: f"{name}: {people[name].lines}")
    assert not [line for line in people["bob"].lines if "bob" in line], "nobody hears himself"
    people["bob"].popen.stdin.close()
    people["bob"].wait(0)
    say("cat", b"and good bye\n")
    wait_until(lambda: "cat: and good bye" in people["ann"].lines, lambda: people["ann"].lines)
    for name in ("ann", "cat"):
        people[name].popen.stdin.close()
        people[name].wait(0)


def test_chat_with_other_programs(tenon, example):
    """A line is a message, so that whatever speaks lines can join in."""
    _, urls = started(tenon, example("chat"), "serve", "tcp://127.0.0.1:0?frame=line")
    first, second = tenon.dial(urls[0].split("?")[0]), tenon.dial(urls[0].split("?")[0])
    second.settimeout(0.05)

    def joined():
        first.sendall(b"hello\n")
        try:
            return second.recv(6) == b"hello\n"
        except TimeoutError:
            return False
    wait_until(joined, "the second hears the first")
    second.settimeout(20)
    first.sendall(b"in two pie")
    first.sendall(b"ces\n")
    rest = second.makefile("rb")
    while (line := rest.readline()) == b"hello\n":
        pass
    assert line == b"in two pieces\n"
    rest.close()


def test_chat_without_arguments(tenon, example):
    assert "usage" in tenon.finish([example("chat")], 2).err


@pytest.mark.parametrize("name", ["echo_server", "udp_ack_server", "request", "udp_ack_client", "json_server",
                                  "json_client", "parts"])
def test_a_bad_url_is_told(tenon, example, name):
    result = tenon.finish([example(name), "tcp://localhost:1?nodelya=1"], 1)
    assert "nodelay" in result.err and result.out == b""


# Programs that are stopped in the midst

def relay_of(tenon, example, target):
    relay, urls = started(tenon, example("relay"), "tcp://127.0.0.1:0", target)
    return relay, urls[0]


def test_relay(tenon, example):
    """Both directions, half-closes and back-pressure included; and it ends by itself when nobody is there."""
    _, urls = started(tenon, example("echo_server"), "tcp://127.0.0.1:0")
    relay, url = relay_of(tenon, example, urls[0])
    for size in (5, 3 * 1024 * KIB):
        assert exchange(tenon.dial(url), noise(size), finish=True) == noise(size)
    relay.signal(signal.SIGTERM)
    relay.wait(0)


def test_relay_stopped_while_its_reader_stalls(tenon, example):
    """Ten megabytes under way, and the one who is to have them reads again only later: all of them arrive."""
    target = tenon.listen()
    relay, url = relay_of(tenon, example, f"tcp://127.0.0.1:{target.getsockname()[1]}")
    client = tenon.dial(url)
    reader = tenon.accept(target)
    data, sent = noise(10 * 1024 * KIB), 0
    client.setblocking(False)
    while sent < len(data):  # until the relay's memory and all kernel buffers are full
        try:
            sent += client.send(data[sent:sent + 64 * KIB])
        except BlockingIOError:
            break
    relay.signal(signal.SIGTERM)
    time.sleep(0.5)  # far longer than a connection is taken for busy
    client.setblocking(True)
    client.settimeout(LIMIT)
    got = bytearray()
    sender = threading.Thread(target=lambda: (client.sendall(data[sent:]), client.shutdown(socket.SHUT_WR)))
    sender.start()
    while part := reader.recv(256 * KIB):
        got += part
    sender.join()
    assert bytes(got) == data
    reader.close()
    assert client.recv(10) == b""
    relay.wait(0)


def test_relay_cut_off_is_no_end_in_good_order(tenon, example):
    """What the deadline ends has errors on both sides."""
    target = tenon.listen()
    relay, url = relay_of(tenon, example, f"tcp://127.0.0.1:{target.getsockname()[1]}")
    client = tenon.dial(url)
    reader = tenon.accept(target)
    client.sendall(b"half of it")
    assert reader.recv(100) == b"half of it"
    relay.signal(signal.SIGTERM)
    for end in (client, reader):
        with pytest.raises(ConnectionResetError):
            end.recv(10)
    relay.wait(0)


def test_late_answers_survive_a_signal(tenon, example):
    """By a timer and by a thread, and whether or not the client has ended its direction."""
    server, urls = started(tenon, example("late"), "tcp://127.0.0.1:0?frame=line")
    url = urls[0].split("?")[0]
    clients = [tenon.dial(url) for _ in range(4)]
    for i, client in enumerate(clients):
        client.sendall(b"work\ntimer\n")
        if i % 2:
            client.shutdown(socket.SHUT_WR)
    assert clients[0].recv(5)  # they have all been read by then
    server.signal(signal.SIGTERM)
    for i, client in enumerate(clients):
        got = b"" if i else b"?????"
        while part := client.recv(100):
            got += part
        assert len(got) == len(b"work\ntimer\n")
        client.close()
    server.wait(0)


def test_publisher(tenon, example):
    """Readers get every line, however long the burst; one that does not read is held up for, then let go."""
    lines = b"".join(b"line %d of what is published\n" % i for i in range(100_000))
    reader, writer = os.pipe()
    publisher, urls = started(tenon, example("publish"), "tcp://127.0.0.1:0?frame=line&queue=64KiB", stdin=reader)
    os.close(reader)
    subscribers = [tenon.dial(urls[0].split("?")[0]) for _ in range(8)]
    got = [bytearray() for _ in subscribers]

    def read(i):
        while part := subscribers[i].recv(256 * KIB):
            got[i] += part
    threads = [threading.Thread(target=read, args=(i,)) for i in range(len(subscribers))]
    for thread in threads:
        thread.start()
    with open(writer, "wb") as out:
        while not all(got):  # until they have all been accepted
            out.write(b"begin\n")
            out.flush()
            time.sleep(0.01)
        out.write(lines)
    for thread in threads:
        thread.join(LIMIT)
    for i in range(len(subscribers)):
        assert bytes(got[i]).endswith(lines)
    publisher.wait(0)
