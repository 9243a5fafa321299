"""Pictures of a conversion: what is drawn lies where it was measured."""

import dataclasses

import matplotlib.pyplot as plt
import numpy as np
import pytest

from reports import converted
from reports.converted import ConvertedClip, Sound, log_frequency_db, similarities, spectrograms, waits
from runtime.measuring.conversion import ConvertedResult
from runtime.measuring.listening import RATE

RESULT = ConvertedResult("one", "other", "live", 1.0, similarity_to_target=0.8, similarity_to_source=0.3)


@pytest.fixture
def figures(monkeypatch):
    """The figures that were drawn, kept open."""
    drawn = []
    monkeypatch.setattr(converted, "png", lambda figure: drawn.append(figure) or b"")
    yield drawn
    plt.close("all")


def tone(hertz, seconds=0.5):
    times = np.arange(round(seconds * RATE)) / RATE
    return sum(np.sin(2 * np.pi * hertz * k * times) / k for k in range(1, 6)).astype(np.float32) / 5


def test_pitch_is_drawn_on_its_harmonic(figures):
    sounds = tuple(Sound(str(hertz), tone(hertz), RATE) for hertz in (110, 220, 331))
    spectrograms(ConvertedClip("one", "other", sounds, (RESULT,)))
    assert [axis.get_title(loc="left") for axis in figures[0].axes] == ["110", "220", "331"]
    for axis, hertz in zip(figures[0].axes, (110, 220, 331)):
        (line,), (image,) = axis.get_lines(), axis.get_images()
        pitch = np.nanmedian(line.get_ydata())
        assert 60 * 2**pitch == pytest.approx(hertz, rel=0.01)
        left, right, bottom, top = image.get_extent()
        rows = image.get_array()
        loudest = rows[: len(rows) // 2, rows.shape[1] // 2].argmax()
        assert bottom + (loudest + 0.5) * (top - bottom) / len(rows) == pytest.approx(pitch, abs=0.15)
        times = line.get_xdata()
        assert 0 <= left < right <= 0.5 and times[0] == pytest.approx(left, abs=0.04)


def test_a_spectrogram_of_less_than_a_window_is_one_frame():
    assert log_frequency_db(np.zeros(100, np.float32)).shape[1] == 1


def test_similarities_are_bars_and_none_where_nobody_embeds(figures):
    other = dataclasses.replace(RESULT, context="offline", similarity_to_target=0.6, similarity_unconverted=0.1)
    clip = ConvertedClip("one", "other", (), (RESULT, other))
    similarities([clip])
    (axis,) = figures[0].axes
    assert sorted(bar.get_width() for bar in axis.patches) == [0.3, 0.3, 0.6, 0.8]
    assert {bar.get_hatch() for bar in axis.patches} == {"", "//"}, "for those who do not see the colours"
    silent = ConvertedClip("one", "other", (), (ConvertedResult("one", "other", "live", 1.0),))
    assert similarities([silent]) is None


@pytest.mark.parametrize(("future", "total", "verdict"), [(300.0, 340, "cannot be met"), (20.0, 60, "can be met")])
def test_the_delay_is_a_bar_of_its_parts(figures, future, total, verdict):
    waits({"resampling": 0.0, "content, future": future, "chunk": 40.0})
    (axis,) = figures[0].axes
    assert [bar.get_width() for bar in axis.patches] == [future, 40.0], "what takes no time is no part"
    assert axis.get_title(loc="left") == f"{total} ms by structure: the 100 ms (dashed) {verdict}"
    assert axis.lines[0].get_xdata()[0] == 100
