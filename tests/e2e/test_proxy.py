"""proxy://: SOCKS4, 4a, 5 and HTTP CONNECT, as clients that nobody here wrote speak them; whom it lets where."""
import http.server
import json
import select
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time
import urllib.request

import pytest

from harness import LIMIT, MIB, exchange, free_port, noise, open_socket, receive_exactly, receive_to_end, wait_until

USAGE = 2
DATA = noise(1 * MIB + 17, 5)
HERE = "allow-to=127.0.0.0/8,::1"


def proxy(tenon, keys=HERE, url="proxy://127.0.0.1:0", options=("--json",), **how):
    return tenon.serve(f"{url}?{keys}" if keys else url, options=options, listeners=1, **how)


PACKAGES = b"""Package: through-a-proxy
Version: 1
Architecture: all
Filename: ./through-a-proxy.deb
Size: 1
SHA256: 0000000000000000000000000000000000000000000000000000000000000000
Description: nothing

"""


class Page(http.server.BaseHTTPRequestHandler):
    pages = {"/page": DATA, "/": DATA, "/repository/./Packages": PACKAGES}

    def do_GET(self):
        data = self.pages.get(self.path)
        self.send_response(200 if data else 404)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        self.wfile.write(data or b"")

    def log_message(self, format, *args):
        pass


@pytest.fixture
def page():
    """The URL of a page that is DATA."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://localhost:{server.server_port}/page"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def echo(tenon):
    return tenon.serve("tcp://127.0.0.1:0")


def ended(server, **members):
    return server.wait_for_event("session", **members)


def socks5(host, port, command=1, atyp=None):
    if atyp is None:
        try:
            host, atyp = socket.inet_aton(host), 1
        except OSError:
            host = (bytes([len(host)]) + host.encode()) if isinstance(host, str) else bytes([len(host)]) + host
            atyp = 3
    return b"\5\1\0" + bytes([5, command, 0, atyp]) + host + struct.pack(">H", port)


def socks4(host, port, user=b"", command=1):
    try:
        return bytes([4, command]) + struct.pack(">H", port) + socket.inet_aton(host) + user + b"\0"
    except OSError:
        return bytes([4, command]) + struct.pack(">H", port) + b"\0\0\0\1" + user + b"\0" + host.encode() + b"\0"


def connect(host, port, *fields):
    lines = [f"CONNECT {host}:{port} HTTP/1.1", f"Host: {host}:{port}", *fields, "", ""]
    return "\r\n".join(lines).encode()


def receive_head(sock):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += receive_exactly(sock, 1)
    return head


ASK = {"socks4": (lambda port: socks4("127.0.0.1", port, b"bob"), 8, b"\0\x5a"),
       "socks4a": (lambda port: socks4("localhost", port), 8, b"\0\x5a"),
       "socks5": (lambda port: socks5("localhost", port), 12, b"\5\0\5\0\0\1"),
       "http": (lambda port: connect("localhost", port), 19, b"HTTP/1.1 200")}


# What a client asks for

@pytest.mark.parametrize("protocol", ASK)
@pytest.mark.parametrize("pace", ["whole", "bytes"])
def test_protocols(tenon, echo, protocol, pace):
    """Told apart by the first byte, at once or a byte at a time; what is said ahead of the answer is not lost."""
    server = proxy(tenon)
    request, answer_len, answer = ASK[protocol][0](echo.port), *ASK[protocol][1:]
    client = tenon.dial(server.url.replace("proxy", "tcp"))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if pace == "bytes":
        for byte in request:
            client.sendall(bytes([byte]))
    else:
        client.sendall(request + b"ahead ")
    assert receive_exactly(client, answer_len).startswith(answer)
    ahead = b"ahead " if pace == "whole" else b""
    assert exchange(client, DATA, finish=True) == ahead + DATA
    client.close()
    event = ended(server, protocol=protocol)
    assert event["asked"].endswith(f":{echo.port}") and event["command"] == "connect"
    assert event["target"].endswith(f"127.0.0.1:{echo.port}")
    assert event["user"] == ("bob" if protocol == "socks4" else None)
    assert (event["bytes_in"], event["bytes_out"]) == (len(ahead + DATA),) * 2
    assert event["reason"] == "end" and event["error"] is None
    server.stop()


@pytest.mark.parametrize("option", ["--socks4", "--socks4a", "--socks5", "--socks5-hostname", "-px"])
def test_curl(tenon, page, program, option):
    server = proxy(tenon)
    where = f"127.0.0.1:{server.port}"
    how = ["--proxytunnel", "--proxy", where] if option == "-px" else [option, where]
    assert tenon.finish([program("curl"), "-sS", *how, page]).out == DATA
    refused = tenon.finish([program("curl"), "-sS", *how, "http://10.1.2.3/"], status=None)
    assert refused.status in (56, 97), refused
    event = ended(server, asked="10.1.2.3:80")
    assert event["reason"] == "denied" and event["ended_by"] == "relay" and event["target"] is None
    assert "may not be connected to" in event["error"] and "allow-to" in event["error"]


def can_connect(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def test_proxychains(tenon, echo, program):
    server = proxy(tenon)
    for kind in ("socks4", "socks5", "http"):
        config = tenon.file("chains", f"strict_chain\nproxy_dns\n[ProxyList]\n{kind} 127.0.0.1 {server.port}\n"
                            .encode())
        done = tenon.finish([program("proxychains4"), "-q", "-f", config, program("nc"), "-N", "127.0.0.1", echo.port],
                            input=b"through " + kind.encode())
        assert done.out == b"through " + kind.encode()


@pytest.mark.parametrize("version", ["4", "5", "connect"])
def test_openbsd_netcat(tenon, echo, program, version):
    """What ssh -o ProxyCommand='nc -X 5 -x ...' runs."""
    server = proxy(tenon)
    nc = program("nc")
    if b"[-X proxy_protocol]" not in subprocess.run([nc, "-h"], capture_output=True, check=False).stderr:
        pytest.skip("this nc knows no proxies")
    done = tenon.finish([nc, "-N", "-X", version, "-x", f"127.0.0.1:{server.port}", "127.0.0.1", echo.port],
                        input=b"hello")
    assert done.out == b"hello"


def test_ssh(tenon, program):
    """The client's banner and its key exchange go through: as far as a server that answers with its own banner."""
    listener = tenon.listen()
    server = proxy(tenon)
    port = listener.getsockname()[1]
    command = f"{program('connect-proxy')} -S 127.0.0.1:{server.port} 127.0.0.1 {port}"
    ssh = tenon.peer(program("ssh"), "-F", "none", "-o", f"ProxyCommand={command}", "-o", "BatchMode=yes", "-p", port,
                     "nobody@127.0.0.1")
    there = tenon.accept(listener)
    there.sendall(b"SSH-2.0-test\r\n")
    said = b""
    while len(said) < 200:
        said += there.recv(4096)
    assert said.startswith(b"SSH-2.0-OpenSSH") and b"curve25519" in said
    there.close()
    ssh.wait(255)


