"""tenon inspect: what it says of a process's sockets is what the process, and ss, say of them."""
import contextlib
import fcntl
import json
import os
import pathlib
import re
import resource
import select
import signal
import socket
import subprocess
import struct
import sys
import termios

import pytest

import system
from harness import Process, is_zombie, wait_until
from test_options import number

# Nothing here runs a loop but --watch: one engine will do
pytestmark = pytest.mark.parametrize("engine", ["auto"], indirect=True)

IPPROTO_MPTCP = 262

# What a process is that has one connection within itself, set up so that every value differs from the default
TARGET = r"""
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0), backlog=7)
client = socket.create_connection(listener.getsockname())
served, _ = listener.accept()
client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
print(os.getpid(), listener.getsockname()[1], listener.fileno(), client.fileno(), served.fileno(), flush=True)
sys.stdin.read()
"""


def inspected(tenon, *args, status=0, **how):
    """The objects of `tenon inspect --json ARGS`; skips where this machine lets nobody look."""
    result = tenon.run("inspect", "--json", *args, status=None, **how)
    if result.status == 1 and status == 0 and "CAP_SYS_PTRACE" in result.err:
        pytest.skip(f"descriptors of other processes cannot be read here: {result.err}")
    assert result.status == status, result
    return [json.loads(line) for line in result.lines]


def by_descriptor(tenon, *args):
    return {found["fd"]: found for found in inspected(tenon, *args) if found.get("pid") == os.getpid()}


@contextlib.contextmanager
def opened(*socks):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(contextlib.closing(sock)) for sock in socks]


def tcp_pair(tenon):
    listener = tenon.listen()
    client = tenon.cleanups.enter_context(contextlib.closing(socket.create_connection(listener.getsockname())))
    return listener, client, tenon.accept(listener)


# Options

SETTINGS = {
    "nodelay": (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1, "on", "off"),
    "keepalive": (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1, "on", "off"),
    "keepidle": (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 77, "77s", None),
    "keepcnt": (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3, "3", None),
    "user_timeout": (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 4321, "4321ms", "0s"),
    "cork": (socket.IPPROTO_TCP, socket.TCP_CORK, 1, "on", "off"),
    "tos": (socket.IPPROTO_IP, socket.IP_TOS, 0x10, "lowdelay", "0"),
    "ttl": (socket.IPPROTO_IP, socket.IP_TTL, 9, "9", None),
    "rcvbuf": (socket.SOL_SOCKET, socket.SO_RCVBUF, 40000, "40000", None),
    "oobinline": (socket.SOL_SOCKET, socket.SO_OOBINLINE, 1, "on", "off"),
}


def test_options_that_were_set(tenon):
    _, client, served = tcp_pair(tenon)
    for level, name, value, _, _ in SETTINGS.values():
        client.setsockopt(level, name, value)
    found = by_descriptor(tenon, os.getpid())
    for key, (_, _, _, text, default) in SETTINGS.items():
        option = found[client.fileno()]["options"][key]
        assert (option["value"], option["differs"], option["by"]) == (text, True, "program"), key
        assert default is None or option["default"] == default, key
        other = found[served.fileno()]["options"][key]
        assert not other["differs"] or other["by"] == "kernel", (key, other)
    assert found[served.fileno()]["options"]["nodelay"] == {"value": "off", "default": "off", "differs": False}
    # What nobody has set is as Python reads it
    options = found[served.fileno()]["options"]
    for key, level, name, scale in (("sndbuf", socket.SOL_SOCKET, socket.SO_SNDBUF, 2),
                                    ("maxseg", socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1),
                                    ("syncnt", socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1),
                                    ("priority", socket.SOL_SOCKET, socket.SO_PRIORITY, 1)):
        assert number(options[key]["value"]) == served.getsockopt(level, name) / scale, key


def test_every_readable_key_of_the_table(tenon):
    _, client, _ = tcp_pair(tenon)
    url = f"tcp://127.0.0.1:{client.getpeername()[1]}"
    table = [json.loads(line) for line in tenon.run("options", "--json", url).lines]
    dialled = {option["key"] for option in table if option["constant"]}
    found = set(by_descriptor(tenon, os.getpid())[client.fileno()]["options"])
    assert dialled <= found
    assert {"nodelay", "rcvbuf", "congestion", "defer_accept"} <= found and not {"frame", "passcred", "v6only"} & found


# Where a figure stands in struct tcp_info (linux/tcp.h)
TCP_INFO = {"rtt_us": ("I", 68), "rttvar_us": ("I", 72), "min_rtt_us": ("I", 148), "rto_us": ("I", 8),
            "pmtu": ("I", 60), "snd_mss": ("I", 16), "rcv_mss": ("I", 20), "cwnd": ("I", 80), "snd_wnd": ("I", 228),
            "rcv_space": ("I", 96), "bytes_sent": ("Q", 200), "bytes_acked": ("Q", 120),
            "bytes_received": ("Q", 128), "bytes_retrans": ("Q", 208), "segs_out": ("I", 136), "segs_in": ("I", 140),
            "retrans": ("I", 100), "lost": ("I", 32), "unacked": ("I", 24), "notsent_bytes": ("I", 144),
            "dsack_dups": ("I", 216), "out_of_order": ("I", 224), "reordering_seen": ("I", 220),
            "delivery_rate": ("Q", 160), "busy_us": ("Q", 168), "rwnd_limited_us": ("Q", 176),
            "sndbuf_limited_us": ("Q", 184)}


