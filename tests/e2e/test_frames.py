"""Framed endpoints, with clients that build every frame by hand: none of our code is on their side."""
import contextlib
import fcntl
import random
import socket
import struct
import time

import pytest

from harness import (KIB, MIB, OPTIONS, SANITIZED, open_socket, receive_exactly, receive_to_end, receive_to_reset,
                     resident_bytes, running_ns)

SIOCOUTQ = 0x5411


def varint(number):
    out = bytearray()
    while number > 0x7f:
        out.append(number & 0x7f | 0x80)
        number >>= 7
    return bytes([*out, number])


def cobs(message):
    out = bytearray()
    for part in message.split(b"\0"):
        while len(part) >= 254:
            out += b"\xff" + part[:254]
            part = part[254:]
        out += bytes([len(part) + 1]) + part
    return bytes(out) + b"\0"


def uncobs(frame):
    out, at = bytearray(), 0
    while at < len(frame):
        code = frame[at]
        out += frame[at + 1:at + code]
        at += code
        if code < 255 and at < len(frame):
            out.append(0)
    return bytes(out)


def slip(message):
    return b"\xc0" + message.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0"


def unslip(frame):
    return frame.replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb")


def with_length(layout):
    return lambda message: struct.pack(layout, len(message)) + message


def split_lengths(layout):
    def split(data):
        found, at, width = [], 0, struct.calcsize(layout)
        while at < len(data):
            length, = struct.unpack_from(layout, data, at)
            at += width + length
            assert at <= len(data)
            found.append(data[at - length:at])
        return found
    return split


def split_at(end, decode=bytes, empties=True):
    def split(data):
        *found, last = data.split(end)
        assert last == b""
        return [decode(frame) for frame in found if frame or empties]
    return split


def split_varints(data):
    found, at = [], 0
    while at < len(data):
        length = shift = 0
        while True:
            byte = data[at]
            length |= (byte & 0x7f) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                break
        at += length
        found.append(data[at - length:at])
    return found


def split_netstrings(data):
    found = []
    while data:
        length, _, data = data.partition(b":")
        assert data[int(length):int(length) + 1] == b","
        found.append(data[:int(length)])
        data = data[int(length) + 1:]
    return found


# name -> to frame a message, to take a stream apart, bytes that no message holds, lengths of messages
FRAMES = {
    "line": (lambda m: m + b"\n", split_at(b"\n"), b"\n\r", range(200)),
    "crlf": (lambda m: m + b"\r\n", split_at(b"\r\n"), b"\n\r", range(200)),
    "nul": (lambda m: m + b"\0", split_at(b"\0"), b"\0", range(200)),
    "u8": (with_length(">B"), split_lengths(">B"), b"", range(200)),
    "u16": (with_length(">H"), split_lengths(">H"), b"", range(3000)),
    "u32": (with_length(">I"), split_lengths(">I"), b"", range(3000)),
    "u64": (with_length(">Q"), split_lengths(">Q"), b"", range(3000)),
    "u16le": (with_length("<H"), split_lengths("<H"), b"", range(3000)),
    "u32le": (with_length("<I"), split_lengths("<I"), b"", range(3000)),
    "u64le": (with_length("<Q"), split_lengths("<Q"), b"", range(3000)),
    "varint": (lambda m: varint(len(m)) + m, split_varints, b"", range(3000)),
    "netstring": (lambda m: b"%d:%s," % (len(m), m), split_netstrings, b"", range(3000)),
    "cobs": (cobs, split_at(b"\0", uncobs), b"", range(3000)),
    "slip": (slip, split_at(b"\xc0", unslip, empties=False), b"", range(1, 3000)),
}


def with_header(message):
    """A type, a length that counts itself and the type, a number."""
    return b"\7" + struct.pack("<I", len(message) + 7) + b"\0\0" + message


def split_headers(data):
    found = []
    while data:
        length, = struct.unpack_from("<I", data, 1)
        assert data[:1] == b"\0" and data[5:7] == b"\0\0" and length <= len(data)
        found.append(data[7:length])
        data = data[length:]
    return found


FRAMES |= {
    "head:offset=1,size=4,endian=little,header=7,adjust=-7": (with_header, split_headers, b"", range(3000)),
    "until:\\r\\n.\\r\\n": (lambda m: m + b"\r\n.\r\n", split_at(b"\r\n.\r\n"), b".", range(3000)),
    "until:%0D%0A": (lambda m: m + b"\r\n", split_at(b"\r\n"), b"\r", range(3000)),
}


