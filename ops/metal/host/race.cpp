// A small run of the tiled kernel with threads of the system, for ThreadSanitizer: build with -DTHREADS -fsanitize=thread.
#include <stdio.h>

#include "harness.cpp"

int main() {
    const UpsampleShape shape = {40, 9, 10, 80, 16, 8, 4, 2, 0, 0.1f, 0};
    float *x = (float *)calloc((size_t)(shape.channels_in * shape.frames), sizeof(float));
    float *y = (float *)calloc((size_t)(shape.channels_out * shape.samples), sizeof(float));
    float *weights = (float *)calloc((size_t)(3 * shape.kernel_size * shape.channels_in * 4), sizeof(float));
    float *bias = (float *)calloc(12, sizeof(float));
    const int groups[3] = {1, 1, 2};
    tiled_float(x, nullptr, y, weights, bias, &shape, groups, 1);
    printf("%g\n", (double)y[0]);
    return 0;
}
