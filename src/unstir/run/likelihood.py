"""The verb `likelihood`: how probable data is under a trained run, in bits per dimension."""

import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.learned.base import LearnedDenoiser
from unstir.likelihood.bits import bits_per_dimension
from unstir.likelihood.bound import continuous_bound
from unstir.likelihood.dequantisation import Cells, UniformDequantiser
from unstir.likelihood.flow import flow_log_density
from unstir.likelihood.token_bound import token_bound
from unstir.run.parts import domain_of, shape_of
from unstir.run.sampling import TrainedRun

Way = Literal["flow", "bound"]
WAYS: dict[str, tuple[Way, ...]] = {"euclidean": ("flow", "bound"), "tokens": ("bound",)}  # the first by default
_AT_ONCE = 64


def likelihood_run(
    run: TrainedRun,
    count: int = 64,
    way: str | None = None,
    probes: int = 4,
    seed: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Bits per dimension of held-out data (the recipe's ``evaluation.held_out``), or of the training data without any.

    ``way`` is "flow", the log-density along the probability flow, or "bound", the continuous evidence lower bound; by
    default the flow, and the bound for tokens, of which the bits are those of a token's probability. Whole numbers are
    dequantised uniformly, which makes of either an upper bound on the bits of their probability; for real numbers the
    bits are of their density, in the units that the denoiser sees. The standard error is that of
    the mean over the data; ``chance`` is the part of it that the estimator's own draws make. Written to
    ``likelihood.json`` in the run's folder as well.
    """
    if count < 2:
        raise InputError(f"at least 2 samples are needed, to tell an error; seen {count}")
    from tqdm import tqdm

    held_out = run.recipe.evaluation.held_out
    data = domain_of(run.recipe).read(held_out) if held_out else run.data
    if shape_of(data.shape) != run.shape:
        raise InputError(f"evaluation.held_out: samples of shape {data.shape}, but the run was trained on {run.shape}")
    seeds = Seeds.range(run.recipe.seed if seed is None else seed, min(count, len(data)), device=run.device)
    chosen = np.sort(seeds.at("chosen").generator().permutation(len(data))[: len(seeds)])
    denoiser = run.denoiser()
    space = denoiser.process.space
    if space not in WAYS:
        raise InputError(f"likelihoods are known for data in the spaces {', '.join(WAYS)}; this run's is {space!r}")
    way = WAYS[space][0] if way is None else way
    if way not in WAYS[space]:
        raise unknown(f"way to a likelihood of data in the space {space!r}", way, WAYS[space])
    cells = None if space == "tokens" else _cells(run.encoding)
    bits, chance = [], []
    with tqdm(total=len(seeds), desc="likelihood", unit="samples", disable=not progress) as bar:
        for rows in torch.arange(len(seeds)).split(_AT_ONCE):
            state, told = data.batch(chosen[rows.numpy()])
            if not isinstance(state, Tensor):
                raise InputError(f"only states of one tensor can be judged as yet; seen the parts {sorted(state)}")
            known = set(run.conditions) - {"augment"}
            condition = {name: values.to(run.device) for name, values in told.items() if name in known}
            own = seeds[rows.to(run.device)]
            found = _bits(denoiser, state.to(run.device), condition, own, cells, way, probes)
            bits.append(found[0])
            chance.append(found[1])
            bar.update(len(rows))
    of_what = "probability" if space == "tokens" else "density"
    values, errors = torch.cat(bits), torch.cat(chance)
    results = {
        "way": way,
        "bits_per_dimension": values.mean().item(),
        "standard_error": (values.std() / math.sqrt(len(values))).item(),
        "chance": (errors.square().sum().sqrt() / len(values)).item(),
        "samples": len(values),
        "elements": math.prod(run.shape),
        "of": "held-out data" if held_out else "training data",
        "dequantisation": "uniform" if cells else f"none: bits of a {of_what}",
        "levels": cells.levels if cells else None,
        "seed": seeds.seed,
        "weights": TrainedRun.weights_digest(denoiser),
    }
    run.folder.write_json("likelihood.json", results)
    return results


def _cells(encoding: Any) -> Cells | None:
    """The cells of whole numbers, or None for data that is real."""
    try:
        return Cells.of(encoding)
    except InputError:
        return None


def _bits(
    denoiser: LearnedDenoiser,
    state: Tensor,
    condition: dict[str, Tensor],
    seeds: Seeds,
    cells: Cells | None,
    way: str,
    probes: int,
) -> tuple[Tensor, Tensor]:
    """Bits per dimension of each sample, and the standard error that the estimator's own draws leave."""
    if denoiser.process.space == "tokens":
        told = token_bound(denoiser, state, seeds, condition=condition)
        return told.bits_per_dimension, told.standard_error / (told.elements * math.log(2))
    weight = torch.zeros(len(state), dtype=torch.float64, device=state.device)
    if cells is not None:
        drawn = UniformDequantiser(cells).draw(cells.decode(state), seeds.at("dequantise"))
        state, weight = drawn.state, drawn.log_weight
    elements = state[0].numel()
    if way == "flow":
        found = flow_log_density(denoiser, state, condition=condition, probes=probes, seeds=seeds, tolerance=1e-4)
        nats, error = found.nats, found.standard_error
    else:
        as_network: Denoiser = denoiser
        bound = continuous_bound(as_network, state.float(), seeds, condition=condition)
        nats, error = -bound.total, bound.standard_error
    return bits_per_dimension(nats + weight, elements), error / (elements * math.log(2))
