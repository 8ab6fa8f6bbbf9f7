"""What a program sees of the module's types: checked by mypy --strict, never run."""
import asyncio
import contextlib

import tenon
import tenon.aio
import tenon.cert


@tenon.serve("tcp://localhost:7000?frame=u32&format=json")
def handle(conn: tenon.Conn, msg: dict[str, int]) -> dict[str, object]:
    return {"ack": msg, "peer": conn.peer}


def closed(conn: tenon.Conn, error: tenon.Error | None) -> None:
    print(conn.id, error.code if error else 0)


def blocking() -> bytes:
    server: tenon.Server = tenon.serve("udp://localhost:0", lambda conn, msg: msg, on_close=closed)
    with tenon.connect(server.url, timeout=1) as c:
        c.send(b"Hello, world!")
        first: bytes = c.recv(timeout=1)
    for conn in tenon.listen("tcp://localhost:0"):
        with contextlib.suppress(tenon.ClosedError):
            conn.send(conn.recv(), to=None)
    handle.close(drain=1.0)
    tenon.after(0.5, print, "half a second")
    return first


def beside(conn: tenon.Conn, other: tenon.Conn) -> tenon.Handle:
    histogram = tenon.Histogram()
    for low, high, count in histogram.buckets():
        print(low + high + count, histogram.quantile(0.99))
    split = tenon.Split("tcp://localhost:1?frame=line")
    split.feed(b"a line")
    print([*split], handle.counts()["msgs_in"], [path for path, use in handle.files() if use == "read"])
    conn.flow(other, lambda conn, msg, to: msg)
    conn.loop.signal(15, conn.close).keep_loop(False)
    one = conn.handle()
    one.call(print, "word")
    return one if one.send(b"x") else tenon.dial("tcp://localhost:1").handle()


async def main() -> None:
    async def echo(conn: tenon.aio.Connection) -> None:
        async for msg in conn:
            await conn.send(msg)

    async with tenon.aio.serve("tcp://localhost:0", echo) as server:
        conn = await tenon.aio.connect(server.url)
        await conn.send({"op": "ping"})
        async for again in tenon.aio.reconnect(server.url, first=0.1):
            text: str = again.peer
            print(text)
            break
        await conn.close()


asyncio.run(main())
names: list[str] = tenon.cert.read("server.pem")[0].names
