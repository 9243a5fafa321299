"""NVIDIA/BigVGAN (Lee et al. 2022, arXiv 2206.04658): HiFi-GAN with anti-aliased Snake activations.

The mel is jik876's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from checkpoints import CheckpointError
from checkpoints.layouts import jik876
from checkpoints.layouts.reading import Place, Reading

if TYPE_CHECKING:
    from torch import Tensor

TITLE = "BigVGAN of NVIDIA/BigVGAN"
_ACTIVATIONS = ("snake", "snakebeta")


def recognise(place: Place) -> Reading | None:
    config = place.json
    if not jik876.is_its_config(config) or "activation" not in config or "snake_logscale" not in config:
        return None
    activation = config["activation"]
    if activation not in _ACTIVATIONS:
        raise CheckpointError(f"{place.folder}: BigVGAN with activation {activation!r}; there is: snake, snakebeta")
    weights = place.weights(*jik876.NAMES, but=jik876.OTHERS)
    if not weights:
        raise CheckpointError(f"{place.folder} has a config of {TITLE}, and no file with its generator")
    ours = jik876.hifigan_config(config)
    ours["generator_model_params"] |= {
        "activation": activation,
        "activation_logscale": bool(config["snake_logscale"]),
        "final_tanh": bool(config.get("use_tanh_at_final", True)),
        "conv_post_bias": bool(config.get("use_bias_at_final", True)),
    }
    return Reading("bigvgan", TITLE, "hifigan", weights[-1], ours, notes=jik876.which_of(weights))


def renamed(weights: Mapping[str, Tensor], _: Mapping[str, Any]) -> dict[str, Tensor]:
    """An upsampling is a list of one layer there."""
    return {re.sub(r"^ups\.(\d+)\.0\.", r"ups.\1.", key): value for key, value in weights.items()}
