"""tenon hub --join: the hub as a client of a NATS cluster, which is Debian's nats-server, or the test plays it."""
import contextlib
import json
import socket
import time

import pytest

from harness import LIMIT, free_port, wait_until
from test_admin import Admin
from test_hub import QUIET, Lines, Talk, curl

INFO = {"server_id": "NPLAYED", "server_name": "played", "version": "2.9.10", "proto": 1, "host": "127.0.0.1",
        "port": 1, "headers": True, "max_payload": 1048576}


class Client(Talk):
    """A NATS client of a hub, or of a server, that takes apart what it gets."""

    def __init__(self, tenon, port, said=b""):
        super().__init__(port, tenon)
        self.messages = []  # (topic, reply, headers, payload)
        self.take_apart(self.to_pong(QUIET + said))

    def take_apart(self, text):
        """Returns what is not whole."""
        while text:
            line, end, rest = text.partition(b"\r\n")
            words = line.split(b" ")
            if not end or words[0] not in (b"MSG", b"HMSG"):
                assert not end or words[0] in (b"PONG", b"INFO"), text[:200]
                if not end:
                    return text
                text = rest
                continue
            size, head = int(words[-1]), int(words[-2]) if words[0] == b"HMSG" else 0
            if len(rest) < size + 2:
                return text
            reply = words[3] if len(words) == 5 + (words[0] == b"HMSG") else b""
            self.messages.append((words[1], reply, rest[:head], rest[head:size]))
            text = rest[size + 2:]
        return b""

    def gather(self):
        self.sock.setblocking(False)
        try:
            data = self.sock.recv(1 << 20)
            assert data, "it is closed"
            self.rest = self.take_apart(self.rest + data)
        except BlockingIOError:
            pass
        finally:
            self.sock.settimeout(LIMIT)
        return self.messages

    def payloads(self, topic=None):
        return [m[3] for m in self.gather() if topic in (None, m[0]) and m[3] != b"probe"]

    def wait_for(self, count, topic=None):
        wait_until(lambda: len(self.payloads(topic)) >= count,
                   lambda: f"{count} messages, not {len(self.messages)}: {self.messages[-5:]}")
        return self.payloads(topic)

    def publish(self, topic, *texts, reply=b""):
        reply = reply + b" " if reply else b""
        self.say(b"".join(b"PUB %s %s%d\r\n%s\r\n" % (topic, reply, len(text), text) for text in texts))


def numbers(count, first=0):
    return [b"%d" % n for n in range(first, first + count)]


def reach(publisher, topic, *subscribers):
    """What somebody has subscribed to is not known everywhere at once: asks until it is."""
    def look():
        publisher.publish(topic, b"probe")
        return all(any(m[0] == topic for m in s.gather()) for s in subscribers)
    wait_until(look, lambda: f"{topic} gets to all")


@pytest.fixture(name="server")
def start_server(tenon, program):
    """server(options): starts a nats-server, and returns its process with its port."""
    def start(*options, port=None):
        port = port or free_port()
        server = tenon.peer(program("nats-server"), "-a", "127.0.0.1", "-p", str(port), *options)
        server.wait_for_text("Server is ready")
        server.port = port
        return server
    return start


@pytest.fixture(name="join")
def start_hub(tenon):
    """join(ports, options): starts a hub that joins these, and waits until it has."""
    def start(ports, *options, doors=("nats://127.0.0.1:0",), wait=True):
        ports = ports if isinstance(ports, list) else [ports]
        admin = free_port()
        hub = tenon.hub(*doors, options=["--json", "--join", ",".join(f"nats://127.0.0.1:{port}" for port in ports),
                                         "--admin", f"http://127.0.0.1:{admin}", *options])
        hub.untidy = True  # it holds connections of its own
        hub.admin = Admin(admin)
        hub.cluster = lambda: hub.admin.json("/status")["join"]
        if wait:
            hub.wait_for_event("joined")
        return hub
    return start


