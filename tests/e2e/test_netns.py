"""Key netns: sockets in other networks than the process', one endpoint here and another one there."""
import ctypes
import os
import signal
import socket
import subprocess

import pytest

import system
from harness import wait_until

one_engine = pytest.mark.parametrize("engine", ["auto"], indirect=True)

MNT_DETACH = 2


@pytest.fixture
def files(wire, tenon):
    """Two networks with a cable between them, as files: near (10.9.0.1) and far (10.9.0.2)."""
    paths = {}
    for name in ("near", "far"):
        path = os.fsencode(tenon.file(name, b""))
        source = os.fsencode(f"/proc/{os.getpid()}/fd/{getattr(wire, name).fd}")
        if system.LIBC.mount(source, path, None, system.MS_BIND, None) != 0:
            pytest.skip(f"nothing is mounted here: {os.strerror(ctypes.get_errno())}")
        tenon.cleanups.callback(system.LIBC.umount2, path, MNT_DETACH)
        paths[name] = os.fsdecode(path)
    return paths


def listen(tenon, network, address, kind=socket.SOCK_STREAM, family=socket.AF_INET):
    sock = tenon.cleanups.enter_context(network.socket(family, kind))
    sock.settimeout(30)
    sock.bind(address)
    if kind == socket.SOCK_STREAM:
        sock.listen()
    return sock


def home_is(process):
    """Whether every thread of a process is in the network of this one."""
    home = os.readlink("/proc/self/ns/net")
    return all(os.readlink(f"/proc/{process.popen.pid}/task/{task}/ns/net") == home
               for task in os.listdir(f"/proc/{process.popen.pid}/task"))


@pytest.mark.parametrize("options", [[], ["--no-sandbox"], ["--threads", "2"], ["--user", "nobody"]],
                         ids=["sandbox", "none", "threads", "nobody"])
def test_a_relay_between_networks(tenon, wire, files, options):
    """It listens in one and dials in another; its process is in neither. Nobody at home can reach it."""
    server = tenon.serve(f"tcp://10.9.0.2:0?netns={files['far']}")
    relay = tenon.relay(f"tcp://127.0.0.1:0?netns={files['near']}", f"{server.url}?netns={files['near']}",
                        options=["--json", *options])
    for _ in range(3):
        said = tenon.run("send", f"{relay.url}?netns={files['near']}", "hello")
        assert said.out == b"hello\n"
    assert home_is(relay) and home_is(server)
    assert tenon.run("send", relay.url, "x", status=1)


@pytest.mark.parametrize("host, address", [("10.9.0.2", ("10.9.0.2", 0)), ("[fd09::2]", ("fd09::2", 0))])
def test_an_address_that_is_there(tenon, wire, files, host, address):
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    listener = listen(tenon, wire.far, address, family=family)
    end = "fd09::1" if family == socket.AF_INET6 else "10.9.0.1"
    shown = f"[{end}]" if ":" in end else end
    tenon.start("connect", f"tcp://{host}:{listener.getsockname()[1]}?netns={files['near']}&bind={shown}")
    assert tenon.accept(listener).getpeername()[0] == end


def test_interfaces_are_those_of_that_network(tenon, wire, files):
    """By name: at home there are none that are called so."""
    server = tenon.serve(f"udp://*:0?netns={files['near']}&add_membership=239.7.7.7@near&bindtodevice=near",
                         listeners=2)
    said = tenon.run("send", f"udp://239.7.7.7:{server.port}?netns={files['far']}&multicast_if=far", "hello")
    assert said.out == b"ack: hello\n"
    link = wire.far.inside(lambda: socket.if_nametoindex("far"))
    assert link
    scoped = wire.run(wire.near, "-6 -o address show dev near scope link").split()[3].partition("/")[0]
    said = tenon.run("send", f"udp://[{scoped}%far]:{server.port}?netns={files['far']}", "hello")
    assert said.out == b"ack: hello\n"
    assert "near" in tenon.run("send", f"udp://239.7.7.7:1?netns={files['far']}&multicast_if=near", "x", status=2).err


