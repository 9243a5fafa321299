"""GitHub's workflows, as far as they can be looked at elsewhere; `python -m benchmarks.nights` executes one."""

import re
import tomllib

import pytest
import torch
import yaml

from benchmarks.nights import ACTIONS, MISTAKE, MISTAKE_IN
from convert.schema import SuiteOptions
from convert.suite import expand
from tests.conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
NIGHTLY = ROOT / ".github" / "workflows" / "nightly.yml"


def steps(workflow, job=None):
    jobs = yaml.safe_load(workflow.read_text())["jobs"]
    return [step for name, one in jobs.items() if job in (None, name) for step in one["steps"]]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_by_hash(workflow):
    used = re.findall(r"uses: (.*)", workflow.read_text())
    assert used and all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", line) for line in used)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_what_is_made_is_in_the_makefile(workflow):
    makefile = (ROOT / "Makefile").read_text()
    targets = {word for step in steps(workflow) for word in re.findall(r"\bmake ([a-z-]+)", step.get("run", ""))}
    assert all(re.search(rf"^{target}:", makefile, re.M) for target in targets)


def test_a_night_installs_what_its_suite_converts_to():
    (install,) = (step["run"] for step in steps(NIGHTLY, "convert") if "pip install" in step.get("run", ""))
    extras = re.search(r"\.\[(.*)\]", install)[1].split(",")
    suite = yaml.safe_load((ROOT / "conf" / "suite" / "nightly.yaml").read_text())
    formats = {setting for job in expand(SuiteOptions("nightly", suite["jobs"]))[0] for setting in job}
    assert {"convert", "listen"} <= set(extras)
    assert ("coreai" in extras) == ("format=coreai" in formats)
    assert set(extras) <= set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


def test_every_step_of_a_night_can_be_executed_elsewhere():
    assert {step["uses"].partition("@")[0] for step in steps(NIGHTLY, "convert") if "uses" in step} == set(ACTIONS)


def test_a_store_outlives_the_night_that_failed():
    """What is kept for the next night is kept whatever became of this one."""
    kept = [step for step in steps(NIGHTLY) if step.get("with", {}).get("name") == "store" and "path" in step["with"]]
    uploads = [step for step in kept if "upload" in step["uses"]]
    assert len(uploads) == 2 and all("always()" in step["if"] for step in uploads)


def test_the_mistake_of_the_third_night_can_be_made():
    namespace = {}
    exec(compile((ROOT / MISTAKE_IN).read_text() + MISTAKE, MISTAKE_IN, "exec"), namespace)
    layer = torch.nn.Sequential(torch.nn.Conv1d(2, 2, 3)).eval()
    louder = namespace["rewrite_upsampling"](layer, "native", [torch.zeros(1, 2, 8)])
    torch.testing.assert_close(louder[0].weight, layer[0].weight * 1.0006)
    torch.testing.assert_close(louder[0].bias, layer[0].bias)
