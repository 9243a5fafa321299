"""A job's answer to the process that started it: JSON in a file, never what it prints for people."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from runtime.errors import MachineError
from runtime.machine.files import write_json

RESULT = "VOXPORT_RESULT"  # in the environment of a job: the file for its answer


@dataclass(frozen=True)
class Answer:
    """`exit_code`: None until the job ends by itself. `reasons`: sentences, what was wrong. `bundle`: its folder, once
    it is there, and `is_reused`: nothing had changed. Of `reports judge`: `judgement` and `facts` as JSON has them, and
    `gates_missed`."""

    exit_code: int | None = None
    reasons: tuple[str, ...] = ()
    bundle: str | None = None
    is_reused: bool = False
    judgement: Any = None
    facts: Any = None
    gates_missed: tuple[str, ...] = ()


_file: Path | None = None
_answer = Answer()


def begin() -> None:
    """Takes the file's name out of the environment, which a command's own children inherit. A command that starts calls
    it."""
    global _file
    name = os.environ.pop(RESULT, None)
    _file = Path(name) if name else None


def answer(**changes: Any) -> None:
    """Writes down what is known now, by the fields of `Answer`; nothing where nobody asked."""
    global _answer
    if _file is not None:
        _answer = dataclasses.replace(_answer, **changes)
        write_json(_file, dataclasses.asdict(_answer))


def give_reason(sentence: str) -> None:
    """Adds a sentence on what was wrong."""
    answer(reasons=(*_answer.reasons, sentence))


def read_answer(file: Path) -> Answer:
    """Reads what a job wrote; an empty answer where it wrote nothing. Raises MachineError for a file that is no
    answer."""
    if not file.is_file():
        return Answer()
    try:
        return TypeAdapter(Answer).validate_json(file.read_bytes())
    except ValidationError as error:
        raise MachineError(f"the job's answer cannot be read: {error}") from error
