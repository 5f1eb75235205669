import functools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from mutants import is_caught, misses
from scipy import stats
from thresholds import assert_distribution, assert_mean
from torch.testing import assert_close

from unstir import Seeds
from unstir.core.errors import InputError, NonFiniteError
from unstir.domains.images.encoding import ImageEncoding
from unstir.likelihood import dequantisation, flow_dequantiser
from unstir.likelihood.dequantisation import (
    Cells,
    Dequantiser,
    TruncatedNormalDequantiser,
    UniformDequantiser,
    truncated_normal_dequantisation,
    uniform_dequantisation,
    variational_dequantisation,
)
from unstir.likelihood.flow_dequantiser import FlowDequantiser, fit_dequantiser, rational_quadratic
from unstir.verification.checks import likelihood_bound as checks

ESTIMATES = [uniform_dequantisation, truncated_normal_dequantisation, variational_dequantisation]


def flow(cells, shape, **options):
    """A flow with weights, as after a fit."""
    made = FlowDequantiser(cells, shape, width=8, **options)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return made


def dequantisers(cells, shape):
    return [UniformDequantiser(cells), TruncatedNormalDequantiser(cells, cells.step), flow(cells, shape)]


def test_cells_go_there_and_back():
    cells = Cells(16, -0.7, 2.3)
    integers = Seeds.range(0, 200).integers(0, 16, (3,))
    for dequantiser in dequantisers(cells, (3,)):
        drawn = dequantiser.draw(integers, Seeds.range(1, 200))
        assert isinstance(dequantiser, Dequantiser)
        assert torch.equal(cells.decode(drawn.state), integers)
        assert float((drawn.state.detach() - cells.values()[integers]).abs().max()) <= cells.step / 2
    assert_close(cells.values()[[0, -1]], torch.tensor([-0.7, 2.3]).double())
    assert_close(cells.encode(integers), cells.values()[integers])
    assert cells.decode(torch.tensor([-9.0, 9.0])).tolist() == [0, 15]


def test_the_encoding_of_pictures_says_the_cells():
    """Encoded by the domain itself, every byte lies at the middle of its cell."""
    encoding = ImageEncoding(0, 255, "uint8", "hw", (1, 16, 16))
    cells = Cells.of(encoding)
    assert cells == Cells(256, -1.0, 1.0) and math.isclose(cells.step, 2 / 255)
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    encoded = encoding.encode(values)
    assert_close(cells.encode(torch.arange(256).reshape(1, 1, 16, 16)).float(), encoded)
    noisy = UniformDequantiser(cells).draw(torch.arange(256).reshape(1, 1, 16, 16), Seeds.range(0, 1)).state
    assert np.array_equal(encoding.decode(noisy), values)
    assert Cells.of(replace(encoding, low=3, high=10)).levels == 8
    for other in (replace(encoding, dtype="float32"), object()):
        with pytest.raises(InputError, match="say the cells"):
            Cells.of(other)


def test_eight_bits_are_eight_bits_on_any_scale():
    """A level drawn evenly of 256 costs eight bits, where a fixed log2(256) would tell seven or nine."""
    for low, high in [(-1.0, 1.0), (0.0, 1.0), (-2.1, 2.6)]:
        cells = Cells(256, low, high)
        integers = Seeds.range(0, 50).integers(0, 256, (2, 2))
        height = -4 * math.log(256 * cells.step)
        told = uniform_dequantisation(lambda x, h=height: x.new_full((len(x),), h), integers, cells, Seeds.range(1, 50))
        assert_close(told.bits_per_dimension, torch.full((50,), 8.0).double())
        assert "8.00000 bits per dimension" in str(told)


