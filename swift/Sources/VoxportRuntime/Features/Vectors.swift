#if canImport(Accelerate)
    import Accelerate
#endif

// Arithmetic on vectors: by vDSP where it is.

/// Writes the products of two vectors' elements.
#if hasAttribute(_noAllocation)
    @_noAllocation@_noLocks
#endif
@inline(__always) func multiply(
    _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, into products: UnsafeMutablePointer<Float>, count: Int
) {
    #if canImport(Accelerate)
        _unsafePerformance { vDSP_vmul(a, 1, b, 1, products, 1, vDSP_Length(count)) }
    #else
        for index in 0..<count { products[index] = a[index] * b[index] }
    #endif
}

/// The sum of the products of two vectors' elements.
#if hasAttribute(_noAllocation)
    @_noAllocation@_noLocks
#endif
@inline(__always) func dot(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, count: Int) -> Float {
    var sum: Float = 0
    #if canImport(Accelerate)
        _unsafePerformance { vDSP_dotpr(a, 1, b, 1, &sum, vDSP_Length(count)) }
    #else
        for index in 0..<count { sum += a[index] * b[index] }
    #endif
    return sum
}

#if canImport(Accelerate)
    /// The spectrum of real samples by vDSP, for the sizes that it has: powers of two.
    struct VectorFFT {
        private let half: Int
        private let log2: vDSP_Length
        private let setup: FFTSetup
        private let real: UnsafeMutablePointer<Float>
        private let imaginary: UnsafeMutablePointer<Float>

        /// nil for other sizes.
        init?(size: Int) {
            guard size >= 16, size & (size - 1) == 0 else { return nil }
            log2 = vDSP_Length(size.trailingZeroBitCount)
            guard let setup = vDSP_create_fftsetup(log2, FFTRadix(kFFTRadix2)) else { return nil }
            self.setup = setup
            half = size / 2
            real = .allocate(capacity: half)
            imaginary = .allocate(capacity: half)
        }

        func deallocate() {
            vDSP_destroy_fftsetup(setup)
            real.deallocate()
            imaginary.deallocate()
        }

        /// Writes |X[k]|² of the samples for k from 0 to half of them.
        #if hasAttribute(_noAllocation)
            @_noAllocation@_noLocks
        #endif
        func power(of samples: UnsafePointer<Float>, into power: UnsafeMutablePointer<Float>) {
            _unsafePerformance {
                var split = DSPSplitComplex(realp: real, imagp: imaginary)
                // Even samples as real parts, odd ones as imaginary ones: vDSP counts this step in floats.
                samples.withMemoryRebound(to: DSPComplex.self, capacity: half) {
                    vDSP_ctoz($0, 2, &split, 1, vDSP_Length(half))
                }
                vDSP_fft_zrip(setup, &split, 1, log2, FFTDirection(kFFTDirection_Forward))
                // Both ends are real, and the upper one lies where the lower one has no imaginary part.
                let nyquist = imaginary[0]
                imaginary[0] = 0
                vDSP_zvmags(&split, 1, power, 1, vDSP_Length(half))
                power[half] = nyquist * nyquist
                // vDSP's real transform is twice the spectrum.
                var quarter: Float = 0.25
                vDSP_vsmul(power, 1, &quarter, power, 1, vDSP_Length(half + 1))
            }
        }
    }
#endif
