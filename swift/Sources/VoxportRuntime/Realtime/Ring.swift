import CRealtime

/// Samples between one writing and one reading thread, preallocated, without locks.
///
/// It is what crosses threads here, and nothing else does: hence the only `@unchecked Sendable` besides ``Counters``.
public final class Ring: @unchecked Sendable {
    let pointer: OpaquePointer

    /// A ring for so many samples, rounded up to a power of two.
    public init(capacity: Int) {
        guard let ring = vx_ring_new(max(capacity, 1)) else { fatalError("no memory for \(capacity) samples") }
        pointer = ring
    }

    deinit { vx_ring_free(pointer) }

    public var capacity: Int { vx_ring_capacity(pointer) }

    /// Samples written in all.
    public var written: Int { Int(vx_ring_written(pointer)) }

    /// Samples read or dropped in all.
    public var taken: Int { Int(vx_ring_taken(pointer)) }

    /// Samples that wait.
    public var count: Int { written - taken }

    /// Writes the samples that find room. Returns how many did.
    public func write(_ samples: UnsafeBufferPointer<Float>) -> Int {
        guard let start = samples.baseAddress else { return 0 }
        return vx_ring_write(pointer, start, samples.count)
    }

    /// Fills the beginning of a buffer. Returns how many samples there were.
    public func read(into buffer: UnsafeMutableBufferPointer<Float>) -> Int {
        guard let start = buffer.baseAddress else { return 0 }
        return vx_ring_read(pointer, start, buffer.count)
    }

    /// Passes over the oldest samples. The reading thread calls it.
    public func drop(_ count: Int) { vx_ring_drop(pointer, max(count, 0)) }
}

/// Runs a body on a processor that takes denormal numbers for zero.
///
/// The fading tail of a filter ends in them, and a processor computes with them many times slower.
public func withoutDenormals<Result>(_ body: () throws -> Result) rethrows -> Result {
    let before = vx_denormals_off()
    defer { vx_denormals_restore(before) }
    return try body()
}