@pytest.mark.parametrize("threads", [1, 3])
def test_two_hubs(tenon, server, join, threads):
    """Each message once and in order, here, at another hub, and at a client of the cluster; nothing comes back."""
    cluster = server()
    hubs = [join(cluster.port, "--threads", threads) for _ in range(2)]
    clients = [Client(tenon, hub.port, b"SUB t.> 1\r\n") for hub in hubs] + \
              [Client(tenon, cluster.port, b"SUB t.> 1\r\n")]
    overlapping = Client(tenon, hubs[1].port, b"SUB t.* 1\r\nSUB *.a 2\r\nSUB t.a 3\r\n")
    for publisher in clients:
        reach(publisher, b"t.probe", *clients)
    for name, publisher in enumerate(clients):
        publisher.publish(b"t.%d" % name, *numbers(200))
        publisher.say(b"HPUB t.head 25 27\r\nNATS/1.0\r\nColour: red\r\n\r\nhi\r\n")
    reach(clients[0], b"t.a", overlapping)
    for client in clients:
        for name in range(3):
            assert client.wait_for(200, b"t.%d" % name) == numbers(200)
        wait_until(lambda: len([m for m in client.gather() if m[0] == b"t.head"]) >= 3, "headers")
        assert {m[2:] for m in client.messages if m[0] == b"t.head"} == {(b"NATS/1.0\r\nColour: red\r\n\r\n", b"hi")}
    clients[0].publish(b"t.end", b"x")  # behind what reach() has asked with
    for client in clients:
        client.wait_for(1, b"t.end")
    before = [len(client.gather()) for client in clients]
    clients[0].publish(b"t.a", b"x")
    for client in clients + [overlapping]:
        client.wait_for(1, b"t.a")
    assert overlapping.wait_for(3, b"t.a") == [b"x"] * 3  # once for each of its subscriptions, as from any server
    assert [len(client.gather()) - n for client, n in zip(clients, before)] == [1, 1, 1]
    for hub in hubs:
        assert hub.cluster()["looped"] == hub.cluster()["unconfirmed"] == 0


def test_one_of_a_group(tenon, server, join):
    """A queue group with members at two hubs and at the cluster: one of all gets each message."""
    cluster = server()
    hubs = [join(cluster.port) for _ in range(2)]
    members = [Client(tenon, port, b"SUB work.* q 1\r\n") for port in (hubs[0].port, hubs[0].port, hubs[1].port,
                                                                      cluster.port)]
    everything = Client(tenon, hubs[1].port, b"SUB work.> 1\r\n")
    publisher = Client(tenon, hubs[0].port)
    reach(publisher, b"work.probe", *members, everything)
    publisher.publish(b"work.a", *numbers(400))
    assert everything.wait_for(400, b"work.a") == numbers(400)
    wait_until(lambda: sum(len(m.payloads(b"work.a")) for m in members) >= 400, "all are taken")
    for member in members:
        member.take_apart(member.to_pong())
        got = [int(text) for text in member.payloads(b"work.a")]
        assert got and got == sorted(got)
    assert sorted(sum((m.payloads(b"work.a") for m in members), [])) == sorted(numbers(400))


def test_a_new_member_is_known_before_the_next_message(tenon, server, join):
    """Who has subscribed, and been answered, gets what is published behind that, though the cluster chooses."""
    hub = join(server().port)
    publisher = Client(tenon, hub.port)
    for number in range(20):
        member = Client(tenon, hub.port, b"SUB g%d q 1\r\n" % number)
        publisher.publish(b"g%d" % number, b"first")
        assert member.wait_for(1) == [b"first"]


def test_groups_here_first(tenon, server, join):
    """--join-groups here: a member here has it at once, without the cluster; one elsewhere too."""
    cluster = server()
    hub = join(cluster.port, "--join-groups", "here", "--drain", "0.1")
    here = Client(tenon, hub.port, b"SUB w q 1\r\n")
    there = Client(tenon, cluster.port, b"SUB w q 1\r\n")
    publisher = Client(tenon, hub.port)
    publisher.publish(b"w", *numbers(50))
    assert here.wait_for(50) == there.wait_for(50) == numbers(50)
    cluster.kill()
    hub.wait_for_event("parted")
    publisher.publish(b"w", b"alone")
    assert here.wait_for(51)[-1] == b"alone"


