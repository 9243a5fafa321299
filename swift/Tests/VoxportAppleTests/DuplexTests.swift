import AudioToolbox
import CWatch
import Foundation
import Testing
import VoxportRuntime

@testable import VoxportAudio

/// Gives back its input, negated, at once.
private final class Negation: LiveChain {
    let sampleRate: Int
    let chunk = 1
    init(sampleRate: Int) { self.sampleRate = sampleRate }
    func reset() {}
    func push(_ samples: [Float]) -> [Float] { samples.map { -$0 } }
}

/// What is done to a sound card that is none: the order of calls, formats, blocks and changes, and what the callback does.
@Suite(.serialized, .timeLimit(.minutes(1))) struct SoundCards {
    private let hardware = FakeHardware.shared
    private let microphone = FakeHardware.Card("microphone", inputs: 1)
    private let speakers = FakeHardware.Card("speakers", outputs: 2)
    private let headset = FakeHardware.Card("headset", inputs: 1, outputs: 2)

    private func live(_ settings: LiveSettings = LiveSettings()) -> LiveAudio {
        LiveAudio(settings, quiet: .milliseconds(20), retry: .milliseconds(20)) { format in
            Session(Negation(sampleRate: format.sampleRate), block: format.block)
        }
    }

    /// The first state that is as wanted; what came before is passed over.
    private func state(_ audio: LiveAudio, _ isWanted: (LiveAudio.State) -> Bool) async -> LiveAudio.State? {
        for await state in audio.states where isWanted(state) { return state }
        return nil
    }

    private var unit: FakeUnit { get throws { try #require(FakeUnit.all.last) } }

    @Test func microphoneAndSpeakersOfOneCardAreOneUnitAtTheBlockThatTheCardHas() async throws {
        hardware.reset([headset])
        hardware.change("headset", 0) { $0.frameRange = 200...512 }
        let audio = live()
        try await audio.start()
        let format = LiveFormat(
            sampleRate: 48000, block: 200, inputLatency: 264.0 / 48000, outputLatency: 264.0 / 48000)
        #expect(await audio.state == .running(format))  // 128 was asked for
        let unit = try unit
        #expect(unit.subType == kAudioUnitSubType_HALOutput && unit.isRunning)
        #expect(unit.isEnabled == [0: true, 1: true] && unit.maximumFrames == 4096)
        #expect(unit.device.flatMap(hardware.card)?.uid == "headset")
        #expect(unit.formats[0]?.mChannelsPerFrame == 2 && unit.formats[1]?.mChannelsPerFrame == 1)
        await audio.stop()
        #expect(FakeUnit.all.isEmpty && hardware.listenerCount == 0)
        #expect(await audio.state == .stopped)
    }

    @Test func inputIsPulledInTheOutputsCallbackAndComesOutOnEveryChannel() async throws {
        hardware.reset([headset])
        let audio = live()
        try await audio.start()
        let unit = try unit
        var heard: [Float] = []
        for block in 0..<20 {
            let channels = try #require(unit.render((0..<128).map { Float(block * 128 + $0) / 4096 }))
            #expect(channels.count == 2 && channels[0] == channels[1])
            heard += channels[0]
            try await Task.sleep(for: .milliseconds(10))
        }
        let report = try #require(await audio.report())
        let delay = Int((try #require(report.delay) * 48000).rounded())
        let wanted = (0..<20 * 128 - delay).map { -Float($0) / 4096 }
        #expect(delay >= 128 && Array(heard[delay...].prefix(128)) == Array(wanted.prefix(128)))
        #expect(report.counters.blocks == 20 && report.counters.missingInputs == 0)
        unit.failure = kAudioUnitErr_CannotDoInCurrentContext  // a microphone that gives nothing for once
        #expect(unit.render([Float](repeating: 1, count: 128)) != nil)
        unit.failure = nil
        #expect(unit.render([Float](repeating: 0, count: 4097)) == nil)  // more than there is memory for
        #expect(await audio.report()?.counters.missingInputs == 1)
        await audio.stop()
    }

    @Test func twoCardsAreJoinedOnTheSpeakersClockForThisProgramAlone() async throws {
        hardware.reset([microphone, speakers])
        let audio = live()
        try await audio.start()
        let joined = try #require(hardware.all.last)
        let description = try #require(joined.made)
        #expect(description[kAudioAggregateDeviceIsPrivateKey] as? Int == 1)
        #expect(description[kAudioAggregateDeviceMainSubDeviceKey] as? String == "speakers")
        let parts = try #require(description[kAudioAggregateDeviceSubDeviceListKey] as? [[String: Any]])
        #expect(parts.map { $0[kAudioSubDeviceUIDKey] as? String } == ["speakers", "microphone"])
        #expect(parts.map { $0[kAudioSubDeviceDriftCompensationKey] as? Int } == [0, 1])
        #expect(try unit.device.flatMap(hardware.card)?.uid == joined.uid)
        #expect(joined.frames == 128)
        await audio.stop()
        #expect(hardware.all.map(\.uid) == ["microphone", "speakers"])
    }

    @Test func voiceProcessingJoinsThemItself() async throws {
        hardware.reset([microphone, speakers])
        var settings = LiveSettings()
        settings.usesVoiceProcessing = true
        let audio = live(settings)
        try await audio.start()
        #expect(try unit.subType == kAudioUnitSubType_VoiceProcessingIO)
        #expect(try unit.device == nil && hardware.all.count == 2)
        await audio.stop()
    }

    @Test func anotherRateOpensAllOfItAnew() async throws {
        hardware.reset([headset])
        let audio = live()
        try await audio.start()
        let before = try unit
        hardware.change("headset", kAudioDevicePropertyNominalSampleRate) { $0.sampleRate = 44100 }
        let state = await state(audio) {
            if case .running(let format) = $0 { format.sampleRate == 44100 } else { false }
        }
        #expect(state != nil)
        let after = try unit
        #expect(FakeUnit.all.count == 1 && after !== before && !before.isRunning && after.isRunning)
        #expect(after.formats[1]?.mSampleRate == 44100)
        await audio.stop()
    }

    @Test func theSystemsChoiceIsFollowedAndACardThatIsNamedIsKept() async throws {
        for name in [nil, "headset"] {
            hardware.reset([headset, speakers])
            var settings = LiveSettings()
            (settings.microphone, settings.speakers) = (name, name)
            let audio = live(settings)
            try await audio.start()
            hardware.choose(output: "speakers")
            try await Task.sleep(for: .milliseconds(200))
            #expect(try (unit.device.flatMap(hardware.card)?.made != nil) == (name == nil))
            await audio.stop()
        }
    }

    @Test func aCardThatGoesAwayIsWaitedFor() async throws {
        hardware.reset([headset])
        let audio = live()
        try await audio.start()
        hardware.change("headset", kAudioDevicePropertyDeviceIsAlive) { $0.inputs = 0 }
        let failed = await state(audio) { if case .failed = $0 { true } else { false } }
        #expect(failed == .failed("headset does not record"))
        #expect(FakeUnit.all.isEmpty)
        hardware.change("headset", kAudioDevicePropertyDeviceIsAlive) { $0.inputs = 1 }
        let running = await state(audio) { if case .running = $0 { true } else { false } }
        #expect(running != nil)
        await audio.stop()
    }

    @Test func whatIsLetGoIsClosed() async throws {
        hardware.reset([microphone, speakers])
        do {
            let audio = live()
            try await audio.start()
            #expect(FakeUnit.all.count == 1)
        }
        for _ in 0..<1000 where !FakeUnit.all.isEmpty { try await Task.sleep(for: .milliseconds(1)) }
        #expect(FakeUnit.all.isEmpty && hardware.listenerCount == 0 && hardware.all.count == 2)
    }

    @Test func whatCannotBeOpenedIsASentence() async throws {
        hardware.reset([speakers])
        await #expect(throws: VoxportError.audio("this Mac has no microphone")) { try await live().start() }
        hardware.reset([microphone, speakers])
        var settings = LiveSettings()
        settings.speakers = "radio"
        await #expect(throws: VoxportError.audio("there is no sound card radio; there are: microphone, speakers")) {
            [settings] in try await live(settings).start()
        }
        settings.speakers = "microphone"
        await #expect(throws: VoxportError.audio("microphone does not play")) { [settings] in
            try await live(settings).start()
        }
        let other = LiveAudio { _ in Session(Negation(sampleRate: 8000), block: 128) }
        await #expect(throws: VoxportError.audio("the session runs at 8000 Hz, the sound card at 48000")) {
            try await other.start()
        }
        #expect(FakeUnit.all.isEmpty && hardware.listenerCount == 0 && hardware.all.count == 2)
    }

    @Test(.enabled(if: watch_sees())) func theUnitsCallbackAllocatesLocksAndRetainsNothing() throws {
        let session = Session(Negation(sampleRate: 48000), block: 128)
        // Without a unit that runs, AudioUnitRender refuses: silence stands in, which is the longer way.
        var made: AudioUnit?
        #expect(AudioComponentInstanceNew(OpaquePointer(bitPattern: 1)!, &made) == noErr)
        let unit = try #require(made)
        defer { _ = AudioComponentInstanceDispose(unit) }
        let callback = DuplexCallback(unit: unit, exchange: session.exchange, capacity: 128)
        defer { callback.deallocate() }
        let samples = UnsafeMutablePointer<Float>.allocate(capacity: 128)
        defer { samples.deallocate() }
        var list = AudioBufferList(
            mNumberBuffers: 1, mBuffers: AudioBuffer(mNumberChannels: 1, mDataByteSize: 512, mData: samples))
        var flags = AudioUnitRenderActionFlags()
        var time = AudioTimeStamp()
        _ = callback.render(&flags, &time, 128, &list)
        watch_start()
        for _ in 0..<10_000 { _ = callback.render(&flags, &time, 128, &list) }
        watch_stop()
        #expect([watch_allocations(), watch_frees(), watch_locks()] == [0, 0, 0])
        #expect(session.counters.missingInputs == 10_001)
    }
}
