import Foundation
import Testing

@testable import VoxportRuntime

@Suite struct Readings {
    struct Case: Decodable {
        let settings: TextSettings
        let text: String?
        let symbols: String?
        let known: String?
        let ids: [Int]?
        let unknown: [String]?
    }

    @Test(.enabled(if: Fixtures.areThere)) func textsAreReadAsPythonReadsThem() throws {
        let cases = try Fixtures.cases("text", Case.self)
        for one in cases {
            let what: Comment = "\(one.text ?? one.symbols!), \(one.settings.cleaning), \(one.settings.language)"
            guard let ids = one.ids else {
                #expect(throws: VoxportError.self, what) { try Reading(one.text!, one.settings) }
                continue
            }
            let reading =
                try one.text.map { try Reading($0, one.settings) }
                ?? Reading(symbols: one.symbols!, one.settings)
            #expect(Array(reading.symbols.unicodeScalars) == Array(one.known!.unicodeScalars), what)
            #expect(reading.ids == ids, what)
            #expect(reading.unknown == one.unknown, what)
        }
        report("text", "\(cases.count) readings equal")
    }

    struct Cut: Decodable {
        let text: String
        let sentences: [String]
        let halves: [String]
    }

    @Test(.enabled(if: Fixtures.areThere)) func textsAreCutAsPythonCutsThem() throws {
        let cases = try Fixtures.cases("cut", Cut.self)
        for one in cases {
            #expect(Reading.sentences(one.text) == one.sentences)
            let halves = Reading.halves(one.text).map { [$0.0, $0.1] } ?? []
            #expect(halves == one.halves, "\(one.text)")
        }
        report("sentences and halves", "\(cases.count) equal")
    }

    @Test func phonemesAreAskedForWhereAVoiceReadsThem() throws {
        struct Shouting: Phonemizing {
            func phonemes(of text: String, language: String) -> String { text.uppercased() }
        }
        let json = #"{"symbols": {"A": [1], "B": [2]}, "begin": [], "between": [], "end": [], "phonemizer": "espeak", "#
        let rest = #""language": "en-us", "cleaning": []}"#
        let settings = try Manifest.decoder.decode(TextSettings.self, from: Data((json + rest).utf8))
        #expect(try Reading("ab", settings, phonemizer: Shouting()).ids == [1, 2])
        #expect(
            throws: VoxportError.text("this voice reads phonemes as espeak makes them: pass these, or what makes them")
        ) {
            try Reading("ab", settings)
        }
    }

    @Test func figuresOfOtherLanguagesAreRefused() throws {
        #expect(throws: VoxportError.self) { try Cleaning.apply("numbers", to: "il y en a 3", language: "fr-fr") }
        #expect(try Cleaning.apply("numbers", to: "aucun", language: "fr-fr") == "aucun")
    }
}

@Suite struct Noise {
    struct Case: Decodable {
        let seed: [Int]?
        let rows: Int?
        let start: Int?
        let stop: Int?
        let kind: String?
        let arrays: String
    }

    @Test(.enabled(if: Fixtures.areThere)) func isNumpysBitForBit() throws {
        var count = 0
        for one in try Fixtures.cases("noise", Case.self) {
            guard let seed = one.seed else {
                let frames = frameNoise(rows: one.rows!, frames: one.start!..<one.stop!, kind: one.kind!)
                #expect(try frames == Fixtures.floats("\(one.arrays)/frames"))
                continue
            }
            var random = NumpyRandom(seed: seed)
            func same(_ drawn: [Float], _ name: String) throws {
                #expect(try drawn == Fixtures.floats("\(one.arrays)/\(name)"), "\(name) of \(seed)")
                count += drawn.count
            }
            try same(random.normal(5001), "normal")
            try same((0..<1001).map { _ in Float(random.bit()) }, "bits")
            try same(random.logistic(1000), "logistic")
            try same(random.normal(3000), "again")
        }
        report("numpy's noise", "\(count) draws equal bit for bit")
    }
}

@Suite struct Scales {
    struct Case: Decodable {
        let source: Mel
        let target: Mel
        let arrays: String
    }

    @Test(.enabled(if: Fixtures.areThere)) func ofMelsAreChangedAsPythonChangesThem() throws {
        var largest: Float = 0
        for one in try Fixtures.cases("rescaled", Case.self) {
            let mel = try one.source.rescaled(Fixtures.tensor("\(one.arrays)/in"), to: one.target)
            largest = try max(largest, worst(mel.floats, Fixtures.floats("\(one.arrays)/out")))
        }
        #expect(largest <= 1e-5)
        report("rescaled mels", "worst \(largest)")
    }

    @Test func aMelOfAnotherSpectrumIsRefused() {
        var other = Mel()
        other.hopLength = 300
        let reason = "the mel of one model does not fit the other: hop_length is 256.0 here and 300.0 there"
        #expect(throws: VoxportError.audio(reason)) { try Mel().rescaled(Tensor(zeros: [1, 80, 2]), to: other) }
    }
}

