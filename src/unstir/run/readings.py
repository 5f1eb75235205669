"""What `unstir solve` is told: operators and noises as words, units, and where a truth or a reading comes from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.base import EncodedData, Encoding
from unstir.domains.images.encoding import ImageEncoding
from unstir.inverse.measurement import Measurement
from unstir.inverse.noises.base import MeasurementNoise
from unstir.inverse.noises.gaussian import GaussianNoise
from unstir.inverse.noises.gaussian_unknown import GaussianUnknownNoise
from unstir.inverse.noises.poisson import PoissonNoise
from unstir.inverse.operators.base import LinearOperator, Operator
from unstir.inverse.operators.mask import MaskOperator
from unstir.run.parts import domain_of, shape_of
from unstir.run.sampling import TrainedRun

_ARRAYS = (".npy", ".npz", ".h5", ".hdf5", ".zarr")
_BRACKETS = {"[": "]", "{": "}", "(": ")"}


@dataclass(frozen=True, eq=False)
class Problem:
    """What is to be solved: the measurement, the truth behind it where it is known (a batch of one), and its source."""

    measurement: Measurement
    truth: Any
    source: str


def specification(text: str) -> dict[str, Any]:
    """``blur,deviation=1.5`` or ``{name: blur, deviation: 1.5}`` as a mapping with a name and options.

    Raises InputError for anything else.
    """
    if text.lstrip().startswith("{"):
        try:
            told = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InputError(f"{text!r} cannot be read as YAML: {' '.join(str(error).split())}") from error
        if not isinstance(told, dict) or not isinstance(told.get("name"), str):
            raise InputError(f"a mapping with a name and options is needed, such as {{name: blur}}; seen {text!r}")
        return told
    name, *pairs = _split(text)
    told = {"name": name.strip()}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise InputError(f"options are written NAME,key=value,key=value; seen {pair.strip()!r} in {text!r}")
        told[key.strip()] = _value(value)
    return told


def _split(text: str) -> list[str]:
    """Parts between the commas that no bracket encloses."""
    parts, closing = [""], []
    for character in text:
        if closing and character == closing[-1]:
            closing.pop()
        elif character in _BRACKETS:
            closing.append(_BRACKETS[character])
        if character == "," and not closing:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _value(text: str) -> Any:
    try:
        return float(text) if "e" in text.lower() else yaml.safe_load(text)  # YAML takes 1e-3 for text
    except (ValueError, yaml.YAMLError):
        return text.strip()


def operator_of(told: Mapping[str, Any], shape: Any) -> Operator:
    """The operator of a specification, for samples of that shape; the option ``seen`` may name a file with a mask."""
    options = dict(told)
    if isinstance(options.get("seen"), str):
        options["seen"] = _mask(Path(options["seen"]))
    return build("operators", options, shape=shape)


def _mask(path: Path) -> Tensor:
    """Where an array is not zero, or a picture lighter than half: what is seen."""
    if path.suffix.lower() in _ARRAYS:
        return torch.from_numpy(np.squeeze(_array(path, 0)) != 0)
    pixels = _pixels(path, "grey")
    return torch.from_numpy(pixels >= 0.5)


def noise_of(told: Mapping[str, Any], encoding: Encoding, operator: Operator) -> MeasurementNoise:
    """The noise of a specification in the data's own units, as it is of encoded samples.

    Pictures count from 0 (the least value) to 1 (the greatest), and are encoded as 2 v - 1: through a linear operator a
    deviation doubles, a variance is four times as large, and counts have half the gain, with the background that the
    offset took away. Samples of other fields are measured as they are encoded, of about unit scale, and what an
    operator that is not linear measures has a unit of its own: there the noise is taken as it stands.

    Raises InputError for counts through an operator that does not see white as one value.
    """
    made: MeasurementNoise = build("noises", told)
    if not isinstance(encoding, ImageEncoding) or not isinstance(operator, LinearOperator):
        return made
    if isinstance(made, GaussianNoise):
        return replace(made, deviation=2.0 * made.deviation)
    if isinstance(made, GaussianUnknownNoise):
        return replace(made, prior_scale=4.0 * made.prior_scale)
    if isinstance(made, PoissonNoise):
        white = operator(torch.ones(1, *encoding.shape))
        if float(white.max() - white.min()) > 1e-4 * float(white.abs().max()):
            raise InputError(
                "counts of pictures need an operator that sees a white picture as one value, as "
                f"{type(operator).__name__} does not; take gaussian noise of a deviation about that of the counts"
            )
        return replace(made, gain=made.gain / 2, background=2.0 * made.background + float(white.mean()))
    return made


def problem_of(
    run: TrainedRun, operator: Operator, noise: MeasurementNoise, data: Path | None, row: int, degraded: bool, seed: int
) -> Problem:
    """The problem that is asked: a file's sample or reading, or a row of the run's own data."""
    if data is not None and degraded:
        return Problem(Measurement(operator, _reading(run, operator, data, row), noise), None, str(data))
    if degraded:
        raise InputError("--degraded says that a file holds the reading; name it with --data FILE")
    truth, source = _own(run, row) if data is None else (_clean(run, data, row), f"{data}, row {row}")
    seeds = Seeds.range(seed, 1, start=row).at("solve", "reading")
    return Problem(Measurement.simulated(operator, truth, noise, seeds), truth, source)


def own_data(run: TrainedRun) -> tuple[EncodedData, str]:
    """The held-out data that the recipe names, else what the run was trained on; and what to call it."""
    wanted = run.recipe.evaluation.held_out
    data = domain_of(run.recipe).read(wanted) if wanted else run.data
    if shape_of(data.shape) != run.shape:
        raise InputError(f"evaluation.held_out: samples of shape {data.shape}, but the run was trained on {run.shape}")
    return data, "held-out data" if wanted else "training data"


def _own(run: TrainedRun, row: int) -> tuple[Any, str]:
    data, what = own_data(run)
    if not 0 <= row < len(data):
        raise InputError(f"the {what} have the rows 0 to {len(data) - 1}; seen --of {row}")
    return data.batch(np.array([row]))[0], f"row {row} of the {what}"


def _clean(run: TrainedRun, path: Path, row: int) -> Tensor:
    """A clean sample (a batch of one), encoded as the run's data was."""
    encoding: Any = run.encoding
    if isinstance(encoding, ImageEncoding) and path.suffix.lower() not in _ARRAYS:
        pixels = _channels_first(_pixels(path, _mode(encoding.shape[0])))
        state = torch.from_numpy(2 * pixels - 1).float()[None]
    elif hasattr(encoding, "encode") and isinstance(run.shape, tuple):
        values = _array(path, row)[None]
        if isinstance(encoding, ImageEncoding):
            _check_layout(values.shape[1:], encoding, path)
            values = values.astype(encoding.dtype) if values.dtype.kind in "biu" else values
        state = encoding.encode(values)
    else:
        raise InputError(f"--data reads pictures and arrays; of the field {run.domain.name} take a row with --of N")
    if tuple(state.shape[1:]) != run.shape:
        raise InputError(f"{path}: a sample of shape {tuple(state.shape[1:])}; this run's have {run.shape}")
    return state


