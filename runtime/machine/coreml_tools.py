"""The one place that imports coremltools: without its warnings, and without packages it only looks for."""

from __future__ import annotations

import functools
import gc
import importlib
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from tqdm import tqdm

# coremltools imports these at start-up only to learn that it cannot convert their models
# (scikit-learn > 1.5.1 is refused, transformers and torchao serve its own tests and tensors that nobody has here); they
# cost more than half its import time.
_NOT_NEEDED = ("sklearn", "transformers", "xgboost", "tensorflow", "torchao")

# It compresses PyTorch models, where voxport compresses programs, and costs a quarter of the import time.
_UNUSED = "coremltools.optimize.torch"

_PROGRESS_BARS = (
    ("coremltools.converters.mil.frontend.torch.ops", "_tqdm"),
    ("coremltools.converters.mil.mil.passes.pass_pipeline", "tqdm"),
    ("coremltools.converters.mil.backend.nn.op_mapping", "_tqdm"),
)


def coremltools() -> ModuleType:
    """coremltools, imported on first use and quiet: problems come as exceptions, not as log lines."""
    if "coremltools" in sys.modules:
        return sys.modules["coremltools"]
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    with _hidden(_NOT_NEEDED), _empty(_UNUSED), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module("coremltools")
        for name, attribute in _PROGRESS_BARS:
            setattr(importlib.import_module(name), attribute, functools.partial(tqdm, disable=True))
    return module


def optimizer() -> ModuleType:
    """coremltools.optimize.coreml, without its progress bars."""
    coremltools()
    module = importlib.import_module("coremltools.optimize.coreml")
    for name in ("_post_training_quantization", "_quantization_passes"):
        bars = importlib.import_module(f"coremltools.optimize.coreml.{name}")
        bars.tqdm = functools.partial(tqdm, disable=True)  # type: ignore[attr-defined]
    return module


@contextmanager
def quick_conversion() -> Iterator[None]:
    """Within it coremltools converts without two of its costs, to the same program.

    It validates a program at the end of a pipeline of passes, not after every pass as well, which takes a third of the
    time of converting a large one. And the garbage collection by which it ends a conversion leaves aside what was there
    before: the modules of PyTorch alone are a third of a second.
    """
    coremltools()
    manager = importlib.import_module("coremltools.converters.mil.mil.passes.pass_pipeline").PassPipelineManager
    program = importlib.import_module("coremltools.converters.mil").Program
    apply, validate = manager.apply_pipeline, program.validate

    def apply_and_validate(prog: Any, pass_pipeline: Any) -> None:
        program.validate = lambda *_, **__: None
        try:
            apply(prog, pass_pipeline)
        finally:
            program.validate = validate
        prog.validate()

    manager.apply_pipeline = staticmethod(apply_and_validate)
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        manager.apply_pipeline = staticmethod(apply)


@contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    absent = [name for name in names if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment]  # makes `import name` raise ImportError
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)


@contextmanager
def _empty(name: str) -> Iterator[None]:
    """Within it a submodule imports as an empty one; afterwards it can be imported as it is."""
    package, _, attribute = name.rpartition(".")
    sys.modules[name] = ModuleType(name)
    try:
        yield
    finally:
        del sys.modules[name]
        if package in sys.modules:
            vars(sys.modules[package]).pop(attribute, None)
