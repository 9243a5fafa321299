"""Whose voice a conversion is to be: made of recordings once, kept in a file, read again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from runtime.bundle.conversion import Conversion, WindowedStage
from runtime.bundle.store import Bundle, BundleError
from runtime.engines import AUTO, Execution
from runtime.machine.files import read_arrays, write_arrays
from runtime.playing.conversions import conversion_of, parts_of
from runtime.playing.parts import Parts
from runtime.playing.sizes import Batched, Padded, open_sized
from runtime.playing.stages import NOBODY, Target, pool_of
from runtime.speech.matching import ARRAYS, Pool, check_pool
from runtime.speech.recordings import audio_blocks, read_audio
from runtime.speech.resampling import resampled
from runtime.speech.target import check_level, check_speech, target_embedding

TARGET_SUFFIX = ".npz"
_ENOUGH = 60.0  # seconds of a target below which a word is said
_CLIPPED = 0.999  # full scale
_CLIPPED_SHARE = 0.001


@dataclass(frozen=True)
class MadeTarget:
    """A target with the seconds of speech that it was made of, and what a user should know of these."""

    target: Target
    seconds: float
    notes: tuple[str, ...] = ()


def target_of(
    bundle: Bundle, paths: Sequence[Path], execution: Execution = AUTO, own: Sequence[Path] = ()
) -> MadeTarget:
    """The target that a conversion takes, of recordings or of the one file that `write_target` wrote; with it, where
    the conversion wants to know that, whose voice the source is: `own`, likewise.

    `NOBODY` for a bundle of one voice. Raises BundleError where the bundle takes a target and there is none, or the
    other way round, and for a file that was made for another model; AudioError for what is no recording.
    """
    kind = conversion_of(bundle).target
    if kind == "built_in" and paths:
        raise BundleError(f"{bundle.path.name} has one voice: leave out --target")
    if kind != "built_in" and not paths:
        raise BundleError(f"{bundle.path.name} speaks as somebody: pass --target REF.wav")
    made = MadeTarget(NOBODY, 0.0) if kind == "built_in" else _read_or_made(bundle, paths, execution)
    sources = _encoders(bundle, "sources")
    if own and not sources:
        raise BundleError(f"{bundle.path.name} does not ask whose voice the source is: leave out --own")
    if not sources:
        return made
    if not own:
        raise BundleError(f"{bundle.path.name} wants to know whose voice the source is: pass --own REF.wav")
    by_encoder = _by_encoder(bundle, own, execution)
    missing = set(sources.values()) - set(by_encoder)
    if missing:
        raise BundleError(f"{own[0]} holds nothing that component {min(missing)} made")
    constants = {name: by_encoder[encoder] for name, encoder in sources.items()}
    return replace(made, target=replace(made.target, constants={**(made.target.constants or {}), **constants}))


def asks_for_own(bundle: Bundle) -> bool:
    """Whether a conversion wants to know whose voice the source is."""
    return bool(_encoders(bundle, "sources"))


def make_target(bundle: Bundle, recordings: Sequence[Path], execution: Execution = AUTO) -> MadeTarget:
    """Makes a target of recordings, of any rate and length.

    Raises BundleError for a bundle of one voice, AudioError for recordings of too little speech.
    """
    conversion = conversion_of(bundle)
    if conversion.target == "built_in":
        raise BundleError(f"{bundle.path.name} has one voice: it takes no target")
    if conversion.matching is not None:
        return _make_pool(bundle, conversion, recordings, execution)
    targets = _encoders(bundle, "targets")
    constants = {name: embedded(bundle, encoder, recordings, execution) for name, encoder in targets.items()}
    rate = _rate(bundle, next(iter(targets.values())))
    samples = np.concatenate([read_audio(path, rate) for path in recordings])
    check_speech(samples, rate)
    notes = _notes_on_clipping(float((np.abs(samples) >= _CLIPPED).mean()))
    return MadeTarget(Target(constants=constants), len(samples) / rate, notes)


def targets_from(
    bundle: Bundle, pairs: Iterable[tuple[np.ndarray, np.ndarray]], sample_rate: int, parts: Parts, execution: Execution
) -> Iterator[Target]:
    """Yields the target that a conversion takes for each (whose voice it is to be, what is converted), recordings (N,)
    in memory at `sample_rate`. However short they are, they are taken. `parts` run the conversion's components."""
    conversion = conversion_of(bundle)
    kinds = (_encoders(bundle, "targets"), _encoders(bundle, "sources"))
    opened = {encoder: open_sized(bundle, execution, encoder) for kind in kinds for encoder in kind.values()}
    for pair in pairs:
        if conversion.matching is not None:
            yield Target(pool=pool_of(conversion, parts, [[pair[0]]], sample_rate))
            continue
        constants: dict[str, np.ndarray] = {}
        for kind, samples in zip(kinds, pair):
            for name, encoder in kind.items():
                at_rate = resampled(samples, sample_rate, _rate(bundle, encoder), "VHQ")
                constants[name] = _embedded(bundle, encoder, opened[encoder], [at_rate])
        yield Target(constants=constants)


