/// As C stores a number in 16 bits.
func wrapped(_ number: Int32) -> Int32 { Int32(Int16(truncatingIfNeeded: number)) }

/// Two Gaussians of a band's level, their means and deviations in 128ths.
struct Mixture {
    let weights: [Int32]
    var means: [Int32]
    var deviations: [Int32]
    /// The first Gaussian's share where neither is likely.
    let unlikely: Int32

    /// How likely a level is: leading zeros of that; the share of each Gaussian, in 16384ths, and how far it is from each.
    struct Likelihood {
        var magnitude: Int32 = 31
        var shares: [Int32] = [0, 0]
        var deltas: [Int32] = [0, 0]
    }

    func likelihood(of level: Int16) -> Likelihood {
        var likelihood = Likelihood()
        var parts: [Int32] = []
        for index in 0..<2 {
            let (probability, delta) = Self.gaussian(Int32(level), means[index], deviations[index])
            likelihood.deltas[index] = delta
            parts.append(weights[index] &* probability)
        }
        let sum = parts[0] &+ parts[1]
        if sum != 0 { likelihood.magnitude = Int32((sum < 0 ? ~sum : sum).leadingZeroBitCount - 1) }
        let whole = wrapped(sum >> 12)
        if whole > 0 {
            let first = Int32(bitPattern: (UInt32(bitPattern: parts[0]) & 0xFFFF_F000) << 2)
            likelihood.shares[0] = wrapped(first / whole)
            likelihood.shares[1] = wrapped(16384 - likelihood.shares[0])
        } else {
            likelihood.shares[0] = unlikely
        }
        return likelihood
    }

    /// The density at a level in 16ths, and (level - mean) / variance.
    private static func gaussian(_ level: Int32, _ mean: Int32, _ deviation: Int32) -> (density: Int32, delta: Int32) {
        let inverse = wrapped((131072 + (deviation >> 1)) / deviation)
        let eighth = wrapped(inverse >> 2)
        let variance = wrapped(scaled(eighth, eighth, 2))
        let apart = wrapped(wrapped(level << 3) - mean)
        let delta = wrapped(scaled(variance, apart, 10))
        let exponent = scaled(delta, apart, 9)
        guard exponent < 22005 else { return (0, delta) }
        // 2 to the power of a fraction is taken for straight.
        let power = wrapped(-wrapped(scaled(5909, wrapped(exponent), 12)))
        let shift = wrapped((wrapped(power ^ 0xFFFF) >> 10) + 1)
        return (inverse * ((0x400 | (power & 0x3FF)) >> shift), delta)
    }

    /// The sum of the means, each by its weight.
    var weighed: Int32 { means[0] &* weights[0] &+ means[1] &* weights[1] }

    mutating func move(_ by: Int32) { for index in 0..<2 { means[index] = wrapped(means[index] + by) } }

    /// Moves a deviation by what a level was farther away than it should be, over the deviation.
    mutating func widen(_ index: Int, _ surplus: Int32, tenfold: Bool, rounding bits: Int32) {
        let old = deviations[index]
        let step = wrapped(surplus / wrapped(tenfold ? old * 10 : old))
        deviations[index] = max(wrapped(old + (wrapped(step + (1 << (bits - 1))) >> bits)), 384)
    }
}

/// The softest levels of the last hundred frames of a band, and a mean that follows the third softest of them.
struct LevelMinimum {
    private var softest = [Int16](repeating: 10000, count: 16)
    private var ages = [Int](repeating: 0, count: 16)
    private var mean: Int32 = 1600

    /// The mean up to and with a level, before which so many frames came.
    mutating func push(_ level: Int16, frames: Int) -> Int16 {
        var index = 0
        while index < 16 {
            if ages[index] != 100 {
                ages[index] += 1
            } else {
                ages.remove(at: index)
                softest.remove(at: index)
                ages.append(101)
                softest.append(10000)
            }
            index += 1
        }
        if let place = softest.firstIndex(where: { level < $0 }) {
            ages.insert(1, at: place)
            softest.insert(level, at: place)
            ages.removeLast()
            softest.removeLast()
        }
        let median: Int32 = frames > 2 ? Int32(softest[2]) : frames > 0 ? Int32(softest[0]) : 1600
        let share: Int32 = frames == 0 ? 0 : median < mean ? 6553 : 32439
        mean = wrapped(((share + 1) * mean + (32767 - share) * median + 16384) >> 15)
        return Int16(mean)
    }
}
