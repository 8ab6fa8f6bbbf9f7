"""Bad URLs, bad options and bad days: the exit status says which, and the message names the cause."""
import json
import os
import shutil
import signal
import socket

import pytest

import system
from harness import exchange, free_port, noise, open_socket, wait_until

one_engine = pytest.mark.parametrize("engine", ["auto"], indirect=True)

USAGE, FAILED, TIMED_OUT, REFUSED = 2, 1, 3, 4


def position_of(message):
    import re
    found = re.search(r"byte (\d+)", message)
    return int(found[1]) if found else None


# (URL, what the message must say, where in the URL the trouble is)
BAD_URLS = [
    ("tcp://localhost:10000?nodelya=1", ["nodelya", "nodelay"], "nodelya"),
    ("tcp://localhost:0?reusadr=1", ["reusadr", "reuseaddr"], "reusadr"),
    ("tcp://localhost:0?nodelay=on&keepidel=5", ["keepidel", "keepidle"], "keepidel"),
    ("tcp://localhost:0?zzzzzzzzzzzz=1", ["zzzzzzzzzzzz", "tenon options"], "zzzzzzzzzzzz"),
    ("tpc://localhost:0", ["tpc", "tcp"], "tpc"),
    ("udpp://localhost:0", ["udpp", "udp"], "udpp"),
    ("unix-stream:/tmp/x", ["unix-stream"], "unix-stream"),
    ("gopher://localhost:70", ["gopher", "tcp"], "gopher"),
    ("tcp://localhost:0?nodelay=maybe", ["nodelay", "maybe", "on or off"], "maybe"),
    ("tcp://localhost:0?rcvbuf=lots", ["rcvbuf", "lots", "size"], "lots"),
    ("tcp://localhost:0?rcvbuf=0", ["rcvbuf", "0"], "0"),
    ("tcp://localhost:0?keepcnt=1000", ["keepcnt", "1000", "127"], "1000"),
    ("tcp://localhost:0?keepidle=soon", ["keepidle", "soon", "duration"], "soon"),
    ("tcp://localhost:0?frame=nosuch", ["there are none line crlf", "u32le", "json json-seq", "msgpack"], "nosuch"),
    ("tcp://localhost:0?congestion=nosuch", ["congestion", "nosuch", "cubic"], "nosuch"),
    ("tcp://localhost:0?setsockopt=6:19", ["LEVEL:NAME:VALUE", "6:19"], "6:19"),
    ("tcp://localhost:0?setsockopt=tcp:19:1", ["level", "number", "tcp"], "tcp:19"),
    ("tcp://localhost:0?setsockopt=6:19:1,6:maxseg:1", ["name", "maxseg"], "6:maxseg"),
    ("tcp://localhost:0?setsockopt=6:19:1,6%3a19:1x", ["value", "1x"], "6%3a19"),
    ("tcp://localhost:0?setsockopt=6:19:x012", ["hexadecimal", "x012"], "6:19:x012"),
    ("tcp://localhost:0?setsockopt=6:19:4294967296", ["32 bits"], "6:19:4294967296"),
    ("tcp://localhost:0?setsockopt=6:19:", ["value"], "6:19:"),
    ("tcp://localhost:0?sockopt=6:19:1", ["setsockopt"], "sockopt="),
    ("tcp://localhost:0?netns=no-such-network", ["netns", "No such file", "ip netns"], "no-such-network"),
    ("tcp://localhost:0?netns=/dev/null", ["netns", "no network name space"], "/dev/null"),
    ("tcp://localhost:0?netns=", ["netns", "empty"], None),
    ("tcp://localhost:0?net-ns=x", ["netns"], "net-ns"),
    ("unix:/tmp/x?netns=/proc/self/ns/net", ["netns", "no effect on a Unix socket with a path"], "netns"),
    ("fd:0?netns=/proc/self/ns/net", ["netns", "inherited"], "netns"),
    ("tcp://localhost:0?fin=maybe", ["fin", "on|off"], "maybe"),
    ("udp://localhost:0?fin=off", ["fin", "streams"], "fin"),
    ("udp://localhost:0?connected=off", ["connected", "dialled"], "connected"),
    ("tcp://localhost:0?idle=forever", ["idle", "forever", "duration"], "forever"),
    ("tcp://localhost:0?max=0", ["max", "0"], "0"),
    ("tcp://localhost:0?backlog=-1", ["backlog", "-1"], "-1"),
    ("tcp://localhost:0?connect=1s", ["connect", "dialled"], "connect"),
    ("udp://localhost:0?nodelay=on", ["nodelay", "udp"], "nodelay"),
    ("udp://localhost:0?idle=5s", ["idle", "streams"], "idle"),
    ("unix:/tmp/x?nodelay=on", ["nodelay", "unix"], "nodelay"),
    ("tcp://localhost:0?passcred=on", ["passcred", "tcp"], "passcred"),
    ("tcp://localhost:0?frame=u31", ["u31", "u32"], "u31"),
    ("tcp://localhost:0?frame=hed:size=2", ["hed:size=2", "did you mean head"], "hed:"),
    ("tcp://localhost:0?frame=head", ["head alone", "head:size=2"], "head"),
    ("tcp://localhost:0?frame=head:offset=1", ["how long is the length"], "offset=1"),
    ("tcp://localhost:0?frame=head:size=2,ofset=1", ["ofset", "offset"], "ofset"),
    ("tcp://localhost:0?frame=head:size=%32,ofset=1", ["ofset", "offset"], "ofset"),
    ("tcp://localhost:0?frame=head:size=2,header=5,keep=on&max=4", ["longer than max"], None),
    ("tcp://localhost:0?frame=until:%0D%0A%5cq", ["until", "hexadecimal"], "%5cq"),
    ("tcp://localhost:0?frame=until:", ["where is the delimiter"], None),
    ("tcp://localhost:0?frame=fixed:0", ["fixed", "1 to 1GiB"], "0"),
    ("tcp://localhost:0?nodelay=on&nodelay=off", ["nodelay", "second time"], "nodelay=off"),
    ("tcp://localhost:0?=on", ["key"], "=on"),
    ("tcp://localhost:65536", ["65535"], "65536"),
    ("tcp://localhost:99999999999999999999", ["65535"], "99999999999999999999"),
    ("tcp://localhost:-1", ["port"], "-1"),
    ("tcp://localhost:no-such", ["service", "tcp"], "no-such"),
    ("tcp://localhost", ["port"], None),
    ("tcp://localhost:", ["port"], None),
    ("tcp:localhost:0", ["//"], "localhost"),
    ("tcp://::1:0", ["brackets"], None),
    ("tcp://[::1:0", ["]"], None),
    ("tcp://[::1]x:0", ["]"], "x:0"),
    ("tcp4://[::1]:0", ["IP version"], "[::1]"),
    ("tcp6://127.0.0.1:0", ["IP version"], "127.0.0.1"),
    ("tcp://user@localhost:0", ["user"], "@"),
    ("tcp://localhost:0/path", ["path"], "/path"),
    ("tcp://local%zzhost:0", ["%"], "%zz"),
    ("localhost:no-such", ["service"], "no-such"),
    ("localhost", ["port is missing"], None),
    ("10000", ["localhost:10000"], None),
    ("", ["scheme"], None),
    ("unix:", ["path"], None),
    ("unix:@", ["path"], None),
    ("unix://tmp/x", ["host"], None),
    ("unix:/" + "x" * 200, ["107"], "/xxx"),
    ("fd:", ["descriptor"], None),
    ("fd:x", ["descriptor", "number"], "x"),
    ("fd:-1", ["descriptor", "number"], "-1"),
]


