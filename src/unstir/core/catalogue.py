"""The catalogue: every sampler, schedule, network, format or domain is found by its name.

A *kind* is a folder (or a single module) of the package. An *entry* of it is a name that a
module there lists in its literal ``__all__``; its summary is the first line of its docstring and
its source the docstring's ``Reference:`` paragraph. Modules are read, not imported, so listing
costs milliseconds, and a new entry is a new file (or one more preset in a family's file) and no
line elsewhere. Packages outside join through entry points of the group ``unstir.<kind>``.
"""

import ast
import functools
import importlib
import inspect
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, get_args

from unstir.core.errors import InputError, suggest, unknown

KINDS = {
    "domains": "fields: how their data is read, judged, drawn and written",
    "formats": "files that can be read",
    "processes": "forward laws, from data to noise",
    "schedules": "noise schedules of the Gaussian process",
    "learned": "networks made into beliefs, one way for each kind of data",
    "grids": "spacings of a sampler's time steps",
    "parameterisations": "what a network predicts",
    "weightings": "weights of the loss by noise level",
    "noise_levels": "distributions of the noise levels met in training",
    "exact": "denoisers of laws known in closed form",
    "guidance": "what steers: denoisers around denoisers",
    "operators": "what is measured of clean data",
    "noises": "the noise of measuring",
    "methods": "ways to draw what is behind a measurement",
    "physics": "classical diffusion, solved and simulated",
    "networks": "architectures",
    "samplers": "ways from noise to data",
    "likelihood": "how probable data is: log-densities and bounds",
    "metrics": "measures of samples against data",
    "scores": "proper scores and verification of ensemble forecasts",
    "learning_rates": "learning rate over the training",
    "couplings": "which source goes with which data, where a bridge is trained",
    "trackers": "where a training's progress is shown",
    "checks": "claims that `unstir verify` measures",
    "recipes": "complete jobs for `unstir run`",
}
_HOMES = {
    "schedules": "processes/schedules",
    "grids": "processes/grids",
    "learned": "denoisers/learned",
    "parameterisations": "denoisers/parameterisations",
    "weightings": "denoisers/weightings",
    "noise_levels": "denoisers/noise_levels",
    "learning_rates": "training/learning_rates",
    "couplings": "training/couplings",
    "trackers": "training/trackers",
    "checks": "verification/checks",
    "operators": "inverse/operators",
    "noises": "inverse/noises",
    "methods": "inverse/methods",
}
_ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Entry:
    """One entry: its name, what it is in a line, where that comes from, and how to load it."""

    kind: str
    name: str
    summary: str
    source: str
    target: str  # "module:attribute", or the path of a recipe

    def load(self) -> Any:
        """The class, function or object itself (imports its module)."""
        module, _, attribute = self.target.partition(":")
        return getattr(importlib.import_module(module), attribute)


def entry_name(kind: str, identifier: str) -> str:
    """``CosineSchedule`` in ``schedules`` is called ``cosine``; ``min_snr`` is called ``min-snr``."""
    singular = {"processes": "Process", "noise_levels": "Levels", "exact": "Denoiser", "learned": "Denoiser"}.get(
        kind, kind.removesuffix("s").title()
    )
    stem = identifier.removesuffix(singular) or identifier
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", stem).replace("_", "-").lower()


@functools.cache
def entries(kind: str) -> Mapping[str, Entry]:
    """All entries of a kind by name, sorted."""
    if kind not in KINDS:
        raise unknown("kind of catalogue entry", kind, KINDS)
    home = _ROOT / _HOMES.get(kind, kind)
    if kind == "recipes":
        found = [_read_recipe(path) for path in sorted(home.glob("*.yaml"))]
    else:
        files = sorted(home.glob("*.py")) if home.is_dir() else [home.with_suffix(".py")]
        files += sorted(home.glob("*/__init__.py"))
        others = {_ROOT / other for other in _HOMES.values()} - {home}
        found = [
            entry
            for path in files
            if path != home / "__init__.py" and not others & {path.with_suffix(""), path.parent}
            for entry in _read(kind, path)
        ]
    taken = {entry.name for entry in found}
    if len(taken) < len(found):
        twice = next(entry.name for entry in found if [other.name for other in found].count(entry.name) > 1)
        raise InputError(f"two of the {kind} are called {twice!r}; give one of them another name")
    found += [_outside(kind, point, taken) for point in entry_points(group=f"unstir.{kind}")]
    return {entry.name: entry for entry in sorted(found, key=lambda entry: entry.name)}


def find(kind: str, name: str) -> Entry:
    """The entry of that name, or an error with the nearest one."""
    known = entries(kind)
    if name not in known:
        raise unknown(KIND_SINGULAR.get(kind, kind.removesuffix("s")), name, known)
    return known[name]


