/// A tensor along time of a streaming artefact.
///
/// A call whose chunk starts at frame n takes or gives the positions n * `rate` + `lo` to n * `rate` + `hi` - 1 on
/// `axis`. An utterance of T frames has the positions 0 to T * `rate` + `extra` - 1.
public struct StreamPort: Codable, Equatable, Sendable {
    public let name: String
    public let axis: Int
    public let rate: Int
    public let lo: Int
    public let hi: Int
    public let extra: Int

    public init(name: String, axis: Int, rate: Int, lo: Int, hi: Int, extra: Int = 0) {
        self.name = name
        self.axis = axis
        self.rate = rate
        self.lo = lo
        self.hi = hi
        self.extra = extra
    }

    /// Positions of one call.
    public var length: Int { hi - lo }
}

/// A packed state: zeros at first, then what the call before gave as `givenAs`.
public struct StreamState: Codable, Equatable, Sendable {
    public let name: String
    public let givenAs: String
    public let shape: [Int]
}

/// How a streaming artefact is called: chunk after chunk of `chunk` input frames.
///
/// `delay`: output positions by which a call's output lies before its chunk. `lookahead`: input frames after an output's
/// own that it waits for. `ahead`: frames from the chunk's first on that a call needs unless the utterance ends before.
/// Function `edge` has two inputs, `before` and `after`: how many frames of the utterance lie before the chunk and from
/// its first frame on, both capped at `horizon`; beyond it function `steady`, without them, gives the same.
public struct StreamForm: Codable, Equatable, Sendable {
    /// How much is computed again in each call.
    public enum Mode: String, Codable, Sendable {
        case window, stateful, lowlat
    }

    /// Who keeps what a call hands to the next.
    public enum StateKind: String, Codable, Sendable {
        /// Nothing is handed on.
        case none
        /// Inputs and outputs of the artefact.
        case explicit
        /// Core ML's own states.
        case mlstate
    }

    public let mode: Mode
    public let exact: Bool
    public let chunk: Int
    public let lookahead: Int
    public let delay: Int
    public let ahead: Int
    public let horizon: Int
    public let inputs: [StreamPort]
    public let outputs: [StreamPort]
    public let states: [StreamState]
    public let state: StateKind
    public let constants: [String]
    public let steady: String?
    public let edge: String?
    /// Frames that repeat the last known one in a `lowlat` artefact.
    public let repeated: Int
    /// SNR to the exact output on speech, by lookahead: the last frame repeated, and zeros there.
    public let truncationDb: [String: [Double]]
    /// Multiply-adds per input frame in every mode, by chunk.
    public let costs: [String: [String: Double]]
}

extension StreamForm {
    /// When frames go in and out.
    var pace: Pace {
        let input = inputs.first.map { floorDivided($0.hi, $0.rate) } ?? 0
        let output = outputs.first.map { floorDivided($0.hi, $0.rate) } ?? chunk
        return Pace(chunk: chunk, ahead: max(ahead, input), gives: output)
    }
}

/// When frames pass a component: its call k comes as soon as k * `chunk` + `ahead` of them are there, and gives all before
/// frame k * `chunk` + `gives`.
struct Pace: Codable, Equatable {
    let chunk: Int
    let ahead: Int
    let gives: Int

    /// How many frames must be there until it has given this one.
    func wanted(_ frame: Int) -> Int { -floorDivided(gives - frame - 1, chunk) * chunk + ahead }
}

extension [Pace] {
    /// No longer periods are counted out.
    private static let longestPeriod = 1 << 16

    /// Frames from the beginning of one until components in a row have given it, at most: 1 for none of them.
    ///
    /// Two of the same chunk that tick together wait for it once.
    var waited: Int { period(1).map { $0.wanted - $0.frame }.max() ?? 1 }

    /// The most frames that come at once of components in a row.
    var burst: Int {
        var most = 1
        var run = 0
        var last: Int?
        for (_, wanted) in period(3) {  // those of a burst may lie in two periods
            run = wanted == last ? run + 1 : 1
            last = wanted
            most = Swift.max(most, run)
        }
        return most
    }

    /// Each frame and how many must be there for it, until these begin again, so many times.
    private func period(_ times: Int) -> [(frame: Int, wanted: Int)] {
        var length = 1
        for pace in self where length <= Self.longestPeriod && (1...Self.longestPeriod).contains(pace.chunk) {
            length *= pace.chunk / greatestDivisor(length, pace.chunk)
        }
        return (0..<times * Swift.min(length, Self.longestPeriod)).map { frame in
            (frame, reversed().reduce(frame + 1) { $1.wanted($0 - 1) })
        }
    }
}

/// The quotient, rounded down; of a damaged manifest's 0 or less the number itself.
private func floorDivided(_ number: Int, _ by: Int) -> Int {
    by > 0 ? number / by - (number % by < 0 ? 1 : 0) : number
}

/// The greatest number that divides both.
func greatestDivisor(_ a: Int, _ b: Int) -> Int { b == 0 ? a : greatestDivisor(b, a % b) }
