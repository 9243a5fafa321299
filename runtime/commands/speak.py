"""speak."""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from runtime.bundle.store import BundleError
from runtime.commands import BUNDLES, execution_of
from runtime.errors import TextError
from runtime.machine.terminal import is_quiet
from runtime.playing.chains import Request
from runtime.playing.embed import SpeakerEmbedder
from runtime.playing.speak import SENTENCE_PAUSE, Voice, newest_voice, utterances
from runtime.speech.recordings import check_wav, wav_file


def speak(options: argparse.Namespace) -> dict[str, Any]:
    """Speaks a text and returns what it took: time to the first audio from text, and elapsed / audio. Audio is written
    as it comes."""
    text = sys.stdin.read() if options.text == "-" else options.text
    if not 0.1 <= options.pace <= 10:
        raise TextError(f"--pace takes 0.1 to 10, got {options.pace:g}")
    check_wav(options.target)
    options.voice = options.voice or newest_voice(BUNDLES)
    loading = time.perf_counter()
    _print_progress(f"loading {options.voice.name}; the first time of a machine takes longer")
    mode = "fold" if options.fold else None
    voice = Voice(options.voice, execution_of(options), options.vocoder, mode)
    shifts = {kind: getattr(options, kind) for kind in ("pitch", "energy")}
    for kind, by in shifts.items():
        if by and kind not in voice.record.prosody:
            raise BundleError(f"{options.voice.name} predicts no {kind} that --{kind} could shift")
    speaker = _speaker(voice, options)
    language = voice.language(options.language)
    request = Request(np.zeros(0, np.int64), options.seed, speaker, language, options.pace, **shifts)
    rate = voice.record.sample_rate
    pause = np.zeros(round(SENTENCE_PAUSE * rate), np.float32)
    unknown: dict[str, None] = {}
    sentences, samples, first = 0, 0, None
    started = time.perf_counter()
    with wav_file(options.target, rate) as write:
        for reading, utterance in utterances(voice, text, request):
            for piece in itertools.chain([pause] if sentences else [], voice.pieces(utterance)):
                if first is None and len(piece):
                    first = time.perf_counter() - started
                write(piece)
                samples += len(piece)
            sentences += 1
            _print_progress(f"sentence {sentences}: {samples / rate:.1f} s of audio")
            unknown.update(dict.fromkeys(reading.unknown))
        elapsed = time.perf_counter() - started
    seconds = samples / rate
    facts: dict[str, Any] = {
        "voice": voice.bundle.manifest.name,
        "engine": voice.engine,
        "sentences": sentences,
        "seconds": round(seconds, 3),
        "loaded_s": round(started - loading, 2),
        "first_audio_ms": round(1e3 * (first or elapsed), 1),
        "rtf": round(elapsed / seconds, 3),
        "wrote": str(options.target),
    }
    if unknown:
        facts["left out"] = f"symbols that the voice does not know: {' '.join(unknown)}"
    return facts


def _print_progress(line: str) -> None:
    """Prints progress, on a terminal only."""
    if sys.stderr.isatty() and not is_quiet():
        print(line, file=sys.stderr)


def _speaker(voice: Voice, options: argparse.Namespace) -> np.ndarray | None:
    """Returns the speaker's vector: by name, or as an embedding of a recording."""
    recording = Path(options.speaker) if options.speaker else None
    if recording is None or options.speaker in voice.record.speakers or not recording.is_file():
        if recording is not None and voice.record.embedding_channels and not voice.record.speakers:
            raise FileNotFoundError(f"there is no recording {options.speaker}")
        vector = voice.speaker(options.speaker)
        if vector is None and voice.record.embedding_channels:
            also = "" if voice.record.speaker_encoder else " and --encoder BUNDLE"
            raise BundleError(f"this voice speaks as a recording: pass --speaker REF.wav{also}")
        return vector
    if not voice.record.embedding_channels:
        raise BundleError(f"{options.voice.name} has voices of its own and clones none: --speaker takes their names")
    if options.encoder is None and not voice.record.speaker_encoder:
        raise BundleError("to speak as a recording pass --encoder BUNDLE, what `python -m convert model=ge2e` made")
    embedder = SpeakerEmbedder(options.encoder or voice.bundle, execution_of(options))
    vector = embedder.embed_file(recording).vector
    if len(vector) != voice.record.embedding_channels:
        raise BundleError(
            f"the encoder's embeddings have {len(vector)} values, the voice takes {voice.record.embedding_channels}: "
            "take the encoder that the voice was trained with"
        )
    return vector / np.linalg.norm(vector)
