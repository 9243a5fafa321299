"""The texts that ship, compiled as C++ and run against PyTorch in float64."""

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ops.metal.host import upsample
from ops.metal.layout import TILE_TAPS, UpsampleShape

from .reference import STAGES, example, expected, worst_relative, worst_ulps

FORMS = [("texture", "float16"), *itertools.product(("plain", "tiled", "coreai"), ("float16", "float32"))]


def check(kernels, form, dtype, shape, seed=0):
    arrays = example(shape, dtype, seed)
    if form == "coreai":
        arrays["bias"] = arrays["bias"].astype(dtype)  # its tensors are all of one type
    output = upsample(kernels, form, shape, **arrays, seed=seed)
    wanted = expected(shape, arrays)
    assert output.shape == wanted.shape
    if dtype == "float16":  # sums in float, one rounding at the end
        assert worst_ulps(shape, output, wanted) <= 1, (form, shape)
    else:
        assert worst_relative(output, wanted) < 1e-5, (form, shape)


@pytest.mark.parametrize(("form", "dtype"), FORMS)
@pytest.mark.parametrize(("version", "stage"), [(v, i) for v, rows in STAGES.items() for i in range(len(rows))])
def test_every_stage_of_hifigan_at_its_published_width(kernels, form, dtype, version, stage):
    check(kernels, form, dtype, UpsampleShape(*STAGES[version][stage], frames=33, has_condition=stage == 0))


DRAWN = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@st.composite
def shapes(draw):
    stride = draw(st.integers(1, 10))
    kernel = draw(st.integers(1, 3 * stride + 2))
    padding = draw(st.integers(0, (kernel - 1) // 2))
    frames = draw(st.integers(1, 70))
    sizes = (draw(st.integers(1, 40)), draw(st.integers(1, 40)), kernel, stride, padding, frames)
    extra = draw(st.integers(0, stride - 1))
    least = (frames - 1) * stride - 2 * padding + kernel + extra
    if least < 1:
        sizes = (*sizes[:4], 0, frames)
    return UpsampleShape(*sizes, extra, draw(st.sampled_from([0.0, 0.1, 0.2])), draw(st.booleans()))


@DRAWN
@given(shape=shapes(), form=st.sampled_from(FORMS), seed=st.integers(0, 100))
def test_any_shape(kernels, shape, form, seed):
    name, dtype = form
    if name == "tiled" and shape.taps > TILE_TAPS:
        name = "plain"
    check(kernels, name, dtype, shape, seed)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_order_of_threads_does_not_matter(kernels, dtype):
    shape = UpsampleShape(64, 40, 16, 8, 4, 70, has_condition=True)
    arrays = example(shape, dtype)
    outputs = [upsample(kernels, "tiled", shape, **arrays, seed=seed) for seed in range(8)]
    for one, other in itertools.pairwise(outputs):
        assert np.array_equal(one, other)


def test_both_forms_share_their_arithmetic(kernels):
    """Bit for bit: a Core AI program computes what a custom layer does."""
    shape = UpsampleShape(33, 21, 11, 5, 3, 40, 2, has_condition=True)
    arrays = example(shape, "float16")
    assert np.array_equal(upsample(kernels, "texture", shape, **arrays), upsample(kernels, "plain", shape, **arrays))
