"""The log of a server (--log, --log-level, --log-file): messages with times and levels, apart from events."""
import calendar
import contextlib
import fcntl
import json
import os
import pathlib
import re
import resource
import signal
import socket
import time

import pytest

from harness import LIMIT, free_port, wait_until
from system import small_disk

TEXT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \[ *(\d+\.\d{6})\] (error|warning|info|debug): (.*)")


def records_of(path):
    """The whole lines of a log of form json."""
    return [json.loads(line) for line in pathlib.Path(path).read_text(encoding="utf-8").split("\n")[:-1]]


def wait_for(path, **members):
    """Waits for a record with these members, of which a message may be a pattern."""
    def look():
        return [record for record in records_of(path) if all(
            re.fullmatch(value, record.get(name, "")) if name == "message" else record.get(name) == value
            for name, value in members.items())]
    return wait_until(lambda: pathlib.Path(path).exists() and look(), lambda: f"{members}: {records_of(path)}")[0]


def start(tenon, command, *options, **how):
    rest = ["tcp://127.0.0.1:1"] if command == "relay" else []
    url = "nats://127.0.0.1:0" if command == "hub" else "tcp://127.0.0.1:0"
    return getattr(tenon, command)(url, *rest, options=options, listeners=1, **how)


@pytest.mark.parametrize("command", ["serve", "relay", "hub"])
def test_a_file_is_opened_again(tenon, tmp_path, command):
    log, old = tmp_path / "log", tmp_path / "log.1"
    server = start(tenon, command, "--log", "json", "--log-file", log)
    first = wait_for(log, message=r"listening on \S+127\.0\.0\.1:\d+ \(.*\)", level="info")
    assert set(first) == {"time", "monotonic", "level", "message"}
    assert abs(first["monotonic"] - time.monotonic()) < LIMIT
    seconds = calendar.timegm(time.strptime(first["time"][:19], "%Y-%m-%dT%H:%M:%S"))
    assert abs(seconds - time.time()) < LIMIT
    assert log.stat().st_mode & 0o777 == 0o600
    log.rename(old)
    server.signal(signal.SIGHUP)
    wait_until(log.exists, "the file is made again")
    server.stop()
    assert re.match("stopped", records_of(log)[-1]["message"]) and records_of(old)[0] == first
    assert "listening" not in server.err and "stopped" not in server.err


