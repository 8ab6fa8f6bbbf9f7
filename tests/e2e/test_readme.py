"""README.md is typed as it stands, and prints what it shows (readme.py says how that is compared). So is the tutorial.
Both languages type and show the same, so that once is enough.

It happens on a copy of this system that is thrown away: an overlay of the root directory, so that `make install` may
write into /usr/local, and a network of its own, so that any port is free. `make bare` does the same on a bare Debian.
"""
import os
import pathlib
import re
import shlex
import shutil
import subprocess

import pytest

import harness
import readme
from harness import BUILD, ROOT

FILES = ["README.md", "README.zh-CN.md"]
TUTORIAL = ["docs/tutorial.md", "docs/tutorial.zh-CN.md"]

pytestmark = [
    pytest.mark.skipif(harness.SANITIZED, reason="types build/tenon"),
    pytest.mark.skipif(BUILD != ROOT / "build", reason="types build/tenon"),
]

# What was done before, or would begin this test again
DONE_BEFORE = re.compile(r"git clone |cd tenon$|(\./test|make test)$|apt-get install ")


@pytest.fixture
def copy(tmp_path):
    """copy(): a shell in the copy, in this directory."""
    top, place = tmp_path / "top", shlex.quote(str(ROOT))
    top.mkdir()
    lay = f"""set -e
        mount --make-rprivate /
        mount -t tmpfs none {top}
        cd {top}
        mkdir up work root up-here work-here
        mount -t overlay -o lowerdir=/,upperdir=up,workdir=work overlay root
        mount -t overlay -o lowerdir={place},upperdir=up-here,workdir=work-here overlay root{place}
        mount --rbind /dev root/dev
        mount -t proc none root/proc
        mount --rbind /sys root/sys
        mount -t tmpfs none root/run
        ip link set lo up
        : >ready
        exec sleep {conftest_limit()}"""
    # One process holds the namespaces; every terminal enters them
    holder = subprocess.Popen(["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "bash", "-c", lay],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        inner = harness.wait_until(lambda: holder.poll() is not None or harness.children_of(holder.pid), "unshare(1)")
        if holder.poll() is not None:
            pytest.skip(f"no copy of this system here: {holder.stdout.read().decode().strip()}")
        pid = inner[0]
        harness.wait_until(lambda: holder.poll() is not None or pathlib.Path(f"/proc/{pid}/root{top}/ready").exists(),
                           "the copy")
        if holder.poll() is not None:
            pytest.skip(f"no copy of this system here: {holder.stdout.read().decode().strip()}")
        enter = ["nsenter", "--target", str(pid), "--root", "--mount", "--net", "--pid", "chroot", str(top / "root")]
        yield lambda folder: readme.Shell([*enter, "env", "-C", folder], env=environment()), pathlib.Path(
            f"/proc/{pid}/root{top}/root")
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def conftest_limit():
    import conftest
    return round(conftest.TEST_LIMIT * harness.load())


def environment():
    """Of somebody who has just logged in."""
    return {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin", "HOME": "/root",
            "LC_ALL": "C.UTF-8", "USER": "root"}


def test_what_is_typed_prints_what_is_shown(copy):
    shell, root = copy
    blocks = [[piece for piece in block if not isinstance(piece, readme.Command) or not DONE_BEFORE.match(piece.text)]
              for block in readme.read(ROOT / FILES[0])]
    assert sum(len(block) for block in blocks) > 10

    def put(folder, file, text):
        (root / folder.lstrip("/") / file).write_text(text, encoding="utf-8")
    typist = readme.Typist(shell, put, str(ROOT), 30 * harness.load())
    try:
        typist.all(blocks)
    finally:
        typist.close()
    assert not typist.faults, "\n".join(["", *typist.faults])


PROGRAM = """#include <stdio.h>
#include <tenon.h>
int main(void)
{
	return puts(tn_version()) < 0;
}
"""


@pytest.mark.parametrize("prefix, before", [
    ("", ""),
    ("PREFIX=/opt/tenon", "export PKG_CONFIG_PATH=/opt/tenon/lib/pkgconfig"),
])
def test_a_program_finds_the_installed_library(copy, prefix, before):
    """... with no more words than pkg-config says, on a system that has none of the libraries below as -dev packages;
    and
    `make uninstall` leaves nothing behind."""
    shell, root = copy
    terminal = shell(str(ROOT))

    def typed(text):
        terminal.type(text)
        assert terminal.wait(lambda printed, ended: ended, 60), f"{text}: {terminal.printed}"
        printed, (status, _) = terminal.state()
        assert status == 0, f"{text}: {printed}"
        return printed
    try:
        (root / "tmp/program.c").write_text(PROGRAM, encoding="utf-8")
        before_files = typed("find /usr/local /opt /etc -type f | grep -v ld.so.cache | sort")
        typed(f"make install {prefix}")
        typed("rm -f /usr/lib/*/pkgconfig/*.pc /usr/share/pkgconfig/*.pc")
        typed(before or ":")
        typed("cc /tmp/program.c $(pkg-config --cflags --libs tenon) -o /tmp/program")
        assert re.fullmatch(r"\d+\.\d+\.\d+\n", typed("/tmp/program"))
        typed("make uninstall")
        assert typed("find /usr/local /opt /etc -type f | grep -v ld.so.cache | sort") == before_files
    finally:
        terminal.close()


def test_the_tutorial_prints_what_it_shows(copy):
    """And its listings are pieces of the files that they name, each of which make has built or python3 can read."""
    shell, _ = copy
    blocks = readme.read(ROOT / TUTORIAL[0])
    sources = [piece for block in blocks for piece in block if isinstance(piece, readme.Source)]
    for source in sources:
        place = ROOT / source.name if source.name.startswith("examples/") else ROOT / "examples/textbook" / source.name
        assert source.text in place.read_text(encoding="utf-8"), f"line {source.line}: not in {place}"
        assert place.suffix == ".py" or (BUILD / "examples" / place.stem).exists(), place
    typed = "\n".join(piece.text for block in blocks for piece in block)
    for textbook in (ROOT / "examples/textbook").iterdir():
        assert f"python3 {textbook.name}" in typed
    typist = readme.Typist(shell, None, str(ROOT))
    try:
        typist.all([[piece for piece in block if isinstance(piece, readme.Command)] for block in blocks])
    finally:
        typist.close()
    assert not typist.faults, "\n".join(["", *typist.faults])


@pytest.mark.parametrize("files", [FILES, TUTORIAL])
def test_both_languages_say_the_same(files):
    """The same sections, tables, listings and commands in the same order; what is printed is the same too."""
    parts = [readme.read(ROOT / name) for name in files]
    assert [[(getattr(p, "text", None), getattr(p, "shown", None)) for p in block] for block in parts[0]] == \
        [[(getattr(p, "text", None), getattr(p, "shown", None)) for p in block] for block in parts[1]]
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in files]
    for pattern in (r"^(#+) ", r"^(\|)", r"\]\((?!#)([^)]*)\)"):
        first, second = ([found.replace(".zh-CN", "") for found in re.findall(pattern, text, re.M)] for text in texts)
        assert first == second, pattern
    for text in texts:
        heads = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in re.findall(r"^#+ (.*)", text, re.M)}
        assert set(re.findall(r"\]\(#([^)]*)\)", text)) <= heads


@pytest.mark.parametrize("shown, printed, same", [
    (["one", "two"], "one\ntwo\n", True),
    (["one"], "one\ntwo\n", False),
    (["..."], "", True),
    (["one", "...", "four"], "one\ntwo\nthree\nfour\n", True),
    (["one", "...", "four"], "one\ntwo\n", False),
    (["listening tcp://127.0.0.1:41327 (echo)"], "listening tcp://127.0.0.1:10000 (echo)\n", True),
    (["listening tcp://127.0.0.1:41327 (echo)"], "listening tcp://127.0.0.1:41327 (ack)\n", False),
    (["64 bytes 76.9 us"], "64 bytes 1.2 ms\n", True),
    (["64 bytes 76.9 us"], "65 bytes 76.9 us\n", False),
    (["peer ... fd 8"], "peer tenon (12) fd 8\n", True),
    ([], "tenon: something\n", False),
])
def test_what_counts_as_the_same(shown, printed, same):
    assert readme.fits(shown, printed) == same
