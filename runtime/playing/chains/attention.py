"""Tacotron: text -> memory -> frames step by step, each attending to the memory -> postnet -> mel.

The loop is here, in numpy: where it begins and ends, what it may attend to, the dropout that some models keep
(`Decoder.inference` of coqui-tts's Tacotron 2).
"""

from __future__ import annotations

import numpy as np

from runtime.bundle.voice import Attending, VoiceRecord
from runtime.errors import TextError
from runtime.playing.chains import Request, Run, Utterance

AHEAD = 1e-7  # of forward attention before the first step, but for the first symbol


def speak(record: VoiceRecord, run: Run, request: Request) -> Utterance:
    """ids (T,) -> mel (1, n_mels, frames); `durations`: frames at which each symbol was attended to most.

    With `request.durations` it takes as many steps as they have frames. Raises TextError for another pace.
    """
    how = record.attending
    assert how is not None
    if request.pace != 1.0:
        raise TextError("this voice has a pace of its own: leave out --pace")
    ids = request.ids[None].astype(np.int32)
    length = ids.shape[1]
    text_mask = np.ones((1, 1, length), np.float32)
    speaker = {} if request.speaker is None else {"speaker": request.speaker.astype(np.float32)[None, :, None]}
    random = np.random.default_rng(request.seed)

    def dropped(*shape: int) -> np.ndarray:
        return 2.0 * random.integers(0, 2, (1, 2, *shape)).astype(np.float32)

    inputs = {"ids": ids, "text_mask": text_mask, "backward": from_the_end(length), **speaker}
    if how.text_dropout:
        inputs["dropout"] = dropped(length, how.text_dropout)
    memory = run("encoder", inputs)["memory"]
    step_count = None if request.durations is None else -(-int(request.durations.sum()) // how.frames_per_step)
    frame, (state, alignment) = np.zeros((1, record.channels), np.float32), begin(how, length)
    blocks: list[np.ndarray] = []
    durations = np.zeros(length, np.int64)
    while not blocks or len(blocks) < (how.most_steps if step_count is None else step_count):
        offered = {"frame": frame, "memory": memory, "carried": state, "alignment": alignment}
        offered["text_mask"] = window(how, alignment) if how.window else text_mask
        offered["dropout"] = dropped(max(how.dropout, 1))
        results = run("decoder_step", offered)
        state, alignment = results["next_carried"], results["next_alignment"]
        blocks.append(results["frames"])
        frame = results["frames"][:, -1]
        durations[np.argmax(alignment[0, how.row])] += how.frames_per_step
        stops = 1 / (1 + np.exp(-float(results["stop"].item()))) > how.stop_threshold
        if step_count is None and stops and len(blocks) >= how.least_steps:
            break
    frames = np.ascontiguousarray(np.concatenate(blocks, axis=1).transpose(0, 2, 1))
    count = frames.shape[2]
    offered = {"frames": frames, "frame_mask": np.ones((1, 1, count), np.float32), "backward": from_the_end(count)}
    mel = run("postnet", offered)["mel"]
    if how.silence is not None:
        sounding = np.flatnonzero(mel[0].max(0) >= how.silence)
        mel = np.ascontiguousarray(mel[..., : sounding[-1] + 1 if len(sounding) else 1])
    return Utterance(mel, {}, durations)


def from_the_end(length: int) -> np.ndarray:
    """Positions (1, length) from the last to the first."""
    return np.arange(length - 1, -1, -1, dtype=np.int32)[None]


def begin(how: Attending, length: int) -> tuple[np.ndarray, np.ndarray]:
    """state (1, S) and alignment (1, K, length) before the first step."""
    state = np.zeros((1, how.state_channels), np.float32)
    if how.last_state is not None:
        state[0, -1] = how.last_state
    alignment = np.zeros((1, len(how.rows), length), np.float32)
    for row, kind in enumerate(how.rows):
        if kind == "ahead":
            alignment[0, row] = AHEAD
        if kind in ("ahead", "first"):
            alignment[0, row, 0] = 1
    return state, alignment


def window(how: Attending, alignment: np.ndarray) -> np.ndarray:
    """(1, 1, T): 1 for the symbols near the one that was attended to most."""
    assert how.window is not None
    back, front = how.window
    weights = alignment[0, how.row]
    at = int(np.argmax(weights)) if weights.any() else -1
    mask = np.zeros((1, 1, len(weights)), np.float32)
    mask[..., max(at - back, 0) : at + front] = 1
    return mask
