"""How well a conversion converts: golden clips in the voice of the next clip, and silence, through the artefacts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from runtime.bundle.conversion import ContextName, LocalStage
from runtime.bundle.store import Bundle
from runtime.engines import Execution
from runtime.errors import AudioError
from runtime.machine.checked import Name
from runtime.measuring.listening import RATE, Listeners, Reading, compared, plain_words
from runtime.playing.conversions import ConversionChain, conversion_of, converted, open_parts
from runtime.playing.parts import Parts
from runtime.playing.player import Player
from runtime.playing.stages import NOBODY, Frontend, Target
from runtime.playing.targets import targets_from
from runtime.speech.resampling import PROMPT, resampled
from runtime.speech.speaker import cosine
from runtime.speech.spectrum import Pitch

F0 = Pitch(RATE, 1024, 160)
DEVICE_RATE = 48000  # of the sound cards that a delay is stated for
_SEMITONES = 12.0  # of an octave
_LEAST_FRAMES = 10  # that are voiced, for a median or a correlation of F0 to say something
_SILENCE_SECONDS = 1.5
_ROOM_DB = -60.0
_LEAST_DB = -120.0  # what digital silence is written as


@dataclass(frozen=True)
class ConvertedResult:
    """A golden clip in the voice of another, or silence, in one context. What was not measured is None; what is not
    defined, as the pitch of an output without a voice, is no number (NaN).

    `silence_db`, `room_db`: level of what comes of digital silence and of a room's noise of -60 dB, of full scale.
    `f0_correlation`: of log F0 with the source's, where both are voiced; `register`: median F0 above the target's, in
    semitones. Similarities are cosines of speaker embeddings; `similarity_unconverted`: of source and target. `mos`:
    the mean opinion score that DistillMOS predicts.
    """

    case: Name
    target: Name
    context: ContextName
    seconds: float
    silence_db: float | None = None
    room_db: float | None = None
    f0_correlation: float | None = None
    register: float | None = None
    similarity_to_target: float | None = None
    similarity_to_source: float | None = None
    similarity_unconverted: float | None = None
    mos: float | None = None
    readings: tuple[Reading, ...] = ()


@dataclass(frozen=True)
class Analysis:
    """A recording as it is compared. `f0`: (frames,) Hz every 10 ms, 0 unvoiced; `embedding`: (D,), None where nobody
    embeds and empty where there is no speech; `mos`: predicted mean opinion score; `texts`: what each reader reads."""

    seconds: float
    f0: np.ndarray
    embedding: np.ndarray | None = None
    mos: float | None = None
    texts: Mapping[str, str] = field(default_factory=dict)


def analysed(samples: np.ndarray, listeners: Listeners, *, is_read: bool = True, transcript: str = "") -> Analysis:
    """samples (N,) at 16 kHz -> what is compared of it. `transcript`: stands for what the readers would read."""
    embedding = None
    if listeners.embed is not None:
        try:
            embedding = listeners.embed(samples)
        except AudioError:
            embedding = np.zeros(0, np.float32)
    texts = {}
    if is_read:
        words = plain_words(transcript)
        texts = {name: words or reader.read(samples, RATE) for name, reader in listeners.readers.items()}
    mos = None if listeners.opinion is None else listeners.opinion(samples)
    return Analysis(len(samples) / RATE, F0.of(samples)[0], embedding, mos, texts)


def judged(
    case: str, whose: str, context: ContextName, source: Analysis, target: Analysis | None, output: Analysis
) -> ConvertedResult:
    """Returns the record of one converted clip. `target`: None where the voice is in the weights, and no recording of
    it is there."""
    return ConvertedResult(
        case,
        whose,
        context,
        output.seconds,
        f0_correlation=f0_correlation(source.f0, output.f0),
        register=None if target is None else register(output.f0, target.f0),
        similarity_to_target=_similarity(output, target),
        similarity_to_source=_similarity(output, source),
        similarity_unconverted=_similarity(source, target),
        mos=output.mos,
        readings=tuple(compared(name, source.texts[name], text) for name, text in output.texts.items()),
    )


def f0_correlation(source: np.ndarray, output: np.ndarray) -> float:
    """Pearson's, of log F0 where both are voiced; (frames,) each, in Hz, 0 unvoiced. NaN for hardly any such frame."""
    count = min(len(source), len(output))
    both = (source[:count] > 0) & (output[:count] > 0)
    if both.sum() < _LEAST_FRAMES:
        return float("nan")
    pair = np.log(source[:count][both]), np.log(output[:count][both])
    return float(np.corrcoef(*pair)[0, 1]) if min(map(np.ptp, pair)) > 0 else float("nan")


def register(output: np.ndarray, target: np.ndarray) -> float:
    """Semitones from the median F0 of a target to that of an output; NaN where one of them is hardly voiced."""
    voiced = [f0[f0 > 0] for f0 in (output, target)]
    if min(map(len, voiced)) < _LEAST_FRAMES:
        return float("nan")
    return float(_SEMITONES * np.log2(np.median(voiced[0]) / np.median(voiced[1])))


