import Foundation

/// A target's frames: content, and where that is not what is played the mel, the pitch and the level that they had.
///
/// Which of them are nearest to a source's is k nearest neighbours by cosine (Baas, van Niekerk and Kamper 2023, arXiv
/// 2305.18975).
public struct Pool: Sendable {
    let count: Int
    let width: Int
    /// (count, width).
    let content: [Float]
    /// (count, bands) in a vocoder's scale; empty for a pool of content alone.
    let mel: [Float]
    let bands: Int
    let level: [Float]
    /// Natural logarithm of Hz, not a number where unvoiced.
    let logPitch: [Float]
    /// What a speaker adds to all content, near enough.
    let mean: [Float]
    let medianLogPitch: Double
    let speechLevel: Double
    /// The content, without its mean where it is compared so, each frame of length 1.
    private let directions: [Float]

    static let semitones = 12 / Foundation.log(2.0)  // of a difference of natural logarithms
    private static let shortest = 2.0  // seconds of speech
    private static let farthest: Float = 6  // semitones beyond which a pitch is no worse

    /// The pool of the arrays of a target, (N, D), and (N, bands), (N,), (N,) where there is a mel.
    ///
    /// Throws ``VoxportError/audio(_:)`` for arrays that do not hold the same frames.
    init(content: Tensor, mel: Tensor? = nil, pitch: Tensor? = nil, level: Tensor? = nil, isCentred: Bool) throws {
        let others = [mel, pitch, level].compactMap { $0 }
        guard content.shape.count == 2, content.shape[0] > 0, others.isEmpty || others.count == 3,
            others.allSatisfy({ $0.shape.first == content.shape[0] })
        else { throw VoxportError.audio("a target's content, mel, pitch and level do not hold the same frames") }
        count = content.shape[0]
        width = content.shape[1]
        self.content = content.floats
        self.mel = mel?.floats ?? []
        bands = mel?.shape[1] ?? 0
        self.level = level?.floats ?? []
        logPitch = (pitch?.floats ?? []).map(Self.log)
        var sums = [Double](repeating: 0, count: width)
        for (index, value) in self.content.enumerated() { sums[index % width] += Double(value) }
        let frames = Double(count)
        mean = sums.map { Float($0 / frames) }
        let voiced = logPitch.filter { !$0.isNaN }.sorted()
        let middle = voiced.count / 2
        if voiced.isEmpty {
            medianLogPitch = Foundation.log(150)
        } else {
            let below: Float = voiced[voiced.count.isMultiple(of: 2) ? middle - 1 : middle]
            medianLogPitch = Double((below + voiced[middle]) / 2)
        }
        var speech = SpeechLevel(first: 0, frames: 0)
        speechLevel = self.level.isEmpty ? 0 : Double(speech.push(self.level).last ?? 0)
        var rows = self.content
        if isCentred { for index in rows.indices { rows[index] -= mean[index % width] } }
        directions = Self.normalised(rows, width)
    }

    /// Throws ``VoxportError/audio(_:)`` for a target of so many seconds that is too little speech.
    func check(_ seconds: Double) throws {
        func told(_ seconds: Double) -> String { String(format: "%.1f s", seconds) }
        guard seconds >= Self.shortest else {
            throw VoxportError.audio("a target of \(told(seconds)) is too short: it takes 2 s, better ten minutes")
        }
        guard !logPitch.isEmpty else { return }
        let voiced = Double(logPitch.filter { !$0.isNaN }.count) / Double(count) * seconds
        guard voiced >= Self.shortest / 8 else {
            throw VoxportError.audio(
                "in \(told(seconds)) of the target there is hardly a voice (\(told(voiced)) voiced)")
        }
    }

    /// The frames whose content has the largest cosine to a row, in their own order.
    func nearestContent(_ row: [Float], neighbours: Int) -> [Int] {
        let cosines = self.cosines(row)
        return Self.smallest(neighbours, of: Array(0..<count)) { -cosines[$0] }.sorted()
    }

    /// Of the frames nearest in content those that cost least, a semitone costing so much of a cosine.
    func nearest(_ row: [Float], logPitch hertz: Float, _ stage: MatchStage) -> [Int] {
        let cosines = self.cosines(row)
        let near = Self.smallest(stage.shortlist, of: Array(0..<count)) { -cosines[$0] }
        return Self.smallest(stage.neighbours, of: near) { frame in
            let theirs = logPitch[frame]
            var apart = Self.farthest
            if theirs.isNaN, hertz.isNaN {
                apart = 0
            } else if !theirs.isNaN, !hertz.isNaN {
                apart = min(abs(theirs - hertz) * Float(Self.semitones), Self.farthest)
            }
            return Float(stage.pitchWeight) * apart - cosines[frame]
        }.sorted()
    }

    private func cosines(_ row: [Float]) -> [Float] {
        let direction = Self.normalised(row, width)
        return directions.withUnsafeBufferPointer { all in
            direction.withUnsafeBufferPointer { one in
                (0..<count).map { frame in
                    var sum: Float = 0
                    for index in 0..<width { sum += all[frame * width + index] * one[index] }
                    return sum
                }
            }
        }
    }

    private static func smallest(_ number: Int, of frames: [Int], by cost: (Int) -> Float) -> [Int] {
        let costs = frames.map { (cost($0), $0) }
        return costs.sorted { $0.0 != $1.0 ? $0.0 < $1.0 : $0.1 < $1.1 }.prefix(number).map(\.1)
    }

    private static func normalised(_ rows: [Float], _ width: Int) -> [Float] {
        var normalised = rows
        for start in stride(from: 0, to: rows.count, by: width) {
            let length = max(rows[start..<start + width].reduce(0) { $0 + $1 * $1 }.squareRoot(), 1e-9)
            for index in start..<start + width { normalised[index] /= length }
        }
        return normalised
    }

    static func log(_ hertz: Float) -> Float { hertz > 0 ? Float(Foundation.log(Double(hertz))) : .nan }
}

/// The level of speech among silence: a running mean of levels in dB, each as heavy as its power.
struct SpeechLevel {
    private var power: Double
    private var sum: Double

    /// It begins as if `frames` frames of `first` dB had come before.
    init(first: Double, frames: Double) {
        power = frames * pow(10, first / 10)
        sum = power * first
    }

    /// The mean up to and with each of the levels.
    mutating func push(_ levels: [Float]) -> [Float] {
        levels.map { level in
            let weight = pow(10, Double(level) / 10)
            power += weight
            sum += weight * Double(level)
            return Float(sum / power)
        }
    }
}

/// A mean over all that came so far, beginning as if `weight` frames of `first` had come before.
struct RunningMean {
    private var sums: [Double]
    private var count: Double

    init(first: [Double], weight: Double) {
        sums = first.map { $0 * weight }
        count = weight
    }

    /// The mean up to and with a row.
    mutating func push(_ row: [Float]) -> [Float] {
        count += 1
        for index in row.indices { sums[index] += Double(row[index]) }
        return sums.map { Float($0 / count) }
    }
}
