"""tenon inside asyncio, its own loop and uvloop's, and inside trio."""
import asyncio
import contextvars
import gc
import random
import select
import socket
import threading
import weakref

import pytest

import tenon
import tenon.aio
from helpers import LIMIT, Background, reset, run_python

uvloop = pytest.importorskip("uvloop")
trio = pytest.importorskip("trio")


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Runs a coroutine under a time limit."""
    def runner(coroutine):
        async def limited():
            async with asyncio.timeout(LIMIT):
                return await coroutine
        with asyncio.Runner(loop_factory=uvloop.new_event_loop if request.param == "uvloop" else None) as one:
            return one.run(limited())
    return runner


async def echo(conn):
    async for msg in conn:
        await conn.send(msg)


def test_echo(run):
    async def main():
        async with tenon.aio.serve("tcp://127.0.0.1:0?frame=u32", echo) as server, \
                tenon.aio.connect(server.url + "?frame=u32") as conn:
            for n in range(100):
                await conn.send(b"%d" % n)
                assert await conn.recv() == b"%d" % n
            await conn.send(b"last")
            conn.finish()
            assert [msg async for msg in conn] == [b"last"]
            with pytest.raises(tenon.ClosedError):
                await conn.recv()
        assert conn.closed
        with pytest.raises(tenon.StateError):
            await conn.send(b"x")
    run(main())


def test_values_and_many_connections(run):
    async def client(url, n):
        async with tenon.aio.connect(url + "?format=json") as conn:
            for i in range(20):
                await conn.send({"n": n, "i": i})
                assert await conn.recv() == {"n": n, "i": i}

    async def main():
        async with tenon.aio.serve("tcp://127.0.0.1:0?format=json", echo) as server:
            await asyncio.gather(*(client(server.url, n) for n in range(50)))
    run(main())


def test_datagrams(run):
    async def ack(conn):
        async for msg in conn:
            await conn.reply(b"ack: " + msg)

    async def main():
        server = await tenon.aio.serve("udp://127.0.0.1:0", ack)
        one, two = await tenon.aio.connect(server.url), await tenon.aio.connect(server.url)
        await one.send(b"1")
        await two.send(b"2")
        assert (await one.recv(), await two.recv()) == (b"ack: 1", b"ack: 2")
        await server.close(0)
    run(main())


def test_back_pressure(run):
    """send() waits for a peer that does not read, and all arrives in the end."""
    async def main():
        reading = asyncio.Event()
        total = 0

        async def slow(conn):
            nonlocal total
            await reading.wait()
            async for msg in conn:
                total += len(msg)
        async with tenon.aio.serve("tcp://127.0.0.1:0", slow) as server, tenon.aio.connect(server.url) as conn:
            sent = 0

            async def send():
                nonlocal sent
                for _ in range(400):
                    await conn.send(bytes(65536))
                    sent += 65536
            task = asyncio.create_task(send())
            before = -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.05)
            assert sent < 400 * 65536 and not task.done()
            reading.set()
            await task
        assert total == 400 * 65536
    run(main())


def test_cancellation_loses_nothing(run):
    """A recv() that is cancelled leaves its message for the next; a task that is cancelled closes in good order."""
    async def main():
        got = []

        async def collect(conn):
            got.extend([msg async for msg in conn])
        async with tenon.aio.serve("tcp://127.0.0.1:0?frame=u32", echo) as server, \
                tenon.aio.connect(server.url + "?frame=u32") as conn:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(conn.recv(), 0.01)
            for n in range(50):
                task = asyncio.create_task(conn.recv())
                await asyncio.sleep(0)
                await conn.send(b"%d" % n)
                if n % 2:
                    await asyncio.sleep(0.002)
                task.cancel()
                try:
                    assert await task == b"%d" % n
                except asyncio.CancelledError:
                    assert await conn.recv() == b"%d" % n

        async with tenon.aio.serve("tcp://127.0.0.1:0?frame=u32", collect) as server:
            async def client():
                async with tenon.aio.connect(server.url + "?frame=u32") as conn:
                    for n in range(100):
                        await conn.send(b"%d" % n)
                    await asyncio.sleep(LIMIT)
            task = asyncio.create_task(client())
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            while len(got) < 100:
                await asyncio.sleep(0.01)
        assert got == [b"%d" % n for n in range(100)]
    run(main())


def test_a_task_goes_on_in_its_context_and_as_itself(run):
    name = contextvars.ContextVar("name", default="none")
    seen = []

    async def handle(conn):
        name.set("server")
        async for msg in conn:
            seen.append((msg, name.get(), asyncio.current_task() is not None))
            await conn.send(msg)

    async def main():
        async with tenon.aio.serve("tcp://127.0.0.1:0?frame=line", handle) as server, \
                tenon.aio.connect(server.url + "?frame=line") as conn:
            name.set("client")
            for n in range(3):
                await asyncio.create_task(conn.send(b"%d" % n))  # what send() gives is as good as a coroutine
                assert await asyncio.wait_for(conn.recv(), LIMIT) == b"%d" % n
                assert name.get() == "client"
    run(main())
    assert seen == [(b"%d" % n, "server", True) for n in range(3)]


def test_one_task_alone_waits(run):
    async def main():
        async with tenon.aio.serve("tcp://127.0.0.1:0?frame=line", echo) as server, \
                tenon.aio.connect(server.url + "?frame=line") as conn:
            first = asyncio.create_task(conn.recv())
            await asyncio.sleep(0)
            with pytest.raises(tenon.StateError, match="another task waits"):
                await conn.recv()
            await conn.send(b"one")
            assert await first == b"one"
    run(main())


def test_cancelled_when_its_message_has_come(run):
    """One task wakes first and cancels the other, whose message has come in the same step: nothing is lost."""
    async def main():
        async with tenon.aio.serve("tcp://127.0.0.1:0?frame=line", echo) as server, \
                tenon.aio.connect(server.url + "?frame=line") as one, \
                tenon.aio.connect(server.url + "?frame=line") as two:
            async def cancels(conn, others):
                msg = await conn.recv()
                for task in others:
                    if task is not asyncio.current_task():
                        task.cancel("not needed")
                return msg
            tasks = []
            tasks += [asyncio.create_task(cancels(one, tasks)), asyncio.create_task(cancels(two, tasks))]
            await asyncio.sleep(0)
            await one.send(b"one")
            await two.send(b"two")
            results = await asyncio.gather(*tasks, return_exceptions=True)
            for result, conn, msg in zip(results, (one, two), (b"one", b"two")):
                if isinstance(result, asyncio.CancelledError):
                    assert await conn.recv() == msg
                else:
                    assert result == msg
            waiting = asyncio.create_task(one.recv())
            await asyncio.sleep(0)
            waiting.cancel("enough")
            with pytest.raises(asyncio.CancelledError, match="enough"):
                await waiting
            await one.send(b"again")
            assert await one.recv() == b"again"
    run(main())


def test_cancelled_while_connecting(run):
    async def main():
        with socket.socket() as full:  # accepts nobody
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            for _ in range(4):
                with pytest.raises(asyncio.TimeoutError):
                    async with asyncio.timeout(0.02):
                        held.append(await tenon.aio.connect("tcp://127.0.0.1:%d" % full.getsockname()[1]))
                        await asyncio.sleep(LIMIT)
    held = []
    run(main())


def test_errors(run):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as s:
            port = s.getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            await tenon.aio.connect(f"tcp://127.0.0.1:{port}")
        with pytest.raises(tenon.UrlError):
            await tenon.aio.connect("tcp://x?nope=1")
        with pytest.raises(tenon.UrlError):
            async for _ in tenon.aio.reconnect("tcp://x?nope=1"):
                pass
        with pytest.raises(tenon.UrlError):
            await tenon.aio.serve("tcp://x?nope=1", echo)
        told = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))

        async def fail(conn):
            raise ZeroDivisionError(await conn.recv())
        async with tenon.aio.serve("tcp://127.0.0.1:0", fail) as server, tenon.aio.connect(server.url) as conn:
            await conn.send(b"x")
            with pytest.raises(ConnectionResetError):
                await conn.recv()
            two = asyncio.create_task(conn.recv())
            with pytest.raises(ConnectionResetError):
                await two
            with pytest.raises(ConnectionResetError) as caught:  # send() and reply() say why it has ended, too
                await conn.send(b"y")
            assert caught.value is conn.error
            with pytest.raises(ConnectionResetError):
                await conn.reply(b"y")
        assert isinstance(told[0], ZeroDivisionError)
        async with tenon.aio.serve("tcp://127.0.0.1:0", echo) as server, tenon.aio.connect(server.url) as conn:
            task = asyncio.create_task(conn.recv())
            await asyncio.sleep(0)
            with pytest.raises(tenon.StateError, match="another task"):
                await conn.recv()
            await conn.send(b"x")
            assert await task == b"x"
    run(main())


def test_reconnecting(run):
    """A client that gets its server back after it was gone, with some patience."""
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as s:
            port = s.getsockname()[1]
        url, got = f"tcp://127.0.0.1:{port}", []

        async def once(conn):
            await conn.send(await conn.recv())

        async def later():
            await asyncio.sleep(0.1)
            return await tenon.aio.serve(url, once)
        server = asyncio.create_task(later())
        async for conn in tenon.aio.reconnect(url, first=0.01, most=0.05):
            try:
                await conn.send(b"%d" % len(got))
                got.append(await conn.recv())
                if len(got) == 3:
                    break
                await conn.recv()
            except tenon.Error:
                continue
        assert got == [b"0", b"1", b"2"]
        await (await server).close(0)
    run(main())


def test_end_of_the_loop_ends_connections(run):
    """asyncio.run() that returns with open connections leaves none."""
    with Background("tcp://127.0.0.1:0", lambda c, m: m) as server:
        async def main():
            conn = await tenon.aio.connect(server.url)
            await conn.send(b"x")
            assert await conn.recv() == b"x"
            await tenon.aio.serve("tcp://127.0.0.1:0", echo)
            return conn
        conn = run(main())
        assert conn.closed


def test_nothing_is_left(run):
    async def main():
        async with tenon.aio.serve("tcp://127.0.0.1:0", echo) as server:
            conn = await tenon.aio.connect(server.url)
            await conn.send(b"x")
            await conn.recv()
            task = asyncio.create_task(conn.recv())
            await asyncio.sleep(0)
            gone.append(weakref.ref(conn))
            task.cancel()
            del conn
            await asyncio.wait([task])
            del task
            while server.count:
                await asyncio.sleep(0.01)
    gone = []
    run(main())
    gc.collect()
    assert gone[0]() is None


def test_what_another_thread_collects_is_closed(run):
    """While the connection's own thread waits for something else: it is woken."""
    seen = []

    async def main():
        def collect():
            peer, _ = listener.accept()
            with peer:
                peer.settimeout(LIMIT / 3)
                assert begun.wait(LIMIT)
                gc.collect()
                seen.append(gone[0]())
                seen.append(peer.recv(1))
        task = asyncio.create_task(asyncio.to_thread(collect))
        conn = await tenon.aio.connect(f"tcp://127.0.0.1:{listener.getsockname()[1]}?frame=line")
        conn.data = conn  # a cycle
        gone.append(weakref.ref(conn))
        del conn
        begun.set()
        await task
    gone, begun = [], threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        run(main())
    assert seen == [None, b""]


