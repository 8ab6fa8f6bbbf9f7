"""What is measured: each scenario names its contenders, what `tenon bench` is told, and what is wanted of tenon."""

TIMED_RUNS = 50

UNITS = {"rate": "msg/s", "latency": "us p50", "memory": "B/conn", "time": "ms", "convert": "B/s", "growth": "B"}
VALUES = {"rate": "rate", "latency": "p50_us", "memory": "bytes_per_conn", "time": "ms", "convert": "bytes_per_second",
          "growth": "growth_bytes"}


class Scenario:
    """
    One thing to measure. `floor` names what the ratio is taken to; None: the best of the bare loops that ran. `limit`
    is what is wanted of the contenders in `judged`. `mode`: of `tenon bench`; "resumed" only the bare load can. `load`:
    "bare" where only that does the same work for all contenders.
    """

    def __init__(self, name, about, kind="rate", proto="tcp", conns=64, size=64, depth=1, spin=True, peers="",
                 floor=None, limit=None, judged=("tenon",), frame=None, mode="request", load=None, loads=None):
        self.name, self.about, self.kind, self.proto, self.mode = name, about, kind, proto, mode
        self.conns, self.size, self.depth, self.spin, self.frame = conns, size, depth, spin, frame
        self.peers, self.floor, self.limit, self.judged = peers.split(), floor, limit, judged
        self.load = load
        self.loads = loads  # the contenders are not servers but what loads this one
        self.lower_is_better = kind not in ("rate", "convert")
        self.unit = UNITS[kind]
        self.value = VALUES[kind]

    def contenders(self):
        if self.loads:
            return ["load-bare", "load-tenon"]
        if self.kind == "time":
            return ["nc", "tenon-send"]
        if self.kind in ("convert", "growth"):
            return ["floor-convert", "tenon-convert"]
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
        if "tenon" not in self.contenders():
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
    Scenario("pingpong", "TCP echo, one 64 B message to and fro, a client that sleeps; ratio to the epoll loop that "
                         "sleeps",
             "latency", conns=1, spin=False, peers=ALL_PEERS, floor="floor-epoll", limit=0.4),
    Scenario("pingpong-spin", "the same with a client that never sleeps (no target)", "latency", conns=1,
             floor="floor-epoll"),
    Scenario("udp-ack-64Bx64", "UDP ack, 64 B, 64 sockets", proto="udp", peers=LOOPS, limit=0.95),
    Scenario("udp-ack-64Bx16-deep16", "UDP ack, 64 B, 16 sockets, 16 datagrams in flight on each", proto="udp",
             conns=16, depth=16, peers="libuv", limit=0.95),
    Scenario("unix-64Bx64", "Unix stream echo, 64 B, 64 connections", proto="unix", peers=ALL_PEERS, limit=0.97),
    Scenario("unix-64KiBx16", "Unix stream echo, 64 KiB, 16 connections", proto="unix", conns=16, size=65536,
             spin=False, peers="libuv uvloop", limit=0.97),
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
    Scenario("send-time",
             f"whole process that sends one message and prints its echo, {TIMED_RUNS} runs; ratio to nc -N",
             "time", limit=1.5, floor="nc", judged=("tenon-send",)),
    Scenario("convert-json-cbor", "a file of small messages from JSON lines to CBOR in u32 frames (--convert-mib); "
                                  "ratio to the bare libraries", "convert", limit=0.8, judged=("tenon-convert",)),
    Scenario("convert-cbor-json", "the same back", "convert", limit=0.8, judged=("tenon-convert",)),
    Scenario("convert-memory", "peak memory of the first over the whole file, less that over its first eighth",
             "growth", limit=1 << 20, judged=("tenon-convert",)),
]
