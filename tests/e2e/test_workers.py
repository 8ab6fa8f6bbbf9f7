"""That no test is lost, told twice or told wrong when several processes share them, and which of them a sample has."""
import collections
import contextlib
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree

import pytest

from harness import LIMIT, ROOT, SANITIZED, wait_until

pytestmark = pytest.mark.skipif(SANITIZED, reason="it is about the tests")

CONFTEST = """
from chosen import pytest_collection_modifyitems
from workers import pytest_runtestloop
"""
MIXED = """
import os, pathlib, signal, time, warnings, pytest

@pytest.fixture(scope="session")
def shared():
    yield os.getpid()
    pathlib.Path(os.environ["ENDED"], str(os.getpid())).touch()

@pytest.fixture
def breaks_after():
    yield
    raise ValueError("afterwards")

@pytest.mark.parametrize("n", range(30))
def test_good(n, shared, tmp_path):
    assert shared == os.getpid()
    (tmp_path / "file").write_text(str(n))
    pathlib.Path(os.environ["BEGUN"], str(os.getpid())).touch()

def test_dies():
    os.kill(os.getpid(), signal.SIGKILL)

@pytest.mark.parametrize("n", range(3))
def test_bad(n):
    print("what it said:", n)
    assert n > 5

def test_skipped():
    pytest.skip("not today")

def test_teardown(breaks_after):
    pass

def test_warns():
    warnings.warn("take care")
"""
CROSSED = """
import pytest

@pytest.mark.parametrize("a, b", [(a, b) for a in "xyz" for b in range(5)])
def test_crossed(a, b):
    pass

@pytest.mark.parametrize("a", "xyz")
@pytest.mark.parametrize("b", [[1], [2]])
def test_stacked(a, b):
    pass

def test_plain():
    pass
"""
ENDLESS = """
import os, pathlib, time, pytest

@pytest.fixture(scope="session")
def shared():
    yield
    pathlib.Path(os.environ["ENDED"], str(os.getpid())).touch()

@pytest.mark.parametrize("n", range(5))
def test_endless(n, shared):
    pathlib.Path(os.environ["BEGUN"], str(os.getpid())).touch()
    time.sleep(600)
"""
FATAL = """
import os, pytest

@pytest.mark.parametrize("n", range(7))
def test_dies(n):
    os._exit(3)
"""


@contextlib.contextmanager
def started(folder, tests, **env):
    (folder / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (folder / "test_it.py").write_text(tests, encoding="utf-8")
    for name in "begun", "ended":
        (folder / name).mkdir(exist_ok=True)
    with subprocess.Popen(
            [sys.executable, "-m", "pytest", folder, "-v", "-p", "no:cacheprovider",
             f"--junitxml={folder / 'results.xml'}", f"--basetemp={folder / 'temporary'}"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder, encoding="utf-8",
            env={**os.environ, "PYTHONPATH": str(ROOT / "tests" / "e2e"), "TENON_EVERY": "1", "TENON_EACH_VALUE": "",
                 "TENON_WORKERS": "1", "BEGUN": str(folder / "begun"), "ENDED": str(folder / "ended"),
                 **env}) as process:
        try:
            yield process
        finally:
            process.kill()


def printed(process, status):
    out = process.communicate(timeout=4 * LIMIT)[0]
    assert process.returncode == status, out
    return out


def run(folder, tests, status, **env):
    """name -> outcomes of all that pytest tells of it in its XML, and what it printed."""
    with started(folder, tests, **env) as process:
        out = printed(process, status)
    outcomes = collections.defaultdict(list)
    for case in xml.etree.ElementTree.parse(folder / "results.xml").getroot().iter("testcase"):
        outcomes[case.get("name")].append(sorted(child.tag for child in case if not child.tag.startswith("system-")))
    return outcomes, out


def names_in(folder):
    return sorted(os.listdir(folder))


@pytest.mark.parametrize("workers", ["1", "2", "5"])
def test_each_is_told_once(tmp_path, workers):
    tests = MIXED if workers != "1" else MIXED.replace("os.kill(os.getpid(), signal.SIGKILL)", "assert False")
    outcomes, out = run(tmp_path, tests, 1, TENON_WORKERS=workers)
    assert outcomes == {
        **{f"test_good[{n}]": [[]] for n in range(30)}, **{f"test_bad[{n}]": [["failure"]] for n in range(3)},
        "test_skipped": [["skipped"]], "test_teardown": [["error"]], "test_dies": [["failure"]], "test_warns": [[]]}
    for n in range(3):
        assert out.count(f"what it said: {n}") == 1
    assert "not today" in out and "ValueError: afterwards" in out
    assert out.count("UserWarning: take care") == 1
    assert ("its worker ended: -9" in out) == (workers != "1")
    assert "4 failed, 32 passed, 1 skipped, 1 warning, 1 error" in out
    # The fixtures of all but the one that was killed have come to their end
    assert set(names_in(tmp_path / "ended")) <= set(names_in(tmp_path / "begun"))
    assert len(names_in(tmp_path / "begun")) - len(names_in(tmp_path / "ended")) <= (workers != "1")


def test_all_workers_die(tmp_path):
    outcomes, out = run(tmp_path, FATAL, 1, TENON_WORKERS="3")
    assert outcomes == {f"test_dies[{n}]": [["failure"]] for n in range(7)}
    assert out.count("its worker ended: 3") >= 7


@pytest.mark.parametrize("number, group, status", [
    (signal.SIGINT, True, 2), (signal.SIGINT, False, 2), (signal.SIGTERM, False, -signal.SIGTERM),
    (signal.SIGKILL, False, -signal.SIGKILL)], ids=["group", "interrupted", "terminated", "killed"])
def test_interrupted(tmp_path, number, group, status):
    """However the pytest ends that tells, its workers end too, and their fixtures come to their end."""
    with started(tmp_path, ENDLESS, TENON_WORKERS="3") as process:
        wait_until(lambda: len(names_in(tmp_path / "begun")) == 3, "all workers are busy")
        if group:
            for name in names_in(tmp_path / "begun"):
                os.kill(int(name), number)
        process.send_signal(number)
        out = printed(process, status)
    wait_until(lambda: names_in(tmp_path / "ended") == names_in(tmp_path / "begun"), "fixtures have ended")
    if number == signal.SIGINT:
        assert out.count("interrupted\n") >= 3 and "3 failed" in out


def test_each_value_once(tmp_path):
    outcomes, _ = run(tmp_path, CROSSED, 0, TENON_EACH_VALUE="1")
    crossed = [name for name in outcomes if name.startswith("test_crossed")]
    assert len(crossed) == 5 and {a for a in "xyz" for name in crossed if f"[{a}-" in name} == set("xyz")
    assert {b for b in range(5) for name in crossed if f"-{b}]" in name} == set(range(5))
    assert len([name for name in outcomes if name.startswith("test_stacked")]) == 3 and "test_plain" in outcomes
    assert len(run(tmp_path, CROSSED, 0)[0]) == 15 + 6 + 1
    assert len(run(tmp_path, CROSSED, 0, TENON_EVERY="4")[0]) == 6
