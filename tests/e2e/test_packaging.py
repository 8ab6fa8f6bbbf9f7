"""What the Debian packages are made of (make deb builds them) agrees with what the build installs."""
import fnmatch
import json
import os
import re
import shutil
import subprocess

import pytest

from harness import ROOT

DEBIAN = ROOT / "packaging" / "debian"


def test_each_installed_file_is_in_a_package():
    if not shutil.which("meson"):
        pytest.skip("meson is not installed")
    build = os.environ["TENON_BUILD"]

    def introspect(what):
        return json.loads(subprocess.run(["meson", "introspect", what, build], check=True, capture_output=True).stdout)
    options = {option["name"]: option["value"] for option in introspect("--buildoptions")}
    libraries = os.path.join(options["prefix"], options["libdir"])

    def place(path):
        """Where Debian's packages have it: this build's libdir may be lib, lib64 or lib/x86_64-linux-gnu."""
        if os.path.commonpath([path, libraries]) == libraries and not re.search(r"/lib/(systemd|\w+\.d)/", path):
            return os.path.join("usr/lib/any", os.path.relpath(path, libraries))
        return os.path.join("usr", os.path.relpath(path, options["prefix"]))
    wanted = [line.split()[0] for file in DEBIAN.glob("*.install") for line in file.read_text().splitlines()]
    files = [place(path) for path in introspect("--installed").values()]
    assert len(files) > 20
    for path in files:
        assert any(fnmatch.fnmatch(path, one) or fnmatch.fnmatch(path, one.rstrip("/") + "/*") for one in wanted), \
            f"{path} is in none of the packages: packaging/debian/*.install"


def test_versions_agree():
    version = re.search(r"version: '([^']+)'", (ROOT / "meson.build").read_text())[1]
    changelog = (DEBIAN / "changelog").read_text()
    assert re.match(r"tenon \(([^-]+)-\d+\) ", changelog)[1] == version
    control = (DEBIAN / "control").read_text()
    soversion = re.search(r"'soversion': '(\d+)'", (ROOT / "src" / "meson.build").read_text())[1]
    assert f"Package: libtenon{soversion}\n" in control
    assert (DEBIAN / f"libtenon{soversion}.install").exists()
    assert {re.search(r"version = \"([^\"]+)\"", (ROOT / "python" / "pyproject.toml").read_text())[1],
            re.search(r"version: '([^']+)'", (ROOT / "python" / "meson.build").read_text())[1]} == {version}