def test_the_collector_comes_while_a_message_is_made():
    """It frees a connection that nobody can reach any more, but not before its message is done with."""
    out = run_python("""
        import asyncio, gc, weakref, tenon.aio

        async def talk(conn):
            for _ in range(20):
                await conn.send([[n] for n in range(1000)])

        async def main():
            async with tenon.aio.serve("tcp://127.0.0.1:0?format=json", talk) as server:
                for _ in range(5):
                    conn = await tenon.aio.connect(server.url + "?format=json")
                    conn.data = conn
                    gone.append(weakref.ref(conn))
                    del conn
                while server.count:
                    await asyncio.sleep(0.01)
        gone, before = [], gc.get_threshold()
        gc.set_threshold(50, 1, 1)
        asyncio.run(main())
        gc.set_threshold(*before)
        gc.collect()
        print([one() for one in gone])
        """, env={"PYTHONMALLOC": "debug"})
    assert out == "[None, None, None, None, None]\n"


def test_random_closing(run):
    """Connections that end at any moment, on either side: each wait ends, and says something that can be caught."""
    async def main():
        chance = random.Random(5)

        async def server_side(conn):
            async for msg in conn:
                if chance.random() < 0.1:
                    chance.choice([conn.abort, conn.finish, lambda: tenon.Conn.close(conn)])()
                await conn.send(msg)

        async def client(url):
            for _ in range(5):
                try:
                    async with tenon.aio.connect(url) as conn:
                        for _ in range(20):
                            await conn.send(bytes(chance.randrange(1, 3000)))
                            if chance.random() < 0.05:
                                conn.abort()
                            await conn.recv()
                except (tenon.Error, EOFError):
                    pass
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))
        async with tenon.aio.serve("tcp://127.0.0.1:0?frame=u32", server_side) as server:
            await asyncio.gather(*(client(server.url + "?frame=u32") for _ in range(20)))
        assert all(isinstance(error, tenon.Error) for error in told)
    told = []
    run(main())


