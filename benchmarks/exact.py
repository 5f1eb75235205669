"""The exact mixture denoiser beside a batched einsum written by hand: ``python -m benchmarks.exact``.

Both compute the belief's mean for states of 64 numbers and 10 components, in float64 on one thread, in turn in one
run; the least time of a call counts. The einsum is given its inverses and determinants (or, for whole matrices, its
inverse matrices) at the noise level in advance, which the denoiser finds anew at each call. Written to
``benchmarks/results/exact.md``.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from unstir.exact.mixture import MixtureDenoiser
from unstir.processes.gaussian import GaussianProcess

RESULTS = Path(__file__).parent / "results"
KINDS = ("isotropic", "diagonal", "full")
TIME = 0.4


def mixture(kind: str, size: int = 64, components: int = 10) -> MixtureDenoiser:
    """A mixture with covariances of one kind."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(components, size, generator=generator, dtype=torch.float64)
    weights = torch.rand(components, generator=generator, dtype=torch.float64) + 0.1
    roots = torch.randn(components, size, size, generator=generator, dtype=torch.float64) / math.sqrt(size)
    covariances = {
        "isotropic": 0.1 + torch.rand(components, generator=generator, dtype=torch.float64),
        "diagonal": 0.1 + torch.rand(components, size, generator=generator, dtype=torch.float64),
        "full": roots @ roots.mT + 0.1 * torch.eye(size, dtype=torch.float64),
    }
    return MixtureDenoiser(weights, means, covariances[kind], GaussianProcess())


def by_hand(denoiser: MixtureDenoiser, kind: str, t: float) -> Callable[[Tensor], Tensor]:
    """The mean by einsum over (batch, components, elements), from what can be prepared for one time."""
    alpha, sigma = denoiser.process.schedule.alpha(t), denoiser.process.schedule.sigma(t)
    covariances, means = denoiser.covariances(), denoiser.means
    marginal = alpha.square() * covariances + sigma.square() * torch.eye(means.shape[1], dtype=torch.float64)
    constant = denoiser.weights.log() - torch.logdet(marginal) / 2
    inverse = torch.linalg.inv(marginal)
    if kind != "full":
        inverse = inverse.diagonal(dim1=1, dim2=2).contiguous()
        spread = covariances.diagonal(dim1=1, dim2=2).contiguous()
    if kind == "isotropic":
        inverse, spread = inverse[:, 0], spread[:, 0]
    # what a component does to what lies before it, and what it adds to the mean: one einsum each
    solve, gain = {
        "isotropic": ("bkd,k->bkd", lambda solved: torch.einsum("bkd,k->bd", solved, spread)),
        "diagonal": ("bkd,kd->bkd", lambda solved: torch.einsum("bkd,kd->bd", solved, spread)),
        "full": ("bkd,kde->bke", lambda solved: torch.einsum("bke,ked->bd", solved, covariances)),
    }[kind]

    def mean(xt: Tensor) -> Tensor:
        away = xt[:, None] - alpha * means
        solved = torch.einsum(solve, away, inverse)
        shares = (constant - torch.einsum("bkd,bkd->bk", away, solved) / 2).softmax(1)
        return torch.einsum("bk,kd->bd", shares, means) + alpha * gain(shares[..., None] * solved)

    return mean


def compare(kind: str, batch: int, rounds: int, repeats: int) -> dict[str, float]:
    """Least milliseconds of a call of both, and the largest difference of their answers."""
    denoiser = mixture(kind)
    t = torch.tensor(TIME, dtype=torch.float64)
    xt = torch.randn(batch, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rivals = {"unstir": lambda state: denoiser(state, t).mean, "einsum": by_hand(denoiser, kind, TIME)}
    least = dict.fromkeys(rivals, math.inf)
    with torch.no_grad():
        difference = (rivals["unstir"](xt) - rivals["einsum"](xt)).abs().max().item()
        for _ in range(rounds):
            for name, call in rivals.items():
                start = time.process_time()
                for _ in range(repeats):
                    call(xt)
                least[name] = min(least[name], (time.process_time() - start) / repeats * 1e3)
    return {**least, "ratio": least["unstir"] / least["einsum"], "difference": difference}


def main() -> None:
    """Measures all kinds and writes the table."""
    torch.set_num_threads(1)
    lines = [
        "# The exact mixture denoiser beside a batched einsum",
        "",
        "64 elements, 10 components, float64, one thread, least processor time of a call in ms (`python -m "
        "benchmarks.exact`).",
        "",
        "| covariances | batch | unstir | einsum by hand | ratio | largest difference |",
        "|---|---|---|---|---|---|",
    ]
    for kind in KINDS:
        for batch, repeats in ((256, 40), (4096, 4)):
            row = compare(kind, batch, rounds=25, repeats=repeats)
            lines.append(
                f"| {kind} | {batch} | {row['unstir']:.3f} | {row['einsum']:.3f} | {row['ratio']:.2f} "
                f"| {row['difference']:.1e} |"
            )
            print(lines[-1], flush=True)
    (RESULTS / "exact.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
