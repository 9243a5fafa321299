import pytest
import torch

from ops.attention import to_absolute, to_relative


@pytest.mark.parametrize("window", [1, 4])
@pytest.mark.parametrize("length", [1, 2, 4, 5, 9, 30])
def test_offsets_and_positions(length, window):
    relative = torch.randn(2, 3, length, 2 * window + 1)
    absolute = to_absolute(relative, window)
    assert absolute.shape == (2, 3, length, length)
    for row in range(length):
        for column in range(length):
            offset = column - row + window
            wanted = relative[..., row, offset] if 0 <= offset <= 2 * window else torch.zeros(2, 3)
            assert torch.equal(absolute[..., row, column], wanted)
    again = to_relative(absolute, window)
    for row in range(length):
        for offset in range(2 * window + 1):
            inside = 0 <= row + offset - window < length
            wanted = relative[..., row, offset] if inside else torch.zeros(2, 3)
            assert torch.equal(again[..., row, offset], wanted)
