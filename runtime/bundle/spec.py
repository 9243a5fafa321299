"""What a component takes and gives: names, shapes, dtypes, units, and how it runs along time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from runtime.errors import VoxportError
from runtime.machine.checked import Axis, Count, DType, Size


class InputError(VoxportError, ValueError):
    """Inputs that do not fit a specification; the message names the tensor and what was wanted."""


@dataclass(frozen=True)
class Dim:
    """A bounded flexible axis: any length in [lo, hi]; `default` is what example inputs use."""

    lo: int
    hi: int
    default: int

    def __post_init__(self) -> None:
        if not 0 <= self.lo <= self.default <= self.hi:
            raise ValueError(
                f"a flexible axis needs 0 <= lo <= default <= hi, got {self.lo}, {self.default}, {self.hi}"
            )

    def __str__(self) -> str:
        return f"{self.lo}..{self.hi}"


@dataclass(frozen=True)
class TensorSpec:
    """A named tensor: `shape` holds an int for a fixed axis, a `Dim` for a flexible one."""

    name: str
    shape: tuple[Size | Dim, ...]
    dtype: DType = "float32"
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(str(axis) for axis in self.shape)}) {self.dtype}"

    @property
    def default_shape(self) -> tuple[int, ...]:
        return tuple(axis.default if isinstance(axis, Dim) else axis for axis in self.shape)

    def misfit(self, shape: Sequence[int]) -> str | None:
        """Why an array of `shape` does not fit, or None when it does."""
        if len(shape) != len(self.shape):
            return f"has {len(shape)} axes, wants {len(self.shape)}"
        for index, (size, axis) in enumerate(zip(shape, self.shape)):
            fits = axis.lo <= size <= axis.hi if isinstance(axis, Dim) else size == axis
            if not fits:
                return f"has length {size} on axis {index}, wants {axis}"
        return None


@dataclass(frozen=True)
class TimeAxis:
    """How a time-local component maps input frames to output samples.

    A frame is `positions` of the input along its axis: 1 column of a mel, many samples of audio.
    Output sample t depends on input frames floor(t / samples_per_frame) - left .. + right only,
    and N input frames give exactly N * samples_per_frame + extra samples. Where `output` is sampled from what the
    component gives, that holds of what it gives, and a sample depends on all before it. What makes frames of frames
    gives one each, `samples_per_frame` being 1: it stands for `hop_length` samples at `sample_rate`.
    """

    input: str
    output: str
    input_axis: Axis
    output_axis: Axis
    samples_per_frame: Count
    left: Size
    right: Size
    sample_rate: Count
    positions: Count = 1
    hop_length: Count = 1
    extra: Size = 0

    def samples(self, frames: int) -> int:
        """Output samples of an utterance of so many frames."""
        return frames * self.samples_per_frame + self.extra

    @property
    def frame_seconds(self) -> float:
        """Seconds of audio that an input frame stands for."""
        return self.samples_per_frame * self.hop_length / self.sample_rate

    def frames(self, shape: Sequence[int]) -> int:
        """Whole frames in an input of that shape."""
        return shape[self.input_axis] // self.positions

    def cut(self, array: np.ndarray, start: int, stop: int) -> np.ndarray:
        """A copy of an input's frames [start, stop)."""
        return np.take(array, range(start * self.positions, stop * self.positions), axis=self.input_axis)

    def looped(self, array: np.ndarray, start: int, stop: int) -> np.ndarray:
        """Copies frames [start, stop) as `cut` does, from an input that begins anew where it ends."""
        span = np.arange(start * self.positions, stop * self.positions)
        return np.take(array, span % (self.frames(array.shape) * self.positions), axis=self.input_axis)

    def window(self, spec: TensorSpec) -> Dim:
        """The frames that an artefact takes in one call, by the specification of its input."""
        axis = spec.shape[self.input_axis]
        lo, hi, default = (axis.lo, axis.hi, axis.default) if isinstance(axis, Dim) else (axis,) * 3
        return Dim(-(-lo // self.positions), hi // self.positions, default // self.positions)


def checked_inputs(specs: Sequence[TensorSpec], inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inputs in the specified dtypes.

    Raises InputError for a missing, unknown or misshapen array, or a dtype that would lose values.
    """
    known = {spec.name: spec for spec in specs}
    for name in inputs:
        if name not in known:
            raise InputError(f"there is no input {name!r}; the inputs are: {', '.join(map(str, specs))}")
    arrays = {}
    for name, spec in known.items():
        if name not in inputs:
            raise InputError(f"input {name!r} is missing; the inputs are: {', '.join(map(str, specs))}")
        array = np.asarray(inputs[name])
        problem = spec.misfit(array.shape)
        if problem:
            raise InputError(f"input {name!r} {problem}: it is {spec}")
        if not np.can_cast(array.dtype, spec.dtype, casting="same_kind"):
            raise InputError(f"input {name!r} is {array.dtype}, which does not convert to {spec.dtype}")
        arrays[name] = np.ascontiguousarray(array, dtype=spec.dtype)
    return arrays


def taken(specs: Sequence[TensorSpec], offered: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns those of the inputs that a component takes: a chain offers what it has."""
    return {spec.name: offered[spec.name] for spec in specs if spec.name in offered}
