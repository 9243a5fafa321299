"""Checks command-line overrides before Hydra sees them: a misspelt one ends in a sentence with the nearest name.

Hydra itself drops `++precision.dtpye=fp16` without a word; here unknown settings are refused in every spelling.
"""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
from collections.abc import Iterable, Mapping
from pathlib import Path

import conf
from checkpoints.catalogue import catalogue
from convert.schema import setting_names
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


def check(overrides: Iterable[str], groups: Mapping[str, list[str]] | None = None) -> None:
    """Raises OverrideError for the first override whose group, choice or setting does not exist."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    groups = group_choices() if groups is None else groups
    settings = setting_names()
    for text in overrides:
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException as error:
            raise OverrideError(f"{text!r} is not an override: they are written setting=value") from error
        key = override.key_or_group
        if key.startswith("hydra.") or key == "hydra":
            continue
        if key in groups:
            values = [override.value()]
            if override.is_sweep_override():
                values = list(override.sweep_string_iterator())
            for value in values:
                _check_choice(key, str(value), groups[key])
        elif key.startswith("gates.limits."):
            _check_limit(key, [*groups["precision"], "compressed", "lowlat"])
        elif not any(fnmatch.fnmatchcase(key, pattern) for pattern in settings):
            known = [*groups, *(name for name in settings if "*" not in name)]
            raise OverrideError(f"there is no setting {key!r}{_nearest(key, known)}")


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
