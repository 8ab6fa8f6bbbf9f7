"""The end of file, in every order: what is seen when the peer does this and our input does that (tenon-connect(1))."""
import hashlib
import socket
import ssl
import subprocess
import threading

import pytest

from harness import KIB, LIMIT, noise, receive_exactly

FAILED = 1


# A TLS peer that ends with a bare FIN, as ncat does

@pytest.mark.parametrize("handler,reply", [
    ("echo", b"hi\n"), ("ack", b"ack: hi\n"), ("exec:cat", b"hi\n"), ("exec:sleep 0.3; cat", b"hi\n"),
    ("exec:wc -c", b"3\n")])
def test_a_bare_fin_is_answered(tenon, authority, program, handler, reply):
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}", options=["--json", "--handler", handler])
    port = server.url.rsplit(":", 1)[1]
    for _ in range(3):
        result = subprocess.run([program("ncat"), "--ssl", "127.0.0.1", port], input=b"hi\n", stdout=subprocess.PIPE,
                                stderr=subprocess.DEVNULL, timeout=LIMIT, check=False)
        assert result.stdout == reply
        assert "close_notify" in server.wait_for_event("close")["error"]


@pytest.mark.parametrize("size", [0, 1, 100 * KIB])
def test_input_that_ends_at_once_over_tls(tenon, authority, trusted, size):
    """Our direction ends before the handshake has."""
    server = tenon.serve(f"tls://127.0.0.1:0?{authority.pair('server')}")
    result = tenon.run("connect", f"{server.url}?{trusted}", input=noise(size))
    assert result.out == noise(size) and result.err == ""


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("family", ["unix", "tcp"])
def test_the_reply_of_a_peer_that_takes_no_more(tenon, authority, trusted, family, secured):
    """It reads a little, answers and closes: our writes fail, its answer is printed."""
    if family == "unix":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tenon.folder / "s"))
        listener.listen()
        url = f"{'tls+' if secured else ''}unix:{tenon.folder}/s"
    else:
        listener = tenon.listen()
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what Nagle holds back, a reset drops
        url = f"{'tls' if secured else 'tcp'}://127.0.0.1:{listener.getsockname()[1]}"

    def answer():
        peer, _ = listener.accept()
        if secured:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(authority.pem("server"), authority.key("server"))
            peer = context.wrap_socket(peer, server_side=True)
        receive_exactly(peer, KIB)
        peer.sendall(noise(30000))
        peer.close()
    thread = threading.Thread(target=answer)
    thread.start()
    try:
        result = tenon.run("connect", f"{url}?{trusted}" if secured else url, input=noise(4000 * KIB), status=FAILED)
    finally:
        thread.join(LIMIT)
        listener.close()
        if family == "unix":
            (tenon.folder / "s").unlink()
    assert hashlib.sha256(result.out).digest() == hashlib.sha256(noise(30000)).digest(), result.err
