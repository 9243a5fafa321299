"""Errors that several parts of the runtime raise."""


class ArtefactError(RuntimeError):
    """An artefact that is missing, damaged, or holds what its format cannot execute; a RuntimeError, as Core ML's."""
