"""What the header has beside connections and messages: handles, flows, counters, files, the log, places, splitting,
histograms, signals."""
import os
import signal
import socket
import threading
import time

import pytest

import tenon
from helpers import LIMIT, Background, run_python


@pytest.fixture
def loop():
    with tenon.Loop() as one:
        one.after(LIMIT, one.stop).keep_loop(False)
        yield one


def test_handles_answer_from_other_threads():
    """Each message is answered by a thread of its own, while the connection is held; the replies keep their order."""
    threads = []

    def handle(conn, msg):
        def work():
            assert one.send({"did": msg["do"]}) is True
            one.release()
        one = conn.handle()
        assert one.conn is conn and one.id == conn.id and one.alive
        with pytest.raises(tenon.StateError):
            one.wait()  # for this thread itself
        conn.hold()
        if threads:
            threads[-1].join()
        threads.append(threading.Thread(target=work))
        threads[-1].start()
    with Background("tcp://127.0.0.1:0?frame=u32&format=json", handle) as server:
        with tenon.connect(server.url + "?frame=u32&format=json") as conn:
            for n in range(5):
                conn.send({"do": n})
            conn.finish()  # the server goes on: replies are owed
            assert list(conn) == [{"did": n} for n in range(5)]
        for thread in threads:
            thread.join()


def test_handles_to_senders_of_datagrams():
    def handle(conn, msg):
        one, sender = conn.handle(), conn.sender
        thread = threading.Thread(target=lambda: one.send(b"later: " + msg, to=sender))
        thread.start()
        threads.append(thread)
    threads = []
    with Background("udp://127.0.0.1:0", handle) as server:
        with tenon.connect(server.url) as conn:
            conn.send(b"x")
            assert conn.recv(timeout=LIMIT) == b"later: x"
    for thread in threads:
        thread.join()


def test_handles_call_wait_and_end():
    opened, ended, goes_on, got = (threading.Event() for _ in range(4))
    handles, calls, errors = [], [], []
    with Background("tcp://127.0.0.1:0?queue=64KiB", on_open=lambda conn: (handles.append(conn.handle()), opened.set()),
                    on_close=lambda conn, error: ended.set()) as server:
        server.loop.on_error = lambda error, conn: errors.append((type(error), conn.id))
        conn = tenon.connect(server.url)
        assert opened.wait(LIMIT)
        one, = handles
        with pytest.raises(tenon.StateError, match="another thread"):
            one.conn
        server.loop.call(goes_on.wait, LIMIT)  # nothing is taken meanwhile
        sent, refused = 0, 0
        while not refused:
            try:
                one.send(bytes(16384))
                sent += 16384
            except tenon.FullError:
                refused += 1
        assert one.queued >= 49152
        with pytest.raises(TimeoutError):
            one.wait(0.01)
        one.call(lambda conn, *args: calls.append((conn.id, args, threading.current_thread())), 1, two := [2])
        one.call(lambda conn: 1 / 0)
        one.call(lambda conn: got.set())
        goes_on.set()
        one.wait(LIMIT)
        assert got.wait(LIMIT)
        while sent:
            sent -= len(conn.recv(timeout=LIMIT))
        assert calls == [(one.id, (1, two), server.thread)]
        assert errors == [(ZeroDivisionError, one.id)]
        one.close()
        assert conn.recv_all(timeout=LIMIT) == b""
        assert ended.wait(LIMIT)
        while one.alive:
            time.sleep(0.01)
        for refused in (lambda: one.send(b"x"), lambda: one.call(print), lambda: one.wait(0)):
            with pytest.raises(tenon.StateError):
                refused()
        one.abort()
        one.release()
        assert one.queued == 0
        with pytest.raises(TypeError):
            one.send(5)
        conn.close()
    assert one.conn is None


def test_flows(loop):
    """One direction through a function, the other as it is; then the end of both."""
    seen = []

    def connected(front):
        back = tenon.dial(behind.url + "?frame=line", loop=loop)
        front.flow(back, lambda conn, msg, to: None if msg == b"drop" else msg.upper() if msg != b"same" else msg,
                   on_end=lambda conn, to: (seen.append("end"), to.finish()))
        back.flow(front)
        with pytest.raises(tenon.Error, match="already"):
            front.flow(back)
    behind = tenon.serve("tcp://127.0.0.1:0?frame=line", lambda conn, msg: b"<" + msg + b">", loop=loop)
    front = tenon.serve("tcp://127.0.0.1:0?frame=line", on_open=connected, loop=loop)
    client = tenon.dial(front.url + "?frame=line", lambda conn, msg: seen.append(msg), loop=loop,
                        on_close=lambda conn, error: loop.stop())
    for msg in (b"one", b"drop", b"same"):
        client.send(msg)
    client.finish()
    loop.run()
    assert seen == ["end", b"<ONE>", b"<same>"] or seen == [b"<ONE>", b"<same>", "end"]


