"""The options of checkpoints; plain data, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class CheckpointOptions:
    """`name`: of the catalogue; none means the model's default.

    `source`: `auto` (cache, else download, else, where no name was given and the family has one, the bundled
    weights, with a warning), `required` (cache or download, nothing else), `bundled`, `random` (weights drawn at the
    published architecture: for parity, it says nothing), or a path to a checkpoint: a folder, or a weight file with
    `config` (default: the one beside it); Coqui's, or of a trainer in checkpoints/layouts. `hf:owner/name[@revision]`
    is one of the Hugging Face hub, an address (https://…) one of a server: both are pinned at their first fetch.
    `index`: a retrieval index of a voice of RVC (default: the only one beside it, or the only one with its name).
    """

    name: str | None = None
    source: str = "auto"
    config: str | None = None
    index: str | None = None
