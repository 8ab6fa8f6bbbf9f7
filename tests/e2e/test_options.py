"""tenon options: what it prints is what getsockopt(2) says."""
import json
import socket
import struct

import pytest

from harness import port_of

# Keys whose value is a number that getsockopt(2) gives as it stands, in units of `scale` (for durations: per second)
NUMBERS = {
    "reuseaddr": (socket.SOL_SOCKET, socket.SO_REUSEADDR), "reuseport": (socket.SOL_SOCKET, socket.SO_REUSEPORT),
    "keepalive": (socket.SOL_SOCKET, socket.SO_KEEPALIVE), "priority": (socket.SOL_SOCKET, socket.SO_PRIORITY),
    "oobinline": (socket.SOL_SOCKET, socket.SO_OOBINLINE), "broadcast": (socket.SOL_SOCKET, socket.SO_BROADCAST),
    "nodelay": (socket.IPPROTO_TCP, socket.TCP_NODELAY), "cork": (socket.IPPROTO_TCP, socket.TCP_CORK),
    "keepcnt": (socket.IPPROTO_TCP, socket.TCP_KEEPCNT), "syncnt": (socket.IPPROTO_TCP, socket.TCP_SYNCNT),
    "maxseg": (socket.IPPROTO_TCP, socket.TCP_MAXSEG), "ttl": (socket.IPPROTO_IP, socket.IP_TTL),
    "tos": (socket.IPPROTO_IP, socket.IP_TOS), "multicast_ttl": (socket.IPPROTO_IP, socket.IP_MULTICAST_TTL),
    "multicast_loop": (socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP),
}
NUMBERS6 = {
    "v6only": (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY),
    "unicast_hops": (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
    "tclass": (socket.IPPROTO_IPV6, socket.IPV6_TCLASS), "dontfrag": (socket.IPPROTO_IPV6, socket.IPV6_DONTFRAG),
    "multicast_hops": (socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS),
}
SIZES = {"rcvlowat": (socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1), "rcvbuf": (socket.SOL_SOCKET, socket.SO_RCVBUF, 2),
         "sndbuf": (socket.SOL_SOCKET, socket.SO_SNDBUF, 2)}
SECONDS = {"keepidle": (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1),
           "linger2": (socket.IPPROTO_TCP, socket.TCP_LINGER2, 1),
           "keepintvl": (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1),
           "user_timeout": (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000)}

WORDS = {"on": 1, "off": 0, "lowdelay": 0x10, "ef": 0xb8, "cs1": 0x20, "af11": 0x28}
UNITS = {"KiB": 1024, "MiB": 1024 ** 2, "GiB": 1024 ** 3, "us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "": 1}


def number(value):
    """'on', '64KiB', '1.5s', '17' as a number."""
    if value in WORDS:
        return WORDS[value]
    digits = value.rstrip("KiMGBusmh")
    return float(digits) * UNITS[value[len(digits):]]


def rows(text):
    return [json.loads(line) for line in text.splitlines()]


def values_of(tenon, *args, **how):
    return {row["key"]: row["value"] for row in rows(tenon.run("options", "--json", *args, **how).text)}


def check(sock, values):
    """Compares with the kernel's word; returns how many there were to compare."""
    compared = 0
    numbers = {**NUMBERS, **(NUMBERS6 if sock.family == socket.AF_INET6 else {})}
    for key, value in values.items():
        if key in numbers:
            level, name = numbers[key]
            if sock.family == socket.AF_INET6 and level == socket.IPPROTO_IP:
                continue
            assert number(value) == sock.getsockopt(level, name), (key, value)
        elif key in SIZES:
            level, name, doubled = SIZES[key]
            assert number(value) == sock.getsockopt(level, name) // doubled, (key, value)
        elif key in SECONDS:
            level, name, scale = SECONDS[key]
            assert number(value) == sock.getsockopt(level, name) / scale, (key, value)
        elif key == "congestion":
            name = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()
            assert value == name
        elif key == "linger":
            on, time = struct.unpack("ii", sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))
            assert (number(value) if value != "off" else None) == (time if on else None)
        else:
            continue
        compared += 1
    return compared


def test_the_table(tenon):
    table = rows(tenon.run("options", "--json").text)
    keys = [row["key"] for row in table]
    assert len(set(keys)) == len(keys) > 60
    for key in ("reuseaddr", "reuseport", "keepalive", "keepidle", "keepintvl", "keepcnt", "nodelay", "quickack",
                "cork", "user_timeout", "linger", "rcvbuf", "sndbuf", "rcvtimeo", "sndtimeo", "broadcast", "ttl", "tos",
                "mark", "priority", "bindtodevice", "v6only", "defer_accept", "fastopen", "congestion", "maxseg",
                "notsent_lowat", "busy_poll", "max", "idle", "connect", "spin"):
        assert key in keys
    for row in table:
        assert set(row) == {"key", "constant", "level", "type", "applies", "meaning"}
        assert row["meaning"] and row["type"] and row["applies"], row
        assert (row["constant"] is None) == (row["level"] is None), row
    by_key = {row["key"]: row for row in table}
    assert (by_key["nodelay"]["constant"], by_key["nodelay"]["level"]) == ("TCP_NODELAY", "IPPROTO_TCP")


def test_the_tables_constants_are_the_kernels(tenon):
    """Each constant that Python knows too lies at the level that its name says."""
    known = 0
    for row in rows(tenon.run("options", "--json").text):
        for constant, level in zip((row["constant"] or "").split(", "), (row["level"] or "").split(", ")):
            if constant and hasattr(socket, constant):
                known += 1
                prefix = {"SOL_SOCKET": "SO_", "IPPROTO_TCP": "TCP_", "IPPROTO_IP": "IP_", "IPPROTO_IPV6": "IPV6_"}
                assert constant.startswith(prefix[level]), row
                assert row["key"] in constant.lower() or constant in ("IPV6_TCLASS", "IPV6_UNICAST_HOPS",
                                                                     "IPV6_MULTICAST_HOPS"), row
    assert known > 25


def test_the_table_for_people(tenon):
    text = tenon.run("options").text
    assert "nodelay" in text and "TCP_NODELAY" in text and "\x1b" not in text
    assert text.splitlines()[0].split() == ["KEY", "CONSTANT", "LEVEL", "VALUES"]


@pytest.mark.parametrize("words, found", [
    (["nodelay"], "nodelay"), (["TCP_NODELAY"], "nodelay"), (["tcp_nodelay"], "nodelay"), (["NoDelay"], "nodelay"),
    (["time-out"], "user_timeout"), (["timeout"], "user_timeout"), (["TIME_OUT"], "user_timeout"),
    (["SO_RCVBUF"], "rcvbuf"), (["nagle"], "nodelay"), (["certificate"], "cert"), (["netstring"], "frame"),
    (["keep", "alive"], "keepalive"), (["IPPROTO_IPV6"], "v6only")])
def test_a_word_is_searched(tenon, words, found):
    """In keys, constants, values and meanings, whatever its case and its dashes."""
    table = [json.loads(line) for line in tenon.run("options", "--json").lines]
    rows = [json.loads(line) for line in tenon.run("options", "--json", *words).lines]
    assert found in [row["key"] for row in rows] and len(rows) < len(table) and all(row in table for row in rows)

    def squeezed(text):
        return "".join(letter for letter in text.lower() if letter.isalnum())
    for row in table:
        about = all(any(squeezed(word) in squeezed(str(row[name] or "")) for name in row) for word in words)
        assert about == (row in rows), row
    text = tenon.run("options", *words).text
    assert text.splitlines()[0].split() == ["KEY", "CONSTANT", "LEVEL", "VALUES"]
    assert len(text.splitlines()) == 1 + 2 * len(rows)


@pytest.mark.parametrize("words, status, said", [
    (["nodeley"], 1, "did you mean nodelay?"), (["xyzzy"], 1, "no key, constant or meaning has 'xyzzy' in it"),
    (["TCP_NODELEY"], 1, "did you mean TCP_NODELAY?"), (["tcp://localhost"], 2, "port is missing"),
    (["tcp://localhost:1", "nodelay"], 2, "one URL"), (["--serve"], 2, "which URL")])
def test_a_word_that_is_nowhere(tenon, words, status, said):
    result = tenon.run("options", *words, status=status)
    assert said in result.err and not result.out


CHANGES = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 77),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 7), (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1500), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.SOL_SOCKET, socket.SO_RCVBUF, 100000), (socket.SOL_SOCKET, socket.SO_SNDBUF, 50000),
    (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 5)),
]


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
@pytest.mark.parametrize("changed", [False, True], ids=["untouched", "changed"])
def test_values_of_an_inherited_tcp_socket(tenon, host, changed):
    server = tenon.serve(f"tcp://{host}:0")
    sock = tenon.dial(server.url)
    for level, name, value in CHANGES if changed else []:
        sock.setsockopt(level, name, value)
    values = values_of(tenon, f"fd:{sock.fileno()}", pass_fds=[sock.fileno()])
    assert check(sock, values) >= 14
    if changed:
        assert values["keepidle"] in ("77s", "77") and values["nodelay"] == "on" and values["linger"] == "5s"


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_values_of_an_inherited_udp_socket(tenon, host):
    server = tenon.serve(f"udp://{host}:0")
    sock = tenon.dial(server.url)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    values = values_of(tenon, f"fd:{sock.fileno()}", pass_fds=[sock.fileno()])
    assert check(sock, values) >= 6
    assert "nodelay" not in values and "keepidle" not in values


