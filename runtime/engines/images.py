"""Images as Core ML takes and gives them: PIL images outside, arrays (1, channels, height, width) inside."""

from __future__ import annotations

from typing import Any

import numpy as np


def image_to_array(image: Any, colour: str) -> np.ndarray:
    """A PIL image as float32 (1, 3 or 1, height, width), 0 to 255: the program itself scales and shifts."""
    array = np.asarray(image, dtype=np.float32)
    array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return np.ascontiguousarray(array[None, ::-1] if colour == "BGR" else array[None])


def array_to_image(array: np.ndarray, colour: str) -> Any:
    """The PIL image of an array (1, 3 or 1, height, width); 8-bit layouts saturate."""
    from PIL import Image

    planes = array[0, ::-1] if colour == "BGR" else array[0]
    if colour == "GRAYSCALE_FLOAT16":
        return Image.fromarray(planes[0].astype(np.float32), mode="F")
    levels = np.clip(np.round(planes), 0, 255).astype(np.uint8)
    return Image.fromarray(levels[0] if colour == "GRAYSCALE" else np.ascontiguousarray(levels.transpose(1, 2, 0)))
