"""TLS and DTLS: what is negotiated, what the keys of an endpoint change, revocation, and where files come from."""
import os
import signal
import subprocess
import time

import pytest

from harness import wait_until

# What OpenSSL and files are asked is the same on every engine: test_tls.py and test_dtls.py run on both
pytestmark = pytest.mark.parametrize("engine", ["auto"], indirect=True)
KEY = "0123456789abcdef0123456789abcdef"
SCHEMES = ["tls", "dtls"]


def handler_of(scheme):
    return ["--json", "--handler", "echo"] if scheme == "dtls" else ["--json"]


def serve(tenon, scheme, keys, *options):
    return tenon.serve(f"{scheme}://127.0.0.1:0?{keys}", options=[*handler_of(scheme), *options])


def refused_by_server(tenon, url, *words):
    result = tenon.run("serve", url, status=2)
    assert result.out == b"", "nothing listens"
    for word in words:
        assert word in result.err, result.err


def refused_by_client(tenon, url, *words, status=1):
    result = tenon.run("send", url, "secret", status=status)
    assert result.out == b""
    for word in words:
        assert word in result.err, result.err


@pytest.fixture
def psk_file(tenon):
    path = tenon.file("psk", f"bob:{KEY}\ncarol:{KEY[::-1]}\n".encode())
    path.chmod(0o600)
    return path


# What is negotiated

def s_client(tenon, port, *args):
    """What openssl tells of a handshake, its first line being sent and coming back."""
    client = tenon.peer("openssl", "s_client", "-connect", f"127.0.0.1:{port}", *args, stdin=subprocess.PIPE)
    client.popen.stdin.write(b"hello\n")
    client.popen.stdin.flush()
    client.wait_for_text("^hello", "out")
    client.kill()
    return client.out.decode(errors="replace")


def s_client_fails(tenon, port, *args):
    client = tenon.finish(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *args], status=1)
    return client.out.decode(errors="replace") + client.err


@pytest.mark.parametrize("scheme, version, keys", [("tls", "TLSv1.2", "&tls-max=1.2"), ("dtls", "DTLSv1.2", "")])
def test_pre_shared_keys_have_forward_secrecy(tenon, psk_file, scheme, version, keys):
    server = serve(tenon, scheme, f"psk-file={psk_file}")
    assert tenon.run("send", f"{server.url}?psk-file={psk_file}{keys}", "hello").out == b"hello\n"
    opened = server.wait_for_event("open")
    assert (opened["protocol"], opened["cipher"], opened["identity"]) == (version, "ECDHE-PSK-CHACHA20-POLY1305", "bob")
    option = ["-dtls1_2"] if scheme == "dtls" else ["-tls1_2"]
    said = s_client_fails(tenon, server.port, *option, "-psk_identity", "bob", "-psk", KEY, "-cipher",
                          "PSK-AES128-GCM-SHA256:DHE-PSK-AES128-GCM-SHA256")
    assert "handshake failure" in said


@pytest.mark.parametrize("scheme", SCHEMES)
def test_pre_shared_keys_without_it_must_be_named(tenon, psk_file, scheme):
    newest = "&tls-max=1.2" * (scheme == "tls")
    server = serve(tenon, scheme, f"psk-file={psk_file}&ciphers=PSK-AES256-GCM-SHA384{newest}")
    refused_by_client(tenon, f"{server.url}?psk-file={psk_file}", "refused the")
    url = f"{server.url}?psk-file={psk_file}&ciphers=PSK-AES256-GCM-SHA384"
    assert tenon.run("send", url, "hello").out == b"hello\n"
    assert server.wait_for_event("open")["cipher"] == "PSK-AES256-GCM-SHA384"


