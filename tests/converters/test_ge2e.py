"""Speaker encoders at their published architectures (random weights: parity only) against upstream's own code."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from checkpoints import CheckpointError
from checkpoints.load import LoadedCheckpoint
from converters.families import ge2e
from converters.options import ConversionError, Shape
from converters.upstream.coqui import import_coqui
from runtime.engines import Execution
from runtime.playing.embed import SpeakerEmbedder
from runtime.playing.sizes import open_sized
from runtime.speech.clips import clip_paths
from runtime.speech.speaker import cosine, partials, speaker_mel
from tests.converters.voices import encoder_outcome, write_encoder
from tests.small import CLIPS

RESNET = {
    "model_name": "resnet", "input_dim": 64, "proj_dim": 512, "log_input": True, "use_torch_spec": True,
}  # fmt: skip
LSTM = {"model_name": "lstm", "input_dim": 80, "proj_dim": 256, "lstm_dim": 768, "num_lstm_layers": 3}
SPECTRUM = {
    "sample_rate": 16000, "fft_size": 512, "win_length": 400, "hop_length": 160, "num_mels": 64, "preemphasis": 0.97,
}  # fmt: skip
LOG_MEL = {
    "sample_rate": 16000, "fft_size": 1024, "win_length": 1024, "hop_length": 256, "num_mels": 80, "preemphasis": 0.98,
    "ref_level_db": 20, "min_level_db": -100, "signal_norm": True, "symmetric_norm": True, "max_norm": 4.0,
}  # fmt: skip


def rtvc_weights():
    torch.manual_seed(0)
    return ge2e.RTVCEncoder(40).state_dict()


def loaded(checkpoint, weights, config=None):
    located = dataclasses.replace(checkpoint.located, name="random", family="ge2e", config=config or {"audio": {}})
    return LoadedCheckpoint(located, weights)


def coqui(checkpoint, settings, audio):
    """(upstream's module with random weights, its checkpoint)."""
    torch.manual_seed(0)
    arguments = {key: value for key, value in settings.items() if key != "model_name"}
    file, name = ("resnet", "ResNet") if settings["model_name"] == "resnet" else ("lstm", "LSTM")
    upstream = getattr(import_coqui(f"TTS.encoder.models.{file}"), f"{name}SpeakerEncoder")
    module = upstream(**arguments, audio_config=audio).eval()
    for name, buffer in module.named_buffers():  # batch norms as after training
        if "running_" in name:
            buffer.uniform_(0.5, 1.5)
    weights = {key: value for key, value in module.state_dict().items() if not key.startswith("torch_spec.")}
    return module, loaded(checkpoint, weights, {"model_params": settings, "audio": audio})


def test_rtvc_s_architecture_has_its_published_size_and_unit_embeddings(checkpoint):
    loaded_one = loaded(checkpoint, rtvc_weights())
    module = ge2e.load(loaded_one)
    (component,) = ge2e.components(module, loaded_one, Shape())
    assert sum(parameter.numel() for parameter in module.parameters()) == 1_423_616
    assert (component.features.kind, component.sizes) == ("speaker_mel", (1, 3, 9))
    embeddings = module(torch.rand(3, 160, 40))
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(3), atol=1e-3, rtol=0)
    assert (embeddings >= 0).all(), "behind a ReLU"
    # the last layer's last hidden state, step by step
    output, _ = module.lstm(torch.rand(1, 160, 40, generator=torch.Generator().manual_seed(3)))
    raw = torch.relu(module.linear(output[:, -1]))
    again = module(torch.rand(1, 160, 40, generator=torch.Generator().manual_seed(3)))
    torch.testing.assert_close(again, raw / (raw.norm(dim=1, keepdim=True) + 1e-5))


@pytest.mark.parametrize(("settings", "audio"), [(RESNET, SPECTRUM), (LSTM, LOG_MEL)])
def test_coqui_s_encoders_embed_as_upstream_s_compute_embedding(checkpoint, settings, audio):
    upstream, saved = coqui(checkpoint, settings, audio)
    module = ge2e.load(saved)
    (component,) = ge2e.components(module, saved, Shape())
    samples = torch.randn(1, 16000 * 6, generator=torch.Generator().manual_seed(0)) * 0.05
    if settings.get("use_torch_spec"):
        spectrum = upstream.torch_spec(samples)[0].T.numpy()
        ours = speaker_mel(samples[0].numpy(), component.features)
        np.testing.assert_allclose(ours, spectrum, rtol=2e-4, atol=1e-6 * spectrum.max())
    windows = torch.from_numpy(partials(samples[0].numpy(), component.features))
    assert windows.shape == (10, 250, component.features.n_mels)
    windows = windows[::4]  # three: each is embedded by itself
    upstream.use_torch_spec = False  # the windows are of the spectrum
    with torch.inference_mode():
        torch.testing.assert_close(module(windows), upstream.inference(windows.transpose(1, 2).clone()))


