import CRealtime

/// Audio on its way to a device that plays it: one thread writes, the device's callback reads.
///
/// Where audio runs out it falls from its last sample to silence, and where it goes on it rises again, so that neither
/// clicks.
public final class Playback: Sendable {
    /// Samples that a fall or a rise takes.
    static var fade: Int { 256 }

    public let sampleRate: Int
    /// What the device's callback calls. It is valid as long as this is.
    public let exchange: PlaybackExchange
    private let ring: Ring
    private let counters = SharedCounters()

    /// Room for `seconds` of audio.
    public init(sampleRate: Int, seconds: Double = 10) {
        self.sampleRate = sampleRate
        ring = Ring(capacity: max(Int(seconds * Double(sampleRate)), Self.fade))
        exchange = PlaybackExchange(ring: ring.pointer, counters: counters.pointer)
    }

    deinit { exchange.deallocate() }

    /// Samples that were played.
    public var played: Int { ring.taken }

    /// Samples that wait to be played.
    public var waiting: Int { ring.count }

    /// Times that audio ran out before its end.
    public var underruns: Int { counters[.underruns] }

    /// Whether playing waits; what is written is kept.
    public var isPaused: Bool { counters[.paused] != 0 }

    public func pause() { counters.raise(1, .paused) }

    public func resume() { _ = counters.take(.paused) }

    /// Writes the samples that find room. Returns how many did.
    public func write(_ samples: ArraySlice<Float>) -> Int {
        _ = counters.take(.ended)
        return samples.withUnsafeBufferPointer { ring.write($0) }
    }

    /// Says that no more audio comes: that it runs out is no underrun then.
    public func end() { counters.raise(1, .ended) }
}

/// The part of a ``Playback`` that a device's callback calls: a structure of pointers, as ``Exchange`` is.
public struct PlaybackExchange: @unchecked Sendable {
    private let ring: OpaquePointer
    private let counters: OpaquePointer
    private let fading: UnsafeMutablePointer<Fading>

    private struct Fading {
        /// The sample before a fall, and how far it has fallen.
        var last: Float = 0
        var fallen = Playback.fade
        /// How far it has risen again.
        var risen = 0
    }

    init(ring: OpaquePointer, counters: OpaquePointer) {
        self.ring = ring
        self.counters = counters
        fading = .allocate(capacity: 1)
        fading.initialize(to: Fading())
    }

    func deallocate() { fading.deallocate() }

    /// Fills a block of so many samples.
    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    public func callAsFunction(_ filled: UnsafeMutablePointer<Float>, _ count: Int) {
        let isPaused = _unsafePerformance { vx_counters_get(counters, SharedCounters.Name.paused.rawValue) != 0 }
        let found = isPaused ? 0 : _unsafePerformance { vx_ring_read(ring, filled, count) }
        var index = 0
        while index < found {
            if fading.pointee.risen < Playback.fade {
                filled[index] *= Float(fading.pointee.risen) / Float(Playback.fade)
                fading.pointee.risen &+= 1
            }
            index &+= 1
        }
        if found > 0 {
            fading.pointee.last = filled[found &- 1]
            fading.pointee.fallen = 0
        }
        guard found < count else { return }
        if fading.pointee.fallen == 0, !isPaused { _unsafePerformance { note() } }
        fading.pointee.risen = 0
        while index < count {
            var level: Float = 0
            if fading.pointee.fallen < Playback.fade {
                fading.pointee.fallen &+= 1
                level = 1 - Float(fading.pointee.fallen) / Float(Playback.fade)
            }
            filled[index] = fading.pointee.last * level
            index &+= 1
        }
    }

    private func note() {
        guard vx_counters_get(counters, SharedCounters.Name.ended.rawValue) == 0 else { return }
        vx_counters_add(counters, SharedCounters.Name.underruns.rawValue, 1)
    }
}
