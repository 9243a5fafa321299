"""mac-check off a Mac: its own code over enable_predict, with the compute plan and Core ML's faults faked."""

import dataclasses
import inspect
import json
from types import SimpleNamespace

import mlflow
import pytest

import runtime.measuring.mac_check as mac
import voxport
from reports.__main__ import main as reports
from runtime.__main__ import main
from runtime.errors import EngineError
from runtime.machine.coreml_tools import coremltools
from runtime.machine.files import as_json
from runtime.measuring.bench.bundle import BenchOptions
from tests.converters.rave_models import MODELS, built, write_export

QUICK = BenchOptions(seconds=0, min_chunks=5, paced_seconds=0.3, growth_chunks=0, stress=False, threads=None)


def test_names_of_coremltools_are_as_the_check_uses_them():
    ct = coremltools()
    from coremltools.models import compute_device, compute_plan

    assert set(mac.DEVICES) <= set(dir(compute_device))
    plan = compute_plan.MLComputePlan
    assert list(inspect.signature(plan.load_from_path).parameters) == ["path", "compute_units"]
    for name in (
        "get_compute_device_usage_for_mlprogram_operation",
        "get_estimated_cost_for_mlprogram_operation",
        "get_compute_device_usage_for_neuralnetwork_layer",
        "model_structure",
    ):
        assert hasattr(plan, name)
    fields = compute_plan.MLComputePlanDeviceUsage.__dataclass_fields__
    assert {"preferred_compute_device", "supported_compute_devices"} <= set(fields)
    assert "weight" in compute_plan.MLComputePlanCost.__dataclass_fields__
    assert {"operator_name", "outputs"} <= set(compute_plan.MLModelStructureProgramOperation.__dataclass_fields__)
    assert {"name", "type"} <= set(compute_plan.MLModelStructureNeuralNetworkLayer.__dataclass_fields__)
    assert "layers" in compute_plan.MLModelStructureNeuralNetwork.__dataclass_fields__
    assert "neuralnetwork" in compute_plan.MLModelStructure.__dataclass_fields__
    assert "function_name" in inspect.signature(ct.models.MLModel.__init__).parameters
    assert hasattr(ct.models.MLModel, "get_compiled_model_path")


class MLCPUComputeDevice:
    pass


class MLNeuralEngineComputeDevice:
    pass


class FakePlan:
    """Plans every op but constants for the Neural Engine, where that is among the units."""

    def __init__(self, units):
        self.device = MLNeuralEngineComputeDevice() if "NE" in units.name else MLCPUComputeDevice()
        ops = [SimpleNamespace(operator_name=n, outputs=[SimpleNamespace(name=n)]) for n in ("const", "conv", "tanh")]
        function = SimpleNamespace(block=SimpleNamespace(operations=ops))
        functions = {"main": function, "steady": function, "edge": function}
        self.model_structure = SimpleNamespace(program=SimpleNamespace(functions=functions))

    def get_compute_device_usage_for_mlprogram_operation(self, op):
        if op.operator_name == "const":
            return None
        return SimpleNamespace(preferred_compute_device=self.device, supported_compute_devices=[self.device])

    def get_estimated_cost_for_mlprogram_operation(self, op):
        return None if op.operator_name == "const" else SimpleNamespace(weight=0.5)


@pytest.fixture(scope="module")
def core_ml():
    """`predict` and compute plans as on a Mac."""
    voxport.enable_predict("onnx")
    ct = coremltools()
    from coremltools.models import compute_plan

    plan = staticmethod(lambda path, compute_units: FakePlan(compute_units))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ct.models.MLModel, "get_compiled_model_path", lambda self: "model.mlmodelc")
        patch.setattr(compute_plan.MLComputePlan, "load_from_path", plan)
        yield


def test_the_layers_of_a_neural_network_are_placed(core_ml, monkeypatch, tmp_path):
    from coremltools.models import compute_plan

    class Plan:
        layers = tuple(SimpleNamespace(name=n, type=t) for n, t in (("a", "convolution"), ("b", "custom")))
        model_structure = SimpleNamespace(neuralnetwork=SimpleNamespace(layers=layers))

        def get_compute_device_usage_for_neuralnetwork_layer(self, layer):
            return SimpleNamespace(
                preferred_compute_device=MLCPUComputeDevice(), supported_compute_devices=[MLCPUComputeDevice()]
            )

    monkeypatch.setattr(compute_plan.MLComputePlan, "load_from_path", staticmethod(lambda path, compute_units: Plan()))
    model = SimpleNamespace(get_compiled_model_path=lambda: "net.mlmodelc")
    monkeypatch.setattr(coremltools().models, "MLModel", lambda *_, **__: model)
    placed = mac.placement(tmp_path / "net.mlmodel", "cpu")
    assert placed.ops == {"cpu": 2}
    assert [(op.op, op.output, op.device, op.cost) for op in placed.planned] == [
        ("convolution", "a", "cpu", None), ("custom", "b", "cpu", None)
    ]  # fmt: skip


def here(command, _what, _limit):
    """What the other process does, in this one."""
    path, asked, *rest = command[3:]
    result = mac.check_unit(mac.Path(path), BenchOptions(**json.loads(asked)), load_only=bool(rest))
    return json.dumps(as_json(dataclasses.asdict(result)))


@pytest.fixture(scope="module")
def streaming(stateful):
    return stateful.bundle.path


