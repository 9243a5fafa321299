"""A training's state in files that travel: float32 weights, moments in bfloat16, no file above 15 MiB."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

PART_BYTES = 15 << 20


def save_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Written aside, then renamed: a killed training leaves the last whole state."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    aside = folder.with_name(f".{folder.name}.partial")
    _remove(aside)
    aside.mkdir(parents=True)
    for number, start in enumerate(range(0, len(content), PART_BYTES)):
        (aside / f"state.{number:02d}").write_bytes(content[start : start + PART_BYTES])
    (aside / "bytes").write_text(str(len(content)))
    _remove(folder)
    aside.rename(folder)


def load_state(folder: Path, device: str) -> dict[str, Any] | None:
    """Loads the saved state, or returns None where there is none. Raises ValueError where parts are missing."""
    if not (folder / "bytes").is_file():
        return None
    content = b"".join(part.read_bytes() for part in sorted(folder.glob("state.*")))
    if len(content) != int((folder / "bytes").read_text()):
        raise ValueError(f"{folder}: the state is not whole: delete it to begin anew")
    state: dict[str, Any] = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    return state


def packed_optimiser(optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Packs the optimiser's state, with its moments in half precision."""
    saved = optimiser.state_dict()
    return {"state": {key: _halved(entry) for key, entry in saved["state"].items()}, "groups": saved["param_groups"]}


def unpack_optimiser(optimiser: torch.optim.Optimizer, packed: Mapping[str, Any]) -> None:
    state = {key: {name: _single(value) for name, value in entry.items()} for key, entry in packed["state"].items()}
    optimiser.load_state_dict({"state": state, "param_groups": packed["groups"]})


def _halved(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.bfloat16() if name.startswith("exp_avg") else value for name, value in entry.items()}


def _single(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) else value


def _remove(folder: Path) -> None:
    if folder.is_dir():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
