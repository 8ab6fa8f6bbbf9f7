"""An echo server in Python, by the module tenon or by what others use: what each manual teaches.

    python_echo.py [--uvloop] HOW PROTO PORT

HOW: callbacks, view (messages not copied), framed (a length of four bytes in front of each message), values (of JSON),
aio and framed-aio (tenon in asyncio) by the module; streams (asyncio's), framed-protocol (the same frame by asyncio's
Protocol), json-streams (the frame and JSON, by asyncio's streams and json), gevent, trio, websockets and
websockets-deflate by others. PROTO: tcp or ws.
"""

import asyncio
import json
import struct
import sys

BACKLOG = 4096


def say(port):
    print("listening", port, flush=True)


def callbacks(url, **keys):
    import tenon

    server = tenon.serve(url, lambda conn, msg: msg, **keys)
    say(server.url)
    tenon.run()


async def aio(url):
    import tenon.aio

    async def echo(conn):
        async for msg in conn:
            await conn.send(msg)
    async with tenon.aio.serve(url, echo) as server:
        say(server.url)
        await server.wait_closed()


class Framed(asyncio.Protocol):
    """What came is taken apart, and all answers are written at once: the quickest that is known to us."""

    def connection_made(self, transport):
        self.transport, self.rest = transport, b""

    def data_received(self, data):
        data, at, replies = self.rest + data, 0, []
        while len(data) - at >= 4:
            end = at + 4 + int.from_bytes(data[at:at + 4], "big")
            if end > len(data):
                break
            replies.append(self.answer(data[at + 4:end]))
            at = end
        self.rest = data[at:]
        if replies:
            self.transport.write(b"".join([len(reply).to_bytes(4, "big") + reply for reply in replies]))

    def answer(self, message):
        return message


async def framed_protocol(port):
    server = await asyncio.get_running_loop().create_server(Framed, "127.0.0.1", port, backlog=BACKLOG)
    say(server.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


async def streams(port, handle):
    server = await asyncio.start_server(handle, "127.0.0.1", port, backlog=BACKLOG)
    say(server.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


async def echo_bytes(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def echo_json(reader, writer):
    try:
        while True:
            size, = struct.unpack(">I", await reader.readexactly(4))
            text = json.dumps(json.loads(await reader.readexactly(size)), separators=(",", ":")).encode()
            writer.write(struct.pack(">I", len(text)) + text)
            await writer.drain()
    except asyncio.IncompleteReadError:
        writer.close()


def by_gevent(port):
    from gevent.server import StreamServer

    def echo(socket, address):
        while data := socket.recv(65536):
            socket.sendall(data)
    server = StreamServer(("127.0.0.1", port), echo, backlog=BACKLOG)
    server.start()
    say(server.server_port)
    server.serve_forever()


async def by_trio(port):
    import trio

    async def echo(stream):
        async for data in stream:
            await stream.send_all(data)
    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1", backlog=BACKLOG)
    say(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(echo, listeners)


async def by_websockets(port, deflate):
    import websockets
    from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

    # Every message by itself, as a server of tenon wants it
    extensions = [ServerPerMessageDeflateFactory(True, True)] if deflate else []

    async def echo(socket):
        async for message in socket:
            await socket.send(message)
    async with websockets.serve(echo, "127.0.0.1", port, backlog=BACKLOG, compression=None,
                                extensions=extensions) as server:
        say(server.sockets[0].getsockname()[1])
        await asyncio.Event().wait()


def main(words):
    if words and words[0] == "--uvloop":
        import uvloop

        uvloop.install()
        words = words[1:]
    if len(words) != 3:
        sys.exit(__doc__)
    how, proto, port = words[0], words[1], int(words[2])
    url = f"{proto}://127.0.0.1:{port}" + ("?backlog=4096" if proto == "tcp" else "?backlog=4096&deflate=off")
    if how in ("callbacks", "view"):
        callbacks(url, messages="view" if how == "view" else "auto")
    elif how == "values":
        callbacks(url + "&frame=u32&format=json")
    elif how == "framed":
        callbacks(url + "&frame=u32")
    elif how in ("aio", "framed-aio"):
        asyncio.run(aio(url + "&spin=0" + ("&frame=u32" if how == "framed-aio" else "")))
    elif how == "framed-protocol":
        asyncio.run(framed_protocol(port))
    elif how in ("streams", "json-streams"):
        asyncio.run(streams(port, echo_bytes if how == "streams" else echo_json))
    elif how == "gevent":
        by_gevent(port)
    elif how == "trio":
        import trio

        trio.run(by_trio, port)
    elif how in ("websockets", "websockets-deflate"):
        asyncio.run(by_websockets(port, how == "websockets-deflate"))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
