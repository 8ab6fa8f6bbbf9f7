"""tenon bench --mode one-way against serve --handler count: what both ends say, and that nobody else is answered."""
import json
import re
import signal
import socket

import pytest

from harness import LIMIT, ROOT, wait_until

FAILED, USAGE, TIMEOUT, REFUSED = 1, 2, 3, 4
COUNT = ["--handler", "count", "--json"]
SHORT = ["--duration", "300ms", "--warmup", "0"]
LADDER = ["p50", "p90", "p99", "p99.9", "max"]
DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
ASK = 512
one_engine = pytest.mark.parametrize("engine", ["auto"], indirect=True)


def digits(value, count):
    return "".join(DIGITS[value >> 6 * i & 63] for i in reversed(range(count)))


def head(kind, size, flow=1, number=0, sent=0):
    """By the description in tenon-bench(1), and by nothing of ours."""
    return f"tnb1{kind}{digits(size, 5)}{digits(flow, 8)}{digits(number, 8)}{digits(sent, 10)}"


def question(facts="", **how):
    return (head("q", ASK, **how) + facts).ljust(ASK).encode()


def message(size=100, **how):
    return head("d", size, **how).ljust(size, "x").encode()


def facts_of(answer):
    assert len(answer) == ASK and answer[:5] == b"tnb1r", answer
    return dict((name, int(value)) for name, value in
                (fact.split("=") for fact in answer[36:].decode().split()))


@pytest.fixture(scope="session")
def grammar():
    validator = pytest.importorskip("jsonschema")
    return validator.Draft7Validator(json.loads((ROOT / "docs/bench-result.schema.json").read_text(encoding="utf-8")))


@pytest.fixture
def oneway(tenon, grammar):
    """oneway(URL, options...): the result of a run, valid by its grammar."""
    def run(url, *options, **how):
        done = tenon.run("bench", url, "--mode", "one-way", "--json", *options, limit=3 * LIMIT, **how)
        result = json.loads(done.lines[-1])
        grammar.validate(result)
        assert result["setup"]["mode"] == "one-way" and result["errors"] == 0, result["errors_by_kind"]
        return result
    return run


# What both ends say

@pytest.mark.parametrize("url,keys", [
    ("tcp://127.0.0.1:0", ""), ("tcp://127.0.0.1:0", "frame=u32"), ("tcp://127.0.0.1:0", "frame=line"),
    ("tcp://127.0.0.1:0", "frame=fixed:512"), ("ws://127.0.0.1:0/", ""), ("unix:{}/sock", ""),
    ("unix-seqpacket:{}/sock", ""), ("unix-dgram:{}/sock", "")])
def test_all_that_was_sent_has_come(tenon, oneway, url, keys):
    url = f"{url.format(tenon.folder)}{'?' if keys else ''}{keys}"
    server = tenon.serve(url, options=COUNT)
    dialled = server.url.split("?")[0] + ("?" if keys else "") + keys
    result = oneway(dialled, "--requests", "300", "--size", "512", "--rate", "3k")
    received = result["received"]
    assert (received["flows"], received["silent"]) == (1, 0)
    assert received["sent"] == received["messages"] == result["sent"] == result["messages"] == 300
    assert received["bytes"] == result["bytes"] == 300 * 512
    assert received["bits_per_second"] == pytest.approx(8 * received["bytes_per_second"])
    assert (received["duplicates"], received["reordered"]) == (0, 0)
    told = server.wait_for_event("flow")
    assert (told["messages"], told["bytes"], told["sent"], told["lost"]) == (300, 300 * 512, 300, 0)
    assert told["time"] > server.wait_for_event("listening")["time"]
    assert [told[name] for name in ("duplicates", "reordered", "jitter_us", "latency_us")] == [
        pytest.approx(received[name]) for name in ("duplicates", "reordered", "jitter_us", "latency_us")]


def test_secured(tenon, oneway, authority, trusted):
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}",
                         f"dtls://127.0.0.1:0?{authority.pair('server')}", options=COUNT)
    for url in server.urls:
        result = oneway(f"{url.split('?')[0]}?{trusted}", "--requests", "200", "--rate", "2k")
        assert result["received"]["messages"] == 200


def test_many_connections(tenon, oneway):
    """Each is a flow of its own; sizes differ; what warms up is not counted."""
    server = tenon.serve("tcp://127.0.0.1:0", options=COUNT)
    result = oneway(server.url, "--conns", "5", "--threads", "2", "--size", "36-3000", "--duration", "300ms",
                    "--warmup", "100ms")
    received = result["received"]
    assert (received["flows"], received["messages"], received["bytes"]) == (5, result["sent"], result["bytes"])
    flows = wait_until(lambda: len(found := [event for event in server.events if event["event"] == "flow"]) == 5
                       and found, "each flow is told")
    assert sum(flow["messages"] for flow in flows) == received["messages"]
    assert len({flow["peer"] for flow in flows}) == 5