def test_gnutls_with_pre_shared_keys(tenon, psk_file, program):
    server = serve(tenon, "tls", f"psk-file={psk_file}")
    client = tenon.peer(program("gnutls-cli"), "--pskusername", "bob", "--pskkey", KEY, "--priority",
                        "NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+ECDHE-PSK", "--logfile", tenon.folder / "log", "-p",
                        server.port, "127.0.0.1", stdin=subprocess.PIPE)
    # Version 3.7 crashes when it prints what was agreed upon
    assert server.wait_for_event("open")["cipher"] == "ECDHE-PSK-CHACHA20-POLY1305"
    client.kill()


@pytest.mark.parametrize("version, group, told", [
    ("-tls1_2", "X25519:P-256", "X25519"), ("-tls1_2", "P-256", "ECDH, P-256"), ("-tls1_3", "X25519", "X25519"),
    ("-tls1_3", "P-256", "ECDH, P-256"), ("-tls1_3", "X448", "X448"), ("-tls1_3", "P-384", "ECDH, P-384"),
    ("-tls1_3", "P-521", "ECDH, P-521")])
def test_groups_that_are_spoken(tenon, authority, version, group, told):
    """In TLS 1.2 the curve of the certificate must be among them: the client's list is for both."""
    server = serve(tenon, "tls", authority.pair("server"))
    said = s_client(tenon, server.port, version, "-groups", group)
    said = said.replace("prime256v1", "P-256").replace("secp384r1", "P-384").replace("secp521r1", "P-521")
    assert f"Server Temp Key: {told}" in said, said


@pytest.mark.parametrize("group", ["ffdhe2048", "ffdhe3072", "ffdhe8192"])
def test_no_finite_fields(tenon, authority, group):
    server = serve(tenon, "tls", authority.pair("server"))
    assert "handshake failure" in s_client_fails(tenon, server.port, "-tls1_3", "-groups", group)
    named = serve(tenon, "tls", f"{authority.pair('server')}&groups=P-256:ffdhe2048")
    if group == "ffdhe2048":
        assert "Server Temp Key: DH, " in s_client(tenon, named.port, "-tls1_3", "-groups", group)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_groups_that_are_named(tenon, authority, trusted, scheme):
    """Either side's list holds."""
    server = serve(tenon, scheme, f"{authority.pair('server')}&groups=P-521:P-256")
    assert tenon.run("send", f"{server.url}?{trusted}", "hello").out == b"hello\n"
    assert tenon.run("send", f"{server.url}?{trusted}&groups=X25519,P-256", "hello").out == b"hello\n"
    refused_by_client(tenon, f"{server.url}?{trusted}&groups=X25519:X448", "handshake")
    if scheme == "tls":
        assert "secp521r1" in s_client(tenon, server.port, "-groups", "P-521")


def test_ciphers_that_are_named(tenon, authority, trusted):
    pair = authority.pair("server")
    server = serve(tenon, "tls", f"{pair}&ciphers=TLS_CHACHA20_POLY1305_SHA256:ECDHE-ECDSA-AES128-GCM-SHA256")
    for version, cipher in (("1.3", "TLS_CHACHA20_POLY1305_SHA256"), ("1.2", "ECDHE-ECDSA-AES128-GCM-SHA256")):
        tenon.run("send", f"{server.url}?{trusted}&tls-max={version}", "hello")
        wait_until(lambda c=cipher: any(e.get("cipher") == c for e in server.events), cipher)
    refused_by_client(tenon, f"{server.url}?{trusted}&ciphers=TLS_AES_128_GCM_SHA256&tls-min=1.3",
                      "refused the TLS handshake")
    dtls = serve(tenon, "dtls", f"{pair}&ciphers=ECDHE-ECDSA-CHACHA20-POLY1305")
    tenon.run("send", f"{dtls.url}?{trusted}", "hello")
    assert dtls.wait_for_event("open")["cipher"] == "ECDHE-ECDSA-CHACHA20-POLY1305"


def test_signatures_that_are_named(tenon, authority, trusted):
    server = serve(tenon, "tls", f"{authority.pair('server')}&sigalgs=ecdsa_secp256r1_sha256")
    assert tenon.run("send", f"{server.url}?{trusted}", "hello").out == b"hello\n"
    refused_by_client(tenon, f"{server.url}?{trusted}&sigalgs=ed25519:rsa_pss_rsae_sha256", "handshake")


