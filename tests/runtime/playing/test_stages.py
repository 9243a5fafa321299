"""The stages of a conversion on audio in blocks, against the same on whole audio, written plainly."""

import dataclasses
import gc
import tracemalloc

import numpy as np
import pytest

from runtime.bundle.conversion import (
    Context,
    Conversion,
    FeatureStage,
    LocalStage,
    MatchStage,
    WindowedStage,
    clock_of,
)
from runtime.bundle.store import BundleError
from runtime.errors import AudioError
from runtime.playing.matching_tracks import Matched
from runtime.playing.parts import Parts
from runtime.playing.stages import NOBODY, Frontend, Target, pool_of, window_costs
from runtime.playing.tracks import Featured
from runtime.speech.matching import ARRAYS, PitchShift, Pool, RunningMean, Softener, SpeechLevel, nearest
from runtime.speech.mel import Mel
from runtime.speech.metrics import snr_db
from runtime.speech.resampling import PROMPT, Resampler
from runtime.speech.spectrum import Level, Pitch

RATE = 8000
MEL = Mel(sample_rate=RATE, n_fft=256, win_length=256, hop_length=80, n_mels=6, signal_norm=False)
SPOKEN = Mel(sample_rate=11025, n_fft=512, win_length=512, hop_length=128, n_mels=5, framing="inset", signal_norm=False)
PITCH = Pitch(11025, 512, 128, fmin=80.0)
LEVEL = Level(11025, 512, 128)
CONTEXTS = {"offline": Context(8, 12, 6), "live": Context(10, 4, 2)}
WEIGHTS = np.random.default_rng(1).standard_normal((4, MEL.n_mels)).astype(np.float32)


def conversion(**changes):
    return Conversion(
        (
            FeatureStage("mel", MEL),
            WindowedStage("content", "reader", ("mel",), CONTEXTS, frames_per_output=2, fill=-160.0),
            FeatureStage("pitch", PITCH),
            FeatureStage("level", LEVEL),
            MatchStage("matched", "content", SPOKEN, "pitch", "level", **{"neighbours": 2, "shortlist": 5, **changes}),
            LocalStage("vocoder", "vocoder", ("matched",)),
        ),
        target="pool",
    )


def reader(name, frames):
    """Every frame depends on its whole window, as with attention: (1, 6, T) -> (1, 4, T / 2)."""
    assert name == "reader" and frames.shape[2] in {context.frames for context in CONTEXTS.values()}
    weighed = np.tanh(WEIGHTS @ (frames[0] + 160) / 100)
    return (weighed[:, ::2] + weighed.mean(axis=1, keepdims=True)).astype(np.float32)[None]


@pytest.fixture(scope="module")
def pool():
    random = np.random.default_rng(2)
    pitch = np.where(random.random(50) < 0.5, random.uniform(100, 200, 50), 0)
    arrays = (random.random((50, 4)), random.random((50, 5)), pitch, random.uniform(-60, -20, 50))
    return Pool(*(array.astype(np.float32) for array in arrays))


def speech(seconds, seed=0):
    """Harmonics that glide, and noise."""
    moments = np.arange(round(seconds * 16000)) / 16000
    phase = 2 * np.pi * np.cumsum(140 + 40 * np.sin(moments)) / 16000
    voice = sum(np.sin(order * phase) / order for order in (1, 2, 3))
    noise = np.random.default_rng(seed).standard_normal(len(moments))
    return (0.2 * voice * (np.sin(3 * moments) > -0.3) + 0.01 * noise).astype(np.float32)


def pushed(frontend, samples, sizes):
    pieces, at = [], 0
    while at < len(samples):
        size = next(sizes)
        pieces.append(frontend.push(samples[at : at + size]))
        at += size
    return np.concatenate([*pieces, frontend.flush()], axis=2)


def ragged(seed):
    random = np.random.default_rng(seed)
    while True:
        yield int(random.choice([1, 3, 80, 256, 1000, 9000]))


