"""Handlers of single endpoints (key handler), and the handler broadcast: what one client says, all others hear."""
import asyncio
import contextlib
import json
import signal
import socket
import threading
import urllib.request

import pytest

from harness import LIMIT, MIB, SANITIZED, free_port, receive_exactly, wait_until

one_engine = pytest.mark.parametrize("engine", ["uring" if not SANITIZED else "epoll"], indirect=True)


def heard(sock, text):
    """The next bytes are these."""
    assert receive_exactly(sock, len(text)) == text


def join(tenon, server, url, count):
    """A client that is in the room: connections are accepted in order, so the last one's event says so."""
    sock = tenon.dial(url)
    wait_until(lambda: sum(event["event"] == "open" for event in server.events) >= count, "it is in the room")
    return sock


def silent(*socks):
    for sock in socks:
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(1)


@pytest.mark.parametrize("threads", [1, 3])
def test_all_others_hear(tenon, threads):
    """Of three endpoints with two kinds of frames, whichever loop each client is on; in the order in which it was said,
    and nothing of one's own."""
    server = tenon.serve("tcp://127.0.0.1:0?frame=line&handler=broadcast",
                         "tcp://127.0.0.1:0?handler=broadcast&frame=u8",
                         f"unix:{tenon.folder}/s?frame=line&handler=broadcast",
                         options=["--json", "--threads", threads])
    urls = [url.split("?")[0] for url in server.urls]
    assert server.handlers == ["broadcast"] * 3
    socks = [join(tenon, server, urls[n % 3], n + 1) for n in range(6)]
    socks[0].sendall(b"one\ntwo\n")
    for n, sock in enumerate(socks[1:], 1):
        heard(sock, b"\x03one\x03two" if n % 3 == 1 else b"one\ntwo\n")
    socks[1].sendall(b"\x05three")
    for n, sock in enumerate(socks):
        if n != 1:
            heard(sock, b"\x05three" if n % 3 == 1 else b"three\n")
    silent(*socks)


def test_who_leaves_is_not_missed(tenon):
    server = tenon.serve("tcp://127.0.0.1:0?frame=line", options=["--handler", "broadcast", "--json"])
    url = server.url.split("?")[0]
    first, second, third = (join(tenon, server, url, n) for n in (1, 2, 3))
    second.close()
    server.wait_for_event("close")
    first.sendall(b"still here\n")
    heard(third, b"still here\n")
    third.close()
    first.sendall(b"anybody?\n")
    wait_until(lambda: sum(event["event"] == "close" for event in server.events) == 2, "the third has gone")


def test_all_of_a_loop_leave_and_others_come(tenon):
    """While messages are on their way to that loop: those who come hear what is said from then on."""
    server = tenon.serve("tcp://127.0.0.1:0?frame=line", options=["--handler", "broadcast", "--json", "--threads", "2"])
    url = server.url.split("?")[0]
    speaker, others = tenon.dial(url), [tenon.dial(url) for _ in range(8)]
    count = 9
    for turn in range(10):
        wait_until(lambda: sum(event["event"] == "open" for event in server.events) >= count, "all are in the room")
        server.signal(signal.SIGSTOP)
        speaker.sendall(b"on its way\n" * 20)
        for other in others:
            other.close()
        others = [tenon.dial(url) for _ in range(8)]
        count += 8
        server.signal(signal.SIGCONT)
        wait_until(lambda: sum(event["event"] == "open" for event in server.events) >= count, "all are in the room")
        speaker.sendall(b"turn %d\n" % turn)
        for other in others:
            with other.makefile("rb") as lines:
                assert b"turn %d\n" % turn in iter(lines.readline, b"")


