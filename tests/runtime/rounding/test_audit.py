"""What an audit says of programs whose weak spots are known, and of the bundled vocoder."""

import dataclasses
import json
import math

import numpy as np
import pytest

from runtime.__main__ import main as runtime_main
from runtime.errors import ArtefactError
from runtime.machine.files import write_json
from runtime.rounding.audit import audit_bundle, audit_package, plain_name
from runtime.rounding.record import read_audit


@pytest.fixture(scope="module")
def vocoder(fp16):
    return audit_bundle(fp16.bundle)


def test_effects_add_up_to_what_all_roundings_together_do(vocoder, width):
    (program,) = vocoder.programs
    together = -10 * math.log10(sum(10 ** (-row.effect_db / 10) for row in program.ops))
    assert together == pytest.approx(program.snr_db, abs=3)  # first order
    assert (program.cases, len(program.ops)) == {"small": (2, 46), "full": (3, 210)}[width]
    assert [row.effect_db for row in program.ops] == sorted(row.effect_db for row in program.ops)


def test_ops_that_only_pass_values_on_cost_nothing_and_modules_are_named(vocoder, width):
    (program,) = vocoder.programs
    moved = [row for row in program.ops if row.op in ("reshape", "transpose")]
    assert len(moved) == {"small": 6, "full": 12}[width] and all(
        row.local_db == row.effect_db == math.inf for row in moved
    )
    places = {row.output: row.place for row in program.ops}
    assert places["input_1_cast_fp16"] == "generator.conv_pre"
    assert {place.partition(".")[0] for place in places.values()} <= {"generator", ""}
    assert all(row.headroom > 1 and row.overflowed == 0 for row in program.ops)


def test_a_stream_is_audited_amid_the_audio(stateful):
    """With states of zeros most of a chunk would be silence, and what the states cost not be seen."""
    bundle = stateful.bundle
    (program,) = audit_bundle(bundle).programs
    together = -10 * math.log10(sum(10 ** (-row.effect_db / 10) for row in program.ops))
    assert program.function == "steady" and together == pytest.approx(program.snr_db, abs=3)
    states = {state.name for state in bundle.main.stream.states}
    assert len(states) > 1


def rows_of(path, **inputs):
    (program,) = audit_package(path, inputs).programs
    return program, {row.op: row for row in program.ops}


def test_overflow_flushed_and_subnormal_values_are_counted(saved):
    from coremltools.converters.mil import Builder as mb

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 4))])
    def program(x):
        return mb.mul(x=mb.exp(x=x), y=np.float32(1.0), name="y")

    path = saved(program, "fp16")
    x = np.array([[0.0, 12.0, -9.8, -20.0]], np.float32)  # 1, 162755, 5.5e-5, 2e-9
    found, rows = rows_of(path, x=x)
    row = rows["exp"]
    assert (row.overflowed, row.flushed, row.subnormal) == (0.25, 0.25, 0.5)
    assert row.largest == pytest.approx(math.exp(12), rel=1e-5) and row.headroom < 1
    assert row.effect_db == -math.inf and found.snr_db == -math.inf
    assert found.ops[0].op == "exp", "an overflow comes first"


def test_local_is_its_own_and_accumulated_what_came_before(saved):
    from coremltools.converters.mil import Builder as mb

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 1000))])
    def program(x):
        return mb.sub(x=mb.add(x=x, y=np.float32(1000.0)), y=np.float32(1000.0), name="y")

    rng = np.random.default_rng(0)
    found, rows = rows_of(saved(program, "fp16"), x=rng.uniform(0.1, 1.0, (1, 1000)).astype(np.float32))
    assert rows["sub"].local_db == math.inf, "a difference of neighbours is exact"
    assert rows["sub"].accumulated_db == pytest.approx(found.snr_db, abs=0.1)
    assert rows["add"].effect_db == pytest.approx(found.snr_db, abs=1), "what the difference shows was lost by the sum"
    assert rows["add"].local_db > found.snr_db + 50


def test_the_command_writes_json_that_reads_back(fp16, width, tmp_path, capsys):
    from reports.__main__ import main as reports_main

    out = tmp_path / "audit.json"
    assert runtime_main(["audit", str(fp16.bundle.path), "--top", "2", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    counts = {"small": "46 ops, 2 inputs", "full": "210 ops, 3 inputs"}[width]
    assert f"dB to float32, {counts}" in said and "generator  2" in said and "generator  3" not in said
    audit = read_audit(out)
    assert audit.key == fp16.bundle.manifest.key
    assert reports_main(["audit", str(out)]) == 0
    page = (tmp_path / "audit.html").read_text()
    assert "What rounding costs" in page and audit.programs[0].ops[0].output in page and "data:image/png" in page
    write_json(out, {**dataclasses.asdict(audit), "schema_version": 99})
    with pytest.raises(ArtefactError, match="schema 99"):
        read_audit(out)
    out.write_text("{}")
    assert reports_main(["audit", str(out)]) == 2
    assert "no audit of this version" in capsys.readouterr().err


def test_a_bare_package_needs_inputs(fp16, mlpackage, width, tmp_path, capsys):
    assert runtime_main(["audit", str(mlpackage)]) == 2
    assert "--inputs IN.npz" in capsys.readouterr().err
    inputs = tmp_path / "in.npz"
    np.savez(inputs, mel=fp16.bundle.goldens(fp16.bundle.main)[0].inputs["mel"][:, :, 10:74])
    assert runtime_main(["audit", str(mlpackage), "--inputs", str(inputs), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["programs"][0]["ops"]) == {"small": 46, "full": 210}[width]


def test_names_lose_coremltools_casts():
    assert plain_name("input_1_cast_fp16") == "input_1"
    assert plain_name("generator_conv_pre_weight_to_fp16") == "generator_conv_pre_weight"
    assert plain_name("mel_to_fp16") == "mel"
