"""Endpoints of HTTP: served to curl and to Python's own client, and by hand where those would not break a rule."""
import http.client
import socket

import pytest

from harness import LIMIT, receive_to_end

USAGE = 2


def ask(server, request):
    with socket.create_connection(("127.0.0.1", server.port), LIMIT) as sock:
        sock.sendall(request)
        sock.shutdown(socket.SHUT_WR)
        return receive_to_end(sock)


def test_curl_sees_its_own_request(tenon, program):
    server = tenon.serve("http://127.0.0.1:0", options=["--json"])
    url = f"http://127.0.0.1:{server.port}/a/b?c=d"
    out = tenon.finish([program("curl"), "-sS", "-i", "-d", "hello", url, url]).out
    for half in out.split(b"HTTP/1.1 200 OK\r\n")[1:]:
        head, body = half.split(b"\r\n\r\n", 1)
        assert f"Content-Length: {len(body)}".encode() in head and b"nosniff" in head
        assert body.startswith(b"POST /a/b?c=d HTTP/1.1\r\n") and body.endswith(b"\r\n\r\nhello")
    assert out.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert server.wait_for_event("close")["messages_in"] == 2


def test_many_requests_of_one_connection(tenon):
    server = tenon.serve("http://127.0.0.1:0")
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=LIMIT)
    for number in range(200):
        method, body = ("GET", "POST", "PUT", "HEAD")[number % 4], b"x" * (number * 50)
        client.request(method, f"/{number}", body)
        answer = client.getresponse()
        text = answer.read()
        assert answer.status == 200
        if method == "HEAD":
            assert text == b""
        else:
            assert text.startswith(f"{method} /{number} HTTP/1.1\r\n".encode()) and text.count(b"x") >= len(body)
    client.close()


def test_requests_in_one_piece_are_answered_in_order(tenon):
    server = tenon.serve("http://127.0.0.1:0")
    one = b"GET /%d HTTP/1.1\r\nHost: localhost\r\n\r\n"
    out = ask(server, b"".join(one % number for number in range(50)) + b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    places = [out.index(b"GET /%d " % number) for number in range(50)]
    assert places == sorted(places)
    assert out.count(b" 200 OK") == 50 and out.rindex(b"HTTP/1.1 421 ") > out.index(b"GET /49 ")


def test_who_wants_no_more(tenon):
    server = tenon.serve("http://127.0.0.1:0", options=["--handler", "discard"])
    for request in (b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
                    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), LIMIT) as sock:
            sock.sendall(request.replace(b"Host: a", b"Host: localhost"))
            answer = receive_to_end(sock)
            assert answer.startswith(b"HTTP/1.1 2") and b"Connection: close\r\n" in answer


@pytest.mark.parametrize("request_,status", [
    (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n\r\n", 403),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\n\r\n", 403),
    (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
    (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1001\r\n\r\n", 413),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 9000 + b"\r\n\r\n", 431),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
])
def test_refused_in_words(tenon, request_, status):
    server = tenon.serve("http://127.0.0.1:0?max=1000", options=["--json"])
    answer = ask(server, request_)
    assert answer.startswith(b"HTTP/1.1 %d " % status) and b"Connection: close" in answer
    assert answer.count(b"HTTP/1.1") == 1 and server.wait_for_event("close")["reason"] == "refused"


def test_half_a_head_and_silence(tenon):
    server = tenon.serve("http://127.0.0.1:0?request=200ms", options=["--json"])
    with socket.create_connection(("127.0.0.1", server.port), LIMIT) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHo")
        receive_to_end(sock)
        assert server.wait_for_event("close")["reason"] == "timeout"


def test_over_unix(tenon, program):
    place = tenon.folder / "http.sock"
    tenon.serve(f"http+unix:{place}")
    out = tenon.finish([program("curl"), "-sS", "--unix-socket", place, "http://localhost/x"]).out
    assert out.startswith(b"GET /x HTTP/1.1\r\n")


def test_over_tls(tenon, program, authority):
    server = tenon.serve(f"https://127.0.0.1:0?{authority.pair('server')}")
    out = tenon.finish([program("curl"), "-sS", "--cacert", authority.pem("ca"),
                        f"https://localhost:{server.port}/y"]).out
    assert out.startswith(b"GET /y HTTP/1.1\r\n")


@pytest.mark.parametrize("words,said", [
    (["connect", "http://localhost:1"], "did you mean 'ws://localhost:1'"),
    (["send", "http+unix:/tmp/x", "y"], "did you mean 'ws+unix'"),
    (["serve", "http://localhost:0/x"], "has no path"),
    (["serve", "http://localhost:0?deflate=on"], "applies to ws and wss"),
    (["serve", "http://localhost:0?frame=u32"], "frame"),
    (["serve", "http://localhost:0", "--handler", "exec:cat"], "exec does not answer HTTP"),
    (["serve", "http://localhost:0", "--handler", "chargen"], "chargen does not answer HTTP"),
    (["relay", "http://localhost:0", "tcp://localhost:1"], "listens on tcp:// or tls://"),
])
def test_what_cannot_be(tenon, words, said):
    assert said in tenon.run(*words, status=USAGE).err
