/// A sound card on a clock of its own: blocks come at their times, and output takes as long as `cost` says.
///
/// So dropouts are deterministic, and a test can name them. There is one worker, as in the real thing.
public final class VirtualDevice {
    private let cost: (Int) -> Double
    private var outputs = 0

    /// `cost`: seconds that each output takes, by its index.
    public init(cost: @escaping (Int) -> Double) { self.cost = cost }

    /// Feeds a session the samples and then `tail` seconds of silence. Returns all that the device played.
    public func play(_ session: Session, _ samples: [Float], tail: Double = 1) throws -> [Float] {
        let block = session.block
        let rate = Double(session.chain.sampleRate)
        let blocks = (samples.count + block - 1) / block
        let silence = Int((tail * rate).rounded(.up)) / block
        let input = samples + [Float](repeating: 0, count: (blocks + silence) * block - samples.count)
        var played = [Float](repeating: 0, count: input.count)
        var freeAt = 0  // when the worker is done with what is pending; times count samples
        var pending: [Float]?
        for index in 0..<blocks + silence {
            let now = index * block
            while let due = pending, freeAt <= now {
                session.publish(due)
                (pending, freeAt) = try next(session, freeAt)
            }
            input.withUnsafeBufferPointer { given in
                played.withUnsafeMutableBufferPointer { wanted in
                    session.exchange(given.baseAddress! + now, wanted.baseAddress! + now, block)
                }
            }
            if pending == nil { (pending, freeAt) = try next(session, now) }
        }
        return played
    }

    /// The worker takes blocks until output comes of them. Returns that, and when it is there.
    private func next(_ session: Session, _ now: Int) throws -> ([Float]?, Int) {
        while session.isWaiting {
            let output = try session.process()
            if !output.isEmpty {
                let seconds = cost(outputs)
                outputs += 1
                return (output, now + Int((seconds * Double(session.chain.sampleRate) - 1e-6).rounded(.up)))
            }
        }
        return (nil, now)
    }
}
