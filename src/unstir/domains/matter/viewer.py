"""Structures to look at: a picture in perspective as SVG, and a page that turns by the mouse; both need no network."""

import html
import json
from collections.abc import Sequence
from importlib.resources import files
from string import Template

import numpy as np

from unstir.domains.matter.scene import Piece, ball, checked, colour, legend, oriented, pieces, sticks_of

_LEVELS = 6  # shades of an element by depth


def drawn(
    positions: np.ndarray,
    numbers: np.ndarray,
    bonds: np.ndarray | Sequence | None = None,
    cell: np.ndarray | None = None,
    size: int | tuple[int, int] = 220,
    view: tuple[float, float] = (0.0, 0.0),
    scale: float | None = None,
    caption: str = "",
) -> str:
    """A structure as a whole SVG document: shaded balls and sticks, sorted by depth, paler with the distance.

    ``positions`` (n, 3) in angstrom, ``numbers`` (n,), ``bonds`` as ``scene.sticks_of`` takes them, ``cell`` (3, 3)
    with lattice vectors as rows. ``size`` in pixels, a side or (width, height); ``view`` turns the scene about the
    upward axis and the one to the right, in radians; ``scale`` in pixels an angstrom, else so that all of it is seen.
    ``caption`` is written below. Raises InputError for atoms that are not there or not finite.
    """
    wide, tall = (size, size) if isinstance(size, int) else size
    room = tall - (16 if caption else 0)
    painted = pieces(positions, numbers, bonds, cell, view)
    low, high = bounds(painted)
    span = np.maximum(high - low, 1.0)
    per = scale or min((wide - 8) / span[0], (room - 8) / span[1])
    middle = (low + high) / 2 if scale is None else np.zeros(2)
    shades: dict[str, str] = {}
    body = [_element(piece, per, middle, (wide, room), shades) for piece in painted]
    told = ""
    if caption:
        told = (
            f'<text x="{wide / 2:.0f}" y="{tall - 4}" text-anchor="middle" font-family="sans-serif" font-size="11" '
            f'fill="#211e1b">{html.escape(caption)}</text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {tall}" width="{wide}" height="{tall}">'
        f"<defs>{''.join(shades.values())}</defs>{''.join(body)}{told}</svg>"
    )


def sheet(pictures: Sequence[str], columns: int, size: tuple[int, int], titles: Sequence[str] = ()) -> str:
    """SVG documents of one size beside each other, row by row, as one; ``titles`` stand above the rows."""
    rows = -(-len(pictures) // columns)
    above = 18 if titles else 0
    step = size[1] + above
    parts = []
    for row, title in enumerate(titles):
        parts.append(
            f'<text x="4" y="{row * step + 13}" font-family="sans-serif" font-size="12" fill="#716a62">'
            f"{html.escape(title)}</text>"
        )
    for place, picture in enumerate(pictures):
        x, y = place % columns * size[0], place // columns * step + above
        inner = picture[picture.index("<svg") + 4 :]
        parts.append(f'<svg x="{x}" y="{y}"{inner}')
    wide, tall = columns * size[0], rows * step
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {tall}" width="{wide}" height="{tall}">'
        f'<rect width="{wide}" height="{tall}" fill="white"/>{"".join(parts)}</svg>'
    )


def view(
    positions: np.ndarray,
    numbers: np.ndarray,
    bonds: np.ndarray | Sequence | None = None,
    cell: np.ndarray | None = None,
    title: str = "",
) -> str:
    """A structure as a whole HTML page: drag turns it, the wheel or two fingers zoom; it opens offline, from a disk.

    The arguments are those of ``drawn``; ``title`` is plain text. Nothing is fetched, nothing but the page's own
    script runs.
    """
    places, known = checked(positions, numbers, cell)
    sticks = sticks_of(places, known, bonds)
    placed, frame = oriented(places, cell)
    told = {
        "atoms": [
            [*(round(value, 4) for value in point), round(ball(number), 3), *_bytes(colour(number))]
            for point, number in zip(placed.tolist(), known.tolist(), strict=True)
        ],
        "symbols": [symbol for symbol, _ in (legend(np.array([number]))[0] for number in known.tolist())],
        "sticks": sticks.tolist(),
        "cell": None if frame is None else np.round(frame, 4).tolist(),
        "legend": [[symbol, *_bytes(rgb)] for symbol, rgb in legend(known)],
    }
    data = json.dumps(told, separators=(",", ":")).replace("<", "\\u003c")  # so that no text ends the script
    page = (files("unstir.domains.matter") / "viewer.html").read_text(encoding="utf-8")
    return Template(page).substitute(title=html.escape(title or "structure"), data=data)


def bounds(painted: Sequence[Piece]) -> tuple[np.ndarray, np.ndarray]:
    """The lower left and the upper right corner of what is painted, in angstrom."""
    corners = np.array(
        [
            [end[axis] + side * piece.width for axis in (0, 1)]
            for piece in painted
            for end in (piece.start, piece.end)
            for side in (-1, 1)
        ]
    )
    return corners.min(0), corners.max(0)


def _element(piece: Piece, per: float, middle: np.ndarray, room: tuple[int, int], shades: dict[str, str]) -> str:
    (x, y), (u, v) = (
        (room[0] / 2 + (end[0] - middle[0]) * per, room[1] / 2 - (end[1] - middle[1]) * per)
        for end in (piece.start, piece.end)
    )
    tint = piece.colour
    if piece.kind == "ball":
        name = _shade(tint, shades)
        rim = _hex(tuple(0.72 * part for part in tint))
        return (
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{piece.width * per:.1f}" fill="url(#{name})" stroke="{rim}" '
            'stroke-width=".6"/>'
        )
    wide = max(2 * piece.width * per, 0.8)
    if piece.kind == "edge":
        return f'<path d="M{x:.1f} {y:.1f}L{u:.1f} {v:.1f}" stroke="{_hex(tint)}" stroke-width="{wide:.1f}"/>'
    inner = _hex(tuple(0.88 * part + 0.08 for part in tint))
    outer = _hex(tuple(0.62 * part for part in tint))
    path = f'd="M{x:.1f} {y:.1f}L{u:.1f} {v:.1f}" fill="none"'
    rim, core = f"{wide:.1f}", f"{max(wide - 1.2, 0.6):.1f}"
    return f'<path {path} stroke="{outer}" stroke-width="{rim}"/><path {path} stroke="{inner}" stroke-width="{core}"/>'


def _shade(tint: tuple[float, float, float], shades: dict[str, str]) -> str:
    """The name of a ball's shading, which is made once for every colour and level of depth."""
    coarse = tuple(round(part * 8 * _LEVELS) / (8 * _LEVELS) for part in tint)
    name = f"b{_hex(coarse)[1:]}"
    if name not in shades:
        light = _hex(tuple(part + 0.6 * (1 - part) for part in coarse))
        dark = _hex(tuple(0.78 * part for part in coarse))
        shades[name] = (
            f'<radialGradient id="{name}" cx=".36" cy=".32" r=".75"><stop offset="0" stop-color="{light}"/>'
            f'<stop offset=".5" stop-color="{_hex(coarse)}"/><stop offset="1" stop-color="{dark}"/></radialGradient>'
        )
    return name


def _bytes(rgb: tuple[float, ...]) -> list[int]:
    return [round(255 * min(max(part, 0.0), 1.0)) for part in rgb]


def _hex(rgb: tuple[float, ...]) -> str:
    return "#" + "".join(f"{part:02x}" for part in _bytes(rgb))
