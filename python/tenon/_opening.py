"""What asyncio and trio have in common: both wait by a coroutine of their own for a change of a connection."""

from ._errors import ClosedError


async def opened(conn, changed):
    """The connection, once it is open. changed(conn) waits until anything about it has changed."""
    try:
        while not conn._opened and conn._alive:
            await changed(conn)
    except BaseException:
        conn.abort()
        raise
    if not conn._opened:
        raise conn.error or ClosedError("the connection was closed before it was open")
    return conn
