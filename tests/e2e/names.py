"""A world of names of the tests' own: an /etc, a network and a name server that nobody else sees.

Started as a program inside of new namespaces (see inside()), it plays seeded sets of resolv.conf, hosts and
nsswitch.conf, has tests/names/lookup ask getaddrinfo(3) and tenon for the same names, and prints where they differ.
"""
import json
import os
import random
import shutil
import socket
import socketserver
import struct
import subprocess
import sys
import threading
import time

A, CNAME, AAAA = 1, 5, 28
NOERROR, SERVFAIL, NXDOMAIN, REFUSED = 0, 2, 3, 5
SERVERS = {"good": "127.0.0.53", "refusing": "127.0.0.54", "failing": "127.0.0.55", "dead": "127.0.0.66"}

ZONE = {
    "both.test": {A: ["192.0.2.1"], AAAA: ["2001:db8::1"]},
    "four.test": {A: ["192.0.2.4", "192.0.2.44"]},
    "six.test": {AAAA: ["2001:db8::6"]},
    "many.test": {A: [f"192.0.2.{i}" for i in range(100, 124)], AAAA: [f"2001:db8::{i:x}" for i in range(100, 120)]},
    "big.test": {A: [f"192.0.2.{i}" for i in range(1, 90)]},  # truncated, then over TCP
    "nodata.test": {},
    "alias.test": {CNAME: "both.test"},
    "alias4.test": {CNAME: "four.test"},
    "nowhere-alias.test": {CNAME: "nowhere.test"},
    "otherid.test": {A: ["192.0.2.7"]},
    "slow.test": {A: ["192.0.2.8"], AAAA: ["2001:db8::8"]},
    "sick6.test": {A: ["192.0.2.9"]},
    "sick4.test": {AAAA: ["2001:db8::9"]},
    "silent6.test": {A: ["192.0.2.10"]},
    "ula.test": {AAAA: ["fd00::1", "2001:db8::aa"], A: ["192.0.2.11"]},
    "host.corp.test": {A: ["192.0.2.21"]},
    "www.host.corp.test": {A: ["192.0.2.22"], AAAA: ["2001:db8::22"]},
    "four.corp.test": {AAAA: ["2001:db8::44"]},
    "host.sub.test": {AAAA: ["2001:db8::23"]},
    "printer": {A: ["192.0.2.30"]},
    "four": {A: ["192.0.2.31"]},
    "both": {AAAA: ["2001:db8::31"]},
    "xn--bcher-kva.test": {A: ["192.0.2.40"]},
}
LIVE = {}  # how many seconds a name's records live, where it is not a minute
WILDCARDS = {"wild6.test": {AAAA: ["::1"]}, "wild4.test": {A: ["127.0.0.9"]}}


def find(name):
    """(rcode, records) of a name without its last dot; rcode None: nothing is said."""
    name = name.lower()
    if name == "fail.test" or name.endswith(".fail.test"):
        return SERVFAIL, {}
    for domain, records in WILDCARDS.items():
        if name.endswith("." + domain):
            return NOERROR, records
    if name in ZONE:
        return NOERROR, ZONE[name]
    # What has a name below it exists, and has nothing
    return (NOERROR if any(known.endswith("." + name) for known in ZONE) else NXDOMAIN), {}