def messages_of(frame, count=300):
    source = random.Random(frame)
    _, _, never, lengths = FRAMES[frame]
    special = b"\0\1\n\r\xc0\xdb\xdc\xdd\xff,:"
    found = []
    for _ in range(count):
        length = source.choice(lengths)
        message = bytes(source.choice(special) if source.random() < 0.3 else source.randrange(256)
                        for _ in range(length))
        found.append(bytes(byte for byte in message if byte not in never) or b"x")
    return found


def talk(server, data, pieces, receive=receive_to_end):
    """Sends the data cut as `pieces` says (a function of the bytes left), ends, and returns all that came back."""
    with open_socket(server.url) as client:
        at = 0
        while at < len(data):
            size = pieces(len(data) - at)
            client.sendall(data[at:at + size])
            at += size
        with contextlib.suppress(OSError):  # it may have been reset by now
            client.shutdown(socket.SHUT_WR)
        return receive(client)


def in_pieces(seed):
    source = random.Random(seed)
    return lambda left: source.randint(1, 3000)


@pytest.mark.parametrize("handler", ["echo", "ack"])
@pytest.mark.parametrize("frame", FRAMES)
def test_every_message_is_answered_in_order(tenon, frame, handler):
    put, split, _, _ = FRAMES[frame]
    server = tenon.serve(f"tcp://127.0.0.1:0?frame={frame}", options=["--handler", handler])
    messages = messages_of(frame)
    stream = b"".join(map(put, messages))
    for pieces in (in_pieces(frame), lambda left: left):
        replies = split(talk(server, stream, pieces))
        assert replies == [(b"ack: " if handler == "ack" else b"") + message for message in messages]


@pytest.mark.parametrize("frame", FRAMES)
def test_byte_by_byte(tenon, frame):
    put, split, _, _ = FRAMES[frame]
    server = tenon.serve(f"unix:{tenon.folder}/sock?frame={frame}", options=["--handler", "ack"])
    messages = [message[:20] for message in messages_of(frame, 12)]
    assert split(talk(server, b"".join(map(put, messages)), lambda left: 1)) == [b"ack: " + m for m in messages]


def test_messages_of_one_length(tenon):
    server = tenon.serve("tcp://127.0.0.1:0?frame=fixed:7")
    data = random.Random(1).randbytes(7 * 5000)
    assert talk(server, data, in_pieces(2)) == data
    assert talk(server, data + b"rest", in_pieces(3), receive_to_reset) == data


def test_a_header_that_is_kept(tenon):
    """Modbus TCP: the echo is what was sent, the ack's length is filled in; over a length beyond max it ends."""
    url = "tcp://127.0.0.1:0?frame=head:offset=4,size=2,keep=on&max=300"
    adu = b"\0\1\0\0\0\6\x11\3\0\x6b\0\3"
    assert talk(tenon.serve(url), adu * 500, in_pieces(4)) == adu * 500
    assert talk(tenon.serve(url, options=["--handler", "ack"]), adu, lambda left: left)[:6] == b"ack:\0\x0b"
    assert talk(tenon.serve(url), adu + b"\0\2\0\0\1\x27", lambda left: left, receive_to_reset) == adu


def test_a_delimiter_that_is_kept(tenon):
    server = tenon.serve("tcp://127.0.0.1:0?frame=until:%5cr%5cn%5cr%5cn,keep=on", options=["--handler", "ack"])
    head = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    assert talk(server, head * 3, in_pieces(5)) == (b"ack: " + head) * 3


def test_line_ends_become_the_servers_own(tenon):
    ends = {"line": b"a\nb\n\nc\n", "crlf": b"a\r\nb\r\n\r\nc\r\n"}
    for frame, expected in ends.items():
        server = tenon.serve(f"tcp://127.0.0.1:0?frame={frame}")
        assert talk(server, b"a\nb\r\n\nc", lambda left: left) == expected


def test_datagrams_are_messages_by_nature(tenon):
    server = tenon.serve(f"unix-seqpacket:{tenon.folder}/p", "udp://127.0.0.1:0", options=["--handler", "ack"])
    for url in server.urls:
        with open_socket(url) as client:
            for message in messages_of("u32", 50):
                client.send(message)
                assert client.recv(64 * KIB) == b"ack: " + message


# What is refused

