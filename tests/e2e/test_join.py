"""Paths of two joined connections (the example relay) between clients and servers that others have written."""
import re
import signal
import subprocess

import pytest

from harness import BUILD, LIMIT, MIB, free_port, noise, wait_until

pytestmark = pytest.mark.parametrize("engine", ["auto"], indirect=True)

DATA = noise(3 * MIB + 17, 5)
OTHER = noise(2 * MIB + 5, 9)

CLIENTS = {
    "nc": lambda port: ["nc", "-N", "127.0.0.1", port],
    "ncat": lambda port: ["ncat", "127.0.0.1", port],
    "socat": lambda port: ["socat", "-t", LIMIT, "-", f"TCP:127.0.0.1:{port}"],
}


def relay(tenon, target, listen="tcp://127.0.0.1:0"):
    """A relay to a URL, and its port."""
    process = tenon.peer(BUILD / "examples" / "relay", listen, target)
    wait_until(lambda: process.lines or process.is_over(), lambda: f"{process.out}{process.err}")
    return process, re.search(r":(\d+)$", process.lines[0])[1]


def stop(process):
    """Nobody is there any more: it ends at once, and by itself."""
    process.signal(signal.SIGTERM)
    process.wait(0)


@pytest.fixture
def socat(tenon, program):
    """socat(ADDRESS): listens on a port of its own and joins each connection with the address; returns its URL."""
    def start(address):
        server = tenon.peer(program("socat"), "-d", "-d", "-t", LIMIT, "TCP-LISTEN:0,bind=127.0.0.1,fork", address)
        port = server.wait_for_text(r"listening on .*?:(\d+)$")[1]
        return f"tcp://127.0.0.1:{port}"
    return start


@pytest.fixture
def data(tenon):
    return tenon.file("data", DATA)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_file_to_and_fro(tenon, program, socat, data, client):
    process, port = relay(tenon, socat("EXEC:cat"))
    argv = CLIENTS[client](port)
    program(argv[0])
    assert tenon.feed(data, argv) == DATA
    stop(process)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_reply_that_is_made_after_the_end(tenon, program, socat, data, client):
    """Half-close: wc says nothing before the end of its input, which is the end of the client's direction."""
    process, port = relay(tenon, socat("EXEC:wc -c"))
    argv = CLIENTS[client](port)
    program(argv[0])
    assert int(tenon.feed(data, argv)) == len(DATA)
    stop(process)


def test_files_both_ways(tenon, program, data):
    """Each side sends a file, ends its direction and waits for the other."""
    server = tenon.peer(program("nc"), "-v", "-N", "-l", "127.0.0.1", "0",
                        stdin=tenon.opened(tenon.file("other", OTHER)))
    where = server.wait_for_text(r"Listening on \S+ (\d+)")[1]
    process, port = relay(tenon, f"tcp://127.0.0.1:{where}")
    assert tenon.feed(data, CLIENTS["nc"](port)) == OTHER
    server.wait()
    assert server.out == DATA
    stop(process)


def test_unix_behind_tcp(tenon, program, data):
    path = tenon.folder / "socket"
    server = tenon.peer(program("socat"), "-t", LIMIT, f"UNIX-LISTEN:{path}", "EXEC:cat")
    wait_until(path.exists, "socat listens")
    process, port = relay(tenon, f"unix:{path}")
    assert tenon.feed(data, CLIENTS["socat"](port)) == DATA
    server.wait()
    stop(process)


def says_hello(client, answer):
    client.popen.stdin.write(b"hello\n")
    client.popen.stdin.flush()
    client.wait_for_text(f"^{answer}$", "out")


def test_openssl_in_front(tenon, program, socat, authority):
    """TLS ends at the relay."""
    process, port = relay(tenon, socat("EXEC:cat"), f"tls://127.0.0.1:0?{authority.pair('server')}")
    client = tenon.peer(program("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile",
                        authority.pem("ca"), "-verify_return_error", "-quiet", stdin=subprocess.PIPE)
    says_hello(client, "hello")
    client.popen.stdin.close()
    client.kill()
    stop(process)


def test_openssl_behind(tenon, program, authority, trusted):
    """TLS begins at the relay."""
    where = free_port()
    server = tenon.peer(program("openssl"), "s_server", "-accept", f"127.0.0.1:{where}", "-cert",
                        authority.pem("server"), "-key", authority.key("server"), "-rev", stdin=subprocess.PIPE)
    server.wait_for_text("ACCEPT", "out")
    process, port = relay(tenon, f"tls://127.0.0.1:{where}?{trusted}")
    client = tenon.peer(program("nc"), "-N", "127.0.0.1", port, stdin=subprocess.PIPE)
    says_hello(client, "olleh")
    client.popen.stdin.close()
    client.kill()
    server.kill()
    stop(process)


def test_a_server_that_is_not_there(tenon):
    """The client is reset: an end in good order would tell it that there was nothing to say."""
    process, port = relay(tenon, f"tcp://127.0.0.1:{free_port()}")
    client = tenon.dial(f"tcp://127.0.0.1:{port}")
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    stop(process)
