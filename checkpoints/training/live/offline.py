"""Trains the converter that a live one learns from: what Whisper makes of speech, to the voice's mel, all of it heard.

    python -m checkpoints.training.live.offline DATA/voice OUT --speakers DATA/speakers --teacher teacher.pt

It hears no mel but the content of one, without its speaker's mean: words stay, and who said them has hardly a way
through. Of the voice's own disguised speech it is told the answer; of real speakers Whisper says whether the same is
said, and judges of mels whether it could be the voice. It sees what is to come, so that it is no live converter; what
it makes of real speakers is what `checkpoints.training.live.converter --following` is told.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from checkpoints.training.live.converter import Batch, ConverterTraining, add_converter_options, voice_mel
from checkpoints.training.live.disguise import Ranges
from checkpoints.training.live.networks import OfflineConverter
from checkpoints.training.live.schedule import add_options, begun, run, set_weights


class OfflineTraining(ConverterTraining):
    """The offline converter (offline.py) and its judges: it hears content, of the voice's pieces as they are disguised.

    Raises SystemExit where no teacher is given.
    """

    kept = "offline"

    def ranges(self, ranges: Ranges) -> Ranges:
        return replace(ranges, silent=0.0)  # content of noise would be as loud as the speech it is not

    def made(self) -> nn.Module:
        if self.content is None:
            raise SystemExit("an offline converter hears content alone: --teacher makes it of mels")
        mean = voice_mel(self.voice)
        network = OfflineConverter(self.content.channels, len(mean), mean)
        if self.options.begin is not None:
            set_weights(network, self.options.begin, self.kept, self.device)
        return network

    def converted(self, network: nn.Module, voice: Batch, others: Batch | None) -> tuple[Tensor, Tensor | None]:
        assert self.content is not None and voice.content is not None and voice.loudness is not None
        with torch.no_grad():
            heard = self.content(voice.heard[:, : -voice.track.shape[1]])
            # the disguise's own mean, which is the one of a speaker, taken away
            heard = heard + (voice.content - heard).mean(2, keepdim=True)
        content, track, loudness = [heard], [voice.track], [voice.loudness]
        if others is not None:
            assert others.content is not None and others.loudness is not None
            content, track = [*content, others.content], [*track, others.track]
            loudness = [*loudness, others.loudness]
        frames = self.content.on_frames(torch.cat(content))
        return network(frames, torch.cat(track), torch.cat(loudness)), None


def main() -> None:
    parser = argparse.ArgumentParser(prog="checkpoints.training.live.offline", description=__doc__)
    parser.add_argument("data", type=Path, metavar="DATA", help="the voice's packed recordings with their pitch")
    add_options(parser, minutes=4.0, alone=1.5, rate=5e-4, batch=64)
    add_converter_options(parser)
    options = parser.parse_args()
    run(OfflineTraining(options, begun(options.seed)), options)


if __name__ == "__main__":
    main()
