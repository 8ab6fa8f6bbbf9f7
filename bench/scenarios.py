"""What is measured: each scenario names its contenders, what `tenon bench` is told, and what is wanted of tenon."""

TIMED_RUNS = 50

UNITS = {"rate": "msg/s", "latency": "us p50", "memory": "B/conn", "time": "ms", "convert": "B/s", "growth": "B",
         "cpu": "us/msg", "fanout": "us/msg", "threads": "msg/s", "tail": "us p99", "sent": "msg/s",
         "received": "msg/s"}
VALUES = {"rate": "rate", "latency": "p50_us", "memory": "bytes_per_conn", "time": "ms", "convert": "bytes_per_second",
          "growth": "growth_bytes", "cpu": "server_us", "fanout": "server_us", "threads": "rate",
          "tail": "p99_us", "sent": "sent_rate", "received": "received_rate"}


class Scenario:
    """
    One thing to measure. `floor` names what the ratio is taken to; None: the best of the bare loops that ran. `limit`
    is what is wanted of the contenders in `judged`. `mode`: of `tenon bench`; "resumed" only the bare load can. `load`:
    "bare" where only that does the same work for all contenders.
    """

    def __init__(self, name, about, kind="rate", proto="tcp", conns=64, size=64, depth=1, spin=True, peers="",
                 floor=None, limit=None, judged=("tenon",), frame=None, mode="request", load=None, loads=None,
                 relay=False, only="", payload=None, alone=False, deflate=False, asleep=False,
                 joined=False):
        self.name, self.about, self.kind, self.proto, self.mode = name, about, kind, proto, mode
        self.conns, self.size, self.depth, self.spin, self.frame = conns, size, depth, spin, frame
        self.peers, self.floor, self.limit, self.judged = peers.split(), floor, limit, judged
        self.load = load
        self.only, self.payload = only.split(), payload  # the contenders; the message
        self.deflate = deflate  # WebSocket: its messages are compressed
        self.joined = joined  # the load's datagrams pass the kernel several as one
        self.asleep = asleep  # the server sleeps whenever it waits
        self.loads = loads  # the contenders are not servers but what loads this one
        self.alone = alone  # the contenders are the floor and those that are judged
        self.relay = relay  # the contenders stand between the load and a bare echo
        self.lower_is_better = kind not in ("rate", "convert", "threads", "sent", "received")
        self.unit = UNITS[kind]
        self.value = VALUES[kind]

    def contenders(self):
        if self.only:
            return self.only
        if self.loads:
            return ["load-bare", "load-tenon"]
        if self.kind == "time":
            return ["nc", "tenon-send"]
        if self.kind == "threads":
            return ["floor-list", "tenon-handle", "tenon-handles", "tenon-loop"]
        if self.kind in ("convert", "growth"):
            return ["floor-convert", "tenon-convert"]
        if self.kind == "fanout":
            return ["floor-send", "tenon-uring", "tenon-epoll", "tenon-unshared"]
        if self.alone:
            return [self.floor, *self.judged]
        if self.frame and self.floor == "tenon":
            return ["tenon"] + self.peers
        if self.relay == "command":
            return ["floor-copy", "floor-splice", "relay-uring", "relay-epoll"] + self.peers
        if self.relay:
            return ["floor-copy", "floor-splice", "tenon", "tenon-uring", "tenon-epoll"]
        if self.frame:
            return ["tenon-unframed", "tenon", "tenon-uring", "tenon-epoll"]
        if self.proto == "tls":
            return ["floor-tls", "tenon", "tenon-uring", "tenon-epoll"] + self.peers
        floors = ["floor-udp"] if self.proto == "udp" else ["floor-epoll", "floor-uring"]
        if self.kind == "latency":
            floors.append("floor-epoll-spin")
        return floors + ["tenon", "tenon-uring", "tenon-epoll"] + self.peers

    def beside_before(self):
        """Makes it a comparison of two builds; False where no server of tenon is measured."""
        if "tenon" not in self.contenders() or self.relay:
            return False
        self.contenders = lambda: ["tenon-before", "tenon"]
        self.floor, self.limit = "tenon-before", None
        return True

    def target(self):
        if self.limit is None:
            return ""
        sign = "<=" if self.lower_is_better else ">="
        return f"{sign} {self.limit:g}" + {"memory": " B", "growth": " B"}.get(self.kind, "")


