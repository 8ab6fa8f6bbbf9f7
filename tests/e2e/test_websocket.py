"""WebSocket: served to and dialled from programs that nobody here wrote, and by hand where those would not break a
rule."""
import asyncio
import base64
import contextlib
import functools
import hashlib
import http.server
import json
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import threading
import time
import urllib.parse

import pytest

from harness import LIMIT, ROOT, SANITIZED, free_port, receive_exactly, receive_to_end, wait_until

websockets = pytest.importorskip("websockets")

FAILED = 1
URL = "ws://127.0.0.1:0/chat"


def port_of(server):
    return urllib.parse.urlsplit(server.url).port


def talk(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, LIMIT))


class Peer:
    """A server made of python3-websockets, in a thread of its own."""

    def __init__(self, handler, **options):
        self.loop, self.ready = asyncio.new_event_loop(), threading.Event()
        self.handler, self.options, self.port = handler, options, None
        self.thread = threading.Thread(target=self.run)

    def run(self):
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(websockets.serve(self.handler, "127.0.0.1", 0, **self.options))
        self.port = server.sockets[0].getsockname()[1]
        self.ready.set()
        self.loop.run_forever()
        server.close()
        self.loop.run_until_complete(server.wait_closed())
        self.loop.close()

    def __enter__(self):
        self.thread.start()
        assert self.ready.wait(LIMIT)
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(LIMIT)
        assert not self.thread.is_alive()


async def echo(peer, *_):
    async for message in peer:
        await peer.send(message)


# A client of somebody else's

@pytest.mark.parametrize("compression", [None, "deflate"])
def test_client(tenon, compression):
    server = tenon.serve(URL)
    assert server.url.endswith("/chat")

    async def client():
        async with websockets.connect(server.url, compression=compression, max_size=None) as peer:
            for message in ["häl\u20aco", b"\0\xff", "", b"", "x" * 125, "x" * 126, b"y" * 65536, os.urandom(700_000)]:
                await peer.send(message)
                assert await peer.recv() == message
            await peer.send(["in ", "three ", "pieces"])
            assert await peer.recv() == "in three pieces"
            await asyncio.wait_for(await peer.ping(b"hello"), LIMIT)
            await peer.close(3001, "we are done")
        return peer
    peer = talk(client())
    assert (peer.close_code, peer.close_reason) == (3001, "")


def test_many_clients(tenon):
    server = tenon.serve(URL)

    async def client(number):
        async with websockets.connect(server.url) as peer:
            for i in range(10):
                await peer.send(f"{number} {i}")
            assert [await peer.recv() for _ in range(10)] == [f"{number} {i}" for i in range(10)]

    async def all_of_them():
        await asyncio.gather(*(client(number) for number in range(50)))
    talk(all_of_them())


def test_over_tls(tenon, authority, trusted):
    server = tenon.serve(f"wss://localhost:0/chat?{authority.pair('server')}", listeners=2)
    context = ssl.create_default_context(cafile=authority.pem("ca"))

    async def client():
        async with websockets.connect(server.url, ssl=context, server_hostname="localhost") as peer:
            await peer.send("hello")
            return await peer.recv()
    assert talk(client()) == "hello"
    assert tenon.run("send", f"wss://localhost:{port_of(server)}/chat?{trusted}", "hello").lines == ["hello"]


def test_refused_over_tls(tenon, authority, trusted):
    server = tenon.serve(f"wss://localhost:0/chat?{authority.pair('server')}", listeners=2)
    result = tenon.run("send", f"wss://localhost:{port_of(server)}/other?{trusted}", "hello", status=FAILED)
    assert "404 Not Found" in result.err


def test_unix(tenon):
    tenon.serve(f"ws+unix:{tenon.folder}/s?path=/chat")

    async def client():
        async with websockets.unix_connect(f"{tenon.folder}/s", "ws://localhost/chat") as peer:
            await peer.send("hello")
            return await peer.recv()
    assert talk(client()) == "hello"