def embedded(bundle: Bundle, component: str, recordings: Sequence[Path], execution: Execution = AUTO) -> np.ndarray:
    """What a component makes of recordings of one speaker, (1, …): the mean over them."""
    rate, encoder = _rate(bundle, component), open_sized(bundle, execution, component)
    return _embedded(bundle, component, encoder, (read_audio(path, rate) for path in recordings))


def _embedded(
    bundle: Bundle, component: str, encoder: Batched | Padded, recordings: Iterable[np.ndarray]
) -> np.ndarray:
    """As `embedded`, of samples (N,) at the rate of the component's features."""
    record = bundle.component(component)
    (source,), (output,) = record.inputs, record.outputs
    vectors = [
        target_embedding(
            samples,
            record.features,
            source.default_shape[2],
            lambda windows: encoder.run({source.name: windows})[output.name],
        )
        for samples in recordings
    ]
    return np.concatenate(vectors).mean(axis=0, keepdims=True)


def _rate(bundle: Bundle, component: str) -> int:
    features = bundle.component(component).features
    assert features is not None
    return features.sample_rate


def write_target(path: Path, bundle: Bundle, record: MadeTarget) -> None:
    """Keeps a target, with what it was made by, in `path`."""
    arrays = {"made_by": np.array(_made_by(bundle)), "seconds": np.array(record.seconds)}
    if record.target.pool is not None:
        arrays |= record.target.pool.arrays
    arrays |= {f"constant/{name}": array for name, array in (record.target.constants or {}).items()}
    write_arrays(path, arrays)


def read_target(path: Path, bundle: Bundle) -> Target:
    """Reads what `write_target` kept. Raises BundleError for a file that was made for another model, or is none."""
    try:
        arrays = read_arrays(path)
        made_by = str(arrays.pop("made_by"))
        if made_by != _made_by(bundle):
            raise BundleError(f"{path} was made for {made_by}, this is {_made_by(bundle)}: make it anew")
        if "content" in arrays:
            return Target(pool=_read_pool(arrays, bundle))
        constants = {name.partition("/")[2]: value for name, value in arrays.items() if name.startswith("constant/")}
        if set(constants) != set(_encoders(bundle, "targets")):
            raise ValueError("it does not hold the inputs that say whose voice it is to be")
        return Target(constants=constants)
    except BundleError:
        raise
    except (OSError, KeyError, TypeError, ValueError) as error:  # TypeError: of arrays that are no numbers
        raise BundleError(f"{path} is no target that `python -m runtime target` wrote: {error}") from error


