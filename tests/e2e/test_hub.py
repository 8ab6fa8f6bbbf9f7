"""tenon hub: publish and subscribe over the NATS client protocol, with nats-server as the judge."""
import asyncio
import base64
import binascii
import json
import os
import pathlib
import re
import shutil
import select
import signal
import socket
import subprocess
import time

import cbor2
import pytest
import websockets

from harness import BUILD, MIB, SANITIZED, Server, free_port, noise, open_socket, port_of, receive_exactly, wait_until

NATS_SERVER = shutil.which("nats-server")

QUIET = b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n'

# What clients say. Each is said to both, and both must answer the same.
CONVERSATIONS = [
    b"PING\r\n", QUIET, b"CONNECT {}\r\n", b"ping\r\npong\r\n", b"FOO\r\n", b"SUB\r\n", b"SUB a\r\n",
    b"SUB a 1\r\nPUB a 5\r\nhello\r\n",
    QUIET + b"SUB a.* 1\r\nPUB a.b 0\r\n\r\n",
    QUIET + b"SUB a..b 1\r\nSUB .a 1\r\nSUB a. 1\r\nSUB >.a 1\r\nSUB > 1\r\nSUB a.>.b 1\r\n",
    QUIET + b"SUB a.> 1\r\nPUB a.* 2\r\nhi\r\nPUB a..b 1\r\nx\r\nPUB a.>.b 1\r\nx\r\n",
    QUIET + b"PUB a 5\r\nhelloXX\r\n", QUIET + b"PUB a x\r\nhello\r\n", QUIET + b"PUB a -1\r\nhello\r\n",
    QUIET + b"PUB a\r\n", QUIET + b"PUB a b c d\r\n", QUIET + b"PUB a 9999999\r\n", QUIET + b"SUB a 1 2 3\r\n",
    QUIET + b"UNSUB\r\n", QUIET + b"UNSUB 9\r\n", QUIET + b"UNSUB 9 x\r\n", b"UNSUB 1 0\r\n", b"UNSUB 1 -1\r\n",
    b"UNSUB  \r\n",
    QUIET + b"SUB a 1\r\nHPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\nPUB a 1\r\nx\r\n",
    QUIET + b"SUB a 1\r\nHPUB a b.c 12 12\r\nNATS/1.0\r\n\r\n\r\n",
    QUIET + b"HPUB a 15 14\r\nNATS/1.0\r\n\r\nhi\r\n",
    b'CONNECT {"verbose":false}\r\nHPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n',
    QUIET + b"HPUB a 12\r\n", QUIET + b"HPUB a x 2\r\n", QUIET + b"HPUB a 5 x\r\n", b"HPUB a 5\r\n",
    QUIET + b"SUB a 1\r\nHPUB a 3 5\r\nabcde\r\n",
    QUIET + b"SUB inbox.* 7\r\nPUB nobody inbox.1 2\r\nhi\r\n",
    QUIET + b"SUB _INBOX.a 3\r\nPUB $JS.API.INFO _INBOX.a 0\r\n\r\nPUB $JS.API.STREAM.NAMES _INBOX.a 2\r\n{}\r\n",
    b'CONNECT {"verbose":false,"no_responders":true}\r\n', b"CONNECT {bad\r\n", b"CONNECT\r\n", b"CONNECT []\r\n",
    b'CONNECT {"verbose":"x"}\r\n', b'CONNECT {"protocol":9}\r\n', b'CONNECT {"account":"x"}\r\n',
    b'CONNECT {"verbose":null,"unknown":[1]}\r\n',
    b'CONNECT {"verbose":true,"pedantic":true}\r\nSUB a 1\r\nPUB a.* 1\r\nx\r\nUNSUB 1\r\n',
    b'CONNECT {"verbose":true,"pedantic":false}\r\nSUB a.* 1\r\nPUB a.* 1\r\nx\r\n',
    b'CONNECT {"verbose":true,"echo":false}\r\nSUB a 1\r\nPUB a 1\r\nx\r\nSUB a q 2\r\nPUB a 1\r\nx\r\n',
    b'CONNECT {"verbose":false}\r\nCONNECT {"verbose":true}\r\nSUB a 1\r\n',
    b'connect {"verbose":false}\r\nsub a 1\r\npub a 1\r\nx\r\nunsub 1\r\nPub a 1\r\ny\r\n',
    b"SUB " + b"a" * 5000 + b" 1\r\n", b"PUB " + b"a" * 9000, b"XXXXXXXXXX", b"+OK\r\n-ERR 'x'\r\n", b"INFO {}\r\n",
    b"MSG a 1 2\r\nhi\r\n", b"\r\n", b"  PING\r\n", b"PING  \r\nPING x\r\n", b"PINGX\r\n", b"PONGX\r\n", b"SUBX\r\n",
    b"PUBX a 1\r\n", b"UNSUBX\r\n", b"OKAY\r\n", b"+Z\r\n", b"-ER\r\n", b"P\r\n", b"PING\n", b"SUB a 1\n\r\n",
    b"PUB  a   1  \r\nx\r\n", b"PUB\ta\t1\r\nx\r\n", b"SUB a 1\r\nSUB b 1\r\nPUB b 0\r\n\r\nPUB a 0\r\n\r\n",
    QUIET + b"SUB a 1\r\nUNSUB 1 2\r\nPUB a 1\r\n1\r\nPUB a 1\r\n2\r\nPUB a 1\r\n3\r\n",
    QUIET + b"SUB a 1\r\nPUB a 1\r\n1\r\nUNSUB 1 1\r\nPUB a 1\r\n2\r\n",
    QUIET + b"SUB a 1\r\nPUB a 1\r\n1\r\nUNSUB 1 2\r\nPUB a 1\r\n2\r\nPUB a 1\r\n3\r\nSUB a 1\r\nPUB a 1\r\n4\r\n",
    QUIET + b"SUB a q 1\r\nPUB a 1\r\n1\r\nUNSUB 1\r\nPUB a 1\r\n1\r\n",
    QUIET + b"SUB a*b 1\r\nPUB a*b 1\r\n1\r\nPUB a.b 1\r\n2\r\n",
    QUIET + b"SUB a.*.c 1\r\nSUB a.b 2\r\nPUB a.b.c r 1\r\n1\r\nPUB a.b r.x 1\r\n2\r\nPUB A.b 1\r\n3\r\n",
    b"PUB a 00001\r\nx\r\n", b"PUB a 1x\r\nx\r\n", b"PUB a 9999999999999999999\r\n", b"PUB a 1 1 \r\nx\r\n",
    b"SUB a\0b 1\r\nPUB a\0b 1\r\nx\r\n", b"SUB a 1\rzz\n",
    QUIET + b"SUB big sid\r\nPUB big 100000\r\n" + noise(100000) + b"\r\n",
    QUIET + b"SUB big sid\r\nPUB big 1500\r\n" + noise(1500) + b"\r\n" + b"PUB big 9000\r\n" + noise(9000) + b"\r\n",
]


class Talk:
    """A client that reads to the answer of its own last PING, or to the end."""

    def __init__(self, port, tenon=None, **how):
        self.sock = open_socket(f"tcp://127.0.0.1:{port}", **how)
        if tenon:
            tenon.cleanups.callback(self.sock.close)
        self.rest, self.pings = b"", 0
        self.info = json.loads(self.line()[5:])

    def line(self):
        while b"\r\n" not in self.rest:
            data = self.sock.recv(65536)
            assert data, self.rest
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\r\n")
        return line

    def say(self, data):
        self.sock.sendall(data)

    def to_pong(self, data=b""):
        """Says this and PING, and returns what comes before the PONG."""
        self.say(data + b"PING\r\n")
        return self.until(b"PONG\r\n")

    def until(self, end):
        got, seen = bytearray(self.rest), 0
        while (at := got.find(end, max(0, seen - len(end)))) < 0:
            seen = len(got)
            data = self.sock.recv(65536)
            assert data, bytes(got)
            got += data
        self.rest = bytes(got[at + len(end):])
        return bytes(got[:at])


def converse(port, data, step=None):
    """What is answered, up to the PONG of a PING behind it or the end."""
    talk = Talk(port)
    pongs = data.upper().count(b"PING") + 1
    data += b"PING\r\n"
    with talk.sock as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answer = talk.rest
        try:
            for at in range(0, len(data), step or len(data)):
                sock.sendall(data[at:at + (step or len(data))])
            while answer.count(b"PONG\r\n") < pongs:
                more = sock.recv(65536)
                if not more:
                    return answer + b"(end)"
                answer += more
        except (ConnectionResetError, BrokenPipeError):
            return answer + b"(end)"
    return answer


def nats_server(tenon, *args):
    if not NATS_SERVER:
        pytest.skip("nats-server is not there")
    port = free_port()
    server = tenon.peer(NATS_SERVER, "-a", "127.0.0.1", "-p", str(port), *args)
    server.wait_for_text("Server is ready")
    server.port = port
    return server


@pytest.fixture(name="judge")
def nats_server_of_all(tenon):
    return nats_server(tenon).port


def test_as_nats_server(tenon, judge):
    """The same script to both, the same answers byte for byte."""
    hub = tenon.hub("nats://127.0.0.1:0")
    for said in CONVERSATIONS:
        assert converse(hub.port, said) == converse(judge, said), said[:200]


def test_info_is_as_nats_server(tenon, judge):
    hub = tenon.hub("nats://127.0.0.1:0", options=["--json", "--name", "here"])
    ours, theirs = Talk(hub.port, tenon).info, Talk(judge, tenon).info
    assert theirs.keys() - ours.keys() == {"go"} and ours.keys() <= theirs.keys()
    for key in ("proto", "host", "headers", "max_payload", "client_ip"):
        assert ours[key] == theirs[key]
    assert ours["port"] == hub.port and ours["server_name"] == "here"


def test_cut_anywhere(tenon):
    """However the bytes come, the answers are the same."""
    hub = tenon.hub("nats://127.0.0.1:0")
    for said in CONVERSATIONS:
        if len(said) < 400:
            whole = converse(hub.port, said)
            assert converse(hub.port, said, 1) == whole, said
            assert converse(hub.port, said, 7) == whole, said
    said = CONVERSATIONS[-1]
    assert converse(hub.port, said, 1000) == converse(hub.port, said)


@pytest.mark.parametrize("threads", [1, 3])
def test_many_to_many(tenon, threads):
    """Each subscriber gets each message once, in each publisher's order; of a queue group, one."""
    hub = tenon.hub("nats://127.0.0.1:0", options=["--json", "--threads", threads])
    everyone = [Talk(hub.port, tenon) for _ in range(12)]
    group = [Talk(hub.port, tenon) for _ in range(6)]
    publishers = [Talk(hub.port, tenon) for _ in range(3)]
    for talk in everyone:
        talk.to_pong(QUIET + b"SUB t.* 1\r\n")
    for number, talk in enumerate(group):
        talk.to_pong(QUIET + (b"SUB t.> workers 1\r\n" if number % 2 else b"SUB t.* workers 1\r\n"))
    for name, talk in enumerate(publishers):
        talk.to_pong(QUIET + b"".join(b"PUB t.%d %d\r\n%d\r\n" % (name, len(str(n)), n) for n in range(100)))
    last = publishers[0]
    last.to_pong(b"PUB t.end 0\r\n\r\n")

    def numbers(text, name):
        lines = text.split(b"\r\n")
        return [int(body) for head, body in zip(lines, lines[1:]) if head.startswith(b"MSG t.%d " % name)]

    for talk in everyone:
        for _ in range(301):  # what other loops have sent is on its way
            if talk.rest.count(b"MSG ") == 301:
                break
            talk.rest += talk.sock.recv(1 << 20)
        text = talk.rest
        for name in range(3):
            assert numbers(text, name) == list(range(100))
    wait_until(lambda: sum(receive_now(talk).count(b"MSG ") for talk in group) == 301, "one of the group gets each")
    for name in range(3):
        assert sorted(sum((numbers(talk.rest, name) for talk in group), [])) == list(range(100))


