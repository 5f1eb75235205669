"""A joint belief learns: nothing is lost where the parts are independent, and the coupling is found where they are not.

The law is an angle and a token that hang together through a hidden component, or do not; all of it is known exactly,
and so is the best belief whose parts are independent given the noisy state, which is what a network can tell. What is
measured is the cross-entropy of a trained belief above that one, in nats, part by part.
"""

import math
from functools import cache

import pytest
import torch
from thresholds import assert_holds

from unstir.core.seeds import Seeds
from unstir.denoisers.learned.joint import JointDenoiser
from unstir.exact.categorical import TokenProductDenoiser
from unstir.exact.joint import JointMixtureDenoiser
from unstir.exact.wrapped import WrappedMixtureDenoiser
from unstir.networks.mlp import MLP
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.joint import JointProcess
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.wrapped import WrappedProcess
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import sample
from unstir.verification.statistics import at_most

TORUS = WrappedProcess(ExponentialVESchedule(0.01, 1.0))
TOKENS = CategoricalProcess(3, rates="absorbing")
CENTRES, SHARES = (0.2, 0.65), ([0.8, 0.15, 0.05], [0.1, 0.2, 0.7])


def law(coupled):
    """An angle about one of two places and a token; coupled, the same hidden component chooses for both."""
    angles = [WrappedMixtureDenoiser([1.0], [[centre]], 0.07, TORUS) for centre in CENTRES]
    tokens = [TokenProductDenoiser([shares], TOKENS) for shares in SHARES]
    both = ([0, 0], [1, 1]) if coupled else ([0, 0], [0, 1], [1, 0], [1, 1])
    return JointMixtureDenoiser(
        [1 / len(both)] * len(both),
        {"angle": [angles[one] for one, _ in both], "token": [tokens[other] for _, other in both]},
    )


def make(names, seed):
    """A small belief about some of the parts; each counts its loss in nats per element."""
    process = JointProcess({name: {"angle": TORUS, "token": TOKENS}[name] for name in names})
    denoiser = JointDenoiser(None, process, parts={"angle": {"components": 3}} if "angle" in names else None)
    size, outputs = denoiser.network_size({name: (1,) for name in names})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        denoiser.network = MLP(size, width=48, depth=2, embedding=32, outputs=outputs)
    return denoiser


def trained(names, coupled, steps, seed=0, batch=256):
    """Trained on fresh draws of the law at uniform times, by Adam with a rate that falls to zero."""
    denoiser, source = make(names, seed), law(coupled)
    optimizer = torch.optim.Adam(denoiser.parameters(), 4e-3, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps)
    data = source.draw(Seeds.range(100 + seed, 20 * batch))
    for step in range(steps):
        seeds = Seeds.range(200 + seed, batch, start=step * batch)
        rows = seeds.at("rows").integers(0, 20 * batch)
        x0 = {name: data[name][rows] for name in names}
        t = ((seeds.at("time").uniform((1,))[0] + torch.arange(batch) / batch) % 1).clamp(1e-3, 1 - 1e-3)
        xt = denoiser.process.noise(x0, t, seeds.at("noise"))
        optimizer.zero_grad()
        denoiser(to_float(xt), t).loss(x0).mean().backward()
        optimizer.step()
        schedule.step()
    return denoiser.eval()


def to_float(state):
    """Angles in the networks' precision; tokens stay what they are."""
    return {name: part.float() if part.is_floating_point() else part for name, part in state.items()}


@cache
def measured(coupled):
    """Noisy states of 3000 fresh rows, each at a time of its own, and the exact log-probability of each clean part."""
    source, count = law(coupled), 3000
    seeds = Seeds.range(999, count)
    x0 = source.draw(seeds.at("data"))
    t = ((torch.arange(count) + 0.5) / count).double()[
        torch.randperm(count, generator=torch.Generator().manual_seed(0))
    ]
    xt = source.process.noise(x0, t, seeds.at("noise"))
    return x0, t, xt, marginals(source(xt, t), x0)


def marginals(belief, x0):
    """Of each part, the log-density of its own marginal of the exact belief, float64 (batch,)."""
    return {
        name: torch.logsumexp(
            belief.log_weights + torch.stack([one.parts[name].log_prob(x0[name]) for one in belief.members], 1), 1
        )
        for name in x0
    }


