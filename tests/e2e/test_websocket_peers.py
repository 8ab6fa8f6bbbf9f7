"""
WebSocket with what others have written, in every role that they have: text, binary, compressed, in pieces, 16 MiB,
codes of Close. Modules of npm are looked for in TENON_NODE_MODULES:
    npm install --prefix ~/.cache/tenon/npm ws undici faye-websocket websocket
"""
import asyncio
import contextlib
import json
import os
import pathlib
import socket
import threading

import pytest

from harness import KIB, LIMIT, MIB, PEERS, environment, free_port, noise, wait_until

KEYS = "?max=32MiB&queue=64MiB"
MODULES = pathlib.Path(os.environ.get("TENON_NODE_MODULES", "~/.cache/tenon/npm/node_modules")).expanduser()
BIG = noise(16 * MIB, 9)
MESSAGES = ["h\u00e4l\u20aco", "", b"\0\xff", b"", "x" * 126, "\u00e4" * 512 * KIB, noise(MIB, 3), BIG]
one_engine = pytest.mark.parametrize("engine", ["auto"], indirect=True)


def served(tenon, keys=""):
    server = tenon.serve("ws://127.0.0.1:0/" + KEYS + keys)
    return server, server.url.split("?")[0]


def talk_to(tenon, port, path="/", deflate="off", pieces=False):
    """tenon as the client of an echo, which closes with 1008 or 4008 where it is told to."""
    url = f"ws://127.0.0.1:{port}{path}{KEYS}&deflate={deflate}"
    file = tenon.file("big", BIG)
    assert tenon.run("send", url, f"@{file}", "--wait", f"{LIMIT}s").out == BIG
    texts = ["h\u00e4l\u20aco", "x" * 70000]
    assert tenon.run("send", url + "&kind=text", *texts).lines == texts
    result = tenon.run("send", url + "&kind=text", "close", status=1)
    assert "008" in result.err and "as asked" in result.err
    if pieces:
        assert tenon.run("send", url + "&kind=text", "pieces").lines == ["in three pieces"]


# npm

@pytest.fixture
def node(tenon, program):
    """node("ws", "server"): its arguments, where that module is installed."""
    def find(module, role, *more):
        argv = [program("node"), *(["--experimental-websocket", "--no-warnings"] if module == "node" else []),
                PEERS / "websocket.js", module, role, *more]
        probe = ("process.exit(typeof WebSocket == 'function' ? 0 : 1)" if module == "node" else
                 f"require('{module}')")
        if tenon.finish([*argv[:-3 - len(more)], "-e", probe], status=None, env=NODE).status:
            pytest.skip(f"{module} is not installed")
        return argv
    return find


NODE = {"NODE_PATH": str(MODULES)}


@one_engine
@pytest.mark.parametrize("module", ["ws", "undici", "faye-websocket", "websocket", "node"])
def test_client_of_npm(tenon, node, module):
    server, url = served(tenon)
    result = tenon.finish(node(module, "client", url), env=NODE)
    told = json.loads(result.lines[-1])
    assert told["right"] == [True] * (7 if module in ("websocket", "node") else 8) and told["code"] == 3001, told
    assert ("permessage-deflate" in told["extensions"]) == (module in ("ws", "undici", "node"))


@one_engine
@pytest.mark.parametrize("module, deflate", [("ws", "off"), ("ws", "on"), ("faye-websocket", "on"),
                                             ("websocket", "on")])
def test_server_of_npm(tenon, node, module, deflate):
    peer = tenon.peer(*node(module, "server"), env=NODE)
    wait_until(lambda: peer.lines or peer.is_over(), lambda: peer.err)
    talk_to(tenon, int(peer.lines[0]), deflate=deflate, pieces=module == "ws")


# Python

def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 3 * LIMIT))


