"""Choices, loops and lists (coremltools: ops/defs/iOS15/control_flow.py).

A block of the program arrives as a callable on the tensors that it reads. A list of the program is a Python list of
tensors; an op that changes one gives a new one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Block = Callable[..., tuple[Any, ...]]


def cond(pred: Tensor, true_block: Block, false_block: Block, captured: list[Any]) -> tuple[Any, ...]:
    return (true_block if bool(pred) else false_block)(*captured)


def while_loop(loop_vars: list[Any], cond_block: Block, body_block: Block, captured: list[Any]) -> tuple[Any, ...]:
    values = tuple(loop_vars)
    while bool(cond_block(*values, *captured)[0]):
        values = body_block(*values, *captured)
    return values


def select(cond: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(cond.bool(), a, b)


def make_list(
    init_length: int = 1, dynamic_length: bool = True, elem_shape: list[int] | None = None, dtype: str = "fp32"
) -> list[Tensor]:
    """Elements that were not written yet are zeros where the shape is known."""
    known = elem_shape is not None and all(isinstance(size, int) and size >= 0 for size in elem_shape)
    return [torch.zeros(elem_shape if known and elem_shape else 0) for _ in range(init_length)]


def list_length(ls: list[Tensor]) -> Tensor:
    return torch.tensor(len(ls), dtype=torch.int32)


def list_write(ls: list[Tensor], index: int, value: Tensor) -> list[Tensor]:
    """A dynamic list grows up to the index."""
    missing = [torch.zeros_like(value)] * max(index + 1 - len(ls), 0)
    longer = [*ls, *missing]
    longer[index] = value
    return longer


def list_read(ls: list[Tensor], index: int) -> Tensor:
    return ls[index]


def list_gather(ls: list[Tensor], indices: list[int]) -> Tensor:
    return torch.stack([ls[index] for index in indices])


def list_scatter(ls: list[Tensor], indices: list[int], value: Tensor) -> list[Tensor]:
    for index, element in zip(indices, value):
        ls = list_write(ls, index, element)
    return ls


OPS: dict[str, Callable[..., Any]] = {
    "cond": cond,
    "while_loop": while_loop,
    "select": select,
    "make_list": make_list,
    "list_length": list_length,
    "list_write": list_write,
    "list_read": list_read,
    "list_gather": list_gather,
    "list_scatter": list_scatter,
}
