"""Says what each ATen operation does along time: which inputs an output needs, and how to compute an interval of it.

One function per kind of operation gives its `Rule`; `RULES` maps ATen names to them. An operation that looks at the
whole utterance is in `NOT_LOCAL` with the reason; one that is in neither table is refused as unknown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from ops.streaming.span import Axis, Reach
from ops.upsample import by_output

_WHOLE_UTTERANCE = "looks at the whole utterance"

Get = Callable[[Any], Any]  # an argument of a node -> its value


class NotLocal(ValueError):
    """A network that cannot be streamed exactly; the message names the layer, the operation and the reason."""


@dataclass(frozen=True)
class Fill:
    """An operation reads these beyond the ends of the utterance: `constant` (value), `reflect` or `replicate`."""

    mode: str
    value: float = 0.0


@dataclass(frozen=True)
class Carry:
    """A recurrent layer: `run` takes its states and gives the sequence and the new ones; `initial` are the first."""

    initial: tuple[Any, ...]
    run: Callable[[Get, tuple[Tensor, ...]], tuple[Tensor, tuple[Tensor, ...]]]


@dataclass(frozen=True)
class Rule:
    """A rule says how one node computes an interval of outputs from an interval of inputs.

    `run` computes without padding along time. The result of the inputs from position p starts at output position
    `grid[0] * p - grid[1]`; without a grid it is exactly the interval that was asked for. A padding is a mere `shift`
    for a reader that pads nothing itself: a causal one would else make the reader wait for what it delays.
    """

    run: Callable[[Get], Any]
    reach: Reach = field(default_factory=Reach)
    fill: Fill | None = None
    grid: tuple[int, int] | None = None
    carry: Carry | None = None
    shift: int | None = None
    stored: Mapping[fx.Node, Callable[[Tensor], Tensor]] = field(default_factory=dict)  # weights in another layout
    same: Callable[[Get], Any] | None = None


@dataclass(frozen=True)
class Facts:
    """The facts of a network that was traced for an utterance of `frames`: the time axis of each node (None: constant
    in time), its shape, and the arguments that vary.

    `polyphase`: transposed convolutions are to be computed as convolutions and pixel shuffles.
    """

    frames: int
    axes: Mapping[fx.Node, Axis | None]
    shapes: Mapping[fx.Node, tuple[int, ...]]
    varying: Mapping[fx.Node, frozenset[int]]  # positions of arguments that depend on the utterance's length
    polyphase: bool = False

    def axis(self, node: fx.Node) -> Axis:
        axis = self.axes[node]
        assert axis is not None
        return axis


def rule_of(node: fx.Node, facts: Facts) -> Rule:
    """Raises NotLocal."""
    name = operation(node)
    if name in NOT_LOCAL:
        raise NotLocal(f"{where(node)}: {NOT_LOCAL[name]}")
    if name not in RULES:
        raise NotLocal(f"{where(node)}: the streaming rewrite does not know this operation")
    return RULES[name](node, facts)


def operation(node: fx.Node) -> str:
    """ATen's name without overload: conv1d."""
    schema = getattr(node.target, "_schema", None)
    return str(schema.name).partition("::")[2] if schema else str(getattr(node.target, "__name__", node.target))


def arguments(node: fx.Node) -> dict[str, Any]:
    """Returns the arguments by ATen's own names, defaults included."""
    values: dict[str, Any] = {}
    for index, parameter in enumerate(node.target._schema.arguments):  # type: ignore[union-attr]
        default = parameter.default_value
        values[parameter.name] = (
            node.args[index] if index < len(node.args) else node.kwargs.get(parameter.name, default)
        )
    return values


