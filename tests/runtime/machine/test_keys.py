"""Single keys of a terminal."""

import os
import pty
import sys
import termios
import time

from runtime.machine.keys import keys


def test_a_key_is_known_at_once_and_the_terminal_is_as_before(monkeypatch):
    ours, theirs = pty.openpty()
    with open(theirs, closefd=True) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        before = termios.tcgetattr(theirs)
        with keys() as pressed:
            assert pressed() == ""
            os.write(ours, b"p")
            deadline = time.monotonic() + 10
            while (key := pressed()) == "" and time.monotonic() < deadline:
                time.sleep(0.01)
            assert key == "p" and pressed() == ""
        assert termios.tcgetattr(theirs) == before
    os.close(ours)


def test_without_a_terminal_there_are_none(monkeypatch, tmp_path):
    (tmp_path / "input").write_text("ppp")
    with (tmp_path / "input").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        with keys() as pressed:
            assert pressed() == ""
