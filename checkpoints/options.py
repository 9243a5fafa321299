"""The options of checkpoints; plain data, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.machine.setting import setting

SOURCES = ("auto", "required", "bundled", "random")


@dataclass
class CheckpointOptions:
    """Which weights are converted.

    `source`: `auto` is the cache, else a download, else, where no name was given and the family has one, the bundled
    weights, with a warning; `required` is cache or download, nothing else; `random` weights are drawn at the published
    architecture: for parity, they say nothing. Else it is a path, Coqui's or of a trainer in checkpoints/layouts;
    `hf:owner/name[@revision]`, of the Hugging Face hub; or an address (https://…). The last two are pinned at their
    first fetch.
    """

    name: str | None = setting(None, "of the catalogue [the model's default]")
    source: str = setting("auto", "or the path of your own checkpoint, a folder or a file of weights", values=SOURCES)
    config: str | None = setting(None, "of a file of weights [config.json beside it]")
    index: str | None = setting(None, "retrieval index of a voice of RVC [the only one beside it]")