def tcp_info(sock):
    data = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    if len(data) < 232:
        pytest.skip("this kernel has fewer figures")
    return {key: struct.unpack_from(form, data, at)[0] for key, (form, at) in TCP_INFO.items()}


def test_the_figures_of_tcp_info(tenon):
    _, client, served = tcp_pair(tenon)
    for size in (3000, 70000, 1):
        client.sendall(b"x" * size)
        served.sendall(b"y" * len(served.recv(size, socket.MSG_WAITALL)))
        assert len(client.recv(size, socket.MSG_WAITALL)) == size

    def compare():
        before = tcp_info(client)
        shown = by_descriptor(tenon, os.getpid(), client.fileno())[client.fileno()]["tcp"]
        after = tcp_info(client)
        if before == after:  # no acknowledgement came meanwhile
            assert {key: shown[key] for key in TCP_INFO} == after
            assert {"app_limited", "last_data_sent_ms", "last_data_recv_ms"} <= set(shown)
            assert {"congestion", "recovery", "agreed"} <= set(shown)
        return before == after
    wait_until(compare, "nothing changes any more")


def test_for_people(tenon):
    listener, client, _ = tcp_pair(tenon)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    inspected(tenon, os.getpid())
    text = tenon.run("inspect", "--all", os.getpid(), client.fileno()).text
    host, port = client.getsockname()
    assert text.split("\n")[0].endswith(f" ({os.getpid()}) fd {client.fileno()}: tcp established {host}:{port} -> "
                                        f"127.0.0.1:{listener.getsockname()[1]}"), text
    assert re.search(r"^ +set .*\bnodelay=on \(off\)", text, re.M), text
    assert re.search(r"^ +default .*\breuseaddr=off", text, re.M | re.S), text
    assert re.search(r"^ +path +rtt [0-9.]+ [um]?s ", text, re.M), text
    # The window in words; what the kernel does about losses only when there are some
    assert re.search(r"^ +window +\w+, cwnd \d+ segments (?:(?!; \w+:).)*$", text.replace("\n      ", " "), re.M), text
    assert "(null)" not in text and ": none" not in text
    assert "nodelay=on" not in tenon.run("inspect", os.getpid(), listener.fileno()).text
    brief = tenon.run("inspect", os.getpid(), client.fileno()).text
    assert "nodelay=on" in brief and "path" in brief and "default" not in brief and "reuseaddr" not in brief
    assert max(map(len, text.splitlines() + brief.splitlines())) <= 100


# A screen of it

def test_a_table_of_one_or_two_lines_a_socket(tenon, tmp_path):
    """Everything of a process fits 100 columns; only what somebody has set is told; a backlog is no unsent data."""
    listener, client, served = tcp_pair(tenon)
    waiting = tenon.cleanups.enter_context(contextlib.closing(socket.create_connection(listener.getsockname())))
    for level, name, value, _, _ in SETTINGS.values():
        client.setsockopt(level, name, value)
    name = str(tmp_path / ("x" * (100 - len(str(tmp_path)))))
    with opened(socket.socket(socket.AF_UNIX), socket.socket(socket.AF_INET6)) as (long, six):
        long.bind(name)
        long.listen()
        six.bind(("::1", 0))
        six.listen(3)
        far = tenon.cleanups.enter_context(contextlib.closing(socket.create_connection(six.getsockname()[:2])))
        inspected(tenon, os.getpid())
        lines = tenon.run("inspect", os.getpid()).lines
        os.unlink(name)
    assert max(map(len, lines)) <= 100 and not any(line != line.rstrip() for line in lines)
    assert lines[0].split() == ["PID", "FD", "COMMAND", "KIND", "STATE", "UNREAD", "UNSENT", "BACKLOG", "ADDRESSES"]
    rows, at = {}, None
    for line in lines[1:]:
        if line.startswith("  ") and not line.split()[0].isdigit():
            rows[at].append(line)
        else:
            at = int(line.split()[1])
            rows[at] = [line]
    mine = (listener, client, served, waiting, long, six, far)
    assert (all(len(row) <= 2 for row in rows.values()) and
            {sock.fileno() for sock in (listener, client, far)} <= set(rows))
    text = " ".join(rows[listener.fileno()])
    assert re.search(r" tcp +listening +- +- +1/\d+ +127\.0\.0\.1:", text), text
    text = " ".join(rows[client.fileno()])
    assert re.search(r"set: .*=.* and \d+ more \(--all\)$",
                     text) and f"-> 127.0.0.1:{listener.getsockname()[1]}" in text, text
    assert f"({pathlib.Path('/proc/self/comm').read_text(encoding='utf-8').strip()} {os.getpid()})" in text
    assert not any("keepintvl" in line or "busy_poll" in line for line in lines), len(mine)
    everything = tenon.run("inspect", "--all", os.getpid()).lines
    assert any("keepintvl=" in line for line in everything) and max(map(len, everything)) <= 100


def test_the_table_of_an_endpoint(tenon):
    server = tenon.serve("tcp://127.0.0.1:0?keepidle=77s")
    client = tenon.dial(server.url)
    inspected(tenon, "--endpoint", server.url)
    lines = tenon.run("inspect", "--endpoint", server.url).lines
    assert len([line for line in lines if " tcp " in line]) == 3 and len(lines) <= 7
    assert any("keepidle=77s" in line for line in lines) and max(map(len, lines)) <= 100
    client.close()


