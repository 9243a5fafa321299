import dataclasses

import pytest

from runtime.measuring.bench.budget import budget
from runtime.speech.mel import Mel

FEATURES = Mel(framing="inset")


def parts(found):
    return {part.name: part.milliseconds for part in found.parts}


def test_where_structure_alone_is_too_slow_no_speed_helps():
    exact = budget(FEATURES, 8, 13, inference_ms=0.0)
    assert exact.verdict == "not reachable by structure"
    assert parts(exact)["lookahead"] == pytest.approx(13 * 256 / 22.05)
    assert exact.structural_ms == pytest.approx(exact.total_ms)


def test_a_bounded_lookahead_fits_at_the_models_own_rate():
    """Chunk, lookahead and the rest of the STFT window: 98.7 ms for two frames and five."""
    found = parts(budget(FEATURES, 2, 5, 10.0, block=1, device_rate=22050))
    assert found["resampling"] == 0
    waits = found["chunk"] + found["block of the device"] + found["lookahead"] + found["rest of the STFT window"]
    assert waits == pytest.approx(98.7, abs=0.05)


def test_the_verdict_follows_from_the_inference_where_structure_leaves_room():
    small = dataclasses.replace(FEATURES, n_fft=512, win_length=512, hop_length=128)
    assert budget(small, 2, 2, 1.0, block=128, device_rate=22050).verdict == "met"
    assert budget(small, 2, 2, 90.0, block=128, device_rate=22050).verdict == "missed"


@pytest.mark.parametrize(("block", "chunk_ms"), [(256, 256 * 7 / 22.05), (2048, 0.0), (1, (2048 - 1) / 22.05)])
def test_a_chunk_is_waited_for_as_long_as_blocks_of_the_device_make_it(block, chunk_ms):
    assert parts(budget(FEATURES, 8, 0, 0.0, block=block, device_rate=22050))["chunk"] == pytest.approx(chunk_ms)
