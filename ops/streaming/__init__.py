"""Streaming as a rewrite: a network that is local in time becomes one that takes it a chunk at a time, exactly.

`read` looks at what each operation of a network does along time (`local`); `window`, `stateful` and `low_latency`
emit modules for a chunk of C input frames (`forms`), by a plan of what a call computes (`plan`) and where state is kept
(`keeping`); `call` computes it. Positions are counted from the start of the utterance; every value
in the network stands for an interval of positions relative to the chunk, and what an operation's own padding makes of
positions outside the utterance is made of them explicitly. So the streamed output is the offline output, on every
sample, the first and the last included.
"""

from ops.streaming.forms import Port, Streamed, frames_reached, low_latency, stateful, window
from ops.streaming.keeping import KEEPS, PRICES, Keep, Price, Work, planned, work_of
from ops.streaming.local import NotLocal
from ops.streaming.network import Input, Network, read

__all__ = [
    "KEEPS", "PRICES", "Input", "Keep", "Network", "NotLocal", "Port", "Price", "Streamed", "Work", "frames_reached",
    "low_latency", "planned", "read", "stateful", "window", "work_of",
]  # fmt: skip
