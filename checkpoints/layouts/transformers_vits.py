"""VitsModel of Hugging Face's transformers, such as MMS-TTS: `config.json`, `model.safetensors` or
`pytorch_model.bin`, `vocab.json` and `tokenizer_config.json`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from checkpoints import CheckpointError
from checkpoints.files import read_config
from checkpoints.layouts.reading import Place, Reading, hop_of
from checkpoints.layouts.transformers_hifigan import FILES
from checkpoints.layouts.vits_names import with_norms_of_durations

if TYPE_CHECKING:
    from torch import Tensor

TITLE = "VitsModel of transformers (MMS-TTS)"
_DEFAULTS = {
    "hidden_size": 192, "num_hidden_layers": 6, "num_attention_heads": 2, "ffn_dim": 768, "ffn_kernel_size": 3,
    "use_stochastic_duration_prediction": True, "num_speakers": 1, "speaker_embedding_size": 0,
    "upsample_initial_channel": 512, "upsample_rates": [8, 8, 2, 2], "upsample_kernel_sizes": [16, 16, 4, 4],
    "resblock_kernel_sizes": [3, 7, 11], "resblock_dilation_sizes": [[1, 3, 5]] * 3,
    "prior_encoder_num_wavenet_layers": 4, "wavenet_kernel_size": 5, "wavenet_dilation_rate": 1, "speaking_rate": 1.0,
    "noise_scale": 0.667, "noise_scale_duration": 0.8, "sampling_rate": 16000,
}  # fmt: skip
# Sizes that Coqui's classes have built in.
_FIXED = {"window_size": 4, "leaky_relu_slope": 0.1, "depth_separable_channels": 2, "depth_separable_num_layers": 3,
          "duration_predictor_flow_bins": 10, "duration_predictor_tail_bound": 5.0,
          "duration_predictor_kernel_size": 3, "duration_predictor_num_flows": 4,
          "duration_predictor_filter_channels": 256, "prior_encoder_num_flows": 4, "hidden_act": "relu"}  # fmt: skip
# Languages of MMS (ISO 639-3) that number words and espeak-ng name by two letters.
_LANGUAGES = {"eng": "en", "deu": "de", "fra": "fr", "spa": "es", "ita": "it", "por": "pt", "nld": "nl", "rus": "ru",
              "pol": "pl", "tur": "tr", "ukr": "uk", "swe": "sv", "fin": "fi", "hun": "hu", "ron": "ro", "ind": "id",
              "vie": "vi", "tel": "te", "kor": "ko", "ara": "ar", "heb": "he", "fas": "fa"}  # fmt: skip


def recognise(place: Place) -> Reading | None:
    config = place.json
    if config.get("model_type") != "vits" and "VitsModel" not in (config.get("architectures") or []):
        return None
    weights = place.weights(*FILES)
    if not weights:
        raise CheckpointError(f"{place.folder} has a config of {TITLE}, and none of: {', '.join(FILES)}")
    given = {**_DEFAULTS, **{name: value for name, value in config.items() if value is not None}}
    for name, value in _FIXED.items():
        if given.get(name, value) != value:
            raise CheckpointError(f"{place.folder}: {name} is {given[name]!r}; voxport's VITS has {value!r}")
    if given.get("flow_size", given["hidden_size"]) != given["hidden_size"]:
        raise CheckpointError(f"{place.folder}: flow_size and hidden_size differ; in voxport's VITS they are one")
    text, notes = _text(place, weights[0])
    ours = {"model": "vits", "model_args": _model_args(given), "audio": _audio(given), **text}
    return Reading("transformers_vits", TITLE, "vits", weights[0], ours, notes=notes)


def _model_args(given: Mapping[str, Any]) -> dict[str, Any]:
    has_speakers = given["num_speakers"] > 1
    return {
        "num_chars": given.get("vocab_size", 38),
        "hidden_channels": given["hidden_size"],
        "hidden_channels_ffn_text_encoder": given["ffn_dim"],
        "num_heads_text_encoder": given["num_attention_heads"],
        "num_layers_text_encoder": given["num_hidden_layers"],
        "kernel_size_text_encoder": given["ffn_kernel_size"],
        "kernel_size_flow": given["wavenet_kernel_size"],
        "dilation_rate_flow": given["wavenet_dilation_rate"],
        "num_layers_flow": given["prior_encoder_num_wavenet_layers"],
        "resblock_type_decoder": "1",
        "resblock_kernel_sizes_decoder": given["resblock_kernel_sizes"],
        "resblock_dilation_sizes_decoder": given["resblock_dilation_sizes"],
        "upsample_rates_decoder": given["upsample_rates"],
        "upsample_kernel_sizes_decoder": given["upsample_kernel_sizes"],
        "upsample_initial_channel_decoder": given["upsample_initial_channel"],
        "use_sdp": bool(given["use_stochastic_duration_prediction"]),
        "duration_norm_eps": 1e-5,
        "inference_noise_scale": given["noise_scale"],
        "inference_noise_scale_dp": given["noise_scale_duration"],
        "length_scale": 1.0 / (given["speaking_rate"] or 1.0),
        "use_speaker_embedding": has_speakers,
        "speaker_embedding_channels": given["speaker_embedding_size"] or 256,
    }


def _audio(given: Mapping[str, Any]) -> dict[str, Any]:
    """What it is judged in: its own training's mel, jaywalnut310's."""
    return {
        "sample_rate": given["sampling_rate"], "fft_size": 1024, "win_length": 1024,
        "hop_length": hop_of(given["upsample_rates"]), "num_mels": 80, "framing": "hifigan", "log_func": "np.log",
        "spec_gain": 1.0, "signal_norm": False,
    }  # fmt: skip


def _text(place: Place, weights: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The tokenizer: lower case, symbols of the vocabulary alone, the first of them before, between and after."""
    path = weights.parent / "vocab.json"
    if not path.is_file():
        raise CheckpointError(f"{place.folder}: {TITLE} reads the symbols of vocab.json, which is not there")
    listed = read_config(path)
    numbered = {str(symbol): row for symbol, row in listed.items() if isinstance(row, int)}
    rows = sorted(numbered, key=numbered.__getitem__)
    if not rows or [numbered[symbol] for symbol in rows] != list(range(len(rows))):
        raise CheckpointError(f"{path} does not number its symbols from 0 on")
    tokenizer = place.folder / "tokenizer_config.json"
    settings = read_config(tokenizer) if tokenizer.is_file() else {}
    phonemes = bool(settings.get("phonemize", False))
    language = str(settings.get("language") or "")
    notes = []
    if settings.get("is_uroman"):
        notes.append("it reads text that uroman has romanised: give it that, other letters are left out")
    return {
        "characters": {"vocab_dict": rows, "pad": rows[0], "blank": rows[0]},
        "add_blank": bool(settings.get("add_blank", True)),
        "use_phonemes": phonemes,
        "phonemizer": "espeak",
        "phoneme_language": "en-us" if phonemes else _LANGUAGES.get(language, language or "en"),
        "text_cleaner": "phoneme_cleaners" if phonemes else "basic_cleaners",
    }, tuple(notes)


