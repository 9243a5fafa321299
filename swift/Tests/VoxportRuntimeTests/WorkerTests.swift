import CWatch
import Foundation
import Testing

@testable import VoxportRuntime

/// Gives back its input, negated, in chunks. A sample above 1 is too much for it.
private final class Negation: LiveChain {
    let sampleRate = 48000
    let chunk = 96
    private var waiting: [Float] = []

    func reset() { waiting = [] }

    func push(_ samples: [Float]) throws -> [Float] {
        if samples.contains(where: { $0 > 1 }) { throw VoxportError.audio("too loud") }
        waiting += samples
        let complete = waiting.count / chunk * chunk
        defer { waiting.removeFirst(complete) }
        return waiting[..<complete].map { -$0 }
    }
}

@Suite struct Workers {
    /// Waits until something is so, ten seconds at most.
    private func wait(_ body: () -> Bool) -> Bool {
        for _ in 0..<10_000 where !body() { Thread.sleep(forTimeInterval: 0.001) }
        return body()
    }

    /// A device that waits for the worker after each block: what is played is what the virtual one plays.
    @Test func aSessionOnAThreadOfItsOwnPlaysWhatTheVirtualDevicePlays() throws {
        let samples = (0..<4736).map { Float($0 % 97) / 97 }
        let session = Session(Negation(), block: 128, prefill: 32)
        let wanted = try VirtualDevice { _ in 0 }.play(session, samples, tail: 0)
        let worker = SessionWorker(Session(Negation(), block: 128, prefill: 32))
        worker.start()
        worker.start()  // once more is nothing
        var played = [Float](repeating: 0, count: samples.count)
        var outputs = 0
        var inputPeak = 0.0
        for start in stride(from: 0, to: played.count, by: 128) {
            samples.withUnsafeBufferPointer { given in
                played.withUnsafeMutableBufferPointer {
                    worker.exchange(given.baseAddress! + start, $0.baseAddress! + start, 128)
                }
            }
            let isPublished = wait {
                let report = worker.report()
                outputs += report.outputs
                inputPeak = max(inputPeak, report.inputPeak)
                return outputs == start / 128 + 1
            }
            #expect(isPublished)
        }
        worker.stop()
        let isEqual = played == wanted  // by itself: a failure would print all of both
        #expect(isEqual)
        let report = worker.report()
        #expect(report.counters == session.counters)
        #expect(report.delay == Double(session.delay!) / 48000)
        #expect(abs(inputPeak - 96.0 / 97) < 1e-5)
        #expect(report.failure == nil)
        worker.stop()  // once more is nothing
    }

    @Test func whatTheChainThrowsEndsTheThreadAndIsReported() {
        let worker = SessionWorker(Session(Negation(), block: 128))
        worker.start()
        let loud = [Float](repeating: 2, count: 128)
        var heard = [Float](repeating: 1, count: 128)
        loud.withUnsafeBufferPointer { given in
            heard.withUnsafeMutableBufferPointer { worker.exchange(given.baseAddress!, $0.baseAddress!, 128) }
        }
        let isReported = wait { worker.report().failure == "too loud" }
        #expect(isReported)
        #expect(heard.allSatisfy { $0 == 0 })
        worker.stop()
    }

    @Test func aWorkerThatIsLetGoEndsItsThread() {
        final class Watched: LiveChain {
            let sampleRate = 48000
            let chunk = 128
            let ended: DispatchSemaphore
            init(_ ended: DispatchSemaphore) { self.ended = ended }
            deinit { ended.signal() }
            func reset() {}
            func push(_ samples: [Float]) -> [Float] { samples }
        }
        let ended = DispatchSemaphore(value: 0)
        for starts in [true, false] {
            do {
                let worker = SessionWorker(Session(Watched(ended), block: 128))
                if starts { worker.start() }
            }
            #expect(ended.wait(timeout: .now() + 10) == .success)
        }
    }
}

@Suite struct Playbacks {
    private func played(_ playback: Playback, _ count: Int) -> [Float] {
        var block = [Float](repeating: 9, count: count)
        block.withUnsafeMutableBufferPointer { playback.exchange($0.baseAddress!, count) }
        return block
    }

    /// The largest step from one sample to the next.
    private func steepest(_ samples: [Float]) -> Float {
        var largest: Float = 0
        for index in 1..<samples.count { largest = max(largest, abs(samples[index] - samples[index - 1])) }
        return largest
    }

    @Test func audioRisesAtItsStartAndFallsFromItsLastSample() {
        let playback = Playback(sampleRate: 1000, seconds: 2)
        #expect(played(playback, 10).allSatisfy { $0 == 0 })
        #expect(playback.write([Float](repeating: 0.5, count: 600)[...]) == 600)
        let block = played(playback, 400) + played(playback, 600)
        #expect(block[0] == 0 && block[128] == 0.25 && block[256..<600].allSatisfy { $0 == 0.5 })
        #expect(steepest(block) <= 0.5 / 256 + 1e-6)  // no click anywhere
        #expect(block[856...].allSatisfy { $0 == 0 })
        #expect(playback.underruns == 1 && playback.played == 600)
    }

    @Test func anEndIsNoUnderrunAndMoreAudioIsOneAgain() {
        let playback = Playback(sampleRate: 1000, seconds: 2)
        let audio = [Float](repeating: 0.5, count: 300)[...]
        for (ends, underruns) in [(true, 0), (false, 1), (true, 1)] {
            #expect(playback.write(audio) == 300)
            if ends { playback.end() }
            _ = played(playback, 700)
            #expect(playback.underruns == underruns)
        }
    }

    @Test func pausedItFallsSilentAndLosesNothing() {
        let playback = Playback(sampleRate: 1000, seconds: 4)
        let audio: [Float] = (0..<2000).map { 0.5 + Float($0) / 8000 }
        #expect(playback.write(audio[...]) == 2000)
        let before: [Float] = played(playback, 1000)
        playback.pause()
        let pause: [Float] = played(playback, 500)
        playback.resume()
        let after: [Float] = played(playback, 1000)
        #expect(steepest(before + pause + after) < 0.004)
        #expect(pause[256...].allSatisfy { $0 == 0 })
        #expect(playback.underruns == 0)
        let isWhole = after[256...].elementsEqual(audio[1256...])
        #expect(isWhole)
    }

    @Test func fullItTakesNoMore() {
        let playback = Playback(sampleRate: 1000, seconds: 0.5)
        #expect(playback.write([Float](repeating: 0, count: 700)[...]) == 512)
        #expect(playback.waiting == 512)
    }

    @Test(.enabled(if: watch_sees())) func theCallbackAllocatesLocksAndRetainsNothing() {
        let playback = Playback(sampleRate: 1000, seconds: 20)
        _ = playback.write([Float](repeating: 0.5, count: 16_000)[...])
        let filled = UnsafeMutablePointer<Float>.allocate(capacity: 128)
        defer { filled.deallocate() }
        let counts = watched(10_000) { playback.exchange(filled, 128) }
        #expect(counts == [0, 0, 0, 0])
        report("playback of 128 frames, 10,000 times", told(counts))
    }
}
