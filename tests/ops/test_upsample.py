import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from ops.upsample import PolyphaseConvTranspose1d, rewrite_upsampling


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_polyphase_equals_the_transposed_convolution_for_any_geometry(data):
    stride = data.draw(st.integers(1, 10), "stride")
    kernel = data.draw(st.integers(1, 21), "kernel")
    padding = data.draw(st.integers(0, kernel - 1), "padding")
    output_padding = data.draw(st.integers(0, stride - 1), "output_padding")
    length = data.draw(st.integers(1, 12), "length")
    channels_in, channels_out = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    assume((length - 1) * stride - 2 * padding + kernel + output_padding > 0)
    torch.manual_seed(0)
    original = nn.ConvTranspose1d(
        channels_in, channels_out, kernel, stride, padding, output_padding, bias=data.draw(st.booleans()),
        dtype=torch.float64,
    )  # fmt: skip
    x = torch.randn(2, channels_in, length, dtype=torch.float64)
    with torch.no_grad():
        expected, actual = original(x), PolyphaseConvTranspose1d(original)(x)
    assert actual.shape == expected.shape
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


def test_hifigan_layers_become_three_taps_without_an_extra_padding_op():
    rewritten = PolyphaseConvTranspose1d(nn.ConvTranspose1d(8, 4, 16, 8, padding=4))
    assert rewritten.conv.kernel_size == (3,)
    assert not rewritten.needs_padding
    assert rewritten.crop == 0


def test_the_whole_generator_is_rewritten_exactly_and_the_original_left_alone(generator):
    def stages(module):
        return sum(isinstance(layer, nn.ConvTranspose1d) for layer in module.modules())

    before = stages(generator.module)
    rewritten = rewrite_upsampling(generator.module, "polyphase")
    mel = generator.example()["mel"]
    with torch.no_grad():
        expected, actual = generator.module.double()(mel.double()), rewritten.double()(mel.double())
    generator.module.float()
    assert (stages(rewritten), stages(generator.module)) == (0, before) and before > 1
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("groups", [2, 4])
def test_each_group_keeps_to_its_own_channels(groups):
    layer = nn.ConvTranspose1d(8, 12, 7, 3, padding=2, output_padding=1, groups=groups)
    x = torch.randn(1, 8, 11)
    torch.testing.assert_close(PolyphaseConvTranspose1d(layer)(x), layer(x), rtol=0, atol=1e-6)


def test_a_layer_that_cannot_be_rewritten_is_named():
    model = nn.Sequential(nn.Conv1d(4, 4, 3), nn.ConvTranspose1d(4, 4, 4, 2, dilation=2))
    with pytest.raises(ValueError, match=r"layer 1: .*got 2.*upsampler=native"):
        rewrite_upsampling(model, "polyphase")


def test_an_unknown_upsampler_is_refused():
    with pytest.raises(ValueError, match="native, polyphase"):
        rewrite_upsampling(nn.Identity(), "winograd")
