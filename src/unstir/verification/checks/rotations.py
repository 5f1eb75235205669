"""Claims of noise, and of exact laws, on rotations and on the sphere: what the two have in common."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.processes import isotropic_gaussian, quaternions, sphere_heat_kernel
from unstir.processes.joint import Drawn
from unstir.verification.base import Effort, Measured, NotMeasured, claim
from unstir.verification.checks import compact_references as reference
from unstir.verification.spaces import numbers, same_moments
from unstir.verification.statistics import at_most, mean_is, same_law

__all__ = [
    "bridge_has_the_moments_of_bayes",
    "compact_belief_follows_bayes",
    "compact_belief_stands_for_the_clean_data",
    "compact_belief_survives_the_ends_of_time",
    "compact_draws_have_the_harmonics",
    "compact_label_chooses",
    "compact_score_is_the_gradient",
    "heat_kernel_is_the_harmonic_series",
    "heat_kernel_survives_the_ends_of_noise",
    "noise_commutes_with_rotation",
    "noise_damps_the_harmonics",
]

PROCESSES = ("rotation", "sphere")
LAWS = ("rotation-mixture", "sphere-mixture")
_KERNELS = {"rotations": isotropic_gaussian, "sphere": sphere_heat_kernel}


def _number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@claim("processes", *PROCESSES)
def heat_kernel_is_the_harmonic_series(process: Any, effort: Effort) -> Iterator[Measured]:
    """Log-density and score of the noise agree with the series of harmonics in high precision, at all noise levels."""
    module, space = _KERNELS[process.space], process.space
    density, score = [0.0], [0.0]
    deviations = effort.of((0.02, 0.1, 0.5, 1.49, 1.51, 3.0), (3e-3, 0.02, 0.1, 0.3, 0.7, 1.1, 1.49, 1.51, 2.5, 5.0))
    for deviation in deviations:
        for angle in effort.of((1e-6, 0.05, 1.0, 3.1), (1e-8, 1e-3, 0.05, 0.099, 0.101, 0.5, 1.0, 2.0, 3.0, 3.14)):
            if angle / deviation > 60:  # a density of e^-1800, for which the series takes minutes
                continue
            log_density, slope = reference.high_precision(space, angle, deviation)
            told = module.log_density(_number(angle), _number(deviation)).item()
            density.append(float(abs(told - log_density) / max(1, abs(log_density))))
            told = module.score(_number(angle), _number(deviation)).item()
            score.append(float(abs(told - slope) / abs(slope)))
    yield at_most("log-density, largest error", max(density), 1e-12)
    yield at_most("score, largest relative error", max(score), 1e-9)


@claim("processes", *PROCESSES)
def heat_kernel_survives_the_ends_of_noise(process: Any, effort: Effort) -> Iterator[Measured]:
    """Density and score are finite for a point, for infinite noise and everywhere between, at all angles."""
    module = _KERNELS[process.space]
    ends = torch.tensor([0.0, 1e-300, 1e-150, 1e-30, 1e-9, 1e-4, 1.0, 1e3, 1e200, torch.inf], dtype=torch.float64)
    angles = torch.tensor([0.0, 1e-300, 1e-12, 1e-4, 1.0, 3.14, np.pi, 4.0], dtype=torch.float64)
    told = torch.cat([work(angles, end) for end in ends for work in (module.log_density, module.score)])
    yield at_most("values that are not finite", int((~told.isfinite()).sum()), 0.0)
    lost = 0
    for t in (0.0, 1e-12, 0.5, 1.0):
        x0 = process.example_data(50).float()
        xt = process.noise(x0, _number(t), effort.seeds(50, "ends", str(t)))
        for state in (x0, xt):
            x = state.clone().requires_grad_()
            logs = process.log_density(x, x0, t)
            (gradient,) = torch.autograd.grad(logs.sum(), x)
            lost += int(
                (
                    ~torch.cat((logs, gradient.flatten(), process.conditional_score(xt, x0, t).flatten())).isfinite()
                ).sum()
            )
    yield at_most("values of float32 states that are not finite", lost, 0.0)


@claim("processes", *PROCESSES)
def noise_damps_the_harmonics(process: Any, effort: Effort) -> Iterator[Measured]:
    """Under noise every harmonic of degree l keeps on average the share exp(-l(l+1) sigma^2/2), as heat does."""
    count = effort.of(4_000, 40_000)
    for t in effort.of((0.55, 0.8), (0.2, 0.4, 0.55, 0.7, 0.8, 0.9)):
        x0 = process.example_data(count)
        drawn = process.noise(x0, _number(t), effort.seeds(count, "damps", str(t)))
        start, end = (reference.elements(x, process.space) for x in (x0, drawn))
        yield _harmonics(f"t = {t:g}", process.space, end, start[:, None], float(process.schedule.sigma(t)))


@claim("processes", *PROCESSES)
def noise_commutes_with_rotation(process: Any, effort: Effort) -> Iterator[Measured]:
    """Data turned and then stirred has the law of data stirred and then turned; so has the bridge."""
    count = effort.of(5_000, 40_000)
    x0, turn, space = process.example_data(count), reference.some_turn(3), process.space
    t, s, seeds = _number(0.6), _number(0.4), effort.seeds(count, "turned")
    after = reference.turned(space, process.noise(x0, t, seeds.at("first")), turn)
    turned = reference.turned(space, x0, turn)
    before = process.noise(turned, t, seeds.at("second"))
    yield from _same("x_0 and x_t", _beside(process, turned, after), _beside(process, turned, before))
    back = [
        process.bridge(xt, Drawn(clean), t, s, seeds.at("bridge", name))
        for name, xt, clean in (("plain", reference.turned(space, after, turn.T), x0), ("turned", before, turned))
    ]
    first = _beside(process, reference.turned(space, back[0], turn), after)
    yield from _same("x_s and x_t", first, _beside(process, back[1], before))


@claim("processes", *PROCESSES)
def bridge_has_the_moments_of_bayes(process: Any, effort: Effort) -> Iterator[Measured]:
    """Between any two states, near or at the two ends of the space, the bridge has the moments of Bayes' rule.

    Moments of the first and second degree, integrated over all of the space.
    """
    space, count = process.space, effort.of(4_000, 40_000)
    some = process.example_data(40)[:, 0]
    first = some[3]
    reach = _half_turn(space)
    cases = [(0.3, 0.3, first @ reach), (0.4, 0.6, some[7]), (0.25, 1.7, some[11]), (2.5, 0.4, some[20])]
    cases += effort.of(
        [], [(0.2, 0.3, some[30]), (1.45, 1.45, first @ reach), (0.3, 0.3, some[3]), (1.2, 0.2, some[9])]
    )
    for number, (before, after, last) in enumerate(cases):
        state, weights = reference.points(space, int(9 / before + 9 / after))
        density = weights * reference.kernel(space, reference.cosine(space, state, first.numpy()), before)
        density = density * reference.kernel(space, reference.cosine(space, state, last.numpy()), after)
        wanted = density / density.sum() @ _moments(state)
        a, b = (x.expand(count, 1, *x.shape) for x in (first, last))
        drawn = process.draw_product(a, _number(before), b, _number(after), effort.seeds(count, "between", number))
        yield mean_is(f"between deviations {before:g} and {after:g}", _moments(drawn[:, 0].numpy()), wanted)


@claim("exact", *LAWS)
def compact_belief_follows_bayes(law: Any, effort: Effort) -> Iterator[Measured]:
    """Evidence, mean and density of the belief are those that Bayes' rule gives, integrated over all of the space."""
    space, count = law.process.space, effort.of(3, 12)
    centres = reference.elements(law.centres, space)
    spreads = law.deviations.reshape(len(centres), -1).numpy()
    x0 = law.draw(effort.seeds(count, "elsewhere"))
    for sigma in effort.of((0.5,), (0.2, 0.5, 1.2)):
        t = law.process.schedule.time_at_sigma(sigma)
        xt = law.draw(effort.seeds(count, "bayes", str(sigma)), t)
        belief = law(xt, t)
        state, weights = reference.points(space, int(9 * (1 / sigma + 1 / min(spreads.min(), 1))))
        logs, means = _bayes(space, state, weights, reference.elements(xt, space), centres, spreads, sigma)
        joint = law.log_weights.numpy() + logs.sum(2)
        evidence = np.logaddexp.reduce(joint, 1)
        yield at_most(f"log p_t(x_t), sigma = {sigma:g}", np.abs(evidence - law.log_density(xt, t).numpy()), 1e-8)
        shares = np.exp(joint - evidence[:, None])
        mean = (shares.reshape(*shares.shape, *(1,) * (means.ndim - 2)) * means).sum(1)
        told = reference.elements(belief.moment, space)
        yield at_most(f"mean features of the belief, sigma = {sigma:g}", np.abs(mean - told), 1e-6)
        clean, seen = reference.elements(x0, space), reference.elements(xt, space)
        noise = np.log(reference.kernel(space, reference.cosine(space, clean, seen), sigma).clip(1e-300)).sum(1)
        wanted = law.log_density(x0, 0.0).numpy() + noise - evidence
        likely = noise > -20  # beyond, the plain series has lost its digits
        gaps = np.abs(belief.log_prob(x0).numpy() - wanted)[likely]
        yield at_most(f"log-density of the belief, sigma = {sigma:g}", gaps.max(initial=0.0), 1e-5)


