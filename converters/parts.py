"""Describes what families have in common: vocoders, a voice's components of flexible length, tables of speakers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from checkpoints import CheckpointError
from checkpoints.load import LoadedCheckpoint
from converters.component import Component
from converters.fitting import SettingsError, check_number
from converters.options import ConversionError, Shape
from ops.streaming import Input, frames_reached
from runtime.bundle.conversion import FeatureStage, LocalStage, Stage, TrackingStage, VoicingStage, clock_of
from runtime.bundle.spec import Dim, TensorSpec, TimeAxis
from runtime.speech.features import LocalFeatures, Sound
from runtime.speech.mel import Mel
from runtime.speech.spectrum import Pitch, PitchCandidates

Settings = TypeVar("Settings")


def part_component(
    module: nn.Module,
    name: str,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    computes: str,
    sizes: tuple[int, ...] = (),
    time: TimeAxis | None = None,
    sound: Sound | None = None,
) -> Component:
    """Builds a component of a voice; inputs go to the next larger of `sizes`, masked."""

    def example() -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(0)
        return {spec.name: _example(spec, generator) for spec in inputs}

    return Component(
        name, module.eval(), inputs, outputs, example, computes, time, sound=sound, sizes=sizes, padded=True
    )


def along_time(
    module: nn.Module,
    name: str,
    inputs: tuple[TensorSpec, ...],
    output: TensorSpec,
    computes: str,
    sample_rate: int,
    samples_per_frame: int = 1,
    hop_length: int = 1,
    sound: Sound | None = None,
    targets: Mapping[str, str] | None = None,
    sources: Mapping[str, str] | None = None,
    positions: int = 1,
) -> Component:
    """Builds a component of a conversion that is local in time along its first input, in fields of `TimeAxis` and
    `Component`. Its receptive field is read from the network."""
    module.eval()
    first, *constants = inputs
    given = [
        Input(first.name, first.default_shape, 2, positions),
        *(Input(one.name, one.default_shape) for one in constants),
    ]
    time = TimeAxis(
        first.name, output.name, 2, 2, samples_per_frame, *frames_reached(module, given), sample_rate,
        positions=positions, hop_length=hop_length,
    )  # fmt: skip

    def example() -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(0)
        return {spec.name: _example(spec, generator) for spec in inputs}

    return Component(
        name, module, inputs, (output,), example, computes, time, sound=sound, targets=targets or {},
        sources=sources or {},
    )  # fmt: skip


def vocoder_component(
    module: nn.Module,
    computes: str,
    features: Mel,
    shape: Shape,
    reach: tuple[int, int] | None = None,
    extra: int = 0,
) -> Component:
    """`generator`: mel (1, rows, T) -> audio (1, 1, hop_length * T + extra).

    `reach`: frames before and after its own that a frame of audio depends on; read from the network where not given.
    """
    hop, rows = features.hop_length, features.n_mels + features.noise_rows
    mel = TensorSpec("mel", (1, rows, time_axis(shape)), "float32", features.unit)
    left, right = reach or frames_reached(module.eval(), [Input("mel", (1, rows, 0), 2)])
    return Component(
        name="generator",
        module=module.eval(),
        inputs=(mel,),
        outputs=(TensorSpec("audio", (1, 1, time_axis(shape, hop, extra)), "float32", "amplitude, full scale 1.0"),),
        # for tracing; measurements use the mel of real speech
        example=lambda: {"mel": torch.randn(mel.default_shape, generator=torch.Generator().manual_seed(0))},
        computes=computes,
        time=TimeAxis("mel", "audio", 2, 2, hop, left, right, features.sample_rate, extra=extra),
        features=features,
        sound=Sound(features.sample_rate, dataclasses.replace(features, noise_rows=0)),
    )


def shortest_input(component: Component) -> int:
    """Frames that padding by reflection needs, by trying."""
    rows = component.inputs[0].default_shape[1]
    for frames in range(2, 64):
        try:
            with torch.inference_mode():
                component.module(torch.zeros(1, rows, frames))
        except RuntimeError:
            continue
        return frames
    return 64


def content_vocoder_component(
    module: nn.Module, computes: str, audio: Mel, channels: int, shape: Shape, reach: tuple[int, int], extra: int = 0
) -> Component:
    """`generator` of another model's content: content (1, channels, T) -> audio (1, 1, hop_length * T + extra).

    Arguments as `vocoder_component`; its audio is judged in the bands of `audio`.
    """
    judged = dataclasses.replace(audio, n_mels=80, noise_rows=0)
    component = vocoder_component(module, computes, judged, shape, reach, extra)
    content = TensorSpec("content", (1, channels, time_axis(shape)), "float32", "content of speech")
    assert component.time is not None
    return dataclasses.replace(
        component,
        inputs=(content,),
        example=lambda: {"content": torch.randn(content.default_shape, generator=torch.Generator().manual_seed(0))},
        time=dataclasses.replace(component.time, input="content"),
        features=None,
    )


def pitch_stages(default: Pitch | PitchCandidates, detector: Component | None) -> list[Stage]:
    """The stages that give `pitch`, in Hz and 0 where it is unvoiced, on the clock of `default`: YIN's as it is set
    there, the likeliest of its candidates, or that of a component of another model, which gives rows of frequency and
    confidence.

    Raises ConversionError for a component that detects no pitch of audio.
    """
    if detector is None and isinstance(default, PitchCandidates):
        return [FeatureStage("pitch_candidates", default), TrackingStage("pitch", "pitch_candidates")]
    if detector is None:
        return [FeatureStage("pitch", default)]
    features, rows = detector.features, detector.outputs[0].default_shape
    if detector.time is None or not isinstance(features, LocalFeatures) or len(rows) != 3 or rows[1] != 2:
        raise ConversionError(
            f"component {detector.name} gives no frequency and confidence along time: model.parts.pitch takes a "
            "detector of pitch, such as family swift_f0"
        )
    return [
        FeatureStage("pitch_features", features),
        LocalStage("pitch_detected", detector.name, ("pitch_features",)),
        VoicingStage("pitch", "pitch_detected", clock_of(default)),
    ]


def _example(spec: TensorSpec, generator: torch.Generator) -> Tensor:
    if spec.dtype == "int32":
        return torch.randint(0, 8, spec.default_shape, generator=generator, dtype=torch.int32)
    if spec.name.endswith("mask"):
        return torch.ones(spec.default_shape)
    return torch.randn(spec.default_shape, generator=generator)


def time_axis(shape: Shape, positions: int = 1, extra: int = 0) -> int | Dim:
    """The axis of time that was asked for, of so many positions per frame and `extra` at the end."""
    if shape.min_frames is None or shape.max_frames is None:
        return shape.frames * positions + extra
    return Dim(*(count * positions + extra for count in (shape.min_frames, shape.max_frames, shape.frames)))


def sized_axis(sizes: tuple[int, ...]) -> Dim:
    """Returns an axis of any length up to the largest size."""
    return Dim(2, sizes[-1], sizes[0])


def embedding(name: str, channels: int) -> tuple[TensorSpec, ...]:
    """The input of a condition; none where there is none."""
    return (TensorSpec(name, (1, channels, 1), "float32", "embedding"),) if channels else ()


def known_settings(kind: type[Settings], config: Mapping[str, Any]) -> Settings:
    """A family's dataclass of settings from a config that holds more; what is not set there keeps its default.

    Raises SettingsError for a value of another type than the dataclass states, or one that is negative, not finite or
    beyond all sense.
    """
    known = {item.name for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values = {name: value for name, value in config.items() if name in known and value is not None}
    for name, value in values.items():
        check_number("the checkpoint's config", name, value)
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(map(str, wrong["loc"]))
        raise SettingsError(
            f"the checkpoint's config says {where}: {str(wrong['input'])[:80]!r}, which does not fit: {wrong['msg']}"
        ) from error


def speaker_table(config: Mapping[str, Any], takes_vectors: bool, rows: nn.Module | None) -> dict[str, Tensor]:
    """`speakers` (N, D): the rows of an embedding, or the vectors beside the checkpoint where a voice takes those."""
    vectors = config.get("speaker_vectors")
    if isinstance(rows, nn.Embedding):
        return {"speakers": rows.weight}
    return {"speakers": torch.tensor(list(vectors.values()))} if takes_vectors and vectors else {}


def table_rows(checkpoint: LoadedCheckpoint, table: str) -> int:
    """Rows of an embedding of the checkpoint, 0 where it has none."""
    weights = checkpoint.weights.get(f"{table}.weight")
    return 0 if weights is None else len(weights)


def speaker_names(config: Mapping[str, Any], takes_vectors: bool, rows: int) -> dict[str, int]:
    """Name -> row of the table `speakers`."""
    vectors = config.get("speaker_vectors")
    if takes_vectors:
        return {name: row for row, name in enumerate(vectors or {})}
    listed = config.get("speakers")  # Coqui's newer configs list them
    names = {name: row for row, name in enumerate(listed)} if listed else config.get("speaker_ids")
    return named_rows(names, rows)


def named_rows(names: Any, rows: int) -> dict[str, int]:
    """Name -> row; numbers stand for themselves where the config has no names.

    Raises CheckpointError for a name whose row the table does not have.
    """
    if isinstance(names, Mapping) and names:
        numbered = {str(name): int(row) for name, row in names.items()}
        beyond = [name for name, row in numbered.items() if row < 0 or (rows and row >= rows)]
        if beyond:
            raise CheckpointError(f"{beyond[0]!r} is row {numbered[beyond[0]]} of a table of {rows} rows")
        return numbered
    return {str(row): row for row in range(rows)}
