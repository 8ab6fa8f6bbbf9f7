"""What `pip install ./python` installs, with nothing from a network."""
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def test_pip_install(tmp_path):
    where = tmp_path / "site"
    made = subprocess.run([sys.executable, "-m", "pip", "install", "--no-build-isolation", "--no-index", "--no-deps",
                           "--disable-pip-version-check", "--config-settings=setup-args=-Doptimization=0",
                           "--target", where, ROOT / "python"], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
    assert made.returncode == 0, made.stdout
    assert (where / "tenon" / "_core.abi3.so").exists()
    assert list(where.glob("tenon-*.dist-info"))
    code = "import tenon; print(tenon.serve('udp://127.0.0.1:0', lambda c, m: m).url)"
    said = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, timeout=60,
                          env={**os.environ, "PYTHONPATH": str(where)}, cwd=tmp_path)
    assert said.stdout.startswith("udp://127.0.0.1:"), said.stderr
    # the C library is inside: nothing of it is asked of the system
    linked = subprocess.run(["readelf", "-d", where / "tenon" / "_core.abi3.so"], text=True, capture_output=True)
    assert "libtenon" not in linked.stdout and "libpython" not in linked.stdout
