"""`python -m tests.faults.artefacts KIND FIRST COUNT FOLDER`: opens damaged artefacts and bundles, executes what opens.

Prints the number of each before it is opened, so that one which ends the process is known, and at the end one line of
JSON: how many ended how, and everything that was no sentence.
"""

import json
import random
import resource
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

from runtime.bundle.formats import facts_of
from runtime.bundle.spec import TensorSpec
from runtime.bundle.store import Bundle, read_manifest
from runtime.commands.artefact import _component_facts, _stream_facts
from runtime.engines import Execution, open_engine
from runtime.errors import VoxportError
from runtime.machine.coreml_tools import coremltools, quick_conversion
from runtime.measuring.measure import engines_for, measurement_path
from runtime.measuring.options import MeasureOptions
from runtime.playing.stream import Stream, StreamingArtefact

SECONDS = 30  # that one may take; SIGALRM then raises
MEMORY = 3 << 30  # bytes that may be reserved beyond those of the imports
ODD = [None, True, -1, 0, 1, 2**31, 2**63, 2**70, 1e308, -0.5, "", "x", "../../etc/passwd", "a\0b", "\ud800", [], {},
       [[[]]], {"x": 1}, "mel", "stateful", "9" * 500]  # fmt: skip


def main(kind: str, first: int, count: int, folder: Path) -> dict:
    """`kind`: one of KINDS. `folder`: of `seeds`, and to write in."""
    damage, use = KINDS[kind]
    signal.signal(signal.SIGALRM, _too_slow)
    use(folder / SEEDS[kind])  # what is imported late is imported now
    limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    outcomes, alarms, slowest = Counter(), [], (0.0, -1)
    for seed in range(first, first + count):
        print(seed, flush=True)
        target = folder / f"damaged-{SEEDS[kind]}"
        shutil.rmtree(target, ignore_errors=True)
        target.unlink(missing_ok=True)
        damage(folder / SEEDS[kind], target, random.Random(seed))
        started = time.perf_counter()
        signal.alarm(SECONDS)
        try:
            use(target)
            outcomes["worked"] += 1
        except (VoxportError, OSError):
            outcomes["refused with a sentence"] += 1
        except MemoryError:
            outcomes["out of memory, a sentence"] += 1
        except BaseException as error:
            outcomes["no sentence"] += 1
            alarms.append(f"{kind} {seed}: {type(error).__name__}: {error!s:.200}")
        signal.alarm(0)
        slowest = max(slowest, (time.perf_counter() - started, seed))
    return {"outcomes": outcomes, "alarms": alarms, "slowest": slowest}


class _TooSlow(BaseException):
    pass


def _too_slow(*_: object) -> None:
    raise _TooSlow(f"not done in {SECONDS} s")


def make_seeds(folder: Path, bundle: Path, streaming: Path) -> None:
    """Small honest artefacts, and bundles without their weights."""
    import torch

    ct = coremltools()

    network = torch.nn.Sequential(
        torch.nn.Conv1d(4, 8, 3, padding=1), torch.nn.LeakyReLU(0.1), torch.nn.ConvTranspose1d(8, 2, 4, 2)
    ).eval()
    mel = torch.randn(1, 4, 16)
    traced = torch.jit.trace(network, mel)
    inputs = [ct.TensorType("mel", mel.shape, dtype=np.float32)]
    for name, form in (("network.mlpackage", "mlprogram"), ("network.mlmodel", "neuralnetwork")):
        target = {"minimum_deployment_target": ct.target.iOS16} if form == "mlprogram" else {}
        with quick_conversion():
            model = ct.convert(traced, inputs=inputs, convert_to=form, skip_model_load=True, **target)
        model.save(str(folder / name))
    torch.onnx.export(network, (mel,), dynamo=True, verbose=False).save(str(folder / "network.onnx"))
    for name, source in (("bundle", bundle), ("streaming", streaming)):
        shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("*.mlpackage", "*.pt2"))


def _damage_file(source: Path, target: Path, random: random.Random) -> None:
    """A few bytes changed, a stretch lost, doubled or zeroed, or the end cut off."""
    content = bytearray(source.read_bytes())
    for _ in range(random.choice((1, 1, 1, 2, 8))):
        size = max(1, len(content))
        begin = random.randrange(size)
        end = min(size, begin + random.choice((1, 4, 16, 256, 4096)))
        how = random.randrange(6)
        if how == 0:
            del content[begin:]
        elif how == 1:
            del content[begin:end]
        elif how == 2:
            content[begin:begin] = content[begin:end]
        elif how == 3:
            content[begin:end] = bytes(end - begin)
        elif how == 4:
            content[begin : begin + 1] = random.randbytes(1)
        else:
            content[begin:end] = random.randbytes(end - begin)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)


