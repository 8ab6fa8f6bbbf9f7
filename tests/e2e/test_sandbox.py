"""The sandbox of tenon serve: what a server that somebody has taken over can still do."""
import errno
import os
import pathlib
import re
import shutil
import signal

import pytest

from harness import COMMAND, OPTIONS, SANITIZED, exchange

pytestmark = pytest.mark.skipif(
    SANITIZED or OPTIONS["b_coverage"], reason="sanitizers look at the process from outside, counters want files: there is no sandbox")

BUILD = pathlib.Path(os.environ.get("TENON_BUILD", pathlib.Path(COMMAND).parent))
ROOT = os.geteuid() == 0
DAC_OVERRIDE, FOWNER = 1 << 1, 1 << 3


def status_of(server):
    text = pathlib.Path(f"/proc/{server.pid}/status").read_text(encoding="utf-8")
    return dict(re.findall(r"^(\w+):\s+(\S+)", text, re.M))


def has_seccomp(tenon):
    return b"libseccomp is not in this build" not in tenon.finish([COMMAND, "--version"]).out


def probe_of(tenon, *urls, options=()):
    """What the probe says that it could do in a server: name -> 0 or -errno."""
    library = BUILD / "tests" / "probe" / "probe.so"
    if not library.exists():
        pytest.skip("there is no probe in this build")
    server = tenon.serve(*urls, options=options, env={"LD_PRELOAD": str(library)})
    server.untidy = True
    server.signal(signal.SIGUSR1)
    server.wait_for_text(r"probe end 0", where="err")
    return {name: int(result) for name, result in re.findall(r"^probe ([\w-]+) (-?\d+)$", server.err, re.M)}, server


def test_nothing_can_be_reached(tenon):
    if not has_seccomp(tenon):
        pytest.skip("there is no libseccomp in this build")
    done, server = probe_of(tenon, "tcp://127.0.0.1:0")
    done.pop("end")
    assert len(done) >= 12 and set(done.values()) <= {-errno.EPERM, -errno.EACCES}, done
    assert exchange(tenon.dial(server.url), b"served all the same") == b"served all the same"


def test_only_files_that_are_needed_can_be_reached(tenon):
    """A Unix socket's file is removed in the end, so that calls for files are open; which files Landlock says."""
    done, _ = probe_of(tenon, f"unix:{tenon.folder}/sock")
    done.pop("end")
    assert len(done) >= 12 and set(done.values()) <= {-errno.EPERM, -errno.EACCES}, done


def test_without_it_all_can_be_reached(tenon):
    done, _ = probe_of(tenon, "tcp://127.0.0.1:0", options=["--no-sandbox"])
    assert done["open"] == 0 and done["socket"] == 0 and done["exec"] == -errno.ENOENT, done
    pathlib.Path("/tmp/tenon-probe-made-this").unlink(missing_ok=True)


def test_privileges(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    status = status_of(server)
    assert status["NoNewPrivs"] == "1" and int(status["CapPrm"], 16) == 0
    assert status["Seccomp"] == ("2" if has_seccomp(tenon) else "0")
    if ROOT and "SUDO_UID" not in os.environ:
        assert status["Uid"] != "0"


def test_privileges_kept_for_files(tenon):
    """Root's server can remove its socket from root's directory, and no more than that."""
    server = tenon.serve(f"unix:{tenon.folder}/sock")
    assert int(status_of(server)["CapPrm"], 16) == (DAC_OVERRIDE | FOWNER if ROOT else 0)


def test_a_socket_in_a_directory_for_all(tenon, tmp_path):
    """As in /tmp: who is not the owner of a file there may not remove it."""
    folder = tmp_path / "all"
    folder.mkdir()
    folder.chmod(0o1777)
    server = tenon.serve(f"unix:{folder}/sock")
    assert (folder / "sock").exists()
    server.stop()
    assert not (folder / "sock").exists()


def test_no_sandbox(tenon):
    status = status_of(tenon.serve("tcp://127.0.0.1:0", options=["--no-sandbox"]))
    assert (status["NoNewPrivs"], status["Seccomp"], status["Uid"]) == ("0", "0", str(os.geteuid()))


@pytest.mark.skipif(not ROOT, reason="only root can become somebody else")
def test_user(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--user", "daemon"])
    assert status_of(server)["Uid"] == "1"
    assert exchange(tenon.dial(server.url), b"hello") == b"hello"


def test_unknown_user(tenon):
    result = tenon.run("serve", "--user", "nosuchuserhere", status=2)
    assert "--user" in result.err and "nosuchuserhere" in result.err


@pytest.mark.skipif(not ROOT or not shutil.which("setpriv"), reason="not root, or no setpriv")
def test_a_user_that_one_cannot_become(tenon):
    setpriv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    result = tenon.finish([*setpriv, *tenon.argv("serve", "tcp://127.0.0.1:0", "--user", "root")], status=1)
    assert "privileges cannot be given up" in result.err


def test_commands_keep_what_they_need(tenon):
    """They are who we are, and see the files that we see; but no program makes them more."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "exec:id -u; cat /etc/hostname /proc/self/status"])
    client = tenon.dial(server.url)
    client.shutdown(1)
    told = b""
    while data := client.recv(65536):
        told += data
    assert told.startswith(b"%d\n" % os.geteuid()) and b"\nNoNewPrivs:\t1\n" in told and b"\nSeccomp:\t0\n" in told
