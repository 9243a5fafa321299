"""`python -m tests.faults.apart FILE…`: reads foreign files, a JSON line for each of what it took and how it ended."""

import json
import resource
import sys
import time
from pathlib import Path

from checkpoints import CheckpointError
from checkpoints.load import read_weights
from checkpoints.pickles import load_npy_object

for argument in sys.argv[1:]:
    path, sentence = Path(argument), ""
    started, held = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        load_npy_object(path) if path.suffix == ".npy" else read_weights(path)
    except CheckpointError as error:
        sentence = str(error)
    row = {"name": path.parent.name, "sentence": sentence, "seconds": time.process_time() - started}
    row["megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held >> 10
    print(json.dumps(row), flush=True)
