"""TLS: tenon with the clients and servers that others have written, what it refuses and in which words, and
reloading."""
import base64
import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import time

import pytest

from harness import (KIB, LIMIT, MIB, SANITIZED, free_port, noise, receive_exactly, receive_to_end, resident_bytes,
                     wait_until)
from system import allow_files

DATA = noise(2 * MIB + 17, 5)

one_engine = pytest.mark.parametrize("engine", ["auto"], indirect=True)  # files are watched by timers


@pytest.fixture
def server(tenon, authority):
    """An echo server with a good certificate, on 127.0.0.1."""
    return tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}", options=["--json"])


def context(authority, name=None, trust="ca"):
    made = ssl.create_default_context(cafile=authority.pem(trust))
    if name:
        made.load_cert_chain(authority.pem(name), authority.key(name))
    return made


def dial_python(port, made, **how):
    return made.wrap_socket(socket.create_connection(("127.0.0.1", port), LIMIT), server_hostname="127.0.0.1", **how)


def listen_python(tenon, made):
    """A TLS listener of Python's; its URL without keys, and the listener."""
    listener = tenon.listen()
    return f"tls://127.0.0.1:{listener.getsockname()[1]}", listener


def server_context(authority, name="server"):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(authority.pem(name), authority.key(name))
    return made


# With itself

def test_tenon_with_tenon(tenon, server, trusted):
    assert tenon.run("send", f"{server.url}?{trusted}", "one", "two").out == b"one\ntwo\n"
    opened = server.wait_for_event("open")
    assert opened["protocol"] == "TLSv1.3" and opened["cipher"].startswith("TLS_") and opened["identity"] is None


def test_a_large_file_and_its_end(tenon, authority, trusted):
    """Half-close: the reply is made after the end of the client's side."""
    server = tenon.serve(f"tls://localhost:0?{authority.pair('server')}", options=["--handler", "exec:sha256sum"],
                         listeners=2)
    data = tenon.file("data", DATA)
    said = tenon.feed(data, tenon.argv("connect", f"tls://localhost:{server.port}?{trusted}"))
    assert said.split() == subprocess.run(["sha256sum"], input=DATA, stdout=subprocess.PIPE, check=True).stdout.split()


@pytest.mark.parametrize("scheme", ["tls", "tls4", "tls6", "tls+mptcp", "tls+unix"])
def test_every_scheme(tenon, authority, trusted, scheme):
    place = {"tls6": "//[::1]:0", "tls+unix": tenon.folder / "sock"}.get(scheme, "//127.0.0.1:0")
    server = tenon.serve(f"{scheme}:{place}?{authority.pair('server')}")
    data = tenon.file("data", DATA)
    assert server.url.startswith(f"{scheme}:")
    assert tenon.feed(data, tenon.argv("connect", f"{server.url}?{trusted}")) == DATA


def test_frames_and_threads(tenon, authority, trusted):
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}&frame=u32&format=json",
                         options=["--threads", "2"])
    for _ in range(4):
        assert tenon.run("send", f"{server.url}?{trusted}&frame=u32", '{"a":1}').out == b'{"a":1}\n'


# Clients that others wrote

def says_hello(client):
    """Types a line, waits for it to come back, and ends the client, which would stay as long as its input."""
    client.popen.stdin.write(b"hello\n")
    client.popen.stdin.flush()
    client.wait_for_text("^hello$", "out")
    client.kill()


CLIENTS = {
    "ncat": lambda a, port: ["ncat", "--ssl", "--ssl-verify", "--ssl-trustfile", a.pem("ca"), "localhost", port],
    "socat": lambda a, port: ["socat", "-t", LIMIT, "-", f"OPENSSL:127.0.0.1:{port},cafile={a.pem('ca')}"],
}


@pytest.mark.parametrize("client", CLIENTS)
def test_client_gets_its_file_back(tenon, program, authority, client):
    server = tenon.serve(f"tls://localhost:0?{authority.pair('server')}", listeners=2)
    argv = CLIENTS[client](authority, server.port)
    program(argv[0])
    assert tenon.feed(tenon.file("data", DATA), argv) == DATA


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_client(tenon, server, authority, version):
    """s_client leaves at the end of its input without waiting for replies, so it is given time."""
    client = tenon.peer("openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-CAfile", authority.pem("ca"),
                        "-verify_return_error", "-quiet", version, stdin=subprocess.PIPE)
    says_hello(client)
    opened = server.wait_for_event("open")
    assert opened["protocol"] == {"-tls1_2": "TLSv1.2", "-tls1_3": "TLSv1.3"}[version]


