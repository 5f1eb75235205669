"""The sections that show samples: the grid, the classes, the film strips, the nearest training examples."""

# ruff: noqa: RUF001 (Greek letters and true minus signs are meant)

import base64
from collections.abc import Mapping, Sequence

import numpy as np

from unstir.report.markup import Html, element, listed, number, render
from unstir.report.parts import caption, code, figure, missing, section
from unstir.report.pictures import tiles
from unstir.report.reading import Run

_LEVELS = 12  # columns of a film strip
_CLASSES = 40  # rows of the picture of the classes
_BUDGETS = {"samples": 600_000, "by_class": 450_000, "forward": 200_000, "reverse": 400_000, "neighbours": 300_000}


def figures(run: Run) -> Html:
    """What a field itself shows of its samples, and what it has to remark."""
    drawn = [
        element(
            "div",
            element("h3", shown["title"]),
            figure(_field_picture(shown), caption(shown["seen"], shown["judged"]), class_="field-figure"),
        )
        for shown in run.metrics.get("figures") or []
    ]
    remarks = [element("p", remark) for remark in run.metrics.get("remarks") or []]
    return section("samples", "What it makes", None, drawn, remarks)


def _field_picture(shown: Mapping[str, str]) -> Html:
    """As an image, in which nothing can be executed whoever made the run; or as text."""
    if shown.get("text"):
        return element("pre", shown["text"], class_="field-text")
    coded = base64.b64encode(shown["svg"].encode()).decode()
    return element("img", src=f"data:image/svg+xml;base64,{coded}", alt=shown["title"])


def samples(run: Run) -> Html:
    """The first samples as a grid, and some of each class."""
    title = "What it makes"
    if note := _not_drawn(run, "samples"):
        return section("samples", title, note)
    states = run.arrays["samples"][:64]
    drawn = run.drawn
    count = drawn.get("count")
    seen = f"The first {len(states)}{f' of {number(count)}' if count else ''} samples, none picked by hand."
    how = [f"{key} {_plain_name(drawn[key])}" for key in ("sampler", "grid") if drawn.get(key)]
    how += [
        f"{drawn[key]} {unit}" for key, unit in (("steps", "steps"), ("calls", "network calls each")) if drawn.get(key)
    ]
    how += [f"seed {drawn['seed']}"] if drawn.get("seed") is not None else []
    told = f"Drawn with {listed(how)}." if how else ""
    names = [f"sample {place}" for place in range(len(states))]
    columns = min(8, len(states))
    grid = _grid(_tiles(run, "samples", states, names), columns, "A grid of samples")
    look = (
        "Judge each for itself, then the whole for variety: the same sample twice is as bad as one that is no sample."
    )
    by_class = _by_class(run)
    # a column beside the grid has the height of some ten classes and the width of short names
    beside = by_class is not None and len(run.arrays["by_class"]) <= 12 and max(map(len, run.classes or [""])) < 3
    shown = figure(grid, caption(seen, look, told), class_=None if beside else "grid-figure")
    return section(
        "samples", title, None, element("div", shown, by_class, class_="spread") if beside else [shown, by_class]
    )


def _by_class(run: Run) -> Html | None:
    states = run.arrays.get("by_class")
    if states is None or not len(states):
        return None
    count = len(states)
    names = (run.classes if len(run.classes) == count else [str(place) for place in range(count)])[:_CLASSES]
    states = states[:_CLASSES]
    alternative = [f"class {name}, sample {place}" for name in names for place in range(states.shape[1])]
    pictures = _tiles(run, "by_class", states.reshape(-1, *states.shape[2:]), alternative)
    rows = [
        element(
            "div",
            element("span", name, class_="row-name"),
            pictures[place * states.shape[1] :][: states.shape[1]],
            class_="class-row",
        )
        for place, name in enumerate(names)
    ]
    asked = run.drawn.get("conditional", True)
    told = "Each row one class, as asked of the model." if asked else "Each row one class, as a classifier sees it."
    told = f"The first {_CLASSES} of {count} classes, a row each." if count > _CLASSES else told
    look = "Within a row the class should stay the same and everything else should change."
    return figure(
        element(
            "div",
            rows,
            class_="classes",
            style=f"--columns:{states.shape[1]}",
            role="img",
            aria_label="Samples of each class",
        ),
        caption(told, look),
    )


def strips(run: Run) -> Html:
    """Film strips of the forward process and of the reverse one with the belief beside it."""
    title = "Into noise and back"
    if note := _not_drawn(run, "forward", "reverse"):
        return section("strips", title, note)
    return section("strips", title, None, _forward(run), _reverse(run))


def _forward(run: Run) -> Html | None:
    states = run.arrays.get("forward")
    if states is None:
        return None
    kept = _evenly(len(states))
    rows = [("" if place else "data", states[kept, place]) for place in range(min(3, states.shape[1]))]
    seen = "Stirring: data on the left, more noise to the right, by the noise-to-signal ratio σ/α above."
    look = "The right-most column should keep nothing of the left-most one."
    return figure(_strip(run, "forward", rows, _levels(run, "forward_sigma", kept)), caption(seen, look))


