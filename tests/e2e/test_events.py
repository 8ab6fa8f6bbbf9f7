"""What a server tells: lines for people, and the same as JSON for programs."""
import json
import os
import pathlib
import re
import resource
import select
import signal
import socket
import struct
import subprocess

import pytest

from harness import (KIB, LIMIT, dial_when_served, environment, exchange, noise, open_socket, port_of, receive_exactly,
                     receive_to_end, reset, send_until_stuck, wait_until)
from system import limit_files

NUMBER = (int, float)


def test_one_line_for_each_listener(tenon):
    folder = tenon.folder
    server = tenon.serve("tcp://127.0.0.1:0", "udp://[::1]:0", f"unix:{folder}/a", f"unix-dgram:{folder}/b",
                         f"unix-seqpacket:{folder}/c", "mptcp://127.0.0.1:0")
    ports = r"listening tcp://127\.0\.0\.1:\d+ \(echo\)\nlistening udp://\[::1\]:\d+ \(ack\)\n"
    paths = "".join(f"listening {scheme}:{folder}/{name} \\({handler}\\)\n" for scheme, name, handler in
                    (("unix", "a", "echo"), ("unix-dgram", "b", "ack"), ("unix-seqpacket", "c", "echo")))
    assert re.fullmatch(ports + paths + r"listening mptcp://127\.0\.0\.1:\d+ \(echo\)\n", server.out.decode())
    exchange(tenon.dial(server.url), b"hello")
    server.untidy = True
    server.stop()
    assert len(server.lines) == 6, "connections are told only when asked for"
    assert server.err == ""


def test_json_tells_a_connections_life(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--json"])
    told = server.events
    assert told == [{"event": "listening", "url": server.url, "handler": "echo", "time": told[0]["time"]}]
    client = open_socket(server.url)
    peer = f"tcp://127.0.0.1:{client.getsockname()[1]}"
    opened = server.wait_for_event("open", peer=peer)
    assert opened["url"] == server.url
    assert exchange(client, noise(100 * KIB)) == noise(100 * KIB)
    client.close()
    closed = server.wait_for_event("close", peer=peer)
    assert closed["id"] == opened["id"]
    assert closed["bytes_in"] == closed["bytes_out"] == 100 * KIB
    assert closed["reason"] == "end" and closed["error"] is None
    assert isinstance(closed["duration_ms"], NUMBER) and closed["duration_ms"] >= 0
    server.stop()
    events = server.events
    assert [event["event"] for event in events] == ["listening", "open", "close", "stopped"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["time"]) for event in events[1:])


def test_json_is_one_object_a_line_whatever_happens(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", "udp://127.0.0.1:0", f'unix:{tenon.folder}/a"b\\c%0ad%ffe',
                         options=["--json", "--threads", 2, "--max-conns", 60])
    assert server.events[2]["url"].startswith(f'unix:{tenon.folder}/a%22b%5cc%0ad')
    path = os.fsencode(tenon.folder) + b'/a"b\\c\nd\xffe'
    import socket
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(path)
        assert exchange(client, b"hello") == b"hello"
    for i in range(100):
        client = open_socket(server.url)
        client.sendall(noise(100))
        if i % 2:
            reset(client)
        else:
            assert receive_exactly(client, 100) == noise(100)
            client.close()
    crowd = [tenon.dial(server.url) for _ in range(70)]
    assert len([client for client in crowd if not ended(client)]) <= 60
    for client in crowd:
        client.close()
    server.stop()
    events = server.events
    opened = [event["id"] for event in events if event["event"] == "open"]
    closed = [event["id"] for event in events if event["event"] == "close"]
    assert len(set(opened)) == len(opened) and sorted(opened) == sorted(closed)
    assert {event["event"] for event in events} == {"listening", "open", "close", "trouble", "datagrams", "stopped"}
    assert events[-1]["event"] == "stopped"
    for number in set(opened):
        names = [event["event"] for event in events if event.get("id") == number]
        assert names == ["open", "close"]


def ended(client):
    client.settimeout(0.02)
    try:
        return client.recv(1) == b""
    except TimeoutError:
        return False


