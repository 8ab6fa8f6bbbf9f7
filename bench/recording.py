#!/usr/bin/env python3
"""What --tee, --record, replay and --chaos cost and do.

    bench/recording.py [--tenon COMMAND] [--pairs N] [--seconds N] [--messages N] [--only NAME]...

tee, record: pairs of runs of `tenon bench` through a relay that copies what it passes (--rate-in far above what there
is), and through one with the option: 64 B x 64 and 64 KiB x 16. Promised: at least 0.85 of the rate, and at most 1.3 of
the p99. (A relay with --tee alone copies what clients say, and need not copy what targets answer.)
tcpdump: packets a second that --record writes beside `tcpdump -w` of the same traffic (needs root), 0 lost.
replay: N recorded messages (1,000,000) at their times: p99 of how late they are said, at most 1 ms; and --closed:
at least 0.8 of `tenon bench` on the same server.
chaos: latency=10ms gives 10 ms +- 0.2 ms at p50, bandwidth within 2 %, loss=5 % of 100,000 datagrams within 0.3 %, and
the same seed the same run.

Times are for a machine that has nothing else to do. The last line is the result as JSON.
"""
import argparse
import contextlib
import hashlib
import json
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time

SHAPES = {"64Bx64": ["--size", "64", "--conns", "64"], "64KiBx16": ["--size", "64KiB", "--conns", "16"]}
COPIES = ["--rate-in", "100GiB", "--rate-out", "100GiB"]  # no splice(2)


class Bench:
    def __init__(self, args):
        self.args, self.stack = args, contextlib.ExitStack()
        self.folder = pathlib.Path(self.stack.enter_context(tempfile.TemporaryDirectory()))

    def start(self, *words):
        """A server of tenon's, which is ended with end(); with its URL."""
        errors = (self.folder / "errors").open("w+")
        popen = subprocess.Popen([self.args.tenon, *words], stdout=subprocess.PIPE, stderr=errors, text=True)
        popen.errors = errors
        popen.first = popen.stdout.readline()
        popen.url = popen.first.split()[1] if not popen.first.startswith("{") else json.loads(popen.first)["url"]
        return popen

    def end(self, popen):
        popen.send_signal(signal.SIGTERM)
        popen.rest = popen.communicate()[0]
        popen.errors.seek(0)
        said = popen.errors.read()
        popen.errors.close()
        return said

    def bench(self, url, *words):
        done = subprocess.run([self.args.tenon, "bench", url, *words, "--json", "-q"], stdout=subprocess.PIPE,
                              text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])

    def timed(self, url, *words):
        return self.bench(url, "--warmup", "500ms", "-d", f"{self.args.seconds}s", *words)


def p99(result):
    return result["service_us"]["p99"]


def pairs(b, name, options):
    """Ratios of rate and p99 with the options to those of a relay that copies, as medians."""
    found = {}
    for shape, words in SHAPES.items():
        rates, tails, lost = [], [], 0
        server = b.start("serve", "tcp://127.0.0.1:0", "--handler", "echo")
        for pair in range(b.args.pairs):
            run = {}
            for wanted in ((False, True) if pair % 2 else (True, False)):  # what drifts hits both
                relay = b.start("relay", "tcp://127.0.0.1:0", server.url, *(options() if wanted else COPIES))
                run[wanted] = b.timed(relay.url, *words)
                said = b.end(relay)
                lost += wanted and ("are not in it" in said or " dropped" in said and ", 0 dropped" not in said)
            rates.append(run[True]["rate"] / run[False]["rate"])
            tails.append(p99(run[True]) / p99(run[False]))
        b.end(server)
        found[shape] = {"rate": statistics.median(rates), "p99": statistics.median(tails), "runs_with_loss": int(lost)}
        print(f"{name} {shape}: {found[shape]['rate']:.3f} of the rate (>= 0.85), {found[shape]['p99']:.2f} of the p99 "
              f"(<= 1.3), {lost} runs in which something was lost", flush=True)
    return found


def tee(b):
    shadow = b.start("serve", "tcp://127.0.0.1:0", "--handler", "discard")
    found = pairs(b, "tee", lambda: ["--tee", shadow.url])
    b.end(shadow)
    return found


def record(b):
    return pairs(b, "record", lambda: [*COPIES, "--record", b.folder / "r.pcapng", "--record-memory", "256MiB"])


def written(said):
    match = re.search(r"(\d+) of (\d+) packets are not in it", said)
    return int(match[1]) if match else 0