def receive_now(talk):
    talk.sock.setblocking(False)
    try:
        talk.rest += talk.sock.recv(1 << 20)
    except BlockingIOError:
        pass
    return talk.rest


def test_lame_duck(tenon):
    """SIGTERM: clients are told to go; what was published is delivered."""
    hub = tenon.hub("nats://127.0.0.1:0")
    talk = Talk(hub.port, tenon)
    talk.to_pong(QUIET + b"SUB a 1\r\n")
    talk.say(b"PUB a %d\r\n" % MIB + bytes(MIB) + b"\r\n")
    talk.until(b"MSG a 1 %d\r\n" % MIB)
    hub.signal(signal.SIGTERM)
    text = talk.rest
    while data := talk.sock.recv(1 << 20):
        text += data
    hub.wait()
    assert text.startswith(bytes(MIB) + b"\r\nINFO {") and b'"ldm":true' in text[MIB:]


@pytest.mark.parametrize("slow", ["cut", "drop-oldest", "drop-newest", "last"])
def test_slow_subscriber(tenon, slow):
    """Who does not read is cut off or loses messages, told by name; another one loses nothing."""
    hub = tenon.hub("nats://127.0.0.1:0?sndbuf=64KiB", options=["--json", "--slow", slow, "--backlog", "256KiB"])
    reader, publisher = Talk(hub.port, tenon), Talk(hub.port, tenon)
    stopped = Talk(hub.port, tenon, receive_buffer=65536)
    stopped.to_pong(b'CONNECT {"verbose":false,"name":"sleeper"}\r\nSUB t.* 1\r\n')
    reader.to_pong(QUIET + b"SUB t.* 1\r\n")
    publisher.to_pong(QUIET)
    body, count = bytes(8192), 200
    for n in range(count):
        publisher.say(b"PUB t.%d %d\r\n" % (n % 10, 8192 + 4) + b"%4d" % n + body + b"\r\n")
        head = reader.until(b"\r\n")
        assert head == b"MSG t.%d 1 8196" % (n % 10)
        reader.until(b"\r\n")
    event = hub.wait_for_event("cut" if slow == "cut" else "slow")
    assert event["name"] == "sleeper" and event["peer"].startswith("tcp://127.0.0.1:")
    if slow == "cut":
        with pytest.raises(ConnectionResetError):
            while stopped.sock.recv(1 << 20):
                pass
        return
    text = stopped.to_pong()  # its PONG waits behind what it still gets
    hub.wait_for_event("caught up")
    numbers = [int(part.split(b"\r\n")[1][:4]) for part in text.split(b"MSG t.")[1:]]
    assert numbers[0] == 0 and len(numbers) < count
    # what the kernel takes meanwhile makes room for some
    for topic in range(10) if slow == "last" else [None]:
        mine = [n for n in numbers if topic in (None, n % 10)]
        assert mine == sorted(set(mine))
    if slow == "last":
        assert sorted({n % 10: n for n in numbers}.values()) == list(range(count - 10, count))
    if slow == "drop-oldest":
        assert numbers[-10:] == list(range(count - 10, count))
    hub.signal(signal.SIGTERM)
    hub.wait()
    stopped_event = next(event for event in hub.events if event["event"] == "stopped")
    assert stopped_event["published"] == count and stopped_event["dropped"] == count - len(numbers)


@pytest.mark.parametrize("slow, words", [("cut", " and is cut off: .+"), ("drop-newest", "; messages dropped: 1$")])
def test_slow_subscriber_in_words(tenon, slow, words):
    hub = tenon.hub("nats://127.0.0.1:0?sndbuf=64KiB", options=["--slow", slow, "--backlog", "256KiB"])
    publisher, stopped = Talk(hub.port, tenon), Talk(hub.port, tenon, receive_buffer=65536)
    stopped.to_pong(b'CONNECT {"verbose":false,"name":"sleeper"}\r\nSUB t 1\r\n')
    publisher.to_pong(QUIET + (b"PUB t 65536\r\n" + bytes(65536) + b"\r\n") * 30)
    hub.wait_for_text(r"#\d+ sleeper \(tcp://127\.0\.0\.1:\d+\) reads too slowly" + words)


def test_slow_subscriber_is_told_over_http(tenon):
    """Who reads --admin's events hears of it whatever standard output gets."""
    port = free_port()
    hub = tenon.hub("nats://127.0.0.1:0?sndbuf=64KiB", options=[
        "--slow", "drop-newest", "--backlog", "64KiB", "--admin", f"http://127.0.0.1:{port}"])
    told = tenon.dial(f"tcp://127.0.0.1:{port}")
    told.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    stopped, publisher = Talk(hub.port, tenon, receive_buffer=65536), Talk(hub.port, tenon)
    stopped.to_pong(b'CONNECT {"verbose":false,"name":"sleeper"}\r\nSUB t 1\r\n')
    publisher.to_pong(QUIET + b"PUB t 65536\r\n".join([b""] + [bytes(65536) + b"\r\n"] * 64))
    events = b""
    while b'"event":"slow"' not in events:
        events += told.recv(65536)
    assert b'"name":"sleeper"' in events.split(b'"event":"slow"')[1]
    assert "sleeper" in hub.err


def test_long_messages_behind_short_ones(tenon):
    """What a slow subscriber gets at last is whole, wherever its queue became full."""
    hub = tenon.hub("nats://127.0.0.1:0?sndbuf=64KiB&queue=16KiB",
                    options=["--json", "--max-payload", "2MiB", "--backlog", "256MiB"])
    stopped, publisher = Talk(hub.port, tenon, receive_buffer=65536), Talk(hub.port, tenon)
    stopped.to_pong(QUIET + b"SUB t 1\r\n")
    publisher.to_pong(QUIET)
    sizes = [size for n in range(24) for size in [500] * (60 + 37 * n % 200) + [MIB + 65536]]
    for size in sizes:
        publisher.say(b"PUB t %d\r\n" % size + bytes(size) + b"\r\n")
    publisher.to_pong()
    expected = b"".join(b"MSG t 1 %d\r\n" % size + bytes(size) + b"\r\n" for size in sizes)
    came = stopped.to_pong()
    assert len(came) == len(expected)
    whole = came == expected  # told in one word
    assert whole


def test_group_leaves_out_who_goes(tenon):
    """Who is being closed, and does not read what it still gets, takes no message from others of its group."""
    hub = tenon.hub("nats://127.0.0.1:0?sndbuf=64KiB&drain=1h", options=["--json", "--drain", "1ms"])
    staying, publisher = Talk(hub.port, tenon), Talk(hub.port, tenon)
    going = Talk(hub.port, tenon, receive_buffer=65536)
    going.to_pong(QUIET + b"SUB fill 1\r\nSUB work group 2\r\n")
    staying.to_pong(QUIET + b"SUB work group 1\r\n")
    publisher.to_pong(QUIET + b"PUB fill %d\r\n" % MIB + bytes(MIB) + b"\r\n")
    going.say(b"FOO\r\n")  # an error, by which it is closed
    publisher.to_pong()
    publisher.to_pong(b"PUB work 1\r\nx\r\n" * 30)
    assert staying.to_pong() == b"MSG work 1 1\r\nx\r\n" * 30


@pytest.mark.parametrize("door", ["nats", "json"])
def test_group_of_one_that_wants_few(tenon, door):
    """Who takes no more than so many leaves all others to the rest of its group, whichever loops they live on."""
    hub = tenon.hub("nats://127.0.0.1:0", LINES, options=["--json", "--threads", "4"])
    for number in range(20):
        topic = b"j%d" % number
        staying, publisher = Talk(hub.port, tenon), Talk(hub.port, tenon)
        staying.to_pong(QUIET + b"SUB %s w 1\r\n" % topic)
        if door == "nats":
            Talk(hub.port, tenon).to_pong(QUIET + b"SUB %s w 1\r\nUNSUB 1 3\r\n" % topic)
        else:
            few = Lines(hub.urls[1], tenon)
            few.say({"sub": topic.decode(), "group": "w", "max": 3, "ack": 1})
            assert few.hear() == {"ok": 1}
        publisher.to_pong(QUIET + b"PUB %s 1\r\nx\r\n" % topic * 100 + b"PUB %s 3\r\nend\r\n" % topic)
        assert staying.until(b"\r\nend\r\n").count(b"MSG ") == 98


def test_group_of_one_that_leaves(tenon):
    """Who unsubscribes has all that was chosen for it when that is confirmed; the rest of its group has the others."""
    hub = tenon.hub("nats://127.0.0.1:0", options=["--json", "--threads", "4"])
    for number in range(20):
        topic = b"j%d" % number
        staying, leaving, publisher = [Talk(hub.port, tenon) for _ in range(3)]
        for talk in (staying, leaving):
            talk.to_pong(QUIET + b"SUB %s w 1\r\n" % topic)
        publisher.to_pong(QUIET)
        publisher.say(b"PUB %s 1\r\nx\r\n" % topic * 3000)
        leaving.until(b"MSG ")
        left = 1 + leaving.to_pong(b"UNSUB 1\r\n").count(b"MSG ")
        publisher.to_pong(b"PUB %s 3\r\nend\r\n" % topic)
        assert staying.until(b"\r\nend\r\n").count(b"MSG ") + left == 3001


def test_limits(tenon):
    hub = tenon.hub("nats://127.0.0.1:0", options=["--json", "--max-payload", "1000", "--max-subscriptions", "2"])
    talk = Talk(hub.port, tenon)
    assert talk.info["max_payload"] == 1000
    assert talk.to_pong(QUIET + b"SUB a 1\r\nSUB b 2\r\nPUB a 1000\r\n" + bytes(1000) + b"\r\n").startswith(b"MSG a 1 ")
    talk.say(b"SUB c 3\r\n")
    talk.until(b"-ERR 'maximum subscriptions exceeded'\r\n")
    assert converse(hub.port, QUIET + b"PUB a 1001\r\n") == b"-ERR 'Maximum Payload Violation'\r\n(end)"


@pytest.mark.parametrize("url, why", [
    ("udp://127.0.0.1:0", "datagrams"), ("tcp://127.0.0.1:0", "frame=line"),
    ("tcp://127.0.0.1:0?frame=line&format=text", "no objects"), ("nats://127.0.0.1:0?frame=line", "stream of bytes"),
    ("nats://127.0.0.1:0?max=1KiB", "--max-payload"),
    ("nats+udp://127.0.0.1:0", "datagrams"), ("natz://127.0.0.1", "nats://"), ("nats://127.0.0.1:0?xyz=1", "xyz"),
])
def test_bad_urls(tenon, url, why):
    result = tenon.run("hub", url, status=2)
    assert why in result.err


# Clients that nobody here wrote

@pytest.fixture(name="libnats", scope="module")
def libnats_client(tmp_path_factory):
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "libnats"], stdout=subprocess.PIPE, check=False)
    if flags.returncode or not shutil.which("cc"):
        pytest.skip("libnats is not there")
    program = tmp_path_factory.mktemp("nats") / "nats_client"
    source = pathlib.Path(__file__).with_name("nats_client.c")
    subprocess.run(["cc", "-o", program, source, *flags.stdout.decode().split()], check=True)
    return program


def test_libnats(tenon, libnats, judge):
    """What its calls return is the same with nats-server."""
    hub = tenon.hub("nats://127.0.0.1:0", options=["--json", "--threads", "2"])
    ours = tenon.finish([libnats, f"nats://127.0.0.1:{hub.port}"]).lines
    assert ours[:3] == ["wildcard 500", "group 1000", "answer hello why"]
    assert ours == tenon.finish([libnats, f"nats://127.0.0.1:{judge}"]).lines


