"""The face with callbacks."""
import datetime
import errno
import gc
import os
import signal
import socket
import threading
import time
import weakref

import pytest

import tenon
from helpers import LIMIT, Background, run_python


def talk(loop, url, *messages, keys="", **callbacks):
    """Dials, sends each message, and returns what comes back for them; the loop runs meanwhile."""
    got, ended = [], []

    def on_msg(conn, msg):
        got.append(msg)
        if len(got) == len(messages):
            conn.close()

    def on_close(conn, error):
        ended.append(error)
        loop.stop()
    conn = tenon.dial(url + keys, on_msg, on_close=on_close, loop=loop, **callbacks)
    for message in messages:
        conn.send(message)
    loop.run()
    assert len(ended) == 1
    return got, ended[0]


@pytest.mark.parametrize("scheme", ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "unix:{}/s", "shm:{}/m",
                                    "unix-seqpacket:{}/d"])
def test_echo(loop, scheme, tmp_path):
    server = tenon.serve(scheme.format(tmp_path), lambda conn, msg: msg, loop=loop)
    got, error = talk(loop, server.url, b"Hello, world!")
    assert b"".join(got) == b"Hello, world!"
    assert error is None


@pytest.mark.parametrize("format", ["json", "cbor", "msgpack", "xml&frame=u32"])
def test_values(loop, format):
    """What JSON, CBOR ... say is what the callback gets, and what it returns is the reply."""
    value = {"n": [0, -1, 2**63, 2**64 - 1, 1.5], "t": "\N{SNOWMAN}", "b": b"\x00\xff", "none": None, "yes": True}
    seen = []

    def on_msg(conn, msg):
        seen.append(msg)
        return {"ack": msg}
    server = tenon.serve("tcp://127.0.0.1:0?format=" + format, on_msg, loop=loop)
    got, error = talk(loop, server.url, value, keys="?format=" + format)
    assert seen == [value]
    assert got == [{"ack": value}]
    assert error is None


def test_decorator(loop):
    @tenon.serve("tcp://127.0.0.1:0?frame=line", loop=loop)
    def shout(conn, msg):
        return msg.upper()
    assert isinstance(shout, tenon.Server)
    got, _ = talk(loop, shout.url, b"a", b"b", keys="?frame=line")
    assert got == [b"A", b"B"]


def test_none_is_no_reply_but_can_be_sent(loop):
    def on_msg(conn, msg):
        if msg == 1:
            return None
        conn.reply(None)
    server = tenon.serve("tcp://127.0.0.1:0?format=json", on_msg, loop=loop)
    got = []

    def reply(conn, msg):
        got.append(msg)
        loop.stop()
    conn = tenon.dial(server.url + "?format=json", reply, loop=loop)
    conn.send(1)
    conn.send(2)
    loop.run()
    assert got == [None]


def test_order_of_callbacks(loop):
    said = []
    server = tenon.serve("tcp://127.0.0.1:0?frame=u32", lambda c, m: said.append("msg"), loop=loop,
                         on_open=lambda c: said.append("open"), on_end=lambda c: (said.append("end"), c.close()),
                         on_close=lambda c, e: (said.append("close"), loop.stop()))
    conn = tenon.dial(server.url + "?frame=u32", loop=loop)
    conn.send(b"x")
    conn.finish()
    loop.run()
    assert said == ["open", "msg", "end", "close"]


def test_replies_to_senders_later(loop):
    """A datagram's sender can be answered after on_msg, and told from others."""
    waiting = []
    server = tenon.serve("udp://127.0.0.1:0", lambda c, m: waiting.append((c, m, c.sender)), loop=loop)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, \
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two:
        host, port = "127.0.0.1", int(server.url.rpartition(":")[2])
        for peer in (one, two, one):
            peer.settimeout(LIMIT)
            peer.sendto(b"?", (host, port))
        while len(waiting) < 3:
            loop.step(LIMIT)
        senders = {str(sender): sender for _, _, sender in waiting}
        assert len(senders) == 2
        assert waiting[0][2] == waiting[2][2] != waiting[1][2]
        assert len({s for _, _, s in waiting}) == 2
        for conn, _, sender in waiting[:2]:
            conn.send(str(sender).encode(), to=sender)
        loop.step(0)
        assert one.recv(100).decode() == "127.0.0.1:%d" % one.getsockname()[1]
        assert two.recv(100).decode() == "127.0.0.1:%d" % two.getsockname()[1]


def test_bad_messages(loop):
    """on_bad may answer; the error says where."""
    seen = []

    def on_bad(conn, data, error):
        seen.append((data, error))
        return {"error": str(error)}
    server = tenon.serve("tcp://127.0.0.1:0?frame=line&format=json", lambda c, m: m, on_bad=on_bad, loop=loop)
    got, _ = talk(loop, server.url, b'{"a": nope}', keys="?frame=line")
    assert seen[0][0] == b'{"a": nope}'
    assert isinstance(seen[0][1], tenon.FormatError)
    assert seen[0][1].position == 7
    assert b"error" in got[0]


