"""A converted voice against the ONNX file that it was imported from, in ONNX Runtime, on the ten bundled sentences.

    python -m benchmarks.voices BUNDLE VOICE.onnx [--engine onnx|mil]

The file draws its noise inside, so both speak without noise. A frame more or less shifts all that follows: samples are
compared with the durations that the bundle's own reference predicts; `off` counts the symbols to which the artefacts
would give another one.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

import numpy as np
import onnxruntime

from runtime.engines import Execution
from runtime.playing.chains import Request
from runtime.playing.speak import Voice
from runtime.speech.metrics import log_mel_l1, snr_db
from runtime.speech.sentences import golden_sentences
from runtime.speech.text import read_symbols


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.voices", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("onnx", type=Path)
    parser.add_argument("--engine", default="onnx")
    options = parser.parse_args()
    voice = Voice(options.bundle, Execution(options.engine))
    session = onnxruntime.InferenceSession(options.onnx)
    scales = np.array([0.0, voice.record.length_scale, 0.0], np.float32)
    print(f"{voice.engine}, {options.bundle.name}")
    reference = Voice(options.bundle, Execution("torch"))
    print(
        "sentence    | symbols | off | frames | file's | SNR dB | log-mel L1 | first audio ms | RTF | RTF of the file"
    )
    sound = voice.bundle.sound
    assert sound is not None
    for name, _, phonemes in golden_sentences():
        ids = np.array(read_symbols(phonemes, voice.record.text).ids)
        inputs = {"input": ids[None].astype(np.int64), "input_lengths": np.array([len(ids)]), "scales": scales}
        request = Request(ids, noise_scale=0.0, duration_noise_scale=0.0)
        durations = reference.utterance(request).durations
        for _ in range(2):  # the first is a warm-up
            started = time.perf_counter()
            expected = session.run(None, inputs)[0].ravel()
            middle = time.perf_counter()
            utterance = voice.utterance(request)
            pieces, first = [], 0.0
            for piece in voice.pieces(utterance):
                first = first or time.perf_counter() - middle
                pieces.append(piece)
            ended = time.perf_counter()
        seconds = sum(map(len, pieces)) / voice.record.sample_rate
        got = voice.audio(voice.utterance(dataclasses.replace(request, durations=durations)))
        frames, theirs = int(durations.sum()), len(expected) // voice.record.samples_per_frame
        quality = "      – |          –"
        if frames == theirs:
            distance = log_mel_l1(expected, got, sound.mel)
            quality = f"{snr_db(expected, got):6.1f} | {distance:10.5f}"
        off = int((utterance.durations != durations).sum())
        print(
            f"{name} | {len(ids):7} | {off:3} | {frames:6} | {theirs:6} | {quality} | {1e3 * first:14.0f} | "
            f"{(ended - middle) / seconds:.3f} | {(middle - started) / seconds:.3f}"
        )


if __name__ == "__main__":
    main()
