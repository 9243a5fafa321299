import Testing

@testable import VoxportRuntime

/// The engine of Python's `runtime/commands/fixtures/sessions.py`, whose numbers have no order of summing.
private final class FollowingEngine: Engine {
    let name = "follows"
    let inputs: [TensorSpec]
    let outputs: [TensorSpec]
    private let form: StreamForm

    init(_ function: String, _ form: StreamForm, channels: (given: Int, made: Int)) {
        self.form = form
        func spec(_ port: StreamPort, _ channels: Int) -> TensorSpec {
            TensorSpec(name: port.name, shape: [.fixed(1), .fixed(channels), .fixed(port.length)])
        }
        let states = form.states.map { TensorSpec(name: $0.name, shape: $0.shape.map(Axis.fixed)) }
        let ends = function == "edge" ? ["before", "after"] : []
        inputs =
            [spec(form.inputs[0], channels.given)] + states
            + ends.map { TensorSpec(name: $0, shape: [.fixed(1)], dtype: .int32) }
        outputs = [spec(form.outputs[0], channels.made)]
    }

    func newState() -> (any EngineState)? { nil }

    func run(_ inputs: [String: Tensor], state: (any EngineState)?) throws -> [String: Tensor] {
        let checked = try checkedInputs(self.inputs, inputs)
        func end(_ name: String) -> Float { checked[name]?.floats[0] ?? Float(form.horizon) }
        let given = checked[form.inputs[0].name]!
        let calls = checked[form.states[0].name]!.floats[0]
        let (rows, count, values) = (given.shape[1], given.shape[2], given.floats)
        let shape = outputs[0].defaultShape
        var samples: [Float] = []
        for channel in 0..<shape[1] {
            for position in 0..<shape[2] {
                let frame = position / form.outputs[0].rate
                let followed = values[(channel + position) % rows * count + frame]
                samples.append(followed + calls / 64 + end("before") / 32 + end("after") / 256)
            }
        }
        let next: Float = (calls + 1).truncatingRemainder(dividingBy: 8)
        return [
            outputs[0].name: Tensor(samples, shape: shape),
            form.states[0].givenAs: Tensor([next], shape: [1, 1]),
        ]
    }
}

@Suite struct ConversionSessions {
    struct Case: Decodable {
        let conversion: Conversion
        let converter: StreamForm
        let generator: StreamForm
        let block: Int
        let chunk: Int
        let prefill: Int
        let maxAge: Double
        let costs: [Double]
        let semitones: Double
        let delay: Int?
        let counters: [String: Int]
        let arrays: String
    }

    private static func player(_ form: StreamForm, channels: (given: Int, made: Int)) throws -> StreamingPlayer {
        let artefact = StreamingArtefact(
            form: form, edge: FollowingEngine("edge", form, channels: channels),
            steady: FollowingEngine("steady", form, channels: channels))
        let rate = form.outputs[0].rate
        let time = TimeAxis(
            input: form.inputs[0].name, output: form.outputs[0].name, inputAxis: 2, outputAxis: 2,
            samplesPerFrame: rate, left: 0, right: form.lookahead, sampleRate: 16000, hopLength: 160 / rate)
        return try StreamingPlayer(VoxportRuntime.Stream(artefact), time: time)
    }

    @Test(.enabled(if: Fixtures.areThere)) func ofALiveVoicesStagesPlayWhatPythonsDo() throws {
        let cases = try Fixtures.cases("conversion_session", Case.self)
        for one in cases {
            let parts = Parts(
                run: { name, _ in throw VoxportError.bundle("\(name) takes no windows") },
                player: { _ in (try Self.player(one.converter, channels: (3, 2)), 2) },
                index: { throw VoxportError.bundle("there is no index") })
            let chain = try ConversionChain(
                one.conversion, parts, Self.player(one.generator, channels: (2, 1)), sampleRate: 16000,
                outputRate: 16000, context: .live, semitones: one.semitones)
            let session = Session(chain, block: one.block, prefill: one.prefill, maxAge: one.maxAge)
            let device = VirtualDevice { one.costs[min($0, one.costs.count - 1)] }
            let played = try device.play(session, Fixtures.floats("\(one.arrays)/in"), tail: 0.2)
            let what: Comment = "blocks of \(one.block), chunks of \(one.chunk)"
            #expect(chain.chunk == one.chunk, what)
            #expect(session.delay == one.delay, what)
            #expect(session.counters.isPythons(one.counters), what)
            #expect(try worst(played, Fixtures.floats("\(one.arrays)/out")) == 0, what)
        }
        report("sessions of a live voice's stages", "\(cases.count) equal: samples, delay and counters")
    }
}
