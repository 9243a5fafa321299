"""jaywalnut310's names of VITS in Coqui's: modules `enc_p`, `dp`, `flow` and `dec`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


_PREFIXES = {"enc_p.": "text_encoder.", "dec.": "waveform_decoder.", "flow.": "flow.", "dp.": "duration_predictor."}
PARTS = tuple(_PREFIXES.values())
_OF_DURATIONS = {"flows.0.m": "flows.0.translation", "flows.0.logs": "flows.0.log_scale"}


def in_coqui_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of the four modules and the table of speakers; others, which training alone needs, are left out.

    Flows alternate with parameterless flips there and are numbered without them here.
    """
    names: dict[str, Tensor] = {}
    for key, value in weights.items():
        if key == "emb_g.weight":
            names[key] = value
        prefix = next((prefix for prefix in _PREFIXES if key.startswith(prefix)), None)
        if prefix is None:
            continue
        name = key[len(prefix) :]
        if prefix == "flow.":
            name = re.sub(r"^flows\.(\d+)\.", lambda match: f"flows.{int(match[1]) // 2}.", name)
        elif prefix == "dp.":
            name = re.sub(r"^flows\.(\d+)\.", lambda match: f"flows.{(int(match[1]) + 1) // 2}.", name)
            name = _OF_DURATIONS.get(name, name)
        elif prefix == "dec.":
            name = re.sub(r"^cond\.", "cond_layer.", name)
        names[_PREFIXES[prefix] + name] = value
    return with_norms_of_durations(names)


def with_norms_of_durations(names: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Norms of Coqui's deterministic predictor have axes for batch and time."""
    return {
        key: value.view(1, -1, 1) if re.fullmatch(r"duration_predictor\.norm_\d\.(gamma|beta)", key) else value
        for key, value in names.items()
    }
