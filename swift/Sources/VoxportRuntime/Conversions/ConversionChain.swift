/// Audio to audio: a bundle's conversion with its components opened, in blocks of any size.
///
/// Of a vocoder that is copy synthesis: audio, mel, audio.
public final class ConversionChain: LiveChain {
    public let sampleRate: Int
    /// The rate of the audio that is given.
    public let outputRate: Int
    public let player: any Player
    public let chunk: Int
    private let frontend: Frontend
    private let outwards: Resampler
    private let windowSeconds: Double
    private let frames: [(samples: Int, rate: Int)]

    /// Opens a conversion.
    ///
    /// `sampleRate`: of the audio that is taken. `outputRate`: of what is given, which in a ``Session`` is the same; nil for
    /// that of the last component. `context`: which windows components look through that are not local in
    /// time. `semitones`: by which the pitch is shifted. `mode` and `chunk` are the last component's, as for `makePlayer`.
    /// Throws ``VoxportError/bundle(_:)`` for a bundle that makes no audio of audio, or asks for another target.
    public convenience init(
        _ bundle: VoxportBundle, engines: any EngineSource, sampleRate: Int, outputRate: Int? = nil,
        target: Target = Target(),
        context: ConversionContext = .offline, semitones: Double = 0, mode: OfflineMode = .overlap, chunk: Int? = nil
    ) throws {
        guard let conversion = bundle.conversion else {
            throw VoxportError.bundle("\(bundle.manifest.name) makes no audio of audio")
        }
        let parts = try Parts(conversion, of: bundle, engines: engines, constants: target.constants)
        let main = try bundle.main
        let player = try makePlayer(
            bundle, engines: engines, mode: mode, chunk: chunk, constants: target.constants(of: main))
        try self.init(
            conversion, parts, player, sampleRate: sampleRate, outputRate: outputRate, pool: target.pool,
            context: context, semitones: semitones)
    }

    /// The chain of a conversion whose components are opened; `player` plays the last one.
    init(
        _ conversion: Conversion, _ parts: Parts, _ player: any Player, sampleRate: Int, outputRate: Int? = nil,
        pool: Pool? = nil, context: ConversionContext, semitones: Double = 0
    ) throws {
        guard (conversion.matching == nil) == (pool == nil) else {
            throw VoxportError.bundle("a target's frames are for a conversion that matches frames, which needs them")
        }
        guard semitones == 0 || conversion.takesPitch else {
            throw VoxportError.bundle("this conversion takes no pitch that could be shifted")
        }
        frontend = try Frontend(
            conversion, parts, pool: pool, sampleRate: sampleRate, context: context, semitones: semitones)
        self.player = player
        self.sampleRate = sampleRate
        self.outputRate = outputRate ?? player.time.sampleRate
        outwards = try Resampler(from: player.time.sampleRate, to: self.outputRate, quality: context.resampling)
        let frame = player.time.frameSeconds
        let form = player.streamForm
        let together =
            if frontend.isEven {
                Double((frontend.paces + [form?.pace].compactMap { $0 }).burst) * frame
            } else {
                Double(form?.chunk ?? 1) * frame + frontend.blockSeconds
            }
        self.chunk = Int((together * Double(self.outputRate) - 1e-6).rounded(.up))
        windowSeconds = conversion.stages.reduce(0) { longest, stage in
            guard case .features(let stage) = stage else { return longest }
            return max(longest, stage.features.windowSeconds)
        }
        frames =
            conversion.stages.compactMap { stage in
                guard case .features(let stage) = stage else { return nil }
                return (stage.features.clock.hopLength, stage.features.clock.sampleRate)
            } + [(player.time.samplesPerFrame, player.time.sampleRate)]
    }

    /// How many samples a recording of `count` is with silence behind it: whole frames of the slowest features, and as many as
    /// ``shortest`` asks for. What it becomes is cut to the recording's length again.
    public func padded(_ count: Int) -> Int {
        let frame = frames.max { $0.samples * $1.rate < $1.samples * $0.rate } ?? (1, 1)
        let size = frame.samples * sampleRate  // of samples, in parts of one by frame.rate
        let whole = ((count * frame.rate + size - 1) / size * size + frame.rate - 1) / frame.rate
        return max(whole, Int((shortest * Double(sampleRate)).rounded(.up)))
    }

    /// Seconds of the shortest audio that it takes.
    public var shortest: Double { max(Double(player.shortest) * player.time.frameSeconds, windowSeconds) }

    /// What moves the latents of a model that has them; nil for any other.
    public var latents: Latents? { frontend.latents }

    public func push(_ samples: [Float]) throws -> [Float] {
        try outwards.push(player.push(frontend.push(samples)).floats)
    }

    /// Ends the audio. Returns what is left of the output.
    public func flush() throws -> [Float] {
        let rest = try player.push(frontend.flush()).floats
        let end = try player.flush().floats
        return try outwards.push(rest + end) + outwards.flush()
    }

    public func reset() throws {
        try frontend.reset()
        try player.reset()
        outwards.reset()
    }
}

extension Parts {
    /// The components of a bundle's conversion. `constants`: those that a component takes of whose voice it is to be.
    init(
        _ conversion: Conversion, of bundle: VoxportBundle, engines: any EngineSource,
        constants: @escaping (ComponentRecord) throws -> [String: Tensor]
    ) throws {
        var windowed: [String: SizedComponent] = [:]
        for case .windowed(let stage) in conversion.stages {
            windowed[stage.component] = try SizedComponent(
                bundle.component(stage.component), of: bundle, engines: engines)
        }
        let opened = windowed
        func run(_ name: String, _ frames: Tensor) throws -> Tensor {
            let record = try bundle.component(name)
            let constants = try constants(record)
            guard let input = record.inputs.first(where: { constants[$0.name] == nil }),
                let output = record.outputs.first,
                let component = opened[name]
            else { throw VoxportError.bundle("component \(name) takes no frames") }
            return try component.run(constants.merging([input.name: frames]) { $1 }).required(output.name)
        }
        func streamed(_ name: String) throws -> (any Player, channels: Int) {
            let record = try bundle.component(name)
            let player = try makePlayer(bundle, component: name, engines: engines, constants: constants(record))
            return (player, record.outputs[0].defaultShape[1])
        }
        self.init(run: run, player: streamed) {
            try RetrievalIndex(NPZ(contentsOf: bundle.url.appendingPathComponent("voice.npz")))
        }
    }
}

extension Features {
    /// Seconds of audio that one frame is made of.
    var windowSeconds: Double {
        let samples: Int
        switch self {
        case .mel(let one): samples = one.nFft
        case .linear(let one): samples = one.nFft
        case .level(let one): samples = one.nFft
        case .pitch(let one): samples = one.nFft
        case .pitchCandidates(let one): samples = one.nFft
        case .logBands(let one): samples = one.windows.max() ?? 0
        case .samples(let one): samples = one.hopLength
        case .excitation(let one): samples = 4 * one.hopLength
        case .bark(let one): samples = 2 * one.hopLength
        case .speakerMel(let one): samples = one.nFft
        }
        return Double(samples) / Double(sampleRate)
    }
}
