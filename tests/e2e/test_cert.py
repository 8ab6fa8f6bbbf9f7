"""tenon cert: what it makes is judged by openssl, GnuTLS and Python; what it says is compared with what openssl
says."""
import datetime
import hashlib
import ipaddress
import json
import os
import re
import socket
import ssl
import stat
import subprocess
import threading

import pytest

from harness import COMMAND, LIMIT

pytestmark = pytest.mark.parametrize("engine", ["auto"], indirect=True)

FILES = ["ca.key", "ca.pem", "client.key", "client.pem", "server.key", "server.pem"]
NOW = datetime.datetime.now(datetime.timezone.utc)


@pytest.fixture(autouse=True)
def with_tls(tenon):
    if b"\n  cert " not in tenon.finish([COMMAND, "--help"]).out:
        pytest.skip("this build has no OpenSSL")


@pytest.fixture
def openssl(tenon, program):
    """openssl(ARGS): its Result; it has to succeed unless told otherwise."""
    path = program("openssl")
    return lambda *args, status=0, **how: tenon.finish([path, *args], status, **how)


@pytest.fixture
def certs(tenon, tmp_path):
    """A directory of fresh certificates for `hosts`."""
    def make(*hosts, name="certs", args=()):
        where = tmp_path / name
        tenon.run("cert", "new", "--out", where, *(["--host", ",".join(hosts)] if hosts else []), *args)
        return where
    return make


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def own_certificate(openssl, folder, begins, ends, name="own.pem", more="subjectAltName=DNS:localhost\n"):
    """A self-signed certificate between two days counted from now, made by openssl."""
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
            folder / "own.key", "-out", folder / "own.csr", "-subj", "/CN=own")
    (folder / "own.cnf").write_text(
        "[ca]\ndefault_ca=d\n[d]\nnew_certs_dir=.\ndatabase=index\nserial=serial\ndefault_md=sha256\npolicy=p\n"
        f"x509_extensions=e\n[p]\ncommonName=supplied\n[e]\n{more}", encoding="utf-8")
    (folder / "index").write_text("", encoding="utf-8")
    (folder / "serial").write_text("0abc\n", encoding="utf-8")
    dates = [(NOW + datetime.timedelta(days=days)).strftime("%Y%m%d%H%M%SZ") for days in (begins, ends)]
    openssl("ca", "-batch", "-selfsign", "-notext", "-config", "own.cnf", "-keyfile", "own.key", "-in", "own.csr",
            "-out", folder / name, "-startdate", dates[0], "-enddate", dates[1], cwd=folder)
    return folder / name


# new

def test_new_in_words(tenon, tmp_path):
    where = tmp_path / "a dir&more"
    result = tenon.run("cert", "new", "--out", where)
    assert result.lines == [f"made {what}: {where}/{name}.pem, {where}/{name}.key"
                            for what, name in (("authority", "ca"), ("server", "server"), ("client", "client"))]
    escaped = str(where).replace(" ", "%20").replace("&", "%26")
    assert f"serve 'tls://localhost:10000?cert={escaped}/server.pem&key={escaped}/server.key'" in result.err
    assert f"send 'tls://localhost:10000?ca={escaped}/ca.pem' 'Hello, world!'" in result.err
    assert f"curl --cacert '{where}'/ca.pem https://localhost/" in result.err
    assert f"&ca={escaped}/ca.pem&verify=require" in result.err and f"&cert={escaped}/client.pem" in result.err
    assert tenon.run("cert", "new", "-q", "--out", tmp_path / "quiet").err == ""


def test_new_in_json(tenon, tmp_path):
    rows = [json.loads(line) for line in tenon.run("cert", "new", "--json", "--out", tmp_path / "c").lines]
    assert [(row["what"], row["kept"]) for row in rows] == [("authority", False), ("server", False), ("client", False)]
    assert all(os.path.isfile(row[name]) for row in rows for name in ("cert", "key"))


def test_files_and_modes(certs):
    before = os.umask(0)
    try:
        where = certs()
    finally:
        os.umask(before)
    assert sorted(os.listdir(where)) == FILES
    assert mode(where) == 0o700
    assert all(mode(where / name) == (0o600 if name.endswith(".key") else 0o644) for name in FILES)


