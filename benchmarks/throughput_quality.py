"""Like quality: networks of several libraries trained on one task, with one loss, for equally many images.

The pictures are scikit-learn's handwritten digits, enlarged to 32x32, shifted, tinted, and laid on a
random field whose power falls off with the wave number, so that there is something to be learnt at
every scale and every noise level. Networks see the same pictures, noise and levels in the same order,
under unstir's process, preconditioning and loss; each learns with the best of several learning rates.
"""

import argparse
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.training_cases import CASES, edm_objective, edm_weight

BATCH = 64
LEVELS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 4.0, 12.0)
RATES = (1e-3, 2e-3)
HELD_OUT = 256


def pictures(channels: int, count: int, seed: int, held_out: bool = False) -> Tensor:
    """Digits on random fields, (count, channels, 32, 32) in [-1, 1]; held-out ones use other digits and fields."""
    from sklearn.datasets import load_digits

    generator = torch.Generator().manual_seed(2 * seed + held_out)
    digits = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 16
    digits = digits[1500:] if held_out else digits[:1500]
    chosen = digits[torch.randint(len(digits), (count,), generator=generator)]
    strokes = nn.functional.interpolate(chosen, size=(24, 24), mode="bicubic", align_corners=False).clamp(0, 1)
    ink = torch.zeros(count, 1, 32, 32)
    corners = torch.randint(0, 9, (count, 2), generator=generator).tolist()
    for canvas, stroke, (row, column) in zip(ink, strokes, corners, strict=True):
        canvas[:, row : row + 24, column : column + 24] = stroke
    wave = torch.fft.fftfreq(32) * 32
    power = (1 + wave[:, None].square() + wave[None, :17].square()).pow(-0.75)
    white = torch.fft.rfft2(torch.randn(count, channels, 32, 32, generator=generator))
    field = torch.fft.irfft2(white * power, s=(32, 32))
    field = 0.35 * field / field.std() - 0.4
    tint = 0.3 + 0.6 * torch.rand(count, channels, 1, 1, generator=generator)
    return (field * (1 - ink) + tint * ink).clamp(-1, 1)


@dataclass(frozen=True)
class Outcome:
    """A training's validation loss by noise level, EDM-weighted (1 is what knowing nothing costs)."""

    library: str
    channels: int
    rate: float
    seconds: float
    losses: list[float]

    @property
    def mean(self) -> float:
        """Over the levels, which are about evenly spaced in the logarithm."""
        return sum(self.losses) / len(self.losses)


def train(library: str, channels: int, images: int, rate: float, bfloat16: bool = True) -> Outcome:
    """Trains one library's network; processor seconds are those of the training alone."""
    torch.manual_seed(0)
    case = CASES[library]()
    network = case.as_network(case.build(channels, 32)).train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, betas=(0.9, 0.99), fused=True)
    sigma_data = float(pictures(channels, 1024, seed=0).std())
    objective = edm_objective(network, sigma_data)
    steps, seconds = images // BATCH, 0.0
    for step in range(steps):
        batch = pictures(channels, BATCH, seed=1 + step)
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 20, 2 * (steps - step) / steps)
        began = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = objective(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds += time.process_time() - began
    return Outcome(library, channels, rate, seconds, validate(network.eval(), channels, sigma_data))


@torch.no_grad()
def validate(network: nn.Module, channels: int, sigma_data: float) -> list[float]:
    """EDM-weighted denoising loss on held-out pictures, in float32, one figure a noise level."""
    from unstir.core.seeds import Seeds
    from unstir.denoisers.learned.network import NetworkDenoiser
    from unstir.processes.gaussian import GaussianProcess
    from unstir.processes.schedules.edm import EDMSchedule

    process = GaussianProcess(EDMSchedule())
    denoiser = NetworkDenoiser(network, process, sigma_data=sigma_data)
    clean = pictures(channels, HELD_OUT, seed=0, held_out=True)
    losses = []
    for number, sigma in enumerate(torch.tensor(LEVELS, dtype=torch.float64)):
        t = process.schedule.time(-2 * sigma.log()).expand(BATCH)
        total = 0.0
        for start in range(0, HELD_OUT, BATCH):
            part = clean[start : start + BATCH]
            noisy = process.noise(part, t, Seeds.range(number, BATCH, start=start))
            total += float((edm_weight(sigma, sigma_data) * denoiser(noisy, t).loss(part)).mean())
        losses.append(total * BATCH / HELD_OUT)
    return losses


def compare(libraries: list[str], images: int, channels: list[int], rates: tuple[float, ...] = RATES) -> str:
    """The section of the report."""
    lines = [
        "## Like quality",
        f"Trained on the same {images} pictures (digits on random fields, see `throughput_quality.py`), bf16 autocast, "
        f"the best of the learning rates {', '.join(f'{rate:g}' for rate in rates)} for each; EDM-weighted denoising "
        f"loss on {HELD_OUT} held-out pictures by noise level, in the data's units. Lower is better.",
        "",
        f"| images | library | learning rate | {' | '.join(f'{level:g}' for level in LEVELS)} | mean |",
        "| " + " | ".join(["---"] * (len(LEVELS) + 4)) + " |",
    ]
    for number in channels:
        for library in libraries:
            outcomes = [train(library, number, images, rate) for rate in rates]
            for outcome in outcomes:
                print(outcome, flush=True)
            found = min(outcomes, key=lambda outcome: outcome.mean)
            losses = " | ".join(f"{loss:.4f}" for loss in found.losses)
            lines.append(f"| {number}x32x32 | {library} | {found.rate:g} | {losses} | {found.mean:.4f} |")
    return "\n".join(lines).replace("\n\n|", "\n\n|")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--libraries", nargs="*", default=["unstir", "azula"], choices=list(CASES))
    parser.add_argument("--images", type=int, default=16384)
    parser.add_argument("--channels", type=int, nargs="*", default=[1, 3])
    parser.add_argument("--rates", type=float, nargs="*", default=list(RATES))
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(compare(given.libraries, given.images, given.channels, tuple(given.rates)))
