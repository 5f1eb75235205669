"""Every claim of every catalogue entry holds, measured as ``unstir verify --quick`` does."""

import pytest
from thresholds import spent

from unstir.core.catalogue import KINDS, entries
from unstir.verification.base import Effort
from unstir.verification.findings import FAILED, bounds_text, measured_text
from unstir.verification.runner import checks_for, perform, tasks

TASKS = tasks(quick=True)
MEANT_FOR_PEOPLE = {"trackers"}  # show the progress of a training elsewhere, and claim no figure


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.kind}/{task.entry}/{task.check}")
def test_claim(task):
    for finding in perform(task, Effort(quick=True)):
        spent[0] += sum(figure.false_alarm for figure in finding.measured)
        missed = [
            f"{figure.quantity}: {measured_text(figure)}, allowed {bounds_text(figure)} ({figure.note})"
            for figure in finding.measured
            if not figure.passed
        ]
        assert finding.status != FAILED, f"{finding.subject}: {finding.claim} {finding.reason} {'; '.join(missed)}"


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"checks"} - MEANT_FOR_PEOPLE))
def test_every_entry_has_claims(kind):
    without = [name for name in entries(kind) if not checks_for(kind, name)]
    assert not without, f"nothing is claimed of {kind}: {', '.join(without)}"
