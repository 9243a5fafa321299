#include "Accelerate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct OpaqueFFTSetup {
    vDSP_Length log2n;
    double *re, *im;
    double *roots;
};

static void demand(int is_so, const char *what) {
    if (is_so) return;
    fprintf(stderr, "Accelerate: %s\n", what);
    abort();
}

FFTSetup vDSP_create_fftsetup(vDSP_Length log2n, FFTRadix radix) {
    demand(radix == kFFTRadix2 && log2n >= 2 && log2n <= 20, "a setup that is not made here");
    size_t n = (size_t)1 << log2n;
    FFTSetup setup = malloc(sizeof *setup);
    setup->log2n = log2n;
    setup->re = malloc(2 * n * sizeof(double));
    setup->im = malloc(2 * n * sizeof(double));
    setup->roots = malloc(2 * n * sizeof(double));
    for (size_t k = 0; k < n; k++) {
        setup->roots[2 * k] = cos(2 * M_PI * (double)k / (double)n);
        setup->roots[2 * k + 1] = -sin(2 * M_PI * (double)k / (double)n);
    }
    return setup;
}

void vDSP_destroy_fftsetup(FFTSetup setup) {
    if (!setup) return;
    free(setup->re);
    free(setup->im);
    free(setup->roots);
    free(setup);
}

void vDSP_ctoz(const DSPComplex *c, vDSP_Stride ic, const DSPSplitComplex *z, vDSP_Stride iz, vDSP_Length n) {
    demand(ic % 2 == 0, "the step of complex numbers counts floats: it is even");
    for (vDSP_Length i = 0; i < n; i++) {
        const float *pair = (const float *)c + (vDSP_Stride)i * ic;
        z->realp[(vDSP_Stride)i * iz] = pair[0];
        z->imagp[(vDSP_Stride)i * iz] = pair[1];
    }
}

// Cooley and Tukey: the spectra of the even and the odd values, `step` apart, written behind `at`.
static void transform(FFTSetup setup, const double *x, size_t n, size_t step, size_t at) {
    if (n == 1) {
        setup->re[at] = x[0];
        setup->im[at] = 0;
        return;
    }
    transform(setup, x, n / 2, 2 * step, at);
    transform(setup, x + step, n / 2, 2 * step, at + n / 2);
    for (size_t k = 0; k < n / 2; k++) {
        double cosine = setup->roots[2 * k * step], sine = setup->roots[2 * k * step + 1];
        double re = setup->re[at + n / 2 + k], im = setup->im[at + n / 2 + k];
        double turned_re = re * cosine - im * sine, turned_im = re * sine + im * cosine;
        setup->re[at + n / 2 + k] = setup->re[at + k] - turned_re;
        setup->im[at + n / 2 + k] = setup->im[at + k] - turned_im;
        setup->re[at + k] += turned_re;
        setup->im[at + k] += turned_im;
    }
}

void vDSP_fft_zrip(FFTSetup setup, const DSPSplitComplex *c, vDSP_Stride ic, vDSP_Length log2n, FFTDirection direction) {
    demand(direction == kFFTDirection_Forward && ic == 1 && log2n == setup->log2n, "a transform that is not made here");
    size_t n = (size_t)1 << log2n;
    double *x = setup->re + n;  // the upper half is room for the samples
    for (size_t i = 0; i < n / 2; i++) {
        x[2 * i] = c->realp[i];
        x[2 * i + 1] = c->imagp[i];
    }
    transform(setup, x, n, 1, 0);
    for (size_t k = 0; k < n / 2; k++) {
        c->realp[k] = (float)(2 * setup->re[k]);
        c->imagp[k] = (float)(2 * (k ? setup->im[k] : setup->re[n / 2]));
    }
}

void vDSP_zvmags(const DSPSplitComplex *a, vDSP_Stride ia, float *c, vDSP_Stride ic, vDSP_Length n) {
    for (vDSP_Stride i = 0; i < (vDSP_Stride)n; i++) {
        c[i * ic] = a->realp[i * ia] * a->realp[i * ia] + a->imagp[i * ia] * a->imagp[i * ia];
    }
}

void vDSP_vmul(const float *a, vDSP_Stride ia, const float *b, vDSP_Stride ib, float *c, vDSP_Stride ic, vDSP_Length n) {
    for (vDSP_Stride i = 0; i < (vDSP_Stride)n; i++) c[i * ic] = a[i * ia] * b[i * ib];
}

void vDSP_vsmul(const float *a, vDSP_Stride ia, const float *b, float *c, vDSP_Stride ic, vDSP_Length n) {
    for (vDSP_Stride i = 0; i < (vDSP_Stride)n; i++) c[i * ic] = a[i * ia] * *b;
}

void vDSP_dotpr(const float *a, vDSP_Stride ia, const float *b, vDSP_Stride ib, float *c, vDSP_Length n) {
    // Four sums, as a vector's lanes are: another order than one loop has.
    float sums[4] = {0, 0, 0, 0};
    for (vDSP_Stride i = 0; i < (vDSP_Stride)n; i++) sums[i % 4] += a[i * ia] * b[i * ib];
    *c = (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

void cblas_sgemm(CBLAS_ORDER order, CBLAS_TRANSPOSE transA, CBLAS_TRANSPOSE transB, int m, int n, int k, float alpha,
                 const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc) {
    demand(order == CblasRowMajor, "rows come first here");
    demand(lda >= (transA == CblasTrans ? m : k) && ldb >= (transB == CblasTrans ? k : n) && ldc >= n, "a row too short");
    for (int row = 0; row < m; row++) {
        for (int column = 0; column < n; column++) {
            double sum = 0;
            for (int i = 0; i < k; i++) {
                double left = transA == CblasTrans ? a[i * lda + row] : a[row * lda + i];
                sum += left * (transB == CblasTrans ? b[column * ldb + i] : b[i * ldb + column]);
            }
            float *target = c + row * ldc + column;
            *target = (float)(alpha * sum + (beta == 0 ? 0 : beta * *target));
        }
    }
}
