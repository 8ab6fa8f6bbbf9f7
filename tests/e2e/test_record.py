"""--record: what passes in sessions, as a capture file."""
import base64
import contextlib
import json
import os
import pathlib
import re
import resource
import shutil
import socket
import subprocess

import pytest

from harness import KIB, MIB, SANITIZED, exchange, free_port, noise, receive_exactly, reset, wait_until
from system import small_disk

USAGE = 2
FAILED = 1


def followed(tenon, path, status=0):
    """The messages in it, and all else that is told of its streams."""
    out = tenon.run("capture", "--read", path, "--follow", "--json", status=status).out
    return [json.loads(line) for line in out.decode().split("\n") if line]


def said(events, side):
    return [event["data"] if "data" in event else event["value"] for event in events if event.get("from") == side]


def payload(tenon, path, side):
    """The bytes of one side, as tenon shows them."""
    data = b""
    for event in followed(tenon, path):
        if event.get("from") == side and "length" in event:
            data += base64.b64decode(event["data_base64"]) if "data_base64" in event else event["data"].encode()
    return data


def comments(tenon, path):
    lines = tenon.run("capture", "--read", path, "--json").lines
    return [json.loads(line).get("comment") for line in lines]


def packets(tenon, path):
    return [json.loads(line) for line in tenon.run("capture", "--read", path, "--json").lines]


def recorded(tenon, listen, target, *options, **how):
    path = f"{tenon.folder}/r.pcapng"
    return tenon.relay(listen, target, options=["--json", "--record", path, *options], **how), path