@claim("exact", *LAWS)
def compact_belief_stands_for_the_clean_data(law: Any, effort: Effort) -> Iterator[Measured]:
    """Clean data with its noisy version, and draws from the belief with it, have one joint law."""
    count, process = effort.of(5_000, 30_000), law.process
    for sigma in effort.of((0.6,), (0.05, 0.3, 1.0, 2.0)):
        t, seeds = process.schedule.time_at_sigma(sigma), effort.seeds(count, "stands", str(sigma))
        x0 = law.draw(seeds.at("data"))
        xt = process.noise(x0, t, seeds.at("noise"))
        seen = process.noise(law.draw(seeds.at("other")), t, seeds.at("seen"))
        drawn = law(seen, t).sample(seeds.at("belief"))
        yield from _same(f"x_0 and x_t, sigma = {sigma:g}", _beside(process, x0, xt), _beside(process, drawn, seen))


@claim("exact", *LAWS)
def compact_draws_have_the_harmonics(law: Any, effort: Effort) -> Iterator[Measured]:
    """Draws have the average of every harmonic that the law has, clean and noisy."""
    count, space = effort.of(5_000, 40_000), law.process.space
    centres, weights = reference.elements(law.centres, space), law.log_weights.exp().numpy()
    spreads = law.deviations.reshape(len(centres), -1).numpy()
    places = reference.elements(law.process.example_data(3), space)[:, 0]
    for t in effort.of((0.0, 0.6), (0.0, 0.3, 0.6, 0.8)):
        drawn = reference.elements(law.draw(effort.seeds(count, "draws", str(t)), t), space)
        total = np.hypot(spreads, float(law.process.schedule.sigma(t)))
        seen, wanted = [], []
        for place in places:
            found = reference.zonal(space, reference.cosine(space, drawn, place), 5)
            known = reference.zonal(space, reference.cosine(space, centres, place), 5)
            for degree, (of_draws, of_centres) in enumerate(zip(found, known, strict=True)):
                if degree:
                    seen.append(of_draws)
                    wanted.append(weights @ (np.exp(-degree * (degree + 1) * total**2 / 2) * of_centres))
        yield mean_is(f"harmonics to degree 5 about three places, t = {t:g}", np.stack(seen, 1), np.stack(wanted))


