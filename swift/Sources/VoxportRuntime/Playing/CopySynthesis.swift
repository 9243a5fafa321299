/// Audio to audio through one component: its features, then the component, which makes audio of them.
///
/// Of a vocoder that is copy synthesis. It takes audio at any rate, in blocks of any size, and gives the component's; a
/// streaming artefact plays it live.
public final class CopySynthesis: LiveChain {
    /// The rate of the audio that is taken.
    public let sampleRate: Int
    /// The rate of the audio that is given.
    public var outputRate: Int { player.time.sampleRate }
    /// Samples of output that come at once.
    public let chunk: Int
    public let player: any Player
    private let resampler: Resampler
    private let frames: StreamingFrames

    /// `sampleRate`: of the audio that is taken; nil for that of the features.
    ///
    /// Throws ``VoxportError/bundle(_:)`` for a bundle that makes no audio of a mel.
    public init(
        _ bundle: VoxportBundle, engines: some EngineSource, sampleRate: Int? = nil, mode: OfflineMode = .overlap,
        chunk: Int? = nil
    ) throws {
        let record = try bundle.main
        guard bundle.manifest.conversion == nil, record.targets.isEmpty, record.sources.isEmpty else {
            throw VoxportError.bundle(
                "\(bundle.manifest.name) converts voices in several stages, which this runtime does not play yet")
        }
        guard case .mel(let mel)? = record.features, record.sound != nil else {
            throw VoxportError.bundle("\(bundle.manifest.name): component \(record.name) makes no audio of a mel")
        }
        frames = try mel.stream()
        self.sampleRate = sampleRate ?? mel.sampleRate
        resampler = try Resampler(from: self.sampleRate, to: mel.sampleRate)
        player = try makePlayer(bundle, engines: engines, mode: mode, chunk: chunk)
        self.chunk = ((player as? StreamingPlayer)?.form.chunk ?? 1) * player.time.samplesPerFrame
    }

    /// Seconds of the shortest audio that it takes.
    public var shortest: Double {
        max(
            Double(player.shortest) * player.time.frameSeconds,
            Double(frames.windowLength) / Double(frames.sampleRate))
    }

    public func push(_ samples: [Float]) throws -> [Float] {
        try played(frames.push(resampler.push(samples)))
    }

    /// Ends the audio. Returns what is left of the output.
    public func flush() throws -> [Float] {
        let rest = try played(frames.push(resampler.flush()))
        let last = try played(frames.flush())
        return try rest + last + player.flush().floats
    }

    public func reset() throws {
        resampler.reset()
        frames.reset()
        try player.reset()
    }

    private func played(_ block: Tensor) throws -> [Float] {
        try player.push(block.reshaped([1] + block.shape)).floats
    }
}
