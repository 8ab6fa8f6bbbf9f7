"""Through proxies (key via), and who we are (key auth): with proxies that others wrote, and with bad ones."""
import base64
import contextlib
import json
import os
import re
import socket
import threading

import pytest

from harness import free_port, receive_exactly, wait_until

@pytest.fixture
def echo(tenon):
    return tenon.serve("tcp://127.0.0.1:0")


def microsocks(tenon, program, *args):
    port = free_port()
    tenon.peer(program("microsocks"), "-i", "127.0.0.1", "-p", port, *args)
    return wait_for(port)


def wait_for(port):
    def connects():
        with contextlib.closing(socket.socket()) as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0
    wait_until(connects, f"somebody listens at {port}")
    return port


def tinyproxy(tenon, program, more=""):
    port = free_port()
    tenon.peer(program("tinyproxy"), "-d", "-c", tenon.file("tinyproxy.conf", f"""
Port {port}
Listen 127.0.0.1
Timeout 60
MaxClients 20
{more}
""".encode()))
    return wait_for(port)


def dante(tenon, program, rules="socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }"):
    port = free_port()
    tenon.peer(program("danted"), "-f", tenon.file("danted.conf", f"""
internal: 127.0.0.1 port = {port}
external: lo
clientmethod: none
socksmethod: none
user.notprivileged: nobody
client pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}
{rules}
""".encode()), "-p", tenon.folder / "danted.pid")
    return wait_for(port)


def squid(tenon, program, authority):
    """An HTTP proxy that speaks TLS to its clients."""
    port = free_port()
    both = tenon.file("squid.pem", authority.pem("server").read_bytes() + authority.key("server").read_bytes())
    both.chmod(0o644)
    tenon.peer(program("squid"), "-N", "-f", tenon.file("squid.conf", f"""
https_port 127.0.0.1:{port} tls-cert={both}
http_access allow all
pid_filename none
cache_log /dev/null
access_log none
cache_store_log none
netdb_filename none
coredump_dir none
cache_mem 1 MB
memory_pools off
pinger_enable off
shutdown_lifetime 0 seconds
""".encode()))
    return wait_for(port)


def talk(tenon, url, **how):
    """A message and its reply. Some proxies end both directions when one has ended, so none does before that."""
    assert tenon.run("send", f"{url}&frame=line", "hello", **how).text == "hello\n"


def bulk(tenon, url):
    result = json.loads(tenon.run("bench", f"{url}&frame=u32", "--requests", "40", "--size", "64KiB", "--depth", "4",
                                  "--json").lines[-1])
    assert (result["messages"], result["errors"]) == (40, 0)


def fails(tenon, url, status=None, **how):
    result = tenon.run("connect", url, status=None, **how)
    assert result.status != 0 and (status is None or result.status == status), result
    return result.err


# Proxies that others wrote

@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_microsocks(tenon, program, echo, scheme):
    via = f"{scheme}://127.0.0.1:{microsocks(tenon, program)}"
    talk(tenon, f"tcp://localhost:{echo.port}?via={via}")
    bulk(tenon, f"tcp://localhost:{echo.port}?via={via}")
    assert "the target has refused the connection (SOCKS5 reply 5)" in fails(
        tenon, f"tcp://127.0.0.1:{free_port()}?via={via}", 1)


def test_microsocks_with_a_password(tenon, program, echo):
    port = microsocks(tenon, program, "-u", "me", "-P", "s3cret")
    secret = tenon.file("secret", b"# of the gate\nyou:wrong\nme:s3cret\n")
    secret.chmod(0o600)
    url = f"tcp://127.0.0.1:{echo.port}?via=socks5h://"
    result = tenon.run("send", f"{url}me@127.0.0.1:{port}?auth={secret}&frame=line", "hello")
    assert result.text == "hello\n" and result.err == ""
    assert "the user or the password is wrong (user 'you')" in fails(
        tenon, f"{url}127.0.0.1:{port}?auth={secret}", 1)
    assert "no password: key auth names a file" in fails(tenon, f"{url}me@127.0.0.1:{port}", 1)
    assert "wants a user and a password" in fails(tenon, f"{url}127.0.0.1:{port}", 1)
    secret.chmod(0o644)
    result = tenon.run("send", f"{url}me@127.0.0.1:{port}?auth={secret}&frame=line", "hello")
    assert "everybody on this machine can read this secret" in result.err and "s3cret" not in result.err
    env = {"all_proxy": f"socks5h://me:s3cret@127.0.0.1:{port}"}
    talk(tenon, f"tcp://127.0.0.1:{echo.port}?via=env", env=env)


