"""Small networks of other trainers, drawn, under the module names that those publish: written anew from their papers
and layouts, to compare what voxport makes of their files with what they compute."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

RATES, KERNELS, BLOCKS, DILATIONS, WIDTH, MELS = [4, 4, 2], [8, 8, 4], [3, 5], [[1, 3, 5], [1, 2, 4]], 16, 20
JIK876 = {
    "resblock": "1", "upsample_rates": RATES, "upsample_kernel_sizes": KERNELS, "upsample_initial_channel": WIDTH,
    "resblock_kernel_sizes": BLOCKS, "resblock_dilation_sizes": DILATIONS, "num_mels": MELS, "n_fft": 128,
    "hop_size": 32, "win_size": 128, "sampling_rate": 8000, "fmin": 0, "fmax": 4000, "batch_size": 16, "num_freq": 1025,
}  # fmt: skip


def redraw(network: nn.Module) -> nn.Module:
    """Weights large enough that nothing is lost in a sum."""
    torch.manual_seed(1)
    for value in network.parameters():
        value.data = 0.3 * torch.randn_like(value)
    return network.eval()


class Block(nn.Module):
    """A residual block of type 1, or of type 2 with `convs` alone."""

    def __init__(self, channels, kernel, dilations, paired=True, mode="zeros"):
        super().__init__()

        def layers(spread):
            made = [
                nn.Conv1d(channels, channels, kernel, dilation=d, padding=(kernel - 1) * d // 2, padding_mode=mode)
                for d in spread
            ]
            return nn.ModuleList(weight_norm(layer) for layer in made)

        if paired:
            self.convs1, self.convs2 = layers(dilations), layers([1] * len(dilations))
        else:
            self.convs = layers(dilations)

    def forward(self, x):
        if hasattr(self, "convs"):
            for layer in self.convs:
                x = x + layer(F.leaky_relu(x, 0.1))
            return x
        for first, second in zip(self.convs1, self.convs2):
            x = x + second(F.leaky_relu(first(F.leaky_relu(x, 0.1)), 0.1))
        return x


class Generator(nn.Module):
    """jik876's; with `out` rows at the end instead of samples iSTFTNet's trunk; `mode`: how its convolutions pad."""

    def __init__(self, paired=True, mode="zeros", out=1, rates=RATES, kernels=KERNELS):
        super().__init__()
        self.out = out
        self.conv_pre = weight_norm(nn.Conv1d(MELS, WIDTH, 7, padding=3, padding_mode=mode))
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        for stage, (rate, kernel) in enumerate(zip(rates, kernels)):
            into, outof = WIDTH >> stage, WIDTH >> stage + 1
            self.ups.append(weight_norm(nn.ConvTranspose1d(into, outof, kernel, rate, (kernel - rate) // 2)))
            for size, dilations in zip(BLOCKS, DILATIONS):
                self.resblocks.append(Block(outof, size, dilations if paired else dilations[:2], paired, mode))
        self.conv_post = weight_norm(nn.Conv1d(WIDTH >> len(rates), out, 7, padding=3, padding_mode=mode))

    def forward(self, mel):
        x = self.conv_pre(mel)
        for stage, layer in enumerate(self.ups):
            x = layer(F.leaky_relu(x, 0.1))
            x = sum(block(x) for block in self.resblocks[2 * stage : 2 * stage + 2]) / 2
        x = F.leaky_relu(x)
        if self.out == 1:
            return torch.tanh(self.conv_post(x))
        rows = self.conv_post(F.pad(x, (1, 0), mode="reflect"))
        n_fft = self.out - 2
        magnitude, phase = torch.exp(rows[:, : n_fft // 2 + 1]), torch.sin(rows[:, n_fft // 2 + 1 :])
        window = torch.hann_window(n_fft)
        return torch.istft(torch.polar(magnitude, phase), n_fft, n_fft // 4, n_fft, window=window).unsqueeze(1)


class Bigvgan(Generator):
    """NVIDIA's (arXiv 2206.04658): an activation before each convolution of a block; upsamplings are lists of one."""

    def __init__(self, kind):
        super().__init__()
        self.ups = nn.ModuleList(nn.ModuleList([layer]) for layer in self.ups)
        for block in self.resblocks:
            layers = [layer for pair in zip(block.convs1, block.convs2) for layer in pair]
            block.activations = nn.ModuleList(_Activation(layer.in_channels, kind) for layer in layers)
        self.activation_post = _Activation(self.conv_post.in_channels, kind)

    def forward(self, mel):
        x = self.conv_pre(mel)
        for stage, upsampling in enumerate(self.ups):
            x, total = upsampling[0](x), 0
            for block in self.resblocks[2 * stage : 2 * stage + 2]:
                y = x
                for index, (first, second) in enumerate(zip(block.convs1, block.convs2)):
                    before, between = block.activations[2 * index : 2 * index + 2]
                    y = y + second(between(first(before(y))))
                total = total + y
            x = total / 2
        return torch.tanh(self.conv_post(self.activation_post(x)))


