"""Datagrams have two addresses: a server answers from the one that was asked, whatever its socket is bound to."""
import contextlib
import json
import os
import re
import signal
import socket
import struct
import subprocess

import pytest

import system
from harness import LIMIT, family_of, wait_until

# The server's host has several addresses, and the first of each family is the one that the kernel prefers
OURS = {"10.9.0.1": "near", "10.9.0.11": "near", "10.77.0.1": "lo", "fd09::1": "near", "fd09::11": "near",
        "fd77::1": "lo"}
OTHERS = ["10.9.0.11", "10.77.0.1", "fd09::11", "fd77::1"]


@pytest.fixture
def homes(wire):
    """`wire`, whose near end has several addresses of each family, on two interfaces."""
    for address, device in OURS.items():
        if address in ("10.9.0.1", "fd09::1"):
            continue
        width = (128 if ":" in address else 32) if device == "lo" else 64 if ":" in address else 24
        wire.run(wire.near, f"address add {address}/{width} dev {device}" + (" nodad" if ":" in address else ""))
    wire.run(wire.far, "route add 10.77.0.0/24 via 10.9.0.1")
    wire.run(wire.far, "-6 route add fd77::/64 via fd09::1")
    assert not wire.why, wire.why
    return wire


@contextlib.contextmanager
def connected(network, host, port, local=None):
    """A connected socket hears nothing but what comes from the very address that it asks."""
    sock = network.socket(family_of(host), socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(LIMIT)
        if local:
            sock.bind((local, 0))
        sock.connect((host, port) if "%" not in host else socket.getaddrinfo(host, port)[0][4])
        yield sock


def serve(tenon, wire, *urls, handler="echo", options=(), listeners=None):
    server = tenon.serve(*urls, options=["--handler", handler, *options], listeners=listeners,
                         preexec_fn=wire.near.enter)
    return server


HANDLERS = {"echo": b"hello", "ack": b"ack: hello", "chargen": None, "exec:cat": b"hello",
            "exec:sleep 0.1; cat": b"hello"}


@pytest.mark.parametrize("handler", HANDLERS)
def test_the_answer_comes_from_the_address_that_was_asked(tenon, homes, handler):
    server = serve(tenon, homes, "udp://*:0", handler=handler, listeners=2)
    for host in OURS:
        with connected(homes.far, host, server.port) as client:
            client.send(b"hello")
            reply = client.recv(2000)
            assert reply == HANDLERS[handler] or HANDLERS[handler] is None


@pytest.mark.parametrize("url, hosts, listeners", [
    ("udp4://*:0", ["10.9.0.11", "10.77.0.1"], 1), ("udp6://*:0", ["fd09::11", "fd77::1"], 1),
    ("udp6://[::]:0?v6only=off", OTHERS, 1), ("udp://*:0?v6only=off", OTHERS, 1), ("udp://0.0.0.0:0", ["10.9.0.11"], 1),
    ("udp://10.9.0.11:0", ["10.9.0.11"], 1), ("udp6://[::ffff:0.0.0.0]:0", ["10.9.0.11", "10.77.0.1"], 1),
])
def test_whatever_it_is_bound_to(tenon, homes, url, hosts, listeners):
    server = serve(tenon, homes, url, listeners=listeners, options=["--threads", "3"])
    for host in hosts * 3:
        with connected(homes.far, host, server.port) as client:
            for number in range(5):
                client.send(b"%d" % number)
                assert client.recv(100) == b"%d" % number


def test_batches_of_many_addresses_are_not_mixed_up(tenon, homes):
    server = serve(tenon, homes, "udp6://[::]:0?v6only=off")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(homes.far, host, server.port)) for host in list(OURS) * 8]
        for number in range(20):
            for index, client in enumerate(clients):
                client.send(b"%d of %d" % (number, index))
            assert [client.recv(100) for client in clients] == [b"%d of %d" % (number, i) for i in range(len(clients))]


