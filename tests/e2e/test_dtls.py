"""DTLS: tenon with the clients and servers that others have written, what it refuses and in which words, over networks
that lose packets."""
import json
import signal
import socket
import subprocess
import time

import pytest

from harness import LIMIT, free_port, wait_until

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def server(tenon, authority):
    """An ack server with a good certificate, on 127.0.0.1."""
    return tenon.serve(f"dtls://127.0.0.1:0?{authority.pair('server')}", options=["--json"])


@pytest.fixture
def psk_file(tenon):
    path = tenon.file("psk", f"bob:{KEY}\ncarol:{KEY[::-1]}\n".encode())
    path.chmod(0o600)
    return path


def free_udp_port():
    return free_port(kind=socket.SOCK_DGRAM)


def is_bound(port):
    with open("/proc/net/udp", encoding="ascii") as table:
        return any(f":{port:04X} " in line.split("rem")[0][:40] for line in table)


def count(server, name):
    return len([e for e in server.events if e["event"] == name])


# With itself

def test_tenon_with_tenon(tenon, server, trusted):
    assert tenon.run("send", f"{server.url}?{trusted}", "one", "two").out == b"ack: one\nack: two\n"
    opened = server.wait_for_event("open")
    assert opened["protocol"] == "DTLSv1.2" and "GCM" in opened["cipher"] and opened["identity"] is None
    closed = server.wait_for_event("close")
    assert closed["reason"] == "end" and closed["messages_in"] == closed["messages_out"] == 2
    assert opened["peer"] == closed["peer"] and opened["peer"].startswith("dtls://127.0.0.1:")
    assert opened["local"] == f"dtls://127.0.0.1:{server.port}"


@pytest.mark.parametrize("scheme, place", [("dtls", "localhost"), ("dtls4", "127.0.0.1"), ("dtls6", "[::1]")])
def test_every_scheme(tenon, authority, trusted, scheme, place):
    server = tenon.serve(f"{scheme}://{place}:0?{authority.pair('server')}", options=["--threads", "2"],
                         listeners=2 if place == "localhost" else 1)
    for i in range(6):
        url = f"{scheme}://{place}:{server.port}?{trusted}"
        assert tenon.run("send", url, f"hello {i}").out == f"ack: hello {i}\n".encode()


def test_lines_and_their_end(tenon, server, trusted):
    data = tenon.file("lines", b"".join(b"line %d\n" % i for i in range(20)))
    said = tenon.feed(data, tenon.argv("connect", f"{server.url}?{trusted}"))
    assert said.splitlines() == [b"ack: line %d" % i for i in range(20)]
    assert server.wait_for_event("close")["reason"] == "end"


@pytest.mark.parametrize("handler, said", [("echo", b"hello\n"), ("ack", b"ack: hello\n"), ("discard", b""),
                                           ("exec:tr a-z A-Z", b"HELLO\n")])
def test_handlers(tenon, authority, trusted, handler, said):
    server = tenon.serve(f"dtls://127.0.0.1:0?{authority.pair('server')}", options=["--handler", handler])
    data = tenon.file("data", b"hello\n")
    assert tenon.feed(data, tenon.argv("connect", f"{server.url}?{trusted}")) == said


def test_formats(tenon, authority, trusted):
    server = tenon.serve(f"dtls://127.0.0.1:0?{authority.pair('server')}&format=json")
    url = f"{server.url}?{trusted}&format=json"
    assert json.loads(tenon.run("send", url, '{"a":1}').out) == {"ack": {"a": 1}}
    assert b"error" in tenon.run("send", f"{server.url}?{trusted}", "{").out


@pytest.mark.parametrize("handler", ["echo", "ack"])
def test_a_reply_that_does_not_fit_is_lost(tenon, authority, trusted, handler):
    """As with UDP: the connection goes on."""
    server = tenon.serve(f"dtls://127.0.0.1:0?{authority.pair('server')}&format=json&max=16",
                         options=["--handler", handler])
    said = tenon.run("connect", f"{server.url}?{trusted}", input=b"{\n1\n").out
    assert json.loads(said) in (1, {"ack": 1})