@one_engine
@pytest.mark.parametrize("compress", [0, 9, 15])
def test_client_of_aiohttp(tenon, compress):
    aiohttp = pytest.importorskip("aiohttp")
    server, url = served(tenon)

    async def client():
        async with aiohttp.ClientSession() as session, \
                session.ws_connect(url, compress=compress, max_msg_size=64 * MIB) as peer:
            for message in MESSAGES:
                await (peer.send_str if isinstance(message, str) else peer.send_bytes)(message)
                answer = await peer.receive()
                assert answer.type == (aiohttp.WSMsgType.TEXT if isinstance(message, str) else aiohttp.WSMsgType.BINARY)
                assert answer.data == message
            await peer.ping(b"hello")
            await peer.close(code=3001, message=b"we are done")
            return peer.close_code
    assert run(client()) == 3001


class InThread:
    """A server of asyncio's in a thread: start() is a coroutine that returns its port and what closes it."""

    def __init__(self, start):
        self.start, self.port, self.ready = start, None, threading.Event()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        asyncio.set_event_loop(self.loop)
        self.port, close = self.loop.run_until_complete(self.start())
        self.ready.set()
        self.loop.run_forever()
        self.loop.run_until_complete(close())
        self.loop.close()

    def __enter__(self):
        self.thread.start()
        assert self.ready.wait(LIMIT)
        return self.port

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(LIMIT)
        assert not self.thread.is_alive()


@one_engine
def test_server_of_aiohttp(tenon):
    aiohttp = pytest.importorskip("aiohttp")
    web = pytest.importorskip("aiohttp.web")

    async def talk(request):
        peer = web.WebSocketResponse(compress=True, max_msg_size=64 * MIB)
        await peer.prepare(request)
        async for message in peer:
            if message.data == "close":
                await peer.close(code=1008, message=b"as asked")
            elif message.type == aiohttp.WSMsgType.TEXT:
                await peer.send_str(message.data)
            else:
                await peer.send_bytes(message.data)
        return peer

    async def start():
        app = web.Application()
        app.add_routes([web.get("/talk", talk)])
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return runner.addresses[0][1], runner.cleanup
    with InThread(start) as port:
        for deflate in ("off", "on"):
            talk_to(tenon, port, "/talk", deflate)
        assert "404" in tenon.run("send", f"ws://127.0.0.1:{port}/none", "x", status=1).err


def exchange(connection, events, sock, event, until):
    """Sends an event and reads on until one of this type: all that came."""
    sock.sendall(connection.send(event))
    came = []
    while not any(isinstance(one, until) for one in came):
        data = sock.recv(256 * KIB)
        connection.receive_data(data or None)
        for one in connection.events():
            if isinstance(one, events.Ping):
                sock.sendall(connection.send(one.response()))
            came.append(one)
        assert data or came, "the stream has ended"
    return came


@one_engine
@pytest.mark.parametrize("options", [None, {}, {"client_no_context_takeover": True, "server_no_context_takeover": True},
                                     {"client_max_window_bits": 9, "server_max_window_bits": 10}])
def test_client_of_wsproto(tenon, options):
    wsproto, events = pytest.importorskip("wsproto"), pytest.importorskip("wsproto.events")
    deflates = pytest.importorskip("wsproto.extensions")
    server, url = served(tenon)
    extensions = [] if options is None else [deflates.PerMessageDeflate(**options)]
    connection = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    with socket.create_connection(("127.0.0.1", int(url.split(":")[2].strip("/"))), LIMIT) as sock:
        sock.settimeout(LIMIT)
        request = events.Request(host="localhost", target="/", extensions=extensions)
        accepted = exchange(connection, events, sock, request, events.AcceptConnection)[0]
        assert len(accepted.extensions) == len(extensions)
        for message in MESSAGES[:-1]:
            text = isinstance(message, str)
            event = (events.TextMessage if text else events.BytesMessage)(data=message)
            got = []
            sock.sendall(connection.send(event))
            while not got or not got[-1].message_finished:
                connection.receive_data(sock.recv(256 * KIB))
                got += list(connection.events())
            assert all(isinstance(one, type(event)) for one in got)
            assert ("" if text else b"").join(one.data if text else bytes(one.data) for one in got) == message
        closed = exchange(connection, events, sock, events.CloseConnection(code=3001, reason="done"),
                          events.CloseConnection)
        assert closed[-1].code == 3001 and sock.recv(1) == b""


