"""tenon: sockets for programs that depend on them.

Every endpoint is a URL: tcp://localhost:7000, udp://localhost:10000, unix:/run/app.sock, tls://, wss://, ... with what
messages are and how they are bounded as keys behind it (`?frame=u32&format=json`). Three faces of one core:

    @tenon.serve("tcp://localhost:7000?frame=u32&format=json")      # callbacks, in the library's loop
    def handle(conn, msg):
        return {"ack": msg}
    tenon.run()

    with tenon.connect("udp://localhost:10000") as c:               # blocking
        c.send(b"Hello, world!")
        print(c.recv(timeout=1))

    async with tenon.aio.connect("wss://example.org/feed") as c:    # asyncio (import tenon.aio)
        async for msg in c: ...

Times are in seconds, lengths in bytes. What goes wrong is a tenon.Error, an OSError, with code, words and position.
"""

from ._core import (Conn, Handle, Histogram, Loop, Peer, Poll, Server, Shared, Signal, Split, Timer, __version__,
                    decode, dial, encode, features, formats, frame_register, frames, keeps_messages, loop,
                    parse_duration, parse_size, schemes, set_log, socket_option, url_check, url_files, url_has_key,
                    url_kind, url_place)
from ._core import _options
from ._core import serve as _serve
from ._blocking import Connection, Listener, call, connect, listen
from ._errors import (ECERT, ECUT, EDEPTH, EDRAIN, EDUPKEY, EFORMAT, EFULL, EIDLE, ELIMIT, ENAME, EREPR, ERESOLVE,
                      ESTATE, ETLS, ETOOBIG, ETRUNC, EURL, EUTF8, BrokenPipeError, CertError, ClosedError,
                      ConnectionAbortedError, ConnectionRefusedError, ConnectionResetError, Error, FileNotFoundError,
                      FormatError, FullError, LimitError, LostError, NameError, PermissionError, StateError,
                      TimeoutError, TlsError, TooBigError, UrlError)
from ._values import UNDEFINED, Ext, Simple, Tag

_CALLBACKS = ("on_open", "on_msg", "on_drain", "on_end", "on_close", "on_bad", "on_cut")

for _class in (Error, BrokenPipeError, CertError, ClosedError, ConnectionAbortedError, ConnectionRefusedError,
               ConnectionResetError, FileNotFoundError, FormatError, FullError, LimitError, LostError, NameError,
               PermissionError, StateError, TimeoutError, TlsError, TooBigError, UrlError, Tag, Ext, Simple,
               Connection, Listener):
    _class.__module__ = "tenon"
del _class


class Option:
    """One key of a URL: key, constant (TCP_NODELAY, or None for tenon's own), level, type, applies, meaning."""

    __slots__ = ("applies", "constant", "key", "level", "meaning", "type")

    def __init__(self, key, constant, level, type, applies, meaning):
        self.key, self.constant, self.level, self.type = key, constant, level, type
        self.applies, self.meaning = applies, meaning

    def __repr__(self):
        return f"<option {self.key}: {self.meaning}>"


def options():
    """All keys that a URL can have, as a dict of Option by key."""
    return {row[0]: Option(*row) for row in _options()}


def serve(url, on_msg=None, **keys):
    """Serves an endpoint: binds, listens, and from then on calls on_msg(conn, message) for each message.

    What on_msg returns is the reply, None is none. The message is what the URL's format says (a dict, a list, ...), str
    for the text of a WebSocket, otherwise bytes; with messages='bytes' always bytes. A datagram endpoint is one
    connection, and a reply goes to the sender.

    Without a callback it is a decorator for on_msg. Returns the Server, which serves until its close(), whether or not
    it is kept; run() does the work.

    on_open(conn)
    on_end(conn): the peer has ended its direction; without it, the connection is closed once all replies are sent
    on_close(conn, error or None)
    on_drain(conn): there is room again
    on_bad(conn, bytes, error): a message that its format does not allow; what it returns is the reply
    on_cut(conn): a secured connection that may have been cut short
    on_trouble(server, error): what no connection tells, such as failed handshakes and refused connections

    limit: how many connections at a time. loop: where it lives, this thread's by default. loops: several, each to be
    run in a thread of its own (Loops of run()).

    What a callback raises goes to loop.on_error or sys.unraisablehook, and ends the connection with a reset; a datagram
    server goes on. Raises UrlError, NameError, Error (the address is in use, ...).
    """
    if on_msg is None and not any(keys.get(name) for name in _CALLBACKS):
        def decorate(function):
            return _serve(url, function, **keys)
        return decorate
    return _serve(url, on_msg, **keys)


def run(*loops):
    """Runs this thread's loop until nothing is left on it or its stop() is called.

    With loops: runs the first here and each of the others in a thread of its own; when one ends, all are stopped. What
    ends one of them with an exception is raised here.
    """
    if len(loops) < 2:
        (loops[0] if loops else loop()).run()
        return
    import threading

    failures = []

    def work(one):
        try:
            one.run()
        except BaseException as error:  # handed on
            failures.append(error)
        for other in loops:
            other.stop()
    threads = [threading.Thread(target=work, args=(one,), name=f"tenon-{n}") for n, one in enumerate(loops[1:], 1)]
    for thread in threads:
        thread.start()
    try:
        loops[0].run()
    finally:
        for one in loops[1:]:
            while not one.closed and any(thread.is_alive() for thread in threads):
                one.stop()
                for thread in threads:
                    thread.join(0.05)
        for thread in threads:
            thread.join()
        for one in loops:  # some were stopped when they had ended already
            one._stopped()
    if failures:
        raise failures[0]


def stop():
    """Stops this thread's loop."""
    loop().stop()


def after(seconds, fn, *args):
    """Calls fn(*args) once, `seconds` from now, on this thread's loop. Returns a Timer."""
    return loop().after(seconds, fn, *args)


def __getattr__(name):
    if name in ("aio", "cert", "testing"):
        import importlib

        return importlib.import_module(f"tenon.{name}")
    raise AttributeError(f"module 'tenon' has no attribute {name!r}")
