"""What a conversion keeps of words and pitch, and how much it sounds like its target: recordings through a bundle.

python -m benchmarks.conversion BUNDLE SOURCE… --target TARGET.npz --like REF… --out FOLDER

Beside a source its transcript may lie (.txt); else words are counted against each reader's own reading of the source.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from convert.listening import ENCODER, OPINION, READERS, open_listeners
from runtime.bundle.conversion import Context, ContextName, Conversion, WindowedStage
from runtime.bundle.store import open_bundle
from runtime.engines import Execution
from runtime.machine.files import write_json
from runtime.measuring.conversion import Analysis, ConvertedResult, analysed, judged
from runtime.measuring.listening import RATE
from runtime.measuring.quality import OF_CONVERSIONS, OF_SPEECH
from runtime.playing.conversions import conversion_of, converted, open_main, parts_of
from runtime.playing.stages import NOBODY, Frontend
from runtime.playing.targets import asks_for_own, target_of
from runtime.speech.clips import transcript_of
from runtime.speech.recordings import audio_blocks, rate_of, read_audio, wav_file
from runtime.speech.resampling import resampled

LOW_HZ = 165.0  # between most men's and most women's


def in_context(conversion: Conversion, name: str) -> tuple[Conversion, ContextName]:
    """name: offline, live, or past/chunk/future in frames of what the windowed stages take."""
    if "/" not in name:
        return conversion, "live" if name == "live" else "offline"
    context = Context(*map(int, name.split("/")))
    changed: dict[ContextName, Context] = {"offline": context, "live": context}
    stages = tuple(
        dataclasses.replace(stage, contexts=changed) if isinstance(stage, WindowedStage) else stage
        for stage in conversion.stages
    )
    return dataclasses.replace(conversion, stages=stages), "offline"


def summary(results: Sequence[ConvertedResult]) -> dict[str, float]:
    """Returns the mean of every metric, of rates the one over all recordings, and the lowest similarity."""
    values = {metric.name: metric.of_results(results) for metric in (*OF_CONVERSIONS, *OF_SPEECH)}
    means = {name: float(np.nanmean([value for value, _ in found])) for name, found in values.items() if found}
    similarities = [value for value, _ in values["similarity_to_target"]]
    return means | ({"lowest_similarity_to_target": min(similarities)} if similarities else {})


def is_low(source: Analysis) -> bool:
    """Whether a voice's median F0 is below `LOW_HZ`: most men's are, few women's."""
    voiced = source.f0[source.f0 > 0]
    return len(voiced) > 0 and float(np.median(voiced)) < LOW_HZ


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("sources", type=Path, nargs="+")
    parser.add_argument("--target", type=Path, nargs="+", default=[])
    parser.add_argument("--like", type=Path, nargs="+", required=True, help="recordings of the target, not in its pool")
    parser.add_argument("--contexts", nargs="+", default=["offline", "live"], help="or past/chunk/future in frames")
    parser.add_argument("--engine", default="onnx")
    parser.add_argument("--out", type=Path, required=True, help="for the audio and results.json")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    bundle, execution = open_bundle(options.bundle), Execution(options.engine, threads=1)
    player, listeners = open_main(bundle, execution), open_listeners((*READERS, ENCODER, OPINION), print)
    likes = [analysed(read_audio(path, RATE), listeners, is_read=False) for path in options.like]
    embeddings = [one.embedding for one in likes if one.embedding is not None and len(one.embedding)]
    like = dataclasses.replace(
        likes[0],
        f0=np.concatenate([one.f0 for one in likes]),
        embedding=np.mean(embeddings, axis=0) if embeddings else None,
    )
    sources = [analysed(read_audio(path, RATE), listeners, transcript=transcript_of(path)) for path in options.sources]
    pairs = zip(options.sources, sources)
    rows = {"source": summary([judged(path.stem, "target", "offline", one, like, one) for path, one in pairs])}
    whose = NOBODY if asks_for_own(bundle) else target_of(bundle, options.target, execution).target
    for name in options.contexts:
        chain, context = in_context(conversion_of(bundle), name)
        results, elapsed, seconds = [], 0.0, 0.0
        for path, source in zip(options.sources, sources):
            rate, output = rate_of(path), options.out / f"{name.replace('/', '_')}-{path.stem}.wav"
            own = [path] if asks_for_own(bundle) else []
            target = target_of(bundle, options.target, execution, own).target if own else whose
            parts = parts_of(bundle, chain, execution, target)
            started = time.perf_counter()
            frontend = Frontend(chain, parts, target, rate, context, 0.0, "VHQ")
            audio = np.concatenate([*converted(frontend, player, audio_blocks(path, rate), target.of(bundle.main))])
            elapsed, seconds = elapsed + time.perf_counter() - started, seconds + len(audio) / player.time.sample_rate
            with wav_file(output, player.time.sample_rate) as write:
                write(audio)
            side = analysed(resampled(audio, player.time.sample_rate, RATE, "VHQ"), listeners)
            results.append(judged(path.stem, "target", context, source, like, side))
        rows[name] = summary(results) | {"rtf": elapsed / seconds}
        for whose_voices, wanted in (("low voices", True), ("high voices", False)):
            some = [result for result, source in zip(results, sources) if is_low(source) == wanted]
            if 0 < len(some) < len(results):
                rows[f"{name}, {whose_voices}"] = summary(some) | {"recordings": len(some)}
        for row in [row for row in rows if row.split(",")[0] == name]:
            print(row, {key: round(value, 3) for key, value in rows[row].items()}, flush=True)
    write_json(options.out / "results.json", rows)
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
