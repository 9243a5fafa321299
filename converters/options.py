"""What a person can ask of a conversion; plain data, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass


class ConversionError(RuntimeError):
    """A conversion that cannot be done as asked; the message says what to change."""


@dataclass
class Shape:
    """Lengths of the time axis, in input frames: one fixed length, or the bounds of a flexible one."""

    frames: int = 64
    min_frames: int | None = None
    max_frames: int | None = None

    def __post_init__(self) -> None:
        if (self.min_frames is None) != (self.max_frames is None):
            raise ConversionError("a flexible shape needs both shape.min_frames and shape.max_frames")
        lo = self.frames if self.min_frames is None else self.min_frames
        hi = self.frames if self.max_frames is None else self.max_frames
        if not 1 <= lo <= self.frames <= hi:
            raise ConversionError(f"shape needs 1 <= min_frames <= frames <= max_frames, got {lo}, {self.frames}, {hi}")

    @property
    def flexible(self) -> bool:
        return self.min_frames is not None


@dataclass
class FormatOptions:
    """`target`: oldest system an mlprogram must run on; `opset`: of an ONNX file."""

    name: str = "mlprogram"
    target: str = "macOS15"
    opset: int = 18
