"""tenon serve --handler print: each message on standard output, with its sender; nobody is answered."""
import contextlib
import json
import re
import signal
import socket
import subprocess

import pytest

from harness import receive_to_end, wait_until

PRINT = ["--handler", "print"]


def test_print_of_datagrams_for_people(tenon):
    """What would command the terminal is shown; -v is not needed."""
    server = tenon.serve("udp://127.0.0.1:0", options=[*PRINT, "--threads", "1"])
    first, second = tenon.dial(server.url), tenon.dial(server.url)
    first.send(b"one\n")
    second.send("zw\u00f6lf".encode())
    first.send(b"a\nb\x1b[2J\0\xff")
    first.send(b"")
    server.wait_for_text(r"^message #\d+ \S+: $", "out")
    lines = [line.split(" ", 2)[2] for line in server.lines if line.startswith("message ")]
    one, two = (re.escape(f"127.0.0.1:{client.getsockname()[1]}") for client in (first, second))
    wanted = [rf"\S*{one}: one", rf"\S*{two}: zw\u00f6lf", rf"\S*{one}: a\\x0ab\\x1b\[2J\\x00\\xff", rf"\S*{one}: "]
    assert len(lines) == 4 and all(re.fullmatch(*pair) for pair in zip(wanted, lines)), lines


def test_print_of_controls_as_events(tenon):
    """What a terminal would obey is escaped, DEL too (RFC 8259 would not ask for that); all else stands as it is."""
    server = tenon.serve("tcp://127.0.0.1:0?frame=line", options=[*PRINT, "--json"])
    tenon.dial(server.url).sendall("~}\x7f\x1f\u00e9 \"\\\n".encode())
    server.wait_for_event("message")
    assert '"~}\\u007f\\u001f\u00e9 \\"\\\\"' in server.out.decode()


@pytest.mark.parametrize("handler", ["print", "count"])
def test_a_reader_of_what_is_shown_that_goes(tenon, handler):
    """Nobody would see any more of it: the server ends, as it does where connections are reported."""
    server = tenon.start("serve", "tcp://127.0.0.1:0", "--handler", handler, stdout=subprocess.PIPE)
    url = re.search(r"tcp://[0-9.:]+", server.popen.stdout.readline().decode())[0]
    server.popen.stdout.close()
    with contextlib.suppress(OSError), contextlib.closing(tenon.dial(url)) as client:
        client.sendall(b"words")
    server.wait()


def test_a_reader_of_what_is_shown_that_stops(tenon):
    """It holds up neither the clients nor a signal."""
    server = tenon.start("serve", "tcp://127.0.0.1:0?frame=line", "--handler", "print", "--threads", "1",
                         stdout=subprocess.PIPE)
    url = re.search(r"tcp://[0-9.:]+", server.popen.stdout.readline().decode())[0]
    client = tenon.dial(url)
    client.sendall((b"x" * 999 + b"\n") * 2000)
    client.shutdown(socket.SHUT_WR)
    assert receive_to_end(client) == b""
    server.signal(signal.SIGTERM)
    server.wait(None)


def test_print_of_lines_as_events(tenon):
    server = tenon.serve("tcp://127.0.0.1:0?frame=line", options=[*PRINT, "--json"])
    assert tenon.run("send", "--no-reply", f"{server.url.split('?')[0]}?frame=line", "one", "two").out == b""
    closed = server.wait_for_event("close")
    events = [event for event in server.events if event["event"] == "message"]
    assert [event["data"] for event in events] == ["one", "two"]
    assert {(event["id"], event["peer"]) for event in events} == {(closed["id"], closed["peer"])}


@pytest.mark.parametrize("form", ["cbor", "msgpack", "json"])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_print_of_a_format(tenon, form, options):
    """As JSON, whatever is on the wire."""
    keys = f"?frame=u16&format={form}"
    server = tenon.serve(f"tcp://127.0.0.1:0{keys}", options=[*PRINT, *options])
    tenon.run("send", "--no-reply", server.url.split("?")[0] + keys, '{"op":[1,null]}')
    if options:
        assert server.wait_for_event("message")["value"] == {"op": [1, None]}
    else:
        said = server.wait_for_text(r"^message #\d+ \S+: (.*)$", "out")[1]
        assert json.loads(said) == {"op": [1, None]}


def test_print_of_what_is_not_in_the_format(tenon):
    """It is told of as what it is, and not shown."""
    server = tenon.serve("tcp://127.0.0.1:0?frame=u16&format=cbor", options=[*PRINT, "--json"])
    client = tenon.dial(server.url.split("?")[0])
    client.sendall(b"\0\1\1" + b"\0\1\xff")
    assert server.wait_for_event("bad")["message"] == 2
    assert [event["value"] for event in server.events if event["event"] == "message"] == [1]


def test_print_of_a_long_message(tenon):
    """A line that is longer than what may wait comes whole."""
    server = tenon.serve("tcp://127.0.0.1:0?frame=u32&max=8MiB", options=PRINT)
    tenon.run("send", "--no-reply", f"{server.url}?frame=u32&max=8MiB", input=b"x" * (5 << 20))
    wait_until(lambda: any(len(line) > 5 << 20 for line in server.lines), "it is shown")
    server.stop()
    assert "dropped" not in server.err
