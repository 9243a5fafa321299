import re
import shutil

import pytest

from reports.__main__ import main as reports_main
from reports.html import write_report
from reports.options import TrackingOptions
from reports.worker import ReportWorker, WorkerError
from runtime.bundle.store import BundleError

CLIPS = {"small": 2, "full": 3}


@pytest.fixture
def copy(fp16, tmp_path):
    for path in (fp16.bundle.path, fp16.bundle.measured):
        shutil.copytree(path, tmp_path / path.name)
    return tmp_path / fp16.bundle.path.name


def test_the_page_is_self_contained_and_says_what_was_measured(fp16, copy, width):
    page = write_report(copy).read_text()
    assert not re.search(r"(src|href)=\"(?!data:)", page), "nothing is loaded from elsewhere"
    assert page.count("data:audio/wav;base64,") == 3 * CLIPS[width], "recording, PyTorch and artefact of each clip"
    assert page.count("data:image/png;base64,") == 3 + CLIPS[width]
    assert "All gates met" in page
    assert '<td title="snr_db">SNR, dB</td>' in page and "≥ " in page and "✓ met" in page
    for measurement in fp16.measurements:
        for clip in measurement.clips:
            assert f">{clip.agreement.snr_db:.1f}<" in page
    for text in (fp16.bundle.manifest.key, fp16.bundle.manifest.checkpoint.sha256, "coremltools", "head", "tail"):
        assert text in page


def test_the_page_has_a_dark_form_and_no_colour_outside_it(copy):
    style = re.search(r"<style>(.*?)</style>", write_report(copy).read_text(), re.DOTALL)[1]
    _, light, dark = style.split(":root {")
    rest = style[style.index("\n* {") :]
    names = [set(re.findall(r"--\w+(?=:)", part.split("}")[0])) for part in (light, dark)]
    assert names[0] == names[1] == set(re.findall(r"--\w+", rest)), "every colour has both forms"
    assert re.findall(r"#[0-9a-f]{3,6}", rest) == ["#fff"], "plots are drawn on white"
    assert re.search(r"\.card \{[^}]*overflow-x: auto", rest), "a wide table scrolls in its card, not the page"


def test_every_plot_is_also_a_file(copy, width):
    write_report(copy)
    names = sorted(path.stem for path in (copy.parent / f"{copy.name}.measured" / "plots").iterdir())
    assert [name for name in names if not name.startswith("clip-")] == ["error-frequency", "latency", "ops"]
    assert len(names) == 3 + CLIPS[width]
    first = copy.parent / f"{copy.name}.measured" / "plots" / "latency.png"
    assert first.read_bytes().startswith(b"\x89PNG")


def test_text_from_a_checkpoint_is_escaped(copy):
    manifest = copy / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"licence": "', '"licence": "<script>alert(1)</script>'))
    assert "<script>alert(1)" not in write_report(copy).read_text()


def test_the_command_writes_it_again_and_a_missing_record_is_a_sentence(copy, capsys):
    assert reports_main(["html", str(copy)]) == 0
    assert capsys.readouterr().out.strip().endswith("report.html")
    (copy.parent / f"{copy.name}.measured" / "job.json").unlink()
    assert reports_main(["html", str(copy)]) == 2
    assert "job.json is missing" in capsys.readouterr().err
    with pytest.raises(BundleError):
        write_report(copy)


def test_the_worker_answers_and_its_errors_are_the_job_s_to_tell(copy, tmp_path):
    with ReportWorker(TrackingOptions(enabled=False)) as worker:
        worker.wait_until_warm()
        assert worker.report(copy).is_file()
        with pytest.raises(WorkerError, match="is not a bundle"):
            worker.report(tmp_path)
        worker._process.kill()
        worker._process.wait()
        with pytest.raises(WorkerError, match="died"):
            worker.report(copy)
