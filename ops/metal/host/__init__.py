"""Runs the Metal kernels on any machine: the very texts, compiled as C++ by clang with a small `metal_stdlib`.

Half and float as the GPU's ALUs round them (every half operation to half; sums here are in float anyway), without fast
math. It shows that the arithmetic, the layouts, the bounds and the barriers are right; not that Apple's compiler takes
the text, nor how fast it is.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from ops.metal.layout import FOLDER, UpsampleShape, packed_bias, packed_weights, tiled_groups

HERE = Path(__file__).parent
FLAGS = (
    *("-x", "c++", "-std=c++2b", "-O2", "-nostdlib++", "-fno-exceptions", "-fno-rtti", "-ffp-contract=off"),
    *("-Wall", "-Wextra", "-Werror", "-Wno-unknown-attributes", "-Wno-ignored-attributes"),
    *("-Xclang", "-ffloat16-excess-precision=none"),
)


class NoCompiler(RuntimeError):
    """There is neither clang nor ziglang here."""


def compiler() -> list[str]:
    """The command of a clang++: the system's, or that of the Python package ziglang. Raises NoCompiler."""
    for version in ("", *(f"-{number}" for number in range(22, 15, -1))):
        path = shutil.which(f"clang++{version}")
        if path:
            return [path]
    try:
        import ziglang  # type: ignore[import-untyped]  # noqa: F401
    except ImportError as error:
        raise NoCompiler("the Metal kernels run here with clang or with `pip install ziglang`") from error
    return [sys.executable, "-m", "ziglang", "c++"]


def build(target: Path, *more: str, sources: Path = FOLDER, harness: Path | None = None) -> Path:
    """Compiles the harness with the kernels in `sources` to `target`. `more`: flags, such as a sanitizer's.

    Raises NoCompiler, and RuntimeError with the compiler's own words.
    """
    includes = [f"-I{HERE}", f"-I{sources}"]
    command = [*compiler(), *FLAGS, *includes, *more, str(harness or HERE / "harness.cpp"), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the kernels do not compile: {done.stderr[:4000]}")
    return target


@functools.cache
def library(folder: Path) -> ctypes.CDLL:
    """The kernels compiled into `folder`, once per content. Raises as `build`."""
    digest = hashlib.sha256(repr((FLAGS, compiler())).encode())
    for file in sorted([*FOLDER.glob("*.metal"), *FOLDER.glob("*.h"), HERE / "harness.cpp", HERE / "metal_stdlib"]):
        digest.update(file.read_bytes())
    target = folder / f"metal-{digest.hexdigest()[:24]}.so"
    if not target.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{secrets.token_hex(4)}-{target.name}")
        build(partial, "-fPIC", "-shared")
        partial.replace(target)
    return ctypes.CDLL(str(target))


def upsample(
    kernels: ctypes.CDLL,
    name: str,
    shape: UpsampleShape,
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    condition: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """x (C, T), weight (C, D, K), bias (D,), condition (C,) -> (D, samples), in x's dtype.

    `name`: `texture` (half), `plain`, `tiled` or `coreai`. Raises RuntimeError where threads part at a barrier or a
    texture or tensor is read or written beyond its size.
    """
    dtype = np.dtype(x.dtype)
    if name == "texture":
        return _texture(kernels, shape, x, weight, bias, condition)
    out = np.full((shape.channels_out, shape.samples), np.nan, dtype)
    suffix = {"float16": "half", "float32": "float"}[dtype.name]
    conditioning = np.zeros(shape.channels_in, dtype) if condition is None else condition.astype(dtype)
    arrays = [
        np.ascontiguousarray(x),
        conditioning,
        out,
        packed_weights(weight, dtype.name),
        packed_bias(bias, len(out)),
    ]
    if name == "coreai":
        arrays[4] = arrays[4].astype(dtype)
    arrays = [prepared(array) for array in arrays]
    out = arrays[2]
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in arrays]
    packed = ctypes.create_string_buffer(shape.packed())
    grid = (shape.samples + 5, len(arrays[4]) // 4 + 1)  # more threads than outputs, as whole threadgroups have them
    if name == "plain":
        getattr(kernels, f"plain_{suffix}")(*pointers, packed, *grid)
    elif name == "coreai":
        _no_strays(getattr(kernels, f"coreai_{suffix}")(*pointers, packed, *grid))
    else:
        groups = (ctypes.c_int * 3)(*tiled_groups(shape))
        if getattr(kernels, f"tiled_{suffix}")(*pointers, packed, groups, ctypes.c_uint(seed)):
            raise RuntimeError("threads of a group part at a barrier: some return while others wait")
    return out


def _texture(
    kernels: ctypes.CDLL,
    shape: UpsampleShape,
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    condition: np.ndarray | None,
) -> np.ndarray:
    quads = -(-shape.channels_out // 4)
    out = np.full((quads, shape.samples, 4), np.nan, np.float16)
    conditioning = np.zeros((shape.channels_in, 1)) if condition is None else condition[:, None]
    arrays = [texels(x), texels(conditioning), out, packed_weights(weight), packed_bias(bias, shape.channels_out)]
    arrays = [prepared(array) for array in arrays]
    out = arrays[2]
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in arrays]
    packed = ctypes.create_string_buffer(shape.packed())
    _no_strays(kernels.texture(*pointers, packed, shape.samples + 5, quads + 1))
    return np.ascontiguousarray(out.transpose(0, 2, 1).reshape(4 * quads, -1)[: shape.channels_out])


def _no_strays(count: int) -> None:
    if count:
        raise RuntimeError(f"a texture or tensor was read or written {count} times beyond its size")


def texels(x: np.ndarray) -> np.ndarray:
    """(C, T) -> half (ceil(C / 4), T, 4): a texture array, as Core ML lays channels."""
    channels, length = x.shape
    quads = -(-channels // 4)
    padded = np.zeros((4 * quads, length), np.float16)
    padded[:channels] = x
    return np.ascontiguousarray(padded.reshape(quads, 4, length).transpose(0, 2, 1))


def prepared(array: np.ndarray) -> np.ndarray:
    """Returns what a kernel gets of an array; a test puts memory with guarded ends in its place."""
    return array
