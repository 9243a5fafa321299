"""Apple's Core AI runtime, from the wheel `coreai-core`: it executes an `.aimodel` on Linux too, to be right, not fast.

Only the route through `AIModelAsset.executable` works there. A Metal kernel has no symbol off a Mac: such a network's
twin is executed in its place (`voxport.load` on the bundle picks it).
"""

from __future__ import annotations

import asyncio
import os
import platform
import subprocess
import sys
import weakref
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from runtime.bundle.spec import TensorSpec, checked_inputs
from runtime.engines import State, cpu_name
from runtime.errors import ArtefactError, EngineError
from runtime.machine.extras import how_to_install
from runtime.machine.tether import tethered

_SETTLE_SECONDS = 0.2


class CoreAIEngine:
    """`threads` is not Core AI's to choose and is not used. `function`: by default the first. `trial`: whether another
    process loads the model first, for a damaged one takes the process down; what this machine wrote needs none."""

    name = "coreai"

    def __init__(self, path: Path, threads: int | None = None, trial: bool = True, function: str | None = None) -> None:
        if path.suffix != ".aimodel":
            raise ArtefactError(f"the coreai engine executes an .aimodel, not {path.name}")
        asset = open_asset(path)
        if trial:
            _try(path)
        if platform.system() != "Darwin" and kernels_in(asset):
            raise EngineError(
                f"{path.name} has Metal kernels, which run on a Mac only: open its bundle, there is a twin without them"
            )
        self.device = cpu_name()
        self._loop = asyncio.new_event_loop()
        stack = AsyncExitStack()
        try:
            with _without_messages():
                model = self._loop.run_until_complete(stack.enter_async_context(asset.executable()))
                self._function = model.load_function(function or model.function_names[0])
        except Exception as error:  # whatever Apple's runtime raises
            _close(self._loop, stack)
            raise EngineError(f"Core AI cannot load {path.name}: {error}") from error
        self._finalizer = weakref.finalize(self, _close, self._loop, stack)
        described = self._function.desc
        self.inputs = tuple(_spec(name, described.input_descriptor(name)) for name in described.input_names)
        self.outputs = tuple(_spec(name, described.output_descriptor(name)) for name in described.output_names)

    def new_state(self) -> State:
        return {}

    def run(self, inputs: Mapping[str, np.ndarray], state: State | None = None) -> dict[str, np.ndarray]:
        from coreai.runtime import NDArray

        arrays = {name: NDArray(array) for name, array in checked_inputs(self.inputs, inputs).items()}
        try:
            results = self._loop.run_until_complete(self._function(arrays))
        except Exception as error:
            raise EngineError(f"Core AI cannot execute this artefact: {error}") from error
        return {spec.name: np.array(results[spec.name].numpy(), spec.dtype) for spec in self.outputs}


def open_asset(path: Path) -> Any:
    """The `AIModelAsset` at `path`; raises ArtefactError, and EngineError without Apple's packages."""
    try:
        from coreai.authoring import AIModelAsset
    except ImportError as error:
        raise EngineError(f"the coreai engine needs Apple's packages: {how_to_install('coreai')}") from error
    if not AIModelAsset.is_valid(path):
        raise ArtefactError(f"{path} is missing or no Core AI model: convert again")
    try:
        return AIModelAsset.load(path)
    except RuntimeError as error:
        raise ArtefactError(f"{path} is damaged: {error}") from error


def _try(path: Path) -> None:
    """Loads the model in another process. Raises ArtefactError where that ends by a signal."""
    command = [sys.executable, "-m", "runtime.engines.coreai", str(path)]
    done = subprocess.run(tethered(command), capture_output=True, text=True, check=False)
    if done.returncode < 0:
        raise ArtefactError(f"{path.name} is damaged: Core AI crashed on it (signal {-done.returncode})")


def operations(asset: Any) -> dict[str, int]:
    """Operation -> count."""
    summary = asset.summary()
    return {} if summary is None else dict(summary.operation_distribution)


def kernels_in(asset: Any) -> int:
    return sum(count for name, count in operations(asset).items() if "metal" in name)


@contextmanager
def _without_messages() -> Iterator[None]:
    """The runtime's logger writes to the process's own stderr."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _close(loop: asyncio.AbstractEventLoop, stack: AsyncExitStack) -> None:
    """The runtime's own threads still let go of Python objects after they answered; one that is caught at it by the end
    of the interpreter aborts the process ("C++ exception handling detected", 2 of 40 processes on a busy machine)."""
    loop.run_until_complete(stack.aclose())
    loop.run_until_complete(asyncio.sleep(_SETTLE_SECONDS))
    loop.close()


def _spec(name: str, array: Any) -> TensorSpec:
    return TensorSpec(name, tuple(array.shape), str(array.dtype))


if __name__ == "__main__":
    CoreAIEngine(Path(sys.argv[1]), trial=False)
