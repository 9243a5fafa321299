"""Recipes of the voices that ship with voxport: preparation, training on one GPU, evaluation, export.

The modules that train need PyTorch and NumPy alone, so that they run on a borrowed machine; README.md says how.
"""
