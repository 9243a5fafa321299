"""WaveRNN, random weights (parity only), against coqui-tts's own inference from the same noise; in folds; and through
the job. Samples of a narrow one, and in `make proof` of the published width."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from checkpoints import CheckpointError
from checkpoints.load import LoadedCheckpoint
from converters.families import wavernn
from converters.goldens import run_original
from converters.options import Shape
from converters.upstream.coqui import import_coqui
from runtime.engines import Execution
from runtime.playing.player import open_player
from runtime.playing.sampling import Sampling, fold_spans, folded
from runtime.speech.mel import Mel, with_noise

NARROW = {"rnn_dims": 48, "fc_dims": 48, "compute_dims": 16, "res_out_dims": 32, "num_res_blocks": 2}
PUBLISHED = {"rnn_dims": 512, "fc_dims": 512, "compute_dims": 128, "res_out_dims": 128, "num_res_blocks": 10}
AUDIO = {"sample_rate": 16000, "fft_size": 800, "win_length": 800, "hop_length": 200, "num_mels": 80}


def coqui_wavernn(mode, **settings):
    """coqui-tts's own model and its config, with statistics and weights that matter."""
    config = import_coqui("TTS.vocoder.configs.wavernn_config").WavernnConfig()
    config.audio.hop_length = 200
    for name, value in {"upsample_factors": [5, 5, 8], "mode": mode, **NARROW, **settings}.items():
        setattr(config.model_args, name, value)
    torch.manual_seed(0)
    model = import_coqui("TTS.vocoder.models.wavernn").Wavernn(config)
    with torch.no_grad():
        model.fc3.weight.mul_(6)  # so that a sample follows from what came before, not from its noise alone
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm1d):
                layer.running_mean.normal_(std=0.3)
                layer.running_var.uniform_(0.5, 2.0)
            if isinstance(layer, torch.nn.Conv2d):
                layer.weight.normal_(std=0.3)
    return model.eval(), {"model": "wavernn", "model_args": json.loads(config.model_args.to_json()), "audio": AUDIO}


def loaded(checkpoint, model, config):
    located = dataclasses.replace(checkpoint.located, name="mine", family="wavernn", config=config)
    return LoadedCheckpoint(located, {key: value.detach() for key, value in model.state_dict().items()})


def parts(checkpoint, model, config):
    saved = loaded(checkpoint, model, config)
    return wavernn.components(wavernn.load(saved), saved, Shape())


def sampled(upsample, block, mel):
    sampling = Sampling(lambda inputs: run_original(block, inputs), upsample.sampler)
    conditioning = run_original(upsample, {"mel": mel})["conditioning"]
    pieces = [sampling.push(part) for part in np.array_split(conditioning, 7, axis=2)] + [sampling.flush()]
    return np.concatenate(pieces, axis=2).ravel()


@pytest.mark.parametrize(
    ("mode", "settings", "frames"),
    [
        (9, {}, 3),
        (10, {"mulaw": False, "use_aux_net": False}, 3),
        ("mold", {}, 3),
        ("gauss", {}, 3),
        pytest.param(9, PUBLISHED, 41, marks=pytest.mark.proof),  # 8,200 samples
        pytest.param(10, {"mulaw": False, "use_aux_net": False, **PUBLISHED}, 4, marks=pytest.mark.proof),
        pytest.param("mold", PUBLISHED, 6, marks=pytest.mark.proof),
        pytest.param("gauss", PUBLISHED, 6, marks=pytest.mark.proof),
    ],
)
def test_samples_equal_coqui_s_inference(checkpoint, mode, settings, frames, monkeypatch):
    model, config = coqui_wavernn(mode, **settings)
    upsample, block = parts(checkpoint, model, config)
    mel = np.random.default_rng(0).standard_normal((1, 80, frames)).astype(np.float32)
    given = with_noise(mel, upsample.features)
    draws = upsample.features.noise_rows // 200
    noise = given[0, 80:].reshape(draws, 200, frames).transpose(2, 1, 0).reshape(-1, draws)
    left = [torch.from_numpy(row.copy()) for row in noise]
    ours = sampled(upsample, block, given)

    class Categorical:
        def __init__(self, posterior):
            self.posterior = posterior

        def sample(self):
            passed = torch.cumsum(self.posterior.double(), 1)[:, :-1] < torch.sigmoid(left.pop(0).double())
            return passed.sum(1)

    own = next(layer for layer in block.module.modules() if isinstance(layer, wavernn.Block))

    def drawn(parameters):  # (1, C, 1), as upstream hands it over
        row = left.pop(0)[None]
        return own.drawn(parameters.reshape(1, -1), row)

    module = import_coqui("TTS.vocoder.models.wavernn")
    with monkeypatch.context() as patched:
        patched.setattr(torch.distributions, "Categorical", Categorical)
        patched.setattr(module, "sample_from_discretized_mix_logistic", drawn)
        patched.setattr(module, "sample_from_gaussian", drawn)
        patched.setattr(model, "gen_display", lambda *_: None)
        theirs = np.asarray(model.inference(torch.from_numpy(mel)[0]))
    # upstream leaves out the last frame, and fades the last twenty out where there are more
    count = len(theirs) if frames <= 21 else len(theirs) - 20 * 200
    assert len(ours) == frames * 200 and ours[:count].std() > 0.05
    np.testing.assert_allclose(ours[:count], theirs[:count], atol=2e-3)
    if frames > 21:
        fade = np.linspace(1, 0, 20 * 200)
        np.testing.assert_allclose(ours[count : count + len(fade)] * fade, theirs[count:], atol=2e-3)


