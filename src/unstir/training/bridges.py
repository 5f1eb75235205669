"""Trainings of bridges in rounds, each on the pairs that the one before has drawn: reflow and Schrödinger's bridge."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.processes.bridge import BridgeProcess
from unstir.training.loop import train
from unstir.training.options import TrainingOptions
from unstir.training.pairs import Pairs

Draw: TypeAlias = Callable[[Denoiser, Tensor, Seeds], Tensor]


def reflow(
    denoiser: Denoiser,
    sources: Tensor,
    draw: Draw,
    options: TrainingOptions | Mapping[str, Any] | None = None,
    folder: Path | str = "runs/reflow",
    *,
    rounds: int = 1,
    seed: int = 0,
    progress: bool = True,
) -> Denoiser:
    """Straightens a trained flow: it is trained again on the pairs of sources and the data that it makes of them.

    The pairs of a flow do not cross, and what is trained on them carries the same laws along straighter ways at no more
    cost for any convex distance: after it, fewer steps do. ``denoiser`` is of a bridge without motion and goes on from
    the weights that it has; it is returned. ``sources`` (count, *shape); ``draw(denoiser, sources, seeds)`` makes data
    of them, by a deterministic sampler with enough steps for the curved flow (``samplers.base.sample`` with ``start``).
    Each round is a run of its own in ``folder``/round-1, ... and resumes as any training does.

    Raises InputError for a denoiser whose process is no flow.

    Reference: Liu, Gong, Liu, Flow straight and fast (2022), section 2.2.
    """
    process = _bridge_of(denoiser)
    if process.sigma > 0:
        raise InputError(f"reflow straightens a flow (sigma 0); seen a bridge of sigma {process.sigma}")
    options = _options(options)
    for number in range(1, rounds + 1):
        drawn = draw(denoiser, sources, Seeds.range(seed, len(sources)).at("reflow", number))
        pairs = Pairs(drawn, sources, name=f"pairs of round {number}")
        train(denoiser, pairs, options, Path(folder) / f"round-{number}", seed=seed + number, progress=progress)
    return denoiser


def fit_schrodinger_bridge(
    backward: Denoiser,
    forward: Denoiser,
    data: Tensor,
    sources: Tensor,
    draw: Draw,
    options: TrainingOptions | Mapping[str, Any] | None = None,
    folder: Path | str = "runs/schrodinger",
    *,
    rounds: int = 5,
    seed: int = 0,
    progress: bool = True,
) -> tuple[Denoiser, Denoiser]:
    """Schrödinger's bridge between two sets of data by iterated Markovian fitting.

    ``backward`` leads from sources to data, ``forward`` from data to sources: two denoisers of bridges with one
    ``sigma``, the second's clean end being the source. Each round trains the one on the pairs that the other draws from
    true samples, ``draw(denoiser, starts, seeds)``, by an ancestral sampler of enough steps; the first pairs are as
    drawn, or as ``options.coupling`` pairs them in that training (``sinkhorn`` begins near the end). What is kept from
    round to round is Brownian between its ends, and in the limit Markov: Schrödinger's bridge of Brownian motion, for
    the straight schedule. Errors of the weights add up over rounds, but one end of the pairs is always true.

    ``data`` and ``sources`` (count, *shape), as many of each. Each training is a run in ``folder``, round-1-backward
    the first. Returns both denoisers.

    Raises InputError for processes that are no bridges of one motion, and for sets of different size.

    Reference: Shi, De Bortoli, Campbell, Doucet, Diffusion Schrödinger bridge matching (2023), algorithm 1; Peluchetti,
    Diffusion bridge mixture transports, Schrödinger bridge problems and generative modeling (2023).
    """
    motions = [_bridge_of(denoiser).sigma for denoiser in (backward, forward)]
    if motions[0] != motions[1] or not motions[0] > 0:
        raise InputError(f"both bridges need one sigma, above 0; seen {motions[0]} and {motions[1]}")
    if data.shape != sources.shape:
        shapes = f"{tuple(data.shape)} and {tuple(sources.shape)}"
        raise InputError(f"as many data as sources, of one shape, are needed; seen {shapes}")
    first = _options(options)
    later = replace(first, coupling="independent")
    order = Seeds.range(seed, 1).at("schrodinger").generator().permutation(len(sources))
    pairs = Pairs(data, sources[order], name="pairs as drawn")
    for number in range(1, rounds + 1):
        for way, trained, starts in (("backward", backward, sources), ("forward", forward, data)):
            chosen = first if number == 1 and way == "backward" else later
            place = Path(folder) / f"round-{number}-{way}"
            train(trained, pairs, chosen, place, seed=seed + 2 * number + (way == "forward"), progress=progress)
            drawn = draw(trained, starts, Seeds.range(seed, len(starts)).at("schrodinger", number, way))
            pairs = Pairs(
                starts, drawn, name=f"pairs of round {number}, {way}"
            )  # for the other way: its clean end first
    return backward, forward


def _bridge_of(denoiser: Denoiser) -> BridgeProcess:
    if not isinstance(denoiser.process, BridgeProcess):
        raise InputError(f"a denoiser of a bridge is needed; seen one of {type(denoiser.process).__name__}")
    return denoiser.process


def _options(options: TrainingOptions | Mapping[str, Any] | None) -> TrainingOptions:
    return options if isinstance(options, TrainingOptions) else TrainingOptions.of(options or {})