def encode(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


def record(name, kind, data):
    return encode(name) + struct.pack("!HHIH", kind, 1, LIVE.get(name, 60), len(data)) + data


def reply(query, over_tcp, mood):
    """The datagrams to send for a query: a list, empty for silence."""
    end, labels = 12, []
    while query[end]:
        labels.append(query[end + 1:end + 1 + query[end]].decode("latin-1"))
        end += query[end] + 1
    name, (kind,) = ".".join(labels), struct.unpack("!H", query[end + 1:end + 3])
    question, ident = query[12:end + 5], query[:2]
    rcode, records = find(name)
    if mood != "good":
        rcode, records = (REFUSED if mood == "refusing" else SERVFAIL), {}
    label = labels[0].lower() if labels else ""
    if label == f"sick{6 if kind == AAAA else 4}":
        rcode = SERVFAIL
    if label == "silent6" and kind == AAAA:
        return []
    answers = []
    if rcode == NOERROR and CNAME in records:
        answers.append(record(name, CNAME, encode(records[CNAME])))
        name = records[CNAME]
        records = find(name)[1]
    if rcode == NOERROR and kind in (A, AAAA):
        family = socket.AF_INET if kind == A else socket.AF_INET6
        answers += [record(name, kind, socket.inet_pton(family, text)) for text in records.get(kind, [])]
    body = question + b"".join(answers)
    truncated = not over_tcp and 12 + len(body) > 512
    if truncated:
        body, answers = question, []
    head = struct.pack("!BBHHHH", 0x84 | query[2] & 1 | (2 if truncated else 0), 0x80 | rcode, 1, len(answers), 0, 0)
    replies = [ident + head + body]
    if label == "otherid":  # somebody guesses: not the answer to this question
        lie = question + record(name, A, socket.inet_aton("192.0.2.99"))
        replies.insert(0, bytes([ident[0] ^ 1, ident[1]]) + struct.pack("!BBHHHH", 0x85, 0x80, 1, 1, 0, 0) + lie)
    if label == "slow":
        time.sleep(0.1)
    return replies


class Datagrams(socketserver.ThreadingUDPServer):
    daemon_threads, max_packet_size = True, 4096


class Streams(socketserver.ThreadingTCPServer):
    daemon_threads, allow_reuse_address = True, True


def serve(address, mood):
    """A name server at port 53 of an address, over UDP and TCP."""
    class Datagram(socketserver.BaseRequestHandler):
        def handle(self):
            query, sock = self.request
            for answer in reply(query, False, mood):
                sock.sendto(answer, self.client_address)

    class Stream(socketserver.StreamRequestHandler):
        def handle(self):
            while len(size := self.rfile.read(2)) == 2:
                for answer in reply(self.rfile.read(struct.unpack("!H", size)[0]), True, mood):
                    self.wfile.write(struct.pack("!H", len(answer)) + answer)

    for server in (Datagrams((address, 53), Datagram), Streams((address, 53), Stream)):
        threading.Thread(target=server.serve_forever, daemon=True).start()


def settle():
    """This process' namespaces are new: a network of loopback alone, and an /etc with what programs need."""
    kept = {name: open(f"/etc/{name}", "rb").read() for name in ("ld.so.cache", "host.conf", "services", "protocols",
                                                                "passwd", "group") if os.path.exists(f"/etc/{name}")}
    subprocess.run(["mount", "-t", "tmpfs", "none", "/etc"], check=True)
    for name, data in kept.items():
        with open(f"/etc/{name}", "wb") as file:
            file.write(data)
    for command in ("link set lo up", "addr add 192.0.2.0/24 dev lo", "-6 route add local 2001:db8::/32 dev lo",
                    "-6 route add local fd00::/8 dev lo"):
        subprocess.run(["ip", *command.split()], check=False, stderr=subprocess.DEVNULL)
    for mood, address in SERVERS.items():
        if mood != "dead":
            serve(address, mood)
    serve("127.0.0.1", "good")  # without a name server in resolv.conf, this one is asked


def write(name, text):
    """A file of /etc; None: there is none."""
    if text is None:
        if os.path.exists(f"/etc/{name}"):
            os.unlink(f"/etc/{name}")
        return
    with open(f"/etc/{name}", "w", encoding="utf-8") as file:
        file.write(text)


# ---- what is played ----

LOCAL = ["alpha", "beta.local", "four.test", "six.test", "printer", "www.host.corp.test", "UPPER"]
NAMES = [name for name in ZONE if name not in ("silent6.test", "xn--bcher-kva.test")] + [
    "four.test.", "both.test.", "printer.", "four", "six", "both", "alias", "host", "www.host", "host.corp", "many",
    "nodata", "nowhere", "no.where", "short", "alpha", "beta.local", "beta", "upper", "UPPER", "Four.Test",
    "x.fail.test", "mapped", "odd_name.test", "-", "a.wild6.test", "a.localhost.test"]
SEARCH = ["test", "corp.test", "sub.test", "wild6.test", "wild4.test", "fail.test", "nowhere.test", ".", "test.",
          ".test"]
HOSTS_LINES = [None, "", "files dns", "dns files", "files", "dns", "files [NOTFOUND=return] dns",
               "dns [NOTFOUND=return] files", "dns [!UNAVAIL=return] files", "files [SUCCESS=continue] dns",
               "files myhostname dns", "files mymachines resolve [!UNAVAIL=return] dns",
               "files mdns4_minimal [NOTFOUND=return] dns", "  files\tdns  # both", "files [notfound=continue] dns",
               "files [UNAVAIL=return TRYAGAIN=continue] dns", "nothing files dns",
               "files dns [NOTFOUND=return] nothing", "FILES dns", "files[NOTFOUND=return]dns"]


def make_resolv(dice):
    lines = ["# a comment", "; another"] if dice.random() < 0.2 else []
    servers = dice.choice([["good"], ["good"], ["good"], ["refusing", "good"], ["failing", "good"],
                           ["good", "refusing"], [], ["refusing"]])
    lines += [f"nameserver {SERVERS[name]}" for name in servers]
    # Where glibc depends on which server has answered last, or asks one server only over TCP, nothing is compared
    search = [domain for domain in SEARCH if domain != "fail.test" or "refusing" not in servers]
    if dice.random() < 0.75:
        lines.append(dice.choice(["search ", "search\t", "domain "]) +
                     dice.choice([" ", "  ", "\t"]).join(dice.sample(search, dice.randint(1, 4))))
    if dice.random() < 0.15:
        lines.append("search " + dice.choice(search))
    if dice.random() < 0.1:
        lines.append("search")
    options = dice.sample(["ndots:0", "ndots:1", "ndots:2", "ndots:3", "ndots:99", "rotate", "use-vc", "edns0",
                           "single-request", "single-request-reopen", "no-aaaa", "no-tld-query", "trust-ad", "debug",
                           "attempts:1", "inet6"], dice.choice([0, 0, 1, 1, 2, 3]))
    if servers not in (["good"], []):
        options = [option for option in options if option != "use-vc" and not option.startswith("single")]
    lines.append("options " + " ".join(options + ["timeout:1"]))
    if dice.random() < 0.3:
        dice.shuffle(lines)
    return dice.choice(["\n", "\n", "\n\n"]).join(lines) + dice.choice(["\n", ""])


def make_hosts(dice):
    lines = ["127.0.0.1 localhost"]
    for _ in range(dice.randint(0, 8)):
        address = dice.choice(["192.0.2.200", "192.0.2.201", "2001:db8::200", "2001:db8::201", "127.0.1.1", "::1",
                               "300.1.2.3", "192.0.2", "010.0.0.1", "nonsense"])
        names = dice.sample(LOCAL, dice.randint(1, 3))
        lines.append(address + dice.choice([" ", "\t", "  \t"]) + " ".join(names) +
                     dice.choice(["", "", " # why", "#x"]))
    if dice.random() < 0.3:
        lines.append("::ffff:192.0.2.77 mapped")
    dice.shuffle(lines)
    return "\n".join(lines) + dice.choice(["\n", ""])


def make_nsswitch(dice):
    if dice.random() < 0.08:
        return None
    line = dice.choice(HOSTS_LINES)
    text = "passwd: files\n"
    if line is not None:
        text += f"{dice.choice(['hosts:', 'hosts: ', 'hosts:  '])}{line}\n"
    return text + "networks: files\n"


def make_case(number):
    dice = random.Random(number)
    environment = {}
    if dice.random() < 0.08:
        environment["LOCALDOMAIN"] = dice.choice(["corp.test", "nowhere.test test", ""])
    if dice.random() < 0.08:
        environment["RES_OPTIONS"] = dice.choice(["ndots:0", "ndots:3 rotate"])
    resolv = make_resolv(dice) if dice.random() < 0.96 else ""
    # glibc gives up on a family that fails when asked one by one, and asks on where a server refuses, or not
    names = [name for name in NAMES if not (name == "sick4.test" and "single" in resolv) and
             not (name == "x.fail.test" and SERVERS["refusing"] in resolv)]
    return {"nsswitch.conf": make_nsswitch(dice), "resolv.conf": resolv or None,
            "hosts": make_hosts(dice) if dice.random() < 0.94 else None, "environment": environment,
            "asks": [(dice.choice([0, 0, 0, 4, 6]), name) for name in dice.sample(names, 10)]}


def ask(helper, asks, environment=None):
    """What the system and tenon say: for each name a pair of (words, addresses)."""
    done = subprocess.run([helper], input="".join(f"{family} {name}\n" for family, name in asks), text=True,
                          stdout=subprocess.PIPE, env={**os.environ, **(environment or {})}, timeout=240, check=True)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    return [((system[2], system[3:]), (ours[2], ours[3:])) for system, ours in zip(lines[::2], lines[1::2])]


def order(addresses):
    """What both must agree on: the order inside of each family, where RFC 6724 is what glibc does."""
    if any(address.startswith("[fd") for address in addresses):
        return sorted(set(addresses))
    first = addresses[:1]
    return [first, *(list(dict.fromkeys(a for a in addresses if a.startswith("[") == six)) for six in (False, True))]


def play(helper, number):
    """Where tenon finds other addresses than the system, in one case, or the same in another order."""
    case = make_case(number)
    for name in ("nsswitch.conf", "resolv.conf", "hosts"):
        write(name, case[name])
    wrong = []
    for (family, name), (system, ours) in zip(case["asks"], ask(helper, case["asks"], case["environment"])):
        if system[0] != "System error" and order(system[1]) != order(ours[1]):
            wrong.append({"case": number, "name": name, "family": family, "system": system, "tenon": ours,
                          **{key: case[key] for key in ("nsswitch.conf", "resolv.conf", "hosts", "environment")}})
    return wrong


# ---- a target that moves ----

MOVING, FORMER, LATTER, NEXT = "moving.test", "192.0.2.50", "192.0.2.51", "192.0.2.52"
LIMIT = 60


def answer_as(address, scheme):
    """A server at port 7 of an address: it puts the address before all that it is asked."""
    class Stream(socketserver.BaseRequestHandler):
        def handle(self):
            while data := self.request.recv(100):
                self.request.sendall(f"{address} ".encode() + data)

    class Datagram(socketserver.BaseRequestHandler):
        def handle(self):
            self.request[1].sendto(f"{address} ".encode() + self.request[0], self.client_address)

    server = Streams((address, 7), Stream) if scheme == "tcp" else Datagrams((address, 7), Datagram)
    threading.Thread(target=server.serve_forever, daemon=True).start()


class Sessions:
    """Of a relay whose first target has the name, and whose next one an address."""

    def __init__(self, command, scheme):
        self.kind = socket.SOCK_STREAM if scheme == "tcp" else socket.SOCK_DGRAM
        self.relay = subprocess.Popen(
            [command, "relay", "--json", "--balance", "first", "--connect", "20s", f"{scheme}://127.0.0.1:0",
             f"{scheme}4://{MOVING}:7", f"{scheme}://{NEXT}:7"], stdout=subprocess.PIPE, text=True)
        self.port = int(json.loads(self.relay.stdout.readline())["url"].rpartition(":")[2])

    def begin(self):
        """(client, address) of a new one."""
        client = socket.socket(socket.AF_INET, self.kind)
        client.settimeout(LIMIT)
        client.connect(("127.0.0.1", self.port))
        return client, self.ask(client)

    def ask(self, client):
        client.send(b"who")
        return client.recv(100).decode().split()[0]

    def end(self):
        self.relay.terminate()
        with self.relay:
            return [json.loads(line) for line in self.relay.communicate(timeout=LIMIT)[0].splitlines()]


def move(command, scheme, seconds):
    """Whom sessions reach while the name goes from one address to another one, to none, and back; what is told."""
    for address in (FORMER, LATTER, NEXT):
        answer_as(address, scheme)
    ZONE[MOVING], LIVE[MOVING] = {A: [FORMER]}, seconds
    sessions, reached = Sessions(command, scheme), {}
    first, reached["before"] = sessions.begin()
    ZONE[MOVING] = {A: [LATTER]}
    time.sleep(1.2 * seconds)
    reached["after"] = sessions.begin()[1]
    reached["begun before"] = sessions.ask(first)
    del ZONE[MOVING]
    time.sleep(1.2 * seconds)
    reached["without"] = sessions.begin()[1]
    ZONE[MOVING] = {A: [FORMER]}
    until = time.monotonic() + LIMIT
    while (back := sessions.begin()[1]) == NEXT and time.monotonic() < until:
        time.sleep(0.05)
    reached["again"], reached["begun before, still"] = back, sessions.ask(first)
    return reached, sessions.end()


def inside(arguments, **options):
    """Runs this file as a program in namespaces of its own; (process' result, or why it cannot be)."""
    if not shutil.which("unshare"):
        return None, "no unshare here"
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *as_root, "--net", "--mount"]
    if subprocess.run([*command, "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        return None, "no namespaces of one's own here"
    return subprocess.Popen([*command, sys.executable, "-B", __file__, *arguments], text=True,
                            stdout=subprocess.PIPE, **options), None


def main():
    helper, what, *rest = sys.argv[1:]
    settle()
    if what == "cases":
        wrong = [found for number in range(int(rest[0]), int(rest[1]), int(rest[2])) for found in play(helper, number)]
        print(json.dumps(wrong))
    elif what == "move":
        print(json.dumps(move(helper, rest[0], int(rest[1]))))
    elif what == "run":  # a script of one's own: files, then a command
        plan = json.loads(rest[0])
        for name, text in plan["files"].items():
            write(name, text)
        done = subprocess.run(plan["command"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
                              check=False)
        print(json.dumps([done.returncode, done.stdout]))


if __name__ == "__main__":
    main()
