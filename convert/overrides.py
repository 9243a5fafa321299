"""Checks command-line overrides before Hydra sees them: a misspelt one ends in a sentence with the nearest name.

Hydra itself drops `++precision.dtpye=fp16` without a word; here unknown settings are refused in every spelling.
Values of settings that take text, such as paths, are quoted for Hydra, whose grammar has no place for accents,
brackets or commas.
"""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import re
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import conf
from checkpoints.catalogue import catalogue
from convert.schema import settings
from convert.values import problem
from runtime.engines import ENGINES
from runtime.errors import VoxportError
from runtime.measuring.options import GateLimits


class OverrideError(VoxportError, ValueError):
    """An override that names nothing; the message says what it may have meant."""


def group_choices() -> dict[str, list[str]]:
    """Config group -> its choices: the YAML files of conf/, and the catalogue for `checkpoint`."""
    root = Path(conf.__file__).parent
    groups = {
        folder.name: sorted(file.stem for file in folder.glob("*.yaml"))
        for folder in sorted(root.iterdir())
        if folder.is_dir() and any(folder.glob("*.yaml"))
    }
    groups["checkpoint"] = sorted({*groups["checkpoint"], *catalogue()})
    return groups


def as_text(arguments: Iterable[str], is_sweep: bool = False) -> list[str]:
    """Quotes what stands after the first `=` of a setting that takes text, so that Hydra takes it letter by letter.

    What is quoted already, `null` and interpolations stay; so do sweeps (`output=a,b`) where `is_sweep`. Items of lists
    are quoted where Hydra does not read the list as it stands.
    """
    kinds = settings()
    return [_as_text(argument, kinds, is_sweep) for argument in arguments]


def _as_text(argument: str, kinds: Mapping[str, Any], is_sweep: bool) -> str:
    key, has_value, value = argument.partition("=")
    kind = _kind(key.lstrip("+"), kinds)
    if not has_value or kind not in (str, str | None, list[str], list[str] | None):
        return argument
    if kind in (str, str | None):
        is_read = is_sweep and (override := _parsed(argument)) is not None and override.is_sweep_override()
        return argument if is_read else f"{key}={_quote(value)}"
    if not re.fullmatch(r"\[.*\]", value, re.DOTALL) or _parsed(argument) is not None:
        return argument
    items = re.findall(rf"\s*({_QUOTED}|[^,]+)", value[1:-1], re.DOTALL)
    return f"{key}=[{','.join(_quote(item.strip()) for item in items)}]"


def _kind(key: str, kinds: Mapping[str, Any]) -> Any:
    """The type of a setting, by the longest of the patterns that it matches; None where there is none."""
    matching = [name for name in kinds if fnmatch.fnmatchcase(key, name)]
    return kinds[max(matching, key=len)] if matching else None


_QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""


def _quote(value: str) -> str:
    is_as_it_stands = value.lower() == "null" or "${" in value or re.fullmatch(_QUOTED, value, re.DOTALL)
    return value if is_as_it_stands else quoted(value)


