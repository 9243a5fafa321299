"""A bundle that speaks: symbols or text in, audio out, the end of the chain streamed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from runtime.bundle.spec import InputError, taken
from runtime.bundle.store import Bundle, BundleError, Manifest, newest_bundle, open_bundle
from runtime.bundle.voice import VOICE_TABLES, VoiceRecord
from runtime.engines import AUTO, Execution
from runtime.errors import TextError
from runtime.machine.files import read_arrays
from runtime.playing.chains import Request, Utterance, utter
from runtime.playing.player import Player, open_player
from runtime.playing.sizes import open_sized
from runtime.speech.mel import Mel, require_same_spectrum
from runtime.speech.normalization import reading_settings, spoken_sentences
from runtime.speech.text import Reading, halves, read

SENTENCE_PAUSE = 0.2  # seconds of silence between sentences, as Piper leaves


def newest_voice(folder: Path) -> Path:
    """Returns, of the bundles in a folder that speak, the one that was converted last; drawn weights say nothing.

    Raises BundleError where none speaks.
    """
    newest = newest_bundle(folder, _speaks)
    if newest is None:
        raise BundleError(
            f"{folder}/ holds no voice: `python -m convert model=fastspeech2` makes one, --voice names one"
        )
    return newest


def _speaks(manifest: Manifest) -> bool:
    return manifest.voice is not None and not any(
        checkpoint.random for checkpoint in (manifest.checkpoint, *manifest.parts.values())
    )


class Voice:
    """A voice speaks with every component opened in one engine.

    `vocoder`: a bundle whose vocoder plays the mel instead of the voice's own; `mode` and `chunk`: its
    (`player.open_player`). Other arguments and errors as `voxport.load`; BundleError for a bundle that does not speak,
    AudioError for a vocoder of another mel, StreamError for a mode that it lacks.
    """

    def __init__(
        self,
        bundle: str | Path | Bundle,
        execution: Execution = AUTO,
        vocoder: str | Path | Bundle | None = None,
        mode: str | None = None,
        chunk: int | None = None,
    ) -> None:
        self.bundle = open_bundle(bundle)
        name, record = self.bundle.path.name, self.bundle.manifest.voice
        if record is None:
            raise BundleError(f"{name} does not speak: convert a voice, such as model=vits")
        self.record: VoiceRecord = record
        self.parts = {
            component.name: open_sized(self.bundle, execution, component.name)
            for component in self.bundle.manifest.components
            if component.name not in (record.last, record.speaker_encoder, sampled_by(self.bundle))
        }
        playing = self.bundle
        if vocoder is not None:
            if record.acoustic is None:
                raise BundleError(f"{name} makes audio by itself: leave out --vocoder")
            playing = open_bundle(vocoder)
            self.record = _played_by(playing, record, record.acoustic)
        self.last: Player = open_player(playing, execution, mode=mode, chunk=chunk)
        self.tables = read_tables(self.bundle)

    @property
    def engine(self) -> str:
        return f"{self.last.engine.name} on {self.last.engine.device}"

    def run(self, component: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self.parts[component].run(taken(self.bundle.component(component).inputs, inputs))

    def utterance(self, request: Request) -> Utterance:
        """Runs everything but the last component. Raises InputError for what is too long, TextError for what it
        cannot say."""
        return utter(self.record, self.run, request)

    def pieces(self, utterance: Utterance) -> Iterator[np.ndarray]:
        """Samples (n,), as they become ready."""
        frames = self._long_enough(utterance.frames)
        time = self.last.time
        left = time.samples(time.frames(utterance.frames.shape))
        for piece in self.last.pieces(frames, utterance.constants):
            yield piece.reshape(-1)[:left]
            left = max(left - piece.size, 0)

    def audio(self, utterance: Utterance) -> np.ndarray:
        """Returns all samples (N,)."""
        return np.concatenate(list(self.pieces(utterance)))

    def _long_enough(self, frames: np.ndarray) -> np.ndarray:
        """An artefact of a fixed length takes no less: zeros follow, which the last frames of a word can hear."""
        axis, least = self.last.time.input_axis, self.last.shortest
        length = frames.shape[axis]
        if length >= least:
            return frames
        warnings.warn(
            f"an utterance of {length} frames is shorter than the artefact takes ({least}): its end is approximate; "
            "convert with stream=stateful for any length",
            stacklevel=2,
        )
        return np.pad(frames, [(0, least - length if index == axis else 0) for index in range(frames.ndim)])

    def speaker(self, name: str | None) -> np.ndarray | None:
        """The embedding of a speaker by name, the first one's by default; None for a voice without any.

        Raises BundleError for a name that the voice does not have.
        """
        return self._row("speakers", self.record.speakers, name)

    def language(self, name: str | None) -> np.ndarray | None:
        """Returns the embedding of a language, as `speaker` returns that of a speaker."""
        return self._row("languages", self.record.languages, name)

    def _row(self, table: str, names: Mapping[str, int], name: str | None) -> np.ndarray | None:
        if table not in self.tables:
            if name is not None:
                raise BundleError(f"{self.bundle.manifest.name} has one voice: there are no {table} to choose from")
            return None
        if name is not None and name not in names:
            known = ", ".join(list(names)[:20])
            raise BundleError(f"there is no {table[:-1]} {name!r}; there is: {known}{', …' if len(names) > 20 else ''}")
        return self.tables[table][names[name] if name is not None else 0]


def _played_by(vocoder: Bundle, record: VoiceRecord, acoustic: Mel) -> VoiceRecord:
    """The voice's record with another bundle's vocoder for its own."""
    features = vocoder.main.features
    if not isinstance(features, Mel):
        raise BundleError(f"{vocoder.path.name} is no vocoder: what `python -m convert model=hifigan` made is one")
    require_same_spectrum(acoustic, features)
    return replace(record, features=features)


def sampled_by(bundle: Bundle) -> str | None:
    """The component that makes samples of what the last one gives."""
    return bundle.main.sampler.component if bundle.main.sampler else None


def utterances(voice: Voice, text: str, request: Request) -> Iterator[tuple[Reading, Utterance]]:
    """Speaks a text sentence by sentence, one that is too long for the artefact in halves; fills in `request.ids`.

    The noise of each sentence has a seed of its own, counted from `request.seed`. Warns of what of the text is markup
    or a picture, which is not spoken.
    Raises TextError where there is nothing to say, a word alone is too long, or a phonemizer is not installed.
    """
    script = spoken_sentences(text, voice.record.text)
    for note in script.notes:
        warnings.warn(note, stacklevel=2)
    if not script.sentences:
        raise TextError(f"there is nothing to say in {text.strip()[:40]!r}" if text.strip() else "there is no text")
    waiting, settings = list(reversed(script.sentences)), reading_settings(voice.record.text)
    number = 0
    while waiting:
        sentence = waiting.pop()
        reading = read(sentence, settings)
        sentence_request = replace(request, ids=np.array(reading.ids), seed=request.seed + number)
        try:
            utterance = voice.utterance(sentence_request)
        except InputError as error:
            parts = halves(sentence)
            if parts is None:
                raise TextError(f"{sentence[:40]!r} is too long to be spoken at once: {error}") from error
            waiting += [part for part in reversed(parts) if any(letter.isalnum() for letter in part)]
            continue
        number += 1
        yield reading, utterance


def read_tables(bundle: Bundle) -> dict[str, np.ndarray]:
    """The tables of a voice's speakers and languages; none where it has no choice. Raises BundleError."""
    path = bundle.path / VOICE_TABLES
    if not path.is_file():
        return {}
    try:
        return read_arrays(path)
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} is damaged: {error}") from error
