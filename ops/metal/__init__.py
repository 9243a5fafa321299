"""HiFi-GAN's upsampling as Metal kernels: leaky ReLU and transposed convolution in one, polyphase.

`upsample_core.h` has the arithmetic, `upsample_texture.metal` the form for Core ML's custom layers,
`upsample_buffer.metal` that for Core AI and MPSGraph. `layout` says how weights lie and which kernel takes which shape,
`lint` what the texts must not do, `host` compiles the very texts with clang and runs them anywhere. None of it has been
run on a Mac.
"""
