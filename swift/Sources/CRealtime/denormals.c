#include "realtime.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

// Flush-to-zero and denormals-are-zero of MXCSR; FZ of FPCR.
uint64_t vx_denormals_off(void) {
#if defined(__x86_64__)
    uint64_t before = _mm_getcsr();
    _mm_setcsr((unsigned)before | 0x8040);
    return before;
#elif defined(__aarch64__)
    uint64_t before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" ::"r"(before | (1ull << 24)));
    return before;
#else
    return 0;
#endif
}

void vx_denormals_restore(uint64_t before) {
#if defined(__x86_64__)
    _mm_setcsr((unsigned)before);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" ::"r"(before));
#else
    (void)before;
#endif
}
