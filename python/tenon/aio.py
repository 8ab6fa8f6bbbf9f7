"""tenon inside asyncio, with its own loop, uvloop's, or any other that has add_reader().

    async with tenon.aio.connect("tcp://localhost:7000?frame=u32&format=json") as conn:
        await conn.send({"op": "ping"})
        async for msg in conn: ...

    async def handle(conn):
        async for msg in conn:
            await conn.send(msg)
    async with tenon.aio.serve("tcp://localhost:7000", handle) as server:
        await server.wait_closed()

The library's loop is stepped by asyncio's whenever its descriptor is readable; all of it lives in the thread of the
asyncio loop. tenon.trio is the same for trio.
"""

import asyncio
import functools
import random

from ._core import Loop, _Stream
from ._core import dial as _dial
from ._core import serve as _serve
from ._errors import Error
from ._opening import opened as _opened

_ATTRIBUTE = "_tenon_embedding"


class _Embedding:
    """The library's loop in one of asyncio's."""

    def __init__(self, around):
        self.around, self.loop, self.timer = around, Loop(), None
        self.step, self.tasks = self.loop._turn, set()
        self.descriptor = self.loop._embed(functools.partial(around.call_soon, self.turn), around)
        around.add_reader(self.descriptor, self.turn)

    def turn(self):
        """Some work, and a timer for the next."""
        delay = self.step()
        if delay is None:
            return
        when = self.around.time() + delay
        if self.timer is None or when < self.timer.when() - 0.001:
            if self.timer is not None:
                self.timer.cancel()
            self.timer = self.around.call_at(when, self.expired)

    def expired(self):
        self.timer = None
        self.turn()

    async def until_shutdown(self):
        """asyncio.run() closes its asynchronous generators in the end: that is when all connections end."""
        try:
            yield
        finally:
            self.around.remove_reader(self.descriptor)
            if self.timer is not None:
                self.timer.cancel()
            if getattr(self.around, _ATTRIBUTE, None) is self:
                delattr(self.around, _ATTRIBUTE)
            self.loop.close()


async def _embedding():
    around = asyncio.get_running_loop()
    found = getattr(around, _ATTRIBUTE, None)
    if found is None:
        found = _Embedding(around)
        setattr(around, _ATTRIBUTE, found)
        found.generator = found.until_shutdown()
        await found.generator.__anext__()
    return found


async def _changed(stream):
    """Until it has opened, has room again, or has ended."""
    future = asyncio.get_running_loop().create_future()
    stream._watch(lambda: future.done() or future.set_result(None))
    await future


class Connection(_Stream):
    """A connection whose calls are awaited. `async for msg in conn` gives all messages until the peer ends.

    Messages that nobody takes are not read from the peer, beyond 256 KiB. One task at a time waits for messages.
    """

    send = _Stream._asend

    def reply(self, message):
        """Answers the message that was taken last: on a datagram endpoint its sender."""
        return self._asend(message, self.sender)

    async def recv(self):
        """The next message. Raises ClosedError: no more come; otherwise why the connection has ended. What has not
        been taken when it is cancelled stays for the next call."""
        return await self._arecv()

    async def _room(self, message, to, again):
        await _changed(self)
        if again:
            await self._asend(message, to)
        elif not self._alive and self.error is not None:
            raise self.error
        else:
            self._hear()

    async def close(self, code=0, reason=None):
        """Closes in good order, and waits until all has been sent (at most for key drain). `code` and `reason`: what
        the Close of WebSocket says."""
        _Stream.close(self, code, reason)
        while self._alive:
            await _changed(self)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *unused):
        await self.close()


async def _open(url, messages):
    embedding = await _embedding()
    conn = _dial(url, loop=embedding.loop, messages=messages, _type=Connection)
    return await _opened(conn, _changed)


class _Ahead:
    """To be awaited, or entered with `async with`."""

    def __init__(self, begin):
        self._begin, self._made = begin, None

    def __await__(self):
        return self._begin().__await__()

    async def __aenter__(self):
        self._made = await self._begin()
        return self._made

    async def __aexit__(self, *error):
        await self._made.__aexit__(*error)


def connect(url, *, messages="auto"):
    """Dials an endpoint: `async with connect(url) as conn`, or `conn = await connect(url)`. For a time limit:
    asyncio.timeout(). Raises UrlError, NameError, ConnectionRefusedError, TlsError, ..."""
    return _Ahead(functools.partial(_open, url, messages))


async def reconnect(url, *, first=0.1, most=30.0, messages="auto"):
    """A connection, and another one each time the last has ended: `async for conn in reconnect(url): ...`.

    The body is left with `break`, or goes on to the next connection by `continue` or its end; what the last one raised
    is to be caught there: `except tenon.Error: continue`. Attempts that fail follow one another after `first` seconds,
    then twice as many each time, at most `most`, each with a random part so that many clients do not come at once. A
    bad URL is raised.
    """
    pause = first
    while True:
        try:
            conn = await _open(url, messages)
        except ValueError:
            raise
        except Error:
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, most)
            continue
        began = asyncio.get_running_loop().time()
        try:
            yield conn
        finally:
            await conn.close()
        if asyncio.get_running_loop().time() - began > pause:
            pause = first
        else:  # it has not lasted: that is a failure too
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, most)


class Server:
    """What serve() gives: a task for each connection."""

    def __init__(self, embedding, url, handler, limit, messages):
        self._handler, self._tasks, self._around = handler, set(), embedding.around
        self._server = _serve(url, loop=embedding.loop, limit=limit, messages=messages, _type=Connection)
        self._ended = embedding.around.create_future()
        self._server._on_accept(self._accept)

    @property
    def url(self):
        """Where it serves, with the real port."""
        return self._server.url

    @property
    def urls(self):
        return self._server.urls

    @property
    def count(self):
        """How many connections are served now."""
        return self._server.count

    def _accept(self):
        while (conn := self._server._take()) is not None:
            task = self._around.create_task(self._serve(conn))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if self._server.closed and not self._ended.done():
            self._ended.set_result(None)

    async def _serve(self, conn):
        try:
            await self._handler(conn)
        except asyncio.CancelledError:
            conn.abort()
            raise
        except Exception as error:
            conn.abort()
            if conn.error is None or error is not conn.error:
                self._around.call_exception_handler(
                    {"message": f"tenon.aio: the handler of {self.url} failed", "exception": error, "connection": conn})
        else:
            await conn.close()

    async def close(self, drain=5.0):
        """Stops accepting, lets the connections finish what is in flight, and cuts off what is left after `drain`
        seconds; returns when the handlers have ended."""
        self._server.close(drain)
        await self.wait_closed()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=drain)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def wait_closed(self):
        """Until close() is called and all has ended."""
        await asyncio.shield(self._ended)

    async def __aenter__(self):
        return self

    async def __aexit__(self, kind, *unused):
        await self.close(0.0 if kind else 5.0)


def serve(url, handler, *, limit=0, messages="auto"):
    """Serves an endpoint: handler(conn), a coroutine function, runs as a task for each connection, which is closed in
    good order when it returns. `async with serve(url, handler) as server`, or `server = await serve(url, handler)`.

    What a handler raises goes to the asyncio loop's exception handler, and the connection is reset; but not why its own
    connection has ended (`conn.error`), which it need not catch. Of a datagram endpoint there is one connection: recv()
    gives its messages, reply() answers the sender of the one taken last. Raises UrlError, NameError, Error (the address
    is in use, ...).
    """
    async def begin():
        return Server(await _embedding(), url, handler, limit, messages)
    return _Ahead(begin)
