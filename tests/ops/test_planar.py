"""Networks over (N, C, T) in four axes give what they gave in three."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ops.metal.fused import fuse, read_graph, stages
from ops.metal.layout import UpsampleShape
from ops.planar import Planar
from ops.upsample import rewrite_upsampling


class Upsampling(nn.Module):
    """Two stages with conditioning before the first, the second after a tanh instead of a leaky ReLU."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.pre = nn.Conv1d(6, 8, 3, padding=1)
        self.first = nn.ConvTranspose1d(8, 5, 7, 3, padding=2, output_padding=1)
        self.second = nn.ConvTranspose1d(5, 3, 4, 2, padding=1, bias=False)

    def forward(self, x, condition):
        x = self.first(F.leaky_relu(self.pre(x) + condition, 0.2))
        return torch.tanh(self.second(torch.tanh(x)))


EXAMPLE = (torch.randn(1, 6, 11, generator=torch.Generator().manual_seed(1)), torch.ones(1, 8, 1))


def test_stages_are_fused_with_activation_and_conditioning():
    module = Upsampling()
    graph = read_graph(module, EXAMPLE)
    fuse(graph)
    first, second = stages(graph)
    assert first == UpsampleShape(8, 5, 7, 3, 2, 11, 1, slope=0.2, has_condition=True)
    assert second == UpsampleShape(5, 3, 4, 2, 1, first.samples, slope=1.0)
    targets = [node.target for node in graph.graph.nodes]
    assert torch.ops.aten.leaky_relu.default not in targets
    assert torch.ops.aten.conv_transpose1d.default not in targets
    torch.testing.assert_close(graph(*EXAMPLE), module(*EXAMPLE))


def test_an_activation_that_others_read_too_is_not_fused():
    class Shared(Upsampling):
        def forward(self, x, condition):
            x = F.leaky_relu(self.pre(x), 0.2)
            return self.first(x).sum() + x.sum()

    graph = read_graph(Shared(), EXAMPLE)
    fuse(graph)
    (stage,) = stages(graph)
    assert (stage.slope, stage.has_condition) == (1.0, False)
    torch.testing.assert_close(graph(*EXAMPLE), Shared()(*EXAMPLE))


def test_groups_are_refused_by_name():
    class Grouped(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose1d(4, 4, 4, 2, groups=2)

        def forward(self, x):
            return self.up(x)

    with pytest.raises(ValueError, match=r"conv_transpose1d: .*groups=1.*not 2"):
        rewrite_upsampling(Grouped(), "metal", [torch.zeros(1, 4, 5)])


@pytest.mark.parametrize("fused", [False, True])
def test_four_axes_throughout(fused):
    module = Upsampling()
    graph = read_graph(module, EXAMPLE)
    if fused:
        fuse(graph)
    planar = Planar(graph)
    torch.testing.assert_close(planar(*EXAMPLE), module(*EXAMPLE))
    traced = torch.jit.trace(planar, EXAMPLE, check_trace=False)
    kinds = [node.kind() for node in traced.inlined_graph.nodes()]
    assert kinds.count("aten::squeeze") == 1, "at the end"
    assert kinds.count("voxport::upsample") == 2 * fused


class Everything(nn.Module):
    """What voxport's forms use, and an operation without a rule (softmax over channels)."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv1d(6, 8, 3, dilation=2, groups=2)

    def forward(self, x, mask):
        y = F.pad(x, (3, 1))
        y = self.conv(y) * mask
        y = torch.cat([y[..., 2:], y[:, :, :2]], dim=2)
        y = torch.cat([y, y.softmax(1)], 1)[:, 1:-1]
        shuffled = y.reshape(1, 7, 2, -1).transpose(2, 3).reshape(1, 7, -1)
        return shuffled, y.mean(2)


def test_every_rule_and_what_has_none():
    module, example = Everything(), (torch.randn(1, 6, 9), torch.tensor([0.0, 1, 1, 1, 1, 1, 1, 1, 0]))
    planar = Planar(read_graph(module, example))
    for got, wanted in zip(planar(*example), module(*example)):
        torch.testing.assert_close(got, wanted)