def test_kinds_and_formats(tenon):
    server = tenon.serve(URL + "?format=json&bad=close")

    async def client():
        async with websockets.connect(server.url) as peer:
            await peer.send('{"a": 1}')
            first = await peer.recv()
            await peer.send(b'{"a": 2}')
            second = await peer.recv()
            await peer.send("{")
            assert "error" in json.loads(await peer.recv())
            with pytest.raises(websockets.ConnectionClosed):
                await peer.recv()
        return first, second, peer.close_code
    first, second, code = talk(client())
    assert (first, second, code) == ('{"a": 1}', b'{"a": 2}', 1007)


def test_too_long(tenon):
    server = tenon.serve(URL + "?max=1000")

    async def client(compression):
        async with websockets.connect(server.url, compression=compression) as peer:
            await peer.send("x" * 1000)
            assert await peer.recv() == "x" * 1000
            await peer.send("x" * 1001)
            with pytest.raises(websockets.ConnectionClosed):
                await peer.recv()
        return peer.close_code
    assert talk(client(None)) == 1009
    assert talk(client("deflate")) == 1009


def test_drained(tenon):
    """A server that stops says Close to its clients, and waits for theirs."""
    server = tenon.serve(URL)

    async def client():
        async with websockets.connect(server.url) as peer:
            await peer.send("hello")
            assert await peer.recv() == "hello"
            server.signal(signal.SIGTERM)
            with pytest.raises(websockets.ConnectionClosedOK):
                await peer.recv()
        return peer.close_code, peer.close_reason
    assert talk(client()) == (1001, "the server ends")
    assert server.wait() == 0


def test_drained_in_its_handshake(tenon):
    """A request that is whole only when the server ends already."""
    server = tenon.serve(URL)

    def is_closed():
        late.sendall(b"x")  # a client that says nothing for so long would not be waited for
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port_of(server)), LIMIT).close()
            return False
        return True
    with socket.create_connection(("127.0.0.1", port_of(server)), LIMIT) as late:
        late.settimeout(LIMIT)
        late.sendall(b"GET /chat HTTP/1.1\r\nX-Padding: ")
        server.signal(signal.SIGTERM)
        wait_until(is_closed, "nobody listens any more")
        late.sendall((f"\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                      f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n").encode())
        answer = receive_to_end(late)
    assert answer.startswith(b"HTTP/1.1 503 ") and answer.endswith(b"the server ends\n"), answer
    assert server.wait() == 0


# A server of somebody else's

@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("deflate", ["on", "off"])
def test_server(tenon, compression, deflate):
    with Peer(echo, compression=compression) as peer:
        url = f"ws://127.0.0.1:{peer.port}/?deflate={deflate}"
        assert tenon.run("send", url, "one", "two", "x" * 5000).lines == ["one", "two", "x" * 5000]


def test_kind_is_sent(tenon):
    async def tell(peer, *_):
        async for message in peer:
            await peer.send(type(message).__name__)
    with Peer(tell) as peer:
        url = f"ws://127.0.0.1:{peer.port}/"
        assert tenon.run("send", url, "a").lines == ["bytes"]
        assert tenon.run("send", url + "?kind=text", "a").lines == ["str"]
        assert tenon.run("send", url + "?format=text", "a").lines == ["str"]


def test_what_is_asked_for(tenon):
    seen = {}

    async def note(peer, *_):
        head = peer.request_headers
        seen.update(path=peer.path, origin=head.get("Origin"), token=head.get("X-Token"), subprotocol=peer.subprotocol)
        await echo(peer)
    with Peer(note, subprotocols=["v1.json"]) as peer:
        url = (f"ws://127.0.0.1:{peer.port}/chat%3Froom=1?origin=https://a.example&header=X-Token:%20abc"
               "&subprotocol=v2.json,v1.json")
        assert tenon.run("send", url, "a").lines == ["a"]
    assert seen == {"path": "/chat?room=1", "origin": "https://a.example", "token": "abc", "subprotocol": "v1.json"}


