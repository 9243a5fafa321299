"""The immutable directory of a finished conversion: artefacts, reference, goldens, manifest.

Everything an engine, a stream or a measurement needs is in it; no model family's code is.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator

from ops.metal.layout import UpsampleShape
from runtime.bundle.conversion import Conversion
from runtime.bundle.form import StreamForm
from runtime.bundle.formats import FORMATS, Upsampler
from runtime.bundle.sampler import Sampler
from runtime.bundle.schema import SCHEMA_VERSION, upgraded
from runtime.bundle.spec import TensorSpec, TimeAxis
from runtime.bundle.trust import is_ours, vouch_for
from runtime.bundle.voice import VoiceRecord
from runtime.errors import VoxportError
from runtime.machine.checked import Name, PathInside, checked_name
from runtime.machine.files import read_arrays, read_json
from runtime.speech.features import Features, Sound

MANIFEST = "manifest.json"
GOLDENS = "goldens.npz"
MODULES = ".places.json"  # behind a component's name: function -> output of an op -> module of the original
USUAL_LENGTHS = ("64", "8..512")  # shape=fixed, shape=flexible
VOICE_GOLDENS = "voice"  # in the place of a component's name
RECORDINGS = "recordings"  # likewise
_TRANSCRIPT = "transcript"


class BundleError(VoxportError, ValueError):
    """A bundle that is missing, incomplete, damaged or of another schema."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class CheckpointRecord(_Record):
    """Where the weights came from. `fallback`: the bundled weights stood in for an unreachable default; `random`: they
    were drawn."""

    name: str
    family: str
    licence: str
    source: str
    sha256: str
    fallback: bool = False
    random: bool = False


class OptionsRecord(_Record):
    """What was asked for."""

    format: str
    precision: str
    upsampler: Upsampler
    mode: str
    target: str


class MixedRecord(_Record):
    """Records one function in mixed precision: the ops kept in fp32, by their outputs' names, and the module that each
    comes from. SNR to the same program in float32, on the goldens: `fp16_db`, as the whole in fp16 gives it;
    `budget_db`, wanted; `reached_db`, by the artefact. What the search took: `conversions` and `simulations`."""

    kept: dict[str, str]
    ops: int
    fp16_db: float
    budget_db: float
    reached_db: float
    conversions: int
    simulations: int

    def __str__(self) -> str:
        met = "" if self.reached_db >= self.budget_db else " (not reached)"
        return (
            f"{len(self.kept)} of {self.ops} ops in fp32: {self.reached_db:.1f} dB to float32, {self.budget_db:.1f} "
            f"wanted{met}, {self.fp16_db:.1f} in fp16 alone ({self.conversions} conversions, {self.simulations} "
            "simulations)"
        )


class ComponentRecord(_Record):
    """One artefact and how to feed it; `computes` names the upstream function, `ops` counts what it is made of.
    `validated_by`: the artefact that is executed in its place where only a Mac can execute it. `upsampling`: its
    transposed convolutions in the order in which they run, at the default shape. `sizes`: of the flexible axes, and
    the functions that take them, without any they are free; `padded`: an input goes to the next larger one, else
    its rows are dealt out. `reference_size`: of the reference, where its axes are not free. `mixed`: by function;
    `excluded`: tensors that a compressed precision left as they were. `sampler`: how samples are made of its output.
    `targets`: inputs that say whose voice it is to be, and the components that make them of a recording of that voice;
    `sources`: those that say whose it was, likewise.

    `inputs` and `outputs` are those of the component; where `stream` is set, the artefact takes a chunk at a time.
    """

    name: Name
    artefact: PathInside
    reference: PathInside
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    computes: str
    ops: dict[str, int]
    time: TimeAxis | None = None
    features: Features | None = None
    sound: Sound | None = None
    stream: StreamForm | None = None
    validated_by: PathInside | None = None
    upsampling: tuple[UpsampleShape, ...] = ()
    sizes: dict[int, str] = {}
    padded: bool = False
    reference_size: int = 0
    mixed: dict[str, MixedRecord] = {}
    excluded: tuple[str, ...] | None = None
    sampler: Sampler | None = None
    targets: dict[str, Name] = {}
    sources: dict[str, Name] = {}

    @property
    def encoders(self) -> dict[str, str]:
        """Every input that says whose voice it is or was -> the component that makes it."""
        return self.sources | self.targets

    @model_validator(mode="after")
    def _names_what_it_has(self) -> Self:
        ranks = {spec.name: len(spec.shape) for spec in (*self.inputs, *self.outputs)}
        if self.sampler is not None and self.time is not None:
            ranks.setdefault(self.time.output, 3)  # what is sampled of its output, (1, 1, N)
        along = [] if self.time is None else [(self.time.input, self.time.input_axis),
                                              (self.time.output, self.time.output_axis)]  # fmt: skip
        for name, axis in along:
            if axis >= ranks.get(name, 0):
                raise ValueError(f"{self.name} has no tensor {name!r} with an axis {axis}")
        inputs = {spec.name: spec for spec in self.inputs}
        if self.time is not None and self.time.input in inputs:
            self.time.window(inputs[self.time.input])  # raises where not even one frame fits
        if not set(self.encoders) <= set(inputs):
            raise ValueError(f"{self.name} has no input {min(set(self.encoders) - set(inputs))!r}")
        ports = () if self.stream is None else (*self.stream.inputs, *self.stream.outputs)
        for port in ports:
            if port.hi <= port.lo or port.axis >= ranks.get(port.name, 0):
                raise ValueError(f"{self.name} cannot stream {port.name!r}")
        if self.stream is not None and not (self.stream.inputs and self.stream.outputs):
            raise ValueError(f"{self.name} streams nothing")
        return self


