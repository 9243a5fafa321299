/// What a sampler's component makes of its inputs, a block of samples of one or more rows.
typealias SampleBlock = ([String: Tensor]) throws -> [String: Tensor]

/// Samples of one utterance, each depending on the one before: conditioning in, samples out.
///
/// A component makes a block of them at a time; what it hands on goes from call to call here. In pieces of any size the
/// samples are those of one long call.
final class Sampling {
    private let block: SampleBlock
    private let sampler: Sampler
    private var carried: Tensor
    private var waiting: Tensor?

    init(_ sampler: Sampler, block: @escaping SampleBlock) {
        self.sampler = sampler
        self.block = block
        carried = Tensor(zeros: [1, sampler.carried])
    }

    func reset() {
        carried = Tensor(zeros: [1, sampler.carried])
        waiting = nil
    }

    /// Takes conditioning (1, C, n). Returns the samples (1, 1, m) of every block that is complete.
    func push(_ conditioning: Tensor) throws -> Tensor {
        let known = waiting.map { Tensor.joined([$0, conditioning], along: 2) } ?? conditioning
        let size = sampler.columns
        let complete = known.shape[2] / size * size
        var samples: [Float] = []
        for start in stride(from: 0, to: complete, by: size) {
            let part = known.cut(start..<start + size, along: 2)
            let results = try block([sampler.input: part, "carried": carried])
            carried = try results.required("next_carried")
            samples += try results.required("samples").floats
        }
        waiting = known.cut(complete..<known.shape[2], along: 2)
        return Tensor(samples, shape: [1, 1, samples.count])
    }

    /// The samples that are left: the last block is filled up with zeros.
    func flush() throws -> Tensor {
        guard let waiting, waiting.shape[2] > 0 else { return Tensor(zeros: [1, 1, 0]) }
        let left = waiting.shape[2]
        let rest = Tensor(zeros: [1, waiting.shape[1], sampler.columns - left], type: waiting.type)
        return try push(rest).cut(0..<left * sampler.hopLength, along: 2)
    }
}

/// Conditioning (1, C, N) in folds that share `seam` samples with their neighbours and are made side by side, each of
/// `fold` samples of its own or fewer (`fold_with_overlap` of fatchord's WaveRNN). Gives (1, 1, N).
///
/// Every fold begins from nothing, and over a seam one fades linearly into the next: where the network has forgotten by
/// then how it began, the result is that of one long call.
func folded(_ sampler: Sampler, _ conditioning: Tensor, fold: Int, seam: Int, block: SampleBlock) throws -> Tensor {
    let total = conditioning.shape[2]
    guard total > 0 else { return Tensor(zeros: [1, 1, 0]) }
    let (starts, length) = foldSpans(total, fold: fold, seam: seam, rows: sampler.rows)
    let size = sampler.samples
    let calls = (length + size - 1) / size
    let reach = starts.last! + calls * size
    let filling = Tensor(zeros: [1, conditioning.shape[1], max(reach - total, 0)], type: conditioning.type)
    let padded = Tensor.joined([conditioning, filling], along: 2)
    var carried = Tensor(zeros: [starts.count, sampler.carried])
    var rows = [[Float]](repeating: [], count: starts.count)
    for call in 0..<calls {
        let parts = starts.map { padded.cut($0 + call * size..<$0 + (call + 1) * size, along: 2) }
        let results = try block([sampler.input: .joined(parts, along: 0), "carried": carried])
        carried = try results.required("next_carried")
        let samples = try results.required("samples").floats
        for row in rows.indices { rows[row] += samples[row * size..<(row + 1) * size] }
    }
    var audio = [Float](repeating: 0, count: starts.last! + length)
    for (number, start) in starts.enumerated() {
        for index in 0..<length {
            var gain: Float = 1
            if number > 0, index < seam { gain = (Float(index) + 0.5) / Float(seam) }
            if number < starts.count - 1, index >= length - seam {
                gain = (Float(length - 1 - index) + 0.5) / Float(seam)
            }
            audio[start + index] += gain * rows[number][index]
        }
    }
    return Tensor(Array(audio[..<total]), shape: [1, 1, total])
}

/// Where folds begin and how long all of them are. They are as many as fill `rows`, unless they would be hardly longer
/// than their seams.
func foldSpans(_ total: Int, fold: Int, seam: Int, rows: Int) -> (starts: [Int], length: Int) {
    let own = max(total - seam, 1)
    let wanted = (own + fold + seam - 1) / (fold + seam)
    let count = min((wanted + rows - 1) / rows * rows, seam > 0 ? max(total / (4 * seam), 1) : total)
    let stride = (own + count - 1) / count
    return ((0..<count).map { $0 * stride }, stride + seam)
}

/// Samples of what another player gives, each depending on the one before.
public final class SampledPlayer: Player {
    public let time: TimeAxis
    let inner: any Player
    private let sampling: Sampling

    init(_ inner: any Player, _ sampling: Sampling, time: TimeAxis) {
        self.inner = inner
        self.sampling = sampling
        self.time = time
    }

    public var mode: String { inner.mode }
    public var shortest: Int { inner.shortest }

    public func push(_ frames: Tensor) throws -> Tensor { try sampling.push(inner.push(frames)) }

    public func flush() throws -> Tensor {
        .joined([try sampling.push(inner.flush()), try sampling.flush()], along: 2)
    }

    public func reset() throws {
        sampling.reset()
        try inner.reset()
    }
}

/// Stretches of an utterance side by side, each sampled from nothing and crossfaded: all samples at its end.
public final class FoldedPlayer: Player {
    /// As Real-Time-Voice-Cloning folds: seconds of a fold's own audio, and of what two share.
    static let foldSeconds = 0.5
    static let seamSeconds = 0.05

    public let mode = OfflineMode.fold.rawValue
    public let time: TimeAxis
    private let inner: any Player
    private let sampler: Sampler
    private let block: SampleBlock
    private var held: [Tensor] = []

    init(_ inner: any Player, _ sampler: Sampler, time: TimeAxis, block: @escaping SampleBlock) {
        self.inner = inner
        self.sampler = sampler
        self.block = block
        self.time = time
    }

    public var shortest: Int { inner.shortest }

    public func push(_ frames: Tensor) throws -> Tensor {
        held.append(try inner.push(frames))
        return Tensor(zeros: [1, 1, 0])
    }

    public func flush() throws -> Tensor {
        let conditioning = Tensor.joined(held + [try inner.flush()], along: 2)
        held = []
        func samples(_ seconds: Double) -> Int {
            Int((seconds * Double(time.sampleRate)).rounded(.toNearestOrEven))
        }
        return try folded(
            sampler, conditioning, fold: samples(Self.foldSeconds), seam: samples(Self.seamSeconds), block: block)
    }

    public func reset() throws {
        held = []
        try inner.reset()
    }
}

extension Player {
    /// How the artefact streams; nil of one that was converted to be called offline.
    public var streamForm: StreamForm? {
        (self as? StreamingPlayer)?.form ?? (self as? SampledPlayer)?.inner.streamForm
    }
}

extension TimeAxis {
    /// The time of what is sampled from, by that of the samples.
    func conditioning(_ sampler: Sampler) -> TimeAxis {
        TimeAxis(
            input: input, output: sampler.input, inputAxis: inputAxis, outputAxis: outputAxis,
            samplesPerFrame: samplesPerFrame / sampler.hopLength, left: left, right: right, sampleRate: sampleRate,
            positions: positions, hopLength: hopLength * sampler.hopLength)
    }
}
