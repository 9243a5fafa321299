"""The command line as a person uses it, in processes of its own."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from convert.__main__ import main

COMMAND = [sys.executable, "-m", "convert"]
QUICK = ["tracking=off", "measure.bench_seconds=0", "measure.engines=[mil]"]


def run(folder, *arguments, **options):
    return subprocess.run(
        [*COMMAND, *arguments], cwd=folder, capture_output=True, text=True, timeout=300, check=False, **options
    )


def cpu_seconds():
    """Of all processes that have been started here and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.fixture(autouse=True)
def _importable_from_anywhere(monkeypatch):
    from tests.conftest import ROOT

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))


def test_a_job_ends_with_a_table_and_the_bundle_s_path_on_the_last_line(tmp_path, sources):
    before = cpu_seconds()
    result = run(tmp_path, "model=hifigan", "precision=fp16", *sources, *QUICK)
    converting = cpu_seconds() - before
    assert result.returncode == 0, result.stderr
    last = result.stdout.strip().splitlines()[-1]
    assert last.startswith("bundle: ")
    assert os.path.isdir(last.removeprefix("bundle: "))
    assert "SNR" in result.stdout
    for noise in ("Running MIL", "WARNING", "Warning", "Traceback", "not been tested"):
        assert noise not in result.stdout + result.stderr
    assert sorted(os.listdir(tmp_path)) == ["bundles"], "nothing of Hydra's is left in the working directory"
    before = cpu_seconds()
    again = run(tmp_path, "model=hifigan", "precision=fp16", *sources, *QUICK)
    assert again.stdout.strip().splitlines()[-1] == last
    assert "reused" in again.stderr
    assert cpu_seconds() - before < converting / 2, "unchanged, nothing is imported or converted"


@pytest.mark.proof
def test_multirun_runs_every_combination_and_a_missed_gate_stops_none(tmp_path, sources):
    result = run(
        tmp_path, "-m", "precision=fp16,fp32", "upsampler=polyphase", "gates.limits.fp16.snr_db=90", *sources, *QUICK
    )
    assert result.returncode == 1
    bundles = [line for line in result.stdout.splitlines() if line.startswith("bundle: ")]
    assert len(bundles) == 2
    assert ["/rejected/" in line for line in bundles] == [True, False]
    assert "gate missed: snr_db" in result.stderr.replace("\n", " ")
    assert sorted(os.listdir(tmp_path)) == ["bundles"]
    (page,) = (line.removeprefix("compared: ") for line in result.stdout.splitlines() if line.startswith("compared: "))
    assert Path(page).name == "precisions.html" and "missed: SNR, dB" in Path(page).read_text()


@pytest.mark.proof
def test_a_sweep_leaves_out_impossible_pairs_and_compares_the_rest(
    tmp_path, monkeypatch, capsys, sources, in_a_row, width
):
    monkeypatch.chdir(tmp_path)
    quick = [argument for argument in QUICK if not argument.startswith("measure.engines")]
    code = main(["-m", "format=onnx,neuralnetwork", "upsampler=native,metal", *sources, *quick])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert " ".join(said.err.split()).count("skipped: upsampler=metal with format=onnx") == 1
    assert len([line for line in said.out.splitlines() if line.startswith("bundle: ")]) == 3
    (page,) = (line.removeprefix("compared: ") for line in said.out.splitlines() if line.startswith("compared: "))
    text = Path(page).read_text()
    stages = {"small": 2, "full": 4}[width]
    for part in (f"custom {stages}", f"ConvTranspose {stages}", "not measured", "estimate, not measured", "M3 Max"):
        assert part in text


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["modle=hifigan"], 2, "did you mean 'model'"),
        (["shape.frames=abc"], 2, "it takes a whole number"),
        (["shape.frames=0"], 2, "1 <= min_frames"),
        (["upsampler=metal"], 2, "an mlprogram can hold no custom layer"),
        (["upsampler=metal", "format=onnx"], 2, "ONNX has no place for a Metal kernel; take upsampler=polyphase"),
        (["-m", "upsampler=metal", "format=mlprogram,onnx"], 2, "nothing was left to convert"),
        (["measure.engines=[tpu]"], 2, "there is no engine 'tpu'"),
        (["measure.engines=[mil]", "format=onnx"], 2, "mil does not execute format onnx; it takes: onnx, openvino"),
        (["checkpoint.source=/nowhere"], 2, "there is no such path"),
        (["checkpoint.source=~/a:b:, (é)=1"], 2, "checkpoint.source=~/a:b:, (é)=1: there is no such path"),
        (["checkpoint=rtvc_encoder"], 2, "is of family ge2e"),
    ],
)
def test_wrong_usage_is_a_sentence_and_a_code(tmp_path, monkeypatch, capsys, arguments, code, sentence):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    printed = capsys.readouterr().err
    assert sentence in " ".join(printed.split())
    assert "Traceback" not in printed
    assert not [name for name in os.listdir(tmp_path) if name != "bundles"]


def test_a_process_ends_with_the_code_of_its_error(tmp_path):
    result = run(tmp_path, "modle=hifigan")
    assert result.returncode == 2 and "did you mean 'model'" in result.stderr and "Traceback" not in result.stderr


def test_help_is_a_screen_of_groups_and_settings(tmp_path):
    result = run(tmp_path, "--help")
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) < 50
    for part in ("polyphase, metal, native", "measure.bench_seconds=1.5  ", "usage: python -m convert"):
        assert part in result.stdout
    assert run(tmp_path, "--cfg", "job", "precision=fp32").stdout.count("name: fp32") == 1


@pytest.mark.parametrize(
    ("number", "wait_for"),
    [
        pytest.param(signal.SIGINT, "locate checkpoint", marks=pytest.mark.proof),
        pytest.param(signal.SIGTERM, "goldens", marks=pytest.mark.proof),
        (signal.SIGINT, "convert to"),
        pytest.param(signal.SIGTERM, "import PyTorch", marks=pytest.mark.proof),
        (signal.SIGHUP, "locate checkpoint"),
    ],
)
def test_an_interrupt_leaves_nothing_unfinished(tmp_path, sources, wait_for, number):
    process = subprocess.Popen(
        [*COMMAND, *sources, *QUICK], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if wait_for in line:
            break
    process.send_signal(number)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130, rest
    assert "nothing unfinished was kept" in rest
    assert not list((tmp_path / "bundles").glob("**/*offline*"))
