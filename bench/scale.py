#!/usr/bin/env python3
"""Sizes on paper: the tables of docs/scale.md, computed from what was measured, and simulations of what they rest on.

    bench/scale.py                  prints the tables
    bench/scale.py --write FILE     puts them between the marks of docs/scale.md
    bench/scale.py --check FILE     exit status 1 if what stands there is something else
    bench/scale.py --simulate       checks the formulas against simulations with fixed seeds; exit status 1: one is off

FIGURES is the place for other figures: those of your own machine, from bench/run.py.
"""
import argparse
import heapq
import math
import pathlib
import random
import re
import sys

# What one core, or one connection, costs: docs/performance.md and bench/results/README.md, Linux 6.18, x86_64.
FIGURES = {
    "idle": 462,              # bytes of the process, of an idle TCP connection
    "idle_ws": 612,           # ... WebSocket
    "idle_tls": 15_200,       # ... TLS 1.3
    "idle_relay": 1_112,      # ... of a relay's session, which has two sockets
    "kernel_socket": 3_600,   # bytes of the kernel, of a TCP socket with its file (/proc/slabinfo, 4,000 connections)
    "kernel_epoll": 210,      # ... and of its place in epoll
    "kernel_ring": 1_000,     # ... or of its receive on the ring
    "tcp": 4.4e-6,            # seconds of a core for a message of 64 B that comes and one that goes
    "tcp_deep": 1 / 2.55e6,   # ... 16 in flight on each connection
    "tls": 1 / 155.8e3,       # ... TLS
    "udp": 1 / 240.6e3,       # ... UDP
    "udp_joined": 0.28 / 240.6e3,  # ... with keys gso and gro at both ends, 16 in flight
    "shm": 1 / 15.4e6,        # ... shared memory, both spin, 16 in flight
    "hub": 1 / 3.26e6,        # ... hub, one publisher to one subscriber, 128 B
    "delivery": 1 / 4.60e6,   # ... hub, one of many deliveries of one message, 128 B
    "relay": 9.8e-6,          # ... relay, TCP, 64 B to and fro
    "handshake": 1 / 2_898,   # ... a full TLS handshake
    "resumed": 1 / 5_046,     # ... one with a ticket
    "accept": 1 / 37_700,     # ... a WebSocket client's connection and handshake
    "nats": 1 / 1.81e6,       # ... of nats-server, a delivery
}
BUSY = 0.7      # so much of a core is planned for: simulate_queue()
PORTS = 28_232  # net.ipv4.ip_local_port_range: connections from one address to one address and port
HEADERS = 14 + 20 + 32 + 24  # of a TCP segment: Ethernet, IPv4, TCP with timestamps; preamble, gap and check


def cores(rate, seconds):
    """Cores for so many messages a second."""
    return rate * seconds / BUSY


def loops(number):
    return max(1, math.ceil(number))


def human(value, unit=""):
    for limit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g} {name}{unit}"
    return f"{value:.3g} {unit}".strip()


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def idle_table(n=1_000_000):
    f = FIGURES
    rows = []
    for name, user, sockets in (("TCP", f["idle"], 1), ("WebSocket", f["idle_ws"], 1), ("TLS", f["idle_tls"], 1),
                                ("a relay's session", f["idle_relay"], 2)):
        kernel = sockets * (f["kernel_socket"] + f["kernel_epoll"])
        rows.append((name, human(n * user, "B"), human(n * kernel, "B"), human(n * (user + kernel), "B"),
                     human(n * sockets)))
    return table(("a million idle", "process", "kernel", "together", "descriptors"), rows)


def arrival_table(n=1_000_000):
    f = FIGURES
    return table(("a million clients come back, one core", "seconds"), [
        ("WebSocket", f"{n * f['accept'] / BUSY:.0f}"),
        ("TLS, with tickets", f"{n * f['resumed'] / BUSY:.0f}"),
        ("TLS, without", f"{n * f['handshake'] / BUSY:.0f}")])


def busy_table(n=1_000_000):
    f = FIGURES
    rows = []
    for every in (60, 10, 1):
        rate = n / every
        rows.append((f"{every} s", human(rate), f"{cores(rate, f['tcp']):.2f}", f"{cores(rate, f['tls']):.2f}",
                     f"{cores(rate, f['relay']):.2f}", human(2 * rate * (64 + HEADERS) * 8, "bit/s")))
    return table(("each of a million asks every", "messages a second", "cores, TCP", "TLS", "relay",
                  "both directions on the wire"), rows)


def rate_table(rate=10_000_000):
    rows = []
    for name, key, size, together in (("TCP, one at a time", "tcp", 64, 1), ("TCP, 16 in flight", "tcp_deep", 64, 16),
                                      ("TLS, one at a time", "tls", 64, 1), ("UDP", "udp", 64, 1),
                                      ("UDP, gso and gro, 16 in flight", "udp_joined", 64, 1),
                                      ("hub, one to one, 128 B", "hub", 128, 16),
                                      ("hub, one to many, 128 B", "delivery", 128, 16),
                                      ("shared memory", "shm", 64, 0)):
        wire = rate * (size + HEADERS / together) * 8 if together else 0
        packets = rate / together if together else 0
        need = cores(rate, FIGURES[key])
        rows.append((name, f"{need:.1f}", loops(need), human(packets) if packets else "none",
                     human(wire, "bit/s") if wire else "none"))
    return table(("10 million messages a second", "cores", "loops", "packets a second", "each way"), rows)


