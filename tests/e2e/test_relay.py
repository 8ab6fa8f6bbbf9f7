"""tenon relay: sessions, targets, datagrams, formats, and how it ends."""
import contextlib
import json
import os
import re
import select
import signal
import socket
import threading
import time

import pytest

from harness import (LIMIT, MIB, descriptors_of, exchange, free_port, load, noise, open_socket, receive_exactly,
                     receive_to_end, receive_to_reset, reset, wait_until)
from system import limit_files

USAGE = 2
DATA = noise(2 * MIB + 17, 3)


IDLE = ["--json", "--idle", "300ms"]  # so that sessions of datagrams end within a test


def url_of(sock):
    scheme = "tcp" if sock.type == socket.SOCK_STREAM else "udp"
    return f"{scheme}://127.0.0.1:{sock.getsockname()[1]}"


def receive_first(sock):
    """Waits until something has come, without taking it."""
    wait_until(lambda: select.select([sock], [], [], 0.01)[0], "something has come")


def session(relay, **members):
    return relay.wait_for_event("session", **members)


def dial_to_reset(tenon, url):
    """What came before the reset, which may be there before connect() returns."""
    try:
        return receive_to_reset(tenon.dial(url))
    except ConnectionResetError:
        return b""


# Every pair of kinds

STREAMS = ["tcp://127.0.0.1:0", "unix:{}/{}", "unix:@{}-{}", "mptcp://127.0.0.1:0"]
KEEPING = ["unix-seqpacket:{}/{}", "tcp://127.0.0.1:0?frame=u32", "udp://127.0.0.1:0", "unix-dgram:{}/{}"]


def placed(url, tenon, name):
    path = tenon.folder if "@" not in url else tenon.name
    return url.format(path, name)


@pytest.mark.parametrize("listen", STREAMS)
@pytest.mark.parametrize("target", STREAMS)
def test_streams(tenon, listen, target):
    server = tenon.serve(placed(target, tenon, "t"))
    relay = tenon.relay(placed(listen, tenon, "l"), server.url)
    assert exchange(tenon.dial(relay.url), DATA, finish=True) == DATA
    event = session(relay)
    assert (event["bytes_in"], event["bytes_out"], event["ended_by"], event["reason"]) == (
        len(DATA), len(DATA), "client", "end")
    assert event["error"] is None and event["tried"][0]["error"] is None
    assert event["first_byte_ms"] >= event["connect_ms"] >= 0
    assert event["handshake_ms"] is None, "there is nothing but the socket"


@pytest.mark.parametrize("listen", KEEPING)
@pytest.mark.parametrize("target", KEEPING)
def test_messages(tenon, listen, target):
    """Whatever keeps messages, each stays one."""
    server = tenon.serve(placed(target, tenon, "t"), options=["--handler", "echo"])
    keys = target.partition("?")[2]
    relay = tenon.relay(placed(listen, tenon, "l"), server.url.split("?")[0] + (f"?{keys}" if keys else ""),
                        options=IDLE)
    where = relay.url.split("?")[0] + ("?frame=u32" if "frame" in listen else "")
    for text in ("one", "two and more", "three"):
        assert tenon.run("send", where, text).text.strip() == text


def test_dtls_in_front_of_udp(tenon, authority, trusted):
    server = tenon.serve("udp://127.0.0.1:0", options=["--handler", "echo"])
    relay = tenon.relay(f"dtls://127.0.0.1:0?{authority.pair('server')}", server.url)
    assert tenon.run("send", f"{relay.url}?{trusted}", "hello").text == "hello\n"


def test_tls_on_either_side(tenon, authority, trusted):
    server = tenon.serve("tcp://127.0.0.1:0")
    inner = tenon.relay(f"tls://127.0.0.1:0?{authority.pair('server')}", server.url)
    outer = tenon.relay("tcp://127.0.0.1:0", f"{inner.url}?{trusted}")
    assert exchange(tenon.dial(outer.url), DATA, finish=True) == DATA


def test_many_sessions_on_threads(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--threads", 2])
    relay = tenon.relay("tcp://127.0.0.1:0", server.url, options=["--json", "--threads", 2])
    socks = [tenon.dial(relay.url) for _ in range(200)]
    for i, sock in enumerate(socks):
        sock.sendall(b"%03d" % i)
    for i, sock in enumerate(socks):
        assert receive_exactly(sock, 3) == b"%03d" % i
        sock.close()
    wait_until(lambda: sum(event["event"] == "session" for event in relay.events) == 200, "200 sessions are told")


def test_how_long_it_took(tenon, authority, trusted):
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}")
    relay = tenon.relay("tcp://127.0.0.1:0", f"{server.url}?{trusted}")
    assert exchange(tenon.dial(relay.url), b"hello", finish=True) == b"hello"
    event = session(relay)
    assert event["handshake_ms"] > 0 and event["connect_ms"] >= 0
    took = event["connect_ms"] + event["handshake_ms"]
    assert event["first_byte_ms"] >= event["tried"][0]["ms"] == pytest.approx(took, abs=0.002)
    assert event["tried"][0]["url"] == f"{server.url}?{trusted}", "as it was given"


def test_a_client_that_goes_before_its_target_is_reached(tenon):
    """A listener whose backlog is full answers nobody."""
    full = tenon.listen(backlog=0)
    held = [socket.socket() for _ in range(2)]
    for sock in held:
        sock.setblocking(False)
        sock.connect_ex(full.getsockname())
    relay = tenon.relay("tcp://127.0.0.1:0", url_of(full), options=["--json", "--connect", "1h"])
    client = tenon.dial(relay.url)
    wait_until(lambda: len(descriptors_of(relay.pid)) >= len(relay.at_rest) + 2, "the target is dialled")
    reset(client)
    event = session(relay)
    assert (event["ended_by"], event["reason"], event["target"]) == ("client", "reset", None)
    for sock in held:
        sock.close()


