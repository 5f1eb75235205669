"""The runner: what is asked for, what breaks, what is kept, and that processes change nothing."""

import json

import pytest

from unstir.core.errors import InputError, NotInstalledError
from unstir.verification import runner, verify
from unstir.verification.base import Effort, Measured, NotMeasured, claim
from unstir.verification.findings import FAILED, LEFT_OUT, PASSED, findings_of
from unstir.verification.statistics import at_most

QUICK = Effort(quick=True)


@claim("samplers")
def fine(subject, effort):
    """Two figures hold."""
    yield at_most("first", 0.5, 1.0)
    yield Measured("second", 2.0, 1.0, 2.5, uncertainty=0.1)


@claim("samplers")
def off(subject, effort):
    """One of two figures is off."""
    yield at_most("first", 0.5, 1.0)
    yield at_most("second", 1.5, 1.0)


@claim("samplers")
def crash(subject, effort):
    """It breaks."""
    yield at_most("first", 0.5, 1.0)
    raise ValueError("the floor fell in")


@claim("samplers")
def nothing(subject, effort):
    """It measures nothing."""
    yield from ()


@claim("samplers")
def elsewhere(subject, effort):
    """It needs a file."""
    raise NotMeasured("a file is needed")


@claim("samplers")
def lacking(subject, effort):
    """It needs a package."""
    raise NotInstalledError("scikit-fem", "physics", "finite elements")


@claim("samplers")
def unconcerned(subject, effort):
    """It concerns others."""
    raise NotMeasured("of no concern", silent=True)


@pytest.mark.parametrize(
    ("check", "status", "figures", "reason"),
    [
        (fine, PASSED, 2, ""),
        (off, FAILED, 2, ""),
        (crash, FAILED, 1, "ValueError: the floor fell in"),
        (nothing, FAILED, 0, "the check measured nothing"),
        (elsewhere, LEFT_OUT, 0, "a file is needed"),
        (lacking, LEFT_OUT, 0, str(NotInstalledError("scikit-fem", "physics", "finite elements"))),
        (unconcerned, "", 0, "of no concern"),
    ],
)
def test_what_a_check_comes_to(check, status, figures, reason):
    finding = runner.measure(check, None, QUICK)
    assert (finding.status, len(finding.measured), finding.reason) == (status, figures, reason)
    assert finding.claim == check.__doc__
    assert finding.seconds >= 0


def test_the_telling_figure_is_the_one_with_the_least_room():
    assert runner.measure(off, None, QUICK).telling.quantity == "second"
    assert runner.measure(fine, None, QUICK).telling.quantity == "second"


def test_names_choose_kinds_and_entries():
    schedules = {(task.kind, task.entry) for task in runner.tasks(["schedules"])}
    assert {kind for kind, _ in schedules} == {"schedules"}
    assert ("schedules", "cosine") in schedules
    one = runner.tasks(["schedules/cosine"])
    assert {(task.kind, task.entry) for task in one} == {("schedules", "cosine")}
    assert runner.tasks(["schedules/cosine", "cosine"])[: len(one)] == one
    assert {task.kind for task in runner.tasks(["edm"])} == {"schedules", "parameterisations", "weightings", "samplers"}
    everything = runner.tasks()
    assert len(set(everything)) == len(everything) > len(runner.tasks(quick=True)) - 1


@pytest.mark.parametrize(
    ("name", "hint"), [("schedule", "schedules"), ("cosin", "cosine"), ("schedules/cosin", None), ("checks", None)]
)
def test_an_unknown_name_is_refused(name, hint):
    with pytest.raises(
        InputError, match=f"nothing in the catalogue is called '{name}'" + (f".*{hint}" if hint else "")
    ):
        runner.tasks([name])


def test_a_record_is_kept_and_read_again(tmp_path):
    record = runner.run(["schedules/cosine"], QUICK, keep=tmp_path / "verify.json")
    kept = json.loads((tmp_path / "verify.json").read_text())
    assert kept["complete"]
    assert kept["asked"] == ["schedules/cosine"]
    findings = findings_of(kept)
    assert findings == findings_of(record)
    assert all(finding.status == PASSED for finding in findings)
    assert {finding.subject for finding in findings} > {"vp"}


