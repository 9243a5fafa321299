"""Abbreviations after which a sentence goes on, of languages other than English: what pysbd ends one at.

pysbd knows many of each language, and not those that stand before names and numbers in addresses and titles.
"""

from __future__ import annotations

from collections.abc import Sequence

# Without the last full stop, capital where only a capital is meant (M. is a man, m. may be metres). None of them is a
# word that ends sentences.
_BEFORE_NAMES = {
    "de": "hr fr frl hrn fa hl st str pl nr abs bd kap vgl bzw sog ca evtl ggf inkl zzgl mio mrd tel dipl ing",
    "es": "sr sra srta D dña dr dra ud uds av avda c ctra núm nº pág págs cap tel prof lic ing p a.m p.m",
    "fr": "M MM mme mmes mlle mlles dr drs me mgr st ste sts av bd bld chap fig p pp vol tél env",
    "it": "sig sigg sig.ra dott prof avv ing geom p.zza v.le c.so pag tel ca S SS",
    "nl": "dhr mevr mw dr drs ir prof mr ing st str nr blz tel ca resp bijv",
    "pl": "dr prof mgr inż ul al pl os nr str tel św ks np tzw",
    "pt": "sr sra srta dr dra D av R nº pág tel eng sto sta",
}
_LANGUAGES = {language: frozenset(words.split()) for language, words in _BEFORE_NAMES.items()}


def joined(parts: Sequence[str], language: str) -> list[str]:
    """Returns the sentences, one that ends with such an abbreviation together with the next; what begins with a hyphen
    (J.-C.) never begins one."""
    words = _LANGUAGES.get(language)
    if words is None:
        return list(parts)
    sentences: list[str] = []
    for part in parts:
        if sentences and part.startswith("-"):
            sentences[-1] += part
        elif sentences and _goes_on(sentences[-1], part, words):
            sentences[-1] += f" {part}"
        else:
            sentences.append(part)
    return sentences


def _goes_on(sentence: str, part: str, words: frozenset[str]) -> bool:
    last, stop, rest = sentence.rpartition(" ")[2].lstrip("(\"'").rpartition(".")
    is_street = "str" in words and last.endswith("str")
    is_letter = len(last) == 1 and part[:1].islower()  # p. m. hoy
    return bool(stop) and not rest and (last in words or last.lower() in words or is_street or is_letter)