class _Activation(nn.Module):
    def __init__(self, channels, kind):
        super().__init__()
        self.act, self.upsample, self.downsample = nn.Module(), nn.Module(), nn.Module()
        self.act.alpha = nn.Parameter(torch.zeros(channels))
        if kind == "snakebeta":
            self.act.beta = nn.Parameter(torch.zeros(channels))
        low_pass = torch.from_numpy(np.kaiser(12, 4.7).astype(np.float32))
        self.upsample.register_buffer("filter", (low_pass / low_pass.sum()).view(1, 1, 12))
        self.downsample.lowpass = nn.Module()
        self.downsample.lowpass.register_buffer("filter", (low_pass / low_pass.sum()).view(1, 1, 12))

    def forward(self, x):
        channels = x.shape[1]
        taps = self.upsample.filter.expand(channels, 1, 12)
        x = 2 * F.conv_transpose1d(F.pad(x, (5, 5), mode="replicate"), taps, stride=2, groups=channels)[..., 15:-15]
        alpha = torch.exp(self.act.alpha)[:, None]
        beta = torch.exp(self.act.beta)[:, None] if hasattr(self.act, "beta") else alpha
        x = x + torch.sin(alpha * x) ** 2 / (beta + 1e-9)
        taps = self.downsample.lowpass.filter.expand(channels, 1, 12)
        return F.conv1d(F.pad(x, (5, 6), mode="replicate"), taps, stride=2, groups=channels)