NPM = """
const { connect, StringCodec, headers } = require("nats");
(async () => {
  const nc = await connect({ servers: process.argv[1] });
  const sc = StringCodec();
  const sub = nc.subscribe("a.*", { max: 2 });
  nc.publish("a.b", sc.encode("one"));
  nc.publish("a.c", sc.encode("two"));
  for await (const m of sub) console.log(m.subject, sc.decode(m.data));
  nc.subscribe("help", { queue: "q", callback: (err, m) => m.respond(sc.encode("I do"), { headers: m.headers }) });
  const h = headers();
  h.set("Who", "me");
  const r = await nc.request("help", sc.encode("who helps?"), { headers: h, timeout: 10000 });
  console.log(sc.decode(r.data), r.headers.get("Who"));
  try { await nc.request("nobody", sc.encode("?"), { timeout: 10000 }); } catch (err) { console.log(err.code); }
  try { await (await nc.jetstreamManager()).getAccountInfo(); } catch (err) { console.log(err.code); }
  await nc.drain();
})();
"""


def test_npm(tenon):
    """The npm package `nats`, where node finds it (NODE_PATH)."""
    node = shutil.which("node")
    if not node or subprocess.run([node, "-e", 'require("nats")'], stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("node does not find the package nats")
    hub = tenon.hub("nats://127.0.0.1:0")
    result = tenon.finish([node, "-e", NPM, f"127.0.0.1:{hub.port}"])
    assert result.lines == ["a.b one", "a.c two", "I do me", "503", "503"], result


# The hub's own protocol

class Lines:
    """A client of the hub's own protocol over lines of JSON."""

    def __init__(self, url, tenon):
        self.sock = tenon.dial(url)
        self.file = self.sock.makefile("rb")
        tenon.cleanups.callback(self.file.close)

    def say(self, *objects):
        self.sock.sendall(b"".join(json.dumps(obj).encode() + b"\n" for obj in objects))

    def hear(self):
        return json.loads(self.file.readline())


LINES = "tcp://127.0.0.1:0?frame=line"


def test_verbs(tenon):
    """What docs/hub.md says."""
    hub = tenon.hub(LINES)
    one, two = Lines(hub.url, tenon), Lines(hub.url, tenon)
    one.say({"sub": "a.*", "ack": 1}, {"sub": "a.b", "id": "again", "ack": "x"}, {"ping": 7})
    assert [one.hear() for _ in range(3)] == [{"ok": 1}, {"ok": "x"}, {"pong": 7}]
    two.say({"pub": "a.b", "data": {"c": [21.5, None, "x"]}, "headers": {"K": ["v", "w"], "L": "z"}, "reply": "r.1",
             "ack": True})
    assert two.hear() == {"ok": True, "count": 2}
    assert one.hear() == {"msg": "a.b", "data": {"c": [21.5, None, "x"]}, "reply": "r.1",
                          "headers": {"K": ["v", "w"], "L": ["z"]}}
    two.say({"pub": "a.c", "text": "hello"}, {"pub": "a.d", "bytes": {"$bytes": "_wEC"}}, {"pub": "a.e"})
    assert [one.hear() for _ in range(3)] == [{"msg": "a.c", "text": "hello"},
                                              {"msg": "a.d", "bytes": {"$bytes": "_wEC"}}, {"msg": "a.e"}]
    two.say({"req": "nobody", "id": 5}, {"req": "nobody", "id": "six"}, {"req": "nobody"})
    assert [two.hear() for _ in range(3)] == [{"res": name, "error": "no responders"} for name in (5, "six", 1)]
    two.say({"sub": ">", "ack": 1}, {"req": "a.q", "data": 1, "id": "q"})
    assert two.hear() == {"ok": 1} and two.hear()["msg"] == "a.q"
    asked = one.hear()
    one.say({"unsub": "a.*"}, {"unsub": "again", "ack": 2}, {"pub": asked["reply"], "data": asked["data"] + 1})
    assert one.hear() == {"ok": 2}
    heard = [two.hear() for _ in range(2)]  # both of its subscriptions fit
    assert {"msg": asked["reply"], "data": 2} in heard and {"res": "q", "data": 2} in heard
    one.say({"sub": "few", "max": 2}, *[{"pub": "few", "data": n} for n in range(4)], {"ping": "end"})
    assert [one.hear() for _ in range(3)] == [{"msg": "few", "data": 0}, {"msg": "few", "data": 1}, {"pong": "end"}]


@pytest.mark.parametrize("said, why", [
    (b"{bad", "line 1, byte 2"), (b"[]", "no verb"), (b'{"x":1}', "no verb"), (b'{"pub":"a.*"}', "no topic"),
    (b'{"pub":"a..b"}', "no topic"), (b'{"sub":"a.>.b"}', "no pattern"), (b'{"sub":""}', "id"), (b"1", "no verb"),
    (b'{"pub":"a","reply":"*"}', "reply"), (b'{"pub":"a","headers":{"a:b":"c"}}', "headers"),
    (b'{"pub":"a","headers":{"a":"b\\r\\nc"}}', "headers"), (b'{"pub":"a","headers":3}', "headers"),
    (b'{"pub":"a","bytes":"x"}', "bytes"), (b'{"pub":"a","text":1}', "text"), (b'{"req":"a.*"}', "no topic"),
    (b'{"req":"a","id":"x.y"}', "id"), (b'{"pub":"a","text":"%s"}' % (b"x" * 2000), "too long"), (b"\xff", "UTF-8"),
])
def test_wrong_lines(tenon, said, why):
    hub = tenon.hub(LINES, options=["--json", "--max-payload", "1000"])
    client = Lines(hub.url, tenon)
    client.sock.sendall(b" \n\n" + said + b"\n")
    assert why in client.hear()["error"]
    client.say({"ping": 1})
    assert client.hear() == {"pong": 1}


def test_doors_share_topics(tenon):
    """JSON, CBOR, WebSocket and NATS, each as it likes."""
    hub = tenon.hub(LINES, "tcp://127.0.0.1:0?frame=u32&format=cbor", "nats://127.0.0.1:0",
                    "ws://127.0.0.1:0/hub")
    lines, nats = Lines(hub.urls[0], tenon), Talk(port_of(hub.urls[2]), tenon)
    lines.say({"sub": "t", "ack": 1})
    assert lines.hear() == {"ok": 1}
    nats.to_pong(QUIET + b"SUB t 1\r\n")
    cbor = tenon.dial(hub.urls[1].split("?")[0])
    asked = cbor2.dumps({"sub": "t", "ack": 1})
    cbor.sendall(len(asked).to_bytes(4, "big") + asked)
    receive_exactly(cbor, int.from_bytes(receive_exactly(cbor, 4), "big"))

    async def browser():
        async with websockets.connect(hub.urls[3]) as ws:
            await ws.send('{"sub":"t","ack":1}')
            assert json.loads(await ws.recv()) == {"ok": 1}
            nats.say(b'HPUB t 18 25\r\nNATS/1.0\r\nA: b\r\n\r\n{"c":1}\r\n')
            expected = {"msg": "t", "data": {"c": 1}, "headers": {"A": ["b"]}}
            assert lines.hear() == json.loads(await ws.recv()) == expected
            assert cbor2.loads(receive_exactly(cbor, int.from_bytes(receive_exactly(cbor, 4), "big"))) == expected
            await ws.send('{"pub":"t","data":[1, 2]}')
            assert lines.hear() == json.loads(await ws.recv()) == {"msg": "t", "data": [1, 2]}
    asyncio.run(browser())
    nats.until(b"MSG t 1 5\r\n[1,2]\r\n")


@pytest.mark.parametrize("head, told", [
    (b"A: b\r\nC:d\r\n\r\n", {"A": ["b"], "C": ["d"]}), (b"A: b\nC: d\n", {"A": ["b"], "C": ["d"]}),
    (b"A: b\r\nC: d", {"A": ["b"], "C": ["d"]}), (b"A:\r\nA:  b \r\nC\r\n\r\n", {"A": ["", " b "]}),
    (b"\n:\n", {"": [""]})])
def test_headers_as_they_come(tenon, head, told):
    """Also of clients that end lines with a line feed alone, or do not end the last one."""
    hub = tenon.hub("nats://127.0.0.1:0", LINES)
    nats, lines = Talk(port_of(hub.urls[0]), tenon), Lines(hub.urls[1], tenon)
    lines.say({"sub": "t", "ack": 1})
    assert lines.hear() == {"ok": 1}
    head = b"NATS/1.0\r\n" + head
    nats.to_pong(QUIET + b"HPUB t %d %d\r\n" % (len(head), len(head) + 2) + head + b"hi\r\n")
    assert lines.hear() == {"msg": "t", "text": "hi", "headers": told}


def test_payloads_are_longer_as_objects(tenon):
    """A payload as long as it may be reaches those who get it as an object, and comes from them."""
    hub = tenon.hub("nats://127.0.0.1:0", LINES)
    nats, lines = Talk(port_of(hub.urls[0]), tenon), Lines(hub.urls[1], tenon)
    lines.say({"sub": "t", "ack": 1})
    assert lines.hear() == {"ok": 1}
    nats.to_pong(QUIET)
    coded = base64.urlsafe_b64encode(b"\xff" * MIB).decode().rstrip("=")
    for payload, told in [(b"x" * MIB, {"text": "x" * MIB}), (b"\xff" * MIB, {"bytes": {"$bytes": coded}})]:
        nats.to_pong(b"PUB t %d\r\n" % MIB + payload + b"\r\n")
        assert lines.hear() == {"msg": "t", **told}
        lines.say({"pub": "t", **told})
        assert lines.hear() == {"msg": "t", **told}


# tenon pub, sub, request, reply

OS_TEXT = "utf-8", "surrogateescape"  # bytes among arguments


def subscribed(tenon, *args):
    sub = tenon.start("sub", *args, "-v")
    sub.wait_for_text("subscribed")
    return sub


@pytest.mark.parametrize("place", ["nats", "json"])
def test_pub_and_sub(tenon, place):
    hub = tenon.hub("nats://127.0.0.1:0", LINES)
    url = hub.urls[0] if place == "nats" else hub.urls[1].split("?")[0]
    sub = subscribed(tenon, url, "a.*", "b", "--count", "5")
    raw = subscribed(tenon, url, ">", "--raw", "--count", "5")
    tenon.run("pub", url, "a.x", '{"c": 21.5}', "hello", "", "--header", "K:v", "--header", "L: w", "--reply", "r.1")
    result = tenon.run("pub", url, "b", "-v", input=b'[1]\nlast "line"')
    assert "published: 2" in result.err
    sub.wait()
    raw.wait()
    head = {"reply": "r.1", "headers": {"K": ["v"], "L": ["w"]}}
    assert [json.loads(line) for line in sub.lines] == [
        {"msg": "a.x", "data": {"c": 21.5}, **head}, {"msg": "a.x", "text": "hello", **head}, {"msg": "a.x", **head},
        {"msg": "b", "data": [1]}, {"msg": "b", "text": 'last "line"'}]
    assert [line.replace(" ", "") for line in raw.lines] == ['{"c":21.5}', "hello", "", "[1]", 'last"line"']


@pytest.mark.parametrize("door", [0, 1])
def test_count_leaves_the_rest_to_the_group(tenon, door):
    """--group with --count: nothing is lost with who ends."""
    hub = tenon.hub("nats://127.0.0.1:0", LINES)
    url = hub.urls[door].split("?")[0]
    few = subscribed(tenon, url, "jobs", "--raw", "--group", "w", "--count", "3")
    rest = subscribed(tenon, url, "jobs", "--raw", "--group", "w", "--count", "997")
    tenon.run("pub", url, "jobs", input=b"".join(b"%d\n" % n for n in range(1000)))
    few.wait()
    rest.wait()
    assert sorted(map(int, few.lines + rest.lines)) == list(range(1000))

    repliers = [tenon.start("reply", url, "echo", "--group", "w", "-v", *more) for more in (["--count", "3"], [])]
    for replier in repliers:
        replier.wait_for_text("subscribed")
    talk = Talk(hub.port, tenon)
    talk.to_pong(QUIET + b"SUB r.* 1\r\n")
    talk.say(b"".join(b"PUB echo r.%d 2\r\nhi\r\n" % n for n in range(1000)))
    wait_until(lambda: receive_now(talk).count(b"MSG ") == 1000, lambda: f"1000 replies: {talk.rest.count(b'MSG ')}")
    repliers[0].wait()
    repliers[1].signal(signal.SIGTERM)
    repliers[1].wait()


@pytest.mark.parametrize("door", [0, 1])
def test_a_signal_leaves_the_rest_to_the_group(tenon, door):
    """SIGINT and SIGTERM: what was chosen for who ends, it prints or answers. All others go to the rest."""
    hub = tenon.hub("nats://127.0.0.1:0", LINES)
    url = hub.urls[door].split("?")[0]
    first, other = (subscribed(tenon, url, "jobs.a", "jobs.*", "--raw", "--group", "w") for _ in range(2))
    publisher = tenon.start("pub", url, "jobs.b", "--timeout", "0", stdin=subprocess.PIPE)
    publisher.popen.stdin.write(b"".join(b"%d\n" % n for n in range(20000)))
    publisher.popen.stdin.close()
    wait_until(lambda: first.out, lambda: "nothing is printed")
    first.signal(signal.SIGINT)
    first.wait()
    publisher.wait()
    other.signal(signal.SIGTERM)
    other.wait()
    assert sorted(map(int, first.lines + other.lines)) == list(range(20000))

    repliers = [tenon.start("reply", url, "echo", "--group", "w", "-v") for _ in range(2)]
    for replier in repliers:
        replier.wait_for_text("subscribed")
    talk = Talk(hub.port, tenon)
    talk.to_pong(QUIET + b"SUB r.* 1\r\n")
    talk.say(b"".join(b"PUB echo r.%d 2\r\nhi\r\n" % n for n in range(3000)))
    wait_until(lambda: b"MSG " in receive_now(talk), lambda: "no reply")
    for replier in repliers:
        replier.signal(signal.SIGTERM)
        replier.wait()
        talk.say(b"PUB echo r.more 2\r\nhi\r\n" if replier is repliers[0] else b"")
    wait_until(lambda: receive_now(talk).count(b"MSG ") == 3001, lambda: f"3001 replies: {talk.rest.count(b'MSG ')}")


@pytest.mark.parametrize("role", [["sub", "jobs", "--group", "w"], ["reply", "jobs"]], ids=lambda role: role[0])
def test_a_second_signal_does_not_wait_for_the_hub(tenon, role):
    hub = tenon.hub("nats://127.0.0.1:0")
    process = tenon.start(role[0], hub.url, *role[1:], "-v")
    process.wait_for_text("subscribed")
    hub.signal(signal.SIGSTOP)
    for number in (signal.SIGTERM, signal.SIGINT):
        process.signal(number)
    process.wait(1)
    hub.signal(signal.SIGCONT)


def test_request_and_reply(tenon):
    """Whatever they speak."""
    hub = tenon.hub("nats://127.0.0.1:0", LINES)
    nats, lines = hub.urls[0], hub.urls[1].split("?")[0]
    echo, fixed = tenon.start("reply", nats, "echo.*", "-v"), tenon.start("reply", lines, "fixed", '{"ok":true}', "-v",
                                                                            "--header", "From:me", "--count", "2")
    echo.wait_for_text("subscribed")
    fixed.wait_for_text("subscribed")
    for url in (nats, lines):
        assert tenon.run("request", url, "echo.x", "hi", "--raw").text == "hi\n"
        answer = json.loads(tenon.run("request", url, "fixed", "hi").text)
        assert answer["data"] == {"ok": True} and answer["headers"] == {"From": ["me"]}
        assert "nobody responds" in tenon.run("request", url, "nobody", status=1).err
        subscribed(tenon, url, "silent", "--count", "1")
        assert "no answer" in tenon.run("request", url, "silent", "--timeout", "50ms", status=3).err
    fixed.wait()
    echo.signal(signal.SIGTERM)
    echo.wait()


@pytest.mark.parametrize("door", [0, 1])
def test_topics_that_are_no_text(tenon, door):
    """NATS takes them; the hub's own protocol has them as bytes, in both directions."""
    hub = tenon.hub("nats://127.0.0.1:0", LINES)
    url = hub.urls[door].split("?")[0]
    named = {"$bytes": base64.urlsafe_b64encode(b"a.\xff").rstrip(b"=").decode()}
    subs = [subscribed(tenon, url, pattern, "--count", "2") for pattern in ("a.*", b"a.\xff".decode(*OS_TEXT))]
    reply = tenon.start("reply", url, "echo.*", "--count", "1", "-v")
    reply.wait_for_text("subscribed")
    talk = Talk(hub.port, tenon)
    talk.to_pong(QUIET + b"SUB r.* 1\r\nPUB a.\xff 1\r\n1\r\n")
    tenon.run("pub", url, b"a.\xff".decode(*OS_TEXT), "2")
    for sub in subs:
        sub.wait()
        assert [json.loads(line) for line in sub.lines] == [{"msg": named, "data": 1}, {"msg": named, "data": 2}]
    talk.say(b"PUB echo.\xff r.\xff 2\r\nhi\r\n")
    assert talk.until(b"hi\r\n") == b"MSG r.\xff 1 2\r\n"
    reply.wait()


@pytest.mark.parametrize("door", [0, 1])
def test_headers_of_an_echo(tenon, door):
    """Those that were given, and those of the request."""
    hub = tenon.hub("nats://127.0.0.1:0", LINES)
    url = hub.urls[door].split("?")[0]
    reply = tenon.start("reply", url, "echo", "-H", "From: me", "-H", "To: you", "-v")
    reply.wait_for_text("subscribed")
    heads = {"From": ["me"], "To": ["you"]}
    for payload, named in (("hi", {"text": "hi"}), ("", {})):
        for options, more in (([], {}), (["-H", "A: b", "-H", "C: d"], {"A": ["b"], "C": ["d"]})):
            answer = json.loads(tenon.run("request", url, "echo", payload, *options).text)
            answer.pop("msg", None)
            assert answer == {**named, "headers": {**heads, **more}}
    reply.signal(signal.SIGTERM)
    reply.wait()


def test_pub_to_nats_server(tenon, judge):
    url = f"nats://127.0.0.1:{judge}"
    sub = subscribed(tenon, url, "a", "--count", "1000")
    tenon.run("pub", url, "a", input=b"".join(b"%d\n" % n for n in range(1000)))
    sub.wait()
    assert [json.loads(line)["data"] for line in sub.lines] == list(range(1000))
    assert "nobody responds" in tenon.run("request", url, "nobody", status=1).err


@pytest.mark.parametrize("form", ["cbor", "xml", "msgpack"])
def test_what_a_format_cannot_express(tenon, form):
    """JSON with equal keys is no value of every format: then it comes as text, which is not lost either."""
    hub = tenon.hub("nats://127.0.0.1:0", f"tcp://127.0.0.1:0?frame=u32&format={form}")
    nats, url = hub.urls[0], hub.urls[1].split("?")[0] + f"?frame=u32&format={form}"
    equal = '{"a":1,"a":2}'
    sub = tenon.start("sub", url, "a", "--raw", "--count", "3", "-v")
    sub.wait_for_text("subscribed")
    tenon.run("pub", nats, "a", equal, "5")
    tenon.run("pub", url, "a", equal)
    sub.wait(0)
    assert sub.lines == [equal, "5", equal]
    reply = tenon.start("reply", nats, "b", equal, "--count", "1", "-v")
    reply.wait_for_text("subscribed")
    assert tenon.run("request", url, "b", "--raw").lines == [equal]


class Asked:
    """A NATS server that the test plays, and its client."""

    def __init__(self, tenon, *args, **how):
        listener = tenon.listen()
        url = f"nats://127.0.0.1:{listener.getsockname()[1]}"
        self.client = tenon.start(args[0], url, *args[1:], stdin=subprocess.PIPE, **how)
        self.sock = tenon.accept(listener)

    def greet(self):
        self.sock.sendall(b'INFO {"server_id":"x","headers":true,"max_payload":1048576}\r\n')
        self.until(b"}\r\n")

    def until(self, end):
        said = b""
        while end not in said:
            data = self.sock.recv(65536)
            assert data, said
            said += data
        return said

    def feed(self, data):
        self.client.popen.stdin.write(data)
        self.client.popen.stdin.flush()


@pytest.fixture(name="nobody_reads")
def pipe_without_reader():
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


def test_pub_and_reply_print_nothing(tenon, nobody_reads):
    """Whether anybody reads their output does not matter."""
    pub = Asked(tenon, "pub", "t", stdout=nobody_reads)
    pub.greet()
    pub.feed(b"one\n")
    pub.until(b"PUB t 3\r\none\r\n")
    pub.client.popen.stdin.close()
    pub.until(b"PING\r\n")
    pub.sock.sendall(b"PONG\r\n")
    pub.client.wait()
    reply = Asked(tenon, "reply", "t", "--count", "1", stdout=nobody_reads)
    reply.greet()
    reply.sock.sendall(b"PONG\r\nMSG t 1 r.1 2\r\nhi\r\n")
    assert b"PUB r.1 2\r\nhi\r\n" in reply.until(b"UNSUB 1\r\nPING\r\n")
    reply.sock.sendall(b"PONG\r\n")
    reply.client.wait()


@pytest.mark.parametrize("command", ["pub", "request"])
@pytest.mark.parametrize("scheme", ["nats", "tls"])
def test_a_hub_that_says_nothing(tenon, command, scheme):
    """--timeout runs from the beginning."""
    listener = tenon.listen()
    url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
    result = tenon.run(command, url, "a", "b", "--timeout", "50ms", status=3, limit=30)
    assert "no answer within 0.05 s" in result.err


def test_time_of_the_input(tenon):
    """It is no part of what --timeout limits."""
    pub = Asked(tenon, "pub", "t", "--timeout", "2s")
    pub.greet()
    pub.sock.sendall(b"PING\r\n")
    pub.until(b"PONG\r\n")
    time.sleep(2.2)
    pub.feed(b"one\n")
    pub.until(b"one\r\n")
    pub.client.popen.stdin.close()
    pub.until(b"PING\r\n")
    pub.client.wait(3)


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_signals_that_end_clients(tenon, name):
    """A status of 0 means that all has been done."""
    pub = Asked(tenon, "pub", "t")
    pub.greet()
    pub.feed(b"one\n")
    pub.until(b"one\r\n")
    pub.client.signal(name)
    pub.until(b"PING\r\n")  # what was taken is to be confirmed
    pub.sock.sendall(b"PONG\r\n")
    pub.client.wait()
    for greeted, args in [(False, ["pub", "t"]), (False, ["pub", "t", "one"]), (True, ["pub", "t", "one"]),
                          (True, ["request", "t"])]:
        asked = Asked(tenon, *args)
        if greeted:
            asked.greet()
        asked.sock.sendall(b"PING\r\n")
        asked.until(b"PONG\r\n")
        asked.client.signal(name)
        asked.client.wait(1)
    twice = Asked(tenon, "pub", "t")
    twice.greet()
    twice.feed(b"one\n")
    twice.until(b"one\r\n")
    twice.client.signal(name)
    twice.until(b"PING\r\n")
    twice.client.signal(name)
    twice.client.wait(1)


@pytest.mark.parametrize("args, why", [
    (["pub", "nats://127.0.0.1:1"], "needed"), (["pub", "nats://127.0.0.1:1", "a.*", "x"], "no topic"),
    (["sub", "nats://127.0.0.1:1", "a..b"], "no pattern"),
    (["sub", "nats://127.0.0.1:1", "a", "--group", "x y"], "one word"),
    (["reply", "tcp://127.0.0.1:1", "a", "--group", ""], "one word"),
    (["request", "nats://127.0.0.1:1", "a", "b", "c"], "too many"),
    (["reply", "udp://127.0.0.1:1?xyz=1", "a"], "xyz"), (["pub", "nats://127.0.0.1:1", "a", "-H", "x"], "NAME:VALUE"),
])
def test_bad_clients(tenon, args, why):
    assert why in tenon.run(*args, status=2).err


def test_nobody_there(tenon):
    assert "refused" in tenon.run("pub", f"nats://127.0.0.1:{free_port()}", "a", "b", status=1).err


# Users

HASHES = {
    "secret": "$5$rounds=1000$tenon$qhmWDh6DfnMmgGml7zGDEuvf32txXf0vC3IH4NTUc5.",
    "s3": "$5$rounds=1000$tenon$0oXsUjr1YpzTwDXXPKD/G0H7WvKZY2Eyq1Jhs6iLRgA",
    "r": "$5$rounds=1000$tenon$CN4DrMtPcyQ/dMdNua4TeKdaZCvr7mF3CRQiYN7pkw5",
    "new": "$5$rounds=1000$tenon$8us8YiLMeUc/xwBZSQccThp6bHpYi7GslFMv2iszFi1",
}


def hashed(password):
    return HASHES[password]


@pytest.fixture(name="users")
def users_file(tenon):
    return tenon.file("users", f"""
# name hash rights
admin {hashed("secret")}
sensor {hashed("s3")} publish=sensors.{{name}}.>,_INBOX.> subscribe=
reader\t{hashed("r")} publish= subscribe=sensors.>,_INBOX.{{name}}.>
""".encode())


def greeting(user, password):
    return json.dumps({"verbose": False, "headers": True, "no_responders": True, "user": user, "pass": password})


def logged_in(hub, tenon, user, password):
    talk = Talk(hub.port, tenon)
    assert talk.info["auth_required"]
    assert talk.to_pong(f"CONNECT {greeting(user, password)}\r\n".encode()) == b""
    return talk


def test_users(tenon, users):
    hub = tenon.hub("nats://127.0.0.1:0", LINES, options=["--json", "--users", users])
    violation = b"-ERR 'Authorization Violation'\r\n(end)"
    for said in (b"PING\r\n", b"SUB a 1\r\n", b"PUB a 1\r\nx\r\n", QUIET,
                 b'CONNECT {"user":"admin","pass":"wrong"}\r\n',
                 b'CONNECT {"user":"nobody","pass":"secret"}\r\n', b'CONNECT {"user":"admin"}\r\n',
                 b'CONNECT {"auth_token":"admin"}\r\n', b'CONNECT {"user":"admin","pass":"secret\\u0000"}\r\n'):
        assert converse(hub.port, said) == violation, said
    assert converse(hub.port, b'CONNECT {"auth_token":"admin:secret"}\r\n') == b"+OK\r\nPONG\r\n"
    admin, sensor = logged_in(hub, tenon, "admin", "secret"), logged_in(hub, tenon, "sensor", "s3")
    reader = logged_in(hub, tenon, "reader", "r")
    admin.to_pong(b"SUB > 1\r\n")
    assert reader.to_pong(b"SUB sensors.*.temp 1\r\n") == b""
    for pattern in (b">", b"*.x.temp", b"*.>", b"sensors", b"_INBOX.>", b"_INBOX.sensor.1"):
        assert reader.to_pong(b"SUB " + pattern + b" 2\r\n") == (
            b"-ERR 'Permissions Violation for Subscription to \"" + pattern + b"\"'\r\n")
    assert reader.to_pong(b"SUB _INBOX.reader.> 3\r\n") == b""
    for topic in (b"sensors.other.temp", b"a", b"sensors.*.temp", b"sensors.sensor"):
        assert sensor.to_pong(b"PUB " + topic + b" 1\r\nx\r\n") == (
            b"-ERR 'Permissions Violation for Publish to \"" + topic + b"\"'\r\n").replace(
            b"-ERR 'Perm", (b"-ERR 'Invalid Publish Subject'\r\n" if b"*" in topic else b"") + b"-ERR 'Perm")
    assert sensor.to_pong(b"PUB sensors.sensor.temp 1\r\nx\r\n") == b""
    assert reader.until(b"x\r\n") == b"MSG sensors.sensor.temp 1 1\r\n"
    assert admin.until(b"x\r\n") == b"MSG sensors.sensor.temp 1 1\r\n"
    # the hub's own protocol, and the clients
    lines = Lines(hub.urls[1], tenon)
    lines.say({"sub": "a"})
    assert "who are you" in lines.hear()["error"] and not lines.file.readline()
    lines = Lines(hub.urls[1], tenon)
    lines.say({"auth": {"user": "reader", "password": "r"}, "ack": 1}, {"sub": "a"}, {"pub": "a", "data": 1},
              {"req": "a", "id": 1})
    assert lines.hear() == {"ok": 1}
    assert [lines.hear()["error"] for _ in range(3)] == ["sub: not allowed", "not allowed", "not allowed"]
    secret, token = tenon.file("secret", b"secret\n"), tenon.file("token", b"sensor:s3\n")
    for url in (hub.urls[0], hub.urls[1].split("?")[0]):
        tenon.run("pub", url, "b", "x", "--login", "admin", "--password-file", secret)
        tenon.run("pub", url, "sensors.sensor.x", "x", "--token-file", token)
        assert "Violation" in (err := tenon.run("pub", url, "b", "x", "--token-file", token, status=4).err) or \
            "not allowed" in err
        tenon.run("pub", url, "b", "x", status=None if url != hub.url else 4)
    # who is not there any more goes; the others may do what stands there now
    users.write_bytes(f'reader {hashed("r")} subscribe=other publish=\nadmin {hashed("new")}\n'.encode())
    hub.signal(signal.SIGHUP)
    with pytest.raises((AssertionError, ConnectionResetError)):
        sensor.until(b"never")
    wait_until(lambda: reader.to_pong(b"SUB other 9\r\n") == b"", "its rights have changed")
    users.write_bytes(b"broken\n")
    hub.signal(signal.SIGHUP)
    hub.wait_for_text("line 1 is no NAME HASH")
    assert converse(hub.port, b'CONNECT {"user":"admin","pass":"new","verbose":false}\r\n') == b"PONG\r\n"


def test_subscriptions_that_are_not_allowed_any_more(tenon):
    """Users are read again: a subscription that stands ends where it is not allowed now, as nats-server does it."""
    rules = "subscribe={}"
    conf = "authorization {{ users = [{{user: ann, password: s3, permissions: {{subscribe: {}}}}}] }}"
    settings = tenon.file("judge.conf", conf.format('["a.>", "b"]').encode())
    judge = nats_server(tenon, "-c", settings)
    users = tenon.file("users", f"ann {hashed('s3')} {rules.format('a.>,b')}\n".encode())
    hub = tenon.hub("nats://127.0.0.1:0", LINES, "http://127.0.0.1:0", options=["--json", "--users", users])
    talks = [Talk(server.port, tenon) for server in (hub, judge)]
    for talk in talks:
        talk.say(f"CONNECT {greeting('ann', 's3')}\r\n".encode())
        assert talk.to_pong(b"SUB a.x 1\r\nSUB a.y 22\r\nSUB b 3\r\n") == b""
    lines = Lines(hub.urls[1], tenon)
    lines.say({"auth": {"user": "ann", "password": "s3"}}, {"sub": "a.x"}, {"sub": "b", "ack": 1})
    assert lines.hear() == {"ok": 1}
    page = socket.create_connection(("127.0.0.1", port_of(hub.urls[2])), 10)
    with page:
        page.sendall(b"GET /?sub=b&sub=a.x HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic " +
                     base64.b64encode(b"ann:s3") + b"\r\n\r\n")
        events = page.makefile("rb")
        while events.readline() != b"\r\n":
            pass
        users.write_bytes(f"ann {hashed('s3')} {rules.format('b')}\n".encode())
        settings.write_bytes(conf.format('["b"]').encode())
        hub.signal(signal.SIGHUP)
        judge.signal(signal.SIGHUP)
        gone = [b'-ERR \'Permissions Violation for Subscription to "a.x" (sid "1")\'',
                b'-ERR \'Permissions Violation for Subscription to "a.y" (sid "22")\'']
        for talk in talks:
            assert sorted(talk.until(b"\r\n") for _ in gone) == gone
            assert talk.to_pong(b"PUB a.x 1\r\nx\r\nPUB b 1\r\ny\r\n") == b"MSG b 3 1\r\ny\r\n"
        assert lines.hear() == {"error": "sub: not allowed any more", "sub": "a.x"}
        assert lines.hear() == {"msg": "b", "text": "y"}
        assert [events.readline() for _ in range(3)] == [b"event: refused\n", b"data: {}\n", b"\n"]
        assert events.readline().startswith(b"data: ")


DENIED = [b"a.secret.x", b"a.secret.>", b"a.*.x", b"a.>", b"*.secret.x", b"b", b">", b"*", b"a.*.*", b"a.secret",
          b"a.x"]


def test_denied_as_nats_server(tenon):
    """What is allowed and then denied, tried around by wildcards and queue groups: as nats-server answers."""
    judge = nats_server(tenon, "-c", tenon.file("judge.conf", b"""
max_subscriptions: 20
authorization { users = [
  {user: all, password: s3}
  {user: ann, password: s3, permissions: {publish: {allow: ["a.>"], deny: ["a.secret.>", "a.x"]},
                                          subscribe: {allow: ["a.>"], deny: ["a.secret.>", "a.x"]}}}] }
""")).port
    deny = "deny-publish=a.secret.>,a.x deny-subscribe=a.secret.>,a.x"
    users = tenon.file("denied", f"""
all {hashed("s3")}
ann {hashed("s3")} publish=a.> subscribe=a.> {deny} subscriptions=20
""".encode())
    hub = tenon.hub("nats://127.0.0.1:0", options=["--json", "--users", users])
    hello = b'CONNECT {"verbose":false,"user":"%s","pass":"s3"}\r\n'
    scripts = [b"SUB " + topic + group + b" 1\r\nPUB " + topic + b" 1\r\nx\r\n"
               for topic in DENIED for group in (b"", b" q")]
    for said in scripts + [b"SUB a.> %d\r\n" % n for n in (1, 2)] + [
            b"".join(b"SUB a.%d %d\r\n" % (n, n) for n in range(22)) + b"UNSUB 3\r\nSUB a.z 99\r\nSUB a.y 98\r\n"]:
        assert converse(hub.port, hello % b"ann" + said) == converse(judge, hello % b"ann" + said), said
    heard = []
    for port in (hub.port, judge):
        ann, everybody = Talk(port, tenon), Talk(port, tenon)
        ann.to_pong(hello % b"ann" + b"SUB a.> 1\r\nSUB a.> q 2\r\nSUB a.*.x 3\r\n")
        everybody.to_pong(hello % b"all" + b"".join(b"PUB " + topic + b" 1\r\nx\r\n" for topic in (
            b"a.secret.x", b"a.b.x", b"a.x", b"a.y", b"a.secret", b"a.secret.x.y")))
        heard.append(sorted(ann.to_pong().split(b"MSG ")))
    assert heard[0] == heard[1] and len(heard[0]) == 8
    # one of the group who may have it gets it
    for talk in (ann := Talk(hub.port, tenon), everybody := Talk(hub.port, tenon)):
        talk.to_pong(hello % (b"ann" if talk is ann else b"all") + b"SUB a.> q 2\r\n")
    everybody.say(b"PUB a.secret.x 1\r\nx\r\n" * 20)
    assert everybody.to_pong().count(b"MSG ") == 20 and ann.to_pong() == b""


def test_denied_history(tenon):
    """Nor does what the hub has kept, the last value or a stream of events tell what is denied."""
    users = tenon.file("denied", f"""
all {hashed("s3")}
ann {hashed("s3")} deny-subscribe=a.secret,_INBOX.>
""".encode())
    hub = tenon.hub(LINES, "http://127.0.0.1:0", options=["--json", "--users", users, "--topic", "a.*?history=9"])
    lines, ann = Lines(hub.url, tenon), Lines(hub.url, tenon)
    lines.say({"auth": {"user": "all", "password": "s3"}}, {"pub": "a.secret", "data": 1}, {"pub": "a.x", "data": 2},
              {"sub": "echo"}, {"ping": 1})
    assert lines.hear() == {"pong": 1}
    ann.say({"auth": {"user": "ann", "password": "s3"}}, {"sub": "a.secret", "last": True},
            {"sub": "a.*", "history": 9}, {"sub": ">", "since": 0, "epoch": "x"}, {"ping": 1})
    heard = [ann.hear()]
    while "pong" not in heard[-1]:
        heard.append(ann.hear())
    assert heard[0] == {"error": "sub: not allowed"}
    assert [message["data"] for message in heard if "msg" in message] == [2, 2]
    # its own inbox is its own
    ann.say({"req": "echo", "id": 1})
    reply = lines.hear()["reply"]
    lines.say({"pub": reply, "data": "yes"})
    assert ann.hear()["msg"] == "echo" and ann.hear() == {"res": 1, "data": "yes"}
    text = curl(tenon, "-N", "-m", "1", "-u", "ann:s3", f"{hub.urls[1]}/?sub=%3E&sub=a.secret&history=9", status=28)
    assert [json.loads(line[6:])["data"] for line in text.split("\n") if line.startswith('data: {"msg"')] == [2]
    assert text.count("event: refused") == 1


@pytest.mark.parametrize("threads", [1, 2])
def test_limits_of_a_user(tenon, threads):
    """They are the user's, however many connections it has."""
    users = tenon.file("limited", f"""
ann {hashed("s3")} connections=2 subscriptions=3 payload=100
slow {hashed("s3")} rate=10KiB
""".encode())
    hub = tenon.hub("nats://127.0.0.1:0", LINES, "http://127.0.0.1:0",
                    options=["--json", "--users", users, "--threads", str(threads)])
    one, two = logged_in(hub, tenon, "ann", "s3"), logged_in(hub, tenon, "ann", "s3")
    many = b"-ERR 'maximum account active connections exceeded'\r\n(end)"
    hello = f"CONNECT {greeting('ann', 's3')}\r\n".encode()
    assert converse(hub.port, hello) == many
    lines = Lines(hub.urls[1], tenon)
    lines.say({"auth": {"user": "ann", "password": "s3"}})
    assert lines.hear() == {"error": "auth: too many connections"}
    code = ("-o", "/dev/null", "-w", "%{http_code}")
    assert curl(tenon, "-u", "ann:s3", "-d", '{"pub":"a"}', *code, hub.urls[2]) == "429"
    full = b"-ERR 'maximum subscriptions exceeded'\r\n"
    assert one.to_pong(b"SUB a 1\r\nSUB b 2\r\n") == b""
    assert two.to_pong(b"SUB a 1\r\nSUB b 2\r\n") == full
    assert one.to_pong(b"UNSUB 2\r\nSUB b 3\r\n") == b"" and two.to_pong(b"SUB c 3\r\n") == full
    assert one.to_pong(b"UNSUB 3\r\n") == b"" and two.to_pong(b"SUB d 4\r\nUNSUB 4 1\r\nPUB d 0\r\n\r\n") == (
        b"MSG d 4 0\r\n\r\n")
    assert two.to_pong(b"SUB d 4\r\n") == b""
    assert two.to_pong(b"PUB a 100\r\n" + bytes(100) + b"\r\n").startswith(b"MSG a 1 100")
    two.say(b"PUB a 101\r\n")
    assert two.until(b"\r\n") == b"-ERR 'Maximum Payload Violation'"
    # the place that one leaves is free
    wait_until(lambda: converse(hub.port, hello) == b"PONG\r\n", "there is room for another connection")
    # read again, the limits are what stands there now, and what is there counts
    users.write_bytes(users.read_bytes().replace(b"connections=2", b"connections=1"))
    hub.signal(signal.SIGHUP)
    wait_until(lambda: converse(hub.port, hello) == many, "one connection is all that it may have")
    assert one.to_pong().startswith(b"MSG a 1 100")  # and it goes on
    # who publishes faster is not read from for a while: 10 KiB at once, the others later, in order
    slow, before = logged_in(hub, tenon, "slow", "s3"), time.monotonic()
    body = bytes(1023)
    text = slow.to_pong(b"SUB s 1\r\n" + b"".join(b"PUB s 1023\r\n" + body + b"\r\n" for _ in range(15)))
    assert text.count(b"MSG s 1 1023\r\n" + body) == 15
    assert time.monotonic() - before > 0.3  # 5 KiB beyond what may come at once: half a second


def nkey(key, kind):
    """A public key as NATS writes it."""
    raw = bytes([kind << 3]) + key
    return base64.b32encode(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")).decode()


def test_nkeys(tenon):
    """Who signs the nonce is the user, as with nats-server."""
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
    private = ed25519.Ed25519PrivateKey.generate()
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    key = nkey(private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw), 20)
    users = tenon.file("signers", f"ann nkey:{key} publish=a\n".encode())
    hub = tenon.hub("nats://127.0.0.1:0", options=["--json", "--users", users])
    judge = nats_server(tenon, "-c", tenon.file("judge.conf", f"""authorization {{ users = [
        {{nkey: {key}, permissions: {{publish: ["a"]}} }}] }}""".encode())).port

    def say(port, key, data=None, nonce=None):
        talk = Talk(port, tenon)
        signature = private.sign((nonce or talk.info["nonce"]).encode())
        talk.say(b"CONNECT " + json.dumps({
            "verbose": False, "nkey": key, "sig": base64.urlsafe_b64encode(data or signature).decode().rstrip("=")}
        ).encode() + b"\r\nPUB b 1\r\nx\r\nPING\r\n")
        text = talk.rest
        while b"PONG" not in text and (more := talk.sock.recv(65536)):
            text += more
        return text

    violation = b"-ERR 'Authorization Violation'\r\n"
    for port in (hub.port, judge):
        assert say(port, key) == b"-ERR 'Permissions Violation for Publish to \"b\"'\r\nPONG\r\n"
        for wrong in ((key, bytes(64)), (key, b"x"), (key, None, "another nonce"), (nkey(bytes(32), 20),), ("",)):
            assert say(port, *wrong) == violation, wrong
    assert Talk(hub.port, tenon).info["nonce"] != Talk(hub.port, tenon).info["nonce"]
    # pub, sub, request and reply sign with the seed
    raw = private.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw,
                                serialization.NoEncryption())
    seed = seed_of(raw)
    for port in (hub.port, judge):
        url = f"nats://127.0.0.1:{port}"
        tenon.run("pub", url, "a", "x", "--login-file", tenon.file("seed", f"# ann\n{seed}\n".encode()))
        assert "Violation" in tenon.run("pub", url, "b", "x", "--login-file", tenon.file("seed", seed.encode()),
                                        status=4).err
        other = seed_of(bytes(32))
        assert "Violation" in tenon.run("pub", url, "a", "x", "--login-file", tenon.file("other", other.encode()),
                                        status=None).err


