"""Any call with any arguments, in any order, inside and outside of callbacks: an exception, or what it promises; never
a crash. TENON_FUZZ_SECONDS=600 for a long run; build with sanitizers to see more."""
import os
import time

import pytest

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import strategies as st

import tenon

SECONDS = float(os.environ.get("TENON_FUZZ_SECONDS", 0))
URLS = ["tcp://127.0.0.1:0", "tcp://127.0.0.1:0?frame=u32", "tcp://127.0.0.1:0?format=json", "udp://127.0.0.1:0",
        "tcp://127.0.0.1:0?frame=line&max=1KiB&queue=4KiB", "udp://127.0.0.1:0?format=cbor", "unix:@tenon-fuzz",
        "tcp://127.0.0.1:0?frame=json&format=json", "tcp://127.0.0.1:9", "nonsense", "tcp://x?frame=", ""]
# what would wait, end the test itself, or look names up for long
LEFT_OUT = {"run", "_wait", "_wait_done", "_open", "_close", "_recv", "_next", "recv", "_send", "step", "wait"}
KINDS = (tenon.Loop, tenon.Server, tenon.Conn, tenon.Connection.__mro__[1], tenon.Timer, tenon.Poll, tenon.Peer,
         tenon.Shared, tenon.Handle, tenon.Split, tenon.Histogram, tenon.Signal)
METHODS = sorted({name for kind in KINDS for name in dir(kind) if not name.startswith("__") and name not in LEFT_OUT})
FUNCTIONS = ["encode", "decode", "url_check", "url_kind", "keeps_messages", "url_has_key", "parse_size",
             "parse_duration", "serve", "dial", "Shared", "Tag", "Loop", "url_place", "url_files", "socket_option",
             "set_log", "Split", "Histogram"]

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.binary(max_size=2000) |
    st.sampled_from([b"", "json", "cbor", "msgpack", "xml", "raw", "nodelay", -1, 2**70, 1e300, [], (), {}, object(),
                     tenon.Tag(2, b"x"), tenon.Ext(-1, b"1234"), tenon.Simple(99), bytearray(5), memoryview(b"abc"),
                     *URLS]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=5)
# a value, or the number of an object that is there
arguments = st.one_of(values, st.integers(0, 30).map(lambda n: ("object", n)))
names = st.sampled_from(METHODS + FUNCTIONS + ["send", "reply", "close", "abort", "finish"] * 3 + ["serve", "dial"] * 6)
calls = st.tuples(names, st.integers(0, 30), st.lists(arguments, max_size=3), st.booleans())


class World:
    """Objects of every kind, and calls on them."""

    def __init__(self, script):
        self.script, self.depth, self.done = iter(script), 0, 0
        self.loop = tenon.Loop()
        self.loop.on_error = lambda error, conn: self.act()
        self.objects = [self.loop, tenon.Shared(b"shared"), self.loop.after(0, self.act)]
        for url in URLS[:6]:
            self.serve(url)

    def callbacks(self):
        def on_msg(conn, msg):
            self.objects += [conn, conn.sender, conn.handle()]
            self.act()
            return msg

        def other(*args):
            self.objects += args
            self.act()
            if self.done % 5 == 4:
                raise ValueError("from a callback")
        return on_msg, dict.fromkeys(("on_open", "on_drain", "on_end", "on_close", "on_bad", "on_cut"), other)

    def serve(self, url):
        on_msg, others = self.callbacks()
        server = tenon.serve(url, on_msg, **others, messages=["auto", "bytes", "view"][self.done % 3], loop=self.loop)
        self.objects.append(server)
        keys = url[url.index("?"):] if "?" in url else ""
        conn = tenon.dial(server.url + keys, on_msg, **others, loop=self.loop)
        self.objects.append(conn)
        conn.send(b"x" if "format" not in keys else {"x": 1})

    def act(self):
        """The next call of the script. Any exception will do."""
        call = next(self.script, None)
        if call is None or self.depth > 5:
            return
        self.depth += 1
        self.done += 1
        name, which, args, by_name = call
        args = [self.objects[one[1] % len(self.objects)] if isinstance(one, tuple) and len(one) == 2 and
                one[0] == "object" else one for one in args]
        try:
            if name == "serve":
                self.serve(URLS[which % len(URLS)])
            elif name == "Loop":
                tenon.Loop(*args).close()
            elif name in FUNCTIONS:
                kept = getattr(tenon, name)(*args, **({"loop": self.loop} if name == "dial" else {}))
                if isinstance(kept, (tenon.Conn, tenon.Shared, tenon.Split, tenon.Histogram)):
                    self.objects.append(kept)
            else:
                thing = self.objects[which % len(self.objects)]
                attribute = getattr(thing, name)
                if callable(attribute) and not (isinstance(thing, tenon.Loop) and name == "close" and by_name):
                    kept = attribute(*args)
                    if isinstance(kept, (tenon.Handle, tenon.Signal, tenon.Split)):
                        self.objects.append(kept)
                elif not callable(attribute) and by_name:
                    setattr(thing, name, args[0])
        except Exception:
            pass
        self.depth -= 1

    def play(self):
        for _ in range(60):
            self.act()
            try:
                if not self.loop.step(0):
                    break
            except Exception:
                break
        for thing in self.objects:
            repr(thing)
        tenon.set_log(None)
        self.loop.close()


@hypothesis.given(st.lists(calls, min_size=1, max_size=40))
@hypothesis.settings(max_examples=60, deadline=None, database=None, derandomize=not SECONDS,
                     suppress_health_check=list(hypothesis.HealthCheck))
def one_script(script):
    World(script).play()


def test_any_call():
    until = time.monotonic() + SECONDS
    one_script()
    while time.monotonic() < until:
        one_script()


@hypothesis.given(st.sampled_from(["json", "cbor", "msgpack", "xml"]), values)
@hypothesis.settings(max_examples=300, deadline=None, database=None, derandomize=True,
                     suppress_health_check=list(hypothesis.HealthCheck))
def test_values_come_back(form, value):
    """What a format can express is read as it was written; nothing else than these exceptions says that it cannot."""
    try:
        data = tenon.encode(form, value)
    except (tenon.FormatError, TypeError, ValueError, OverflowError):
        return
    for _ in range(2):  # a time may become text, once
        again = tenon.decode(form, data)
        data = tenon.encode(form, again)
    assert tenon.decode(form, data) == again or "nan" in repr(again)


@hypothesis.given(st.sampled_from(["json", "cbor", "msgpack", "xml", "text", "raw"]), st.binary(max_size=60))
@hypothesis.settings(max_examples=300, deadline=None, database=None, derandomize=True)
def test_any_bytes(form, data):
    try:
        value = tenon.decode(form, data)
    except tenon.FormatError as error:
        assert error.position is None or 0 <= error.position <= len(data)
    else:
        tenon.decode(form, tenon.encode(form, value))