def test_values_of_an_inherited_unix_socket(tenon):
    server = tenon.serve(f"unix:{tenon.folder}/sock")
    sock = tenon.dial(server.url)
    values = values_of(tenon, f"fd:{sock.fileno()}", pass_fds=[sock.fileno()])
    assert check(sock, values) >= 1
    assert "nodelay" not in values and "ttl" not in values


def test_values_asked_for_in_the_url_are_in_force(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    url = f"{server.url}?nodelay=off&keepalive=on&keepidle=77s&keepintvl=7s&keepcnt=3&ttl=33&tos=lowdelay&rcvbuf=64KiB"
    values = values_of(tenon, url + "&user_timeout=1500ms&linger=5s&congestion=reno&idle=90s&max=2MiB&spin=off"
                       .replace("spin=off", "spin=0"))
    wanted = {"nodelay": "off", "keepalive": "on", "keepidle": "77s", "keepintvl": "7s", "keepcnt": "3", "ttl": "33",
              "rcvbuf": "64KiB", "linger": "5s", "congestion": "reno", "max": "2MiB"}
    assert {key: values[key] for key in wanted} == wanted
    assert number(values["tos"]) == 16 and number(values["user_timeout"]) == 1.5 and number(values["idle"]) == 90


def test_values_where_what_is_lost_is_dialled_again(tenon):
    listener = tenon.listen()
    url = f"tcp://127.0.0.1:{listener.getsockname()[1]}?reconnect=100ms-7s"
    assert values_of(tenon, url)["reconnect"] == "100ms-7s"
    listener.close()
    assert "refused" in tenon.run("options", url, status=1).err


def test_values_of_a_listener(tenon):
    values = values_of(tenon, "tcp://127.0.0.1:0?rcvbuf=128KiB&defer_accept=1s&backlog=17")
    assert values["reuseaddr"] == "on" and values["rcvbuf"] == "128KiB" and values["backlog"] == "17"
    assert "connect" not in values
    values = values_of(tenon, "--serve", f"unix:{tenon.folder}/sock")
    assert "sndbuf" in values and "nodelay" not in values


def test_every_value_can_be_given_again(tenon):
    """What is printed is written as it stands in a URL, and gives the same."""
    import urllib.parse
    server = tenon.serve("tcp://127.0.0.1:0", "tcp://[::1]:0", "udp://127.0.0.1:0", f"unix:{tenon.folder}/sock")
    for url in server.urls:
        values = values_of(tenon, url)
        for key in list(values):
            # These take privileges or are about interfaces; a maxseg asked for is another than the one in force
            if key in ("maxseg", "bindtodevice", "mark", "transparent", "prefer_busy_poll", "busy_poll",
                       "window_clamp"):
                continue
            if values[key] in ("0", "0s", "any") or key in ("quickack", "tx_delay"):
                continue
            again = values_of(tenon, f"{url}?{key}={urllib.parse.quote(values[key], safe='')}")
            assert again[key] == values[key], key


def test_values_for_people(tenon):
    server = tenon.serve("tcp://127.0.0.1:0")
    text = tenon.run("options", server.url).text
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines()}
    assert lines["nodelay"][0] in ("on", "off") and lines["nodelay"][1] == "TCP_NODELAY"
    assert port_of(server.url)


