"""The schedules that tests go through: every entry of the catalogue, in each scale that it offers."""

from dataclasses import fields

from unstir.core.catalogue import build, entries
from unstir.processes.schedules.base import SCALES
from unstir.processes.schedules.discrete import DiscreteSchedule

NEEDED = {"discrete": {"betas": DiscreteSchedule.linear(50, 2e-3, 0.35).betas}}
FURTHER = {
    "cosine": [{"shift": -1.5}],
    "rectified-flow": [{"shift": 3.0}],
    "linear-vp": [{"beta_min": 2.0, "beta_max": 2.0}],
    "sigmoid": [{"start": 0.0, "end": 3.0, "temperature": 0.7}, {"temperature": 0.1}],
    "laplace": [{"mean": 1.0, "spread": 1.5}],
    "edm": [{"sigma_max": 5.0, "rho": 3.0}],
    "exponential-ve": [{"sigma_min": 0.1, "sigma_max": 3.0}],
}


def _label(name, options):
    shown = {key: value for key, value in options.items() if key != "betas"}
    return "-".join([name, *(f"{key}={value}" for key, value in shown.items())])


def _all():
    for name in entries("schedules"):
        needed = NEEDED.get(name, {})
        plain = build("schedules", {"name": name, **needed})
        offered = SCALES if "scale" in {field.name for field in fields(plain)} else (None,)
        for scale in offered:
            options = {**needed, **({"scale": scale} if scale else {})}
            yield _label(name, options), build("schedules", {"name": name, **options})
        for further in FURTHER.get(name, []):
            yield _label(name, further), build("schedules", {"name": name, **further})


SCHEDULES = dict(_all())
PLAIN = {name: build("schedules", {"name": name, **NEEDED.get(name, {})}) for name in entries("schedules")}
