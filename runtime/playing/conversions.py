"""Audio to audio: a bundle's conversion with its components opened, of a file at once or as a microphone's audio comes
(`converted`, `ConversionChain`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from runtime.bundle.conversion import ContextName, Conversion, FeatureStage, LocalStage, RetrieveStage, WindowedStage
from runtime.bundle.form import burst
from runtime.bundle.store import Bundle, BundleError, Manifest, newest_bundle
from runtime.bundle.voice import VOICE_TABLES
from runtime.engines import AUTO, Execution
from runtime.machine.files import read_arrays
from runtime.playing.parts import Collected, FrameStream, Parts, checked_index
from runtime.playing.player import Constants, Player, open_player
from runtime.playing.sizes import open_sized
from runtime.playing.stages import NOBODY, Frontend, Target
from runtime.playing.stream import Stream
from runtime.playing.tracks import waits_beyond
from runtime.speech.bark import Bark
from runtime.speech.features import LocalFeatures
from runtime.speech.mel import Mel
from runtime.speech.resampling import PROMPT, Resampler


class LiveChain(Protocol):
    """Audio in, audio out, both at `sample_rate`, in blocks of any size; output comes about `chunk` samples at once."""

    sample_rate: int
    chunk: int

    @property
    def latency(self) -> dict[str, float]:
        """Milliseconds by part that no speed can remove."""
        ...

    def push(self, samples: np.ndarray) -> np.ndarray: ...

    def flush(self) -> np.ndarray: ...

    def reset(self) -> None: ...


def conversion_of(bundle: Bundle) -> Conversion:
    """A bundle's conversion; of one component that makes audio of features, these two stages.

    Raises BundleError for a bundle that makes no audio of audio.
    """
    if bundle.manifest.conversion is not None:
        return bundle.manifest.conversion
    record = bundle.main
    if record.time is None or record.sound is None or not isinstance(record.features, LocalFeatures):
        raise BundleError(f"{bundle.path.name}: component {record.name} makes no audio of audio")
    stages = (FeatureStage("features", record.features), LocalStage(record.name, record.name, ("features",)))
    return Conversion(stages, "embedding" if record.targets else "built_in")


def newest_live_voice(folder: Path) -> Path:
    """Returns, of the bundles in a folder that convert to a voice of their own as audio comes, the one that was made
    last; drawn weights are nobody's voice.

    Raises BundleError where none does.
    """
    newest = newest_bundle(folder, _is_live_voice)
    if newest is None:
        raise BundleError(
            f"{folder}/ holds no live voice: `python -m convert model=kathleen_live` makes one, or name a bundle"
        )
    return newest


def _is_live_voice(manifest: Manifest) -> bool:
    conversion = manifest.conversion
    if conversion is None or conversion.target != "built_in" or manifest.checkpoint.random:
        return False
    streaming = {component.name for component in manifest.components if component.stream is not None}
    return conversion.context_names == ("offline",) and streaming.issuperset(conversion.components)


def says(bundle: Bundle) -> str:
    """What a bundle does to audio, for a user: what takes a vocoder's features alone repeats it."""
    main = bundle.main
    if bundle.manifest.conversion is None and isinstance(main.features, Mel | Bark) and not main.targets:
        return f"copy-synthesis: audio, {main.features.kind}, vocoder, audio"
    names = ", ".join(stage.name for stage in conversion_of(bundle).stages)
    return f"conversion: audio, {names}, another voice's audio"


class ConversionChain:
    """A conversion that streams: audio in at the device's `sample_rate`, and out at `rate_out`, by default the same.

    Raises StreamError for a player that does not stream, BundleError as `Frontend`.
    """

    def __init__(
        self, frontend: Frontend, player: Player, constants: Constants = None, rate_out: int | None = None
    ) -> None:
        self.sample_rate, self._frontend, self._time = frontend.sample_rate, frontend, player.time
        self._stream = player.stream(constants)
        self._outwards = Resampler(player.time.sample_rate, rate_out or frontend.sample_rate, PROMPT)
        self._frame_seconds = player.time.samples_per_frame / player.time.sample_rate
        self.chunk_seconds = self._stream.form.chunk * self._frame_seconds  # of the last stage
        self.chunk = math.ceil(self._at_once() * frontend.sample_rate - 1e-6)

    def push(self, samples: np.ndarray) -> np.ndarray:
        return self._outwards.push(self._played(self._frontend.push(samples)))

    def flush(self) -> np.ndarray:
        rest = self._played(self._frontend.flush())
        end = self._stream.flush()[self._time.output].reshape(-1)
        return self._outwards.push(np.concatenate([rest, end]), last=True)

    def reset(self) -> None:
        for part in (self._frontend, self._stream, self._outwards):
            part.reset()

    @property
    def latency(self) -> dict[str, float]:
        """Milliseconds by part that no speed can remove."""
        form, parts = self._stream.form, self._frontend.latency
        parts["resampling"] += 1e3 * self._outwards.delay()
        lookahead, chunk = waits_beyond(self._frontend.paces, form.pace, form.lookahead)
        delays = {"chunk": chunk, "lookahead": lookahead}
        return parts | {name: 1e3 * frames * self._frame_seconds for name, frames in delays.items()}

    def _at_once(self) -> float:
        """Seconds of audio that come at once, at most."""
        if self._frontend.is_even:
            return burst([*self._frontend.paces, self._stream.form.pace]) * self._frame_seconds
        return self.chunk_seconds + self._frontend.block_seconds

    def _played(self, frames: np.ndarray) -> np.ndarray:
        return self._stream.push({self._time.input: frames})[self._time.output].reshape(-1)


