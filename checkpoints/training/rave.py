"""Trains a small causal RAVE (docs/rave.md) on recordings of one sound: what it hears comes out in that one's timbre.

    python -m checkpoints.training.rave RECORDINGS OUT --minutes 25
    python -m convert model=rave checkpoint.source=OUT/rave

RECORDINGS is a folder of ten minutes of sound and more, of a voice or an instrument, in three files at least, or what
checkpoints.training.recordings packed. A variational autoencoder learns first, by spectra of each band and of the
whole, and a price for what its latents tell; then its encoder stays as it is, and the decoder learns against
discriminators. An interrupted training goes on with the same command; `--total` is the schedule of several.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

from checkpoints.training.live.schedule import Networks, add_options, begun, run
from checkpoints.training.mel import SAMPLE_RATE, MelLoss
from checkpoints.training.networks import Discriminators, judged
from checkpoints.training.recordings import held_clips, joined, packed
from converters.upstream.rave.network import Rave
from converters.upstream.rave.pqmf import filter_bank
from converters.upstream.rave.settings import HalfSettings, RaveSettings
from runtime.errors import AudioError

MEL_WEIGHT, FEATURE_WEIGHT = 45.0, 2.0  # HiFi-GAN's
BAND_WEIGHT = 10.0
GAIN_DB = (-12.0, 4.0)  # of a piece, so that other levels are heard in training too
LEAST_DEVIATION = 1e-4  # of a latent
DILATIONS = (1, 3, 9)
HELD = 12  # clips to judge by
FIDELITY = 0.99  # of the latents' variance, that those which are kept hold
AXES_SECONDS, AXES_PIECES = 20, 40  # of audio whose latents' principal axes are taken


class LearningRave(Rave):
    """The network under weight norm. `taken`: steps of the first phase, which the price of latents grows with."""

    def __init__(self, settings: RaveSettings) -> None:
        banks = filter_bank(settings.bands, settings.attenuation)
        super().__init__(settings, (banks[0].shape[2], banks[1].shape[2]))
        for layer, bank in zip((self.pqmf.forward_conv, self.pqmf.inverse_conv), banks):
            layer.get_parameter("weight").requires_grad_(False).copy_(bank)
        for half in (self.encoder, self.decoder):
            for layer in [*half.modules()]:
                if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
                    weight_norm(layer)
        self.register_buffer("taken", torch.zeros(()))

    def latents(self, bands: Tensor) -> tuple[Tensor, Tensor]:
        """bands (B, bands, T) -> mean and standard deviation of each latent, (B, latents, T / ratio)."""
        mean, scale = self.encoder(bands).chunk(2, 1)
        return mean, F.softplus(scale) + LEAST_DEVIATION


class BandDistance(nn.Module):
    """Distance of each band's spectra at several window sizes: the error's magnitude as a share of the spectrum's, and
    the L1 of their logarithms (after Caillon and Esling 2021, arXiv 2111.05011, section 3.2)."""

    SIZES, FLOOR = (32, 64, 128), 1e-3

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """made, real (B, bands, T)."""
        distances = []
        for size in self.SIZES:
            ours, theirs = self._spectrum(made, size), self._spectrum(real, size)
            share = (ours - theirs).norm() / theirs.norm().clamp(min=self.FLOOR)
            distances.append(share + F.l1_loss((ours + self.FLOOR).log(), (theirs + self.FLOOR).log()))
        return torch.stack(distances).mean()

    @staticmethod
    def _spectrum(bands: Tensor, size: int) -> Tensor:
        window = torch.hann_window(size, device=bands.device)
        spectrum = torch.stft(bands.flatten(0, 1), size, size // 4, window=window, return_complex=True)
        return torch.sqrt(spectrum.real.square() + spectrum.imag.square() + 1e-9)


class RaveTraining:
    """The autoencoder and its discriminators, and one step of either phase."""

    names: tuple[str, ...] = ("mel", "bands", "told", "features", "fooling", "discriminating")

    def __init__(self, options: argparse.Namespace, device: str) -> None:
        self.options, self.device = options, device
        self.audio = joined(options.data).to(device)
        self.clips = held_clips(options.data)[:HELD]
        self.settings = settings_of(options)
        self.segment = options.segment // self.settings.ratio * self.settings.ratio
        if len(self.audio) <= self.segment:
            raise AudioError(f"{len(self.audio) / SAMPLE_RATE:.1f} s of sound are no piece of --segment {self.segment}")
        self.rave, self.judges = LearningRave(self.settings).to(device), Discriminators().to(device)
        self.band_distance, self.mel_loss = BandDistance(), MelLoss().to(device)
        self.networks = Networks({"rave": self.rave, "discriminators": self.judges}, ["rave"], options.rate, device)
        self.losses = torch.zeros(len(self.names), device=device)

    def pieces(self) -> Tensor:
        """(B, 1, N) float32 at random gains."""
        starts = torch.randint(0, len(self.audio) - self.segment, (self.options.batch, 1), device=self.device)
        samples = self.audio[starts + torch.arange(self.segment, device=self.device)].float() / 32768
        low, high = GAIN_DB
        samples = samples * 10 ** ((torch.rand(len(starts), 1, device=self.device) * (high - low) + low) / 20)
        return (samples / (samples.abs().amax(1, keepdim=True) / 0.98).clamp(min=1.0)).unsqueeze(1)

    def step(self, is_judged: bool) -> None:
        rave, zero = self.rave, torch.zeros((), device=self.device)
        with torch.no_grad():
            bands = rave.pqmf.forward_conv(self.pieces())
            real = rave.pqmf.inverse_conv(bands)  # as late as what is made
        with torch.set_grad_enabled(not is_judged):
            mean, deviation = rave.latents(bands)
        made = rave.decoder(mean + deviation * torch.randn_like(mean), None)
        render = rave.pqmf.inverse_conv(made)
        told = 0.5 * (mean.square() + deviation.square() - 2 * deviation.log() - 1).sum(1).mean()
        of_bands = self.band_distance(made, bands)
        wave, mel_l1 = self.mel_loss(render.squeeze(1), real.squeeze(1))
        loss = MEL_WEIGHT * wave + BAND_WEIGHT * of_bands
        learning, matching, fooling, discriminating = [*rave.decoder.parameters()], zero, zero, zero
        self.networks.zero()
        if is_judged:
            half = torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda", cache_enabled=False)
            matching, fooling, discriminating, slope = judged(self.judges, real, render, half, FEATURE_WEIGHT)
            discriminating.backward(inputs=list(self.judges.parameters()))
            torch.autograd.backward((render, loss), (slope, None), inputs=learning)
            self.networks.update("discriminators", 100.0)
        else:
            rave.get_buffer("taken").add_(1)
            price = self.options.price * (rave.get_buffer("taken") / self.options.pricing).clamp(max=1.0)
            (loss + price * told).backward(inputs=[*learning, *rave.encoder.parameters()])
        self.networks.update("rave", 100.0)
        parts = (mel_l1, of_bands, told, matching, fooling, discriminating)
        self.losses.add_(torch.stack([part.detach() for part in parts]))

    @torch.no_grad()
    def held(self) -> float:
        """Mel L1 of the moving average's copies of clips that it was not trained on."""
        rave, errors = LearningRave(self.settings).to(self.device), []
        rave.load_state_dict(self.networks.average["rave"])
        for clip in self.clips:
            length = len(clip) // self.settings.ratio * self.settings.ratio
            bands = rave.pqmf.forward_conv(clip[None, None, :length].to(self.device))
            made = [
                rave.pqmf.inverse_conv(part).squeeze(1) for part in (rave.decoder(rave.latents(bands)[0], None), bands)
            ]
            errors.append(F.l1_loss(*map(self.mel_loss.mel, made)).item())
        return sum(errors) / len(errors)


