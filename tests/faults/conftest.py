import json

import pytest


@pytest.fixture(scope="session")
def tiny_voice(tmp_path_factory):
    """A HiFi-GAN of an eighth of the channels, drawn at random, as somebody's own checkpoint: it converts in seconds."""
    import torch

    from checkpoints.catalogue import BUNDLED
    from checkpoints.locate import FALLBACK
    from converters.coqui import import_coqui

    folder = tmp_path_factory.mktemp("checkpoints") / "tiny_voice"
    folder.mkdir()
    config = json.loads((BUNDLED / FALLBACK["hifigan"] / "config.json").read_text())
    config["generator_model_params"]["upsample_initial_channel"] = 16
    torch.manual_seed(0)
    module = import_coqui("TTS.vocoder.models.hifigan_generator").HifiganGenerator(**config["generator_model_params"])
    torch.save({"model": module.state_dict()}, folder / "model_file.pth")
    (folder / "config.json").write_text(json.dumps(config))
    return folder
