"""tenon inspect --columns, --sort, --netns, --watch --delta; timers, memory, containers."""
import json
import os
import pathlib
import re
import socket
import subprocess
import time

import pytest

from harness import wait_until
from system import as_nobody

FAILED, USAGE = 1, 2
one_engine = pytest.mark.parametrize("engine", ["auto"], indirect=True)


def rows(result):
    head, *lines = result.lines
    return [dict(zip(head.split(), line.split())) for line in lines]


@one_engine
def test_columns_in_the_order_that_is_asked_for(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    client = tenon.dial(server.urls[0])
    client.sendall(b"x")
    client.recv(9)
    result = tenon.run("inspect", server.pid, "--columns", "state,local,pid,memory,rtt,sent,received,container,fd")
    assert result.lines[0].split() == ["STATE", "LOCAL", "PID", "MEMORY", "RTT", "SENT", "RECEIVED", "CONTAINER", "FD"]
    text = "\n".join(result.lines)
    assert re.search(rf"established +127\.0\.0\.1:{server.port} +{server.pid} +\d+ +[\d.]+ \w+ +\d+ +1 ", text), text
    assert re.search(rf"listening +127\.0\.0\.1:{server.port} +{server.pid} +0 +- +- +- ", text), text


@one_engine
@pytest.mark.parametrize("column, key", [("fd", int), ("local", str), ("state", str)])
@pytest.mark.parametrize("down", [False, True])
def test_sorted(tenon, column, key, down):
    server = tenon.serve("tcp://127.0.0.1:0", "udp://127.0.0.1:0", "tcp://127.0.0.2:0")
    found = rows(tenon.run("inspect", server.pid, "--columns", "fd,local,state", "--sort", "-" * down + column))
    values = [key(row[column.upper()]) for row in found if row["LOCAL"].startswith("127.")]
    assert len(values) == 3 and values == sorted(values, reverse=down)
    socks = [json.loads(line) for line in tenon.run("inspect", server.pid, "--json", "--sort", "-" * down + "fd").lines]
    assert [s["fd"] for s in socks] == sorted((s["fd"] for s in socks), reverse=down)


@one_engine
@pytest.mark.parametrize("args, why", [
    (["--columns", "pid,stat"], "did you mean state?"), (["--columns", ""], "no column"),
    (["--columns", "pid,pid"], "twice"), (["--sort", "xyzzy"], "there are"), (["--columns", "change"], "--delta"),
    (["--delta"], "--watch"), (["--delta", "--watch", "1s", "--summary"], "--summary"),
    (["--netns", "x", "1"], "its own namespace"), (["--netns", "all", "--kill", "--port", "1"], "one namespace"),
    (["--columns", "pid", "--all"], "--all"), (["--sort", "pid", "--summary"], "--summary")])
def test_asked_for_wrongly(tenon, args, why):
    assert why in tenon.run("inspect", *args, status=USAGE).err


@one_engine
def test_timers_and_memory_beside_ss(tenon, program, network):
    server = tenon.serve("tcp://127.0.0.1:0?keepalive=on&keepidle=100s", preexec_fn=network.enter)
    with network.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.connect(("127.0.0.1", server.port))
        client.sendall(b"x")
        client.recv(9)
        sock, = (json.loads(line) for line in tenon.run("inspect", "--netns", server.pid, "--json", "--port",
                                                        server.port, "--state", "estab", "--process", "tenon").lines)
        assert sock["timer"]["kind"] == "keepalive" and 0 < sock["timer"]["expires_ms"] <= 100_000
        theirs = tenon.finish([program("ss"), "-tnmo", "sport", "=", f":{server.port}"], preexec_fn=network.enter).text
        kept = re.search(r"timer:\(keepalive,(?:(\d+)min)?([\d.]+)(m?s)", theirs)
        assert kept, theirs
        limits = re.search(r"skmem:\(r\d+,rb(\d+),t\d+,tb(\d+)", theirs)
        assert (sock["memory_in_limit"], sock["memory_out_limit"]) == tuple(map(int, limits.groups()))
        text = tenon.run("inspect", server.pid, "--all").text
        assert re.search(r"timer +keepalive in [\d.]+ s", text) and "of kernel memory in" in text


@one_engine
def test_another_network_by_each_of_its_names(tenon, network, program):
    server = tenon.serve("tcp://127.0.0.1:0", preexec_fn=network.enter)
    by_pid = [json.loads(line) for line in tenon.run("inspect", "--netns", server.pid, "--json", "--kind", "tcp").lines]
    assert [(s["pid"], s["state"], s["netns"]) for s in by_pid] == [(server.pid, "listening", by_pid[0]["netns"])]
    inode = os.stat(f"/proc/{server.pid}/ns/net").st_ino
    assert by_pid[0]["netns"] == f"net:[{inode}]"
    by_file = tenon.run("inspect", "--netns", f"/proc/{server.pid}/ns/net", "--columns", "pid,local", "--kind", "tcp")
    assert rows(by_file) == [{"PID": str(server.pid), "LOCAL": f"127.0.0.1:{server.port}"}]
    here = tenon.serve("tcp://127.0.0.1:0")
    every = [json.loads(line) for line in tenon.run("inspect", "--netns", "all", "--json", "--kind", "tcp", "--state",
                                                    "listen").lines]
    places = {s["pid"]: s["netns"] for s in every if s.get("pid") in (server.pid, here.pid)}
    assert places == {server.pid: f"net:[{inode}]", here.pid: f"net:[{os.stat('/proc/self/ns/net').st_ino}]"}
    assert rows(tenon.run("inspect", "--netns", "all", "--process", "tenon", "--port", server.port))[0]["NETNS"]


@one_engine
@pytest.mark.parametrize("name, why", [
    ("no-such-network", "ip netns lists them"), ("/dev/null", "no network namespace"), ("/none/such", "/none/such"),
    ("99999999", "no process 99999999")])
def test_no_such_network(tenon, name, why):
    assert why in tenon.run("inspect", "--netns", name, status=FAILED).err


@one_engine
def test_what_may_not_be_looked_at_is_told(tenon):
    """The networks of others' processes are left out of "all", and not silently."""
    done = tenon.run("inspect", "--netns", "all", "--kind", "tcp", "--state", "listen", status=None, **as_nobody(tenon))
    assert re.search(r"not all: .* the networks of [1-9]\d* processes may not be looked at", done.err), done


@one_engine
def test_a_named_network(tenon, program):
    name = f"tenon-test-{os.getpid()}"
    if subprocess.run([program("ip"), "netns", "add", name], check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("no network may be named here")
    try:
        wrong = tenon.run("inspect", "--netns", name + "x", status=FAILED).err
        assert f"did you mean {name}?" in wrong
        assert tenon.run("inspect", "--netns", name, "--kind", "tcp", status=None).out == b""
    finally:
        subprocess.run([program("ip"), "netns", "del", name], check=True)


@one_engine
def test_what_has_changed_between_two_looks(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    watch = tenon.start("inspect", server.pid, "--watch", "50ms", "--delta", "--json", "--kind", "tcp")

    def changes(change):
        return [s for s in map(json.loads, watch.lines) if s.get("change") == change]
    wait_until(lambda: len(watch.lines) >= 2, "it has looked")
    assert not changes("opened")
    client = tenon.dial(server.urls[0])
    client.sendall(b"x")
    client.recv(9)
    wait_until(lambda: changes("opened"), "it has come")
    client.sendall(b"y" * 1000)
    wait_until(lambda: sum(s["since_last"]["received"] for s in changes("changed")) == 1000 or
               (sum(s["since_last"]["received"] for s in changes("changed")) +
                sum(s["tcp"]["bytes_received"] for s in changes("opened"))) == 1001, "it has received more")
    client.close()
    wait_until(lambda: changes("closed"), "it has gone")
    assert {s["state"] for s in changes("opened")} <= {"established", "close-wait"}
    assert len(changes("opened")) == 1 and all("options" not in s for s in changes("changed"))


def come_and_go(tenon, server, watch):
    """A client of which the watch tells that it has come, then that it has gone."""
    def told(sign):
        return any(line.startswith(sign) for line in watch.lines)

    def comes():
        """None tells when the first look is over: a client that was there before it is none that came."""
        with tenon.dial(server.urls[0]):
            deadline = time.monotonic() + 0.5
            while not told("+") and time.monotonic() < deadline:
                time.sleep(0.01)
        return told("+")
    wait_until(comes, "come")
    wait_until(lambda: told("-"), "gone")


@one_engine
def test_changes_for_people(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    watch = tenon.start("inspect", server.pid, "--watch", "50ms", "--delta")
    come_and_go(tenon, server, watch)
    assert len([line for line in watch.lines if "COMMAND" in line]) == 1
    assert {line[:1] for line in watch.lines if "COMMAND" not in line} <= set("+-~")


@one_engine
def test_what_has_gone_has_sent_no_more(tenon):
    """All that it ever sent was counted when it came and changed."""
    server = tenon.serve("tcp://127.0.0.1:0")
    watch = tenon.start("inspect", server.pid, "--watch", "50ms", "--delta", "--columns", "change,kind,sent,received")
    come_and_go(tenon, server, watch)
    assert {tuple(line.split()) for line in watch.lines if line.startswith("-")} == {("-", "tcp", "-", "-")}


@one_engine
@pytest.mark.parametrize("path, named", [
    ("docker/{id}", "docker:0123456789ab"), ("system.slice/docker-{id}.scope", "docker:0123456789ab"),
    ("machine.slice/libpod-{id}.scope", "podman:0123456789ab"),
    ("kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope", "containerd:0123456789ab"),
    ("kubepods/pod1/{id}", "kubernetes:0123456789ab"), ("lxc/web", "lxc:web"), ("lxc.payload.web", "lxc:web"),
    ("user.slice", None)])
def test_containers(tenon, path, named):
    """A process in a control group whose name is such as the engines give."""
    root = pathlib.Path("/sys/fs/cgroup/pids")
    root = root if root.is_dir() else pathlib.Path("/sys/fs/cgroup")
    top = root / f"tenon-test-{os.getpid()}"
    folder = top / path.format(id="0123456789abcdef" * 4)
    server = tenon.serve("tcp://127.0.0.1:0")
    try:
        folder.mkdir(parents=True)
        (folder / "cgroup.procs").write_text(str(server.pid), encoding="ascii")
    except OSError:
        pytest.skip("no control groups may be made here")
    try:
        sock = json.loads(tenon.run("inspect", server.pid, "--kind", "tcp", "--json").lines[0])
        assert sock.get("container") == named
        if named:
            assert rows(tenon.run("inspect", server.pid, "--kind", "tcp", "--columns", "container"))[0] == {
                "CONTAINER": named}
    finally:
        (root / "cgroup.procs").write_text(str(server.pid), encoding="ascii")
        while folder != root:
            folder.rmdir()
            folder = folder.parent
