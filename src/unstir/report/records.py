"""The sections that make a run repeatable: recipe, provenance, commands, and what to cite."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import unstir
from unstir.core.catalogue import KINDS, entries
from unstir.report.markup import Html, duration, element, highlighted_yaml, number, prose
from unstir.report.parts import code, facts, missing, section
from unstir.report.reading import Run
from unstir.report.words import title_of

_KIND_OF = {
    "process": "processes",
    "schedule": "schedules",
    "parameterisation": "parameterisations",
    "network": "networks",
    "weighting": "weightings",
    "noise_levels": "noise_levels",
    "learning_rate": "learning_rates",
    "sampler": "samplers",
    "grid": "grids",
    "format": "formats",
}


def recipe(run: Run) -> Html:
    """The whole recipe, folded up."""
    text = element("pre", element("code", highlighted_yaml(run.recipe_text.strip())))
    folded = element("details", element("summary", "recipe.yaml, with every default written out"), text)
    return section("recipe", "The recipe", None, folded)


def provenance(run: Run) -> Html:
    """Versions, machine, data, seeds and command, as a table."""
    title = "Where it comes from"
    if not run.provenance:
        return section(
            "provenance",
            title,
            missing(
                "The run lacks provenance.json; training keeps it:",
                code(f"unstir train {run.place}/recipe.yaml --folder {run.place}"),
            ),
        )
    pairs = list(_flat(run.provenance))
    return section("provenance", title, None, facts(pairs, "Versions, machine, data, seeds and command of this run"))


def reproduce(run: Run) -> Html:
    """The commands that make the run, and its samples, again."""
    version = run.provenance.get("unstir") or (run.provenance.get("packages") or {}).get("unstir") or unstir.__version__
    commit = run.provenance.get("commit")
    commands = [(f"unstir run {run.place}/recipe.yaml --folder {run.place}-again", "train, sample, measure, report")]
    drawn = run.drawn
    if drawn.get("count") is not None and drawn.get("seed") is not None:
        again = f"unstir sample {run.place} --count {drawn['count']} --seed {drawn['seed']}"
        commands.append((again, "the samples that are measured above"))
    commands += [
        (f"unstir evaluate {run.place}", "the measures alone"),
        (f"unstir report {run.place}", "this page alone"),
    ]
    width = max(len(command) for command, _ in commands) + 2
    lines = [
        element("div", f"{command:<{width}}", element("i", f"# {what}", class_="yaml-comment"))
        for command, what in commands
    ]
    told = (
        f"With unstir {version}{f' at commit {commit}' if commit else ''}, the packages of the table above and the "
        "same data, the same machine gives the same weights, samples and measures to the bit."
    )
    return section("reproduce", "How to make it again", told, element("div", lines, class_="commands"))


def cite(run: Run) -> Html:
    """References of the field, of every part that the recipe names, of the measures, and of unstir."""
    groups: dict[str, list[tuple[str | None, str]]] = {
        "Software": [(None, _own_reference())],
        "Field and data": [(None, reference) for reference in (run.domain.references if run.domain else ())],
        "Method": [],
        "Measures": [],
    }
    for kind, name in dict.fromkeys(_named(run.recipe)):
        entry = entries(kind).get(name)
        if entry and entry.source:
            groups["Field and data" if kind == "formats" else "Method"].append(
                (f"{_kind_word(kind)} {name}", entry.source)
            )
    for name in run.results:
        entry = entries("metrics").get(name) or entries("scores").get(name)
        if entry and entry.source:
            groups["Measures"].append((title_of(name), entry.source))
    parts = [
        (
            element("h3", group),
            element("ul", [_reference(names, source) for source, names in _by_source(items)], class_="references"),
        )
        for group, items in groups.items()
        if items
    ]
    return section(
        "cite",
        "What to cite",
        "If this run enters your work, these are the papers and programs that it stands on.",
        parts,
    )


def _by_source(items: list[tuple[str | None, str]]) -> list[tuple[str, list[str]]]:
    """Each source once, with the names of all that comes from it."""
    found: dict[str, list[str]] = {}
    for name, source in items:
        found.setdefault(source, []).extend([name] if name else [])
    return list(found.items())


def _reference(names: list[str], source: str) -> Html:
    return element("li", prose(source), (" ", element("span", ", ".join(names), class_="source")) if names else None)


def _own_reference() -> str:
    return (
        "The unstir contributors, unstir: diffusion models for scientists and artists, checked against exact answers, "
        f"version {unstir.__version__}"
    )


def _kind_word(kind: str) -> str:
    return next(key for key, value in _KIND_OF.items() if value == kind).replace("_", " ")


def _named(recipe: Any) -> Iterator[tuple[str, str]]:
    """The catalogue entries that a recipe names, as (kind, name), wherever they stand in it."""
    if not isinstance(recipe, Mapping):
        return
    for key, value in recipe.items():
        if key == "data" and isinstance(value, Mapping):
            yield from (
                ("formats", str(value[name]))
                for name in ("format", "name", "path")
                if value.get(name) in entries("formats")
            )
        name = value.get("name") if isinstance(value, Mapping) else value
        if (kind := _KIND_OF.get(str(key))) in KINDS and isinstance(name, str):
            yield kind, name
        yield from _named(value)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}, ")
        elif value is not None:
            yield name, _fact(str(key), value)


def _fact(key: str, value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return duration(float(value)) if key.endswith("seconds") else str(value) if "seed" in key else number(value, 6)
    if isinstance(value, list):
        return code(json.dumps(value, ensure_ascii=False))
    technical = key in ("command", "commit", "digest") or key.startswith("sha") or "command" in key
    return code(str(value)) if technical else str(value)
