"""NSF-HiFiGAN of openvpi (DiffSinger, so-vits-svc): HiFi-GAN with a harmonic source, fed by a pitch beside the mel."""

from __future__ import annotations

from checkpoints.layouts import jik876
from checkpoints.layouts.reading import Place, Reading

TITLE = "NSF-HiFiGAN of openvpi/vocoders"


def recognise(place: Place) -> Reading | None:
    config = place.json
    if not jik876.is_its_config(config):
        return None
    is_named = "nsf" in place.folder.name.lower() or (place.folder / "NOTICE.txt").is_file()
    if "mini_nsf" not in config and not config.get("harmonic_num") and not is_named:
        return None
    weights = place.weights("model", "*.ckpt", "*.pt", "*.pth", "g_*", but=jik876.OTHERS)
    return Reading("nsf_hifigan", TITLE, weights=weights[-1] if weights else None, needs=jik876.NSF_NEEDS)