def test_refused_in_words(tenon):
    """What is no WebSocket server, and what the server says to that."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tenon.folder)
    handler.log_message = lambda *_: None
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            result = tenon.run("send", f"ws://127.0.0.1:{server.server_port}/none", "a", status=None)
        finally:
            server.shutdown()
            thread.join()
    assert result.status == FAILED and "the server answers 404" in result.err


def test_server_closes_with_a_reason(tenon):
    async def close(peer, *_):
        await peer.recv()
        await peer.close(1008, "not today")
    with Peer(close) as peer:
        result = tenon.run("send", f"ws://127.0.0.1:{peer.port}/", "a", status=None)
    assert result.status == FAILED and "1008" in result.err and "not today" in result.err


def test_what_a_close_says_is_told(tenon):
    """Codes of a program's own are no error; what they say is told all the same, without what moves a cursor."""
    async def close(peer, *_):
        await peer.recv()
        await peer.close(4001, "not\x1b[2Jtoday")
    with Peer(close) as peer:
        url = f"ws://127.0.0.1:{peer.port}/"
        result = tenon.run("connect", "--no-fin", url, input=b"a\n")
        told = f"tenon: {url}: the peer ended the connection with 4001: not?[2Jtoday"
        assert result.err.startswith(told), result.err
        assert tenon.run("send", url, "a", status=FAILED).err.startswith(told + " before it replied")


# A browser

PAGE = """<!doctype html><title>WebSocket</title><script>
const seen = [], big = "x\u00e4".repeat(5592405) // 16 MiB of UTF-8
const tell = text => fetch("/told", {method: "POST", body: text})
const ws = new WebSocket("%s", ["v1.json"])
ws.binaryType = "arraybuffer"
ws.onopen = () => { ws.send("h\u00e4llo"); ws.send(new Uint8Array([0, 255])); ws.send(""); ws.send(big) }
ws.onmessage = e => {
  const is = e.data
  seen.push(typeof is == "string" ? (is == big ? "all of it" : is) : [...new Uint8Array(is)].join())
  if (seen.length == 4) ws.close(3000, "done")
}
ws.onclose = e => tell(JSON.stringify([seen, ws.protocol, ws.extensions, e.code, e.wasClean]))
</script>"""


class Pages(http.server.BaseHTTPRequestHandler):
    """Serves the one page of its server, and notes what that tells."""

    def do_GET(self):
        self.answer(self.server.page.encode() if self.path == "/" else b"")

    def do_POST(self):
        self.server.told.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.answer(b"")

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def pages():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        server.told, server.page = [], ""
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def browse(tenon, browser, server, number):
    """What the page tells in a browser."""
    before = len(server.told)
    process = tenon.peer(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                         "--disable-quic", "--no-first-run", "--disable-background-networking",
                         "--disable-component-update", "--disable-sync",
                         f"--user-data-dir={tenon.folder}/chromium{number}", "--remote-debugging-port=0",
                         f"http://127.0.0.1:{server.server_port}/", start_new_session=True)
    try:
        wait_until(lambda: len(server.told) > before or process.is_over(), lambda: process.err, LIMIT * 3)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(None)
        shutil.rmtree(tenon.folder / f"chromium{number}", ignore_errors=True)
    if len(server.told) == before:
        pytest.skip(f"chromium does not run here: {process.err[-300:]}")
    return json.loads(server.told[-1])


@pytest.mark.skipif(SANITIZED, reason="a browser takes long enough by itself")
@pytest.mark.parametrize("engine", ["auto"], indirect=True)
def test_browser(tenon, program):
    """A page of another server may connect only if it is listed."""
    browser = program("chromium")
    with pages() as server:
        page = f"http://127.0.0.1:{server.server_port}"
        keys = f"?max=32MiB&queue=32MiB&subprotocol=v1.json&origin={page}"
        server.page = PAGE % tenon.serve(URL + keys).url
        seen, protocol, extensions, code, clean = browse(tenon, browser, server, 1)
        assert seen == ["h\u00e4llo", "0,255", "", "all of it"]
        assert (protocol, code, clean) == ("v1.json", 3000, True) and "permessage-deflate" in extensions
        server.page = PAGE % tenon.serve(URL).url
        assert browse(tenon, browser, server, 2) == [[], "", "", 1006, False]