def test_laws_of_the_place_are_those_told():
    cells = Cells(4)
    integers = torch.full((20_000, 1), 2)
    seeds = Seeds.range(1, 20_000)
    place = (UniformDequantiser(cells).draw(integers, seeds).state - cells.values()[2]) / cells.step
    assert_distribution(place.numpy(), stats.uniform(-0.5, 1).cdf)
    drawn = TruncatedNormalDequantiser(cells, 0.3).draw(integers, seeds)
    reach = cells.step / 2 / 0.3
    law = stats.truncnorm(-reach, reach, loc=float(cells.values()[2]), scale=0.3)
    assert_distribution(drawn.state.numpy(), law.cdf)
    assert_close(drawn.log_weight, torch.as_tensor(-law.logpdf(drawn.state.numpy()[:, 0])))


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 4, 4)])
def test_the_density_of_a_flow_is_the_determinant_of_its_map(shape):
    """Against automatic differentiation from the uniform places to the state, one sample at a time."""
    cells = Cells(5)
    made = flow(cells, shape)
    integers = Seeds.range(0, 3).integers(0, 5, shape)

    class Given(Seeds):
        def to(self, device):
            return self

        def uniform(self, shape=(), dtype=torch.float64):
            return places

    for row in range(3):
        start = Seeds.range(7, 3)[row : row + 1].uniform(shape)

        def moved(u):
            nonlocal places
            places = u
            return made.draw(integers[row : row + 1], Given(0, torch.tensor([row]))).state  # noqa: B023

        places = start
        weight = made.draw(integers[row : row + 1], Given(0, torch.tensor([row]))).log_weight
        jacobian = torch.autograd.functional.jacobian(moved, start).reshape(start.numel(), start.numel())
        # the networks compute in float32, whose roughness the slopes do not see
        assert_close(weight, torch.linalg.slogdet(jacobian).logabsdet[None], rtol=1e-4, atol=1e-4)


def test_splines_rise_from_corner_to_corner():
    free = 2 * Seeds.range(0, 5).normal((25,), torch.float64)
    u = torch.linspace(0, 1, 401, dtype=torch.float64)
    places = u.expand(5, -1).clone().requires_grad_()
    told, slope = rational_quadratic(places, free[..., None].expand(-1, -1, 401))
    (gradient,) = torch.autograd.grad(told.sum(), places)
    assert_close(slope.exp()[:, 1:-1], gradient[:, 1:-1])
    told = told.detach()
    assert_close(told[:, 0], torch.zeros(5).double())
    assert_close(told[:, -1], torch.ones(5).double())
    assert (told.diff(dim=1) > 0).all()
    same, flat = rational_quadratic(u[None], torch.zeros(1, 25, 401).double())
    assert_close(same[0], u)
    assert_close(flat, torch.zeros(1, 401).double())


def test_a_fresh_flow_is_the_uniform_law():
    cells, integers = Cells(7), Seeds.range(0, 20).integers(0, 7, (4,))
    drawn = FlowDequantiser(cells, (4,)).draw(integers, Seeds.range(1, 20))
    plain = UniformDequantiser(cells).draw(integers, Seeds.range(1, 20))
    assert_close(drawn.state, plain.state)
    assert_close(drawn.log_weight, plain.log_weight)


def test_places_may_hang_together():
    """A pair correlated within its cells: the learned bound comes near to P, by quadrature, that plain noise misses."""
    cells = Cells(9)
    covariance = torch.tensor([[0.03, 0.024], [0.024, 0.03]], dtype=torch.float64)
    factor = torch.linalg.cholesky(covariance)
    law = torch.distributions.MultivariateNormal(torch.zeros(2).double(), covariance)
    integers = cells.decode(Seeds.range(0, 600).normal((2,), torch.float64) @ factor.T)
    nodes, weights = (torch.as_tensor(values) for values in np.polynomial.legendre.leggauss(12))
    places = torch.cartesian_prod((nodes + 1) / 2, (nodes + 1) / 2)
    shares = (weights[:, None] * weights / 4).flatten().log()
    inside = law.log_prob(cells.low + cells.step * (integers[:, None] + places - 0.5)) + shares
    exact = inside.logsumexp(1) + 2 * cells.log_step
    fitted = fit_dequantiser(law.log_prob, integers, cells, Seeds.range(2, 1), steps=60, batch=128, layers=2, width=32)
    seeds = Seeds.range(3, 600)
    plain = uniform_dequantisation(law.log_prob, integers, cells, seeds, 4).nats
    learned = variational_dequantisation(law.log_prob, integers, fitted, seeds, 4).nats
    assert float((exact - learned).mean()) < 0.25 * float((exact - plain).mean())
    one = variational_dequantisation(law.log_prob, integers, fitted, Seeds.range(4, 600)).nats
    assert_mean((one - exact).exp().numpy(), 1.0)


