"""Retrieval indices of RVC's voices: FAISS's inverted lists of whole vectors (IndexIVFFlat), read as plain arrays.

The layout is that of faiss's index_write.cpp: fourcc, header, coarse quantiser, direct map, lists.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from checkpoints import CheckpointError

_MOST_CHANNELS, _MOST_LISTS, _MOST_VECTORS = 4096, 1 << 16, 1 << 22


@dataclass(frozen=True)
class RetrievalIndex:
    """`vectors` (N, D) float32, those of a list one after another; `centroids` (L, D); `ends` (L,): where lists end."""

    vectors: np.ndarray
    centroids: np.ndarray
    ends: np.ndarray


def read_index(path: Path) -> RetrievalIndex:
    """Reads an index. Raises CheckpointError for a file that is none, damaged, or of another kind."""
    try:
        return _Reader(path.read_bytes()).index()
    except OSError as error:
        raise CheckpointError(f"there is no index {path}: {error.strerror}") from error
    except (struct.error, ValueError) as error:
        raise CheckpointError(f"{path} is no index of RVC (IVF, Flat) that can be read: {error}") from error


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def index(self) -> RetrievalIndex:
        self._expect(b"IwFl")
        channels, total = self._header()
        lists, _ = self._numbers("<QQ")  # and how many of them upstream looks into: one
        if not 0 < lists <= _MOST_LISTS:
            raise ValueError(f"it says that it has {lists} lists")
        centroids = self._flat(channels, lists)
        self._skip_direct_map()
        self._expect(b"ilar")
        again, code = self._numbers("<QQ")
        if (again, code) != (lists, 4 * channels):
            raise ValueError("its lists are of other vectors than its header says")
        sizes = self._sizes(lists)
        if sizes.sum() != total:
            raise ValueError(f"its lists hold {sizes.sum()} vectors, its header says {total}")
        pieces = []
        for size in sizes:
            pieces.append(self._floats(int(size) * channels).reshape(-1, channels))
            self._take(8 * int(size))  # their numbers in the order of training
        if self._at != len(self._data):
            raise ValueError("there is more behind its lists")
        return RetrievalIndex(np.concatenate(pieces), centroids, np.cumsum(sizes))

    def _header(self) -> tuple[int, int]:
        channels, total, _, _, _, metric = self._numbers("<iqqq?i")
        if not 0 < channels <= _MOST_CHANNELS or not 0 < total <= _MOST_VECTORS:
            raise ValueError(f"it says that it has {total} vectors of {channels}")
        if metric != 1:
            raise ValueError("it does not compare by Euclidean distance")
        return channels, total

    def _flat(self, channels: int, count: int) -> np.ndarray:
        self._expect(b"IxF2", b"IxFl")
        if self._header() != (channels, count):
            raise ValueError("its centroids are not those that its header says")
        (size,) = self._numbers("<Q")
        if size != channels * count:
            raise ValueError("its centroids are of another size")
        return self._floats(channels * count).reshape(count, channels)

    def _skip_direct_map(self) -> None:
        kind, size = self._numbers("<bQ")
        if kind not in (0, 1) or size > _MOST_VECTORS:
            raise ValueError("its direct map is of an unknown kind")
        self._take(8 * size)

    def _sizes(self, lists: int) -> np.ndarray:
        kind = self._take(4)
        (count,) = self._numbers("<Q")
        if kind == b"full" and count == lists:
            sizes = np.frombuffer(self._take(8 * lists), "<u8")
        elif kind == b"sprs" and count <= 2 * lists and count % 2 == 0:
            sizes = np.zeros(lists, "<u8")
            for number, size in np.frombuffer(self._take(8 * count), "<u8").reshape(-1, 2):
                if number >= lists:
                    raise ValueError(f"it has no list {number}")
                sizes[number] = size
        else:
            raise ValueError("its lists are kept in an unknown way")
        if sizes.max(initial=0) > _MOST_VECTORS:
            raise ValueError("a list is longer than any could be")
        return sizes.astype(np.int64)

    def _expect(self, *marks: bytes) -> None:
        found = self._take(4)
        if found not in marks:
            raise ValueError(f"it has {found!r} where {b' or '.join(marks)!r} should be")

    def _numbers(self, form: str) -> tuple[int, ...]:
        return struct.unpack(form, self._take(struct.calcsize(form)))

    def _floats(self, count: int) -> np.ndarray:
        values = np.frombuffer(self._take(4 * count), "<f4")
        if not np.isfinite(values).all():
            raise ValueError("it holds values that are not finite")
        return values

    def _take(self, count: int) -> bytes:
        if self._at + count > len(self._data):
            raise ValueError("it ends too early")
        self._at += count
        return self._data[self._at - count : self._at]
