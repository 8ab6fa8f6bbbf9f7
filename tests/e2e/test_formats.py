"""Endpoints with a format: JSON at the person's end, the format on the wire, and what becomes of messages that are
none."""
import json
import socket
import struct
import subprocess

import cbor2
import msgpack
import pytest

from harness import receive_exactly, receive_to_end, receive_to_reset, wait_until

FAILED, USAGE, TIMED_OUT, REFUSED = 1, 2, 3, 4

ENDPOINTS = ["tcp://127.0.0.1:0?frame=u32&format=cbor", "tcp://127.0.0.1:0?format=json",
             "tcp://127.0.0.1:0?format=cbor", "unix:{}/s?format=msgpack", "unix:{}/s?frame=line&format=xml",
             "unix:{}/s?frame=cobs&format=json", "udp://127.0.0.1:0?format=cbor", "unix-dgram:{}/s?format=json",
             "unix-seqpacket:{}/s?format=msgpack"]

VALUES = ['{"op":"ping"}', "[1,2.5,null,true]", '"ünï"', "18446744073709551616", '{"$bytes":"AQID"}', "{}"]


def with_keys(server, url):
    """The address that is really served, with the keys that were asked for."""
    return server.url + url[url.index("?"):]


def served(tenon, url, *options):
    server = tenon.serve(url.format(tenon.folder), options=options)
    return server, with_keys(server, url)


# send

@pytest.mark.parametrize("url", ENDPOINTS)
def test_send(tenon, url):
    _, url = served(tenon, url, "--handler", "ack")
    result = tenon.run("send", url, *VALUES)
    assert result.lines == [f'{{"ack":{value}}}' for value in VALUES] and result.err == ""
    assert tenon.run("send", url, input="\n".join(VALUES).encode() + b"\n\n").lines == result.lines


@pytest.mark.parametrize("url", ENDPOINTS)
def test_echo(tenon, url):
    _, url = served(tenon, url, "--handler", "echo")
    assert tenon.run("send", url, *VALUES).lines == VALUES


def test_files_and_pretty(tenon):
    _, url = served(tenon, "tcp://127.0.0.1:0?format=msgpack")
    (tenon.folder / "request").write_text('{\n  "a": [1,\n 2]\n}\n')
    assert tenon.run("send", url, f"@{tenon.folder}/request").text == '{"a":[1,2]}\n'
    pretty = tenon.run("send", "--pretty", url, "@-", input=b'{ "a": [1, 2] }').text
    assert pretty.startswith('{\n  "a": [\n') and json.loads(pretty) == {"a": [1, 2]}


def test_send_with_events(tenon):
    _, url = served(tenon, "tcp://127.0.0.1:0?format=cbor")
    event = json.loads(tenon.run("send", "--json", url, '{"a":[1]}').text)
    assert event["value"] == {"a": [1]} and event["message"] == 1 and "data" not in event


def test_what_is_on_the_wire(tenon):
    sock = tenon.listen()
    url = f"tcp://127.0.0.1:{sock.getsockname()[1]}?frame=u32&format=cbor"
    client = tenon.start("send", url, '{"op": "ping"}')
    with sock.accept()[0] as peer:
        peer.settimeout(20)
        length, = struct.unpack(">I", receive_exactly(peer, 4))
        assert cbor2.loads(receive_exactly(peer, length)) == {"op": "ping"}
        reply = cbor2.dumps({"pong": b"\1\2"})
        peer.sendall(struct.pack(">I", len(reply)) + reply)
        client.wait(0)
    assert client.out == b'{"pong":{"$bytes":"AQI"}}\n'


def test_send_text_and_raw(tenon):
    _, url = served(tenon, "tcp://127.0.0.1:0?frame=line&format=text", "--handler", "ack")
    assert tenon.run("send", url, "{not json", "ü").lines == ["ack: {not json", "ack: ü"]
    result = tenon.run("send", url, "one", "\udcff", "two", status=REFUSED)
    assert result.out == b"ack: one\n" and "message 2: text: line 1, byte 1: not UTF-8" in result.err
    _, url = served(tenon, "tcp://127.0.0.1:0?frame=u16&format=raw")
    assert tenon.run("send", url, "\udcff{").out == b"\xff{\n"