def test_apt(tenon, page, program):
    """apt finds a package in a repository that it reads through the proxy."""
    server = proxy(tenon)
    sources = tenon.file("sources.list", f"deb [trusted=yes] {page[:-4]}repository ./\n".encode())
    state = tenon.folder / "apt"
    for name in ("lists/partial", "cache/archives/partial"):
        (state / name).mkdir(parents=True)
    options = [f"Dir::Etc::SourceList={sources}", "Dir::Etc::SourceParts=-", f"Dir::State::Lists={state}/lists",
               f"Dir::Cache={state}/cache", "APT::Sandbox::User=root", "Acquire::Languages=none",
               f"Acquire::http::Proxy=socks5h://127.0.0.1:{server.port}"]
    options = [word for option in options for word in ("-o", option)]
    tenon.finish([program("apt-get"), *options, "update"])
    assert "through-a-proxy" in tenon.finish([program("apt-cache"), *options, "search", "through"]).text
    assert ended(server, protocol="socks5")["asked"].startswith("localhost:")


def test_python(tenon, echo):
    socks = pytest.importorskip("socks")
    users = tenon.file("users", b"# who\nalice:secret\n")
    server = proxy(tenon, f"{HERE}&users={users}")
    for kind in (socks.SOCKS5, socks.HTTP):
        sock = socks.socksocket()
        sock.set_proxy(kind, "127.0.0.1", server.port, username="alice", password="secret")
        sock.connect(("127.0.0.1", echo.port))
        sock.sendall(b"hello")
        assert sock.recv(5) == b"hello"
        sock.close()
    for protocol in ("socks5", "http"):
        assert ended(server, protocol=protocol)["user"] == "alice"


# Who may ask

