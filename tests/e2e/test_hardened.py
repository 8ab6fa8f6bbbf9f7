"""What a release build carries against mistakes of ours (meson.build), read in the files that were built."""
import platform
import re
import subprocess

import pytest

import harness
from harness import BUILD, COMMAND, OPTIONS

LIBRARY = BUILD / "src" / "libtenon.so"

pytestmark = [
    pytest.mark.skipif(harness.SANITIZED, reason="sanitizers instead"),
    pytest.mark.skipif(OPTIONS["optimization"] in ("0", "g"), reason="not a release build"),
]
files = pytest.mark.parametrize("file", [COMMAND, LIBRARY], ids=["command", "library"])


def said(*argv):
    return subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, check=True, text=True).stdout


@files
def test_what_is_resolved_is_read_only(program, file):
    """All of the table of functions is filled in at the start and made read-only; the stack is not for code."""
    text = said(program("readelf"), "-dlW", file)
    assert re.search(r"^ +GNU_RELRO ", text, re.M) and re.search(r"\(FLAGS_1\).*\bNOW\b", text)
    assert re.search(r"^ +GNU_STACK .* RW +0x", text, re.M)
    assert not re.search(r"^ +LOAD .* RWE ", text, re.M)


def test_the_command_has_no_fixed_address(program):
    assert re.search(r"^ +Type: +DYN ", said(program("readelf"), "-h", COMMAND), re.M)


@files
def test_buffers_are_watched(program, file):
    names = said(program("nm"), "-D", "--undefined-only", file)
    assert "__stack_chk_fail" in names, "-fstack-protector-strong"
    assert {"__snprintf_chk", "__memcpy_chk"} <= set(re.findall(r"\w+_chk", names)), "_FORTIFY_SOURCE"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads x86-64's instructions")
def test_stack_and_jumps_are_guarded(program):
    code = said(program("objdump"), "-d", LIBRARY)
    functions = dict(re.findall(r"^[0-9a-f]+ <(\w+)>:\n(.*?)\n(?:\n|\Z)", code, re.M | re.S))
    public = [name for name in functions if name.startswith("tn_")]
    assert public and all("endbr64" in functions[name].split("\n")[0] for name in public), "-fcf-protection"
    # A big frame is touched page by page on the way down, so that none steps over the guard page
    assert re.search(r"\bor[ql] +\$0x0,(0x0)?\(%rsp\)", code), "-fstack-clash-protection"
