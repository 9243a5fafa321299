#if canImport(os)
    import os

    /// Instruments shows these intervals under the subsystem "voxport".
    private let signposter = OSSignposter(subsystem: "voxport", category: "realtime")
#endif

/// Runs a body as an interval of a name, which Instruments shows. No callback of a device calls it.
package func interval<Result>(_ name: StaticString, _ body: () throws -> Result) rethrows -> Result {
    #if canImport(os)
        return try signposter.withIntervalSignpost(name, around: body)
    #else
        return try body()
    #endif
}
