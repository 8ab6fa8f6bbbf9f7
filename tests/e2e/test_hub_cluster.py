"""tenon hub --join at a cluster of three nats-servers, each node and each hub in a network of its own: nodes are killed
with SIGKILL, links are cut and healed. A ledger says what was published and what has come: each gap is counted, nothing
comes twice, each publisher's order is kept, and publishing goes on. TENON_CLUSTER_SECONDS=120 makes it last so long,
and has libnats do the same beside it; its numbers are printed."""
import contextlib
import json
import os
import signal
import threading
import time

import pytest

import system
from harness import wait_until
from test_hub import libnats_client
from test_hub_join import Client

SECONDS = float(os.environ.get("TENON_CLUSTER_SECONDS", "0"))
ROUTES = ",".join(f"nats://10.9.1.{n}:6222" for n in (1, 2, 3))


class Lan:
    """A switch with a network of its own at each port, 10.9.1.1 and so on, whose cables can be cut."""

    def __init__(self, ip, count):
        self.ip, self.why = ip, None
        self.switch, self.ends = system.Network(), [system.Network() for _ in range(count)]
        self.why = self.switch.why
        if self.why:
            return
        self.run(self.switch, "link add bridge type bridge")
        self.run(self.switch, "link set bridge up")
        for number, end in enumerate(self.ends, 1):
            self.run(self.switch, f"link add p{number} type veth peer name lan")
            self.run(self.switch, f"link set lan netns /proc/{os.getpid()}/fd/{end.fd}")
            self.run(self.switch, f"link set p{number} master bridge up")
            self.run(end, f"address add 10.9.1.{number}/24 dev lan")
            self.run(end, "link set lan up")

    run = system.Wire.run

    def cut(self, number, cut=True):
        self.run(self.switch, f"link set p{number} {'down' if cut else 'up'}")

    def close(self):
        for network in [self.switch, *self.ends]:
            network.close()


class Cluster:
    """Nodes 1 to 3."""

    def __init__(self, tenon, program, lan):
        self.tenon, self.lan, self.server, self.nodes = tenon, lan, program("nats-server"), {}
        for number in (1, 2, 3):
            self.start(number)
        for node in self.nodes.values():
            node.wait_for_text("Server is ready")

    def start(self, number):
        self.nodes[number] = self.tenon.peer(
            self.server, "-a", f"10.9.1.{number}", "-p", "4222", "--cluster_name", "c", "--cluster",
            f"nats://10.9.1.{number}:6222", "--routes", ROUTES, preexec_fn=self.lan.ends[number - 1].enter)

    def kill(self, number):
        self.nodes[number].kill()


class Ledger:
    """What one publisher has said and one subscriber has got."""

    def __init__(self, name):
        self.name, self.said, self.got, self.at = name, 0, [], []

    def add(self, texts):
        self.got += [int(text) for text in texts]
        self.at += [time.monotonic()] * len(texts)

    def missing(self):
        """Between the first and the last that came."""
        return self.got[-1] - self.got[0] + 1 - len(set(self.got))

    def pause(self):
        return max((b - a for a, b in zip(self.at, self.at[1:])), default=0)

    def check(self):
        assert self.got == sorted(set(self.got)), f"{self.name}: twice, or out of order"

    def __str__(self):
        return (f"{self.name}: {self.said} said, {len(self.got)} got, {self.missing()} missing, longest pause "
                f"{self.pause():.2f} s")


def disturb(cluster, lan, until):
    """A node is killed every ten seconds; between, a node's or a hub's cable is cut for a while."""
    step = 0
    while time.monotonic() < until:
        node = 1 + step % 3
        cluster.kill(node)
        time.sleep(min(3, max(0, until - time.monotonic())))
        cluster.start(node)
        time.sleep(min(2, max(0, until - time.monotonic())))
        if time.monotonic() < until:
            port = 1 + (step + 1) % 5
            ports = [port, port + 2] if port > 3 else [port]  # with a hub, one of libnats's
            for number in ports:
                lan.cut(number)
            time.sleep(2.5)
            for number in ports:
                lan.cut(number, False)
        time.sleep(min(2.5, max(0, until - time.monotonic())))
        step += 1


@pytest.fixture(name="lan")
def networks(program):
    laid = Lan(program("ip"), 7)
    if laid.why:
        laid.close()
        pytest.skip(f"no networks of one's own here: {laid.why}")
    yield laid
    laid.close()


