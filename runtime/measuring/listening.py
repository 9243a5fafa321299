"""Whether speech is understood: what a recogniser reads in it, and how far that is from the reference."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from runtime.speech.resampling import Resampler

RATE = 16000


class Recogniser:
    """Whisper through faster-whisper, greedily and without its memory of sentences before: repeatable.

    `folder`: of a model in CTranslate2's format, such as the checkpoint whisper_base.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        from faster_whisper import WhisperModel

        self._model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=threads)

    def read(self, samples: np.ndarray, sample_rate: int, language: str = "en") -> str:
        """samples (N,) -> the words in lower case, one space between them, without punctuation."""
        resampler = Resampler(sample_rate, RATE, "VHQ")
        audio = np.concatenate([resampler.push(samples), resampler.flush()])
        segments, _ = self._model.transcribe(
            audio, language=language, beam_size=1, temperature=0.0, condition_on_previous_text=False,
            without_timestamps=True,
        )  # fmt: skip
        return plain_words(" ".join(segment.text for segment in segments))


def plain_words(text: str) -> str:
    """Lower case, letters, digits and apostrophes alone, one space between words."""
    return " ".join(re.sub(r"[^\w' ]+", " ", text.lower()).split())


def word_error_rate(reference: Sequence[str], hypothesis: Sequence[str]) -> float:
    """Words that were replaced, left out or added, per word of the reference, over all sentences."""
    import jiwer

    return float(jiwer.wer(list(reference), list(hypothesis)))


def character_error_rate(reference: Sequence[str], hypothesis: Sequence[str]) -> float:
    """As `word_error_rate`, of characters."""
    import jiwer

    return float(jiwer.cer(list(reference), list(hypothesis)))
