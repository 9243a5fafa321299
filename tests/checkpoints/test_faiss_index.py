"""A retrieval index as faiss 1.14 itself wrote it: 40 vectors of 8 channels in 4 lists."""

import struct
from pathlib import Path

import numpy as np
import pytest

from checkpoints import CheckpointError
from checkpoints.faiss_index import read_index

INDEX = Path(__file__).with_name("small.index")


def test_vectors_and_centroids_are_those_that_went_in():
    vectors = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    index = read_index(INDEX)
    assert index.centroids.shape == (4, 8) and index.ends[-1] == len(index.vectors) == 40
    np.testing.assert_array_equal(np.sort(index.vectors, axis=0), np.sort(vectors, axis=0))
    starts = [0, *index.ends[:-1]]
    for number, (start, end) in enumerate(zip(starts, index.ends)):
        distances = ((index.vectors[start:end, None] - index.centroids) ** 2).sum(2)
        assert (distances.argmin(1) == number).all(), "every vector lies in the list of its nearest centroid"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (lambda data: data[:-1], "ends too early"),
        (lambda data: data + b"x", "more behind its lists"),
        (lambda data: b"IxF2" + data[4:], "where b'IwFl' should be"),
        (lambda data: data[:4] + struct.pack("<i", 1 << 20) + data[8:], "vectors of 1048576"),
        (lambda data: data[:4] + struct.pack("<i", 4) + data[8:], "centroids"),
        (lambda data: data[:8] + struct.pack("<q", 1 << 40) + data[16:], "1099511627776 vectors"),
        (lambda data: data[:8] + struct.pack("<q", 39) + data[16:], "its header says 39"),
        (lambda data: data[:33] + struct.pack("<i", 0) + data[37:], "Euclidean"),
        (lambda data: data[:37] + struct.pack("<Q", 1 << 40) + data[45:], "lists"),
        (lambda data: data.replace(b"full", b"none"), "unknown way"),
        (lambda data: b"", "ends too early"),
    ],
)
def test_a_damaged_one_is_a_sentence(tmp_path, changed, said):
    path = tmp_path / "voice.index"
    path.write_bytes(changed(INDEX.read_bytes()))
    with pytest.raises(CheckpointError, match=said):
        read_index(path)
    with pytest.raises(CheckpointError, match="there is no index"):
        read_index(tmp_path / "none.index")