def test_what_a_message_may_be(tenon, server, trusted):
    big = tenon.file("big", b"x" * 16379)
    assert tenon.run("send", f"{server.url}?{trusted}", f"@{big}").out == b"ack: " + b"x" * 16379
    longer = tenon.file("longer", b"x" * 16385)
    assert "Message too long" in tenon.run("send", f"{server.url}?{trusted}", f"@{longer}", status=None).err
    assert "no empty message" in tenon.run("send", f"{server.url}?{trusted}", "", status=None).err


@pytest.mark.parametrize("key, why", [("frame=line", "not to datagrams"), ("backlog=5", "not to datagrams"),
                                      ("tls-min=1.3", "version 1.2 only"), ("nodelay=on", "cannot apply"),
                                      ("verify=on", "verify")])
def test_keys_that_cannot_apply(tenon, authority, key, why):
    result = tenon.run("serve", f"dtls://127.0.0.1:0?{authority.pair('server')}&{key}", status=2)
    assert why in result.err and result.out == b""


def test_no_certificate(tenon):
    assert "tenon cert new" in tenon.run("serve", "dtls://127.0.0.1:0", status=2).err


def test_options_in_force(tenon, server, trusted):
    listed = tenon.run("options", f"{server.url}?{trusted}", status=None)
    assert listed.status == 0, listed
    assert "handshake" in listed.text


def test_bench(tenon, server, trusted):
    url = f"{server.url}?{trusted}"
    result = json.loads(tenon.run("bench", url, "--conns", "4", "--requests", "200", "--json").lines[-1])
    assert result["datagrams"]["lost"] < 200 and result["setup"]["may_lose"]
    result = json.loads(tenon.run("bench", url, "--mode", "connect", "--conns", "2", "--duration", "1s",
                                  "--warmup", "0s", "--json").lines[-1])
    assert count(server, "open") > 5, result
    wait_until(lambda: count(server, "open") == count(server, "close"), "the end of all")
    assert {e["reason"] for e in server.events if e["event"] == "close"} == {"end"}


def test_an_end_that_is_lost(tenon, server, trusted):
    """close_notify is a datagram that nobody sends again: a client that waited for it for ever would hang."""
    client = tenon.start("connect", f"{server.url}?{trusted}", stdin=subprocess.PIPE)
    server.wait_for_event("open")
    server.signal(signal.SIGSTOP)
    client.popen.stdin.close()
    client.wait(3, limit=10 + LIMIT)
    server.signal(signal.SIGCONT)
    assert "the peer has not ended within 10 s" in client.err


def test_cert_show(tenon, server, trusted):
    assert "CN=server" in tenon.run("cert", "show", f"{server.url}?{trusted}").text


# Clients and servers that others wrote

def says_hello(client, server=None):
    client.popen.stdin.write(b"hello\n")
    client.popen.stdin.flush()
    client.wait_for_text("^ack: hello$", "out")
    client.kill()
    return server and server.wait_for_event("open")


def test_openssl_client(tenon, server, authority):
    client = tenon.peer("openssl", "s_client", "-dtls1_2", "-connect", f"127.0.0.1:{server.port}", "-CAfile",
                        authority.pem("ca"), "-verify_return_error", "-quiet", stdin=subprocess.PIPE)
    assert says_hello(client, server)["protocol"] == "DTLSv1.2"


def test_openssl_client_says_goodbye(tenon, server, authority):
    client = tenon.peer("openssl", "s_client", "-dtls1_2", "-connect", f"127.0.0.1:{server.port}", "-CAfile",
                        authority.pem("ca"), stdin=subprocess.PIPE)
    client.wait_for_text("Verify return code", "out")
    client.popen.stdin.write(b"Q\n")
    client.popen.stdin.flush()
    client.wait(status=None)
    assert server.wait_for_event("close")["reason"] == "end"


def test_gnutls_client(tenon, server, authority, program):
    client = tenon.peer(program("gnutls-cli"), "--udp", "--x509cafile", authority.pem("ca"),
                        "--logfile", tenon.folder / "log", "-p", server.port, "127.0.0.1", stdin=subprocess.PIPE)
    assert says_hello(client, server)["protocol"] == "DTLSv1.2"


