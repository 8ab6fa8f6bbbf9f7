"""tenon relay --chaos: faults of sessions."""
import contextlib
import signal
import socket
import time

import pytest

from harness import KIB, MIB, exchange, noise, receive_exactly, receive_to_end, receive_to_reset, wait_until

USAGE = 2


@pytest.fixture
def server(tenon):
    return tenon.serve("tcp://127.0.0.1:0", "udp://127.0.0.1:0", "tcp://127.0.0.1:0?frame=line",
                       options=["--json", "--handler", "echo"])


def urls(server):
    return [event["url"] for event in server.events if event["event"] == "listening"]


def faulty(tenon, server, *specs, listen="tcp://127.0.0.1:0", target=0, options=()):
    target = urls(server)[target] + ("?frame=line" if "frame=line" in listen else "")
    chaos = [word for spec in specs for word in ("--chaos", spec)]
    return tenon.relay(listen, target, options=["--json", "--idle", "300ms", *chaos, *options])


def test_latency_goes_both_ways(tenon, server):
    relay = faulty(tenon, server, "latency=50ms")
    client = tenon.dial(relay.url)
    began = time.monotonic()
    client.sendall(b"x")
    assert receive_exactly(client, 1) == b"x"
    assert time.monotonic() - began >= 0.1  # never less than was asked for; more is up to the machine


@pytest.mark.parametrize("spec", ["latency=1ms,jitter=1ms", "slice=1000,slice-jitter=900", "bandwidth=100MiB",
                                  "slow-close=1ms", "up.latency=1ms", "latency=1ms,first=0"])
@pytest.mark.parametrize("listen", ["tcp://127.0.0.1:0", "unix:{}/listen"])
def test_bytes_stay_what_they_are(tenon, server, spec, listen):
    relay = faulty(tenon, server, spec, listen=listen.format(tenon.folder))
    data = noise(300 * KIB)
    assert exchange(tenon.dial(relay.url), data, finish=True) == data
    assert relay.wait_for_event("session")["ended_by"] == "client"


@pytest.mark.parametrize("spec", ["up.latency=1ms", "down.latency=1ms", "slice=60000"])
@pytest.mark.parametrize("target", ["unix", "shm"])
def test_more_than_all_queues_hold(tenon, target, spec):
    """A server that echoes does not read while its answers are not read: neither side may wait for the other."""
    server = tenon.serve(f"{target}:{tenon.folder}/echo")
    relay = tenon.relay("tcp://127.0.0.1:0", server.url, options=["--chaos", spec])
    data = noise(4 * MIB)
    assert exchange(tenon.dial(relay.url), data, finish=True) == data


def test_through_tls(tenon, server, authority, trusted):
    relay = faulty(tenon, server, "latency=2ms,slice=100", listen=f"tls://127.0.0.1:0?{authority.pair('server')}")
    assert tenon.run("connect", f"{relay.url}?{trusted}", input=b"z" * 20000).out == b"z" * 20000


def test_limit(tenon, server):
    relay = faulty(tenon, server, "down.limit=1000")
    client = tenon.dial(relay.url)
    client.sendall(b"x" * 5000)
    assert len(receive_to_end(client)) == 1000
    assert relay.wait_for_event("session")["ended_by"] == "relay"


def test_reset_after(tenon, server):
    relay = faulty(tenon, server, "reset-after=1000")
    client = tenon.dial(relay.url)
    client.sendall(b"x" * 5000)
    receive_to_reset(client)
    assert "--chaos" in relay.wait_for_event("session", ended_by="relay", reason="reset")["error"]


def test_reset_in_time(tenon, server):
    """Also when nothing ever comes."""
    relay = faulty(tenon, server, "reset=50ms")
    assert receive_to_reset(tenon.dial(relay.url)) == b""


def test_timeout(tenon, server):
    """It accepts, says nothing, and closes."""
    relay = faulty(tenon, server, "timeout=100ms")
    client = tenon.dial(relay.url)
    client.sendall(b"hello")
    assert receive_to_end(client) == b""


