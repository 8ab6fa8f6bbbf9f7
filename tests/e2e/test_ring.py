"""The ring refused by the system: epoll takes its place, and nobody but a curious person notices."""
import errno
import os

import pytest

from harness import COMMAND, MIB, exchange, noise
from system import REFUSALS, RING_STEPS, refuse_ring

pytestmark = [
    pytest.mark.parametrize("engine", ["auto"], indirect=True),
    pytest.mark.parametrize("number", REFUSALS, ids=lambda number: errno.errorcode[number]),
]


@pytest.fixture(autouse=True)
def built_with_the_ring(tenon):
    if "not in this build" in tenon.finish([COMMAND, "--version"]).text:
        pytest.skip("this build has no ring")


def test_everything_works(tenon, number):
    refuse = {"preexec_fn": refuse_ring(number)}
    server = tenon.serve("tcp://127.0.0.1:0", "udp://127.0.0.1:0", f"unix:{tenon.folder}/sock", **refuse)
    assert exchange(tenon.dial(server.urls[0]), noise(3 * MIB), finish=True) == noise(3 * MIB)
    assert tenon.run("send", server.urls[1], "hello", **refuse).text == "ack: hello\n"
    assert tenon.run("send", server.urls[2], "hello", **refuse).text == "hello\n"
    result = tenon.run("connect", server.urls[0], input=noise(MIB), **refuse)
    assert result.out == noise(MIB) and result.err == ""
    assert "nodelay" in tenon.run("options", server.urls[0], **refuse).text
    assert server.err == "", "only -v tells of it"


def test_threads_work(tenon, number):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--threads", 2], preexec_fn=refuse_ring(number))
    clients = [tenon.dial(server.url) for _ in range(50)]
    for client in clients:
        assert exchange(client, b"hello") == b"hello"
    assert server.err == ""


def test_children_work(tenon, number):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "exec:cat"], preexec_fn=refuse_ring(number))
    assert exchange(tenon.dial(server.url), noise(MIB), finish=True) == noise(MIB)


@pytest.mark.parametrize("step", RING_STEPS)
def test_any_step_refused(tenon, number, step):
    """Of the set-up: epoll serves, -v says so once and why, --version says it, and by name it is an error in words."""
    refuse = {"preexec_fn": refuse_ring(number, step)}
    server = tenon.serve("tcp://127.0.0.1:0", options=["-v", "--threads", 2], **refuse)
    assert exchange(tenon.dial(server.url), b"hello") == b"hello"
    said = [line for line in server.err.splitlines() if "io_uring" in line]
    assert len(said) == 1 and "epoll serves" in said[0] and os.strerror(number) in said[0], server.err
    text = tenon.finish([COMMAND, "--version"], **refuse).text
    assert "engine uring: refused" in text and os.strerror(number) in text and "engine epoll: yes" in text
    result = tenon.run("serve", "--engine=uring", "tcp://127.0.0.1:0", status=1, **refuse)
    assert result.out == b"" and "uring" in result.err and os.strerror(number) in result.err, result


def test_asked_for_by_name_it_is_an_error(tenon, number):
    refuse = {"preexec_fn": refuse_ring(number)}
    for command, *args in (["serve", "tcp://127.0.0.1:0"], ["send", "tcp://127.0.0.1:1", "hello"],
                           ["connect", "tcp://127.0.0.1:1"], ["options", "tcp://127.0.0.1:0"]):
        result = tenon.run(command, "--engine=uring", *args, status=1, **refuse)
        assert result.out == b"" and "uring" in result.err and os.strerror(number) in result.err, result
    result = tenon.run("serve", "tcp://127.0.0.1:0", status=1, env={"TENON_ENGINE": "uring"}, **refuse)
    assert "uring" in result.err
