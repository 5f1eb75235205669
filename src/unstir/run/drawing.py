"""Many samples, drawn block by block: interrupted work goes on, and several processes share it."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.files import write_whole
from unstir.core.seeds import Seeds
from unstir.core.state import concatenate
from unstir.core.workers import worker_pool
from unstir.denoisers.learned.base import LearnedDenoiser
from unstir.run.folder import RunFolder

if TYPE_CHECKING:
    from unstir.run.sampling import TrainedRun

_UNFINISHED = ".unfinished"
_WHOLE = "state"  # the name of a state that is one tensor


@dataclass(frozen=True)
class Order:
    """What to draw, and how: plain values, which may be sent to another process."""

    folder: Path
    device: str
    seed: int
    sampler: Any = None
    grid: Any = None
    steps: int | None = None
    average: float | None = None


def draw_in_blocks(
    run: "TrainedRun",
    denoiser: LearnedDenoiser,
    seeds: Seeds,
    condition: Mapping[str, Tensor],
    order: Order,
    *,
    workers: int = 1,
    progress: Callable[[int], object] | None = None,
) -> tuple[Any, Callable[[], None]]:
    """The samples of the seeds, a row each, and a function that forgets the blocks once the samples are safe.

    A block is what one batch of the driver holds (``samplers.sample``), and is kept in the run's folder as soon as it
    is drawn. What is asked for again, after an interruption, is taken up from there. ``workers`` processes draw blocks
    side by side; as a block depends on nothing else, the samples are the same to the bit.

    Raises InputError for less than one worker.
    """
    if workers < 1:
        raise InputError(f"at least 1 worker is needed; seen {workers}")
    size = run.recipe.sampling.batch
    kept = run.folder.samples / _UNFINISHED / _digest(run, denoiser, seeds, condition, order)
    kept.mkdir(parents=True, exist_ok=True)
    numbers = seeds.samples // size
    blocks = {block: (numbers == block).nonzero().flatten() for block in numbers.unique().tolist()}
    done: dict[int, Any] = {}
    for block, rows in blocks.items():
        if (state := _read(kept / f"{block:09d}.safetensors")) is not None:
            done[block] = state
            if progress:
                progress(len(rows))
    left = [block for block in blocks if block not in done]
    jobs = {
        block: (seeds.samples[blocks[block]].tolist(), {name: rows[blocks[block]] for name, rows in condition.items()})
        for block in left
    }
    if workers == 1 or len(left) < 2:
        for block in left:
            done[block] = _drawn(run, denoiser, order, *jobs[block])
            _write(kept / f"{block:09d}.safetensors", done[block])
            if progress:
                progress(len(blocks[block]))
    else:
        # the first here: a sampler that is made for the model once is then there for all
        first = left.pop(0)
        _write(kept / f"{first:09d}.safetensors", _drawn(run, denoiser, order, *jobs[first]))
        if progress:
            progress(len(blocks[first]))
        with worker_pool(min(workers, len(left)), _prepare, order) as pool:
            working = {
                pool.submit(_work, kept / f"{block:09d}.safetensors", *jobs[block]): len(blocks[block])
                for block in left
            }
            for future in as_completed(working):
                future.result()
                if progress:
                    progress(working[future])
        done |= {block: _read(kept / f"{block:09d}.safetensors") for block in (first, *left)}
    order_of_rows = torch.cat([blocks[block] for block in blocks]).argsort()
    drawn = concatenate([done[block] for block in blocks])
    chosen = {name: part[order_of_rows] for name, part in drawn.items()} if isinstance(drawn, dict) else None
    return chosen if chosen is not None else drawn[order_of_rows], lambda: _forget(kept)


def _forget(kept: Path) -> None:
    shutil.rmtree(kept, ignore_errors=True)
    if kept.parent.exists() and not any(kept.parent.iterdir()):
        kept.parent.rmdir()


def _digest(
    run: "TrainedRun", denoiser: LearnedDenoiser, seeds: Seeds, condition: Mapping[str, Tensor], order: Order
) -> str:
    """A name for all that the samples depend on."""
    asked = [order.seed, str(order.sampler), str(order.grid), order.steps, run.recipe.to_dict()["sampling"]]
    found = hashlib.sha256(json.dumps([*asked, run.weights_digest(denoiser)]).encode())
    for name, values in sorted({**condition, "": seeds.samples}.items()):
        found.update(name.encode() + values.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def _drawn(
    run: "TrainedRun", denoiser: LearnedDenoiser, order: Order, numbers: list[int], condition: dict[str, Tensor]
) -> Any:
    seeds = Seeds(order.seed, torch.tensor(numbers))
    state = run.draw(denoiser, seeds, condition, order.sampler, order.grid, order.steps)
    return {name: part.cpu() for name, part in state.items()} if isinstance(state, dict) else state.cpu()


def _write(path: Path, state: Any) -> None:
    tensors = state if isinstance(state, dict) else {_WHOLE: state}
    write_whole(path, save({name: part.contiguous() for name, part in tensors.items()}))


def _read(path: Path) -> Any:
    """A block that was drawn before; None where it is missing or broken."""
    try:
        tensors = load_file(path)
    except (FileNotFoundError, SafetensorError):
        return None
    return tensors[_WHOLE] if set(tensors) == {_WHOLE} else tensors


_worker: list[Any] = []


def _prepare(order: Order) -> None:
    """What each process does once."""
    from unstir.run.sampling import TrainedRun

    run = TrainedRun(RunFolder.open(order.folder), order.device)
    _worker[:] = [run, run.denoiser(order.average), order]


def _work(path: Path, numbers: list[int], condition: dict[str, Tensor]) -> None:
    run, denoiser, order = _worker
    _write(path, _drawn(run, denoiser, order, numbers, condition))
