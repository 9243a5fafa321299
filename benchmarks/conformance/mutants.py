"""Sources of op files with one thing changed each: what a test-suite must notice."""

from __future__ import annotations

import ast
import copy
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from runtime.mil.ops import OPS, Op


@dataclass(frozen=True)
class Mutant:
    """`change` in words; `ops`: MIL op -> its function from the changed file; `broken`: the result itself is wrong."""

    file: str
    function: str
    change: str
    ops: dict[str, Op]
    broken: bool


def mutants(only: tuple[str, ...] = ()) -> Iterator[Mutant]:
    """Yields every mutant of every op file, or of the files and functions behind some ops."""
    for name in sorted({function.__module__ for op, function in OPS.items() if not only or op in only}):
        yield from _of_module(importlib.import_module(name), only)


def _of_module(module: ModuleType, only: tuple[str, ...]) -> Iterator[Mutant]:
    file = str(module.__file__)
    tree = ast.parse(Path(file).read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    names = {function.name for function in functions}
    calls = {f.name: {n.id for n in ast.walk(f) if isinstance(n, ast.Name)} & names for f in functions}
    for function in functions:
        users = [op for op in module.OPS if function.name in _reached(module.OPS[op].__name__, calls)]
        if only:
            users = [op for op in users if op in only]
        if not users:
            continue
        for change, mutated, broken in _changes(tree, function):
            namespace: dict[str, Any] = {"__name__": module.__name__, "broken_result": broken_result}
            exec(compile(mutated, file, "exec"), namespace)
            ops = {op: namespace["OPS"][op] for op in users}
            yield Mutant(Path(file).name, function.name, change, ops, broken)


def _reached(name: str, calls: dict[str, set[str]]) -> set[str]:
    """The functions of a file that a call of one of them may enter."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting.extend(calls.get(current, ()))
    return seen


def _changes(tree: ast.Module, function: ast.FunctionDef) -> Iterator[tuple[str, ast.Module, bool]]:
    """(in words, the changed file, whether it is the result that is broken)."""
    index = tree.body.index(function)
    yield "a wrong result", _edited(tree, index, _break_returns), True
    for position, node in enumerate(_body_nodes(function)):
        for edit in _edits(node):

            def apply(target: ast.FunctionDef, position: int = position, edit: _Edit = edit) -> None:
                edit(list(_body_nodes(target))[position])

            before = ast.unparse(_statement(function, node))
            mutated = _edited(tree, index, apply)
            changed = mutated.body[index]
            assert isinstance(changed, ast.FunctionDef)
            after = ast.unparse(_statement(changed, list(_body_nodes(changed))[position]))
            yield f"line {getattr(node, 'lineno', 0)}: `{before}` became `{after}`", mutated, False


_Edit = Callable[[Any], None]


def _edited(tree: ast.Module, index: int, edit: Callable[[ast.FunctionDef], None]) -> ast.Module:
    mutated = copy.deepcopy(tree)
    function = mutated.body[index]
    assert isinstance(function, ast.FunctionDef)
    edit(function)
    return ast.fix_missing_locations(mutated)


def _body_nodes(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """Yields the nodes of the statements. Annotations and docstrings are left out."""
    for statement in function.body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue
        skipped: set[ast.AST] = set()
        for node in ast.walk(statement):
            if isinstance(node, ast.AnnAssign):
                skipped |= set(ast.walk(node.annotation))
            if node not in skipped:
                yield node


def _statement(function: ast.FunctionDef, node: ast.AST) -> ast.AST:
    """The smallest statement, or head of a block, around a node."""
    best: ast.AST = node
    for candidate in _body_nodes(function):
        if isinstance(candidate, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Return, ast.Expr)) and node in set(
            ast.walk(candidate)
        ):
            best = candidate
    return best


_OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


def _edits(node: ast.AST) -> Iterator[_Edit]:
    """Yields what can be changed at one node, each as a function that changes such a node in place."""
    if isinstance(node, (ast.BinOp, ast.BoolOp)) and type(node.op) in _OPERATORS:
        yield _swap_operator
    elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _OPERATORS:
        yield _swap_comparison
    elif isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float)):
        yield _change_constant
    elif isinstance(node, (ast.If, ast.IfExp)) and not isinstance(node.test, ast.Compare):
        yield _negate_test
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield _drop_minus


def _swap_operator(node: Any) -> None:
    node.op = _OPERATORS[type(node.op)]()


def _swap_comparison(node: Any) -> None:
    node.ops = [_OPERATORS[type(node.ops[0])]()]


def _change_constant(node: Any) -> None:
    node.value = (not node.value) if isinstance(node.value, bool) else node.value + 1


def _negate_test(node: Any) -> None:
    node.test = ast.UnaryOp(ast.Not(), node.test)


def _drop_minus(node: Any) -> None:
    node.op = ast.UAdd()


def _break_returns(function: ast.FunctionDef) -> None:
    for node in ast.walk(function):
        if isinstance(node, ast.Return) and node.value is not None:
            node.value = ast.Call(ast.Name("broken_result", ast.Load()), [node.value], [])


def broken_result(value: Any) -> Any:
    """A wrong value of the same type and shape."""
    if isinstance(value, Tensor):
        if value.dtype == torch.bool:
            return ~value
        return value + 1 if not value.is_floating_point() else torch.nan_to_num(value) * 1.5 + 1
    if isinstance(value, (tuple, list)):
        return type(value)(map(broken_result, value))
    if isinstance(value, dict):
        return {key: broken_result(item) for key, item in value.items()}
    return value + value[:1] if isinstance(value, str) else value + 1
