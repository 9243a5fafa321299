"""Processes that are killed, disks that are full, folders that are shared: what several tests of faults need."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from runtime.bundle.store import (
    Bundle,
    CheckpointRecord,
    ComponentRecord,
    Manifest,
    OptionsRecord,
    file_hashes,
    open_bundle,
    write_manifest,
)

# What a process does to files, by the names of Python's audit events.
_TO_FILES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate")


def small_bundle(folder: Path, content: str) -> Bundle:
    """A bundle of one file, and a file measured of it; both hold `content`."""
    folder.mkdir()
    (folder / "weights").write_text(content)
    manifest = Manifest(
        name=folder.name,
        key="key",
        created=content,
        checkpoint=CheckpointRecord(name="a", family="b", licence="c", source="d", sha256="e"),
        options=OptionsRecord(format="onnx", precision="g", upsampler="native", mode="i", target="j"),
        components=(
            ComponentRecord(
                name="only", artefact="weights", reference="weights", inputs=(), outputs=(), computes="", ops={}
            ),
        ),
        versions={},
        git_commit=None,
        parameters=0,
        files=file_hashes(folder),
    )
    write_manifest(folder, manifest)
    bundle = Bundle(folder, manifest)
    bundle.measured.mkdir()
    (bundle.measured / "job.json").write_text(content)
    return bundle


def content_of(path: Path) -> str:
    """What a small bundle holds; it is whole, and what was measured belongs to it."""
    bundle = open_bundle(path)
    content = (path / "weights").read_text()
    assert (bundle.measured / "job.json").read_text() == content
    return content


def killed_at(step: int, action: Callable[[], object]) -> bool:
    """Runs `action` in a process of its own that is killed (-9) before the file operation number `step`.

    Returns whether it was killed; otherwise it has ended well.
    """
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        return os.WIFSIGNALED(status)
    left = step

    def count(event: str, _: object) -> None:
        nonlocal left
        if event in _TO_FILES:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    code = 1
    try:
        sys.addaudithook(count)
        action()
        code = 0
    finally:
        os._exit(code)
