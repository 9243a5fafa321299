// Runs the kernels of the .metal texts on the host, thread by thread of the GPU; called from Python (host/__init__.py).
//
// A threadgroup's threads are fibers that run one at a time, in another order at each barrier, drawn from a seed: what
// depends on an order that Metal does not promise shows as wrong numbers. Threadgroup memory starts as NaN. With
// -DTHREADS they are threads of the system, for ThreadSanitizer. No C++ library is needed, only C's.
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "upsample_texture.metal"
#include "upsample_buffer.metal"
#include "upsample_coreai.metal"

namespace {

struct Work {
    void (*run)(void *job, int thread);
    void *job;
    int threads;
};

#ifdef THREADS

// Two, in turns: ThreadSanitizer takes leaving a barrier as "after everything before an arrival there", and with one
// barrier a thread that leaves late would seem to be after the others' work up to their next arrival.
pthread_barrier_t group_barriers[2];
thread_local int barriers_passed;

struct Started {
    const Work *work;
    int index;
};

void *start(void *given) {
    Started *started = (Started *)given;
    barriers_passed = 0;
    started->work->run(started->work->job, started->index);
    return nullptr;
}

int run_group(const Work &work, unsigned) {
    pthread_t threads[1024];
    Started started[1024];
    for (pthread_barrier_t &barrier : group_barriers) pthread_barrier_init(&barrier, nullptr, (unsigned)work.threads);
    for (int i = 0; i < work.threads; ++i) {
        started[i] = {&work, i};
        pthread_create(&threads[i], nullptr, start, &started[i]);
    }
    for (int i = 0; i < work.threads; ++i) pthread_join(threads[i], nullptr);
    for (pthread_barrier_t &barrier : group_barriers) pthread_barrier_destroy(&barrier);
    return 0;
}

#else

constexpr int STACK = 64 << 10;
struct Fiber {
    ucontext_t context;
    char *stack;
    bool done, waits;
};
Fiber fibers[1024];
ucontext_t scheduler;
const Work *current_work;
int current;

void fiber_main() {
    current_work->run(current_work->job, current);
    fibers[current].done = true;
    swapcontext(&fibers[current].context, &scheduler);
}

// 0, or 1 where some threads of the group returned while others wait at a barrier.
int run_group(const Work &work, unsigned seed) {
    int order[1024];
    current_work = &work;
    for (int i = 0; i < work.threads; ++i) {
        Fiber &fiber = fibers[i];
        if (!fiber.stack) fiber.stack = (char *)malloc(STACK);
        fiber.done = false;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack;
        fiber.context.uc_stack.ss_size = STACK;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, fiber_main, 0);
        order[i] = i;
    }
    unsigned random = seed * 2654435761u + 1;
    for (;;) {
        for (int i = work.threads - 1; i > 0; --i) {
            random ^= random << 13, random ^= random >> 17, random ^= random << 5;
            const int j = (int)(random % (unsigned)(i + 1)), kept = order[i];
            order[i] = order[j], order[j] = kept;
        }
        int waiting = 0, ended = 0;
        for (int i = 0; i < work.threads; ++i) {
            Fiber &fiber = fibers[order[i]];
            if (fiber.done) {
                ++ended;
                continue;
            }
            current = order[i];
            fiber.waits = false;
            swapcontext(&scheduler, &fiber.context);
            if (fiber.waits) ++waiting;
            else ++ended;
        }
        if (!waiting) return 0;
        if (ended) return 1;
    }
}

#endif

template <typename T, typename V>
struct Tiled {
    const T *x, *condition;
    T *y;
    const V *weights;
    const float4 *bias;
    const UpsampleShape *shape;
    volatile float *tile;
    int group[3];

    static void run(void *given, int thread);
};

template <typename T, typename V>
void Tiled<T, V>::run(void *given, int thread) {
    Tiled *job = (Tiled *)given;
    const uint3_ in_group = {(uint)(thread % TILE_POSITIONS), (uint)(thread / TILE_POSITIONS), 0};
    const uint3_ group = {(uint)job->group[0], (uint)job->group[1], (uint)job->group[2]};
    upsample_tiled(job->x, job->condition, job->y, job->weights, job->bias, *job->shape, job->tile, in_group, group);
}

