"""tenon relay --chaos-api: the HTTP API of Toxiproxy, by its npm client and by requests as they stand."""
import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import threading
import time
import urllib.request

import pytest

from harness import (KIB, LIMIT, MIB, SANITIZED, descriptors_of, exchange, free_port, noise, receive_exactly,
                     receive_to_end, receive_to_reset, resident_bytes, wait_until)

USAGE = 2
PEERS = pathlib.Path(__file__).parent / "peers"
MODULES = pathlib.Path(os.environ.get("TENON_NPM", "~/.cache/tenon/npm")).expanduser() / "node_modules"


class Api:
    """A client that knows nothing but HTTP."""

    def __init__(self, relay):
        self.relay = relay
        self.port = int(relay.wait_for_text(r"chaos-api: http://127\.0\.0\.1:(\d+)")[1])

    def ask(self, method, path, body=None, **fields):
        """Status and body of the answer."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)) as client:
            client.request(method, path, body if body is None or isinstance(body, bytes) else json.dumps(body), fields)
            answer = client.getresponse()
            text = answer.read()
            told = answer.getheader("Content-Type", "").startswith("application/json")
            assert told or not text or answer.status in (403, 421)  # the latter are the library's
            return answer.status, json.loads(text) if told and text else text

    def fine(self, method, path, body=None):
        status, answer = self.ask(method, path, body)
        assert status in (200, 201, 204), (method, path, body, answer)
        return answer

    def proxy(self, upstream, name="p", **members):
        made = self.fine("POST", "/proxies", {"name": name, "listen": "127.0.0.1:0", "upstream": upstream, **members})
        return f"tcp://{made['listen']}"

    def toxic(self, kind, stream="downstream", proxy="p", toxicity=1, name="", **attributes):
        return self.fine("POST", f"/proxies/{proxy}/toxics",
                         {"type": kind, "stream": stream, "toxicity": toxicity, "name": name,
                          "attributes": attributes})

    def clear(self):
        for name in self.fine("GET", "/proxies"):
            assert self.ask("DELETE", f"/proxies/{name}")[0] == 204


@pytest.fixture
def begin(tenon):
    """Starts a relay; in the end nothing that was made in it may be left."""
    made = []

    def start(*urls, options=(), listeners=0):
        relay = tenon.relay(*urls, listeners=listeners,
                            options=["--json", "--chaos-api", "http://127.0.0.1:0", *options])
        made.append(Api(relay))
        relay.at_rest = descriptors_of(relay.pid)
        return made[-1]
    yield start
    for api in made:
        if not api.relay.is_over():
            api.clear()


@pytest.fixture
def api(begin):
    return begin()


@pytest.fixture
def echo(tenon):
    return tenon.serve("tcp://127.0.0.1:0", options=["--handler", "echo", "--json"]).url.removeprefix("tcp://")


def hears(client, word=b"hello"):
    client.sendall(word)
    return receive_exactly(client, len(word)) == word


def is_quiet(client, seconds=0.2):
    client.settimeout(seconds)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(LIMIT)
    return False


def refuses(url):
    host, port = url.removeprefix("tcp://").split(":")
    try:
        socket.create_connection((host, int(port)), LIMIT).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("threads", ["1", "3"])
def test_the_client_of_npm_and_threads(tenon, begin, echo, program, threads):
    if not (MODULES / "toxiproxy-node-client").is_dir():
        pytest.skip("toxiproxy-node-client is not installed")
    api = begin(options=["--threads", threads])
    assert tenon.finish([program("node"), PEERS / "toxiproxy.js", f"http://127.0.0.1:{api.port}", echo],
                        env={"NODE_PATH": str(MODULES)}).out == b"done\n"


# ---- toxics ----

def test_toxics_act_on_sessions_that_run(tenon, api, echo):
    client = tenon.dial(api.proxy(echo))
    assert hears(client)
    api.toxic("latency", latency=150)
    began = time.monotonic()
    assert hears(client)
    assert time.monotonic() - began >= 0.15
    api.fine("DELETE", "/proxies/p/toxics/latency_downstream")
    assert hears(client)


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
@pytest.mark.parametrize("kind, attributes", [("bandwidth", {"rate": 0}), ("latency", {"latency": 3600000}),
                                              ("bandwidth", {"rate": 1})])
def test_what_is_held_goes_on_when_the_toxic_is_removed(tenon, api, echo, stream, kind, attributes):
    client = tenon.dial(api.proxy(echo))
    assert hears(client)
    api.toxic(kind, stream, **attributes)
    data = noise(300 * KIB)
    sender = threading.Thread(target=client.sendall, args=(data,))
    sender.start()
    assert attributes.get("rate") == 1 or is_quiet(client)
    api.toxic("latency", stream, name="behind", latency=1)  # the order stays, wherever something waits
    api.fine("DELETE", f"/proxies/p/toxics/{kind}_{stream}")
    got = receive_exactly(client, len(data))
    sender.join()
    assert got == data


def test_bandwidth(tenon, api, echo):
    client = tenon.dial(api.proxy(echo))
    api.toxic("bandwidth", rate=100)
    began = time.monotonic()
    assert exchange(client, noise(30000)) == noise(30000)
    assert time.monotonic() - began >= 0.29


def test_slices(tenon, api, echo):
    api.proxy(echo)
    api.toxic("slicer", average_size=10, size_variation=5, delay=100)
    data = noise(5 * KIB)
    assert exchange(tenon.dial(f"tcp://{api.fine('GET', '/proxies/p')['listen']}"), data, finish=True) == data


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
def test_limit_data_counts_on_over_changes(tenon, api, echo, stream):
    client = tenon.dial(api.proxy(echo))
    api.toxic("limit_data", stream, bytes=10)
    assert hears(client)
    api.toxic("latency", stream, latency=1)  # others come and go
    api.fine("POST", f"/proxies/p/toxics/limit_data_{stream}", {"attributes": {"bytes": 12}})
    client.sendall(b"0123456789")
    assert receive_to_end(client) in ((b"01234567"[:7],) if stream == "downstream" else (b"", b"0123456"))


def test_limit_data_of_nothing(tenon, api, echo):
    url = api.proxy(echo)
    api.toxic("limit_data", bytes=0)
    client = tenon.dial(url)
    client.sendall(b"x")
    assert receive_to_end(client) == b""


def test_timeout_closes(tenon, api, echo):
    url = api.proxy(echo)
    client = tenon.dial(url)
    assert hears(client)
    api.toxic("timeout", timeout=100)
    client.sendall(b"lost")
    assert receive_to_end(client) == b""


def test_a_timeout_of_nothing_closes_when_it_is_removed(tenon, api, echo):
    """What it has dropped would be missing."""
    client = tenon.dial(api.proxy(echo))
    assert hears(client)
    api.toxic("timeout", timeout=0)
    client.sendall(b"lost")
    assert is_quiet(client)
    api.fine("DELETE", "/proxies/p/toxics/timeout_downstream")
    assert receive_to_end(client) == b""


def test_an_end_passes_a_timeout(tenon, api, echo):
    client = tenon.dial(api.proxy(echo))
    assert hears(client)
    api.toxic("timeout", timeout=0)
    client.shutdown(socket.SHUT_WR)
    assert receive_to_end(client) == b""


def test_reset_peer(tenon, api, echo):
    """When something has been said: a connection that nobody uses stays."""
    client = tenon.dial(api.proxy(echo))
    assert hears(client)
    api.toxic("reset_peer", timeout=0)
    assert is_quiet(client)
    client.sendall(b"x")
    assert receive_to_reset(client) == b""


def test_slow_close(tenon, api, echo):
    client = tenon.dial(api.proxy(echo))
    api.toxic("slow_close", delay=3600000)
    assert hears(client)
    client.shutdown(socket.SHUT_WR)
    assert is_quiet(client)
    api.fine("DELETE", "/proxies/p/toxics/slow_close_downstream")
    assert receive_to_end(client) == b""


def test_toxicity(tenon, api, echo):
    url = api.proxy(echo)
    api.toxic("limit_data", toxicity=0.5, bytes=0)

    def is_cut():
        with contextlib.closing(tenon.dial(url)) as client:
            client.sendall(b"x")
            return client.recv(1) == b""
    cut = sum(is_cut() for _ in range(60))
    assert 8 < cut < 52
    assert api.fine("POST", "/proxies/p/toxics/limit_data_downstream", {"toxicity": 0})["toxicity"] == 0
    assert not any(is_cut() for _ in range(10))


def test_many_toxics_at_once(tenon, api, echo):
    url = api.proxy(echo)
    client, data = tenon.dial(url), noise(200 * KIB)
    for stream in ("upstream", "downstream"):
        api.toxic("latency", stream, latency=5, jitter=5)
        api.toxic("slicer", stream, average_size=2000, size_variation=1000)
        api.toxic("bandwidth", stream, rate=5000)
        api.toxic("slow_close", stream, delay=5)
        for number in range(6):
            api.toxic("latency", stream, name=f"{stream}{number}", latency=1)
    streams = [toxic["stream"] for toxic in api.fine("GET", "/proxies/p/toxics")]
    assert streams == 10 * ["upstream"] + 10 * ["downstream"]
    assert exchange(client, data) == data
    for number in range(12):
        api.toxic("latency", name=f"more{number}", latency=0)
    status, answer = api.ask("POST", "/proxies/p/toxics", {"type": "latency", "name": "one too many"})
    assert (status, answer["status"]) == (400, 400) and "32" in answer["error"]


# ---- proxies ----

def test_off_and_on_again(tenon, api, echo):
    url = api.proxy(echo)
    client = tenon.dial(url)
    assert hears(client)
    answer = api.fine("POST", "/proxies/p", {"enabled": False})
    assert not answer["enabled"] and f"tcp://{answer['listen']}" == url
    assert receive_to_end(client) == b"" and refuses(url)
    assert api.fine("PATCH", "/proxies/p", {"enabled": True})["enabled"]
    assert hears(tenon.dial(url))
    assert api.relay.wait_for_event("session")["ended_by"] == "relay"


def test_another_place(tenon, api, echo):
    url = api.proxy(echo)
    client, other = tenon.dial(url), tenon.listen()
    assert hears(client)
    upstream = "127.0.0.1:%d" % other.getsockname()[1]
    assert api.fine("POST", "/proxies/p", {"upstream": upstream})["upstream"] == upstream
    assert receive_to_end(client) == b""
    client = tenon.dial(url)
    tenon.accept(other).sendall(b"the other")
    assert receive_exactly(client, 9) == b"the other"
    there = "127.0.0.1:%d" % free_port()
    assert api.fine("POST", "/proxies/p", {"listen": there})["listen"] == there
    assert refuses(url) and not refuses(f"tcp://{there}")


def test_one_that_is_off_at_first(tenon, api, echo):
    url = api.proxy(echo, enabled=False, listen=f"127.0.0.1:{free_port()}")
    api.toxic("limit_data", bytes=3)
    assert refuses(url)
    api.fine("POST", "/proxies/p", {"enabled": True})
    client = tenon.dial(url)
    client.sendall(b"hello")
    assert receive_to_end(client) == b"hel"


@pytest.mark.parametrize("listen", ["", ":0", "[::]:0", "localhost:0", "[::1]:0", "127.0.0.1:0"])
def test_where_one_listens(tenon, api, echo, listen):
    told = api.fine("POST", "/proxies", {"name": "p", "listen": listen, "upstream": echo})["listen"]
    port = told.rsplit(":", 1)[1]
    host = "[::1]" if listen == "[::1]:0" else "127.0.0.1"
    assert int(port) and hears(tenon.dial(f"tcp://{host}:{port}"))


def test_a_port_that_is_taken(tenon, api, echo):
    url = api.proxy(echo)
    place = url.removeprefix("tcp://")
    wanted = {"name": "q", "listen": place, "upstream": echo}
    assert api.ask("POST", "/proxies", wanted) == (
        500, {"error": f"listen tcp {place}: bind: address already in use", "status": 500})
    assert list(api.fine("GET", "/proxies")) == ["p"]
    status, answer = api.ask("POST", "/populate", [dict(wanted, name="r", listen="127.0.0.1:0"), wanted])
    assert (status, answer["status"], [p["name"] for p in answer["proxies"]]) == (500, 500, ["r"])
    api.fine("DELETE", "/proxies/p")
    assert f"tcp://{api.fine('POST', '/proxies', wanted)['listen']}" == url


def test_what_comes_behind_a_port_that_is_taken(tenon, api, echo):
    """It is not made, so that it can be made later."""
    place = api.proxy(echo).removeprefix("tcp://")
    wanted = [{"name": name, "listen": listen, "upstream": echo}
              for name, listen in (("q", place), ("r", "127.0.0.1:0"))]
    status, answer = api.ask("POST", "/populate", wanted)
    assert (status, answer["proxies"]) == (500, [])
    assert list(api.fine("GET", "/proxies")) == ["p"]
    assert api.ask("GET", "/proxies/x")[0] == 404
    assert api.fine("POST", "/proxies", wanted[1])["enabled"]


def test_reset_with_a_port_that_is_taken(tenon, api, echo):
    """The toxics of all others are gone, as is told."""
    place = api.proxy(echo, name="taken").removeprefix("tcp://")
    api.proxy(echo, name="off", listen=place, enabled=False)
    client = tenon.dial(api.proxy(echo))
    assert hears(client)
    api.toxic("latency", latency=3600000)
    client.sendall(b"held")
    status, answer = api.ask("POST", "/reset")
    assert status == 500 and "address already in use" in answer["error"]
    assert not any(p["toxics"] for p in api.fine("GET", "/proxies").values())
    assert receive_exactly(client, 4) == b"held"


def test_populate_twice(tenon, api, echo):
    wanted = [{"name": f"p{n}", "listen": "127.0.0.1:0", "upstream": echo, "enabled": n != 2} for n in range(4)]
    first = api.fine("POST", "/populate", wanted)["proxies"]
    assert [p["enabled"] for p in first] == [True, True, False, True]
    client = tenon.dial(f"tcp://{first[0]['listen']}")
    assert hears(client)
    api.toxic("latency", proxy="p0", latency=1)
    api.toxic("latency", proxy="p1", latency=1)
    wanted[1]["upstream"] = "127.0.0.1:1"
    again = api.fine("POST", "/populate", wanted)["proxies"]
    assert [p["listen"] for p in again if p["name"] != "p1"] == [p["listen"] for p in first if p["name"] != "p1"]
    assert [len(p["toxics"]) for p in again] == [1, 0, 0, 0]
    assert hears(client)  # what has not changed is not touched


def test_reset(tenon, api, echo):
    url = api.proxy(echo)
    api.proxy(echo, name="off", enabled=False)
    client = tenon.dial(url)
    assert hears(client)
    api.toxic("latency", latency=3600000)
    client.sendall(b"held")
    assert api.ask("POST", "/reset") == (204, b"")
    assert receive_exactly(client, 4) == b"held"
    assert all(p["enabled"] and not p["toxics"] for p in api.fine("GET", "/proxies").values())


def test_deleted_with_many_sessions(tenon, api, echo):
    url = api.proxy(echo)
    clients = [tenon.dial(url) for _ in range(50)]
    assert all(hears(client) for client in clients)
    api.toxic("latency", latency=3600000)
    for client in clients:
        client.sendall(b"held")
    assert api.ask("DELETE", "/proxies/p") == (204, b"")
    assert all(receive_to_end(client) == b"" for client in clients)
    assert refuses(url)
    wait_until(lambda: sum(event["event"] == "session" for event in api.relay.events) == 50, "all have ended")


def test_deleted_before_its_target_is_reached(tenon, api):
    """The target's queue is full: it does not answer at all."""
    target = tenon.listen(backlog=0)
    place = "127.0.0.1:%d" % target.getsockname()[1]
    tenon.dial(f"tcp://{place}")
    client = tenon.dial(api.proxy(place))
    wait_until(lambda: len(descriptors_of(api.relay.pid)) == len(api.relay.at_rest) + 3, "listener, client and target")
    assert api.ask("DELETE", "/proxies/p") == (204, b"")
    assert receive_to_end(client) == b""
    assert api.relay.wait_for_event("session", ended_by="relay")["target"] is None


