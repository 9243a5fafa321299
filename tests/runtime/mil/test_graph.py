"""What more than one op makes: blocks, states, computed parameters, several outputs, compressed weights."""

import dataclasses

import numpy as np
import pytest
import torch

from runtime.engines.mil import MilEngine
from runtime.engines.onnx import OnnxEngine
from runtime.errors import NotLowered
from runtime.machine.coreml_tools import coremltools, quick_conversion
from runtime.measuring.measure import engines_for
from runtime.measuring.options import MeasureOptions
from runtime.mil.faithful import Faithful

ct = coremltools()
from coremltools.converters.mil import Builder as mb  # noqa: E402
from coremltools.converters.mil.mil import types  # noqa: E402


def test_a_loop_captures_values_from_outside(saved):
    @mb.program(input_specs=[mb.TensorSpec(shape=(1,)), mb.TensorSpec(shape=(1,))], opset_version=ct.target.iOS18)
    def program(x, step):
        return mb.while_loop(
            _cond=lambda value: mb.squeeze(x=mb.less(x=value, y=np.float32(10))),
            _body=lambda value: mb.add(x=value, y=step),
            loop_vars=(x,),
        )

    path = saved(program)
    engine = MilEngine(path)
    for start, step, expected in ((0.0, 3.0, 12.0), (11.0, 3.0, 11.0)):
        inputs = {"x": np.array([start], np.float32), "step": np.array([step], np.float32)}
        (result,) = engine.run(inputs).values()
        assert result == expected
    with pytest.raises(NotLowered, match="has loops, which are not lowered to ONNX"):
        OnnxEngine(path)


def test_auto_measures_a_program_with_loops_in_mil_alone(fp16):
    (component,) = fp16.bundle.manifest.components
    looping = component.model_copy(update={"ops": {"while_loop": 1}})
    manifest = fp16.bundle.manifest.model_copy(update={"components": (looping,)})
    bundle = dataclasses.replace(fp16.bundle, manifest=manifest)
    assert engines_for(MeasureOptions(), fp16.bundle)[:2] == ["mil", "onnx"]
    assert engines_for(MeasureOptions(), bundle)[:1] == ["mil"] and "onnx" not in engines_for(MeasureOptions(), bundle)
    assert engines_for(MeasureOptions(["mil"]), bundle) == ["mil"]
    assert engines_for(MeasureOptions(["onnx"]), bundle) == ["onnx"], "who asks for it is told why"


def test_both_branches_of_a_choice(saved):
    @mb.program(input_specs=[mb.TensorSpec(shape=(1,))], opset_version=ct.target.iOS18)
    def program(x):
        positive = mb.squeeze(x=mb.greater(x=x, y=np.float32(0)))
        return mb.cond(
            pred=positive,
            _true_fn=lambda: mb.mul(x=x, y=np.float32(2)),
            _false_fn=lambda: mb.sub(x=x, y=np.float32(100)),
        )

    engine = MilEngine(saved(program))
    assert next(iter(engine.run({"x": np.array([3], np.float32)}).values())) == 6
    assert next(iter(engine.run({"x": np.array([-3], np.float32)}).values())) == -103


def test_rounding_holds_inside_a_block(saved):
    @mb.program(input_specs=[mb.TensorSpec(shape=(1,))], opset_version=ct.target.iOS18)
    def program(x):
        return mb.while_loop(
            _cond=lambda value: mb.squeeze(x=mb.less(x=value, y=np.float32(60000))),
            _body=lambda value: mb.mul(x=value, y=value),
            loop_vars=(x,),
        )

    (result,) = MilEngine(saved(program, "fp16")).run({"x": np.array([300], np.float32)}).values()
    assert np.isinf(result), "300 * 300 is more than half precision holds"


