import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import conf
from convert.overrides import group_choices
from convert.schema import Job, register
from converters.options import ConversionError


def composed(*overrides: str) -> Job:
    register()
    with initialize_config_dir(config_dir=str(Path(conf.__file__).parent), version_base="1.3"):
        job = OmegaConf.to_object(compose("config", overrides=list(overrides)))
    assert isinstance(job, Job)
    return job


def _choices_together() -> list[list[str]]:
    """Every choice of every group: those of checkpoints and gates, which look at no other, beside one of the others."""
    choices = {group: [f"{group}={name}" for name in names] for group, names in group_choices().items()}
    alone = [choices.pop(group) for group in ("checkpoint", "gates")]
    return [list(filter(None, row)) for row in itertools.zip_longest(itertools.chain(*choices.values()), *alone)]


@pytest.mark.parametrize("choices", _choices_together(), ids=",".join)
def test_every_choice_of_every_group_composes_into_the_schema(choices):
    more = ["format=neuralnetwork"] if "upsampler=metal" in choices else []
    assert composed(*choices, *more).model.family


def test_the_defaults_are_those_of_the_design():
    job = composed()
    assert (job.model.family, job.precision.name, job.format.name) == ("hifigan", "fp16", "mlprogram")
    assert (job.upsampler.name, job.shape.frames, job.format.target) == ("polyphase", 64, "macOS15")
    assert job.shape.frames * 256 <= 16_384, "the Neural Engine of M1 to M3 takes no longer axis"
    assert job.checkpoint.name is None
    assert job.tracking.uri == "sqlite:///mlflow.db"
    assert job.gates.limits["fp32"].snr_db == 100


def test_a_checkpoint_of_the_catalogue_is_a_choice():
    assert composed("checkpoint=vctk_hifigan_v2").checkpoint.name == "vctk_hifigan_v2"


def test_clips_that_cannot_be_judged_on_are_sentences(tmp_path):
    (tmp_path / "text.wav").write_text("no audio")
    (tmp_path / "other").mkdir()
    for name, seconds in {"short.wav": 0.4, "long.wav": 0.5, "other/long.flac": 1}.items():
        soundfile.write(tmp_path / name, np.zeros(int(seconds * 16000)), 16000)
    for clips, sentence in {
        "none.wav": "none.wav: there is no such file",
        "text.wav": "text.wav, which cannot be read as audio",
        "short.wav": "short.wav of 0.40 s: a clip takes at least 0.5 s",
        "long.wav,other/long.flac": "several files called long",
    }.items():
        paths = ",".join(str(tmp_path / clip) for clip in clips.split(","))
        with pytest.raises(ConversionError, match=sentence):
            composed(f"goldens.clips=[{paths}]")
    assert composed(f"goldens.clips=[{tmp_path}/long.wav]").goldens.paths() == [tmp_path / "long.wav"]


def test_what_cannot_go_together_is_refused_before_anything_is_made():
    with pytest.raises(ConversionError, match="a stream's chunk has none: add stream=offline"):
        composed("precision=int8", "format=coreai", "stream=stateful")
    assert composed("precision=int8", "format=coreai").precision.weights == "linear"