def test_a_flow_whose_function_raises_ends_both(loop):
    errors, ended = [], []
    loop.on_error = lambda error, conn: errors.append(type(error))

    def connected(front):
        back = tenon.dial(behind.url, loop=loop, on_close=lambda conn, error: ended.append("back"))
        front.flow(back, lambda conn, msg, to: 1 / 0)
    behind = tenon.serve("tcp://127.0.0.1:0", lambda conn, msg: msg, loop=loop)
    front = tenon.serve("tcp://127.0.0.1:0", on_open=connected, loop=loop,
                        on_close=lambda conn, error: (ended.append("front"), loop.after(0, loop.stop)))
    client = tenon.dial(front.url, loop=loop)
    client.send(b"x")
    loop.run()
    assert errors == [ZeroDivisionError] and "front" in ended
    with pytest.raises(tenon.StateError):
        client.flow(client) if client.closed else loop.close() or client.flow(client)


def test_tls_begins_later(loop, tmp_path):
    tenon.cert.new(tmp_path, "localhost")
    heard = []

    def serve(conn, msg):
        heard.append((msg, conn.security() is None))
        if msg == b"STARTTLS":
            conn.send(b"go")
            conn.start_tls()
            return None
        return msg

    def answered(conn, msg):
        heard.append((msg, conn.security() is None))
        if msg == b"go":
            conn.start_tls()
            conn.send(b"secret")
        else:
            loop.stop()
    server = tenon.serve(f"tls://127.0.0.1:0?frame=line&cert={tmp_path}/server.pem&key={tmp_path}/server.key", serve,
                         loop=loop)
    server.tls_later()
    client = tenon.dial(f"tls://localhost:{server.url.rpartition(':')[2]}?frame=line&ca={tmp_path}/ca.pem", answered,
                        loop=loop)
    client.tls_later()
    client.send(b"STARTTLS")
    loop.run()
    assert heard == [(b"STARTTLS", True), (b"go", True), (b"secret", False), (b"secret", False)]
    with pytest.raises(tenon.StateError):
        client.start_tls()
    plain = tenon.serve("tcp://127.0.0.1:0", serve, loop=loop)
    with pytest.raises(tenon.Error):
        plain.tls_later(optional=True)


def test_counts_and_files(loop, tmp_path):
    tenon.cert.new(tmp_path, "localhost")
    keys = f"cert={tmp_path}/server.pem&key={tmp_path}/server.key"
    server = tenon.serve("tls://127.0.0.1:0?frame=line&" + keys, lambda conn, msg: msg, loop=loop)
    assert {(f"{tmp_path}/server.pem", "read"), (f"{tmp_path}/server.key", "read")} <= set(server.files())
    url = f"{server.url}?frame=line&ca={tmp_path}/ca.pem&verify-name=localhost"
    client = tenon.dial(url.replace("&verify-name=localhost", "").replace("127.0.0.1", "localhost"), lambda conn, msg:
                        loop.stop(), loop=loop, on_close=lambda conn, error: loop.stop())
    client.send(b"hello")
    loop.run()
    assert client.error is None
    counts = server.counts()
    assert (counts["open"], counts["accepted"], counts["msgs_in"], counts["msgs_out"], counts["handshakes"]) == \
        (1, 1, 1, 1, 1)
    assert (f"{tmp_path}/ca.pem", "read") in tenon.url_files(f"tls://localhost:1?ca={tmp_path}/ca.pem")
    assert tenon.url_files("tcp://localhost:1") == []
    with pytest.raises(tenon.UrlError):
        tenon.url_files("nonsense")
    loop.close()
    for call in (server.counts, server.files, lambda: server.keep_loop(False)):
        with pytest.raises(tenon.StateError):
            call()


def test_places_and_options():
    assert tenon.url_place("tcp://127.0.0.1:80") == {
        "family": socket.AF_UNSPEC, "type": socket.SOCK_STREAM, "protocol": socket.IPPROTO_TCP, "port": 80,
        "addresses": ["127.0.0.1:80"]}
    assert tenon.url_place("udp://*:5353")["addresses"] == []
    with pytest.raises(tenon.UrlError):
        tenon.url_place("tcp:/x")
    with socket.socket() as sock:
        assert tenon.socket_option(sock, "nodelay") == "off"
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert tenon.socket_option(sock.fileno(), "nodelay") == "on"
        with pytest.raises(tenon.Error):
            tenon.socket_option(sock, "nonsense")


