"""Couplings at work: against POT, in a training that resumes to the bit, and on pairs of two sets of data."""

import numpy as np
import ot
import pytest
import torch
from mutants import is_caught
from toy_problem import Network, Points, make_denoiser, same_bits

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.learned.network import NetworkDenoiser
from unstir.processes.bridge import BridgeProcess
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import sample
from unstir.training.bridges import fit_schrodinger_bridge, reflow
from unstir.training.checkpoints import latest
from unstir.training.couplings import (
    ConditionalTransportCoupling,
    IndependentCoupling,
    SinkhornCoupling,
    TransportCoupling,
    _weight,
    squared_distances,
)
from unstir.training.loop import train
from unstir.training.options import TrainingOptions, changed_options
from unstir.training.pairs import Pairs, Unpaired
from unstir.training.session import Session
from unstir.verification.checks import couplings

OPTIONS = {
    "steps": 6,
    "batch": 32,
    "ema": None,
    "threads": 1,
    "precision": "float32",
    "noise_levels": "uniform",
    "learning_rate": 1e-3,
}
ON_POINTS = {**OPTIONS, "coupling": "conditional-transport", "accumulate": 2}


def bridge_denoiser(process, seed=0):
    denoiser = make_denoiser(seed)
    return NetworkDenoiser(denoiser.network, process)


def clouds(count=60):
    x0, source = (Seeds.range(seed, count).normal((2,)) for seed in (1, 2))
    return x0, 2 * source + 1


def test_exact_transport_as_pot_knows_it():
    x0, source = clouds()
    chosen = TransportCoupling()(x0, source, {}, Seeds.range(0, 60))
    cost = ((x0 - source[chosen]) ** 2).sum().item() / 60
    theirs = ot.emd2([], [], ot.dist(x0.double().numpy(), source.double().numpy()))
    assert cost == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("sigma", [0.8, 3.0])
def test_the_entropic_plan_as_pot_knows_it(sigma):
    x0, source = (part.double() for part in clouds())
    plan = SinkhornCoupling(sigma, tolerance=1e-9, iterations=20_000).log_plan(x0, source).exp().numpy() / 60
    even = np.full(60, 1 / 60)
    theirs = ot.sinkhorn(
        even,
        even,
        ot.dist(x0.numpy(), source.numpy()),
        2 * sigma**2,
        method="sinkhorn_log",
        stopThr=1e-12,
        numItermax=20_000,
    )
    np.testing.assert_allclose(plan, theirs, rtol=1e-6, atol=1e-12)


def test_a_tiny_motion_makes_the_entropic_plan_the_exact_one():
    x0 = torch.arange(12, dtype=torch.float64)[:, None]
    source = x0.flip(0) + 0.3
    chosen = SinkhornCoupling(0.05)(x0, source, {}, Seeds.range(0, 12))
    assert torch.equal(chosen, TransportCoupling()(x0, source, {}, Seeds.range(0, 12)))


