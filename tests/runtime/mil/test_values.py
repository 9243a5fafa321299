"""Ops whose wrong values the conformance sample does not see."""

import pytest
import torch
import torch.nn.functional as F

from runtime.mil.ops import OPS


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_pow():
    torch.testing.assert_close(OPS["pow"](drawn(3, 4).abs(), drawn(4)), drawn(3, 4).abs() ** drawn(4))


@pytest.mark.parametrize("shape", [(2, 3, 8), (2, 3, 4, 5)])
def test_instance_norm_scales_each_channel_by_its_own(shape):
    x, gamma, beta = drawn(*shape), drawn(3, seed=1), drawn(3, seed=2)
    torch.testing.assert_close(OPS["instance_norm"](x, gamma, beta), F.instance_norm(x, weight=gamma, bias=beta))


def test_an_lstm_with_peepholes_of_zero_is_one_without():
    x, h, c = drawn(5, 2, 3), drawn(2, 4, seed=1), drawn(2, 4, seed=2)
    weights = (drawn(16, 3, seed=3), drawn(16, 4, seed=4), drawn(16, seed=5))
    plain = OPS["lstm"](x, h, c, *weights, output_sequence=True)
    general = OPS["lstm"](x, h, c, *weights, torch.zeros(12), output_sequence=True)
    for one, other in zip(plain, general):
        torch.testing.assert_close(one, other)


def test_an_lstm_s_peepholes_and_clip_step_by_step():
    x, h, c = drawn(3, 1, 2), drawn(1, 2, seed=1), drawn(1, 2, seed=2)
    w, u, bias, peep = drawn(8, 2, seed=3), drawn(8, 2, seed=4), drawn(8, seed=5), drawn(6, seed=6)
    got, *_ = OPS["lstm"](x, h, c, w, u, bias, peep, output_sequence=True, clip=0.3)
    for step in range(3):
        i, f, o, z = (x[step] @ w.T + h @ u.T + bias).chunk(4, -1)
        i, f = torch.sigmoid(i + peep[:2] * c), torch.sigmoid(f + peep[2:4] * c)
        c = (f * c + i * torch.tanh(z)).clamp(-0.3, 0.3)
        h = torch.sigmoid(o + peep[4:] * c) * torch.tanh(c)
        torch.testing.assert_close(got[step], h)


def overlap(a, b):
    """Of boxes by corners (x0, y0, x1, y1), counted on a fine grid."""
    steps = torch.arange(0, 8, 0.01)

    def inside(box):
        columns = (steps >= box[0]) & (steps < box[2])
        rows = (steps >= box[1]) & (steps < box[3])
        return columns[:, None] & rows[None]

    first, second = inside(a), inside(b)
    return float((first & second).sum() / (first | second).sum())


def test_suppression_keeps_the_best_boxes_that_do_not_overlap():
    corners = torch.rand(20, 2, generator=torch.Generator().manual_seed(0)) * 4
    sizes = 1 + torch.rand(20, 2, generator=torch.Generator().manual_seed(1)) * 2
    scores = torch.rand(20, generator=torch.Generator().manual_seed(2))
    by_corners = torch.cat([corners, corners + sizes], 1)
    wanted: list[int] = []
    for box in scores.argsort(descending=True).tolist():
        if all(overlap(by_corners[box], by_corners[kept]) <= 0.3 for kept in wanted):
            wanted.append(box)
    boxes = torch.cat([corners + sizes / 2, sizes], 1)
    *_, indices, counts = OPS["non_maximum_suppression"](boxes[None], scores[None, :, None], 0.3, 20, 0.0)
    assert 3 < len(wanted) < 20
    assert counts.tolist() == [len(wanted)]
    assert indices[0, : len(wanted)].tolist() == wanted


@pytest.mark.parametrize("shape", [(2, 3, 8), (2, 3, 4, 5)])
def test_batch_norm_is_the_same_where_an_audit_asks_for_the_derivative_of_its_statistics(shape):
    x, mean, variance, gamma, beta = drawn(*shape), *(drawn(3, seed=seed) for seed in (1, 2, 3, 4))
    variance = variance.square()
    for rest in ((), (gamma, beta)):
        wanted = OPS["batch_norm"](x, mean, variance, *rest)
        tracked = [part.clone().requires_grad_() for part in (mean, variance)]
        given = OPS["batch_norm"](x, *tracked, *rest)
        torch.testing.assert_close(given.detach(), wanted)
        given.square().sum().backward()
        assert all(part.grad.abs().min() > 0 for part in tracked)
