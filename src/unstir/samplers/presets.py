"""The field's named methods as members of the exponential-integrator family.

Weights are exact for any times, where papers often give them for even ones; a method that is defined by weights of
its own keeps them (``averaged``, see ``interpolation.py``) and says so. A method of order three or more does its
first steps over once the next mean is known, which costs no call, since published starts hold it to order two.
"""

import math
from typing import Any

from unstir.core.errors import InputError, unknown
from unstir.samplers.exponential import ExponentialSampler
from unstir.samplers.single_step import SingleStepSampler, Stage

__all__ = [
    "deis",
    "dpm_solver_1",
    "dpm_solver_2",
    "dpm_solver_3",
    "dpm_solver_pp_2m",
    "dpm_solver_pp_2s",
    "dpm_solver_pp_3m",
    "dpm_solver_pp_sde",
    "dpm_solver_pp_sde_2s",
    "exponential_ab",
    "plms",
    "sa_solver",
    "unipc",
    "velocity_ab",
]


def plms(order: int = 4) -> ExponentialSampler:
    """PLMS, PNDM's multistep method: the noise averaged over the step's time by Adams and Bashforth, in a DDIM step.

    On even times the weights are the classical (55, -59, 37, -9)/24; on others those of the polynomial through the
    same values. It starts with fewer values, without Runge-Kutta's extra calls. The DDIM step takes the average in
    time for that in sigma/alpha, which makes any order above one a second one.

    Reference: Liu, Ren, Lin, Zhao, Pseudo numerical methods for diffusion models on manifolds (2022), eq. 11-12.
    """
    return ExponentialSampler(order, prediction="noise", variable="time", averaged=order)


def dpm_solver_1() -> ExponentialSampler:
    """DPM-Solver-1: the noise held constant over the step, which is DDIM.

    Reference: Lu et al., DPM-Solver (2022), eq. 3.7.
    """
    return ExponentialSampler(prediction="noise")


def dpm_solver_2(share: float = 0.5) -> SingleStepSampler:
    """DPM-Solver-2: an inner state at a share of the step in log-SNR, two calls a step but for the last.

    Reference: Lu et al., DPM-Solver (2022), algorithms 1 and 4.
    """
    stages = (Stage(share, (0,)), Stage(1.0, (0, 1)))
    return SingleStepSampler(prediction="noise", averaged=2, stages=stages, declared=2.0)


def dpm_solver_3(first: float = 1 / 3, second: float = 2 / 3) -> SingleStepSampler:
    """DPM-Solver-3: inner states at two shares of the step in log-SNR, three calls a step but for the last.

    Of third order only if the second share is 2/3, with which the last stage's slope meets the curvature's condition.

    Reference: Lu et al., DPM-Solver (2022), algorithms 2 and 5.
    """
    stages = (Stage(first, (0,)), Stage(second, (0, 1)), Stage(1.0, (0, 2)))
    declared = 3.0 if math.isclose(second, 2 / 3) else 2.0
    return SingleStepSampler(prediction="noise", stages=stages, declared=declared)


def dpm_solver_pp_2s(share: float = 0.5) -> SingleStepSampler:
    """DPM-Solver++(2S): an inner state at a share of the step, in data prediction, two calls a step but for the last.

    Reference: Lu et al., DPM-Solver++ (2022), algorithm 1.
    """
    stages = (Stage(share, (0,)), Stage(1.0, (0, 1)))
    return SingleStepSampler(averaged=2, stages=stages, declared=2.0)


def dpm_solver_pp_2m() -> ExponentialSampler:
    """DPM-Solver++(2M): multistep of order two in data prediction, the line through two means taken at mid-step.

    Reference: Lu et al., DPM-Solver++ (2022), algorithm 2.
    """
    return ExponentialSampler(2, averaged=2)


def dpm_solver_pp_3m() -> ExponentialSampler:
    """DPM-Solver++(3M): multistep of order three in data prediction.

    The weight of the second difference is the exact one; common implementations have half of it, and order two.

    Reference: Lu et al., DPM-Solver++ (2022), section 4 and appendix B.
    """
    return ExponentialSampler(3)


def dpm_solver_pp_sde(order: int = 2, stochasticity: float = 1.0) -> ExponentialSampler:
    """SDE-DPM-Solver++(2M), or 3M: the reverse SDE in data prediction, one call a step.

    Of order 2 with the line through two means taken at mid-step, of order 3 with exact weights.

    Reference: Lu et al., DPM-Solver++ (2022), section 5.
    """
    return ExponentialSampler(order, stochasticity, averaged=2 if order == 2 else 0)


def dpm_solver_pp_sde_2s(share: float = 0.5, stochasticity: float = 1.0) -> SingleStepSampler:
    """SDE-DPM-Solver++ with an inner state, on one path of noise; two calls a step but for the last.

    Reference: Lu et al., DPM-Solver++ (2022), section 5, with algorithm 1's inner state.
    """
    stages = (Stage(share, (0,)), Stage(1.0, (0, 1)))
    return SingleStepSampler(stochasticity=stochasticity, averaged=2, stages=stages, declared=2.0)