@pytest.mark.parametrize("mode", ["mold", "gauss", 9])
def test_draws_have_upstream_s_distribution(checkpoint, mode):
    """By the greatest distance of two empirical distributions (Kolmogorov and Smirnov)."""
    _, block = parts(checkpoint, *coqui_wavernn(mode))
    random = np.random.default_rng(0)
    parameters = torch.from_numpy(random.normal(0, 1, block.module.last.out_features).astype(np.float32))
    if mode == "mold":
        parameters[20:] -= 3  # narrow enough for the mixture to show
    count = 20000
    many = parameters.expand(count, -1)
    kind = random.standard_normal if mode == "gauss" else lambda size: random.logistic(size=size)
    ours = block.module.drawn(many, torch.from_numpy(kind((count, 2)).astype(np.float32))).ravel().numpy()
    distribution = import_coqui("TTS.vocoder.utils.distribution")
    torch.manual_seed(0)
    if mode == "mold":
        theirs = distribution.sample_from_discretized_mix_logistic(many.T[None])
    elif mode == "gauss":
        theirs = distribution.sample_from_gaussian(many[None])
    else:
        theirs = 2 * torch.distributions.Categorical(torch.softmax(many, 1)).sample() / 511 - 1
    grid = np.linspace(-1, 1, 513)
    below = [np.searchsorted(np.sort(np.asarray(values).ravel()), grid) / count for values in (ours, theirs)]
    assert np.abs(below[0] - below[1]).max() < 1.95 * np.sqrt(2 / count)  # p = 0.001


def test_emphasis_is_undone_across_blocks(checkpoint):
    """Real-Time-Voice-Cloning has no config; its audio is filtered, which one recursion undoes."""
    model, config = coqui_wavernn(9, **PUBLISHED)
    plain = parts(checkpoint, model, config)
    saved = loaded(checkpoint, model, {"audio": {**AUDIO, "preemphasis": 0.97}})
    filtered = wavernn.components(wavernn.load(saved), saved, Shape())
    mel = with_noise(np.random.default_rng(0).standard_normal((1, 80, 1)).astype(np.float32), plain[0].features)
    wanted, last = [], 0.0
    for sample in sampled(*plain, mel):
        last = sample + 0.97 * last
        wanted.append(last)
    np.testing.assert_allclose(sampled(*filtered, mel), wanted, atol=2e-4)


@pytest.mark.parametrize("remembers", [False, pytest.param(True, marks=pytest.mark.proof)])
def test_folds_meet_where_the_network_has_forgotten_how_it_began(checkpoint, remembers):
    model, config = coqui_wavernn(9, **PUBLISHED)  # a narrow one of drawn weights forgets less
    if remembers:
        with torch.no_grad():
            for rnn in (model.rnn1, model.rnn2):
                rnn.weight_hh_l0.mul_(4)
                rnn.bias_ih_l0[512:1024].add_(3)
    upsample, block = parts(checkpoint, model, config)
    mel = with_noise(np.random.default_rng(0).standard_normal((1, 80, 8)).astype(np.float32), upsample.features)
    conditioning = run_original(upsample, {"mel": mel})["conditioning"]
    whole = sampled(upsample, block, mel)
    calls = []

    def run(inputs):
        calls.append(len(inputs["carried"]))
        return run_original(block, inputs)

    made = folded(run, upsample.sampler, conditioning, 500, 50).ravel()
    starts, length = fold_spans(1600, 500, 50, 8)
    assert starts == [index * 194 for index in range(8)] and starts[-1] + length >= 1600
    assert made.shape == whole.shape and set(calls) == {8} and len(calls) == -(-length // upsample.sampler.samples)
    apart = np.abs(made - whole)
    assert apart[:194].max() < 1e-5 and (apart[194:].max() > 1e-3) == remembers
    one = folded(run, upsample.sampler, conditioning[..., :150], 500, 50).ravel()
    np.testing.assert_allclose(one, whole[:150], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"mode": "laplace"}, "no mode 'laplace'; there is: mold, gauss, a number of bits"),
        ({"use_upsample_net": False}, "depends on the utterance's length"),
        ({"upsample_factors": [4, 8, 8]}, "do not make the hop_length 200"),
        ({"feat_dims": 40}, "feat_dims is 40, its audio config has 80 bands"),
        ({"rnn_dims": 96}, "mine"),
    ],
)
def test_a_config_that_does_not_fit_is_a_sentence(checkpoint, change, sentence):
    model, config = coqui_wavernn(9)
    with pytest.raises(CheckpointError, match=sentence):
        parts(checkpoint, model, {**config, "model_args": {**config["model_args"], **change}})


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    """Somebody's own files of a narrow network that makes two samples a call, to be quick."""
    folder = tmp_path_factory.mktemp("narrow")
    config = import_coqui("TTS.vocoder.configs.wavernn_config").WavernnConfig()
    config.audio.hop_length = 74
    small = {"rnn_dims": 16, "fc_dims": 16, "compute_dims": 8, "res_out_dims": 8, "num_res_blocks": 1}
    for name, value in {"upsample_factors": [2, 37], "mode": 9, **small}.items():
        setattr(config.model_args, name, value)
    torch.manual_seed(0)
    model = import_coqui("TTS.vocoder.models.wavernn").Wavernn(config)
    torch.save({"model": model.state_dict()}, folder / "narrow.pth")
    args = json.loads(config.model_args.to_json())
    described = {"model": "wavernn", "model_args": args, "audio": {**AUDIO, "hop_length": 74}}
    (folder / "config.json").write_text(json.dumps(described))
    return folder


