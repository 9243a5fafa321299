"""What a cache key says of voxport's own code: a hash of the sources that made what is kept under it."""

from __future__ import annotations

import ast
import functools
import hashlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runtime.machine.cache import cache_folder
from runtime.machine.files import write_text

ROOT = Path(__file__).parents[2]
_SUFFIXES = (".py", ".metal", ".h", ".swift", ".cpp", ".yaml", ".flac", ".npz")


@dataclass(frozen=True)
class Sources:
    """Rooms (folders or files below the root), `but` those of their files that take no part."""

    rooms: tuple[str, ...]
    but: tuple[str, ...] = ()

    def files(self) -> Iterator[Path]:
        """Yields every file in them that can change what is made, in one order on every machine."""
        left_out = [ROOT / name for name in self.but]
        for room in self.rooms:
            path = ROOT / room
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.suffix in _SUFFIXES and not any(file.is_relative_to(one) for one in left_out):
                    yield file


# What does not count in any of them: `runtime/machine` moves, locks and checks files, and says nothing of what is in
# them. `tests/runtime/machine/test_sources.py` walks the imports and finds what a list lacks.
BUNDLE = Sources(
    ("checkpoints", "convert/stages.py", "converters", "ops", "runtime/bundle", "runtime/clips",
     "runtime/engines/inspect.py", "runtime/mil/convolutions.py", "runtime/mil/tidy.py",
     "runtime/neuralnetwork/weights.py",
     "runtime/playing/chains", "runtime/playing/latent_tracks.py", "runtime/playing/sampling.py",
     "runtime/playing/matching_tracks.py", "runtime/playing/parts.py",
     "runtime/playing/pitch_tracks.py", "runtime/playing/stages.py", "runtime/playing/tracks.py",
     "runtime/rounding/cases.py", "runtime/speech"),
    # How a checkpoint is found and comes here: its own hash is in the key. A recipe makes checkpoints, and no bundle.
    but=("checkpoints/catalogue.py", "checkpoints/catalogue.yaml", "checkpoints/download.py", "checkpoints/fetch.py",
         "checkpoints/locate.py", "checkpoints/lock.yaml", "checkpoints/options.py", "checkpoints/training",
         "ops/metal/host", "ops/metal/lint.py",
         # What a text is before a voice reads it.
         "runtime/speech/abbreviations.py", "runtime/speech/english.py",
         "runtime/speech/markup.py", "runtime/speech/normalization.py"),
)  # fmt: skip
# Of a precision that is chosen by what the reference engine makes of a program.
CHOICE = Sources(("runtime/engines/mil.py", "runtime/mil", "runtime/rounding"))
MEASUREMENT = Sources(
    ("ops/exporting.py", "ops/metal", "runtime/bundle", "runtime/engines",
     "runtime/measuring/bench/calls.py", "runtime/measuring/bench/closed.py", "runtime/measuring/bench/load.py",
     "runtime/measuring/conversion.py",
     "runtime/measuring/listening.py", "runtime/measuring/measure.py",
     "runtime/mil", "runtime/neuralnetwork", "runtime/playing", "runtime/speech"),
    but=("ops/metal/fused.py", "ops/metal/lint.py", "runtime/engines/predict.py", "runtime/engines/images.py",
         "runtime/engines/inspect.py", "runtime/engines/work.py", "runtime/playing/devices.py",
         "runtime/playing/embed.py",
         "runtime/playing/live.py", "runtime/speech/clips.py", "runtime/speech/sentences.py"),
)  # fmt: skip
LOWERING = Sources(("ops/exporting.py", "runtime/mil"))
# Of all that a job runs; recipes and the lock file of a checkout are not in a wheel.
EVERYTHING = Sources(
    ("checkpoints", "conf", "convert", "converters", "ops", "reports", "runtime"),
    but=("checkpoints/lock.yaml", "checkpoints/training"),
)


def sources_hash(*parts: Sources) -> str:
    """sha256 of the code, without comments, docstrings and layout, and of what else it reads.

    Kept in the cache under the sha256 of the files as they are: to parse those of an engine takes a command 0.2 s.
    """
    files = [file for part in parts for file in part.files()]
    as_they_are = hashlib.sha256(f"{sys.version} {content_hash(Path(__file__))}".encode())
    for file in files:
        as_they_are.update(f"{file.relative_to(ROOT).as_posix()} {content_hash(file)}\n".encode())
    with suppress(OSError):  # no home, nothing kept yet
        return (cache_folder() / "sources" / as_they_are.hexdigest()).read_text()
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(ROOT).as_posix()} {file_hash(file)}\n".encode())
    with suppress(OSError):
        write_text(cache_folder() / "sources" / as_they_are.hexdigest(), digest.hexdigest())
    return digest.hexdigest()


@functools.cache
def content_hash(file: Path) -> str:
    """sha256 of a file as it is."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@functools.cache
def file_hash(file: Path) -> str:
    """sha256 of a file: of Python, of what it does."""
    if file.suffix != ".py":
        return content_hash(file)
    tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.body:
            node.body = [*_without_docstring(node.body)]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _without_docstring(body: list[ast.stmt]) -> Iterable[ast.stmt]:
    first = body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return body[1:] if is_docstring else body
