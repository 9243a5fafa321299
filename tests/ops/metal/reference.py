"""What a kernel should give, by PyTorch in float64, and how near is near enough."""

from __future__ import annotations

import numpy as np

from ops.metal.layout import UpsampleShape

# channels in, out, kernel, stride, padding of each stage at the published widths
STAGES = {
    "V1": [(512, 256, 16, 8, 4), (256, 128, 16, 8, 4), (128, 64, 4, 2, 1), (64, 32, 4, 2, 1)],
    "V2": [(128, 64, 16, 8, 4), (64, 32, 16, 8, 4), (32, 16, 4, 2, 1), (16, 8, 4, 2, 1)],
    "V3": [(256, 128, 16, 8, 4), (128, 64, 16, 8, 4), (64, 32, 8, 4, 2)],
}


def example(shape: UpsampleShape, dtype: str, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    fan_in = shape.channels_in * shape.taps
    arrays = {
        "x": rng.standard_normal((shape.channels_in, shape.frames)),
        "weight": rng.standard_normal((shape.channels_in, shape.channels_out, shape.kernel_size)) / np.sqrt(fan_in),
        "bias": rng.standard_normal(shape.channels_out),
    }
    if shape.has_condition:
        arrays["condition"] = rng.standard_normal(shape.channels_in)
    kinds = {"bias": "float32"}
    return {name: array.astype(kinds.get(name, dtype)) for name, array in arrays.items()}


def expected(shape: UpsampleShape, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """In float64, from the very values that the kernel gets."""
    import torch  # which a process that only guards buffers need not wait for
    import torch.nn.functional as F

    tensors = {name: torch.from_numpy(array.astype(np.float64)) for name, array in arrays.items()}
    x = tensors["x"]
    if shape.has_condition:
        x = x + tensors["condition"][:, None]
    result = F.conv_transpose1d(
        F.leaky_relu(x, np.float32(shape.slope))[None],
        tensors["weight"],
        tensors["bias"],
        shape.stride,
        shape.padding,
        shape.output_padding,
    )
    return result[0].numpy()


def worst_ulps(shape: UpsampleShape, output: np.ndarray, wanted: np.ndarray) -> float:
    """The largest distance from the rounded result, in units of its last place.

    Where a sum cancels, the rounding of its terms in float shows: as much of the largest result is not counted.
    """
    rounded = wanted.astype(output.dtype)
    spacing = np.spacing(np.abs(rounded)).astype(np.float64)
    terms = shape.channels_in * shape.taps * 2.0**-24 * np.abs(wanted).max()
    distance = np.maximum(np.abs(output.astype(np.float64) - rounded) - terms, 0)
    return float(np.nan_to_num(distance / spacing, nan=np.inf).max())


def worst_relative(output: np.ndarray, wanted: np.ndarray) -> float:
    """The largest error relative to the largest value."""
    return float(np.nan_to_num(np.abs(output - wanted), nan=np.inf).max() / np.abs(wanted).max())