@claim("exact", *LAWS)
def compact_score_is_the_gradient(law: Any, effort: Effort) -> Iterator[Measured]:
    """The score is the gradient of the log-density along the space, at all noise levels."""
    for t in (0.0, 1e-3, 0.3, 0.6, 1.0):
        xt = law.draw(effort.seeds(effort.of(100, 1_000), "score", str(t)), t)
        move = torch.zeros(*xt.shape[: xt.ndim - len(law.process.element)], 3, dtype=torch.float64, requires_grad=True)
        moved = (
            xt + move if law.process.space == "sphere" else xt @ quaternions.to_matrix(quaternions.exponential(move))
        )
        (gradient,) = torch.autograd.grad(law.log_density(moved, t).sum(), move)
        scale = gradient.abs().max().clamp(min=1e-300)
        yield at_most(
            f"largest error over the largest score, t = {t:g}",
            ((law.score(xt, t) - gradient).abs() / scale).max(),
            1e-9,
        )


@claim("exact", *LAWS)
def compact_label_chooses(law: Any, effort: Effort) -> Iterator[Measured]:
    """Laws given a label add up to the law of which the label is unknown, and dropping it forgets it."""
    if law.labels is None:
        raise NotMeasured("this law has no labels", silent=True)
    count, t = effort.of(20, 200), 0.5
    xt = law.draw(effort.seeds(count, "labels"), t)
    terms = []
    for label in law.labels.unique():
        weight = law.log_weights[law.labels == label].logsumexp(0)
        terms.append(weight + law.log_density(xt, t, label=label.expand(count)))
    summed = torch.stack(terms).logsumexp(0)
    yield at_most("sum over labels, error of log p_t", (summed - law.log_density(xt, t)).abs().max(), 1e-10)
    bound, everyone = law.labels[:1].expand(count), torch.ones(count, dtype=torch.bool)
    dropped, plain = law(xt, _number(t), everyone, label=bound), law(xt, _number(t))
    yield at_most("mean with the label dropped, against none", (dropped.mean - plain.mean).abs().max(), 0.0)