def deis(order: int = 3, variable: str = "time") -> ExponentialSampler:
    """DEIS: the noise interpolated by a polynomial in time (tAB) or in sigma/alpha (rhoAB: variable ratio).

    Reference: Zhang, Chen, Fast sampling of diffusion models with exponential integrator (2023), section 3.
    """
    if variable not in ("time", "ratio", "log-snr"):
        raise unknown("variable of DEIS", variable, ("time", "ratio", "log-snr"))
    return ExponentialSampler(order, prediction="noise", variable=variable)


def unipc(order: int = 2, prediction: str = "data", start_call: bool = False) -> ExponentialSampler:
    """UniPC: a predictor of this order, and a corrector of one more that costs no call.

    In the form B_2(h) = e^h - 1 of the paper: a line through two values is taken at mid-step. With more values the
    weights solve the paper's system, which makes them exact for whatever B. A predictor of order 3 gives order 4 only
    with one call more at the start (``start_call``); as published, its start holds it to order 3.

    Reference: Zhao, Bai, Rao, Zhou, Lu, UniPC (2023), section 3 and appendix B.
    """
    if order > 3:
        raise InputError(f"the order of UniPC's predictor is 1 to 3; seen {order}")
    return ExponentialSampler(order, prediction=prediction, averaged=2, corrector=order + 1, start_call=start_call)


def sa_solver(
    order: int = 2,
    corrector: int = 2,
    stochasticity: float = 1.0,
    sigma_min: float = 0.0,
    sigma_max: float | None = None,
) -> ExponentialSampler:
    """SA-Solver: stochastic Adams predictor and corrector; noise where sigma/alpha lies in a range, at any strength.

    ``order`` values make the predictor and ``corrector`` values, the new one counted, the corrector (0: none), which
    meets the same noise as the predictor. One call a step.

    Reference: Xue et al., SA-Solver: stochastic Adams solver for fast sampling (2023), algorithm 1.
    """
    noise_range = (sigma_min, math.inf if sigma_max is None else sigma_max)
    return ExponentialSampler(order, stochasticity, noise_range=noise_range, corrector=corrector)


def exponential_ab(order: int = 3, prediction: str = "data", stochasticity: float = 0.0) -> ExponentialSampler:
    """Exponential Adams-Bashforth: data or noise interpolated in log-SNR with exact weights.

    Order four takes one call more than steps, for its start. With a stochasticity it solves the reverse SDE, in which
    the noise's form adds more noise at once than the data's.

    Reference: Hochbruck, Ostermann, Exponential multistep methods of Adams-type (2011), section 2.
    """
    if prediction not in ("data", "noise"):
        raise unknown("prediction of exponential Adams-Bashforth", prediction, ("data", "noise"))
    return ExponentialSampler(order, stochasticity, prediction=prediction, start_call=True)


def velocity_ab(order: int = 2, path: str = "line", sigma_data: float = 1.0) -> ExponentialSampler:
    """Adams-Bashforth on the velocity of a straight flow (path line), or of a turning one (path circle).

    The polynomial's variable is sigma/(c alpha + sigma), or the angle arctan(sigma/(c alpha)), with c the data's
    standard deviation ``sigma_data``; the schedule is any.

    Reference: Liu, Gong, Liu, Flow straight and fast (2023), section 2; Salimans, Ho, Progressive distillation (2022),
    appendix D (the angle).
    """
    if path not in ("line", "circle"):
        raise unknown("path", path, ("line", "circle"))
    prediction, variable = {"line": ("flow", "flow"), "circle": ("velocity", "angle")}[path]
    return ExponentialSampler(order, prediction=prediction, variable=variable, scale=sigma_data)


# on which the claims are measured
_EXAMPLES: dict[Any, Any] = {
    plms: lambda: {f"order {order}": plms(order) for order in (4, 2)},
    dpm_solver_2: lambda: {"share 1/2": dpm_solver_2(), "share 0.7": dpm_solver_2(0.7)},
    dpm_solver_3: lambda: {"shares 1/3 and 2/3": dpm_solver_3(), "shares 0.4 and 0.8": dpm_solver_3(0.4, 0.8)},
    dpm_solver_pp_sde: lambda: {f"order {order}": dpm_solver_pp_sde(order) for order in (2, 3)},
    deis: lambda: {
        f"order {order}, {variable}": deis(order, variable)
        for order, variable in ((3, "time"), (3, "ratio"), (2, "time"))
    },
    unipc: lambda: {
        "order 2": unipc(),
        "order 1": unipc(1),
        "order 3, started with one call more": unipc(3, start_call=True),
        "order 2, noise": unipc(2, "noise"),
    },
    sa_solver: lambda: {
        "2 and 2 values": sa_solver(),
        "3 and 3 values, noise between 0.05 and 1": sa_solver(3, 3, 1.0, 0.05, 1.0),
        "2 and 3 values, stochasticity 0": sa_solver(2, 3, 0.0),
    },
    exponential_ab: lambda: {
        "order 3, data": exponential_ab(),
        "order 3, noise": exponential_ab(3, "noise"),
        "order 4, data": exponential_ab(4),
        "order 2, noise, stochasticity 0.7": exponential_ab(2, "noise", 0.7),
    },
    velocity_ab: lambda: {
        "order 2, line": velocity_ab(),
        "order 3, line": velocity_ab(3, sigma_data=0.5),
        "order 2, circle": velocity_ab(2, "circle"),
        "order 3, circle": velocity_ab(3, "circle", 0.5),
    },
}
for _preset, _examples in _EXAMPLES.items():
    _preset.examples = _examples
