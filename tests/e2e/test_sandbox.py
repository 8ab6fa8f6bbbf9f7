"""The sandbox of tenon serve: what a server that somebody has taken over can still do."""
import contextlib
import errno
import os
import pathlib
import re
import shutil
import signal
import socket
import types

import pytest

from harness import COMMAND, OPTIONS, SANITIZED, exchange, is_running, wait_until
from system import LIBC, LANDLOCK_CREATE_RULESET, LANDLOCK_RESTRICT_SELF, refuse_call

pytestmark = pytest.mark.skipif(
    SANITIZED or OPTIONS["b_coverage"], reason="sanitizers look at the process from outside, counters want files: "
                                               "there is no sandbox")

BUILD = pathlib.Path(os.environ.get("TENON_BUILD", pathlib.Path(COMMAND).parent))
ROOT = os.geteuid() == 0
DAC_OVERRIDE = 1 << 1


def status_of(server):
    text = pathlib.Path(f"/proc/{server.pid}/status").read_text(encoding="utf-8")
    return dict(re.findall(r"^(\w+):\s+(\S+)", text, re.M))


def has_seccomp(tenon):
    return b"libseccomp is not in this build" not in tenon.finish([COMMAND, "--version"]).out


def probe_of(tenon, *urls, options=(), env=None):
    """What the probe says that it could do in a server: name -> 0 or -errno."""
    library = BUILD / "tests" / "probe" / "probe.so"
    if not library.exists():
        pytest.skip("there is no probe in this build")
    server = tenon.serve(*urls, options=options, env={"LD_PRELOAD": str(library), **(env or {})})
    server.untidy = True
    server.signal(signal.SIGUSR1)
    server.wait_for_text(r"probe end 0", where="err")
    return {name: int(result) for name, result in re.findall(r"^probe ([\w-]+) (-?\d+)$", server.err, re.M)}, server


def test_nothing_can_be_reached(tenon):
    if not has_seccomp(tenon):
        pytest.skip("there is no libseccomp in this build")
    done, server = probe_of(tenon, "tcp://127.0.0.1:0")
    done.pop("end")
    assert len(done) >= 12 and set(done.values()) <= {-errno.EPERM, -errno.EACCES}, done
    assert exchange(tenon.dial(server.url), b"served all the same") == b"served all the same"


def test_a_sandbox_that_lacks_nothing_says_nothing(tenon):
    version = LIBC.syscall(LANDLOCK_CREATE_RULESET, None, 0, 1)  # 3 (Linux 6.2): all that is wanted
    server = tenon.serve("tcp://127.0.0.1:0")
    assert ("Landlock" in server.err) == (version < 3) and ("seccomp" in server.err) != has_seccomp(tenon)


def test_without_it_all_can_be_reached(tenon):
    done, _ = probe_of(tenon, "tcp://127.0.0.1:0", options=["--no-sandbox"])
    assert done["open"] == 0 and done["socket"] == 0 and done["exec"] == -errno.ENOENT, done
    pathlib.Path("/tmp/tenon-probe-made-this").unlink(missing_ok=True)


