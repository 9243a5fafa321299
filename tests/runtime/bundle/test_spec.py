import numpy as np
import pytest

from runtime.bundle.spec import Dim, InputError, TensorSpec, checked_inputs

MEL = TensorSpec("mel", (1, 80, Dim(8, 128, 64)), "float32", "natural-log amplitude")


def test_a_spec_prints_its_bounds():
    assert str(MEL) == "mel (1, 80, 8..128) float32"
    assert MEL.default_shape == (1, 80, 64)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "input 'mel' is missing"),
        ({"mel": np.zeros((1, 80, 64), "f4"), "x": np.zeros(1)}, "there is no input 'x'"),
        ({"mel": np.zeros((80, 64), "f4")}, "has 2 axes, wants 3"),
        ({"mel": np.zeros((1, 80, 7), "f4")}, "has length 7 on axis 2, wants 8..128"),
        ({"mel": np.zeros((1, 79, 64), "f4")}, "has length 79 on axis 1, wants 80"),
        ({"mel": np.zeros((1, 80, 64), "c8")}, "does not convert to float32"),
    ],
)
def test_an_input_that_does_not_fit_is_named(given, sentence):
    with pytest.raises(InputError, match=sentence.replace(".", r"\.")):
        checked_inputs((MEL,), given)


def test_double_precision_input_is_taken_as_single():
    arrays = checked_inputs((MEL,), {"mel": np.zeros((1, 80, 64))})
    assert arrays["mel"].dtype == np.float32


def test_bounds_must_be_in_order():
    with pytest.raises(ValueError, match="0 <= lo"):
        Dim(8, 4, 6)
