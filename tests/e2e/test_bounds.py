"""Bounds: the least and the most that an option says it takes are taken, and what lies just beyond is refused."""
import pytest

from harness import COMMAND

DONE, USAGE = 0, 2
KIB, MIB, GIB, TIB = 2**10, 2**20, 2**30, 2**40

one_engine = pytest.mark.parametrize("engine", ["auto"], indirect=True)


def judged(tenon, command, values, status):
    """The values of one command line, of which the last one counts: --help begins nothing, and is reached only when all
    before it were fine."""
    return tenon.finish([COMMAND, command, *values, "--help"], status)


# (command, option, what is taken, what is not)
VALUES = [
    ("serve", "--threads", ["1", "1024", "auto"], ["0", "1025", "-1", "1x"]),
    ("serve", "--max-conns", ["1", "2147483647"], ["0", "2147483648", ""]),
    ("serve", "--drain", ["0", "1000h"], ["3600001s", "-1s"]),
    ("serve", "--fds", ["1", "64"], ["0", "65"]),
    ("serve", "--stderr", ["log", "client", "none"], ["", "logs"]),
    ("serve", "--slow", ["cut", "drop-newest"], ["drop-oldest"]),
    ("serve", "--record-size", ["64KiB"], [64 * KIB - 1]),
    ("serve", "--record-memory", ["1.5MiB"], [3 * MIB // 2 - 1]),
    ("serve", "--trace", ["text", "hex", "json"], ["", "texts"]),
    ("serve", "--trace-bytes", ["0", "256KiB"], [256 * KIB + 1]),
    ("serve", "--trace-to", ["./-"], ["-", ""]),
    ("serve", "--admin-trace", ["1", "1000"], ["0", "1001", "", "1x"]),
    ("serve", "--log", ["text", "json", "journal"], ["", "logfmt"]),
    ("serve", "--log-level", ["error", "warning", "info", "debug"], ["", "notice"]),
    ("relay", "--rate-in", ["1", TIB], ["0", TIB + 1, "x"]),
    ("convert", "--max", ["1", "1GiB"], ["0", GIB + 1, "x"]),
    ("send", "--chunk", ["1", "64MiB"], ["0", 64 * MIB + 1, "x"]),
    ("send", "--retry", ["1", "2147483647", "forever"], ["0", "ever"]),
    ("send", "--every", ["1ns"], ["0", "soon"]),
    ("connect", "--bytes", ["1", TIB], ["0", "x"]),
    ("connect", "--escape", ["^@", "^_", "^a", "^z", "^?", "off"], ["^`", "^{", "^", "a", "^ab", "^M", "^j"]),
    ("bench", "--conns", ["1", "2147483647"], ["0", "2147483648", "x"]),
    ("top", "--every", ["10ms", "1000h"], ["9ms", "3600001s"]),
    ("replay", "--speed", ["0.001", "0.001x", "1000000x"], ["0.0009x", "1000001x", "0", "4y", "x"]),
    ("replay", "--memory", ["1"], ["0", "x"]),
    ("capture", "--snaplen", ["1", "256KiB"], ["0", 256 * KIB + 1]),
    ("capture", "--memory", ["64KiB", TIB], [64 * KIB - 1, TIB + 1]),
    ("capture", "--buffer", ["4KiB", 2 * GIB - 1], [4 * KIB - 1, "2GiB"]),
    ("capture", "--rotate", ["4KiB", 1024 * TIB, "1ns"], [4 * KIB - 1, 1024 * TIB + 1, "0s"]),
    ("capture", "--direction", ["in", "out"], ["both", ""]),
    ("hub", "--name", ["a", "Az09-_.", "x" * 63], ["", "x" * 64, "a b"]),
    ("hub", "--max-payload", ["1", "64MiB"], ["0", 64 * MIB + 1]),
    ("hub", "--backlog", ["1KiB", TIB], [KIB - 1, TIB + 1]),
    ("hub", "--join-queue", ["64KiB", TIB], [64 * KIB - 1, TIB + 1]),
    ("hub", "--join-groups", ["once", "here"], ["", "twice"]),
    ("hub", "--slow", ["cut", "drop-oldest", "drop-newest", "last"], ["", "first"]),
]


@one_engine
@pytest.mark.parametrize("command, option, taken, refused", VALUES, ids=[f"{row[0]} {row[1]}" for row in VALUES])
def test_values(tenon, command, option, taken, refused):
    for value in taken:
        judged(tenon, command, [f"{option}={value}"], DONE)
    for value in refused:
        said = judged(tenon, command, [f"{option}={value}"], USAGE)
        assert said.out == b"" and f"{option}: '{value}' is " in said.err, said


# (command, option, how often)
TIMES = [
    ("relay", "--tee=tcp://127.0.0.1:1", 8), ("relay", "--chaos=loss=1", 32),
    ("serve", "--admin=http://127.0.0.1:0", 8),
    ("replay", "--ignore=$.a", 64), ("hub", "--local=a", 64), ("hub", "--topic=a?last=on", 64),
    ("hub", "--join=nats://127.0.0.1", 64), ("send", "--fd=0", 64),
]


@one_engine
@pytest.mark.parametrize("command, option, most", TIMES, ids=[f"{row[0]} {row[1]}" for row in TIMES])
def test_so_often(tenon, command, option, most):
    judged(tenon, command, [option] * most, DONE)
    said = judged(tenon, command, [option] * (most + 1), USAGE)
    assert said.out == b"" and "is one" in said.err, said
