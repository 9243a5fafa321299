import Foundation

/// Samples of speech that became ready.
public struct AudioChunk: Equatable, Sendable {
    public let samples: [Float]
    public let sampleRate: Int
    /// The place of the first sample in what is said.
    public let start: Int
    /// The sentence that they belong to, counted from 0.
    public let sentence: Int

    public init(samples: [Float], sampleRate: Int, start: Int, sentence: Int) {
        self.samples = samples
        self.sampleRate = sampleRate
        self.start = start
        self.sentence = sentence
    }
}

/// A bundle that speaks, every component opened: symbols or text in, audio out. It belongs to one thread; ``Voice`` is
/// for everybody.
public final class VoiceChain {
    /// Seconds of silence between sentences.
    public static let sentencePause = 0.2

    public let bundle: VoxportBundle
    public let record: VoiceRecord
    private let parts: [String: SizedComponent]
    private let engines: any EngineSource
    private let tables: NPZ?
    private var player: (any Player)?

    /// Opens a voice.
    ///
    /// Throws ``VoxportError/bundle(_:)`` for a bundle that does not speak.
    public init(_ bundle: VoxportBundle, engines: any EngineSource) throws {
        guard let record = bundle.manifest.voice else {
            throw VoxportError.bundle("\(bundle.manifest.name) does not speak: convert a voice, such as model=vits")
        }
        self.bundle = bundle
        self.record = record
        self.engines = engines
        var parts: [String: SizedComponent] = [:]
        for component in bundle.manifest.components
        where component.name != record.last && component.name != record.speakerEncoder {
            parts[component.name] = try SizedComponent(component, of: bundle, engines: engines)
        }
        self.parts = parts
        let file = bundle.url.appendingPathComponent("voice.npz")
        tables = FileManager.default.fileExists(atPath: file.path) ? try NPZ(contentsOf: file) : nil
    }

    /// The embedding of a speaker by name, of the first one where none is named; nil for a voice without any.
    ///
    /// Throws ``VoxportError/bundle(_:)`` for a name that the voice does not have.
    public func speaker(_ name: String?) throws -> [Float]? { try row(of: "speakers", record.speakers, name) }

    /// The embedding of a language, likewise.
    public func language(_ name: String?) throws -> [Float]? { try row(of: "languages", record.languages, name) }

    private func row(of table: String, _ names: [String: Int], _ name: String?) throws -> [Float]? {
        guard let rows = tables?[table]?.tensor else {
            guard name == nil else {
                throw VoxportError.bundle(
                    "\(bundle.manifest.name) has one voice: there are no \(table) to choose from")
            }
            return nil
        }
        if let name, names[name] == nil {
            let known = names.keys.sorted().prefix(20).joined(separator: ", ")
            throw VoxportError.bundle("there is no \(table.dropLast()) \(name); there is: \(known)")
        }
        let row = name.flatMap { names[$0] } ?? 0
        return rows.cut(row..<row + 1, along: 0).floats
    }

    /// Runs everything but the last component.
    ///
    /// Throws ``VoxportError/input(_:)`` for what is too long, ``VoxportError/text(_:)`` for what the voice cannot say.
    public func utterance(_ request: Request) throws -> Utterance {
        try record.utterance(request) { name, offered in
            guard let part = parts[name] else { throw VoxportError.bundle("the voice has no component \(name)") }
            return try part.run(part.taken(offered))
        }
    }

    /// Makes audio of an utterance; `each` gets the samples as they become ready.
    ///
    /// An artefact of a fixed length takes no shorter utterance: zeros follow then, which the last frames can hear.
    public func play(_ utterance: Utterance, each: ([Float]) throws -> Void) throws {
        let player = try openedPlayer(utterance.constants)
        let time = player.time
        let count = utterance.frames.shape[time.inputAxis] / time.positions
        let frames = utterance.frames.padded(to: player.shortest * time.positions, along: [time.inputAxis])
        var left = time.samples(of: count)
        func give(_ output: Tensor) throws {
            let samples = Array(output.floats.prefix(left))
            left -= samples.count
            if !samples.isEmpty { try each(samples) }
        }
        // As many frames as a call needs at a time, so that each piece comes as soon as it can.
        let total = frames.shape[time.inputAxis] / time.positions
        let step = player.streamForm?.chunk ?? (player as? OverlapPlayer)?.chunk ?? total
        for start in stride(from: 0, to: total, by: max(step, 1)) {
            let range = start * time.positions..<min(start + step, total) * time.positions
            try give(player.push(frames.cut(range, along: time.inputAxis)))
        }
        try give(player.flush())
    }

    private func openedPlayer(_ constants: [String: Tensor]) throws -> any Player {
        if let player, constants.isEmpty {
            try player.reset()
            return player
        }
        let opened = try makePlayer(bundle, component: record.last, engines: engines, constants: constants)
        if constants.isEmpty { player = opened }
        return opened
    }

    /// Says a text sentence by sentence, as ``Script`` makes them; one that is too long for the artefact in halves. `each` gets the audio as it
    /// becomes ready. The noise of each sentence has a seed of its own, counted from the request's.
    ///
    /// Throws ``VoxportError/text(_:)`` where there is nothing to say, or a word alone is too long. Returns the symbols
    /// that the voice does not know, which were left out.
    @discardableResult
    public func speak(
        _ text: String, _ request: Request = Request(), phonemizer: (any Phonemizing)? = nil,
        each: (AudioChunk) throws -> Void
    ) throws -> [String] {
        var waiting = Array(try Script(text, record.text).sentences.reversed())
        guard !waiting.isEmpty else {
            throw VoxportError.text(
                text.trimmed.isEmpty ? "there is no text" : "there is nothing to say in \"\(text.trimmed.prefix(40))\"")
        }
        let settings = record.text.ofScripts
        var sentence = 0
        var start = 0
        var unknown: [String] = []
        func give(_ samples: [Float]) throws {
            try each(AudioChunk(samples: samples, sampleRate: record.sampleRate, start: start, sentence: sentence))
            start += samples.count
        }
        while let next = waiting.popLast() {
            let reading = try Reading(next, settings, phonemizer: phonemizer)
            var asked = request
            asked.ids = reading.ids
            asked.seed = request.seed + sentence
            let spoken: Utterance
            do {
                spoken = try utterance(asked)
            } catch VoxportError.input(let reason) {
                guard let (first, second) = Reading.halves(next) else {
                    throw VoxportError.text("\"\(next.prefix(40))\" is too long to be spoken at once: \(reason)")
                }
                waiting += [second, first].filter(\.hasWords)
                continue
            }
            if sentence > 0 {
                let pause = (Self.sentencePause * Double(record.sampleRate)).rounded(.toNearestOrEven)
                try give([Float](repeating: 0, count: Int(pause)))
            }
            try play(spoken, each: give)
            unknown += reading.unknown.filter { !unknown.contains($0) }
            sentence += 1
        }
        return unknown
    }

    /// Says symbols that are phonemes, or letters, already, all at once. Returns as ``speak(_:_:phonemizer:each:)``.
    @discardableResult
    public func speak(
        symbols: String, _ request: Request = Request(), each: (AudioChunk) throws -> Void
    ) throws -> [String] {
        let reading = try Reading(symbols: symbols, record.text)
        var asked = request
        asked.ids = reading.ids
        var start = 0
        try play(utterance(asked)) { samples in
            try each(AudioChunk(samples: samples, sampleRate: record.sampleRate, start: start, sentence: 0))
            start += samples.count
        }
        return reading.unknown
    }
}