@one_engine
@pytest.mark.parametrize("url,words,place", BAD_URLS, ids=[url[:40] or "empty" for url, _, _ in BAD_URLS])
def test_bad_url(tenon, url, words, place):
    result = tenon.run("serve", url, status=USAGE)
    assert result.out == b""
    first, *rest = result.err.splitlines()
    for word in words:
        assert word in first, result
    if place is not None:
        assert position_of(first) == url.rindex(place), result
    # The URL once more, with a caret beneath the place
    if rest and url:
        assert rest[0].strip() == url
        assert rest[1].rstrip().endswith("^")
        assert len(rest[1].rstrip()) - 1 - rest[0].index(url) == position_of(first)


@one_engine
@pytest.mark.parametrize("url,words", [
    ("tcp://localhost:0", ["port"]), ("tcp://*:10000", ["*"]), ("tcp://localhost:1?backlog=5", ["backlog", "served"]),
    ("tcp://localhost:1?nodelya=1", ["nodelay"]), ("tcp://localhost:1?defer_accept=1", ["defer_accept"]),
])
@pytest.mark.parametrize("command", ["send", "connect", "options"])
def test_bad_url_to_dial(tenon, command, url, words):
    if command == "options" and (":0" in url or "*" in url or "backlog" in url or "defer" in url):
        pytest.skip("options serves what cannot be dialled")
    result = tenon.run(command, url, status=USAGE)
    assert result.out == b"" and all(word in result.err for word in words), result


