/// Features of audio that arrives in blocks: samples in, frames (channels, positions) out.
public protocol FeatureStream: AnyObject {
    /// The rows of a frame.
    var channels: Int { get }
    /// Takes the next samples. Returns the frames that they complete.
    func push(_ samples: [Float]) throws -> Tensor
    /// Ends the audio. Returns the last frames.
    func flush() throws -> Tensor
    /// Begins anew.
    func reset()
}

extension StreamingFrames: FeatureStream {}

/// Samples that pass through in whole frames of `hop` of them; what does not fill one at the end is left out.
final class StreamingSamples: FeatureStream {
    let channels = 1
    private let hop: Int
    private var waiting: [Float] = []

    init(hop: Int) { self.hop = hop }

    func reset() { waiting = [] }

    func push(_ samples: [Float]) -> Tensor {
        waiting += samples
        let complete = waiting.count / hop * hop
        defer { waiting.removeFirst(complete) }
        return Tensor(Array(waiting[..<complete]), shape: [1, complete])
    }

    func flush() -> Tensor { Tensor(zeros: [1, 0]) }
}

extension Features {
    /// What the features are of: the rate of the audio.
    var sampleRate: Int { timing.rate }

    /// Frame n stands for the middle of its window, of samples for the middle of its hop.
    var clock: Clock {
        Clock(sampleRate: timing.rate, hopLength: timing.hop, offset: timing.offset)
    }

    /// Positions of a frame: many where it is samples.
    var positions: Int {
        if case .samples(let samples) = self { return samples.hopLength }
        return 1
    }

    private var timing: (rate: Int, hop: Int, offset: Double) {
        switch self {
        case .mel(let mel): return (mel.sampleRate, mel.hopLength, Double(mel.nFft) / 2 - Double(mel.layout.border))
        case .linear(let one): return (one.sampleRate, one.hopLength, Self.offset(one.nFft, one.hopLength))
        case .level(let one): return (one.sampleRate, one.hopLength, Self.offset(one.nFft, one.hopLength))
        case .pitch(let one): return (one.sampleRate, one.hopLength, Self.offset(one.nFft, one.hopLength))
        case .pitchCandidates(let one): return (one.sampleRate, one.hopLength, Self.offset(one.nFft, one.hopLength))
        case .logBands(let one): return (one.sampleRate, one.hopLength, 0)
        case .samples(let one): return (one.sampleRate, one.hopLength, Double(one.hopLength) / 2)
        case .excitation(let one): return (one.sampleRate, one.hopLength, 0)
        case .bark(let one): return (one.sampleRate, one.hopLength, Double(one.hopLength) / 2)
        case .speakerMel(let one): return (one.sampleRate, one.hopLength, 0)
        }
    }

    /// As Python requires it of a pitch's settings.
    private static func requireTwoPeriods(of fmin: Double, to fmax: Double, _ nFft: Int, _ rate: Int) throws {
        guard fmin > 0, fmin < fmax, fmax < Double(rate) / 4, 2 * (Double(rate) / fmin).rounded(.down) <= Double(nFft)
        else { throw VoxportError.audio("a window of \(nFft) samples holds no two periods of \(fmin) Hz") }
    }

    private static func requireOpus(_ rate: Int, _ hop: Int, _ what: String) throws {
        guard rate == Opus.rate, hop == Opus.hop else {
            throw VoxportError.audio("the \(what) read at \(Opus.rate) Hz every \(Opus.hop) samples")
        }
    }

    private static func offset(_ nFft: Int, _ hop: Int) -> Double { Double(nFft) / 2 - Double((nFft - hop) / 2) }

    /// Begins features of audio that arrives in blocks.
    ///
    /// Throws ``VoxportError/audio(_:)`` for settings that are none, and for features of a whole recording.
    func stream() throws -> any FeatureStream {
        func frames(_ nFft: Int, _ border: BorderMode, _ channels: Int, _ kernel: any FrameKernel) -> StreamingFrames {
            let (rate, hop, offset) = timing
            let layout = FrameLayout(
                sampleRate: rate, nFft: nFft, hopLength: hop, border: Int(Double(nFft) / 2 - offset),
                borderMode: border, preemphasis: 0, channels: channels, noiseRows: 0, noise: "normal")
            return StreamingFrames(framing: layout, kernel: kernel)
        }
        switch self {
        case .mel(let mel): return try mel.stream()
        case .samples(let samples): return StreamingSamples(hop: samples.hopLength)
        case .linear(let one): return frames(one.nFft, .reflect, one.nFft / 2 + 1, LinearKernel(one))
        case .level(let one): return frames(one.nFft, .constant, 1, LevelKernel(one))
        case .pitch(let one):
            try Self.requireTwoPeriods(of: one.fmin, to: one.fmax, one.nFft, one.sampleRate)
            return frames(one.nFft, .constant, 1, PitchKernel(one))
        case .pitchCandidates(let one):
            try Self.requireTwoPeriods(of: one.fmin, to: one.fmax, one.nFft, one.sampleRate)
            guard 1...PitchCandidatesKernel.most ~= one.count else {
                throw VoxportError.audio("a pitch has 1 to \(PitchCandidatesKernel.most) candidates, not \(one.count)")
            }
            return frames(one.nFft, .constant, 2 * one.count, PitchCandidatesKernel(one))
        case .logBands(let one):
            let channels = one.windows.count * one.nBands + 1
            return frames(one.windows.max() ?? 0, .constant, channels, LogBandsKernel(one))
        case .excitation(let one):
            try Self.requireOpus(one.sampleRate, one.hopLength, "excitation is")
            let layout = FrameLayout(
                sampleRate: one.sampleRate, nFft: Opus.frame, hopLength: Opus.hop, border: Opus.frame - Opus.hop,
                borderMode: .constant, preemphasis: Opus.preemphasis, channels: Opus.rows, noiseRows: 0, noise: "normal"
            )
            return StreamingFrames(framing: layout, kernel: ExcitationKernel())
        case .bark(let one):
            try Self.requireOpus(one.sampleRate, one.hopLength, "cepstra are")
            return try StreamingBark()
        case .speakerMel: throw VoxportError.audio("a speaker's windows are made of a whole recording, not along time")
        }
    }
}
