"""Lorenz's models: the order of their steps, what they keep, and how fast they forget."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy import integrate, stats
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.physics.lorenz import Flow, Lorenz63, Lorenz96, TwoScaleLorenz96
from unstir.verification.base import Effort, Measured, claim
from unstir.verification.statistics import at_most, distribution_is, mean_is, order_of

__all__ = [
    "lorenz_63_forgets_at_its_rate",
    "lorenz_63_shrinks_and_mirrors",
    "lorenz_kick_law",
    "lorenz_order_four",
    "lorenz_rings_keep_energy",
    "lorenz_rings_turn",
]

NAMES = ("lorenz63", "lorenz96", "two-scale-lorenz96")
_EXPONENT = 0.9056  # of the default Lorenz-63: Sprott, Chaos and time-series analysis (2003), section 4.8.2


def _settled(model: Flow, effort: Effort, count: int = 4) -> Tensor:
    """States on the attractor."""
    begun = model.start(effort.seeds(count, "lorenz"))
    return model.simulate(begun, [0.0, 2.0], step=0.005)[:, -1]


@claim("physics", *NAMES)
def lorenz_order_four(subject: Any, effort: Effort) -> Iterator[Measured]:
    """Paths converge to SciPy's of high order as the fourth power of the step."""
    model = subject()
    x0 = _settled(model, effort)[:1]
    until = 0.1
    told = integrate.solve_ivp(
        lambda t, x: model.tendency(x[None])[0], (0, until), x0[0].numpy(), "DOP853", rtol=1e-13, atol=1e-13
    ).y[:, -1]
    steps = until / (2 ** np.arange(*((6, 10) if isinstance(model, TwoScaleLorenz96) else (3, 7))))
    ends = [model.simulate(x0, [0.0, until], step=float(step))[0, -1].numpy() for step in steps]
    errors = [np.abs(end - told).max() for end in ends]
    yield order_of("order of the steps", steps, errors, 4, 0.25, corrected=True)
    # sixteen times less of the error that is left with each halving: one extrapolation removes most of it
    better = ends[-1] + (ends[-1] - ends[-2]) / 15
    yield at_most("largest error of the last two, extrapolated", np.abs(better - told).max(), 0.1 * errors[-1])


@claim("physics", *NAMES)
def lorenz_kick_law(subject: Any, effort: Effort) -> Iterator[Measured]:
    """White forcing adds its variance times the time, on the shaken numbers only, and the same alone or in a batch."""
    model, calm, until = subject(noise=0.7), subject(), 1e-4
    seeds = effort.seeds(effort.of(400, 4000), "kick")
    x0 = _settled(calm, effort)[:1].expand(len(seeds), -1)
    moved = model.simulate(x0, [0.0, until], seeds, step=until / 2)[:, -1]
    kick = moved - calm.simulate(x0[:1], [0.0, until], step=until / 2)[:, -1]
    shaken = kick[:, : model.shaken] / (0.7 * until**0.5)
    # forcing acts on the rest of the path through the tendency's slope, of the order of the time: 1e-4 x 30
    yield distribution_is("law of the kick", shaken[:, 0].numpy(), lambda x: stats.norm.cdf(x, scale=1.0))
    yield at_most(
        "what is not shaken moves", kick[:, model.shaken :].abs().max() if model.shaken < model.size else 0.0, 1e-2
    )
    alone = model.simulate(x0[:1], [0.0, until], Seeds(seeds.seed, seeds.samples[3:4], seeds.purpose), step=until / 2)
    yield at_most("a path alone against the same in a batch", (alone[0, -1] - moved[3]).abs().max(), 0.0)


@claim("physics", "lorenz63")
def lorenz_63_shrinks_and_mirrors(subject: Any, effort: Effort) -> Iterator[Measured]:
    """Volumes shrink at the rate sigma + 1 + beta, and (-x, -y, z) follows the mirrored path."""
    model = subject()
    x = _settled(model, effort, 16)
    slopes = torch.func.vmap(torch.func.jacrev(model.tendency))(x)
    trace = slopes.diagonal(dim1=1, dim2=2).sum(1)
    yield at_most("divergence against -(sigma + 1 + beta)", (trace + model.sigma + 1 + model.beta).abs().max(), 1e-12)
    mirror = torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64)
    times = np.linspace(0, 2, 5)
    yield at_most(
        "a path and its mirror image",
        (model.simulate(x, times) * mirror - model.simulate(x * mirror, times)).abs().max(),
        0.0,
    )


@claim("physics", "lorenz96", "two-scale-lorenz96")
def lorenz_rings_keep_energy(subject: Any, effort: Effort) -> Iterator[Measured]:
    """Without forcing and damping the sum of squares is kept, by the tendency to rounding and by steps to order."""
    model = subject(forcing=0.0, damping=0.0)
    x = _settled(subject(), effort, 16)
    power = (x * model.tendency(x)).sum(1)
    scale = (x * model.tendency(x)).abs().sum(1)
    yield at_most("power over its parts' size", (power / scale).abs().max(), 1e-14)
    fine = 0.0002 if isinstance(model, TwoScaleLorenz96) else 0.002
    energy = model.simulate(x, [0.0, 0.1], step=fine).square().sum(2)
    coarse = model.simulate(x, [0.0, 0.1], step=4 * fine).square().sum(2)
    lost, before = ((each[:, 1] / each[:, 0] - 1).abs().max() for each in (energy, coarse))
    yield at_most("energy lost, over that with steps four times as long", lost / before, 1 / 64)


@claim("physics", "lorenz96", "two-scale-lorenz96")
def lorenz_rings_turn(subject: Any, effort: Effort) -> Iterator[Measured]:
    """A turned ring follows the turned path."""
    model = subject()
    x = _settled(model, effort)

    def turned(state: Tensor) -> Tensor:
        if isinstance(model, Lorenz96):
            return state.roll(3, -1)
        slow, fast = state[..., : model.variables], state[..., model.variables :]
        return torch.cat((slow.roll(3, -1), fast.roll(3 * model.fast, -1)), -1)

    times = [0.0, 0.05, 0.1]
    away = turned(model.simulate(x, times, step=0.005)) - model.simulate(turned(x), times, step=0.005)
    # a sum over a sector is taken in the same order wherever it stands
    yield at_most("largest difference", away.abs().max(), 1e-12)


@claim("physics", "lorenz63", slow=True)
def lorenz_63_forgets_at_its_rate(subject: Any, effort: Effort) -> Iterator[Measured]:
    """The leading Lyapunov exponent of the default model is 0.906, by pairs of paths that are drawn together again."""
    model: Lorenz63 = subject()
    count, rounds, span, apart = 128, effort.of(40, 400), 0.5, 1e-7
    seeds = effort.seeds(count, "exponent")
    x = model.simulate(model.start(seeds), [0.0, 20.0])[:, -1]
    beside = x + apart * seeds.at("direction").normal((3,), torch.float64)
    growth = torch.zeros(count, dtype=torch.float64)
    for number in range(rounds + 20):
        both = model.simulate(torch.cat((x, beside)), [0.0, span])[:, -1]
        x, beside = both[:count], both[count:]
        away = beside - x
        size = away.norm(dim=1)
        if number >= 20:  # by then the pair lies along the direction that grows fastest
            growth += (size / apart).log()
        beside = x + away * (apart / size)[:, None]
    yield mean_is("the exponent", (growth / (rounds * span)).numpy(), _EXPONENT)
