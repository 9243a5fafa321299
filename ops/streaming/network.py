"""A network read for streaming: its operations in order, where each value has its time, what each operation needs."""

from __future__ import annotations

import functools
import warnings
import weakref
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, fx, nn

from ops.exporting import recurrent_layers_at_once
from ops.streaming.local import NOT_LOCAL, RULES, Facts, Fill, NotLocal, Rule, operation, rule_of, where
from ops.streaming.span import Axis, Reach, Span

# Their results share nothing with what they read, in whatever mode.
_OF_NEW_MEMORY = (
    "add",
    "batch_norm",
    "cat",
    "conv1d",
    "conv2d",
    "conv_transpose1d",
    "div",
    "linear",
    "mul",
    "sub",
    "tanh",
)
_LENGTHS = (480, 960)  # two utterances to compare: multiples of every usual rate, far longer than any padding


@dataclass(frozen=True)
class Input:
    """A named input. `axis` is its time (None: constant in time), `rate` its positions per frame; the size that
    `shape` has on that axis is ignored."""

    name: str
    shape: tuple[int, ...]
    axis: int | None = None
    rate: int = 1
    dtype: torch.dtype = torch.float32

    def example(self, frames: int) -> Tensor:
        shape = [frames * self.rate if index == self.axis else size for index, size in enumerate(self.shape)]
        return torch.zeros(shape, dtype=self.dtype)


@dataclass(frozen=True)
class Step:
    """One operation: its node, its rule, and the values that it reads, as argument -> value.

    They are the same but for an argument that is a padded copy: its original is read, with the padding as `fill`.
    """

    node: fx.Node
    rule: Rule
    reads: Mapping[fx.Node, fx.Node]
    fill: Fill | None  # where an output of the utterance does read beyond its ends
    reach: Reach  # the rule's, and further where padding copies values from there

    @functools.cached_property
    def sources(self) -> tuple[fx.Node, ...]:
        return tuple(self.reads.values())


@dataclass(frozen=True)
class Network:
    """`constants` holds weights and what follows from them alone; `once` computes what follows from conditioning."""

    inputs: tuple[Input, ...]
    steps: tuple[Step, ...]
    once: tuple[fx.Node, ...]
    outputs: tuple[fx.Node, ...]
    placeholders: Mapping[str, fx.Node]
    axes: Mapping[fx.Node, Axis | None]
    constants: Mapping[fx.Node, Any]
    shapes: Mapping[fx.Node, tuple[int, ...]]
    names: Mapping[fx.Node, str] = field(default_factory=dict)  # of weights, as the module calls them

    def axis(self, node: fx.Node) -> Axis:
        axis = self.axes[node]
        assert axis is not None
        return axis


def read(module: nn.Module, inputs: Sequence[Input], polyphase: bool = False) -> Network:
    """Traces `module(**inputs)` and works out what is needed to stream it. `polyphase`: transposed convolutions become
    convolutions and pixel shuffles.

    Raises NotLocal, naming layer and operation, where the module is not local in time or does what is not known here.
    """
    short, long = _exported(module, tuple(inputs))
    pairs = list(zip(short.graph.nodes, long.graph.nodes))
    if len(short.graph.nodes) != len(long.graph.nodes) or any(a.target != b.target for a, b in pairs):
        raise NotLocal("the network takes another path for another length of the utterance")
    placeholders = {node.name: node for node, _ in pairs if node.op == "placeholder"}
    twins = dict(pairs)
    facts = Facts(
        frames=_LENGTHS[0],
        axes={node: _axis(node, twin) for node, twin in pairs},
        shapes={node: _shape(node) for node, _ in pairs},
        varying={node: _varying(node, twin) for node, twin in pairs},
        polyphase=polyphase,
    )
    constants: dict[fx.Node, Any] = {}
    names: dict[fx.Node, str] = {}
    steps: list[Step] = []
    once: list[fx.Node] = []
    for node in twins:
        if node.op == "get_attr":
            constants[node] = _attribute(short, str(node.target)).detach()
            names[node] = str(node.target)
        elif node.op == "call_function":
            sources = tuple(item for item in node.all_input_nodes if facts.axes[item] is not None)
            if sources:
                steps.append(_step(node, sources, facts, {step.node: step for step in steps}))
            elif facts.axes[node] is not None:
                raise NotLocal(f"{where(node)}: makes values along time from nothing, by the utterance's length")
            elif all(item in constants for item in node.all_input_nodes):
                constants[node] = run_node(node, lambda item: constants[item])
            else:
                once.append(node)
    for step in steps:
        for node, layout in step.rule.stored.items():
            if node not in constants:
                raise NotLocal(f"{where(step.node)}: its weights follow from conditioning: use upsampler=native")
            constants[node] = layout(constants[node])
    (output,) = short.graph.find_nodes(op="output")
    outputs = tuple(fx.node.map_arg(output.args[0], lambda node: node))
    for node in outputs:
        if facts.axes[node] is None:
            raise NotLocal(f"{where(node)}: an output without an axis of time")
    return Network(
        tuple(inputs), tuple(steps), tuple(once), outputs, placeholders, facts.axes, constants, facts.shapes, names
    )


