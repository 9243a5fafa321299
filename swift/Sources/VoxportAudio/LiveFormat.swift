/// What is asked of the sound card of a live session.
public struct LiveSettings: Equatable, Sendable {
    /// Samples of a block. The card may have others, which ``LiveFormat`` tells.
    public var block = 128
    /// Echo cancellation and noise suppression of the system, for who listens by loudspeaker. They add delay.
    public var usesVoiceProcessing = false
    /// UID of a microphone, on a Mac; nil is the system's choice, and follows it.
    public var microphone: String?
    /// UID of speakers, likewise.
    public var speakers: String?

    public init() {}
}

/// What the sound card has: a chain is made for it.
public struct LiveFormat: Equatable, Sendable {
    public let sampleRate: Int
    /// Samples of a block, as read back from the card.
    public let block: Int
    /// Seconds from a sound to its sample, by what the card reports; a loopback measures more.
    public let inputLatency: Double
    /// Seconds from a sample to its sound, likewise.
    public let outputLatency: Double

    package init(sampleRate: Int, block: Int, inputLatency: Double, outputLatency: Double) {
        self.sampleRate = sampleRate
        self.block = block
        self.inputLatency = inputLatency
        self.outputLatency = outputLatency
    }
}
