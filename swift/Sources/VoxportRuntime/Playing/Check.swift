import Foundation

/// A bundle's goldens on this machine: how near its audio is to what PyTorch made of the same frames.
///
/// Compute units have been seen to give other numbers than they should, on one chip and not on another, without an
/// error. The limits tell that apart from rounding; how good a conversion is was judged when it was made.
public struct Check: Sendable {
    /// One golden recording, and the SNR of its audio to PyTorch's.
    public struct Clip: Sendable {
        public let name: String
        public let decibels: Double
    }

    public let clips: [Clip]
    /// The SNR that every clip must have.
    public let limit: Double

    /// Whether every clip has it.
    public var passed: Bool { clips.allSatisfy { $0.decibels >= limit } }

    /// Plays the goldens of the component that makes the bundle's audio.
    ///
    /// Throws ``VoxportError/bundle(_:)`` for a bundle without them.
    public init(_ bundle: VoxportBundle, engines: some EngineSource) throws {
        let record = try bundle.main
        let goldens = try bundle.goldens()
        let player = try makePlayer(bundle, component: record.name, engines: engines)
        let time = player.time
        let names = goldens.arrays.keys.map { $0.split(separator: "/").map(String.init) }
            .filter { $0.count == 4 && $0[0] == record.name && $0[2] == "in" && $0[3] == time.input }.map { $0[1] }
        guard !names.isEmpty else {
            throw VoxportError.bundle("\(bundle.manifest.name) holds no goldens of \(record.name)")
        }
        clips = try names.sorted().map { name in
            let frames = try goldens.tensor("\(record.name)/\(name)/in/\(time.input)")
            let reference = try goldens.tensor("\(record.name)/\(name)/out/\(time.output)").floats
            return Clip(name: name, decibels: Self.decibels(reference, try player.play(frames).floats))
        }
        let isExact = record.stream?.exact ?? true
        limit = isExact && bundle.manifest.options.precision == "fp32" ? 60 : isExact ? 20 : 5
    }

    /// 10 log10 of the energy of a signal over that of what another differs from it by.
    static func decibels(_ signal: [Float], _ other: [Float]) -> Double {
        guard signal.count == other.count else { return -.infinity }
        var energy = 0.0
        var noise = 0.0
        for (a, b) in zip(signal, other) {
            energy += Double(a) * Double(a)
            noise += (Double(a) - Double(b)) * (Double(a) - Double(b))
        }
        return noise == 0 ? .infinity : 10 * log10(energy / noise)
    }
}
