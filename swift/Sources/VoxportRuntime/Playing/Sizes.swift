/// A component whose functions take fixed sizes, or one that takes any: inputs of every size go through it.
public final class SizedComponent {
    /// Size to engine; 0 for one that takes any.
    private let engines: [Int: any Engine]
    private let record: ComponentRecord

    /// Opens a component of a bundle with an engine per size.
    public convenience init(_ record: ComponentRecord, of bundle: VoxportBundle, engines source: some EngineSource)
        throws
    {
        var engines: [Int: any Engine] = [:]
        if record.sizes.isEmpty { engines[0] = try source.opened(record, in: bundle) }
        for (size, function) in record.sizes {
            guard let size = Int(size) else { throw VoxportError.bundle("\(record.name) has a size \(size)") }
            engines[size] = try source.opened(record, function: function.isEmpty ? nil : function, in: bundle)
        }
        self.init(record, engines: engines)
    }

    init(_ record: ComponentRecord, engines: [Int: any Engine]) {
        self.record = record
        self.engines = engines
    }

    /// Runs inputs of any size.
    ///
    /// Throws ``VoxportError/input(_:)`` for inputs that are longer than the largest size, where they are filled up.
    public func run(_ inputs: [String: Tensor]) throws -> [String: Tensor] {
        if let engine = engines[0] { return try engine.run(inputs) }
        return try record.padded ? padded(inputs) : dealtOut(inputs)
    }

    /// The inputs of a chain that the component takes: a chain offers what it has.
    func taken(_ offered: [String: Tensor]) -> [String: Tensor] {
        offered.filter { offer in record.inputs.contains { $0.name == offer.key } }
    }

    /// The whole goes to the next larger size, filled up with zeros; what came of them is cut off.
    private func padded(_ inputs: [String: Tensor]) throws -> [String: Tensor] {
        let axes = Self.flexibleAxes(record.inputs)
        let lengths = Set(inputs.flatMap { input in (axes[input.key] ?? []).map { input.value.shape[$0] } })
        guard lengths.count <= 1 else {
            throw VoxportError.input("\(record.name): its inputs are of different lengths: \(lengths.sorted())")
        }
        guard let length = lengths.first else { return try engines[engines.keys.max()!]!.run(inputs) }
        guard let size = engines.keys.filter({ $0 >= length }).min() else {
            throw VoxportError.input("\(record.name) takes at most \(engines.keys.max()!) at once, there are \(length)")
        }
        var feeds: [String: Tensor] = [:]
        for (name, tensor) in inputs { feeds[name] = tensor.padded(to: size, along: axes[name] ?? []) }
        var outputs = try engines[size]!.run(feeds)
        for (name, flexible) in Self.flexibleAxes(record.outputs) {
            for axis in flexible { outputs[name] = outputs[name]?.cut(0..<length, along: axis) }
        }
        return outputs
    }

    /// Rows of the leading axis are dealt out to calls: as many as fill the largest size, then the smallest.
    private func dealtOut(_ inputs: [String: Tensor]) throws -> [String: Tensor] {
        let rows = inputs.values.first?.shape[0] ?? 0
        var pieces: [String: [Tensor]] = [:]
        var done = 0
        while done < rows {
            let size = engines.keys.filter { $0 <= rows - done }.max() ?? engines.keys.min()!
            let count = min(size, rows - done)
            var part: [String: Tensor] = [:]
            for (name, tensor) in inputs {
                part[name] = tensor.cut(done..<done + count, along: 0).padded(to: size, along: [0])
            }
            for (name, tensor) in try engines[size]!.run(part) {
                pieces[name, default: []].append(tensor.cut(0..<count, along: 0))
            }
            done += count
        }
        return pieces.mapValues { Tensor.joined($0, along: 0) }
    }

    private static func flexibleAxes(_ specs: [TensorSpec]) -> [String: [Int]] {
        Dictionary(
            uniqueKeysWithValues: specs.map { spec in
                let axes = spec.shape.indices.filter { if case .flexible = spec.shape[$0] { true } else { false } }
                return (spec.name, axes)
            })
    }
}