def talk(tenon, url, peer):
    """Both ways with a peer that shows what it gets, and sends what it is given."""
    client = tenon.start("connect", url, stdin=subprocess.PIPE)
    client.popen.stdin.write(b"from us\n")
    client.popen.stdin.flush()
    peer.wait_for_text("^from us$", "out")
    peer.popen.stdin.write(b"from it\n")
    peer.popen.stdin.flush()
    client.wait_for_text("^from it$", "out")
    client.popen.stdin.close()  # close_notify
    return client


def openssl_server(tenon, port, *args):
    peer = tenon.peer("openssl", "s_server", "-dtls1_2", "-listen", "-accept", f"127.0.0.1:{port}", *args,
                      stdin=subprocess.PIPE)
    peer.wait_for_text("ACCEPT", "out")
    return peer


def test_openssl_server(tenon, authority, trusted):
    port = free_udp_port()
    peer = openssl_server(tenon, port, "-cert", authority.pem("server"), "-key", authority.key("server"))
    talk(tenon, f"dtls://127.0.0.1:{port}?{trusted}", peer).wait()


def test_gnutls_server(tenon, authority, trusted, program):
    port = free_udp_port()
    tenon.peer(program("gnutls-serv"), "--udp", "--echo", "--x509certfile", authority.pem("server"), "--x509keyfile",
               authority.key("server"), "-p", port)
    wait_until(lambda: is_bound(port), "gnutls-serv listens")
    assert tenon.run("send", f"dtls://127.0.0.1:{port}?{trusted}", "hello\n").out.rstrip() == b"hello"


# Who the server is, and who the client

def refused(tenon, url, *words, status=1):
    result = tenon.run("send", url, "secret", status=status)
    assert result.out == b""
    for word in words:
        assert word in result.err, result.err


@pytest.mark.parametrize("name, words", [
    ("a.example", ["the certificate is for a.example, b.example, not for 127.0.0.1"]),
    ("expired", ["has expired", "CN=expired", "2020-02-01"]),
    ("self", ["self-signed", "CN=localhost", "ca=FILE"]),
    ("mallory", ["vouches for", "CN=mallory", "CN=other-ca"]),
])
def test_a_server_that_cannot_be_trusted(tenon, authority, trusted, name, words):
    server = tenon.serve(f"dtls://127.0.0.1:0?{authority.pair(name)}")
    refused(tenon, f"{server.url}?{trusted}", server.url, *words)
    server.wait_for_text("refused the DTLS handshake with the alert")
    aloud = tenon.run("send", f"{server.url}?verify=off", "hello")
    assert aloud.out == b"ack: hello\n" and "not verified" in aloud.err
    pinned = tenon.run("send", f"{server.url}?verify=off&pin={authority.pin(name).hex()}" if name != "self" else
                       f"{server.url}?ca={authority.pem('self')}", "hello")
    assert pinned.out == b"ack: hello\n"


def test_names_and_protocols(tenon, authority, trusted):
    both = f"cert={authority.pem('server')},{authority.pem('a.example')}&" \
           f"key={authority.key('server')},{authority.key('a.example')}"
    server = tenon.serve(f"dtls://127.0.0.1:0?{both}&alpn=beta,alpha", options=["--json"])
    assert tenon.run("send", f"{server.url}?{trusted}&sni=b.example&alpn=alpha", "x").out == b"ack: x\n"
    opened = server.wait_for_event("open")
    assert opened["server_name"] == "b.example" and opened["alpn"] == "alpha"
    refused(tenon, f"{server.url}?{trusted}&alpn=gamma", "none of the protocols of key alpn")


def test_client_certificates(tenon, authority, trusted):
    server = tenon.serve(f"dtls://127.0.0.1:0?{authority.pair('server')}&{trusted}", options=["--json"])
    assert tenon.run("send", f"{server.url}?{trusted}&{authority.pair('alice')}", "hello").out == b"ack: hello\n"
    assert server.wait_for_event("open")["identity"] == "CN=alice"
    refused(tenon, f"{server.url}?{trusted}", "refused the DTLS handshake", "client certificate")
    refused(tenon, f"{server.url}?{trusted}&{authority.pair('mallory')}", "unknown CA")
    assert count(server, "open") == 1


