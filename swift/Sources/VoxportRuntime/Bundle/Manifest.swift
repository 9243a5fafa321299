import Foundation

/// Where weights came from.
public struct CheckpointRecord: Codable, Equatable, Sendable {
    public let name: String
    public let family: String
    public let licence: String
    public let source: String
    public let sha256: String
    public let fallback: Bool
    public let random: Bool
}

/// What was asked for when a bundle was converted.
public struct OptionsRecord: Codable, Equatable, Sendable {
    public let format: String
    public let precision: String
    public let upsampler: String
    public let mode: String
    public let target: String
}

/// What a bundle says of itself, in its `manifest.json`.
///
/// Keys that this version does not know are ignored, a schema that it does not know is refused.
public struct Manifest: Codable, Equatable, Sendable {
    /// The newest schema that is read, as are those before it.
    public static let schemaVersion = 4

    public let schemaVersion: Int
    public let name: String
    public let key: String
    public let created: String
    public let checkpoint: CheckpointRecord
    public let options: OptionsRecord
    public let components: [ComponentRecord]
    public let voice: VoiceRecord?
    public let conversion: Conversion?
    /// Checkpoints of the components that came from another model.
    public let parts: [String: CheckpointRecord]
    public let versions: [String: String]
    public let gitCommit: String?
    public let parameters: Int
    public let notes: [String]
    /// sha256 of every file of the bundle but the manifest.
    public let files: [String: String]

    /// Reads the text of a manifest. Throws ``VoxportError/bundle(_:)``.
    public init(json: Data) throws {
        struct Version: Decodable {
            let schemaVersion: Int
        }
        do {
            let version = try Self.decoder.decode(Version.self, from: json).schemaVersion
            guard (1...Self.schemaVersion).contains(version) else {
                throw VoxportError.bundle(
                    "the manifest has schema \(version), this runtime reads schemas 1 to \(Self.schemaVersion): use the "
                        + "version of voxport that converted the bundle, or a newer one")
            }
            self = try Self.decoder.decode(Manifest.self, from: OlderManifests.upgraded(json, schema: version))
        } catch let error as DecodingError {
            throw VoxportError.bundle("the manifest is damaged: \(Self.told(error))")
        }
    }

    /// The manifest as JSON, its keys sorted. What is missing is left out, not null.
    public func json() throws -> Data {
        let encoder = JSONEncoder.snake
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return try encoder.encode(self)
    }

    /// Reads records of a manifest by themselves.
    package static var decoder: JSONDecoder {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return decoder
    }

    private static func told(_ error: DecodingError) -> String {
        func place(_ context: DecodingError.Context) -> String {
            let path = context.codingPath.map { $0.intValue.map(String.init) ?? $0.stringValue }
            return path.isEmpty ? "its top" : path.joined(separator: ".")
        }
        switch error {
        case .keyNotFound(let key, let context): return "\(place(context)) has no \(key.stringValue)"
        case .typeMismatch(_, let context), .valueNotFound(_, let context), .dataCorrupted(let context):
            return "\(place(context)): \(context.debugDescription)"
        @unknown default: return "\(error)"
        }
    }
}