@one_engine
def test_every_url_is_checked_before_any_is_opened(tenon):
    path = tenon.folder / "sock"
    result = tenon.run("serve", f"unix:{path}", "tcp://127.0.0.1:0", "tcp://127.0.0.1:0?nodelya=1", status=USAGE)
    assert result.out == b"" and "nodelay" in result.err
    assert not path.exists()


@one_engine
def test_a_failure_at_the_second_url_closes_the_first(tenon):
    path = tenon.folder / "sock"
    taken = tenon.listen()
    result = tenon.run("serve", f"unix:{path}", f"tcp://127.0.0.1:{taken.getsockname()[1]}", status=FAILED)
    assert result.out == b"" and not path.exists()


@one_engine
@pytest.mark.parametrize("args,words", [
    (["--handler", "ehco"], ["ehco", "echo"]),
    (["--handler", "nothing-like-it"], ["nothing-like-it", "discard"]),
    (["--handler", "exec"], ["exec:COMMAND"]),
    (["--handler", "exec:"], ["exec:COMMAND"]),
    (["--handler", "echo:loud"], ["argument"]),
    (["--handler"], ["--handler", "value"]),
    (["--handlr", "echo"], ["--handlr", "--handler"]),
    (["--threads", "0"], ["--threads", "0"]),
    (["--threads", "many"], ["--threads", "many"]),
    (["--threads", "1000000"], ["--threads", "1000000"]),
    (["--max-conns", "-3"], ["--max-conns", "-3"]),
    (["--max-conns", "99999999999999999999"], ["--max-conns", "range"]),
    (["--idle", "soon"], ["--idle", "soon"]),
    (["--drain", "-1s"], ["--drain", "-1s"]),
    (["--engine", "steam"], ["--engine", "steam", "epoll"]),
    (["--json=yes"], ["--json", "value"]),
    (["-x"], ["-x"]),
    (["--colour=pink"], ["colo"]),
])
def test_bad_options(tenon, args, words):
    result = tenon.run("serve", "tcp://127.0.0.1:0", *args, status=USAGE)
    assert result.out == b"" and all(word in result.err for word in words), result


@one_engine
@pytest.mark.parametrize("argv,words", [
    (["srve"], ["srve", "serve"]), (["conect", "tcp://localhost:1"], ["conect", "connect"]), (["x"], ["x"]),
    (["send"], ["URL"]), (["connect"], ["URL"]), (["connect", "tcp://h:1", "tcp://h:2"], ["URL"]),
    (["options", "tcp://h:1", "tcp://h:2"], ["URL"]), (["help", "srve"], ["serve"]), (["--nonsense"], ["--nonsense"]),
])
def test_bad_command_lines(tenon, argv, words):
    from harness import COMMAND
    result = tenon.finish([COMMAND, *argv], USAGE)
    assert result.out == b"" and all(word in result.err for word in words), result
    assert "Traceback" not in result.err and "help" in result.err or len(argv) > 2


