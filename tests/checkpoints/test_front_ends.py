"""Front ends against upstream's own tokenizer."""

import pytest

from checkpoints import CheckpointError
from checkpoints.front_ends import coqui_text, mimic3_text, piper_text
from converters.upstream.coqui import import_coqui
from runtime.speech.text import read

SENTENCES = ["Hello there, world!", "Dr. Jekyll & Mr. Hyde; a well-known story.", 'It\'s (not) a "test": is it?']
VITS = {
    "characters_class": "TTS.tts.models.vits.VitsCharacters", "pad": "_", "blank": None, "punctuations": ";:,.!? ",
    "characters": "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "phonemes": "ɑɐɒæ",
}  # fmt: skip
PLAIN = {
    "characters": "zyxabcdefghijklmnopqrstuvw",
    "punctuations": "!,.? ",
    "pad": "<P>",
    "eos": "<E>",
    "bos": "<B>",
    "blank": "<N>",
}


@pytest.mark.parametrize("cleaner", ["basic_cleaners", "english_cleaners", "multilingual_cleaners", "phoneme_cleaners"])
@pytest.mark.parametrize(
    "settings",
    [
        {"characters": VITS, "add_blank": True},
        {"characters": VITS, "add_blank": False},
        {"characters": PLAIN, "add_blank": True},
        {"characters": PLAIN, "add_blank": False, "enable_eos_bos_chars": True},
        {"add_blank": True},
    ],
)
def test_ids_are_those_of_coqui_s_tokenizer(settings, cleaner):
    shared = import_coqui("TTS.tts.configs.shared_configs")
    tokenizer = import_coqui("TTS.tts.utils.text.tokenizer").TTSTokenizer
    characters = settings.get("characters")
    upstream = import_coqui("TTS.tts.configs.vits_config").VitsConfig(
        **{**settings, "characters": shared.CharactersConfig(**characters) if characters else None},
        text_cleaner=cleaner,
    )
    theirs, _ = tokenizer.init_from_config(upstream)
    ours = coqui_text({**settings, "text_cleaner": cleaner})
    for sentence in SENTENCES:
        assert list(read(sentence, ours).ids) == theirs.text_to_ids(sentence, "en"), sentence


def test_phonemes_are_those_of_coqui_s_tokenizer(monkeypatch):
    pytest.importorskip("phonemizer")
    import runtime.speech.text

    spoken = "hɐlˈoʊ ðˈɛɹ, wˈɜːld!"
    monkeypatch.setattr(
        runtime.speech.text, "_espeak", lambda text, language: f"{spoken}" if language == "en-us" else ""
    )
    module = import_coqui("TTS.tts.utils.text.tokenizer")
    characters = import_coqui("TTS.tts.utils.text.characters").IPAPhonemes()
    theirs = module.TTSTokenizer(use_phonemes=False, characters=characters, add_blank=True)
    ours = coqui_text({"use_phonemes": True, "phonemizer": "espeak", "phoneme_language": "en", "add_blank": True})
    assert list(read("Hello there, world!", ours).ids) == theirs.text_to_ids(spoken)


def test_what_voxport_cannot_read_is_a_sentence():
    with pytest.raises(CheckpointError, match="no text cleaner 'chinese_mandarin_cleaners'"):
        coqui_text({"text_cleaner": "chinese_mandarin_cleaners"})
    with pytest.raises(CheckpointError, match="no phonemizer 'ja_jp_phonemizer'"):
        coqui_text({"use_phonemes": True, "phonemizer": "ja_jp_phonemizer"})
    with pytest.raises(CheckpointError, match=r"phoneme_id_map has no \^ _ \$"):
        piper_text({})
    with pytest.raises(CheckpointError, match="of type 'pinyin'"):
        piper_text({"phoneme_id_map": {"^": [1], "_": [0], "$": [2]}, "phoneme_type": "pinyin"})
    with pytest.raises(CheckpointError, match="from 'epitran'"):
        mimic3_text({"phonemizer": "epitran"}, {})
