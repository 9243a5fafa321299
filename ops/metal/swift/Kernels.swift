// Written by voxport from upsample_texture.metal.
let kernelText = #"""
// The texture form, for MLCustomLayer: texture arrays of four channels a slice, width = time, height 1.
#include <metal_stdlib>
// The arithmetic of HiFi-GAN's upsampling, shared by every kernel: y = conv_transpose1d(leaky_relu(x + c), w) + b.
//
// Polyphase form: output sample t = u * S + f - P reads the inputs x[u - j] with the weights w[f + j * S], j < taps, so no
// product with a zero between inputs is ever computed. Sums are in float, whatever the tensors are.
//
// Metal and C++ both compile this text: functions on values only, no address spaces. A form brings its own readers.


struct UpsampleShape {      // eleven numbers of four bytes, as the host packs them
    int channels_in;        // C
    int channels_out;       // D
    int frames;             // T: input positions
    int samples;            // output positions
    int kernel_size;        // K
    int stride;             // S
    int padding;            // P
    int taps;               // ceil(K / S): inputs that one output reads
    int has_condition;      // whether c is added before the activation
    float slope;            // of leaky_relu
    int reserved;
};

inline float upsample_activation(float value, float slope) { return value >= 0.0f ? value : value * slope; }

// Which phase an output sample is of, and the newest input that it reads.
inline int upsample_phase(int sample, UpsampleShape shape) { return (sample + shape.padding) % shape.stride; }
inline int upsample_newest(int sample, UpsampleShape shape) { return (sample + shape.padding) / shape.stride; }

inline int upsample_quads(int channels) { return (channels + 3) / 4; }

// Where the four weights of output channels 4q .. 4q+3 begin, in quads: weights lie as [D/4][K][C][4].
inline int upsample_weight_index(int quad, int tap_in_kernel, int channel, UpsampleShape shape) {
    return (quad * shape.kernel_size + tap_in_kernel) * shape.channels_in + channel;
}

// Four output channels of one sample. `input(quad, position)` gives four input channels, activated, zero beyond channels
// and utterance; `weights(index)` the four weights at an index.
template <typename Input, typename Weights>
inline float4 upsample_sum(Input input, Weights weights, float4 bias, int sample, int quad, UpsampleShape shape) {
    const int phase = upsample_phase(sample, shape), newest = upsample_newest(sample, shape);
    float4 sum = bias;
    for (int j = 0; j < shape.taps; ++j) {
        const int k = phase + j * shape.stride, position = newest - j;
        if (k >= shape.kernel_size || position < 0 || position >= shape.frames) continue;
        for (int from = 0; from < upsample_quads(shape.channels_in); ++from) {
            const float4 x = input.at(from, position);
            const int left = shape.channels_in - 4 * from;
            const int index = upsample_weight_index(quad, k, 4 * from, shape);
            sum += x.x * weights.at(index);
            if (left > 1) sum += x.y * weights.at(index + 1);
            if (left > 2) sum += x.z * weights.at(index + 2);
            if (left > 3) sum += x.w * weights.at(index + 3);
        }
    }
    return sum;
}

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
"""#
