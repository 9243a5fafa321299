"""The layers that PyTorch's modules become, written by coremltools and computed as PyTorch does; the others are in
test_built_layers.py."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from runtime.engines import Execution, open_engine
from runtime.machine.coreml_tools import coremltools, quick_conversion
from runtime.neuralnetwork import read_network
from runtime.neuralnetwork.weights import every_layer

torch.manual_seed(0)
X, Y = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
ROW, SEQUENCE = torch.randn(1, 3, 1, 5), torch.randn(6, 2, 4)
COUNTS = torch.tensor([[2, 0, 5, 3]], dtype=torch.int32)


class Of(nn.Module):
    def __init__(self, function: Callable[..., Tensor], *parts: nn.Module):
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, *inputs):
        return self.function(*self.parts, *inputs)


def varied(module):
    """Not the zeros and ones that a new normalisation has."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            tensor.data.uniform_(0.5, 1.5)
    return module


def of(function, *inputs, parts=()):
    return Of(function, *parts).eval(), inputs


CASES = {
    "add": of(lambda x, y: x + y, X, Y),
    "add, alpha": of(lambda x: x + 0.5, X),
    "addBroadcastable": of(lambda x, y: x + y, X, ROW),
    "batchedMatmul": of(lambda x, y: x @ y.transpose(2, 3), X, Y),
    "batchedMatmul, weights": of(lambda linear, x: linear(x), X, parts=[nn.Linear(5, 7)]),
    "batchnorm": of(lambda norm, x: norm(x), X, parts=[varied(nn.BatchNorm2d(3))]),
    "clip": of(lambda x: x.clamp(-0.5, 0.7), X),
    "concat": of(lambda x, y: torch.cat([x, y], 1), X, Y),
    "concatND": of(lambda x, y: torch.cat([x, y], 3), X, Y),
    "constantPad": of(lambda x: F.pad(x, (1, 0, 0, 2, 3, 1), value=0.25), X),
    "convolution": of(lambda conv, x: conv(x), X, parts=[nn.Conv2d(3, 6, 3, 2, (1, 2), groups=3)]),
    "convolution, dilated": of(lambda conv, x: conv(x), SEQUENCE, parts=[nn.Conv1d(2, 6, 2, dilation=3, bias=False)]),
    "convolution, transposed": of(lambda conv, x: conv(x), X, parts=[nn.ConvTranspose2d(3, 4, 4, 2, 1)]),
    "crop": of(lambda conv, x: conv(x), X, parts=[nn.ConvTranspose2d(3, 4, 4, 2, 1, 1)]),
    "cumSum": of(lambda x: x.cumsum(2), X),
    "divideBroadcastable": of(lambda x, y: x / y, X, ROW),
    "embeddingND": of(lambda table, i: table(i), COUNTS, parts=[nn.Embedding(6, 4)]),
    "equal": of(lambda x, y: torch.where(x == y, x, -x), X, torch.where(Y > 0, X, Y)),
    "erf": of(torch.erf, X),
    "expandDims": of(lambda x: x[:, None, :, None].sum(2), SEQUENCE),
    "gather": of(lambda x: x[:, [2, 0, 2, 1]], X),
    "gelu": of(F.gelu, X),
    "gelu, tanh": of(lambda x: F.gelu(x, approximate="tanh"), X),
    "greaterEqual": of(lambda x, y: torch.where(x >= y, x, -x), X, ROW),
    "greaterThan": of(lambda x, y: torch.where(x > y, x, -x), X, Y),
    "innerProduct": of(lambda linear, x: linear(x), SEQUENCE, parts=[nn.Linear(4, 7)]),
    "lessEqual": of(lambda x, y: torch.where(x <= y, x, -x), X, ROW),
    "lessThan": of(lambda x, y: torch.where(x < 0.3, x, y), X, Y),
    "loadConstantND": of(lambda x: x * torch.arange(5.0).expand(2, 3, 4, 5), X),
    "logicalAnd": of(lambda x, y: ((x > 0) & (y > 0)).float(), X, Y),
    "logicalNot": of(lambda x: (~(x > 0)).float(), X),
    "logicalOr": of(lambda x, y: torch.logical_or(x > 0, y > 0).float(), X, Y),
    "loop": of(lambda gru, x: gru(x)[0], SEQUENCE, parts=[nn.GRU(4, 5)]),
    "max": of(torch.maximum, X, Y),
    "maxBroadcastable": of(torch.maximum, X, ROW),
    "min": of(torch.minimum, X, Y),
    "minBroadcastable": of(torch.minimum, X, ROW),
    "multiply": of(lambda x, y: x * y, X, Y),
    "multiply, alpha": of(lambda x: x * 0.3, X),
    "multiplyBroadcastable": of(lambda x, y: x * y, X, ROW),
    "mvn": of(lambda norm, x: norm(x), SEQUENCE, parts=[nn.LayerNorm(4)]),
    "notEqual": of(lambda x, y: torch.where(x != y, x, -x), X, torch.where(Y > 0, X, Y)),
    "padding": of(lambda x: F.pad(x, (1, 2, 0, 3), value=0.5), X),
    "padding, mirrored": of(lambda x: F.pad(x, (2, 1), "reflect"), SEQUENCE),
    "padding, repeated": of(lambda x: F.pad(x, (2, 1, 3, 0), "replicate"), X),
    "rankPreservingReshape": of(lambda x: x.reshape(2, 6, -1, 5), X),
    "reduceL2": of(lambda x: x.norm(dim=2, keepdim=True), X),
    "reduceMax": of(lambda x: x.amax(1), X),
    "reduceMean": of(lambda x: x.mean((1, 3), keepdim=True), X),
    "reduceSum": of(lambda x: x.sum(3), X),
    "reshapeStatic": of(lambda x: x.reshape(6, 20), X),
    "reverse": of(lambda x: x.flip(1, 3), X),
    "scale": of(lambda norm, x: norm(x) * 2, SEQUENCE, parts=[varied(nn.LayerNorm(4))]),
    "sign": of(torch.sign, X),
    "slice": of(lambda x: x[:, :, 1:4:2], X),
    "sliceStatic": of(lambda x: x[1, :, -3:], X),
    "softmaxND": of(lambda x: x.softmax(2), X),
    "splitND": of(lambda x: torch.cat(x.chunk(2, 2)[::-1], 2), X),
    "splitND, sizes": of(lambda x: torch.cat(x.split([1, 4], 3)[::-1], 3), X),
    "squeeze": of(lambda x: x.squeeze(2) * 2, ROW),
    "stack": of(lambda x, y: torch.stack([x, y], 1), SEQUENCE, SEQUENCE.flip(0)),
    "subtractBroadcastable": of(lambda x, y: x - y, X, ROW),
    "tile": of(lambda x: x.repeat(1, 2, 1, 3), X),
    "transpose": of(lambda x: x.permute(0, 3, 1, 2) * 2, X),
    "uniDirectionalLSTM": of(lambda lstm, x: lstm(x)[0], SEQUENCE, parts=[nn.LSTM(4, 5)]),
    "uniDirectionalLSTM, last": of(lambda lstm, x: sum(lstm(x)[1]), SEQUENCE, parts=[nn.LSTM(4, 5, bias=False)]),
    "upsample": of(lambda x: F.interpolate(x, scale_factor=(2, 3)), X),
    "whereBroadcastable": of(lambda x, y: torch.where(y > 0, x, y), X, Y),
    "activation leakyReLU": of(lambda x: F.leaky_relu(x, 0.2), X),
    "activation linear": of(lambda x: 1.0 - x, X),
    "activation ReLU": of(F.relu, X),
    "activation sigmoid": of(torch.sigmoid, X),
    "activation softplus": of(F.softplus, X),
    "activation tanh": of(torch.tanh, X),
    "unary SQRT": of(lambda x: torch.sqrt(x.abs()), X),
    "unary RSQRT": of(lambda x: torch.rsqrt(x.abs() + 0.1), X),
    "unary INVERSE": of(lambda x: torch.reciprocal(x + 1000.0), X),
    "unary POWER": of(lambda x: x**2, X),
    "unary EXP": of(torch.exp, X),
    "unary LOG": of(lambda x: torch.log(x.abs() + 0.1), X),
    "unary ABS": of(torch.abs, X),
    "unary THRESHOLD": of(lambda x: F.relu6(4 * x), X),
}