def seed_of(raw):
    """The seed of a user's nkey as NATS writes it: two kinds in front, 5 bits each."""
    both = bytes([18 << 3 | 20 << 3 >> 5, (20 << 3 & 31) << 3]) + raw
    return base64.b32encode(both + binascii.crc_hqx(both, 0).to_bytes(2, "little")).decode().rstrip("=")


@pytest.mark.parametrize("content,options,why", [
    (b"", [], "has no line with user:password"),
    (b"SUABC" + b"A" * 53, [], "the seed is none of a user's nkey"),
    (b"SUABC" + b"A" * 49 + b"======\n", [], "the seed is none of a user's nkey"),
    (None, [], "No such file"),
    (b"a:b\n", ["--login", "ann"], "--login-file says all: --login is one too many"),
    (b"a:b\n", ["--token-file", "x"], "--login-file says all: --token-file is one too many"),
], ids=["empty", "seed", "short", "none", "login", "token"])
def test_bad_login_files(tenon, content, options, why):
    path = tenon.file("login", content) if content is not None else tenon.folder / "nothing"
    done = tenon.run("sub", "nats://127.0.0.1:1", "a", "--login-file", path, *options, status=2)
    assert why in done.err


def test_login_file_without_nats(tenon, users):
    """user:password and a token work with every protocol of the hub, the seed of an nkey with NATS alone."""
    hub = tenon.hub(LINES, options=["--json", "--users", users])
    url = hub.url.split("?")[0]
    tenon.run("pub", url, "b", "x", "--login-file", tenon.file("login", b"admin:secret\n"))
    assert "not allowed" in tenon.run("pub", url, "b", "x", "--login-file", tenon.file("login", b"reader:r\n"),
                                      status=4).err
    assert "clients of nats:// alone" in tenon.run(
        "pub", url, "b", "x", "--login-file", tenon.file("seed", seed_of(bytes(32)).encode()), status=2).err


