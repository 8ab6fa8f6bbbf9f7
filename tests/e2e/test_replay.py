"""tenon replay: what clients have said is said again, and the replies are compared."""
import contextlib
import json
import signal
import struct
import threading

import pytest

import packets
from harness import KIB, exchange, free_port, noise, receive_exactly, receive_to_end, reset, wait_until

USAGE, REFUSED, FAILED = 2, 4, 1
LINES = "?frame=line&format=json"


def record(tenon, listen, target, sessions):
    """A recording of what `sessions`, called with the relay's URL, do."""
    path = f"{tenon.folder}/r.pcapng"
    relay = tenon.relay(listen, target, options=["--json", "--idle", "100ms", "--record", path])
    count = sessions(relay.url)
    wait_until(lambda: sum(event["event"] == "session" for event in relay.events) >= count, "all have ended")
    relay.stop()
    return path


@contextlib.contextmanager
def answering(tenon, reply):
    """A server that answers each line by a function; the URL of it."""
    listener = tenon.listen()
    stop = threading.Event()

    def talk(client):
        with contextlib.suppress(OSError), client, client.makefile("rwb", buffering=0) as file:
            for line in file:
                answer = reply(line)
                if answer:
                    file.write(answer)

    def accept():
        while not stop.is_set():
            with contextlib.suppress(OSError):
                client = listener.accept()[0]
                client.settimeout(20)
                threading.Thread(target=talk, args=(client,), daemon=True).start()
    listener.settimeout(0.1)
    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def echo(tenon):
    return tenon.serve("tcp://127.0.0.1:0", options=["--handler", "echo"])


def bytes_recorded(tenon, echo, count=3):
    def sessions(url):
        for i in range(count):
            data = noise(50 * KIB, i)
            assert exchange(tenon.dial(url), data, finish=True) == data
        return count
    return record(tenon, "tcp://127.0.0.1:0", echo.url, sessions)


@pytest.mark.parametrize("options", [[], ["--closed"], ["--speed", "10x"], ["--compare", "bytes"],
                                     ["--closed", "--conns", "1", "--repeat", "3"]])
def test_bytes_that_are_the_same(tenon, echo, options):
    path = bytes_recorded(tenon, echo)
    done = tenon.run("replay", path, echo.url, *options)
    sessions = 9 if "--repeat" in options else 3
    assert f"{sessions} sessions, " in done.err and " 0 differ" in done.err


def test_bytes_that_differ(tenon, echo):
    """The server changes a byte."""
    def sessions(url):
        with contextlib.closing(tenon.dial(url)) as client:
            client.sendall(b"hello\n")
            assert receive_exactly(client, 6) == b"hello\n"
        return 1
    path = record(tenon, "tcp://127.0.0.1:0", echo.url, sessions)
    with answering(tenon, lambda line: line.replace(b"ll", b"lp")) as url:
        done = tenon.run("replay", path, url, status=REFUSED)
        assert 'session 1 (recorded: 1), reply 1: byte 3: "po\\x0a", was "lo\\x0a"' in done.text
        assert tenon.run("replay", path, url, "--compare", "none").status == 0


def lines_recorded(tenon, echo, values):
    server = f"{echo.url}{LINES}"

    def sessions(url):
        with contextlib.closing(tenon.dial(url)) as client:
            for value in values:
                line = json.dumps(value, separators=(",", ":")).encode() + b"\n"
                client.sendall(line)
                assert receive_exactly(client, len(line)) == line
        return 1
    return record(tenon, f"tcp://127.0.0.1:0{LINES}", server, sessions)


VALUES = [{"id": 1, "time": 10, "list": [1, {"t": 2}]}, {"id": 2, "time": 11, "list": []}]


def changed(line):
    value = json.loads(line)
    value["time"] += 100
    value["list"].append(7)
    return json.dumps(value).encode() + b"\n"