# Bad days

@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_an_address_of_another_machine(tenon, scheme):
    result = tenon.run("serve", f"{scheme}://192.0.2.1:0", status=FAILED)
    assert "Cannot assign requested address" in result.err and "`ip address` lists them" in result.err, result


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_address_in_use(tenon, scheme):
    server = tenon.serve(f"{scheme}://127.0.0.1:0")
    for options in ([], ["--threads", "2"]):
        result = tenon.run("serve", server.url, *options, status=FAILED)
        assert result.err.startswith(f"tenon: {server.url}: bind: Address already in use")
        assert f"it belongs to tenon, process {server.pid}" in result.err
        assert result.out == b"" and result.err.count("\n") == 2


def test_a_server_with_threads_keeps_others_out_too(tenon):
    """Its sockets share their port among themselves and with nobody else."""
    server = tenon.serve("tcp://127.0.0.1:0", "udp://127.0.0.1:0", options=["--threads", 2])
    for url in server.urls:
        for options in ([], ["--threads", "2"]):
            assert "Address already in use" in tenon.run("serve", url, *options, status=FAILED).err


def test_address_in_use_on_one_of_two(tenon):
    """localhost is both loopbacks or none."""
    taken = tenon.listen(socket.AF_INET6, ("::1", 0))
    result = tenon.run("serve", f"tcp://localhost:{taken.getsockname()[1]}", status=FAILED)
    assert "[::1]" in result.err and "Address already in use" in result.err and result.out == b""


def test_address_of_another_machine(tenon):
    result = tenon.run("serve", "tcp://192.0.2.1:0", status=FAILED)
    assert result.err.startswith("tenon: tcp://192.0.2.1:0: bind: Cannot assign requested address\n")


@pytest.mark.parametrize("scheme", ["tcp", "mptcp", "udp"])
def test_an_address_that_this_machine_does_not_have(tenon, scheme):
    """192.0.2.0/24 is for documents alone."""
    result = tenon.run("serve", f"{scheme}://192.0.2.77:0", status=1)
    assert "Cannot assign requested address" in result.err and "ip address" in result.err and "freebind" in result.err


@one_engine
def test_permission_denied_for_a_port(tenon):
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="utf-8") as file:
        if int(file.read()) <= 7:
            pytest.skip("everybody may bind to every port here")
    result = tenon.run("serve", "tcp://127.0.0.1:7", status=FAILED, **system.as_nobody(tenon))
    assert "tcp://127.0.0.1:7" in result.err and "bind" in result.err and "Permission denied" in result.err


@one_engine
def test_permission_denied_for_a_path(tenon):
    closed = tenon.folder / "closed"
    closed.mkdir(0o755)
    how = system.as_nobody(tenon)
    if not how:
        closed.chmod(0o555)
    result = tenon.run("serve", f"unix:{closed}/sock", status=FAILED, **how)
    assert f"unix:{closed}/sock" in result.err and "bind" in result.err and "Permission denied" in result.err


@pytest.mark.parametrize("command", ["send", "connect"])
def test_permission_denied_by_a_socket(tenon, command):
    server = tenon.serve(f"unix:{tenon.folder}/sock")
    os.chmod(tenon.folder / "sock", 0o600)
    how = system.as_nobody(tenon)
    if not how:
        pytest.skip("the owner may always connect")
    result = tenon.run(command, server.url, status=FAILED, **how)
    assert server.url in result.err and "connect" in result.err and "Permission denied" in result.err


def test_no_such_folder(tenon):
    result = tenon.run("serve", f"unix:{tenon.folder}/nowhere/sock", status=FAILED)
    assert "nowhere/sock" in result.err and "bind" in result.err and "No such file or directory" in result.err