def test_requests(tenon, server, join):
    """Requests and replies pass the cluster; who is answered here is not told that nobody is there."""
    cluster = server()
    hubs = [join(cluster.port, doors=("nats://127.0.0.1:0", "tcp://127.0.0.1:0?frame=line")) for _ in range(2)]
    service = Client(tenon, hubs[1].port, b"SUB far q 1\r\n")
    here = Client(tenon, hubs[0].port, b"SUB near 1\r\n")
    asker = Client(tenon, hubs[0].port, b"SUB inbox.* 1\r\n")
    reach(asker, b"far", service)
    asker.publish(b"far", b"question", reply=b"inbox.1")
    assert service.wait_for(1, b"far") == [b"question"]
    service.publish(service.messages[-1][1], b"answer")
    assert asker.wait_for(1, b"inbox.1") == [b"answer"]
    asker.publish(b"nobody", b"?", reply=b"inbox.2")
    wait_until(lambda: any(m[:3] == (b"inbox.2", b"", b"NATS/1.0 503\r\n\r\n") for m in asker.gather()), "503")
    asker.publish(b"near", b"?", reply=b"inbox.3")
    asker.publish(b"nobody", b"?", reply=b"inbox.4")
    here.wait_for(1)
    wait_until(lambda: any(m[0] == b"inbox.4" for m in asker.gather()), "the next one's 503")
    assert not [m for m in asker.messages if m[0] == b"inbox.3"]
    with tenon.dial(hubs[0].urls[1].partition("?")[0]) as sock, sock.makefile("rw") as lines:
        lines.write('{"req":"nobody","id":7}\n{"req":"far","id":8}\n')
        lines.flush()
        assert json.loads(lines.readline()) == {"res": 7, "error": "no responders"}
        service.wait_for(2, b"far")
        service.publish(service.messages[-1][1], b"1")
        assert json.loads(lines.readline()) == {"res": 8, "data": 1}


def test_waits_for_the_cluster(tenon, server, join):
    """Nobody is there at first: it waits; and again when the server has been killed. Publishing here goes on."""
    port = free_port()
    hub = join(port, "--drain", "0.1", wait=False)
    hub.wait_for_event("unreachable")
    here = Client(tenon, hub.port, b"SUB a 1\r\n")
    publisher = Client(tenon, hub.port)
    publisher.publish(b"a", *numbers(100))
    assert here.wait_for(100) == numbers(100)
    assert hub.cluster()["queue_messages"] == 100 and not hub.cluster()["connected"]
    cluster = server(port=port)
    hub.wait_for_event("joined")
    wait_until(lambda: hub.cluster()["sent"] == 100 and hub.cluster()["under_way"] == 0, "all goes up")
    cluster.kill()
    hub.wait_for_event("parted", unconfirmed=0)
    publisher.publish(b"a", *numbers(100, 100))
    assert here.wait_for(200) == numbers(200)
    assert hub.cluster()["queue_messages"] == 100


def test_what_waits_is_bounded(tenon, join):
    """What does not fit is dropped, counted and told."""
    hub = join(free_port(), "--join-queue", "64KiB", "--drain", "0.1", wait=False)
    publisher = Client(tenon, hub.port)
    publisher.publish(b"a", *[b"x" * 1000] * 200)
    publisher.to_pong()
    told = hub.cluster()
    assert told["dropped"] + told["queue_messages"] == 200 and told["queue_bytes"] <= 64 << 10
    assert 40 < told["queue_messages"] < 70
    hub.wait_for_event("overflow", dropped=1)
    assert hub.admin.values()["tenon_hub_join_dropped_total"] == told["dropped"]
    hub.stop()
    assert hub.wait_for_event("overflow", dropped=told["queue_messages"])["why"].startswith("no time")


def test_stays_local(tenon, server, join):
    """--local: neither published there nor taken from there."""
    cluster = server()
    hub = join(cluster.port, "--local", "home.>")
    there = Client(tenon, cluster.port, b"SUB > 1\r\n")
    here = Client(tenon, hub.port, b"SUB > 1\r\nSUB home.q q 2\r\n")
    publisher = Client(tenon, hub.port)
    publisher.publish(b"home.q", b"1")  # of the group too: at once
    wait_until(lambda: len(here.payloads(b"home.q")) == 2, "both have it")
    reach(publisher, b"abroad", there)
    reach(there, b"abroad.2", here)
    there.publish(b"home.q", b"2")
    there.publish(b"abroad.3", b"3")
    here.wait_for(1, b"abroad.3")
    assert here.payloads(b"home.q") == [b"1", b"1"]
    assert there.payloads(b"home.q") == [b"2"]