@one_engine
def test_one_way_latency_on_one_machine(tenon, oneway):
    server = tenon.serve("tcp://127.0.0.1:0", options=COUNT)
    received = oneway(server.url, "--rate", "1k", "--requests", "200")["received"]
    steps = [received["latency_us"][name] for name in LADDER]
    assert received["timed"] == 200 and steps == sorted(steps) and steps[0] > 0


@pytest.fixture
def lossy(network, nft):
    """A network whose kernel drops exactly every twentieth datagram of 100 bytes."""
    nft(network, """table inet bad {
        chain in {
            type filter hook input priority 0
            udp length 108 numgen inc mod 20 == 0 counter drop
        }
    }
    """)
    return network


@one_engine
def test_loss_as_iperf3_counts_it(tenon, oneway, lossy, program):
    """Both within a thousandth of what the kernel really drops."""
    iperf3 = program("iperf3")
    peer = tenon.peer(iperf3, "-s", "-1", "-p", "5201", "--forceflush", preexec_fn=lossy.enter)
    peer.wait_for_text("listening", "out")
    done = tenon.finish([iperf3, "-c", "127.0.0.1", "-u", "-l", "100", "-k", "2000", "-b", "4M", "-J"],
                        preexec_fn=lossy.enter)
    theirs = json.loads(done.text)["end"]["sum"]["lost_percent"]
    server = tenon.serve("udp://127.0.0.1:0?rcvbuf=4MiB", options=COUNT, preexec_fn=lossy.enter)
    result = oneway(server.url, "--size", "100", "--rate", "5k", "--requests", "2000", preexec_fn=lossy.enter)
    ours = 100 * result["datagrams"]["lost"] / result["sent"]
    assert abs(ours - 5) <= 0.1 and abs(ours - theirs) <= 0.1, (ours, theirs)


@one_engine
def test_a_twentieth_is_lost(tenon, oneway, lossy, nft):
    """The receiver, the sender and the kernel agree."""
    network = lossy
    server = tenon.serve("udp://127.0.0.1:0?rcvbuf=4MiB", options=COUNT, preexec_fn=network.enter)
    result = oneway(server.url, "--size", "100", "--rate", "4k", "--requests", "2000", preexec_fn=network.enter)
    assert result["datagrams"] == {"lost": 100, "duplicates": 0, "reordered": 0, "late": 0}
    assert (result["sent"], result["received"]["messages"]) == (2000, 1900)
    told = server.wait_for_event("flow")
    assert (told["sent"], told["messages"], told["lost"]) == (2000, 1900, 100)
    assert "packets 100 " in nft(network, "list ruleset")


@one_engine
def test_shown(tenon):
    server = tenon.serve("udp://127.0.0.1:0?rcvbuf=4MiB", options=COUNT[:2])
    shown = tenon.run("bench", server.url, "--mode", "one-way", "--rate", "500", "--requests", "100").text
    assert re.search(r"^  received +100 messages, .+/s, [\d.]+ [kM]?bit/s$", shown, re.M), shown
    assert re.search(r"^  lost +0 of 100 sent", shown, re.M) and re.search(r"^  jitter ", shown, re.M)
    assert re.search(r"^  one way +p50 .+, p99\.9 .+, max ", shown, re.M)
    server.wait_for_text(r"^flow #\d+ 127\.0\.0\.1:\d+: 100 messages, 6400 bytes in \d{1,2}\.\d{3} s, "
                         r".+bit/s, 0 of 100 lost, "
                         r"0 duplicates, 0 reordered, jitter [\d.]+ [um]s, p99 [\d.]+ [um]s$", "out")


# Who does not answer

@pytest.mark.parametrize("url,handler", [("udp://127.0.0.1:0", "discard"), ("tcp://127.0.0.1:0", "discard"),
                                         ("udp://127.0.0.1:0", "ack"), ("tcp://127.0.0.1:0", "echo"),
                                         ("tcp://127.0.0.1:0", "exec:dd bs=512 count=1 of=/dev/null status=none")])
@one_engine
def test_no_such_receiver(tenon, url, handler):
    server = tenon.serve(url, options=["--handler", handler])
    server.untidy = handler.startswith("exec:")
    done = tenon.run("bench", server.url, "--mode", "one-way", "--timeout", "300ms", status=TIMEOUT)
    assert "serve --handler count" in done.err and done.out == b""


@one_engine
def test_a_receiver_that_goes(tenon):
    """Flows that nobody answers in the end are errors, and their messages not taken for lost."""
    server = tenon.serve("tcp://127.0.0.1:0", options=COUNT)
    load = tenon.start("bench", server.url, "--mode", "one-way", "--rate", "200", "--duration", "60s", "--warmup", "0",
                       "--timeout", "200ms", "--json")
    server.wait_for_event("open")
    load.wait_for_text('"event":"interval"', "out")
    server.untidy = True
    server.stop()
    load.signal(signal.SIGINT)
    load.wait(FAILED)
    result = json.loads(load.lines[-1])
    assert result["received"]["silent"] == result["received"]["flows"] == 1 and result["received"]["sent"] == 0
    assert "the receiver did not say what has come" in result["errors_by_kind"]