@pytest.mark.parametrize("side", ["client", "target"])
@pytest.mark.parametrize("keys", ["idle=1s", "keepalive=on&keepidle=1s&keepintvl=1s&keepcnt=1"])
def test_a_peer_that_vanishes(tenon, network, nft, side, keys):
    """Nothing says that it has gone, and nothing that is sent to it is answered."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--json"], preexec_fn=network.enter)
    urls = ["tcp://127.0.0.1:0", server.url]
    urls[side == "target"] += f"?{keys}"
    server.untidy = True
    relay = tenon.relay(*urls, preexec_fn=network.enter)
    client = network.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.settimeout(LIMIT)
    client.connect(("127.0.0.1", relay.port))
    assert exchange(client, b"hello") == b"hello"
    port = relay.port if side == "client" else server.port
    nft(network, f"table inet cut {{\nchain out {{\ntype filter hook output priority 0;\ntcp dport {port} drop\n"
                 f"tcp sport {port} drop\n}}\n}}\n")
    if side == "target":
        assert receive_to_reset(client) == b""
    else:
        assert server.wait_for_event("close")["reason"] == "reset"
    assert session(relay)["reason"] in ["idle" if keys.startswith("idle") else "timeout"]
    client.close()
    nft(network, "delete table inet cut")


def test_several_listeners(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    relay = tenon.relay("tcp://127.0.0.1:0", server.url, options=["--listen", f"unix:{tenon.folder}/l"], listeners=2)
    for url in relay.urls:
        assert exchange(tenon.dial(url), b"hello", finish=True) == b"hello"


# Targets

def names(tenon, count):
    """Servers that say their number and close."""
    return [tenon.serve("tcp://127.0.0.1:0", options=["--handler", f"exec:echo {i}"]).url for i in range(count)]


def asked(tenon, relay, times):
    return [receive_to_end(tenon.dial(relay.url)).decode().strip() for _ in range(times)]


@pytest.mark.parametrize("balance,wanted", [
    ("round-robin", ["0", "1", "2", "0", "1", "2"]), ("first", ["0"] * 6)])
def test_balance(tenon, balance, wanted):
    relay = tenon.relay("tcp://127.0.0.1:0", *names(tenon, 3), options=["--json", "--balance", balance])
    assert asked(tenon, relay, 6) == wanted


def test_balance_by_source(tenon):
    relay = tenon.relay("tcp://127.0.0.1:0", *names(tenon, 3), options=["--json", "--balance", "source"])
    assert len(set(asked(tenon, relay, 6))) == 1


def test_balance_by_least(tenon):
    """Two idle sessions are held at the first target asked; the next ones go where there are none."""
    listeners = [tenon.listen() for _ in range(2)]
    relay = tenon.relay("tcp://127.0.0.1:0", *map(url_of, listeners), options=["--json", "--balance", "least"])
    first = tenon.dial(relay.url), tenon.accept(listeners[0])
    second = tenon.dial(relay.url), tenon.accept(listeners[1])
    first[0].close(), first[1].close()
    session(relay)
    third = tenon.dial(relay.url), tenon.accept(listeners[0])
    for sock in (*second, *third):
        sock.close()


def test_the_next_target_is_tried(tenon):
    dead = f"tcp://127.0.0.1:{free_port()}"
    server = tenon.serve("tcp://127.0.0.1:0")
    relay = tenon.relay("tcp://127.0.0.1:0", dead, server.url)
    assert exchange(tenon.dial(relay.url), b"hello", finish=True) == b"hello"
    tried = session(relay)["tried"]
    assert "refused" in tried[0]["error"] and tried[1]["error"] is None
    assert relay.wait_for_event("target")["state"] == "down"


def test_a_target_that_resets_before_a_byte_has_gone(tenon):
    rude, server = tenon.listen(), tenon.serve("tcp://127.0.0.1:0")
    relay = tenon.relay("tcp://127.0.0.1:0", url_of(rude), server.url, options=["--json", "--balance", "first"])
    client = tenon.dial(relay.url)
    reset(rude.accept()[0])
    relay.wait_for_event("target", state="down")
    assert exchange(client, b"hello", finish=True) == b"hello"
    assert len(session(relay)["tried"]) == 2


def test_a_target_that_never_answers_a_handshake(tenon, trusted):
    silent, server = tenon.listen(), tenon.serve("tcp://127.0.0.1:0")
    relay = tenon.relay("tcp://127.0.0.1:0", f"tls://127.0.0.1:{silent.getsockname()[1]}?{trusted}", server.url,
                        options=["--json", "--balance", "first", "--connect", "300ms"])
    assert exchange(tenon.dial(relay.url), b"hello", finish=True) == b"hello"
    tried = session(relay)["tried"]
    assert len(tried) == 2 and "within 300ms" in tried[0]["error"]


def test_a_key_of_the_target_goes_before_the_option(tenon, trusted):
    silent, server = tenon.listen(), tenon.serve(f"unix:{tenon.folder}/t")
    relay = tenon.relay("tcp://127.0.0.1:0", f"tls://127.0.0.1:{silent.getsockname()[1]}?{trusted}&handshake=300ms",
                        server.url, options=["--json", "--balance", "first", "--connect", "1h"])
    assert exchange(tenon.dial(relay.url), b"hello", finish=True) == b"hello"
    tried = session(relay)["tried"]
    assert "within 300ms" in tried[0]["error"] and "connect=1h" not in tried[0]["url"]
    assert tried[1]["url"] == server.url and tried[1]["error"] is None


def test_a_target_that_fails_and_returns_in_words(tenon):
    port = free_port()
    relay = tenon.relay("tcp://127.0.0.1:0", f"tcp://127.0.0.1:{port}", options=["-v"])
    assert dial_to_reset(tenon, relay.url) == b""
    url = rf"tcp://127\.0\.0\.1:{port}"
    relay.wait_for_text(rf"^tenon: target {url} is left out for a while: {url}: .*refused")
    wait_until(lambda: len(relay.lines) == 2, "the session is told")
    assert re.fullmatch(r"session #\d+ tcp://127\.0\.0\.1:\d+ -> no target: 0 bytes in, 0 out, \d+\.\d{3} s, "
                        rf"error by the relay: {url}: .*refused.*", relay.lines[1])
    tenon.serve(f"tcp://127.0.0.1:{port}")
    assert exchange(tenon.dial(relay.url), b"hello", finish=True) == b"hello"
    relay.wait_for_text(rf"^tenon: target {url} works again$")


def test_a_name_that_is_nowhere(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    relay = tenon.relay("tcp://127.0.0.1:0", "tcp://nowhere.invalid:7", server.url,
                        options=["--json", "--balance", "first", "--connect", "1s"])
    assert exchange(tenon.dial(relay.url), b"hello", finish=True) == b"hello"
    tried = session(relay)["tried"]
    assert tried[0]["error"] and tried[1]["error"] is None


def test_a_target_by_its_name(tenon):
    server = tenon.serve("tcp://localhost:0", listeners=2)
    relay = tenon.relay("tcp://127.0.0.1:0", f"tcp://localhost:{server.port}")
    assert exchange(tenon.dial(relay.url), b"hello", finish=True) == b"hello"


def test_all_targets_are_down(tenon):
    """They are tried all the same; when one returns, it is told."""
    port = free_port()
    relay = tenon.relay("tcp://127.0.0.1:0", f"tcp://127.0.0.1:{port}")
    assert dial_to_reset(tenon, relay.url) == b""
    event = session(relay)
    assert (event["ended_by"], event["reason"], event["target"]) == ("relay", "error", None)
    assert "refused" in event["error"]
    assert "refused" in relay.wait_for_event("trouble", reason="error")["error"]
    tenon.serve(f"tcp://127.0.0.1:{port}")
    assert exchange(tenon.dial(relay.url), b"hello", finish=True) == b"hello"
    relay.wait_for_event("target", state="up")


def test_a_client_that_can_be_told_in_words(tenon):
    """RFC 6455 7.4: 1013, try again later."""
    relay = tenon.relay("ws://127.0.0.1:0/chat", f"tcp://127.0.0.1:{free_port()}?frame=line")
    err = tenon.run("send", relay.url, "hello", status=1).err
    assert "1013" in err and "no target can be reached" in err
    assert session(relay)["ended_by"] == "relay"


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "[::1]", "[::]"])
@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_a_relay_to_itself(tenon, scheme, host):
    near = "[::1]" if ":" in host else "127.0.0.1"
    port = free_port(near.strip("[]"), socket.SOCK_STREAM if scheme == "tcp" else socket.SOCK_DGRAM)
    url = f"{scheme}://{near}:{port}"
    relay = tenon.relay(f"{scheme}://{host}:{port}", url)
    if scheme == "tcp":
        assert dial_to_reset(tenon, url) == b""
    else:
        tenon.dial(url).send(b"hello")
    assert "itself" in relay.wait_for_event("target")["error"]
    assert "itself" in session(relay)["error"]


@pytest.mark.parametrize("place", ["unix:{}/l", "unix-seqpacket:{}/l", "unix:@{}"])
def test_a_relay_to_itself_by_a_path(tenon, place):
    url = place.format(tenon.name if "@" in place else tenon.folder)
    relay = tenon.relay(url, url)
    receive_to_reset(tenon.dial(url), may_end=True)
    assert "itself" in session(relay)["error"]


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_a_target_at_the_port_of_the_relay_is_not_the_relay(tenon, scheme):
    """Another address of this host; at the same one, another kind of socket listens."""
    target = tenon.listen(address=("127.0.0.2", 0), kind=socket.SOCK_STREAM if scheme == "tcp" else socket.SOCK_DGRAM)
    port = target.getsockname()[1]
    beside = {"tcp": f"unix:{tenon.folder}/l", "udp": f"tcp://127.0.0.2:{port}?frame=line"}[scheme]
    relay = tenon.relay(f"{scheme}://127.0.0.1:{port}", url_of(target).replace("127.0.0.1", "127.0.0.2"),
                        options=["--json", "--listen", beside], listeners=2)
    relay.untidy = scheme == "udp"
    tenon.dial(f"{scheme}://127.0.0.1:{port}").send(b"hello")
    if scheme == "tcp":
        assert tenon.accept(target).recv(5) == b"hello"
    else:
        said, where = target.recvfrom(5)
        assert said == b"hello" and target.sendto(b"answer", where)
    assert not any(event["event"] == "target" for event in relay.events)


# Probes

PROBE = ["--json", "--probe", "50ms", "--rise", 1, "--fall", 1, "--balance", "first"]


def test_a_probe_finds_a_target_that_fails_and_returns(tenon):
    """Without any client."""
    port = free_port()
    relay = tenon.relay("tcp://127.0.0.1:0", f"tcp://127.0.0.1:{port}", options=PROBE)
    relay.untidy = True
    assert "refused" in relay.wait_for_event("target", state="down")["error"]
    tenon.serve(f"tcp://127.0.0.1:{port}").untidy = True
    relay.wait_for_event("target", state="up")


def test_several_probes_in_a_row(tenon):
    port = free_port()
    relay = tenon.relay("tcp://127.0.0.1:0", f"tcp://127.0.0.1:{port}",
                        options=["--json", "--probe", "20ms", "--fall", 1, "--rise", 3])
    relay.untidy = True
    relay.wait_for_event("target", state="down")
    listener = tenon.listen(address=("127.0.0.1", port))
    for _ in range(3):
        assert not any(event.get("state") == "up" for event in relay.events)
        tenon.accept(listener)
    relay.wait_for_event("target", state="up")


def test_a_probe_finds_that_a_target_which_a_session_missed_is_back(tenon):
    """Each change is told once, whoever has noticed it."""
    port = free_port()
    relay = tenon.relay("tcp://127.0.0.1:0", f"tcp://127.0.0.1:{port}", options=[
        "--json", "--probe", "50ms", "--fall", 2, "--rise", 1, "--probe-send", "hi\n", "--probe-expect", "hi\n"])
    relay.untidy = True
    for _ in range(3):
        dial_to_reset(tenon, relay.url)
    wait_until(lambda: len([event for event in relay.events if event["event"] == "session"]) == 3, "sessions")
    tenon.serve(f"tcp://127.0.0.1:{port}").untidy = True
    assert relay.wait_for_event("target", state="up")["error"] is None
    assert [event["state"] for event in relay.events if event["event"] == "target"] == ["down", "up"]


@pytest.mark.parametrize("keys,sent,answer,works", [
    ("", "ping\n", b"pong\n", True),
    ("", "ping\n", b"no\n", False),
    ("?frame=line", "ping", b"pong\n", True),
    ("?frame=line", "ping", b"pong!\n", False),
    ("?frame=line&format=json", '{"a":1}', b'{ "b" : [2] }\n', True),
    ("?frame=line&format=json", '{"a":1}', b'{"b":[3]}\n', False),
])
def test_a_message_as_a_probe(tenon, keys, sent, answer, works):
    listener = tenon.listen()
    expect = '{"b":[2]}' if "json" in keys else "pong" + ("\n" if not keys else "")
    relay = tenon.relay(f"tcp://127.0.0.1:0{keys}", url_of(listener) + keys,
                        options=[*PROBE, "--probe-send", sent, "--probe-expect", expect])
    relay.untidy = True
    for _ in range(2):
        target = tenon.accept(listener)
        assert target.makefile("rb").readline().decode().strip() == sent.strip()
        target.sendall(answer)
        assert receive_to_end(target) == b""
    if works:
        assert not any(event["event"] == "target" for event in relay.events)
    else:
        assert "not the one" in relay.wait_for_event("target", state="down")["error"]


@pytest.mark.parametrize("pieces,works", [([b"po", b"ng\n"], True), ([b"po", b"nk\n"], False), ([b"po"], False)])
def test_a_reply_to_a_probe_in_pieces(tenon, pieces, works):
    """Each probe begins anew."""
    listener = tenon.listen()
    relay = tenon.relay("tcp://127.0.0.1:0", url_of(listener), options=[
        "--json", "--probe", "500ms", "--fall", 1, "--probe-expect", "pong\n"])
    relay.untidy = True
    for _ in range(2):
        target = tenon.accept(listener)
        for piece in pieces:
            target.sendall(piece)
            select.select([target], [], [], 0.02)
        if len(pieces) == 1:
            target.close()
            assert "ended without a reply" in relay.wait_for_event("target", state="down")["error"]
        else:
            assert receive_to_end(target) == b""
    assert works != any(event["event"] == "target" for event in relay.events)


def test_any_reply_to_a_probe(tenon):
    listener = tenon.listen()
    relay = tenon.relay("tcp://127.0.0.1:0", url_of(listener), options=[*PROBE, "--probe-send", "ping"])
    relay.untidy = True
    target = tenon.accept(listener)
    assert receive_exactly(target, 4) == b"ping"
    target.sendall(b"anything")
    assert receive_to_end(target) == b""
    target = tenon.accept(listener)  # the next one, which finds none
    assert receive_exactly(target, 4) == b"ping"
    target.close()
    assert "ended without a reply" in relay.wait_for_event("target", state="down")["error"]
    assert [event["event"] for event in relay.events].count("target") == 1


def test_a_target_that_does_not_answer_a_probe(tenon):
    listener = tenon.listen()
    relay = tenon.relay("tcp://127.0.0.1:0", url_of(listener), options=[*PROBE, "--probe-expect", "hello"])
    relay.untidy = True
    assert "not over" in relay.wait_for_event("target", state="down")["error"]


# Routing by the first bytes

def says(tenon, word):
    """A server that says a word, however much it is told, and closes."""
    return tenon.serve("tcp://127.0.0.1:0", options=["--handler", f"exec:echo {word}"]).url


def client_hello(name=None, alpn=(), filler=0):
    def part(size, data):
        return len(data).to_bytes(size, "big") + data
    extensions = b""
    if filler:
        extensions += (51).to_bytes(2, "big") + part(2, bytes(filler))
    if name:
        extensions += bytes(2) + part(2, part(2, b"\0" + part(2, name.encode())))
    if alpn:
        extensions += (16).to_bytes(2, "big") + part(2, part(2, b"".join(part(1, a.encode()) for a in alpn)))
    body = b"\3\3" + bytes(32) + part(1, b"") + part(2, b"\x13\x01") + part(1, b"\0") + part(2, extensions)
    return b"\1" + part(3, body)


def records(message, size=16384):
    pieces = [message[at:at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\3\1" + len(piece).to_bytes(2, "big") + piece for piece in pieces)


@pytest.fixture
def router(tenon):
    words = {word: says(tenon, word) for word in ("exact", "wild", "h2", "tls", "ssh", "http", "other")}
    rules = ["--sni", f"a.example={words['exact']}", "--sni", f"*.example={words['wild']}",
             "--alpn", f"h2={words['h2']}", "--protocol", f"tls={words['tls']}", "--protocol", f"ssh={words['ssh']}",
             "--protocol", f"http={words['http']}", "--default", words["other"]]
    return tenon.relay("tcp://127.0.0.1:0", options=["--json", "--first-byte", "2s", *rules])


@pytest.mark.parametrize("said,word", [
    (records(client_hello("a.example")), "exact"),
    (records(client_hello("A.Example")), "exact"),
    (records(client_hello("b.example")), "wild"),
    (records(client_hello("c.b.example", alpn=["h2"])), "wild"),
    (records(client_hello("else", alpn=["http/1.1", "h2"])), "h2"),
    (records(client_hello("else", filler=3000), 100), "tls"),
    (records(client_hello("a.example", filler=30000)), "exact"),
    (b"SSH-2.0-x\r\n", "ssh"),
    (b"GET / HTTP/1.1\r\n\r\n", "http"),
    (b"hello", "other"),
    (b"GE", "other"),
    (b"", "other"),
], ids=range(12))
def test_routing(tenon, router, said, word):
    client = tenon.dial(router.url)
    client.sendall(said)
    assert receive_to_end(client).decode().strip() == word


@pytest.mark.parametrize("said,word", [(b"GE", "other"), (b"", "")])
def test_a_client_that_ends_before_it_is_known(tenon, router, said, word):
    """Nothing more can come: what it has said goes to the default target, and without a word there is no session."""
    client = tenon.dial(router.url)
    client.sendall(said)
    client.shutdown(socket.SHUT_WR)
    assert receive_to_end(client).decode().strip() == word
    assert len(session(router)["tried"]) == len(said) // 2


def test_a_client_may_take_a_while_to_speak(tenon):
    relay = tenon.relay("tcp://127.0.0.1:0", options=[
        "--json", "--protocol", f"ssh={says(tenon, 'ssh')}", "--default", says(tenon, "other")])
    silent, late = tenon.dial(relay.url), tenon.dial(relay.url)
    assert not select.select([silent, late], [], [], 0.5)[0]
    late.sendall(b"SSH-2.0-x\r\n")
    assert receive_to_end(late).strip() == b"ssh"
    assert receive_to_end(silent).strip() == b"other"  # after three seconds


def test_a_hello_in_pieces(tenon):
    """What was looked at is passed on whole, before all else."""
    listener = tenon.listen()
    relay = tenon.relay("tcp://127.0.0.1:0", options=["--json", "--sni", f"a.example={url_of(listener)}"])
    said = records(client_hello("a.example", filler=2000), 500)
    client = tenon.dial(relay.url)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for at in range(0, len(said), 97):
        client.sendall(said[at:at + 97])
    client.sendall(b"more")
    target = tenon.accept(listener)
    assert receive_exactly(target, len(said) + 4) == said + b"more"


def test_first_bytes_and_a_target_that_fails(tenon):
    """They are not lost when the next target is tried."""
    server = tenon.serve("tcp://127.0.0.1:0")
    dead = f"tcp://127.0.0.1:{free_port()}"
    relay = tenon.relay("tcp://127.0.0.1:0", options=[
        "--json", "--balance", "first", "--protocol", f"http={dead}", "--protocol", f"http={server.url}"])
    said = b"GET / HTTP/1.1\r\n\r\n"
    assert exchange(tenon.dial(relay.url), said, finish=True) == said
    assert len(session(relay)["tried"]) == 2


def test_no_rule_and_no_default(tenon):
    relay = tenon.relay("tcp://127.0.0.1:0", options=["--json", "--protocol", f"ssh={says(tenon, 'ssh')}"])
    client = tenon.dial(relay.url)
    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert receive_to_reset(client) == b""
    assert "no target" in session(relay)["error"]


def test_routing_behind_tls(tenon, authority, trusted):
    """TLS that ends here tells the same."""
    one, other = says(tenon, "one"), says(tenon, "other")
    relay = tenon.relay(f"tls://127.0.0.1:0?{authority.pair('server')}", other, options=[
        "--json", "--sni", f"one.test={one}"])
    for name, word in (("one.test", "one"), ("two.test", "other")):
        url = f"{relay.url}?{trusted}&sni={name}&verify=off"
        assert tenon.run("connect", url.replace(f"{trusted}&", ""), input=b"").text.strip() == word


# Limits

def test_first_byte(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    relay = tenon.relay("tcp://127.0.0.1:0", server.url, options=["--json", "--first-byte", "300ms"])
    assert dial_to_reset(tenon, relay.url) == b""
    event = session(relay)
    assert (event["ended_by"], event["reason"]) == ("relay", "timeout") and "--first-byte" in event["error"]
    client = tenon.dial(relay.url)
    assert exchange(client, b"hello") == b"hello"
    assert not select.select([client], [], [], 0.6)[0]  # it has said something
    assert exchange(client, b"again") == b"again"


def test_longest(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    relay = tenon.relay("tcp://127.0.0.1:0", server.url, options=["--json", "--longest", "300ms"])
    client = tenon.dial(relay.url)
    assert exchange(client, b"hello") == b"hello"
    assert receive_to_reset(client) == b""
    assert "--longest" in session(relay)["error"]


@pytest.mark.parametrize("limit", ["--rate-in", "--rate-out", "--source-rate-in", "--source-rate-out"])
def test_rates(tenon, limit):
    """600 KB at 1 MB/s: a part has to wait, and nothing is lost."""
    server = tenon.serve("tcp://127.0.0.1:0")
    relay = tenon.relay("tcp://127.0.0.1:0", server.url, options=["--json", limit, "1MiB"])
    data = noise(600 * 1024, 6)
    assert exchange(tenon.dial(relay.url), data, finish=True) == data
    event = session(relay)
    assert event["paused"] > 0 and event["duration_ms"] > 300


@pytest.mark.parametrize("option,handler", [
    ("--rate-in", "exec:head -c 300000 /dev/zero"), ("--source-rate-in", "exec:head -c 300000 /dev/zero"),
    ("--rate-out", "exec:cat >/dev/null"), ("--source-rate-out", "exec:cat >/dev/null")])
def test_the_other_direction_has_no_rate(tenon, option, handler):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", handler])
    relay = tenon.relay("tcp://127.0.0.1:0", server.url, options=["--json", option, "16KiB"])
    said, wanted = (b"", 300000) if option.endswith("in") else (noise(300000, 9), 0)
    assert len(exchange(tenon.dial(relay.url), said, finish=True)) == wanted
    event = session(relay)
    assert (event["bytes_in"], event["bytes_out"], event["paused"]) == (len(said), wanted, 0)


def test_most_sessions(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    relay = tenon.relay("tcp://127.0.0.1:0", server.url, options=["--json", "--max-sessions", 1])
    client = tenon.dial(relay.url)
    assert exchange(client, b"hello") == b"hello"
    assert receive_to_end(tenon.dial(relay.url)) == b""
    assert relay.wait_for_event("trouble")["reason"] == "limit"


# Datagrams

def test_a_session_for_each_client(tenon):
    target = tenon.listen(kind=socket.SOCK_DGRAM)
    relay = tenon.relay("udp://127.0.0.1:0", url_of(target))
    relay.untidy = True
    one, two = tenon.dial(relay.url), tenon.dial(relay.url)
    one.send(b"one")
    said, at_one = target.recvfrom(100)
    assert said == b"one"
    two.send(b"two")
    said, at_two = target.recvfrom(100)
    assert said == b"two" and at_one != at_two
    target.sendto(b"to two", at_two)
    target.sendto(b"to one", at_one)
    assert one.recv(100) == b"to one" and two.recv(100) == b"to two"
    one.send(b"again")
    assert target.recvfrom(100) == (b"again", at_one)


def test_one_client_that_asks_two_addresses(tenon):
    """A session is known by the address that was asked too, and replies leave from there."""
    target = tenon.listen(kind=socket.SOCK_DGRAM)
    relay = tenon.relay("udp4://*:0", url_of(target))
    relay.untidy = True
    client = tenon.listen(address=("127.0.0.1", 0), kind=socket.SOCK_DGRAM)
    where = {}
    for host in ("127.0.0.1", "127.0.0.2"):
        client.sendto(host.encode(), (host, relay.port))
        said, where[host] = target.recvfrom(100)
        assert said == host.encode()
    assert where["127.0.0.1"] != where["127.0.0.2"]
    for host, address in where.items():
        target.sendto(host.encode(), address)
        said, (asked_host, _) = client.recvfrom(100)
        assert said == host.encode() and asked_host == host


def test_a_closed_port_is_left_for_the_next_target(tenon):
    """What was said to it is said again, in its order; other sessions go on."""
    live, port = tenon.listen(kind=socket.SOCK_DGRAM), free_port(kind=socket.SOCK_DGRAM)
    relay = tenon.relay("udp://127.0.0.1:0", url_of(live), f"udp://127.0.0.1:{port}", options=IDLE)
    one, two = tenon.dial(relay.url), tenon.dial(relay.url)
    one.send(b"one")
    _, where = live.recvfrom(100)
    two.send(b"two")
    said, second = live.recvfrom(100)
    assert said == b"two"
    for sock, back in ((one, where), (two, second)):
        live.sendto(b"here", back)
        assert sock.recv(100) == b"here"
    event = session(relay, client="udp://{}:{}".format(*two.getsockname()))
    assert "refused" in event["tried"][0]["error"] and event["tried"][1]["error"] is None
    assert [attempt["url"] for attempt in event["tried"]] == [f"udp://127.0.0.1:{port}", url_of(live)]
    assert event["bytes_in"] == 3 and event["local"] == relay.url and event["reason"] == "idle"


def test_no_target_of_datagrams_is_there(tenon):
    """The session ends, with the last one's error; the next datagram begins another."""
    ports = [free_port(kind=socket.SOCK_DGRAM) for _ in range(2)]
    relay = tenon.relay("udp://127.0.0.1:0", *(f"udp://127.0.0.1:{port}" for port in ports))
    client = tenon.dial(relay.url)
    for count in (1, 2):
        client.send(b"hello")
        wait_until(lambda: sum(event["event"] == "session" for event in relay.events) == count,
                   f"{count} sessions have ended")
    event = session(relay)
    assert event["ended_by"] == "target" and event["error"] == event["tried"][1]["error"]
    assert len(event["tried"]) == 2 and all("refused" in attempt["error"] for attempt in event["tried"])


