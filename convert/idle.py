"""Settings that a person gave and that change nothing in this job: they are told, not refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from checkpoints.options import SOURCES
from convert.schema import Job


@dataclass(frozen=True)
class Need:
    """What `settings`, or all that begin with them, take effect with; `is_met` by a job."""

    settings: tuple[str, ...]
    takes: str
    is_met: Callable[[Job], bool]


_NEEDS = (
    Need(("stream.chunk",), "stream=window, stateful or lowlat", lambda job: job.stream.mode != "offline"),
    Need(("stream.lookahead",), "stream=lowlat", lambda job: job.stream.mode == "lowlat"),
    Need(("stream.state", "stream.keep"), "stream=stateful", lambda job: job.stream.mode == "stateful"),
    Need(
        ("precision.gain_db", "precision.conversions"), "precision=mixed", lambda job: job.precision.compute == "mixed"
    ),
    Need(
        ("precision.bits", "precision.granularity", "precision.group_size", "precision.min_elements",
         "precision.least_db", "precision.sparsity", "precision.table_int8"),
        "compressed weights, such as precision=int8 or palette4", lambda job: bool(job.precision.weights),
    ),
    Need(("format.target",), "format=mlprogram", lambda job: job.format.name == "mlprogram"),
    Need(("format.opset",), "format=onnx", lambda job: job.format.name == "onnx"),
    Need(
        ("checkpoint.config", "checkpoint.index"), "a checkpoint.source of your own",
        lambda job: job.checkpoint.source not in SOURCES,
    ),
    Need(
        ("measure.bench_min_chunks",), "measure.bench_seconds above 0", lambda job: job.measure.bench_seconds > 0
    ),
    Need(("tracking.uri", "tracking.experiment", "tracking.tags"), "tracking=local", lambda job: job.tracking.enabled),
    Need(("suite.", "runner"), "suite=nightly or another suite", lambda job: bool(job.suite.name)),
)  # fmt: skip


def without_effect(job: Job, overrides: Iterable[str]) -> list[str]:
    """A sentence for each override, as it was typed, that this job has no use for."""
    keys = {text: text.lstrip("+").partition("=")[0] for text in overrides}
    return [
        f"{text} has no effect here: it takes {need.takes}"
        for text, key in keys.items()
        for need in _NEEDS
        if not need.is_met(job) and any(_is_of(key, name) for name in need.settings)
    ]


def _is_of(key: str, name: str) -> bool:
    return key.startswith(name) if name.endswith(".") else key == name or key.startswith(f"{name}.")
