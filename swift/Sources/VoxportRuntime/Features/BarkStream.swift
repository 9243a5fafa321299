import Foundation

/// The 21 rows that FARGAN reads, of audio that arrives in blocks of any size: 18 cepstra of Bark bands, pitch,
/// correlation, and the period in whole samples.
final class StreamingBark: FeatureStream {
    let channels = Opus.bands + 3
    /// Samples after its hop that a frame's window reaches.
    private static let ahead = 80
    private let analysis = OpusAnalysis()
    private let detector: PitchDNN
    private let cosines: [Double]
    /// Emphasised samples that frames still need.
    private var held: [Double] = []
    private var last: Float = 0
    private var taken = 0
    private var hasEnded = false
    /// opus has a frame before the first, which is not given.
    private var hasBegun = false

    /// Throws ``VoxportError/bundle(_:)`` where the detector's weights are not there.
    init() throws {
        detector = try PitchDNN()
        cosines = Self.cosines
        reset()
    }

    deinit {
        analysis.deallocate()
        detector.deallocate()
    }

    func reset() {
        held = [Double](repeating: 0, count: Opus.frame - Self.ahead)
        last = 0
        taken = 0
        hasEnded = false
        hasBegun = false
        detector.reset()
    }

    func push(_ samples: [Float]) throws -> Tensor {
        if hasEnded { throw VoxportError.stream("the audio has ended: reset() begins anew") }
        take(samples)
        taken += samples.count
        return complete()
    }

    func flush() -> Tensor {
        if !hasEnded {
            hasEnded = true
            take([Float](repeating: 0, count: max(taken / Opus.hop * Opus.hop + Self.ahead - taken, 0)))
        }
        return complete()
    }

    private func take(_ samples: [Float]) {
        for sample in samples {
            held.append(Double(sample) - Opus.preemphasis * Double(last))
            last = sample
        }
    }

    private func complete() -> Tensor {
        let count = held.count < Opus.frame ? 0 : (held.count - Opus.frame) / Opus.hop + 1
        var columns: [[Float]] = []
        for frame in 0..<count {
            held.withUnsafeBufferPointer { analysis.take($0.baseAddress! + frame * Opus.hop) }
            var column: [Float] = []
            for row in 0..<Opus.bands {
                var sum = 0.0
                for band in 0..<Opus.bands { sum += analysis.levels[band] * cosines[band * Opus.bands + row] }
                column.append(Float(row == 0 ? sum - 4 : sum))
            }
            let (pitch, correlation, period) = detector.push(analysis.rows)
            columns.append(column + [Float(pitch), Float(correlation), Float(period)])
        }
        held.removeFirst(count * Opus.hop)
        if count > 0, !hasBegun {
            hasBegun = true
            columns.removeFirst()
        }
        return columns.isEmpty ? Tensor(zeros: [channels, 0]) : Tensor(columns: columns)
    }

    /// (18, 18): the orthonormal transform of type II, bands to cepstra.
    private static var cosines: [Double] {
        let count = Opus.bands
        return (0..<count * count).map { index in
            let (band, row) = (Double(index / count), Double(index % count))
            let cosine = cos((band + 0.5) * row * Double.pi / Double(count)) * (2 / Double(count)).squareRoot()
            return row == 0 ? cosine * 0.5.squareRoot() : cosine
        }
    }
}

extension Bark {
    /// The settings of opus, the only ones that there are.
    public init() { self.init(kind: "bark", sampleRate: Opus.rate, hopLength: Opus.hop) }

    /// Begins features of audio that arrives in blocks.
    ///
    /// Throws ``VoxportError/audio(_:)`` for other settings than opus's, ``VoxportError/bundle(_:)`` where the weights of its
    /// pitch detector are not beside the program.
    public func stream() throws -> any FeatureStream { try Features.bark(self).stream() }

    /// A frame of 21 rows so many dB louder, as far as the floor of its energies reaches, with a pitch in ln Hz, within what
    /// opus detects; with its own where that is not a number. The period follows from it.
    static func shifted(_ frame: [Float], decibels: Float, logPitch: Float) -> [Float] {
        var shifted = frame
        let loudness = Double(Opus.bands).squareRoot()  // of a cepstrum, how much 1 in all bands is in its first value
        shifted[0] = max(frame[0] + Float(loudness / 10) * decibels, Float(-2 * loudness - 4))
        if !logPitch.isNaN {
            let octaves = (logPitch - Float(log(Double(Opus.rate) / Double(Opus.longest)))) / Float(log(2.0))
            shifted[Opus.bands] = min(max(octaves, 0), Float(179.0 / 60)) - 1.5
        }
        shifted[frame.count - 1] = (0.5 + Float(Opus.longest) / pow(2, shifted[Opus.bands] + 1.5)).rounded(.down)
        return shifted
    }
}