def run_node(node: fx.Node, value_of: Any) -> Any:
    arguments = fx.node.map_arg((node.args, node.kwargs), value_of)
    return node.target(*arguments[0], **arguments[1])  # type: ignore[operator]


_Exported = tuple[fx.GraphModule, fx.GraphModule]
_EXPORTED: MutableMapping[nn.Module, dict[tuple[Input, ...], _Exported]] = weakref.WeakKeyDictionary()


def _exported(module: nn.Module, inputs: tuple[Input, ...]) -> _Exported:
    """The graphs at two lengths. A module is read several times, for what it sees and for each of its forms, and traced
    once: its weights may change until then."""
    known = _EXPORTED.setdefault(module, {})
    key = tuple(replace(item, shape=tuple(item.example(0).shape)) for item in inputs)
    if key not in known:
        short, long = _LENGTHS
        known[key] = _export(module, inputs, short), _export(module, inputs, long)
        _compute_once(*known[key])
    return known[key]


def _compute_once(short: fx.GraphModule, long: fx.GraphModule) -> None:
    """Takes out what computes the same from the same as another operation, at both lengths: it would have a mask and
    cuts of its own."""
    first: dict[str, tuple[fx.Node, fx.Node]] = {}
    for node, twin in zip(list(short.graph.nodes), list(long.graph.nodes)):
        if node.op != "call_function" or not node.all_input_nodes or node.target != twin.target:
            continue
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            continue
        known = first.setdefault(repr((node.target, node.args, node.kwargs, twin.args, twin.kwargs)), (node, twin))
        for one, other, graph in zip((node, twin), known, (short.graph, long.graph)):
            if one is not other:
                one.replace_all_uses_with(other)
                graph.erase_node(one)


def _export(module: nn.Module, inputs: Sequence[Input], frames: int) -> fx.GraphModule:
    example = {item.name: item.example(frames) for item in inputs}
    with torch.no_grad(), recurrent_layers_at_once(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, (), kwargs=example)
        traced = program.module(check_guards=False)
        assert isinstance(traced, fx.GraphModule)
        if not _made_functional(traced):  # which takes twice as long as the export
            traced = program.run_decompositions({}).module(check_guards=False)
            assert isinstance(traced, fx.GraphModule)
    return traced


def _made_functional(traced: fx.GraphModule) -> bool:
    """Rewrites operations in place of values that nothing else sees. Returns whether every one is known then."""
    varying: set[fx.Node] = set()
    for node in (node for node in traced.graph.nodes if node.op == "call_function"):
        if _writes(node) and not _without_writing(node):
            return False
        if any(item.op == "placeholder" or item in varying for item in node.all_input_nodes):
            varying.add(node)
            if operation(node) not in RULES and operation(node) not in NOT_LOCAL:
                return False
    traced.graph.eliminate_dead_code()  # of a layer with several results those that nothing takes
    return True


