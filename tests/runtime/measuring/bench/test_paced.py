import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.measuring.bench.paced import paced_latencies, recovery, summarised


class Clock:
    """Time that only sleeping and scripted calls move."""

    def __init__(self, script):
        self.now, self.script = 0.0, iter(script)

    def sleep(self, seconds):
        self.now += seconds

    def calls(self):
        while True:
            cost = next(self.script)
            yield lambda cost=cost: self.sleep(cost)

    def latencies(self, period, chunks, **options):
        return paced_latencies(self.calls(), period, chunks, clock=lambda: self.now, sleep=self.sleep, **options)


def test_what_waits_behind_a_slow_chunk_is_late_too():
    latencies = Clock([0.002, 0.002, 0.035, *[0.002] * 7]).latencies(0.010, 10)
    assert latencies == pytest.approx([2, 2, 35, 27, 19, 11, 3, 2, 2, 2])
    found = summarised(latencies, 0.010)
    assert (found.chunks, found.misses, found.longest_run_of_misses) == (10, 4, 4)
    assert found.worst_overrun_ms == pytest.approx(25)
    assert found.safe_prefill_ms == found.max_ms == pytest.approx(35)
    assert found.miss_percent == pytest.approx(40)


def test_warm_up_is_left_out_and_nothing_else():
    latencies = Clock([0.5, *[0.001] * 200]).latencies(0.010, 50, warm_up=100)
    assert latencies == pytest.approx([1.0] * 50)
    assert summarised(latencies, 0.010).jitter_ms == pytest.approx(0, abs=1e-6)


def test_latency_that_grows_is_drift():
    found = summarised(np.arange(100) * 0.01, 0.6)  # 0.01 ms more each 0.6 s
    assert found.drift_ms_per_min == pytest.approx(1.0)


def test_a_stall_is_measured_and_so_is_what_is_left_of_it():
    latencies = Clock([0.004] * 100).latencies(0.010, 80, stall=(20, 0.1))
    found = recovery(latencies, 0.010, 20, 0.1)
    assert found.worst_ms == pytest.approx(104)
    assert found.residual_ms == pytest.approx(0, abs=1e-6)
    # a backlog of 94 ms shrinks by 6 ms a chunk: the 17th after the stall is in time
    assert found.recovered_after_ms == pytest.approx(17 * 10 + 4 - 100, abs=10)


def test_a_stall_that_is_never_made_good_is_said_so():
    latencies = Clock([0.004] * 20 + [0.010] * 80).latencies(0.010, 80, stall=(20, 0.1))
    found = recovery(latencies, 0.010, 20, 0.1)
    assert found.recovered_after_ms is None
    assert found.residual_ms > 90


@given(st.lists(st.floats(0, 0.05), min_size=1, max_size=60))
def test_with_the_safe_prefill_no_chunk_is_too_late_and_with_less_one_is(costs):
    """Against a player that starts `prefill` after the first chunk was due."""
    latencies = Clock(itertools.chain(costs, itertools.repeat(0.0))).latencies(0.010, len(costs))
    prefill = summarised(latencies, 0.010).safe_prefill_ms

    def late(wait):
        done = [index * 10 + latency for index, latency in enumerate(latencies)]
        return sum(at > index * 10 + wait + 1e-9 for index, at in enumerate(done))

    assert late(prefill) == 0
    assert prefill == 0 or late(prefill * 0.999 - 1e-6) > 0