def test_privileges(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    status = status_of(server)
    assert status["NoNewPrivs"] == "1" and int(status["CapPrm"], 16) == 0
    assert status["Seccomp"] == ("2" if has_seccomp(tenon) else "0")
    if ROOT and "SUDO_UID" not in os.environ:
        assert status["Uid"] != "0"


def test_privileges_kept(tenon):
    """None for files. Root's server can reply to any Unix socket still, where nothing else can be done with that."""
    server = tenon.serve(f"unix:{tenon.folder}/sock")
    assert int(status_of(server)["CapPrm"], 16) == 0
    server = tenon.serve(f"unix-dgram:{tenon.folder}/datagrams")
    assert int(status_of(server)["CapPrm"], 16) == (DAC_OVERRIDE if ROOT else 0)


def test_a_socket_in_a_directory_for_all(tenon, tmp_path):
    """As in /tmp: who is not the owner of a file there may not remove it."""
    folder = tmp_path / "all"
    folder.mkdir()
    folder.chmod(0o1777)
    server = tenon.serve(f"unix:{folder}/sock")
    assert (folder / "sock").exists()
    server.stop()
    assert not (folder / "sock").exists()


def test_no_sandbox(tenon):
    status = status_of(tenon.serve("tcp://127.0.0.1:0", options=["--no-sandbox"]))
    assert (status["NoNewPrivs"], status["Seccomp"], status["Uid"]) == ("0", "0", str(os.geteuid()))


@pytest.mark.skipif(not ROOT, reason="only root can become somebody else")
def test_user(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--user", "daemon"])
    assert status_of(server)["Uid"] == "1"
    assert exchange(tenon.dial(server.url), b"hello") == b"hello"


@pytest.mark.skipif(not ROOT, reason="only root can become somebody else")
@pytest.mark.parametrize("user, uid, gid, groups", [
    ("12345", 12345, 12345, "12345"), ("0", 0, 0, None), ("1", 1, 1, "1"), ("12345:54321", 12345, 54321, "54321"),
    ("daemon:nogroup", 1, 65534, "65534"), ("root:daemon", 0, 1, "1")])
def test_a_user_by_number_and_with_a_group(tenon, user, uid, gid, groups):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--user", user])
    text = pathlib.Path(f"/proc/{server.pid}/status").read_text(encoding="utf-8")
    assert re.search(rf"^Uid:\t{uid}\t{uid}\t{uid}\t{uid}$", text,
                     re.M) and re.search(rf"^Gid:\t{gid}\t{gid}\t{gid}\t{gid}$", text, re.M)
    assert groups is None or re.search(rf"^Groups:\t{groups} *$", text, re.M), text
    assert int(status_of(server)["CapPrm"], 16) == 0


@pytest.mark.skipif(not ROOT, reason="only root can give the system other groups")
def test_the_groups_of_a_user(tenon):
    """All in which the system has that user, by its name; by a number, too."""
    if tenon.finish(["unshare", "--mount", "true"], status=None).status:
        pytest.skip("no file system of one's own can be had here")
    path = tenon.file("group", b"daemon:x:1:\nfirst:x:71:bin,daemon\nsecond:x:72:bin\nthird:x:73:daemon\n")
    script = f'mount --bind {path} /etc/group && exec "$@"'
    for user in ("daemon", "1"):
        server = tenon.peer("unshare", "--mount", "sh", "-c", script, "sh",
                            *tenon.argv("serve", "tcp://127.0.0.1:0", "--user", user))
        server.wait_for_text("^listening", "out")
        text = pathlib.Path(f"/proc/{server.pid}/status").read_text(encoding="utf-8")
        assert re.search(r"^Groups:\t1 71 73 *$", text, re.M), text
        server.signal(signal.SIGTERM)
        server.wait(0)


@pytest.mark.parametrize("user", ["4294967295", "-1", "daemon:", ":daemon", "daemon:nosuchgroup", "99999999999", ""])
def test_no_such_user(tenon, user):
    assert "--user" in tenon.run("serve", f"--user={user}", status=2).err


def test_unknown_user(tenon):
    result = tenon.run("serve", "--user", "nosuchuserhere", status=2)
    assert "--user" in result.err and "nosuchuserhere" in result.err


@pytest.mark.skipif(not ROOT or not shutil.which("setpriv"), reason="not root, or no setpriv")
def test_a_user_that_one_cannot_become(tenon):
    setpriv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    result = tenon.finish([*setpriv, *tenon.argv("serve", "tcp://127.0.0.1:0", "--user", "root")], status=1)
    assert "privileges cannot be given up" in result.err and "start as root, or without --user" in result.err


def test_commands_keep_what_they_need(tenon):
    """They are who we are, and see the files that we see; but no program makes them more."""
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", "exec:id -u; cat /etc/hostname /proc/self/status"])
    client = tenon.dial(server.url)
    client.shutdown(1)
    told = b""
    while data := client.recv(65536):
        told += data
    assert told.startswith(b"%d\n" % os.geteuid()) and b"\nNoNewPrivs:\t1\n" in told and b"\nSeccomp:\t0\n" in told


# Files: a process of its own opens what is named, by its path

READ_SEARCH = 1 << 2


def brokers():
    """Processes that open files for a server, each with what its server's command line is."""
    found = {}
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "comm").read_text(encoding="utf-8") == "tenon-files\n":
                found[int(entry.name)] = (entry / "cmdline").read_bytes()
    return found


def broker_of(server):
    argv = b"\0".join(os.fsencode(arg) for arg in server.argv) + b"\0"
    return next(pid for pid, line in brokers().items() if line == argv)


class Switched:
    """A certificate and its key at a place whose content can be exchanged, in one of the ways that people have."""

    def __init__(self, folder, authority, way):
        self.folder, self.authority, self.way = folder / way, authority, way
        self.folder.mkdir()
        self.number = 0
        self.cert, self.key = (self.folder / name for name in {
            "kubernetes": ("tls.crt", "tls.key"), "certbot": ("live/host/cert.pem", "live/host/key.pem"),
            "renamed": ("now/cert.pem", "now/key.pem"), "linked": ("cur/cert.pem", "cur/key.pem"),
            "rewritten": ("cert.pem", "key.pem"), "replaced": ("cert.pem", "key.pem")}[way])
        self.put("server")

    def write(self, folder, who, cert="cert.pem", key="key.pem"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / cert).write_bytes(self.authority.pem(who).read_bytes())
        (folder / key).write_bytes(self.authority.key(who).read_bytes())
        (folder / key).chmod(0o600)

    def link(self, path, target):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(path.name + ".new")
        fresh.symlink_to(target)
        fresh.replace(path)

    def put(self, who):
        self.number += 1
        getattr(self, "put_" + self.way)(who, self.number)

    def put_kubernetes(self, who, n):
        self.write(self.folder / f"..{n}", who, "tls.crt", "tls.key")
        self.link(self.folder / "..data", f"..{n}")
        for path in (self.cert, self.key):
            if n == 1:
                path.symlink_to(f"..data/{path.name}")
        if n > 1:
            shutil.rmtree(self.folder / f"..{n - 1}")

    def put_certbot(self, who, n):
        self.write(self.folder / "archive" / "host", who, f"cert{n}.pem", f"key{n}.pem")
        self.link(self.key, f"../../archive/host/key{n}.pem")
        self.link(self.cert, f"../../archive/host/cert{n}.pem")

    def put_renamed(self, who, n):
        self.write(self.folder / "fresh", who)
        if n > 1:
            self.cert.parent.rename(self.folder / f"old.{n}")
        (self.folder / "fresh").rename(self.cert.parent)

    def put_linked(self, who, n):
        self.write(self.folder / str(n), who)
        self.link(self.folder / "cur", str(n))

    def put_rewritten(self, who, n):
        self.write(self.folder, who)

    def put_replaced(self, who, n):
        self.write(self.folder / "fresh", who)
        for path in (self.key, self.cert):
            (self.folder / "fresh" / path.name).replace(path)


WAYS = ["kubernetes", "certbot", "renamed", "linked", "rewritten", "replaced"]


@pytest.mark.parametrize("scheme, options", [("tls", ["--threads", "2"]), ("dtls", [])])
def test_certificates_are_read_again_however_they_are_switched(tenon, tmp_path, authority, trusted, scheme, options):
    places = [Switched(tmp_path, authority, way) for way in WAYS]
    server = tenon.serve(*[f"{scheme}://127.0.0.1:0?cert={place.cert}&key={place.key}" for place in places],
                         options=options)
    rounds = [("a.example", "a.example"), ("server", "localhost")]  # twice: what was new grows old, too
    for who, name in rounds if scheme == "tls" else rounds[:1]:
        told = len(re.findall("have changed and are in use", server.err))
        for place in places:
            place.put(who)
        wait_until(lambda: len(re.findall("have changed and are in use", server.err)) - told == len(WAYS),
                   lambda: f"all are read again: {server.err}")
        for url in server.urls:
            assert tenon.run("send", f"{url}?{trusted}&sni={name}", "x").out in (b"x\n", b"ack: x\n")
    assert "stay in use" not in server.err


def test_keys_and_key_log_are_opened_again(tenon, tmp_path, authority):
    """Pre-shared keys behind a link; a key log that is moved away, as log rotation does."""
    for name, key in (("a", "11" * 16), ("b", "22" * 16)):
        (tmp_path / name).mkdir()
        tenon.file(f"{name}/psk", f"alice:{key}\n".encode()).chmod(0o600)
    (tmp_path / "cur").symlink_to("a")
    (tmp_path / "log").mkdir()
    client = tenon.file("client.psk", b"alice:" + b"22" * 16 + b"\n")
    client.chmod(0o600)
    server = tenon.serve(f"tls://127.0.0.1:0?psk-file={tmp_path}/cur/psk&keylog={tmp_path}/log/keys")
    (tmp_path / "log").rename(tmp_path / "log.1")
    (tmp_path / "log").mkdir()
    (tmp_path / "new").symlink_to("b")
    (tmp_path / "new").replace(tmp_path / "cur")
    server.wait_for_text("have changed and are in use")
    assert tenon.run("send", f"{server.url}?psk-file={client}", "x").out == b"x\n"
    assert "SECRET" in (tmp_path / "log" / "keys").read_text(encoding="ascii")


def test_only_what_is_named_can_be_reached(tenon, tmp_path, authority):
    """Not what stands beside it: neither by the server itself nor through the process that opens its files."""
    (tmp_path / "other").write_text("not ours", encoding="ascii")
    beside = authority.folder / "ca.key"
    done, server = probe_of(tenon, f"unix:{tmp_path}/sock", f"tls://127.0.0.1:0?{authority.pair('server')}",
                            env={"PROBE_OPEN": str(beside), "PROBE_REMOVE": str(tmp_path / "other")})
    assert done["broker-open"] == done["broker-remove"] == done["broker-climb"] == -errno.EACCES, done
    done = {name: code for name, code in done.items()
            if name not in ("end", "broker-open", "broker-remove", "broker-climb")}
    assert {"open-beside", "remove-beside"} <= set(done) and set(done.values()) <= {-errno.EPERM, -errno.EACCES}, done
    assert (tmp_path / "other").exists() and (tmp_path / "sock").exists()
    server.stop()
    assert not (tmp_path / "sock").exists()


def test_more_files_than_the_sandbox_can_keep(tenon, tmp_path):
    urls = [f"unix:{tmp_path}/{number}" for number in range(257)]
    done = tenon.run("serve", *urls, status=1)
    assert done.err == "tenon: too many files for the sandbox\nTry: --no-sandbox\n", done
    assert not list(tmp_path.iterdir())
    server = tenon.serve(*urls, options=["--no-sandbox"])
    assert exchange(tenon.dial(server.urls[-1]), b"the last of them") == b"the last of them"


def test_a_socket_of_another_is_left_alone(tenon, tmp_path):
    server = tenon.serve(f"unix:{tmp_path}/sock")
    (tmp_path / "sock").unlink()
    other = socket.socket(socket.AF_UNIX)
    other.bind(str(tmp_path / "sock"))
    with other:
        server.stop()
        assert (tmp_path / "sock").exists()
    (tmp_path / "sock").unlink()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_process_that_opens_files_ends_with_its_server(tenon, tmp_path, authority, number):
    url = f"tls://127.0.0.1:0?{authority.pair('server')}"
    server = tenon.serve(url)
    pid = broker_of(server)
    if ROOT:
        assert int(status_of(types.SimpleNamespace(pid=pid))["CapPrm"], 16) == READ_SEARCH
        assert int(status_of(server)["CapPrm"], 16) == 0
    os.kill(pid, signal.SIGTERM)  # a service manager sends it to all of them: it must stay until its server goes
    server.stopped = True
    server.signal(number)
    server.wait(0 if number == signal.SIGTERM else -number)
    wait_until(lambda: not is_running(pid), "it ends")


def test_a_server_whose_files_process_is_killed_goes_on(tenon, authority, trusted):
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}")
    os.kill(broker_of(server), signal.SIGKILL)
    server.signal(signal.SIGHUP)
    server.wait_for_text("the old (certificates|ones) stay in use")
    assert tenon.run("send", f"{server.url}?{trusted}", "x").out == b"x\n"