def _writes(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable


def _without_writing(node: fx.Node) -> bool:
    """Turns add_ into add, where the value that it changes was made for it alone."""
    changed = node.args[0]
    if not isinstance(changed, fx.Node) or operation(changed) not in _OF_NEW_MEMORY or len(changed.users) > 1:
        return False
    twin = getattr(torch.ops.aten, operation(node).removesuffix("_"), None)
    overload = getattr(twin, node.target._schema.overload_name or "default", None)  # type: ignore[union-attr]
    if overload is None or overload._schema.is_mutable:
        return False
    node.target = overload
    return True


def _step(node: fx.Node, sources: tuple[fx.Node, ...], facts: Facts, earlier: Mapping[fx.Node, Step]) -> Step:
    if facts.axes[node] is None:
        raise NotLocal(f"{where(node)}: gives one value for the whole utterance")
    rule = rule_of(node, facts)
    padding = earlier.get(sources[0])
    is_plain = rule.fill is None and rule.grid is None and rule.reach.up == 1
    if padding and padding.rule.shift is not None and len(sources) == 1 and is_plain:
        (original,), shift, reach = padding.sources, padding.rule.shift, rule.reach
        shifted = replace(reach, first=reach.first + shift, last=reach.last + shift)
        reads = {sources[0]: original}
        return Step(
            node,
            replace(rule, reach=shifted),
            reads,
            padding.fill,
            _mirrored(node, original, shifted, padding.fill, facts),
        )
    fill = rule.fill if _reads_beyond(node, rule, sources, facts) else None
    return Step(node, rule, {source: source for source in sources}, fill, rule.reach)


def _mirrored(node: fx.Node, source: fx.Node, reach: Reach, fill: Fill | None, facts: Facts) -> Reach:
    """Extends the reach to where padding copies values from, at the first output position and at the last."""
    if fill is None or fill.mode == "constant":
        return reach
    out, taken = (facts.axis(item).length(facts.frames) for item in (node, source))
    before = -reach.first
    after = (out - 1) * reach.down + reach.last - (taken - 1)
    times = 2 if fill.mode == "reflect" else 1
    first, last = reach.last - times * max(after, 0), reach.first + times * max(before, 0)
    return replace(reach, first=min(reach.first, first), last=max(reach.last, last))


def _reads_beyond(node: fx.Node, rule: Rule, sources: tuple[fx.Node, ...], facts: Facts) -> bool:
    """Whether any output position of an utterance reads inputs before its start or after its end."""
    frames = facts.frames
    out, source = facts.axis(node), facts.axis(sources[0])
    needed = rule.reach.needs(Span(0, out.length(frames)))
    return needed.lo < 0 or needed.hi > source.length(frames)


def _tensor(node: fx.Node) -> Any:
    """The example value of a node; of several outputs the first."""
    value = node.meta.get("val")
    if value is None and node.op == "call_function":  # a layer with several results
        value = next((user.meta.get("val") for user in node.users if user.args[1:] == (0,)), None)
    return value[0] if isinstance(value, (list, tuple)) else value


def _shape(node: fx.Node) -> tuple[int, ...]:
    value = _tensor(node)
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _axis(node: fx.Node, twin: fx.Node) -> Axis | None:
    """Finds the time axis by comparing two lengths: its size differs."""
    pairs = list(zip(_shape(node), _shape(twin)))
    differing = [index for index, (short, long) in enumerate(pairs) if short != long]
    if not differing:
        return None
    if len(differing) > 1:
        raise NotLocal(f"{where(node)}: compares positions with positions, over the whole utterance")
    (dim,) = differing
    short, long = pairs[dim]
    rate = Fraction(long - short, _LENGTHS[1] - _LENGTHS[0])
    extra = short - rate * _LENGTHS[0]
    if extra.denominator != 1 or abs(extra) > max(rate, Fraction(1)) * _LENGTHS[0]:
        raise NotLocal(f"{where(node)}: its length does not grow evenly with the utterance")
    return Axis(dim, rate, int(extra))


def _varying(node: fx.Node, twin: fx.Node) -> frozenset[int]:
    def plain(argument: Any) -> Any:
        return fx.node.map_arg(argument, lambda item: item.name)

    return frozenset(i for i, (a, b) in enumerate(zip(node.args, twin.args)) if plain(a) != plain(b))


def _attribute(module: nn.Module, target: str) -> Tensor:
    value: Any = module
    for part in target.split("."):
        value = getattr(value, part)
    return value