def test_json_says_why_connections_end(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--json", "--idle", "300ms", "--drain", "200ms"])
    with open_socket(server.url) as silent:
        assert silent.recv(1) == b""
    assert server.wait_for_event("close", reason="idle")["error"]
    rude = open_socket(server.url)
    send_until_stuck(rude, quiet=0.02)
    reset(rude)
    assert "reset" in server.wait_for_event("close", reason="reset")["error"].lower()


def test_json_tells_of_clients_that_are_refused(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--json", "--max-conns", 1])
    inside = tenon.dial(server.url)
    assert exchange(inside, b"hello") == b"hello"
    with open_socket(server.url) as late:
        assert late.recv(1) == b""
    event = server.wait_for_event("trouble", reason="limit")
    assert event["url"] == server.url
    inside.close()


def test_json_of_datagrams(tenon):
    server = tenon.serve("udp://127.0.0.1:0", options=["--json"])
    client = tenon.dial(server.url)
    for _ in range(7):
        client.send(b"hello")
        client.recv(100)
    server.stop()
    event = server.events[1]
    assert (event["event"], event["url"]) == ("datagrams", server.url)
    assert (event["messages_in"], event["messages_out"]) == (7, 7)
    assert (event["bytes_in"], event["bytes_out"], event["lost"]) == (35, 70, 0)


@pytest.mark.parametrize("handler,said,numbers", [
    ("echo", b"one\nand two\n", (12, 2, 12, 2)), ("ack", b"one\nand two\n", (12, 2, 22, 2)),
    ("discard", b"one\nand two\n", (12, 2, 0, 0)), ("exec:printf 'good day'", b"", (0, 0, 9, 1))])
def test_json_counts_each_direction(tenon, handler, said, numbers):
    server = tenon.serve("tcp://127.0.0.1:0?frame=line", options=["--json", "--handler", handler])
    client = tenon.dial(server.url.split("?")[0])
    client.sendall(said)
    assert len(receive_exactly(client, numbers[2])) == numbers[2]
    select.select([], [], [], 0.2)
    client.close()
    event = server.wait_for_event("close")
    assert (event["bytes_in"], event["messages_in"], event["bytes_out"], event["messages_out"]) == numbers
    if numbers[2]:  # without a reply it may have been accepted later
        assert event["duration_ms"] >= 195 or handler.startswith("exec")


@pytest.mark.parametrize("host", ["localhost", "*"])
@pytest.mark.parametrize("option", ["--json", "-v"])
def test_the_listener_that_a_connection_came_to(tenon, host, option):
    """Of those of both IP versions, and of two endpoints."""
    server = tenon.serve(f"tcp://{host}:0", "tcp://127.0.0.1:0", options=[option], listeners=3)
    for url, near in zip(server.urls, (("[::1]" if "[" in url else "127.0.0.1") for url in server.urls)):
        client = tenon.dial(f"tcp://{near}:{port_of(url)}")
        peer = f"{near}:{client.getsockname()[1]}"
        if option == "--json":
            event = server.wait_for_event("open", peer=f"tcp://{peer}")
            assert (event["url"], event["local"]) == (url, f"tcp://{near}:{port_of(url)}")
        else:
            server.wait_for_text(rf"^open #\d+ tcp://{re.escape(peer)} on {re.escape(url)}$", "out")


def test_lines_of_datagrams_for_people(tenon):
    server = tenon.serve("udp://127.0.0.1:0", "tcp://127.0.0.1:0", options=["-v"])
    client = tenon.dial(server.url)
    for _ in range(3):
        client.send(b"hello")
        client.recv(100)
    server.stop()
    assert len(server.lines) == 3
    assert re.fullmatch(rf"datagrams on {re.escape(server.url)}: 3 in, 3 out, 0 lost; 15 bytes in, 30 out, [\d.]+ s",
                        server.lines[2])


def test_lines_for_people(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["-v"])
    client = open_socket(server.url)
    peer = f"127.0.0.1:{client.getsockname()[1]}"
    assert exchange(client, b"hello") == b"hello"
    client.close()
    wait_until(lambda: len(server.lines) == 3, lambda: server.lines)
    assert re.fullmatch(rf"open #1 \S*{re.escape(peer)} on {re.escape(server.url)}", server.lines[1])
    assert re.fullmatch(rf"close #1 \S*{re.escape(peer)}: 5 bytes in, 5 out, [\d.]+ s, end", server.lines[2])


def test_unix_peers_have_names_in_the_events(tenon):
    server = tenon.serve(f"unix:{tenon.folder}/sock", options=["--json"])
    with open_socket(server.url) as client:
        exchange(client, b"hello")
    event = server.wait_for_event("open")
    assert event["url"] == server.url and isinstance(event["peer"], str)


def test_a_reader_that_does_not_read_holds_up_nobody(tenon):
    """The events go to a pipe that nobody empties: clients do not notice."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb"), os.fdopen(writing, "wb") as pipe:
        process = tenon.start("serve", f"unix:{tenon.folder}/sock", "--json", stdout=pipe)
        dial_when_served(f"unix:{tenon.folder}/sock").close()
        for i in range(1500):
            with open_socket(f"unix:{tenon.folder}/sock") as client:
                assert exchange(client, b"%d" % i) == b"%d" % i
        process.signal(signal.SIGTERM)
        process.wait(None)


def test_a_reader_that_goes_away_ends_the_server(tenon):
    """`tenon serve --json | head -1`: quietly, and with nothing left."""
    argv = tenon.argv("serve", "tcp://127.0.0.1:0", f"unix:{tenon.folder}/sock", "--json")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        lines = [json.loads(process.stdout.readline()) for _ in range(2)]
        assert [line["event"] for line in lines] == ["listening"] * 2
        with open_socket(lines[0]["url"]) as client:
            client.sendall(b"hello")
            assert receive_exactly(client, 5) == b"hello"
            process.stdout.close()
        process.wait(20)
        assert process.stderr.read() == b""
        process.stderr.close()


def test_a_plain_servers_reader_may_go_away(tenon):
    """Without events there is nothing more to tell, so the server serves on."""
    argv = tenon.argv("serve", "tcp://127.0.0.1:0")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment()) as process:
        url = process.stdout.readline().split()[1].decode()
        process.stdout.close()
        for _ in range(3):
            with open_socket(url) as client:
                assert exchange(client, b"hello", finish=True) == b"hello"
        process.terminate()
        assert process.wait(20) == 0


def test_quiet_is_quiet(tenon):
    process = tenon.start("serve", f"unix:{tenon.folder}/sock", "-q")
    with dial_when_served(f"unix:{tenon.folder}/sock") as client:
        assert exchange(client, b"hello") == b"hello"
    process.signal(signal.SIGTERM)
    process.wait(0)
    assert process.err == ""


def test_out_of_descriptors_in_words_for_people(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", preexec_fn=limit_files(30))
    clients = [tenon.dial(server.url) for _ in range(40)]
    wait_until(lambda: "Too many open files" in server.err, lambda: server.err)
    for client in clients:
        client.close()
    assert receive_to_end is not None


# What strangers say: valid JSON, and text that a terminal can be given

NASTY = b"\xff\xfe\x1b[31m\xed\xb2\x80\xc2\x9b"  # no UTF-8, a terminal's commands, half of a surrogate pair, CSI


def check_strictly(tenon, data):
    """By tenon's own strict reader and by Python's, of text that can be written again."""
    for line in data.splitlines():
        json.loads(line.decode("utf-8"), parse_constant=pytest.fail)
        json.dumps(json.loads(line), ensure_ascii=False).encode("utf-8")
    tenon.run("convert", "--from", "json/line", "--to", "cbor", "--strict", input=data)


def hello_with_name(name):
    """A ClientHello of TLS 1.2 that asks for this server name, whatever bytes it is."""
    server_name = b"\0" + struct.pack(">H", len(name)) + name
    extension = struct.pack(">HHH", 0, len(server_name) + 2, len(server_name)) + server_name
    groups = struct.pack(">HHHH", 10, 4, 2, 29) + struct.pack(">HHHH", 13, 4, 2, 0x0403)
    body = b"\3\3" + bytes(32) + b"\0" + struct.pack(">HH", 2,
                                                     0xc02b) + b"\1\0" + struct.pack(">H", len(extension + groups))
    body += extension + groups
    handshake = b"\1" + struct.pack(">I", len(body))[1:] + body
    return b"\x16\3\1" + struct.pack(">H", len(handshake)) + handshake


@pytest.mark.parametrize("option", ["--json", "-v"])
def test_what_strangers_say_is_text(tenon, authority, program, option):
    """A server name, a pre-shared identity, the path of a client's socket, a message that is refused, garbage for
    TLS."""
    psk = tenon.file("psk", NASTY + b":" + b"11" * 16 + b"\n")
    psk.chmod(0o600)
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}", f"tls://127.0.0.1:0?psk-file={psk}",
                         f"unix:{tenon.folder}/sock", f"unix-dgram:{tenon.folder}/datagrams?format=json",
                         "tcp://127.0.0.1:0?format=json&frame=line", options=[option])
    port, psk_port = (int(url.rpartition(":")[2]) for url in server.urls[:2])
    with socket.create_connection(("127.0.0.1", port), LIMIT) as sock:
        sock.sendall(hello_with_name(NASTY))
        sock.recv(100)
    with socket.create_connection(("127.0.0.1", port), LIMIT) as sock:
        sock.sendall(NASTY * 100)
        sock.recv(100)
    for sni in (["-connect", f"127.0.0.1:{port}", "-servername", NASTY],
                ["-connect", f"127.0.0.1:{psk_port}", "-psk_identity", NASTY, "-psk", "11" * 16]):
        tenon.finish([program("openssl"), "s_client", *map(os.fsdecode, sni)], status=None, input=b"hello\nQ\n")
    for kind, place in ((socket.SOCK_STREAM, b"/sock"), (socket.SOCK_DGRAM, b"/datagrams")):
        with socket.socket(socket.AF_UNIX, kind) as sock:
            path = os.fsencode(tenon.folder) + b"/" + NASTY + place[1:3]
            sock.bind(path)
            sock.settimeout(LIMIT)
            sock.connect(os.fsencode(tenon.folder) + place)
            sock.send(NASTY)
            sock.recv(100)
        os.unlink(path)
    with socket.create_connection(("127.0.0.1", int(server.urls[4].rpartition(":")[2])), LIMIT) as sock:
        sock.sendall(b'{"' + NASTY + b'":1}\n')
        sock.recv(100)
    server.stop()
    told = server.out + pathlib.Path(f"{server.base}.err").read_bytes()
    if option == "--json":
        check_strictly(tenon, server.out)
        assert any((event.get("server_name") or "").startswith("\ufffd\ufffd\x1b[31m") for event in server.events)
        assert any("%ff%fe%1b" in event.get("peer", "") for event in server.events)
    else:
        told.decode("utf-8")
        assert not any(byte < 32 and byte != 10 for byte in told) and b"\xc2\x9b" not in told, told
        assert rb"\xff\xfe\x1b[31m" in told


def test_a_file_name_that_is_no_text(tenon):
    """An endpoint's own path, and what goes wrong with it, in every command that says it as JSON."""
    path = os.fsencode(tenon.folder) + b"/\xff\xe9"
    server = tenon.serve(f"unix:{tenon.folder}/%ff%e9", options=["--json"])
    assert server.url.endswith("%ff%e9") and os.path.exists(path)
    said = tenon.finish([*tenon.argv("send", "--json"), os.fsdecode(b"unix:" + path), "hi"]).out
    check_strictly(tenon, said)
    check_strictly(tenon, tenon.run("inspect", "--json", "--endpoint", server.url).out)
    check_strictly(tenon, tenon.run("ping", "--json", "--count", "2", "--interval", "20ms", server.url,
                                    status=None).out)
    server.stop()
    check_strictly(tenon, server.out)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_client_that_was_gone_before_it_was_accepted_has_an_address(tenon, host):
    server = tenon.serve(f"tcp://{host}:0", options=["--json"])
    os.kill(server.pid, signal.SIGSTOP)
    client = open_socket(server.url)
    port = client.getsockname()[1]
    reset(client)
    os.kill(server.pid, signal.SIGCONT)
    assert server.wait_for_event("open")["peer"] == f"tcp://{host}:{port}"
    server.wait_for_event("close", reason="reset", peer=f"tcp://{host}:{port}")


def test_why_a_connection_ended_is_said_once(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["-v", "--idle", "100ms"])
    assert receive_to_end(tenon.dial(server.url)) == b""
    assert server.wait_for_text(r"^close #1 tcp://\S+: 0 bytes in, 0 out, \S+ s, idle for too long$", where="out")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs an address that is refused to root too")
def test_what_could_not_be_bound_is_named_as_it_was_given(tenon):
    result = tenon.run("serve", "tcp://192.0.2.1:0", status=1)
    assert "tcp://192.0.2.1:0: bind: " in result.err


def test_a_full_file_does_not_end_a_server(tenon):
    """Neither by the signal for it nor as an error: what it tells is lost, what it serves goes on."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
    server = tenon.serve("tcp://127.0.0.1:0", options=["--json"], preexec_fn=limit)
    for _ in range(30):
        with open_socket(server.url) as client:
            assert exchange(client, b"hello") == b"hello"
    server.wait_for_text("standard output: File too large")
    with open_socket(server.url) as client:
        assert exchange(client, b"hello") == b"hello"
    server.stop(status=1)
