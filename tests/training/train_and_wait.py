"""A training to be killed: trains in the folder given, and stops at the moment given until somebody ends it.

Arguments: folder, moment. A moment is ``step N`` (while the data of step N is read), ``write NAME N`` (in the
middle of the N-th time that a file of this name is written), ``rename N`` (before the N-th rename), or ``none``.
"""

import sys
import time
from pathlib import Path

import torch
from toy_problem import Points, make_denoiser

from unstir.training import checkpoints
from unstir.training.loop import train

OPTIONS = {
    "steps": 24,
    "batch": 32,
    "accumulate": 2,
    "learning_rate": {"name": "cosine", "peak": 1e-2, "warm_up": 4},
    "precision": "float32",
    "noise_levels": "importance",
    "ema": {"name": "power", "lengths": [0.05, 0.10], "snapshots": 4},
    "checkpoint_every": 0.0,  # seconds: after every step
    "log_every": 5,
}


class KilledPoints(Points):
    """Data that waits to be killed when a step is reached."""

    folder: Path
    until: int | None = None

    def batch(self, rows, seeds=None):
        if seeds is not None and self.until is not None and int(seeds.samples[0]) >= self.until * OPTIONS["batch"]:
            wait(self.folder)
        return super().batch(rows, seeds)


def wait(folder):
    (folder / "now").touch()
    while True:
        time.sleep(1)


def run(folder, data=None):
    data = data or KilledPoints(jitter=0.1)
    return train(make_denoiser(dropout=0.1), data, OPTIONS, folder, seed=7, progress=False)


def main():
    torch.set_num_threads(1)
    folder, moment, *rest = Path(sys.argv[1]), *sys.argv[2:]
    data = KilledPoints(jitter=0.1)
    data.folder = folder
    folder.mkdir(exist_ok=True)
    if moment == "step":
        data.until = int(rest[0])
    if moment == "write":
        name, count = rest[0], int(rest[1])
        original = checkpoints._write_file

        def write_half(path, content):
            nonlocal count
            count -= path.name == name
            if count == 0 and path.name == name:
                original(path, content[: len(content) // 2])
                wait(folder)
            original(path, content)

        checkpoints._write_file = write_half
    if moment == "rename":
        count = int(rest[0])
        rename = Path.rename

        def rename_late(self, target):
            nonlocal count
            count -= 1
            if count == 0:
                wait(folder)
            return rename(self, target)

        Path.rename = rename_late
    run(folder, data)


if __name__ == "__main__":
    main()