def test_to_itself(tenon, api):
    """It is not a loop without end."""
    place = f"127.0.0.1:{free_port()}"
    url = api.proxy(place, listen=place)
    with contextlib.suppress(ConnectionResetError):
        assert receive_to_reset(tenon.dial(url)) == b""
    assert "this relay itself" in api.relay.wait_for_event("session")["error"]


def test_one_behind_another(tenon, api, echo):
    first = api.proxy(echo, name="first")
    assert hears(tenon.dial(api.proxy(first.removeprefix("tcp://"), name="second")))


def test_nobody_is_there(tenon, api):
    url = api.proxy(f"127.0.0.1:{free_port()}")
    with contextlib.suppress(ConnectionResetError):
        assert receive_to_reset(tenon.dial(url)) == b""
    assert api.relay.wait_for_event("session")["target"] is None


# ---- requests ----

@pytest.mark.parametrize("method, path, body, status, error", [
    ("GET", "/proxies/x", None, 404, "proxy not found"),
    ("POST", "/proxies/x", {}, 404, "proxy not found"),
    ("DELETE", "/proxies/x", None, 404, "proxy not found"),
    ("GET", "/proxies/x/toxics", None, 404, "proxy not found"),
    ("GET", "/proxies/p/toxics/x", None, 404, "toxic not found"),
    ("PATCH", "/proxies/p/toxics/x", {}, 404, "toxic not found"),
    ("DELETE", "/proxies/p/toxics/x", None, 404, "toxic not found"),
    ("GET", "/nothing", None, 404, "page not found"),
    ("GET", "/proxies/p/toxics/x/y", None, 404, "page not found"),
    ("GET", "/proxies//toxics", None, 404, "page not found"),
    ("GET", "/proxies/%00", None, 404, "page not found"),
    ("GET", "/proxies/%2", None, 404, "page not found"),
    ("DELETE", "/proxies", None, 405, "method not allowed"),
    ("GET", "/reset", None, 405, "method not allowed"),
    ("HEAD", "/version", None, 405, None),
    ("POST", "/proxies", None, 400, "bad request body: EOF"),
    ("POST", "/proxies", b'{"name"', 400, "bad request body: json: line 1, byte 8: the text ends early"),
    ("POST", "/proxies", b"\xff", 400, None),
    ("POST", "/proxies", [], 400, "bad request body: it is no object"),
    ("POST", "/proxies", {}, 400, "missing required field: name"),
    ("POST", "/proxies", {"name": "n"}, 400, "missing required field: upstream"),
    ("POST", "/proxies", {"name": 1}, 400, "bad request body: name is no string"),
    ("POST", "/proxies", {"name": "a\0b"}, 400, "bad request body: name holds a zero byte"),
    ("POST", "/proxies", {"name": "n", "upstream": "h:1", "enabled": "yes"}, 400,
     "bad request body: enabled is no boolean"),
    ("POST", "/proxies", {"name": "n", "upstream": "h"}, 400, "bad request body: upstream: 'h' is no HOST:PORT"),
    ("POST", "/proxies", {"name": "n", "upstream": "h:0"}, 400, "bad request body: upstream: 'h:0' has no port"),
    ("POST", "/proxies", {"name": "n", "upstream": "h:1?bind=x"}, 400,
     "bad request body: upstream: 'h:1?bind=x' is no HOST:PORT"),
    ("POST", "/proxies", {"name": "n", "upstream": "h:1", "listen": "unix:/tmp/x"}, 400,
     "bad request body: listen: 'unix:/tmp/x' is no HOST:PORT"),
    ("POST", "/proxies", {"name": "n", "upstream": "h:1", "listen": "h:65536"}, 400,
     "bad request body: listen: 'h:65536' is no HOST:PORT"),
    ("POST", "/proxies", {"name": "p", "upstream": "h:1"}, 409, "proxy already exists"),
    ("POST", "/proxies/p", {"listen": 5}, 400, "bad request body: listen is no string"),
    ("POST", "/populate", {}, 400, "bad request body: it is no array"),
    ("POST", "/populate", [1], 400, "bad request body: proxy 1 is no object"),
    ("POST", "/populate", [{"name": "n", "upstream": "h:1"}, {"name": "m"}], 400,
     "missing required field: upstream at proxy 2"),
    ("POST", "/populate", 2 * [{"name": "n", "upstream": "h:1"}], 400,
     "bad request body: duplicate proxy name 'n'"),
    ("POST", "/proxies/p/toxics", {"type": "nonsense"}, 400, "invalid toxic type"),
    ("POST", "/proxies/p/toxics", {}, 400, "invalid toxic type"),
    ("POST", "/proxies/p/toxics", {"type": "latency", "stream": "sideways"}, 400,
     "stream was invalid, can be either upstream or downstream"),
    ("POST", "/proxies/p/toxics", {"type": "latency", "toxicity": "much"}, 400,
     "bad request body: toxicity is no number"),
    ("POST", "/proxies/p/toxics", {"type": "latency", "attributes": [1]}, 400,
     "bad request body: attributes is no object"),
    ("POST", "/proxies/p/toxics", {"type": "latency", "attributes": {"latency": "1s"}}, 400,
     "bad request body: latency is no integer"),
    ("POST", "/proxies/p/toxics", {"type": "latency", "attributes": {"jitter": 1.5}}, 400,
     "bad request body: jitter is no integer"),
    ("POST", "/proxies/p/toxics", {"type": "latency", "attributes": {"latency": -1}}, 400,
     "bad request body: latency is out of range"),
    ("POST", "/proxies/p/toxics", {"type": "latency", "attributes": {"latency": 1 << 63}}, 400,
     "bad request body: latency is out of range"),
    ("POST", "/proxies/p/toxics/t", {"attributes": {"rate": None}, "toxicity": []}, 400,
     "bad request body: toxicity is no number"),
    ("POST", "/proxies/p/toxics", {"type": "latency", "name": "t"}, 409, "toxic already exists"),
])
def test_errors(engine, begin, method, path, body, status, error):
    if engine == "epoll":
        pytest.skip("the engine has no part in it")
    api = begin()
    api.proxy("127.0.0.1:1")
    api.toxic("bandwidth", name="t", rate=5)
    before = api.fine("GET", "/proxies")
    came, answer = api.ask(method, path, body)
    assert came == status
    if method != "HEAD":
        assert answer["status"] == status and (error is None or answer["error"] == error)
    assert api.fine("GET", "/proxies") == before


