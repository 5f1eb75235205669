"""Text made into HTML: escaping by construction, numbers as they are set in print, a little TeX and YAML."""

# ruff: noqa: RUF001 (Greek letters and true minus signs are meant)

import html
import math
import re
from collections.abc import Iterable
from typing import Any


class Html(str):
    """Markup that is safe to put into the page as it is; every other string is escaped."""

    __slots__ = ()


_VOID = {"img", "meta", "link", "br", "hr"}


def render(content: Any) -> Html:
    """Markup as it is, text escaped, None as nothing, and lists one after the other."""
    if content is None:
        return Html("")
    if isinstance(content, Html):
        return content
    if isinstance(content, Iterable) and not isinstance(content, str):
        return Html("".join(render(part) for part in content))
    return Html(html.escape(str(content)))


def element(tag: str, *content: Any, **attributes: Any) -> Html:
    """An element; ``class_`` is the attribute ``class``, ``aria_label`` is ``aria-label``; None leaves one out."""
    named = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items() if value is not None}
    written = "".join(f' {name}="{html.escape(str(value))}"' for name, value in named.items())
    return Html(f"<{tag}{written}>" if tag in _VOID else f"<{tag}{written}>{render(content)}</{tag}>")


def number(value: Any, digits: int = 3) -> str:
    """A number to so many significant digits, with a true minus sign and thin spaces between thousands."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "–" if value is None or not isinstance(value, str) else value
    if value == 0:
        return "0"
    if isinstance(value, int) or abs(value) >= 10**digits:
        text = f"{value:,.0f}".replace(",", "\u202f")
    elif abs(value) < 1e-4:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        text = f"{mantissa} × 10{superscript(int(exponent))}"
    else:
        text = f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"
    return text.replace("-", "−")


def superscript(value: int) -> str:
    """An integer in superscript characters."""
    return str(value).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def duration(seconds: int | float) -> str:
    """A time span in the two largest units that matter."""
    if seconds < 120:
        return f"{number(float(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def listed(words: Iterable[str]) -> str:
    """Words joined as in a sentence: ``a, b and c``."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


_TEX = {r"\cdot": "·", r"\times": "×", r"\alpha": "α", r"\sigma": "σ", r"\rho": "ρ", r"\epsilon": "ε", r"\beta": "β"}


def prose(text: str) -> Html:
    """A docstring's line: ``:math:`` roles in italics with their commonest TeX undone, double backticks as code."""
    pieces = []
    for piece in re.split(r"(:math:`[^`]*`|``[^`]*``)", text):
        if piece.startswith(":math:"):
            formula = piece.removeprefix(":math:").strip("`")
            for command, character in _TEX.items():
                formula = re.sub(re.escape(command) + r"(?![a-z])", character, formula)
            formula = render(formula.replace("\\,", " ").replace("\\", ""))
            formula = re.sub(r"([_^])(?:\{([^}]*)\}|(\w))", _raised, formula)
            pieces.append(element("i", Html(formula)))
        else:
            pieces.append(element("code", piece.strip("`")) if piece.startswith("``") else render(piece))
    return render(pieces)


def _raised(match: re.Match[str]) -> str:
    tag = "sub" if match[1] == "_" else "sup"
    return f"<{tag}>{match[2] or match[3]}</{tag}>"


_YAML = re.compile(
    r"(?P<comment>(?:^|(?<=\s))#.*$)|(?P<key>[\w.+-]+(?=\s*:(?:\s|$)))|(?P<text>\"[^\"]*\"|'[^']*')"
    r"|(?P<number>(?<![\w.+-])[-+]?\.?\d[\d.]*(?:e[-+]?\d+)?(?![\w.+-]))"
    r"|(?P<word>\b(?:true|false|null)\b)",
    re.IGNORECASE | re.MULTILINE,
)


def highlighted_yaml(text: str) -> Html:
    """YAML with keys, numbers, quoted text, constants and comments marked up for the style sheet."""
    pieces, end = [], 0
    for match in _YAML.finditer(text):
        pieces += [render(text[end : match.start()]), element("span", match[0], class_=f"yaml-{match.lastgroup}")]
        end = match.end()
    return render([*pieces, render(text[end:])])
