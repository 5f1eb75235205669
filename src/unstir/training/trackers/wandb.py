"""Weights & Biases."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unstir.core.errors import NotInstalledError
from unstir.training.trackers.base import flatten

__all__ = ["WandbTracker"]


class WandbTracker:
    """Weights & Biases, online or offline as its own settings say.

    ``project``, ``entity``, ``mode`` (online, offline, disabled) as W&B knows them. The run's name is the
    folder's, and its identity is kept in the folder, so a resumed training goes on in the same run.

    Reference: Biewald, Experiment tracking with Weights and Biases (2020).
    """

    def __init__(self, project: str = "unstir", entity: str | None = None, mode: str | None = None) -> None:
        self.project, self.entity, self.mode = project, entity, mode
        self.run: Any = None

    def start(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        """Starts the run, or takes it up again."""
        try:
            # by name, since this file is called the same
            wandb = importlib.import_module("wandb")
        except ImportError as error:
            raise NotInstalledError("wandb", "tracking", "the tracker 'wandb'") from error
        folder = Path(folder).resolve()
        note = folder / "wandb-id.txt"
        known = note.read_text(encoding="utf-8").strip() if note.exists() else None
        self.run = wandb.init(
            project=self.project,
            entity=self.entity,
            mode=self.mode,
            name=folder.name,
            dir=str(folder),
            config=dict(recipe),
            id=known,
            resume="allow",
        )
        if known is None:
            note.write_text(f"{self.run.id}\n", encoding="utf-8")

    def log(self, line: Mapping[str, Any]) -> None:
        """Sends the numbers of a line of progress at its step."""
        self.run.log(flatten(line), step=line["step"])

    def finish(self) -> None:
        """Ends the run."""
        if self.run is not None:
            self.run.finish()