@pytest.mark.parametrize("listen", ["tcp://127.0.0.1:0", "tcp://[::1]:0", "unix:{}/listen"])
def test_bytes(tenon, listen):
    """More than one packet can carry, in both directions."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "echo"])
    relay, path = recorded(tenon, listen.format(tenon.folder), server.url)
    data = noise(300 * KIB + 7)
    assert exchange(tenon.dial(relay.url), data, finish=True) == data
    relay.wait_for_event("session")
    relay.stop()
    assert payload(tenon, path, "client") == data
    assert payload(tenon, path, "server") == data
    notes = [note for note in comments(tenon, path) if note]
    assert notes[0].startswith("tenon session ") and notes[0].endswith(f" at {relay.url}")
    assert notes[1] == f"tenon target {server.url}"
    assert notes[-1] == "tenon end by the client"
    if listen.startswith("tcp"):
        told = relay.wait_for_event("session")
        assert {f"tcp://{packet['source']}" for packet in packets(tenon, path)} == {told["client"], told["local"]}


def test_tshark_finds_nothing_wrong(tenon):
    """Checksums, sequence numbers and the life of the connection are what the kernel would have made."""
    if not shutil.which("tshark"):
        pytest.skip("tshark is not installed")
    server = tenon.serve("tcp://127.0.0.1:0", "udp://127.0.0.1:0", options=["--handler", "echo"])
    relay, path = recorded(tenon, "tcp://[::1]:0", server.url)
    assert exchange(tenon.dial(relay.url), b"x" * 70001, finish=True) == b"x" * 70001
    relay.wait_for_event("session")
    relay.stop()
    out = subprocess.run(
        ["tshark", "-r", path, "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-T", "fields",
         "-e", "tcp.checksum.status", "-e", "tcp.analysis.flags", "-e", "tcp.flags.str", "-e", "_ws.malformed"],
        capture_output=True, text=True, timeout=60, check=True).stdout
    rows = [line.split("\t") for line in out.splitlines()]
    assert {row[0] for row in rows} == {"1"}
    assert {row[1] for row in rows} == {""} and {row[3] for row in rows} == {""}
    assert sum("F" in row[2] for row in rows) == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_datagrams(tenon, host):
    server = tenon.serve("udp://127.0.0.1:0", options=["--handler", "echo"])
    relay, path = recorded(tenon, f"udp://{host}:0", server.url, "--idle", "100ms")
    client = tenon.dial(relay.url)
    for data in (b"one", b"", b"three"):
        client.send(data)
        assert client.recv(100) == data
    relay.wait_for_event("session")
    relay.stop()
    events = [json.loads(line) for line in tenon.run("capture", "--read", path, "--json").lines]
    head = events[2]["length"]
    assert [event["length"] - head for event in events] == [3, 3, 0, 0, 5, 5]
    assert events[0]["protocol"] == "udp" and events[0]["source"] == events[1]["destination"]


def test_messages_keep_their_bounds_and_format(tenon):
    """Without being told a frame or a format; also one that is longer than a packet can be."""
    server = tenon.serve("tcp://127.0.0.1:0?frame=u32&format=cbor", options=["--handler", "echo"])
    relay, path = recorded(tenon, "tcp://127.0.0.1:0?frame=line&format=json&max=1MiB",
                           f"{server.url}?frame=u32&format=cbor&max=1MiB")
    long = "y" * 200000
    client = tenon.dial(relay.url)
    for value in ({"a": [1, 2]}, long):
        line = json.dumps(value, separators=(",", ":")).encode() + b"\n"
        client.sendall(line)
        assert receive_exactly(client, len(line)) == line
    client.close()
    relay.wait_for_event("session")
    relay.stop()
    events = followed(tenon, path)
    assert said(events, "client") == [{"a": [1, 2]}, long]
    assert said(events, "server") == [{"a": [1, 2]}, long]


def test_empty_messages(tenon):
    """An empty line is a message."""
    server = tenon.serve("tcp://127.0.0.1:0?frame=line", options=["--handler", "echo"])
    relay, path = recorded(tenon, "tcp://127.0.0.1:0?frame=line", f"{server.url}?frame=line")
    assert exchange(tenon.dial(relay.url), b"one\n\n\ntwo\n", finish=True) == b"one\n\n\ntwo\n"
    relay.wait_for_event("session")
    relay.stop()
    events = followed(tenon, path)
    assert said(events, "client") == said(events, "server") == ["one", "", "", "two"]


def test_a_port_that_is_used_again(tenon):
    """Two sessions between the same addresses and ports are two connections."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "echo"])
    relay, path = recorded(tenon, "tcp://127.0.0.1:0", server.url)
    port = free_port()
    for number, data in enumerate((b"one", b"two"), 1):
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.settimeout(20)
            client.bind(("127.0.0.1", port))
            client.connect(("127.0.0.1", relay.port))
            client.sendall(data)
            assert receive_exactly(client, 3) == data
            reset(client)
        wait_until(lambda n=number: sum(e["event"] == "session" for e in relay.events) == n, "it has ended")
    relay.stop()
    heard = [event for event in followed(tenon, path) if event.get("from") == "client" and "length" in event]
    assert [(event["stream"], event["data"]) for event in heard] == [(1, "one"), (2, "two")]
    assert {(event["source"], event["destination"]) for event in heard} == \
        {(f"127.0.0.1:{port}", f"127.0.0.1:{relay.port}")}


def test_websocket_tells_text_from_binary(tenon):
    server = tenon.serve("ws://127.0.0.1:0", options=["--handler", "echo"])
    relay, path = recorded(tenon, "ws://127.0.0.1:0", server.url)
    tenon.run("send", f"{relay.url}?kind=text", "words")
    tenon.run("send", f"{relay.url}?kind=binary", "bytes")
    wait_until(lambda: sum(event["event"] == "session" for event in relay.events) == 2, "both have ended")
    relay.stop()
    assert [event["kind"] for event in followed(tenon, path) if event["from"] == "client"] == ["text", "binary"]


def test_how_it_ended(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "echo"])
    relay, path = recorded(tenon, "tcp://127.0.0.1:0", server.url)
    client = tenon.dial(relay.url)
    client.sendall(b"hello")
    assert receive_exactly(client, 5) == b"hello"
    reset(client)
    relay.wait_for_event("session", ended_by="client")
    relay.stop()
    assert comments(tenon, path)[-1].startswith("tenon end by the client: ")
    assert "reset" in [event.get("event") for event in followed(tenon, path)]


def test_who_is_let_go_has_not_ended(tenon):
    """The relay drains: the first end is not the client's, who has said none."""
    relay, path = recorded(tenon, "tcp://127.0.0.1:0", tenon.serve("tcp://127.0.0.1:0").url)
    client = tenon.dial(relay.url)
    assert exchange(client, b"x") == b"x"
    relay.untidy = True
    relay.stop()
    ends = [packet["source"] for packet in packets(tenon, path) if "F" in packet["flags"]]
    assert len(ends) == 2 and ends[0].endswith(f":{relay.port}"), ends