def test_names_bring_no_lines(tenon, server, join):
    """What objects call their groups and topics is written into lines of the cluster: it makes none of its own."""
    cluster = server()
    hub = join(cluster.port, doors=("nats://127.0.0.1:0", "tcp://127.0.0.1:0?frame=line", "http://127.0.0.1:0"))
    there = Client(tenon, cluster.port, b"SUB > 1\r\n")
    lines = Lines(hub.urls[1], tenon)
    forged = "q 77\r\nPUB forged 3\r\nbad\r\nSUB x"
    lines.say({"sub": "a", "group": forged}, {"sub": "b", "group": 7}, {"sub": "c", "group": "q " * 9},
              {"sub": "d", "group": "x" * 4097}, {"ping": 1})
    assert ["group: is no name" in lines.hear().get("error", "") for _ in range(4)] == [True] * 4
    assert lines.hear() == {"pong": 1}
    text = curl(tenon, f"{hub.urls[2]}/?sub=a&group=q%2077%0D%0APUB%20forged%203%0D%0Abad%0D%0ASUB%20x")
    assert "?sub=PATTERN" in json.loads(text)["error"]
    # a zero byte is a letter like others there and here: behind it a topic does not end
    publisher = Client(tenon, hub.port)
    reach(publisher, b"probe", there)
    publisher.publish(b"secret\0x", b"1", reply=b"r\0y")
    there.wait_for(1, b"secret\0x")
    assert [m[:2] for m in there.messages if m[0] not in (b"probe", b"forged")] == [(b"secret\0x", b"r\0y")]
    assert not there.payloads(b"forged") and hub.cluster()["connected"]


def test_sends_all_before_it_ends(tenon, server, join):
    """SIGTERM: what was published goes up first."""
    cluster = server()
    there = Client(tenon, cluster.port, b"SUB a 1\r\n")
    hub = join(cluster.port)
    publisher = Client(tenon, hub.port)
    publisher.publish(b"a", *numbers(20000))
    publisher.to_pong()
    publisher.sock.close()
    hub.stop()
    assert there.wait_for(20000) == numbers(20000)




# ---- logins ----

def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="ascii")
    path.chmod(0o644)
    return path


# A user's nkey of NATS, and what an operator has signed for it; there is no secret in it
NKEY = {
    "up": "UAWJXGSC2V5N77KQ43VR3JKD32J23F6TNWLW2KRLS426OFBPH64FTSL2",
    "us": "SUAHK5LVOV2XK5LVOV2XK5LVOV2XK5LVOV2XK5LVOV2XK5LVOV2XK5MT74",
    "ap": "ACXQNI7DFELRJZHTK3AZZGYVZUMVD3DOMZRKU556A5KH6KETQM2B2LMB",
    "ojwt": "eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.eyJqdGkiOiJURVNUIiwiaWF0IjoxNjAwMDAwMDAwLCJ"
            "pc3MiOiJPREVHMkFOTlJNWDNORkZTRjczQTRQRTVUWjdOU0ROVk1CRFhGTjJFS0RLQVNFNVpWSEYyNkczUyIsIm5hb"
            "WUiOiJPIiwic3ViIjoiT0RFRzJBTk5STVgzTkZGU0Y3M0E0UEU1VFo3TlNETlZNQkRYRk4yRUtES0FTRTVaVkhGMjZ"
            "HM1MiLCJuYXRzIjp7InR5cGUiOiJvcGVyYXRvciIsInZlcnNpb24iOjJ9fQ.O_VGtsTIV7d-SYCEbRIYQ7XKLI8jiI"
            "1lvwe6gW4uk3ZTK6C066RcxQ2Hw_JIzVBDjhANqnMG-S2K9NwWsbHHAw",
    "ajwt": "eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.eyJqdGkiOiJURVNUIiwiaWF0IjoxNjAwMDAwMDAwLCJ"
            "pc3MiOiJPREVHMkFOTlJNWDNORkZTRjczQTRQRTVUWjdOU0ROVk1CRFhGTjJFS0RLQVNFNVpWSEYyNkczUyIsIm5hb"
            "WUiOiJBIiwic3ViIjoiQUNYUU5JN0RGRUxSSlpIVEszQVpaR1lWWlVNVkQzRE9NWlJLVTU1NkE1S0g2S0VUUU0yQjJ"
            "MTUIiLCJuYXRzIjp7ImxpbWl0cyI6eyJzdWJzIjotMSwiZGF0YSI6LTEsInBheWxvYWQiOi0xLCJpbXBvcnRzIjotM"
            "SwiZXhwb3J0cyI6LTEsIndpbGRjYXJkcyI6dHJ1ZSwiY29ubiI6LTEsImxlYWYiOi0xfSwidHlwZSI6ImFjY291bnQ"
            "iLCJ2ZXJzaW9uIjoyfX0.wf78MrHcKodjLqFUOFuC7TD16aXxrHbrJ5d6B8b8K_GMhwYb6ethTHHHy2CLqoaGp4mNL"
            "L5ZIliIzJ4lVF2kDw",
    "ujwt": "eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.eyJqdGkiOiJURVNUIiwiaWF0IjoxNjAwMDAwMDAwLCJ"
            "pc3MiOiJBQ1hRTkk3REZFTFJKWkhUSzNBWlpHWVZaVU1WRDNET01aUktVNTU2QTVLSDZLRVRRTTJCMkxNQiIsIm5hb"
            "WUiOiJVIiwic3ViIjoiVUFXSlhHU0MyVjVONzdLUTQzVlIzSktEMzJKMjNGNlROV0xXMktSTFM0MjZPRkJQSDY0RlR"
            "TTDIiLCJuYXRzIjp7InN1YnMiOi0xLCJkYXRhIjotMSwicGF5bG9hZCI6LTEsInR5cGUiOiJ1c2VyIiwidmVyc2lvb"
            "iI6Mn19.oU0yRn8byng0LLuA1x59csV0GEO7xQtkC5m8yOkDNa-6D41mGpxsbsH3OTA3jn0LJUK4v4NOZGuCPjj4mI"
            "3nCA",
}

