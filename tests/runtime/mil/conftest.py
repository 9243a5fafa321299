"""Programs built with coremltools, saved to disk: what the engines are given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.machine.coreml_tools import coremltools


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Converts a MIL program or a traced module, in float32 where nothing else is asked, and gives its package."""
    ct = coremltools()
    count = iter(range(100))

    def save(source: Any, precision: str = "fp32", **options: Any) -> Path:
        settings = {
            "convert_to": "mlprogram",
            "compute_precision": {"fp32": ct.precision.FLOAT32, "fp16": ct.precision.FLOAT16}[precision],
            "minimum_deployment_target": ct.target.iOS18,
            "skip_model_load": True,
        }
        path = tmp_path / f"model{next(count)}.mlpackage"
        ct.convert(source, **{**settings, **options}).save(str(path))
        return path

    return save
