"""tenon inside trio, as tenon.aio is inside asyncio.

    async with await tenon.trio.connect("tcp://localhost:7000?frame=line") as conn:
        await conn.send(b"Hello")
        async for line in conn: ...
    await tenon.trio.serve("tcp://localhost:7000", handle)       # until it is cancelled
"""

import trio

from ._core import Loop, _Stream
from ._core import dial as _dial
from ._core import serve as _serve
from ._errors import ClosedError, Error
from ._opening import opened as _opened

_embedded = trio.lowlevel.RunVar("tenon")


class _Embedding:
    """The library's loop, stepped by a system task of trio's."""

    def __init__(self):
        self.loop, self.kicked, self.scope = Loop(), False, None
        self.descriptor = self.loop._embed(self.kick, None)

    def kick(self):
        self.kicked = True
        if self.scope is not None:
            self.scope.cancel()

    async def work(self):
        delay = 0
        try:
            while True:
                if self.kicked:
                    await trio.lowlevel.checkpoint()
                else:
                    with trio.move_on_after(float("inf") if delay is None else delay) as self.scope:
                        await trio.lowlevel.wait_readable(self.descriptor)
                    self.scope = None
                self.kicked = False
                delay = self.loop._turn()
        finally:
            self.loop.close()


def _loop():
    found = _embedded.get(None)
    if found is None:
        found = _Embedding()
        _embedded.set(found)
        trio.lowlevel.spawn_system_task(found.work)
    return found.loop


async def _changed(stream):
    event = trio.Event()
    stream._watch(event.set)
    await event.wait()


class Connection(_Stream):
    """As tenon.aio.Connection."""

    async def send(self, message, to=None):
        """Sends a message; waits as long as the queue is at its mark. See tenon.aio.Connection.send()."""
        await trio.lowlevel.checkpoint()
        await self._asend(message, to)

    async def reply(self, message):
        """Answers the message that was taken last."""
        await self.send(message, self.sender)

    async def _room(self, message, to, again):
        await _changed(self)
        if again:
            await self._asend(message, to)
        elif not self._alive and self.error is not None:
            raise self.error
        else:
            self._hear()

    async def recv(self):
        """The next message. Raises ClosedError: no more come; otherwise why the connection has ended."""
        await trio.lowlevel.checkpoint()
        while not (taken := self._take()):
            event = trio.Event()
            self._read(event.set)
            try:
                await event.wait()
            finally:
                self._read(None)
        return taken[0]

    def __aiter__(self):
        return self

    async def __anext__(self):
        try:
            return await self.recv()
        except ClosedError:
            raise StopAsyncIteration from None

    async def aclose(self):
        """Closes in good order, and waits until all has been sent; when it is cancelled, at once."""
        self.close()
        try:
            while self._alive:
                await _changed(self)
        except trio.Cancelled:
            self.abort()
            raise

    async def __aenter__(self):
        return self

    async def __aexit__(self, *unused):
        await self.aclose()


async def connect(url, *, messages="auto"):
    """Dials an endpoint and waits until it is open. For a time limit: trio.fail_after()."""
    conn = _dial(url, loop=_loop(), messages=messages, _type=Connection)
    return await _opened(conn, _changed)


async def serve(url, handler, *, limit=0, messages="auto", task_status=trio.TASK_STATUS_IGNORED):
    """Serves an endpoint until it is cancelled: handler(conn) runs as a task for each connection, which is closed in
    good order when it returns. nursery.start() gives the tenon.Server. What a handler raises is raised here, but not
    why its own connection has ended (`conn.error`), which it need not catch."""
    server = _serve(url, loop=_loop(), limit=limit, messages=messages, _type=Connection)
    event = trio.Event()

    async def run(conn):
        try:
            async with conn:
                await handler(conn)
        except Error as error:
            if error is not conn.error:
                raise

    def accepted():
        event.set()
    server._on_accept(accepted)
    try:
        async with trio.open_nursery() as nursery:
            task_status.started(server)
            while True:
                while (conn := server._take()) is not None:
                    nursery.start_soon(run, conn)
                await event.wait()
                event = trio.Event()
    finally:
        server.close(0)
