"""English abbreviations and figures as words and plain numbers.

What is left as a number here (2.0, 21st, 1942, 1,234) is said by espeak-ng or, for voices of letters, by num2words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from num2words import num2words

from runtime.speech.text import TextSettings

Match = re.Match[str]
Rule = tuple[re.Pattern[str], Callable[[Match], str]]


def whole_names(line: str) -> str:
    """Writes out addresses, and names whose full stops would be taken for the ends of sentences."""
    line = re.sub(r"(?<=[a-z]{2})\.(?=[a-z])|(?<![\w.])\.(?=[a-z])", " dot ", _addresses(line))  # a file's
    line = re.sub(r"\bCo\. (?=(?:Ltd|Inc)\b)", "Company ", line)
    return re.sub(r"\b(approx|vs)\. (?=\S)", lambda match: f"{_ANYWHERE[match[1].lower()]} ", line, flags=re.IGNORECASE)


def expanded_english(sentence: str, settings: TextSettings) -> str:
    """Writes out the abbreviations, money, times, dates, units, ranges and signs of a sentence."""
    # This step writes "misess", which models of Coqui's cleaners have learnt.
    keeps_mrs = "abbreviations" in settings.cleaning
    language = settings.language.lower().replace("_", "-")
    is_day_first = language.startswith("en-") and not language.startswith("en-us")
    sentence = _abbreviations(sentence, keeps_mrs)
    sentence = _dates(sentence, is_day_first)
    for pattern, spoken in _FIGURES:
        sentence = pattern.sub(spoken, sentence)
    return _capitals(sentence, settings)


# -------------------------------------------------------------------------------------------------- addresses

_URL = re.compile(r"\b(?:https?://|ftp://|www\.)[^\s<>\"]{1,2000}", re.IGNORECASE)
_EMAIL = re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}\b")
_DOMAIN = re.compile(
    r"\b(?:[a-z0-9-]{1,63}\.){1,8}(?:com|org|net|edu|gov|io|dev|uk|de|eu)\b(?:/[^\s<>\"]{0,2000})?", re.IGNORECASE
)
_PATH = re.compile(r"(?<![\w/.~<])(?:~|\.{1,2})?/[\w.-]{1,200}(?:/[\w.-]{1,200}){0,50}/?")
_IN_ADDRESS = {
    ".": "dot", "/": "slash", "-": "dash", "_": "underscore", "@": "at", "?": "question mark", "=": "equals",
    "&": "and", "#": "hash", "%": "percent", "+": "plus", ":": "colon", "~": "tilde",
}  # fmt: skip


def _addresses(sentence: str) -> str:
    for pattern in (_EMAIL, _URL, _DOMAIN, _PATH):
        sentence = pattern.sub(_address, sentence)
    return sentence


def _address(match: Match) -> str:
    """Reads what a person reads: no scheme, no www, every sign by its name."""
    address = match.group()
    kept = address.rstrip(".,;:!?)'")
    plain = re.sub(r"^(?:https?://|ftp://)?(?:www\.)?", "", kept, flags=re.IGNORECASE).rstrip("/")
    words = re.sub(r"[^\w\s]|_", lambda sign: f" {_IN_ADDRESS.get(sign.group(), '')} ", plain)
    return " ".join(words.split()) + address[len(kept) :]


# ---------------------------------------------------------------------------------------------- abbreviations

_BEFORE_NAMES = {
    "mr": "mister", "dr": "doctor", "prof": "professor", "gen": "general", "sen": "senator", "rep": "representative",
    "gov": "governor", "capt": "captain", "lt": "lieutenant", "col": "colonel", "sgt": "sergeant", "maj": "major",
    "rev": "reverend", "hon": "honorable", "pres": "president", "mt": "mount", "ft": "fort", "fr": "father",
}  # fmt: skip
_ANYWHERE = {
    "vs": "versus", "approx": "approximately", "etc": "et cetera", "jr": "junior", "sr": "senior", "ltd": "limited",
    "inc": "incorporated", "co": "company", "corp": "corporation", "esq": "esquire", "dept": "department",
    "ave": "avenue", "rd": "road", "blvd": "boulevard", "hwy": "highway", "apt": "apartment", "est": "established",
    "jan": "january", "feb": "february", "mar": "march", "apr": "april", "aug": "august", "sept": "september",
    "sep": "september", "oct": "october", "nov": "november", "dec": "december", "mon": "monday", "tue": "tuesday",
    "tues": "tuesday", "wed": "wednesday", "thu": "thursday", "thurs": "thursday", "fri": "friday",
    "e.g": "for example", "i.e": "that is", "cf": "compare", "ca": "about", "et al": "and others",
}  # fmt: skip
_BEFORE_FIGURES = {
    "no": "number", "nos": "numbers", "p": "page", "pp": "pages", "fig": "figure", "vol": "volume", "ch": "chapter",
    "sec": "section", "eq": "equation", "art": "article", "nr": "number",
}  # fmt: skip
_NAMED = re.compile(
    rf"(?<!\d)(?<!\d )\b({'|'.join(_BEFORE_NAMES)})\.(?= *(?-i:[A-Z]))|\b(mr|dr|prof)(?= +(?-i:[A-Z][a-z]))",
    re.IGNORECASE,
)
# Months, days and streets are capital letters' own: "sat." and "mar." end sentences too.
# A dotless i is no i of theirs, which `(?a:` says.
_COMMON = re.compile(rf"\b((?a:{'|'.join(sorted(map(re.escape, _ANYWHERE), key=len, reverse=True))}))\.", re.IGNORECASE)
_CAPITAL_ONLY = {
    "jan", "feb", "mar", "apr", "aug", "sep", "oct", "nov", "dec", "mon", "tue", "wed", "thu", "fri", "ave", "est",
    "apt", "ca", "co", "inc",
}  # fmt: skip
_COUNTED = re.compile(rf"\b((?a:{'|'.join(_BEFORE_FIGURES)}))\. ?(?=\d)", re.IGNORECASE)
_INITIALS = re.compile(r"\b(?:[A-Z]\. ?)+(?=[A-Z][a-z])")
_DOTTED = re.compile(r"\b(?:[A-Za-z]\.){2,}")


def _cased(word: str, like: str) -> str:
    return word.capitalize() if like[:1].isupper() else word


def _abbreviations(sentence: str, keeps_mrs: bool) -> str:
    if not keeps_mrs:
        sentence = re.sub(r"\bMrs\b\.?(?= *[A-Z])", "Missus", sentence)
    sentence = re.sub(r"\bMs\b\.?(?= *[A-Z])", "Miz", sentence)
    sentence = re.sub(r"\bMr\.(?= and\b)", "Mister", sentence)
    sentence = _NAMED.sub(
        lambda match: _spaced(match, _cased(_BEFORE_NAMES[match.group().rstrip(".").lower()], match.group())), sentence
    )
    sentence = re.sub(r"\b(?<=[a-z] )St(?:\.|\b(?!\.))(?=[\"')]*\s*(?:$|[,;!?]|[a-z]))", _street, sentence)
    sentence = re.sub(r"\bSt\.? *(?=[A-Z])", "Saint ", sentence)
    sentence = re.sub(r"\bPh\.? ?D\b\.?", lambda match: f"P H D{_end_of(match)}", sentence)
    sentence = _COMMON.sub(_common, sentence)
    sentence = _COUNTED.sub(
        lambda match: f"{_cased(_BEFORE_FIGURES[match.group(1).lower()], match.group())} ", sentence
    )
    sentence = re.sub(r"№ ?(?=\d)", "number ", sentence)
    sentence = _INITIALS.sub(lambda match: match.group().replace(".", " "), sentence)
    return _DOTTED.sub(_dotted, sentence)


def _spaced(match: Match, words: str) -> str:
    return f"{words} " if match.string[match.end() :][:1].isalpha() else words


def _end_of(match: Match) -> str:
    """The full stop of an abbreviation that ends the sentence is the sentence's too."""
    is_last = match.group().endswith(".") and not match.string[match.end() :].strip("\"') ")
    return "." if is_last else ""