def test_link_local_addresses_and_their_interface(tenon, homes):
    """The same address on both ends of a host's cables would do; here the interface is needed to answer at all."""
    homes.run(homes.near, "address add fe80::77/64 dev near nodad")
    homes.run(homes.near, "address add 169.254.7.7/16 dev near")
    homes.run(homes.far, "address add 169.254.7.8/16 dev far")
    homes.run(homes.far, "address add fe80::78/64 dev far nodad")
    server = serve(tenon, homes, "udp://*:0", listeners=2)
    for host in ("fe80::77%far", "169.254.7.7"):
        index = homes.far.inside(lambda: socket.if_nametoindex("far"))
        with homes.far.socket(family_of(host), socket.SOCK_DGRAM) as client:
            client.settimeout(LIMIT)
            client.connect(("fe80::77", server.port, 0, index) if ":" in host else (host, server.port))
            client.send(b"hello")
            assert client.recv(100) == b"hello"


def test_an_inherited_socket(tenon, homes):
    for family, hosts in ((socket.AF_INET, ["10.9.0.11", "10.77.0.1"]), (socket.AF_INET6, OTHERS)):
        with homes.near.socket(family, socket.SOCK_DGRAM) as sock:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.bind(("::" if family == socket.AF_INET6 else "", 0))
            port = sock.getsockname()[1]
            server = tenon.serve(f"fd:{sock.fileno()}", options=["--handler", "echo"], pass_fds=[sock.fileno()],
                                 preexec_fn=homes.near.enter)
            for host in hosts:
                with connected(homes.far, host, port) as client:
                    client.send(b"hello")
                    assert client.recv(100) == b"hello"
            server.stop()


@pytest.mark.parametrize("scheme, host, protocol", [("raw4", "10.9.0.11", 253), ("raw6", "fd09::11", 253)])
def test_sockets_below_the_transports(tenon, homes, scheme, host, protocol):
    serve(tenon, homes, f"{scheme}://*?proto={protocol}")
    with homes.far.socket(family_of(host), socket.SOCK_RAW, protocol) as client:
        client.settimeout(LIMIT)
        client.connect((host, 0))
        client.send(b"hello")
        assert client.recv(100)[20 if ":" not in host else 0:] == b"hello"


def test_an_address_that_has_gone_costs_its_own_answer_alone(tenon, homes):
    server = serve(tenon, homes, "udp://*:0", handler="exec:sleep 0.3; cat", listeners=2)
    with connected(homes.far, "10.9.0.11", server.port) as first, \
            connected(homes.far, "10.9.0.1", server.port) as second:
        first.send(b"first")
        second.send(b"second")
        homes.run(homes.near, "address del 10.9.0.11/24 dev near")
        assert second.recv(100) == b"second"
        first.setblocking(False)
        with pytest.raises(BlockingIOError):
            first.recv(100)


# To many at once

@pytest.mark.parametrize("family, group", [(socket.AF_INET, "239.7.7.7"), (socket.AF_INET6, "ff02::7777"),
                                           (socket.AF_INET, "10.9.0.255"), (socket.AF_INET, "255.255.255.255")])
def test_what_was_sent_to_many_is_answered_by_one(tenon, homes, family, group):
    """A group's address, or a broadcast's, is nobody's to speak from."""
    keys = "" if group.endswith("255") else f"?add_membership={group}@near"
    server = serve(tenon, homes, f"udp{4 if family == socket.AF_INET else 6}://*:0{keys}")
    index = homes.far.inside(lambda: socket.if_nametoindex("far"))
    with homes.far.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(LIMIT)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        if family == socket.AF_INET:
            client.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF,
                              struct.pack("=4s4si", b"\0" * 4, b"\0" * 4, index))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"far\0")
        client.sendto(b"hello", (group, server.port) if family == socket.AF_INET else (group, server.port, 0, index))
        data, sender = client.recvfrom(100)
        assert data == b"hello"
        assert sender[0] == "10.9.0.1" if family == socket.AF_INET else sender[0].startswith(("fd09::", "fe80::"))


# DTLS: a connection is between two addresses

