"""Vocoders side by side: what their copies keep of recordings, what they cost, how long they wait.

    python -m benchmarks.vocoders BUNDLE… --clips CLIP… [--out FOLDER] [--points JSON] [--plot SVG]

Every bundle plays as `live` plays it, audio in and audio out, chunk by chunk: a vocoder with its own features, a
conversion to a built-in voice with all of its stages. `RTF` is the processor's time over the audio's in ONNX Runtime on
one thread, the least of rounds in which all bundles take turns; `latency` is by structure. Of trained weights words are
counted in a copy of each clip, against the transcript beside it (.txt) or against what the reader makes of the clip
itself, and DistillMOS predicts a mean opinion; drawn ones have costs alone. `--points` keeps what was measured and adds
to it: whom it judged already is not judged again. `--plot` draws all of it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from convert.listening import OPINION, READERS, open_listeners
from runtime.bundle.store import Bundle, open_bundle
from runtime.engines import Execution
from runtime.machine.files import write_bytes, write_json
from runtime.measuring.latency import structural_latency
from runtime.measuring.listening import RATE, Listeners, Reading, compared, error_rate, plain_words
from runtime.playing.conversions import ConversionChain, open_conversion, open_main
from runtime.playing.stages import NOBODY
from runtime.speech.clips import transcript_of
from runtime.speech.recordings import read_audio, wav_file
from runtime.speech.resampling import resampled

ROUNDS, BLOCK_SECONDS = 4, 0.01
RECORDINGS = "recordings"


@dataclass(frozen=True)
class Point:
    """One vocoder. `rtf`: processor seconds per second of audio; `latency`: seconds; `words` and `characters`: the
    shares that are wrong. What was not judged, or does not cost, is None."""

    rtf: float | None = None
    latency: float | None = None
    parameters: int | None = None
    words: float | None = None
    characters: float | None = None
    opinion: float | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="*")
    parser.add_argument("--clips", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, help="a folder for the copies")
    parser.add_argument("--points", type=Path, help="what was measured, which more is added to")
    parser.add_argument("--plot", type=Path, help="a picture of quality, cost and latency")
    options = parser.parse_args()
    points: dict[str, Point] = {}
    if options.points is not None and options.points.is_file():
        points = {name: Point(**values) for name, values in json.loads(options.points.read_text()).items()}
    bundles = {bundle.manifest.checkpoint.name: bundle for bundle in map(open_bundle, options.bundles)}
    chains = {name: opened(bundle) for name, bundle in bundles.items()}
    for name, rtf in real_time_factors(chains, options.clips[0]).items():
        parts, count = structural_latency(bundles[name]), bundles[name].manifest.parameters
        latency = sum(parts.values()) if parts else None
        points[name] = replace(points.get(name, Point()), rtf=rtf, latency=latency, parameters=count)
    unjudged = [name for name, point in points.items() if name in bundles and point.opinion is None]
    trained = [name for name in unjudged if not bundles[name].manifest.checkpoint.random]
    if trained:
        judged = _Judges(options.clips)
        points[RECORDINGS] = judged.point(Point(), judged.recordings)
    for name in trained:
        points[name] = judged.point(points[name], copies(name, chains[name], options.clips, options.out))
        _keep(points, options.points)
    print(
        "| | parameters | words wrong | characters wrong | DistillMOS | RTF | latency |\n|---|---|---|---|---|---|---|"
    )
    for name, point in points.items():
        print(_row(name, point))
    _keep(points, options.points)
    if options.plot is not None:
        write_bytes(options.plot, drawn(points))


def _keep(points: Mapping[str, Point], file: Path | None) -> None:
    if file is not None:
        write_json(file, {name: asdict(point) for name, point in points.items()})


def opened(bundle: Bundle, threads: int = 1) -> ConversionChain:
    """A bundle as `live` plays it, in and out at its own rate. Raises as `open_conversion` and `ConversionChain`."""
    execution = Execution("onnx", threads)
    player = open_main(bundle, execution)
    return ConversionChain(open_conversion(bundle, NOBODY, player.time.sample_rate, "live", execution), player)


def played(chain: ConversionChain, samples: np.ndarray) -> np.ndarray:
    """Audio (N,) in blocks as they come of a sound card -> what is made of it."""
    chain.reset()
    size = int(BLOCK_SECONDS * chain.sample_rate)
    pieces = [chain.push(samples[at : at + size]) for at in range(0, len(samples), size)]
    return np.concatenate([*pieces, chain.flush()])


def real_time_factors(chains: Mapping[str, ConversionChain], clip: Path) -> dict[str, float]:
    least: dict[str, float] = {}
    for _ in range(ROUNDS):
        for name, chain in chains.items():
            samples = read_audio(clip, chain.sample_rate)
            started = time.process_time()
            played(chain, samples)
            rtf = (time.process_time() - started) * chain.sample_rate / len(samples)
            least[name] = min(rtf, least.get(name, rtf))
    return least


def copies(name: str, chain: ConversionChain, clips: Sequence[Path], out: Path | None) -> list[np.ndarray]:
    """Every clip through a vocoder (N,) at the judges' rate; as it is made in WAV files of a folder, too."""
    made = []
    for path in clips:
        audio = played(chain, read_audio(path, chain.sample_rate))
        made.append(resampled(audio, chain.sample_rate, RATE, "VHQ"))
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            with wav_file(out / f"{name}-{path.stem}.wav", chain.sample_rate) as write:
                write(audio)
    return made


