"""What a command of exec: is told of its client: the TENON_ variables."""
import os
import socket

import pytest

from harness import receive_to_end

TELL = "exec:env | grep ^TENON_ | sort"


OF_THE_TESTS = set(os.environ)


def told(text):
    found = dict(line.split("=", 1) for line in text.splitlines())
    return {name: value for name, value in found.items() if name not in OF_THE_TESTS}


@pytest.fixture
def inherited():
    """From a tenon above this one: not ours."""
    return {"TENON_IDENTITY": "CN=root", "TENON_VIA": "evil", "TENON_TLS": "TLSv9", "TENON_OTHER": "kept"}


def test_a_plain_client(tenon, inherited):
    server = tenon.serve("tcp://127.0.0.1:0", options=["--handler", TELL], env=inherited)
    sock = tenon.dial(server.url)
    us = f"tcp://127.0.0.1:{sock.getsockname()[1]}"
    sock.shutdown(socket.SHUT_WR)
    assert told(receive_to_end(sock).decode()) == {
        "TENON_PEER": us, "TENON_LOCAL": server.url, "TENON_URL": server.url, "TENON_OTHER": "kept"}


def test_the_url_is_the_one_that_is_served(tenon):
    server = tenon.serve(f"unix:{tenon.folder}/sock", options=["--handler", TELL])
    found = told(tenon.run("connect", server.url).text)
    assert found["TENON_URL"] == server.url and "TENON_TLS" not in found


def test_a_client_with_a_certificate(tenon, authority, trusted, inherited):
    url = f"tls://127.0.0.1:0?{authority.pair('server')}&{trusted}&verify=optional&alpn=a,b"
    server = tenon.serve(url, options=["--handler", TELL], env=inherited)
    dialled = f"{server.url.partition('?')[0].replace('127.0.0.1', 'localhost')}?{trusted}&alpn=b"
    dialled = dialled.replace("tls://", "tls4://")
    found = told(tenon.run("connect", f"{dialled}&{authority.pair('alice')}").text)
    assert found["TENON_TLS"] == "TLSv1.3" and found["TENON_ALPN"] == "b"
    assert found["TENON_SERVER_NAME"] == "localhost" and "alice" in found["TENON_IDENTITY"]
    found = told(tenon.run("connect", dialled).text)
    assert found["TENON_TLS"] == "TLSv1.3" and "TENON_IDENTITY" not in found and "TENON_VIA" not in found