def cluster(hubs=100, published=10_000, beyond=0.1, reach=3, local=10, servers=3):
    """
    Messages a second. Each hub publishes `published`; a share `beyond` of them is wanted elsewhere, by `reach` hubs
    each; every message has `local` subscribers at its hub, and as many at each hub that it reaches.
    """
    all_of_it = hubs * published
    up = all_of_it * beyond
    down = up * reach
    deliveries = (all_of_it + down) * local
    # A message goes to each other server at which one of the hubs that want it is.
    crossing = up * (servers - 1) * (1 - (1 - 1 / servers) ** reach)
    return {"up": up, "down": down, "crossing": crossing, "hub": deliveries / hubs,
            "hub_cores": cores(deliveries / hubs, FIGURES["delivery"]),
            "server_cores": cores((up + down + crossing) / servers, FIGURES["nats"]),
            "links": hubs + servers * (servers - 1) // 2}


def cluster_table():
    rows = []
    for beyond, reach, servers in ((0.01, 3, 3), (0.1, 3, 3), (0.1, 20, 3), (1, 3, 5), (1, 99, 9)):
        c = cluster(beyond=beyond, reach=reach, servers=servers)
        rows.append((f"{beyond:.0%} to {reach} hubs", servers, c["links"], human(c["up"]), human(c["down"]),
                     f"{c['hub_cores']:.2f}", f"{c['server_cores']:.2f}"))
    return table(("100 hubs, 10k messages a second at each, 10 subscribers to each", "servers", "links", "up", "down",
                  "cores of a hub", "cores of a server"), rows)


TABLES = {"idle": idle_table, "arrival": arrival_table, "busy": busy_table, "rate": rate_table,
          "cluster": cluster_table}


# ---- simulations ----


def simulate_queue(load, messages=200_000, seed=1):
    """Messages that come by chance to one server that takes 1 for each: the p99 of the wait."""
    rnd, now, free, waits = random.Random(seed), 0.0, 0.0, []
    for _ in range(messages):
        now += rnd.expovariate(load)
        waits.append(max(0.0, free - now))
        free = max(free, now) + 1
    return sorted(waits)[int(messages * 0.99)]


def simulate_spread(connections, count, seed=1):
    """Connections spread by a hash over loops: how much more than its share the fullest has."""
    rnd, held = random.Random(seed), [0] * count
    for _ in range(connections):
        held[rnd.randrange(count)] += 1
    return max(held) / (connections / count) - 1


def expected_spread(connections, count):
    """The same on paper: sqrt(2 ln(loops) x loops / connections)."""
    return math.sqrt(2 * math.log(count) * count / connections)


def simulate_cluster(hubs=100, reach=3, servers=3, messages=20_000, seed=1):
    """Hubs at servers, each message wanted by `reach` others: how often it crosses from server to server, and comes
    down."""
    rnd, crossing, down = random.Random(seed), 0, 0
    at = [hub % servers for hub in range(hubs)]
    for number in range(messages):
        origin = number % hubs
        wanting = rnd.sample([hub for hub in range(hubs) if hub != origin], reach)
        down += len(wanting)
        crossing += len({at[hub] for hub in wanting} - {at[origin]})
    return crossing / messages, down / messages


def simulate_return(clients, rate, backlog, pause, seed=1):
    """
    All clients connect at once, `rate` a second are taken, `backlog` may wait; the others try again after a pause that
    doubles, with chance in it. Returns seconds until the last is in, by the time that the rate alone would take.
    """
    rnd, events, queue_free, done = random.Random(seed), [(0.0, 0)] * clients, 0.0, 0.0
    while events:
        now, tries = heapq.heappop(events)
        if (queue_free - now) * rate < backlog:
            queue_free = max(queue_free, now) + 1 / rate
            done = max(done, queue_free)
        else:
            heapq.heappush(events, (now + pause * 2 ** min(tries, 6) * (0.5 + rnd.random()), tries + 1))
    return done / (clients / rate)


def simulate():
    """Each: what, the simulation's figure, and the bounds that docs/scale.md relies on."""
    crossing, down = simulate_cluster()
    paper = cluster(beyond=1)
    up = paper["up"]
    return [
        ("p99 of the wait at 0.7 of a core, in messages", simulate_queue(BUSY), 0, 8),
        ("... at 0.9", simulate_queue(0.9), 15, 40),
        ("... at 0.5", simulate_queue(0.5), 0, 4),
        *((f"{n} connections over {k} loops, the fullest by what is expected",
           simulate_spread(n, k) / expected_spread(n, k), 0.3, 1.5)
          for n, k in ((10_000, 4), (10_000, 16), (100_000, 64))),
        ("crossings of a message between servers, by the formula", crossing / (paper["crossing"] / up), 0.95, 1.05),
        ("copies that come down, by the formula", down / (paper["down"] / up), 0.999, 1.001),
        ("20,000 clients that come back at once, by what the rate alone would take",
         simulate_return(20_000, 5_000, 4_096, 1.0), 1, 6),
    ]


# ---- docs/scale.md ----


def block(name):
    return re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- end -->)", re.DOTALL)


def filled(text):
    for name, make in TABLES.items():
        if not block(name).search(text):
            raise SystemExit(f"scale: no marks of table '{name}'")
        text = block(name).sub(lambda m, made=make(): m[1] + made + m[2], text)
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--write", type=pathlib.Path)
    what.add_argument("--check", type=pathlib.Path)
    what.add_argument("--simulate", action="store_true")
    args = parser.parse_args()
    if args.write:
        args.write.write_text(filled(args.write.read_text()))
    elif args.check:
        text = args.check.read_text()
        return filled(text) != text
    elif args.simulate:
        results = simulate()
        for name, value, low, high in results:
            print(f"{'ok ' if low <= value <= high else 'OFF'} {name}: {value:.3g} ({low:g}..{high:g})")
        return any(not low <= value <= high for _, value, low, high in results)
    else:
        print("\n\n".join(make() for make in TABLES.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