def test_what_was_said_to_a_target_that_is_there_is_not_said_again(tenon):
    """It has not answered, and fails later: what it may have taken is not for another one."""
    first, second = (tenon.listen(kind=socket.SOCK_DGRAM) for _ in range(2))
    relay = tenon.relay("udp://127.0.0.1:0", url_of(first), url_of(second),
                        options=["--json", "--balance", "first", "--drain", "100ms"])
    client = tenon.dial(relay.url)
    client.send(b"one")
    assert first.recv(100) == b"one"
    time.sleep(1.1)  # a refusal would have come
    first.close()
    client.send(b"two")
    session(relay, ended_by="target")
    client.send(b"three")
    assert second.recv(100) == b"three"
    relay.untidy = True


def test_a_wildcard_tells_which_address_was_asked(tenon):
    target = tenon.listen(kind=socket.SOCK_DGRAM)
    relay = tenon.relay("udp://0.0.0.0:0", url_of(target), options=IDLE)
    client = tenon.dial(f"udp://127.0.0.3:{relay.port}")
    client.send(b"hello")
    event = session(relay)
    assert event["local"] == f"udp://127.0.0.3:{relay.port}"
    assert event["client"] == "udp://{}:{}".format(*client.getsockname())


def test_an_idle_session_of_datagrams_ends(tenon):
    target = tenon.listen(kind=socket.SOCK_DGRAM)
    relay = tenon.relay("udp://127.0.0.1:0", url_of(target), options=["--json", "--idle", "200ms"])
    client = tenon.dial(relay.url)
    client.send(b"hello")
    target.recv(100)
    event = session(relay)
    assert (event["reason"], event["ended_by"], event["bytes_in"]) == ("idle", "relay", 5)
    relay.wait_for_rest()


