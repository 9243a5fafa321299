import Foundation
import Testing

@testable import VoxportRuntime

@Suite struct OtherFeatures {
    struct Case: Decodable {
        let features: Features
        let block: Int
        let arrays: String
    }

    @Test(.enabled(if: Fixtures.areThere)) func arePythonsAndComeWhenPythonsDo() throws {
        for one in try Fixtures.cases("features", Case.self) {
            let sound = try Fixtures.floats("\(one.arrays)/sound")
            let stream = try one.features.stream()
            var came: [Float] = []
            var pieces: [Tensor] = []
            for start in stride(from: 0, to: sound.count, by: one.block) {
                let frames = try stream.push(Array(sound[start..<min(start + one.block, sound.count)]))
                came += [Float](repeating: Float(start + one.block), count: frames.shape[1])
                pieces.append(frames)
            }
            pieces.append(try stream.flush())
            let frames = Tensor.joined(pieces, along: 1)
            let python = try Fixtures.tensor("\(one.arrays)/frames")
            #expect(frames.shape == python.shape)
            #expect(try came == Fixtures.floats("\(one.arrays)/came"))
            let difference = worst(frames.floats, python.floats)
            // Of magnitudes, decibels, Hz and logarithms at their floor.
            #expect(difference < 1e-3)
            let text = "\(one.features)"
            report("features, \(text.prefix { $0 != "(" })", "worst \(difference)")
        }
    }
}

@Suite struct Melodies {
    struct Case: Decodable {
        let frameRate: Double
        let semitones: Double
        let arrays: String
    }

    @Test(.enabled(if: Fixtures.areThere), arguments: [1, 7, 5000]) func arePythonsHoweverTheyCome(block: Int) throws {
        for one in try Fixtures.cases("melody", Case.self) {
            let hertz = try Fixtures.floats("\(one.arrays)/hertz")
            var melody = Melody(frameRate: one.frameRate, semitones: one.semitones)
            for run in 0..<2 {
                let pieces = stride(from: 0, to: hertz.count, by: block).map {
                    melody.push(Array(hertz[$0..<min($0 + block, hertz.count)]))
                }
                let rows = Tensor.joined(pieces, along: 1)
                let python = try Fixtures.tensor("\(one.arrays)/rows")
                #expect(rows == python, "run \(run)")
                report("melody, in blocks of \(block)", "worst \(worst(rows.floats, python.floats))")
                melody.reset()
            }
        }
    }
}

@Suite struct Conversions {
    struct Case: Decodable {
        let name: String
        let conversion: Conversion
        let context: String
        let semitones: Double
        let controls: [[Float]]
        let centred: Bool
        let arrays: String
    }

    /// All of an utterance at its end: sums along time of the first three channels.
    private final class Summing: Player {
        let mode = "sums"
        let time = TimeAxis(
            input: "x", output: "y", inputAxis: 2, outputAxis: 2, samplesPerFrame: 1, left: 0, right: 0, sampleRate: 1)
        let shortest = 1
        private var held: [Tensor] = []

        func push(_ frames: Tensor) -> Tensor {
            held.append(frames)
            return Tensor(zeros: [1, 3, 0])
        }

        func flush() -> Tensor {
            let frames = Tensor.joined(held, along: 2).cut(0..<3, along: 1)
            let count = frames.shape[2]
            var values = frames.floats
            for index in values.indices where index % count > 0 { values[index] += values[index - 1] }
            return Tensor(values, shape: frames.shape)
        }

        func reset() { held = [] }
    }

    private static func run(_ component: String, _ window: Tensor) -> Tensor {
        let per = component == "of_samples" ? 320 : 2
        let rows = window.shape[1]
        let count = window.shape[2] / per
        let values = window.floats
        var frames: [Float] = []
        for channel in 0..<4 {
            for frame in 0..<count {
                let sum = values[frame * per..<(frame + 1) * per].reduce(0, +)
                frames.append(Float(channel + 1) * sum + values[(rows - 1) * window.shape[2] + frame * per])
            }
        }
        return Tensor(frames, shape: [1, 4, count])
    }

