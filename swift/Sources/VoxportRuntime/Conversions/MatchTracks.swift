import Foundation

/// Content of which each frame is the mean of the target's nearest.
final class MatchedContentTrack: Track {
    private let stage: MatchStage
    private let pool: Pool
    private var mean: RunningMean

    init(_ stage: MatchStage, _ source: Track, _ pool: Pool) throws {
        guard pool.mel.isEmpty else {
            throw VoxportError.bundle(
                "stage \(stage.name) matches content alone, the target's frames are of a mel")
        }
        self.stage = stage
        self.pool = pool
        mean = Self.mean(pool, source.clock)
        super.init(source.clock, [source])
        channels = pool.width
    }

    private static func mean(_ pool: Pool, _ clock: Clock) -> RunningMean {
        RunningMean(first: pool.mean.map(Double.init), weight: Double(clock.sampleRate) / Double(clock.hopLength))
    }

    override func reset() throws {
        try super.reset()
        mean = Self.mean(pool, clock)
    }

    override func advance() throws {
        let content = sources[0]
        let start = frames.end
        let stop = content.frames.end
        if stop > start {
            let rows = content.frames.taken(start..<stop).columns
            var matched: [[Float]] = []
            for row in rows {
                let centre = mean.push(row)
                let compared = stage.centred ? zip(row, centre).map { $0 - $1 } : row
                let chosen = pool.nearestContent(compared, neighbours: stage.neighbours)
                matched.append(Self.mean(of: chosen, in: pool.content, pool.width))
            }
            frames.append(Tensor(columns: matched))
        }
        hasEnded = content.hasEnded
    }

    /// The mean of some rows of a table.
    static func mean(of rows: [Int], in table: [Float], _ width: Int) -> [Float] {
        (0..<width).map { column in
            var sum: Float = 0
            for row in rows { sum += table[row * width + column] }
            return sum / Float(rows.count)
        }
    }
}

/// Frames of a vocoder's features, mel or Bark cepstra: at each moment the mean of those of the target that are nearest in
/// content and pitch, softer where the source is.
final class MatchedTrack: Track {
    private let stage: MatchStage
    private let features: Features
    private let pool: Pool
    private let shift: Double
    private var centred = HeldFrames()
    private var mean: RunningMean
    private var pitchMean: RunningMean
    private var sourceLevel: SpeechLevel

    private static let slackDecibels: Float = 6
    private static let typicalDecibels = -26.0  // of speech into a microphone

    init(_ stage: MatchStage, _ features: Features, _ sources: [Track], _ pool: Pool, semitones: Double) throws {
        let clock = features.clock
        let bands = try features.matchedRows
        guard sources[1].clock == clock, sources[2].clock == clock else {
            throw VoxportError.bundle("stage \(stage.name): its pitch, level and mel are on different clocks")
        }
        guard pool.bands == bands else {
            throw VoxportError.bundle(
                "the target's frames have \(pool.bands) bands, the vocoder takes \(bands)")
        }
        self.stage = stage
        self.features = features
        self.pool = pool
        shift = pool.medianLogPitch + semitones / Pool.semitones
        (mean, pitchMean, sourceLevel) = Self.means(pool, sources[0].clock, clock)
        super.init(clock, sources)
        channels = bands
    }

    private static func means(_ pool: Pool, _ content: Clock, _ clock: Clock) -> (RunningMean, RunningMean, SpeechLevel)
    {
        let perSecond = Double(clock.sampleRate) / Double(clock.hopLength)
        let contentPerSecond = Double(content.sampleRate) / Double(content.hopLength)
        return (
            RunningMean(first: pool.mean.map(Double.init), weight: contentPerSecond),
            // The source's pitch begins at the target's, so that the first words are not thrown about.
            RunningMean(first: [pool.medianLogPitch], weight: perSecond / 4),
            SpeechLevel(first: typicalDecibels, frames: perSecond)
        )
    }

    override func reset() throws {
        try super.reset()
        centred = HeldFrames()
        (mean, pitchMean, sourceLevel) = Self.means(pool, sources[0].clock, clock)
    }