class Screen:
    """What a terminal shows of what was written to it: as much of one as `--watch` asks for."""

    def __init__(self, rows, columns):
        self.resize(rows, columns)

    def resize(self, rows, columns):
        self.rows, self.columns = rows, columns
        self.cells, self.row, self.column = [[" "] * columns for _ in range(rows)], 0, 0

    def write(self, data):
        for control, letter, text in re.findall(r"(?:\x1b\[([0-9;?]*)([A-Za-z])|([^\x1b]))", data.decode()):
            if letter == "H":
                self.row = self.column = 0
            elif letter == "J":
                for row in range(0 if control == "2" else self.row, self.rows):
                    self.cells[row][0 if control == "2" or row > self.row else self.column:] = \
                        [" "] * len(self.cells[row][0 if control == "2" or row > self.row else self.column:])
            elif letter == "K":
                self.cells[self.row][self.column:] = [" "] * (self.columns - self.column)
            elif letter:
                assert letter == "m", f"a sequence that nobody expected: {control}{letter}"
            elif text == "\r":
                self.column = 0
            elif text == "\n":
                self.row += 1
                assert self.row < self.rows, "it scrolls"
            else:
                assert self.column < self.columns, "a line is too long"
                self.cells[self.row][self.column] = text
                self.column += 1

    @property
    def lines(self):
        return ["".join(row).rstrip() for row in self.cells]