def test_what_is_compiled_equals_the_interpreter_to_the_last_bit(saved):
    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 2, 64))], opset_version=ct.target.iOS18)
    def program(x):
        left, right = mb.split(x=mb.mul(x=x, y=np.float32(1 / 3)), num_splits=2, axis=1)
        loud = mb.squeeze(x=mb.greater(x=mb.reduce_max(x=left, keep_dims=False), y=np.float32(0)))
        tenth = np.float32(0.1)
        chosen = mb.cond(pred=loud, _true_fn=lambda: mb.exp(x=left), _false_fn=lambda: mb.mul(x=right, y=tenth))
        return mb.add(x=chosen, y=mb.tanh(x=right))

    engine = MilEngine(saved(program, "fp16"))
    interpreter, exact = Faithful(engine.graph), engine.graph
    for seed in range(4):
        inputs = np.random.default_rng(seed).normal(size=(1, 2, 64)).astype(np.float32) * (-1) ** seed
        tensors = engine.tensors({engine.inputs[0].name: inputs}, engine.new_state())
        with torch.inference_mode():
            ours, theirs, unrounded = engine.compute(*tensors), interpreter.run(*tensors), exact(*tensors)
        assert torch.equal(ours[0], theirs[0])
        assert not torch.equal(ours[0], unrounded[0]), "its rounding shows"


