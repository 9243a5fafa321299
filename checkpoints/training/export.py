"""A trained network as a checkpoint in Coqui's layout, `model.safetensors` (float16) and `config.json`.

python -m checkpoints.training.export generator.pt FOLDER
python -m checkpoints.training.export forward.pt FOLDER
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from checkpoints.load import fold_weight_norm
from checkpoints.training.forward import (
    DROPOUT,
    HEADS,
    HIDDEN,
    INNER,
    LAYERS,
    NEAR,
    PREDICTOR,
    SYMBOLS,
    TEXT,
    WAVE_DROPOUT,
    WAVE_LAYERS,
    WAVES,
)
from checkpoints.training.mel import FMAX, HOP, N_FFT, N_MELS, SAMPLE_RATE
from checkpoints.training.networks import DILATIONS, KERNELS, UPSAMPLING

AUDIO = {
    "sample_rate": SAMPLE_RATE, "fft_size": N_FFT, "win_length": N_FFT, "hop_length": HOP, "num_mels": N_MELS,
    "mel_fmin": 0.0, "mel_fmax": FMAX, "log_func": "np.log", "spec_gain": 1.0, "signal_norm": False,
    "preemphasis": 0.0, "do_trim_silence": False, "stats_path": None, "power": 1.0,
}  # fmt: skip


def export_generator(source: Path, folder: Path) -> None:
    """Weight norm is folded in float32; then the weights are rounded once, to what an fp16 artefact holds anyway."""
    from safetensors.torch import save_file

    saved = torch.load(source, map_location="cpu", weights_only=True)
    weights: dict[str, Tensor] = fold_weight_norm({name: value.float() for name, value in saved.items()})
    config: dict[str, Any] = {
        "model": "hifigan",
        "generator_model": "hifigan_generator",
        "generator_model_params": {
            "in_channels": N_MELS,
            "out_channels": 1,
            "resblock_type": "1",
            "upsample_factors": [factor for factor, _ in UPSAMPLING],
            "upsample_kernel_sizes": [kernel for _, kernel in UPSAMPLING],
            "upsample_initial_channel": len(weights["conv_pre.bias"]),
            "resblock_kernel_sizes": list(KERNELS),
            "resblock_dilation_sizes": [list(DILATIONS)] * len(KERNELS),
        },
        "audio": AUDIO,
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.half().contiguous() for name, value in weights.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def export_forward(source: Path, folder: Path) -> None:
    """Exports FastSpeech 2 as `export_generator` does the vocoder."""
    from safetensors.torch import save_file

    saved: dict[str, Tensor] = torch.load(source, map_location="cpu", weights_only=True)
    config: dict[str, Any] = {
        "model": "fastspeech2",
        **TEXT,
        "model_args": {
            "num_chars": SYMBOLS,
            "out_channels": N_MELS,
            "hidden_channels": HIDDEN,
            "use_aligner": False,
            "use_pitch": True,
            "use_energy": True,
            **{f"{kind}_predictor_hidden_channels": PREDICTOR for kind in ("duration", "pitch", "energy")},
            "positional_encoding": False,
            "encoder_type": "relative_position_transformer",
            "encoder_params": {
                "hidden_channels_ffn": INNER,
                "num_heads": HEADS,
                "num_layers": LAYERS,
                "kernel_size": 3,
                "dropout_p": DROPOUT,
                "rel_attn_window_size": NEAR,
                "input_length": None,
            },
            "decoder_type": "wavenet",
            "decoder_params": {
                "num_blocks": WAVES,
                "hidden_channels": HIDDEN,
                "kernel_size": 5,
                "dilation_rate": 2,
                "num_layers": WAVE_LAYERS,
                "dropout_p": WAVE_DROPOUT,
            },
        },
        "audio": AUDIO,
    }
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.half().contiguous() if value.is_floating_point() else value for name, value in saved.items()}
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="checkpoints.training.export", description=__doc__)
    parser.add_argument("network", type=Path, help="what checkpoints.training.vocoder or .acoustic left")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    (export_forward if options.network.name == "forward.pt" else export_generator)(options.network, options.folder)
    print(f"wrote {options.folder}: {(options.folder / 'model.safetensors').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
