import pytest

from convert.overrides import OverrideError, check, group_choices
from convert.schema import setting_names


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("modle=hifigan", "there is no setting 'modle': did you mean 'model'"),
        ("model=hifgan", "there is no model 'hifgan': did you mean 'hifigan'.*choices: fast_pitch, .*hifigan, .*vits"),
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
    ],
)
def test_every_misspelling_ends_in_a_sentence_with_the_nearest_name(override, sentence):
    with pytest.raises(OverrideError, match=sentence):
        check([override])


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
    names = setting_names()
    assert {"shape.frames", "measure.bench_seconds", "tracking.uri", "gates.limits.*.snr_db"} <= set(names)
