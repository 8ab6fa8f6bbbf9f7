"""--trace: what passes, as lines; --admin-trace: the last of it, for the page."""
import base64
import concurrent.futures
import contextlib
import json
import os
import re
import signal
import socket
import threading
import urllib.request

import pytest

from harness import MIB, OPTIONS, exchange, free_port, noise, wait_until

pytestmark = pytest.mark.skipif(OPTIONS.get("taps") == "disabled", reason="a build without taps")

USAGE = 2
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"


def lines_of(data):
    """Whole ones: other characters that end lines in Unicode are part of what passed."""
    return data.decode().split("\n")[:-1]


def traced(path):
    """The records of a trace in JSON."""
    return [json.loads(line) for line in lines_of(path.read_bytes())]


def data_of(record):
    return base64.b64decode(record["data_base64"]) if "data_base64" in record else record["data"].encode()


def said(path, direction):
    return b"".join(data_of(record) for record in traced(path) if record.get("direction") == direction)


def written(path, lines):
    """The trace, once it has so many lines."""
    wait_until(lambda: path.exists() and path.read_bytes().count(b"\n") >= lines,
               lambda: f"{lines} lines in {path.read_bytes()[-500:] if path.exists() else path}")
    return lines_of(path.read_bytes())


def tracing(tenon, form, *urls, options=(), **how):
    path = tenon.folder / "trace"
    return tenon.serve(*urls, options=["--trace", form, "--trace-to", path, *options], **how), path


# ---- what it looks like ----

def test_text(tenon):
    server, path = tracing(tenon, "text", "tcp://127.0.0.1:0?frame=line", options=["--handler", "echo"])
    sock = tenon.dial(server.url)
    peer = "tcp://{}:{}".format(*sock.getsockname())
    assert exchange(sock, b"one \x1b[31m\xc3\xa9\xff\n") == b"one \x1b[31m\xc3\xa9\xff\n"
    lines = written(path, 2)
    assert re.fullmatch(rf"{TIME} #\d+ {re.escape(peer)} in 12: one \\x1b\[31mé\\xff", lines[0])
    assert re.fullmatch(rf"{TIME} #\d+ {re.escape(peer)} out 12: one \\x1b\[31mé\\xff", lines[1])


def test_hex(tenon):
    server, path = tracing(tenon, "hex", "tcp://127.0.0.1:0?frame=u32", options=["--handler", "discard"])
    data = bytes(range(33))
    tenon.dial(server.url).sendall(len(data).to_bytes(4, "big") + data)
    lines = written(path, 4)
    assert re.fullmatch(rf"{TIME} #\d+ tcp://127\.0\.0\.1:\d+ in 33", lines[0])
    assert lines[1:] == [
        "  0000  00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f  ................",
        "  0010  10 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f  ................",
        "  0020  20                                               " + " "]


@pytest.mark.parametrize("name, sent, value", [
    ("json", b'{"a": [1, 2.5]}', {"a": [1, 2.5]}), ("cbor", bytes.fromhex("a1616182 01f93e00"), {"a": [1, 1.5]}),
    ("text", "é".encode(), None)])
def test_json_decodes_the_format(tenon, name, sent, value):
    server, path = tracing(tenon, "json", f"tcp://127.0.0.1:0?frame=u32&format={name}",
                           options=["--handler", "discard"])
    tenon.dial(server.url).sendall(len(sent).to_bytes(4, "big") + sent)
    record = json.loads(written(path, 1)[0])
    assert re.fullmatch(TIME, record["time"]) and record["event"] == "trace" and record["id"] > 0
    assert record["direction"] == "in" and record["bytes"] == len(sent)
    assert record["value"] == value and "data" not in record if value else record["data"] == "é"


def test_what_is_not_in_the_format_is_shown_as_it_came(tenon):
    server, path = tracing(tenon, "json", "tcp://127.0.0.1:0?frame=line&format=json&bad=skip",
                           options=["--handler", "discard"])
    tenon.dial(server.url).sendall(b"{]\n[1]\n")
    records = [json.loads(line) for line in written(path, 2)]
    assert records[0]["data"] == "{]" and records[1]["value"] == [1]


