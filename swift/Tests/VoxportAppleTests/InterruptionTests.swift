import AVFAudio
import AudioToolbox
import Foundation
import Testing
import VoxportRuntime

@testable import VoxportAudio

/// An audio session as iOS has it: calls that come and go, other headphones, a system that begins anew.
@Suite(.serialized, .timeLimit(.minutes(1))) struct Interruptions {
    private let running = LiveAudio.State.running(
        LiveFormat(
            sampleRate: 48000, block: 256, inputLatency: 0.002 + 256.0 / 48000,
            outputLatency: 0.004 + 256.0 / 48000))

    private final class Silence: LiveChain {
        let sampleRate = 48000
        let chunk = 1
        func reset() {}
        func push(_ samples: [Float]) -> [Float] { samples.map { _ in 0 } }
    }

    private func live(_ settings: LiveSettings = LiveSettings(), quiet: Duration = .milliseconds(20)) -> LiveAudio {
        LiveAudio(settings, quiet: quiet, retry: .milliseconds(20)) { Session(Silence(), block: $0.block) }
    }

    private var unit: FakeUnit { get throws { try #require(FakeUnit.all.last) } }

    private func post(_ name: Notification.Name, _ info: [String: UInt] = [:]) {
        NotificationCenter.default.post(name: name, object: AVAudioSession.sharedInstance(), userInfo: info)
    }

    private func call(_ type: AVAudioSession.InterruptionType, resumes: Bool = false) {
        post(
            AVAudioSession.interruptionNotification,
            [
                AVAudioSessionInterruptionTypeKey: type.rawValue,
                AVAudioSessionInterruptionOptionKey: resumes ? 1 : 0,
            ])
    }

    private func route(_ reason: AVAudioSession.RouteChangeReason) {
        post(AVAudioSession.routeChangeNotification, [AVAudioSessionRouteChangeReasonKey: reason.rawValue])
    }

    /// Waits for a state and, where that is asked for, for another unit.
    private func comes(_ state: LiveAudio.State, _ audio: LiveAudio, after old: FakeUnit? = nil) async throws
        -> Bool
    {
        for _ in 0..<5000 {
            if await audio.state == state, old == nil || FakeUnit.all.last !== old { return true }
            try await Task.sleep(for: .milliseconds(1))
        }
        return false
    }

    @Test func blocksAreThoseThatTheHardwareHas() async throws {
        for (usesVoiceProcessing, subType) in [
            (false, kAudioUnitSubType_RemoteIO), (true, kAudioUnitSubType_VoiceProcessingIO),
        ] {
            var settings = LiveSettings()
            settings.usesVoiceProcessing = usesVoiceProcessing
            let audio = live(settings)
            try await audio.start()
            #expect(await audio.state == running)  // 128 was asked for
            let unit = try unit
            #expect(unit.subType == subType && unit.isRunning && unit.isEnabled == [0: true, 1: true])
            #expect(unit.render([Float](repeating: 1, count: 256))?.first == [Float](repeating: 0, count: 256))
            await audio.stop()
            #expect(FakeUnit.all.isEmpty)
        }
    }

    @Test func aCallInterruptsAndWhatFollowsIsTheSystemsChoice() async throws {
        let audio = live()
        try await audio.start()
        let before = try unit
        call(.began)
        #expect(try await comes(.interrupted, audio))
        #expect(!before.isRunning)
        route(.newDeviceAvailable)  // headphones, during the call
        try await Task.sleep(for: .milliseconds(100))
        #expect(await audio.state == .interrupted)
        call(.ended, resumes: true)
        #expect(try await comes(running, audio, after: before))
        #expect(try FakeUnit.all.count == 1 && unit.isRunning)
        call(.began)
        #expect(try await comes(.interrupted, audio))
        call(.ended)
        try await Task.sleep(for: .milliseconds(100))
        #expect(await audio.state == .interrupted)
        try await audio.start()
        #expect(await audio.state == running)
        await audio.stop()
        #expect(FakeUnit.all.isEmpty)
    }

    @Test func aCallThatFollowsAChangeIsNotTalkedInto() async throws {
        let audio = live(quiet: .milliseconds(200))
        try await audio.start()
        route(.oldDeviceUnavailable)
        try await Task.sleep(for: .milliseconds(20))
        call(.began)
        #expect(try await comes(.interrupted, audio))
        try await Task.sleep(for: .milliseconds(500))
        #expect(await audio.state == .interrupted)
        await audio.stop()
    }

    @Test func otherHeadphonesAndASystemThatBeganAnewOpenAllOfItAnew() async throws {
        let audio = live()
        try await audio.start()
        let first = try unit
        route(.categoryChange)  // our own doing
        try await Task.sleep(for: .milliseconds(100))
        #expect(try unit === first)
        route(.newDeviceAvailable)
        #expect(try await comes(running, audio, after: first))
        let second = try unit
        post(AVAudioSession.mediaServicesWereResetNotification)
        #expect(try await comes(running, audio, after: second))
        #expect(try FakeUnit.all.count == 1 && unit.isRunning && !second.isRunning)
        await audio.stop()
    }
}
