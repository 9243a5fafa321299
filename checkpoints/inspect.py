"""`python -m checkpoints inspect PATH`: what a path holds, what of it voxport converts, and how."""

from __future__ import annotations

import copy
import math
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from checkpoints import CheckpointError, layouts
from checkpoints.coqui_audio import mel_settings
from checkpoints.files import read_config, sha256_of
from checkpoints.layouts.reading import Reading
from runtime.errors import VoxportError

# A Coqui config's `model` or `generator_model`, and the model of voxport that reads it.
_COQUI = {
    "hifigan_generator": "hifigan", "melgan_generator": "melgan", "multiband_melgan_generator": "multiband_melgan",
    "fullband_melgan_generator": "fullband_melgan", "parallel_wavegan_generator": "parallel_wavegan",
    "univnet_generator": "univnet", "wavernn": "wavernn", "vits": "vits", "fast_pitch": "fast_pitch",
    "fastspeech2": "fastspeech2", "speedy_speech": "speedy_speech", "tacotron2": "tacotron2", "glow_tts": "glow_tts",
    "freevc": "freevc",
}  # fmt: skip
_WEIGHTS = (".safetensors", ".bin", ".pth", ".pt", ".tar", ".ckpt", ".pkl", ".pyt")


def page(path: Path) -> tuple[str, bool]:
    """The text, and whether voxport converts what it describes.

    Raises CheckpointError where there is nothing to read.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such path")
    try:
        reading = layouts.recognise(path)
    except CheckpointError as error:
        return _table([("path", str(path)), ("converts", f"no: {error}")]), False
    if reading is None:
        rows, converts = _unrecognised(path)
        return _table([("path", str(path)), *rows]), converts
    rows = [("path", str(path)), ("holds", reading.title), *_weights(reading.weights)]
    if reading.needs:
        return _table([*rows, ("converts", "no"), ("needed", reading.needs)]), False
    described, problem = _tensors(reading)
    if problem:
        return _table([*rows, ("converts", f"no: {problem}")]), False
    rows += [("tensors", described), ("converts", f"yes: {_command(reading.family, path)}")]
    rows += _mel(reading)
    rows += [("note", note) for note in reading.notes]
    return _table(rows), True


def _command(model: str, path: Path) -> str:
    return f"python -m convert model={model} checkpoint.source={shlex.quote(str(path))}"


def _weights(path: Path | None) -> Iterator[tuple[str, str]]:
    if path is not None and path.is_file():
        yield "weights", f"{path.name}, {path.stat().st_size / 1e6:,.1f} MB, sha256 {sha256_of(path)[:16]}…"


def _tensors(reading: Reading) -> tuple[str, str]:
    """What the weights are under our names, and what is wrong with them."""
    from checkpoints.load import read_weights

    assert reading.weights is not None
    try:
        with layouts.weight_file(reading.layout, reading.weights) as file:
            tensors = read_weights(file)
        return _described(layouts.renamed(reading.layout, tensors, copy.deepcopy(reading.config))), ""
    except CheckpointError as error:
        return "", str(error)


def _mel(reading: Reading) -> Iterator[tuple[str, str]]:
    """The spectrogram that it takes, or the audio that a voice makes."""
    audio = reading.config.get("audio") or {}
    if reading.family == "vits":
        yield "audio", f"{audio.get('sample_rate')} Hz, {audio.get('hop_length')} samples a frame"
        return
    in_weights = audio.get("statistics_in_weights")
    try:
        mel = mel_settings({**audio, "signal_norm": False} if in_weights else audio)
    except VoxportError as error:
        yield "mel", str(error)
        return
    log = "ln" if mel.log_base == math.e else "log10"
    statistics = ", normalised by mean and scale of each band" if in_weights or mel.mean else ""
    padding = "centred" if mel.framing == "centered" else "not centred, reflected by (n_fft - hop) / 2"
    bands = f"{mel.n_mels} bands, {mel.fmin:g} to {mel.fmax or mel.sample_rate / 2:g} Hz"
    windows = f"n_fft {mel.n_fft}, window {mel.win_length}, hop {mel.hop_length}, {padding}"
    levels = f"{log} of at least {mel.amplitude_floor:g}{statistics}"
    yield "mel", f"{bands}, of audio at {mel.sample_rate} Hz; {windows}; {levels}"


def _unrecognised(path: Path) -> tuple[list[tuple[str, str]], bool]:
    """Coqui's own layout, a voice of RVC, an ONNX voice; else what the file's tensors are called."""
    folder = path if path.is_dir() else path.parent
    configs = (path.with_name(f"{path.name}.json"), folder / "config.json")
    config_path = next((one for one in configs if one.is_file()), None)
    config = read_config(config_path) if config_path else {}
    name = str(config.get("generator_model") or config.get("model") or "")
    if name in _COQUI:
        model = _COQUI[name]
        return _of_coqui(path, folder, name, model)
    if "phoneme_id_map" in config and any(one.suffix == ".onnx" for one in (path, *folder.glob("*.onnx"))):
        return [("holds", "a voice of Piper"), ("converts", f"yes: {_command('vits', path)}")], True
    files = [path] if path.is_file() else [one for one in sorted(folder.iterdir()) if one.suffix in _WEIGHTS]
    rows: list[tuple[str, str]] = []
    for file in [one for one in files if one.suffix in _WEIGHTS or path.is_file()][:3]:
        more, converts = _contents(file)
        if converts:
            return more, True
        rows += more
    listed = ", ".join(sorted({*layouts.LAYOUTS}))
    rows.append(("converts", "not as it is: no layout is recognised"))
    rows.append(("needed", f"the trainer's config beside the weights; layouts that are known: {listed}, and Coqui's"))
    return rows, False


def _of_coqui(path: Path, folder: Path, name: str, model: str) -> tuple[list[tuple[str, str]], bool]:
    from checkpoints.load import read_weights
    from checkpoints.locate import weight_file

    rows = [("holds", f"{name} of Coqui")]
    try:
        file = path if path.is_file() else weight_file(folder)
        rows.append(("file", f"{file.name}: {_described(read_weights(file))}"))
    except CheckpointError as error:
        return [*rows, ("converts", f"no: {error}")], False
    return [*rows, ("converts", f"yes: {_command(model, path)}")], True


def _contents(file: Path) -> tuple[list[tuple[str, str]], bool]:
    from checkpoints.load import read_weights
    from checkpoints.pickles import load_pickle
    from checkpoints.rvc import settings_inside

    try:
        if file.suffix != ".safetensors" and settings_inside(load_pickle(file)):
            return [("holds", "a voice of RVC"), ("converts", f"yes: {_command('rvc', file)}")], True
        tensors = read_weights(file)
    except CheckpointError as error:
        return [("file", f"{file.name}: {error}")], False
    return [("file", f"{file.name}: {_described(tensors)}{_guess(tensors)}")], False


def _described(tensors: Mapping[str, Any]) -> str:
    parts = Counter(key.split(".")[0] for key in tensors)
    elements = sum(value.numel() for value in tensors.values())
    names = ", ".join(f"{part} ({count})" for part, count in parts.most_common(6))
    return f"{len(tensors)} tensors, {elements / 1e6:.2f} million values: {names}"


# By parts that no other network has.
_GUESSES = (
    ({"m_source", "noise_convs"}, "NSF-HiFiGAN's generator"),
    ({"conv_pre", "ups", "resblocks", "conv_post"}, "a HiFi-GAN's generator: it lacks its config.json"),
    ({"enc_p", "dec", "flow"}, "VITS of jaywalnut310 or a descendant: it lacks its config.json"),
    ({"input_conv", "upsamples", "blocks"}, "kan-bayashi's HiFi-GAN: it lacks its config.yml and stats"),
    ({"gpt", "hifigan_decoder"}, "XTTS"),
)


def _guess(tensors: Mapping[str, Any]) -> str:
    parts = {key.split(".")[0] for key in tensors}
    return next((f"; it looks like {title}" for names, title in _GUESSES if names <= parts), "")


def _table(rows: list[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name.ljust(width)}  {text}" for name, text in rows)
