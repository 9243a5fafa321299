/// How a voice reads: cleaning, phonemes, symbols, ids.
public struct TextSettings: Codable, Equatable, Sendable {
    /// What stands for ids; the longest match goes first.
    public let symbols: [String: [Int]]
    public let begin: [Int]
    public let between: [Int]
    public let end: [Int]
    /// `espeak`, `gruut`, or empty where the symbols are letters.
    public let phonemizer: String
    public let language: String
    public let cleaning: [String]

    /// The settings that read a ``Script``'s sentences: no step is left that would say a phonemizer's numbers.
    public var ofScripts: TextSettings {
        TextSettings(
            symbols: symbols, begin: begin, between: between, end: end, phonemizer: phonemizer, language: language,
            cleaning: cleaning.filter { $0 != "numbers" })
    }
}

/// How a decoder that attends to its text is run step by step.
public struct Attending: Codable, Equatable, Sendable {
    public let framesPerStep: Int
    public let stateChannels: Int
    public let rows: [String]
    public let lastState: Double?
    public let stopThreshold: Double
    public let leastSteps: Int
    public let mostSteps: Int
    public let dropout: Int
    public let textDropout: Int
    public let window: [Int]?
    public let silence: Double?
}

/// How the components of a bundle speak together.
public struct VoiceRecord: Codable, Equatable, Sendable {
    /// How the components hang together.
    public enum Chain: String, Codable, Sendable {
        case attention
        case flowMel = "flow_mel"
        case flowPrior = "flow_prior"
        case lengthRegulator = "length_regulator"
    }

    public let chain: Chain
    public let text: TextSettings
    public let sampleRate: Int
    public let samplesPerFrame: Int
    /// The mel that the last component takes; nil where its frames are no mel.
    public let features: Mel?
    public let channels: Int
    public let noiseScale: Double
    public let durationNoiseScale: Double
    public let lengthScale: Double
    /// Rows of the tables in `voice.npz`, by name.
    public let speakers: [String: Int]
    public let languages: [String: Int]
    public let embeddingChannels: Int
    public let prosody: [String]
    /// The component that gives the audio.
    public let last: String
    /// How the chain's mel is scaled where the vocoder takes another scale.
    public let acoustic: Mel?
    public let squeeze: Int
    public let attending: Attending?
    public let speakerEncoder: String
}
