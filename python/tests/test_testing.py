"""tenon.testing, and the programs of a socket course as peers, which know nothing of tenon."""
import pathlib
import socket
import subprocess
import sys
import time

import pytest

import tenon
from helpers import LIMIT, run_python
from tenon import testing

pytest_plugins = ["tenon.testing"]
COURSE = pathlib.Path(__file__).resolve().parent / "course"


def test_server(tenon_server):
    server = tenon_server("tcp://127.0.0.1:0?frame=line", lambda conn, msg: b"hello " + msg)
    with socket.create_connection(("127.0.0.1", server.port)) as s:
        s.sendall(b"me\n")
        assert s.makefile("rb").readline() == b"hello me\n"
    assert server.received == [b"me"]
    assert tenon.call(server.url, b"you", LIMIT) == b"hello you"


def test_server_raises_what_a_callback_raised():
    with pytest.raises(ZeroDivisionError):
        with testing.Server("udp://127.0.0.1:0", lambda conn, msg: 1 // 0) as server:
            with tenon.connect(server.url) as c:
                c.send(b"x")
                deadline = time.monotonic() + LIMIT
                while not server.errors and time.monotonic() < deadline:
                    time.sleep(0.01)


def test_relay(tenon_server, tenon_relay):
    server = tenon_server("tcp://127.0.0.1:0?frame=u32", lambda conn, msg: msg.upper())
    relay = tenon_relay(server.url, delay=0.02, jitter=0.01)
    began = time.monotonic()
    with tenon.connect(relay.url) as c:
        for word in (b"one", b"two"):
            c.send(word)
        assert [c.recv(LIMIT), c.recv(LIMIT)] == [b"ONE", b"TWO"]
    assert time.monotonic() - began >= 0.04
    assert [m for d, m in relay.passed if d == "up"] == [b"one", b"two"]
    assert [m for d, m in relay.passed if d == "down"] == [b"ONE", b"TWO"]


def test_relay_that_loses_and_cuts(tenon_server, tenon_relay):
    server = tenon_server("tcp://127.0.0.1:0?frame=u32", lambda conn, msg: None)
    relay = tenon_relay(server.url, lose=0.5)
    with tenon.connect(relay.url) as c:
        for n in range(200):
            c.send(b"%d" % n)
    deadline = time.monotonic() + LIMIT
    while len(server.received) < len([m for d, m in relay.passed]) or not relay.passed:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    relay.lose, relay.cut_after = 0.0, 10
    with tenon.connect(relay.url) as c:
        c.send(bytes(100))
        with pytest.raises(ConnectionResetError):
            c.recv(LIMIT)
    assert 50 < len(server.received) < 150
    with pytest.raises(ValueError):
        testing.Relay("tcp://127.0.0.1:1", lose=0.5)


def course(name, *args):
    return subprocess.Popen([sys.executable, "-u", COURSE / name, *args], stdout=subprocess.PIPE, text=True)


def port_of(child):
    return int(child.stdout.readline().rpartition(" ")[2])


def end(child):
    child.kill()
    child.communicate()


def test_course_clients_talk_to_tenon(tenon_server):
    echo = tenon_server("tcp://127.0.0.1:0", lambda conn, msg: msg)
    ack = tenon_server("udp://127.0.0.1:0", lambda conn, msg: b"ack: " + msg)
    tcp = course("tcp_echo_client.py", str(echo.port))
    assert tcp.communicate(timeout=LIMIT)[0] == "received 'Hello, world!'\n" and tcp.returncode == 0
    udp = course("udp_ack_client.py", str(ack.port))
    assert udp.communicate(timeout=LIMIT)[0] == "received 'ack: Hello, world!'\n" and udp.returncode == 0


def test_course_servers_serve_tenon():
    tcp, udp = course("tcp_echo_server.py", "0"), course("udp_ack_server.py", "0")
    try:
        with tenon.connect(f"tcp://127.0.0.1:{port_of(tcp)}") as c:
            c.send("Hello, tcp!")
            assert c.recv(LIMIT) == b"Hello, tcp!"
        with tenon.connect(f"udp://127.0.0.1:{port_of(udp)}") as c:
            c.send("Hello, udp!")
            assert c.recv(LIMIT) == b"ack: Hello, udp!"
    finally:
        end(tcp)
        end(udp)


def test_tutorial():
    said = run_python("""
        import runpy, sys
        sys.argv = ["tenon.tutorial", "--no-wait"]
        runpy.run_module("tenon.tutorial", run_name="__main__")
        """)
    assert "ack: Hello, world!" in said and "{'ack': {'op': 'ping'}}" in said and "Step 6" in said