@one_engine
@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("bits", [0, 9])
def test_client_of_autobahn(tenon, fresh, bits):
    """With each of what it can want of compression, as its own conformance suite does."""
    websocket = pytest.importorskip("autobahn.asyncio.websocket")
    compress = pytest.importorskip("autobahn.websocket.compress")
    server, url = served(tenon)
    came, ended = [], {}

    class Client(websocket.WebSocketClientProtocol):
        def onOpen(self):
            ended["extension"] = str(self.websocket_extensions_in_use)
            for message in MESSAGES[:-1]:
                self.sendMessage(message.encode() if isinstance(message, str) else message, isinstance(message, bytes))

        def onMessage(self, payload, isBinary):
            came.append(payload if isBinary else payload.decode())
            if len(came) == len(MESSAGES) - 1:
                self.sendClose(3001, "done")

        def onClose(self, wasClean, code, reason):
            ended.update(clean=wasClean, code=code)
            asyncio.get_running_loop().call_soon(over.set)

    async def client():
        nonlocal over
        over = asyncio.Event()
        factory = websocket.WebSocketClientFactory(url)
        factory.protocol = Client
        offers = [compress.PerMessageDeflateOffer(request_no_context_takeover=fresh, request_max_window_bits=bits)]
        factory.setProtocolOptions(perMessageCompressionOffers=offers, perMessageCompressionAccept=accept)
        await asyncio.get_running_loop().create_connection(factory, "127.0.0.1", int(url.split(":")[2].strip("/")))
        await over.wait()

    def accept(response):
        return compress.PerMessageDeflateResponseAccept(response)
    over = None
    run(client())
    assert came == MESSAGES[:-1]
    assert (ended["clean"], ended["code"]) == (True, 3001) and "Deflate" in ended["extension"]


# Programs

@one_engine
def test_server_of_libwebsockets(tenon, program):
    """It shows to all what one of its clients draws."""
    port = free_port()
    tenon.peer(program("libwebsockets-test-server"), f"--port={port}", "-d", "0")
    wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, "it listens")
    for deflate in ("off", "on"):
        url = f"ws://127.0.0.1:{port}/?subprotocol=lws-mirror-protocol&kind=text&deflate={deflate}"
        assert tenon.run("send", url, "c #ff0000 1 2 3;").lines == ["c #ff0000 1 2 3;"]


@one_engine
def test_client_of_libwebsockets(tenon, program):
    url = "ws://127.0.0.1:0/?subprotocol=lws-mirror-protocol,dumb-increment-protocol"
    server = tenon.serve(url, options=["--json"])
    client = tenon.peer(program("libwebsockets-test-client"), "127.0.0.1", f"--port={server.port}", "-d", "0")
    wait_until(lambda: len([event for event in server.events if event["event"] == "open"]) == 2, lambda: server.out)
    client.kill()
    wait_until(lambda: len([event for event in server.events if event["event"] == "close"]) == 2, lambda: server.out)
    assert {event["subprotocol"] for event in server.events if event["event"] == "open"} == {
        "lws-mirror-protocol", "dumb-increment-protocol"}


@one_engine
def test_websocketd(tenon, program):
    """A program's standard input and output, on WebSocket."""
    port = free_port()
    peer = tenon.peer(program("websocketd"), f"--port={port}", "--address=127.0.0.1", "cat")
    with contextlib.suppress(ConnectionError):
        wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, lambda: peer.err)
    for deflate in ("off", "on"):
        url = f"ws://127.0.0.1:{port}/?kind=text&deflate={deflate}"
        assert tenon.run("send", url, "hello", "x" * 5000).lines == ["hello", "x" * 5000]
