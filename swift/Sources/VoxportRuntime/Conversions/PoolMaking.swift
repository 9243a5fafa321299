import Foundation

extension Conversion {
    /// Makes the pool of a target's recordings, all at one rate: content, rounded as a file keeps it, and where frames of a
    /// vocoder's features are what is played these at their moments, with their pitch and level.
    ///
    /// Throws ``VoxportError/bundle(_:)`` for a conversion that matches no frames, ``VoxportError/audio(_:)`` for
    /// recordings without a whole frame.
    func pool(of recordings: [[Float]], sampleRate: Int, _ parts: Parts) throws -> Pool {
        guard case .match(let matching)? = self.matching else {
            throw VoxportError.bundle("only a conversion that matches frames takes a pool of them")
        }
        let making = try PoolMaking(self, matching, sampleRate: sampleRate, parts)
        let pieces = try recordings.compactMap(making.frames)
        guard !pieces.isEmpty else { throw VoxportError.audio("the target's recordings hold no whole frame") }
        func joined(_ name: String) -> Tensor? {
            pieces[0][name] == nil ? nil : .joined(pieces.compactMap { $0[name] }, along: 0)
        }
        return try Pool(
            content: joined("content")!, mel: joined("mel"), pitch: joined("pitch"), level: joined("level"),
            isCentred: matching.centred)
    }
}

/// The stages before the one that matches frames, run on a target's recordings.
private struct PoolMaking {
    private let matching: MatchStage
    private let content: Track
    /// Of the vocoder's features, of pitch and of level; none where content alone is matched.
    private let played: [(name: String, track: Track)]
    private let tracks: [Track]
    private let resamplers: [Int: Resampler]

    init(_ conversion: Conversion, _ matching: MatchStage, sampleRate: Int, _ parts: Parts) throws {
        self.matching = matching
        var byName: [String: Track] = [:]
        var tracks: [Track] = []
        for stage in conversion.stages.prefix(while: { $0.name != matching.name }) {
            let sources = stage.takes.compactMap { byName[$0] }
            let track = try Frontend.track(of: stage, sources, parts, nil, .offline, 0)
            byName[stage.name] = track
            tracks.append(track)
        }
        guard let content = byName[matching.content] else {
            throw VoxportError.bundle(
                "stage \(matching.name) takes \(matching.content), which no stage before it gives")
        }
        self.content = content
        if let features = matching.mel, let pitch = byName[matching.pitch ?? ""],
            let level = byName[matching.level ?? ""]
        {
            let vocoders = try FeaturedTrack(features)
            tracks.append(vocoders)
            played = [("mel", vocoders), ("pitch", pitch), ("level", level)]
        } else {
            played = []
        }
        self.tracks = tracks
        var resamplers: [Int: Resampler] = [:]
        for case let track as FeaturedTrack in tracks where resamplers[track.sampleRate] == nil {
            resamplers[track.sampleRate] = try Resampler(from: sampleRate, to: track.sampleRate)
        }
        self.resamplers = resamplers
    }

    /// The arrays of one recording by name, frames first, of every frame that is kept; nil where it holds no whole one.
    func frames(of samples: [Float]) throws -> [String: Tensor]? {
        for resampler in resamplers.values { resampler.reset() }
        for track in tracks { try track.reset() }
        let audio = try resamplers.mapValues { try $0.push(samples) + $0.flush() }
        for case let track as FeaturedTrack in tracks { try track.push(audio[track.sampleRate] ?? []) }
        for track in tracks { try track.advance() }
        for case let track as FeaturedTrack in tracks { try track.flush() }
        for track in tracks { try track.advance() }
        guard content.frames.end > 0 else { return nil }
        var arrays: [String: Tensor] = [:]
        var rows = content.frames.taken(0..<content.frames.end).columns
        if let vocoders = played.first?.track {
            let count = played.map(\.track.frames.end).min() ?? 0
            guard count > 0 else { return nil }
            rows = content.clock.moved(content.frames, to: 0..<count, of: vocoders.clock)
            for (name, track) in played {
                let frames = kept(track.frames.taken(0..<count).columns)
                arrays[name] = name == "mel" ? frames : frames.reshaped([frames.shape[0]])
            }
        }
        arrays["content"] = kept(rows).converted(to: .float16)
        return arrays
    }

    /// Every frame that is kept, (frames, channels).
    private func kept(_ rows: [[Float]]) -> Tensor {
        let kept = stride(from: 0, to: rows.count, by: matching.every).map { rows[$0] }
        return Tensor(kept.flatMap { $0 }, shape: [kept.count, rows[0].count])
    }
}