def _street(match: Match) -> str:
    return f"Street{_end_of(match)}"


def _common(match: Match) -> str:
    name = match.group(1).lower()
    if name in _CAPITAL_ONLY and not match.group(1)[0].isupper():
        return match.group() if name != "ca" or not match.string[match.end() :].lstrip()[:1].isdigit() else "about"
    return _cased(_ANYWHERE[name], match.group()) + _end_of(match)


def _dotted(match: Match) -> str:
    letters = match.group().replace(".", "")
    if letters.lower() in ("am", "pm"):
        return letters.upper() + _end_of(match)
    if letters.lower() in ("eg", "ie"):
        return {"eg": "for example", "ie": "that is"}[letters.lower()]
    return letters.upper() + _end_of(match)


# ----------------------------------------------------------------------------------------------------- dates

_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_ISO_DATE = re.compile(r"\b(\d{4})-(\d\d)-(\d\d)\b")
_SLASHED_DATE = re.compile(r"\b(\d{1,2})(?:/(\d{1,2})/(\d{4}|\d\d)|-(\d\d)-(\d{4}))\b")


def _ordinal(number: int) -> str:
    return str(num2words(number, to="ordinal")).replace("-", " ").replace(",", "")


def _date(year: str, month: int, day: int) -> str | None:
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    return f"{_MONTHS[month - 1]} {_ordinal(day)}, {year if len(year) == 4 else f'20{year}'}"


