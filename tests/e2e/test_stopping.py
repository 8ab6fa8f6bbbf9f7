"""The end of a server: what is in flight is finished, nothing is lost, nothing is left."""
import os
import select
import signal
import socket
import ssl
import time
import urllib.parse

import pytest

from harness import (KIB, LIMIT, MIB, children_of, exchange, noise, open_socket, receive_exactly,
                     receive_to_end, send_until_stuck, wait_until)

SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


@SIGNALS
def test_stops_at_once_when_nobody_is_there(tenon, number):
    server = tenon.serve("tcp://127.0.0.1:0", "udp://127.0.0.1:0", f"unix:{tenon.folder}/sock")
    server.stop(number)
    assert not os.path.exists(tenon.folder / "sock")


@SIGNALS
def test_nothing_echoed_is_lost(tenon, number):
    """The signal comes in the middle of a transfer; every byte that is sent comes back."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--drain", f"{LIMIT}s"])
    client = tenon.dial(server.url)
    data = noise(20 * MIB)
    got, rest, signalled, finished = bytearray(), memoryview(data), False, False
    client.setblocking(False)
    poller, deadline = select.poll(), time.monotonic() + LIMIT
    poller.register(client)
    while True:
        poller.modify(client, select.POLLIN | (select.POLLOUT if rest else 0))
        events = dict(poller.poll(1000)).get(client.fileno(), 0)
        assert time.monotonic() < deadline
        if events & select.POLLOUT:
            rest = rest[client.send(rest[:64 * KIB]):]
        if not rest and not finished:
            client.shutdown(socket.SHUT_WR)
            finished = True
        if events & ~select.POLLOUT:
            came = client.recv(64 * KIB)
            if not came:
                break
            got += came
        if len(got) > 3 * MIB and not signalled:
            server.signal(number)
            signalled = True
    assert bytes(got) == data
    server.stopped = True
    server.wait(0)


def test_what_was_sent_before_the_signal_is_echoed(tenon):
    """A hundred clients send, and the signal follows while the server has not even read it."""
    server = tenon.serve("tcp://127.0.0.1:0")
    clients = [tenon.dial(server.url) for _ in range(100)]
    for client in clients:
        assert exchange(client, b"?") == b"?"
    server.signal(signal.SIGSTOP)
    for i, client in enumerate(clients):
        client.sendall(noise(10 * KIB, i))
    server.signal(signal.SIGTERM)
    server.signal(signal.SIGCONT)
    for i, client in enumerate(clients):
        assert receive_to_end(client) == noise(10 * KIB, i)
        client.close()
    server.stopped = True
    server.wait(0)


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", "unix:{folder}/sock"])
def test_clients_that_wait_to_be_accepted_are_served(tenon, url):
    """Connected as far as they can see, they must not be reset."""
    server = tenon.serve(url.format(folder=tenon.folder))
    server.signal(signal.SIGSTOP)
    clients = [tenon.dial(server.url) for _ in range(400)]
    for i, client in enumerate(clients):
        client.sendall(noise(KIB, i))
    server.signal(signal.SIGTERM)
    server.signal(signal.SIGCONT)
    for i, client in enumerate(clients):
        assert receive_to_end(client) == noise(KIB, i)
        client.close()
    server.stopped = True
    server.wait(0)


def test_datagrams_sent_before_the_signal_are_answered(tenon):
    server = tenon.serve("udp://127.0.0.1:0")
    client = tenon.dial(server.url)
    server.signal(signal.SIGSTOP)
    for i in range(50):
        client.send(b"%d" % i)
    server.signal(signal.SIGTERM)
    server.signal(signal.SIGCONT)
    assert {client.recv(100) for _ in range(50)} == {b"ack: %d" % i for i in range(50)}
    server.stopped = True
    server.wait(0)


def test_quiet_clients_are_told_with_an_end_of_file(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", f"unix:{tenon.folder}/sock", "mptcp://127.0.0.1:0")
    clients = [tenon.dial(url) for url in server.urls for _ in range(3)]
    for client in clients:
        assert exchange(client, b"hello") == b"hello"
    server.signal(signal.SIGTERM)
    for client in clients:
        assert client.recv(10) == b""
        client.close()
    server.stopped = True
    server.wait(0)


def test_clients_that_never_close_do_not_hold_it_up(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    clients = [tenon.dial(server.url) for _ in range(300)]
    server.untidy = True
    server.stop()
    assert all(client.recv(10) == b"" for client in clients)


def wait_until_closed(url):
    """Waits until the signal has been heard: nobody new gets in."""
    def refused():
        try:
            open_socket(url).close()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:  # it got in at the last moment
            pass
        return False
    wait_until(refused, "the port is closed")


def test_nobody_new_gets_in_while_it_drains(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--drain", f"{LIMIT}s"])
    stuck = tenon.dial(server.url, receive_buffer=16 * KIB)
    sent = send_until_stuck(stuck)
    server.signal(signal.SIGTERM)
    wait_until_closed(server.url)
    assert receive_exactly(stuck, len(sent)) == sent
    stuck.close()
    server.stopped = True
    server.wait(0)


def plain(client, authority):
    return bytes, lambda: receive_exactly(client, 6)


def over_tls(client, authority):
    came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context(cafile=authority.pem("ca")).wrap_bio(came, goes, server_hostname="127.0.0.1")

    def step(call):
        while True:
            try:
                return call()
            except ssl.SSLWantReadError:
                client.sendall(goes.read())
                came.write(client.recv(64 * KIB))

    def seal(data):
        tls.write(data)
        return goes.read()
    step(tls.do_handshake)
    client.sendall(goes.read())
    return seal, lambda: step(lambda: tls.read(100))


def over_websocket(client, authority):
    client.sendall(b"GET /chat HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                   b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n")
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += receive_exactly(client, 1)
    mask = bytes(4)
    return (lambda data: bytes([0x82, 0x80 | len(data)]) + mask + data,
            lambda: receive_exactly(client, 2 + 6)[2:])


def in_fragments(client, authority):
    """The first frame is whole, but the message is not."""
    _, read = over_websocket(client, authority)
    return lambda data: b"\x02\x83" + bytes(4) + data[:3] + b"\x80\x83" + bytes(4) + data[3:], read


@pytest.mark.parametrize("url, way, first", [
    ("tcp://127.0.0.1:0?frame=line", plain, 3), ("tls://127.0.0.1:0?{pair}", over_tls, 3),
    ("tls://127.0.0.1:0?{pair}", over_tls, 20), ("ws://127.0.0.1:0/chat", over_websocket, 1),
    ("ws://127.0.0.1:0/chat", over_websocket, 8), ("ws://127.0.0.1:0/chat", in_fragments, 9)])
def test_the_rest_of_a_message_is_waited_for(tenon, authority, url, way, first):
    """Longer than a client is taken for busy that has sent a part of it: of a line, of a record, of a frame."""
    server = tenon.serve(url.format(pair=authority.pair("server")), options=["--drain", f"{LIMIT}s"])
    place = f"tcp://127.0.0.1:{urllib.parse.urlsplit(server.url).port}"
    client = tenon.dial(place)
    wire, read = way(client, authority)
    client.sendall(wire(b"hello\n"))
    assert read() == b"hello\n"
    message = wire(b"again\n")
    client.sendall(message[:first])
    server.signal(signal.SIGTERM)
    wait_until_closed(place)
    time.sleep(0.5)
    client.sendall(message[first:])
    assert read() == b"again\n"
    client.close()
    server.stopped = True
    server.wait(0)


@pytest.mark.parametrize("url, part", [
    ("tls://127.0.0.1:0?{pair}&handshake=1h", b"\x16\x03\x01\x02\x00" + bytes(100)),
    ("ws://127.0.0.1:0/?handshake=1h", b"GET / HTTP/1.1\r\n")],
    ids=["tls", "ws"])
def test_a_handshake_that_stands_still_is_not_waited_for(tenon, authority, url, part):
    server = tenon.serve(url.format(pair=authority.pair("server")), options=["--drain", "1000s"])
    client = tenon.dial(f"tcp://127.0.0.1:{urllib.parse.urlsplit(server.url).port}")
    client.sendall(part)
    server.untidy = True
    server.stop()


def stuck_server(tenon, drain):
    """A server with a client that will never read what it is owed."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--drain", drain])
    client = tenon.dial(server.url, receive_buffer=16 * KIB)
    send_until_stuck(client)
    server.untidy = server.stopped = True
    return server, client


