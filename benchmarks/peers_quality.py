"""The peers' own recipes for 8x8 grey pictures: network, loss, optimiser, average and samplers as they publish them.

Each recipe trains on pictures in [-1, 1], shape (n, 1, 8, 8), one ``step`` a batch, and offers samplers by
name. Nothing is tuned beyond the size of the network, which their examples choose by the size of the pictures.
All are unconditional but azula's tutorial, which is told the classes; it is there without them as well.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.training_cases import CASES, DenoisingDiffusion

_DRAWN_AT_ONCE = 250
Draw = Callable[[Tensor], Tensor]


class PeerRecipe(ABC):
    """One library's recipe, made ready."""

    package: str
    description: str
    batch: int
    by_class: bool = False
    network: nn.Module

    @abstractmethod
    def step(self, pictures: Tensor, labels: Tensor, progress: float) -> float:
        """One optimiser step, ``progress`` of the budget (0 to 1) being spent; returns the loss."""

    @abstractmethod
    def samplers(self) -> Mapping[str, Draw]:
        """Functions from labels (n,) to as many samples, (n, 1, 8, 8), by the sampler's name.

        Unless ``by_class``, the labels say no more than how many.
        """

    @property
    def parameters(self) -> int:
        """How many numbers the network has."""
        return sum(parameter.numel() for parameter in self.network.parameters())


class Diffusers(PeerRecipe):
    """diffusers' ``train_unconditional.py`` with its average and its defaults, on a network for small pictures.

    Reference: huggingface/diffusers, examples/unconditional_image_generation; the Hugging Face diffusion
    models course, unit 1, for the network's widths.
    """

    package = "diffusers"
    description = "UNet2DModel 32-64-64, attention on two levels; noise prediction, AdamW 1e-4, batch 16, EMA"
    batch = 16
    peak, warm_up = 1e-4, 500

    def __init__(self) -> None:
        from diffusers import DDPMScheduler, UNet2DModel
        from diffusers.training_utils import EMAModel

        self.network = UNet2DModel(
            sample_size=8,
            in_channels=1,
            out_channels=1,
            layers_per_block=2,
            block_out_channels=(32, 64, 64),
            down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        )
        weights = list(self.network.parameters())
        self.average = EMAModel(weights, decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75)
        self.optimiser = torch.optim.AdamW(weights, lr=self.peak, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8)
        self.forward = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear")
        self.steps = 0

    def step(self, pictures: Tensor, labels: Tensor, progress: float) -> float:
        self.steps += 1
        rate = self.peak * min(1.0, self.steps / self.warm_up) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2
        self.optimiser.param_groups[0]["lr"] = rate
        noise, times = torch.randn_like(pictures), torch.randint(0, 1000, (len(pictures),))
        predicted = self.network(self.forward.add_noise(pictures, noise, times), times).sample
        loss = nn.functional.mse_loss(predicted, noise)
        _descend(self.optimiser, loss, self.network, clip=1.0)
        self.average.step(self.network.parameters())
        return loss.item()

    def samplers(self) -> Mapping[str, Draw]:
        from diffusers import DDIMScheduler, DDPMScheduler

        def draw(scheduler_class: Any, steps: int) -> Draw:
            return lambda labels: self._sample(scheduler_class(num_train_timesteps=1000), steps, labels)

        return {
            "DDIM 50 (its DDIMPipeline's default)": draw(DDIMScheduler, 50),
            "DDPM 100 (the script's own is 1000)": draw(DDPMScheduler, 100),
        }

    @torch.no_grad()
    def _sample(self, scheduler: Any, steps: int, labels: Tensor) -> Tensor:
        scheduler.set_timesteps(steps)

        def draw(part: Tensor) -> Tensor:
            x = torch.randn(len(part), 1, 8, 8)
            for time in scheduler.timesteps:
                x = scheduler.step(self.network(x, time).sample, time, x).prev_sample
            return x

        self.average.store(self.network.parameters())
        self.average.copy_to(self.network.parameters())
        drawn = _in_parts(draw, labels)
        self.average.restore(self.network.parameters())
        return drawn


