"""A pitch that a component detects, on the clock of what takes it, against the same written plainly."""

import numpy as np
import pytest

from runtime.bundle.conversion import Clock, Conversion, FeatureStage, LocalStage, PitchStage, VoicingStage, clock_of
from runtime.bundle.store import BundleError
from runtime.playing.parts import Parts
from runtime.playing.stages import NOBODY, Frontend
from runtime.speech.bands import LogBands
from runtime.speech.spectrum import Level
from tests.runtime.playing.test_stages import pushed, ragged, speech

RATE = 16000
BANDS = LogBands(windows=(512, 1024), n_bands=12, bands_to_fmax=9)
CLOCKS = {
    "faster": Clock(RATE, 160, 80.0),
    "of another rate": Clock(22050, 256, 128.0),
    "slower": Clock(RATE, 1000, 0.0),
    "its own": clock_of(BANDS),
}
AHEAD = 3  # frames


class Detector:
    """A frequency and a confidence of a frame and the three after it, in chunks of two."""

    channels, chunk, lookahead, pace = 2, 2, AHEAD, None

    def __init__(self, rows=2):
        self.channels = rows
        self.reset()

    def reset(self):
        self._frames, self._given = np.zeros((1, BANDS.channels, 0), np.float32), 0

    def push(self, frames):
        self._frames = np.concatenate([self._frames, frames], axis=2)
        ready = max(0, self._frames.shape[2] - AHEAD) // self.chunk * self.chunk
        return self._until(max(ready, self._given))

    def flush(self):
        return self._until(self._frames.shape[2])

    def _until(self, stop):
        made = detected(self._frames[0])[None, : self.channels, self._given : stop]
        self._given = stop
        return made


def detected(frames):
    """frames (channels, n) -> (2, n)."""
    padded = np.pad(frames[:-1], ((0, 0), (0, AHEAD)))
    sums = sum(padded[:, at : at + frames.shape[1]] for at in range(AHEAD + 1))
    confidence = 0.5 + 0.5 * np.sin(sums[2] / 3) * frames[-1]
    return np.stack([200 + 100 * np.tanh(sums[0] / 20), confidence]).astype(np.float32)


def conversion(clock, *more):
    last = more[-1].name if more else "pitch"
    return Conversion(
        (
            FeatureStage("bands", BANDS),
            LocalStage("detected", "detector", ("bands",)),
            VoicingStage("pitch", "detected", clock),
            *more,
            LocalStage("vocoder", "vocoder", (last,)),
        )
    )


def frontend_of(clock, *more, rows=2):
    shift = 12.0 if more else 0.0
    return Frontend(conversion(clock, *more), Parts(None, lambda name: Detector(rows)), NOBODY, RATE, pitch_shift=shift)


def plainly(samples, clock):
    """What is before half the way between two frames is the first one's; between two voiced ones it is on a line."""
    hertz, confidence = detected(BANDS.of(samples))
    pitch = []
    while True:
        place = max(0.0, clock.moment(len(pitch)) * RATE / BANDS.hop_length)
        if place >= len(hertz):
            return np.array(pitch)
        before, after = int(place), min(int(place) + 1, len(hertz) - 1)
        here, there = (hertz[at] if confidence[at] >= 0.5 else 0.0 for at in (before, after))
        if here and there:
            pitch.append(here + (there - here) * (place - before))
        else:
            pitch.append(here if place - before < 0.5 else there)


@pytest.mark.parametrize("seconds", [0.2, 1.0, 3.017])
@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)
def test_blocks_of_any_size_give_the_same_pitch_bit_for_bit(clock, seconds):
    frontend, samples = frontend_of(clock), speech(seconds)
    at_once = pushed(frontend, samples, iter([len(samples)]))
    for seed in range(2):
        frontend.reset()
        np.testing.assert_array_equal(pushed(frontend, samples, ragged(seed)), at_once)
    np.testing.assert_allclose(at_once[0, 0], plainly(samples, clock), rtol=1e-5, atol=1e-3)
    moment = clock.moment(at_once.shape[2] - 1)
    assert moment + clock.hop_length / clock.sample_rate > seconds, "to the end of the audio"
    assert seconds < 1 or 0.1 < (at_once > 0).mean() < 0.95


def test_what_is_beside_it_on_its_clock_has_no_more_frames():
    clock = clock_of(Level(RATE, 512, 160))
    samples = speech(1.234)
    assert frontend_of(clock).push(samples).shape[2] < Level(RATE, 512, 160).of(samples).shape[1]
    assert len(plainly(samples, clock)) >= Level(RATE, 512, 160).of(samples).shape[1]


def test_the_pitch_is_shifted_and_shown():
    frontend = frontend_of(CLOCKS["faster"], PitchStage("shifted", "pitch"))
    samples = speech(2.0)
    pitch = plainly(samples, CLOCKS["faster"])
    frames = np.concatenate([frontend.push(samples), frontend.flush()], axis=2)
    np.testing.assert_allclose(frames[0, 0], 2 * pitch, rtol=1e-5, atol=1e-3)
    assert frontend.pitch == pytest.approx(pitch[-1], abs=1e-3)
    assert frontend.voiced_seconds == pytest.approx((pitch > 0).sum() * 0.01)


def test_what_has_passed_is_forgotten_and_the_wait_is_stated():
    frontend, held = frontend_of(CLOCKS["slower"]), []
    for _ in range(40):
        frontend.push(speech(0.5))
        held.append(sum(track.frames._buffer.size for track in frontend._running.tracks.values()))
    assert max(held[20:]) <= 1.1 * max(held[5:20])
    assert frontend.latency["pitch, next frame"] == 16.0
    assert frontend.latency["detected, lookahead"] == AHEAD * 16.0


@pytest.mark.parametrize("clock", [Clock(2**31 - 1, 1), Clock(RATE, 160, np.nan), Clock(RATE, 160, np.inf)])
def test_a_clock_that_no_pitch_has_is_refused(clock):
    with pytest.raises(ValueError, match="frames a second, or no offset"):
        VoicingStage("pitch", "detected", clock)


def test_one_row_is_no_pitch():
    with pytest.raises(BundleError, match="a frequency and a confidence, not 1 rows"):
        frontend_of(CLOCKS["faster"], rows=1)
