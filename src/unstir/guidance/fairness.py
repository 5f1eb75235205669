"""Guidance of a batch towards decisions that are fair between protected groups."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError, unknown
from unstir.core.state import map_state
from unstir.denoisers.base import Denoiser
from unstir.guidance.base import Strength
from unstir.guidance.energy import EnergyGuidance
from unstir.metrics.fairness import group_rates, memberships, squared_gap

__all__ = ["FairnessGuidance"]

GAPS = ("demographic-parity", "equalised-odds")
_LEAST = 0.5  # of a sample in a group: below, its rate tells nothing


class FairnessGuidance(EnergyGuidance):
    r"""Decisions that are as often a yes in one protected group as in another: the energy :math:`n\,\mathrm{gap}^2`.

    Of every n = ``rows`` consecutive rows of a batch, the believed clean samples are judged by ``decision(x0)``,
    (batch,) in [0, 1] and differentiable, and parted by ``protected(x0)``, memberships (batch, groups) or whole numbers
    (batch,), which are taken as they are: nobody is moved to another group. ``gap`` says what is to vanish:
    ``demographic-parity`` the difference of the groups' mean decisions, ``equalised-odds`` those among the samples with
    ``outcome(x0)`` 1, and among those with 0. With more than two groups the squares of all pairs are averaged; a group
    that hardly anybody is in is left out. **A draw then depends on the rows it is drawn with**, and on nothing else;
    the batch must be a multiple of ``rows``, and the more there are, the less of the gap is chance.

    Joint states (a table's numbers and categories) are handed over as a whole, tokens as their probabilities. Parts
    that shall stay as they are have no strength (``strength={"decision": 2.0}``). Fair samples cannot have the law of
    biased data: they are KL(target‖bias) away from it (``metrics.fairness.parity_cost``), and are to be judged against
    data of ``parity_weights``. ``through``, which sends the gradient through the denoiser, is off by default: where the
    law has several modes that is stiff, and overshoots at strengths that close the gap without it. All else is as for
    ``EnergyGuidance`` on clean data.

    Raises InputError for unknown gaps, equalised odds without an outcome, decisions outside [0, 1].

    Reference: Hardt, Price, Srebro, Equality of opportunity in supervised learning (2016), definition 2.1; Dwork et
    al., Fairness through awareness (2012), section 3.
    """

    conditional = False

    def __init__(
        self,
        denoiser: Denoiser,
        decision: Callable[[Any], Tensor],
        protected: Callable[[Any], Tensor],
        gap: str = "demographic-parity",
        strength: Strength = 1.0,
        sigma_min: float | int = 0.0,
        sigma_max: float | int | None = None,
        outcome: Callable[[Any], Tensor] | None = None,
        rows: int = 64,
        through: bool = False,
        deviation: float | int = 1.0,
    ) -> None:
        if gap not in GAPS:
            raise unknown("gap of fairness", gap, GAPS)
        if (gap == "equalised-odds") != (outcome is not None):
            raise InputError("equalised odds need the outcome that was to be foretold, and no other gap does")
        if rows < 2:
            raise InputError(f"a gap is one between two samples at least; seen rows={rows}")
        super().__init__(
            denoiser, self._unfair, strength, sigma_min, sigma_max, through=through, deviation=deviation, rows=rows
        )
        self.decision, self.protected, self.gap, self.outcome = decision, protected, gap, outcome

    @classmethod
    def examples(cls) -> Mapping[str, type["FairnessGuidance"]]:
        """The class itself: the claims build guides around laws of theirs."""
        return {"around exact laws": cls}

    def _unfair(self, x0: Any) -> Tensor:
        flat = map_state(lambda part: part.flatten(0, 1), x0)
        held = map_state(torch.Tensor.detach, flat)
        decisions = self.decision(flat).double()
        belonging = memberships(self.protected(held), decisions.detach()).double()
        cells = [belonging]
        if self.outcome is not None:
            outcomes = self.outcome(held).double()[..., None]
            cells = [belonging * outcomes, belonging * (1 - outcomes)]
        parted = decisions.unflatten(0, (-1, self.rows))
        gaps = [squared_gap(*group_rates(parted, cell.unflatten(0, (-1, self.rows)), _LEAST), _LEAST) for cell in cells]
        return self.rows * torch.stack(gaps).mean(0)
