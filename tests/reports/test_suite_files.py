"""What a suite leaves is Markdown, XML and JSON, whatever its jobs said; what is damaged of it is a sentence."""

import xml.etree.ElementTree as ElementTree

import pytest

from reports.suite import FILE, SuiteResult, SuiteRow, junit, markdown, read_suite, write_suite
from runtime.bundle.store import BundleError

NASTY = "\x1b[1mbold\x00\x08 <img src=x onerror=alert(1)> & a|b `x` [l](javascript:1)\r\nnext \ud800 \ufffe é"
DAMAGED = {
    "empty": "",
    "list": "[]",
    "null": "null",
    "text": "{",
    "nested": "[" * 100_000,
    "nested objects": '{"a":' * 100_000,
    "number": "17",
    "no fields": "{}",
    "no text": b"\xff\xfe\x00",
    "wrong field": '{"suite": 3, "started": "x", "rows": {}}',
    "unknown verdict": (
        '{"suite": "s", "started": "x", "rows": [{"name": "j", "overrides": [], "verdict": "<b>", "seconds": 1}]}'
    ),
}


def damaged(path, name):
    content = DAMAGED[name]
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def result(text=NASTY):
    rows = (SuiteRow(f"job {text}", (), "failed", 1.0, reason=text, champion=text, log="log.txt", lost=(text,)),)
    return SuiteResult(f"own {text}", "2026-11-26T02:17:00+00:00", rows, {"package": text})


def test_junit_is_xml_whatever_a_job_says():
    suite = ElementTree.fromstring(junit(result()))
    (error,) = suite.iter("error")
    assert error.get("message").startswith(r"\x1b[1mbold\x00\x08 <img src=x onerror=alert(1)> & a|b")
    assert r"\ud800 \ufffe é" in error.get("message")


def test_the_summary_is_markdown_whatever_a_job_says():
    summary = markdown(result())
    assert "<" not in summary and "\x1b" not in summary and "\x00" not in summary and "\r" not in summary
    assert r"&lt;img src=x onerror=alert(1)> &amp; a\|b \`x\` \[l\](javascript:1) next" in summary
    (row,) = [line for line in summary.splitlines() if line.startswith("| job")][1:]
    assert row.replace(r"\|", "").count("|") == 9, "eight cells"


def test_it_is_read_as_it_was_written(tmp_path):
    write_suite(result(), tmp_path)
    again = read_suite(tmp_path / FILE)
    assert again.rows[0].reason == NASTY.replace("\ud800", r"\ud800")
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_suite_is_a_sentence(tmp_path, name):
    with pytest.raises(BundleError, match="is no suite that this voxport reads") as caught:
        read_suite(damaged(tmp_path / FILE, name))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