@pytest.mark.parametrize("command", ["send", "connect", "options"])
@pytest.mark.parametrize("scheme", ["unix", "unix-dgram", "unix-seqpacket"])
def test_no_such_socket(tenon, command, scheme):
    url = f"{scheme}:{tenon.folder}/nobody"
    args = ["hello"] if command == "send" else []
    result = tenon.run(command, url, *args, status=FAILED)
    assert url in result.err and "connect" in result.err and "No such file or directory" in result.err


@pytest.mark.parametrize("command", ["send", "connect"])
def test_connection_refused_for_datagrams(tenon, command):
    """The kernel tells a connected UDP socket that nobody is there."""
    url = f"udp://127.0.0.1:{free_port(kind=socket.SOCK_DGRAM)}"
    args = ["hello"] if command == "send" else []
    result = tenon.run(command, url, *args, status=FAILED, input=b"hello\n")
    assert url in result.err and "Connection refused" in result.err


@pytest.mark.parametrize("command", ["send", "connect"])
def test_stale_socket_refuses(tenon, command):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tenon.folder / "stale"))
    result = tenon.run(command, f"unix:{tenon.folder}/stale", status=FAILED)
    assert "stale" in result.err and "Connection refused" in result.err
    os.unlink(tenon.folder / "stale")


@pytest.mark.parametrize("command", ["send", "connect"])
def test_socket_of_another_type(tenon, command):
    server = tenon.serve(f"unix:{tenon.folder}/sock")
    result = tenon.run(command, f"unix-seqpacket:{tenon.folder}/sock", status=FAILED)
    assert "wrong type" in result.err and server.url.split(":")[1] in result.err


# Names

def dns_answer(query, replies):
    """A reply to a DNS query: from `replies`, (name, type) -> list of addresses; otherwise there is no such name."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode())
        at += query[at] + 1
    name, kind, question = ".".join(labels).lower(), query[at + 2], query[12:at + 5]
    known = any(known == name for known, _ in replies)
    addresses = replies.get((name, kind), [])
    answers = b"".join(b"\xc0\x0c\0" + bytes([kind]) + b"\0\1\0\0\0\x3c\0" + bytes([len(address)]) + address
                       for address in addresses)
    flags = b"\x81\x80" if known else b"\x81\x83"
    return query[:2] + flags + b"\0\1\0" + bytes([len(addresses)]) + b"\0\0\0\0" + question + answers


A, AAAA = 1, 28
ZONE = {("two.test", A): [b"\x7f\0\0\1"], ("two.test", AAAA): [b"\0" * 15 + b"\1"], ("four.test", A): [b"\x7f\0\0\1"],
        ("six.test", AAAA): [b"\0" * 15 + b"\1"], ("bad.test", A): [b"\x7f\0\0\2", b"\x7f\0\0\1"]}


@pytest.fixture
def names(tenon, network):
    """A network of its own, with a name server that knows ZONE: names() gives arguments for Popen."""
    import threading
    resolv = tenon.file("resolv.conf", b"nameserver 127.0.0.1\n")
    server = network.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))

    def answer():
        while True:
            query, address = server.recvfrom(2000)
            if not query:
                return
            server.sendto(dns_answer(query, ZONE), address)
    thread = threading.Thread(target=answer)
    thread.start()
    replace = system.replace_file("/etc/resolv.conf", resolv)

    def enter():
        network.enter()
        replace()
    yield {"preexec_fn": enter}
    with network.socket(socket.AF_INET, socket.SOCK_DGRAM) as bell:
        bell.sendto(b"", ("127.0.0.1", 53))
    thread.join()
    server.close()


@pytest.mark.parametrize("command", ["send", "connect", "serve", "options"])
def test_no_such_name(tenon, names, command):
    url = "tcp://nosuch.invalid:10000"
    args = ["hello"] if command == "send" else []
    result = tenon.run(command, url, *args, status=FAILED, **names)
    assert "nosuch.invalid" in result.err and "not found" in result.err, result


@one_engine
def test_no_such_name_whatever_the_resolver_says(tenon):
    """With the system's own resolver, which may be out of order: one way or the other it is exit status 1."""
    result = tenon.run("send", "tcp://nosuch.invalid:10000?connect=15s", "hello", status=None)
    assert result.status in (FAILED, TIMED_OUT) and "nosuch.invalid" in result.err


