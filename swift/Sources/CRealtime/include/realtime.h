// What Swift has no words for: a ring between two threads, and how a processor treats denormal numbers.
#ifndef VOXPORT_REALTIME_H
#define VOXPORT_REALTIME_H

#include <stddef.h>
#include <stdint.h>

/// Samples between one writing and one reading thread. Neither waits for the other, and neither allocates.
///
/// Swift does not import a structure with atomic members, and its own atomics are refused where locks are: so it is
/// opaque here.
typedef struct vx_ring vx_ring;

/// A ring for `at_least` samples, rounded up to a power of two. NULL where there is no memory.
vx_ring *vx_ring_new(size_t at_least);
void vx_ring_free(vx_ring *ring);

size_t vx_ring_capacity(const vx_ring *ring);
/// Samples written in all.
uint64_t vx_ring_written(const vx_ring *ring);
/// Samples taken in all: read or dropped.
uint64_t vx_ring_taken(const vx_ring *ring);

/// Writes the samples that find room. Returns how many did. The writing thread calls it.
size_t vx_ring_write(vx_ring *ring, const float *from, size_t count);
/// Reads as many as there are, `count` at most. Returns how many that was. The reading thread calls it.
size_t vx_ring_read(vx_ring *ring, float *into, size_t count);
/// Passes over the oldest samples. The reading thread calls it.
void vx_ring_drop(vx_ring *ring, size_t count);

/// Counters that one thread adds to and others read.
typedef struct vx_counters vx_counters;

vx_counters *vx_counters_new(size_t count);
void vx_counters_free(vx_counters *counters);
void vx_counters_add(vx_counters *counters, size_t index, int64_t amount);
int64_t vx_counters_get(const vx_counters *counters, size_t index);
/// Makes a counter what it was, or more: a peak.
void vx_counters_raise(vx_counters *counters, size_t index, int64_t least);
/// Returns a counter and begins anew with 0.
int64_t vx_counters_take(vx_counters *counters, size_t index);

/// Makes this thread take denormal numbers for zero. Returns what `vx_denormals_restore` wants.
uint64_t vx_denormals_off(void);
void vx_denormals_restore(uint64_t before);

#endif
