"""Key bind: where a dialled connection comes from, and what has no effect without it."""
import random
import socket
import subprocess

import pytest

from harness import reset

one_engine = pytest.mark.parametrize("engine", ["auto"], indirect=True)


def free_port(family=socket.AF_INET, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as sock:
        sock.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        return sock.getsockname()[1]


def test_an_address(tenon):
    listener = tenon.listen()
    port = listener.getsockname()[1]
    tenon.start("connect", f"tcp://localhost:{port}?bind=127.0.0.5")
    assert tenon.accept(listener).getpeername()[0] == "127.0.0.5"  # and IPv4, though localhost has IPv6 first


def test_a_port(tenon):
    own = free_port()
    for address in ("127.0.0.1", "127.0.0.2"):  # the second time while the first connection lingers
        listener = tenon.listen(address=(address, 0))
        tenon.start("connect", f"tcp://{address}:{listener.getsockname()[1]}?bind=:{own}")
        assert tenon.accept(listener).getpeername() == ("127.0.0.1", own)


def spare_range(length):
    """So many ports in a row that nobody has, below those that the system gives out."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        top = int(file.read().split()[0])
    for low in random.sample(range(2000, top - length), 100):
        socks = []
        try:
            for port in range(low, low + length):
                socks.append(socket.socket())
                socks[-1].bind(("", port))
            return low
        except OSError:
            pass
        finally:
            for sock in socks:
                sock.close()
    return pytest.skip("no ports in a row are free")


def test_a_range_of_ports(tenon):
    """Each connection gets one of its own; the one too many is told so; what lingers is used again."""
    low, listener = spare_range(3), tenon.listen()
    url = f"tcp://127.0.0.1:{listener.getsockname()[1]}?bind=:{low}-{low + 2}"
    accepted, clients = [], []
    for _ in range(3):
        clients.append(tenon.start("connect", url, stdin=subprocess.PIPE))
        accepted.append(tenon.accept(listener))
    assert sorted(sock.getpeername()[1] for sock in accepted) == [low, low + 1, low + 2]
    err = tenon.run("connect", url, status=1).err
    assert f"bind=:{low}-{low + 2}" in err or "lingers" in err
    for client, sock in zip(clients, accepted):
        client.popen.stdin.close()
        sock.shutdown(socket.SHUT_WR)
        client.wait(0)
        sock.close()
    other = tenon.listen()
    url = f"tcp://127.0.0.1:{other.getsockname()[1]}?bind=127.0.0.1:{low}-{low + 2}"
    tenon.start("connect", url)
    assert low <= tenon.accept(other).getpeername()[1] <= low + 2


def test_a_range_whose_ports_have_connections_elsewhere(tenon):
    """Every port is taken; the one whose connection goes to another place is found."""
    low, here, elsewhere = spare_range(2), tenon.listen(), tenon.listen()
    url = f"tcp://127.0.0.1:{{}}?bind=127.0.0.1:{low}-{low + 1}"
    for listener in (here, elsewhere):
        tenon.start("connect", url.format(listener.getsockname()[1]), stdin=subprocess.PIPE)
        taken = tenon.accept(listener).getpeername()[1]
    for _ in range(8):  # from which port it begins is chance
        client = tenon.start("connect", url.format(here.getsockname()[1]), stdin=subprocess.PIPE)
        sock = tenon.accept(here)
        assert sock.getpeername()[1] == taken
        reset(sock)
        client.wait(None)


def test_a_range_is_walked_once(tenon):
    """One port of many has no connection to the same place: it is found. Where there is none, that is told."""
    count, here, elsewhere = 40, tenon.listen(), tenon.listen()
    low = spare_range(count)
    url = f"tcp://127.0.0.1:{here.getsockname()[1]}?bind=127.0.0.1:{low}-{low + count - 1}"
    free = random.randrange(low, low + count)
    socks = []
    try:
        for port in range(low, low + count):
            socks.append(socket.socket())
            socks[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            socks[-1].bind(("127.0.0.1", port))
            socks[-1].connect((elsewhere if port == free else here).getsockname())
            if port != free:
                tenon.accept(here)
        for _ in range(4):  # from which port it begins is chance
            client = tenon.start("connect", url, stdin=subprocess.PIPE)
            sock = tenon.accept(here)
            assert sock.getpeername()[1] == free
            reset(sock)
            client.wait(None)
        client = tenon.start("connect", url, stdin=subprocess.PIPE)
        tenon.accept(here)
        assert "lingers" in tenon.run("connect", url, status=1).err
    finally:
        for sock in socks:
            sock.close()


def test_a_range_of_ports_on_datagrams(tenon):
    server, low = tenon.listen(kind=socket.SOCK_DGRAM), spare_range(2)
    url = f"udp://127.0.0.1:{server.getsockname()[1]}?bind=:{low}-{low + 1}"
    clients = []
    for _ in range(2):
        clients.append(tenon.start("connect", url, stdin=subprocess.PIPE))
        clients[-1].popen.stdin.write(b"x\n")
        clients[-1].popen.stdin.flush()
    assert sorted(server.recvfrom(10)[1][1] for _ in clients) == [low, low + 1]
    assert "other sockets have all ports of this range" in tenon.run("send", url, "x", status=1).err


def test_both_on_datagrams(tenon):
    server = tenon.listen(kind=socket.SOCK_DGRAM)
    own = free_port(kind=socket.SOCK_DGRAM)
    tenon.start("send", f"udp://127.0.0.1:{server.getsockname()[1]}?bind=127.0.0.7:{own}", "hello")
    assert server.recvfrom(100) == (b"hello", ("127.0.0.7", own))


def test_ipv6(tenon):
    listener = tenon.listen(socket.AF_INET6, ("::1", 0))
    own = free_port(socket.AF_INET6)
    tenon.start("connect", f"tcp://localhost:{listener.getsockname()[1]}?bind=[::1]:{own}")
    assert tenon.accept(listener).getpeername()[:2] == ("::1", own)


def test_the_port_is_left_open(tenon):
    """Two connections from one port: each to another server."""
    listeners = [tenon.listen(address=(address, 0)) for address in ("127.0.0.1", "127.0.0.2")]
    low = free_port()
    ports = f"local_port_range={low}-{low}&bind_address_no_port=on&bind=127.0.0.9"
    for listener in listeners:
        tenon.start("connect", "tcp://{}:{}?{}".format(*listener.getsockname(), ports))
        assert tenon.accept(listener).getpeername() == ("127.0.0.9", low)


def test_what_cannot_be_bound(tenon):
    listener = tenon.listen()
    port = listener.getsockname()[1]
    for bind, words in ((f"127.0.0.1:{port}", "another socket has this port"), ("192.0.2.1", "no interface here has")):
        err = tenon.run("send", f"tcp://127.0.0.1:{port}?bind={bind}", "x", status=1).err
        assert f"bind={bind}: " in err and words in err


@one_engine
@pytest.mark.parametrize("keys, words", [
    ("freebind=on", "without key bind"), ("transparent=on", "without key bind"),
    ("bind_address_no_port=on", "without key bind"), ("reuseaddr=on", "without key bind"),
    ("reuseport=on", "without key bind"), ("freebind=on&bind=:7", "bind has no address"),
    ("bind_address_no_port=on&bind=127.0.0.1:7", "bind has a port"), ("bind=eth0", "bindtodevice"),
    ("bind=[::1]", "other IP version"), ("bind=:9-8", "5000-5099"), ("bind=:0-8", "5000-5099"),
    ("bind=:1-65536", "5000-5099"), ("bind=:1-", "5000-5099"),
    ("bind=127.0.0.1:x", "an address"), ("bind=", "an address")])
def test_without_effect(tenon, keys, words):
    assert words in tenon.run("send", f"tcp://127.0.0.1:7?{keys}", "x", status=2).err


@one_engine
def test_only_ip_has_it(tenon):
    assert "IP endpoints only" in tenon.run("send", "unix:/x?bind=127.0.0.1", "x", status=2).err
    assert "dialled" in tenon.run("serve", "tcp://127.0.0.1:0?bind=127.0.0.1", status=2).err


@one_engine
def test_ports_outside_of_the_range_of_the_system(tenon):
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        low, high = map(int, file.read().split())
    server = tenon.serve("tcp://127.0.0.1:0")
    if low > 2:
        asked = f"{server.url}?local_port_range=1-{low - 1}"
        result = tenon.run("send", asked, "x", status=None)
        if "local_port_range" not in result.err:
            pytest.skip("a kernel without IP_LOCAL_PORT_RANGE")
        assert result.status == 1 and "outside of the system's range" in result.err or "kernel" in result.err
        result = tenon.run("send", f"{server.url}?local_port_range=1-{high}", "x", status=None)
        assert result.status == 1 or f"only {low}-{high} of it is used" in result.err
