import CWatch
import Foundation
import Synchronization
import Testing

@testable import VoxportRuntime

/// Scales and biases between which a listener moves a latent.
private let controls: [(scale: Float, bias: Float)] = [(2, 2), (3, 3)]

/// Gives back its input by way of a latent, and counts the ones among its samples that became what no control makes of them.
private final class OneLatent: LiveChain {
    final class Counts: Sendable {
        let moved = Atomic(0)
        let mixed = Atomic(0)
    }

    let sampleRate = 48000
    let chunk = 128
    let latents: Latents
    private let counts: Counts
    private let source = Track(Clock(sampleRate: 48000, hopLength: 1, offset: 0), [])
    private let track: LatentTrack

    init(_ counts: Counts) throws {
        self.counts = counts
        track = try LatentTrack(LatentStage(kind: "latent", name: "latents", takes: "encoded"), source)
        latents = track.latents
    }

    func reset() throws {
        try source.reset()
        try track.reset()
    }

    func push(_ samples: [Float]) throws -> [Float] {
        let start = track.frames.end
        source.frames.append(Tensor(samples, shape: [1, samples.count]))
        try track.advance()
        let moved = track.frames.taken(start..<track.frames.end).floats
        for held in [source.frames, track.frames] { held.forget(before: track.frames.end) }
        for (sample, result) in zip(samples, moved) where sample == 1 {
            counts.moved.add(1, ordering: .relaxed)
            if !controls.contains(where: { $0.scale + $0.bias == result }) { counts.mixed.add(1, ordering: .relaxed) }
        }
        return moved
    }
}

/// Moves a latent and asks for their own voice, to and fro, on a thread of its own.
private final class Listener: Sendable {
    let latents: Latents
    let ownVoice: OwnVoice
    let turns = Atomic(0)
    private let isOver = Atomic(false)
    private let hasEnded = DispatchSemaphore(value: 0)

    init(_ latents: Latents, _ ownVoice: OwnVoice) { (self.latents, self.ownVoice) = (latents, ownVoice) }

    func turn() {
        let control = controls[turns.load(ordering: .relaxed) % 2]
        try? latents.control(0, scale: control.scale, bias: control.bias)
        ownVoice.isHeard.toggle()
        turns.add(1, ordering: .relaxed)
    }

    func start() {
        let thread = Thread {
            while !self.isOver.load(ordering: .relaxed) {
                self.turn()
                sched_yield()
            }
            self.hasEnded.signal()
        }
        thread.start()
    }

    func stop() {
        isOver.store(true, ordering: .relaxed)
        hasEnded.wait()
    }
}

@Suite struct Controls {
    /// Three threads: a device's, the session's, and a listener's.
    @Test func anotherThreadMovesThemWhileAudioComes() throws {
        let counts = OneLatent.Counts()
        let chain = try OneLatent(counts)
        let listener = Listener(chain.latents, OwnVoice())
        listener.turn()
        let worker = SessionWorker(Session(try Mixer(chain, gate: -60, ownVoice: listener.ownVoice), block: 128))
        worker.start()
        defer { worker.stop() }
        let exchange = worker.exchange
        let taken = [Float](repeating: 1, count: 128)
        var filled = [Float](repeating: 0, count: 128)
        /// Blocks of the device, and what is seen to happen on its thread.
        func exchanged(_ blocks: Int) -> [UInt64] {
            taken.withUnsafeBufferPointer { taken in
                filled.withUnsafeMutableBufferPointer { filled in
                    let (from, into) = (taken.baseAddress!, filled.baseAddress!)
                    return watched(blocks) { exchange(from, into, 128) }
                }
            }
        }
        listener.start()
        /// However little of a core this process has.
        func isEnough() -> Bool {
            listener.turns.load(ordering: .relaxed) > 100 && counts.moved.load(ordering: .relaxed) > 10_000
        }
        var seen: [UInt64] = [0, 0, 0, 0]
        for round in 0..<20_000 where round < 100 || !isEnough() {
            seen = zip(seen, exchanged(100)).map { $0 + $1 }
            Thread.sleep(forTimeInterval: 0.001)
        }
        listener.stop()
        #expect(isEnough())
        #expect(worker.report().failure == nil)
        #expect(seen == [0, 0, 0, 0])
        report("exchange while a listener moves latents, 10,000 times at least", told(seen))
        // What was moved last holds, and one's own voice is the input itself.
        for (isHeard, samples) in [(true, [1]), (false, controls.map { $0.scale + $0.bias })] {
            listener.ownVoice.isHeard = isHeard
            var isSo = false
            for _ in 0..<5000 where !isSo {
                _ = exchanged(1)
                Thread.sleep(forTimeInterval: 0.002)
                isSo = filled.allSatisfy { $0 == filled[0] } && samples.contains(filled[0])
            }
            #expect(isSo)
        }
        #expect(counts.mixed.load(ordering: .relaxed) == 0)
    }

    @Test(.enabled(if: watch_sees())) func movingThemAllocatesAndLocksNothing() throws {
        let listener = Listener(Latents(count: 1), OwnVoice())
        let counts = watched(10_000) { listener.turn() }
        #expect([counts[0], counts[1], counts[3]] == [0, 0, 0])
        report("a latent moved and one's own voice turned, 10,000 times", told(counts))
    }
}
