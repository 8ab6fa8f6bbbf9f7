"""Many clients, slow ones, rude ones and too many of them: whatever one does, the others are served."""
import contextlib
import pathlib
import re
import signal
import socket
import time

import pytest

from harness import (KIB, LIMIT, MIB, SANITIZED, cpu_seconds, exchange, noise, open_socket, receive_exactly, reset,
                     resident_bytes, send_until_stuck, wait_until)
from system import allow_files, limit_files

CROWD = 2000


def talk(clients, text):
    """All speak, then all listen."""
    for i, client in enumerate(clients):
        client.sendall(b"%s %d" % (text, i))
    for i, client in enumerate(clients):
        wanted = b"%s %d" % (text, i)
        assert receive_exactly(client, len(wanted)) == wanted


def test_thousands_at_once(tenon):
    if not allow_files(CROWD + 200):
        pytest.skip("the system does not allow so many descriptors")
    server = tenon.serve("tcp://127.0.0.1:0")
    clients = [tenon.dial(server.url) for _ in range(CROWD)]
    talk(clients, b"hello from")
    # Now all are idle but one, which is served as if it were alone
    for client in (clients[0], clients[CROWD // 2], clients[-1]):
        assert exchange(client, noise(MIB)) == noise(MIB)
    talk(clients, b"still here is")


def test_thousands_come_and_go(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    for turn in range(10):
        clients = [open_socket(server.url) for _ in range(100)]
        for client in clients:
            client.sendall(b"hello")
        for client in clients:
            assert receive_exactly(client, 5) == b"hello"
        for client in clients:
            client.close()
    server.wait_for_rest()


@pytest.mark.parametrize("threads", [2, 4])
def test_threads(tenon, threads):
    folder = tenon.folder
    server = tenon.serve("tcp://127.0.0.1:0", "udp://127.0.0.1:0", f"unix:{folder}/stream",
                         f"unix-dgram:{folder}/dgram", f"unix-seqpacket:{folder}/packet",
                         options=["--threads", threads])
    groups = [[tenon.dial(url) for _ in range(60)] for url in server.urls]
    for group, handler in zip(groups, server.handlers):
        prefix = b"ack: " if handler == "ack" else b""
        for turn in range(5):
            for i, client in enumerate(group):
                client.send(b"%d from %d" % (turn, i))
            for i, client in enumerate(group):
                assert client.recv(100) == prefix + b"%d from %d" % (turn, i)
    for client in (groups[0][0], groups[0][-1], groups[2][0], groups[2][-1]):
        assert exchange(client, noise(5 * MIB)) == noise(5 * MIB)


@pytest.mark.parametrize("threads", [2, 4])
def test_threads_share_the_work(tenon, threads):
    """The kernel spreads the clients of TCP; those of Unix sockets are handed round: no loop is left without."""
    server = tenon.serve("tcp://127.0.0.1:0", f"unix:{tenon.folder}/sock", options=["--threads", threads])
    for url in server.urls:
        before = thread_times(server.pid)
        clients = [tenon.dial(url) for _ in range(100)]

        def all_have_worked():
            talk(clients, b"hello")
            now = thread_times(server.pid)
            return sum(now[task] > before.get(task, 0) for task in now) >= threads
        wait_until(all_have_worked, lambda: f"{threads} threads work: {before} {thread_times(server.pid)}")


def thread_times(pid):
    """Thread -> context switches: a thread that sleeps on has none."""
    found = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        text = (task / "status").read_text(encoding="utf-8")
        found[task.name] = sum(int(number) for number in re.findall(r"ctxt_switches:\s+(\d+)", text))
    return found


def test_threads_auto(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--threads", "auto"])
    assert exchange(tenon.dial(server.url), b"hello") == b"hello"


# Slow ones

def test_a_client_that_does_not_read_is_held_back_and_nobody_else(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    slow = tenon.dial(server.url, receive_buffer=16 * KIB)
    sent = send_until_stuck(slow)
    other = tenon.dial(server.url)
    assert exchange(other, noise(2 * MIB)) == noise(2 * MIB)
    # When it reads at last, nothing is missing
    assert receive_exactly(slow, len(sent)) == sent
    assert exchange(slow, b"awake") == b"awake"


def test_unix_clients_that_do_not_read_are_held_back_and_nobody_else(tenon):
    server = tenon.serve(f"unix:{tenon.folder}/stream", f"unix-seqpacket:{tenon.folder}/packet")
    slow = tenon.dial(server.urls[0])
    sent = send_until_stuck(slow)
    packets, other = tenon.dial(server.urls[1]), tenon.dial(server.urls[1])
    packets.setblocking(False)
    count = 0
    with contextlib.suppress(BlockingIOError):
        while count < 100000:
            packets.send(b"%6d" % count)
            count += 1
            time.sleep(0 if count % 100 else 0.002)
    packets.settimeout(LIMIT)
    other.send(b"hello")
    assert other.recv(100) == b"hello"
    assert exchange(tenon.dial(server.urls[0]), noise(MIB)) == noise(MIB)
    assert receive_exactly(slow, len(sent)) == sent
    assert [int(packets.recv(100)) for _ in range(count)] == list(range(count))


@pytest.mark.skipif(SANITIZED, reason="memory is not the command's own under a sanitizer")
def test_slow_clients_cost_bounded_memory(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    exchange(tenon.dial(server.url), noise(4 * MIB))
    before = resident_bytes(server.pid)
    slow = [tenon.dial(server.url, receive_buffer=16 * KIB) for _ in range(16)]
    for client in slow:
        send_until_stuck(client, quiet=0.05)
    # The mark is 128 KiB a connection, and a block or two beyond it
    assert resident_bytes(server.pid) - before < len(slow) * 512 * KIB
    assert exchange(tenon.dial(server.url), noise(MIB)) == noise(MIB)


@pytest.mark.skipif(SANITIZED, reason="memory is not the command's own under a sanitizer")
def test_chargen_costs_bounded_memory(tenon):
    """Nobody reads a source without end."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "chargen"])
    before = resident_bytes(server.pid)
    deaf = [tenon.dial(server.url, receive_buffer=16 * KIB) for _ in range(20)]
    time.sleep(0.3)
    assert resident_bytes(server.pid) - before < len(deaf) * 512 * KIB
    assert b"!" in receive_exactly(tenon.dial(server.url), 10000)


@pytest.mark.skipif(SANITIZED, reason="memory is not the command's own under a sanitizer")
def test_many_connections_leave_no_memory_behind(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")

    def crowd():
        clients = [open_socket(server.url) for _ in range(300)]
        talk(clients, b"hello")
        for client in clients:
            client.close()
        server.wait_for_rest()
    crowd()
    before = resident_bytes(server.pid)
    for _ in range(5):
        crowd()
    assert resident_bytes(server.pid) - before < 2 * MIB


# Rude ones

def test_resets_disturb_nobody(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    polite = tenon.dial(server.url)
    for i in range(150):
        rude = open_socket(server.url)
        if i % 3:
            rude.sendall(noise(100 * KIB) if i % 3 == 1 else b"bye")
        reset(rude)
        assert exchange(polite, b"hello %d" % i) == b"hello %d" % i


def test_a_reset_with_data_waiting_on_both_sides(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    for _ in range(5):
        rude = open_socket(server.url, receive_buffer=16 * KIB)
        send_until_stuck(rude, quiet=0.05)
        reset(rude)
    server.wait_for_rest()
    assert exchange(tenon.dial(server.url), b"hello") == b"hello"


def test_clients_that_close_without_reading(tenon):
    """The echo meets a closed socket: EPIPE or a reset, and never SIGPIPE."""
    server = tenon.serve("tcp://127.0.0.1:0", f"unix:{tenon.folder}/sock")
    for url in server.urls:
        for _ in range(50):
            with open_socket(url) as client:
                client.sendall(noise(50 * KIB))
    for url in server.urls:
        assert exchange(tenon.dial(url), b"hello") == b"hello"


def test_connections_that_say_nothing(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    for _ in range(200):
        open_socket(server.url).close()
    assert exchange(tenon.dial(server.url), b"hello") == b"hello"


def test_connections_reset_before_they_are_accepted(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    server.signal(signal.SIGSTOP)
    for _ in range(20):
        reset(open_socket(server.url))
    server.signal(signal.SIGCONT)
    assert exchange(tenon.dial(server.url), b"hello") == b"hello"


def test_garbage_is_echoed_like_anything(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", "udp://127.0.0.1:0", f"unix-seqpacket:{tenon.folder}/sock")
    for seed in range(20):
        data = noise(1 + seed * 700, seed)
        assert exchange(tenon.dial(server.urls[0]), data, finish=True) == data
        for url, wanted in ((server.urls[1], b"ack: " + data), (server.urls[2], data)):
            with open_socket(url) as client:
                client.send(data)
                assert client.recv(70000) == wanted


def test_urgent_data_harms_nobody(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    client = tenon.dial(server.url)
    client.send(b"!", socket.MSG_OOB)
    assert exchange(client, b"hello") == b"hello"  # what is urgent stands beside the stream, not in it
    assert exchange(tenon.dial(server.url), b"hello") == b"hello"


# Too many of them

@pytest.mark.parametrize("threads", [1, 2])
def test_out_of_descriptors(tenon, threads):
    """Those inside are served on, those outside wait, no CPU is burnt, and one who leaves makes room for one."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--threads", threads], preexec_fn=limit_files(40 + 10 * threads))
    inside = [tenon.dial(server.url) for _ in range(10)]
    talk(inside, b"in time")
    late = [tenon.dial(server.url) for _ in range(60)]
    talk(inside, b"still served")
    before = cpu_seconds(server.pid)
    time.sleep(0.5)
    if not SANITIZED:
        assert cpu_seconds(server.pid) - before < 0.15
    for client in late:
        client.sendall(b"?")
    time.sleep(0.2)
    served = []
    for client in late:
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            if client.recv(1):
                served.append(client)
        client.settimeout(LIMIT)
    assert 0 < len(served) < len(late)
    talk(inside, b"as before")
    waiting = [client for client in late if client not in served]
    # Who leaves makes room: in the end everybody has been inside
    for client in [*served, *inside]:
        client.close()
    for client in waiting:
        assert client.recv(1) == b"?"
        client.close()
    assert exchange(tenon.dial(server.url), b"hello") == b"hello"


def test_out_of_descriptors_is_told(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--json"], preexec_fn=limit_files(30))
    clients = [tenon.dial(server.url) for _ in range(40)]
    event = server.wait_for_event("trouble")
    assert "Too many open files" in event["error"] and event["url"] == server.url
    time.sleep(0.5)
    assert len([event for event in server.events if event["event"] == "trouble"]) <= 3
    for client in clients:
        client.close()


def test_max_conns_is_an_orderly_end_for_the_others(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--max-conns", 3])
    inside = [tenon.dial(server.url) for _ in range(3)]
    talk(inside, b"in time")
    for i in range(20):
        with open_socket(server.url) as late:
            if i % 2:
                late.sendall(b"please?")
            assert late.recv(100) == b""  # and no reset
    talk(inside, b"undisturbed")
    inside.pop().close()

    def let_in():
        client = tenon.dial(server.url)
        with contextlib.suppress(ConnectionError):
            client.sendall(b"now?")
            return client.recv(4) == b"now?"
        return False
    wait_until(let_in, "one who leaves makes room for one")


def test_max_conns_is_for_each_endpoint_and_over_all_threads(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", f"unix:{tenon.folder}/sock", options=["--max-conns", 4, "--threads", 2])
    for url in server.urls:
        inside = [tenon.dial(url) for _ in range(4)]
        talk(inside, b"in time")
        for _ in range(8):
            with open_socket(url) as late:
                assert late.recv(100) == b""
        talk(inside, b"undisturbed")


def test_idle_ends_those_who_say_nothing_and_nobody_else(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--idle", "1s"])
    silent, lively = tenon.dial(server.url), tenon.dial(server.url)
    exchange(silent, b"a word")
    silent.setblocking(False)
    deadline = time.monotonic() + LIMIT
    while True:
        assert exchange(lively, b"and another") == b"and another"
        with contextlib.suppress(BlockingIOError):
            assert silent.recv(10) == b""  # an orderly end, not a reset
            break
        assert time.monotonic() < deadline, "the silent client is kept"
        time.sleep(0.05)
    assert exchange(lively, b"goes on") == b"goes on"


def test_idle_knows_of_no_silence_while_the_server_stood_still(tenon):
    """What has come meanwhile lies unread: it counts before the deadline does."""
    server = tenon.serve("tcp://127.0.0.1:0?idle=500ms")
    client = tenon.dial(server.url)
    assert exchange(client, b"before") == b"before"
    server.signal(signal.SIGSTOP)
    client.sendall(b"meanwhile")
    time.sleep(0.8)
    server.signal(signal.SIGCONT)
    assert receive_exactly(client, 9) == b"meanwhile"


def test_idle_counts_what_goes_out_too(tenon):
    """A client that only listens, slowly, is not idle while it takes what it is sent."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "chargen", "--idle", "1s"])
    client = tenon.dial(server.url, receive_buffer=8 * KIB)
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        assert len(receive_exactly(client, 300 * KIB)) == 300 * KIB
        time.sleep(0.02)


@pytest.mark.skipif(SANITIZED, reason="under a sanitizer the CPU time is not the command's own")
def test_an_idle_server_uses_no_cpu(tenon):
    """Nor does one whose events go to a file, which is always ready."""
    server = tenon.serve("tcp://127.0.0.1:0", "udp://127.0.0.1:0", options=["--threads", 2, "--json"])
    clients = [tenon.dial(server.urls[0]) for _ in range(50)]
    talk(clients, b"hello")
    time.sleep(0.2)
    before = cpu_seconds(server.pid)
    time.sleep(1)
    assert cpu_seconds(server.pid) - before <= 0.05


def test_a_backlog_while_the_server_is_stopped(tenon):
    """A burst of connections is not refused: they wait in the backlog of 4096, or what the system makes of it."""
    server = tenon.serve("tcp://127.0.0.1:0")
    server.signal(signal.SIGSTOP)
    clients = [tenon.dial(server.url) for _ in range(300)]
    for client in clients:
        client.sendall(b"?")
    server.signal(signal.SIGCONT)
    for client in clients:
        assert client.recv(1) == b"?"


def test_stopping_and_continuing_harms_no_connection(tenon):
    """SIGSTOP and SIGCONT interrupt system calls, as a debugger or a suspended machine does."""
    server = tenon.serve("tcp://127.0.0.1:0")
    client = tenon.dial(server.url)
    for _ in range(20):
        server.signal(signal.SIGSTOP)
        server.signal(signal.SIGCONT)
        assert exchange(client, noise(10 * KIB)) == noise(10 * KIB)