def _check_layout(shape: tuple[int, ...], encoding: ImageEncoding, path: Path) -> None:
    channels, height, width = encoding.shape
    wanted = {"hw": (height, width), "hwc": (height, width, channels), "chw": encoding.shape}[encoding.layout]
    if shape != wanted:
        raise InputError(f"{path}: a picture of shape {shape}; this run's have {wanted}")


def _reading(run: TrainedRun, operator: Operator, path: Path, row: int) -> Tensor:
    """The reading in a file, as it is of encoded samples.

    A linear operator's values w of pictures from 0 to 1 become 2 w - A(1), those of 2 v - 1; a mask takes a whole
    picture too, and reads what it sees of it. Other operators' values are taken as they stand.
    """
    encoding = run.encoding
    if not isinstance(encoding, ImageEncoding):
        return _fitting(torch.from_numpy(_array(path, row)).float(), operator, path)
    if path.suffix.lower() in _ARRAYS:
        values = _array(path, row).astype(np.float64)
        shares = (values - encoding.low) / (encoding.high - encoding.low) if operator.linear else values
        if encoding.layout == "hwc" and shares.ndim == 3:
            shares = _channels_first(shares)
    else:
        channels = operator.measured_shape[0] if len(operator.measured_shape) == 3 else encoding.shape[0]
        shares = _channels_first(_pixels(path, _mode(channels)))
    told = torch.from_numpy(np.ascontiguousarray(shares)).float()
    if isinstance(operator, MaskOperator) and told.numel() == math.prod(encoding.shape):
        return operator(2 * told.reshape(1, *encoding.shape) - 1)[0]
    told = _fitting(told, operator, path)
    if not isinstance(operator, LinearOperator):
        return told
    return 2 * told - operator(torch.ones(1, *encoding.shape))[0]


def _fitting(values: Tensor, operator: Operator, path: Path) -> Tensor:
    wanted = tuple(operator.measured_shape)
    if values.numel() != math.prod(wanted):
        raise InputError(
            f"{path}: a reading of shape {tuple(values.shape)}; {type(operator).__name__} measures {wanted}"
        )
    return values.reshape(wanted)


def _array(path: Path, row: int) -> np.ndarray:
    """One row of a file of arrays."""
    from unstir.formats.base import read

    samples = read(path)
    if not 0 <= row < len(samples):
        raise InputError(f"{path} has the rows 0 to {len(samples) - 1}; seen --of {row}")
    return np.asarray(samples.values[np.array([row])][0])


def _pixels(path: Path, mode: str) -> np.ndarray:
    """A picture file from 0 (black) to 1 (white), (height, width) or (height, width, channels)."""
    from unstir.formats.picture_files import PictureRows, inspect_files

    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    kinds, problems = inspect_files([path])
    if problems:
        raise InputError(f"{path}: cannot be read as a picture ({problems[0]})")
    kind = kinds[0]
    size = (kind.height, kind.width)
    pixels = PictureRows([path], [path.name], str(path), mode, kind.dtype, size)[np.array([0])][0]
    levels = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "ui" else 1
    return pixels.astype(np.float64) / levels


def _mode(channels: int) -> str:
    modes = {1: "grey", 3: "rgb", 4: "rgba"}
    if channels not in modes:
        raise InputError(f"a picture file has 1, 3 or 4 channels; these have {channels}: give them as .npy or .npz")
    return modes[channels]


def _channels_first(pixels: np.ndarray) -> np.ndarray:
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
