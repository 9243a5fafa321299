"""Errors put into the kernels on purpose: each must be caught, by numbers, bounds, barriers or races."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ops.metal import layout
from ops.metal.host import HERE, build, upsample
from ops.metal.layout import UpsampleShape

from .reference import example, expected

SHAPE = UpsampleShape(39, 22, 16, 8, 4, 37, has_condition=True)

FIRST_BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);         // the tile is whole"
SECOND_BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);         // everybody has read it"

# file, text, replaced by, kernels that must show it
WRONG_NUMBERS = {
    "phase": (layout.CORE, "(sample + shape.padding) % shape.stride", "sample % shape.stride", "all"),
    "newest input": (layout.CORE, "position = newest - j;", "position = newest - j + 1;", "all but tiled"),
    "taps": (layout.CORE, "for (int j = 0; j < shape.taps; ++j) {\n        const int k = phase",
             "for (int j = 0; j < shape.taps - 1; ++j) {\n        const int k = phase", "all but tiled"),
    "weights": (layout.CORE, "* shape.channels_in + channel;", "* shape.channels_in + channel + 1;", "all"),
    "activation": (layout.CORE, "value * slope;", "value;", "all"),
    "start of the utterance": (layout.CORE, "position < 0 ||", "position < 1 ||", "all but tiled"),
    "last input channels": (layout.CORE, "if (left > 2)", "if (left > 3)", "all but tiled"),
    "condition, texture": (layout.TEXTURE, "if (shape.has_condition)", "if (!shape.has_condition)", "texture"),
    "condition, buffer": (layout.BUFFER, "if (shape.has_condition)", "if (!shape.has_condition)", "buffer"),
    "outputs of a quad": (layout.BUFFER, "if (left > 1)", "if (left > 2)", "buffer"),
    "a tile's start": (layout.BUFFER, "first - (shape.taps - 1) + e", "first - shape.taps + e", "tiled"),
    "a tile's tap": (layout.BUFFER, "+ (shape.taps - 1) - j]", "+ (shape.taps - 1)]", "tiled"),
    "a tile's phases": (layout.BUFFER, "phase + f < shape.stride && k", "phase + f < shape.stride - 1 && k", "tiled"),
    "a tile's channels": (layout.BUFFER, "channel += TILE_CHANNELS", "channel += TILE_CHANNELS + 1", "tiled"),
    "first barrier": (layout.BUFFER, FIRST_BARRIER, "", "tiled"),
    "second barrier": (layout.BUFFER, SECOND_BARRIER, "", "tiled"),
    "condition, tensors": (layout.COREAI, "if (shape.has_condition)", "if (!shape.has_condition)", "tensors"),
    "input channels, tensors": (layout.COREAI, "if (index >= shape.channels_in) return 0.0f;", "", "tensors"),
    "a quad's weights": (layout.COREAI, "float(w[3, index])", "float(w[2, index])", "tensors"),
    "output samples, tensors": (layout.COREAI, "int(thread_at.x) >= shape.samples ||", "", "tensors"),
    "outputs of a quad, tensors": (layout.COREAI, "if (left > 2)", "", "tensors"),
    "divergent barrier": (layout.BUFFER, "    float4 sums[", "    if (!computes) return;\n    float4 sums[", "tiled"),
}  # fmt: skip
KERNELS = {
    "all": [("texture", "float16"), ("plain", "float16"), ("plain", "float32"), ("coreai", "float16")],
    "all but tiled": [("texture", "float16"), ("plain", "float16"), ("coreai", "float16")],
    "texture": [("texture", "float16")],
    "buffer": [("plain", "float16"), ("tiled", "float16")],
    "tiled": [("tiled", "float16"), ("tiled", "float32")],
    "tensors": [("coreai", "float16"), ("coreai", "float32")],
}
OUT_OF_BOUNDS = {
    "output samples": ("plain", "int(thread_at.x) >= shape.samples ||", "int(thread_at.x) > shape.samples ||"),
    "output quads": ("plain", "int(thread_at.y) >= upsample_quads", "int(thread_at.y) > upsample_quads"),
    "input channels": ("plain", "if (index >= shape.channels_in) return 0.0f;", ""),
    "end of the utterance": ("tiled", "position < shape.frames;", "position <= shape.frames;"),
    "start of the utterance": ("tiled", "position >= 0 &&", "position >= -1 &&"),
}


def changed(folder, file, text, by):
    """A copy of the kernels with one change."""
    copy = Path(shutil.copytree(layout.FOLDER, folder / "kernels"))
    source = (copy / file).read_text()
    assert source.count(text) >= 1, "the kernel's text has changed: change this test"
    (copy / file).write_text(source.replace(text, by))
    return copy


def is_wrong(kernels, form, dtype):
    arrays = example(SHAPE, dtype)
    wanted = expected(SHAPE, arrays)
    for seed in range(3):
        try:
            output = upsample(kernels, form, SHAPE, **arrays, seed=seed)
        except RuntimeError:  # a divergent barrier, or texels beyond a texture
            return True
        if not np.abs(output - wanted).max() < 4e-3 * np.abs(wanted).max():
            return True
    return False


QUICK = (  # each kernel and each kind of error; a compiler's run each
    "phase", "taps", "activation", "start of the utterance", "condition, texture", "outputs of a quad", "a tile's tap",
    "second barrier", "a quad's weights", "output samples, tensors", "divergent barrier",
)  # fmt: skip


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.proof) for name in WRONG_NUMBERS]
)
def test_a_wrong_result_shows(clang, tmp_path, name):
    import ctypes

    file, text, by, shown_by = WRONG_NUMBERS[name]
    sources = changed(tmp_path, file, text, by)
    kernels = ctypes.CDLL(str(build(tmp_path / "kernels.so", "-fPIC", "-shared", "-Wno-error", "-O0", sources=sources)))
    for form, dtype in KERNELS[shown_by]:
        assert is_wrong(kernels, form, dtype), (form, dtype)


def guarded(library, *forms):
    """In a process of its own, each buffer between two pages that nobody may touch: at the upper, then at the lower."""
    command = [sys.executable, "-m", "tests.ops.metal.guarded", str(library), *forms]
    root = str(Path(__file__).parents[3])
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=root)


def test_the_kernels_stay_within_their_buffers(clang, tmp_path):
    forms = ("texture", "plain", "tiled")
    library = build(tmp_path / "kernels.so", "-fPIC", "-shared")
    result = guarded(library, *forms)
    within = [f"{form}: within bounds" for form in forms]
    assert (result.returncode, result.stdout.splitlines()) == (0, within), result.stderr


STEPS = ("input channels", "end of the utterance")  # one of each form; each takes a process of its own


@pytest.mark.parametrize(
    "name", [name if name in STEPS else pytest.param(name, marks=pytest.mark.proof) for name in OUT_OF_BOUNDS]
)
def test_a_step_beyond_a_buffer_shows(clang, tmp_path, name):
    form, text, by = OUT_OF_BOUNDS[name]
    sources = changed(tmp_path, layout.BUFFER, text, by)
    library = build(tmp_path / "kernels.so", "-fPIC", "-shared", "-Wno-error", "-O0", sources=sources)
    assert guarded(library, form).returncode == -11, "a segmentation fault"


@pytest.mark.proof  # the sanitizer itself is compiled first: most of a minute
@pytest.mark.parametrize("races", [False, True])
def test_thread_sanitizer_finds_the_race_of_a_missing_barrier_and_none_otherwise(clang, tmp_path, races):
    sources = layout.FOLDER
    if races:
        sources = changed(tmp_path, layout.BUFFER, SECOND_BARRIER, "")
    flags = ["-DTHREADS", "-fsanitize=thread", "-g", "-Wno-error"]
    try:
        program = build(tmp_path / "race", *flags, sources=sources, harness=HERE / "race.cpp")
    except RuntimeError as error:
        pytest.skip(f"this clang has no ThreadSanitizer: {str(error)[-200:]}")
    result = subprocess.run([str(program)], capture_output=True, text=True, timeout=300, check=False)
    assert ("data race" in result.stderr) == races, result.stderr[:3000]
    assert (result.returncode != 0) == races
