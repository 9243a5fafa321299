/// What a component is given of audio, told apart by its `kind`.
public enum Features: Equatable, Sendable {
    case mel(Mel)
    case linear(Linear)
    case level(Level)
    case logBands(LogBands)
    case excitation(Excitation)
    case bark(Bark)
    case pitch(Pitch)
    case pitchCandidates(PitchCandidates)
    case samples(Samples)
    case speakerMel(SpeakerMel)
}

/// The magnitude spectrum that converters such as FreeVC and OpenVoice read.
public struct Linear: Codable, Equatable, Sendable {
    public let kind: String
    public let sampleRate: Int
    public let nFft: Int
    public let winLength: Int
    public let hopLength: Int
    public let magnitudeFloor: Double
}

/// The level of a window in dB, not lower than `floorDb`.
public struct Level: Codable, Equatable, Sendable {
    public let kind: String
    public let sampleRate: Int
    public let nFft: Int
    public let hopLength: Int
    public let floorDb: Double
}

/// Bands of several spectra, evenly spaced in log frequency.
public struct LogBands: Codable, Equatable, Sendable {
    public let kind: String
    public let sampleRate: Int
    public let hopLength: Int
    public let windows: [Int]
    public let nBands: Int
    public let bandsToFmax: Int
    public let fmin: Double
    public let fmax: Double
    public let amplitudeFloor: Double
    public let silence: Double
}

/// Instantaneous frequencies and cross-correlations, as PitchDNN reads them.
public struct Excitation: Codable, Equatable, Sendable {
    public let kind: String
    public let sampleRate: Int
    public let hopLength: Int
}

/// Bark cepstra, pitch and correlation, as FARGAN reads them.
public struct Bark: Codable, Equatable, Sendable {
    public let kind: String
    public let sampleRate: Int
    public let hopLength: Int
}

/// The fundamental frequency of a window by YIN, 0 where it is unvoiced.
public struct Pitch: Codable, Equatable, Sendable {
    public let kind: String
    public let sampleRate: Int
    public let nFft: Int
    public let hopLength: Int
    public let fmin: Double
    public let fmax: Double
    public let threshold: Double
}

/// The periods that a window may have: frequencies of the deepest dips of YIN's difference, and how deep they are.
public struct PitchCandidates: Codable, Equatable, Sendable {
    public let kind: String
    public let sampleRate: Int
    public let nFft: Int
    public let hopLength: Int
    public let fmin: Double
    public let fmax: Double
    public let threshold: Double
    public let count: Int
}

/// The audio itself: a frame is `hopLength` samples.
public struct Samples: Codable, Equatable, Sendable {
    public let kind: String
    public let sampleRate: Int
    public let hopLength: Int
}

/// How a speaker encoder's windows are made of a whole recording.
public struct SpeakerMel: Codable, Equatable, Sendable {
    public let kind: String
    public let sampleRate: Int
    public let nFft: Int
    public let winLength: Int
    public let hopLength: Int
    public let nMels: Int
    public let window: String
    public let htk: Bool
    public let preemphasis: Double
    public let partialFrames: Int
    public let overlap: Double
    public let leastCoverage: Double
    public let spread: Int?
    public let levelDbfs: Double?
    public let trimsSilence: Bool
    public let mel: Mel?
}

extension Features: Codable {
    public init(from decoder: any Decoder) throws {
        switch try Kind.of(decoder) {
        case "mel": self = .mel(try Mel(from: decoder))
        case "linear": self = .linear(try Linear(from: decoder))
        case "level": self = .level(try Level(from: decoder))
        case "log_bands": self = .logBands(try LogBands(from: decoder))
        case "excitation": self = .excitation(try Excitation(from: decoder))
        case "bark": self = .bark(try Bark(from: decoder))
        case "pitch": self = .pitch(try Pitch(from: decoder))
        case "pitch_candidates": self = .pitchCandidates(try PitchCandidates(from: decoder))
        case "samples": self = .samples(try Samples(from: decoder))
        case "speaker_mel": self = .speakerMel(try SpeakerMel(from: decoder))
        case let kind: throw Kind.unknown(kind, "features", decoder)
        }
    }

    public func encode(to encoder: any Encoder) throws {
        switch self {
        case .mel(let features): try features.encode(to: encoder)
        case .linear(let features): try features.encode(to: encoder)
        case .level(let features): try features.encode(to: encoder)
        case .logBands(let features): try features.encode(to: encoder)
        case .excitation(let features): try features.encode(to: encoder)
        case .bark(let features): try features.encode(to: encoder)
        case .pitch(let features): try features.encode(to: encoder)
        case .pitchCandidates(let features): try features.encode(to: encoder)
        case .samples(let features): try features.encode(to: encoder)
        case .speakerMel(let features): try features.encode(to: encoder)
        }
    }
}
