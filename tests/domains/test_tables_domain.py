"""Tables: types of columns, values there and back, bad files, distances against SciPy's, stand-ins, usefulness."""

import numpy as np
import pytest
import torch
from scipy import stats
from thresholds import assert_mean

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.rows import kept_apart
from unstir.domains.tables import stand_ins, tables
from unstir.domains.tables.data import SHIPPED, shipped
from unstir.domains.tables.statistics import (
    Associations,
    ColumnDistances,
    TreesTwoSample,
    association_matrix,
    sample_set,
    sizes_of,
)
from unstir.domains.tables.usefulness import usefulness
from unstir.metrics.base import SampleSet

COLOURS = ("red", "green", "blue")


def own_table(count=120):
    """Text, two numbers, ordered levels, whole numbers, positive numbers with an exponent."""
    generator = np.random.default_rng(0)
    size = generator.normal(size=count)
    return {
        "colour": [COLOURS[code] for code in generator.integers(0, 3, count)],
        "sold": [str(code) for code in generator.integers(0, 2, count)],
        "grade": [str(code) for code in 1 + generator.integers(0, 5, count)],
        "age": [str(code) for code in generator.integers(18, 80, count)],
        "price": [f"{value:.2f}" for value in np.exp(size)],
        "mass": [f"{value:.6e}" for value in np.exp(3 * size)],
    }


def write(path, table):
    rows = [",".join(table), *(",".join(row) for row in zip(*table.values(), strict=True))]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def own(tmp_path):
    return write(tmp_path / "own.csv", own_table())


def test_types_follow_the_stated_rule_and_may_be_overridden(own):
    data = tables.read({"path": str(own)})
    assert [column.kind for column in data.encoding.columns] == [
        "categorical", "categorical", "ordinal", "continuous", "continuous", "continuous",
    ]  # fmt: skip
    assert [column.decimals for column in data.encoding.columns[3:]] == [0, 2, None]
    types = {"sold": "continuous", "grade": "categorical", "price": "positive"}
    data = tables.read({"path": str(own), "types": types, "target": "price"})
    assert {name: column.kind for column in data.encoding.columns for name in [column.name] if name in types} == types
    assert data.encoding.target == "price"
    assert data.shape == {"continuous": (4,), "column_colour": (1,), "column_grade": (1,)}


@pytest.mark.parametrize("transform", ["quantile", "standard"])
def test_values_come_back_as_they_were(own, transform):
    options = {"path": str(own), "types": {"mass": "positive"}, "transform": transform}
    data, table = tables.read(options), own_table()
    parts = kept_apart(120, 0.25, 0)
    for rows, part in zip(parts, (data, data.held_out), strict=True):
        for encoding in (data.encoding, tables.restore(data.encoding.record())):
            decoded = encoding.decode(part.state)
            assert list(decoded) == list(table)
            for name, texts in table.items():
                wanted = [texts[row] for row in rows]
                if name == "mass":  # six digits behind the point of a mantissa: float32 keeps seven
                    assert np.allclose(
                        [float(text) for text in decoded[name]], [float(text) for text in wanted], rtol=3e-5
                    )
                else:
                    assert decoded[name] == wanted
    numbers = data.state["continuous"]
    assert numbers.mean(0).abs().max() < 0.05
    # normal scores of few levels have less than the deviation of one
    assert ((numbers[:, 1:].std(0) - 1).abs() < 0.05).all()


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_tables_come_back_as_they_were(name):
    data, table = tables.read({"name": name}), shipped(name)
    train, _ = kept_apart(len(next(iter(table.values()))), 0.25, 0)
    decoded = data.encoding.decode(data.state)
    for column in data.encoding.columns:
        wanted = [table[column.name][row] for row in train]
        if column.levels:
            assert decoded[column.name] == wanted
        else:
            assert [float(text) for text in decoded[column.name]] == [float(text) for text in wanted]
    assert data.encoding.target == SHIPPED[name]
    assert any(column.categorical for column in data.encoding.columns)