def test_openssl_accepts_the_chains(certs, openssl):
    where = certs("localhost", "api.test", "*.api.test", "10.1.2.3", "2001:db8::7")
    for name, purpose in (("server", "sslserver"), ("client", "sslclient")):
        openssl("verify", "-x509_strict", "-check_ss_sig", "-CAfile", where / "ca.pem", "-purpose", purpose,
                where / f"{name}.pem")
        openssl("verify", "-CAfile", where / "ca.pem", "-purpose", "sslclient" if name == "server" else "sslserver",
                where / f"{name}.pem", status=2)
    for host in ("localhost", "api.test", "x.api.test"):
        openssl("verify", "-CAfile", where / "ca.pem", "-verify_hostname", host, where / "server.pem")
    for address in ("10.1.2.3", "2001:db8::7"):
        openssl("verify", "-CAfile", where / "ca.pem", "-verify_ip", address, where / "server.pem")
    for host in ("other.test", "x.y.api.test"):
        openssl("verify", "-CAfile", where / "ca.pem", "-verify_hostname", host, where / "server.pem", status=2)


@pytest.mark.parametrize("hosts", [["localhost"], ["10.1.2.3"], ["::1"], ["*.wild.test"], ["a" * 60 + ".long.test"]])
def test_openssl_accepts_each_kind_of_host_alone(certs, openssl, hosts):
    where = certs(*hosts)
    openssl("verify", "-x509_strict", "-CAfile", where / "ca.pem", "-purpose", "sslserver", where / "server.pem")


def test_what_stands_in_them(certs, openssl):
    where = certs("localhost", "*.api.test", "127.0.0.1", "::1", args=["--days", "30"])
    text = {name: openssl("x509", "-in", where / f"{name}.pem", "-noout", "-text").text
            for name in ("ca", "server", "client")}
    for one in text.values():
        assert "Version: 3" in one and "NIST CURVE: P-256" in one and "Signature Algorithm: ecdsa-with-SHA256" in one
    names = openssl("x509", "-in", where / "server.pem", "-noout", "-ext", "subjectAltName").text
    assert "DNS:localhost, DNS:*.api.test, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1" in names
    assert re.search(r"Basic Constraints: critical\n\s+CA:TRUE, pathlen:0", text["ca"])
    assert re.search(r"Key Usage: critical\n\s+Certificate Sign, CRL Sign", text["ca"])
    assert re.search(r"Name Constraints: critical\n\s+Permitted:", text["ca"])
    for name, usage in (("server", "TLS Web Server Authentication"), ("client", "TLS Web Client Authentication")):
        assert re.search(r"Basic Constraints: critical\n\s+CA:FALSE", text[name])
        assert re.search(r"Key Usage: critical\n\s+Digital Signature\n", text[name])
        assert re.search(r"Extended Key Usage: ?\n\s+" + usage + "\n", text[name])
    key_of = {name: re.search(r"Subject Key Identifier: ?\n\s+(\S+)", one).group(1) for name, one in text.items()}
    for one in text.values():
        assert key_of["ca"] in re.search(r"Authority Key Identifier: ?\n\s+(\S+)", one).group(1)
    serials = {openssl("x509", "-in", where / f"{name}.pem", "-noout", "-serial").text for name in text}
    assert len(serials) == 3 and all(len(serial.strip()) == len("serial=") + 32 for serial in serials)
    for name, days in (("server", 30), ("client", 30), ("ca", 3650)):
        openssl("x509", "-in", where / f"{name}.pem", "-noout", "-checkend", str((days - 1) * 86400))
        openssl("x509", "-in", where / f"{name}.pem", "-noout", "-checkend", str(days * 86400), status=1)


def test_keys_belong_to_their_certificates(certs, openssl):
    where = certs()
    for name in ("ca", "server", "client"):
        public = openssl("x509", "-in", where / f"{name}.pem", "-noout", "-pubkey").out
        assert openssl("pkey", "-in", where / f"{name}.key", "-pubout").out == public


def test_two_authorities_share_nothing(certs):
    one, two = certs(name="one"), certs(name="two")
    assert all((one / name).read_bytes() != (two / name).read_bytes() for name in FILES)


