"""How people write a place: as a URL, HOST:PORT, :PORT, HOST PORT, and what is said where that is none."""
import socket

import pytest


def test_tcp_without_a_scheme(tenon):
    port = tenon.serve("localhost:0", listeners=2).port
    for place in ("localhost:{port}", "localhost:{port}?nodelay=on", ":{port}", "127.0.0.1:{port}", "[::1]:{port}",
                  "localhost {port}", "127.0.0.1 {port}", "::1 {port}"):
        operands = place.format(port=port).split()
        assert tenon.run("send", *operands, "hello").out == b"hello\n", place
        assert tenon.run("connect", *operands, input=b"hello").out == b"hello", place
        tenon.run("ping", "--count", "1", *operands)


def test_host_and_port_of_a_server(tenon):
    server = tenon.serve("127.0.0.1", "0", listeners=1)
    assert tenon.run("send", server.url, "hello").out == b"hello\n"


@pytest.mark.parametrize("form", ["unix://{path}", "unix://localhost{path}", "unix:{path}"])
def test_unix_paths(tenon, tmp_path, form):
    url = form.format(path=tmp_path / "x.sock")
    tenon.serve(url)
    assert tenon.run("send", url, "hello").out == b"hello\n"


@pytest.mark.parametrize("place, words", [
    ("tcp://127.1:7", "not an IPv4 address"), ("0177.0.0.1:7", "leading zeros"),
    ("tcp://[fe80::1%nope]:7", "no interface 'nope'"), ("tcp://[::g]:7", "not an IPv6 address"),
    ("tcp://localhost:no-such", "no service 'no-such' for tcp"), ("unix://run/x", "unix:/run/x"),
    ("/run/x", "unix:/run/x"), ("10000", "localhost:10000"), ("localhost", "localhost:PORT")])
def test_refused_at_once(tenon, place, words):
    for command in ("connect", "send", "serve"):
        assert words in tenon.run(command, place, status=2).err


def test_what_a_failed_dial_advises(tenon, tmp_path):
    def said(url):
        return tenon.run("send", url, "x", status=None).err

    listener = tenon.listen()
    port = listener.getsockname()[1]
    listener.close()
    assert "is the server running?" in said(f"tcp://127.0.0.1:{port}")
    assert "there is no such socket; is its server running?" in said(f"unix:{tmp_path}/none")
    tenon.listen(socket.AF_UNIX, str(tmp_path / "dgram"), socket.SOCK_DGRAM)
    assert "another type of socket" in said(f"unix:{tmp_path}/dgram")
    (tmp_path / "dgram").unlink()
