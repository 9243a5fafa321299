// The Core AI form: tensors for arrays, x (1, C, T), condition (1, C, 1), y (1, D, samples), weights (quads * K * C, 4) and
// bias (4 * quads,). A tensor's indices run innermost first. Core AI writes the kernel's signature around a call of this.
#include <metal_stdlib>
#include "upsample_core.h"
using namespace metal;

template <typename X, typename Condition>
struct TensorInput {
    X x;
    Condition condition;  // not read without has_condition
    UpsampleShape shape;

    float channel(int index, int position) const {
        if (index >= shape.channels_in) return 0.0f;
        float v = float(x[position, index, 0]);
        if (shape.has_condition) v += float(condition[0, index, 0]);
        return upsample_activation(v, shape.slope);
    }
    float4 at(int quad, int position) const {
        return float4(channel(4 * quad, position), channel(4 * quad + 1, position), channel(4 * quad + 2, position),
                      channel(4 * quad + 3, position));
    }
};

template <typename W>
struct TensorWeights {
    W w;
    float4 at(int index) const {
        return float4(float(w[0, index]), float(w[1, index]), float(w[2, index]), float(w[3, index]));
    }
};

// One thread: four output channels of one output sample. T is the element type of y.
template <typename T, typename X, typename Condition, typename Y, typename W, typename B>
inline void upsample_coreai(X x, Condition condition, Y y, W weights, B bias, UpsampleShape shape, uint2 thread_at) {
    if (int(thread_at.x) >= shape.samples || int(thread_at.y) >= upsample_quads(shape.channels_out)) return;
    const TensorInput<X, Condition> input = {x, condition, shape};
    const TensorWeights<W> w = {weights};
    const int sample = int(thread_at.x), quad = int(thread_at.y), first = 4 * quad;
    const int left = shape.channels_out - first;
    const float4 b = float4(float(bias[first]), float(bias[first + 1]), float(bias[first + 2]), float(bias[first + 3]));
    const float4 sum = upsample_sum(input, w, b, sample, quad, shape);
    y[sample, first, 0] = T(sum.x);
    if (left > 1) y[sample, first + 1, 0] = T(sum.y);
    if (left > 2) y[sample, first + 2, 0] = T(sum.z);
    if (left > 3) y[sample, first + 3, 0] = T(sum.w);
}
