"""
Cases of a conformance suite for WebSocket, numbered by chapters as those of public suites are. Each is played from
either side of a connection against an echo: what must come back, by which code the peer must close, and who ends the
stream.
"""
import base64
import functools
import hashlib
import json
import os
import random
import select
import socket
import struct
import time
import urllib.parse
import zlib

from harness import KIB, LIMIT, MIB

MORE, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
NAMES = {TEXT: "text", BINARY: "binary", PING: "ping", PONG: "pong"}
MASK = b"\x37\xfa\x21\x3d"
FULL = bool(os.environ.get("TENON_WEBSOCKET_FULL"))  # every size, and as many messages as public suites send: an hour
MESSAGES = 1000 if FULL else 4


class Wrong(Exception):
    """The peer has not done what it must."""


def need(condition, *words):
    if not condition:
        raise Wrong(" ".join(str(word)[:300] for word in words))


def masked(data, mask=MASK):
    """Puts the mask on, or takes it off."""
    key = (mask * (len(data) // 4 + 1))[:len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(len(data), "big")


class End:
    """Our end of a connection, made by hand: `server` is our own role. `deflate`: what was agreed upon, or None."""

    def __init__(self, sock, server, deflate=None):
        self.sock, self.server, self.deflate = sock, server, deflate
        self.out, self.came = [], bytearray()
        self.events, self.close, self.ended = [], None, False
        self.kind, self.pieces, self.packed = 0, [], False
        self.poller = select.poll()
        if deflate is not None:
            own, other = ("server", "client") if server else ("client", "server")
            # no compressor has a window of 256 bytes; that of 512 looks back by 250 at most
            self.bits = max(9, int(deflate.get(f"{own}_max_window_bits", 15)))
            self.peer_bits = int(deflate.get(f"{other}_max_window_bits", 15))
            self.fresh = f"{own}_no_context_takeover" in deflate
            self.peer_fresh = f"{other}_no_context_takeover" in deflate
            self.press = self.unpress = None
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    # What we send

    def frame(self, opcode, data=b"", fin=True, rsv=0, length=None):
        head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
        flag, length = (0 if self.server else 0x80), len(data) if length is None else length
        if length < 126:
            head += bytes([flag | length])
        elif length < 65536:
            head += struct.pack(">BH", flag | 126, length)
        else:
            head += struct.pack(">BQ", flag | 127, length)
        return head + (data if self.server else MASK + masked(data))

    def frames(self, opcode, data, size, rsv=0):
        """A message in pieces of so many bytes."""
        count = max(1, -(-len(data) // size))
        return [self.frame(MORE if i else opcode, data[i * size:(i + 1) * size], i == count - 1, 0 if i else rsv)
                for i in range(count)]

    def send(self, data, chop=0):
        if chop:
            self.out += [data[at:at + chop] for at in range(0, len(data), chop)]
        else:
            self.out.append(data)

    def message(self, opcode, data, size=0, chop=0):
        rsv = 0
        if self.deflate is not None:
            if self.press is None or self.fresh:
                self.press = zlib.compressobj(wbits=-self.bits)
            data, rsv = (self.press.compress(data) + self.press.flush(zlib.Z_SYNC_FLUSH))[:-4], 4
        if size:
            self.send(b"".join(self.frames(opcode, data, size, rsv)), chop)
        else:
            self.send(self.frame(opcode, data, rsv=rsv), chop)

    # What comes

    def pump(self, until, what):
        """Sends and reads until the condition holds."""
        deadline = time.monotonic() + LIMIT
        self.poller.register(self.sock, 0)
        while not until():
            need(not self.ended, "the stream ends before", what, self.events[-3:], self.close)
            self.poller.modify(self.sock, select.POLLIN | (select.POLLOUT if self.out else 0))
            ready = self.poller.poll(1000)
            need(time.monotonic() < deadline, "no", what, self.events[-3:], self.close)
            events = ready[0][1] if ready else 0
            try:
                if events & select.POLLOUT:
                    self.push()
                if events & ~select.POLLOUT:
                    self.pull()
            except (BrokenPipeError, ConnectionResetError) as err:
                need(self.close or not self.out, "reset without a Close:", err)
                self.ended, self.out = True, []

    def push(self):
        for _ in range(64):
            if not self.out:
                return
            try:
                n = self.sock.send(self.out[0])
            except BlockingIOError:
                return
            if n < len(self.out[0]):
                self.out[0] = self.out[0][n:]
                return
            self.out.pop(0)

    def pull(self):
        data = self.sock.recv(MIB)
        self.ended |= not data
        need(not data or not self.close, "bytes behind Close:", data)
        self.came += data
        while self.parse():
            pass

    def parse(self):
        came = self.came
        if len(came) < 2:
            return False
        length, at = came[1] & 0x7f, 2
        if length > 125:
            at += 2 if length == 126 else 8
            if len(came) < at:
                return False
            length = int.from_bytes(came[2:at], "big")
        is_masked = bool(came[1] & 0x80)
        need(is_masked == self.server, "a mask where there must be none, or none where there must be one")
        mask = bytes(came[at:at + 4]) if is_masked else bytes(4)
        at += 4 if is_masked else 0
        if len(came) < at + length:
            return False
        data = bytes(memoryview(came)[at:at + length])
        self.took(came[0], masked(data, mask) if is_masked else data)
        del came[:at + length]
        return True

    def took(self, first, data):
        opcode, fin, packed = first & 15, bool(first & 0x80), bool(first & 0x40)
        need(not first & 0x30 and opcode in (0, 1, 2, 8, 9, 10), "a frame that begins with", first)
        if opcode >= CLOSE:
            need(fin and not packed and len(data) < 126, "a control frame that is none")
        if opcode == CLOSE:
            need(len(data) != 1, "half a code")
            self.close = (int.from_bytes(data[:2], "big") if data else None, data[2:].decode())
        elif opcode >= PING:
            self.events.append((NAMES[opcode], data))
        else:
            need(bool(opcode) != bool(self.kind), "a message within another, or a piece of none")
            need(not packed or (opcode and self.deflate is not None), "compression that was not agreed upon")
            if opcode:
                self.kind, self.packed = opcode, packed
            self.pieces.append(data)
            if fin:
                self.took_message()

    def took_message(self):
        data = b"".join(self.pieces)
        if self.packed:
            if self.unpress is None or self.peer_fresh:
                self.unpress = zlib.decompressobj(wbits=-self.peer_bits)
            data = self.unpress.decompress(data + b"\0\0\xff\xff")
        if self.kind == TEXT:
            data.decode()
        self.events.append((NAMES[self.kind], data))
        self.kind, self.pieces = 0, []

    # What must come

    def expects(self, *events):
        """These, in this order, and no others."""
        self.pump(lambda: len(self.events) >= len(events), f"{len(events)} answers")
        for event, wanted in zip(self.events, events):
            need(event == wanted, "not", wanted, "but", event)
        need(len(self.events) == len(events), "more than was asked for", self.events[-1:])
        self.events = []

    def ends(self):
        """A server ends the stream first. A client of ours does when the server has, or before."""
        if not self.server:
            self.pump(lambda: self.ended, "end of the stream by the server")
        need(not self.events, "a message too many", self.events)

    def closes(self, data=struct.pack(">H", 1000), codes=(1000, None), behind=b""):
        """We close: the peer answers by one of these codes."""
        self.send(self.frame(CLOSE, data) + behind)
        self.pump(lambda: self.close and not self.out, "Close")
        need(self.close[0] in codes, "Close has", self.close, "and not one of", codes)
        self.ends()

    def fails(self, *codes):
        """The peer closes, since we have broken a rule."""
        self.pump(lambda: self.close, "Close")
        need(self.close[0] in codes, "Close has", self.close, "and not one of", codes)
        self.out = [self.frame(CLOSE, struct.pack(">H", self.close[0]))]
        self.ends()


# What is sent, and what must come of it: functions of an End

def echo(opcode, data, size=0, chop=0, times=1):
    def play(end):
        for _ in range(times):
            end.message(opcode, data, size, chop)
            end.expects((NAMES[opcode], data))
        end.closes()
    return play


def pings(*payloads, chop=0):
    def play(end):
        end.send(b"".join(end.frame(PING, data) for data in payloads), chop)
        end.expects(*(("pong", data) for data in payloads))
        end.closes()
    return play


def broken(frames, code=1002, before=(), chop=0):
    """Frames, each (opcode, data, fin, rsv) from the left, that break a rule; `before`: what is answered first."""
    def play(end):
        end.send(b"".join(end.frame(*frame) for frame in frames), chop)
        end.pump(lambda: end.close, "Close")
        end.expects(*before)
        end.fails(code)
    return play


def taken(frames, events, chop=0, piecewise=False):
    """The same of frames that break none."""
    def play(end):
        for frame in frames:
            end.send(end.frame(*frame), chop)
            if piecewise:
                end.pump(lambda: not end.out, "room")
                time.sleep(0.02)
        end.expects(*events)
        end.closes()
    return play


def closed(data, codes, **more):
    return lambda end: end.closes(data, codes, **more)


def code_of(code, reason=b""):
    return struct.pack(">H", code) + reason


HELLO = b"Hello, world!"


def framing():
    sizes = [0, 125, 126, 127, 128, 65535, 65536]
    for part, opcode, fill in ((1, TEXT, b"*"), (2, BINARY, b"\xfe")):
        for i, size in enumerate(sizes):
            yield f"1.{part}.{i + 1}", echo(opcode, fill * size)
        yield f"1.{part}.8", echo(opcode, fill * 65536, chop=997)


def pinging():
    yield "2.1", pings(b"")
    yield "2.2", pings(HELLO)
    yield "2.3", pings(b"\0\xff\xfe\xfd\xfc\xfb\0\xff")
    yield "2.4", pings(b"\xfe" * 125)
    yield "2.5", broken([(PING, b"\xfe" * 126)])
    yield "2.6", pings(b"\xfe" * 125, chop=1)
    yield "2.7", taken([(PONG, b"")], [])
    yield "2.8", taken([(PONG, b"nobody asked")], [])
    yield "2.9", taken([(PONG, b"nobody asked"), (PING, b"asked")], [("pong", b"asked")])
    ten = [b"payload %d" % i for i in range(10)]
    yield "2.10", pings(*ten)
    yield "2.11", pings(*ten, chop=1)


def reserved():
    hello, said = (TEXT, HELLO), [("text", HELLO)]
    yield "3.1", broken([(TEXT, HELLO, True, 1)])
    yield "3.2", broken([hello, (TEXT, HELLO, True, 2), (PING, b"")], before=said)
    yield "3.3", broken([hello, (TEXT, HELLO, True, 3), (PING, b"")], before=said)
    yield "3.3 chopped", broken([hello, (TEXT, HELLO, True, 3), (PING, b"")], before=said, chop=7)
    yield "3.4", broken([hello, (TEXT, HELLO, True, 4), (PING, b"")], before=said, chop=1)
    yield "3.5", broken([(BINARY, b"\0\xff\xfe\xfd", True, 5)])
    yield "3.6", broken([(PING, HELLO, True, 6)])
    yield "3.7", broken([(CLOSE, code_of(1000), True, 7)])


def opcodes():
    for part, first in ((1, 3), (2, 11)):
        for i in range(5):
            bad = (first + i, HELLO if i & 1 else b"")
            frames = [bad] if i < 2 else [(TEXT, HELLO), bad, (PING, b"")]
            yield f"4.{part}.{i + 1}", broken(frames, before=[("text", HELLO)] if i > 1 else (), chop=i == 4)


def fragments():
    two, both = [(TEXT, b"fragment1", False), (MORE, b"fragment2")], ("text", b"fragment1fragment2")
    ping, pong = (PING, b"ping payload"), ("pong", b"ping payload")
    yield "5.1", broken([(PING, b"fragment1", False), (MORE, b"fragment2")])
    yield "5.2", broken([(PONG, b"fragment1", False), (MORE, b"fragment2")])
    for i, chop in enumerate((0, 3, 1)):
        yield f"5.{3 + i}", taken(two, [both], chop=chop)
        yield f"5.{6 + i}", taken([two[0], ping, two[1]], [pong, both], chop=chop)
        yield f"5.{9 + i}", broken([(MORE, HELLO), (TEXT, HELLO)], chop=chop)
        yield f"5.{12 + i}", broken([(MORE, HELLO, False), (TEXT, HELLO)], chop=chop)
    yield "5.15", broken([*two, (MORE, b"fragment3", False), (TEXT, b"fragment4")], before=[both])
    yield "5.16", broken(2 * [(MORE, b"fragment1", False), (TEXT, b"fragment2", False), (MORE, b"fragment3")])
    yield "5.17", broken(2 * [(MORE, b"fragment1"), (TEXT, b"fragment2", False), (MORE, b"fragment3")])
    yield "5.18", broken([(TEXT, b"fragment1", False), (TEXT, b"fragment2")])
    five = [(TEXT, b"1", False), (MORE, b"2", False), (PING, b"pongme 1"), (MORE, b"3", False), (MORE, b"4", False),
            (PING, b"pongme 2"), (MORE, b"5")]
    answers = [("pong", b"pongme 1"), ("pong", b"pongme 2"), ("text", b"12345")]
    yield "5.19", taken(five, answers, piecewise=True)
    yield "5.20", taken(five, answers)


GOOD = ["H\u00e4llo-\u00b5@\u00df\u00f6\u00e4\u00fc-UTF-8!", "\u03ba\u1f79\u03c3\u03bc\u03b5", "\0", "\x7f", "\x80",
        "\u07ff", "\u0800", "\ud7ff", "\ue000", "\ufffd", "\ufffe", "\uffff", "\U00010000", "\U0001fffe", "\U000fffff",
        "\U0010fffe", "\U0010ffff", "\ufeff", "\u200b\u2060", "e\u0301", "\U0001f600\U0001f601"]
BAD = [b"\x80", b"\xbf", b"\x80\xbf", bytes(range(0x80, 0xc0)), b"\xc0", b"\xdf", b"\xe0", b"\xef", b"\xf0", b"\xf7",
       b"\xf8", b"\xfb", b"\xfc", b"\xfd", b"\xfe", b"\xff", b"\xfe\xfe\xff\xff", b"\xc2 ", b"\xe0\xa0", b"\xef\xbf",
       b"\xf0\x90\x80", b"\xf4\x8f\xbf", b"\xe2\x82 ", b"\xf0\x9f\x98 ", b"\xc0\xaf", b"\xe0\x80\xaf",
       b"\xf0\x80\x80\xaf", b"\xf8\x80\x80\x80\xaf", b"\xfc\x80\x80\x80\x80\xaf", b"\xc1\xbf", b"\xe0\x9f\xbf",
       b"\xf0\x8f\xbf\xbf", b"\xf8\x87\xbf\xbf\xbf", b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80",
       b"\xed\xa0\x80", b"\xed\xad\xbf", b"\xed\xae\x80", b"\xed\xaf\xbf", b"\xed\xb0\x80", b"\xed\xbf\xbf",
       b"\xed\xa0\x80\xed\xb0\x80", b"\xed\xaf\xbf\xed\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf7\xbf\xbf\xbf",
       b"\xf8\x88\x80\x80\x80", b"\xfb\xbf\xbf\xbf\xbf", b"\xfc\x84\x80\x80\x80\x80", b"\xfd\xbf\xbf\xbf\xbf\xbf"]
LATE = "\u03ba\u1f79\u03c3\u03bc\u03b5".encode() + b"\xf4\x90\x80\x80edited"  # beyond Unicode from the second byte on


def fail_fast(first, second, frames):
    """Refused as soon as the byte is there that spoils it; neither the message's nor its frame's rest is waited for."""
    def play(end):
        if frames:
            end.send(end.frame(TEXT, first, False) + end.frame(PING, b""))
            end.expects(("pong", b""))  # so far it is fine
            end.send(end.frame(MORE, second, False))
        else:
            end.send(end.frame(TEXT, first + second, length=len(LATE)))
        end.pump(lambda: end.close, "Close")
        need(end.close[0] == 1007, "Close has", end.close)
        end.fails(1007)
    return play


def utf8():
    yield "6.1.1", echo(TEXT, b"")
    yield "6.1.2", taken([(TEXT, b"", False), (MORE, b"", False), (MORE, b"")], [("text", b"")])
    yield "6.1.3", taken([(TEXT, b"", False), (MORE, b"middle", False), (MORE, b"")], [("text", b"middle")])
    for i, text in enumerate(GOOD):
        yield f"6.2.{i} whole", echo(TEXT, text.encode())
        yield f"6.2.{i} by bytes", echo(TEXT, text.encode(), size=1)
        yield f"6.2.{i} chopped", echo(TEXT, text.encode(), chop=1)
    for i, data in enumerate(BAD):
        yield f"6.3.{i} whole", broken([(TEXT, b"before" + data)], 1007)
        pieces = [(MORE, data[j:j + 1], False) for j in range(len(data))]
        yield f"6.3.{i} by bytes", broken([(TEXT, b"", False), *pieces, (MORE, b"")], 1007)
        yield f"6.3.{i} chopped", broken([(TEXT, data)], 1007, chop=1)
    at = LATE.index(b"\xf4")
    yield "6.4.1", fail_fast(LATE[:at], LATE[at:at + 4], True)
    yield "6.4.2", fail_fast(LATE[:at + 1], LATE[at + 1:at + 2], True)
    yield "6.4.3", fail_fast(LATE[:at], LATE[at:at + 4], False)
    yield "6.4.4", fail_fast(LATE[:at + 1], LATE[at + 1:at + 2], False)


def closing():
    def hello_and_close(end):
        end.send(end.frame(TEXT, HELLO))
        end.expects(("text", HELLO))
        end.closes()

    def behind(opcode, data):
        return lambda end: end.closes(behind=end.frame(opcode, data))

    def within_a_message(end):
        end.send(end.frame(TEXT, b"fragment1", False))
        end.closes(behind=end.frame(MORE, b"fragment2"))

    def behind_much(end):
        end.send(end.frame(TEXT, b"x" * 256 * KIB) + end.frame(CLOSE, code_of(1000)) + end.frame(PING, b""))
        end.pump(lambda: end.close, "Close")
        need(end.close[0] in (1000, None), "Close has", end.close)
        end.expects(("text", b"x" * 256 * KIB))
        end.ends()

    yield "7.1.1", hello_and_close
    yield "7.1.2", behind(CLOSE, code_of(1000))
    yield "7.1.3", behind(PING, b"")
    yield "7.1.4", behind(TEXT, HELLO)
    yield "7.1.5", within_a_message
    yield "7.1.6", behind_much
    yield "7.3.1", closed(b"", (1000, None))
    yield "7.3.2", closed(b"a", (1002,))
    yield "7.3.3", closed(code_of(1000), (1000,))
    yield "7.3.4", closed(code_of(1000, b"Hello, world!"), (1000,))
    yield "7.3.5", closed(code_of(1000, b"*" * 123), (1000,))
    yield "7.3.6", closed(code_of(1000, b"*" * 124), (1002,))
    yield "7.5.1", closed(code_of(1000, LATE), (1007,))
    good = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
    for i, code in enumerate(good):
        yield f"7.7.{i + 1}", closed(code_of(code), (code,))
        yield f"7.7.{i + 1} with a reason", closed(code_of(code, "h\u00e4llo\n".encode()), (code,))
    for i, code in enumerate([0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]):
        yield f"7.9.{i + 1}", closed(code_of(code), (1002,))


def limits():
    for part, opcode, fill in ((1, TEXT, "B\u00e4s7&jh23".encode()), (2, BINARY, bytes(range(256)))):
        for i, size in enumerate([64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB, 16 * MIB]):
            data = (fill * (size // len(fill) + 1))[:size].decode(errors="ignore").encode() if part == 1 \
                else (fill * (size // len(fill)))
            yield f"9.{part}.{i + 1}", echo(opcode, data)
        for i in range(9):
            if FULL or i % 2 == 0:
                yield f"9.{part + 2}.{i + 1}", echo(opcode, b"*" * 4 * MIB, size=64 << (2 * i))
        for i in range(6):
            yield f"9.{part + 4}.{i + 1}", echo(opcode, b"*" * (MIB if FULL else MIB // 8), chop=64 << i)
        for i, size in enumerate([0, 16, 64, 256, 1024, 4096]):
            yield f"9.{part + 6}.{i + 1}", echo(opcode, b"*" * size, times=1000 if FULL else 100)


def fragmented():
    yield "10.1.1", echo(TEXT, b"*" * 65536, size=1300)


# Compression

SIZES = [(16, 0), (64, 0), (256, 0), (1024, 0), (4096, 0), (8192, 0), (16384, 0), (32768, 0), (65536, 0), (131072, 0),
         (8192, 256), (16384, 256), (32768, 256), (65536, 256), (131072, 256), (131072, 1024), (131072, 4096),
         (131072, 32768)]


@functools.lru_cache(None)
def corpus(what):
    """Some 200 KiB of it."""
    source = random.Random(7)
    words = ["".join(source.choices("aeinrstl\u00fc\u00df", k=source.randint(1, 9))) for _ in range(700)]
    if what == "text":
        return " ".join(source.choices(words, k=33000)).encode()
    if what == "json":
        rows = [{"id": i, "name": source.choice(words), "at": source.random(), "tags": source.choices(words, k=4)}
                for i in range(1800)]
        return json.dumps(rows).encode()
    if what == "picture":
        return bytes((x * y + source.randint(0, 7)) & 255 for y in range(400) for x in range(512))
    if what == "noise":
        return source.randbytes(200 * KIB)
    return b"".join(b"<p class=%d>%s</p>\n" % (i % 9, source.choice(words).encode()) for i in range(9000))


def compressed(what, size, piece):
    """Messages that follow each other in the corpus, each when the one before has come back."""
    def play(end):
        data, at = corpus(what), 0
        opcode = TEXT if data.isascii() else BINARY
        for _ in range(MESSAGES):
            message = (data[at:] + data)[:size]
            at = (at + size) % len(data)
            end.message(opcode, message, piece)
            end.expects((NAMES[opcode], message))
        end.closes()
    play.deflate = True
    return play


def compression():
    for i, what in enumerate(["text", "picture", "noise", "json", "html"]):
        for j, (size, piece) in enumerate(SIZES):
            if FULL or (i + j) % 3 == 0:
                yield f"12.{i + 1}.{j + 1}", compressed(what, size, piece)


# Offers of a client, and what a server answers to ours (its own answer to such an offer it chooses itself)
BOTH = "; client_no_context_takeover; client_max_window_bits"
OFFERS = [
    ([""], ""),
    (["; server_no_context_takeover"], "; client_no_context_takeover"),
    (["; server_max_window_bits=9"], "; client_max_window_bits=9"),
    (["; server_max_window_bits=15"], "; client_max_window_bits=15"),
    (["; server_no_context_takeover; server_max_window_bits=9"],
     "; client_no_context_takeover; client_max_window_bits=9"),
    (["; server_no_context_takeover; server_max_window_bits=15"],
     "; client_no_context_takeover; client_max_window_bits=15"),
    (["; server_no_context_takeover; server_max_window_bits=9", "; server_no_context_takeover", ""],
     "; client_no_context_takeover; client_max_window_bits=9"),
    (["; server_max_window_bits=8"], "; client_max_window_bits=8"),
    (["; server_no_context_takeover; server_max_window_bits=8"],
     "; client_no_context_takeover; client_max_window_bits=8"),
]


def parameters():
    for i, (offers, answer) in enumerate(OFFERS):
        for j, (size, piece) in enumerate(SIZES):
            if FULL or (i + j) % 3 == 0:
                play = compressed("json", size, piece)
                play.offers, play.answer = offers, answer
                yield f"13.{i + 1}.{j + 1}", play


CHAPTERS = {function.__name__: function for function in (
    framing, pinging, reserved, opcodes, fragments, utf8, closing, limits, fragmented, compression, parameters)}


# Both roles

def head_of(sock):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        need(byte, "the stream ends within", head)
        head += byte
    lines = head.decode().split("\r\n")
    fields = [line.split(": ", 1) for line in lines[1:] if line]
    return lines[0], {name.lower(): value for name, value in fields}


def params_of(extension):
    """{"server_max_window_bits": "9", ...} of one item."""
    name, *params = (part.strip() for part in extension.split(";"))
    need(name == "permessage-deflate", "the extension", name)
    return {key: value for key, _, value in (param.partition("=") for param in params)}


def play_as_client(port, play):
    """One case against a server."""
    with socket.create_connection(("127.0.0.1", port), LIMIT) as sock:
        sock.settimeout(LIMIT)
        offers = getattr(play, "offers", [""]) if getattr(play, "deflate", False) else []
        offer = ", ".join(f"permessage-deflate{BOTH}{more}" for more in offers)
        sock.sendall(("GET / HTTP/1.1\r\n" f"Host: 127.0.0.1:{port}\r\n" "Upgrade: WebSocket\r\n"
                      "Connection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n"
                      f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\nSec-WebSocket-Version: 13\r\n"
                      + (f"Sec-WebSocket-Extensions: {offer}\r\n" if offer else "") + "\r\n").encode())
        status, fields = head_of(sock)
        need(status.startswith("HTTP/1.1 101 "), status)
        need(("sec-websocket-extensions" in fields) == bool(offers), "compression:", fields)
        deflate = params_of(fields["sec-websocket-extensions"]) if offers else None
        for key, value in params_of("permessage-deflate" + offers[0]).items() if offers else ():
            need(key in deflate and int(deflate[key] or 0) <= int(value or 0), key, "was asked for:", deflate)
        play(End(sock, False, deflate))


def answer_handshake(sock, fields, play):
    """What a server of ours says to a client's request. The parameters of compression, or None."""
    accept = hashlib.sha1((fields["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    extension = None
    if getattr(play, "deflate", False):
        offer = params_of(fields.get("sec-websocket-extensions", "").split(",")[0])
        extension = "permessage-deflate" + getattr(play, "answer", "")
        need("client_max_window_bits" not in extension or "client_max_window_bits" in offer, "offered:", offer)
    sock.sendall(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n"
                  f"Sec-WebSocket-Accept: {base64.b64encode(accept).decode()}\r\n"
                  + (f"Sec-WebSocket-Extensions: {extension}\r\n" if extension else "") + "\r\n").encode())
    return params_of(extension) if extension else None


def serve_cases(listener, cases, failures):
    """Plays each case against a client that asks for them one by one, as those of public suites do."""
    played = set()
    while True:
        sock, _ = listener.accept()
        with sock:
            sock.settimeout(LIMIT)
            line, fields = head_of(sock)
            url = urllib.parse.urlsplit(line.split(" ")[1])
            number = int(dict(urllib.parse.parse_qsl(url.query)).get("case", 0))
            name, play = cases[number - 1] if url.path == "/runCase" else (url.path, None)
            try:
                end = End(sock, True, answer_handshake(sock, fields, play))
                if play:
                    played.add(name)
                    play(end)
                    continue
                if url.path == "/getCaseCount":
                    end.send(end.frame(TEXT, str(len(cases)).encode()))
                end.closes()
            except (Wrong, OSError, ValueError, IndexError) as err:
                failures.append(f"{name}: {err!r}")
        if url.path == "/updateReports":
            if len(played) != len(cases):
                failures.append(f"{len(played)} cases of {len(cases)} were played")
            return


def play_all(port, cases, failures):
    for name, play in cases:
        try:
            play_as_client(port, play)
        except (Wrong, OSError, ValueError, IndexError) as err:
            failures.append(f"{name}: {err!r}")
