"""Early stopping: what it spares, and that what it misses stays within its tolerance."""

from collections.abc import Iterator

import torch

from unstir.processes.gaussian import GaussianProcess
from unstir.processes.grids import karras
from unstir.samplers.base import Sampler, SamplerState, follow
from unstir.samplers.stopping import EarlyStopping, calls_taken
from unstir.verification.base import Effort, Measured, NotMeasured, claim
from unstir.verification.references import IN_THE_PLANE, PointDenoiser, arrive
from unstir.verification.statistics import at_most

__all__ = ["sampler_stopped_early"]


@claim("samplers", "ddim", "heun", "multistep")
def sampler_stopped_early(sampler: Sampler, effort: Effort) -> Iterator[Measured]:
    """Stopped early it misses no more than the tolerance, root-mean-square over the samples, and spares calls.

    On overlapping modes, against the same steps taken to their end. Not for samplers that draw: fresh noise moves the
    belief on, which no forecast knows.
    """
    steps, count = effort.of((40, 60), (60, 400))
    denoiser = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess()))
    times, seeds = karras(denoiser.process.schedule, steps), effort.seeds(count, "stopping")
    x = denoiser.process.prior((2,), seeds.at("prior"), times[0], torch.float64)
    expected = arrive(sampler, denoiser, x, times, seeds)
    if not torch.equal(expected, arrive(sampler, denoiser, x, times, seeds.at("others"))):
        raise NotMeasured("it draws noise, which moves the belief on", silent=True)
    counting = EarlyStopping(sampler, 0.0)
    whole = follow(denoiser, counting, SamplerState(x, seeds), times)
    yield at_most("numbers changed at tolerance 0", (expected != whole.tensor).sum(), 0.0)
    for tolerance in (1e-2, 1e-3):
        stopped = follow(denoiser, EarlyStopping(sampler, tolerance), SamplerState(x, seeds), times)
        away = (stopped.tensor - expected).square().mean().sqrt()
        yield at_most(f"root-mean-square of what is missed, tolerance {tolerance:g}", away, tolerance)
        share = calls_taken(stopped)[0].double().mean() / calls_taken(whole)[0].double().mean()
        yield at_most(f"share of the calls that samples took, tolerance {tolerance:g}", share, 0.97)
