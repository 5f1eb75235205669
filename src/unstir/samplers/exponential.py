r"""The exponential-integrator family on Gaussian processes: multistep, predictor and corrector.

Along the denoising path, with the half log-SNR :math:`\ell = \log(\alpha/\sigma)`, the belief's mean
:math:`\hat x_0` and a stochasticity :math:`\tau` (0: probability-flow ODE, 1: reverse SDE), the exact solution from
t to s, a distance :math:`h = \ell_s - \ell_t`, is, with :math:`a = 1 + \tau^2`,

.. math::
    x_s = \tfrac{\sigma_s}{\sigma_t} e^{-\tau^2 h} x_t
          + \alpha_s \int_0^h a\,e^{-a(h-u)}\,\hat x_0(u)\,du + \sigma_s\sqrt{1 - e^{-2\tau^2 h}}\,z.

Order k replaces :math:`\hat x_0(u)`, or another quantity that the mean tells, by the polynomial through its last k
values. ``family.py`` has the options, ``interpolation.py`` the weights, ``single_step.py`` the members with inner
states, and ``presets.py`` the field's names.

Reference: Xue et al., SA-Solver (2023), proposition 4.2; Lu et al., DPM-Solver++ (2022), section 4.
"""

import math
from dataclasses import dataclass

import torch

from unstir.core.errors import InputError
from unstir.processes.schedules.base import Schedule
from unstir.samplers.family import MOST, ExponentialFamily, add, combination, prediction_at, scaled, unit
from unstir.samplers.interpolation import Interpolation, Level, level
from unstir.samplers.linear import Combination, Plan

__all__ = ["ddim", "ddpm", "multistep"]


@dataclass(frozen=True)
class ExponentialSampler(ExponentialFamily):
    """Multistep: one call a step. ``steps_used`` past predictions, this one counted, make the predictor.

    With a corrector of ``corrector`` values, each step is first done over with the value found at its end: since a
    step is linear, that is a change of the next step's coefficients, and costs neither a call nor memory of the state.
    With ``corrected_start`` it is done over where the predictor had too few values yet for its order, without
    which the first step, of order one, would hold a method of order three to two. Order four needs more: with
    ``start_call`` the denoiser is asked once more at the second time, at the corrected state, one call in all;
    without it the order is three. The step into time 0 lands on the belief's mean.
    """

    corrector: int = 0
    corrected_start: bool = True
    start_call: bool = False

    def __post_init__(self) -> None:
        """Refuses a corrector that cannot be."""
        super().__post_init__()
        if not 0 <= self.corrector <= MOST + 1 or self.corrector == 1:
            raise InputError(f"a corrector takes 2 to {MOST + 1} values, 0 for none; seen {self.corrector}")

    @property
    def order(self) -> float:  # type: ignore[override]
        """Of the ODE; with noise the weak order is one, however small it makes the error."""
        if self.noisy:
            return 1.0
        reached = 4 if self._starts_with_care else 3 if self.corrected_start or self.corrector else 2
        reached = min(reached, 2) if self.averaged > 2 else reached
        return float(min(self._nominal, reached))

    @property
    def _nominal(self) -> int:
        return min(self.steps_used + 1, self.corrector) if self.corrector else self.steps_used

    @property
    def _starts_with_care(self) -> bool:
        return self.start_call and self._nominal >= 4 and not self.noisy

    @property
    def _memory(self) -> int:
        return max(self.steps_used, self.corrector - 1) if self.corrector else self.steps_used - 1

    def calls(self, steps: int) -> int:
        """One a step, and with ``start_call`` one more where there are three or more steps."""
        return steps + (self._starts_with_care and steps > 2)

    def steps_within(self, calls: int) -> int:
        """The most steps that so many calls are enough for."""
        return max(1, calls - (self._starts_with_care and calls > 2))

    def plan(self, schedule: Schedule, t: float, s: float, past: tuple[float, ...]) -> Plan:
        """The step of the predictor, from the state as the corrector would have it."""
        here, there = level(schedule, t), level(schedule, s)
        if there.half == math.inf:
            return Plan(None)
        if here.half == -math.inf:
            return self._remembering(self.from_nothing(here, there), here, there)
        known = self._usable(schedule, t, past)
        rule = self.interpolation(here, there)
        weights = rule.weights(schedule, here, there, (here, *known[: self.steps_used - 1]))
        values = [prediction_at(rule, here, unit("x", 0), 0)]
        values += [scaled(unit("past", index), _factor(rule, node)) for index, node in enumerate(known)]
        start = unit("x", 0)
        for value, change in zip(values, self._correction(schedule, here, known), strict=False):
            add(start, value, change)
        inner: tuple[tuple[torch.Tensor, Combination], ...] = ()
        if self._starts_with_care and len(known) == 1:
            inner = ((torch.tensor(t, dtype=torch.float64), combination(start)),)
            values[0] = prediction_at(rule, here, start, 1)
            start = unit("x", 0)
            for value, change in zip(values, self._correction(schedule, here, known), strict=False):
                add(start, value, change)
        total = scaled(start, weights.state)
        for value, factor in zip(values, weights.values, strict=False):
            add(total, value, factor)
        stretches: tuple[tuple[float, float], ...] = ()
        if weights.noise:
            total["noise", 0] = weights.noise
            stretches = ((here.half, there.half),)
        plan = Plan(combination(total), inner, inner_kept=bool(inner), stretches=stretches)
        return self._remembering(plan, here, there)

    def _remembering(self, plan: Plan, here: Level, there: Level) -> Plan:
        """With what the history is to keep: Q here up to a factor, so that it takes one operation at most."""
        if not self._memory:
            return plan
        rule = self.interpolation(here, there)
        of_state, of_mean = rule.dialect(here)
        factor = _factor(rule, here)
        return plan._replace(kept=(of_state / factor, of_mean / factor), memory=self._memory)

    def _usable(self, schedule: Schedule, t: float, past: tuple[float, ...]) -> list[Level]:
        """What is remembered, up to where time does not rise (a restart) or nothing was left of the data."""
        known: list[Level] = []
        for time in past:
            place = level(schedule, time)
            if time <= t or place.half == -math.inf:
                break
            known.append(place)
            t = time
        return known

    def _correction(self, schedule: Schedule, here: Level, known: list[Level]) -> list[float]:
        """The change of the state here when the last step is done over, by value: this one's, then the remembered."""
        before = known[: self.steps_used]
        count = self.corrector
        if not count and self.corrected_start and 1 <= len(before) <= self.steps_used - 2:
            count = len(before) + 1
        if not before or not count:
            return []
        nodes = (here, *known[: count - 1])
        change = self._done_over(schedule, known[0], here, nodes, tuple(before))
        if self._starts_with_care and len(known) == 2:  # and the first step with it, from three values in place of two
            earlier = self._done_over(schedule, known[1], known[0], nodes, tuple(known))
            carried = self.interpolation(known[0], here).weights(schedule, known[0], here, (known[0],)).state
            change = [one + carried * other for one, other in zip(change, earlier, strict=True)]
        return change

    def _done_over(
        self, schedule: Schedule, start: Level, end: Level, nodes: tuple[Level, ...], before: tuple[Level, ...]
    ) -> list[float]:
        """The change of a step's weights, with the values at ``nodes`` in place of those ``before``."""
        rule = self.interpolation(start, end)
        new = dict(zip(nodes, rule.weights(schedule, start, end, nodes).values, strict=True))
        old = dict(zip(before, rule.weights(schedule, start, end, before).values, strict=True))
        places = nodes if len(nodes) > len(before) else (nodes[0], *before)
        return [new.get(place, 0.0) - old.get(place, 0.0) for place in places]


