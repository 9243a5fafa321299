import Foundation

/// The spectrum of `size` real samples, `size` being even: fast for the factors 2, 3, 4 and 5, right for any.
///
/// vDSP has no transform of 400 or 800 samples, which speaker encoders take; so this one is needed on a Mac too, where
/// vDSP makes those of powers of two. The memory is made once and handed back by `deallocate`: a structure of pointers retains nothing in a real-time thread.
struct RealFFT {
    let size: Int
    private let half: Int
    private let stageCount: Int
    private let stages: UnsafeMutablePointer<Stage>
    /// e^(-2 pi i k / size), to part the spectrum of the even samples from that of the odd ones.
    private let untangling: UnsafeMutablePointer<Complex>
    private let first: UnsafeMutablePointer<Complex>
    private let second: UnsafeMutablePointer<Complex>
    #if canImport(Accelerate)
        private let fast: VectorFFT?
    #endif

    private struct Complex {
        var re: Float
        var im: Float

        @inline(__always) static func + (a: Complex, b: Complex) -> Complex {
            Complex(re: a.re + b.re, im: a.im + b.im)
        }
        @inline(__always) static func - (a: Complex, b: Complex) -> Complex {
            Complex(re: a.re - b.re, im: a.im - b.im)
        }
        @inline(__always) static func * (a: Complex, b: Complex) -> Complex {
            Complex(re: a.re * b.re - a.im * b.im, im: a.re * b.im + a.im * b.re)
        }
        /// -i times the number.
        @inline(__always) var turned: Complex { Complex(re: im, im: -re) }

        /// e^(-2 pi i numerator / denominator), rounded once.
        static func root(_ numerator: Int, _ denominator: Int) -> Complex {
            let angle = -2 * Double.pi * Double(numerator) / Double(denominator)
            return Complex(re: Float(cos(angle)), im: Float(sin(angle)))
        }
    }

    /// Transforms of `radix` numbers, `count` apart, in each of `stride` interleaved sequences.
    private struct Stage {
        let radix: Int
        let count: Int
        let stride: Int
        /// (p, k), p below `count`, k from 1 to `radix` - 1.
        let twiddles: UnsafeMutablePointer<Complex>
        /// The roots of unity of `radix`.
        let roots: UnsafeMutablePointer<Complex>
    }

    init(size: Int) {
        precondition(size >= 2 && size.isMultiple(of: 2), "a transform of \(size) real samples")
        self.size = size
        half = size / 2
        let radices = Self.factors(of: half)
        stageCount = radices.count
        stages = .allocate(capacity: max(radices.count, 1))
        var remaining = half
        for (index, radix) in radices.enumerated() {
            let count = remaining / radix
            let twiddles = UnsafeMutablePointer<Complex>.allocate(capacity: max(count * (radix - 1), 1))
            for p in 0..<count {
                for k in 1..<radix { (twiddles + p * (radix - 1) + k - 1).initialize(to: .root(p * k, remaining)) }
            }
            let roots = UnsafeMutablePointer<Complex>.allocate(capacity: radix)
            for k in 0..<radix { (roots + k).initialize(to: .root(k, radix)) }
            (stages + index).initialize(
                to: Stage(radix: radix, count: count, stride: half / remaining, twiddles: twiddles, roots: roots))
            remaining = count
        }
        untangling = .allocate(capacity: half + 1)
        for k in 0...half { (untangling + k).initialize(to: .root(k, size)) }
        first = .allocate(capacity: half)
        second = .allocate(capacity: half)
        first.initialize(repeating: Complex(re: 0, im: 0), count: half)
        second.initialize(repeating: Complex(re: 0, im: 0), count: half)
        #if canImport(Accelerate)
            fast = VectorFFT(size: size)
        #endif
    }

    func deallocate() {
        #if canImport(Accelerate)
            fast?.deallocate()
        #endif
        for index in 0..<stageCount {
            stages[index].twiddles.deallocate()
            stages[index].roots.deallocate()
        }
        stages.deallocate()
        untangling.deallocate()
        first.deallocate()
        second.deallocate()
    }

