"""Pictures and their labels, ready for training."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.domains.images.augmentation import Augmentation
from unstir.domains.images.crops import Crops, is_single_picture, single_picture
from unstir.domains.images.encoding import ImageEncoding, find_layout, find_range
from unstir.formats.base import Format, Samples, find_format
from unstir.formats.survey import survey

_OWN_OPTIONS = ("path", "format", "name", "range", "layout", "augment", "memory", "crops")


class ImageData:
    """Samples as pictures: float32 (batch, channels, height, width) in [-1, 1], with their labels as ``label``.

    samples: what a format gave.
    range: the (low, high) that go to -1 and 1; else what the file says, else by dtype and observation.
    layout: ``"hw"``, ``"hwc"`` or ``"chw"``, where the shape leaves it open.
    augment: an augmentation, or its options; applied to batches that come with seeds.
    memory: bytes up to which the pictures are held in memory, in their own dtype; beyond, they are read when needed.
    name: for reports; else the source.

    Raises InputError, before any training, for pictures that are not finite, not pictures, or all of one value.
    """

    def __init__(
        self,
        samples: Samples,
        *,
        range: Any = None,
        layout: Any = None,
        augment: Any = None,
        memory: Any = 2**30,
        name: str | None = None,
    ) -> None:
        if not isinstance(memory, int | float) or not 0 <= memory < 2**63:
            raise InputError(f"`data.memory: {memory!r}`: a number of bytes is needed")
        layout, shape = find_layout(samples.shape, layout or samples.attributes.get("layout"), samples.source)
        seen = survey(samples, keep_bytes=int(memory))
        dtype = np.dtype(samples.values.dtype)
        stated = range if range is not None else samples.attributes.get("range")
        low, high, bounded = (*_pair(stated), True) if stated is not None else find_range(dtype, seen.low, seen.high)
        if not low <= seen.low <= seen.high <= high:
            raise InputError(
                f"{samples.source}: values from {seen.low:g} to {seen.high:g} lie outside the stated range "
                f"{low:g} to {high:g}; state `data.range=[{seen.low:g}, {seen.high:g}]` or wider"
            )
        self.name = name or samples.source
        self.source = samples.source
        self.encoding = ImageEncoding(low, high, dtype.name, layout, shape, bounded, samples.label_names)
        self.augmentation = augment if isinstance(augment, Augmentation) else Augmentation.of(augment, shape)
        self.labels = samples.labels
        self.values = seen.values
        record = {key: value for key, value in self.encoding.record().items() if key != "bounded"}
        self.digest = hashlib.sha256((seen.digest + json.dumps(record, sort_keys=True)).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.values)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one encoded picture."""
        return self.encoding.shape

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of the classes; empty for unlabelled pictures."""
        return self.encoding.label_names

    @property
    def conditions(self) -> dict[str, dict[str, int]]:
        """``label`` for labelled pictures, ``augment`` if the network is told of the augmentation."""
        found = {"label": {"classes": len(self.label_names)}} if self.labels is not None else {}
        return {**found, **({"augment": {"size": self.augmentation.told_size}} if self.augmentation.told_size else {})}

    def batch(self, rows: np.ndarray, seeds: Seeds | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """The pictures at ``rows`` and their conditions; augmented iff ``seeds`` are given, one address a row."""
        rows = np.asarray(rows)
        pictures = self.encoding.encode(self.values[rows])
        condition = {} if self.labels is None else {"label": torch.from_numpy(self.labels[rows])}
        if seeds is not None:
            if len(seeds) != len(rows):
                raise InputError(f"{len(seeds)} seeds for {len(rows)} rows")
            pictures, told = self.augmentation(pictures, seeds.at("augment"))
            if told is not None:
                condition["augment"] = told
        return pictures, condition


def read_images(options: Mapping[str, Any]) -> ImageData:
    """Pictures from the options of a recipe's ``data``: those of ``ImageData``, and those of the format.

    ``labels: false`` leaves the labels out. A ``path`` may be one picture's file, or ``skimage:NAME`` for one of
    scikit-image's; ``crops`` makes many small ones of it (see ``crops.Crops``).
    """
    own = {key: options[key] for key in _OWN_OPTIONS if key in options}
    rest = {key: value for key, value in options.items() if key not in _OWN_OPTIONS}
    unlabelled = rest.get("labels") is False
    if unlabelled:
        del rest["labels"]
    path, format, crops = own.pop("path", None), own.pop("format", None), own.pop("crops", None)
    if format is None and is_single_picture(path):
        Format("one picture", lambda _: True, single_picture).check(rest, path, also=_OWN_OPTIONS)
        samples = single_picture(path, **rest)
    else:
        found, chosen = find_format(path, format)
        chosen.check(rest, path or format, also=_OWN_OPTIONS)
        samples = chosen.read(found, **rest)
    if crops is not None:
        if (stated := own.get("layout")) is not None:
            samples = replace(samples, attributes={**samples.attributes, "layout": stated})
        samples = Crops.of(crops).taken_from(samples)
    if unlabelled:
        samples = replace(samples, labels=None, label_names=())
    return ImageData(samples, **own)


def _pair(stated: Any) -> tuple[float, float]:
    try:
        low, high = (float(value) for value in stated)
    except (TypeError, ValueError):
        raise InputError(f"range {stated!r}: two numbers are needed, `data.range=[low, high]`") from None
    return low, high