OPERATOR = """
operator: {ojwt}
resolver: MEMORY
resolver_preload: {{ {ap}: {ajwt} }}
"""


@pytest.mark.parametrize("config, login", [
    ("authorization { user: ann, password: s3cret }", "ann:s3cret\n"),
    ("authorization { token: t0ken }", "# for the cluster\nt0ken\n"),
    (f"authorization {{ users: [ {{ nkey: {NKEY['up']} }} ] }}", NKEY["us"] + "\n"),
    (OPERATOR.format(**NKEY), f"-----BEGIN NATS USER JWT-----\n{NKEY['ujwt']}\n------END NATS USER JWT------\n\n"
     f"-----BEGIN USER NKEY SEED-----\n{NKEY['us']}\n------END USER NKEY SEED------\n"),
], ids=["password", "token", "nkey", "creds"])
def test_logins(tenon, server, join, tmp_path, config, login):
    cluster = server("-c", write(tmp_path, "server.conf", config))
    hub = join(cluster.port, "--join-login", write(tmp_path, "login", login))
    assert hub.cluster()["connected"]
    wrong = join(cluster.port, "--drain", "0.1", wait=False)
    assert "uthorization" in wrong.wait_for_event("unreachable")["why"] or \
        "uthentication" in wrong.wait_for_event("unreachable")["why"]


@pytest.mark.parametrize("options, why", [
    (["--join", "tcp://127.0.0.1:1"], "nats://HOST"), (["--join", "nats://ann:x@127.0.0.1"], "--join-login"),
    (["--join", "nats://127.0.0.1?xyz=1"], "xyz"), (["--join", ""], "empty"), (["--number"], "--join nats://HOST"),
    (["--join", "nats://127.0.0.1", "--local", "a..b"], "no pattern"),
    (["--join", "nats://127.0.0.1", "--join-groups", "x"], "once nor here"),
    (["--join", "nats://127.0.0.1", "--join-login", "/nowhere"], "/nowhere: No such file"),
])
def test_what_cannot_be_joined(tenon, options, why):
    assert why in tenon.run("hub", "nats://127.0.0.1:0", *options, status=2).err


def test_a_seed_that_is_mistyped(tenon, tmp_path):
    path = write(tmp_path, "seed", NKEY["us"][:-1] + "5\n")
    assert "mistyped" in tenon.run("hub", "nats://127.0.0.1:0", "--join", "nats://127.0.0.1", "--join-login", path,
                                   status=2).err


