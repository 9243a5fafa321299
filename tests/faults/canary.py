"""`python -m tests.faults.canary FIRST COUNT FOLDER`: loads drawn programs and damaged checkpoints under watch.

Prints one JSON line: how many of them ended how, what ran that should not have, the slowest, the most memory.
"""

import json
import os
import resource
import sys
import tempfile
import time
import types
import warnings
from collections import Counter
from pathlib import Path

import torch

import checkpoints.pickle_values
from checkpoints import CheckpointError
from checkpoints.companions import read_companions
from checkpoints.files import read_config
from checkpoints.load import read_weights
from checkpoints.onnx_weights import read_onnx
from checkpoints.pickles import load_npy_object, load_pickle
from tests.faults.damaged import write_damaged
from tests.faults.memory import peak_mb
from tests.faults.pickle_programs import write_program

MEMORY = 1 << 30  # bytes that may be reserved beyond those of the imports
_ALWAYS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "subprocess.Popen", "exec",
           "socket.connect", "socket.bind", "ctypes.dlopen", "ctypes.cdata", "code.__new__", "function.__new__",
           "import", "pickle.find_class", "webbrowser.open", "os.kill", "sys.addaudithook",
           "object.__setattr__")  # fmt: skip
_WITH_PATHS = (
    "open",
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.chmod",
    "os.symlink",
    "os.link",
    "shutil.rmtree",
)


def main(kind: str, first: int, count: int, folder: Path) -> dict:
    """`kind`: programs or damaged."""
    write = {"programs": write_program, "damaged": write_damaged}[kind]
    tempfile.tempdir = str(folder)  # where PyTorch unpacks a tar
    os.chdir(folder)
    alarms: list[str] = []
    armed = False

    def watch(event: str, arguments: tuple) -> None:
        if not armed:
            return
        if event in _ALWAYS:
            alarms.append(f"{event} {arguments!r:.200}")
        if event in _WITH_PATHS and not isinstance(arguments[0], int):
            where = folder / str(arguments[0])
            if folder not in where.parents:
                alarms.append(f"{event} {arguments!r:.200}")

    # what is imported late, by honest loads, is no alarm
    for seed in range(24):
        path = write(10**9 + seed, folder)
        _outcome(path)
        path.unlink()
    limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    sys.addaudithook(watch)
    before, outcomes, slowest = _shared(), Counter(), (0.0, -1)
    for seed in range(first, first + count):
        path = write(seed, folder)
        print(seed, file=sys.stderr, flush=True)
        known, started, armed = len(alarms), time.process_time(), True
        outcome = _outcome(path)
        armed = False
        slowest = max(slowest, (time.process_time() - started, seed))
        outcomes[outcome] += 1
        if outcome not in ("loaded", "refused"):
            alarms.append(outcome)
        path.unlink()
        for left in folder.iterdir():  # the canary, or a file by another name
            alarms.append(f"there is now a file {left.name}")
            left.unlink()
        alarms[known:] = [f"seed {seed}: {alarm}" for alarm in alarms[known:]]
    alarms += [
        f"{name}, which all loads share, has changed" for name, value in _shared().items() if value != before[name]
    ]
    peak = round(peak_mb())
    return {"outcomes": outcomes, "alarms": alarms[:20], "slowest": slowest, "peak_mb": peak}


def _outcome(path: Path) -> str:
    readers = {".npy": load_npy_object, ".onnx": read_onnx, ".json": read_config, ".pth": load_pickle}
    try:
        if path.name == "speakers.json":
            read_companions(path.parent)
        elif path.suffix in readers:
            readers[path.suffix](path)
        if path.suffix in (".pth", ".safetensors"):
            read_weights(path)
    except CheckpointError as error:
        if not str(error).isprintable():
            return f"a sentence with control characters: {str(error)!r:.100}"
        return "loaded" if "no tensors" in str(error) or "not a state dict" in str(error) else "refused"
    except BaseException as error:
        return f"{type(error).__name__}: {error!s:.200}"
    return "loaded"


def _shared() -> dict[str, object]:
    """Whatever a pickle could reach and change for everybody."""
    modules = (torch.serialization, torch._utils, torch._weights_only_unpickler, checkpoints.pickle_values)
    functions = {
        f"{module.__name__}.{name}": (sorted(vars(value)), value.__defaults__, value.__code__)
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, types.FunctionType)
    }
    classes = (checkpoints.pickle_values.StandIn, checkpoints.pickle_values.Array, checkpoints.pickle_values.NumberType)
    return {
        **functions,
        **{kind.__name__: sorted(vars(kind)) for kind in classes},
        "safe globals": set(torch.serialization.get_safe_globals()),
        "layouts": dict(torch.serialization._get_layout.cache),
        "warnings": warnings.filters[:],
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))))
