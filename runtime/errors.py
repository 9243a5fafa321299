"""Errors that several parts of the runtime raise."""


class ArtefactError(RuntimeError):
    """An artefact that is missing, damaged, or holds what its format cannot execute; a RuntimeError, as Core ML's."""


class StreamError(ValueError):
    """A stream that this artefact cannot give; the message says why and what would."""