@pytest.mark.parametrize("ratio", [0.01, 0.2, 1.0])
def test_the_weight_of_conditions_is_the_least_that_keeps_the_ratio(ratio):
    x0, source = clouds(40)
    told = Seeds.range(3, 40).normal((1,), torch.float64)
    cost, apart = squared_distances(x0, source), squared_distances(told, told)

    def share(weight):
        return (cost + weight * apart <= cost.diagonal()[:, None]).double().mean().item()

    weight = _weight(cost, apart, ratio)
    floor = 1 / 40  # what a row came with always pays
    assert share(weight) <= max(ratio, floor)
    if weight > 0:
        assert share(weight * (1 - 1e-6)) > ratio - 1e-12


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: SinkhornCoupling(0.0), "is positive; seen 0.0"),
        (lambda: SinkhornCoupling(1.0, iterations=0), "iterations >= 1"),
        (lambda: ConditionalTransportCoupling(0.0), r"lies in \(0, 1\]; seen 0.0"),
        (lambda: TrainingOptions(coupling="transprot"), "did you mean 'transport'"),
        (lambda: TrainingOptions.of({"coupling": 3}), "must be a name"),
        (lambda: train_on_points(make_denoiser(), {"coupling": "transport"}), "source: normal"),
        (lambda: train_on_points(bridge_denoiser(BridgeProcess()), {}), "condition 'source'"),
        (
            lambda: train_on_points(bridge_denoiser(BridgeProcess(source="normal")), {"coupling": "sinkhorn"}),
            "is positive; seen 0.0",
        ),
        (lambda: Pairs(torch.zeros(3, 2), torch.zeros(3, 1)), r"\(3, 2\) and \(3, 1\)"),
        (lambda: Pairs(*clouds(), {"label": torch.zeros(5)}, {"label": {"classes": 2}}), "5 rows for 60 pairs"),
        (lambda: Pairs(*clouds(), {"label": torch.zeros(60)}), "needs its kind"),
        (lambda: Unpaired(Points(), Pairs(torch.zeros(3, 1), torch.zeros(3, 1))), r"\(2,\) of points and \(1,\)"),
        (lambda: reflow(bridge_denoiser(BridgeProcess(sigma=1.0)), clouds()[1], draw), "straightens a flow"),
        (lambda: reflow(make_denoiser(), clouds()[1], draw), "seen one of GaussianProcess"),
        (lambda: fit(1.0, 0.5), "one sigma, above 0; seen 1.0 and 0.5"),
        (lambda: fit(0.0, 0.0), "above 0; seen 0.0"),
    ],
)
def test_bad_input_is_named(made, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some come as far as to begin a run
    with pytest.raises(InputError, match=message):
        made()


def train_on_points(denoiser, options):
    train(denoiser, Points(), {**OPTIONS, **options}, "never", progress=False)


def fit(first, second):
    backward, forward = (bridge_denoiser(BridgeProcess(sigma=sigma)) for sigma in (first, second))
    fit_schrodinger_bridge(backward, forward, *clouds(), draw)


def seen_pairs(monkeypatch, denoiser, data, options, folder):
    """Every pair that a training makes noise of: data, sources, conditions that the network is told."""
    pairs = []
    noise = type(denoiser.process).noise

    def record(self, x0, t, seeds, mask=None, source=None):
        pairs.append((x0, source, seeds.samples))
        return noise(self, x0, t, seeds, mask, source)

    monkeypatch.setattr(BridgeProcess, "noise", record)
    train(denoiser, data, options, folder, progress=False)
    return [torch.cat(parts) for parts in zip(*pairs, strict=True)]


def test_a_training_pairs_within_each_part_and_label(monkeypatch, tmp_path):
    """The sources are the process's own noise, exchanged; labels keep theirs; nothing is told the network of them."""
    process = BridgeProcess(source="normal")
    x0, source, samples = seen_pairs(monkeypatch, bridge_denoiser(process), Points(), ON_POINTS, tmp_path / "own")
    drawn = process.normal_source((2,), Seeds(0, samples))
    assert not torch.equal(source, drawn)
    straight = 0
    for first in range(0, len(x0), 16):
        part = slice(first, first + 16)
        same = (source[part, None] == drawn[None, part]).all(2)
        assert torch.equal(same.sum(0), torch.ones(16, dtype=torch.long))
        came = same.long().argmax(1)
        cluster = x0[part, 0] > 0
        assert torch.equal(cluster[came], cluster)
        straight += int((came == torch.arange(16)).sum())
    assert straight < len(x0) / 2


def test_it_resumes_to_the_bit(tmp_path):
    process = BridgeProcess(source="normal")
    for folder, stops in (("whole", (6,)), ("halves", (3, 6))):
        for steps in stops:
            denoiser = bridge_denoiser(process)
            train(denoiser, Points(), {**ON_POINTS, "steps": steps}, tmp_path / folder, progress=False)
    first, second = (latest(tmp_path / folder).read("weights") for folder in ("whole", "halves"))
    assert same_bits(first, second)


def test_how_a_batch_is_cut_is_free_only_where_pairs_are_as_drawn():
    for coupling, changed in (("independent", set()), ("transport", {"accumulate"})):
        before = TrainingOptions(coupling=coupling, accumulate=1).record()
        assert set(changed_options(before, TrainingOptions(coupling=coupling, accumulate=2))) == changed


def test_the_default_training_of_other_processes_is_as_it_was(monkeypatch, tmp_path):
    """A condition that happens to be called source is the network's, where the process is no bridge."""
    monkeypatch.setattr(Session, "_paired", lambda self, x0, condition, seeds: {**condition, "source": x0})
    told = []

    class Told(Network):
        def forward(self, x, noise, drop=None, source=None, label=None):
            told.append(source)
            return super().forward(x, noise, drop, label)

    denoiser = make_denoiser()
    denoiser.network = Told()
    train(denoiser, Points(), OPTIONS, tmp_path, progress=False)
    assert all(source is not None for source in told)


def test_two_sets_that_do_not_know_each_other(tmp_path):
    data = Unpaired(Points(50), Pairs(*clouds(30)))
    rows = np.arange(40)
    _, condition = data.batch(rows, Seeds.range(5, 40).at("augment"))
    again = data.batch(rows[7:9], Seeds.range(5, 40).at("augment")[7:9])[1]["source"]
    assert torch.equal(again, condition["source"][7:9])
    other = data.batch(rows, Seeds.range(6, 40).at("augment"))[1]["source"]
    assert not torch.equal(other, condition["source"]) and sorted(condition) == ["label", "source"]
    pool = clouds(30)[0]
    assert (condition["source"][:, None] == pool[None]).all(2).any(1).all()
    assert torch.equal(data.batch(rows)[1]["source"], pool[rows % 30])
    assert len(data.digest) == 64 and data.digest != Unpaired(Points(51), Pairs(*clouds(30))).digest
    train(
        bridge_denoiser(BridgeProcess(sigma=0.5)), data, {**OPTIONS, "coupling": "sinkhorn"}, tmp_path, progress=False
    )


def test_the_network_may_see_the_source_under_a_name_of_its_own(tmp_path):
    from unstir.networks.mlp import MLP

    x0, source = clouds()
    data = Pairs(x0, source, {"vector": source}, {"vector": {"size": 2}})
    with torch.random.fork_rng():
        network = MLP((2,), data.conditions, width=16, depth=1, embedding=8)
    denoiser = NetworkDenoiser(network, BridgeProcess(sigma=0.5))
    train(denoiser, data, OPTIONS, tmp_path, progress=False)
    drawn = sample(denoiser, AncestralSampler(), (2,), 60, start=source, condition={"vector": source}, steps=3)
    assert drawn.shape == (60, 2)


def draw(denoiser, starts, seeds):
    return sample(denoiser, AncestralSampler(), (2,), seeds=seeds, start=starts, steps=3)


def test_rounds_of_schrodingers_bridge_train_each_way_on_what_the_other_drew(tmp_path, monkeypatch):
    data, sources = clouds()
    seen = []
    monkeypatch.setattr(
        "unstir.training.bridges.train",
        lambda denoiser, pairs, options, folder, **how: seen.append((denoiser, pairs, options.coupling, folder.name)),
    )
    backward, forward = (bridge_denoiser(BridgeProcess(sigma=0.5), seed) for seed in (0, 1))
    options = {**OPTIONS, "coupling": "sinkhorn"}
    fit_schrodinger_bridge(backward, forward, data, sources, draw, options, tmp_path, rounds=2, progress=False)
    assert [part[3] for part in seen] == [f"round-{n}-{way}" for n in (1, 2) for way in ("backward", "forward")]
    assert [part[0] for part in seen] == [backward, forward] * 2
    assert [part[2] for part in seen] == ["sinkhorn", *["independent"] * 3]
    # one end of the pairs is true: the clean end of the way that is trained
    assert all(torch.equal(part[1].x0, end) for part, end in zip(seen, (data, sources, data, sources), strict=True))
    assert sorted(seen[0][1].source[:, 0].tolist()) == sorted(sources[:, 0].tolist())
    assert not torch.equal(seen[2][1].source, seen[0][1].source)


def test_reflow_trains_on_the_pairs_of_the_flow(tmp_path):
    denoiser = bridge_denoiser(BridgeProcess())
    sources = clouds()[1]
    wanted = draw(denoiser, sources, Seeds.range(0, 60))
    given = []

    def drawn(denoiser, starts, seeds):
        given.append(draw(denoiser, starts, seeds))
        return given[-1]

    again = reflow(denoiser, sources, drawn, OPTIONS, tmp_path, rounds=2, progress=False)
    assert again is denoiser and torch.equal(given[0], wanted) and not torch.equal(given[1], wanted)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["round-1", "round-2"]


class Shuffled(IndependentCoupling):
    """Draws sources anew from the part, with repeats."""

    def __call__(self, x0, source, condition, seeds):
        return seeds.integers(0, len(x0))


class NearestOnly(TransportCoupling):
    """Every row takes the source that is nearest to it."""

    def __call__(self, x0, source, condition, seeds):
        return squared_distances(x0, source).argmin(1)


class Greedy(TransportCoupling):
    """Row by row the nearest source that is left."""

    def __call__(self, x0, source, condition, seeds):
        cost = squared_distances(x0, source)
        chosen = []
        for row in range(len(x0)):
            chosen.append(int(cost[row].argmin()))
            cost[:, chosen[-1]] = torch.inf
        return torch.tensor(chosen)


class NearestPlan(SinkhornCoupling):
    """A plan whose columns were never balanced."""

    def log_plan(self, x0, source):
        return (-squared_distances(x0, source) / (2 * self.sigma**2)).log_softmax(1)

    def __call__(self, x0, source, condition, seeds):
        from unstir.core.choices import choose

        return choose(self.log_plan(x0, source), seeds.at("pair"))


class Blind(ConditionalTransportCoupling):
    """Sees no conditions."""

    def __call__(self, x0, source, condition, seeds):
        return super().__call__(x0, source, {}, seeds)


@pytest.mark.parametrize(
    ("check", "original", "mutant"),
    [
        (couplings.coupling_keeps_data_and_sources, IndependentCoupling(), Shuffled()),
        (couplings.coupling_keeps_data_and_sources, TransportCoupling(), NearestOnly()),
        (couplings.coupling_keeps_data_and_sources, SinkhornCoupling(1.0), NearestPlan(1.0)),
        (couplings.transport_is_the_cheapest, TransportCoupling(), Greedy()),
        (couplings.conditional_transport_leaves_each_condition_the_source, None, Blind()),
    ],
)
def test_broken_couplings_are_caught(check, original, mutant):
    assert is_caught(check, original, mutant)


def test_an_unbalanced_plan_is_no_schrodinger_plan(monkeypatch):
    monkeypatch.setattr(SinkhornCoupling, "log_plan", NearestPlan.log_plan)
    assert is_caught(couplings.sinkhorn_plan_is_schrodingers, None, SinkhornCoupling(1.0))


LEARNING = {
    "ema": None,
    "threads": 1,
    "precision": "float32",
    "noise_levels": "uniform",
    "drop_condition": 0.0,
    "log_every": 1000,
    "learning_rate": {"name": "cosine", "peak": 3e-3, "warm_up": 20},
}


def small(process, shape, kinds=None, seed=0, variance="none"):
    from unstir.networks.mlp import MLP

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        outputs = 2 if variance == "learned" else 1
        network = MLP(shape, kinds, width=48, depth=2, embedding=16, outputs=outputs)
    return NetworkDenoiser(network, process, variance=variance)


class Clusters(Points):
    """Two clusters of deviation 0.4 at -1.5 and 1.5 on the line, told apart by their label."""

    shape = (1,)

    def __init__(self, count=4000):
        super().__init__(count)
        self.values = (3.0 * self.labels - 1.5)[:, None] + 0.4 * Seeds.range(1, count).normal((1,))


@pytest.mark.slow
def test_plain_transport_biases_a_conditional_model_and_condition_aware_transport_does_not(tmp_path):
    """Wasserstein distances of samples given each label to the law, with the whole noise as source; see also the KS."""
    from scipy import stats

    from unstir.core.catalogue import build

    found = {}
    for coupling in ("transport", "conditional-transport"):
        denoiser = small(BridgeProcess(source="normal"), (1,), Clusters.conditions)
        train(
            denoiser, Clusters(), {**LEARNING, "steps": 1000, "batch": 128, "coupling": coupling}, tmp_path / coupling
        )
        worst = []
        for label in (0, 1):
            told = {"label": torch.full((2000,), label)}
            drawn = sample(denoiser, build("samplers", "rk4"), (1,), 2000, condition=told, steps=15, batch=2000)
            levels = (np.arange(2000) + 0.5) / 2000
            worst.append(
                stats.wasserstein_distance(drawn[:, 0].numpy(), stats.norm(3.0 * label - 1.5, 0.4).ppf(levels))
            )
        found[coupling] = max(worst)
    # of 2000 exact draws it is 0.4 * 1.2 / sqrt(2000) = 0.01
    assert found["conditional-transport"] < 0.1 and found["transport"] > 0.4


@pytest.mark.slow
def test_sinkhorn_pairs_and_iterated_fitting_learn_schrodingers_bridge(tmp_path):
    """The coupling of source and samples, against the closed form for two normal laws; plain pairs learn another."""
    from unstir.exact.transport import schrodinger_coupling

    count, sigma = 6000, 0.5
    data = Seeds.range(1, count).normal((1,)) + 0.5
    sources = 0.6 * Seeds.range(2, count).normal((1,)) - 1.0
    options = {**LEARNING, "steps": 600, "batch": 256}
    wanted = schrodinger_coupling(data.mT.cov().reshape(1, 1), sources.mT.cov().reshape(1, 1), sigma).item()

    def go(denoiser, starts, seeds):
        return sample(denoiser, AncestralSampler(), (1,), seeds=seeds, start=starts, steps=20, batch=2000)

    def coupled(denoiser):
        return torch.cat((go(denoiser, sources, Seeds.range(9, count)), sources), 1).mT.cov()[0, 1].item()

    def made(seed=0):
        return small(BridgeProcess(sigma=sigma), (1,), seed=seed, variance="learned")

    found = {}
    for coupling in ("independent", "sinkhorn"):
        denoiser = made()
        order = Seeds.range(4, 1).generator().permutation(count)
        train(denoiser, Pairs(data, sources[order]), {**options, "coupling": coupling}, tmp_path / coupling)
        found[coupling] = coupled(denoiser)
    backward, _ = fit_schrodinger_bridge(made(), made(1), data, sources, go, options, tmp_path / "rounds", rounds=3)
    found["rounds"] = coupled(backward)
    # a sampling error of sqrt((a b + c^2)/n) = 0.01, and what the networks and 20 steps miss
    assert abs(found["sinkhorn"] - wanted) < 0.04 and abs(found["rounds"] - wanted) < 0.04, (found, wanted)
    assert wanted - found["independent"] > 0.06, (found, wanted)


@pytest.mark.slow
def test_reflow_straightens_the_flow_to_a_mixture(tmp_path):
    """Four clusters from normal noise: one step of Euler's misses the flow's own end by much less after a reflow."""
    from unstir.core.catalogue import build
    from unstir.exact.pairs import PairMixtureDenoiser

    unit = torch.eye(2, dtype=torch.float64)
    centres = 2 * torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]], dtype=torch.float64)
    data = ([0.25] * 4, centres, (0.04 * unit).expand(4, 2, 2))
    law = PairMixtureDenoiser.independent(data, ([1.0], [[0.0, 0.0]], unit[None]), BridgeProcess())
    x0, sources = (part.float() for part in law.draw_pairs(Seeds.range(1, 4000)))
    options = {**LEARNING, "steps": 1500, "batch": 256}

    def go(denoiser, starts, seeds):
        return sample(denoiser, build("samplers", "rk4"), (2,), seeds=seeds, start=starts, steps=15, batch=4000)

    def missed(denoiser):
        seeds = Seeds.range(0, 4000)
        once = sample(denoiser, build("samplers", "euler"), (2,), seeds=seeds, start=sources, steps=1, batch=4000)
        return (once - go(denoiser, sources, seeds)).square().sum(1).mean().sqrt().item()

    denoiser = small(BridgeProcess(), (2,))
    train(denoiser, Pairs(x0, sources), options, tmp_path / "flow")
    before = missed(denoiser)
    after = missed(reflow(denoiser, sources, go, options, tmp_path / "reflow"))
    assert after < 0.6 * before, (before, after)