def test_gnutls_accepts_the_chain(certs, tenon, program):
    where = certs("localhost", "api.test", "127.0.0.1")
    for host in ("localhost", "api.test"):
        tenon.finish([program("certtool"), "--verify", "--load-ca-certificate", where / "ca.pem",
                      "--verify-hostname", host, "--infile", where / "server.pem"])
    tenon.finish([program("certtool"), "--verify", "--load-ca-certificate", where / "ca.pem", "--verify-hostname",
                  "other.test", "--infile", where / "server.pem"], 1)


def shake_hands(where, host, with_client=True):
    """Python's ssl on both sides of a socket pair: the names that each has seen of the other."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=where / "ca.pem")
    server.load_cert_chain(where / "server.pem", where / "server.key")
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(cafile=where / "ca.pem")
    if with_client:
        client.load_cert_chain(where / "client.pem", where / "client.key")
    here, there = socket.socketpair()
    here.settimeout(LIMIT)
    there.settimeout(LIMIT)
    seen = []

    def serve():
        try:
            with server.wrap_socket(there, server_side=True) as sock:
                seen.append(sock.getpeercert()["subject"])
                sock.sendall(b"x")
        except OSError as err:
            seen.append(err)
            there.close()
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(here, server_hostname=host) as sock:
            sock.recv(1)
            seen.append(dict(name for name in sock.getpeercert()["subjectAltName"]))
    finally:
        here.close()
        thread.join(LIMIT)
    return seen


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "x.api.test"])
def test_python_shakes_hands_with_them(certs, host):
    where = certs("localhost", "127.0.0.1", "::1", "*.api.test")
    seen = shake_hands(where, host)
    assert (("commonName", "client"),) in seen[0]
    assert seen[1]["DNS"] in ("localhost", "*.api.test")


def test_python_refuses_another_host(certs):
    with pytest.raises(ssl.SSLCertVerificationError, match="[Hh]ostname mismatch"):
        shake_hands(certs("localhost"), "other.test")


def test_the_authority_cannot_sign_for_others(certs, openssl, tmp_path):
    """Stolen from the directory it lies in, it is of no use against the rest of the world."""
    where = certs("localhost")
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", tmp_path / "k",
            "-out", tmp_path / "csr", "-subj", "/O=x")
    for san, status in (("DNS:bank.example", 2), ("IP:192.0.2.1", 2), ("DNS:x.localhost", 0), ("IP:127.1.2.3", 0)):
        (tmp_path / "ext").write_text(f"subjectAltName={san}\n", encoding="utf-8")
        openssl("x509", "-req", "-in", tmp_path / "csr", "-CA", where / "ca.pem", "-CAkey", where / "ca.key",
                "-CAcreateserial", "-CAserial", tmp_path / "serial", "-extfile", tmp_path / "ext",
                "-out", tmp_path / "signed")
        openssl("verify", "-CAfile", where / "ca.pem", tmp_path / "signed", status=status)


@pytest.mark.parametrize("name", ["server.pem", "server.key"])
def test_nothing_is_overwritten(tenon, tmp_path, name):
    """A file of one's own, a dangling link, a directory: named, left alone, and nothing made beside it."""
    for number, put in enumerate((lambda path: path.write_text("mine"), lambda path: path.symlink_to("nowhere"),
                                  lambda path: path.mkdir())):
        where = tmp_path / str(number)
        where.mkdir()
        put(where / name)
        result = tenon.run("cert", "new", "--out", where, status=1)
        assert f"{where}/{name} is there already" in result.err and result.out == b""
        assert os.listdir(where) == [name]
    assert (tmp_path / "0" / name).read_text() == "mine"


@pytest.mark.parametrize("name", ["ca.pem", "ca.key", "client.pem", "client.key"])
def test_half_a_pair_is_no_pair(tenon, tmp_path, name):
    where = tmp_path / "certs"
    where.mkdir()
    (where / name).write_text("mine")
    result = tenon.run("cert", "new", "--out", where, status=1)
    assert f"{where}/{name} is there without its" in result.err
    assert os.listdir(where) == [name] and (where / name).read_text() == "mine"