def test_passwords_are_checked_aside(tenon):
    """A hash takes long on purpose: what others publish goes on meanwhile, and what came behind CONNECT waits."""
    users = tenon.file("heavy", f"bob {hashed('s3')}\n".encode() + b"ann $5$rounds=2000000$tenon$x\n")
    hub = tenon.hub("nats://127.0.0.1:0", LINES, options=["--json", "--users", users])
    bob = logged_in(hub, tenon, "bob", "s3")
    bob.to_pong(b"SUB a 1\r\n")
    for name in ("nobody", "ann"):  # who does not exist takes as long as who does
        expect_slow_refusal(tenon, hub, name, bob)
    # who goes meanwhile leaves nothing behind
    Talk(hub.port, tenon).say(f"CONNECT {greeting('ann', 'wrong')}\r\n".encode())


def expect_slow_refusal(tenon, hub, name, bob):
    ann = Talk(hub.port, tenon)
    ann.say(f"CONNECT {greeting(name, 'wrong')}\r\nPUB a 3\r\nbad\r\n".encode())
    lines = Lines(hub.urls[1], tenon)
    lines.say({"auth": {"user": "bob", "password": "s3"}, "ack": 1}, {"pub": "a", "data": 7}, {"ping": 2})
    assert bob.to_pong(b"PUB a 1\r\nx\r\n") == b"MSG a 1 1\r\nx\r\n"
    ann.sock.setblocking(False)
    with pytest.raises(BlockingIOError):  # it is still being checked
        ann.sock.recv(100)
    ann.sock.setblocking(True)
    assert ann.until(b"\r\n") == b"-ERR 'Authorization Violation'"
    assert [lines.hear(), lines.hear()] == [{"ok": 1}, {"pong": 2}]
    assert bob.to_pong() == b"MSG a 1 1\r\n7\r\n"


