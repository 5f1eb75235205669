r"""The divergence of a field, exact or estimated, with the standard error of the estimate.

The trace of the Jacobian J of a field on samples of n elements, from products :math:`J^Tv` (one backward pass each):

=================== ============ ========================================================================
method              products     what it computes
=================== ============ ========================================================================
exact               n            the diagonal, element by element
hutchinson          probes       the mean of :math:`v^TJv` over v with entries +1 and -1
hutchinson-gaussian probes       the same with standard normal v; a multiple of the unit matrix costs variance
hutch++             3 probes     the trace on a subspace Q, found by as many sketches of J - cI, exactly, plus
                                 :math:`(n-q)\,w^TJw/w^Tw` for probes w in what Q leaves; c, from the sketches
                                 too, is what J is in most directions
auto                             exact up to ``LARGEST_EXACT`` elements, else hutch++
=================== ============ ========================================================================

Sketches of J - cI rather than J catch the few directions that differ from all others, be they the largest or, as
with a score of data near a plane, the smallest: what remains is nearly a multiple of the unit matrix, of which the
quotient of w is exact. Any c and Q that do not depend on w leave the estimate unbiased.

Probes are addressed by seed and stay the same along a trajectory, so that an integrated divergence is an integral of
a smooth function, and each probe gives one independent estimate of it; their spread is the standard error. It covers
as Student's t does where many directions make up what is estimated; where a single one is left over by too few
sketches, estimates are skewed and eight of them cover less (80% for 95%).

Reference: Hutchinson, A stochastic estimator of the trace of the influence matrix (1989); Meyer, Musco, Musco,
Woodruff, Hutch++: optimal stochastic trace estimation (2021); Epperly, Tropp, Webber, XTrace: making the most of
every sample in stochastic trace estimation (2024), section 2.3, for the division by w^T w.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds

METHODS = ("auto", "exact", "hutch++", "hutchinson", "hutchinson-gaussian")
LARGEST_EXACT = 128
_AT_ONCE = {"cpu": 2**15, "other": 2**22}  # numbers in the vectors of one batched backward pass: what caches like

Field = Callable[[Tensor], Tensor]


def divergence(
    field: Field,
    x: Tensor,
    method: str = "auto",
    probes: int = 16,
    seeds: Seeds | None = None,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The trace of the Jacobian of ``field`` at ``x`` (batch, *shape), and its standard error; both (batch,), float64.

    ``field`` maps (batch, *shape) to the same shape, each sample for itself, in operations that autograd knows.
    ``method`` is one of the module's table, ``probes`` (at least 2) the number of independent estimates. ``seeds``
    are those of the samples, by default 0 to batch - 1 of the seed 0. ``mask`` is boolean, (batch, n): padded elements
    have no part in it. The standard error of ``probes`` estimates has the t-distribution with one degree less.
    """
    estimator = TraceEstimator.plan(x, method, probes, seeds, mask)
    return mean_and_error(estimator(field, x)[1])


def mean_and_error(estimates: Tensor) -> tuple[Tensor, Tensor]:
    """Of independent estimates (batch, k) their mean and its standard error, float64 (batch,); 0 of a single one."""
    estimates = estimates.double()
    if estimates.shape[1] == 1:
        return estimates[:, 0], torch.zeros_like(estimates[:, 0]).detach()
    return estimates.mean(1), estimates.detach().std(1) / estimates.shape[1] ** 0.5


def chosen_method(method: str, elements: int) -> str:
    """The method, "auto" replaced by what it stands for."""
    if method not in METHODS:
        raise unknown("method for the divergence", method, METHODS)
    if method == "auto":
        return "exact" if elements <= LARGEST_EXACT else "hutch++"
    return method