def test_watch_draws_in_place(tenon):
    """On a terminal every look takes the place of the one before, in a window of any size; Ctrl-C leaves it usable."""
    target = tenon.keep(Process([sys.executable, "-c", TARGET], tenon.folder, stdin=-1))
    pid, *_ = target.wait_for_text(r"^(\d+ \d+ \d+ \d+ \d+)$", "out")[1].split()
    inspected(tenon, pid)
    person, terminal = os.openpty()

    def size(rows, columns):
        fcntl.ioctl(person, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        return Screen(rows, columns)
    screen = size(24, 100)
    with subprocess.Popen(tenon.argv("inspect", "--watch", "50ms", pid), stdin=terminal, stdout=terminal,
                          stderr=subprocess.PIPE, env={**os.environ, "TERM": "xterm"}, start_new_session=True) as watch:
        os.close(terminal)

        def show(until):
            def look():
                data = os.read(person, 65536)
                while data.count(b"\x1b[H") != data.count(b"\x1b[J"):  # whole pages
                    data += os.read(person, 65536)
                screen.write(data)
                return until()
            wait_until(look, lambda: f"{screen.lines}")
        try:
            show(lambda: sum(" tcp " in line for line in screen.lines) == 3)
            assert re.match(r"\d\d:\d\d:\d\d", screen.lines[0]) and screen.lines[1].split()[:2] == ["PID", "FD"]
            first = screen.lines[0]
            show(lambda: screen.lines[0] != first)
            assert sum("PID" in line for line in screen.lines) == 1
            # A window that is too small in both directions
            os.read(person, 65536)
            screen = size(5, 61)
            os.killpg(watch.pid, signal.SIGWINCH)
            while b"\x1b[2J" not in (data := os.read(person, 65536)):
                pass
            screen.write(data[data.rindex(b"\x1b[H\x1b[2J"):])
            show(lambda: any(re.fullmatch(r"\.\.\. and \d+ more lines", line) for line in screen.lines))
            watch.send_signal(signal.SIGINT)
            while b"\x1b[J\r\x1b[K" not in data:
                data += os.read(person, 65536)
            assert b"?25" not in data and data.endswith(b"\r\x1b[K")
        finally:
            watch.kill()
            os.close(person)
        assert watch.stderr.read() == b""


def test_watch_into_a_pipe_is_one_look_after_another(tenon):
    watch = tenon.start("inspect", "--watch", "10ms", os.getpid(), tenon.listen().fileno())
    wait_until(lambda: watch.lines.count("") > 2, "several looks")

    def at_rest():
        return min(len(os.listdir(f"/proc/{watch.pid}/fd")) for _ in range(100))
    before = at_rest()
    wait_until(lambda: watch.lines.count("") > 30, "many looks")
    wait_until(lambda: at_rest() <= before, "no descriptor is left of them")
    watch.signal(signal.SIGINT)
    watch.wait(0)
    assert b"\x1b" not in watch.out


# States, queues and TCP, beside ss

STATES = {"LISTEN": "listening", "ESTAB": "established", "CLOSE-WAIT": "close-wait", "FIN-WAIT-2": "fin-wait-2",
          "UNCONN": "bound"}


def ss_of(tenon, program, *options):
    """inode -> (state, unread, unsent, local, peer, everything else), as ss has it."""
    lines = tenon.finish([program("ss"), "-Hanei", *options]).lines
    found, fields = {}, []
    for line in lines:
        if not line.startswith(("\t", " ")):
            fields = []
        fields += line.split()
        if fields[0] in STATES and (ino := re.search(r"\bino:(\d+)", " ".join(fields))):
            found[int(ino[1])] = (fields[0], int(fields[1]), int(fields[2]), fields[3], fields[4], " ".join(fields[5:]))
    return found


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_tcp_beside_ss(tenon, program, host):
    listener = tenon.listen(socket.AF_INET6 if ":" in host else socket.AF_INET, (host, 0), backlog=5)
    clients = [tenon.cleanups.enter_context(contextlib.closing(socket.create_connection(listener.getsockname()[:2])))
               for _ in range(4)]
    served = [tenon.accept(listener), tenon.accept(listener)]  # two wait
    clients[0].sendall(b"x" * 12345)
    by_port = {sock.getpeername()[1]: sock for sock in served}
    by_port[clients[0].getsockname()[1]].sendall(b"y" * 10)
    clients[1].shutdown(socket.SHUT_WR)
    wait_until(lambda: b"x" in by_port[clients[0].getsockname()[1]].recv(1, socket.MSG_PEEK), "bytes arrive")
    wait_until(lambda: not by_port[clients[1].getsockname()[1]].recv(1, socket.MSG_PEEK), "the end arrives")

    def agree():
        found, theirs = by_descriptor(tenon, os.getpid()), ss_of(tenon, program, "-t")
        for sock in [listener, *clients, *served]:
            ours = found[sock.fileno()]
            state, unread, unsent, local, peer, rest = theirs[ours["inode"]]
            assert (ours["state"], ours["local"]) == (STATES[state], local)
            if sock is listener:
                assert (ours["waiting"], ours["backlog"]) == (unread, unsent) == (2, 5)
                continue
            assert ours["peer"] == peer
            # An orderly end counts as a byte to ss, and none to the reader
            assert abs(ours["unread"] - unread) <= (state == "CLOSE-WAIT") and ours["unsent"] == unsent
            tcp = ours["tcp"]
            assert tcp["cwnd"] == int(re.search(r"\bcwnd:(\d+)", rest)[1])
            assert tcp["snd_mss"] == int(re.search(r"\bmss:(\d+)", rest)[1])
            assert tcp["rtt_us"] == round(float(re.search(r"\brtt:([0-9.]+)/", rest)[1]) * 1000)
            assert tcp["congestion"] in rest.split()
            if sent := re.search(r"\bbytes_sent:(\d+)", rest):
                assert tcp["bytes_sent"] == int(sent[1])
        return True

    def settled():  # a late acknowledgement may fall between the two looks
        try:
            return agree()
        except AssertionError as error:
            problem.append(error)
            return False
    problem = []
    wait_until(settled, lambda: f"both say the same: {problem[-1]}")


def test_udp_and_what_was_dropped(tenon, program):
    with opened(socket.socket(type=socket.SOCK_DGRAM), socket.socket(type=socket.SOCK_DGRAM)) as (server, client):
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        server.bind(("127.0.0.1", 0))
        client.connect(server.getsockname())
        for _ in range(50):
            client.send(b"z" * 1000)
        found, theirs = by_descriptor(tenon, os.getpid()), ss_of(tenon, program, "-um")
        ours = found[server.fileno()]
        assert (ours["kind"], ours["state"]) == ("udp", "bound")
        assert ours["drops"] == int(re.search(r"skmem:.*,d(\d+)\)", theirs[ours["inode"]][5])[1]) > 0
        assert ours["memory_in"] == theirs[ours["inode"]][1] > 0
        assert (found[client.fileno()]["state"], found[client.fileno()]["peer"]) == \
            ("connected", "127.0.0.1:%d" % server.getsockname()[1])


def test_names_that_terminals_would_act_on(tenon):
    """A process gives itself any name it likes."""
    with tenon.listen() as listener:
        name = pathlib.Path("/proc/self/comm")
        before = name.read_bytes()
        name.write_bytes(b"\x1b[31mred\x07")
        try:
            shown = tenon.run("inspect", os.getpid(), listener.fileno(), status=None)
        finally:
            name.write_bytes(before.rstrip(b"\n"))
    if shown.status:
        pytest.skip(f"descriptors of other processes cannot be read here: {shown.err}")
    assert "?[31mred?" in shown.text and "\x1b" not in shown.text


def test_names_in_no_encoding(tenon):
    """Of processes and of Unix sockets: text for people is UTF-8, and so is JSON."""
    name = pathlib.Path("/proc/self/comm")
    before = name.read_bytes()
    with opened(socket.socket(socket.AF_UNIX)) as (listener,):
        listener.bind(b"\0tenon-\xff\x1b[31m%d" % os.getpid())
        listener.listen()
        name.write_bytes(b"a\xffb\xc3")
        try:
            results = [tenon.run("inspect", *args, os.getpid(), *fd, status=None)
                       for args in ([], ["--all"], ["--json"]) for fd in ([], [listener.fileno()])]
        finally:
            name.write_bytes(before.rstrip(b"\n"))
    if results[0].status:
        pytest.skip(f"descriptors of other processes cannot be read here: {results[0].err}")
    for result in results:
        assert "\x1b" not in result.out.decode() and ("a" in result.text and "b" in result.text)
    assert r"a\xffb\xc3" in results[0].text and r"@tenon-\xff" in results[1].text


# Unix sockets: who is at the other end

def test_unix_peers(tenon, tmp_path):
    path = str(tmp_path / "s")
    server = tenon.serve(f"unix:{path}")
    client = tenon.dial(f"unix:{path}")
    client.sendall(b"hello")
    assert client.recv(100)
    ours = by_descriptor(tenon, os.getpid())[client.fileno()]
    assert (ours["kind"], ours["state"], ours["peer"]) == ("unix", "connected", path)
    assert ours["peer_process"]["pid"] == server.pid
    assert ours["credentials"] == {"pid": server.pid, "uid": os.getuid(), "gid": os.getgid()}
    both = inspected(tenon, "--endpoint", f"unix:{path}")
    assert sorted((one["pid"] == server.pid, one["state"]) for one in both) == \
        [(False, "connected"), (True, "connected"), (True, "listening")]
    theirs = next(one for one in both if one["pid"] == server.pid and one["state"] == "connected")
    assert theirs["peer_process"] == {"pid": os.getpid(), "fd": client.fileno(), "command": ours["command"]}
    assert theirs["credentials"]["pid"] == os.getpid()


def test_unix_of_every_type(tenon):
    names = {socket.SOCK_STREAM: "unix", socket.SOCK_DGRAM: "unix-dgram", socket.SOCK_SEQPACKET: "unix-seqpacket"}
    for kind, name in names.items():
        with opened(*socket.socketpair(socket.AF_UNIX, kind)) as (a, b):
            a.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            found = by_descriptor(tenon, os.getpid())
            assert [found[sock.fileno()]["kind"] for sock in (a, b)] == [name, name]
            assert found[a.fileno()]["peer_process"]["fd"] == b.fileno()
            assert found[a.fileno()]["options"]["passcred"]["differs"]
            assert not found[b.fileno()]["options"]["passcred"]["differs"]


# The rest of the families

def maybe(family, kind, protocol=0):
    with contextlib.suppress(OSError):
        return socket.socket(family, kind, protocol)
    return None


def test_other_families(tenon):
    socks = {
        "raw 47": maybe(socket.AF_INET, socket.SOCK_RAW, 47), "raw 89": maybe(socket.AF_INET6, socket.SOCK_RAW, 89),
        "packet": maybe(socket.AF_PACKET, socket.SOCK_RAW), "packet-dgram": maybe(socket.AF_PACKET, socket.SOCK_DGRAM),
        "netlink route": maybe(socket.AF_NETLINK, socket.SOCK_RAW, 0),
        "vsock": maybe(socket.AF_VSOCK, socket.SOCK_STREAM),
        "mptcp": maybe(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP),
        "udp": maybe(socket.AF_INET6, socket.SOCK_DGRAM),
        "icmp": maybe(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP),
    }
    socks = {kind: sock for kind, sock in socks.items() if sock}
    with opened(*socks.values()):
        if "netlink route" in socks:
            socks["netlink route"].bind((0, 5))
        found = by_descriptor(tenon, os.getpid())
        assert {kind: found[sock.fileno()]["kind"] for kind, sock in socks.items()} == {kind: kind for kind in socks}
        assert all("rcvbuf" in found[sock.fileno()]["options"] for sock in socks.values())
        if "netlink route" in socks:
            assert found[socks["netlink route"].fileno()]["local"].endswith("groups 0x5")
        # All but those that stand in no table are in the list of all sockets, too
        listed = {one["inode"] for one in inspected(tenon) if one.get("pid") == os.getpid()}
        assert {found[sock.fileno()]["inode"] for sock in socks.values()} <= listed


def test_packets_of_a_protocol_or_of_none(tenon):
    socks = [maybe(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ethertype)) for ethertype in (0, 0x88b5)]
    if None in socks:
        pytest.skip("packet sockets are not permitted here")
    with opened(*socks):
        for who in ([os.getpid()], []):  # the sockets themselves are asked, or the kernel's table of them
            found = by_descriptor(tenon, *who)
            assert [found[sock.fileno()]["state"] for sock in socks] == ["unbound", "bound"]


