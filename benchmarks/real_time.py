"""What whole chains take of the clock, audio in and audio out as `live` plays them: alone on a machine.

    python -m benchmarks.real_time BUNDLE[:THREADS] …

Of every bundle in ONNX Runtime on so many threads (1 where none are given) the elapsed time over the audio's on the
clips that ship, in rounds in which all bundles take turns: the median, the least, and beside them the processor's time,
which is less than the clock's times the threads where others had the machine or a thread waited.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.vocoders import opened, played
from runtime.bundle.store import open_bundle
from runtime.engines import cpu_name
from runtime.playing.conversions import ConversionChain
from runtime.speech.clips import clip_paths
from runtime.speech.recordings import read_audio

ROUNDS = 5


@dataclass
class Timed:
    """One chain, its audio, and the seconds of the clock and of the processor that each second of it took."""

    chain: ConversionChain
    samples: np.ndarray
    elapsed: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def play(self) -> None:
        clock, processor = time.perf_counter(), time.process_time()
        played(self.chain, self.samples)
        seconds = len(self.samples) / self.chain.sample_rate
        self.elapsed.append((time.perf_counter() - clock) / seconds)
        self.processor.append((time.process_time() - processor) / seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE[:THREADS]")
    chains = {name: timed(name) for name in parser.parse_args().bundles}
    for chain in chains.values():
        played(chain.chain, chain.samples)  # a first call allocates
    for _ in range(ROUNDS):
        for chain in chains.values():
            chain.play()
    print(f"{cpu_name()}, {os.cpu_count()} cores; {os.getloadavg()[0]:.1f} processes ran in the last minute")
    for name, chain in chains.items():
        elapsed, processor = statistics.median(chain.elapsed), statistics.median(chain.processor)
        print(f"{Path(name).name}: RTF {elapsed:.3f} (least {min(chain.elapsed):.3f}), processor {processor:.3f}")


def timed(name: str) -> Timed:
    path, colon, threads = name.rpartition(":")
    is_split = bool(colon) and threads.isdecimal()
    chain = opened(open_bundle(Path(path if is_split else name)), int(threads) if is_split else 1)
    return Timed(chain, np.concatenate([read_audio(clip, chain.sample_rate) for clip in clip_paths()]))


if __name__ == "__main__":
    main()
