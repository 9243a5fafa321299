"""Every training does this around its steps: optimisers, the learning rate's schedule, moving averages, CUDA graphs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

LAST_RATE = 0.02  # the last learning rate, as a share of the first
SAVE_SECONDS = 240.0


def adam(network: nn.Module, rate: Tensor, betas: tuple[float, float]) -> torch.optim.AdamW:
    """`rate` is a tensor, so that a captured step hears when it changes."""
    is_cuda = rate.is_cuda
    return torch.optim.AdamW(
        network.parameters(), rate, betas=betas, weight_decay=0.01, fused=is_cuda, capturable=is_cuda,
        foreach=None if is_cuda else False,
    )  # fmt: skip


def rate_at(first: float, step: int, warm_up: int, progress: float) -> float:
    """Rising over `warm_up` steps, then half a cosine over the schedule, of which `progress` (0..1) has passed."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return first * min(1.0, (step + 1) / warm_up) * (LAST_RATE + (1 - LAST_RATE) * cosine)


def average_into(average: Mapping[str, Tensor], current: Mapping[str, Tensor], step: int) -> None:
    """Moves what are not counts a little towards the current weights, further at the beginning."""
    names = [name for name, value in current.items() if value.is_floating_point()]
    share = 0.001 if step > 3000 else 0.02
    torch._foreach_lerp_([average[name] for name in names], [current[name] for name in names], share)


def halved(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rounds the weights to half precision, but for counts."""
    return {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}


def captured(
    step: Callable[[], None], after: Callable[[], None], optimisers: Sequence[torch.optim.Optimizer], device: str
) -> Callable[[], None]:
    """The step as a CUDA graph: launched at once, not operation by operation. On a CPU as it is. `after` follows each
    of the three steps that are taken before."""
    if device != "cuda":
        return step
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            step()
            after()
    torch.cuda.current_stream().wait_stream(aside)
    for optimiser in optimisers:
        optimiser.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads, such as NCCL's, go on
        step()
    return graph.replay
