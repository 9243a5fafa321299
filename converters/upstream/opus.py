"""Layers of opus 1.5 as its `dnn/*_data.c` keep them: arrays of numbers in the layouts that its code computes in."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from checkpoints import CheckpointError
from checkpoints.load import LoadedCheckpoint

_Q = 127  # what 1.0 is where opus rounds a layer's input to 8 bits: its scales are for that
_ROWS, _COLUMNS = 8, 4  # of a block of integers (cgemv8x4)


@dataclass(frozen=True)
class OpusLayers:
    """The layers of a checkpoint that is opus's `file`, such as pitchdnn_data.c. All raise CheckpointError where an
    array is missing or of another size."""

    checkpoint: LoadedCheckpoint
    file: str

    def array(self, name: str, count: int | None = None) -> Tensor:
        """An array (count,) as float32."""
        arrays = self.checkpoint.weights
        if name not in arrays or (count is not None and arrays[name].numel() != count):
            what = "lacks" if name not in arrays else f"has {arrays[name].numel()} instead of {count} values in"
            raise CheckpointError(f"checkpoint {self.checkpoint.name} is no {self.file} of opus 1.5: it {what} {name}")
        return arrays[name].float()

    def integers(self, name: str) -> Tensor:
        """The weight (outputs, inputs) of a layer of 8-bit integers: blocks of 8 outputs and 4 inputs, a scale for each
        output."""
        scale = self.array(f"{name}_scale")
        values, outputs = self.array(f"{name}_weights_int8"), len(scale)
        if outputs % _ROWS or values.numel() % (_COLUMNS * outputs):
            raise CheckpointError(
                f"checkpoint {self.checkpoint.name}: {name} has {values.numel()} weights of {outputs} rows"
            )
        blocks = values.reshape(outputs // _ROWS, -1, _ROWS, _COLUMNS).transpose(1, 2).reshape(outputs, -1)
        return blocks * scale[:, None] * _Q

    def floats(self, name: str, outputs: int) -> Tensor:
        """The weight (outputs, inputs) of a layer that was not rounded: an input's column after another's."""
        return self.array(f"{name}_weights_float").reshape(-1, outputs).T.contiguous()

    def gates(self, weight: Tensor) -> Tensor:
        """Rows (3 N, …) of a recurrent layer in PyTorch's order, reset, update, new: opus has update, reset, new."""
        if len(weight) % 3:
            raise CheckpointError(f"checkpoint {self.checkpoint.name}: {len(weight)} rows are not those of three gates")
        update, reset, new = weight.chunk(3)
        return torch.cat([reset, update, new])
