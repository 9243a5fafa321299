"""Golden cases of components: what the originals were given and made, one by one and one after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch

from converters.component import Component
from runtime.bundle.conversion import Conversion
from runtime.bundle.spec import taken
from runtime.bundle.store import RECORDINGS, GoldenCase, Recording, recording_case
from runtime.playing.parts import Collected, Parts, checked_index
from runtime.playing.sampling import Sampling
from runtime.playing.stages import Frontend, Target, pool_of, window_costs
from runtime.speech.clips import read_clip, transcript_of
from runtime.speech.recordings import audio_blocks, read_audio
from runtime.speech.speaker import SpeakerMel
from runtime.speech.target import target_embedding


@dataclass(frozen=True)
class Recorder:
    """Runs the original components and keeps what they were given and made."""

    components: Mapping[str, Component]
    case: str
    cases: Mapping[str, list[GoldenCase]]
    calls: dict[str, int] = field(default_factory=dict)

    def __call__(self, component: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        arrays = taken(self.components[component].inputs, inputs)
        outputs = run_original(self.components[component], arrays)
        call = self.calls.get(component, 0)
        self.calls[component] = call + 1
        if call & (call - 1) == 0:  # of the steps of a loop 0, 1, 2, 4, 8, …
            name = self.case if call == 0 else f"{self.case}_step{call}"
            self.cases[component].append(GoldenCase(name, arrays, outputs, None))
        return outputs


def rendered(run: Recorder, last: Component, constants: Mapping[str, np.ndarray], frames: np.ndarray) -> np.ndarray:
    """Returns the audio that the last component of a chain makes of frames along its time. Where that is sampled, so is
    its golden case."""
    time, how = last.time, last.sampler
    assert time is not None
    inputs = {time.input: frames, **constants}
    if how is None:
        return run(last.name, inputs)[time.output]
    sampling = Sampling(lambda feeds: run(how.component, feeds), how)
    conditioning = run_original(last, inputs)[how.input]
    audio = np.concatenate([sampling.push(conditioning), sampling.flush()], axis=2)
    run.cases[last.name].append(GoldenCase(run.case, inputs, {time.output: audio}, None))
    return audio


SAMPLED_FRAMES = 48  # of a clip or sentence: some ten thousand samples one after another


def clip_goldens(
    components: Sequence[Component], clips: Sequence[Path], sampled_frames: int = SAMPLED_FRAMES
) -> dict[str, list[GoldenCase]]:
    """Runs a vocoder or a speaker encoder on each clip of speech; one that makes each sample of its own conditioning,
    on the beginning of the first; one that converts, to the voice of the next clip."""
    cases: dict[str, list[GoldenCase]] = {component.name: [] for component in components}
    main = next((component for component in components if component.sampler or component.targets), components[0])
    known = {component.name: component for component in components}
    is_slow = main.sampler is not None and main.sampler.hop_length == 1
    for path, target in zip(clips[:1] if is_slow else clips, [*clips[1:], clips[0]]):
        inputs, recording = _of_clip(main, path)
        for name, encoder in main.targets.items():
            inputs[name] = _embedded(Recorder(known, path.stem, cases), encoder, target)
        if main.time is None or main.sampler is None:
            cases[main.name].append(GoldenCase(path.stem, inputs, run_original(main, inputs), recording))
            continue
        frames = np.ascontiguousarray(inputs[main.time.input][..., : sampled_frames if is_slow else None])
        audio = rendered(Recorder(known, path.stem, cases), main, {}, frames)
        excerpt = None if recording is None else recording[: audio.size]
        cases[main.name][-1] = replace(cases[main.name][-1], recording=excerpt)
    return cases


def conversion_goldens(
    components: Sequence[Component],
    conversion: Conversion,
    clips: Sequence[Path],
    tables: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> dict[str, list[GoldenCase]]:
    """Runs a conversion on each clip of speech, to the voice of the next clip, through the original components.

    Each of them keeps what it was given and made; the clips are kept as well, since whoever measures converts them
    again. `tables`: what the bundle keeps beside its components.
    """
    known = {component.name: component for component in components}
    cases: dict[str, list[GoldenCase]] = {name: [] for name in known}
    index = checked_index(tables) if tables else {}
    rate, kept = conversion.sample_rate, []
    for source, voice in zip(clips, [*clips[1:], clips[0]]):
        recorder = Recorder(known, source.stem, cases)
        constants: dict[str, np.ndarray] = {}
        for name in conversion.components:
            for asked, recording in ((known[name].targets, voice), (known[name].sources, source)):
                constants |= {key: _embedded(recorder, encoder, recording) for key, encoder in asked.items()}
        pool = None
        if conversion.target == "pool":
            unseen: dict[str, list[GoldenCase]] = {name: [] for name in known}
            parts = _parts(Recorder(known, "", unseen), constants, index)
            pool = pool_of(conversion, parts, [audio_blocks(voice, rate)], rate)
        frontend = Frontend(conversion, _parts(recorder, constants, index), Target(pool=pool), rate)
        blocks = list(audio_blocks(source, rate))
        kept.append(recording_case(Recording(source.stem, np.concatenate(blocks), transcript_of(source))))
        frames = [*map(frontend.push, blocks), frontend.flush()]
        last = known[conversion.components[-1]]
        rendered(recorder, last, _constants(last, constants), np.concatenate(frames, axis=2))
    return {**cases, RECORDINGS: kept}


def costed_windows(
    components: Sequence[Component], conversion: Conversion, clip: Path, tables: Mapping[str, np.ndarray]
) -> Conversion:
    """A conversion with what its windows cost, measured through the original components on a clip of speech."""
    known = {component.name: component for component in components}
    cases: dict[str, list[GoldenCase]] = {name: [] for name in known}
    rate = conversion.sample_rate
    parts = _parts(Recorder(known, "", cases), {}, checked_index(tables) if tables else {})
    return window_costs(conversion, parts, read_audio(clip, rate)[: round(_COSTED_SECONDS * rate)], rate)


_COSTED_SECONDS = 3.0  # of speech, on which what a window costs is measured


def _constants(component: Component, known: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: known[name] for name in (*component.targets, *component.sources)}


def _parts(recorder: Recorder, constants: Mapping[str, np.ndarray], index: Mapping[str, np.ndarray]) -> Parts:
    """Runs the originals: each gets all of an utterance, or of a window, at once."""

    def run(name: str, frames: np.ndarray) -> np.ndarray:
        component = recorder.components[name]
        taken_constants = _constants(component, constants)
        (source,) = (spec.name for spec in component.inputs if spec.name not in taken_constants)
        return recorder(name, {source: frames, **taken_constants})[component.outputs[0].name]

    def stream(name: str) -> Collected:
        return Collected(lambda frames: run(name, frames), recorder.components[name].outputs[0].default_shape[1])

    return Parts(run, stream, index)


def _embedded(run: Recorder, encoder: str, target: Path) -> np.ndarray:
    component = run.components[encoder]
    (source,), (output,) = component.inputs, component.outputs
    features = component.features
    assert features is not None
    samples = read_audio(target, features.sample_rate)
    return target_embedding(
        samples, features, source.default_shape[2], lambda rows: run(encoder, {source.name: rows})[output.name]
    )


def _of_clip(component: Component, clip: Path) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """A component's inputs from a clip of speech, and the recording where its output is to sound like it."""
    features, time = component.features, component.time
    assert features is not None
    if time is None or isinstance(features, SpeakerMel):
        return {component.inputs[0].name: features.of(read_audio(clip, features.sample_rate))}, None
    recording = read_clip(clip, features.sample_rate, features.hop_length)
    return {time.input: features.of(recording)[None]}, None if component.targets else recording


def run_original(component: Component, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    with torch.inference_mode():
        results = component.module(*(torch.from_numpy(inputs[spec.name]) for spec in component.inputs))
    values = results if isinstance(results, tuple) else (results,)
    return {spec.name: value.numpy() for spec, value in zip(component.outputs, values)}