class ParallelWavegan(nn.Module):
    """kan-bayashi's generator (arXiv 1910.11480) with a context window of two frames."""

    def __init__(self, layers=4, stacks=2, scales=(4, 4)):
        super().__init__()
        self.first_conv = nn.Conv1d(1, 64, 1)
        self.upsample_net = nn.Module()
        self.upsample_net.conv_in = nn.Conv1d(MELS, MELS, 5, bias=False)
        self.upsample_net.upsample = nn.Module()
        up_layers = [part for s in scales for part in (nn.Identity(), _band_filter(s))]
        self.upsample_net.upsample.up_layers = nn.ModuleList(up_layers)
        self.scales, self.conv_layers = scales, nn.ModuleList()
        for layer in range(layers):
            dilation = 2 ** (layer % (layers // stacks))
            part = nn.Module()
            part.conv = nn.Conv1d(64, 128, 3, padding=dilation, dilation=dilation)
            part.conv1x1_aux = nn.Conv1d(MELS, 128, 1, bias=False)
            part.conv1x1_out, part.conv1x1_skip = nn.Conv1d(64, 64, 1), nn.Conv1d(64, 64, 1)
            self.conv_layers.append(part)
        self.last_conv_layers = nn.ModuleList([nn.ReLU(), nn.Conv1d(64, 64, 1), nn.ReLU(), nn.Conv1d(64, 1, 1)])

    def forward(self, noise, mel):
        c = self.upsample_net.conv_in(F.pad(mel, (2, 2), mode="replicate")).unsqueeze(1)
        for scale, layer in zip(self.scales, self.upsample_net.upsample.up_layers[1::2]):
            c = layer(c.repeat_interleave(scale, dim=3))
        x, skips = self.first_conv(noise), 0
        for part in self.conv_layers:
            gates = part.conv(x) + part.conv1x1_aux(c.squeeze(1))
            y = torch.tanh(gates[:, :64]) * torch.sigmoid(gates[:, 64:])
            skips = skips + part.conv1x1_skip(y)
            x = (part.conv1x1_out(y) + x) * math.sqrt(0.5)
        x = skips * math.sqrt(1 / len(self.conv_layers))
        for layer in self.last_conv_layers:
            x = layer(x)
        return x


def _band_filter(scale):
    return nn.Conv2d(1, 1, (1, 2 * scale + 1), padding=(0, scale), bias=False)


class Melgan(nn.Module):
    """kan-bayashi's generator (arXiv 1910.06711): one flat list of layers."""

    def __init__(self, scales=(4, 3), stacks=2):
        super().__init__()
        width, layers = 512, [nn.ReflectionPad1d(3), nn.Conv1d(MELS, 512, 7)]
        for scale in scales:
            upsampling = nn.ConvTranspose1d(
                width, width // 2, 2 * scale, scale, scale // 2 + scale % 2, output_padding=scale % 2
            )
            width //= 2
            layers += [nn.LeakyReLU(0.2), upsampling, *(_Stack(width, 3**depth) for depth in range(stacks))]
        layers += [nn.LeakyReLU(0.2), nn.ReflectionPad1d(3), nn.Conv1d(width, 1, 7), nn.Tanh()]
        self.melgan = nn.Sequential(*layers)

    def forward(self, mel):
        return self.melgan(mel)


class _Stack(nn.Module):
    def __init__(self, channels, dilation):
        super().__init__()
        self.stack = nn.Sequential(
            nn.LeakyReLU(0.2), nn.ReflectionPad1d(dilation), nn.Conv1d(channels, channels, 3, dilation=dilation),
            nn.LeakyReLU(0.2), nn.Conv1d(channels, channels, 1),
        )  # fmt: skip
        self.skip_layer = nn.Conv1d(channels, channels, 1)

    def forward(self, x):
        return self.stack(x) + self.skip_layer(x)


def old_norm(state):
    """Weight norm as PyTorch named it when these trainers wrote their files."""
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    renamed = {}
    for key, value in state.items():
        for new, old in names.items():
            key = key.replace(new, old)
        renamed[key] = value
    return renamed


def write_jik876(folder: Path, network=None, name="g_00010000", **changes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    network = network or redraw(Generator())
    torch.save({"generator": old_norm(network.state_dict())}, folder / name)
    (folder / "config.json").write_text(json.dumps({**JIK876, **changes}))
    return folder


def write_kan_bayashi(folder: Path, state, kind, settings, hop, stats=True) -> Path:
    import yaml

    folder.mkdir(parents=True)
    saved = {"model": {"generator": state, "discriminator": {}}, "optimizer": {}, "steps": 2500000}
    torch.save(saved, folder / "checkpoint-2500000steps.pkl")
    config = {
        "sampling_rate": 8000, "fft_size": 128, "hop_size": hop, "win_length": None, "window": "hann", "num_mels": MELS,
        "fmin": 80, "fmax": 3800, "generator_type": kind, "generator_params": settings, "format": "npy",
    }  # fmt: skip
    (folder / "config.yml").write_text(yaml.safe_dump(config))
    if stats:
        rows = np.random.default_rng(0).uniform(0.5, 1.5, (2, MELS)).astype(np.float32)
        np.save(folder / "stats.npy", rows)
    return folder


def write_bigvgan(folder: Path, network) -> Path:
    kind = "snakebeta" if hasattr(network.activation_post.act, "beta") else "snake"
    return write_jik876(folder, network, "bigvgan_generator.pt", activation=kind, snake_logscale=True)


def write_istftnet(folder: Path, network) -> Path:
    """A network whose last transform has frames of 16 samples in hops of 4."""
    sizes = {"gen_istft_n_fft": 16, "gen_istft_hop_size": 4, "hop_size": 128, "n_fft": 512, "win_size": 512}
    return write_jik876(folder, network, **sizes)


def write_speechbrain(folder: Path, network) -> Path:
    """Each convolution is a module in a module; hyperparams.yaml has tags of hyperpyyaml."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {}
    for key, value in network.state_dict().items():
        state[re.sub(r"^(.*?)\.(parametrizations|bias)", r"\1.conv.\2", key)] = value
    torch.save(state, folder / "generator.ckpt")
    settings = {
        "sample_rate": 8000, "hop_length": 32, "win_length": 128, "n_fft": 128, "mel_fmin": 0.0, "mel_fmax": 4000.0,
        "in_channels": MELS, "resblock_type": '"1"', "resblock_dilation_sizes": DILATIONS,
        "resblock_kernel_sizes": BLOCKS, "upsample_kernel_sizes": KERNELS, "upsample_initial_channel": WIDTH,
        "upsample_factors": RATES, "generator": "!new:speechbrain.lobes.models.HifiGAN.HifiganGenerator",
    }  # fmt: skip
    lines = [f"{name}: {value}" for name, value in settings.items()]
    (folder / "hyperparams.yaml").write_text("\n".join([*lines, "    in_channels: !ref <in_channels>", ""]))
    return folder
