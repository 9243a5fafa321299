"""A checkpoint's text front end in the runtime's terms: Coqui's characters and cleaners, Piper's, Mimic 3's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from checkpoints import CheckpointError
from runtime.speech.text import PHONEMIZERS, Phonemizer, TextSettings

# Coqui's cleaners (coqui-tts TTS/tts/utils/text/cleaners.py) as steps of runtime/speech/text.py.
_CLEANERS: dict[str, tuple[str, ...]] = {
    "": (),
    "no_cleaners": (),
    "basic_cleaners": ("lower",),
    "transliteration_cleaners": ("lower",),
    "basic_german_cleaners": ("lower",),
    "basic_turkish_cleaners": ("turkish_lower",),
    "english_cleaners": ("lower", "numbers", "abbreviations", "marks", "brackets"),
    "phoneme_cleaners": ("numbers", "abbreviations", "marks", "brackets"),
    "multilingual_phoneme_cleaners": ("marks", "brackets"),
    "multilingual_cleaners": ("lower", "marks", "brackets"),
    "french_cleaners": ("lower", "marks", "brackets"),
    "italian_cleaners": ("lower", "numbers", "marks", "brackets"),
    "portuguese_cleaners": ("lower", "marks", "brackets"),
}
# coqui-tts's `_characters`, `_punctuations` and `_phonemes`: what a config without characters means.
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PUNCTUATION = "!'(),-.:;? "
_IPA = (
    "iyɨʉɯuɪʏʊeøɘəɵɤoɛœɜɞʌɔæɐaɶɑɒᵻʘɓǀɗǃʄǂɠǁʛpbtdʈɖcɟkɡqɢʔɴŋɲɳnɱmʙrʀⱱɾɽɸβfvθðszʃʒʂʐçʝxɣχʁħʕhɦɬɮʋɹɻjɰlɭʎʟˈˌːˑʍwɥʜʢʡɕʑɺɧʲ"
    "\u0303ɚ˞ɫ"
)
# Languages that Coqui's config names otherwise than espeak-ng does.
_ESPEAK_NAMES = {"en": "en-us", "zh-cn": "cmn", "fr": "fr-fr"}


def coqui_text(config: Mapping[str, Any]) -> TextSettings:
    """Reads the front end from a Coqui config. Raises CheckpointError for a front end that voxport does not have."""
    vocabulary, special = _vocabulary(config)
    cleaner = str(config.get("text_cleaner") or "")
    if cleaner not in _CLEANERS:
        raise CheckpointError(f"there is no text cleaner {cleaner!r}; there is: {', '.join(filter(None, _CLEANERS))}")
    phonemizer, language = "", str(config.get("phoneme_language") or "en-us")
    if config.get("use_phonemes"):
        phonemizer = str(config.get("phonemizer") or "espeak")
        if phonemizer not in PHONEMIZERS:
            raise CheckpointError(f"there is no phonemizer {phonemizer!r}; there is: espeak, gruut")
        if phonemizer == "espeak":
            language = _ESPEAK_NAMES.get(language, language)
    between = (special["blank"],) if config.get("add_blank", True) else ()
    begin: tuple[int, ...] = between
    end: tuple[int, ...] = ()
    if config.get("enable_eos_bos_chars"):
        begin, end = (special["bos"], *between), (special["eos"],)
    symbols: dict[str, tuple[int, ...]] = {symbol: (row,) for symbol, row in vocabulary.items() if len(symbol) == 1}
    return TextSettings(symbols, begin, between, end, cast(Phonemizer, phonemizer), language, _CLEANERS[cleaner])


def _vocabulary(config: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, int]]:
    """Symbol -> id as BaseCharacters, Graphemes, IPAPhonemes and VitsCharacters of coqui-tts number them, and the ids
    of blank, bos and eos."""
    section = dict(config.get("characters") or {})
    if section.get("vocab_dict"):
        listed = section["vocab_dict"]
        rows = list(listed) if isinstance(listed, Sequence) else sorted(listed, key=listed.__getitem__)
    elif str(section.get("characters_class") or "").endswith("VitsCharacters"):
        letters = str(section.get("characters") or "") + str(section.get("phonemes") or "")
        section.setdefault("blank", "<BLNK>")
        section["blank"] = section["blank"] or "<BLNK>"
        rows = [section.get("pad") or "<PAD>", *str(section.get("punctuations") or ""), *letters, section["blank"]]
    else:
        is_phonemes = bool(config.get("use_phonemes"))
        letters = str((is_phonemes and section.get("phonemes")) or section.get("characters") or "")
        letters = letters or (_IPA if is_phonemes else _LETTERS)
        if section.get("is_unique"):
            letters = "".join(dict.fromkeys(letters))
        if section.get("is_sorted", True):
            letters = "".join(sorted(letters))
        defaults = {"pad": "<PAD>", "eos": "<EOS>", "bos": "<BOS>", "blank": "<BLNK>"}
        named = {name: section.get(name, default) for name, default in defaults.items()}
        rows = [*(named[name] for name in ("pad", "eos", "bos", "blank") if named[name]), *letters]
        rows += section.get("punctuations") or _PUNCTUATION
        section |= named
    numbered = {str(symbol): row for row, symbol in enumerate(rows)}  # of doubles the last, as upstream
    # a special symbol that is not there stands for the row after the last
    special = {name: numbered.get(str(section.get(name)), len(rows)) for name in ("blank", "bos", "eos")}
    return numbered, special


def rtvc_text() -> TextSettings:
    """Real-Time-Voice-Cloning's synthesizer/utils/symbols.py: letters in its own order, `~` at the end."""
    rows = ["_", "~", *_LETTERS, *"!'\"(),-.:;? "]
    symbols: dict[str, tuple[int, ...]] = {symbol: (row,) for row, symbol in enumerate(rows) if row > 1}
    return TextSettings(symbols, end=(rows.index("~"),), cleaning=_CLEANERS["english_cleaners"])


