import AVFAudio
import Foundation
import Testing
import VoxportRuntime
import os

@testable import VoxportAudio

@Suite(.serialized, .timeLimit(.minutes(1))) struct Players {
    private func chunk(_ samples: [Float], start: Int = 0) -> AudioChunk {
        AudioChunk(samples: samples, sampleRate: 1000, start: start, sentence: 0)
    }

    /// The device's turns, as long as an engine runs. Returns what was heard.
    private func heard(_ changesAfter: Int = .max) async throws -> [Float] {
        var samples: [Float] = []
        var turns = 0
        for _ in 0..<2000 {
            guard let engine = AVAudioEngine.running.last else {
                if !samples.isEmpty { break }
                try await Task.sleep(for: .milliseconds(1))
                continue
            }
            samples += engine.render(100) ?? []
            turns += 1
            if turns == changesAfter {
                engine.changeConfiguration()
                for _ in 0..<5000 where AVAudioEngine.running.isEmpty { try await Task.sleep(for: .milliseconds(1)) }
            }
            try await Task.sleep(for: .milliseconds(1))
        }
        return samples
    }

    @Test(arguments: [Int.max, 5]) func speechIsPlayedWithoutSeamsAndSpeakersMayChange(after: Int) async throws {
        let speech = (0..<12_000).map { 0.1 + Float($0 % 500) / 1000 }  // more than the ring holds
        let player = SpeechPlayer()
        let (stream, continuation) = AsyncThrowingStream<AudioChunk, any Error>.makeStream()
        for start in stride(from: 0, to: speech.count, by: 777) {
            continuation.yield(chunk(Array(speech[start..<min(start + 777, speech.count)]), start: start))
        }
        continuation.finish()
        async let samples = heard(after)
        try await player.play(stream)
        let played = try await samples
        let first = try #require(played.firstIndex { $0 != 0 }) - 1  // it rises from 0
        #expect(Array(played[(first + 256)..<(first + 12_000)]) == Array(speech[256...]))
        #expect(AVAudioEngine.running.isEmpty)
    }

    @Test func whatTheVoiceThrowsIsThrownAndTheEngineStops() async throws {
        let (stream, continuation) = AsyncThrowingStream<AudioChunk, any Error>.makeStream()
        continuation.yield(chunk([0.5]))
        continuation.finish(throwing: VoxportError.text("no"))
        await #expect(throws: VoxportError.text("no")) { try await SpeechPlayer().play(stream) }
        #expect(AVAudioEngine.running.isEmpty)
    }

    @Test func aTaskThatIsCancelledFallsSilent() async throws {
        let (stream, continuation) = AsyncThrowingStream<AudioChunk, any Error>.makeStream()
        continuation.yield(chunk([Float](repeating: 0.5, count: 100_000)))
        let task = Task { try await SpeechPlayer().play(stream) }
        while AVAudioEngine.running.isEmpty { try await Task.sleep(for: .milliseconds(1)) }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(AVAudioEngine.running.isEmpty)
    }

    @Test func whatIsPlayedIsPlayedAlone() async throws {
        let (stream, continuation) = AsyncThrowingStream<AudioChunk, any Error>.makeStream()
        let player = SpeechPlayer()
        let first = Task { try await player.play(stream) }
        continuation.yield(chunk([Float](repeating: 0.5, count: 100_000)))
        while AVAudioEngine.running.isEmpty { try await Task.sleep(for: .milliseconds(1)) }
        let (other, _) = AsyncThrowingStream<AudioChunk, any Error>.makeStream()
        await #expect(throws: VoxportError.audio("the player plays something else")) { try await player.play(other) }
        first.cancel()
        _ = await first.result
        #expect(AVAudioEngine.running.isEmpty)
    }

    @Test func intervalsOfASessionAreThereForInstruments() throws {
        final class Silence: LiveChain {
            let sampleRate = 48000
            let chunk = 128
            func reset() {}
            func push(_ samples: [Float]) -> [Float] { [] }
        }
        let before = FakeSignposts.count("voxport.block")
        let session = Session(Silence(), block: 128)
        _ = try VirtualDevice { _ in 0 }.play(session, [Float](repeating: 0, count: 1280), tail: 0)
        #expect(FakeSignposts.count("voxport.block") >= before + 10)
    }
}