def test_messages_are_compared_as_values(tenon, echo):
    path = lines_recorded(tenon, echo, VALUES)
    with answering(tenon, lambda line: json.dumps(json.loads(line), sort_keys=True).encode() + b"\n") as url:
        tenon.run("replay", path, url + LINES)
    with answering(tenon, changed) as url:
        done = tenon.run("replay", path, url + LINES, status=REFUSED)
        assert "reply 1: $.time: 110, was 10; $.list[2]: 7, was not there" in done.text
        assert "reply 2: $.time: 111, was 11; $.list[0]: 7, was not there" in done.text
        assert "2 differ" in done.err
        done = tenon.run("replay", path, url + LINES, "--ignore", "$..time", status=REFUSED)
        assert "reply 1: $.list[2]: 7, was not there" in done.text
        tenon.run("replay", path, url + LINES, "--ignore", "$.time", "--ignore", "$.list[*]")


def test_differences_as_json(tenon, echo):
    path = lines_recorded(tenon, echo, VALUES)
    with answering(tenon, changed) as url:
        done = tenon.run("replay", path, url + LINES, "--json", "--show", "1", "--closed", status=REFUSED)
    events = [json.loads(line) for line in done.lines]
    assert len(events) == 2
    assert events[0]["event"] == "difference" and (events[0]["session"], events[0]["message"]) == (1, 1)
    assert events[1]["errors"] == 2


def test_empty_messages_are_said_again(tenon, echo):
    def sessions(url):
        assert exchange(tenon.dial(url), b"one\n\ntwo\n", finish=True) == b"one\n\ntwo\n"
        return 1
    path = record(tenon, "tcp://127.0.0.1:0?frame=line", f"{echo.url}?frame=line", sessions)
    heard = []
    with answering(tenon, lambda line: heard.append(line) or line) as url:
        assert "3 messages said, 3 replies, 0 differ" in tenon.run("replay", path, f"{url}?frame=line").err
    assert heard == [b"one\n", b"\n", b"two\n"]


def test_which_message_a_reply_answers(tenon):
    """Of several replies behind a message the first; those of the others are compared, and no time is measured."""
    def sessions(url):
        client = tenon.dial(url)
        for line, replies in ((b"two\n", b"two\ntwo\n"), (b"one\n", b"one\n")):
            client.sendall(line)
            assert receive_exactly(client, len(replies)) == replies
        client.close()
        return 1
    with answering(tenon, lambda line: line * (1 + (line == b"two\n"))) as url:
        path = record(tenon, "tcp://127.0.0.1:0?frame=line", f"{url}?frame=line", sessions)
        done = tenon.run("replay", path, f"{url}?frame=line", "--closed", "--json")
        told = json.loads(done.lines[-1])
        assert told["messages"] == 2
        assert "2 messages said, 3 replies, 0 differ" in tenon.run("replay", path, f"{url}?frame=line").err


def test_another_format(tenon, echo):
    """What was recorded as JSON is said as CBOR, and its replies are compared."""
    path = lines_recorded(tenon, echo, VALUES)
    cbor = tenon.serve("tcp://127.0.0.1:0?frame=u32&format=cbor", options=["--handler", "echo"])
    tenon.run("replay", path, f"{cbor.url}?frame=u32&format=cbor", "--closed")


def test_a_reply_that_does_not_come(tenon, echo):
    path = lines_recorded(tenon, echo, VALUES)
    with answering(tenon, lambda line: None) as url:
        done = tenon.run("replay", path, url + LINES, "--closed", "--timeout", "200ms",
                         status=REFUSED)
        assert "reply 1: no reply came" in done.text


def test_a_server_that_ends(tenon, echo):
    path = lines_recorded(tenon, echo, VALUES)
    gone = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "exec:true"])
    assert "the server" in tenon.run("replay", path, gone.url + LINES, status=REFUSED).text


