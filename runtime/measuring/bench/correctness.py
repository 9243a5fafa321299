"""The gate before any speed: what is timed gives what it should, at seams, ends and in any rhythm of pushes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runtime.bundle.store import GoldenCase
from runtime.playing.player import Constants, Offline, Player
from runtime.speech.features import Sound
from runtime.speech.metrics import BEST_DB, LengthError, agreement, snr_db

SEAM_SECONDS = 0.005
# Least SNR against the PyTorch reference for which speed is worth a number; the job's gates are stricter.
FLOOR_DB = {"fp32": 80.0}
OTHER_FLOOR_DB = 30.0


@dataclass(frozen=True)
class Correctness:
    """The worst over the golden clips, against PyTorch.

    `seam_db`: SNR within 5 ms of where two chunks meet, `between_db` elsewhere; `seam_jump`: the largest step of the
    error at a seam, relative to the clip's level. `repeatable`: a reset stream, a second stream and ragged pushes give
    the same bits (None for an artefact that does not stream). `problem`: why no speed is measured, or None.
    """

    mode: str
    exact: bool
    length_ok: bool
    snr_db: float
    head_db: float
    tail_db: float
    seam_db: float
    between_db: float
    seam_jump: float
    repeatable: bool | None
    floor_db: float
    problem: str | None


def correctness(player: Player, sound: Sound, cases: list[GoldenCase], precision: str) -> Correctness:
    """Runs every golden clip. Raises as `Player.pieces`."""
    time_axis, form = player.time, player.form
    exact = form is None or form.exact
    floor = FLOOR_DB.get(precision, OTHER_FLOOR_DB) if exact else -BEST_DB
    worst = dict.fromkeys(("snr_db", "head_db", "tail_db", "seam_db", "between_db"), BEST_DB)
    jump, length_ok, finite = 0.0, True, True
    for case in cases:
        frames, constants = case.along(time_axis)
        reference = case.outputs[time_axis.output].reshape(-1)
        if isinstance(player, Offline):
            frames, known = _single_call(player, frames)
            reference = reference[:known]
            output = player.play(frames, constants).reshape(-1)[:known]
        else:
            output = player.play(frames, constants).reshape(-1)
        finite = finite and bool(np.isfinite(output).all())
        try:
            agreed = agreement(reference, output, sound.mel)
        except LengthError:
            length_ok = False
            continue
        seams = _seams(player, len(output))
        at_seam, between, step = seam_agreement(reference, output, seams, time_axis.sample_rate)
        values = (agreed.snr_db, agreed.head_db, agreed.tail_db, at_seam, between)
        worst = {name: min(value, new) for (name, value), new in zip(worst.items(), values)}
        jump = max(jump, step)
    repeatable = None
    if form is not None:
        repeatable = _is_repeatable(player, form.chunk, *cases[0].along(time_axis))
    problem = None
    if not length_ok:
        problem = "the output has not as many samples as the reference"
    elif not finite:
        problem = "the output holds values that are not finite"
    elif worst["snr_db"] < floor:
        problem = f"SNR against PyTorch is {worst['snr_db']:.1f} dB, less than {floor:g} dB"
    elif repeatable is False:
        problem = "a reset stream, a second stream or other pushes give other samples"
    return Correctness(
        mode=player.mode,
        exact=exact,
        length_ok=length_ok,
        **worst,
        seam_jump=jump,
        repeatable=repeatable,
        floor_db=floor,
        problem=problem,
    )


def seam_agreement(
    reference: np.ndarray, output: np.ndarray, seams: np.ndarray, sample_rate: int
) -> tuple[float, float, float]:
    """(SNR near seams, SNR elsewhere, largest step of the error at a seam over the reference's rms).

    reference, output: (N,); seams: the first sample after each, 0 < seam < N. Without seams both SNRs are the whole's.
    """
    near = np.zeros(len(reference), bool)
    reach = round(SEAM_SECONDS * sample_rate)
    for seam in seams:
        near[max(seam - reach, 0) : seam + reach] = True
    if not near.any() or near.all():
        snr = snr_db(reference, output)
        at_seam = between = snr
    else:
        at_seam, between = snr_db(reference[near], output[near]), snr_db(reference[~near], output[~near])
    level = float(np.sqrt((reference.astype(np.float64) ** 2).mean()))
    error = output.astype(np.float64) - reference
    steps = np.abs(error[seams] - error[seams - 1]) if len(seams) else np.zeros(1)
    return at_seam, between, float(steps.max() / level) if level > 0 else 0.0


def _seams(player: Player, length: int) -> np.ndarray:
    if player.form is not None:
        (port, *_) = player.form.outputs
        start, step = port.hi % len(port), len(port)
    elif player.chunk is None:
        return np.zeros(0, np.int64)
    else:
        start, step = 0, player.chunk * player.time.samples_per_frame
    seams = np.arange(start, length, step)
    return seams[seams > 0]


def _single_call(player: Offline, frames: np.ndarray) -> tuple[np.ndarray, int]:
    """The frames of one call, and how many of its samples depend on no later frame."""
    time = player.time
    total = time.frames(frames.shape)
    count = min(time.window(player.window).default, total)
    known = count if count == total else count - time.right
    return time.cut(frames, 0, count), known * time.samples_per_frame


def _is_repeatable(player: Player, chunk: int, frames: np.ndarray, constants: Constants) -> bool:
    """One run in one push against: the same again after a reset, and a second stream in ragged pushes meanwhile."""
    time = player.time
    total = min(time.frames(frames.shape), 12 * chunk)
    frames = time.cut(frames, 0, total)
    first, second = player.stream(constants), player.stream(constants)

    def one_push() -> np.ndarray:
        pieces = [first.push({time.input: frames})[time.output], first.flush()[time.output]]
        return np.concatenate(pieces, time.output_axis)

    once = one_push()
    first.reset()
    cuts = np.cumsum(np.random.default_rng(0).integers(0, 2 * chunk, total))
    parts = np.split(frames, cuts[cuts < total] * time.positions, time.input_axis)
    ragged = [second.push({time.input: part})[time.output] for part in parts[: len(parts) // 2]]
    again = one_push()
    ragged += [second.push({time.input: part})[time.output] for part in parts[len(parts) // 2 :]]
    ragged.append(second.flush()[time.output])
    return np.array_equal(once, again) and np.array_equal(once, np.concatenate(ragged, time.output_axis))
