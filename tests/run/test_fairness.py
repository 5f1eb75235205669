"""Fairness of a table: ratios by hand, the expected ratio and its samples on an exact law, the trade-off curve."""

import numpy as np
import pytest
import torch
from thresholds import assert_holds

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.tables import tables
from unstir.domains.tables.credit import credit_table
from unstir.exact.categorical import TokenChainDenoiser
from unstir.exact.joint import JointMixtureDenoiser
from unstir.exact.mixture import MixtureDenoiser
from unstir.guidance.classifier import ClassifierGuidance
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.run.fairness import ExpectedRatio, Rule, fair_guide, fairest, sweep_fairness, trade_off
from unstir.run.folder import RunFolder
from unstir.run.guiding import Asked, draw_guided, guide_of
from unstir.run.recipe import load
from unstir.run.sampling import TrainedRun
from unstir.run.training import train_run
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import sample
from unstir.verification.statistics import counts_are

DATA = tables.read({"name": "credit"})
RULE = Rule(DATA.encoding, "group", "decision")
GROUP, DECISION = RULE.parts
MASKED = CategoricalProcess(2, rates="absorbing")
# groups of 60 and 40 %, and decisions that hang together with them through three hidden kinds
WEIGHTS = np.array([0.3, 0.45, 0.25])
GROUPS = np.array([[0.9, 0.1], [0.55, 0.45], [0.2, 0.8]])
DECISIONS = np.array([[0.9, 0.1], [0.5, 0.5], [0.15, 0.85]])
JOINT = np.einsum("k,ka,kd->ad", WEIGHTS, GROUPS, DECISIONS)


def biased_law():
    def token(chances):
        return [TokenChainDenoiser(list(row), [[0.5, 0.5], [0.5, 0.5]], MASKED, 1) for row in chances]

    line = GaussianProcess()
    places = [MixtureDenoiser([1.0], [[mean]], [0.3], line) for mean in (-1.0, 0.2, 1.4)]
    return JointMixtureDenoiser(list(WEIGHTS), {"continuous": places, GROUP: token(GROUPS), DECISION: token(DECISIONS)})


def test_the_credit_table_has_the_bias_that_it_says_and_no_other():
    table = {name: np.array(values) for name, values in credit_table(40_000, seed=3).items()}
    second, granted, repays = table["group"] == "b", table["decision"] == "granted", table["repays"] == "yes"
    assert 0.2 < granted[~second].mean() - granted[second].mean() < 0.26
    plain = {name: np.array(values) for name, values in credit_table(40_000, seed=3, penalty=0.0).items()}
    fair = plain["decision"] == "granted"
    # what is left without the penalty is income's tenth, which is no tenth of the bias
    assert abs(fair[~second].mean() - fair[second].mean()) < 0.05
    assert abs(repays[~second].mean() - repays[second].mean()) < 0.06
    assert np.array_equal(plain["income"], table["income"])
    with pytest.raises(InputError, match="10 rows"):
        credit_table(5)


def test_ratios_lead_to_parity_keep_groups_and_the_rate_and_are_one_at_zero():
    shares = torch.from_numpy(JOINT)
    fair = shares * RULE.ratios(shares)
    assert torch.allclose(fair, shares.sum(1, keepdim=True) * shares.sum(0, keepdim=True), atol=1e-12)
    assert torch.allclose(RULE.ratios(shares, 0.0), torch.ones(2, 2, dtype=torch.float64))
    gaps = []
    for strength in (0.0, 0.3, 0.7, 1.0):
        law = shares * RULE.ratios(shares, strength)
        assert torch.allclose(law.sum(1), shares.sum(1))  # nobody changes the group
        rates = law[:, 1] / law.sum(1)
        gaps.append((rates[1] - rates[0]).item())
    assert gaps[0] > gaps[1] > gaps[2] > gaps[3] and gaps[3] == pytest.approx(0.0, abs=1e-12)


def test_equalised_odds_are_parity_among_those_alike():
    rule = Rule(DATA.encoding, "group", "decision", given="repays")
    shares = rule.shares(DATA.state)
    fair = shares * rule.ratios(shares)
    rates = fair[..., rule.yes] / fair.sum(-1)
    assert torch.allclose(rates[0], rates[1]) and not torch.allclose(rates[:, 0], rates[:, 1], atol=0.05)
    assert torch.allclose(fair.sum(-1), shares.sum(-1))
    codes = rule.codes(DATA.state)
    by_hand = [
        abs(np.subtract(*[(codes[(codes[:, 0] == a) & (codes[:, 1] == y), 2] == rule.yes).double().mean().item()
                          for a in (0, 1)]))
        for y in (0, 1)
    ]  # fmt: skip
    assert rule.gap(codes).item() == pytest.approx(max(by_hand))


@pytest.mark.parametrize("time", [0.2, 0.6, 0.95])
def test_the_expected_ratio_is_exact(time):
    """Against the sum over all columns by the law's own densities: p(x_0 columns | x_t) by Bayes."""
    law, ratios = biased_law(), RULE.ratios(torch.from_numpy(JOINT))
    t = torch.tensor(time, dtype=torch.float64)
    xt = law.draw(Seeds.range(2, 60), time)
    told = ExpectedRatio(law, RULE, ratios)(xt, t)
    # hidden kinds given x_t, then both columns of each kind, shown ones being what they are
    wanted = []
    for row in range(60):
        state = {name: part[row : row + 1] for name, part in xt.items()}
        logs = np.log(WEIGHTS) + np.array(
            [law_of(kind).log_density(state["continuous"], time).item() for kind in range(3)]
        )
        tables_of = np.einsum("ka,kd->kad", GROUPS, DECISIONS)
        for axis, part in ((1, GROUP), (2, DECISION)):
            shown = int(state[part])
            if shown != MASKED.mask_class:
                tables_of = np.where(
                    np.arange(2).reshape((1, -1, 1) if axis == 1 else (1, 1, -1)) == shown, tables_of, 0
                )
        joint = np.einsum("k,kad->ad", np.exp(logs - logs.max()), tables_of)
        wanted.append(np.log((joint / joint.sum() * ratios.numpy()).sum()))
    assert np.allclose(told.numpy(), wanted, atol=1e-9)


