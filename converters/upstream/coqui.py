"""Imports from coqui-tts on machines where its audio libraries do not load.

coqui-tts 0.28 refuses to be imported unless `torchaudio` and `torchcodec` can be found. voxport calls neither:
the torchaudio 2.11.0 wheel links CUDA and fails to import beside a CPU build of torch, and torchcodec wants FFmpeg.
So the native half of torchaudio is left out, and torchcodec is announced without being there.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType


def import_coqui(module: str) -> ModuleType:
    """A module of coqui-tts, such as `TTS.vocoder.models.hifigan_generator`."""
    if "TTS" not in sys.modules:
        _announce("torchcodec")
        _provide_torchaudio()
        with _few_distributions():
            importlib.import_module("TTS")
    return importlib.import_module(module)


@contextmanager
def _few_distributions() -> Iterator[None]:
    """Within it `importlib.metadata.packages_distributions` knows the two packages that coqui-tts looks up while it is
    imported: for all of them it reads the list of files of every package, twice, which takes half a second."""
    every = importlib.metadata.packages_distributions
    present = {name: [name] for name in ("coqpit", "torch") if _is_installed(name)}
    importlib.metadata.packages_distributions = lambda: present
    try:
        yield
    finally:
        importlib.metadata.packages_distributions = every


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _announce(name: str) -> None:
    """Let `importlib.util.find_spec(name)` succeed; an import of the empty module gives nothing to call."""
    if importlib.util.find_spec(name) is None:
        stand_in = ModuleType(name, "voxport: announced, not installed")
        stand_in.__spec__ = ModuleSpec(name, loader=None)
        sys.modules[name] = stand_in


def _provide_torchaudio() -> None:
    """The pure-Python half of an installed torchaudio where its native library does not load."""
    spec = importlib.util.find_spec("torchaudio")
    if spec is None:
        _announce("torchaudio")
        return
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
            del sys.modules[name]
        package = ModuleType("torchaudio", "voxport: the pure-Python half of torchaudio")
        package.__path__ = list(spec.submodule_search_locations or [])
        package.__spec__ = spec
        # `torchaudio.transforms` and its like import themselves when they are first asked for
        package.__getattr__ = _submodule  # type: ignore[method-assign]
        sys.modules["torchaudio"] = package
        extension = ModuleType("torchaudio._extension", "voxport: says that there is no native half")
        extension._IS_TORCHAUDIO_EXT_AVAILABLE = False  # type: ignore[attr-defined]
        extension.fail_if_no_align = lambda function: function  # type: ignore[attr-defined]
        sys.modules["torchaudio._extension"] = extension


def _submodule(name: str) -> ModuleType:
    try:
        return importlib.import_module(f"torchaudio.{name}")
    except ModuleNotFoundError as error:
        raise AttributeError(f"the pure-Python half of torchaudio has no {name!r}") from error