def test_nobody_listens(tenon, echo):
    path = lines_recorded(tenon, echo, VALUES)
    done = tenon.run("replay", path, f"tcp://127.0.0.1:{free_port()}{LINES}", status=FAILED)
    assert "refused" in done.err.lower()


def test_datagrams(tenon):
    server = tenon.serve("udp://127.0.0.1:0", options=["--handler", "echo"])

    def sessions(url):
        for _ in range(2):
            client = tenon.dial(url)
            for data in (b"one", b"two"):
                client.send(data)
                assert client.recv(100) == data
        return 2
    path = record(tenon, "udp://127.0.0.1:0", server.url, sessions)
    done = tenon.run("replay", path, server.url, "--closed")
    assert "2 sessions, 4 messages said, 4 replies, 0 differ" in done.err


def test_datagram_sessions_of_one_port(tenon):
    """A client that is back after its session has ended has another one."""
    server = tenon.serve("udp://127.0.0.1:0", options=["--handler", "echo"])
    path = f"{tenon.folder}/r.pcapng"
    relay = tenon.relay("udp://127.0.0.1:0", server.url, options=["--json", "--idle", "50ms", "--record", path])
    client = tenon.dial(relay.url)
    for n in (1, 2):
        client.send(b"words")
        assert client.recv(100) == b"words"
        wait_until(lambda n=n: sum(event["event"] == "session" for event in relay.events) == n, "it has ended")
    relay.stop()
    assert "2 sessions, 2 messages said, 2 replies, 0 differ" in tenon.run("replay", path, server.url, "--closed").err


def test_a_recording_through_tls(tenon, authority, trusted, echo):
    """It holds what was decrypted; it may be said through TLS again."""
    path = bytes_recorded(tenon, echo, 1)
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}", options=["--handler", "echo"])
    tenon.run("replay", path, f"{server.url}?{trusted}", "--closed")


def test_the_report_is_that_of_bench(tenon, echo):
    path = bytes_recorded(tenon, echo)
    tenon.run("replay", path, echo.url, "--closed", "--output", f"{tenon.folder}/a.json", "--html",
              f"{tenon.folder}/a.html")
    assert "<html" in (tenon.folder / "a.html").read_text()
    tenon.run("bench", "compare", f"{tenon.folder}/a.json", f"{tenon.folder}/a.json")


def test_a_cut_recording(tenon, echo):
    path = bytes_recorded(tenon, echo, 1)
    with open(path, "r+b") as file:
        file.truncate(5000)
    done = tenon.run("replay", path, echo.url, status=None)
    assert done.status == REFUSED and "r.pcapng: byte " in done.err


A, B = ("10.0.0.1", 40000), ("10.0.0.2", 80)


def captured(tenon, *segments, reset_by_client=None):
    """A capture of one connection: (seconds, by the client, payload, comment)."""
    at = [1001, 5001]

    def record_of(seconds, packet, comment=b""):
        ns = int(seconds * 10**9)
        return packets.block(6, struct.pack("<IIIII", 0, ns >> 32, ns & 0xffffffff, len(packet), len(packet)) + packet +
                             b"\0" * (-len(packet) % 4) + packets.option(1, comment) + packets.option(0, b""))
    data = packets.block(0x0a0d0d0a, struct.pack("<IHHq", 0x1a2b3c4d, 1, 0, -1))
    data += packets.block(1, struct.pack("<HHI", packets.RAW, 0, 0) + packets.option(9, b"\x09") +
                          packets.option(0, b""))
    data += record_of(1000, packets.tcp(*A, *B, packets.SYN, 1000, 0))
    data += record_of(1000, packets.tcp(*B, *A, packets.SYN | packets.ACK, 5000, 1001))
    for seconds, by_client, payload, *comment in segments:
        ends = (A, B) if by_client else (B, A)
        own, other = (0, 1) if by_client else (1, 0)
        data += record_of(seconds, packets.tcp(*ends[0], *ends[1], packets.ACK | packets.PSH, at[own], at[other],
                                               payload), *comment)
        at[own] += len(payload)
    if reset_by_client is not None:
        ends = (A, B) if reset_by_client else (B, A)
        data += record_of(segments[-1][0], packets.tcp(*ends[0], *ends[1], packets.RST | packets.ACK,
                                                       at[not reset_by_client], at[reset_by_client]))
    return tenon.file("c.pcapng", data)


