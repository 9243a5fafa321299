"""What a person can ask of a measurement; plain data, importable without an engine."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.engines import COMPUTE_UNITS, ENGINES, Execution
from runtime.errors import EngineError
from runtime.machine.setting import setting


@dataclass
class MeasureOptions:
    """What to measure, and in what. `listen`: recognisers read what voices and conversions say, and a speaker encoder
    says whose voice it is; their weights are fetched."""

    engines: list[str] = setting(text="auto: mil and onnx, and coreml on a Mac", factory=lambda: ["auto"])
    chunk: int | None = setting(None, "new frames of a call [all that fit]")
    bench_seconds: float = setting(1.5, "throughput is timed at least that long; 0: not at all")
    bench_min_chunks: int = setting(50, "and that many chunks; 20 do once their median is known to 2 %")
    threads: int | None = setting(None, "of an engine [its own choice]")
    compute_unit: str | None = setting(None, "Core ML's [cpu_and_gpu]", values=COMPUTE_UNITS)
    trust_reference: bool = setting(False, "engine torch executes the program of another machine's bundle")
    listen: bool = setting(False, "recognisers and a speaker encoder judge speech; their weights are fetched")

    def __post_init__(self) -> None:
        Execution("auto", self.threads, self.compute_unit)  # raises EngineError
        if self.bench_seconds < 0 or self.bench_min_chunks < 1 or (self.chunk is not None and self.chunk < 1):
            raise EngineError(
                "measure needs bench_seconds >= 0, bench_min_chunks >= 1 and chunk >= 1, got "
                f"{self.bench_seconds:g}, {self.bench_min_chunks} and {self.chunk}"
            )

    def execution(self, engine: str) -> Execution:
        """Returns the execution in one of the engines; only Core ML hears of the compute unit. Raises EngineError for
        one that is none."""
        unit = self.compute_unit if engine == "auto" or ENGINES[engine].has_compute_units else None
        return Execution(engine, self.threads, unit)


@dataclass
class GateLimits:
    """The limits for one precision; what has no limit is not judged. Those of a conversion are held against the worst
    golden of a context, those of speech against all goldens together, a voice's beside what is read in PyTorch's
    audio."""

    snr_db: float | None = setting(None, "SNR to PyTorch, at least")
    log_mel_l1: float | None = setting(None, "mean difference of the log-mel spectra, at most")
    window_drop_db: float = setting(20.0, "any 50 ms, head or tail below the SNR of the whole, at most")
    cosine: float | None = setting(None, "of any embedding with PyTorch's, at least")
    components: dict[str, float] = setting(text="SNR of a component that has a limit of its own", factory=dict)
    durations_off: float | None = setting(None, "share of symbols that last another number of frames, at most")
    silence_db: float | None = setting(None, "level of what comes of silence, at most")
    room_db: float | None = setting(None, "level of what comes of a room's noise, at most")
    f0_correlation: float | None = setting(None, "of the pitch with the source's, at least")
    register: float | None = setting(None, "semitones from the target's, at most")
    similarity_to_target: float | None = setting(None, "of speakers, at least")
    similarity_to_source: float | None = setting(None, "of speakers, at most")
    mos: float | None = setting(None, "predicted opinion, at least")
    wer: float | None = setting(None, "word error rate, at most")
    cer: float | None = setting(None, "character error rate, at most")
    wer_second: float | None = setting(None, "word error rate of a second recogniser, at most")
