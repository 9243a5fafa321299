"""A checkpoint of rhasspy/piper's training: Lightning's `epoch=…-step=….ckpt`, the generator under `model_g`, beside
the config.json of its dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from checkpoints.layouts.jaywalnut_vits import model_args
from checkpoints.layouts.jik876 import which_of
from checkpoints.layouts.reading import Place, Reading, section
from checkpoints.layouts.vits_names import in_coqui_names

if TYPE_CHECKING:
    from torch import Tensor

TITLE = "a checkpoint of Piper's training"
# What piper_train's `--quality` stands for; the weights tell which it was, since config.json often does not.
_MEDIUM = {
    "resblock": "2", "resblock_kernel_sizes": [3, 5, 7], "resblock_dilation_sizes": [[1, 2], [2, 6], [3, 12]],
    "upsample_rates": [8, 8, 4], "upsample_initial_channel": 256, "upsample_kernel_sizes": [16, 16, 8],
}  # fmt: skip
_HIGH = {
    "resblock": "1", "resblock_kernel_sizes": [3, 7, 11], "resblock_dilation_sizes": [[1, 3, 5]] * 3,
    "upsample_rates": [8, 8, 2, 2], "upsample_initial_channel": 512, "upsample_kernel_sizes": [16, 16, 4, 4],
}  # fmt: skip


def recognise(place: Place) -> Reading | None:
    config = place.json
    weights = place.weights("*.ckpt")
    if "phoneme_id_map" not in config or not weights or weights[-1].suffix != ".ckpt":
        return None
    inference = section(config, "inference")
    ours = {
        "model": "vits",
        "model_args": {
            "inference_noise_scale": float(inference.get("noise_scale", 0.667)),
            "inference_noise_scale_dp": float(inference.get("noise_w", 0.8)),
            "length_scale": float(inference.get("length_scale", 1.0)),
        },
        "audio": {"sample_rate": section(config, "audio").get("sample_rate") or 22050, "hop_length": 256,
                  "win_length": 1024, "fft_size": 1024},
        "speaker_ids": section(config, "speaker_id_map"),
        "voice_of": config,
    }  # fmt: skip
    return Reading("piper_training", TITLE, "vits", weights[-1], ours, notes=which_of(weights))


def renamed(weights: Mapping[str, Tensor], config: dict[str, Any]) -> dict[str, Tensor]:
    """Under Coqui's names, and in `config` the sizes that follow from them."""
    start = "model_g."
    names = in_coqui_names({key.removeprefix(start): value for key, value in weights.items() if key.startswith(start)})
    symbols, hidden = names["text_encoder.emb.weight"].shape
    quality = _HIGH if any(".convs2." in key for key in names) else _MEDIUM
    speakers = names.get("emb_g.weight")
    model = {
        **quality,
        "hidden_channels": hidden,
        "filter_channels": names["text_encoder.encoder.ffn_layers.0.conv_1.weight"].shape[0],
        "upsample_initial_channel": names["waveform_decoder.conv_pre.weight"].shape[0],
        "use_sdp": "duration_predictor.flows.0.translation" in names,
        "gin_channels": 0 if speakers is None else speakers.shape[1],
    }
    config["model_args"] = {
        **model_args(model), **config["model_args"], "num_chars": symbols,
        "condition_dp_on_speaker": "duration_predictor.cond.weight" in names,
    }  # fmt: skip
    return names
