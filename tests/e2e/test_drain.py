"""SIGTERM under load: every message that a server took gets its reply. `make drain` does it twenty times over."""
import os
import signal
import socket
import struct
import threading

import pytest

from harness import LIMIT, receive_to_end

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
        self.reader = threading.Thread(target=self.read, daemon=True)

    def read(self):
        self.got = receive_to_end(self.socket)

    def run(self):
        self.reader.start()
        for start in range(0, MESSAGES, BATCH):
            if start >= MESSAGES // 2:
                self.halfway.set()
            self.socket.sendall(b"".join(struct.pack(">I", len(m)) + m for m in
                                         (b"message %d" % n for n in range(start, start + BATCH))))
        self.socket.shutdown(socket.SHUT_WR)
        self.reader.join(LIMIT)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("nth", range(ROUNDS))
def test_no_reply_is_lost(tenon, nth, threads):
    server = tenon.serve("tcp://127.0.0.1:0?frame=u32",
                         options=["--handler", "ack", "--threads", str(threads), "--drain", f"{LIMIT}s"])
    halfway = threading.Event()
    clients = [Client(tenon, server.url.split("?")[0], halfway) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    assert halfway.wait(LIMIT)
    server.signal(signal.SIGTERM)
    wanted = b"".join(map(framed, range(MESSAGES)))
    for client in clients:
        client.join(2 * LIMIT)
        assert len(client.got) == len(wanted)
        assert client.got == wanted
    server.stopped = True
    server.wait(0)
