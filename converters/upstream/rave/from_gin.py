"""What a RAVE is built of, from the gin config that its training wrote (checkpoints/gin.py reads it)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from checkpoints import CheckpointError
from converters.upstream.rave.settings import HalfSettings, NoiseSettings, RaveSettings

_GENERATIONS = {"@Generator": 1, "@GeneratorV2": 2}
# What an encoder is wrapped in -> what it is called here, and the binding that says what is in it
_ENCODINGS = {
    "@VariationalEncoder": ("variational", "VariationalEncoder.encoder"),
    "@WasserteinEncoder": ("wasserstein", "WasserteinEncoder.encoder_cls"),
}


def settings_of_gin(gin: Mapping[str, Any]) -> RaveSettings:
    """The settings of a model. Raises CheckpointError for one that is of another architecture or says too little."""
    return _Gin(gin).settings()


class _Gin:
    def __init__(self, gin: Mapping[str, Any]) -> None:
        self._gin = gin

    def settings(self) -> RaveSettings:
        decoder = self._asked("RAVE.decoder")
        generation = _GENERATIONS.get(decoder)
        if generation is None:
            raise CheckpointError(f"its gin config builds a decoder {decoder}: known are {', '.join(_GENERATIONS)}")
        wrapper = self._asked("RAVE.encoder")
        if wrapper not in _ENCODINGS:
            raise CheckpointError(
                f"its gin config builds an encoder {wrapper}: known are {', '.join(_ENCODINGS)}; latents that are "
                "codes or angles do not convert"
            )
        encoding, binding = _ENCODINGS[wrapper]
        scope, _, encoder = self._asked(binding).removeprefix("@").rpartition("/")
        generator = decoder.removeprefix("@")
        self._refuse_others(scope, encoder, generator)
        activation = self._get("activation", generator)
        return RaveSettings(
            encoder=self._half(encoder, scope, generation),
            decoder=self._half(generator, "", generation),
            sampling_rate=self._asked("RAVE.sampling_rate"),
            generation=generation,  # type: ignore[arg-type]
            encoding=encoding,  # type: ignore[arg-type]
            bands=self._asked("CachedPQMF.n_band"),
            attenuation=self._asked("CachedPQMF.attenuation"),
            latent_size=self._asked("RAVE.latent_size"),
            augmentation=self._gin.get("get_augmented_latent_size.noise_augmentation") or 0,
            causal=self._mode() == "causal",
            snake=activation == "@Snake",
            unit_snake=self._gin.get("DilatedUnit.activation") == "@Snake",
            adain=bool(self._get("adain", generator)),
            amplitude=bool(self._get("amplitude_modulation", generator)),
            noise=self._noise(generator),
        )

    def _half(self, name: str, scope: str, generation: int) -> HalfSettings:
        ratios = tuple(self._of(name, "ratios", scope))
        if name == "Generator":  # it alone takes them from the latents outwards
            ratios = ratios[::-1]
        if generation == 1:
            kernels = self._gin.get("ResidualStack.kernel_sizes") or [3]
            if len(kernels) > 1:
                raise CheckpointError(f"its gin config has residual stacks of kernels {kernels}: one is known")
            dilations, kernel = self._gin.get("ResidualStack.dilations_list") or [], kernels[0]
        else:
            kernel, dilations = self._of(name, "kernel_size", scope), self._of(name, "dilations", scope)
            if isinstance(dilations, Sequence) and dilations and isinstance(dilations[0], int):
                dilations = [dilations] * len(ratios)
            if len(dilations) != len(ratios):
                raise CheckpointError(f"its gin config has dilations at {len(dilations)} levels of {len(ratios)}")
        return HalfSettings(
            capacity=self._of(name, "capacity", scope),
            ratios=ratios,
            dilations=tuple(map(tuple, dilations)),
            kernel=kernel,
            widening="ratio" if self._get("keep_dim", name, scope) else "double",
            bias=self._get("bias", "Conv1d", scope) is not False,
        )

    def _noise(self, generator: str) -> NoiseSettings | None:
        if generator == "Generator":
            name = "NoiseGenerator" if self._get("use_noise", generator) else None
        else:
            name = str(self._get("noise_module", generator) or "").removeprefix("@")
        if not name:
            return None
        hidden = self._get("hidden_size", name) or 0
        return NoiseSettings(tuple(self._of(name, "ratios")), self._of(name, "noise_bands"), hidden)

    def _mode(self) -> str:
        mode = self._gin.get("get_padding.mode") or "centered"
        if mode not in ("centered", "causal"):
            raise CheckpointError(f"its gin config pads {mode!r}: known are 'centered' and 'causal'")
        return mode

    def _refuse_others(self, scope: str, encoder: str, generator: str) -> None:
        """Raises CheckpointError for what a model may be built of and is not known here."""
        unknown = {
            "RAVE.input_mode": ("pqmf", self._gin.get("RAVE.input_mode")),
            "RAVE.output_mode": ("pqmf", self._gin.get("RAVE.output_mode")),
            "RAVE.enable_pqmf_encode": (True, self._gin.get("RAVE.enable_pqmf_encode")),
            "RAVE.enable_pqmf_decode": (True, self._gin.get("RAVE.enable_pqmf_decode")),
            "RAVE.n_channels": (1, self._gin.get("RAVE.n_channels")),
            "Generator.loud_stride": (1, self._get("loud_stride", generator)),
            f"{encoder}.sample_norm": (False, self._get("sample_norm", encoder, scope)),
            f"{encoder}.repeat_layers": (1, self._get("repeat_layers", encoder, scope)),
        }
        for binding, (known, value) in unknown.items():
            if value is not None and value != known:
                raise CheckpointError(f"its gin config says {binding} = {value!r}: known is {known!r}")
        for name, of in ((encoder, scope), (generator, "")):
            if self._get("recurrent_layer", name, of):
                raise CheckpointError(f"its gin config gives {name} a recurrent layer, which is not known here")

    def _get(self, parameter: str, name: str, scope: str = "") -> Any:
        """The binding of the scope, else of none."""
        scoped = self._gin.get(f"{scope}/{name}.{parameter}") if scope else None
        return self._gin.get(f"{name}.{parameter}") if scoped is None else scoped

    def _of(self, name: str, parameter: str, scope: str = "") -> Any:
        value = self._get(parameter, name, scope)
        if value is None:
            raise CheckpointError(f"its gin config does not say {name}.{parameter}: it is not one of RAVE's")
        return value

    def _asked(self, binding: str) -> Any:
        name, _, parameter = binding.rpartition(".")
        return self._of(name, parameter)