def law_of(kind):
    return MixtureDenoiser([1.0], [[(-1.0, 0.2, 1.4)[kind]]], [0.3], GaussianProcess())


def test_samples_of_an_exact_law_have_parity_and_are_else_as_the_reweighted_law():
    law, ratios = biased_law(), RULE.ratios(torch.from_numpy(JOINT))
    guided = ClassifierGuidance(law, ExpectedRatio(law, RULE, ratios))
    shape = {"continuous": (1,), GROUP: (1,), DECISION: (1,)}
    drawn = sample(guided, AncestralSampler(), shape, 800, steps=50, grid="uniform", seed=4, batch=800,
                   dtype=torch.float64)  # fmt: skip
    counted = np.bincount(2 * drawn[GROUP][:, 0] + drawn[DECISION][:, 0], minlength=4)
    fair = JOINT.sum(1, keepdims=True) * JOINT.sum(0, keepdims=True)
    assert_holds(counts_are("groups and decisions", counted, fair.ravel()))
    # the biased law itself is told apart by the same test
    assert not counts_are("the biased ones", counted, JOINT.ravel()).passed


def points_of(*rows):
    """(strength, gap, fidelity against parity, against the data) each."""
    names = ("gap", "fidelity", "fidelity-to-data")
    return [
        {"strength": row[0], "results": [{"metric": name, "value": v} for name, v in zip(names, row[1:], strict=True)]}
        for row in rows
    ]


def test_the_curve_and_its_rule():
    points = points_of((0, 0.3, 0.7, 0.9), (0.5, 0.15, 0.8, 0.85), (0.8, 0.05, 0.85, 0.8), (1.0, 0.01, 0.86, 0.75))
    curve = trade_off(points)
    assert [point["reduction"] for point in curve] == pytest.approx([0.0, 0.5, 1 - 0.05 / 0.3, 1 - 0.01 / 0.3])
    assert curve[2]["loss"] == pytest.approx(1 - 0.85 / 0.9) and curve[2]["loss_against_data"] > 0.1
    assert fairest(points)[0] == 0.8
    assert fairest(points[:2])[0] == 0.5  # all cost more than a tenth: the one that costs least
    assert "10 %" in fairest(points_of((0, 0.3, 0.7, 0.9), (1, 0.1, 0.5, 0.6)))[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs") / "fair"
    small = (
        "network={name: mlp, width: 16, depth: 1, embedding: 16}", "training.steps=30", "training.batch=32",
        "training.threads=null", "sampling.steps=4", "sampling.batch=400",
    )  # fmt: skip
    train_run(load("fair-table", small), place, progress=False)
    return TrainedRun(RunFolder.open(place))


def test_a_run_is_swept_from_its_data_to_its_trade_off(run, monkeypatch):
    monkeypatch.setattr("unstir.run.fairness._PILOT", 400)
    asked = Asked("fairness", protected="group", outcome="decision=granted")
    found, folder = sweep_fairness(run, asked, (1.0,), count=400, progress=False)
    assert [point["strength"] for point in found["points"]] == [0.0, 1.0]
    metrics = {result["metric"] for result in found["points"][0]["results"]}
    assert {"gap", "fidelity", "fidelity-to-data", "column-distances", "associations"} <= metrics
    for result in found["points"][1]["results"]:
        assert result["interval"][0] <= result["value"] <= result["interval"][1]
    assert found["groups"] == ["a", "b"] and 0.15 < found["data_gap"] < 0.3
    # the cost in nats, by hand from the data's four cells
    cells = DATA_CELLS / DATA_CELLS.sum()
    fair = cells.sum(1, keepdims=True) * cells.sum(0, keepdims=True)
    assert found["cost"] == pytest.approx((fair * np.log(fair / cells)).sum(), rel=1e-6)
    assert (folder / "sweep.json").is_file()


def test_the_batch_guide_serves_the_same_table(run):
    for given in (None, "repays"):
        asked = Asked("fairness", protected="group", outcome="decision", given=given, way="batch")
        drawn, _ = draw_guided(run, guide_of(run, asked), 2.0, 20)
        assert set(drawn) == set(run.shape)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((None, "decision"), "--protected COLUMN"),
        (("grup", "decision"), "did you mean 'group'"),
        (("group", "income"), "holds numbers"),
        (("group", "group"), "different ones"),
        (("group", "purpose"), "--outcome purpose=car"),
        (("group", "purpose=boat"), "level of 'purpose'"),
        (("group", "decision", "purpose"), "two levels"),
        (("group", "decision", None, "magic"), "way to fairness"),
    ],
)
def test_rules_that_cannot_be_are_answered(run, options, said):
    with pytest.raises(InputError, match=said):
        fair_guide(run, *options)


DATA_CELLS = np.zeros((2, 2))
for _part in (DATA.state, DATA.held_out.state):
    np.add.at(DATA_CELLS, tuple(RULE.codes(_part).numpy().T), 1)
