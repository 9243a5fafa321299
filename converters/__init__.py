"""Converts checkpoints to artefacts: families (architectures) and formats (outputs) do not know each other."""
