"""Wrong values in a stranger's config.json: whatever it says, the job ends with a sentence, and soon."""

import copy
import json
import math
import random
import time
import types

import pytest

from checkpoints.catalogue import BUNDLED, catalogue
from checkpoints.files import ARCHITECTURES, read_config
from checkpoints.locate import LocatedCheckpoint, locate
from checkpoints.options import CheckpointOptions
from convert.__main__ import main
from convert.stages import load_original
from converters.goldens import clip_goldens
from converters.options import GoldenOptions, Shape, StreamOptions
from runtime.errors import VoxportError
from runtime.speech.clips import clip_paths

WRONG = (
    -1,
    0,
    1e30,
    10**30,
    "abc",
    "",
    [],
    [1, 2],
    [None],
    None,
    {},
    {"a": 1},
    math.nan,
    math.inf,
    [[[[]]]],
    True,
    1.5,
)
SECONDS = 60


def places(config, path=()):
    """Of every value and of every section."""
    inner = config.items() if isinstance(config, dict) else enumerate(config[:1]) if isinstance(config, list) else ()
    if path:
        yield path
    for key, value in inner:
        yield from places(value, (*path, key))


def changed(config, path, value):
    config = copy.deepcopy(config)
    *outer, last = path
    section = config
    for key in outer:
        section = section[key]
    section[last] = value
    return config


def end_of(family, folder, config, goldens=False):
    """The sentence that a conversion ends with before it converts; empty where nothing was wrong."""
    (folder / "config.json").write_text(json.dumps(config))
    job = types.SimpleNamespace(
        model=types.SimpleNamespace(family=family),
        shape=Shape(),
        stream=StreamOptions(),
        mode="offline",
        goldens=GoldenOptions(),
    )
    started = time.perf_counter()
    try:
        if list(folder.glob("*.safetensors")):
            located = locate(CheckpointOptions(source=str(folder)), family, "", print)
        else:
            located = LocatedCheckpoint("own", family, "", "", "0", None, read_config(folder / "config.json"))
        original = load_original(job, located, {})
        if goldens and original.voice is None:
            clip_goldens(original.components, clip_paths(), 64)
    except VoxportError as error:
        return str(error)
    finally:
        assert time.perf_counter() - started < SECONDS
    return ""


def own(name, folder):
    """The bundled checkpoint as somebody's own."""
    (folder / "model.safetensors").symlink_to(BUNDLED / name / "model.safetensors")
    return read_config(BUNDLED / name / "config.json")


CASES = [
    ("kathleen_hifigan", "hifigan", path, WRONG[(5 * number) % len(WRONG)])
    for number, path in enumerate(places(read_config(BUNDLED / "kathleen_hifigan" / "config.json")))
] + [
    ("kathleen_fastspeech2", "forward_tts", path, WRONG[(5 * number) % len(WRONG)])
    for number, path in enumerate(places(read_config(BUNDLED / "kathleen_fastspeech2" / "config.json")))
]


@pytest.mark.parametrize(("name", "family", "path", "value"), CASES, ids=lambda case: str(case)[:40])
def test_a_wrong_value_ends_with_a_sentence_or_is_not_read(tmp_path, name, family, path, value):
    sentence = end_of(family, tmp_path, changed(own(name, tmp_path), path, value))
    assert sentence.isprintable() and len(sentence) < 1000


@pytest.mark.parametrize(
    ("section", "key", "value", "says"),
    [
        ("audio", "hop_length", "abc", "hop_length is 'abc', which is no number"),
        ("audio", "fft_size", -5, "n_fft must be 1 to"),
        ("audio", "mel_fmax", math.nan, "mel_fmax"),
        ("audio", "stft_pad_mode", "sideways", "no stft_pad_mode 'sideways'"),
        ("generator_model_params", "upsample_factors", [8, 8, -2, 2], "upsample_factors is -2"),
        ("generator_model_params", "upsample_initial_channel", 900_000, "weights, which its file does not hold"),
        ("generator_model_params", "resblock_dilation_sizes", [[1, 10**9]], "resblock_dilation_sizes is 1000000000"),
        ("generator_model_params", "resblock_kernel_sizes", {"a": 1}, "generator_model_params do not fit"),
        ("generator_model_params", "resblock_dilation_sizes", [[0]], "resblock_dilation_sizes is 0"),
        ("generator_model_params", "upsample_factors", [], "not what the family hifigan reads"),
    ],
)
def test_the_sentence_names_the_value(tmp_path, section, key, value, says):
    config = own("kathleen_hifigan", tmp_path)
    config[section][key] = value
    assert says in end_of("hifigan", tmp_path, config)


@pytest.mark.parametrize("value", ["abc", [None], {"a": 1}, -1])
def test_the_command_ends_with_2(tmp_path, capsys, value):
    config = own("kathleen_hifigan", tmp_path)
    config["generator_model_params"]["upsample_kernel_sizes"] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    code = main(["model=hifigan", f"checkpoint.source={tmp_path}", f"output={tmp_path / 'out'}", "tracking=off"])
    printed = capsys.readouterr()
    assert code == 2
    assert "Traceback" not in printed.out + printed.err and "checkpoint" in printed.out + printed.err


@pytest.mark.proof
def test_every_value_of_every_architecture_can_be_wrong(tmp_path, capsys):
    """Four wrong values for each, drawn; the vocoder that ships with voxport up to its goldens, with all of them."""
    draw, counts = random.Random(0), []
    for name in [path.stem for path in sorted(ARCHITECTURES.glob("*.json"))] + ["kathleen_hifigan"]:
        entry, folder = catalogue()[name], tmp_path / name
        folder.mkdir()
        config = own(name, folder) if entry.bundled else read_config(ARCHITECTURES / f"{name}.json")
        config["audio"] = {**(config.get("audio") or {}), **entry.audio}
        ends = [
            end_of(entry.family, folder, changed(config, path, value), goldens=bool(entry.bundled))
            for path in places(config)
            for value in (WRONG if entry.bundled else draw.sample(WRONG, 4))
        ]
        assert all(sentence.isprintable() for sentence in ends)
        counts.append(f"{name:26} {sum(map(bool, ends)):8} {len(ends) - sum(map(bool, ends)):8}")
    with capsys.disabled():
        print("\n".join(["", "wrong values in a config   sentence not read", *counts]))
