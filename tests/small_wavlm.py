"""A WavLM of few channels as Microsoft publishes its own, drawn, with a HiFi-GAN that reads its content."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from checkpoints.files import ARCHITECTURES
from converters.upstream.coqui import import_coqui
from converters.upstream.wavlm import published

CHANNELS, LAYERS = 32, 3
SMALL = {
    **published(),
    "encoder_layers": LAYERS,
    "encoder_embed_dim": CHANNELS,
    "encoder_ffn_embed_dim": 64,
    "encoder_attention_heads": 4,
    "conv_pos": 16,
    "conv_pos_groups": 4,
    "conv_feature_layers": "[(16,10,5)] + [(16,3,2)] * 4 + [(16,2,2)] * 2",
}


def upstream_wavlm(cfg: dict[str, Any] | None = None, lively: bool = True) -> Any:
    """coqui-tts's own. Its small drawn weights leave attention nearly even: `lively` ones do not."""
    upstream = import_coqui("TTS.vc.layers.freevc.wavlm.wavlm")
    torch.manual_seed(0)
    module = upstream.WavLM(upstream.WavLMConfig(cfg or SMALL)).eval()
    for name, parameter in module.named_parameters() if lively else ():
        if "norm" not in name and "parametrizations" not in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return module


def write_small_wavlm(folder: Path) -> Path:
    """`WavLM-Large.pt` in the published layout, and a config."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"cfg": SMALL, "model": upstream_wavlm().state_dict()}, folder / "WavLM-Large.pt")
    (folder / "config.json").write_text(json.dumps({"wavlm_layer": LAYERS - 1}))
    return folder


def content_vocoder_config() -> dict[str, Any]:
    """kNN-VC's HiFi-GAN, with few layers and the content of `SMALL`."""
    config = json.loads((ARCHITECTURES / "prematched_wavlm_hifigan.json").read_text())
    config["generator_model_params"] |= {
        "in_channels": 12,
        "pre_linear": CHANNELS,
        "upsample_initial_channel": 8,
        "upsample_factors": [20, 16],
        "upsample_kernel_sizes": [40, 32],
        "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1, 3, 5]],
    }
    return config


def write_small_content_vocoder(folder: Path) -> Path:
    """A checkpoint in Coqui's layout."""
    folder.mkdir(parents=True)
    config = content_vocoder_config()
    torch.manual_seed(0)
    generator = import_coqui("TTS.vocoder.models.hifigan_generator").HifiganGenerator
    torch.save({"model": generator(**config["generator_model_params"]).state_dict()}, folder / "model_file.pth")
    (folder / "config.json").write_text(json.dumps(config))
    return folder
