"""How text becomes symbols: what stands of it in the manifest."""

from __future__ import annotations

from dataclasses import dataclass

PHONEMIZERS = ("", "espeak", "gruut")


@dataclass(frozen=True)
class TextSettings:
    """How a voice reads. `symbols`: what stands for ids, the longest match first; `begin`, `between` (after each
    symbol) and `end`: ids around them. `phonemizer`: espeak, gruut, or empty where the symbols are letters; `language`
    is its own name for it. `cleaning`: steps of `CLEANING` in order."""

    symbols: dict[str, tuple[int, ...]]
    begin: tuple[int, ...] = ()
    between: tuple[int, ...] = ()
    end: tuple[int, ...] = ()
    phonemizer: str = ""
    language: str = "en-us"
    cleaning: tuple[str, ...] = ()