class DenoisingDiffusionPytorch(PeerRecipe):
    """denoising-diffusion-pytorch: Unet and GaussianDiffusion with the defaults of its Trainer.

    The Trainer itself reads folders of pictures; its loop is written out here, without mirroring digits.

    Reference: lucidrains/denoising-diffusion-pytorch, README and Trainer.
    """

    package = "denoising-diffusion-pytorch"
    description = "Unet(dim=32, dim_mults=(1, 2, 4)); v prediction, sigmoid schedule, Adam 1e-4, batch 16, EMA"
    batch = 16

    def __init__(self) -> None:
        library = DenoisingDiffusion._module()
        from ema_pytorch import EMA

        self.network = library.Unet(dim=32, dim_mults=(1, 2, 4), channels=1)
        self.diffusion = library.GaussianDiffusion(self.network, image_size=8, auto_normalize=False)
        self.optimiser = torch.optim.Adam(self.diffusion.parameters(), lr=1e-4, betas=(0.9, 0.99))
        self.average = EMA(self.diffusion, beta=0.995, update_every=10)

    def step(self, pictures: Tensor, labels: Tensor, progress: float) -> float:
        loss = self.diffusion(pictures)
        _descend(self.optimiser, loss, self.diffusion, clip=1.0)
        self.average.update()
        return loss.item()

    def samplers(self) -> Mapping[str, Draw]:
        def draw(steps: int) -> Draw:
            def sample(part: Tensor) -> Tensor:
                model = self.average.ema_model.eval()
                model.sampling_timesteps, model.is_ddim_sampling = steps, True
                return model.sample(batch_size=len(part)).clone()

            return lambda labels: _in_parts(sample, labels)

        return {"DDIM 50": draw(50), "DDIM 100 (the README's is 250)": draw(100)}


class Azula(PeerRecipe):
    """azula's MNIST tutorial without the labels.

    Reference: probabilists/azula, docs/tutorials/mnist.ipynb.
    """

    package = "azula"
    description = "UNet 16-32-64, 2 blocks each; Karras denoiser on the VP schedule, Adam 3e-4, batch 64, no EMA"
    batch = 64

    def __init__(self) -> None:
        from azula.denoise import KarrasDenoiser
        from azula.noise import VPSchedule

        self.network = _TutorialNetwork(self.by_class)
        self.denoiser = KarrasDenoiser(self.network, VPSchedule())
        self.optimiser = torch.optim.Adam(self.denoiser.parameters(), lr=3e-4)

    def step(self, pictures: Tensor, labels: Tensor, progress: float) -> float:
        loss = self.denoiser.loss(pictures, torch.rand(len(pictures)), label=labels)
        _descend(self.optimiser, loss, self.denoiser, clip=None)
        return loss.item()

    def samplers(self) -> Mapping[str, Draw]:
        from azula.sample import DDIMSampler, DDPMSampler

        def draw(sampler_class: Any, steps: int) -> Draw:
            sampler = sampler_class(self.denoiser.eval(), steps=steps, silent=True)
            return lambda labels: _in_parts(
                lambda part: sampler(sampler.init((len(part), 1, 8, 8)), label=part), labels
            )

        return {"DDIM 64 (the tutorial's)": draw(DDIMSampler, 64), "DDPM 100": draw(DDPMSampler, 100)}


class AzulaByClass(Azula):
    """azula's MNIST tutorial as it is, told the classes.

    Reference: probabilists/azula, docs/tutorials/mnist.ipynb.
    """

    description = f"{Azula.description}; by class"
    by_class = True


class _TutorialNetwork(nn.Module):
    """azula's U-Net with an embedding of the noise level and, perhaps, of the class."""

    def __init__(self, by_class: bool) -> None:
        super().__init__()
        from azula.nn.unet import UNet

        self.unet = UNet(1, 1, hid_channels=(16, 32, 64), hid_blocks=(2, 2, 2), mod_features=64)
        self.level = nn.Sequential(nn.Linear(1, 64), nn.SiLU(), nn.Linear(64, 64))
        self.label = nn.Embedding(10, 64) if by_class else None

    def forward(self, x: Tensor, level: Tensor, label: Tensor) -> Tensor:
        embedding = self.level(level[..., None])
        return self.unet(x, embedding if self.label is None else embedding + self.label(label))


PEERS: dict[str, type[PeerRecipe]] = {
    "diffusers": Diffusers,
    "denoising-diffusion-pytorch": DenoisingDiffusionPytorch,
    "azula": Azula,
    "azula, by class": AzulaByClass,
}


def installed(name: str) -> bool:
    """Whether the peer can be imported."""
    return CASES[PEERS[name].package].installed()


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor, module: nn.Module, clip: float | None) -> None:
    loss.backward()
    if clip is not None:
        nn.utils.clip_grad_norm_(module.parameters(), clip)
    optimiser.step()
    optimiser.zero_grad()


def _in_parts(draw: Draw, labels: Tensor) -> Tensor:
    """A sample for each label, at most 250 at once."""
    return torch.cat([draw(part) for part in labels.split(_DRAWN_AT_ONCE)])