def test_the_authority_is_used_again(certs, tenon, openssl):
    where = certs("localhost", "api.test")
    kept = {name: (where / name).read_bytes() for name in FILES if not name.startswith("server")}
    (where / "server.pem").unlink()
    (where / "server.key").unlink()
    result = tenon.run("cert", "new", "--out", where, "--host", "v2.api.test")
    assert [line.split(":")[0] for line in result.lines] == ["kept authority", "made server", "kept client"]
    assert {name: (where / name).read_bytes() for name in kept} == kept
    openssl("verify", "-CAfile", where / "ca.pem", "-verify_hostname", "v2.api.test", where / "server.pem")
    (where / "server.pem").unlink()
    (where / "server.key").unlink()
    result = tenon.run("cert", "new", "--out", where, "--host", "other.test", status=1)
    assert "it was made for: localhost, 127.0.0.0/8, ::1/128, api.test. Use another directory" in result.err
    assert sorted(os.listdir(where)) == sorted(kept)


def test_an_authority_made_elsewhere_signs(tenon, openssl, tmp_path):
    where = tmp_path / "certs"
    where.mkdir()
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", where / "ca.key", "-out", where / "ca.pem",
            "-subj", "/CN=my own", "-days", "20")
    tenon.run("cert", "new", "--out", where, "--host", "any.example")
    openssl("verify", "-CAfile", where / "ca.pem", "-verify_hostname", "any.example", where / "server.pem")
    # It ends with its authority
    openssl("x509", "-in", where / "server.pem", "-noout", "-checkend", str(20 * 86400), status=1)


def test_an_expired_authority_does_not_sign(tenon, openssl, tmp_path):
    where = tmp_path / "certs"
    where.mkdir()
    own_certificate(openssl, where, -20, -10, "ca.pem", more="basicConstraints=critical,CA:TRUE\n")
    os.rename(where / "own.key", where / "ca.key")
    result = tenon.run("cert", "new", "--out", where, status=1)
    assert f"{where}/ca.pem (use another directory): the certificate has expired" in result.err
    assert not (where / "server.pem").exists()


@pytest.mark.parametrize("host,why", [
    ("a b", "holds a character"), ("", "is empty"), ("localhost,,x", "is empty"), ("localhost:10000", "no port"),
    ("tls://localhost", "no scheme"), ("*", "first label"), ("*.com", "top level"), ("w*.x.test", "first label"),
    ("1.2.3.4.5", "no IPv4"), ("fe80::1%lo", "zone"), ("caf\u00e9.test", "xn--"), ("-x.test", "dash"), ("x" * 64, "63"),
])
def test_bad_hosts(tenon, tmp_path, host, why):
    result = tenon.run("cert", "new", "--out", tmp_path / "certs", "--host", host, status=2)
    assert re.match("tenon: cert( new: host|: --host:) '", result.err) and why in result.err
    assert not (tmp_path / "certs").exists()


@pytest.mark.parametrize("args,why", [
    (["new"], "--out DIR is missing"), (["new", "--out", ""], "--out DIR is missing"),
    (["new", "certs"], "takes no arguments"), (["new", "--out", "x", "--days", "0"], "out of range"),
    (["new", "--out", "x", "--days", "40000"], "1 to 36500 days"),
    (["new", "--out", "x", "--days", "soon"], "is not a number"), (["show"], "which file or URL"),
    (["show", "a", "b"], "one file or URL"), (["show", "a", "--days", "3"], "`cert new`"),
    (["show", "a", "--host", "a,b"], "one host"), ([], "new or show"), (["shwo"], "did you mean show?"),
    (["zzzzzz"], "there are new and show"),
])
def test_bad_usage(tenon, tmp_path, args, why):
    assert why in tenon.run("cert", *args, status=2, cwd=tmp_path).err
    assert os.listdir(tmp_path) == []


def test_hosts_one_by_one(tenon, certs, tmp_path):
    where = tmp_path / "certs"
    tenon.run("cert", "new", "--out", where, "--host", "a.test", "--host=B.Test.", "--host", "[::1],a.test")
    row = json.loads(tenon.run("cert", "show", where / "server.pem", "--json").text)
    assert row["names"] == ["a.test", "b.test", "::1"]


def test_where_nothing_can_be_written(tenon, tmp_path):
    (tmp_path / "file").write_text("")
    for where, why in ((tmp_path / "file", "Not a directory"), (tmp_path / "no" / "such", "No such file"),
                       ("/proc/self", "cannot write")):
        result = tenon.run("cert", "new", "--out", where, status=1)
        assert why in result.err and str(where) in result.err
    assert sorted(os.listdir(tmp_path)) == ["file"]


