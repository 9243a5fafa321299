import Foundation

/// The pitch among candidates, as they come: the end of the path through all frames so far that costs least.
///
/// Dynamic programming over candidates of each frame and being unvoiced (Talkin 1995, RAPT), without looking back. What a path
/// pays for, and how much, is as in Python's `runtime/speech/melody.py`.
struct PitchTracker {
    private static let unvoicedCost = 0.45
    private static let switchCost = 0.1
    private static let jumpCost = 0.6
    private static let lowCost = 0.05
    private static let awayCost = 0.2
    private static let topHertz = 800.0
    private static let sureDepth = 0.15
    private static let sureFrames = 10.0
    private static let registerSeconds = 5.0

    private let kept: Double
    /// Of ln F0 where it is sure.
    private var sum = 0.0
    private var weight = 0.0
    /// What the cheapest path costs that ends unvoiced.
    private var unvoiced = 0.0
    /// ln F0 of the last frame's candidates, and what the cheapest paths to them cost.
    private var last: [(logarithm: Double, cost: Double)] = []

    /// `frameRate`: frames a second.
    init(frameRate: Double) { kept = exp(-1 / (Self.registerSeconds * frameRate)) }

    /// Begins anew: the next frame is the first.
    mutating func reset() {
        sum = 0
        weight = 0
        unvoiced = 0
        last = []
    }

    /// Frequencies in Hz, 0 for none, and depths of dips, (2 count, n), to Hz, 0 where it is unvoiced, (1, n).
    mutating func push(_ candidates: Tensor) -> Tensor {
        let count = candidates.shape[0] / 2
        let frames = candidates.shape[1]
        let values = candidates.floats
        let hertz = (0..<frames).map { frame in
            let all = (0..<count).map { (values[$0 * frames + frame], Double(values[(count + $0) * frames + frame])) }
            return next(all.filter { $0.0 > 0 })
        }
        return Tensor(hertz, shape: [1, frames])
    }

    private mutating func next(_ candidates: [(hertz: Float, depth: Double)]) -> Float {
        let isKnown = weight > Self.sureFrames
        let register = isKnown ? sum / weight : 0
        let cheapest = last.map(\.cost).min() ?? .infinity
        var reached = candidates.map { candidate in
            let logarithm = log(Double(candidate.hertz))
            let own =
                candidate.depth + Self.lowCost * (log(Self.topHertz) - logarithm)
                + (isKnown ? Self.awayCost * abs(logarithm - register) : 0)
            let steps = last.map { $0.cost + Self.jumpCost * abs(logarithm - $0.logarithm) }
            return (logarithm: logarithm, cost: own + min(unvoiced + Self.switchCost, steps.min() ?? .infinity))
        }
        let ending = min(unvoiced, cheapest + Self.switchCost) + Self.unvoicedCost
        let chosen = reached.indices.min { reached[$0].cost < reached[$1].cost }
        let best = chosen.map { reached[$0].cost } ?? .infinity
        let base = min(best, ending)  // so that the sums stay small
        for index in reached.indices { reached[index].cost -= base }
        unvoiced = ending - base
        last = reached
        guard let chosen, best <= ending else { return 0 }
        if candidates[chosen].depth < Self.sureDepth {
            sum = kept * sum + reached[chosen].logarithm
            weight = kept * weight + 1
        }
        return candidates[chosen].hertz
    }
}