@pytest.mark.parametrize("scheme", ["socks5h", "socks5", "socks4"])
def test_dante(tenon, program, echo, scheme):
    port = dante(tenon, program)
    talk(tenon, f"tcp://localhost:{echo.port}?via={scheme}://127.0.0.1:{port}")


@pytest.mark.parametrize("scheme", ["socks5h", "socks4"])
def test_dante_refuses(tenon, program, echo, scheme):
    port = dante(tenon, program, "socks block { from: 0.0.0.0/0 to: 0.0.0.0/0 }")
    said = fails(tenon, f"tcp://localhost:{echo.port}?via={scheme}://127.0.0.1:{port}", 1)
    assert ("its rules do not allow it (SOCKS5 reply 2)" in said if scheme == "socks5h" else "SOCKS4 reply 91" in said)


def test_tinyproxy(tenon, program, echo):
    port = tinyproxy(tenon, program, "BasicAuth me s3cret")
    secret = tenon.file("secret", b"me:s3cret\n")
    secret.chmod(0o600)
    talk(tenon, f"tcp://localhost:{echo.port}?via=http://127.0.0.1:{port}?auth={secret}")
    assert "answers 407 Proxy Authentication Required; key auth names a file with user:password" in fails(
        tenon, f"tcp://localhost:{echo.port}?via=http://127.0.0.1:{port}", 1)
    secret.write_bytes(b"me:wrong\n")
    said = fails(tenon, f"tcp://localhost:{echo.port}?via=http://127.0.0.1:{port}?auth={secret}", 1)
    assert "answers 40" in said and "wrong" not in said.replace("is wrong", "")


def test_tinyproxy_refuses(tenon, program, echo):
    port = tinyproxy(tenon, program, "ConnectPort 443")
    assert re.search(r"proxy http://127\.0\.0\.1:\d+: answers 403 ", fails(
        tenon, f"tcp://localhost:{echo.port}?via=http://127.0.0.1:{port}", 1))


def test_squid_over_tls(tenon, program, authority, echo):
    """TLS to the proxy, and TLS to the target within it; each is held against its own authorities."""
    port = squid(tenon, program, authority)
    server = tenon.serve(f"tls4://localhost:0?{authority.pair('server')}")
    ca = authority.pem("ca")
    talk(tenon, f"tcp://localhost:{echo.port}?via=https://localhost:{port}?ca={ca}")
    talk(tenon, f"tls://localhost:{server.port}?ca={ca}&via=https://localhost:{port}?ca={ca}%26tls-min=1.3")
    assert re.search(r": proxy https://localhost:\d+: .*certificate", fails(
        tenon, f"tls://localhost:{server.port}?ca={ca}&via=https://localhost:{port}", 1))
    said = fails(tenon, f"tls://localhost:{server.port}?via=https://localhost:{port}?ca={ca}", 1)
    assert "certificate" in said and "proxy https" not in said.partition("?via=")[2].partition(": ")[2]
    assert re.search(r"proxy https://localhost:\d+: answers 503 ", fails(
        tenon, f"tcp://localhost:{free_port()}?via=https://localhost:{port}?ca={ca}", 1))


def test_three_kinds_in_a_chain(tenon, program, authority, echo):
    ca = authority.pem("ca")
    chain = [f"https://localhost:{squid(tenon, program, authority)}?ca={ca}",
             f"socks5h://127.0.0.1:{microsocks(tenon, program)}", f"http://localhost:{tinyproxy(tenon, program)}"]
    for first in range(3):
        via = ",".join(chain[first:] + chain[:first])
        bulk(tenon, f"tcp://localhost:{echo.port}?via={via}")
    dead = free_port()
    said = fails(tenon, f"tcp://localhost:{echo.port}?via={chain[1]},http://localhost:{dead},{chain[2]}", 1)
    assert f"proxy 1 of 3, {chain[1]}: answers: the target has refused" in said


