"""Text to the numbers of a voice's symbols: sentences, cleaning, phonemes, ids.

What a voice wants of each is in its bundle (`TextSettings`). Phonemes come from espeak-ng (through phonemizer) or
gruut, which are installed apart: `pip install -e '.[espeak]'`, `pip install gruut`.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from runtime.errors import TextError
from runtime.machine.extras import how_to_install

# What is kept between phonemes: espeak-ng and gruut are asked for the words between them.
PUNCTUATION = ';:,.!?¡¿—…"«»“”'
# A full stop or a comma between two digits is the number's. phonemizer 3.4 loses what follows such a number in a
# sentence that ends with the same mark, and 3.3 reads two numbers: neither is given a mark of these two.
_IN_NUMBERS = ",."
_OUTSIDE_NUMBERS = "".join(mark for mark in PUNCTUATION if mark not in _IN_NUMBERS)
_MARKS = re.compile(
    rf"(\s*(?:[{re.escape(_OUTSIDE_NUMBERS)}]|(?<!\d)[{_IN_NUMBERS}]|[{_IN_NUMBERS}](?!\d))"
    rf"(?:\s|[{re.escape(_OUTSIDE_NUMBERS)}]|(?<!\d)[{_IN_NUMBERS}]|[{_IN_NUMBERS}](?!\d))*)"
)
_SENTENCE_END = re.compile(r"([.!?…。！？][\"'”»)]*)\s+|\n+")
_CLAUSE_END = re.compile(r"(?<=[,;:—])\s+")


@dataclass(frozen=True)
class Reading:
    """One sentence: the symbols as a string, their ids, and what of them the voice does not know."""

    text: str
    symbols: str
    ids: tuple[int, ...]
    unknown: tuple[str, ...] = field(default=())


def read(text: str, settings: TextSettings) -> Reading:
    """A sentence as ids. Unknown symbols are left out and named.

    Raises TextError for text without anything that the voice can say, or where its phonemizer is not installed.
    """
    cleaned = unicodedata.normalize("NFC", text)
    for step in settings.cleaning:
        cleaned = CLEANING[step](cleaned, settings.language)
    cleaned = re.sub(r"\s+", " ", cleaned).strip()
    if not any(letter.isalnum() for letter in cleaned):
        raise TextError(f"there is nothing to say in {text.strip()!r}" if text.strip() else "there is no text")
    return _reading(text, phonemes(cleaned, settings.phonemizer, settings.language), settings)


def read_symbols(symbols: str, settings: TextSettings) -> Reading:
    """Reads symbols that are phonemes (or letters) already, otherwise as `read`."""
    return _reading(symbols, symbols, settings)


def _reading(text: str, symbols: str, settings: TextSettings) -> Reading:
    known: list[str] = []
    unknown: list[str] = []
    # combining marks may be symbols of their own or parts of composed ones
    symbols = symbols if all(char in settings.symbols for char in symbols) else unicodedata.normalize("NFD", symbols)
    longest = max(map(len, settings.symbols), default=1)
    position = 0
    while position < len(symbols):
        for length in range(min(longest, len(symbols) - position), 0, -1):
            if symbols[position : position + length] in settings.symbols:
                known.append(symbols[position : position + length])
                position += length
                break
        else:
            unknown.append(symbols[position])
            position += 1
    if not any(letter.isalnum() for symbol in known for letter in symbol):
        raise TextError(f"the voice knows none of the symbols of {text.strip()!r}: {' '.join(dict.fromkeys(unknown))}")
    ids = [*settings.begin]
    for symbol in known:
        ids += [*settings.symbols[symbol], *settings.between]
    return Reading(text, "".join(known), (*ids, *settings.end), tuple(dict.fromkeys(unknown)))


def sentences(text: str) -> list[str]:
    """Cut after full stops, question and exclamation marks, and at line breaks; no empty ones."""
    marked = _SENTENCE_END.sub(lambda match: f"{match.group(1) or ''}\n", text)
    parts = [part.strip() for part in marked.split("\n")]
    return [part for part in parts if any(letter.isalnum() for letter in part)]


def halves(sentence: str) -> tuple[str, str] | None:
    """A long sentence in two, at the mark or else the space nearest to its middle; None for a single word."""
    for pattern in (_CLAUSE_END, re.compile(r"\s+")):
        cuts = [match.end() for match in pattern.finditer(sentence)]
        cuts = [cut for cut in cuts if 0 < cut < len(sentence)]
        if cuts:
            cut = min(cuts, key=lambda cut: abs(cut - len(sentence) / 2))
            return sentence[:cut].strip(), sentence[cut:].strip()
    return None


# ---------------------------------------------------------------------------------------------------- phonemes


def phonemes(text: str, phonemizer: str, language: str) -> str:
    """IPA of a text, its punctuation kept; the text itself where there is no phonemizer.

    Raises TextError where the phonemizer is not installed or does not know the language.
    """
    if not phonemizer:
        return text
    speak = {"espeak": _espeak, "gruut": _gruut}.get(phonemizer)
    if speak is None:
        raise TextError(f"the voice wants phonemes from {phonemizer!r}; there is: espeak, gruut")
    return speak(text, language)


def _espeak(text: str, language: str) -> str:
    try:
        backend = _espeak_backend(language)
    except ImportError as error:
        raise TextError(
            f"this voice reads phonemes of espeak-ng: {how_to_install('espeak')} (its licence is the GPL)"
        ) from error
    except RuntimeError as error:
        raise TextError(f"espeak-ng: {error}") from error
    return _between_marks(text, lambda piece: backend.phonemize([piece], strip=True)[0])


def _between_marks(text: str, speak: Callable[[str], str]) -> str:
    """Puts what stands between marks into phonemes, and keeps the marks."""
    pieces = _MARKS.split(text)
    return "".join(speak(piece) if any(map(str.isalnum, piece)) else piece for piece in pieces)


@functools.cache
def _espeak_backend(language: str):  # type: ignore[no-untyped-def]  # phonemizer is an extra
    from phonemizer.backend import EspeakBackend
    from phonemizer.backend.espeak.wrapper import EspeakWrapper

    try:
        import espeakng_loader
    except ImportError:
        pass  # phonemizer looks for the system's own
    else:
        EspeakWrapper.set_library(espeakng_loader.get_library_path())
        EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
    return EspeakBackend(
        language,
        punctuation_marks=_OUTSIDE_NUMBERS,
        preserve_punctuation=True,
        with_stress=True,
        language_switch="remove-flags",
        words_mismatch="ignore",
    )


def _gruut(text: str, language: str) -> str:
    try:
        import gruut
    except ImportError as error:
        raise TextError("this voice reads phonemes of gruut: pip install gruut") from error
    if not gruut.is_language_supported(language):
        raise TextError(f"gruut does not know the language {language!r}: pip install 'gruut[{language[:2]}]'")
    return _between_marks(text, lambda piece: _gruut_words(gruut.sentences(piece, lang=language)))


def _gruut_words(spoken: Iterable[Iterable[Any]]) -> str:
    words = (word.phonemes for sentence in spoken for word in sentence if word.phonemes)
    # the breaks that it adds are no sounds; its g is the letter, voices know the phoneme
    return " ".join("".join(word) for word in words if word[0] not in "|‖").replace("g", "ɡ")


# ---------------------------------------------------------------------------------------------------- cleaning


def _lower(text: str, _: str) -> str:
    return text.lower()


def _turkish_lower(text: str, _: str) -> str:
    return text.replace("I", "ı").replace("İ", "i").lower()


def _numbers(text: str, language: str) -> str:
    """Figures as words in the voice's language, where num2words knows it."""
    from num2words import num2words

    tongue = re.split("[-_]", language)[0]

    def spoken(match: re.Match[str]) -> str:
        digits = match.group().replace(",", "") if tongue == "en" else match.group()
        number = float(digits) if "." in digits else int(digits)
        try:
            words = num2words(number, lang=tongue).replace("-", " ").replace(",", "")
        except (NotImplementedError, OverflowError):
            return match.group()
        before, after = text[: match.start()][-1:], text[match.end() :][:1]
        return f"{' ' if before.isalnum() else ''}{words}{' ' if after.isalnum() else ''}"

    pattern = r"\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?" if tongue == "en" else r"\d+(?:\.\d+)?"
    return re.sub(pattern, spoken, text)


