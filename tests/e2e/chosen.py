"""Which of the tests run: all, unless the environment asks for a sample."""
import os

import pytest


def each_value_once(items):
    """Of the tests of one function so many that each value of each parameter is in one of them."""
    def values_of(item):
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        return {(name, repr(value)) for name, value in parameters.items()}
    functions, kept = {}, set()
    for item in items:
        functions.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for group in functions.values():
        values = {item: values_of(item) for item in group}
        missing = set().union(*values.values())
        while True:
            best = max(group, key=lambda item: len(values[item] & missing))  # pylint: disable=cell-var-from-loop
            kept.add(best)
            missing -= values[best]
            if not missing:
                break
    return [item for item in items if item in kept]


@pytest.hookimpl(trylast=True)  # behind -k
def pytest_collection_modifyitems(items):
    items[:] = items[::int(os.environ.get("TENON_EVERY", "1"))]  # every so many-th
    if os.environ.get("TENON_EACH_VALUE"):
        items[:] = each_value_once(items)
