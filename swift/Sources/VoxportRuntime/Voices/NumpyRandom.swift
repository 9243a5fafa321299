import Foundation

/// The generator of `numpy.random.default_rng(seed)`, draw for draw: PCG64 (O'Neill 2014, XSL-RR of 128 bits), seeded as
/// `SeedSequence` does.
///
/// Voices and some vocoders start from noise. With the same noise as Python they say the same here.
public struct NumpyRandom: Sendable {
    private var state: UInt128
    private let increment: UInt128
    private var spare: UInt32?

    private static let multiplier: UInt128 = 2_549_297_995_355_413_924 << 64 | 4_865_540_595_714_422_341

    /// The generator of a seed, or of several numbers as one.
    public init(seed: Int...) { self.init(seed: seed) }

    public init(seed: [Int]) {
        let words = Self.seedWords(seed.flatMap(Self.words))
        func wide(_ at: Int) -> UInt128 {
            // Numbers of 64 bits, their lower half first; of 128, the upper one.
            let high = UInt64(words[at + 1]) << 32 | UInt64(words[at])
            let low = UInt64(words[at + 3]) << 32 | UInt64(words[at + 2])
            return UInt128(high) << 64 | UInt128(low)
        }
        increment = wide(4) << 1 | 1
        state = (increment &+ wide(0)) &* Self.multiplier &+ increment
    }

    /// A number in 32-bit words, the lowest first; 0 is one of them.
    private static func words(_ number: Int) -> [UInt32] {
        precondition(number >= 0, "a seed is not negative")
        let low = UInt32(truncatingIfNeeded: number)
        let high = UInt32(truncatingIfNeeded: number >> 32)
        return high == 0 ? [low] : [low, high]
    }

    /// The words that `SeedSequence(entropy)` gives: a pool of four, into which the entropy is mixed.
    private static func seedWords(_ entropy: [UInt32]) -> [UInt32] {
        var constant: UInt32 = 0x43B0_D7E5
        func hashed(_ value: UInt32) -> UInt32 {
            var value = value ^ constant
            constant &*= 0x931E_8875
            value &*= constant
            return value ^ value >> 16
        }
        func mixed(_ x: UInt32, _ y: UInt32) -> UInt32 {
            let value = x &* 0xCA01_F9DD &- y &* 0x4973_F715
            return value ^ value >> 16
        }
        var pool = (0..<4).map { hashed(entropy.indices.contains($0) ? entropy[$0] : 0) }
        for source in 0..<4 {
            for target in 0..<4 where target != source { pool[target] = mixed(pool[target], hashed(pool[source])) }
        }
        for word in entropy.dropFirst(4) {
            for target in 0..<4 { pool[target] = mixed(pool[target], hashed(word)) }
        }
        constant = 0x8B51_F9DD
        return (0..<8).map { index in
            var value = pool[index % 4] ^ constant
            constant &*= 0x58F3_8DED
            value &*= constant
            return value ^ value >> 16
        }
    }

    mutating func next64() -> UInt64 {
        state = state &* Self.multiplier &+ increment
        let folded = UInt64(truncatingIfNeeded: state >> 64) ^ UInt64(truncatingIfNeeded: state)
        let turn = UInt64(state >> 122)
        return folded >> turn | folded << (64 - turn & 63)
    }

    /// Half of a draw; the other half is the next one.
    mutating func next32() -> UInt32 {
        if let half = spare {
            spare = nil
            return half
        }
        let both = next64()
        spare = UInt32(both >> 32)
        return UInt32(truncatingIfNeeded: both)
    }

    /// From 0 to below 1, in steps of 2^-24.
    mutating func nextFloat() -> Float { Float(next32() >> 8) * 0x1p-24 }

    /// From 0 to below 1, in steps of 2^-53.
    mutating func nextDouble() -> Double { Double(next64() >> 11) * 0x1p-53 }

    /// `random.integers(0, 2)`.
    public mutating func bit() -> Int { Int(next32() >> 31) }

    /// `random.standard_normal(count, numpy.float32)`.
    public mutating func normal(_ count: Int) -> [Float] { (0..<count).map { _ in normal() } }

    /// `random.logistic(size=count)` in float32.
    public mutating func logistic(_ count: Int) -> [Float] {
        (0..<count).map { _ in
            var uniform = nextDouble()
            while uniform <= 0 { uniform = nextDouble() }
            return Float(log(uniform / (1 - uniform)))
        }
    }

    /// Marsaglia and Tsang's ziggurat (2000) of 256 layers.
    private mutating func normal() -> Float {
        let ziggurat = Ziggurat.shared
        while true {
            let draw = next32()
            let layer = Int(draw & 0xFF)
            let height = draw >> 9 & 0x7F_FFFF
            let x = Float(height) * ziggurat.widths[layer]
            let signed = draw >> 8 & 1 == 1 ? -x : x
            if height < ziggurat.edges[layer] { return signed }
            if layer == 0 { return tail(isNegative: height >> 8 & 1 == 1) }
            let step = (ziggurat.heights[layer - 1] - ziggurat.heights[layer]) * nextFloat()
            if Double(step + ziggurat.heights[layer]) < exp(-0.5 * Double(signed) * Double(signed)) { return signed }
        }
    }

    private mutating func tail(isNegative: Bool) -> Float {
        while true {
            let x = -Float(1 / Ziggurat.start) * log1pf(-nextFloat())
            let y = -log1pf(-nextFloat())
            if y + y > x * x { return isNegative ? -(Float(Ziggurat.start) + x) : Float(Ziggurat.start) + x }
        }
    }
}

/// Layers of one area each under exp(-x² / 2), the lowest with the tail.
private struct Ziggurat {
    static let shared = Ziggurat()
    /// Where the tail begins.
    static let start = 3.654152885361009

    var edges = [UInt32](repeating: 0, count: 256)
    var widths = [Float](repeating: 0, count: 256)
    var heights = [Float](repeating: 0, count: 256)

    init() {
        func density(_ x: Double) -> Double { exp(-0.5 * x * x) }
        let steps = 0x1p23
        let area =
            Self.start * density(Self.start) + (Double.pi / 2).squareRoot() * erfc(Self.start / 2.0.squareRoot())
        var x = Self.start
        let base = area / density(x)
        edges[0] = UInt32((x / base * steps).rounded())
        widths[0] = Float(base / steps)
        heights[0] = 1
        widths[255] = Float(x / steps)
        heights[255] = Float(density(x))
        for layer in stride(from: 254, to: 0, by: -1) {
            let inner = (-2 * log(area / x + density(x))).squareRoot()
            edges[layer + 1] = UInt32((inner / x * steps).rounded())
            widths[layer] = Float(inner / steps)
            heights[layer] = Float(density(inner))
            x = inner
        }
    }
}

/// Standard noise of the frames of an utterance, (rows, frames): a frame's own, in whatever pieces an utterance comes.
func frameNoise(rows: Int, frames: Range<Int>, kind: String) -> [Float] {
    let block = 64  // frames that are drawn at once
    var noise = [Float](repeating: 0, count: rows * frames.count)
    guard rows > 0, !frames.isEmpty else { return noise }
    for number in frames.lowerBound / block...(frames.upperBound - 1) / block {
        var random = NumpyRandom(seed: rows, number)
        let drawn = kind == "logistic" ? random.logistic(block * rows) : random.normal(block * rows)
        for frame in max(frames.lowerBound, number * block)..<min(frames.upperBound, (number + 1) * block) {
            for row in 0..<rows {
                noise[row * frames.count + frame - frames.lowerBound] = drawn[(frame - number * block) * rows + row]
            }
        }
    }
    return noise
}
