"""Piper and Mimic 3 voices: an ONNX file of VITS and a JSON, in the terms of a Coqui checkpoint.

Both are exports of jaywalnut310's VITS. Its modules are Coqui's under other names; the sizes that no file states follow
from the weights' shapes and the graph's convolutions.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from checkpoints import CheckpointError
from checkpoints.layouts.vits_names import PARTS, in_coqui_names
from checkpoints.load import LoadedCheckpoint

_WINDOW_LAYERS = re.compile(r"flow\.flows\.0\.enc\.in_layers\.(\d+)\.")


def is_onnx_voice(checkpoint: LoadedCheckpoint) -> bool:
    return checkpoint.located.weights is not None and checkpoint.located.weights.suffix == ".onnx"


def coqui_terms(checkpoint: LoadedCheckpoint) -> LoadedCheckpoint:
    """The checkpoint as Coqui's trainer would have written it; one that is Coqui's already stays as it is.

    Raises CheckpointError for an ONNX file that is no such voice.
    """
    if not is_onnx_voice(checkpoint):
        return checkpoint
    weights = _renamed(checkpoint)
    config = checkpoint.config
    rates = _ups(checkpoint, "strides")
    inference = config.get("inference") or {}
    sample_rate = int((config.get("audio") or {}).get("sample_rate") or 22050)
    terms = {
        "model_args": _model_args(checkpoint, weights)
        | {
            "inference_noise_scale": float(inference.get("noise_scale", 0.667)),
            "inference_noise_scale_dp": float(inference.get("noise_w", 0.8)),
            "length_scale": float(inference.get("length_scale", 1.0)),
        },
        "audio": {"sample_rate": sample_rate, "hop_length": math.prod(rates), "win_length": 1024, "fft_size": 1024},
        "speaker_ids": config.get("speaker_id_map") or config.get("speaker_ids") or {},
        "voice_of": config,
    }
    return dataclasses.replace(
        checkpoint, located=dataclasses.replace(checkpoint.located, config=terms), weights=weights, layers={}
    )


def _renamed(checkpoint: LoadedCheckpoint) -> dict[str, Tensor]:
    renamed = in_coqui_names(checkpoint.weights)
    scale = checkpoint.weights.get("dp/flows.0/Exp_output_0")  # exp(-logs), computed when it was exported
    if scale is not None:
        renamed["duration_predictor.flows.0.log_scale"] = -torch.log(scale)
    for part in PARTS:
        if not any(key.startswith(part) for key in renamed):
            raise CheckpointError(
                f"checkpoint {checkpoint.name}: the ONNX file holds no VITS voice: it has no {part[:-1]}"
            )
    return renamed


def _model_args(checkpoint: LoadedCheckpoint, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Coqui's names for the sizes of the network."""

    def shape(key: str) -> torch.Size:
        if key not in weights:
            raise CheckpointError(f"checkpoint {checkpoint.name}: the ONNX voice has no {key}")
        return weights[key].shape

    symbols, hidden = shape("text_encoder.emb.weight")
    attention = "text_encoder.encoder.attn_layers"
    blocks = _numbers(checkpoint, r"dec\.resblocks\.(\d+)\.")
    rates = _ups(checkpoint, "strides")
    per_stage = len(blocks) // max(len(rates), 1)
    pairs = any(".convs2." in path for path in checkpoint.layers)
    first = [_dilations(checkpoint, block, "convs1" if pairs else "convs") for block in blocks[:per_stage]]
    names = [f"waveform_decoder.resblocks.{block}.{'convs1' if pairs else 'convs'}.0.weight" for block in blocks]
    kernels = [shape(name)[2] for name in names[:per_stage]]
    speakers = "emb_g.weight" in weights
    channels = weights["emb_g.weight"].shape[1] if speakers else 256
    return {
        "num_chars": symbols,
        "hidden_channels": hidden,
        "hidden_channels_ffn_text_encoder": shape("text_encoder.encoder.ffn_layers.0.conv_1.weight")[0],
        "num_heads_text_encoder": hidden // shape(f"{attention}.0.emb_rel_k")[2],
        "num_layers_text_encoder": len({key.split(".")[3] for key in weights if key.startswith(f"{attention}.")}),
        "kernel_size_text_encoder": shape("text_encoder.encoder.ffn_layers.0.conv_1.weight")[2],
        "kernel_size_flow": shape("flow.flows.0.enc.in_layers.0.weight")[2],
        "dilation_rate_flow": _dilation(checkpoint, "flow.flows.0.enc.in_layers.1"),
        "num_layers_flow": len({match[1] for key in weights if (match := _WINDOW_LAYERS.match(key))}),
        "resblock_type_decoder": "1" if pairs else "2",
        "resblock_kernel_sizes_decoder": kernels,
        "resblock_dilation_sizes_decoder": first,
        "upsample_rates_decoder": rates,
        "upsample_initial_channel_decoder": shape("waveform_decoder.conv_pre.weight")[0],
        "upsample_kernel_sizes_decoder": _ups(checkpoint, "kernel_shape"),
        "use_sdp": "duration_predictor.flows.0.translation" in weights,
        "use_speaker_embedding": speakers,
        "speaker_embedding_channels": channels,
        "condition_dp_on_speaker": "duration_predictor.cond.weight" in weights,
    }


def _numbers(checkpoint: LoadedCheckpoint, pattern: str) -> list[int]:
    return sorted({int(match[1]) for path in checkpoint.layers if (match := re.match(pattern, path))})


def _ups(checkpoint: LoadedCheckpoint, attribute: str) -> list[int]:
    values = [
        int(checkpoint.layers[f"dec.ups.{stage}"][attribute][0]) for stage in _numbers(checkpoint, r"dec\.ups\.(\d+)$")
    ]
    if not values:
        raise CheckpointError(f"checkpoint {checkpoint.name}: the ONNX file is no VITS voice: nothing upsamples")
    return values


def _dilations(checkpoint: LoadedCheckpoint, block: int, part: str) -> list[int]:
    stem = f"dec.resblocks.{block}.{part}"
    count = len(_numbers(checkpoint, re.escape(stem) + r"\.(\d+)$"))
    return [_dilation(checkpoint, f"{stem}.{layer}") for layer in range(count)]


def _dilation(checkpoint: LoadedCheckpoint, layer: str) -> int:
    attributes = checkpoint.layers.get(layer, {})
    return int((attributes.get("dilations") or [1])[0])