def open_conversion(
    bundle: Bundle,
    target: Target,
    sample_rate: int,
    context: ContextName = "live",
    execution: Execution = AUTO,
    pitch_shift: float = 0.0,
    quality: str = PROMPT,
) -> Frontend:
    """Opens the stages of a bundle's conversion but the last. Arguments and errors as `Frontend`.

    Raises StreamError where a live one would wait for a component that takes all at once.
    """
    conversion = conversion_of(bundle)
    parts = parts_of(bundle, conversion, execution, target, context == "live")
    return Frontend(conversion, parts, target, sample_rate, context, pitch_shift, quality)


def parts_of(
    bundle: Bundle,
    conversion: Conversion,
    execution: Execution = AUTO,
    target: Target = NOBODY,
    is_live: bool = False,
) -> Parts:
    """Opens the components of a bundle's conversion but the last.

    Raises as `voxport.load`, and StreamError where a live one takes all at once.
    """
    return open_parts(bundle, conversion, execution, is_live)(target)


def open_parts(
    bundle: Bundle, conversion: Conversion, execution: Execution = AUTO, is_live: bool = False
) -> Callable[[Target], Parts]:
    """Opens them once, for any target. Arguments and errors as `parts_of`; those of a live one come with the target."""
    windowed = {
        stage.component: open_sized(bundle, execution, stage.component)
        for stage in conversion.stages
        if isinstance(stage, WindowedStage)
    }
    players = {
        stage.component: open_player(bundle, execution, stage.component)
        for stage in conversion.stages[:-1]
        if isinstance(stage, LocalStage)
    }

    index = _index_of(bundle, conversion)

    def parts(target: Target) -> Parts:
        if is_live:
            for name, player in players.items():
                player.stream(target.of(bundle.component(name)))

        def run(name: str, frames: np.ndarray) -> np.ndarray:
            record = bundle.component(name)
            constants = target.of(record)
            (source,) = (spec.name for spec in record.inputs if spec.name not in constants)
            return windowed[name].run({source: frames, **constants})[record.outputs[0].name]

        def stream(name: str) -> FrameStream:
            record, player = bundle.component(name), players[name]
            constants, channels = target.of(record), record.outputs[0].default_shape[1]
            if player.form is None:
                return Collected(lambda frames: player.play(frames, constants), channels)
            return Streamed(player, player.stream(constants), channels)

        return Parts(run, stream, index)

    return parts


def _index_of(bundle: Bundle, conversion: Conversion) -> dict[str, np.ndarray]:
    """The retrieval index of a conversion, where it has one. Raises BundleError for one that cannot be read."""
    if not any(isinstance(stage, RetrieveStage) for stage in conversion.stages):
        return {}
    try:
        return checked_index(read_arrays(bundle.path / VOICE_TABLES))
    except (OSError, ValueError) as error:
        raise BundleError(f"{bundle.path.name}: {VOICE_TABLES} cannot be read: {error}") from error


class Streamed:
    """A stream of one input and one output along time, as a `FrameStream`."""

    def __init__(self, player: Player, stream: Stream, channels: int) -> None:
        self._time, self._stream, self.channels = player.time, stream, channels
        self.chunk, self.lookahead, self.pace = stream.form.chunk, stream.form.lookahead, stream.form.pace

    def push(self, frames: np.ndarray) -> np.ndarray:
        return self._stream.push({self._time.input: frames})[self._time.output]

    def flush(self) -> np.ndarray:
        return self._stream.flush()[self._time.output]

    def reset(self) -> None:
        self._stream.reset()


def converted(
    frontend: Frontend, player: Player, blocks: Iterable[np.ndarray], constants: Constants = None
) -> Iterator[np.ndarray]:
    """Yields the samples (n,) that a conversion makes of a recording in blocks, in any of the player's modes."""

    def frames() -> Iterator[np.ndarray]:
        for block in blocks:
            yield frontend.push(block)
        yield frontend.flush()

    for piece in player.pieces(frames(), constants):
        yield piece.reshape(-1)


def open_main(bundle: Bundle, execution: Execution = AUTO, mode: str | None = None, chunk: int | None = None) -> Player:
    """The player of a conversion's last stage. Raises as `open_player`, and as `conversion_of`."""
    return open_player(bundle, execution, conversion_of(bundle).components[-1], mode, chunk)
