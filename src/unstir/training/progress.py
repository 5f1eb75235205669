"""What a training tells of itself: ``progress.jsonl``, the bar, the trackers."""

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from unstir.core.files import write_whole

_WIDTH = 2.0  # of the bins, in units of log-SNR
_BINS = 32
_LOWEST = -_WIDTH * _BINS / 2


class Progress:
    """Gathers the losses of an interval and tells of them in a line.

    A line of ``progress.jsonl`` holds step, samples, seconds (of training, over all sessions of the run),
    loss (mean over the interval, as it is minimised), learning_rate, gradient_norm (mean before clipping),
    samples_per_second, and by_log_snr: a list of [centre, mean weighted loss, count] in bins of log-SNR two
    wide, where the loss is not corrected for how often a level is drawn. What is gathered is part of a
    checkpoint, so a resumed run writes the lines that the uninterrupted one would have written.
    """

    def __init__(
        self, folder: Path, steps: int, batch: int, *, show: bool = True, trackers: Sequence[Any] = ()
    ) -> None:
        self.path = folder / "progress.jsonl"
        self.batch, self.trackers = batch, trackers
        self.before, self.began = 0.0, time.monotonic()
        self.bar = tqdm(
            total=steps * batch,
            unit=" samples",
            unit_scale=True,
            desc="training",
            disable=not show,
            mininterval=0.5 if sys.stderr.isatty() else 10.0,
        )
        self.clear()

    def clear(self) -> None:
        """Starts a new interval."""
        self.loss, self.norm, self.count = 0.0, 0.0, 0
        self.totals, self.counts = np.zeros(_BINS), np.zeros(_BINS)
        self.since = self.seconds

    @property
    def seconds(self) -> float:
        """Seconds of training, those before a resumption included."""
        return self.before + time.monotonic() - self.began

    def add(self, loss: float, norm: float, log_snr: np.ndarray, losses: np.ndarray) -> None:
        """Takes in one step: its loss and gradient norm; and log-SNR and weighted loss of each sample."""
        self.loss, self.norm, self.count = self.loss + loss, self.norm + norm, self.count + 1
        bins = ((log_snr - _LOWEST) / _WIDTH).clip(0, _BINS - 1).astype(np.int64)
        self.totals += np.bincount(bins, losses, _BINS)
        self.counts += np.bincount(bins, minlength=_BINS)
        self.bar.update(self.batch)

    def log(
        self, step: int, learning_rate: float, evaluation: Mapping[str, Any] | None = None, *, write: bool = True
    ) -> dict[str, Any]:
        """Makes the line of the interval that ends here, and tells it where this process writes."""
        count, seconds = max(self.count, 1), self.seconds
        line: dict[str, Any] = {
            "step": step,
            "samples": step * self.batch,
            "seconds": round(seconds, 3),
            "loss": self.loss / count,
            "learning_rate": learning_rate,
            "gradient_norm": self.norm / count,
            "samples_per_second": round(self.count * self.batch / max(seconds - self.since, 1e-9), 1),
            "by_log_snr": [
                [_LOWEST + _WIDTH * (number + 0.5), self.totals[number] / self.counts[number], int(self.counts[number])]
                for number in self.counts.nonzero()[0].tolist()
            ],
        }
        if evaluation:
            line["evaluation"] = dict(evaluation)
        if write:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        self.bar.set_postfix_str(f"loss {line['loss']:.4g}", refresh=False)
        for tracker in self.trackers:
            tracker.log(line)
        self.clear()
        return line

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "seconds": self.seconds,
            "loss": self.loss,
            "gradient_norm": self.norm,
            "count": self.count,
            "totals": self.totals.tolist(),
            "counts": self.counts.tolist(),
            "interval_seconds": self.seconds - self.since,
        }

    def restore(self, state: Mapping[str, Any], step: int) -> None:
        """Goes on from a checkpoint; lines from beyond it, or half written, are cut off the file."""
        self.before, self.began = state["seconds"], time.monotonic()
        self.loss, self.norm, self.count = state["loss"], state["gradient_norm"], state["count"]
        self.totals, self.counts = np.array(state["totals"]), np.array(state["counts"])
        self.since = self.seconds - state["interval_seconds"]
        self.bar.update(step * self.batch)
        self.bar.initial = self.bar.n  # the rate shown is this session's

    def begin(self, step: int) -> None:
        """Cuts the file back to the lines up to ``step``, whole or not at all."""
        kept = [line for line in read_progress(self.path) if line["step"] <= step]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def close(self) -> None:
        """Ends the bar and the trackers."""
        self.bar.close()
        for tracker in self.trackers:
            tracker.finish()


def read_progress(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a ``progress.jsonl``; one that a kill cut short is left out."""
    lines = []
    if path.exists():
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and math.isfinite(line.get("step", math.nan)):
                lines.append(line)
    return lines