def test_mptcp(tenon):
    listener = maybe(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
    if not listener:
        pytest.skip("no MPTCP here")
    with opened(listener, socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)) as (_, client):
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client.connect(listener.getsockname())
        served = tenon.accept(listener)
        client.sendall(b"hello")
        assert served.recv(10)
        ours = by_descriptor(tenon, os.getpid())[client.fileno()]
        assert (ours["kind"], ours["state"], ours["subflows"], ours["fallback"]) == ("mptcp", "established", 1, False)
        assert ours["tcp"]["bytes_sent"] >= 5


# By endpoint

def test_mptcp_beside_the_kernel(tenon):
    """What its own socket says of an MPTCP connection: subflows, fallback, and which end is whose."""
    server = tenon.serve("mptcp://127.0.0.1:0")
    client = tenon.dial(server.url)
    client.sendall(b"x")
    assert client.recv(1)
    ours = by_descriptor(tenon, os.getpid())[client.fileno()]
    assert ours["kind"] == "mptcp" and ours["family"] == "inet" and not ours["fallback"] and ours["subflows"] == 1
    assert ours["peer"] == f"127.0.0.1:{server.port}" and ours["tcp"]["bytes_sent"] >= 1
    found = inspected(tenon, "--endpoint", server.url)
    assert sorted((one["pid"], one["state"]) for one in found if one["kind"] == "mptcp") == \
        sorted([(server.pid, "listening"), (server.pid, "established"), (os.getpid(), "established")])
    # A peer that speaks plain TCP
    plain = tenon.dial(server.url.replace("mptcp:", "tcp:"))
    plain.sendall(b"x")
    assert plain.recv(1)
    for args in ([server.pid], ["--endpoint", server.url]):
        theirs = [one for one in inspected(tenon, *args) if one.get("peer") == "127.0.0.1:%d" % plain.getsockname()[1]]
        assert len(theirs) == 1 and (theirs[0]["kind"] == "tcp" or theirs[0]["fallback"]), theirs


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_time_wait_belongs_to_nobody(tenon, program, host):
    """It is shown with -v, with its addresses and no process; without, it is only told that there are some."""
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        client = socket.create_connection(listener.getsockname()[:2])
        served, _ = listener.accept()
        local, port = client.getsockname()[1], listener.getsockname()[1]
        client.close()
        served.close()
    where = f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
    address = where.removeprefix("tcp://").rpartition(":")[0]
    wait_until(lambda: tenon.finish([program("ss"), "-Htan", "state", "time-wait", f"sport = :{local}"]).lines,
               "time-wait")
    none = tenon.run("inspect", "--endpoint", where, status=1)
    assert "-v shows them" in none.err and not none.out
    dying = inspected(tenon, "-v", "--endpoint", where)
    wanted = ("time-wait", f"{address}:{local}", f"{address}:{port}")
    assert wanted in [(one["state"], one["local"], one["peer"]) for one in dying]
    for one in dying:  # another connection may have had the same port a minute ago
        assert one["state"] == "time-wait" and f"{address}:{port}" in (one["local"], one["peer"])
        assert "pid" not in one and "options" not in one and "tcp" not in one
    table = tenon.run("inspect", "-v", "--endpoint", where).text
    assert re.search(rf"^ +- +- +- +tcp +time-wait +\d+ +\d+ .*{re.escape(address)}:{local}", table, re.M), table


