"""What a server tells: lines for people, and the same as JSON for programs."""
import json
import os
import re
import signal
import subprocess

from harness import (KIB, dial_when_served, environment, exchange, noise, open_socket, receive_exactly, receive_to_end, reset,
                     send_until_stuck, wait_until)
from system import limit_files

NUMBER = (int, float)


def test_one_line_for_each_listener(tenon):
    folder = tenon.folder
    server = tenon.serve("tcp://127.0.0.1:0", "udp://[::1]:0", f"unix:{folder}/a", f"unix-dgram:{folder}/b",
                         f"unix-seqpacket:{folder}/c", "mptcp://127.0.0.1:0")
    ports = r"listening tcp://127\.0\.0\.1:\d+ \(echo\)\nlistening udp://\[::1\]:\d+ \(ack\)\n"
    paths = "".join(f"listening {scheme}:{folder}/{name} \\({handler}\\)\n" for scheme, name, handler in
                    (("unix", "a", "echo"), ("unix-dgram", "b", "ack"), ("unix-seqpacket", "c", "echo")))
    assert re.fullmatch(ports + paths + r"listening mptcp://127\.0\.0\.1:\d+ \(echo\)\n", server.out.decode())
    exchange(tenon.dial(server.url), b"hello")
    server.untidy = True
    server.stop()
    assert len(server.lines) == 6, "connections are told only when asked for"
    assert server.err == ""


def test_json_tells_a_connections_life(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--json"])
    assert server.events == [{"event": "listening", "url": server.url, "handler": "echo"}]
    client = open_socket(server.url)
    peer = f"tcp://127.0.0.1:{client.getsockname()[1]}"
    opened = server.wait_for_event("open", peer=peer)
    assert opened["url"] == server.url
    assert exchange(client, noise(100 * KIB)) == noise(100 * KIB)
    client.close()
    closed = server.wait_for_event("close", peer=peer)
    assert closed["id"] == opened["id"]
    assert closed["bytes_in"] == closed["bytes_out"] == 100 * KIB
    assert closed["reason"] == "end" and closed["error"] is None
    assert isinstance(closed["duration_ms"], NUMBER) and closed["duration_ms"] >= 0
    server.stop()
    events = server.events
    assert [event["event"] for event in events] == ["listening", "open", "close", "stopped"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["time"]) for event in events[1:])


def test_json_is_one_object_a_line_whatever_happens(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", "udp://127.0.0.1:0", f'unix:{tenon.folder}/a"b\\c%0ad%ffe',
                         options=["--json", "--threads", 2, "--max-conns", 60])
    assert server.events[2]["url"].startswith(f'unix:{tenon.folder}/a%22b%5cc%0ad')
    path = os.fsencode(tenon.folder) + b'/a"b\\c\nd\xffe'
    import socket
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(path)
        assert exchange(client, b"hello") == b"hello"
    for i in range(100):
        client = open_socket(server.url)
        client.sendall(noise(100))
        if i % 2:
            reset(client)
        else:
            assert receive_exactly(client, 100) == noise(100)
            client.close()
    crowd = [tenon.dial(server.url) for _ in range(70)]
    assert len([client for client in crowd if not ended(client)]) <= 60
    for client in crowd:
        client.close()
    server.stop()
    events = server.events
    opened = [event["id"] for event in events if event["event"] == "open"]
    closed = [event["id"] for event in events if event["event"] == "close"]
    assert len(set(opened)) == len(opened) and sorted(opened) == sorted(closed)
    assert {event["event"] for event in events} == {"listening", "open", "close", "trouble", "datagrams", "stopped"}
    assert events[-1]["event"] == "stopped"
    for number in set(opened):
        names = [event["event"] for event in events if event.get("id") == number]
        assert names == ["open", "close"]


def ended(client):
    client.settimeout(0.02)
    try:
        return client.recv(1) == b""
    except TimeoutError:
        return False


