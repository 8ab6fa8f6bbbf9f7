"""tenon connect: --recv-only, --send-only, --bytes, --count; dialling again: --retry, --every, of send as well."""
import signal
import subprocess

import pytest

from harness import KIB, MIB, noise, receive_to_end

FAILED, TIMEOUT, USAGE = 1, 3, 2
DATA = noise(2 * MIB + 3, 9)


@pytest.fixture
def listener(tenon):
    sock = tenon.listen()
    return sock, f"tcp://127.0.0.1:{sock.getsockname()[1]}"


def test_recv_only_leaves_the_input_to_others(tenon, listener):
    """And our direction is not ended."""
    script = '"$@"; cat'
    argv = tenon.argv("connect", "--recv-only", listener[1])
    stdin = tenon.opened(tenon.file("in", b"not for the peer"))
    process = tenon.peer("/bin/sh", "-c", script, "sh", *argv, stdin=stdin)
    sock = tenon.accept(listener[0])
    sock.sendall(DATA)
    sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        sock.recv(1)
    sock.close()
    process.wait(0)
    assert process.out == DATA + b"not for the peer"


def test_send_only_does_not_wait_for_the_peer(tenon, listener):
    path = tenon.file("in", DATA)
    process = tenon.start("connect", "--send-only", listener[1], stdin=tenon.opened(path))
    sock = tenon.accept(listener[0])
    sock.sendall(b"nobody wants to know" * KIB)
    assert receive_to_end(sock) == DATA
    process.wait(0)
    assert process.out == b""


@pytest.mark.parametrize("tool,argv", [("nc", ["nc", "-N", "-l", "-U"]), ("socat", ["socat", "-u"])])
def test_send_only_to_other_tools(tenon, program, tool, argv):
    program(tool)
    path = tenon.folder / "sock"
    theirs = tenon.peer(*([*argv, path] if tool == "nc" else [*argv, f"UNIX-LISTEN:{path}", "-"]))
    tenon.run("connect", "--send-only", "--retry", "100", "--every", "20ms", f"unix:{path}", input=DATA)
    theirs.wait(0)
    path.unlink(missing_ok=True)
    assert theirs.out == DATA


@pytest.mark.parametrize("bytes_", [1, 1000, MIB])
def test_bytes(tenon, bytes_):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "chargen"])
    result = tenon.run("connect", "--bytes", bytes_, server.url, stdin=subprocess.DEVNULL)
    assert len(result.out) == bytes_ and result.err == ""


def test_bytes_of_a_peer_that_says_less(tenon, listener):
    process = tenon.start("connect", "--bytes", "1KiB", listener[1])
    tenon.accept(listener[0]).close()
    process.wait(0)
    assert process.out == b""


def test_count_of_messages_and_of_datagrams(tenon):
    frames = tenon.serve("tcp://127.0.0.1:0?frame=line")
    result = tenon.run("connect", "--count", "2", f"{frames.url}", input=b"a\nb\nc\n", status=None)
    assert result.status == USAGE and "key frame makes some" in result.err
    url = frames.url.partition("?")[0] + "?frame=line"
    assert tenon.run("connect", "--count", "2", url, input=b"a\nb\nc\n").out == b"a\nb\n"
    datagrams = tenon.serve("udp://127.0.0.1:0", options=["--handler", "echo"])
    process = tenon.start("connect", "-W", "2", datagrams.url, stdin=subprocess.PIPE)
    process.popen.stdin.write(b"a\nb\n")
    process.popen.stdin.flush()
    process.wait(0)
    assert process.out == b"a\nb\n"


# Again

@pytest.mark.parametrize("command", ["connect", "send"])
def test_retry_until_somebody_is_there(tenon, command):
    path = tenon.folder / "sock"
    args = ["hello"] if command == "send" else []
    process = tenon.start(command, "--retry", "forever", "--every", "10ms", f"unix:{path}", *args,
                          stdin=tenon.opened(tenon.file("in", b"hello")))
    process.wait_for_text("again in 0.0 s")
    server = tenon.serve(f"unix:{path}")
    process.wait(0)
    assert process.out.strip() == b"hello" and process.err.count("again in") == 1
    server.stop()


@pytest.mark.parametrize("command", ["connect", "send"])
def test_retry_gives_up(tenon, command):
    args = ["hello"] if command == "send" else []
    result = tenon.run(command, "-v", "--retry", "3", "--every", "5ms", f"unix:{tenon.folder}/sock", *args,
                       status=FAILED)
    assert result.err.count("; again in 0.0 s") == 3 and result.err.count("No such file") == 4


def test_what_does_not_get_better_is_not_tried_again(tenon, authority):
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}")
    result = tenon.run("connect", "--retry", "forever", "--every", "5ms", server.url, status=FAILED)
    assert "again" not in result.err


def test_interrupted_while_it_waits_to_try_again(tenon):
    process = tenon.start("connect", "--retry", "forever", "--every", "1h", f"unix:{tenon.folder}/sock")
    process.wait_for_text("again in")
    process.signal(signal.SIGTERM)
    process.wait(FAILED)


@pytest.mark.parametrize("args,why", [
    (["--recv-only", "--send-only", "tcp://127.0.0.1:1"], "one of them"),
    (["--bytes", "0", "tcp://127.0.0.1:1"], "from 1 up"),
    (["--bytes", "5", "udp://127.0.0.1:1"], "--count N"),
    (["--every", "1s", "tcp://127.0.0.1:1"], "--retry N"),
    (["--retry", "never", "tcp://127.0.0.1:1"], "forever"),
    (["--retry", "2", "--every", "0", "tcp://127.0.0.1:1"], "pass between"),
    (["--retry", "2", "--listen", "tcp://127.0.0.1:1"], "dialled"),
])
def test_ends_asked_for_wrongly(tenon, args, why):
    assert why in tenon.run("connect", *args, status=USAGE).err