@pytest.mark.parametrize("by_client", [True, False])
def test_who_has_reset_it(tenon, by_client):
    """A client that was reset has not reset: it closes when it has heard what was recorded."""
    path = captured(tenon, (1000, True, b"one"), (1000, False, b"two"), reset_by_client=by_client)
    listener = tenon.listen()
    replay = tenon.start("replay", path, f"tcp://127.0.0.1:{listener.getsockname()[1]}", "--closed")
    client = tenon.accept(listener)
    assert receive_exactly(client, 3) == b"one"
    client.sendall(b"two")
    if by_client:
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    else:
        assert client.recv(1) == b""
    replay.wait()


def test_sessions_that_are_left_out_count(tenon, echo):
    """All that was played was as it was; but not all was played."""
    bytes_recorded(tenon, echo, 2)
    data, blocks = (tenon.folder / "r.pcapng").read_bytes(), []
    while data:
        length = struct.unpack_from("<I", data, 4)[0]
        blocks.append(data[:length])
        data = data[length:]
    blocks.remove(next(block for block in reversed(blocks) if len(block) > KIB))
    path = tenon.file("cut.pcapng", b"".join(blocks))
    done = tenon.run("replay", path, echo.url, "--closed", status=REFUSED)
    assert "1 of 2 sessions are left out" in done.err and "0 differ" in done.err


def test_any_name_between_brackets(tenon, echo):
    """A name in a path may hold the bracket that ends it."""
    values = [{"a]b": {"t": 1}, "x[\"]": [1], "plain": 3}]
    path = lines_recorded(tenon, echo, values)

    def other(line):
        value = json.loads(line)
        value["a]b"]["t"] = 2
        value["x[\"]"][0] = 5
        return json.dumps(value).encode() + b"\n"
    with answering(tenon, other) as url:
        done = tenon.run("replay", path, url + LINES, "--ignore", "$[*].t", status=REFUSED)
        assert '$["a]b"]' not in done.text and '$["x[\\"]"][0]: 5, was 1' in done.text
        tenon.run("replay", path, url + LINES, "--ignore", "$[*].t", "--ignore", "$[*][*]")


def test_a_clock_that_was_set_back(tenon, echo):
    """What was recorded before the beginning is said at once."""
    path = captured(tenon, (990, True, b"one"), (991, False, b"one"), (992, True, b"two"), (993, False, b"two"))
    done = tenon.run("replay", path, echo.url, "--repeat", "2", "--speed", "2x")
    assert "2 sessions, 4 messages said, 4 replies, 0 differ" in done.err


def test_an_interrupted_replay(tenon):
    """Not all was compared: that is no success."""
    path = captured(tenon, (1000, True, b"one"), (1000, False, b"one"), (4000, True, b"two"), (4000, False, b"no"))
    listener = tenon.listen()
    replay = tenon.start("replay", path, f"tcp://127.0.0.1:{listener.getsockname()[1]}")
    client = tenon.accept(listener)
    assert receive_exactly(client, 3) == b"one"
    replay.signal(signal.SIGINT)
    assert receive_to_end(client) == b""
    replay.wait(FAILED)


def test_a_server_that_takes_nothing(tenon):
    """It does not hold up the replay for ever."""
    path = captured(tenon, *[(1000, True, bytes(60000))] * 300)
    listener = tenon.listen()
    done = tenon.run("replay", path, f"tcp://127.0.0.1:{listener.getsockname()[1]}?drain=100ms", "--timeout", "300ms",
                     status=REFUSED)
    assert "reply 1: what the client says is not taken" in done.text


