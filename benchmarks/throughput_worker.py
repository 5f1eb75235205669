"""One network in one number format and memory layout, stepped on request in a process of its own.

Reads lines from standard input: ``step`` makes one training step, anything else ends. Answers with
one JSON object a line. Its own process makes the peak of memory its own.
"""

import contextlib
import json
import os
import re
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.training_cases import CASES

BATCH = 64


@dataclass(frozen=True)
class Setting:
    """What to run: the library, the images, and how the arithmetic is done."""

    library: str
    channels: int
    size: int
    bfloat16: bool
    channels_last: bool
    compiled: bool
    threads: int = 1

    @property
    def label(self) -> str:
        """For the table, such as ``bf16, channels_last, compiled``."""
        layout = ["channels_last"] if self.channels_last else []
        return ", ".join(["bf16" if self.bfloat16 else "fp32", *layout, *(["compiled"] if self.compiled else [])])


class Stepper:
    """Forward pass, the library's own loss, backward pass and AdamW step."""

    def __init__(self, setting: Setting) -> None:
        torch.set_num_threads(setting.threads)
        torch.manual_seed(0)
        case = CASES[setting.library]()
        layout = torch.channels_last if setting.channels_last else torch.contiguous_format
        network = case.build(setting.channels, setting.size).train().to(memory_format=layout)
        self.parameters = sum(parameter.numel() for parameter in network.parameters())
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
        if setting.compiled:
            network.compile()
        self.objective = case.objective(network, setting.channels, setting.size)
        self.bfloat16 = setting.bfloat16
        shape = (BATCH, setting.channels, setting.size, setting.size)
        self.images = torch.randn(shape).clamp(-1, 1).to(memory_format=layout)

    def step(self) -> dict[str, float]:
        """One step; its wall-clock and processor time in seconds."""
        wall, processor = time.perf_counter(), time.process_time()
        with torch.autocast("cpu", torch.bfloat16) if self.bfloat16 else contextlib.nullcontext():
            loss = self.objective(self.images)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {"wall": time.perf_counter() - wall, "processor": time.process_time() - processor}


def step_flops(setting: Setting) -> float:
    """Floating-point operations of a forward and backward pass of one batch; a multiply-add is two."""
    case = CASES[setting.library]()
    objective = case.objective(case.build(setting.channels, setting.size), setting.channels, setting.size)
    with FlopCounterMode(display=False) as counter:
        objective(torch.randn(2, setting.channels, setting.size, setting.size)).backward()
    return counter.get_total_flops() * BATCH / 2


def matmul_peak(bfloat16: bool, size: int = 1536, repeats: int = 12) -> float:
    """The most operations per second of processor time that a square matrix product reaches."""
    torch.set_num_threads(1)
    left = torch.randn(size, size).to(torch.bfloat16 if bfloat16 else torch.float32)
    least = float("inf")
    for _ in range(repeats):
        began = time.process_time()
        left @ left
        least = min(least, time.process_time() - began)
    return 2 * size**3 / least


def peak_memory() -> float:
    """The most memory that this process has held, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # unlike getrusage's figure, this one does not start at the size of the process that made this one
        return 1024.0 * int(re.search(r"VmHWM:\s+(\d+)", status.read_text()).group(1))
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def serve(setting: Setting, answers: TextIO) -> None:
    """Builds, warms up, then makes a step for each line asked."""

    def answer(**values: float | str) -> None:
        print(json.dumps(values), file=answers, flush=True)

    stepper = Stepper(setting)
    before = peak_memory()
    try:
        stepper.step()
    except Exception as error:  # a peer that does not compile is a result, not a failure of the benchmark
        answer(error=f"{type(error).__name__}: {error}"[:200])
        return
    answer(parameters=stepper.parameters, **asdict(setting))
    for line in sys.stdin:
        if line.strip() != "step":
            break
        answer(**stepper.step())
    peak = peak_memory()
    answer(peak=peak, growth=peak - before, flops=step_flops(setting))


if __name__ == "__main__":
    # whatever libraries print goes to standard error; standard output is for the answers
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(Setting(**json.loads(sys.argv[1])), channel)
