"""How fast an artefact is, and what it is worth: see `whole.py` for what is measured, in which order."""
