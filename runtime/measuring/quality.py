"""The metrics of quality: everything that gates, tables, pages, trends and comparisons know of one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from runtime.bundle.conversion import ContextName
from runtime.measuring.conversion import ConvertedResult
from runtime.measuring.listening import error_rate
from runtime.measuring.measure import ClipResult, Measurement, SpokenResult


@dataclass(frozen=True)
class Metric:
    """A number of each golden, as its result names it: of a clip (a field of its Agreement), a row, a sentence or a
    conversion; of speech that is read, a rate over all goldens.

    A change within `slack`, or within the share `slack_share` of the value, says nothing: phases and the order of sums
    move it. `is_shown`: among the few that stand for all. `to_recording`: measured against human recordings as well.
    `is_distance`: judged by its magnitude. `read_by`: the place of the reader whose errors it counts, and in what.
    """

    name: str
    title: str
    of: tuple[Literal["clip", "row", "sentence", "conversion", "speech"], ...]
    more_is_better: bool
    digits: int
    unit: str = ""
    slack: float = 0.0
    slack_share: float = 0.0
    is_shown: bool = False
    to_recording: bool = False
    is_distance: bool = False
    read_by: tuple[int, Literal["word", "character"]] | None = None

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

    def of_results(self, results: Sequence[ConvertedResult | SpokenResult]) -> list[tuple[float, str]]:
        """Returns its values with the goldens that they are of, those that were measured; a rate is of all together."""
        if self.read_by is not None:
            rate = error_rate([one.readings for one in results], *self.read_by)
            return [] if rate is None else [(rate, "all")]
        values = [(getattr(one, self.name, None), one.case) for one in results]
        return [(abs(value) if self.is_distance else value, case) for value, case in values if value is not None]


# Which of a target's frames are nearest is a choice that rounding turns: a conversion's metrics have wide slacks.
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
    Metric("silence_db", "output level for digital silence", ("conversion",), False, 1, "dB", slack=1.0, is_shown=True),
    Metric("room_db", "output level for room noise", ("conversion",), False, 1, "dB", slack=1.0),
    Metric("f0_correlation", "F0 correlation", ("conversion",), True, 3, slack=0.05),
    Metric("register", "register, to the target's", ("conversion",), False, 2, "semitones", slack=0.3,
           is_distance=True),
    Metric("similarity_to_target", "similarity to the target", ("conversion",), True, 3, slack=0.02,
           is_shown=True),
    Metric("similarity_to_source", "similarity to the source", ("conversion",), False, 3, slack=0.02),
    Metric("mos", "DistillMOS", ("conversion",), True, 2, slack=0.1),
    Metric("wer", "word error rate", ("speech",), False, 3, slack=0.02, read_by=(0, "word"),
           is_shown=True),
    Metric("cer", "character error rate", ("speech",), False, 3, slack=0.02, read_by=(0, "character")),
    Metric("wer_second", "word error rate, second reader", ("speech",), False, 3, slack=0.02, read_by=(1, "word")),
)  # fmt: skip
OF_CLIPS, OF_ROWS, OF_SENTENCES, OF_CONVERSIONS, OF_SPEECH = (
    tuple(metric for metric in METRICS if kind in metric.of)
    for kind in ("clip", "row", "sentence", "conversion", "speech")
)
# Of what stands for all: of a conversion by context, as `quality` names them.
SHOWN = tuple(metric for metric in METRICS if metric.is_shown and metric not in OF_CONVERSIONS)
SHOWN_OF_CONVERSIONS = tuple(
    (f"{context}_{metric.name}", f"{context}: {metric.heading}")
    for context in get_args(ContextName)
    for metric in OF_CONVERSIONS + OF_SPEECH
    if metric.is_shown
)
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
    for name, metric, found in listened(measurement):
        scores = [score for score, _ in found]
        values[name] = float("nan") if any(map(math.isnan, scores)) else metric.worst(scores)
    return values


def listened_titles(measurements: Iterable[Measurement]) -> list[tuple[str, str]]:
    """Returns name and title of everything that `listened` knows of any of the measurements."""
    known = {name: metric for one in measurements for name, metric, _ in listened(one)}
    contexts = {name: name.removesuffix(metric.name).rstrip("_") for name, metric in known.items()}
    return [(name, f"{contexts[name]}: {metric.title}".removeprefix(": ")) for name, metric in known.items()]


def listened(measurement: Measurement) -> Iterator[tuple[str, Metric, list[tuple[float, str]]]]:
    """Yields what is known of converted and spoken goldens: name, metric, and each value with its golden. A
    conversion's are called `<context>_<metric>`."""
    contexts = dict.fromkeys(one.context for one in measurement.converted)
    owners: list[tuple[str, Sequence[ConvertedResult | SpokenResult], tuple[Metric, ...]]] = [
        (f"{context}_", [one for one in measurement.converted if one.context == context], OF_CONVERSIONS + OF_SPEECH)
        for context in contexts
    ]
    for prefix, results, metrics in [*owners, ("", measurement.spoken, OF_SPEECH)]:
        for metric in metrics:
            found = metric.of_results(results)
            if found:
                yield f"{prefix}{metric.name}", metric, found


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
