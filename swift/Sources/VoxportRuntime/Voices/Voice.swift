/// A voice that an app speaks with: one utterance at a time, whoever asks.
///
/// ```swift
/// let voice = try Voice(bundle, engines: engines)
/// for try await chunk in voice.speak("Hello there.") { play(chunk.samples) }
/// ```
public actor Voice {
    private let chain: VoiceChain
    private let phonemizer: (any Phonemizing & Sendable)?

    /// The rate of the audio.
    public nonisolated let sampleRate: Int

    /// Opens a voice; `phonemizer` is for those that read phonemes.
    ///
    /// Throws ``VoxportError/bundle(_:)`` for a bundle that does not speak.
    public init(
        _ bundle: VoxportBundle, engines: any EngineSource & Sendable, phonemizer: (any Phonemizing & Sendable)? = nil
    ) throws {
        chain = try VoiceChain(bundle, engines: engines)
        sampleRate = chain.record.sampleRate
        self.phonemizer = phonemizer
    }

    /// The embedding of a speaker by name. Throws as ``VoiceChain/speaker(_:)``.
    public func speaker(_ name: String?) throws -> [Float]? { try chain.speaker(name) }

    /// The embedding of a language by name, likewise.
    public func language(_ name: String?) throws -> [Float]? { try chain.language(name) }

    /// Says a text. The chunks come as they become ready; who leaves the loop stops the voice.
    public nonisolated func speak(
        _ text: String, _ request: Request = Request()
    ) -> AsyncThrowingStream<AudioChunk, any Error> {
        stream { voice, give in try await voice.speak(text, request, each: give) }
    }

    /// Says symbols that are phonemes, or letters, already.
    public nonisolated func speak(
        symbols: String, _ request: Request = Request()
    ) -> AsyncThrowingStream<AudioChunk, any Error> {
        stream { voice, give in try await voice.speak(symbols: symbols, request, each: give) }
    }

    private typealias Give = @Sendable (AudioChunk) throws -> Void

    private nonisolated func stream(
        _ speak: @escaping @Sendable (Voice, Give) async throws -> Void
    ) -> AsyncThrowingStream<AudioChunk, any Error> {
        AsyncThrowingStream { continuation in
            let task = Task {
                do {
                    try await speak(self) { chunk in
                        try Task.checkCancellation()
                        continuation.yield(chunk)
                    }
                    continuation.finish()
                } catch {
                    continuation.finish(throwing: error)
                }
            }
            continuation.onTermination = { _ in task.cancel() }
        }
    }

    private func speak(_ text: String, _ request: Request, each: Give) throws {
        try chain.speak(text, request, phonemizer: phonemizer, each: each)
    }

    private func speak(symbols: String, _ request: Request, each: Give) throws {
        try chain.speak(symbols: symbols, request, each: each)
    }
}
