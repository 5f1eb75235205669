"""What all trackers share: a line of progress as flat numbers."""

from collections.abc import Mapping
from typing import Any


def flatten(line: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a line by path: ``loss``, ``evaluation/frechet``, ``loss_by_log_snr/-3``, ..."""
    flat: dict[str, float] = {}
    for name, value in line.items():
        if name == "by_log_snr":
            flat |= {f"loss_by_log_snr/{centre:g}": mean for centre, mean, _ in value}
        elif isinstance(value, Mapping):
            flat |= {f"{name}/{inner}": number for inner, number in flatten(value).items()}
        elif isinstance(value, int | float) and not isinstance(value, bool) and name != "step":
            flat[name] = float(value)
    return flat
