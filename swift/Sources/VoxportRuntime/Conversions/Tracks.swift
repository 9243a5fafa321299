/// Frames (channels, n), each of `size` positions, as long as they are needed.
final class HeldFrames {
    private let size: Int
    /// Position after position, its channels together.
    private var values: [Float] = []
    private var channels = 0
    private var came = 0
    private var dropped = 0

    init(size: Int = 1) { self.size = size }

    /// Whole frames that came.
    var end: Int { came / size }

    func append(_ block: Tensor) {
        let (rows, positions) = (block.shape[0], block.shape[1])
        let floats = block.floats
        channels = rows
        for position in 0..<positions {
            for row in 0..<rows { values.append(floats[row * positions + position]) }
        }
        came += positions
    }

    /// A copy of frames, none of which may be forgotten.
    func taken(_ frames: Range<Int>) -> Tensor {
        let first = frames.lowerBound * size - dropped
        let count = frames.count * size
        var taken = [Float](repeating: 0, count: channels * count)
        for position in 0..<count {
            for row in 0..<channels { taken[row * count + position] = values[(first + position) * channels + row] }
        }
        return Tensor(taken, shape: [channels, count])
    }

    /// Drops the frames before one.
    func forget(before frame: Int) {
        let passed = max(frame * size - dropped, 0)
        values.removeFirst(min(passed * channels, values.count))
        dropped += passed
    }
}

extension Clock {
    /// Seconds.
    func moment(_ frame: Int) -> Double { (Double(frame) * Double(hopLength) + offset) / Double(sampleRate) }

    /// Where frames of another clock lie among this one's: after which of them, and how far.
    func positions(of frames: Range<Int>, on other: Clock) -> (before: [Int], share: [Float]) {
        let places = frames.map { frame in
            max((other.moment(frame) * Double(sampleRate) - offset) / Double(hopLength), 0)
        }
        return (places.map { Int($0) }, places.map { Float($0 - $0.rounded(.down)) })
    }

    /// Frames on this clock that are held, at the moments of another one's: between two of them as it lies, behind the last
    /// one that.
    func moved(_ held: HeldFrames, to frames: Range<Int>, of other: Clock) -> [[Float]] {
        let (before, share) = positions(of: frames, on: other)
        let first = min(before[0], held.end - 1)
        let rows = held.taken(first..<held.end).columns
        return zip(before, share).map { place, share in
            let here = rows[min(place - first, rows.count - 1)]
            let after = rows[min(place - first + 1, rows.count - 1)]
            return here.indices.map { (column: Int) -> Float in here[column] * (1 - share) + after[column] * share }
        }
    }
}

/// A stage that runs: frames of it as long as they are needed, on its clock.
class Track {
    let clock: Clock
    let sources: [Track]
    /// Positions of a frame: many where it is samples.
    let positions: Int
    var channels = 1
    private(set) var frames: HeldFrames
    var hasEnded = false

    init(_ clock: Clock, _ sources: [Track], positions: Int = 1) {
        self.clock = clock
        self.sources = sources
        self.positions = positions
        frames = HeldFrames(size: positions)
    }

    func reset() throws {
        frames = HeldFrames(size: positions)
        hasEnded = false
    }

    /// Makes every frame that can be made.
    func advance() throws {}

    /// The first frame of a source that is still needed.
    func needs(_ source: Track) -> Int { frames.end }

    /// Seconds of audio after which frames come.
    var blockSeconds: Double { Double(clock.hopLength) / Double(clock.sampleRate) }

    /// Of the components in a row on its clock that it ends, each of which takes what the one before gives.
    var paces: [Pace] { [] }

    /// Whether frames come one by one but for `paces`.
    var isEven: Bool { !paces.isEmpty || blockSeconds <= Double(clock.hopLength) / Double(clock.sampleRate) }

    /// Frames that come at once.
    var chunk: Int {
        max(1, Int((blockSeconds * Double(clock.sampleRate) / Double(clock.hopLength)).rounded(.toNearestOrEven)))
    }
}

/// Frames of several tracks on one clock, their channels one below another, then rows of noise.
struct Joined {
    let sources: [Track]
    let noiseRows: Int

    /// Throws ``VoxportError/bundle(_:)`` for tracks on different clocks.
    init(_ stage: String, _ sources: [Track], noiseRows: Int = 0) throws {
        guard sources.allSatisfy({ $0.clock == sources[0].clock && $0.positions == sources[0].positions }) else {
            throw VoxportError.bundle("stage \(stage): what it takes is on different clocks")
        }
        self.sources = sources
        self.noiseRows = noiseRows
    }

    var clock: Clock { sources[0].clock }
    var positions: Int { sources[0].positions }
    var end: Int { sources.map(\.frames.end).min() ?? 0 }
    var hasEnded: Bool { sources.allSatisfy(\.hasEnded) }
    var channels: Int { sources.reduce(noiseRows) { $0 + $1.channels } }

    func taken(_ frames: Range<Int>) -> Tensor {
        guard !frames.isEmpty else { return Tensor(zeros: [channels, 0]) }
        var rows = sources.map { $0.frames.taken(frames) }
        if noiseRows > 0 {
            let drawn = frameNoise(rows: noiseRows, frames: frames, kind: "normal")
            rows.append(Tensor(drawn, shape: [noiseRows, frames.count]))
        }
        return .joined(rows, along: 0)
    }
}

