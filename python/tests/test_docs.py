"""The programs of the README and of docs/python.md run as they stand."""
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def programs(name):
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / name).read_text(encoding="utf-8"), re.M | re.S)


PRINTED = {"README.md": ["{'ack': {'op': 1}}\n"],
           "docs/python.md": ["b'ack: Hello, world!'\n", "b'Hello'\n", "{'op': 'ping'}\n"]}


@pytest.mark.parametrize("name, number", [(name, n) for name, shown in PRINTED.items() for n in range(len(shown))])
def test_program(name, number):
    assert len(programs(name)) == len(PRINTED[name])
    said = subprocess.run([sys.executable, "-c", programs(name)[number]], text=True, capture_output=True, timeout=60,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert said.stdout == PRINTED[name][number], said.stderr


def test_readme_is_typed(tmp_path):
    pytest.importorskip("mypy")
    source = tmp_path / "example.py"
    source.write_text(programs("README.md")[0])
    said = subprocess.run([sys.executable, "-m", "mypy", "--strict", f"--cache-dir={tmp_path}", source], text=True,
                          capture_output=True, env={**os.environ, "MYPYPATH": str(ROOT / "python")})
    assert said.returncode == 0, said.stdout + said.stderr


def test_both_languages_have_it():
    assert programs("README.md") == programs("README.zh-CN.md")