@dataclass(frozen=True)
class TraceEstimator:
    """A way to estimate traces for one batch, its probes drawn.

    ``probes`` and ``sketches`` are (k, batch, n), zero where padded; ``there`` is boolean (batch, n), None if all
    elements are. Called with a field and states it returns the field's values and ``columns`` estimates of the trace.
    """

    method: str
    probes: Tensor | None
    sketches: Tensor | None
    there: Tensor | None

    @classmethod
    def plan(
        cls, x: Tensor, method: str, probes: int, seeds: Seeds | None = None, mask: Tensor | None = None
    ) -> "TraceEstimator":
        """The estimator for states like ``x`` (batch, *shape)."""
        if not isinstance(x, Tensor) or x.ndim < 2 or not x.is_floating_point():
            seen = f"{tuple(x.shape)} of {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
            raise InputError(f"states are a tensor of real numbers, (batch, *shape); seen {seen}")
        elements = x[0].numel() if len(x) else 0
        method, there = chosen_method(method, elements), places(x, mask)
        if method == "exact":
            return cls(method, None, None, there)
        if isinstance(probes, bool) or not isinstance(probes, int) or probes < 2:
            raise InputError(f"a standard error needs at least 2 probes; seen {probes!r}")
        seeds = Seeds.range(0, len(x)) if seeds is None else seeds
        if len(seeds) != len(x):
            raise InputError(f"{len(seeds)} seeds for a batch of {len(x)} samples")
        seeds = seeds.to(x.device).at("divergence")
        if method != "hutch++":
            return cls(method, _drawn(seeds.at("probe"), x, probes, method == "hutchinson", there), None, there)
        sketches = _drawn(seeds.at("sketch"), x, min(probes, elements), False, there)
        return cls(method, _drawn(seeds.at("probe"), x, probes, False, there), sketches, there)

    @property
    def columns(self) -> int:
        """How many independent estimates there are; one where it is exact."""
        return 1 if self.probes is None else len(self.probes)

    def __call__(self, field: Field, x: Tensor, differentiable: bool = False) -> tuple[Tensor, Tensor]:
        """The field's values at ``x``, of its shape, and estimates of the trace, (batch, columns).

        Without ``differentiable`` both are detached.
        """
        # the fused kernels of attention have no second derivatives, and their first cannot be batched
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            at = x if differentiable and x.requires_grad else x.detach().requires_grad_()
            values = field(at)
            if values.shape != x.shape:
                raise InputError(
                    f"a field must have the shape of the state, {tuple(x.shape)}; seen {tuple(values.shape)}"
                )
            if not values.requires_grad:  # constant in x
                return values, values.new_zeros(len(x), self.columns)
            products = _Products(values, at, differentiable)
            estimate = {"exact": self._exact, "hutch++": self._deflated}.get(self.method, self._plain)
            traces = estimate(products)
        return (values, traces) if differentiable else (values.detach(), traces.detach())

    def _exact(self, products: "_Products") -> Tensor:
        batch, elements = products.shape
        total = products.zero()
        for first in range(0, elements, products.at_once):
            rows = torch.arange(first, min(first + products.at_once, elements), device=total.device)
            units = total.new_zeros(len(rows), batch, elements)
            units[rows - first, :, rows] = 1.0
            if self.there is not None:
                units = units * self.there
            total = total + (products(units) * units).sum((0, 2))
        return total[:, None]

    def _plain(self, products: "_Products") -> Tensor:
        assert self.probes is not None
        probes = self.probes.to(products.dtype)
        return (products(probes) * probes).sum(2).T

    def _deflated(self, products: "_Products") -> Tensor:
        assert self.probes is not None and self.sketches is not None
        sketches, probes = self.sketches.to(products.dtype), self.probes.to(products.dtype)
        # any subspace gives an unbiased estimate, so it counts as given where the estimate is differentiated
        basis = self._subspace(sketches, products(sketches).detach())
        rest = probes - torch.einsum("qbn,qbk->kbn", basis, torch.einsum("qbn,kbn->qbk", basis, probes))
        both = torch.cat((basis, rest))
        quadratic = (products(both) * both).sum(2)
        count = both.shape[2] if self.there is None else self.there.sum(1)
        left = count - basis.square().sum((0, 2)).round()
        length = rest.square().sum(2)
        share = torch.where((left > 0) & (length > 0), left / length, 0.0)
        return (quadratic[: len(basis)].sum(0) + share * quadratic[len(basis) :]).T

    def _subspace(self, sketches: Tensor, seen: Tensor) -> Tensor:
        """An orthonormal basis (q, batch, n) of where the Jacobian differs most from a multiple of the unit matrix."""
        if self.there is not None:
            seen = seen * self.there
        plain, seen_columns = (part.permute(1, 2, 0).double() for part in (sketches, seen))
        level = _level(plain, seen_columns)[:, None, None]
        # a trace of the sketches themselves keeps the basis defined, and steady in time, where nothing differs
        different = seen_columns - (level * (1 - 1e-6) - 1e-30) * plain
        basis = torch.linalg.qr(different / different.flatten(1).norm(dim=1)[:, None, None].clamp(min=1e-300)).Q
        if self.there is not None:  # a set of few elements has no room for more directions than those
            room = torch.arange(basis.shape[2], device=basis.device) < self.there.sum(1, keepdim=True)
            basis = basis * room[:, None]
        return basis.permute(2, 0, 1).to(seen.dtype)


