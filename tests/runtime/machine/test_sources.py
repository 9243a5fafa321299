"""What a key hashes is what the thing that it keys was made by: the imports are walked, and compared with the lists."""

import ast
import functools

import pytest

from runtime.bundle.formats import FORMATS
from runtime.machine import sources
from runtime.machine.sources import BUNDLE, CHOICE, EVERYTHING, LOWERING, MEASUREMENT, file_hash, sources_hash
from tests.conftest import ROOT
from tests.test_layers import imports

BUNDLE_ROOTS = ["convert.stages", "converters.goldens", "converters.voices"]
BUNDLE_ROOTS += [f"converters.formats.{name}" for name in FORMATS]

# Read by what makes a bundle, and not a part of what it makes.
CARRIES = {
    "runtime/machine": "moves, locks and checks files",
    "runtime/errors.py": "sentences",
}
NOT_IN_A_BUNDLE = CARRIES | {
    "runtime/engines/__init__.py": "is the table of engines: what conversion asks of one it imports itself",
    "checkpoints/locate.py": "finds a checkpoint, whose hash is in the key, as are its options",
    "convert/key.py": "is the key",
    "convert/schema.py": "declares options, whose values are in the key",
    "runtime/engines/coreai.py": "counts the ops that a manifest names",
    "runtime/neuralnetwork/__init__.py": "counts the ops that a manifest names",
}
NOT_IN_A_MEASUREMENT = CARRIES | {
    "runtime/measuring/options.py": "declares options, whose values are in the key",
    "runtime/measuring/bench/__init__.py": "is empty",
}


def file_of(module):
    path = ROOT.joinpath(*module.split("."))
    choices = (path.with_suffix(".py"), path / "__init__.py")
    return next((choice for choice in choices if choice.is_file()), None)