def test_an_option_without_a_key(tenon):
    """TCP_MAXSEG and SO_LINGER by their numbers, on listeners and what is accepted from them, and dialled."""
    server = tenon.serve("tcp://127.0.0.1:0?setsockopt=6:2:1000,1:13:x0100000005000000")
    values = values_of(tenon, f"tcp://127.0.0.1:0?setsockopt=6:2:0x3e8,1:13:x0100000005000000")
    assert values["linger"] == "5s"
    sock = tenon.dial(server.url)
    sock.sendall(b"x" * 5000)
    assert len(sock.recv(5000, socket.MSG_WAITALL)) == 5000
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= 1000


def test_an_option_without_a_key_before_it_connects(tenon):
    """IP_TTL, which is inherited by nobody; and what is IPv6's alone is left out on an IPv4 socket."""
    values = values_of(tenon, tenon.serve("tcp://127.0.0.1:0").url + "?setsockopt=0:2:33,41:16:9")
    assert values["ttl"] == "33"


def test_options_without_a_key_are_set_in_their_order(tenon):
    values = values_of(tenon, tenon.serve("tcp://127.0.0.1:0").url + "?setsockopt=0:2:33,0:2:34,0:2:35&ttl=9")
    assert values["ttl"] == "35"


def test_an_option_that_the_kernel_refuses(tenon):
    for value, words in (("6:250:1", "setsockopt=6:250: Protocol not available (this kernel has no such option"),
                         ("0:2:9999", "setsockopt=0:2: Invalid argument")):
        for command in (["serve", "tcp://127.0.0.1:0"], ["send", "tcp://127.0.0.1:9", "x"]):
            command[1] += f"?setsockopt={value}"
            assert words in tenon.run(*command, status=1).err