def test_openssl_with_client_certificates(tenon, authority, trusted):
    server = tenon.serve(f"dtls://127.0.0.1:0?{authority.pair('server')}&{trusted}", options=["--json"])
    client = tenon.peer("openssl", "s_client", "-dtls1_2", "-connect", f"127.0.0.1:{server.port}", "-CAfile",
                        authority.pem("ca"), "-cert", authority.pem("alice"), "-key", authority.key("alice"), "-quiet",
                        stdin=subprocess.PIPE)
    assert says_hello(client, server)["identity"] == "CN=alice"
    port = free_udp_port()
    peer = openssl_server(tenon, port, "-cert", authority.pem("server"), "-key", authority.key("server"), "-CAfile",
                          authority.pem("ca"), "-Verify", "2", "-verify_return_error")
    talk(tenon, f"dtls://127.0.0.1:{port}?{trusted}&{authority.pair('alice')}", peer).wait()


def test_pre_shared_keys(tenon, psk_file):
    server = tenon.serve(f"dtls://127.0.0.1:0?psk-file={psk_file}&handshake=1s", options=["--json"])
    assert tenon.run("send", f"{server.url}?psk-file={psk_file}", "hello").out == b"ack: hello\n"
    assert server.wait_for_event("open")["identity"] == "bob"
    wrong = tenon.file("wrong", f"bob:{KEY[::-1]}\n".encode())
    # A record that cannot be read may be anybody's, so nobody is told of it: the handshake gets nowhere.
    refused(tenon, f"{server.url}?psk-file={wrong}&handshake=1s", "DTLS handshake", "key for 'bob' may be another",
            "within 1s", status=3)
    server.wait_for_text("key for 'bob' may be another", "out")  # the server says so, too
    stranger = tenon.file("stranger", f"eve:{KEY}\n".encode())
    refused(tenon, f"{server.url}?psk-file={stranger}", "refused the DTLS handshake")


def test_pre_shared_keys_with_openssl(tenon, psk_file):
    server = tenon.serve(f"dtls://127.0.0.1:0?psk-file={psk_file}", options=["--json"])
    client = tenon.peer("openssl", "s_client", "-dtls1_2", "-connect", f"127.0.0.1:{server.port}",
                        "-psk_identity", "carol", "-psk", KEY[::-1], "-quiet", stdin=subprocess.PIPE)
    assert says_hello(client, server)["identity"] == "carol"
    port = free_udp_port()
    peer = openssl_server(tenon, port, "-nocert", "-psk_identity", "bob", "-psk", KEY)
    talk(tenon, f"dtls://127.0.0.1:{port}?psk-file={psk_file}", peer).wait()


# Who does not answer, or not in DTLS

def test_plain_udp_servers(tenon):
    for handler, words in (("ack", "it sent 'ack: "), ("echo", "it sent our own hello back")):
        server = tenon.serve("udp://127.0.0.1:0", options=["--handler", handler])
        refused(tenon, f"dtls://127.0.0.1:{server.port}?handshake=300ms", "does not speak DTLS", words, "within 300ms",
                status=3)


def test_nobody_answers(tenon):
    mute = tenon.listen(kind=socket.SOCK_DGRAM)
    url = f"dtls://127.0.0.1:{mute.getsockname()[1]}?handshake=200ms"
    refused(tenon, url, "DTLS handshake: the peer has said nothing within 200ms", status=3)


def test_nobody_is_there(tenon):
    refused(tenon, f"dtls://127.0.0.1:{free_udp_port()}", "DTLS handshake: Connection refused")