@one_engine
def test_who_missed_what_was_on_its_way_has_caught_up(tenon):
    """Its own queue was never full: the next message says that it hears again. Of two clients of a Unix socket the
    second is always on the other loop; those of TCP are spread by chance as long as they are few."""
    server = tenon.serve(f"unix:{tenon.folder}/s?frame=u32&max=8MiB&queue=64MiB",
                         options=["--handler", "broadcast", "--json", "--threads", "2"])
    speaker, *others = (join(tenon, server, server.url.split("?")[0], n) for n in (1, 2, 3))
    ends = threading.Event()
    threads = [threading.Thread(target=swallow, args=(other, ends)) for other in others]
    for thread in threads:
        thread.start()
    try:
        for _ in range(100):  # more is on its way to the other loop than may be, as long as that does not look
            speaker.sendall((5 * MIB).to_bytes(4, "big") + bytes(5 * MIB) + b"\0\0\0\1x" * 5000)
            if any(event["event"] == "slow" for event in server.events):
                break
        slow = server.wait_for_event("slow")

        def caught_up():
            speaker.sendall(b"\0\0\0\1x")
            return any(event["event"] == "caught up" and event["id"] == slow["id"] for event in server.events)
        wait_until(caught_up, "it hears again")
    finally:
        ends.set()
        for thread in threads:
            thread.join()


def swallow(sock, ends):
    sock.settimeout(0.1)
    while not ends.is_set():
        with contextlib.suppress(TimeoutError):
            sock.recv(MIB)


def test_streams_and_datagrams(tenon):
    """A sender of datagrams is there from its first one; an empty one says nothing."""
    server = tenon.serve("tcp://127.0.0.1:0?frame=line", "udp://127.0.0.1:0",
                         options=["--handler", "broadcast", "--json", "--threads", "1"])
    stream = join(tenon, server, server.urls[0].split("?")[0], 1)
    first, second = tenon.dial(server.urls[1]), tenon.dial(server.urls[1])
    first.send(b"")
    second.send(b"datagram")
    heard(stream, b"datagram\n")
    assert first.recv(100) == b"datagram"
    stream.sendall(b"line\n")
    assert (first.recv(100), second.recv(100)) == (b"line", b"line")
    silent(stream)


def test_a_message_that_a_frame_cannot_carry(tenon):
    """It is left out there, which is told; all else arrives."""
    server = tenon.serve("tcp://127.0.0.1:0?frame=line", "tcp://127.0.0.1:0?frame=u16",
                         options=["--handler", "broadcast", "--json"])
    lines, binary = (join(tenon, server, url.split("?")[0], n) for n, url in enumerate(server.urls, 1))
    binary.sendall(b"\x00\x03a\nb\x00\x02ok")
    heard(lines, b"ok\n")
    assert "not passed on" in server.wait_for_event("trouble")["error"]


@pytest.mark.parametrize("rule", [None, "drop-newest", "cut"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_slow_client_stalls_nobody(tenon, rule, threads):
    """What it misses is counted; whoever reads gets all."""
    port = free_port()
    server = tenon.serve("tcp://127.0.0.1:0?frame=u32&queue=64KiB&sndbuf=16KiB",
                         options=["--handler", "broadcast", "--json", "--threads", threads,
                                  "--admin", f"http://127.0.0.1:{port}", *(["--slow", rule] if rule else [])],
                         listeners=1)
    url = server.url.split("?")[0]
    slow = tenon.dial(url, receive_buffer=4096)
    speaker, reader = join(tenon, server, url, 2), join(tenon, server, url, 3)
    body, count = b"x" * 4092, 0
    while not any(event["event"] in ("slow", "cut") for event in server.events) and count < 2000:
        speaker.sendall(b"\x00\x00\x0f\xfc" + count.to_bytes(4, "big") + body[:-4])
        heard(reader, b"\x00\x00\x0f\xfc" + count.to_bytes(4, "big") + body[:-4])
        count += 1
    event = server.wait_for_event("cut" if rule == "cut" else "slow")
    assert event["dropped"] == 1 and (event["why"] is None) == (rule != "cut")

    def asked():
        return json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=LIMIT))["broadcast"]

    def counted():
        """The last message may be on its way to the loop of the slow one."""
        now = asked()
        return now if now["heard"] + now["dropped"] == 2 * count else None
    status = asked() if rule == "cut" else wait_until(counted, "all is heard or dropped")
    assert status["dropped"] >= 1 and status["cut"] == int(rule == "cut"), status
    assert status["said"] == count
    if rule == "cut":  # whatever is said afterwards has one listener
        assert status["heard"] <= 2 * count - status["dropped"]
        assert server.wait_for_event("close", id=event["id"])["reason"] == "slow"
        slow.close()
    else:
        got = receive_exactly(slow, (count - status["dropped"]) * 4096)
        assert got[4:8] == b"\0\0\0\0"
        server.wait_for_event("caught up", id=event["id"])
        speaker.sendall(b"\x00\x00\x00\x05again")
        heard(slow, b"\x00\x00\x00\x05again")
    metrics = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=LIMIT).read().decode()
    assert f"\ntenon_broadcast_dropped_total {status['dropped']}\n" in metrics


