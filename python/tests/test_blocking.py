"""The blocking face."""
import copy
import errno
import os
import pickle
import resource
import signal
import socket
import threading
import time

import pytest

import tenon
from helpers import LIMIT, Background, reset, run_python


@pytest.fixture
def echo():
    with Background("tcp://127.0.0.1:0?frame=u32", lambda c, m: m) as server:
        yield server.url + "?frame=u32"


def test_connect(echo):
    with tenon.connect(echo) as c:
        c.send(b"Hello, world!")
        assert c.recv(timeout=LIMIT) == b"Hello, world!"
        for n in range(1000):
            c.send(b"%d" % n)
            assert c.recv() == b"%d" % n
    assert c.closed
    with pytest.raises(tenon.ClosedError):
        c.recv()
    with pytest.raises(tenon.StateError):
        c.send(b"x")
    c.close()


@pytest.mark.parametrize("what", ["connection", "listener"])
def test_a_wait_keeps_the_loop(echo, what):
    """A wait for what does not keep its loop sleeps all the same."""
    with tenon.connect(echo) as c, tenon.listen("tcp://127.0.0.1:0") as listener:
        c.keep_loop(False)
        listener.server.keep_loop(False)
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        with pytest.raises(TimeoutError):
            (c.recv if what == "connection" else listener.accept)(timeout=0.05)
        assert resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw > before
        c.loop.run()  # is not kept by it


def test_why_it_has_ended():
    """Every call says so, however often."""
    with socket.create_server(("127.0.0.1", 0)) as peers:
        c = tenon.connect(f"tcp://127.0.0.1:{peers.getsockname()[1]}?frame=line")
        reset(peers.accept()[0])
        for call in (c.recv, lambda: c.send(b"x"), lambda: c.reply(b"x"), lambda: next(c), lambda: c.send(b"x")):
            with pytest.raises(ConnectionResetError) as caught:
                call()
            assert caught.value is c.error


def test_large_messages_both_ways(echo):
    with tenon.connect(echo + "&max=16MiB") as c:
        data = os.urandom(1 << 20)
        for _ in range(3):
            c.send(data)
            assert c.recv(LIMIT) == data


def test_timeouts(echo):
    with tenon.connect(echo) as c:
        for timeout in (0, 0.01):
            with pytest.raises(TimeoutError) as caught:
                c.recv(timeout=timeout)
            assert isinstance(caught.value, tenon.TimeoutError)
        c.send(b"x")
        assert c.recv(timeout=LIMIT) == b"x"
        with pytest.raises(ValueError):
            c.recv(timeout=-1)
        with pytest.raises(TypeError):
            c.recv(timeout="soon")
    with tenon.listen("tcp://127.0.0.1:0") as silent, pytest.raises(tenon.TimeoutError):
        silent.accept(timeout=0.01)


def test_refused():
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
    with pytest.raises(ConnectionRefusedError) as caught:
        tenon.connect(f"tcp://127.0.0.1:{port}", timeout=LIMIT)
    assert isinstance(caught.value, tenon.Error) and str(port) in str(caught.value)
    with pytest.raises(tenon.UrlError):
        tenon.connect("tpc://127.0.0.1:1")


def test_listen_and_iterators():
    lines, ended = [], []
    with tenon.listen("tcp://127.0.0.1:0?frame=line") as server:
        def client():
            with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as s:
                s.sendall(b"one\ntwo\nthree\n")
                s.shutdown(socket.SHUT_WR)
                while data := s.recv(100):
                    ended.append(data)
        thread = threading.Thread(target=client)
        thread.start()
        for conn in server:
            for line in conn:
                lines.append(line)
                conn.send(line.upper())
            conn.close()
            break
        thread.join(LIMIT)
    assert lines == [b"one", b"two", b"three"]
    assert b"".join(ended) == b"ONE\nTWO\nTHREE\n"


def test_datagrams():
    with tenon.listen("udp://127.0.0.1:0") as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(LIMIT)
            s.sendto(b"Hello", ("127.0.0.1", int(server.url.rpartition(":")[2])))
            conn = server.accept(LIMIT)
            assert conn.recv(LIMIT) == b"Hello"
            assert str(conn.sender) == "127.0.0.1:%d" % s.getsockname()[1]
            conn.reply(b"ack: Hello")
            assert s.recv(100) == b"ack: Hello"
            conn.send(b"more", to=conn.sender)
            assert s.recv(100) == b"more"


def test_call(echo):
    assert tenon.call(echo, b"one", LIMIT) == b"one"
    with Background("tcp://127.0.0.1:0?format=json", lambda c, m: {"got": m}) as json:
        assert tenon.call(json.url + "?format=json", [1, 2], LIMIT) == {"got": [1, 2]}
    with Background("tcp://127.0.0.1:0", lambda c, m: m) as raw:
        assert tenon.call(raw.url, b"x" * 100000, LIMIT) == b"x" * 100000
    with Background("udp://127.0.0.1:0", lambda c, m: b"ack: " + m) as udp:
        assert tenon.call(udp.url, b"x", LIMIT) == b"ack: x"


def test_peer_that_resets():
    def reset(conn, msg):
        conn.abort()
    with Background("tcp://127.0.0.1:0", reset) as server, tenon.connect(server.url) as c:
        c.send(b"x")
        with pytest.raises(ConnectionResetError):
            c.recv(LIMIT)
        with pytest.raises(ConnectionResetError):
            for _ in c:
                pass


