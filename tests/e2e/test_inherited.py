"""fd:N: sockets that somebody else has opened, as systemd, inetd and tests of all kinds hand them over."""
import os
import socket

import pytest

from harness import LIMIT, exchange, noise, open_socket, receive_exactly, wait_until

FAMILIES = {
    "tcp": (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
    "tcp6": (socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0)),
    "unix": (socket.AF_UNIX, socket.SOCK_STREAM, "{}/sock"),
    "unix-seqpacket": (socket.AF_UNIX, socket.SOCK_SEQPACKET, "{}/sock"),
    "udp": (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
    "unix-dgram": (socket.AF_UNIX, socket.SOCK_DGRAM, "{}/sock"),
}


def bound(tenon, name):
    """An open listener (or datagram socket), and the URL at which clients find it."""
    family, kind, address = FAMILIES[name]
    address = address.format(tenon.folder) if isinstance(address, str) else address
    sock = tenon.listen(family, address, kind)
    if family == socket.AF_UNIX:
        return sock, f"{name}:{address}"
    host, port = sock.getsockname()[:2]
    return sock, f"{name}://[{host}]:{port}" if ":" in host else f"{name}://{host}:{port}"


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", FAMILIES)
def test_serves_an_inherited_socket(tenon, name, threads):
    sock, url = bound(tenon, name)
    server = tenon.serve(f"fd:{sock.fileno()}", pass_fds=[sock.fileno()], options=["--threads", threads])
    assert server.handlers == ["ack" if "dgram" in name or "udp" in name else "echo"]
    for _ in range(4):
        with open_socket(url) as client:
            for turn in (b"hello", b"again"):
                client.send(turn)
                assert client.recv(100) == (b"ack: " if server.handlers == ["ack"] else b"") + turn
    server.stop()
    if "unix" in name:  # not the server's to remove
        os.unlink(f"{tenon.folder}/sock")


@pytest.mark.parametrize("name", ["tcp", "tcp6", "udp", "unix"])
def test_names_its_address_as_a_url(tenon, name):
    """What it prints is what a client can be given."""
    sock, _ = bound(tenon, name)
    server = tenon.serve(f"fd:{sock.fileno()}", pass_fds=[sock.fileno()])
    assert tenon.run("send", server.url, "hello").text.endswith("hello\n")
    server.stop()
    if name == "unix":
        os.unlink(f"{tenon.folder}/sock")


def test_the_way_systemd_does_it(tenon, program):
    """Descriptor 3 and its environment; the socket outlives the server, and the next one goes on with it."""
    sock, url = bound(tenon, "tcp")
    argv = [program("bash"), "-c", f'exec "$@" 3<&{sock.fileno()} {sock.fileno()}<&-', "bash"]
    for _ in range(2):
        server = tenon.peer(*argv, *tenon.argv("serve", "fd:3"), pass_fds=[sock.fileno()],
                            env={"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())})
        wait_until(lambda: server.lines, "it listens")
        with open_socket(url) as client:
            assert exchange(client, b"hello", finish=True) == b"hello"
        server.signal(15)
        server.wait(0)


def activated(tenon, program, names, *argv):
    """The command as a service manager starts it: descriptors from 3 on, with names, and its own process id."""
    socks = [bound(tenon, kind) for kind in names.values()]
    moves = " ".join(f"{3 + i}<&{sock.fileno()}" for i, (sock, _) in enumerate(socks))
    script = f'export LISTEN_PID=$$ LISTEN_FDS={len(socks)} LISTEN_FDNAMES={":".join(names)}; exec "$@" {moves}'
    server = tenon.peer(program("bash"), "-c", script, "bash", *tenon.argv(*argv),
                        pass_fds=[sock.fileno() for sock, _ in socks])
    return server, [url for _, url in socks]


def test_names_of_descriptors(tenon, program):
    """TCP, UDP and Unix by the names that a service manager has given them."""
    names = {"web": "tcp", "dns": "udp", "local": "unix"}
    server, urls = activated(tenon, program, names, "serve", "fd:local", "fd:web", "fd:dns", "--handler", "echo")
    wait_until(lambda: len(server.lines) == 3, lambda: server.err)
    for url in urls:
        with open_socket(url) as client:
            client.send(b"hello")
            assert client.recv(100) == b"hello"
    server.signal(15)
    server.wait(0)
    os.unlink(f"{tenon.folder}/sock")


def test_a_relay_that_is_activated(tenon, program):
    target = tenon.serve("tcp://127.0.0.1:0")
    server, (url,) = activated(tenon, program, {"web": "tcp"}, "relay", "fd:web", target.url)
    wait_until(lambda: server.lines, lambda: server.err)
    with open_socket(url) as client:
        assert exchange(client, b"hello", finish=True) == b"hello"
    server.signal(15)
    server.wait(0)


def test_restarts_of_an_activated_relay_refuse_nobody(tenon, program):
    """The listener outlives each process: clients that come meanwhile wait in its backlog."""
    target = tenon.serve("tcp://127.0.0.1:0")
    sock, url = bound(tenon, "tcp")
    script = f'export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web; exec "$@" 3<&{sock.fileno()}'

    def start():
        return tenon.peer(program("bash"), "-c", script, "bash", *tenon.argv("relay", "fd:web", target.url),
                          pass_fds=[sock.fileno()])
    server = start()
    for _ in range(5):
        for _ in range(20):
            with open_socket(url) as client:
                assert exchange(client, b"hello", finish=True) == b"hello"
        wait_until(lambda: server.lines, lambda: server.err)
        server.signal(15)
        with open_socket(url) as late:
            late.sendall(b"lat")  # to whichever of the two accepts it
            server.wait(0)
            server = start()
            late.shutdown(socket.SHUT_WR)
            assert receive_exactly(late, 3) == b"lat" and late.recv(1) == b""
    wait_until(lambda: server.lines, lambda: server.err)
    server.signal(15)
    server.wait(0)


@pytest.mark.parametrize("names,words", [("a:b", "neither"), ("web:web", "several")])
def test_a_name_that_does_not_say_which(tenon, program, names, words):
    script = f'export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES={names}; exec "$@"'
    done = tenon.finish([program("bash"), "-c", script, "bash", *tenon.argv("serve", "fd:web")], 2)
    assert words in done.err


def test_names_for_another_process(tenon):
    env = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"}
    assert "neither" in tenon.finish(tenon.argv("serve", "fd:web"), 2, env=env).err


def test_several_at_once(tenon):
    socks = [bound(tenon, name) for name in ("tcp", "udp", "unix")]
    server = tenon.serve(*[f"fd:{sock.fileno()}" for sock, _ in socks], pass_fds=[sock.fileno() for sock, _ in socks])
    for _, url in socks:
        with open_socket(url) as client:
            client.send(b"hello")
            assert client.recv(100).endswith(b"hello")
    server.stop()
    os.unlink(f"{tenon.folder}/sock")


def test_two_servers_share_a_listener(tenon):
    """As pre-forking servers do: who comes first accepts, and nobody hangs in accept(2)."""
    sock, url = bound(tenon, "tcp")
    servers = [tenon.serve(f"fd:{sock.fileno()}", pass_fds=[sock.fileno()]) for _ in range(2)]
    for i in range(50):
        with open_socket(url) as client:
            assert exchange(client, b"%d" % i) == b"%d" % i
    servers[0].stop()
    for i in range(20):
        with open_socket(url) as client:
            assert exchange(client, b"%d" % i) == b"%d" % i


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
def test_serves_one_connection_that_is_there_already(tenon, kind):
    """The way of inetd's nowait: with its connection the server ends."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    with ours, theirs:
        ours.settimeout(20)
        process = tenon.start("serve", f"fd:{theirs.fileno()}", pass_fds=[theirs.fileno()])
        theirs.close()
        ours.send(b"hello")
        assert ours.recv(100) == b"hello"
        ours.shutdown(socket.SHUT_WR)
        assert ours.recv(100) == b""
        process.wait(0)


def test_the_way_inetd_does_it(tenon):
    """The connection is descriptors 0 and 1."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(20)
        process = tenon.start("serve", "fd:0", stdin=theirs)
        theirs.close()
        data = noise(300000)
        assert exchange(ours, data, finish=True) == data
        process.wait(0)


def test_dials_a_connection_that_is_there_already(tenon):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(20)
        process = tenon.start("send", f"fd:{theirs.fileno()}", "hello", pass_fds=[theirs.fileno()])
        theirs.close()
        assert receive_exactly(ours, 5) == b"hello"
        ours.sendall(b"good day")
        ours.close()
        process.wait(0)
        assert process.out == b"good day\n"


def test_connects_to_a_connection_that_is_there_already(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    sock = tenon.dial(server.url)
    data = noise(500000)
    assert tenon.run("connect", f"fd:{sock.fileno()}", input=data, pass_fds=[sock.fileno()]).out == data


def test_what_is_no_socket(tenon):
    """Which descriptor, what is wrong with it, and what to do."""
    master, terminal = os.openpty()
    reader, writer = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (master, terminal, reader, writer, null):
        result = tenon.run("serve", f"fd:{fd}", status=1, pass_fds=[fd])
        os.close(fd)
        assert result.err == (f"tenon: fd:{fd}: this descriptor is no socket, and only sockets are served; "
                              f"anything else is dialled, as in: tenon connect fd:{fd}\n")
    for command in ("serve", "send", "connect"):
        result = tenon.run(command, "fd:777", status=1)
        assert result.err == "tenon: fd:777: no descriptor with this number was handed over\n"


@pytest.mark.parametrize("name", ["tcp", "tcp6", "unix", "unix-seqpacket"])
def test_a_socket_that_nobody_has_made_listen(tenon, name):
    family, kind, _ = FAMILIES[name]
    with socket.socket(family, kind) as sock:
        result = tenon.run("serve", f"fd:{sock.fileno()}", status=1, pass_fds=[sock.fileno()])
        assert result.err == (f"tenon: fd:{sock.fileno()}: this socket neither listens nor is connected: "
                              "call listen() on it before it is handed over\n")


def test_a_listener_cannot_be_dialled(tenon):
    sock, _ = bound(tenon, "tcp")
    result = tenon.run("send", f"fd:{sock.fileno()}", "hello", status=1, pass_fds=[sock.fileno()])
    assert "listens" in result.err


@pytest.mark.parametrize("scheme", ["fd", "FD"])
@pytest.mark.parametrize("signalled", [False, True])
def test_one_connection_ends_the_server(tenon, scheme, signalled):
    """Whether its client leaves or a signal comes; and however the scheme is written."""
    ours, theirs = socket.socketpair()
    server = tenon.peer(*tenon.argv("serve", f"{scheme}:{theirs.fileno()}", "--json"), pass_fds=[theirs.fileno()])
    theirs.close()
    with ours:
        ours.settimeout(LIMIT)
        assert exchange(ours, b"hello") == b"hello"
        if signalled:
            server.signal(15)
            assert ours.recv(10) == b""
    server.wait(0)
    assert '"event":"stopped"' in server.lines[-1]


def test_one_connection_ends_and_other_endpoints_go_on(tenon):
    ours, theirs = socket.socketpair()
    server = tenon.serve(f"fd:{theirs.fileno()}", "tcp://127.0.0.1:0", listeners=1, pass_fds=[theirs.fileno()])
    theirs.close()
    with ours:
        ours.settimeout(LIMIT)
        assert exchange(ours, b"hello", finish=True) == b"hello"
    server.at_rest = {}
    with open_socket(server.url) as client:
        assert exchange(client, b"hello") == b"hello"
    server.untidy = True
    server.stop()
