"""tenon serve with the clients, and tenon send and connect with the servers, that others have written."""
import socket
import subprocess
import sys

import pytest

from harness import KIB, LIMIT, MIB, exchange, free_port, noise, receive_to_end, wait_until

DATA = noise(3 * MIB + 17, 3)


@pytest.fixture
def data(tenon):
    """A file of a few megabytes."""
    return tenon.file("data", DATA)


# Clients. Each is given a file, ends its side behind it and must get every byte back

CLIENTS = {
    "nc": lambda port: ["nc", "-N", "127.0.0.1", port],
    "nc-ipv6": lambda port: ["nc", "-N", "::1", port],
    "ncat": lambda port: ["ncat", "127.0.0.1", port],
    "ncat-ipv6": lambda port: ["ncat", "-6", "::1", port],
    # By default socat waits half a second for the answer to an end of file, which is its own business
    "socat": lambda port: ["socat", "-t", LIMIT, "-", f"TCP:127.0.0.1:{port}"],
    "socat-ipv6": lambda port: ["socat", "-t", LIMIT, "-", f"TCP6:[::1]:{port}"],
}


@pytest.mark.parametrize("client", CLIENTS)
def test_client_gets_its_file_back(tenon, program, data, client):
    server = tenon.serve("tcp://localhost:0", listeners=2)
    argv = CLIENTS[client](server.port)
    program(argv[0])
    assert tenon.feed(data, argv) == DATA


@pytest.mark.parametrize("client", CLIENTS)
def test_client_gets_a_reply_that_is_made_after_its_end(tenon, program, data, client):
    """Half-close: wc says nothing before the end of its input, which is the end of the client's side."""
    server = tenon.serve("tcp://localhost:0", options=["--handler", "exec:wc -c"], listeners=2)
    argv = CLIENTS[client](server.port)
    program(argv[0])
    assert int(tenon.feed(data, argv)) == len(DATA)


UNIX_CLIENTS = {
    "nc": lambda path: ["nc", "-N", "-U", path],
    "ncat": lambda path: ["ncat", "-U", path],
    "socat": lambda path: ["socat", "-t", LIMIT, "-", f"UNIX-CONNECT:{path}"],
}


@pytest.mark.parametrize("client", UNIX_CLIENTS)
def test_unix_client_gets_its_file_back(tenon, program, data, client):
    path = tenon.folder / "sock"
    tenon.serve(f"unix:{path}")
    argv = UNIX_CLIENTS[client](path)
    program(argv[0])
    assert tenon.feed(data, argv) == DATA


def test_socat_on_an_abstract_socket(tenon, program, data):
    program("socat")
    tenon.serve(f"unix:@{tenon.name}")
    assert tenon.feed(data, ["socat", "-t", LIMIT, "-", f"ABSTRACT-CONNECT:{tenon.name}"]) == DATA


def test_socat_with_packets(tenon, program):
    program("socat")
    path = tenon.folder / "sock"
    tenon.serve(f"unix-seqpacket:{path}")
    assert tenon.finish(["socat", "-t", LIMIT, "-", f"UNIX-CONNECT:{path},type=5"],
                        input=b"a packet").out == b"a packet"


UDP_CLIENTS = {
    "nc": lambda port: ["nc", "-u", "-W", "1", "127.0.0.1", port],
    "socat": lambda port: ["socat", "-t", "1", "-", f"UDP:127.0.0.1:{port}"],
}


@pytest.mark.parametrize("client", UDP_CLIENTS)
def test_udp_client(tenon, program, client):
    server = tenon.serve("udp://127.0.0.1:0")
    argv = UDP_CLIENTS[client](server.port)
    program(argv[0])
    assert tenon.finish(argv, input=b"Hello, world!").out == b"ack: Hello, world!"


def test_udp_client_ncat(tenon, program):
    """ncat leaves at the end of its input, so that has to stay open until the reply has come."""
    server = tenon.serve("udp://127.0.0.1:0")
    client = tenon.peer(program("ncat"), "-u", "127.0.0.1", server.port, stdin=subprocess.PIPE)
    client.popen.stdin.write(b"Hello, world!")
    client.popen.stdin.flush()
    wait_until(lambda: client.out == b"ack: Hello, world!", lambda: repr(client.out))
    client.popen.stdin.close()
    client.wait(None)


