"""info, lower, run and vocode."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from runtime.bundle.conversion import Conversion, WindowedStage
from runtime.bundle.form import StreamForm
from runtime.bundle.formats import FORMATS, format_of
from runtime.bundle.store import ComponentRecord, open_bundle
from runtime.commands import arrays_of, execution_of, is_artefact, player_of
from runtime.engines import Engine, Execution
from runtime.engines.inspect import op_histogram
from runtime.engines.load import load, open_component
from runtime.errors import ArtefactError
from runtime.machine.checked import checked_name
from runtime.machine.files import check_target, published, write_arrays, write_json
from runtime.measuring.latency import structural_latency


def info(options: argparse.Namespace) -> dict[str, Any]:
    if is_artefact(options.artefact):
        opened = load(options.artefact, Execution(FORMATS[format_of(options.artefact) or ""].engines[0]))
        return {
            "artefact": options.artefact.name,
            "inputs": [str(spec) for spec in opened.inputs],
            "outputs": [str(spec) for spec in opened.outputs],
            "ops": op_histogram(options.artefact),
        }
    bundle = open_bundle(options.artefact)
    manifest = bundle.manifest
    record = bundle.main
    facts: dict[str, Any] = {
        "bundle": manifest.name,
        "created": manifest.created,
        "checkpoint": f"{manifest.checkpoint.name} ({manifest.checkpoint.licence}), {manifest.checkpoint.source}",
        "options": manifest.options.model_dump(),
        **_component_facts(manifest.components),
        "parameters": manifest.parameters,
        "size_mb": round(bundle.artefact_bytes / 1e6, 3),
        "ops": record.ops,
        "notes": list(manifest.notes),
        "files": f"{len(manifest.files)}, every sha256 as in the manifest",
    }
    if manifest.conversion is not None:
        facts |= _conversion_facts(manifest.conversion)
    if record.stream is not None:
        facts |= _stream_facts(record, record.stream)
    if (parts := structural_latency(bundle)) is not None:
        named = ", ".join(f"{name} {1e3 * seconds:.1f}" for name, seconds in parts.items())
        facts["latency"] = f"{1e3 * sum(parts.values()):.1f} ms by structure: {named}"
    if record.time is not None:
        facts["receptive field"] = f"{record.time.left} frames before, {record.time.right} after"
        facts["sample_rate"] = record.time.sample_rate
    return facts


def _component_facts(records: Sequence[ComponentRecord]) -> dict[str, Any]:
    if len(records) == 1:
        (record,) = records
        return {
            "component": record.name,
            "computes": record.computes,
            "inputs": [str(spec) for spec in record.inputs],
            "outputs": [str(spec) for spec in record.outputs],
        }
    return {
        record.name: f"{', '.join(map(str, record.inputs))} -> {', '.join(map(str, record.outputs))}"
        for record in records
    }


def _conversion_facts(conversion: Conversion) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "conversion": " -> ".join(f"{stage.name} ({stage.kind})" for stage in conversion.stages),
        "target": {"built_in": "one voice", "embedding": "a recording", "pool": "recordings"}[conversion.target],
    }
    for stage in conversion.stages:
        if isinstance(stage, WindowedStage):
            seen = (f"{name} {one.past} + {one.chunk} + {one.future}" for name, one in stage.contexts.items())
            facts[f"{stage.name} sees"] = f"frames before, asked for, after: {', '.join(seen)}"
            if stage.costs_db:
                costs = (f"{context} {decibels:.1f} dB" for context, decibels in stage.costs_db.items())
                facts[f"{stage.name} against a file's context"] = ", ".join(costs)
    return facts


def _stream_facts(record: ComponentRecord, form: StreamForm) -> dict[str, Any]:
    sizes = [int(np.prod(state.shape)) for state in form.states]
    facts: dict[str, Any] = {
        "stream": f"{form.mode}, {'exact' if form.exact else 'approximate'}, chunks of {form.chunk} frames",
        "lookahead": f"{form.lookahead} frames",
        "delay": f"{form.delay * (record.sampler.hop_length if record.sampler else 1)} output samples",
        "state": f"{form.state}, {len(sizes)} tensors, {sum(sizes)} values" if sizes else "none",
    }
    if form.truncation_db:
        pairs = (f"{frames}: {here:.1f} ({zeros:.1f})" for frames, (here, zeros) in form.truncation_db.items())
        facts["SNR by lookahead"] = f"dB, last frame repeated (zeros instead): {', '.join(pairs)}"
    return facts


def lower(options: argparse.Namespace) -> dict[str, Any]:
    """Fills the cache; with `--out` writes files by name, for whoever executes them without it, as the Swift runtime
    does: COMPONENT.onnx, of an artefact of several functions COMPONENT.FUNCTION.onnx, and beside each a .json of what
    it takes and gives."""
    from runtime.mil.lower import functions_of, lowered

    artefacts: list[tuple[str, Path]] = []
    for path in options.artefacts:
        if is_artefact(path):
            artefacts.append((path.stem, path))
        else:
            bundle = open_bundle(path)
            artefacts += [(record.name, bundle.artefact(record)) for record in bundle.manifest.components]
    lowered_ones = [facts.suffix for facts in FORMATS.values() if facts.is_lowered]
    for _, path in artefacts:
        if path.suffix not in lowered_ones:
            raise ArtefactError(f"{path.name} is not an .mlpackage: there is nothing to lower")
    targets = []
    for name, path in artefacts:
        for function in functions_of(path):
            model, interface = lowered(path, function)
            if options.out is not None:
                target = options.out / f"{name if function is None else f'{name}.{checked_name(function)}'}.onnx"
                write_json(target.with_suffix(".json"), interface.to_json())  # which makes the folder
                with published(target) as aside:
                    shutil.copyfile(model, aside)
                model = target
            targets.append(str(model))
    return {"onnx": targets}


def run(options: argparse.Namespace) -> dict[str, Any]:
    check_target(options.outputs)
    inputs = arrays_of(options.inputs)
    engine, outputs = _run(options, inputs)
    write_arrays(options.outputs, outputs)
    return {
        "engine": engine.name,
        **{name: f"{value.dtype} {value.shape}" for name, value in outputs.items()},
    }


def _run(options: argparse.Namespace, inputs: dict[str, np.ndarray]) -> tuple[Engine, dict[str, np.ndarray]]:
    """Runs in the mode asked for where all that is given is an utterance of a bundle, else in one call."""
    if is_artefact(options.artefact):
        engine = load(options.artefact, execution_of(options))
        return engine, engine.run(inputs)
    bundle = open_bundle(options.artefact)
    record = bundle.main
    if record.time is not None and set(inputs) == {record.time.input}:
        player = player_of(options, bundle)
        return player.engine, {record.time.output: player.play(inputs[record.time.input])}
    engine = open_component(bundle, record, execution_of(options), record.stream.edge if record.stream else None)
    return engine, engine.run(inputs)