@pytest.mark.parametrize("name,listeners", [("two.test", 2), ("four.test", 1), ("six.test", 1), ("localhost", 2)])
def test_names_with_one_or_two_kinds_of_address(tenon, names, name, listeners):
    server = tenon.serve(f"tcp://{name}:10000", listeners=listeners, **names)
    assert tenon.run("send", f"tcp://{name}:10000", "hello", **names).text == "hello\n"
    assert tenon.run("connect", f"tcp://{name}:10000", input=noise(100000), **names).out == noise(100000)
    assert len(server.urls) == listeners


def test_how_long_a_name_takes(tenon, names):
    """ping tells it of a name that is looked up, and not of an address."""
    tenon.serve("tcp://127.0.0.1:10000", **names)
    for host, looked_up in (("four.test", True), ("127.0.0.1", False)):
        ping = ("ping", "--count", "1", f"tcp://{host}:10000")
        assert ("looked up " in tenon.run(*ping, **names).text) == looked_up
        reply, summary = map(json.loads, tenon.run(*ping, "--json", **names).lines)
        assert (reply.get("lookup_ns", 0) > 0) == ((summary.get("lookup_ns") or {}).get("max", 0) > 0) == looked_up


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_happy_eyeballs_finds_the_one_that_listens(tenon, names, host):
    """The name has an address of each kind; only one of them is served."""
    tenon.serve(f"tcp://{host}:10000", **names)
    assert tenon.run("send", "tcp://two.test:10000", "hello", **names).text == "hello\n"
    assert tenon.run("connect", "tcp://two.test:10000", input=b"hello", **names).out == b"hello"


def test_the_second_address_is_tried_when_the_first_refuses(tenon, names):
    tenon.serve("tcp://127.0.0.1:10000", **names)
    assert tenon.run("send", "tcp://bad.test:10000", "hello", **names).text == "hello\n"


@pytest.mark.parametrize("scheme", ["tls", "dtls"])
def test_the_second_address_of_a_secured_name(tenon, names, scheme):
    """Whatever dials: a refused address is not the end of a name."""
    tenon.run("cert", "new", "--out", tenon.folder / "certs", "--host", "bad.test")
    certs = tenon.folder / "certs"
    tenon.serve(f"{scheme}://127.0.0.1:10000?cert={certs}/server.pem&key={certs}/server.key",
                options=["--handler", "echo"], **names)
    url = f"{scheme}://bad.test:10000?ca={certs}/ca.pem"
    assert tenon.run("send", url, "hello", **names).text == "hello\n"
    assert tenon.run("connect", url, input=b"hello", **names).out == b"hello"
    assert "1 answered" in tenon.run("ping", "--count", 1, url, **names).text
    assert "bad.test" in tenon.run("cert", "show", url, **names).text


def test_other_name_servers_while_look_ups_are_under_way(tenon, names, network):
    """The former one never answers, and there is always somebody who waits for it."""
    resolv = tenon.folder / "resolv.conf"
    resolv.write_text("nameserver 127.0.0.2\n")
    with network.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.2", 53))
        tenon.serve("tcp://127.0.0.1:10000", **names)
        watch = tenon.start("ping", "--interval", "20ms", "--timeout", "60s", "tcp://four.test:10000", **names)
        assert silent.recv(2000)
        resolv.write_text("nameserver 127.0.0.1\n")
        watch.wait_for_text(r"seq=\d+ looked up", "out")
        watch.signal(signal.SIGINT)
        watch.wait(0)