def _dates(sentence: str, is_day_first: bool) -> str:
    def slashed(match: Match) -> str:
        first, second, year = int(match[1]), int(match[2] or match[4]), match[3] or match[5]
        orders = [(second, first), (first, second)] if is_day_first else [(first, second), (second, first)]
        dates = (_date(year, month, day) for month, day in orders)
        return next(filter(None, dates), match.group())

    sentence = _ISO_DATE.sub(
        lambda match: _date(match.group(1), int(match.group(2)), int(match.group(3))) or match.group(), sentence
    )
    sentence = _SLASHED_DATE.sub(slashed, sentence)
    months = "|".join(_MONTHS)
    sentence = re.sub(rf"\b({months}) (\d{{1,2}})(?=,? \d{{4}}\b|[.,;!?]|$)", _day_of_month, sentence)
    return re.sub(rf"\b(\d{{1,2}}) (?=(?:{months})\b)", _day_before_month, sentence)


def _day_of_month(match: Match) -> str:
    day = int(match.group(2))
    return f"{match.group(1)} {_ordinal(day)}" if 1 <= day <= 31 else match.group()


def _day_before_month(match: Match) -> str:
    day = int(match.group(1))
    article = "" if match.string[: match.start()].lower().endswith("the ") else "the "
    return f"{article}{_ordinal(day)} of " if 1 <= day <= 31 else match.group()


# --------------------------------------------------------------------------------------------------- figures

_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_CURRENCIES = {
    "$": ("dollar", "cent"), "€": ("euro", "cent"), "£": ("pound", "penny"), "¥": ("yen", ""), "₹": ("rupee", "paisa"),
}  # fmt: skip
_PLURALS = {"penny": "pence", "paisa": "paise", "yen": "yen", "foot": "feet", "inch": "inches", "hertz": "hertz"}
_SCALES = {"k": "thousand", "m": "million", "mn": "million", "bn": "billion", "b": "billion", "tn": "trillion"}
_UNITS = {
    "km/h": "kilometer per hour", "kph": "kilometer per hour", "m/s": "meter per second", "mph": "mile per hour",
    "km": "kilometer", "cm": "centimeter", "mm": "millimeter", "nm": "nanometer", "m": "meter", "mi": "mile",
    "ft": "foot", "yd": "yard", "kg": "kilogram", "g": "gram", "mg": "milligram", "lb": "pound", "lbs": "pound",
    "oz": "ounce", "l": "liter", "L": "liter", "ml": "milliliter", "mL": "milliliter", "Hz": "hertz",
    "kHz": "kilohertz", "MHz": "megahertz", "GHz": "gigahertz", "kB": "kilobyte", "KB": "kilobyte", "MB": "megabyte",
    "GB": "gigabyte", "TB": "terabyte", "kW": "kilowatt", "kWh": "kilowatt hour", "W": "watt", "V": "volt",
    "ms": "millisecond", "min": "minute", "hrs": "hour", "hr": "hour", "dB": "decibel", "°C": "degree Celsius",
    "°F": "degree Fahrenheit", "℃": "degree Celsius", "℉": "degree Fahrenheit", "°": "degree",
    "km²": "square kilometer", "m²": "square meter", "m³": "cubic meter", "ft²": "square foot", "sq ft": "square foot",
    "μm": "micrometer", "µm": "micrometer", "kcal": "kilocalorie", "rpm": "revolution per minute",
}  # fmt: skip
_FRACTIONS = {
    "½": "one half", "⅓": "one third", "⅔": "two thirds", "¼": "one quarter", "¾": "three quarters", "⅕": "one fifth",
    "⅖": "two fifths", "⅗": "three fifths", "⅘": "four fifths", "⅙": "one sixth", "⅛": "one eighth",
    "⅜": "three eighths", "⅝": "five eighths", "⅞": "seven eighths",
}  # fmt: skip
_PARTS = {
    2: "half",
    3: "third",
    4: "quarter",
    5: "fifth",
    6: "sixth",
    7: "seventh",
    8: "eighth",
    9: "ninth",
    10: "tenth",
}
_SIGNS = {
    "=": "equals", "≠": "is not equal to", "≤": "is at most", "≥": "is at least", "≈": "is about", "×": "times",
    "÷": "divided by", "±": "plus or minus", "√": "the square root of", "∞": "infinity", "→": "to", "π": "pi",
    "²": "squared", "³": "cubed", "‰": "per mille", "§": "section", "©": "copyright", "α": "alpha", "β": "beta",
}  # fmt: skip
_KINGS = (
    "Louis|Henry|Charles|George|Edward|Richard|William|James|John|Paul|Pius|Elizabeth|Philip|Benedict|Francis|Leo|"
    "Frederick|Catherine|Peter|Nicholas|Alexander|Napoleon|Gregory"
)
_ROMAN = "X{0,3}(?:IX|IV|V?I{1,3}|V)|X{1,3}"


