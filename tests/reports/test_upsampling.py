"""The comparison of upsampling forms: its figures, and a Mac's in their place where there are any."""

import dataclasses

import pytest

from ops.metal.layout import UpsampleShape
from reports.__main__ import main as reports_main
from reports.upsampling import rows_of
from runtime.measuring.bench.closed import Latency
from runtime.measuring.mac_check import read_check
from runtime.measuring.measure import measurement_path, write_measurement
from runtime.measuring.roofline import Machine, cost

STAGE = UpsampleShape(512, 256, 16, 8, 4, 100)
# A machine that counts: a multiply-add takes two seconds, a byte one.
COUNTS = Machine("counting", flops=1.0, bandwidth=1.0)


def test_arithmetic_bytes_and_launches_of_each_form():
    weights, given, made = 512 * 256 * 16, 512 * 100, 256 * 800
    native, polyphase, metal = (cost([STAGE], form, "fp16", COUNTS) for form in ("native", "polyphase", "metal"))
    assert native.macs == metal.macs == weights * 100
    assert polyphase.macs == 1.5 * native.macs, "three taps where two are needed"
    assert (native.launches, polyphase.launches, metal.launches) == (2, 3, 1)
    assert metal.bytes == 2 * (given + made + weights)
    assert native.bytes == metal.bytes + 2 * 2 * given
    assert polyphase.bytes == native.bytes + 2 * 2 * made + 2 * (1.5 - 1) * weights
    assert cost([STAGE], "metal", "fp32").bytes == 2 * metal.bytes
    assert metal.seconds == max(2 * metal.macs, metal.bytes)
    assert native.seconds == 2 * 2 * given + max(2 * native.macs, metal.bytes)
    assert cost([STAGE, STAGE], "metal", "fp16").launches == 2


def test_the_macs_of_hifigan_v1_are_those_of_its_publication_s_width():
    """9.4 M multiply-adds per mel frame, 3 % of the network's 307 M."""
    stages, frames = [], 10
    for sizes in ((512, 256, 16, 8, 4), (256, 128, 16, 8, 4), (128, 64, 4, 2, 1), (64, 32, 4, 2, 1)):
        stages.append(UpsampleShape(*sizes, frames))
        frames = stages[-1].samples
    assert cost(stages, "native", "fp16").macs / 10 == pytest.approx(9.4e6, rel=0.01)


def test_a_row_has_the_bundle_s_parity_and_no_latency_off_the_mac(fp16, width):
    (row,) = rows_of([fp16.bundle.path])
    assert (row.format, row.upsampler, row.engine) == ("mlprogram", "polyphase", "mil")
    assert row.quality["snr_db"] == pytest.approx(
        min(m.worst.agreement.snr_db for m in fp16.measurements if m.engine == "mil")
    )
    assert row.on_a_mac == ()
    assert row.upsampling_ops == {"small": "reshape 4, transpose 2", "full": "reshape 8, transpose 4"}[width]


def test_what_a_mac_measured_stands_in_its_column(fp16, tmp_path, monkeypatch):
    import shutil

    for path in (fp16.bundle.path, fp16.bundle.measured):
        shutil.copytree(path, tmp_path / path.name)
    copied = dataclasses.replace(fp16.bundle, path=tmp_path / fp16.bundle.path.name)
    timed = next(m for m in fp16.measurements if m.latency is not None)
    assert isinstance(timed.latency, Latency)
    mac = dataclasses.replace(
        timed, engine="coreml", device="Apple M3 Max", compute_unit="cpu_and_gpu",
        latency=dataclasses.replace(timed.latency, p50_ms=1.25, p99_ms=2.5),
    )  # fmt: skip
    write_measurement(measurement_path(copied, "coreml", None), mac)
    job = copied.measured / "job.json"
    name = measurement_path(copied, "coreml", None).name
    import json

    record = json.loads(job.read_text())
    record["measurements"].append(name)
    job.write_text(json.dumps(record))
    for engine in ("coreml",):
        for clip in mac.clips:
            source = copied.measured / "audio" / f"{timed.engine}-{clip.clip}.npy"
            shutil.copy(source, copied.measured / "audio" / f"{engine}-{clip.clip}.npy")
    assert reports_main(["upsampling", str(copied.path), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "cpu_and_gpu: 1.2 ms / 2.5 ms on Apple M3 Max" in page or "1.25" in page
    assert "not measured</td>" not in page


def test_a_missing_bundle_or_check_is_a_sentence(fp16, tmp_path, capsys):
    assert reports_main(["upsampling", str(tmp_path / "none")]) == 2
    assert "none" in capsys.readouterr().err
    path = tmp_path / "check.json"
    path.write_text("{}")
    assert reports_main(["upsampling", str(fp16.bundle.path), "--mac-check", str(path)]) == 2
    assert "no mac-check that this voxport reads" in capsys.readouterr().err
    assert callable(read_check)