# The answers

@one_engine
def test_an_answer_is_as_long_as_its_question(tenon):
    server = tenon.serve("udp://127.0.0.1:0", options=COUNT)
    client = tenon.dial(server.url)
    for data in (message(flow=7), head("r", ASK).ljust(ASK).encode(), question(flow=7)[:-1], question() + b" ",
                 question().replace(b"tnb1", b"tnb2"), question("sent=x"), question("sent=-1"), b"tnb1", b""):
        client.send(data)
    client.send(question("sent=1", flow=7, number=9))
    answer = client.recv(2000)
    assert answer[:36].decode() == head("r", ASK, flow=7, number=9) and facts_of(answer) == {"sent": 1}
    client.send(message(flow=7, number=3))
    client.send(message(flow=7, number=2))
    client.send(message(flow=7, number=2))
    client.send(message(flow=8, number=1))
    client.send(question("sent=5 last=1", flow=7, number=10))
    facts = facts_of(client.recv(2000))
    assert (facts["messages"], facts["duplicates"], facts["reordered"], facts["bytes"]) == (2, 1, 1, 200)
    assert "timed" not in facts, "the clock was not told"
    told = server.wait_for_event("flow")
    assert (told["sent"], told["lost"], told["latency_us"]) == (5, 3, None)
    client.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.recv(2000)


@one_engine
def test_flows_of_strangers_are_bounded(tenon):
    """More flows than it keeps: those that are not silent stay, and the others get no answer."""
    server = tenon.serve("udp://127.0.0.1:0", options=[*COUNT, "--threads", "1"])
    client = tenon.dial(server.url)
    answered = set()
    for begin in range(1, 601, 50):
        for flow in range(begin, begin + 50):
            client.send(question(flow=flow * 131))
        client.send(question(flow=0, number=begin))
        while (answer := client.recv(2000))[:26] != head("r", ASK, flow=0, number=begin)[:26].encode():
            answered.add(answer[10:18])
    assert 8 <= len(answered) < 256


@one_engine
def test_a_stream_in_pieces(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=COUNT)
    client = tenon.dial(server.url)
    for byte in question() + message(number=0) + message(50, number=1) + question("last=1 sent=2"):
        client.sendall(bytes([byte]))
    answers = b""
    while len(answers) < 2 * ASK:
        answers += client.recv(2000)
    assert facts_of(answers[ASK:])["bytes"] == 150 and server.wait_for_event("flow")["messages"] == 2


@one_engine
def test_what_is_no_flow_is_counted_as_ever(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=COUNT)
    for text in (b"tnb", b"tnb1" + b"x" * 700, message(), question()[:-1]):
        client = tenon.dial(server.url)
        client.sendall(text)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1000) == b""
    bytes_of = wait_until(lambda: len(found := [event["bytes"] for event in server.events
                                                if event["event"] == "count"]) == 4 and found, "each is told")
    assert sorted(bytes_of) == [3, 100, 511, 704]


# What does not go together

@pytest.mark.parametrize("args,words", [
    (["--size", "35"], "36 bytes"), (["--size", "8-100"], "36 bytes"), (["--payload", "x"], "--payload"),
    (["--expect", "any"], "--expect"), (["--depth", "2"], "--depth"), (["--slo", "p99=1s"], "--slo"),
    (["--mode", "oneway"], "did you mean one-way?"), (["--mode", "bth"], "did you mean both?")])
@one_engine
def test_bad_options(tenon, args, words):
    mode = [] if "--mode" in args else ["--mode", "one-way"]
    done = tenon.run("bench", "udp://127.0.0.1:9", *mode, *args, status=USAGE)
    assert words in done.err and done.out == b""


@one_engine
def test_endpoints_without_room(tenon):
    server = tenon.serve("tcp://127.0.0.1:0?frame=u8", options=COUNT)
    url = server.url.split("?")[0]
    assert "format json" in tenon.run("bench", f"{url}?frame=line&format=json", "--mode", "one-way",
                                      status=FAILED).err
    assert "tenon:" in tenon.run("bench", f"{url}?frame=u8", "--mode", "one-way", *SHORT, status=REFUSED).err


# Both ways at once

@one_engine
def test_both(tenon, grammar):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "chargen"])
    result = json.loads(tenon.run("bench", server.url, "--mode", "both", "--size", "4KiB", *SHORT, "--json").lines[-1])
    grammar.validate(result)
    assert result["errors"] == 0 and result["bytes"] > 0 and result["received_bytes"] > 0
    shown = tenon.run("bench", server.url, "--mode", "both", "--size", "4KiB", *SHORT).text
    assert re.search(r"^  payload .+, .+bit/s$", shown, re.M) and re.search(r"^  back .+, .+bit/s$", shown, re.M)
