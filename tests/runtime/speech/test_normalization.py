"""What must be said of texts as people have them: spoken_texts.yaml, by voices of phonemes and by voices of letters."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runtime.speech.normalization import reading_settings, spoken_sentences
from runtime.speech.text import TextSettings, phonemes, read

SYMBOLS = {letter: (row,) for row, letter in enumerate("abcdefghijklmnopqrstuvwxyz !'(),-.:;?")}
PHONEMES = TextSettings(SYMBOLS, phonemizer="espeak")
LETTERS = TextSettings(SYMBOLS, cleaning=("lower", "numbers", "abbreviations", "marks", "brackets"))
TABLE = yaml.safe_load(Path(__file__).with_name("spoken_texts.yaml").read_text(encoding="utf-8"))
ROWS = [(kind, row) for kind, rows in TABLE.items() for row in rows]
IDS = [f"{kind}-{number}" for number, (kind, _) in enumerate(ROWS)]


def spoken(text, settings):
    return list(spoken_sentences(text, settings).sentences)


@pytest.mark.parametrize(("kind", "row"), ROWS, ids=IDS)
def test_a_text_is_said_as_people_say_it(kind, row):
    assert spoken(row["text"], PHONEMES) == row["phonemes"], "what the phonemizer is given"
    sentences = [read(one, reading_settings(LETTERS)) for one in spoken(row["text"], LETTERS)]
    assert [one.symbols for one in sentences] == row["letters"]
    assert not {symbol for one in sentences for symbol in one.unknown if symbol.isascii()}


@pytest.mark.parametrize(
    ("text", "ipa"),
    [
        ("The 21st.", "ðə twˈɛnti fˈɜːst."), ("2nd", "sˈɛkənd"), ("2.0", "tˈuː pɔɪnt zˈiəɹoʊ"), ("−5", "mˈaɪnəs fˈaɪv"),
        ("the 100th", "ðə wˈʌn hˈʌndɹədθ"), ("AT&T", "ˈeɪ tˈiː ænd tˈiː"), ("Well—yes", "wˈɛl, jˈɛs"),
        ("10:45am", "tˈɛn fˈɔːɹɾi fˈaɪv ˌeɪˈɛm"), ("1990s", "nˈaɪntiːn nˈaɪntiz"),
        ("Not 2.0 or 1,250 here.", "nˌɑːt tˈuː pɔɪnt zˈiəɹoʊ ɔːɹ wˈʌn θˈaʊzənd tˈuːhˈʌndɹɪd fˈɪfti hˈɪɹ."),
        ("$5.50", "fˈaɪv dˈɑːlɚz ænd fˈɪfti sˈɛnts"), ("007", "zˈiəɹoʊzˈiəɹoʊ sˈɛvən"),
    ],
)  # fmt: skip
def test_espeak_says_what_is_left_to_it(text, ipa):
    pytest.importorskip("phonemizer")
    (sentence,) = spoken(text, PHONEMES)
    assert phonemes(sentence, "espeak", "en-us") == ipa


def test_a_phonemizer_says_the_numbers_of_voices_that_have_them_cleaned():
    cleaned = replace(PHONEMES, cleaning=("numbers", "abbreviations", "marks", "brackets"))
    assert reading_settings(cleaned).cleaning == ("abbreviations", "marks", "brackets")


@pytest.mark.parametrize(
    ("language", "text", "letters"),
    [
        ("de", "1.000 Euro", ["eintausend Euro"]),
        ("de", "3,5 Liter, z.B. Milch. Und 21.", ["drei Komma fünf Liter, z.B. Milch.", "Und einundzwanzig."]),
        ("de", "Es ist -5 Grad um 12.30 Uhr.", ["Es ist minus fünf Grad um zwölf dreißig Uhr."]),
        ("it", "Il 1.500 e il 2,5", ["Il millecinquecento e il due virgola cinque"]),
        ("fr-fr", "1 000 000 euros", ["un million euros"]),
        ("ru", "Привет. Мир 5", ["Привет.", "Мир пять"]),
        ("zh", "你好。再见！", ["你好。", "再见！"]),
        ("sv", "Detta är 5. Ja.", ["Detta är fem.", "Ja."]),  # pysbd has no Swedish
        ("xx", "5 x. y", ["5 x.", "y"]),
    ],
)  # fmt: skip
def test_other_languages_have_their_own_numbers_and_sentences(language, text, letters):
    assert spoken(text, replace(TextSettings(SYMBOLS), language=language)) == letters
    kept = [digit for digit in text if digit.isdigit()]
    by_phonemes = "".join(spoken(text, replace(PHONEMES, language=language)))
    assert [digit for digit in by_phonemes if digit.isdigit()] == kept, "a phonemizer says them"


def test_days_come_first_where_they_do():
    assert spoken("On 12/05/2023.", replace(PHONEMES, language="en-gb")) == ["On May twelfth, 2023."]


def test_a_voice_that_knows_dashes_and_ellipses_has_them():
    knows = replace(PHONEMES, symbols=SYMBOLS | {"—": (90,), "…": (91,)})
    assert spoken("Well—yes. And… then…", knows) == ["Well — yes.", "And… then…"]


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ("<speak>Hi<break/></speak>", ("tags are not spoken: speak, break",)),
        ('<mstts:express-as style="sad">Hi</mstts:express-as>', ("tags are not spoken: mstts:express-as",)),
        ("# Hi\n**you**", ("Markdown's marks are not spoken",)),
        ("Hi 😀 you 🎉", ("emoji are not spoken: 😀 🎉",)),
        ("a < b, 2 * 3, <fox>, snake_case, - one\n1. two", ()),
    ],
)
def test_what_is_left_out_is_told(text, notes):
    assert spoken_sentences(text, PHONEMES).notes == notes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Paul ſr. ſpoke.", "Paul senior spoke."), ("Acme ınc. is it.", "Acme ınc. is it."), ("fıg. 3", "fıg. 3"),
        ("the 1,200th", "the one thousand two hundredth"),
    ],
)  # fmt: skip
def test_letters_that_look_like_others_are_no_error(text, said):
    assert " ".join(spoken(text, PHONEMES)) == said


def test_a_long_word_is_said_in_pieces_and_nothing_of_it_is_lost():
    (sentence,) = spoken("a" * 900, LETTERS)
    assert sentence.replace(" ", "") == "a" * 900
    assert max(map(len, sentence.split())) == 80


def test_a_long_line_loses_no_word():
    text = "Dr. Smith met Mr. Jones. " * 300
    assert spoken(text, PHONEMES) == ["Doctor Smith met Mister Jones."] * 300
    assert "".join(spoken("word " * 3000, PHONEMES)).replace(" ", "") == "word" * 3000


@given(st.text(max_size=200))
def test_any_text_is_taken(text):
    for settings in (PHONEMES, LETTERS):
        for sentence in spoken_sentences(text, settings).sentences:
            assert any(letter.isalnum() for letter in sentence) and "\n" not in sentence


@given(st.lists(st.sampled_from(["cat", "dogs", "went", "Home", "red", "under", "blue"]), min_size=1, max_size=40))
def test_plain_words_are_said_as_they_stand(words):
    assert " ".join(spoken(" ".join(words), PHONEMES)) == " ".join(words)