def test_a_client_that_never_reads_is_cut_off_at_the_deadline(tenon):
    server, client = stuck_server(tenon, "300ms")
    server.signal(signal.SIGTERM)
    server.wait(0)
    assert client.fileno() >= 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_does_not_wait(tenon, second):
    server, client = stuck_server(tenon, "1000s")
    server.signal(signal.SIGTERM)
    wait_until_closed(server.url)
    assert not server.is_over()
    server.signal(second)
    assert server.wait(None) in (0, 1)
    assert client.fileno() >= 0


def test_a_second_signal_ends_children_too(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "exec:yes", "--drain", "1000s"])
    client = tenon.dial(server.url, receive_buffer=16 * KIB)
    receive_exactly(client, 1000)
    server.untidy = True
    server.signal(signal.SIGTERM)
    wait_until_closed(server.url)
    server.stop(signal.SIGTERM, status=None)


@SIGNALS
def test_the_port_is_free_again_at_once(tenon, number):
    server = tenon.serve("tcp://127.0.0.1:0", "udp://127.0.0.1:0", f"unix:{tenon.folder}/sock")
    urls = server.urls
    for _ in range(2):
        with open_socket(urls[0]) as client:
            assert exchange(client, b"hello") == b"hello"
            server.signal(number)
            assert client.recv(10) == b""  # it is the server that ends first, so its side has the TIME_WAIT
        server.stopped = True
        server.wait(0)
        server = tenon.serve(*urls)
        assert server.urls == urls


