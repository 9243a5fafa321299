import Testing

@testable import VoxportRuntime

/// The engine of Python's `runtime/commands/fixtures/streams.py`, which only does sums.
private final class SummingEngine: Engine {
    final class Calls {
        var all: [[String]] = []
    }

    let name = "sums"
    let inputs: [TensorSpec]
    let outputs: [TensorSpec]
    private let function: String
    private let form: StreamForm
    private let calls: Calls

    init(_ function: String, _ form: StreamForm, _ calls: Calls) {
        self.function = function
        self.form = form
        self.calls = calls
        let along = form.inputs.map { TensorSpec(name: $0.name, shape: [.fixed(1), .fixed(2), .fixed($0.length)]) }
        let states = form.states.map { TensorSpec(name: $0.name, shape: $0.shape.map(Axis.fixed)) }
        let ends = function == "edge" ? ["before", "after"] : []
        inputs = along + states + ends.map { TensorSpec(name: $0, shape: [.fixed(1)], dtype: .int32) }
        outputs = form.outputs.map { TensorSpec(name: $0.name, shape: [.fixed(1), .fixed(1), .fixed($0.length)]) }
    }

    func newState() -> (any EngineState)? { nil }

    func run(_ inputs: [String: Tensor], state: (any EngineState)?) throws -> [String: Tensor] {
        let checked = try checkedInputs(self.inputs, inputs)
        func end(_ name: String) -> Int { checked[name].map { Int($0.floats[0]) } ?? form.horizon }
        let (before, after) = (end("before"), end("after"))
        var total = 0
        for port in form.inputs {
            for (index, value) in checked[port.name]!.floats.enumerated() { total += Int(value) * (index % 7 + 1) }
        }
        for state in form.states { total += checked[state.name]!.floats.reduce(0) { $0 + Int($1) } }
        calls.all.append([function, "\(before)", "\(after)", "\(total)"])
        total += 10 * before + 100 * after
        var results: [String: Tensor] = [:]
        for port in form.outputs {
            results[port.name] = Tensor((0..<port.length).map { Float(total + $0) }, shape: [1, 1, port.length])
        }
        for state in form.states {
            let old = checked[state.name]!.floats
            let next = old.enumerated().map { Float((Int($0.element) + total) % 97 + $0.offset) }
            results[state.givenAs] = Tensor(next, shape: state.shape)
        }
        return results
    }
}

@Suite struct Streams {
    struct Case: Decodable {
        let form: StreamForm
        let push: Int
        let length: Int
        let calls: [[Argument]]
        let callsAfterEachPush: [Int]
        let arrays: String
    }

    /// A number or a word of Python's.
    struct Argument: Decodable {
        let text: String
        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if let word = try? container.decode(String.self) {
                text = word
            } else {
                text = "\(try container.decode(Int.self))"
            }
        }
    }

    @Test(.enabled(if: Fixtures.areThere)) func callsAndSamplesArePythons() throws {
        let cases = try Fixtures.cases("stream", Case.self)
        for one in cases {
            let calls = SummingEngine.Calls()
            let artefact = StreamingArtefact(
                form: one.form, edge: SummingEngine("edge", one.form, calls),
                steady: one.form.steady.map { SummingEngine($0, one.form, calls) })
            let stream = try VoxportRuntime.Stream(artefact)
            var frames: [String: Tensor] = [:]
            for port in one.form.inputs { frames[port.name] = try Fixtures.tensor("\(one.arrays)/in/\(port.name)") }
            var pieces: [[String: Tensor]] = []
            var counts: [Int] = []
            for start in stride(from: 0, to: one.length, by: one.push) {
                var part: [String: Tensor] = [:]
                for port in one.form.inputs {
                    let end = min(start + one.push, one.length)
                    part[port.name] = frames[port.name]!.cut(start * port.rate..<end * port.rate, along: port.axis)
                }
                pieces.append(try stream.push(part))
                counts.append(calls.all.count)
            }
            pieces.append(try stream.flush())
            let what: Comment = "\(one.form.mode), \(one.length) frames, \(one.push) at a time"
            #expect(calls.all == one.calls.map { $0.map(\.text) }, what)
            #expect(counts == one.callsAfterEachPush, what)
            for port in one.form.outputs {
                let samples = Tensor.joined(pieces.map { $0[port.name]! }, along: port.axis)
                #expect(try samples == Fixtures.tensor("\(one.arrays)/out/\(port.name)"), what)
            }
        }
        report("streams of sums", "\(cases.count) utterances: calls, their times and samples equal")
    }

    @Test(.enabled(if: Fixtures.areThere)) func whatDoesNotFitIsASentence() throws {
        let form = try Fixtures.cases("stream", Case.self)[0].form
        let stream = try VoxportRuntime.Stream(
            StreamingArtefact(form: form, edge: SummingEngine("edge", form, .init())))
        let none = Tensor(zeros: [1, 2, 0])
        #expect(throws: VoxportError.stream(#"the inputs along time are ["mel"], got ["audio"]"#)) {
            try stream.push(["audio": none])
        }
        #expect(throws: VoxportError.self) { try stream.push(["mel": Tensor(zeros: [1, 3, 4])]) }
        _ = try stream.flush()
        #expect(throws: VoxportError.stream("the stream has ended: reset() begins a new one")) {
            try stream.push(["mel": none])
        }
    }

    struct OverlapCase: Decodable {
        let window: Dim
        let left: Int
        let right: Int
        let chunk: Int
        let total: Int
        let pieces: [[Int]]
    }

    @Test(.enabled(if: Fixtures.areThere)) func piecesOfOverlapArePythons() throws {
        let cases = try Fixtures.cases("overlap", OverlapCase.self)
        for one in cases {
            let plan = try Overlapping(window: one.window, left: one.left, right: one.right, chunk: one.chunk)
            let pieces = try plan.pieces(one.total).map { [$0.start, $0.stop, $0.keepFrom, $0.keepTo] }
            #expect(pieces == one.pieces)
        }
        report("overlapping pieces", "\(cases.count) utterances equal")
    }

    struct PaceCase: Decodable {
        let paces: [Pace]
        let waited: Int
        let burst: Int
    }

    @Test(.enabled(if: Fixtures.areThere)) func componentsInARowTickAsPythons() throws {
        let cases = try Fixtures.cases("pace", PaceCase.self)
        for one in cases {
            #expect(one.paces.waited == one.waited, "\(one.paces)")
            #expect(one.paces.burst == one.burst, "\(one.paces)")
        }
        report("components in a row", "\(cases.count) waits and bursts equal")
    }

    @Test func prefillBridgesBlocksOfTwoSizes() {
        #expect(prefill(deviceBlock: 256, modelBlock: 2048) == 1792)
        #expect(prefill(deviceBlock: 480, modelBlock: 2048) == 2016)
        #expect(prefill(deviceBlock: 2048, modelBlock: 256) == 0)
    }
}