def test_a_server_that_resets_before_all_is_said(tenon):
    """There is no reply to miss."""
    path = captured(tenon, (1000, True, b"one"), (4000, True, b"two"))
    listener = tenon.listen()
    replay = tenon.start("replay", path, f"tcp://127.0.0.1:{listener.getsockname()[1]}")
    client = tenon.accept(listener)
    assert receive_exactly(client, 3) == b"one"
    reset(client)
    replay.wait(REFUSED)
    assert "session 1 (recorded: 1), reply 1: " in replay.out.decode()


def test_closed_sessions_at_a_time(tenon):
    """Of all rounds as many as were recorded, not all at once."""
    path = captured(tenon, (1000, True, b"one"), (1000, False, b"one"))
    listener = tenon.listen()
    replay = tenon.start("replay", path, f"tcp://127.0.0.1:{listener.getsockname()[1]}", "--closed", "--repeat", "3",
                         "--timeout", "300ms")
    before = None
    for _ in range(3):
        client = tenon.accept(listener)
        if before:
            before.setblocking(False)
            assert receive_to_end(before) == b"one"
        before = client
    replay.wait(REFUSED)


def test_parts_count_against_the_memory(tenon, echo):
    """Also of a message whose end never comes."""
    path = captured(tenon, *[(1000, True, bytes(60000), b"tenon part")] * 40)
    done = tenon.run("replay", path, f"{echo.url}?frame=u32&max=4MiB", "--memory", "1MiB", status=FAILED)
    assert "does not fit into 1048576 bytes (--memory)" in done.err


def test_text_in_place_of_binary(tenon):
    """The same bytes in a WebSocket's other kind of message are another reply."""
    text, binary = (tenon.serve(f"ws://127.0.0.1:0?kind={kind}", options=["--handler", "exec:cat"])
                    for kind in ("text", "binary"))

    def sessions(url):
        tenon.run("send", f"{url}?kind=text", "words")
        return 1
    path = record(tenon, "ws://127.0.0.1:0", text.url, sessions)
    assert "1 replies, 0 differ" in tenon.run("replay", path, text.url).err
    assert "reply 1: it is binary, was text" in tenon.run("replay", path, binary.url, status=REFUSED).text


def test_no_recording(tenon, echo):
    (tenon.folder / "x").write_text("no capture file at all")
    assert tenon.run("replay", f"{tenon.folder}/x", echo.url, status=REFUSED).err


@pytest.mark.parametrize("args, words", [
    (["r"], "a recording and a URL are needed"),
    (["r", "tcp://127.0.0.1:1", "x"], "one URL too many"),
    (["r", "tcp://127.0.0.1:1", "--speed", "fast"], "is no speed"),
    (["r", "tcp://127.0.0.1:1", "--speed", "0x10"], "is no speed"),
    (["r", "tcp://127.0.0.1:1", "--speed", "1e3"], "is no speed"),
    (["r", "tcp://127.0.0.1:1", "--show", "3", "--compare", "none"], "nothing is compared"),
    (["r", "tcp://127.0.0.1:1", "--speed", "2x", "--closed"], "which of the two?"),
    (["r", "tcp://127.0.0.1:1", "--compare", "all"], "none of messages, bytes, none"),
    (["r", "tcp://127.0.0.1:1", "--ignore", "time"], "is no path"),
    (["r", "tcp://127.0.0.1:1", "--ignore", "$.a", "--compare", "bytes"], "--ignore is about messages"),
    (["r", "tpc://127.0.0.1:1"], "tpc"),
])
def test_wrong_arguments(tenon, args, words):
    assert words in tenon.run("replay", *args, status=USAGE).err


def test_bytes_where_messages_are_wanted(tenon, echo):
    path = lines_recorded(tenon, echo, VALUES)
    assert "holds messages" in tenon.run("replay", path, echo.url, status=USAGE).err
