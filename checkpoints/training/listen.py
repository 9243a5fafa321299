"""How well a voice is understood: how many words a recogniser mishears, beside recordings of the same sentences.

    python -m checkpoints.training.listen VOICE VOCODER CLIP... [--sentences FILE] [--out FOLDER]

VOICE and VOCODER are folders that export.py wrote; beside a clip lies its text (.txt). pocketsphinx listens to the
recordings, to the vocoder's copies of them, and to the voice. Wants `pip install -e '.[training]'`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from checkpoints.front_ends import coqui_text
from checkpoints.training.evaluate import at_16k, copies, distillmos, vocoder
from checkpoints.training.forward import TEXT, Forward
from checkpoints.training.mel import HOP, SAMPLE_RATE
from runtime.measuring.listening import edit_distance
from runtime.speech.text import read


def words(text: str) -> list[str]:
    return re.sub(r"[^a-z' ]", " ", text.lower()).split()


def recogniser() -> Callable[[np.ndarray], list[str]]:
    """samples (N,) float32 -> words."""
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=16000, loglevel="FATAL")

    def hear(samples: np.ndarray) -> list[str]:
        level = 0.1 / max(1e-4, float(np.sqrt(np.mean(np.square(samples)))))
        decoder.reinit_feat()  # its means of cepstra would be the last clip's
        decoder.start_utt()
        decoder.process_raw((np.clip(at_16k(samples * level), -1, 1) * 32767).astype(np.int16).tobytes(), full_utt=True)
        decoder.end_utt()
        best = decoder.hyp()
        return words(best.hypstr) if best else []

    return hear


def speaker(folder: Path, of_mel: Callable[[torch.Tensor], np.ndarray]) -> Callable[[str], np.ndarray]:
    """A sentence -> samples (N,)."""
    from safetensors.torch import load_file

    network = Forward().eval()
    weights = load_file(folder / "model.safetensors")
    network.load_state_dict(
        {name: part.float() if part.is_floating_point() else part for name, part in weights.items()}
    )
    settings = coqui_text(TEXT)
    return lambda text: of_mel(network.spoken(torch.tensor(read(text, settings).ids)[None]))


def main() -> None:
    import soundfile

    parser = argparse.ArgumentParser(prog="checkpoints.training.listen", description=__doc__)
    parser.add_argument("voice", type=Path)
    parser.add_argument("vocoder", type=Path)
    parser.add_argument("clips", type=Path, nargs="+", metavar="CLIP", help="that the voice was not trained on")
    parser.add_argument(
        "--sentences", type=Path, metavar="FILE", help="more sentences, a line each, for the voice alone"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="keeps the renders of the voice")
    options = parser.parse_args()
    say = speaker(options.voice, vocoder(options.vocoder))
    hear, opinion, copy = recogniser(), distillmos(), copies(options.vocoder)
    rows: dict[str, list[tuple[int, int, float, float]]] = {}

    def judge(kind: str, text: str, samples: np.ndarray) -> None:
        reference = words(text)
        transcript = hear(samples)
        rows.setdefault(kind, []).append(
            (edit_distance(reference, transcript), len(reference), opinion(samples), len(samples))
        )
        print(f"{kind:10} {rows[kind][-1][0]:3} of {len(reference):2}: {' '.join(transcript)}", file=sys.stderr)

    for path in options.clips:
        text = path.with_suffix(".txt").read_text().strip()
        samples, rate = soundfile.read(path, dtype="float32")
        if rate != SAMPLE_RATE:
            raise SystemExit(f"{path} has {rate} Hz, the vocoder {SAMPLE_RATE}")
        samples = samples[: len(samples) // HOP * HOP]
        spoken = say(text)
        print(text, file=sys.stderr)
        for kind, audio in (("recording", samples), ("copy", copy(samples)), ("voice", spoken)):
            judge(kind, text, audio)
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
            soundfile.write(options.out / f"{path.stem}.wav", spoken, SAMPLE_RATE)
    for text in options.sentences.read_text().splitlines() if options.sentences else ():
        judge("sentences", text, say(text))
    print(f"{'':10} {'misheard':>10} {'words':>6} {'WER':>6} {'DistillMOS':>10} {'seconds':>8}")
    for kind, scores in rows.items():
        wrong, count, opinions, lengths = (sum(column) for column in zip(*scores))
        print(f"{kind:10} {wrong:10} {count:6} {wrong / count:6.3f} {opinions / len(scores):10.2f} "
              f"{lengths / SAMPLE_RATE:8.1f}")  # fmt: skip


if __name__ == "__main__":
    main()