@pytest.mark.parametrize("door", ["nats", "http"])
def test_a_password_that_is_changed_while_it_is_checked(tenon, door):
    """What was right of the user of before lets nobody in as the one who stands there now."""
    heavy = "$5$rounds=2000000$tenon$fQmsGEvOy7FgSbsV5UP7c8nPaD4nHhTvuuYuH5mB/iB"  # s3
    users = tenon.file("changing", f"ann {heavy}\n".encode())
    hub = tenon.hub("nats://127.0.0.1:0", "http://127.0.0.1:0", options=["--json", "--users", users])
    at, said, no = {
        "nats": (0, f"CONNECT {greeting('ann', 's3')}\r\nPING\r\n".encode(), b"Violation"),
        "http": (1, b"POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ann:s3\r\n"
                    b"Content-Type: application/json\r\n"
                    b'Content-Length: 11\r\n\r\n{"pub":"a"}', b" 401 ")}[door]

    def change(line, signs):
        users.write_bytes(f"ann {line}\n".encode() + (f"bob nkey:{nkey(bytes(32), 20)}\n".encode() if signs else b""))
        hub.signal(signal.SIGHUP)
        wait_until(lambda: ("nonce" in Talk(hub.port, tenon).info) == signs, "the users were read again")

    for _ in range(20):  # a machine that is busy may have checked it before the change
        client = Talk(hub.port, tenon).sock if at == 0 else tenon.dial(f"tcp://127.0.0.1:{port_of(hub.urls[at])}")
        client.sendall(said)
        change(hashed("new"), True)
        if not select.select([client], [], [], 0)[0]:
            break
        change(heavy, False)
    answer = b""
    while no not in answer and (more := client.recv(65536)):
        answer += more
    assert no in answer


