"""Attacks that `make attack` makes at full size (attack.py), made small: what must hold however busy the machine is."""
import pytest

import attack
from harness import KIB, MIB, OPTIONS, SANITIZED

pytestmark = pytest.mark.skipif(SANITIZED or OPTIONS["b_coverage"],
                                reason="with sanitizers and counters neither memory nor CPU time are the command's own")
one_engine = pytest.mark.parametrize("engine", ["auto"], indirect=True)


def test_out_of_descriptors(tenon):
    got = attack.out_of_descriptors(tenon, queued=100, seconds=2)
    assert got["core"] <= 0.05 and got["lines_a_second"] <= 1.5


@pytest.mark.parametrize("threads", [1, 2])
def test_slow_clients_are_gone_at_the_deadline(tenon, threads):
    got = attack.trickle(tenon, 300, 1, threads=threads, pause=0.2)
    assert got["exchanges"] > 0


def test_deaf_clients_cost_what_is_promised_and_the_others_nothing(tenon):
    got = attack.deaf(tenon, 3, 20, MIB, "?queue=64KiB&max=64KiB")
    assert got["peak"] <= (got["base"] + 3 * 128 * KIB) * 1.1
    assert got["lost"] == 0


@one_engine
def test_hostile_input_costs_what_is_promised(tenon):
    got = attack.hostile(tenon, 10 * KIB, 1)
    assert {which: cost for which, cost in got.items()
            if cost[0] >= attack.MEMORY_PROMISED or cost[1] >= attack.CPU_PROMISED} == {}


@one_engine
def test_hostile_websocket_costs_what_is_promised(tenon):
    got = attack.web_hostile(tenon, 10 * KIB, 1)
    assert {which: cost for which, cost in got.items()
            if cost[0] >= attack.WEB_MEMORY_PROMISED or cost[1] >= attack.CPU_PROMISED} == {}


def test_heads_that_never_end_are_gone_at_the_deadline(tenon):
    assert attack.slow_heads(tenon, 300, 1, pause=0.2)["exchanges"] > 0


@one_engine
@pytest.mark.parametrize("protocol", attack.SLOW_REQUESTS)
def test_requests_that_never_end_are_gone_at_the_deadline(tenon, protocol):
    assert attack.slow_requests(tenon, protocol, 100, 1, pause=0.2)["exchanges"] > 0


@one_engine
def test_passwords_are_guessed_slowly(tenon):
    got = attack.guesses(tenon, 20, 2, "&per-source=5")
    assert got["judged"] <= 5 and got["exchanges"] > 0


@one_engine
def test_pages_of_strangers_are_refused(tenon):
    assert set(attack.strange_pages(tenon)) <= {400, 403, 421}


@one_engine
def test_what_is_never_whole_costs_what_is_promised(tenon):
    got = attack.held(tenon, 10 * KIB, 10)
    assert {which: memory for which, memory in got.items() if memory >= attack.MEMORY_PROMISED} == {}


@one_engine
def test_handshakes_cost_what_is_promised(tenon, authority):
    got = attack.handshakes(tenon, authority, 10 * KIB, 1)
    assert {which: cost for which, cost in got.items() if cost >= attack.CPU_PROMISED} == {}
    assert ("TLS 1.3", "one share of ffdhe8192") in got and len(got) > 30


@one_engine
@pytest.mark.parametrize("version", attack.STRANGERS)
def test_a_crowd_of_strangers_is_not_in_the_way(tenon, authority, version):
    """It is answered throughout. How little it waits is measured by `make attack`, on a machine with nothing else to
    do."""
    got = attack.strangers(tenon, authority, version, 1)
    assert got["rate"] > 0


@one_engine
def test_churn_is_work_for_later(tenon):
    got = attack.churn(tenon, rate=20, count=300)
    assert got["limited"] < got["free"]