def named(path):
    """Modules that a table of names leads to, "runtime.engines.mil:MilEngine"."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "." in node.value:
            module = node.value.partition(":")[0]
            if all(part.isidentifier() for part in module.split(".")):
                yield module


@functools.cache
def leads_to(path):
    """Modules that a file imports or names."""
    return [*imports(path), *named(path)]


def reached(*modules, but=()):
    """Every file of ours that the modules import, at whatever depth; through those of `but` nothing is looked for."""
    files, todo = set(), list(modules)
    while todo:
        file = file_of(todo.pop())
        if file is None or file in files or any(file.is_relative_to(ROOT / name) for name in but):
            continue
        files.add(file)
        todo += leads_to(file)
    return {file for file in files if file.read_text().strip()}


def shown(files):
    return sorted(str(file.relative_to(ROOT)) for file in files)


def test_a_bundles_key_has_every_file_that_makes_one():
    assert not shown(reached(*BUNDLE_ROOTS, but=NOT_IN_A_BUNDLE) - {*BUNDLE.files(), *CHOICE.files()})
    others = tuple(NOT_IN_A_BUNDLE) + CHOICE.rooms
    assert {ROOT / "runtime/speech/mel.py", ROOT / "checkpoints/load.py"} < reached(*BUNDLE_ROOTS, but=others)
    assert {*(ROOT / "runtime/clips").glob("*.*")} - {*BUNDLE.files()} == {ROOT / "runtime/clips/LICENCES.md"}


def test_a_measurements_key_has_every_file_that_makes_one():
    found = reached("runtime.measuring.measure", but=NOT_IN_A_MEASUREMENT)
    assert not shown(found - {*MEASUREMENT.files()})
    assert ROOT / "runtime/mil/ops/conv.py" in found


def test_a_lowered_graphs_key_has_every_file_that_makes_one():
    but = (*CARRIES, "runtime/bundle")
    assert not shown(reached("runtime.mil.lower", but=but) - {*LOWERING.files()})


@pytest.mark.parametrize("made", [BUNDLE, CHOICE, MEASUREMENT, LOWERING, EVERYTHING])
def test_what_a_list_names_is_there(made):
    for name in (*made.rooms, *made.but):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("made", [BUNDLE, MEASUREMENT, LOWERING])
def test_no_room_is_in_a_key_for_nothing(made):
    roots = {BUNDLE: BUNDLE_ROOTS, MEASUREMENT: ["runtime.measuring.measure"], LOWERING: ["runtime.mil.lower"]}
    found = reached(*roots[made])
    for room in made.rooms:
        assert room == "runtime/clips" or any(file.is_relative_to(ROOT / room) for file in found), room


EDITS = [  # file, whether it makes bundles, whether it makes measurements
    ("runtime/speech/mel.py", True, True),
    ("runtime/speech/text.py", True, True),
    ("runtime/clips/sentences.yaml", True, False),
    ("runtime/playing/chains/attention.py", True, True),
    ("checkpoints/load.py", True, False),
    ("converters/formats/onnx.py", True, False),
    ("ops/metal/upsample_core.h", True, True),
    ("runtime/engines/coreml.py", False, True),
    ("runtime/mil/ops/conv.py", False, True),
    ("runtime/playing/devices.py", False, False),
    ("runtime/measuring/mac_check.py", False, False),
    ("checkpoints/training/steps.py", False, False),
]


@pytest.mark.parametrize(("name", "is_in_bundle", "is_in_measurement"), EDITS, ids=[edit[0] for edit in EDITS])
def test_a_repair_makes_anew_what_it_made_and_nothing_else(name, is_in_bundle, is_in_measurement, monkeypatch):
    before = [sources_hash(made) for made in (BUNDLE, MEASUREMENT)]
    repaired = ROOT / name
    assert repaired.is_file()
    for name_of_hash in ("file_hash", "content_hash"):
        plain = getattr(sources, name_of_hash)
        monkeypatch.setattr(
            sources, name_of_hash, lambda file, plain=plain: plain(file) + ("repaired" if file == repaired else "")
        )
    after = [sources_hash(made) for made in (BUNDLE, MEASUREMENT)]
    assert [old != new for old, new in zip(before, after)] == [is_in_bundle, is_in_measurement]


def test_a_comment_a_docstring_and_the_layout_are_no_change(tmp_path):
    plain, told = tmp_path / "plain.py", tmp_path / "told.py"
    plain.write_text("def double(value):\n    return 2 * value\n")
    told.write_text(
        '"""Module."""\n\n\ndef double(value):  # twice\n    """It."""\n    return (\n        2 * value\n    )\n'
    )
    assert file_hash(plain) == file_hash(told)
    told.write_text("def double(value):\n    return 3 * value\n")
    file_hash.cache_clear()
    assert file_hash(plain) != file_hash(told)


def test_what_was_hashed_once_is_not_parsed_again(tmp_path, monkeypatch):
    monkeypatch.setenv("VOXPORT_CACHE", str(tmp_path))
    first = sources_hash(LOWERING)
    monkeypatch.setattr(sources, "file_hash", lambda file: pytest.fail(f"{file} is parsed again"))
    assert sources_hash(LOWERING) == first


def test_a_cache_that_takes_nothing_is_no_error(tmp_path, monkeypatch):
    first = sources_hash(LOWERING)
    (tmp_path / "file").touch()
    monkeypatch.setenv("VOXPORT_CACHE", str(tmp_path / "file"))
    assert sources_hash(LOWERING) == first


def test_a_choice_by_the_reference_engine_is_in_the_key_of_what_is_chosen(checkpoint, monkeypatch):
    from convert import key
    from tests.convert.test_job import composed

    asked = []
    monkeypatch.setattr(key, "sources_hash", lambda *parts: asked.append(parts) or "")
    for precision in ("fp16", "mixed", "int8"):
        key.bundle_key(composed(f"precision={precision}"), checkpoint.located, {})
    assert [CHOICE in parts for parts in asked] == [False, True, True]