def test_other_name_servers_in_a_file_that_looks_the_same(tenon, names, network):
    """Another file of the same length and time has taken the place of resolv.conf(5)."""
    etc = tenon.folder / "etc"
    etc.mkdir()

    def write(path, server):
        path.write_text(f"nameserver {server}\n")
        os.utime(path, ns=(0, 0))
    write(etc / "resolv.conf", "127.0.0.2")
    write(etc / "other", "127.0.0.1")
    replace = system.replace_file("/etc", etc)

    def enter():
        network.enter()
        replace()
    with network.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.2", 53))
        tenon.serve("tcp://127.0.0.1:10000", **names)
        watch = tenon.start("ping", "--interval", "20ms", "--timeout", "60s", "tcp://four.test:10000", preexec_fn=enter)
        assert silent.recv(2000)
        os.replace(etc / "other", etc / "resolv.conf")
        watch.wait_for_text(r"seq=\d+ looked up", "out")
        watch.signal(signal.SIGINT)
        watch.wait(0)


def test_no_route(tenon, network):
    for command, args in (("send", ["hello"]), ("connect", [])):
        for scheme in ("tcp", "udp"):
            result = tenon.run(command, f"{scheme}://192.0.2.1:10000", *args, status=FAILED, input=b"hello\n",
                               preexec_fn=network.enter)
            assert "192.0.2.1:10000" in result.err and "Network is unreachable" in result.err


# Unix socket files

def wait_until_refused(url):
    """Waits for the kernel to have tidied up after a killed process: with a ring that takes it a moment longer."""
    def refused():
        try:
            open_socket(url).close()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:  # it got in at the last moment
            pass
        return False
    wait_until(refused, "nobody is there")


def test_a_dead_servers_socket_is_replaced(tenon):
    for scheme in ("unix", "unix-dgram", "unix-seqpacket"):
        url = f"{scheme}:{tenon.folder}/sock"
        dead = tenon.serve(url)
        dead.stopped = True
        dead.signal(signal.SIGKILL)
        dead.wait(-signal.SIGKILL)
        assert (tenon.folder / "sock").is_socket()
        wait_until_refused(url)
        server = tenon.serve(url)
        client = tenon.dial(url)
        client.send(b"hello")
        assert client.recv(100).endswith(b"hello")
        client.close()
        server.stop()
        assert not (tenon.folder / "sock").exists()


def test_a_living_servers_socket_is_never_replaced(tenon):
    for scheme in ("unix", "unix-dgram", "unix-seqpacket"):
        url = f"{scheme}:{tenon.folder}/{scheme}"
        server = tenon.serve(url)
        for other in ("unix", "unix-dgram", "unix-seqpacket"):
            result = tenon.run("serve", f"{other}:{tenon.folder}/{scheme}", status=FAILED)
            assert "Address already in use" in result.err or "another process serves" in result.err
        client = tenon.dial(server.url)
        client.send(b"still here")
        assert client.recv(100).endswith(b"still here")


def test_a_living_server_with_a_full_backlog_is_never_replaced(tenon):
    path = str(tenon.folder / "busy")
    listener = tenon.listen(socket.AF_UNIX, path, backlog=0)
    fillers = [tenon.dial(f"unix:{path}")]
    inode = os.stat(path).st_ino
    tenon.run("serve", f"unix:{path}", status=FAILED)
    assert os.stat(path).st_ino == inode and listener.fileno() >= 0 and fillers
    os.unlink(path)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="not root, or no setpriv")
def test_a_dead_servers_socket_that_one_may_not_remove(tenon):
    """It is another user's, in a directory where each may only remove what is theirs."""
    shared = tenon.folder / "shared"
    shared.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(shared / "sock"))
    shared.chmod(0o1777)
    (shared / "sock").chmod(0o777)
    system.let_others_reach(shared)
    setpriv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    result = tenon.finish([*setpriv, *tenon.argv("serve", f"unix:{shared}/sock")], status=FAILED)
    assert "removing a dead server's socket: Operation not permitted" in result.err, result
    os.unlink(shared / "sock")


