"""The command `voxport`: dispatches to the commands of the other packages, with one help and completion for shells."""