def test_keyboard_interrupt():
    said = run_python("""
        import asyncio, os, signal, tenon, tenon.aio
        async def echo(conn):
            async for msg in conn:
                await conn.send(msg)
        async def main():
            async with tenon.aio.serve("tcp://127.0.0.1:0", echo) as server:
                async with tenon.aio.connect(server.url) as conn:
                    asyncio.get_running_loop().call_later(0.2, os.kill, os.getpid(), signal.SIGINT)
                    await asyncio.sleep(20)
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            print("interrupted")
        """)
    assert said == ("interrupted\n")


def test_trio():
    import tenon.trio

    async def trio_echo(conn):
        async for msg in conn:
            await conn.send(msg)

    async def client(url, n):
        async with await tenon.trio.connect(url + "?frame=u32") as conn:
            for i in range(20):
                await conn.send(b"%d %d" % (n, i))
                assert await conn.recv() == b"%d %d" % (n, i)

    async def main():
        with trio.fail_after(LIMIT):
            async with trio.open_nursery() as nursery:
                server = await nursery.start(tenon.trio.serve, "tcp://127.0.0.1:0?frame=u32", trio_echo)
                async with trio.open_nursery() as clients:
                    for n in range(10):
                        clients.start_soon(client, server.url, n)
                async with await tenon.trio.connect(server.url + "?frame=u32") as conn:
                    with trio.move_on_after(0.01) as scope:
                        await conn.recv()
                    assert scope.cancelled_caught
                    total = 0
                    await conn.send(b"x")
                    assert await conn.recv() == b"x"
                    conn.finish()
                    async for _ in conn:
                        total += 1
                    assert total == 0
                with socket.create_server(("127.0.0.1", 0)) as peers:
                    conn = await tenon.trio.connect(f"tcp://127.0.0.1:{peers.getsockname()[1]}")
                    reset(peers.accept()[0])
                    for call in (conn.recv, lambda: conn.send(b"x"), lambda: conn.reply(b"x")):
                        with pytest.raises(ConnectionResetError):
                            await call()
                nursery.cancel_scope.cancel()
    trio.run(main)


