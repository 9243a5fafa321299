"""Named checkpoints: where they come from, that they are what they should be, and how to read them safely."""

from runtime.errors import VoxportError


class CheckpointError(VoxportError, RuntimeError):
    """A checkpoint that cannot be had, is not what it should be, or does not fit; the message says what to do."""