@pytest.mark.parametrize("host", OTHERS)
def test_dtls(tenon, homes, authority, trusted, host):
    server = serve(tenon, homes, f"dtls6://[::]:0?v6only=off&{authority.pair('server')}", options=["--json"])
    place = f"[{host}]" if ":" in host else host
    said = tenon.run("send", f"dtls://{place}:{server.port}?{trusted}&sni=localhost", "one", "two",
                     preexec_fn=homes.far.enter)
    assert said.out == b"one\ntwo\n"
    opened = server.wait_for_event("open")
    told = place if ":" in host else f"[::ffff:{host}]"
    assert opened["local"] == f"dtls6://{told}:{server.port}"
    assert server.wait_for_event("close")["reason"] == "end"


@pytest.mark.parametrize("threads", ["1", "2"])
def test_one_client_of_two_addresses_has_two_connections(tenon, homes, program, authority, threads):
    """From the same port: only the address of ours tells them apart."""
    server = serve(tenon, homes, f"dtls4://*:0?{authority.pair('server')}", handler="ack",
                   options=["--json", "--threads", threads])
    hosts = ["10.9.0.1", "10.9.0.11"]
    peers = [tenon.peer("openssl", "s_client", "-dtls1_2", "-quiet", "-bind", "10.9.0.2:40123", "-connect",
                        f"{host}:{server.port}", stdin=subprocess.PIPE, preexec_fn=homes.far.enter) for host in hosts]
    for round in range(3):
        for host, peer in zip(hosts, peers):
            peer.popen.stdin.write(b"%d to %s\n" % (round, host.encode()))
            peer.popen.stdin.flush()
            peer.wait_for_text(f"ack: {round} to {re.escape(host)}$", where="out")
    opened = [event for event in server.events if event["event"] == "open"]
    assert {event["local"] for event in opened} == {f"dtls4://{host}:{server.port}" for host in hosts}
    assert len({event["peer"] for event in opened}) == 1
    for peer in peers:
        peer.signal(signal.SIGTERM)
        peer.wait(None)


# Asking many

TO_MANY = ["239.7.7.7", "[ff02::7777%far]", "10.9.0.255", "255.255.255.255"]


def keys_for(group):
    return "broadcast=on&bindtodevice=far" if group.endswith("255") else "multicast_if=far"


@pytest.fixture
def answerers(tenon, homes):
    """Two servers on the near host, on addresses of their own; the port that both have."""
    groups = "&add_membership=239.7.7.7@near,239.7.7.8@near,ff02::7777@near"
    first = serve(tenon, homes, f"udp://*:0?reuseaddr=on{groups}", handler="exec:printf 'first '; cat", listeners=2)
    serve(tenon, homes, f"udp://*:{first.port}?reuseaddr=on{groups}", handler="exec:printf 'second '; cat", listeners=2)
    return first.port


@pytest.mark.parametrize("group", TO_MANY)
def test_all_who_answer_are_heard(tenon, homes, answerers, group):
    url = f"udp://{group}:{answerers}?{keys_for(group)}"
    said = tenon.run("send", "--wait", "1s", "--json", url, "hello", preexec_fn=homes.far.enter)
    replies = [json.loads(line) for line in said.lines]
    assert sorted(reply["data"] for reply in replies) == ["first hello", "second hello"]
    assert all(reply["peer"].startswith(("10.9.0.1:", "[fe80::", "[fd09::")) for reply in replies)
    said = tenon.run("connect", "-v", url, input=b"hello\n", preexec_fn=homes.far.enter)
    assert sorted(said.lines) == ["first hello", "second hello"]
    assert len(re.findall(r"^tenon: from ", said.err, re.M)) == 2


def test_a_foreign_answerer_and_a_foreign_asker(tenon, homes, program):
    """socat answers from a socket of its own for each request; python asks."""
    program("socat")
    port = 40777
    tenon.peer("socat", f"UDP4-RECVFROM:{port},ip-add-membership=239.7.7.7:10.9.0.1,fork", "EXEC:cat",
               preexec_fn=homes.near.enter)
    url = f"udp://239.7.7.7:{port}?multicast_if=far"

    def asked():
        return tenon.run("send", "--wait", "300ms", url, "hello", preexec_fn=homes.far.enter, status=None).out
    wait_until(lambda: asked() == b"hello\n", "socat answers")


