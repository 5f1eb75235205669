"""Recipes: YAML made into checked, frozen dataclasses.

A recipe names each part by ``{name: ..., option: value}``; the catalogue knows the names and their
options, so an unknown one is answered with the nearest right one. ``extends: digits`` starts from
another recipe. Nothing in a recipe is executed.
"""

import copy
import dataclasses
import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from unstir.core.catalogue import entries, find, resolve
from unstir.core.errors import InputError, unknown
from unstir.training.options import TrainingOptions

Spec = dict[str, Any]


@dataclass(frozen=True)
class SamplingOptions:
    """How samples are drawn.

    ``sampler`` and ``grid`` are specifications, ``steps`` the sampler's steps; ``count`` samples are
    drawn by `unstir run`, in batches of ``batch`` (part of what a sample is: see ``samplers.sample``).
    ``average`` is the length of the weights' average to use (null: the run's first), 0 the raw weights.
    """

    sampler: Spec = field(default_factory=lambda: {"name": "heun"})
    grid: Spec = field(default_factory=lambda: {"name": "karras"})
    steps: int = 18
    count: int = 1000
    batch: int = 100
    average: float | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "count", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"sampling.{name} must be at least 1; seen {getattr(self, name)}")


@dataclass(frozen=True)
class EvaluationOptions:
    """How samples are judged.

    ``metrics`` names them (null: the domain's own), ``options`` are the domain's own, ``calls`` are the numbers of
    network calls at which quality is measured for the report's curve, with at most ``curve_limit`` samples each;
    ``reference_limit`` bounds how many rows of the data the samples are compared with. ``held_out`` names data that
    the model does not see, like the recipe's ``data``; it is measured in the samples' place. ``replicates`` are the
    bootstrap's.
    """

    metrics: list[Any] | None = None
    options: Spec = field(default_factory=dict)
    calls: list[int] = field(default_factory=lambda: [3, 5, 9, 17, 35])
    held_out: Spec | None = None
    curve_limit: int = 1000
    reference_limit: int = 10000
    replicates: int = 200


@dataclass(frozen=True)
class Recipe:
    """A complete job; see the fields' own classes for what each section may say.

    What is left out of ``process``, ``denoiser`` and ``network`` is proposed by the field, or follows from the data.
    ``denoiser`` holds options of the process's own kind of belief, or names another one: ``{name: one-pass}``.
    """

    name: str
    data: Spec
    domain: str = "images"
    process: Spec | None = None
    denoiser: Spec = field(default_factory=dict)
    network: Spec | None = None
    conditional: bool = True
    training: TrainingOptions = field(default_factory=TrainingOptions)
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    evaluation: EvaluationOptions = field(default_factory=EvaluationOptions)
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as YAML and JSON take them."""
        return _plain(dataclasses.asdict(self))

    def to_yaml(self) -> str:
        """The text of ``recipe.yaml``."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)


def load(source: str | Path | Mapping[str, Any], overrides: Iterable[str] = ()) -> Recipe:
    """The recipe of that name, in that file or in that mapping, with ``key=value`` overrides.

    Raises InputError for an unknown recipe, key, part or option, and for values of a wrong type.
    """
    values = copy.deepcopy(merged(_DEFAULTS, _read(source)))
    for override in overrides:
        _override(values, override)
    return _checked(values)