def test_strangers_are_not_answered(tenon, server, trusted):
    stranger = tenon.listen(kind=socket.SOCK_DGRAM)
    for data in (b"hello", b"", b"\x16\xfe\xff" + bytes(200), b"\x17\xfe\xfd" + bytes(60), bytes(1400)):
        stranger.sendto(data, ("127.0.0.1", server.port))
    assert tenon.run("send", f"{server.url}?{trusted}", "hello").out == b"ack: hello\n"
    stranger.settimeout(0.1)
    with pytest.raises(TimeoutError):
        stranger.recv(100)
    assert count(server, "trouble") == 0 and count(server, "open") == 1


# Limits and ends

def test_limit(tenon, authority, trusted):
    server = tenon.serve(f"dtls://127.0.0.1:0?{authority.pair('server')}", options=["--max-conns", "1"])
    first = tenon.start("connect", f"{server.url}?{trusted}", stdin=subprocess.PIPE)
    first.popen.stdin.write(b"hello\n")
    first.popen.stdin.flush()
    first.wait_for_text("^ack: hello$", "out")
    refused(tenon, f"{server.url}?{trusted}", "refused the DTLS handshake with the alert 'internal error'")
    server.wait_for_text("a connection was refused")
    first.popen.stdin.close()
    first.wait()
    wait_until(lambda: tenon.run("send", f"{server.url}?{trusted}", "x", status=None).out == b"ack: x\n",
               "a free place")


def test_a_client_that_vanishes_is_idle(tenon, authority, trusted):
    server = tenon.serve(f"dtls://127.0.0.1:0?{authority.pair('server')}&idle=1s", options=["--json"])
    client = tenon.start("connect", f"{server.url}?{trusted}", stdin=subprocess.PIPE)
    server.wait_for_event("open")
    client.kill()
    assert server.wait_for_event("close")["reason"] == "idle"


def test_a_server_that_stops_tells_its_clients(tenon, server, trusted):
    client = tenon.start("connect", f"{server.url}?{trusted}", stdin=subprocess.PIPE)
    server.wait_for_event("open")
    server.stop(signal.SIGTERM)
    client.popen.stdin.close()
    client.wait()


def test_reload(tenon, authority, trusted):
    cert, key = tenon.file("live.pem", b""), tenon.file("live.key", b"")

    def put(name):
        for target, source in ((key, authority.key(name)), (cert, authority.pem(name))):
            target.write_bytes(source.read_bytes())
            target.chmod(0o600)
    put("server")
    server = tenon.serve(f"dtls://127.0.0.1:0?cert={cert}&key={key}")
    client = tenon.start("connect", f"{server.url}?{trusted}", stdin=subprocess.PIPE)
    client.popen.stdin.write(b"one\n")
    client.popen.stdin.flush()
    client.wait_for_text("^ack: one$", "out")
    put("a.example")
    server.signal(signal.SIGHUP)
    server.wait_for_text("read again|have changed")
    assert tenon.run("send", f"{server.url}?{trusted}&sni=b.example", "x").out == b"ack: x\n"
    client.popen.stdin.write(b"two\n")
    client.popen.stdin.flush()
    client.wait_for_text("^ack: two$", "out")
    client.popen.stdin.close()
    client.wait()


def test_the_key_log(tenon, authority, trusted):
    log, own = tenon.folder / "keys", tenon.folder / "server-keys"
    server = tenon.serve(f"dtls://127.0.0.1:0?{authority.pair('server')}&keylog={own}")
    tenon.run("send", f"{server.url}?{trusted}", "x", env={"SSLKEYLOGFILE": str(log)})
    assert "CLIENT_RANDOM" in log.read_text(encoding="ascii") and log.read_bytes() == own.read_bytes()


# Networks that lose packets

def filter_input(network, nft, rule):
    nft(network, f"table inet bad {{\nchain in {{\ntype filter hook input priority 0;\n{rule} drop\n}}\n}}\n")


def serve_far(tenon, authority, wire, *keys):
    authority.issue("far", "IP:10.9.0.2")
    url = "&".join([f"dtls://10.9.0.2:0?{authority.pair('far')}", *keys])
    return tenon.serve(url, options=["--json"], preexec_fn=wire.far.enter)


