"""Completion: what each word can become, and in the shells themselves what Tab makes of a line."""

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time

import pytest

from shell.completion import candidates
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["conv"], ["convert", "convert-voice"]),
        (["convert", "precision=pal"], ["precision=palette4", "precision=palette4_grouped", "precision=palette6",
                                        "precision=palette6_int8"]),
        (["convert", "-m", "precision=fp32,mi"], ["precision=fp32,mixed"]),
        (["convert", "measure.tr"], ["measure.trust_reference="]),
        (["convert", "measure.trust_reference="], ["measure.trust_reference=false", "measure.trust_reference=true"]),
        (["convert", "output="], []),
        (["vocode", "--eng"], ["--engine"]),
        (["vocode", "--engine", "on"], ["onnx"]),
        (["vocode", ""], []),
        (["checkpoints", "ve"], ["verify"]),
        (["checkpoints", "fetch", "ljspeech_v"], ["ljspeech_vits"]),
        (["report", "jud"], ["judge"]),
        (["help", "gat"], ["gates"]),
        (["completion", "z"], ["zsh"]),
        (["nonsense", "--"], []),
    ],
)  # fmt: skip
def test_a_word_becomes(words, expected):
    assert candidates(["--", *words]) == expected


SETUP = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "source <(voxport completion bash)"),
    "zsh": (["zsh", "-f", "-i"], "autoload -Uz compinit; compinit -u -D; source <(voxport completion zsh)"),
}


@pytest.mark.parametrize("shell", SETUP)
@pytest.mark.skipif(sys.platform == "win32", reason="has no terminals of this kind")
def test_tab_completes_in_the_shell(shell, tmp_path):
    command, setup = SETUP[shell]
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {shell} here")
    with_voxport(tmp_path)
    (tmp_path / "weights.pth").touch()
    session = Session(command, tmp_path)
    try:
        session.type(f"{setup}; echo r''eady\n", "ready")
        for line, becomes in (
            ("voxport chec\t", "voxport checkpoints "),
            ("\x15voxport convert precision=mi\t", "precision=mixed "),
            ("\x15voxport convert checkpoint.source=weig\t", "checkpoint.source=weights.pth"),
        ):
            session.type(line, becomes)
    finally:
        session.close()


def test_fish_completes(tmp_path):
    if shutil.which("fish") is None:
        pytest.skip("there is no fish here")
    environment = with_voxport(tmp_path)
    program = "voxport completion fish | source; complete -C 'voxport convert precision=mi'"
    done = subprocess.run(["fish", "-N", "-c", program], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.stdout.splitlines() == ["precision=mixed"], done.stderr


def with_voxport(folder):
    """Puts the command into a folder; the environment in which it is found."""
    command = folder / "voxport"
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m voxport "$@"\n')
    command.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder), "TERM": "dumb"}


class Session:
    """A shell at a terminal of its own."""

    def __init__(self, command, folder):
        self.process, self.terminal = pty.fork()
        if self.process == 0:
            os.chdir(folder)
            os.execvpe(command[0], command, with_voxport(folder))

    def type(self, text, expected, seconds=30):
        """Types, and waits until the terminal shows what is expected."""
        os.write(self.terminal, text.encode())
        shown, end = b"", time.monotonic() + seconds
        while expected.encode() not in shown:
            assert time.monotonic() < end, shown
            if select.select([self.terminal], [], [], 0.2)[0]:
                shown += os.read(self.terminal, 65536)

    def close(self):
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        os.close(self.terminal)