@pytest.mark.parametrize("priority", ["NORMAL:-VERS-ALL:+VERS-TLS1.2", "NORMAL:-VERS-ALL:+VERS-TLS1.3"])
def test_gnutls_client(tenon, server, authority, program, priority):
    argv = [program("gnutls-cli"), "--x509cafile", authority.pem("ca"), "--priority", priority, "--logfile",
            tenon.folder / "log", "-p", server.port, "127.0.0.1"]
    client = tenon.peer(*argv, stdin=subprocess.PIPE)
    says_hello(client)


def test_curl(tenon, authority, program):
    program("curl")
    server = tenon.serve(f"tls://localhost:0?{authority.pair('server')}&alpn=http/1.1", listeners=2,
                         options=["--json", "--handler", r"exec:printf 'HTTP/1.0 200 OK\r\nContent-Type: "
                                                         r"text/plain\r\n\r\nhi'"])
    done = tenon.finish(["curl", "-sS", "--cacert", authority.pem("ca"), f"https://localhost:{server.port}/"])
    assert done.out == b"hi"
    opened = server.wait_for_event("open")
    assert opened["alpn"] == "http/1.1" and opened["server_name"] == "localhost"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_python_client(server, authority, version):
    made = context(authority)
    made.minimum_version = made.maximum_version = version
    with dial_python(server.port, made) as sock:
        for size in (1, 100, 16384, 16385, 100000):
            sock.sendall(DATA[:size])
            got = b""
            while len(got) < size:
                got += sock.recv(65536)
            assert got == DATA[:size]
        with contextlib.suppress(OSError):
            sock.unwrap().close()  # close_notify both ways
    assert server.wait_for_event("close")["reason"] == "end"


# Servers that others wrote

def test_openssl_server(tenon, authority, trusted):
    for version in ("-tls1_2", "-tls1_3"):
        port = free_port()
        peer = tenon.peer("openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", authority.pem("server"),
                          "-key", authority.key("server"), "-rev", version, stdin=subprocess.PIPE)
        peer.wait_for_text("ACCEPT", "out")
        assert tenon.run("send", f"tls://127.0.0.1:{port}?{trusted}&frame=line", "hello").out == b"olleh\n"
        peer.kill()


def test_gnutls_server(tenon, authority, trusted, program):
    port = free_port()
    peer = tenon.peer(program("gnutls-serv"), "--echo", "--x509certfile", authority.pem("server"), "--x509keyfile",
                      authority.key("server"), "-p", port)
    peer.wait_for_text("Echo Server listening.*done")
    assert tenon.run("send", f"tls://localhost:{port}?{trusted}&frame=line", "hello").out == b"hello\n"


def test_ncat_server(tenon, authority, trusted, program):
    port = free_port()
    tenon.peer(program("ncat"), "-l", "127.0.0.1", port, "--ssl", "--ssl-cert", authority.pem("server"), "--ssl-key",
               authority.key("server"), "--exec", "/bin/cat")
    wait_until(lambda: is_open(port), "ncat listens")
    assert tenon.run("send", f"tls://127.0.0.1:{port}?{trusted}&frame=line", "hello").out == b"hello\n"


