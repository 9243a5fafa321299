import CRealtime

/// What has happened in a live session. An underrun is a block for which the device found too little output.
public struct Counters: Equatable, Sendable {
    public var blocks = 0
    public var underruns = 0
    public var missingSamples = 0
    public var inputOverruns = 0
    public var drops = 0
    public var droppedSamples = 0
    /// Of output: computed, and left out because its time had passed.
    public var lateSamples = 0
    /// Blocks for which the device gave no input, and silence stood in.
    public var missingInputs = 0
}

/// The counters of a session as its threads add to them.
final class SharedCounters: @unchecked Sendable {
    enum Name: Int, CaseIterable {
        case blocks, underruns, missingSamples, inputOverruns, drops, droppedSamples, lateSamples
        case missingInputs
        /// Samples that the device played without having any.
        case silent
        /// Input samples that found no room.
        case lost
        /// From input to output in samples; it counts once there was output.
        case delay
        /// 1 once there was output.
        case hasOutput
        /// The largest sample since it was asked for, in millionths of full scale.
        case inputPeak, outputPeak
        /// Outputs since it was asked for, what they took together and what the slowest took, in nanoseconds.
        case outputs, cost, worstCost
        /// 1 while playing is to wait, and once no more audio comes.
        case paused, ended
    }

    let pointer: OpaquePointer

    init() {
        guard let counters = vx_counters_new(Name.allCases.count) else { fatalError("no memory for counters") }
        pointer = counters
    }

    deinit { vx_counters_free(pointer) }

    subscript(name: Name) -> Int { Int(vx_counters_get(pointer, name.rawValue)) }

    func add(_ amount: Int, to name: Name) { vx_counters_add(pointer, name.rawValue, Int64(amount)) }

    /// Makes a counter so large at least.
    func raise(_ least: Int, _ name: Name) { vx_counters_raise(pointer, name.rawValue, Int64(least)) }

    /// Makes a peak that of samples at least.
    func raise(_ samples: [Float], _ name: Name) {
        let peak = samples.reduce(0) { max($0, abs($1)) }
        raise(Int(1e6 * min(peak, 1000)), name)
    }

    /// A counter, which begins anew.
    func take(_ name: Name) -> Int { Int(vx_counters_take(pointer, name.rawValue)) }

    var delay: Int? { self[.hasOutput] != 0 ? self[.delay] : nil }

    var counters: Counters {
        Counters(
            blocks: self[.blocks], underruns: self[.underruns], missingSamples: self[.missingSamples],
            inputOverruns: self[.inputOverruns], drops: self[.drops], droppedSamples: self[.droppedSamples],
            lateSamples: self[.lateSamples], missingInputs: self[.missingInputs])
    }
}

/// The part of a live session that a device's callback calls: it copies and counts, no more.
///
/// A structure of pointers, so that nothing is allocated, locked, retained or released in a real-time thread. It is
/// valid as long as its ``Session`` is. One thread at a time calls it, which may be another one than made it.
public struct Exchange: @unchecked Sendable {
    let input: OpaquePointer
    let output: OpaquePointer
    let counters: OpaquePointer

    /// Takes a block of input and fills a block of output, of `count` samples each, which lie apart.
    ///
    /// Output first: input that is there already might be answered within the same block, by a worker that is quicker than
    /// this thread for once, and the delay would be taken for so short from then on.
    #if hasAttribute(_noAllocation)
        @_noAllocation@_noLocks
    #endif
    public func callAsFunction(_ taken: UnsafePointer<Float>, _ filled: UnsafeMutablePointer<Float>, _ count: Int) {
        let found = _unsafePerformance { vx_ring_read(output, filled, count) }
        var index = found
        while index < count {
            filled[index] = 0
            index &+= 1
        }
        _unsafePerformance { note(found: found, of: count) }
        let kept = _unsafePerformance { vx_ring_write(input, taken, count) }
        if kept < count { _unsafePerformance { note(kept: kept, of: count) } }
    }

    /// Counts a block for which the device gave no input.
    public func noteMissingInput() { add(1, .missingInputs) }

    private func note(found: Int, of count: Int) {
        add(1, .blocks)
        guard found < count else { return }
        add(count - found, .silent)
        guard vx_counters_get(counters, SharedCounters.Name.hasOutput.rawValue) != 0 else { return }
        add(1, .underruns)
        add(count - found, .missingSamples)
    }

    private func note(kept: Int, of count: Int) {
        add(1, .inputOverruns)
        add(count - kept, .lost)
    }

    private func add(_ amount: Int, _ name: SharedCounters.Name) {
        vx_counters_add(counters, name.rawValue, Int64(amount))
    }
}
