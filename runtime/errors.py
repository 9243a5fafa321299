"""The errors that voxport explains to its user, and the exit codes that its commands end with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """What a command ends with. Of several jobs, the highest counts."""

    DONE = 0
    MISSED = 1  # a gate was missed, or a regression found
    USAGE = 2  # wrong usage or input, at whatever stage it was noticed
    MACHINE = 3  # the machine failed: disk full, server away, a child process killed
    INTERRUPTED = 130


class VoxportError(Exception):
    """An error whose message is a sentence for the user: what was wrong, with what value, and what to do."""

    exit_code = ExitCode.USAGE


class MachineError(VoxportError):
    """A failure that is not the input's fault, such as a full disk or a server that does not answer."""

    exit_code = ExitCode.MACHINE


class ArtefactError(VoxportError, RuntimeError):
    """An artefact that is missing, damaged, or holds what its format cannot execute; a RuntimeError, as Core ML's."""


class OtherModel(ArtefactError):
    """A package that holds a model other than an ML program, which another engine may execute."""


class StreamError(VoxportError, ValueError):
    """A stream that this artefact cannot give; the message says why and what would."""


@contextmanager
def no_artefact(path: Path) -> Iterator[None]:
    """Turns what Python and PyTorch raise over a program that contradicts itself into an ArtefactError."""
    try:
        yield
    except VoxportError:
        raise
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        lines = str(error).strip().splitlines() or [""]
        raise ArtefactError(f"{path} cannot be executed: {type(error).__name__}: {lines[0]}") from error


class EngineError(VoxportError, RuntimeError):
    """An engine that does not exist, or cannot execute this artefact on this machine."""


class EngineFailed(MachineError, EngineError):
    """An engine's process that crashed, was killed, or did not end in time."""


class NotLowered(EngineError):
    """A program with ops that ONNX cannot express here; the mil engine executes them."""


class AudioError(VoxportError, ValueError):
    """Audio or audio settings that cannot be used; the message says what was wrong."""


class TextError(VoxportError, ValueError):
    """Text that cannot be spoken; the message says what to do."""
