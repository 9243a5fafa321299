"""Vocoders side by side: what their copies keep of recordings, what they cost, how long they wait.

python -m benchmarks.vocoders BUNDLE… --clips CLIP… [--out FOLDER] [--plot PNG]

Each clip becomes features and sound again through every bundle, whole, and streamed where it streams. Words are counted
against the transcript beside a clip (.txt), or against what the reader makes of the clip itself; DistillMOS listens at
16 kHz. `rtf` is the processor's time over the audio's, on one thread, features apart: beside other work it stays
roughly the same. `latency` is by structure: the rest of a feature's window, a chunk and the lookahead. `--plot` draws
DistillMOS over RTF, a vocoder's mark as large as its latency.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from convert.listening import OPINION, READERS, open_listeners
from runtime.bundle.store import Bundle, BundleError, open_bundle
from runtime.engines import Execution
from runtime.measuring.listening import RATE, Listeners, Reading, compared, error_rate, plain_words
from runtime.playing.player import Player, open_player
from runtime.speech.clips import transcript_of
from runtime.speech.features import LocalFeatures
from runtime.speech.recordings import read_audio, wav_file
from runtime.speech.resampling import resampled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--clips", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, help="a folder for the copies")
    parser.add_argument("--plot", type=Path, help="a picture of quality, cost and latency")
    options = parser.parse_args()
    listeners = open_listeners((READERS[0], OPINION), print)
    heard = [read_audio(path, RATE) for path in options.clips]
    texts = [plain_words(transcript_of(path)) or _read(listeners, clip) for path, clip in zip(options.clips, heard)]
    print("| vocoder | WER | CER | DistillMOS | RTF of features, of the vocoder | latency |\n|---|---|---|---|---|---|")
    rates, natural = _judged(listeners, texts, heard)
    print(f"| recordings | {rates} | {natural:.2f} | | |", flush=True)
    points: dict[str, tuple[float, float, float | None]] = {}
    for path in options.bundles:
        bundle = open_bundle(path)
        player = open_player(bundle, Execution("onnx", threads=1))
        copies, shares = _copies(bundle, player, options.clips, options.out)
        rtf = " ".join(f"{share:.3f}" for share in shares)
        (rates, opinion), latency = _judged(listeners, texts, copies), _latency(bundle)
        waits = "–" if latency is None else f"{1e3 * latency:.0f} ms"
        print(f"| {bundle.manifest.series} | {rates} | {opinion:.2f} | {rtf} | {waits} |", flush=True)
        points[bundle.manifest.series] = sum(shares), opinion, latency
    if options.plot is not None:
        _draw(points, natural, options.plot)


def _copies(
    bundle: Bundle, player: Player, clips: Sequence[Path], out: Path | None
) -> tuple[list[np.ndarray], tuple[float, float]]:
    """Every clip through a vocoder (N,) at 16 kHz; the processor's time for features and for it over the audio's."""
    features, rate = bundle.main.features, player.time.sample_rate
    if not isinstance(features, LocalFeatures):
        raise BundleError(f"{bundle.path.name} is no vocoder: its input is not made of audio")
    copies, spent, seconds = [], np.zeros(2), 0.0
    for path in clips:
        samples = read_audio(path, rate)
        moments = [time.process_time()]
        frames = features.of(samples)[None]
        moments.append(time.process_time())
        audio = player.play(frames).reshape(-1)
        moments.append(time.process_time())
        spent, seconds = spent + np.diff(moments), seconds + len(audio) / rate
        copies.append(resampled(audio, rate, RATE, "VHQ"))
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            with wav_file(out / f"{bundle.manifest.checkpoint.name}-{path.stem}.wav", rate) as write:
                write(audio)
    return copies, (float(spent[0] / seconds), float(spent[1] / seconds))


def _draw(points: Mapping[str, tuple[float, float, float | None]], natural: float, path: Path) -> None:
    """RTF, opinion and latency in seconds by series -> a picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot(xscale="log", xlabel="real-time factor, one thread", ylabel="DistillMOS", ylim=(1, 5))
    axes.axhline(natural, color="0.6", linestyle="--", label="recordings")
    for series, (rtf, opinion, latency) in points.items():
        waits = "offline" if latency is None else f"{1e3 * latency:.0f} ms"
        axes.scatter([rtf], [opinion], s=40 + 2e3 * (latency or 0.0), alpha=0.7, label=f"{series}, {waits}")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=150)


def _latency(bundle: Bundle) -> float | None:
    """Seconds by structure; None of what does not stream."""
    form, time_axis, features = bundle.main.stream, bundle.main.time, bundle.main.features
    if form is None or time_axis is None or not isinstance(features, LocalFeatures):
        return None
    return features.latency / features.sample_rate + (form.chunk + form.lookahead) * time_axis.frame_seconds


def _read(listeners: Listeners, clip: np.ndarray) -> str:
    return listeners.readers[READERS[0]].read(clip, RATE)


def _judged(listeners: Listeners, texts: Sequence[str], clips: Sequence[np.ndarray]) -> tuple[str, float]:
    """Word and character error rate of all clips together as cells of a table, and the mean opinion, which is not a
    number where nobody has one."""
    reader, opinion = listeners.readers.get(READERS[0]), listeners.opinion
    cells = ["–", "–"]
    if reader is not None:
        read: list[tuple[Reading, ...]] = [
            (compared(READERS[0], text, reader.read(clip, RATE)),) for text, clip in zip(texts, clips)
        ]
        cells = [f"{error_rate(read, 0, 'word'):.3f}", f"{error_rate(read, 0, 'character'):.3f}"]
    score = float("nan") if opinion is None else float(np.mean([opinion(clip) for clip in clips]))
    return " | ".join(cells), score


if __name__ == "__main__":
    main()
