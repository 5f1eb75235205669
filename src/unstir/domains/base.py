"""A field of data, as a frozen dataclass of functions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from unstir.denoisers.base import Denoiser
from unstir.metrics.evaluate import Result
from unstir.training.data import Data


@runtime_checkable
class Encoding(Protocol):
    """The invertible way between the data's own units and what a network sees.

    It outlives the data: a run keeps ``record()``, plain values fit for JSON, and ``Domain.restore`` makes the
    encoding from it again, so that samples can be decoded, drawn and written where the data is not.
    """

    def decode(self, state: Any) -> Any:
        """Samples in the data's own units, range and layout."""
        ...

    def record(self) -> dict[str, Any]:
        """Plain values from which ``Domain.restore`` makes this encoding again."""
        ...


@runtime_checkable
class EncodedData(Data, Protocol):
    """Training data that carries its encoding; what ``Domain.read`` gives."""

    @property
    def encoding(self) -> Encoding:
        """The way between the data's units and the network's."""
        ...


@dataclass(frozen=True)
class Judged:
    """What a field is given to judge: samples, the data that they should be like, and the means to draw more."""

    denoiser: Denoiser
    """The trained denoiser, in evaluation mode."""
    data: EncodedData
    """What it was trained on."""
    held_out: EncodedData | None
    """Data of the same kind that it has not seen, where the recipe names some."""
    drawn: Any
    """The recipe's samples, encoded."""
    condition: Mapping[str, Any]
    """The conditions that they were drawn under, a row each."""
    draw: Callable[..., Any]
    """``draw(count, seed=..., condition=None, sampler=None, grid=None, steps=None, callback=None)``: further ones."""
    seed: int
    """The recipe's."""
    options: Mapping[str, Any]
    """The recipe's ``evaluation.options``, which are the field's own."""
    folder: Path | None = None
    """Where a field may put files that belong to its findings, ``RUN/candidates``; None for nowhere."""


@dataclass(frozen=True)
class Asked:
    """What a trained run is asked for new input of the user's own: the file, and the means to draw."""

    denoiser: Denoiser
    """The trained denoiser, in evaluation mode."""
    encoding: Any
    """The run's."""
    path: Path
    """The user's file, of the kind that the run was trained on."""
    draw: Callable[..., Any]
    """``draw(count, seed=..., condition=None, sampler=None, grid=None, steps=None, callback=None)``."""
    members: int
    """How many members the ensemble is to have."""
    seed: int
    options: Mapping[str, Any]
    """The field's own, ``leads=10``; unknown ones are refused by the field."""
    out: Path | None = None
    """Where the ensemble is to be written, in a format of the field's; None for nowhere."""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """The recipe's ``sampler``, ``grid``, ``steps`` (as asked) and ``batch``, for a field that draws by itself."""


@dataclass(frozen=True)
class Figure:
    """A picture for the report: what one sees and how to judge it, each a sentence or two."""

    name: str
    """A short one for machines, ``forward-strip``."""
    title: str
    seen: str
    judged: str
    svg: str = ""
    """The picture itself, a whole SVG document on a white ground."""
    text: str = ""
    """Or what is best read: plain text, shown as it stands."""


@dataclass(frozen=True)
class Judgement:
    """What a field found: measures beside their floors and baselines, the most telling first, and figures."""

    results: Sequence[Result]
    figures: Sequence[Figure] = ()
    remarks: Sequence[str] = ()
    """Sentences for the report that a reader must know to judge the figures."""


@dataclass(frozen=True)
class Domain:
    """One field: all that the rooms above need to know of it, and no more.

    A field that needs a further function adds a field here with a default that means "does without".
    """

    name: str
    """The name in recipes and in `unstir list`."""

    summary: str
    """The field in one line, for lists and reports."""

    read: Callable[[Mapping[str, Any]], EncodedData]
    """``read(options)``: the options of a recipe's ``data`` (path, format, ...) to checked, encoded data."""

    restore: Callable[[Mapping[str, Any]], Encoding]
    """``restore(record)``: the encoding that a run has kept."""

    network: Callable[[Data], dict[str, Any]]
    """``network(data)``: the specification of a network that suits this data, ``{"name": "unet", ...}``."""

    draw: Callable[..., np.ndarray]
    """``draw(encoding, state, columns=None, ...)``: samples as one picture, uint8 (height, width, 3 or 4)."""

    write: Callable[..., list[Path]]
    """``write(encoding, state, folder, labels=None, first=0, ...)``: samples ``first``, ``first + 1``, ... in the
    field's own file format; returns the files written."""

    process: Callable[[Data], dict[str, Any]] | None = None
    """``process(data)``: the specification of the process that suits this data; Gaussian noise by EDM's schedule if
    None."""

    judge: Callable[["Judged"], "Judgement"] | None = None
    """How samples are measured and shown, for a field whose samples are not pictures; None for pictures."""

    predict: Callable[["Asked"], Any] | None = None
    """``predict(asked)``: an ensemble for new input of the user's own, which is written to ``asked.out`` too, a file
    or a folder as its suffix says; None for a field that does without."""

    predicted: str = ".nc"
    """The suffix of what ``predict`` writes where the user names nothing."""

    ask: Callable[..., dict[str, Any]] | None = None
    """``ask(encoding, wanted, seeds)``: the conditions that a user's own words mean, ``{"atoms": 12, "gap": 1.5}``, a
    row for each of the seeds; a ``mask`` among them where the words say how large a set is, else the data says it. None
    for a field whose conditions are told as the numbers that the network sees."""

    told: bool = False
    """Whether ``draw`` and ``write`` need ``condition=``, the conditions that samples were drawn under: the mask of
    padded sets, the composition that was asked for."""

    references: tuple[str, ...] = ()
    """What to cite when this field's part is used."""

    evaluation: Mapping[str, Any] = field(default_factory=dict)
    """Names of the features and metrics by which samples of this field are judged, for the catalogue to find."""

    def save(
        self,
        encoding: Encoding,
        state: Any,
        folder: Path,
        condition: Mapping[str, Any],
        first: int = 0,
        overwrite: bool = False,
    ) -> list[Path]:
        """``write`` with what it needs to know of the conditions that the samples were drawn under."""
        told = {"condition": condition} if self.told else {}
        labels = condition.get("label")
        return self.write(encoding, state, folder, labels=labels, first=first, overwrite=overwrite, **told)