def test_a_message_is_cut(tenon):
    server, path = tracing(tenon, "json", "tcp://127.0.0.1:0?frame=line&format=json",
                           options=["--handler", "discard", "--trace-bytes", "5"])
    tenon.dial(server.url).sendall(b'["abcdef"]\n[1]\n')
    records = [json.loads(line) for line in written(path, 2)]
    assert (records[0]["data"], records[0]["bytes"], records[0]["left_out"]) == ('["abc', 10, 5)
    assert records[1]["value"] == [1] and "left_out" not in records[1]


@pytest.mark.parametrize("form, end", [("text", ": 0123456... 9 more"), ("hex", "  ... 9 more")])
def test_that_it_is_cut_is_shown(tenon, form, end):
    server, path = tracing(tenon, form, "tcp://127.0.0.1:0?frame=line",
                           options=["--handler", "discard", "--trace-bytes", "7"])
    tenon.dial(server.url).sendall(b"0123456789abcdef\n")
    assert written(path, 1 if form == "text" else 3)[-1].endswith(end)


# ---- who is traced ----

KINDS = ["tcp://127.0.0.1:0", "tcp://127.0.0.1:0?frame=u32", "unix:{}/s", "unix-seqpacket:{}/s", "udp://127.0.0.1:0",
         "unix-dgram:{}/s", "shm:{}/s", "ws://127.0.0.1:0/"]


@pytest.mark.parametrize("url", KINDS)
def test_every_kind(tenon, url):
    """The server's trace, and the client's, of whom each sees the other side of it."""
    server, path = tracing(tenon, "json", url.format(tenon.folder), options=["--handler", "echo"])
    own = tenon.folder / "own"
    keys = "?frame=u32" if "frame" in url else ""
    tenon.run("send", server.url.split("?")[0] + keys, "hello", "--trace", "json", "--trace-to", own)
    written(path, 2)
    assert [(record["direction"], record["data"], record["bytes"]) for record in traced(path)] == [
        ("in", "hello", 5), ("out", "hello", 5)]
    assert [(record["direction"], record["data"]) for record in traced(own)] == [("out", "hello"), ("in", "hello")]
    assert traced(path)[0]["peer"] == traced(path)[1]["peer"]
    assert traced(own)[0]["peer"].split("?")[0] in (server.url.split("?")[0], server.url.split("?")[0].rstrip("/"))


def test_messages_that_are_made(tenon):
    server, own = tenon.serve("tcp://127.0.0.1:0?frame=line", options=["--handler", "echo"]), tenon.folder / "own"
    tenon.run("send", "--size", "5", "--count", "2", server.url + "?frame=line", "--trace", "json", "--trace-to", own)
    assert [(record["direction"], record["bytes"]) for record in traced(own)] == [
        ("out", 5), ("in", 5), ("out", 5), ("in", 5)]


@pytest.mark.parametrize("scheme", ["tls", "dtls"])
def test_what_is_secured_is_shown_in_the_clear(tenon, trusted, authority, scheme):
    server, path = tracing(tenon, "json", f"{scheme}://127.0.0.1:0?{authority.pair('server')}",
                           options=["--handler", "echo"])
    tenon.run("send", f"{server.url}?{trusted}", "secret")
    written(path, 2)
    assert said(path, "in") == said(path, "out") == b"secret"


def test_commands(tenon):
    """What goes by a path, to and from a child."""
    server, path = tracing(tenon, "json", "unix:{}/s".format(tenon.folder), options=["--handler", "exec:tr a-z A-Z"])
    data = b"abc" * 100000
    sock = tenon.dial(server.url)
    assert exchange(sock, data, finish=True) == data.upper()
    wait_until(lambda: sum(record["bytes"] for record in traced(path)) == 2 * len(data), "all of it")
    assert {record["direction"] for record in traced(path)} == {"in", "out"}