def is_open(port):
    """Whether something listens there, without connecting: a server for one client must not lose it."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        return any(re.search(rf": [0-9A-F]+:{port:04X} [0-9A-F:]+ 0A ", line) for line in table)


def test_socat_server(tenon, authority, trusted, program):
    port = free_port()
    tenon.peer(program("socat"), f"OPENSSL-LISTEN:{port},bind=127.0.0.1,cert={authority.pem('server')},"
               f"key={authority.key('server')},verify=0", "EXEC:cat")
    wait_until(lambda: is_open(port), "socat listens")
    assert tenon.feed(tenon.file("data", DATA), tenon.argv("connect", f"tls://127.0.0.1:{port}?{trusted}")) == DATA


def test_python_server(tenon, authority, trusted):
    url, listener = listen_python(tenon, None)
    client = tenon.start("send", f"{url}?{trusted}", "hello")
    with server_context(authority).wrap_socket(tenon.accept(listener), server_side=True) as sock:
        assert sock.recv(100) == b"hello"
        sock.sendall(b"HELLO")
        assert sock.recv(100) == b""  # the client's close_notify
        sock.unwrap()
    client.wait()
    assert client.out == b"HELLO\n" or client.out == b"HELLO"


# Who the server is

def refused(tenon, url, *words, status=1):
    result = tenon.run("send", url, "secret", status=status)
    assert result.out == b""
    for word in words:
        assert word in result.err, result.err
    return result


@pytest.mark.parametrize("name, words", [
    ("a.example", ["the certificate is for a.example, b.example, not for 127.0.0.1",
                   "subject CN=a.example, issuer CN=ca, valid "
                   "from 2020-01-01 to 2090-01-01"]),
    ("expired", ["has expired", "CN=expired", "2020-02-01"]),
    ("future", ["not valid yet", "2090-01-01"]),
    ("self", ["self-signed", "CN=localhost", "ca=FILE"]),
    ("mallory", ["vouches for", "CN=mallory", "CN=other-ca"]),
])
def test_a_server_that_cannot_be_trusted(tenon, authority, trusted, name, words):
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair(name)}")
    refused(tenon, f"{server.url}?{trusted}", server.url, *words)
    aloud = tenon.run("send", f"{server.url}?verify=off", "hello")
    assert aloud.out == b"hello\n" and "not verified" in aloud.err
    assert "refused the TLS handshake with the alert" in server.err


def test_an_unknown_authority(tenon, server):
    refused(tenon, server.url, "no authority this system trusts", "CN=server", "CN=ca")


def test_the_name_that_is_checked(tenon, authority, trusted):
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('a.example')}", options=["--json"])
    assert tenon.run("send", f"{server.url}?{trusted}&sni=b.example", "hello").out == b"hello\n"
    assert server.wait_for_event("open")["server_name"] == "b.example"
    refused(tenon, f"{server.url}?{trusted}&sni=c.example", "a.example, b.example, not for c.example")


def test_pins(tenon, server, authority, trusted):
    pin = authority.pin("server")
    for text in (pin.hex(), "sha256//" + base64.b64encode(pin).decode(), base64.b64encode(pin).decode()):
        assert tenon.run("send", f"{server.url}?{trusted}&pin={text}", "x").out == b"x\n"
    alone = tenon.run("send", f"{server.url}?verify=off&pin={'00' * 32},{pin.hex()}", "x")
    assert alone.out == b"x\n" and "not verified" not in alone.err
    refused(tenon, f"{server.url}?{trusted}&pin={'00' * 32}", "pin", pin.hex())
    refused(tenon, f"{server.url}?verify=off&pin={'00' * 32}", "pin", pin.hex())


# Who the client is

def test_client_certificates(tenon, authority, trusted):
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}&{trusted}", options=["--json"])
    assert tenon.run("send", f"{server.url}?{trusted}&{authority.pair('alice')}", "hello").out == b"hello\n"
    assert server.wait_for_event("open")["identity"] == "CN=alice"
    refused(tenon, f"{server.url}?{trusted}", "client certificate")
    server.wait_for_event("trouble")
    time.sleep(1.1)  # it is told of one a second
    refused(tenon, f"{server.url}?{trusted}&{authority.pair('mallory')}", "unknown CA")
    told = wait_until(lambda: [e for e in server.events if e["event"] == "trouble"][1:], "the second refusal")
    assert "CN=mallory" in told[0]["error"]
    assert len([e for e in server.events if e["event"] == "open"]) == 1


def test_optional_client_certificates(tenon, authority, trusted):
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}&{trusted}&verify=optional", options=["--json"])
    assert tenon.run("send", f"{server.url}?{trusted}", "hello").out == b"hello\n"
    assert tenon.run("send", f"{server.url}?{trusted}&{authority.pair('alice')}", "hello").out == b"hello\n"
    refused(tenon, f"{server.url}?{trusted}&{authority.pair('mallory')}", "unknown CA")
    assert {e["identity"] for e in server.events if e["event"] == "open"} == {None, "CN=alice"}


def test_openssl_with_client_certificate(tenon, authority, trusted):
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}&{trusted}", options=["--json"])
    with dial_python(server.port, context(authority, "alice")) as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
    assert server.wait_for_event("open")["identity"] == "CN=alice"
    port = free_port()
    peer = tenon.peer("openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", authority.pem("server"), "-key",
                      authority.key("server"), "-CAfile", authority.pem("ca"), "-Verify", "2", "-verify_return_error",
                      "-rev", stdin=subprocess.PIPE)
    peer.wait_for_text("ACCEPT", "out")
    url = f"tls://127.0.0.1:{port}?{trusted}&frame=line"
    assert tenon.run("send", f"{url}&{authority.pair('alice')}", "abc").out == b"cba\n"


# Pre-shared keys

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def psk_file(tenon):
    path = tenon.file("psk", f"# ours\nbob:{KEY}\ncarol:{KEY[::-1]}\n".encode())
    path.chmod(0o600)
    return path


def test_pre_shared_keys(tenon, psk_file):
    server = tenon.serve(f"tls://127.0.0.1:0?psk-file={psk_file}", options=["--json"])
    for version in ("1.2", "1.3"):
        assert tenon.run("send", f"{server.url}?psk-file={psk_file}&tls-min={version}", "hello").out == b"hello\n"
    assert server.wait_for_event("open")["identity"] == "bob"
    wrong = tenon.file("wrong", f"bob:{KEY[::-1]}\n".encode())
    refused(tenon, f"{server.url}?psk-file={wrong}", "refused the TLS handshake", "key for our identity may be another")
    stranger = tenon.file("stranger", f"eve:{KEY}\n".encode())
    refused(tenon, f"{server.url}?psk-file={stranger}", "refused the TLS handshake")
    assert KEY not in server.err and KEY[::-1] not in server.err


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_pre_shared_keys_with_openssl(tenon, psk_file, version):
    server = tenon.serve(f"tls://127.0.0.1:0?psk-file={psk_file}", options=["--json"])
    client = tenon.peer("openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-psk_identity", "carol", "-psk",
                        KEY[::-1], "-quiet", version, stdin=subprocess.PIPE)
    says_hello(client)
    assert server.wait_for_event("open")["identity"] == "carol"
    port = free_port()
    peer = tenon.peer("openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-nocert", "-psk_identity", "bob",
                      "-psk", KEY, "-rev", version, stdin=subprocess.PIPE)
    peer.wait_for_text("ACCEPT", "out")
    assert tenon.run("send", f"tls://127.0.0.1:{port}?psk-file={psk_file}&frame=line", "abc").out == b"cba\n"


@pytest.fixture
def both(tenon, authority, psk_file):
    """A server with a certificate for some and pre-shared keys for others."""
    return tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}&psk-file={psk_file}", options=["--json"])


def test_keys_and_a_certificate(tenon, both, psk_file, trusted):
    """Who has a key uses it, though in TLS 1.3 that takes a cipher of SHA-256."""
    assert tenon.run("send", f"{both.url}?psk-file={psk_file}", "key").out == b"key\n"
    assert both.wait_for_event("open")["identity"] == "bob"
    assert tenon.run("send", f"{both.url}?{trusted}", "none").out == b"none\n"
    assert [e["identity"] for e in both.events if e["event"] == "open"][1:] == [None]


@pytest.mark.parametrize("cipher", ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"])
def test_a_name_that_is_not_proved(tenon, both, cipher):
    """A key that the handshake leaves aside proves nothing: its owner is who he says only where it was used."""
    client = tenon.peer("openssl", "s_client", "-connect", f"127.0.0.1:{both.port}", "-psk_identity", "bob", "-psk",
                        KEY[::-1], "-tls1_3", "-ciphersuites", cipher, "-quiet", stdin=subprocess.PIPE)
    if cipher == "TLS_AES_128_GCM_SHA256":
        both.wait_for_event("trouble")
    else:
        says_hello(client)
        assert both.wait_for_event("open")["identity"] is None


# Several certificates, protocols, versions

def test_certificate_by_name(tenon, authority, trusted):
    both = f"cert={authority.pem('server')},{authority.pem('a.example')}&" \
           f"key={authority.key('server')},{authority.key('a.example')}"
    server = tenon.serve(f"tls://127.0.0.1:0?{both}")
    for name in ("b.example", "localhost", "a.example"):
        assert tenon.run("send", f"{server.url}?{trusted}&sni={name}", name).out == f"{name}\n".encode()
    refused(tenon, f"{server.url}?{trusted}&sni=c.example", "is for localhost, 127.0.0.1")


@pytest.mark.parametrize("name", ["localhost", "b.example"])
def test_whatever_the_name_the_rest_is_the_same(tenon, authority, trusted, name):
    """Client certificates, protocols and the key log are not the first certificate's alone."""
    log = tenon.folder / "keys"
    both = f"cert={authority.pem('server')},{authority.pem('a.example')}&" \
           f"key={authority.key('server')},{authority.key('a.example')}"
    server = tenon.serve(f"tls://127.0.0.1:0?{both}&{trusted}&alpn=beta&keylog={log}", options=["--json"])
    url = f"{server.url}?{trusted}&sni={name}&alpn=beta"
    assert tenon.run("send", f"{url}&{authority.pair('alice')}", "x").out == b"x\n"
    opened = server.wait_for_event("open")
    assert opened["identity"] == "CN=alice" and opened["alpn"] == "beta" and opened["server_name"] == name
    assert "SERVER_TRAFFIC_SECRET_0" in log.read_text(encoding="ascii")
    refused(tenon, url, "client certificate")
    refused(tenon, f"{url}&{authority.pair('mallory')}", "unknown CA")