@pytest.mark.parametrize("seconds", [0.2, 0.36, 1.0, 3.017])
@pytest.mark.parametrize("context", ["offline", "live"])
def test_blocks_of_any_size_give_the_same_frames_bit_for_bit(pool, context, seconds):
    frontend = Frontend(conversion(), Parts(reader), Target(pool=pool), 16000, context)
    samples = speech(seconds)
    at_once = pushed(frontend, samples, iter([len(samples)]))
    for seed in range(3):
        frontend.reset()
        np.testing.assert_array_equal(pushed(frontend, samples, ragged(seed)), at_once)
    assert at_once.shape[1] == SPOKEN.n_mels and frontend.frames == at_once.shape[2] > 0


@pytest.mark.parametrize("shift", [0.0, 5.0])
@pytest.mark.parametrize("context", ["offline", "live"])
def test_they_are_what_whole_audio_gives(pool, context, shift):
    samples = speech(2.5)
    frontend = Frontend(conversion(), Parts(reader), Target(pool=pool), RATE, context, shift)
    samples = samples[::2]
    whole = Resampler(RATE, SPOKEN.sample_rate, PROMPT)
    at_pitch = np.concatenate([whole.push(samples), whole.flush()])
    frames, hertz = MEL.of(samples), PITCH.of(at_pitch)[0]
    content = plain_windows(frames, CONTEXTS[context])
    centred = content - RunningMean(pool.mean, RATE / 160).push(content)
    seconds = (np.arange(len(hertz)) * 128 + clock_of(SPOKEN).offset) / 11025
    here = np.arange(len(content)) * 160 / RATE
    queries = np.stack([np.interp(seconds, here, column) for column in centred.T], axis=1).astype(np.float32)
    logs = PitchShift(pool.median_log_pitch, 11025 / 128, shift).push(hertz)
    match = conversion().matching
    chosen = nearest(pool, queries, logs, match.neighbours, match.shortlist, match.pitch_weight)
    levels = LEVEL.of(at_pitch)[0]
    softer = Softener(pool.speech_level, 11025 / 128).push(levels, pool.level[chosen].mean(axis=1))
    expected = np.maximum(pool.mel[chosen].mean(axis=1).T + softer, 20 * np.log10(1e-8))  # 20 log10 amplitude: dB
    np.testing.assert_allclose(pushed(frontend, samples, ragged(0))[0], expected, atol=1e-6)


