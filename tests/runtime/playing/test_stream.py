"""The player: queues, sizes of pushes, ends, refusals. Its exactness is proved in tests/ops/streaming."""

import gc
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.bundle.form import StreamForm, StreamPort, StreamState
from runtime.bundle.spec import TensorSpec
from runtime.errors import StreamError
from runtime.playing.stream import FrameQueue, Stream, StreamingArtefact, prefill


class Sum:
    """Each output is the sum of its frame and all frames before, by a state; two samples a frame."""

    name, device = "sum", "none"
    inputs = (
        TensorSpec("x", (1, 2, 3)),
        TensorSpec("before", (1,), "int32"),
        TensorSpec("after", (1,), "int32"),
        TensorSpec("state_0", (1, 2, 1)),
    )
    outputs = (TensorSpec("y", (1, 2, 6)), TensorSpec("next_state_0", (1, 2, 1)))

    def run(self, inputs, state=None):
        total = inputs["state_0"] + np.cumsum(inputs["x"], -1, dtype=np.float32)
        return {"y": np.repeat(total, 2, -1), "next_state_0": total[..., -1:]}


FORM = StreamForm(
    mode="stateful",
    exact=True,
    chunk=3,
    lookahead=0,
    delay=0,
    ahead=3,
    horizon=4,
    inputs=(StreamPort("x", 2, 1, 0, 3),),
    outputs=(StreamPort("y", 2, 2, 0, 6),),
    states=(StreamState("state_0", "next_state_0", (1, 2, 1)),),
    state="explicit",
)


def new_stream(engine=None):
    return Stream(StreamingArtefact(FORM, engine or Sum()))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 200), min_size=1, max_size=20))
def test_pushes_of_any_size_give_the_same(sizes):
    frames = np.random.default_rng(0).integers(-5, 5, (1, 2, sum(sizes))).astype(np.float32)
    stream, pieces, at = new_stream(), [], 0
    for size in sizes:
        pieces.append(stream.push({"x": frames[..., at : at + size]})["y"])
        at += size
        assert sum(piece.shape[-1] for piece in pieces) == at // 3 * 6, "a chunk comes out as soon as it is complete"
    pieces.append(stream.flush()["y"])
    assert np.array_equal(np.concatenate(pieces, -1), np.repeat(np.cumsum(frames, -1), 2, -1))
    assert stream.flush()["y"].shape == (1, 2, 0)


def test_states_that_fade_do_not_become_denormal():
    class Fading(Sum):
        def run(self, inputs, state=None):
            seen.append(float(inputs["state_0"][0, 0, 0]))
            return {
                "y": np.zeros((1, 2, 6), np.float32),
                "next_state_0": inputs["state_0"] * 1e-20 + inputs["x"][..., :1],
            }

    seen, stream = [], new_stream(Fading())
    frames = np.zeros((1, 2, 15), np.float32)
    frames[..., 0] = 1
    stream.push({"x": frames})
    assert seen == [0, 1, np.float32(1e-20), 0, 0], "1e-40 is denormal"


def test_after_the_end_a_stream_takes_nothing_until_it_is_reset():
    stream = new_stream()
    stream.push({"x": np.ones((1, 2, 4), np.float32)})
    stream.flush()
    with pytest.raises(StreamError, match="reset"):
        stream.push({"x": np.ones((1, 2, 4), np.float32)})
    stream.reset()
    assert stream.frames == 0
    assert stream.push({"x": np.ones((1, 2, 3), np.float32)})["y"][0, 0].tolist() == [1, 1, 2, 2, 3, 3]


def test_an_empty_utterance_gives_nothing():
    assert new_stream().flush()["y"].shape == (1, 2, 0)


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ({}, "the inputs along time are"),
        ({"y": np.zeros((1, 2, 3))}, "the inputs along time are"),
        ({"x": np.zeros((1, 3, 3))}, "has shape"),
        ({"x": np.zeros((2, 3))}, "has shape"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_lost(inputs, sentence):
    stream = new_stream()
    stream.push({"x": np.ones((1, 2, 2), np.float32)})
    with pytest.raises(StreamError, match=sentence):
        stream.push(inputs)
    assert stream.push({"x": np.ones((1, 2, 1), np.float32)})["y"].shape == (1, 2, 6)


def test_constants_are_wanted_by_name():
    with pytest.raises(StreamError, match="constant in time"):
        Stream(StreamingArtefact(FORM, Sum()), {"speaker": np.zeros(1)})


@pytest.mark.parametrize("chunks", [2_000, pytest.param(10_000, marks=pytest.mark.proof)])
def test_thousands_of_chunks_allocate_nothing_that_stays(chunks):
    stream, part = new_stream(), np.ones((1, 2, 3), np.float32)
    tracemalloc.start()
    for _ in range(1000):
        stream.push({"x": part})
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(chunks):
        stream.push({"x": part})
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 10_000, "less than any object a chunk; Python itself keeps a few kB now and then"
    buffers = {id(queue._buffer) for queue in stream._queues.values()}
    stream.push({"x": part})
    assert {id(queue._buffer) for queue in stream._queues.values()} == buffers, "queues are not replaced"


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 6), st.integers(1, 6), st.lists(st.integers(0, 30), max_size=30), st.integers(1, 9))
def test_a_queue_is_a_list_of_positions_with_zeros_around(back, width, sizes, step):
    port = StreamPort("x", 1, 1, -back, width)
    queue, whole, start = FrameQueue(TensorSpec("x", (1, back + width)), port), [], 0
    for size in sizes:
        new = list(range(len(whole) + 1, len(whole) + size + 1))
        queue.append(np.array([new], np.float32))
        whole += new
        wanted = [whole[p] if 0 <= p < len(whole) else 0 for p in range(start - back, start + width)]
        assert queue.interval(start)[0].tolist() == wanted
        if start + step <= len(whole):
            start += step
            queue.forget(start - back)


@pytest.mark.parametrize("device", range(1, 50, 3))
@pytest.mark.parametrize("model", range(1, 50, 5))
def test_the_prefill_is_the_least_that_never_runs_dry(device, model):
    def runs_dry(silence):
        queue, owed = silence, 0
        for _ in range(3 * device * model // np.gcd(device, model) // device):
            owed += device  # the device takes a block and gives one
            queue += owed // model * model
            owed %= model
            if queue < device:
                return True
            queue -= device
        return False

    assert not runs_dry(prefill(device, model))
    if prefill(device, model):
        assert runs_dry(prefill(device, model) - 1)
