"""A picture in a light and a dark version, as the page shows it and as a PNG file keeps it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from genpipe.pictures import DARK, LIGHT, Theme, png


@dataclass(frozen=True)
class Picture:
    """A picture as PNG files. light, dark: the bytes; alt: what it shows, in words."""

    light: bytes
    dark: bytes
    alt: str

    @property
    def light_uri(self) -> str:
        return _uri(self.light)

    @property
    def dark_uri(self) -> str:
        return _uri(self.dark)


def _uri(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def picture(draw: Callable[[Theme], Figure], alt: str) -> Picture:
    """What `draw` draws, in both themes."""
    return Picture(png(draw(LIGHT)), png(draw(DARK)), alt)
