import CWatch
import Foundation
import Testing

@testable import VoxportRuntime

@Suite struct Rings {
    @Test func whatOneThreadWritesTheOtherReads() {
        let ring = Ring(capacity: 1 << 10)
        let total = 1_000_000
        let writer = Thread {
            var block = [Float](repeating: 0, count: 300)
            var next = 0
            while next < total {
                let count = min(block.count, total - next)
                for index in 0..<count { block[index] = Float((next + index) & 0xFFFF) }
                var done = 0
                while done < count {
                    let taken = block.withUnsafeBufferPointer {
                        ring.write(UnsafeBufferPointer(rebasing: $0[done..<count]))
                    }
                    if taken == 0 { sched_yield() }
                    done += taken
                }
                next += count
            }
        }
        writer.start()
        var block = [Float](repeating: 0, count: 128)
        var read = 0
        var wrong = 0
        while read < total {
            let count = block.withUnsafeMutableBufferPointer { ring.read(into: $0) }
            if count == 0 { sched_yield() }
            for index in 0..<count where block[index] != Float((read + index) & 0xFFFF) { wrong += 1 }
            read += count
        }
        #expect(wrong == 0)
        #expect(ring.count == 0 && ring.written == total && ring.taken == total)
    }

    @Test func fullItTakesNoMoreAndEmptyItGivesNone() {
        let ring = Ring(capacity: 16)
        let samples = (0..<20).map(Float.init)
        #expect(samples.withUnsafeBufferPointer { ring.write($0) } == 16)
        ring.drop(3)
        var block = [Float](repeating: -1, count: 20)
        #expect(block.withUnsafeMutableBufferPointer { ring.read(into: $0) } == 13)
        #expect(Array(block[..<13]) == Array(samples[3..<16]))
        #expect(block.withUnsafeMutableBufferPointer { ring.read(into: $0) } == 0)
    }

    @Test func denormalsAreZeroWithinAndAsTheyWereBehind() {
        @inline(never) func halved(_ number: Float) -> Float { number * 0.5 }
        let least = Float.leastNormalMagnitude
        #expect(halved(least) != 0)
        withoutDenormals { #expect(halved(least) == 0) }
        #expect(halved(least) != 0)
    }
}

extension Counters {
    /// Whether they are those of a fixture.
    func isPythons(_ counters: [String: Int]) -> Bool {
        counters["blocks"] == blocks && counters["underruns"] == underruns
            && counters["missing_samples"] == missingSamples && counters["input_overruns"] == inputOverruns
            && counters["drops"] == drops && counters["dropped_samples"] == droppedSamples
            && counters["late_samples"] == lateSamples
    }
}

@Suite struct Sessions {
    struct Case: Decodable {
        let block: Int
        let chunk: Int
        let prefill: Int
        let maxAge: Double
        let costs: [Double]
        let delay: Int?
        let counters: [String: Int]
        let arrays: String
    }

    /// Gives back its input, negated, in chunks.
    private final class Echo: LiveChain {
        let sampleRate = 1000
        let chunk: Int
        private var waiting: [Float] = []
        init(chunk: Int) { self.chunk = chunk }
        func reset() { waiting = [] }
        func push(_ samples: [Float]) -> [Float] {
            waiting += samples
            let complete = waiting.count / chunk * chunk
            defer { waiting.removeFirst(complete) }
            return waiting[..<complete].map { -$0 }
        }
    }

    @Test(.enabled(if: Fixtures.areThere)) func whatIsPlayedAndCountedIsPythons() throws {
        let cases = try Fixtures.cases("session", Case.self)
        for one in cases {
            let session = Session(Echo(chunk: one.chunk), block: one.block, prefill: one.prefill, maxAge: one.maxAge)
            let device = VirtualDevice { one.costs[min($0, one.costs.count - 1)] }
            let played = try device.play(session, Fixtures.floats("\(one.arrays)/in"), tail: 0.2)
            let what: Comment = "blocks of \(one.block), chunks of \(one.chunk)"
            #expect(try worst(played, Fixtures.floats("\(one.arrays)/out")) == 0, what)
            #expect(session.delay == one.delay, what)
            #expect(session.counters.isPythons(one.counters), what)
        }
        report("sessions", "\(cases.count) equal: samples, delay and counters")
    }

    struct MixerCase: Decodable {
        let gate: Double?
        let turns: [Int]
        let block: Int
        let chunk: Int
        let isOpen: Bool
        let arrays: String
    }

    @Test(.enabled(if: Fixtures.areThere)) func aMixerLetsThroughWhatPythonsDoes() throws {
        let cases = try Fixtures.cases("mixer", MixerCase.self)
        for one in cases {
            let ownVoice = OwnVoice()
            let chain = try Mixer(Echo(chunk: one.chunk), gate: one.gate, ownVoice: ownVoice)
            let samples = try Fixtures.floats("\(one.arrays)/in")
            let python = try Fixtures.floats("\(one.arrays)/out")
            for run in 0..<2 {
                var heard: [Float] = []
                for (number, start) in stride(from: 0, to: samples.count, by: one.block).enumerated() {
                    if one.turns.contains(number) { ownVoice.isHeard.toggle() }
                    heard += try chain.push(Array(samples[start..<min(start + one.block, samples.count)]))
                }
                #expect(worst(heard, python) == 0, "\(one), run \(run)")
                #expect(chain.isOpen == one.isOpen)
                ownVoice.isHeard = false
                try chain.reset()
            }
            #expect(python.contains { $0 != 0 })
        }
        report("gates and one's own voice", "\(cases.count) equal on every sample")
        #expect(throws: VoxportError.stream("a gate opens between -120 and 0 dB, got 3.0")) {
            try Mixer(Echo(chunk: 1), gate: 3)
        }
    }

