"""What the Debian packages are made of (make deb builds them) agrees with what the build installs."""
import fnmatch
import json
import os
import re
import shutil
import subprocess
import tarfile

import pytest

from harness import COMMAND, LIMIT, ROOT, SANITIZED, wait_until

pytestmark = pytest.mark.skipif(SANITIZED, reason="it is about files")

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


def test_the_source_is_packed_the_same_each_time(tmp_path):
    """Whoever packs it, whenever, under whatever umask, in whatever language and time zone."""
    def git(*argv):
        return subprocess.run(["git", *argv], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("this is no clone of the repository")
    packed = []
    for umask, more in ((0o022, {}), (0o077, {"LC_ALL": "C.UTF-8", "TZ": "Asia/Tokyo"})):
        folder = tmp_path / f"{umask:o}"
        subprocess.run([ROOT / "scripts" / "dist", folder], check=True, capture_output=True, umask=umask, timeout=LIMIT,
                       env={name: value for name, value in {**os.environ, **more}.items()
                            if name != "SOURCE_DATE_EPOCH"})
        packed += folder.glob("*")
    assert [path.name for path in packed] == [packed[0].name] * 2 and packed[0].name.endswith(".tar.gz")
    assert packed[0].read_bytes() == packed[1].read_bytes()
    with tarfile.open(packed[0]) as archive:
        members = archive.getmembers()
    top = packed[0].name.removesuffix(".tar.gz") + "/"
    assert {member.name.removeprefix(top) for member in members} == set(git("ls-files").splitlines())
    assert {member.mtime for member in members} == {int(git("log", "-1", "--format=%ct"))}


def commands_of_images():
    """What the Dockerfile and the compose file have tenon do: name -> arguments."""
    docker = ROOT / "packaging" / "docker"
    found = {"image": re.search(r"^CMD (.*)$", (docker / "Dockerfile").read_text(encoding="utf-8"), re.M)[1]}
    found.update(re.findall(r"^  (\w+):\n    <<: \*tenon\n    command: (.*)$",
                            (docker / "compose.yaml").read_text(encoding="utf-8"), re.M))
    return {name: json.loads(text) for name, text in found.items()}


@pytest.mark.parametrize("engine", ["auto"], indirect=True)
@pytest.mark.parametrize("name", ["image", "echo", "relay", "hub"])
def test_what_images_run(tenon, network, name):
    """Each command serves, and the compose file's check of its health finds it well."""
    compose = (ROOT / "packaging" / "docker" / "compose.yaml").read_text(encoding="utf-8")
    check = json.loads(re.search(r"^    test: (.*)$", compose, re.M)[1])
    place = f"unix:{tenon.folder}/admin"
    argv = [arg.replace("unix:/tmp/admin", place) for arg in commands_of_images()[name]]
    server = tenon.peer(COMMAND, *argv, preexec_fn=network.enter)
    wait_until(lambda: server.lines, lambda: server.err)
    assert server.lines[0].startswith("listening ")
    if name != "image":
        wait_until(lambda: "admin: " in server.err, lambda: server.err)
        assert check[:2] == ["CMD", "/usr/bin/tenon"]
        done = tenon.finish([COMMAND, *[arg.replace("unix:/tmp/admin", place) for arg in check[2:]]])
        assert json.loads(done.out)["state"] == "ready"
    server.signal(15)
    server.wait(0)
