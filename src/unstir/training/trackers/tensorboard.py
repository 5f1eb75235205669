"""TensorBoard."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unstir.core.errors import NotInstalledError
from unstir.training.trackers.base import flatten

__all__ = ["TensorboardTracker"]


class TensorboardTracker:
    """TensorBoard's event files in the run's folder ``tensorboard``: ``tensorboard --logdir runs``.

    A resumed run adds a file there, and TensorBoard hides what it repeats.

    Reference: Abadi et al., TensorFlow: large-scale machine learning on heterogeneous systems (2015).
    """

    def __init__(self) -> None:
        self.writer: Any = None

    def start(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        """Opens the event file and notes the recipe as text."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise NotInstalledError("tensorboard", "tracking", "the tracker 'tensorboard'") from error
        self.writer = SummaryWriter(str(Path(folder) / "tensorboard"))
        indented = "\n".join("    " + text for text in json.dumps(recipe, indent=2, default=str).splitlines())
        self.writer.add_text("recipe", indented)

    def log(self, line: Mapping[str, Any]) -> None:
        """Adds the numbers of a line of progress at its step."""
        for name, value in flatten(line).items():
            self.writer.add_scalar(name, value, line["step"])
        self.writer.flush()

    def finish(self) -> None:
        """Closes the event file."""
        if self.writer is not None:
            self.writer.close()
