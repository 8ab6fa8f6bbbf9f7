"""tenon relay --tee: a copy of what sessions say goes to a shadow, for which nobody waits."""
import contextlib
import socket
import time

import pytest

from harness import MIB, SANITIZED, exchange, free_port, noise, receive_exactly, receive_to_end, reset, wait_until

USAGE = 2

one_engine = pytest.mark.parametrize("engine", ["uring" if not SANITIZED else "epoll"], indirect=True)


@pytest.fixture
def server(tenon):
    return tenon.serve("tcp://127.0.0.1:0", options=["--handler", "echo"])


def url_of(sock):
    return f"tcp://127.0.0.1:{sock.getsockname()[1]}"


def teed(tenon, listen, target, *tees, options=()):
    words = [word for tee in tees for word in ("--tee", tee)]
    return tenon.relay(listen, target, options=["--json", *words, *options])


def counts(relay):
    relay.stop()
    return [event for event in relay.events if event["event"] == "tee"]


@pytest.mark.parametrize("replies", [False, True])
def test_bytes(tenon, server, replies):
    """Two shadows get what the client says, then an end; what they answer is dropped."""
    shadows = [tenon.listen(), tenon.listen()]
    relay = teed(tenon, "tcp://127.0.0.1:0", server.url, *map(url_of, shadows),
                 options=["--tee-replies"] if replies else [])
    client = tenon.dial(relay.url)
    copies = [tenon.accept(shadow) for shadow in shadows]
    for copy in copies:
        copy.sendall(b"an answer that nobody gets")
    assert exchange(client, b"some words", finish=True) == b"some words"
    for copy in copies:
        assert receive_to_end(copy) == b"some words" * (2 if replies else 1)
        copy.close()
    assert all(event["dropped"] == 0 and event["sessions"] == 1 for event in counts(relay))


def test_messages_in_another_format(tenon):
    server = tenon.serve("tcp://127.0.0.1:0?frame=u32&format=cbor", options=["--handler", "echo"])
    shadow = tenon.listen()
    relay = teed(tenon, "tcp://127.0.0.1:0?frame=u32&format=cbor", f"{server.url}?frame=u32&format=cbor",
                 f"{url_of(shadow)}?frame=line&format=json")
    tenon.run("send", f"{relay.url}?frame=u32&format=cbor", '{"a":[1,2]}', '"x"')
    assert receive_to_end(tenon.accept(shadow)) == b'{"a":[1,2]}\n"x"\n'


def test_datagrams(tenon):
    server = tenon.serve("udp://127.0.0.1:0", options=["--handler", "echo"])
    shadow = tenon.listen(kind=socket.SOCK_DGRAM)
    relay = teed(tenon, "udp://127.0.0.1:0", server.url, f"udp://127.0.0.1:{shadow.getsockname()[1]}",
                 options=["--idle", "300ms"])
    client = tenon.dial(relay.url)
    for data in (b"one", b"two"):
        client.send(data)
        assert client.recv(100) == data
        assert shadow.recv(100) == data


@pytest.mark.parametrize("keys", ["", "?frame=line"])
def test_short_and_long_in_their_order(tenon, server, keys):
    """Short ones that wait are sent before what is long, when they are too many, and after a moment at the latest."""
    shadow = tenon.listen()
    relay = teed(tenon, f"tcp://127.0.0.1:0{keys}", f"{server.url}{keys}", f"{url_of(shadow)}{keys}")
    client = tenon.dial(relay.url)
    copy = tenon.accept(shadow)
    sent = b""
    for length in (3, 1023, 1024, 1025, 5000, 4080, 2, *[700] * 20, 65536, 1, 1):
        data = bytes(32 + n % 90 for n in range(length)) + b"\n"
        client.sendall(data)
        assert receive_exactly(client, len(data)) == data
        if length in (2, 1):
            assert receive_exactly(copy, len(sent) + len(data)) == sent + data
            sent = b""
        else:
            sent += data
    client.close()
    assert receive_to_end(copy) == b""
    assert all(event["dropped"] == 0 for event in counts(relay))


def test_a_shadow_that_never_reads(tenon, server):
    """The session is the same; the shadow is cut where bytes would be missing."""
    shadow = tenon.listen()
    relay = teed(tenon, "tcp://127.0.0.1:0", server.url, url_of(shadow))
    client = tenon.dial(relay.url)
    copy = tenon.accept(shadow)
    data = noise(16 * MIB)
    assert exchange(client, data, finish=True) == data
    relay.wait_for_event("session")
    assert counts(relay)[0]["dropped"] > 0
    assert "dropped" in relay.err
    copy.close()