def test_joins_over_tls(tenon, server, join, authority, tmp_path):
    """TLS begins behind INFO, as nats-server has it; who does not know that is told."""
    config = write(tmp_path, "server.conf", f"tls {{ cert_file: {authority.pem('server')}\n"
                                            f"key_file: {authority.key('server')} }}")
    cluster = server("-c", config)
    hub = tenon.hub("nats://127.0.0.1:0", options=[
        "--json", "--join", f"nats://localhost:{cluster.port}?ca={authority.pem('ca')}", "--drain", "0.1"])
    hub.untidy = True
    hub.wait_for_event("joined")
    plain = join(cluster.port, "--drain", "0.1", wait=False)
    assert "TLS" in plain.wait_for_event("unreachable")["why"]


# ---- a cluster that the test plays ----

class Played:
    """A server: each connection that a hub makes is greeted and answered."""

    def __init__(self, tenon, **info):
        self.tenon, self.listener = tenon, tenon.listen()
        self.port = self.listener.getsockname()[1]
        self.info = {**INFO, **info}

    def take(self):
        """Both connections of a hub: the one for all, and that for queue groups."""
        return [self.greet(), self.greet()]

    def greet(self):
        sock = self.tenon.accept(self.listener)
        sock.sendall(b"INFO %s\r\n" % json.dumps(self.info).encode())
        said = read_until(sock, b"PING\r\n")
        assert said.startswith(b"CONNECT {")
        sock.sendall(b"PONG\r\n")
        return sock


def read_until(sock, end):
    said = b""
    while end not in said:
        data = sock.recv(65536)
        assert data, said
        if data == b"PING\r\n" and end != data:
            sock.sendall(b"PONG\r\n")
        said += data
    return said


def message(topic, number, text, sid=1):
    head = b"NATS/1.0\r\nTenon-Number: OTHERHUB 77 %d\r\n\r\n" % number
    return b"HMSG %s %d %d %d\r\n%s%s\r\n" % (topic, sid, len(head), len(head) + len(text), head, text)


def test_gaps_are_counted(tenon, join):
    """By the numbers of another hub: what is missing is counted and told, what comes twice is left out."""
    played = Played(tenon)
    hub = join(played.port, doors=("nats://127.0.0.1:0", "tcp://127.0.0.1:0?frame=line"), wait=False)
    plain, _ = played.take()
    hub.wait_for_event("joined")
    with tenon.dial(hub.urls[1].partition("?")[0]) as sock, sock.makefile("rw") as lines:
        lines.write('{"sub":"a"}\n')
        lines.flush()
        assert read_until(plain, b"SUB a 1\r\n")
        plain.sendall(b"".join(message(b"a", n, b"%d" % n) for n in (5, 6, 9, 9, 7, 10, 20)))
        came = [json.loads(lines.readline()) for _ in range(5)]
    assert [(m["data"], m.get("missed")) for m in came] == [(5, None), (6, None), (9, 2), (10, None), (20, 9)]
    told = hub.cluster()
    assert (told["missed"], told["gaps"], told["repeated"]) == (11, 2, 2)
    assert hub.wait_for_event("gap")["missed"] == 2
    assert hub.admin.values()["tenon_hub_join_missed_total"] == 11


def test_a_server_that_wants_to_end(tenon, server, join):
    """It is left when it has confirmed what it was sent, for another one of which it has told."""
    other = server()
    played = Played(tenon, connect_urls=[f"127.0.0.1:{other.port}"])
    hub = join(played.port, wait=False)
    plain, _ = played.take()
    hub.wait_for_event("joined")
    plain.sendall(b"INFO %s\r\n" % json.dumps({**played.info, "ldm": True}).encode())
    read_until(plain, b"PING\r\n")
    plain.sendall(b"PONG\r\n")
    assert hub.wait_for_event("parted")["why"] == "it wants to end"
    hub.wait_for_event("joined", cluster=f"nats://127.0.0.1:{other.port}")
    assert hub.cluster()["unconfirmed"] == 0


def test_a_silent_server_is_left(tenon, server, join):
    """It takes all and answers nothing: it has gone, and what it has not confirmed is counted."""
    other = server()
    played = Played(tenon, connect_urls=[f"127.0.0.1:{other.port}"])
    hub = join(played.port, wait=False)
    played.take()
    hub.wait_for_event("joined")
    publisher = Client(tenon, hub.port)
    publisher.publish(b"a", *numbers(10))
    played.listener.close()
    assert hub.wait_for_event("parted")["unconfirmed"] == 10
    hub.wait_for_event("joined", cluster=f"nats://127.0.0.1:{other.port}")


