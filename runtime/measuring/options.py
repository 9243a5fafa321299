"""What a person can ask of a measurement; plain data, importable without an engine."""

from __future__ import annotations

from dataclasses import dataclass, field

from runtime.engines import ENGINES, Execution


@dataclass
class MeasureOptions:
    """What to measure. `engines`: `auto` is mil and onnx, and coreml on a Mac. `bench_seconds` 0 times nothing;
    `compute_unit` is Core ML's, by default the CPU and the GPU; `trust_reference`: engine torch executes the program
    of a bundle from another machine (runtime/bundle/trust.py). `listen`: recognisers read what voices and conversions
    say, and a speaker encoder says whose voice it is; their weights are fetched."""

    engines: list[str] = field(default_factory=lambda: ["auto"])
    chunk: int | None = None
    bench_seconds: float = 1.5
    bench_min_chunks: int = 50
    threads: int | None = None
    compute_unit: str | None = None
    trust_reference: bool = False
    listen: bool = False

    def execution(self, engine: str) -> Execution:
        """Returns the execution in one of the engines; only Core ML hears of the compute unit. Raises EngineError for
        one that is none."""
        unit = self.compute_unit if engine == "auto" or ENGINES[engine].has_compute_units else None
        return Execution(engine, self.threads, unit)


@dataclass
class GateLimits:
    """The limits for one precision; what has no limit is not judged. Of audio: `log_mel_l1`, and `window_drop_db`: how
    far any 50 ms window, head or tail may lie below the whole. Of embeddings: `cosine`, the least of any. Of a voice:
    the SNR of `components` that have a limit of their own, and `durations_off`, the share of symbols that may last
    another number of frames. Of a conversion, on the worst golden of a context: levels in dB of what comes of silence
    and of a room's noise, `f0_correlation` with the source, `register` in semitones from the target, similarities,
    `mos`. Of speech, over all goldens: word and character error rates, `wer_second` of a second recogniser; of a voice
    beside what is read in PyTorch's audio."""

    snr_db: float | None = None
    log_mel_l1: float | None = None
    window_drop_db: float = 20.0
    cosine: float | None = None
    components: dict[str, float] = field(default_factory=dict)
    durations_off: float | None = None
    silence_db: float | None = None
    room_db: float | None = None
    f0_correlation: float | None = None
    register: float | None = None
    similarity_to_target: float | None = None
    similarity_to_source: float | None = None
    mos: float | None = None
    wer: float | None = None
    cer: float | None = None
    wer_second: float | None = None
