"""A HiFi-GAN of few layers and two seconds of speech: what does not depend on a network's width is tested on these."""

import json
from pathlib import Path

import soundfile

from runtime.speech.clips import clip_paths

CLIPS, CLIP_START, CLIP_SECONDS = 2, 1.0, 1.0


def write_small_hifigan(folder: Path) -> Path:
    """A checkpoint in Coqui's layout: 16 channels, two stages of upsampling by 16, one residual block each, drawn."""
    import torch

    from checkpoints.catalogue import BUNDLED, catalogue
    from checkpoints.locate import FALLBACK
    from converters.upstream.coqui import import_coqui

    folder.mkdir(parents=True)
    config = json.loads((BUNDLED / FALLBACK["hifigan"] / "config.json").read_text())
    config["generator_model_params"] |= {
        "upsample_initial_channel": 16,
        "upsample_factors": [16, 16],
        "upsample_kernel_sizes": [32, 32],
        "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1, 3, 5]],
    }
    config["audio"] |= catalogue()[FALLBACK["hifigan"]].audio
    torch.manual_seed(0)
    module = import_coqui("TTS.vocoder.models.hifigan_generator").HifiganGenerator(**config["generator_model_params"])
    torch.save({"model": module.state_dict()}, folder / "model_file.pth")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def write_clips(folder: Path) -> Path:
    """One second from the middle of each of two bundled clips."""
    folder.mkdir(parents=True)
    for path in clip_paths()[:CLIPS]:
        with soundfile.SoundFile(path) as file:
            file.seek(round(CLIP_START * file.samplerate))
            speech = file.read(round(CLIP_SECONDS * file.samplerate))
            soundfile.write(folder / path.name, speech, file.samplerate)
    return folder
