import re

import numpy as np
import pytest

from ops.metal import layout
from ops.metal.layout import (
    UpsampleShape,
    fits_a_texture,
    kernel_for,
    packed_bias,
    packed_weights,
    tile_bytes,
    tiled_groups,
)

from .reference import STAGES


def test_numbers_are_those_of_the_kernels():
    source = (layout.FOLDER / layout.BUFFER).read_text()
    (line,) = re.findall(r"constant constexpr int (TILE.*);", source)
    for name, value in re.findall(r"(\w+) = (\d+)", line):
        assert getattr(layout, name) == int(value)
    struct = re.search(r"struct UpsampleShape \{(.*?)\};", (layout.FOLDER / layout.CORE).read_text(), re.DOTALL).group(
        1
    )
    fields = re.findall(r"^\s*(int|float) (\w+);", struct, re.MULTILINE)
    assert len(fields) * 4 == len(UpsampleShape(1, 1, 1, 1, 0, 1).packed())
    assert [name for _, name in fields] == [
        "channels_in", "channels_out", "frames", "samples", "kernel_size", "stride", "padding", "taps",
        "has_condition", "slope", "reserved",
    ]  # fmt: skip


def test_big_early_stages_are_tiled_and_small_late_ones_are_not():
    chosen = {version: [kernel_for(UpsampleShape(*row, frames=64)) for row in rows] for version, rows in STAGES.items()}
    assert chosen == {
        "V1": ["tiled", "tiled", "tiled", "tiled"],
        "V2": ["tiled", "tiled", "tiled", "plain"],
        "V3": ["tiled", "tiled", "tiled"],
    }
    assert kernel_for(UpsampleShape(512, 256, 16, 8, 4, 3)) == "plain", "too few positions for one tile"
    assert kernel_for(UpsampleShape(512, 256, 50, 10, 0, 64)) == "plain", "more taps than a tile has room for"


@pytest.mark.parametrize("taps", range(1, layout.TILE_TAPS + 1))
def test_a_tile_fits_every_gpu(taps):
    assert tile_bytes(UpsampleShape(512, 256, 8 * taps, 8, 4, 64)) <= layout.THREADGROUP_BYTES


def test_groups_cover_every_output_and_no_more():
    shape = UpsampleShape(64, 40, 16, 8, 4, 64)
    across, quads, phases = tiled_groups(shape)
    newest = (shape.samples - 1 + shape.padding) // shape.stride
    assert (across - 1) * 32 <= newest < across * 32
    assert (quads, phases) == (3, 2)


def test_sixty_four_frames_fit_a_texture_and_more_do_not():
    last = {"channels_in": 16, "channels_out": 8, "kernel_size": 4, "stride": 2, "padding": 1}
    assert fits_a_texture(UpsampleShape(**last, frames=8192))
    assert not fits_a_texture(UpsampleShape(**last, frames=8193))


def test_weights_of_four_output_channels_lie_side_by_side():
    weight = np.arange(2 * 5 * 3).reshape(2, 5, 3)
    packed = packed_weights(weight)
    assert packed.shape == (2, 3, 2, 4)
    assert packed[0, 1, 0].tolist() == weight[0, :4, 1].tolist()
    assert packed[1, 2, 1].tolist() == [weight[1, 4, 2], 0, 0, 0]
    assert packed_bias(np.array([1.0, 2, 3, 4, 5]), 5).tolist() == [1, 2, 3, 4, 5, 0, 0, 0]
    assert packed_bias(None, 3).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("sizes", [(0, 1, 1, 1, 0, 1), (1, 1, 1, 1, -1, 1), (1, 1, 2, 2, 1, 1)])
def test_shapes_that_cannot_be_are_refused(sizes):
    with pytest.raises(ValueError, match=r"shape|no output"):
        UpsampleShape(*sizes)


def test_the_text_for_a_mac_stands_alone():
    for name in (layout.TEXTURE, layout.BUFFER):
        assert "upsample_core.h" not in layout.text(name)
        assert "struct UpsampleShape" in layout.text(name)