def test_each_request_is_of_who_stands_there_now(tenon, users):
    """A connection that goes on by HTTP has shown a password that is none any more."""
    hub = tenon.hub("http://127.0.0.1:0", options=["--json", "--users", users])
    client = tenon.dial(hub.url.replace("http", "tcp"))

    def status():
        client.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer admin:secret\r\n"
                       b'Content-Type: application/json\r\nContent-Length: 11\r\n\r\n{"pub":"a"}')
        text = b""
        while not text.endswith(b"}\n"):
            more = client.recv(4096)
            assert more, text
            text += more
        return text.split(b" ")[1]

    assert [status(), status()] == [b"200", b"200"]
    users.write_bytes(users.read_bytes().replace(hashed("secret").encode(), hashed("new").encode()))
    hub.signal(signal.SIGHUP)
    wait_until(lambda: status() == b"401", "the old password is none")


@pytest.mark.parametrize("text, why", [
    (b"a nkey:UABC\n", "public key"), (b"a $5$x rate=x\n", "no size"), (b"a $5$x connections=0\n", "from 1 up"),
    (b"a $5$x payload=1 payload=2\n", "twice"), (b"a $5$x publish=a publish=b\n", "twice"),
    (b"a nkey:SUABC\n", "public key"), (b"a $5$x deny-publish=a..b\n", "no pattern"),
    (b"", "nobody"), (b"x\n", "line 1"), (b"# c\n\na plain\n", "line 3 has no hash"),
    (b"a $5$x pub=b\n", "none of publish="),
    (b"a $5$x publish=a..b\n", "no pattern"), (b"a $5$x\na $5$y\n", "line 2 is there twice"), (b"a:b $5$x\n", "colon"),
])
def test_bad_users(tenon, text, why):
    assert why in tenon.run("hub", "nats://127.0.0.1:0", "--users", tenon.file("users", text), status=2).err


def test_cert_is_a_user(tenon, authority):
    """Who has shown a certificate needs no password; who has another is not known."""
    users = tenon.file("users", b"alice cert:CN=alice publish=a subscribe=a\n")
    hub = tenon.hub(f"nats+tls://127.0.0.1:0?{authority.pair('server')}&ca={authority.pem('ca')}&verify=optional",
                    "tcp://127.0.0.1:0?frame=line", options=["--json", "--users", users])
    url = f"{hub.url.split('?')[0]}?ca={authority.pem('ca')}"
    tenon.run("pub", f"{url}&{authority.pair('alice')}", "a", "x")
    assert "Violation" in tenon.run("pub", f"{url}&{authority.pair('alice')}", "b", "x", status=4).err
    assert "Violation" in tenon.run("pub", url, "a", "x", status=4).err


def test_not_open_without_users(tenon, users):
    result = tenon.run("hub", "nats://*:0", status=2)
    assert "open to the network" in result.err and "--users" in result.err
    tenon.hub("nats://0.0.0.0:0", options=["--json", "--open"]).stop()
    tenon.hub("nats://0.0.0.0:0", options=["--json", "--users", users]).stop()


def test_silent_before_login(tenon, users):
    """Who does not say who it is goes after two seconds."""
    hub = tenon.hub("nats://127.0.0.1:0", LINES, options=["--json", "--users", users])
    talk, lines = Talk(hub.port, tenon), Lines(hub.urls[1], tenon)
    talk.say(b"CONN")
    lines.sock.sendall(b'{"auth":')
    assert talk.until(b"\r\n") == b"-ERR 'Authentication Timeout'"
    assert not talk.sock.recv(100)
    assert lines.hear() == {"error": "auth: too late"} and not lines.file.readline()


def test_lines_are_told_why(tenon, users):
    """Who is not let in, who asks for too much, and that the hub ends."""
    hub = tenon.hub(LINES, options=["--json", "--users", users, "--max-subscriptions", "2"])
    for auth in ({"user": "admin", "password": "wrong"}, {"user": "nobody"}, {"token": "secret"}, {}):
        lines = Lines(hub.url, tenon)
        lines.say({"auth": auth, "ack": 1})
        assert lines.hear() == {"error": "auth: not known"} and not lines.file.readline()
    lines = Lines(hub.url, tenon)
    lines.say({"auth": {"user": "admin", "password": "secret"}, "ack": 1}, {"sub": "a"}, {"sub": "b"}, {"sub": "c"})
    assert [lines.hear(), lines.hear()] == [{"ok": 1}, {"error": "sub: too many"}]
    lines.say({"unsub": "a"}, {"sub": "c", "ack": 2})
    assert lines.hear() == {"ok": 2}
    hub.signal(signal.SIGTERM)
    assert lines.hear() == {"error": "the hub ends"} and not lines.file.readline()
    hub.wait()


# What stays

def test_history(tenon):
    hub = tenon.hub(LINES, options=["--json", "--topic", "h.>?history=3", "--topic", "l.*?last=on&age=1ms",
                                    "--topic", "b.*?history=100&bytes=20000", "--topic", "m.*?last=on",
                                    "--threads", "2"])
    one = Lines(hub.url, tenon)
    one.say(*[{"pub": f"{topic}.{n % 2}", "data": n} for n in range(10) for topic in "hln"], {"ping": 1})
    assert one.hear() == {"pong": 1}

    def get(**how):
        client = Lines(hub.url, tenon)
        client.say({"ack": 1, **how}, {"ping": 2})
        heard = []
        while not heard or "pong" not in heard[-1]:
            heard.append(client.hear())
        return heard[:-1], client

    def numbers(heard):
        return [message["data"] for message in heard if "msg" in message]

    heard, live = get(sub=">", history=2)
    assert numbers(heard) == [6, 7, 8, 8, 9, 9] and heard[-1]["ok"] == 1
    epoch, offset = heard[-1]["epoch"], heard[-2]["offset"]
    one.say({"pub": "h.0", "data": "new"})
    assert live.hear() == {"msg": "h.0", "data": "new", "offset": offset + 1}
    assert numbers(get(sub="h.*", history=100)[0]) == [5, 6, 7, 8, 9, "new"][0:6]
    assert numbers(get(sub="l.*", last=True)[0]) == [8, 9]
    assert numbers(get(sub="n.*", last=True)[0]) == []
    # resumed: nothing has gone, then something has, then the hub is another one
    assert numbers(get(sub="h.*", since=offset, epoch=epoch)[0]) == ["new"]
    assert not any("gap" in message for message in get(sub="h.*", since=offset, epoch=epoch)[0])
    one.say(*[{"pub": "h.0", "data": n} for n in range(10)], {"ping": 1})
    assert one.hear() == {"pong": 1}
    for since, of in ((offset, epoch), (0, "another")):
        heard = get(sub="h.0", since=since, epoch=of)[0]
        assert {"gap": "h.0"} in heard
    assert numbers(get(sub="h.0", since=offset, epoch=epoch)[0]) == [7, 8, 9]
    # many at once
    one.say(*[{"pub": f"m.{n}", "data": n} for n in range(5000)], {"ping": 1})
    assert one.hear() == {"pong": 1}
    assert numbers(get(sub="m.*", last=True)[0]) == list(range(5000))
    # bounded in bytes
    one.say(*[{"pub": f"b.{n}", "text": "x" * 1000} for n in range(100)], {"ping": 1})
    assert one.hear() == {"pong": 1}
    kept = [message["msg"] for message in get(sub="b.*", last=True)[0] if "msg" in message]
    assert 10 <= len(kept) <= 20 and kept == [f"b.{n}" for n in range(100 - len(kept), 100)]
    assert "error" in get(sub="b.*", since=3)[0][0]
    url = hub.url.split("?")[0]
    assert len(tenon.run("sub", url, "h.*", "--history", "2", "--count", "4").lines) == 4
    assert len(tenon.run("sub", url, "h.*", "--last", "--count", "2").lines) == 2
    assert "NATS" in tenon.run("sub", "nats://127.0.0.1:1", "a", "--last", status=2).err


@pytest.mark.parametrize("rule, why", [
    ("a..b?last=on", "is no PATTERN"), ("a", "says nothing"), ("a?format=x", "format="), ("a?history=x", "no number"),
    ("a?age=x", "age="),
    ("a?bytes=x", "bytes="), ("a?last=x", "last="), ("a?foo=1", "none of"), ("a?history", "without a value"),
])
def test_bad_rules(tenon, rule, why):
    assert why in tenon.run("hub", LINES, "--topic", rule, status=2).err


def test_long_chunks_cross_loops(tenon):
    """What one piece of bytes makes of work for another loop is bounded: the rest of it waits, and is not lost."""
    hub = tenon.hub("nats://127.0.0.1:0", options=["--json", "--threads", "2", "--slow", "drop-newest",
                                                   "--backlog", "64KiB", "--slow-after", "0"])
    many, one = Talk(hub.port, tenon), Talk(hub.port, tenon)
    many.to_pong(QUIET + b"".join(b"SUB a %d\r\n" % n for n in range(2000)))
    one.to_pong(QUIET + b"SUB end 1\r\n")
    before = anonymous_bytes(hub.pid)
    for n in range(2):
        talk = Talk(hub.port, tenon)
        assert talk.to_pong(QUIET + b"PUB a 0\r\n\r\n" * 3000 + b"PUB end 1\r\n%d\r\n" % n) == b""
        assert one.until(b"\r\n%d\r\n" % n) == b"MSG end 1 1"
    assert SANITIZED or anonymous_bytes(hub.pid, "VmHWM") - before < 36 * MIB


# Browsers and curl

def curl(tenon, *args, status=0):
    return tenon.finish(["curl", "-s", "-m", "20", *args], status=status).text


