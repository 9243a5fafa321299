"""Recordings of one voice as a few long files, and random pieces of them.

`python -m checkpoints.training.recordings OUT CLIP...` packs clips: silence at both ends cut to 0.1 s, joined, in FLAC
files small enough to travel (`train-0.flac`, …). `--held CLIP...` names those that no training sees (`held.flac`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from checkpoints.training.mel import HOP, SAMPLE_RATE
from runtime.errors import AudioError

ENDINGS = (".wav", ".flac", ".ogg", ".mp3")
HELD = 20  # of so many recordings one is kept out of the training
LEAST = 3  # recordings
MARGIN = round(0.1 * SAMPLE_RATE)
QUIET_DB = -40.0  # below the clip's loudest 20 ms


def trimmed(samples: np.ndarray) -> np.ndarray:
    """samples (N,) without the silence at its ends, but for a margin."""
    frame = round(0.02 * SAMPLE_RATE)
    power = np.square(samples[: len(samples) // frame * frame].reshape(-1, frame).astype(np.float64)).mean(1)
    loud = np.flatnonzero(power > power.max() * 10 ** (QUIET_DB / 10))
    return samples[max(0, loud[0] * frame - MARGIN) : (loud[-1] + 1) * frame + MARGIN]


def pack(clips: Sequence[Path], held: Sequence[Path], folder: Path, seconds: float = 1800.0, bits: int = 16) -> None:
    """Writes `train-N.flac` of at most `seconds` each, `held.flac`, and their clips' lengths in `clips.json`.

    Recordings of another rate or of several channels are brought to one channel at the rate of the training. Fewer
    `bits` than 16 make smaller files: 11 of them leave noise at -77 dB of full scale.
    """
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    lengths: dict[str, dict[str, int]] = {}
    ready = [(clip.stem, rounded(trimmed(_brought(clip)), bits)) for clip in clips]
    for number, part in enumerate(_parts(ready, seconds)):
        soundfile.write(folder / f"train-{number}.flac", np.concatenate([one for _, one in part]), SAMPLE_RATE)
        lengths[f"train-{number}"] = {name: len(one) for name, one in part}
    untrimmed = [(clip.stem, rounded(_brought(clip), bits)) for clip in held]
    if untrimmed:
        soundfile.write(folder / "held.flac", np.concatenate([one for _, one in untrimmed]), SAMPLE_RATE)
        lengths["held"] = {name: len(one) for name, one in untrimmed}
    (folder / "clips.json").write_text(json.dumps(lengths, indent=1))


def packed(recordings: Path, folder: Path) -> Path:
    """Packs a folder's recordings once, every twentieth held out, and returns the packed one. Raises AudioError for too
    few."""
    if not (folder / "clips.json").is_file():
        clips = sorted(path for path in recordings.rglob("*") if path.suffix.lower() in ENDINGS)
        if len(clips) < LEAST:
            raise AudioError(
                f"{recordings} holds {len(clips)} recordings ({', '.join(ENDINGS)}): ten minutes and more are wanted, "
                f"in files of a sentence or a few, {LEAST} of them at least"
            )
        held = clips[HELD // 2 :: HELD] or clips[-1:]
        pack([clip for clip in clips if clip not in held], held, folder)
    return folder


def _parts(clips: Sequence[tuple[str, np.ndarray]], seconds: float) -> Iterator[list[tuple[str, np.ndarray]]]:
    part: list[tuple[str, np.ndarray]] = []
    for clip in clips:
        if part and sum(len(one) for _, one in part) + len(clip[1]) > seconds * SAMPLE_RATE:
            yield part
            part = []
        part.append(clip)
    yield part


def rounded(samples: np.ndarray, bits: int) -> np.ndarray:
    """samples (N,) int16 to the nearest multiples of 2 ** (16 - bits)."""
    step = 1 << (16 - bits)
    most = 32768 // step - 1
    return (np.clip(np.rint(samples / step), -most - 1, most) * step).astype(np.int16)


def _brought(path: Path) -> np.ndarray:
    """(N,) int16 of a recording at any rate."""
    import soundfile

    from runtime.speech.resampling import resampled

    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    audio = resampled(samples.mean(1), rate, SAMPLE_RATE, "VHQ")
    return np.clip(np.rint(audio * 32768), -32768, 32767).astype(np.int16)


def _read(path: Path) -> np.ndarray:
    import soundfile

    samples, rate = soundfile.read(path, dtype="int16")
    if rate != SAMPLE_RATE or samples.ndim != 1:
        raise ValueError(f"{path}: one channel at {SAMPLE_RATE} Hz is wanted, it has {samples.ndim} at {rate}")
    return samples


def joined(folder: Path) -> Tensor:
    """Returns all training audio of a packed folder (N,) int16."""
    return torch.from_numpy(np.concatenate([_read(file) for file in sorted(folder.glob("train-*.flac"))]))


def clips_of(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yields every clip of a packed folder, held ones last: its name and samples (N,) int16."""
    lengths: dict[str, dict[str, int]] = json.loads((folder / "clips.json").read_text())
    for file, clips in lengths.items():
        samples, start = _read(folder / f"{file}.flac"), 0
        for name, length in clips.items():
            yield name, samples[start : start + length]
            start += length


def held_names(folder: Path) -> set[str]:
    return set(json.loads((folder / "clips.json").read_text()).get("held", ()))


def held_clips(folder: Path) -> list[Tensor]:
    """Returns each held clip (N,) float32, cut to whole frames."""
    samples = torch.from_numpy(_read(folder / "held.flac")).float() / 32768
    lengths = list(json.loads((folder / "clips.json").read_text())["held"].values())
    return [clip[: len(clip) // HOP * HOP] for clip in samples.split(lengths)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="checkpoints.training.recordings", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="OUT")
    parser.add_argument("clips", type=Path, nargs="+", metavar="CLIP", help="FLAC or WAV")
    parser.add_argument("--held", type=Path, nargs="+", default=[], metavar="CLIP", help="kept out of the training")
    parser.add_argument("--seconds", type=float, default=1800.0, help="of a file at most [%(default)s]")
    parser.add_argument("--bits", type=int, default=16, choices=range(8, 17), metavar="8..16", help="of a sample [16]")
    options = parser.parse_args()
    held = {clip.stem for clip in options.held}
    clips = [clip for clip in sorted(options.clips) if clip.stem not in held]
    pack(clips, sorted(options.held), options.folder, options.seconds, options.bits)
    print(f"{len(clips)} clips to train on, {len(held)} held: {options.folder}")


if __name__ == "__main__":
    main()
