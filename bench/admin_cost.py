#!/usr/bin/env python3
"""What `--admin` costs a server.

    bench/admin_cost.py [--tenon COMMAND] [--pairs N] [--seconds N] [--conns N] [--sizes]

Throughput: pairs of runs of `tenon bench` (64 bytes, 64 connections) against one server, without and with an audience:
/metrics is scraped 10 times a second, and somebody looks at the page (its /events are read, /connections is asked for
as often as the page does). Promised: at most 1 % less, as the median of the pairs.

Size: what a scrape takes and weighs while 10,000 connections are open. Promised: at most 5 ms and 256 KiB. --sizes:
only this. Times are for a machine that has nothing else to do; sizes are the same on any.

The last line is the result as JSON.
"""
import argparse
import http.client
import json
import pathlib
import resource
import socket
import statistics
import subprocess
import sys
import threading
import time

SCRAPES = 50
PAGE_S = 2  # how often the page asks for the connections
KIB = 1024


class Server:
    """`tenon serve` with --admin."""

    def __init__(self, tenon):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.admin = free.getsockname()[1]
        self.popen = subprocess.Popen([tenon, "serve", "tcp://127.0.0.1:0", "--admin",
                                       f"http://127.0.0.1:{self.admin}"], stdout=subprocess.PIPE, text=True)
        self.url = self.popen.stdout.readline().split()[1]

    def port(self):
        return int(self.url.rsplit(":", 1)[1])

    def asker(self):
        return http.client.HTTPConnection("127.0.0.1", self.admin, timeout=30)

    def close(self):
        self.popen.terminate()
        self.popen.wait()
        self.popen.stdout.close()


def get(asker, path):
    asker.request("GET", path)
    return asker.getresponse().read()


class Audience:
    """Prometheus, ten times as eager as usual, and a browser."""

    def __init__(self, server):
        self.server, self.over, self.answers = server, threading.Event(), {"/metrics": 0, "/connections": 0}
        self.events = server.asker()
        self.threads = [threading.Thread(target=self.ask, args=args)
                        for args in (("/metrics", 0.1), ("/connections", PAGE_S))]
        self.threads.append(threading.Thread(target=self.read))
        for thread in self.threads:
            thread.start()

    def ask(self, path, every):
        asker, due = self.server.asker(), time.monotonic()
        while not self.over.wait(max(0, due - time.monotonic())):
            get(asker, path)
            self.answers[path] += 1
            due += every
        asker.close()

    def read(self):
        self.events.request("GET", "/events")
        self.events.sock.settimeout(0.2)
        while not self.over.is_set():
            try:
                if not self.events.sock.recv(1 << 16):
                    raise SystemExit("/events has ended")
            except TimeoutError:
                pass
        self.events.close()

    def leave(self):
        self.over.set()
        for thread in self.threads:
            thread.join()


def rate(args, server):
    done = subprocess.run([args.tenon, "bench", server.url, "--conns", "64", "--size", "64", "--warmup", "500ms",
                           "-d", f"{args.seconds}s", "--json", "-q"], stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])["rate"]


def throughput(args):
    server, losses = Server(args.tenon), []
    try:
        for pair in range(args.pairs):
            found = {}
            for watched in ((False, True) if pair % 2 else (True, False)):  # what drifts hits both
                audience = Audience(server) if watched else None
                found[watched] = rate(args, server)
                if audience:
                    audience.leave()
                    assert audience.answers["/metrics"] >= 5 * args.seconds, audience.answers
            losses.append(1 - found[True] / found[False])
            print(f"pair {pair + 1}: {found[False]:,.0f}/s alone, {found[True]:,.0f}/s watched: "
                  f"{100 * losses[-1]:+.2f} % lost", flush=True)
    finally:
        server.close()
    return {"lost": statistics.median(losses), "pairs": args.pairs}


def sizes(args):
    server, socks = Server(args.tenon), []
    try:
        while len(socks) < args.conns:
            socks.append(socket.create_connection(("127.0.0.1", server.port()), 30))
        asker, times = server.asker(), []
        while json.loads(get(asker, "/status"))["servers"][0]["open"] < args.conns:
            time.sleep(0.05)
        for _ in range(SCRAPES):
            begun = time.perf_counter()
            text = get(asker, "/metrics")
            times.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        listed = get(asker, "/connections")
        found = {"conns": args.conns, "scrape_bytes": len(text), "scrape_ms": 1000 * statistics.median(times),
                 "scrape_most_ms": 1000 * max(times), "connections_bytes": len(listed),
                 "connections_ms": 1000 * (time.perf_counter() - begun)}
        asker.close()
    finally:
        for sock in socks:
            sock.close()
        server.close()
    print(f"{args.conns:,} connections: a scrape has {found['scrape_bytes']:,} bytes in {found['scrape_ms']:.2f} ms "
          f"(at most {found['scrape_most_ms']:.2f}); their list {found['connections_bytes']:,} in "
          f"{found['connections_ms']:.0f} ms", flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tenon", default=str(pathlib.Path(__file__).resolve().parent.parent / "build" / "tenon"))
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--conns", type=int, default=10000)
    parser.add_argument("--sizes", action="store_true")
    args = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < args.conns + 100:
        raise SystemExit(f"{hard} descriptors are too few for {args.conns} connections")
    result = sizes(args)
    kept = result["scrape_bytes"] <= 256 * KIB
    if not args.sizes:
        result |= throughput(args)
        kept = kept and result["scrape_ms"] <= 5 and result["lost"] <= 0.01
    print(json.dumps(result))
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