def test_per_source(tenon, echo):
    """Clients of a proxy count as those of any other endpoint."""
    server = proxy(tenon, f"{HERE}&per-source=1")
    first = tenon.dial(f"tcp://127.0.0.1:{server.port}")
    first.sendall(socks5("127.0.0.1", echo.port))
    assert receive_exactly(first, 12)[3] == 0
    second = tenon.dial(f"tcp://127.0.0.1:{server.port}")
    assert receive_to_end(second) == b""
    assert server.wait_for_event("trouble", reason="limit")
    assert exchange(first, b"hello", finish=True) == b"hello"


def test_behind_another_proxy(tenon, echo):
    """The PROXY protocol stands in front: the event has the client that it tells of."""
    server = proxy(tenon, f"{HERE}&proxy=accept&trust=127.0.0.1")
    client = tenon.dial(f"tcp://127.0.0.1:{server.port}")
    client.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.8 1234 80\r\n" + connect("127.0.0.1", echo.port) + b"hello")
    assert receive_head(client).startswith(b"HTTP/1.1 200")
    assert exchange(client, b"", finish=True) == b"hello"
    assert ended(server)["client"].endswith("192.0.2.7:1234")


def test_users(tenon, page, program):
    users = tenon.file("users", b"alice:secret\nbob:b:b\n")
    server = proxy(tenon, f"{HERE}&users={users}")
    where = f"127.0.0.1:{server.port}"

    def curl(*how, status=0):
        return tenon.finish([program("curl"), "-sS", *how, page], status=status)

    for how in (["--socks5", where], ["--proxytunnel", "--proxy", where],
                ["--proxytunnel", "--proxy-anyauth", "--proxy", where]):
        assert curl(*how, "--proxy-user", "bob:b:b").out == DATA
        assert curl(*how, "--proxy-user", "alice:b:b", status=None).status in (56, 97)
        assert curl(*how, status=None).status in (56, 97)
    assert curl("--socks4", where, "--proxy-user", "alice:", status=None).status == 97
    assert {event["user"] for event in server.events if event["event"] == "session"} == {"bob"}
    assert server.wait_for_event("trouble")
    # A changed file counts from now on
    users.write_bytes(b"carol:c\n")
    server.signal(signal.SIGHUP)
    server.wait_for_text("read again")
    assert curl("--socks5", where, "--proxy-user", "carol:c").out == DATA
    assert curl("--socks5", where, "--proxy-user", "bob:b:b", status=None).status == 97


def test_wrong_password_waits(tenon, echo):
    users = tenon.file("users", b"alice:secret\n")
    server = proxy(tenon, f"{HERE}&users={users}")
    client = tenon.dial(f"tcp://127.0.0.1:{server.port}")
    start = time.monotonic()
    client.sendall(b"\5\1\2\1\5alice\5wrong" + b"\5\1\0\1\x7f\0\0\1\0\x50")
    assert receive_exactly(client, 2) == b"\5\2"
    assert receive_to_end(client) == b"\1\1"
    assert time.monotonic() - start >= 0.9
    event = server.wait_for_event("trouble")
    assert "the user or the password is wrong" in event["error"] and "secret" not in event["error"]
    # Others are served meanwhile
    assert echo.port and not [event for event in server.events if event["event"] == "session"]


# Where they may go

REFUSED = ["10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "127.0.0.1", "0.0.0.0", "224.0.0.1",
           "255.255.255.255", "100.64.0.1", "localhost", "::1", "::", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
           "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2002:a00:1::", "fe80::1", "fd00::1", "ff02::1",
           "::7f00:1"]


def test_refused_by_default(tenon):
    """Nothing is connected to, whatever it is called."""
    listener = tenon.listen(socket.AF_INET6, ("::", 0))  # of all addresses of this host
    server = proxy(tenon, "")
    port = listener.getsockname()[1]
    for host in REFUSED:
        client = tenon.dial(f"tcp://127.0.0.1:{server.port}")
        client.sendall(connect(f"[{host}]" if ":" in host else host, port))
        assert receive_head(client).startswith(b"HTTP/1.1 403 Forbidden\r\n"), host
        receive_to_end(client)
        if ":" in host:
            client = tenon.dial(f"tcp://127.0.0.1:{server.port}")
            client.sendall(socks5(socket.inet_pton(socket.AF_INET6, host), port, atyp=4))
            assert receive_to_end(client) == b"\5\0" + b"\5\2\0\1\0\0\0\0\0\0", host
    assert not select.select([listener], [], [], 0)[0]
    assert all(event["reason"] == "denied" for event in server.events if event["event"] == "session")