@pytest.mark.parametrize("who", ["client", "target"])
def test_a_session_of_datagrams_that_is_used_goes_on(tenon, who):
    """Whoever speaks; beside it another one ends."""
    target = tenon.listen(kind=socket.SOCK_DGRAM)
    relay = tenon.relay("udp://127.0.0.1:0", url_of(target), options=["--json", "--idle", "1500ms"])
    relay.untidy = True
    used, idle = tenon.dial(relay.url), tenon.dial(relay.url)
    used.send(b"first")
    _, where = target.recvfrom(100)
    idle.send(b"second")
    target.recv(100)

    def another_has_ended():
        if who == "client":
            used.send(b"x")
            assert target.recvfrom(100) == (b"x", where)
        else:
            target.sendto(b"x", where)
            assert used.recv(100) == b"x"
        select.select([], [], [], 0.05)
        return any(event["event"] == "session" for event in relay.events)
    wait_until(another_has_ended, "the idle one ends")
    assert session(relay)["bytes_in"] == len(b"second")
    used.send(b"still")
    assert target.recvfrom(100) == (b"still", where)


def test_each_session_of_datagrams_has_an_id(tenon):
    target = tenon.listen(kind=socket.SOCK_DGRAM)
    relay = tenon.relay("udp://127.0.0.1:0", url_of(target), options=["--json", "--idle", "200ms"])
    for client in (tenon.dial(relay.url), tenon.dial(relay.url)):
        client.send(b"hello")
        target.recv(100)

    def ids():
        return [event["id"] for event in relay.events if event["event"] == "session"]
    wait_until(lambda: len(ids()) == 2, "both sessions have ended")
    assert len(set(ids())) == 2


