import Foundation

/// What to say, and how.
public struct Request: Sendable {
    /// The ids of the symbols.
    public var ids: [Int] = []
    /// Of the noise: the same seed, the same audio.
    public var seed = 0
    /// Embeddings, where the voice is conditioned on them.
    public var speaker: [Float]?
    public var language: [Float]?
    /// 2 is twice as fast.
    public var pace = 1.0
    /// Frames of each symbol, instead of predicted ones.
    public var durations: [Int]?
    /// Instead of the voice's own; 0 makes speech that does not vary.
    public var noiseScale: Double?
    public var durationNoiseScale: Double?
    /// Added to what is predicted, in the standard deviations of the voice's speaker, where the voice predicts it.
    public var pitch = 0.0
    public var energy = 0.0

    public init(ids: [Int] = [], seed: Int = 0, pace: Double = 1) {
        self.ids = ids
        self.seed = seed
        self.pace = pace
    }
}

/// What a voice's last component is to make audio of.
public struct Utterance: Sendable {
    /// Frames along its time.
    public var frames: Tensor
    /// What is beside them.
    public var constants: [String: Tensor] = [:]
    /// Frames of each symbol.
    public var durations: [Int]
}

/// Runs a component by name, on those of the tensors offered that it takes.
typealias Run = (_ component: String, _ offered: [String: Tensor]) throws -> [String: Tensor]

extension VoiceRecord {
    /// Runs the voice's chain, up to what its last component takes: a mel in the scale of the vocoder that plays it.
    ///
    /// Throws ``VoxportError/text(_:)`` for what the voice cannot say, and whatever a component throws.
    func utterance(_ request: Request, _ run: Run) throws -> Utterance {
        var utterance: Utterance
        switch chain {
        case .lengthRegulator: utterance = try lengthRegulated(request, run)
        case .flowPrior: utterance = try flowPrior(request, run)
        case .flowMel: utterance = try flowMel(request, run)
        case .attention: utterance = try attended(request, run)
        }
        if let acoustic, let features { utterance.frames = try acoustic.rescaled(utterance.frames, to: features) }
        return utterance
    }

    /// FastSpeech 2 and its kin: text, hidden states and how long each lasts, repeated along time, mel
    /// (Ren et al. 2021, arXiv 2006.04558, section 2.2).
    private func lengthRegulated(_ request: Request, _ run: Run) throws -> Utterance {
        let shifts = prosody.map { Float($0 == "pitch" ? request.pitch : request.energy) }
        var offered = request.text.merging(request.conditions) { $1 }
        offered["language"] = nil
        offered["shift"] = Tensor(shifts, shape: [1, shifts.count, 1])
        let encoded = try run("encoder", offered)
        let durations =
            try request.durations
            ?? wholeDurations(encoded.required("log_durations").floats) {
                // Of 1 + the duration; a half goes to the even number, as numpy rounds.
                max((exp($0) - 1) * Float(lengthScale / request.pace), 1).rounded(.toNearestOrEven)
            }
        let expanded = try encoded.required("hidden").repeated(durations)
        let mel = try run("decoder", ["expanded": expanded, "frame_mask": .ones(expanded.shape[2])]).required("mel")
        return Utterance(frames: mel, durations: durations)
    }

    /// VITS: text, a normal distribution for each symbol and how long it lasts, a sampled prior, flow, latents
    /// (Kim et al. 2021, section 2.2). Noise is drawn for the durations first.
    private func flowPrior(_ request: Request, _ run: Run) throws -> Utterance {
        var random = NumpyRandom(seed: request.seed)
        var conditions = request.conditions
        let encoded = try run("text_encoder", request.text.merging(conditions.filter { $0.key == "language" }) { $1 })
        let count = request.ids.count
        let drawn = random.normal(2 * count)
        var durations = request.durations ?? []
        if request.durations == nil {
            let scale = Float(request.durationNoiseScale ?? durationNoiseScale)
            var offered = conditions
            offered["hidden"] = try encoded.required("hidden")
            offered["text_mask"] = .ones(count)
            offered["noise"] = Tensor(drawn.map { $0 * scale }, shape: [1, 2, count])
            let logs = try run("duration_predictor", offered).required("log_durations").floats
            durations = try wholeDurations(logs) { (exp($0) * Float(lengthScale / request.pace)).rounded(.up) }
            if durations.reduce(0, +) == 0, !durations.isEmpty { durations[durations.count - 1] = 1 }
        }
        let prior = try sampled(encoded, durations, request, &random)
        conditions["language"] = nil
        let offered = conditions.merging(["prior": prior, "frame_mask": .ones(prior.shape[2])]) { $1 }
        let latents = try run("flow", offered).required("latents")
        return Utterance(frames: latents, constants: conditions, durations: durations)
    }

