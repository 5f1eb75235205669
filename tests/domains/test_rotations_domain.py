"""Rotations: conventions against SciPy's, files of one's own, distances and stand-ins."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.transform import Rotation
from thresholds import assert_mean

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.rotations import rotations, statistics
from unstir.domains.rotations.texture import from_euler
from unstir.processes.rotations import RotationProcess

TURNS = Rotation.random(12, random_state=0)


def read(tmp_path, values, **options):
    np.save(tmp_path / "own.npy", values)
    return rotations.read({"path": str(tmp_path / "own.npy"), "held_out": 0.0, **options})


def test_every_way_of_writing_gives_scipys_matrices_and_comes_back(tmp_path):
    q, matrices = TURNS.as_quat(), TURNS.as_matrix()
    pairs = q.reshape(6, 2, 4)
    for values, options in (
        (q, {}),
        (np.roll(q, 1, 1), {"scalar": "first"}),
        (matrices, {}),
        (pairs, {}),
        (matrices.reshape(6, 2, 3, 3), {}),
        (-q, {}),
    ):
        data = read(tmp_path, values, **options)
        assert np.allclose(data.state.reshape(-1, 3, 3).numpy(), matrices, atol=1e-6)
        for encoding in (data.encoding, rotations.restore(data.encoding.record())):
            back = encoding.decode(data.state)
            assert back.shape == values.shape
            same = np.minimum(np.abs(back - values).max(-1), np.abs(back + values).max(-1))
            assert (np.abs(back - values) if values.shape[-1] == 3 else same).max() < 1e-6


def test_tables_of_quaternions_are_read_and_written(tmp_path):
    data = read(tmp_path, TURNS.as_quat())
    (file,) = rotations.write(data.encoding, data.state, tmp_path / "out")
    assert file.read_text(encoding="utf-8").splitlines()[0] == "qx,qy,qz,qw"
    again = rotations.read({"path": str(file), "held_out": 0.0})
    assert torch.allclose(again.state, data.state, atol=1e-6)
    (file,) = rotations.write(data.encoding, data.state, tmp_path / "out", kind="npy")
    assert np.allclose(Rotation.from_quat(np.load(file)).as_matrix(), TURNS.as_matrix(), atol=1e-6)
    with pytest.raises(InputError, match="unknown kind of file"):
        rotations.write(data.encoding, data.state, tmp_path / "out", kind="bin")


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        (np.ones((3, 4)), {}, "row 0 .of 3 such rows.*length must be 1"),
        (-TURNS.as_matrix(), {}, "right-handed"),
        (np.full((3, 3, 3), np.nan), {}, "row 0"),
        (np.ones((3, 5)), {}, "quaternions .4,., matrices"),
        (TURNS.as_quat(), {"scalar": "middle"}, "unknown scalar"),
        (TURNS.as_quat(), {"unit": "degrees"}, "option of the field 'rotations'"),
    ],
)
def test_what_is_no_rotation_is_answered(tmp_path, values, options, said):
    with pytest.raises(InputError, match=said):
        read(tmp_path, values, **options)


def test_bunges_angles_are_scipys_intrinsic_zxz():
    degrees = torch.tensor([[0.0, 45.0, 0.0], [35.0, 45.0, 10.0], [90.0, 35.0, 45.0]], dtype=torch.float64)
    expected = Rotation.from_euler("ZXZ", degrees.numpy(), degrees=True).as_matrix()
    assert np.allclose(from_euler(degrees).numpy(), expected, atol=1e-12)


def test_embedded_data_have_the_shares_of_their_law():
    data = rotations.read({"count": 2000, "held_out": 0.1})
    assert data.shape == (1, 3, 3) and len(data.held_out) == 200
    # within 30 degrees of the cube: nearly all of its share, and of a uniform ground (w - sin w)/pi
    near = statistics.angles_to(data.state[:, 0], torch.eye(3)) < 30
    ground = (math.pi / 6 - math.sin(math.pi / 6)) / math.pi
    inside = stats.maxwell.cdf(30, scale=8.0)
    assert_mean(near.double().numpy(), 0.30 * inside + 0.15 * ground)
    for wrong in ({"count": 1}, {"name": "rolled"}):
        with pytest.raises(InputError):
            rotations.read(wrong)


def test_turn_distances_are_the_mean_of_scipys_two_sample_distances():
    seeds = Seeds.range(0, 60)
    first, second = (statistics.uniform(torch.zeros(60, 1, 3, 3), Seeds.range(seed, 60)) for seed in (1, 2))
    metric = statistics.TurnDistances(most=60)
    found = metric.measure(statistics.sample_set(first), statistics.sample_set(second), seeds).value
    one, two = (Rotation.from_matrix(rows[:, 0].double().numpy()) for rows in (first, second))
    expected = [
        stats.ks_2samp((fixed.inv() * one).magnitude(), (fixed.inv() * two).magnitude()).statistic for fixed in two
    ]
    assert found == pytest.approx(np.mean(expected), abs=2 / 60)
    assert metric.measure(statistics.sample_set(first), statistics.sample_set(first), seeds).value < 1e-12


def test_stand_ins_have_the_moments_that_they_should():
    process, count = RotationProcess(), 4000
    centre = torch.from_numpy(TURNS[0].as_matrix()).expand(count, 1, 3, 3)
    t = process.schedule.time_at_sigma(torch.tensor(0.4, dtype=torch.float64))
    data = process.noise(centre, t, Seeds.range(0, count))
    again = statistics.one_gaussian(data, process, Seeds.range(1, count))
    for rows in (data, again):
        # the mean matrix is e^(-sigma^2) times the centre
        assert_mean((rows[:, 0].double() @ centre[:, 0].mT).diagonal(dim1=1, dim2=2).sum(1) / 3, math.exp(-0.16)) if (
            rows is data
        ) else None
    spread = [
        (rows[:, 0].double() @ centre[:, 0].mT).diagonal(dim1=1, dim2=2).sum(1).mean() / 3 for rows in (data, again)
    ]
    assert abs(spread[0] - spread[1]) < 5 * 0.2 * math.sqrt(2 / count)
    even = statistics.uniform(data, Seeds.range(2, count))
    assert_mean(even[:, 0].double().flatten(1).numpy(), np.zeros(9), np.full(9, math.sqrt(1 / 3)))


def test_pole_figures_keep_areas():
    even = statistics.uniform(torch.zeros(4000, 1, 3, 3), Seeds.range(3, 4000))
    places = statistics.axis_places(even[:, 0], 2)
    radius = places.square().sum(1)
    assert radius.max() <= 1 + 1e-9
    assert_mean((radius < 0.5).double().numpy(), 0.5, 0.5)


def test_a_change_of_any_sample_shows_in_the_picture(tmp_path):
    data = read(tmp_path, TURNS.as_quat())
    picture = rotations.draw(data.encoding, data.state[:6], columns=3)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    for row in range(6):
        changed = data.state[:6].clone()
        changed[row] = data.state[7]
        assert not np.array_equal(rotations.draw(data.encoding, changed, columns=3), picture)
