"""What listeners make of speech: the words that recognisers read in it, and how far they are from a reference; whose
voice a speaker encoder takes it for; what a network thinks that people would think of it."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Literal, Protocol

import numpy as np

from runtime.machine.checked import Name
from runtime.speech.resampling import resampled

RATE = 16000


class Reader(Protocol):
    """A recogniser."""

    def read(self, samples: np.ndarray, sample_rate: int) -> str:
        """samples (N,) -> the words as `plain_words` gives them."""
        ...


@dataclass(frozen=True)
class Listeners:
    """Those that listen in a measurement: `readers` by name, the first of which is the judge; `embed`: samples (N,) at
    16 kHz -> a speaker's embedding (D,), raising AudioError for audio without speech; `opinion`: the same -> a mean
    opinion score. `names`: of all of them."""

    readers: Mapping[str, Reader] = field(default_factory=dict)
    embed: Callable[[np.ndarray], np.ndarray] | None = None
    opinion: Callable[[np.ndarray], float] | None = None
    names: tuple[str, ...] = ()


NOBODY_LISTENS = Listeners()


class Recogniser:
    """Whisper through faster-whisper, greedily and without its memory of sentences before: repeatable.

    `folder`: of a model in CTranslate2's format, such as the checkpoint whisper_base.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        from faster_whisper import WhisperModel

        self._model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=threads)

    def read(self, samples: np.ndarray, sample_rate: int, language: str = "en") -> str:
        """samples (N,) -> the words in lower case, one space between them, without punctuation."""
        segments, _ = self._model.transcribe(
            resampled(samples, sample_rate, RATE, "VHQ"), language=language, beam_size=1, temperature=0.0,
            condition_on_previous_text=False, without_timestamps=True,
        )  # fmt: skip
        return plain_words(" ".join(segment.text for segment in segments))


def mean_opinion() -> Callable[[np.ndarray], float]:
    """Returns DistillMOS: samples (N,) at 16 kHz -> a predicted mean opinion score, 1 to 5.

    Stahl and Gamper 2025 (arXiv 2502.05356). Its weights are in the package.
    """
    import torch

    with _importable_torchaudio(), redirect_stdout(io.StringIO()):  # it prints where its weights lie
        network = import_module("distillmos").ConvTransformerSQAModel().eval()

    def opinion(samples: np.ndarray) -> float:
        with torch.inference_mode():
            return float(network(torch.from_numpy(samples)[None]))

    return opinion


@contextmanager
def _importable_torchaudio() -> Iterator[None]:
    """distillmos imports torchaudio, which its command line alone reads files with: where it does not load (its wheel
    links CUDA), an empty module stands in for it meanwhile."""
    try:
        import_module("torchaudio")
    except (ImportError, OSError):
        sys.modules["torchaudio"] = ModuleType("torchaudio")
        try:
            yield
        finally:
            del sys.modules["torchaudio"]
    else:
        yield


def plain_words(text: str) -> str:
    """Lower case, letters, digits and apostrophes alone, one space between words."""
    return " ".join(re.sub(r"[^\w' ]+", " ", text.lower()).split())


@dataclass(frozen=True)
class Reading:
    """What a reader read, beside a reference: the transcript, or what it read in the original. Errors are words or
    characters replaced, left out or added; `words` and `characters` are the reference's."""

    reader: Name
    reference: str
    text: str
    word_errors: int
    words: int
    character_errors: int
    characters: int


def compared(reader: str, reference: str, text: str) -> Reading:
    """Returns the reading of a text; both as `plain_words` gives them."""
    asked, read = reference.split(), text.split()
    word_errors, character_errors = edit_distance(asked, read), edit_distance(reference, text)
    return Reading(reader, reference, text, word_errors, len(asked), character_errors, len(reference))


def readings(readers: Mapping[str, Reader], original: np.ndarray, output: np.ndarray, rate: int) -> tuple[Reading, ...]:
    """What each reader reads in an output (N,), beside what it reads in the original."""
    return tuple(
        compared(name, reader.read(original, rate), reader.read(output, rate)) for name, reader in readers.items()
    )


def error_rate(read: Iterable[Sequence[Reading]], reader: int, unit: Literal["word", "character"]) -> float | None:
    """Errors of all recordings together over the words or characters of all references, by the reader at that place;
    None where it did not read, or there were no words."""
    found = [one[reader] for one in read if len(one) > reader]
    errors, count = (sum(getattr(one, name) for one in found) for name in (f"{unit}_errors", f"{unit}s"))
    return errors / count if count else None


def edit_distance(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """The fewest words or characters that are replaced, left out and added (Levenshtein)."""
    row = list(range(len(hypothesis) + 1))
    for place, expected in enumerate(reference, start=1):
        before, row[0] = row[0], place
        for other, read in enumerate(hypothesis, start=1):
            before, row[other] = row[other], min(row[other] + 1, row[other - 1] + 1, before + (expected != read))
    return row[-1]
