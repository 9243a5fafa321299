import dataclasses

import numpy as np
import pytest

from runtime.engines import Execution
from runtime.measuring.bench.correctness import correctness, seam_agreement
from runtime.playing.player import Streaming, open_player
from runtime.playing.stream import StreamingArtefact
from runtime.speech.metrics import BEST_DB


def test_an_error_at_a_seam_shows_there():
    reference = np.sin(np.arange(22050) * 0.05)
    output = reference.copy()
    output[8192:8200] += 0.01
    seams = np.arange(2048, 22050, 2048)
    near, between, step = seam_agreement(reference, output, seams, 22050)
    assert between == BEST_DB
    assert near < 65
    assert step == pytest.approx(0.01 * np.sqrt(2), rel=0.01)
    assert seam_agreement(reference, reference, seams, 22050) == (BEST_DB, BEST_DB, 0.0)


class Changed:
    """An engine whose outputs are changed."""

    def __init__(self, engine, change):
        self._engine, self._change = engine, change

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def run(self, inputs, state=None):
        return self._change(self._engine.run(inputs, state))


def checked(bundle, change=None, samples=None):
    """Of the first clip, with what the engine gives changed, or the reference cut to so many samples."""
    record = bundle.component()
    player = open_player(bundle, Execution("onnx"))
    if change is not None:
        opened = player.artefact
        changed = StreamingArtefact(opened.form, Changed(opened.edge, change), Changed(opened.steady, change))
        player = Streaming(changed, player.time)
    case = bundle.goldens(record)[0]
    case = dataclasses.replace(case, outputs={"audio": case.outputs["audio"][..., :samples]})
    return correctness(player, record.sound, [case], "fp16")


def test_what_streams_as_it_should_passes(stateful):
    found = checked(stateful.bundle)
    assert found.problem is None
    assert found.repeatable
    assert found.snr_db > 50
    assert abs(found.seam_db - found.between_db) < 3, "a seam is as good as any other place"


def test_a_wrong_length_is_a_problem(stateful):
    found = checked(stateful.bundle, samples=-1)
    assert not found.length_ok
    assert "not as many samples" in found.problem


@pytest.mark.parametrize(("factor", "problem"), [(0.9, "SNR against PyTorch is 20.0 dB"), (np.nan, "not finite")])
def test_no_speed_of_what_is_wrong(stateful, factor, problem):
    found = checked(stateful.bundle, lambda results: {**results, "audio": results["audio"] * np.float32(factor)})
    assert problem in found.problem


def test_an_engine_that_remembers_more_than_its_state_is_found(stateful):
    count = iter(range(10**6))

    def drifting(results):
        return {**results, "audio": results["audio"] * np.float32(1 + 1e-6 * next(count))}

    found = checked(stateful.bundle, drifting)
    assert found.repeatable is False
    assert "a reset stream" in found.problem