def test_lists(tenon, echo):
    """Exactly what is listed, but what deny-to has; in files too, which are read again."""
    listed = tenon.file("listed", b"127.0.0.1\n")
    server = proxy(tenon, f"allow-to={listed},127.0.0.4/30&deny-to=127.0.0.5&ports={echo.port},1-2")

    def status(host, port=echo.port):
        client = tenon.dial(f"tcp://127.0.0.1:{server.port}")
        client.sendall(connect(host, port))
        return int(receive_head(client)[9:12])

    assert status("127.0.0.1") == 200
    assert status("127.0.0.2") == 403
    assert status("127.0.0.4") == 502
    assert status("127.0.0.5") == 403
    assert status("8.8.8.8") == 403
    assert status("127.0.0.1", 2) == 502
    assert status("127.0.0.1", 3) == 403
    assert status("no-such-host.invalid", 3) == 403  # decided before anything is looked up
    listed.write_bytes(b"127.0.0.2\n")
    server.signal(signal.SIGHUP)
    server.wait_for_text("read again")
    assert status("127.0.0.1") == 403
    assert status("127.0.0.2") == 502


def test_dialled_keys(tenon, echo):
    """The same lists for any connection that is dialled."""
    done = tenon.run("send", f"{echo.url}?allow-to=public", "hello", status=None)
    assert done.status != 0 and "may not be connected to (keys allow-to, deny-to)" in done.err
    assert tenon.run("send", f"{echo.url}?allow-to=127.0.0.0/8", "hello").out == b"hello\n"
    assert tenon.run("send", f"{echo.url}?deny-to=127.0.0.1", "hello", status=None).status != 0


def test_itself(tenon):
    """A request to connect to the proxy itself would go round for ever."""
    server = proxy(tenon)
    client = tenon.dial(f"tcp://127.0.0.1:{server.port}")
    client.sendall(connect("127.0.0.1", server.port))
    assert receive_to_end(client).startswith(b"HTTP/1.1 403")
    assert "itself" in ended(server)["error"]


def test_outcomes(tenon):
    """Why it cannot be had, in the protocol's own codes."""
    server = proxy(tenon)
    closed = free_port()
    for request, answer in [(connect("127.0.0.1", closed), b"HTTP/1.1 502 "),
                            (connect("no-such-host.invalid", 80), b"HTTP/1.1 502 "),
                            (socks5("127.0.0.1", closed), b"\5\0\5\5\0\1"),
                            (socks5("no-such-host.invalid", 80), b"\5\0\5\4\0\1"),
                            (socks4("127.0.0.1", closed), b"\0\x5b"),
                            (socks5("127.0.0.1", 80, command=2), b"\5\0\5\7\0\1"),
                            (socks4("127.0.0.1", 80, command=2), b"\0\x5b")]:
        client = tenon.dial(f"tcp://127.0.0.1:{server.port}")
        client.sendall(request)
        assert receive_to_end(client).startswith(answer), request


# Ends

def test_ends(tenon):
    """As through a relay: what was said arrives before any end, a reset stays a reset."""
    listener = tenon.listen()
    server = proxy(tenon)

    def session():
        client = tenon.dial(f"tcp://127.0.0.1:{server.port}")
        client.sendall(socks5("127.0.0.1", listener.getsockname()[1]))
        target = tenon.accept(listener)
        assert receive_exactly(client, 12)[3] == 0
        return client, target

    client, target = session()
    client.sendall(b"question")
    client.shutdown(socket.SHUT_WR)
    assert receive_to_end(target) == b"question"
    target.sendall(DATA)
    target.close()
    assert receive_to_end(client) == DATA

    client, target = session()
    target.sendall(b"last words")
    wait_until(lambda: select.select([client], [], [], 0)[0], "they have come")
    target.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    target.close()
    assert receive_exactly(client, 10) == b"last words"
    with pytest.raises(ConnectionResetError):
        client.recv(1)

    client, target = session()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    with pytest.raises(ConnectionResetError):
        target.recv(1)

    # A client that has ended its direction before the answer
    client = tenon.dial(f"tcp://127.0.0.1:{server.port}")
    client.sendall(connect("127.0.0.1", listener.getsockname()[1]) + b"all")
    client.shutdown(socket.SHUT_WR)
    target = tenon.accept(listener)
    assert receive_to_end(target) == b"all"
    target.sendall(b"answer")
    target.close()
    assert receive_head(client).startswith(b"HTTP/1.1 200")
    assert receive_to_end(client) == b"answer"


