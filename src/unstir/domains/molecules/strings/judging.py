"""How strings of molecules are judged."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.base import Judged, Judgement
from unstir.domains.matter import findings
from unstir.domains.matter.columns import Wasserstein
from unstir.domains.measuring import measured
from unstir.domains.molecules.strings import figures
from unstir.domains.molecules.strings.data import StringData
from unstir.domains.molecules.strings.measures import DESCRIPTORS, UNITS, described, property_set, scaffolds, shares
from unstir.domains.molecules.tasks.steering import property_errors
from unstir.domains.rows import checked_options, evenly
from unstir.metrics.evaluate import Result

_OPTIONS: dict[str, Any] = {"reference_limit": 5000, "replicates": 200, "steer": None}
_NOTES = {
    "valid": "strings that RDKit reads as a molecule",
    "unique": "different molecules among the valid ones",
    "novel": "molecules among the different ones that are not in the training data",
}


def judge_strings(judged: Judged) -> Judgement:
    """Shares of valid, unique and novel molecules, the distances of properties, and figures.

    Stand-ins for a model: ``places``, whose tokens are drawn place by place as often as the data has them there, and
    ``copies`` of the data.
    """
    options = checked_options(judged.options, _OPTIONS, "key of the recipe's section 'evaluation.options'")
    data = judged.data
    if not isinstance(data, StringData):
        raise InputError(f"strings are judged on the field's own data; seen {type(data).__name__}")
    count = len(judged.drawn)
    if count < 2:
        raise InputError("samples are judged from 2 on; raise `sampling.count`")
    generator = Seeds.range(judged.seed, 1).at("rivals").generator()
    sets = {"samples": data.encoding.decode(judged.drawn)}
    sets["places"] = data.encoding.decode(_places(data.state, count, generator))
    sets["copies"] = [data.smiles[row] for row in generator.integers(0, len(data), count).tolist()]
    if data.held_out is not None:
        sets["held-out"] = [data.held_out.smiles[row] for row in evenly(len(data.held_out), count).tolist()]
    results = _shares(sets, data)
    reference = [data.smiles[row] for row in evenly(len(data), options["reference_limit"]).tolist()]
    values = {who: described(smiles) for who, smiles in {**sets, "reference": reference}.items()}
    shown: list[Any] = [figures.structures(sets["samples"])]
    remarks = list(data.remarks)
    if len(values["samples"]["weight"]) > 1:
        distances = _distances(values, judged.seed, options["replicates"])
        # where every string is a molecule, as in SELFIES, validity tells nothing and does not come first
        valid = results[0]
        always = min(valid.value, *valid.baselines.values()) == 1
        results = distances + results if always else results + distances
        shown.append(figures.properties(values["reference"], values["samples"]))
        own, known = scaffolds(sets["samples"]), scaffolds(data.smiles)
        remarks.append(
            f"The valid samples have {len(own)} different scaffolds, of which {len(own - known)} are not in the data."
        )
    else:
        remarks.append("Fewer than two samples are molecules: nothing can be said of their properties.")
    shown.append(figures.strings(data.encoding, judged.drawn))
    if options["steer"] is not None:
        result, figure = property_errors(judged, str(options["steer"]))
        results.insert(0, result)
        shown.append(figure)
    return Judgement(results, shown, remarks)


def _shares(sets: Mapping[str, list[str]], data: StringData) -> list[Result]:
    began = time.perf_counter()
    counted = {who: shares(smiles, data.smiles) for who, smiles in sets.items()}
    real = "held-out" if "held-out" in sets else "copies"
    return [
        findings.share(
            name,
            getattr(counted["samples"], name),
            getattr(counted[real], name),
            {who: getattr(told, name) for who, told in counted.items() if who not in ("samples", real)},
            reference=len(data),
            began=began,
            note=f"{note}; beside it {real} data",
            features="canonical SMILES",
        )
        for name, note in _NOTES.items()
        if len(getattr(counted["samples"], name))
    ]


def _distances(values: Mapping[str, Mapping[str, np.ndarray]], seed: int, replicates: int) -> list[Result]:
    sets = {who: property_set(told) for who, told in values.items() if len(told[DESCRIPTORS[0]]) > 1}
    samples, reference = sets.pop("samples"), sets.pop("reference")
    deviations = reference.values.std(0).tolist()
    return measured(
        {f"{name}-distance": Wasserstein(place, UNITS.get(name, "1")) for place, name in enumerate(DESCRIPTORS)},
        samples,
        reference,
        sets,
        seed=seed,
        replicates=replicates,
        notes={
            f"{name}-distance": f"Wasserstein-1 distance of RDKit's {name}, of the valid samples; the data's deviation "
            f"is {deviation:.3g}"
            for name, deviation in zip(DESCRIPTORS, deviations, strict=True)
        },
    )


def _places(state: Tensor, count: int, generator: np.random.Generator) -> Tensor:
    """Rows whose every place is that of a row drawn for itself."""
    rows = torch.from_numpy(generator.integers(0, len(state), (count, state.shape[1])))
    return state.gather(0, rows)
