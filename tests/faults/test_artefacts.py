"""Damaged artefacts, manifests and goldens: opened and executed, each ends with a result or with a sentence."""

import pytest

from tests.faults.artefacts import KINDS, make_seeds
from tests.faults.watched import table, watched

MODULE = "tests.faults.artefacts"


@pytest.fixture(scope="module")
def seeds(fp16, stateful, tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds")
    streaming = stateful.bundle
    make_seeds(folder, fp16.bundle.path, streaming.path)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_damaged_ends_with_a_sentence(seeds, kind):
    counts = watched(MODULE, kind, 40, seeds)
    assert not counts.alarms
    assert counts.outcomes.total() == 40
    assert counts.outcomes["refused with a sentence"] > 10, "the damage is one"


@pytest.mark.proof
def test_ten_thousand_damaged_ones_end_with_a_sentence(seeds, capsys):
    rows = {kind: watched(MODULE, kind, 1700, seeds) for kind in KINDS}
    with capsys.disabled():
        print(f"\n{table(rows)}")
    assert not [alarm for counts in rows.values() for alarm in counts.alarms]
    assert sum(counts.outcomes.total() for counts in rows.values()) >= 10_000
