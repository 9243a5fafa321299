"""Weights in fewer bits: what is stored, what is excluded, and what a target refuses."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from converters.component import Component
from converters.formats import mlprogram
from converters.options import ConversionError, FormatOptions, PrecisionOptions
from runtime.bundle.spec import TensorSpec
from runtime.bundle.store import size_of
from runtime.engines.inspect import op_histogram
from runtime.engines.mil import MilEngine
from runtime.speech.metrics import snr_db

WEIGHTS = "Data/com.apple.CoreML/weights"
FORMS = {
    "int8": PrecisionOptions("int8", "fp16", weights="linear", granularity="per_channel"),
    "int4_blocks": PrecisionOptions("i4", "fp16", weights="linear", bits=4, granularity="per_block", group_size=16),
    "palette6": PrecisionOptions("palette6", "fp16", weights="palette", bits=6),
    "grouped": PrecisionOptions(
        "g", "fp16", weights="palette", bits=4, granularity="per_grouped_channel", group_size=8
    ),
    "palette_int8": PrecisionOptions("p", "fp16", weights="palette", bits=6, table_int8=True),
    "sparse_int8": PrecisionOptions("s", "fp16", weights="linear", granularity="per_channel", sparsity=0.33),
}


class Two(nn.Module):
    """One layer whose weights are spread over four decades beside one that takes any compression."""

    def __init__(self, decades=2):
        super().__init__()
        self.spread, self.plain = nn.Conv1d(64, 64, 3, padding=1), nn.Conv1d(64, 64, 3, padding=1)
        self.register_buffer("scale", torch.logspace(decades, -decades, 64)[None, :, None])
        with torch.no_grad():
            self.spread.weight /= self.scale

    def forward(self, x):
        return self.plain(torch.tanh(self.spread(x * self.scale)))


def component(decades, frames=50):
    torch.manual_seed(0)
    module, given = Two(decades).eval(), torch.randn(1, 64, frames)
    spec = TensorSpec("x", (1, 64, frames), "float32", "none")
    outputs = (dataclasses.replace(spec, name="y"),)
    return Component("two", module, (spec,), outputs, lambda: {"x": given}, "two layers", cases=({"x": given.numpy()},))


@pytest.fixture(scope="module")
def two():
    return component(2)


def converted(made, precision, folder):
    artefact = mlprogram.convert(made, precision, FormatOptions(), folder)
    given = made.example()["x"]
    with torch.inference_mode():
        reference = made.module(given).numpy().reshape(-1)
    return artefact, snr_db(reference, MilEngine(artefact.path).run({"x": given.numpy()})["y"].reshape(-1))


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_stored_smaller_and_executes(name, tmp_path):
    even = component(0)
    for folder in ("fp16", name):
        (tmp_path / folder).mkdir()
    plain, _ = converted(even, PrecisionOptions("fp16"), tmp_path / "fp16")
    artefact, reached = converted(even, FORMS[name], tmp_path / name)
    assert size_of(artefact.path / "Data") < 0.75 * size_of(plain.path / "Data")
    assert any(op.startswith("constexpr_") for op in op_histogram(artefact.path))
    assert 4 < reached < 60


def test_the_layer_that_would_cost_most_is_excluded_and_no_other(two, tmp_path):
    whole = FORMS["int8"]
    _, without = converted(two, whole, tmp_path)
    artefact, reached = converted(two, dataclasses.replace(whole, least_db=38.0), tmp_path)
    assert without < 30 < 37.5 < reached
    assert artefact.excluded == ("spread_weight",)


@pytest.mark.parametrize(
    "precision", [PrecisionOptions("mixed"), dataclasses.replace(FORMS["int8"], least_db=38.0)], ids=["mixed", "int8"]
)
def test_functions_over_the_same_weights_choose_alike_and_store_them_once(two, precision, tmp_path):
    for folder in ("one", "both"):
        (tmp_path / folder).mkdir()
    one = mlprogram.convert(two, precision, FormatOptions(), tmp_path / "one").path
    functions = {"short": two, "long": component(2, frames=80)}
    both = mlprogram.convert_functions(functions, precision, FormatOptions(), tmp_path / "both")
    assert size_of(both.path / WEIGHTS) < 1.05 * size_of(one / WEIGHTS)
    mixed = both.mixed
    assert set(mixed) == (set(functions) if precision.compute == "mixed" else set())
    assert all(record.reached_db >= record.budget_db for record in mixed.values())


def test_a_target_that_cannot_hold_a_form_is_refused_before_the_conversion(two, tmp_path):
    old = FormatOptions(target="macOS14")
    for name, what in (
        ("int4_blocks", "per_block"),
        ("grouped", "per_grouped_channel"),
        ("palette_int8", "a joint form"),
    ):
        with pytest.raises(ConversionError, match=f"{what} needs format.target=macOS15"):
            mlprogram.convert(two, FORMS[name], old, tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"weights": "nf4"}, "there is no precision.weights 'nf4'; there is: linear, palette"),
        ({"weights": "palette", "bits": 5}, "bits=5: weights=palette takes 1, 2, 3, 4, 6, 8"),
        ({"weights": "linear", "granularity": "per_grouped_channel"}, "takes per_tensor, per_channel, per_block"),
        ({"weights": "linear", "table_int8": True}, "table_int8 is for weights=palette"),
        ({"sparsity": 1.0}, "0 <= sparsity < 1"),
        ({"conversions": 2}, "conversions >= 3"),
    ],
)
def test_a_wrong_choice_is_a_sentence(change, sentence):
    with pytest.raises(ConversionError, match=sentence):
        PrecisionOptions("own", "fp16", **change)


@pytest.fixture(scope="module")
def int8(convert_job):
    return convert_job("precision=int8", "measure.engines=[mil]")


def test_a_vocoder_passes_its_gate_in_int8(int8, fp16, width):
    assert int8.passed and {gate.gate for gate in int8.gates} >= {"snr_db", "log_mel_l1"}
    assert int8.bundle.artefact_bytes < {"small": 0.8, "full": 0.75}[width] * fp16.bundle.artefact_bytes
    if width == "full":
        assert int8.bundle.main.excluded and "stay in fp16" in " ".join(int8.bundle.manifest.notes)


def test_a_rejected_precision_keeps_its_report_and_its_point(int8, fp16, convert_job, width, tmp_path):
    from reports.precisions import write_precisions
    from reports.tradeoff import families_of

    strict = () if width == "full" else ("gates.limits.compressed.log_mel_l1=0.0001",)
    palette = convert_job("precision=palette4", "precision.least_db=null", "measure.engines=[mil]", *strict)
    assert not palette.passed and palette.bundle.path.parent.name == "rejected"
    assert (palette.bundle.measured / "report.html").is_file()
    (family,) = families_of([one.bundle.path for one in (fp16, int8, palette)])
    points = {point.precision: point for point in family.points}
    assert [point.precision for point in family.points] == ["palette4", "int8", "fp16"], "smallest first"
    assert (points["palette4"].passed, points["palette4"].is_best) == (False, False)
    assert points["int8"].is_best and points["fp16"].is_best
    page = write_precisions([family], tmp_path / "precisions.html").read_text()
    assert "log-mel L1" in points["palette4"].missed and "missed: " in page and "Pareto set" in page
    assert (tmp_path / "precisions-1.png").stat().st_size > 10_000


def test_a_comparison_is_one_run_with_its_picture(int8, fp16, tmp_path, store_uri):
    import mlflow

    from reports.__main__ import main as reports_main

    bundles = [str(one.bundle.path) for one in (fp16, int8)]
    out = tmp_path / "precisions.html"
    assert reports_main(["precisions", *bundles, "--out", str(out), "--uri", store_uri, "--experiment", "x"]) == 0
    mlflow.set_tracking_uri(store_uri)
    (run,) = mlflow.search_runs(experiment_names=["x"], output_format="list")
    assert run.data.tags["kind"] == "precisions" and run.data.tags["best"] == "int8, fp16"
    assert {"size_mb/int8", "snr_db/fp16"} <= set(run.data.metrics)
    names = {item.path for item in mlflow.MlflowClient(store_uri).list_artifacts(run.info.run_id)}
    assert names == {"precisions.html", "precisions-1.png"}
    assert reports_main(["precisions", bundles[0], "--out", str(out), "--uri", ""]) == 2, "one is nothing to compare"


def test_pareto_keeps_what_nothing_beats():
    from reports.metrics import pareto

    points = [(1.0, 10.0), (2.0, 9.0), (2.0, 30.0), (3.0, 30.0), (4.0, 50.0)]
    assert pareto(points) == {(1.0, 10.0), (2.0, 30.0), (4.0, 50.0)}
    assert np.isfinite([x for x, _ in pareto(points)]).all()


@pytest.mark.parametrize(
    ("precision", "excluded", "reached"),
    [
        (dataclasses.replace(FORMS["int8"], least_db=36.0), ("spread",), (35, 60)),
        pytest.param(FORMS["palette6"], (), (3, 35), marks=pytest.mark.proof),
    ],
    ids=["int8", "palette6"],
)
def test_core_ai_stores_the_same_forms_and_excludes_the_same_layer(two, tmp_path, precision, excluded, reached):
    pytest.importorskip("coreai_opt")
    from converters.formats import coreai
    from runtime.engines.coreai import CoreAIEngine

    given = two.example()["x"]
    with torch.inference_mode():
        reference = two.module(given).numpy().reshape(-1)
    artefact = coreai.convert(two, precision, FormatOptions("coreai"), tmp_path)
    made = CoreAIEngine(artefact.path).run({"x": given.numpy()})["y"].reshape(-1)
    assert artefact.excluded == excluded
    assert reached[0] < snr_db(reference, made) < reached[1]


def test_core_ai_refuses_other_forms(two, tmp_path):
    from converters.formats import coreai

    with pytest.raises(ConversionError, match="it has int8, palette4 and palette6"):
        coreai.convert(two, FORMS["palette_int8"], FormatOptions("coreai"), tmp_path)
    with pytest.raises(ConversionError, match="no precision 'mixed'"):
        coreai.convert(two, PrecisionOptions("mixed"), FormatOptions("coreai"), tmp_path)


class Forked(nn.Module):
    """Two outputs, one of which a layer does not reach."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv1d(64, 64, 3, padding=1), nn.Conv1d(64, 64, 3, padding=1)

    def forward(self, x):
        return self.first(x), self.second(torch.tanh(x))