def test_places(begin):
    """HOST:PORT in all its forms, and what only looks like it. Nobody dials a proxy that is off."""
    api = begin()
    for number, place in enumerate(("h:1", "h:65535", "a-b._c:1", "[::1]:1", "[fe80::1%lo0]:1", ":1",
                                    "x" * 298 + ":1")):
        made = api.fine("POST", "/proxies",
                        {"name": f"p{number}", "listen": place, "upstream": place, "enabled": False})
        assert (made["listen"], made["upstream"]) == (place, place)
    for place in ("h", "h:", ":", "h:65536", "h:100000", "h:1x", "h:+1", "h:-1", "h/x:1", "a b:1", "[]:1", "[::1:1",
                  "[::1]x:1", "[::1]", "[/]:1", "x" * 299 + ":1"):
        for listen, upstream in ((place, "h:1"), ("h:1", place)):
            status, answer = api.ask("POST", "/proxies", {"name": "q", "listen": listen, "upstream": upstream})
            assert status == 400 and answer["error"].endswith("is no HOST:PORT"), place
    assert len(api.fine("GET", "/proxies")) == 7


def test_what_others_send_along(tenon, api, echo):
    """Members that nobody knows, null, keys in another order, other fields of the head; names with escapes."""
    status, made = api.ask("POST", "/proxies", {"x": [{}], "enabled": None, "upstream": echo, "name": "a b/\u00e4",
                                                "listen": "localhost:0"},
                           **{"User-Agent": "toxiproxy-cli/v2 (linux)", "Content-Type": "application/json"})
    assert status == 201 and made["enabled"]
    path = "/proxies/a%20b%2f%C3%A4"
    assert api.fine("GET", path)["name"] == "a b/\u00e4"
    assert api.fine("POST", f"{path}/toxics", {"type": "latency", "stream": None, "toxicity": 7,
                                               "attributes": {"latency": 5, "y": 1}})["toxicity"] == 7
    assert api.ask("DELETE", f"{path}/toxics/latency_downstream?x=1")[0] == 204
    assert api.ask("DELETE", path)[0] == 204