def test_slow_reader_is_held_back():
    """What nobody takes is not read from the kernel either, beyond a bound."""
    sent = [0]

    def on_open(conn):
        more(conn)

    def more(conn):
        while sent[0] < 1 << 26:
            sent[0] += 65536
            if not conn.send(bytes(65536)):
                break
    with Background("tcp://127.0.0.1:0", on_open=on_open, on_drain=more) as server, \
            tenon.connect(server.url + "?rcvbuf=64KiB") as c:
        c.recv(LIMIT)
        deadline = time.monotonic() + LIMIT
        with tenon.connect(server.url) as other:
            for _ in range(20):  # turns of the thread's loop, on which both live
                other.recv(LIMIT)
        assert c.waiting < 1000 and sent[0] < 1 << 26
        total = 0
        del deadline
        while total < 1 << 20:
            total += len(c.recv(LIMIT))


def test_dropped_connection_is_closed():
    ended = threading.Event()
    with Background("tcp://127.0.0.1:0", lambda c, m: m, on_close=lambda c, e: ended.set()) as server:
        c = tenon.connect(server.url)
        del c
        with tenon.connect(server.url) as other:
            other.send(b"x")
            other.recv(LIMIT)
        assert ended.wait(LIMIT)


def test_interrupted():
    said = run_python("""
        import os, signal, tenon, threading
        with tenon.listen("tcp://127.0.0.1:0") as server, tenon.connect(server.url) as c:
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                c.recv()
            except KeyboardInterrupt:
                print("interrupted")
        """)
    assert said == "interrupted\n"


def test_threads_have_their_own(echo):
    c = tenon.connect(echo)
    errors = []

    def use():
        with tenon.connect(echo) as mine:
            mine.send(b"x")
            assert mine.recv(LIMIT) == b"x"
        errors.append(None)
    thread = threading.Thread(target=use)
    thread.start()
    thread.join(LIMIT)
    assert errors == [None]
    c.close()


def test_a_connection_that_is_dialled_again(tmp_path):
    """Each loss is raised once, behind what came before it; what is sent meanwhile comes first."""
    url = f"unix:{tmp_path}/s?frame=line"
    listener = tenon.listen(url)
    with tenon.connect(url + "&reconnect=1ms-20ms", timeout=LIMIT) as client:
        first = listener.accept(timeout=LIMIT)
        first.send("one", timeout=LIMIT)
        first.abort()
        assert client.recv(timeout=LIMIT) == b"one"
        with pytest.raises(tenon.LostError) as lost:
            client.recv(timeout=LIMIT)
        assert lost.value.loss["was_open"] and lost.value.code == (lost.value.reason.code if lost.value.reason
                                                                   else -errno.ECONNRESET)
        client.send("meanwhile", timeout=LIMIT)
        second = listener.accept(timeout=LIMIT)
        assert second.recv(timeout=LIMIT) == b"meanwhile"
        second.send("two", timeout=LIMIT)
        assert client.recv(timeout=LIMIT) == b"two"
        second.close(timeout=LIMIT)
        with pytest.raises(tenon.LostError, match="ended") as lost:
            client.recv(timeout=LIMIT)
        assert lost.value.reason is None
        for error in copy.copy(lost.value), pickle.loads(pickle.dumps(lost.value)):
            assert (str(error), error.errno, error.code) == (str(lost.value), errno.ECONNRESET, -errno.ECONNRESET)
            assert error.loss == lost.value.loss
        third = listener.accept(timeout=LIMIT)
    third.close(timeout=LIMIT)
    with pytest.raises(tenon.ClosedError):
        client.recv(timeout=LIMIT)
    listener.close()


def test_a_connection_lost_while_it_sends(tmp_path):
    """Who sends hears that it was for nothing, also where the peer takes nothing more and ends later."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{tmp_path}/s")
        server.listen()
        server.settimeout(LIMIT)
        with tenon.connect(f"unix:{tmp_path}/s?frame=line&reconnect=1ms-20ms", timeout=LIMIT) as client:
            for how in (socket.SHUT_RDWR, socket.SHUT_RD):
                client.send("there", timeout=LIMIT)
                with server.accept()[0] as peer:
                    assert peer.recv(10) == b"there\n"
                    peer.shutdown(how)
                    later = threading.Timer(0.05, peer.shutdown, (socket.SHUT_RDWR,))
                    later.start()
                    with pytest.raises(tenon.LostError) as lost:
                        client.send("lost", timeout=LIMIT)
                    assert lost.value.loss["messages"] == 2 and lost.value.errno == -lost.value.code > 0
                    with pytest.raises(tenon.LostError):
                        client.recv(timeout=LIMIT)
                    later.join()
            client.send("again", timeout=LIMIT)
            with server.accept()[0] as peer:
                assert peer.recv(10) == b"again\n"


def test_who_only_sends_hears_of_losses(tmp_path):
    """Each loss is raised once, and what nobody takes does not pile up."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{tmp_path}/s")
        server.listen()
        server.settimeout(LIMIT)
        with tenon.connect(f"unix:{tmp_path}/s?frame=line&reconnect=1ms-2ms", timeout=LIMIT) as client:
            for _ in range(5):
                client.send("there", timeout=LIMIT)
                with server.accept()[0] as peer:
                    assert peer.recv(10) == b"there\n"
                with pytest.raises(tenon.LostError) as lost:
                    client.send("lost", timeout=LIMIT)
                assert lost.value.loss["messages"] == 2
            assert client.waiting == 1
            with pytest.raises(tenon.LostError) as lost:
                client.recv(timeout=LIMIT)
            assert lost.value.loss["messages"] == 10 and lost.value.loss["was_open"]