def settings_of(options: argparse.Namespace) -> RaveSettings:
    """What a training's options build. Raises AudioError for ratios that make no even blocks."""
    ratios = tuple(options.ratios)
    if any(ratio < 2 or ratio % 2 for ratio in ratios):
        raise AudioError(f"--ratios {' '.join(map(str, ratios))}: even ones are wanted")
    dilations = (DILATIONS,) * (len(ratios) - 1) + (DILATIONS[:2],)
    encoder, decoder = (
        HalfSettings(capacity, ratios, dilations, bias=True) for capacity in (options.encoder, options.decoder)
    )
    return RaveSettings(
        encoder, decoder, SAMPLE_RATE, attenuation=options.attenuation, latent_size=options.latents, causal=True
    )


def export(source: Path, settings: RaveSettings, audio: Tensor, folder: Path) -> int:
    """Writes a checkpoint of `rave.pt`, weight norm folded, weights in float16, and returns how many latents it keeps.

    audio (N,) int16 gives the means whose principal axes the latents are turned to. What is small, the axes and the
    filter bank, stays in float32.
    """
    from safetensors.torch import save_file

    saved = {name: value.float() for name, value in torch.load(source, map_location="cpu", weights_only=True).items()}
    rave = LearningRave(settings).eval()
    rave.load_state_dict(saved)
    _turn_to_axes(rave, audio)
    kept = _holding(rave.get_buffer("fidelity"))
    for layer in rave.modules():
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight")
    halved = {
        name: (value.half() if name.startswith(("encoder.", "decoder.")) else value).contiguous()
        for name, value in rave.state_dict().items()
        if name != "taken"
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(halved, folder / "model.safetensors")
    config = {"rave": dataclasses.asdict(dataclasses.replace(settings, latents=kept))}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    return kept


def _holding(fidelity: Tensor) -> int:
    """The power of two of axes that hold FIDELITY of the variance. Upstream's export counts one less: of three latents
    that tell anything it would keep two."""
    needed = int((fidelity < FIDELITY).sum()) + 1
    return min(1 << (needed - 1).bit_length(), len(fidelity))


@torch.no_grad()
def _turn_to_axes(rave: LearningRave, audio: Tensor) -> None:
    """Sets the mean of the latents' means over `audio`, their principal axes and the share of variance up to each."""
    means = torch.cat([rave.latents(rave.pqmf.forward_conv(piece))[0][0] for piece in _evenly(audio, rave)], 1).double()
    centred = means - means.mean(1, keepdim=True)
    variances, axes = torch.linalg.eigh(centred @ centred.T / centred.shape[1])
    rave.get_buffer("latent_mean").copy_(means.mean(1))
    rave.get_buffer("latent_pca").copy_(axes.T.flip(0))
    rave.get_buffer("fidelity").copy_(variances.flip(0).cumsum(0) / variances.sum())


def _evenly(audio: Tensor, rave: LearningRave) -> Iterator[Tensor]:
    """Pieces (1, 1, N) of whole blocks from all over the recordings."""
    ratio = rave.settings.ratio
    length = min(AXES_SECONDS * SAMPLE_RATE, len(audio)) // ratio * ratio
    for start in torch.linspace(0, len(audio) - length, min(AXES_PIECES, -(-len(audio) // length))).long().tolist():
        yield audio[None, None, start : start + length].float() / 32768


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="checkpoints.training.rave", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recordings", type=Path, metavar="RECORDINGS")
    add_options(parser, minutes=25.0, alone=7.0, rate=4e-4, batch=16)
    parser.add_argument("--segment", type=int, default=16384, help="samples of a piece [%(default)s]")
    parser.add_argument(
        "--ratios", type=int, nargs="+", default=[4, 2, 2], help="16 times their product: a block [4 2 2]"
    )
    parser.add_argument("--encoder", type=int, default=48, help="channels at its first level [%(default)s]")
    parser.add_argument("--decoder", type=int, default=80, help="channels at its last level [%(default)s]")
    parser.add_argument("--latents", type=int, default=64, help="before they are cropped [%(default)s]")
    parser.add_argument("--attenuation", type=float, default=60.0, help="of the filter bank, dB [%(default)s]")
    parser.add_argument("--price", type=float, default=0.5, help="of a nat that latents tell [%(default)s]")
    parser.add_argument("--pricing", type=int, default=2000, help="steps until that price [%(default)s]")
    options = parser.parse_args()
    try:
        is_packed = (options.recordings / "clips.json").is_file()
        options.data = options.recordings if is_packed else packed(options.recordings, options.out / "data")
        training = RaveTraining(options, begun(options.seed))
    except AudioError as error:
        parser.error(str(error))
    run(training, options)
    folder = options.out / "rave"
    kept = export(options.out / "rave.pt", training.settings, training.audio.cpu(), folder)
    size = (folder / "model.safetensors").stat().st_size
    print(f"{kept} latents of {options.latents}, {size / 1e6:.1f} MB")
    print(f"python -m convert model=rave checkpoint.source={folder}")


if __name__ == "__main__":
    main()
