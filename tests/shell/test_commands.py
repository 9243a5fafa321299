"""`voxport`: the commands of the other packages by one name."""

import os
import subprocess
import sys

import pytest

import voxport
from runtime.__main__ import parser
from shell.__main__ import main
from shell.commands import GROUPS, commands
from tests.conftest import ROOT


def test_the_screen_shows_every_command(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) < 45
    assert all(f"\n  {name} " in shown for name in commands())


def test_no_group_names_a_command_that_is_none():
    assert {name for names in GROUPS.values() for name in names} <= set(commands())


@pytest.mark.parametrize(
    ("arguments", "usage"),
    [
        (["vocode", "--help"], "usage: voxport vocode "),
        (["help", "speak"], "usage: voxport speak "),
        (["help", "report", "judge"], "usage: voxport report judge "),
        (["checkpoints", "fetch", "-h"], "usage: voxport checkpoints fetch "),
        (["convert", "--help"], "usage: voxport convert "),
    ],
)
def test_a_command_s_help_says_what_was_typed(arguments, usage):
    done = run(*arguments)
    assert done.returncode == 0 and usage in done.stdout


def test_a_module_s_own_command_keeps_its_name():
    assert parser().format_usage().startswith("usage: python -m runtime ")


@pytest.mark.parametrize(
    ("topic", "lines"),
    [
        ("gates", ["snr_db=null ", "  mel_voice "]),
        ("precision", ["  palette4 ", "precision.bits=8 "]),
        ("checkpoint", ["  kathleen_hifigan ", "checkpoint.source=auto "]),
        ("settings", ["runner.memory_gb=6.0 ", "output=bundles "]),
    ],
)
def test_help_has_a_page_for_a_topic(topic, lines, capsys):
    assert main(["help", topic]) == 0
    shown = capsys.readouterr().out
    assert all(line in shown for line in lines)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["vocoed"], "did you mean 'vocode'?"),
        (["help", "precison"], "did you mean 'precision'?"),
        (["completion", "csh"], "takes one of bash, fish, zsh, got csh"),
    ],
)
def test_what_is_none_is_a_sentence(arguments, sentence, capsys):
    assert main(arguments) == 2
    assert sentence in capsys.readouterr().err


def test_the_version_is_the_module_s(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"voxport {voxport.__version__}\n"


def test_quiet_leaves_the_result_and_verbose_adds_the_time(fp32):
    bundle = str(fp32.bundle.path)
    quiet, verbose = run("--quiet", "info", bundle), run("info", bundle, "-v")
    assert quiet.returncode == verbose.returncode == 0
    assert quiet.stdout == verbose.stdout and quiet.stderr == ""
    assert verbose.stderr.startswith("info: ") and verbose.stderr.endswith(" s, exit code 0\n")


def test_a_quiet_conversion_shows_its_errors(tmp_path):
    done = run("convert", "--quiet", "checkpoint.source=/nowhere", f"output={tmp_path}")
    assert done.returncode == 2
    assert "there is no such path" in done.stderr and "✓" not in done.stderr


def run(*arguments):
    command = [sys.executable, "-m", "voxport", *arguments]
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
