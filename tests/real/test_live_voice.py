"""The live voice that ships with voxport, listened to: words, whose voice, and silence, as `live` makes them."""

import numpy as np
import pytest

from checkpoints.catalogue import BUNDLED
from convert.listening import ENCODER, READERS, open_listeners
from runtime.engines import Execution
from runtime.measuring.conversion import level_db, silences
from runtime.measuring.listening import RATE, compared
from runtime.playing.conversions import ConversionChain, open_conversion, open_main
from runtime.playing.stages import NOBODY
from runtime.speech.clips import clip_paths
from runtime.speech.recordings import read_audio
from runtime.speech.resampling import resampled
from runtime.speech.speaker import cosine

DEVICE = 48000
WEIGHTS = BUNDLED / "kathleen_live" / "model.safetensors"
pytestmark = [
    pytest.mark.proof,  # `make test` has its small relative (tests/converters/test_live_voice.py)
    pytest.mark.skipif(not WEIGHTS.is_file(), reason="the weights of kathleen_live are not here"),
]


@pytest.fixture(scope="module")
def said(real_job):
    """Samples at a sound card's rate -> what `live` says, in the card's blocks."""
    bundle = real_job("model=kathleen_live", "measure.engines=[onnx]").bundle
    execution = Execution("onnx")
    frontend = open_conversion(bundle, NOBODY, DEVICE, "live", execution)
    chain = ConversionChain(frontend, open_main(bundle, execution))

    def say(samples):
        chain.reset()
        blocks = [samples[at : at + 256] for at in range(0, len(samples), 256)]
        return np.concatenate([*map(chain.push, blocks), chain.flush()])

    return say


@pytest.fixture(scope="module")
def listeners():
    missing: list[str] = []
    opened = open_listeners((READERS[0], ENCODER), missing.append)
    if missing:
        pytest.skip(missing[0])
    return opened


def test_its_words_are_understood_and_its_voice_is_hers(said, listeners):
    """Of another speaker, and of her own recordings."""
    hers, *_, others = clip_paths()
    whose = listeners.embed(read_audio(hers, RATE))
    reader = listeners.readers[READERS[0]]
    for path in (others, clip_paths()[1]):
        source = read_audio(path, DEVICE)
        output = resampled(said(source), DEVICE, RATE, "VHQ")
        read = compared(READERS[0], reader.read(read_audio(path, RATE), RATE), reader.read(output, RATE))
        assert read.word_errors <= max(3, 0.25 * read.words), (read.reference, read.text)
        assert cosine(listeners.embed(output), whose) >= 0.68, path.stem  # the threshold of a same speaker
    backwards = resampled(said(source)[::-1].copy(), DEVICE, RATE, "VHQ")
    assert compared("", read.reference, reader.read(backwards, RATE)).word_errors > 0.5 * read.words


def test_silence_stays_silence(said):
    for name, (_, samples) in silences(DEVICE).items():
        assert level_db(said(samples)[DEVICE // 2 :]) <= -55, name