    /// Glow-TTS: text, a normal distribution for each symbol and how long it lasts, a sampled prior, flow, mel
    /// (Kim et al. 2020, section 3). Frames that fill no column of the flow are left out.
    private func flowMel(_ request: Request, _ run: Run) throws -> Utterance {
        var random = NumpyRandom(seed: request.seed)
        let speaker = request.conditions.filter { $0.key == "speaker" }
        let encoded = try run("encoder", request.text.merging(speaker) { $1 })
        let durations =
            try request.durations
            ?? wholeDurations(encoded.required("log_durations").floats) {
                max(((exp($0) - 1) * Float(lengthScale / request.pace)).rounded(.up), 1)
            }
        let prior = try sampled(encoded, durations, request, &random).squeezed(by: squeeze)
        let offered = speaker.merging(["prior": prior, "frame_mask": .ones(prior.shape[2])]) { $1 }
        let mel = try run("decoder", offered).required("mel")
        return Utterance(frames: mel.unsqueezed(by: squeeze), durations: durations)
    }

    /// mean + noise * exp(log_scale) * noise scale, each symbol's as often as it has frames.
    private func sampled(
        _ encoded: [String: Tensor], _ durations: [Int], _ request: Request, _ random: inout NumpyRandom
    ) throws -> Tensor {
        let mean = try encoded.required("mean").repeated(durations)
        let logScale = try encoded.required("log_scale").repeated(durations).floats
        let scale = Float(request.noiseScale ?? noiseScale)
        let drawn = random.normal(mean.count)
        var values = mean.floats
        for index in values.indices { values[index] += drawn[index] * exp(logScale[index]) * scale }
        return Tensor(values, shape: mean.shape)
    }

    /// Frames of each symbol. Throws ``VoxportError/text(_:)`` for what is no duration of speech.
    private func wholeDurations(_ logs: [Float], _ length: (Float) -> Float) throws -> [Int] {
        let longest: Float = 2000  // a prediction beyond it is a model out of its depth
        return try logs.map { log in
            let frames = length(log)
            guard frames.isFinite, frames <= longest else {
                throw VoxportError.text(
                    "the voice makes a symbol last \(frames) frames: its duration predictor is out of range")
            }
            return Int(frames)
        }
    }
}

extension Request {
    /// The ids and their mask.
    var text: [String: Tensor] {
        ["ids": Tensor(ids.map(Int32.init), shape: [1, ids.count]), "text_mask": .ones(ids.count)]
    }

    /// The embeddings that there are.
    var conditions: [String: Tensor] {
        var conditions: [String: Tensor] = [:]
        if let speaker { conditions["speaker"] = Tensor(speaker, shape: [1, speaker.count, 1]) }
        if let language { conditions["language"] = Tensor(language, shape: [1, language.count, 1]) }
        return conditions
    }
}

extension Dictionary where Key == String, Value == Tensor {
    /// A tensor of a component's outputs. Throws ``VoxportError/artefact(_:)`` where there is none of that name.
    func required(_ name: String) throws -> Tensor {
        guard let tensor = self[name] else { throw VoxportError.artefact("a component of the voice gives no \(name)") }
        return tensor
    }
}

extension Tensor {
    /// A mask (1, 1, `count`) that leaves out nothing.
    static func ones(_ count: Int) -> Tensor { Tensor([Float](repeating: 1, count: count), shape: [1, 1, count]) }

    /// (1, C, T) with each column as often as its count says.
    func repeated(_ counts: [Int]) -> Tensor {
        let (rows, columns) = (shape[1], shape[2])
        let values = floats
        var repeated: [Float] = []
        repeated.reserveCapacity(rows * counts.reduce(0, +))
        for row in 0..<rows {
            for (column, count) in counts.enumerated() {
                repeated.append(contentsOf: repeatElement(values[row * columns + column], count: count))
            }
        }
        return Tensor(repeated, shape: [1, rows, counts.reduce(0, +)])
    }

    /// (1, C, T) -> (1, `by` C, T / `by`): neighbours one below the other.
    func squeezed(by: Int) -> Tensor {
        let (rows, frames) = (shape[1], shape[2])
        let columns = frames / by
        let values = floats
        var squeezed = [Float](repeating: 0, count: by * rows * columns)
        for neighbour in 0..<by {
            for row in 0..<rows {
                for column in 0..<columns {
                    squeezed[(neighbour * rows + row) * columns + column] =
                        values[row * frames + column * by + neighbour]
                }
            }
        }
        return Tensor(squeezed, shape: [1, by * rows, columns])
    }

    /// The inverse of ``squeezed(by:)``.
    func unsqueezed(by: Int) -> Tensor {
        let (rows, columns) = (shape[1] / by, shape[2])
        let values = floats
        var frames = [Float](repeating: 0, count: values.count)
        for neighbour in 0..<by {
            for row in 0..<rows {
                for column in 0..<columns {
                    frames[row * columns * by + column * by + neighbour] =
                        values[(neighbour * rows + row) * columns + column]
                }
            }
        }
        return Tensor(frames, shape: [1, rows, columns * by])
    }
}