def test_browsers_and_names_are_kept_out(api):
    assert api.ask("GET", "/proxies", Host="evil.example")[0] == 421
    assert api.ask("POST", "/reset", Origin="http://evil.example")[0] == 403


def test_a_body_that_is_too_large(api):
    with socket.create_connection(("127.0.0.1", api.port), LIMIT) as sock:
        sock.sendall(b"POST /populate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n")
        assert receive_to_end(sock).startswith(b"HTTP/1.1 413 ")


def test_requests_one_behind_the_other(tenon, api, echo):
    """Answered in their order, though some have to wait."""
    def request(method, path, body=b""):
        return (f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body
    proxy = json.dumps({"name": "p", "upstream": echo}).encode()
    with socket.create_connection(("127.0.0.1", api.port), LIMIT) as sock:
        sock.sendall(request("POST", "/proxies", proxy) + request("GET", "/proxies/p") +
                     request("DELETE", "/proxies/p") + request("GET", "/proxies/p"))
        sock.shutdown(socket.SHUT_WR)
        answers = receive_to_end(sock)
    statuses = [line.split()[1] for line in answers.split(b"\r\n") if line.startswith(b"HTTP/1.1")]
    assert statuses == [b"201", b"200", b"204", b"404"] or [
        part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"201", b"200", b"204", b"404"]


# ---- the relay ----

@pytest.mark.skipif(SANITIZED, reason="counts bytes")
def test_memory_of_answers(api):
    for n in range(50):
        api.proxy("127.0.0.1:1", name=f"p{n}", enabled=False)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", api.port, timeout=LIMIT)) as client:
        def ask(count):
            size = 0
            for _ in range(count):
                client.request("GET", "/proxies")
                size += len(client.getresponse().read())
            return size, resident_bytes(api.relay.pid)
        before = ask(10)[1]
        size, after = ask(3000)
    assert size > 8 * MIB and after - before < 4 * MIB


def test_beside_a_listener_of_the_command_line(tenon, begin, echo):
    api = begin("tcp://127.0.0.1:0", f"tcp://{echo}", listeners=1)
    assert hears(tenon.dial(api.relay.url)) and hears(tenon.dial(api.proxy(echo)))
    assert list(api.fine("GET", "/proxies")) == ["p"]
    through = api.proxy(api.relay.url.removeprefix("tcp://"), name="through")
    assert hears(tenon.dial(through))


def test_admin_knows_the_proxies(tenon, begin, echo):
    """What each has counted stays when it is switched off and on again."""
    port = free_port()
    api = begin(options=["--admin", f"http://127.0.0.1:{port}", "--threads", "2"])

    def told(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=LIMIT) as answer:
            return answer.read().decode()

    def one():
        proxy, = json.loads(told("/status"))["proxies"]
        return proxy
    url = api.proxy(echo, 'say "p"')
    with contextlib.closing(tenon.dial(url)) as client:
        assert hears(client)
        assert (one()["sessions"], one()["accepted"], one()["bytes_in"], one()["bytes_out"]) == (1, 1, 5, 5)
        api.toxic("latency", proxy="say%20%22p%22", latency=1)
        assert one()["name"] == 'say "p"' and one()["upstream"] == echo and f"tcp://{one()['listen']}" == url
    for enabled in (False, True):
        api.fine("POST", "/proxies/say%20%22p%22", {"enabled": enabled})
        assert (one()["enabled"], one()["toxics"], one()["sessions"], one()["accepted"]) == (enabled, 1, 0, 1)
    with contextlib.closing(tenon.dial(url)) as client:
        assert hears(client)
        assert 'tenon_proxy_accepted_sessions_total{proxy="say \\"p\\""} 2\n' in told("/metrics")
        assert 'tenon_proxy_received_bytes_total{proxy="say \\"p\\""} 10\n' in told("/metrics")
    api.fine("DELETE", "/proxies/say%20%22p%22")
    assert json.loads(told("/status"))["proxies"] == [] and "tenon_proxy_up{" not in told("/metrics")


def test_it_ends_with_sessions(tenon, begin, echo):
    """What is in flight may finish."""
    api = begin(options=["--drain", "5s"])
    client = tenon.dial(api.proxy(echo))
    assert hears(client)
    api.toxic("latency", latency=300)
    client.sendall(b"late")
    api.relay.signal(signal.SIGTERM)
    assert receive_to_end(client) == b"late"
    api.relay.untidy = True
    api.relay.wait()


def test_it_ends_without_any(tenon, begin):
    begin().relay.stop()


def test_it_ends_at_once(tenon, begin, echo):
    api = begin()
    client = tenon.dial(api.proxy(echo))
    api.toxic("bandwidth", rate=0)
    client.sendall(b"held")
    api.relay.untidy = True
    api.relay.signal(signal.SIGTERM)
    api.relay.signal(signal.SIGTERM)
    api.relay.wait(status=None)


def test_only_this_machine(tenon):
    err = tenon.run("relay", "--chaos-api", f"http://*:{free_port()}", status=USAGE).err
    assert "others could reach it" in err
    assert "is not HTTP" in tenon.run("relay", "--chaos-api", "tcp://localhost:0", status=USAGE).err
    assert "nothing to listen on" in tenon.run("relay", status=USAGE).err


# ---- many at once ----

def test_clients_that_are_killed(tenon, api, echo):
    """In the midst of all that may wait for them."""
    url = api.proxy(echo)
    api.toxic("latency", latency=20, jitter=10)
    api.toxic("slicer", "upstream", average_size=500, delay=10)
    for _ in range(20):
        client = tenon.dial(url)
        client.sendall(noise(20 * KIB))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
    assert hears(tenon.dial(url))


@pytest.mark.parametrize("threads", ["1", "3"])
def test_twenty_who_change_while_threads_carry_traffic(tenon, begin, echo, threads):
    """What passes stays what it is."""
    api = begin(options=["--threads", threads])
    urls = [api.proxy(echo, name=f"p{n}") for n in range(3)]
    until, data = time.monotonic() + 1, noise(256 * KIB)

    def hammer(number):
        proxy, done = f"p{number % 3}", 0
        while time.monotonic() < until or not done:
            stream = ("upstream", "downstream")[number % 2]
            toxic = {"type": ("latency", "slicer", "bandwidth")[done % 3], "stream": stream, "name": f"t{number}",
                     "attributes": {"latency": 3, "average_size": 3000, "rate": 20000}}
            assert api.ask("POST", f"/proxies/{proxy}/toxics", toxic)[0] == 200
            assert api.ask("POST", f"/proxies/{proxy}/toxics/t{number}", {"toxicity": 0.5})[0] == 200
            assert number > 2 or api.ask("GET", "/proxies")[0] == 200
            assert api.ask("DELETE", f"/proxies/{proxy}/toxics/t{number}")[0] == 204
            done += 1
        return done

    def talk(url):
        rounds = 0
        while time.monotonic() < until or not rounds:
            with contextlib.closing(socket.create_connection(tuple(url[6:].split(":")), LIMIT)) as client:
                assert exchange(client, data, finish=True) == data
            rounds += 1
        return rounds
    with concurrent.futures.ThreadPoolExecutor(26) as pool:
        running = [pool.submit(hammer, number) for number in range(20)] + [pool.submit(talk, url) for url in 2 * urls]
        assert all(task.result(timeout=LIMIT) for task in running)


def test_on_and_off_while_clients_come(tenon, api, echo):
    """Each is served, refused or cut; the relay stays."""
    url = api.proxy(echo)
    over = threading.Event()

    def come():
        while not over.is_set():
            with contextlib.suppress(OSError), socket.create_connection(tuple(url[6:].split(":")), LIMIT) as client:
                client.sendall(b"hello")
                assert client.recv(5) in (b"hello", b"")
    comers = [threading.Thread(target=come) for _ in range(4)]
    for comer in comers:
        comer.start()
    for number in range(20):
        assert api.fine("POST", "/proxies/p", {"enabled": number % 2 == 1})["enabled"] == (number % 2 == 1)
    over.set()
    for comer in comers:
        comer.join()
    assert hears(tenon.dial(url))
