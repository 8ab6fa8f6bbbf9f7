"""The command itself: help, version, colours, and how it takes its leave."""
import os
import pty
import re
import subprocess

import pytest

from harness import COMMAND, SANITIZED, exchange, wait_until
from system import call_kernel_old, uring_refusal

pytestmark = pytest.mark.parametrize("engine", ["auto"], indirect=True)

# `cert` is there where the build has OpenSSL
VERSION = subprocess.run([COMMAND, "--version"], stdout=subprocess.PIPE, check=False).stdout
HAS_TLS = b"tls: not in this build" not in VERSION
COMMANDS = ["serve", "send", "connect", "convert", "options", "bench"] + ["cert"] * HAS_TLS


def test_help(tenon):
    text = tenon.finish([COMMAND, "--help"]).text
    assert all(f"  {name} " in text for name in COMMANDS)
    assert "tenon send udp://localhost:10000 'Hello, world!'" in text and "Exit status" in text
    for argv in (["-h"], ["help"]):
        assert tenon.finish([COMMAND, *argv]).text == text


def test_the_engine_on_an_old_kernel(tenon):
    """Unasked, the ring of a kernel before 6.6 is left alone; by name it is had."""
    if (version := tenon.finish([COMMAND, "--version"]).text) and "uring: not in" in version or uring_refusal():
        pytest.skip("no ring")
    server = tenon.serve("tcp://127.0.0.1:0", options=["-v"], preexec_fn=call_kernel_old)
    assert "before 6.6; epoll serves" in server.err
    assert exchange(tenon.dial(server.url), b"hello") == b"hello"
    assert "uring: yes, by name" in tenon.finish([COMMAND, "--version"], preexec_fn=call_kernel_old).text
    server = tenon.serve("tcp://127.0.0.1:0", options=["-v", "--engine=uring"], preexec_fn=call_kernel_old)
    assert "epoll serves" not in server.err
    assert exchange(tenon.dial(server.url), b"hello") == b"hello"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command(tenon, name):
    result = tenon.finish([COMMAND, name, "--help"])
    text = result.text
    assert result.err == "" and "Usage:" in text and "--engine" in text
    assert text.index("Examples") < text.index("Usage:")
    # -h stands anywhere, and beside anything
    for argv in (["help", name], [name, "-h"], [name, "x", "-h"], [name, "x", "y", "z", "--help"]):
        assert tenon.finish([COMMAND, *argv]).text == text
    assert all(len(line) <= 120 for line in text.splitlines())


@pytest.mark.skipif(SANITIZED, reason="it is about the help, and starts the command 150 times")
def test_every_option_of_the_help_exists(tenon):
    """Whatever --name the help of a command mentions is an option that it takes."""
    for name in COMMANDS:
        text = tenon.finish([COMMAND, name, "--help"]).text
        for option in set(re.findall(r"^\s+(?:-\w, )?(--[a-z-]+)", text, re.M)):
            result = tenon.finish([COMMAND, name, option, "--help"], None)
            assert "no option" not in result.err, result


def test_version(tenon):
    for argv in (["--version"], ["serve", "--version"]):
        lines = tenon.finish([COMMAND, *argv]).text.splitlines()
        assert re.fullmatch(r"tenon \d+\.\d+\.\d+", lines[0])
        assert any(line.startswith("engine epoll: ") for line in lines)
        assert any(line.startswith("engine uring: ") for line in lines)


def test_defaults(tenon, network):
    """The main job, on its own ports: in a network of its own, so that it stands in nobody's way."""
    inside = {"preexec_fn": network.enter}
    server = tenon.serve(listeners=4, **inside)
    assert server.lines == ["listening tcp://127.0.0.1:10000 (echo)", "listening tcp://[::1]:10000 (echo)",
                            "listening udp://127.0.0.1:10000 (ack)", "listening udp://[::1]:10000 (ack)"]
    wait_until(lambda: "tcp://localhost:10000" in server.err and "udp://localhost:10000" in server.err,
               "it says what to type in a second terminal")
    assert tenon.run("send", "udp://localhost:10000", "Hello, world!", **inside).text == "ack: Hello, world!\n"
    assert tenon.run("send", "tcp://localhost:10000", "Hello, world!", **inside).text == "Hello, world!\n"
    assert tenon.run("connect", "tcp://localhost:10000", input=b"Hello, world!", **inside).text == "Hello, world!"