def test_json_says_why_connections_end(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--json", "--idle", "300ms", "--drain", "200ms"])
    with open_socket(server.url) as silent:
        assert silent.recv(1) == b""
    assert server.wait_for_event("close", reason="idle")["error"]
    rude = open_socket(server.url)
    send_until_stuck(rude, quiet=0.02)
    reset(rude)
    assert "reset" in server.wait_for_event("close", reason="reset")["error"].lower()


def test_json_tells_of_clients_that_are_refused(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--json", "--max-conns", 1])
    inside = tenon.dial(server.url)
    assert exchange(inside, b"hello") == b"hello"
    with open_socket(server.url) as late:
        assert late.recv(1) == b""
    event = server.wait_for_event("trouble", reason="limit")
    assert event["url"] == server.url
    inside.close()


def test_json_of_datagrams(tenon):
    server = tenon.serve("udp://127.0.0.1:0", options=["--json"])
    client = tenon.dial(server.url)
    for _ in range(7):
        client.send(b"hello")
        client.recv(100)
    server.stop()
    event = server.events[1]
    assert (event["event"], event["url"]) == ("datagrams", server.url)
    assert (event["messages_in"], event["messages_out"]) == (7, 7)
    assert (event["bytes_in"], event["bytes_out"], event["lost"]) == (35, 70, 0)


def test_lines_for_people(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["-v"])
    client = open_socket(server.url)
    peer = f"127.0.0.1:{client.getsockname()[1]}"
    assert exchange(client, b"hello") == b"hello"
    client.close()
    wait_until(lambda: len(server.lines) == 3, lambda: server.lines)
    assert re.fullmatch(rf"open #1 \S*{re.escape(peer)} on {re.escape(server.url)}", server.lines[1])
    assert re.fullmatch(rf"close #1 \S*{re.escape(peer)}: 5 bytes in, 5 out, [\d.]+ s, end", server.lines[2])


def test_unix_peers_have_names_in_the_events(tenon):
    server = tenon.serve(f"unix:{tenon.folder}/sock", options=["--json"])
    with open_socket(server.url) as client:
        exchange(client, b"hello")
    event = server.wait_for_event("open")
    assert event["url"] == server.url and isinstance(event["peer"], str)


def test_a_reader_that_does_not_read_holds_up_nobody(tenon):
    """The events go to a pipe that nobody empties: clients do not notice."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb"), os.fdopen(writing, "wb") as pipe:
        process = tenon.start("serve", f"unix:{tenon.folder}/sock", "--json", stdout=pipe)
        dial_when_served(f"unix:{tenon.folder}/sock").close()
        for i in range(1500):
            with open_socket(f"unix:{tenon.folder}/sock") as client:
                assert exchange(client, b"%d" % i) == b"%d" % i
        process.signal(signal.SIGTERM)
        process.wait(None)


def test_a_reader_that_goes_away_ends_the_server(tenon):
    """`tenon serve --json | head -1`: quietly, and with nothing left."""
    argv = tenon.argv("serve", "tcp://127.0.0.1:0", f"unix:{tenon.folder}/sock", "--json")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        lines = [json.loads(process.stdout.readline()) for _ in range(2)]
        assert [line["event"] for line in lines] == ["listening"] * 2
        process.stdout.close()
        with open_socket(lines[0]["url"]) as client:
            client.sendall(b"hello")
            assert receive_exactly(client, 5) == b"hello"
        process.wait(20)
        assert process.stderr.read() == b""
        process.stderr.close()


def test_a_plain_servers_reader_may_go_away(tenon):
    """Without events there is nothing more to tell, so the server serves on."""
    argv = tenon.argv("serve", "tcp://127.0.0.1:0")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment()) as process:
        url = process.stdout.readline().split()[1].decode()
        process.stdout.close()
        for _ in range(3):
            with open_socket(url) as client:
                assert exchange(client, b"hello", finish=True) == b"hello"
        process.terminate()
        assert process.wait(20) == 0


def test_quiet_is_quiet(tenon):
    process = tenon.start("serve", f"unix:{tenon.folder}/sock", "-q")
    with dial_when_served(f"unix:{tenon.folder}/sock") as client:
        assert exchange(client, b"hello") == b"hello"
    process.signal(signal.SIGTERM)
    process.wait(0)
    assert process.err == ""


def test_out_of_descriptors_in_words_for_people(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", preexec_fn=limit_files(30))
    clients = [tenon.dial(server.url) for _ in range(40)]
    wait_until(lambda: "Too many open files" in server.err, lambda: server.err)
    for client in clients:
        client.close()
    assert receive_to_end is not None