def test_a_file_that_is_no_socket_is_left_alone(tenon):
    path = tenon.file("precious", b"data")
    result = tenon.run("serve", f"unix:{path}", status=FAILED)
    assert str(path) in result.err and "no socket" in result.err
    assert path.read_bytes() == b"data"
    (tenon.folder / "folder").mkdir()
    tenon.run("serve", f"unix:{tenon.folder}/folder", status=FAILED)
    os.symlink(path, tenon.folder / "link")
    tenon.run("serve", f"unix:{tenon.folder}/link", status=FAILED)
    assert path.read_bytes() == b"data" and (tenon.folder / "link").is_symlink()


@pytest.mark.parametrize("options", [[], ["--no-sandbox"]])
def test_a_socket_that_has_been_replaced_is_not_removed(tenon, options):
    """Somebody has put another in its place: at the end it is not ours to remove. The process that is left with the
    right to is another with a sandbox than without."""
    server = tenon.serve(f"unix:{tenon.folder}/sock", options=options)
    os.unlink(tenon.folder / "sock")
    tenon.listen(socket.AF_UNIX, str(tenon.folder / "sock"))
    server.stop()
    assert (tenon.folder / "sock").is_socket()
    os.unlink(tenon.folder / "sock")


def test_a_socket_that_has_been_removed_is_no_trouble(tenon):
    server = tenon.serve(f"unix:{tenon.folder}/sock")
    os.unlink(tenon.folder / "sock")
    server.stop()
    assert server.err == ""


def test_the_longest_path(tenon):
    path = str(tenon.folder / "x")
    path += "x" * (107 - len(path))
    if len(path) > 107:
        pytest.skip("the temporary folder's name is too long")
    server = tenon.serve(f"unix:{path}")
    assert exchange(tenon.dial(server.url), b"hello") == b"hello"


def test_a_relative_path(tenon):
    server = tenon.serve("unix:here.sock", cwd=tenon.folder)
    assert server.url == "unix:here.sock"
    assert exchange(tenon.dial(f"unix:{tenon.folder}/here.sock"), b"hello") == b"hello"
    assert tenon.run("send", "unix:here.sock", "hello", cwd=tenon.folder).text == "hello\n"


def test_an_escaped_path(tenon):
    path = tenon.folder / "a name? yes & no #1 100%"
    url = f"unix:{tenon.folder}/a%20name%3f%20yes%20%26%20no%20%231%20100%25"
    server = tenon.serve(url)
    assert path.is_socket()
    assert tenon.run("send", url, "hello").text == "hello\n"
    assert tenon.run("send", server.url, "hello").text == "hello\n"  # what it prints is a URL, too


def test_two_servers_race_for_a_dead_servers_socket(tenon):
    """Both find it dead; one gets it, and it is one that clients reach."""
    path = tenon.folder / "sock"
    for _ in range(5):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
        rivals = [tenon.start("serve", f"unix:{path}") for _ in range(4)]
        wait_until(lambda: sum(bool(rival.lines) or rival.is_over() for rival in rivals) == 4, "all have tried")
        winners = [rival for rival in rivals if rival.lines]
        with open_socket(f"unix:{path}") as client:
            assert exchange(client, b"hello", finish=True) == b"hello"
        for rival in winners:
            rival.signal(signal.SIGTERM)
            rival.wait(0)
        assert len(winners) == 1, [rival.err for rival in rivals]
        path.unlink(missing_ok=True)



# Why an address cannot be had

@pytest.mark.parametrize("scheme", ["tcp", "udp", "unix", "unix-dgram", "unix-seqpacket"])
def test_who_has_an_address_is_told(tenon, scheme):
    place = f":{tenon.folder}/sock" if scheme.startswith("unix") else "://127.0.0.1:0"
    server = tenon.serve(scheme + place)
    result = tenon.run("serve", server.url, status=1)
    assert f"process {server.pid}" in result.err, result.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("url, hint", [("tcp://127.0.0.1:7", "1024"), ("udp://127.0.0.1:7", "1024"),
                                       ("unix:/etc/tenon-sock", "directory")])
def test_what_would_allow_it_is_told(tenon, program, url, hint):
    argv = [program("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups", *tenon.argv("serve", url)]
    result = tenon.finish(argv, status=1)
    assert "Permission denied" in result.err and hint in result.err
