"""Trains the converter of a live voice, any speaker's mel to the voice's, by disguises of the voice and real speakers.

    python -m checkpoints.training.live.converter DATA/voice OUT --speakers DATA/speakers --teacher teacher.pt

Of the voice's own speech it is told the answer: a disguised piece is to become what it was. Of real speakers there is
no answer, but Whisper says whether the same is said, judges of mels whether it could be the voice, and two disguises
of the same are to become the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints.training.live.content import Content, unlike
from checkpoints.training.live.disguise import NEAR, Disguise, Ranges
from checkpoints.training.live.schedule import Networks, add_options, begun, run, set_weights
from checkpoints.training.live.speech import Speech, read_speech
from checkpoints.training.mel import FLOOR
from checkpoints.training.networks import Discriminator
from converters.upstream.live_voice import CausalConv, Converter, ConverterSettings, GatedBlock

FRAMES = 192  # of a piece
BLUR = 0.1  # noise in the bottleneck, so that little goes through it unsaid
CONTEXT_END = FRAMES - 8  # frames after which a piece's end is near: no later mel is judged
FOOLING, MATCHING = 0.08, 0.25  # against the mel's L1


class MelJudge(Discriminator):
    """Is a mel the voice's at this pitch? At one resolution of time."""

    def __init__(self, every: int, channels: int = 32) -> None:
        c = channels
        convs = [
            nn.Conv2d(3, c, (5, 5), (2, 1), 2), nn.Conv2d(c, 2 * c, (5, 5), (2, 2), 2),
            nn.Conv2d(2 * c, 4 * c, (5, 5), (2, 2), 2), nn.Conv2d(4 * c, 4 * c, (5, 3), 1, (2, 1)),
        ]  # fmt: skip
        super().__init__(convs, nn.Conv2d(4 * c, 1, 3, padding=1))
        self.every = every

    def forward(self, mel: Tensor, track: Tensor) -> tuple[Tensor, list[Tensor]]:
        """mel (B, n_mels, T), pitch and voicing (B, 2, T)."""
        rows = track.unsqueeze(2).expand(-1, -1, mel.shape[1], -1)
        stacked = torch.cat([mel.unsqueeze(1) / 3 + 1.7, rows], 1)
        return self.judge(F.avg_pool2d(stacked, (1, self.every)) if self.every > 1 else stacked)