def test_who_is_at_the_far_end_stands_behind_the_address(tenon):
    """On the same line, where it fits."""
    one, other = socket.socketpair()
    with one, other:
        table = tenon.run("inspect", os.getpid()).text
        for sock in (one, other):
            assert re.search(rf"^ *{os.getpid()} +{sock.fileno()} .* connected +0 +0 +\(.+ {os.getpid()}\)$", table,
                             re.M), table


def test_an_address_that_does_not_fit_has_a_line_of_its_own(tenon):
    """On which stands who is at the far end, too, and nowhere else."""
    name, (one, other) = f"tenon-{os.getpid()}".ljust(60, "x"), socket.socketpair()
    with one, other:
        one.bind(f"\0{name}")
        fd, table = one.fileno(), tenon.run("inspect", os.getpid()).text
    assert re.search(rf"^ *{os.getpid()} +{fd} .* connected +0 +0\n +@{name} +\(.+ {os.getpid()}\)$", table,
                     re.M), table


def test_endpoint(tenon):
    server = tenon.serve("tcp://127.0.0.1:0?rcvbuf=40000")
    client = tenon.dial(server.url)
    client.sendall(b"x")
    assert client.recv(1)
    found = inspected(tenon, "--endpoint", server.url)
    assert sorted((one["pid"], one["state"]) for one in found) == \
        sorted([(server.pid, "listening"), (server.pid, "established"), (os.getpid(), "established")])
    listener = next(one for one in found if one["state"] == "listening")
    assert listener["options"]["rcvbuf"]["value"] == "40000"
    assert next(one for one in found if one["pid"] == os.getpid())["peer_process"]["pid"] == server.pid
    mine = inspected(tenon, os.getpid(), "--endpoint", server.url)
    assert [one["fd"] for one in mine] == [client.fileno()]


def test_endpoint_of_who_serves_every_address(tenon):
    with opened(socket.create_server(("", 0)), socket.create_server(("127.0.0.2", 0))) as (every, other):
        port = every.getsockname()[1]
        assert [one["fd"] for one in inspected(tenon, "--endpoint", f"tcp://localhost:{port}")] == [every.fileno()]
        assert [one["fd"] for one in inspected(tenon, "--endpoint", f"tcp://*:{port}")] == [every.fileno()]
        tenon.run("inspect", "--endpoint", f"udp://localhost:{port}", status=1)
        tenon.run("inspect", "--endpoint", f"tcp://127.0.0.1:{other.getsockname()[1]}", status=1)


def test_endpoint_of_udp(tenon):
    server = tenon.serve("udp://127.0.0.1:0")
    client = tenon.dial(server.url)
    found = inspected(tenon, "--endpoint", server.url)
    assert {(one["pid"], one["state"]) for one in found} == {(server.pid, "bound"), (os.getpid(), "connected")}
    assert client.fileno() in [one["fd"] for one in found]


def test_endpoint_below_the_transports(tenon, wire):
    server = tenon.serve("raw://10.9.0.1?proto=253", "raw://10.9.0.1?proto=254", "packet:near?proto=arp",
                         preexec_fn=wire.near.enter)
    for url, kind in (("raw://10.9.0.1?proto=254", "raw 254"), ("packet:near?proto=arp", "packet-dgram"),
                      ("packet:*?proto=arp", "packet-dgram")):
        found = inspected(tenon, "--endpoint", url, preexec_fn=wire.near.enter)
        assert [(one["pid"], one["kind"]) for one in found] == [(server.pid, kind)], url
    tenon.run("inspect", "--endpoint", "raw://10.9.0.1?proto=252", status=1, preexec_fn=wire.near.enter)
    tenon.run("inspect", "--endpoint", "packet:lo?proto=arp", status=1, preexec_fn=wire.near.enter)


