"""Trainings to be started by ``torchrun``. Arguments: folder, and for each training ddp=STEPS or fsdp=STEPS."""

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
    folder, jobs = Path(sys.argv[1]), sys.argv[2:]
    if len(jobs) > 1:  # the group is then the caller's, and a training leaves it open
        torch.distributed.init_process_group("gloo")
    sessions = []
    started = Session.__init__

    def note(self, *given):
        started(self, *given)
        sessions.append(self)

    Session.__init__ = note
    for job in jobs:
        parallel, _, steps = job.partition("=")
        result = run(folder / parallel, parallel, int(steps))
        noted = {
            "levels": sessions[-1].levels.squares.tolist(),
            "loss": result.loss,
            "evaluation": result.evaluation,
            "kinds": sorted({type(weight).__name__ for weight in sessions[-1].weights.values()}),
        }
        (folder / parallel / f"process-{os.environ['RANK']}.json").write_text(json.dumps(noted))
    if len(jobs) > 1:
        assert torch.distributed.is_initialized()
        torch.distributed.destroy_process_group()
    assert not torch.distributed.is_initialized()


if __name__ == "__main__":
    main()
