"""Real-Time-Voice-Cloning's synthesizer at its published width, random weights (parity only), against its layers run as
upstream runs them: bidirectional GRUs, dropout, a maximum pool and cells of PyTorch's own."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from checkpoints import CheckpointError
from checkpoints.front_ends import rtvc_text
from checkpoints.load import LoadedCheckpoint
from converters.families import rtvc_tacotron
from converters.goldens import run_original
from converters.options import Shape
from runtime.bundle.spec import taken
from runtime.playing.chains import Request, utter
from runtime.speech.text import read
from tests.converters.voices import padded_equals_unpadded

RTVC_MEL = {
    "sample_rate": 16000, "fft_size": 800, "win_length": 800, "hop_length": 200, "num_mels": 80, "mel_fmin": 55,
    "mel_fmax": 7600, "preemphasis": 0.97,
}  # fmt: skip
FRAMES = 120  # of an utterance


def drawn():
    """Weights that do not stop by themselves and whose statistics matter."""
    settings = rtvc_tacotron.RtvcSettings()
    torch.manual_seed(0)
    model = rtvc_tacotron.Tacotron(settings, rtvc_tacotron.Mel(), 66)
    with torch.no_grad():
        model.decoder["stop_proj"].bias.fill_(-8)
        model.decoder["attn_net"].v.weight.mul_(6)  # so that attention and frames move
        model.decoder["mel_proj"].weight.mul_(6)
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm1d):
                layer.running_mean.normal_(std=0.3)
                layer.running_var.uniform_(0.5, 2.0)
    return model.eval()


def loaded(checkpoint, model, r=2, **config):
    located = dataclasses.replace(
        checkpoint.located,
        name="mine",
        family="rtvc_tacotron",
        config={"audio": RTVC_MEL, "max_frames": FRAMES, **config},
    )
    weights = {key: value.detach() for key, value in model.state_dict().items()}
    return LoadedCheckpoint(located, {**weights, "decoder.r": torch.tensor(r)})


@pytest.fixture(scope="module")
def made(checkpoint):
    """(the model, our module, our components by name)"""
    model = drawn()
    saved = loaded(checkpoint, model)
    module = rtvc_tacotron.load(saved)
    return model, module, {part.name: part for part in rtvc_tacotron.components(module, saved, Shape())}


def runner(components):
    return lambda name, inputs: run_original(components[name], taken(components[name].inputs, inputs))


def cbhg(layers, x):
    """x (1, C, T) -> (1, T, 2 H)."""
    length = x.shape[2]
    bank = torch.cat([layer.bnorm(F.relu(layer.conv(x)))[..., :length] for layer in layers.conv1d_bank], 1)
    y = torch.nn.MaxPool1d(2, 1, 1)(bank)[..., :length]
    y = layers.conv_project1.bnorm(F.relu(layers.conv_project1.conv(y)))
    y = layers.conv_project2.bnorm(layers.conv_project2.conv(y))
    y = (y + x).transpose(1, 2)
    y = layers.pre_highway(y) if hasattr(layers, "pre_highway") else y
    for highway in layers.highways:
        opened = torch.sigmoid(highway.W2(y))
        y = opened * F.relu(highway.W1(y)) + (1 - opened) * y
    return layers.rnn(y)[0]


def generate(model, ids, speaker, steps, seed, frames_per_step):
    """The published inference, of one utterance; the same coins for dropout as the runtime's."""
    random = np.random.default_rng(seed)

    def prenet(layers, x):
        masks = torch.from_numpy(2.0 * random.integers(0, 2, (1, 2, *x.shape[1:-1], layers.fc1.out_features))).float()
        for index, layer in enumerate((layers.fc1, layers.fc2)):
            x = F.relu(layer(x)) * masks[:, index]
        return x

    encoder, decoder = model.encoder, model.decoder
    x = prenet(encoder["pre_net"], encoder["embedding"](torch.from_numpy(ids)[None])).transpose(1, 2)
    x = cbhg(encoder["cbhg"], x)
    memory = torch.cat([x, torch.from_numpy(speaker)[None, None].expand(1, x.shape[1], -1)], 2)
    keys = model.encoder_proj(memory)
    query, context = torch.zeros(1, 128), torch.zeros(1, 512)
    hidden, cells = [torch.zeros(1, 1024)] * 2, [torch.zeros(1, 1024)] * 2
    frame, so_far, frames, attended = torch.zeros(1, 80), torch.zeros(1, len(ids)), [], []
    for _ in range(steps):
        query = decoder["attn_rnn"](torch.cat([context, prenet(decoder["prenet"], frame)], 1), query)
        attention = decoder["attn_net"]
        located = attention.L(attention.conv(so_far[:, None]).transpose(1, 2))
        scores = attention.v(torch.tanh(attention.W(query)[:, None] + keys + located))[..., 0].softmax(1)
        so_far = so_far + scores
        context = (scores[:, None] @ memory)[:, 0]
        y = decoder["rnn_input"](torch.cat([context, query], 1))
        for index, name in enumerate(("res_rnn1", "res_rnn2")):
            hidden[index], cells[index] = decoder[name](y, (hidden[index], cells[index]))
            y = y + hidden[index]
        mels = decoder["mel_proj"](y).view(1, 80, 20)[..., :frames_per_step]
        frame = mels[..., -1]
        frames.append(mels)
        attended.append(scores[0].numpy())
    return model.post_proj(cbhg(model.postnet, torch.cat(frames, 2))).transpose(1, 2).numpy(), np.stack(attended)


