#!/usr/bin/env python3
"""How many locked instructions a server runs for each message: what processors must agree on, and what does not grow
with their number. Ordinary writes to memory that other threads write too are not seen by this; there are none where no
locked instruction or fence guards them.

    bench/shared_cost.py [--tenon build/tenon] [--engine epoll|uring] [--messages 4000] [URL HANDLER]...

A server of two loops runs under callgrind, which counts each instruction by its address, twice with different numbers
of messages; objdump says which of them are locked. The difference of the counts is what messages cost.

On uring it is one loop: valgrind (3.19) lets no other thread run, and takes no signal, while one is in
io_uring_enter(2). The code that a message passes is the same.
"""
import argparse
import collections
import json
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

LOCKED = re.compile(r"^\s*([0-9a-f]+):\t\s*(?:lock|xchg .*\(|mfence)")
FUNCTION = re.compile(r"^([0-9a-f]+) <([^>]+)>:$")
TRAFFIC = [("tcp://127.0.0.1:0", "echo"), ("unix:/PATH", "echo"), ("udp://127.0.0.1:0", "ack")]


def locked_of(path, cache={}):
    """{address: function} of an object's locked instructions."""
    if path not in cache:
        found, function = {}, "?"
        out = subprocess.run(["objdump", "-d", "--no-show-raw-insn", path], stdout=subprocess.PIPE, text=True).stdout
        for line in out.splitlines():
            if name := FUNCTION.match(line):
                function = name[2]
            elif at := LOCKED.match(line):
                found[int(at[1], 16)] = function
        cache[path] = found
    return cache[path]


def executed(profile):
    """Counter of (object, function) of locked instructions that were run, from callgrind's file."""
    counts, path, skip = collections.Counter(), None, False
    for line in profile.read_text().splitlines():
        if line.startswith("ob="):
            path = line[3:]
        elif line.startswith("calls="):
            skip = True  # the next line is what was called took
        elif line.startswith("0x"):
            if not skip and path and pathlib.Path(path).is_file():
                address, *_, cost = line.split()
                function = locked_of(path).get(int(address, 16))
                if function:
                    counts[pathlib.Path(path).name, function] += int(cost)
            skip = False
    return counts


def run(args, url, handler, messages, folder):
    profile = pathlib.Path(folder) / "out"
    server = subprocess.Popen(
        ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}", "--dump-instr=yes", "--dump-line=no",
         "--compress-pos=no", "--compress-strings=no", args.tenon, "--engine", args.engine, "serve",
         "--threads", "1" if args.engine == "uring" else "2", "--no-sandbox", "--json", "--handler", handler,
         url.replace("/PATH", f"{folder}/s") + "?spin=0"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        where = json.loads(server.stdout.readline())["url"]
        where += ("&" if "?" in where else "?") + "spin=0"
        subprocess.run([args.tenon, "bench", where, "-q", "--conns", "16", "--requests", str(messages), "--timeout",
                        "30s"], stdout=subprocess.DEVNULL, check=True)
    finally:
        server.send_signal(signal.SIGINT)
        while args.engine == "uring" and server.poll() is None:  # it is woken until it has ended
            subprocess.run([args.tenon, "send", where, "--wait", "100ms", "x"], stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
        server.communicate()
    return executed(profile)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tenon", default="build/tenon")
    parser.add_argument("--engine", default="epoll")
    parser.add_argument("--messages", type=int, default=4000)
    parser.add_argument("traffic", nargs="*")
    args = parser.parse_args()
    worst = 0.0
    for url, handler in zip(args.traffic[::2], args.traffic[1::2]) if args.traffic else TRAFFIC:
        few, many = (run(args, url, handler, n, folder) for n in (args.messages, 3 * args.messages)
                     for folder in [tempfile.mkdtemp()])
        each = {key: (many[key] - few[key]) / (2 * args.messages) for key in many}
        total = sum(each.values())
        worst = max(worst, total)
        print(f"{url} {handler}: {total:.4f} locked instructions for each message")
        for (path, function), count in sorted(each.items(), key=lambda item: -item[1])[:5]:
            if count > 0.0005:
                print(f"    {count:.4f} {path} {function}")
    return worst >= 1


if __name__ == "__main__":
    sys.exit(main())
