"""Random ops (coremltools: ops/defs/iOS15/random.py). A seed >= 0 gives the same values at every call."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def _generator(seed: int) -> torch.Generator | None:
    return torch.Generator().manual_seed(seed) if seed >= 0 else None


def random_bernoulli(shape: list[int], prob: float = 0.5, seed: int = -1) -> Tensor:
    return (torch.rand(shape, generator=_generator(seed)) < prob).float()


def random_categorical(x: Tensor, mode: str = "logits", size: int = 1, seed: int = -1) -> Tensor:
    """x: (..., K) logits or probabilities -> (..., size) indices, drawn with replacement."""
    weights = torch.softmax(x, -1) if mode == "logits" else x
    drawn = torch.multinomial(weights.reshape(-1, x.shape[-1]), size, True, generator=_generator(seed))
    return drawn.reshape(*x.shape[:-1], size).float()


def random_normal(shape: list[int], mean: float = 0.0, stddev: float = 1.0, seed: int = -1) -> Tensor:
    return mean + stddev * torch.randn(shape, generator=_generator(seed))


def random_uniform(shape: list[int], low: float = 0.0, high: float = 1.0, seed: int = -1) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=_generator(seed))


OPS: dict[str, Callable[..., Tensor]] = {
    "random_bernoulli": random_bernoulli,
    "random_categorical": random_categorical,
    "random_normal": random_normal,
    "random_uniform": random_uniform,
}
