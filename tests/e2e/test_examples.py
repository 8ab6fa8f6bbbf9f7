"""The programs in examples/, each run as its first lines say."""
import contextlib
import http.server
import re
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness import (BUILD, KIB, LIMIT, exchange, free_port, noise, open_socket, port_of, receive_exactly,
                     receive_to_reset, wait_until)

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


def test_rpc(tenon, example):
    _, urls = started(tenon, example("rpc"), "serve", "tcp://127.0.0.1:0?frame=line&format=json")
    where = urls[0] + "?frame=line"
    said = tenon.finish([example("rpc"), "call", "add", "[1, 2.5]", where]).text
    assert said == '{"jsonrpc":"2.0","result":3.5,"id":1}\n'
    for call, code in (("add", "-32602"), ("open", "-32601")):
        assert f'"code":{code}' in tenon.finish([example("rpc"), "call", call, '{"a":1}', where]).text
    said = tenon.run("send", where, '[{"method":"add"},{"method":"length","params":{"text":"abc"},"id":"x"},7]').text
    assert '"result":3,"id":"x"' in said and '"code":-32600' in said and '"code":-32602' not in said
    with open_socket(urls[0]) as client:
        client.sendall(b'{"method":"length","params":{"text":"no id, no reply"}}\n{"id":2}\n')
        assert b'"id":2' in client.recv(1000)
    assert "usage" in tenon.finish([example("rpc")], 2).err
    assert "the text ends early" in tenon.finish([example("rpc"), "call", "add", "[1", where], 1).err


@pytest.mark.parametrize("name", ["echo_server", "udp_ack_server", "request", "udp_ack_client", "json_server",
                                  "json_client", "parts", "resp_server"])
def test_a_bad_url_is_told(tenon, example, name):
    result = tenon.finish([example(name), "tcp://localhost:1?nodelya=1"], 1)
    assert "nodelay" in result.err and result.out == b""


# A protocol of its own

def redis_server(tenon, example, keys=""):
    _, urls = started(tenon, example("resp_server"), f"tcp://127.0.0.1:0?frame=resp{keys}")
    return urls[0].split("?")[0]


