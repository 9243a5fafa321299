/// Audio in, audio out, block by block: what a live session runs.
public protocol LiveChain: AnyObject {
    var sampleRate: Int { get }
    /// Samples of output that come at once.
    var chunk: Int { get }
    /// Takes the next samples. Returns the output that they complete.
    func push(_ samples: [Float]) throws -> [Float]
    /// Begins anew.
    func reset() throws
}

/// One run of a chain on a device that gives and takes `block` samples at a time.
///
/// The device's callback calls ``exchange``; a worker thread calls ``process()`` while ``isWaiting``, and then
/// ``publish(_:)``. The delay from input to output is constant: what the first output has, and `prefill` samples more, to
/// bridge what later ones take longer. Output that is later than that is left out, not played late. Input that is older
/// than `maxAge` seconds is dropped and the chain reset, so that one stall leaves no lasting delay. After every gap the
/// output fades in.
public final class Session {
    /// Where audio was dropped or ran out, output fades in for so long.
    public static let fadeSeconds = 0.005

    public let chain: any LiveChain
    public let block: Int
    /// What the device's callback calls. The session must outlive it.
    public let exchange: Exchange
    private let input: Ring
    private let output: Ring
    let shared = SharedCounters()
    private let most: Int
    private let room: Int
    private let prefill: Int
    private let ramp: [Float]
    private var taken: [Float]
    /// The input sample that the chain's next output belongs to.
    private var next = 0
    private var fadedIn: Int

    public init(_ chain: any LiveChain, block: Int, prefill: Int = 0, maxAge: Double = 0.5) {
        self.chain = chain
        self.block = block
        self.prefill = prefill
        let rate = Double(chain.sampleRate)
        room = 2 * Int(((maxAge + 2) * rate).rounded(.up)) + prefill
        most = max(Int((maxAge * rate).rounded(.up)), 2 * block)
        input = Ring(capacity: room)
        output = Ring(capacity: room)
        exchange = Exchange(input: input.pointer, output: output.pointer, counters: shared.pointer)
        taken = Array(repeating: 0, count: block)
        let steps = max(2, Int((Self.fadeSeconds * rate).rounded(.toNearestOrEven)))
        // As `numpy.linspace` rounds it.
        ramp = (0..<steps - 1).map { Float(Double($0) * (1 / Double(steps - 1))) } + [1]
        fadedIn = steps
    }

    public var counters: Counters { shared.counters }

    /// From input to output in samples; nil until there was output.
    public var delay: Int? { shared.delay }

    /// Whether there is a block of input.
    public var isWaiting: Bool { input.count >= block }

    /// Runs the chain on the oldest block of input. Its output is not heard before ``publish(_:)``.
    public func process() throws -> [Float] {
        if input.count > most {
            let surplus = (input.count - block) / block * block
            input.drop(surplus)
            shared.add(1, to: .drops)
            shared.add(surplus, to: .droppedSamples)
            try chain.reset()
            next = input.taken + shared[.lost]
        }
        let count = taken.withUnsafeMutableBufferPointer { input.read(into: $0) }
        shared.raise(taken, .inputPeak)
        return try interval("block") {
            try withoutDenormals { try chain.push(count == block ? taken : Array(taken[..<count])) }
        }
    }

    /// Makes output audible, at its time.
    public func publish(_ samples: [Float]) {
        guard !samples.isEmpty else { return }
        shared.raise(samples, .outputPeak)
        let now = output.written + shared[.silent]  // when the next sample that is written will be played
        let isFirst = shared.delay == nil
        if isFirst {  // the next output comes a chunk later and follows this one, which may be short
            shared.add(now + prefill - next + max(chain.chunk - samples.count, 0), to: .delay)
            shared.add(1, to: .hasOutput)
        }
        let early = next + shared[.delay] - now
        next += samples.count
        var audible = samples[...]
        if early > 0 {
            write([Float](repeating: 0, count: min(early, room)))
        } else if early < 0 {
            let late = min(-early, samples.count)
            shared.add(late, to: .lateSamples)
            audible = samples[late...]
        }
        if early != 0, !isFirst { fadedIn = 0 }
        write(withFade(Array(audible)))
    }

    private func write(_ samples: [Float]) { samples.withUnsafeBufferPointer { _ = output.write($0) } }

    private func withFade(_ samples: [Float]) -> [Float] {
        let count = min(ramp.count - fadedIn, samples.count)
        guard count > 0 else { return samples }
        var faded = samples
        for index in 0..<count { faded[index] *= ramp[fadedIn + index] }
        fadedIn += count
        return faded
    }
}
