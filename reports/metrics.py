"""Says how long a measurement took, by name with the unit in the name, and which of several are best."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.measuring.measure import Measurement


def pareto(points: Sequence[tuple[float, float]]) -> set[tuple[float, float]]:
    """Returns the points (cost, quality) that no other equals or beats in both."""
    return {
        point
        for point in points
        if not any(one[0] <= point[0] and one[1] >= point[1] and one != point for one in points)
    }


def timing(measurement: Measurement) -> dict[str, float]:
    """Returns the timings on this device; nothing where the engine is not timed."""
    values = {f"latency_p50_ms_{call.rows}": call.p50_ms for call in measurement.calls if not measurement.clips}
    elapsed = [one.elapsed_s for one in measurement.spoken if one.elapsed_s is not None]
    first = [one.first_audio_s for one in measurement.spoken if one.first_audio_s is not None]
    if elapsed and first:
        seconds = sum(one.seconds for one in measurement.spoken)
        values |= {"rtf_sentences": sum(elapsed) / seconds, "first_audio_s": max(first)}
    latency = measurement.latency
    if latency is not None:
        values |= {f"latency_{name}": getattr(latency, name) for name in ("p50_ms", "p95_ms", "p99_ms", "max_ms")}
        values |= {"rtf": latency.rtf, "first_call_ms": latency.first_call_ms}
        values["deadline_misses"] = latency.deadline_misses
    if values and measurement.beside is not None and measurement.beside.others_share is not None:
        values["others_share"] = measurement.beside.others_share
    return values