@pytest.fixture(scope="module")
def checked(core_ml, streaming):
    return mac.check_bundle(streaming, ["cpu", "cpu_and_ne"], QUICK, run=here)


def test_every_unit_is_loaded_twice_benched_and_planned(checked):
    assert [unit.compute_unit for unit in checked.units] == ["cpu", "cpu_and_ne"]
    for unit in checked.units:
        assert unit.problem is None
        assert unit.first_load_s > 0
        assert unit.warm_load_s > 0
        (one,) = unit.bench.processes
        assert unit.bench.engine == "coreml"
        assert one.correctness.snr_db > 50
        assert one.paced.chunks == 3
    alone, engine = (unit.placement for unit in checked.units)
    assert alone.ops == {"none": 1, "cpu": 2}
    assert engine.cost == {"none": 0.0, "ne": 1.0}
    assert checked.best in ("cpu", "cpu_and_ne")
    assert {row.name for row in checked.targets} == {"RTF", "p99 per chunk ms", "round trip ms"}


@pytest.mark.proof
@pytest.mark.parametrize(("model", "others"), [("rave", {"encode"}), ("fargan", {"block"})])
def test_a_conversion_of_latents_and_a_vocoder_that_samples_are_checked_whole(
    core_ml, own_job, tmp_path, model, others
):
    source = "bundled"
    if model == "rave":
        source = tmp_path / "narrow_rave.ts"
        write_export(source, built(MODELS["causal"]), True)
    outcome = own_job(f"model={model}", f"checkpoint.source={source}", "precision=fp16", "measure.engines=[onnx]")
    (unit,) = mac.check_bundle(outcome.bundle.path, ["cpu_and_ne"], QUICK, run=here).units
    assert unit.problem is None
    assert unit.bench.processes[0].closed.chunks >= QUICK.min_chunks
    assert unit.placement.ops == {"none": 1, "ne": 2}
    assert {name: placed.ops for name, placed in unit.others.items()} == dict.fromkeys(others, unit.placement.ops)


def units(share, ratio):
    """cpu and cpu_and_ne with so much planned for the Neural Engine, and so many times as slow."""

    def unit(name, p50):
        closed = SimpleNamespace(p50_ms=p50, p99_ms=p50)
        bench = SimpleNamespace(processes=[SimpleNamespace(closed=closed, paced=None)], problem=None)
        placement = mac.Placement({}, {"ne": share, "cpu": 1 - share}, ())
        return mac.UnitCheck(name, bench=bench, placement=placement)

    return [unit("cpu", 10.0), unit("cpu_and_ne", 10.0 * ratio)]


@pytest.mark.parametrize(
    ("share", "ratio", "verdict"),
    [
        (0.95, 0.3, "on the Neural Engine: 95%"),
        (0.95, 1.02, "probably a silent fallback to the CPU"),
        (0.1, 0.99, "mostly not on the Neural Engine: the plan gives it 10%"),
    ],
)
def test_a_silent_fallback_is_told_from_plan_and_speed(share, ratio, verdict):
    assert mac.fallback_verdict(units(share, ratio)).startswith(verdict)
    assert mac.fallback_verdict(units(share, ratio)[:1]).startswith("not judged")


def test_a_unit_that_hangs_or_dies_is_a_row_and_the_others_go_on(core_ml, streaming):
    def run(command, what, limit):
        if '"compute_unit": "cpu"' in command[4]:
            raise EngineError(f"{what} did not end within {limit:g} s")
        return here(command, what, limit)

    checked = mac.check_bundle(streaming, ["cpu", "cpu_and_ne"], QUICK, limit=7, run=run)
    assert checked.units[0].problem == "Core ML did not end within 7 s"
    assert checked.units[1].problem is None
    assert checked.best == "cpu_and_ne"
    assert checked.fallback.startswith("not judged: Core ML did not end")


def test_its_json_becomes_a_page_and_runs(checked, tmp_path, store_uri, capsys):
    machine = mac.Machine("Apple M3 Max", "macOS-26", ("AC Power", "Battery Power"), ("CPU_Speed_Limit = 80",) * 2)
    check = mac.MacCheck(
        mac.SCHEMA_VERSION, "2026-01-01", machine, {"coremltools": "9.0"}, (checked,), mac._notes(machine)
    )
    mac.write_check(tmp_path / "check.json", check)
    assert mac.read_check(tmp_path / "check.json") == check
    assert reports(["mac-check", str(tmp_path / "check.json"), "--uri", store_uri]) == 0
    page = (tmp_path / "check.html").read_text()
    for text in (
        "Apple M3 Max",
        "Not all targets met",
        "not reachable by structure",
        "on battery",
        "throttled",
        "conv",
    ):
        assert text in page
    assert 'class="unsure">· not judged: this is no M3 Max' in page, "red is what was missed"
    runs = [line.removeprefix("MLflow run ") for line in capsys.readouterr().out.splitlines() if "MLflow" in line]
    logged = [mlflow.MlflowClient(store_uri).get_run(run).data for run in runs]
    assert [run.tags["compute_unit"] for run in logged] == ["cpu", "cpu_and_ne"]
    assert logged[1].metrics["planned_ne"] == 1.0
    assert logged[0].metrics["first_load_s"] > 0


def test_elsewhere_it_says_what_it_would_do(streaming, capsys):
    assert main(["mac-check", str(streaming)]) == 2
    error = capsys.readouterr().err
    assert "mac-check needs a Mac" in error
    assert "first load" in error
    assert "compute plan" in error