@pytest.mark.parametrize("listen, target", [
    ("tcp://127.0.0.1:0", "tcp://127.0.0.1:0"), ("udp://127.0.0.1:0", "udp://127.0.0.1:0"),
    ("tcp://127.0.0.1:0?frame=line&format=json", "unix:{}/s?frame=u32&format=cbor")])
def test_relay(tenon, listen, target):
    server = tenon.serve(target.format(tenon.folder), options=["--handler", "echo"])
    path = tenon.folder / "trace"
    relay = tenon.relay(listen, server.url.split("?")[0] + ("?frame=u32&format=cbor" if "frame" in target else ""),
                        options=["--json", "--idle", "500ms", "--trace", "json", "--trace-to", path])
    keys = "?frame=line&format=json" if "frame" in listen else ""
    tenon.run("send", relay.url.split("?")[0] + keys, "[1]")
    written(path, 2)
    records = traced(path)
    assert [record["direction"] for record in records] == ["in", "out"]
    assert [record.get("value", record.get("data")) for record in records] == [[1] if keys else "[1]"] * 2
    assert records[0]["peer"] == records[1]["peer"]
    assert records[1]["target"].startswith(target.split(":")[0] + ":")
    assert len({record["id"] for record in records}) == 1


def test_connect(tenon):
    """Trace on standard error, replies on standard output; both whole."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "echo"])
    data = noise(MIB)
    result = tenon.run("connect", server.url, "--trace", "json", "--trace-bytes", "256KiB", input=data)
    assert result.out == data
    records = [json.loads(line) for line in lines_of(result.err.encode())]
    assert {record["peer"] for record in records} == {server.url}
    for direction in "out", "in":
        assert b"".join(data_of(record) for record in records if record["direction"] == direction) == data


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"])
def test_connect_that_listens(tenon, url):
    path = tenon.folder / "trace"
    listener = tenon.start("connect", "--listen", url, "--trace", "json", "--trace-to", path,
                           stdin=open(tenon.file("in", b"back\n"), "rb"))  # pylint: disable=consider-using-with
    found = wait_until(lambda: re.search(r"listening on (\S+)", listener.err), "it listens")[1]
    kind = socket.SOCK_DGRAM if found.startswith("udp") else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.settimeout(20)
        sock.connect(("127.0.0.1", int(found.rsplit(":", 1)[1])))
        sock.sendall(b"forth")
        assert sock.recv(100) == b"back\n"
    listener.wait()
    assert said(path, "in") == b"forth" and said(path, "out") == b"back\n"


# ---- many at a time ----

@pytest.mark.parametrize("form", ["text", "json"])
def test_lines_are_never_mixed(tenon, form):
    server, path = tracing(tenon, form, "tcp://127.0.0.1:0?frame=line",
                           options=["--handler", "echo", "--threads", "4"])

    def talk(who):
        with contextlib.closing(tenon.dial(server.url)) as sock:
            for nth in range(100):
                line = f"{who}-{nth}-{'x' * (nth % 40)}\n".encode()
                assert exchange(sock, line) == line

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(talk, range(8)))
    lines = written(path, 1600)
    assert len(lines) == 1600
    texts = [json.loads(line)["data"] if form == "json" else
             re.fullmatch(rf"{TIME} #\d+ tcp://127\.0\.0\.1:\d+ (?:in|out) \d+: (.*)", line)[1] for line in lines]
    expected = [f"{who}-{nth}-{'x' * (nth % 40)}" for who in range(8) for nth in range(100) for _ in range(2)]
    assert sorted(texts) == sorted(expected)


# ---- who reads it ----

def fifo(tenon):
    path = tenon.folder / "fifo"
    os.mkfifo(path)
    return path


def test_a_reader_that_has_gone(tenon):
    """It ends the trace and nothing else."""
    path = fifo(tenon)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    server = tenon.serve("tcp://127.0.0.1:0?frame=line",
                         options=["--handler", "echo", "--trace", "text", "--trace-to", path])
    server.untidy = True
    sock = tenon.dial(server.url)
    assert exchange(sock, b"one\n") == b"one\n"
    os.close(reader)
    wait_until(lambda: exchange(sock, b"two\n") == b"two\n" and "nothing is traced any more" in server.err,
               "it is told")
    assert exchange(sock, b"three\n") == b"three\n"
    assert server.err.count("nothing is traced any more") == 1
    server.stop()


def test_a_reader_that_does_not_read(tenon):
    """Sessions go on as fast as ever; what does not fit is counted, and told where it is missing and in the end."""
    path = fifo(tenon)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "echo", "--trace", "hex", "--trace-to", path,
                                                       "--trace-bytes", "64KiB"])
    server.untidy = True
    data = noise(8 * MIB)
    sock = tenon.dial(server.url)
    assert exchange(sock, data) == data
    os.set_blocking(reader, True)
    got = bytearray()

    def read():
        while piece := os.read(reader, 1 << 20):
            got.extend(piece)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        # Once it is read again, the trace goes on behind what is missing
        wait_until(lambda: exchange(sock, b"end") == b"end" and b"messages were left out" in got, "it goes on")
    finally:
        server.stop()
        thread.join()
        os.close(reader)
    missing = sum(int(number) for number in re.findall(rb" (\d+) messages were left out\n", bytes(got)))
    told = re.search(r"--trace: .*fifo: (\d+) messages are not in it", server.err)
    assert missing > 0 and int(told[1]) == missing
    for line in lines_of(bytes(got)):
        assert re.match(rf"{TIME} |  [0-9a-f]{{4,8}}  |  \.\.\. ", line), line


def test_an_end_does_not_wait_for_a_reader(tenon):
    path = fifo(tenon)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "echo", "--trace", "hex", "--trace-to", path])
    server.untidy = True
    data = noise(MIB)
    assert exchange(tenon.dial(server.url), data, finish=True) == data
    server.stop()
    os.close(reader)
    assert "are not in it" in server.err


def test_a_full_disk(tenon):
    server = tenon.serve("tcp://127.0.0.1:0?frame=line",
                         options=["--handler", "echo", "--trace", "text", "--trace-to", "/dev/full"])
    sock = tenon.dial(server.url)
    wait_until(lambda: exchange(sock, b"x\n") == b"x\n" and "No space left" in server.err, "it is told")
    for _ in range(20):
        assert exchange(sock, b"y\n") == b"y\n"
    sock.close()
    server.stop()
    assert server.err.count("No space left") == 1
    assert int(re.search(r"/dev/full: (\d+) messages are not in it", server.err)[1]) >= 42


@pytest.mark.parametrize("command", ["serve", "relay"])
def test_the_file_is_opened_again(tenon, command):
    path, old = tenon.folder / "trace", tenon.folder / "old"
    options = ["--trace", "text", "--trace-to", path]
    if command == "serve":
        server = tenon.serve("tcp://127.0.0.1:0?frame=line", options=["--handler", "echo", *options])
    else:
        target = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "echo"])
        server = tenon.relay("tcp://127.0.0.1:0", target.url, options=["--json", *options])
    sock = tenon.dial(server.url)
    assert exchange(sock, b"one\n") == b"one\n"
    assert all("one" in line for line in written(path, 2))
    path.rename(old)
    server.signal(signal.SIGHUP)
    wait_until(path.exists, "it makes a new one")
    assert exchange(sock, b"two\n") == b"two\n"
    assert all("two" in line for line in written(path, 2))
    assert len(lines_of(old.read_bytes())) == 2
    assert path.stat().st_mode & 0o777 == 0o600


# ---- options ----

@pytest.mark.parametrize("options, words", [
    (["--trace", "xml"], "none of text, hex, json"), (["--trace-to", "f"], "--trace text, hex or json"),
    (["--trace-bytes", "5"], "--trace text, hex or json"), (["--trace", "hex", "--trace-bytes", "1MiB"], "256KiB"),
    (["--trace", "hex", "--trace-to", "-"], "no file"), (["--admin-trace", "3"], "--admin URL"),
    (["--admin-trace", "0"], "1 to 1000"), (["--tracee", "hex"], "--trace")])
def test_wrong_options(tenon, options, words):
    assert words in tenon.run("serve", "tcp://127.0.0.1:0", *options, status=USAGE).err


@pytest.mark.parametrize("command", ["serve", "connect", "send"])
def test_a_file_that_cannot_be_opened(tenon, command):
    more = ["x"] if command == "send" else []
    result = tenon.run(command, f"tcp://127.0.0.1:{free_port()}", *more, "--trace", "hex", "--trace-to",
                       tenon.folder / "no" / "such", status=1)
    assert "--trace-to" in result.err and "No such file" in result.err


# ---- the last messages ----

def ask(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
        return json.load(answer)


def kept(port):
    ids = [one["id"] for one in ask(port, "/connections")["connections"]]
    return [message for number in ids
            for message in ask(port, f"/connections?id={number}")["connections"][0]["messages"]]


def test_the_last_messages(tenon):
    port = free_port()
    tracing_options = ["--handler", "echo", "--admin", f"http://127.0.0.1:{port}", "--admin-trace", "3",
                       "--trace-bytes", "8", "--threads", "2"]
    server = tenon.serve("tcp://127.0.0.1:0?frame=line&format=json", options=tracing_options)
    sock = tenon.dial(server.url)
    assert exchange(sock, b'"one"\n[2]\n') == b'"one"\n[2]\n'
    assert "messages" not in ask(port, "/connections")["connections"][0]
    found = kept(port)
    assert [(message["direction"], message["value"], message["data"], message["bytes"]) for message in found] in (
        [("out", "one", '"one"', 5), ("in", [2], "[2]", 3), ("out", [2], "[2]", 3)],)
    assert exchange(sock, b'["longer"]\n') == b'["longer"]\n'
    assert [(message["data"], message.get("left_out")) for message in kept(port)][1:] == [('["longer', 2)] * 2


def test_the_last_messages_of_relayed_sessions(tenon):
    port = free_port()
    target = tenon.serve("udp://127.0.0.1:0", options=["--handler", "echo"])
    tenon.relay("udp://127.0.0.1:0", target.url, options=["--json", "--idle", "2s", "--admin",
                                                          f"http://127.0.0.1:{port}", "--admin-trace", "2"])
    server = tenon.processes[-1]
    tenon.run("send", server.url, "hello")
    assert [(message["direction"], message["data"]) for message in kept(port)] == [("in", "hello"), ("out", "hello")]


def test_nothing_is_kept_unless_it_is_asked_for(tenon):
    port = free_port()
    server, _ = tracing(tenon, "text", "tcp://127.0.0.1:0", options=["--admin", f"http://127.0.0.1:{port}"])
    sock = tenon.dial(server.url)
    assert exchange(sock, b"secret") == b"secret"
    (one,) = ask(port, "/connections")["connections"]
    assert "messages" not in ask(port, f"/connections?id={one['id']}")["connections"][0]


def test_a_pipe_is_not_opened_again(tenon):
    """That would wait for a reader, and the server with it."""
    path = fifo(tenon)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    server = tenon.serve("tcp://127.0.0.1:0?frame=line",
                         options=["--handler", "echo", "--trace", "text", "--trace-to", path])
    sock = tenon.dial(server.url)
    server.signal(signal.SIGHUP)
    assert exchange(sock, b"one\n") == b"one\n"
    os.close(reader)
    server.signal(signal.SIGHUP)
    for _ in range(3):
        assert exchange(sock, b"two\n") == b"two\n"
    sock.close()
    server.stop()
    assert "nobody reads this named pipe" not in server.err
