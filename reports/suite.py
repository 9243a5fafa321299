"""What came of a suite: JSON for tools, Markdown for a CI's summary, JUnit XML for its list of tests."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from runtime.bundle import BundleError
from runtime.files import write_json, write_text

VERDICTS = ("passed", "rejected", "failed", "hung", "running", "waiting")


@dataclass(frozen=True)
class SuiteRow:
    """One job. `rejected`: it missed a gate; `failed`: no bundle came; `hung`: it took longer than it may; `running`
    and `waiting`: it was interrupted. `is_reused`: nothing had changed. `champion`: of its series, in words."""

    name: str
    overrides: tuple[str, ...]
    verdict: str
    seconds: float
    bundle: str | None = None
    reason: str = ""
    log: str = ""
    is_reused: bool = False
    champion: str = ""


@dataclass(frozen=True)
class SuiteResult:
    """`started`: ISO 8601, UTC."""

    suite: str
    started: str
    rows: tuple[SuiteRow, ...]

    @property
    def passed(self) -> bool:
        return all(row.verdict == "passed" for row in self.rows)


def write_suite(result: SuiteResult, folder: Path) -> Path:
    """`suite.json`, `summary.md` and `junit.xml` in `folder`, each whole or not at all; the folder's path.

    Where GitHub Actions names a file for its summary, the Markdown goes there too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "suite.json", asdict(result))
    summary = markdown(result)
    write_text(folder / "summary.md", summary)
    write_text(folder / "junit.xml", junit(result))
    if os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(os.environ["GITHUB_STEP_SUMMARY"]).open("a", encoding="utf-8") as file:
            file.write(summary)
    return folder


def read_suite(path: Path) -> SuiteResult:
    """Raises BundleError for a file that is no result of a suite."""
    try:
        return TypeAdapter(SuiteResult).validate_json(path.read_text())
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise BundleError(f"{path} is no suite that this voxport reads: {error}") from error


def markdown(result: SuiteResult) -> str:
    """What went wrong first."""
    counts = {verdict: sum(row.verdict == verdict for row in result.rows) for verdict in VERDICTS}
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    lines = [f"## Suite {result.suite}, {result.started}", "", f"{said or 'no jobs'}.", ""]
    lines += ["| job | verdict | seconds | champion | |", "|---|---|---|---|---|"]
    for row in sorted(result.rows, key=lambda row: row.verdict == "passed"):
        verdict = f"{row.verdict}{', unchanged' if row.is_reused else ''}"
        reason = row.reason.replace("|", "\\|").replace("\n", " ")
        lines.append(f"| {row.name} | {verdict} | {row.seconds:.1f} | {row.champion} | {reason} |")
    return "\n".join(lines) + "\n"


def junit(result: SuiteResult) -> str:
    """A test case per job: what missed a gate is a failure, what gave no bundle an error."""
    of_kind = {
        "failures": sum(row.verdict == "rejected" for row in result.rows),
        "errors": sum(row.verdict in ("failed", "hung") for row in result.rows),
        "skipped": sum(row.verdict in ("running", "waiting") for row in result.rows),
    }
    attributes = {
        "name": result.suite,
        "timestamp": result.started,
        "tests": str(len(result.rows)),
        "time": f"{sum(row.seconds for row in result.rows):.3f}",
        **{kind: str(count) for kind, count in of_kind.items()},
    }
    suite = ElementTree.Element("testsuite", attributes)
    for row in result.rows:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"voxport.{result.suite}", name=row.name, time=f"{row.seconds:.3f}"
        )
        kind = {"rejected": "failure", "failed": "error", "hung": "error", "running": "skipped", "waiting": "skipped"}
        if row.verdict in kind:
            ElementTree.SubElement(case, kind[row.verdict], message=row.reason or row.verdict).text = row.log
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"
