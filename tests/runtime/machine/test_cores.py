import pytest

from runtime.machine import cores


class Core(tuple):
    """What psutil gives of a core: (user, idle)."""

    idle = property(lambda self: self[1])


@pytest.mark.parametrize(
    ("before", "after", "free"),
    [
        ([(0, 5), (0, 5)], [(0, 5.1), (0, 5.1)], 2),
        ([(0, 5), (0, 5)], [(0.1, 5), (0.02, 5.08)], 1),
        ([(0, 5), (0, 5)], [(0.1, 5), (0.1, 5)], 1),
        ([(0, 5), (0, 5)], [(0, 5), (0, 5)], 2),
    ],
    ids=["all idle", "one busy", "all busy: one is taken anyway", "counters that stand still"],
)
def test_free_cores_are_those_that_stood_idle(before, after, free, monkeypatch):
    readings = iter([before, after])
    monkeypatch.setattr("psutil.cpu_times", lambda percpu: [Core(core) for core in next(readings)])
    monkeypatch.setattr(cores, "allowed_cores", lambda: 2)
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr(cores.time, "sleep", lambda _: None)
    assert cores.free_cores() == free
