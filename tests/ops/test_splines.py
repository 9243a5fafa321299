import pytest
import torch

from converters.upstream.coqui import import_coqui
from ops.splines import inverse_spline


def drawn(dtype, bins=10, points=500):
    generator = torch.Generator().manual_seed(0)
    y = 4 * torch.randn(1, 1, points, generator=generator, dtype=dtype)
    widths, heights = 2 * torch.randn(2, 1, 1, points, bins, generator=generator, dtype=dtype)
    return y, widths, heights, torch.randn(1, 1, points, bins - 1, generator=generator, dtype=dtype)


@pytest.fixture(scope="module")
def upstream():
    return import_coqui("TTS.tts.layers.vits.transforms").piecewise_rational_quadratic_transform


@pytest.mark.parametrize("bins", [2, 10])
def test_it_is_upstream_s_spline_bit_for_bit(upstream, bins):
    y, *knots = drawn(torch.float32, bins)
    y[..., :4] = torch.tensor([5.0, -5.0, 5.0001, -5.0001])  # the ends belong to the spline, what is beyond does not
    wanted, _ = upstream(y, *knots, inverse=True, tails="linear", tail_bound=5.0)
    assert torch.equal(inverse_spline(y, *knots, 5.0), wanted)


def test_it_inverts_the_spline(upstream):
    x, *knots = drawn(torch.float64)
    y, _ = upstream(x, *knots, inverse=False, tails="linear", tail_bound=5.0)
    torch.testing.assert_close(inverse_spline(y, *knots, 5.0), x, atol=1e-9, rtol=0)


class _SomeRounded(torch.fx.Interpreter):
    """Half of the values rounded to half precision, as in a mixed program."""

    def __init__(self, module, seed):
        super().__init__(module)
        self.generator = torch.Generator().manual_seed(seed)

    def run_node(self, n):
        value = super().run_node(n)
        is_rounded = torch.rand((), generator=self.generator) < 0.5
        is_float = isinstance(value, torch.Tensor) and value.is_floating_point()
        return value.half().float() if is_float and is_rounded else value


@pytest.mark.parametrize("seed", [1, 2, 4])
def test_mixed_precision_gives_no_root_of_a_negative(seed):
    inputs = drawn(torch.float32, points=4000)
    module = torch.export.export(_Spline(), inputs).run_decompositions().module()
    assert torch.isfinite(_SomeRounded(module, seed).run(*inputs)).all()


def test_shapes_do_not_depend_on_values():
    inputs = drawn(torch.float32)
    exported = torch.export.export(_Spline(), inputs).module()
    everything_outside = (inputs[0] + 100, *inputs[1:])
    assert torch.equal(exported(*everything_outside), everything_outside[0])
    assert torch.equal(exported(*inputs), inverse_spline(*inputs, 5.0))


class _Spline(torch.nn.Module):
    def forward(self, y, widths, heights, derivatives):
        return inverse_spline(y, widths, heights, derivatives, 5.0)
