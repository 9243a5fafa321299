"""The metrics of quality: everything that gates, tables, pages, trends and comparisons know of one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from runtime.measuring.measure import ClipResult, Measurement


@dataclass(frozen=True)
class Metric:
    """A number of each golden, as its result names it: of a clip (a field of its Agreement), a row or a sentence.

    A change within `slack`, or within the share `slack_share` of the value, says nothing: phases and the order of sums
    move it. `is_shown`: among the few that stand for all. `to_recording`: measured against human recordings as well.
    """

    name: str
    title: str
    of: tuple[Literal["clip", "row", "sentence"], ...]
    more_is_better: bool
    digits: int
    unit: str = ""
    slack: float = 0.0
    slack_share: float = 0.0
    is_shown: bool = False
    to_recording: bool = False

    @property
    def heading(self) -> str:
        return f"{self.title}, {self.unit}" if self.unit else self.title

    def number(self, value: float) -> str:
        return f"{value:.{self.digits}f}"

    def text(self, value: float) -> str:
        return f"{self.number(value)} {self.unit}".rstrip()

    def worst(self, values: Iterable[float]) -> float:
        return (min if self.more_is_better else max)(values)

    def of_clip(self, clip: ClipResult) -> float:
        return float(getattr(clip.agreement, self.name))


METRICS = (
    Metric("snr_db", "SNR", ("clip", "row"), True, 1, "dB", slack=0.3, is_shown=True),
    Metric("worst_window_db", "worst 50 ms", ("clip",), True, 1, "dB", slack=0.3),
    Metric("head_db", "head", ("clip",), True, 1, "dB", slack=0.3),
    Metric("tail_db", "tail", ("clip",), True, 1, "dB", slack=0.3),
    Metric("log_mel_l1", "log-mel L1", ("clip",), False, 5, slack=1e-5, slack_share=0.03, is_shown=True,
           to_recording=True),
    Metric("stoi", "STOI", ("clip",), True, 4, slack=0.0005, is_shown=True, to_recording=True),
    Metric("cosine", "cosine", ("row",), True, 6, slack=1e-6, is_shown=True),
    Metric("durations_off", "durations that differ", ("sentence",), False, 0, slack=0.5),
)  # fmt: skip
OF_CLIPS, OF_ROWS, OF_SENTENCES = (
    tuple(metric for metric in METRICS if kind in metric.of) for kind in ("clip", "row", "sentence")
)
SHOWN = tuple(metric for metric in METRICS if metric.is_shown)
SNR = METRICS[0]


def metric_of(name: str) -> Metric:
    """Returns the metric of a value that `quality` gives; a component's is called `<component>_<metric>`."""
    return next(metric for metric in METRICS if name == metric.name or name.endswith(f"_{metric.name}"))


def quality(measurement: Measurement) -> dict[str, float]:
    """Returns the metrics by name, on the worst of the goldens; durations over all sentences."""
    rows, clips, sentences = measurement.rows, measurement.clips, measurement.spoken
    if rows and not clips:
        return {metric.name: metric.worst(getattr(row, metric.name) for row in rows) for metric in OF_ROWS}
    values = {metric.name: metric.worst(metric.of_clip(clip) for clip in clips) for metric in OF_CLIPS}
    for component in dict.fromkeys(row.component for row in rows):
        values[f"{component}_snr_db"] = SNR.worst(row.snr_db for row in rows if row.component == component)
    if sentences:
        values |= {metric.name: sum(getattr(one, metric.name) for one in sentences) for metric in OF_SENTENCES}
    return values


def against_recording(measurement: Measurement) -> dict[str, float]:
    """Returns the metrics to a human recording, on the worst of the goldens that have one."""
    values = {}
    for metric in OF_CLIPS if measurement.clips else ():
        name = f"{metric.name}_recording"
        scores = [getattr(clip, name) for clip in measurement.clips] if metric.to_recording else []
        scores = [score for score in scores if score is not None]
        if scores:
            values[name] = metric.worst(scores)
    return values