def piper_text(config: Mapping[str, Any]) -> TextSettings:
    """Reads the front end from a Piper voice's JSON: `^` and `_` before, `_` after each symbol, `$` at the end."""
    numbers = {str(symbol): tuple(map(int, ids)) for symbol, ids in (config.get("phoneme_id_map") or {}).items()}
    missing = [symbol for symbol in "^_$" if symbol not in numbers]
    if missing:
        raise CheckpointError(f"the Piper voice's phoneme_id_map has no {' '.join(missing)}")
    kind = str(config.get("phoneme_type") or "espeak")
    if kind not in ("espeak", "text"):
        raise CheckpointError(f"the Piper voice's phonemes are of type {kind!r}; there is: espeak, text")
    pad = numbers["_"]
    symbols = {symbol: ids for symbol, ids in numbers.items() if symbol not in "^_$"}
    language = str((config.get("espeak") or {}).get("voice") or "en-us")
    return TextSettings(
        symbols, (*numbers["^"], *pad), pad, numbers["$"], "espeak" if kind == "espeak" else "", language
    )


def mimic3_text(config: Mapping[str, Any], rows: Mapping[str, int]) -> TextSettings:
    """Reads a Mimic 3 voice's config.json and phonemes.txt (symbol -> id): `#` after a word, `_` after each symbol."""
    section = config.get("phonemes") or {}
    kind = str(config.get("phonemizer") or "espeak")
    if kind not in ("espeak", "gruut", "symbols"):
        raise CheckpointError(f"the Mimic 3 voice's phonemes are from {kind!r}; there is: espeak, gruut, symbols")

    def of(name: str) -> tuple[int, ...]:
        symbol = str(section.get(name))
        return (int(rows[symbol]),) if symbol in rows else ()

    blank = of("blank")
    word = of("blank_word") or blank
    between = blank if "tokens" in str(section.get("blank_between") or "tokens") else ()
    special = {section.get(name) for name in ("blank", "blank_word", "bos", "eos", "pad")}
    symbols: dict[str, tuple[int, ...]] = {
        str(symbol): (int(row),) for symbol, row in rows.items() if symbol not in special
    }
    if section.get("simple_punctuation", True):  # phonemes2ids maps these before it looks them up
        for mark, simple in {",": "|", ".": "‖", ";": ",", ":": ",", "?": ".", "!": ".", "—": ","}.items():
            if mark not in symbols and simple in symbols:
                symbols[mark] = symbols[simple]
    if word:
        symbols[" "] = word
    at_start = blank if section.get("blank_at_start", True) else ()
    at_end = (*word, *between) if section.get("blank_at_end", True) else ()
    language = str(config.get("text_language") or "en-us")
    if kind == "espeak":
        language = language.lower().replace("_", "-")
    return TextSettings(
        symbols, (*of("bos"), *at_start), between, (*at_end, *of("eos")),
        cast(Phonemizer, "" if kind == "symbols" else kind), language,
        ("lower",) if kind == "symbols" else (),
    )  # fmt: skip
