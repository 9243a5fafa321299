"""Golden cases of components: what the originals were given and made, one by one and one after another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from converters.component import Component
from runtime.bundle import GoldenCase
from runtime.sampling import Sampling
from runtime.speak import taken


@dataclass(frozen=True)
class Recorder:
    """Runs the original components and keeps what they were given and made."""

    components: Mapping[str, Component]
    case: str
    cases: Mapping[str, list[GoldenCase]]
    calls: dict[str, int] = field(default_factory=dict)

    def __call__(self, component: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        own = taken(self.components[component].inputs, inputs)
        outputs = run_original(self.components[component], own)
        call = self.calls.get(component, 0)
        self.calls[component] = call + 1
        if call & (call - 1) == 0:  # of the steps of a loop 0, 1, 2, 4, 8, …
            name = self.case if call == 0 else f"{self.case}_step{call}"
            self.cases[component].append(GoldenCase(name, own, outputs, None))
        return outputs


def heard(run: Recorder, last: Component, constants: Mapping[str, np.ndarray], frames: np.ndarray) -> np.ndarray:
    """What the component that ends a chain makes audible of frames along its time; where that is sampled, so is its
    golden case."""
    time, how = last.time, last.sampler
    assert time is not None
    inputs = {time.input: frames, **constants}
    if how is None:
        return run(last.name, inputs)[time.output]
    sampling = Sampling(lambda given: run(how.component, given), how)
    conditioning = run_original(last, inputs)[how.input]
    audio = np.concatenate([sampling.push(conditioning), sampling.flush()], axis=2)
    run.cases[last.name].append(GoldenCase(run.case, inputs, {time.output: audio}, None))
    return audio


def run_original(component: Component, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    with torch.inference_mode():
        results = component.module(*(torch.from_numpy(inputs[spec.name]) for spec in component.inputs))
    values = results if isinstance(results, tuple) else (results,)
    return {spec.name: value.numpy() for spec, value in zip(component.outputs, values)}
