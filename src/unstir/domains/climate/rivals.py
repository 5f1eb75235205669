"""The other way of drawing: a one-pass generator, trained beside a run's diffusion on the same cases."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from unstir.core.catalogue import build, resolve
from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.denoisers.learned.one_pass import OnePassDenoiser
from unstir.domains.base import Judged
from unstir.domains.climate.task import default_network
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import sample
from unstir.training.data import Data
from unstir.training.options import TrainingOptions
from unstir.training.parallel import Group
from unstir.training.session import Session

OPTIONS: Mapping[str, Any] = {
    "steps": 2000,
    "batch": 128,
    "learning_rate": 1e-3,
    "members": 4,
    "score": "both",
    "network": None,
}
_GIVEN = ("shape", "conditions", "outputs")
_BATCH = 256  # samples drawn at a time


def one_pass_draw(judged: Judged, options: Mapping[str, Any] | None = None) -> Callable[..., Tensor]:
    """A one-pass generator trained on ``judged.data``, as a function that draws like ``judged.draw``.

    ``options``, with their defaults: ``steps`` 2000 of ``batch`` 128 at the (falling) ``learning_rate`` 1e-3, on the
    fair ``score`` both of ``members`` 4, with the specification of a ``network``: that of the run's own, unless given.
    The belief is centred where the run's is, under the process of the run. What comes back is
    ``draw(count, seed=..., condition=None)``: it takes one step, so that sampler, grid and steps do not matter to it,
    and draws encoded states (count, channels, *axes).

    Raises InputError for options that are not known, or out of range.

    Reference: Lang et al., AIFS-CRPS (2024); Pacchiardi et al., Probabilistic forecasting with generative networks via
    scoring rule minimization (2024).
    """
    given = dict(options or {})
    if wrong := [name for name in given if name not in OPTIONS]:
        raise unknown("option of the one-pass generator", wrong[0], OPTIONS)
    settings = {**OPTIONS, **given}
    data, seed = judged.data, Seeds.range(judged.seed, 1).at("one-pass").key[0]
    denoiser = _generator(judged, settings, seed)
    _train(denoiser, data, settings, seed)
    denoiser.to(next((weight.device for weight in judged.denoiser.parameters()), torch.device("cpu")))

    def draw(count: int, seed: int | None = None, condition: Mapping[str, Tensor] | None = None, **_how: Any) -> Tensor:
        told = dict(condition or {})
        if not told and denoiser.shown(data.conditions):
            raise InputError(f"these draws need the conditions {sorted(data.conditions)}, a row each")
        seeds = Seeds.range(judged.seed if seed is None else seed, count).at("one-pass")
        return sample(
            denoiser,
            AncestralSampler(),
            tuple(data.shape),
            seeds=seeds,
            condition=told,
            steps=1,
            grid="uniform",
            batch=_BATCH,
        )

    return draw


def _generator(judged: Judged, settings: Mapping[str, Any], seed: int) -> OnePassDenoiser:
    """The generator, its network's weights drawn, on the run's process and centred where the run is."""
    own, data = judged.denoiser, judged.data
    around = getattr(own, "around", None)
    rows = Seeds.range(seed, 1).at("rows").generator().permutation(len(data))[:4096]
    state, condition = data.batch(rows)
    given = {"score": settings["score"], "members": settings["members"], "around": around}
    learned = OnePassDenoiser(None, own.process, **OnePassDenoiser.options_for(own.process, given, state, condition))
    specification = settings["network"] or getattr(own, "specification", None) or default_network(data)
    size, outputs = learned.network_size(data.shape)
    network = resolve("networks", specification, _GIVEN)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        learned.network = build(
            "networks", network, shape=size, conditions=learned.shown(data.conditions), outputs=outputs
        )
    learned.specification = network
    return learned


def _train(denoiser: OnePassDenoiser, data: Data, settings: Mapping[str, Any], seed: int) -> None:
    """Trains in memory, and leaves the averaged weights in place, in evaluation mode."""
    training = TrainingOptions(steps=settings["steps"], batch=settings["batch"], drop_condition=0.0)
    rate = {"name": "cosine", "peak": settings["learning_rate"], "warm_up": min(200, training.steps // 10)}
    training = dataclasses.replace(training, learning_rate=rate)
    group = Group(training.device)
    try:
        session = Session(denoiser, data, training, seed, group)
        denoiser.train()
        with session.settings.entered(), session.parts(0) as parts:
            for step in range(training.steps):
                session.step(step, parts)
        session.put_average()
    finally:
        group.close()
    denoiser.eval().requires_grad_(False)
