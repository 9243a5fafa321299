"""Errors that several parts of the runtime raise."""


class ArtefactError(ValueError):
    """An artefact that is missing, damaged, or holds what its format cannot execute."""