def test_no_target(tenon):
    relay, path = recorded(tenon, "tcp://127.0.0.1:0", f"tcp://127.0.0.1:{free_port()}")
    with pytest.raises(OSError):
        client = tenon.dial(relay.url)
        if client.recv(1) == b"":
            raise OSError
    relay.wait_for_event("session")
    relay.stop()
    assert comments(tenon, path)[-1].startswith("tenon end by the relay: ")


def test_first_bytes_are_recorded(tenon):
    """They are looked at before there is a target."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "echo"])
    relay, path = recorded(tenon, "tcp://127.0.0.1:0", server.url, "--protocol", f"http={server.url}")
    assert exchange(tenon.dial(relay.url), b"GET / HTTP/1.1\r\n\r\n", finish=True) == b"GET / HTTP/1.1\r\n\r\n"
    relay.wait_for_event("session")
    relay.stop()
    assert payload(tenon, path, "client") == b"GET / HTTP/1.1\r\n\r\n"


def test_files_follow_one_another(tenon):
    """Within the sandbox: each can be read by itself, and the oldest are removed."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "echo"])
    relay, path = recorded(tenon, "tcp://127.0.0.1:0", server.url, "--record-size", "64KiB", "--record-files", "2")
    client = tenon.dial(relay.url)
    for _ in range(20):
        client.sendall(b"z" * 10000)
        assert receive_exactly(client, 10000) == b"z" * 10000
    client.close()
    relay.wait_for_event("session")
    relay.stop()
    names = sorted(name.name for name in tenon.folder.glob("r*.pcapng"))
    assert len(names) == 2 and "r.pcapng" not in names
    for name in names:
        assert (tenon.folder / name).stat().st_size <= 64 * KIB + 1000
        assert tenon.run("capture", "--read", f"{tenon.folder}/{name}", "--json").lines


def test_files_that_were_there_are_not_readable_by_others(tenon):
    for name in ("r.pcapng", "r-2.pcapng"):
        (tenon.folder / name).write_text("old")
        (tenon.folder / name).chmod(0o644)
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "discard"])
    relay, _ = recorded(tenon, "tcp://127.0.0.1:0", server.url, "--record-size", "64KiB")
    assert (tenon.folder / "r.pcapng").stat().st_mode & 0o777 == 0o600
    tenon.dial(relay.url).sendall(bytes(100 * KIB))
    second = tenon.folder / "r-2.pcapng"
    wait_until(lambda: second.exists() and second.stat().st_size > 3, "the second is begun")
    assert second.stat().st_mode & 0o777 == 0o600


def test_a_full_disk_is_told_once(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "echo"])
    relay = tenon.relay("tcp://127.0.0.1:0", server.url, options=["--json", "--record", "/dev/full"])
    data = noise(3 * MIB)
    assert exchange(tenon.dial(relay.url), data, finish=True) == data
    relay.wait_for_text("No space left")
    assert exchange(tenon.dial(relay.url), data, finish=True) == data
    relay.stop()
    assert relay.err.count("No space left") == 1
    assert "/dev/full: cannot be written: " in relay.err and "sessions go on" in relay.err