def test_a_reset_ends_its_handler_alone(run):
    """Who is served and cuts the connection off ends neither the server of trio nor makes a noise in asyncio."""
    import tenon.trio

    told, ended = [], []

    async def handler(conn):
        try:
            async for msg in conn:
                await conn.send(msg)
        finally:
            ended.append(type(conn.error))

    async def with_asyncio():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
        async with tenon.aio.serve("tcp://127.0.0.1:0?frame=line", handler) as server:
            with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as client:
                while not server.count:
                    await asyncio.sleep(0.01)
                reset(client)
            while server.count:
                await asyncio.sleep(0.01)

    async def with_trio():
        with trio.fail_after(LIMIT):
            async with trio.open_nursery() as nursery:
                server = await nursery.start(tenon.trio.serve, "tcp://127.0.0.1:0?frame=line", handler)
                with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as client:
                    while not server.count:
                        await trio.sleep(0.01)
                    reset(client)
                while server.count:
                    await trio.sleep(0.01)
                async with await tenon.trio.connect(server.url + "?frame=line") as conn:
                    await conn.send(b"x")
                    assert await conn.recv() == b"x"
                nursery.cancel_scope.cancel()
    run(with_asyncio())
    trio.run(with_trio)
    assert not told
    assert ended[:2] == [tenon.ConnectionResetError] * 2


