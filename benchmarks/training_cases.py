"""What is timed: unstir and three peers, each its own network with its own training objective.

A case builds a bare network and gives an objective, a function from clean images in [-1, 1] to the
scalar loss as the library itself computes it. ``as_network`` shows a peer's network in unstir's form,
for the comparison of quality under one and the same loss.
"""

import importlib.util
import sys
import types
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

Objective = Callable[[Tensor], Tensor]


class Case(ABC):
    """One library's network and objective."""

    package: str
    description: str

    @abstractmethod
    def build(self, channels: int, size: int) -> nn.Module:
        """The network, for images (channels, size, size)."""

    @abstractmethod
    def objective(self, network: nn.Module, channels: int, size: int) -> Objective:
        """The library's own training loss."""

    def as_network(self, network: nn.Module) -> nn.Module:
        """The same network, called as ``network(x, noise, drop)`` with unstir's noise level."""
        return network

    @classmethod
    def installed(cls) -> bool:
        """Whether the library can be imported."""
        return importlib.util.find_spec(cls.package.replace("-", "_")) is not None


class Ours(Case):
    """unstir: U-Net on 2x2 patches, EDM preconditioning and weighting, addressed draws."""

    package = "unstir"
    options: ClassVar[dict[str, Any]] = {"name": "unet", "widths": [96, 160, 192], "blocks": [1, 1, 2], "patch": 2}
    description = "UNet, 2x2 patches, widths 96-160-192, 1-1-2 blocks; EDM loss, draws addressed by sample"

    def build(self, channels: int, size: int) -> nn.Module:
        from unstir.core.catalogue import build

        return build("networks", self.options, shape=(channels, size, size))

    def objective(self, network: nn.Module, channels: int, size: int) -> Objective:
        return edm_objective(network, sigma_data=0.5)


class Diffusers(Case):
    """diffusers: UNet2DModel and the noise prediction of its unconditional training example."""

    package = "diffusers"
    description = "UNet2DModel, widths 32-64-128, attention at the coarsest level; noise prediction, 1000 steps"

    def build(self, channels: int, size: int) -> nn.Module:
        from diffusers import UNet2DModel

        return UNet2DModel(
            sample_size=size,
            in_channels=channels,
            out_channels=channels,
            block_out_channels=(32, 64, 128),
            layers_per_block=2,
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        )

    def objective(self, network: nn.Module, channels: int, size: int) -> Objective:
        from diffusers import DDPMScheduler

        scheduler = DDPMScheduler(num_train_timesteps=1000)

        def loss(images: Tensor) -> Tensor:
            noise = torch.randn(images.shape)
            steps = torch.randint(0, 1000, (len(images),))
            predicted = network(scheduler.add_noise(images, noise, steps), steps).sample
            return nn.functional.mse_loss(predicted.float(), noise)

        return loss

    def as_network(self, network: nn.Module) -> nn.Module:
        # its embedding is made for steps 0 to 1000
        return _Adapted(network, lambda x, noise: network(x, 125 * (noise + 4)).sample)


class Azula(Case):
    """azula: U-Net, time embedding of its MNIST tutorial, Karras denoiser on the VP schedule."""

    package = "azula"
    description = "UNet, widths 32-64-128, 3 blocks each; Karras denoiser on the VP schedule"

    def build(self, channels: int, size: int) -> nn.Module:
        return _Modulated(channels)

    def objective(self, network: nn.Module, channels: int, size: int) -> Objective:
        from azula.denoise import KarrasDenoiser
        from azula.noise import VPSchedule

        denoiser = KarrasDenoiser(network, VPSchedule())
        return lambda images: denoiser.loss(images, torch.rand(len(images)))

    def as_network(self, network: nn.Module) -> nn.Module:
        # its denoiser gives ln(sigma / alpha), four times ours
        return _Adapted(network, lambda x, noise: network(x, 4 * noise))