class Manifest(_Record):
    """`files`: sha256 of every file of the bundle but the manifest. `voice`: how its components speak together,
    `conversion`: how they convert audio to audio; `parts`: checkpoints of those that came from another model, by
    component."""

    schema_version: int = SCHEMA_VERSION
    name: Name
    key: str
    created: str
    checkpoint: CheckpointRecord
    options: OptionsRecord
    components: tuple[ComponentRecord, ...]
    voice: VoiceRecord | None = None
    conversion: Conversion | None = None
    parts: dict[str, CheckpointRecord] = {}
    versions: dict[str, str]
    git_commit: str | None
    parameters: int
    notes: tuple[str, ...] = ()
    files: dict[str, str]

    @model_validator(mode="after")
    def _names_what_it_has(self) -> Self:
        names = [component.name for component in self.components]
        if not names or len(set(names)) < len(names):
            raise ValueError("its components have no names of their own")
        ends = [] if self.voice is None else [self.voice.last]
        ends += [] if self.conversion is None else self.conversion.components
        ends += [component.sampler.component for component in self.components if component.sampler]
        encoders = {name for component in self.components for name in component.encoders.values()}
        ends += encoders
        if not set(ends) <= set(names):
            raise ValueError(f"it has no component {sorted(set(ends) - set(names))[0]!r}")
        for component in self.components:
            ranks = [len(spec.shape) for spec in component.inputs]
            if component.name in encoders and (ranks != [3] or len(component.outputs) != 1):
                raise ValueError(
                    f"{component.name} makes no target: it takes no windows alone, or gives several outputs"
                )
        if self.options.format not in FORMATS:
            raise ValueError(f"there is no format {self.options.format!r}")
        return self

    @property
    def series(self) -> str:
        """What is compared from night to night: `<checkpoint>-<format>-<precision>-<upsampler>-<mode>`, then the target
        and the length in frames where they are not the usual ones."""
        how = self.options
        names = [self.checkpoint.name, how.format, how.precision, how.upsampler, how.mode]
        if how.target != FORMATS[how.format].target:
            names.append(how.target.replace(" ", ""))
        return "-".join([*names, *self._unusual_lengths()])

    def _unusual_lengths(self) -> list[str]:
        """Names the lengths along time that are not the usual ones, of components that take an utterance at once. A
        chunk's length is in the mode."""
        lengths = []
        for component in self.components:
            if component.time is None or component.stream is not None or component.sizes:
                continue
            taken = component.time.window(next(spec for spec in component.inputs if spec.name == component.time.input))
            lengths.append(str(taken.lo) if taken.lo == taken.hi else str(taken))
        return sorted({f"{length.replace('..', 'to')}frames" for length in lengths if length not in USUAL_LENGTHS})