@pytest.mark.proof
def test_an_offline_artefact_is_judged_by_a_whole_window_of_samples(own_job, narrow):
    outcome = own_job(
        "model=wavernn", f"checkpoint.source={narrow}", "stream=offline", "precision=fp32", "measure.engines=[onnx]",
        "measure.bench_seconds=0",
    )  # fmt: skip
    assert outcome.passed
    for case in outcome.bundle.goldens(outcome.bundle.main):
        assert case.outputs["audio"].shape == (1, 1, 64 * 74) and case.inputs["mel"].shape[2] == 64


@pytest.mark.proof
def test_the_job_converts_streams_and_folds_it(own_job, narrow):
    outcome = own_job(
        "model=wavernn", f"checkpoint.source={narrow}", "precision=fp32", "measure.engines=[onnx]",
        "measure.bench_seconds=0",
    )  # fmt: skip
    assert outcome.passed and outcome.measurements[0].worst.agreement.snr_db > 60
    assert {row.component for row in outcome.measurements[0].rows} == {"block"}
    streams_and_folds(outcome.bundle, 74)


@pytest.mark.proof
def test_the_job_does_so_at_the_published_width(own_job):
    """9,600 samples a clip."""
    outcome = own_job(
        "model=wavernn", "checkpoint.source=random", "precision=fp32", "measure.engines=[onnx]",
        "measure.bench_seconds=0",
    )  # fmt: skip
    (measurement,) = outcome.measurements
    assert outcome.passed and "random weights of rtvc_vocoder_random: parity only" in outcome.bundle.manifest.notes
    assert measurement.worst.agreement.snr_db > 60 and min(clip.seconds for clip in measurement.clips) == 0.6
    streams_and_folds(outcome.bundle, 200)


def streams_and_folds(bundle, hop):
    """In a runtime that knows nothing of coqui-tts: live, in chunks, and side by side."""
    record = bundle.main
    player = open_player(bundle, Execution("onnx"))
    case = bundle.goldens(record)[0]
    mel = case.inputs["mel"][..., :12]
    whole = player.play(mel)
    # the network sees two frames ahead, which there are no longer
    np.testing.assert_allclose(whole.ravel()[: 10 * hop], case.outputs["audio"].ravel()[: 10 * hop], atol=1e-4)
    stream = player.stream()
    pieces = [stream.push({"mel": mel[..., :5]})["audio"], stream.push({"mel": mel[..., 5:]})["audio"]]
    pieces.append(stream.flush()["audio"])
    np.testing.assert_array_equal(np.concatenate(pieces, axis=2), whole)
    stream.reset()
    np.testing.assert_array_equal(stream.push({"mel": mel})["audio"], np.concatenate(pieces[:2], axis=2))
    assert open_player(bundle, Execution("onnx"), mode="fold").play(mel).shape == whole.shape
    reference = open_player(bundle, Execution("torch"))
    np.testing.assert_allclose(reference.play(mel).ravel(), whole.ravel(), atol=1e-4)


def test_noise_of_a_sampler_is_logistic():
    given = with_noise(np.zeros((1, 80, 64), np.float32), Mel(noise_rows=200, noise="logistic"))[0, 80:]
    uniform = 1 / (1 + np.exp(-given))
    assert abs(uniform.mean() - 0.5) < 0.01 and abs(uniform.std() - 12**-0.5) < 0.01