def test_configs_that_do_not_fit_are_sentences(checkpoint):
    with pytest.raises(CheckpointError, match="no speaker encoder 'transformer'; there is: lstm, resnet"):
        ge2e.load(loaded(checkpoint, {}, {"model_params": {"model_name": "transformer"}, "audio": {}}))
    with pytest.raises(CheckpointError, match="model_params do not fit"):
        ge2e.load(loaded(checkpoint, {}, {"model_params": {"model_name": "lstm", "depth": 3}, "audio": {}}))
    with pytest.raises(CheckpointError, match="does not hold the weights"):
        ge2e.load(loaded(checkpoint, {"lstm.weight_ih_l0": torch.zeros(1)}))
    saved = loaded(checkpoint, rtvc_weights())
    with pytest.raises(ConversionError, match="windows of a fixed length"):
        ge2e.components(ge2e.load(saved), saved, Shape(64, 8, 64))


# -------------------------------------------------------------------------------------------------- the job, end to end


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_encoder(tmp_path_factory)


@pytest.fixture(scope="module")
def encoder(own_job, source):
    return encoder_outcome(source, own_job)


def test_the_job_makes_a_function_per_batch_over_the_same_weights(encoder):
    assert encoder.passed
    record = encoder.bundle.component()
    assert record.sizes == {1: "size1", 3: "size3", 9: "size9"}
    assert encoder.bundle.artefact_bytes < 1.1 * 2 * 1_423_616 + 100_000, "weights stand there once"
    mil, onnx = encoder.measurements
    for measurement in (mil, onnx):
        assert len(measurement.rows) == CLIPS
        assert min(row.cosine for row in measurement.rows) > 0.9999
        assert not measurement.clips
    assert [call.rows for call in onnx.calls] == [1, 3, 9]
    assert mil.calls == ()
    assert "cosine to PyTorch, worst case" in (encoder.bundle.measured / "report.html").read_text()


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 9, 14])
def test_any_number_of_windows_goes_through_the_fixed_batches(encoder, rows):
    mels = np.random.default_rng(0).random((rows, 160, 40), np.float32)
    batched = open_sized(encoder.bundle.path, Execution("onnx"))
    wanted = open_sized(encoder.bundle.path, Execution("torch")).run({"mels": mels})["embeddings"]
    got = batched.run({"mels": mels})["embeddings"]
    assert got.shape == (rows, 256)
    assert min(cosine(one, other) for one, other in zip(got, wanted)) > 0.9999
    assert [batched.size_for(n) for n in (1, 2, 3, 8, 9, 20)] == [1, 1, 3, 3, 9, 9]


@pytest.mark.proof
def test_a_format_of_one_function_has_a_free_axis_or_one_row(own_job, source):
    onnx = own_job("model=ge2e", f"checkpoint.source={source}", "format=onnx", "measure.bench_seconds=0")
    assert onnx.passed and onnx.bundle.component().sizes == {}
    old = own_job("model=ge2e", f"checkpoint.source={source}", "format.target=macOS14", "measure.bench_seconds=0")
    assert old.passed and old.bundle.component().sizes == {1: ""}


def test_embed_on_the_command_line(encoder, tmp_path, capsys):
    from runtime.__main__ import main

    clips = [str(path) for path in clip_paths()[:2]]
    assert (
        main(["embed", *clips, "--bundle", str(encoder.bundle.path), "--out", str(tmp_path / "e.npy"), "--json"]) == 0
    )
    rows = json.loads(capsys.readouterr().out)
    first = np.array(rows[clips[0]]["embedding"])
    assert abs(np.linalg.norm(first) - 1) < 1e-5
    np.testing.assert_allclose(np.load(tmp_path / "e.npy")[0], first, rtol=1e-6)
    assert rows[clips[0]]["cosine_to_first"] == 1.0
    assert main(["embed", "/nowhere.wav", "--bundle", str(encoder.bundle.path)]) == 2
    assert "there is no audio file" in capsys.readouterr().err


def test_a_bundle_without_an_encoder_is_a_sentence(fp16, capsys):
    from runtime.__main__ import main

    assert main(["embed", str(clip_paths()[0]), "--bundle", str(fp16.bundle.path)]) == 2
    assert "has no speaker encoder: convert one with model=ge2e" in capsys.readouterr().err


def test_nothing_of_the_converter_is_needed_to_embed(encoder):
    """From the saved bundle, in a process where importing coqui-tts, MLflow and Hydra fails."""
    import subprocess
    import sys

    program = f"""
import sys
for name in ("TTS", "mlflow", "hydra"):
    sys.modules[name] = None
from runtime.__main__ import main
sys.exit(main(["embed", {str(clip_paths()[0])!r}, "--bundle", {str(encoder.bundle.path)!r}]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_reference_and_the_embedder_agree(encoder):
    reference = SpeakerEmbedder(encoder.bundle.path, Execution("torch")).embed_file(clip_paths()[0])
    artefact = SpeakerEmbedder(encoder.bundle.path, Execution("mil")).embed_file(clip_paths()[0])
    assert reference.partials == artefact.partials > 1
    assert cosine(reference.vector, artefact.vector) > 0.9999
