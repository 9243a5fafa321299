"""live, devices and loopback."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from runtime.commands import BUNDLES, execution_of
from runtime.commands.conversion import control_latents, opened_conversion, say_notes
from runtime.errors import AudioError, StreamError
from runtime.machine.keys import keys
from runtime.playing.conversions import ConversionChain, newest_live_voice, open_conversion, open_main, says
from runtime.playing.devices import SoundCard, devices, loopback
from runtime.playing.live import Session, VirtualDevice
from runtime.playing.mixer import Gate, Mixer, meter
from runtime.playing.stages import Frontend
from runtime.playing.targets import target_of
from runtime.speech.recordings import audio_blocks, check_wav, wav_file

LOOPBACK_TARGET_MS = 10.0
TICK_SECONDS = 0.1  # of keys and of the status line


def live(options: argparse.Namespace) -> dict[str, Any]:
    if options.block < 1 or options.rate < 8000 or options.prefill < 0 or options.max_age <= 0:
        raise StreamError("live needs --block >= 1, --rate >= 8000, --prefill >= 0 and --max-age > 0")
    if options.target is not None:
        check_wav(options.target)
    bundle = opened_conversion(options.artefact or newest_live_voice(BUNDLES))
    execution = execution_of(options)
    player = open_main(bundle, execution, options.mode, options.chunk)
    made = target_of(bundle, options.target_voice or [], execution, options.own or [])
    say_notes(made)
    target = made.target
    if options.source is not None and not options.source.is_file():
        raise AudioError(f"there is no audio file {options.source}")
    blocks = None if options.source is None else audio_blocks(options.source, options.rate)
    frontend = open_conversion(bundle, target, options.rate, "live", execution, options.pitch)
    control_latents(frontend, options.latent or [])
    gate = None if options.gate is None else Gate(options.rate, options.gate)
    chain = Mixer(ConversionChain(frontend, player, target.of(bundle.main)), gate)
    chain.push(np.zeros(2 * options.rate, np.float32))  # warm-up
    chain.reset()
    session = Session(chain, options.block, round(options.prefill * options.rate / 1e3), options.max_age / 1e3)
    facts: dict[str, Any] = {
        "bundle": bundle.manifest.name,
        "engine": player.engine.name,
        "chain": says(bundle),
    }
    if blocks is not None and options.target is not None:
        virtual = VirtualDevice()
        with wav_file(options.target, options.rate) as write:
            for played in virtual.played(session, blocks):
                write(played)
        costs = virtual.costs
        facts["clock"] = f"virtual, moved by measured inference times on {player.engine.device}"
    else:
        card = SoundCard(session, blocks, options.target, options.microphone, options.speakers, options.seconds)
        print("ctrl-C ends it, p passes your own voice through", file=sys.stderr)
        with keys() as pressed:
            card.run(lambda card: _tick(card, chain, frontend, pressed), TICK_SECONDS)
        print(file=sys.stderr)
        costs = card.costs
        facts["clock"] = "the sound card's"
        facts["reported by the device"] = f"{1e3 * sum(card.device_latency):.1f} ms for input and output"
    facts["delay_ms"] = (session.delay or 0) * 1e3 / options.rate
    facts |= _delay_parts(facts["delay_ms"], chain.latency, options.prefill)
    if costs:
        facts |= {f"chunk_p{share}_ms": 1e3 * float(np.percentile(list(costs), share)) for share in (50, 99)}
        facts["chunk_max_ms"] = 1e3 * max(costs)
    facts |= dataclasses.asdict(session.counters)
    return facts | ({} if options.target is None else {"wrote": str(options.target)})


def _delay_parts(delay: float, by_structure: dict[str, float], prefill: float) -> dict[str, str]:
    """Milliseconds by part, which add up to the delay: what no speed removes, what is kept ready, and the rest."""
    rest = max(0.0, delay - sum(by_structure.values()) - prefill)
    parts = {part: f"{value:.1f} ms, by structure" for part, value in by_structure.items()}
    parts |= {"prefill": f"{prefill:.1f} ms", "blocks and inference": f"{rest:.1f} ms"}
    return {f"of which {part}": said for part, said in parts.items()}


def _tick(card: SoundCard, chain: Mixer, frontend: Frontend, pressed: Callable[[], str]) -> None:
    while key := pressed():
        if key == "p":
            chain.passes_through = not chain.passes_through
    _status(card, chain, frontend)


def _status(card: SoundCard, chain: Mixer, frontend: Frontend) -> None:
    """One line that stays where it is."""
    session, counters = card.session, card.session.counters
    recent = list(itertools.islice(reversed(card.costs), 50))
    delay = "waiting for the first output"
    if session.delay is not None:
        of_device = 1e3 * sum(card.device_latency)
        delay = f"delay {1e3 * session.delay / session.chain.sample_rate:.0f} ms + device {of_device:.0f} ms"
    inference = f"inference {1e3 * float(np.median(recent)):.1f} ms, at most {1e3 * max(recent):.1f}" if recent else "–"
    pitch = "" if frontend.pitch is None else f" {frontend.pitch:4.0f} Hz" if frontend.pitch else "   – Hz"
    state = "own voice" if chain.passes_through else "converted" if chain.is_open else "gate shut"
    parts = [
        f"{counters.blocks * session.block / chain.sample_rate:7.1f} s",
        f"{meter(chain.level_db)} {chain.level_db:4.0f} dB{pitch}",
        state,
        delay,
        inference,
        f"underruns {counters.underruns}  drops {counters.drops}  xruns {counters.device_xruns}",
    ]
    print(f"\r{'  '.join(parts)}\033[K", end="", file=sys.stderr, flush=True)


def list_devices(options: argparse.Namespace) -> dict[str, Any]:
    return {
        f"{device.index}": f"{device.name} ({device.host}): {device.inputs} in, {device.outputs} out, "
        f"{device.sample_rate:g} Hz, latency {device.input_latency_ms:.1f} and {device.output_latency_ms:.1f} ms"
        + (f", default {device.default}" if device.default else "")
        for device in devices()
    } or {"devices": "none: PortAudio sees no sound card"}


def measure_loopback(options: argparse.Namespace) -> dict[str, Any]:
    result = loopback(options.block, options.rate, options.sounds, options.microphone, options.speakers)
    if not result.detected:
        raise StreamError(f"none of {result.sent} sounds came back: connect output and input, or name other devices")
    assert result.median_ms is not None
    verdict = "met" if result.median_ms < LOOPBACK_TARGET_MS else "missed"
    return dataclasses.asdict(result) | {f"target {LOOPBACK_TARGET_MS:g} ms": f"{verdict} on this machine"}
