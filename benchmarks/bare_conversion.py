"""The least a conversion can be: load, trace, convert, save. What job_overhead.py compares the main job with."""

from __future__ import annotations

import sys
from pathlib import Path

from converters.upstream.coqui import import_coqui


def main(target: Path) -> None:
    import json
    import logging

    import coremltools as ct
    import torch
    from safetensors.torch import load_file

    logging.getLogger("coremltools").setLevel(logging.ERROR)
    folder = Path(__file__).parent.parent / "checkpoints" / "bundled" / "kathleen_hifigan"
    settings = json.loads((folder / "config.json").read_text())["generator_model_params"]
    generator = import_coqui("TTS.vocoder.models.hifigan_generator").HifiganGenerator(**settings)
    generator.remove_weight_norm()
    generator.load_state_dict(load_file(folder / "model.safetensors"))
    generator.eval()
    mel = torch.randn(1, 80, 64)
    with torch.no_grad():
        traced = torch.jit.trace(generator, mel)
    model = ct.convert(
        traced,
        inputs=[ct.TensorType("mel", shape=mel.shape)],
        outputs=[ct.TensorType("audio")],
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.macOS15,
        compute_precision=ct.precision.FLOAT16,
    )
    model.save(str(target))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
