import pytest

from runtime.errors import TextError
from runtime.speech.text import TextSettings, halves, phonemes, read, read_symbols, sentences

LETTERS = TextSettings({letter: (row,) for row, letter in enumerate("abcdefghijklmnopqrstuvwxyz ',.!?", 3)})


def cleaned(text, *steps, language="en"):
    import dataclasses

    return read(text, dataclasses.replace(LETTERS, cleaning=("lower", *steps), language=language)).symbols


def test_ids_stand_in_their_frame():
    settings = TextSettings({"a": (5,), "b": (6, 7)}, begin=(1, 0), between=(0,), end=(2,))
    assert read("ab a", settings).ids == (1, 0, 5, 0, 6, 7, 0, 5, 0, 2)
    assert read("ab a", settings).unknown == (" ",)


def test_the_longest_symbol_wins_and_marks_are_taken_apart():
    settings = TextSettings({"a": (1,), "ɪ": (2,), "aɪ": (3,), "ɡ": (4,), "c": (5,), "\u0327": (6,)})
    assert read_symbols("aɪɡa", settings).ids == (3, 4, 1)
    assert read_symbols("ça", settings).ids == (5, 6, 1), "a composed letter that is no symbol"


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("I have 42 cats.", "i have forty two cats."),
        ("1,234 and 3.5", "one thousand two hundred and thirty four and three point five"),
        ("Dr. Who & Mrs. Smith; right: yes (no)", "doctor who and misess smith, right, yes no"),
    ],
)
def test_english_is_cleaned(text, spoken):
    assert cleaned(text, "numbers", "abbreviations", "marks", "brackets") == spoken


def test_numbers_are_read_in_the_voice_s_language():
    assert cleaned("21 Katzen", "numbers", language="de") == "einundzwanzig katzen"
    assert cleaned("7 x", "numbers", language="xx") == " x", "left out with the figures that it has no words for"


@pytest.mark.parametrize("text", ["", "   ", "\n", "…", "?!", "—"])
def test_nothing_to_say_is_a_sentence(text):
    with pytest.raises(TextError, match=r"nothing to say|no text"):
        read(text, LETTERS)


def test_a_script_that_the_voice_cannot_read_is_a_sentence():
    with pytest.raises(TextError, match="knows none of the symbols of 'привет': п р"):
        read("привет", LETTERS)
    assert read("café naïve", LETTERS).unknown == ("\u0301", "\u0308")


def test_sentences_and_halves():
    text = 'He said: "no." Then, at 3.5 km, he left!  Why?\nA new line… and the end'
    assert sentences(text) == ['He said: "no."', "Then, at 3.5 km, he left!", "Why?", "A new line…", "and the end"]
    assert sentences(" ?! \n … ") == []
    assert halves("one two, three four") == ("one two,", "three four")
    assert halves("one two three four") == ("one two", "three four")
    assert halves("unbreakable") is None


def test_espeak_s_phonemes_keep_their_marks():
    pytest.importorskip("phonemizer")
    assert phonemes("Well, is it 12?", "espeak", "en-us") == "wˈɛl, ɪz ɪt twˈɛlv?"
    with pytest.raises(TextError, match="espeak-ng"):
        phonemes("a", "espeak", "no-such-language")


def test_gruut_s_words_keep_their_marks(monkeypatch):
    """gruut itself is not among the test's packages: its words, as it gives them, breaks included."""
    import sys
    from types import ModuleType, SimpleNamespace

    words = {"Well": ["w", "ˈɛ", "l"], "go": ["g", "ˈoʊ"], "on": ["ˈɑ", "n"]}
    stub = ModuleType("gruut")
    stub.is_language_supported = lambda language: language == "en-us"
    stub.sentences = lambda text, lang: [
        [*(SimpleNamespace(phonemes=words[word]) for word in text.split()), SimpleNamespace(phonemes=["‖"])]
    ]
    monkeypatch.setitem(sys.modules, "gruut", stub)
    assert phonemes("Well, go on?", "gruut", "en-us") == "wˈɛl, ɡˈoʊ ˈɑn?"
    with pytest.raises(TextError, match=r"pip install 'gruut\[xx\]'"):
        phonemes("Well", "gruut", "xx")


def test_what_is_not_installed_is_said(monkeypatch):
    import sys

    from runtime.speech import text

    monkeypatch.setitem(sys.modules, "gruut", None)
    with pytest.raises(TextError, match="pip install gruut"):
        phonemes("a", "gruut", "en-us")
    monkeypatch.setitem(sys.modules, "phonemizer.backend", None)
    text._espeak_backend.cache_clear()
    with pytest.raises(TextError, match=r"pip install -e '\.\[espeak\]'"):
        phonemes("a", "espeak", "en-us")
    with pytest.raises(TextError, match="there is: espeak, gruut"):
        phonemes("a", "epitran", "en-us")


def test_the_bundled_sentences_are_espeak_s():
    pytest.importorskip("phonemizer")
    from runtime.speech.sentences import golden_sentences

    assert len(golden_sentences()) == 10
    for _, letters, symbols in golden_sentences():
        assert phonemes(letters, "espeak", "en-us") == symbols
