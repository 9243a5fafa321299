"""RAVE against acids-rave's own modules, at published widths: weights out of its runs and exports, what they compute,
and which grid its streaming encoder has."""

import os
from unittest.mock import patch

import pytest
import torch

from checkpoints.load import load
from checkpoints.locate import locate
from checkpoints.options import CheckpointOptions
from converters.families import rave
from runtime.speech.metrics import snr_db
from tests.converters.rave_upstream import Upstream

FOLDER = os.environ.get("VOXPORT_RAVE")
pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(not FOLDER, reason="VOXPORT_RAVE names no folder with acids-rave (see rave_upstream.py)"),
]
BRAVE = [
    "CAPACITY = 32",
    "RATIOS = [2, 2, 2, 1]",
    "blocks.ResidualStack.dilations_list = [[3, 1], [9, 1], [27, 1], [36, 1]]",
    "blocks.Generator.use_noise = False",
    "pqmf.CachedPQMF.attenuation = 40",
]
MODELS = {
    "v1": (["v1"], []),
    "v1 causal": (["v1", "causal"], []),
    "v2": (["v2"], []),
    "v2 causal": (["v2", "causal"], ["SAMPLING_RATE = 48000"]),
    "v2_small": (["v2_small"], []),
    "v3": (["v3"], []),
    "v2 with noise": (["v2", "noise"], []),
    "wasserstein": (["v2", "wasserstein"], []),
    "BRAVE": (["v1", "causal"], BRAVE),
}
FRAMES = 6


@pytest.fixture(scope="module")
def upstream():
    return Upstream(FOLDER)


def ours(path):
    return rave.load(load(locate(CheckpointOptions(source=str(path)), "rave", "", print))).double()


def encoded(model, kept, audio):
    """As upstream's export does, but the mean where it draws a sample."""
    latents = model.encode(audio)
    if not hasattr(model.encoder, "beta"):
        return latents
    mean = latents.chunk(2, 1)[0] - model.latent_mean[:, None]
    return torch.nn.functional.conv1d(mean, model.latent_pca[:, :, None])[:, :kept]


def decoded(model, latents):
    if hasattr(model.encoder, "beta"):
        latents = torch.nn.functional.conv1d(latents, model.latent_pca.T[:, :, None]) + model.latent_mean[:, None]
    return model.decode(latents)


def drawn_as(rows, settings):
    """In place of `torch.rand_like`: the noise of rows, in upstream's order of axes."""
    noise, frames = settings.noise, rows.shape[2]
    blocks = settings.ratio // (settings.bands * noise.block)
    uniform = torch.erf(rows * 0.5**0.5).reshape(1, blocks, settings.bands, noise.block, frames)
    uniform = uniform.permute(0, 4, 1, 2, 3).reshape(1, frames * blocks, settings.bands, noise.block)
    return lambda like: (uniform.reshape(like.shape) + 1) / 2


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_a_run_and_an_export_of_upstream_s_compute_what_upstream_computes(upstream, name, tmp_path):
    model, config = upstream.model(*MODELS[name])
    (tmp_path / "config.gin").write_text(config)
    torch.save({"state_dict": model.state_dict(), "epoch": 1}, tmp_path / "best.ckpt")
    module = ours(tmp_path / "best.ckpt")
    upstream.export(model, tmp_path / "model.ts")
    exported = ours(tmp_path / "model.ts")
    torch.manual_seed(2)
    audio = 0.1 * torch.randn(1, 1, FRAMES * module.settings.ratio, dtype=torch.float64)
    rows = torch.randn(1, rave.noise_rows(module), FRAMES, dtype=torch.float64)
    model = model.double()
    latents = encoded(model, module.kept, audio)
    full = torch.cat([latents, rows[:, : module.completing]], 1)
    if module.settings.noise:
        with patch.object(torch, "rand_like", drawn_as(rows[:, module.completing :], module.settings)):
            wanted = decoded(model, full)
    else:
        wanted = decoded(model, full)
    for one in (module, exported):
        assert snr_db(latents.numpy(), one.encode(audio).numpy()) > 120
        assert snr_db(wanted.numpy(), rave.Decode(one)(torch.cat([latents, rows], 1)).numpy()) > 120
    streaming, _ = upstream.model(*MODELS[name], streaming=True)
    upstream.export(streaming, tmp_path / "streaming.ts")
    again = ours(tmp_path / "streaming.ts")
    assert snr_db(latents.numpy(), again.encode(audio).numpy()) > 120, "an export with --streaming is the same network"


BLOCKS = 60


def agreement(offline, streaming, ratio, step=1):
    """dB between them over six blocks in the middle, at the best of all delays in steps of a position."""
    wanted, made = (output[0].numpy() for output in (offline, streaming))
    start, stop = 24 * ratio, 30 * ratio
    delays = range(0, (BLOCKS - 30) * ratio, step)
    return max(snr_db(wanted[:, start:stop], made[:, start + delay : stop + delay]) for delay in delays)


@pytest.mark.parametrize(
    ("name", "is_exact"),
    [
        ("v1", False),
        ("v1 causal", True),
        ("v2", False),
        ("v2 causal", True),
        ("v2_small", False),
        ("v3", False),
        ("BRAVE", True),
    ],
)
@torch.no_grad()
def test_upstream_s_own_streaming_encoder_is_on_another_grid_unless_it_is_causal(upstream, name, is_exact):
    offline, streaming = narrow(upstream, name)
    audio = 0.1 * torch.randn(1, 1, RATIOS.get(name, 2048) * BLOCKS, dtype=torch.float64)
    made = torch.cat([streaming.encode(block)[:, :16] for block in audio.chunk(BLOCKS, -1)], -1)
    best = agreement(offline.encode(audio)[:, :16], made, 1)
    assert best == 200 if is_exact else best < 25, "200 is all that is told apart"


@pytest.mark.parametrize(
    ("name", "is_exact"),
    [("v1", True), ("v1 causal", False), ("v2", True), ("v2 causal", True), ("v3", True), ("BRAVE", False)],
)
@torch.no_grad()
def test_upstream_s_own_streaming_decoder_is_exact_but_for_v1_s_causal_ones(upstream, name, is_exact):
    offline, streaming = narrow(upstream, name)
    latents = torch.randn(1, offline.latent_size, BLOCKS, dtype=torch.float64)
    made = torch.cat([streaming.decode(block) for block in latents.split(1, -1)], -1)
    best = agreement(offline.decode(latents), made, RATIOS.get(name, 2048), step=16)
    assert best == 200 if is_exact else best < 5


RATIOS = {"v2_small": 512, "BRAVE": 128}  # else 2048


def narrow(upstream, name):
    """Offline and streaming, in float64, of few channels and without noise."""
    configs, overrides = MODELS[name]
    settings = [*overrides, "CAPACITY = 8", "LATENT_SIZE = 16"]
    if "v1" in configs:
        settings.append("blocks.Generator.use_noise = False")
    return tuple(upstream.model(configs, settings, streaming)[0].double() for streaming in (False, True))
