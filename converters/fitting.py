"""A stranger's config: what is wrong with it ends a conversion with a sentence, before memory and time are spent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from checkpoints import CheckpointError
from checkpoints.load import LoadedCheckpoint
from converters.options import ConversionError
from runtime.errors import VoxportError


class SettingsError(ConversionError, ValueError):
    """A value in a config that cannot be right; the message names it."""


LARGEST = 1_000_000
# Values that make loops long, or tensors large, without weights that would show it. By a part of their names.
_LARGEST_OF = {"dilation": 4096, "num_buckets": 4096, "num_l": 256, "num_r": 256, "num_b": 256, "num_f": 256,
               "num_h": 256, "stacks": 64, "_K": 64, "highways": 64}  # fmt: skip
_AT_LEAST_1 = ("dilation", "kernel", "upsample", "stride")
_SECTIONS = ("audio", "model_args", "model_params", "generator_model_params", "encoder_params", "decoder_params")
# Elements that a network may have beside those of its checkpoint: weight norm has them twice, training heads are gone.
_SPARE, _DRAWN = 20_000_000, 1_000_000_000


@contextmanager
def fitting(checkpoint: LoadedCheckpoint) -> Iterator[None]:
    """Around everything that a family makes of a checkpoint: building it, describing its components and its voice.

    Raises CheckpointError in place of whatever wrong values made Python, PyTorch or coqui-tts raise, and for a network
    that is much larger than its weights.
    """
    check_sizes(checkpoint)
    most = 4 * sum(value.numel() for value in checkpoint.weights.values()) + _SPARE
    elements, counted = 0, dict[int, nn.Parameter]()  # an export of the network registers the same ones again

    def count(_: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal elements
        if parameter is not None and id(parameter) not in counted:
            counted[id(parameter)] = parameter
            elements += parameter.numel()
        if elements > (_DRAWN if checkpoint.located.is_random else most):
            raise CheckpointError(
                f"checkpoint {checkpoint.name}: its config describes a network of over {elements:,} weights, which its "
                "file does not hold"
            )

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    except (VoxportError, OSError, MemoryError):
        raise
    except Exception as error:
        message = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"checkpoint {checkpoint.name}: its config or its weights are not what the family "
            f"{checkpoint.located.family} reads: {type(error).__name__}: {message}"
        ) from error
    finally:
        hook.remove()


def check_sizes(checkpoint: LoadedCheckpoint) -> None:
    """Raises SettingsError for a number in a section that describes a network or its audio which is negative where
    it counts, not finite, or beyond all sense."""
    for section in _SECTIONS:
        value = checkpoint.config.get(section)
        if isinstance(value, Mapping):
            for name, entry in value.items():
                check_number(f"checkpoint {checkpoint.name}: {section}", str(name), entry)


def check_number(of: str, name: str, value: Any, depth: int = 0) -> None:
    """Raises SettingsError where a number of this name, or one within a list or a table, cannot be right."""
    if depth > 8:
        raise SettingsError(f"{of}.{name} is nested too deeply")
    if isinstance(value, Mapping):
        for key, entry in value.items():
            check_number(f"{of}.{name}", str(key), entry, depth + 1)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) > LARGEST:
            raise SettingsError(f"{of}.{name} has {len(value)} entries")
        for entry in value:
            check_number(of, name, entry, depth + 1)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        largest = next((most for part, most in _LARGEST_OF.items() if part in name), LARGEST)
        least = -largest if of.endswith("audio") else 0  # levels are below zero, sizes are not
        if any(part in name for part in _AT_LEAST_1) and "padding" not in name:
            # PyTorch builds such layers and fails when they are called
            least = 1
        if not least <= value <= largest:
            raise SettingsError(f"{of}.{name} is {value}: it may be {least:,} to {largest:,}")
