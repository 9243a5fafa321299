"""Conformance: coremltools' own test-suite, its numeric half switched on and executed by the reference engine.

    python -m runtime.mil.conformance [--suite torch --suite ops …] [--per-class N] [--seed S] [--report FILE.md]

coremltools' tests convert a model, and where they find Core ML they also predict with it and compare with PyTorch or
NumPy. Off a Mac that half is skipped; here `enable_predict()` takes its place. Upstream's own skips and expected
failures stay. Only ML programs count: the neuralnetwork format is not this engine's.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUITES = {
    "ops": "coremltools.converters.mil.mil.ops.tests",
    "torch": "coremltools.converters.mil.frontend.torch.test.test_torch_ops",
    "stateful": "coremltools.converters.mil.frontend.torch.test.test_torch_stateful_model",
}
_ENVIRONMENT = ("VOXPORT_CONFORMANCE_PER_CLASS", "VOXPORT_CONFORMANCE_SEED", "VOXPORT_CONFORMANCE_RESULTS")


@dataclass(frozen=True)
class Case:
    """One test case: `outcome` is pytest's (passed, failed, skipped), `reason` a failure's last line."""

    suite: str
    owner: str
    name: str
    outcome: str
    reason: str


# Part of a case's name or reason -> why it does not pass. What else fails is a defect that nobody has looked at.
KNOWN_FAILURES = {
    "iOS15/test_image_resizing.py::TestCropResize::test_builder_to_backend_smoke": (
        "normalised boxes outside [0, 1], for which the op's documentation defines nothing"
    ),
    "::TestNms::": "needs torchvision, which has no build for this PyTorch",
    "::TestHardswish::test_longer_range_input_element_values": "converts to the neuralnetwork format",
    "::TestSliceByIndex::test_slice_by_index": "converts to the neuralnetwork format",
    "::TestFill::test_builder_to_backend_symbolic": "coremltools' own loader has no variadic dimensions",
    "::TestStack::test_stack_dynamic_range_dim": (
        "Core ML refuses a stack of shapes that are declared unequal; this engine looks at the actual ones"
    ),
    "::TestStateConversionAPI::test_color_input": "image inputs are refused",
    "::TestStateConversionAPI::test_grayscale_input": "image inputs are refused",
    "running_mean and running_var must either both": "PyTorch 2.13 refuses the test's own module",
}


def known_reason(case: Case) -> str | None:
    """Why a failed case does not pass, where that is known."""
    text = f"{case.name} {case.reason}"
    return next((reason for part, reason in KNOWN_FAILURES.items() if part in text), None)


# ------------------------------------------------------------------------------------------------ pytest plugin


def pytest_configure(config: Any) -> None:
    """Makes coremltools' tests believe that they can predict, and this engine predict for them."""
    from runtime.predict import enable_predict

    enable_predict()
    import coremltools as ct
    import coremltools.converters.mil.frontend.torch.test.testing_utils as torch_testing
    import coremltools.converters.mil.testing_utils as testing
    import coremltools.models.utils as model_utils

    model_utils._macos_version = ct.utils._macos_version = lambda: (15, 4)
    testing._IS_MACOS = torch_testing._IS_MACOS = True


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Keeps the ML programs, and of each test class the asked number of cases, drawn by the seed."""
    per_class, seed = int(os.environ[_ENVIRONMENT[0]]), os.environ[_ENVIRONMENT[1]]
    groups: dict[str, list[Any]] = {}
    for item in items:
        if "neuralnetwork" not in item.name:
            groups.setdefault(_owner(item), []).append(item)
    kept = set()
    for owner, group in sorted(groups.items()):
        group.sort(key=lambda item: item.nodeid)
        chosen = group if per_class == 0 else random.Random(seed + owner).sample(group, min(per_class, len(group)))
        kept |= {item.nodeid for item in chosen}
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in kept])
    items[:] = [item for item in items if item.nodeid in kept]


def pytest_runtest_logreport(report: Any) -> None:
    """One line per case into this process's results file; an xfail that passes is pytest's business."""
    path = os.environ.get(_ENVIRONMENT[2])
    if path is None or os.environ.get("PYTEST_XDIST_WORKER") is None:
        return
    if report.when == "call" or report.outcome != "passed":
        if report.when == "teardown":
            return
        crash = getattr(report.longrepr, "reprcrash", None)
        reason = "" if report.outcome != "failed" or crash is None else " ".join(crash.message.split())[:200]
        row = {"name": report.nodeid, "outcome": report.outcome, "reason": reason}
        with open(f"{path}.{os.getpid()}", "a") as file:
            file.write(json.dumps(row) + "\n")


def _owner(item: Any) -> str:
    module = item.module.__name__.removeprefix("coremltools.converters.mil.")
    return f"{module}::{item.cls.__name__ if item.cls else item.originalname}"


# ------------------------------------------------------------------------------------------------------ the runs


def run(suite: str, per_class: int, seed: int, jobs: int, timeout_s: float = 7200.0) -> list[Case]:
    """The cases of one suite; `per_class` 0 means all. Raises RuntimeError where pytest itself fails."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        environment = {
            **os.environ,
            "PYMIL_TEST_TARGETS": "mlprogram",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")])),
            **dict(zip(_ENVIRONMENT, (str(per_class), str(seed), str(results)))),
        }
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-n",
            str(jobs),
            "-p",
            "runtime.mil.conformance",
            "-W",
            "ignore",
        ]
        command += ["--tb=no", "-p", "no:cacheprovider", "--pyargs", SUITES[suite]]
        with tempfile.TemporaryDirectory() as elsewhere:  # away from this project's pytest configuration
            done = subprocess.run(
                command, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
            )
        rows = [json.loads(line) for part in sorted(Path(folder).iterdir()) for line in part.read_text().splitlines()]
    if done.returncode not in (0, 1) or not rows:
        raise RuntimeError(f"pytest ended with {done.returncode}: {(done.stdout + done.stderr).strip()[-500:]}")
    return sorted(
        (Case(suite, row["name"].partition("[")[0], row["name"], row["outcome"], row["reason"]) for row in rows),
        key=lambda case: case.name,
    )