def test_a_killed_servers_port_is_free_again(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    client = tenon.dial(server.url)
    assert exchange(client, b"hello") == b"hello"
    server.stopped = True
    server.signal(signal.SIGKILL)
    server.wait(-signal.SIGKILL)

    def starts_again():  # the kernel may take a moment to tidy up after a ring
        again = tenon.start("serve", server.url)
        wait_until(lambda: again.lines or again.is_over(), "it listens or not")
        return again.lines
    wait_until(starts_again, "the port is free")
    assert exchange(tenon.dial(server.url), b"hello") == b"hello"


@pytest.mark.parametrize("threads", [2, 4])
def test_threads_stop_together(tenon, threads):
    server = tenon.serve("tcp://127.0.0.1:0", f"unix:{tenon.folder}/sock", "udp://127.0.0.1:0",
                         options=["--threads", threads])
    clients = [tenon.dial(url) for url in server.urls[:2] for _ in range(20)]
    for client in clients:
        assert exchange(client, b"hello") == b"hello"
    server.signal(signal.SIGTERM)
    for client in clients:
        assert client.recv(10) == b""
        client.close()
    server.stopped = True
    server.wait(0)


@pytest.mark.parametrize("threads", [2, 4])
def test_threads_lose_nothing(tenon, threads):
    server = tenon.serve("tcp://127.0.0.1:0", f"unix:{tenon.folder}/sock", options=["--threads", threads])
    clients = [tenon.dial(url) for url in server.urls for _ in range(40)]
    for client in clients:
        assert exchange(client, b"?") == b"?"
    server.signal(signal.SIGSTOP)
    for i, client in enumerate(clients):
        client.sendall(noise(5 * KIB, i))
    server.signal(signal.SIGTERM)
    server.signal(signal.SIGCONT)
    for i, client in enumerate(clients):
        assert receive_to_end(client) == noise(5 * KIB, i)
        client.close()
    server.stopped = True
    server.wait(0)


def test_a_child_finishes_its_reply(tenon):
    """The client has ended and waits for the answer; the signal must not take it away."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "exec:sort -r", "--drain", f"{LIMIT}s"])
    client = tenon.dial(server.url)
    text = b"".join(b"%06d\n" % i for i in range(100000))
    client.sendall(text)
    client.shutdown(socket.SHUT_WR)
    server.signal(signal.SIGTERM)
    assert receive_to_end(client) == b"".join(reversed(text.splitlines(True)))
    server.stopped = True
    server.wait(0)


def test_a_child_may_think(tenon):
    """Half a second in which nothing comes or goes: the client has ended and waits for what the child says last."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "exec:sort; sleep 0.5; echo z",
                                                       "--drain", f"{LIMIT}s"])
    client = tenon.dial(server.url)
    client.sendall(b"b\na\n")
    client.shutdown(socket.SHUT_WR)
    assert receive_exactly(client, 4) == b"a\nb\n"
    server.signal(signal.SIGTERM)
    assert receive_to_end(client) == b"z\n"
    server.stopped = True
    server.wait(0)


