"""How long frames wait for components in a row, against calls that are played frame by frame."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.bundle.form import Pace, burst, waited

STATEFUL = st.builds(
    lambda chunk, lookahead: Pace(chunk, chunk, chunk - lookahead - chunk), st.integers(1, 6), st.integers(0, 7)
)
WINDOW = st.builds(lambda chunk, right: Pace(chunk, chunk + right, chunk), st.integers(1, 6), st.integers(0, 7))


def played(paces, frames):
    """(frame, frames that had come when it was given), of a source that gives one at a time."""
    there = [0] * (len(paces) + 1)  # frames that came of the source, and of each component
    calls = [0] * len(paces)
    given = []
    for came in range(1, frames + 1):
        there[0] = came
        for index, pace in enumerate(paces):
            while there[index] >= calls[index] * pace.chunk + pace.ahead:
                there[index + 1] = max(calls[index] * pace.chunk + pace.gives, 0)
                calls[index] += 1
        given += [(frame, came) for frame in range(len(given), there[-1])]
    return given


@settings(max_examples=150, deadline=None)
@given(st.lists(STATEFUL | WINDOW, min_size=1, max_size=3))
def test_the_wait_and_the_burst_are_those_of_calls_one_after_another(paces):
    settled = [(frame, came) for frame, came in played(paces, 500) if 100 <= frame < 400]
    assert waited(paces) == max(came - frame for frame, came in settled)
    moments = [came for _, came in settled][30:-30]
    assert burst(paces) == max(moments.count(moment) for moment in moments)


@pytest.mark.parametrize(
    ("paces", "frames", "at_once"),
    [
        ([Pace(2, 2, 0)], 4, 2),  # two of lookahead, two of chunk
        ([Pace(2, 2, 0), Pace(2, 2, 2)], 4, 2),  # ticks with the one before: no more
        ([Pace(2, 2, 1)], 3, 2),
        ([Pace(2, 2, 1), Pace(2, 2, 2)], 4, 2),  # ticks too, but its chunk's other half comes a call later
        ([Pace(8, 8, 8), Pace(1, 1, 1)], 8, 8),
        ([Pace(1, 1, 0), Pace(8, 8, 8)], 9, 8),
        ([], 1, 1),
    ],
)
def test_components_that_tick_together_wait_for_their_chunk_once(paces, frames, at_once):
    assert (waited(paces), burst(paces)) == (frames, at_once)
