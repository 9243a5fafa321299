"""Transposed convolution as an ordinary convolution and a 1-D pixel shuffle: exact, not an approximation.

Sub-pixel form: Shi et al. 2016, "Real-Time Single Image and Video Super-Resolution" (arXiv 1609.05158);
"Is the deconvolution layer the same as a convolutional layer?" (arXiv 1609.07009), here for any kernel, stride,
padding and output padding in one dimension.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ops.metal.fused import fuse, read_graph


class PolyphaseConvTranspose1d(nn.Module):
    """Equals a given `nn.ConvTranspose1d` (dilation 1); the phases of a group's channels are its own.

    With stride S, padding P and kernel K, output sample S*u + v sums w[(v+P) % S + S*j] * x[u + (v+P)//S - j]
    over j < ceil(K/S). All S phases v read x[u - left .. u + right], so they are the S * C_out channels of one
    convolution, interleaved afterwards. For HiFi-GAN (K = 2S, P = S/2): 3 taps, one sample of padding each side.

    Input (N, C_in, T), output (N, C_out, (T-1)*S - 2*P + K + output_padding).
    """

    def __init__(self, original: nn.ConvTranspose1d) -> None:
        super().__init__()
        if original.dilation != (1,):
            raise ValueError(
                f"the polyphase rewrite takes dilation=1, got {original.dilation[0]}: use upsampler=native"
            )
        kernel, stride, padding = original.kernel_size[0], original.stride[0], _first(original.padding)
        weight = by_output(original.weight.detach(), original.groups)  # (C_out, C_in / groups, K)
        channels_out, channels_in, _ = weight.shape
        taps = -(-kernel // stride)
        lookahead = (stride - 1 + padding) // stride
        phases = weight.new_zeros(channels_out, stride, channels_in, taps + lookahead)
        used = set()  # tap index i reads x[u + i - (taps - 1)]
        for phase in range(stride):
            shift, remainder = divmod(phase + padding, stride)
            for j in range(taps):
                if remainder + stride * j < kernel:
                    tap = taps - 1 + shift - j
                    phases[:, phase, :, tap] = weight[:, :, remainder + stride * j]
                    used.add(tap)
        first, last = min(used), max(used)

        self.stride, self.channels_out = stride, channels_out
        # Output length is T * stride + extra; compute whole blocks of `stride` and crop the surplus.
        extra = kernel - stride - 2 * padding + original.output_padding[0]
        more_blocks = -(-extra // stride)
        self.crop = more_blocks * stride - extra
        self.left, self.right = taps - 1 - first, last - (taps - 1) + more_blocks
        symmetric = self.left == self.right >= 0
        self.conv = nn.Conv1d(
            original.in_channels,
            channels_out * stride,
            last - first + 1,
            groups=original.groups,
            padding=self.left if symmetric else 0,
            bias=original.bias is not None,
            dtype=weight.dtype,
        )
        self.conv.weight.data = phases[..., first : last + 1].reshape(channels_out * stride, channels_in, -1)
        if original.bias is not None and self.conv.bias is not None:
            self.conv.bias.data = original.bias.detach().repeat_interleave(stride)
        self.needs_padding = not symmetric

    def forward(self, x: Tensor) -> Tensor:
        if self.needs_padding:
            x = F.pad(x, (self.left, self.right))
        y = self.conv(x)
        # Constant sizes but for one -1, so that a flexible length needs no shape arithmetic in the graph.
        batch = x.shape[0]
        y = y.reshape(batch, self.channels_out, self.stride, -1).transpose(2, 3)
        y = y.reshape(batch, self.channels_out, -1)
        return y[..., : -self.crop] if self.crop else y


UPSAMPLERS = ("native", "polyphase", "metal")


def by_output(weight: Tensor, groups: int) -> Tensor:
    """A transposed convolution's weight (C_in, C_out / groups, K) -> (C_out, C_in / groups, K)."""
    inwards, outwards, kernel = weight.shape
    by_group = weight.reshape(groups, inwards // groups, outwards, kernel)
    return by_group.transpose(1, 2).reshape(groups * outwards, inwards // groups, kernel)


def rewrite_upsampling(module: nn.Module, upsampler: str, example: Sequence[Tensor] = ()) -> nn.Module:
    """A copy of `module` whose transposed convolutions take the form named `upsampler`. `metal` fuses them with the
    leaky ReLU before them, at the sizes of `example`, the module's inputs.

    Raises ValueError for an unknown form, or for a layer that the form cannot express (naming the layer).
    """
    if upsampler not in UPSAMPLERS:
        raise ValueError(f"there is no upsampler {upsampler!r}; the upsamplers are: {', '.join(UPSAMPLERS)}")
    if upsampler == "native":
        return module
    if upsampler == "metal":
        graph = read_graph(module, example)
        fuse(graph)
        return graph.eval()
    rewritten = copy.deepcopy(module)
    for name, layer in list(rewritten.named_modules()):
        if isinstance(layer, nn.ConvTranspose1d):
            parent, _, attribute = name.rpartition(".")
            try:
                replacement = PolyphaseConvTranspose1d(layer)
            except ValueError as error:
                raise ValueError(f"layer {name}: {error}") from error
            setattr(rewritten.get_submodule(parent), attribute, replacement)
    return rewritten.eval()


def _first(padding: object) -> int:
    if isinstance(padding, str) or not isinstance(padding, tuple):
        raise ValueError(f"the polyphase rewrite takes a numeric padding, got {padding!r}")
    return int(padding[0])