def test_versions_that_are_named(tenon, authority, trusted):
    server = serve(tenon, "tls", f"{authority.pair('server')}&tls-max=1.2")
    assert tenon.run("send", f"{server.url}?{trusted}", "hello").out == b"hello\n"
    assert server.wait_for_event("open")["protocol"] == "TLSv1.2"
    refused_by_client(tenon, f"{server.url}?{trusted}&tls-min=1.3", "version")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("key, words", [
    ("groups=X25519:P-25", ["key 'groups'", "'P-25' is no group"]),
    ("groups=", ["key 'groups'", "empty"]),
    ("groups=:", ["'' is no group"]),
    ("ciphers=ECDHEPSK", ["key 'ciphers'", "'ECDHEPSK' is no cipher"]),
    ("ciphers=ECDHE%2BAESGCM:@SECLEVEL=0", ["'@SECLEVEL=0' is no cipher"]),
    ("ciphers=NULL-SHA", ["'NULL-SHA' is no cipher"]),
    ("ciphers=TLS_AES_128_GCM_SHA255", ["'TLS_AES_128_GCM_SHA255' is no cipher"]),
    ("sigalgs=ecdsa_secp256r1_sha256:RSA%2BSHA1", ["key 'sigalgs'", "'RSA+SHA1' is too weak"]),
    ("sigalgs=rsa", ["'rsa' is no signature algorithm"]),
    ("tls-max=1.1", ["tls-max", "1.2|1.3"]),
])
def test_bad_values(tenon, authority, scheme, key, words):
    refused_by_server(tenon, f"{scheme}://127.0.0.1:0?{authority.pair('server')}&{key}", *words)
    refused_by_client(tenon, f"{scheme}://127.0.0.1:9?{key}", *words, status=2)


def test_versions_that_exclude_each_other(tenon, authority):
    refused_by_server(tenon, f"tls://127.0.0.1:0?{authority.pair('server')}&tls-min=1.3&tls-max=1.2",
                      "older than tls-min")
    refused_by_server(tenon, f"dtls://127.0.0.1:0?{authority.pair('server')}&tls-max=1.3", "version 1.2 only")


def test_the_keys_are_listed(tenon):
    listed = tenon.run("options").out.decode()
    for key in ("groups", "ciphers", "sigalgs", "tls-max", "crl", "key-pass-file"):
        assert key in listed


# Names

@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", [".example", "*.example", "a..example", "."])
def test_a_name_that_is_a_pattern(tenon, authority, trusted, scheme, name):
    """OpenSSL takes a name that begins with a dot for all names below it."""
    server = serve(tenon, scheme, authority.pair("a.example"))
    refused_by_client(tenon, f"{server.url}?{trusted}&sni={name}", "key 'sni'", "no server's name", status=2)


def test_a_client_that_asks_for_a_pattern(tenon, authority):
    """A server shows its first certificate to who asks for .example, not one of those below it."""
    pairs = f"cert={authority.pem('server')},{authority.pem('a.example')}&key={authority.key('server')}," \
            f"{authority.key('a.example')}"
    server = serve(tenon, "tls", pairs)
    assert "CN = a.example" in s_client(tenon, server.port, "-servername", "a.example")
    assert "CN = server" in s_client(tenon, server.port, "-servername", ".example")


@pytest.fixture(scope="module")
def misnamed(authority):
    """A certificate with an address where a name belongs."""
    authority.issue("misnamed", "DNS:127.0.0.1")
    return authority.pair("misnamed")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_address_as_a_name(tenon, misnamed, trusted, scheme):
    server = serve(tenon, scheme, misnamed)
    refused_by_client(tenon, f"{server.url}?{trusted}", "names 127.0.0.1 as if it were a host's name", "IP:127.0.0.1")