def quoted(text: str) -> str:
    """A text in Hydra's quotes, in which a backslash counts only before a quote."""
    return "'" + re.sub(r"(\\*)('|\Z)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text) + "'"


def _parsed(text: str) -> Any:
    """Hydra's reading of an override; None where it has none."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(text)
    except HydraException:
        return None


def check(
    overrides: Iterable[str], groups: Mapping[str, list[str]] | None = None, *, is_sweep: bool | None = None
) -> None:
    """Raises OverrideError for the first override whose group, choice or setting does not exist, whose value is of
    another type, that names several where `is_sweep` is false (None: it is not asked), or that chooses of a group a
    second time."""
    groups = group_choices() if groups is None else groups
    chosen: dict[str, str] = {}
    kinds = settings()
    names = list(kinds)
    for text in overrides:
        override = _parsed(text)
        key, has_value, value = text.partition("=") if override is None else (override.key_or_group, "", "")
        if override is None and not (has_value and re.fullmatch(r"[\w.@/+-]+", key)):
            raise OverrideError(f"{text!r} is not an override: they are written setting=value")
        key = key.lstrip("+")
        if override is not None and not key.startswith("hydra"):
            _check_form(text, override, _kind(key, kinds), {*groups, *names}, is_sweep)
        if key.startswith("hydra.") or key == "hydra":
            continue
        if key in groups:
            if key in chosen:
                raise OverrideError(
                    f"{chosen[key]} and {text}: a job has one {key}; leave one out, or convert both: {key}=A,B -m"
                )
            chosen[key] = text
            values: list[Any] = [value if override is None else override.value()]
            if override is not None and override.is_sweep_override():
                values = list(override.sweep_string_iterator())
            for value in values:
                _check_choice(key, str(value), groups[key])
        elif key.startswith("gates.limits."):
            _check_limit(key, [*groups["precision"], "compressed", "lowlat"])
        elif not any(fnmatch.fnmatchcase(key, pattern) for pattern in names):
            known = [*groups, *(name for name in names if "*" not in name)]
            raise OverrideError(f"there is no setting {key!r}{_nearest(key, known)}")
        elif override is None:
            raise OverrideError(f"{key}={value} cannot be read: it takes no text")
        if override is not None and key not in groups and (kind := _kind(key, kinds)) is not None:
            for one in override.sweep_iterator() if override.is_sweep_override() else [override.value()]:
                if (wrong := problem(kind, one)) is not None:
                    raise OverrideError(f"{text}: {wrong}")


def _check_form(text: str, override: Any, kind: Any, known: set[str], is_sweep: bool | None) -> None:
    """Raises OverrideError for what Hydra's grammar has and a job has no use for."""
    name = override.key_or_group
    if override.is_delete() and name in known:
        raise OverrideError(f"{text}: nothing of the configuration can be left out; null is a value of some settings")
    if override.package is not None:
        raise OverrideError(f"{text}: a group has one place; write {name}=…")
    if override.is_add() and not override.is_force_add() and name in known and not isinstance(override.value(), dict):
        raise OverrideError(f"{text}: it is there already; write {text.lstrip('+')}")
    if override.is_sweep_override() and is_sweep is False and typing.get_origin(kind) is list:
        raise OverrideError(f"{text}: it takes a list; write {name}=[{text.partition('=')[2]}]")
    if override.is_sweep_override() and is_sweep is False:
        raise OverrideError(f"{text} names several: add -m to convert each of them")


def _check_limit(key: str, precisions: Iterable[str]) -> None:
    """`gates.limits` is keyed by precision, its kind (compressed) or lowlat, which is approximate in any, or that and
    engine."""
    series = [name for precision in precisions for name in (precision, *(f"{precision}_{e}" for e in sorted(ENGINES)))]
    limits = [field.name for field in dataclasses.fields(GateLimits)]
    known = [f"gates.limits.{name}.{limit}" for name in series for limit in limits]
    stem, of_component, component = key.partition(".components.")  # which there are is the family's to say
    setting = f"{stem}.components" if of_component and component.isidentifier() else key
    if setting not in (*known, *(f"gates.limits.{name}" for name in series)):
        raise OverrideError(f"there is no setting {key!r}{_nearest(key, known)}")


def _check_choice(group: str, value: str, choices: list[str]) -> None:
    if value not in choices:
        raise OverrideError(f"there is no {group} {value!r}{_nearest(value, choices)} (choices: {', '.join(choices)})")


def _nearest(word: str, known: Iterable[str]) -> str:
    """`: did you mean …?`: the nearest name, or the nearest last part of a dotted one."""
    known = list(known)
    near = difflib.get_close_matches(word, known, 1, cutoff=0.6)
    if not near:
        tails = {name.rpartition(".")[2]: name for name in reversed(known)}
        near = [tails[tail] for tail in difflib.get_close_matches(word.rpartition(".")[2], tails, 1, cutoff=0.6)]
    return f": did you mean {near[0]!r}?" if near else ""
