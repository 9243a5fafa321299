"""Adapts the live voice that ships to another speaker: anybody's speech, as it comes, in the voice of the recordings.

    python -m checkpoints.training.live_voice RECORDINGS OUT [--speakers DATA --teacher teacher.pt]
    python -m convert model=live_voice checkpoint.source=OUT/voice

RECORDINGS is a folder of ten to thirty minutes of one speaker, in files of a sentence or a few. Both networks begin as
those that ship and learn together from disguises of the recordings. With packed recordings of many speakers and a
teacher (README.md beside this) they also learn from people who are not disguised: an offline converter of the voice is
trained first, and says what these should become. An interrupted training goes on with the same command.
"""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path

from checkpoints.catalogue import BUNDLED
from checkpoints.training.live.converter import add_converter_options
from checkpoints.training.live.export import export
from checkpoints.training.live.generator import GeneratorTraining, add_generator_options
from checkpoints.training.live.offline import OfflineTraining
from checkpoints.training.live.schedule import add_options, begun, run
from checkpoints.training.live.speech import write_pitch
from checkpoints.training.recordings import packed
from runtime.errors import AudioError

OFFLINE_ALONE = 0.3  # of an offline converter's minutes, those without judges


def voiced(recordings: Path, folder: Path) -> Path:
    """Packs the recordings once, with their pitch, and returns the folder. Raises AudioError for too few."""
    if not (folder / "pitch.npz").is_file():
        write_pitch(packed(recordings, folder))
    return folder


def take_sizes(options: argparse.Namespace) -> None:
    """Sets the networks' sizes to those of the voice that they begin as. Raises AudioError for a folder of no voice."""
    source = options.begin / "config.json"
    try:
        config = json.loads(source.read_text())
        converter, generator = config["converter"], config["generator"]
        options.channels, options.blocks = converter["channels"], converter["blocks"]
        options.lookahead, options.bottleneck = converter["lookahead"], converter["bottleneck"]
        options.width, options.upsampling = generator["channels"], generator["upsampling"]
        options.samples = generator.get("samples", 1)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AudioError(f"--begin takes the folder of an exported live voice, and {options.begin} is none") from error


def followed(options: argparse.Namespace) -> Path:
    """Trains the voice's offline converter for `options.offline` minutes, and returns the folder that it is in."""
    own = copy.copy(options)
    own.out, own.begin, own.following = options.out / "offline", None, None
    own.minutes = own.total = options.offline
    own.alone, own.rate, own.real, own.fooling = OFFLINE_ALONE * options.offline, 5e-4, 0.375, 0.25
    own.batch = options.batch * 8 // 5  # what fits beside a generator is less
    run(OfflineTraining(own, begun(options.seed)), own)
    return own.out


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="checkpoints.training.live_voice",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recordings", type=Path, metavar="RECORDINGS")
    add_options(parser, minutes=13.0, alone=0.0, rate=2e-4, batch=40)
    add_converter_options(parser)
    add_generator_options(parser)
    parser.add_argument(
        "--offline",
        type=float,
        default=3.0,
        metavar="MINUTES",
        help="of the offline converter, where --speakers and --teacher are given; 0 for none [%(default)s]",
    )
    parser.set_defaults(begin=BUNDLED / "kathleen_live", converter=BUNDLED / "kathleen_live", share=0.8)
    parser.set_defaults(agreeing=0.0, saying=0.5, fooling=0.2, real=0.6)  # as what ships was trained
    options = parser.parse_args()
    try:
        take_sizes(options)
        options.data = voiced(options.recordings, options.out / "data")
    except AudioError as error:
        parser.error(str(error))
    if options.offline > 0 and options.following is None and options.speakers and options.teacher:
        options.following = followed(options)
    run(GeneratorTraining(options, begun(options.seed)), options)
    export(options.out / "converter.pt", options.out / "generator.pt", options.out / "voice", options.lookahead)
    print(f"python -m convert model=live_voice checkpoint.source={options.out / 'voice'}")


if __name__ == "__main__":
    main()