# Words

@pytest.mark.parametrize("keys", ["&tls-max=1.2", "&tls-min=1.3"])
def test_an_identity_that_is_unknown(tenon, psk_file, keys):
    server = serve(tenon, "tls", f"psk-file={psk_file}")
    stranger = tenon.file("stranger", f"eve:{KEY}\n".encode())
    refused_by_client(tenon, f"{server.url}?psk-file={stranger}{keys}", "know our identity", "psk-file")
    assert "the client's identity is not in psk-file" in server.wait_for_event("trouble")["error"]


def test_openssl_without_algorithms(tenon, authority):
    conf = tenon.file("openssl.cnf", b"openssl_conf = o\n[o]\nproviders = p\n[p]\nlegacy = l\n[l]\nactivate = 1\n")
    result = tenon.run("serve", f"tls://127.0.0.1:0?{authority.pair('server')}", env={"OPENSSL_CONF": str(conf)},
                       status=None)
    assert result.status in (1, 2) and "OPENSSL_CONF" in result.err and "out of memory" not in result.err
    result = tenon.run("cert", "new", "--out", tenon.folder / "made", env={"OPENSSL_CONF": str(conf)}, status=None)
    assert result.status in (1, 2) and "OPENSSL_CONF" in result.err and "unsupported" not in result.err


# Revocation

class Lists:
    """Revocation lists of the authority `ca`, beside what the other tests use."""

    def __init__(self, authority, folder):
        self.authority, self.folder = authority, folder
        for name, ca in (("bad-client", "ca"), ("bad-server", "ca"), ("other-client", "other-ca")):
            authority.issue(name, "DNS:localhost,IP:127.0.0.1", ca=ca)

    def write(self, name, *revoked, ca="ca", end="20900101000000Z"):
        """A list of `ca`'s with these certificates, in a file of that name."""
        index = self.folder / "index"
        conf = self.folder / "conf"
        index.write_text("", encoding="ascii")
        text = (self.authority.folder / "conf").read_text(encoding="ascii")
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        conf.write_text(text.replace(str(self.authority.folder / "index"), str(index)), encoding="ascii")
        how = ["ca", "-config", conf, "-cert", self.authority.pem(ca), "-keyfile", self.authority.key(ca)]
        for cert in revoked:
            self.authority.openssl(*how, "-revoke", self.authority.pem(cert))
        fresh = self.folder / "fresh.crl"
        self.authority.openssl(*how, "-gencrl", "-out", fresh, "-crl_lastupdate", "20200101000000Z",
                               "-crl_nextupdate", end)
        fresh.replace(path)
        return path


@pytest.fixture(scope="module")
def lists(authority, tmp_path_factory):
    return Lists(authority, tmp_path_factory.mktemp("lists"))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("as_folder", [False, True])