def test_what_is_drawn_stays_what_it_is(own):
    """Far beyond the data a positive number stays positive, a level a level, a whole number whole."""
    data = tables.read({"path": str(own), "types": {"price": "positive", "mass": "positive"}})
    state = {"continuous": torch.linspace(-8, 8, 41)[:, None].expand(41, 4).clone()}
    state |= {name: torch.zeros(41, 1, dtype=torch.int64) for name in data.encoding.parts}
    decoded = data.encoding.decode(state)
    assert min(float(text) for name in ("price", "mass") for text in decoded[name]) > 0
    assert set(decoded["grade"]) == {"1", "2", "3", "4", "5"}
    assert all(text.lstrip("-").isdigit() for text in decoded["age"])
    ages = [float(text) for text in decoded["age"]]
    known = {float(text) for text in own_table()["age"]}  # ages repeat, so that the data's own come back
    assert ages == sorted(ages) and set(ages) <= known and {min(known), max(known)} <= set(ages)
    assert float(decoded["price"][-1]) > max(float(text) for text in own_table()["price"])


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (("red", ""), {}, "line .*'colour' is missing"),
        (("red", "NA"), {}, "line .*'colour' is missing .'NA'"),
        (("colour,sold", "colour,colour"), {}, "name of its own; seen 'colour'"),
        (("colour,sold", "1,2"), {}, None),
        (None, {"types": {"colour": "continuous"}}, "'colour', row 1: .* is not a finite number"),
        (None, {"types": {"colour": "ordinal"}}, "ordered levels must be numbers"),
        (None, {"types": {"age": "category"}}, "did you mean 'categorical'"),
        (None, {"types": {"aeg": "ordinal"}}, "did you mean 'age'"),
        (None, {"types": {"mass": "categorical"}}, "identifier"),
        (None, {"types": ["age"]}, "a type for each"),
        (None, {"target": "prize"}, "did you mean 'price'"),
        (None, {"columns": ["clour"]}, "did you mean 'colour'"),
        (None, {"columns": "colour"}, "a list of names"),
        (None, {"transform": "log"}, "quantile"),
        (None, {"heldout": 0.1}, "did you mean 'held_out'"),
    ],
)
def test_tables_and_options_that_cannot_be_used_are_answered(own, change, options, said):
    if change:
        own.write_text(own.read_text(encoding="utf-8").replace(*change, 1), encoding="utf-8")
    if said is None:
        assert tables.read({"path": str(own), **options}).encoding.columns[0].name == "1"
        return
    with pytest.raises(InputError, match=said):
        tables.read({"path": str(own), **options})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "first line must name"),
        (b"1,2\n3,4\n", "first line must name"),
        (b"a,b\n", "holds no rows"),
        (b"a,b\n1,2\n3\n", "line 3: 1 cells, but 2"),
        (b"a,b\n1,\xff\n", "not UTF-8 text .byte 6"),
        (b"a,b\n1,2\n1,3\n1,4\n1,5\n1,6\n1,7\n1,8\n1,9\n", "all values are '1'"),
    ],
)
def test_files_that_are_no_tables_are_answered(tmp_path, content, said):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError, match=said):
        tables.read({"path": str(tmp_path / "t.csv")})
    with pytest.raises(InputError, match="no such file"):
        tables.read({"path": str(tmp_path / "none.csv")})
    with pytest.raises(InputError, match="table of scikit-learn's"):
        tables.read({"name": "wines"})


def test_rows_with_gaps_may_be_dropped(own):
    own.write_text(own.read_text(encoding="utf-8").replace("red", "", 3), encoding="utf-8")
    assert len(tables.read({"path": str(own), "missing": "drop", "held_out": 0.0})) == 117


def test_written_samples_read_back_the_same(own, tmp_path):
    data = tables.read({"path": str(own)})
    (file,) = tables.write(data.encoding, data.state, tmp_path / "out", first=7)
    assert file.name == "samples-000007.csv"
    again = tables.read({"path": str(file), "held_out": 0.0})
    written, wanted = again.encoding.decode(again.state), data.encoding.decode(data.state)
    mass = [[float(text) for text in table.pop("mass")] for table in (written, wanted)]
    assert written == wanted and np.allclose(*mass, rtol=1e-5)
    with pytest.raises(InputError, match="other samples here already"):
        flipped = {name: part.flip(0) for name, part in data.state.items()}
        tables.write(data.encoding, flipped, tmp_path / "out", first=7)


def test_distances_and_associations_are_scipys(own):
    data = tables.read({"path": str(own)})
    sizes = sizes_of(data.encoding)
    first, second = (sample_set(data.encoding, part.state) for part in (data, data.held_out))
    each = ColumnDistances(sizes).measure(first, second, Seeds.range(0, len(first))).details["each"]
    for place, size in enumerate(sizes):
        one, two = first.values[:, place].numpy(), second.values[:, place].numpy()
        if size:
            shares = [np.bincount(rows.astype(int), minlength=size) / len(rows) for rows in (one, two)]
            expected = np.abs(shares[0] - shares[1]).sum() / 2
        else:
            expected = stats.ks_2samp(one, two).statistic
        assert each[place] == pytest.approx(expected, abs=1e-12)
    matrix, values = association_matrix(first, sizes), first.values.numpy()
    assert matrix[4, 5] == pytest.approx(stats.pearsonr(values[:, 4], values[:, 5]).statistic, abs=1e-9)
    table = stats.contingency.crosstab(values[:, 0], values[:, 1]).count
    assert matrix[0, 1] == pytest.approx(stats.contingency.association(table, method="cramer"), abs=1e-9)
    groups = [values[values[:, 0] == code, 3] for code in range(3)]
    between = sum(len(group) * (group.mean() - values[:, 3].mean()) ** 2 for group in groups)
    assert matrix[0, 3] == pytest.approx(np.sqrt(between / len(values) / values[:, 3].var()), abs=1e-9)
    assert matrix[3, 0] == matrix[0, 3]