def test_below_the_transports(tenon, wire, files):
    wire.run(wire.near, "-6 neigh flush all")
    said = tenon.run("ping", "--count", "1", f"icmp://10.9.0.2?netns={files['near']}")
    assert "1 answered" in said.text
    server = tenon.serve(f"packet:near?proto=0x88b5&netns={files['near']}", options=["--handler", "count", "--json"])
    tenon.run("send", f"packet:far?proto=0x88b5&netns={files['far']}", "hello", "--wait", "0s", status=None)
    server.stop()
    assert server.events[-1]


def test_what_comes_back_is_known_by_that_network(tenon, wire, files):
    """Interfaces with numbers that nobody has at home: an answer like the question is heard. And an address that is
    nobody's at home: what is sent to it is not heard as something new, else an echo would never end."""
    wire.run(wire.near, "link add odd index 1077 type veth peer name even index 1078")
    for name in ("odd", "even"):
        wire.run(wire.near, f"link set {name} up")
    wait_until(lambda: "state UP" in wire.run(wire.near, "-o link show dev even"), "the cable is up")
    tenon.serve(f"packet:odd?proto=0x88b5&netns={files['near']}", options=["--handler", "echo"])
    assert tenon.run("send", f"packet:even?proto=0x88b5&netns={files['near']}", "hello").out == b"hello\n"
    server = tenon.serve(f"raw4://*?proto=253&netns={files['near']}", options=["--handler", "echo", "--json"])
    assert tenon.run("send", f"raw4://10.9.0.1?proto=253&netns={files['near']}", "hello").out == b"hello\n"
    server.stop()
    heard = [event["messages_in"] for event in server.events if event["event"] == "datagrams"]
    assert heard and heard[0] < 10


def test_tls_and_a_proxy(tenon, wire, files, authority, trusted):
    server = tenon.serve(f"tls://10.9.0.2:0?netns={files['far']}&{authority.pair('server')}")
    proxy = tenon.serve("proxy://10.9.0.1:0?allow-to=10.9.0.2", preexec_fn=wire.near.enter)
    for via in ("", f"&via=socks5h://10.9.0.1:{proxy.port}"):
        said = tenon.run("send", f"{server.url}?netns={files['near']}&{trusted}&sni=localhost{via}", "hello")
        assert said.out == b"hello\n"


def test_loops_share_the_port_of_that_network(tenon, wire, files):
    server = tenon.serve(f"tcp://10.9.0.2:0?netns={files['far']}", options=["--threads", "2", "--json"])
    port = server.port
    other = tenon.serve(f"tcp://10.9.0.1:{port}?netns={files['near']}")
    assert other.port == port
    for network, host in (("far", "10.9.0.2"), ("near", "10.9.0.1")):
        assert tenon.run("send", f"tcp://{host}:{port}?netns={files[network]}", "x").out == b"x\n"


def test_abstract_unix_sockets_are_those_of_a_network(tenon, files):
    server = tenon.serve(f"unix:@tenon-netns-test?netns={files['near']}")
    assert tenon.run("send", f"unix:@tenon-netns-test?netns={files['near']}", "x").out == b"x\n"
    assert tenon.run("send", "unix:@tenon-netns-test", "x", status=1)
    server.stop()