def test_protocols(tenon, authority, trusted):
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}&alpn=beta,alpha", options=["--json"])
    tenon.run("send", f"{server.url}?{trusted}&alpn=alpha,beta", "x")
    assert server.wait_for_event("open")["alpn"] == "beta"
    tenon.run("send", f"{server.url}?{trusted}", "x")
    refused(tenon, f"{server.url}?{trusted}&alpn=gamma", "none of the protocols of key alpn")


def test_versions(tenon, authority, trusted):
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}&tls-min=1.3")
    made = context(authority)
    made.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        dial_python(server.port, made)
    server.wait_for_text("versions of TLS that are not allowed here")
    assert tenon.run("send", f"{server.url}?{trusted}", "x").out == b"x\n"


# Which algorithms

def with_length(size, data):
    return len(data).to_bytes(size, "big") + data


def extension(kind, data):
    return kind.to_bytes(2, "big") + with_length(2, data)


def numbers(data):
    return [int.from_bytes(data[i:i + 2], "big") for i in range(0, len(data), 2)]


def parts_of_hello(record):
    """The numbers of the ciphers that a client's first record offers, and its extensions."""
    at = 5 + 4 + 2 + 32
    at += 1 + record[at]
    ciphers = numbers(record[at + 2:at + 2 + int.from_bytes(record[at:at + 2], "big")])
    at += 2 + 2 * len(ciphers)
    at += 1 + record[at] + 2
    extensions = {}
    while at < len(record):
        kind, length = numbers(record[at:at + 4])
        extensions[kind] = record[at + 4:at + 4 + length]
        at += 4 + length
    return ciphers, extensions