def test_a_timeout_of_nothing_ends_with_both_sides(tenon):
    listener = tenon.listen()
    relay = tenon.relay("tcp://127.0.0.1:0", "tcp://127.0.0.1:%d" % listener.getsockname()[1],
                        options=["--json", "--chaos", "timeout=0"])
    client = tenon.dial(relay.url)
    target = tenon.accept(listener)
    client.sendall(b"lost")
    client.shutdown(socket.SHUT_WR)
    target.shutdown(socket.SHUT_WR)
    assert (receive_to_end(client), receive_to_end(target)) == (b"", b"")
    relay.wait_for_event("session")


def test_refusal_of_the_first(tenon, server):
    relay = faulty(tenon, server, "refuse,first=2")
    for _ in range(2):
        with contextlib.suppress(ConnectionResetError):
            assert receive_to_reset(tenon.dial(relay.url)) == b""
    assert exchange(tenon.dial(relay.url), b"hi", finish=True) == b"hi"
    wait_until(lambda: sum("refused by --chaos" in (event.get("error") or "") for event in relay.events) == 2,
               "both refusals are told")


def test_the_chance_is_what_it_says(tenon, server):
    """5 % of 100,000 datagrams, to 0.3 points. A Unix socket loses none before they are at the relay."""
    place = tenon.folder / "in"
    relay = faulty(tenon, server, "up.loss=5%,seed=1", listen=f"unix-dgram:{place}", target=1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.bind("")  # of its own, so that it is a session
        client.connect(str(place))
        for _ in range(100000):
            client.send(b"x")
        session = relay.wait_for_event("session")
    assert session["messages_in"] == 100000
    assert 4700 <= session["chaos"]["lost"] <= 5300


def start_faults(tenon, listen, target, *specs):
    chaos = [word for spec in specs for word in ("--chaos", spec)]
    return tenon.relay(listen, target, options=["--json", "--idle", "600ms", *chaos])


def outcome(relay):
    """The event of the session without its times and addresses."""
    event = relay.wait_for_event("session")
    return {key: event[key] for key in ("messages_in", "messages_out", "bytes_in", "chaos", "ended_by", "reason")}


ALL = "up.loss=5%,up.duplicate=5%,up.corrupt=10%,up.corrupt-bits=3,seed=5"
SOME = "up.latency=1ms,up.jitter=1ms,up.bandwidth=1MiB,probability=50%,messages=200,seed=6"


def test_a_seed_repeats_a_run_of_messages(tenon):
    """Byte for byte, and event for event."""
    runs = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as target:
            url = f"tcp://127.0.0.1:{target.getsockname()[1]}?frame=line"
            relay = start_faults(tenon, "tcp://127.0.0.1:0?frame=line", url, ALL + ",up.reorder=10%", SOME)
            with contextlib.closing(tenon.dial(relay.url.partition("?")[0])) as client:
                client.sendall(b"".join(b"message %03d\n" % number for number in range(300)))
                client.shutdown(socket.SHUT_WR)
                with contextlib.closing(target.accept()[0]) as conn:
                    heard = receive_to_end(conn)
            runs.append((outcome(relay), heard))
    assert runs[0] == runs[1]
    assert min(runs[0][0]["chaos"].values()) > 0 and len(runs[0][1]) > 3000


def test_a_seed_repeats_a_run_of_datagrams(tenon):
    """The same; a Unix socket loses none before they are at the relay."""
    runs = []
    for number in range(2):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as target, \
             socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            target.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 400000)
            target.bind(("127.0.0.1", 0))
            place, heard = f"{tenon.folder}/in{number}", []
            relay = start_faults(tenon, f"unix-dgram:{place}", f"udp://127.0.0.1:{target.getsockname()[1]}", ALL, SOME)
            client.bind("")  # of its own, so that it is a session
            client.connect(place)
            for message in range(300):
                client.send(b"message %03d" % message)
            event = outcome(relay)
            target.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    heard.append(target.recv(100))
            runs.append((event, heard))
    assert runs[0] == runs[1] and runs[0][0]["messages_in"] == 300 and len(runs[0][1]) > 250


