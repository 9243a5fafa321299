"""A bundle's package for an app on a Mac: the Swift class of the custom layer, its kernels, how to add them."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from ops.metal.layout import CORE, FOLDER, TEXTURE, text

KERNELS = (CORE, TEXTURE)
SWIFT = "HiFiGANUpsample.swift"
_SOURCES = Path("Sources", "HiFiGANUpsample")


def write_package(folder: Path) -> None:
    """A Swift package in `folder`: Package.swift, README.md, the class, and the kernel's text as a Swift string.

    The kernels lie there as files too, for who compiles them beforehand.
    """
    sources = folder / _SOURCES
    sources.mkdir(parents=True)
    for name in ("Package.swift", "README.md"):
        shutil.copyfile(FOLDER / "swift" / name, folder / name)
    shutil.copyfile(FOLDER / "swift" / SWIFT, sources / SWIFT)
    (sources / "Kernels.swift").write_text(kernels_in_swift())
    kernels = folder / "Kernels"
    kernels.mkdir()
    for name in KERNELS:
        shutil.copyfile(FOLDER / name, kernels / name)


def build_command(folder: Path, target: Path) -> list[str]:
    """Returns the command that makes a written package a dynamic library, for programs that are no app (on a Mac)."""
    sources = sorted(map(str, (folder / _SOURCES).glob("*.swift")))
    return ["xcrun", "swiftc", "-O", "-emit-library", "-module-name", "HiFiGANUpsample", *sources, "-o", str(target)]


def package_hash() -> str:
    """sha256 of everything that is compiled."""
    return hashlib.sha256((FOLDER / "swift" / SWIFT).read_bytes() + kernels_in_swift().encode()).hexdigest()


def kernels_in_swift() -> str:
    """The texture kernel, core header included, as a raw string literal: what the layer compiles at run time."""
    return f'// Written by voxport from {TEXTURE}.\nlet kernelText = #"""\n{text(TEXTURE)}"""#\n'


def stale_kernels(folder: Path) -> list[str]:
    """The kernels of a written package that are not those of this voxport; none where there is no package."""
    if not folder.is_dir():
        return []
    return [name for name in KERNELS if not _same(folder / "Kernels" / name, FOLDER / name)]


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and one.read_bytes() == other.read_bytes()
