r"""Belief about tokens, and what it says of the noisy law: its ratios between states, the concrete score.

For states x and y that differ in one token, with :math:`q` the law of the noise on that token,

.. math:: \frac{p_t(y)}{p_t(x)} = \sum_{x_0} p(x_0|x)\,\frac{q_t(y|x_0)}{q_t(x|x_0)},

wherever the noise leads from y to x: a belief about single tokens gives all ratios that the reversed chain jumps by,
and the ratios give the belief.

Reference: Lou, Meng, Ermon, Discrete diffusion modeling by estimating the ratios of the data distribution (2024),
section 3 and theorem 4.2; Campbell et al., A continuous time framework for discrete denoising models (2022), prop. 1.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from unstir.core.choices import choose, normalised
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import mean_per_sample
from unstir.denoisers.posteriors import Posterior
from unstir.processes.categorical import CategoricalProcess


@dataclass(frozen=True)
class CategoricalPosterior(Posterior):
    """Independent classes at every place: ``log_probabilities`` (batch, ..., classes), normalised over the last axis.

    ``mean`` holds the probabilities, the mean of the one-hot code.
    """

    mean: Tensor = field(init=False)
    log_probabilities: Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", self.log_probabilities.exp())

    def sample(self, seeds: Seeds) -> Tensor:
        """One class for every place, int64 (batch, ...)."""
        return choose(self.log_probabilities, seeds)

    def log_prob(self, x0: Tensor) -> Tensor:
        """Log-probability of the classes in nats, shape (batch,)."""
        return self._each(x0).flatten(1).sum(1)

    def loss(self, x0: Tensor, mask: Tensor | None = None) -> Tensor:
        """Cross-entropy in nats per token."""
        return mean_per_sample(-self._each(x0), mask)

    def _each(self, x0: Tensor) -> Tensor:
        classes = self.log_probabilities.shape[-1]
        if x0.numel() and not 0 <= x0.min().item() <= x0.max().item() < classes:
            raise InputError(
                f"clean tokens are the classes 0 to {classes - 1}; "
                f"seen values from {x0.min().item()} to {x0.max().item()}"
            )
        return self.log_probabilities.gather(-1, x0[..., None])[..., 0]


@dataclass(frozen=True)
class ScoreEntropyPosterior(CategoricalPosterior):
    """The same belief, taught by the ratios that it implies at the state ``xt`` and the times ``t`` (batch,).

    Weighted with ``ScoreEntropyWeighting`` the loss is the bound on -log p(x_0) in nats per token, whatever the rates.
    """

    process: CategoricalProcess
    xt: Tensor
    t: Tensor

    def loss(self, x0: Tensor, mask: Tensor | None = None) -> Tensor:
        """The score entropy per token, in nats per unit of the process's clock."""
        self._each(x0)  # refuses what is no clean token
        told = log_ratios(self.log_probabilities, self.xt, self.process, self.t)
        true = clean_log_ratios(x0, self.xt, self.process, self.t)
        return mean_per_sample(score_entropy(told, true, self.process, self.xt), mask)


def log_marginals(posterior: Posterior, classes: int) -> Tensor:
    """What any belief about tokens says of each by itself: log-probabilities, float64 (batch, ..., classes).

    Raises InputError for a belief whose mean does not hold a probability for each class.
    """
    if isinstance(posterior, CategoricalPosterior):
        return posterior.log_probabilities.double()
    mean = posterior.mean
    if not isinstance(mean, Tensor) or mean.shape[-1] < classes:
        raise InputError(
            f"a belief about tokens has a mean with a probability for each of {classes} classes; seen "
            f"{type(posterior).__name__}"
        )
    return mean[..., :classes].double().clamp(min=0).log()


def log_ratios(log_probabilities: Tensor, xt: Tensor, process: CategoricalProcess, t: Tensor | float) -> Tensor:
    """log p_t(y)/p_t(x_t) for all states y that have one token changed, float64 (batch, ..., states).

    At [..., j] the token there has become j; zero where it is j already. ``log_probabilities`` (batch, ..., classes) is
    the belief about each token given x_t. A class that cannot have led to x_t is taken to be impossible; minus infinity
    for a y from which no noise leads to x_t (under masking, another class than the one shown).
    """
    return process.log_mixture(behind(log_probabilities, xt, process, t), torch.zeros_like(_float64(t)), t)


