"""Several processes: replicated (DDP) or sharded (FSDP2), started by ``torchrun``.

A process learns its place from the environment that ``torchrun`` sets. Alone, all of this costs nothing.
Checkpoints hold whole tensors, so a run may go on with another number of processes.
"""

import contextlib
import os
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from unstir.core.errors import InputError
from unstir.training.settings import choose_device


class Group:
    """The processes of a training, and this one's ``rank`` among ``size``; on ``device``."""

    def __init__(self, device: str = "auto", parallel: str = "ddp") -> None:
        self.rank, self.size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        self.device = choose_device(device, int(os.environ.get("LOCAL_RANK", "0")))
        self.sharded = parallel == "fsdp" and self.size > 1
        self._started = self.size > 1 and not dist.is_initialized()
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        if self._started:
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes and shows."""
        return self.rank == 0

    def wrap(self, denoiser: nn.Module) -> Callable[..., Any]:
        """What to call in place of the denoiser so that gradients are averaged; sharding changes it in place."""
        if self.size == 1:
            return denoiser
        if self.sharded:
            self._shard(denoiser)
            return denoiser
        devices = [self.device] if self.device.type == "cuda" else None
        # a condition that the data never gives leaves weights unused, which DDP must look for
        return nn.parallel.DistributedDataParallel(denoiser, device_ids=devices, find_unused_parameters=True)

    def _shard(self, denoiser: nn.Module) -> None:
        from torch.distributed.fsdp import fully_shard

        mesh = dist.init_device_mesh(self.device.type, (self.size,))
        if own := [name for name, _ in denoiser.named_parameters(recurse=False)]:
            raise InputError(
                f"fsdp shards the parts of a denoiser, but {own[0]!r} is its own weight; use parallel: ddp"
            )
        # the parts and not the whole: sharding follows tensors, and a denoiser returns a posterior
        for part in denoiser.children():
            for inner in part.modules():
                if isinstance(inner, nn.ModuleList):
                    for block in inner:
                        if type(block).forward is not nn.Module.forward and any(True for _ in block.parameters()):
                            fully_shard(block, mesh=mesh)
            if any(True for _ in part.parameters()):
                fully_shard(part, mesh=mesh)

    def without_sync(self, module: Any) -> contextlib.AbstractContextManager[None]:
        """While gradients only accumulate, replicas need not talk."""
        if isinstance(module, nn.parallel.DistributedDataParallel):
            return module.no_sync()
        return contextlib.nullcontext()

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, on each."""
        if self.size > 1:
            moved = values.to(self.device)
            dist.all_reduce(moved)
            return moved.to(values.device)
        return values

    def wait(self) -> None:
        """Until all processes have come here."""
        if self.size > 1:
            self.sum(torch.zeros(1))

    def close(self) -> None:
        """Leaves the process group, if this object began it."""
        if self._started and dist.is_initialized():
            dist.destroy_process_group()


# Sharded tensors are known by what they offer: importing their class takes a second, for the few runs that shard.


def whole(tensor: Tensor) -> Tensor:
    """A tensor in full; of a sharded one all processes must ask together."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that lies here (all of it unless sharded), sharing its memory."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def spread(full: Tensor, like: Tensor) -> Tensor:
    """A full tensor, laid out over the processes and devices as ``like`` is."""
    full = full.to(like.device)
    if not hasattr(like, "device_mesh"):
        return full
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    return distribute_tensor(full, like.device_mesh, like.placements)
