// Stands in for Apple's Accelerate where there is none: the functions that voxport calls, written plainly by Apple's
// documentation of them (vDSP Programming Guide, "Packing for One-Dimensional Arrays" and "Scaling Fourier Transforms").
// What they are called with that the documentation does not allow ends the program.
#ifndef VOXPORT_FAKE_ACCELERATE_H
#define VOXPORT_FAKE_ACCELERATE_H

#pragma clang assume_nonnull begin

typedef unsigned long vDSP_Length;
typedef long vDSP_Stride;
typedef int FFTDirection;
typedef int FFTRadix;
typedef struct { float real, imag; } DSPComplex;
typedef struct { float *realp, *imagp; } DSPSplitComplex;
typedef struct OpaqueFFTSetup *FFTSetup;
enum { kFFTDirection_Forward = 1, kFFTDirection_Inverse = -1 };
enum { kFFTRadix2 = 0, kFFTRadix3 = 1, kFFTRadix5 = 2 };

FFTSetup _Nullable vDSP_create_fftsetup(vDSP_Length log2n, FFTRadix radix);
void vDSP_destroy_fftsetup(FFTSetup _Nullable setup);
/// Pairs to planes; the step of the pairs counts floats.
void vDSP_ctoz(const DSPComplex *c, vDSP_Stride ic, const DSPSplitComplex *z, vDSP_Stride iz, vDSP_Length n);
/// A real transform in place: twice the spectrum, the real value of the Nyquist frequency in imagp[0].
void vDSP_fft_zrip(FFTSetup setup, const DSPSplitComplex *c, vDSP_Stride ic, vDSP_Length log2n, FFTDirection direction);
void vDSP_zvmags(const DSPSplitComplex *a, vDSP_Stride ia, float *c, vDSP_Stride ic, vDSP_Length n);
void vDSP_vmul(const float *a, vDSP_Stride ia, const float *b, vDSP_Stride ib, float *c, vDSP_Stride ic, vDSP_Length n);
void vDSP_vsmul(const float *a, vDSP_Stride ia, const float *b, float *c, vDSP_Stride ic, vDSP_Length n);
void vDSP_dotpr(const float *a, vDSP_Stride ia, const float *b, vDSP_Stride ib, float *c, vDSP_Length n);

typedef enum CBLAS_ORDER { CblasRowMajor = 101, CblasColMajor = 102 } CBLAS_ORDER;
typedef enum CBLAS_TRANSPOSE { CblasNoTrans = 111, CblasTrans = 112 } CBLAS_TRANSPOSE;
/// C = alpha op(A) op(B) + beta C, op(A) being (m, k).
void cblas_sgemm(CBLAS_ORDER order, CBLAS_TRANSPOSE transA, CBLAS_TRANSPOSE transB, int m, int n, int k, float alpha,
                 const float *_Nullable a, int lda, const float *_Nullable b, int ldb, float beta, float *_Nullable c, int ldc);

#pragma clang assume_nonnull end

#endif
