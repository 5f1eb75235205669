"""Features in which samples of any kind are compared: a small classifier trained on the same data, or a random network.

Both are made from the data and a seed alone, on one thread, so that they are the same on every run;
``digest`` is published beside each figure that rests on them.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from unstir.core.errors import InputError
from unstir.core.files import write_whole
from unstir.core.seeds import Seeds
from unstir.metrics.base import SampleSet

FEATURES = 32
_CONVOLUTIONS: dict[int, Callable[..., nn.Module]] = {2: nn.Conv1d, 3: nn.Conv2d, 4: nn.Conv3d}
_BATCH = 64
_CHUNK = 1000


class FeatureNetwork(nn.Module):
    """A small network with 32 standardised penultimate features, and class probabilities if it has a head.

    For samples of shape (channels, *size) convolutions that halve the size down to four places, then one hidden
    layer; for flat vectors (features,) two hidden layers. ``description`` says in a line what it is;
    ``accuracy`` is on rows it was not trained on, None without labels. ``bounds``: values are clamped into
    them first, as pixels are when a picture is written.
    """

    def __init__(self, shape: Sequence[int], classes: int = 0, bounds: tuple[float, float] | None = None) -> None:
        super().__init__()
        self.shape, self.classes, self.bounds = tuple(shape), classes, bounds
        self.trunk = _convolutional(self.shape) if len(self.shape) in _CONVOLUTIONS else _flat(math.prod(self.shape))
        self.head = nn.Linear(FEATURES, classes) if classes else None
        per_channel = (1, *(self.shape[:1]), *(1 for _ in self.shape[1:]))
        self.register_buffer("value_mean", torch.zeros(per_channel))
        self.register_buffer("value_deviation", torch.ones(per_channel))
        self.register_buffer("feature_mean", torch.zeros(FEATURES))
        self.register_buffer("feature_deviation", torch.ones(FEATURES))
        self.description = ""
        self.accuracy: float | None = None

    def penultimate(self, values: Tensor) -> Tensor:
        """The last hidden layer, not yet standardised, (n, 32)."""
        if self.bounds is not None:
            values = values.clamp(*self.bounds)
        return self.trunk((values - self.value_mean) / self.value_deviation)

    def forward(self, values: Tensor) -> Tensor:
        """Logits, (n, classes)."""
        assert self.head is not None
        return self.head(functional.gelu(self.penultimate(values)))

    @property
    def digest(self) -> str:
        """SHA-256 of all weights, hexadecimal."""
        found = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            found.update(f"{name}{tuple(tensor.shape)}".encode() + tensor.cpu().numpy().astype("<f4").tobytes())
        return found.hexdigest()

    @torch.no_grad()
    def describe(self, values: Tensor, labels: Tensor | None = None) -> SampleSet:
        """The values (clamped into the bounds) with their features and class probabilities."""
        if tuple(values.shape[1:]) != self.shape:
            raise InputError(f"these features are for samples of shape {self.shape}, seen {tuple(values.shape[1:])}")
        values = values.detach().cpu().float()
        if self.bounds is not None:
            values = values.clamp(*self.bounds)
        hidden = torch.cat([self.penultimate(part) for part in values.split(_CHUNK)])
        features = (hidden - self.feature_mean) / self.feature_deviation
        probabilities = None if self.head is None else self.head(functional.gelu(hidden)).softmax(1)
        source = f"{self.description} (SHA-256 of the weights {self.digest})"
        return SampleSet(values, features, labels, probabilities, source)


def train_classifier(
    values: Tensor,
    labels: Tensor,
    seed: int,
    *,
    bounds: tuple[float, float] | None = None,
    steps: int = 900,
    shift: bool = True,
) -> FeatureNetwork:
    """A classifier of the data, trained on four fifths of it; ``accuracy`` is on the other fifth.

    AdamW with a cosine rate over ``steps`` batches of 64; shifts by a place (pictures, grids, signals; unless
    ``shift`` is False) and slight noise as augmentation. The features are standardised over all of the
    values. Raises InputError for fewer than 10 rows, one class, or labels that do not fit.
    """
    labels = _check_labels(values, labels)
    network = _prepare(values, bounds, int(labels.max()) + 1, seed)
    values = values.detach().cpu().float()
    generator = Seeds.range(seed, 0).at("classifier").generator()
    order = generator.permutation(len(values))
    held_out, kept = np.split(order, [len(order) // 5])
    spatial = shift and len(network.shape) > 1
    with _one_thread(), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        network.train()
        for rows in _batches(kept, steps, generator):
            batch = values[rows]
            if spatial:
                batch = _shifted(batch, generator)
            batch = batch + 0.05 * network.value_deviation * torch.randn_like(batch)
            loss = functional.cross_entropy(network(batch), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        _standardise(network, values)
        found = network.describe(values[held_out]).probabilities
    assert found is not None
    network.accuracy = (found.argmax(1) == labels[held_out]).double().mean().item()
    network.description = (
        f"32 penultimate features of a classifier trained on {len(kept)} rows of this data (seed {seed}), "
        f"{network.accuracy:.1%} right on the {len(held_out)} others"
    )
    return network


def random_features(values: Tensor, seed: int, *, bounds: tuple[float, float] | None = None) -> FeatureNetwork:
    """The same network untrained, for data without labels: 32 random nonlinear features, standardised.

    Random features tell laws apart without any bias towards one task, though less sharply than trained
    ones; unlike principal components they are not blind beyond the second moments.

    Reference: Naeem et al., Reliable fidelity and diversity metrics for generative models (2020).
    """
    network = _prepare(values, bounds, 0, seed)
    with _one_thread():
        _standardise(network, values.detach().cpu().float())
    network.description = f"32 features of a random, untrained network (seed {seed}): the data has no labels"
    return network


def save_features(network: FeatureNetwork, path: Path | str) -> None:
    """Writes the network as one safetensors file, its settings in the file's metadata; atomic."""
    settings = {
        "shape": network.shape,
        "classes": network.classes,
        "bounds": network.bounds,
        "accuracy": network.accuracy,
        "description": network.description,
    }
    write_whole(Path(path), save(network.state_dict(), {"feature_network": json.dumps(settings)}))


