"""Trains the converter of a live voice, any speaker's mel to the voice's, by disguises of the voice and real speakers.

    python -m checkpoints.training.live.converter DATA/voice OUT --speakers DATA/speakers --teacher teacher.pt

Of the voice's own speech it is told the answer: a disguised piece is to become what it was. Of real speakers it is told
what the offline converter makes of them (`--following`, offline.py), however they are disguised; Whisper says whether
the same is said, and judges of mels whether it could be the voice.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints.training.live.content import Content, unlike
from checkpoints.training.live.disguise import NEAR, Disguise, Ranges
from checkpoints.training.live.networks import (
    LearningConverter,
    MelJudges,
    OfflineConverter,
    loudness_of,
    read_offline,
)
from checkpoints.training.live.schedule import Networks, add_options, begun, run, set_from_state, set_weights
from checkpoints.training.live.speech import Speech, read_speech
from checkpoints.training.mel import FLOOR
from converters.upstream.live_voice import ConverterSettings

FRAMES = 192  # of a piece
CONTEXT_END = FRAMES - 8  # frames after which a piece's end is near: no later mel is judged
FOOLING, MATCHING = 0.08, 0.25  # against the mel's L1


@dataclass
class Batch:
    """Pieces: what is heard with its pitch below it (B, bands + 2, T), the mel that was said (B, n_mels, T), pitch and
    voicing (B, 2, T), first frames (B,), content without its speaker's mean (B, channels, T'), how much the content of
    each frame counts (B, T), how loud it is (B, 1, T), and the same heard in a wide disguise."""

    heard: Tensor
    said: Tensor
    track: Tensor
    first: Tensor
    content: Tensor | None = None
    weight: Tensor | None = None
    loudness: Tensor | None = None
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
        loudness = None if content is None else loudness_of(clean)
        return Batch(torch.cat([heard, track], 1), said, track, first, content, weight, loudness, otherwise)


class ConverterTraining:
    """The converter and its judges; a step of either phase."""

    names: tuple[str, ...] = (
        "mel", "guessing", "saying", "agreeing", "following", "matching", "fooling", "judging",
    )  # fmt: skip

    def __init__(self, options: argparse.Namespace, device: str) -> None:
        self.options, self.device = options, device
        voice = read_speech(options.data, device)
        teacher = None if options.teacher is None else Content(options.teacher, FRAMES).to(device)
        stretch = replace(Ranges(), stretched=0.0) if options.unstretched else Ranges()
        self.voice = Pieces(voice, self.ranges(stretch), teacher, device)
        held = read_speech(options.data, device, is_held=True)
        self.held_pieces = Pieces(held, replace(self.ranges(stretch), stretched=0.0), teacher, device)
        self.others = self.followed = None
        if options.speakers is not None:
            is_wide = options.agreeing > 0 or options.following is not None
            wide = replace(Ranges(), silent=0.0, stretched=0.0) if is_wide else None
            self.others = Pieces(read_speech(options.speakers, device), self.ranges(NEAR), teacher, device, wide)
        if options.following is not None:
            if teacher is None or self.others is None:
                raise SystemExit("--following needs --speakers and --teacher: it is told of others' content")
            self.followed = read_offline(options.following, teacher, len(voice_mel(self.voice)), device)
        self.content = teacher
        self.losses = torch.zeros(len(self.names), device=device)
        self.converter, self.judges = self.made().to(device), MelJudges().to(device)
        if options.begin is not None:
            set_from_state(self.judges, options.begin, "judges", device)
        self.networks = Networks(
            {self.kept: self.converter, "judges": self.judges}, [self.kept], options.rate, device, (0.8, 0.98)
        )

    kept = "converter"  # the name of the network that is trained

    def ranges(self, ranges: Ranges) -> Ranges:
        return ranges

    def made(self) -> nn.Module:
        """The network to train, as it begins."""
        options = self.options
        settings = ConverterSettings(
            channels=options.channels, blocks=options.blocks, lookahead=options.lookahead, bottleneck=options.bottleneck
        )
        channels = 1 if self.content is None else self.content.channels
        converter = LearningConverter(settings, channels, voice_mel(self.voice))
        if options.begin is not None:
            set_weights(converter, options.begin, "converter", self.device)
        return converter

    def half(self) -> torch.autocast:
        return torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda", cache_enabled=False)

    def converted(self, network: nn.Module, voice: Batch, others: Batch | None) -> tuple[Tensor, Tensor | None]:
        """The mel of the voice's pieces and of the others' in each of their disguises, one after another, and what is
        guessed of their content."""
        heard = [voice.heard]
        if others is not None:
            heard += [others.heard] if others.otherwise is None else [others.heard, others.otherwise]
        assert isinstance(network, LearningConverter)
        return network.both(torch.cat(heard))

    def mel_losses(self, is_judged: bool) -> tuple[Tensor, list[Tensor], Tensor, Tensor, Batch]:
        """The loss of the converter, its parts, that of the judges, the mel made of the voice's pieces, and these."""
        options = self.options
        voice = self.voice.draw(options.batch, True)
        others = None if self.others is None else self.others.draw(max(1, int(options.batch * options.real)), False)
        with self.half():
            mel, guess = self.converted(self.converter, voice, others)
        end, count = CONTEXT_END, len(voice.said)
        mel = mel.float()[..., :end]
        own, real, zero = mel[:count], mel[count:], mel.new_zeros(())
        times = 0 if others is None else len(real) // len(others.said)  # each of the others' pieces is there
        tracks = voice.track if others is None else torch.cat([voice.track, others.track.repeat(times, 1, 1)])
        tracks, wanted = tracks[..., :end], voice.said[..., :end]
        l1 = F.l1_loss(own, wanted)
        guessing = saying = agreeing = following = fooling = matching = judging = zero
        if guess is not None and self.content is not None:
            guessing = self._guessing(voice, guess[:count])
            if others is not None:
                guessing = (guessing + self._guessing(others, guess[count : count + len(others.said)])) / 2
        if others is not None and self.content is not None and options.saying > 0:
            with self.half():
                padded = F.pad(real, (0, FRAMES - end), "replicate")
                said = self.content(padded) - self.voice.speaker_mean
            assert others.content is not None
            saying = unlike(said, others.content.repeat(times, 1, 1))
        if others is not None and self.followed is not None:
            with self.half():
                told = self._told(self.followed, others)[..., :end].repeat(times, 1, 1)
            following, wanted = F.l1_loss(real, told), torch.cat([wanted, told])
        elif others is not None and times == 2:
            near, wide = real.chunk(2)
            agreeing = F.l1_loss(near, wide)
        if is_judged:
            with self.half():
                of_wanted = self.judges(wanted, tracks[: len(wanted)])
                of_made, of_detached = self.judges(mel, tracks), self.judges(mel.detach(), tracks)
            of_voice = [(yes.float()[:count], features) for yes, features in of_wanted]
            fooling = _mean((1 - score.float()[:count]).square() for score, _ in of_made) * FOOLING
            if others is not None:
                fooling = (
                    fooling + _mean((1 - score.float()[count:]).square() for score, _ in of_made) * options.fooling
                )
            matching = _mean(
                (ours[: len(wanted)] - theirs.detach()).abs().float()
                for (_, real_features), (_, made) in zip(of_wanted, of_made)
                for theirs, ours in zip(real_features, made)
            )
            judging = _mean((1 - yes).square() for yes, _ in of_voice)
            judging = judging + _mean(no.float()[:count].square() for no, _ in of_detached)
            if others is not None:
                judging = judging + _mean(no.float()[count:].square() for no, _ in of_detached)
        loss = l1 + options.guessing * guessing + options.saying * saying + options.agreeing * agreeing
        return (
            loss + options.told * following + fooling + MATCHING * matching,
            [l1, guessing, saying, agreeing, following, matching, fooling, judging],
            judging,
            own,
            voice,
        )

    @torch.no_grad()
    def _told(self, offline: OfflineConverter, others: Batch) -> Tensor:
        """What the offline converter makes of the others (B, n_mels, T); of a room's noise, silence."""
        assert self.content is not None and others.content is not None and others.loudness is not None
        told = offline(self.content.on_frames(others.content), others.track, others.loudness).float()
        assert others.weight is not None
        is_speech = others.weight.amax(1)[:, None, None] > 0
        return torch.where(is_speech, told, torch.full_like(told, torch.tensor(FLOOR).log().item()))

    def _guessing(self, batch: Batch, guess: Tensor) -> Tensor:
        assert self.content is not None and batch.content is not None and batch.weight is not None
        end = CONTEXT_END
        return unlike(guess[..., :end], self.content.on_frames(batch.content)[..., :end], batch.weight[:, :end])

    def step(self, is_judged: bool) -> None:
        loss, parts, judging, _, _ = self.mel_losses(is_judged)
        self.networks.zero()
        loss.backward(inputs=list(self.converter.parameters()))
        self.networks.update(self.kept, 1.0)
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
    network = copy.deepcopy(training.converter)
    network.load_state_dict(training.networks.average[training.kept])
    with torch.random.fork_rng(device):
        torch.manual_seed(1)
        batch = training.held_pieces.draw(training.options.held, True)
    mel = training.converted(network.eval(), batch, None)[0][..., :CONTEXT_END]
    return F.l1_loss(mel, batch.said[..., :CONTEXT_END]).item(), mel, batch


