"""Voices of RVC (Retrieval-based Voice Conversion): settings that lie in the weight file, in the order of arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Positions in the list `config` of a voice: arguments of SynthesizerTrnMs256NSFsid
_POSITIONS = {
    2: "inter_channels",
    3: "hidden_channels",
    4: "filter_channels",
    5: "n_heads",
    6: "n_layers",
    7: "kernel_size",
    9: "resblock",
    10: "resblock_kernel_sizes",
    11: "resblock_dilation_sizes",
    12: "upsample_rates",
    13: "upsample_initial_channel",
    14: "upsample_kernel_sizes",
    16: "gin_channels",
    17: "sample_rate",
}
_ARGUMENTS = 18
_RATES = {"32k": 32000, "40k": 40000, "48k": 48000}


def settings_inside(saved: Any) -> dict[str, Any]:
    """`{"rvc": settings by name}` of a voice as RVC saves it; nothing of any other file."""
    if not isinstance(saved, Mapping) or not isinstance(saved.get("weight"), Mapping):
        return {}
    values = saved.get("config")
    if not isinstance(values, list | tuple) or len(values) != _ARGUMENTS:
        return {}
    settings = {name: values[position] for position, name in _POSITIONS.items()}
    settings["sample_rate"] = _RATES.get(str(settings["sample_rate"]), settings["sample_rate"])
    return {"rvc": {**settings, "f0": bool(saved.get("f0", 1))}}
