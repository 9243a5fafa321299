"""Named checkpoints: where they come from, that they are what they should be, and how to read them safely."""

from runtime.errors import VoxportError


class CheckpointError(VoxportError, RuntimeError):
    """A checkpoint that cannot be had, is not what it should be, or does not fit; the message says what to do."""

    def __init__(self, message: str = "") -> None:
        """Takes out control characters and cuts long messages: a stranger's file may be quoted in it."""
        text = str(message)
        text = text if len(text) <= 2000 else f"{text[:2000]}…"
        super().__init__(
            "".join(one if one.isprintable() or one == "\n" else "\N{REPLACEMENT CHARACTER}" for one in text)
        )
