"""Programs that were compiled for the last release run with this library (scripts/abi), and what would break one is
noticed."""
import shutil
import subprocess
import sys

import pytest

from harness import BUILD, OPTIONS, ROOT, SANITIZED

LIBRARY = BUILD / "src" / "libtenon.so"

pytestmark = [pytest.mark.skipif(OPTIONS["minimal"], reason="a minimal build lacks functions of parts left out"),
              pytest.mark.skipif(SANITIZED, reason="it is about symbols")]


@pytest.fixture
def abi(program):
    """Runs scripts/abi: (status, what it said)."""
    program("abidiff")

    def run(*argv):
        done = subprocess.run([sys.executable, ROOT / "scripts/abi", *map(str, argv)], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout
    return run


@pytest.fixture
def changed(abi, tmp_path):
    """Compares with headers in which one text stands in place of another."""
    def compare(header, before, after):
        headers = shutil.copytree(ROOT / "include", tmp_path / "include")
        text = (headers / header).read_text()
        assert text.count(before) == 1
        (headers / header).write_text(text.replace(before, after))
        return abi(LIBRARY, "--headers", headers)
    return compare


def test_no_program_breaks(abi):
    assert abi(BUILD) == (0, "")


@pytest.mark.parametrize("header, before, after, named", [
    pytest.param("tenon.h", "TN_API void tn_loop_stop(struct tn_loop *loop);", "", "tn_loop_stop", id="function-goes"),
    pytest.param("tenon.h", "int tn_loop_step(struct tn_loop *loop, int timeout_ms);",
                 "int tn_loop_step(struct tn_loop *loop, int64_t timeout_ms);", "tn_loop_step", id="parameter-type"),
    pytest.param("tenon.h", "TN_API void tn_loop_stop(struct", "TN_API int tn_loop_stop(struct", "tn_loop_stop",
                 id="result"),
    pytest.param("tenon.h", "struct tn_handler {", "struct tn_handler {\n\tvoid (*on_first)(void);", "tn_handler",
                 id="field-in-front"),
    pytest.param("tenon_value.h", "struct tn_bytes {", "struct tn_bytes {\n\tint first;", "tn_bytes",
                 id="struct-that-stays"),
    pytest.param("tenon.h", "\tint naddrs;   /*", "\tshort naddrs;   /*", "tn_place", id="field-type"),
    pytest.param("tenon.h", "TN_ENAME = -4021", "TN_ENAME = -4031", "tn_err", id="enumerator"),
    pytest.param("tenon.h", "#define TN_FRAME_NAME_MAX 32", "#define TN_FRAME_NAME_MAX 16", "TN_FRAME_NAME_MAX",
                 id="constant"),
])
def test_what_breaks_a_program_is_noticed(changed, header, before, after, named):
    status, said = changed(header, before, after)
    assert status == 1 and "could break" in said and named in said, said


@pytest.mark.parametrize("header, before, after", [
    pytest.param("tenon.h", "TN_API void tn_loop_stop(struct tn_loop *loop);",
                 "TN_API void tn_loop_stop(struct tn_loop *loop);\nTN_API void tn_new(int);", id="function-comes"),
    pytest.param("tenon.h", "\tvoid *arg; /* for both */\n", "\tvoid *arg;\n\tvoid *more;\n", id="struct-grows"),
    pytest.param("tenon.h", "TN_ENAME = -4021", "TN_ENEW = -4099, TN_ENAME = -4021", id="enumerator-comes"),
    pytest.param("tenon.h", "int tn_loop_step(struct tn_loop *loop, int timeout_ms);",
                 "int tn_loop_step(struct tn_loop *l, int t); /* words */", id="names"),
])
def test_what_breaks_none_is_let_through(changed, header, before, after):
    assert changed(header, before, after) == (0, "")


def test_a_function_that_is_not_exported_is_noticed(abi, program, tmp_path):
    """Though it is still declared."""
    names = subprocess.run([program("nm"), "-D", "--defined-only", LIBRARY], stdout=subprocess.PIPE, text=True,
                           check=True).stdout.split()[2::3]
    names.remove("tn_dial_sized")
    (tmp_path / "rest.c").write_text("".join(f"void {name}(void) {{}}\n" for name in names))
    subprocess.run([program("cc"), "-shared", "-fPIC", "-w", "-o", tmp_path / "rest.so", tmp_path / "rest.c"],
                   check=True)
    status, said = abi(tmp_path / "rest.so")
    assert status == 1 and said.endswith("\ntn_dial_sized() is not exported any more\n"), said
