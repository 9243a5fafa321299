"""What a person can ask of a measurement; plain data, importable without an engine."""

from __future__ import annotations

from dataclasses import dataclass, field

from runtime.engines import ENGINES, Execution


@dataclass
class MeasureOptions:
    """What to measure. `engines`: `auto` is mil and onnx, and coreml on a Mac. `bench_seconds` 0 times nothing;
    `compute_unit` is Core ML's, by default the CPU and the GPU; `trust_reference`: engine torch executes the program
    of a bundle from another machine (runtime/bundle/trust.py)."""

    engines: list[str] = field(default_factory=lambda: ["auto"])
    chunk: int | None = None
    bench_seconds: float = 1.5
    bench_min_chunks: int = 50
    threads: int | None = None
    compute_unit: str | None = None
    trust_reference: bool = False

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
    another number of frames."""

    snr_db: float | None = None
    log_mel_l1: float | None = None
    window_drop_db: float = 20.0
    cosine: float | None = None
    components: dict[str, float] = field(default_factory=dict)
    durations_off: float | None = None
