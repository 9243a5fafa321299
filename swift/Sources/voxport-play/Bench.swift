import Foundation
import VoxportRuntime

/// Times what runs beside the models: medians of repeated runs, in microseconds of a core, whatever else runs on it.
func bench() throws {
    let block = [Float](repeating: 0.25, count: 128)
    var heard = [Float](repeating: 0, count: 128)
    let session = Session(Silent(), block: 128)
    let exchange = median(times: 2000) {
        block.withUnsafeBufferPointer { taken in
            heard.withUnsafeMutableBufferPointer { session.exchange(taken.baseAddress!, $0.baseAddress!, 128) }
        }
    }
    print(String(format: "exchange of 128 frames   %.3f us", exchange))
    for size in [1024, 800] {
        var mel = Mel()
        (mel.nFft, mel.winLength) = (size, size)
        let stream = try mel.stream()
        let second = (0..<22050).map { Float(sin(Double($0) * 0.05)) }
        _ = try stream.push(second)
        let whole = try medianThrowing(times: 9) { _ = try stream.push(second) }
        print(String(format: "mel frame of %4d        %.2f us", size, whole / (22050.0 / 256)))
    }
    let cepstra = try Bark().stream()
    let speech = (0..<16000).map { Float(sin(Double($0) * 0.05)) }
    let second = try medianThrowing(times: 9) { _ = try cepstra.push(speech) }
    print(String(format: "frame of FARGAN's features   %.1f us", second / 100))
    let resampler = try Resampler(from: 48000, to: 22050)
    let resampled = try medianThrowing(times: 200) { _ = try resampler.push(block) }
    print(String(format: "128 frames at 48 kHz to 22.05 kHz   %.2f us", resampled))
}

/// A chain that gives nothing.
private final class Silent: LiveChain {
    let sampleRate = 48000
    let chunk = 128
    func push(_ samples: [Float]) -> [Float] { [] }
    func reset() {}
}

private func median(times: Int, _ body: () -> Void) -> Double {
    // Of 100 runs each: a clock is no finer than one.
    let spans = (0..<times).map { _ -> Double in
        let start = threadNanoseconds()
        for _ in 0..<100 { body() }
        return Double(threadNanoseconds() - start) / 100
    }
    return spans.sorted()[times / 2] / 1e3
}

private func medianThrowing(times: Int, _ body: () throws -> Void) rethrows -> Double {
    let spans = try (0..<times).map { _ -> Double in
        let start = threadNanoseconds()
        try body()
        return Double(threadNanoseconds() - start)
    }
    return spans.sorted()[times / 2] / 1e3
}

/// What this thread has had of a core.
private func threadNanoseconds() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Int(time.tv_sec) * 1_000_000_000 + Int(time.tv_nsec)
}