def speaker():
    vector = np.abs(np.random.default_rng(3).standard_normal(256)).astype(np.float32)
    return vector / np.linalg.norm(vector)


def test_whole_utterances_equal_the_published_inference(made):
    """Two frames a step."""
    model, module, components = made
    record, ids = rtvc_tacotron.voice(module), np.random.default_rng(1).integers(2, 66, 31)
    utterance = utter(record, runner(components), Request(ids, 5, speaker()))
    with torch.no_grad():
        wanted, attended = generate(model, ids, speaker(), FRAMES // 2, 5, 2)
    assert utterance.frames.shape == wanted.shape == (1, 80, FRAMES) and utterance.durations.sum() == FRAMES
    assert float(wanted.std(2).mean()) > 1e-3, "frames that are all alike would prove nothing"
    np.testing.assert_allclose(utterance.frames, wanted, atol=2e-3 * float(np.abs(wanted).max()))
    peaks = np.bincount(attended.argmax(1), minlength=31) * 2
    assert np.abs(utterance.durations - peaks).sum() <= 4 and np.count_nonzero(peaks) > 1


def test_padded_and_unpadded_results_are_equal(made):
    _, _, components = made
    turned = {"backward": lambda length: np.arange(length)[::-1]}
    for name in ("encoder", "postnet"):
        padded_equals_unpadded(components[name], 17, 40, turned)
    alignment = np.random.default_rng(0).dirichlet(np.ones(17), (1, 2)).astype(np.float32)
    padded_equals_unpadded(components["decoder_step"], 17, 40, {"alignment": lambda length: alignment})


def test_it_ends_after_ten_frames_and_where_it_is_silent(checkpoint):
    model = drawn()
    with torch.no_grad():
        model.decoder["stop_proj"].bias.fill_(8)
    saved = loaded(checkpoint, model, r=3)
    module = rtvc_tacotron.load(saved)
    components = {part.name: part for part in rtvc_tacotron.components(module, saved, Shape())}
    record, request = rtvc_tacotron.voice(module), Request(np.arange(2, 9), 0, speaker())
    whole = utter(record, runner(components), request).frames
    assert whole.shape[2] == 15, "the first step that begins beyond ten frames"
    loudest = whole[0].max(0)
    level = float(np.sort(loudest)[-3]) - 1e-6  # three frames are above it
    silent = dataclasses.replace(record, attending=dataclasses.replace(record.attending, silence=level))
    kept = utter(silent, runner(components), request).frames
    assert kept.shape[2] == np.flatnonzero(loudest >= level)[-1] + 1
    never = dataclasses.replace(record, attending=dataclasses.replace(record.attending, silence=1e9))
    assert utter(never, runner(components), request).frames.shape[2] == 1


def test_it_reads_letters():
    assert read("Hi, it's 5!", rtvc_text()).ids == (35, 36, 59, 65, 36, 47, 55, 46, 65, 33, 36, 49, 32, 54, 1)


def test_an_encoder_of_another_size_is_refused(made, checkpoint):
    from converters.families import ge2e
    from converters.options import ConversionError
    from converters.voices import join

    located = dataclasses.replace(checkpoint.located, name="mine", family="ge2e", weights=None, config={"audio": {}})
    saved = LoadedCheckpoint(located, {})
    (encoder,) = ge2e.components(ge2e.load(saved), saved, Shape())
    record = rtvc_tacotron.voice(made[1])
    voice, (renamed,) = join("speaker_encoder", record, (encoder,))
    assert voice.speaker_encoder == renamed.name == "speaker_encoder"
    with pytest.raises(ConversionError, match="have 256 values: the voice takes 512"):
        join("speaker_encoder", dataclasses.replace(record, embedding_channels=512), (encoder,))
    with pytest.raises(ConversionError, match="the voice has speakers of its own"):
        join("speaker_encoder", dataclasses.replace(record, embedding_channels=0), (encoder,))


@pytest.mark.proof
def test_three_models_are_one_voice_that_speaks_as_a_recording(own_job, tmp_path):
    from runtime.__main__ import main
    from runtime.speech.clips import clip_paths

    drawn = [f"{part}checkpoint.source=random" for part in ("", "model.parts.vocoder.", "model.parts.speaker_encoder.")]
    outcome = own_job("model=sv2tts", *drawn, "precision=fp32", "format=onnx", "measure.bench_seconds=0")
    assert outcome.passed and outcome.bundle.manifest.voice.speaker_encoder == "speaker_encoder"
    assert {row.component for row in outcome.measurements[0].rows} == {
        "encoder", "decoder_step", "postnet", "upsample", "block", "speaker_encoder",
    }  # fmt: skip
    given = ["speak", "Hello.", str(tmp_path / "said.wav"), "--voice", str(outcome.bundle.path), "--fold"]
    assert main([*given, "--speaker", str(clip_paths()[0])]) == 0 and (tmp_path / "said.wav").stat().st_size > 100_000
    assert main(given) == 2
    assert main([*given, "--speaker", "nobody.wav"]) == 2


def test_a_checkpoint_that_does_not_fit_is_a_sentence(checkpoint):
    model = drawn()
    with pytest.raises(CheckpointError, match=r"decoder\.r is 21, not 1 to 20"):
        rtvc_tacotron.load(loaded(checkpoint, model, r=21))
    with pytest.raises(CheckpointError, match="mine"):
        rtvc_tacotron.load(loaded(checkpoint, model, tts_encoder_K=16))
