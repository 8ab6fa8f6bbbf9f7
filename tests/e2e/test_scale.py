"""docs/scale.md: its tables are what bench/scale.py computes, and its formulas agree with simulations."""
import importlib.util

from harness import ROOT

SPEC = importlib.util.spec_from_file_location("scale", ROOT / "bench" / "scale.py")
scale = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(scale)


def test_tables():
    text = (ROOT / "docs" / "scale.md").read_text()
    assert scale.filled(text) == text, "bench/scale.py --write docs/scale.md"


def test_formulas():
    for what, value, low, high in scale.simulate():
        assert low <= value <= high, what


def test_loops_are_filled_by_planning():
    """What a table rounds up to is enough: no loop is busier than planned."""
    for rate in (1, 1e5, 1e6, 1e7, 3e8):
        for seconds in (scale.FIGURES["tcp"], scale.FIGURES["hub"]):
            assert rate * seconds / scale.loops(scale.cores(rate, seconds)) <= scale.BUSY