def where(node: fx.Node) -> str:
    """The layer and operation, for messages."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    layer = stack[-1][0].removeprefix("L['self'].") if stack else ""
    return f"layer {layer}, {operation(node)}" if layer else operation(node)


def time_input(node: fx.Node, facts: Facts) -> fx.Node:
    """The first argument, which must vary in time."""
    source = node.args[0]
    if not isinstance(source, fx.Node) or facts.axes[source] is None:
        raise NotLocal(f"{where(node)}: only its parameters vary in time")
    return source


# ---------------------------------------------------------------------------------------------------- one by one


def pointwise(node: fx.Node, facts: Facts) -> Rule:
    """Position q of the output from position q of every input."""
    _refuse_varying_arguments(node, facts)
    out = facts.axis(node)
    for source in node.all_input_nodes:
        axis = facts.axes[source]
        if axis is not None and (axis.rate, axis.extra) != (out.rate, out.extra):
            raise NotLocal(f"{where(node)}: joins values of different lengths along time")
    return Rule(lambda get: node.target(*get(node.args), **get(node.kwargs)))  # type: ignore[operator]


def along_an_axis(node: fx.Node, facts: Facts) -> Rule:
    """Operations along one axis, or several, which must not be that of time."""
    source = next(item for item in node.all_input_nodes if facts.axes[item] is not None)
    argument = arguments(node).get("dim")
    rank = len(facts.shapes[source])
    dims = range(rank) if argument is None else argument if isinstance(argument, (list, tuple)) else [argument]
    if facts.axis(source).dim in [dim % rank for dim in dims]:
        raise NotLocal(f"{where(node)}: works along time, over the whole utterance")
    return pointwise(node, facts)


def layer_norm(node: fx.Node, facts: Facts) -> Rule:
    source = time_input(node, facts)
    if facts.axis(source).dim >= len(facts.shapes[source]) - len(arguments(node)["normalized_shape"]):
        raise NotLocal(f"{where(node)}: normalises over time")
    return pointwise(node, facts)


def batch_norm(node: fx.Node, facts: Facts) -> Rule:
    """Normalises by running statistics."""
    _refuse_training(node, "training")
    return pointwise(node, facts)


def dropout(node: fx.Node, facts: Facts) -> Rule:
    _refuse_training(node, "train")
    source = time_input(node, facts)
    return Rule(lambda get: get(source))


def _refuse_training(node: fx.Node, argument: str) -> None:
    if arguments(node)[argument]:
        raise NotLocal(f"{where(node)}: in training mode; call eval() first")


def decomposed_batch_norm(node: fx.Node, facts: Facts) -> Rule:
    """Of three results only the first is there."""
    a = arguments(node)

    def run(get: Get) -> tuple[Tensor]:
        mean, variance, weight, bias = (get(a[name]) for name in ("running_mean", "running_var", "weight", "bias"))
        return (F.batch_norm(get(a["input"]), mean, variance, weight, bias, eps=a["eps"]),)

    return Rule(run)


def instance_norm(node: fx.Node, facts: Facts) -> Rule:
    if arguments(node)["use_input_stats"]:
        raise NotLocal(f"{where(node)}: its mean and variance over time: it {_WHOLE_UTTERANCE}")
    return pointwise(node, facts)


def convolution(node: fx.Node, facts: Facts) -> Rule:
    """conv1d and conv2d over an axis of time: stride, dilation, groups, numeric or 'same' padding."""
    a = arguments(node)
    source, weight = a["input"], a["weight"]
    _refuse_varying_weights(node, facts, weight)
    spatial = len(facts.shapes[weight]) - 2
    at = facts.axis(source).dim - 2
    if at < 0:
        raise NotLocal(f"{where(node)}: its axis of time is not one it slides over")
    stride, dilation = _each(a["stride"], spatial), _each(a["dilation"], spatial)
    widths = [(size - 1) * step for size, step in zip(facts.shapes[weight][2:], dilation)]
    if isinstance(a["padding"], str):
        left = [width // 2 if a["padding"] == "same" else 0 for width in widths]
        right = [width - width // 2 if a["padding"] == "same" else 0 for width in widths]
    else:
        left = right = _each(a["padding"], spatial)
    others = [(0, 0) if i == at else (left[i], right[i]) for i in range(spatial)]
    pads = [amount for pair in reversed(others) for amount in pair]
    convolve = (F.conv1d, F.conv2d, F.conv3d)[spatial - 1]

    def run(get: Get, along_time: int = 0) -> Tensor:
        x = F.pad(get(source), pads) if any(pads) else get(source)
        padding = [along_time if i == at else 0 for i in range(spatial)]
        return convolve(x, get(weight), get(a["bias"]), stride, padding, dilation, a["groups"])

    is_odd = stride[at] == 1 and widths[at] % 2 == 0
    return Rule(
        run,
        Reach(down=stride[at], first=-left[at], last=widths[at] - left[at]),
        fill=Fill("constant") if left[at] or right[at] else None,
        same=(lambda get: run(get, widths[at] // 2)) if is_odd else None,
    )


def transposed_convolution(node: fx.Node, facts: Facts) -> Rule:
    """Input i adds to the outputs i * stride - padding + j * dilation, j < kernel."""
    a = arguments(node)
    source, weight = a["input"], a["weight"]
    _refuse_varying_weights(node, facts, weight)
    if len(facts.shapes[weight]) != 3:
        raise NotLocal(f"{where(node)}: only one-dimensional transposed convolutions are known")
    (stride,), (padding,), (dilation,) = _each(a["stride"], 1), _each(a["padding"], 1), _each(a["dilation"], 1)
    width = (facts.shapes[weight][2] - 1) * dilation
    if facts.polyphase:
        return _polyphase(node, facts, stride, padding)

    def run(get: Get) -> Tensor:
        x, kernel, bias = get(source), get(weight), get(a["bias"])
        return F.conv_transpose1d(x, kernel, bias, stride, 0, 0, a["groups"], dilation)

    return Rule(run, Reach(up=stride, first=padding - width, last=padding), Fill("constant"), grid=(stride, padding))


def _polyphase(node: fx.Node, facts: Facts, stride: int, padding: int) -> Rule:
    """Output u * S + f is the sum over j of w[f + S * j] * x[u - j]: the S phases f are channels of one convolution.

    On an interval there is no padding to split among the phases as in `ops.upsample`, so nothing more is read.
    """
    a = arguments(node)
    source, weight, bias = a["input"], a["weight"], a["bias"]
    if _each(a["dilation"], 1) != [1] or any(w and len(w.users) > 1 for w in (weight, bias)):
        raise NotLocal(f"{where(node)}: has dilation or shared weights: use upsampler=native")
    groups, (channels_in, channels_out, kernel) = a["groups"], facts.shapes[weight]
    channels_in, channels_out = channels_in // groups, channels_out * groups
    taps = -(-kernel // stride)

    def phases(w: Tensor) -> Tensor:
        w = by_output(F.pad(w, (0, taps * stride - kernel)), groups).reshape(channels_out, channels_in, taps, stride)
        return w.flip(2).permute(0, 3, 1, 2).reshape(channels_out * stride, channels_in, taps).contiguous()

    def run(get: Get) -> Tensor:
        y = F.conv1d(get(source), get(weight), get(bias), groups=groups)
        y = y.reshape(y.shape[0], channels_out, stride, -1).transpose(2, 3)
        return y.reshape(y.shape[0], channels_out, -1)

    reach = Reach(up=stride, first=padding - (taps * stride - 1), last=padding)
    stored: dict[fx.Node, Callable[[Tensor], Tensor]] = {weight: phases}
    if bias is not None:
        stored[bias] = lambda b: b.repeat_interleave(stride)
    return Rule(run, reach, Fill("constant"), grid=(stride, padding - stride * (taps - 1)), stored=stored)


def pad(node: fx.Node, facts: Facts) -> Rule:
    """Takes any mode of F.pad; amounts on other axes than time are added as they are, negative ones crop."""
    source = time_input(node, facts)
    _refuse_varying_arguments(node, facts)
    a = arguments(node)
    amounts = list(a.get("pad") or a["padding"])
    modes = {"reflection_pad1d": "reflect", "replication_pad1d": "replicate", "constant_pad_nd": "constant"}
    mode, value = modes.get(operation(node)) or a["mode"], float(a.get("value") or 0)
    at = 2 * (len(facts.shapes[source]) - 1 - facts.axis(source).dim)
    left, right = (amounts[at], amounts[at + 1]) if at < len(amounts) else (0, 0)
    others = [0 if index in (at, at + 1) else amount for index, amount in enumerate(amounts)]
    if mode not in ("constant", "reflect", "replicate") or (mode != "constant" and any(others)):
        raise NotLocal(f"{where(node)}: padding mode {mode!r} is not known here")

    def run(get: Get) -> Tensor:
        return F.pad(get(source), others, value=value) if any(others) else get(source)

    if mode == "constant" or max(left, right) <= 0:
        shift = None if any(others) or max(left, right) <= 0 else -left
        fill = Fill("constant", value) if max(left, right) > 0 else None
        return Rule(run, Reach(first=-left, last=-left), fill, shift=shift)
    # A copy of a value at the other side of the end: a distance away that depends on the position, at most this.
    times = 2 if mode == "reflect" else 1
    ahead, behind = times * max(left, 0), times * max(right, 0)
    return Rule(run, Reach(first=-left - behind, last=-left + ahead), Fill(str(mode)), (1, -left), shift=-left)


def pooling(node: fx.Node, facts: Facts) -> Rule:
    """max_pool1d and avg_pool1d."""
    source = time_input(node, facts)
    is_max = operation(node) == "max_pool1d"
    a = arguments(node)
    (kernel,) = _each(a["kernel_size"], 1)
    (stride,) = _each(a["stride"] or [kernel], 1)
    (padding,), (dilation,) = _each(a["padding"], 1), _each(a.get("dilation", 1), 1)
    if a["ceil_mode"] or (padding and not is_max and not a["count_include_pad"]):
        raise NotLocal(f"{where(node)}: ceil_mode, and averages that leave out the padding, are not known here")
    if is_max and padding and dilation != 1:
        raise NotLocal(f"{where(node)}: a maximum with dilation and padding is not known here")

    def run(get: Get) -> Tensor:
        x = get(source)
        return F.max_pool1d(x, kernel, stride, 0, dilation) if is_max else F.avg_pool1d(x, kernel, stride)

    # A maximum that reads padding reads the value at the end too: once more does not change it (and -inf * 0 is nan).
    fill = Fill("replicate" if is_max else "constant") if padding else None
    return Rule(run, Reach(down=stride, first=-padding, last=(kernel - 1) * dilation - padding), fill)


def upsampling(node: fx.Node, facts: Facts) -> Rule:
    """F.interpolate by a whole factor, nearest or linear (align_corners=False)."""
    source = time_input(node, facts)
    ratio = facts.axis(node).rate / facts.axis(source).rate
    linear = "linear" in operation(node)
    if ratio.denominator != 1 or facts.axis(node).extra != ratio * facts.axis(source).extra:
        raise NotLocal(f"{where(node)}: only whole factors along time are known")
    if linear and arguments(node)["align_corners"]:
        raise NotLocal(f"{where(node)}: align_corners=True depends on the utterance's length")
    factor, time = int(ratio), facts.axis(source).dim
    shapes = zip(facts.shapes[node], facts.shapes[source])
    factors = [float(factor) if i == time else out / size for i, (out, size) in enumerate(shapes)][2:]

    def run(get: Get) -> Tensor:
        return F.interpolate(get(source), scale_factor=factors, mode="linear" if linear else "nearest")

    if not linear:
        return Rule(run, Reach(up=factor, first=1 - factor), grid=(factor, 0))
    # reads floor((q + 0.5) / S - 0.5) and the next position
    reach = Reach(up=2 * factor, down=2, first=2 - 3 * factor, last=1 + factor)
    return Rule(run, reach, Fill("replicate"), grid=(factor, 0))


def reshape(node: fx.Node, facts: Facts) -> Rule:
    """Around an untouched axis of time, or merging it with the next (a 1-D pixel shuffle), or splitting it."""
    source = time_input(node, facts)
    old, new = facts.axis(source), facts.axis(node)
    before, after = facts.shapes[source], facts.shapes[node]
    outer, inner = math.prod(before[: old.dim]), math.prod(before[old.dim + 1 :])
    ratio: Fraction = new.rate / old.rate
    fits = outer == math.prod(after[: new.dim]) and inner == ratio * math.prod(after[new.dim + 1 :])
    if not fits or new.extra != ratio * old.extra:
        raise NotLocal(f"{where(node)}: mixes time with other axes")

    def run(get: Get) -> Tensor:
        return get(source).reshape(*after[: new.dim], -1, *after[new.dim + 1 :])

    if ratio.denominator == 1:
        factor = int(ratio)
        return Rule(run, Reach(up=factor, first=1 - factor), grid=(factor, 0))
    factor = ratio.denominator // ratio.numerator
    if ratio.numerator != 1:
        raise NotLocal(f"{where(node)}: mixes time with other axes")
    return Rule(run, Reach(down=factor, last=factor - 1))


def slice_(node: fx.Node, facts: Facts) -> Rule:
    a, source = arguments(node), time_input(node, facts)
    if a["dim"] % len(facts.shapes[source]) != facts.axis(source).dim:
        return pointwise(node, facts)
    start = a["start"] or 0
    if start < 0 or 2 in facts.varying[node]:
        raise NotLocal(f"{where(node)}: starts at a distance from the utterance's end")
    return Rule(
        lambda get: get(source)[(slice(None),) * facts.axis(source).dim + (slice(None, None, a["step"]),)],
        Reach(down=a["step"], first=start, last=start),
    )


def unfold(node: fx.Node, facts: Facts) -> Rule:
    source = time_input(node, facts)
    dim, size, step = (arguments(node)[name] for name in ("dimension", "size", "step"))
    if dim % len(facts.shapes[source]) != facts.axis(source).dim:
        return pointwise(node, facts)
    return Rule(lambda get: get(source).unfold(dim, size, step), Reach(down=step, last=size - 1))


def recurrence(node: fx.Node, facts: Facts) -> Rule:
    """lstm and gru over time, from the past only: the state is carried."""
    source = time_input(node, facts)
    a = arguments(node)
    if a["bidirectional"]:
        raise NotLocal(f"{where(node)}: bidirectional, it reads the utterance from its end")
    if facts.axis(source).dim != (1 if a["batch_first"] else 0):
        raise NotLocal(f"{where(node)}: runs along another axis than time")
    is_lstm = operation(node) == "lstm"
    initial = tuple(a["hx"]) if is_lstm else (a["hx"],)

    def run(get: Get, states: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        rest = (get(a["params"]), a["has_biases"], a["num_layers"], 0.0, False, False, a["batch_first"])
        if is_lstm:
            sequence, h, c = torch.lstm(get(source), states, *rest)
            return sequence, (h, c)
        sequence, h = torch.gru(get(source), states[0], *rest)
        return sequence, (h,)

    return Rule(lambda get: None, carry=Carry(initial, run))


def _each(value: Any, count: int) -> list[int]:
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return values * count if len(values) == 1 else values


def _refuse_varying_arguments(node: fx.Node, facts: Facts) -> None:
    if facts.varying[node]:
        raise NotLocal(f"{where(node)}: has an argument that depends on the utterance's length")


def _refuse_varying_weights(node: fx.Node, facts: Facts, weight: fx.Node) -> None:
    if facts.axes[weight] is not None:
        raise NotLocal(f"{where(node)}: its weights vary in time")


# ---------------------------------------------------------------------------------------------------- the tables

_POINTWISE = """
abs add addmm alias baddbmm bmm ceil clamp clamp_max clamp_min clone contiguous cos div einsum elu eq erf exp expm1
floor ge gelu getitem gt hardsigmoid hardswish hardtanh le leaky_relu linear log log1p logical_not lt matmul maximum
minimum mish mm mul ne neg ones_like permute pow prelu reciprocal relu relu6 round rsqrt rsub selu sigmoid sign silu sin
softplus sqrt square squeeze sub t tan tanh to _to_copy transpose unsqueeze where zeros_like
"""

_ALONG_AN_AXIS = "amax amin cat chunk index_select log_softmax mean select softmax split split_with_sizes stack sum"

RULES: dict[str, Callable[[fx.Node, Facts], Rule]] = {
    **dict.fromkeys(_POINTWISE.split(), pointwise),
    **dict.fromkeys(_ALONG_AN_AXIS.split(), along_an_axis),
    **dict.fromkeys(("conv1d", "conv2d"), convolution),
    **dict.fromkeys(("pad", "constant_pad_nd", "reflection_pad1d", "replication_pad1d"), pad),
    **dict.fromkeys(("avg_pool1d", "max_pool1d"), pooling),
    **dict.fromkeys(("upsample_nearest1d", "upsample_nearest2d", "upsample_linear1d"), upsampling),
    **dict.fromkeys(("view", "reshape", "_unsafe_view", "flatten", "unflatten"), reshape),
    **dict.fromkeys(("lstm", "gru"), recurrence),
    "_native_batch_norm_legit_no_training": decomposed_batch_norm,
    "batch_norm": batch_norm,
    "conv_transpose1d": transposed_convolution,
    "dropout": dropout,
    "instance_norm": instance_norm,
    "layer_norm": layer_norm,
    "slice": slice_,
    "unfold": unfold,
}

NOT_LOCAL = {
    "scaled_dot_product_attention": f"attention {_WHOLE_UTTERANCE}",
    "group_norm": f"its mean and variance over time: it {_WHOLE_UTTERANCE}",
    "cumsum": f"a running sum {_WHOLE_UTTERANCE} before its position",
    "flip": "turns the utterance round",
    "sort": _WHOLE_UTTERANCE,
    "topk": _WHOLE_UTTERANCE,
    "roll": "moves the utterance's end to its start",
    "stft": "its windows are centred on the utterance's own ends",
}
