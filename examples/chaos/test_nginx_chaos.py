"""A web server behind faults, for pytest: `pytest examples/chaos`. Needs nginx and curl; TENON=build/tenon, or PATH."""
import contextlib
import os
import shutil
import subprocess
import time

import pytest

TENON = os.environ.get("TENON", "tenon")
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
PATHS = " ".join(f"{name}_temp_path {{0}};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
CONF = ("daemon off; master_process off; pid {0}/pid; error_log stderr crit; events {{ }} http {{ access_log off; " +
        PATHS + " server {{ listen unix:{0}/nginx; root {0}; }} }}")


@pytest.fixture
def start(tmp_path):
    """start(PATH, WORD...) runs a server that listens at this path in tmp_path, and ends it with the test."""
    with contextlib.ExitStack() as stack:
        def begin(name, *argv):
            process = stack.enter_context(subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            stack.callback(process.terminate)
            while not (tmp_path / name).exists():
                assert process.poll() is None, f"{argv[0]} has ended"
                time.sleep(0.01)
            return f"unix:{tmp_path}/{name}"
        yield begin


@pytest.fixture
def nginx(start, tmp_path):
    if not NGINX or not shutil.which("curl"):
        pytest.skip("nginx and curl are not installed")
    (tmp_path / "page").write_text("the page")
    (tmp_path / "conf").write_text(CONF.format(tmp_path))
    return start("nginx", NGINX, "-p", tmp_path, "-c", tmp_path / "conf")


def through(start, url, *options):
    return start("front", TENON, "relay", f"{os.path.dirname(url)}/front", url, *options)


def get(url, *options):
    return subprocess.run(["curl", "-s", *options, "--unix-socket", url[len("unix:"):], "http://localhost/page"],
                          capture_output=True, check=False)


def test_a_page_in_pieces(start, nginx):
    front = through(start, nginx, "--chaos", "slice=5")
    assert get(front).stdout == b"the page"


def test_a_server_that_says_nothing(start, nginx):
    front = through(start, nginx, "--chaos", "down.timeout=0s")
    assert get(front, "--max-time", "0.2").returncode == 28  # curl's time is over


def test_a_recording_is_answered_as_before(start, nginx, tmp_path):
    recording = tmp_path / "r.pcapng"
    front = through(start, nginx, "--record", recording)
    subprocess.run([TENON, "connect", front], input=b"GET /page\r\n", capture_output=True, check=True)
    while b"the page" not in recording.read_bytes():
        time.sleep(0.01)
    subprocess.run([TENON, "replay", recording, nginx, "--closed", "-q"], stdout=subprocess.DEVNULL, check=True)
