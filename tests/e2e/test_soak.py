"""A slice of `make soak`, and as many connections at a time as one address of a client has ports for."""
import pytest

from harness import SANITIZED
from soak import Soak, soak
from system import allow_files

CROWD = 15000


def test_a_slice(tenon):
    run = soak(tenon, 4)
    assert not run.failures, run.table()
    assert len(run.rows) == 7 and all(messages > 0 and errors == 0 for _, messages, errors, _ in run.rows), run.table()


@pytest.mark.skipif(SANITIZED, reason="memory is not the command's own under a sanitizer")
def test_fifteen_thousand_at_once(tenon):
    if not allow_files(CROWD + 200):
        pytest.skip("the system does not allow so many descriptors")
    run = Soak(tenon, 0)
    run.crowd(CROWD)
    run.end()
    assert not run.failures, run.table()
    assert run.bytes_each < 700, run.table()  # an idle connection owns no buffer
