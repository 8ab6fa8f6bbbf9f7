"""tenon inspect --state, --kind, --port, --peer, --process, --summary, --kill: which sockets are meant."""
import json
import re
import socket

import pytest

import system

FAILED, USAGE = 1, 2


def look(tenon, *args):
    return [json.loads(line) for line in tenon.run("inspect", "--json", *args, status=None).lines]


def test_each_filter_and_all_of_them(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", "udp://127.0.0.1:0")
    client = tenon.dial(server.urls[0])
    client.sendall(b"x")
    assert client.recv(1) == b"x"
    pid, port = server.pid, server.port
    assert {sock["kind"] for sock in look(tenon, pid, "--kind", "udp")} == {"udp"}
    assert [sock["state"] for sock in look(tenon, pid, "--state", "listen")] == ["listening"]
    assert [sock["state"] for sock in look(tenon, pid, "--kind", "tcp", "--state", "ESTAB")] == ["established"]
    assert sorted(sock["state"] for sock in look(tenon, pid, "--port", port)) == ["established", "listening"]
    assert [sock["state"] for sock in look(tenon, "--port", port, "--process", "tenon", "--state", "listening")] == [
        "listening"]


def test_no_socket_is_so(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    result = tenon.run("inspect", server.pid, "--kind", "tcp", "--state", "syn-sent", status=FAILED)
    assert "no socket is as" in result.err and result.out == b""


@pytest.mark.parametrize("args,why", [
    (["--state", "listning"], "is no state; there are"),
    (["--state", ""], "--state"),
    (["--port", "0"], "no port from 1"),
    (["--port", "65536"], "no port from 1"),
    (["--peer", "localhost"], "neither an IP address nor a network"),
    (["--peer", ""], "neither an IP address nor a network"),
    (["--peer", "1" * 99], "neither an IP address nor a network"),
    (["--peer", "127.0.0.0/33"], "from 0 to 32"),
    (["--peer", "127.0.0.0/"], "from 0 to 32"),
    (["--peer", "::/129"], "from 0 to 128"),
])
def test_filters_asked_for_wrongly(tenon, args, why):
    assert why in tenon.run("inspect", *args, status=USAGE).err


@pytest.mark.parametrize("served, dialled, inside, outside", [
    ("tcp4://127.0.0.1:0", "127.0.0.1", ["127.0.0.1", "127.0.0.0/8", "126.0.0.0/7", "0.0.0.0/0", "::/0"],
     ["127.0.0.2", "128.0.0.0/1", "127.0.0.128/25", "::1", "2000::/3"]),
    ("tcp6://[::1]:0", "::1", ["::1", "::1/128", "::/127", "::/0"], ["::2", "127.0.0.1", "0.0.0.0/0", "8000::/1"]),
    ("tcp6://[::]:0?v6only=off", "127.0.0.1", ["127.0.0.1", "127.0.0.0/9", "::ffff:127.0.0.1"], ["127.128.0.0/9"])])
def test_peers_of_a_network(tenon, served, dialled, inside, outside):
    server = tenon.serve(served)
    with socket.create_connection((dialled, server.port)) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        for net in inside:
            assert [sock["state"] for sock in look(tenon, server.pid, "--peer", net)] == ["established"], net
        for net in outside:
            assert "--peer" in tenon.run("inspect", server.pid, "--peer", net, status=FAILED).err, net


def summary(tenon, *args):
    return json.loads(tenon.run("inspect", "--summary", "--json", *args).out)


def test_summary_counts_kinds_and_states(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", "udp://127.0.0.1:0")
    clients = [tenon.dial(server.urls[0]) for _ in range(3)]
    for client in clients:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    got = summary(tenon, server.pid)
    assert got["kinds"]["tcp"] == {"established": 3, "listening": 1} and got["kinds"]["udp"] == {"bound": 1}
    assert got["total"] == sum(sum(states.values()) for states in got["kinds"].values())
    assert summary(tenon, server.pid, "--kind", "udp") == {"total": 1, "kinds": {"udp": {"bound": 1}}}
    head, *lines, total = tenon.run("inspect", "--summary", "--kind", "tcp", server.pid).lines
    assert head.split() == ["KIND", "STATE", "SOCKETS"] and total.split() == ["total", "4"]
    assert [line.split() for line in lines] == [["tcp", "established", "3"], ["tcp", "listening", "1"]]


def test_summary_counts_what_is_dying(tenon, network):
    """Whoever counts wants connections that no process holds any more; so does who asks for their state."""
    listener = network.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    with network.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.connect(listener.getsockname())
        server, _ = listener.accept()
    assert server.recv(1) == b""
    server.close()
    done = tenon.run("inspect", "--summary", "--json", preexec_fn=network.enter)
    assert json.loads(done.out)["kinds"]["tcp"] == {"listening": 1, "time-wait": 1}
    line, = tenon.run("inspect", "--json", "--state", "time-wait", preexec_fn=network.enter).lines
    assert json.loads(line)["local"] and listener.fileno() >= 0
    listener.close()


def pair_of(network, listener):
    client = network.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.connect(listener.getsockname())
    return client, listener.accept()[0]


def listening(network):
    listener = network.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


def kill(tenon, network, *args):
    done = tenon.run("inspect", "--kill", *args, status=None, preexec_fn=network.enter)
    if "CONFIG_INET_DIAG_DESTROY" in done.err:
        pytest.skip("this kernel closes no sockets")
    assert done.status == 0, done
    return done


def test_kill_closes_what_is_selected_alone(tenon, network):
    listener = listening(network)
    (one, served), (other, spared) = pair_of(network, listener), pair_of(network, listener)
    port = one.getsockname()[1]
    with listener, one, served, other, spared:
        done = kill(tenon, network, "--json", "--port", port)
        closed, reset = (re.search(f"(\\d+) {what}", done.err) for what in ("sockets? closed", "more had ended"))
        assert int(closed[1]) + int(reset[1] if reset else 0) == 2, done.err  # the reset may reach the other end first
        assert [json.loads(line)["state"] for line in done.lines] == ["established"] * int(closed[1])
        for sock in (one, served):
            with pytest.raises(ConnectionError):
                while sock.recv(1):
                    pass
        other.sendall(b"x")
        assert spared.recv(1) == b"x"
        again = tenon.run("inspect", "--kill", "--port", port, status=FAILED, preexec_fn=network.enter)
        assert "no socket is as" in again.err


def test_kill_listeners_that_share_a_port_and_datagrams(tenon, network):
    """Of several sockets with one address the kernel finds one: all of those that are selected are closed anyway."""
    group = []
    port = 0
    for _ in range(4):
        sock = network.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", port))
        sock.listen()
        port = sock.getsockname()[1]
        group.append(sock)
    done = kill(tenon, network, "--kind", "tcp", "--state", "listen")
    assert "4 sockets closed" in done.err and len(done.lines) == 5
    for sock in group:
        with pytest.raises(OSError):
            sock.accept()
        sock.close()
    with network.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        done = kill(tenon, network, "--port", sock.getsockname()[1])
        assert "1 socket closed" in done.err
        with pytest.raises(ConnectionAbortedError):
            sock.recv(1)


def test_kill_says_what_cannot_be_closed(tenon, network):
    server = tenon.serve(f"unix:{tenon.folder}/sock", preexec_fn=network.enter)
    done = tenon.run("inspect", "--kill", server.pid, "--kind", "unix", status=FAILED, preexec_fn=network.enter)
    assert "0 sockets closed" in done.err and "1 cannot be closed from outside" in done.err and done.out == b""


def test_kill_needs_a_capability(tenon, network):
    with listening(network) as listener:
        def enter_and_drop():
            network.enter()
            system.drop_capabilities()
        done = tenon.run("inspect", "--kill", "--kind", "tcp", status=FAILED, preexec_fn=enter_and_drop)
        assert "CAP_NET_ADMIN" in done.err and "closed" not in done.err.replace("be closed", "")
        client, served = pair_of(network, listener)
        with client, served:
            client.sendall(b"x")
            assert served.recv(1) == b"x"


@pytest.mark.parametrize("args, why", [
    ([], "which sockets?"), (["--kind", "tcp", "--watch", "1s"], "--watch"), (["--kind", "tcp", "-s"], "--summary")])
def test_kill_asked_for_wrongly(tenon, network, args, why):
    with listening(network) as listener:
        assert why in tenon.run("inspect", "--kill", *args, status=USAGE, preexec_fn=network.enter).err
        client, served = pair_of(network, listener)
        client.close()
        served.close()
