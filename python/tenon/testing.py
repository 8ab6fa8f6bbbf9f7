"""pytest fixtures for programs that talk over networks. In a conftest.py:

    pytest_plugins = ["tenon.testing"]

    def test_client(tenon_server):
        server = tenon_server("tcp://127.0.0.1:0?frame=line", lambda conn, msg: b"hello " + msg)
        assert my_client(server.port) == ...
        assert server.received == [b"me"]

tenon_server: a server on a free port, in a thread of its own, which is stopped after the test. tenon_relay: a relay in
front of a server that delays, cuts and loses as it is told. tenon_record: the same, which writes down what passes.
The classes work without pytest as well: `with tenon.testing.Server(url, on_msg) as server`.
"""

import collections
import random
import threading

from . import Loop, dial, keeps_messages
from . import serve as _serve

_STOP_LIMIT = 10


class Server:
    """A server with callbacks in a thread of its own. `received`: all messages so far, in the order they came.

    url: where it serves, with its keys as they were given. port: its number, None where there is none. What its
    callbacks raise is raised when it is stopped.
    """

    def __init__(self, url, on_msg=None, **callbacks):
        self.received, self.errors, self._on_msg = [], [], on_msg
        self.loop = Loop()
        self.loop.on_error = lambda error, conn: self.errors.append(error)
        try:
            self.server = _serve(url, self._take, loop=self.loop, **callbacks)
        except BaseException:
            self.loop.close()
            raise
        self.url = self.server.url + url[url.index("?"):] if "?" in url else self.server.url
        port = self.server.url.rpartition(":")[2]
        self.port = int(port) if port.isdigit() else None
        self._thread = threading.Thread(target=self.loop.run, name="tenon.testing")
        self._thread.start()

    def _take(self, conn, msg):
        self.received.append(msg)
        return self._on_msg(conn, msg) if self._on_msg else None

    def stop(self):
        """Ends it at once, with its connections, and raises what a callback has raised first."""
        if self._thread is None:
            return
        self.loop.stop()
        self._thread.join(_STOP_LIMIT)
        if self._thread.is_alive():
            raise RuntimeError("tenon.testing: a callback does not return")
        self._thread = None
        self.loop.close()
        if self.errors:
            raise self.errors[0]

    def __enter__(self):
        return self

    def __exit__(self, kind, *unused):
        try:
            self.stop()
        except Exception:
            if kind is None:
                raise


class Relay(Server):
    """A relay in front of `target` (a URL), for bytes or, where the target has a frame, whole messages.

    delay: seconds by which everything is later; jitter: up to so many more, drawn for each piece, the order is kept.
    lose: the share (0 to 1) of messages that are left out; cut_after: bytes after which a connection is reset. seed:
    the same draws each time. All can be changed while it runs. `passed`: (direction, message) of all that went through,
    "up" to the target and "down" from it.
    """

    def __init__(self, target, listen="tcp://127.0.0.1:0", *, delay=0.0, jitter=0.0, lose=0.0, cut_after=None, seed=1):
        self.target, self.delay, self.jitter, self.lose, self.cut_after = target, delay, jitter, lose, cut_after
        self.passed, self._random = [], random.Random(seed)
        keys = target[target.index("?"):] if "?" in target and "?" not in listen else ""
        if lose and not keeps_messages(target):
            raise ValueError("lose: a stream of bytes has no messages that could be left out; give it a frame")
        super().__init__(listen + keys, on_open=self._open, on_end=self._end, on_close=self._close, messages="bytes")

    def _open(self, front):
        back = dial(self.target, lambda conn, msg: self._pass(front, msg, "down"), messages="bytes", loop=self.loop,
                    on_end=self._end, on_close=self._close)
        front.data, back.data = _Side(back), _Side(front)

    def _take(self, conn, msg):
        self.received.append(msg)
        self._pass(conn.data.other, msg, "up")

    def _later(self, conn, fn, *args):
        """In order, whatever the delays are: each timer does what has waited longest."""
        side = conn.data
        side.due = max(side.due, self._now() + self.delay + self._random.uniform(0, self.jitter))
        side.waiting.append((fn, args))
        self.loop.after(max(0.0, side.due - self._now()), self._do_next, side)

    @staticmethod
    def _do_next(side):
        fn, args = side.waiting.popleft()
        fn(*args)

    @staticmethod
    def _now():
        import time

        return time.monotonic()

    def _pass(self, to, msg, direction):
        if self.lose and self._random.random() < self.lose:
            return
        self._later(to, self._send, to, msg, direction)

    def _send(self, to, msg, direction):
        if to.closed:
            return
        side = to.data
        side.count += len(msg)
        if self.cut_after is not None and side.count > self.cut_after:
            to.abort()
            side.other.abort()
            return
        self.passed.append((direction, msg))
        to.send(msg)

    def _end(self, conn):
        self._later(conn.data.other, self._finish, conn.data.other)

    @staticmethod
    def _finish(conn):
        if not conn.closed:
            conn.finish()

    def _close(self, conn, error):
        other = conn.data.other
        if other.closed:
            return
        if error is None:
            self._later(other, other.close)
        else:
            other.abort()


class _Side:
    """What the relay knows of one connection: the other one, what waits to be done for it and when the last of that is
    due, how much it was sent."""

    __slots__ = ("count", "due", "other", "waiting")

    def __init__(self, other):
        self.other, self.due, self.count, self.waiting = other, 0.0, 0, collections.deque()


try:
    import pytest
except ImportError:
    pass
else:
    def _fixture(kind):
        def fixture():
            made = []

            def make(*args, **keys):
                made.append(kind(*args, **keys))
                return made[-1]
            yield make
            failures = []
            for one in reversed(made):
                try:
                    one.stop()
                except Exception as error:
                    failures.append(error)
            if failures:
                raise failures[0]
        return fixture

    tenon_server = pytest.fixture(name="tenon_server")(_fixture(Server))
    tenon_relay = pytest.fixture(name="tenon_relay")(_fixture(Relay))
    tenon_record = pytest.fixture(name="tenon_record")(_fixture(Relay))