class MelJudges(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.all = nn.ModuleList(MelJudge(every) for every in (1, 2, 4))

    def forward(self, mel: Tensor, track: Tensor) -> list[tuple[Tensor, list[Tensor]]]:
        return [judge(mel, track) for judge in self.all]


class LearningConverter(Converter):
    """The converter with a head, for training alone, that says what Whisper makes of the speech from half way on."""

    def __init__(self, settings: ConverterSettings, content_channels: int, mean_mel: Tensor | None = None) -> None:
        super().__init__(settings)
        self.head = CausalConv(settings.bottleneck or settings.channels, content_channels, 1)
        for block in self.blocks:  # so that a deep sum begins as one of few terms
            assert isinstance(block, GatedBlock)
            nn.init.normal_(block.out.weight, std=0.02)
        if mean_mel is not None:  # from silence it would take a thousand steps to the mean
            self.last.bias = nn.Parameter(mean_mel)

    def both(self, speech: Tensor) -> tuple[Tensor, Tensor]:
        """speech (B, bands + 2, T) -> mel, and content half way (B, channels, T)."""
        x = self.encode(speech)
        content = self.head(x)
        if self.settings.bottleneck:
            x = x + BLUR * torch.randn_like(x)
        return self.decode(x, speech), content


@dataclass
class Batch:
    """Pieces: what is heard with its pitch below it (B, bands + 2, T), the mel that was said (B, n_mels, T), pitch and
    voicing (B, 2, T), first frames (B,), content without its speaker's mean (B, channels, T'), how much the content of
    each frame counts (B, T), and the same heard in a wide disguise."""

    heard: Tensor
    said: Tensor
    track: Tensor
    first: Tensor
    content: Tensor | None = None
    weight: Tensor | None = None
    otherwise: Tensor | None = None


class Pieces:
    """Draws disguised pieces of speech, of the voice or of other speakers, with what Whisper makes of them."""

    def __init__(
        self, speech: Speech, ranges: Ranges, content: Content | None, device: str, wide: Ranges | None = None
    ) -> None:
        self.speech, self.content = speech, content
        self.disguise = Disguise(FRAMES, ranges).to(device)
        self.wide = None if wide is None else Disguise(FRAMES, wide).to(device)
        self.means = None if content is None else self._means(content)

    @torch.no_grad()
    def _means(self, content: Content) -> Tensor:
        """The mean content of each clip (clips, channels): near enough what its speaker adds to all of it."""
        speech, device = self.speech, self.speech.audio.device
        pieces = [(clip, int(start) + at) for clip, (start, count) in enumerate(zip(speech.starts, speech.frames))
                  for at in range(0, max(1, int(count) - FRAMES), FRAMES)]  # fmt: skip
        sums = torch.zeros(len(speech.starts), content.channels, device=device)
        counts = torch.zeros(len(speech.starts), 1, device=device)
        for start in range(0, len(pieces), 64):
            clips = torch.tensor([clip for clip, _ in pieces[start : start + 64]], device=device)
            first = torch.tensor([at for _, at in pieces[start : start + 64]], device=device)
            first = first.clamp(max=len(speech.pitch) - FRAMES)
            mel = self.disguise.clean(
                speech.samples(first, FRAMES, speech.audio), torch.ones(len(first), device=device)
            )
            made = content(mel)
            sums.index_add_(0, clips, made.mean(2))
            counts.index_add_(0, clips, torch.ones(len(clips), 1, device=device))
        return sums / counts.clamp(min=1)

    @property
    def speaker_mean(self) -> Tensor:
        """(channels, 1): of all clips."""
        assert self.means is not None
        return self.means.mean(0)[:, None]

    @torch.no_grad()
    def draw(self, count: int, is_one_speaker: bool) -> Batch:
        speech = self.speech
        clips, first = speech.drawn(count, FRAMES)
        stretch = self.disguise.stretches(count, first.device)
        samples = speech.samples(first, FRAMES, speech.audio)
        heard, is_silent = self.disguise(samples, stretch)
        track = speech.track(first, FRAMES, stretch)
        clean = self.disguise.clean(samples, stretch)
        content = weight = None
        if self.content is not None and self.means is not None:
            mean = self.speaker_mean if is_one_speaker else self.means[clips][:, :, None]
            content = self.content(clean) - mean
            loud = clean.mean(1)
            weight = (loud > loud.amax(1, keepdim=True) - 4).float() * ~is_silent[:, None]
        keeps = ~is_silent[:, None, None]
        said = self.disguise.clean(speech.samples(first, FRAMES, speech.quiet), stretch) if is_one_speaker else clean
        said = torch.where(keeps, said, torch.full_like(said, torch.tensor(FLOOR).log().item()))
        track = track * keeps
        otherwise = None if self.wide is None else torch.cat([self.wide(samples, stretch)[0], track], 1)
        return Batch(torch.cat([heard, track], 1), said, track, first, content, weight, otherwise)


class ConverterTraining:
    """The converter and its judges; a step of either phase."""

    names: tuple[str, ...] = ("mel", "guessing", "saying", "agreeing", "matching", "fooling", "judging")

    def __init__(self, options: argparse.Namespace, device: str) -> None:
        self.options, self.device = options, device
        voice = read_speech(options.data, device)
        teacher = None if options.teacher is None else Content(options.teacher, FRAMES).to(device)
        stretch = replace(Ranges(), stretched=0.0) if options.unstretched else Ranges()
        self.voice = Pieces(voice, stretch, teacher, device)
        held = read_speech(options.data, device, is_held=True)
        self.held_pieces = Pieces(held, replace(stretch, stretched=0.0), None, device)
        self.others = None
        if options.speakers is not None:
            wide = replace(Ranges(), silent=0.0, stretched=0.0) if options.agreeing > 0 else None
            self.others = Pieces(read_speech(options.speakers, device), NEAR, teacher, device, wide)
        self.content = teacher
        settings = ConverterSettings(
            channels=options.channels, blocks=options.blocks, lookahead=options.lookahead, bottleneck=options.bottleneck
        )
        batch = self.voice.draw(min(options.batch, 16), True)
        channels = 1 if teacher is None else teacher.channels
        converter = LearningConverter(settings, channels, batch.said.mean((0, 2))).to(device)
        if options.begin is not None:
            set_weights(converter, options.begin, "converter", device)
        judges = MelJudges().to(device)
        self.networks = Networks(
            {"converter": converter, "judges": judges}, ["converter"], options.rate, device, (0.8, 0.98)
        )
        self.converter, self.judges = converter, judges
        self.losses = torch.zeros(len(self.names), device=device)

    def half(self) -> torch.autocast:
        return torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda", cache_enabled=False)

    def mel_losses(self, is_judged: bool) -> tuple[Tensor, list[Tensor], Tensor, Tensor, Batch]:
        """The loss of the converter, its parts, that of the judges, the mel made of the voice's pieces, and these."""
        options = self.options
        voice = self.voice.draw(options.batch, True)
        others = self.others.draw(options.batch * 3 // 8, False) if self.others is not None else None
        heard, track = [voice.heard], [voice.track]
        if others is not None:
            heard, track = [*heard, others.heard], [*track, others.track]
            if others.otherwise is not None:
                heard, track = [*heard, others.otherwise], [*track, others.track]
        with self.half():
            mel, guess = self.converter.both(torch.cat(heard))
        end, count = CONTEXT_END, len(voice.said)
        mel, tracks = mel.float()[..., :end], torch.cat(track)[..., :end]
        own, real, zero = mel[:count], mel[count:], mel.new_zeros(())
        l1 = F.l1_loss(own, voice.said[..., :end])
        guessing = saying = agreeing = fooling = matching = judging = zero
        if self.content is not None:
            guessing = self._guessing(voice, guess[:count])
            if others is not None:
                guessing = (guessing + self._guessing(others, guess[count : count + len(others.said)])) / 2
                if options.saying > 0:
                    with self.half():
                        padded = F.pad(real, (0, FRAMES - end), "replicate")
                        said = self.content(padded) - self.voice.speaker_mean
                    assert others.content is not None
                    saying = unlike(said, others.content.repeat(len(real) // len(others.said), 1, 1))
        if others is not None and others.otherwise is not None:
            near, wide = real.chunk(2)
            agreeing = F.l1_loss(near, wide)
        if is_judged:
            with self.half():
                of_voice = self.judges(voice.said[..., :end], voice.track[..., :end])
                of_made, of_detached = self.judges(mel, tracks), self.judges(mel.detach(), tracks)
            fooling = _mean((1 - score.float()[:count]).square() for score, _ in of_made) * FOOLING
            if others is not None:
                fooling = (
                    fooling + _mean((1 - score.float()[count:]).square() for score, _ in of_made) * options.fooling
                )
            matching = _mean(
                (ours[:count] - theirs.detach()).abs().float()
                for (_, real_features), (_, made) in zip(of_voice, of_made) for theirs, ours in zip(real_features, made)
            )  # fmt: skip
            judging = _mean((1 - yes.float()).square() for yes, _ in of_voice)
            judging = judging + _mean(no.float()[:count].square() for no, _ in of_detached)
            if others is not None:
                judging = judging + _mean(no.float()[count:].square() for no, _ in of_detached)
        loss = l1 + options.guessing * guessing + options.saying * saying + options.agreeing * agreeing + fooling
        return (
            loss + MATCHING * matching,
            [l1, guessing, saying, agreeing, matching, fooling, judging],
            judging,
            own,
            voice,
        )

    def _guessing(self, batch: Batch, guess: Tensor) -> Tensor:
        assert self.content is not None and batch.content is not None and batch.weight is not None
        end = CONTEXT_END
        return unlike(guess[..., :end], self.content.on_frames(batch.content)[..., :end], batch.weight[:, :end])

    def step(self, is_judged: bool) -> None:
        loss, parts, judging, _, _ = self.mel_losses(is_judged)
        self.networks.zero()
        loss.backward(inputs=list(self.converter.parameters()))
        self.networks.update("converter", 1.0)
        if is_judged:
            judging.backward(inputs=list(self.judges.parameters()))
            self.networks.update("judges", 1.0)
        self.losses.add_(torch.stack([part.detach() for part in parts]))

    def held(self) -> float:
        """L1 of the moving average's mel on disguised pieces of clips that it was not trained on, always the same."""
        return held_l1(self, FRAMES)[0]


@torch.no_grad()
def held_l1(training: ConverterTraining, frames: int) -> tuple[float, Tensor, Batch]:
    """The mel L1 of the moving average, its mel and the pieces of the held clips."""
    device = [training.device] if training.device == "cuda" else []
    network = LearningConverter(training.converter.settings, training.converter.head.out_channels).to(training.device)
    network.load_state_dict(training.networks.average["converter"])
    with torch.random.fork_rng(device):
        torch.manual_seed(1)
        batch = training.held_pieces.draw(training.options.held, True)
    mel = network(batch.heard)[..., :CONTEXT_END]
    return F.l1_loss(mel, batch.said[..., :CONTEXT_END]).item(), mel, batch


def _mean(values: Iterable[Tensor]) -> Tensor:
    return torch.stack([value.mean() for value in values]).mean()


def add_converter_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--speakers", type=Path, metavar="DATA", help="packed recordings of many others [none]")
    parser.add_argument("--teacher", type=Path, help="what checkpoints.training.live.content wrote [none]")
    parser.add_argument(
        "--begin", type=Path, metavar="WEIGHTS", help="to go on from: a .pt, or a voice's folder [none]"
    )
    parser.add_argument("--channels", type=int, default=256, help="of the converter [%(default)s]")
    parser.add_argument("--blocks", type=int, default=12, help="of the converter [%(default)s]")
    parser.add_argument("--lookahead", type=int, default=2, help="frames [%(default)s]")
    parser.add_argument("--guessing", type=float, default=0.5, help="weight of the content half way [%(default)s]")
    parser.add_argument("--saying", type=float, default=0.25, help="weight of what real speakers say [%(default)s]")
    parser.add_argument("--agreeing", type=float, default=0.5, help="weight of two disguises' likeness [%(default)s]")
    parser.add_argument("--fooling", type=float, default=0.25, help="weight of judges of real speakers [%(default)s]")
    parser.add_argument("--bottleneck", type=int, default=0, help="channels half way [none]")
    parser.add_argument("--unstretched", action="store_true", help="speech at its own speed alone")


def main() -> None:
    parser = argparse.ArgumentParser(prog="checkpoints.training.live.converter", description=__doc__)
    parser.add_argument("data", type=Path, metavar="DATA", help="the voice's packed recordings with their pitch")
    add_options(parser, minutes=9.0, alone=3.0, rate=5e-4, batch=64)
    add_converter_options(parser)
    options = parser.parse_args()
    run(ConverterTraining(options, begun(options.seed)), options)


if __name__ == "__main__":
    main()