def test_a_file_that_cannot_be_opened_again(tenon, tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    server = start(tenon, "serve", "--log", "json", "--log-file", folder / "log")
    folder.rename(tmp_path / "old")
    server.signal(signal.SIGHUP)
    said = wait_for(tmp_path / "old" / "log", level="error")
    assert said["message"] == f"--log-file: {folder}/log: No such file or directory; " \
                              "the file that was open before stays"
    server.stop()
    assert records_of(tmp_path / "old" / "log")[-1]["message"] == "stopped"


def test_text_on_standard_error(tenon):
    server = start(tenon, "serve", "--log", "text", "--admin", "http://127.0.0.1:0")
    server.stop()
    found = [TEXT.fullmatch(line) for line in server.err.splitlines()]
    assert all(found) and [match[2] for match in found] == ["info"] * 3, server.err
    assert [match[3].split()[0] for match in found] == ["listening", "admin:", "stopped"]
    assert abs(float(found[0][1]) - time.monotonic()) < LIMIT


def test_without_a_log_nothing_changes(tenon):
    server = start(tenon, "serve", "--admin", "http://127.0.0.1:0")
    server.stop()
    assert re.fullmatch(r"tenon: admin: http://127\.0\.0\.1:\d+\n", server.err)


@pytest.mark.parametrize("level,said", [("error", set()), ("warning", set()), ("info", {"info"}),
                                        ("debug", {"info", "debug"})])
def test_levels(tenon, tmp_path, level, said):
    server = start(tenon, "serve", "--log", "json", "--log-level", level, "--log-file", tmp_path / "log")
    assert tenon.run("send", server.url, "hello").out == b"hello\n"
    server.stop()
    records = records_of(tmp_path / "log")
    assert {record["level"] for record in records} == said
    events = [record["event"]["event"] for record in records if record["level"] == "debug"]
    assert events == (["listening", "open", "close", "stopped"] if level == "debug" else [])
    assert "open" not in server.out.decode()


def test_nothing_is_wrong(tenon, tmp_path):
    """What --verbose adds at the end is no error: a log with levels is watched for those."""
    server = tenon.serve("tcp://127.0.0.1:0")
    relay = tenon.relay("tcp://127.0.0.1:0", server.url, listeners=1, options=[
        "-v", "--tee", server.url, "--record", tmp_path / "a.pcapng", "--log", "json", "--log-file", tmp_path / "log"])
    assert tenon.run("send", relay.url, "hello").out == b"hello\n"
    relay.stop()
    records = records_of(tmp_path / "log")
    assert any("packets of 1 sessions" in record["message"] for record in records)
    assert any("copied, 0 dropped" in record["message"] for record in records)
    assert {record["level"] for record in records} == {"info"}


def test_events_and_messages_do_not_mix(tenon, tmp_path):
    """Events stand on standard output, as --json says; messages in the log, whatever --json says."""
    server = start(tenon, "serve", "--json", "-m", "1", "--log", "json", "--log-file", tmp_path / "log")
    held = tenon.dial(server.url)
    server.wait_for_event("open")
    tenon.dial(server.url)
    server.wait_for_event("trouble", reason="limit")
    assert "event" not in wait_for(tmp_path / "log", level="warning", message=".*connections.*")
    held.close()


def test_what_is_said_too_often_is_counted(tenon, tmp_path, authority):
    """Each server says that its files have been read again; twenty of them are enough."""
    log = tmp_path / "log"
    server = tenon.serve(*[f"tls://127.0.0.1:0?{authority.pair('server')}"] * 25,
                         options=["--log", "json", "--log-file", log], listeners=25)
    server.signal(signal.SIGHUP)
    again = r"tls://\S+: its files have been read again"
    wait_until(lambda: sum(bool(re.fullmatch(again, record["message"])) for record in records_of(log)) == 20,
               lambda: f"twenty: {records_of(log)}")
    server.stop()
    counted = wait_for(log, message=f"left out: 5 more like: {again}")
    assert counted["left_out"] == 5 and counted["level"] == "info"
    assert len(records_of(log)) == 25 + 20 + 1 + 1


def test_records_that_cannot_be_written_are_counted(tenon, tmp_path):
    log, old = tmp_path / "log", tmp_path / "log.1"
    server = tenon.serve("tcp://127.0.0.1:0", options=["--log", "text", "--log-level", "debug", "--log-file", log],
                         preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600)))
    for _ in range(3):  # six events, of which each has more than a hundred bytes
        tenon.run("send", server.url, "hello")
    wait_until(lambda: log.stat().st_size == 600, "it is full")
    log.rename(old)
    server.signal(signal.SIGHUP)
    wait_until(log.exists, "there is another one")
    tenon.run("send", server.url, "hello")
    wait_until(lambda: re.search(r"warning: \d+ records were lost: File too large\n",
                                 log.read_text(encoding="utf-8")), lambda: log.read_text(encoding="utf-8"))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_record_that_was_cut_ends_its_line(tenon, tmp_path):
    """What follows when there is room again is a record of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    server = tenon.serve("tcp://127.0.0.1:0", options=["--no-sandbox", "--log", "json", "--log-level", "debug",
                                                       "--log-file", disk / "log"], preexec_fn=small_disk(disk, 65536))
    inside = pathlib.Path(f"/proc/{server.pid}/root{disk}")
    with contextlib.suppress(OSError), open(inside / "big", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))

    def lines(size=None):
        tenon.run("send", server.url, "hello")
        return (inside / "log").read_text(encoding="utf-8").split("\n")
    wait_until(lambda: lines()[-1], "a record is cut")
    os.unlink(inside / "big")
    wait_until(lambda: "records were lost: No space left" in "".join(lines()), "there is room again")
    whole = [line for line in lines()[:-1] if line]
    assert sum(not line.endswith("}") for line in whole) == 1
    for line in whole:
        assert not line.endswith("}") or json.loads(line)


def test_nobody_waits_for_who_reads_the_log(tenon, tmp_path):
    """It is full, and clients are served all the same; what was lost is counted when it is read again."""
    os.mkfifo(tmp_path / "log")
    reader = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    server = start(tenon, "serve", "--json", "--log", "json", "--log-level", "debug", "--log-file", tmp_path / "log")
    for _ in range(20):
        assert tenon.run("send", server.url, "hello").text == "hello\n"

    def read():
        tenon.run("send", server.url, "hello")
        return "records were lost: nobody reads them" in os.read(reader, 65536).decode()
    wait_until(read, "it is counted")
    server.stop()
    os.close(reader)


def test_nobody_waits_for_who_reads_standard_error(tenon, tmp_path):
    """Without a log, too: the target that is dead is told of by the loop itself."""
    os.mkfifo(tmp_path / "err")
    reader = os.open(tmp_path / "err", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(tmp_path / "err", os.O_WRONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    relay = tenon.relay("tcp://127.0.0.1:0", f"tcp://127.0.0.1:{free_port()}", tenon.serve("tcp://127.0.0.1:0").url,
                        options=[], preexec_fn=lambda: os.dup2(writer, 2))
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x")
    assert tenon.run("send", relay.url, "hello").text == "hello\n"
    os.read(reader, 65536)
    relay.stop()
    said = os.read(reader, 65536).decode()
    assert re.search(r"tenon: \d+ records were lost: nobody reads them\n", said), said
    os.close(reader)
    os.close(writer)


def test_a_named_pipe_is_not_waited_for(tenon, tmp_path):
    """Neither at the start nor when it is opened again, when its reader has gone."""
    log = tmp_path / "log"
    os.mkfifo(log)
    for option in (["--log-file", log], ["--trace", "text", "--trace-to", log]):
        assert "nobody reads this named pipe (start its reader first)" in tenon.run(
            "serve", "tcp://127.0.0.1:0", *option, status=1 if "--trace" in option else 2).err
    for options in ([], ["--no-sandbox"]):
        reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
        server = start(tenon, "serve", "--json", "--log-file", log, *options)
        os.close(reader)
        server.signal(signal.SIGHUP)
        wait_until(lambda: tenon.run("send", server.url, "hello").text == "hello\n", "it goes on")
        reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
        server.stop()
        os.close(reader)


def test_the_journal_is_noticed(tenon):
    """Where standard error is the journal's stream, each line begins with its level (sd-daemon(3))."""
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        for wrong, level in (("0", "<3>"), ("1", "tenon: ")):
            run = "JOURNAL_STREAM=$(stat -L -c %d:%i /dev/stderr | sed \"s/$/$1/; s/0$//\"); export JOURNAL_STREAM; " \
                  "shift; exec \"$@\""
            done = tenon.finish(["sh", "-c", run, "sh", wrong, *tenon.argv("serve", f"tcp://127.0.0.1:{port}")], 1)
            assert done.err.startswith(level) and "in use" in done.err, done
            if level == "<3>":
                assert all(re.match("<[3-6]>", line) for line in done.err.splitlines()), done