SLOW = "while read line; do sleep 0.7; echo got $line; done"


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", "unix:{folder}/sock"])
@pytest.mark.parametrize("ends", [True, False])
def test_a_child_that_works_is_waited_for(tenon, url, ends):
    """Longer than a connection is taken for busy, and whether or not the client has ended its direction."""
    server = tenon.serve(url.format(folder=tenon.folder),
                         options=["--handler", f"exec:{SLOW}", "--drain", f"{LIMIT}s"])
    client = tenon.dial(server.url)
    client.sendall(b"one\ntwo\n")
    if ends:
        client.shutdown(socket.SHUT_WR)
    wait_until(lambda: len(children_of(server.pid)) >= 1, "the child has begun")
    server.signal(signal.SIGTERM)
    assert receive_exactly(client, len(b"got one\ngot two\n")) == b"got one\ngot two\n"
    client.close()
    server.stopped = True
    server.wait(0)


def test_a_child_that_works_too_long_is_cut_off_with_a_reset(tenon):
    """An end in good order would tell the client that this was all."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "exec:echo half; sleep 1000", "--drain", "500ms"])
    client = tenon.dial(server.url)
    assert receive_exactly(client, 5) == b"half\n"
    server.untidy = server.stopped = True
    server.signal(signal.SIGTERM)
    with pytest.raises(ConnectionResetError):
        client.recv(10)
    server.wait(0)
    assert "1 connection cut off" in server.err


def test_children_of_datagrams_are_waited_for(tenon):
    server = tenon.serve("udp://127.0.0.1:0", options=["--handler", "exec:sleep 0.7; cat", "--drain", f"{LIMIT}s"])
    client = tenon.dial(server.url)
    for word in (b"one", b"two"):
        client.send(word)
    wait_until(lambda: len(children_of(server.pid)) >= 2, "the children have begun")
    server.signal(signal.SIGTERM)
    assert {client.recv(100), client.recv(100)} == {b"one", b"two"}
    server.stopped = True
    server.wait(0)


@pytest.mark.parametrize("options", [["--json"], ["-v"]])
def test_stops_when_the_reader_of_its_events_has_gone(tenon, options):
    """The thread that writes them finds out at any time, even when all is being taken down."""
    for wait in (0, 0.001, 0.01, 0.1):
        reader, writer = os.pipe()
        server = tenon.start("serve", "tcp://127.0.0.1:0", *options, stdout=writer)
        os.close(writer)
        line = b""
        while not line.endswith(b"\n"):
            line += os.read(reader, 1)
        url = "tcp://127.0.0.1:" + line.decode().split("127.0.0.1:")[1].split('"')[0].split()[0]
        clients = [open_socket(url) for _ in range(20)]
        os.close(reader)
        for client in clients:
            client.close()
        time.sleep(wait)
        server.signal(signal.SIGTERM)
        assert server.wait(None) in (0, 1)
        assert "ERROR" not in server.err