def test_a_fit_is_the_same_for_the_same_seed_and_leaves_torchs_own_draws_alone():
    cells, integers = Cells(4), Seeds.range(0, 30).integers(0, 4, (2,))
    state = torch.get_rng_state()
    told = []
    fits = [
        fit_dequantiser(
            lambda x: -x.square().sum(1), integers, cells, Seeds.range(5, count), steps=3, batch=8, progress=told.append
        )
        for count in (1, 9)
    ]
    assert told == [1] * 6 and torch.equal(torch.get_rng_state(), state)
    for first, second in zip(fits[0].parameters(), fits[1].parameters(), strict=True):
        assert torch.equal(first, second)
    assert not fits[0].training


def test_padded_places_count_for_nothing():
    cells = Cells(6)
    mask = torch.tensor([[True, False, True], [True, True, True]])
    integers = Seeds.range(0, 2).integers(0, 6, (3, 2))
    other = torch.where(mask[..., None], integers, 5 - integers)
    for dequantiser in dequantisers(cells, (3, 2)):
        one, same = (dequantiser.draw(values, Seeds.range(1, 2), mask) for values in (integers, other))
        assert (one.state[0, 1] == 0).all()
        if not isinstance(dequantiser, FlowDequantiser):  # whose perceptron sees the padded integers too
            assert_close(one.log_weight, same.log_weight)
    told = uniform_dequantisation(lambda x: x.sum((1, 2)), integers, cells, Seeds.range(1, 2), mask=mask)
    assert told.elements.tolist() == [4.0, 6.0]


def test_weighting_is_a_logarithm_of_a_mean():
    cells, integers, seeds = Cells(3), torch.tensor([[0], [2]]), Seeds.range(1, 2)
    options = {"draws": 5}
    singles = torch.stack(
        [
            UniformDequantiser(cells).draw(integers, seeds.at("dequantise", draw)).state.square().sum(1)
            + cells.log_step
            for draw in range(5)
        ]
    )
    plain = uniform_dequantisation(lambda x: x.square().sum(1), integers, cells, seeds, **options)
    weighted = uniform_dequantisation(lambda x: x.square().sum(1), integers, cells, seeds, weighted=True, **options)
    assert_close(plain.nats, singles.mean(0))
    assert_close(plain.standard_error, singles.std(0) / math.sqrt(5))
    assert_close(weighted.nats, singles.exp().mean(0).log())
    assert_close(weighted.standard_error, singles.exp().std(0) / math.sqrt(5) / singles.exp().mean(0))
    one = uniform_dequantisation(lambda x: x.square().sum(1), integers, cells, seeds)
    assert one.standard_error.isnan().all() and (weighted.nats >= plain.nats).all()


def test_bad_input_is_told():
    cells, seeds = Cells(4), Seeds.range(0, 2)
    integers = torch.tensor([[0], [3]])
    for arguments in [(1,), (4, 1.0, 1.0), (4, 0.0, math.inf)]:
        with pytest.raises(InputError, match="2 levels at least"):
            Cells(*arguments)
    with pytest.raises(InputError, match="0 to 3; seen 0 to 4"):
        uniform_dequantisation(lambda x: x.sum(1), torch.tensor([[0], [4]]), cells, seeds)
    with pytest.raises(InputError, match="whole numbers"):
        uniform_dequantisation(lambda x: x.sum(1), integers.float(), cells, seeds)
    with pytest.raises(InputError, match="0 draws"):
        uniform_dequantisation(lambda x: x.sum(1), integers, cells, seeds, 0)
    with pytest.raises(InputError, match="one seed for each of 2"):
        uniform_dequantisation(lambda x: x.sum(1), integers, cells, Seeds.range(0, 3))
    with pytest.raises(NonFiniteError, match="not a number"):
        uniform_dequantisation(lambda x: x.sum(1) * math.nan, integers, cells, seeds)
    with pytest.raises(InputError, match="deviation must be positive"):
        truncated_normal_dequantisation(lambda x: x.sum(1), integers, cells, 0.0, seeds)
    with pytest.raises(InputError, match="shape \\(2,\\); seen \\(1,\\)"):
        FlowDequantiser(cells, (2,)).draw(integers, seeds)
    with pytest.raises(InputError, match="layer, unit, bin"):
        FlowDequantiser(cells, (2,), layers=0)
    with pytest.raises(InputError, match="1 step"):
        fit_dequantiser(lambda x: x.sum(1), integers, cells, seeds, steps=0)
    with pytest.raises(NonFiniteError, match="step 0"):
        fit_dequantiser(lambda x: x.sum(1) * math.nan, integers, cells, seeds, steps=1)


