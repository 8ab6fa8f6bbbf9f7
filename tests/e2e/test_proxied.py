"""The PROXY protocol and lists of addresses, with peers that others wrote: haproxy, nginx, curl, dnsdist."""
import contextlib
import os
import signal
import socket
import ssl
import struct

import pytest

from harness import BUILD, LIMIT, free_port, receive_to_end, wait_until

CLIENT = "127.0.0.5"
MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"


def dial_as_client(tenon, port, address=CLIENT):
    """A connection from another address than all others have."""
    sock = tenon.cleanups.enter_context(contextlib.closing(socket.socket()))
    sock.settimeout(LIMIT)
    sock.bind((address, 0))
    wait_until(lambda: sock.connect_ex(("127.0.0.1", port)) == 0, f"somebody listens at {port}")
    return sock


def name_of(sock):
    return "{}:{}".format(*sock.getsockname())


def haproxy(tenon, program, port, bind="", server=""):
    tenon.peer(program("haproxy"), "-db", "-f", tenon.file("haproxy.cfg", f"""
global
    maxconn 100
defaults
    mode tcp
    timeout connect 20s
    timeout client 20s
    timeout server 20s
frontend in
    bind 127.0.0.1:{port} {bind}
    unique-id-format %[uuid()]
    default_backend out
backend out
    server one {server}
""".encode()))


def nginx(tenon, program, body):
    if not os.path.exists(MODULE):
        pytest.skip("nginx has no module for streams")
    program("nginx")
    tenon.peer(program("nginx"), "-p", tenon.folder, "-c", tenon.file("nginx.conf", f"""
load_module {MODULE};
daemon off; master_process off; pid {tenon.folder}/nginx.pid; error_log stderr;
events {{ }}
{body}
""".encode()), "-e", "stderr")


def relay(tenon, target):
    """examples/relay, which tells the target of its clients."""
    process = tenon.peer(BUILD / "examples" / "relay", "tcp://127.0.0.1:0", target)
    return int(process.wait_for_text(r"listening tcp://127\.0\.0\.1:(\d+)", "out").group(1))


def says_who(server, sock, **more):
    """The server speaks of this client from its first event to its last."""
    opened = server.wait_for_event("open", peer=f"tcp://{name_of(sock)}", **more)
    assert opened["via"].startswith("127.0.0.1:") and opened["via"] != name_of(sock)
    assert sock.recv(100) == b"hello\n"
    sock.close()
    server.wait_for_event("close", id=opened["id"], peer=opened["peer"])
    return opened


TRUSTING = "proxy=accept&trust=127.0.0.1"


@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"])
def test_haproxy_tells_of_its_client(tenon, program, send):
    server, port = tenon.serve(f"tcp://127.0.0.1:0?{TRUSTING}", options=["--json"]), free_port()
    haproxy(tenon, program, port, server=f"127.0.0.1:{server.port} {send}")
    sock = dial_as_client(tenon, port)
    sock.sendall(b"hello\n")
    opened = says_who(server, sock, target=f"127.0.0.1:{port}")
    assert ("unique_id" in opened) == ("unique-id" in send)


def test_haproxy_tells_of_tls(tenon, program, authority):
    """It ends the TLS of its client; the name that was asked for and the client's certificate come through."""
    server, port = tenon.serve(f"tcp://127.0.0.1:0?{TRUSTING}", options=["--json"]), free_port()
    both = tenon.file("both.pem", authority.pem("server").read_bytes() + authority.key("server").read_bytes())
    haproxy(tenon, program, port, f"ssl crt {both} ca-file {authority.pem('ca')} verify required",
            f"127.0.0.1:{server.port} send-proxy-v2-ssl-cn proxy-v2-options authority,ssl,cert-cn")
    context = ssl.create_default_context(cafile=authority.pem("ca"))
    context.load_cert_chain(authority.pem("alice"), authority.key("alice"))
    sock = context.wrap_socket(dial_as_client(tenon, port), server_hostname="localhost")
    sock.sendall(b"hello\n")
    opened = says_who(server, sock, authority="localhost")
    assert opened["client_name"]


