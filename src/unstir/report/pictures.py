"""Samples as the field draws them, embedded into the page."""

import base64
import inspect
import io
from typing import Any

import numpy as np
import torch

from unstir.domains.base import Domain, Encoding
from unstir.report.markup import Html, element

_LONGEST = 320  # pixels: a tile is never shown larger than half of that


def tiles(domain: Domain, encoding: Encoding, states: np.ndarray, names: list[str], budget: int) -> list[Html]:
    """Each sample of ``states`` (n, \\*shape) as an image of its own, ``names`` their alternative texts.

    PNG, unless the images together would take more than ``budget`` bytes: then reduced, and as JPEG.
    """
    # a field that puts space around its samples leaves it out here: the page has its own, of any colour
    options: dict[str, Any] = {"padding": 0} if "padding" in inspect.signature(domain.draw).parameters else {}
    drawn = [
        domain.draw(encoding, torch.from_numpy(np.ascontiguousarray(state[None], dtype=np.float32)), 1, **options)
        for state in states
    ]
    encoded = _encode(drawn, budget)
    return [
        element("img", src=uri, alt=name, width=picture.shape[1], height=picture.shape[0])
        for uri, name, picture in zip(encoded, names, drawn, strict=True)
    ]


def _encode(pictures: list[np.ndarray], budget: int) -> list[str]:
    uris = [_uri(picture, "PNG") for picture in pictures]
    for longest, quality in ((_LONGEST, 85), (160, 80), (96, 70), (64, 50)):
        if sum(map(len, uris)) <= budget:
            break
        uris = [_uri(picture, "JPEG", longest, quality) for picture in pictures]
    return uris


def _uri(picture: np.ndarray, kind: str, longest: int | None = None, quality: int = 85) -> str:
    from PIL import Image

    image = Image.fromarray(picture)
    if longest is not None:
        image.thumbnail((longest, longest))
    buffer = io.BytesIO()
    if kind == "PNG":
        image.save(buffer, kind, optimize=True)
    else:
        image.convert("RGB").save(buffer, kind, quality=quality, optimize=True)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