@Suite struct Sizes {
    private final class Doubling: Engine {
        let name = "doubles"
        let inputs: [TensorSpec] = []
        let outputs: [TensorSpec] = []
        let note: ([Int]) -> Void
        init(note: @escaping ([Int]) -> Void) { self.note = note }
        func newState() -> (any EngineState)? { nil }
        func run(_ inputs: [String: Tensor], state: (any EngineState)?) -> [String: Tensor] {
            let x = inputs["x"]!
            note(x.shape)
            return ["y": Tensor(x.floats.map { $0 * 2 + 1 }, shape: x.shape)]
        }
    }

    struct Case: Decodable {
        let padded: Bool
        let sizes: [Int]
        let calls: [[Int]]
        let arrays: String
    }

    @Test(.enabled(if: Fixtures.areThere)) func areChosenFilledAndCutAsPythonDoes() throws {
        let cases = try Fixtures.cases("sized", Case.self)
        for one in cases {
            var calls: [[Int]] = []
            var engines: [Int: any Engine] = [:]
            for size in one.sizes { engines[size] = Doubling { calls.append($0) } }
            let component = SizedComponent(try Self.record(padded: one.padded), engines: engines)
            let y = try component.run(["x": Fixtures.tensor("\(one.arrays)/x")])["y"]
            #expect(try y == Fixtures.tensor("\(one.arrays)/y"))
            #expect(calls == one.calls)
        }
        report("sizes", "\(cases.count) inputs equal")
    }

    @Test(.enabled(if: Fixtures.areThere)) func whatIsLongerThanTheLargestIsRefused() throws {
        let component = SizedComponent(try Self.record(padded: true), engines: [4: Doubling { _ in }])
        #expect(throws: VoxportError.input("part takes at most 4 at once, there are 5")) {
            try component.run(["x": Tensor(zeros: [1, 2, 5])])
        }
    }

    private static func record(padded: Bool) throws -> ComponentRecord {
        let axis = #"{"lo": 1, "hi": 64, "default": 4}"#
        let shape = padded ? "[1, 2, \(axis)]" : "[\(axis), 2, 3]"
        func tensors(_ name: String) -> String {
            #"[{"name": "\#(name)", "shape": \#(shape), "dtype": "float32", "unit": ""}]"#
        }
        let json = """
            {"name": "part", "artefact": "a", "reference": "r", "inputs": \(tensors("x")), "outputs": \(tensors("y")),
             "computes": "", "ops": {}, "upsampling": [], "sizes": {}, "padded": \(padded), "reference_size": 0, "mixed": {},
             "targets": {}, "sources": {}}
            """
        return try Manifest.decoder.decode(ComponentRecord.self, from: Data(json.utf8))
    }
}

@Suite struct Chains {
    struct Case: Decodable {
        struct Asked: Decodable {
            let seed: Int
            let pace: Double
            let noiseScale: Double?
            let durationNoiseScale: Double?
            let pitch: Double
            let energy: Double
        }

        let name: String
        let record: VoiceRecord
        let request: Asked
        let calls: [String]
        let arrays: String
    }

    @Test(.enabled(if: Fixtures.areThere)) func giveComponentsWhatPythonsDo() throws {
        let cases = try Fixtures.cases("chain", Case.self)
        var largest: Float = 0
        for one in cases {
            func floats(_ name: String) throws -> [Float]? { Fixtures.find("\(one.arrays)/\(name)")?.floats }
            var request = Request(seed: one.request.seed, pace: one.request.pace)
            request.ids = try floats("ids")!.map { Int($0) }
            request.speaker = try floats("speaker")
            request.language = try floats("language")
            request.durations = try floats("durations")?.map { Int($0) }
            (request.noiseScale, request.durationNoiseScale) = (one.request.noiseScale, one.request.durationNoiseScale)
            (request.pitch, request.energy) = (one.request.pitch, one.request.energy)
            var calls: [String] = []
            let what: Comment = "\(one.record.chain), \(one.name)"
            let utterance = try one.record.utterance(request) { component, offered in
                let prefix = "\(one.arrays)/\(calls.count)"
                calls.append(component)
                for (name, tensor) in offered {
                    let python = try #require(Fixtures.find("\(prefix)/in/\(name)"), "\(name) of \(component)")
                    #expect(tensor.shape == python.shape, what)
                    largest = max(largest, worst(tensor.floats, python.floats))
                }
                #expect(offered.count == Fixtures.names(under: "\(prefix)/in/").count, what)
                return Dictionary(
                    uniqueKeysWithValues: Fixtures.names(under: "\(prefix)/out/").map {
                        ($0, Fixtures.find("\(prefix)/out/\($0)")!)
                    })
            }
            #expect(calls == one.calls, what)
            #expect(try utterance.durations == floats("durations_out")!.map { Int($0) }, what)
            let frames = try #require(try floats("frames"))
            #expect(worst(utterance.frames.floats, frames) <= 1e-6, what)
            #expect(Set(utterance.constants.keys) == Set(Fixtures.names(under: "\(one.arrays)/constants/")), what)
        }
        #expect(largest <= 1e-5)
        report("chains", "\(cases.count) equal: components, shapes, durations; what these are given: worst \(largest)")
    }
}