def plain_windows(frames, context):
    rows = []
    for start in range(0, frames.shape[1], context.chunk):
        span = np.arange(start - context.past, start + context.chunk + context.future)
        inside = (span >= 0) & (span < frames.shape[1])
        window = np.where(inside, frames[:, np.clip(span, 0, frames.shape[1] - 1)], np.float32(-160))
        made = reader("reader", window[None].astype(np.float32))[0].T[context.past // 2 :]
        rows.append(made[: -(-min(context.chunk, frames.shape[1] - start) // 2)])
    return np.concatenate(rows)


def test_nearest_is_what_every_pair_compared_gives(pool):
    random = np.random.default_rng(3)
    content = random.standard_normal((20, 4)).astype(np.float32)
    logs = np.where(random.random(20) < 0.5, np.log(random.uniform(100, 200, 20)), np.nan).astype(np.float32)
    chosen = nearest(pool, content, logs, neighbours=3, shortlist=50, pitch_weight=0.05)
    theirs = pool.content - pool.mean
    for row, (query, log) in enumerate(zip(content, logs)):
        costs = []
        for frame, hertz in zip(theirs, pool.pitch):
            cosine = query @ frame / np.linalg.norm(query) / np.linalg.norm(frame)
            both = hertz > 0 and not np.isnan(log)
            alike = not hertz > 0 and np.isnan(log)
            apart = min(abs(np.log(hertz) - log) * 12 / np.log(2), 6) if both else 0 if alike else 6
            costs.append(0.05 * apart - cosine)
        assert set(chosen[row]) == set(np.argsort(costs)[:3])


def test_a_target_s_own_speech_finds_itself():
    """The content of a frame of the pool is nearest to that frame, and so its mel comes back."""
    samples = speech(4.0)
    pool = pool_of(conversion(), Parts(reader), [[samples]], 16000)
    queries = pool.content[100:200] - pool.mean
    chosen = nearest(pool, queries, pool.log_pitch[100:200], 1, 5, 0.02)
    np.testing.assert_array_equal(chosen[:, 0], np.arange(100, 200))


def test_a_pool_of_several_recordings_is_that_of_each():
    one, other = speech(1.5), speech(2.0, seed=5)
    both = pool_of(conversion(), Parts(reader), [[one], [other]], 16000)
    parts = [pool_of(conversion(), Parts(reader), [[each]], 16000) for each in (one, other)]
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(both, name), np.concatenate([getattr(part, name) for part in parts]))


def test_of_a_pool_every_other_frame_is_enough():
    samples = speech(2.0)
    thin, dense = (pool_of(conversion(every=every), Parts(reader), [[samples]], 16000) for every in (2, 1))
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(thin, name), getattr(dense, name)[::2])


def content_only(**changes):
    """As kNN-VC: the target's own content is played."""
    return Conversion(
        (
            FeatureStage("mel", MEL),
            WindowedStage("content", "reader", ("mel",), CONTEXTS, frames_per_output=2, fill=-160.0),
            MatchStage("matched", "content", **{"neighbours": 3, "centred": False, **changes}),
            LocalStage("vocoder", "vocoder", ("matched",)),
        ),
        target="pool",
    )


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("context", ["offline", "live"])
def test_content_alone_is_matched_bit_for_bit_however_it_comes(context, centred):
    """Each frame is the mean of the nearest by cosine, compared with every one; without a mel, a pitch, a level."""
    made_of = content_only(centred=centred)
    pool = pool_of(made_of, Parts(reader), [[speech(3.0, seed=4)]], 16000)
    assert set(pool.arrays) == {"content"} and pool.content.dtype == np.float16
    samples = speech(2.017)
    frontend = Frontend(made_of, Parts(reader), Target(pool=pool), RATE, context)
    at_once = pushed(frontend, samples, iter([len(samples)]))
    for seed in range(2):
        frontend.reset()
        np.testing.assert_array_equal(pushed(frontend, samples, ragged(seed)), at_once)
    queries = plain_windows(MEL.of(samples), CONTEXTS[context])
    theirs = pool.content.astype(np.float32)
    compared = theirs - pool.mean if centred else theirs
    if centred:
        queries = queries - RunningMean(pool.mean, RATE / 160).push(queries)
    cosines = (queries @ compared.T) / np.linalg.norm(queries, axis=1)[:, None] / np.linalg.norm(compared, axis=1)
    order = np.argsort(-cosines, axis=1)
    third, fourth = (np.take_along_axis(cosines, order[:, rank : rank + 1], axis=1)[:, 0] for rank in (2, 3))
    is_clear = third - fourth > 1e-6  # in single precision
    assert is_clear.mean() > 0.5
    expected = theirs[order[:, :3]].mean(axis=1).T
    np.testing.assert_allclose(at_once[0][:, is_clear], expected[:, is_clear], atol=1e-6)


def test_what_matches_content_alone_takes_no_other_target_and_no_pitch(pool):
    with pytest.raises(BundleError, match="of a mel"):
        Frontend(content_only(), Parts(reader), Target(pool=pool), RATE)
    bare = Pool(pool.content)
    with pytest.raises(BundleError, match="no bands"):
        Frontend(conversion(), Parts(reader), Target(pool=bare), RATE)
    with pytest.raises(BundleError, match="takes no pitch"):
        Frontend(content_only(), Parts(reader), Target(pool=bare), RATE, pitch_shift=1.0)
    with pytest.raises(AudioError, match="content alone"):
        _ = bare.speech_level
    with pytest.raises(AudioError, match="same frames"):
        Pool(pool.content, pool.mel)
    with pytest.raises(ValueError, match="go together"):
        MatchStage("matched", "content", pitch="pitch")


def test_what_has_passed_is_forgotten(pool):
    frontend = Frontend(conversion(), Parts(reader), Target(pool=pool), 16000, "live")
    held = []
    for _ in range(40):
        frontend.push(speech(0.5))
        tracks = frontend._running.tracks.values()
        held.append(sum(track.frames._buffer.size for track in tracks))
    assert max(held[20:]) <= 1.1 * max(held[5:20])


class Doubled:
    """A component that is local in time, by arithmetic: the six rows above its noise, twice."""

    channels, chunk, lookahead, pace = 6, 1, 0, None

    def push(self, frames):
        return 2 * frames[:, :6]

    def flush(self):
        return np.zeros((1, 6, 0), np.float32)

    def reset(self):
        pass


def test_in_the_steady_state_queues_keep_their_memory_and_nothing_stays(pool):
    mel, windowed, *others = conversion().stages
    doubled = LocalStage("doubled", "doubled", ("mel",), noise_rows=2)
    whole = Conversion((mel, doubled, dataclasses.replace(windowed, takes=("doubled",)), *others), target="pool")
    frontend = Frontend(whole, Parts(reader, lambda _: Doubled()), Target(pool=pool), 16000, "live")
    samples = speech(20.0)
    blocks = [samples[at : at + 320] for at in range(0, len(samples) - 320, 320)]

    def buffers():
        tracks = frontend._running.tracks.values()
        queues = [track.frames for track in tracks]
        queues += [track._stream._windows for track in tracks if isinstance(track, Featured)]
        queues += [track._centred for track in tracks if isinstance(track, Matched)]
        return [queue._buffer for queue in queues]

    def traced():
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    for block in blocks[:400]:
        frontend.push(block)
    before, held = buffers(), [traced()]
    for start in range(400, 900, 100):
        for block in blocks[start : start + 100]:
            frontend.push(block)
        held.append(traced())
    tracemalloc.stop()
    assert len(before) == 10 and all(now is then for now, then in zip(buffers(), before))
    assert np.diff(held).min() < 50 * 100, "a frame that stays is more, every time; numpy's caches fill now and then"


def test_frames_come_when_the_latency_says(pool):
    frontend = Frontend(conversion(), Parts(reader), Target(pool=pool), SPOKEN.sample_rate, "live")
    samples, gone = speech(3.0), 0
    structure = sum(frontend.latency.values()) / 1e3
    late = 0.0
    for at in range(0, len(samples), 16):
        frontend.push(samples[at : at + 16])
        if frontend.frames > gone:
            moment = clock_of(SPOKEN).moment(gone)  # of the first of the frames that came
            late, gone = max(late, (at + 16) / SPOKEN.sample_rate - moment), frontend.frames
    hop = (
        MEL.hop_length / RATE
    )  # a frame stands for the middle of its window, and its latency counts from its hop's end
    assert late <= structure + hop + 16 / SPOKEN.sample_rate
    assert late >= structure - CONTEXTS["live"].chunk * 80 / RATE - frontend.latency["resampling"] / 1e3


def test_silence_stays_silent_whatever_is_nearest():
    """-100 dB, room noise at -60 and speech at -20, each a second; what is matched is loud all the time."""
    softener = Softener(-20.0, 86.0)
    levels = np.repeat([-100.0, -60.0, -20.0, -60.0], 86).astype(np.float32)
    made = np.concatenate([softener.push(part, np.full(len(part), -20.0)) for part in np.split(levels, 8)]) - 20
    assert made[:86].max() < -80 and made[86:172].max() < -45
    assert made[200:258].min() > -20.01, "speech is as loud as it was matched"
    assert made[270:].max() < -50, "and noise after it is as soft beside it"


def test_the_level_of_speech_is_that_of_its_loud_frames():
    levels = np.concatenate([np.full(1000, -70.0), np.full(20, -20.0), np.full(1000, -70.0)])
    assert SpeechLevel(0.0, 0.0).push(levels)[-1] == pytest.approx(-20, abs=0.1)


def test_a_pitch_shift_moves_the_pitch_that_is_looked_for(pool):
    plain, higher = (PitchShift(pool.median_log_pitch, 86.0, extra) for extra in (0.0, 12.0))
    hertz = np.array([120, 0, 130, 125], np.float32)
    apart = higher.push(hertz) - plain.push(hertz)
    np.testing.assert_allclose(apart, [np.log(2), np.nan, np.log(2), np.log(2)], atol=1e-5)


def test_a_source_s_mean_pitch_becomes_the_target_s(pool):
    random = np.random.default_rng(0)
    hertz = (100 * 2 ** (random.standard_normal(4000) / 6)).astype(np.float32)
    logs = PitchShift(pool.median_log_pitch, 86.0).push(hertz)
    assert abs(logs[2000:].mean() - pool.median_log_pitch) < 0.02
    np.testing.assert_allclose(np.diff(logs[3000:]), np.diff(np.log(hertz[3000:])), atol=1e-3)


def test_a_pool_goes_with_what_matches_and_with_nothing_else(pool):
    with pytest.raises(BundleError, match="matches frames"):
        Frontend(conversion(), Parts(reader), NOBODY, RATE)
    plain = Conversion((FeatureStage("mel", MEL), LocalStage("vocoder", "vocoder", ("mel",))))
    with pytest.raises(BundleError, match="matches frames"):
        Frontend(plain, Parts(reader), Target(pool=pool), RATE)


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ((), "no audio"),
        ((FeatureStage("mel", MEL),), "no audio"),
        ((LocalStage("vocoder", "vocoder", ("mel",)),), "no stage before"),
        ((FeatureStage("mel", MEL), FeatureStage("mel", MEL), LocalStage("v", "v", "mel")), "two stages"),
    ],
)
def test_stages_that_do_not_hang_together_are_refused(stages, said):
    with pytest.raises(ValueError, match=said):
        Conversion(stages)


