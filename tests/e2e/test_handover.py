"""A restart: the new process binds the same addresses (key reuseport), then the old one is told to end.

`make drain` has twenty restarts in a row."""
import contextlib
import itertools
import os
import signal
import socket
import threading
import time

import pytest

from harness import LIMIT, exchange, open_socket, receive_exactly

RESTARTS = int(os.environ.get("TENON_DRAINS", "1")) * 2
RATE, CLIENTS = 500, 4


class Load:
    """Clients that each connect, ask one thing, and close, so many a second, until they are told to end."""

    def __init__(self, ask, rate=RATE):
        self.ask, self.rate, self.over = ask, rate, threading.Event()
        self.failed, self.served = [], itertools.count()
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(CLIENTS)]

    def run(self):
        due = time.monotonic()
        while not self.over.wait(max(due - time.monotonic(), 0)):
            due += CLIENTS / self.rate
            try:
                self.ask()
                next(self.served)
            except OSError as error:
                self.failed.append(error)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(LIMIT)


def asks(url):
    def ask():
        with open_socket(url) as sock:
            sock.sendall(b"hello")
            if receive_exactly(sock, 5) != b"hello":
                raise OSError("another answer")
    return ask


def begin(tenon, kind, url, target, threads=1, **how):
    options = ["--threads", str(threads), "--json"]
    if kind == "serve":
        return tenon.serve(url, options=[*options, "--handler", "echo"], **how)
    return tenon.relay(url, target, options=[*options, "--idle", "1s"], **how)


def end(server):
    server.signal(signal.SIGTERM)
    server.stopped = True
    server.wait(0)


@pytest.mark.parametrize("kind", ["serve", "relay"])
@pytest.mark.parametrize("threads", [[1], [2, 1, 3]])
def test_no_client_is_refused(tenon, kind, threads):
    target = tenon.serve("tcp://127.0.0.1:0").url
    old = begin(tenon, kind, "tcp://127.0.0.1:0?reuseport=on", target, threads[0])
    url = old.url.split("?")[0]
    with Load(asks(url)) as load:
        for nth in range(1, RESTARTS + 1):
            new = begin(tenon, kind, f"{url}?reuseport=on", target, threads[nth % len(threads)])
            end(old)
            old = new
    assert load.failed == [] and next(load.served) > RESTARTS


@pytest.mark.parametrize("kind", ["serve", "relay"])
def test_no_datagram_is_lost(tenon, kind):
    target = tenon.serve("udp://127.0.0.1:0", options=["--handler", "echo"]).url
    old = begin(tenon, kind, "udp://127.0.0.1:0?reuseport=on", target)
    url = old.url.split("?")[0]
    with Load(asks(url), rate=200) as load:
        for _ in range(RESTARTS):
            new = begin(tenon, kind, f"{url}?reuseport=on", target)
            end(old)
            old = new
    assert load.failed == [] and next(load.served) > RESTARTS


@pytest.mark.parametrize("host", ["*", "[::1]"])
def test_other_addresses(tenon, host):
    old = begin(tenon, "serve", f"tcp://{host}:0?reuseport=on", None, listeners=2 if host == "*" else 1)
    port = old.port
    urls = itertools.cycle([f"tcp://127.0.0.1:{port}", f"tcp://[::1]:{port}"] if host == "*" else [old.url])
    with Load(lambda: asks(next(urls))()) as load:
        for _ in range(RESTARTS):
            new = begin(tenon, "serve", f"tcp://{host}:{port}?reuseport=on", None, listeners=2 if host == "*" else 1)
            end(old)
            old = new
    assert load.failed == [] and next(load.served) > RESTARTS


def others_listener(tenon, port):
    """A listener of another program at the address, which answers what it is sent."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(1000)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                client, _ = sock.accept()
                with client:
                    client.sendall(client.recv(100))
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return sock, thread


def test_another_program_was_there_first(tenon):
    """Then the old process is not where it thinks it is in the kernel's list, and finds out."""
    sock, thread = others_listener(tenon, 0)
    port = sock.getsockname()[1]
    old = begin(tenon, "serve", f"tcp://127.0.0.1:{port}?reuseport=on", None)
    with Load(asks(old.url)) as load:
        new = begin(tenon, "serve", f"tcp://127.0.0.1:{port}?reuseport=on", None)
        end(old)
        asks(new.url)()
    assert load.failed == []
    sock.shutdown(socket.SHUT_RDWR)
    sock.close()
    thread.join(LIMIT)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
@pytest.mark.parametrize("kind", ["serve", "relay"])
def test_handshakes_that_have_begun(tenon, network, nft, kind, host):
    """Whose last packet comes after the signal: both processes serve those that came to them."""
    inside = {"preexec_fn": network.enter}
    target = tenon.serve("tcp://127.0.0.1:0", **inside).url
    old = begin(tenon, kind, f"tcp://{host}:0?reuseport=on", target, **inside)
    family = socket.AF_INET6 if "[" in host else socket.AF_INET
    rule = f"tcp dport {old.port} tcp flags & (syn | ack | fin | psh) == ack drop"
    nft(network, f"table inet hold {{\nchain out {{\ntype filter hook output priority 0;\n{rule}\n}}\n}}\n")
    clients = [network.socket(family, socket.SOCK_STREAM) for _ in range(20)]
    new = begin(tenon, kind, f"tcp://{host}:{old.port}?reuseport=on", target, **inside)
    for client in clients:
        client.settimeout(LIMIT)
        client.connect((host.strip("[]"), old.port))
    old.signal(signal.SIGTERM)
    old.stopped = True
    nft(network, "delete table inet hold")
    for client in clients:
        client.sendall(b"hello")
    for client in clients:
        assert receive_exactly(client, 5) == b"hello"
        client.close()
    old.wait(0)
    end(new)
    assert len(old.events) > 2 < len(new.events)  # some came to each


def test_nobody_is_there(tenon):
    """Without a new process it ends as ever, half a second later."""
    old = begin(tenon, "serve", "tcp://127.0.0.1:0?reuseport=on", None)
    with open_socket(old.url) as client:
        assert exchange(client, b"hello") == b"hello"
    end(old)
    with pytest.raises(ConnectionRefusedError):
        open_socket(old.url)


@pytest.mark.parametrize("scheme", ["mptcp", "udp"])
def test_what_the_kernel_cannot_steer(tenon, scheme):
    """It ends all the same."""
    old = tenon.serve(f"{scheme}://127.0.0.1:0?reuseport=on")
    end(old)
