"""AdamW on named weights, with a state that can be kept by name."""

from collections.abc import Mapping

import torch
from torch import Tensor

from unstir.core.catalogue import build
from unstir.training.options import TrainingOptions
from unstir.training.parallel import spread, whole


class Optimizer:
    """AdamW with the options' learning rate, and clipping by the global norm of the gradient.

    Weight decay acts on weights of two and more dimensions; biases and scales of normalisation are left alone.

    Reference: Loshchilov and Hutter, Decoupled weight decay regularization (2019).
    """

    def __init__(self, weights: Mapping[str, Tensor], options: TrainingOptions) -> None:
        self.weights = {name: weight for name, weight in weights.items() if weight.requires_grad}
        self.options = options
        self.rate = build("learning_rates", options.learning_rate)  # type: ignore[arg-type]
        self.learning_rate = 0.0
        groups = [
            {"params": [w for w in self.weights.values() if w.ndim >= 2], "weight_decay": options.weight_decay},
            {"params": [w for w in self.weights.values() if w.ndim < 2], "weight_decay": 0.0},
        ]
        self.adam = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=1.0,  # set before every step
            betas=options.betas,  # type: ignore[arg-type]
            eps=options.eps,
            # one pass over memory; measured at more than twice the speed of the default on CPU
            fused=all(weight.device.type in ("cpu", "cuda") for weight in self.weights.values()),
        )

    def gradient_norm(self) -> Tensor:
        """The global norm of the gradient, before clipping."""
        gradients = [weight.grad for weight in self.weights.values() if weight.grad is not None]
        return whole(torch.nn.utils.get_total_norm(gradients))

    def step(self, step: int, norm: Tensor) -> None:
        """The update that comes after ``step`` steps."""
        self.set_learning_rate(step)
        if self.options.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(list(self.weights.values()), self.options.clip, norm)
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)

    def set_learning_rate(self, step: int) -> None:
        """Puts the learning rate in place that the update after ``step`` steps is to use."""
        self.learning_rate = self.rate(step / self.options.steps, step)
        for group in self.adam.param_groups:
            group["lr"] = self.learning_rate

    def state(self) -> dict[str, Tensor]:
        """Moments and step counts, named ``weight:moment``; whole tensors."""
        return {
            f"{name}:{key}": whole(value)
            for name, weight in self.weights.items()
            for key, value in self.adam.state.get(weight, {}).items()
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Takes up a state."""
        for named, value in state.items():
            name, _, key = named.rpartition(":")
            weight = self.weights[name]
            if value.ndim:
                self.adam.state[weight][key] = torch.empty_like(weight).copy_(spread(value, weight))
            else:
                self.adam.state[weight][key] = value.to(weight.device)