@pytest.fixture
def failing(strace, tmp_path):
    """failing(CALLS, ...): runs `tenon cert new` with system calls that fail: (name, errno, which of them)."""
    def run(where, calls, status):
        injections = [arg for call, error, which in calls
                      for arg in ("-e", f"inject={call}:error={error}:when={which}")]
        return strace(["-o", tmp_path / "trace", "-e", "trace=" + ",".join(call for call, _, _ in calls), *injections],
                      [COMMAND, "cert", "new", "-q", "--out", where], status)
    return run


@pytest.mark.parametrize("calls", [
    [("write", "ENOSPC", 1)], [("write", "EIO", 2)], [("write", "EDQUOT", 6)], [("fsync", "EIO", 1)],
    [("fsync", "ENOSPC", 6)], [("linkat", "EPERM", "1+"), ("renameat2", "EACCES", 1)],
    [("linkat", "EPERM", "1+"), ("renameat2", "EIO", 6)],
])
def test_a_failing_disk_leaves_nothing(failing, tmp_path, calls):
    """A write, a flush or a naming fails: all that was made goes again, and a directory that was there stays."""
    where = tmp_path / "certs"
    result = failing(where, calls, 1)
    assert "cannot write" in result.err and str(where) in result.err and result.out == b""
    assert not where.exists()
    where.mkdir()
    failing(where, calls, 1)
    assert os.listdir(where) == []


def test_a_file_system_without_links(failing, openssl, tmp_path):
    where = tmp_path / "certs"
    failing(where, [("linkat", "EPERM", "1+")], 0)
    assert sorted(os.listdir(where)) == FILES
    openssl("verify", "-CAfile", where / "ca.pem", where / "server.pem")
    (where / "server.pem").unlink()
    (where / "server.key").write_text("mine")
    failing(where, [("linkat", "EPERM", "1+")], 1)
    assert (where / "server.key").read_text() == "mine"


def test_many_at_once(tenon, openssl, tmp_path):
    """Of several that make certificates in one place at the same time one wins, and its files belong together."""
    where = tmp_path / "certs"
    together = [tenon.start("cert", "new", "-q", "--out", where) for _ in range(6)]
    ended = [process.wait(None) for process in together]
    assert sorted(ended) == [0, 1, 1, 1, 1, 1]
    assert all("is there already" in process.err for process in together if process.popen.returncode)
    assert sorted(os.listdir(where)) == FILES
    openssl("verify", "-CAfile", where / "ca.pem", where / "server.pem", where / "client.pem")


# show

def test_show_says_what_openssl_says(certs, tenon, openssl):
    where = certs("localhost", "::1", "10.0.0.7")
    for name in ("ca", "server", "client"):
        file = where / f"{name}.pem"
        row = json.loads(tenon.run("cert", "show", file, "--json").text)
        der = openssl("x509", "-in", file, "-outform", "der").out
        public = openssl("pkey", "-pubin", "-outform", "der",
                         input=openssl("x509", "-in", file, "-noout", "-pubkey").out).out
        said = openssl("x509", "-in", file, "-noout", "-serial", "-dates", "-nameopt", "RFC2253").text
        dates = [datetime.datetime.strptime(row[key], "%Y-%m-%dT%H:%M:%SZ").strftime("%b %e %H:%M:%S %Y GMT")
                 for key in ("not_before", "not_after")]
        assert row["fingerprint"] == hashlib.sha256(der).hexdigest()
        assert row["pin"] == hashlib.sha256(public).hexdigest()
        assert f"serial={row['serial'].upper()}" in said
        assert f"notBefore={dates[0]}" in said and f"notAfter={dates[1]}" in said
        assert row["key"] == "EC P-256" and row["valid"] and row["problem"] is None and row["number"] == 1
        assert row["authority"] == (name == "ca") and row["from"] == str(file)
        words = tenon.run("cert", "show", file).text
        assert row["fingerprint"] in words and row["subject"] in words and re.search(r"\(\d+ days left\)", words)
    server = json.loads(tenon.run("cert", "show", where / "server.pem", "--json").text)
    assert server["names"] == ["localhost", "::1", "10.0.0.7"] and server["usage"] == "server"


