"""Ten sentences that ship with voxport, as letters and as phonemes: what a voice says in goldens, tests and benches."""

from __future__ import annotations

import functools

from runtime.speech.clips import CLIPS


@functools.cache
def golden_sentences() -> tuple[tuple[str, str, str], ...]:
    """(name, letters, IPA of American English)."""
    import yaml

    with (CLIPS / "sentences.yaml").open(encoding="utf-8") as file:
        return tuple((item["name"], item["letters"], item["phonemes"]) for item in yaml.safe_load(file))
