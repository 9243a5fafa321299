import numpy as np
import pytest

from runtime.bundle.spec import Dim, InputError, TensorSpec
from runtime.playing.sizes import Batched, Padded

LENGTH = Dim(1, 8, 4)
INPUTS = (TensorSpec("x", (1, 2, LENGTH)), TensorSpec("mask", (1, 1, LENGTH)), TensorSpec("speaker", (1, 3, 1)))
OUTPUTS = (TensorSpec("y", (1, 2, LENGTH)), TensorSpec("sum", (1, 1)))


class Doubles:
    """As an artefact of one size: refuses any other."""

    name, device = "double", "here"

    def __init__(self, size):
        self.size, self.calls = size, 0

    def run(self, inputs):
        self.calls += 1
        x, mask = inputs["x"], inputs["mask"]
        assert x.shape[2] == mask.shape[2] == self.size
        assert inputs["speaker"].shape == (1, 3, 1)
        return {"y": 2 * x * mask + 1, "sum": (x * mask).sum(keepdims=True)[:, :, 0]}


def given(length):
    x = np.arange(2 * length, dtype=np.float32).reshape(1, 2, length)
    return {"x": x, "mask": np.ones((1, 1, length), np.float32), "speaker": np.zeros((1, 3, 1), np.float32)}


@pytest.mark.parametrize(("length", "size"), [(1, 4), (4, 4), (5, 8), (8, 8)])
def test_the_next_larger_size_takes_it_and_what_is_beyond_is_cut(length, size):
    engines = {8: Doubles(8), 4: Doubles(4)}
    padded = Padded(engines, "part", INPUTS, OUTPUTS)
    made = padded.run(given(length))
    np.testing.assert_array_equal(made["y"], 2 * given(length)["x"] + 1)
    np.testing.assert_array_equal(made["sum"].ravel(), given(length)["x"].sum())
    assert engines[size].calls == 1 and padded.size_for(length) == size


def test_what_does_not_fit_is_a_sentence():
    padded = Padded({4: Doubles(4)}, "part", INPUTS, OUTPUTS)
    with pytest.raises(InputError, match="part takes at most 4 at once, there are 5"):
        padded.run(given(5))
    with pytest.raises(InputError, match=r"part: its inputs are of different lengths: \[3, 4\]"):
        padded.run({**given(4), "mask": given(3)["mask"]})
    assert padded.longest == 4 and Padded({0: Doubles(4)}, "part", INPUTS, OUTPUTS).longest is None


class Rows:
    name, device = "rows", "here"

    def __init__(self, size):
        self.size = size

    def run(self, inputs):
        assert len(inputs["x"]) == self.size
        return {"y": inputs["x"] * 2}


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 20])
def test_rows_are_dealt_out(rows):
    x = np.arange(rows * 2.0).reshape(rows, 2)
    np.testing.assert_array_equal(Batched({1: Rows(1), 3: Rows(3)}).run({"x": x})["y"], 2 * x)