BAD = [
    # frame, what is sent, what is still answered, what the event says
    ("line", b"one\n" + b"x" * 30 + b"\n", b"one\n", "message of 30 bytes is too large: at most 20"),
    ("u32", b"\0\0\0\3one\xff\xff\xff\xff", b"\0\0\0\3one", "message of 4294967295 bytes is too large: at most 20"),
    ("u64le", b"\3" + bytes(7) + b"one" + bytes(7) + b"\x80", b"\3" + bytes(7) + b"one", "9223372036854775808 bytes"),
    ("u16", b"\0\3one\0\3tw", b"\0\3one", "ended inside a message"),
    ("varint", b"\3one" + b"\xff" * 10, b"\3one", "frame varint: a length of more than 64 bits"),
    ("netstring", b"3:one,03:two,", b"3:one,", "leading zero"),
    ("netstring", b"3:one,3:two;", b"3:one,", "','"),
    ("cobs", b"\4one\0\7two\0", b"\4one\0", "frame cobs: a run goes beyond"),
    ("head:size=2,adjust=-2", b"\0\5one\0\1", b"\0\5one", "a length of 1, and it counts 2 bytes of the header"),
    ("until:<>", b"one<>" + b"x" * 22, b"one<>", "message of 21 bytes is too large: at most 20"),
    ("slip", b"\xc0one\xc0two\xdb\xc0", b"\xc0one\xc0", "frame slip: an escape byte"),
]


GOOD = {"head:size=2,adjust=-2": b"\0\x0cstill here", "until:<>": b"still here<>"}


@pytest.mark.parametrize("frame,sent,answered,reason", BAD, ids=lambda value: value if isinstance(value, str) else "")
def test_a_bad_frame_ends_its_connection_alone(tenon, frame, sent, answered, reason):
    server = tenon.serve(f"tcp://127.0.0.1:0?frame={frame}&max=20", options=["--json"])
    other = tenon.dial(server.url)
    assert talk(server, sent, lambda left: left, receive_to_reset) == answered
    closed = server.wait_for_event("close")
    assert reason in closed["error"] and closed["messages_in"] == 1
    good = GOOD[frame] if frame in GOOD else FRAMES[frame][0](b"still here")
    other.sendall(good)
    assert other.recv(100) == good


def test_an_ack_without_room_ends_the_connection(tenon):
    server = tenon.serve("tcp://127.0.0.1:0?frame=u8", options=["--handler", "ack"])
    sent = b"\3one" + bytes([251]) + b"x" * 251 + b"\3two"
    with open_socket(server.url) as client:
        client.sendall(sent)
        assert receive_to_end(client) == b"\x08ack: one"


def test_claims_cost_nothing(tenon):
    """A hundred peers that each promise a gigabyte and send three bytes of it."""
    server = tenon.serve("tcp://127.0.0.1:0?frame=u32&max=1GiB")
    before = resident_bytes(server.pid)
    clients = [tenon.dial(server.url) for _ in range(100)]
    for client in clients:
        client.sendall(struct.pack(">I", 1 << 30) + b"abc")
    with open_socket(server.url) as last:
        last.sendall(b"\0\0\0\2ok")
        assert last.recv(100) == b"\0\0\0\2ok"
    assert resident_bytes(server.pid) - before < 16 * MIB


ENDLESS = {
    "line": lambda size: b"a" * size + b"\n", "json": lambda size: b'["' + b"a" * size + b'"]',
    "cbor": lambda size: b"\x9a" + struct.pack(">I", size) + b"\1" * size,
    "msgpack": lambda size: b"\xdd" + struct.pack(">I", size) + b"\1" * size,
    "until:aaaaaaaaaaaaaaab": lambda size: b"a" * size + b"b", "until:%0D%0A": lambda size: b"\r" * size + b"\r\n",
    "slip": lambda size: b"\xdb\xdc" * (size // 2) + b"\xc0", "cobs": lambda size: b"\1" * size + b"\0",
}


def send_crumbs(sock, message, size):
    """Piece by piece, each once the last has been read, which a Unix socket tells its sender."""
    for at in range(0, len(message), size):
        sock.send(message[at:at + size])
        while struct.unpack("i", fcntl.ioctl(sock, SIOCOUTQ, bytes(4)))[0]:
            time.sleep(0)


@pytest.mark.skipif(SANITIZED or OPTIONS["b_coverage"],
                    reason="under a sanitizer the CPU time is not the command's own")
@pytest.mark.parametrize("frame", ENDLESS)
def test_no_byte_is_looked_at_twice(tenon, frame):
    """A message that comes in crumbs: four times the bytes are four times the work, not sixteen times."""
    server = tenon.serve(f"unix:{tenon.folder}/sock?frame={frame}")

    def cost(size):
        before = running_ns(server.pid)
        with open_socket(server.url) as client:
            send_crumbs(client, ENDLESS[frame](size), 100)
            receive_exactly(client, size // 2)
        return running_ns(server.pid) - before
    cost(10000)
    assert min(cost(400000) for _ in range(3)) < 8 * max(cost(100000) for _ in range(3))
