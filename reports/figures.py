"""A measurement's figures by name, with the unit in the name: what MLflow, trends and comparisons show of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.measuring.measure import Measurement


@dataclass(frozen=True)
class Figure:
    """How a figure of quality is read. A change within `slack`, or within the share `slack_share` of the value, says
    nothing: phases and the order of sums move it."""

    unit: str
    more_is_better: bool
    slack: float = 0.0
    slack_share: float = 0.0


_DECIBEL = Figure("dB", True, slack=0.3)
_QUALITY = {
    "log_mel_l1": Figure("", False, slack=1e-5, slack_share=0.03),
    "stoi": Figure("", True, slack=0.0005),
    "cosine": Figure("", True, slack=1e-6),
    "durations_off": Figure("", False, slack=0.5),
}


def figure(name: str) -> Figure:
    """Of a figure that `quality` gives."""
    return _QUALITY.get(name, _DECIBEL)


def pareto(points: Sequence[tuple[float, float]]) -> set[tuple[float, float]]:
    """Of (cost, quality): those that no other equals or beats in both."""
    return {
        point
        for point in points
        if not any(one[0] <= point[0] and one[1] >= point[1] and one != point for one in points)
    }


def quality(measurement: Measurement) -> dict[str, float]:
    """On the worst of the goldens."""
    if measurement.rows and not measurement.clips:
        return {
            "snr_db": min(row.snr_db for row in measurement.rows),
            "cosine": min(row.cosine for row in measurement.rows),
        }
    agreements = [clip.agreement for clip in measurement.clips]
    least = ("snr_db", "worst_window_db", "head_db", "tail_db", "stoi")
    found = {name: min(getattr(agreement, name) for agreement in agreements) for name in least}
    found["log_mel_l1"] = max(agreement.log_mel_l1 for agreement in agreements)
    for component in dict.fromkeys(row.component for row in measurement.rows):
        found[f"{component}_snr_db"] = min(row.snr_db for row in measurement.rows if row.component == component)
    if measurement.spoken:
        found["durations_off"] = sum(one.durations_off for one in measurement.spoken)
    return found


def against_recording(measurement: Measurement) -> dict[str, float]:
    """On the worst of the goldens that have a human recording."""
    spoken = [clip for clip in measurement.clips if clip.stoi_recording is not None]
    if not spoken:
        return {}
    return {
        "stoi_recording": min(float(clip.stoi_recording or 0.0) for clip in spoken),
        "log_mel_l1_recording": max(float(clip.log_mel_l1_recording or 0.0) for clip in spoken),
    }


def timing(measurement: Measurement) -> dict[str, float]:
    """Of this device; nothing where the engine is not timed."""
    found = {f"latency_p50_ms_{call.rows}": call.p50_ms for call in measurement.calls if not measurement.clips}
    elapsed = [one.elapsed_s for one in measurement.spoken if one.elapsed_s is not None]
    first = [one.first_audio_s for one in measurement.spoken if one.first_audio_s is not None]
    if elapsed and first:
        seconds = sum(one.seconds for one in measurement.spoken)
        found |= {"rtf_sentences": sum(elapsed) / seconds, "first_audio_s": max(first)}
    latency = measurement.latency
    if latency is not None:
        found |= {f"latency_{name}": getattr(latency, name) for name in ("p50_ms", "p95_ms", "p99_ms", "max_ms")}
        found |= {"rtf": latency.rtf, "first_call_ms": latency.first_call_ms}
        found["deadline_misses"] = latency.deadline_misses
    return found
