#define _GNU_SOURCE
#include "watch.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>

#if defined(__linux__) && !(defined(__has_feature) && (__has_feature(thread_sanitizer) || __has_feature(address_sanitizer)))
#define SEES 1
#else
#define SEES 0
#endif

static _Thread_local bool is_on;
static _Thread_local uint64_t allocations, frees, retains, locks;

bool watch_sees(void) { return SEES; }

void watch_start(void) {
    allocations = frees = retains = locks = 0;
    is_on = true;
}

void watch_stop(void) { is_on = false; }
uint64_t watch_allocations(void) { return allocations; }
uint64_t watch_frees(void) { return frees; }
uint64_t watch_retains(void) { return retains; }
uint64_t watch_locks(void) { return locks; }

#if SEES
// The program's own functions come before those of its libraries, which call these too. glibc's are known by a second
// name; of the others the next one is asked for.
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *pointer, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *pointer);

void *malloc(size_t size) {
    if (is_on) allocations++;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    if (is_on) allocations++;
    return __libc_calloc(count, size);
}

void *realloc(void *pointer, size_t size) {
    if (is_on) allocations++;
    return __libc_realloc(pointer, size);
}

int posix_memalign(void **pointer, size_t alignment, size_t size) {
    if (is_on) allocations++;
    *pointer = __libc_memalign(alignment, size);
    return *pointer ? 0 : ENOMEM;
}

void *aligned_alloc(size_t alignment, size_t size) {
    if (is_on) allocations++;
    return __libc_memalign(alignment, size);
}

void free(void *pointer) {
    if (is_on && pointer) frees++;
    __libc_free(pointer);
}

void *swift_retain(void *object) {
    static void *(*next)(void *);
    if (!next) next = dlsym(RTLD_NEXT, "swift_retain");
    if (is_on) retains++;
    return next(object);
}

void swift_release(void *object) {
    static void (*next)(void *);
    if (!next) next = dlsym(RTLD_NEXT, "swift_release");
    if (is_on) retains++;
    next(object);
}

int pthread_mutex_lock(pthread_mutex_t *mutex) {
    static int (*next)(pthread_mutex_t *);
    if (!next) next = dlsym(RTLD_NEXT, "pthread_mutex_lock");
    if (is_on) locks++;
    return next(mutex);
}
#endif
