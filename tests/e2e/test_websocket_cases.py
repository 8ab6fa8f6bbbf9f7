"""Every case of websocket_cases, in both roles: a server of the command, and a client of the library."""
import socket
import threading

import pytest

from harness import BUILD, LIMIT, port_of
from websocket_cases import CHAPTERS, play_all, serve_cases

# What a conformance suite sends is longer than what strangers may send by default
KEYS = "?max=16MiB"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_server(tenon, chapter):
    server, failures = tenon.serve("ws://127.0.0.1:0/" + KEYS), []
    port = int(server.url.split(":")[2].split("/")[0])
    play_all(port, list(CHAPTERS[chapter]()), failures)
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_client(tenon, chapter):
    failures = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(LIMIT)
        thread = threading.Thread(target=serve_cases, args=(listener, list(CHAPTERS[chapter]()), failures))
        thread.start()
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}{KEYS}&deflate=on"
        client = tenon.peer(BUILD / "examples/websocket_echo_client", url)
        thread.join(LIMIT)
        assert not thread.is_alive(), client.err
        client.wait(0)
    assert not failures, "\n".join(failures)
