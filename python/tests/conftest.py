"""The tests find the module where TENON_PYTHON says, or installed."""
import gc
import os
import sys

if os.environ.get("TENON_PYTHON"):
    sys.path.insert(0, os.environ["TENON_PYTHON"])

import pytest

import tenon


@pytest.fixture
def loop():
    """A loop of the test's own; nothing of it is left."""
    one = tenon.Loop()
    yield one
    one.close()
    gc.collect()

