"""The options of a conversion; plain data, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from runtime.bundle.form import StateKind, StreamMode
from runtime.bundle.formats import FORMATS
from runtime.errors import VoxportError


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


@dataclass
class PrecisionOptions:
    """What numbers are computed and stored in. `compute`: type of the arithmetic, by default what the name says; mixed
    is fp16 but for the fewest ops that bring the outputs `gain_db` closer to float32 than fp16 does, found in at most
    `conversions` conversions.

    `weights`: stored as they are, as integers (linear, 4 or 8 `bits`) or as indices into a table (palette, 1 to 8), by
    `granularity` in groups or blocks of `group_size`; tensors of fewer than `min_elements` stay, and with `least_db`
    those that cost most, until the outputs are within that of what they were. Joint forms: the
    smallest weights, a share `sparsity` of them, are zeros that take no place; a palette's table is itself of integers
    (`table_int8`). `kind`: whose gates judge it where it has none of its own, by default compressed with such weights,
    else those of `compute`.
    """

    name: str = ""
    compute: str = ""
    gain_db: float = 10.0
    conversions: int = 6
    weights: str = ""
    bits: int = 8
    granularity: str = ""
    group_size: int = 32
    min_elements: int = 2048
    least_db: float | None = None
    sparsity: float = 0.0
    table_int8: bool = False
    kind: str = ""

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


# Beside an artefact: what executes in its place here, and what an app adds.
TWIN_FOLDER, CUSTOM_LAYER_FOLDER = "twin", "custom_layer"

STREAM_MODES = ("offline", *get_args(StreamMode))
STATES = tuple(kind for kind in get_args(StateKind) if kind != "none")


@dataclass
class StreamOptions:
    """The form of a component that is local in time. `chunk`: input frames per call; `lookahead`: frames that lowlat
    looks ahead; `state`: of stateful, as inputs and outputs or as Core ML's own (macOS 15, fp16)."""

    mode: str = "offline"
    chunk: int = 8
    lookahead: int = 5
    state: str = "explicit"

    def __post_init__(self) -> None:
        for name, value, choices in (("mode", self.mode, STREAM_MODES), ("state", self.state, STATES)):
            if value not in choices:
                raise ConversionError(f"there is no stream.{name} {value!r}; there is: {', '.join(choices)}")
        if self.chunk < 1 or self.lookahead < 0:
            raise ConversionError(f"stream needs chunk >= 1 and lookahead >= 0, got {self.chunk} and {self.lookahead}")
        if self.state == "mlstate" and self.mode != "stateful":
            raise ConversionError(f"stream.state=mlstate is for stream=stateful, not {self.mode}")

    @property
    def name(self) -> str:
        """The mode as it stands in a bundle's name: stateful8, lowlat2r5."""
        if self.mode == "offline":
            return self.mode
        lookahead = f"r{self.lookahead}" if self.mode == "lowlat" else ""
        return f"{self.mode}{self.chunk}{lookahead}{'m' if self.state == 'mlstate' else ''}"


PARTS = ("vocoder", "speaker_encoder")  # other models that a voice may be made of

MIN_CLIP_SECONDS = 0.5  # STOI compares stretches of 0.4 s


@dataclass
class GoldenOptions:
    """What an artefact is judged on. `clips`: recordings of speech, such as one's own voice or language; none named are
    the three that ship with voxport."""

    clips: list[str] = field(default_factory=list)

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