def test_a_context_ends_with_a_frame_of_the_component():
    with pytest.raises(ValueError, match="ends within"):
        WindowedStage("content", "reader", "mel", {**CONTEXTS, "live": Context(3, 4, 3)}, frames_per_output=2)


def test_what_a_window_costs_is_measured_against_a_file_s_context():
    samples = speech(2.0)
    costed = window_costs(conversion(), Parts(reader), samples, 16000)
    (stage,) = (one for one in costed.stages if one.kind == "windowed")
    assert list(stage.costs_db) == ["12/4/0", "10/4/2", "8/4/4"]
    whole = Resampler(16000, RATE, "VHQ")
    frames = MEL.of(np.concatenate([whole.push(samples), whole.flush()]))
    file, live = (plain_windows(frames, context) for context in (CONTEXTS["offline"], Context(10, 4, 2)))
    assert stage.costs_db["10/4/2"] == pytest.approx(snr_db(file.ravel(), live.ravel()), abs=0.1)


def test_what_windows_cost_is_measured_without_what_stands_behind_them():
    """A component behind the last window may take a target, which is not there then."""
    stages = conversion().stages[:2]
    behind = (LocalStage("flow", "flow", ("content",)), LocalStage("vocoder", "vocoder", ("flow",)))
    costed = window_costs(Conversion((*stages, *behind)), Parts(reader), speech(1.0), 16000)
    assert costed.stages[1].costs_db and costed.stages[2:] == behind
