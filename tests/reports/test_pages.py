"""What holds of every page: on a phone, in the dark, for who hears or sees little."""

import dataclasses
import re
import shutil
from pathlib import Path

import pytest

from reports import benches
from reports.__main__ import main
from reports.html import write_bench, write_mac_check, write_report
from reports.nights import write_night
from reports.options import TrackingOptions
from reports.precisions import write_precisions
from reports.suite import SuiteResult, SuiteRow
from reports.tradeoff import families_of
from reports.upsampling import rows_of, write_comparison
from runtime.machine.files import write_json
from runtime.measuring.bench import load
from runtime.measuring.bench.bundle import BenchOptions, bench_bundle, read_bench
from runtime.measuring.bench.bundle import write_bench as keep_bench
from runtime.measuring.bench.load import OtherLoad
from runtime.measuring.mac_check import MacCheck, Machine

STYLE = Path(benches.__file__).parent / "templates" / "style.css"


def luminance(colour: str) -> float:
    """Relative luminance of `#rgb` or `#rrggbb` (WCAG 2.2)."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(scheme):
    part = STYLE.read_text().split(":root {")[1 + (scheme == "dark")].split("}")[0]
    colours = dict(re.findall(r"--(\w+): (#\w+)", part))
    for text in ("ink", "soft", "good", "bad", "unsure", "link"):
        for behind in ("page", "card", "warning"):
            least, most = sorted(luminance(colours[name]) for name in (text, behind))
            assert (most + 0.05) / (least + 0.05) >= 4.5, (text, behind)


@pytest.fixture(scope="module")
def bench(fp16):
    return bench_bundle(
        fp16.bundle, BenchOptions(seconds=0.05, min_chunks=3, paced_seconds=0, growth_chunks=0, stress=False)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def pages(fp16, bench, folder) -> dict[str, str]:
    """Every kind of page, by its name."""
    for path in (fp16.bundle.path, fp16.bundle.measured):
        shutil.copytree(path, folder / path.name)
    bundle = folder / fp16.bundle.path.name
    other = folder / "other"
    shutil.copytree(bundle, other)
    shutil.copytree(fp16.bundle.measured, folder / "other.measured")
    manifest = other / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"precision": "fp16"', '"precision": "mixed"'))
    night = SuiteResult("s", "2026-01-01T00:00", (SuiteRow("job", (), "rejected", 1.0, reason="snr_db"),))
    check = MacCheck(1, "now", Machine("M3 Max", "macOS"), {}, ())
    write_report(bundle)
    return {
        "report": (folder / f"{bundle.name}.measured" / "report.html").read_text(),
        "nightly": write_night(night, folder, [], TrackingOptions(uri=""), None).read_text(),
        "precisions": write_precisions(families_of([bundle, other]), folder / "precisions.html").read_text(),
        "upsampling": write_comparison(rows_of([bundle]), folder / "upsampling.html").read_text(),
        "bench": write_bench(bench, b"", folder / "bench.html").read_text(),
        "mac-check": write_mac_check(check, folder / "mac.html").read_text(),
    }


def test_every_page_fits_a_phone_has_a_dark_form_and_names_its_players(pages, fp16):
    for name, page in pages.items():
        assert '<meta name="viewport" content="width=device-width' in page, name
        assert "prefers-color-scheme: dark" in page and "@media print" in page, name
        assert "127.0.0.1" not in page and "localhost" not in page, name
        assert all("aria-label" in player for player in re.findall(r"<audio[^>]*", page)), name
        assert all('alt="' in picture for picture in re.findall(r"<img[^>]*", page)), name
        assert not re.search(r"#[0-9a-f]{6}\b", page.replace(STYLE.read_text().rstrip(), "")), (
            f"{name}: a colour of one form"
        )
    assert "✗ rejected" in pages["nightly"], "told without its colour"


def test_precisions_are_heard_and_lead_to_their_reports(pages, folder, fp16):
    page = pages["precisions"]
    labels = re.findall(r"<label>([^<]*)</label>", page)
    assert [label.partition(",")[0] for label in labels] == ["PyTorch", "fp16", "mixed"]
    players = re.findall(r'src="(data:audio/wav[^"]*)"', page)
    assert players[1] == players[2] != players[0], "the same artefact twice, and PyTorch"
    links = re.findall(r'<a href="([^"]*)"', page)
    assert any((folder / link).samefile(folder / f"{fp16.bundle.path.name}.measured" / "report.html") for link in links)


def test_upsampling_names_the_checkpoint_and_what_was_timed_here(pages, fp16):
    page, timed = pages["upsampling"], next(one for one in fp16.measurements if one.latency is not None)
    assert fp16.bundle.manifest.checkpoint.name in page.partition("<main>")[2]
    assert f"{timed.engine}: {timed.latency.p50_ms:.1f} ms / {timed.latency.p99_ms:.1f} ms" in page


def test_a_bench_has_a_page_that_says_how_busy_the_machine_was(bench, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(load, "BUSY_SHARE", 0.15)  # which tests raise: they run beside each other
    assert bench.beside is not None and bench.beside.others_share is not None
    busy = dataclasses.replace(bench, beside=OtherLoad(0.75, 3.0))
    keep_bench(tmp_path / "speed.json", busy)
    assert main(["bench", str(tmp_path / "speed.json"), "--uri="]) == 0
    assert capsys.readouterr().out.strip().endswith("speed.html")
    page = (tmp_path / "speed.html").read_text()
    assert "BUSY: other processes used 75 % of the processors" in page and "card warning" in page
    assert "&lt; 0.2" in page and f"{bench.processes[-1].closed.rtf:.4f}" in page


def test_a_bench_of_an_older_voxport_is_read(bench, tmp_path):
    row = dataclasses.asdict(bench) | {"load_average": 0.5}
    del row["beside"]
    write_json(tmp_path / "speed.json", row)
    assert read_bench(tmp_path / "speed.json").beside is None
