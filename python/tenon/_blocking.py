"""The blocking face: what a call waits for has happened when it returns."""

import os
import threading

from ._core import Loop, _Stream, keeps_messages, url_kind
from ._core import dial as _dial
from ._core import serve as _serve

_local = threading.local()


def _loop():
    """A loop of this thread's own, which only blocking calls run: callbacks of others are not called meanwhile."""
    try:
        loop, pid = _local.loop
    except AttributeError:
        loop = None
    if loop is None or loop.closed or pid != os.getpid():
        loop = Loop("epoll")
        _local.loop = loop, os.getpid()
    return loop


class Connection(_Stream):
    """A connection whose calls block. It belongs to the thread that made it. KeyboardInterrupt ends any wait.

    `for msg in conn` gives all messages until the peer ends. Used with `with` it is closed in the end, in good order.
    """

    recv = _Stream._recv
    __next__ = _Stream._next

    def __iter__(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is not None and not issubclass(kind, Exception):
            self.abort()
        else:
            self.close()

    def send(self, message, timeout=None, to=None):
        """Sends a message: when this returns, the kernel has taken all of it. See Conn.send() for what a message is.

        timeout: in seconds, None: none. Raises TimeoutError (a part of it may have gone), TooBigError, FormatError,
        and why the connection has ended. LostError: with key reconnect, the connection was lost meanwhile, or before
        and recv() has not told; what had not gone out is lost with it. Send it again if it may come twice.
        """
        self._send(message, timeout, to)

    def reply(self, message, timeout=None):
        """Answers the message that was taken last: on a datagram endpoint its sender."""
        self._send(message, timeout, self.sender)

    def close(self, timeout=None):
        """Closes in good order: sends what is queued, ends our direction, and waits for the end (at most for the key
        drain; at most `timeout` seconds)."""
        self._close(timeout)

    def recv_all(self, timeout=None):
        """All bytes until the peer ends. timeout: for each wait. Raises what recv() raises but for the end."""
        from ._errors import ClosedError

        parts = []
        try:
            while True:
                parts.append(self.recv(timeout))
        except ClosedError:
            return b"".join(parts)


class Listener:
    """What listen() returns: an iterator of the connections that come."""

    def __init__(self, server):
        self.server = server

    @property
    def url(self):
        """Where it listens, with the real port."""
        return self.server.url

    @property
    def urls(self):
        return self.server.urls

    def accept(self, timeout=None):
        """The next connection. Raises TimeoutError; ClosedError: the listener is closed."""
        from ._errors import ClosedError

        conn = self.server._take()
        if conn is None:
            self.server._wait(timeout)
            conn = self.server._take()
        if conn is None:
            raise ClosedError("the listener is closed")
        return conn

    def __iter__(self):
        return self

    def __next__(self):
        return self.accept()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self, drain=0.0):
        """Stops listening; connections that are open are cut off after `drain` seconds."""
        self.server.close(drain)
        self.server._wait_done(None)


def connect(url, timeout=None, messages="auto"):
    """Dials an endpoint and waits until it is open. Returns a Connection.

    timeout: in seconds, None: as long as the system tries. Raises UrlError, NameError, ConnectionRefusedError,
    TimeoutError, TlsError, ...
    """
    conn = _dial(url, loop=_loop(), messages=messages, _type=Connection)
    try:
        conn._open(timeout)
    except BaseException:
        conn.abort()
        raise
    return conn


def listen(url, limit=0, messages="auto"):
    """Serves an endpoint for blocking calls: `for conn in tenon.listen(url)`. Returns a Listener.

    A datagram endpoint is one connection from the start: recv() gives its messages, reply() answers the sender of the
    one taken last. Raises UrlError, NameError, Error (the address is in use, ...).
    """
    return Listener(_serve(url, loop=_loop(), limit=limit, messages=messages, _type=Connection))


def call(url, request, timeout=None):
    """Dials, sends one request, waits for its reply and returns it: for programs with nothing else to do.

    The reply is one datagram or message; on a stream without a frame, whose direction ends behind the request,
    everything until the peer ends. timeout: for each step, in seconds. Raises as connect(), send() and recv().
    """
    with connect(url, timeout) as conn:
        conn.send(request, timeout)
        if not keeps_messages(url) and "packets" not in url_kind(url) and conn.format is None:
            conn.finish()
            return conn.recv_all(timeout)
        return conn.recv(timeout)