def _plural(unit: str, count: str) -> str:
    if count.replace(",", "") == "1":
        return unit
    if " per " in unit:
        first, _, rest = unit.partition(" per ")
        return f"{_plural(first, count)} per {rest}"
    first, _, last = unit.rpartition(" ")
    if first.startswith("degree"):
        return f"degrees {last}"
    plural = _PLURALS.get(last) or (last if last.endswith("hertz") else f"{last}s")
    return f"{first} {plural}".strip()


def _money(match: Match) -> str:
    sign, amount, scale = match.group("sign"), match.group("amount"), match.group("scale")
    unit, small = _CURRENCIES[sign]
    minus = "minus " if match.group("minus") else ""
    if scale:
        return f"{minus}{amount} {_SCALES.get(scale.lower(), scale)} {_plural(unit, scale)}"
    whole, _, cents = amount.partition(".")
    if len(cents) != 2 or not small:
        return f"{minus}{amount} {_plural(unit, amount)}"
    major = f"{whole} {_plural(unit, whole)}"
    minor = f"{int(cents)} {_plural(small, str(int(cents)))}"
    parts = [major] * (int(whole.replace(",", "")) > 0 or cents == "00") + [minor] * (cents != "00")
    return minus + " and ".join(parts)


def _clock(match: Match) -> str:
    hour, minute, half = int(match.group(1)), int(match.group(2)), (match.group(3) or "").replace(".", "").upper()
    if hour > 24 or minute > 59:
        return match.group()
    minutes = (
        ""
        if not minute and (half or hour > 12)
        else "o'clock"
        if not minute
        else f"oh {minute}"
        if minute < 10
        else f"{minute}"
    )
    if not minute and not half and hour > 12:
        minutes = "hundred"
    return " ".join(filter(None, (f"{hour}", minutes, half))) + _end_of(match)


def _unit(match: Match) -> str:
    count = match.group("count")
    return f"{count} {_plural(_UNITS[match.group('unit')], count)}{_end_of(match)}"


def _decade(match: Match) -> str:
    century, tens = match.group(1), int(match.group(2)) // 10
    if tens == 0:
        return f"{num2words(int(century))} hundreds" if century != "20" else "two thousands"
    decade = str(num2words(tens * 10)).replace("y", "ies") if tens > 1 else "tens"
    return f"{num2words(int(century))} {decade}" if century else decade


def _round_ordinal(match: Match) -> str:
    """100th, 1,000th: espeak-ng says the number and then a th."""
    return _ordinal(int(match.group(1).replace(",", "")))


def _fraction(match: Match) -> str:
    above, below = int(match.group(1)), int(match.group(2))
    if below not in _PARTS or not 0 < above < below:
        return f"{above} {below}" if (above, below) in ((24, 7), (9, 11)) else f"{above} over {below}"
    part = _PARTS[below]
    return f"{num2words(above)} {part if above == 1 else 'halves' if below == 2 else f'{part}s'}"