def _reverse(run: Run) -> Html | None:
    states, beliefs = run.arrays.get("reverse"), run.arrays.get("reverse_mean")
    if states is None:
        return None
    kept = _evenly(len(states))
    rows = []
    for place in range(min(3, states.shape[1])):
        rows.append(("noisy state", states[kept, place]))
        if beliefs is not None:
            rows.append(("belief", beliefs[kept, place]))
    seen = "Unstirring: from noise on the left to a sample on the right."
    look = (
        "The belief is the model's mean of all clean data that the noisy state may come from. It should start as the "
        "average of the data, settle the outline early and the detail late; a belief that is sharp from the start does "
        "not listen to the noise. Noisy states are shown at the spread of the data, whatever their own."
    )
    strip = _strip(run, "reverse", rows, _levels(run, "reverse_sigma", kept), pairs=beliefs is not None)
    return figure(strip, caption(seen, look))


def neighbours(run: Run) -> Html:
    """Samples beside their nearest training examples."""
    title = "Is it new? The nearest training examples"
    if note := _not_drawn(run, "neighbour_samples", "neighbour_training"):
        return section("neighbours", title, note)
    own, training = run.arrays["neighbour_samples"][:8], run.arrays["neighbour_training"][:8, :5]
    distances = run.arrays.get("neighbour_distance")
    count = training.shape[1]
    states = np.concatenate([own[:, None], training], axis=1).reshape(-1, *own.shape[1:])
    alternative = [
        name
        for place in range(len(own))
        for name in (f"sample {place}", *(f"neighbour {rank + 1} of sample {place}" for rank in range(count)))
    ]
    pictures = _tiles(run, "neighbours", states, alternative)
    rows = []
    for place in range(len(own)):
        first, *others = pictures[place * (count + 1) :][: count + 1]
        labels = [
            "sample",
            *([number(float(value)) for value in distances[place, :count]] if distances is not None else [""] * count),
        ]
        cells = [
            element("span", picture, element("small", label), class_="sampled" if first is picture else None)
            for picture, label in zip([first, *others], labels, strict=True)
        ]
        rows.append(element("div", cells, class_="neighbour-row"))
    shown = element(
        "div",
        rows,
        class_="neighbours",
        style=f"--columns:{count + 1}; --least:{14 if count < 4 else 24}rem",
        role="img",
        aria_label="Samples beside their nearest training examples, with distances",
    )
    look = (
        "A sample that equals its first neighbour is a copy; the distances below (root mean square, of the encoded "
        "values) to the first and second neighbour should be of a size."
    )
    return section(
        "neighbours",
        title,
        None,
        figure(shown, caption("Each sample, framed, and the training examples nearest to it, nearest first.", look)),
    )


def _not_drawn(run: Run, *arrays: str) -> Html | None:
    """Why there are no pictures, and what to do; None where there are."""
    evaluate = code(f"unstir evaluate {run.place}")
    if not any(name in run.arrays for name in arrays) or (
        arrays[0].startswith("neighbour") and not all(name in run.arrays for name in arrays)
    ):
        return missing("These pictures come with the evaluation, which has not been done (or holds none):", evaluate)
    if run.domain is None:
        return missing(
            f"The field {run.recipe.get('domain')!r} draws these samples; install the package that brings it, then",
            code(f"unstir report {run.place}"),
        )
    if run.encoding is None:
        return missing("The run lacks encoding.json, without which its samples cannot be drawn:", evaluate)
    return None


def _tiles(run: Run, budget: str, states: np.ndarray, names: list[str]) -> list[Html]:
    assert run.domain is not None and run.encoding is not None
    return tiles(run.domain, run.encoding, states, names, _BUDGETS[budget])


def _grid(pictures: Sequence[Html], columns: int, label: str) -> Html:
    return element("div", pictures, class_="grid", style=f"--columns:{columns}", role="img", aria_label=label)


def _strip(run: Run, budget: str, rows: list[tuple[str, np.ndarray]], levels: list[str], pairs: bool = False) -> Html:
    columns = len(rows[0][1])
    names = [f"{name} at noise level {level}" for name, _ in rows for level in levels]
    pictures = _tiles(run, budget, np.concatenate([states for _, states in rows]), names)
    cells: list[Html] = [element("span", "σ/α", class_="row-name")]
    cells += [element("span", level, class_="level") for level in levels]
    for place, (name, _) in enumerate(rows):
        apart = " apart" if pairs and place and place % 2 == 0 else ""
        cells.append(element("span", name, class_=f"row-name{apart}"))
        cells += [element("span", picture, class_=f"frame{apart}") for picture in pictures[place * columns :][:columns]]
    strip = element(
        "div",
        render(cells),
        class_="strip",
        style=f"--columns:{columns}",
        role="img",
        aria_label="Film strip by noise level",
    )
    return element("div", strip, class_="scroll")


def _levels(run: Run, name: str, kept: np.ndarray) -> list[str]:
    values = run.arrays.get(name)
    if values is None:
        return [str(place + 1) for place in range(len(kept))]
    told = (number(float(value), 2) for value in values[kept])
    return [text.rstrip("0").rstrip(".") if "." in text else text for text in told]


def _evenly(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, _LEVELS)).round().astype(int))


def _plain_name(specification: object) -> str:
    return str(specification["name"]) if isinstance(specification, dict) else str(specification)