def _similarity(one: Analysis, other: Analysis | None) -> float | None:
    """The cosine of two embeddings; None where nobody embeds, NaN where there is no speech to embed."""
    if other is None or one.embedding is None or other.embedding is None:
        return None
    return cosine(one.embedding, other.embedding) if len(one.embedding) and len(other.embedding) else float("nan")


def level_db(samples: np.ndarray) -> float:
    """The level of samples (N,) in dB of full scale, not below -120."""
    power = float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
    return float(10 * np.log10(max(power, 10 ** (_LEAST_DB / 10))))


def silences(sample_rate: int) -> dict[str, tuple[str, np.ndarray]]:
    """Name -> (the metric that its level is, samples (N,)): digital silence, and white noise of -60 dB as a room's."""
    count = round(_SILENCE_SECONDS * sample_rate)
    noise = np.random.default_rng(0).standard_normal(count).astype(np.float32)
    return {
        "silence": ("silence_db", np.zeros(count, np.float32)),
        "room": ("room_db", np.float32(10 ** (_ROOM_DB / 20)) * noise),
    }


Keep = Callable[[str, np.ndarray], None]  # of audio (N,) under a name


def kept_name(case: str, context: ContextName) -> str:
    """What the audio of a golden clip in a context is kept as."""
    return f"converted-{context}-{case}"


def convert_goldens(
    bundle: Bundle, player: Player, execution: Execution, listeners: Listeners, keep: Keep
) -> tuple[list[ConvertedResult], dict[str, float]]:
    """(a record of every golden clip and silence in every context; milliseconds by part of what live audio waits for,
    however fast the machine is: empty where the last stage does not stream).

    `player`: of the last stage. Nothing is recorded for a bundle that does not keep its recordings.
    """
    conversion, recordings = conversion_of(bundle), bundle.recordings()
    rate, contexts = conversion.sample_rate, conversion.context_names
    results: list[ConvertedResult] = []
    waits: dict[str, float] = {}
    at_16k = [resampled(one.samples, rate, RATE, "VHQ") for one in recordings]
    sides = [analysed(samples, listeners, transcript=one.transcript) for samples, one in zip(at_16k, recordings)]
    parts = open_parts(bundle, conversion, execution)
    pairs = [(voice.samples, source.samples) for voice, source in zip([*recordings[1:], *recordings[:1]], recordings)]
    targets = targets_from(bundle, pairs, rate, parts(NOBODY), execution)
    for index, (source, side, target) in enumerate(zip(recordings, sides, targets)):
        other = (index + 1) % len(recordings)
        run = _Conversion(bundle, player, target, parts(target), rate)
        for context in contexts:
            audio = run.audio(context, source.samples)
            keep(kept_name(source.clip, context), audio)
            output = analysed(resampled(audio, player.time.sample_rate, RATE, "VHQ"), listeners)
            whose = None if conversion.target == "built_in" else sides[other]
            results.append(judged(source.clip, recordings[other].clip, context, side, whose, output))
        if index == 0:
            results += run.of_silences(recordings[other].clip)
            waits = run.waits()
    return results, waits


@dataclass(frozen=True)
class _Conversion:
    """A conversion to one target, opened."""

    bundle: Bundle
    player: Player
    target: Target
    parts: Parts
    rate: int

    def audio(self, context: ContextName, samples: np.ndarray) -> np.ndarray:
        """samples (N,) at `rate` -> (M,) at the player's."""
        frontend = self._frontend(context, self.rate)
        pieces = converted(frontend, self.player, [samples], self.target.of(self.bundle.main))
        return np.concatenate([np.zeros(0, np.float32), *pieces])

    def of_silences(self, whose: str) -> Iterator[ConvertedResult]:
        """Yields the records of digital silence and of a room's noise, in every context."""
        for name, (metric, samples) in silences(self.rate).items():
            for context in conversion_of(self.bundle).context_names:
                level = level_db(self.audio(context, samples))
                yield ConvertedResult(name, whose, context, len(samples) / self.rate, **{metric: level})  # type: ignore[arg-type]  # mypy takes the level for any field's

    def waits(self) -> dict[str, float]:
        """Milliseconds by part; empty where a stage does not stream."""
        local = [stage.component for stage in conversion_of(self.bundle).stages if isinstance(stage, LocalStage)]
        if self.player.form is None or not all(self.bundle.component(name).stream for name in local):
            return {}
        frontend = self._frontend("live", DEVICE_RATE)
        return ConversionChain(frontend, self.player, self.target.of(self.bundle.main)).latency

    def _frontend(self, context: ContextName, sample_rate: int) -> Frontend:
        conversion = conversion_of(self.bundle)
        quality = "VHQ" if sample_rate == self.rate else PROMPT
        return Frontend(conversion, self.parts, self.target, sample_rate, context, quality=quality)
