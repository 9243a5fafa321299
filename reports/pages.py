"""Pages from templates, whole in one file: styles, pictures and sounds are in them."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import soundfile

_SIGNS = {"met": "✓", "passed": "✓", "missed": "✗", "rejected": "✗", "regressed": "✗", "failed": "✗", "noisy": "≈"}


def render(template: str, **values: Any) -> str:
    """A page of templates/."""
    return _environment().get_template(template).render(**values)


def data_url(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def wav_url(samples: np.ndarray, rate: int) -> str:
    """Samples as an address that a player takes, 16 bits each."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(samples, -1, 1), rate, format="WAV", subtype="PCM_16")
    return data_url(buffer.getvalue(), "audio/wav")


def _marked(verdict: str) -> str:
    """Puts a sign before a verdict, for who does not see its colour."""
    return f"{_SIGNS.get(verdict.partition(':')[0], '·')} {verdict}"


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
    environment.filters["marked"] = _marked
    return environment