    @Test(.enabled(if: Fixtures.areThere), arguments: [700, 4000]) func giveTheLastStageWhatPythonsDo(block: Int) throws
    {
        for one in try Fixtures.cases("conversion", Case.self) {
            func kept(_ name: String) -> Tensor? { Fixtures.find("\(one.arrays)/\(name)") }
            let pool = try kept("pool/content").map { content in
                try Pool(
                    content: content, mel: kept("pool/mel"), pitch: kept("pool/pitch"), level: kept("pool/level"),
                    isCentred: one.centred)
            }
            var tables: [String: Tensor] = [:]
            for name in ["index_vectors", "index_centroids", "index_ends"] { tables[name] = kept(name) }
            let file = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID().uuidString).npz")
            defer { try? FileManager.default.removeItem(at: file) }
            try NPZ.write(tables, to: file)
            let parts = Parts(
                run: Self.run, player: { _ in (Summing(), 3) }, index: { try RetrievalIndex(NPZ(contentsOf: file)) })
            let frontend = try Frontend(
                one.conversion, parts, pool: pool, sampleRate: 16000,
                context: #require(ConversionContext(rawValue: one.context)), semitones: one.semitones)
            for control in one.controls {
                try frontend.latents?.control(Int(control[0]), scale: control[1], bias: control[2])
            }
            let sound = try Fixtures.floats("\(one.arrays)/sound")
            var pieces: [Tensor] = []
            for start in stride(from: 0, to: sound.count, by: block) {
                pieces.append(try frontend.push(Array(sound[start..<min(start + block, sound.count)])))
            }
            pieces.append(try frontend.flush())
            // Of a track that has not run yet the channels are not known.
            let frames = Tensor.joined(pieces.filter { $0.shape[2] > 0 }, along: 2)
            let python = try #require(kept("frames"))
            #expect(frames.shape == python.shape, "\(one.name), \(one.context)")
            let scale = max(python.floats.map { abs($0) }.max() ?? 1, 1)
            let difference = worst(frames.floats, python.floats) / scale
            #expect(difference < 1e-4, "\(one.name), \(one.context)")
            report("conversion \(one.name), \(one.context)", "worst \(difference) of the largest")
        }
    }

    @Test func aLatentThatThereIsNotIsASentence() throws {
        let stage = LatentStage(kind: "latent", name: "latents", takes: "encoded")
        let source = Track(Clock(sampleRate: 16000, hopLength: 128, offset: 0), [])
        source.channels = 3
        let track = try LatentTrack(stage, source)
        let latents = track.latents
        #expect(throws: VoxportError.bundle("there is no latent 3: this bundle's are 0 to 2")) {
            try latents.control(3, scale: 1, bias: 0)
        }
        #expect(throws: VoxportError.bundle("latent 1 cannot be scaled by nan and moved by 0.0")) {
            try latents.control(1, scale: .nan, bias: 0)
        }
        source.frames.append(Tensor([Float](arrayLiteral: 1, 2, 3, 4, 5, 6), shape: [3, 2]))
        try latents.control(1, scale: 2, bias: 0.5)
        try track.advance()
        #expect(track.frames.taken(0..<2).floats == [1, 2, 6.5, 8.5, 5, 6])
        try latents.control(0, scale: 0, bias: -1)  // holds from the next frame on
        source.frames.append(Tensor([Float](repeating: 1, count: 3), shape: [3, 1]))
        try track.advance()
        #expect(track.frames.taken(0..<3).floats == [1, 2, -1, 6.5, 8.5, 2.5, 5, 6, 1])
    }

    struct PoolCase: Decodable {
        let name: String
        let conversion: Conversion
        let sounds: Int
        let arrays: String
    }

    @Test(.enabled(if: Fixtures.areThere)) func framesOfATargetAreThosePythonKeeps() throws {
        for one in try Fixtures.cases("pool", PoolCase.self) {
            let parts = Parts(
                run: Self.run, player: { _ in (Summing(), 3) }, index: { throw VoxportError.bundle("there is none") })
            let sounds = try (0..<one.sounds).map { try Fixtures.floats("\(one.arrays)/sound/\($0)") }
            let pool = try one.conversion.pool(of: sounds, sampleRate: 16000, parts)
            var largest: Float = 0
            for (name, values) in [
                ("content", pool.content), ("mel", pool.mel), ("level", pool.level), ("pitch", pool.logPitch.map(exp)),
            ] {
                let python = Fixtures.find("\(one.arrays)/pool/\(name)")?.floats ?? []
                let swift = values.map { $0.isNaN ? 0 : $0 }
                let scale = max(python.map { abs($0) }.max() ?? 1, 1)
                largest = max(largest, worst(swift, python) / scale)
            }
            #expect(largest < 1e-3, "\(one.name)")  // half precision, in which content is kept, has steps of that
            report("pool \(one.name)", "\(pool.count) frames: worst \(largest) of the largest")
        }
    }

    @Test func whatIsTooLittleSpeechIsASentence() throws {
        let content = Tensor([Float](repeating: 1, count: 8), shape: [4, 2])
        let pool = try Pool(
            content: content, mel: content, pitch: Tensor([0, 0, 0, Float(100)], shape: [4]),
            level: Tensor(zeros: [4]), isCentred: false)
        try pool.check(2)
        #expect(throws: VoxportError.audio("a target of 1.5 s is too short: it takes 2 s, better ten minutes")) {
            try pool.check(1.5)
        }
        let quiet = try Pool(
            content: content, mel: content, pitch: Tensor(zeros: [4]), level: Tensor(zeros: [4]), isCentred: false)
        #expect(
            throws: VoxportError.audio("in 3.0 s of the target there is hardly a voice (0.0 s voiced)")
        ) { try quiet.check(3) }
    }
}