    @Test(.enabled(if: watch_sees())) func theCallbackAllocatesLocksAndRetainsNothing() {
        let session = Session(Echo(chunk: 1 << 20), block: 128)
        let exchange = session.exchange
        let taken = UnsafeMutablePointer<Float>.allocate(capacity: 128)
        let filled = UnsafeMutablePointer<Float>.allocate(capacity: 128)
        defer {
            taken.deallocate()
            filled.deallocate()
        }
        taken.initialize(repeating: 0.5, count: 128)
        filled.initialize(repeating: 0, count: 128)
        let counts = watched(10_000) { exchange(taken, filled, 128) }
        #expect(counts == [0, 0, 0, 0])
        #expect(session.counters.blocks == 10_000)
        report("exchange of 128 frames, 10,000 times", told(counts))
    }

    @Test(.enabled(if: watch_sees())) func aFrameOfAnyFeatureAllocatesLocksAndRetainsNothing() throws {
        var kernels: [(String, any FrameKernel)] = []
        for size in [400, 1024] {
            var mel = Mel()
            (mel.nFft, mel.winLength) = (size, size)
            kernels.append(("mel frame of \(size)", try MelKernel(mel)))
        }
        let settings: [(String, String)] = [
            ("linear", #""nFft": 512, "winLength": 512, "magnitudeFloor": 1e-6"#),
            ("level", #""nFft": 512, "floorDb": -100"#),
            ("pitch", #""nFft": 800, "fmin": 65, "fmax": 800, "threshold": 0.15"#),
            ("pitch_candidates", #""nFft": 800, "fmin": 65, "fmax": 800, "threshold": 0.5, "count": 5"#),
            (
                "log_bands",
                #"""
                "windows": [1024, 512], "nBands": 64, "bandsToFmax": 48, "fmin": 46, "fmax": 2000,
                "amplitudeFloor": 1e-8, "silence": 1e-3
                """#
            ),
        ]
        for (kind, more) in settings {
            let json = #"{"kind": "\#(kind)", "sampleRate": 16000, "hopLength": 256, \#(more)}"#
            switch try JSONDecoder().decode(Features.self, from: Data(json.utf8)) {
            case .linear(let features): kernels.append((kind, LinearKernel(features)))
            case .level(let features): kernels.append((kind, LevelKernel(features)))
            case .pitch(let features): kernels.append((kind, PitchKernel(features)))
            case .pitchCandidates(let features): kernels.append((kind, PitchCandidatesKernel(features)))
            case .logBands(let features): kernels.append((kind, LogBandsKernel(features)))
            default: Issue.record("\(kind) is another kind")
            }
        }
        kernels.append(("excitation", ExcitationKernel()))
        let samples = (0..<2048).map { Float(sin(Double($0) * 0.05)) }
        var column = [Float](repeating: 0, count: 600)
        for (name, kernel) in kernels {
            defer { kernel.deallocate() }
            let counts = samples.withUnsafeBufferPointer { samples in
                column.withUnsafeMutableBufferPointer { column in
                    let (from, into) = (samples.baseAddress!, column.baseAddress!)
                    return watched(100) { kernel.frame(of: from, number: 0, into: into, stride: 1) }
                }
            }
            #expect(counts == [0, 0, 0, 0], "\(name)")
            report("\(name), 100 times", told(counts))
        }
    }

    @Test(.enabled(if: watch_sees())) func aPitchDetectedByOpussNetworkAllocatesLocksAndRetainsNothing() throws {
        let detector = try PitchDNN()
        defer { detector.deallocate() }
        let excitation = (0..<Opus.rows).map { Float(sin(Double($0))) }
        let counts = excitation.withUnsafeBufferPointer { rows in
            let from = rows.baseAddress!
            return watched(100) { _ = detector.push(from) }
        }
        #expect(counts == [0, 0, 0, 0])
        report("frame of opus's pitch detector, 100 times", told(counts))
    }

    @Test(.enabled(if: watch_sees())) func aResampledBlockAllocatesLocksAndRetainsNothing() {
        let kernel = ResamplerKernel(taps: [Float](repeating: 0.1, count: 147 * 24), up: 147, down: 320, reach: 12)
        defer { kernel.deallocate() }
        let held = [Float](repeating: 0.5, count: 200)
        var outputs = [Float](repeating: 0, count: 58)
        let counts = held.withUnsafeBufferPointer { held in
            outputs.withUnsafeMutableBufferPointer { outputs in
                let (from, into) = (held.baseAddress!, outputs.baseAddress!)
                return watched(10_000) { kernel.fill(into, 58, from: 0, held: from, first: -11) }
            }
        }
        #expect(counts == [0, 0, 0, 0])
        report("resampled block of 128 frames, 10,000 times", told(counts))
    }

    /// The counters see what a session does that was written without a thought for them.
    @Test(.enabled(if: watch_sees())) func aNaiveSessionIsCaught() {
        final class Naive {
            var input: [Float] = []
            func exchange(_ taken: [Float]) -> [Float] {
                input.append(contentsOf: taken)
                if input.count > 4096 { input.removeFirst(input.count - 4096) }
                return Array(input.suffix(taken.count))
            }
        }
        let session = Naive()
        let block = [Float](repeating: 0, count: 128)
        let counts = watched(100) { _ = session.exchange(block) }
        #expect(counts[0] >= 100 && counts[2] > 0)
        report("naive session, 100 times", told(counts))
    }
}
