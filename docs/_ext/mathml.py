"""Formulas as MathML, which browsers draw by themselves: no script, no fonts, no network.

The conversion from LaTeX is docutils' own; what it does not know is a warning, and so an error in the tests.
"""

import html
import re
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

_log = logging.getLogger(__name__)
_FUNCTION = r"\\(log|exp|cos|sin|tan|min|max)(?![a-zA-Z])"


def _plain(tex: str) -> str:
    r"""LaTeX as docutils reads it: braces for ``\frac12``, ``\Big(`` as a delimiter, thin spaces about ``\log``."""
    tex = re.sub(r"(\\[td]?frac)\s*([^\W_])", r"\1{\2}", tex)
    tex = re.sub(r"(\\[td]?frac\{[^{}]*\})\s*([^\W_])", r"\1{\2}", tex)
    tex = re.sub(rf"(?<=[\w)}}])\s*{_FUNCTION}", r"\\,\\\1", tex)
    tex = re.sub(rf"{_FUNCTION}(?=\s*(?:[\w{{]|\\(?!,|[bB]ig|left|right)[a-zA-Z]))", r"\\\1\\,", tex)
    return re.sub(r"\\([bB]igg?)(?![a-zA-Z])", r"\\\1l", tex)


def _mathml(node: nodes.Node, tex: str, *, block: bool) -> str:
    try:
        return tex2mathml(_plain(tex), as_block=block)
    except (MathError, AttributeError) as error:  # the second of a row's end outside of rows
        _log.warning("a formula cannot be drawn (%s): %s", error, tex, location=node)
        return f"<code>{html.escape(tex)}</code>"


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(_mathml(node, node.astext(), block=False))
    raise nodes.SkipNode


def _display(translator: Any, node: nodes.math_block) -> None:
    tex = node.astext().strip()
    lines = "&" in tex or "\\\\" in tex
    if lines and not tex.startswith(r"\begin"):
        tex = rf"\begin{{aligned}}{tex}\end{{aligned}}"
    translator.body.append(f'<div class="formula">{_mathml(node, tex, block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the renderer ``mathml``."""
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