def load_features(path: Path | str) -> FeatureNetwork:
    """The network that :func:`save_features` wrote. Raises InputError for any other file."""
    try:
        with safe_open(path, "pt") as file:
            settings = json.loads((file.metadata() or {})["feature_network"])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError, KeyError) as error:
        raise InputError(f"{path} is no feature network as save_features writes it ({error}); make it anew") from error
    bounds = None if settings["bounds"] is None else tuple(settings["bounds"])
    with torch.random.fork_rng(devices=[]):
        network = FeatureNetwork(settings["shape"], settings["classes"], bounds)
    network.load_state_dict(weights)
    network.accuracy, network.description = settings["accuracy"], settings["description"]
    return network.eval().requires_grad_(False)


def _prepare(values: Tensor, bounds: tuple[float, float] | None, classes: int, seed: int) -> FeatureNetwork:
    if len(values) < 10:
        raise InputError(f"features need at least 10 rows of data to be made from, seen {len(values)}")
    if not torch.isfinite(values).all():
        raise InputError("the data holds NaN or infinity; clean it before features are made from it")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = FeatureNetwork(values.shape[1:], classes, bounds)
        if not classes:
            _spread(network)
    axes = [axis for axis in range(values.ndim) if axis != 1]
    mean, deviation = values.double().mean(axes, keepdim=True), values.double().std(axes, keepdim=True)
    network.value_mean.copy_(mean)
    network.value_deviation.copy_(torch.where(deviation > 1e-6, deviation, 1.0))
    return network.eval()


def _spread(network: nn.Module) -> None:
    """Weights that keep the signal's size from layer to layer; torch's own shrink it to a near constant."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            layer.get_parameter("bias").data.zero_()


def _check_labels(values: Tensor, labels: Tensor) -> Tensor:
    labels = labels.detach().cpu()
    if labels.shape != (len(values),) or labels.is_floating_point():
        raise InputError(
            f"labels must be {len(values)} integers, one a row; seen {labels.dtype} of shape {tuple(labels.shape)}"
        )
    labels = labels.long()
    if labels.min() < 0 or len(labels.unique()) < 2:
        raise InputError(
            f"a classifier needs labels from 0 of at least two classes, seen {labels.unique().tolist()[:5]}; "
            "without them use random_features"
        )
    return labels


def _standardise(network: FeatureNetwork, values: Tensor) -> None:
    network.eval()
    with torch.no_grad():
        hidden = torch.cat([network.penultimate(part) for part in values.split(_CHUNK)]).double()
        network.feature_mean.copy_(hidden.mean(0))
        network.feature_deviation.copy_(hidden.std(0).clamp(min=1e-6))
    network.requires_grad_(False)


def _batches(rows: np.ndarray, steps: int, generator: np.random.Generator) -> Iterator[Tensor]:
    size = min(_BATCH, len(rows))
    order, place = generator.permutation(rows), 0
    for _ in range(steps):
        if place + size > len(order):
            order, place = generator.permutation(rows), 0
        yield torch.from_numpy(order[place : place + size])
        place += size


def _shifted(batch: Tensor, generator: np.random.Generator) -> Tensor:
    """The batch moved by at most one place along each axis; the edge fills what comes in."""
    axes = batch.ndim - 2
    padded = functional.pad(batch, (1, 1) * axes, mode="replicate")
    begin = generator.integers(0, 3, axes)
    return padded[(..., *(slice(first, first + size) for first, size in zip(begin, batch.shape[2:], strict=True)))]


def _convolutional(shape: tuple[int, ...]) -> nn.Sequential:
    convolution = _CONVOLUTIONS[len(shape)]
    layers: list[nn.Module] = [convolution(shape[0], 32, 3, padding=1), nn.GELU()]
    size, width = shape[1:], 32
    while max(size) > 4:
        stride = tuple(2 if places > 4 else 1 for places in size)
        layers += [convolution(width, 64, 3, stride, 1), nn.GELU()]
        size, width = tuple(-(-places // step) for places, step in zip(size, stride, strict=True)), 64
    layers += [convolution(width, 64, 3, padding=1), nn.GELU(), nn.Flatten()]
    layers += [nn.Linear(64 * math.prod(size), 128), nn.GELU(), nn.Dropout(0.2), nn.Linear(128, FEATURES)]
    return nn.Sequential(*layers)


def _flat(width: int) -> nn.Sequential:
    first = [nn.Flatten(), nn.Linear(width, 128), nn.GELU()]
    return nn.Sequential(*first, nn.Linear(128, 128), nn.GELU(), nn.Dropout(0.2), nn.Linear(128, FEATURES))


class _one_thread:  # noqa: N801 - reads as the context manager that it is
    """One thread inside: sums are then taken in one order, whatever the machine's number of cores."""

    def __enter__(self) -> None:
        self.before = torch.get_num_threads()
        torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self.before)