@pytest.mark.parametrize("url", ENDPOINTS)
def test_what_was_typed_is_no_json(tenon, url):
    _, url = served(tenon, url, "--handler", "echo")
    result = tenon.run("send", url, "[1]", '{"a":1', "[3]", status=REFUSED)
    assert result.out == b"[1]\n" and result.err == "tenon: message 2: json: line 1, byte 7: the text ends early\n"
    result = tenon.run("send", url, input=b"[1]\n[2,\n[3]\n", status=REFUSED)
    assert result.out == b"[1]\n" and "message 2: json: line 1, byte 4" in result.err


def test_what_was_sent_before_a_typing_error_arrives(tenon):
    sock = tenon.listen()
    url = f"tcp://127.0.0.1:{sock.getsockname()[1]}?format=msgpack"
    client = tenon.start("send", "--no-reply", url, *["[1]"] * 500, "x")
    with sock.accept()[0] as peer:
        peer.settimeout(20)
        assert receive_to_end(peer) == b"\x91\x01" * 500
    client.wait(REFUSED)
    assert "message 501: json: line 1, byte 1" in client.err


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_malformed_reply(tenon, kind):
    sock = tenon.listen(kind=kind)
    scheme = "tcp" if kind == socket.SOCK_STREAM else "udp"
    client = tenon.start("send", f"{scheme}://127.0.0.1:{sock.getsockname()[1]}?format=json", "1", "2")
    if kind == socket.SOCK_STREAM:
        with sock.accept()[0] as peer:
            peer.settimeout(20)
            assert receive_exactly(peer, 2) == b"1\n"
            peer.sendall(b'{"good":1}')
            assert receive_exactly(peer, 2) == b"2\n"
            peer.sendall(b'{"bad":tru}')
            client.wait(REFUSED)
    else:
        for request, reply in ((b"1", b'{"good":1}'), (b"2", b'{"bad":tru}')):
            data, address = sock.recvfrom(9)
            assert data == request
            sock.sendto(reply, address)
        client.wait(REFUSED)
    assert client.out == b'{"good":1}\n' and "reply: json: line 1, byte 11: " in client.err


# connect

@pytest.mark.parametrize("url", ENDPOINTS)
def test_connect(tenon, url):
    _, url = served(tenon, url, "--handler", "ack")
    lines = "\n".join(VALUES).encode() + b"\n\n"
    result = tenon.run("connect", "--wait", "1s", url, input=lines)
    assert result.lines == [f'{{"ack":{value}}}' for value in VALUES] and result.err == ""


def test_connect_leaves_out_what_is_no_json(tenon):
    _, url = served(tenon, "tcp://127.0.0.1:0?format=cbor")
    result = tenon.run("connect", url, input=b"[1]\n\n[2\n[3]\n[4", status=REFUSED)
    assert result.out == b"[1]\n[3]\n"
    assert result.err.splitlines() == ["tenon: line 3: json: line 1, byte 3: the text ends early",
                                       "tenon: line 5: json: line 1, byte 3: the text ends early"]


def test_connect_is_prompt(tenon):
    _, url = served(tenon, "tcp://127.0.0.1:0?format=json")
    client = tenon.start("connect", url, stdin=subprocess.PIPE)
    for n in range(3):
        client.popen.stdin.write(b'{ "n": %d }\n' % n)
        client.popen.stdin.flush()
        wait_until(lambda: client.lines == [f'{{"n":{i}}}' for i in range(n + 1)], lambda: client.out)
    client.popen.stdin.close()
    client.wait(0)


def test_connect_hears_something_malformed(tenon):
    sock = tenon.listen()
    client = tenon.start("connect", f"tcp://127.0.0.1:{sock.getsockname()[1]}?format=cbor", stdin=subprocess.PIPE)
    with sock.accept()[0] as peer:
        peer.sendall(b"\x01\x61\xff\x02")
        client.wait(REFUSED)
    assert client.out == b"1\n" and "cbor: byte 1: " in client.err


