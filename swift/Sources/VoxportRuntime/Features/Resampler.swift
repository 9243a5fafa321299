import Foundation

/// Another sample rate, block by block, without a seam. Equal rates pass through.
///
/// A windowed sinc (Kaiser's window; Oppenheim and Schafer, Discrete-Time Signal Processing, 7.6) in as many phases as the rates' ratio has. What comes out does not depend on how the audio was cut
/// into blocks, to the last bit: each output sample is one sum over its own span of the input. The filter's delay is
/// taken off, so that a sample stands for the same moment on both sides; ``delay`` says how long it is waited for.
public final class Resampler {
    /// How steep the filter is, which is how long it is waited for.
    public enum Quality: Sendable {
        /// For recordings: 0 to 0.91 of the lower Nyquist frequency pass, from that frequency on it is 100 dB down.
        case high
        /// For live audio, Python's `PromptStream`: 0 to 0.9 of it pass, from 1.1 of it on it is 80 dB down. Between 22.05
        /// and 48 kHz it waits for 1.2 ms of input, and aliases come down to 9.9 kHz.
        case prompt

        /// Of the lower rate's band: where the transition begins, and where it ends.
        fileprivate var transition: ClosedRange<Double> { self == .high ? 0.91...1 : 0.9...1.1 }
        fileprivate var attenuation: Double { self == .high ? 110 : 80 }
    }

    public let rateIn: Int
    public let rateOut: Int
    private let up: Int
    private let down: Int
    /// Samples of the input before and after an output's moment that it is made of.
    private let reach: Int
    private let kernel: ResamplerKernel
    /// The input from `first` on; zeros stand before the audio.
    private var held: [Float] = []
    private var first = 0
    private var next = 0
    private var hasEnded = false

    private static let mostTaps = 8_000_000

    /// Throws ``VoxportError/audio(_:)`` for rates whose ratio is of such numbers that a filter would be too large.
    public init(from rateIn: Int, to rateOut: Int, quality: Quality = .high) throws {
        guard rateIn > 0, rateOut > 0 else {
            throw VoxportError.audio("a sample rate must be positive, got \(rateIn) and \(rateOut)")
        }
        self.rateIn = rateIn
        self.rateOut = rateOut
        let divisor = greatestDivisor(rateIn, rateOut)
        up = rateOut / divisor
        down = rateIn / divisor
        guard up != down else {
            reach = 0
            kernel = ResamplerKernel(taps: [], up: 1, down: 1, reach: 0)
            return
        }
        // Of the lower rate's band, in cycles of an input sample: a Kaiser window's length follows from the transition.
        let band = 0.5 * min(1, Double(up) / Double(down))
        let edges = quality.transition
        let width = 2 * Double.pi * band * (edges.upperBound - edges.lowerBound)
        let length = (quality.attenuation - 7.95) / (2.285 * width)
        reach = Int((length / 2).rounded(.up))
        guard 2 * reach * up <= Self.mostTaps else {
            throw VoxportError.audio("\(rateIn) to \(rateOut) Hz is a ratio of \(up) to \(down): resample in two steps")
        }
        let taps = Self.filter(
            up: up, reach: reach, cutoff: band * (edges.lowerBound + edges.upperBound) / 2,
            attenuation: quality.attenuation)
        kernel = ResamplerKernel(taps: taps, up: up, down: down, reach: reach)
        reset()
    }

    deinit { kernel.deallocate() }

    /// Seconds that output lags behind input at most.
    public var delay: Double { Double(reach) / Double(rateIn) }

    /// Begins anew: the next sample is the first.
    public func reset() {
        held = Array(repeating: 0, count: max(reach - 1, 0))
        first = -held.count
        next = 0
        hasEnded = false
    }

    /// Takes the next samples. Returns those that they complete.
    ///
    /// Throws ``VoxportError/stream(_:)`` after ``flush()``.
    public func push(_ samples: [Float]) throws -> [Float] {
        if hasEnded { throw VoxportError.stream("the audio has ended: reset() begins anew") }
        guard up != down else { return samples }
        held += samples
        let end = first + held.count
        // Output n stands for n * down / up of the input and takes `reach` samples behind that.
        let last = ((end - reach) * up + down - 1) / down
        return complete(until: max(last, next))
    }

    /// Ends the audio. Returns the samples that are left, in all as many as the audio is long at the new rate, rounded.
    public func flush() -> [Float] {
        guard up != down, !hasEnded else { return [] }
        hasEnded = true
        let end = first + held.count
        held += [Float](repeating: 0, count: reach + 1)
        return complete(until: (2 * end * up + down) / (2 * down))
    }

    private func complete(until last: Int) -> [Float] {
        guard last > next else { return [] }
        let outputs = [Float](unsafeUninitializedCapacity: last - next) { outputs, count in
            count = last - next
            held.withUnsafeBufferPointer {
                kernel.fill(outputs.baseAddress!, count, from: next, held: $0.baseAddress!, first: first)
            }
        }
        next = last
        let passed = next * down / up - (reach - 1) - first
        let dropped = min(max(passed, 0), held.count)
        held.removeFirst(dropped)
        first += dropped
        return outputs
    }

    /// The taps of every phase. Each phase sums to one, so that silence stays silent and a level stays a level.
    private static func filter(up: Int, reach: Int, cutoff: Double, attenuation: Double) -> [Float] {
        let beta = 0.1102 * (attenuation - 8.7)
        let norm = bessel(beta)
        var taps = [Float](repeating: 0, count: up * 2 * reach)
        for phase in 0..<up {
            let share = Double(phase) / Double(up)
            let weights = (0..<2 * reach).map { tap in
                // The input sample's place, as seen from the moment that the output stands for.
                let place = Double(tap - (reach - 1)) - share
                let edge = place / Double(reach)
                let window = bessel(beta * max(1 - edge * edge, 0).squareRoot()) / norm
                let angle = 2 * Double.pi * cutoff * place
                return window * 2 * cutoff * (angle == 0 ? 1 : sin(angle) / angle)
            }
            let sum = weights.reduce(0, +)
            for (tap, weight) in weights.enumerated() { taps[phase * 2 * reach + tap] = Float(weight / sum) }
        }
        return taps
    }

    /// The modified Bessel function of the first kind and order 0, by its series.
    private static func bessel(_ x: Double) -> Double {
        var sum = 1.0
        var term = 1.0
        var k = 1.0
        while term > 1e-17 * sum {
            term *= (x / 2 / k) * (x / 2 / k)
            sum += term
            k += 1
        }
        return sum
    }
}

/// What a resampled block takes: pointers and numbers, as ``MelKernel``.
struct ResamplerKernel {
    private let up: Int
    private let down: Int
    private let reach: Int
    /// (up, 2 * reach), one phase behind another.
    private let taps: UnsafeMutablePointer<Float>

    init(taps: [Float], up: Int, down: Int, reach: Int) {
        (self.up, self.down, self.reach) = (up, down, reach)
        self.taps = .filled(with: taps)
    }

    func deallocate() { taps.deallocate() }

    /// Writes `count` outputs from output `next` on, of input that is held from its sample `first` on.
    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    func fill(
        _ outputs: UnsafeMutablePointer<Float>, _ count: Int, from next: Int, held: UnsafePointer<Float>, first: Int
    ) {
        for index in 0..<count {
            let position = (next + index) * down
            let start = position / up - (reach - 1) - first
            outputs[index] = dot(held + start, taps + (position % up) * 2 * reach, count: 2 * reach)
        }
    }
}