def test_what_fails_before_it_is_ready_is_told_on_standard_error_too(tenon, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = tenon.run("serve", f"tcp://127.0.0.1:{taken.getsockname()[1]}", "--log-file", tmp_path / "log",
                         status=1)
    assert "in use" in done.err and done.err.startswith("tenon: ")
    assert TEXT.match((tmp_path / "log").read_text(encoding="utf-8"))[2] == "error"


@pytest.mark.parametrize("options,words", [
    (["--log", "xml"], "'xml' is none of text, json, journal"),
    (["--log-level", "loud"], "'loud' is none of error, warning, info, debug"),
    (["--log-file", "/no/such/folder/log"], "--log-file: /no/such/folder/log: No such file or directory"),
    (["--log-file", ""], "'' is no file"),
    (["--log-file", "-"], "'-' is no file"),
    (["--log", "journal", "--log-file", "log"], "--log journal: the journal reads standard error"),
])
@pytest.mark.parametrize("command", ["serve", "relay", "hub"])
def test_values_that_cannot_be(tenon, command, options, words):
    urls = {"serve": ["tcp://127.0.0.1:0"], "relay": ["tcp://127.0.0.1:0", "tcp://127.0.0.1:1"],
            "hub": ["nats://127.0.0.1:0"]}
    done = tenon.run(command, *urls[command], *options, status=2)
    assert words in done.err
    assert not os.path.exists("log")
