#!/usr/bin/env python3
"""What a message costs a server in Python, in instructions of user space (valgrind --tool=callgrind): unlike time, they
are the same on a busy machine and a quiet one.

    bench/python_cost.py [--deep N] [--conns N] [--rounds N] [NAME...]

A round sends to every connection and then reads from every one. What a message costs is the difference between two
runs, of N rounds and of 2 N. NAME: floor (a module in C that calls one function for each message), or a server of
python_echo.py and asyncio_echo.py, on epoll, as valgrind knows no io_uring. The module tenon is that of `make python`.
"""

import argparse
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile

from servers import PYTHON

HERE = pathlib.Path(__file__).resolve().parent
SERVERS = {
    "callbacks": ("python_echo.py", "callbacks"), "view": ("python_echo.py", "view"),
    "aio": ("python_echo.py", "aio"), "aio-uvloop": ("python_echo.py", "--uvloop", "aio"),
    "streams": ("python_echo.py", "streams"), "streams-uvloop": ("python_echo.py", "--uvloop", "streams"),
    "asyncio": ("asyncio_echo.py",), "uvloop": ("asyncio_echo.py", "--uvloop"),
    "framed": ("python_echo.py", "framed"), "framed-aio": ("python_echo.py", "--uvloop", "framed-aio"),
    "framed-uvloop": ("python_echo.py", "--uvloop", "framed-protocol"),
    "values": ("python_echo.py", "values"), "json-streams": ("python_echo.py", "json-streams"),
}
JSON = b'{"id":17,"name":"Anna","tags":["a","b"],"on":true,"price":12.5}'
LONGEST = 300  # seconds that a server may take


def message_of(name, deep):
    body = JSON if name in ("values", "json-streams") else b"x" * 64
    head = struct.pack(">I", len(body)) if name.startswith("framed") or body is JSON else b""
    return (head + body) * deep


def load(port, message, conns, rounds):
    socks = [socket.create_connection(("127.0.0.1", port)) for _ in range(conns)]
    for _ in range(rounds):
        for sock in socks:
            sock.sendall(message)
        for sock in socks:
            left = len(message)
            while left:
                left -= len(sock.recv(left))
    for sock in socks:
        sock.close()


def serve(name, args, rounds, tool):
    peer, *how = SERVERS[name]
    env = {**os.environ, "TENON_ENGINE": "epoll", "PYTHONHASHSEED": "0",
           "PYTHONPATH": str(HERE.parent / "build-python" / "site")}
    process = subprocess.Popen([*tool, PYTHON, str(HERE / "peers" / peer), *how, "tcp", "0"], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True, env=env)
    try:
        port = int(re.search(r"(\d+)\D*$", process.stdout.readline())[1])
        load(port, message_of(name, args.deep), args.conns, rounds)
    finally:
        process.terminate()
        process.wait(LONGEST)


def call_floor(args, rounds, tool, folder):
    """The module is built for the Python that runs it."""
    header = subprocess.run([PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('include'))"],
                            stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", f"-I{header}", "-o", folder / "python_call.so",
                    HERE / "floor" / "python_call.c"], check=True)
    times = args.conns * rounds * args.deep
    subprocess.run([*tool, PYTHON, "-c", f"import python_call; python_call.run(lambda conn, msg: msg, 64, {times})"],
                   check=True, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": folder})


def instructions(name, args, rounds):
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder, "out")
        tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
        if name == "floor":
            call_floor(args, rounds, tool, pathlib.Path(folder))
        else:
            serve(name, args, rounds, tool)
        return int(re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.M)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deep", type=int, default=1, help="messages in flight on each connection")
    parser.add_argument("--conns", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("names", nargs="*", metavar="NAME", default=["floor", "callbacks", "uvloop"])
    args = parser.parse_args()
    for name in args.names:
        if name not in SERVERS and name != "floor":
            parser.error(f"no server {name}: {' '.join(SERVERS)}")
    if not shutil.which("valgrind"):
        sys.exit("python_cost: valgrind is not installed")
    messages = args.conns * args.rounds * args.deep
    for name in args.names:
        less, more = instructions(name, args, args.rounds), instructions(name, args, 2 * args.rounds)
        print(f"{name} {(more - less) / messages:.0f}", flush=True)


if __name__ == "__main__":
    main()