@pytest.mark.skipif(not ROOT, reason="only root has capabilities to keep")
@pytest.mark.parametrize("call", [LANDLOCK_CREATE_RULESET, LANDLOCK_RESTRICT_SELF])
def test_without_landlock_no_capability_is_kept(tenon, tmp_path, call):
    server = tenon.serve(f"unix-dgram:{tmp_path}/sock", f"unix:{tmp_path}/other",
                         preexec_fn=refuse_call(call, errno.ENOSYS))
    assert "Landlock" in server.err, "what is missing is told without -v"
    assert int(status_of(server)["CapPrm"], 16) == 0
    server.stop()
    assert not (tmp_path / "sock").exists()


@pytest.mark.skipif(not ROOT, reason="only root can become somebody else")
def test_files_of_root_for_another_user(tenon, tmp_path, authority, trusted):
    """Root's folder may be closed to others: the server is another user, and its certificates are still read again."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    place = Switched(closed, authority, "linked")
    server = tenon.serve(f"tls+unix:{closed}/sock?cert={place.cert}&key={place.key}",
                         options=["--user", "daemon", "--threads", "2"])
    place.put("a.example")
    server.wait_for_text("have changed and are in use")
    server.stop()
    assert not (closed / "sock").exists()


# A Unix socket's file

UNIX = [("unix", socket.SOCK_STREAM), ("unix-seqpacket", socket.SOCK_SEQPACKET), ("unix-dgram", socket.SOCK_DGRAM)]


@pytest.mark.skipif(not ROOT, reason="only root gives files away")
@pytest.mark.parametrize("scheme, kind", UNIX)
def test_the_file_of_a_socket_has_the_owner_and_mode_that_are_wanted(tenon, tmp_path, scheme, kind):
    shared = tmp_path / "shared"
    shared.mkdir()
    os.chown(shared, -1, 12)
    shared.chmod(0o2755)  # what is made there has its group
    server = tenon.serve(f"{scheme}:{tmp_path}/a?mode=600", f"{scheme}:{tmp_path}/b?mode=0666&user=daemon&group=12",
                         f"{scheme}:{tmp_path}/c?user=4000000000", f"{scheme}:{shared}/d",
                         f"{scheme}:{shared}/e?group=0", preexec_fn=lambda: os.umask(0o077) and None)
    a, b, c = ((tmp_path / name).stat() for name in "abc")
    assert (a.st_mode & 0o777, b.st_mode & 0o777, c.st_mode & 0o777) == (0o600, 0o666, 0o700)
    assert (a.st_uid, b.st_uid, b.st_gid, c.st_uid) == (0, 1, 12, 4000000000)
    assert [(shared / name).stat().st_gid for name in "de"] == [12, 0]
    with socket.socket(socket.AF_UNIX, kind) as client:
        client.connect(str(tmp_path / "b"))
    server.stop()
    assert not list(tmp_path.glob("[abc]"))


@pytest.mark.parametrize("url", ["unix:@name?mode=600", "tcp://127.0.0.1:0?user=root", "unix:sock?mode=888",
                                 "unix:sock?mode=1777", "unix:sock?user=nosuchuser", "unix:sock?group=-1",
                                 "unix:sock?user=4294967295", "unix:sock?mode="])
def test_owner_and_mode_that_cannot_be(tenon, url):
    assert "key '" in tenon.run("serve", url, status=2).err


@pytest.mark.parametrize("scheme, kind", UNIX)
def test_a_path_that_another_process_has_bound_is_not_taken(tenon, tmp_path, scheme, kind):
    """Even if it does not listen yet, and so refuses to be connected to. What a process has left behind is taken."""
    with socket.socket(socket.AF_UNIX, kind) as other:
        other.bind(str(tmp_path / "sock"))
        found = (tmp_path / "sock").stat().st_ino
        assert "another process" in tenon.run("serve", f"{scheme}:{tmp_path}/sock", status=1).err
        assert (tmp_path / "sock").stat().st_ino == found
    server = tenon.serve(f"{scheme}:{tmp_path}/sock")
    server.stop()


@pytest.mark.parametrize("kind", ["SSL_CERT_DIR", "SSL_CERT_FILE"])
def test_the_systems_authorities_vouch_for_clients_in_the_sandbox(tenon, tmp_path, authority, trusted, program, kind):
    """OpenSSL would read their folder when it needs one. They are read anew with the certificates, too."""
    place = authority.pem("ca")
    if kind == "SSL_CERT_DIR":
        place = tmp_path / "authorities"
        place.mkdir()
        name = tenon.finish([program("openssl"), "x509", "-hash", "-noout", "-in", authority.pem("ca")]).text.strip()
        (place / f"{name}.0").symlink_to(authority.pem("ca"))
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}&verify=require", env={kind: str(place)})
    for _ in range(2):
        assert tenon.run("send", f"{server.url}?{trusted}&{authority.pair('alice')}", "x").out == b"x\n"
        assert tenon.run("send", f"{server.url}?{trusted}&{authority.pair('mallory')}", "x", status=None).out == b""
        server.signal(signal.SIGHUP)
        server.wait_for_text("read again")
