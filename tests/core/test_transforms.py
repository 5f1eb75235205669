"""Transforms of data: there and back, Jacobians against autograd, SciPy's Box and Cox, records, and what is refused."""

import json
import math

import pytest
import torch
from scipy import special

from unstir.core import transforms
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.transforms import (
    Affine,
    BoxCox,
    Composed,
    InverseSoftplus,
    Log,
    Logit,
    LogRatio,
    contrasts,
    transform_of,
)

POSITIVE = Seeds.range(0, 6).normal((3,), torch.float64).mul(2).exp()
ANY = Seeds.range(1, 6).normal((3,), torch.float64)
WITHIN = -1 + 4 * Seeds.range(2, 6).uniform((3,))
SHARES = Seeds.range(3, 6).normal((2, 4), torch.float64).softmax(-1)

CASES = {
    "log": (Log(), POSITIVE),
    "inverse softplus": (InverseSoftplus(), POSITIVE),
    "Box-Cox 1/2": (BoxCox(), POSITIVE),
    "Box-Cox -1": (BoxCox(-1.0), POSITIVE),
    "Box-Cox 0": (BoxCox(0.0), POSITIVE),
    "logit": (Logit(-1.0, 3.0), WITHIN),
    "logit, an interval each": (Logit((-1.0, -2.0, -1.5), (3.0, 5.0, 3.5)), WITHIN),
    "affine": (Affine((0.5, 1.0, -2.0), (2.0, 0.1, 3.0)), ANY),
    "isometric": (LogRatio(), SHARES),
    "additive": (LogRatio("additive"), SHARES),
    "composed": (Composed((Affine(-0.1, 2.0), Log(), Affine(0.3, 0.7))), POSITIVE),
    "composed with shares": (Composed((LogRatio(), Affine((0.1, 0.2, 0.3), (1.0, 2.0, 0.5)))), SHARES),
}
every = pytest.mark.parametrize(("transform", "x"), CASES.values(), ids=list(CASES))


@every
def test_there_and_back(transform, x):
    y = transform.forward(x)
    assert y.isfinite().all()
    torch.testing.assert_close(transform.inverse(y), x, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(transform.forward(transform.inverse(y)), y, rtol=1e-11, atol=1e-12)
    single = transform.inverse(transform.forward(x.float()))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, x.float(), rtol=2e-5, atol=2e-6)


@every
def test_jacobian_is_that_of_autograd(transform, x):
    """Of compositions, in all parts but the last."""
    compositional = x is SHARES
    told = transform.log_abs_det(x)
    assert told.shape == (len(x),)
    for row in range(len(x)):
        one = x[row]

        def free(values, one=one):
            whole = torch.cat((values, 1 - values.sum(-1, keepdim=True)), -1) if compositional else values
            return transform.forward(whole[None])[0]

        inputs = one[..., :-1] if compositional else one
        jacobian = torch.autograd.functional.jacobian(free, inputs)
        size = inputs.numel()
        wanted = torch.linalg.slogdet(jacobian.reshape(size, size)).logabsdet
        torch.testing.assert_close(told[row], wanted, rtol=1e-10, atol=1e-10)


@every
def test_record_survives_json(transform, x):
    again = transform_of(json.loads(json.dumps(transform.record())))
    torch.testing.assert_close(again.forward(x), transform.forward(x), rtol=0, atol=0)
    assert again.record() == json.loads(json.dumps(transform.record()))


@pytest.mark.parametrize("exponent", [-1.5, -0.2, 0.0, 1e-9, 0.3, 2.0])
def test_box_cox_is_scipys(exponent):
    y = BoxCox(exponent).forward(POSITIVE)
    torch.testing.assert_close(y, torch.from_numpy(special.boxcox(POSITIVE.numpy(), exponent)), rtol=1e-12, atol=1e-13)


def test_what_comes_back_is_always_data():
    """Coordinates that a sampler may come to, far out, in float32."""
    y = torch.tensor([[-200.0, -40.0, 0.0], [30.0, 60.0, 80.0]])
    for transform in (Log(), InverseSoftplus(), BoxCox(0.5), BoxCox(-0.5)):
        x = transform.inverse(y)
        assert x.isfinite().all() and (x >= 0).all()
    assert BoxCox(0.5).inverse(y)[0, 0] == 0
    x = Logit(-1.0, 3.0).inverse(y)
    assert ((x >= -1) & (x <= 3)).all()
    for kind in ("isometric", "additive"):
        torch.testing.assert_close(LogRatio(kind).inverse(y).sum(-1), torch.ones(2))


def test_softplus_keeps_small_and_large_numbers():
    x = torch.tensor([1e-12, 1e-3, 1.0, 50.0, 1e4], dtype=torch.float64)[:, None]
    torch.testing.assert_close(InverseSoftplus().inverse(InverseSoftplus().forward(x)), x, rtol=1e-12, atol=0)


def test_contrasts_are_orthonormal():
    table = contrasts(5, ANY)
    torch.testing.assert_close(table.T @ table, torch.eye(4, dtype=torch.float64), rtol=1e-14, atol=1e-14)
    assert table.sum(0).abs().max() < 1e-14


def test_isometric_distance_favours_no_part():
    """Aitchison's distance: sqrt of the sum of squared differences of all log-ratios over 2k."""
    first, second = SHARES[:3, 0], SHARES[3:, 0]
    away = (LogRatio().forward(first) - LogRatio().forward(second)).norm(dim=-1)
    logs = first.log() - second.log()
    pairs = (logs[:, :, None] - logs[:, None, :]).square().sum((1, 2)) / (2 * 4)
    torch.testing.assert_close(away, pairs.sqrt(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Log().forward(torch.tensor([[1.0, -2.0]])), "must be positive; 1 of 2 values are not, the first -2"),
        (lambda: BoxCox().forward(torch.tensor([[0.0]])), "must be positive"),
        (lambda: BoxCox(math.inf), "finite number; seen inf"),
        (lambda: Logit().forward(torch.tensor([[1.0]])), "between 0.0 and 1.0, without these ends"),
        (lambda: Logit(2.0, 1.0), "low < high; seen 2.0 and 1.0"),
        (lambda: Logit((0.0, 0.0), (1.0, 1.0, 1.0)), "as many lower as upper ends are needed; seen 2 and 3"),
        (lambda: Affine(0.0, 0.0), "a scale is positive"),
        (lambda: Affine((0.0, 1.0), 1.0).forward(torch.zeros(4, 3)), r"2 shifts need a last axis of 2; seen \(4, 3\)"),
        (lambda: LogRatio().forward(torch.tensor([[20.0, 80.0]])), "sum to one along the last axis"),
        (lambda: LogRatio().forward(torch.tensor([[0.0, 1.0]])), "positive parts"),
        (lambda: LogRatio("central"), "unknown kind of log-ratio 'central'"),
        (lambda: transform_of("logg"), "unknown transform 'logg'; did you mean 'log'"),
        (lambda: transform_of({"name": "box-cox", "lambda": 2}), "'box-cox' has no option 'lambda'.*exponent"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_every_transform_is_listed_under_its_name():
    made = {value for value in vars(transforms).values() if isinstance(value, type) and "name" in vars(value)}
    assert {kind for kind in made if kind is not transforms.Transform} == set(transforms.TRANSFORMS.values())
