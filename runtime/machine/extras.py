"""What `pip install voxport` leaves out, and which extra brings it."""

from __future__ import annotations

_EXTRAS = {
    "coreai": ("coreai", "coreai_opt", "coreai_torch"),
    "convert": ("TTS", "httpx", "huggingface_hub", "hydra", "omegaconf", "safetensors", "torchaudio"),
    "dask": ("distributed",),
    "espeak": ("espeakng_loader", "phonemizer"),
    "listen": ("distillmos", "faster_whisper", "xls_r_sqa"),
    "live": ("sounddevice",),
    "openvino": ("openvino",),
    "report": ("filelock", "jinja2", "matplotlib", "mlflow", "rich"),
}


def missing_extra(error: BaseException, preferred: str = "") -> str | None:
    """The sentence for an import that failed because an extra is not installed; None for any other error. `preferred`:
    the extra to install, by default the smallest that has the package."""
    package = error.name.partition(".")[0] if isinstance(error, ModuleNotFoundError) and error.name else ""
    extra = next((name for name, packages in _EXTRAS.items() if package in packages), None)
    if extra is None:
        return None
    return f"this needs {package}, which the light install leaves out: pip install 'voxport[{preferred or extra}]'"
