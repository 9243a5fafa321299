"""`python -m tests.ops.metal.guarded LIBRARY FORM ...`: a segmentation fault is a step beyond a buffer."""

from __future__ import annotations

import ctypes
import mmap
import sys
from pathlib import Path

import numpy as np

import ops.metal.host as host
from ops.metal.layout import UpsampleShape

from .reference import example

PAGE = mmap.PAGESIZE
_kept: list[mmap.mmap] = []
_libc = ctypes.CDLL(None, use_errno=True)


def guarded_copy(array: np.ndarray, at_the_end: bool) -> np.ndarray:
    """The same values between two pages that fault; elements end at the upper one or begin at the lower one."""
    pages = -(-array.nbytes // PAGE)
    memory = mmap.mmap(-1, (pages + 2) * PAGE)
    _kept.append(memory)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for guard in (start, start + (pages + 1) * PAGE):
        if _libc.mprotect(ctypes.c_void_p(guard), PAGE, 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    offset = PAGE + (pages * PAGE - array.nbytes if at_the_end else 0)
    copy = np.frombuffer(memory, array.dtype, array.size, offset).reshape(array.shape)
    copy[...] = array
    return copy


def main(library: str, *forms: str) -> None:
    kernels = ctypes.CDLL(str(Path(library)))
    for form in forms:
        check(kernels, form)
        print(f"{form}: within bounds", flush=True)


def check(kernels: ctypes.CDLL, form: str) -> None:
    dtype = "float16" if form == "texture" else "float32"
    for shape in (UpsampleShape(38, 21, 16, 8, 4, 37, has_condition=True), UpsampleShape(6, 9, 5, 3, 1, 64, 1)):
        arrays = example(shape, dtype)
        for at_the_end in (True, False):
            host.prepared = lambda array, at_the_end=at_the_end: guarded_copy(array, at_the_end)
            output = host.upsample(kernels, form, shape, **arrays)
            assert np.isfinite(output).all()


if __name__ == "__main__":
    main(*sys.argv[1:])