class DenoisingDiffusion(Case):
    """denoising-diffusion-pytorch: Unet and GaussianDiffusion with their defaults."""

    package = "denoising-diffusion-pytorch"
    description = "Unet(dim=36, dim_mults=(1, 2, 4)), linear attention at each level; v prediction, sigmoid schedule"

    def build(self, channels: int, size: int) -> nn.Module:
        return self._module().Unet(dim=36, dim_mults=(1, 2, 4), channels=channels)

    def objective(self, network: nn.Module, channels: int, size: int) -> Objective:
        return self._module().GaussianDiffusion(network, image_size=size, auto_normalize=False)

    def as_network(self, network: nn.Module) -> nn.Module:
        return _Adapted(network, lambda x, noise: network(x, 125 * (noise + 4)))

    @staticmethod
    def _module() -> types.ModuleType:
        # its module imports torchvision for folders of pictures, which are not read here
        if importlib.util.find_spec("torchvision") is None:
            for name in ("torchvision", "torchvision.transforms", "torchvision.utils"):
                stand_in = types.ModuleType(name)
                stand_in.__spec__ = importlib.util.spec_from_loader(name, loader=None)
                sys.modules[name] = stand_in
            sys.modules["torchvision"].transforms = sys.modules["torchvision.transforms"]
            sys.modules["torchvision"].utils = sys.modules["torchvision.utils"]
        import denoising_diffusion_pytorch.denoising_diffusion_pytorch as module

        return module


CASES: dict[str, type[Case]] = {
    "unstir": Ours,
    "azula": Azula,
    "diffusers": Diffusers,
    "denoising-diffusion-pytorch": DenoisingDiffusion,
}


def edm_objective(network: nn.Module, sigma_data: float) -> Objective:
    """unstir's training loss: stratified log-normal levels, EDM preconditioning and weighting."""
    from unstir.core.seeds import Seeds
    from unstir.denoisers.learned.network import NetworkDenoiser
    from unstir.denoisers.noise_levels import LogNormalLevels, stratified
    from unstir.processes.gaussian import GaussianProcess
    from unstir.processes.schedules.edm import EDMSchedule

    schedule = EDMSchedule()
    process, levels = GaussianProcess(schedule), LogNormalLevels()
    denoiser = NetworkDenoiser(network, process, sigma_data=sigma_data)
    calls = 0

    def loss(images: Tensor) -> Tensor:
        nonlocal calls
        batch = len(images)
        seeds = Seeds.range(0, batch, start=calls * batch)
        calls += 1
        t = schedule.time(levels(stratified(seeds[:1].at("levels"), batch, torch.arange(batch))).log_snr)
        noisy = process.noise(images, t, seeds.at("noise"))
        return (edm_weight(schedule.sigma(t), sigma_data) * denoiser(noisy, t).loss(images)).mean()

    return loss


def edm_weight(sigma: Tensor, sigma_data: float) -> Tensor:
    """(sigma^2 + sigma_data^2) / (sigma sigma_data)^2, which gives the network's target unit variance."""
    return (sigma.square() + sigma_data**2) / (sigma * sigma_data).square()


class _Adapted(nn.Module):
    """A peer's network behind unstir's call."""

    def __init__(self, network: nn.Module, call: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.call = network, call

    def forward(self, x: Tensor, noise: Tensor, drop: Tensor | None = None) -> Tensor:
        return self.call(x, noise)


class _Modulated(nn.Module):
    """azula's U-Net with the embedding of the noise level from its MNIST tutorial."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        from azula.nn.unet import UNet

        self.unet = UNet(channels, channels, hid_channels=(32, 64, 128), hid_blocks=(3, 3, 3), mod_features=128)
        self.embedding = nn.Sequential(nn.Linear(1, 128), nn.SiLU(), nn.Linear(128, 128))

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        return self.unet(x, self.embedding(level[..., None]))
