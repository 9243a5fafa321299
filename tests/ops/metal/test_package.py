"""What a bundle carries for an app, and the twin of what the Swift layer computes on the CPU."""

import re

import pytest
from hypothesis import given, settings

from ops.metal.layout import FOLDER, TEXTURE, UpsampleShape, text
from ops.metal.package import SWIFT, build_command, kernels_in_swift, stale_kernels, write_package
from ops.metal.twin import evaluate, positions

from .reference import STAGES, example, expected, worst_relative
from .test_kernels import shapes

LAYER = (FOLDER / "swift" / SWIFT).read_text()


@pytest.mark.parametrize("sizes", [row for rows in STAGES.values() for row in rows])
def test_the_cpu_s_way_equals_pytorch_at_every_published_stage(sizes):
    shape = UpsampleShape(*sizes, frames=17)
    arrays = example(shape, "float32")
    assert worst_relative(evaluate(shape, **arrays), expected(shape, arrays)) < 1e-5


@settings(max_examples=100, deadline=None, derandomize=True)
@given(shape=shapes())
def test_the_cpu_s_way_equals_pytorch_at_any_shape(shape):
    arrays = example(shape, "float32")
    assert worst_relative(evaluate(shape, **arrays), expected(shape, arrays)) < 1e-5


@settings(max_examples=100, deadline=None, derandomize=True)
@given(shape=shapes())
def test_positions_are_those_whose_sample_is_one_of_the_output(shape):
    for tap in range(shape.kernel_size):
        inside = [i for i in range(shape.frames) if 0 <= i * shape.stride + tap - shape.padding < shape.samples]
        assert list(positions(tap, shape)) == inside


def test_the_package_s_kernel_is_the_text_that_is_tested(tmp_path):
    write_package(tmp_path / "layer")
    swift = (tmp_path / "layer" / "Sources" / "HiFiGANUpsample" / "Kernels.swift").read_text()
    (literal,) = re.findall(r'#"""\n(.*)"""#', swift, re.DOTALL)
    assert literal == text(TEXTURE)
    assert '"""#' not in text(TEXTURE), "it would end the literal"
    assert '#include "' not in literal, "Metal compiles a single text at run time"
    assert swift == kernels_in_swift()
    own = FOLDER / "swift" / "Kernels.swift"  # the repository's own package compiles it
    assert own.read_text() == swift, "write it again: own.write_text(kernels_in_swift())"
    assert stale_kernels(tmp_path / "layer") == []
    kernel = tmp_path / "layer" / "Kernels" / TEXTURE
    kernel.write_text(kernel.read_text().replace("has_condition", "has_conditions"))
    assert stale_kernels(tmp_path / "layer") == [TEXTURE]
    assert stale_kernels(tmp_path / "none") == []


def test_the_library_s_command_names_every_source(tmp_path):
    write_package(tmp_path / "layer")
    command = build_command(tmp_path / "layer", tmp_path / "out.dylib")
    assert command[:2] == ["xcrun", "swiftc"]
    assert sum(part.endswith(".swift") for part in command) == 2


def test_the_swift_layer_has_the_protocol_s_methods_and_the_kernel_s_arguments():
    """As far as can be seen without a Swift compiler: names of the protocol, the struct's fields, the bindings."""
    for signature in (
        "@objc(HiFiGANUpsample)",
        "init(parameters: [String: Any]) throws",
        "func setWeightData(_ weights: [Data]) throws",
        "func outputShapes(forInputShapes inputShapes: [[NSNumber]]) throws -> [[NSNumber]]",
        "func evaluate(inputs: [MLMultiArray], outputs: [MLMultiArray]) throws",
        "func encode(commandBuffer: MTLCommandBuffer, inputs: [MTLTexture], outputs: [MTLTexture]) throws",
    ):
        assert signature in LAYER
    (body,) = re.findall(r"struct UpsampleShape \{(.*?)\n\}", LAYER, re.DOTALL)
    fields = re.findall(r"var (\w+): (Int32|Float)", body)
    (header,) = re.findall(r"struct UpsampleShape \{(.*?)\n\};", (FOLDER / "upsample_core.h").read_text(), re.DOTALL)
    wanted = re.findall(r"(int|float) (\w+);", header)
    snake = [re.sub(r"[A-Z]", lambda match: "_" + match[0].lower(), name) for name, _ in fields]
    assert list(zip(snake, ["int" if kind == "Int32" else "float" for _, kind in fields])) == [
        (name, kind) for kind, name in wanted
    ]
    kernel = text(TEXTURE).replace("\n", " ")
    for count, kind, call in ((3, "texture", "setTexture"), (3, "buffer", "set(?:Buffer|Bytes)")):
        assert len(re.findall(rf"\[\[{kind}\(\d\)\]\]", kernel)) == count
        assert len(set(re.findall(rf"encoder\.{call}\(.*index: (\d)\)", LAYER))) == count
