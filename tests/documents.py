"""Reads the Markdown pages of this repository: their shell blocks, the commands in them, links and anchors."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

_SHELL = ("", "bash", "sh", "console")
_ELIDED = ("…", "=NAME")  # `BUNDLE …`: others of the kind; `model=…`, `model=NAME`: any


@dataclass(frozen=True)
class Block:
    """A fenced block of a page. `mark`: what the comment before it says, `run` or `run: proof`, else empty."""

    page: str
    line: int
    language: str
    mark: str
    text: str

    @property
    def commands(self) -> list[Command]:
        """The commands of a shell block; where it shows output too, they are the lines that begin with `$`."""
        if self.language not in _SHELL:
            return []
        lines = self.text.replace("\\\n", " ").splitlines()
        if any(line.startswith("$ ") for line in lines):
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        return [command for line in lines for command in commands_of(line)]


@dataclass(frozen=True)
class Command:
    """`program`: a module that Python runs, `voxport` or `make`."""

    program: str
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join((self.program, *self.arguments))


def pages() -> list[Path]:
    """The pages that people read, by their place in the repository."""
    folders = ("", "docs", "swift", "checkpoints/training", "checkpoints/bundled/*")
    return sorted(page for folder in folders for page in ROOT.glob(f"{folder}/*.md".lstrip("/")))


def name_of(page: Path) -> str:
    """A page's path from the root of the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    blocks, mark, opened = [], "", None
    inside: list[str] = []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = re.match(r"\s*```(\w*)", line)
        if opened is None and fence:
            opened, inside = (number, fence[1], mark), []
        elif opened is not None and fence:
            blocks.append(Block(name_of(page), *opened, "\n".join(inside)))
            opened = None
        elif opened is not None:
            inside.append(line)
        comment = re.fullmatch(r"<!-- (run(?:: proof)?) -->", line)
        mark = comment[1] if comment else ""
    return blocks


def commands_of(line: str) -> list[Command]:
    """The commands of this repository in a line of shell: `python -m MODULE`, `voxport`, `make`."""
    if not re.search(r"python3? -m|voxport |make ", line):
        return []
    lexer = shlex.shlex(re.sub(r"\d>&\d", "", line), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    segments: list[list[str]] = [[]]
    for token in lexer:
        if set(token) <= set("();<>|&"):
            segments.append([])
        else:
            segments[-1].append(token)
    nested = [command for inner in re.findall(r"'[^']*<\(([^)]*)\)", line) for command in commands_of(inner)]
    return [command for segment in segments if (command := _command(segment))] + nested


def _command(words: list[str]) -> Command | None:
    arguments = [word for word in words if not word.endswith(_ELIDED)]
    if arguments and arguments[0] in ("voxport", "make"):
        return Command(arguments[0], tuple(arguments[1:]))
    for place, word in enumerate(arguments[:-2]):
        if word.rpartition("/")[2] in ("python", "python3") and arguments[place + 1] == "-m":
            return Command(arguments[place + 2], tuple(arguments[place + 3 :]))
    return None


def mentions_of(page: Path) -> list[Command]:
    """The commands that stand in a page's sentences, often a part of one: its name and an option or two."""
    spans = re.findall(r"`([^`]+)`", _sentences(page))
    return [command for span in spans for command in commands_of(" ".join(span.split()))]


def links_of(page: Path) -> list[str]:
    """What a page links to, without addresses of the web."""
    text = re.sub(r"`[^`]*`", "", _sentences(page))
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, by GitHub's rule: lower case, no punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ (.*)$", _sentences(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_link(page: Path, target: str) -> str | None:
    """Returns what is wrong with a link of a page; None where it leads somewhere."""
    path, _, anchor = target.partition("#")
    place = (page.parent / path).resolve() if path else page
    if not place.exists():
        return f"{name_of(page)}: there is no {target}"
    if anchor and anchor not in anchors_of(place):
        return f"{name_of(page)}: {target} has no such heading"
    return None


def _sentences(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^\s*```.*?^\s*```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