def _factor(rule: Interpolation, place: Level) -> float:
    """The larger of the two factors of Q, by which what is remembered of it is divided."""
    of_state, of_mean = rule.dialect(place)
    return of_state if abs(of_state) >= abs(of_mean) else of_mean


def ddim(eta: float = 0.0) -> ExponentialSampler:
    """DDIM: the probability-flow ODE at order one; eta between 0 and 1 adds noise up to DDPM's.

    Reference: Song, Meng, Ermon, Denoising diffusion implicit models (2021), eq. 12.
    """
    return ExponentialSampler(eta=eta)


def ddpm() -> ExponentialSampler:
    """DDPM's ancestral step with the lower variance, on any spacing of times.

    Reference: Ho, Jain, Abbeel, Denoising diffusion probabilistic models (2020), eq. 6-7.
    """
    return ExponentialSampler(stochasticity=1.0)


def multistep(
    order: int = 2,
    stochasticity: float = 0.0,
    prediction: str = "data",
    variable: str = "log-snr",
    corrector: int = 0,
    sigma_data: float = 1.0,
    start_call: bool = True,
) -> ExponentialSampler:
    """Multistep exponential integrator with exact coefficients, from ODE (stochasticity 0) to SDE (1) and beyond.

    One call a step. With noise it corrects the errors of a trained network on its way. ``prediction`` (data, noise,
    velocity or flow) is interpolated by a polynomial in ``variable`` (log-snr, ratio, time, angle or flow);
    ``corrector`` is the number of values with which each step is done over once the next is known, 0 for none.
    Order four takes one call more than steps for its start, unless ``start_call`` forbids it: then it is order three.

    Reference: Xue et al., SA-Solver: stochastic Adams solver for fast sampling (2023), with any prediction.
    """
    return ExponentialSampler(
        order, stochasticity, None, prediction, variable, sigma_data, corrector=corrector, start_call=start_call
    )


# on which the claims are measured: the plain ones, and those that only an option makes
ddim.examples = lambda: {"eta 0": ddim(), "eta 0.5": ddim(0.5)}  # type: ignore[attr-defined]
multistep.examples = lambda: {  # type: ignore[attr-defined]
    "order 2": multistep(),
    "order 1": multistep(1),
    "order 3": multistep(3),
    "order 4": multistep(4),
    "order 2, corrector 3": multistep(2, corrector=3),
    "order 2, stochasticity 1": multistep(2, 1.0),
}