def test_exception_in_a_callback_ends_its_connection_alone(loop):
    raised = []
    loop.on_error = lambda error, conn: raised.append(error)
    server = tenon.serve("tcp://127.0.0.1:0?frame=u32", lambda c, m: 1 // int(m), loop=loop)
    errors = []

    def bad(conn, msg):
        raise AssertionError("no reply was due")
    tenon.dial(server.url + "?frame=u32", bad, on_close=lambda c, e: (errors.append(e), loop.stop()),
               loop=loop).send(b"0")
    loop.run()
    assert isinstance(errors[0], tenon.ConnectionResetError)
    assert isinstance(raised[0], ZeroDivisionError) and raised[0].__traceback__
    assert server.count == 0 and not server.closed


@pytest.mark.parametrize("name", ["on_open", "on_msg", "on_end", "on_close", "on_bad", "on_drain"])
def test_exceptions_in_every_callback(loop, name):
    """Each is told to on_error, with its connection, and the loop goes on."""
    errors, closed = [], []
    loop.on_error = lambda error, conn: errors.append((str(error), conn))

    def fail(*args):
        raise ValueError(name)

    def fill(conn):
        while conn.send(bytes(65536)):
            pass
    callbacks = {"on_msg": lambda c, m: None, name: fail}
    if name == "on_drain":
        callbacks["on_open"] = fill
    server = tenon.serve("tcp://127.0.0.1:0?format=json" if name == "on_bad" else "tcp://127.0.0.1:0", loop=loop,
                         **callbacks)
    client = tenon.dial(server.url, lambda c, m: None, loop=loop, on_close=lambda c, e: closed.append(e))
    client.send(b"{]")
    client.finish()
    loop.after(LIMIT, loop.stop)
    while not errors or not client.closed:
        assert loop.step(LIMIT)
        if name != "on_drain" and errors and client.closed:
            break
    assert errors[0][0] == name
    assert isinstance(errors[0][1], tenon.Conn)


def test_an_exception_without_on_error():
    said = run_python("""
        import tenon
        tenon.after(0, lambda: 1 // 0)
        tenon.run()
        """)
    assert "Exception ignored" in said and "ZeroDivisionError" in said


def test_an_exception_leaves_a_datagram_server_alone(loop):
    raised = []
    loop.on_error = lambda error, conn: raised.append(error)
    server = tenon.serve("udp://127.0.0.1:0", lambda c, m: 1 // int(m) or b"inf", loop=loop)
    client = tenon.dial(server.url, lambda c, m: loop.stop(), loop=loop)
    client.send(b"0")
    client.send(b"2")
    loop.run()
    assert len(raised) == 1 and not server.closed


def test_keyboard_interrupt_in_a_callback_ends_run(loop):
    def on_msg(conn, msg):
        raise KeyboardInterrupt
    server = tenon.serve("tcp://127.0.0.1:0", on_msg, loop=loop)
    tenon.dial(server.url, loop=loop).send(b"x")
    with pytest.raises(KeyboardInterrupt):
        loop.run()


def test_keyboard_interrupt_while_waiting():
    said = run_python("""
        import os, signal, tenon, threading
        tenon.serve("tcp://127.0.0.1:0", lambda c, m: m)
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            tenon.run()
        except KeyboardInterrupt:
            print("interrupted")
        """)
    assert said == "interrupted\n"


@pytest.mark.parametrize("where", ["run", "accept"])
def test_a_signal_ends_a_long_wait(where):
    """Whichever thread gets it, the main thread hears of it; who is told of signals is as before."""
    out = run_python("""
        import os, signal, sys, threading, time
        import tenon
        server = tenon.serve("tcp://127.0.0.1:0", lambda conn, msg: msg)
        heard = []
        def told(number, frame):
            heard.append(number)
            if len(heard) == 2:
                raise KeyboardInterrupt
        signal.signal(signal.SIGUSR1, told)
        def send():
            time.sleep(0.7)
            for _ in range(2):
                signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
                while not heard:
                    time.sleep(0.01)
        listener = tenon.listen("tcp://127.0.0.1:0")
        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        try:
            {"run": tenon.run, "accept": listener.accept}[os.environ["WHERE"]]()
        except KeyboardInterrupt:
            print(len(heard), signal.set_wakeup_fd(-1))
        thread.join()
    """, env={"WHERE": where})
    assert out.split() == ["2", "-1"]


def test_gil_is_released_while_waiting(loop):
    """Another thread's Python runs while the loop sleeps, and call() ends the sleep."""
    order = []

    def work():
        order.append("other thread")
        loop.call(order.append, "call")
        loop.call(loop.stop)
    timer = loop.after(LIMIT, order.append, "too late")
    thread = threading.Thread(target=work)
    thread.start()
    loop.run()
    thread.join()
    assert order == ["other thread", "call"]
    timer.stop()
    assert not timer.active


def test_timers(loop):
    order = []
    loop.after(0.02, order.append, 2)
    loop.after(0, order.append, 1)
    stopped = loop.after(0.01, order.append, "stopped")
    stopped.stop()
    stopped.stop()
    loop.after(0.03, loop.stop)
    loop.run()
    assert order == [1, 2]
    with pytest.raises(ValueError):
        loop.after(-1, order.append)
    with pytest.raises(TypeError):
        loop.after(0, "no function")


def test_run_returns_when_nothing_is_left(loop):
    loop.run()
    loop.after(0, lambda: None)
    loop.run()


def test_polls(loop):
    read, write = os.pipe()
    got = []

    def readable(text):
        got.append((text, os.read(read, 10)))
        poll.stop()
    poll = loop.poll(read, readable, "pipe")
    os.write(write, b"x")
    loop.run()
    assert got == [("pipe", b"x")] and not poll.active
    os.close(read)
    os.close(write)


def test_several_loops():
    """A server over several loops, each in a thread of its own."""
    loops = [tenon.Loop() for _ in range(3)]
    seen, clients = set(), 24
    server = tenon.serve("tcp://127.0.0.1:0?frame=u32", lambda c, m: str(threading.get_ident()).encode(), loops=loops)

    def client():
        for _ in range(clients):
            with tenon.connect(server.url + "?frame=u32") as c:
                c.send(b"who")
                seen.add(c.recv(timeout=LIMIT))
        loops[0].stop()
    thread = threading.Thread(target=client)
    thread.start()
    tenon.run(*loops)
    thread.join()
    assert len(seen) > 1
    for loop in loops:
        loop.close()


@pytest.mark.parametrize("ends", [0, 1])
def test_the_first_loop_runs_again(ends):
    """What has ended a run of several loops does not end the next one."""
    loops, told = [tenon.Loop() for _ in range(2)], []
    tenon.serve("tcp://127.0.0.1:0", lambda c, m: m, loops=loops)

    def end(loop):
        told.append(None)
        loop.stop()
    loops[ends].call(loops[ends].after, 0.01, end, loops[ends])
    tenon.run(*loops)
    assert len(told) == 1
    for n in range(2, 4):
        loops[0].after(0.01, end, loops[0])
        loops[0].run()
        assert len(told) == n
    for loop in loops:
        loop.close()


@pytest.mark.parametrize("first", [0, 1])
def test_a_server_goes_on_without_one_of_its_loops(first):
    """It serves on the others, and can be closed, until the last one is."""
    loops, got, done = [tenon.Loop() for _ in range(2)], [], []
    server = tenon.serve("tcp://127.0.0.1:0?frame=line", lambda c, m: m, loops=loops)
    rest = loops[1 - first]
    loops[first].close()
    assert not server.closed
    conn = tenon.dial(server.url + "?frame=line", lambda c, m: got.append(m), loop=rest)
    conn.send(b"x")
    for _ in range(1000):
        if got:
            break
        rest.step(0.01)
    assert got == [b"x"]
    server.close(0, done=lambda: done.append(server.closed))
    for _ in range(1000):
        if done and conn.closed:
            break
        rest.step(0.01)
    assert done == [True] and server.closed
    with pytest.raises(ConnectionRefusedError):
        tenon.connect(server.url)
    rest.close()


def test_a_server_ends_with_the_last_of_its_loops():
    loops = [tenon.Loop() for _ in range(3)]
    server, other = [tenon.serve("udp://127.0.0.1:0", lambda c, m: m, loops=loops) for _ in range(2)]
    other.close(60)
    for n, loop in enumerate(loops):
        assert [server.closed, other.closed] == [False, False], n
        loop.close()
    assert server.closed and other.closed
    server.close()


def test_threads_talk_to_each_other():
    """Eight loops at once send and answer: nothing is lost, mixed up or locked."""
    with Background("tcp://127.0.0.1:0?format=json", lambda c, m: [m, m]) as echo:
        failures = []

        def client(n):
            try:
                with tenon.connect(echo.url + "?format=json") as c:
                    for i in range(200):
                        c.send([n, i])
                        assert c.recv(timeout=LIMIT) == [[n, i], [n, i]]
            except BaseException as error:
                failures.append(error)
        threads = [threading.Thread(target=client, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures


def test_other_threads_are_refused_in_words():
    entered, leave = threading.Event(), threading.Event()
    with Background("tcp://127.0.0.1:0", lambda c, m: m) as echo:
        echo.loop.call(lambda: (entered.set(), leave.wait(LIMIT)))
        assert entered.wait(LIMIT)
        try:
            for call in (lambda: echo.server.close(), lambda: echo.loop.run(), lambda: echo.loop.step(0),
                         lambda: tenon.dial(echo.url, loop=echo.loop), lambda: echo.loop.after(1, print),
                         lambda: echo.loop.close()):
                with pytest.raises(tenon.StateError, match="thread"):
                    call()
        finally:
            leave.set()


def test_a_loop_belongs_to_the_thread_that_first_ran_it(loop):
    """Also when that has ended, and another one has its place in memory."""
    told = []

    def run():
        try:
            loop.step(0)
            told.append("stepped")
        except tenon.StateError as error:
            told.append(str(error))
    for _ in range(5):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    assert told[0] == "stepped"
    assert len(set(told[1:])) == 1 and "first ran it" in told[1]


def test_recursion_is_refused(loop):
    errors = []

    def on_msg(conn, msg):
        for call in (loop.run, loop.step, loop.close):
            try:
                call()
            except tenon.StateError as error:
                errors.append(str(error))
        loop.stop()
    server = tenon.serve("tcp://127.0.0.1:0", on_msg, loop=loop)
    tenon.dial(server.url, loop=loop).send(b"x")
    loop.run()
    assert len(errors) == 3 and all("callback" in error for error in errors)


def test_blocking_calls_work_in_a_callback(loop):
    with Background("udp://127.0.0.1:0", lambda c, m: m + m) as other:
        server = tenon.serve("tcp://127.0.0.1:0", lambda c, m: tenon.call(other.url, m, LIMIT), loop=loop)
        got, _ = talk(loop, server.url, b"ab")
        assert got == [b"abab"]


def test_objects_that_have_ended(loop):
    conns = []
    server = tenon.serve("tcp://127.0.0.1:0", lambda c, m: conns.append(c) or c.abort(), loop=loop)
    client = tenon.dial(server.url, on_close=lambda c, e: loop.stop(), loop=loop)
    client.send(b"x")
    loop.run()
    while not conns or not conns[0].closed:
        loop.step(LIMIT)
    for conn in (client, conns[0]):
        for call in (lambda: conn.send(b"x"), lambda: conn.finish(), lambda: conn.info(), lambda: conn.peer,
                     lambda: conn.join(conn), lambda: conn.when_sent(print), lambda: conn.hold()):
            with pytest.raises(tenon.StateError, match="closed"):
                call()
        conn.close()
        conn.abort()
        conn.release()
        assert "closed" in repr(conn)
    server.close(0)
    loop.run()
    assert server.closed
    server.close()
    with pytest.raises(tenon.StateError):
        server.reload()
    loop.close()
    loop.close()
    for call in (loop.run, lambda: loop.after(1, print), lambda: loop.call(print)):
        with pytest.raises(tenon.StateError, match="closed"):
            call()


def test_closing_a_loop_tells_its_connections(loop):
    told = []
    server = tenon.serve("tcp://127.0.0.1:0", lambda c, m: None, on_close=lambda c, e: told.append(e), loop=loop)
    client = tenon.dial(server.url, on_open=lambda c: loop.stop(), on_close=lambda c, e: told.append(e), loop=loop)
    loop.run()
    while server.count < 1:
        loop.step(LIMIT)
    loop.close()
    assert len(told) == 2 and all(isinstance(e, tenon.ConnectionAbortedError) for e in told)
    assert client.closed and server.closed


def test_stopping_a_server_in_good_order(loop):
    done = []
    server = tenon.serve("tcp://127.0.0.1:0?frame=u32", lambda c, m: m, loop=loop)
    ended = []
    client = tenon.dial(server.url + "?frame=u32", lambda c, m: server.close(LIMIT, lambda: done.append(True)),
                        on_close=lambda c, e: ended.append(e), loop=loop)
    client.send(b"x")
    loop.run()
    assert done == [True] and ended == [None] and server.closed


def test_errors():
    with pytest.raises(tenon.UrlError) as caught:
        tenon.serve("tcp://localhost:1?fraim=u32", lambda c, m: None)
    assert caught.value.position == 18 and caught.value.code == tenon.EURL and "frame" in str(caught.value)
    assert isinstance(caught.value, OSError) and isinstance(caught.value, ValueError)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(tenon.Error) as caught:
            tenon.serve("tcp://127.0.0.1:%d" % taken.getsockname()[1], lambda c, m: None)
    assert caught.value.errno == 98 and caught.value.code == -98
    for bad in (5, None, b"tcp://x"):
        with pytest.raises(TypeError):
            tenon.serve(bad, lambda c, m: None)
    with pytest.raises(TypeError):
        tenon.serve("tcp://127.0.0.1:0", "no function")
    with pytest.raises(TypeError):
        tenon.serve("tcp://127.0.0.1:0", lambda c, m: None, no_such_key=1)
    with pytest.raises(tenon.Error):
        tenon.Loop("no such engine")


def test_wrong_messages(loop):
    conn = tenon.dial("udp://127.0.0.1:9", loop=loop)
    for bad in (5, None, 1.5, {"a": 1}, object()):
        with pytest.raises(TypeError, match="format"):
            conn.send(bad)
    with pytest.raises(TypeError):
        conn.send()
    with pytest.raises(TypeError):
        conn.send(b"x", "somebody")
    with pytest.raises(tenon.TooBigError):
        conn.send(bytes(1 << 17))
    assert conn.send(bytearray(b"x")) and conn.send(memoryview(b"xyz")[1:]) and conn.send("text")
    json = tenon.dial("tcp://127.0.0.1:9?format=json", loop=loop)
    with pytest.raises(TypeError):
        json.send(object())
    inside = []
    inside.append(inside)
    with pytest.raises(tenon.FormatError):
        json.send(inside)


def test_messages_that_are_kept(loop):
    """A message is the program's own: it may be kept for ever."""
    kept = []
    server = tenon.serve("tcp://127.0.0.1:0?frame=u32", lambda c, m: kept.append(memoryview(m)), loop=loop)
    client = tenon.dial(server.url + "?frame=u32", loop=loop)
    for n in range(100):
        client.send(bytes([n]) * 1000)
    client.close()
    while len(kept) < 100:
        loop.step(LIMIT)
    loop.close()
    assert [m.tobytes() for m in kept] == [bytes([n]) * 1000 for n in range(100)]


def test_back_pressure(loop):
    """send() says when it is time to wait, and on_drain when there is room again."""
    log = []

    def on_open(conn):
        while conn.send(bytes(65536)):
            pass
        log.append("full")
        with pytest.raises(tenon.FullError):
            for _ in range(1000):
                conn.send(bytes(65536))
        assert conn.queued > 65536
        loop.after(0, lambda: peers[0].resume())
    peers = []
    server = tenon.serve("tcp://127.0.0.1:0", lambda c, m: None, on_open=lambda c: (peers.append(c), c.pause()),
                         loop=loop)
    client = tenon.dial(server.url, on_open=lambda c: loop.after(0.01, on_open, c),
                        on_drain=lambda c: (log.append("drain"), loop.stop()), loop=loop)
    loop.run()
    assert log == ["full", "drain"]
    assert client.queued >= 0


def test_frames_of_a_program(loop):
    """A byte that is the length, in front of each message; what such functions raise ends the connection."""
    def next(data):
        if data[0] == 255:
            raise ValueError("no such length")
        return (1 + data[0], 1, data[0]) if len(data) > data[0] else None
    if "tested-pascal" not in tenon.frames():
        tenon.frame_register("tested-pascal", next, lambda message: (bytes([len(message)]), b""))
    server = tenon.serve("tcp://127.0.0.1:0?frame=tested-pascal", lambda c, m: m + b"!", loop=loop)
    got, error = talk(loop, server.url, b"one", b"", b"three", keys="?frame=tested-pascal")
    assert got == [b"one!", b"!", b"three!"] and error is None
    ended = []
    conn = tenon.dial(server.url, on_close=lambda c, e: (ended.append(e), loop.stop()), loop=loop)
    conn.send(b"\xff")
    loop.run()
    assert isinstance(ended[0], tenon.ConnectionResetError)
    for bad in (lambda: tenon.frame_register("u32", next), lambda: tenon.frame_register("No name", next)):
        with pytest.raises(tenon.Error):
            bad()
    with pytest.raises(TypeError):
        tenon.frame_register("tested-no-function", 5)


def test_views(loop):
    """messages='view': memory that stays valid as long as it is kept; the view itself can be the reply."""
    kept = []
    server = tenon.serve("tcp://127.0.0.1:0?frame=u32", lambda c, m: kept.append(m) or m, messages="view", loop=loop)
    sent = [bytes([n]) * size for n, size in enumerate((1, 100, 5000, 70000, 200000))]
    got, _ = talk(loop, server.url, *sent, keys="?frame=u32")
    assert got == sent
    server.close(0)
    loop.run()
    loop.close()
    assert [isinstance(m, memoryview) and m.readonly and m.tobytes() for m in kept] == sent


def test_shared(loop):
    """One message to many connections, made once."""
    server = tenon.serve("tcp://127.0.0.1:0?frame=u32", lambda c, m: None, loop=loop)
    got = []
    clients = [tenon.dial(server.url + "?frame=u32", lambda c, m: got.append(m), loop=loop) for _ in range(20)]
    while server.count < 20:
        loop.step(LIMIT)
    message = tenon.Shared(b"to all")
    loop.after(0, lambda: counts.append((server.publish(message), server.publish(b"again"))))
    counts = []
    while len(got) < 40:
        loop.step(LIMIT)
    assert counts == [(20, 20)] and sorted(got) == [b"again"] * 20 + [b"to all"] * 20
    assert len(message) == 6 and bytes(message) == b"to all"
    clients[0].send(tenon.Shared([1, 2], "json"))
    for bad in (5, None, ["x"]):
        with pytest.raises(TypeError):
            tenon.Shared(bad)
    with pytest.raises(TypeError):
        server.publish(5)


def test_series_of_timers(loop):
    times = []
    timer = loop.every(0.002, lambda: times.append(time.monotonic()) or (len(times) == 5 and timer.stop()))
    loop.run()
    assert len(times) == 5 and not timer.active
    with pytest.raises(ValueError):
        loop.every(0, print)


def test_join(loop):
    """A relay in three lines."""
    with Background("tcp://127.0.0.1:0", lambda c, m: m[::-1]) as behind:
        front = tenon.serve("tcp://127.0.0.1:0", on_open=lambda c: c.join(tenon.dial(behind.url, loop=loop)), loop=loop)
        got, error = talk(loop, front.url, b"abc")
        assert got == [b"cba"] and error is None


def test_facts(loop):
    server = tenon.serve("tcp://127.0.0.1:0?frame=u32&format=cbor", lambda c, m: m, loop=loop)
    facts = []

    def on_msg(conn, msg):
        facts.append((conn.info(), conn.option("nodelay"), conn.peer, conn.format, conn.security(), conn.websocket(),
                      conn.certificate(), conn.server, conn.loop, conn.id))
        loop.stop()
    tenon.dial(server.url + "?frame=u32&format=cbor", on_msg, loop=loop).send([1])
    loop.run()
    info, nodelay, peer, form, security, websocket, certificate, of, on, number = facts[0]
    assert info["msgs_in"] == 1 and info["msgs_out"] == 1 and info["fd"] > 2 and info["many"] is False
    assert (nodelay, form, security, websocket, certificate, of, on) == ("on", "cbor", None, None, None, None, loop)
    assert peer == server.url and number > 0
    assert tenon.url_kind("udp://localhost:1") == {"packets", "datagrams", "lossy"}
    assert tenon.keeps_messages("tcp://localhost:1?frame=u32") and not tenon.keeps_messages("tcp://localhost:1")
    assert tenon.url_has_key("tcp://localhost:1?frame=u32", "frame")
    assert tenon.options()["nodelay"].constant == "TCP_NODELAY"
    assert "json" in tenon.formats() and any(name.startswith("u32") for name in tenon.frames())
    assert tenon.parse_size("64KiB") == 65536 and tenon.parse_duration("20ms") == 0.02
    tenon.url_check("tcp://localhost:1?backlog=5", serve=True)
    with pytest.raises(tenon.UrlError):
        tenon.url_check("tcp://localhost:1?backlog=5")


def test_formats_of_values():
    big = 3**2000
    utc = datetime.timezone.utc
    for form, value in [("cbor", [big, -big, 2**64, -2**64, -2**63 - 1, 0]), ("json", [big, -big, -2**64]),
                        ("cbor", datetime.datetime(2026, 11, 29, 12, 0, tzinfo=utc)),
                        ("cbor", datetime.datetime(2026, 11, 29, 12, 0, 0, 5, tzinfo=utc)),
                        ("msgpack", datetime.datetime(2026, 11, 29, 12, 0, 0, 5, tzinfo=utc)),
                        ("msgpack", datetime.datetime(1900, 1, 1, tzinfo=utc)),
                        ("msgpack", tenon.Ext(5, b"abc")), ("cbor", tenon.Tag(4000, [1, "x"])),
                        ("cbor", tenon.UNDEFINED), ("cbor", {(1, 2): 3, None: 4, 1.5: 5}), ("cbor", float("inf"))]:
        assert tenon.decode(form, tenon.encode(form, value)) == value, (form, value)
    assert tenon.encode("json", (1, 2)) == b"[1,2]"
    assert tenon.decode("cbor", b"\xc1\x1a\x51\x4b\x67\xb0") == datetime.datetime(2013, 3, 21, 20, 4, tzinfo=utc)
    with pytest.raises(tenon.FormatError) as caught:
        tenon.decode("json", b"[1, 2, x]")
    assert caught.value.position == 7
    with pytest.raises(tenon.FormatError):
        tenon.encode("text", {"a": 1})
    for call in (lambda: tenon.encode("nope", 1), lambda: tenon.decode("nope", b"")):
        with pytest.raises(ValueError, match="nope"):
            call()
    with pytest.raises(OverflowError):
        tenon.encode("cbor", 1 << 5000)
    with pytest.raises(UnicodeEncodeError):
        tenon.encode("json", "\ud800")


def test_the_longest_integers():
    """4096 bits, beside the sign. What is longer stays what it is in CBOR, a tag: so what was read can be written."""
    for number in (2**4096 - 1, -2**4096):
        for format in ("cbor", "json"):
            assert tenon.decode(format, tenon.encode(format, number)) == number
    for number in (2**4096, -2**4096 - 1):
        for format in ("cbor", "json", "msgpack"):
            with pytest.raises(OverflowError):
                tenon.encode(format, number)
    for tag in (2, 3):
        zeros, longer = (bytes([0xc0 | tag, 0x59, 2, 1, first]) + bytes(511) + b"\1" for first in (0, 1))
        assert tenon.decode("cbor", zeros) == (1 if tag == 2 else -2)
        value = tenon.decode("cbor", longer)
        assert value == tenon.Tag(tag, longer[4:])
        assert tenon.encode("cbor", [value]) == b"\x81" + longer


def test_nothing_is_left(loop):
    """Connections, servers, timers and their callbacks are freed with their loop, or when they end."""
    class Witness:
        def __call__(self, *args):
            pass
    witness = Witness()
    gone = weakref.ref(witness)
    server = tenon.serve("tcp://127.0.0.1:0", witness, on_close=witness, loop=loop)
    conn = tenon.dial(server.url, witness, on_open=lambda c: loop.stop(), loop=loop)
    timer = loop.after(1000, witness)
    loop.call(witness)
    loop.run()
    closed = weakref.ref(conn)
    loop.close()
    del witness, server, conn, timer
    gc.collect()
    assert gone() is None and closed() is None


def test_a_collected_loop_tells_its_connections():
    """Loop and server refer to each other: the collector ends them, with the connections that nobody has heard of."""
    out = run_python("""
        import gc, socket, tenon

        def begin():
            loop = tenon.Loop()
            server = tenon.serve("tcp://127.0.0.1:0?frame=line", lambda conn, msg: None, loop=loop,
                                 on_close=lambda conn, error: print("on_close", type(conn.loop).__name__, error.code))
            peer = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])))
            for _ in range(1000):
                loop.step(0.01)
                if server.count:
                    return peer
        gc.disable()
        peer = begin()
        gc.collect()
        """)
    assert out == f"on_close Loop {-errno.ECANCELED}\n"


def test_a_loop_that_a_last_call_keeps():
    """What has been posted is called in the end, and may have a reference to the loop: it is a closed one then."""
    kept = []
    loop = tenon.Loop()
    found = weakref.ref(loop)
    loop.call(lambda: kept.append(found()))
    del loop
    assert [one.closed for one in kept] == [True]
    kept.clear()
    assert found() is None


def test_interpreter_exit_with_live_loops(tmp_path):
    """At exit a Unix socket's file is removed; a daemon thread that runs a loop does not crash."""
    said = run_python(f"""
        import tenon, threading
        server = tenon.serve("unix:{tmp_path}/s", lambda c, m: m)
        other = tenon.Loop()
        tenon.serve("tcp://127.0.0.1:0", lambda c, m: m, loop=other)
        threading.Thread(target=other.run, daemon=True).start()
        conn = tenon.dial(server.url, lambda c, m: tenon.stop())
        conn.send(b"x")
        tenon.after(5, print, "never")
        tenon.run()
        print("end")
        """)
    assert said == "end\n"
    assert not (tmp_path / "s").exists()


def test_fork():
    """A child's calls on its parent's loop are refused in words; a loop of its own works; the parent goes on."""
    said = run_python("""
        import os, tenon
        server = tenon.serve("tcp://127.0.0.1:0", lambda c, m: m)
        conn = tenon.dial(server.url, lambda c, m: print("parent", m) or tenon.stop())
        parent = tenon.loop()
        pid = os.fork()
        if pid == 0:
            for call in (parent.run, lambda: conn.send(b"x"), lambda: server.close(), lambda: parent.call(print)):
                try:
                    call()
                except tenon.StateError as error:
                    assert "fork" in str(error), error
                else:
                    os._exit(3)
            other = tenon.serve("udp://127.0.0.1:0", lambda c, m: m)
            assert other.loop is not parent
            tenon.dial(other.url, lambda c, m: tenon.stop()).send(b"x")
            tenon.run()
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        conn.send(b"still here")
        tenon.run()
        """)
    assert said == "parent b'still here'\n"


@pytest.mark.parametrize("theirs", [False, True])
def test_fork_while_signals_end_waits(tmp_path, theirs):
    """No signal of a child is written into its files, one of which may have the number of what its parent's loop polls.
    Whoever else is told of signals still is."""
    said = run_python(f"""
        import os, signal, socket, tenon, threading
        ends, done, loop = socket.socketpair(), threading.Event(), tenon.loop()
        for end in ends:
            end.setblocking(False)

        def child():
            signal.signal(signal.SIGUSR1, lambda *unused: None)
            files = [os.open("{tmp_path}/%d" % n, os.O_CREAT | os.O_RDWR) for n in range(8)]
            os.kill(os.getpid(), signal.SIGUSR1)
            print(sum(os.fstat(fd).st_size for fd in files), signal.set_wakeup_fd(-1) == ends[0].fileno(), flush=True)
            os._exit(0)

        def fork():
            wakeup = signal.set_wakeup_fd(-1)
            if wakeup < 0 or done.is_set():  # the loop wakes by itself to look for signals, as yet
                return
            signal.set_wakeup_fd(ends[0].fileno() if {theirs} else wakeup)
            pid = os.fork()
            if pid == 0:
                child()
            assert os.waitpid(pid, 0)[1] == 0
            done.set()
            loop.stop()

        def wake():
            while not done.wait(0.4):
                loop.call(fork)
        tenon.serve("udp://127.0.0.1:0", lambda conn, msg: None)
        threading.Thread(target=wake, daemon=True).start()
        tenon.run()
        """)
    assert said == f"0 {theirs}\n"


def test_subinterpreters_are_refused_in_words():
    said = run_python("""
        import _xxsubinterpreters as sub, tenon
        one = sub.create()
        try:
            sub.run_string(one, "import sys; sys.path = %r; import tenon" % __import__("sys").path)
        except sub.RunFailedError as error:
            print(error)
        """)
    assert "main interpreter" in said


def test_memory_is_flat(loop):
    """Many messages, bytes and values, to and fro: neither objects nor memory grow."""
    import resource

    count, left = 20000, [0]
    server = tenon.serve("tcp://127.0.0.1:0?format=json", lambda c, m: m, loop=loop)

    def on_msg(conn, msg):
        left[0] -= 1
        if left[0] <= 0:
            loop.stop()
        else:
            conn.send(msg)
    conn = tenon.dial(server.url + "?format=json", on_msg, loop=loop)

    def some(n):
        left[0] = n
        conn.send({"list": [1, 2.5, "three"], "n": 12345678901234567890})
        loop.run()
        gc.collect()
        return len(gc.get_objects()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    some(2000)
    objects, memory = some(2000)
    after, grown = some(int(os.environ.get("TENON_MESSAGES", count)))
    assert after - objects < 50
    if "libasan" not in os.environ.get("LD_PRELOAD", ""):  # which keeps what was freed
        assert grown - memory < 1024


def test_dialled_again(loop, tmp_path):
    """Key reconnect: each loss is told, what is said meanwhile comes first, and the connection is one all the while."""
    url, heard, told, opened, ended = f"unix:{tmp_path}/s?frame=line", [], [], [], []

    def serve():
        servers.append(tenon.serve(url, on_msg, loop=loop))

    def on_msg(server_side, msg):
        heard.append(msg)
        if len(heard) == 1:
            server_side.abort()
            servers[0].close(0)
        elif len(heard) == 3:
            conn.close()
            servers[1].close()

    def on_open(conn):
        opened.append(conn)
        conn.send(b"hello")

    def on_lost(conn, error, loss):
        told.append(loss)
        assert isinstance(error, (tenon.Error, type(None)))
        if loss["failed"] == 1:
            conn.send(b"meanwhile")
            serve()
    servers = []
    serve()
    conn = tenon.dial(url + "&reconnect=1ms-5ms", on_open=on_open, on_lost=on_lost, loop=loop,
                      on_close=lambda conn, error: ended.append(error))
    loop.run()
    assert heard == [b"hello", b"meanwhile", b"hello"] and opened == [conn, conn] and ended == [None]
    assert told[0]["was_open"] and told[0]["failed"] == 0 and told[0]["messages"] == 1
    assert not told[1]["was_open"] and told[1]["failed"] == 1 and 0 < told[1]["again"] < 0.1


def test_dialled_again_in_vain(loop, tmp_path):
    """As often as the URL says; a dial without on_lost refuses the key, and what on_lost raises ends it."""
    url, told, ended = f"unix:{tmp_path}/s?reconnect=1ms&reconnect-tries=3", [], []
    keys = {"loop": loop, "on_close": lambda conn, error: ended.append(error)}
    tenon.dial(url, on_lost=lambda conn, error, loss: told.append((error, loss["failed"])), **keys)
    loop.run()
    assert [(type(error), failed) for error, failed in told] == [(tenon.FileNotFoundError, 1),
                                                                 (tenon.FileNotFoundError, 2)]
    assert isinstance(ended[0], tenon.FileNotFoundError)
    with pytest.raises(tenon.UrlError, match="reconnect"):
        tenon.dial(url, **keys)
    raised = []
    loop.on_error = lambda error, conn: raised.append(error)
    tenon.dial(url, on_lost=lambda conn, error, loss: 1 / 0, **keys)
    loop.run()
    assert isinstance(raised[0], ZeroDivisionError) and len(raised) == 1 and len(ended) == 2