def test_unix_datagram_client(tenon, program):
    tenon.serve(f"unix-dgram:{tenon.folder}/sock")
    argv = [program("socat"), "-t", "1", "-", f"UNIX-SENDTO:{tenon.folder}/sock,bind={tenon.folder}/mine"]
    assert tenon.finish(argv, input=b"Hello, world!").out == b"ack: Hello, world!"


PING = """
use strict; use warnings; use Net::Ping;
my ($protocol, $port) = @ARGV;
for my $turn (1 .. 3) {
	my $ping = Net::Ping->new($protocol, 15, $protocol eq "udp" ? 32 : ());
	$ping->port_number($port);
	$ping->service_check(1);
	print $ping->ping("127.0.0.1") ? "alive\\n" : "dead\\n";
	$ping->close;
}
"""


@pytest.mark.parametrize("protocol", ["tcp", "stream", "udp"])
def test_perls_net_ping(tenon, program, protocol):
    """tcp connects, stream and udp want to read exactly what they have sent."""
    scheme = "udp" if protocol == "udp" else "tcp"
    server = tenon.serve(f"{scheme}://127.0.0.1:0", options=["--handler", "echo"])
    argv = [program("perl"), "-e", PING, protocol, server.port]
    if tenon.finish(["perl", "-MNet::Ping", "-e", "1"], status=None).status:
        pytest.skip("Net::Ping is not installed")
    assert tenon.finish(argv).text == "alive\n" * 3


def test_curl_telnet(tenon, program):
    """curl does not leave by itself as long as its input is open, whatever the server says."""
    server = tenon.serve("tcp://127.0.0.1:0")
    client = tenon.peer(program("curl"), "-sN", f"telnet://127.0.0.1:{server.port}", stdin=subprocess.PIPE)
    client.popen.stdin.write(b"good day\n")
    client.popen.stdin.flush()
    wait_until(lambda: client.out == b"good day\n", lambda: repr(client.out))
    client.kill()


def test_curl_http_from_a_shell_script(tenon, program):
    """A server that answers before it has read the request, which must not cost the client its answer."""
    script = r"exec:printf 'HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nfine'"
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", script])
    for _ in range(5):
        assert tenon.finish([program("curl"), "-sS", f"http://127.0.0.1:{server.port}/"]).out == b"fine"


# Servers

def socat_port(server):
    return server.wait_for_text(r"listening on .*?:(\d+)$")[1]


@pytest.fixture
def socat(tenon, program):
    """socat(ADDRESS): listens on a port of its own and joins each connection with the address; returns its URL."""
    def start(address, fork=True):
        listen = f"TCP-LISTEN:0,bind=127.0.0.1{',fork' if fork else ''}"
        server = tenon.peer(program("socat"), "-d", "-d", "-t", LIMIT, listen, address)
        return f"tcp://127.0.0.1:{socat_port(server)}"
    return start


def test_connect_to_socat(tenon, socat, data):
    assert tenon.feed(data, tenon.argv("connect", socat("EXEC:cat"))) == DATA


def test_connect_to_socat_that_answers_after_the_end(tenon, socat, data):
    assert int(tenon.feed(data, tenon.argv("connect", socat("EXEC:wc -c")))) == len(DATA)


def test_send_to_socat(tenon, socat):
    url = socat("EXEC:cat")
    assert tenon.run("send", url, "one", "two", "three").text == "one\ntwo\nthree\n"


def test_send_to_socat_over_udp(tenon, program):
    port = free_port(kind=socket.SOCK_DGRAM)
    server = tenon.peer(program("socat"), "-d", "-d", f"UDP-RECVFROM:{port},bind=127.0.0.1,fork", "EXEC:cat")
    server.wait_for_text("receiving on")
    for text in ("one", "two"):
        assert tenon.run("send", f"udp://127.0.0.1:{port}", text).text == text + "\n"


def test_files_both_ways_with_nc(tenon, program, data):
    """Either side sends a file, ends its direction and waits for the other."""
    other = tenon.file("other", noise(2 * MIB + 5, 9))
    server = tenon.peer(program("nc"), "-v", "-N", "-l", "127.0.0.1", "0", stdin=tenon.opened(other))
    port = server.wait_for_text(r"Listening on \S+ (\d+)")[1]
    assert tenon.feed(data, tenon.argv("connect", f"tcp://127.0.0.1:{port}")) == other.read_bytes()
    server.wait()
    assert server.out == DATA