def test_a_busy_server_is_there(tenon, join):
    """Its answer may stand behind seconds of messages."""
    played = Played(tenon)
    hub = join(played.port, wait=False)
    plain = tenon.accept(played.listener)
    plain.sendall(b"INFO %s\r\n" % json.dumps(played.info).encode())
    for _ in range(60):
        plain.sendall(b"MSG busy 1 2\r\nhi\r\n")
        time.sleep(0.1)
    plain.sendall(b"PONG\r\n")
    played.greet()
    hub.wait_for_event("joined")
    assert "unreachable" not in hub.out.decode()


def answer(sock):
    """Each PING that has come by now."""
    with contextlib.suppress(BlockingIOError):
        sock.sendall(b"PONG\r\n" * sock.recv(65536, socket.MSG_DONTWAIT).count(b"PING\r\n"))


def test_each_connection_confirms_its_own(tenon, join):
    """What was published is confirmed by an answer to what was asked behind it, and not on the other connection."""
    played = Played(tenon)
    hub = join(played.port, wait=False)
    plain, groups = played.take()
    hub.wait_for_event("joined")
    publisher = Client(tenon, hub.port)
    publisher.publish(b"a", *numbers(10))
    wait_until(lambda: hub.cluster()["under_way"] == 10, "all are sent")
    wait_until(lambda: answer(plain) or hub.cluster()["under_way"] == 0, "they are confirmed")
    publisher.publish(b"a", *numbers(5))
    wait_until(lambda: hub.cluster()["under_way"] == 5, "these are sent too")
    member = tenon.dial(f"tcp://127.0.0.1:{hub.port}")
    member.sendall(b"CONNECT {}\r\nSUB g q 1\r\nPING\r\n")
    said = bytearray()

    def is_member():
        answer(groups)
        with contextlib.suppress(BlockingIOError):
            said.extend(member.recv(65536, socket.MSG_DONTWAIT))
        return b"PONG\r\n" in said
    wait_until(is_member, "a member is answered by the other connection")
    assert hub.cluster()["under_way"] == 5
    plain.close()
    assert hub.wait_for_event("parted")["unconfirmed"] == 5


def test_a_hub_does_not_join_itself(tenon, join):
    port = free_port()
    hub = join(port, "--drain", "0.1", doors=(f"nats://127.0.0.1:{port}",), wait=False)
    assert hub.wait_for_event("unreachable")["why"] == "it is this hub itself"


def test_a_request_that_waits_is_not_forgotten(tenon, join):
    """Who is answered here is not told that nobody is there, though the cluster has come late."""
    played = Played(tenon)
    hub = join(played.port, wait=False)
    tenon.accept(played.listener).close()
    hub.wait_for_event("unreachable")
    service = Client(tenon, hub.port, b"SUB near 1\r\n")
    asker = Client(tenon, hub.port, b"SUB inbox.* 1\r\n")
    asker.publish(b"near", b"?", reply=b"inbox.1")
    assert service.wait_for(1) == [b"?"]
    tenon.accept(played.listener).close()
    plain, _ = played.take()
    read_until(plain, b"PUB near inbox.1 1\r\n?\r\n")
    plain.sendall(b"HMSG inbox.1 2 16 16\r\nNATS/1.0 503\r\n\r\n\r\nMSG inbox.1 2 6\r\nanswer\r\n")
    assert asker.wait_for(1, b"inbox.1") == [b"answer"]


def test_a_server_that_wants_to_end_confirms_all(tenon, join):
    """An answer to what it was asked before confirms what it was sent by then, and no more."""
    played = Played(tenon)
    hub = join(played.port, wait=False)
    plain, _ = played.take()
    hub.wait_for_event("joined")
    publisher = Client(tenon, hub.port)
    for _ in range(50):
        publisher.publish(b"a", b"asked behind this")
        read_until(plain, b"PING\r\n")
        publisher.publish(b"a", b"and not behind this")
        publisher.to_pong()
        if hub.cluster()["under_way"] == 2:
            break
        plain.sendall(b"PONG\r\n")  # too late: it waits for the answer
        wait_until(lambda: answer(plain) or
                   not any(hub.cluster()[name] for name in ("under_way", "queue_messages")), "both are confirmed")
    plain.sendall(b"INFO %s\r\nPONG\r\n" % json.dumps({**played.info, "ldm": True}).encode())
    read_until(plain, b"PING\r\n")
    plain.close()
    assert hub.wait_for_event("parted")["unconfirmed"] > 0
