"""The stages of a job: plain functions from one record to the next."""

from __future__ import annotations

import dataclasses
import datetime
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import nn

from checkpoints.load import LoadedCheckpoint, load
from checkpoints.locate import LocatedCheckpoint
from convert.key import bundle_name, versions
from convert.schema import Job
from converters.component import Artefact, Component, converting_family, family, format_, voice_family
from converters.export import export_reference
from converters.fitting import fitting
from converters.goldens import SAMPLED_FRAMES, clip_goldens, conversion_goldens, costed_windows
from converters.options import TWIN_FOLDER, ConversionError
from converters.streaming import streaming_component, truncation_db
from converters.upsampling import upsampling_stages
from converters.voices import join, voice_goldens
from ops.upsample import rewrite_upsampling
from runtime.bundle.conversion import Conversion, WindowedStage
from runtime.bundle.form import StreamForm
from runtime.bundle.store import (
    GOLDENS,
    Bundle,
    CheckpointRecord,
    ComponentRecord,
    Manifest,
    OptionsRecord,
    file_hashes,
    read_goldens,
    write_goldens,
    write_manifest,
)
from runtime.bundle.trust import is_ours, vouch_for
from runtime.bundle.voice import VOICE_TABLES, VoiceRecord
from runtime.engines.inspect import op_histogram
from runtime.speech.clips import clip_paths


@dataclasses.dataclass(frozen=True)
class Original:
    """The components as upstream defines them, before any rewrite; `voice` where they speak together, with the `tables`
    of its speakers and languages; `conversion` where they convert audio to audio. `notes`: what a user is to know of
    the model."""

    components: tuple[Component, ...]
    parameters: int
    voice: VoiceRecord | None = None
    conversion: Conversion | None = None
    tables: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


def load_original(job: Job, located: LocatedCheckpoint, others: Mapping[str, LocatedCheckpoint]) -> Original:
    """Reads the checkpoints and builds the families' components from them."""
    module, components, checkpoint = _components(job, located)
    parameters = _parameters(module)
    converting = converting_family(job.model.family)
    if converting is not None:
        joined: dict[str, Component] = {}
        for name, part in others.items():
            network, part_components, _ = _components(job, part)
            joined[name] = part_components[0]
            components, parameters = (*components, *part_components), parameters + _parameters(network)
        _require_time(job, components)
        for component in components:
            _require_long_clips(job, component)
        kept = getattr(converting, "tables", None)  # of those that keep anything beside their weights
        tables = {} if kept is None else {name: table.numpy() for name, table in kept(module).items()}
        said = getattr(converting, "notes", None)  # of those that have more to say than their kind
        notes = () if said is None else tuple(said(module, checkpoint))
        conversion = converting.conversion(module, joined)
        return Original(components, parameters, conversion=conversion, tables=tables, notes=notes)
    speaking = voice_family(job.model.family)
    if speaking is None:
        if components[0].features is None:
            raise ConversionError(f"checkpoint {checkpoint.name} plays the content of another model: take model=knn_vc")
        _require_time(job, components)
        _require_long_clips(job, components[0])
        return Original(components, parameters)
    with fitting(checkpoint):
        tables = {name: table.numpy() for name, table in speaking.tables(module).items()}
        voice = speaking.voice(module)
    for name, part in others.items():
        module, part_components, _ = _components(job, part)
        voice, part_components = join(name, voice, part_components)
        components, parameters = (*components, *part_components), parameters + _parameters(module)
    if not voice.last:
        raise ConversionError(
            f"family {job.model.family} makes a mel: choose what plays it with model.parts.vocoder.family"
        )
    _require_time(job, components)
    return Original(components, parameters, voice, tables=tables)


def _require_time(job: Job, components: Sequence[Component]) -> None:
    if job.stream.mode != "offline" and not any(component.time for component in components):
        raise ConversionError(f"family {job.model.family} has no component with an axis of time: it cannot be streamed")


def _require_long_clips(job: Job, component: Component) -> None:
    """Raises ConversionError for a clip shorter than what an offline artefact takes at once."""
    if job.mode != "offline" or component.time is None:
        return
    least = job.shape.frames * component.time.frame_seconds
    for path in job.goldens.paths():
        if (seconds := soundfile.info(path).duration) < least:
            raise ConversionError(
                f"goldens.clips names {path} of {seconds:.2f} s, less than the {least:.2f} s that the artefact takes "
                "at once: name a longer one, or take a smaller shape.frames"
            )


