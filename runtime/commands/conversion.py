"""convert-voice, which is vocode by another name, and target."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from runtime.bundle.conversion import ContextName, FeatureStage
from runtime.bundle.store import Bundle, BundleError, open_bundle
from runtime.commands import BUNDLES, execution_of, is_artefact
from runtime.machine.files import check_target
from runtime.machine.terminal import is_quiet, note
from runtime.playing.conversions import (
    ConversionChain,
    conversion_of,
    converted,
    newest_live_voice,
    open_conversion,
    open_main,
    says,
)
from runtime.playing.embed import SpeakerEmbedder
from runtime.playing.player import Player
from runtime.playing.stages import Frontend
from runtime.playing.targets import TARGET_SUFFIX, MadeTarget, asks_for_own, make_target, target_of, write_target
from runtime.speech.features import Samples
from runtime.speech.recordings import Padded, audio_blocks, check_wav, rate_of, seconds_of, wav_file
from runtime.speech.speaker import ONE_SPEAKER


def convert_voice(options: argparse.Namespace) -> dict[str, Any]:
    """Reads, converts and writes block by block: a recording may be of any length, and the output is as long."""
    check_wav(options.output)
    bundle = opened_conversion(options.bundle or newest_live_voice(BUNDLES))
    execution, streams = execution_of(options), options.mode == "stream"
    seconds = seconds_of(options.source)
    own = options.own or ([options.source] if asks_for_own(bundle) else [])
    made = target_of(bundle, options.target or [], execution, own)
    say_notes(made)
    target = made.target
    player = open_main(bundle, execution, None if streams else options.mode, options.chunk)
    rate = rate_of(options.source)
    context: ContextName = "live" if streams else "offline"
    frontend = open_conversion(bundle, target, rate, context, execution, options.pitch, "VHQ")
    control_latents(frontend, options.latent or [])
    sound_rate = player.time.sample_rate
    # Silence behind a frame that is not whole, or audio shorter than the artefacts take; it is cut off again.
    frame, least = _longest_frame(bundle, player) * rate, math.ceil(_shortest(bundle, player) * rate)
    padded = Padded(audio_blocks(options.source, rate), frame, least)
    started, wrote = time.perf_counter(), 0
    if streams:
        chain = ConversionChain(frontend, player, target.of(bundle.main), sound_rate)
        pieces = _streamed(chain, padded)
    else:
        pieces = converted(frontend, player, padded, target.of(bundle.main))
    with wav_file(options.output, sound_rate) as write, _progress(seconds, options.json or is_quiet()) as progress:
        for piece in pieces:
            longest = math.ceil(padded.count * sound_rate / rate)
            samples = piece[: max(longest - wrote, 0)] if padded.has_ended else piece
            write(samples)
            wrote += len(samples)
            progress.update(len(samples) / sound_rate)
    elapsed = time.perf_counter() - started
    if frontend.voiced_seconds is not None and frontend.voiced_seconds < 0.02 * wrote / sound_rate:
        note(f"there is hardly a voice in {options.source}")
    return {
        "bundle": bundle.manifest.name,
        "engine": player.engine.name,
        "chain": says(bundle),
        "mode": player.mode,
        "frames": frontend.frames,
        "seconds": round(wrote / sound_rate, 3),
        "padded_with_silence": padded.is_short,
        "rtf": round(elapsed / max(wrote / sound_rate, 1e-9), 4),
        "wrote": str(options.output),
    }


def target(options: argparse.Namespace) -> dict[str, Any]:
    """Makes a target once, so that a call starts at once."""
    check_target(options.output)
    if options.output.suffix != TARGET_SUFFIX:
        raise BundleError(f"a target is kept in a {TARGET_SUFFIX} file, not in {options.output.name}")
    bundle = opened_conversion(options.bundle)
    started = time.perf_counter()
    record = make_target(bundle, options.recordings, execution_of(options))
    if options.encoder is not None:
        agreement = SpeakerEmbedder(options.encoder, execution_of(options)).least_agreement(options.recordings)
        if agreement is not None and agreement < ONE_SPEAKER:
            several = (
                f"the recordings seem to be of several speakers: a piece of them is like the rest by {agreement:.2f}"
            )
            record = replace(record, notes=(*record.notes, f"{several}, of one by {ONE_SPEAKER} and more"))
    write_target(options.output, bundle, record)
    say_notes(record)
    facts: dict[str, Any] = {"bundle": bundle.manifest.name, "kind": conversion_of(bundle).target}
    if record.target.pool is not None:
        pool = record.target.pool
        facts |= {
            "seconds": round(record.seconds, 1),
            "frames": len(pool.content),
            "rtf": round((time.perf_counter() - started) / record.seconds, 4),
        }
        if pool.pitch is not None:
            facts["median_pitch_hz"] = round(math.exp(pool.median_log_pitch), 1)
    return facts | {"wrote": str(options.output)}


def control_latents(frontend: Frontend, controls: Iterable[tuple[int, float, float]]) -> None:
    """Scales and moves latents. Raises BundleError where there are none to be controlled."""
    for latent, scale, bias in controls:
        if frontend.latents is None:
            raise BundleError("this conversion has no latents between its components: leave out --latent")
        frontend.latents.control(latent, scale, bias)


def say_notes(made: MadeTarget) -> None:
    for text in made.notes:
        note(text)


def opened_conversion(path: Path) -> Bundle:
    """A bundle that makes audio of audio. Raises BundleError for any other."""
    if is_artefact(path):
        raise BundleError(f"{path.name} is a bare artefact: its features and receptive field are in its bundle")
    bundle = open_bundle(path)
    conversion_of(bundle)
    return bundle


def _streamed(chain: ConversionChain, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    for block in blocks:
        yield chain.push(block)
    yield chain.flush()


def _shortest(bundle: Bundle, player: Player) -> float:
    """Seconds of the shortest audio that gives a frame of all features, and as many as the player takes at once."""
    least = player.shortest * player.time.frame_seconds
    stages = [stage for stage in conversion_of(bundle).stages if isinstance(stage, FeatureStage)]
    windows = [
        (one.features.hop_length if isinstance(one.features, Samples) else one.features.n_fft)
        / one.features.sample_rate
        for one in stages
    ]
    return max([least, *windows])


def _longest_frame(bundle: Bundle, player: Player) -> Fraction:
    """Seconds of a frame of the slowest features, or of the player where its are longer."""
    stages = [stage.features for stage in conversion_of(bundle).stages if isinstance(stage, FeatureStage)]
    frames = [Fraction(features.hop_length, features.sample_rate) for features in stages]
    return max(Fraction(player.time.samples_per_frame, player.time.sample_rate), *frames)


def _progress(seconds: float, is_quiet: bool) -> tqdm:
    """Shows seconds of audio that are done, on a terminal."""
    form = "{percentage:3.0f}% |{bar}| {n:.1f} of {total:.1f} s, {elapsed}"
    return tqdm(total=seconds, unit="s", bar_format=form, disable=True if is_quiet else None, leave=False)
