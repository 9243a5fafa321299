/// Frame n of a stage stands for the moment (n * `hopLength` + `offset`) / `sampleRate`.
public struct Clock: Codable, Equatable, Sendable {
    public let sampleRate: Int
    public let hopLength: Int
    public let offset: Double
}

/// Features of the audio that is converted.
public struct FeatureStage: Codable, Equatable, Sendable {
    public let kind: String
    public let name: String
    public let features: Features
}

/// What a component that is not local in time sees of a stage: frames before and after those that it is asked for.
public struct Context: Codable, Equatable, Sendable {
    public let past: Int
    public let chunk: Int
    public let future: Int
}

/// A component that is not local in time, as self-attention is not: approximate, in overlapping windows.
public struct WindowedStage: Codable, Equatable, Sendable {
    public let kind: String
    public let name: String
    public let component: String
    public let takes: [String]
    /// `offline` of a file, `live` where the future is waited for.
    public let contexts: [String: Context]
    public let framesPerOutput: Int
    public let fill: Double
    public let costsDb: [String: Double]
}

/// Replaces each frame by the mean of those of a target whose content is nearest.
public struct MatchStage: Codable, Equatable, Sendable {
    public let kind: String
    public let name: String
    public let content: String
    /// The features of a vocoder, mel or Bark cepstra.
    public let mel: Features?
    public let pitch: String?
    public let level: String?
    public let neighbours: Int
    public let shortlist: Int
    public let pitchWeight: Double
    public let every: Int
    public let centred: Bool
}

/// The source's pitch as a model reads it.
public struct PitchStage: Codable, Equatable, Sendable {
    /// In hertz, in bins from 1 to 255, or in two rows: ln F0 less its running mean, and 1 where it is voiced.
    public enum Form: String, Codable, Sendable {
        case hertz, bins, normalised
    }

    public let kind: String
    public let name: String
    public let takes: String
    public let gives: Form
}

/// The pitch among the periods that each window may have, in Hz and 0 where it is unvoiced.
public struct TrackingStage: Codable, Equatable, Sendable {
    public let kind: String
    public let name: String
    public let takes: String
}

/// The pitch that a component detects, on the clock of what takes it.
public struct VoicingStage: Codable, Equatable, Sendable {
    public let kind: String
    public let name: String
    public let takes: String
    public let clock: Clock
    public let threshold: Double
}

/// The excitation of a decoder with a harmonic source.
public struct HarmonicStage: Codable, Equatable, Sendable {
    public let kind: String
    public let name: String
    public let takes: String
    public let sampleRate: Int
    public let samples: Int
    public let amplitude: Double
    public let noise: Double
}

/// Content drawn towards that which a voice was trained on.
public struct RetrieveStage: Codable, Equatable, Sendable {
    public let kind: String
    public let name: String
    public let takes: String
    public let pitch: String
    public let neighbours: Int
    public let share: Double
    public let protected: Double
}

/// The latents of a component, each times a scale and plus a bias that a user chooses and may change as audio comes.
public struct LatentStage: Codable, Equatable, Sendable {
    public let kind: String
    public let name: String
    public let takes: String
}

/// A component that is local in time.
public struct LocalStage: Codable, Equatable, Sendable {
    public let kind: String
    public let name: String
    public let component: String
    /// The stages of its input, their channels one below another; then come rows of noise.
    public let takes: [String]
    public let noiseRows: Int
}

/// A stage of a conversion, told apart by its `kind`.
public enum Stage: Equatable, Sendable {
    case features(FeatureStage)
    case windowed(WindowedStage)
    case match(MatchStage)
    case tracking(TrackingStage)
    case voicing(VoicingStage)
    case pitch(PitchStage)
    case harmonic(HarmonicStage)
    case retrieve(RetrieveStage)
    case latent(LatentStage)
    case local(LocalStage)

    public var name: String {
        switch self {
        case .features(let stage): return stage.name
        case .windowed(let stage): return stage.name
        case .match(let stage): return stage.name
        case .tracking(let stage): return stage.name
        case .voicing(let stage): return stage.name
        case .pitch(let stage): return stage.name
        case .harmonic(let stage): return stage.name
        case .retrieve(let stage): return stage.name
        case .latent(let stage): return stage.name
        case .local(let stage): return stage.name
        }
    }
}

extension Stage: Codable {
    public init(from decoder: any Decoder) throws {
        switch try Kind.of(decoder) {
        case "features": self = .features(try FeatureStage(from: decoder))
        case "windowed": self = .windowed(try WindowedStage(from: decoder))
        case "match": self = .match(try MatchStage(from: decoder))
        case "tracking": self = .tracking(try TrackingStage(from: decoder))
        case "voicing": self = .voicing(try VoicingStage(from: decoder))
        case "pitch": self = .pitch(try PitchStage(from: decoder))
        case "harmonic": self = .harmonic(try HarmonicStage(from: decoder))
        case "retrieve": self = .retrieve(try RetrieveStage(from: decoder))
        case "latent": self = .latent(try LatentStage(from: decoder))
        case "local": self = .local(try LocalStage(from: decoder))
        case let kind: throw Kind.unknown(kind, "stage", decoder)
        }
    }

    public func encode(to encoder: any Encoder) throws {
        switch self {
        case .features(let stage): try stage.encode(to: encoder)
        case .windowed(let stage): try stage.encode(to: encoder)
        case .match(let stage): try stage.encode(to: encoder)
        case .tracking(let stage): try stage.encode(to: encoder)
        case .voicing(let stage): try stage.encode(to: encoder)
        case .pitch(let stage): try stage.encode(to: encoder)
        case .harmonic(let stage): try stage.encode(to: encoder)
        case .retrieve(let stage): try stage.encode(to: encoder)
        case .latent(let stage): try stage.encode(to: encoder)
        case .local(let stage): try stage.encode(to: encoder)
        }
    }
}

/// What tells records apart that stand for one another.
enum Kind {
    private struct Record: Decodable {
        let kind: String
    }

    static func of(_ decoder: any Decoder) throws -> String { try Record(from: decoder).kind }

    static func unknown(_ kind: String, _ what: String, _ decoder: any Decoder) -> DecodingError {
        .dataCorrupted(.init(codingPath: decoder.codingPath, debugDescription: "there is no \(what) of kind \(kind)"))
    }
}

/// From audio to audio in another voice: the stages in the order in which they run; the last one gives the audio.
public struct Conversion: Codable, Equatable, Sendable {
    /// What says whose voice it is to be.
    public enum Target: String, Codable, Sendable {
        case builtIn = "built_in"
        case embedding, pool
    }

    public let stages: [Stage]
    public let target: Target
}
