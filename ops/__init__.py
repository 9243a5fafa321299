"""Rewrites of PyTorch modules into forms that Apple silicon likes, proved equal to the originals."""
