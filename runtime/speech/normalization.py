"""Text as people have it to the words that a voice is to say: characters, abbreviations, figures, marks, sentences.

`spoken_sentences` stands before `runtime.speech.text.read`. What depends on the language is English: other languages
have their characters mended, their sentences cut and, for voices of letters, their numbers said by num2words. A voice
that reads phonemes keeps its plain numbers (2.0, 21st, 1942), which its phonemizer says in every language; what it says
wrong (money, times of day, units, ranges) is put into plain numbers and words first.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from runtime.speech.abbreviations import joined
from runtime.speech.english import expanded_english, whole_names
from runtime.speech.markup import without_markup
from runtime.speech.text import TextSettings, sentences

_BLOCK = 2000  # letters that pysbd is given at once: what it takes grows with their square
_LONGEST_WORD = 80  # letters; longer runs are no words, and are said in pieces
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")  # what colours a terminal's text (ECMA-48)
_SPACES = re.compile(r"[^\S\n]+")
# Joined or invisible: soft hyphen, zero-width space and word joiner, marks of direction, byte order mark, U+FFFD.
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe0e\ufe0f\ufeff\ufffd]")
# Letters of another width or shape, ligatures, numerals of one character: what NFKC makes of these changes no meaning.
_SHAPED = re.compile("[\u017f\u2160-\u217f\ufb00-\ufb06\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\U0001d400-\U0001d7ff]")
_EMOJI = re.compile("[\u200d\u20e3\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff\U000e0020-\U000e007f]+")
_QUOTES = str.maketrans({"‘": "'", "’": "'", "‛": "'", "ʼ": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"'})


@dataclass(frozen=True)
class Script:
    """What is to be said, sentence by sentence, and sentences for the user about what of the text is not."""

    sentences: tuple[str, ...]
    notes: tuple[str, ...] = ()


def spoken_sentences(text: str, settings: TextSettings) -> Script:
    """Cuts a text into sentences and puts what stands for words into words. `reading_settings` reads them."""
    text = clean_characters(text)
    text, notes = without_markup(text)
    emoji = dict.fromkeys(_EMOJI.findall(text))
    if emoji:
        text = _EMOJI.sub(" ", text)
        notes = (*notes, f"emoji are not spoken: {' '.join(list(emoji)[:10])}")
    language = settings.language[:2]
    spoken: list[str] = []
    for line in _joined_lines(text).split("\n"):
        line = re.sub(r"(?<=[a-zß-öø-ÿ]{2})([.!?])(?=[A-ZÀ-Þ][^\W\d_])", r"\1 ", line)
        for sentence in _sentences(whole_names(line) if language == "en" else line, language):
            if language == "en":
                sentence = expanded_english(sentence, settings)
            if not settings.phonemizer:
                sentence = _numbers_as_words(sentence, language)
            spoken.append(_short_words(_marked(sentence, settings)))
    return Script(tuple(one for one in spoken if any(letter.isalnum() for letter in one)), notes)


def reading_settings(settings: TextSettings) -> TextSettings:
    """Returns the settings that read those sentences: no step is left that would say a phonemizer's numbers."""
    return replace(settings, cleaning=tuple(step for step in settings.cleaning if step != "numbers"))


# -------------------------------------------------------------------------------------------------- characters


