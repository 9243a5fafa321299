"""UnivNet's location-variable convolution (Jang et al. 2021, arXiv 2106.07889, section 2.2) in at most four axes.

Every frame has a kernel of its own for its `hop` samples. coqui-tts computes it by unfolding to six axes; Core ML has
five. Here the samples that each tap reads are a row of a matrix, and a frame is a matrix product.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ops.shift import shifted


def location_variable_conv(x: Tensor, kernels: Tensor, bias: Tensor, hop: int) -> Tensor:
    """x (1, C, L * hop), kernels (C, D, K, L), bias (D, L) -> (1, D, L * hop); K odd, zeros beyond the ends."""
    channels, out, taps, _ = kernels.shape
    rows = []
    for tap in range(taps):
        rows.append(shifted(x, taps // 2 - tap).reshape(channels, -1, hop))
    seen = torch.cat(rows).transpose(0, 1)  # (L, K * C, hop)
    matrices = kernels.permute(3, 1, 2, 0).flatten(2)  # (L, D, K * C)
    output = matrices @ seen + bias.transpose(0, 1).unsqueeze(2)
    return output.transpose(0, 1).reshape(1, out, -1)
