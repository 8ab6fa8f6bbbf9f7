"""The library of -Dminimal=true: what it needs, how large it is, and what it says of what it lacks."""
import subprocess

import pytest

from harness import BUILD, COMMAND, KIB, OPTIONS, exchange

pytestmark = pytest.mark.skipif(not OPTIONS.get("minimal"), reason="not a minimal build (make minimal)")
on_any_engine = pytest.mark.parametrize("engine", ["auto"], indirect=True)

LIBRARY = BUILD / "src" / "libtenon.so"
# Of the C library
NEEDED = {"libc", "libm", "libdl", "libpthread", "ld-linux-x86-64", "ld-linux-aarch64", "linux-vdso"}


def test_minimal_needs_the_c_library_alone():
    lines = subprocess.run(["ldd", LIBRARY], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    assert {line.split()[0].rpartition("/")[2].partition(".so")[0] for line in lines} <= NEEDED


def test_minimal_is_at_most_200_kib(tmp_path):
    subprocess.run(["strip", "-o", tmp_path / "stripped", LIBRARY], check=True)
    assert (tmp_path / "stripped").stat().st_size <= 200 * KIB


@on_any_engine
def test_minimal_serves_and_dials(tenon):
    server = tenon.serve("tcp://127.0.0.1:0?frame=u16", "udp://127.0.0.1:0", f"unix:{tenon.folder}/sock")
    assert exchange(tenon.dial(server.urls[0]), b"\0\5hello") == b"\0\5hello"
    for url in server.urls[1:]:
        assert tenon.run("send", url, "hello").out.strip().endswith(b"hello")


@on_any_engine
@pytest.mark.parametrize("arguments, words", [
    (["serve", "tls://localhost:0"], "no TLS (configure it with -Dtls=enabled)"),
    (["serve", "ws://localhost:0"], "no WebSocket (configure it with -Dtls=enabled)"),
    (["serve", "tcp://localhost:0?frame=cobs"], "no such frame (configure it with -Dframes=enabled)"),
    (["convert", "--from", "json", "--to", "text"], "no JSON (configure it with -Djson=enabled)"),
    (["bench", "--hlog", "log", "tcp://localhost:1"], "no zlib (configure it with -Dzlib=enabled)"),
    (["--engine=uring", "serve", "tcp://localhost:0"], "no liburing (configure it with -During=enabled)"),
])
def test_minimal_says_what_it_lacks(tenon, arguments, words):
    assert f"this build has {words}" in tenon.finish([COMMAND, *arguments], None, cwd=tenon.folder).err
