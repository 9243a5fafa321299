"""A voice put together with its vocoder, and its goldens: sentences through the original components, each of which
keeps what it was given and made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from converters.component import Component
from converters.goldens import Recorder, clip_goldens, rendered
from converters.options import PARTS, ConversionError
from runtime.bundle.store import VOICE_GOLDENS, GoldenCase
from runtime.bundle.voice import VoiceRecord
from runtime.errors import TextError
from runtime.playing.chains import Request, utter
from runtime.speech.mel import Mel, require_same_spectrum
from runtime.speech.sentences import golden_sentences
from runtime.speech.speaker import utterance_embedding
from runtime.speech.text import read_symbols

GOLDEN_SENTENCES, SAMPLED_SENTENCES = 4, 2
SPEAKER_ENCODER = "speaker_encoder"


Joined = tuple[VoiceRecord, tuple[Component, ...]]


def join(part: str, record: VoiceRecord, components: tuple[Component, ...]) -> Joined:
    """A voice with another model of which it is made, by what that is to it; that model's components as they are called
    there.

    Raises ConversionError for a part that no voice has, AudioError or ConversionError for one that does not fit it.
    """
    if part not in JOINS:
        raise ConversionError(f"a voice has no part {part!r}; it takes: {', '.join(JOINS)}")
    return JOINS[part](record, components)


def _with_vocoder(record: VoiceRecord, components: tuple[Component, ...]) -> Joined:
    """Adds the vocoder that plays the mel of the voice's chain."""
    vocoder = components[0]
    time, features = vocoder.time, vocoder.features
    assert time is not None and isinstance(features, Mel) and record.features is not None
    require_same_spectrum(record.features, features)
    playing = replace(
        record,
        last=vocoder.name,
        sample_rate=time.sample_rate,
        samples_per_frame=time.samples_per_frame,
        features=features,
        acoustic=record.features,
    )
    return playing, components


def _with_speaker_encoder(record: VoiceRecord, components: tuple[Component, ...]) -> Joined:
    """Adds the encoder that embeds whom a voice that clones is to speak as."""
    (encoder,) = components
    size, channels = encoder.outputs[0].shape[-1], record.embedding_channels
    if size != channels:
        takes = f"the voice takes {channels}" if channels else "the voice has speakers of its own"
        raise ConversionError(f"the speaker encoder's embeddings have {size} values: {takes}")
    return replace(record, speaker_encoder=SPEAKER_ENCODER), (replace(encoder, name=SPEAKER_ENCODER),)


JOINS = dict(zip(PARTS, (_with_vocoder, _with_speaker_encoder), strict=True))


def voice_goldens(
    components: Sequence[Component],
    record: VoiceRecord,
    tables: Mapping[str, np.ndarray],
    clips: Sequence[Path],
    sampled_frames: int,
) -> dict[str, list[GoldenCase]]:
    """Returns for each component its inputs and outputs within each sentence, and the sentences end to end.

    The sentences are stored as phonemes and as letters: no phonemizer is needed. A voice that reads neither is given
    symbols of its own, drawn.
    """
    cases: dict[str, list[GoldenCase]] = {component.name: [] for component in components}
    cases[VOICE_GOLDENS] = []
    known = {component.name: component for component in components}
    conditions = _conditions(record, tables)
    if record.speaker_encoder:
        cases |= clip_goldens([known[record.speaker_encoder]], clips)
        rows = cases[record.speaker_encoder][0].outputs[known[record.speaker_encoder].outputs[0].name]
        conditions["speaker"] = utterance_embedding(rows)
    last = known[record.last]
    sentences = golden_ids(record, SAMPLED_SENTENCES if last.sampler else GOLDEN_SENTENCES)
    for number, (name, ids) in enumerate(sentences):
        request = Request(ids, number, conditions.get("speaker"), conditions.get("language"))
        run = Recorder(known, name, cases)
        utterance = utter(record, run, request)
        frames = utterance.frames[..., :sampled_frames] if last.sampler else utterance.frames
        audio = rendered(run, last, utterance.constants, np.ascontiguousarray(frames))
        inputs = {"ids": ids, "seed": np.array(number), **conditions}
        outputs = {"audio": audio, "durations": utterance.durations}
        cases[VOICE_GOLDENS].append(GoldenCase(name, inputs, outputs, None))
    return cases


def golden_ids(record: VoiceRecord, count: int = GOLDEN_SENTENCES) -> list[tuple[str, np.ndarray]]:
    """(name, ids (T,)) of the sentences that ship with voxport, as the voice reads them."""
    sentences = []
    for name, letters, phonemes in golden_sentences()[:count]:
        symbols = phonemes if record.text.phonemizer else letters.lower()
        try:
            sentences.append((name, np.array(read_symbols(symbols, record.text).ids)))
        except TextError:
            drawn = np.random.default_rng(len(sentences)).choice(sorted(record.text.symbols), len(letters))
            sentences.append((name, np.array(read_symbols("".join(drawn), record.text).ids)))
    return sentences


def _conditions(record: VoiceRecord, tables: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The first speaker and language; a drawn embedding of length 1 where a voice takes any and comes with none."""
    conditions = {}
    if "speakers" in tables:
        conditions["speaker"] = tables["speakers"][0]
    elif record.embedding_channels:
        drawn = np.random.default_rng(0).standard_normal(record.embedding_channels).astype(np.float32)
        conditions["speaker"] = drawn / np.linalg.norm(drawn)
    if "languages" in tables:
        conditions["language"] = tables["languages"][0]
    return conditions
