#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "realtime.h"

// The two ends lie in lines of the cache of their own, or each write of one would slow down the other.
#define LINE 128

struct vx_ring {
    _Alignas(LINE) _Atomic uint64_t written;
    _Alignas(LINE) _Atomic uint64_t taken;
    _Alignas(LINE) float *samples;
    uint64_t mask;
};

vx_ring *vx_ring_new(size_t at_least) {
    size_t capacity = 16;
    while (capacity < at_least) capacity <<= 1;
    vx_ring *ring = NULL;
    if (posix_memalign((void **)&ring, LINE, sizeof *ring)) return NULL;
    ring->samples = calloc(capacity, sizeof(float));
    if (!ring->samples) {
        free(ring);
        return NULL;
    }
    ring->mask = capacity - 1;
    atomic_init(&ring->written, 0);
    atomic_init(&ring->taken, 0);
    return ring;
}

void vx_ring_free(vx_ring *ring) {
    if (!ring) return;
    free(ring->samples);
    free(ring);
}

size_t vx_ring_capacity(const vx_ring *ring) { return (size_t)(ring->mask + 1); }

uint64_t vx_ring_written(const vx_ring *ring) { return atomic_load_explicit(&ring->written, memory_order_acquire); }

uint64_t vx_ring_taken(const vx_ring *ring) { return atomic_load_explicit(&ring->taken, memory_order_acquire); }

// A thread reads its own end relaxed and the other's with acquire, and moves its own with release: so samples are
// there before the end says so, and are left alone until the end says so.
size_t vx_ring_write(vx_ring *ring, const float *from, size_t count) {
    uint64_t written = atomic_load_explicit(&ring->written, memory_order_relaxed);
    uint64_t taken = atomic_load_explicit(&ring->taken, memory_order_acquire);
    size_t capacity = vx_ring_capacity(ring), room = capacity - (size_t)(written - taken);
    if (count > room) count = room;
    size_t at = (size_t)(written & ring->mask), first = capacity - at;
    if (first > count) first = count;
    memcpy(ring->samples + at, from, first * sizeof(float));
    memcpy(ring->samples, from + first, (count - first) * sizeof(float));
    atomic_store_explicit(&ring->written, written + count, memory_order_release);
    return count;
}

size_t vx_ring_read(vx_ring *ring, float *into, size_t count) {
    uint64_t taken = atomic_load_explicit(&ring->taken, memory_order_relaxed);
    uint64_t written = atomic_load_explicit(&ring->written, memory_order_acquire);
    size_t waiting = (size_t)(written - taken);
    if (count > waiting) count = waiting;
    size_t at = (size_t)(taken & ring->mask), first = vx_ring_capacity(ring) - at;
    if (first > count) first = count;
    memcpy(into, ring->samples + at, first * sizeof(float));
    memcpy(into + first, ring->samples, (count - first) * sizeof(float));
    atomic_store_explicit(&ring->taken, taken + count, memory_order_release);
    return count;
}

void vx_ring_drop(vx_ring *ring, size_t count) {
    uint64_t taken = atomic_load_explicit(&ring->taken, memory_order_relaxed);
    uint64_t written = atomic_load_explicit(&ring->written, memory_order_acquire);
    size_t waiting = (size_t)(written - taken);
    if (count > waiting) count = waiting;
    atomic_store_explicit(&ring->taken, taken + count, memory_order_release);
}

struct vx_counters {
    size_t count;
    _Atomic int64_t values[];
};

vx_counters *vx_counters_new(size_t count) {
    vx_counters *counters = malloc(sizeof *counters + count * sizeof(_Atomic int64_t));
    if (!counters) return NULL;
    counters->count = count;
    for (size_t index = 0; index < count; index++) atomic_init(&counters->values[index], 0);
    return counters;
}

void vx_counters_free(vx_counters *counters) { free(counters); }

// With release and acquire: who sees a counter sees what its thread did before.
void vx_counters_add(vx_counters *counters, size_t index, int64_t amount) {
    if (index < counters->count) atomic_fetch_add_explicit(&counters->values[index], amount, memory_order_release);
}

int64_t vx_counters_get(const vx_counters *counters, size_t index) {
    return index < counters->count ? atomic_load_explicit(&counters->values[index], memory_order_acquire) : 0;
}

void vx_counters_raise(vx_counters *counters, size_t index, int64_t least) {
    if (index >= counters->count) return;
    int64_t now = atomic_load_explicit(&counters->values[index], memory_order_relaxed);
    while (now < least && !atomic_compare_exchange_weak_explicit(&counters->values[index], &now, least,
                                                                  memory_order_release, memory_order_relaxed)) {
    }
}

int64_t vx_counters_take(vx_counters *counters, size_t index) {
    return index < counters->count ? atomic_exchange_explicit(&counters->values[index], 0, memory_order_acq_rel) : 0;
}
