"""Relative positions in self-attention (Shaw et al. 2018, arXiv 1803.02155), as a band of offsets.

Upstream code pads the embeddings of 2 w + 1 offsets to those of all 2 T - 1, multiplies with all of them and moves the
result into place; the branches of that padding depend on T. Only the band is not zero: here it alone is multiplied, for
any T, and moved by one reshape.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def to_absolute(relative: Tensor, window: int) -> Tensor:
    """(…, T, 2 window + 1) by offset -> (…, T, T) by position, zero beyond the window.

    Row i moves right by i when a row that is one longer is read again with one less.
    """
    *shape, length, offsets = relative.shape
    padded = torch.cat([relative, relative.new_zeros(*shape, length, length)], -1).flatten(-2)
    wide = padded[..., : length * (length + offsets - 1)].reshape(*shape, length, length + offsets - 1)
    return wide[..., window : window + length]


def to_relative(absolute: Tensor, window: int) -> Tensor:
    """(…, T, T) by position -> (…, T, 2 window + 1) by offset: the inverse within the window."""
    *shape, length, _ = absolute.shape
    wide = F.pad(absolute, (window, window)).flatten(-2)
    longer = torch.cat([wide, wide.new_zeros(*shape, length)], -1)  # padding by a length that varies converts nowhere
    return longer.reshape(*shape, length, length + 2 * window + 1)[..., : 2 * window + 1]
