"""acids-rave 2.3.1 itself, from a folder that `VOXPORT_RAVE` names: its wheel beside those of cached-conv, gin-config,
einops and nn-tilde, installed without what they depend on. What inference needs none of is an empty stand-in.

    pip install --no-deps --target FOLDER acids-rave==2.3.1 cached-conv gin-config einops nn-tilde
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
import types
from pathlib import Path
from unittest.mock import MagicMock

import torch

MISSING = ("pytorch_lightning", "torchaudio", "lmdb", "GPUtil", "udls")


class _StandIn(types.ModuleType):
    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        if not name[0].isupper():
            return MagicMock()
        base = object if name == "Callback" else torch.nn.Module
        value = type(name, (base,), {} if name == "LightningModule" else {"__init__": _empty})
        setattr(self, name, value)
        return value


def _empty(self, *_, **__):
    if isinstance(self, torch.nn.Module):
        torch.nn.Module.__init__(self)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in MISSING:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return _StandIn(spec.name)

    def exec_module(self, module):
        pass


class Upstream:
    """Builds upstream's models from its own gin files, in this process once."""

    def __init__(self, folder: str) -> None:
        sys.path.insert(0, str(Path(folder).resolve()))
        sys.meta_path.insert(0, _Finder())
        import scipy.signal

        if not hasattr(scipy.signal, "kaiser"):  # as it was called before SciPy 1.13
            design = scipy.signal.firwin
            scipy.signal.kaiser = scipy.signal.windows.kaiser
            scipy.signal.firwin = lambda *sizes, nyq, **named: design(*sizes, fs=2 * nyq, **named)
        arguments, sys.argv = sys.argv, sys.argv[:1]  # which the export's script reads
        names = ("gin", "cached_conv", "rave", "rave.descript_discriminator", "rave.quantization", "rave.resampler")
        loaded = [importlib.import_module(name) for name in (*names, "scripts.export")]
        sys.argv = arguments
        torch.set_grad_enabled(True)  # which the script turns off
        self.gin, self.cached_conv, self.rave, *_, self.export_script = loaded

    def model(self, configs, overrides, streaming=False):
        """A model with drawn weights of a gain of one, and the gin config that its training would write."""
        self.gin.clear_config()
        self.gin.enter_interactive_mode()
        self.cached_conv.use_cached_conv(streaming)
        torch.manual_seed(0)
        self.gin.parse_config_files_and_bindings([f"{name}.gin" for name in configs], overrides)
        model = self.rave.RAVE(n_channels=1).eval().requires_grad_(False)
        size = model.latent_size
        torch.manual_seed(1)
        model.latent_pca.copy_(torch.linalg.qr(torch.randn(size, size))[0])
        model.latent_mean.normal_(0, 0.1)
        model.fidelity.copy_(torch.linspace(0.6, 1, size))
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("alpha"):
                value.uniform_(0.5, 2)
            elif name.endswith("running_mean"):
                value.normal_(0, 0.1)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 2)
            elif name.endswith("weight_g") or (name.endswith("weight") and value.dim() == 3 and "pqmf" not in name):
                value *= 3**0.5
        if hasattr(model.decoder, "warmed_up"):
            model.decoder.warmed_up.fill_(1)
        return model, self.gin.operative_config_str()

    def export(self, model, path):
        """Writes a `.ts` as upstream's script does."""
        for layer in model.modules():
            if hasattr(layer, "weight_g"):
                torch.nn.utils.remove_weight_norm(layer)
        kind = type(model.encoder).__name__.removesuffix("Encoder")
        scripted = getattr(self.export_script, f"{kind}ScriptedRAVE")(pretrained=model)
        audio = torch.zeros(1, 1, 2**14)
        scripted.decode(scripted.encode(audio))
        scripted.export_to_ts(str(path))
