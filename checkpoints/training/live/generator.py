"""Trains the causal vocoder of a live voice, alone on the voice's own mels or, with a converter, both ends together.

    python -m checkpoints.training.live.generator DATA/voice OUT                          # on mels of recordings
    python -m checkpoints.training.live.generator DATA/voice OUT2 --converter OUT1 --begin OUT

Together, the converter's mel of a disguised piece is played and judged against the recording itself; the converter goes
on learning as before, and hears from the waveform too.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from checkpoints.training.live.converter import (
    CONTEXT_END,
    FRAMES,
    ConverterTraining,
    add_converter_options,
    held_l1,
)
from checkpoints.training.live.schedule import Networks, add_options, begun, run, set_from_state, set_weights
from checkpoints.training.mel import HOP, MelLoss
from checkpoints.training.networks import Discriminators, judged
from converters.upstream.live_voice import CausalConv, CausalGenerator, GeneratorSettings

BEFORE = 24  # frames that the generator hears before those that are judged: what it sees back, nearly
MEL_WEIGHT, FEATURE_WEIGHT = 45.0, 2.0  # HiFi-GAN's


class LearningGenerator(CausalGenerator):
    """The generator under weight norm, computed in channels-last, its waveform in single precision."""

    def __init__(self, settings: GeneratorSettings) -> None:
        super().__init__(settings)
        for layer in self.modules():
            if isinstance(layer, CausalConv):
                nn.init.normal_(layer.weight, std=0.01 if layer.kernel_size[0] != 2 else 0.02)
                weight_norm(layer)

    def forward(self, mel: Tensor) -> Tensor:
        """mel (B, bands, T) -> samples (B, 1, 256 T)."""
        planar = mel.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        return super().forward(planar).squeeze(2)

    def finish(self, x: Tensor) -> Tensor:
        # in single precision: the rounding of a waveform is a noise floor
        with torch.autocast(x.device.type, enabled=False):
            return super().finish(x.float())


class GeneratorTraining(ConverterTraining):
    """The generator and its discriminators, and with them the converter and its judges where one is given."""

    names: tuple[str, ...] = ("wave's mel", "features", "fooling", "discriminating")

    def __init__(self, options: argparse.Namespace, device: str) -> None:
        options.begin, begin = options.converter, options.begin
        options.unstretched = True  # a waveform has one speed
        super().__init__(options, device)
        generator, self.discriminators = (
            LearningGenerator(
                GeneratorSettings(channels=options.width, upsampling=tuple(options.upsampling), samples=options.samples)
            ).to(device),
            Discriminators().to(device),
        )
        if generator.settings.hop_length != HOP:
            raise SystemExit(f"--upsampling and --samples make {generator.settings.hop_length} samples of {HOP}")
        if begin is not None:
            set_weights(generator, begin, "generator", device)
            set_from_state(self.discriminators, begin, "discriminators", device)
        self.generator, self.mel_loss = generator, MelLoss().to(device)
        self.is_joint = options.converter is not None
        networks: dict[str, nn.Module] = {"generator": generator, "discriminators": self.discriminators}
        if self.is_joint:
            networks |= {"converter": self.converter, "judges": self.judges}
            self.names = (*ConverterTraining.names, *GeneratorTraining.names)
        shares = {"converter": options.share, "judges": options.share}
        kept = [name for name in ("converter", "generator") if name in networks]
        self.networks = Networks(networks, kept, options.rate, device, shares=shares)
        self.losses = torch.zeros(len(self.names), device=device)

    def step(self, is_judged: bool) -> None:
        options, zero = self.options, torch.zeros((), device=self.device)
        loss, parts, judging = zero, list[Tensor](), zero
        if self.is_joint:
            loss, parts, judging, mel, batch = self.mel_losses(True)
        else:
            batch = self.voice.draw(options.waves, True)
            mel = batch.said[..., :CONTEXT_END]
        pieces, length = options.waves, options.segment
        first = batch.first[:pieces]
        # any stretch of the piece, but for the beginning, of which the converter hears too little
        latest = CONTEXT_END - length - BEFORE
        begin = (torch.rand(pieces, 1, device=self.device) * (latest - latest // 3) + latest // 3).long()
        at = begin + torch.arange(BEFORE + length, device=self.device)
        played = mel[:pieces].gather(2, at[:, None].expand(-1, mel.shape[1], -1))
        starts = first + begin[:, 0] + BEFORE
        real = self.voice.speech.samples(starts, length, self.voice.speech.quiet)
        margin = (real.shape[1] - length * HOP) // 2
        real = real[:, margin : margin + length * HOP]
        is_speech = (batch.said[:pieces].amax((1, 2)) > -11).float()[:, None]
        real = real * is_speech
        with self.half():
            render = self.generator(played)[..., BEFORE * HOP :]
        wave, mel_l1 = self.mel_loss(render.squeeze(1), real)
        matching = fooling = discriminating = zero
        slope: Tensor | None = None
        if is_judged:
            matching, fooling, discriminating, slope = judged(
                self.discriminators, real.unsqueeze(1), render, self.half(), FEATURE_WEIGHT
            )
        self.networks.zero()
        if is_judged:
            discriminating.backward(inputs=list(self.discriminators.parameters()))
        learning = [*self.generator.parameters(), *(self.converter.parameters() if self.is_joint else ())]
        tensors, slopes = [MEL_WEIGHT * wave], list[Tensor | None]([None])
        if slope is not None:
            tensors, slopes = [*tensors, render], [*slopes, slope]
        if self.is_joint:
            tensors, slopes = [*tensors, MEL_WEIGHT * loss], [*slopes, None]
        torch.autograd.backward(tensors, slopes, inputs=learning)
        if self.is_joint:
            judging.backward(inputs=list(self.judges.parameters()))
            self.networks.update("judges", 1.0)
            self.networks.update("converter", 20.0)
        if is_judged:
            self.networks.update("discriminators", 100.0)
        self.networks.update("generator", 100.0)
        made = [value.detach() for value in (mel_l1, matching, fooling, discriminating)]
        self.losses.add_(torch.stack([*(part.detach() for part in parts), *made]))

    @torch.no_grad()
    def held(self) -> float:
        """Mel L1 of the moving averages' audio on pieces of clips that they were not trained on."""
        generator = LearningGenerator(self.generator.settings).to(self.device)
        generator.load_state_dict(self.networks.average["generator"])
        if self.is_joint:
            _, mel, batch = held_l1(self, FRAMES)
        else:
            with torch.random.fork_rng([self.device] if self.device == "cuda" else []):
                torch.manual_seed(1)
                batch = self.held_pieces.draw(self.options.held, True)
            mel = batch.said[..., :CONTEXT_END]
        render = generator(mel)[..., BEFORE * HOP :].squeeze(1)
        made = self.mel_loss.mel(render)[..., 2:-2]
        return F.l1_loss(made, batch.said[..., BEFORE + 2 : CONTEXT_END - 2]).item()


def main() -> None:
    parser = argparse.ArgumentParser(prog="checkpoints.training.live.generator", description=__doc__)
    parser.add_argument("data", type=Path, metavar="DATA", help="the voice's packed recordings with their pitch")
    add_options(parser, minutes=9.0, alone=1.5, rate=4e-4, batch=32)
    add_converter_options(parser)
    add_generator_options(parser)
    options = parser.parse_args()
    run(GeneratorTraining(options, begun(options.seed)), options)


def add_generator_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--converter", type=Path, help="train it too, beginning with these [none]")
    parser.add_argument("--share", type=float, default=0.3, help="of the learning rate, the converter's [%(default)s]")
    parser.add_argument("--waves", type=int, default=16, help="pieces that are played [%(default)s]")
    parser.add_argument("--segment", type=int, default=32, help="frames of them that are judged [%(default)s]")
    parser.add_argument("--width", type=int, default=256, help="channels of the generator [%(default)s]")
    parser.add_argument("--upsampling", type=int, nargs="+", default=[8, 8], metavar="FACTOR", help="[8 8]")
    parser.add_argument("--samples", type=int, default=4, help="of the last layer at a position [%(default)s]")


if __name__ == "__main__":
    main()