template <typename T, typename V>
int tiled(const T *x, const T *condition, T *y, const V *weights, const float *bias, const UpsampleShape *shape,
          const int *groups, unsigned seed) {
    const int size = TILE_CHANNELS * (TILE_POSITIONS + shape->taps - 1);
    float *tile = (float *)malloc(sizeof(float) * (size_t)size);
    int diverged = 0;
    for (int z = 0; z < groups[2]; ++z)
        for (int j = 0; j < groups[1]; ++j)
            for (int i = 0; i < groups[0]; ++i) {
                for (int e = 0; e < size; ++e) tile[e] = NAN;
                Tiled<T, V> job = {x, condition, y, weights, (const float4 *)bias, shape, tile, {i, j, z}};
                const Work work = {Tiled<T, V>::run, &job, TILE_POSITIONS * TILE_QUADS};
                diverged += run_group(work, seed + (unsigned)(i + 31 * j + 961 * z));
            }
    free(tile);
    return diverged;
}

}  // namespace

#ifdef THREADS
void metal::wait_for_the_group() { pthread_barrier_wait(&group_barriers[barriers_passed++ % 2]); }
#else
void metal::wait_for_the_group() {
    fibers[current].waits = true;
    swapcontext(&fibers[current].context, &scheduler);
}
#endif

// `wide`, `high`: threads of the grid; more than there are outputs, as dispatching whole threadgroups makes them.
// Those with textures or tensors return how often one was left.
template <typename T>
long tensors(T *x, T *condition, T *y, T *weights, T *bias, const UpsampleShape *shape, int wide, int high) {
    long strays = 0;
    const int quads = upsample_quads(shape->channels_out);
    const metal::tensor<T, 3> taken = {x, {shape->frames, shape->channels_in, 1}, &strays};
    const metal::tensor<T, 3> given = {condition, {1, shape->channels_in, 1}, &strays};
    const metal::tensor<T, 3> made = {y, {shape->samples, shape->channels_out, 1}, &strays};
    const metal::tensor<T, 2> w = {weights, {4, quads * shape->kernel_size * shape->channels_in, 1}, &strays};
    const metal::tensor<T, 1> b = {bias, {4 * quads, 1, 1}, &strays};
    for (int z = 0; z < high; ++z)
        for (int i = 0; i < wide; ++i)
            upsample_coreai<T>(taken, given, made, w, b, *shape, uint2_{(uint)i, (uint)z});
    return strays;
}

extern "C" {

long coreai_half(half *x, half *condition, half *y, half *weights, half *bias, const UpsampleShape *shape, int wide,
                 int high) {
    return tensors(x, condition, y, weights, bias, shape, wide, high);
}

long coreai_float(float *x, float *condition, float *y, float *weights, float *bias, const UpsampleShape *shape, int wide,
                  int high) {
    return tensors(x, condition, y, weights, bias, shape, wide, high);
}

long texture(half *x, half *condition, half *y, const half *weights, const float *bias, const UpsampleShape *shape,
             int wide, int high) {
    long strays = 0;
    const uint in = (uint)upsample_quads(shape->channels_in), out = (uint)upsample_quads(shape->channels_out);
    const metal::texture2d_array<half, metal::access::read> taken = {x, (uint)shape->frames, in, &strays};
    const metal::texture2d_array<half, metal::access::read> given = {condition, 1, in, &strays};
    const metal::texture2d_array<half, metal::access::write> made = {y, (uint)shape->samples, out, &strays};
    for (int z = 0; z < high; ++z)
        for (int i = 0; i < wide; ++i)
            upsample_texture(taken, given, made, (const half4_ *)weights, (const float4_ *)bias, *shape,
                             uint3_{(uint)i, 0, (uint)z});
    return strays;
}

void plain_half(const half *x, const half *condition, half *y, const half *weights, const float *bias,
                const UpsampleShape *shape, int wide, int high) {
    for (int z = 0; z < high; ++z)
        for (int i = 0; i < wide; ++i)
            upsample_plain_half(x, condition, y, (const half4_ *)weights, (const float4_ *)bias, *shape,
                                uint2_{(uint)i, (uint)z});
}

void plain_float(const float *x, const float *condition, float *y, const float *weights, const float *bias,
                 const UpsampleShape *shape, int wide, int high) {
    for (int z = 0; z < high; ++z)
        for (int i = 0; i < wide; ++i)
            upsample_plain_float(x, condition, y, (const float4_ *)weights, (const float4_ *)bias, *shape,
                                 uint2_{(uint)i, (uint)z});
}

int tiled_half(const half *x, const half *condition, half *y, const half *weights, const float *bias,
               const UpsampleShape *shape, const int *groups, unsigned seed) {
    return tiled(x, condition, y, (const half4_ *)weights, bias, shape, groups, seed);
}

int tiled_float(const float *x, const float *condition, float *y, const float *weights, const float *bias,
                const UpsampleShape *shape, const int *groups, unsigned seed) {
    return tiled(x, condition, y, (const float4_ *)weights, bias, shape, groups, seed);
}
}
