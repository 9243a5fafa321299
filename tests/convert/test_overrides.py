import pytest

from convert.overrides import OverrideError, as_text, check, group_choices
from convert.schema import settings


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("modle=hifigan", "there is no setting 'modle': did you mean 'model'"),
        ("model=hifgan", "there is no model 'hifgan': did you mean 'hifigan'.*choices: .*hifigan, .*vits"),
        ("precision=fp61", "did you mean 'fp16'"),
        ("precision.nmae=fp16", "did you mean 'precision.name'"),
        ("++precision.dtpye=fp16", "there is no setting 'precision.dtpye'"),
        ("+precision.extra=1", "there is no setting 'precision.extra'"),
        ("~trackin", "did you mean 'tracking'"),
        ("bench_second=3", "did you mean 'measure.bench_seconds'"),
        ("checkpoint=ljspech_hifigan_v2", "did you mean 'ljspeech_hifigan_v2'"),
        ("precision=fp32,fp61", "there is no precision 'fp61'"),
        ("upsampler=meta", "did you mean 'metal'"),
        ("gates.limits.fp61.snr_db=50", "did you mean 'gates.limits.fp16.snr_db'"),
        ("gates.limits.fp16.snrdb=50", "did you mean 'gates.limits.fp16.snr_db'"),
        ("gates.limits.fp16.component.flow=50", "there is no setting"),
        ("gates.limits.fp61.components.flow=50", "there is no setting"),
        ("hifigan", "written setting=value"),
        ("checkpoint=/models/é", "there is no checkpoint '/models/é'"),
        ("checkpoint.sorce=/models/é", "did you mean 'checkpoint.source'"),
        ("shape.frames=(64", r"shape\.frames=\(64 cannot be read"),
    ],
)
def test_every_misspelling_ends_in_a_sentence_with_the_nearest_name(override, sentence):
    with pytest.raises(OverrideError, match=sentence):
        check([override])


@pytest.mark.parametrize("twice", [["model=hifigan", "model=vits"], ["precision=fp16", "precision=fp16"]])
def test_a_group_is_chosen_of_once(twice):
    with pytest.raises(OverrideError, match=f"{twice[0]} and {twice[1]}: a job has one {twice[0].partition('=')[0]}"):
        check(["force=true", *twice])


def test_what_exists_passes():
    check(
        [
            "model=hifigan", "precision=fp32,fp16", "upsampler=native", "shape.frames=128", "tracking.uri=http://x:1",
            "checkpoint=vctk_hifigan_v2", "checkpoint.source=/a/b", "gates.limits.fp16.snr_db=50", "force=true",
            "gates.limits.fp16_onnx.window_drop_db=5", "gates.limits.fp16.components.flow=50",
            "hydra.verbose=true", "++measure.threads=1", "output=x",
        ]
    )  # fmt: skip


def test_every_group_and_every_setting_is_known():
    groups = group_choices()
    assert {"fp16", "fp32", "int8", "mixed", "palette4", "palette6"} <= set(groups["precision"])
    assert "ljspeech_hifigan_v2" in groups["checkpoint"]
    names = settings()
    assert {"shape.frames", "measure.bench_seconds", "tracking.uri", "gates.limits.*.snr_db"} <= set(names)


@pytest.mark.parametrize("key", ["checkpoint.source", "++output", "model.parts.pitch.checkpoint.source"])
@pytest.mark.parametrize(
    "value",
    [*(f"/a{character}b" for character in " (,='~#%&@+é![{:;\"\\🎤"), "~/x", "[a", "a\\", "a\\'b", "007", "it's"],
)
def test_a_setting_of_text_takes_any_path_letter_by_letter(key, value):
    (text,) = as_text([f"{key}={value}"])
    assert _read(text) == value
    check([text])


@pytest.mark.parametrize(
    ("text", "is_sweep", "value"),
    [
        ("checkpoint.source='/a b'", False, "/a b"),
        ("tracking.uri=null", False, None),
        ("tracking.uri=http://${oc.env:NAME}@x", False, "http://${oc.env:NAME}@x"),
        ("goldens.clips=[a.wav,b.wav]", False, ["a.wav", "b.wav"]),
        ("goldens.clips=[~/é (1).wav, 'a,b.wav']", False, ["~/é (1).wav", "a,b.wav"]),
        ("shape.frames=64", False, 64),
        ("output=/a,/é", True, "/a,/é"),
    ],
)
def test_what_hydra_reads_as_it_stands_is_left_to_it(text, is_sweep, value):
    assert _read(as_text([text], is_sweep)[0]) == value


def test_a_sweep_over_texts_stays_one():
    assert as_text(["-m", "output=a,b", "shape.frames=8,9"], is_sweep=True) == ["-m", "output=a,b", "shape.frames=8,9"]


def _read(text):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_override(text).value()
