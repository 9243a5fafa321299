"""A trained live voice as a checkpoint, `model.safetensors` (float16) and `config.json`.

python -m checkpoints.training.live.export OUT/converter.pt OUT/generator.pt FOLDER
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from checkpoints.load import fold_weight_norm
from checkpoints.training.export import AUDIO
from checkpoints.training.live.speech import PITCH
from converters.upstream.live_voice import ConverterSettings, GeneratorSettings

_HEAD = "head."  # of training alone


def export(converter: Path, generator: Path, folder: Path, lookahead: int) -> None:
    """Writes both networks to a folder, weight norm folded in float32 and each weight rounded once.

    `lookahead`: frames that the converter was trained with; the weights do not show them.
    """
    from safetensors.torch import save_file

    trained = {name: _loaded(path) for name, path in (("converter", converter), ("generator", generator))}
    first, narrow = trained["converter"]["into.weight"], trained["converter"].get("narrow.weight")
    blocks = {name.split(".")[1] for name in trained["converter"] if name.startswith("blocks.")}
    settings = ConverterSettings(
        channels=len(first), blocks=len(blocks), kernel=first.shape[2], lookahead=lookahead,
        bottleneck=0 if narrow is None else len(narrow),
    )  # fmt: skip
    config = {
        "model": "live_voice",
        "audio": AUDIO | {"framing": "hifigan"},
        "converter": dataclasses.asdict(settings),
        "generator": dataclasses.asdict(_generator_settings(trained["generator"])),
        "pitch": PITCH,
    }
    weights = {
        f"{network}.{name}": value.half().contiguous()
        for network, state in trained.items()
        for name, value in state.items()
        if not name.startswith(_HEAD)
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def _generator_settings(weights: Mapping[str, Tensor]) -> GeneratorSettings:
    """Read from the shapes: each upsampling makes `factor` positions of half the channels."""
    channels, factors = len(weights["into.weight"]), list[int]()
    while f"ups.{len(factors)}.conv.weight" in weights:
        made, taken = weights[f"ups.{len(factors)}.conv.weight"].shape[:2]
        factors.append(made // (taken // 2))
    return GeneratorSettings(channels=channels, upsampling=tuple(factors), samples=len(weights["last.weight"]))


def _loaded(path: Path) -> dict[str, Tensor]:
    saved = torch.load(path, map_location="cpu", weights_only=True)
    return fold_weight_norm({name: value.float() for name, value in saved.items()})


def main() -> None:
    parser = argparse.ArgumentParser(prog="checkpoints.training.live.export", description=__doc__)
    parser.add_argument("converter", type=Path)
    parser.add_argument("generator", type=Path)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--lookahead", type=int, default=2, help="frames, as in training [%(default)s]")
    options = parser.parse_args()
    export(options.converter, options.generator, options.folder, options.lookahead)
    print(f"wrote {options.folder}: {(options.folder / 'model.safetensors').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
