"""An echo server the way its manual teaches it, with Python's asyncio: a peer to measure beside, not a floor.

    asyncio_echo.py [--uvloop] tcp PORT | unix PATH | udp PORT        (udp replies "ack: " and the data)
"""

import asyncio
import socket
import sys

BACKLOG = 4096


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        sock = transport.get_extra_info("socket")
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data):
        self.transport.write(data)


class Ack(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, peer):
        self.transport.sendto(b"ack: " + data, peer)


async def serve(kind, where):
    loop = asyncio.get_running_loop()
    if kind == "tcp":
        server = await loop.create_server(Echo, "127.0.0.1", int(where), backlog=BACKLOG)
        where = server.sockets[0].getsockname()[1]
    elif kind == "unix":
        server = await loop.create_unix_server(Echo, where, backlog=BACKLOG)
    else:
        server, _ = await loop.create_datagram_endpoint(Ack, ("127.0.0.1", int(where)))
        where = server.get_extra_info("sockname")[1]
    print("listening", where, flush=True)
    await asyncio.Event().wait()


def main(words):
    if words and words[0] == "--uvloop":
        import uvloop

        uvloop.install()
        words = words[1:]
    if len(words) != 2 or words[0] not in ("tcp", "unix", "udp"):
        sys.exit(__doc__)
    asyncio.run(serve(*words))


if __name__ == "__main__":
    main(sys.argv[1:])