def _components(job: Job, located: LocatedCheckpoint) -> tuple[nn.Module, tuple[Component, ...], LoadedCheckpoint]:
    torch.manual_seed(0)  # of weights that are drawn
    checkpoint, architecture = load(located), family(located.family)
    with fitting(checkpoint):
        module = architecture.load(checkpoint)
        components = tuple(architecture.components(module, checkpoint, job.shape))
        for component in components:  # some wrong values show when a network is called, not when it is built
            example = component.example()
            with torch.no_grad():
                component.module(*(example[spec.name] for spec in component.inputs))
        return module, components, checkpoint


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@dataclasses.dataclass(frozen=True)
class Converted:
    """An artefact, and how it is called where it takes a chunk at a time."""

    artefact: Artefact
    form: StreamForm | None = None
    sizes: dict[int, str] = dataclasses.field(default_factory=dict)


def convert_artefact(job: Job, component: Component, folder: Path) -> Converted:
    """Rewrites upsampling and streaming and writes the artefact into `folder`."""
    return _convert_sizes(job, component, folder) if component.sizes else _convert_form(job, component, folder)


def _convert_form(job: Job, component: Component, folder: Path) -> Converted:
    into = format_(job.format.name)
    if job.stream.mode != "offline" and component.time is not None:
        streaming = streaming_component(component, job.stream, job.upsampler.name, into.holds_functions(job.format))
        functions = streaming.functions
        if job.upsampler.name == "metal":
            functions = {name: _upsampled(job, function) for name, function in functions.items()}
        if len(functions) > 1:
            artefact = into.convert_functions(functions, job.precision, job.format, folder)
        else:
            artefact = into.convert(functions["edge"], job.precision, job.format, folder)
        return Converted(artefact, streaming.form)
    return Converted(into.convert(_upsampled(job, component), job.precision, job.format, folder))


def _convert_sizes(job: Job, component: Component, folder: Path) -> Converted:
    """A function per size of the flexible axes. In a format of one function: free where it can be, else the one size
    that takes all others, padded to the largest or row by row."""
    into = format_(job.format.name)
    if into.holds_functions(job.format):
        functions = {f"size{size}": component.at_size(size) for size in component.sizes}
        artefact = into.convert_functions(functions, job.precision, job.format, folder)
        return Converted(artefact, sizes={size: f"size{size}" for size in component.sizes})
    if into.free_axes:
        return Converted(into.convert(component, job.precision, job.format, folder))
    size = max(component.sizes) if component.padded else 1
    return Converted(into.convert(component.at_size(size), job.precision, job.format, folder), sizes={size: ""})


def _upsampled(job: Job, component: Component) -> Component:
    """A component whose upsampling has the form asked for."""
    example = component.example()
    arguments = [example[spec.name] for spec in component.inputs]
    try:
        return dataclasses.replace(
            component, module=rewrite_upsampling(component.module, job.upsampler.name, arguments)
        )
    except ValueError as error:
        raise ConversionError(str(error)) from error


def measure_truncation(job: Job, component: Component, converted: Converted, folder: Path) -> Converted:
    """Adds to an approximate form what its bounded lookahead costs on the goldens' speech."""
    form = converted.form
    if form is None or job.stream.mode != "lowlat":
        return converted
    cases = [
        {name: torch.from_numpy(array) for name, array in case.inputs.items()}
        for case in read_goldens(folder / GOLDENS, component.name)
    ]
    with shared_cores():
        table = truncation_db(component, job.stream, cases)
    return dataclasses.replace(converted, form=dataclasses.replace(form, truncation_db=table))


def write_references(original: Original, folder: Path) -> None:
    """`reference/<component>.pt2`: the components before any rewrite."""
    for component in original.components:
        export_reference(component, folder / "reference")


def vouch_for_references(folder: Path) -> None:
    """Remembers references that another process wrote, where no state folder has been told of them."""
    for path in sorted((folder / "reference").glob("*.pt2")):
        content = path.read_bytes()
        if not is_ours(content):
            vouch_for(content)


def make_goldens(job: Job, original: Original, folder: Path) -> None:
    """`goldens.npz`: what each clip or sentence gives as input, and what the original makes of it."""
    clips = job.goldens.paths() or clip_paths()
    window = job.shape.frames if job.mode == "offline" else 0
    sampled_frames = max(SAMPLED_FRAMES, window)  # a whole window, at least, of what an artefact takes at once
    if original.tables:
        np.savez(folder / VOICE_TABLES, **original.tables)  # type: ignore[arg-type]  # as in write_goldens
    with shared_cores():
        if original.voice is not None:
            cases = voice_goldens(original.components, original.voice, original.tables, clips, sampled_frames)
        elif original.conversion is not None:
            cases = conversion_goldens(original.components, original.conversion, clips, original.tables)
        else:
            cases = clip_goldens(original.components, clips, sampled_frames)
        write_goldens(folder / GOLDENS, cases)