/// Features of the audio.
final class FeaturedTrack: Track {
    let sampleRate: Int
    private let stream: any FeatureStream

    init(_ features: Features) throws {
        stream = try features.stream()
        sampleRate = features.sampleRate
        super.init(features.clock, [], positions: features.positions)
        channels = stream.channels
    }

    override func reset() throws {
        try super.reset()
        stream.reset()
    }

    func push(_ samples: [Float]) throws {
        if !hasEnded { frames.append(try stream.push(samples)) }
    }

    func flush() throws {
        frames.append(try stream.flush())
        hasEnded = true
    }
}

/// A component that is not local in time, in overlapping windows.
final class WindowedTrack: Track {
    private let stage: WindowedStage
    private let context: Context
    private let taken: Joined
    private let run: (Tensor) throws -> Tensor
    /// The first frame of the source of the next chunk.
    private var start = 0

    init(_ stage: WindowedStage, _ sources: [Track], context: Context, run: @escaping (Tensor) throws -> Tensor) throws
    {
        self.stage = stage
        self.context = context
        self.run = run
        taken = try Joined(stage.name, sources)
        let source = taken.clock
        super.init(
            Clock(
                sampleRate: source.sampleRate, hopLength: source.hopLength * stage.framesPerOutput,
                offset: source.offset),
            sources)
    }

    override func reset() throws {
        try super.reset()
        start = 0
    }

    override func needs(_ source: Track) -> Int { max(start - context.past, 0) }

    override func advance() throws {
        while !hasEnded {
            if taken.hasEnded, start >= taken.end {
                hasEnded = true
            } else if start + context.chunk + context.future <= taken.end || taken.hasEnded {
                frames.append(try called())
                start += context.chunk
            } else {
                return
            }
        }
    }

    /// The frames of one chunk, fewer where the audio ends in it.
    private func called() throws -> Tensor {
        let per = stage.framesPerOutput
        let size = taken.positions
        let first = start - context.past
        let last = start + context.chunk + context.future
        let here = max(first, 0)
        let end = min(last, taken.end)
        let known = taken.taken(here..<end)
        func filled(_ count: Int) -> Tensor {
            let values = [Float](repeating: Float(stage.fill), count: taken.channels * count * size)
            return Tensor(values, shape: [taken.channels, count * size])
        }
        let window = Tensor.joined([filled(here - first), known, filled(last - end)], along: 1)
        let output = try run(window.reshaped([1] + window.shape))
        let count = min(context.chunk, taken.end - start)
        let range = context.past / per..<context.past / per + (count + per - 1) / per
        let frames = output.cut(range, along: 2)
        channels = frames.shape[1]
        return frames.reshaped(Array(frames.shape.dropFirst()))
    }

    override var blockSeconds: Double {
        Double(context.chunk * taken.clock.hopLength) / Double(clock.sampleRate)
    }
}

/// Frames of frames, by a component that is local in time.
final class LocalTrack: Track {
    private let given: Joined
    private let player: any Player
    private let form: StreamForm?
    private var pushed = 0

    init(_ stage: LocalStage, _ sources: [Track], _ player: any Player, channels: Int) throws {
        given = try Joined(stage.name, sources, noiseRows: stage.noiseRows)
        self.player = player
        form = (player as? StreamingPlayer)?.form
        super.init(given.clock, sources)
        self.channels = channels
    }

    override func reset() throws {
        try super.reset()
        try player.reset()
        pushed = 0
    }

    override func needs(_ source: Track) -> Int { pushed }

    override func advance() throws {
        if given.end > pushed {
            let block = given.taken(pushed..<given.end)
            append(try player.push(block.reshaped([1] + block.shape)))
            pushed = given.end
        }
        if given.hasEnded, !hasEnded {
            append(try player.flush())
            hasEnded = true
        }
    }

    private func append(_ output: Tensor) { frames.append(output.reshaped(Array(output.shape.dropFirst()))) }

    override var blockSeconds: Double {
        Double(max(form?.chunk ?? 0, 1) * clock.hopLength) / Double(clock.sampleRate)
    }

    override var paces: [Pace] { form.map { sources.slowestPaces + [$0.pace] } ?? [] }
}

/// A frame of the frames of other tracks at its moment, made here.
class MappedTrack: Track {
    /// Throws ``VoxportError/bundle(_:)`` for tracks on different clocks.
    init(_ stage: String, _ sources: [Track]) throws {
        guard sources.allSatisfy({ $0.clock == sources[0].clock }) else {
            throw VoxportError.bundle("stage \(stage): what it takes is on different clocks")
        }
        super.init(sources[0].clock, sources)
    }

    override func advance() throws {
        let start = frames.end
        let end = sources.map(\.frames.end).min() ?? 0
        if end > start { frames.append(try mapped(sources.map { $0.frames.taken(start..<end) }, from: start)) }
        hasEnded = sources.allSatisfy(\.hasEnded)
    }

    override var paces: [Pace] { sources.slowestPaces }

    /// The frames from a number on, of those of the sources.
    func mapped(_ frames: [Tensor], from start: Int) throws -> Tensor { frames[0] }
}

extension [Track] {
    /// The paces of the one whose frames come last.
    var slowestPaces: [Pace] {
        map(\.paces).reduce([]) { $1.waited > $0.waited ? $1 : $0 }
    }
}