def start_hub(tenon, lan, number):
    """At port 4 or 5 of the switch, with clients in its own network."""
    end = lan.ends[number - 1]
    hub = tenon.hub("nats://127.0.0.1:4222", options=[
        "--json", "--number", "--drain", "0.2", "--join", ",".join(f"nats://10.9.1.{n}" for n in (1, 2, 3)),
        "--admin", "http://127.0.0.1:9990"], preexec_fn=end.enter)
    hub.untidy = True
    hub.client = lambda said=b"": end.inside(lambda: Client(tenon, 4222, said))
    hub.cluster = lambda: json.loads(tenon.finish(["curl", "-s", "http://127.0.0.1:9990/status"],
                                                  preexec_fn=end.enter).out)["join"]
    return hub


def start_libnats(tenon, lan, number, client, what):
    """libnats alone, in a network beside the hubs'."""
    return tenon.peer(client, ",".join(f"nats://10.9.1.{n}:4222" for n in (1, 2, 3)), what,
                      preexec_fn=lan.ends[number - 1].enter)


@contextlib.contextmanager
def publishing(ledgers, publishers, rate=200):
    """So many a second by each, from a thread."""
    going = threading.Event()

    def run():
        while not going.wait(1 / rate):
            for ledger, publisher in zip(ledgers, publishers):
                ledger.said += 1
                publisher.publish(ledger.name.encode(), b"%d" % ledger.said)
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        going.set()
        thread.join()


def collect(ledgers, subscribers):
    for ledger, subscriber in zip(ledgers, subscribers):
        ledger.add(subscriber.payloads(ledger.name.encode()))
        subscriber.messages.clear()


def test_cluster_that_fails(tenon, program, lan, request):
    """Two hubs, each with a publisher and a subscriber of the other's."""
    if not SECONDS and tenon.engine != "epoll":
        pytest.skip("once is enough")
    cluster = Cluster(tenon, program, lan)
    hubs = [start_hub(tenon, lan, number) for number in (4, 5)]
    for hub in hubs:
        hub.wait_for_event("joined")
    ledgers = [Ledger("here.0"), Ledger("here.1")]
    subscribers = [hubs[1].client(b"SUB here.0 1\r\n"), hubs[0].client(b"SUB here.1 1\r\n")]
    publishers = [hub.client() for hub in hubs]
    control = []
    if SECONDS:
        library = request.getfixturevalue("libnats")
        control = [start_libnats(tenon, lan, 7, library, "take"), start_libnats(tenon, lan, 6, library, "give")]
    with publishing(ledgers, publishers):
        wait_until(lambda: collect(ledgers, subscribers) or all(ledger.got for ledger in ledgers), "messages come")
        until = time.monotonic() + (SECONDS or 3)
        worker = threading.Thread(target=disturb if SECONDS else once, args=(cluster, lan, until))
        worker.start()
        while worker.is_alive():
            collect(ledgers, subscribers)
            time.sleep(0.02)
        worker.join()
        last = [ledger.said for ledger in ledgers]  # what is said now comes
        wait_until(lambda: collect(ledgers, subscribers) or
                   all(ledger.got[-1] > said for ledger, said in zip(ledgers, last)), "messages come again")
    for number, hub in enumerate(hubs):
        told = hub.cluster()
        ledger = ledgers[1 - number]
        collect(ledgers, subscribers)
        print(ledger, told)
        ledger.check()
        assert told["repeated"] == told["looped"] == told["dropped"] == 0
        assert told["missed"] == ledger.missing()
        assert not ledger.missing() or [event for event in hub.events if event["event"] == "gap"]
    for process in control:
        process.signal(signal.SIGTERM)
    if control:
        time.sleep(1)
        library = Ledger("libnats")
        library.got = [int(line.split()[0]) for line in control[0].lines if line[:1].isdigit()]
        library.at = [float(line.split()[1]) for line in control[0].lines if line[:1].isdigit()]
        library.said = int(control[1].lines[-1])
        print(library, "; in order and once:", library.got == sorted(set(library.got)))


def once(cluster, lan, _):
    """A node is killed, then a hub's cable is cut."""
    cluster.kill(1)
    time.sleep(0.5)
    cluster.start(1)
    lan.cut(4)
    time.sleep(3)
    lan.cut(4, False)
