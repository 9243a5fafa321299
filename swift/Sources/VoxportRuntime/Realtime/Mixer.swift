import Synchronization

/// Whether a speaker hears their own voice in place of the converted one. Any thread may turn it while sessions come and
/// go.
public final class OwnVoice: Sendable {
    private let flag = Atomic<Bool>(false)

    public init() {}

    public var isHeard: Bool {
        get { flag.load(ordering: .relaxed) }
        set { flag.store(newValue, ordering: .relaxed) }
    }
}

/// What stands between a live conversion and its listener: a gate, so that a room is not heard, and the speaker's own
/// voice when it is asked for, as late as the converted one.
///
/// A chain's sample k belongs to its input's sample k, however late it comes: so the gate, which looks at the input, fades
/// the very output that belongs to it, and the input itself can take the output's place without a jump in time.
public final class Mixer: LiveChain {
    public var sampleRate: Int { chain.sampleRate }
    public var chunk: Int { chain.chunk }
    private let chain: any LiveChain
    private let gate: Gate?
    private let ownVoice: OwnVoice
    /// Samples of a fade.
    private let fade: Int
    /// The input from the sample on that is given next.
    private var input: [Float] = []
    private var given = 0
    /// Of the input in the output.
    private var share: Float

    /// `gate`: the level in dB below which the input's output is silent, such as -45; nil for no gate.
    ///
    /// Throws ``VoxportError/stream(_:)`` for a level that none reaches.
    public init(_ chain: any LiveChain, gate: Double? = nil, ownVoice: OwnVoice = OwnVoice()) throws {
        self.chain = chain
        self.gate = try gate.map { try Gate(sampleRate: chain.sampleRate, threshold: $0) }
        self.ownVoice = ownVoice
        fade = max(1, Int((Gate.hopSeconds * Double(chain.sampleRate)).rounded(.toNearestOrEven)))
        share = ownVoice.isHeard ? 1 : 0
    }

    /// Whether the gate lets the newest input through.
    public var isOpen: Bool { gate?.isOpen ?? true }

    public func push(_ samples: [Float]) throws -> [Float] {
        input += samples
        gate?.push(samples)
        let converted = try chain.push(samples)
        return converted.isEmpty ? converted : mixed(converted)
    }

    public func reset() throws {
        try chain.reset()
        gate?.reset()
        input = []
        given = 0
        share = ownVoice.isHeard ? 1 : 0
    }

    /// What is heard of the chain's next samples.
    private func mixed(_ converted: [Float]) -> [Float] {
        var heard = converted
        if let gate {
            let gains = gate.gains(given..<given + heard.count)
            for index in heard.indices { heard[index] *= gains[index] }
        }
        let isHeard = ownVoice.isHeard
        if share > 0 || isHeard {
            let start = share
            for index in heard.indices {
                let step = Float(index + 1) / Float(fade)
                share = min(max(start + (isHeard ? step : -step), 0), 1)
                let dry = index < input.count ? input[index] : 0
                heard[index] += share * (dry - heard[index])
            }
        }
        input.removeFirst(min(heard.count, input.count))
        given += heard.count
        return heard
    }
}
