"""`python -m tests.faults.apart FILE…`: reads foreign files, a JSON line for each of what it took and how it ended."""

import json
import sys
import time
from pathlib import Path

from checkpoints import CheckpointError
from checkpoints.load import read_weights
from checkpoints.pickles import load_npy_object
from tests.faults.memory import peak_mb

for argument in sys.argv[1:]:
    path, sentence = Path(argument), ""
    started, held = time.process_time(), peak_mb()
    try:
        load_npy_object(path) if path.suffix == ".npy" else read_weights(path)
    except CheckpointError as error:
        sentence = str(error)
    row = {"name": path.parent.name, "sentence": sentence, "seconds": time.process_time() - started}
    row["megabytes"] = round(peak_mb() - held)
    print(json.dumps(row), flush=True)