def _digits(match: Match) -> str:
    """A telephone's number: digit by digit, a pause between its groups."""
    groups = re.findall(r"\d+", match.group())
    plus = "plus " if match.group().startswith("+") else ""
    return plus + ", ".join(" ".join(group) for group in groups)


def _roman(match: Match) -> str:
    values = {"I": 1, "V": 5, "X": 10}
    digits = [values[letter] for letter in match.group("roman")]
    number = sum(-one if one < after else one for one, after in zip(digits, [*digits[1:], 0]))
    is_king = re.fullmatch(_KINGS, match.group("name"))
    return f"{match.group('name')} {f'the {_ordinal(number)}' if is_king else number}"


def _rules() -> Iterator[Rule]:
    units = "|".join(sorted(map(re.escape, _UNITS), key=len, reverse=True))
    signs = "".join(map(re.escape, _CURRENCIES))
    scales = "thousand|million|billion|trillion"

    def rule(pattern: str, spoken: str | Callable[[Match], str], flags: int = 0) -> Rule:
        return re.compile(pattern, flags), spoken if callable(spoken) else lambda match: match.expand(spoken)

    def number(match: Match) -> str:
        return " point ".join(match.group().split("."))

    yield rule(r"(?<![\w/])\+\d{1,3}(?:[ -]\d{2,12}){1,5}\b", _digits)
    yield rule(r"(?<!\w)(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}\b", _digits)
    yield rule(r"(?<![\w-])\d{3}-\d{4}\b", _digits)
    yield rule(r"\b\d+(?:\.\d+){2,}\b", number)
    yield rule(rf"([{signs}])(\d+) ?[-–] ?[{signs}]?(?=\d)", r"\2 to \1")
    amount = rf"(?P<minus>[-−])?(?P<sign>[{signs}]) ?(?P<amount>{_NUMBER})"
    yield rule(rf"{amount}(?: ?(?P<scale>(?:{scales}|bn|mn|tn)\b|[kKmMbB]\b))?", _money)
    yield rule(rf"(?<!\d)(?P<minus>[-−])?(?P<amount>{_NUMBER}) ?(?P<scale>(?!))?(?P<sign>[€£¥])", _money)
    yield rule(r"(?<![\d:])(\d{1,2}):(\d\d)(?![\d:])(?: ?([AaPp]\.?[Mm]\b\.?))?", _clock)
    yield rule(r"(?<![\d:])(\d{1,2}):(\d\d):(\d\d)(?![\d:])", r"\1 \2 \3")
    yield rule(r"(?<=\d):(?=\d)", " to ")
    yield rule(r"\b(\d{1,2}) ?([AaPp])\.?([Mm])\b\.?(?! *$)", lambda match: f"{match[1]} {match[2].upper()}M")
    yield rule(r"\b(\d{1,2}) ?([AaPp])\.?([Mm])\b", lambda match: f"{match[1]} {match[2].upper()}M")
    yield rule(r"\b(\d[\d,]{0,11})(?<=00)th\b", _round_ordinal)
    yield rule(r"\b(1[1-9]|20)(\d0)'?s\b", _decade)
    yield rule(r"(?<!\w)'?()([2-9]0)'?s\b", _decade)
    yield rule(rf"(\d) ?[-–] ?(?=(?:{_NUMBER})(?: |\d|\.$|$|[,;)%°]|{units}))(?<!-\d -)(?![^=]*=)", r"\1 to ")
    yield rule(r"(?<=\d) [-−–] (?=\d)", " minus ")
    yield rule(r"(?<![\w.)])[-−](?=\.?\d)", "minus ")
    yield rule(r"−", " minus ")
    yield rule(r"(?<![\d.])\.(?=\d)", "0.")
    yield rule(rf"(?<!\d)(?P<count>{_NUMBER}) ?(?P<unit>{units})(?![\w/²³°])(?:\.(?=\s+[a-z,]|\s*$))?", _unit)
    yield rule(r"(?<=\d)(?: ?in\b\.|in\b)(?=[\s,;]|$)", lambda match: f" inches{_end_of(match)}")
    yield rule(r"(\d)'(\d{1,2})(?:\"|'')", r"\1 feet \2")
    yield rule(r"(\d)([½⅓⅔¼¾⅕⅖⅗⅘⅙⅛⅜⅝⅞])", lambda match: f"{match[1]} and {_FRACTIONS[match[2]].replace('one ', 'a ')}")
    yield rule("[½⅓⅔¼¾⅕⅖⅗⅘⅙⅛⅜⅝⅞]", lambda match: _FRACTIONS[match.group()])
    yield rule(r"(?<![\w/.])(\d{1,3})/(\d{1,3})(?![\w/])", _fraction)
    yield rule(r"(?<=\d)/(?=\d)", " slash ")
    yield rule(r" ?%", " percent")
    yield rule(r"(?<!\w)#(?=\d)", "number ")
    yield rule(r"(?<!\w)[~≈](?=\d)", "about ")
    yield rule(r"(?<=[\w)]) ?\+ ?(?=\d)", " plus ")
    yield rule(r"(?<=[\w²³)]) \+ (?=\S)", " plus ")
    yield rule(r"\b([A-Z])\+\+", r"\1 plus plus")
    yield rule(r"\b([A-Z])#", r"\1 sharp")
    yield rule(r"(?<=\d) ?[*x×] ?(?=\d)", " times ")
    yield rule(r"(?<=\d) ?\^ ?(?=\d)", " to the power of ")
    yield rule(r"\b([A-Z]{1,3})&([A-Z]{1,3})\b", lambda match: f"{' '.join(match[1])} and {' '.join(match[2])}")
    yield rule(r" ?& ?", " and ")
    yield rule(r"(?<=\d) ?< ?(?=\d)", " is less than ")
    yield rule(r"(?<=\d) ?> ?(?=\d)", " is greater than ")
    yield rule("[" + "".join(map(re.escape, _SIGNS)) + "]", lambda match: f" {_SIGNS[match.group()]} ")
    yield rule(rf"\b(?P<name>[A-Z][a-z]+) (?P<roman>(?=[XVI]{{2}})(?:{_ROMAN}))\b", _roman)
    yield rule(rf"\b(?P<name>{_KINGS}) (?P<roman>[VX])\b", _roman)
    yield rule(r"\b(?P<name>War) (?P<roman>I)\b", _roman)
    yield rule(r"(?<=s)/(hour|day|night|week|month|year|person)\b", r" per \1")
    yield rule(r"\band/or\b", "and or")
    yield rule(r"\bw/o\b", "without")
    yield rule(r"\bw/ ?(?=\w)", "with ")
    yield rule(r"(?<![\w/.-])([A-Za-z]{2,})/([A-Za-z]{2,})(?![\w/])", r"\1 or \2")
    yield rule(r"(?<=\w)/(?=\w)", " slash ")
    yield rule(r"(?<=[A-Za-z])(?=\d)(?<=[A-Z]{2})", " ")


