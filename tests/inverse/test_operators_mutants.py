"""Broken operators are found out by the claims."""

import dataclasses

import pytest
import torch
from mutants import is_caught

from unstir.inverse.operators.base import LinearOperator
from unstir.inverse.operators.blur import BlurOperator
from unstir.inverse.operators.downsample import DownsampleOperator
from unstir.inverse.operators.fourier import FourierOperator
from unstir.inverse.operators.radon import RadonOperator
from unstir.inverse.operators.tones import ClipOperator, QuantiseOperator, ToneOperator
from unstir.verification.checks import operators as checks

ADJOINT = checks.linear_operators_are_linear_and_have_their_adjoint
PARTS = checks.decompositions_reproduce_their_operator
ALONE = checks.operators_measure_each_sample_alone
SLOPE = checks.operators_have_the_gradient_they_declare
INVERSE = checks.pseudo_inverses_are_moore_penrose


class Unturned(BlurOperator):
    """The adjoint of a symmetric kernel, whatever the kernel."""

    def adjoint(self, measured):
        return self(measured)


class Affine(DownsampleOperator):
    def __call__(self, x0):
        return super().__call__(x0) + 1e-9


class Whitened(DownsampleOperator):
    """Looks at the rest of the batch."""

    def __call__(self, x0):
        return super().__call__(x0 - 1e-9 * x0.mean(0))


class Doubled(FourierOperator):
    """Takes every pair for one."""

    @property
    def decomposition(self):
        parts = FourierOperator.decomposition.func(self)
        return dataclasses.replace(parts, values=torch.ones_like(parts.values))


class Unphased(BlurOperator):
    """Forgets that a kernel moves what it blurs."""

    @property
    def decomposition(self):
        parts = super().decomposition
        still = dataclasses.replace(parts.operator, kernel=parts.operator.kernel)
        still.__dict__["transfer"] = parts.operator.transfer.abs().to(torch.complex128)
        return dataclasses.replace(parts, operator=still)


class Backprojected(RadonOperator):
    def pseudo_inverse(self, measured):
        return self.adjoint(measured) / len(self.angles)


class Single(DownsampleOperator):
    def __call__(self, x0):
        return super().__call__(x0.float()).to(x0)


class Rounded(DownsampleOperator):
    def __call__(self, x0):
        return super().__call__(x0.float())


class Flat(ToneOperator):
    def __call__(self, x0):
        return super().__call__(x0.detach()) + 0 * x0


class Steep(QuantiseOperator):
    """A straight-through slope that is not declared."""

    def __call__(self, x0):
        return x0 + (super().__call__(x0) - x0).detach()


SKEW = [[0.1, 0.3, 0.0], [0.0, 0.4, -0.1]]


@pytest.mark.parametrize(
    ("check", "original", "mutant"),
    [
        (ADJOINT, BlurOperator((1, 5, 4), SKEW), Unturned((1, 5, 4), SKEW)),
        (ADJOINT, DownsampleOperator((4,)), Affine((4,))),
        (ADJOINT, DownsampleOperator((4,)), Single((4,))),
        (ALONE, DownsampleOperator((4,)), Whitened((4,))),
        (ALONE, DownsampleOperator((4,)), Rounded((4,))),
        (PARTS, FourierOperator((6, 6)), Doubled((6, 6))),
        (PARTS, BlurOperator((1, 5, 4), SKEW), Unphased((1, 5, 4), SKEW)),
        (INVERSE, RadonOperator((1, 5, 5), 6), Backprojected((1, 5, 5), 6)),
        (SLOPE, ToneOperator((5,)), Flat((5,))),
        (SLOPE, QuantiseOperator((5,)), Steep((5,))),
        (SLOPE, ClipOperator((5,)), type("Hard", (QuantiseOperator,), {"differentiable": True})((5,))),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_broken_operators_are_caught(check, original, mutant):
    assert isinstance(mutant, LinearOperator) or check in (ALONE, SLOPE)
    assert is_caught(check, original, mutant)
