"""Pages from templates, whole in one file: styles, pictures and sounds are in them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import jinja2


def render(template: str, **values: Any) -> str:
    """A page of templates/."""
    return _environment().get_template(template).render(**values)


def data_url(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["db"] = lambda value: f"{value:.1f} dB"
    environment.filters["ms"] = lambda value: f"{value:.1f} ms"
    return environment
