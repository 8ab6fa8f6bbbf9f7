"""python -m tenon.tutorial: sockets with tenon, a step at a time. Each step is shown, then run.

With --no-wait it does not stop between steps.
"""

import sys
import textwrap

STEPS = [
    ("An endpoint is a URL. A server calls your function for every datagram; what it returns is the reply.", """
        import tenon

        server = tenon.serve("udp://127.0.0.1:0", lambda conn, msg: b"ack: " + msg)
        print("serving", server.url)
        """),
    ("A client has callbacks as well. run() works until stop() is called or nothing is left to do.", """
        def reply(conn, msg):
            print(msg.decode())
            tenon.stop()

        tenon.dial(server.url, reply).send("Hello, world!")
        tenon.run()
        """),
    ("TCP is a stream of bytes: it knows no messages. A frame (here a length of four bytes in front of each)\n"
     "makes them, and a format says what is in them. Now the functions get and return Python's objects.", """
        background = tenon.Loop()

        @tenon.serve("tcp://127.0.0.1:0?frame=u32&format=json", loop=background)
        def handle(conn, msg):
            return {"ack": msg}

        where = handle.url + "?frame=u32&format=json"
        """),
    ("Programs that have nothing else to do may block. The server then needs a loop and a thread of its\n"
     "own.", """
        import threading
        threading.Thread(target=background.run).start()

        with tenon.connect(where, timeout=5) as c:
            c.send({"op": "ping"})
            print(c.recv(timeout=5))
        """),
    ("What goes wrong is an exception that says where, and what may have been meant.", """
        try:
            tenon.connect("tcp://localhost:7000?fraim=u32")
        except tenon.UrlError as error:
            print(error)
        """),
    ("In asyncio, calls are awaited and messages iterated over.", """
        import asyncio
        import tenon.aio

        async def main():
            async with tenon.aio.connect(where) as conn:
                for n in range(3):
                    await conn.send(n)
                conn.finish()
                async for msg in conn:
                    print(msg)

        asyncio.run(main())
        background.stop()
        """),
]


def main(words):
    wait = "--no-wait" not in words and sys.stdin.isatty()
    space = {"__name__": "tutorial"}
    for number, (text, code) in enumerate(STEPS, 1):
        code = textwrap.dedent(code).strip()
        print(f"\n---- Step {number} of {len(STEPS)}\n{text}\n")
        print(textwrap.indent(code, "    "))
        if wait:
            input("\nEnter runs it ")
        print()
        sys.stdout.flush()
        exec(compile(code, f"<step {number}>", "exec"), space)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
