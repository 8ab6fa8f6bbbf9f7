"""tenon hub: TLS of the NATS protocol, which begins when the server has said INFO, with nats-server as the judge."""
import json
import shutil
import ssl
import subprocess

import pytest

from harness import SANITIZED
from test_hub import NPM, Talk, hashed, nats_server

HELLO = b'CONNECT {"verbose":false}\r\n'


def begin_tls(talk, authority, name=None):
    context = ssl.create_default_context(cafile=str(authority.pem("ca")))
    if name:
        context.load_cert_chain(authority.pem(name), authority.key(name))
    talk.sock = context.wrap_socket(talk.sock, server_hostname="localhost")
    return talk


@pytest.fixture(name="secured")
def secured_hub(tenon, authority):
    return tenon.hub(f"nats://127.0.0.1:0?{authority.pair('server')}", options=["--json", "--threads", "2"])


def judge_of(tenon, authority, more=""):
    return nats_server(tenon, "-c", tenon.file("judge.conf", f"""tls {{
        cert_file: "{authority.pem("server")}", key_file: "{authority.key("server")}", ca_file: "{authority.pem("ca")}"
        {more} }}""".encode())).port


def test_tls_as_nats_server(tenon, authority, secured):
    """INFO says that TLS is wanted, TLS begins, and then all goes on as ever: as with nats-server."""
    said = []
    for port in (secured.port, judge_of(tenon, authority)):
        talk = Talk(port, tenon)
        said.append([talk.info.get(key) for key in ("tls_required", "tls_available", "auth_required", "headers")])
        begin_tls(talk, authority)
        said[-1].append(talk.to_pong(HELLO + b"SUB a 1\r\nPUB a 100000\r\n" + bytes(100000) + b"\r\n"))
        plain = Talk(port, tenon)
        plain.say(HELLO + b"PING\r\n")
        try:
            said[-1].append(plain.sock.recv(100)[:1])
        except ConnectionResetError:
            said[-1].append(b"")
    assert said[0][:5] == said[1][:5] and said[0][0] is True
    assert said[0][5] in (b"", b"\x15")  # nothing, or an alert
    # one that says nothing, and one that goes in the middle of the handshake
    for data in (b"", b"\x16\x03\x01\x02\x00"):
        talk = Talk(secured.port, tenon)
        talk.say(data)
        talk.sock.close()
    assert begin_tls(Talk(secured.port, tenon), authority).to_pong(HELLO) == b""


def test_tls_is_offered(tenon, authority):
    """--tls-optional: who does not want it goes on without."""
    hub = tenon.hub(f"nats://127.0.0.1:0?{authority.pair('server')}", options=["--json", "--tls-optional"])
    plain, talk = Talk(hub.port, tenon), Talk(hub.port, tenon)
    assert plain.info["tls_available"] and "tls_required" not in plain.info
    assert plain.to_pong(HELLO + b"SUB a 1\r\n") == b""
    assert begin_tls(talk, authority).to_pong(HELLO + b"PUB a 1\r\nx\r\n") == b""
    assert plain.to_pong() == b"MSG a 1 1\r\nx\r\n"
    url = f"nats://127.0.0.1:{hub.port}"
    tenon.run("pub", url, "a", "1")
    tenon.run("pub", f"{url}?ca={authority.pem('ca')}", "a", "2")
    assert plain.to_pong() == b"MSG a 1 1\r\n1\r\nMSG a 1 1\r\n2\r\n"


@pytest.mark.parametrize("where", ["hub", "judge"])
def test_clients_begin_tls(tenon, authority, secured, where):
    """pub and sub: with ca, cert or verify in the URL; without they are told."""
    port = secured.port if where == "hub" else judge_of(tenon, authority)
    url = f"nats://127.0.0.1:{port}"
    sub = tenon.start("sub", f"{url}?ca={authority.pem('ca')}", "a", "--count", "2", "-v")
    sub.wait_for_text("subscribed")
    tenon.run("pub", f"{url}?verify=off", "a", "1")
    tenon.run("pub", f"{url}?ca={authority.pem('ca')}", "a", "2")
    sub.wait()
    assert [json.loads(line)["data"] for line in sub.lines] == [1, 2]
    assert "wants TLS" in tenon.run("pub", url, "a", "1", status=4).err
    assert "no authority" in tenon.run("pub", f"{url}?verify=on", "a", "1", status=1).err


def test_nobody_keeps_a_client_from_tls(tenon, authority):
    """Who stands in between and says that there is none, or puts words of its own behind INFO, gets nothing."""
    listener = tenon.listen()
    url = f"nats://127.0.0.1:{listener.getsockname()[1]}?ca={authority.pem('ca')}"
    for said, why, status in ((b'INFO {"headers":true} \r\n', "offers no TLS", 4),
                              (b'INFO {"tls_required":true} \r\nPONG\r\nMSG a 1 1\r\nx\r\n', "before TLS began", 1)):
        client = tenon.start("sub", url, "a")
        sock = tenon.accept(listener)
        sock.sendall(said)
        heard = b""
        try:
            while data := sock.recv(4096):
                heard += data
        except ConnectionResetError:
            pass
        assert b"CONNECT" not in heard and b"SUB" not in heard
        client.wait(status)
        assert why in client.err and not client.lines


