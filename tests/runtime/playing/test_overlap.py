import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.bundle.spec import Dim, TensorSpec, TimeAxis
from runtime.engines import Execution
from runtime.engines.load import load
from runtime.errors import StreamError
from runtime.playing.overlap import default_chunk, overlap, overlap_pieces
from runtime.playing.player import open_player

TIME = TimeAxis("mel", "audio", 2, 2, 4, 3, 2, 22050)


def window(axis) -> TensorSpec:
    return TensorSpec("mel", (1, 1, axis))


class Local:
    """A network of known receptive field with zero padding at both ends: frames t-3..t+2 make samples 4t..4t+3, also of
    the `extra` ones behind the last frame."""

    name, device = "stub", "none"
    outputs = (TensorSpec("audio", (1, 1, Dim(1, 10**6, 1))),)

    def __init__(self, axis, extra=0, right=2):
        self.inputs, self.extra, self.right = (window(axis),), extra, right

    def new_state(self):
        return {}

    def run(self, inputs, state=None):
        mel = inputs["mel"]
        assert self.inputs[0].misfit(mel.shape) is None
        total, more = mel.shape[2], -(-self.extra // 4)
        ends = (3, self.right + more)
        padded = np.pad(mel[0, 0], ends, constant_values=100.0)  # a padding that shows when it is in the wrong place
        weights = np.array([1.0, 3, 5, 7, 11, 13])[: 4 + self.right]
        frames = np.array([padded[t : t + len(weights)] @ weights for t in range(total + more)])
        samples = (frames[:, None] + np.arange(4)).reshape(1, 1, -1)
        return {"audio": samples[..., : total * 4 + self.extra]}


@settings(max_examples=300, deadline=None)
@given(
    total=st.integers(1, 60),
    chunk=st.integers(1, 20),
    size=st.integers(6, 24),
    flexible=st.booleans(),
    blocks=st.integers(1, 9),
    extra=st.integers(0, 6),
    right=st.sampled_from([0, 2]),
)
def test_overlapped_output_equals_offline_on_every_sample(total, chunk, size, flexible, blocks, extra, right):
    axis, time = Dim(1, size, size) if flexible else size, dataclasses.replace(TIME, extra=extra, right=right)
    engine = Local(axis, extra, right)
    mel = np.random.default_rng(total).normal(size=(1, 1, total))
    try:
        pieces = list(overlap(engine, time, np.array_split(mel, blocks, axis=2), chunk))
    except StreamError:
        fits = chunk + time.left + time.right <= size or (chunk >= total and total <= size)
        assert not fits or (not flexible and total < size)
        return
    offline = Local(Dim(1, 10**6, 1), extra, right).run({"mel": mel})["audio"]
    np.testing.assert_array_equal(np.concatenate(pieces, axis=2), offline)
    assert offline.shape[2] == time.samples(total)
    assert all(piece.shape[2] == min(chunk, total) * 4 for piece in pieces[:-1])


def test_pieces_of_a_fixed_window_all_have_its_length():
    pieces = overlap_pieces(200, window(64), TIME, 40)
    assert {piece.stop - piece.start for piece in pieces} == {64}
    assert pieces[0].start == 0
    assert pieces[-1].stop == 200


@pytest.mark.parametrize(
    ("total", "axis", "chunk", "sentence"),
    [
        (5, 8, 1, "5 frames are fewer than the artefact takes"),
        (50, 8, 4, "use chunk <= 3"),
        (50, 8, 0, "at least 1 frame"),
    ],
)
def test_what_cannot_be_streamed_says_what_would(total, axis, chunk, sentence):
    with pytest.raises(StreamError, match=sentence):
        overlap_pieces(total, window(axis), TIME, chunk)


def test_a_window_smaller_than_the_receptive_field_cannot_stream():
    with pytest.raises(StreamError, match=r"shape\.frames > 5"):
        default_chunk(window(5), TIME)


@pytest.mark.parametrize("chunk", [1, 7, 8, 38, None])
def test_the_artefact_in_pieces_equals_its_pytorch_original_on_every_sample(fp32, chunk):
    bundle = fp32.bundle
    record = bundle.component()
    case = bundle.goldens(record)[0]
    player = open_player(bundle, Execution("onnx"), chunk=chunk)
    mel = case.inputs["mel"][:, :, :131]
    streamed = player.play(mel)
    offline = load(bundle.path, Execution("torch")).run({"mel": mel})["audio"]
    assert streamed.shape == offline.shape
    assert np.abs(streamed - offline).max() < 5e-5


def test_the_stated_receptive_field_is_the_measured_one(generator):
    """In float64, the gradient of a frame's samples is zero outside the stated field and not zero at its edges."""
    module = generator.module.double()
    mel = torch.randn(1, 80, 64, dtype=torch.float64, requires_grad=True)
    frame, time_axis = 32, generator.time
    try:
        audio = module(mel)
        reach = []
        for sample in (frame * 256, frame * 256 + 255):
            (gradient,) = torch.autograd.grad(audio[0, 0, sample], mel, retain_graph=True)
            touched = gradient.abs().sum((0, 1)).nonzero().flatten()
            reach.append((int(touched.min()), int(touched.max())))
    finally:
        module.float()
    assert frame - min(low for low, _ in reach) == time_axis.left
    assert max(high for _, high in reach) - frame == time_axis.right


def test_offline_mode_wants_a_length_that_fits(fp32):
    with pytest.raises(StreamError, match="use mode overlap"):
        open_player(fp32.bundle, Execution("onnx"), mode="offline").play(np.zeros((1, 80, 65), np.float32))
    with pytest.raises(StreamError, match="offline, overlap"):
        open_player(fp32.bundle, Execution("onnx"), mode="stateful")
    with pytest.raises(StreamError, match="at least 1 frame, got 0"):
        open_player(fp32.bundle, Execution("onnx"), chunk=0)