def test_a_shadow_that_is_down(tenon, server):
    """It is told once, and tried again after a while."""
    port = free_port()
    relay = teed(tenon, "tcp://127.0.0.1:0?frame=line", f"{server.url}?frame=line",
                 f"tcp://127.0.0.1:{port}?frame=line")
    client = tenon.dial(relay.url)

    def said():
        client.sendall(b"words\n")
        return receive_exactly(client, 6) == b"words\n"
    assert said()
    relay.wait_for_text("it is left out for a while")
    shadow = tenon.listen(address=("127.0.0.1", port))
    shadow.setblocking(False)

    def comes():
        assert said()
        try:
            return shadow.accept()[0]
        except BlockingIOError:
            return None
    copy = wait_until(comes, "the shadow is tried again")
    relay.wait_for_text("works again")
    assert relay.err.count("left out") == 1
    copy.close()


def test_a_shadow_that_resets_a_session(tenon, server):
    """That is about this session: the next one is copied."""
    shadow = tenon.listen()
    relay = teed(tenon, "tcp://127.0.0.1:0", server.url, url_of(shadow))
    first = tenon.dial(relay.url)
    copy = tenon.accept(shadow)
    assert exchange(first, b"one") == b"one"
    assert receive_exactly(copy, 3) == b"one"
    reset(copy)
    for _ in range(3):
        assert exchange(first, b"two") == b"two"
    assert exchange(tenon.dial(relay.url), b"three", finish=True) == b"three"
    assert exchange(first, b"four", finish=True) == b"four"
    wait_until(lambda: sum(event["event"] == "session" for event in relay.events) == 2, "both have ended")
    assert counts(relay)[0]["sessions"] == 2
    assert "left out" not in relay.err


def test_a_shadow_that_takes_and_closes(tenon, server):
    """It is not dialled again for each message."""
    shadow = tenon.listen()
    shadow.setblocking(False)
    relay = teed(tenon, "tcp://127.0.0.1:0?frame=line", f"{server.url}?frame=line", f"{url_of(shadow)}?frame=line")
    client = tenon.dial(relay.url)
    taken = 0
    for _ in range(50):
        client.sendall(b"words\n")
        assert receive_exactly(client, 6) == b"words\n"
        with contextlib.suppress(BlockingIOError):
            shadow.accept()[0].close()
            taken += 1
    client.close()
    relay.wait_for_event("session")
    assert taken == counts(relay)[0]["sessions"] < 10


def test_a_sample(tenon, server):
    shadow = tenon.serve("tcp://127.0.0.1:0", options=["--json", "--handler", "discard"])
    relay = teed(tenon, "tcp://127.0.0.1:0", server.url, shadow.url, options=["--tee-sample", "25%"])
    for _ in range(20):
        assert exchange(tenon.dial(relay.url), b"x", finish=True) == b"x"
    wait_until(lambda: sum(event["event"] == "session" for event in relay.events) == 20, "all have ended")
    assert counts(relay)[0]["sessions"] == 5


@one_engine
def test_faults_of_a_proxy_s_clients(tenon, server):
    """What is copied is what they said; --chaos is about the session."""
    shadow = tenon.listen()
    relay = tenon.relay("proxy://127.0.0.1:0?allow-to=127.0.0.0/8",
                        options=["--tee", url_of(shadow), "--chaos", "down.limit=4"])
    via = f"{server.url}?via=socks5://127.0.0.1:{relay.port}"
    assert tenon.run("connect", via, input=b"some words").out == b"some"
    assert receive_to_end(tenon.accept(shadow)) == b"some words"


@pytest.mark.parametrize("options, words", [
    (["--tee-sample", "10%"], "--tee-sample has no effect without --tee"),
    (["--tee-replies"], "--tee-replies has no effect without --tee"),
    (["--tee", "tcp://127.0.0.1:1", "--tee-sample", "200%"], "more than 100%"),
    (["--tee", "tcp://127.0.0.1:1?frame=line"], "carries"),
    (["--tee", "tpc://127.0.0.1:1"], "tpc"),
])
def test_wrong_options(tenon, options, words):
    assert words in tenon.run("relay", "tcp://127.0.0.1:0", "tcp://127.0.0.1:1", *options, status=USAGE).err


def test_a_shadow_that_closes_what_was_idle(tenon, server):
    """Its connection was open for a while: the next message opens another, and is copied."""
    shadow = tenon.listen()
    relay = teed(tenon, "tcp://127.0.0.1:0?frame=line", f"{server.url}?frame=line", f"{url_of(shadow)}?frame=line")
    client = tenon.dial(relay.url)

    def comes():
        assert exchange(client, b"words\n") == b"words\n"
        copy = tenon.accept(shadow)
        assert receive_exactly(copy, 6) == b"words\n"
        return copy
    copy = comes()
    time.sleep(1.1)
    copy.shutdown(socket.SHUT_WR)
    assert copy.recv(1) == b""
    comes()
    client.close()
    relay.wait_for_event("session")
    tee = counts(relay)[0]
    assert (tee["copied"], tee["dropped"]) == (2, 0)
