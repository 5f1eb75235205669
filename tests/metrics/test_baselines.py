import math

import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.metrics.base import SampleSet
from unstir.metrics.baselines import baseline_sets, describe_baselines, draw_baselines, gaussian, gaussian_per_class


def data(count=200, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    values = torch.randn(count, 1, 2, 2, generator=generator).cumsum(-1) * (1 + labels)[:, None, None, None]
    return SampleSet(values + 10 * labels[:, None, None, None], labels=labels)


def test_gaussian_has_the_datas_moments():
    values, count = data().values, 20_000
    drawn = gaussian(values, Seeds.range(1, count)).flatten(1).double()
    flat = values.flatten(1).double()
    covariance = torch.cov(flat.T)
    errors = (covariance.diagonal() / count).sqrt()
    assert ((drawn.mean(0) - flat.mean(0)).abs() < 5 * errors).all()
    # the variance of a Gaussian's sample covariance is (C_ii C_jj + C_ij^2) / n
    spread = ((covariance.diagonal()[:, None] * covariance.diagonal() + covariance.square()) / count).sqrt()
    assert ((torch.cov(drawn.T) - covariance).abs() < 5 * spread).all()


def test_gaussian_of_fewer_rows_than_dimensions_stays_in_their_span():
    rows = torch.randn(3, 10, generator=torch.Generator().manual_seed(2))
    drawn = gaussian(rows, Seeds.range(0, 50)).double()
    basis = torch.linalg.qr((rows[1:] - rows[0]).double().T).Q
    off = drawn - rows[0].double()
    assert (off - off @ basis @ basis.T).abs().max() < 1e-5


def test_each_class_has_its_own_gaussian():
    reference, count = data(), 4000
    asked = torch.arange(count) % 2
    drawn = gaussian_per_class(reference.values, reference.labels, asked, Seeds.range(3, count))
    for label in (0, 1):
        rows = reference.values[reference.labels == label].double()
        mine = drawn[asked == label].double()
        assert ((mine.mean(0) - rows.mean(0)).abs() < 5 * rows.std(0) / math.sqrt(count / 2)).all()


def test_a_class_of_one_row_repeats_it():
    values = torch.randn(4, 3, generator=torch.Generator().manual_seed(4))
    labels = torch.tensor([0, 0, 0, 1])
    drawn = gaussian_per_class(values, labels, torch.tensor([1, 1]), Seeds.range(0, 2))
    torch.testing.assert_close(drawn, values[3:].repeat(2, 1))


def test_jitter_and_copies_are_rows_of_the_data():
    reference = data()
    drawn = draw_baselines(reference, Seeds.range(5, 500))
    assert set(drawn) == {"gaussian", "gaussian-per-class", "jitter-0.1", "jitter-0.3", "copies"}
    copies, labels = drawn["copies"]
    table = (copies.flatten(1)[:, None] - reference.values.flatten(1)).norm(dim=2)
    assert (table.min(1).values == 0).all()
    assert torch.equal(reference.labels[table.argmin(1)], labels)
    half = (reference.values.max() - reference.values.min()).item() / 2
    for size in (0.1, 0.3):
        noise = (drawn[f"jitter-{size}"][0] - copies).double()
        assert noise.std().item() == pytest.approx(size * half, rel=5 / math.sqrt(2 * noise.numel()))


def test_sample_seventeen_is_the_same_alone():
    reference = data()
    every = draw_baselines(reference, Seeds.range(6, 30))
    alone = draw_baselines(reference, Seeds.range(6, 1, start=17))
    for name, (values, _) in every.items():
        torch.testing.assert_close(alone[name][0][0], values[17], rtol=1e-5, atol=1e-6)


def test_features_need_their_extractor():
    plain = SampleSet(torch.randn(50, 3))
    assert len(baseline_sets(plain, Seeds.range(0, 10), None)["copies"]) == 10
    with pytest.raises(InputError, match="extractor"):
        baseline_sets(SampleSet(plain.values, features=torch.randn(50, 2)), Seeds.range(0, 10), None)


def test_lines_state_the_jitters_size_in_deviations_of_the_data():
    reference = SampleSet(torch.tensor([[-1.0], [1.0]] * 50))
    assert describe_baselines(reference)["jitter-0.1"].endswith("noise of 0.1, 0.099 of the data's standard deviation")
