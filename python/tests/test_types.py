"""The stubs: mypy --strict is content with a program that uses everything, and they name what there is."""
import ast
import inspect
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

import tenon
import tenon.aio
import tenon.cert
import tenon.testing
import tenon.trio

HERE = pathlib.Path(__file__).resolve().parent


def test_mypy(tmp_path):
    pytest.importorskip("mypy")
    said = subprocess.run([sys.executable, "-m", "mypy", "--strict", f"--cache-dir={tmp_path}", HERE / "typed.py"],
                          text=True, capture_output=True, env={**os.environ, "MYPYPATH": str(HERE.parent)})
    assert said.returncode == 0, said.stdout + said.stderr


def find_pyright():
    """Of npm: in PATH, or one of NODE_PATH's folders."""
    if shutil.which("pyright"):
        return ["pyright"]
    scripts = [pathlib.Path(folder, "pyright", "index.js")
               for folder in os.environ.get("NODE_PATH", "").split(os.pathsep) if folder]
    return next((["node", script] for script in scripts if script.exists() and shutil.which("node")), None)


def test_pyright(tmp_path):
    """The stubs and the program, by pyright's strict rules; it finds what is wrong."""
    pyright = find_pyright()
    if not pyright:
        pytest.skip("pyright is not installed (npm install pyright, and NODE_PATH)")
    shutil.copytree(HERE.parent / "tenon", tmp_path / "tenon", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    text = (HERE / "typed.py").read_text()
    (tmp_path / "typed.py").write_text(text)
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(
        {"typeCheckingMode": "strict", "reportMissingModuleSource": False, "pythonVersion": "3.11"}))

    def judge():
        return subprocess.run([*pyright, "-p", tmp_path, "--pythonpath", sys.executable], text=True,
                              capture_output=True, cwd=tmp_path)
    said = judge()
    assert said.returncode == 0, said.stdout + said.stderr
    (tmp_path / "typed.py").write_text(text + "wrong: int = tenon.cert.read('server.pem')[0].names\n")
    assert judge().returncode == 1


def names_in(body):
    """The names that statements of a stub define, and those of each class."""
    names, classes = set(), {}
    for one in body:
        if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names.add(one.name)
        elif isinstance(one, ast.ClassDef):
            names.add(one.name)
            classes[one.name] = {member.name for member in one.body if hasattr(member, "name")}
        elif isinstance(one, ast.AnnAssign):
            names.add(one.target.id)
    return names, classes


@pytest.mark.parametrize("module", [tenon, tenon.aio, tenon.cert, tenon.testing, tenon.trio], ids=lambda m: m.__name__)
def test_stubs_name_what_there_is(module):
    stub = pathlib.Path(module.__file__).with_suffix(".pyi")
    names, classes = names_in(ast.parse(stub.read_text()).body)
    types_only = {"Message", "Info", "Security", "WebSocket", "Counts", "Place", "Loss"}
    for name in names:
        assert name.startswith("_") or name in types_only or hasattr(module, name), f"{name} is in the stub alone"
    for name, thing in vars(module).items():
        if name.startswith("_") or inspect.ismodule(thing) or \
                (thing.__module__ if hasattr(thing, "__module__") else "tenon").split(".")[0] != "tenon":
            continue
        if module is not tenon and getattr(thing, "__module__", module.__name__) != module.__name__:
            continue
        assert name in names, f"{name} is not in the stub"
    for name, members in classes.items():
        real = getattr(module, name, None)
        if name in types_only or name.startswith("_"):
            continue
        for member in members:
            assert hasattr(real, member), f"{name}.{member} is in the stub alone"
        for member in vars(real):
            assert member.startswith("_") or member in members or not callable(vars(real)[member]), f"{name}.{member}"


def test_docstrings():
    """Everything that is public says what it does, and its signature."""
    for name in dir(tenon):
        thing = getattr(tenon, name)
        if name.startswith("_") or not callable(thing):
            continue
        assert inspect.getdoc(thing), name
        classes = (tenon.Conn, tenon.Handle, tenon.Histogram, tenon.Loop, tenon.Server, tenon.Split)
        if isinstance(thing, type) and issubclass(thing, classes):
            for member in vars(thing):
                if not member.startswith("_"):
                    assert inspect.getdoc(getattr(thing, member)), f"{name}.{member}"
        elif inspect.isbuiltin(thing):
            assert thing.__text_signature__ or name in ("serve", "dial"), name
