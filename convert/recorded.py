"""The configuration as it is kept: what came from the environment stays the expression that it was."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from convert.schema import Job

if TYPE_CHECKING:
    from omegaconf import DictConfig, ListConfig

# Where a setting stands -> its expression, such as ("tracking", "uri") -> "http://me:${oc.env:PASSWORD}@host".
Expressions = Mapping[tuple[str | int, ...], str]
_RESOLVER = "oc.env"


def expressions_of(config: DictConfig) -> Expressions:
    """The settings whose value depends on a variable of the environment, directly or through other settings."""
    from omegaconf import OmegaConf
    from omegaconf.resolvers import oc

    read: list[str] = []

    def env(*names: Any) -> str | None:
        read.append(names[0])
        return oc.env(*names)

    expressions: dict[tuple[str | int, ...], str] = {}
    OmegaConf.register_new_resolver(_RESOLVER, env, replace=True)
    try:
        for place, expression, node, key in _interpolations(config, ()):
            read.clear()
            value = node[key]
            if OmegaConf.is_config(value):
                OmegaConf.to_container(value, resolve=True)
            if read:
                expressions[place] = expression
    finally:
        OmegaConf.register_new_resolver(_RESOLVER, oc.env, replace=True)
    return expressions


def _interpolations(
    node: DictConfig | ListConfig, place: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], str, Any, Any]]:
    from omegaconf import OmegaConf

    raw: Any = OmegaConf.to_container(node, resolve=False)
    for key in raw if isinstance(raw, dict) else range(len(raw)):
        if OmegaConf.is_interpolation(node, key):
            yield (*place, key), str(raw[key]), node, key
        elif isinstance(raw[key], (dict, list)):
            yield from _interpolations(node[key], (*place, key))


def recorded(job: Job, expressions: Expressions) -> dict[str, Any]:
    """The whole configuration as plain values, without a secret."""
    config = dataclasses.asdict(job)
    for place, expression in expressions.items():
        parent: Any = config
        for key in place[:-1]:
            parent = parent[key]
        parent[place[-1]] = expression
    return config