def _marks(text: str, language: str) -> str:
    """The few marks that Coqui's cleaners leave."""
    joiner = {"en": " and ", "fr": " et ", "it": " e ", "pt": " e ", "ca": " i "}.get(language[:2], "&")
    kept = text.replace(":", ",").replace("&", joiner)
    return kept.replace("-", " ") if language[:2] == "el" else kept.replace(";", ",").replace("-", " ")


def _brackets(text: str, _: str) -> str:
    return re.sub(r"[<>()\[\]\"]+", "", text)


_ABBREVIATIONS = {
    "mrs": "misess", "mr": "mister", "dr": "doctor", "st": "saint", "co": "company", "jr": "junior", "maj": "major",
    "gen": "general", "drs": "doctors", "rev": "reverend", "lt": "lieutenant", "hon": "honorable", "sgt": "sergeant",
    "capt": "captain", "esq": "esquire", "ltd": "limited", "col": "colonel", "ft": "fort",
}  # fmt: skip


def _abbreviations(text: str, language: str) -> str:
    """English titles in full, spelt as models were trained to read them."""
    if language[:2] != "en":
        return text
    names = "|".join(sorted(_ABBREVIATIONS, key=len, reverse=True))
    return re.sub(rf"\b({names})\.", lambda match: _ABBREVIATIONS[match.group(1).lower()], text, flags=re.IGNORECASE)


CLEANING: dict[str, Callable[[str, str], str]] = {
    "lower": _lower,
    "turkish_lower": _turkish_lower,
    "numbers": _numbers,
    "abbreviations": _abbreviations,
    "marks": _marks,
    "brackets": _brackets,
}


Phonemizer = Literal["", "espeak", "gruut"]  # none, where the symbols are letters
PHONEMIZERS = get_args(Phonemizer)


@dataclass(frozen=True)
class TextSettings:
    """How a voice reads. `symbols`: what stands for ids, the longest match first; `begin`, `between` (after each
    symbol) and `end`: ids around them. `phonemizer`: espeak, gruut, or empty where the symbols are letters; `language`
    is its own name for it. `cleaning`: steps of `CLEANING` in order."""

    symbols: dict[str, tuple[int, ...]]
    begin: tuple[int, ...] = ()
    between: tuple[int, ...] = ()
    end: tuple[int, ...] = ()
    phonemizer: Phonemizer = ""
    language: str = "en-us"
    cleaning: tuple[str, ...] = ()
