"""tenon bench: what it tells on the way, when it begins, several servers and sizes, and runs of several machines at one
time."""
import collections
import datetime
import json
import re
import socket
import time

import pytest

from harness import LIMIT, MIB, wait_until
from test_bench import bench, check, decode, schema  # noqa: F401 (schema is a fixture)

FAILED, USAGE, REFUSED = 1, 2, 4
one_engine = pytest.mark.parametrize("engine", ["auto"], indirect=True)


# What is told on the way

@one_engine
def test_lines_on_the_way(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    shown = tenon.run("bench", server.url, "--interval", "200ms", "--duration", "700ms", "--warmup", "0")
    lines = [line for line in shown.lines if re.match(r"^ +\d+\.\d\d-\d+\.\d\d +s ", line)]
    spans = [tuple(map(float, re.match(r" +([\d.]+)-([\d.]+)", line).groups())) for line in lines]
    assert 1 <= len(spans) <= 4 and spans[0][0] == 0
    assert all(one[1] == pytest.approx(two[0], abs=0.02) for one, two in zip(spans, spans[1:]))
    wanted = re.compile(r" [\d.]+[kM]?/s +[\d.]+ [KM]?i?B/s +[\d.]+ [kMG]?bit/s   p50 .+   p99 ")
    assert all(wanted.search(line) for line in lines)
    assert "\033" not in shown.err and re.search(r"^  payload .+ each way$", shown.text, re.M)


@one_engine
def test_intervals_of_a_length(tenon, schema):
    server = tenon.serve("tcp://127.0.0.1:0")
    result = bench(tenon, server.url, "--interval", "100ms", "--duration", "500ms", "--warmup", "0")
    check(schema, result)
    assert sum(part["seconds"] for part in result["intervals"]) == pytest.approx(result["duration_s"], rel=0.2)
    assert min(part["seconds"] for part in result["intervals"][:-1]) >= 0.0999
    assert all(part["bits_per_second"] == pytest.approx(8 * part["bytes"] / part["seconds"], rel=0.01)
               for part in result["intervals"])


# Time to think

@one_engine
def test_time_to_think(tenon, schema):
    """Each connection waits after each reply: so many messages cannot take less time."""
    server = tenon.serve("tcp://127.0.0.1:0")
    began = time.monotonic()
    result = bench(tenon, server.url, "--think", "20ms-30ms", "--requests", "10", "--conns", "2")
    check(schema, result)
    assert time.monotonic() - began >= 4 * 0.020 and result["messages"] == 10
    assert (result["setup"]["think_min_s"], result["setup"]["think_max_s"]) == (0.02, 0.03)


# When it begins

def stamp(utc):
    return datetime.datetime.fromtimestamp(utc, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@pytest.mark.parametrize("write", [stamp, lambda utc: f"{utc:.6f}",
                                   lambda utc: stamp(utc + 5400).replace("Z", "+01:30"),
                                   lambda utc: stamp(utc - 3600).replace("Z", "-01:00")])
@one_engine
def test_begins_at_a_time(tenon, schema, write):
    server = tenon.serve("tcp://127.0.0.1:0")
    at = time.time() + 2
    result = bench(tenon, server.url, "--start-at", write(at), "--requests", "20")
    check(schema, result)
    assert time.time() >= at and result["setup"]["start_at"][:26] == stamp(at)[:26]


@one_engine
def test_begins_late(tenon):
    """The connection is there some time after the run should have begun: how long is told."""
    proxy, at = tenon.listen(), time.time() + 2
    load = tenon.start("bench", f"tcp://127.0.0.1:1?via=http://127.0.0.1:{proxy.getsockname()[1]}", "--mode", "send",
                       "--start-at", stamp(at), "--requests", "5", "--json")
    sock = tenon.accept(proxy)
    while b"\r\n\r\n" not in sock.recv(4096, socket.MSG_PEEK):
        pass
    wait_until(lambda: time.time() > at, "it should have begun")
    sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    load.wait(0)
    late = re.search(r"the connections were open (\d+\.\d{3}) s after the time of --start-at", load.lines[-1])[1]
    assert 0 <= float(late) <= time.time() - at


@pytest.fixture
def together(tenon, tmp_path):
    """Two results of one time, and one of another."""
    server = tenon.serve("tcp://127.0.0.1:0")
    paths = []
    for ahead, names in ((1.5, ("a", "b")), (1, ("c",))):
        at = stamp(time.time() + ahead)
        runs = []
        for name in names:
            paths.append(tmp_path / f"{name}.json")
            runs.append(tenon.start("bench", server.url, "--start-at", at, "--rate", "400", "--duration", "300ms",
                                    "--warmup", "0", "--conns", "2", "--output", paths[-1]))
        for run in runs:
            run.wait(0, LIMIT)
    return paths


@one_engine
def test_merged_as_one_time(tenon, schema, together):
    """Rates add up, time does not; histograms are summed bin by bin, and percentiles are those of the sum."""
    a, b, c = (json.loads(path.read_text(encoding="utf-8")) for path in together)
    assert a["setup"]["start_at"] == b["setup"]["start_at"] < c["setup"]["start_at"]
    both = bench(tenon, "merge", *together[:2])
    check(schema, both)
    assert both["rounds"] == 1 and both["messages"] == a["messages"] + b["messages"]
    assert both["duration_s"] == max(a["duration_s"], b["duration_s"])
    assert both["rate"] == pytest.approx(both["messages"] / both["duration_s"], rel=1e-3)
    assert (both["setup"]["conns"], both["setup"]["rate"]) == (4, 800)
    assert decode(both["histograms"]["response"]["v2"]) == (
        collections.Counter(decode(a["histograms"]["response"]["v2"])) +
        collections.Counter(decode(b["histograms"]["response"]["v2"])))
    assert len(both["intervals"]) == max(len(a["intervals"]), len(b["intervals"])) and not both["stderr"]
    for order in (together, together[::-1], [together[0], together[2], together[1]]):
        every = bench(tenon, "merge", *order)
        check(schema, every)
        assert (every["rounds"], every["messages"]) == (2, both["messages"] + c["messages"])
        assert every["duration_s"] == pytest.approx(both["duration_s"] + c["duration_s"])


@one_engine
def test_what_is_merged_of_several_times_is_of_none(tenon, together, tmp_path):
    """Merged once more it is not taken for a run from another machine at the first of these times."""
    path = tmp_path / "sum.json"
    every = bench(tenon, "merge", *together, "--output", path)
    again = bench(tenon, "merge", path, together[0])
    assert "start_at" not in every["setup"] and again["rounds"] == 3
    assert again["setup"]["conns"] == every["setup"]["conns"]


@one_engine
def test_merged_from_two_hosts(tenon, together):
    other = json.loads(together[1].read_text(encoding="utf-8"))
    other["machine"]["host"] = "elsewhere"
    together[1].write_text(json.dumps(other), encoding="utf-8")
    both = bench(tenon, "merge", *together[:2])
    assert both["machine"]["host"].endswith(", elsewhere") and not both["stderr"]


@one_engine
def test_merged_from_many_times(tenon, tmp_path):
    server, paths = tenon.serve("tcp://127.0.0.1:0"), [tmp_path / f"{n}.json" for n in range(65)]
    result = bench(tenon, server.url, "--requests", "5")
    for n, path in enumerate(paths):
        result["setup"]["start_at"] = stamp(n)
        path.write_text(json.dumps(result), encoding="utf-8")
    assert bench(tenon, "merge", *paths[:64])["messages"] == 320
    assert "64.json: with it there are more than 64 times" in tenon.run("bench", "merge", *paths, status=FAILED).err


# Several servers

def test_several_servers(tenon, schema):
    """Each has its share of the connections, and its own figures, which add up."""
    server = tenon.serve("tcp://127.0.0.1:0", f"unix:{tenon.folder}/sock")
    result = bench(tenon, *server.urls, "--weights", "3,1", "--conns", "8", "--threads", "2", "--rate", "800",
                   "--requests", "400")
    check(schema, result)
    first, second = result["targets"]
    assert [target["url"] for target in result["targets"]] == server.urls
    assert (first["conns"], second["conns"], first["weight"], second["weight"]) == (6, 2, 3, 1)
    assert (first["messages"], second["messages"]) == (300, 100) and result["messages"] == 400
    assert first["bytes"] + second["bytes"] == result["bytes"] and first["errors"] == second["errors"] == 0
    assert max(first["latency_us"]["max"], second["latency_us"]["max"]) == result["latency_us"]["max"]
    assert result["setup"]["url"] == ", ".join(server.urls)


@one_engine
def test_a_server_of_several_that_is_gone(tenon, schema):
    """Its errors are its own."""
    server, gone = tenon.serve("tcp://127.0.0.1:0"), tenon.serve("tcp://127.0.0.1:0")
    load = tenon.start("bench", server.url, gone.url, "--rate", "200", "--duration", "1s", "--warmup", "0",
                       "--interval", "100ms", "--json")
    load.wait_for_text('"event":"interval"', "out")
    gone.kill()
    load.wait(1)
    result = json.loads(load.lines[-1])
    check(schema, result)
    assert result["targets"][0]["errors"] == 0 < result["targets"][1]["errors"]


@one_engine
def test_several_receivers(tenon, schema):
    """One way, as many connections as weights; what each says is summed."""
    server = tenon.serve("tcp://127.0.0.1:0", f"unix:{tenon.folder}/sock", options=["--handler", "count"])
    result = bench(tenon, *server.urls, "--mode", "one-way", "--weights", "2,1", "--rate", "900", "--requests", "90")
    check(schema, result)
    assert result["received"]["flows"] == 3 and result["received"]["messages"] == 90
    shares = [target["messages"] for target in result["targets"]]  # who is late while others are not sends fewer
    assert sum(shares) == 90 and 50 <= shares[0] <= 70


# Sizes

@pytest.mark.parametrize("size,wanted", [
    ("64", {64}), ("20-22", {20, 21, 22}), ("64@7,576@4,1500@1", {64, 576, 1500}), ("1KiB,2KiB", {1024, 2048}),
    ("exp:100", None)])
@one_engine
def test_sizes_that_are_drawn(tenon, schema, size, wanted):
    sock = tenon.listen(kind=socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * MIB)
    url = f"udp://127.0.0.1:{sock.getsockname()[1]}"
    result = bench(tenon, url, "--mode", "send", "--size", size, "--requests", "200", "--rate", "2000")
    check(schema, result)
    sizes = collections.Counter(len(sock.recv(65536)) for _ in range(200))
    assert sum(size * count for size, count in sizes.items()) == result["bytes"]
    if wanted:
        assert set(sizes) == wanted
        return
    assert 1 <= min(sizes) and max(sizes) <= 800 and 60 < result["bytes"] / 200 < 160 and len(sizes) > 60


@one_engine
def test_weights_of_sizes(tenon):
    sock = tenon.listen(kind=socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * MIB)
    bench(tenon, f"udp://127.0.0.1:{sock.getsockname()[1]}", "--mode", "send", "--size", "16@9,100@1", "--requests",
          "300", "--rate", "3000")
    sizes = collections.Counter(len(sock.recv(65536)) for _ in range(300))
    assert 5 < sizes[100] < 80 and sizes[16] + sizes[100] == 300


@one_engine
def test_messages_that_are_made(tenon):
    """tenon send --size: as many as wanted, each of its own size and contents."""
    server = tenon.serve("tcp://127.0.0.1:0?frame=u32", options=["--handler", "echo"])
    lines = tenon.run("send", f"{server.url}?frame=u32" if "?" not in server.url else server.url, "--size", "20-40",
                      "--count", "30").lines
    assert len(lines) == len(set(lines)) == 30 and len({len(line) for line in lines}) > 3
    assert all(re.fullmatch(r"[\w-]{20,40}", line) for line in lines)


@pytest.mark.parametrize("size", ["0", "x", "9-3", "1-", "-5", "64@", "64@0", "64@x", "64@1@2", "64,", ",64", "64,,5",
                                  "2GiB", "exp:", "exp:0", "exp:1GiB", "exp:-1", ",".join("1" * 17), "64@1000001", ""])
@one_engine
def test_sizes_that_are_wrong(tenon, size):
    for args in (["bench", "tcp://127.0.0.1:9"], ["send", "tcp://127.0.0.1:9"]):
        done = tenon.run(*args, "--size", size, status=USAGE)
        assert f"--size: '{size}' is not a size" in done.err and "exp:512" in done.err


@one_engine
def test_messages_that_cannot_be_made(tenon):
    for args, words in ((["--size", "5", "text"], "none is given"), (["--size", "200MiB", "--count", "2"], "256 MiB")):
        assert words in tenon.run("send", "tcp://127.0.0.1:9", *args, status=USAGE).err
    url = "tcp://127.0.0.1:9?frame=line&format=json"
    assert "format" in tenon.run("send", url, "--size", "5", status=USAGE).err


# The path

@one_engine
def test_the_path_is_shown(tenon, schema):
    server = tenon.serve("tcp://127.0.0.1:0", "udp://127.0.0.1:0", f"unix:{tenon.folder}/sock")
    tcp, udp, local = (bench(tenon, url, "--requests", "5") for url in server.urls)
    for result in (tcp, udp, local):
        check(schema, result)
    assert tcp["path"]["interface"] == udp["path"]["interface"] == "lo" and "path" not in local
    assert tcp["path"]["mtu"] == udp["path"]["mtu"] > tcp["path"]["mss"] > 500 and udp["path"]["mss"] is None
    assert isinstance(tcp["path"]["gso"], bool) and isinstance(tcp["path"]["gro"], bool)
    shown = tenon.run("bench", server.urls[0], "--requests", "5").text
    assert re.search(r"^  path +lo, MTU \d+, MSS \d+, TSO o\w+, GSO o\w+, GRO o\w+$", shown, re.M), shown


@one_engine
def test_an_address_that_no_interface_has(tenon, schema):
    """All of 127.0.0.0/8 may be bound to, though lo has one address alone."""
    server = tenon.serve("tcp://127.0.0.1:0")
    result = bench(tenon, f"{server.url}?bind=127.0.0.3", "--requests", "5")
    check(schema, result)
    assert result["path"]["interface"] is None and result["path"]["tso"] is None and result["path"]["mtu"] > 500


# What is wrong

@pytest.mark.parametrize("args,words", [
    (["--weights", "1,1"], "several URLs"), (["udp://h:1"], "cannot be loaded together"),
    (["tcp://h:1?frame=line"], "cannot be loaded together"), (["tcp://h:1?nodelya=1"], "nodelay"),
    (["tcp://h:1", "--weights", "1"], "one weight for each URL"),
    (["tcp://h:1", "--weights", "1,2,3"], "one weight for each URL"),
    (["tcp://h:1", "--weights", "0,1"], "--weights: '0,1'"), (["tcp://h:1", "--weights", "1,101"], "1 to 100"),
    (["tcp://h:1", "--weights", "1,x"], "1 to 100"), (["tcp://h:1", "--weights", "1x,1"], "1 to 100"),
    (["tcp://h:1", "--conns", "1"], "--conns: fewer"), (["tcp://h:1"] * 64, "64 URLs at most"),
    (["tcp://h:1", "--wieghts", "1,1"], "did you mean --weights"),
    (["--interval", "99ms"], "--interval"), (["--interval", "x"], "interval"),
    (["--think", "x"], "--think: 'x'"), (["--think", "0"], "--think"), (["--think", "20ms-10ms"], "--think"),
    (["--think", "1ms-"], "--think"), (["--think", "2h"], "--think"), (["--think", "1ms", "--rate", "5"], "--think"),
    (["--think", "1ms", "--mode", "send"], "--think"), (["--think", "1ms", "--depth", "2"], "--depth 1"),
    (["--think", "1ms", "--slo", "p99=1s"], "--think"), (["--thnk", "1ms"], "did you mean --think"),
    (["--start-at", "noon"], "--start-at: 'noon'"), (["--start-at", "2001-01-01T00:00:00Z"], "has passed"),
    (["--start-at", "1"], "has passed"), (["--start-at", "2199-01-01T00:00:00Z"], "more than a day"),
    (["--start-at", "99999999999"], "is not a time"), (["--start-at", "2199-02-30T00:00:00Z"], "is not a time"),
    (["--start-at", "2199-01-01T25:00:00Z"], "is not a time"), (["--start-at", "2199-01-01T00:00:00"], "is not a time"),
    (["--start-at", "2199-01-01T00:00:00+1:00"], "is not a time"), (["--start-at", "1.x"], "is not a time"),
    (["--start-at", "2199-01-01T00:00:00Zx"], "is not a time"), (["--start-at", ""], "is not a time"),
    (["--start-at", "9999999998", "--slo", "p99=1s"], "--start-at"), (["--statr-at", "1"], "did you mean --start-at")])
@one_engine
def test_bad_options(tenon, args, words):
    done = tenon.run("bench", "tcp://127.0.0.1:9", *args, status=USAGE)
    assert words in done.err and done.out == b""
