"""Which programs may be executed: those that this machine wrote, and those that the user says to trust.

A bundle's reference is a PyTorch program. Reading one can run code (its archive may hold pickles, its graph is turned
into Python), and no look at it beforehand is complete. So voxport keeps the sha256 of each reference and manifest that
it wrote in the user's state folder, and opens no other reference unless it is told to. A hash says what a file is
wherever it lies: a copied or renamed bundle stays trusted, one that changed does not.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import platformdirs

from runtime.errors import VoxportError
from runtime.machine.cache import NoHome, folder_of_user

TRUST_REFERENCE = "VOXPORT_TRUST_REFERENCE"  # in the environment of this process and of those that it starts
STATE = "VOXPORT_STATE"
_written_here: set[str] = set()


class UntrustedError(VoxportError, RuntimeError):
    """A program that came from elsewhere and was not executed; the message says how to do without it."""


def state_folder() -> Path:
    """`VOXPORT_STATE`, or the platform's folder for what a program remembers of its user. Raises NoHome."""
    return folder_of_user(STATE, platformdirs.user_state_dir)


def trust_references() -> None:
    """Lets this process and those that it starts execute references that came from elsewhere."""
    os.environ[TRUST_REFERENCE] = "1"


def vouch_for(content: bytes) -> None:
    """Remembers a file as written by this machine; for this process alone where there is no state folder."""
    digest = hashlib.sha256(content).hexdigest()
    _written_here.add(digest)
    try:
        folder = state_folder() / "written"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / digest).touch(mode=0o600)
    except OSError:  # a read-only home, or none: measuring this reference later takes the user's word
        pass


def is_ours(content: bytes) -> bool:
    """Returns whether this machine wrote a file of just this content."""
    digest = hashlib.sha256(content).hexdigest()
    with suppress(NoHome):
        return digest in _written_here or (state_folder() / "written" / digest).is_file()
    return False


def require_trust(program: bytes, path: Path) -> None:
    """Raises UntrustedError where `program`, the bytes of the file at `path`, may not be executed."""
    if os.environ.get(TRUST_REFERENCE) != "1" and not is_ours(program):
        raise UntrustedError(
            f"{path} is a PyTorch program that this machine did not write, and executing it can run any code: take "
            "another engine (a bundle's goldens are all that measuring needs), or say that you trust whoever made it: "
            "--trust-reference, in a job measure.trust_reference=true"
        )
