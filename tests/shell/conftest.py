import pytest

from runtime.machine import command_line
from runtime.machine.command_line import TRACEBACK
from runtime.machine.terminal import QUIET


@pytest.fixture(autouse=True)
def _as_a_process_of_its_own(monkeypatch):
    """What `voxport` tells the rest of its process ends with a test."""
    monkeypatch.setattr(command_line, "_programs", {})
    for name in (TRACEBACK, QUIET):
        monkeypatch.setenv(name, "")