@pytest.mark.parametrize("kind", [ColumnDistances, Associations])
def test_a_resampling_by_weights_is_that_of_the_repeated_rows(own, kind):
    data = tables.read({"path": str(own)})
    metric = kind(sizes_of(data.encoding))
    first, second = (sample_set(data.encoding, part.state) for part in (data, data.held_out))
    counts = torch.from_numpy(np.random.default_rng(0).multinomial(len(first), np.full(len(first), 1 / len(first)), 3))
    seeds = Seeds.range(0, len(first))
    by_weights = metric.measure(first, second, seeds).resampled(counts.double())
    for row, value in zip(counts, by_weights.tolist(), strict=True):
        repeated = first.take(torch.arange(len(first)).repeat_interleave(row))
        assert metric.measure(repeated, second, seeds).value == pytest.approx(value, abs=1e-9)


def test_stand_ins_keep_the_columns_and_only_the_copula_the_correlations():
    data = tables.read({"name": "diabetes", "held_out": 0.0})
    seeds, sizes = Seeds.range(0, 2000), sizes_of(data.encoding)
    reference = sample_set(data.encoding, data.state)
    drawn = {
        "independent": stand_ins.independent(data.state, seeds),
        "copula": stand_ins.gaussian_copula(data.encoding, data.state, seeds),
        "copies": stand_ins.copies(data.state, seeds),
    }
    sets = {name: sample_set(data.encoding, state) for name, state in drawn.items()}
    for rows in sets.values():
        each = ColumnDistances(sizes).measure(rows, reference, seeds).details["each"]
        assert max(each) < 2.7 / np.sqrt(2000)  # Kolmogorov's distance exceeds that once in a million times
    gaps = {name: Associations(sizes).measure(rows, reference, seeds).value for name, rows in sets.items()}
    assert gaps["copies"] < gaps["copula"] < 0.1 < 0.2 < gaps["independent"]


def test_trees_tell_what_differs_and_only_that():
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(300, 3, generator=generator, dtype=torch.float64) for _ in range(2)]
    notched = torch.where((rows[0] > 0) & (rows[0] < 0.6), -rows[0], rows[0])
    metric, seeds = TreesTwoSample(folds=3), Seeds.range(0, 300)
    same = metric.measure(SampleSet(rows[0]), SampleSet(rows[1]), seeds)
    # the area's deviation under equal laws, for each fold's hundred of both
    assert abs(same.value - 0.5) < 5 * np.sqrt(201 / (12 * 100 * 100) / 3) * 1.6
    assert metric.measure(SampleSet(notched), SampleSet(rows[1]), seeds).value > 0.75


def test_samples_are_as_useful_as_what_they_know():
    data = tables.read({"name": "wine"})
    reference, test = (sample_set(data.encoding, part.state) for part in (data, data.held_out))
    loose = stand_ins.independent(data.state, Seeds.range(0, 134))
    rivals = {"independent": sample_set(data.encoding, loose)}
    found = usefulness(data.encoding, reference, reference, test, rivals, 0, 50, 2)
    assert found.value == found.floor["value"] > 0.85 > found.baselines["independent"]
    assert found.interval[0] <= found.value <= found.interval[1] and found.unit == "share right"


def test_a_change_of_any_sample_shows_in_the_picture(own):
    data = tables.read({"path": str(own)})
    state = {name: part[:6] for name, part in data.state.items()}
    picture = tables.draw(data.encoding, state)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    for row in range(6):
        changed = {name: part.clone() for name, part in state.items()}
        changed["continuous"][row] = 1.37
        assert not np.array_equal(tables.draw(data.encoding, changed), picture)
    with pytest.raises(InputError, match="state has the parts"):
        tables.draw(data.encoding, {"continuous": state["continuous"]})


def test_categories_keep_their_shares():
    data = tables.read({"name": "iris"})
    drawn = stand_ins.independent(data.state, Seeds.range(0, 2000))["column_species"].flatten()
    share = (data.state["column_species"] == 1).double().mean().item()
    assert_mean((drawn == 1).double().numpy(), share)
