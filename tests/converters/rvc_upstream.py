"""RVC's own networks: code of a PyPI package, unpacked below `.cache`, no dependency of anything."""

import hashlib
import importlib
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import filelock
import pytest
import torch

WHEEL, SHA256 = "rvc-python==0.1.5", "d2dfd7e20e32062952382b0846979f5cde5f319266dee0599136349f5b521ab0"


def rvc_models(kept):
    """The module with SynthesizerTrnMs256NSFsid and its relatives; skips where PyPI is out of reach."""
    folder = Path(kept) / "rvc"
    with filelock.FileLock(f"{folder}.lock"):
        if not (folder / "rvc_python").is_dir():
            fetched = folder / "wheel"
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(fetched), WHEEL]
            if subprocess.run(command, capture_output=True, check=False).returncode:
                pytest.skip(f"{WHEEL} cannot be fetched")
            (wheel,) = fetched.glob("*.whl")
            assert hashlib.sha256(wheel.read_bytes()).hexdigest() == SHA256
            zipfile.ZipFile(wheel).extractall(folder)
    for name in ("rvc_python", "rvc_python.lib"):  # without what these import themselves
        package = types.ModuleType(name)
        package.__path__ = [str(folder.joinpath(*name.split(".")))]
        sys.modules[name] = package
    return importlib.import_module("rvc_python.lib.infer_pack.models")


def arguments(rate, **sizes):
    """The list `config` of a voice file, narrow unless `sizes` say otherwise."""
    known = {
        "inter": 8, "hidden": 16, "filter": 24, "layers": 2, "blocks": [3], "dilations": [[1, 3, 5]], "wide": 32,
        "speakers": 3, "speaker": 6, **sizes,
    }  # fmt: skip
    rates = {32000: [10, 8, 2, 2], 40000: [10, 10, 2, 2], 48000: [12, 10, 2, 2]}[rate]
    kernels = {32000: [20, 16, 4, 4], 40000: [16, 16, 4, 4], 48000: [24, 20, 4, 4]}[rate]
    return [
        1025, 32, known["inter"], known["hidden"], known["filter"], 2, known["layers"], 3, 0, "1", known["blocks"],
        known["dilations"], rates, known["wide"], kernels, known["speakers"], known["speaker"], rate,
    ]  # fmt: skip


PUBLISHED = {"inter": 192, "hidden": 192, "filter": 768, "layers": 6, "blocks": [3, 7, 11], "wide": 512,
             "dilations": [[1, 3, 5]] * 3, "speakers": 109, "speaker": 256}  # fmt: skip


def network(models, version, has_pitch, config):
    """A voice's network with a flow and biases that do something."""
    torch.manual_seed(0)
    name = f"SynthesizerTrnMs{'256' if version == 1 else '768'}NSFsid{'' if has_pitch else '_nono'}"
    model = getattr(models, name)(*config, **({"is_half": False} if has_pitch else {}))
    for key, parameter in model.named_parameters():
        if key.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.05)
        if key.endswith("post.weight"):
            torch.nn.init.normal_(parameter, std=0.02)
    return model.eval()


def save_voice(path, model, version, has_pitch, config):
    """As RVC's own extraction saves a voice: half precision, without the posterior encoder."""
    weights = {
        key: value.half().contiguous() for key, value in model.state_dict().items() if not key.startswith("enc_q")
    }
    torch.save(
        {"weight": weights, "config": config, "info": "20epoch", "sr": f"{config[-1] // 1000}k", "f0": int(has_pitch),
         "version": f"v{version}"}, path,
    )  # fmt: skip
