"""How well an asked property is met: what samples have beside what was asked, by a predictor that the model is not."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unstir.core.errors import InputError
from unstir.domains import charts
from unstir.domains.base import Figure, Judged
from unstir.domains.matter.structures import Molecule
from unstir.domains.measuring import mean_interval
from unstir.domains.molecules.descriptors import PREFIX, descriptor
from unstir.domains.molecules.encoding import Property
from unstir.domains.molecules.files.convert import quiet, rdkit_chem, to_rdkit
from unstir.domains.molecules.perceiving import with_bonds
from unstir.metrics.evaluate import Result

Predictor = Callable[[Sequence[Molecule]], np.ndarray]
"""From molecules to a property in its own unit, float64 (molecules,); NaN where it cannot be told."""
_MOST = 1000
_FEWEST = 10


def property_errors(judged: Judged, name: str) -> tuple[Result, Figure]:
    """The mean absolute error of an asked property, beside models that were not asked; with a figure.

    The samples were drawn under values as the data has them. What they have is computed by RDKit for a property of its
    own, and foretold by ``fitted_predictor`` for a column of the data; it then errs itself, by the floor: its error on
    held-out molecules. The rivals are the same model drawn from without being told the property: ``unconditional`` with
    sizes as the data has them, ``sizes-alone`` with the samples' own, which the property may hang on; and ``constant``,
    the best that one value for all can do.

    Raises InputError for a property that the run was not told, and where fewer than ten samples can be measured.

    Reference: Hoogeboom et al., Equivariant diffusion for molecule generation in 3D (2022), section 5.3.
    """
    began = time.perf_counter()
    data: Any = judged.data
    encoding = data.encoding
    known: Property = encoding.property_of(name)
    if known.name not in judged.condition:
        raise InputError(
            f"`evaluation.options.steer: {name}`: the samples were drawn without being told it; leave `conditional` on"
        )
    predict = predictor_of(known, data)
    rows = slice(min(_MOST, len(judged.condition[known.name])))
    asked = known.own(judged.condition[known.name][rows, 0].double().cpu().numpy())
    sets = {"samples": _first(judged.drawn, rows)}
    told = {"samples": {key: values[rows] for key, values in judged.condition.items()}}
    others = {key: values[rows] for key, values in judged.condition.items() if key not in data.told}
    for rival, condition in (("unconditional", {}), ("sizes-alone", others)):
        if rival == "sizes-alone" and "mask" not in condition:
            continue
        sets[rival], told[rival] = _drawn(judged, len(asked), condition, rival)
    found = {who: predict(decoded(encoding, state, told[who])) for who, state in sets.items()}
    errors = {who: np.abs(values - asked) for who, values in found.items()}
    kept = {who: values[np.isfinite(values)] for who, values in errors.items()}
    if len(kept["samples"]) < _FEWEST:
        raise InputError(
            f"{known.name} could be told of {len(kept['samples'])} of {len(asked)} samples, and {_FEWEST} are the "
            "least: the others are no molecules; train longer, or draw more (`sampling.count`)"
        )
    value, interval = mean_interval(kept["samples"])
    rivals = {who: float(values.mean()) for who, values in kept.items() if who != "samples" and len(values)}
    rivals["constant"] = float(np.abs(asked - np.median(asked)).mean())
    away = _floor(known, data, predict)
    ratio = value / rivals["unconditional"] if rivals.get("unconditional") else float("nan")
    result = Result(
        metric=f"asked-{known.name}",
        value=value,
        interval=interval,
        floor=away,
        baselines=rivals,
        ideal=0.0,
        better="lower",
        unit="of the property",
        n_samples=len(kept["samples"]),
        n_reference=len(data),
        seconds=round(time.perf_counter() - began, 3),
        features="RDKit" if known.key.startswith(PREFIX) else "boosted trees on spectra of the Coulomb matrix",
        note=f"mean absolute error of the asked value; {ratio:.2f} of the unconditional model's",
        details={"ratio": ratio, "measured": len(kept["samples"]), "asked": len(asked)},
    )
    return result, _figure(known, asked, found["samples"], found["unconditional"], ratio)


def predictor_of(known: Property, data: Any) -> Predictor:
    """RDKit for a property of its own; for a column of the data trees that are fitted to the training molecules."""
    if known.key.startswith(PREFIX):
        return computed(known.key)
    if hasattr(data.encoding, "alphabet"):
        raise InputError(
            f"{known.name} is a column of the data, which nothing can tell of strings; steer by a number that RDKit "
            "computes, `data.properties=[rdkit:logp]`"
        )
    values = np.array([molecule.properties[known.name] for molecule in data.structures])
    return fitted_predictor(data.structures, values)


def computed(key: str) -> Predictor:
    """What RDKit computes of each molecule's graph; NaN for one whose valences cannot be."""
    compute = descriptor(key)

    def predict(molecules: Sequence[Any]) -> np.ndarray:
        return np.array([_of_graph(compute, molecule) for molecule in molecules], dtype=np.float64)

    return predict