def _read_or_made(bundle: Bundle, paths: Sequence[Path], execution: Execution) -> MadeTarget:
    if len(paths) == 1 and paths[0].suffix == TARGET_SUFFIX:
        return MadeTarget(read_target(paths[0], bundle), 0.0)
    return make_target(bundle, paths, execution)


def _encoders(bundle: Bundle, kind: Literal["targets", "sources"]) -> dict[str, str]:
    """Input -> the component that makes it of a recording, over all components of the conversion."""
    encoders: dict[str, str] = {}
    for name in conversion_of(bundle).components:
        encoders |= getattr(bundle.component(name), kind)
    return encoders


def _by_encoder(bundle: Bundle, paths: Sequence[Path], execution: Execution) -> dict[str, np.ndarray]:
    """What components make of recordings, or what is kept of it in the one file that `write_target` wrote."""
    if len(paths) == 1 and paths[0].suffix == TARGET_SUFFIX:
        kept, targets = read_target(paths[0], bundle).constants or {}, _encoders(bundle, "targets")
        return {targets[name]: array for name, array in kept.items()}
    encoders = set(_encoders(bundle, "sources").values())
    return {encoder: embedded(bundle, encoder, paths, execution) for encoder in encoders}


def _notes_on_clipping(share: float) -> tuple[str, ...]:
    if share <= _CLIPPED_SHARE:
        return ()
    return (f"{share:.1%} of the target's samples are at full scale: a clipped recording sounds so",)


def _read_pool(arrays: Mapping[str, np.ndarray], bundle: Bundle) -> Pool:
    """Raises KeyError for a pool without what the conversion matches, ValueError for one whose content is not as wide
    as that which it compares."""
    conversion = conversion_of(bundle)
    matching = conversion.matching
    if matching is None:
        raise ValueError("it holds frames, and nothing is matched")
    names = ARRAYS if matching.mel is not None else ("content",)
    pool = Pool(**{name: arrays[name] for name in names}, is_centred=matching.centred)
    for stage in conversion.stages:
        if isinstance(stage, WindowedStage) and stage.name == matching.content:
            channels = bundle.component(stage.component).outputs[0].default_shape[1]
            if pool.content.shape[1] != channels:
                raise ValueError(f"its content has {pool.content.shape[1]} channels, want {channels}")
    return pool


def _make_pool(bundle: Bundle, conversion: Conversion, recordings: Sequence[Path], execution: Execution) -> MadeTarget:
    rate = conversion.sample_rate
    counters = [_Counted(audio_blocks(path, rate)) for path in recordings]
    pool = pool_of(conversion, parts_of(bundle, conversion, execution), counters, rate)
    samples = sum(counter.samples for counter in counters)
    seconds = samples / rate
    check_pool(pool, seconds)
    check_level(sum(counter.energy for counter in counters) / samples)
    clipped = sum(counter.clipped for counter in counters) / samples
    notes = [*_notes_on_clipping(clipped)]
    if seconds < _ENOUGH:
        notes.append(f"{seconds:.0f} s of the target: likeness and words gain up to some ten minutes")
    return MadeTarget(Target(pool=pool), seconds, tuple(notes))


class _Counted:
    """Blocks of a recording, counted as they pass."""

    def __init__(self, blocks: Iterator[np.ndarray]) -> None:
        self._blocks = blocks
        self.samples = self.clipped = 0
        self.energy = 0.0

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in self._blocks:
            self.samples += len(block)
            self.energy += float(np.sum(block.astype(np.float64) ** 2))
            self.clipped += int((np.abs(block) >= _CLIPPED).sum())
            yield block


def _made_by(bundle: Bundle) -> str:
    """Names what a target depends on: the model, and the stages by which it was made."""
    checkpoint, conversion = bundle.manifest.checkpoint, conversion_of(bundle)
    stages = repr(conversion.stages).encode()
    return f"{checkpoint.name} {checkpoint.sha256[:12]} {hashlib.sha256(stages).hexdigest()[:12]}"
