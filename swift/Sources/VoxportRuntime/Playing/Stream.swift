/// An artefact that takes a chunk at a time, opened: function `edge`, and `steady` for calls away from the ends.
public struct StreamingArtefact {
    public let form: StreamForm
    public let edge: any Engine
    public let steady: (any Engine)?

    public init(form: StreamForm, edge: any Engine, steady: (any Engine)? = nil) {
        self.form = form
        self.edge = edge
        self.steady = steady
    }

    /// Opens a component of a bundle.
    ///
    /// Throws ``VoxportError/stream(_:)`` where it was converted without a stream mode.
    public init(_ component: ComponentRecord, of bundle: VoxportBundle, engines: some EngineSource) throws {
        guard let form = component.stream else {
            throw VoxportError.stream(
                "\(bundle.manifest.name) was converted to be called offline: convert it with stream=stateful")
        }
        edge = try engines.opened(component, function: form.edge, in: bundle)
        steady = try form.steady.map { try engines.opened(component, function: $0, in: bundle) }
        self.form = form
    }
}

/// One utterance through a streaming artefact: frames in, the samples that they complete out.
///
/// What comes out is the offline output of the same artefact, every sample of it, delayed. Streams of one artefact are
/// independent of each other where their engines are. A stream belongs to one thread.
public final class Stream {
    public let form: StreamForm
    private let artefact: StreamingArtefact
    private let constants: [String: Tensor]
    private let types: [String: ElementType]
    private var queues: [String: FrameQueue]
    private var explicit: [String: Tensor] = [:]
    private var held: (any EngineState)?
    /// The first frame of the next chunk.
    private var start = 0
    private var total: Int?

    /// Opens an utterance. `constants` are the inputs that do not vary in time, such as a speaker embedding.
    ///
    /// Throws ``VoxportError/stream(_:)`` unless these are the ones that the artefact takes, and
    /// ``VoxportError/artefact(_:)`` where manifest and artefact do not fit.
    public init(_ artefact: StreamingArtefact, constants: [String: Tensor] = [:]) throws {
        guard Set(constants.keys) == Set(artefact.form.constants) else {
            throw VoxportError.stream(
                "the inputs that are constant in time are \(artefact.form.constants.sorted()), got "
                    + "\(constants.keys.sorted())")
        }
        form = artefact.form
        self.artefact = artefact
        self.constants = constants
        queues = [:]
        for port in form.inputs { queues[port.name] = try FrameQueue(artefact.edge.input(port.name), port) }
        var types: [String: ElementType] = [:]
        if form.state == .explicit {
            for state in form.states { types[state.name] = try artefact.edge.input(state.name).dtype }
        }
        self.types = types
        for port in form.outputs { _ = try artefact.edge.output(port.name) }
        try reset()
    }

    /// Starts anew: the next frame is the first of an utterance.
    public func reset() throws {
        for name in queues.keys { queues[name]!.clear() }
        explicit = [:]
        for state in form.states {
            if let type = types[state.name] { explicit[state.name] = Tensor(zeros: state.shape, type: type) }
        }
        held = form.state == .mlstate ? try artefact.edge.newState() : nil
        start = 0
        total = nil
    }

    /// Input frames taken so far.
    public var frames: Int { queues.values.map { $0.end / $0.port.rate }.min() ?? 0 }

    /// Takes the next frames, any number of them. Returns the samples that they complete, by output.
    ///
    /// Throws ``VoxportError/stream(_:)`` for a missing, unknown or misshapen input, and after ``flush()``.
    public func push(_ inputs: [String: Tensor]) throws -> [String: Tensor] {
        guard total == nil else { throw VoxportError.stream("the stream has ended: reset() begins a new one") }
        guard Set(inputs.keys) == Set(queues.keys) else {
            throw VoxportError.stream(
                "the inputs along time are \(queues.keys.sorted()), got \(inputs.keys.sorted())")
        }
        var counts: Set<Int> = []
        for (name, tensor) in inputs {
            let queue = queues[name]!
            try queue.check(tensor)
            counts.insert(tensor.shape[queue.port.axis] / queue.port.rate)
        }
        guard counts.count == 1 else {
            throw VoxportError.stream("the inputs hold different numbers of frames: \(counts.sorted())")
        }
        for (name, tensor) in inputs { queues[name]!.append(tensor) }
        return try advance()
    }

