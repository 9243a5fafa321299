"""Lists every model that voxport converts, with the checkpoint for benchmarks: trained where it can be had here."""

MODELS = {
    "hifigan": ["checkpoint=kathleen_hifigan"],
    "fargan": ["checkpoint=fargan"],
    "rave": ["checkpoint.source=random", "checkpoint.name=rave_v2_causal"],
    "ge2e": ["checkpoint=rtvc_encoder"],
    "vits": ["checkpoint=joe_vits"],
    **{
        model: ["checkpoint.source=random"]
        for model in ("melgan", "multiband_melgan", "fullband_melgan", "parallel_wavegan", "univnet", "wavernn")
    },
    **{
        model: ["checkpoint.source=random", "model.parts.vocoder.checkpoint.source=bundled"]
        for model in ("fast_pitch", "speedy_speech", "glow_tts", "tacotron2", "tacotron2_dca")
    },
    "fastspeech2": ["checkpoint=kathleen_fastspeech2"],
    "sv2tts": ["checkpoint.source=random", "model.parts.vocoder.checkpoint.source=random"],
}

# Conversions and what they read pitch by. Weights that are not on PyPI are drawn.
CONVERSIONS = {
    "openvoice": ["checkpoint.source=random"],
    "freevc": ["checkpoint.source=random"],
    "knn_vc": ["checkpoint.source=random", "model.parts.vocoder.checkpoint.source=random"],
    "rvc": ["checkpoint.source=random", "model.parts.content.checkpoint.source=random"],
    "whisper_knn": ["model.parts.vocoder.checkpoint.source=bundled"],
    "swift_f0": [],
    "pitchdnn": [],
}
