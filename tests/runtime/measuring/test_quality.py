"""The table of metrics: a row is all that gates, tables and pages need."""

import dataclasses
import shutil

import pytest

from reports.html import write_report
from runtime.measuring import gates
from runtime.measuring.gates import evaluate
from runtime.measuring.options import GateLimits
from runtime.measuring.quality import METRICS, OF_CLIPS, OF_ROWS, Metric, against_recording, metric_of, quality
from runtime.speech.metrics import Agreement

NOT_A_METRIC = {"window_drop_db", "components"}  # how far parts of a clip may lie below it; limits by component


def test_every_limit_is_a_metric_s():
    limits = {field.name for field in dataclasses.fields(GateLimits)}
    assert limits - NOT_A_METRIC <= {metric.name for metric in METRICS}
    needed = {metric.name for metric in METRICS if metric.of != ("clip",)}
    assert needed <= limits


def test_every_number_of_an_agreement_is_a_metric_or_a_place():
    numbers = {field.name for field in dataclasses.fields(Agreement)}
    assert numbers - {metric.name for metric in OF_CLIPS} == {"worst_window_at_s", "max_abs_error"}


@pytest.mark.parametrize(("name", "metric"), [("snr_db", "snr_db"), ("generator_snr_db", "snr_db"), ("stoi", "stoi")])
def test_a_value_is_read_by_its_metric(name, metric):
    assert metric_of(name).name == metric


def test_the_worst_is_the_least_of_what_should_be_more_and_the_most_of_what_should_be_less(fp16):
    (judged,) = [one for one in fp16.measurements if one.engine == "mil"]
    scores = quality(judged)
    assert scores["snr_db"] == judged.worst.agreement.snr_db
    assert scores["log_mel_l1"] == max(clip.agreement.log_mel_l1 for clip in judged.clips)
    recorded = against_recording(judged)
    assert recorded["stoi_recording"] == min(clip.stoi_recording for clip in judged.clips)
    assert recorded["log_mel_l1_recording"] == max(clip.log_mel_l1_recording for clip in judged.clips)


def test_a_row_more_is_judged_shown_and_logged(fp16, monkeypatch, tmp_path):
    """One of an agreement's numbers that is no metric becomes one: nothing but the table is edited."""
    from convert import report
    from reports import html
    from runtime.measuring import quality as table

    added = Metric("max_abs_error", "largest error", ("clip",), False, 4, is_shown=True)
    for module in (gates, report, html, table):
        monkeypatch.setattr(module, "OF_CLIPS", (*OF_CLIPS, added))
    (judged,) = [one for one in fp16.measurements if one.engine == "mil"]
    worst = max(clip.agreement.max_abs_error for clip in judged.clips)
    assert quality(judged)["max_abs_error"] == worst
    limits = GateLimits(snr_db=1)
    limits.max_abs_error = worst / 2
    assert [gate.gate for gate in evaluate(judged, limits) if not gate.passed] == ["max_abs_error"]
    assert "largest error" in [cell for column in report._table(fp16).columns for cell in column.cells]
    for path in (fp16.bundle.path, fp16.bundle.measured):
        shutil.copytree(path, tmp_path / path.name)
    page = write_report(tmp_path / fp16.bundle.path.name).read_text()
    assert '<th class="number">largest error</th>' in page
    assert f">{worst:.4f}<" in page


def test_a_metric_reads_with_its_digits_and_its_unit():
    snr, cosine = OF_ROWS
    assert (snr.text(45.06), snr.number(45.06), snr.heading) == ("45.1 dB", "45.1", "SNR, dB")
    assert (cosine.text(0.9999994), cosine.heading) == ("0.999999", "cosine")
