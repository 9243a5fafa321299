"""The table of formats: what it says is what converters, engines and choices do."""

from pathlib import Path

import pytest

from converters.component import format_
from converters.options import FormatOptions
from runtime.bundle.formats import FORMATS, facts_of, format_of
from runtime.engines import ENGINES, inspect
from tests.conftest import ROOT


def test_every_format_has_a_converter_a_choice_an_engine_and_a_reader():
    choices = {path.stem for path in (ROOT / "conf" / "format").glob("*.yaml")}
    files = {path.stem for path in (ROOT / "converters" / "formats").glob("*.py")} - {"__init__"}
    assert set(FORMATS) == choices == files == set(inspect._COUNTS)
    assert {engine for facts in FORMATS.values() for engine in facts.engines} <= set(ENGINES)


@pytest.mark.parametrize("name", FORMATS)
def test_a_converter_needs_by_default_what_the_table_says(name):
    assert format_(name).target(FormatOptions(name)) == FORMATS[name].target
    assert format_(name).holds_functions(FormatOptions(name)) is FORMATS[name].functions


@pytest.mark.parametrize("name", FORMATS)
def test_a_suffix_means_one_format(name):
    path = Path(f"generator{FORMATS[name].suffix}")
    assert (format_of(path), facts_of(path)) == (name, FORMATS[name])
    assert format_of(path.with_suffix(".zip")) is None is facts_of(Path("bundle"))


def test_the_only_engine_that_computes_otherwise_than_declared_is_the_one_that_translates():
    for name, facts in FORMATS.items():
        widened = [engine for engine in facts.engines if name not in ENGINES[engine].declared]
        assert widened == (["onnx"] if facts.is_lowered else [])