    /// Ends the utterance. Returns all that is left of it; once more gives nothing.
    public func flush() throws -> [String: Tensor] {
        total = total ?? frames
        return try advance()
    }

    private func advance() throws -> [String: Tensor] {
        var pieces: [String: [Tensor]] = [:]
        while isReady {
            for (name, piece) in try call() { pieces[name, default: []].append(piece) }
        }
        var outputs: [String: Tensor] = [:]
        for port in form.outputs {
            if let parts = pieces[port.name] {
                outputs[port.name] = .joined(parts, along: port.axis)
            } else {
                let spec = try artefact.edge.output(port.name)
                var shape = spec.defaultShape
                shape[port.axis] = 0
                outputs[port.name] = Tensor(zeros: shape, type: spec.dtype)
            }
        }
        return outputs
    }

    private var isReady: Bool {
        guard let total else { return frames - start >= form.ahead }
        return total > 0 && form.outputs.contains { start * $0.rate + $0.lo < total * $0.rate + $0.extra }
    }

    /// Computes one chunk. Returns the part of each output that lies in the utterance.
    private func call() throws -> [String: Tensor] {
        let before = min(start, form.horizon)
        let after = total.map { min($0 - start, form.horizon) } ?? form.horizon
        var inputs = constants
        for (name, queue) in queues { inputs[name] = queue.interval(start * queue.port.rate) }
        inputs.merge(explicit) { $1 }
        var engine = artefact.edge
        if let steady = artefact.steady, before == form.horizon, after == form.horizon {
            engine = steady
        } else {
            inputs["before"] = Tensor([Int32(before)], shape: [1])
            inputs["after"] = Tensor([Int32(after)], shape: [1])
        }
        let results = try engine.run(inputs, state: held)
        for state in form.states {
            if let value = results[state.givenAs] { explicit[state.name] = value.withoutDenormals() }
        }
        let first = start
        start += form.chunk
        for (name, queue) in queues {
            queues[name]!.forget(before: start * queue.port.rate + queue.port.lo)
        }
        var pieces: [String: Tensor] = [:]
        for port in form.outputs {
            guard let output = results[port.name] else {
                throw VoxportError.artefact("function \(form.steady ?? "steady") gives no \(port.name)")
            }
            pieces[port.name] = inside(port, first, output)
        }
        return pieces
    }

    private func inside(_ port: StreamPort, _ start: Int, _ output: Tensor) -> Tensor {
        let first = start * port.rate + port.lo
        var end = first + port.length
        if let total { end = min(end, total * port.rate + port.extra) }
        let lower = min(max(-first, 0), port.length)
        return output.cut(lower..<max(end - first, lower), along: port.axis)
    }
}

extension Tensor {
    /// The same with zeros for denormal numbers, as which fading values of a recurrent state end. A processor computes
    /// with them many times slower.
    func withoutDenormals() -> Tensor {
        guard case .float32(let values) = elements else { return self }
        guard values.contains(where: { $0.isSubnormal }) else { return self }
        return Tensor(values.map { $0.isSubnormal ? 0 : $0 }, shape: shape)
    }
}

/// The fewest samples of silence that an output queue starts with, so that a device which takes blocks of `deviceBlock`
/// never waits for a model that gives blocks of `modelBlock` in time.
public func prefill(deviceBlock: Int, modelBlock: Int) -> Int {
    var (a, b) = (deviceBlock, modelBlock)
    while b != 0 { (a, b) = (b, a % b) }
    return modelBlock - a
}