def test_core_ai_excludes_by_all_of_several_outputs():
    pytest.importorskip("coreai_opt")
    from converters.precision.coreai import excluded_layers

    torch.manual_seed(0)
    given = (torch.randn(1, 64, 20),)
    coarse = PrecisionOptions("palette4", "fp16", weights="palette", bits=4)
    module = Forked().eval()
    assert excluded_layers(module, dataclasses.replace(coarse, least_db=0.0), [given]) == []
    assert len(excluded_layers(module, dataclasses.replace(coarse, least_db=25.0), [given])) == 1, (
        "half of the error goes"
    )
    assert sorted(excluded_layers(module, dataclasses.replace(coarse, least_db=90.0), [given])) == ["first", "second"]
    assert excluded_layers(nn.Tanh(), dataclasses.replace(coarse, least_db=90.0), [given]) == [], "nothing to compress"


def test_latency_is_drawn_beside_size_where_a_mac_measured():
    import io

    import matplotlib.image

    from reports import plots
    from reports.tradeoff import Point

    points = [
        Point(name, name, size, "coreml", {"snr_db": snr}, passed, True, "", "", milliseconds)
        for name, size, snr, passed, milliseconds in (("fp16", 2.0, 46.0, True, 3.0), ("int8", 1.2, 30.0, False, 2.5))
    ]
    without = [dataclasses.replace(point, mac_ms=None) for point in points]
    wide, narrow = (matplotlib.image.imread(io.BytesIO(plots.precisions("x", row))) for row in (points, without))
    assert wide.shape[1] > 1.3 * narrow.shape[1]
