"""How crystals are judged: predictions beside the true structures, generated ones beside the data."""

from collections.abc import Mapping
from typing import Any, cast

from unstir.core.errors import InputError, unknown
from unstir.domains.base import Judged, Judgement
from unstir.domains.crystals.encoding import CrystalEncoding
from unstir.domains.crystals.judging_generated import judge_generated
from unstir.domains.crystals.judging_predicted import judge_predicted
from unstir.domains.crystals.measures.stability import CALCULATORS
from unstir.domains.matter.sets import SetData
from unstir.domains.rows import checked_options

OPTIONS: dict[str, Any] = {
    "limit": 150,
    "draws": 1,
    "curve": ({"steps": 5}, {"steps": 10}, {"steps": 20}, {"steps": 50}),
    "curve_limit": 50,
    "reference_limit": 1000,
    "replicates": 200,
    "calculator": None,
    "energies": 20,
    "candidates": 12,
    "steer": None,
}
_KNOBS = ("steps", "sampler", "grid", "name")


def judge_crystals(judged: Judged) -> Judgement:
    """Predictions (``data.task: predict``) are held against true structures, other samples against the data as a whole.

    ``evaluation.options``: ``limit``, how many are looked at by StructureMatcher, which takes some 50 ms for two;
    ``draws``, how many predictions each composition has; ``curve``, ways to sample that are compared, each of
    ``steps``, ``sampler``, ``grid`` and a ``name``, on ``curve_limit`` compositions; ``reference_limit`` crystals of
    the data, ``replicates`` of the bootstrap; ``calculator``, by whose name energies are asked of ``energies`` samples
    (in Python any of ASE's); ``candidates``, how many are written into the run's folder; ``steer``, a property whose
    error is measured.

    Raises InputError for other options, and for data that are not the field's own.
    """
    options = _checked(judged.options)
    if not hasattr(judged.data, "structures"):
        raise InputError(f"crystals are judged on the field's own data; seen {type(judged.data).__name__}")
    encoding = cast(CrystalEncoding, judged.data.encoding)
    data = cast(SetData, judged.data)
    judge = judge_predicted if encoding.task == "predict" else judge_generated
    judgement = judge(judged, data, options)
    return Judgement(judgement.results, judgement.figures, (*data.remarks, *judgement.remarks))


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    options = checked_options(given, OPTIONS, "key of the recipe's section 'evaluation.options'")
    least = {"limit": 2, "draws": 1, "curve_limit": 2, "reference_limit": 2, "replicates": 2, "energies": 2}
    for name, low in {**least, "candidates": 0}.items():
        value = options[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise InputError(f"`evaluation.options.{name}: {value!r}`: a whole number from {low} is needed")
    if isinstance(options["calculator"], str) and options["calculator"] not in CALCULATORS:
        raise unknown("calculator (`evaluation.options.calculator`)", options["calculator"], CALCULATORS)
    if not isinstance(options["curve"], list | tuple):
        raise InputError("`evaluation.options.curve` is a list of ways to sample, [{steps: 10}, {steps: 50}]")
    for way in options["curve"]:
        if not isinstance(way, Mapping):
            raise InputError(f"`evaluation.options.curve`: {way!r} is no way to sample; write it as {{steps: 10}}")
        for knob in way:
            if knob not in _KNOBS:
                raise unknown("part of a way to sample (`evaluation.options.curve`)", str(knob), _KNOBS)
    return options
