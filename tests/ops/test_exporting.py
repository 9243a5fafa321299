"""What PyTorch does again and again while it exports, done once, gives the same."""

import warnings
from contextlib import nullcontext

import pytest
import torch
from torch.utils._pytree import tree_leaves

from ops.exporting import recurrent_layers_at_once, translations_read_once


class Recurrent(torch.nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.layer = kind(3, 4, 2, **options)

    def forward(self, x):
        return self.layer(x)


def exported(module, x, way, **options):
    with torch.inference_mode(), way(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(module, (x,), **options)


@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"batch_first": True, "bias": False}])
def test_a_layer_becomes_the_same_program(kind, options):
    module, x = Recurrent(kind, **options).eval(), torch.randn(4, 2, 3)
    slow, quick = (exported(module, x, way) for way in (nullcontext, recurrent_layers_at_once))

    def described(program):
        return [
            (str(node.target), [tuple(value.shape) for value in tree_leaves(node.meta.get("val", []))])
            for node in program.graph.nodes
        ]

    assert described(slow) == described(quick)
    for one, other in zip(tree_leaves(quick.module()(x)), tree_leaves(module(x))):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_layer_may_be_of_any_length():
    module = Recurrent(torch.nn.GRU).eval()
    free = ({0: torch.export.Dim("steps", min=2, max=500)},)
    program = exported(module, torch.randn(4, 2, 3), recurrent_layers_at_once, dynamic_shapes=free).module()
    for steps in (2, 33, 500):
        x = torch.randn(steps, 2, 3)
        torch.testing.assert_close(program(x)[0], module(x)[0], rtol=0, atol=0)
    with pytest.raises(Exception, match="specialized"):
        exported(module, torch.randn(4, 2, 3), nullcontext, dynamic_shapes=free)


def test_translations_are_read_once(monkeypatch):
    from torch.onnx._internal._lazy_import import onnxscript_apis

    asked = []
    real = onnxscript_apis.get_torchlib_ops
    monkeypatch.setattr(onnxscript_apis, "get_torchlib_ops", lambda: asked.append(1) or real())

    def onnx(way):
        with way(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            layer = torch.nn.Linear(2, 2).eval()
            program = torch.onnx.export(layer, (torch.zeros(1, 2),), dynamo=True, verbose=False, optimize=False)
        return [node.op_type for node in program.model.graph]

    assert onnx(nullcontext) == onnx(translations_read_once) == onnx(translations_read_once)
    assert len(asked) == 2
