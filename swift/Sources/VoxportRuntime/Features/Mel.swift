import Foundation

/// How a checkpoint's log-mel spectrogram is made. Names and meanings are those of Python's `runtime/speech/mel.py`.
public struct Mel: Codable, Equatable, Sendable {
    /// How windows lie over the audio.
    public enum Framing: String, Codable, Sendable {
        /// Reflects `nFft` / 2 samples: floor(N / hop) + 1 frames.
        case centered
        /// Reflects (`nFft` - hop) / 2 samples: floor(N / hop) frames, shifted by half a hop.
        case inset
    }

    public var kind = "mel"
    public var sampleRate = 22050
    public var nFft = 1024
    public var winLength = 1024
    public var hopLength = 256
    public var nMels = 80
    public var fmin = 0.0
    public var fmax: Double?
    public var framing = Framing.centered
    public var padMode = BorderMode.reflect
    public var preemphasis = 0.0
    public var logBase = 10.0
    public var gain = 20.0
    public var amplitudeFloor = 1e-8
    public var magnitudeFloor = 0.0
    /// Of the magnitudes that the bands are sums of: 1, or 2 in Whisper's.
    public var power = 1
    public var signalNorm = true
    public var minLevelDb = -100.0
    public var refLevelDb = 20.0
    public var symmetricNorm = true
    public var maxNorm = 4.0
    public var clipNorm = true
    public var mean: [Double]?
    public var std: [Double]?
    /// Rows of noise below the bands, for a vocoder that starts from noise.
    public var noiseRows = 0
    /// Its distribution: `normal` or `logistic`.
    public var noise = "normal"

    public init() {}

    /// Rows of a frame.
    public var channels: Int { nMels + noiseRows }

    /// Starts frames of audio that arrives in blocks.
    ///
    /// Throws ``VoxportError/audio(_:)`` for settings that are none.
    public func stream() throws -> StreamingFrames {
        try StreamingFrames(framing: layout, kernel: MelKernel(self))
    }

    /// The log-mel spectrogram of samples at `sampleRate`, (channels, frames).
    ///
    /// Throws ``VoxportError/audio(_:)`` as ``stream()``, and for audio too short to be reflected at its ends.
    public func spectrogram(of samples: [Float]) throws -> Tensor {
        let stream = try stream()
        return .joined([try stream.push(samples), try stream.flush()], along: 1)
    }

    var layout: FrameLayout {
        let border = framing == .centered ? nFft / 2 : (nFft - hopLength) / 2
        return FrameLayout(
            sampleRate: sampleRate, nFft: nFft, hopLength: hopLength, border: border,
            borderMode: framing == .centered ? padMode : .reflect, preemphasis: preemphasis,
            channels: nMels, noiseRows: noiseRows, noise: noise)
    }

    func check() throws {
        for (name, count) in [
            ("sample_rate", sampleRate), ("n_fft", nFft), ("win_length", winLength), ("hop_length", hopLength),
            ("n_mels", nMels),
        ] where !(1...1_000_000).contains(count) {
            throw VoxportError.audio("audio setting \(name) must be 1 to 1000000, got \(count)")
        }
        let top = fmax ?? Double(sampleRate) / 2
        guard nFft.isMultiple(of: 2) else { throw VoxportError.audio("n_fft must be even, got \(nFft)") }
        guard winLength <= nFft else {
            throw VoxportError.audio("win_length \(winLength) is larger than n_fft \(nFft)")
        }
        guard fmin >= 0, fmin < top, top <= Double(sampleRate) else {
            throw VoxportError.audio("the bands from \(fmin) to \(top) Hz are none at \(sampleRate) Hz")
        }
        guard minLevelDb != 0, maxNorm > 0 else {
            throw VoxportError.audio("min_level_db \(minLevelDb) and max_norm \(maxNorm) normalise nothing")
        }
        for statistics in [mean, std].compactMap({ $0 }) where statistics.count != nMels {
            throw VoxportError.audio("the statistics have \(statistics.count) values for \(nMels) bands")
        }
    }

    /// librosa's filters: bands on Slaney's scale with their area as norm, (`nMels`, `nFft` / 2 + 1).
    ///
    /// Each weight is rounded twice, as numpy rounds: the triangle to float32, and its product with the norm.
    var basis: [[Float]] {
        let bins = nFft / 2 + 1
        let lowest = Self.mel(ofHertz: fmin)
        let step = (Self.mel(ofHertz: fmax ?? Double(sampleRate) / 2) - lowest) / Double(nMels + 1)
        let last = Self.mel(ofHertz: fmax ?? Double(sampleRate) / 2)
        let edges = (0..<nMels + 2).map { Self.hertz(ofMel: $0 == nMels + 1 ? last : lowest + Double($0) * step) }
        return (0..<nMels).map { band in
            let norm = 2 / (edges[band + 2] - edges[band])
            return (0..<bins).map { bin in
                let hertz = Double(bin) * (Double(sampleRate) / Double(nFft))
                let rising = (hertz - edges[band]) / (edges[band + 1] - edges[band])
                let falling = (edges[band + 2] - hertz) / (edges[band + 2] - edges[band + 1])
                return Float(Double(Float(max(0, min(rising, falling)))) * norm)
            }
        }
    }

    // Slaney's Auditory Toolbox: linear up to 1000 Hz in steps of 200 / 3 Hz, then 27 steps for each factor of 6.4.
    private static let linearStep = 200.0 / 3
    private static let logStep = log(6.4) / 27

    private static func mel(ofHertz hertz: Double) -> Double {
        hertz >= 1000 ? 1000 / linearStep + log(hertz / 1000) / logStep : hertz / linearStep
    }

    private static func hertz(ofMel mel: Double) -> Double {
        let knee = 1000 / linearStep
        return mel >= knee ? 1000 * exp(logStep * (mel - knee)) : linearStep * mel
    }
}