@Suite struct Samplers {
    struct Fold: Decodable {
        let fold: Int
        let seam: Int
        let starts: [Int]
    }

    struct Case: Decodable {
        let sampler: Sampler
        let folds: [Fold]
        let arrays: String
    }

    /// 16 sums over the channels, of which each row carries half of its last one on.
    private func block(_ inputs: [String: Tensor]) throws -> [String: Tensor] {
        let (conditioning, carried) = (inputs["conditioning"]!, inputs["carried"]!)
        let (rows, channels, columns) = (conditioning.shape[0], conditioning.shape[1], conditioning.shape[2])
        let size = 16
        let (values, state, kept) = (conditioning.floats, carried.floats, carried.shape[1])
        var samples: [Float] = []
        var following: [Float] = []
        for row in 0..<rows {
            for index in 0..<size {
                let column = index * columns / size
                let sum = (0..<channels).reduce(0.0) { $0 + Double(values[(row * channels + $1) * columns + column]) }
                samples.append(Float(sum + 0.5 * Double(state[row * kept])))
            }
            following += [samples.last!] + state[row * kept..<(row + 1) * kept - 1]
        }
        return [
            "samples": Tensor(samples, shape: [rows, size]), "next_carried": Tensor(following, shape: [rows, kept]),
        ]
    }

    @Test(.enabled(if: Fixtures.areThere)) func samplesInPiecesAndInFoldsArePythons() throws {
        let cases = try Fixtures.cases("sampler", Case.self)
        var largest: Float = 0
        for one in cases {
            let conditioning = try Fixtures.tensor("\(one.arrays)/conditioning")
            let total = conditioning.shape[2]
            let sampling = Sampling(one.sampler, block: block)
            for size in [1, 7, 16, total] {
                sampling.reset()
                var samples: [Float] = []
                for start in stride(from: 0, to: total, by: size) {
                    samples += try sampling.push(conditioning.cut(start..<min(start + size, total), along: 2)).floats
                }
                samples += try sampling.flush().floats
                #expect(try samples == Fixtures.floats("\(one.arrays)/samples"), "\(total) in pieces of \(size)")
            }
            for (number, fold) in one.folds.enumerated() {
                let spans = foldSpans(total, fold: fold.fold, seam: fold.seam, rows: one.sampler.rows)
                #expect(spans.starts == fold.starts, "\(total) in folds of \(fold.fold)")
                let audio = try folded(one.sampler, conditioning, fold: fold.fold, seam: fold.seam, block: block)
                largest = max(largest, try worst(audio.floats, Fixtures.floats("\(one.arrays)/folded_\(number)")))
            }
        }
        #expect(largest < 1e-5)
        report("samplers", "\(cases.count) utterances equal, in folds worst \(largest)")
    }
}
