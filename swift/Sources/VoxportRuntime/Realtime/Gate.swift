import Foundation

/// Open where the input is loud enough, until it was 6 dB softer for 0.3 s; open 30 ms ahead.
///
/// Levels are those of steps of 10 ms, full scale 0 dB.
final class Gate {
    static let hopSeconds = 0.01
    /// Steps that open before the level does: a soft consonant begins a word.
    private static let lead = 3
    /// Steps that stay open after it.
    private static let hold = 30
    private static let hysteresis = 6.0
    private static let floor = -120.0

    /// Whether the last whole step is let through.
    private(set) var isOpen = false
    private let hop: Int
    private let threshold: Double
    private var rest: [Float] = []
    /// Of each step that is still needed, whether the gate was open; and how many are not any more.
    private var states: [Bool] = []
    private var forgotten = 0
    private var held = 0

    /// Throws ``VoxportError/stream(_:)`` for a threshold in dB that no level reaches.
    init(sampleRate: Int, threshold: Double) throws {
        guard threshold > Self.floor, threshold < 0 else {
            throw VoxportError.stream("a gate opens between \(Int(Self.floor)) and 0 dB, got \(threshold)")
        }
        self.threshold = threshold
        hop = max(1, Int((Self.hopSeconds * Double(sampleRate)).rounded(.toNearestOrEven)))
    }

    func reset() {
        rest = []
        states = []
        forgotten = 0
        held = 0
        isOpen = false
    }

    /// Takes the input's next samples.
    func push(_ samples: [Float]) {
        rest += samples
        let complete = rest.count / hop * hop
        for start in stride(from: 0, to: complete, by: hop) {
            take(level(of: rest[start..<start + hop]))
            states.append(isOpen)
        }
        rest.removeFirst(complete)
    }

    private func take(_ level: Double) {
        if level >= threshold {
            isOpen = true
            held = Self.hold
        } else if level >= threshold - Self.hysteresis, isOpen {
            held = Self.hold
        } else if held > 0 {
            held -= 1
            isOpen = held > 0
        }
    }

    private func level(of step: ArraySlice<Float>) -> Double {
        let energy = step.reduce(0) { $0 + Double($1) * Double($1) }
        return 10 * log10(max(energy / Double(step.count), pow(10, Self.floor / 10)))
    }

    /// The gains of some samples, 0 to 1; those before are forgotten.
    func gains(_ range: Range<Int>) -> [Float] {
        let first = range.lowerBound / hop - 1
        let last = (range.upperBound + hop - 1) / hop
        let steps = (first..<max(last, first)).map(gain)
        let passed = min(max(first - forgotten, 0), states.count)
        states.removeFirst(passed)
        forgotten += passed
        return range.map { sample in
            let step = sample / hop - first
            let share = Float(sample % hop) / Float(hop)
            return steps[step - 1] + (steps[step] - steps[step - 1]) * share
        }
    }

    /// Of a step; of one that has not come yet, what the last one was.
    private func gain(_ step: Int) -> Float {
        let end = forgotten + states.count
        guard step >= 0, end > 0 else { return 0 }
        let from = min(step, end - 1)
        let to = min(step + Self.lead + 1, end)
        return states[(from - forgotten)..<(to - forgotten)].contains(true) ? 1 : 0
    }
}