@pytest.mark.parametrize("keys", ["proxy=v1", "proxy=v2", "proxy=v2&proxy-tlv=crc32c,unique-id,0xE0:own"])
def test_haproxy_is_told_of_a_client(tenon, program, keys):
    server, port = tenon.serve(f"tcp://127.0.0.1:0?{TRUSTING}", options=["--json"]), free_port()
    haproxy(tenon, program, port, "accept-proxy", f"127.0.0.1:{server.port} send-proxy-v2")
    middle = relay(tenon, f"tcp://127.0.0.1:{port}?{keys}")
    wait_until(lambda: tenon.run("send", f"tcp://127.0.0.1:{port}?{keys}", "x", status=None).out == b"x\n",
               "haproxy listens, and takes a connection that is nobody's")
    sock = dial_as_client(tenon, middle)
    sock.sendall(b"hello\n")
    says_who(server, sock, target=f"127.0.0.1:{middle}")


def test_as_many_words_of_its_own_as_a_header_takes(tenon):
    server = tenon.serve(f"tcp://127.0.0.1:0?{TRUSTING}")
    url = f"tcp://127.0.0.1:{server.port}?proxy=v2&proxy-tlv=0xE0:{'x' * 995}"
    assert tenon.run("send", url, "hello").out == b"hello\n"
    assert "longer than 1000 bytes" in tenon.run("send", f"{url}x", "hello", status=2).err


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_nginx_both_ways(tenon, program, version):
    server, port = tenon.serve(f"tcp://127.0.0.1:0?{TRUSTING}", options=["--json"]), free_port()
    nginx(tenon, program, f"""stream {{ server {{
        listen 127.0.0.1:{port} proxy_protocol; set_real_ip_from 127.0.0.1;
        proxy_pass 127.0.0.1:{server.port}; proxy_protocol on;
    }} }}""")
    wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, "nginx listens")
    middle = relay(tenon, f"tcp://127.0.0.1:{port}?proxy={version}")
    sock = dial_as_client(tenon, middle)
    sock.sendall(b"hello\n")
    says_who(server, sock)


@pytest.mark.parametrize("scheme", ["tcp", "tls"])
def test_curl(tenon, program, authority, scheme):
    """Header and ClientHello come in what pieces curl likes; the answer tells what the command knows of its client."""
    keys = f"&{authority.pair('server')}" if scheme == "tls" else ""
    server = tenon.serve(f"{scheme}://127.0.0.1:0?{TRUSTING}{keys}", options=[
        "--json", "--handler", 'exec:read line; printf "HTTP/1.0 200 OK\\r\\n\\r\\n$TENON_PEER $TENON_VIA"'])
    result = tenon.finish([program("curl"), "-sS", "--haproxy-protocol", "--cacert", authority.pem("ca"), "-w",
                           "\n%{local_port}", f"http{'s' if scheme == 'tls' else ''}://localhost:{server.port}/",
                           "--resolve", f"localhost:{server.port}:127.0.0.1"])
    answer, port = result.lines
    assert answer == f"{scheme}://127.0.0.1:{port} 127.0.0.1:{port}"
    # Without the header it is refused, and told so in the log
    assert tenon.finish([program("curl"), "-sS", f"http://127.0.0.1:{server.port}/"], status=None).status != 0
    assert "a PROXY header is expected" in server.wait_for_event("trouble")["error"]