def test_websocket_and_own_proxy(tenon, authority):
    """WebSocket over TLS through tenon's own proxies, of both kinds, at a Unix socket and with TLS."""
    ca = authority.pem("ca")
    server = tenon.serve(f"wss4://localhost:0/chat?{authority.pair('server')}")
    port = re.search(r":(\d+)", server.url)[1]
    place = tenon.folder / "proxy.sock"
    tenon.serve(f"proxy+unix:{place}?allow-to=127.0.0.0/8,::1")
    second = tenon.serve(f"tls+proxy://127.0.0.1:0?allow-to=127.0.0.0/8,::1&{authority.pair('server')}")
    behind = re.search(r":(\d+)", second.url)[1]
    via = f"socks5h+unix:{place},https://localhost:{behind}?ca={ca}"
    result = tenon.run("send", f"wss://localhost:{port}/chat?ca={ca}&via={via}", "hello")
    assert result.text == "hello\n"
    result = tenon.run("ping", f"wss://localhost:{port}/chat?ca={ca}&via={via}", "--count", "3",
                       "--interval", "10ms")
    assert result.text.count("seq=") == 3


def test_ssh(tenon, program, echo):
    """As a ProxyCommand of OpenSSH, and through the SOCKS that ssh -D serves."""
    ssh, keygen, daemon = program("ssh"), program("ssh-keygen"), "/usr/sbin/sshd"
    if not os.path.exists(daemon) or os.getuid():
        pytest.skip("there is no sshd, or this is not root")
    for name in ("host", "user"):
        tenon.finish([keygen, "-q", "-t", "ed25519", "-N", "", "-f", tenon.folder / name])
    os.makedirs("/run/sshd", exist_ok=True)
    port, proxy = free_port(), microsocks(tenon, program)
    tenon.peer(daemon, "-D", "-e", "-f", "/dev/null", "-p", port, "-h", tenon.folder / "host", "-o", "UsePAM=no",
               "-o", "ListenAddress=127.0.0.1", "-o", f"AuthorizedKeysFile={tenon.folder}/user.pub", "-o",
               "StrictModes=no", "-o", "PermitRootLogin=yes")
    wait_for(port)
    command = " ".join(map(str, tenon.argv("connect", f"'tcp://%h:%p?via=socks5h://127.0.0.1:{proxy}'")))
    ours = [ssh, "-F", "/dev/null", "-i", tenon.folder / "user", "-o", f"UserKnownHostsFile={tenon.folder}/known",
            "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes", "-p", port, "root@127.0.0.1"]
    assert tenon.finish([*ours[:-3], "-o", f"ProxyCommand={command}", *ours[-3:], "echo through"]).text == "through\n"
    dynamic = free_port()
    tenon.peer(*ours[:-1], "-N", "-D", f"127.0.0.1:{dynamic}", ours[-1])
    wait_for(dynamic)
    for scheme in ("socks4a", "socks5h"):
        talk(tenon, f"tcp://localhost:{echo.port}?via={scheme}://127.0.0.1:{dynamic}")


def test_ends(tenon, echo):
    """One direction ends before the other: tenon's own proxy carries that over."""
    proxy = tenon.serve("proxy://127.0.0.1:0?allow-to=127.0.0.0/8,::1")
    data = os.urandom(3 << 20)
    url = f"tcp://127.0.0.1:{echo.port}?via=http://127.0.0.1:{proxy.port}"
    assert tenon.run("connect", url, input=data).out == data


def test_relay(tenon, program, echo):
    """The targets of a relay, in its sandbox, which reads the file of key auth."""
    port = microsocks(tenon, program, "-u", "me", "-P", "s3cret")
    secret = tenon.file("secret", b"me:s3cret\n")
    secret.chmod(0o600)
    target = f"tcp://localhost:{echo.port}?via=socks5h://127.0.0.1:{port}?auth={secret}"
    relay = tenon.relay("tcp://127.0.0.1:0", target)
    sock = tenon.dial(relay.url)
    sock.sendall(b"hello\n")
    assert receive_exactly(sock, 6) == b"hello\n"
    sock.close()
    session = relay.wait_for_event("session")
    assert session["target"] == f"tcp://localhost:{echo.port}"
    assert session["via"] == f"socks5h://127.0.0.1:{port}"
    assert b"s3cret" not in relay.out and "s3cret" not in relay.err


# Names

def test_names_are_not_looked_up_here(tenon, strace):
    """With socks5h, socks4a and http no file of names is opened, and no name server asked; with socks5 they are."""
    calls = tenon.folder / "calls"
    for scheme, looks in {"socks5h": False, "socks4a": False, "http": False, "socks5": True}.items():
        proxy = Proxy(tenon, [b""])
        strace(["-e", "trace=connect,openat", "-o", calls], tenon.argv(
            "connect", f"tcp://there.invalid:443?via={scheme}://127.0.0.1:{proxy.port}"), None)
        text = calls.read_text()
        assert (("/etc/hosts" in text) or ("/etc/resolv.conf" in text)) == looks, text
        proxy.close()


