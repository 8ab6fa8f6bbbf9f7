#!/usr/bin/env python3
"""Is a server process fast or slow for its whole life? Several are up at once and loaded in turns, so that what changes
with time changes all of them, and what belongs to a process stays with it.

    bench/alike.py [--processes 8] [--rounds 7] [--messages 20000] [--url udp://127.0.0.1:0] [--tenon build/tenon]

Prints each process's CPU for a message, by rounds, and two spreads: that of the processes' medians, and what it would
be if they were alike.
"""
import argparse
import json
import os
import re
import statistics
import subprocess


def cpu_ns(pid):
    """Nanoseconds that all threads of a process have run."""
    tasks = f"/proc/{pid}/task"
    return sum(int(open(f"{tasks}/{task}/schedstat", encoding="ascii").read().split()[0]) for task in os.listdir(tasks))


def start(args):
    server = subprocess.Popen(["taskset", "-c", "0", args.tenon, "serve", "--json", f"{args.url}?spin=0"],
                              stdout=subprocess.PIPE, text=True)
    return server, re.search(r'"url":"([^"?]+)', server.stdout.readline())[1]


def load(args, url):
    """Messages that were answered."""
    command = ["taskset", "-c", "1", args.tenon, "bench", f"{url}?spin=0", "--json", "-c", "64", "-n",
               str(args.messages)]
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(out.splitlines()[-1])["messages"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--messages", type=int, default=20000)
    parser.add_argument("--url", default="udp://127.0.0.1:0")
    parser.add_argument("--tenon", default="build/tenon")
    args = parser.parse_args()
    servers, taken = [], []
    try:
        for _ in range(args.processes):
            servers.append(start(args))
            taken.append([])
        for _ in range(args.rounds):
            for (server, url), values in zip(servers, taken):
                before = cpu_ns(server.pid)
                messages = load(args, url)
                values.append((cpu_ns(server.pid) - before) / messages)
    finally:
        for server, _ in servers:
            server.terminate()
            server.wait()
    for (_, url), values in zip(servers, taken):
        print(f"{url}: {statistics.median(values):.0f} ns, by rounds {' '.join(f'{value:.0f}' for value in values)}")
    print("all, by rounds:", " ".join(f"{statistics.median(row):.0f}" for row in zip(*taken)))
    noise = statistics.mean(statistics.stdev(values) for values in taken)
    print(f"spread of the processes' medians {statistics.stdev(statistics.median(values) for values in taken):.0f} ns; "
          f"if they are alike about {1.25 * noise / args.rounds ** 0.5:.0f}")


if __name__ == "__main__":
    main()