def test_endpoint_of_ping_sockets(tenon, network):
    system.write_inside(network, "/proc/sys/net/ipv4/ping_group_range", "0 2147483647")
    watch = tenon.start("ping", "--json", "--interval", "1h", "127.0.0.1", preexec_fn=network.enter)
    watch.wait_for_text("reply", "out")
    found = inspected(tenon, "--endpoint", "icmp://127.0.0.1", preexec_fn=network.enter)
    assert [(one["pid"], one["kind"], one["state"], one["local"], one["peer"]) for one in found] == \
        [(watch.pid, "icmp", "connected", "127.0.0.1", "127.0.0.1")]
    watch.signal(signal.SIGINT)
    watch.wait(0)


def test_one_socket_in_two_processes(tenon):
    listener = tenon.listen()
    sleeper = tenon.peer(sys.executable, "-c",
                         "import sys; sys.stdout.write('x'); sys.stdout.flush(); sys.stdin.read()",
                         pass_fds=[listener.fileno()], stdin=-1)
    wait_until(lambda: sleeper.out == b"x", "it runs")
    found = inspected(tenon, "--endpoint", "tcp://127.0.0.1:%d" % listener.getsockname()[1])
    assert [(one["shared"], one["pid"] in (os.getpid(), sleeper.pid)) for one in found] == [(1, True)]


# The process is left as it is

def test_nothing_is_disturbed(tenon):
    with opened(socket.socket(type=socket.SOCK_DGRAM)) as (client,):
        client.connect(("127.0.0.1", 9))  # discard: nobody is there
        with contextlib.suppress(ConnectionRefusedError):
            client.send(b"x")
        poller = select.poll()
        poller.register(client, 0)
        wait_until(lambda: poller.poll(100), "the refusal has come")
        assert client.fileno() in by_descriptor(tenon, os.getpid())
        # The error that waits for its reader still does
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
    _, client, served = tcp_pair(tenon)
    served.sendall(b"unread")
    before = by_descriptor(tenon, os.getpid())[client.fileno()]["options"]
    for _ in range(3):
        assert by_descriptor(tenon, os.getpid())[client.fileno()]["options"] == before
    assert client.recv(100) == b"unread"
    client.close()
    assert served.recv(100) == b""  # nobody keeps a duplicate open


# Again and again

