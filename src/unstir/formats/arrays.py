"""Which of several named arrays holds the samples, and which the labels; for npz, HDF5 and Zarr."""

from collections.abc import Mapping

from unstir.core.errors import InputError, unknown

_VALUES = ("values", "samples", "images", "data", "x", "x_train", "X", "arr_0")
_LABELS = ("labels", "label", "y", "y_train", "targets", "target", "classes", "class", "arr_1")


def choose(
    shapes: Mapping[str, tuple[int, ...]], values: str | None, labels: str | None, source: str
) -> tuple[str, str | None]:
    """The names of the arrays of samples and of labels (or None).

    shapes: of all arrays in the file. values, labels: the names that the user gave.
    Else labels are a one-dimensional array of a usual name and of one entry a sample; samples are the only other
    array, or the one of a usual name.
    """
    if not shapes:
        raise InputError(f"{source}: holds no arrays")
    listed = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
    for what, name in (("values", values), ("labels", labels)):
        if name is not None and name not in shapes:
            raise unknown(f"array for data.{what}", name, shapes)
    if values is None:
        others = [
            name for name, shape in shapes.items() if name != labels and (labels or len(shape) > 1 or len(shapes) == 1)
        ]
        usual = [name for name in others if name.rsplit("/", 1)[-1] in _VALUES]
        chosen = others if len(others) == 1 else usual
        if len(chosen) != 1:
            raise InputError(f"{source}: which array holds the samples? Say `data.values=...`: {listed}")
        values = chosen[0]
    if labels is None:
        count = shapes[values][:1]
        fitting = [
            name
            for name, shape in shapes.items()
            if name != values and name.rsplit("/", 1)[-1] in _LABELS and tuple(shape) == tuple(count)
        ]
        if len(fitting) > 1:
            raise InputError(f"{source}: which array holds the labels? Say `data.labels=...`: {', '.join(fitting)}")
        labels = fitting[0] if fitting else None
    return values, labels