def hello_with(signatures):
    """A client's first record for TLS 1.2 and this server's kind of key."""
    kinds = b"".join(s.to_bytes(2, "big") for s in signatures)
    extensions = extension(10, with_length(2, b"\0\x17")) + extension(13, with_length(2, kinds))
    body = b"\3\3" + bytes(32) + b"\0" + with_length(2, b"\xc0\x2b\xc0\x2c") + b"\1\0" + with_length(2, extensions)
    return b"\x16\3\1" + with_length(2, b"\1" + with_length(3, body))


def test_nothing_weak_is_offered(tenon):
    """No key exchange without forward secrecy, no CBC, no DSA, no SHA-1 or SHA-224."""
    listener = tenon.listen()
    client = tenon.start("send", f"tls://127.0.0.1:{listener.getsockname()[1]}", "x")
    sock = tenon.accept(listener)
    head = sock.recv(5, socket.MSG_WAITALL)
    ciphers, extensions = parts_of_hello(head + sock.recv(numbers(head[3:])[0], socket.MSG_WAITALL))
    client.kill()
    assert set(ciphers) <= {0x1301, 0x1302, 0x1303, 0xc02b, 0xc02c, 0xc02f, 0xc030, 0xcca8, 0xcca9, 0xccaa, 0x9e, 0x9f,
                            0xff}
    assert set(numbers(extensions[13][2:])) <= {0x403, 0x503, 0x603, 0x807, 0x808, 0x401, 0x501, 0x601,
                                                *range(0x804, 0x80c)}


@pytest.mark.parametrize("signatures, answer", [
    ([0x403], b"\x16\3\3"),
    ([0x203, 0x303, 0x302, 0x402], b"\x15\3\3\0\2\2\x28"),  # SHA-1, SHA-224, DSA: handshake failure
])
def test_nothing_weak_is_agreed_to(tenon, server, signatures, answer):
    sock = tenon.dial(f"tcp://127.0.0.1:{server.port}")
    sock.sendall(hello_with(signatures))
    assert sock.recv(len(answer), socket.MSG_WAITALL) == answer


@pytest.mark.parametrize("wanted, chosen", [
    ("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    ("ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"),
])
def test_the_server_chooses_the_cipher(tenon, server, authority, wanted, chosen):
    """But for ChaCha20, which is what a client without fast AES names first."""
    client = tenon.peer("openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-CAfile", authority.pem("ca"),
                        "-tls1_2", "-cipher", wanted, "-quiet", stdin=subprocess.PIPE)
    says_hello(client)
    assert server.wait_for_event("open")["cipher"] == chosen


def test_words_of_alerts(tenon, authority, trusted):
    """Two of TLS 1.3 have no name in OpenSSL 3.0; and a hint about the handshake is none once that is over."""
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}&{trusted}")
    refused(tenon, f"{server.url}?{trusted}", "certificate required", "cert=FILE&key=FILE")
    port = free_port()
    peer = tenon.peer("openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", authority.pem("server"), "-key",
                      authority.key("server"), "-tls1_2", stdin=subprocess.PIPE)
    peer.wait_for_text("ACCEPT", "out")
    client = tenon.start("connect", f"tls://127.0.0.1:{port}?{trusted}", stdin=subprocess.PIPE)
    client.popen.stdin.write(b"hello\n")
    client.popen.stdin.flush()
    peer.wait_for_text("^hello", "out")
    peer.popen.stdin.write(b"R\n")  # it wants to negotiate anew and takes the refusal badly
    peer.popen.stdin.flush()
    client.wait(status=1)
    assert "handshake failure" in client.err and "cert=FILE" not in client.err, client.err


