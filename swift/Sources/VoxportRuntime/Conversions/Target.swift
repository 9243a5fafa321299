import Foundation

/// Whose voice a conversion is to be: what `python -m runtime target` made of recordings and kept in a file.
public struct Target: Sendable {
    /// Inputs of components, by name.
    public var constants: [String: Tensor] = [:]
    /// Frames that a source's are matched with.
    public var pool: Pool?

    /// A conversion that asks for nobody.
    public init() {}

    /// Reads a target; `own` is a target made of whose voice goes in, for a conversion that asks for it.
    ///
    /// Throws ``VoxportError/bundle(_:)`` for a file that was made for another model, or is none.
    public init(contentsOf url: URL, own: URL? = nil, for bundle: VoxportBundle) throws {
        let arrays = try Self.read(url, bundle)
        if let content = arrays["content"]?.tensor {
            guard case .match(let stage)? = bundle.conversion?.matching else {
                throw VoxportError.bundle("\(url.path) holds frames, and nothing is matched")
            }
            pool = try Pool(
                content: content, mel: stage.mel == nil ? nil : arrays.tensor("mel"),
                pitch: stage.mel == nil ? nil : arrays.tensor("pitch"),
                level: stage.mel == nil ? nil : arrays.tensor("level"), isCentred: stage.centred)
            return
        }
        constants = Self.constants(arrays)
        let (targets, sources) = bundle.encoders
        guard Set(constants.keys) == Set(targets.keys) else {
            throw VoxportError.bundle("\(url.path) does not hold the inputs that say whose voice it is to be")
        }
        guard !sources.isEmpty else { return }
        guard let own else {
            throw VoxportError.bundle("this conversion asks whose voice goes in: a target made of it")
        }
        let kept = try Self.constants(Self.read(own, bundle))
        for (input, encoder) in sources {
            // The same encoder makes both; the file names what it made by the target's input.
            guard let value = targets.first(where: { $0.value == encoder }).flatMap({ kept[$0.key] }) else {
                throw VoxportError.bundle("\(own.path) does not hold what \(encoder) makes")
            }
            constants[input] = value
        }
    }

    /// Makes the target of recordings of one speaker, for a conversion that asks for an embedding of them, or for frames
    /// to match; `own`, likewise of whose voice goes in, where it asks for that.
    ///
    /// `sampleRate`: of all of them. Throws ``VoxportError/bundle(_:)`` for a conversion that asks for nobody, and
    /// ``VoxportError/audio(_:)`` for too little speech.
    public init(
        recordings: [[Float]], own: [[Float]] = [], sampleRate: Int, for bundle: VoxportBundle,
        engines: some EngineSource
    ) throws {
        if let conversion = bundle.conversion, conversion.matching != nil {
            let parts = try Parts(conversion, of: bundle, engines: engines) { _ in [:] }
            let pool = try conversion.pool(of: recordings, sampleRate: sampleRate, parts)
            try pool.check(Double(recordings.reduce(0) { $0 + $1.count }) / Double(sampleRate))
            try Self.checkLevel(of: recordings)
            self.pool = pool
            return
        }
        guard bundle.conversion?.target == .embedding else {
            throw VoxportError.bundle("\(bundle.manifest.name) asks for no speaker's embedding")
        }
        let (targets, sources) = bundle.encoders
        for (inputs, recordings) in [(targets, recordings), (sources, own)] where !inputs.isEmpty {
            let seconds = Double(recordings.reduce(0) { $0 + $1.count }) / Double(sampleRate)
            guard seconds >= 2 else {
                throw VoxportError.audio(
                    "a speaker's recording of \(String(format: "%.1f", seconds)) s is too short: it takes 2 s, better ten"
                )
            }
            for (input, name) in inputs {
                let record = try bundle.component(name)
                guard let features = record.features, let source = record.inputs.first, source.shape.count > 2,
                    let output = record.outputs.first
                else { throw VoxportError.bundle("component \(name) embeds no speaker") }
                let encoder = try SizedComponent(record, of: bundle, engines: engines)
                let rows = try recordings.map { samples in
                    let resampler = try Resampler(from: sampleRate, to: features.sampleRate)
                    let speech = try resampler.push(samples) + resampler.flush()
                    return try targetEmbedding(of: speech, features, length: source.defaultShape[2]) {
                        try encoder.run([source.name: $0]).required(output.name)
                    }
                }
                constants[input] = Tensor(
                    meanRow(.joined(rows, along: 0)), shape: [1] + rows[0].shape.dropFirst())
            }
        }
    }