def test_a_target_of_datagrams_that_fails_after_it_has_answered(tenon):
    """It was reached: that is not told as an attempt in vain."""
    target = tenon.listen(kind=socket.SOCK_DGRAM)
    relay = tenon.relay("udp://127.0.0.1:0", url_of(target))
    relay.untidy = True
    client = tenon.dial(relay.url)
    client.send(b"hello")
    target.sendto(*target.recvfrom(100))
    assert client.recv(100) == b"hello"
    target.close()
    client.send(b"again")
    event = session(relay, ended_by="target")
    assert "refused" in event["error"] and event["tried"][0]["error"] is None


def test_most_sessions_of_datagrams(tenon):
    target = tenon.listen(kind=socket.SOCK_DGRAM)
    relay = tenon.relay("udp://127.0.0.1:0", url_of(target), options=["--json", "--max-sessions", 2])
    for _ in range(3):
        tenon.dial(relay.url).send(b"hello")
    assert relay.wait_for_event("trouble")["reason"] == "limit"
    assert target.recv(100) == target.recv(100) == b"hello"
    relay.untidy = True


def test_a_target_of_datagrams_that_is_not_there(tenon):
    relay = tenon.relay("udp://127.0.0.1:0", f"unix-dgram:{tenon.folder}/none")
    relay.untidy = True
    for _ in range(2):  # each datagram begins a session that fails
        tenon.dial(relay.url).send(b"hello")
    wait_until(lambda: sum(event["event"] == "session" for event in relay.events) == 2, "two sessions")
    event = session(relay)
    assert "No such file" in event["error"] and "No such file" in event["tried"][0]["error"]
    assert event["bytes_out"] == 0 and [event["event"] for event in relay.events].count("target") == 1