def summary(cases: Sequence[Case]) -> dict[str, float]:
    """Counts, the share of passed cases, and its mean over test classes; what upstream skips is left out."""
    counted = [case for case in cases if case.outcome != "skipped"]
    classes: dict[str, Counter[str]] = {}
    for case in counted:
        classes.setdefault(_class(case), Counter())[case.outcome] += 1
    rates = [count["passed"] / count.total() for count in classes.values()]
    passed = sum(case.outcome == "passed" for case in counted)
    return {
        "cases": len(counted),
        "passed": passed,
        "skipped_upstream": len(cases) - len(counted),
        "classes": len(classes),
        "pass_rate": passed / max(len(counted), 1),
        "class_mean": sum(rates) / max(len(rates), 1),
        "worst_class": min(rates, default=0.0),
    }


def report(cases: Sequence[Case], asked: str) -> str:
    """docs/conformance.md: rates per suite, the classes below 100 %, and every failure with its reason."""
    lines = [
        "# Conformance of the reference engine",
        "",
        f"Made by `python -m runtime.mil.conformance {asked}`.",
        "Cases that upstream skips or expects to fail are left out.",
        "",
        "| suite | cases | passed | rate | mean over classes | worst class |",
        "|---|---|---|---|---|---|",
    ]
    for suite in dict.fromkeys(case.suite for case in cases):
        s = summary([case for case in cases if case.suite == suite])
        lines.append(
            f"| {suite} | {s['cases']} | {s['passed']} | {s['pass_rate']:.1%} | {s['class_mean']:.1%} "
            f"| {s['worst_class']:.0%} |"
        )
    failures = [case for case in cases if case.outcome == "failed"]
    lines += ["", f"## Failures ({len(failures)})", ""]
    lines += [f"- `{case.name}`: {known_reason(case) or case.reason or 'no reason given'}" for case in failures]
    return "\n".join(lines) + "\n"


def _class(case: Case) -> str:
    return case.owner.rpartition("::")[0] or case.owner


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every case passed that upstream does not skip and KNOWN_FAILURES does not explain."""
    parser = argparse.ArgumentParser(prog="python -m runtime.mil.conformance", description=__doc__.split("\n")[0])
    parser.add_argument("--suite", action="append", choices=sorted(SUITES), help="[all of them]")
    parser.add_argument("--per-class", type=int, default=3, help="cases of each test class; 0 is all [3]")
    parser.add_argument("--seed", type=int, default=1, help="of the draw [1]")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes [one per core]")
    parser.add_argument("--report", type=Path, help="write the Markdown report there")
    options = parser.parse_args(arguments)
    cases: list[Case] = []
    for suite in options.suite or sorted(SUITES):
        try:
            found = run(suite, options.per_class, options.seed, options.jobs)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            print(f"error: suite {suite}: {error}", file=sys.stderr)
            return 2
        cases += found
        s = summary(found)
        print(
            f"{suite}: {s['passed']} of {s['cases']} passed ({s['pass_rate']:.1%}; mean over {s['classes']} classes "
            f"{s['class_mean']:.1%}, worst {s['worst_class']:.0%}), {s['skipped_upstream']} left out by upstream",
            flush=True,
        )
    failures = [case for case in cases if case.outcome == "failed"]
    for case in failures:
        print(f"  {case.name}: {known_reason(case) or case.reason}")
    if options.report:
        names = " ".join(f"--suite {suite}" for suite in options.suite or [])
        options.report.write_text(
            report(cases, f"{names} --per-class {options.per_class} --seed {options.seed}".strip())
        )
    return 1 if any(known_reason(case) is None for case in failures) else 0


if __name__ == "__main__":
    sys.exit(main())
