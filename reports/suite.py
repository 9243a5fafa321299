"""Writes the result of a suite: JSON for tools, Markdown for a CI's summary, JUnit XML for its list of tests."""

from __future__ import annotations

import html
import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from reports.metrics import timing
from reports.options import TrackingOptions
from reports.record import read_job
from reports.tracked import conversion_key, tracked_runs
from reports.verdict import Comparison
from runtime.bundle.store import BundleError
from runtime.errors import ExitCode
from runtime.machine.files import first_problem, write_json, write_text
from runtime.measuring.quality import METRICS, against_recording, quality

FILE = "suite.json"

# Of the timings, what a summary has: (metric, its title, its unit).
_TIMES = (
    ("rtf", "RTF", ""),
    ("rtf_sentences", "RTF", ""),
    ("latency_p95_ms", "p95", " ms"),
    ("first_audio_s", "first audio", " s"),
)
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Verdict, worst first -> (element of JUnit XML, exit code). What failed has a code of its own; what could not be told
# is no pass; what was only measured did nothing wrong.
VERDICTS = {
    "failed": ("error", ExitCode.MACHINE),
    "hung": ("error", ExitCode.MACHINE),
    "rejected": ("failure", ExitCode.MISSED),
    "regressed": ("failure", ExitCode.MISSED),
    "noisy": ("skipped", ExitCode.MISSED),
    "running": ("skipped", ExitCode.MISSED),
    "waiting": ("skipped", ExitCode.MISSED),
    "not judged": ("skipped", ExitCode.DONE),
    "passed": ("", ExitCode.DONE),
}


@dataclass(frozen=True)
class JobFacts:
    """The facts that a suite keeps of a bundle. `metrics`: `<engine>/<metric>` -> value; `devices`: engine -> device;
    `timed`: metrics that are a device's own; `runs`: what -> run in MLflow; `is_judged`: whether any gate looked;
    `busy`: engine -> what it was timed beside, of those whose times say little."""

    series: str
    bundle: str
    bundle_key: str
    size_mb: float
    versions: dict[str, str]
    git_commit: str | None
    metrics: dict[str, float]
    timed: dict[str, float]
    devices: dict[str, str]
    runs: dict[str, str] = field(default_factory=dict)
    busy: dict[str, str] = field(default_factory=dict)
    is_judged: bool = True


@dataclass(frozen=True)
class SuiteRow:
    """One job. `rejected`: it missed a gate; `regressed`: it is worse than its champion; `noisy`: it could not be told
    whether it is slower; `not judged`: it was measured, and no gate looked; `failed`: no bundle came; `hung`: it took
    longer than it may; `running` and `waiting`: the suite was interrupted. `is_reused`: nothing had changed.
    `champion`: of its series, in words. `worker`: the machine, and `lost`: those that went away with it. `exit_code`:
    of a job that failed."""

    name: str
    overrides: tuple[str, ...]
    verdict: str
    seconds: float
    bundle: str | None = None
    reason: str = ""
    log: str = ""
    is_reused: bool = False
    champion: str = ""
    facts: JobFacts | None = None
    comparison: Comparison | None = None
    worker: str = ""
    lost: tuple[str, ...] = ()
    exit_code: int = ExitCode.MACHINE

    @property
    def code(self) -> int:
        """The job's part in the suite's exit code."""
        return self.exit_code if self.verdict == "failed" else VERDICTS[self.verdict][1]