_FIGURES = tuple(_rules())


# -------------------------------------------------------------------------------------------------- capitals

_CAPITALS = re.compile(r"\b[A-Z]{2,}\b")
_SHORT_WORDS = set(
    """
    AN AS AT BE BY DO GO HE IF IN IS IT ME MY NO OF OH ON OR SO TO UP WE ALL AND ANY ARE BAD BIG BUT CAN DAY DID END FOR
    GET GOD GOT HAD HAS HER HIM HIS HOT HOW ITS LET MAN MAY NEW NOT NOW OLD ONE OUR OUT RUN SAY SEE SHE SIR SIX TEN THE
    TOO TWO WAS WAY WHO WHY YES YET YOU
    """.split()  # noqa: SIM905
)


def _capitals(sentence: str, settings: TextSettings) -> str:
    """Shouted sentences in small letters; for voices of letters, short words of capitals letter by letter."""
    words = re.findall(r"[A-Za-z]{2,}", sentence)
    if (
        len(words) > 1
        and all(word.isupper() for word in words)
        and any(word in _SHORT_WORDS or len(word) > 5 for word in words)
    ):
        return sentence.lower()
    if settings.phonemizer:
        # espeak-ng takes an A by itself for the article; this it reads as the letter
        return re.sub(r"\bA (?=[A-Z]\b)", "Eigh ", sentence) if settings.phonemizer == "espeak" else sentence

    def spelt(match: Match) -> str:
        word = match.group()
        is_word = word in _SHORT_WORDS or (len(word) > 3 and re.search("[AEIOUY]", word))
        return word.lower() if is_word else " ".join(word)

    return _CAPITALS.sub(spelt, sentence)