def clean_characters(text: str) -> str:
    """Mends what files and pages do to letters: widths, ligatures, invisible and control characters, line ends."""
    text = unicodedata.normalize("NFC", _ESCAPES.sub("", text))
    text = re.sub(r"\r\n?|[\u2028\u2029\x0b\x0c\x85]", "\n", text)
    text = _SHAPED.sub(lambda match: unicodedata.normalize("NFKC", match.group()), _INVISIBLE.sub("", text))
    text = "".join(char for char in text if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cs", "Co"))
    return _SPACES.sub(" ", text.translate(_QUOTES))


def _joined_lines(text: str) -> str:
    """Joins lines that a page's width broke: a hyphen at the end, or a small letter that goes on."""
    text = re.sub(r"(?<=[^\W\d_])-\n *(?=[a-zß-öø-ÿ])", "", text)
    return re.sub(r"(?<=[\w,;]) *\n *(?=[a-zß-öø-ÿ])", " ", text)


def _short_words(sentence: str) -> str:
    longer = re.compile(rf"\S{{{_LONGEST_WORD}}}(?=\S)")
    return longer.sub(lambda match: f"{match.group()} ", sentence)


# -------------------------------------------------------------------------------------------------- sentences


def _sentences(line: str, language: str) -> list[str]:
    """Cuts a line, by pysbd where it knows the language, else after every full stop."""
    segmenter = _segmenter(language)
    cut = sentences if segmenter is None else segmenter.segment
    return _merged(joined([part.strip() for block in _blocks(line) for part in cut(block)], language))


def _merged(parts: list[str]) -> list[str]:
    """Puts what holds no letter (a bracket, a mark) to the sentence before it."""
    merged: list[str] = []
    for part in parts:
        if merged and not any(letter.isalnum() for letter in part):
            merged[-1] = f"{merged[-1]} {part}"
        else:
            merged.append(part)
    return merged


@functools.cache
def _segmenter(language: str) -> Any | None:
    import pysbd
    from pysbd.languages import LANGUAGE_CODES

    return pysbd.Segmenter(language=language, clean=False) if language in LANGUAGE_CODES else None


def _blocks(line: str) -> list[str]:
    """Cuts a line into stretches of at most `_BLOCK` letters, where a sentence surely ends, else at a space."""
    blocks = []
    while len(line) > _BLOCK:
        cuts = [match.end() for match in re.finditer(r"[^\W\d_]{4,}[.!?]+ (?=[A-ZÀ-Þ])", line[:_BLOCK])]
        space = line.rfind(" ", 0, _BLOCK)
        cut = cuts[-1] if cuts else space + 1 if space > 0 else _BLOCK
        blocks.append(line[:cut])
        line = line[cut:]
    return [*blocks, line]


# ------------------------------------------------------------------------------------------------------ marks


def _marked(sentence: str, settings: TextSettings) -> str:
    """Writes marks that the voice does not know as those that it does, with a space where words would be glued."""
    known = settings.symbols
    sentence = re.sub(r"(?<=[^\W_])(?=[(\[{])|(?<=[)\]}])(?=[^\W_])", " ", sentence)
    sentence = re.sub(r'(?<=\w)"(?=\w)', '" ', sentence)
    sentence = re.sub(r"(?<=[^\W\d_]{2})([,;!?])(?=[^\W_])", r"\1 ", sentence)
    sentence = re.sub(
        r"(?<=[^\W\d])_+(?=\w)|(?<=[a-z]):(?=[A-Z])", lambda match: " " if "_" in match[0] else ": ", sentence
    )
    dash = " — " if "—" in known else ", "
    sentence = re.sub(r"\s*(?:[—―⸺]|--+)\s*|\s+[-–‒]+\s+|(?<=[^\W\d_])[–‒](?=[^\W\d_])", dash, sentence)
    sentence = re.sub("[‐‑‒–−]", "-", sentence)
    ellipsis = re.compile(r"\s*(?:…|\.(?:\s?\.)+)\s*")
    sentence = ellipsis.sub("… " if "…" in known else ", ", sentence)
    sentence = re.sub(r"([.!?])(?:[.!?])+(?=\s|$)", r"\1", sentence)
    sentence = re.sub(r"\s+([,;:.!?])", r"\1", re.sub(r"\s+", " ", sentence))
    sentence = re.sub(r"[,;:](?:\s*[,;:])+", ",", sentence)
    sentence = re.sub(r"([,;:])\s*([.!?])", r"\2", re.sub(r"([!?])\s*,", r"\1", sentence))
    sentence = re.sub(r"^[\s,;:.]+(?!\d)", "", sentence).strip()
    if not sentence.endswith((",", ";")):
        return sentence
    sentence = sentence.rstrip(",; ")
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."


# ----------------------------------------------------------------------------------------------------- numbers

# Thousands and decimals as a language writes them; others as English does.
_POINT_FOR_THOUSANDS = {"de", "it", "es", "pt", "nl", "da", "tr", "el", "id", "ro", "sl", "hr"}
_SPACE_FOR_THOUSANDS = {"fr", "ru", "uk", "pl", "cs", "sk", "sv", "no", "nb", "fi", "hu", "bg"}


def _numbers_as_words(sentence: str, language: str) -> str:
    """Says plain numbers by num2words; a language that it does not know keeps its figures."""
    from num2words import CONVERTER_CLASSES, num2words

    if language not in CONVERTER_CLASSES:
        return sentence
    thousands, decimal = ",", "."
    if language in _POINT_FOR_THOUSANDS | _SPACE_FOR_THOUSANDS:
        thousands, decimal = (r"\." if language in _POINT_FOR_THOUSANDS else "[ \u00a0\u202f]"), ","

    def say(number: Any, to: str = "cardinal") -> str:
        words = num2words(number, lang=language, to=to)
        return " ".join(str(words).replace("-", " ").replace(",", "").split())

    def digits(text: str) -> str:
        return " ".join(say(int(digit)) for digit in text)

    def spoken(match: re.Match[str]) -> str:
        whole, fraction, suffix = match.group("whole"), match.group("fraction"), match.group("suffix")
        plain = re.sub(r"\D", "", whole)
        try:
            words = _whole_number(plain, whole, suffix, language, say, digits)
            if fraction:
                point = str(num2words(0.5, lang=language)).split()[1:2] or ["point"]
                words = f"{say(int(plain))} {point[0]} {digits(fraction)}"
        except (NotImplementedError, OverflowError, IndexError, ValueError):
            words = digits(plain + (fraction or ""))
        before, after = sentence[: match.start()][-1:], sentence[match.end() :][:1]
        return f"{' ' if before.isalnum() else ''}{words}{' ' if after.isalnum() else ''}"

    suffix = "st|nd|rd|th" if language == "en" else "(?!)"
    if language != "en":
        minus = say(-1).split()[0]
        sentence = re.sub(r"(?<![\w.)])[-−](?=\d)", f"{minus} ", sentence)
        sentence = re.sub(r"(?<=\d)[.:](?=\d\d(?!\d))", " ", sentence)  # times of day
    return re.sub(
        rf"(?P<whole>\d{{1,3}}(?:{thousands}\d{{3}})+(?!\d)|\d+)(?:[{decimal}](?P<fraction>\d+))?(?P<suffix>(?:{suffix})\b)?",
        spoken,
        sentence,
    )


def _whole_number(
    plain: str, written: str, suffix: str | None, language: str, say: Callable[..., str], digits: Callable[[str], str]
) -> str:
    number = int(plain) if len(plain) <= 36 else 0
    if suffix:
        return say(number, "ordinal")
    if len(plain) > 36 or (len(plain) > 1 and plain[0] == "0"):
        return digits(plain)
    if language == "en" and written == plain and 1100 <= number < 2100 and not 2000 <= number < 2010:
        return say(number, "year")
    return say(number)
