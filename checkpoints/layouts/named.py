"""Layouts whose network voxport does not have: what they are, and what would be needed."""

from __future__ import annotations

from checkpoints.layouts.reading import Place, Reading, section


def espnet(place: Place) -> Reading | None:
    """ESPnet2's TTS: `config.yaml` with `tts`, `train.….pth`."""
    config = place.yaml("config.yaml", "config.yml")
    if "tts" not in config or "tts_conf" not in config:
        return None
    weights = place.weights("*.pth")
    return Reading(
        "espnet", f"{config['tts']} of ESPnet", weights=weights[-1] if weights else None,
        needs="ESPnet's networks have layers of their own (its VITS a Conformer, for one). A vocoder of the same "
        "people is one of kan-bayashi/ParallelWaveGAN, which voxport converts: give the folder of its .pkl",
    )  # fmt: skip


def ming024(place: Place) -> Reading | None:
    """ming024/FastSpeech2: `900000.pth.tar` beside model.yaml and preprocess.yaml."""
    config = place.yaml("model.yaml")
    if "transformer" not in config and "variance_predictor" not in config:
        return None
    weights = place.weights("*.pth.tar", "*.pth")
    return Reading(
        "ming024", "FastSpeech 2 of ming024/FastSpeech2", weights=weights[-1] if weights else None,
        needs="its encoder, variance adaptor and PostNet are others than Coqui's FastSpeech 2 (model=fastspeech2), and "
        "its phonemes come from the dictionary of its corpus: a family would be needed. The vocoder beside it "
        "(generator_universal.pth.tar with a config.json) is jik876's HiFi-GAN, which voxport converts",
    )  # fmt: skip


def fatchord(place: Place) -> Reading | None:
    """fatchord/WaveRNN: `latest_weights.pyt`, hparams.py."""
    weights = [path for path in place.weights("latest_weights.pyt", "*.pyt") if path.suffix == ".pyt"]
    if not weights:
        return None
    return Reading(
        "fatchord", "WaveRNN or Tacotron of fatchord/WaveRNN", weights=weights[-1],
        needs="its settings are a program, hparams.py, which is not executed. A WaveRNN of it is a close relative of "
        "Real-Time-Voice-Cloning's (model=wavernn): a reader for its settings as data would be needed",
    )  # fmt: skip


def xtts(place: Place) -> Reading | None:
    """Coqui's XTTS: a config of model `xtts`, `model.pth`, `dvae.pth`, `speakers_xtts.pth`."""
    if place.json.get("model") != "xtts":
        return None
    weights = place.weights("model.pth", "*.pth")
    return Reading(
        "xtts", "XTTS of Coqui", weights=weights[0] if weights else None,
        needs="a language model over codes of speech (GPT-2) with a HiFi-GAN behind it. voxport has no family that "
        "samples codes from a transformer with a cache",
    )  # fmt: skip


def rvc(place: Place) -> Reading | None:
    """A training folder of RVC, whose config.json has `data` and `model` without a text."""
    config = place.json
    if "spk_embed_dim" not in section(config, "model"):
        return None
    weights = place.weights("G_*.pth", "*.pth", but=("D_*",))
    return Reading(
        "rvc", "a training folder of RVC", weights=weights[-1] if weights else None,
        needs="the voice that RVC extracts of it (a .pth with `weight`, `config`, `sr`), which model=rvc converts",
    )  # fmt: skip
