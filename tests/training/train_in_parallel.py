"""A training to be started by ``torchrun``. Arguments: folder, ddp or fsdp, steps."""

import json
import os
import sys
from pathlib import Path

import torch
from toy_problem import Points, make_denoiser

from unstir.training.loop import train
from unstir.training.session import Session

OPTIONS = {
    "batch": 50,  # of which two processes with three parts each get unequal shares
    "accumulate": 3,
    "learning_rate": 3e-3,
    "precision": "float32",
    "device": "cpu",
    "noise_levels": "importance",
    "ema": {"name": "power", "lengths": [0.10], "snapshots": 2},
    "weight_decay": 0.1,
    "log_every": 6,
}


def run(folder, parallel, steps):
    options = {**OPTIONS, "parallel": parallel, "steps": steps}
    return train(make_denoiser(), Points(jitter=0.1), options, folder, seed=3, progress=False, evaluate=evaluate)


def evaluate(denoiser, step):
    """The mean at fixed points: every process must be able to call the denoiser."""
    points = torch.linspace(-2, 2, 8).reshape(4, 2)
    return {"mean": denoiser(points, torch.tensor(0.5)).mean.double().mean().item()}


def main():
    torch.set_num_threads(1)
    folder, parallel, steps = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    sessions = []
    started = Session.__init__

    def note(self, *given):
        started(self, *given)
        sessions.append(self)

    Session.__init__ = note
    result = run(folder, parallel, steps)
    (folder / f"process-{os.environ['RANK']}.json").write_text(
        json.dumps(
            {
                "levels": sessions[0].levels.squares.tolist(),
                "loss": result.loss,
                "evaluation": result.evaluation,
                "kinds": sorted({type(weight).__name__ for weight in sessions[0].weights.values()}),
            }
        )
    )


if __name__ == "__main__":
    main()
