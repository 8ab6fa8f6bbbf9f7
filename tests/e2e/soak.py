#!/usr/bin/env python3
"""One server under a modest load of every kind for a long time: `make soak MINUTES=30`. Nothing may grow.

    tests/e2e/soak.py --minutes 30 [--crowd 15000] [--engine uring]

The load is tenon bench at fixed rates, and clients of Python's that come, speak and go. Once a second the server's own
memory (RssAnon) and its descriptors are read from /proc. What is judged: the slope of that memory after the warm-up,
the descriptors that are left, errors of any kind, the end. Status 0: all is well. test_soak.py runs a slice of it.
"""
import argparse
import json
import math
import os
import pathlib
import random
import re
import signal
import sys
import tempfile
import threading
import time

from harness import KIB, LIMIT, MIB, Tenon, descriptors_of, exchange, noise, open_socket

SLOPE_LIMIT = 1.0  # MiB an hour
JUDGED = 600  # seconds after the warm-up, less than which say nothing about an hour

# Name, the server's endpoint by its number, keys of the client's URL, options of tenon bench
LOADS = [
    ("plain", 0, "", "--conns 16 --rate 400 --size 16-16KiB"),
    ("framed", 1, "frame=u32&format=json", "--conns 8 --rate 300 --size 300"),
    ("TLS", 2, "ca={ca}", "--conns 4 --rate 200 --size 16-4KiB"),
    ("UDP", 3, "", "--conns 4 --rate 200 --size 16-1KiB"),
    ("connects", 0, "", "--mode connect --conns 4 --rate 40"),
    ("handshakes", 2, "ca={ca}", "--mode connect --conns 2 --rate 4"),
]
VISITS_A_SECOND = 10