class Counter(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("total", torch.zeros(3, dtype=torch.float16))

    def forward(self, x):
        self.total.add_(x)
        return self.total * 2


@pytest.fixture
def counter(saved):
    return saved(
        torch.jit.trace(Counter().half(), torch.zeros(3, dtype=torch.float16)),
        "fp16",
        inputs=[ct.TensorType("x", shape=(3,), dtype=np.float16)],
        outputs=[ct.TensorType("y", dtype=np.float16)],
        states=[ct.StateType(wrapped_type=ct.TensorType(shape=(3,), dtype=np.float16), name="total")],
    )


@pytest.mark.parametrize("engine_class", [MilEngine, OnnxEngine])
def test_a_state_is_kept_between_calls_and_two_are_independent(counter, engine_class):
    engine = engine_class(counter)
    one = {"x": np.ones(3, np.float16)}
    first, second = engine.new_state(), engine.new_state()
    for expected in (2, 4, 6):
        np.testing.assert_array_equal(engine.run(one, first)["y"], expected)
    np.testing.assert_array_equal(engine.run(one, second)["y"], 2)
    np.testing.assert_array_equal(first["total"], 3)
    np.testing.assert_array_equal(engine.run(one)["y"], 2, "without a state every call starts anew")


def test_enable_predict_makes_states(counter):
    from runtime.engines.predict import enable_predict

    enable_predict()
    model = ct.models.MLModel(str(counter))
    state = model.make_state()
    model.predict({"x": np.ones(3)}, state=state)
    np.testing.assert_array_equal(model.predict({"x": np.ones(3)}, state=state)["y"], 4)
    np.testing.assert_array_equal(state.read_state("total"), 2)
    state.write_state("total", np.full(3, 10))
    np.testing.assert_array_equal(model.predict({"x": np.ones(3)}, state=state)["y"], 22)


@pytest.mark.parametrize("engine_class", [MilEngine, OnnxEngine])
def test_a_parameter_that_the_program_computes(saved, engine_class):
    dims = ct.Shape((ct.RangeDim(1, 8, 2), 6))

    @mb.program(input_specs=[mb.TensorSpec(shape=(types_symbol(), 6))], opset_version=ct.target.iOS18)
    def program(x):
        rows = mb.slice_by_index(x=mb.shape(x=x), begin=[0], end=[1])
        return mb.reshape(x=x, shape=mb.concat(values=[[3], rows, [2]], axis=0))

    engine = engine_class(saved(program, inputs=[ct.TensorType("x", shape=dims)]))
    for rows in (1, 2, 5):
        x = np.arange(rows * 6, dtype=np.float32).reshape(rows, 6)
        (result,) = engine.run({"x": x}).values()
        np.testing.assert_array_equal(result, x.reshape(3, rows, 2))


def test_enumerated_shapes_are_taken(saved):
    shapes = ct.EnumeratedShapes([[1, 4], [2, 4], [5, 4]], default=[2, 4])
    traced = torch.jit.trace(torch.nn.ReLU(), torch.zeros(2, 4))
    inputs = [ct.TensorType("x", shape=shapes)]
    engine = MilEngine(saved(traced, "fp16", inputs=inputs, outputs=[ct.TensorType("y")]))
    assert str(engine.inputs[0].shape[0]) == "1..5"
    for rows in (1, 2, 5):
        assert engine.run({"x": np.ones((rows, 4), np.float16)})["y"].shape == (rows, 4)


def types_symbol():
    from coremltools.converters.mil.mil import get_new_symbol

    return get_new_symbol()


@pytest.mark.parametrize("mode", ["palettes", "linear"])
def test_compressed_weights_are_decompressed_from_the_file(tmp_path, mode):
    import coremltools.optimize as cto

    torch.manual_seed(0)
    layer = torch.nn.Conv1d(32, 64, 3).eval()
    x = torch.randn(1, 32, 20)
    traced = torch.jit.trace(layer, x)
    with quick_conversion():
        model = ct.convert(
            traced,
            inputs=[ct.TensorType("x", shape=x.shape)],
            outputs=[ct.TensorType("y")],
            compute_precision=ct.precision.FLOAT32,
            minimum_deployment_target=ct.target.iOS18,
            skip_model_load=True,
        )
    if mode == "palettes":
        config = cto.coreml.OptimizationConfig(cto.coreml.OpPalettizerConfig(nbits=6, mode="uniform"))
        compressed = cto.coreml.palettize_weights(model, config)
    else:
        config = cto.coreml.OptimizationConfig(cto.coreml.OpLinearQuantizerConfig(weight_threshold=0))
        compressed = cto.coreml.linear_quantize_weights(model, config)
    compressed.save(str(tmp_path / "m.mlpackage"))
    output = MilEngine(tmp_path / "m.mlpackage").run({"x": x.numpy()})["y"]
    expected = layer(x).detach().numpy()
    error = np.sqrt(((output - expected) ** 2).mean() / (expected**2).mean())
    assert 1e-4 < error < 0.05, "compressed, and close"
    np.testing.assert_allclose(OnnxEngine(tmp_path / "m.mlpackage").run({"x": x.numpy()})["y"], output, atol=1e-4)


def test_random_values_follow_their_seed_and_their_distribution(saved):
    @mb.program(input_specs=[mb.TensorSpec(shape=(1,))], opset_version=ct.target.iOS18)
    def program(x):
        shape = np.array([20000], np.int32)
        normal = mb.random_normal(shape=shape, mean=2.0, stddev=3.0, seed=7)
        uniform = mb.random_uniform(shape=shape, low=-1.0, high=5.0, seed=7)
        bernoulli = mb.random_bernoulli(shape=shape, prob=0.3, seed=7)
        return mb.add(x=normal, y=x), mb.add(x=uniform, y=x), mb.add(x=bernoulli, y=x)

    engine = MilEngine(saved(program))
    zero = {"x": np.zeros(1, np.float32)}
    normal, uniform, bernoulli = engine.run(zero).values()
    assert (normal.mean(), normal.std()) == (pytest.approx(2, abs=0.1), pytest.approx(3, abs=0.1))
    assert uniform.min() >= -1
    assert uniform.max() < 5
    assert uniform.mean() == pytest.approx(2, abs=0.1)
    assert bernoulli.mean() == pytest.approx(0.3, abs=0.02)
    np.testing.assert_array_equal(next(iter(engine.run(zero).values())), normal)


def test_integers_wrap_and_divide_as_declared(saved):
    @mb.program(
        input_specs=[mb.TensorSpec(shape=(3,), dtype=types.int32), mb.TensorSpec(shape=(3,), dtype=types.int32)],
        opset_version=ct.target.iOS18,
    )
    def program(x, y):
        return mb.floor_div(x=x, y=y), mb.mod(x=x, y=y), mb.real_div(x=x, y=y)

    x, y = np.array([7, -7, 7], np.int32), np.array([2, 2, -2], np.int32)
    floor, modulus, real = MilEngine(saved(program)).run({"x": x, "y": y}).values()
    np.testing.assert_array_equal(floor, x // y)
    np.testing.assert_array_equal(modulus, x % y)
    np.testing.assert_array_equal(real, np.trunc(x / y))
