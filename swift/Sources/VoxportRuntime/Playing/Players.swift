/// Plays a component that runs along time: frames of an utterance in, in blocks of any size, what becomes of them out.
public protocol Player: AnyObject {
    /// `offline`, `overlap`, or the mode of a streaming artefact.
    var mode: String { get }
    var time: TimeAxis { get }
    /// Frames of the shortest utterance that it takes.
    var shortest: Int { get }

    /// Takes the next frames. Returns the output that they complete, which may be none of it.
    func push(_ frames: Tensor) throws -> Tensor
    /// Ends the utterance. Returns what is left.
    func flush() throws -> Tensor
    /// Begins another utterance.
    func reset() throws
}

extension Player {
    /// The whole output of an utterance.
    public func play(_ frames: Tensor) throws -> Tensor {
        try reset()
        return .joined([try push(frames), try flush()], along: time.outputAxis)
    }
}

/// How an artefact that was converted to be called offline is played.
public enum OfflineMode: String, Sendable {
    /// One call for all of an utterance.
    case offline
    /// Pieces with their halos, equal to one call on every sample.
    case overlap
    /// Of what samples: stretches side by side, crossfaded. Faster, and no longer exact.
    case fold
}

/// The player of a bundle's component; nil stands for the one that makes its audio.
///
/// `mode` and `chunk` are for what was converted without a stream mode, which has only its own otherwise; `constants`
/// are the inputs without time.
/// Throws ``VoxportError/bundle(_:)`` for a component without time, ``VoxportError/stream(_:)`` for what it cannot play.
public func makePlayer(
    _ bundle: VoxportBundle, component: String? = nil, engines: some EngineSource, mode: OfflineMode = .overlap,
    chunk: Int? = nil, constants: [String: Tensor] = [:]
) throws -> any Player {
    let record = try component.map(bundle.component) ?? bundle.main
    guard let time = record.time else {
        throw VoxportError.bundle("\(bundle.manifest.name): its component \(record.name) has no time")
    }
    guard mode != .fold || (record.sampler?.rows ?? 1) > 1 else {
        throw VoxportError.stream("\(record.name) makes its samples in one row: there is nothing to fold")
    }
    let made = record.sampler.map(time.conditioning) ?? time
    let inner: any Player
    if record.stream != nil {
        inner = try StreamingPlayer(
            Stream(StreamingArtefact(record, of: bundle, engines: engines), constants: constants), time: made)
    } else if mode == .offline {
        inner = try OfflinePlayer(engines.opened(record, in: bundle), time: made, constants: constants)
    } else {
        inner = try OverlapPlayer(engines.opened(record, in: bundle), time: made, chunk: chunk, constants: constants)
    }
    guard let sampler = record.sampler else { return inner }
    let block = try SizedComponent(bundle.component(sampler.component), of: bundle, engines: engines).run
    if mode == .fold { return FoldedPlayer(inner, sampler, time: time, block: block) }
    return SampledPlayer(inner, Sampling(sampler, block: block), time: time)
}

/// One call for all of an utterance.
public final class OfflinePlayer: Player {
    public let mode = OfflineMode.offline.rawValue
    public let time: TimeAxis
    private let engine: any Engine
    private let spec: TensorSpec
    private let constants: [String: Tensor]
    private var held: [Tensor] = []

    public init(_ engine: any Engine, time: TimeAxis, constants: [String: Tensor] = [:]) throws {
        self.engine = engine
        self.time = time
        self.constants = constants
        spec = try engine.input(time.input)
    }

    public var shortest: Int { time.window(of: spec).lo }

    public func push(_ frames: Tensor) throws -> Tensor {
        held.append(frames)
        return try none(engine, time)
    }

    public func flush() throws -> Tensor {
        guard !held.isEmpty else { return try none(engine, time) }
        let frames = Tensor.joined(held, along: time.inputAxis)
        held = []
        if let problem = spec.misfit(frames.shape) {
            throw VoxportError.stream("mode offline: the utterance \(problem); use mode overlap")
        }
        return try output(engine, time, frames, constants)
    }

    public func reset() { held = [] }
}

/// Pieces of `chunk` new frames with their halos; of what has passed only a window and its halo are kept.
public final class OverlapPlayer: Player {
    public let mode = OfflineMode.overlap.rawValue
    public let time: TimeAxis
    private let engine: any Engine
    private let constants: [String: Tensor]
    private let plan: Overlapping
    private var held: Tensor?
    /// The first frame that is held, the first whose output is still due, and the one after the last that came.
    private var known = 0
    private var first = 0
    private var end = 0