def test_watch(tenon):
    listener = tenon.listen()
    inspected(tenon, os.getpid(), listener.fileno())
    watch = tenon.start("inspect", "--json", "--watch", "10ms", os.getpid(), listener.fileno())
    client = tenon.cleanups.enter_context(contextlib.closing(socket.create_connection(listener.getsockname())))
    wait_until(lambda: any(json.loads(line).get("waiting") == 1 for line in watch.lines), "the new client is seen")
    client.close()
    watch.signal(signal.SIGINT)
    watch.wait(0)
    looks = [json.loads(line) for line in watch.lines]
    assert [look.get("event") for look in looks[::2]] == ["look"] * (len(looks) // 2)
    assert {look["state"] for look in looks[1::2]} == {"listening"}


def test_watch_ends_with_its_reader(tenon):
    """At once, not only when it looks again."""
    watch = tenon.start("inspect", "--watch", "1h", os.getpid(), tenon.listen().fileno(), stdout=subprocess.PIPE)
    assert watch.popen.stdout.readline()
    watch.popen.stdout.close()
    watch.wait(0)
    assert watch.err == ""


def test_a_process_that_has_ended(tenon):
    """A zombie is no process of another network."""
    with subprocess.Popen(["true"]) as child:
        wait_until(lambda: is_zombie(child.pid), "it ends")
        for args in ([child.pid], [child.pid, 3], ["--json", child.pid]):
            result = tenon.run("inspect", *args, status=1)
            assert (f"process {child.pid} (true) has ended" in result.err and "network" not in result.err and
                    not result.out)


@pytest.mark.parametrize("command", ["inspect --watch 1h", "capture", "bench tcp://127.0.0.1:1",
                                     "ping tcp://127.0.0.1:1", "connect tcp://127.0.0.1:1", "serve tcp://127.0.0.1:0",
                                     "convert --from json --to cbor"])
def test_a_refusal_always_has_words(tenon, command):
    """Of a system call of the command's own, too: here for want of descriptors."""
    for limit in range(3, 12):
        process = tenon.start(*command.split(), stdout=subprocess.DEVNULL, preexec_fn=lambda limit=limit:
                              resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.popen.wait(0.7)
        runs = not process.is_over()
        process.kill()
        assert not re.search(r"^tenon: (?:\w+: )?$", process.err, re.M), (limit, process.err)
        assert process.err or process.popen.returncode == 0 or runs, limit
        if runs:
            break


def test_watch_ends_with_its_process(tenon):
    sleeper = tenon.peer("sleep", "600")
    inspected(tenon, sleeper.pid)
    watch = tenon.start("inspect", "--json", "--watch", "10ms", sleeper.pid)
    wait_until(lambda: len(watch.lines) > 2, "it looks")
    sleeper.kill()
    watch.wait(1)
    assert f"there is no process {sleeper.pid}" in watch.err


# Other networks

def test_process_in_another_network(tenon, network):
    target = tenon.keep(Process([sys.executable, "-c", TARGET], tenon.folder, stdin=-1, preexec_fn=network.enter))
    pid, port, listener, client, served = map(int, target.wait_for_text(r"^(\d+ \d+ \d+ \d+ \d+)$", "out")[1].split())
    found = {one["fd"]: one for one in inspected(tenon, pid)}
    assert found[listener]["local"] == f"127.0.0.1:{port}" and found[listener]["backlog"] == 7
    assert found[client]["options"]["nodelay"]["differs"]
    assert found[client]["peer_process"]["fd"] == served
    # From here that endpoint is not to be seen
    tenon.run("inspect", "--endpoint", f"tcp://127.0.0.1:{port}", status=1)


# Without privileges

def test_privileges(tenon):
    if os.geteuid() != 0:
        pytest.skip("only root can start what may be looked at and give up the right to")
    target = tenon.keep(Process([sys.executable, "-c", TARGET], tenon.folder, stdin=-1))
    pid, port, *_ = map(int, target.wait_for_text(r"^(\d+ \d+ \d+ \d+ \d+)$", "out")[1].split())
    lacking = tenon.run("inspect", pid, status=1, preexec_fn=system.drop_capabilities)
    assert "CAP_SYS_PTRACE" in lacking.err and "setcap cap_sys_ptrace+ep" in lacking.err
    # What everybody may know is told all the same
    result = tenon.run("inspect", "--json", "--endpoint", f"tcp://127.0.0.1:{port}", status=1,
                       preexec_fn=system.drop_capabilities)
    seen = [json.loads(line) for line in result.lines]
    assert sorted(one["state"] for one in seen) == ["established", "established", "listening"]
    assert all(one["tcp"]["rtt_us"] > 0 and one["tcp"]["congestion"] for one in seen if one["state"] == "established")
    assert "CAP_SYS_PTRACE" in result.err
    assert tenon.run("inspect", preexec_fn=system.drop_capabilities).lines


# Bad input

@pytest.mark.parametrize("args, status, text", [
    (["x"], 2, "'x' is not the number of a process"), (["0"], 2, "not the number"), (["-1"], 2, "no option"),
    (["1", "y"], 2, "'y' is not the number of a descriptor"), (["1", "2", "3"], 2, "please"),
    (["99999999999"], 2, "not the number"), (["2147483647"], 1, "there is no process 2147483647"),
    (["--endpoint", "tcp://localhost"], 2, "port is missing"), (["--endpoint", "fd:3"], 2, "inherited"),
    (["--endpoint", "tpc://localhost:1"], 2, "did you mean 'tcp'"), (["--watch", "x"], 2, "is not a duration"),
    (["--endpoint", "tcp://name.invalid:1"], 1, "name.invalid"), (["--endpont=x"], 2, "did you mean --endpoint"),
    (["--endpoint", "unix:/nobody/is/here"], 1, "no process has a socket at unix:/nobody/is/here"),
])
def test_bad_usage(tenon, args, status, text):
    result = tenon.run("inspect", *args, status=status)
    assert text in result.err and not result.out, result


def test_no_socket(tenon, tmp_path):
    result = tenon.run("inspect", os.getpid(), 4095, status=1)
    assert f"process {os.getpid()} has no descriptor 4095" in result.err
    (tmp_path / "plain").touch()
    for path in (f"{tmp_path}/plain", "/"):
        file = os.open(path, os.O_RDONLY)
        result = tenon.run("inspect", os.getpid(), file, status=1)
        os.close(file)
        assert result.err.endswith(f"is no socket but {path}\n")
    sleeper = tenon.peer("sleep", "600")
    assert inspected(tenon, sleeper.pid) == []
    for options in ([], ["--all"]):
        assert tenon.run("inspect", sleeper.pid, *options).text == f"process {sleeper.pid} (sleep) has no sockets\n"


def test_rings_of_shared_memory(tenon):
    """Both ends of shm: have the same memory, by which each is known; a Unix socket without has none."""
    server = tenon.serve(f"shm:{tenon.folder}/m?ring=64KiB", f"unix:{tenon.folder}/s", listeners=2,
                         options=["--handler", "echo"])
    client = tenon.start("connect", f"shm:{tenon.folder}/m", stdin=subprocess.PIPE)
    plain = tenon.start("connect", f"unix:{tenon.folder}/s", stdin=subprocess.PIPE)
    for process in (client, plain):
        process.popen.stdin.write(b"hello\n")
        process.popen.stdin.flush()
        wait_until(lambda: process.out == b"hello\n", "the echo")

    def shared(process):
        rows = map(json.loads, tenon.run("inspect", process.pid, "--json").lines)
        return [row["shared_memory"] for row in rows if "shared_memory" in row]
    assert shared(client) == shared(server) and shared(client)[0] >= 128 * 1024
    assert shared(plain) == []
    assert "rings" in tenon.run("inspect", client.pid, "--all").text
    for process in (client, plain):
        process.popen.stdin.close()
        process.wait(0)


def test_what_a_process_has_mapped_is_read_once(tenon, strace):
    server = tenon.serve(f"unix:{tenon.folder}/s")
    clients = [tenon.dial(server.url) for _ in range(3)]
    wait_until(lambda: len(inspected(tenon, server.pid)) > len(clients), "all have been taken")
    traced = strace(["-e", "trace=openat"], tenon.argv("inspect", server.pid, "--json"), 0)
    assert traced.err.count(f"/proc/{server.pid}/maps") == 1