KIND_SINGULAR = {
    "noises": "noise of measuring",
    "processes": "process",
    "noise_levels": "noise-level distribution",
    "learning_rates": "learning rate",
    "exact": "exact denoiser",
    "guidance": "guide",
    "physics": "solver or simulator",
}


def build(kind: str, specification: str | Mapping[str, Any], **given: Any) -> Any:
    """Makes an entry from a recipe's ``name`` or ``{name: ..., option: value, ...}``.

    ``given`` holds arguments that the caller supplies and a recipe cannot; those that the entry does
    not take are left out. An option that the entry does not know is an error with the nearest one.
    """
    factory, options, parameters = _looked_up(kind, specification, given)
    for key, parameter in parameters.items():
        optional = parameter.default is not parameter.empty or parameter.kind in (
            parameter.VAR_KEYWORD,
            parameter.VAR_POSITIONAL,
        )
        if not optional and key not in options and key not in given:
            raise InputError(f"{kind}: {_options(kind, specification)['name']!r} needs the option {key!r}")
    return factory(**{key: value for key, value in given.items() if key in parameters}, **options)


def resolve(kind: str, specification: str | Mapping[str, Any], given: Collection[str] = ()) -> dict[str, Any]:
    """A specification with all of its defaults written out, as a recipe keeps it; checked as by ``build``.

    ``given`` names the arguments that ``build`` will be handed beside it.
    """
    _, options, parameters = _looked_up(kind, specification, given)
    plain = (str, int, float, bool, list, tuple, dict, type(None))
    defaults = {
        key: list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default  # as YAML has it
        for key, parameter in parameters.items()
        if isinstance(parameter.default, plain) and key not in given and key not in options
    }
    return {"name": _options(kind, specification)["name"], **options, **defaults}


def _looked_up(
    kind: str, specification: str | Mapping[str, Any], given: Collection[str]
) -> tuple[Any, dict[str, Any], Mapping[str, inspect.Parameter]]:
    """The entry, its options (all known to it) and its parameters."""
    options = _options(kind, specification)
    name = options.pop("name")
    factory = find(kind, name).load()
    parameters = inspect.signature(factory).parameters
    allowed = [key for key in parameters if key not in given]
    for option in options:
        if option not in allowed:
            raise InputError(f"{kind}: {name!r} has no option {option!r}; {suggest(option, allowed)}")
        options[option] = _converted(options[option], parameters[option].annotation, f"{kind}: {name!r}, {option}")
    return factory, options, parameters


def _converted(value: Any, annotation: Any, place: str) -> Any:
    """The value as its annotation wants it: whole numbers serve as real ones, text does not."""
    allowed = set(get_args(annotation)) or {annotation}
    if isinstance(value, int) and not isinstance(value, bool) and float in allowed and int not in allowed:
        return float(value)
    if isinstance(value, str) and allowed <= {int, float, bool, type(None)}:
        hint = " (YAML takes 1e-3 for text: write 1.0e-3)" if "e" in value.lower() else ""
        raise InputError(f"{place}: a number is needed; seen {value!r}{hint}")
    return value


def _options(kind: str, specification: Any) -> dict[str, Any]:
    """A specification as a mapping with a ``name``; a recipe may hold anything, so anything is looked at."""
    options = {"name": specification} if isinstance(specification, str) else specification
    if not isinstance(options, Mapping) or not isinstance(options.get("name"), str):
        raise InputError(
            f"{kind}: a name, or a mapping with the key 'name' and options, is needed; seen {specification!r}; "
            f"{suggest('', entries(kind))}"
        )
    return dict(options)


def _read(kind: str, path: Path) -> list[Entry]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    public: list[str] = []
    documented: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and node.value is not None:
                if target.id == "__all__":
                    public = ast.literal_eval(node.value)
                documented[target.id] = ast.get_docstring(tree) or ""
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            documented[node.name] = ast.get_docstring(node) or ""
    relative = path.relative_to(_ROOT.parent).with_suffix("")
    module = ".".join(part for part in relative.parts if part != "__init__")
    return [
        Entry(kind, entry_name(kind, identifier), *_summary(documented.get(identifier, "")), f"{module}:{identifier}")
        for identifier in public
    ]


def _summary(docstring: str) -> tuple[str, str]:
    paragraphs = [" ".join(part.split()) for part in docstring.split("\n\n")]
    sources = [part.removeprefix("Reference:").strip() for part in paragraphs if part.startswith("Reference:")]
    return paragraphs[0].replace("``", ""), " ".join(sources)


def _read_recipe(path: Path) -> Entry:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    return Entry("recipes", path.stem, first.lstrip("# "), "", str(path))


def _outside(kind: str, point: Any, taken: Collection[str]) -> Entry:
    """An entry of another package; it cannot take a name of ours, and is then called ``package/name``."""
    package = point.dist.name if point.dist else "outside"
    return Entry(
        kind,
        f"{package}/{point.name}" if point.name in taken else point.name,
        f"from the package {package}",
        "",
        point.value,
    )
