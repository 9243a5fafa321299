"""WaveRNN (Kalchbrenner et al. 2018, arXiv 1802.08435) in fatchord's form, which Real-Time-Voice-Cloning and coqui-tts
have: classes of mu-law, a mixture of logistic distributions or a normal distribution, one sample after another.

Two components. `upsample`: mel -> conditioning, a row per channel and sample, local in time. `block`: the samples of
one block after another within the graph, what they leave behind being handed from call to call; rows of a batch are
utterances, or folds of one (runtime/playing/sampling.py). The noise comes with the mel, in rows below its bands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints import CheckpointError
from checkpoints.coqui_audio import mel_settings
from checkpoints.load import LoadedCheckpoint
from converters.component import Component
from converters.options import Shape
from converters.parts import known_settings, vocoder_component
from converters.upstream.recurrent import gru_cell
from runtime.bundle.sampler import Sampler
from runtime.bundle.spec import Dim, TensorSpec

BATCHES = (1, 8)
LONGEST_BLOCK = 32  # samples: each is some thirty operations of the graph
MIXTURES = 10
LEAST_LOG_SCALE = {"mold": math.log(1e-14), "gauss": -7.0}  # coqui-tts's distribution.py


@dataclass(frozen=True)
class WavernnSettings:
    """Coqui's `model_args`; defaults as in coqui-tts 0.28's WavernnArgs. `mode`: bits of a class, `mold` or `gauss`."""

    rnn_dims: int = 512
    fc_dims: int = 512
    compute_dims: int = 128
    res_out_dims: int = 128
    num_res_blocks: int = 10
    use_aux_net: bool = True
    use_upsample_net: bool = True
    upsample_factors: Sequence[int] = (4, 8, 8)
    mode: int | str = "mold"
    mulaw: bool = True
    pad: int = 2
    feat_dims: int = 80

    @property
    def outputs(self) -> int:
        """The outputs of the last layer: classes, or parameters of the distribution."""
        if isinstance(self.mode, int):
            return 2**self.mode
        return {"mold": 3 * MIXTURES, "gauss": 2}[self.mode]

    @property
    def aux_dims(self) -> int:
        return self.res_out_dims // 4 if self.use_aux_net else 0

    @property
    def draws(self) -> int:
        """Rows of noise for a sample."""
        return 2 if self.mode == "mold" else 1


# Real-Time-Voice-Cloning's vocoder/hparams.py; the checkpoint itself has no config.
RTVC = WavernnSettings(upsample_factors=(5, 5, 8), mode=9)


class Wavernn(nn.Module):
    """Under the names that all three repositories share, so that their checkpoints load.

    `emphasis`: of the filter that is undone at the end (Real-Time-Voice-Cloning does, coqui-tts does not).
    """

    def __init__(self, settings: WavernnSettings, emphasis: float) -> None:
        super().__init__()
        self.settings, self.emphasis = settings, emphasis
        width, aux, inner = settings.rnn_dims, settings.aux_dims, settings.fc_dims
        self.upsample = UpsampleNetwork(settings)
        self.I = nn.Linear(settings.feat_dims + aux + 1, width)
        self.rnn1 = nn.GRU(width, width, batch_first=True)
        self.rnn2 = nn.GRU(width + aux, width, batch_first=True)
        self.fc1 = nn.Linear(width + aux, inner)
        self.fc2 = nn.Linear(inner + aux, inner)
        self.fc3 = nn.Linear(inner, settings.outputs)


class UpsampleNetwork(nn.Module):
    """Keeps the weights: Upsample below computes with them."""

    def __init__(self, settings: WavernnSettings) -> None:
        super().__init__()
        if settings.use_aux_net:
            self.resnet = MelResNet(settings)
        layers: list[nn.Module] = []
        for scale in settings.upsample_factors:
            smoothing = nn.Conv2d(1, 1, (1, 2 * scale + 1), padding=(0, scale), bias=False)
            nn.init.constant_(smoothing.weight, 1 / (2 * scale + 1))
            layers += [nn.Identity(), smoothing]
        self.up_layers = nn.ModuleList(layers)


class MelResNet(nn.Module):
    def __init__(self, settings: WavernnSettings) -> None:
        super().__init__()
        width, pad = settings.compute_dims, settings.pad
        self.conv_in = nn.Conv1d(settings.feat_dims, width, 2 * pad + 1, padding=pad, bias=False)
        self.batch_norm = nn.BatchNorm1d(width)
        self.layers = nn.ModuleList(ResBlock(width) for _ in range(settings.num_res_blocks))
        self.conv_out = nn.Conv1d(width, settings.res_out_dims, 1)

    def forward(self, mel: Tensor) -> Tensor:
        """mel (1, n_mels, T) -> (1, res_out_dims, T)."""
        x = F.relu(self.batch_norm(self.conv_in(mel)))
        for layer in self.layers:
            x = layer(x)
        return self.conv_out(x)


class ResBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv1d(width, width, 1, bias=False) for _ in range(2))
        self.batch_norm1, self.batch_norm2 = (nn.BatchNorm1d(width) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.batch_norm2(self.conv2(F.relu(self.batch_norm1(self.conv1(x)))))


def load(checkpoint: LoadedCheckpoint) -> nn.Module:
    """The model with its weights in eval mode: by a Coqui config's `model_args`, without one Real-Time-Voice-Cloning's.

    Raises CheckpointError where config and weights do not fit together, or for what is not converted.
    """
    model_args = checkpoint.config.get("model_args") or checkpoint.config.get("model_params")
    settings = known_settings(WavernnSettings, model_args) if model_args else RTVC
    features = mel_settings(checkpoint.audio, checkpoint.stats)
    name = f"checkpoint {checkpoint.name}"
    if not isinstance(settings.mode, int) and settings.mode not in LEAST_LOG_SCALE:
        raise CheckpointError(f"{name}: there is no mode {settings.mode!r}; there is: mold, gauss, a number of bits")
    if not settings.use_upsample_net:
        raise CheckpointError(f"{name}: use_upsample_net=false depends on the utterance's length: it is not converted")
    if math.prod(settings.upsample_factors) != features.hop_length:
        raise CheckpointError(
            f"{name}: upsample_factors {list(settings.upsample_factors)} do not make the hop_length "
            f"{features.hop_length} of its audio config"
        )
    if settings.feat_dims != features.n_mels:
        raise CheckpointError(
            f"{name}: feat_dims is {settings.feat_dims}, its audio config has {features.n_mels} bands"
        )
    module = Wavernn(settings, 0.0 if model_args else features.preemphasis)
    module.load_state_dict(checkpoint.weights_for(module, ("",)))
    return module.eval().requires_grad_(False)


def components(module: nn.Module, checkpoint: LoadedCheckpoint, shape: Shape) -> list[Component]:
    """`upsample`: mel and noise -> conditioning; `block`: conditioning, carried -> samples, next_carried."""
    assert isinstance(module, Wavernn)
    settings = module.settings
    features = mel_settings(checkpoint.audio, checkpoint.stats)
    noise: Literal["normal", "logistic"] = "normal" if settings.mode == "gauss" else "logistic"
    features = replace(features, noise_rows=settings.draws * features.hop_length, noise=noise)
    length = max(size for size in range(1, LONGEST_BLOCK + 1) if features.hop_length % size == 0)
    block = Block(module, length)
    rows = Dim(1, 4096, 2)  # PyTorch exports an axis of length 1 for that length alone
    conditioning = f"{features.n_mels} bands, {4 * settings.aux_dims} auxiliary, {settings.draws} of noise"
    upsample = vocoder_component(
        Upsample(module), "UpsampleNetwork.forward of Real-Time-Voice-Cloning and coqui-tts", features, shape
    )
    assert upsample.time is not None
    (audio,) = upsample.outputs
    spec = TensorSpec("conditioning", (1, block.channels, audio.shape[2]), "float32", conditioning)
    carried = TensorSpec("carried", (rows, block.carried), "float32", "last sample, GRUs, last output")
    return [
        replace(
            upsample,
            name="upsample",
            outputs=(spec,),
            sampler=Sampler("block", spec.name, length, block.carried, max(BATCHES)),
        ),
        Component(
            name="block",
            module=block.eval(),
            inputs=(replace(spec, shape=(rows, block.channels, length)), carried),
            outputs=(
                TensorSpec("samples", (rows, length), "float32", "amplitude, full scale 1.0"),
                replace(carried, name="next_carried"),
            ),
            example=lambda: {
                "conditioning": torch.randn(2, block.channels, length, generator=torch.Generator().manual_seed(0)),
                "carried": torch.zeros(2, block.carried),
            },
            computes=f"{length} turns of WaveRNN.generate of Real-Time-Voice-Cloning, Wavernn.inference of coqui-tts",
            sizes=BATCHES,
        ),
    ]


# ---------------------------------------------------------------------------------------------------- components


class Upsample(nn.Module):
    """Bands stretched and smoothed by each factor in turn, which is one transposed convolution; auxiliary channels
    repeated."""

    def __init__(self, model: Wavernn) -> None:
        super().__init__()
        settings = model.settings
        self.bands, self.hop, self.draws = settings.feat_dims, math.prod(settings.upsample_factors), settings.draws
        self.resnet = model.upsample.resnet if settings.use_aux_net else None
        kernel, before = _impulse_response(list(model.upsample.up_layers), settings.upsample_factors)
        width = len(kernel)
        self.stretch = nn.ConvTranspose1d(
            self.bands, self.bands, width, self.hop, padding=before, groups=self.bands, bias=False,
            output_padding=self.hop + 2 * before - width,
        )  # fmt: skip
        self.stretch.weight.data = kernel.expand(self.bands, 1, -1).clone()

    def forward(self, mel: Tensor) -> Tensor:
        """mel (1, n_mels + draws * hop, T) -> conditioning (1, n_mels + 4 aux + draws, hop * T)."""
        bands = mel[:, : self.bands]
        parts = [self.stretch(bands)]
        if self.resnet is not None:
            parts.append(F.interpolate(self.resnet(bands), scale_factor=float(self.hop), mode="nearest"))
        for draw in range(self.draws):
            noise = mel[:, self.bands + draw * self.hop : self.bands + (draw + 1) * self.hop]
            parts.append(noise.transpose(1, 2).reshape(1, 1, -1))
        return torch.cat(parts, 1)


def _impulse_response(layers: Sequence[nn.Module], factors: Sequence[int]) -> tuple[Tensor, int]:
    """Returns what a frame of 1 among zeros becomes, and how many of its samples come before the frame's own."""
    frames, hop = 9, math.prod(factors)
    x = torch.zeros(1, 1, frames, dtype=torch.float64)
    x[0, 0, frames // 2] = 1
    for factor, layer in zip(factors, layers[1::2]):
        assert isinstance(layer, nn.Conv2d)
        x = F.conv1d(x.repeat_interleave(factor, 2), layer.weight.detach().double().squeeze(2), padding=factor)
    support = torch.nonzero(x.ravel()).ravel()
    start = frames // 2 * hop
    before, after = start - int(support[0]), int(support[-1]) + 1 - start - hop
    # as a transposed convolution wants it: as much is cut off at both ends, or a little more at the first
    before = max(before, after)
    return x[0, 0, start - before : start + hop + after].float(), before


class Block(nn.Module):
    """`count` samples. What depends on no sample is computed for the whole block at once; the rest sample by sample."""

    below: Tensor
    filter: Tensor

    def __init__(self, model: Wavernn, count: int) -> None:
        super().__init__()
        settings = model.settings
        self.settings, self.width, self.emphasis = settings, settings.rnn_dims, model.emphasis
        self.channels = settings.feat_dims + 4 * settings.aux_dims + settings.draws
        self.carried = 2 + 2 * self.width
        width, inner = self.width, settings.fc_dims
        first = model.I.weight.detach()
        self.from_sample = nn.Linear(1, width, bias=False)
        self.from_sample.weight.data = first[:, :1].clone()
        self.from_mel = _linear(first[:, 1:], model.I.bias)
        rnn1, rnn2 = (dict(rnn.named_parameters()) for rnn in (model.rnn1, model.rnn2))
        self.hidden1, self.hidden2 = (_linear(rnn["weight_hh_l0"], rnn["bias_hh_l0"]) for rnn in (rnn1, rnn2))
        self.input1 = _linear(rnn1["weight_ih_l0"], rnn1["bias_ih_l0"])
        self.input2, self.aux2 = _split(rnn2["weight_ih_l0"], rnn2["bias_ih_l0"], width)
        self.inner1, self.aux3 = _split(model.fc1.weight, model.fc1.bias, width)
        self.inner2, self.aux4 = _split(model.fc2.weight, model.fc2.bias, inner)
        self.last = _linear(model.fc3.weight, model.fc3.bias)
        self.choices = settings.outputs if isinstance(settings.mode, int) else MIXTURES
        self.register_buffer("below", torch.tril(torch.ones(self.choices - 1, self.choices)))
        lags = torch.arange(count)[:, None] - torch.arange(-1, count)[None]
        powers = model.emphasis ** lags.clamp(min=0).double()
        self.register_buffer("filter", torch.where(lags >= 0, powers, 0.0).float())

    def forward(self, conditioning: Tensor, carried: Tensor) -> tuple[Tensor, Tensor]:
        """conditioning (N, C, B), carried (N, S) -> samples (N, B), next_carried (N, S)."""
        width, aux, bands = self.width, self.settings.aux_dims, self.settings.feat_dims
        rows, count = conditioning.transpose(1, 2), conditioning.shape[2]
        noise = rows[..., bands + 4 * aux :]
        from_mel = self.from_mel(rows[..., : bands + aux])
        auxiliary = [
            None if layer is None else layer(rows[..., bands + index * aux : bands + (index + 1) * aux])
            for index, layer in enumerate((self.aux2, self.aux3, self.aux4), start=1)
        ]
        sample, last = carried[:, :1], carried[:, -1:]
        hidden1, hidden2 = carried[:, 1 : 1 + width], carried[:, 1 + width : 1 + 2 * width]
        samples = []
        for t in range(count):
            x = self.from_sample(sample) + from_mel[:, t]
            hidden1 = gru_cell(self.input1(x), self.hidden1(hidden1), hidden1)
            x = x + hidden1
            hidden2 = gru_cell(_plus(self.input2(x), auxiliary[0], t), self.hidden2(hidden2), hidden2)
            x = F.relu(_plus(self.inner1(x + hidden2), auxiliary[1], t))
            x = F.relu(_plus(self.inner2(x), auxiliary[2], t))
            sample = self.drawn(self.last(x), noise[:, t])
            samples.append(sample)
        audio = self.audible(torch.cat(samples, 1), last)
        return audio, torch.cat([sample, hidden1, hidden2, audio[:, -1:]], 1)

    def drawn(self, parameters: Tensor, noise: Tensor) -> Tensor:
        """A sample (N, 1) of the distribution; noise (N, draws): standard normal in mode gauss, else logistic, so that
        its sigmoid is uniform and chooses by the cumulative distribution."""
        mode = self.settings.mode
        if mode == "gauss":
            log_scale = torch.clamp(parameters[:, 1:], min=LEAST_LOG_SCALE["gauss"])
            return torch.clamp(parameters[:, :1] + torch.exp(log_scale) * noise[:, :1], -1.0, 1.0)
        choices = self.choices
        shares = torch.softmax(parameters[:, :choices], 1)
        passed = (F.linear(shares, self.below) < torch.sigmoid(noise[:, :1])).float()
        if isinstance(mode, int):
            return passed.sum(1, keepdim=True) * (2 / (choices - 1)) - 1
        chosen = F.pad(passed, (1, 0), value=1.0) - F.pad(passed, (0, 1))
        mean = (parameters[:, choices : 2 * choices] * chosen).sum(1, keepdim=True)
        log_scale = (parameters[:, 2 * choices :] * chosen).sum(1, keepdim=True)
        log_scale = torch.clamp(log_scale, min=LEAST_LOG_SCALE["mold"])
        return torch.clamp(mean + torch.exp(log_scale) * noise[:, 1:], -1.0, 1.0)

    def audible(self, samples: Tensor, last: Tensor) -> Tensor:
        """samples (N, B) in mu-law -> amplitudes; y[t] = x[t] + emphasis * y[t - 1] undoes the emphasis, `last` (N, 1)
        being y[-1]."""
        settings = self.settings
        if settings.mulaw and isinstance(settings.mode, int):
            mu = 2.0**settings.mode - 1
            samples = torch.sign(samples) * (torch.exp(torch.abs(samples) * math.log1p(mu)) - 1) / mu
        if not self.emphasis:
            return samples
        return F.linear(samples, self.filter[:, 1:]) + last * self.filter[:, 0]


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight.data = weight.detach().clone()
    if bias is not None:
        layer.bias.data = bias.detach().clone()
    return layer.requires_grad_(False)


def _split(weight: Tensor, bias: Tensor, channels: int) -> tuple[nn.Linear, nn.Linear | None]:
    """A layer of (x, auxiliary) as the sum of two, the bias with the second; without auxiliary channels as it is."""
    if weight.shape[1] == channels:
        return _linear(weight, bias), None
    return _linear(weight[:, :channels], None), _linear(weight[:, channels:], bias)


def _plus(x: Tensor, auxiliary: Tensor | None, t: int) -> Tensor:
    return x if auxiliary is None else x + auxiliary[:, t]