def test_a_format_without_a_frame(tenon):
    for command in ("send", "connect"):
        result = tenon.run(command, "tcp://localhost:1?format=xml", status=USAGE)
        assert "where does a message of xml end? Add frame=line" in result.err
    assert "Add frame=line" in tenon.run("serve", "tcp://localhost:0?frame=none&format=json", status=USAGE).err


# serve

def error_in(data, form):
    return (json.loads(data) if form == "json" else cbor2.loads(data) if form ==
            "cbor" else msgpack.unpackb(data))["error"]


@pytest.mark.parametrize("handler", ["echo", "ack"])
@pytest.mark.parametrize("form,bad,where,position", [
    ("json", b'{"a":tru}', "line 1, byte 9: ", 8), ("json", b"x", "line 1, byte 1: ", 0),
    ("cbor", b"\x61\xff", "byte 1: ", 1), ("cbor", b"\xff", "byte 0: ", 0), ("msgpack", b"\xa1\xff", "byte 1: ", 1)])
def test_the_sender_is_told(tenon, handler, form, bad, where, position):
    """And the connection goes on, as do the others."""
    good = {"json": b"[1]", "cbor": b"\x81\x01", "msgpack": b"\x91\x01"}[form]
    server = tenon.serve(f"tcp://127.0.0.1:0?frame=u16&format={form}", options=["--handler", handler, "--json"])
    other, client = tenon.dial(server.url), tenon.dial(server.url)

    def receive(sock):
        return receive_exactly(sock, struct.unpack(">H", receive_exactly(sock, 2))[0])
    other.sendall(b"\0\2")
    client.sendall(b"".join(struct.pack(">H", len(data)) + data for data in (good, bad, good)))
    first, told, last = receive(client), receive(client), receive(client)
    assert first == last and good in first
    assert error_in(told, form).startswith(where)
    event = server.wait_for_event("bad", message=2)
    assert event["error"].startswith(f"{form}: {where}")
    assert (event["position"], event["bytes"]) == (position, len(bad))
    other.sendall(b"\x81\x01" if form == "cbor" else b"[]" if form == "json" else b"\x91\x01")
    assert receive(other)


def test_a_datagram_sender_is_told(tenon):
    server = tenon.serve("udp://127.0.0.1:0?format=json", options=["--json"])
    client = tenon.dial(server.url)
    for data, reply in ((b"[1]", {"ack": [1]}), (b"[1", {"error": "line 1, byte 3: the text ends early"}),
                        (b"2", {"ack": 2})):
        client.send(data)
        assert json.loads(client.recv(1000)) == reply
    event = server.wait_for_event("bad")
    assert event["peer"].endswith(str(client.getsockname()[1])) and "line 1, byte 3" in event["error"]


def test_text_is_told_in_text(tenon):
    server = tenon.serve("tcp://127.0.0.1:0?frame=line&format=text")
    client = tenon.dial(server.url)
    client.sendall(b"a\n\xff\nb\n")
    expected = b"a\nerror: line 1, byte 1: not UTF-8\nb\n"
    assert receive_exactly(client, len(expected)) == expected


@pytest.mark.parametrize("key", ["", "&bad=close"])
def test_close(tenon, key):
    """Told and closed where it is asked for; only closed where the handler does not answer. What came before is
    answered."""
    handler = "echo" if key else "discard"
    server = tenon.serve(f"tcp://127.0.0.1:0?frame=line&format=json{key}", options=["--handler", handler, "--json"])
    other, client = tenon.dial(server.url), tenon.dial(server.url)
    other.sendall(b"[")
    client.sendall(b'[1]\n{"a":}\n[3]\n')
    got = receive_to_reset(client)
    assert got == (b'[1]\n{"error":"line 1, byte 6: ' + got[len(b'[1]\n{"error":"line 1, byte 6: '):] if key else b"")
    assert got.count(b"\n") == (2 if key else 0)
    event = server.wait_for_event("close", reason="refused")
    assert "json: line 1, byte 6: " in event["error"]
    if key:
        other.sendall(b"]\n")
        assert receive_exactly(other, 3) == b"[]\n"


