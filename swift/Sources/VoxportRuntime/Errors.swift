import Foundation

/// What can go wrong. Every message is a sentence that names the value and the way out.
public enum VoxportError: Error, Equatable, Sendable {
    /// A bundle that is missing, incomplete, damaged or of another schema.
    case bundle(String)
    /// An artefact that is not what its manifest says, or that an engine cannot execute.
    case artefact(String)
    /// Arrays that do not fit the tensors that a component takes.
    case input(String)
    /// An utterance that does not fit the artefact that plays it.
    case stream(String)
    /// Audio, or settings of features, that no features can be made of.
    case audio(String)
    /// Text, or symbols, that a voice cannot say.
    case text(String)
    /// An engine that is not there.
    case engine(String)

    /// The sentence.
    public var message: String {
        switch self {
        case .bundle(let text), .artefact(let text), .input(let text), .stream(let text), .audio(let text),
            .text(let text), .engine(let text):
            return text
        }
    }
}

extension VoxportError: LocalizedError, CustomStringConvertible {
    public var errorDescription: String? { message }
    public var description: String { message }
}
