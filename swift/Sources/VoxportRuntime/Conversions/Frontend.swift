/// How a conversion's components are run.
struct Parts {
    /// Those that take windows: a component by name, its input, its output.
    let run: (String, Tensor) throws -> Tensor
    /// Those that are local in time, with the channels that they give.
    let player: (String) throws -> (any Player, channels: Int)
    let index: () throws -> RetrievalIndex
}

/// Which of a windowed stage's contexts is used.
public enum ConversionContext: String, Sendable {
    /// Of a file, which is there as a whole.
    case offline
    /// Where the future is waited for.
    case live

    /// What is waited for a filter counts live alone.
    var resampling: Resampler.Quality { self == .live ? .prompt : .high }
}

/// Every stage of a conversion but its last, on audio in blocks of any size: audio in, the last stage's frames out.
final class Frontend {
    let sampleRate: Int
    /// Frames given so far.
    private(set) var frames = 0
    private var tracks: [(name: String, track: Track)] = []
    private let last: Joined
    private var resamplers: [Int: Resampler] = [:]

    /// `semitones`: by which the pitch is shifted on top of the way from the source's to the target's.
    ///
    /// Throws ``VoxportError/bundle(_:)`` for a target of another kind than the conversion takes.
    init(
        _ conversion: Conversion, _ parts: Parts, pool: Pool?, sampleRate: Int, context: ConversionContext,
        semitones: Double = 0
    ) throws {
        self.sampleRate = sampleRate
        var byName: [String: Track] = [:]
        var tracks: [(name: String, track: Track)] = []
        for stage in conversion.stages.dropLast() {
            let sources = try stage.takes.map { name -> Track in
                guard let track = byName[name] else {
                    throw VoxportError.bundle("stage \(stage.name) takes \(name), which no stage before it gives")
                }
                return track
            }
            let track = try Self.track(of: stage, sources, parts, pool, context, semitones)
            byName[stage.name] = track
            tracks.append((stage.name, track))
        }
        guard case .local(let stage)? = conversion.stages.last else {
            throw VoxportError.bundle("the conversion's last stage gives no audio")
        }
        last = try Joined(stage.name, stage.takes.compactMap { byName[$0] }, noiseRows: stage.noiseRows)
        self.tracks = tracks
        for track in tracks.compactMap({ $0.track as? FeaturedTrack }) where resamplers[track.sampleRate] == nil {
            resamplers[track.sampleRate] = try Resampler(
                from: sampleRate, to: track.sampleRate, quality: context.resampling)
        }
    }

    static func track(
        of stage: Stage, _ sources: [Track], _ parts: Parts, _ pool: Pool?, _ context: ConversionContext,
        _ semitones: Double
    ) throws -> Track {
        switch stage {
        case .features(let stage): return try FeaturedTrack(stage.features)
        case .windowed(let stage):
            guard let window = stage.contexts[context.rawValue] else {
                throw VoxportError.bundle("stage \(stage.name) has no context \(context.rawValue)")
            }
            return try WindowedTrack(stage, sources, context: window) { try parts.run(stage.component, $0) }
        case .match(let stage):
            guard let pool else { throw VoxportError.bundle("this conversion wants frames of a target") }
            guard let features = stage.mel else { return try MatchedContentTrack(stage, sources[0], pool) }
            return try MatchedTrack(stage, features, sources, pool, semitones: semitones)
        case .tracking(let stage): return try TrackedTrack(stage, sources[0])
        case .voicing(let stage): return try VoicingTrack(stage, sources[0])
        case .pitch(let stage) where stage.gives == .normalised:
            return try NormalisedTrack(stage, sources[0], semitones: semitones)
        case .pitch(let stage): return try PitchedTrack(stage, sources[0], semitones: semitones)
        case .harmonic(let stage): return try HarmonicTrack(stage, sources[0])
        case .retrieve(let stage): return try RetrievedTrack(stage, sources, parts.index())
        case .latent(let stage): return try LatentTrack(stage, sources[0])
        case .local(let stage):
            let (player, channels) = try parts.player(stage.component)
            return try LocalTrack(stage, sources, player, channels: channels)
        }
    }

    /// Takes the next samples. Returns the frames that they complete, (1, channels, frames).
    func push(_ samples: [Float]) throws -> Tensor {
        try advance { try $0.push(samples) }
        return newFrames()
    }

    /// Ends the audio. Returns the frames that are left.
    func flush() throws -> Tensor {
        try advance { $0.flush() }
        for case let track as FeaturedTrack in tracks.map(\.track) { try track.flush() }
        for (_, track) in tracks { try track.advance() }
        return newFrames()
    }

    /// Seconds of audio after which frames come out: the longest chunk of any stage.
    var blockSeconds: Double { tracks.map(\.track.blockSeconds).max() ?? 0 }

    /// Of the components in a row that the frames come of last.
    var paces: [Pace] { last.sources.slowestPaces }

    /// Whether frames come one by one but for `paces`: no other stage holds them back for a chunk.
    var isEven: Bool { tracks.allSatisfy(\.track.isEven) }

    func reset() throws {
        frames = 0
        for resampler in resamplers.values { resampler.reset() }
        for (_, track) in tracks { try track.reset() }
    }

    /// The controls of its latents; nil for a conversion that has none.
    var latents: Latents? { tracks.lazy.compactMap { ($0.track as? LatentTrack)?.latents }.first }

    private func advance(_ resampled: (Resampler) throws -> [Float]) throws {
        let audio = try resamplers.mapValues(resampled)
        for case let track as FeaturedTrack in tracks.map(\.track) { try track.push(audio[track.sampleRate] ?? []) }
        for (_, track) in tracks { try track.advance() }
    }

    private func newFrames() -> Tensor {
        let start = frames
        frames = max(last.end, start)
        // Channels of what runs are known once it ran.
        let fresh = last.taken(start..<frames)
        for (_, track) in tracks {
            var needed = last.sources.contains { $0 === track } ? [frames] : []
            for (_, taker) in tracks where taker.sources.contains(where: { $0 === track }) {
                needed.append(taker.needs(track))
            }
            if let first = needed.min() { track.frames.forget(before: first) }
        }
        return fresh.reshaped([1] + fresh.shape)
    }
}

extension Stage {
    /// The stages that it takes frames of.
    var takes: [String] {
        switch self {
        case .features: return []
        case .windowed(let stage): return stage.takes
        case .match(let stage): return [stage.content] + [stage.pitch, stage.level].compactMap { $0 }
        case .tracking(let stage): return [stage.takes]
        case .voicing(let stage): return [stage.takes]
        case .pitch(let stage): return [stage.takes]
        case .harmonic(let stage): return [stage.takes]
        case .retrieve(let stage): return stage.pitch.isEmpty ? [stage.takes] : [stage.takes, stage.pitch]
        case .latent(let stage): return [stage.takes]
        case .local(let stage): return stage.takes
        }
    }
}
