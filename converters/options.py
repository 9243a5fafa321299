"""The options of a conversion; plain data, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from runtime.bundle.form import StateKind, StreamMode
from runtime.bundle.formats import FORMATS
from runtime.errors import VoxportError
from runtime.machine.setting import setting


class ConversionError(VoxportError, RuntimeError):
    """A conversion that cannot be done as asked; the message says what to change."""


class Impossible(ConversionError):
    """Two choices that exclude each other; a sweep leaves the pair out and says why."""


def check_pair(artefact_format: str, upsampler: str) -> None:
    """Raises Impossible for a form of upsampling that a format cannot hold."""
    facts = FORMATS.get(artefact_format)
    if facts is not None and upsampler not in facts.upsamplers:
        others = " or ".join(f"format={name}" for name, other in FORMATS.items() if upsampler in other.upsamplers)
        raise Impossible(
            f"upsampler={upsampler} with format={artefact_format}: {facts.why_not}; take upsampler=polyphase, {others}"
        )


COMPUTE = ("fp32", "fp16", "mixed")
WEIGHTS = ("", "linear", "palette")
GRANULARITIES = {
    "": ("",),
    "linear": ("per_tensor", "per_channel", "per_block"),
    "palette": ("per_tensor", "per_grouped_channel"),
}


ALL_GRANULARITIES = tuple(dict.fromkeys(name for names in GRANULARITIES.values() for name in names if name))


@dataclass
class PrecisionOptions:
    """What numbers are computed and stored in. Mixed is fp16 but for the fewest ops that bring the outputs `gain_db`
    closer to float32 than fp16 does, found in at most `conversions` conversions.

    Weights are stored as they are, as integers (linear) or as indices into a table (palette); with `least_db` those
    that cost most stay, until the outputs are within that of what they were. Joint forms: the smallest weights are
    zeros that take no place (`sparsity`); a palette's table is itself of integers (`table_int8`).
    """

    name: str = setting("", "as it stands in a bundle's name")
    compute: str = setting("", "type of the arithmetic [what the name says]", values=COMPUTE)
    gain_db: float = setting(10.0, "mixed: dB closer to float32 than fp16 is")
    conversions: int = setting(6, "mixed: conversions that the search may take")
    weights: str = setting("", "stored as integers or as indices into a table [as they are]", values=WEIGHTS[1:])
    bits: int = setting(8, "of a stored weight: 4 or 8 linear, 1 to 8 of a palette")
    granularity: str = setting("", "what shares a scale or a table [per_tensor]", values=ALL_GRANULARITIES)
    group_size: int = setting(32, "of a block, or of the channels that share a table")
    min_elements: int = setting(2048, "tensors of fewer stay as they are")
    least_db: float | None = setting(None, "SNR to the program before: the dearest tensors stay as they are")
    sparsity: float = setting(0.0, "share of the weights, the smallest, that become zeros")
    table_int8: bool = setting(False, "palette: the table is itself of integers")
    kind: str = setting("", "whose gates judge it where it has none [compressed, or as compute]")

    def __post_init__(self) -> None:
        self.compute = self.compute or self.name
        self.kind = self.kind or ("compressed" if self.weights else self.compute)
        if self.weights not in WEIGHTS:
            raise ConversionError(f"there is no precision.weights {self.weights!r}; there is: {', '.join(WEIGHTS[1:])}")
        allowed = GRANULARITIES[self.weights]
        self.granularity = self.granularity or allowed[0]
        if self.granularity not in allowed:
            raise ConversionError(
                f"precision.granularity={self.granularity}: weights={self.weights or 'none'} takes {', '.join(allowed)}"
            )
        bits = {"linear": (4, 8), "palette": (1, 2, 3, 4, 6, 8)}.get(self.weights, (self.bits,))
        if self.bits not in bits:
            raise ConversionError(
                f"precision.bits={self.bits}: weights={self.weights} takes {', '.join(map(str, bits))}"
            )
        if not 0 <= self.sparsity < 1 or self.group_size < 1 or self.conversions < 3 or self.gain_db <= 0:
            raise ConversionError(
                "precision needs 0 <= sparsity < 1, group_size >= 1, conversions >= 3 and gain_db > 0, got "
                f"{self.sparsity:g}, {self.group_size}, {self.conversions} and {self.gain_db:g}"
            )
        if self.table_int8 and self.weights != "palette":
            raise ConversionError("precision.table_int8 is for weights=palette")

    @property
    def needs_cases(self) -> bool:
        """Whether something is chosen by what the program does with real inputs."""
        return self.compute == "mixed" or self.least_db is not None


@dataclass
class Shape:
    """Lengths of the time axis, in input frames: one fixed length, or the bounds of a flexible one."""

    frames: int = setting(64, "input frames of a call, or the default of a flexible length")
    min_frames: int | None = setting(None, "shape=flexible: the shortest")
    max_frames: int | None = setting(None, "shape=flexible: the longest")

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
    """What an artefact is, and for what."""

    name: str = setting("mlprogram", "as it stands in a bundle's name")
    target: str = setting("macOS15", "oldest system that an mlprogram must run on")
    opset: int = setting(18, "of an ONNX file")


# Beside an artefact: what executes in its place here, and what an app adds.
TWIN_FOLDER, CUSTOM_LAYER_FOLDER = "twin", "custom_layer"

STREAM_MODES = ("offline", *get_args(StreamMode))
STATES = tuple(kind for kind in get_args(StateKind) if kind != "none")
KEEPS = ("auto", "layer", "stage")  # as `ops.streaming` has them, which imports torch


@dataclass
class StreamOptions:
    """The form of a component that is local in time."""

    mode: str = setting("offline", "how it is called", values=STREAM_MODES)
    chunk: int = setting(8, "input frames of a call; nothing where it does not stream")
    lookahead: int = setting(5, "lowlat: frames that it looks ahead")
    state: str = setting("explicit", "stateful: inputs and outputs, or Core ML's own (macOS 15, fp16)", values=STATES)
    keep: str = setting(
        "auto", "stateful: where state is kept: the fastest, after layers, between stages", values=KEEPS
    )

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("mode", self.mode, STREAM_MODES),
            ("state", self.state, STATES),
            ("keep", self.keep, KEEPS),
        ):
            if value not in choices:
                raise ConversionError(f"there is no stream.{name} {value!r}; there is: {', '.join(choices)}")
        if self.chunk < 1 or self.lookahead < 0:
            raise ConversionError(f"stream needs chunk >= 1 and lookahead >= 0, got {self.chunk} and {self.lookahead}")
        if self.state == "mlstate" and self.mode != "stateful":
            raise ConversionError(f"stream.state=mlstate is for stream=stateful, not {self.mode}")

    @property
    def name(self) -> str:
        """The mode as it stands in a bundle's name: stateful8, stateful8stage, lowlat2r5."""
        if self.mode == "offline":
            return self.mode
        lookahead = f"r{self.lookahead}" if self.mode == "lowlat" else ""
        keep = "" if self.mode != "stateful" or self.keep == "auto" else self.keep
        return f"{self.mode}{self.chunk}{lookahead}{'m' if self.state == 'mlstate' else ''}{keep}"


