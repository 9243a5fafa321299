"""What a conversion keeps of words and pitch, and how much it sounds like its target: recordings through a bundle.

python -m benchmarks.conversion BUNDLE SOURCE… --target TARGET.npz --like REF… --encoder GE2E_BUNDLE --out FOLDER
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path

import numpy as np

from checkpoints.catalogue import find
from checkpoints.fetch import fetch
from runtime.bundle.conversion import Context, ContextName, WindowedStage
from runtime.bundle.store import open_bundle
from runtime.engines import Execution
from runtime.machine.files import write_json
from runtime.measuring.listening import Recogniser, character_error_rate, word_error_rate
from runtime.playing.conversions import conversion_of, converted, open_main, parts_of
from runtime.playing.embed import SpeakerEmbedder
from runtime.playing.stages import NOBODY, Frontend
from runtime.playing.targets import asks_for_own, target_of
from runtime.speech.recordings import audio_blocks, rate_of, read_audio, wav_file
from runtime.speech.resampling import Resampler
from runtime.speech.speaker import cosine
from runtime.speech.spectrum import Pitch

READERS = ("whisper_base", "whisper_tiny_en")
PITCH = Pitch(16000, 1024, 160)


def pitch_correlation(source: np.ndarray, output: np.ndarray) -> float:
    """Correlation of log-F0 where both are voiced; samples (N,) at 16 kHz."""
    count = min(len(source), len(output))
    one, other = (PITCH.of(samples[:count])[0] for samples in (source, output))
    both = (one > 0) & (other > 0)
    return float(np.corrcoef(np.log(one[both]), np.log(other[both]))[0, 1]) if both.sum() > 10 else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("sources", type=Path, nargs="+")
    parser.add_argument("--target", type=Path, nargs="+", default=[])
    parser.add_argument("--like", type=Path, nargs="+", required=True, help="recordings of the target, not in its pool")
    parser.add_argument("--encoder", type=Path, required=True, help="what `python -m convert model=ge2e` made")
    parser.add_argument("--contexts", nargs="+", default=["offline", "live"], help="or past/chunk/future in frames")
    parser.add_argument("--engine", default="onnx")
    parser.add_argument("--out", type=Path, required=True, help="for the audio and results.json")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    bundle, execution = open_bundle(options.bundle), Execution(options.engine, threads=1)
    player = open_main(bundle, execution)
    embedder = SpeakerEmbedder(options.encoder, execution)
    like = np.mean([embedder.embed_file(path).vector for path in options.like], axis=0)
    readers = {name: Recogniser(fetch(find(name))) for name in READERS}
    references = {name: [reader.read(read_audio(path, 16000), 16000) for path in options.sources]
            for name, reader in readers.items()}  # fmt: skip
    cosines = [cosine(embedder.embed_file(path).vector, like) for path in options.sources]
    rows = {"source": {"to_target": float(np.mean(cosines)), "lowest": float(min(cosines))}}
    conversion = conversion_of(bundle)
    whose = NOBODY if asks_for_own(bundle) else target_of(bundle, options.target, execution).target
    for name in options.contexts:
        stages = conversion.stages
        if "/" in name:
            context = Context(*map(int, name.split("/")))
            changed: dict[ContextName, Context] = {"offline": context, "live": context}
            stages = tuple(
                dataclasses.replace(stage, contexts=changed) if isinstance(stage, WindowedStage) else stage
                for stage in stages
            )
        chain = dataclasses.replace(conversion, stages=stages)
        read: dict[str, list[str]] = {reader: [] for reader in READERS}
        scores, elapsed, seconds = [], 0.0, 0.0
        for path in options.sources:
            rate, output = rate_of(path), options.out / f"{name.replace('/', '_')}-{path.stem}.wav"
            own = [path] if asks_for_own(bundle) else []
            target = target_of(bundle, options.target, execution, own).target if own else whose
            parts = parts_of(bundle, chain, execution, target)
            started = time.perf_counter()
            frontend = Frontend(chain, parts, target, rate, "live" if name == "live" else "offline", 0.0, "VHQ")
            audio = np.concatenate([*converted(frontend, player, audio_blocks(path, rate), target.of(bundle.main))])
            elapsed, seconds = elapsed + time.perf_counter() - started, seconds + len(audio) / player.time.sample_rate
            with wav_file(output, player.time.sample_rate) as write:
                write(audio)
            vector = embedder.embed_file(output).vector
            resampler = Resampler(player.time.sample_rate, 16000, "VHQ")
            at_16k = np.concatenate([resampler.push(audio), resampler.flush()])
            source = read_audio(path, 16000)
            scores.append((cosine(vector, like), cosine(vector, embedder.embed_file(path).vector),
                           pitch_correlation(source, at_16k)))  # fmt: skip
            for reader, recogniser in readers.items():
                read[reader].append(recogniser.read(at_16k, 16000))
        to_target, to_source, pitch = np.array(scores).T
        rows[name] = {
            **{f"wer_{reader}": word_error_rate(references[reader], read[reader]) for reader in READERS},
            "cer": character_error_rate(references[READERS[0]], read[READERS[0]]),
            "to_target": float(to_target.mean()), "lowest": float(to_target.min()),
            "to_source": float(to_source.mean()), "pitch": float(np.nanmean(pitch)), "rtf": elapsed / seconds,
        }  # fmt: skip
        print(name, {key: round(value, 3) for key, value in rows[name].items()}, flush=True)
    write_json(options.out / "results.json", rows)
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