def test_cert_is_a_user_later(tenon, authority):
    """A certificate that TLS after INFO has shown is as good as any."""
    users = tenon.file("users", f"alice cert:CN=alice publish=a subscribe=\nbob {hashed('s3')}\n".encode())
    hub = tenon.hub(f"nats://127.0.0.1:0?{authority.pair('server')}&ca={authority.pem('ca')}&verify=optional",
                    options=["--json", "--users", users])
    url = f"nats://127.0.0.1:{hub.port}?ca={authority.pem('ca')}"
    tenon.run("pub", f"{url}&{authority.pair('alice')}", "a", "x")
    assert "Violation" in tenon.run("pub", f"{url}&{authority.pair('alice')}", "b", "x", status=4).err
    assert "Authorization" in tenon.run("pub", url, "a", "x", status=4).err
    tenon.run("pub", url, "b", "x", "--login", "bob", "--password-file", tenon.file("secret", b"s3\n"))
    talk = begin_tls(Talk(hub.port, tenon), authority, "alice")
    assert talk.to_pong(HELLO + b"SUB a 1\r\n") == b"-ERR 'Permissions Violation for Subscription to \"a\"'\r\n"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        begin_tls(Talk(hub.port, tenon), authority, "mallory").to_pong(HELLO)


def test_npm_begins_tls(tenon, authority, secured):
    node = shutil.which("node")
    if not node or subprocess.run([node, "-e", 'require("nats")'], stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("node does not find the package nats")
    script = NPM.replace("{ servers: process.argv[1] }",
                         "{ servers: process.argv[1], tls: { caFile: process.argv[2] } }")
    result = tenon.finish([node, "-e", script, f"localhost:{secured.port}", authority.pem("ca")])
    assert result.lines == ["a.b one", "a.c two", "I do me", "503", "503"], result


def test_npm_tls_first(tenon, authority):
    """nats+tls://: TLS from the first byte, which that package can too."""
    node = shutil.which("node")
    if not node or subprocess.run([node, "-e", 'require("nats")'], stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("node does not find the package nats")
    hub = tenon.hub(f"nats+tls://127.0.0.1:0?{authority.pair('server')}")
    script = NPM.replace("{ servers: process.argv[1] }",
                         "{ servers: process.argv[1], tls: { caFile: process.argv[2], handshakeFirst: true } }")
    port = hub.url.split("?")[0].rpartition(":")[2]
    result = tenon.finish([node, "-e", script, f"localhost:{port}", authority.pem("ca")])
    assert result.lines == ["a.b one", "a.c two", "I do me", "503", "503"], result


@pytest.mark.skipif(SANITIZED, reason="its library is not")
def test_libnats_begins_tls(tenon, authority, secured, tmp_path):
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "libnats"], stdout=subprocess.PIPE, check=False)
    if flags.returncode or not shutil.which("cc"):
        pytest.skip("libnats is not there")
    source = tmp_path / "tls.c"
    source.write_text(LIBNATS)
    subprocess.run(["cc", "-o", tmp_path / "tls", source, *flags.stdout.decode().split()], check=True)
    result = tenon.finish([tmp_path / "tls", f"nats://localhost:{secured.port}", authority.pem("ca")])
    assert result.lines == ["hello over TLS"]


LIBNATS = r"""
#include <nats/nats.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	natsOptions *opts = NULL;
	natsConnection *nc = NULL;
	natsSubscription *sub = NULL;
	natsMsg *msg = NULL;
	natsStatus s = natsOptions_Create(&opts);

	if (s == NATS_OK)
		s = natsOptions_SetURL(opts, argv[argc - 2]);
	if (s == NATS_OK)
		s = natsOptions_SetSecure(opts, true);
	if (s == NATS_OK)
		s = natsOptions_LoadCATrustedCertificates(opts, argv[argc - 1]);
	if (s == NATS_OK)
		s = natsConnection_Connect(&nc, opts);
	if (s == NATS_OK)
		s = natsConnection_SubscribeSync(&sub, nc, "a");
	if (s == NATS_OK)
		s = natsConnection_PublishString(nc, "a", "hello over TLS");
	if (s == NATS_OK)
		s = natsSubscription_NextMsg(&msg, sub, 10000);
	puts(s == NATS_OK ? natsMsg_GetData(msg) : natsStatus_GetText(s));
	natsMsg_Destroy(msg);
	natsSubscription_Destroy(sub);
	natsConnection_Destroy(nc);
	natsOptions_Destroy(opts);
	return s != NATS_OK;
}
"""


def test_bad_tls_urls(tenon, authority):
    assert "cert" in tenon.run("hub", f"nats://127.0.0.1:0?ca={authority.pem('ca')}", status=2).err
    error = tenon.run("hub", "nats://127.0.0.1:0?cert=/nowhere.pem", status=2).err
    assert "there is no file /nowhere.pem" in error and "Try:" not in error