@pytest.mark.parametrize("pieces", [1, 3])
def test_header_and_hello_in_one_segment(tenon, authority, pieces):
    server = tenon.serve(f"tls://127.0.0.1:0?{TRUSTING}&{authority.pair('server')}", options=["--json"])
    context = ssl.create_default_context(cafile=authority.pem("ca"))
    came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(came, goes, server_hostname="localhost")
    sock = tenon.dial(server.url.replace("tls:", "tcp:"))
    first = [b"PROXY TCP6 2001:db8::1 2001:db8::2 1234 443\r\n"]

    def step(call):
        while True:
            try:
                return call()
            except ssl.SSLWantReadError:
                data = (first.pop() if first else b"") + goes.read()
                size = -(-len(data) // pieces) or 1
                for at in range(0, len(data), size):
                    sock.sendall(data[at:at + size])
                came.write(sock.recv(65536))
    step(tls.do_handshake)
    tls.write(b"hello\n")
    assert step(lambda: tls.read(100)) == b"hello\n"
    server.wait_for_event("open", peer="tls://[2001:db8::1]:1234", target="[2001:db8::2]:443")


def query(number):
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + b"\4test\0" + struct.pack(">HH", 1, 1)


def test_dnsdist_both_ways(tenon, program):
    """Over UDP each datagram has a header, and answers have none."""
    answers = ("import os, sys; d = bytearray(sys.stdin.buffer.read()); d[2] |= 0x80; sys.stdout.buffer.write(d); "
               "print(os.environ['TENON_PEER'], os.environ['TENON_LOCAL'], file=sys.stderr)")
    script = tenon.file("answer.py", answers.encode())
    server, port = tenon.serve(f"udp://127.0.0.1:0?{TRUSTING}", options=[
        "--json", "--handler", f"exec:/usr/bin/python3 {script}"]), free_port()
    # It listens on this port for TCP too, where thousands of ports can be taken by connections that have ended
    place = tenon.file("dnsdist.conf", f"""
setLocal("127.0.0.1:{port}")
setACL({{"127.0.0.0/8"}})
setProxyProtocolACL({{"127.0.0.1/32"}})
setUDPTimeout(60)
newServer({{address="127.0.0.1:{server.port}", useProxyProtocol=true}}):setUp()
""".encode())
    dnsdist = tenon.peer(program("dnsdist"), "--supervised", "--disable-syslog", "-C", place)
    dnsdist.wait_for_text(f"Listening on 127.0.0.1:{port}", "out")
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(LIMIT)
        sock.bind((CLIENT, 0))
        for number in range(1, 4):
            sock.sendto(query(number), ("127.0.0.1", port))
            answer = sock.recv(512)
            assert answer[:2] == number.to_bytes(2, "big") and answer[2] & 0x80
            server.wait_for_text(f"^udp://{name_of(sock)} udp://127.0.0.1:{server.port}$")
    question = tenon.file("question", query(77))
    answer = tenon.finish(tenon.argv("send", f"udp://127.0.0.1:{port}?proxy=v2"), stdin=tenon.opened(question)).out
    assert answer[:2] == (77).to_bytes(2, "big") and answer[2] & 0x80


def test_strangers_reach_nothing(tenon, engine):
    del engine
    server = tenon.serve("tcp://127.0.0.1:0?proxy=accept&trust=127.0.0.9", "udp://127.0.0.1:0?proxy=accept&trust=::1",
                         options=["--json"])
    sock = dial_as_client(tenon, server.port)
    sock.sendall(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nhello\n")
    with contextlib.suppress(ConnectionResetError):
        assert receive_to_end(sock) == b""
    trouble = server.wait_for_event("trouble", reason="denied", url=server.url)
    assert CLIENT in trouble["error"] and "trust" in trouble["error"]
    tenon.run("send", server.urls[1], "x", status=None, env=None)
    server.wait_for_event("trouble", reason="denied", url=server.urls[1])
    assert not [event for event in server.events if event["event"] == "open"]


def test_a_list_is_read_again(tenon):
    """In the sandbox: another process opens the file. By a signal, and by a change alone."""
    place = tenon.file("allowed", b"127.0.0.5 # one\n")
    server = tenon.serve(f"tcp://127.0.0.1:0?allow={place}", options=["--json"])

    def gets_in(address):
        sock = dial_as_client(tenon, server.port, address)
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            sock.sendall(b"hello\n")
            return sock.recv(10) == b"hello\n"
        return False
    assert gets_in("127.0.0.5") and not gets_in("127.0.0.6")
    assert "127.0.0.6" in server.wait_for_event("trouble", reason="denied")["error"]
    fresh = tenon.file("fresh", b"127.0.0.6\n")
    fresh.replace(place)
    server.signal(signal.SIGHUP)
    wait_until(lambda: gets_in("127.0.0.6") and not gets_in("127.0.0.5"), "the list is read again")
    place.write_bytes(b"127.0.0.6\nnobody\n")
    assert ":2: 'nobody'" in server.wait_for_event("trouble", reason="error")["error"]
    assert gets_in("127.0.0.6")
    place.write_bytes(b"127.0.0.0/8\n")
    wait_until(lambda: gets_in("127.0.0.5"), "it looks by itself")