def memory_of(pid):
    """Bytes of its own: pages of files come and go as the system likes."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(r"^RssAnon:\s+(\d+) kB", text, re.M).group(1)) * KIB


class Visitors(threading.Thread):
    """Clients that connect, say something, hear it and leave in good order, one after another."""

    def __init__(self, url):
        super().__init__(daemon=True)
        self.url, self.over, self.visits, self.errors = url, threading.Event(), 0, []

    def run(self):
        choose = random.Random(1)
        while not self.over.wait(1 / VISITS_A_SECOND):
            said = noise(choose.randrange(1, 20000), self.visits)
            try:
                with open_socket(self.url) as visitor:
                    if exchange(visitor, said, finish=True) != said:
                        self.errors.append("another reply than what was said")
            except (OSError, AssertionError) as error:
                self.errors.append(str(error))
            self.visits += 1

    def stop(self):
        self.over.set()
        self.join(2 * LIMIT)


class Load:
    """A tenon bench in the background, and what it found."""

    def __init__(self, tenon, name, url, options, seconds):
        self.name, self.file, self.seconds = name, tenon.folder / f"{name}.json", seconds
        self.process = tenon.start("bench", url, *options.split(), "--duration", f"{seconds}s", "--warmup", "0",
                                   "--quiet", "--output", self.file)

    def result(self):
        self.process.wait(None, self.seconds + 2 * LIMIT)
        if not self.file.exists():
            return {"messages": 0, "errors": 1, "errors_by_kind": {self.process.err.strip() or "no result": 1}}
        return json.loads(self.file.read_text(encoding="utf-8").splitlines()[-1])


def line_through(samples):
    """The slope of a straight line through (seconds, bytes), and half the width of the 95 % in which it lies, in MiB an
    hour. Of the means of twenty stretches: neighbours in time are too much alike to count each for itself."""
    size = max(1, len(samples) // 20)
    means = [[sum(axis) / len(part) for axis in zip(*part)]
             for part in (samples[i:i + size] for i in range(0, len(samples) - size + 1, size))]
    n = len(means)
    if n < 3:
        return 0, math.inf
    x, y = (sum(axis) / n for axis in zip(*means))
    width = sum((t - x) ** 2 for t, _ in means)
    slope = sum((t - x) * (m - y) for t, m in means) / width
    left = sum((m - y - slope * (t - x)) ** 2 for t, m in means)
    student = 1.96 + 2.6 / (n - 2)
    return slope * 3600 / MIB, student * math.sqrt(left / (n - 2) / width) * 3600 / MIB


class Soak:
    """One run: .rows and .lines for people, .failures for the verdict."""

    def __init__(self, tenon, seconds):
        self.tenon, self.seconds, self.warmup = tenon, seconds, min(300, seconds / 4)
        self.rows, self.lines, self.failures, self.samples, self.bytes_each = [], [], [], [], 0
        tenon.run("cert", "new", "--out", tenon.folder / "certs")
        certs = tenon.folder / "certs"
        self.ca = certs / "ca.pem"
        self.server = tenon.serve("tcp://127.0.0.1:0", "tcp://127.0.0.1:0?frame=u32&format=json",
                                  f"tls://127.0.0.1:0?cert={certs}/server.pem&key={certs}/server.key",
                                  "udp://127.0.0.1:0")
        self.urls = [url.partition("?")[0] for url in self.server.urls]

    def fail(self, text):
        self.failures.append(text)

    def loads(self, seconds, change=lambda options: options):
        urls = [f"{self.urls[to]}?{keys.format(ca=self.ca)}".rstrip("?") for _, to, keys, _ in LOADS]
        return [Load(self.tenon, load[0], url, change(load[3]), seconds) for load, url in zip(LOADS, urls)]

    def fill_pools(self, seconds):
        """As much as goes, for a moment: a server keeps blocks for what it once needed at a time, and a crowded machine
        lets a modest load need more now and then. That is a step, and no slope."""
        def as_much_as_goes(options):
            return re.sub(r"--rate \d+", "" if "connect" in options else "--depth 32", options)
        for load in self.loads(seconds, as_much_as_goes):
            result = load.result()
            if result["errors"]:
                self.fail(f"{load.name}, at first: {result['errors']} errors: {list(result['errors_by_kind'])[:3]}")

    def load(self):
        visitors, began = Visitors(self.urls[0]), time.monotonic()
        loads = self.loads(self.seconds)
        visitors.start()
        while (at := time.monotonic() - began) < self.seconds and not self.server.is_over():
            self.samples.append((at, memory_of(self.server.pid), len(descriptors_of(self.server.pid))))
            time.sleep(min(1, self.seconds / 20))
        visitors.stop()
        for load in loads:
            self.count(load)
        self.rows.append(("visits", visitors.visits, len(visitors.errors), 0))
        self.failures += [f"visits: {error}" for error in visitors.errors[:3]]

    def count(self, load):
        result = load.result()
        kinds = result["errors_by_kind"]
        self.rows.append((load.name, result["messages"], result["errors"], result.get("datagrams", {}).get("lost", 0)))
        if result["errors"]:
            self.fail(f"{load.name}: {result['errors']} errors: {', '.join(list(kinds)[:3])}")
        if not result["messages"]:
            self.fail(f"{load.name}: no message")

    def judge_memory(self):
        warm = [(at, memory) for at, memory, _ in self.samples if at >= self.warmup]
        if len(warm) < 3:
            return self.fail("too few samples of the server's memory: did it end?")
        slope, give = line_through(warm)
        quarters = [warm[len(warm) * i // 4:len(warm) * (i + 1) // 4] for i in range(4)]
        self.lines.append(f"memory       {warm[0][1] / MIB:.2f} MiB after {self.warmup:.0f} s, "
                          f"{warm[-1][1] / MIB:.2f} MiB at the end; slope {slope:+.3f} MiB an hour, 95 %: "
                          f"+- {give:.3f}")
        self.lines.append("             in each quarter: "
                          + ", ".join(f"{sum(m for _, m in q) / len(q) / MIB:.3f} MiB" for q in quarters if q))
        if self.seconds - self.warmup < JUDGED:
            self.lines.append(f"             not judged: that takes {JUDGED} s after the warm-up")
        elif slope + give >= SLOPE_LIMIT:
            self.fail(f"memory grows, or may grow, by {SLOPE_LIMIT} MiB an hour")
        return None

    def judge_rest(self):
        """All clients are gone: what do they leave?"""
        try:
            self.server.wait_for_rest()
        except AssertionError as error:
            self.fail(str(error))
        most = max((count for _, _, count in self.samples), default=0)
        self.lines.append(f"descriptors  {len(self.server.at_rest)} at first, {most} at most, "
                          f"{len(descriptors_of(self.server.pid))} at the end")

    def crowd(self, count):
        """So many connections at a time, each of which speaks twice."""
        before = memory_of(self.server.pid)
        load = Load(self.tenon, "crowd", self.urls[0], f"--conns {count} --requests {2 * count} --rate {count}",
                    2 * LIMIT)
        at_once = most = 0
        while not load.process.is_over():
            at_once = max(at_once, len(descriptors_of(self.server.pid)) - len(self.server.at_rest))
            most = max(most, memory_of(self.server.pid))
            time.sleep(0.1)
        self.count(load)
        self.bytes_each = (most - before) / count
        self.lines.append(f"crowd        {at_once} connections at a time, "
                          f"{self.bytes_each:.0f} bytes of memory for each")
        if at_once < count:
            self.fail(f"crowd: {at_once} at a time, not {count}")
        self.judge_rest()

    def end(self):
        began = time.monotonic()
        try:
            self.server.stop()
            self.lines.append(f"end          status 0, {time.monotonic() - began:.2f} s after SIGTERM")
        except AssertionError as error:
            self.fail(f"end: {error}")
        # Clients that come for a handshake leave with a reset, which may overtake the last of it. At full speed, in the
        # first minute, datagrams get lost
        expected = re.compile(r"handshake: Connection reset by peer( \(suppressed: \d+\))?$|datagrams were lost so "
                              r"far: ")
        words = [line for line in self.server.err.splitlines() if not expected.search(line)]
        if words:
            self.fail(f"the server complained {len(words)} times: {words[0]}")

    def table(self):
        rows = [("load", "messages", "errors", "lost"), *self.rows]
        return "\n".join([*("{:<12} {:>12} {:>8} {:>8}".format(*row) for row in rows), "", *self.lines,
                          *(f"FAILED       {text}" for text in self.failures),
                          f"verdict      {'failed' if self.failures else 'passed'}"])


def soak(tenon, seconds, crowd=0):
    run = Soak(tenon, seconds)
    run.fill_pools(min(60, max(1, seconds // 10)))
    run.load()
    run.judge_memory()
    run.judge_rest()
    if crowd:
        run.crowd(crowd)
    run.end()
    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--crowd", type=int, default=15000, help="connections at a time, after the rest; 0: none")
    parser.add_argument("--engine", default="auto")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"soak: {args.minutes:g} minutes, engine {args.engine}, load average {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory(prefix="tenon-soak-") as folder:
        tenon = Tenon(folder, args.engine)
        try:
            run = soak(tenon, args.minutes * 60, args.crowd)
        finally:
            tenon.close()
    print(run.table(), flush=True)
    return 1 if run.failures else 0


if __name__ == "__main__":
    sys.exit(main())