    override func needs(_ source: Track) -> Int { source === sources[0] ? centred.end : frames.end }

    override func advance() throws {
        let content = sources[0]
        let start = centred.end
        let stop = content.frames.end
        if stop > start {
            var rows: [[Float]] = []
            for row in content.frames.taken(start..<stop).columns {
                let centre = mean.push(row)
                rows.append(stage.centred ? zip(row, centre).map { $0 - $1 } : row)
            }
            centred.append(Tensor(columns: rows))
        }
        let known = min(sources[1].frames.end, sources[2].frames.end)
        let isLast = sources.allSatisfy(\.hasEnded)
        let last = isLast ? known : min(framesUntil(stop), known)
        if frames.end < last, centred.end > 0 {
            frames.append(matched(frames.end..<last))
            let needed = content.clock.positions(of: last..<last + 1, on: clock).before[0]
            centred.forget(before: min(needed, centred.end - 1))
        }
        hasEnded = isLast
    }

    /// The frames that content up to a frame of it is enough for.
    private func framesUntil(_ stop: Int) -> Int {
        let seconds = sources[0].clock.moment(stop - 1)
        let place = (seconds * Double(clock.sampleRate) - clock.offset) / Double(clock.hopLength)
        return max(0, Int(place.rounded(.down)))
    }

    private func matched(_ range: Range<Int>) -> Tensor {
        let hertz = sources[1].frames.taken(range).floats
        let levels = sources[2].frames.taken(range).floats
        let content = sources[0].clock.moved(centred, to: range, of: clock)
        var columns: [[Float]] = []
        for (index, row) in content.enumerated() {
            var pitch = Pool.log(hertz[index])
            if !pitch.isNaN {
                let average: Float = pitchMean.push([pitch])[0]
                pitch += Float(shift - Double(average))
            }
            let chosen = pool.nearest(row, logPitch: pitch, stage)
            // As far below the level of the target's speech as the source is below that of its own, or less.
            let speech: Float = sourceLevel.push([levels[index]])[0]
            let most: Float = Float(pool.speechLevel) + levels[index] - speech + Self.slackDecibels
            var theirs: Float = 0
            for frame in chosen { theirs += pool.level[frame] }
            theirs /= Float(chosen.count)
            let mean = MatchedContentTrack.mean(of: chosen, in: pool.mel, pool.bands)
            columns.append(features.shifted(mean, decibels: min(most - theirs, 0), logPitch: pitch))
        }
        return Tensor(columns: columns)
    }
}

extension Features {
    /// The rows of a frame that a target's are matched in.
    ///
    /// Throws ``VoxportError/audio(_:)`` for what is no vocoder's, and for a mel whose level cannot be shifted.
    var matchedRows: Int {
        get throws {
            switch self {
            case .mel(let mel) where mel.signalNorm:
                throw VoxportError.audio("the level of a normalised mel is not shifted")
            case .mel(let mel): return mel.nMels
            case .bark: return Opus.bands + 3
            default: throw VoxportError.audio("frames of a mel or of Bark cepstra are matched, no others")
            }
        }
    }

    /// A matched frame so many dB louder, as far as its floor reaches; where it has a pitch, with that one, in ln Hz.
    fileprivate func shifted(_ frame: [Float], decibels: Float, logPitch: Float) -> [Float] {
        guard case .mel(let mel) = self else { return Bark.shifted(frame, decibels: decibels, logPitch: logPitch) }
        let scale = mel.logBase == 10 ? 1 : log(10.0)
        let floor = Float(mel.gain * log10(mel.amplitudeFloor) * scale)
        let louder = Float(mel.gain * scale / 20) * decibels
        return frame.map { max($0 + louder, floor) }
    }
}

/// Content drawn towards that which a voice was trained on.
final class RetrievedTrack: MappedTrack {
    private let stage: RetrieveStage
    private let index: RetrievalIndex

