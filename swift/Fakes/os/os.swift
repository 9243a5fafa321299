// Stands in for Apple's os where there is none: signposts by the names and signatures of its documentation. They are
// counted, so that a test sees which intervals there are.
import Foundation

public struct OSSignpostID: Sendable {
    public static let exclusive = OSSignpostID()
}

public struct OSSignposter: Sendable {
    private let subsystem: String

    public init(subsystem: String, category: String) { self.subsystem = subsystem }

    public func withIntervalSignpost<T>(
        _ name: StaticString, id: OSSignpostID = .exclusive, around task: () throws -> T
    ) rethrows -> T {
        FakeSignposts.note("\(subsystem).\(name)")
        return try task()
    }
}

/// What was signposted.
public enum FakeSignposts {
    private static let lock = NSLock()
    nonisolated(unsafe) private static var counts: [String: Int] = [:]

    static func note(_ name: String) { lock.withLock { counts[name, default: 0] += 1 } }

    public static func count(_ name: String) -> Int { lock.withLock { counts[name, default: 0] } }
}