def test_revoked_clients(tenon, authority, trusted, lists, scheme, as_folder):
    path = lists.write(f"clients-{scheme}-{as_folder}/a.crl", "bad-client", ca="ca")
    where = path.parent if as_folder else path
    server = serve(tenon, scheme, f"{authority.pair('server')}&{trusted}&crl={where}")
    assert tenon.run("send", f"{server.url}?{trusted}&{authority.pair('alice')}", "hello").out == b"hello\n"
    refused_by_client(tenon, f"{server.url}?{trusted}&{authority.pair('bad-client')}", "certificate revoked")
    assert "has been revoked" in server.wait_for_event("trouble")["error"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_revoked_servers(tenon, authority, trusted, lists, scheme):
    path = lists.write(f"servers-{scheme}", "bad-server")
    good, bad = (serve(tenon, scheme, authority.pair(name)) for name in ("server", "bad-server"))
    assert tenon.run("send", f"{good.url}?{trusted}&crl={path}", "hello").out == b"hello\n"
    refused_by_client(tenon, f"{bad.url}?{trusted}&crl={path}", "has been revoked", "CN=bad-server")
    assert tenon.run("send", f"{bad.url}?{trusted}", "hello").out == b"hello\n"


def test_der_lists_and_those_that_do_not_help(tenon, authority, trusted, lists):
    server = serve(tenon, "tls", authority.pair("server"))
    der = tenon.folder / "list.der"
    authority.openssl("crl", "-in", lists.write("plain"), "-outform", "DER", "-out", der)
    assert tenon.run("send", f"{server.url}?{trusted}&crl={der}", "hello").out == b"hello\n"
    old, other = lists.write("old", end="20210101000000Z"), lists.write("other", ca="other-ca")
    refused_by_client(tenon, f"{server.url}?{trusted}&crl={old}", "the list of its issuer in crl has expired")
    refused_by_client(tenon, f"{server.url}?{trusted}&crl={other}", "its issuer has no list in crl")


def test_lists_that_cannot_be_used(tenon, authority, trusted, lists):
    good, junk, empty = lists.write("good"), tenon.file("junk", b"junk"), tenon.folder / "empty"
    empty.mkdir()
    pair = f"tls://127.0.0.1:0?{authority.pair('server')}"
    refused_by_server(tenon, f"{pair}&{trusted}&crl={junk}", "key 'crl'", "no certificate revocation list")
    refused_by_server(tenon, f"{pair}&{trusted}&crl={empty}", "key 'crl'", "without a file")
    refused_by_server(tenon, f"{pair}&{trusted}&crl={authority.pem('ca')}", "no certificate revocation list")
    refused_by_server(tenon, f"{pair}&crl={good}", "key 'crl'", "ca=FILE")
    refused_by_client(tenon, f"tls://127.0.0.1:9?verify=off&crl={good}", "key 'crl'", "verify=off", status=2)
    both = tenon.file("both.pem", authority.pem("ca").read_bytes() + good.read_bytes())
    refused_by_server(tenon, f"{pair}&ca={both}", "key 'ca'", "revocation list", "crl=")
    refused_by_client(tenon, f"tls://127.0.0.1:9?ca={both}", "key 'ca'", "revocation list", status=2)
    assert serve(tenon, "tls", f"{authority.pair('server')}&ca={both}&crl={both}").url


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("as_folder", [False, True])
def test_a_list_is_reloaded(tenon, authority, trusted, lists, scheme, as_folder):
    path = lists.write(f"live-{scheme}-{as_folder}/a.crl")
    where = path.parent if as_folder else path
    server = serve(tenon, scheme, f"{authority.pair('server')}&{trusted}&crl={where}")
    url = f"{server.url}?{trusted}&{authority.pair('bad-client')}"
    assert tenon.run("send", url, "hello").out == b"hello\n"
    if as_folder:
        path.unlink()
        path = path.with_name("b.crl")
    lists.write(f"live-{scheme}-{as_folder}/{path.name}", "bad-client")
    server.wait_for_text("have changed and are in use")
    refused_by_client(tenon, url, "certificate revoked")


# Keys that are locked

@pytest.fixture
def locked(tenon, authority):
    def make(name, *args):
        path = tenon.folder / f"{name}.locked"
        authority.openssl("pkey" if not args else "pkcs8", *args, "-in", authority.key(name),
                          *(["-aes256"] if not args else []), "-passout", "pass:open sesame", "-out", path)
        return path
    return make


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_key_of_another_certificate(tenon, authority, scheme):
    cert, key = authority.pem("server"), authority.key("alice")
    refused_by_server(tenon, f"{scheme}://127.0.0.1:0?cert={cert}&key={key}",
                      f"the key in {key} does not belong to the certificate in {cert}")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("how", [[], ["-topk8", "-outform", "DER", "-v2", "aes-256-cbc"]])
def test_a_key_with_a_passphrase(tenon, authority, trusted, locked, scheme, how):
    key, secret = locked("server", *how), tenon.file("pass", b"open sesame\r\nnot this\n")
    secret.chmod(0o600)
    cert = f"cert={authority.pem('server')}&key={key}"
    server = serve(tenon, scheme, f"{cert}&key-pass-file={secret}")
    assert tenon.run("send", f"{server.url}?{trusted}", "hello").out == b"hello\n"
    refused_by_server(tenon, f"{scheme}://127.0.0.1:0?{cert}", "locked with a passphrase", "key-pass-file")
    secret.write_bytes(b"open\n")
    refused_by_server(tenon, f"{scheme}://127.0.0.1:0?{cert}&key-pass-file={secret}", "does not open", str(key))
    secret.write_bytes(b"\n")
    refused_by_server(tenon, f"{scheme}://127.0.0.1:0?{cert}&key-pass-file={secret}", "key 'key-pass-file'", "empty")
    refused_by_server(tenon, f"{scheme}://127.0.0.1:0?{cert}&key-pass-file={secret},a,b", "key 'key-pass-file'")


def test_a_client_with_a_passphrase(tenon, authority, trusted, locked):
    secret = tenon.file("pass", b"open sesame")
    secret.chmod(0o600)
    server = serve(tenon, "tls", f"{authority.pair('server')}&{trusted}")
    url = f"{server.url}?{trusted}&cert={authority.pem('alice')}&key={locked('alice')}&key-pass-file={secret}"
    assert tenon.run("send", url, "hello").out == b"hello\n"


# Files that are pipes

class Pipe:
    """A shell's <(...): its path, and its reading end."""

    def __init__(self, data):
        self.end, into = os.pipe()
        os.write(into, data)
        os.close(into)
        self.path = f"/dev/fd/{self.end}"

    def close(self):
        os.close(self.end)


@pytest.fixture
def pipe():
    made = []

    def make(data):
        made.append(Pipe(data))
        return made[-1]
    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_certificate_and_key_from_pipes(tenon, authority, trusted, pipe, scheme):
    cert, key = pipe(authority.pem("server").read_bytes()), pipe(authority.key("server").read_bytes())
    server = tenon.serve(f"{scheme}://127.0.0.1:0?cert={cert.path}&key={key.path}",
                         options=[*handler_of(scheme), "--idle", "1m", "--drain", "1s"], pass_fds=[cert.end, key.end])
    both = pipe(authority.pem("ca").read_bytes())
    assert tenon.run("send", f"{server.url}?ca={both.path}", "hello", pass_fds=[both.end]).out == b"hello\n"
    one = pipe(authority.pem("server").read_bytes() + authority.key("server").read_bytes())
    server = tenon.serve(f"{scheme}://127.0.0.1:0?cert={one.path}", options=handler_of(scheme), pass_fds=[one.end])
    assert tenon.run("send", f"{server.url}?{trusted}", "hello").out == b"hello\n"
    server.signal(signal.SIGHUP)
    server.wait_for_text("/dev/fd/.*stay in use")
    assert tenon.run("send", f"{server.url}?{trusted}", "hello").out == b"hello\n"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_pre_shared_keys_from_pipes(tenon, pipe, scheme):
    ours, theirs = pipe(f"bob:{KEY}\n".encode()), pipe(f"bob:{KEY}\n".encode())
    server = tenon.serve(f"{scheme}://127.0.0.1:0?psk-file={ours.path}", options=handler_of(scheme),
                         pass_fds=[ours.end])
    assert tenon.run("send", f"{server.url}?psk-file={theirs.path}", "hello", pass_fds=[theirs.end]).out == b"hello\n"
    time.sleep(2.5)  # a pipe is not watched: nothing is said of it
    assert "stay in use" not in server.err


@pytest.mark.parametrize("command", [["connect"], ["ping", "--count", "1"],
                                     ["bench", "--duration", "0.2s", "--warmup", "0"]])
def test_every_command_reads_a_pipe_once(tenon, authority, pipe, command):
    server = serve(tenon, "tls", authority.pair("server"))
    trust = pipe(authority.pem("ca").read_bytes())
    done = tenon.run(*command, f"{server.url}?ca={trust.path}", pass_fds=[trust.end], input=b"hello\n")
    assert done.status == 0


# Files that change

def links(folder, authority, name):
    """A folder as a certificate tool makes it: k/NAME/c.pem and c.key."""
    made = folder / name
    made.mkdir(parents=True)
    (made / "c.pem").write_bytes(authority.pem(name).read_bytes())
    (made / "c.key").write_bytes(authority.key(name).read_bytes())
    (made / "c.key").chmod(0o600)
    return made


def switch(link, target):
    fresh = link.with_suffix(".fresh")
    fresh.symlink_to(target)
    fresh.replace(link)


def rewrite(path, data):
    """In its place, with its time: only the inode tells."""
    before = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("how", ["link", "folder", "rewritten"])
def test_how_certificates_are_replaced(tenon, authority, trusted, how):
    k = tenon.folder / "k"
    old, new = links(k, authority, "server"), links(k, authority, "a.example")
    cur = k / "cur"
    if how == "link":
        cur.symlink_to("server")
    else:
        old.rename(cur)
    server = tenon.serve(f"tls://127.0.0.1:0?cert={cur}/c.pem&key={cur}/c.key", options=["--no-sandbox"])
    assert tenon.run("send", f"{server.url}?{trusted}", "hello").out == b"hello\n"
    if how == "link":
        switch(cur, "a.example")
    elif how == "folder":
        cur.rename(k / "gone")
        new.rename(cur)
    else:
        rewrite(cur / "c.key", authority.key("a.example").read_bytes())
        rewrite(cur / "c.pem", authority.pem("a.example").read_bytes())
    server.wait_for_text("have changed and are in use")
    assert tenon.run("send", f"{server.url}?{trusted}&sni=a.example", "hello").out == b"hello\n"


def test_a_key_log_that_is_rotated(tenon, authority, trusted):
    log = tenon.folder / "keys"
    server = serve(tenon, "tls", f"{authority.pair('server')}&keylog={log}")
    tenon.run("send", f"{server.url}?{trusted}", "hello")
    assert log.stat().st_size
    log.rename(tenon.folder / "keys.1")
    wait_until(log.exists, "there is a key log again")
    size = (tenon.folder / "keys.1").stat().st_size
    tenon.run("send", f"{server.url}?{trusted}", "hello")
    assert log.stat().st_size and (tenon.folder / "keys.1").stat().st_size == size


@pytest.mark.parametrize("options", [["--quiet"], ["--json"], ["--json", "--quiet"], []])
def test_a_reload_that_fails_is_told(tenon, authority, options):
    cert = tenon.file("live.pem", authority.pem("server").read_bytes())
    server = tenon.start("serve", *options, f"tls://127.0.0.1:0?cert={cert}&key={authority.key('server')}")
    time.sleep(0.5)  # --quiet says nothing when it listens
    cert.write_bytes(b"junk")
    server.wait_for_text("stay in use", "out" if "--json" in options else "err")
    server.signal(signal.SIGTERM)
    server.wait()


# Keys in memory

def test_no_key_in_a_core_file(tenon, authority, trusted):
    """A limit of 1 byte is one for pipes to a handler of core files, too: core(5)."""
    def limit_of(process):
        with open(f"/proc/{process.pid}/limits", encoding="ascii") as table:
            return next(line.split()[4] for line in table if line.startswith("Max core"))
    server = serve(tenon, "tls", authority.pair("server"))
    assert limit_of(server) in ("0", "1")
    client = tenon.start("connect", f"{server.url}?{trusted}", stdin=subprocess.PIPE)
    wait_until(lambda: limit_of(client) in ("0", "1"), "the client's limit")
    client.kill()


def test_version_tells_of_openssl(tenon):
    said = tenon.run("--version").out.decode()
    assert "OpenSSL 3" in said and ("built in" in said or "shared library" in said)
