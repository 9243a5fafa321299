"""Rational-quadratic splines (Durkan et al. 2019, arXiv 1906.04032) without writes in place.

Upstream code picks the values inside the spline's interval with a boolean mask, computes on those alone and writes them
back. No converter takes that: shapes would depend on values. Here every position is computed, those outside with a
stand-in from inside, and chosen afterwards; the arithmetic of each position is the same, bit for bit.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_WIDTH = MIN_HEIGHT = MIN_DERIVATIVE = 1e-3
# The last knot is moved by this so that the interval's end lies in the last bin.
_LAST_KNOT = 1e-6


def inverse_spline(y: Tensor, widths: Tensor, heights: Tensor, derivatives: Tensor, tail_bound: float) -> Tensor:
    """The x whose spline value is y, on [-tail_bound, tail_bound]; outside it the spline is the identity.

    y (…); widths and heights (…, bins) before their softmax; derivatives (…, bins - 1) of the inner knots before their
    softplus. Equations 6 to 8 of the paper.
    """
    bins = widths.shape[-1]
    is_inside = (y >= -tail_bound) & (y <= tail_bound)
    inside = torch.where(is_inside, y, torch.zeros_like(y))
    left = _knots(widths, MIN_WIDTH, tail_bound)
    bottom = _knots(heights, MIN_HEIGHT, tail_bound)
    width, height = left[..., 1:] - left[..., :-1], bottom[..., 1:] - bottom[..., :-1]
    # softplus of this is 1 - MIN_DERIVATIVE: the slope at both ends is that of the identity
    end = torch.full_like(derivatives[..., :1], math.log(math.exp(1 - MIN_DERIVATIVE) - 1))
    slope = MIN_DERIVATIVE + F.softplus(torch.cat([end, derivatives, end], dim=-1))

    searched = torch.cat([bottom[..., :-1], bottom[..., -1:] + _LAST_KNOT], dim=-1)
    bin_index = torch.sum((inside[..., None] >= searched).to(y.dtype), dim=-1, keepdim=True) - 1
    is_bin = (torch.arange(bins, dtype=y.dtype, device=y.device) == bin_index).to(y.dtype)

    def at_bin(values: Tensor) -> Tensor:
        return torch.sum(values * is_bin, dim=-1)

    x0, w, y0, h = at_bin(left[..., :-1]), at_bin(width), at_bin(bottom[..., :-1]), at_bin(height)
    mean_slope = at_bin(height / width)
    slope0, slope1 = at_bin(slope[..., :-1]), at_bin(slope[..., 1:])
    above = inside - y0
    excess = above * (slope0 + slope1 - 2 * mean_slope)
    a = excess + h * (mean_slope - slope0)
    b = h * slope0 - excess
    c = -mean_slope * above
    discriminant = torch.relu(b.pow(2) - 4 * a * c)  # never negative but by rounding, as mixed precision does
    root = (2 * c) / (-b - torch.sqrt(discriminant))
    return torch.where(is_inside, root * w + x0, y)


def _knots(unnormalised: Tensor, least: float, tail_bound: float) -> Tensor:
    """(…, bins) -> (…, bins + 1): where bins begin and end, from -tail_bound to tail_bound."""
    share = least + (1 - least * unnormalised.shape[-1]) * F.softmax(unnormalised, dim=-1)
    inner = 2 * tail_bound * torch.cumsum(share, dim=-1)[..., :-1] - tail_bound
    end = torch.full_like(inner[..., :1], tail_bound)
    return torch.cat([-end, inner, end], dim=-1)
