import Foundation

/// The melody of speech without its register: log F0 around its running mean, frame by frame.
///
/// The mean is over the voiced frames up to and with this one, each weighing exp(-1 / (20 s * frame rate)) less for every
/// voiced one after it: the first voiced frame gives 0.
struct Melody {
    /// Of voiced speech, after which a frame counts 1/e in the mean: another speaker is followed.
    private static let memorySeconds = 20.0
    private let kept: Double
    private let shift: Double
    /// Of ln F0, one by one: a sum in another order is another mean.
    private var sum = 0.0
    private var weight = 0.0

    /// `frameRate`: frames a second; `semitones` are added.
    init(frameRate: Double, semitones: Double) {
        kept = exp(-1 / (Self.memorySeconds * frameRate))
        shift = semitones * log(2) / 12
    }

    /// Begins anew: the next voiced frame is the first.
    mutating func reset() {
        sum = 0
        weight = 0
    }

    /// Hz, 0 where it is unvoiced, to (2, n): normalised ln F0, 0 where it is unvoiced, and 1 where it is voiced.
    mutating func push(_ hertz: [Float]) -> Tensor {
        let count = hertz.count
        var rows = [Float](repeating: 0, count: 2 * count)
        for (frame, hertz) in hertz.enumerated() where hertz > 0 {
            let logarithm = log(Double(hertz))
            sum = kept * sum + logarithm
            weight = kept * weight + 1
            rows[frame] = Float(logarithm - sum / weight + shift)
            rows[count + frame] = 1
        }
        return Tensor(rows, shape: [2, count])
    }
}