_LAYER = r"^text_encoder\.encoder\.layers\.(\d+)\."
_NAMES = (
    (r"^text_encoder\.embed_tokens\.", "text_encoder.emb."),
    (r"^text_encoder\.project\.", "text_encoder.proj."),
    (_LAYER + r"attention\.([qkv])_proj\.", r"text_encoder.encoder.attn_layers.\1.conv_\2."),
    (_LAYER + r"attention\.out_proj\.", r"text_encoder.encoder.attn_layers.\1.conv_o."),
    (_LAYER + r"attention\.", r"text_encoder.encoder.attn_layers.\1."),
    (_LAYER + r"layer_norm\.", r"text_encoder.encoder.norm_layers_1.\1."),
    (_LAYER + r"final_layer_norm\.", r"text_encoder.encoder.norm_layers_2.\1."),
    (_LAYER + r"feed_forward\.", r"text_encoder.encoder.ffn_layers.\1."),
    (r"^(flow|duration_predictor)\.(.*)conv_pre\.", r"\1.\2pre."),
    (r"^flow\.(.*)conv_post\.", r"flow.\1post."),
    (r"^flow\.(.*)wavenet\.", r"flow.\1enc."),
    (r"^duration_predictor\.(.*)conv_proj\.", r"duration_predictor.\1proj."),
    (r"^duration_predictor\.(.*)conv_dds\.", r"duration_predictor.\1convs."),
    (r"^duration_predictor\.(.*)convs_dilated\.", r"duration_predictor.\1convs_sep."),
    (r"^duration_predictor\.(.*)convs_pointwise\.", r"duration_predictor.\1convs_1x1."),
    (r"^duration_predictor\.flows\.0\.translate$", "duration_predictor.flows.0.translation"),
    (r"^decoder\.upsampler\.", "waveform_decoder.ups."),
    (r"^decoder\.cond\.", "waveform_decoder.cond_layer."),
    (r"^decoder\.", "waveform_decoder."),
    (r"^embed_speaker\.", "emb_g."),
)  # fmt: skip
_NORM = re.compile(r"\.norm(?:_layers)?_\d(?:\.\d+)?\.(?:weight|bias)$|\.norms_\d\.\d+\.(?:weight|bias)$")


def renamed(weights: Mapping[str, Tensor], config: dict[str, Any]) -> dict[str, Tensor]:
    """Under Coqui's names: linear layers of attention are convolutions of kernel 1 there."""
    names: dict[str, Tensor] = {}
    for key, value in weights.items():
        name = key
        for pattern, ours in _NAMES:
            name = re.sub(pattern, ours, name)
        if re.search(r"\.conv_[qkvo]\.weight$", name) and value.dim() == 2:
            value = value.unsqueeze(2)
        if _NORM.search(name):
            name = re.sub(r"weight$", "gamma", re.sub(r"bias$", "beta", name))
        names[name] = value
    config["model_args"]["condition_dp_on_speaker"] = "duration_predictor.cond.weight" in names
    return with_norms_of_durations(names)