@dataclass(frozen=True)
class GoldenCase:
    """Real inputs of one clip, the fp32 PyTorch outputs for them, and the recording they were made from."""

    clip: str
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    recording: np.ndarray | None

    def along(self, time: TimeAxis) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The input along time, and those that are constant in it."""
        return self.inputs[time.input], {name: array for name, array in self.inputs.items() if name != time.input}


@dataclass(frozen=True)
class Recording:
    """A clip that a conversion's goldens were made of: `samples` (N,) float32 at the conversion's `sample_rate`.
    `transcript`: its words, empty where nobody wrote them down."""

    clip: str
    samples: np.ndarray
    transcript: str = ""


@dataclass(frozen=True)
class Bundle:
    """A bundle that was checked when it was opened: who holds one need not open or hash it again."""

    path: Path
    manifest: Manifest

    def component(self, name: str | None = None) -> ComponentRecord:
        """The named component, or the only one. Raises BundleError."""
        known = {component.name: component for component in self.manifest.components}
        if name is None and len(known) == 1:
            return self.manifest.components[0]
        if name not in known:
            raise BundleError(f"{self.path.name}: name one of its components: {', '.join(known)}")
        return known[name]

    @property
    def main(self) -> ComponentRecord:
        """The only component, or the one that ends a chain, is sampled from or has a target: what is heard."""
        components, conversion = self.manifest.components, self.manifest.conversion
        if conversion is not None:
            return self.component(conversion.components[-1])
        last = next((component.name for component in components if component.sampler or component.targets), None)
        return self.component(self.manifest.voice.last if self.manifest.voice else last)

    @property
    def sound(self) -> Sound | None:
        """The audio that it makes and the mel that this is judged in; None where it makes none."""
        return self.main.sound

    def spoken(self) -> list[GoldenCase]:
        """The golden cases of a whole voice, end to end: symbols in, audio out."""
        return read_goldens(self.path / GOLDENS, VOICE_GOLDENS)

    def audio_of(self, case: GoldenCase) -> np.ndarray:
        """The reference's samples (N,) of a golden case of what makes audio."""
        time = self.main.time
        return case.outputs["audio" if time is None else time.output].reshape(-1)

    def artefact(self, component: ComponentRecord) -> Path:
        return self.path / component.artefact

    def executable(self, component: ComponentRecord) -> Path:
        """The artefact, or its stand-in where this machine cannot execute it."""
        if component.validated_by is not None and platform.system() != "Darwin":
            return self.path / component.validated_by
        return self.artefact(component)

    def reference(self, component: ComponentRecord) -> Path:
        return self.path / component.reference

    def goldens(self, component: ComponentRecord) -> list[GoldenCase]:
        """The component's golden cases, in the order in which they were stored."""
        return read_goldens(self.path / GOLDENS, component.name)

    def recordings(self) -> list[Recording]:
        """The clips that a conversion's goldens were made of; each was converted to the voice of the next, the last to
        that of the first. None in a bundle that an older voxport made."""
        return [
            Recording(case.clip, case.recording, str(case.inputs.get(_TRANSCRIPT, "")))
            for case in read_goldens(self.path / GOLDENS, RECORDINGS)
            if case.recording is not None
        ]

    @property
    def measured(self) -> Path:
        """Where measurements and the report of this bundle lie: beside it, because it never changes."""
        return self.path.with_name(f"{self.path.name}.measured")

    @cached_property
    def is_ours(self) -> bool:
        """Whether this machine made it, or a copy of it."""
        return is_ours((self.path / MANIFEST).read_bytes())

    @property
    def artefact_bytes(self) -> int:
        return sum(size_of(self.artefact(component)) for component in self.manifest.components)


def read_goldens(path: Path, component: str) -> list[GoldenCase]:
    """The cases of one component, in the order in which they were stored. Raises BundleError for a damaged file."""
    cases: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    try:
        for key, array in read_arrays(path, f"{component}/").items():
            _, clip, kind, tensor = key.split("/")
            cases.setdefault(checked_name(clip), {}).setdefault(kind, {})[tensor] = array
        return [
            GoldenCase(clip, kinds.get("in", {}), kinds.get("out", {}), kinds.get("recording", {}).get("samples"))
            for clip, kinds in cases.items()
        ]
    except (OSError, KeyError, ValueError) as error:
        raise BundleError(f"{path} is damaged: {error}") from error


def recording_case(recording: Recording) -> GoldenCase:
    """Returns a recording as it is kept among the goldens, under `RECORDINGS`."""
    words = {_TRANSCRIPT: np.array(recording.transcript)} if recording.transcript else {}
    return GoldenCase(recording.clip, words, {}, recording.samples)