def with_window_costs(job: Job, original: Original) -> Original:
    """The same with what the windows of its conversion cost; as it is where none has any."""
    conversion = original.conversion
    if conversion is None or not any(isinstance(stage, WindowedStage) for stage in conversion.stages):
        return original
    clip = (job.goldens.paths() or clip_paths())[0]
    with shared_cores():
        costed = costed_windows(original.components, conversion, clip, original.tables)
    return dataclasses.replace(original, conversion=costed)


def with_cases(job: Job, original: Original, folder: Path) -> Original:
    """The goldens, made first where a conversion chooses something by real inputs, and known to the components."""
    make_goldens(job, original, folder)
    components = [
        dataclasses.replace(one, cases=tuple(case.inputs for case in read_goldens(folder / GOLDENS, one.name)))
        for one in original.components
    ]
    return dataclasses.replace(original, components=tuple(components))


@contextmanager
def shared_cores() -> Iterator[None]:
    """Half the cores: the background work has the others, and OpenMP's threads wait for their slowest."""

    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // 2))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def finish_bundle(
    job: Job,
    located: LocatedCheckpoint,
    others: Mapping[str, LocatedCheckpoint],
    original: Original,
    artefacts: list[Converted],
    folder: Path,
    key: str,
) -> Bundle:
    """Writes the manifest over everything in `folder`."""
    notes = list(original.notes)
    defaults = {part: options.default_checkpoint for part, options in job.model.chosen_parts().items()}
    for default, used in [
        (job.model.default_checkpoint, located),
        *((defaults[part], others[part]) for part in others),
    ]:
        if used.is_fallback:
            notes.append(f"the bundled weights stood in for {default}, which could not be fetched")
        if used.is_random:
            notes.append(f"random weights of {used.name}: parity only")
    if job.shape.flexible:
        notes.append("a flexible time axis often keeps a program off the Neural Engine")
    for form in (converted.form for converted in artefacts):
        if form is not None and not form.exact:
            notes.append(f"approximate: looks {form.lookahead} frames ahead, see the manifest's truncation_db")
    notes += format_(job.format.name).notes(folder)
    for component, converted in zip(original.components, artefacts):
        artefact = converted.artefact
        for function, mixed in artefact.mixed.items():
            notes.append(f"{component.name} {function if len(artefact.mixed) > 1 else ''}".strip() + f": {mixed}")
        if artefact.excluded:
            dearest = f"{', '.join(artefact.excluded[:5])}{' and others' if len(artefact.excluded) > 5 else ''}"
            notes.append(
                f"{component.name}: {len(artefact.excluded)} tensors stay in {job.precision.compute}: {dearest}"
            )
    manifest = Manifest(
        name=bundle_name(job, located, key),
        key=key,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        checkpoint=_checkpoint_record(located),
        options=OptionsRecord(
            format=job.format.name,
            precision=job.precision.name,
            upsampler=job.upsampler.name,
            mode=job.mode,
            target=format_(job.format.name).target(job.format),
        ),
        components=tuple(_record(*pair, folder) for pair in zip(original.components, artefacts)),
        voice=original.voice,
        conversion=original.conversion,
        parts={part: _checkpoint_record(used) for part, used in others.items()},
        versions=versions(),
        git_commit=git_commit(),
        parameters=original.parameters,
        notes=tuple(notes),
        files=file_hashes(folder),
    )
    write_manifest(folder, manifest)
    return Bundle(folder, manifest)


def _checkpoint_record(located: LocatedCheckpoint) -> CheckpointRecord:
    return CheckpointRecord(
        name=located.name,
        family=located.family,
        licence=located.licence,
        source=located.source,
        sha256=located.sha256,
        fallback=located.is_fallback,
        random=located.is_random,
    )


def _record(component: Component, converted: Converted, folder: Path) -> ComponentRecord:
    path = converted.artefact.path
    twin = folder / TWIN_FOLDER / path.name
    return ComponentRecord(
        name=component.name,
        artefact=path.relative_to(folder).as_posix(),
        reference=f"reference/{component.name}.pt2",
        inputs=component.inputs,
        outputs=component.outputs,
        computes=component.computes,
        ops=op_histogram(path),
        time=component.time,
        features=component.features,
        stream=converted.form,
        upsampling=upsampling_stages(component),
        sound=component.sound,
        sizes=converted.sizes,
        padded=component.padded,
        sampler=component.sampler,
        mixed=converted.artefact.mixed,
        excluded=converted.artefact.excluded,
        targets=dict(component.targets),
        sources=dict(component.sources),
        validated_by=twin.relative_to(folder).as_posix() if twin.exists() else None,
    )


def git_commit() -> str | None:
    """The commit of the checkout that voxport runs from, with `+` where it has changes; None elsewhere."""
    here = Path(__file__).parent.parent
    if not (here / ".git").exists():
        return None
    command = ["git", "-C", str(here), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() or None
