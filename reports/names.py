"""Names of MLflow runs: its lists and charts cut a name after some 20 characters, in which these differ.

`ka_hif fp16 mpo mil, …`: the checkpoint shortened, the precision, the first letters of format, upsampler and mode, and
the engine, or `job` for a conversion. The words follow in full.
"""

from __future__ import annotations

import re

from runtime.bundle.store import Manifest

_CHECKPOINT, _PRECISION = 8, 4  # characters of each; 20 with the letters of the form and the first two of the engine


def run_name(manifest: Manifest, what: str) -> str:
    """Names a run of a bundle. `what`: the engine that measured it, or `job`."""
    how = manifest.options
    form = "".join(word[0] for word in (how.format, how.upsampler, how.mode))
    words = (manifest.checkpoint.name, how.format, how.precision, how.upsampler, how.mode)
    code = f"{short_checkpoint(manifest.checkpoint.name)} {short_precision(how.precision)} {form} {what}"
    return f"{code}, {' '.join(words)}"


def short_checkpoint(name: str) -> str:
    """`ljspeech_hifigan_v2` → `lj_hif_v`; what is short enough stays."""
    if len(name) <= _CHECKPOINT:
        return name
    first, *others = name.split("_")
    return "_".join([first[:2], *(word[:3] for word in others)] if others else [first])[:_CHECKPOINT]


def short_precision(name: str) -> str:
    """`palette4` → `pal4`, `palette4_grouped` → `p4g`; what is short enough stays."""
    if len(name) <= _PRECISION:
        return name
    words = name.split("_")
    letters = 1 if len(words) > 1 else 3
    parts = [re.match(r"([a-z]*)(\d*)", word) for word in words]
    return "".join(part[1][:letters] + part[2] for part in parts if part)[:_PRECISION]