    private static func factors(of number: Int) -> [Int] {
        var remaining = number
        var factors: [Int] = []
        for factor in [4, 2, 3, 5] {
            while remaining.isMultiple(of: factor) {
                factors.append(factor)
                remaining /= factor
            }
        }
        var factor = 7
        while remaining > 1 {
            if remaining.isMultiple(of: factor) {
                factors.append(factor)
                remaining /= factor
            } else {
                factor += 2
            }
        }
        return factors
    }

    /// Writes |X[k]|² of the samples for k from 0 to `size` / 2.
    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    func power(of samples: UnsafePointer<Float>, into power: UnsafeMutablePointer<Float>) {
        #if canImport(Accelerate)
            if let fast {
                fast.power(of: samples, into: power)
                return
            }
        #endif
        // The even samples as real parts and the odd ones as imaginary ones: half a transform is enough.
        for k in 0..<half { first[k] = Complex(re: samples[2 * k], im: samples[2 * k + 1]) }
        var from = first
        var to = second
        for index in 0..<stageCount {
            let stage = stages[index]
            switch stage.radix {
            case 2: Self.pass2(stage, from, to)
            case 4: Self.pass4(stage, from, to)
            default: Self.pass(stage, from, to)
            }
            let filled = to
            to = from
            from = filled
        }
        let edge = from[0]
        power[0] = (edge.re + edge.im) * (edge.re + edge.im)
        power[half] = (edge.re - edge.im) * (edge.re - edge.im)
        var k = 1
        while k < half {
            let here = from[k]
            let mirrored = Complex(re: from[half - k].re, im: -from[half - k].im)
            let sum = here + mirrored
            let difference = (here - mirrored).turned * untangling[k]
            let re = 0.5 * (sum.re + difference.re)
            let im = 0.5 * (sum.im + difference.im)
            power[k] = re * re + im * im
            k += 1
        }
    }

    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    @inline(__always) private static func pass2(
        _ stage: Stage, _ from: UnsafeMutablePointer<Complex>, _ to: UnsafeMutablePointer<Complex>
    ) {
        let stride = stage.stride
        for p in 0..<stage.count {
            let twiddle = stage.twiddles[p]
            let a = from + stride * p
            let b = a + stride * stage.count
            let out = to + 2 * stride * p
            for q in 0..<stride {
                out[q] = a[q] + b[q]
                out[q + stride] = (a[q] - b[q]) * twiddle
            }
        }
    }

    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    @inline(__always) private static func pass4(
        _ stage: Stage, _ from: UnsafeMutablePointer<Complex>, _ to: UnsafeMutablePointer<Complex>
    ) {
        let stride = stage.stride
        let step = stride * stage.count
        for p in 0..<stage.count {
            let twiddles = stage.twiddles + 3 * p
            let a = from + stride * p
            let out = to + 4 * stride * p
            for q in 0..<stride {
                let even = a[q] + a[q + 2 * step]
                let evenLess = a[q] - a[q + 2 * step]
                let odd = a[q + step] + a[q + 3 * step]
                let oddLess = (a[q + step] - a[q + 3 * step]).turned
                out[q] = even + odd
                out[q + stride] = (evenLess + oddLess) * twiddles[0]
                out[q + 2 * stride] = (even - odd) * twiddles[1]
                out[q + 3 * stride] = (evenLess - oddLess) * twiddles[2]
            }
        }
    }

    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    private static func pass(
        _ stage: Stage, _ from: UnsafeMutablePointer<Complex>, _ to: UnsafeMutablePointer<Complex>
    ) {
        let stride = stage.stride
        let step = stride * stage.count
        let radix = stage.radix
        for p in 0..<stage.count {
            let twiddles = stage.twiddles + (radix - 1) * p
            let a = from + stride * p
            let out = to + radix * stride * p
            for q in 0..<stride {
                var k = 0
                while k < radix {
                    var sum = a[q]
                    var turn = k
                    var j = 1
                    while j < radix {
                        sum = sum + a[q + j * step] * stage.roots[turn]
                        turn += k
                        if turn >= radix { turn -= radix }
                        j += 1
                    }
                    out[q + k * stride] = k == 0 ? sum : sum * twiddles[k - 1]
                    k += 1
                }
            }
        }
    }
}
