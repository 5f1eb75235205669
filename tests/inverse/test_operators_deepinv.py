"""Physics objects of another package are taken by their methods."""

import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.inverse.noises.gaussian import GaussianNoise
from unstir.inverse.noises.poisson import PoissonNoise
from unstir.inverse.operators.base import LinearOperator
from unstir.inverse.operators.deepinv import from_physics, noise_of_physics
from unstir.verification.base import Effort
from unstir.verification.checks import operators as checks


class Noise:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)


class Physics(torch.nn.Module):
    """With the method names of a physics object: every second element of a line, times two."""

    def __init__(self, noise=None):
        super().__init__()
        self.noise_model = noise

    def A(self, x, **options):  # noqa: N802
        return 2 * x[..., ::2]

    def A_adjoint(self, y, **options):  # noqa: N802
        whole = torch.zeros(*y.shape[:-1], 2 * y.shape[-1], dtype=y.dtype)
        whole[..., ::2] = 2 * y
        return whole

    def A_dagger(self, y, **options):  # noqa: N802
        return self.A_adjoint(y) / 4


class Bent:
    def A(self, x):  # noqa: N802
        return x.square()


class Wrong(Physics):
    def A_adjoint(self, y, **options):  # noqa: N802
        return super().A_adjoint(y) * 1.1


class Waves:
    def A(self, x):  # noqa: N802
        return torch.fft.fft(x)


@pytest.mark.parametrize(
    "check",
    [
        checks.operators_measure_each_sample_alone,
        checks.linear_operators_are_linear_and_have_their_adjoint,
        checks.decompositions_reproduce_their_operator,
        checks.pseudo_inverses_are_moore_penrose,
        checks.operators_have_the_gradient_they_declare,
    ],
)
def test_linear_physics_is_an_operator_with_all_claims(check):
    operator = from_physics(Physics(), (1, 6))
    assert isinstance(operator, LinearOperator) and operator.measured_shape == (1, 3)
    assert all(figure.passed for figure in check(operator, Effort(quick=True)))


def test_the_inverse_of_the_physics_is_taken_where_there_is_one():
    class Without(Physics):
        A_dagger = None

    y = Seeds.range(0, 3).normal((1, 3), torch.float64)
    own, other = (from_physics(kind(), (1, 6)).pseudo_inverse(y) for kind in (Physics, Without))
    assert (own - other).abs().max() < 1e-12


def test_physics_without_an_adjoint_is_not_linear():
    operator = from_physics(Bent(), (4,))
    assert not isinstance(operator, LinearOperator) and not operator.linear
    x = Seeds.range(0, 3).normal((4,))
    assert torch.equal(operator(x), x.square())


@pytest.mark.parametrize(
    ("physics", "message"),
    [(object(), "has a method A"), (Wrong(), "not the transpose of its A"), (Waves(), "one real tensor.*complex64")],
)
def test_physics_that_cannot_be_taken_is_refused(physics, message):
    with pytest.raises(InputError, match=message):
        from_physics(physics, (1, 6))


def test_the_noise_of_physics_is_read_off_its_attributes():
    assert noise_of_physics(Physics(Noise(sigma=torch.tensor(0.25)))) == GaussianNoise(0.25)
    assert noise_of_physics(Physics(Noise(gain=0.5, normalize=True))) == PoissonNoise(2.0)
    for model in (None, Noise(sigma=0.1, gain=0.5), Noise(sigma=torch.ones(2)), Noise(gain=0.5, normalize=False)):
        with pytest.raises(InputError, match="say the noise yourself"):
            noise_of_physics(Physics(model))