def fitted_predictor(molecules: Sequence[Molecule], values: np.ndarray, seed: int = 0) -> Predictor:
    """Gradient-boosted trees on ``spectra`` and compositions, fitted to molecules and their values.

    Reference: Rupp et al., Fast and accurate modeling of molecular atomization energies with machine learning (2012),
    for the spectrum; Friedman, Greedy function approximation: a gradient boosting machine (2001).
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    elements = sorted({number for molecule in molecules for number in molecule.numbers.tolist()})
    largest = max(len(molecule) for molecule in molecules)
    trees = HistGradientBoostingRegressor(random_state=seed, max_iter=300, learning_rate=0.08)
    trees.fit(_described(molecules, elements, largest), values)

    def predict(others: Sequence[Molecule]) -> np.ndarray:
        return np.asarray(trees.predict(_described(others, elements, largest)), dtype=np.float64)

    return predict


def spectra(molecules: Sequence[Molecule], largest: int) -> np.ndarray:
    r"""Eigenvalues of each molecule's Coulomb matrix, the largest first, float64 (molecules, largest); zero beyond.

    :math:`C_{ii}=Z_i^{2.4}/2`, :math:`C_{ij}=Z_iZ_j/|r_i-r_j|` in atomic units: unchanged by turning, moving and
    renaming of atoms.
    """
    found = np.zeros((len(molecules), largest))
    for row, molecule in enumerate(molecules):
        charge, bohr = molecule.numbers.astype(np.float64), np.asarray(molecule.positions) / 0.529177
        apart = np.linalg.norm(bohr[:, None] - bohr[None], axis=-1)
        np.fill_diagonal(apart, 1.0)
        matrix = charge[:, None] * charge[None] / np.maximum(apart, 0.1)
        np.fill_diagonal(matrix, charge**2.4 / 2)
        values = np.sort(np.linalg.eigvalsh(matrix))[::-1][:largest]
        found[row, : len(values)] = values
    return found


def decoded(encoding: Any, state: Any, condition: Any) -> list[Any]:
    """Samples as molecules, or as SMILES where they are strings."""
    return list(encoding.decode(state) if hasattr(encoding, "alphabet") else encoding.decode(state, condition))


def _described(molecules: Sequence[Molecule], elements: Sequence[int], largest: int) -> np.ndarray:
    counts = np.array([[(molecule.numbers == number).sum() for number in elements] for molecule in molecules])
    return np.concatenate((counts.reshape(len(molecules), len(elements)), spectra(molecules, largest)), 1)


def _of_graph(compute: Callable[[Any], float], molecule: Any) -> float:
    Chem = rdkit_chem("computing properties")
    try:
        with quiet():
            if isinstance(molecule, str):
                mol = Chem.MolFromSmiles(molecule) if molecule else None
            else:
                mol = to_rdkit(molecule if molecule.bonds is not None else with_bonds(molecule))
            return float("nan") if mol is None else compute(mol)
    except (InputError, ValueError, RuntimeError):
        return float("nan")


def _floor(known: Property, data: Any, predict: Predictor) -> dict[str, Any]:
    """The predictor's own error on molecules that neither it nor the model has seen; none for what is computed."""
    if known.key.startswith(PREFIX) or data.held_out is None:
        return {"value": 0.0, "interval": (0.0, 0.0)}
    rest = data.held_out.structures
    away = np.abs(predict(rest) - np.array([molecule.properties[known.name] for molecule in rest]))
    value, interval = mean_interval(away)
    return {"value": value, "interval": interval}


def _drawn(judged: Judged, count: int, condition: dict[str, Any], purpose: str) -> tuple[Any, Any]:
    """Samples under that condition alone and what they were told; sizes are the data's where none are told."""
    if "mask" not in condition and "mask" in judged.condition:
        # the same sizes in another order, so that nothing of the asked value is in them
        order = np.random.default_rng(judged.seed).permutation(count)
        condition = {**condition, "mask": judged.condition["mask"][:count][order.tolist()]}
    seed = judged.seed + (1 if purpose == "unconditional" else 2)
    return judged.draw(count, seed=seed, condition=condition), condition


def _first(state: Any, rows: slice) -> Any:
    return {name: part[rows] for name, part in state.items()} if isinstance(state, dict) else state[rows]


def _figure(known: Property, asked: np.ndarray, found: np.ndarray, other: np.ndarray, ratio: float) -> Figure:
    figure, axes = charts.panels(1, 2, 2.9, 2.8)
    ends = [float(asked.min()), float(asked.max())]
    for each, values, colour, title in (
        (axes[0, 0], found, charts.SAMPLES, "asked for"),
        (axes[0, 1], other, charts.DATA, "not asked for"),
    ):
        there = np.isfinite(values)
        charts.cloud(each, asked[there], values[there], colour, 4.0)
        each.plot(ends, ends, color=charts.INK, linewidth=0.8)
        charts.label(each, title, f"{known.name}, asked", f"{known.name}, found")
    return Figure(
        f"asked-{known.name}",
        f"{known.name}, asked and found",
        "Every point a sample: the value that was asked for, and the value that it has. Left the model that was told, "
        "right the same model untold.",
        f"Points should lie on the line; the error on the left is {ratio:.2f} of the one on the right.",
        charts.svg(figure, f"asked-{known.name}"),
    )