ALL_PEERS = "libuv uvloop asyncio socat ncat"
LOOPS = "libuv uvloop asyncio"
RELAYS = ("relay-uring", "relay-epoll")
TLS_RELAYS = "relay-uring relay-epoll haproxy-tls nginx-tls"
WEBSOCKETS = "floor-ws tenon-uring tenon-epoll npm-ws websockets"
MEMORY = "floor-ring tenon tenon-epoll tenon-unix"
PYTHONS = "tenon py-callbacks py-view py-aio py-aio-uvloop uvloop streams-uvloop asyncio streams gevent trio"

SCENARIOS = [
    Scenario("tcp-64Bx64", "TCP echo, 64 B, 64 connections", peers=ALL_PEERS, limit=0.97),
    Scenario("tcp-64Bx1000", "TCP echo, 64 B, 1000 connections", conns=1000, peers="libuv uvloop", limit=0.97),
    Scenario("tcp-64Bx64-deep16", "TCP echo, 64 B, 64 connections, 16 messages in flight on each", depth=16,
             peers="libuv uvloop", limit=0.97),
    Scenario("tcp-64KiBx16", "TCP echo, 64 KiB, 16 connections", conns=16, size=65536, spin=False, peers=ALL_PEERS,
             limit=0.97),
    Scenario("framed-u32", "TCP echo in u32 frames, 64 B, 64 connections, 16 in flight on each; ratio to tenon without "
                           "frames",
             depth=16, frame="u32", load="bare", floor="tenon-unframed", limit=0.9),
    Scenario("framed-line", "the same, each message a line", depth=16, frame="line", load="bare",
             floor="tenon-unframed", limit=0.85),
    Scenario("framed-head", "the same in u32 frames, read as a length in a header (head:); ratio to tenon with u32",
             depth=16, frame="u32", load="bare", peers="tenon-head tenon-head-kept", floor="tenon",
             judged=("tenon-head", "tenon-head-kept"), limit=0.97),
    Scenario("framed-own", "the same, the frame being a program's own; ratio to tenon with u32", depth=16, frame="u32",
             load="bare", peers="tenon-own", floor="tenon", judged=("tenon-own",), limit=0.9),
    *(Scenario(f"resp-{mode}", f"Redis protocol, {mode.upper()}, 50 connections, 16 in flight on each: "
                               "examples/resp_server; ratio to redis-server (and 0.5 of its us/msg wanted)",
               mode=mode, conns=50, size=3, depth=16, load="redis-benchmark", floor="redis-server",
               judged=("resp-server",), limit=1.3, alone=True) for mode in ("get", "set")),
    *(Scenario(f"nats-{name}", f"NATS protocol, {what}: deliveries by tenon hub; ratio to nats-server", conns=subs,
               depth=topics, size=size, load="nats", floor="nats-server", judged=("hub",), limit=limit, alone=True)
      for name, what, topics, subs, size, limit in (
          ("fanout-1000", "1 publisher, 1000 subscribers, 128 B", 1, 1000, 128, 2.0),
          ("1to1-16B", "1 publisher, 1 subscriber, 16 B", 1, 1, 16, 1.2),
          ("1to1-128B", "the same, 128 B", 1, 1, 128, 1.2),
          ("100to100", "100 publishers, each to a subscriber of its own, 128 B", 100, 1, 128, 1.5))),
    *(Scenario(f"nats-request{suffix}-{clients}", f"NATS protocol, requests and replies of 128 B, {clients} at a time: "
               f"{what}; ratio to nats-server", kind, conns=clients, size=128, load="nats-requests",
               floor="nats-server", judged=("hub",), limit=limit, alone=True)
      for clients in (1, 50) for suffix, what, kind, limit in (("", "p50 of tenon hub", "latency", 0.8),
                                                               ("-rate", "rate of tenon hub", "rate", 1.2))),
    Scenario("nats-tail", "NATS protocol, 5 publishers, each to 1000 subscribers, 128 B, at 0.7 of the deliveries that "
                          "nats-server carries: p99 of tenon hub; ratio to nats-server", "tail", conns=1000, depth=5,
             size=128, load="nats-paced", floor="nats-server", judged=("hub",), limit=0.5, alone=True),
    Scenario("pingpong", "TCP echo, one 64 B message to and fro, a client that sleeps; ratio to the epoll loop that "
                         "sleeps",
             "latency", conns=1, spin=False, peers=ALL_PEERS, floor="floor-epoll", limit=0.4),
    Scenario("pingpong-spin", "the same with a client that never sleeps (no target)", "latency", conns=1,
             floor="floor-epoll"),
    *(Scenario(f"embedded-{engine}", f"TCP echo, one 64 B message to and fro, tenon's loop ({engine}) inside poll(2), "
                                     "libuv and GLib; ratio to tn_loop_run()", "latency", conns=1, spin=False,
               floor=f"run-{engine}", judged=tuple(f"{loop}-{engine}" for loop in ("poll", "uv", "glib")), limit=1.15,
               alone=True) for engine in ("epoll", "uring")),
    Scenario("udp-ack-64Bx64", "UDP ack, 64 B, 64 sockets", proto="udp", peers=LOOPS, limit=0.95),
    Scenario("udp-ack-64Bx16-deep16", "UDP ack, 64 B, 16 sockets, 16 datagrams in flight on each", proto="udp",
             conns=16, depth=16, peers="libuv", limit=0.95),
    *(Scenario(f"oneway-udp-{what}", f"one way over UDP, 64 B, 1 socket: messages {what} a second, tenon bench to "
               "tenon serve --handler count; ratio to bare sendmmsg and recvmmsg loops", what, proto="udp", conns=1,
               only="floor-oneway tenon-uring tenon-epoll", floor="floor-oneway", limit=0.95,
               judged=("tenon-uring", "tenon-epoll")) for what in ("sent", "received")),
    Scenario("udp-joined-64Bx16-deep16", "the same with keys gso and gro at both ends; ratio to a server without",
             proto="udp", conns=16, depth=16, joined=True, floor="tenon", judged=("tenon-joined",), limit=2.0,
             load="tenon", only="floor-udp floor-udp-joined tenon tenon-joined"),
    Scenario("unix-64Bx64", "Unix stream echo, 64 B, 64 connections", proto="unix", peers=ALL_PEERS, limit=0.97),
    Scenario("unix-64KiBx16", "Unix stream echo, 64 KiB, 16 connections", proto="unix", conns=16, size=65536,
             spin=False, peers="libuv uvloop", limit=0.97),
    Scenario("shm-pingpong", "shared memory (shm:), one 64 B message to and fro, both sides spin; ratio to a bare ring "
                             "whose sides do nothing but spin (and a fifteenth of tenon-unix wanted)",
             "latency", proto="shm", conns=1, only=MEMORY, floor="floor-ring", limit=1.5),
    Scenario("shm-pingpong-asleep", "the same, both sides sleep; ratio to tenon on a Unix stream", "latency",
             proto="shm", conns=1, spin=False, asleep=True, only="tenon-unix tenon tenon-epoll", floor="tenon-unix",
             limit=1.1),
    Scenario("shm-64Bx1-deep16", "shared memory, 64 B, 1 connection, 16 messages in flight; ratio to a bare ring (and "
                                 "5 x tenon-unix wanted)", proto="shm", conns=1, depth=16, only=MEMORY,
             floor="floor-ring", limit=0.6),
    Scenario("shm-64Bx64", "shared memory, 64 B, 64 connections; ratio to tenon on Unix streams", proto="shm",
             only=MEMORY, floor="tenon-unix", limit=3),
    Scenario("shm-64KiBx4", "shared memory, 64 KiB, 4 connections; ratio to tenon on Unix streams", proto="shm",
             conns=4, size=65536, only=MEMORY, floor="tenon-unix", limit=3),
    Scenario("tls-64Bx64", "TLS 1.3 echo, 64 B, 64 connections; ratio to tenon without TLS (and 1.2 x nginx and "
                           "haproxy wanted)",
             proto="tls", peers="tenon-plain nginx haproxy", floor="tenon-plain", limit=0.6),
    Scenario("tls-64KiBx16", "TLS 1.3 echo, 64 KiB, 16 connections; ratio to a bare loop over OpenSSL", proto="tls",
             conns=16, size=65536, spin=False, peers="nginx haproxy", floor="floor-tls", limit=0.85),
    Scenario("tls-handshakes", "full TLS 1.3 handshakes (EC P-256), 16 at a time", proto="tls", conns=16, spin=False,
             peers="nginx haproxy", floor="floor-tls", limit=0.9, mode="connect"),
    Scenario("tls-resumed", "TLS 1.3 handshakes with a ticket, 16 at a time", proto="tls", conns=16,
             spin=False, floor="floor-tls", limit=0.9, mode="resumed", load="bare"),
    Scenario("tls-memory-idle", "resident memory of the server for each of 5,000 TLS connections used once, then idle",
             "memory", proto="tls", conns=5000, limit=24576, judged=("tenon-uring", "tenon-epoll")),
    Scenario("memory-idle", "resident memory of the server for each of 10,000 connections used once, then idle",
             "memory", conns=10000, peers=LOOPS, limit=512, judged=("tenon-uring", "tenon-epoll")),
    *(Scenario(f"ws-memory-{name}", f"the same for each of 5,000 WebSocket connections{how} (no target)", "memory",
               proto="ws", conns=5000, size=320, deflate=bool(how), only="tenon-uring tenon-epoll " + peers)
      for name, how, peers in (("idle", "", "npm-ws websockets"),
                               # npm's ws would take more than 1 GB
                               ("deflate", " that compress their messages", "websockets"))),
    Scenario("join-64KiBx1", "a relay (tn_join) of one TCP connection, 64 KiB, 4 messages in flight; ratio to a bare "
                             "splice loop",
             conns=1, size=65536, depth=4, spin=False, relay=True, load="bare", floor="floor-splice", limit=0.95),
    Scenario("join-64KiBx16", "the same, 16 connections with one message in flight on each", conns=16, size=65536,
             spin=False, relay=True, load="bare", floor="floor-splice", limit=0.95),
    Scenario("join-64Bx64", "CPU of a relay (tn_join) for each message to and fro, 64 B, 64 TCP connections; ratio to "
                            "a bare epoll loop that copies (and less than it wanted on uring)",
             "cpu", relay=True, load="bare", floor="floor-copy", limit=1.05, judged=("tenon-uring", "tenon-epoll")),
    Scenario("fanout-100B", "CPU of a publisher for each delivery of one 100 B message to 5,000 Unix and 5,000 TCP "
                            "connections (tn_send_shared); ratio to a bare loop over send(2)",
             "fanout", conns=10000, size=100, floor="floor-send", limit=1.1, judged=("tenon-uring", "tenon-epoll")),
    Scenario("fanout-32KiB", "the same, 32 KiB", "fanout", conns=10000, size=32768, floor="floor-send", limit=1.2,
             judged=("tenon-uring", "tenon-epoll")),
    *(Scenario(f"relay-64Bx{conns}", f"CPU of tenon relay for each message to and fro, 64 B, {conns} TCP connections; "
                                     "ratio to haproxy (and 0.6 of nginx's wanted)",
               "cpu", conns=conns, relay="command", peers="haproxy-tcp nginx-tcp",
               load="bare", floor="haproxy-tcp", limit=0.6, judged=RELAYS) for conns in (64, 1000)),
    *(Scenario(f"relay-64KiBx{conns}", f"tenon relay, 64 KiB, {conns} TCP connection{'s' * (conns > 1)}; ratio to a "
                                       "bare splice loop",
               conns=conns, size=65536, depth=4 if conns == 1 else 1, spin=False, relay="command",
               peers="haproxy-tcp nginx-tcp socat", load="bare", floor="floor-splice", limit=0.95,
               judged=RELAYS) for conns in (1, 16)),
    Scenario("relay-udp-64Bx64", "CPU of tenon relay for each datagram to and fro, 64 B, 64 UDP sockets; ratio to a "
                                 "bare loop over recvmmsg and sendmmsg (no target)",
             "cpu", proto="udp", relay="command", only="floor-datagrams relay-uring relay-epoll nginx-udp",
             load="bare", floor="floor-datagrams"),
    Scenario("relay-tls-64Bx64", "tenon relay that takes TLS 1.3 from its clients, its target plain: 64 B, 64 "
                                 "connections; ratio to haproxy (no target)",
             proto="tls", relay="command", only=TLS_RELAYS, floor="haproxy-tls"),
    Scenario("relay-tls-handshakes", "the same: full TLS 1.3 handshakes (EC P-256), 16 at a time", proto="tls",
             conns=16, spin=False, relay="command", only=TLS_RELAYS, floor="haproxy-tls", mode="connect"),
    Scenario("relay-connect", "tenon relay: connect, close, 16 at a time; ratio to haproxy", conns=16, spin=False,
             relay="command", peers="haproxy-tcp nginx-tcp", load="tenon", floor="haproxy-tcp", limit=1.2,
             mode="connect", judged=RELAYS),
    Scenario("relay-pingpong", "what tenon relay adds to one 64 B message to and fro, a client that sleeps; ratio to "
                               "haproxy", "latency", conns=1, spin=False, relay="command",
             peers="haproxy-tcp nginx-tcp socat", load="bare", floor="haproxy-tcp", limit=1, judged=RELAYS),
    Scenario("cross-check", "tenon bench beside the bare load on the bare epoll loop: TCP echo, 64 B, 64 connections",
             loads="floor-epoll", floor="load-bare", judged=("load-tenon",), limit=0.97),
    Scenario("cross-check-pingpong", "the same with one message to and fro, on the loop that spins; both loads spin",
             "latency", conns=1, loads="floor-epoll-spin", floor="load-bare", judged=("load-tenon",), limit=1.03),
    Scenario("cross-check-deep16", "the same, 64 connections with 16 messages in flight on each", depth=16,
             loads="floor-epoll", floor="load-bare"),
    Scenario("cross-check-64KiB", "the same, 64 KiB, 16 connections (the bare load copies nothing)", conns=16,
             size=65536, spin=False, loads="floor-epoll", floor="load-bare"),
    Scenario("cross-check-udp", "the same, 64 B on 64 UDP sockets, on the bare recvmmsg loop", proto="udp",
             loads="floor-udp", floor="load-bare", judged=("load-tenon",), limit=0.97),
    Scenario("cross-check-udp-deep16", "the same, 16 UDP sockets with 16 datagrams in flight on each", proto="udp",
             conns=16, depth=16, loads="floor-udp", floor="load-bare", judged=("load-tenon",), limit=0.97),
    Scenario("python-64Bx64", "servers in Python: TCP echo, 64 B, 64 connections; ratio to uvloop's Protocol (2 wanted "
                              "of callbacks, 1.2 of async for)", only=PYTHONS, floor="uvloop", limit=2,
             judged=("py-callbacks",)),
    Scenario("python-64Bx64-deep16", "the same, 16 messages in flight on each", only=PYTHONS, depth=16, floor="uvloop",
             limit=3, judged=("py-callbacks",)),
    Scenario("python-framed-deep16", "the same, messages in u32 frames, echoed one by one; ratio to uvloop's Protocol "
                                     "that takes them apart", only="tenon py-framed py-framed-aio uvloop-framed",
             frame="u32", depth=16, floor="uvloop-framed", limit=3, judged=("py-framed",), load="bare"),
    Scenario("python-64KiBx16", "the same, 64 KiB, 16 connections; ratio to tenon in C", only=PYTHONS, conns=16,
             size=65536, spin=False, floor="tenon", limit=0.8, judged=("py-view",)),
    Scenario("python-json", "JSON in u32 frames, read and written, 64 connections; ratio to asyncio's streams and json",
             only="py-values json-streams", frame="u32", floor="json-streams", limit=3, judged=("py-values",),
             payload="message.json"),
    Scenario("python-websocket", "WebSocket echo, 64 B, 64 connections; ratio to python3-websockets",
             only="py-callbacks py-aio websockets", proto="ws", floor="websockets", limit=3, judged=("py-callbacks",)),
    *(Scenario(f"ws-{name}", f"WebSocket echo, {about}; ratio to a bare loop", proto="ws", conns=conns, size=size,
               spin=size < 4096, only=WEBSOCKETS, floor="floor-ws", limit=0.95,
               judged=("tenon-uring", "tenon-epoll"))
      for name, about, conns, size in (("64Bx64", "64 B, 64 connections", 64, 64),
                                       ("1KiBx500", "1 KiB, 500 connections", 500, 1024),
                                       ("64KiBx16", "64 KiB, 16 connections, masked", 16, 65536))),
    Scenario("ws-deflate", "WebSocket echo, JSON of 1 KiB, compressed (permessage-deflate), 64 connections; ratio to "
                           "npm's ws (no target)",
             proto="ws", size=1024, payload="order.json", deflate=True, floor="npm-ws",
             only="tenon-uring tenon-epoll npm-ws websockets"),
    Scenario("ws-handshakes", "WebSocket: connect, upgrade, close, 16 at a time; ratio to a bare loop", proto="ws",
             conns=16, spin=False, only=WEBSOCKETS, floor="floor-ws", limit=0.95, mode="connect",
             judged=("tenon-uring", "tenon-epoll")),
    Scenario("send-time",
             f"whole process that sends one message and prints its echo, {TIMED_RUNS} runs; ratio to nc -N",
             "time", limit=1.5, floor="nc", judged=("tenon-send",)),
    Scenario("convert-json-cbor", "a file of small messages from JSON lines to CBOR in u32 frames (--convert-mib); "
                                  "ratio to the bare libraries", "convert", limit=0.8, judged=("tenon-convert",)),
    Scenario("handles", "64 B messages of two threads into one loop, through a handle (a handle each: tenon-handles; "
                        "the loop's own sends: tenon-loop); ratio to a bare list with malloc", "threads", limit=1,
             floor="floor-list", judged=("tenon-handle",)),
    Scenario("convert-cbor-json", "the same back", "convert", limit=0.8, judged=("tenon-convert",)),
    Scenario("convert-memory", "peak memory of the first over the whole file, less that over its first eighth",
             "growth", limit=1 << 20, judged=("tenon-convert",)),
]
