"""The help of `convert`: a screen, and a page for each group of choices, for all settings and for the gates."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import textwrap
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

import conf
from checkpoints.catalogue import catalogue
from convert.overrides import OverrideError, group_choices
from convert.schema import Job
from runtime.machine.command_line import program
from runtime.machine.setting import help_of, values_of
from runtime.measuring.options import GateLimits

_ROOT = Path(conf.__file__).parent
_GROUPS = {
    "model": "what is converted",
    "checkpoint": "its weights, by their name in the catalogue",
    "precision": "what numbers are computed and stored in",
    "format": "of the artefact",
    "upsampler": "how transposed convolutions are written",
    "stream": "whether audio is made chunk by chunk",
    "shape": "the length of an artefact that does not stream",
    "measure": "in which engines it is executed, and for how long",
    "gates": "limits that it has to meet; each model has its own",
    "tracking": "whether results go to MLflow",
    "suite": "many jobs, judged against their champions",
    "runner": "where the jobs of a suite run",
}
_COMMON = (
    "checkpoint.source", "goldens.clips", "stream.chunk", "shape.frames", "measure.engines", "measure.bench_seconds",
    "measure.listen", "tracking.uri", "output", "audit", "force",
)  # fmt: skip
_WIDTH = 112


@dataclasses.dataclass(frozen=True)
class Setting:
    """A setting by its dotted name: default, values where they can be listed, a line of help."""

    name: str
    default: str
    values: tuple[str, ...]
    text: str


def screen() -> str:
    """The help of a screen's height: examples, the groups with a line each, the settings used most."""
    command = program("convert")
    by_name = {one.name: one for one in all_settings()}
    lines = [
        f"usage: {command} [-m] [GROUP=CHOICE …] [SETTING=VALUE …]",
        "",
        "Convert a speech model to Core ML or ONNX, execute the artefact, measure it, gate it, log it.",
        "",
        f"  {command} model=hifigan precision=fp16",
        f"  {command} -m precision=fp32,fp16 upsampler=native,polyphase",
        f"  {command} checkpoint.source=/path/to/coqui/model goldens.clips=[my_voice.wav]",
        f"  {command} suite=smoke",
        "",
        "Groups, the default choice first:",
        *(_row(group, _short(_choices(group)), text) for group, text in _GROUPS.items()),
        "",
        "Settings, with their defaults:",
        *(_setting_row(by_name[name]) for name in _COMMON),
        "",
        "  -m, --multirun   every combination of comma-separated choices",
        "  --cfg job        print the composed configuration instead of running",
        "  voxport help GROUP       its choices and settings; so for gates",
        f"  voxport help settings    all {len(by_name)} of them",
    ]
    return "\n".join(lines)


def topics() -> list[str]:
    return [*_GROUPS, "settings"]


def page(topic: str) -> str:
    """The help of a group, of `settings` or of `gates`. Raises OverrideError for another topic."""
    if topic not in topics():
        near = difflib.get_close_matches(topic, topics(), 1)
        meant = f": did you mean {near[0]!r}?" if near else f"; there is: {', '.join(topics())}"
        raise OverrideError(f"there is no help on {topic!r}{meant}")
    if topic == "settings":
        return "\n".join(["Settings, with their defaults:", *map(_setting_row, all_settings())])
    lines = [f"{topic}: {_GROUPS[topic]}", "", f"Choices ({topic}=CHOICE), the default first:"]
    lines += [_row(choice, "", _about(topic, choice)) for choice in _choices(topic)]
    if topic == "gates":
        limits = [_setting_row(_setting("", one)) for one in dataclasses.fields(GateLimits)]
        lines += ["", "Limits (gates.limits.PRECISION.LIMIT=VALUE, or PRECISION_ENGINE), with their defaults:", *limits]
    else:
        own = [one for one in all_settings() if one.name.startswith(f"{topic}.")]
        lines += ["", "Settings, with their defaults:", *map(_setting_row, own)] if own else []
    return "\n".join(lines)


@functools.cache
def all_settings(kind: Any = Job, prefix: str = "") -> tuple[Setting, ...]:
    """Every setting of the schema but the gates' and those of a model's parts, which are as the model's own."""
    return tuple(_settings(kind, prefix))


def _settings(kind: Any, prefix: str) -> Iterator[Setting]:
    hints = typing.get_type_hints(kind)
    for one in dataclasses.fields(kind):
        hint = hints[one.name]
        if dataclasses.is_dataclass(hint):
            yield from _settings(hint, f"{prefix}{one.name}.")
        elif one.name != "parts" and one.name != "limits":
            yield _setting(prefix, one)


def _setting(prefix: str, one: dataclasses.Field[Any]) -> Setting:
    default = one.default_factory() if one.default_factory is not dataclasses.MISSING else one.default
    return Setting(prefix + one.name, _as_yaml(default), values_of(one), help_of(one))


def _as_yaml(value: Any) -> str:
    return "" if value == "" else yaml.safe_dump(value, default_flow_style=True).removesuffix("\n...\n").strip()


@functools.cache
def _defaults() -> dict[str, str]:
    entries = yaml.safe_load((_ROOT / "config.yaml").read_text())["defaults"]
    return {group: choice for entry in entries if isinstance(entry, dict) for group, choice in entry.items()}


def _choices(group: str) -> list[str]:
    default = _defaults()[group]
    return [default, *(choice for choice in group_choices()[group] if choice != default)]


def _about(group: str, choice: str) -> str:
    """What a choice is: of the catalogue its description, of a file the beginning of its comment, else its values."""
    if group == "checkpoint":
        entry = catalogue().get(choice)
        return "the model's default" if entry is None else f"{entry.family}; {entry.licence}; {entry.description}"
    text = (_ROOT / group / f"{choice}.yaml").read_text()
    comments = [line[2:] for line in text.splitlines() if line.startswith("# ") and not line.startswith("# @")]
    if comments:
        return " ".join(comments).replace(" (runtime/measuring/gates.py)", "")
    values = yaml.safe_load(text) or {}
    values = values.get(group) or values
    pairs = ((key, value) for key, value in values.items() if key not in ("defaults", "name", "parts", "limits"))
    return ", ".join(f"{key}={_as_yaml(value)}" for key, value in pairs)


def _short(choices: Sequence[str]) -> str:
    text = ", ".join(choices)
    return text if len(text) <= 42 else f"{choices[0]}, and {len(choices) - 1} others"


def _setting_row(one: Setting) -> str:
    values = f" ({', '.join(one.values)})" if one.values and one.values != ("true", "false") else ""
    return _row(f"{one.name}={one.default}", "", f"{one.text}{values}")


def _row(name: str, middle: str, text: str) -> str:
    """A line of help under a name; what it says takes two lines at most."""
    head = f"  {name:<11} {middle:<43}" if middle else f"  {name:<32}"
    lines = textwrap.wrap(text, _WIDTH - len(head), max_lines=2, placeholder=" …") or [""]
    return "\n".join([f"{head} {lines[0]}".rstrip(), *(f"{'':<{len(head)}} {line}" for line in lines[1:])])
