"""The usual Inception-v3 features of FID, from a file of weights that the user has; nothing is downloaded."""

import hashlib
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from unstir.core.errors import InputError
from unstir.metrics.base import SampleSet

_SIDE = 299


class InceptionFeatures:
    """Features of pictures from a TorchScript file such as the common ``inception-2015-12-05.pt``.

    The file's module takes uint8 pictures (n, 3, 299, 299) and returns (n, 2048) features, with
    ``return_features=True`` where it has that argument. Pictures come as values within ``bounds``, of one or three
    channels; they are rounded to 8 bits, grey is repeated, and the size is brought to 299 by bicubic
    interpolation with antialiasing (``resize=False`` leaves that to the module).

    A TorchScript file holds no pickled objects that run on load, but it *is* a program, which runs when called: use
    one that you trust, and pin it with ``sha256``.

    Raises InputError for a missing file, another hash, a file that is no TorchScript, wrong pictures.

    Reference: Szegedy et al., Rethinking the Inception architecture (2016); Heusel et al. (2017);
    on resizing Parmar et al., On aliased resizing and surprising subtleties in GAN evaluation (2022).
    """

    def __init__(
        self,
        path: Path | str,
        *,
        sha256: str | None = None,
        bounds: tuple[float, float] = (-1.0, 1.0),
        resize: bool = True,
        batch: int = 50,
        device: torch.device | str = "cpu",
    ) -> None:
        self.path, self.bounds, self.resize, self.batch = Path(path), bounds, resize, batch
        self.device = torch.device(device)
        if not self.path.is_file():
            raise InputError(
                f"{self.path} does not exist; give the path of an Inception TorchScript file that you have, "
                "or use the features of a classifier trained on your data (train_classifier)"
            )
        if bounds[0] >= bounds[1] or batch < 1:
            raise InputError(f"bounds must rise and batch be at least 1, seen {bounds} and {batch}")
        with self.path.open("rb") as file:
            self.digest = hashlib.file_digest(file, "sha256").hexdigest()
        if sha256 is not None and sha256.lower() != self.digest:
            raise InputError(f"{self.path} has the SHA-256 {self.digest}, not {sha256}: it is another file")
        self._module = self._load()
        self._arguments = {"return_features": True} if "return_features" in str(self._module.forward.schema) else {}
        self.description = f"features of {self.path.name} (SHA-256 {self.digest})"

    def _load(self) -> Any:
        try:
            with warnings.catch_warnings():
                # torch has deprecated TorchScript, but the usual file of these weights exists in no other form
                warnings.simplefilter("ignore", DeprecationWarning)
                return torch.jit.load(str(self.path), map_location=self.device).eval()
        except RuntimeError as error:
            raise InputError(
                f"{self.path} is no TorchScript file; a file of weights alone (a state dict) is not enough, "
                "since it does not say which variant of Inception it belongs to"
            ) from error

    def pictures(self, values: Tensor) -> Tensor:
        """Values within the bounds, (n, 1 or 3, h, w), as the module takes them: uint8 (n, 3, h, w)."""
        if values.ndim != 4 or values.shape[1] not in (1, 3):
            raise InputError(
                f"Inception features are of pictures (n, 1 or 3, height, width), seen {tuple(values.shape)}"
            )
        low, high = self.bounds
        shown = values.detach().float().clamp(low, high).sub(low).mul(255 / (high - low)).round()
        if self.resize and shown.shape[2:] != (_SIDE, _SIDE):
            shown = functional.interpolate(shown, size=(_SIDE, _SIDE), mode="bicubic", antialias=True)
        return shown.round().clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1)

    @torch.no_grad()
    def describe(self, values: Tensor, labels: Tensor | None = None) -> SampleSet:
        """The values with their features, in batches."""
        parts = [
            self._module(self.pictures(part).to(self.device).contiguous(), **self._arguments).cpu()
            for part in values.split(self.batch)
        ]
        features = torch.cat(parts).flatten(1)
        return SampleSet(values.detach().cpu().clamp(*self.bounds), features, labels, source=self.description)
