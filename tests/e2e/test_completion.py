"""Completion: what may stand on the command line, asked of the command, and by each shell on a terminal."""
import os
import pty
import re
import select
import shutil
import subprocess
import time
from pathlib import Path
import pytest
from harness import COMMAND, LIMIT, ROOT, SANITIZED

pytestmark = pytest.mark.skipif(SANITIZED, reason="it is about scripts of shells")

SCRIPTS = {"bash": ROOT / "completions/tenon.bash", "zsh": ROOT / "completions/_tenon",
           "fish": ROOT / "completions/tenon.fish"}


def candidates(*words):
    done = subprocess.run([COMMAND, "complete", "--", *words], stdout=subprocess.PIPE, text=True, check=True)
    return {line.partition("\t")[0]: line.partition("\t")[2] for line in done.stdout.splitlines()}


def test_commands():
    assert {"serve", "send", "connect", "help"} <= set(candidates(""))
    assert set(candidates("ser")) == {"serve"}
    assert set(candidates("--engine", "epoll", "ser")) == {"serve"}
    assert "serve" in candidates("help", "") and "help" in candidates("hel")
    assert not candidates("no-such-command", "")


def test_every_option_is_offered():
    for command in candidates(""):
        if command == "help":
            continue
        listed = subprocess.run([COMMAND, command, "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout
        options = set(re.findall(r"^\s+(?:-\w, )?(--[a-z][a-z-]*)", listed, re.M))
        assert options and options <= set(candidates(command, "--"))


def test_values():
    assert set(candidates("serve", "--engine", "")) == {"auto", "uring", "epoll"}
    assert set(candidates("serve", "--engine=u")) == {"--engine=uring"}
    assert {"echo", "exec:"} <= set(candidates("serve", "--handler", "e"))
    assert not candidates("serve", "--idle", "")  # a duration
    assert set(candidates("send", "--", "--")) == set()  # no option stands there


def test_urls(tmp_path):
    (tmp_path / "ca.pem").touch()
    (tmp_path / "certs").mkdir()
    assert {"tcp://", "unix:/", "udp://"} <= set(candidates("serve", ""))
    assert set(candidates("send", "tcp://localhost:1?nodel")) == {"tcp://localhost:1?nodelay="}
    assert set(candidates("send", "tcp://l:1?idle=1m&nodelay=o")) == {f"tcp://l:1?idle=1m&nodelay={v}"
                                                                     for v in ("on", "off")}
    assert "tcp://l:1?frame=netstring" in candidates("send", "tcp://l:1?frame=n")
    assert set(candidates("send", "tcp://l:1?format=j")) == {"tcp://l:1?format=json"}
    assert set(candidates("send", "tcp://l:1?bad=")) == {"tcp://l:1?bad=close", "tcp://l:1?bad=skip"}
    assert set(candidates("serve", "tcp://l:1?handl")) == {"tcp://l:1?handler="}
    assert set(candidates("serve", "udp://l:1?sess")) == {"udp://l:1?session="}
    assert {f"udp://l:1?idle=1m&handler={name}" for name in ("echo", "exec:")} <= set(
        candidates("serve", "udp://l:1?idle=1m&handler=e"))
    assert not candidates("relay", "tcp://l:1?handl")
    url = f"tls://l:1?ca={tmp_path}/c"
    assert set(candidates("send", url)) == {f"{url}a.pem", f"{url}erts/"}
    assert not candidates("send", "tcp://l:1?nonsense=")


@pytest.mark.parametrize("words", [["serve", "--"], ["\x01", ""], ["serve", "?" * 5000], ["-", ""], ["--", ""],
                                   ["send", "tls://x?ca=/" + "a" * 5000], ["--engine"], ["serve", "--engine="]])
def test_what_is_no_command_line(words):
    candidates(*words)


class Terminal:
    """A shell on a terminal, to whom keys are typed."""
    def __init__(self, argv, env):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(argv[0], argv, env)
        self.seen = ""

    def type(self, keys):
        os.write(self.fd, keys.encode())

    def wait_for(self, pattern):
        deadline = time.monotonic() + LIMIT
        while not re.search(pattern, self.seen):
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self.fd], [], [], left)[0], f"no {pattern!r} in {self.seen!r}"
            more = os.read(self.fd, 4096).decode(errors="replace")
            self.seen += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\r", "", more)
        self.seen = ""

    def close(self):
        os.close(self.fd)  # SIGHUP
        os.waitpid(self.pid, 0)


@pytest.fixture(name="terminal", params=["bash", "zsh"])
def fixture_terminal(request, tmp_path):
    if not shutil.which(request.param):
        pytest.skip(f"no {request.param}")
    argv = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}[request.param]
    env = {"PATH": f"{Path(COMMAND).parent}:{os.environ['PATH']}", "TERM": "dumb", "PS1": "> ", "HOME": str(tmp_path),
           "LC_ALL": "C.UTF-8"}
    terminal = Terminal(argv, env)
    try:
        if request.param == "bash":
            terminal.type(f"bind 'set bell-style none'; . {SCRIPTS['bash']}; echo rea''dy\n")
        else:
            terminal.type(f"fpath=({SCRIPTS['zsh'].parent} $fpath); autoload -U compinit; compinit -u -D; "
                          "unsetopt zle_bracketed_paste; echo rea''dy\n")
        terminal.wait_for(r"\nready\n")
        yield terminal
    finally:
        terminal.close()


@pytest.mark.parametrize("typed, completed", [
    ("tenon ser", r"serve "),
    ("tenon serve --hand", r"--handler "),
    ("tenon serve --handler disc", r"discard "),
    ("tenon send tcp4:", r"tcp4://"),
    ("tenon send 'tcp://localhost:1?nodel", r"tcp://localhost:1\?nodelay="),
    ("tenon send 'tcp://localhost:1?idle=1m&frame=netst", r"idle=1m&frame=netstring"),
])
def test_on_a_terminal(terminal, typed, completed):
    terminal.type(typed + "\t")
    terminal.wait_for(completed)


@pytest.mark.skipif(not shutil.which("fish"), reason="no fish")
@pytest.mark.parametrize("typed, completed", [
    ("tenon ser", "serve\t"), ("tenon send 'tcp://l:1?nodel", "tcp://l:1?nodelay="),
    ("tenon serve --handler ec", "echo\t"),
    ("tenon convert /etc/passw", "/etc/passwd"),
])
def test_in_fish(tmp_path, typed, completed):
    env = {"PATH": f"{Path(COMMAND).parent}:{os.environ['PATH']}", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(["fish", "--no-config", "-c", f"source {SCRIPTS['fish']}; complete -C \"{typed}\""], env=env,
                          stdout=subprocess.PIPE, text=True, check=True, timeout=LIMIT)
    assert completed in done.stdout
