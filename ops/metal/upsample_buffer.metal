// The buffer form, for Core AI and MPSGraph: plain arrays, x (C, T) and y (D, samples), time innermost; half and float.
#include <metal_stdlib>
#include "upsample_core.h"
using namespace metal;

template <typename T>
struct BufferInput {
    device const T *x;
    device const T *condition;  // (C,); not read without has_condition
    UpsampleShape shape;

    float channel(int index, int position) const {
        if (index >= shape.channels_in) return 0.0f;
        float v = float(x[index * shape.frames + position]);
        if (shape.has_condition) v += float(condition[index]);
        return upsample_activation(v, shape.slope);
    }
    float4 at(int quad, int position) const {
        return float4(channel(4 * quad, position), channel(4 * quad + 1, position), channel(4 * quad + 2, position),
                      channel(4 * quad + 3, position));
    }
};

template <typename V>
struct BufferWeights {
    device const V *w;
    float4 at(int index) const { return float4(w[index]); }
};

template <typename T>
inline void upsample_store(device T *y, float4 sum, int sample, int quad, UpsampleShape shape) {
    const int first = 4 * quad, left = shape.channels_out - first;
    y[first * shape.samples + sample] = T(sum.x);
    if (left > 1) y[(first + 1) * shape.samples + sample] = T(sum.y);
    if (left > 2) y[(first + 2) * shape.samples + sample] = T(sum.z);
    if (left > 3) y[(first + 3) * shape.samples + sample] = T(sum.w);
}

// One thread: four output channels of one output sample. For the small, late stages.
template <typename T, typename V>
inline void upsample_plain(device const T *x, device const T *condition, device T *y, device const V *weights,
                           device const float4 *bias, UpsampleShape shape, uint2 thread_at) {
    if (int(thread_at.x) >= shape.samples || int(thread_at.y) >= upsample_quads(shape.channels_out)) return;
    const BufferInput<T> input = {x, condition, shape};
    const BufferWeights<V> w = {weights};
    const int sample = int(thread_at.x), quad = int(thread_at.y);
    upsample_store(y, upsample_sum(input, w, bias[quad], sample, quad, shape), sample, quad, shape);
}

// The tiled kernel: a threadgroup of TILE_POSITIONS x TILE_QUADS threads shares the activated inputs of the positions
// that its outputs read, TILE_CHANNELS channels at a time. For the big, early stages, where all output channels read the
// same inputs again and again.
constant constexpr int TILE_POSITIONS = 32, TILE_QUADS = 4, TILE_CHANNELS = 32, TILE_TAPS = 4, TILE_PHASES = 4;

// One thread: four output channels (a quad) of up to TILE_PHASES neighbouring phases of one coarse position u.
template <typename T, typename V>
inline void upsample_tiled(device const T *x, device const T *condition, device T *y, device const V *weights,
                           device const float4 *bias, UpsampleShape shape, threadgroup float *tile, uint3 in_group,
                           uint3 group) {
    const int width = TILE_POSITIONS + shape.taps - 1;
    const int first = int(group.x) * TILE_POSITIONS;             // the group's first coarse position
    const int quad = int(group.y) * TILE_QUADS + int(in_group.y);
    const int phase = int(group.z) * TILE_PHASES;                // the thread's first phase
    const int u = first + int(in_group.x);
    const int me = int(in_group.y) * TILE_POSITIONS + int(in_group.x);
    const bool computes = quad < upsample_quads(shape.channels_out);
    const BufferInput<T> input = {x, condition, shape};
    const BufferWeights<V> w = {weights};
    float4 sums[TILE_PHASES];
    for (int f = 0; f < TILE_PHASES; ++f) sums[f] = computes ? bias[quad] : float4(0.0f);

    for (int channel = 0; channel < shape.channels_in; channel += TILE_CHANNELS) {
        const int count = min(TILE_CHANNELS, shape.channels_in - channel);
        for (int e = me; e < count * width; e += TILE_POSITIONS * TILE_QUADS) {
            const int position = first - (shape.taps - 1) + e % width;
            const bool inside = position >= 0 && position < shape.frames;
            tile[e] = inside ? input.channel(channel + e / width, position) : 0.0f;
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);         // the tile is whole
        if (computes) {
            for (int c = 0; c < count; ++c) {
                for (int j = 0; j < shape.taps; ++j) {
                    const float v = tile[c * width + int(in_group.x) + (shape.taps - 1) - j];
                    for (int f = 0; f < TILE_PHASES; ++f) {
                        const int k = phase + f + j * shape.stride;
                        if (phase + f < shape.stride && k < shape.kernel_size)
                            sums[f] += v * w.at(upsample_weight_index(quad, k, channel + c, shape));
                    }
                }
            }
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);         // everybody has read it
    }
    if (!computes) return;
    for (int f = 0; f < TILE_PHASES; ++f) {
        const int sample = u * shape.stride + phase + f - shape.padding;
        if (phase + f < shape.stride && sample >= 0 && sample < shape.samples)
            upsample_store(y, sums[f], sample, quad, shape);
    }
}

kernel void upsample_plain_half(device const half *x [[buffer(0)]], device const half *condition [[buffer(1)]],
                                device half *y [[buffer(2)]], device const half4 *weights [[buffer(3)]],
                                device const float4 *bias [[buffer(4)]], constant UpsampleShape &shape [[buffer(5)]],
                                uint2 thread_at [[thread_position_in_grid]]) {
    upsample_plain(x, condition, y, weights, bias, shape, thread_at);
}

kernel void upsample_plain_float(device const float *x [[buffer(0)]], device const float *condition [[buffer(1)]],
                                 device float *y [[buffer(2)]], device const float4 *weights [[buffer(3)]],
                                 device const float4 *bias [[buffer(4)]], constant UpsampleShape &shape [[buffer(5)]],
                                 uint2 thread_at [[thread_position_in_grid]]) {
    upsample_plain(x, condition, y, weights, bias, shape, thread_at);
}

kernel void upsample_tiled_half(device const half *x [[buffer(0)]], device const half *condition [[buffer(1)]],
                                device half *y [[buffer(2)]], device const half4 *weights [[buffer(3)]],
                                device const float4 *bias [[buffer(4)]], constant UpsampleShape &shape [[buffer(5)]],
                                threadgroup float *tile [[threadgroup(0)]],
                                uint3 in_group [[thread_position_in_threadgroup]],
                                uint3 group [[threadgroup_position_in_grid]]) {
    upsample_tiled(x, condition, y, weights, bias, shape, tile, in_group, group);
}

kernel void upsample_tiled_float(device const float *x [[buffer(0)]], device const float *condition [[buffer(1)]],
                                 device float *y [[buffer(2)]], device const float4 *weights [[buffer(3)]],
                                 device const float4 *bias [[buffer(4)]], constant UpsampleShape &shape [[buffer(5)]],
                                 threadgroup float *tile [[threadgroup(0)]],
                                 uint3 in_group [[thread_position_in_threadgroup]],
                                 uint3 group [[threadgroup_position_in_grid]]) {
    upsample_tiled(x, condition, y, weights, bias, shape, tile, in_group, group);
}
