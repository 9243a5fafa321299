"""iSTFTNet (Kaneko et al. 2022, arXiv 2203.02395) of rishikksh20/iSTFTNet-pytorch: HiFi-GAN whose last layer gives a
magnitude and a phase, the mel jik876's."""

from __future__ import annotations

from checkpoints import CheckpointError
from checkpoints.layouts import jik876
from checkpoints.layouts.reading import Place, Reading, hop_of

TITLE = "iSTFTNet of rishikksh20/iSTFTNet-pytorch"


def recognise(place: Place) -> Reading | None:
    config = place.json
    if not jik876.is_its_config(config) or "gen_istft_n_fft" not in config:
        return None
    size, hop = config["gen_istft_n_fft"], config.get("gen_istft_hop_size")
    weights = place.weights(*jik876.NAMES, but=jik876.OTHERS)
    if not weights:
        raise CheckpointError(f"{place.folder} has a config of {TITLE}, and no file with its generator (g_…)")
    if not isinstance(size, int) or not isinstance(hop, int) or hop < 1 or size != 4 * hop:
        raise CheckpointError(
            f"{place.folder}: its last transform has n_fft {size} and hop {hop}; voxport has those of four hops"
        )
    ours = jik876.hifigan_config(config)
    ours["generator_model_params"]["istft"] = {"n_fft": size, "hop_length": hop}
    if hop_of(config["upsample_rates"]) * hop != config["hop_size"]:
        raise CheckpointError(f"{place.folder}: upsample_rates times gen_istft_hop_size is not hop_size")
    return Reading("istftnet", TITLE, "hifigan", weights[-1], ours, notes=jik876.which_of(weights))