def test_renegotiation_is_refused(tenon, server, authority):
    client = tenon.peer("openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-CAfile", authority.pem("ca"),
                        "-tls1_2", stdin=subprocess.PIPE)
    client.wait_for_text("Verify return code", "out")
    client.popen.stdin.write(b"R\n")
    client.popen.stdin.flush()
    client.wait(status=None)
    assert "no renegotiation" in client.err
    assert server.wait_for_event("close")["messages_in"] == 0


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_tickets(tenon, authority, version):
    """With TLS 1.3 each resumption brings a new one: a ticket that is used twice links two connections (RFC 8446
    C.4)."""
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}", options=["--json", "--threads", "2"])
    ticket = tenon.folder / f"ticket{version}"
    base = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-CAfile", authority.pem("ca"), version]
    kept = []
    for turn in (["-sess_out", ticket], ["-sess_in", ticket, "-sess_out", ticket], ["-sess_in", ticket]):
        client = tenon.peer(*base, *turn, stdin=subprocess.PIPE)
        client.wait_for_text("Verify return code", "out")
        client.popen.stdin.write(b"hello\n")
        client.popen.stdin.flush()
        client.wait_for_text("^hello", "out")
        client.popen.stdin.close()
        client.popen.wait(LIMIT)
        kept.append(ticket.read_bytes())
    opened = wait_until(lambda: [e for e in server.events if e["event"] == "open"][2:] and server.events,
                        "three connections")
    assert [event["resumed"] for event in opened if event["event"] == "open"] == [False, True, True]
    assert (kept[0] != kept[1]) == (version == "-tls1_3")


@pytest.mark.parametrize("keys, resumed", [("", {True}), ("&tickets=0", set()), ("&verify=off&tickets=0", set())])
def test_a_process_that_dials_again_resumes(tenon, authority, keys, resumed):
    """ping dials each time; with TLS 1.2 it has its session by the end of the handshake."""
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}&tls-max=1.2", options=["--json"])
    url = f"{server.url}?ca={authority.pem('ca')}{keys}"
    tenon.run("ping", "--count", 4, "--interval", "50ms", url)
    server.wait_for_rest()
    opened = [event for event in server.events if event["event"] == "open"]
    assert not opened[0]["resumed"] and {event["resumed"] for event in opened} - {False} == resumed, opened
    tenon.run("ping", "--count", 1, url)  # another process has sessions of its own
    server.wait_for_rest()
    assert not [event for event in server.events if event["event"] == "open"][-1]["resumed"]


def test_people_are_told_that_it_resumes(tenon, authority):
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}&tls-max=1.2", options=["-v"])
    tenon.run("ping", "--count", 2, "--interval", "50ms", f"{server.url}?ca={authority.pem('ca')}")
    server.wait_for_rest()
    assert [", resumed)" in line for line in server.lines if line.startswith("open ")] == [False, True], server.lines


def test_no_tickets(tenon, authority):
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}&tickets=0", options=["--json"])
    session = None
    for _ in range(2):
        with dial_python(server.port, context(authority), session=None) as sock:
            sock.sendall(b"x")
            assert sock.recv(1) == b"x"
            session = sock.session
    assert session is None or not session.has_ticket


# What is not TLS

def test_plain_client(tenon, server):
    sock = tenon.dial(f"tcp://127.0.0.1:{server.port}")
    sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
    assert receive_to_end(sock) == b""
    trouble = server.wait_for_event("trouble")
    assert "does not speak TLS" in trouble["error"] and "GET / HTTP/1.0" in trouble["error"]


def test_plain_echo_server(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    refused(tenon, f"tls://127.0.0.1:{server.port}", "does not speak TLS", "our own hello")


def test_plain_server_that_greets(tenon):
    listener = tenon.listen()
    client = tenon.start("send", f"tls://127.0.0.1:{listener.getsockname()[1]}", "x")
    tenon.accept(listener).sendall(b"220 mail.example ESMTP\r\n")
    client.wait(1)
    assert "does not speak TLS" in client.err and "220 mail.example" in client.err


def test_server_that_hangs_up(tenon):
    listener = tenon.listen()
    client = tenon.start("send", f"tls://127.0.0.1:{listener.getsockname()[1]}", "x")
    sock = tenon.accept(listener)
    sock.recv(1 << 16)
    sock.close()
    client.wait(1)
    assert "instead of answering the TLS handshake" in client.err


def test_who_says_nothing_is_gone_at_the_deadline(tenon, authority, trusted):
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}&handshake=300ms", options=["--json"])
    silent = [tenon.dial(f"tcp://127.0.0.1:{server.port}") for _ in range(50)]
    slow = tenon.dial(f"tcp://127.0.0.1:{server.port}")
    slow.sendall(b"\x16")
    assert tenon.run("send", f"{server.url}?{trusted}", "hello").out == b"hello\n"
    for sock in [*silent, slow]:
        assert receive_to_end(sock) == b""
    assert "within 300ms" in server.wait_for_event("trouble")["error"]


def said_back(sock, data):
    """What the echo of a little data is. (Readiness says little of a TLS socket: a ticket makes it readable, too.)"""
    sock.sendall(data)
    return receive_exactly(sock, len(data))


