"""How samples of tables are judged."""

import math

import torch

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.base import Judged, Judgement
from unstir.domains.measuring import measured
from unstir.domains.rows import RowData, checked_options
from unstir.domains.tables import figures, stand_ins
from unstir.domains.tables.encoding import TableEncoding
from unstir.domains.tables.statistics import (
    Associations,
    ColumnDistances,
    TreesTwoSample,
    association_matrix,
    sample_set,
    sizes_of,
)
from unstir.domains.tables.usefulness import usefulness
from unstir.metrics.base import Metric, SampleSet

_OPTIONS = {"replicates": 200, "reference_limit": 5000}
NOTES = {
    "column-distances": "Kolmogorov and Smirnov's distance of numbers, total variation of categories, column mean",
    "associations": "Root mean square difference of correlations, Cramér's V and correlation ratios, over all pairs",
    "trees-two-sample": "The area under the curve of boosted trees that tell samples from data, on rows not trained on",
}


def judge_tables(judged: Judged) -> Judgement:
    """Columns, associations, two-sample tests, distance to the closest record, and use in the data's place."""
    options = checked_options(judged.options, _OPTIONS, "key of the recipe's section 'evaluation.options'")
    data, encoding = judged.data, judged.data.encoding
    if not isinstance(data, RowData) or not isinstance(encoding, TableEncoding):
        raise InputError(f"tables are judged on the field's own data; seen {type(data).__name__}")
    unseen = judged.held_out if isinstance(judged.held_out, RowData) else data.held_out
    reference = sample_set(encoding, {name: part[: options["reference_limit"]] for name, part in data.state.items()})
    samples = sample_set(encoding, judged.drawn)
    seeds = Seeds.range(judged.seed, len(samples)).at("baseline")
    rivals = {
        "independent": stand_ins.independent(data.state, seeds),
        "gaussian-copula": stand_ins.gaussian_copula(encoding, data.state, seeds),
        "copies": stand_ins.copies(data.state, seeds),
    }
    if unseen is not None:
        rivals["held-out"] = unseen.state
    described = {name: sample_set(encoding, state) for name, state in rivals.items()}
    chosen, remarks = _metrics(encoding, reference)
    results = measured(
        chosen, samples, reference, described, seed=judged.seed, replicates=options["replicates"], notes=NOTES
    )
    if unseen is None:
        remarks.append("No rows were kept apart (`data.held_out`): how useful the samples are was not measured.")
    else:
        test = described["held-out"]
        told = usefulness(encoding, samples, reference, test, described, judged.seed, options["replicates"])
        results.insert(min(3, len(results)), told)
        remarks.append(
            f"Trained on {len(data)} rows; {len(unseen)} further rows were kept apart. They are few: the column "
            "of held-out data shows what so small a table of new rows comes to."
        )
    return Judgement(results, _figures(encoding, data, judged, reference, samples), remarks)


def _metrics(encoding: TableEncoding, reference: SampleSet) -> tuple[dict[str, Metric], list[str]]:
    sizes, remarks = sizes_of(encoding), []
    found: dict[str, Metric] = {"column-distances": ColumnDistances(sizes)}
    if len(sizes) > 1:
        found["associations"] = Associations(sizes)
    found["trees-two-sample"] = TreesTwoSample()
    found["two-sample"] = build("metrics", {"name": "two-sample", "most": 1000})
    rows = torch.unique(reference.space("features"), dim=0)
    if len(rows) > math.ceil(len(reference) / 2):
        found |= {name: build("metrics", {"name": name, "space": "features"}) for name in ("memorisation", "copied")}
    else:
        remarks.append("Half of the data's rows are repeats, so that a distance to the closest one says nothing.")
    return found, remarks


def _figures(
    encoding: TableEncoding, data: RowData, judged: Judged, reference: SampleSet, samples: SampleSet
) -> list[figures.Figure]:
    table, drawn_table = (encoding.decode(state) for state in (data.state, judged.drawn))
    matrices = [association_matrix(rows, sizes_of(encoding)) for rows in (reference, samples)]
    drawn = [figures.column_figure(encoding, table, drawn_table)]
    if len(encoding.columns) > 1:
        drawn.append(figures.association_figure(encoding, *matrices))
    pairs = figures.pair_figure(encoding, table, drawn_table, matrices[0])
    return [*drawn, pairs] if pairs else drawn
