"""Fixtures: `tenon` starts everything and ends it; after each test nothing may be left behind."""
import contextlib
import gc
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

import authority as authorities
import harness
import system
from chosen import pytest_collection_modifyitems  # noqa: F401, pylint: disable=unused-import
from workers import pytest_runtestloop  # noqa: F401, pylint: disable=unused-import

TEST_LIMIT = 240 if harness.SANITIZED else 90  # seconds: a test that hangs fails instead

sys.dont_write_bytecode = not sys.pycache_prefix  # never beside the tests
system.adopt_orphans()


def pytest_collection_finish():
    """Each test looks for what it has left open (nothing_left): not among all that was there before the first."""
    if not os.access(harness.COMMAND, os.X_OK):
        raise pytest.UsageError(f"there is no command to test: {harness.COMMAND} (set TENON, or build it: make)")
    gc.collect()
    gc.freeze()


def uring_missing():
    """Why the engine uring cannot be had, or None."""
    version = subprocess.run([harness.COMMAND, "--version"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             env=harness.environment(), timeout=harness.LIMIT, check=False).stdout
    if b"not in this build" in version:
        return "not in this build"
    return system.uring_refusal()


@pytest.fixture(scope="session")
def uring_refusal():
    return uring_missing()


def engines():
    """Under sanitizers, where all is slow, one: what tells the engines apart has tests of its own
    (tests/conformance)."""
    if os.environ.get("TENON_ENGINE"):
        return [os.environ["TENON_ENGINE"]]
    if not harness.SANITIZED:
        return ["uring", "epoll"]
    return ["epoll" if uring_missing() else "uring"]


@pytest.fixture(scope="session", params=engines())
def engine(request, uring_refusal):
    """Each test that does not say otherwise (see `one_engine`) runs on both engines."""
    if request.param == "uring" and uring_refusal:
        pytest.skip(f"no io_uring here: {uring_refusal}")
    return request.param


@pytest.fixture
def tenon(tmp_path, engine):
    scene = harness.Tenon(tmp_path, engine)
    try:
        yield scene
    finally:
        scene.close()
    assert harness.sockets_in(tmp_path) == [], "socket files are left behind"


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return authorities.Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def trusted(authority):
    return f"ca={authority.pem('ca')}"


@pytest.fixture
def network():
    """A network namespace of one's own."""
    space = system.Network()
    if space.why:
        pytest.skip(f"no network namespace here: {space.why}")
    yield space
    space.close()


@pytest.fixture
def wire(program):
    """Two networks of one's own, with a cable between them."""
    laid = system.Wire(program("ip"))
    if laid.why:
        laid.close()
        pytest.skip(f"no networks of one's own here: {laid.why}")
    yield laid
    laid.close()


@pytest.fixture
def program():
    """program("socat"): its path; skips where it is not installed."""
    def find(name):
        path = shutil.which(name)
        if not path:
            pytest.skip(f"{name} is not installed")
        return path
    return find


# What nft says of a kernel without nftables, or without the module that a rule needs
NFT_LACKS = re.compile("cache initialization failed|Unable to initialize Netlink|Could not process rule: "
                       "(No such file|Operation not supported|Protocol not supported|Operation not permitted)")


@pytest.fixture
def nft(program):
    """nft(NETWORK, RULES): what nft prints of them in that network. It skips where the kernel has no such rules; rules
    that are wrong fail."""
    path = program("nft")

    def read(network, rules):
        done = subprocess.run([path, "-f", "-"], input=rules, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              check=False, preexec_fn=network.enter, encoding="utf-8")
        if NFT_LACKS.search(done.stderr):
            pytest.skip(f"no nftables here: {done.stderr}")
        assert done.returncode == 0, done.stderr
        return done.stdout
    return read


@pytest.fixture
def strace(tenon, program):
    """strace(OPTIONS, COMMAND, status): runs the command under strace, and returns how it ended. Who looks for leaks
    traces, too, and there can be only one."""
    path, env = program("strace"), {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}
    probe = tenon.finish([path, "-f", "-qq", "-e", "trace=none", "true"], None)
    if probe.status != 0:
        pytest.skip(f"strace cannot trace here: {probe.err}")
    return lambda options, command, status: tenon.finish([path, "-f", "-qq", *options, *command], status, env=env)


# A program that is started in the background of a shell, or by nohup, inherits that these are ignored
for ignored in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(ignored) == signal.SIG_IGN:
        signal.signal(ignored, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def bounded():
    """No test lasts for ever."""
    def give_up(number, frame):
        raise TimeoutError(f"the test is not done after {TEST_LIMIT} s")
    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(round(TEST_LIMIT * harness.load()))
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def own_descriptors():
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found[name] = os.readlink(f"/proc/self/fd/{name}")
    return {name: link for name, link in found.items() if not link.startswith("/proc/")}


@pytest.fixture(autouse=True)
def nothing_left(bounded):
    """No process that the test has started, directly or not, and no descriptor outlives it."""
    descriptors, children = own_descriptors(), set(harness.children_of(os.getpid()))
    yield
    gc.collect()
    gc.freeze()  # what is left is looked at once: that takes 6 ms where there are thousands of tests

    def left():
        found = set(harness.children_of(os.getpid())) - children
        for pid in [pid for pid in found if harness.is_zombie(pid)]:  # an orphan that ended: we inherited it
            os.waitpid(pid, os.WNOHANG)
            found.discard(pid)
        return sorted(found)
    try:
        harness.wait_until(lambda: not left(),
                           lambda: f"processes are left behind: {[harness.command_of(pid) for pid in left()]}", limit=5)
    finally:
        for pid in left():
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
    assert set(own_descriptors().items()) <= set(descriptors.items()), "descriptors are left open in the tests"

