"""The verb `edit`: a picture changed, repaired or continued by a trained run, written with all that the file held."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.tiled import TiledDenoiser
from unstir.domains.images.crops import ENDINGS
from unstir.domains.images.editing import Picture, read_mask, read_picture, write_picture
from unstir.domains.images.profile_writing import Keepsakes
from unstir.run.sampling import TrainedRun

RESTORATIONS = ("denoise", "inpaint", "super-resolve", "deblur", "colourise", "scratches", "painting")
ALPHA = "alpha"
ROW = "row:"  # the prefix of a row of the run's own data
_READING_NOISE = 0.01  # of black to white: a reading of 8 bits is no surer than that, and methods want some
_METHOD = "mmps"
_BATCH, _LARGE_BATCH = 4, 1  # part of what an edit is; large pictures go one by one
_QUIETEST, _LOUDEST = 0.02, 1.5  # noise levels of encoded pictures among which the likeliest is sought
_STYLE_SHARE = 0.1  # nats of style for each element of a picture at strength 1
_REFERENCE_ROWS = 256
_SINGLE = 1e-4  # what a network of single precision can be undone to


@dataclass(frozen=True)
class EditOptions:
    """What to do to a picture.

    ``strength``: of the edit, 0 to 1; 0.5 by default, and 1 behind a mask. ``mask``: a file, white where the picture is
    made anew, or "alpha": where it is not opaque. ``outpaint``: pixels added left, top, right, bottom. ``restore``: one
    of ``RESTORATIONS``, by posterior sampling with ``method``; ``noise`` is the deviation of the picture's noise as a
    share of black to white (estimated for "denoise" if None), ``factor`` that of super-resolution, ``blur`` the
    deviation of the blur in pixels. ``condition`` and ``source``: what the edit is told, and with which condition the
    picture is encoded (the edit is then an inversion). ``style``: pictures whose style is followed, with
    ``style_strength``. ``tile``: pictures larger than the run's, in windows; ``seamless``: that wrap around. ``count``
    edits of the numbers 0, 1, ... of ``seed`` (the recipe's if None).
    """

    strength: float | None = None
    mask: str | None = None
    outpaint: tuple[int, ...] | None = None
    restore: str | None = None
    condition: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] | None = None
    style: tuple[str, ...] = ()
    style_strength: float = 1.0
    tile: bool = False
    seamless: bool = False
    count: int = 1
    seed: int | None = None
    steps: int | None = None
    method: str | None = None
    noise: float | None = None
    factor: int = 2
    blur: float = 1.5

    def __post_init__(self) -> None:
        if self.restore is not None and self.restore not in RESTORATIONS:
            raise unknown("restoration", self.restore, RESTORATIONS)
        if self.count < 1:
            raise InputError(f"at least 1 edit must be asked for; seen {self.count}")
        if self.outpaint is not None and len(self.outpaint) != 4:
            raise InputError(f"outpainting is told four numbers, left, top, right, bottom; seen {self.outpaint}")
        if self.noise is not None and not 0 < self.noise < 1:
            raise InputError(f"the noise is a share of black to white, between 0 and 1; seen {self.noise}")
        for name, told in (("strength", self.strength), ("source", self.source)):
            if self.restore is not None and told is not None:
                raise InputError(f"a restoration draws from a posterior and has no {name}; leave one of both out")
        if (self.mask or self.outpaint) and self.restore not in (None, "inpaint", "scratches", "painting"):
            raise InputError(
                f"{self.restore!r} restores the whole picture; a mask or a larger canvas goes with 'inpaint'"
            )


@dataclass(frozen=True)
class Edited:
    """The files written, the mean of several restorations last, and what is to be told beside them."""

    files: list[Path]
    remarks: tuple[str, ...] = ()


def edit_run(run: TrainedRun, file: str | Path, options: EditOptions, out: Path | None = None) -> Edited:
    """Edits a picture file as told and writes PNGs, ``NAME-000000.png`` and so on, into ``out`` or RUN/edits.

    ``row:7`` in place of a file is row 7 of the run's own data.

    ``out`` may name a single PNG. Raises InputError for a run that is not of pictures, a picture of another size than
    the run's (unless ``tile``), a mask that does not fit, options that contradict each other.
    """
    if run.recipe.domain != "images" or len(run.shape) != 3:
        raise InputError(
            f"{run.folder.path} is of the field {run.recipe.domain!r}; pictures are edited by runs of images"
        )
    work = _Work.of(run, file, options)
    with torch.no_grad():
        made, remarks = _restored(work) if options.restore else _edited(work)
    files = _files(run, file, out, options.count)
    written = [write_picture(path, row, work.picture, work.keep) for path, row in zip(files, made, strict=True)]
    if options.restore and options.count > 1:
        path = files[0].with_name(f"{Path(str(file)).stem}-mean.png")
        written.append(write_picture(path, made.double().mean(0), work.picture, work.keep))
        remarks = (*remarks, f"{path.name} is the mean of the {options.count} draws: the best guess by squared error")
    return Edited(written, remarks)


@dataclass(frozen=True)
class _Work:
    """All that an edit needs: the picture on its canvas, where it is kept (None: nowhere), and the prior."""

    run: TrainedRun
    options: EditOptions
    picture: Picture
    keep: Tensor | None
    denoiser: Denoiser

    @classmethod
    def of(cls, run: TrainedRun, file: str | Path, options: EditOptions) -> "_Work":
        channels, *size = run.shape
        grey = options.restore == "colourise"
        picture = _row(run, file, grey) if str(file).startswith(ROW) else read_picture(file, 1 if grey else channels)
        if options.restore == "colourise" and channels != 3:
            raise InputError(f"colour is given back by a run of colour pictures; this one has {channels} channels")
        keep: Tensor | None = None
        if options.mask == ALPHA:
            keep = picture.opaque
            if keep is None or bool(keep.all()):
                raise InputError(f"{file}: nothing in it is transparent; erase what is to be made anew, or draw a mask")
        elif options.mask is not None:
            keep = ~read_mask(options.mask, picture.size)
        if options.restore == "inpaint" and keep is None and options.outpaint is None:
            raise InputError("inpainting needs to know where: --mask FILE, --mask alpha or --outpaint")
        if options.outpaint is not None:
            picture, old = picture.outpainted(*options.outpaint)
            if keep is not None:
                left, top, right, bottom = options.outpaint
                keep = torch.nn.functional.pad(keep, (left, right, top, bottom), value=False)
            keep = old if keep is None else keep & old
        return cls(run, options, picture, keep, _prior(run, options, picture, (size[0], size[1]), str(file)))

    @property
    def seeds(self) -> Seeds:
        seed = self.run.recipe.seed if self.options.seed is None else self.options.seed
        return Seeds.range(seed, self.options.count)

    @property
    def batch(self) -> int:
        return _LARGE_BATCH if self.options.tile or self.options.seamless else _BATCH

    @property
    def values(self) -> Tensor:
        """The picture on the run's device, once for every edit."""
        return self.picture.values.to(self.run.device).expand(self.options.count, -1, -1, -1)

    def told(self, wanted: Mapping[str, Any]) -> dict[str, Tensor]:
        found = self.run.constant_condition(wanted, self.options.count) or {}
        return {name: values.to(self.run.device) for name, values in found.items()}


def _prior(run: TrainedRun, options: EditOptions, picture: Picture, size: tuple[int, int], name: str) -> Denoiser:
    """The run's denoiser, in windows where the picture is larger, and steered where a style is told."""
    factor = options.factor if options.restore == "super-resolve" else 1
    whole = (picture.size[0] * factor, picture.size[1] * factor)
    denoiser: Denoiser = run.denoiser()
    if options.tile or options.seamless:
        denoiser = TiledDenoiser(denoiser, size, seamless=options.seamless)
    elif whole != size:
        raise InputError(
            f"{name} has {whole[0]} by {whole[1]} pixels{f' at {factor} times its size' if factor > 1 else ''}, "
            f"the run {size[0]} by {size[1]}; say --tile to go over a larger one in windows, or resize it"
        )
    if not options.style:
        return denoiser
    from unstir.domains.images.style import StyleEnergy
    from unstir.guidance.energy import EnergyGuidance

    energy = StyleEnergy([read_picture(path, run.shape[0]).values for path in options.style])
    elements = run.shape[0] * whole[0] * whole[1]
    # past the network, whose gradient would cost twice the edit itself and tells no more of texture
    return EnergyGuidance(
        denoiser,
        energy,
        options.style_strength * _STYLE_SHARE * elements,
        through=False,
        deviation=float(getattr(run.denoiser(), "sigma_data", 1.0)),
    )


def _edited(work: _Work) -> tuple[Tensor, tuple[str, ...]]:
    """By SDEdit, or by inversion where a source condition is told."""
    from unstir.core.catalogue import build
    from unstir.samplers.editing import edit, edit_by_inversion
    from unstir.samplers.inversion_ways import InverseSteps

    options, sampling = work.options, work.run.recipe.sampling
    strength = options.strength if options.strength is not None else 1.0 if work.keep is not None else 0.5
    if options.source is not None:
        made = edit_by_inversion(
            work.denoiser,
            work.values,
            source=work.told(options.source),
            target=work.told(options.condition),
            strength=1.0 if options.strength is None else options.strength,
            way=InverseSteps(tolerance=_SINGLE),
            steps=options.steps or sampling.steps,
            grid=_inversion_grid(sampling.grid),
            keep=work.keep,
            batch=work.batch,
        )
        return made, ()
    made = edit(
        work.denoiser,
        work.values,
        strength,
        sampler=build("samplers", sampling.sampler),
        grid=sampling.grid,
        steps=options.steps or sampling.steps,
        keep=work.keep,
        seeds=work.seeds.to(work.run.device),
        condition=work.told(options.condition),
        batch=work.batch,
    )
    return made, ()


def _inversion_grid(grid: Mapping[str, Any]) -> dict[str, Any]:
    """Even steps of log-SNR between the noise levels of the recipe: wide steps at low noise are hard to undo."""
    ends = {name: grid[name] for name in ("sigma_min", "sigma_max") if name in grid}
    return {"name": "log-snr-uniform", **ends}


def _restored(work: _Work) -> tuple[Tensor, tuple[str, ...]]:
    """Draws from the posterior law of the clean picture."""
    options, picture = work.options, work.picture
    if options.restore == "denoise":
        return _denoised(work)
    from unstir.inverse.measurement import Measurement
    from unstir.inverse.noises.gaussian import GaussianNoise
    from unstir.inverse.operators.blur import BlurOperator
    from unstir.inverse.operators.downsample import DownsampleOperator
    from unstir.inverse.operators.grey import GreyOperator
    from unstir.inverse.operators.mask import MaskOperator

    remarks: tuple[str, ...] = ()
    channels, (height, width) = work.run.shape[0], picture.size
    shape, values, keep = (channels, height, width), picture.values, work.keep
    operator: Any
    if options.restore == "super-resolve":
        operator = DownsampleOperator((channels, height * options.factor, width * options.factor), options.factor)
    elif options.restore == "deblur":
        operator = BlurOperator(shape, deviation=options.blur, boundary="reflect")
    elif options.restore == "colourise":
        operator = GreyOperator(shape, "rec601")
    else:
        if options.restore in ("scratches", "painting"):
            values, keep, remarks = _repaired(work)
        assert keep is not None
        operator = MaskOperator(shape, keep)
        values = operator(values[None])[0]
    noise = GaussianNoise(2 * (options.noise or _READING_NOISE))
    made = _solved(work, Measurement(operator, values.to(work.run.device), noise))
    if keep is not None:  # what was seen is what it was
        known = _repaired(work)[0] if options.restore == "painting" else picture.values
        made = torch.where(keep.to(made.device), known.to(made), made)
    return made, remarks


def _repaired(work: _Work) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """A painting with its tones given back ("painting" only), where it is sound, and a remark."""
    from unstir.domains.images.restoration import Fading, cracks

    broken = cracks(work.picture.values)
    sound = ~broken if work.keep is None else ~broken & work.keep
    if not bool(broken.any()):
        raise InputError(
            "no cracks or scratches stand out of this picture; draw them in a mask and say --restore inpaint"
        )
    remarks = (f"cracks and scratches found on {broken.double().mean():.1%} of the picture",)
    values = work.picture.values
    if work.options.restore == "painting":
        data = work.run.data
        rows = torch.arange(min(len(data), _REFERENCE_ROWS)).numpy()
        reference, _ = data.batch(rows)
        assert isinstance(reference, Tensor)  # runs of images hold pictures
        values = Fading.of(values, reference).undone(values)
        remarks = (*remarks, "tones stretched to those of the run's data")
    return values, sound, remarks


def _solved(work: _Work, measurement: Any) -> Tensor:
    from unstir.inverse.solving import solve

    options = work.options
    return solve(
        work.denoiser,
        measurement,
        options.method or _METHOD,
        steps=options.steps,
        seeds=work.seeds.to(work.run.device),
        condition=work.told(options.condition),
        batch=work.batch,
    ).samples


def _denoised(work: _Work) -> tuple[Tensor, tuple[str, ...]]:
    """The reverse process from the very level of the picture's noise: no approximation but the sampler's."""
    from unstir.core.catalogue import build
    from unstir.samplers.editing import denoise_from
    from unstir.samplers.noise_estimation import likeliest_noise

    options, sampling = work.options, work.run.recipe.sampling
    remarks: tuple[str, ...] = ()
    if options.noise is not None:
        level = 2 * options.noise
    else:
        bound = work.denoiser.given({name: values[:1] for name, values in work.told(options.condition).items()})
        level = likeliest_noise(bound, work.values[:1], _QUIETEST, _LOUDEST, seed=work.seeds.seed).item()
        remarks = (f"noise of {level / 2:.1%} of black to white, the likeliest under the run",)
    made = denoise_from(
        work.denoiser,
        work.values,
        level,
        sampler=build("samplers", sampling.sampler),
        steps=options.steps or sampling.steps,
        seeds=work.seeds.to(work.run.device),
        condition=work.told(options.condition),
        batch=work.batch,
    )
    return made, remarks


def _row(run: TrainedRun, name: str | Path, grey: bool) -> Picture:
    """A row of the run's data as a picture; of one channel if it is to be grey."""
    number = str(name).removeprefix(ROW)
    if not number.isdecimal() or int(number) >= len(run.data):
        raise InputError(f"{name}: the rows of {run.data.name} go from row:0 to row:{len(run.data) - 1}")
    state, _ = run.data.batch(np.array([int(number)]))
    assert isinstance(state, Tensor)  # runs of images hold pictures
    values = state[0].float()
    if grey and len(values) == 3:
        values = (values * values.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0, keepdim=True)
    return Picture(values.contiguous(), None, None, Keepsakes())


def _files(run: TrainedRun, file: str | Path, out: Path | None, count: int) -> list[Path]:
    stem = Path(str(file).replace(":", "-")).stem
    if out is not None and out.suffix.lower() in ENDINGS:
        if count > 1:
            raise InputError(f"{out}: {count} edits do not go into one file; name a folder")
        return [out]
    folder = out or run.folder.path / "edits"
    return [folder / f"{stem}-{number:06d}.png" for number in range(count)]
