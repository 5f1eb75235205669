"""Physical units at the door: quantities in, quantities out; plain numbers cost nothing.

Every function of this room computes in any one consistent system of units. Whoever hands it pint
quantities gets quantities back: each argument is checked for its dimension and converted, and a
plain number where a dimension is due is refused instead of guessed at. pint itself is never
imported here; a quantity brings it along.
"""

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from unstir.core.errors import InputError

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_BASES = {"length": "meter", "time": "second", "value": "field"}


def dimensions(returns: str | tuple[str, ...] | None = None, **arguments: str) -> Callable[[Decorated], Decorated]:
    """Declares the dimensions of a function's, a method's or a dataclass's arguments and of its result.

    Dimensions are products of powers of ``length``, ``time`` and ``value`` (the unit of the field itself:
    kelvin, mol/m^3, ...), such as ``"length**2/time"``; ``"1"`` is a pure number. The unit of ``value`` is
    that of the first argument that is one. A tuple of ``returns`` tells each member of a tuple result.

    On a class it wraps the construction, and an object that was built from quantities demands and returns
    quantities in its decorated methods.

    Raises InputError for an argument of the wrong dimension, or a plain number among quantities.
    """

    def decorate(target: Decorated) -> Decorated:
        if inspect.isclass(target):
            return _decorate_class(target, arguments)
        signature = inspect.signature(target)

        @functools.wraps(target)
        def call(*args: Any, **kwargs: Any) -> Any:
            owner = getattr(args[0], "_registry", None) if args else None
            if owner is None and not any(map(is_quantity, (*args, *kwargs.values()))):
                return target(*args, **kwargs)
            bound = signature.bind(*args, **kwargs)
            field = getattr(args[0], "_field_unit", None) if owner is not None else None
            registry, field = _strip(bound.arguments, arguments, target.__qualname__, owner, field)
            result = target(*bound.args, **bound.kwargs)
            return result if returns is None else _dress(result, returns, registry, field)

        return call  # type: ignore[return-value]  # the wrapper has the signature of what it wraps

    return decorate


def is_quantity(value: Any) -> bool:
    """Whether a value is a pint quantity."""
    return hasattr(value, "dimensionality") and hasattr(value, "to_base_units")


def _decorate_class(target: Any, arguments: Mapping[str, str]) -> Any:
    initialise = target.__init__
    signature = inspect.signature(initialise)

    @functools.wraps(initialise)
    def construct(self: Any, *args: Any, **kwargs: Any) -> None:
        if any(map(is_quantity, (*args, *kwargs.values()))):
            bound = signature.bind(self, *args, **kwargs)
            registry, field = _strip(bound.arguments, arguments, target.__name__, None, None)
            initialise(*bound.args, **bound.kwargs)
            object.__setattr__(self, "_registry", registry)  # dataclasses of this room are frozen
            object.__setattr__(self, "_field_unit", field)
        else:
            initialise(self, *args, **kwargs)

    target.__init__ = construct
    return target


def _strip(given: dict[str, Any], declared: Mapping[str, str], name: str, registry: Any, field: Any) -> tuple[Any, Any]:
    """Replaces the quantities among the arguments by numbers in base units; returns the registry and field unit."""
    for key, value in given.items():
        if is_quantity(value):
            registry = value._REGISTRY
            if field is None and declared.get(key) == "value":
                field = value.to_base_units().units
    for key, value in given.items():
        dimension = declared.get(key)
        if dimension is None or value is None or isinstance(value, str) or callable(value):
            if is_quantity(value):
                raise InputError(f"{name}: {key} takes no unit; seen {value}")
            continue
        unit = _unit(dimension, registry, field)
        if not is_quantity(value):
            if unit.dimensionless or (isinstance(value, int | float) and value == 0):  # zero is zero in any unit
                continue
            raise InputError(f"{name}: {key} is a {dimension} and needs a unit, as the other arguments have one")
        if not value.is_compatible_with(unit):
            raise InputError(f"{name}: {key} is a {dimension}; seen a quantity in {value.units:~P}")
        given[key] = value.to(unit).magnitude
    return registry, field


def _unit(dimension: str, registry: Any, field: Any) -> Any:
    text = re.sub(r"[a-z]+", lambda word: f"({_BASES[word[0]]})", dimension)
    return registry.parse_units(text.replace("(field)", f"({field:D})" if field is not None else "1"))


def _dress(result: Any, returns: str | tuple[str, ...], registry: Any, field: Any) -> Any:
    if isinstance(returns, tuple):
        return tuple(_dress(part, dimension, registry, field) for part, dimension in zip(result, returns, strict=True))
    array = result.detach().cpu().numpy() if hasattr(result, "detach") else result
    return registry.Quantity(array, _unit(returns, registry, field))