def test_the_log():
    out = run_python("""
        import tenon
        said = []
        tenon.set_log(lambda important, text: said.append((important, text)))
        server = tenon.serve("udp://127.0.0.1:0?rcvbuf=512MiB", lambda conn, msg: msg)
        assert any("rcvbuf" in text for important, text in said), said
        tenon.set_log(lambda important, text: 1 / 0)  # told to sys.unraisablehook, and to nobody else
        tenon.serve("udp://127.0.0.1:0?rcvbuf=512MiB", lambda conn, msg: msg)
        tenon.set_log(None)
        for wrong in (5, "x"):
            try:
                tenon.set_log(wrong)
            except TypeError:
                print("refused")
    """)
    assert out.count("refused") == 2 and "ZeroDivisionError" in out


def test_splitting():
    split = tenon.Split("tcp://h:1?frame=u32&format=json")
    assert (split.frame, split.format, split.waiting) == ("u32", "json", 0)
    data = b"\0\0\0\x07[1,\"a\"]"
    for part in (data[:3], data[3:] + data[:5]):
        split.feed(part)
    assert list(split) == [[1, "a"]] and split.waiting == 5
    another = split.another()
    split.end()
    with pytest.raises(tenon.FormatError):
        next(split)
    split.reset()
    split.feed(data + b"\0\0\0\x01{" + data)
    assert next(split) == [1, "a"]
    with pytest.raises(tenon.FormatError):
        next(split)
    assert list(split) == [[1, "a"]]
    another.feed(bytearray(data))
    assert list(another) == [[1, "a"]]
    lines = tenon.Split("tcp://h:1?frame=line&max=10")
    lines.feed(b"a\nb\n" + bytes(20))
    assert next(lines) == b"a" and next(lines) == b"b"
    with pytest.raises(tenon.TooBigError):
        next(lines)
    with pytest.raises(tenon.UrlError):
        tenon.Split("tcp://h:1?frame=nonsense")
    with pytest.raises(TypeError):
        lines.feed("text")


def test_histograms():
    one, two = tenon.Histogram(), tenon.Histogram()
    assert (one.count, one.min, one.max, one.mean, one.quantile(0.5)) == (0, 0, 0, 0.0, 0)
    for value in range(1000):
        one.add(value)
    two.add(5_000_000, 3)
    one.merge(two)
    assert (one.count, one.min, one.count_upto(999)) == (1003, 0, 1000)
    assert 499 <= one.quantile(0.5) <= 502 and one.quantile(1) == one.max >= 5_000_000
    assert sum(count for low, high, count in two.buckets()) == 3
    again = tenon.Histogram(one.encode())
    assert again.count == one.count
    again.clear()
    assert again == tenon.Histogram() and again != one
    for call, wrong in ((one.add, -1), (one.add, "x"), (one.quantile, 2), (one.decode, "no histogram"),
                        (one.merge, 5), (one.count_upto, None)):
        with pytest.raises((TypeError, ValueError, OverflowError)):
            call(wrong)
    with pytest.raises(OverflowError):
        one.add(1, 2**63)
    with pytest.raises(TypeError):
        hash(one)


def test_signals_and_what_keeps_a_loop(loop):
    seen = []
    before = signal.getsignal(signal.SIGUSR2)
    watch = loop.signal(signal.SIGUSR2, lambda word: (seen.append(word), watch.stop()), "came")
    loop.after(0, os.kill, os.getpid(), signal.SIGUSR2)
    loop.run()  # until the watch has ended
    assert seen == ["came"] and not watch.active and signal.getsignal(signal.SIGUSR2) == before
    server = tenon.serve("tcp://127.0.0.1:0", lambda conn, msg: msg, on_open=lambda conn: conn.keep_loop(False),
                         loop=loop)
    conn = tenon.dial(server.url, loop=loop)
    for thing in (server, conn):
        thing.keep_loop(False)
    timer = loop.every(60, print)
    timer.keep_loop(False)
    loop.after(0.01, seen.append, "after")
    loop.run()
    assert seen[-1] == "after" and timer.active
    with pytest.raises(tenon.Error):
        loop.signal(signal.SIGKILL, print)
    with pytest.raises(tenon.Error, match="UDP"):
        conn.fade()