def test_what_a_handler_of_trio_raises():
    import tenon.trio

    async def handler(conn):
        raise ZeroDivisionError(await conn.recv())

    async def main():
        with trio.fail_after(LIMIT):
            async with trio.open_nursery() as nursery:
                server = await nursery.start(tenon.trio.serve, "tcp://127.0.0.1:0?frame=line", handler)
                async with await tenon.trio.connect(server.url + "?frame=line") as conn:
                    await conn.send(b"x")
                    await trio.sleep_forever()
    with pytest.raises(ZeroDivisionError):
        trio.run(main)


def test_a_connection_that_is_dialled_again(run):
    """A task that waits, and one that iterates, hear of a loss by LostError, and go on."""
    async def main():
        served = []

        async def once(conn):
            served.append(conn)
            await conn.send(await conn.recv())
            if len(served) == 3:  # otherwise it is closed
                assert [msg async for msg in conn] == []
        async with tenon.aio.serve("tcp://127.0.0.1:0?frame=line", once) as server:
            async with tenon.aio.connect(server.url + "?frame=line&reconnect=1ms-20ms") as conn:
                got, losses = [], 0
                await conn.send(b"0")
                while len(got) < 3:
                    try:
                        async for msg in conn:
                            got.append(msg)
                            if len(got) == 3:
                                break
                    except tenon.LostError as lost:
                        assert lost.loss["was_open"]
                        losses += 1
                        await conn.send(b"%d" % len(got))
                assert got == [b"0", b"1", b"2"] and losses == 2
    run(main())


def only_sending(connect, sleep):
    """A connection on which nobody ever takes a message, and a server that ends it five times."""
    async def readable(sock):
        while not select.select([sock], [], [], 0)[0]:
            await sleep(0.001)

    async def main(path):
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen()
            conn = await connect(f"unix:{path}?frame=line&reconnect=1ms-2ms")
            for _ in range(5):
                await conn.send(b"there")
                await readable(server)
                with server.accept()[0] as peer:
                    await readable(peer)
                    assert peer.recv(10) == b"there\n"
                with pytest.raises(tenon.LostError) as lost:
                    while True:
                        await sleep(0.001)
                        await conn.send(b"lost")
                assert lost.value.loss["was_open"] and lost.value.loss["messages"] >= 1
            assert conn.waiting == 1
            conn.abort()
    return main


def test_a_task_that_only_sends_hears_of_losses(run, tmp_path):
    run(only_sending(tenon.aio.connect, asyncio.sleep)(f"{tmp_path}/s"))


def test_a_task_of_trio_that_only_sends_hears_of_losses(tmp_path):
    import tenon.trio

    async def main():
        with trio.fail_after(LIMIT):
            await only_sending(tenon.trio.connect, trio.sleep)(f"{tmp_path}/s")
    trio.run(main)


def test_a_task_that_waits_is_told_of_a_loss_and_no_other(run, tmp_path):
    async def main():
        async def once(conn):
            await conn.recv()
        async with tenon.aio.serve(f"unix:{tmp_path}/s?frame=line", once):
            async with tenon.aio.connect(f"unix:{tmp_path}/s?frame=line&reconnect=1ms-2ms") as conn:
                for _ in range(3):
                    waits = asyncio.ensure_future(conn.recv())
                    await asyncio.sleep(0)
                    await conn.send(b"x")
                    with pytest.raises(tenon.LostError):
                        await waits
    run(main())


def test_a_task_that_waits_for_room_hears_of_a_loss(run, tmp_path):
    async def main():
        async def fill():
            while True:
                await conn.send(b"x" * 10000)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"{tmp_path}/s")
            server.listen()
            conn = await tenon.aio.connect(f"unix:{tmp_path}/s?frame=line&reconnect=1h&queue=4KiB")
            with server.accept()[0]:
                task = asyncio.ensure_future(fill())
                await asyncio.sleep(0.1)
            with pytest.raises(tenon.LostError):
                await task
            conn.abort()
    run(main())