def _damage_package(source: Path, target: Path, random: random.Random) -> None:
    """One file of the folder."""
    shutil.copytree(source, target)
    victim = random.choice(sorted(file for file in target.rglob("*") if file.is_file()))
    _damage_file(source / victim.relative_to(target), victim, random)


def _damage_manifest(source: Path, target: Path, random: random.Random) -> None:
    """Values of the manifest replaced, lost or moved; everything else is linked to."""
    target.mkdir()
    manifest = json.loads((source / "manifest.json").read_text())
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        holder, key = random.choice(list(_places(manifest)))
        if random.random() < 0.1:
            del holder[key]
        elif random.random() < 0.15:
            other, name = random.choice(list(_places(manifest)))
            holder[key] = json.loads(json.dumps(other[name]))
        else:
            holder[key] = random.choice(ODD)
        if not isinstance(manifest, dict) or not manifest:
            break
    text = json.dumps(manifest)  # a lone surrogate as an escape, which JSON allows
    if random.random() < 0.1:
        cut = random.randrange(len(text))
        text = text[:cut] + random.choice(("", "\0", "}", "[" * 100_000))
    (target / "manifest.json").write_text(text)
    for file in source.iterdir():
        if file.name.endswith(".npz"):
            (target / file.name).hardlink_to(file)


def _places(value):
    """Every (container, key) of nested JSON."""
    for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(item, (dict, list)):
            yield from _places(item)


def _damage_goldens(source: Path, target: Path, random: random.Random) -> None:
    target.mkdir()
    shutil.copy(source / "manifest.json", target)
    _damage_file(source / "goldens.npz", target / "goldens.npz", random)


def _execute(path: Path) -> None:
    engine = open_engine(path, Execution(facts_of(path).engines[0]))
    shapes = {spec.name: spec.default_shape for spec in engine.inputs}
    if sum(np.prod(shape, dtype=np.float64) for shape in shapes.values()) > 1e7:
        return  # an input of the caller's own making
    engine.run({spec.name: np.zeros(shapes[spec.name], spec.dtype) for spec in engine.inputs})


def _look_at(path: Path) -> None:
    """What commands ask of a bundle before they execute it, and a stream through an engine that gives zeros."""
    bundle = Bundle(path, read_manifest(path))  # its hashes would say that it is damaged
    _ = bundle.main, bundle.sound, bundle.manifest.series, bundle.spoken()
    facts = _component_facts(bundle.manifest.components)
    for record in bundle.manifest.components:
        assert bundle.executable(record).is_relative_to(path)
        cases = bundle.goldens(record)
        if record.stream is not None:
            facts |= _stream_facts(record, record.stream)
            engine = _Zeros(record)
            stream = Stream(StreamingArtefact(record.stream, engine, engine if record.stream.steady else None))
            for case in cases[:1]:
                stream.push(case.inputs)
            stream.flush()
    for engine in engines_for(MeasureOptions(), bundle):
        assert measurement_path(bundle, engine, None).parent == bundle.measured


class _Zeros:
    """An engine whose outputs are as the manifest says."""

    name, device = "zeros", "none"

    def __init__(self, record) -> None:
        form = record.stream
        states = [TensorSpec(state.name, state.shape) for state in form.states]
        self.inputs, self.outputs = (*record.inputs, *states), record.outputs
        self._shapes = {state.given_as: state.shape for state in form.states}
        shapes = {spec.name: spec.default_shape for spec in record.outputs}
        for port in form.outputs:
            shape = shapes[port.name]
            self._shapes[port.name] = (*shape[: port.axis], len(port), *shape[port.axis + 1 :])

    def new_state(self):
        return {}

    def run(self, inputs, state=None):
        return {name: np.zeros(shape, np.float32) for name, shape in self._shapes.items()}


SEEDS = {"package": "network.mlpackage", "network": "network.mlmodel", "onnx": "network.onnx", "manifest": "bundle",
         "streaming": "streaming", "goldens": "bundle"}  # fmt: skip
KINDS = {
    "package": (_damage_package, _execute),
    "network": (_damage_file, _execute),
    "onnx": (_damage_file, _execute),
    "manifest": (_damage_manifest, _look_at),
    "streaming": (_damage_manifest, _look_at),
    "goldens": (_damage_goldens, _look_at),
}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))))