# Proxies that are bad

class Proxy:
    """A proxy that answers each connection with one of these, ends, and waits for the other side to end."""

    def __init__(self, tenon, answers):
        self.listener, self.answers, self.heard = tenon.listen(), answers, []
        self.port = self.listener.getsockname()[1]
        self.listener.settimeout(10)
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()
        tenon.cleanups.callback(self.close)

    def serve(self):
        with contextlib.suppress(OSError):
            for answer in self.answers:
                sock, _ = self.listener.accept()
                with contextlib.closing(sock):
                    self.answer(sock, answer)

    def answer(self, sock, answer):
        sock.settimeout(10)
        with contextlib.suppress(OSError):
            self.heard.append(sock.recv(4096))
            sock.sendall(answer)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(4096):
                pass

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()


GOOD = {"socks5h": b"\5\0" + b"\5\0\0\1\1\2\3\4\5\6", "socks4a": b"\0\x5a\1\2\3\4\5\6",
        "http": b"HTTP/1.1 200 Connection established\r\nVia: 1.1 x\r\n\r\n"}


@pytest.mark.parametrize("scheme", GOOD)
def test_cut(tenon, scheme):
    """The proxy ends within its answer. (At each byte: tests/unit/test_via.c.)"""
    good = GOOD[scheme]
    for n in range(0, len(good), 1 + len(good) // 8):
        proxy = Proxy(tenon, [good[:n]])
        said = fails(tenon, f"tcp://h:1?via={scheme}://127.0.0.1:{proxy.port}", 1)
        assert "has closed the connection " + ("in the middle of" if n else "without") in said


@pytest.mark.parametrize("scheme", GOOD)
def test_early_bytes(tenon, scheme):
    """The target speaks first, in the segment of the proxy's answer."""
    proxy = Proxy(tenon, [GOOD[scheme] + b"early\n"])
    assert tenon.run("connect", f"tcp://h:1?via={scheme}://127.0.0.1:{proxy.port}").text == "early\n"


def test_wild_replies(tenon):
    name = b"\5\0" + b"\5\0\0\3\377" + b"n" * 255 + b"\5\6"
    for answer, said in {name + b"early\n": None, b"\5\0\5\0\0\4" + b"6" * 18 + b"early\n": None,
                         b"\5\0\5\0\0\3\0\5\6early\n": None, b"\5\0\5\0\0\5xxxxx": "address of kind 5",
                         b"\5\0\5\x63\0\1": "reply 99, which does not exist", b"\5\3": "method 3",
                         b"SSH-2.0-x\r\n": "byte 83: that is not SOCKS5"}.items():
        proxy = Proxy(tenon, [answer])
        url = f"tcp://h:1?via=socks5h://127.0.0.1:{proxy.port}"
        if said:
            assert said in fails(tenon, url)
        else:
            assert tenon.run("connect", url).text == "early\n"
    proxy = Proxy(tenon, [b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 9000])
    assert "longer than 8192 bytes" in fails(tenon, f"tcp://h:1?via=http://127.0.0.1:{proxy.port}")
    proxy = Proxy(tenon, [b"HTTP/1.1 403 No\r\nContent-Type: text/plain\r\n\r\nport \x1b[31m22 is not allowed\nmore\n"])
    said = fails(tenon, f"tcp://h:1?via=http://127.0.0.1:{proxy.port}")
    assert "answers 403 No: port " in said and "22 is not allowed" in said and "more" not in said
    assert "\x1b" not in said


def test_silence(tenon):
    """Key connect holds for the whole way: the proxy accepts, and says nothing."""
    silent = tenon.listen()
    said = fails(tenon, f"tcp://h:1?connect=300ms&via=socks5h://127.0.0.1:{silent.getsockname()[1]}")
    assert "has not answered within 300ms" in said
    first = Proxy(tenon, [GOOD["socks5h"]])
    said = fails(tenon, f"tcp://h:1?connect=300ms&via=socks5h://127.0.0.1:{first.port},http://second:1")
    assert "proxy 2 of 2, http://second:1" in said


# Who we are

@pytest.mark.parametrize("secret,header", [
    (b"me:s3cret\n", "Basic " + base64.b64encode(b"me:s3cret").decode()), (b"t0ken.s3cret\n", "Bearer t0ken.s3cret")])
def test_websocket_auth(tenon, secret, header):
    """The server is told; events, process lists and errors are not."""
    path = tenon.file("secret", secret)
    path.chmod(0o600)
    proxy = Proxy(tenon, [b"HTTP/1.1 401 Unauthorized\r\n\r\n"])
    said = fails(tenon, f"ws://127.0.0.1:{proxy.port}/chat?auth={path}", 1)
    assert "401 Unauthorized" in said and "s3cret" not in said
    assert f"\r\nAuthorization: {header}\r\n".encode() in proxy.heard[0]


def test_bad_files(tenon):
    for text, why in {b"": "no line user:password", b"two words\n": "line 1", b":x\n": "before the colon"}.items():
        path = tenon.file("secret", text)
        assert why in fails(tenon, f"ws://localhost:1?auth={path}", 2)
    assert "there is no file" in fails(tenon, f"ws://localhost:1?auth={tenon.folder}/none", 2)
    path = tenon.file("secret", b"token\n")
    assert "no token" in fails(tenon, f"tcp://localhost:1?via=socks5h://x?auth={path}", 2)


def test_environment(tenon, echo):
    """Only where it is asked for, and not for those in no_proxy."""
    url, dead = f"tcp://localhost:{echo.port}", f"socks5h://127.0.0.1:{free_port()}"
    talk(tenon, f"{url}?nodelay=on", env={"all_proxy": dead})
    assert "Connection refused" in fails(tenon, f"{url}?via=env", env={"all_proxy": dead, "http_proxy": "http://x"})
    assert "Connection refused" in fails(tenon, f"{url}?via=env", env={"ALL_PROXY": dead, "no_proxy": "host,calhost"})
    for except_for in ("*", "localhost", "other, .localhost", "LOCALHOST"):
        talk(tenon, f"{url}?via=env", env={"all_proxy": dead, "no_proxy": except_for})
    for except_for in ("127.0.0.1", "10.0.0.0/8,127.0.0.0/8"):
        talk(tenon, f"tcp://127.0.0.1:{echo.port}?via=env", env={"all_proxy": dead, "NO_PROXY": except_for})
    talk(tenon, f"{url}?via=env")
    said = fails(tenon, f"{url}?via=env", 2, env={"all_proxy": "socks5h://me:s3cret@gate:99999"})
    assert "all_proxy in the environment" in said and "s3cret" not in said


BAD = {
    "via=gate:1080": "what does this proxy speak?", "via=sock5://gate": "did you mean 'socks5'?",
    "via=socks://gate": "did you mean 'socks5h'?", "via=socks5h://me:secret@gate": "put user:password into a file",
    "via=socks5h://gate,": "a proxy is missing", "via=http://gate,,http://b": "a proxy is missing",
    "via=socks5h://gate?idle=3": "belongs to the URL that is dialled",
    "via=socks5h://gate?nodelay=on": "belongs to the URL that is dialled",
    "via=socks5h://gate,http%2Bunix:/x": "only the first proxy can be at", "via=http://g:0": "port 0",
    "via=http://g%2500:1": "zero byte", "via=http%2Bunix:/x&bind=:7": "key bind is for IP",
    "via=" + ",".join(["http://g"] * 9): "more than 8 proxies", "auth=/x": "applies to ws and wss",
    "via=socks5h://gate&allow-to=public": "it is the proxy that connects",
}


def test_wrong_urls(tenon):
    for keys, why in BAD.items():
        said = fails(tenon, f"tcp://h:22?{keys}", 2)
        assert why in said and "secret" not in said, said
    said = fails(tenon, "tcp://h:1?via=socks5h://me:secret@gate", 2).splitlines()
    assert said[1].strip() == "tcp://h:1?via=socks5h://me:******@gate", "the URL again, and a caret"
    assert said[1].index("me:") == said[2].index("^")
    for url, why in {"tcp6://h:1?via=socks5h://g": "the IP version is its choice",
                     "tcp://[::1]:1?via=socks4a://g": "SOCKS4 has none", "udp://h:1?via=socks5h://g": "tcp, tls and ws",
                     "unix:/x?via=socks5h://g": "tcp, tls and ws", "tcp://h%00:1?via=http://g": "zero byte"}.items():
        said = fails(tenon, url, 2)
        assert why in said, said
