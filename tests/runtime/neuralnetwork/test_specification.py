"""What the validator finds in networks of every kind of weights, loops included, and what half precision stores."""

import numpy as np
import pytest
import torch
from torch import nn

from converters.formats.neuralnetwork import halve_weights, share_weights
from converters.options import ConversionError
from runtime.engines import Execution, open_engine
from runtime.errors import ArtefactError
from runtime.machine.coreml_tools import coremltools
from runtime.neuralnetwork import problems, read_network
from runtime.neuralnetwork.weights import every_layer, weights_of
from runtime.speech.metrics import snr_db
from tests.runtime.neuralnetwork.test_layers import Of, varied, written


class Reader(nn.Module):
    """Ids -> an embedding, normalised twice, read by an LSTM and a GRU (a loop), what is masked left out."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.norm = nn.Embedding(12, 8), varied(nn.LayerNorm(8))
        self.batch, self.mix = varied(nn.BatchNorm1d(8)), nn.Conv1d(8, 8, 3, padding=1)
        self.lstm, self.gru = nn.LSTM(8, 6, batch_first=True), nn.GRU(6, 5, batch_first=True)
        self.out = nn.Linear(5, 4)

    def forward(self, ids):
        x = self.batch(torch.relu(self.mix(self.norm(self.table(ids)).transpose(1, 2)))).transpose(1, 2)
        y = self.out(self.gru(self.lstm(x)[0])[0])
        return torch.where((ids > 2)[:, :, None], y, torch.full_like(y, -1e9))


IDS = np.array([[3, 11, 2, 7, 5, 0, 9]], np.int32)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    path = tmp_path_factory.mktemp("reader") / "reader.mlmodel"
    wanted = written(Reader().eval(), (torch.from_numpy(IDS),), path)
    return path, wanted


def layer_of(spec, kind):
    return next(one for one in every_layer(spec.neuralNetwork.layers) if one.WhichOneof("layer") == kind)


@pytest.mark.parametrize(
    "kind", ["embeddingND", "scale", "batchnorm", "convolution", "uniDirectionalLSTM", "innerProduct", "loadConstantND"]
)
def test_an_array_of_another_size_is_found_by_name(reader, kind):
    spec = read_network(reader[0])
    layer = layer_of(spec, kind)
    for name, held, wanted in list(weights_of(layer)):
        kept = list(held.floatValue)
        assert len(kept) == wanted
        held.floatValue.append(0.0)
        assert problems(spec) == [f"{kind} {layer.name!r}: {name} hold {wanted + 1} numbers, not {wanted}"]
        del held.floatValue[-1]
    assert problems(spec) == []


def test_a_layer_without_a_kind_is_found_in_any_version(reader):
    spec = read_network(reader[0])
    spec.specificationVersion = 1
    layer = layer_of(spec, "scale")
    layer.ClearField("scale")
    assert problems(spec) == [f"layer {layer.name!r} has no kind"] + [
        problem for problem in problems(spec) if "which nothing before it gives" in problem
    ]


def test_a_loop_is_looked_into(reader):
    spec = read_network(reader[0])
    loop = layer_of(spec, "loop")
    inner = next(one for one in loop.loop.bodyNetwork.layers if one.WhichOneof("layer") == "innerProduct")
    inner.input[0] = "nobody"
    assert any("reads 'nobody'" in problem for problem in problems(spec))
    spec = read_network(reader[0])
    layer_of(spec, "loop").loop.conditionVar = "nothing"
    assert problems(spec) == [f"loop {loop.name!r} asks 'nothing', which nothing gives"]
    layer_of(spec, "loop").loop.conditionVar = ""
    assert problems(spec) == [f"loop {loop.name!r} has neither a condition nor a limit"]


def test_what_a_loop_s_body_gave_a_later_layer_may_give_anew(reader):
    """coremltools' while_loop names a constant of the body as one of the network around it."""
    spec = read_network(reader[0])
    layers = spec.neuralNetwork.layers
    number = next(number for number, layer in enumerate(layers) if layer.WhichOneof("layer") == "loop")
    body = layers[number].loop.bodyNetwork.layers
    given = next(name for layer in body for name in layer.output if all(name not in one.output for one in layers))
    layers.add(name="again", output=[given]).loadConstantND.shape.append(1)
    layers[-1].loadConstantND.data.floatValue.append(0)
    assert not problems(spec)
    layers.add().CopyFrom(layers[number + 1])  # what its own network gave is another matter
    layers[-1].name = "and again"
    assert any("is there already" in problem for problem in problems(spec))


def test_a_loop_ends_at_its_limit(reader, tmp_path):
    """After one turn, two and all of them: so many of the GRU's outputs are there, the others as they began."""
    path, wanted = reader
    results = []
    for turns in (1, 2, 100):
        spec = read_network(path)
        layer_of(spec, "loop").loop.maxLoopIterations = turns
        limited = tmp_path / f"{turns}.mlmodel"
        coremltools().utils.save_spec(spec, str(limited))
        (output,) = open_engine(limited, Execution("neuralnetwork")).run({"x0": IDS}).values()
        results.append(snr_db(wanted[:, :turns][:, IDS[0, :turns] > 2], output[:, :turns][:, IDS[0, :turns] > 2]))
        assert turns == 100 or snr_db(wanted[:, 4:5], output[:, 4:5]) < 60
    assert min(results) > 115