def test_datagrams_are_doubled_and_damaged(tenon, server):
    relay = faulty(tenon, server, "up.duplicate=100%", "down.corrupt=100%,down.corrupt-bits=1",
                   listen="udp://127.0.0.1:0", target=1)
    client = tenon.dial(relay.url)
    client.send(b"aaaa")
    for _ in range(2):
        got = client.recv(100)
        assert sum((a ^ b).bit_count() for a, b in zip(got, b"aaaa")) == 1
    chaos = relay.wait_for_event("session")["chaos"]
    assert (chaos["duplicated"], chaos["corrupted"]) == (1, 2)


def test_messages_are_reordered(tenon, server):
    relay = faulty(tenon, server, "up.reorder=100%,messages=1", listen="tcp://127.0.0.1:0?frame=line", target=2)
    client = tenon.dial(relay.url)
    client.sendall(b"one\ntwo\nthree\n")
    assert receive_exactly(client, 14) == b"two\none\nthree\n"


def test_a_script(tenon, server):
    (tenon.folder / "script").write_text("# refused for a while\n0s refuse\n500ms off\n")
    relay = tenon.relay("tcp://127.0.0.1:0", urls(server)[0],
                        options=["--json", "--chaos-script", f"{tenon.folder}/script"])

    def answers():
        with contextlib.suppress(OSError):
            client = tenon.dial(relay.url)
            client.sendall(b"x")
            return client.recv(1) == b"x"
        return False
    wait_until(answers, "the refusals are over")
    wait_until(lambda: any(event.get("reason") == "end" for event in relay.events) or answers(), "it goes on")


def test_a_script_reaches_sessions_that_are_open(tenon, server):
    (tenon.folder / "script").write_text("0s off\n300ms reset=0s\n")
    relay = tenon.relay("tcp://127.0.0.1:0", urls(server)[0],
                        options=["--json", "--chaos-script", f"{tenon.folder}/script"])
    client = tenon.dial(relay.url)
    assert receive_to_reset(client) == b""


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_script_reaches_both_directions(tenon, server, direction):
    (tenon.folder / "script").write_text(f"0s off\n100ms {direction}.limit=5\n")
    relay = tenon.relay("tcp://127.0.0.1:0", urls(server)[0],
                        options=["--json", "--chaos-script", f"{tenon.folder}/script"])
    client = tenon.dial(relay.url)
    with contextlib.suppress(ConnectionError):
        while True:
            client.sendall(b"x")
            if not client.recv(1):
                break


@pytest.mark.parametrize("listen, spec, words", [
    ("tcp://127.0.0.1:0", "latenzy=1ms", "byte 0: unknown key 'latenzy': did you mean latency?"),
    ("tcp://127.0.0.1:0", "seed=1,loss=2", "byte 7: loss=2 is more than 100%"),
    ("tcp://127.0.0.1:0", "up.refuse", "refuse is about sessions"),
    ("tcp://127.0.0.1:0", "seed=1,latency=1ms,latency=2ms", "byte 19: latency is given twice"),
    ("tcp://127.0.0.1:0", "up.latency=1ms,latency=2ms", "byte 15: latency is given twice"),
    ("tcp://127.0.0.1:0", "refuse,refuse", "byte 7: refuse is given twice"),
    ("tcp://127.0.0.1:0", "loss=1%", "loss has no effect on tcp://127.0.0.1:0, which carries a stream of bytes"),
    ("udp://127.0.0.1:0", "refuse", "refuse has no effect on udp://127.0.0.1:0, which carries datagrams"),
    ("tcp://127.0.0.1:0?frame=line", "slice=4", "slice has no effect on"),
])
def test_bad_specs(tenon, listen, spec, words):
    target = listen.replace(":0", ":1")
    assert words in tenon.run("relay", listen, target, "--chaos", spec, status=USAGE).err


