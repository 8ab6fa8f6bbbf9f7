"""Names: what getaddrinfo(3) finds, tenon finds. In a network and with an /etc that the tests make (names.py)."""
import json
import os
import shutil

import pytest

import harness
import names

HELPER = os.path.join(os.environ.get("TENON_BUILD", ""), "tests/names/lookup")
WORKERS, CASES = 3, 102
NSSWITCH = "hosts: files dns\n"


@pytest.fixture(scope="module", autouse=True)
def possible():
    if not os.access(HELPER, os.X_OK):
        pytest.skip("tests/names/lookup is not built")
    if not shutil.which("ip"):
        pytest.skip("no ip here")


def start(*arguments, program=HELPER):
    process, why = names.inside([program, *arguments])
    if why:
        pytest.skip(why)
    return process


def finish(process):
    with process:
        output = process.communicate(timeout=harness.LIMIT * 4)[0]
    assert process.returncode == 0, output
    return json.loads(output)


def run(command, resolv, hosts="127.0.0.1 localhost\n", nsswitch=NSSWITCH):
    """(exit status, output) of a command where these are the files of /etc."""
    files = {"resolv.conf": resolv, "hosts": hosts, "nsswitch.conf": nsswitch}
    return finish(start("run", json.dumps({"files": files, "command": command})))


def look_up(name, resolv="nameserver 127.0.0.53\n", family=0, **files):
    """(words or 0, addresses) of a name, as tenon finds them."""
    script = f"echo {family} {name} | {HELPER}"
    status, output = run(["sh", "-c", script], resolv, **files)
    assert status == 0, output
    line = [line for line in output.splitlines() if line.startswith("tenon\t")][0].split("\t")
    return line[2], line[3:]


@pytest.mark.skipif(harness.SANITIZED,
                    reason="glibc's own getaddrinfo() breaks under it with services that are missing")
def test_what_getaddrinfo_finds():
    """A hundred sets of files, ten names each."""
    workers = [start("cases", str(number), str(CASES), str(WORKERS)) for number in range(WORKERS)]
    wrong = [found for worker in workers for found in finish(worker)]
    assert wrong == []


def test_search_is_walked_once_for_both_families():
    assert look_up("four.test", "nameserver 127.0.0.53\nsearch wild6.test\noptions ndots:9\n") == ("0", ["[::1]"])
    assert look_up("four.test", "nameserver 127.0.0.53\nsearch wild6.test\n") == ("0", ["192.0.2.4", "192.0.2.44"])
    assert look_up("four", "nameserver 127.0.0.53\nsearch test wild6.test\n") == ("0", ["192.0.2.4", "192.0.2.44"])


def test_the_root_in_search():
    assert look_up("printer", "nameserver 127.0.0.53\nsearch .\n") == ("0", ["192.0.2.30"])


def test_silence_of_one_family_does_not_hide_the_other():
    assert look_up("silent6.test", "nameserver 127.0.0.53\noptions timeout:1 attempts:1\n") == ("0", ["192.0.2.10"])


def test_words_of_failures():
    assert look_up("nowhere.test")[0] == "look up nowhere.test: name not found"
    assert look_up("nowhere", nsswitch="hosts: files\n")[0] == "look up nowhere: name not found"
    assert look_up("nodata.test")[0] == "look up nodata.test: the name has no address"
    assert look_up("four.test", family=6)[0] == "look up four.test: the name has no IPv6 address"
    assert "name servers fail" in look_up("four.test", "nameserver 127.0.0.66\n")[0]


def test_below_localhost():
    """Nobody is asked but hosts(5)."""
    assert look_up("a.localhost") == ("0", ["[::1]", "127.0.0.1"])
    assert look_up("a.localhost", hosts="127.0.0.7 a.localhost\n") == ("0", ["127.0.0.7"])
    assert look_up("localhost", hosts="127.0.0.7 localhost\n", family=4) == ("0", ["127.0.0.1"])


def test_every_address_is_tried():
    """The last one of twenty-four listens."""
    server = f"{harness.COMMAND} serve tcp://192.0.2.123:7 --handler echo > /dev/null & sleep 0.3; "
    client = f"{harness.COMMAND} send tcp4://many.test:7?connect=20s hello; kill $!; wait"
    status, output = run(["sh", "-c", server + client], "nameserver 127.0.0.53\n")
    assert "hello" in output, (status, output)


def test_letters_beyond_ascii():
    """A host is asked for, and shown in certificates and DNS, in its ASCII form."""
    server = f"{harness.COMMAND} serve tcp://192.0.2.40:7 --handler echo > /dev/null & sleep 0.3; "
    client = f"{harness.COMMAND} send tcp://bücher.test:7 hello; kill $!; wait"
    status, output = run(["sh", "-c", server + client], "nameserver 127.0.0.53\n")
    assert "hello" in output or "cannot be converted here" in output, (status, output)


def test_no_list_of_services():
    """Without netbase the words say so."""
    output = run(["sh", "-c", f"rm -f /etc/services; {harness.COMMAND} connect tcp://localhost:http"], "")[1]
    assert "no /etc/services here" in output and "write the number" in output


def test_ping_tells_the_lookup_apart():
    """The name server takes 100 ms: that is no part of the time that connecting took."""
    server = f"{harness.COMMAND} serve tcp://192.0.2.8:7 --handler echo > /dev/null & sleep 0.3; "
    client = f"{harness.COMMAND} ping --json --count 1 tcp4://slow.test:7; kill $!; wait"
    status, output = run(["sh", "-c", server + client], "nameserver 127.0.0.53\n")
    events = {event["event"]: event for event in map(json.loads, output.splitlines())}
    reply, summary = events["reply"], events["summary"]
    assert reply["lookup_ns"] > 90e6, status
    assert reply["rtt_ns"] + reply["lookup_ns"] <= (summary["duration_ms"] + 1) * 1e6
    assert summary["lookup_ns"]["max"] > 90e6


def test_no_local_port_is_left():
    """Two ports for all: the third connection is told why, over TCP and UDP."""
    tenon = harness.COMMAND
    ports = "echo 50000 50001 > /proc/sys/net/ipv4/ip_local_port_range; mkfifo /etc/mute; exec 9<> /etc/mute; "
    server = f"{tenon} serve tcp://127.0.0.1:7 udp://127.0.0.1:7 > /dev/null & all=$!; sleep 0.3; "
    for scheme in ("tcp", "udp"):
        clients = f"for i in 1 2; do {tenon} connect {scheme}://127.0.0.1:7 <&9 & all=\"$all $!\"; done; sleep 0.5; "
        client = f"{tenon} send {scheme}://127.0.0.1:7 hello; kill $all"
        output = run(["sh", "-c", ports + server + clients + client], "")[1]
        assert "no local port is left" in output and "50000-50001" in output, output


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
@pytest.mark.parametrize("seconds", [0, 1])
def test_a_target_that_moves(scheme, seconds):
    """A relay looks its target's name up for each session. While there is nothing, the next target is used."""
    reached, events = finish(start("move", scheme, str(seconds), program=harness.COMMAND))
    assert reached == {"before": names.FORMER, "after": names.LATTER, "begun before": names.FORMER,
                       "without": names.NEXT, "again": names.FORMER, "begun before, still": names.FORMER}
    told = [event for event in events if event["event"] == "target"]
    assert [event["state"] for event in told] == ["down", "up"]
    assert f"look up {names.MOVING}: name not found" in told[0]["error"]