def test_defaults_where_there_is_no_ipv6(tenon, network):
    """localhost is then what there is."""
    def without_ipv6():
        with open("/proc/sys/net/ipv6/conf/all/disable_ipv6", "w", encoding="utf-8") as file:
            file.write("1")
    try:
        network.inside(without_ipv6)
    except (OSError, IndexError):
        pytest.skip("IPv6 cannot be switched off here")
    inside = {"preexec_fn": network.enter}
    server = tenon.serve(listeners=2, **inside)
    assert server.lines == ["listening tcp://127.0.0.1:10000 (echo)", "listening udp://127.0.0.1:10000 (ack)"]
    assert tenon.run("send", "udp://localhost:10000", "Hello, world!", **inside).text == "ack: Hello, world!\n"
    assert tenon.run("send", "tcp://localhost:10000", "Hello, world!", **inside).text == "Hello, world!\n"


def on_a_terminal(tenon, argv, env):
    """What it writes to a terminal that is its standard output and error."""
    person, terminal = pty.openpty()
    process = tenon.peer(*argv, stdout=terminal, env=env)
    os.close(terminal)
    got = b""
    try:
        while data := os.read(person, 10000):
            got += data
    except OSError:  # the other side is closed
        pass
    os.close(person)
    process.wait(0)
    return got


@pytest.mark.parametrize("env,args,coloured", [
    ({"TERM": "xterm"}, [], True), ({"TERM": "xterm", "NO_COLOR": "1"}, [], False), ({"TERM": "dumb"}, [], False),
    ({"TERM": "xterm", "NO_COLOR": ""}, [], True), ({"TERM": "xterm", "NO_COLOR": "1"}, ["--color=always"], True),
    ({"TERM": "xterm"}, ["--color=never"], False),
])
def test_colours_on_a_terminal(tenon, env, args, coloured):
    got = on_a_terminal(tenon, [COMMAND, "options", *args], env)
    assert b"nodelay" in got and (b"\x1b[" in got) == coloured


def test_no_colours_in_a_file(tenon):
    env = {"TERM": "xterm"}
    assert b"\x1b" not in tenon.finish([COMMAND, "options"], env=env).out
    assert "\x1b" not in tenon.finish([COMMAND, "serve", "tcp://h?x=1"], 2, env=env).err
    assert b"\x1b" in tenon.finish([COMMAND, "options", "--color=always"], env=env).out
    assert b"\x1b" in tenon.finish([COMMAND, "options", "--color"], env=env).out


def test_options_stand_anywhere(tenon):
    server = tenon.serve("--handler", "ack", "tcp://127.0.0.1:0", options=["--threads=1"], listeners=1)
    assert server.handlers == ["ack"]
    result = tenon.finish([COMMAND, "-v", "send", server.url, "--wait=10s", "hello", "-q"])
    assert result.text == "ack: hello\n"


def test_engines_by_name_and_by_environment(tenon):
    for how in ({"env": {"TENON_ENGINE": "epoll"}}, {"options": ["--engine=epoll"]}):
        options = [*how.get("options", []), "-v"]
        server = tenon.serve("tcp://127.0.0.1:0", options=options, env=how.get("env"))
        assert "engine: epoll" in server.err
        assert exchange(tenon.dial(server.url), b"hello") == b"hello"


@pytest.mark.parametrize("name", ["sim", "sim:3", "fault:epoll"])
def test_the_engines_for_tests_are_not_in_the_command(tenon, name):
    result = tenon.run("send", "tcp://127.0.0.1:1", "hello", status=2, env={"TENON_ENGINE": name})
    assert f"engine {name}: no such engine; there are auto, uring and epoll" in result.err


@pytest.mark.parametrize("command", ["serve tcp://127.0.0.1:0", "connect tcp://127.0.0.1:1", "ping tcp://127.0.0.1:1",
                                     "bench tcp://127.0.0.1:1", "options tcp://127.0.0.1:1",
                                     "convert --from json --to cbor",
                                     "relay tcp://127.0.0.1:0 tcp://127.0.0.1:1"])
def test_an_engine_that_does_not_exist(tenon, command):
    """A word that no command can use: exit status 2, as for an option's value."""
    result = tenon.run(*command.split(), status=2, input=b"", env={"TENON_ENGINE": "nosuch"})
    assert "engine nosuch: no such engine" in result.err


def test_the_ring_that_the_system_gives_is_used(tenon):
    """Where it is refused, tests of it are skipped: a refusal that is our own mistake must not look like that."""
    text = tenon.finish([COMMAND, "--version"]).text
    if "uring: not in" in text or uring_refusal():
        pytest.skip("no ring")
    assert "engine uring: yes" in text