def tcpdump(b):
    """Packets a second that reach the disk: of --record, and of tcpdump beside a relay that does not record."""
    if not shutil.which("tcpdump"):
        return {"left_out": "tcpdump is not installed"}
    server = b.start("serve", "tcp://127.0.0.1:0", "--handler", "echo")
    relay = b.start("relay", "tcp://127.0.0.1:0", server.url, *COPIES, "-v", "--record", b.folder / "r.pcapng",
                    "--record-memory", "256MiB")
    b.timed(relay.url, *SHAPES["64Bx64"])
    said = b.end(relay)
    count = re.search(r"(\d+) packets of \d+ sessions", said)
    lost = written(said)
    ours = int(count[1]) if count else int(re.search(r"of (\d+) packets", said)[1]) - lost
    relay = b.start("relay", "tcp://127.0.0.1:0", server.url, *COPIES)
    port = relay.url.rsplit(":", 1)[1]
    dump = subprocess.Popen(["tcpdump", "-i", "lo", "-B", "65536", "-w", b.folder / "t.pcap", "tcp", "port", port],
                            stderr=subprocess.PIPE, text=True)
    time.sleep(1)
    b.timed(relay.url, *SHAPES["64Bx64"])
    dump.send_signal(signal.SIGINT)
    told = dump.communicate()[1]
    b.end(relay)
    b.end(server)
    theirs = int(re.search(r"(\d+) packets? captured", told)[1])
    dropped = int(re.search(r"(\d+) packets? dropped by kernel", told)[1])
    seconds = b.args.seconds + 0.5
    print(f"record: {ours / seconds:,.0f} packets/s, {lost} lost; tcpdump -w: {theirs / seconds:,.0f}/s, "
          f"{dropped} lost", flush=True)
    return {"record": ours / seconds, "lost": lost, "tcpdump": theirs / seconds, "tcpdump_lost": dropped}


def replay(b):
    server = b.start("serve", "tcp://127.0.0.1:0?frame=u32", "--handler", "echo")
    relay = b.start("relay", "tcp://127.0.0.1:0?frame=u32", f"{server.url}?frame=u32", "--record",
                    b.folder / "r.pcapng", "--record-memory", "512MiB")
    b.bench(f"{relay.url}?frame=u32", "--conns", "16", "--rate", "50k", "-n", str(b.args.messages), "--size", "64")
    lost = written(b.end(relay))
    url, results = f"{server.url}?frame=u32", {}
    for name, words in (("timed", []), ("closed", ["--closed"])):
        done = subprocess.run([b.args.tenon, "replay", b.folder / "r.pcapng", url, *words, "--memory", "4GiB",
                               "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        results[name] = json.loads(done.stdout.splitlines()[-1])
    direct = b.timed(url, "--size", "64", "--conns", "16")
    b.end(server)
    late, ratio = results["timed"]["late_us"]["p99"], results["closed"]["rate"] / direct["rate"]
    print(f"replay: {late} us late at p99 (<= 1000); closed: {ratio:.2f} of tenon bench (>= 0.8); {lost} not recorded",
          flush=True)
    return {"late_p99_us": late, "closed": ratio, "not_recorded": lost}


def answers(b, spec, count):
    """Of so many datagrams: how many --chaos has lost, others have lost (this machine), and a sum of what came."""
    server = b.start("serve", "udp://127.0.0.1:0?rcvbuf=4MiB", "--handler", "echo")
    relay = b.start("relay", "udp://127.0.0.1:0?rcvbuf=4MiB", server.url, "--json", "--chaos", spec)
    host, port = relay.url[6:].rsplit(":", 1)
    digest = hashlib.sha256()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        client.connect((host, int(port)))
        for first in range(0, count, 100):  # in bunches that no queue is too short for
            for n in range(first, first + 100):
                client.send(b"%08d" % n)
            wait = 1 if first + 100 >= count else 0.01
            client.settimeout(wait)
            with contextlib.suppress(BlockingIOError, TimeoutError):
                while True:
                    digest.update(client.recv(100))
            client.settimeout(1)
    b.end(relay)
    b.end(server)
    session = next(event for event in map(json.loads, relay.rest.splitlines()) if event["event"] == "session")
    lost = session["chaos"]["lost"]
    return lost, count - lost - session["messages_out"], digest.digest()


def chaos(b):
    server = b.start("serve", "tcp://127.0.0.1:0", "--handler", "echo")
    relay = b.start("relay", "tcp://127.0.0.1:0", server.url, "--chaos", "up.latency=10ms")
    plain = b.start("relay", "tcp://127.0.0.1:0", server.url)
    late = b.timed(relay.url)["service_us"]["p50"] - b.timed(plain.url)["service_us"]["p50"]
    b.end(relay)
    relay = b.start("relay", "tcp://127.0.0.1:0", server.url, "--chaos", "up.bandwidth=10MiB")
    rate = b.timed(relay.url, "--mode", "request", "--size", "64KiB", "--depth", "4")["bytes_per_second"]
    b.end(relay)
    b.end(plain)
    b.end(server)
    lost, others, first = answers(b, "up.loss=5%,seed=1", 100000)
    again, others_again, second = answers(b, "up.loss=5%,seed=1", 100000)
    same = lost == again and (first == second or others + others_again > 0)
    print(f"chaos: latency=10ms gives {late / 1000:.2f} ms; bandwidth=10MiB {rate / (10 << 20):.3f} of it; loss=5% "
          f"{lost / 1000:.2f} %; the same seed: {same}; lost by this machine: {others}, {others_again}", flush=True)
    return {"latency_us": late, "bandwidth": rate / (10 << 20), "loss": lost / 100000, "same": same,
            "lost_here": others + others_again}


PARTS = {"tee": tee, "record": record, "tcpdump": tcpdump, "replay": replay, "chaos": chaos}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tenon", default=str(pathlib.Path(__file__).resolve().parent.parent / "build" / "tenon"))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=1000000)
    parser.add_argument("--only", action="append", choices=PARTS)
    bench = Bench(parser.parse_args())
    with bench.stack:
        result = {name: part(bench) for name, part in PARTS.items() if name in (bench.args.only or PARTS)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