    init(_ stage: RetrieveStage, _ sources: [Track], _ index: RetrievalIndex) throws {
        self.stage = stage
        self.index = index
        try super.init(stage.name, sources)
        channels = sources[0].channels
    }

    override func mapped(_ frames: [Tensor], from start: Int) throws -> Tensor {
        guard frames[0].shape[0] == index.width else {
            throw VoxportError.bundle(
                "the index is of \(index.width) channels, the content has \(frames[0].shape[0])")
        }
        channels = index.width
        let pitch = frames.count > 1 ? frames[1].floats : []
        var last: (query: [Float], found: [Float])?
        let drawn = frames[0].columns.enumerated().map { number, query -> [Float] in
            // Content repeats at its own rate.
            if last?.query != query { last = (query, index.found(query, neighbours: stage.neighbours)) }
            let isVoiced = pitch.isEmpty || pitch[number] > 0
            let share = Float(stage.share) * (isVoiced ? 1 : Float(stage.protected))
            let found = last!.found
            return query.indices.map { (row: Int) -> Float in query[row] * (1 - share) + found[row] * share }
        }
        return Tensor(columns: drawn)
    }
}

/// Vectors by the centroid that they are nearest to: those of centroid n lie before `ends[n]`.
struct RetrievalIndex {
    let width: Int
    private let vectors: [Float]
    private let centroids: [Float]
    private let ends: [Int]

    /// Throws ``VoxportError/bundle(_:)`` where an array is missing or does not fit the others.
    init(_ tables: NPZ) throws {
        let vectors = try tables.tensor("index_vectors")
        let centroids = try tables.tensor("index_centroids")
        ends = try tables.tensor("index_ends").floats.map { Int($0) }
        guard vectors.shape.count == 2, centroids.shape.count == 2, vectors.shape[1] == centroids.shape[1],
            ends.count == centroids.shape[0], ends.last == vectors.shape[0], ends == ends.sorted()
        else { throw VoxportError.bundle("the bundle's retrieval index is damaged: its arrays do not fit each other") }
        width = vectors.shape[1]
        self.vectors = vectors.floats
        self.centroids = centroids.floats
    }

    /// The mean of the vectors nearest to a query, by weight 1 / d^4; the query itself where there are none.
    func found(_ query: [Float], neighbours: Int) -> [Float] {
        let centre = (0..<ends.count).map { distance(centroids, $0, query) }
        let number = centre.indices.min { centre[$0] < centre[$1] } ?? 0
        let first = number > 0 ? ends[number - 1] : 0
        let rows = first..<ends[number]
        guard !rows.isEmpty else { return query }
        var distances: [(Float, Int)] = []
        for row in rows { distances.append((distance(vectors, row, query), row)) }
        let near = distances.sorted { (a: (Float, Int), b: (Float, Int)) -> Bool in
            a.0 != b.0 ? a.0 < b.0 : a.1 < b.1
        }.prefix(neighbours)
        let weights = near.map { (one: (Float, Int)) -> Double in 1 / pow(max(Double(one.0), 1e-9), 2) }
        let total = weights.reduce(0, +)
        return (0..<width).map { (column: Int) -> Float in
            var sum = 0.0
            for (weight, row) in zip(weights, near) { sum += weight / total * Double(vectors[row.1 * width + column]) }
            return Float(sum)
        }
    }

    private func distance(_ table: [Float], _ row: Int, _ query: [Float]) -> Float {
        var sum: Float = 0
        for column in 0..<width {
            let step = table[row * width + column] - query[column]
            sum += step * step
        }
        return sum
    }
}

extension Tensor {
    /// The columns of (channels, n).
    var columns: [[Float]] {
        let (rows, count) = (shape[0], shape[1])
        let values = floats
        return (0..<count).map { column in (0..<rows).map { values[$0 * count + column] } }
    }

    /// (channels, n) of its columns, of which there is at least one.
    init(columns: [[Float]]) {
        let rows = columns[0].count
        self.init((0..<rows).flatMap { row in columns.map { $0[row] } }, shape: [rows, columns.count])
    }
}
