"""What live audio waits for by structure, which no speed removes: said by the forms of a bundle's components."""

from __future__ import annotations

from runtime.bundle.conversion import Conversion, FeatureStage, MatchStage, WindowedStage
from runtime.bundle.form import waited
from runtime.bundle.store import Bundle, ComponentRecord
from runtime.speech.features import LocalFeatures


def structural_latency(bundle: Bundle) -> dict[str, float] | None:
    """Returns the seconds of each part that live audio waits for; None where a component does not stream, or a stage
    looks through windows, whose wait is the user's choice.

    Of a vocoder: the rest of a feature's window, a chunk, and the lookahead. Of a conversion: the window, a block of
    what comes in, what the components before the last one wait for beyond it, and the delay of the last one.
    """
    conversion, record = bundle.manifest.conversion, bundle.main
    if conversion is not None:
        return _of_chain(conversion, [bundle.component(name) for name in conversion.components])
    features, form, time = record.features, record.stream, record.time
    if form is None or time is None or not isinstance(features, LocalFeatures):
        return None
    return {
        "window": features.latency / features.sample_rate,
        "chunk": form.chunk * time.frame_seconds,
        "lookahead": form.lookahead * time.frame_seconds,
    }


def _of_chain(conversion: Conversion, records: list[ComponentRecord]) -> dict[str, float] | None:
    if any(isinstance(stage, WindowedStage | MatchStage) for stage in conversion.stages):
        return None
    windows = [
        stage.features.latency / stage.features.sample_rate
        for stage in conversion.stages
        if isinstance(stage, FeatureStage)
    ]
    forms, last = [record.stream for record in records if record.stream is not None], records[-1]
    if last.time is None or len(forms) < len(records):
        return None
    frame, chunk = last.time.frame_seconds, forms[-1].chunk
    paces = [form.pace for form in forms[:-1]]
    return {
        "window": max(windows),
        "block": chunk * frame,
        "before": ((waited(paces) if paces else chunk) - chunk) * frame,
        last.name: forms[-1].delay / last.time.sample_rate,
    }
