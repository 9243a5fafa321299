"""From a checkpoint to an artefact: families (architectures) and formats (outputs), which do not know each other."""