@dataclass(frozen=True)
class SuiteResult:
    """`started`: ISO 8601, UTC. `drift`: installed packages that are not the constraints file's."""

    suite: str
    started: str
    rows: tuple[SuiteRow, ...]
    drift: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return self.code == ExitCode.DONE

    @property
    def code(self) -> int:
        """The suite's exit code: the highest of its jobs'. What was too noisy to tell is 1, as what missed a gate."""
        return max((row.code for row in self.rows), default=ExitCode.DONE)

    @property
    def verdict(self) -> str:
        """`passed`; `not judged`: nothing was; `noisy`: nothing went wrong, and of something it could not be told; or
        `failed`."""
        verdicts = {row.verdict for row in self.rows}
        if verdicts - {"passed", "not judged"}:
            return "failed" if verdicts - {"passed", "not judged", "noisy", "running", "waiting"} else "noisy"
        return "not judged" if verdicts == {"not judged"} else "passed"

    @property
    def counts(self) -> dict[str, int]:
        counts = {verdict: sum(row.verdict == verdict for row in self.rows) for verdict in VERDICTS}
        return {verdict: count for verdict, count in counts.items() if count}

    @property
    def worst_first(self) -> list[SuiteRow]:
        return sorted(self.rows, key=lambda row: list(VERDICTS).index(row.verdict))

    @property
    def machines(self) -> str:
        devices = {device for row in self.rows if row.facts for device in row.facts.devices.values()}
        return ", ".join(sorted(devices))


def facts_of(path: Path, tracking: TrackingOptions) -> JobFacts:
    """Reads the facts of a finished bundle. Raises BundleError where its record or measurements cannot be read."""
    bundle, record, measurements = read_job(path)
    manifest = bundle.manifest
    runs = tracked_runs(bundle, tracking)
    named = {"convert": runs.get(conversion_key(manifest))}
    named |= {one.engine: runs.get(one.key) for one in measurements}
    return JobFacts(
        series=manifest.series,
        bundle=manifest.name,
        bundle_key=manifest.key,
        size_mb=bundle.artefact_bytes / 1e6,
        versions=manifest.versions,
        git_commit=manifest.git_commit,
        metrics={
            f"{one.engine}/{name}": value
            for one in measurements
            for name, value in {**quality(one), **against_recording(one)}.items()
        },
        timed={f"{one.engine}/{name}": value for one in measurements for name, value in timing(one).items()},
        devices={one.engine: one.device for one in measurements},
        runs={what: run for what, run in named.items() if run},
        busy={one.engine: str(one.beside) for one in measurements if one.is_busy},
        is_judged=bool(record.gates),
    )


def write_suite(result: SuiteResult, folder: Path) -> None:
    """`suite.json`, `summary.md` and `junit.xml` in `folder`, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FILE, asdict(result), is_private=True)
    write_text(folder / "summary.md", markdown(result))
    write_text(folder / "junit.xml", junit(result))


def write_github_summary(result: SuiteResult) -> None:
    """Appends the Markdown to the file that GitHub Actions names for its summary, if it does."""
    if os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(os.environ["GITHUB_STEP_SUMMARY"]).open("a", encoding="utf-8") as file:
            file.write(markdown(result))


def read_suite(path: Path) -> SuiteResult:
    """Raises BundleError for a file that is no result of a suite."""
    try:
        result = TypeAdapter(SuiteResult).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise BundleError(f"{path} is no suite that this voxport reads: {first_problem(error)}") from error
    for row in result.rows:
        if row.verdict not in VERDICTS:
            raise BundleError(f"{path} is no suite that this voxport reads: {row.verdict!r} is no verdict")
    return result


def markdown(result: SuiteResult) -> str:
    """Writes the result as Markdown, with what went wrong first."""
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in result.counts.items())
    lines = [f"## Suite {plain(result.suite)}, {plain(result.started)}", "", f"{verdicts or 'no jobs'}.", ""]
    for row in result.worst_first:
        if row.comparison is not None and row.comparison.headline:
            lines.append(f"- **{plain(row.name)}**: {plain(row.comparison.headline)}")
            if row.comparison.first_divergence:
                lines.append(f"  - {plain(row.comparison.first_divergence)}")
    if result.drift:
        lines += [f"- Not as in the constraints file: {plain(_drift(result.drift))}"]
    if lines[-1]:
        lines.append("")
    lines += [
        "| job | verdict | quality | time | MB | champion | seconds | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result.worst_first:
        verdict = f"{row.verdict}{', unchanged' if row.is_reused else ''}"
        figures = _figures(row.facts) if row.facts else ("", "", "")
        texts = [row.name, verdict, *figures, _against(row), f"{row.seconds:.1f}", reason_of(row)]
        lines.append(f"| {' | '.join(map(plain, texts))} |")
    lines += ["", "Quality against PyTorch on the worst golden; RTF is elapsed over audio, lower is better."]
    return "\n".join(lines) + "\n"


def _figures(facts: JobFacts) -> tuple[str, str, str]:
    """(quality, time, MB). Quality is the worst of all engines, two metrics at most; times are each engine's own."""
    scores = []
    for metric in (one for one in METRICS if one.is_shown):
        names = ("/" + metric.name, "_" + metric.name)
        values = [value for name, value in facts.metrics.items() if name.endswith(names)]
        if values:
            scores.append(f"{metric.title} {metric.text(metric.worst(values))}")
    times = []
    for engine in facts.devices:
        parts = [
            f"{title} {facts.timed[name]:.3g}{unit}"
            for metric, title, unit in _TIMES
            if (name := f"{engine}/{metric}") in facts.timed
        ]
        if parts:
            times.append(f"{engine}: {', '.join(parts)}")
    return ", ".join(scores[:2]), "; ".join(times), f"{facts.size_mb:.2f}"


