"""Mixed precision on planted cases whose answer is known, and on the bundled vocoder."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from converters.component import Component
from converters.formats import mlprogram
from converters.options import FormatOptions, PrecisionOptions
from converters.precision import mixed
from runtime.bundle.spec import TensorSpec
from runtime.engines.mil import MilEngine
from runtime.speech.metrics import snr_db

RATE = 24000


class Overflow(nn.Module):
    """Energies of some 10^6 on the way from one convolution to another: fp16 ends at 65504."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv1d(4, 8, 3, padding=1), nn.Conv1d(8, 1, 3, padding=1)

    def forward(self, x):
        h = torch.tanh(self.first(x))
        energy = (h * 1000.0) * (h * 1000.0)
        return self.last(torch.sqrt(energy + 1.0) * 0.001)


class Oscillator(nn.Module):
    """A harmonic source: a phase that grows for ten seconds, and the filter behind it."""

    def __init__(self):
        super().__init__()
        self.filter = nn.Conv1d(1, 4, 9, padding=4)
        self.mix = nn.Conv1d(4, 1, 9, padding=4)

    def forward(self, f0):
        phase = torch.cumsum(f0 / RATE, dim=2)
        return self.mix(torch.tanh(self.filter(torch.sin(phase * (2 * np.pi)))))


def component(module, given, name="planted"):
    with torch.inference_mode():
        module.eval()
        output = module(given)
    return Component(
        name=name,
        module=module,
        inputs=(TensorSpec("x", tuple(given.shape), "float32", "none"),),
        outputs=(TensorSpec("y", tuple(output.shape), "float32", "none"),),
        example=lambda: {"x": given},
        computes="a planted case",
        cases=({"x": given.numpy()},),
    )


def converted(made, precision, folder):
    folder.mkdir(exist_ok=True)
    artefact = mlprogram.convert(made, PrecisionOptions(precision), FormatOptions(), folder)
    return artefact.path, artefact.mixed.get("main")


def db(made, path):
    given = made.example()["x"]
    with torch.inference_mode():
        reference = made.module(given).numpy()
    return snr_db(reference.reshape(-1), MilEngine(path).run({"x": given.numpy()})["y"].reshape(-1))


def types_of(path):
    """Types of the ops that compute in fp32."""
    graph = MilEngine(path).graph
    nodes = [node for node in graph.graph.nodes if node.op == "call_function" and "mil" in node.meta]
    single = [node.meta["mil"] for node in nodes if node.meta["mil"].dtypes == (torch.float32,)]
    return sorted(made.op_type for made in single if made.op_type != "cast")


def test_an_overflow_in_half_precision_is_found_and_nothing_else(tmp_path):
    torch.manual_seed(0)
    made = component(Overflow(), torch.randn(1, 4, 400))
    broken, _ = converted(made, "fp16", tmp_path / "fp16")
    assert not np.isfinite(db(made, broken)) or db(made, broken) < 5
    path, record = converted(made, "mixed", tmp_path / "mixed")
    assert types_of(path) == ["add", "mul", "sqrt"], "the energies, and what reads them; the convolutions stay"
    assert db(made, path) >= record.budget_db - 1 and record.reached_db >= record.budget_db == mixed.LEAST_DB
    assert record.conversions == 2


def test_a_phase_that_accumulates_for_ten_seconds_is_found_and_nothing_else(tmp_path):
    torch.manual_seed(0)
    seconds = torch.arange(10 * RATE) / RATE
    made = component(Oscillator(), (180 + 40 * torch.sin(2 * np.pi * 0.7 * seconds))[None, None])
    broken, _ = converted(made, "fp16", tmp_path / "fp16")
    assert db(made, broken) < 5
    path, record = converted(made, "mixed", tmp_path / "mixed")
    assert types_of(path) == ["cumsum", "mul", "mul", "sin"]
    assert db(made, path) >= 39.5 and record.reached_db >= record.budget_db


def test_the_bundled_vocoder_gains_what_was_asked_for_with_a_part_of_its_ops(convert_job, fp16):
    outcome = convert_job("precision=mixed", "measure.engines=[mil]")
    record = outcome.bundle.main.mixed["main"]
    assert record.reached_db >= record.budget_db == pytest.approx(record.fp16_db + 10)
    assert 0 < len(record.kept) < record.ops / 2 and record.conversions <= 3
    assert "generator.conv_pre" in record.kept.values(), "each op's module is named"
    half, own = (
        next(one for one in given.measurements if one.engine == "mil").worst.agreement.snr_db
        for given in (fp16, outcome)
    )
    assert own > half + 9
    assert str(record) in " ".join(outcome.bundle.manifest.notes)
    assert fp16.bundle.artefact_bytes < outcome.bundle.artefact_bytes < 2 * fp16.bundle.artefact_bytes


@pytest.mark.parametrize("every", [2, pytest.param(0, marks=pytest.mark.proof)])
def test_a_simulation_gives_what_the_conversion_will(generator, tmp_path, every):
    """With every second op in float32, and with none."""
    made = dataclasses.replace(generator, cases=())
    example = {name: value.numpy() for name, value in made.example().items()}
    traced = mlprogram._traced(made, made.example())

    def saved(selection, name):
        return mixed._saved(
            mlprogram._program(traced, made, selection, FormatOptions()), tmp_path / f"{name}.mlpackage"
        )

    selectable = set()
    exact = saved(mixed._selection(mixed._Everything(), selectable), "exact")
    trial = mixed._Trial(exact, [example], selectable, mixed.Kept())
    assert selectable >= set(trial.ops.values())
    kept = frozenset(sorted(trial.ops.values())[::every] if every else ())
    path = saved(mixed._selection(kept), "mixed")
    assert trial.snr_db(kept) == pytest.approx(trial.measured_db(path), abs=0.05)


def test_a_search_that_was_broken_off_goes_on(tmp_path, monkeypatch):
    torch.manual_seed(0)
    made = component(Overflow(), torch.randn(1, 4, 300))
    _, first = converted(made, "mixed", tmp_path / "first")
    _, again = converted(made, "mixed", tmp_path / "again")
    assert again.kept == first.kept
    assert first.simulations > 0 == again.simulations


def test_what_cannot_be_reached_is_said(tmp_path):
    torch.manual_seed(0)
    made = component(Overflow(), torch.randn(1, 4, 200))
    precision = PrecisionOptions("mixed", gain_db=10, conversions=3)
    record = mixed.MixedRecord(
        kept={"y": "last"}, ops=3, fp16_db=10, budget_db=60, reached_db=55.5, conversions=3, simulations=4
    )
    assert "55.5 dB to float32, 60.0 wanted (not reached)" in str(record)
    folder = tmp_path / "x"
    folder.mkdir()
    found = mlprogram.convert(made, precision, FormatOptions(), folder).mixed["main"]
    assert found.conversions <= 3
