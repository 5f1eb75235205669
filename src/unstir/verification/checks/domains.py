"""What every field of data keeps: nothing is lost on the way to the network and back, to a picture, or to a file."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from unstir.core.catalogue import build
from unstir.core.seeds import Seeds
from unstir.core.state import map_state, tensors_of
from unstir.domains.base import Domain, EncodedData
from unstir.formats.base import read
from unstir.verification.base import Effort, Measured, NotMeasured, claim
from unstir.verification.statistics import at_most

__all__ = ["domain_batches", "domain_drawing", "domain_encoding", "domain_network", "domain_writing"]

_SHIPPED = {"images": {"format": "digits"}}  # data that comes with a dependency, by field
ROWS = np.array([3, 0, 1796, 17, 3])


@claim("domains")
def domain_encoding(domain: Domain, effort: Effort) -> Iterator[Measured]:
    """Encoded and decoded again the data are the same to the bit; by an encoding restored from its record too."""
    data = _data(domain)
    raw = np.asarray(read(**_SHIPPED[domain.name]).values)
    rows = np.arange(len(data))[:: effort.of(7, 1)]
    state, _ = data.batch(rows)
    for name, encoding in {"its own": data.encoding, "restored": domain.restore(data.encoding.record())}.items():
        decoded = encoding.decode(state)
        yield at_most(f"values that differ, {name} encoding", int(np.sum(decoded != raw[rows])), 0.0)
        yield at_most(f"types that differ, {name} encoding", int(decoded.dtype != raw.dtype), 0.0)
    size = np.max([float(part.abs().max()) for part in tensors_of(state)])
    yield at_most("largest encoded number", size, 10.0, note="networks expect about unit scale")


@claim("domains")
def domain_batches(domain: Domain, effort: Effort) -> Iterator[Measured]:
    """A batch's rows are those asked for, in any order, with their conditions; and the digest is the content's."""
    data, again = _data(domain), _data(domain)
    state, condition = data.batch(ROWS)
    alone = [data.batch(np.array([row])) for row in ROWS]
    wrong = sum(
        int((part[place] != own[0]).sum())
        for place, (single, _) in enumerate(alone)
        for part, own in zip(tensors_of(state), tensors_of(single), strict=True)
    )
    yield at_most("numbers that differ from those of single rows", wrong, 0.0)
    told = sum(
        int(not torch.equal(values[place], single[name][0]))
        for place, (_, single) in enumerate(alone)
        for name, values in condition.items()
    )
    yield at_most("conditions that differ from those of single rows", told, 0.0)
    missing = set(data.conditions) ^ set(condition)
    yield at_most("conditions announced and not given, or the reverse", len(missing), 0.0)
    yield at_most("digests that differ when read again", int(data.digest != again.digest), 0.0)
    shapes = (
        sum(tuple(part.shape[1:]) != data.shape for part in tensors_of(state)) if not isinstance(state, dict) else 0
    )
    yield at_most("samples of another shape than announced", shapes, 0.0)


@claim("domains")
def domain_drawing(domain: Domain, effort: Effort) -> Iterator[Measured]:
    """Samples are drawn as one picture, which shows a change of any of them."""
    data = _data(domain)
    state, _ = data.batch(np.arange(6))
    picture = domain.draw(data.encoding, state, columns=3)
    shape = picture.ndim != 3 or picture.shape[2] not in (3, 4) or picture.dtype != np.uint8
    yield at_most("pictures that are not uint8 (height, width, 3 or 4)", int(shape), 0.0)
    unseen = 0
    for row in range(6):
        changed = map_state(lambda part, row=row: part.index_fill(0, torch.tensor(row), 0.37), state)
        unseen += np.array_equal(domain.draw(data.encoding, changed, columns=3), picture)
    yield at_most("changes of a sample that do not show", unseen, 0.0)
    untrained = map_state(lambda part: 50 * torch.randn(part.shape, generator=torch.Generator().manual_seed(0)), state)
    drawn = domain.draw(data.encoding, untrained)
    yield at_most("pictures of an untrained model's samples that cannot be drawn", int(drawn.size == 0), 0.0)


@claim("domains")
def domain_writing(domain: Domain, effort: Effort) -> Iterator[Measured]:
    """What is written in the field's own format is read back the same, values and labels."""
    data = _data(domain)
    rows = np.arange(0, 60, 3)
    state, condition = data.batch(rows)
    wanted = data.encoding.decode(state)
    with TemporaryDirectory() as folder:
        halves = [slice(0, 12), slice(12, 20)]
        files: list[Path] = []
        for half in halves:
            part = map_state(lambda whole, half=half: whole[half], state)
            labels = condition["label"][half] if "label" in condition else None
            files += domain.write(data.encoding, part, Path(folder), labels=labels, first=half.start)
        missing = sum(not Path(file).is_file() for file in files)
        yield at_most("files announced that are not there", missing, 0.0)
        holding = sorted({file for file in files if file.suffix != ".csv"})
        seen = [read(file) for file in holding]
        values = np.concatenate([np.asarray(samples.values) for samples in seen])
        yield at_most("samples too many or too few", abs(len(values) - len(rows)), 0.0)
        yield at_most("values that differ", int(np.sum(values != wanted)), 0.0)
        if "label" in condition and all(samples.labels is not None for samples in seen):
            # a file with some of the classes only numbers them anew, and knows them by their names
            names = [samples.label_names[label] for samples in seen for label in np.asarray(samples.labels)]
            wrong = sum(name != str(label) for name, label in zip(names, condition["label"].tolist(), strict=True))
            yield at_most("labels that differ", wrong, 0.0)


@claim("domains")
def domain_network(domain: Domain, effort: Effort) -> Iterator[Measured]:
    """The network that it proposes can be built for its data, and answers in the shape of a batch."""
    data = _data(domain)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build("networks", domain.network(data), shape=data.shape, conditions=data.conditions)
    state, condition = data.batch(np.arange(3))
    with torch.no_grad():
        output = network(state, torch.zeros(3), **condition)
    pairs = list(pairwise([*tensors_of(state), *tensors_of(output)])) if isinstance(state, dict) else [(state, output)]
    yield at_most("outputs of another shape", sum(one.shape != other.shape for one, other in pairs), 0.0)
    seeds = Seeds.range(effort.seed, 3)
    _, told = data.batch(np.arange(3), seeds.at("augmented"))
    yield at_most("conditions of augmented batches that were not announced", len(set(told) - set(data.conditions)), 0.0)


def _data(domain: Domain) -> EncodedData:
    options: dict[str, Any] | None = _SHIPPED.get(domain.name)
    if options is None:
        raise NotMeasured("no data of this field ships with a dependency")
    return domain.read(options)