def written(module, inputs, path):
    """The `.mlmodel` that coremltools makes."""
    ct = coremltools()
    with torch.inference_mode():
        traced = torch.jit.trace(module, inputs, check_trace=False)
        wanted = module(*inputs)
    types = [
        ct.TensorType(f"x{number}", x.shape, np.int32 if x.dtype == torch.int32 else np.float32)
        for number, x in enumerate(inputs)
    ]
    with quick_conversion():
        model = ct.convert(
            traced, inputs=types, outputs=[ct.TensorType("y")], convert_to="neuralnetwork", skip_model_load=True
        )
    spec = model.get_spec()
    spec.description.output[0].type.multiArrayType.shape[:] = wanted.shape
    ct.utils.save_spec(spec, str(path))
    return wanted.numpy()


def kinds(path):
    found = set()
    for layer in every_layer(read_network(path).neuralNetwork.layers):
        kind = layer.WhichOneof("layer")
        found.add(kind)
        if kind == "activation":
            found.add(f"activation {layer.activation.WhichOneof('NonlinearityType')}")
        if kind == "unary":
            found.add(f"unary {type(layer.unary).Operation.Name(layer.unary.type)}")
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_layer_computes_what_pytorch_does(case, tmp_path):
    module, inputs = CASES[case]
    path = tmp_path / "net.mlmodel"
    wanted = written(module, inputs, path)
    assert case.split(",")[0] in kinds(path), f"this converts to {sorted(kinds(path))}"
    given = {f"x{number}": x.numpy() for number, x in enumerate(inputs)}
    np.testing.assert_allclose(
        open_engine(path, Execution("neuralnetwork")).run(given)["y"], wanted, rtol=2e-5, atol=2e-6
    )