def _level(plain: Tensor, seen: Tensor) -> Tensor:
    """The multiple of the unit matrix that a Jacobian is nearest to in most directions, (batch,).

    From sketches S and what they become, both (batch, n, k): a matrix that is cI but for fewer than k directions has
    the eigenvalue c in (S^T S)^-1 S^T J S as well, so the closest half of these eigenvalues is taken for the bulk.
    """
    gram = plain.mT @ plain
    ridge = 1e-12 * gram.diagonal(dim1=1, dim2=2).sum(1).clamp(min=1e-300)
    gram = gram + ridge[:, None, None] * torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    values = torch.linalg.eigvals(torch.linalg.solve(gram, plain.mT @ seen)).real.sort(1).values
    half = max(1, values.shape[1] // 2)
    windows = values.unfold(1, half, 1)
    closest = (windows[..., -1] - windows[..., 0]).argmin(1)
    return windows[torch.arange(len(windows), device=windows.device), closest].mean(1)


class _Products:
    """Products v^T J of the Jacobian of ``values`` by ``x``, for vectors (k, batch, n), a few at a time."""

    def __init__(self, values: Tensor, x: Tensor, differentiable: bool) -> None:
        self.values, self.x, self.differentiable = values, x, differentiable
        self.shape, self.dtype = (len(x), x[0].numel()), x.dtype
        at_once = _AT_ONCE["cpu" if x.device.type == "cpu" else "other"]
        self.at_once = max(1, at_once // max(1, x.numel()))

    def __call__(self, vectors: Tensor) -> Tensor:
        """Of the shape of the vectors."""
        return torch.cat([self._some(part) for part in vectors.split(self.at_once)])

    def zero(self) -> Tensor:
        return torch.zeros(self.shape[0], dtype=self.dtype, device=self.x.device)

    def _some(self, vectors: Tensor) -> Tensor:
        cotangents = vectors.reshape(len(vectors), *self.x.shape)
        if len(vectors) > 1:
            try:
                return self._gradient(cotangents, batched=True).flatten(2)
            except RuntimeError:  # an operation whose derivative knows no batches of vectors: one by one
                self.at_once = 1
        return torch.stack([self._gradient(one, batched=False) for one in cotangents]).flatten(2)

    def _gradient(self, cotangent: Tensor, batched: bool) -> Tensor:
        (found,) = torch.autograd.grad(
            self.values,
            self.x,
            cotangent.to(self.values.dtype),
            retain_graph=True,
            create_graph=self.differentiable,
            is_grads_batched=batched,
            materialize_grads=True,
        )
        return found


def places(x: Tensor, mask: Tensor | None) -> Tensor | None:
    """Which elements of the flat samples exist, boolean (batch, n), from a mask of the state's second axis."""
    if mask is None:
        return None
    if mask.dtype != torch.bool or mask.shape != x.shape[:2]:
        raise InputError(
            f"a mask is boolean, of shape {tuple(x.shape[:2])} for states {tuple(x.shape)}; "
            f"seen {tuple(mask.shape)} of {mask.dtype}"
        )
    return mask.to(x.device).reshape(*mask.shape, *[1] * (x.ndim - 2)).expand_as(x).flatten(1)


def _drawn(seeds: Seeds, x: Tensor, count: int, signs: bool, there: Tensor | None) -> Tensor:
    """Probes (count, batch, n), each with an address of its own; float64 or, for smaller states, in their dtype."""
    size = (x[0].numel(),)
    if signs:
        drawn = [torch.where(seeds.at(number).uniform(size) < 0.5, -1.0, 1.0) for number in range(count)]
    else:
        drawn = [seeds.at(number).normal(size, torch.float64) for number in range(count)]
    stacked = torch.stack(drawn).to(x.dtype)
    return stacked if there is None else stacked * there