class _Judges:
    """Who reads and rates copies of some clips."""

    def __init__(self, clips: Sequence[Path]) -> None:
        self._listeners: Listeners = open_listeners((READERS[0], OPINION), print)
        self.recordings = [read_audio(path, RATE) for path in clips]
        texts = [plain_words(transcript_of(path)) for path in clips]
        self._texts = [text or self._read(clip) for text, clip in zip(texts, self.recordings)]

    def point(self, point: Point, clips: Sequence[np.ndarray]) -> Point:
        """Adds to a point what they make of all clips together."""
        values: dict[str, Any] = asdict(point)
        if READERS[0] in self._listeners.readers:
            read: list[tuple[Reading, ...]] = [
                (compared(READERS[0], text, self._read(clip)),) for text, clip in zip(self._texts, clips)
            ]
            values |= {"words": error_rate(read, 0, "word"), "characters": error_rate(read, 0, "character")}
        if self._listeners.opinion is not None:
            values["opinion"] = float(np.mean([self._listeners.opinion(clip) for clip in clips]))
        return Point(**values)

    def _read(self, clip: np.ndarray) -> str:
        reader = self._listeners.readers.get(READERS[0])
        return "" if reader is None else reader.read(clip, RATE)


def _row(name: str, point: Point) -> str:
    cells = [
        name,
        "" if point.parameters is None else f"{point.parameters / 1e6:.2f} M",
        *("" if share is None else f"{share:.3f}" for share in (point.words, point.characters)),
        "" if point.opinion is None else f"{point.opinion:.2f}",
        "" if point.rtf is None else f"{point.rtf:.3f}",
        "" if point.latency is None else f"{1e3 * point.latency:.0f} ms",
    ]
    return f"| {' | '.join(cells)} |"


# ------------------------------------------------------------------------------------------------------ the picture


def drawn(points: Mapping[str, Point]) -> bytes:
    """Opinion over cost, and below it latency over cost, as SVG: weights that were drawn are rings, and have no
    opinion."""
    import io

    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from reports.plots import PALETTE

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "voxport"}):
        figure = Figure(figsize=(8.5, 8.5), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
        upper.set(xscale="log", ylabel="DistillMOS of copies (1 to 5)", ylim=(3, 4.5))
        lower.set(
            yscale="log", ylabel="latency by structure, ms", xlabel="real-time factor in ONNX Runtime, one thread"
        )
        natural = points.get(RECORDINGS, Point()).opinion
        if natural is not None:
            upper.axhline(natural, color="0.6", linestyle="--")
            upper.annotate("recordings", (1, natural), xycoords=upper.get_yaxis_transform(), xytext=(-4, 3),
                           textcoords="offset points", ha="right", fontsize=8)  # fmt: skip
        places: dict[Any, list[tuple[float, float, str]]] = {upper: [], lower: []}
        for name, point in points.items():
            label, fill = name.removesuffix("_random"), "none" if point.opinion is None else PALETTE[0]
            if point.rtf is not None and point.opinion is not None:
                said = label if point.words is None else f"{label}, {point.words:.1%} of words wrong"
                places[upper].append((point.rtf, point.opinion, said))
            if point.rtf is not None and point.latency:
                places[lower].append((point.rtf, 1e3 * point.latency, label))
                lower.plot(point.rtf, 1e3 * point.latency, "o", color=PALETTE[0], markerfacecolor=fill)
        for axes, spots in places.items():
            axes.margins(0.25, 0.15)
            if axes is upper:
                axes.plot(*zip(*[spot[:2] for spot in spots]), "o", color=PALETTE[0])
            _label(axes, spots)
        lower.plot([], [], "o", color=PALETTE[0], label="trained")
        lower.plot([], [], "o", color=PALETTE[0], markerfacecolor="none", label="drawn weights: cost and latency alone")
        lower.legend(loc="lower left", fontsize=8)
        for axis in (lower.xaxis, lower.yaxis):
            axis.set_major_formatter("{x:g}")
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


_LINE = 11.0  # points of a label's height, with some room


def _label(axes: Any, places: Sequence[tuple[float, float, str]]) -> None:
    """Writes a label beside each place (x, y, label), from below upwards; one that would lie on another is moved above
    it."""
    axes.figure.canvas.draw()  # scales are settled by now
    scale = 72 / axes.figure.dpi
    taken: list[tuple[float, float, float]] = []  # left, right, height: in points
    for x, y, label in sorted(places, key=lambda place: place[1]):
        left, bottom = (float(value) * scale for value in axes.transData.transform((x, y)))
        left, right, height = left + 6, left + 6 + 4.6 * len(label), bottom
        while any(left < end and start < right and abs(height - at) < _LINE for start, end, at in taken):
            height += 1
        taken.append((left, right, height))
        axes.annotate(label, (x, y), xytext=(6, height - bottom - 3), textcoords="offset points", fontsize=8)


if __name__ == "__main__":
    main()