# checks and the copies that they must tell from the originals


@pytest.mark.parametrize("estimate", ESTIMATES)
@pytest.mark.parametrize("check", [checks.dequantisation_bits, checks.dequantisation_of_known_law])
def test_checks_hold(estimate, check):
    assert not misses(check, estimate)


def test_variational_check_holds_and_catches_what_stays_uniform(monkeypatch):
    assert not misses(checks.variational_dequantisation_is_between, variational_dequantisation)
    monkeypatch.setattr(checks, "fit_dequantiser", lambda *arguments, **options: UniformDequantiser(arguments[2]))
    assert misses(checks.variational_dequantisation_is_between, variational_dequantisation)


def test_a_density_of_the_flow_that_is_forgotten_is_caught(monkeypatch):
    """Without log q the learned bound is none: it passes log P."""

    def forgetting(self, integers, seeds, mask=None):
        drawn = draw(self, integers, seeds, mask)
        return replace(drawn, log_weight=drawn.log_weight.detach() * 0 + self.cells.log_step)

    draw = FlowDequantiser.draw
    fitted = fit_dequantiser

    def fit_then_forget(*arguments, **options):
        made = fitted(*arguments, **options)
        monkeypatch.setattr(FlowDequantiser, "draw", forgetting)
        return made

    monkeypatch.setattr(checks, "fit_dequantiser", fit_then_forget)
    assert misses(checks.variational_dequantisation_is_between, variational_dequantisation)


def test_the_constant_of_another_scale_is_caught():
    """log2(256) for every scale is what a well-known trap adds."""

    @functools.wraps(uniform_dequantisation)
    def mutant(log_density, integers, cells, seeds, draws=1, **options):
        told = uniform_dequantisation(log_density, integers, cells, seeds, draws, **options)
        return replace(told, nats=told.nats - told.elements * (cells.log_step + math.log(256)))

    assert is_caught(checks.dequantisation_bits, None, mutant)
    assert is_caught(checks.dequantisation_of_known_law, None, mutant)


def test_noise_that_leaves_the_cell_is_caught(monkeypatch):
    monkeypatch.setattr(Cells, "encode", lambda self, v, place=0.5: self.low + self.step * (v.double() + place))
    assert is_caught(checks.dequantisation_of_known_law, None, uniform_dequantisation)


def test_a_mean_of_probabilities_for_every_estimate_is_caught():
    """Weighted where it was not asked for it is nothing else; unweighted where it was, it misses its own bias."""

    @functools.wraps(uniform_dequantisation)
    def mutant(*arguments, weighted=False, **options):
        return uniform_dequantisation(*arguments, **options)

    assert is_caught(checks.dequantisation_of_known_law, None, mutant)


def test_the_learned_law_has_its_own_module_in_the_catalogue_once():
    from unstir.core.catalogue import entries

    names = {entry.name: entry for entry in entries("likelihood").values()}
    for estimate in ESTIMATES:
        entry = names[estimate.__name__.replace("_", "-")]
        assert entry.load() is estimate and entry.source
    assert not hasattr(flow_dequantiser, "__all__") and dequantisation.__all__ == sorted(dequantisation.__all__)