def test_what_does_not_fit_is_counted(tenon):
    """The session is the same, whatever the disk does."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "echo"])
    relay, path = recorded(tenon, "tcp://127.0.0.1:0", server.url, "--record-memory", "1536KiB")
    data = noise(8 * MIB)
    assert exchange(tenon.dial(relay.url), data, finish=True) == data
    relay.wait_for_event("session")
    relay.stop()
    told = "are not in it" in relay.err
    assert told or payload(tenon, path, "client") == data
    if told:
        assert f"{path}: " in relay.err and "--record-memory" in relay.err


@pytest.mark.skipif(SANITIZED, reason="limits memory")
def test_what_has_passed_is_kept_when_memory_is_short(tenon):
    """There is none for the next piece: what is in the last one is written all the same, and later all goes on."""
    relay, path = recorded(tenon, "tcp://127.0.0.1:0", tenon.serve("tcp://127.0.0.1:0").url, "--no-sandbox")
    client, limits = tenon.dial(relay.url), resource.prlimit(relay.pid, resource.RLIMIT_DATA)
    resource.prlimit(relay.pid, resource.RLIMIT_DATA, (KIB, limits[1]))
    assert exchange(client, b"first") == b"first"
    wait_until(lambda: b"first" in pathlib.Path(path).read_bytes(), "it is written")
    resource.prlimit(relay.pid, resource.RLIMIT_DATA, limits)

    def goes_on():
        exchange(client, b"later")
        return b"later" in pathlib.Path(path).read_bytes()
    wait_until(goes_on, "it goes on")
    assert payload(tenon, path, "client").startswith(b"first")


def test_it_can_be_read_while_it_is_written(tenon):
    server = tenon.serve("tcp://127.0.0.1:0?frame=line", options=["--handler", "echo"])
    relay, path = recorded(tenon, "tcp://127.0.0.1:0?frame=line", f"{server.url}?frame=line")
    client = tenon.dial(relay.url)
    client.sendall(b"now\n")
    assert receive_exactly(client, 4) == b"now\n"
    wait_until(lambda: said(followed(tenon, path, status=None), "server") == ["now"], "it is in the file")


@pytest.mark.parametrize("options, words", [
    (["--record-size", "1MiB"], "are for --record FILE"),
    (["--record", "r", "--record-files", "2"], "--record-files needs --record-size or --record-every"),
    (["--record", "r", "--record-size", "1"], "out of range"),
    (["--record", ""], "needs the name of a file"),
])
def test_wrong_options(tenon, options, words):
    result = tenon.run("relay", "tcp://127.0.0.1:0", "tcp://127.0.0.1:1", *options, status=USAGE)
    assert words in result.err


def test_a_file_that_cannot_be_opened(tenon):
    result = tenon.run("relay", "tcp://127.0.0.1:0", "tcp://127.0.0.1:1", "--record", f"{tenon.folder}/no/r.pcapng",
                       status=FAILED)
    assert f"{tenon.folder}/no/r.pcapng: " in result.err


def test_no_pipe(tenon):
    os.mkfifo(f"{tenon.folder}/fifo")
    result = tenon.run("relay", "tcp://127.0.0.1:0", "tcp://127.0.0.1:1", "--record", f"{tenon.folder}/fifo",
                       status=USAGE)
    assert "not into a pipe" in result.err


def test_no_standard_output(tenon):
    assert "./- is a file" in tenon.run("relay", "tcp://127.0.0.1:0", "tcp://127.0.0.1:1", "--record", "-",
                                        status=USAGE).err


# ---- serve and connect ----

def serving(tenon, url, handler, *options):
    path = f"{tenon.folder}/s.pcapng"
    return tenon.serve(url, options=["--json", "--handler", handler, "--record", path, *options]), path


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", "unix:{}/listen"])
@pytest.mark.parametrize("handler", ["echo", "exec:cat"])
def test_serve_bytes(tenon, url, handler):
    server, path = serving(tenon, url.format(tenon.folder), handler)
    data = noise(300 * KIB + 7)
    assert exchange(tenon.dial(server.url), data, finish=True) == data
    server.wait_for_event("close")
    server.stop()
    assert payload(tenon, path, "client") == data
    assert payload(tenon, path, "server") == data
    notes = [note for note in comments(tenon, path) if note]
    assert notes[0].startswith("tenon session ") and notes[0].endswith(f" at {server.url}")
    assert notes[-1] == "tenon end"


def test_serve_knows_when_its_client_ended(tenon):
    """A command that answers at the end of its input: a replay that did not end there would wait for ever."""
    server, path = serving(tenon, "tcp://127.0.0.1:0", "exec:sort")
    assert exchange(tenon.dial(server.url), b"b\na\n", finish=True) == b"a\nb\n"
    server.wait_for_event("close")
    server.stop()
    assert [packet["flags"] for packet in packets(tenon, path)] == ["S", "SA", "A", "PA", "FA", "PA", "FA", "A"]


@pytest.mark.parametrize("handler, answer", [("ack", {"ack": 7}), ("echo", 7)])
def test_serve_messages(tenon, handler, answer):
    server, path = serving(tenon, "tcp://127.0.0.1:0?frame=u32&format=cbor", handler)
    assert json.loads(tenon.run("send", f"{server.url}?frame=u32&format=cbor", "7").out) == answer
    server.wait_for_event("close")
    server.stop()
    events = followed(tenon, path)
    assert said(events, "client") == [7] and said(events, "server") == [answer]
    assert [note for note in comments(tenon, path) if note and "format" in note] == ["tenon message format=cbor"] * 2


@pytest.mark.parametrize("host", ["udp://127.0.0.1:0", "udp://[::1]:0", "unix-dgram:{}/listen"])
def test_serve_datagrams(tenon, host):
    server, path = serving(tenon, host.format(tenon.folder), "ack")
    for words in ("one", "three"):
        tenon.run("send", server.url, words)
    server.stop()
    shown = packets(tenon, path)
    assert [packet["payload"] for packet in shown] == [3, 8, 5, 10]
    assert shown[0]["source"] == shown[1]["destination"] != shown[2]["source"]


def test_serve_secured(tenon, authority, trusted):
    """What was encrypted is recorded as it was said."""
    server, path = serving(tenon, f"tls://127.0.0.1:0?{authority.pair('server')}", "echo")
    assert tenon.run("send", f"{server.url}?{trusted}", "words").out == b"words\n"
    server.wait_for_event("close")
    server.stop()
    assert payload(tenon, path, "client") == payload(tenon, path, "server") == b"words"


def test_serve_http(tenon):
    server, path = serving(tenon, "http://127.0.0.1:0", "echo")
    request = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\n\r\nabc"
    reply = exchange(tenon.dial(f"tcp://127.0.0.1:{server.port}"), request, finish=True)
    assert reply.endswith(b"\r\n\r\nabc")
    server.wait_for_event("close")
    server.stop()
    assert payload(tenon, path, "client").startswith(b"POST / ")
    assert payload(tenon, path, "server") == reply


def test_serve_websocket_tells_kinds(tenon):
    server, path = serving(tenon, "ws://127.0.0.1:0/", "echo")
    tenon.run("send", f"{server.url}?kind=binary", "words")
    server.wait_for_event("close")
    server.stop()
    assert [note for note in comments(tenon, path) if note and "message" in note] == ["tenon message kind=binary"] * 2


def test_serve_chargen_and_reset(tenon):
    server, path = serving(tenon, "tcp://127.0.0.1:0", "chargen")
    client = tenon.dial(server.url)
    got = receive_exactly(client, 10 * KIB)
    reset(client)
    server.wait_for_event("close")
    server.stop()
    assert payload(tenon, path, "server").startswith(got)
    assert comments(tenon, path)[-1].startswith("tenon end by the client: ")


def test_serve_records_again_in_the_next_file(tenon):
    server, path = serving(tenon, "tcp://127.0.0.1:0", "discard", "--record-size", "64KiB", "--record-files", "2")
    tenon.run("send", server.url, input=bytes(300 * KIB))
    server.wait_for_event("close")
    server.stop()
    names = sorted(name.name for name in tenon.folder.glob("s*.pcapng"))
    assert len(names) == 2 and "s.pcapng" not in names and path


@pytest.mark.parametrize("command", [["serve", "icmp://127.0.0.1"], ["connect", "icmp://127.0.0.1"]])
def test_nothing_below_the_transports(tenon, command):
    assert "--record: icmp://127.0.0.1 is below the transports" in tenon.run(
        *command, "--record", f"{tenon.folder}/r", status=USAGE).err


def connecting(tenon, url, *options, data=b"", status=0):
    path = f"{tenon.folder}/c.pcapng"
    return tenon.run("connect", url, "--record", path, *options, input=data, status=status), path


@pytest.mark.parametrize("scheme", ["tcp://127.0.0.1:0", "unix:{}/listen"])
def test_connect_bytes(tenon, scheme):
    server = tenon.serve(scheme.format(tenon.folder), options=["--handler", "exec:cat"])
    data = noise(300 * KIB + 7)
    done, path = connecting(tenon, server.url, data=data)
    assert done.out == data
    assert payload(tenon, path, "client") == payload(tenon, path, "server") == data
    ends = [packet["source"] for packet in packets(tenon, path) if packet["flags"] == "FA"]
    assert ends[0] == packets(tenon, path)[0]["source"] != ends[1]
    assert comments(tenon, path)[0].endswith(f" at {server.url}")


@pytest.mark.parametrize("url, options", [("tcp://127.0.0.1:0?frame=u32&format=cbor", []),
                                          ("udp://127.0.0.1:0?format=cbor", ["--count", "2"])])
def test_connect_messages(tenon, url, options):
    server = tenon.serve(url, options=["--handler", "ack"])
    done, path = connecting(tenon, server.url + url[url.index("?"):] + "&rcvbuf=99999", *options, data=b"1\n2\n")
    assert done.lines == ['{"ack":1}', '{"ack":2}']
    assert not any("99999" in (note or "") for note in comments(tenon, path)), "keys may hold secrets"
    events = followed(tenon, path)
    if url.startswith("tcp"):
        assert said(events, "client") == [1, 2] and said(events, "server") == [{"ack": 1}, {"ack": 2}]
    else:
        assert len(comments(tenon, path)) == 4
    assert "2 messages said, 2 replies, 0 differ" in tenon.run(
        "replay", path, server.url + url[url.index("?"):], "--closed").err


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_connect_that_listens(tenon, scheme):
    path = f"{tenon.folder}/c.pcapng"
    port = free_port()
    process = tenon.start("connect", "--listen", f"{scheme}://127.0.0.1:{port}", "--record", path, "--recv-only",
                          "--count" if scheme == "udp" else "--bytes", "1" if scheme == "udp" else "5")
    process.wait_for_text("listening on")
    tenon.run("send", "--no-reply", f"{scheme}://127.0.0.1:{port}", "words")
    process.wait()
    shown = packets(tenon, path)
    assert [packet["payload"] for packet in shown if packet["payload"]][0] == 5
    assert shown[0]["destination"].endswith(f":{port}")


# ---- disks, and others who write there ----

def test_another_process_does_not_write_into_it(tenon):
    """As when a server is replaced by another that was started in the same way."""
    server, path = serving(tenon, "tcp://127.0.0.1:0", "echo")
    refused = tenon.run("serve", "tcp://127.0.0.1:0", "--record", path, status=FAILED)
    assert f"{path}: another process records into it" in refused.err
    assert exchange(tenon.dial(server.url), b"words", finish=True) == b"words"
    server.wait_for_event("close")
    server.stop()
    assert payload(tenon, path, "client") == b"words"


def limit_files(size):
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_what_the_disk_does_not_take_is_counted(tenon):
    path = f"{tenon.folder}/s.pcapng"
    server = tenon.serve("tcp://127.0.0.1:0", options=["--json", "-v", "--handler", "discard", "--record", path],
                         preexec_fn=limit_files(2000))
    tenon.run("send", server.url, "words")
    wait_until(lambda: os.stat(path).st_size, "it is in the file")
    tenon.run("send", server.url, input=bytes(20 * KIB))
    wait_until(lambda: sum(event["event"] == "close" for event in server.events) == 2, "both have ended")
    server.stop()
    told = re.search(r"s.pcapng: (\d+) of (\d+) packets are not in it: they could not be written", server.err)
    assert told and 1 <= int(told[1]) <= int(told[2])
    assert len(comments(tenon, path)) == int(told[2]) - int(told[1])
    assert server.err.count("File too large") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_disk_that_is_full_twice(tenon):
    """Each time it is told, and that there is room again."""
    disk = tenon.folder / "disk"
    disk.mkdir()
    path = disk / "s.pcapng"
    big = disk / "big"
    options = ["--json", "--no-sandbox", "--handler", "discard", "--record", path, "--record-size", "64KiB"]
    server = tenon.serve("tcp://127.0.0.1:0", options=options, preexec_fn=small_disk(disk, 32 * MIB))
    inside = f"/proc/{server.pid}/root{big}"

    def say(size=100 * KIB):
        client = tenon.dial(server.url)
        client.sendall(bytes(size))
        client.close()

    def fill():
        with contextlib.suppress(OSError), open(inside, "ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))
    for n in (1, 2):
        wait_until(lambda n=n: (fill(), say(), server.err.count("No space left") >= n)[2], "it is told")
        os.unlink(inside)
        wait_until(lambda n=n: (say(), server.err.count("sessions are recorded again") >= n)[1], "and that it goes on")
    server.stop()