def test_a_broadcast_that_is_not_allowed_says_how(tenon, homes):
    said = tenon.run("send", "udp://10.9.0.255:9", "x", preexec_fn=homes.far.enter, status=1)
    assert "broadcast=on" in said.err
    said = tenon.run("send", "udp://10.9.0.255:9?broadcast=on", "--wait", "100ms", "x", preexec_fn=homes.far.enter,
                     status=3)
    assert "no reply within 0.1 s" in said.err


def test_only_one_source_is_heard(tenon, homes):
    server = serve(tenon, homes, "udp4://*:0?join_source_group=10.9.0.2@232.7.7.7@near&multicast_all=off",
                   handler="ack")
    homes.run(homes.far, "address add 10.9.0.22/24 dev far")
    with homes.far.socket(socket.AF_INET, socket.SOCK_DGRAM) as other, \
            homes.far.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
        for sock, address in ((other, "10.9.0.22"), (source, "10.9.0.2")):
            sock.settimeout(LIMIT)
            sock.bind((address, 0))
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.9.0.2"))
            sock.sendto(address.encode(), ("232.7.7.7", server.port))
        assert source.recv(100) == b"ack: 10.9.0.2"
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(100)


def test_groups_are_joined_when_dialling(tenon, homes):
    """What is sent to a group that the dialled socket has joined reaches its port."""
    url = "udp4://10.9.0.1:9?add_membership=239.7.7.9@far,239.7.7.10@far&local_port_range=40888-40888"
    client = tenon.start("connect", "--wait", "60s", "udp4://239.7.7.7:9?multicast_if=far&" + url.partition("?")[2],
                         preexec_fn=homes.far.enter, stdin=subprocess.PIPE)
    with homes.near.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.9.0.1"))

        def heard():
            for group in ("239.7.7.9", "239.7.7.10"):
                sock.sendto(group.encode() + b"\n", (group, 40888))
            return {"239.7.7.9", "239.7.7.10"} <= set(client.lines)
        client.popen.stdin.write(b"x\n")
        client.popen.stdin.flush()
        wait_until(heard, lambda: f"both groups are heard: {client.lines} {client.err}")


def test_unconnected_hears_whoever_answers(tenon):
    """Such as TFTP and discovery: the answer comes from another port, or another host, than was asked."""
    asked, other = (tenon.listen(kind=socket.SOCK_DGRAM) for _ in range(2))
    url = f"udp://127.0.0.1:{asked.getsockname()[1]}"

    def answer(process):
        data, client = asked.recvfrom(100)
        for sock in (other, asked):
            sock.sendto(b"re: " + data, client)
        process.wait(None)
        return process
    said = answer(tenon.start("send", "--wait", "500ms", "--json", url + "?connected=off", "hello"))
    assert {json.loads(line)["peer"] for line in said.lines} == {f"127.0.0.1:{sock.getsockname()[1]}"
                                                                 for sock in (other, asked)}
    said = answer(tenon.start("send", "--wait", "500ms", url, "hello"))
    assert said.out.splitlines() == [b"re: hello"]


@pytest.mark.parametrize("host", ["10.9.0.1", "fd09::1"])
def test_more_datagrams_than_are_read_at_once(tenon, wire, host):
    server = serve(tenon, wire, f"udp://{f'[{host}]' if ':' in host else host}:0")
    with connected(wire.far, host, server.port) as client:
        server.signal(signal.SIGSTOP)
        for i in range(150):
            client.send(b"%d" % i)
        server.signal(signal.SIGCONT)
        assert {client.recv(100) for _ in range(150)} == {b"%d" % i for i in range(150)}


def test_nobody_is_connected_to_itself(tenon, network):
    """On the only port that it may have."""
    said = tenon.run("send", "udp://127.0.0.1:40999?local_port_range=40999-40999", "hello", status=1,
                     preexec_fn=network.enter)
    assert "refused" in said.err and said.out == b""


