// The texture form, for MLCustomLayer: texture arrays of four channels a slice, width = time, height 1.
#include <metal_stdlib>
#include "upsample_core.h"
using namespace metal;

struct TextureInput {
    texture2d_array<half, access::read> x;
    texture2d_array<half, access::read> condition;  // one position wide; not read without has_condition
    UpsampleShape shape;

    float4 at(int quad, int position) const {
        float4 v = float4(x.read(ushort2(ushort(position), 0), uint(quad)));
        if (shape.has_condition) v += float4(condition.read(ushort2(0, 0), uint(quad)));
        return float4(upsample_activation(v.x, shape.slope), upsample_activation(v.y, shape.slope),
                      upsample_activation(v.z, shape.slope), upsample_activation(v.w, shape.slope));
    }
};

struct HalfWeights {
    device const half4 *w;
    float4 at(int index) const { return float4(w[index]); }
};

// One thread: four output channels (a slice) of one output sample.
kernel void upsample_texture(texture2d_array<half, access::read> x [[texture(0)]],
                             texture2d_array<half, access::read> condition [[texture(1)]],
                             texture2d_array<half, access::write> y [[texture(2)]],
                             device const half4 *weights [[buffer(0)]],
                             device const float4 *bias [[buffer(1)]],
                             constant UpsampleShape &shape [[buffer(2)]],
                             uint3 thread_at [[thread_position_in_grid]]) {
    if (int(thread_at.x) >= shape.samples || int(thread_at.z) >= upsample_quads(shape.channels_out)) return;
    const TextureInput input = {x, condition, shape};
    const HalfWeights w = {weights};
    const int sample = int(thread_at.x), quad = int(thread_at.z);
    y.write(half4(upsample_sum(input, w, bias[quad], sample, quad, shape)), ushort2(ushort(sample), 0), uint(quad));
}