def test_client_gone(tenon):
    """Cut at every byte, and gone: nothing is left behind."""
    server = proxy(tenon)
    for request in (socks5("a.invalid", 80), socks4("a.invalid", 80), connect("a", 80)):
        for cut in range(len(request)):
            client = open_socket(f"tcp://127.0.0.1:{server.port}")
            client.sendall(request[:cut])
            client.close()
    server.wait_for_rest()
    server.stop()


def test_silence(tenon):
    server = proxy(tenon, f"{HERE}&handshake=300ms")
    clients = [tenon.dial(f"tcp://127.0.0.1:{server.port}") for _ in range(3)]
    clients[1].sendall(b"CONNECT ")
    clients[2].sendall(b"\5\1")
    for client in clients:
        try:
            assert client.recv(1) == b""
        except ConnectionResetError:
            pass
    assert "proxy request" in server.wait_for_event("trouble")["error"]


@pytest.mark.parametrize("said,answer", [
    (b"GET http://127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"HTTP/1.1 405 "),
    (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n", b"HTTP/1.1 400 "),
    (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", b"HTTP/1.1 400 "),
    (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n", b"HTTP/1.1 400 "),
    (b"CONNECT " + b"a" * 9000, b"HTTP/1.1 414 "),
    (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 9000, b"HTTP/1.1 431 "),
    (b"\5\0", b"\5\xff"),
    (b"\5\1\0\5\1\0\3\0\0\x50", b"\5\0\5\1"),
    (b"\5\1\0\5\1\0\3\4a\0bc\0\x50", b"\5\0\5\1"),
    (b"\x16\3\1\0\x05hello", b""),
    (b"\0", b""),
])
def test_bad_requests(tenon, said, answer):
    server = proxy(tenon)
    client = tenon.dial(f"tcp://127.0.0.1:{server.port}")
    client.sendall(said)
    got = b""
    try:
        while part := client.recv(4096):
            got += part
    except ConnectionResetError:
        pass
    assert got.startswith(answer) and (answer or not got)
    assert server.wait_for_event("trouble")["error"]


# Datagrams

class Association:
    def __init__(self, tenon, server, host="0.0.0.0", port=0):
        self.control = tenon.dial(f"tcp://127.0.0.1:{server.port}")
        self.control.sendall(socks5(host, port, command=3))
        answer = receive_exactly(self.control, 12)
        assert answer[:6] == b"\5\0\5\0\0\1", answer
        self.at = (socket.inet_ntoa(answer[6:10]), struct.unpack(">H", answer[10:])[0])
        self.socket = tenon.listen(kind=socket.SOCK_DGRAM)

    def send(self, host, port, data, fragment=0, sock=None):
        header = b"\0\0" + bytes([fragment]) + socks5(host, port)[6:]
        (sock or self.socket).sendto(header + data, self.at)

    def receive(self):
        data, sender = self.socket.recvfrom(65536)
        assert sender == self.at and data[:4] == b"\0\0\0\1"
        return socket.inet_ntoa(data[4:8]), struct.unpack(">H", data[8:10])[0], data[10:]

    def hears(self, seconds=0.3):
        return bool(select.select([self.socket], [], [], seconds)[0])


def test_datagrams(tenon):
    first, second = (tenon.serve("udp://127.0.0.1:0", options=["--handler", "echo"]) for _ in range(2))
    server = proxy(tenon)
    client = Association(tenon, server)
    for host, port, data in [("127.0.0.1", first.port, b"one"), ("localhost", second.port, b"two"),
                             ("127.0.0.1", first.port, b"x" * 60000), ("127.0.0.1", second.port, b"")]:
        client.send(host, port, data)
        assert client.receive() == ("127.0.0.1", port, data)
    # Fragments, others' datagrams, what has no header, and forbidden places are dropped
    client.send("127.0.0.1", first.port, b"a fragment", fragment=1)
    stranger = tenon.listen(kind=socket.SOCK_DGRAM)
    client.send("127.0.0.1", first.port, b"a stranger's", sock=stranger)
    client.socket.sendto(b"no header", client.at)
    client.send("10.0.0.1", first.port, b"a private network's")
    client.send("a/b?c", first.port, b"no host")
    client.send("127.0.0.1", 0, b"no port")
    assert not client.hears() and not select.select([stranger], [], [], 0)[0]
    client.send("127.0.0.1", first.port, b"it goes on")
    assert client.receive()[2] == b"it goes on"
    client.control.close()
    event = ended(server, command="udp")
    assert event["messages_in"] == 6 or event["messages_in"] == 5
    assert event["messages_out"] == 5 and event["bytes_out"] == 60016 and event["lost"] >= 5
    assert event["ended_by"] == "client" and event["reason"] == "end"
    server.wait_for_rest()
    # Its socket has gone with it
    client.send("127.0.0.1", first.port, b"too late")
    assert not client.hears()


def test_datagrams_are_recorded(tenon):
    """With the headers that say where they go."""
    there = tenon.serve("udp://127.0.0.1:0", options=["--handler", "echo"])
    path = f"{tenon.folder}/r.pcapng"
    trace = f"{tenon.folder}/trace"
    server = proxy(tenon, options=["--json", "--record", path, "--trace", "json", "--trace-to", trace])
    client = Association(tenon, server)
    for data in (b"one", b"three"):
        client.send("127.0.0.1", there.port, data)
        assert client.receive()[2] == data
    client.control.close()
    ended(server, command="udp")
    server.stop()
    packets = [json.loads(line) for line in tenon.run("capture", "--read", path, "--json").lines]
    datagrams = [packet for packet in packets if packet["protocol"] == "udp"]
    assert [packet["payload"] for packet in datagrams] == [13, 13, 15, 15]
    assert datagrams[0]["source"] == "127.0.0.1:%d" % client.socket.getsockname()[1] == datagrams[1]["destination"]
    assert datagrams[0]["destination"] == "%s:%d" % client.at
    traced = [json.loads(line) for line in open(trace, encoding="utf-8")]
    assert [(line["direction"], line["bytes"]) for line in traced] == [("in", 13), ("out", 13), ("in", 15), ("out", 15)]


def test_datagrams_are_copied(tenon):
    """Without their headers, to the shadow that has datagrams; the stream has what CONNECT carries alone."""
    there = tenon.serve("udp://127.0.0.1:0", "tcp://127.0.0.1:0", options=["--handler", "echo"])
    stream, shadow = tenon.listen(), tenon.listen(kind=socket.SOCK_DGRAM)
    server = tenon.relay("proxy://127.0.0.1:0?allow-to=127.0.0.0/8", options=[
        "--json", "--tee", f"tcp://127.0.0.1:{stream.getsockname()[1]}", "--tee-replies",
        "--tee", f"udp://127.0.0.1:{shadow.getsockname()[1]}"])
    client = Association(tenon, server)
    for data in (b"one", b""):
        client.send("127.0.0.1", there.port, data)
        assert client.receive()[2] == data
        assert [shadow.recv(100), shadow.recv(100)] == [data, data]
    client.control.close()
    ended(server, command="udp")
    tenon.run("send", f"{there.urls[1]}?via=socks5://127.0.0.1:{server.port}", "x")
    assert receive_to_end(tenon.accept(stream)) == b"xx"
    server.stop()
    assert [event["copied"] for event in server.events if event["event"] == "tee"] == [2, 4]


def test_datagrams_are_shown(tenon):
    """By --admin-trace, at the connection of the client that has asked for them."""
    there, port = tenon.serve("udp://127.0.0.1:0", options=["--handler", "echo"]), free_port()
    server = tenon.relay("proxy://127.0.0.1:0?allow-to=127.0.0.0/8", options=[
        "--json", "--admin", f"http://127.0.0.1:{port}", "--admin-trace", "10"])
    client = Association(tenon, server)
    client.send("127.0.0.1", there.port, b"one")
    assert client.receive()[2] == b"one"

    def ask(what):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/connections{what}", timeout=LIMIT) as answer:
            return json.load(answer)["connections"]
    listed, = ask("")
    one, = ask(f"?id={listed['id']}")
    assert [(message["direction"], message["bytes"]) for message in one["messages"]] == [("in", 13), ("out", 13)]


def test_datagrams_of_named_port(tenon):
    """The client has said which port it sends from."""
    server = proxy(tenon)
    there = tenon.serve("udp://127.0.0.1:0", options=["--handler", "echo"])
    sock = tenon.listen(kind=socket.SOCK_DGRAM)
    client = Association(tenon, server, "127.0.0.1", sock.getsockname()[1])
    client.send("127.0.0.1", there.port, b"from another port")
    assert not client.hears()
    client.socket = sock
    client.send("127.0.0.1", there.port, b"from this one")
    assert client.receive()[2] == b"from this one"


def test_datagrams_over_ipv6(tenon):
    """The answer names the address that the client has connected to, and that the socket is at."""
    server = proxy(tenon, url="proxy://[::1]:0")
    there = tenon.serve("udp://[::1]:0", options=["--handler", "echo"])
    loopback = socket.inet_pton(socket.AF_INET6, "::1")
    control = tenon.dial(f"tcp://[::1]:{server.port}")
    control.sendall(socks5(bytes(16), 0, command=3, atyp=4))
    answer = receive_exactly(control, 24)
    assert answer[:6] == b"\5\0\5\0\0\4" and answer[6:22] == loopback, answer
    client = tenon.listen(socket.AF_INET6, ("::1", 0), kind=socket.SOCK_DGRAM)
    header = socks5(loopback, there.port, atyp=4)[6:]
    client.sendto(b"\0\0\0" + header + b"hello", ("::1", struct.unpack(">H", answer[22:])[0]))
    assert client.recvfrom(100)[0] == b"\0\0\0" + header + b"hello"


def test_datagrams_in_trouble(tenon):
    """Why a datagram has gone nowhere is told, in words that the client has no part in."""
    server = proxy(tenon, f"{HERE}&ports=80")
    client = Association(tenon, server)
    client.send("127.0.0.1", 81, b"another port's")
    assert "key ports" in server.wait_for_event("trouble", reason="denied")["error"]
    client.send("a\n\x1b[31m", 81, b"no host")
    said = server.wait_for_event("trouble", reason="error")["error"]
    assert "no host and port" in said and "\x1b" not in said


def test_many_places(tenon):
    """Each has a socket: the one that was quiet for longest makes room."""
    server = proxy(tenon)
    places = [tenon.listen(kind=socket.SOCK_DGRAM) for _ in range(100)]
    client = Association(tenon, server)
    for number, place in enumerate(places):
        client.send("127.0.0.1", place.getsockname()[1], b"%d" % number)
        data, sender = place.recvfrom(100)
        assert data == b"%d" % number
        place.sendto(data, sender)
        assert client.receive()[2] == data
    client.control.close()
    server.wait_for_rest()


def test_datagrams_are_no_idleness(tenon):
    """Key idle of the connection that they belong to: it says nothing, and is busy as long as they come and go."""
    there = tenon.serve("udp://127.0.0.1:0", options=["--handler", "echo"])
    server = proxy(tenon, f"{HERE}&idle=1s")
    for _ in range(5):
        client = Association(tenon, server)
        start = last = time.monotonic()
        longest = 0
        while time.monotonic() - start < 2:
            client.send("127.0.0.1", there.port, b"still here")
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
            if not client.hears(0.2):
                break
            client.receive()
            select.select([client.control], [], [], 0.05)
        if longest < 0.5:  # otherwise this machine has had no time for us
            break
    assert not select.select([client.control], [], [], 0)[0], "it has been cut off"
    assert client.control.recv(1) == b"", "and now it is idle"
    server.wait_for_event("session", reason="idle", command="udp")


@pytest.mark.parametrize("side", ["in", "out", "both"])
def test_datagrams_have_a_rate(tenon, side):
    """At every moment no more than a fifth of a second's worth, one more, and what the time since has added."""
    rate, size, count = 30 * 1024, 1000, 20
    rates = ["--json"] + [f"--rate-{one}={rate}" for one in (["in", "out"] if side == "both" else [side])]
    there = [tenon.serve("udp://127.0.0.1:0", options=["--handler", "echo"]) for _ in range(2)]
    server = tenon.relay(f"proxy://127.0.0.1:0?{HERE}", options=rates)
    client = Association(tenon, server)
    start = time.monotonic()
    for i in range(count):
        client.send("127.0.0.1", there[i % 2].port, b"x" * size)
    for got in range(count):
        assert len(client.receive()[2]) == size
        assert got * size <= rate / 5 + 2 * size + rate * (time.monotonic() - start), "each place may be one ahead"
    client.control.close()
    event = ended(server, command="udp")
    assert event["paused"] > 0 and event["lost"] == 0 and event["messages_out"] == count


def test_python_datagrams(tenon):
    socks = pytest.importorskip("socks")
    there = tenon.serve("udp://127.0.0.1:0", options=["--handler", "echo"])
    server = proxy(tenon)
    sock = socks.socksocket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.set_proxy(socks.SOCKS5, "127.0.0.1", server.port)
    sock.settimeout(LIMIT)
    sock.sendto(b"hello", ("127.0.0.1", there.port))
    assert sock.recvfrom(100) == (b"hello", ("127.0.0.1", there.port))
    sock.close()


# In front of it

def test_tls(tenon, page, authority, program):
    """TLS is in front of all of them. curl calls that an https proxy."""
    server = proxy(tenon, f"{HERE}&{authority.pair('server')}")
    assert server.url.startswith("tls+proxy://")
    port, there = int(server.url.rpartition(":")[2]), int(page.split(":")[2].split("/")[0])
    context = ssl.create_default_context(cafile=authority.pem("ca"))
    client = context.wrap_socket(tenon.dial(f"tcp://127.0.0.1:{port}"), server_hostname="localhost")
    client.sendall(socks5("127.0.0.1", there) + b"GET / HTTP/1.0\r\n\r\n")
    assert receive_exactly(client, 12)[3] == 0
    assert receive_to_end(client).endswith(DATA)
    client.close()
    done = tenon.finish([program("curl"), "-sS", "--proxy-cacert", authority.pem("ca"), "--proxytunnel", "--proxy",
                         f"https://localhost:{port}", page])
    assert done.out == DATA


def test_unix(tenon, echo):
    server = proxy(tenon, url=f"proxy+unix:{tenon.folder}/s")
    client = tenon.dial(f"unix:{tenon.folder}/s")
    client.sendall(connect("127.0.0.1", echo.port))
    assert receive_head(client).startswith(b"HTTP/1.1 200")
    assert exchange(client, DATA, finish=True) == DATA
    client = tenon.dial(f"unix:{tenon.folder}/s")
    client.sendall(socks5("0.0.0.0", 0, command=3))
    assert receive_to_end(client) == b"\5\0\5\1\0\1\0\0\0\0\0\0"
    server.stop()


# Life

def test_drain(tenon, echo):
    """Nobody new is let in; a session may finish, and one that is quiet is ended in good order."""
    server = proxy(tenon, options=("--json", "--drain", f"{LIMIT}s"))
    client = tenon.dial(f"tcp://127.0.0.1:{server.port}")
    client.sendall(connect("127.0.0.1", echo.port))
    receive_head(client)
    server.stopped = True
    server.signal(signal.SIGTERM)
    wait_until(lambda: not can_connect(server.port), "it listens no more")
    client.sendall(b"late")
    assert receive_to_end(client) == b"late"
    server.wait(0)
    assert ended(server)["reason"] == "end"


def test_sandbox_and_threads(tenon, echo):
    server = proxy(tenon, options=("--json", "--threads", "2"))
    for _ in range(8):
        client = tenon.dial(f"tcp://127.0.0.1:{server.port}")
        client.sendall(socks5("localhost", echo.port))
        receive_exactly(client, 12)
        assert exchange(client, b"hello", finish=True) == b"hello"
    assert "sandbox" not in server.err


@pytest.mark.parametrize("arguments,words", [
    (["proxy://127.0.0.1:0?frame=line"], "passes on"),
    (["proxy://127.0.0.1:0?ports=0"], "no port"),
    (["proxy://127.0.0.1:0?ports=80-79"], "no port"),
    (["proxy://127.0.0.1:0?allow-to=10.0.0.1/8"], "bits set"),
    (["proxy://127.0.0.1:0?users=/no/such/file"], "/no/such/file"),
    (["proxy://127.0.0.1:0?allow_to=10.0.0.0/8"], "allow-to"),
    (["tcp://127.0.0.1:0?ports=80"], "proxies"),
    (["tcp://127.0.0.1:0?allow-to=10.0.0.0/8"], "proxies"),
    (["proxy://127.0.0.1:0", "tcp://127.0.0.1:0"], "cannot be served by one command"),
    (["proxy://127.0.0.1:0", "--handler", "echo"], "own handler"),
    (["tcp://127.0.0.1:0", "--handler", "proxy"], "no proxy"),
])
def test_mistakes(tenon, arguments, words):
    done = tenon.run("serve", *arguments, status=USAGE)
    assert words in done.err


def test_mistakes_elsewhere(tenon):
    assert "served but not dialled" in tenon.run("send", "proxy://127.0.0.1:1", "x", status=USAGE).err
    done = tenon.run("relay", "proxy://127.0.0.1:0", "tcp://127.0.0.1:1", status=USAGE)
    assert "they say themselves" in done.err
    done = tenon.run("relay", "proxy://127.0.0.1:0", "--probe", "1s", status=USAGE)
    assert "has no targets" in done.err
    done = tenon.run("relay", "tcp://127.0.0.1:0", "--listen", "proxy://127.0.0.1:0", "tcp://127.0.0.1:1", status=USAGE)
    assert "they say themselves" in done.err
