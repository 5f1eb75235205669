"""Precision, memory layout, compilation and threads: what "auto" means on this machine."""

import contextlib
import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unstir.core.errors import InputError
from unstir.core.state import map_state
from unstir.training.options import TrainingOptions

_CHANNELS_LAST = {3: torch.channels_last, 4: torch.channels_last_3d}  # by the axes of one sample


class Settings:
    """The options' "auto" values, decided for a device and the number of a sample's axes."""

    def __init__(self, options: TrainingOptions, device: torch.device, axes: int) -> None:
        self.device, self.axes = device, axes
        self.bfloat16 = options.precision == "bfloat16" or (options.precision == "auto" and has_bfloat16(device))
        self.compile = _can_compile(device) if options.compile == "auto" else bool(options.compile)
        wanted = options.channels_last is True or options.channels_last == "auto"
        self.memory_format = _CHANNELS_LAST.get(self.axes) if wanted else None
        self.threads = options.threads

    def prepare(self, denoiser: nn.Module) -> None:
        """Moves the weights to the device and into the layout; compiles the parts of the denoiser if so decided."""
        denoiser.to(self.device)
        if self.memory_format is not None:
            _to_channels_last(denoiser)
        if self.compile:
            for part in denoiser.children():
                if any(True for _ in part.parameters()):
                    part.compile()

    def place(self, state: Any) -> Any:
        """A state, or named conditions, on the device; pictures and volumes with the channels last."""
        return map_state(self._place, state)

    def _place(self, tensor: Tensor) -> Tensor:
        tensor = tensor.to(self.device, non_blocking=True)
        if self.memory_format is None or tensor.ndim != self.axes + 1:
            return tensor
        return tensor.contiguous(memory_format=self.memory_format)

    def autocast(self) -> torch.autocast:
        """The context in which the network computes: bfloat16 if so decided, else nothing."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bfloat16)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Threads, determinism and torch's own generators for the length of a training; all restored after."""
        threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
        warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
        cuda = self.device.type == "cuda"
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        if cuda:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS may differ run by run
            torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            with torch.random.fork_rng(devices=[self.device] if cuda else []):
                yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)

    def seed_layers(self, seed: int) -> None:
        """Seeds what layers draw by themselves."""
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The device of that name; "auto" and "cuda" take the process's own card."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"training.device must be auto, cpu, cuda or cuda:N; seen {name!r}") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"training.device is {name!r}, but this torch sees no CUDA device; use auto or cpu")
    return torch.device("cuda", local_rank) if device.type == "cuda" and device.index is None else device


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 natively, so that it is faster than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return " avx512_bf16" in flags or " amx_bf16" in flags


def _can_compile(device: torch.device) -> bool:
    has_compiler = shutil.which(os.environ.get("CC", "cc")) is not None
    return device.type == "cuda" and has_compiler and importlib.util.find_spec("triton") is not None


def _to_channels_last(module: nn.Module) -> None:
    """Kernels of two and three dimensions alike; ``Module.to`` knows only one layout at a time."""
    for tensor in module.parameters():
        memory_format = {4: torch.channels_last, 5: torch.channels_last_3d}.get(tensor.ndim)
        if memory_format is not None:
            tensor.data = tensor.data.contiguous(memory_format=memory_format)