def test_processes_change_nothing_but_the_time():
    names = ["grids"]
    alone, together = (runner.run(names, QUICK, workers=workers)["findings"] for workers in (1, 2))
    for finding in alone + together:
        finding.pop("seconds")
    assert alone == together


def test_an_interrupted_run_goes_on(tmp_path, monkeypatch):
    keep, names = tmp_path / "verify.json", ["schedules/cosine"]
    performed, perform = [], runner.perform

    def interrupted(task, effort):
        if len(performed) == 3:
            raise KeyboardInterrupt
        performed.append(task)
        return perform(task, effort)

    monkeypatch.setattr(runner, "perform", interrupted)
    with pytest.raises(KeyboardInterrupt):
        runner.run(names, QUICK, keep=keep)
    assert not json.loads(keep.read_text())["complete"]

    again = []
    monkeypatch.setattr(runner, "perform", lambda task, effort: again.append(task) or perform(task, effort))
    skipped = []
    record = runner.run(names, QUICK, keep=keep, progress=skipped.append)
    assert skipped[0] == 3
    assert not set(again) & set(performed)
    assert {finding["check"] for finding in record["findings"]} == {task.check for task in runner.tasks(names, True)}

    monkeypatch.setattr(runner, "perform", lambda task, effort: again.append(task) or perform(task, effort))
    again.clear()
    runner.run(names, QUICK, keep=keep)
    assert len(again) == len(runner.tasks(names, True)), "a finished record is measured anew"


def test_another_seed_does_not_go_on_from_this_one(tmp_path, monkeypatch):
    keep = tmp_path / "verify.json"
    record = runner.run(["schedules/cosine"], QUICK, keep=keep)
    half = {**record, "complete": False, "findings": {"schedules/cosine/clean-start": []}}
    keep.write_text(json.dumps(half))
    performed, perform = [], runner.perform
    monkeypatch.setattr(runner, "perform", lambda task, effort: performed.append(task) or perform(task, effort))
    runner.run(["schedules/cosine"], Effort(quick=True, seed=1), keep=keep)
    assert len(performed) == len(runner.tasks(["schedules/cosine"], True))


def test_an_entry_of_another_package_is_measured(monkeypatch, tmp_path):
    """A sampler that another package brings goes through every claim about samplers."""
    from unstir.core import catalogue

    class Point:
        name, dist, value = "stranger", None, "unstir.samplers.runge_kutta:heun"

    real = catalogue.entry_points
    monkeypatch.setattr(
        catalogue, "entry_points", lambda group: [Point] if group == "unstir.samplers" else real(group=group)
    )
    catalogue.entries.cache_clear()
    try:
        own, strangers = (runner.tasks([f"samplers/{name}"]) for name in ("heun", "stranger"))
        # a few checks are about formulas of our own entries by name
        assert {"sampler-order", "sampler-law"} <= {task.check for task in strangers} <= {task.check for task in own}
        findings = [finding for task in strangers[:3] for finding in runner.perform(task, QUICK)]
        assert findings
        assert all(finding.entry == "stranger" and finding.status != FAILED for finding in findings)
    finally:
        monkeypatch.undo()
        catalogue.entries.cache_clear()


@pytest.mark.parametrize("options", [{"workers": 0}, {"names": ["heun"], "run": "runs/digits"}])
def test_what_cannot_be_meant_is_refused(options, tmp_path):
    with pytest.raises(InputError, match=r"worker|both"):
        verify(**options, out=tmp_path)


def test_one_certificate_does_not_write_over_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for names in (["schedules/cosine"], ["grids/uniform"]):
        _, page = verify(names, quick=True, workers=1, progress=False)
        assert page.is_file()
    assert len(list(tmp_path.rglob("verify.json"))) == 2