def redis_says(*words):
    """A request as redis-cli sends it."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


REDIS_UNKNOWN = b"-ERR unknown command, or not that many words\r\n"
REDIS_TALK = [  # a request, its reply
    ((b"PING",), b"+PONG\r\n"),
    ((b"get", b"name"), b"$-1\r\n"),
    ((b"SET", b"name", b"a value\r\n\0"), b"+OK\r\n"),
    ((b"GET", b"name"), b"$10\r\na value\r\n\0\r\n"),
    ((b"INCR", b"name"), b"-ERR not an integer\r\n"),
    ((b"DEL", b"name"), b":1\r\n"), ((b"DEL", b"name"), b":0\r\n"),
    ((b"INCR", b"count"), b":1\r\n"), ((b"INCR", b"count"), b":2\r\n"), ((b"GET", b"count"), b"$1\r\n2\r\n"),
    ((b"SET", b"count", b"-1"), b"+OK\r\n"), ((b"INCR", b"count"), b":0\r\n"),
    ((b"SET", b"count", b"9223372036854775807"), b"+OK\r\n"), ((b"INCR", b"count"), b"-ERR not an integer\r\n"),
    ((b"SET", b"long", b"x" * 300_000), b"+OK\r\n"), ((b"GET", b"long"), b"$300000\r\n" + b"x" * 300_000 + b"\r\n"),
    ((b"GET",), REDIS_UNKNOWN), ((), REDIS_UNKNOWN), ((b"SET", b"name", b"1", b"nx"), REDIS_UNKNOWN),
    ((b"SET", b"", b""), b"+OK\r\n"), ((b"GET", b""), b"$0\r\n\r\n"),
]


@pytest.mark.parametrize("piece", [1 << 20, 1448, 7])
def test_resp_server(tenon, example, piece):
    """However the requests are cut, and many in one piece."""
    url = redis_server(tenon, example)
    talk = [(request, reply) for request, reply in REDIS_TALK if piece > 7 or b"long" not in request]
    client, sent = tenon.dial(url), b"".join(redis_says(*request) for request, _ in talk)
    for at in range(0, len(sent), piece):
        client.sendall(sent[at:at + piece])
    wanted = b"".join(reply for _, reply in talk)
    assert receive_exactly(client, len(wanted)) == wanted


@pytest.mark.parametrize("bad", [b"GET name\r\n", b"*x\r\n", b"*1\n", b"*65\r\n", b"*1\r\n+4\r\nPING\r\n",
                                 b"*-1\r\n", b"*1\r\n$-4\r\n", b"*1\r\n$99999999999\r\n", b"*1\r\n$2000000\r\n"])
def test_resp_server_refuses(tenon, example, bad):
    """What came before is answered, and the others are served."""
    url = redis_server(tenon, example)
    other, client = tenon.dial(url), tenon.dial(url)
    client.sendall(redis_says(b"PING") + bad)
    assert receive_to_reset(client) == b"+PONG\r\n"
    other.sendall(redis_says(b"PING"))
    assert receive_exactly(other, 7) == b"+PONG\r\n"


@pytest.mark.skipif(not shutil.which("redis-cli"), reason="redis-cli is not installed")
def test_resp_server_with_redis_cli(tenon, example):
    port = redis_server(tenon, example).rsplit(":", 1)[1]

    def cli(*words, **how):
        return tenon.finish(["redis-cli", "-h", "127.0.0.1", "-p", port, *words], **how).text
    assert cli("ping") == "PONG\n"
    assert cli("set", "name", "a value") == "OK\n"
    assert cli("get", "name") == "a value\n"
    assert cli("--no-raw", "get", "nobody") == "(nil)\n"
    assert cli("--no-raw", "incr", "count") == "(integer) 1\n"
    assert cli("del", "name") == "1\n"
    assert "ERR unknown command" in cli("flushall")


@pytest.mark.skipif(not shutil.which("redis-benchmark"), reason="redis-benchmark is not installed")
def test_resp_server_with_redis_benchmark(tenon, example):
    port = redis_server(tenon, example).rsplit(":", 1)[1]
    result = tenon.finish(["redis-benchmark", "-h", "127.0.0.1", "-p", port, "-t", "ping_mbulk,set,get,incr",
                           "-P", "16", "-c", "50", "-n", "20000", "-r", "1000", "--csv"])
    assert [line.split(",")[0] for line in result.text.splitlines()[1:]] == ['"PING_MBULK"', '"SET"', '"GET"', '"INCR"']
    assert "WARN" not in result.err and "rror" not in result.err


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


def test_proxy(tenon, example):
    """Where its URL lets clients go, and what they are told otherwise."""
    _, urls = started(tenon, example("echo_server"), "tcp://127.0.0.1:0")
    there = port_of(urls[0])
    proxy, urls = started(tenon, example("proxy"), "proxy://127.0.0.1:0?allow-to=127.0.0.1")

    def ask(host, port):
        client = tenon.dial(f"tcp://127.0.0.1:{port_of(urls[0])}")
        client.sendall(f"CONNECT {host}:{port} HTTP/1.0\r\n\r\n".encode())
        return client, receive_exactly(client, 12)[-3:]

    client, status = ask("127.0.0.1", there)
    assert status == b"200" and receive_exactly(client, 7) == b" OK\r\n\r\n"
    assert exchange(client, noise(3 * 1024 * KIB), finish=True) == noise(3 * 1024 * KIB)
    assert ask("10.0.0.1", 80)[1] == b"403"
    assert ask("127.0.0.1", 1)[1] == b"502"
    client, status = ask("127.0.0.1", there)
    assert status == b"200"
    client.close()
    proxy.signal(signal.SIGTERM)
    proxy.wait(0)


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


@pytest.mark.parametrize("name", ["late", "worker_pool"])
def test_late_answers_survive_a_signal(tenon, example, name):
    """By a timer and by threads, and whether or not the client has ended its direction."""
    questions, answers = {"late": (b"one\ntwo\n", {b"one", b"two"}),
                          "worker_pool": (b"360\n999999999999947\n", {b"360: 2 2 2 3 3 5",
                                                                      b"999999999999947: 999999999999947"})}[name]
    server, urls = started(tenon, example(name), "tcp://127.0.0.1:0?frame=line")
    url = urls[0].split("?")[0]
    clients = [tenon.dial(url) for _ in range(4)]
    for i, client in enumerate(clients):
        client.sendall(questions)
        if i % 2:
            client.shutdown(socket.SHUT_WR)
    first = clients[0].recv(1)  # they have all been read by then
    server.signal(signal.SIGTERM)
    for i, client in enumerate(clients):
        got = b"" if i else first
        while part := client.recv(100):
            got += part
        assert set(got.splitlines()) == answers
        client.close()
    server.wait(0)


def test_worker_pool(tenon, example):
    """Clients that ask much, that leave while threads work for them, that do not read."""
    server, urls = started(tenon, example("worker_pool"), "tcp://127.0.0.1:0?frame=line&queue=4KiB")
    url = urls[0].split("?")[0]
    asked = b"".join(b"%d\n" % n for n in range(2, 3000))
    for i in range(10):  # these leave at once, some by a reset
        leaver = tenon.dial(url)
        leaver.sendall(asked[:200 * (i + 1)])
        if i % 2:
            leaver.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        leaver.close()
    client = tenon.dial(url)
    sender = threading.Thread(target=client.sendall, args=(asked,))
    sender.start()
    got = b""
    while got.count(b"\n") < 2998:
        part = client.recv(64 * KIB)
        assert part
        got += part
    sender.join()
    for line in got.splitlines():
        number, factors = line.split(b":")
        product = 1
        for factor in factors.split():
            product *= int(factor)
        assert product == int(number)
    client.sendall(b"-1\nx\n1000000000000001\n")
    refused = receive_exactly(client, len("-1x1000000000000001") + 3 * len(": not a number up to 10^15\n"))
    assert refused.count(b"not a number") == 3
    other = tenon.dial(url)
    other.sendall(b"1" * 100 + b"\n")
    assert receive_to_reset(other) == b""
    server.signal(signal.SIGTERM)
    server.wait(0)


def test_publisher(tenon, example):
    """Readers get every line, however long the burst."""
    lines = b"".join(b"line %d of what is published\n" % i for i in range(100_000))
    reader, writer = os.pipe()
    publisher, urls = started(tenon, example("publisher"), "tcp://127.0.0.1:0?frame=line&queue=64KiB", stdin=reader)
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


def test_publisher_with_a_deaf_reader(tenon, example):
    """It holds the others up for a while; then it is let go, and they get all the rest."""
    line = b"x" * 1000 + b"\n"
    reader, writer = os.pipe()
    publisher, urls = started(tenon, example("publisher"), "tcp://127.0.0.1:0?frame=line&queue=64KiB&sndbuf=16KiB",
                              stdin=reader)
    os.close(reader)
    deaf, good = (tenon.dial(urls[0].split("?")[0]) for _ in range(2))
    with open(writer, "wb") as out:
        out.write(b"begin\n")
        out.flush()
        for client in (deaf, good):  # both are accepted
            assert client.recv(6, socket.MSG_WAITALL) == b"begin\n"
        sender = threading.Thread(target=lambda: (out.write(line * 30_000), out.flush()))
        sender.start()
        assert receive_exactly(good, 30_000 * len(line)) == line * 30_000
        sender.join()
        with pytest.raises(ConnectionResetError):
            while deaf.recv(256 * KIB):
                pass
        publisher.signal(signal.SIGTERM)
    assert good.recv(10) == b""
    publisher.wait(0)


# A tenon loop inside another loop, and another library on a tenon loop

EMBEDDERS = ["embed_poll", "embed_uv", "embed_glib"]


@pytest.fixture
def optional_example(example):
    """The same, skipped where what it needs was not installed when the project was configured."""
    def find(name):
        if name != "embed_poll" and not (BUILD / "examples" / name).exists():
            pytest.skip(f"examples/{name} has not been built")
        return example(name)
    return find


@pytest.fixture(params=["epoll", "uring"])
def loop_env(request, uring_refusal):
    """The environment for an example whose loop has this engine."""
    if request.param == "uring" and uring_refusal:
        pytest.skip(uring_refusal)
    return {**os.environ, "TENON_ENGINE": request.param}


def embedder_ends(server):
    """How many messages it sent back, in how many turns of its own loop, and how late it was, in turns."""
    server.signal(signal.SIGTERM)
    server.wait(0)
    words = re.fullmatch(r"(\d+) messages in (\d+) turns, heard after (\d+) at most", server.lines[-1])
    return [int(word) for word in words.groups()]


@pytest.mark.parametrize("name", EMBEDDERS)
def test_embedded_under_load(tenon, optional_example, name, loop_env):
    """Many connections at once: what is written in one turn is heard in the next."""
    server, urls = started(tenon, optional_example(name), "tcp://127.0.0.1:0?frame=u32", "ask", env=loop_env)
    tenon.run("bench", f"{urls[0].split('?')[0]}?frame=u32", "--conns", "50", "--requests", "20000", "--warmup", "0",
              limit=LIMIT * 3)
    messages, turns, latest = embedder_ends(server)
    assert messages >= 20000
    assert turns > 100
    assert latest == 1


@pytest.mark.parametrize("name", EMBEDDERS)
def test_embedded_to_and_fro(tenon, optional_example, name, loop_env):
    """One message at a time: a wake that is missed is never made up for. And it sleeps while there is nothing."""
    server, urls = started(tenon, optional_example(name), "tcp://127.0.0.1:0?spin=0", "ask", env=loop_env)
    client = tenon.dial(urls[0].split("?")[0])
    for i in range(2000):
        client.sendall(b"%d" % i)
        assert receive_exactly(client, len(b"%d" % i)) == b"%d" % i
    others = [tenon.dial(urls[0].split("?")[0]) for _ in range(20)]
    for other in others:
        assert exchange(other, noise(300 * KIB), finish=True) == noise(300 * KIB)
    messages, turns, latest = embedder_ends(server)
    assert messages >= 2000
    assert turns < 5 * (messages + len(others)), "it steps without need"
    assert latest == 1


@pytest.mark.parametrize("name", EMBEDDERS)
def test_embedded_answers_before_it_stops(tenon, optional_example, name):
    server, urls = started(tenon, optional_example(name), "tcp://127.0.0.1:0")
    client = tenon.dial(urls[0])
    assert exchange(client, b"hello") == b"hello"
    server.signal(signal.SIGINT)
    assert client.recv(10) == b""
    server.wait(0)


@pytest.mark.parametrize("name", EMBEDDERS)
def test_embedder_without_an_engine(tenon, optional_example, name):
    result = tenon.finish([optional_example(name), "tcp://127.0.0.1:0"], 1,
                          env={**os.environ, "TENON_ENGINE": "steam"})
    assert "no such engine" in result.err


def test_curl_multi(tenon, optional_example, loop_env):
    """Many transfers at once, over one server's connections; a redirect; and some that fail."""
    sizes = [0, 1, 1000, 100 * KIB, 2 * 1024 * KIB]

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            size = self.path.removeprefix("/")
            if size.isdecimal():
                body = noise(int(size))
                self.send_response(200)
            elif size == "moved":
                body = b""
                self.send_response(302)
                self.send_header("Location", "/1000")
            else:
                body = b"nothing here"
                self.send_response(404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    class Server(http.server.ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True
    program = optional_example("curl_multi")
    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        base = f"http://127.0.0.1:{server.server_address[1]}"
        urls = [f"{base}/{size}?".rstrip("?") for size in sizes * 10]
        result = tenon.finish([program, *urls], env=loop_env)
        assert sorted(result.lines) == sorted(f"200 {url.rsplit('/', 1)[1]} {url}" for url in urls)
        result = tenon.finish([program, f"{base}/moved", f"{base}/lost"], env=loop_env)
        assert sorted(result.lines) == [f"200 1000 {base}/moved", f"404 12 {base}/lost"]
        result = tenon.finish([program, f"{base}/1", f"http://127.0.0.1:{free_port()}/"], 1, env=loop_env)
        assert result.lines == [f"200 1 {base}/1"] and "connect" in result.err
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert "usage" in tenon.finish([program], 2).err


# Of the command

CHAOS = Path(__file__).resolve().parents[2] / "examples" / "chaos"


@pytest.fixture
def redis_env(tmp_path):
    if not shutil.which("redis-server") or not shutil.which("redis-cli"):
        pytest.skip("redis-server is not installed")
    return {**os.environ, "TENON": str(BUILD / "tenon"), "TMPDIR": str(tmp_path)}


def test_redis_under_faults_and_replayed(tenon, redis_env):
    done = tenon.finish([CHAOS / "redis_chaos.sh"], env=redis_env)
    assert done.lines == ["OK", "2", "3", "every reply is the same"]


def test_nginx_under_faults_and_replayed(tenon, tmp_path):
    path = os.environ["PATH"] + ":/usr/sbin"
    if not shutil.which("nginx", path=path) or not shutil.which("curl"):
        pytest.skip("nginx or curl is not installed")
    done = tenon.finish([CHAOS / "nginx_chaos.sh"],
                        env={**os.environ, "TENON": str(BUILD / "tenon"), "TMPDIR": str(tmp_path), "PATH": path})
    assert done.lines == ["the page", "the new one says the same", "a change is noticed"]


def test_pytest_with_faults(tenon, redis_env, tmp_path):
    done = tenon.finish([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", CHAOS,
                         "--basetemp", tmp_path / "t", CHAOS], env=redis_env)
    assert "6 passed" in done.text or "3 passed, 3 skipped" in done.text