def excess(denoiser, coupled):
    """Of each part, what the trained belief loses row by row against the exact one, in nats."""
    x0, t, xt, best = measured(coupled)
    names = list(denoiser.process.parts)
    with torch.no_grad():
        belief = denoiser(to_float({name: xt[name] for name in names}), t)
    return {name: best[name] - belief.parts[name].log_prob(x0[name]) for name in names}


def information(coupled):
    """What each part gains, on average, from the other one's noisy state, in nats: exact, joint less alone."""
    x0, t, xt, best = measured(coupled)
    alone = {
        "angle": WrappedMixtureDenoiser([0.5, 0.5], [[centre] for centre in CENTRES], 0.07, TORUS),
        "token": TokenProductDenoiser([[sum(pair) / 2 for pair in zip(*SHARES, strict=True)]], TOKENS),
    }
    return {name: (best[name] - alone[name](xt[name], t).log_prob(x0[name])).mean().item() for name in x0}


def test_exact_parts_know_each_other_where_they_are_coupled_only():
    coupled, free = information(True), information(False)
    assert coupled["angle"] > 0.01 and coupled["token"] > 0.02
    assert all(abs(gain) < 1e-9 for gain in free.values())


def test_a_short_training_finds_the_coupling():
    """After 150 steps the token is guessed better from the angle than by anything that does not see it."""
    denoiser = trained(("angle", "token"), True, 150, batch=128)
    lost, gain = excess(denoiser, True)["token"], information(True)["token"]
    error = lost.std().item() / math.sqrt(len(lost))
    assert lost.mean().item() + 5 * error < gain, f"{lost.mean():.4f} ± {error:.4f} nats lost of {gain:.4f} to be had"


@pytest.mark.slow
def test_nothing_is_lost_where_parts_are_independent_and_the_coupling_is_learned_where_they_are_not():
    """A joint belief against beliefs of each part alone, of the same size and training; and its samples' law."""
    steps = 1500
    alone = {name: excess(trained((name,), False, steps), False)[name] for name in ("angle", "token")}
    together = excess(trained(("angle", "token"), False, steps), False)
    coupled_belief = trained(("angle", "token"), True, steps)
    coupled, gain = excess(coupled_belief, True), information(True)
    for name in alone:
        paired = together[name] - alone[name]
        error = paired.std().item() / math.sqrt(len(paired))
        print(
            f"{name}: above the exact belief alone {alone[name].mean():.4f}, together {together[name].mean():.4f}, "
            f"difference {paired.mean():.4f} ± {error:.4f}; coupled {coupled[name].mean():.4f} of {gain[name]:.4f}"
        )
        # trainings differ by more than the rows' noise: a hundredth of a nat is what counts as a loss
        assert_holds(at_most(f"nats lost together, {name}", paired.mean().item() - 5 * error, 0.01))
        spread = coupled[name].std().item() / math.sqrt(len(coupled[name]))
        share = (coupled[name].mean().item() - 5 * spread) / gain[name]
        assert_holds(at_most(f"share of the coupling that is missed, {name}", share, 0.25))
    assert_holds(coupling_of_samples(coupled_belief))


def coupling_of_samples(denoiser, count=4000):
    """How often the token goes with the angle's place among samples, against the exact chance."""
    drawn = sample(
        denoiser, AncestralSampler(), {"angle": (1,), "token": (1,)}, count, steps=64, grid="uniform", batch=1000
    )
    near = ((drawn["angle"].double() - CENTRES[0] + 0.5) % 1 - 0.5).abs() < (CENTRES[1] - CENTRES[0]) / 2
    agree = ((near & (drawn["token"] == 0)) | (~near & (drawn["token"] == 2))).double().flatten()
    # the places lie 6.4 deviations from the line between them
    expected = (SHARES[0][0] + SHARES[1][2]) / 2
    error = math.sqrt(expected * (1 - expected) / count)
    return at_most("tokens that go with their angle, off by", abs(agree.mean().item() - expected), 0.02 + 5 * error)
