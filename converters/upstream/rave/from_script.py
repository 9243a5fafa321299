"""What a RAVE is built of, from a TorchScript export: the shapes of its weights and numbers beside them.

Ratios follow from kernels, dilations from how much a layer pads, which an export keeps either as `_pad` or, made with
`--streaming`, as the length of the layer's cache.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from checkpoints import CheckpointError
from converters.upstream.rave.settings import HalfSettings, NoiseSettings, RaveSettings

Layers = Mapping[str, Mapping[str, Any]]


def settings_of_script(weights: Mapping[str, Tensor], layers: Layers) -> RaveSettings:
    """The settings of an export. Raises CheckpointError for one that is of another architecture.

    weights: by upstream's names; layers: plain attributes of modules by path, of the model itself under "".
    """
    return _Script(weights, layers).settings()


class _Script:
    def __init__(self, weights: Mapping[str, Tensor], layers: Layers) -> None:
        self._weights, self._layers = weights, layers

    def settings(self) -> RaveSettings:
        if "pqmf.forward_conv.weight" not in self._weights or "encoder.encoder.net.0.weight" not in self._weights:
            raise CheckpointError(
                "it is a TorchScript program, but no export of RAVE: it has no filter bank and encoder"
            )
        self._refuse_others()
        generation = 1 if "decoder.synth.branches.0.weight" in self._weights else 2
        bands = len(self._weights["pqmf.forward_conv.weight"])
        facts = self._layers.get("", {})
        encoding = "variational" if "beta" in self._layers.get("encoder", {}) else "wasserstein"
        encoder = self._encoder(generation)
        decoder = self._decoder_1() if generation == 1 else self._decoder_2()
        latent_size = len(self._weights["latent_mean"])
        first = self._shape("decoder.net.0")
        amplitude = generation == 2 and self._shape(self._waveform())[0] == 2 * bands
        return RaveSettings(
            encoder=encoder,
            decoder=decoder,
            sampling_rate=self._number("sr"),
            generation=generation,  # type: ignore[arg-type]
            encoding=encoding,  # type: ignore[arg-type]
            bands=bands,
            latent_size=latent_size,
            latents=self._number("latent_size") if "latent_size" in facts else 0,
            augmentation=first[1] - latent_size,
            causal=self._is_causal(),
            snake=any(name.endswith(".alpha") and ".aligned." not in name for name in self._weights),
            unit_snake=any(name.endswith(".alpha") and ".aligned." in name for name in self._weights),
            adain=any(name.endswith(".mean_x") and not name.startswith("fake") for name in self._weights),
            amplitude=amplitude,
            noise=self._noise(generation, bands),
        )

    # ------------------------------------------------------------------------------------------------ both halves

    def _encoder(self, generation: int) -> HalfSettings:
        convs = self._convs("encoder.encoder.net")
        first, *strided, last = [name for name, depth in convs if depth == 1]
        if generation == 1:
            ratios, dilations, kernel = [self._shape(name)[2] // 2 for name in strided], [], 3
        else:
            ratios, kernel = [self._shape(name)[2] // 2 for name in strided], self._shape(last)[2]
            dilations = self._dilations(convs, strided, is_before=True)
        outs = [self._shape(name)[0] for name in strided]
        return self._half(first, [self._shape(first)[0], *outs], ratios, dilations, kernel)

    def _decoder_2(self) -> HalfSettings:
        convs = self._convs("decoder.net")
        first = convs[0][0]
        ups = [name for name, depth in convs if depth == 1 and self._layers[name].get("transposed")]
        ratios = [self._shape(name)[2] // 2 for name in ups]
        dilations = self._dilations(convs, ups, is_before=False)
        outs = [self._shape(name)[1] for name in ups]
        levels = [self._shape(first)[0], *outs]
        return self._half(first, levels[::-1], ratios[::-1], dilations[::-1], self._shape(first)[2])

    def _decoder_1(self) -> HalfSettings:
        ups = [name for name, depth in self._convs("decoder.net") if depth == 2 and re.fullmatch(r".*\.net\.1", name)]
        levels, ratios = [self._shape("decoder.net.0")[0]], []
        for name in ups:
            shape, is_up = self._shape(name), bool(self._layers[name].get("transposed"))
            levels.append(shape[1] if is_up else shape[0])
            ratios.append(shape[2] // 2 if is_up else 1)
        stack = f"decoder.net.{int(ups[0].split('.')[2]) + 1}.net.branches"
        if any(name.startswith(f"{stack}.1.") for name in self._weights):
            raise CheckpointError("its residual stacks have several branches: one is known")
        pairs: dict[int, list[int]] = {}
        kernel = 3
        for name, _ in self._convs(f"{stack}.0.net"):
            kernel = self._shape(name)[2]
            pairs.setdefault(int(name.removeprefix(f"{stack}.0.net.").split(".")[0]), []).append(self._dilation(name))
        return self._half("decoder.net.0", levels[::-1], ratios[::-1], list(pairs.values()), kernel)

    def _half(
        self, first: str, levels: list[int], ratios: list[int], dilations: list[list[int]], kernel: int
    ) -> HalfSettings:
        """levels: channels from the audio inwards."""
        doubles = all(out == 2 * into for into, out in itertools.pairwise(levels))
        return HalfSettings(
            capacity=levels[0],
            ratios=tuple(ratios),
            dilations=tuple(map(tuple, dilations)),
            kernel=kernel,
            widening="double" if doubles else "ratio",
            bias=f"{first}.bias" in self._weights,
        )

    def _dilations(self, convs: list[tuple[str, int]], between: list[str], is_before: bool) -> list[list[int]]:
        """Of the units at each level, which lie before the layers `between` levels, or after them."""
        names = [name for name, _ in convs]
        places = [names.index(name) for name in between]
        edges = [0, *places] if is_before else [*places, len(names)]
        units = [
            [name for name in names[start:stop] if name.count(".aligned.") == 1 and self._shape(name)[2] > 1]
            for start, stop in itertools.pairwise(edges)
        ]
        return [[self._dilation(name) for name in level] for level in units]

    # ------------------------------------------------------------------------------------------------- the others

    def _noise(self, generation: int, bands: int) -> NoiseSettings | None:
        where = "decoder.synth.branches.2" if generation == 1 else "decoder.noise_module"
        convs = [name for name, _ in self._convs(f"{where}.net")]
        if not convs:
            return None
        shapes = [self._shape(name) for name in convs]
        block = int(self._weights[f"{where}.target_size"])
        if generation == 2:
            ratios = [shape[2] // 2 for shape in shapes]
        else:  # its kernels are the same for every stride
            ratios = [round(block ** (1 / len(shapes)))] * len(shapes)
        hidden = shapes[0][0] if generation == 2 and len(shapes) > 1 else 0
        noise = NoiseSettings(tuple(ratios), shapes[-1][0] // bands, hidden)
        if noise.block != block:
            raise CheckpointError(f"its noise generator of {len(shapes)} layers has blocks of {block}: ratios unknown")
        return noise

    def _waveform(self) -> str:
        name = "decoder.waveform_module"
        return name if f"{name}.weight" in self._weights else self._convs("decoder.net")[-1][0]

    def _is_causal(self) -> bool:
        """By the filter bank's first layer: what it pads on the right, or delays."""
        layer = self._layers.get("pqmf.forward_conv", {})
        pads = layer.get("_pad")
        right = pads[1] if isinstance(pads, list | tuple) and len(pads) == 2 else layer.get("cumulative_delay")
        if not isinstance(right, int):
            raise CheckpointError("it does not say how its layers are padded: it was not exported by acids-rave 2")
        return right == 0

    def _refuse_others(self) -> None:
        facts = self._layers.get("", {})
        if any(".rvq." in name for name in self._weights):
            raise CheckpointError("its latents are codes (discrete): known are variational and wasserstein encoders")
        if any(name.startswith("resampler.") for name in self._weights):
            raise CheckpointError("it resamples (exported with --sr): export it at its own rate")
        if not {"warmed_up"} <= {name.rpartition(".")[2] for name in self._weights if name.startswith("encoder.")}:
            raise CheckpointError("its latents are angles (spherical): known are variational and wasserstein encoders")
        for name, known in (("n_channels", 1), ("input_mode", "pqmf"), ("output_mode", "pqmf")):
            if facts.get(name, known) != known:
                raise CheckpointError(f"it has {name} = {facts[name]!r}: known is {known!r}")
        if any(name.endswith("gru_state") for name in self._weights):
            raise CheckpointError("it has a recurrent layer, which is not known here")

    def _convs(self, below: str) -> list[tuple[str, int]]:
        """Convolutions below a path in their order, and how many `net` deep: 1 of the row itself."""
        names = [
            name.removesuffix(".weight")
            for name, weight in self._weights.items()
            if name.startswith(f"{below}.") and name.endswith(".weight") and weight.dim() == 3
        ]
        depth = below.count(".net") + (below == "net")
        ordered = sorted(names, key=lambda name: [int(part) for part in name.split(".") if part.isdigit()])
        return [(name, name.count(".net") - depth + 1) for name in ordered]

    def _shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._weights[f"{name}.weight"].shape)

    def _dilation(self, name: str) -> int:
        """Of a layer: what it pads in all is a dilation for each step of its kernel."""
        pads = self._layers.get(name, {}).get("_pad")
        total = sum(pads) if pads else self._layers.get(f"{name}.cache", {}).get("padding")
        if not isinstance(total, int):
            raise CheckpointError(f"it does not say how layer {name} is padded")
        return total // (self._shape(name)[2] - 1)

    def _number(self, name: str) -> int:
        value = self._layers.get("", {}).get(name)
        if not isinstance(value, int):
            raise CheckpointError(f"it has no number {name}: it was not exported by acids-rave 2")
        return value
