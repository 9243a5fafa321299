// What a thread allocates, frees, retains, releases and locks while it is watched.
#ifndef VOXPORT_WATCH_H
#define VOXPORT_WATCH_H

#include <stdbool.h>
#include <stdint.h>

/// Whether anything can be seen here: on Linux, and beside no sanitizer, which has a malloc of its own.
bool watch_sees(void);
void watch_start(void);
void watch_stop(void);
uint64_t watch_allocations(void);
uint64_t watch_frees(void);
uint64_t watch_retains(void);
uint64_t watch_locks(void);

#endif