@pytest.mark.parametrize("text, words", [
    ("latency=1ms\n", ":1: byte 0: a line begins with a time"),
    ("0s latency=1ms\n1s seed=1,latenzy=1\n", ":2: byte 10: unknown key 'latenzy'"),
    ("5s off\n1s off\n", ":2: byte 0: the time is before"),
    ("0s repeat\n", ":1: byte 0: repeat needs a time"),
    ("1s loss=1%\n", "loss has no effect on"),
    ("1s off\n2s repeat\n3s refuse\n", ":3: byte 0: the line above begins anew"),
    ("# nothing\n", "script: it holds no line"),
    ("0s off\0refuse\n", ":1: byte 6: a zero byte"),
])
def test_bad_scripts(tenon, text, words):
    (tenon.folder / "script").write_text(text)
    assert words in tenon.run("relay", "tcp://127.0.0.1:0", "tcp://127.0.0.1:1", "--chaos-script",
                              f"{tenon.folder}/script", status=USAGE).err


def test_a_folder_is_no_script(tenon):
    assert "s a directory" in tenon.run("relay", "tcp://127.0.0.1:0", "tcp://127.0.0.1:1", "--chaos-script",
                                        str(tenon.folder), status=USAGE).err


def test_what_is_late_still_comes_when_the_relay_ends(tenon):
    """The session was taken for an idle one: it was closed in good order, and what waited was dropped."""
    listener = tenon.listen()
    relay = tenon.relay("tcp://127.0.0.1:0", f"tcp://127.0.0.1:{listener.getsockname()[1]}",
                        options=["--chaos", "latency=3s", "--drain", "20s"])
    relay.untidy = True  # the session is there while it ends
    client = tenon.dial(relay.url)
    client.sendall(b"late")
    client.shutdown(socket.SHUT_WR)
    target, _ = listener.accept()
    with target:
        relay.signal(signal.SIGTERM)
        assert receive_to_end(target) == b"late"
    client.close()
    relay.wait(0)


def test_a_rate_does_not_go_on_where_too_much_waits(tenon, server):
    """--rate-in resumed, at each tick, a client that --chaos had stopped reading."""
    relay = tenon.relay("tcp://127.0.0.1:0?rcvbuf=64KiB", urls(server)[0],
                        options=["--chaos", "latency=1h,slice=1", "--rate-in", "64KiB", "--drain", "1ms"])
    relay.untidy = True  # it does not read its client, so it does not hear of its end
    client = tenon.dial(relay.url)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 << 10)
    client.settimeout(2)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < 1 << 20:
            sent += client.send(bytes(4096))
    assert sent < 1 << 20
    relay.stop()


def test_the_seed_is_told(tenon, server):
    relay = faulty(tenon, server, "latency=1ms")
    relay.wait_for_text(r"chaos: seed=\d+ would repeat this run")


def test_formats_are_changed_in_front_of_faults(tenon):
    server = tenon.serve("tcp://127.0.0.1:0?frame=u32&format=cbor", options=["--handler", "echo"])
    relay = tenon.relay("tcp://127.0.0.1:0?frame=line&format=json", f"{server.url}?frame=u32&format=cbor",
                        options=["--json", "--chaos", "latency=5ms"])
    assert exchange(tenon.dial(relay.url), b'{"a":[1]}\nnonsense\n', finish=True).splitlines()[-1] == b'{"a":[1]}'


def test_websocket_keeps_its_kinds(tenon):
    server = tenon.serve("ws://127.0.0.1:0", options=["--handler", "echo"])
    relay = tenon.relay("ws://127.0.0.1:0", server.url, options=["--json", "--chaos", "latency=5ms"])
    assert tenon.run("send", f"{relay.url}?kind=binary", "one", "two").text == "one\ntwo\n"
