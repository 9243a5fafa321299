/// What WebRTC's detector of speech hears of 30 ms at 16 kHz: the level of six bands below 4 kHz, in integers.
///
/// The filters keep 16 bits and their intermediate results 32, which run over as they do in C: another width is another
/// decision. Coefficients are those of common_audio/vad (BSD-3: see COPYING beside this file).
struct SpeechBands {
    static let count = 6
    /// Energy up to which a frame is silence.
    static let leastEnergy: Int32 = 10

    private var halving = (Int32(0), Int32(0))
    private var upper = [Int16](repeating: 0, count: 5)
    private var lower = [Int16](repeating: 0, count: 5)
    private var inputs = (Int32(0), Int32(0))
    private var outputs = (Int32(0), Int32(0))

    /// The bands' levels, 160 log10 of energy about, and the energy of all, as far as it is small.
    mutating func levels(of frame: [Int16]) -> (levels: [Int16], energy: Int32) {
        var energy: Int32 = 0
        var levels = [Int16](repeating: 0, count: Self.count)
        func measure(_ band: [Int16], _ number: Int, _ offset: Int32) {
            levels[number] = Self.level(of: band, offset: offset, total: &energy)
        }
        let (above2000, below2000) = split(halved(frame), 0)
        let (above3000, above2000To3000) = split(above2000, 1)
        measure(above3000, 5, 176)
        measure(above2000To3000, 4, 176)
        let (above1000, below1000) = split(below2000, 2)
        measure(above1000, 3, 176)
        let (above500, below500) = split(below1000, 3)
        measure(above500, 2, 272)
        let (above250, below250) = split(below500, 4)
        measure(above250, 1, 368)
        measure(withoutRumble(below250), 0, 368)
        return (levels, energy)
    }

    /// At half the rate.
    private mutating func halved(_ frame: [Int16]) -> [Int16] {
        func step(_ sample: Int16, _ coefficient: Int32, _ state: inout Int32) -> Int16 {
            let output = Int16(truncatingIfNeeded: (state >> 1) &+ scaled(coefficient, Int32(sample), 14))
            state = Int32(sample) - scaled(coefficient, Int32(output), 12)
            return output
        }
        return stride(from: 0, to: frame.count - 1, by: 2).map { index in
            let even = step(frame[index], 5243, &halving.0)
            return even &+ step(frame[index + 1], 1392, &halving.1)
        }
    }

    /// The upper and the lower half of a band, each at half its rate.
    private mutating func split(_ band: [Int16], _ number: Int) -> (upper: [Int16], lower: [Int16]) {
        let even = Self.allPass(band, from: 0, 20972, &upper[number])
        let odd = Self.allPass(band, from: 1, 5571, &lower[number])
        return (zip(even, odd).map { $0 &- $1 }, zip(even, odd).map { $0 &+ $1 })
    }

    /// Every second sample through an all-pass filter.
    private static func allPass(
        _ samples: [Int16], from first: Int, _ coefficient: Int32, _ kept: inout Int16
    ) -> [Int16] {
        var state = Int32(kept) << 16
        let filtered = (0..<samples.count / 2).map { index -> Int16 in
            let sample = Int32(samples[2 * index + first])
            let output = Int16(truncatingIfNeeded: (state &+ coefficient * sample) >> 16)
            state = ((sample << 14) &- coefficient * Int32(output)) << 1
            return output
        }
        kept = Int16(truncatingIfNeeded: state >> 16)
        return filtered
    }

    /// Without what is below 80 Hz.
    private mutating func withoutRumble(_ band: [Int16]) -> [Int16] {
        band.map { sample in
            var sum = 6631 * Int32(sample) &- 13262 &* inputs.0 &+ 6631 &* inputs.1
            inputs = (Int32(sample), inputs.0)
            sum = sum &+ 7756 &* outputs.0 &- 5620 &* outputs.1
            let output = Int16(truncatingIfNeeded: sum >> 14)
            outputs = (Int32(output), outputs.0)
            return output
        }
    }

    private static func level(of band: [Int16], offset: Int32, total: inout Int32) -> Int16 {
        // The energy in 32 bits, shifted as far as its largest sample could make it run over.
        let peak = band.reduce(Int16(-1)) { max($0, $1 == .min ? $1 : abs($1)) }
        let room = peak == 0 ? 0 : (Int32(peak) * Int32(peak)).leadingZeroBitCount - 1
        let bits = Int32.bitWidth - Int32(band.count).leadingZeroBitCount
        let scaling = peak == 0 || room > bits ? 0 : bits - room
        var energy = UInt32(bitPattern: band.reduce(Int32(0)) { $0 &+ scaled(Int32($1), Int32($1), scaling) })
        guard energy != 0 else { return Int16(offset) }
        // As 15 bits and a shift, whose logarithm is straight between powers of two.
        let shift = 17 - energy.leadingZeroBitCount
        energy = shift < 0 ? energy << UInt32(-shift) : energy >> UInt32(shift)
        let shifts = Int32(scaling + shift)
        let logarithm = 14336 + Int32((energy & 0x3FFF) >> 4)
        let level = Int16(truncatingIfNeeded: scaled(24660, logarithm, 19) + scaled(shifts, 24660, 9))
        if total <= leastEnergy {
            let more = shifts >= 0 ? leastEnergy + 1 : Int32(Int16(truncatingIfNeeded: energy >> UInt32(-shifts)))
            total = Int32(Int16(truncatingIfNeeded: total + more))
        }
        return max(level, 0) &+ Int16(offset)
    }
}

/// A product in 32 bits without its last ones.
func scaled(_ a: Int32, _ b: Int32, _ bits: Int) -> Int32 { (a &* b) >> Int32(bits) }