def write_goldens(path: Path, cases: Mapping[str, Sequence[GoldenCase]]) -> None:
    """cases: by component, `VOICE_GOLDENS` of the whole voice, `RECORDINGS` of what a conversion converts."""
    arrays: dict[str, np.ndarray] = {}
    for owner, goldens in cases.items():
        for case in goldens:
            arrays.update({f"{owner}/{case.clip}/in/{name}": value for name, value in case.inputs.items()})
            arrays.update({f"{owner}/{case.clip}/out/{name}": value for name, value in case.outputs.items()})
            if case.recording is not None:
                arrays[f"{owner}/{case.clip}/recording/samples"] = case.recording
    np.savez(path, **arrays)  # type: ignore[arg-type]  # its stub takes keywords for options


def file_hashes(folder: Path) -> dict[str, str]:
    """Relative path -> sha256 of every file below `folder`, the manifest excepted."""
    hashes = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file != folder / MANIFEST:
            with file.open("rb") as stream:
                hashes[file.relative_to(folder).as_posix()] = hashlib.file_digest(stream, "sha256").hexdigest()
    return hashes


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Completes a bundle, which this machine then knows as its own."""
    content = (json.dumps(manifest.model_dump(mode="json"), indent=1) + "\n").encode()
    (folder / MANIFEST).write_bytes(content)
    vouch_for(content)


def open_bundle(path: str | Path | Bundle) -> Bundle:
    """The bundle at `path`, every file checked against the manifest; one that is open already as it is.

    Raises BundleError for a bundle that is missing, incomplete, changed, or of an unknown schema, and for one that
    names or links to what lies outside it.
    """
    if isinstance(path, Bundle):
        return path
    path = Path(path)
    manifest = read_manifest(path)
    _refuse_links(path)
    _verify(path, manifest)
    return Bundle(path, manifest)


def newest_bundle(folder: Path, fits: Callable[[Manifest], bool]) -> Path | None:
    """Returns, of the bundles in a folder that fit, the one that was converted last; None where none does."""
    fitting: list[tuple[str, Path]] = []
    for path in folder.glob(f"*/{MANIFEST}"):
        with suppress(BundleError):
            manifest = read_manifest(path.parent)
            if fits(manifest):
                fitting.append((manifest.created, path.parent))
    return max(fitting)[1] if fitting else None


def read_manifest(path: Path) -> Manifest:
    """Reads what the bundle at `path` says of itself, its files unseen: enough to choose among bundles.

    Raises BundleError for what is no bundle, or of an unknown schema.
    """
    manifest_path = path / MANIFEST
    if path.suffix == ".mlmodelc":
        raise BundleError(
            f"{path} is compiled for Core ML, which alone opens it, on a Mac: voxport executes what it was compiled "
            "from, an .mlpackage or an .mlmodel"
        )
    if not manifest_path.is_file():
        raise BundleError(f"{path} is not a bundle: it has no {MANIFEST}")
    try:
        raw: Mapping[str, Any] = read_json(manifest_path)
    except (OSError, ValueError) as error:
        raise BundleError(f"{manifest_path} is damaged: {error}") from error
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version not in range(1, SCHEMA_VERSION + 1) or isinstance(version, bool | float):
        raise BundleError(f"{manifest_path} has schema {version!r}, this voxport reads schemas 1 to {SCHEMA_VERSION}")
    try:
        return TypeAdapter(Manifest).validate_python(upgraded(raw))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BundleError(f"{manifest_path} is damaged: {where}: {first['msg']}") from error


def _verify(path: Path, manifest: Manifest) -> None:
    hashes = file_hashes(path)
    for name, want in manifest.files.items():
        if name not in hashes:
            raise BundleError(f"{path}: {name} is missing")
        if hashes[name] != want:
            raise BundleError(
                f"{path}: {name} is not what was converted (sha256 {hashes[name][:12]}, want {want[:12]})"
            )
    surplus = sorted(set(hashes) - set(manifest.files))
    if surplus:
        raise BundleError(f"{path}: {surplus[0]} does not belong to the bundle")


def _refuse_links(path: Path) -> None:
    """A link can lead out of the bundle, to what no hash of it was made of; voxport writes none."""
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            if os.path.islink(os.path.join(folder, name)):
                where = Path(folder, name).relative_to(path)
                raise BundleError(f"{path}: {where} is a link, which may lead outside: a bundle holds files")


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a directory."""
    return path.stat().st_size if path.is_file() else sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
