"""Real bundles made worse on purpose."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

from reports.record import read_record, write_record
from runtime.bundle.store import MANIFEST, Bundle, file_hashes, open_bundle
from runtime.measuring.measure import measure, measurement_path, write_measurement
from runtime.measuring.options import MeasureOptions

QUICK = MeasureOptions(bench_seconds=0)


def worsened(bundle: Bundle, folder: Path, name: str, flip: int | None = 0x10, **manifest) -> Bundle:
    """A copy of which 64 weights in the middle have another bit, and whose manifest says so: a bundle of its own."""
    path = Path(shutil.copytree(bundle.path, folder / name))
    if flip is not None:
        blob = next(path.rglob("weight.bin"))
        raw = bytearray(blob.read_bytes())
        middle = len(raw) // 4 * 2 + 1
        for at in range(middle, middle + 128, 2):  # the upper byte of half precision
            raw[at] ^= flip
        blob.write_bytes(raw)
    row = json.loads((path / MANIFEST).read_text()) | {"files": file_hashes(path), "name": name, **manifest}
    row["key"] = hashlib.sha256(name.encode()).hexdigest()
    (path / MANIFEST).write_text(json.dumps(row))
    return open_bundle(path)


def measured(bundle: Bundle, like: Bundle, engines=("mil",)) -> list:
    """Measures a copy and writes beside it what a job would."""
    record = read_record(like)
    found = [measure(bundle, engine, QUICK, keep_audio=bundle.measured / "audio") for engine in engines]
    names = []
    for one in found:
        path = measurement_path(bundle, one.engine, None)
        write_measurement(path, one)
        names.append(path.name)
    write_record(bundle.measured, dataclasses.replace(record, measurements=tuple(names), gates=()))
    return found
