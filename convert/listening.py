"""Opens the recognisers and the speaker encoder that listen in a measurement (`measure.listen`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module

import numpy as np

from checkpoints.catalogue import find
from checkpoints.download import Progress, Unavailable
from checkpoints.fetch import fetch
from checkpoints.load import load
from checkpoints.locate import locate
from checkpoints.options import CheckpointOptions
from converters.component import family
from converters.goldens import run_original
from converters.options import Shape
from runtime.bundle.store import Manifest
from runtime.machine.extras import missing_extra
from runtime.measuring.listening import Listeners, Reader, Recogniser, mean_opinion
from runtime.speech.speaker import SpeakerMel, utterance_embedding

READERS = ("whisper_base", "whisper_tiny_en")  # the first judges, the second is another's opinion
ENCODER, ENCODER_FAMILY = "rtvc_encoder", "ge2e"
OPINION = "distillmos"  # a package that has its weights


def listener_names(manifest: Manifest) -> tuple[str, ...]:
    """Returns who listens to what a bundle says; nobody to one that neither speaks nor converts."""
    if manifest.conversion is not None:
        return (*READERS, ENCODER, OPINION)
    return READERS if manifest.voice is not None else ()


def open_listeners(
    names: Sequence[str], warn: Callable[[str], None], progress: Progress = lambda done, total: None
) -> Listeners:
    """Opens those that can be had; who is missing, and why, is said once. Raises CheckpointError for a damaged one."""
    readers: dict[str, Reader] = {}
    embed, opinion = None, None
    missing: dict[str, list[str]] = {}
    for name in names:
        try:
            if name == ENCODER:
                embed = _embedder(warn, progress)
            elif name == OPINION:
                opinion = mean_opinion()
            else:
                import_module("faster_whisper")  # before weights are fetched that nothing could read
                readers[name] = Recogniser(fetch(find(name), progress))
        except (Unavailable, ModuleNotFoundError) as error:
            sentence = missing_extra(error) if isinstance(error, ModuleNotFoundError) else str(error)
            if sentence is None:
                raise
            missing.setdefault(sentence, []).append(name)
    for sentence, who in missing.items():
        warn(f"{', '.join(who)} cannot listen: {sentence}")
    absent = {name for who in missing.values() for name in who}
    return Listeners(readers, embed, opinion, tuple(name for name in names if name not in absent))


def _embedder(warn: Callable[[str], None], progress: Progress) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function from samples (N,) at 16 kHz to an embedding (D,), by the encoder's PyTorch module."""
    architecture = family(ENCODER_FAMILY)
    checkpoint = load(locate(CheckpointOptions(name=ENCODER), ENCODER_FAMILY, ENCODER, warn, progress))
    (component,) = architecture.components(architecture.load(checkpoint), checkpoint, Shape())
    settings, (source,), (output,) = component.features, component.inputs, component.outputs
    assert isinstance(settings, SpeakerMel)

    def embed(samples: np.ndarray) -> np.ndarray:
        windows = settings.of(samples)
        return utterance_embedding(run_original(component, {source.name: windows})[output.name])

    return embed