@one_engine
def test_a_room_of_other_programs(tenon, program):
    """socat, nc and the websockets of Python hear what one of them says."""
    websockets = pytest.importorskip("websockets")
    server = tenon.serve("tcp://127.0.0.1:0?frame=line", "ws://127.0.0.1:0/?kind=text",
                         options=["--handler", "broadcast", "--json"])
    ours, theirs = socket.socketpair()
    nc = tenon.peer(program("nc"), "127.0.0.1", server.port, stdin=theirs)
    theirs.close()
    socat = tenon.peer(program("socat"), "-u", server.urls[0].replace("tcp://", "tcp:").split("?")[0], "stdout")
    wait_until(lambda: sum(event["event"] == "open" for event in server.events) == 2, "both are there")

    async def talk():
        async with websockets.connect(server.urls[1].split("?")[0]) as one, \
                websockets.connect(server.urls[1].split("?")[0]) as two:
            await one.send("hello, room")
            assert await asyncio.wait_for(two.recv(), LIMIT) == "hello, room"
    asyncio.run(talk())
    wait_until(lambda: nc.out == socat.out == b"hello, room\n", lambda: f"{nc.out!r} {socat.out!r}")
    ours.close()
    nc.kill()
    socat.kill()


def test_each_endpoint_has_its_handler(tenon):
    """Keys come before --handler, and that before what a scheme has by itself."""
    server = tenon.serve("tcp://127.0.0.1:0?handler=discard&nodelay=on",
                         "tcp://127.0.0.1:0?h%61ndler=exec%3Aecho%20a%26%26echo%20b",
                         "tcp://127.0.0.1:0?nodelay=off", "udp://127.0.0.1:0?handler=echo",
                         options=["--handler", "ack"])
    assert server.handlers == ["discard", "exec", "ack", "echo"]
    send = [tenon.run("send", url.split("?")[0], "word", status=None) for url in server.urls]
    assert [result.out for result in send[1:]] == [b"a\nb\n", b"ack: word\n", b"word\n"]
    assert send[0].out == b""


@one_engine
@pytest.mark.parametrize("urls, options, words", [
    (["tcp://:0?handler=ech"], [], "tcp://:0: key 'handler': no handler 'ech' (did you mean echo?)"),
    (["tcp://:0?handler=echo&handler=ack"], [], "key 'handler': this key stands there for the second time"),
    (["tcp://:0?handler="], [], "key 'handler': no handler ''; there are echo, ack, discard, count, "),
    (["tcp://:0?handler=echo&nodely=on"], [], "unknown key 'nodely'; did you mean 'nodelay'?"),
    (["http://:0?handler=broadcast"], [], "key 'handler': broadcast does not answer HTTP"),
    (["tcp://:0?handler=relay:tcp://x:1"], [], "key 'handler': a relay"),
    (["tcp://:0?handler=echo", "tcp://:0"], ["--handler", "relay:tcp://x:1"], "has key 'handler'"),
    (["proxy://:0?handler=echo"], [], "a proxy, which has its own handler"),
    (["tcp://:0?handler=proxy"], [], "no proxy"),
    (["tcp://:0"], ["--slow", "cut"], "--slow: no endpoint has the handler broadcast"),
    (["tcp://:0"], ["--handler", "broadcast", "--slow", "drop"], "is none of cut, drop-newest"),
])
def test_what_is_refused(tenon, urls, options, words):
    result = tenon.run("serve", *urls, *options, status=2)
    assert words in result.err, result