def voice_mel(pieces: Pieces) -> Tensor:
    """The mean mel of a few of the voice's pieces (n_mels,)."""
    return pieces.draw(16, True).said.mean((0, 2))


def _mean(values: Iterable[Tensor]) -> Tensor:
    return torch.stack([value.mean() for value in values]).mean()


def add_converter_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--speakers", type=Path, metavar="DATA", help="packed recordings of many others [none]")
    parser.add_argument("--teacher", type=Path, help="what checkpoints.training.live.content wrote [none]")
    parser.add_argument(
        "--begin",
        type=Path,
        metavar="WEIGHTS",
        help="to go on from: a .pt, or the folder of a training or a voice [none]",
    )
    parser.add_argument("--channels", type=int, default=256, help="of the converter [%(default)s]")
    parser.add_argument("--blocks", type=int, default=12, help="of the converter [%(default)s]")
    parser.add_argument("--lookahead", type=int, default=2, help="frames [%(default)s]")
    parser.add_argument("--guessing", type=float, default=0.5, help="weight of the content half way [%(default)s]")
    parser.add_argument("--saying", type=float, default=0.25, help="weight of what real speakers say [%(default)s]")
    parser.add_argument("--agreeing", type=float, default=0.5, help="weight of two disguises' likeness [%(default)s]")
    parser.add_argument("--fooling", type=float, default=0.25, help="weight of judges of real speakers [%(default)s]")
    parser.add_argument(
        "--following", type=Path, metavar="OFFLINE", help="what checkpoints.training.live.offline trained [none]"
    )
    parser.add_argument("--told", type=float, default=1.0, help="weight of what it made of others [%(default)s]")
    parser.add_argument("--real", type=float, default=0.375, help="other speakers' pieces for one [%(default)s]")
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