@one_engine
def test_a_name_and_a_process(tenon, program, network):
    """/run/netns/NAME, as ip(8) makes it, and the network of a process."""
    script = ("mount -t tmpfs none /run && ip netns add blue && ip -n blue link set lo up && "
              "exec \"$@\"")
    program("ip")
    holder = tenon.peer("sleep", "60", preexec_fn=network.enter)
    server = tenon.serve("tcp://127.0.0.1:0?netns=%d" % holder.popen.pid)
    said = tenon.run("send", f"{server.url}?netns={holder.popen.pid}", "x", status=None)
    assert said.out == b"x\n", said
    holder.kill()
    got = tenon.finish(["unshare", "--mount", "sh", "-c", script, "sh", *tenon.argv("ping"), "--count", "1",
                        "icmp://127.0.0.1?netns=blue"], status=None)
    if "unshare" in got.err or "mount:" in got.err:
        pytest.skip(f"no mounts of one's own here: {got.err}")
    assert got.status == 0 and b"1 answered" in got.out, got


@one_engine
@pytest.mark.parametrize("options", [[], ["--threads", "2"]], ids=["sandbox", "threads"])
def test_reload_and_restart(tenon, wire, files, options):
    """SIGHUP, and another process that takes the port over, are for what listens in another network too."""
    far = f"netns={files['far']}"
    allowed = tenon.file("allowed", b"192.0.2.1\n")
    target = tenon.serve(f"tcp://10.9.0.2:0?{far}")
    url = f"tcp://10.9.0.2:40124?{far}&reuseport=on&allow={allowed}"
    first = tenon.relay(url, f"{target.url}?netns={files['near']}", options=["--json", *options])

    def said():
        return tenon.run("send", f"tcp://10.9.0.2:40124?netns={files['near']}", "x", status=None).out
    assert said() == b""
    allowed.write_bytes(b"10.9.0.0/24\n")
    first.signal(signal.SIGHUP)
    wait_until(lambda: said() == b"x\n", "the list is read again")
    second = tenon.relay(url, f"{target.url}?netns={files['near']}", options=["--json", *options])
    first.stop()
    assert said() == b"x\n" and home_is(second)


@one_engine
def test_a_sandboxed_relay_and_the_network_of_a_process(tenon, wire):
    """It dials when nothing can be opened any more: what the number stood for at the start is looked up again."""
    holder = tenon.peer("sleep", "60", preexec_fn=wire.near.enter)
    server = tenon.serve("tcp://10.9.0.2:0", preexec_fn=wire.far.enter)
    relay = tenon.relay("tcp://127.0.0.1:0", f"tcp://10.9.0.2:{server.port}?netns={holder.popen.pid}")
    assert tenon.run("send", relay.url, "hello").out == b"hello\n"


@one_engine
def test_without_the_privilege(tenon, files):
    """What is lacking is said, with what helps; the place is the key's value."""
    url = f"tcp://127.0.0.1:1?netns={files['near']}"
    for command in (["serve", url], ["send", url, "x"]):
        err = tenon.run(*command, status=2, preexec_fn=system.drop_capabilities).err
        assert "Operation not permitted (it needs CAP_SYS_ADMIN" in err and "byte 24" in err


def test_a_network_that_is_made_anew(tenon, wire, files):
    """A relay dials in whatever is called so now."""
    relay = tenon.relay("tcp://127.0.0.1:0", f"tcp://127.0.0.1:40123?netns={files['near']}")
    first = tenon.serve(f"tcp://127.0.0.1:40123?netns={files['near']}", options=["--handler", "exec:echo near"])
    assert tenon.run("connect", relay.url, stdin=subprocess.DEVNULL).out == b"near\n"
    tenon.serve(f"tcp://127.0.0.1:40123?netns={files['far']}", options=["--handler", "exec:echo far"])
    wire.run(wire.far, "link set lo up")
    assert system.LIBC.umount2(os.fsencode(files["near"]), MNT_DETACH) == 0
    assert system.LIBC.mount(os.fsencode(f"/proc/{os.getpid()}/fd/{wire.far.fd}"), os.fsencode(files["near"]), None,
                             system.MS_BIND, None) == 0
    wait_until(lambda: tenon.run("connect", relay.url, stdin=subprocess.DEVNULL).out == b"far\n", "the other network")
    assert first.popen.poll() is None