def test_what_a_slow_reader_loses_is_told(tenon):
    """Nothing holds a sender of datagrams; how many were lost is known, and said."""
    source = tenon.listen(kind=socket.SOCK_DGRAM)
    reader, writer = os.pipe()
    client = tenon.start("connect", "--wait", "500ms", f"udp://127.0.0.1:{source.getsockname()[1]}", stdout=writer,
                         stdin=subprocess.PIPE)
    os.close(writer)
    client.popen.stdin.write(b"hello\n")
    client.popen.stdin.close()
    _, peer = source.recvfrom(100)
    for number in range(3000):
        source.sendto(b"%04d" % number + b"." * 995 + b"\n", peer)
    with open(reader, "rb") as stream:
        got = len(stream.read()) // 1000
    client.wait()
    assert got < 3000 and f" {3000 - got} datagrams were lost here" in client.err


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_what_a_slow_server_loses_is_told(tenon, options):
    server = tenon.serve("udp://127.0.0.1:0?rcvbuf=4096", options=["--handler", "exec:sleep 0.3", *options])
    server.untidy = True
    with tenon.dial(server.url) as client:
        for _ in range(1000):
            client.send(b"x" * 1000)
        wait_until(lambda: client.send(b"more") and "datagrams were lost so far" in server.err + server.out.decode(),
                   lambda: f"it is told: {server.err} {server.out}", limit=60)
    server.stop()
    if options:
        told = [event for event in server.events if event["event"] == "trouble"]
        assert told[0]["reason"] == "lost" and "key rcvbuf" in told[0]["error"]
        assert server.wait_for_event("datagrams")["dropped"] > 0


@pytest.mark.parametrize("low, high", [("0", "0"), ("1", "0")], ids=["ping socket", "raw socket"])
@pytest.mark.parametrize("url, answerer", [("icmp://224.0.0.1?multicast_if=far", "10.9.0.1"),
                                           ("icmp://[ff02::1%far]?multicast_loop=off", "fd09::1"),
                                           ("icmp://10.9.0.255?broadcast=on", "10.9.0.1")])
def test_ping_to_many(tenon, wire, low, high, url, answerer):
    system.write_inside(wire.near, "/proc/sys/net/ipv4/icmp_echo_ignore_broadcasts", "0")
    system.write_inside(wire.far, "/proc/sys/net/ipv4/ping_group_range", f"{low} {high}")
    said = tenon.run("ping", "--count", "1", "--json", url, preexec_fn=wire.far.enter, status=None)
    assert answerer in "".join(json.loads(line).get("from") or "" for line in said.lines), said


@pytest.mark.parametrize("group", ["10.9.0.255", "239.7.7.7"])
def test_what_comes_back_to_its_own_port_is_no_answer(tenon, homes, group):
    keys = keys_for(group) + "&local_port_range=40777-40777&add_membership=239.7.7.7@far"
    said = tenon.run("send", "--wait", "300ms", f"udp4://{group}:40777?{keys}", "hello", preexec_fn=homes.far.enter,
                     status=3)
    assert said.out == b"" and "no reply" in said.err


def test_a_group_has_no_secured_connection(tenon):
    assert "many hosts" in tenon.run("send", "dtls://239.1.2.3:9?verify=off", "x", status=2).err


@pytest.mark.parametrize("scheme", ["tcp", "tcp6", "udp", "mptcp"])
def test_an_ipv4_address_in_ipv6s_words(tenon, scheme):
    server = tenon.serve(f"{scheme}://[::ffff:127.0.0.1]:0", options=["--handler", "echo", "--threads", "2"])
    assert server.url == f"{scheme}://[::ffff:127.0.0.1]:{server.port}"
    for host in ("127.0.0.1", "[::ffff:127.0.0.1]"):
        bare = scheme.rstrip("46") if host == "127.0.0.1" else scheme
        assert tenon.run("send", f"{bare}://{host}:{server.port}", "hello").out == b"hello\n"
    if scheme == "tcp6":
        said = tenon.run("serve", "tcp6://[::ffff:127.0.0.1]:0?v6only=on", status=1)
        assert "which v6only=on rules out" in said.err