def test_files_both_ways_with_ncat(tenon, program, data):
    """(With -e, ncat loses data when its client ends first, whoever that is.)"""
    other, port = tenon.file("other", noise(2 * MIB + 5, 9)), free_port()
    server = tenon.peer(program("ncat"), "-v", "-l", "127.0.0.1", port, stdin=tenon.opened(other))
    server.wait_for_text("Listening")
    assert tenon.feed(data, tenon.argv("connect", f"tcp://127.0.0.1:{port}")) == other.read_bytes()
    server.wait()
    assert server.out == DATA


def test_files_both_ways_with_socat(tenon, program, data):
    other = tenon.file("other", noise(2 * MIB + 5, 9))
    server = tenon.peer(program("socat"), "-d", "-d", "-t", LIMIT, "TCP-LISTEN:0,bind=127.0.0.1", "-",
                        stdin=tenon.opened(other))
    url = f"tcp://127.0.0.1:{socat_port(server)}"
    assert tenon.feed(data, tenon.argv("connect", url)) == other.read_bytes()
    server.wait()
    assert server.out == DATA


def test_connect_to_ncs_unix_socket(tenon, program, data):
    path = tenon.folder / "nc.sock"
    server = tenon.peer(program("nc"), "-N", "-l", "-U", path)
    wait_until(path.exists, "nc listens")
    assert tenon.feed(data, tenon.argv("connect", f"unix:{path}")) == b""
    server.wait()
    path.unlink()
    assert server.out == DATA


# Python as a server, the way tutorials write one: one connection at a time, 16 bytes at a time

TUTORIAL = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
sock.bind(('localhost', 0))
sock.listen(1)
print(sock.getsockname()[1], flush=True)
while True:
    connection, client_address = sock.accept()
    try:
        while True:
            data = connection.recv(16)
            if data:
                connection.sendall(data)
            else:
                break
    finally:
        connection.close()
"""

TUTORIAL_UDP = """
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(('localhost', 0))
print(sock.getsockname()[1], flush=True)
while True:
    data, address = sock.recvfrom(4096)
    if data:
        sock.sendto(b'ack: ' + data, address)
"""


@pytest.fixture
def tutorial(tenon):
    def start(text, scheme):
        server = tenon.peer(sys.executable, "-c", text)
        port = server.wait_for_text(r"^(\d+)$", "out")[1]
        return f"{scheme}://localhost:{port}"
    return start


def test_send_to_a_tutorial_server(tenon, tutorial):
    url = tutorial(TUTORIAL, "tcp")
    assert tenon.run("send", url, "This is the message.  It will be repeated.").text == \
        "This is the message.  It will be repeated.\n"
    assert tenon.run("send", url, "one", "two" * 100, "three").text == f"one\n{'two' * 100}\nthree\n"


def test_connect_to_a_tutorial_server(tenon, tutorial):
    url = tutorial(TUTORIAL, "tcp")
    for size in (0, 1, 16, 17, 200 * KIB):
        assert tenon.run("connect", url, input=noise(size)).out == noise(size)


def test_send_to_a_tutorial_udp_server(tenon, tutorial):
    url = tutorial(TUTORIAL_UDP, "udp")
    assert tenon.run("send", url, "Hello, world!", "again").text == "ack: Hello, world!\nack: again\n"


# Half-close, with nobody's program in between

def test_the_peer_ends_first_and_goes_on_reading(tenon, data):
    """A server that greets, ends its side and then reads all the client has to say."""
    listener = tenon.listen()
    client = tenon.start("connect", f"tcp://127.0.0.1:{listener.getsockname()[1]}", stdin=tenon.opened(data))
    sock = tenon.accept(listener)
    sock.sendall(b"welcome")
    sock.shutdown(socket.SHUT_WR)
    assert receive_to_end(sock) == DATA
    sock.close()
    client.wait()
    assert client.out == b"welcome"


def test_the_client_ends_first_and_goes_on_reading(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "exec:sort -r"])
    client = tenon.dial(server.url)
    text = b"".join(b"%06d\n" % i for i in range(200000))
    assert exchange(client, text, finish=True) == b"".join(reversed(text.splitlines(True)))


def test_tenon_to_tenon(tenon, data):
    server = tenon.serve("tcp://127.0.0.1:0")
    assert tenon.feed(data, tenon.argv("connect", server.url)) == DATA