def _against(row: SuiteRow) -> str:
    """The champion, and how each subject compares with it."""
    if row.comparison is None:
        return row.champion
    found = [f"{one.subject} {one.verdict}" for one in row.comparison.findings]
    timed = [f"{engine} {test}" for engine, test in row.comparison.latency.items()]
    return f"{row.champion}: {', '.join([*dict.fromkeys(found), *timed])}"


def reason_of(row: SuiteRow) -> str:
    """Why a job has its verdict, and on which machines it was tried."""
    compared = row.comparison.headline if row.comparison else ""
    lost = f"tried again: {', '.join(row.lost)} went away" if row.lost else ""
    engines = ", ".join(row.facts.busy) if row.facts else ""
    busy = f"timed beside other work: {engines}" if engines else ""
    return "; ".join(part for part in (row.reason or compared, lost, busy) if part)


def _drift(drift: dict[str, str]) -> str:
    return ", ".join(f"{package} {change}" for package, change in drift.items())


def plain(text: str) -> str:
    """A text as Markdown that shows it as it is: nothing in it is markup, HTML or a control."""
    return " ".join(re.sub(r"[\\`*\[\]|<&]", _escaped, _visible(text)).splitlines())


def _escaped(sign: re.Match[str]) -> str:
    return html.escape(sign[0]) if sign[0] in "<&" else f"\\{sign[0]}"


def _visible(text: str) -> str:
    """A text in which signs that XML does not have, such as the escapes of a terminal, are written out."""
    return _NO_XML.sub(lambda sign: sign[0].encode("unicode_escape", "surrogatepass").decode(), text)


def junit(result: SuiteResult) -> str:
    """A test case per job: what missed a gate or is worse than its champion is a failure, what gave no bundle an error,
    what could not be told is skipped."""
    counts = {
        element: str(sum(VERDICTS[row.verdict][0] == name for row in result.rows))
        for element, name in {"failures": "failure", "errors": "error", "skipped": "skipped"}.items()
    }
    attributes = {
        "name": result.suite,
        "timestamp": result.started,
        "tests": str(len(result.rows)),
        "time": f"{sum(row.seconds for row in result.rows):.3f}",
        **counts,
    }
    suite = ElementTree.Element("testsuite", attributes)
    for row in result.rows:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"voxport.{result.suite}", name=row.name, time=f"{row.seconds:.3f}"
        )
        element, _ = VERDICTS[row.verdict]
        if element:
            text = "\n".join([*_findings(row), row.log])
            ElementTree.SubElement(case, element, message=reason_of(row) or row.verdict).text = text.strip()
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + _visible(ElementTree.tostring(suite, encoding="unicode")) + "\n"


def _findings(row: SuiteRow) -> Sequence[str]:
    return [f"{finding.subject}: {finding.text}" for finding in row.comparison.findings] if row.comparison else []
