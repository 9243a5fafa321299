"""Live audio on a virtual clock: equal to offline on every sample, dropouts where the script has them, recovery."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.engines import Execution
from runtime.playing.conversions import ConversionChain, open_conversion
from runtime.playing.live import Ring, Session, VirtualDevice
from runtime.playing.player import open_player
from runtime.playing.stages import NOBODY
from runtime.speech.clips import clip_paths, read_clip

RATE = 8000


class Delayed:
    """Gives its input back, `delay` samples late, in chunks of `chunk`."""

    sample_rate = RATE

    def __init__(self, chunk=800, delay=100):
        self.chunk, self.delay = chunk, delay
        self.reset()

    def reset(self):
        self.held = np.zeros(self.delay, np.float32)

    def push(self, samples):
        self.held = np.concatenate([self.held, samples])
        ready = len(self.held) // self.chunk * self.chunk
        out, self.held = self.held[:ready], self.held[ready:]
        return out

    def flush(self):
        return self.held


def session(prefill=0, block=200, chain=None, **options):
    chain = chain or Delayed()
    return Session(chain, block, prefill, **options)


def counting(seconds):
    """Each sample says which it is, so that each played sample says how late it is."""
    return np.arange(1, int(seconds * RATE) + 1, dtype=np.float32)


def delays(played):
    """The delays of what was played for longer than a fade, and where each began."""
    positions = np.flatnonzero(played)
    values = np.round(positions + 1 - played[positions]).astype(int)
    known, first, counts = np.unique(values, return_index=True, return_counts=True)
    return {int(delay): int(positions[at]) for delay, at, count in zip(known, first, counts) if count > 50}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("wrd"), st.integers(0, 40)), max_size=60))
def test_a_ring_is_a_bounded_queue(moves):
    ring, model, count = Ring(50), deque(), 0
    for kind, size in moves:
        if kind == "w":
            new = np.arange(count, count + size, dtype=np.float32)
            wrote = ring.write(new)
            assert wrote == min(size, 50 - len(model))
            model.extend(new[:wrote])
            count += size
        elif kind == "r":
            into = np.full(size, -1, np.float32)
            got = ring.read(into)
            assert into[:got].tolist() == [model.popleft() for _ in range(min(size, len(model)))]
        else:
            ring.drop(size)
            for _ in range(min(size, len(model))):
                model.popleft()
        assert len(ring) == len(model)


def test_sixty_seconds_come_out_as_they_went_in_without_a_dropout():
    samples, run = counting(60), session(prefill=200)
    played = VirtualDevice(lambda index: 0.05).play(run, samples)
    start = np.flatnonzero(played == 1)[0]
    assert np.array_equal(played[start : start + len(samples)], samples)
    assert not played[:start].any()
    assert run.counters.underruns == run.counters.drops == run.counters.input_overruns == run.counters.late_samples == 0
    # a chunk of 100 ms, a step of 50 ms, the prefill of 25 ms, the chain's own 100 samples are in the first chunk
    assert start - 100 == run.delay == pytest.approx(800 + 400 + 200, abs=200)


@pytest.mark.parametrize(("late", "prefill", "underruns"), [(0.0, 0, 0), (0.13, 200, 8), (0.13, 1240, 0), (0.3, 0, 22)])
def test_a_step_that_takes_too_long_is_a_dropout_where_the_script_has_it(late, prefill, underruns):
    """Blocks of 25 ms, chunks of 100 ms, steps of 50 ms but for one that is late; of that each next one gains 50 ms."""
    runs = [session(prefill) for _ in range(2)]
    outputs = [VirtualDevice(lambda index: 0.05 + late * (index == 20)).play(run, counting(10)) for run in runs]
    counters = runs[0].counters
    assert counters.underruns == pytest.approx(underruns, abs=1)
    assert counters.missing_samples == counters.late_samples, "what came too late is left out"
    assert runs[1].counters == counters, "the clock is virtual: it happens again"
    assert np.array_equal(*outputs)
    assert len(delays(outputs[0])) == 1, "the delay is the same before and after"


def test_after_a_stall_the_delay_is_what_it_was_and_what_was_dropped_is_counted():
    run = session(prefill=200, max_age=0.3)
    played = VirtualDevice(lambda index: 2.0 if index == 20 else 0.05).play(run, counting(12))
    assert run.counters.drops == 1
    assert run.counters.dropped_samples == pytest.approx(1.9 * RATE, abs=2 * 800)
    assert list(delays(played)) == [run.delay + 100]
    assert np.count_nonzero(played[6 * RATE : 11 * RATE]) == 5 * RATE
    assert run.counters.underruns == pytest.approx(1.95 / 0.025, abs=6)


def test_a_stall_that_overruns_the_input_is_survived():
    run = session(prefill=200, max_age=0.3)
    played = VirtualDevice(lambda index: 9.0 if index == 20 else 0.05).play(run, counting(20))
    assert run.counters.input_overruns > 0
    assert np.count_nonzero(played[-6 * RATE : -2 * RATE]) > 3 * RATE, "it speaks again"


def test_overload_does_not_pile_up():
    """Steps of twice the real time: input is dropped again and again, its age stays bounded, the output goes on."""
    run = session(prefill=2000, max_age=0.3)
    played = VirtualDevice(lambda index: 0.2).play(run, counting(20))
    assert run.counters.drops > 5
    assert len(run._input) < 0.6 * RATE
    assert np.count_nonzero(played[-4 * RATE : -2 * RATE]) > 0
    assert len(delays(played)) == 1


def test_after_a_gap_the_output_fades_in():
    run = session(prefill=0, max_age=10)
    ones = np.ones(10 * RATE, np.float32)
    played = VirtualDevice(lambda index: 0.3 if index == 20 else 0.05).play(run, ones)
    quiet = np.flatnonzero(played[run.delay + 100 : 10 * RATE] < 1) + run.delay + 100
    gap = quiet[played[quiet] == 0]
    rise = played[gap[-1] : gap[-1] + 42]
    assert (np.diff(rise) > 0).sum() >= 38, "5 ms up from zero"
    assert rise[-1] == 1


def test_a_worker_that_answers_within_the_first_block_fixes_no_shorter_delay(monkeypatch):
    """It computes while the callback still runs, for once: afterwards there is a block between, as ever."""
    run, samples, played = session(chain=Delayed(chunk=200, delay=0)), counting(1), []

    def write(block):
        count = Ring.write(run._input, block)
        if run.counters.blocks == 1:
            run.publish(run.process())
        return count

    monkeypatch.setattr(run._input, "write", write)
    for start in range(0, len(samples), 200):
        played.append(np.zeros(200, np.float32))
        run.exchange(samples[start : start + 200], played[-1])
        while run.waiting:
            run.publish(run.process())
    assert run.delay == 200
    assert run.counters.underruns == run.counters.late_samples == 0
    assert np.array_equal(np.concatenate(played)[200:], samples[:-200])


@pytest.mark.parametrize("seconds", [10, pytest.param(60, marks=pytest.mark.proof)])
def test_copy_synthesis_live_equals_offline_on_every_sample(stateful, seconds):
    bundle = stateful.bundle
    player, features = open_player(bundle, Execution("onnx")), bundle.main.features
    clips = [read_clip(path, features.sample_rate, features.hop_length) for path in clip_paths()]
    samples = np.concatenate(clips * 7)[: seconds * features.sample_rate]
    chain = ConversionChain(open_conversion(bundle, NOBODY, features.sample_rate), player)
    run = Session(chain, 256, 512)
    played = VirtualDevice(lambda index: 0.03).play(run, samples)
    heard = np.concatenate([samples, np.zeros(len(played) - len(samples), np.float32)])
    offline = player.play(features.of(heard)[None]).reshape(-1)
    assert run.counters.underruns == 0
    structure = sum(chain.latency.values()) / 1e3 * features.sample_rate
    start = next(
        lag
        for lag in range(int(structure) - 256, int(structure) + 4096)
        if np.abs(played[lag + 20_000 : lag + 20_100] - offline[20_000:20_100]).max() < 1e-3
    )
    count = len(played) - start
    assert np.abs(played[start:] - offline[:count]).max() < 1e-4
    assert not played[:start].any()
    assert start < structure + 0.03 * features.sample_rate + 512 + 2 * 256
