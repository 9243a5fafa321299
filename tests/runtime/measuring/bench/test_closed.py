import itertools

import numpy as np
import pytest

from runtime.bundle.spec import TensorSpec, TimeAxis
from runtime.errors import StreamError
from runtime.measuring.bench.closed import closed_loop
from runtime.playing.player import Overlapping

TIME = TimeAxis("mel", "audio", 2, 2, 10, 2, 2, 1000)  # 10 ms a frame


class Clocked:
    """An engine whose calls take scripted milliseconds on a clock of their own."""

    name, device = "stub", "none"
    inputs = (TensorSpec("mel", (1, 1, 12)),)
    outputs = (TensorSpec("audio", (1, 1, 120)),)

    def __init__(self, monkeypatch, script):
        self.now, self.script, self.calls = 0.0, iter(script), 0
        monkeypatch.setattr("runtime.measuring.bench.closed.time.perf_counter", lambda: self.now)

    def new_state(self):
        return {}

    def run(self, inputs, state=None):
        self.calls += 1
        self.now += next(self.script) / 1e3
        return {"audio": np.zeros((1, 1, 120))}


def test_first_call_and_warm_up_are_apart_and_no_outlier_is_dropped(monkeypatch):
    script = [500.0] + [50.0] * 3 + [10.0] * 98 + [200.0, 90.0]
    engine = Clocked(monkeypatch, script)
    latency = closed_loop(Overlapping(engine, TIME, 8), np.zeros((1, 1, 100)), seconds=0, min_chunks=100, warm_up=3)
    assert latency.first_call_ms == pytest.approx(500)
    assert latency.warm_up_max_ms == pytest.approx(50)
    assert latency.chunks == 100
    assert latency.max_ms == pytest.approx(200)
    assert latency.p50_ms == pytest.approx(10)
    assert latency.deadline_ms == pytest.approx(80)
    assert latency.deadline_misses == 2
    assert latency.rtf == pytest.approx((98 * 10 + 290) / (100 * 80))
    assert len(latency.samples_ms) == 100


def test_it_goes_on_until_both_time_and_chunks_are_reached(monkeypatch):
    engine = Clocked(monkeypatch, [10.0] * 10_000)
    latency = closed_loop(Overlapping(engine, TIME, 8), np.zeros((1, 1, 100)), seconds=2.0, min_chunks=5, warm_up=0)
    assert latency.chunks == 200


@pytest.mark.parametrize(
    ("scatter", "chunks"),
    [([10.0], 20), ([10.0, 10.1, 9.9], 20), ([9.0, 10.5, 10.0, 9.5, 11.0], 40)],
    ids=["still", "1 %", "10 %"],
)
def test_it_stops_early_where_the_median_is_known(monkeypatch, scatter, chunks):
    engine = Clocked(monkeypatch, itertools.cycle(scatter))
    player = Overlapping(engine, TIME, 8)
    latency = closed_loop(player, np.zeros((1, 1, 100)), seconds=0.1, warm_up=0, median_within=0.02)
    assert latency.chunks == chunks
    longer = closed_loop(player, np.zeros((1, 1, 100)), seconds=0.4, warm_up=0, median_within=0.02)
    assert sum(longer.samples_ms) >= 400, "the time is kept to in any case"


def test_long_chunks_are_few_even_where_the_median_stays_unknown(monkeypatch):
    engine = Clocked(monkeypatch, itertools.cycle([90.0, 105.0, 100.0, 95.0, 110.0]))
    player = Overlapping(engine, TIME, 8)
    latency = closed_loop(player, np.zeros((1, 1, 100)), seconds=0.6, median_within=0.02)
    assert latency.chunks == 24, "four times 0.6 s"
    assert latency.warm_up_chunks == 5, "half a second of ten"
    whole = closed_loop(player, np.zeros((1, 1, 100)), seconds=0.6)
    assert whole.chunks == 50, "where no median is asked for, all of them"


def test_an_utterance_shorter_than_a_chunk_is_refused(monkeypatch):
    engine = Clocked(monkeypatch, [10.0] * 100)
    with pytest.raises(StreamError, match="chunk"):
        closed_loop(Overlapping(engine, TIME, 9), np.zeros((1, 1, 100)), seconds=0)