def test_half_precision_reaches_every_weight_but_indices_and_masks(reader, tmp_path):
    path, wanted = reader
    spec = read_network(path)
    halve_weights(spec)
    for layer in every_layer(spec.neuralNetwork.layers):
        for name, held, _ in weights_of(layer):
            if layer.WhichOneof("layer") != "loadConstantND":
                assert held.float16Value and not held.floatValue, (layer.name, name)
    constants = [
        np.asarray(layer.loadConstantND.data.floatValue)
        for layer in every_layer(spec.neuralNetwork.layers)
        if layer.WhichOneof("layer") == "loadConstantND"
    ]
    assert any((numbers == -1e9).any() for numbers in constants if numbers.size)
    halved = tmp_path / "halved.mlmodel"
    coremltools().utils.save_spec(spec, str(halved))
    (single,) = open_engine(path, Execution("neuralnetwork")).run({"x0": IDS}).values()
    (half,) = open_engine(halved, Execution("neuralnetwork")).run({"x0": IDS}).values()
    spoken = IDS[0] > 2
    assert snr_db(wanted[:, spoken], single[:, spoken]) > 115
    assert 50 < snr_db(wanted[:, spoken], half[:, spoken]) < 90
    assert (half[:, ~spoken] == np.float32(-1e9)).all()


def test_a_weight_beyond_half_precision_is_refused_by_its_layer(reader):
    spec = read_network(reader[0])
    table = layer_of(spec, "embeddingND")
    table.embeddingND.weights.floatValue[0] = 1e5
    with pytest.raises(ConversionError, match=f"layer {table.name} has a weight of 100000: use precision=fp32"):
        halve_weights(spec)


def test_weights_that_do_not_fill_a_layer_are_refused_with_its_name(reader, tmp_path):
    """A table of two bits has four weights."""
    spec = read_network(reader[0])
    layer = layer_of(spec, "innerProduct")
    held = layer.innerProduct.weights
    held.rawValue = bytes(-(-len(held.floatValue) // 4))
    held.quantization.numberOfBits = 2
    held.quantization.lookupTableQuantization.floatValue.extend([0.0, 1.0, 2.0])
    held.ClearField("floatValue")
    path = tmp_path / "short.mlmodel"
    coremltools().utils.save_spec(spec, str(path))
    with pytest.raises(
        ArtefactError, match=rf"short\.mlmodel: layer '{layer.name}': a table of 3 weights is not one of 2"
    ):
        open_engine(path, Execution("neuralnetwork"))


@pytest.mark.parametrize("bits", [3, 8])
@pytest.mark.parametrize("mode", ["linear", "linear_lut"])
def test_quantised_weights_are_what_coremltools_says(reader, bits, mode, tmp_path):
    """Against coremltools' own dequantisation of the same file, bits that do not fill bytes included."""
    ct = coremltools()
    quantised = ct.models.neural_network.quantization_utils.quantize_weights(
        ct.models.MLModel(read_network(reader[0]), skip_model_load=True), bits, mode
    )
    paths = tmp_path / "quantised.mlmodel", tmp_path / "dense.mlmodel"
    spec = quantised if hasattr(quantised, "SerializeToString") else quantised.get_spec()
    ct.utils.save_spec(spec, str(paths[0]))
    ct.models.neural_network.quantization_utils._dequantize_nn_spec(spec.neuralNetwork)
    ct.utils.save_spec(spec, str(paths[1]))
    y, wanted = (next(iter(open_engine(path, Execution("neuralnetwork")).run({"x0": IDS}).values())) for path in paths)
    assert any(
        held.rawValue
        for layer in every_layer(read_network(paths[0]).neuralNetwork.layers)
        for _, held, _ in weights_of(layer)
    )
    np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-6)


def test_tensors_are_let_go_after_their_last_reader(tmp_path):
    """A chain of wide layers holds two of them, not all."""
    path = tmp_path / "chain.mlmodel"
    written(Of(_chain).eval(), (torch.randn(1, 1, 4),), path)
    engine = open_engine(path, Execution("neuralnetwork"))
    held_at_most = 0
    network = engine.model.network
    steps = network.steps

    def watched(step):
        def run(held):
            nonlocal held_at_most
            step(held)
            held_at_most = max(held_at_most, len(held))

        return run

    network.steps = [(watched(step), done) for step, done in steps]
    engine.run({"x0": np.zeros((1, 1, 4), np.float32)})
    assert len(steps) > 10
    assert held_at_most <= 3


def _chain(x):
    for _ in range(12):
        x = torch.tanh(x)
    return x


@pytest.mark.parametrize("bias", [True, False])
def test_weights_that_several_layers_read_are_stored_once(tmp_path, bias):
    """As the steps of a WaveRNN's block do: 25 copies of its weights would be 20 times its size."""
    linear, other = nn.Linear(40, 40, bias=bias), nn.Linear(40, 40)
    path, x = tmp_path / "turns.mlmodel", torch.randn(1, 40)
    wanted = written(Of(lambda a, b, x: b(torch.tanh(a(torch.tanh(a(torch.tanh(a(x))))))), linear, other), (x,), path)
    spec = read_network(path)
    before = spec.ByteSize()
    share_weights(spec)
    assert problems(spec) == []
    assert spec.ByteSize() < before - 2 * 40 * 40 * 4 + 2000
    assert sum(layer.WhichOneof("layer") == "innerProduct" for layer in spec.neuralNetwork.layers) == 1
    shared = tmp_path / "shared.mlmodel"
    coremltools().utils.save_spec(spec, str(shared))
    (output,) = open_engine(shared, Execution("neuralnetwork")).run({"x0": x.numpy()}).values()
    assert snr_db(wanted, output) > 110
    share_weights(spec)  # nothing is left to do
    assert spec.ByteSize() == coremltools().utils.load_spec(str(shared)).ByteSize()
