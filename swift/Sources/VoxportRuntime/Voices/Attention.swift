import Foundation

extension VoiceRecord {
    /// Tacotron: text, memory, frames step by step, each attending to the memory, postnet, mel.
    ///
    /// The loop is here: where it begins and ends, what it may attend to, the dropout that some models keep. With
    /// durations it takes as many steps as they have frames.
    /// Throws ``VoxportError/text(_:)`` for another pace than its own.
    func attended(_ request: Request, _ run: Run) throws -> Utterance {
        guard let how = attending else { throw VoxportError.bundle("the voice does not say how it attends") }
        guard request.pace == 1 else { throw VoxportError.text("this voice has a pace of its own") }
        let length = request.ids.count
        var random = NumpyRandom(seed: request.seed)
        func dropped(_ shape: [Int]) -> Tensor {
            let sizes = [1, 2] + shape
            return Tensor((0..<sizes.reduce(1, *)).map { _ in Float(2 * random.bit()) }, shape: sizes)
        }
        var offered = request.text.merging(request.conditions.filter { $0.key == "speaker" }) { $1 }
        offered["backward"] = Self.fromTheEnd(length)
        if how.textDropout > 0 { offered["dropout"] = dropped([length, how.textDropout]) }
        let memory = try run("encoder", offered).required("memory")
        let stepCount = request.durations.map { ($0.reduce(0, +) + how.framesPerStep - 1) / how.framesPerStep }
        var frame = Tensor(zeros: [1, channels])
        var state = how.firstState
        var alignment = how.firstAlignment(length)
        var blocks: [Tensor] = []
        var durations = [Int](repeating: 0, count: length)
        while blocks.isEmpty || blocks.count < stepCount ?? how.mostSteps {
            let results = try run(
                "decoder_step",
                [
                    "frame": frame, "memory": memory, "carried": state, "alignment": alignment,
                    "text_mask": how.mask(alignment), "dropout": dropped([max(how.dropout, 1)]),
                ])
            state = try results.required("next_carried")
            alignment = try results.required("next_alignment")
            let frames = try results.required("frames")
            blocks.append(frames)
            frame = frames.cut(frames.shape[1] - 1..<frames.shape[1], along: 1).reshaped([1, frames.shape[2]])
            durations[how.row(of: alignment).indexOfLargest] += how.framesPerStep
            let stop = try Double(results.required("stop").floats[0])
            let stops = 1 / (1 + exp(-stop)) > how.stopThreshold
            if stepCount == nil, stops, blocks.count >= how.leastSteps { break }
        }
        let frames = Tensor.joined(blocks, along: 1).transposed()
        let count = frames.shape[2]
        var mel = try run(
            "postnet", ["frames": frames, "frame_mask": .ones(count), "backward": Self.fromTheEnd(count)]
        ).required("mel")
        if let silence = how.silence { mel = mel.withoutEnd(below: Float(silence)) }
        return Utterance(frames: mel, durations: durations)
    }

    /// Positions (1, length) from the last to the first.
    private static func fromTheEnd(_ length: Int) -> Tensor {
        Tensor((0..<length).reversed().map(Int32.init), shape: [1, length])
    }
}

extension Attending {
    /// (1, S), before the first step.
    var firstState: Tensor {
        var values = [Float](repeating: 0, count: stateChannels)
        if let lastState, !values.isEmpty { values[stateChannels - 1] = Float(lastState) }
        return Tensor(values, shape: [1, stateChannels])
    }

    /// (1, K, length), before the first step.
    func firstAlignment(_ length: Int) -> Tensor {
        var values: [Float] = []
        for kind in rows {
            var row = [Float](repeating: kind == "ahead" ? 1e-7 : 0, count: length)
            if kind == "ahead" || kind == "first" { row[0] = 1 }
            values += row
        }
        return Tensor(values, shape: [1, rows.count, length])
    }

    /// The row of an alignment that says where the last step attended to.
    func row(of alignment: Tensor) -> [Float] {
        let row = rows.firstIndex(of: "ahead") ?? 0
        return alignment.cut(row..<row + 1, along: 1).floats
    }

    /// (1, 1, length): 1 for the symbols near the one that was attended to most, or for all.
    func mask(_ alignment: Tensor) -> Tensor {
        let weights = row(of: alignment)
        guard let window else { return .ones(weights.count) }
        let at = weights.contains { $0 != 0 } ? weights.indexOfLargest : -1
        let near = max(at - window[0], 0)..<min(max(at + window[1], 0), weights.count)
        return Tensor(weights.indices.map { Float(near.contains($0) ? 1 : 0) }, shape: [1, 1, weights.count])
    }
}

extension [Float] {
    /// The first of the largest values.
    fileprivate var indexOfLargest: Int { indices.reduce(0) { self[$1] > self[$0] ? $1 : $0 } }
}

extension Tensor {
    /// (1, T, C) -> (1, C, T).
    fileprivate func transposed() -> Tensor {
        let (rows, columns) = (shape[1], shape[2])
        let values = floats
        let turned = (0..<columns).flatMap { column in (0..<rows).map { values[$0 * columns + column] } }
        return Tensor(turned, shape: [1, columns, rows])
    }

    /// A mel without the frames at its end that have no band above a level; at least one stays.
    fileprivate func withoutEnd(below level: Float) -> Tensor {
        let (rows, columns) = (shape[1], shape[2])
        let values = floats
        let last = (0..<columns).last { column in (0..<rows).contains { values[$0 * columns + column] >= level } }
        return cut(0..<(last ?? 0) + 1, along: 2)
    }
}