def behind(log_probabilities: Tensor, xt: Tensor, process: CategoricalProcess, t: Tensor | float) -> Tensor:
    """log p(x_0|x_t)/q(x_t|x_0) of each token's clean class: a prior as it would have to be, (batch, ..., classes)."""
    evidence = process.log_backward(xt, torch.zeros_like(_float64(t)), t)[..., : process.classes]
    possible = (log_probabilities > -torch.inf) & (evidence > -torch.inf)
    # chosen before the difference too, for the sake of the gradient
    return torch.where(possible, log_probabilities.double() - torch.where(possible, evidence, 0.0), -torch.inf)


def clean_log_ratios(x0: Tensor, xt: Tensor, process: CategoricalProcess, t: Tensor | float) -> Tensor:
    """log q_t(y|x_0)/q_t(x_t|x_0) for all changes y of one token, float64 (batch, ..., states)."""
    logs = process.log_forward(x0, torch.zeros_like(_float64(t)), t)
    return logs - logs.gather(-1, xt[..., None])


def belief_of_ratios(
    log_ratios: Tensor, xt: Tensor, process: CategoricalProcess, t: Tensor | float
) -> CategoricalPosterior:
    """The belief that has these ratios p_t(y)/p_t(x_t): the inverse of ``log_ratios``, float64.

    It divides by what the noise has left of the data, so that its digits are lost as exp(-tau). Ratios that no law
    has, as a network may tell, give the nearest belief: what would be negative is zero. Raises InputError where
    nothing is left of a token then.
    """
    process.check_state(xt)
    if log_ratios.shape != (*xt.shape, process.states):
        raise InputError(
            f"ratios of {process.states} states at each token have the shape {(*xt.shape, process.states)}; seen "
            f"{tuple(log_ratios.shape)}"
        )
    ratios, start = (log_ratios.double() - log_ratios.amax(-1, keepdim=True)).exp(), torch.zeros_like(_float64(t))
    if process.absorbing:
        weights = ratios[..., : process.classes]
    else:
        every = torch.arange(process.classes, device=xt.device).expand(len(xt), -1)
        matrix = process.log_forward(every, start, t).exp()  # (batch, classes, states)
        flat = ratios.reshape(len(xt), -1, process.states)
        weights = torch.linalg.solve(matrix, flat, left=False).reshape(ratios.shape)
    evidence = process.log_backward(xt, start, t)[..., : process.classes]
    logs = weights.clamp(min=0).log() + evidence
    if bool((logs.amax(-1) == -torch.inf).any()):
        raise InputError("these ratios leave no class possible for some tokens")
    return CategoricalPosterior(normalised(logs))


def score_entropy(told: Tensor, true: Tensor, process: CategoricalProcess, xt: Tensor) -> Tensor:
    r"""How far ratios s are from true ones r, as rates of the reversed chain: nats per unit of the clock, (batch, ...).

    :math:`\sum_{y\ne x} Q(y, x)\,(s_y - r_y + r_y\log(r_y/s_y))` for each token, not negative; ``told`` and ``true``
    are the logarithms of s and r, (batch, ..., states).
    """
    rates = process.generator.to(xt.device).T[xt]
    rates = rates.scatter(-1, xt[..., None], 0.0)
    # logarithms are chosen first, so that no infinity meets a zero, in the value or in the gradient
    allowed = rates > 0
    met = allowed & (true > -torch.inf)
    gained = torch.where(met, true, 0.0) - torch.where(met, told, 0.0)
    s, r = (torch.where(allowed, logs, -torch.inf).exp() for logs in (told, true))
    return (rates * (s - r + r * gained)).sum(-1)


def _float64(t: Tensor | float) -> Tensor:
    return torch.as_tensor(t, dtype=torch.float64)
