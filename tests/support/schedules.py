"""The schedules that tests go through: the examples of every entry of the catalogue."""

from unstir.core.catalogue import build, entries, find
from unstir.processes.schedules.discrete import DiscreteSchedule

NEEDED = {"discrete": {"betas": DiscreteSchedule.linear(50, 2e-3, 0.35).betas}}
SCHEDULES = {
    f"{name}-{label}": made
    for name in entries("schedules")
    for label, made in find("schedules", name).load().examples().items()
}
PLAIN = {name: build("schedules", {"name": name, **NEEDED.get(name, {})}) for name in entries("schedules")}