def test_show_other_kinds_of_keys(tenon, openssl, tmp_path):
    for options, words in ((["rsa:2048"], "RSA 2048 bits"), (["ed25519"], "ED25519 256 bits"),
                           (["ec", "-pkeyopt", "ec_paramgen_curve:secp384r1"], "EC P-384")):
        openssl("req", "-x509", "-newkey", *options, "-nodes", "-keyout", tmp_path / "k", "-out", tmp_path / "c",
                "-subj", "/C=DE/O=Ä & Söhne/CN=x", "-utf8", "-days", "9")
        row = json.loads(tenon.run("cert", "show", tmp_path / "c", "--json").text)
        assert row["key"] == words and row["subject"] == "CN=x, O=Ä & Söhne, C=DE" and row["days_left"] in (8, 9)


@pytest.mark.parametrize("host,status", [
    ("localhost", 0), ("LOCALHOST.", 0), ("127.0.0.1", 0), ("::1", 0), ("[::1]", 0), ("0:0::1", 0), ("a.api.test", 0),
    ("api.test", 1), ("a.b.api.test", 1), ("127.0.0.2", 1), ("::2", 1), ("localhost.example", 1), ("*.api.test", 0),
    ("x", 1),
])
def test_show_for_a_host(certs, tenon, host, status):
    where = certs("localhost", "127.0.0.1", "::1", "*.api.test")
    result = tenon.run("cert", "show", where / "server.pem", "--host", host, status=status)
    assert "subject      CN=localhost" in result.text
    if status:
        assert f"certificate 1: the certificate is not for {host}: subject CN=localhost" in result.err
        assert "for localhost, 127.0.0.1, ::1, *.api.test, valid from" in result.err
    row = json.loads(tenon.run("cert", "show", where / "server.pem", "--host", host, "--json", status=status).text)
    assert row["valid"] == (status == 0) and bool(row["problem"]) == (status == 1)


@pytest.mark.parametrize("begins,ends,words", [(-20, -10, "has expired"), (10, 20, "is not valid yet")])
def test_show_out_of_date(tenon, openssl, tmp_path, begins, ends, words):
    file = own_certificate(openssl, tmp_path, begins, ends)
    result = tenon.run("cert", "show", file, status=1)
    assert words in result.err and str(file) in result.err and "CN=own" in result.text
    row = json.loads(tenon.run("cert", "show", file, "--json", status=1).text)
    assert not row["valid"] and words in row["problem"]
    assert row["days_left"] in (range(-11, -9) if ends < 0 else range(19, 21))


def test_show_a_chain(certs, tenon, tmp_path):
    where = certs()
    chain = tmp_path / "chain.pem"
    chain.write_bytes(b"".join((where / name).read_bytes() for name in ("server.pem", "server.key", "ca.pem")))
    rows = [json.loads(line) for line in tenon.run("cert", "show", chain, "--host", "localhost", "--json").lines]
    assert [(row["number"], row["usage"]) for row in rows] == [(1, "server"), (2, "authority")]
    assert rows[0]["issuer"] == rows[1]["subject"]

    def words(*argv, **how):  # how long it lasts changes with the clock
        return re.sub(r"\(\d+ days left\)", "", tenon.run("cert", "show", *argv, **how).text)
    assert words(chain).count("subject ") == 2 and "PRIVATE" not in words(chain)
    assert words("/dev/stdin", input=chain.read_bytes()) == words(chain)


def test_show_never_shows_a_key(certs, tenon, openssl, tmp_path):
    where = certs()
    key = openssl("pkey", "-in", where / "server.key", "-noout", "-text").text
    secret = re.search(r"priv:((?:\s+[0-9a-f:]+)+)", key)
    digits = re.sub(r"[\s:]", "", secret.group(1))
    openssl("pkey", "-in", where / "server.key", "-outform", "der", "-out", tmp_path / "key.der")
    for file in (where / "server.key", tmp_path / "key.der"):
        result = tenon.run("cert", "show", file, status=4)
        assert f"{file} holds a private key and no certificate" in result.err
        assert digits not in result.err.lower() + result.text and result.out == b""
        assert not any(line in result.err for line in (where / "server.key").read_text().splitlines())