    public init(_ engine: any Engine, time: TimeAxis, chunk: Int? = nil, constants: [String: Tensor] = [:]) throws {
        self.engine = engine
        self.time = time
        self.constants = constants
        plan = try Overlapping(
            window: time.window(of: engine.input(time.input)), left: time.left, right: time.right, chunk: chunk)
    }

    public var shortest: Int { plan.window.lo }

    /// New frames per call.
    public var chunk: Int { plan.chunk }

    public func push(_ frames: Tensor) throws -> Tensor {
        held = held.map { .joined([$0, frames], along: time.inputAxis) } ?? frames
        end = known + held!.shape[time.inputAxis] / time.positions
        guard end > min(plan.window.hi, plan.chunk) else { return try none(engine, time) }  // one call may do
        try plan.checkFits()
        var pieces = [try none(engine, time)]
        // With a piece's frames here, what follows cannot change it: it is that of an utterance of any length.
        while case let piece = plan.piece(first, Overlapping.noEnd), piece.stop <= end {
            pieces.append(try output(of: piece))
            first = piece.keepTo
            forget(before: min(first - time.left, end - plan.window.lo))
        }
        return .joined(pieces, along: time.outputAxis)
    }

    public func flush() throws -> Tensor {
        var pieces = [try none(engine, time)]
        if first == 0 {
            for piece in try plan.pieces(end) { pieces.append(try output(of: piece, isLast: piece.keepTo == end)) }
        } else {
            var starts = Array(stride(from: first, to: end, by: plan.chunk))
            if starts.isEmpty && (time.extra ?? 0) > 0 { starts = [end] }  // what follows the frames that have passed
            for keepFrom in starts {
                let piece = plan.piece(keepFrom, end)
                pieces.append(try output(of: piece, isLast: piece.keepTo == end))
            }
        }
        reset()
        return .joined(pieces, along: time.outputAxis)
    }

    public func reset() {
        held = nil
        known = 0
        first = 0
        end = 0
    }

    private func forget(before frame: Int) {
        guard frame > known, let frames = held else { return }
        let length = frames.shape[time.inputAxis]
        held = frames.cut((frame - known) * time.positions..<length, along: time.inputAxis)
        known = frame
    }

    private func output(of piece: Piece, isLast: Bool = false) throws -> Tensor {
        let range = (piece.start - known) * time.positions..<(piece.stop - known) * time.positions
        let samples = try VoxportRuntime.output(engine, time, held!.cut(range, along: time.inputAxis), constants)
        let from = (piece.keepFrom - piece.start) * time.samplesPerFrame
        let to = (piece.keepTo - piece.start) * time.samplesPerFrame + (isLast ? time.extra ?? 0 : 0)
        return samples.cut(from..<to, along: time.outputAxis)
    }
}

/// A streaming artefact; it has one mode and one chunk.
public final class StreamingPlayer: Player {
    public let time: TimeAxis
    private let stream: Stream

    public init(_ stream: Stream, time: TimeAxis) {
        self.stream = stream
        self.time = time
    }

    public var mode: String { stream.form.mode.rawValue }
    public var shortest: Int { 1 }
    /// How the artefact is called.
    public var form: StreamForm { stream.form }

    public func push(_ frames: Tensor) throws -> Tensor { try heard(stream.push([time.input: frames])) }

    public func flush() throws -> Tensor { try heard(stream.flush()) }

    public func reset() throws { try stream.reset() }

    private func heard(_ outputs: [String: Tensor]) throws -> Tensor {
        guard let output = outputs[time.output] else {
            throw VoxportError.artefact("the manifest names an output \(time.output), which does not stream")
        }
        return output
    }
}

private func output(
    _ engine: any Engine, _ time: TimeAxis, _ frames: Tensor, _ constants: [String: Tensor]
) throws -> Tensor {
    let results = try engine.run(constants.merging([time.input: frames]) { $1 })
    guard let output = results[time.output] else {
        throw VoxportError.artefact("the manifest names an output \(time.output), which the artefact does not give")
    }
    return output
}

private func none(_ engine: any Engine, _ time: TimeAxis) throws -> Tensor {
    let spec = try engine.output(time.output)
    var shape = spec.defaultShape
    shape[time.outputAxis] = 0
    return Tensor(zeros: shape, type: spec.dtype)
}
