"""SIGTERM under load: every message that a server took gets its reply. `make drain` does it twenty times over."""
import contextlib
import os
import signal
import socket
import struct
import threading

import pytest

from harness import LIMIT

ROUNDS = int(os.environ.get("TENON_DRAINS", "1"))
CLIENTS, MESSAGES = 10, 5000 if ROUNDS > 1 else 1000
BATCH = 50


def framed(number):
    data = b"ack: message %d" % number
    return struct.pack(">I", len(data)) + data


class Client(threading.Thread):
    """Sends its messages in batches; the replies are read meanwhile, as a client that pipelines does."""

    def __init__(self, tenon, url, halfway):
        super().__init__(daemon=True)
        self.socket, self.halfway, self.got = tenon.dial(url), halfway, b""
        self.name = "{}:{}".format(*self.socket.getsockname())
        self.reader = threading.Thread(target=self.read, daemon=True)

    def read(self):
        with contextlib.suppress(ConnectionError):
            while data := self.socket.recv(65536):
                self.got += data

    def run(self):
        self.reader.start()
        for start in range(0, MESSAGES, BATCH):
            if start >= MESSAGES // 2:
                self.halfway.set()
            batch = (b"message %d" % n for n in range(start, start + BATCH))
            with contextlib.suppress(ConnectionError):  # the server has ended by now: it took no more
                self.socket.sendall(b"".join(struct.pack(">I", len(m)) + m for m in batch))
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
        self.reader.join(LIMIT)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("nth", range(ROUNDS))
def test_no_reply_is_lost(tenon, nth, threads):
    server = tenon.serve("tcp://127.0.0.1:0?frame=u32",
                         options=["--handler", "ack", "--threads", str(threads), "--drain", f"{LIMIT}s", "--json"])
    halfway = threading.Event()
    clients = [Client(tenon, server.url.split("?")[0], halfway) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    assert halfway.wait(LIMIT)
    server.signal(signal.SIGTERM)
    for client in clients:
        client.join(2 * LIMIT)
    server.stopped = True
    server.wait(0)
    # A client that the machine let stand still for long may have found its server gone: what counts is what was taken
    total = 0
    for client in clients:
        taken = server.wait_for_event("close", peer=f"tcp://{client.name}")["messages_in"]
        total += taken
        assert client.got == b"".join(map(framed, range(taken)))
    assert total > 0