def test_a_tenth_is_lost(tenon, authority, trusted, wire, nft):
    """Handshakes get through all the same; of the messages some are lost, none is changed or stands for another."""
    server = serve_far(tenon, authority, wire, "handshake=80s")
    for network in (wire.near, wire.far):
        filter_input(network, nft, "meta l4proto udp numgen random mod 100 < 10")
    url = f"{server.url}?{trusted}&handshake=80s"
    done = tenon.run("bench", url, "--conns", "3", "--rate", "300", "--duration", "4s", "--warmup", "0s",
                     "--timeout", "500ms", "--expect", "any", "--json", preexec_fn=wire.near.enter, limit=3 * LIMIT)
    result = json.loads(done.out.splitlines()[-1])
    assert count(server, "open") >= 1
    assert result["datagrams"]["lost"] > 0 and result["errors"] == 0, result
    assert result["datagrams"]["duplicates"] == 0


def test_a_path_for_small_packets(tenon, authority, trusted, network, nft):
    """Certificates do not fit: they come in pieces, after some tries."""
    filter_input(network, nft, "meta l4proto udp meta length > 600")
    server = tenon.serve(f"dtls://127.0.0.1:0?{authority.pair('server')}&{trusted}&handshake=80s", options=["--json"],
                         preexec_fn=network.enter)
    start = time.monotonic()
    url = f"{server.url}?{trusted}&{authority.pair('alice')}&handshake=80s"
    assert tenon.run("send", "--wait", f"{LIMIT}s", url, "hello", limit=2 * LIMIT,
                     preexec_fn=network.enter).out == b"ack: hello\n"
    assert time.monotonic() - start > 1, "nothing was too large"
    assert server.wait_for_event("open")["identity"] == "CN=alice"


# A name with several addresses: localhost is 127.0.0.1, then ::1

def bound(host, port=0):
    """A UDP socket there that says nothing; None: another has that port."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        return None
    return sock


def beside(tenon, pair, alive, silent):
    """A server there and, at the same port of the other address, a socket that says nothing."""
    while True:
        server = tenon.serve(f"dtls://{alive}:0?{pair}", options=["--json"])
        sock = bound("::1" if alive == "127.0.0.1" else "127.0.0.1", server.port)
        if sock and not silent:
            sock.close()
        if sock:
            return server, sock
        server.stop()


@pytest.mark.parametrize("alive", ["127.0.0.1", "[::1]"])
@pytest.mark.parametrize("other", ["dead", "silent"])
def test_the_address_that_answers(tenon, authority, trusted, alive, other):
    server, silent = beside(tenon, authority.pair("server"), alive, other == "silent")
    url = f"dtls://localhost:{server.port}?{trusted}"
    try:
        assert tenon.run("send", url, "one", "two").out == b"ack: one\nack: two\n"
        assert tenon.feed(tenon.file("data", b"three\n"), tenon.argv("connect", url)) == b"ack: three\n"
        assert tenon.run("ping", "--count", "2", url).status == 0
    finally:
        silent.close()
    peers = {e["peer"].rsplit(":", 1)[0] for e in server.events if e["event"] == "open"}
    assert peers == {f"dtls://{alive}"}


def test_no_address_answers(tenon):
    v4, v6 = bound("127.0.0.1"), None
    while not (v6 := bound("::1", v4.getsockname()[1])):
        v4.close()
        v4 = bound("127.0.0.1")
    with v4, v6:
        url = f"dtls://localhost:{v4.getsockname()[1]}?verify=off&handshake=1s"
        refused(tenon, url, "timed out after 1s while connecting to 127.0.0.1", "[::1]", status=3)
    refused(tenon, f"dtls://localhost:{free_udp_port()}?verify=off", "127.0.0.1", "[::1]", "refused")


def test_a_server_that_is_slow_to_answer(tenon, authority, trusted):
    """Both are asked again and again: the one that wakes up in the end is taken."""
    server, silent = beside(tenon, authority.pair("server"), "127.0.0.1", True)
    server.signal(signal.SIGSTOP)
    with silent:
        client = tenon.start("send", f"dtls://localhost:{server.port}?{trusted}", "hello")
        time.sleep(1.2)
        server.signal(signal.SIGCONT)
        client.wait()
    assert client.out == b"ack: hello\n"