def test_replies_of_datagrams_after_the_end_of_a_stream(tenon):
    """Datagrams have no end: a reply may still come."""
    target = tenon.listen(kind=socket.SOCK_DGRAM)
    relay = tenon.relay("tcp://127.0.0.1:0?frame=line", url_of(target))
    client = tenon.dial(relay.url.split("?")[0])
    client.sendall(b"hello\n")
    client.shutdown(socket.SHUT_WR)
    said, where = target.recvfrom(100)
    assert said == b"hello" and not select.select([client], [], [], 0.5)[0]
    target.sendto(b"late", where)
    assert receive_to_end(client) == b"late\n"
    event = session(relay)
    assert (event["ended_by"], event["reason"], event["messages_out"]) == ("client", "end", 1)


# What is told

def test_what_is_told_of_a_session(tenon):
    """Each member is about what its name says."""
    listener = tenon.listen()
    relay = tenon.relay("tcp://127.0.0.1:0?frame=line", f"{url_of(listener)}?frame=u32")
    where = relay.url.split("?")[0]
    client, target = tenon.dial(where), tenon.accept(listener)
    client.sendall(b"one\nand two\n")
    assert receive_exactly(target, 18) == b"\0\0\0\3one\0\0\0\7and two"
    select.select([], [], [], 0.2)
    target.sendall(b"\0\0\0\5three")
    assert receive_exactly(client, 6) == b"three\n"
    select.select([], [], [], 0.2)
    ends = [f"tcp://127.0.0.1:{port}" for port in (client.getsockname()[1], target.getpeername()[1])]
    client.close()
    target.close()
    event = session(relay)
    assert [event["url"], event["client"], event["from"]] == [relay.url, *ends]
    assert event["local"].split("?")[0] == where and event["target"].split("?")[0] == url_of(listener)
    assert (event["bytes_in"], event["messages_in"], event["bytes_out"], event["messages_out"]) == (12, 2, 6, 1)
    assert (event["lost"], event["paused"], len(event["tried"])) == (0, 0, 1)
    assert event["tried"][0]["ms"] == event["connect_ms"] < 200 * load() <= event["first_byte_ms"] * load()
    assert event["first_byte_ms"] >= 195 and event["duration_ms"] >= event["first_byte_ms"] + 195
    assert event["started"] < event["time"]


def test_what_is_told_of_a_session_of_datagrams(tenon):
    target = tenon.listen(kind=socket.SOCK_DGRAM)
    relay = tenon.relay("udp://127.0.0.1:0", url_of(target), options=["--json", "--idle", "500ms"])
    client = tenon.dial(relay.url)
    for word in (b"one", b"and two"):
        client.send(word)
        _, where = target.recvfrom(100)
    select.select([], [], [], 0.2)
    target.sendto(b"three", where)
    assert client.recv(100) == b"three"
    event = session(relay)
    assert event["client"].endswith(f"127.0.0.1:{client.getsockname()[1]}") and event["url"] == relay.url
    assert event["from"].endswith(f":{where[1]}") and event["target"] == url_of(target)
    assert (event["bytes_in"], event["messages_in"], event["bytes_out"], event["messages_out"]) == (10, 2, 5, 1)
    assert event["lost"] == 0 and event["tried"][0]["error"] is None
    assert event["duration_ms"] >= event["first_byte_ms"] + 495 and event["first_byte_ms"] >= 195


# Formats

BOTH = ("tcp://127.0.0.1:0?frame=u32&format=cbor", "tcp://127.0.0.1:0?frame=line&format=json")


@pytest.mark.parametrize("listen,target", [BOTH, BOTH[::-1]])
def test_formats_are_changed(tenon, listen, target):
    server = tenon.serve(target)
    relay = tenon.relay(listen, f"{server.url}?{target.partition('?')[2]}")
    where = f"{relay.url}?{listen.partition('?')[2]}"
    sent = '{"a":[1,2.5,"x"]}'
    assert json.loads(tenon.run("send", where, sent).text) == json.loads(sent)


def test_a_message_that_the_other_side_cannot_carry(tenon):
    """Plain text has no lists. The session goes on."""
    server = tenon.serve("tcp://127.0.0.1:0?frame=line&format=text")
    relay = tenon.relay("tcp://127.0.0.1:0?frame=line&format=json", f"{server.url}?frame=line&format=text")
    client = tenon.dial(relay.url.split("?")[0])
    client.sendall(b'[1]\n"hello"\n')
    lines = client.makefile("rb")
    assert lines.readline().startswith(b'{"error":"text: ')
    assert lines.readline() == b'"hello"\n'


def test_a_bad_message(tenon):
    """The client is told in its own format, and bad= decides what becomes of it."""
    server = tenon.serve("tcp://127.0.0.1:0?frame=line&format=json")
    for bad, goes_on in (("skip", True), ("close", False)):
        relay = tenon.relay(f"tcp://127.0.0.1:0?frame=line&format=json&bad={bad}", f"{server.url}?frame=line")
        client = tenon.dial(relay.url.split("?")[0])
        client.sendall(b"[1,\n")
        assert client.makefile("rb").readline().startswith(b'{"error":')
        if goes_on:
            assert exchange(client, b"[1]\n") == b"[1]\n"
        else:
            assert receive_to_reset(client) == b""


# The end