def check_format(options: FormatOptions, precision: PrecisionOptions, shape: Shape, stream: StreamOptions) -> None:
    """Raises Impossible for what a format cannot hold, before anything is loaded for it."""
    facts = FORMATS.get(options.name)
    if facts is None:  # refused by the format's own group
        return
    what = f"format={options.name}"
    if precision.compute not in facts.computes:
        raise Impossible(f"precision={precision.name} with {what}: it computes in {', '.join(facts.computes)}")
    if precision.weights and not facts.is_compressed:
        raise Impossible(f"precision={precision.name} with {what}: it stores weights as {', '.join(facts.computes)}")
    if precision.weights and stream.mode != "offline" and not facts.compressed_streams:
        raise Impossible(
            f"precision={precision.name} with {what}: it compresses layers, and the module of a stream's chunk has "
            "none: add stream=offline, or take format=mlprogram"
        )
    if stream.state == "mlstate" and not facts.has_states:
        raise Impossible(f"stream.state=mlstate with {what}: states are Core ML's own; take stream.state=explicit")
    if stream.state == "mlstate" and precision.compute != "fp16":
        raise Impossible(f"stream.state=mlstate with precision={precision.name}: Core ML keeps states in fp16")
    if shape.flexible and not facts.is_flexible:
        raise Impossible(f"shape=flexible with {what}: it is converted at a fixed shape; take shape=fixed")


PARTS = ("vocoder", "speaker_encoder")  # other models that a voice may be made of

MIN_CLIP_SECONDS = 0.5  # STOI compares stretches of 0.4 s


@dataclass
class GoldenOptions:
    """What an artefact is judged on."""

    clips: list[str] = setting(text="recordings of speech, such as your own [three that ship]", factory=list)

    def __post_init__(self) -> None:
        stems = [path.stem for path in self.paths()]
        for path in self.paths():
            if stems.count(path.stem) > 1:
                raise ConversionError(
                    f"goldens.clips has several files called {path.stem}: golden cases are named after their clips, "
                    "give each a name of its own"
                )
            _check_clip(path)

    def paths(self) -> list[Path]:
        return [Path(clip).expanduser() for clip in self.clips]


def _check_clip(path: Path) -> None:
    """Raises ConversionError for what is no recording to judge by."""
    import soundfile

    if not path.is_file():
        raise ConversionError(f"goldens.clips names {path}: there is no such file")
    try:
        info = soundfile.info(path)
    except soundfile.SoundFileError as error:
        raise ConversionError(f"goldens.clips names {path}, which cannot be read as audio: {error}") from error
    if info.duration < MIN_CLIP_SECONDS:
        raise ConversionError(
            f"goldens.clips names {path} of {info.duration:.2f} s: a clip takes at least {MIN_CLIP_SECONDS} s of speech"
        )
