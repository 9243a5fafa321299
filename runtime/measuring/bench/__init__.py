"""How fast an artefact is, and what it is worth: see `bundle.py` for what is measured, in which order."""