    /// Throws ``VoxportError/audio(_:)`` for recordings below -60 dB together.
    private static func checkLevel(of recordings: [[Float]]) throws {
        var energy = 0.0
        var count = 0
        for recording in recordings {
            for sample in recording { energy += Double(sample) * Double(sample) }
            count += recording.count
        }
        let power = energy / Double(max(count, 1))
        guard power >= 1e-6 else {
            throw VoxportError.audio(String(format: "a target of %.0f dB is silent", 10 * log10(max(power, 1e-20))))
        }
    }

    /// Those of the constants that a component takes.
    func constants(of component: ComponentRecord) throws -> [String: Tensor] {
        var taken: [String: Tensor] = [:]
        for name in component.targets.merging(component.sources, uniquingKeysWith: { $1 }).keys {
            guard let value = constants[name] else {
                throw VoxportError.bundle("this conversion asks whose voice it is to be: a target (\(name))")
            }
            taken[name] = value
        }
        return taken
    }

    private static func read(_ url: URL, _ bundle: VoxportBundle) throws -> NPZ {
        let arrays = try NPZ(contentsOf: url)
        let checkpoint = bundle.manifest.checkpoint
        // The checkpoint, and behind it the stages as Python writes them, which is not repeated here.
        let maker = "\(checkpoint.name) \(checkpoint.sha256.prefix(12)) "
        guard let madeBy = arrays["made_by"]?.text else {
            throw VoxportError.bundle("\(url.path) is no target that `python -m runtime target` wrote")
        }
        guard madeBy.hasPrefix(maker) else {
            throw VoxportError.bundle("\(url.path) was made for \(madeBy), this is \(maker): make it anew")
        }
        return arrays
    }

    private static func constants(_ arrays: NPZ) -> [String: Tensor] {
        var constants: [String: Tensor] = [:]
        for (name, array) in arrays.arrays where name.hasPrefix("constant/") {
            constants[String(name.dropFirst("constant/".count))] = array.tensor
        }
        return constants
    }
}

extension VoxportBundle {
    /// How the bundle makes audio of audio; of one component that makes audio of features, these two stages. nil for a
    /// bundle that makes no audio of audio.
    public var conversion: Conversion? {
        if let conversion = manifest.conversion { return conversion }
        guard let record = try? main, record.time != nil, record.sound != nil, let features = record.features else {
            return nil
        }
        if case .speakerMel = features { return nil }
        let first = FeatureStage(kind: "features", name: "features", features: features)
        let last = LocalStage(
            kind: "local", name: record.name, component: record.name, takes: ["features"], noiseRows: 0)
        return Conversion(
            stages: [.features(first), .local(last)], target: record.targets.isEmpty ? .builtIn : .embedding)
    }

    /// Input to the component that makes it of a recording, over the components of the conversion.
    var encoders: (targets: [String: String], sources: [String: String]) {
        var targets: [String: String] = [:]
        var sources: [String: String] = [:]
        for stage in conversion?.stages ?? [] {
            guard let name = stage.component, let record = try? component(name) else { continue }
            targets.merge(record.targets) { $1 }
            sources.merge(record.sources) { $1 }
        }
        return (targets, sources)
    }
}

extension Conversion {
    /// The stage that matches frames.
    var matching: Stage? { stages.first { if case .match = $0 { true } else { false } } }

    /// Whether a shift of the pitch has an effect.
    var takesPitch: Bool {
        stages.contains {
            switch $0 {
            case .pitch: return true
            case .match(let stage): return stage.pitch != nil
            default: return false
            }
        }
    }
}

extension Stage {
    /// The component that it plays.
    var component: String? {
        switch self {
        case .windowed(let stage): return stage.component
        case .local(let stage): return stage.component
        default: return nil
        }
    }
}
