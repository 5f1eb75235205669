"""The recurring parts of the page: sections, figures, captions, notes and tables."""

from collections.abc import Iterable, Sequence
from importlib.resources import files
from string import Template
from typing import Any

from unstir.report.markup import Html, element, render


def whole_page(title: str, head: Html, body: Any, foot: Html) -> str:
    """A page that needs nothing beside it: the style sheet is in it."""
    here = files("unstir.report")
    return Template((here / "template.html").read_text(encoding="utf-8")).substitute(
        title=render(title),
        style=(here / "style.css").read_text(encoding="utf-8"),
        head=head,
        body=render(body),
        foot=foot,
    )


def key_numbers(told: Iterable[tuple[str, str, str]]) -> Html:
    """The few large numbers at the head of a page: name, value, and what to compare it with."""
    numbers = [
        element("div", element("dt", name), element("dd", element("b", value), element("small", beside)))
        for name, value, beside in told
    ]
    return element("dl", numbers, class_="numbers")


def section(identifier: str, title: str, lede: Any, *content: Any) -> Html:
    """A section with its heading; the lede is a sentence in the text column, or a note of its own."""
    opening = element("p", lede) if lede is not None and not isinstance(lede, Html) else lede
    return element("section", element("h2", title), opening, *content, id=identifier)


def figure(*content: Any, class_: str | None = None) -> Html:
    """Something to see, with its caption."""
    return element("figure", *content, class_=class_)


def caption(seen: str, judged: str, *further: Any) -> Html:
    """What one sees, in the first sentence, and how to judge it."""
    return element("figcaption", element("strong", seen), " ", judged, *((" ", text) for text in further))


def code(text: str) -> Html:
    """A command or another text for machines."""
    return element("code", text)


def missing(*text: Any) -> Html:
    """One line about what the run does not hold, and the command that makes it."""
    return element("p", *((part, " ") for part in text), class_="missing")


def charts(drawn: Sequence[Html], columns: int) -> Html:
    """Charts side by side, as many as the page is wide enough for."""
    return element("div", drawn, class_=f"charts charts-{columns}")


def facts(pairs: Iterable[tuple[str, Any]], title: str) -> Html:
    """A table of names and values."""
    rows = [element("tr", element("th", name, scope="row"), element("td", value)) for name, value in pairs]
    return element("table", element("caption", title), element("tbody", rows), class_="facts")
