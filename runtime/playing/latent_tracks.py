"""The latents between an encoder and a decoder, as a user moves them while audio comes."""

from __future__ import annotations

import math

import numpy as np

from runtime.bundle.conversion import LatentStage
from runtime.bundle.store import BundleError
from runtime.playing.tracks import Mapped, Track


class Latents(Mapped):
    """Each latent times its `scale`, plus its `bias`: both (latents,) float32, 1 and 0 until somebody changes them.

    A change holds from the next frame on, and through a reset.
    """

    def __init__(self, stage: LatentStage, source: Track) -> None:
        self.channels = source.channels
        self.scale = np.ones(self.channels, np.float32)
        self.bias = np.zeros(self.channels, np.float32)
        super().__init__(stage, [source])

    def control(self, latent: int, scale: float = 1.0, bias: float = 0.0) -> None:
        """Sets both of one latent, counted from 0. Raises BundleError for one that there is not, or no number."""
        if not 0 <= latent < self.channels:
            raise BundleError(f"there is no latent {latent}: this bundle's are 0 to {self.channels - 1}")
        if not (math.isfinite(scale) and math.isfinite(bias)):
            raise BundleError(f"latent {latent} cannot be scaled by {scale} and moved by {bias}")
        self.scale[latent], self.bias[latent] = scale, bias

    def _mapped(self, *frames: np.ndarray) -> np.ndarray:
        return frames[0] * self.scale[:, None] + self.bias[:, None]