def test_a_crowd_that_never_shakes_hands(tenon, authority):
    """Half say nothing, half a byte now and then: all are gone at the deadline, and who behaves is served meanwhile."""
    crowd = 300 if SANITIZED else 2000
    if not allow_files(crowd + 200):
        pytest.skip("the system does not allow so many descriptors")
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}&handshake=3s")
    made = context(authority)
    good = dial_python(server.port, made)
    assert said_back(good, b"hello") == b"hello"
    alone = resident_bytes(server.pid)
    silent = [tenon.dial(f"tcp://127.0.0.1:{server.port}") for _ in range(crowd // 2)]
    slow = [tenon.dial(f"tcp://127.0.0.1:{server.port}") for _ in range(crowd // 2)]
    for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03":
        for sock in slow:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(bytes([byte]))
        assert said_back(good, noise(10 * KIB)) == noise(10 * KIB)
    if not SANITIZED:
        assert resident_bytes(server.pid) - alone < crowd * 24 * KIB
    for sock in [*silent, *slow]:
        with contextlib.suppress(ConnectionResetError):
            assert receive_to_end(sock) == b""
    assert said_back(good, b"still here") == b"still here"
    good.close()


def test_a_client_gives_up_a_silent_server(tenon):
    listener = tenon.listen()
    result = tenon.run("send", f"tls://127.0.0.1:{listener.getsockname()[1]}?handshake=200ms", "x", status=3)
    assert "the peer has said nothing within 200ms" in result.err


def test_a_probe_is_no_trouble(tenon, server):
    for _ in range(3):
        tenon.dial(f"tcp://127.0.0.1:{server.port}").close()
    server.wait_for_rest()
    assert not [e for e in server.events if e["event"] in ("trouble", "open")]


# The end

def test_an_end_without_close_notify_is_an_error(tenon, authority, trusted):
    url, listener = listen_python(tenon, None)
    client = tenon.start("connect", f"{url}?{trusted}", stdin=subprocess.PIPE)
    sock = server_context(authority).wrap_socket(tenon.accept(listener), server_side=True)
    sock.sendall(b"half of it")
    client.wait_for_text("half of it", "out")
    os.close(sock.detach())  # FIN, nothing of TLS
    client.popen.stdin.close()  # the end of what there is to say: until then the other direction goes on, as over TCP
    client.wait(1)
    assert "close_notify" in client.err and client.out == b"half of it"


def test_a_client_that_is_cut_off(tenon, server, authority):
    sock = dial_python(server.port, context(authority))
    sock.sendall(b"x")
    assert sock.recv(1) == b"x"
    os.close(sock.detach())
    assert server.wait_for_event("close")["reason"] == "cut"


# Files

def usage(tenon, *args, words):
    result = tenon.run("serve", "tcp://127.0.0.1:0", *args, status=2)
    assert result.out == b"", "nothing listens"
    for word in words:
        assert word in result.err, result.err


def test_bad_files(tenon, authority):
    none = tenon.folder / "none.pem"
    junk = tenon.file("junk.pem", b"junk\n")
    usage(tenon, f"tls://127.0.0.1:0?cert={none}", words=["cert", str(none), "there is no file"])
    usage(tenon, f"tls://127.0.0.1:0?cert={junk}", words=["cert", str(junk)])
    usage(tenon, f"tls://127.0.0.1:0?cert={authority.pem('server')}", words=[str(authority.pem("server")), "key"])
    usage(tenon, f"tls://127.0.0.1:0?cert={authority.pem('server')}&key={none}",
          words=["key", str(none), "there is no file"])
    usage(tenon, f"tls://127.0.0.1:0?cert={authority.pem('server')}&key={authority.key('alice')}",
          words=[str(authority.pem("server")), str(authority.key("alice"))])
    usage(tenon, f"tls://127.0.0.1:0?{authority.pair('server')}&ca={junk}", words=["ca", str(junk)])
    usage(tenon, f"tls://127.0.0.1:0?psk-file={junk}", words=["psk-file", str(junk), "line 1"])
    usage(tenon, f"tls://127.0.0.1:0?{authority.pair('server')}&verify=on", words=["verify"])
    usage(tenon, f"tls://127.0.0.1:0?{authority.pair('server')}&tls-min=1.1", words=["tls-min", "1.2|1.3"])
    usage(tenon, "tls://127.0.0.1:0", words=["tenon cert new", "--host localhost"])
    usage(tenon, f"tcp://127.0.0.1:0?cert={authority.pem('server')}", words=["cert", "tls"])


def test_an_encrypted_key(tenon, authority):
    locked = tenon.folder / "locked.key"
    authority.openssl("pkey", "-in", authority.key("server"), "-aes256", "-passout", "pass:secret", "-out", locked)
    usage(tenon, f"tls://127.0.0.1:0?cert={authority.pem('server')}&key={locked}", words=[str(locked)])


def test_a_key_that_others_can_read(tenon, authority, trusted):
    key = tenon.file("open.key", authority.key("server").read_bytes())
    key.chmod(0o644)
    server = tenon.serve(f"tls://127.0.0.1:0?cert={authority.pem('server')}&key={key}")
    assert server.err.count(f"chmod 600 {key}") == 1
    assert tenon.run("send", f"{server.url}?{trusted}", "x").out == b"x\n"


def test_an_expired_certificate_is_served_with_a_warning(tenon, authority):
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('expired')}")
    assert server.err.count("has expired") == 1


def test_the_key_log(tenon, authority, trusted):
    log = tenon.folder / "keys"
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}", env={"SSLKEYLOGFILE": str(log)})
    tenon.run("send", f"{server.url}?{trusted}", "x")
    assert not log.exists(), "a server has to be told"
    tenon.run("send", f"{server.url}?{trusted}", "x", env={"SSLKEYLOGFILE": str(log)})
    assert "CLIENT_TRAFFIC_SECRET_0" in log.read_text(encoding="ascii") and log.stat().st_mode & 0o777 == 0o600
    own = tenon.folder / "server-keys"
    told = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}&keylog={own}")
    tenon.run("send", f"{told.url}?{trusted}", "x")
    assert "SERVER_TRAFFIC_SECRET_0" in own.read_text(encoding="ascii")


# Reloading

@pytest.fixture
def renewed(tenon, authority, trusted):
    """A server whose files can be replaced, a connection that is open, and how to replace them."""
    cert, key = tenon.folder / "live.pem", tenon.folder / "live.key"

    def put(name, with_key=True):
        for target, source in ((key, authority.key(name)), (cert, authority.pem(name))):
            if target == cert or with_key:
                fresh = target.with_suffix(".new")
                fresh.write_bytes(source.read_bytes())
                fresh.chmod(0o600)
                fresh.replace(target)
    put("server")
    server = tenon.serve(f"tls://127.0.0.1:0?cert={cert}&key={key}", options=["--threads", "2"])
    sock = tenon.cleanups.enter_context(dial_python(server.port, context(authority)))

    def still_open():
        sock.sendall(b"x")
        return sock.recv(1) == b"x"
    assert still_open()
    return server, put, still_open


def shows(tenon, server, trusted, name):
    return tenon.run("send", f"{server.url}?{trusted}&sni={name}", "x", status=None).out == b"x\n"


def test_reload_on_sighup(tenon, trusted, renewed):
    server, put, still_open = renewed
    put("a.example")
    server.signal(signal.SIGHUP)
    server.wait_for_text("read again|have changed")
    assert shows(tenon, server, trusted, "a.example") and not shows(tenon, server, trusted, "localhost")
    assert still_open()


@one_engine
def test_reload_by_change(tenon, trusted, renewed):
    server, put, still_open = renewed
    put("a.example")
    server.wait_for_text("have changed and are in use")
    assert shows(tenon, server, trusted, "a.example") and still_open()


@one_engine
def test_a_bad_certificate_keeps_the_old(tenon, trusted, renewed):
    server, put, still_open = renewed
    put("a.example", with_key=False)
    server.signal(signal.SIGHUP)
    server.wait_for_text("the old (certificates|ones) stay in use")
    assert shows(tenon, server, trusted, "localhost") and still_open()
    put("a.example")
    server.wait_for_text("have changed and are in use")
    assert shows(tenon, server, trusted, "a.example") and still_open()


# A server's log

def test_a_crowd_does_not_hide_the_one_that_matters(tenon, authority, trusted):
    """50 times garbage, and among it a certificate of somebody else's authority: that is told, and all are counted."""
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}&{trusted}&tls-min=1.3",
                         options=["--json", "--threads", "2"])
    for i in range(50):
        if i == 25:
            tenon.run("send", f"{server.url}?{trusted}&{authority.pair('mallory')}", "x", status=None)
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            receive_to_end(sock)

    def troubles():
        return [event for event in server.events if event["event"] == "trouble"]
    wait_until(lambda: sum(1 + event["suppressed"] for event in troubles()) == 51,
               lambda: f"all are counted: {troubles()}")
    foreign = [event for event in troubles() if "mallory" in event["error"] or "authority" in event["error"]]
    assert len(foreign) == 1 and foreign[0]["suppressed"] == 0, troubles()
    assert len(troubles()) < 20


@one_engine
def test_a_certificate_that_cannot_be_read_is_told_once_even_to_the_quiet(tenon, trusted, authority):
    cert = tenon.file("live.pem", authority.pem("server").read_bytes())
    server = tenon.serve(f"tls://127.0.0.1:0?cert={cert}&key={authority.key('server')}", options=["-q"])
    cert.write_bytes(b"nonsense\n")
    server.wait_for_text("the old (certificates|ones) stay in use")
    time.sleep(2.5)  # it looks once a second
    assert server.err.count("stay in use") == 1
