import CWatch
import Foundation
import Testing

@testable import VoxportRuntime

/// What `python -m runtime fixtures` wrote to the folder that VOXPORT_FIXTURES names.
struct Fixtures {
    static let folder = ProcessInfo.processInfo.environment["VOXPORT_FIXTURES"].map { URL(fileURLWithPath: $0) }
    static var areThere: Bool { folder != nil }

    private static let arrays = try? NPZ(contentsOf: folder!.appendingPathComponent("fixtures.npz"))

    /// The cases of a subject.
    static func cases<Case: Decodable>(_ subject: String, _ type: Case.Type = Case.self) throws -> [Case] {
        try Manifest.decoder.decode([Case].self, from: file("\(subject).json"))
    }

    static func array(_ name: String) throws -> NPZ.Array {
        try #require(arrays?[name], "there is no array \(name)")
    }

    static func tensor(_ name: String) throws -> Tensor { try #require(array(name).tensor) }

    static func floats(_ name: String) throws -> [Float] { try tensor(name).floats }

    /// The numbers of a name; nil where there are none.
    static func find(_ name: String) -> Tensor? { arrays?[name]?.tensor }

    /// What stands behind a prefix in the names.
    static func names(under prefix: String) -> [String] {
        (arrays?.arrays.keys.filter { $0.hasPrefix(prefix) } ?? []).map { String($0.dropFirst(prefix.count)) }
    }

    static func file(_ name: String) throws -> Data { try Data(contentsOf: folder!.appendingPathComponent(name)) }
}

/// A figure that the table of equality names.
func report(_ row: String, _ figure: String) { print("EQUALITY \(row): \(figure)") }

/// The largest absolute difference.
func worst(_ a: [Float], _ b: [Float]) -> Float {
    a.count == b.count ? zip(a, b).map { abs($0 - $1) }.max() ?? 0 : .infinity
}

/// 10 log10 of the energy of a signal over that of what another differs from it by, in dB.
func snr(_ signal: [Float], _ other: [Float]) -> Double {
    guard signal.count == other.count else { return -.infinity }
    let energy = signal.reduce(0) { $0 + Double($1) * Double($1) }
    let noise = zip(signal, other).reduce(0) { $0 + Double($1.0 - $1.1) * Double($1.0 - $1.1) }
    return 10 * log10(energy / noise)
}

/// Allocations, frees, retains and releases, and locks of a body that is run so many times.
func watched(_ times: Int, _ body: () -> Void) -> [UInt64] {
    body()  // what is made once is made now
    watch_start()
    for _ in 1..<times { body() }
    watch_stop()
    return [watch_allocations(), watch_frees(), watch_retains(), watch_locks()]
}

func told(_ counts: [UInt64]) -> String {
    "\(counts[0]) allocations, \(counts[1]) frees, \(counts[2]) retains and releases, \(counts[3]) locks"
}