@pytest.mark.skipif(SANITIZED, reason="a browser takes long enough by itself")
@pytest.mark.parametrize("engine", ["auto"], indirect=True)
def test_page_of_the_readme(tenon, program):
    """The lines of HTML that a reader copies."""
    browser = program("chromium")
    script = re.search(r"<script>.*?</script>", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)[0]
    with pages() as server:
        keys = f"?format=json&origin=http://127.0.0.1:{server.server_port}"
        port = port_of(tenon.serve(URL + keys))
        assert "localhost:7005/chat" in script
        server.page = ("<script>const console = {log: text => fetch('/told', {method: 'POST', body: text})}</script>" +
                       script.replace("localhost:7005", f"127.0.0.1:{port}"))
        assert browse(tenon, browser, server, 1) == {"op": "ping"}


# By hand

KEY = base64.b64encode(bytes(16)).decode()


def opened(server, extra=""):
    """A socket on which the handshake has been done."""
    sock = socket.create_connection(("127.0.0.1", port_of(server)), LIMIT)
    sock.settimeout(LIMIT)
    sock.sendall((f"GET /chat HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                  f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{extra}\r\n").encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += receive_exactly(sock, 1)
    assert head.startswith(b"HTTP/1.1 101 "), head
    return sock


def frame(opcode, data=b"", fin=True):
    assert len(data) < 126
    return bytes([(0x80 if fin else 0) | opcode, 0x80 | len(data)]) + bytes(4) + data


@pytest.mark.parametrize("bad, code", [
    (b"\x81\x01a", 1002), (frame(3), 1002), (frame(0, b"a"), 1002), (frame(1, b"\xff"), 1007),
    (frame(9, b"a", fin=False), 1002), (b"\xc1\x80" + bytes(4), 1002), (frame(8, b"\x03"), 1002)])
def test_broken_rule(tenon, bad, code):
    """The peer is told by the code, and what came before is still answered."""
    server = tenon.serve(URL)
    with opened(server) as sock:
        sock.sendall(frame(1, b"before") + bad)
        assert receive_to_end(sock) == b"\x81\x06before\x88\x02" + struct.pack(">H", code)


def test_vanished_peer(tenon):
    """Asked by a ping, and closed when not even that is answered."""
    server = tenon.serve(URL + "?ping=100ms&dead=500ms")
    with opened(server) as sock:
        assert receive_exactly(sock, 2) == b"\x89\x00"
        sock.sendall(frame(10))
        assert receive_exactly(sock, 2) == b"\x89\x00"
        assert receive_to_end(sock)[:4] == b"\x88\x13\x03\xe9"


@pytest.mark.parametrize("name, taken", [("localhost", True), ("127.0.0.1", True), ("rebound.example", False)])
def test_host(tenon, name, taken):
    server = tenon.serve(URL)
    with socket.create_connection(("127.0.0.1", port_of(server)), LIMIT) as sock:
        sock.sendall((f"GET /chat HTTP/1.1\r\nHost: {name}:{port_of(server)}\r\nUpgrade: websocket\r\n"
                      f"Connection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n").encode())
        assert sock.recv(12) == (b"HTTP/1.1 101" if taken else b"HTTP/1.1 421")


def test_events(tenon):
    """What was asked for, and what both sides' Close has said."""
    server = tenon.serve(URL + "?subprotocol=v1.json", "--json", listeners=1)
    with opened(server, "Sec-WebSocket-Protocol: v1.json\r\n") as sock:
        sock.sendall(frame(8, struct.pack(">H", 4000) + b"enough"))
        assert receive_to_end(sock)[:4] == b"\x88\x02\x0f\xa0"
    wait_until(lambda: server.out.count(b'"close"') == 1, lambda: server.out)
    with opened(server):
        pass
    wait_until(lambda: server.out.count(b'"close"') == 2, lambda: server.out)
    events = [json.loads(line) for line in server.out.splitlines()]
    opens, closes = ([e for e in events if e["event"] == kind] for kind in ("open", "close"))
    assert [(e["path"], e["subprotocol"], e["deflate"]) for e in opens] == [("/chat", "v1.json", False),
                                                                            ("/chat", None, False)]
    assert [(e["peer_code"], e["peer_reason"]) for e in closes] == [(4000, "enough"), (None, None)]
    assert closes[0]["our_code"] == 4000


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("scheme", ["ws", "wss", "unix"])
def test_several_paths(tenon, authority, trusted, scheme, threads):
    """Servers at one address: each with its format, whichever of them accepts, and whatever loop."""
    port = free_port()
    keys = {"wss": f"&{authority.pair('server')}"}.get(scheme, "")

    def url(path, more):
        if scheme == "unix":
            return f"ws+unix:{tenon.folder}/s?path={path}{more}"
        return f"{scheme}://localhost:{port}{path}?max=1MiB{more}"

    tenon.serve(url("/a", f"&format=json{keys}"), url("/b", keys), "--threads", threads,
                listeners=2 if scheme == "unix" else 4)
    ca = f"&{trusted}" if scheme == "wss" else ""
    for _ in range(6):
        assert tenon.run("send", url("/a", ca), '{"a":1}').lines == ['{"a":1}']
        assert tenon.run("send", url("/b", ca), "no JSON").lines == ["no JSON"]
    assert "404" in tenon.run("send", url("/c", ca), "x", status=FAILED).err


@pytest.mark.parametrize("split", [0, 5, 44, 60])
@pytest.mark.parametrize("path, client, answer", [("/a", "192.0.2.7", b"101"), ("/b", "192.0.2.7", b"101"),
                                                  ("/b", "198.51.100.1", b"403"), ("/a", "198.51.100.1", b"101")])
def test_several_paths_behind_a_proxy(tenon, path, client, answer, split):
    """Who the client is, the PROXY header says; what it asks for, the request: in one piece or in two."""
    port = free_port()
    keys = "?proxy=accept&trust=127.0.0.1"
    server = tenon.serve(f"ws://127.0.0.1:{port}/a{keys}", f"ws://127.0.0.1:{port}/b{keys}&deny=198.51.100.0/24", "-v",
                         listeners=2)
    data = (f"PROXY TCP4 {client} 203.0.113.9 4711 80\r\nGET {path} HTTP/1.1\r\nHost: localhost\r\n"
            f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\n"
            f"Sec-WebSocket-Version: 13\r\n\r\n").encode()
    with socket.create_connection(("127.0.0.1", port), LIMIT) as sock:
        sock.settimeout(LIMIT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(data[:split])
        time.sleep(0.02 if split else 0)
        sock.sendall(data[split:])
        assert sock.recv(1000).startswith(b"HTTP/1.1 " + answer)
        if answer == b"101":
            wait_until(lambda: f"open #1 ws://{client}:4711 on" in server.out.decode(), lambda: server.out)


def test_too_many_are_told(tenon):
    server = tenon.serve(URL, "-m", 1, listeners=1)
    with opened(server), socket.create_connection(("127.0.0.1", port_of(server)), LIMIT) as second:
        second.settimeout(LIMIT)
        answer = receive_to_end(second)
        assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert answer.endswith(b"\r\n\r\ntoo many connections\n")


def test_half_a_head(tenon):
    """A client that does not go on is not waited for."""
    server = tenon.serve(URL + "?handshake=200ms")
    with socket.create_connection(("127.0.0.1", port_of(server)), LIMIT) as sock:
        sock.settimeout(LIMIT)
        sock.sendall(b"GET /chat HTTP/1.1\r\nHost: local")
        with contextlib.suppress(ConnectionResetError):
            assert receive_to_end(sock) == b""
    wait_until(lambda: "WebSocket handshake" in server.err, lambda: server.err)


# Two of our own

def test_own_ends(tenon):
    server = tenon.serve(URL)
    result = tenon.run("connect", server.url, input=b"hello\n")
    assert result.text == "hello\n" and result.err == ""
    assert tenon.run("ping", server.url, "--count", "3", "--interval", "10ms").text.count("seq=") == 3
    result = json.loads(tenon.run("bench", server.url, "--requests", "100", "--json").lines[-1])
    assert (result["messages"], result["errors"]) == (100, 0)


def test_ping(tenon, authority, trusted):
    """By the protocol's own ping, which needs no echo; with --size by messages, which do."""
    heard = []

    async def listen(peer, *_):
        async for message in peer:
            heard.append(message)
    with Peer(listen) as peer:
        url = f"ws://127.0.0.1:{peer.port}/"
        lines = tenon.run("ping", url, "--count", "3", "--interval", "10ms").lines
        assert [re.sub(r"[\d.]+ .?s$", "TIME", line) for line in lines[:3]] == [
            f"ws://127.0.0.1:{peer.port} seq={n} pong TIME" for n in (1, 2, 3)]
        assert heard == []
        flood = tenon.run("ping", url, "--flood", "--count", "200", "--timeout", f"{LIMIT}s", "--json").lines[-1]
        assert json.loads(flood)["answered"] == 200
        tenon.run("ping", url, "--count", "1", "--size", "40", "--timeout", "50ms", status=FAILED)
        wait_until(lambda: len(heard) == 1, lambda: f"one message: {heard}")
    server = tenon.serve(f"wss://localhost:0/chat?{authority.pair('server')}", listeners=2)
    url = f"wss://localhost:{port_of(server)}/chat?{trusted}"
    result = tenon.run("ping", url, "--count", "2", "--interval", "1ms")
    assert result.text.count(" pong ") == 2


def agreed(tenon, listener):
    """The socket of a WebSocket that was accepted, behind its handshake."""
    sock, head = tenon.accept(listener), b""
    while not head.endswith(b"\r\n\r\n"):
        head += receive_exactly(sock, 1)
    key = re.search(rb"Sec-WebSocket-Key: (\S+)", head)[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    sock.sendall(b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
                 base64.b64encode(hashlib.sha1(key).digest()) + b"\r\n\r\n")
    return sock


def test_ping_of_a_slow_peer(tenon):
    """While it has not answered it is not asked again: the pings that are due wait, each for the answer to the last."""
    listener = tenon.listen()
    process = tenon.start("ping", f"ws://127.0.0.1:{listener.getsockname()[1]}/", "--count", 4, "--interval", "20ms",
                          "--timeout", f"{LIMIT}s", "--json")
    sock = agreed(tenon, listener)
    for _ in range(4):
        assert receive_exactly(sock, 6)[:2] == b"\x89\x80"
        time.sleep(0.1)
        sock.sendall(b"\x8a\0")
    process.wait(0)
    *replies, told = map(json.loads, process.lines)
    assert [reply["seq"] for reply in replies] == [1, 2, 3, 4] and told["answered"] == 4


def test_ping_without_an_answer(tenon):
    """A peer that reads and says nothing."""
    listener = tenon.listen()
    process = tenon.start("ping", f"ws://127.0.0.1:{listener.getsockname()[1]}/", "--count", 3, "--interval", "20ms",
                          "--timeout", "100ms", "--json")
    assert receive_exactly(agreed(tenon, listener), 2) == b"\x89\x80"
    process.wait(FAILED)
    told = json.loads(process.lines[-1])
    assert (told["sent"], told["answered"]) == (3, 0)


def test_wrong_keys(tenon):
    for url, why in {"ws://localhost:1/?frame=line": "messages whole",
                     "ws://localhost:1/?path=chat": "begins with /",
                     "ws://localhost:1/?subprotocol=a%20b": "a word", "ws://localhost:1/?header=a": "Name: value",
                     "ws://localhost:1/?ping=2s&dead=1s": "needs time", "tcp://localhost:1?path=/a": "ws and wss",
                     "ws://localhost:1/runCase?case=1": "begins with %3F",
                     "ws://localhost:1/?header=A:%0d%0aB:%20c": "Name: value"}.items():
        result = tenon.run("send", url, "a", status=None)
        assert result.status == 2 and why in result.err, result.err
