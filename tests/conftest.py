"""What all tests share: shapes and types checked at every call, one thread, the same examples every time."""

import hypothesis
import pytest
import torch
from jaxtyping import install_import_hook

# before anything of unstir is imported: the hook works on modules as they load
install_import_hook("unstir", "beartype.beartype")

torch.set_num_threads(1)

# the examples of a property come from a fixed seed, and a slow machine is no failure
hypothesis.settings.register_profile("unstir", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("unstir")

_spent_elsewhere = [0.0]  # by the processes of pytest-xdist


def pytest_sessionfinish(session):
    """The chance that correct code fails a run stays below one in a thousand, however many tests there are."""
    from thresholds import BUDGET, spent

    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["false_alarm"] = spent[0]
        return
    session.config.stash[_TOTAL] = total = spent[0] + _spent_elsewhere[0]
    if total > BUDGET and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    from thresholds import BUDGET

    total = config.stash.get(_TOTAL, 0.0)
    if total:
        word = "at most" if total <= BUDGET else f"more than the {BUDGET:g} allowed:"
        terminalreporter.write_line(f"chance of a false alarm in this run: {word} {total:.1e}")


_TOTAL = pytest.StashKey[float]()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    _spent_elsewhere[0] += getattr(node, "workeroutput", {}).get("false_alarm", 0.0)
