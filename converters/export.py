"""torch.export of a component: the reference that every engine on every machine is judged against."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import torch

from converters.component import Component
from ops.exporting import recurrent_layers_at_once
from runtime.bundle.spec import TensorSpec
from runtime.bundle.trust import vouch_for

# A reference runs on utterances of any length, also beside an artefact of a fixed shape.
LONGEST_REFERENCE_FRAMES = 16_384


def export_reference(component: Component, folder: Path) -> Path:
    """Writes `folder/<component>.pt2`: the component as it is before any rewrite, flexible along time if it can be."""
    example = component.example()
    dynamic = {spec.name: _dynamic_axes(component, spec) for spec in component.inputs}
    with torch.inference_mode(), recurrent_layers_at_once(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(component.module, (), kwargs=example, dynamic_shapes=dynamic)
    program.example_inputs = None  # they would be stored as a pickle
    content = io.BytesIO()  # PyTorch's own writer ends the process where the disk is full
    torch.export.save(program, content)
    path = folder / f"{component.name}.pt2"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.getbuffer())
    vouch_for(content.getvalue())
    return path


def _dynamic_axes(component: Component, spec: TensorSpec) -> dict[int, torch.export.Dim]:
    axes = component.dynamic_axes(spec)
    time = component.time
    if time is not None and spec.name == time.input:
        frames = torch.export.Dim("frames", min=component.shortest, max=LONGEST_REFERENCE_FRAMES)
        axes[time.input_axis] = frames if time.positions == 1 else time.positions * frames
    return axes
