"""The page: its head, its sections in their order, and its one file."""

from pathlib import Path

from unstir.core.files import write_whole
from unstir.report import course, measures, records, showing
from unstir.report.markup import Html, duration, element, number
from unstir.report.parts import key_numbers, whole_page
from unstir.report.reading import Run, read_run
from unstir.report.verdict import key_figures, verdict

SECTIONS = (
    showing.samples,
    measures.measures,
    showing.strips,
    measures.calls,
    course.loss,
    showing.neighbours,
    course.circumstances,
    records.recipe,
    records.provenance,
    records.reproduce,
    records.cite,
)
FIELD_SECTIONS = (
    showing.figures,
    measures.measures,
    course.loss,
    course.circumstances,
    records.recipe,
    records.provenance,
    records.reproduce,
    records.cite,
)
"""Those of a field that draws its own figures."""
_CONTENTS = {
    "samples": "Samples",
    "measures": "Measures",
    "strips": "Noise and back",
    "calls": "Cost",
    "training": "Training",
    "neighbours": "Neighbours",
    "recipe": "Recipe",
    "reproduce": "Again",
    "cite": "Cite",
}


def write_page(folder: Path) -> Path:
    """Reads the run and writes ``report.html`` into its folder, whole or not at all."""
    page = compose(read_run(folder))
    return write_whole(folder / "report.html", page.encode())


def compose(run: Run) -> str:
    """The whole page as text."""
    body = [make(run) for make in (FIELD_SECTIONS if run.metrics.get("figures") is not None else SECTIONS)]
    return whole_page(f"{run.name}: a run of unstir", _head(run), body, _foot(run))


def _head(run: Run) -> Html:
    numbers = key_figures(run.results, run.classes)
    absent = ("strips", "calls", "neighbours") if run.metrics.get("figures") is not None else ()
    contents = [
        element("a", word, href=f"#{identifier}") for identifier, word in _CONTENTS.items() if identifier not in absent
    ]
    return element(
        "header",
        element("p", element("span", "unstir", class_="brand"), " report of a run", class_="kicker"),
        element("h1", run.name),
        element("p", verdict(run.results, run.classes), class_="verdict"),
        element("p", _byline(run), class_="byline"),
        key_numbers(numbers) if numbers else None,
        element("nav", contents, aria_label="Contents"),
    )


def _byline(run: Run) -> str:
    data = run.provenance.get("data")
    told = []
    if isinstance(data, dict) and data.get("name"):
        rows = data.get("rows")
        told.append(f"data {data['name']}" + (f", {number(rows)} rows" if isinstance(rows, int) else ""))
    network = run.recipe.get("network")
    if isinstance(network, dict) and network.get("name"):
        told.append(f"network {network['name']}")
    if run.progress and isinstance(run.progress[-1].get("step"), int):
        seconds = run.progress[-1].get("seconds")
        told.append(
            f"{number(run.progress[-1]['step'])} training steps" + (f" in {duration(seconds)}" if seconds else "")
        )
    if "seed" in run.recipe:
        told.append(f"seed {run.recipe['seed']}")
    if started := run.provenance.get("started"):
        told.append(str(started)[:10])
    return " · ".join(told)


def _foot(run: Run) -> Html:
    version = run.provenance.get("unstir")
    made = f"Made by unstir{f' {version}' if isinstance(version, str) else ''} from the files in {run.place}."
    return element("footer", element("p", made, " This page is one file: it needs no network and no script."))