def test_events(tenon):
    hub = tenon.hub("http://127.0.0.1:0", LINES, options=["--json", "--topic", "a.>?history=10"])
    url = hub.url + "/"
    stream = tenon.peer("curl", "-sN", f"{url}?sub=a.*&sub=%62.%3E&last=on")
    wait_until(lambda: json.loads(curl(tenon, "-d", '{"pub":"b.x","text":"first"}', url))["count"] == 1, "the stream")
    assert json.loads(curl(tenon, "-d", '{"pub":"a.b","data":[1]}', url)) == {"ok": True, "count": 1}
    stream.wait_for_text(r'"data":\[1\]', "out")
    events = [dict(line.split(": ", 1) for line in event.split("\n"))
              for event in stream.out.decode().strip().split("\n\n")]
    assert json.loads(events[0]["data"]) == {"msg": "b.x", "text": "first"} and "id" not in events[0]
    assert json.loads(events[-1]["data"]) == {"msg": "a.b", "data": [1], "offset": 1}
    # it begins again behind the last event
    epoch, _, offset = events[-1]["id"].rpartition(".")
    assert offset == "1"
    for n in range(2, 5):
        curl(tenon, "-d", json.dumps({"pub": "a.b", "data": n}), url)

    def again(last):
        text = curl(tenon, "-N", "-m", "1", "-H", f"Last-Event-ID: {last}", f"{url}?sub=a.b", status=28)
        return text.count("event: gap"), [json.loads(line[6:])["data"] for line in text.split("\n")
                                          if line.startswith('data: {"msg"')]
    assert again(f"{epoch}.2") == (0, [3, 4])
    assert again("other.2") == (1, [[1], 2, 3, 4])
    # several patterns: each event once, in the order in which they came
    for topic in ("a.y", "a.z", "a.y"):
        curl(tenon, "-d", json.dumps({"pub": topic, "data": topic}), url)
    text = curl(tenon, "-N", "-m", "1", f"{url}?sub=a.z&sub=a.y&sub=a.*&history=9", status=28)
    assert [json.loads(line[6:])["data"] for line in text.split("\n") if line.startswith("data: ")] == [
        [1], 2, 3, 4, "a.y", "a.z", "a.y"]
    stream.kill()


def test_requests_refused(tenon, users):
    hub = tenon.hub("http://127.0.0.1:0", options=["--json", "--open"])
    url = hub.url + "/"
    for query in ("", "?sub=a..b", "?sub=a&x=1", "?sub=", "?sub=a&history=x", "?sub=a&history=-1", "?sub=a&history=",
                  "?sub=a&history=4294967297", "?sub=a&last=perhaps", "?sub=a&last"):
        assert "?sub=PATTERN" in json.loads(curl(tenon, url + query))["error"]
    for body in ("", "x", "[]", '{"sub":"a"}', '{"pub":"a.*"}', '{"pub":1}', '{"pub":"a","bytes":1}'):
        assert "error" in json.loads(curl(tenon, "-d", body, url))
    code = ("-o", "/dev/null", "-w", "%{http_code}")
    assert curl(tenon, "-X", "PUT", *code, url) == "405"
    assert curl(tenon, "-H", "Origin: http://elsewhere.example", "-d", '{"pub":"a"}', *code, url) == "403"
    known = tenon.hub("http://127.0.0.1:0", options=["--json", "--users", users])
    url = known.url + "/"
    assert curl(tenon, "-d", '{"pub":"a"}', *code, url) == "401"
    assert curl(tenon, "-u", "admin:wrong", "-d", '{"pub":"a"}', *code, url) == "401"
    assert curl(tenon, "-u", "admin:secret", "-d", '{"pub":"a"}', *code, url) == "200"
    token = base64.b64encode(b"admin:secret").decode()
    for login, status in (("Bearer admin:secret", "200"), ("bearer admin:secret", "200"), (f"basic {token}", "200"),
                          (f"Basics {token}", "401"), ("Bearers admin:secret", "401"), (token, "401")):
        assert curl(tenon, "-H", f"Authorization: {login}", "-d", '{"pub":"a"}', *code, url) == status
    assert curl(tenon, "-u", "reader:r", "-d", '{"pub":"a"}', *code, url) == "403"
    assert "event: refused" in curl(tenon, "-N", "-m", "1", "-u", "reader:r", url + "?sub=a", status=28)


def test_formats_of_topics(tenon):
    """A payload that is not what its topic says goes to nobody."""
    hub = tenon.hub("nats://127.0.0.1:0", LINES, "http://127.0.0.1:0", options=["--json", "--topic", "j.>?format=json"])
    talk, lines = Talk(hub.port, tenon), Lines(hub.urls[1], tenon)
    assert talk.to_pong(QUIET + b"SUB > 1\r\nPUB j.x 3\r\n{x}\r\n") == b"-ERR 'Invalid Payload'\r\n"
    assert talk.to_pong(b"PUB j.x 2\r\n{}\r\nPUB k 1\r\n{\r\n") == b"MSG j.x 1 2\r\n{}\r\nMSG k 1 1\r\n{\r\n"
    # nor to those who take any topic
    assert talk.to_pong(b"PUB j.* 1\r\n{\r\n").endswith(b"-ERR 'Invalid Payload'\r\n")
    lines.say({"pub": "j.x", "text": "x"}, {"pub": "j.x", "data": "x", "ack": 1})
    assert "format" in lines.hear()["error"] and lines.hear() == {"ok": 1, "count": 1}
    assert "format" in json.loads(curl(tenon, "-d", '{"pub":"j.x","text":"x"}', hub.urls[2]))["error"]


# Counts

def test_stats(tenon):
    hub = tenon.hub("nats://127.0.0.1:0")
    sub = tenon.start("sub", hub.url, "a", "--count", "3", "--stats", "-v")
    sub.wait_for_text("subscribed")
    sub.wait_for_text(r"0 messages/s, 0 B/s")  # once a second
    told = tenon.run("pub", hub.url, "a", "x", "yy", "zzz", "--stats").err
    assert re.search(r"^tenon: 3 messages, 6 B in .* s: .* messages/s, .*/s$", told, re.M), told
    sub.wait()
    assert re.search(r"^tenon: 3 messages, 6 B in .* s: ", sub.err, re.M), sub.err


# A further door: tests/doors/resp.c, in the command for tests

def test_added_door(tenon, users):
    """A door is a file: what the others have it has too."""
    program = BUILD / "tests" / "tenon-test"
    hub = tenon.keep(Server([program, "hub", "redis://127.0.0.1:0", LINES, "--json", "--users", users],
                            tenon.folder, 2))
    assert hub.url.startswith("redis://127.0.0.1:") and hub.handlers == ["resp", "json"]
    sock, lines = tenon.dial(f"tcp://127.0.0.1:{hub.port}"), Lines(hub.urls[1], tenon)

    def say(*words):
        return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)

    login, said = say(b"AUTH", b"admin", b"secret"), say(b"PING") + say(b"SUBSCRIBE", b"a") + say(b"PSUBSCRIBE", b"b.*")
    sock.sendall(say(b"PUBLISH", b"a", b"x") + login + said)
    expected = (b"-NOAUTH who are you?\r\n+OK\r\n+PONG\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"
                b"*3\r\n$10\r\npsubscribe\r\n$3\r\nb.*\r\n:2\r\n")
    assert receive_exactly(sock, len(expected)) == expected
    lines.say({"auth": {"user": "admin", "password": "secret"}}, {"pub": "a", "text": "one"},
              {"pub": "b.c", "text": "two"}, {"sub": ">"}, {"ping": 1})
    assert lines.hear() == {"pong": 1}
    expected = (b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$3\r\none\r\n"
                b"*4\r\n$8\r\npmessage\r\n$3\r\nb.*\r\n$3\r\nb.c\r\n$3\r\ntwo\r\n")
    assert receive_exactly(sock, len(expected)) == expected
    # cut anywhere, and with what the user may not do
    for byte in say(b"PUBLISH", b"q", b"three"):
        sock.sendall(bytes([byte]))
    assert receive_exactly(sock, 4) == b":1\r\n" and lines.hear() == {"msg": "q", "text": "three"}
    reader = tenon.dial(f"tcp://127.0.0.1:{hub.port}")
    reader.sendall(say(b"AUTH", b"reader", b"r") + say(b"PUBLISH", b"a", b"x") + say(b"SUBSCRIBE", b"a") + b"*x\r\n")
    expected = b"+OK\r\n-NOPERM not allowed\r\n-NOPERM not allowed\r\n-ERR Protocol error\r\n"
    assert receive_exactly(reader, len(expected)) == expected and reader.recv(10) == b""
    # who is nobody any more, as the last password was wrong, gets nothing
    sock.sendall(say(b"AUTH", b"admin", b"wrong"))
    assert receive_exactly(sock, 22) == b"-WRONGPASS not known\r\n"
    lines.say({"pub": "a", "text": "denied", "ack": 1})
    assert [lines.hear(), lines.hear()] == [{"msg": "a", "text": "denied"}, {"ok": 1, "count": 1}]
    sock.sendall(say(b"PING"))
    assert receive_exactly(sock, 7) == b"+PONG\r\n"
    if shutil.which("redis-cli"):
        told = tenon.finish(["redis-cli", "-p", str(hub.port), "--user", "admin", "--pass", "secret",
                             "--no-auth-warning", "publish", "q", "by redis-cli"]).text
        assert told.strip() == "1" and lines.hear() == {"msg": "q", "text": "by redis-cli"}


# Memory

def anonymous_bytes(pid, which="RssAnon"):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(which))


@pytest.mark.skipif(SANITIZED, reason="counts bytes")
def test_memory_of_subscriptions(tenon):
    """At most 150 bytes each, whoever has them; and a topic still finds its own."""
    hub = tenon.hub("nats://127.0.0.1:0")
    talk, count = Talk(hub.port, tenon), 190000
    talk.to_pong(QUIET)
    before = anonymous_bytes(hub.pid)
    for start in range(0, count, 10000):
        talk.to_pong(b"".join(b"SUB dev.*.%d.%s %d\r\n" % (n // 2, b">" if n % 2 else b"state", n)
                              for n in range(start, start + 10000)))
    assert (anonymous_bytes(hub.pid) - before) / count <= 150
    assert talk.to_pong(b"PUB dev.x.70.state 0\r\n\r\n").count(b"MSG ") == 2


@pytest.mark.skipif(SANITIZED, reason="counts bytes")
def test_memory_of_users_who_were_replaced(tenon):
    """They are kept until nobody refers to them: the last ones at most."""
    many = "".join(f"u{n} $5$x publish=of.{n}.> subscribe=to.{n}.>\n" for n in range(1500))
    users = tenon.file("users", f"{many}bob {hashed('s3')}\n".encode())
    hub = tenon.hub("nats://127.0.0.1:0", options=["--json", "--users", users, "--threads", "2"])
    bob, sizes = logged_in(hub, tenon, "bob", "s3"), []
    for n in range(16):
        signs = n % 2 == 0
        users.write_text(f"{many}bob {hashed('s3')}\n" + (f"eve nkey:{nkey(bytes(32), 20)}\n" if signs else ""))
        hub.signal(signal.SIGHUP)
        wait_until(lambda s=signs: ("nonce" in Talk(hub.port, tenon).info) == s, "the users were read again")
        assert bob.to_pong() == b""
        sizes.append(anonymous_bytes(hub.pid))
    assert sizes[-1] - sizes[0] < 2 * MIB, sizes


@pytest.mark.skipif(SANITIZED, reason="counts bytes")
def test_memory_of_stopped_readers(tenon):
    """What waits for each is bounded, and what it takes to keep it counts."""
    hub = tenon.hub("nats://127.0.0.1:0?sndbuf=64KiB", options=["--json", "--slow", "drop-oldest", "--backlog", "1MiB"])
    stopped = [Talk(hub.port, tenon, receive_buffer=65536) for _ in range(5)]
    for talk in stopped:
        talk.to_pong(QUIET + b"SUB t 1\r\n")
    publisher = Talk(hub.port, tenon)
    publisher.to_pong(QUIET)
    before = anonymous_bytes(hub.pid)
    message = b"PUB t 100\r\n" + bytes(100) + b"\r\n"
    for _ in range(100):
        publisher.to_pong(message * 1000)
    assert anonymous_bytes(hub.pid) - before <= 5 * (MIB + 256 * 1024) * 1.1 + MIB
    for talk in stopped:
        talk.sock.close()
