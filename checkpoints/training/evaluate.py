"""How good a vocoder's copies of recordings are, beside Griffin-Lim's: mel L1, STOI, PESQ, DistillMOS.

    python -m checkpoints.training.evaluate CHECKPOINT CLIP... [--out metrics.json]

CHECKPOINT is a folder that checkpoints.training.export wrote; the clips must be ones that it was not trained on. Wants
`pip install -e '.[training]'`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from checkpoints.training.mel import HOP, N_FFT, SAMPLE_RATE, LogMel, mel_filters
from checkpoints.training.networks import Generator
from runtime.machine.files import write_json
from runtime.measuring.listening import mean_opinion

GRIFFIN_LIM_ROUNDS = 60


def vocoder(folder: Path) -> Callable[[torch.Tensor], np.ndarray]:
    """mel (1, n_mels, F) -> samples (N,)."""
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    network = Generator(len(weights["conv_pre.bias"]))
    for layer in network.modules():
        if torch.nn.utils.parametrize.is_parametrized(layer, "weight"):
            torch.nn.utils.parametrize.remove_parametrizations(layer, "weight")
    network.load_state_dict({name: value.float() for name, value in weights.items()})
    network.eval()

    def samples_of(mel: torch.Tensor) -> np.ndarray:
        with torch.inference_mode():
            return network(mel)[0, 0].numpy()

    return samples_of


def copies(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """samples (N,) -> the generator's copy of their mel, (N,)."""
    mel, samples_of = LogMel(), vocoder(folder)
    return lambda samples: samples_of(mel(torch.from_numpy(samples)[None]))


def griffin_lim(samples: np.ndarray) -> np.ndarray:
    """samples (N,) -> what phases guessed from the same mel give, (N,)."""
    import librosa

    amplitude = np.exp(LogMel()(torch.from_numpy(samples)[None])[0].numpy())
    filters = mel_filters(SAMPLE_RATE, N_FFT, len(amplitude), 8000.0).numpy()
    spectrum = librosa.util.nnls(filters, amplitude)
    # the mel's windows lie half a hop away from those of a centred transform
    audio = librosa.griffinlim(
        spectrum, n_iter=GRIFFIN_LIM_ROUNDS, hop_length=HOP, n_fft=N_FFT, random_state=0, center=True
    )
    padded = np.pad(audio, (HOP // 2, len(samples)))
    return padded[: len(samples)].astype(np.float32)


def metrics(samples: np.ndarray, render: np.ndarray, opinion: Callable[[np.ndarray], float]) -> dict[str, float]:
    """samples, render (N,): mel L1 (natural log, 0-8 kHz), STOI, PESQ (wide band), DistillMOS (1 to 5)."""
    import pesq
    import pystoi

    log_mel = LogMel()
    reference, rendered = (log_mel(torch.from_numpy(part)[None]) for part in (samples, render))
    return {
        "mel_l1": float((reference - rendered).abs().mean()),
        "stoi": float(pystoi.stoi(samples, render, SAMPLE_RATE)),
        "pesq": float(pesq.pesq(16000, at_16k(samples), at_16k(render), "wb")),
        "distillmos": opinion(render),
    }


def distillmos() -> Callable[[np.ndarray], float]:
    """samples (N,) -> a predicted mean opinion score."""
    opinion = mean_opinion()
    return lambda samples: opinion(at_16k(samples))


def at_16k(samples: np.ndarray) -> np.ndarray:
    import soxr

    return soxr.resample(samples, SAMPLE_RATE, 16000, quality="VHQ").astype(np.float32)


def main() -> None:
    import soundfile

    parser = argparse.ArgumentParser(prog="checkpoints.training.evaluate", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("clips", type=Path, nargs="+", metavar="CLIP")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="the metrics of every clip")
    options = parser.parse_args()
    copy, opinion = copies(options.checkpoint), distillmos()
    rows: dict[str, list[dict[str, float]]] = {"recording": [], "vocoder": [], "griffin_lim": []}
    for path in options.clips:
        samples, rate = soundfile.read(path, dtype="float32")
        if rate != SAMPLE_RATE:
            raise SystemExit(f"{path} has {rate} Hz, the vocoder {SAMPLE_RATE}")
        samples = samples[: len(samples) // HOP * HOP]
        for kind, render in (("recording", samples), ("vocoder", copy(samples)), ("griffin_lim", griffin_lim(samples))):
            rows[kind].append(metrics(samples, render, opinion))
        print(f"{path.stem}: mel L1 {rows['vocoder'][-1]['mel_l1']:.3f}", file=sys.stderr)
    means = {
        kind: {name: float(np.mean([row[name] for row in scores])) for name in scores[0]}
        for kind, scores in rows.items()
    }
    print(f"{len(options.clips)} clips      " + "".join(f"{name:>12}" for name in means["recording"]))
    for kind, values in means.items():
        print(f"{kind:14}" + "".join(f"{value:12.3f}" for value in values.values()))
    if options.out:
        write_json(options.out, {"means": means, "clips": [path.stem for path in options.clips]})


if __name__ == "__main__":
    main()