@claim("exact", *LAWS)
def compact_belief_survives_the_ends_of_time(law: Any, effort: Effort) -> Iterator[Measured]:
    """At the ends of time the belief is finite: the state itself at 0; and it has the state's dtype."""
    x0 = law.draw(effort.seeds(20, "ends"))
    belief = law(x0, _number(0.0))
    yield at_most(
        "draws at time 0, distance from the state", (belief.sample(effort.seeds(20, "b")) - x0).abs().max(), 1e-12
    )
    yield at_most("mean at time 0, distance from the state", (belief.mean - x0).abs().max(), 1e-10)
    lost = 0
    for t in (0.0, 1e-9, 1e-3, 1.0):
        xt = law.draw(effort.seeds(20, str(t)), t).float()
        belief = law(xt, _number(t))
        for told in (belief.sample(effort.seeds(20, "drawn")), belief.mean):
            lost += (
                int(told.dtype != xt.dtype) + int((~told.isfinite()).sum()) + int((~law.process.contains(told)).sum())
            )
        lost += int(belief.log_prob(x0).isnan().sum())
    yield at_most("values that are not finite, elsewhere or of another dtype", lost, 0.0)


def _bayes(
    space: str, state: Any, weights: Any, seen: Any, centres: Any, spreads: Any, sigma: float
) -> tuple[np.ndarray, np.ndarray]:
    """Of every component and element: the log-evidence (batch, k, n), and the mean (batch, k, n, *element)."""
    logs, means = [], []
    flat = state.reshape(len(state), -1)
    priors = [
        [
            reference.kernel(space, reference.cosine(space, state, centre), spread)
            for centre, spread in zip(*pair, strict=True)
        ]
        for pair in zip(centres, spreads, strict=True)
    ]
    for row in seen:
        noise = [reference.kernel(space, reference.cosine(space, state, element), sigma) for element in row]
        masses = np.array([[weights * a * b for a, b in zip(of, noise, strict=True)] for of in priors])
        logs.append(np.log(masses.sum(-1).clip(1e-300)))  # what the plain series has lost weighs nothing
        means.append((masses @ flat / masses.sum(-1)[..., None]).reshape(*masses.shape[:2], *state.shape[1:]))
    return np.stack(logs), np.stack(means)


def _harmonics(what: str, space: str, drawn: np.ndarray, start: np.ndarray, sigma: float) -> Measured:
    cosines = reference.cosine(space, drawn, start[:, 0])
    found = list(reference.zonal(space, cosines, 6))[1:]
    scale = [1.0 if space == "sphere" else 2 * degree + 1 for degree in range(1, 7)]  # at no angle
    wanted = [peak * np.exp(-(degree + 1) * (degree + 2) * sigma**2 / 2) for degree, peak in enumerate(scale)]
    expected = np.broadcast_to(np.array(wanted)[:, None], (6, drawn.shape[1]))
    return mean_is(f"harmonics to degree 6 of the angle moved, {what}", np.stack(found, 1), expected)


def _half_turn(space: str) -> Tensor:
    """What takes a state almost to the far end of the space, from the right."""
    if space == "sphere":
        return -torch.eye(3, dtype=torch.float64)
    return quaternions.to_matrix(quaternions.exponential(torch.tensor([0.0, 3.1, 0.3], dtype=torch.float64)))


def _moments(x: np.ndarray) -> np.ndarray:
    """All entries, and the products of the first three and the last with all."""
    flat = x.reshape(len(x), -1)
    return np.concatenate((flat, *(flat[:, [index]] * flat for index in (0, 1, 2, -1))), 1)


def _beside(process: Any, *states: Tensor) -> np.ndarray:
    return np.concatenate([numbers(process, state) for state in states], 1)


def _same(quantity: str, first: np.ndarray, second: np.ndarray) -> Iterator[Measured]:
    yield same_law(quantity, first, second)
    yield same_moments(f"{quantity}: moments", first, second)
