"""Values are held against the types of their settings, and settings without effect are told."""

import pytest

from convert.__main__ import main
from convert.idle import without_effect
from convert.overrides import OverrideError, check
from tests.convert.test_job import composed


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("precision.bits=many", "precision.bits=many: it takes a whole number$"),
        ("runner.cores=2.5", "it takes a whole number$"),
        ("shape.frames=[1]", "it takes a whole number$"),
        ("gates.limits.fp16.snr_db=loud", "it takes a number$"),
        ("precision.sparsity=null", "it takes a number, and not null$"),
        ("force=maybe", "it takes true or false$"),
        ("measure.engines=mil", r"it takes a list, such as \[a,b\]$"),
        ("measure.engines=mil,onnx", r"it takes a list; write measure.engines=\[mil,onnx\]$"),
        ("tracking.tags=night", "it takes pairs, such as {a: b}$"),
        ("precision=fp16,fp32", "names several: add -m to convert each of them$"),
        ("shape.frames=range(1,3)", "names several: add -m"),
        ("+precision.bits=4", "it is there already; write precision.bits=4$"),
        ("+model=vits", "it is there already; write model=vits$"),
        ("~model", "nothing of the configuration can be left out"),
        ("model@other=hifigan", "a group has one place; write model=…$"),
    ],
)
def test_a_value_of_another_kind_is_a_sentence_of_ours(override, sentence):
    with pytest.raises(OverrideError, match=sentence):
        check([override], is_sweep=False)


@pytest.mark.parametrize(
    "override",
    [
        "precision.bits=4", "precision.bits='4'", "precision.sparsity=1e-1", "shape.min_frames=null", "force=yes",
        "measure.engines=[mil,onnx]", "+tracking.tags={night: 3}", "++measure.threads=1", "suite.limit_minutes=5",
        "suite.compare.delta=${oc.env:DELTA}", "gates.limits.fp16={snr_db: 3}", "runner.offers={gpu: 1}",
        "checkpoint.config=null",
    ],
)  # fmt: skip
def test_a_value_of_its_kind_passes(override):
    check([override], is_sweep=False)


def test_every_value_of_a_sweep_is_looked_at():
    check(["precision.bits=4,8", "precision=fp16,fp32"], is_sweep=True)
    with pytest.raises(OverrideError, match="whole number"):
        check(["precision.bits=4,many"], is_sweep=True)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--nonsense"], "there is no option '--nonsense'"),
        (["--cfg", "jbo"], "--cfg takes job, hydra or all, got 'jbo'"),
        (["precision.bits=${nope.x}"], "precision.bits: Interpolation key 'nope.x' not found"),
        (["measure.threads=0"], "an engine takes at least 1 thread, got 0"),
        (["measure.bench_seconds=-1"], "measure needs bench_seconds >= 0"),
        (["precision=mixed", "format=onnx"], "precision=mixed with format=onnx: it computes in fp32, fp16"),
        (["precision=int8", "format=neuralnetwork"], "it stores weights as fp32, fp16"),
        (["shape=flexible", "format=coreai"], "it is converted at a fixed shape; take shape=fixed"),
        (["stream=stateful", "stream.state=mlstate", "precision=fp32"], "Core ML keeps states in fp16"),
        (["stream=stateful", "stream.state=mlstate", "format=onnx"], "take stream.state=explicit"),
        (["shape.frames=0", "-m"], "1 <= min_frames"),
    ],
)
def test_hydra_and_late_refusals_do_not_show(arguments, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    said = capsys.readouterr()
    printed = " ".join((said.out + said.err).split())
    assert sentence in printed
    assert not any(word in printed for word in ("hydra.", "HYDRA", "full_key", "Traceback", "locate checkpoint"))


@pytest.mark.parametrize(
    ("overrides", "idle"),
    [
        (["stream.chunk=4"], ["stream.chunk=4"]),
        (["stream=window", "stream.chunk=4", "stream.lookahead=2"], ["stream.lookahead=2"]),
        (["stream=lowlat", "stream.lookahead=2"], []),
        (["precision.bits=4", "precision.gain_db=3"], ["precision.bits=4", "precision.gain_db=3"]),
        (["precision=int8", "precision.least_db=40"], []),
        (["format.opset=20", "runner.cores=1", "suite.limit_minutes=3"],
         ["format.opset=20", "runner.cores=1", "suite.limit_minutes=3"]),
        (["tracking=off", "tracking.uri=sqlite:///x.db"], ["tracking.uri=sqlite:///x.db"]),
        (["checkpoint.source=random", "checkpoint.config=c.json"], ["checkpoint.config=c.json"]),
        (["suite=none", "runner=local"], ["runner=local"]),
    ],
)  # fmt: skip
def test_a_setting_without_effect_is_told(overrides, idle):
    told = without_effect(composed(*overrides), overrides)
    assert [sentence.partition(" has no effect here: it takes ")[0] for sentence in told] == idle