def test_a_second_signal_does_not_wait(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    relay = tenon.relay("tcp://127.0.0.1:0", server.url, options=["--drain", "1h", "-v"])
    client = tenon.dial(relay.url)
    assert exchange(client, b"hello") == b"hello"
    relay.untidy = True
    target = noise(MIB, 2)
    client.setblocking(False)
    client.send(target)
    relay.signal(signal.SIGTERM)
    relay.signal(signal.SIGINT)
    relay.wait(1)
    assert "tenon: 1 session cut off\n" in relay.err


def test_sessions_that_are_not_done_in_time(tenon):
    """Both sides of each see an error; it was the time that was given, so the relay has not failed."""
    listener = tenon.listen()
    relay = tenon.relay("tcp://127.0.0.1:0", url_of(listener), options=["--json", "--drain", "300ms"])
    relay.untidy, relay.stopped = True, True
    pairs = [(tenon.dial(relay.url), tenon.accept(listener)) for _ in range(2)]
    for client, target in pairs:
        client.sendall(b"hello")
        assert receive_exactly(target, 5) == b"hello"
    relay.signal(signal.SIGTERM)
    for sock in (sock for pair in pairs for sock in pair):
        assert receive_to_reset(sock) == b""
    relay.wait(0)
    assert "tenon: 2 sessions cut off\n" in relay.err
    assert [(event["reason"], event["ended_by"]) for event in relay.events if event["event"] == "session"] == [
        ("stopped", "relay")] * 2
    assert relay.events[-1]["event"] == "stopped"


def test_draining_waits_for_a_reply_of_datagrams(tenon):
    """That is owed; with all answered, the relay ends at once."""
    target = tenon.listen(kind=socket.SOCK_DGRAM)
    relay = tenon.relay("udp://127.0.0.1:0", url_of(target), options=["--json", "--drain", "1h"])
    relay.untidy, relay.stopped = True, True
    client, other = tenon.dial(relay.url), tenon.dial(relay.url)
    other.send(b"hello")
    target.sendto(*target.recvfrom(100))
    assert other.recv(100) == b"hello"
    client.send(b"question")
    _, where = target.recvfrom(100)
    relay.signal(signal.SIGTERM)
    select.select([], [], [], 0.5)
    target.sendto(b"answer", where)
    assert client.recv(100) == b"answer"
    relay.wait(0)
    assert sorted(event["bytes_out"] for event in relay.events if event["event"] == "session") == [5, 6]
    assert {(event["reason"], event["ended_by"]) for event in relay.events if event["event"] == "session"} == {
        ("stopped", "relay")}


def test_draining_waits_for_what_is_on_its_way(tenon):
    """20 MB that a slow reader takes after the signal: nothing is lost, and both ends see an end in good order."""
    size = 20 * MIB
    listener = tenon.listen()
    relay = tenon.relay("tcp://127.0.0.1:0", url_of(listener), options=["--json", "--drain", "1h"])
    client = tenon.dial(relay.url, receive_buffer=64 * 1024)
    target = tenon.accept(listener)
    relay.untidy = True
    data = noise(size, 4)
    target.setblocking(False)
    sent = target.send(data)
    relay.signal(signal.SIGTERM)
    target.settimeout(LIMIT)
    got = bytearray()
    while len(got) < size:
        if sent < size:
            target.setblocking(False)
            try:
                sent += target.send(data[sent:sent + MIB])
            except BlockingIOError:
                pass
        got += client.recv(256 * 1024)
    assert bytes(got) == data
    assert receive_to_end(client) == b""
    target.settimeout(LIMIT)
    assert receive_to_end(target) == b""
    relay.stopped = True
    relay.wait()
    event = session(relay)
    assert (event["reason"], event["ended_by"]) == ("end", "relay") and "cut off" not in relay.err


def test_drains_in_the_midst_of_messages(tenon):
    """Each time the relay is told to end while thousands of messages are on their way: none is lost. `make drain` does
    it twenty times over."""
    server = tenon.serve("tcp://127.0.0.1:0?frame=u32")
    messages = b"".join((8).to_bytes(4, "big") + i.to_bytes(8, "big") for i in range(50000))
    for _ in range(2 * int(os.environ.get("TENON_DRAINS", "2"))):
        relay = tenon.relay("tcp://127.0.0.1:0?frame=u32", f"{server.url.split('?')[0]}?frame=u32",
                            options=["--json", "--drain", "1h"])
        client = tenon.dial(relay.url.split("?")[0])
        relay.untidy, relay.stopped = True, True
        ending = threading.Thread(target=lambda: (receive_first(client), relay.signal(signal.SIGTERM)))
        ending.start()
        assert exchange(client, messages, finish=True) == messages
        ending.join()
        relay.wait()


def test_new_clients_are_refused_while_it_drains(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    relay = tenon.relay("tcp://127.0.0.1:0", server.url, options=["--json", "--drain", "1h"])
    client = tenon.dial(relay.url)
    assert exchange(client, b"hello") == b"hello"
    relay.untidy = True
    relay.signal(signal.SIGTERM)

    def refused():
        try:
            open_socket(relay.url).close()
        except ConnectionRefusedError:
            return True
        return False
    wait_until(refused, "the listener is closed")
    assert receive_to_end(client) == b""  # quiet for a moment
    relay.stopped = True
    relay.wait()


def test_certificates_are_read_again(tenon, authority):
    server = tenon.serve("tcp://127.0.0.1:0")
    relay = tenon.relay(f"tls://127.0.0.1:0?{authority.pair('server')}", server.url, options=["-v"])
    relay.signal(signal.SIGHUP)
    wait_until(lambda: "files have been read again" in relay.err, lambda: relay.err)


def test_certificates_that_cannot_be_read_again(tenon, authority):
    server = tenon.serve("tcp://127.0.0.1:0")
    pem, key = tenon.file("s.pem", authority.pem("server").read_bytes()), authority.key("server")
    plain = f"tcp://127.0.0.1:{free_port()}"
    relay = tenon.relay(f"tls://127.0.0.1:0?cert={pem}&key={key}", server.url, options=["-q", "--listen", plain],
                        listeners=2)
    relay.signal(signal.SIGHUP)
    assert exchange(tenon.dial(plain), b"hello", finish=True) == b"hello"
    assert relay.err == ""
    pem.write_text("nonsense")
    relay.signal(signal.SIGHUP)
    relay.wait_for_text(r"^tenon: .*s\.pem.*; what was read before stays in use$")
    assert tenon.run("send", f"{relay.url.split('?')[0]}?verify=off", "hello").text == "hello\n"


def test_lines_for_people(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    relay = tenon.relay("tcp://127.0.0.1:0", server.url, options=["-v"])
    assert exchange(tenon.dial(relay.url), b"hello", finish=True) == b"hello"
    wait_until(lambda: len(relay.lines) > 1, "a session is told")
    assert re.fullmatch(rf"session #\d+ tcp://127\.0\.0\.1:\d+ -> {server.url}: 5 bytes in, 5 out, \d\.\d{{3}} s, "
                        "end by the client", relay.lines[1])


def test_out_of_descriptors(tenon):
    """Sessions that are there go on, and new ones come when there is room again."""
    server = tenon.serve("tcp://127.0.0.1:0")
    relay = tenon.relay("tcp://127.0.0.1:0", server.url, preexec_fn=limit_files(40))
    client = tenon.dial(relay.url)
    assert exchange(client, b"hello") == b"hello"
    more = []
    for _ in range(30):
        with contextlib.suppress(ConnectionResetError):  # one that is refused may be so before connect() has returned
            more.append(tenon.dial(relay.url))
    relay.wait_for_event("trouble")
    assert exchange(client, b"again") == b"again"
    for sock in more:
        sock.close()

    def works():
        with open_socket(relay.url) as sock:
            try:
                return exchange(sock, b"hi", finish=True) == b"hi"
            except OSError:
                return False
    wait_until(works, "new sessions")
    assert not any(event["event"] == "target" for event in relay.events)  # nothing is wrong with that


# Who the client is

@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_the_target_hears_of_the_client(tenon, kind):
    """Key proxy of the target: in front of a stream, or of each datagram, stands from where the client comes."""
    target = tenon.listen(kind=socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    relay = tenon.relay(f"{kind}://127.0.0.1:0", f"{url_of(target)}?proxy=v2")
    relay.untidy = kind == "udp"
    client = tenon.dial(relay.url)
    client.send(b"hello")
    head = 28  # 16 bytes, and two addresses of IPv4 with their ports
    got = receive_exactly(tenon.accept(target), head + 5) if kind == "tcp" else target.recv(100)
    assert got[:12] == b"\r\n\r\n\0\r\nQUIT\n" and got[-5:] == b"hello"
    assert got[16:20] == socket.inet_aton("127.0.0.1")
    assert int.from_bytes(got[24:26], "big") == client.getsockname()[1]


# By another door

@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_handler_of_serve(tenon, kind):
    server = tenon.serve(f"{kind}://127.0.0.1:0", options=["--handler", "echo"])
    relay = tenon.serve(f"{kind}://127.0.0.1:0", f"{kind}://127.0.0.1:0", options=[
        "--handler", f"relay:{server.url}", "--json", "--threads", 2])
    assert relay.handlers == ["relay", "relay"]
    relay.untidy = kind == "udp"
    for url in relay.urls:
        client = tenon.dial(url)
        client.send(b"hello")
        assert client.recv(100) == b"hello"
        client.close()
    if kind == "tcp":
        session(relay, url=relay.urls[1])


def test_a_handler_without_a_target(tenon):
    assert "relay:URL" in tenon.run("serve", "tcp://127.0.0.1:0", "--handler", "relay", status=USAGE).err


# What is refused

def test_what_a_target_cannot_carry(tenon):
    """The client is told why, and nothing of the target; the event names the target as it was given."""
    url = f"{tenon.serve('tcp://127.0.0.1:0?frame=u8').url}?frame=u8"
    for form, size in (("msgpack", 403), ("json", 402)):
        relay = tenon.relay("tcp://127.0.0.1:0?frame=line&format=json", f"{url}&format={form}")
        client = tenon.dial(relay.url.partition("?")[0])
        client.sendall(b'"%s"\n' % (b"x" * 400))
        said = b'{"error":"frame u8: a message of %d bytes has no such length"}\n' % size
        assert receive_exactly(client, len(said)) == said
    relay = tenon.relay("tcp://127.0.0.1:0?frame=line", url)
    client = tenon.dial(relay.url.partition("?")[0])
    client.sendall(b"x" * 400 + b"\n")
    error = relay.wait_for_event("session", reason="refused")["error"]
    assert f": {url}: send: frame u8: a message of 400 bytes" in error


TCP = ["tcp://127.0.0.1:0", "tcp://127.0.0.1:9"]
UDP = ["udp://127.0.0.1:0", "udp://127.0.0.1:9"]


@pytest.mark.parametrize("engine", ["auto"], indirect=True)
@pytest.mark.parametrize("urls,words", [
    ([], "nothing to listen on"),
    (["tcp://127.0.0.1:0"], "no target"),
    (["tcp://127.0.0.1:0", "udp://127.0.0.1:9"], "bytes"),
    (["udp://127.0.0.1:0", "tcp://127.0.0.1:9"], "frame"),
    (["icmp://127.0.0.1", "udp://127.0.0.1:9"], "below"),
    (["tcp://127.0.0.1:0", "tcp://127.0.0.1:9?nodely=1"], "nodelay"),
    (["tcp://127.0.0.1:0", "tcp://127.0.0.1:9", "--connect", "soon"], "is not a duration"),
    (["udp://127.0.0.1:0", "udp://127.0.0.1:9", "--longest", "5s"], "--longest has no effect on datagrams"),
    (["udp://127.0.0.1:0", "udp://127.0.0.1:9", "--rate-in", "1KiB"], "--rate-in has no effect on datagrams"),
    (["tcp://127.0.0.1:0", "tcp://127.0.0.1:9", "--fall", 5], "--fall has no effect without --probe"),
    *(([*UDP, f"--{name}", value], f"--{name} has no effect on datagrams") for name, value in [
        ("first-byte", "5s"), ("rate-out", 1000), ("source-rate-in", "1KiB"), ("source-rate-out", "1KiB")]),
    *(([*TCP, f"--{name}", value], f"--{name} has no effect without --probe") for name, value in [
        ("rise", 5), ("probe-send", "x"), ("probe-expect", "x")]),
    ([*TCP, "--rate-in", "much"], "'much' is not a size"),
    ([*TCP, "--rate-in", 0], "is out of range (1 to 1TiB)"),
    ([*TCP, "--rate-in", "1025GiB"], "is out of range (1 to 1TiB)"),
    ([*TCP, "--user", "nobody-of-that-name"], "is no user"),
    ([*TCP, "--balance", "best"], "is none of round-robin, first, least, source"),
    ([*TCP, "--sni", "tcp://127.0.0.1:9"], "is no NAME=URL"),
    ([*TCP, "--sni", "=tcp://127.0.0.1:9"], "names nothing"),
    ([*TCP, "--sni", "a.*=tcp://127.0.0.1:9"], "wildcard"),
    ([*TCP, "--protocol", "ftp=tcp://127.0.0.1:9"], "'ftp' is none of tls, ssh, http"),
    ([*TCP, "--alpn", "h2=tcp://127.0.0.1:9?nodely=1"], "nodelay"),
    ([*TCP, "--default", "udp://127.0.0.1:9"], "carries messages"),
    ([*TCP, "--listen", "udp://127.0.0.1:0"], "carries messages"),
    ([*UDP, "--sni", "a=udp://127.0.0.1:9"], "there are no first bytes that could choose a target"),
    ([*TCP, *["tcp://127.0.0.1:9"] * 64], "more than 64 targets"),
    ([*TCP, *["--default", "tcp://127.0.0.1:9"] * 64], "more than 64 targets"),
    ([*TCP, *["--default", "tcp://127.0.0.1:9"] * 65], "is one too many"),
    ([*TCP, *["--listen", "tcp://127.0.0.1:0"] * 64], "is one too many"),
    ([*TCP, *["--alpn", "h2=tcp://127.0.0.1:9"] * 257], "is one too many"),
    ([*TCP, *["--alpn", "h2=tcp://127.0.0.1:9"] * 65], "is one too many"),
])
def test_usage(tenon, urls, words):
    assert words in tenon.run("relay", *urls, status=USAGE).err


def test_one_of_the_addresses_is_taken(tenon):
    """Nothing is served, and nothing stays."""
    server = tenon.serve("tcp://127.0.0.1:0")
    assert "in use" in tenon.run("relay", f"unix:{tenon.folder}/l", "tcp://127.0.0.1:9", "--listen", server.url,
                                 status=1).err
    assert not (tenon.folder / "l").exists()


def test_an_address_that_is_taken(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    err = tenon.run("relay", server.url, "tcp://127.0.0.1:9", status=1).err
    assert "in use" in err and "belongs to" in err
