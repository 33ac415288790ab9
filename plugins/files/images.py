"""Encoded images (PNG, JPEG, WebP, …) as arrays of one shape, by Pillow."""

from __future__ import annotations

import warnings
from typing import IO, Any

import numpy as np
from PIL import Image, ImageOps

from genpipe.data import Array
from genpipe.errors import DataError
from genpipe.plugins.files.config import ImageOptions

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""What is decoded. Others of Pillow's formats run programs or hold no photographs."""
EIGHT_BITS = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}
ORIENTATION = 0x0112
TRANSPOSED = (5, 6, 7, 8)


class DamagedImage(DataError):
    """An image that cannot be decoded, or holds what eight bits do not."""


def height_and_width(file: IO[bytes], where: str) -> tuple[int, int]:
    """The size of an image as it is meant to be seen, from its header."""
    with _opened(file, where) as image:
        turned = image.getexif().get(ORIENTATION) in TRANSPOSED
        return (image.width, image.height) if turned else (image.height, image.width)


def decoded(file: IO[bytes], where: str, options: ImageOptions) -> Array:
    """The image, (C, H, W) uint8: upright, of its first frame, without transparency; of `options.size` where it is set.

    An image is scaled, antialiased, until it covers that size, and cut to its middle. DamagedImage names `where`.
    """
    size = options.height_and_width
    with _opened(file, where) as image:
        if size is not None:
            image.draft(None, (2 * max(size), 2 * max(size)))  # JPEG unpacks a large image at a half or less
        picture = ImageOps.exif_transpose(image).convert(options.mode)
        if size is not None and (picture.height, picture.width) != size:
            picture = covering(picture, *size)
        x = np.array(picture)
    return x[None] if x.ndim == 2 else np.ascontiguousarray(x.transpose(2, 0, 1))


def covering(picture: Image.Image, height: int, width: int) -> Image.Image:
    """The middle of a picture, of the wanted proportions and as large as it can be, scaled to height × width."""
    scale = min(picture.height / height, picture.width / width)
    left, top = (picture.width - scale * width) / 2, (picture.height - scale * height) / 2
    box = (left, top, left + scale * width, top + scale * height)
    return picture.resize((width, height), Image.Resampling.BICUBIC, box, reducing_gap=3.0)


class _opened:
    """An image's header, read; what Pillow raises, then or while it decodes, becomes a DamagedImage."""

    def __init__(self, file: IO[bytes], where: str) -> None:
        self.file, self.where = file, where
        self.warnings = warnings.catch_warnings()

    def __enter__(self) -> Image.Image:
        self.warnings.__enter__()
        # Pillow warns of odd metadata, which is no matter, and of images that would fill the memory, which is.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = Image.open(self.file, formats=FORMATS)
            if image.mode not in EIGHT_BITS:
                raise DamagedImage(f"{self.where} has pixels of type {image.mode}, expected 8 bits a channel")
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return image

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self.warnings.__exit__(kind, error, trace)
        if isinstance(error, Image.UnidentifiedImageError):
            raise DamagedImage(f"{self.where} is no image in {', '.join(FORMATS)}") from error
        # Its decoders raise whatever they stumble over: OSError, SyntaxError, struct.error, IndexError, …
        if isinstance(error, Exception) and not isinstance(error, DataError):
            raise DamagedImage(f"{self.where} is damaged: {error or type(error).__name__}") from error