@pytest.mark.parametrize("content,why", [
    (b"", "is empty"), (b"hello\n", "holds no certificate"), (b"\x30\x82\x01\x00junk", "holds no certificate"),
    (b"\xff" * 1000, "holds no certificate"),
    (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate 1 is damaged"),
    (b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "has yet to sign"),
])
def test_show_garbage(tenon, tmp_path, content, why):
    file = tmp_path / "file"
    file.write_bytes(content)
    result = tenon.run("cert", "show", file, status=4)
    assert why in result.err and str(file) in result.err and result.out == b""


def test_show_what_cannot_be_read(tenon, tmp_path):
    assert "there is no file" in tenon.run("cert", "show", tmp_path / "none", status=1).err
    assert "is a directory" in tenon.run("cert", "show", tmp_path, status=1).err


def test_show_other_containers(certs, tenon, openssl, tmp_path):
    where = certs()
    openssl("pkcs12", "-export", "-in", where / "server.pem", "-inkey", where / "server.key", "-passout", "pass:",
            "-out", tmp_path / "bundle")
    assert "openssl pkcs12" in tenon.run("cert", "show", tmp_path / "bundle", status=4).err
    openssl("crl2pkcs7", "-nocrl", "-certfile", where / "server.pem", "-out", tmp_path / "seven")
    assert "openssl pkcs7" in tenon.run("cert", "show", tmp_path / "seven", status=4).err
    openssl("x509", "-in", where / "server.pem", "-outform", "der", "-out", tmp_path / "der")
    assert "CN=localhost" in tenon.run("cert", "show", tmp_path / "der").text


def test_show_a_whole_trust_store(tenon, tmp_path):
    store = ssl.get_default_verify_paths().cafile
    if not store or not os.path.exists(store):
        pytest.skip("this system has no list of authorities")
    rows = [json.loads(line) for line in tenon.run("cert", "show", store, "--json", status=None).lines]
    assert len(rows) == open(store, encoding="utf-8").read().count("BEGIN CERTIFICATE")
    assert all(row["authority"] for row in rows if row["subject"] == row["issuer"] and row["usage"] != "any purpose")


# show of a server

@pytest.fixture
def shown(certs, tenon, tmp_path):
    """A server with certificates for some hosts that shows its authority's too, and where its files are."""
    where = certs("localhost", "127.0.0.1", "*.api.test")
    chain = tmp_path / "chain.pem"
    chain.write_bytes((where / "server.pem").read_bytes() + (where / "ca.pem").read_bytes())
    server = tenon.serve(f"tls://127.0.0.1:0?cert={chain}&key={where}/server.key", options=["-q"])
    return server, where


def test_show_a_server(shown, tenon):
    server, where = shown
    rows = [json.loads(line) for line in tenon.run("cert", "show", f"{server.url}?ca={where}/ca.pem", "--json").lines]
    files = [json.loads(tenon.run("cert", "show", where / name, "--json").text) for name in ("server.pem", "ca.pem")]
    assert [row["fingerprint"] for row in rows] == [row["fingerprint"] for row in files]
    assert [row["number"] for row in rows] == [1, 2] and all(row["valid"] for row in rows)
    result = tenon.run("cert", "show", f"{server.url}?ca={where}/ca.pem")
    assert result.err == "" and result.text.count("subject ") == 2


def test_show_a_server_nobody_vouches_for(shown, tenon):
    server, _ = shown
    result = tenon.run("cert", "show", server.url, status=1)
    assert "subject      CN=localhost" in result.text and "verify=off" not in result.err
    assert result.err.startswith(f"tenon: {server.url}: ") and "not trusted here" in result.err
    row = json.loads(tenon.run("cert", "show", server.url, "--json", status=1).lines[0])
    assert not row["valid"] and "not trusted here" in row["problem"]
    # Who types it gets it
    assert tenon.run("cert", "show", f"{server.url}?verify=off").err == ""


@pytest.mark.parametrize("host,status", [("localhost", 0), ("x.api.test", 0), ("127.0.0.1", 0), ("other.test", 1),
                                         ("::1", 1)])
def test_show_a_server_for_a_host(shown, tenon, host, status):
    server, where = shown
    result = tenon.run("cert", "show", f"{server.url}?ca={where}/ca.pem", "--host", host, status=status)
    assert "subject      CN=localhost" in result.text
    assert (f"not for {host}" in result.err) == (status == 1)
    tenon.run("cert", "show", f"{server.url}?veri%66y=off&%73ni={host}", "--host", host, status=status)
    # Without verification it is still held against the host that was named
    tenon.run("cert", "show", f"{server.url}?verify=off", "--host", host, status=status)


def test_show_a_server_that_wants_a_certificate_first(certs, tenon):
    where = certs("127.0.0.1")
    server = tenon.serve(f"tls://127.0.0.1:0?cert={where}/server.pem&key={where}/server.key&ca={where}/ca.pem",
                         options=["-q"])
    url = f"{server.url}?ca={where}/ca.pem&cert={where}/client.pem&key={where}/client.key"
    assert "CN=127.0.0.1" not in tenon.run("cert", "show", url).err
    # Its own it shows to everybody
    assert "names        127.0.0.1" in tenon.run("cert", "show", f"{server.url}?ca={where}/ca.pem", status=None).text


def test_show_openssls_server(certs, tenon, program, tmp_path):
    """And one of TLS 1.2 that refuses us in the midst of the handshake: what it has shown by then is seen."""
    where = certs("127.0.0.1")
    peer = tenon.peer(program("openssl"), "s_server", "-accept", "127.0.0.1:0", "-cert", where / "server.pem", "-key",
                      where / "server.key", "-tls1_2", "-Verify", "1", "-verify_return_error",
                      "-CAfile", where / "ca.pem", stdin=subprocess.PIPE)  # at whose end it would leave
    port = peer.wait_for_text(r"ACCEPT 127\.0\.0\.1:(\d+)", "out").group(1)
    result = tenon.run("cert", "show", f"tls://127.0.0.1:{port}?ca={where}/ca.pem", status=1)
    assert "names        127.0.0.1" in result.text and "client certificate" in result.err
    peer.kill()


def test_show_what_is_no_tls_server(tenon):
    server = tenon.serve("tcp://127.0.0.1:0", options=["-q"])
    result = tenon.run("cert", "show", server.url.replace("tcp", "tls"), status=1)
    assert "does not speak TLS" in result.err and "verify=off" not in result.err and result.out == b""
    sock = tenon.listen()
    port = sock.getsockname()[1]
    sock.close()
    assert "Connection refused" in tenon.run("cert", "show", f"tls://127.0.0.1:{port}", status=1).err
    assert "only tls:// and dtls:// URLs" in tenon.run("cert", "show", server.url, status=2).err
    assert "scheme 'https'" in tenon.run("cert", "show", "https://localhost", status=2).err


def test_show_a_server_on_a_unix_socket(certs, tenon, tmp_path):
    where = certs()
    tenon.serve(f"tls+unix:{tmp_path}/sock?cert={where}/server.pem&key={where}/server.key", options=["-q"])
    url = f"tls+unix:{tmp_path}/sock?ca={where}/ca.pem"
    assert "CN=localhost" in tenon.run("cert", "show", url, "--host", "localhost").text


def test_hostile_names_do_not_reach_the_terminal(tenon, openssl, tmp_path):
    openssl("req", "-x509", "-newkey", "ed25519", "-nodes", "-keyout", tmp_path / "k", "-out", tmp_path / "c", "-subj",
            "/CN=a\x1b[2Jb\u202ec\u009bd", "-utf8", "-days", "9")
    for args in ([], ["--json"], ["--host", "x"]):
        result = tenon.run("cert", "show", tmp_path / "c", *args, status=None)
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", result.text + result.err)


def test_addresses_of_every_shape(certs, tenon):
    """What it writes of an address is what Python writes."""
    addresses = ["::", "1::", "2001:db8:0:0:1:0:0:2", "1:0:2:3:4:5:6:7", "fe80::a0", "255.255.255.255",
                 "1:2:3:4:5:6:0:0"]
    where = certs(*addresses)
    row = json.loads(tenon.run("cert", "show", where / "server.pem", "--json").text)
    assert row["names"] == [str(ipaddress.ip_address(text)) for text in addresses]
