"""The pages: every command in them parses, those marked `<!-- run -->` run, every link leads somewhere."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.documents import Block, Command, blocks_of, broken_link, commands_of, links_of, mentions_of, name_of, pages

BLOCKS = [block for page in pages() for block in blocks_of(page)]
ARGPARSE = ("runtime", "checkpoints", "reports")


def _runnable(mark: str) -> list[object]:
    return [pytest.param(block, id=f"{block.page}:{block.line}") for block in BLOCKS if block.mark == mark]


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch):
    """Reads a command as its program would, and does nothing of it: an error's text, or None."""
    import convert.__main__
    from convert.help import topics
    from shell.commands import commands

    monkeypatch.setattr(convert.__main__, "_run_hydra", lambda arguments: 0)
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

    def problem(command: Command) -> str | None:
        program, arguments = command.program, [*command.arguments]
        if program == "make":
            unknown = [one for one in arguments if "=" not in one and one not in targets]
            return f"make has no {unknown}" if unknown else None
        if program == "voxport":
            arguments = [one for one in arguments if one not in ("-v", "--quiet")]
            name, rest = (arguments or ["--help"])[0], arguments[1:]
            if name in ("--help", "--version"):
                return None
            if name == "help":
                return None if set(rest) <= {*topics(), *commands()} else f"there is no help on {rest}"
            if name == "completion":
                return None if rest and list((ROOT / "shell" / "scripts").glob(f"{rest[0]}.*")) else "no such shell"
            if name not in commands():
                return f"voxport has no command {name}"
            program, arguments = commands()[name].package, [*commands()[name].prefix, *rest]
        if program == "convert":
            return None if convert.__main__.main(arguments) == 0 else "convert refuses it"
        if program in ARGPARSE:
            try:
                importlib.import_module(f"{program}.__main__").parser().parse_args(arguments)
            except SystemExit as stop:
                return None if not stop.code else f"{program} refuses it"
            return None
        is_ours = (ROOT / program.partition(".")[0]).is_dir()
        return f"there is no module {program}" if is_ours and find_spec(program) is None else None

    return problem


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_command_in_a_shell_block_parses(page, parsed, capsys):
    commands = [command for block in BLOCKS if block.page == name_of(page) for command in block.commands]
    wrong = [f"{command}: {problem}" for command in commands if (problem := parsed(command))]
    assert not wrong, "\n".join(wrong) + capsys.readouterr().err


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_command_in_a_sentence_exists_with_its_options(page, parsed):
    wrong = [str(command) for command in mentions_of(page) if _is_unknown(command) or _is_refused(command, parsed)]
    assert not wrong


def _is_refused(command: Command, parsed) -> bool:
    return command.program in ("convert", "make") and parsed(command) is not None


def _is_unknown(command: Command) -> bool:
    """Whether a part of a command names a command or an option that its program does not have."""
    from shell.commands import subcommands

    if command.program not in ARGPARSE or not command.arguments:
        return False
    parsers = subcommands(importlib.import_module(f"{command.program}.__main__").parser())
    name, *rest = command.arguments
    if name not in parsers:
        return not name.startswith("-")
    options = parsers[name]._option_string_actions
    return not {one for one in rest if one.startswith("--")} <= {*options}


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_link_leads_to_a_file_and_a_heading_that_exist(page):
    assert not [problem for target in links_of(page) if (problem := broken_link(page, target))]


@pytest.mark.parametrize(
    "line",
    [
        "python -m convert model=hifigan precison=fp16",
        "python -m convert precision=fp17",
        "python -m runtime vocode BUNDLE in.wav out.wav --engines onnx",
        "python -m runtime vocod BUNDLE in.wav out.wav",
        "cd x && .venv/bin/python -m reports judge BUNDLE --yaml > out.txt",
        "voxport speek hello",
        "voxport help precison",
        "source <(voxport completion tcsh)",
        "make covert",
        "python -m benchmarks.qualty",
    ],
)
def test_a_command_that_would_not_run_is_found(line, parsed, capsys):
    (command,) = commands_of(line)
    assert parsed(command)


def test_a_dead_link_and_a_dead_anchor_are_found():
    readme = ROOT / "README.md"
    assert broken_link(readme, "docs/nowhere.md") and broken_link(readme, "docs/commands.md#nowhere")
    assert broken_link(readme, "docs/commands.md#completion") is None


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_no_page_installs_voxport_from_an_index_that_does_not_have_it(page):
    assert not re.findall(r"pip install [^`\n]*\bvoxport\b", page.read_text())


def test_the_errors_that_readme_explains_are_those_of_the_code():
    section = (ROOT / "README.md").read_text().partition("## When something goes wrong")[2].partition("\n## ")[0]
    errors = re.findall(r"^\| `([^`]+)`", section, re.MULTILINE)
    rooms = ("checkpoints", "convert", "runtime")
    code = "".join(path.read_text() for room in rooms for path in (ROOT / room).rglob("*.py"))
    pieces = [piece.strip() for error in errors for piece in error.split("…")]
    assert len(errors) > 8 and not [piece for piece in pieces if piece not in code]


@pytest.fixture
def sandbox(tmp_path: Path, own_job, clips, monkeypatch) -> Path:
    """A folder with what the pages' commands name: `BUNDLE`, a converted vocoder, and `in.wav`, speech."""
    import soundfile

    shutil.copytree(own_job("precision=fp16").bundle.path, tmp_path / "BUNDLE")
    soundfile.write(tmp_path / "in.wav", *soundfile.read(clips[0]))
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, command in (("python", '"$@"'), ("voxport", '-m voxport "$@"')):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {command}\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def _run(block: Block, sandbox: Path) -> None:
    command = ["bash", "-e", "-o", "pipefail", "-c", block.text]
    result = subprocess.run(command, cwd=sandbox, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.strip()


@pytest.mark.parametrize("block", _runnable("run"))
def test_a_block_marked_run_runs(block, sandbox):
    _run(block, sandbox)


@pytest.mark.proof
@pytest.mark.parametrize("block", _runnable("run: proof"))
def test_a_block_marked_run_proof_runs(block, sandbox):
    _run(block, sandbox)