def _read(source: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(source, Mapping):
        values = dict(source)
    else:
        path = Path(source)
        if (not path.suffix and not path.exists()) or str(source) in entries("recipes"):
            path = Path(find("recipes", str(source)).target)
        if path.is_dir():
            path = path / "recipe.yaml"
        if not path.is_file():
            raise InputError(
                f"{path}: there is no such recipe file; `unstir list recipes` shows those that are built in"
            )
        try:
            values = _yaml(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: not a YAML file: {error}") from error
        if not isinstance(values, dict):
            raise InputError(f"{path}: a recipe is a mapping of keys to values; seen {type(values).__name__}")
        values.setdefault("name", path.parent.name if path.name == "recipe.yaml" else path.stem)
    if "extends" in values:
        base = _read(values.pop("extends"))
        return merged(base, values)
    return values


def proposed_or(proposed: Spec, given: Spec | None) -> Spec:
    """A proposed part with what is given of it changed; one of another name replaces it whole."""
    return merged({"part": proposed}, {"part": given or {}})["part"]


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, but 1e-3 is a number, as everybody expects."""


_SHORT_FLOAT = re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _SHORT_FLOAT, list("-+0123456789"))
# a date stays the text that it is written as: recipes are plain values, and fields read their own times
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag != "tag:yaml.org,2002:timestamp"]
    for first, known in _Loader.yaml_implicit_resolvers.items()
}


def _yaml(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Sections are merged key by key; a part that is given another name is replaced whole."""
    found = dict(base)
    for key, value in changes.items():
        old = found.get(key)
        if isinstance(value, Mapping) and isinstance(old, dict) and value.get("name") in (None, old.get("name")):
            found[key] = merged(old, value)
        else:
            found[key] = value
    return found


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise InputError(f"an override is written key=value, e.g. training.steps=500; seen {override!r}")
    try:
        value = _yaml(text)
    except yaml.YAMLError as error:
        raise InputError(f"{override!r}: the value is not YAML: {error}") from error
    *parents, last = key.strip().split(".")
    place = values
    for parent in parents:
        if not isinstance(place.get(parent), dict):
            # a part given by its bare name, or a section that the recipe leaves to its defaults
            place[parent] = {"name": place[parent]} if isinstance(place.get(parent), str) else {}
        place = place[parent]
    if last == "name" and parents and parents[0] != "data" and place.get("name") != value:
        # the old part's options are not the new one's; data merely bears its name, and where a belief is centred
        # is said of the data, not of its kind
        kept = {"around": place["around"]} if parents == ["denoiser"] and "around" in place else {}
        place.clear()
        place.update(kept)
    place[last] = value


_SECTIONS: dict[str, type] = {"training": TrainingOptions, "sampling": SamplingOptions, "evaluation": EvaluationOptions}
PROCESS = {"name": "gaussian", "schedule": {"name": "edm"}}  # where neither recipe nor field say otherwise
NETWORK_GIVEN = ("shape", "conditions", "outputs")  # what data and denoiser tell a network, not the recipe


def denoiser_kind(given: Mapping[str, Any], own: str) -> tuple[Any, Spec]:
    """The kind ``learned`` that a section ``denoiser`` names, by default the process's ``own``; and its options.

    Raises InputError for a name that is not known, and for one that does not go with the process.
    """
    name = str(given.get("name") or own)
    kind = find("learned", name).load()
    if name != own and own not in kind.instead_of:
        others = [other for other, entry in entries("learned").items() if own in entry.load().instead_of]
        raise unknown("denoiser of this process (denoiser.name):", name, [own, *others])
    return kind, {key: value for key, value in given.items() if key != "name"}


def _checked(values: Mapping[str, Any]) -> Recipe:
    known = _keys(Recipe, values, "")
    if "data" not in known:
        raise InputError("the recipe says nothing of its data; give data: {path: ...}")
    for section, options in _SECTIONS.items():
        known[section] = _section(section, options, known.get(section) or {})
    if isinstance(known["data"], str):
        known["data"] = {"path": known["data"]}
    find("domains", known.get("domain", "images"))
    recipe = _typed(Recipe, known, "")
    _check_denoiser(recipe)
    return dataclasses.replace(recipe, **_resolved_parts(recipe))


def _check_denoiser(recipe: Recipe) -> None:
    """Refuses options of the denoiser that its process does not know, where the recipe alone says which that is."""
    process = (recipe.process or {}).get("name")
    if process is None and find("domains", recipe.domain).load().process is not None:
        return  # the data will tell
    learned, given = denoiser_kind(recipe.denoiser, find("processes", process or "gaussian").load().learned)
    allowed = [key for key in inspect.signature(learned).parameters if key not in ("network", "process")]
    if wrong := [key for key in given if key not in allowed]:
        raise unknown("key of the recipe's section 'denoiser'", wrong[0], [*allowed, "name"])
    if "sigma_data" in allowed:  # its process needs no data either, and it refuses bad values by itself
        known = {key: value for key, value in given.items() if value is not None}
        learned(None, find("processes", process or "gaussian").load()(), **known)


def _resolved_parts(recipe: Recipe) -> dict[str, Any]:
    """The specifications with their options checked and their defaults written out."""
    process = recipe.process
    if find("domains", recipe.domain).load().process is None:
        process = proposed_or(PROCESS, process)
    if process is not None and "name" in process:
        process = resolved_process(process)
    network = None if recipe.network is None else resolve("networks", recipe.network, NETWORK_GIVEN)
    sampler, grid = (
        resolve("samplers", recipe.sampling.sampler),
        resolve("grids", recipe.sampling.grid, ("schedule", "steps")),
    )
    sampling = dataclasses.replace(recipe.sampling, sampler=sampler, grid=grid)
    options = recipe.training
    assert not isinstance(options.learning_rate, int | float)  # the options themselves make a specification of it
    # the training tells a weighting the data's deviation, unless the recipe says its own
    told = () if "sigma_data" in options.weighting else ("sigma_data",)
    training = dataclasses.replace(
        options,
        learning_rate=resolve("learning_rates", options.learning_rate),
        weighting=resolve("weightings", options.weighting, told),
        noise_levels=resolve("noise_levels", options.noise_levels, ("schedule",)),
        trackers=[resolve("trackers", tracker) for tracker in options.trackers],
        coupling=resolve("couplings", options.coupling, ("sigma",)),
    )
    return {"process": process, "network": network, "sampling": sampling, "training": training}


def resolved_process(specification: Spec) -> Spec:
    """A process with the options of itself, its schedule and, for a joint one, its parts checked and written out."""
    schedule, parts = specification.get("schedule"), specification.get("parts")
    process = resolve("processes", {key: value for key, value in specification.items() if key != "parts"}, ("parts",))
    if schedule is not None:
        process["schedule"] = resolve("schedules", schedule)
    if isinstance(parts, Mapping):
        process["parts"] = {name: resolved_process(_named(part)) for name, part in parts.items()}
    return process


def _section(name: str, options: type, values: Any) -> Any:
    if not isinstance(values, Mapping):
        raise InputError(f"the recipe's section {name!r} is a mapping of keys to values; seen {values!r}")
    return _typed(options, _keys(options, values, f"{name}."), f"{name}.")


def _keys(options: type, values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    allowed = [entry.name for entry in dataclasses.fields(options)]
    for key in values:
        if key not in allowed:
            raise unknown("key of the recipe", f"{prefix}{key}", [f"{prefix}{name}" for name in allowed])
    return dict(values)


_PARTS = {
    "process",
    "denoiser",
    "network",
    "sampler",
    "grid",
    "schedule",
    "weighting",
    "noise_levels",
    "learning_rate",
    "ema",
    "coupling",
}


def _typed(options: type, values: dict[str, Any], prefix: str) -> Any:
    """The dataclass, its values checked (and numbers converted) by pydantic."""
    from pydantic import TypeAdapter, ValidationError

    values = {
        key: {"name": value} if key in _PARTS and isinstance(value, str) else value for key, value in values.items()
    }
    try:
        return TypeAdapter(options).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = prefix + ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(f"recipe, {place.rstrip('.')}: {message}; seen {first['input']!r}") from error


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


_DEFAULTS = {
    field.name: _plain(dataclasses.asdict(made) if dataclasses.is_dataclass(made) else made)
    for field in dataclasses.fields(Recipe)
    if field.default_factory is not dataclasses.MISSING
    for made in (field.default_factory(),)
}
