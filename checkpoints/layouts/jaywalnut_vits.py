"""jaywalnut310/vits: `G_800000.pth` (the state dict under `model`) and a config.json of train, data and model.

The text is that of its text/symbols.py: 178 symbols, espeak-ng's phonemes between blanks. Forks keep theirs in the
config (`symbols`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from checkpoints import CheckpointError
from checkpoints.layouts.jik876 import which_of
from checkpoints.layouts.reading import Place, Reading, require, section
from checkpoints.layouts.vits_names import in_coqui_names

if TYPE_CHECKING:
    from torch import Tensor

TITLE = "VITS of jaywalnut310/vits"
SYMBOLS = (
    "_"
    ';:,.!?¡¿—…"«»“” '
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    "ɑɐɒæɓʙβɔɕçɗɖðʤəɘɚɛɜɝɞɟʄɡɠɢʛɦɧħɥʜɨɪʝɭɬɫɮʟɱɯɰŋɳɲɴøɵɸθœɶʘɹɺɾɻʀʁɽʂʃʈʧʉʊʋⱱʌɣɤʍχʎʏʑʐʒʔʡʕʢǀǁǂǃˈˌːˑʼʴʰʱʲʷˠˤ˞↓↑→↗↘'̩'ᵻ"
)
_PHONEMES = ("english_cleaners", "english_cleaners2")
_LETTERS = {"basic_cleaners": "basic_cleaners", "transliteration_cleaners": "transliteration_cleaners"}


def recognise(place: Place) -> Reading | None:
    config = place.json
    data, model = section(config, "data"), section(config, "model")
    if "upsample_rates" not in model or "sampling_rate" not in data:
        return None
    if "text_cleaners" not in data and "n_heads" not in model:
        return None  # OpenVoice's converter: neither text nor content is encoded, and its family reads it as it is
    weights = place.weights("G_*.pth", "*.pth", "*.pt", but=("D_*", "DUR_*", "WD_*"))
    if not weights:
        raise CheckpointError(f"{place.folder} has a config of {TITLE}, and no generator G_….pth")
    if "ssl_dim" in model or "contentvec" in str(model.get("speech_encoder", "")) or "unit_interpolate_mode" in data:
        title, needs = "a voice of so-vits-svc", (
            "it converts singing by content of ContentVec with a pitch and a prior of its own; voxport has RVC's "
            "relative of it (model=rvc), whose content encoder and decoder it shares, and no family for this one"
        )  # fmt: skip
        return Reading("jaywalnut_vits", title, weights=weights[-1], needs=needs)
    if "text_cleaners" not in data:
        needs = "it says no text_cleaners, so it is no voice that reads text; voxport has no family for it"
        return Reading("jaywalnut_vits", f"{TITLE}'s descendants", weights=weights[-1], needs=needs)
    return Reading("jaywalnut_vits", TITLE, "vits", weights[-1], _config(config, data, model), notes=which_of(weights))


def _config(config: Mapping[str, Any], data: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": "vits",
        "model_args": model_args(model),
        "audio": {
            "sample_rate": data["sampling_rate"],
            "fft_size": data.get("filter_length", 1024),
            "win_length": data.get("win_length", 1024),
            "hop_length": data.get("hop_length", 256),
            "num_mels": data.get("n_mel_channels", 80),
            "mel_fmin": data.get("mel_fmin") or 0.0,
            "mel_fmax": data.get("mel_fmax"),
            "framing": "hifigan",
            "log_func": "np.log",
            "spec_gain": 1.0,
            "signal_norm": False,
        },
        **_text(config, data),
    }


def model_args(model: Mapping[str, Any]) -> dict[str, Any]:
    """Coqui's names for the arguments of its SynthesizerTrn, whose defaults these are, and of its infer()."""
    require(
        model, ("resblock", "resblock_kernel_sizes", "resblock_dilation_sizes", "upsample_rates",
                "upsample_kernel_sizes", "upsample_initial_channel"), "the section model"
    )  # fmt: skip
    channels = model.get("gin_channels") or 0
    return {
        "hidden_channels": model.get("hidden_channels", 192),
        "hidden_channels_ffn_text_encoder": model.get("filter_channels", 768),
        "num_heads_text_encoder": model.get("n_heads", 2),
        "num_layers_text_encoder": model.get("n_layers", 6),
        "kernel_size_text_encoder": model.get("kernel_size", 3),
        "resblock_type_decoder": str(model["resblock"]),
        "resblock_kernel_sizes_decoder": model["resblock_kernel_sizes"],
        "resblock_dilation_sizes_decoder": model["resblock_dilation_sizes"],
        "upsample_rates_decoder": model["upsample_rates"],
        "upsample_kernel_sizes_decoder": model["upsample_kernel_sizes"],
        "upsample_initial_channel_decoder": model["upsample_initial_channel"],
        "use_sdp": bool(model.get("use_sdp", True)),
        "duration_norm_eps": 1e-5,
        "inference_noise_scale": 0.667,
        "inference_noise_scale_dp": 0.8,
        "use_speaker_embedding": bool(channels),
        "speaker_embedding_channels": channels or 256,
    }


def _text(config: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    cleaners = [str(name) for name in data.get("text_cleaners") or [""]]
    symbols = config.get("symbols")
    symbols = list(symbols) if isinstance(symbols, list | str) else list(SYMBOLS)
    phonemes = cleaners[0] in _PHONEMES
    if len(cleaners) != 1 or not (phonemes or cleaners[0] in _LETTERS):
        raise CheckpointError(
            f"its text goes through {', '.join(cleaners)} of the trainer's own text/cleaners.py; voxport has "
            f"{', '.join((*_PHONEMES, *_LETTERS))}"
        )
    speakers = config.get("speakers")
    names = {str(name): row for row, name in enumerate(speakers)} if isinstance(speakers, list) else speakers
    return {
        # the first symbol pads and stands between the others
        "characters": {"vocab_dict": symbols, "pad": symbols[0], "blank": symbols[0]},
        "add_blank": bool(data.get("add_blank", True)),
        "use_phonemes": phonemes,
        "phonemizer": "espeak",
        "phoneme_language": "en-us",
        "text_cleaner": "phoneme_cleaners" if phonemes else _LETTERS[cleaners[0]],
        "speaker_ids": names if isinstance(names, dict) else {},
    }


def renamed(weights: Mapping[str, Tensor], config: dict[str, Any]) -> dict[str, Tensor]:
    """Under Coqui's names. Raises CheckpointError where its symbols are not those of the weights."""
    names = in_coqui_names(weights)
    rows = names.get("text_encoder.emb.weight")
    symbols = len(config["characters"]["vocab_dict"])
    if rows is not None and len(rows) != symbols:
        raise CheckpointError(
            f"the voice reads {len(rows)} symbols, {symbols} are known: its trainer's text/symbols.py was another. Put "
            'the list in its config.json as "symbols": [...]'
        )
    config["model_args"]["num_chars"] = symbols
    config["model_args"]["condition_dp_on_speaker"] = "duration_predictor.cond.weight" in names
    return names