def test_on_bad_close_is_the_key_of_every_url(tenon):
    server = tenon.serve("tcp://127.0.0.1:0?frame=line&format=json",
                         "tcp://127.0.0.1:0?frame=line&format=json&bad=skip", "udp://127.0.0.1:0?format=json",
                         options=["--on-bad=close", "--handler=echo"])
    closing, going_on = tenon.dial(server.urls[0]), tenon.dial(server.urls[1])
    for client in (closing, going_on):
        client.sendall(b"x\n1\n")
    assert receive_to_reset(closing).count(b"\n") == 1
    reply = going_on.makefile("rb")
    assert b"error" in reply.readline() and reply.readline() == b"1\n"
    reply.close()


def test_on_bad_skip(tenon):
    server = tenon.serve("tcp://127.0.0.1:0?frame=line&format=json",
                         options=["--on-bad", "skip", "--handler", "discard", "-v"])
    client = tenon.dial(server.url)
    client.sendall(b"x\n1\n[\n")
    server.wait_for_text(r"^bad #\d+ tcp://\S+: message 1: json: line 1, byte 1: ", "out")
    server.wait_for_text(r"^bad #\d+ tcp://\S+: message 3: json: line 1, byte 2: the text ends early", "out")
    client.shutdown(socket.SHUT_WR)
    assert receive_to_end(client) == b""
    server.wait_for_text(r"^close #\d+ .*, end$", "out")


def test_on_bad_is_one_of_two(tenon):
    assert "close|skip" in tenon.run("serve", "--on-bad", "ignore", status=USAGE).err


def test_too_large_closes_with_the_reason(tenon):
    server = tenon.serve("tcp://127.0.0.1:0?frame=u32&format=cbor&max=100", options=["--json", "--handler", "echo"])
    client = tenon.dial(server.url)
    client.sendall(b"\0\0\0\1\1" b"\0\0\1\0")
    assert receive_to_reset(client) == b"\0\0\0\1\1"
    assert "message of 256 bytes is too large: at most 100" in server.wait_for_event("close", reason="refused")["error"]


@pytest.mark.parametrize("form,message", [("json", b'{"a":1}'), ("xml", b"<a/>")])
@pytest.mark.parametrize("frame,end", [("line", b"\n"), ("crlf", b"\r\n")])
def test_blank_lines_hold_no_message(tenon, form, message, frame, end):
    """Neither an answer nor an error comes for one."""
    server, _ = served(tenon, f"tcp://127.0.0.1:0?frame={frame}&format={form}", "--handler", "echo")
    with tenon.dial(server.url) as client:
        client.sendall(b"\n \t\r\n\r\n" + message + b"\n\n" + message + b"\n\r\n  ")
        client.shutdown(socket.SHUT_WR)
        assert receive_to_end(client) == 2 * (message + end)


def test_an_empty_line_of_text_is_a_message(tenon):
    server, _ = served(tenon, "tcp://127.0.0.1:0?frame=line&format=text", "--handler", "ack")
    with tenon.dial(server.url) as client:
        client.sendall(b"\n")
        assert receive_exactly(client, 6) == b"ack: \n"


def test_json_text_sequences(tenon):
    """RFC 7464: a text that is cut short costs that one only."""
    server, url = served(tenon, "tcp://127.0.0.1:0?frame=json-seq&format=json", "--handler", "echo")
    with tenon.dial(server.url) as client:
        client.sendall(b'\x1e{"a":1}\n\x1e[2\x1e"three"\n\x1e4\n')
        replies = b"".join(receive_exactly(client, len(part)) for part in (b'\x1e{"a":1}\n', b"\x1e{"))
        assert replies.startswith(b'\x1e{"a":1}\n')
        client.shutdown(socket.SHUT_WR)
        texts = receive_to_end(client).split(b"\x1e")
        assert "error" in json.loads(b"{" + texts[0]) and [json.loads(text) for text in texts[1:]] == ["three", 4]
    assert tenon.run("send", url, "[1]", "[2]").lines == ["[1]", "[2]"]
