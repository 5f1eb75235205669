import json
import math

import pytest
import torch
from benchmarks import quality, quality_training
from benchmarks.peers_quality import PEERS
from benchmarks.quality import COLUMNS, best, run, verdicts
from benchmarks.quality_training import OURS, Budget, costs, steps_within

COUNT, SECONDS = 24, 0.8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("quality")


@pytest.fixture(scope="module")
def report(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quality_training, "_TIMED", (1, 4))
        return run(list(OURS), Budget(SECONDS), COUNT, folder, replicates=4, judge_steps=20)


def test_both_of_ours_are_trained_scored_and_reported(report, folder):
    assert list(report["candidates"]) == list(OURS)
    for found in report["candidates"].values():
        assert found["pictures_seen"] == 64 * found["steps"] > 0
        (scores,) = found["samplers"].values()
        assert set(COLUMNS) <= set(scores["metrics"])
        assert all(math.isfinite(entry["value"]) for entry in scores["metrics"].values())
    page = (folder / "quality.md").read_text(encoding="utf-8")
    for text in (*OURS, *quality.BASELINES.values(), "noise floor", *COLUMNS.values()):
        assert text in page
    assert json.loads((folder / "quality.json").read_text(encoding="utf-8")) == json.loads(json.dumps(report))


def test_the_class_is_asked_for_in_one_and_not_in_the_other(report):
    plain, by_class = (next(iter(report["candidates"][name]["samplers"].values()))["metrics"] for name in OURS)
    assert "class-agreement" not in plain
    assert "class-agreement" in by_class


def test_stand_ins_are_what_they_are_called(report):
    rows = report["stand_ins"]
    copies, jitter = rows["real digits, drawn with replacement"], rows["the same with noise of 0.1"]
    assert copies["memorisation"] == 0 and copies["copied"] == 1
    assert 0 < jitter["memorisation"] < rows["the same with noise of 0.3"]["memorisation"]
    # pixels of one Gaussian for all classes lie further from any digit
    assert rows["a Gaussian per class"]["memorisation"] < rows["one Gaussian"]["memorisation"]


def test_results_of_earlier_calls_are_kept_only_with_the_same_settings(report, folder, tmp_path):
    assert quality._known(folder / "quality.json", report["settings"]) == json.loads(json.dumps(report["candidates"]))
    assert quality._known(folder / "quality.json", {**report["settings"], "seed": 1}) == {}
    assert quality._known(tmp_path / "quality.json", report["settings"]) == {}


def test_the_steps_that_fit_into_a_budget():
    # 97 of 100 seconds may be spent, 7 of them on no step
    assert steps_within(100.0, 7.0, 0.5) == 180
    assert steps_within(100.0, 7.0, 1.0) == 90
    assert steps_within(1.0, 7.0, 1.0) == 1


def test_a_step_is_timed_by_the_difference_of_two_trainings(monkeypatch):
    monkeypatch.setattr(quality_training, "_TIMED", (10, 100))
    assert costs(2.5, 7.0) == pytest.approx((2.0, 0.05))
    # a shorter training that took as long as the longer one, or longer, must not make steps free
    assert costs(7.0, 7.0)[1] == pytest.approx(0.035)
    assert costs(9.0, 7.0)[1] == pytest.approx(0.035)


class _Instant(quality.PEERS["azula"]):
    """A peer that learns nothing: what is tested is the loop around it."""

    description, batch = "nothing", 500

    def __init__(self):
        self.network, self.seen = torch.nn.Linear(1, 1), []

    def step(self, pictures, labels, progress):
        self.seen.append((pictures, progress))
        return 0.0

    def samplers(self):
        return {"zeros": lambda labels: torch.zeros(len(labels), 1, 8, 8)}


def test_a_peer_sees_whole_epochs_and_the_progress_of_its_budget(monkeypatch):
    made = []
    monkeypatch.setitem(PEERS, "azula", lambda: made.append(_Instant()) or made[0])
    pictures, labels = torch.arange(1000.0).reshape(-1, 1, 1, 1).expand(-1, 1, 8, 8), torch.zeros(1000).long()
    trained = quality.train_peer("azula", Budget(0.05), pictures, labels, labels[:7])
    seen = made[0].seen
    assert trained.steps == len(seen) and trained.pictures_seen == 500 * len(seen) and trained.seconds >= 0.05
    assert torch.cat([seen[0][0], seen[1][0]])[:, 0, 0, 0].sort().values.tolist() == list(range(1000))
    progress = [progress for _, progress in seen]
    assert progress == sorted(progress) and progress[0] >= 0 and progress[-1] < 1
    assert trained.drawn["zeros"].pictures.shape == (7, 1, 8, 8) and trained.drawn["zeros"].labels is None


def _candidate(**values):
    metrics = {key: {"value": value} for key, value in values.items()}
    return {"samplers": {"any": {"metrics": metrics}}}


GOOD = dict.fromkeys(quality.COMPARED, 0.9) | {"frechet": 0.1, "kernel": -0.001, "two-sample": 0.52}
BAD = dict.fromkeys(quality.COMPARED, 0.5) | {"frechet": 0.4, "kernel": 0.02, "two-sample": 0.7}


def test_verdicts_name_the_columns_in_which_ours_is_behind():
    stand_ins = {"a Gaussian per class": BAD, "noise floor": GOOD}
    (line,) = verdicts({"unstir": _candidate(**GOOD), "azula": _candidate(**BAD)}, stand_ins)
    assert line.count("no column") == 2 and "Fréchet distance 0.100 against the peers' 0.400, 0.25 of it" in line
    (line,) = verdicts({"unstir": _candidate(**GOOD | {"density": 0.3}), "azula": _candidate(**BAD)}, stand_ins)
    assert line.count("in density") == 2
    (line,) = verdicts({"unstir": _candidate(**GOOD)}, stand_ins)
    assert "peer" not in line


def test_only_like_is_compared_with_like():
    stand_ins = {"a Gaussian per class": BAD, "noise floor": GOOD}
    candidates = {"unstir": _candidate(**GOOD), "unstir, by class": _candidate(**GOOD), "azula": _candidate(**BAD)}
    candidates["azula, by class"] = _candidate(**BAD | {"frechet": 0.05})
    plain, by_class = verdicts(candidates, stand_ins)
    assert plain.count("no column") == 2
    assert "behind the best peer's best in Fréchet;" in by_class


def test_best_takes_the_better_side_of_each_metric():
    candidates = {"azula": _candidate(**GOOD), "diffusers": _candidate(**BAD)}
    assert best(candidates, "frechet", PEERS) == 0.1
    assert best(candidates, "density", PEERS) == 0.9
    assert best(candidates, "two-sample", PEERS) == 0.52
    assert best(candidates, "frechet", ["unstir"]) is None
