"""Lorenz's models as data: long runs in xarray, whose time is the model's own."""

from dataclasses import asdict, fields
from typing import Any

import numpy as np

from unstir.core.errors import InputError, NotInstalledError
from unstir.core.seeds import Seeds
from unstir.physics.lorenz import Flow, Lorenz63, Lorenz96, TwoScaleLorenz96

_SPIN_UP = 20.0  # model time after which the start is forgotten, and the attractor reached


def lorenz_63_dataset(
    count: int = 20000,
    step: float = 0.25,
    integration_step: float = 0.01,
    sigma: float = 10.0,
    rho: float = 28.0,
    beta: float = 8.0 / 3.0,
    noise: float = 0.0,
    seed: int = 0,
) -> Any:
    """Lorenz-63 every ``step`` of model time: a Dataset of ``x``, ``y``, ``z`` (time,), ``count`` states of one path.

    Integrated by fourth-order Runge–Kutta with steps of ``integration_step``; ``noise`` is the deviation of a white
    forcing of each variable. ``ds.attrs`` keeps the parameters.
    """
    model = Lorenz63(sigma, rho, beta, noise)
    path, times = _run(model, count, step, integration_step, seed)
    values = {name: (("time",), path[:, place]) for place, name in enumerate("xyz")}
    titles = {"x": "convection", "y": "temperature across", "z": "temperature profile"}
    return _dataset(values, times, {}, titles, model, step, integration_step, seed)


def lorenz_96_dataset(
    count: int = 20000,
    step: float = 0.05,
    integration_step: float | None = None,
    scales: int = 1,
    variables: int | None = None,
    forcing: float | None = None,
    fast: int = 32,
    coupling: float = 1.0,
    speed: float = 10.0,
    amplitude: float = 10.0,
    noise: float = 0.0,
    seed: int = 0,
) -> Any:
    """Lorenz-96 every ``step`` of model time (0.05 is about six hours): a Dataset of ``X`` (time, x) around a ring.

    With ``scales=1``: 40 variables, forcing 8 and steps of 0.01 unless told otherwise. With ``scales=2`` the slow
    variables of the two-scale truth: 8 of them, forcing 20, steps of 0.005, and ``fast``, ``coupling``, ``speed`` and
    ``amplitude`` as in ``TwoScaleLorenz96``; the fast ones are hidden. ``noise``: a white forcing's deviation.
    """
    model: Flow
    if scales == 1:
        model = Lorenz96(40 if variables is None else variables, 8.0 if forcing is None else forcing, 1.0, noise)
        seen = model.variables
    elif scales == 2:
        model = TwoScaleLorenz96(
            8 if variables is None else variables,
            fast,
            20.0 if forcing is None else forcing,
            coupling,
            speed,
            amplitude,
            1.0,
            noise,
        )
        seen = model.variables
    else:
        raise InputError(f"lorenz-96: scales is 1 (the ring alone) or 2 (with a fast ring within); seen {scales!r}")
    fine = (0.01 if scales == 1 else 0.005) if integration_step is None else integration_step
    path, times = _run(model, count, step, fine, seed)
    ring = {"x": np.arange(seen, dtype=np.float64)}
    return _dataset(
        {"X": (("time", "x"), path[:, :seen])}, times, ring, {"X": "atmospheric quantity"}, model, step, fine, seed
    )


def flow_of(attributes: Any) -> tuple[Flow, float]:
    """The model and its integration step that a dataset of this module was made with, from its ``attrs``.

    Raises InputError where they name no model.
    """
    models: dict[str, Any] = {each.__name__: each for each in (Lorenz63, Lorenz96, TwoScaleLorenz96)}
    name = attributes.get("model")
    if name not in models:
        raise InputError(f"the dataset names no model of known dynamics (attribute 'model'); seen {name!r}")
    told = {each.name: attributes[each.name] for each in fields(models[name]) if each.name in attributes}
    counts = ("variables", "fast")
    plain = {key: int(value) if key in counts else float(value) for key, value in told.items()}
    return models[name](**plain), float(attributes["integration_step"])


def _run(model: Flow, count: int, step: float, fine: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(count, bool) or not isinstance(count, int) or count < 2:
        raise InputError(f"count, of states, is a whole number and at least 2; seen {count!r}")
    if not step > 0:
        raise InputError(f"step, of model time between two states, is positive; seen {step!r}")
    seeds = Seeds.range(seed, 1).at("lorenz")
    begun = model.simulate(model.start(seeds), [0.0, _SPIN_UP], seeds.at("spin-up"), fine)[:, -1]
    times = np.arange(count) * step
    return model.simulate(begun, times, seeds, fine)[0].numpy(), times


def _dataset(
    values: dict[str, Any],
    times: np.ndarray,
    coordinates: dict[str, np.ndarray],
    titles: dict[str, str],
    model: Flow,
    step: float,
    fine: float,
    seed: int,
) -> Any:
    try:
        import xarray
    except ImportError as error:
        raise NotInstalledError("xarray", "climate", "a dataset of Lorenz's models") from error
    made = xarray.Dataset(
        {name: (*told, {"units": "1", "long_name": titles[name]}) for name, told in values.items()},
        coords={
            "time": ("time", times, {"units": "1", "long_name": "model time"}),
            **{
                name: (name, places, {"units": "1", "long_name": "place on the ring", "periodic": 1})
                for name, places in coordinates.items()
            },
        },
    )
    told = asdict(model)  # type: ignore[call-overload]
    made.attrs = {"model": type(model).__name__, **told, "step": step, "integration_step": fine, "seed": seed}
    return made
