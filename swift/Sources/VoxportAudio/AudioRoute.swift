#if canImport(AudioToolbox)
    import AudioToolbox
    import Foundation
    import VoxportRuntime

    /// What happened to a route.
    enum RouteChange: Equatable, Sendable {
        /// The rate, the card or its blocks are others: it is opened anew.
        case changed
        /// A call, an alarm: the system has stopped the audio.
        case interrupted
        /// The interruption is over. Whether the system suggests to go on.
        case ended(resumes: Bool)
    }
#endif

#if canImport(AudioToolbox) && !os(iOS) && !VOXPORT_FAKE_IOS
    /// Microphone and speakers of a Mac as one device.
    final class AudioRoute {
        let format: LiveFormat
        /// The card that the unit is to use; nil where that finds its own.
        let device: AudioDeviceID?
        let subType: UInt32
        private let aggregate: AggregateCard?
        private let listener: CardListener

        /// Opens it. `onChange` is called on a thread of the system's.
        ///
        /// Throws `VoxportError.audio` where a card is missing or refuses.
        init(_ settings: LiveSettings, onChange: @escaping @Sendable (RouteChange) -> Void) throws {
            let microphone = try settings.microphone.map(SoundCard.named) ?? .defaultInput()
            let speakers = try settings.speakers.map(SoundCard.named) ?? .defaultOutput()
            guard microphone.inputs > 0 else { throw VoxportError.audio("\(microphone.name) does not record") }
            guard speakers.outputs > 0 else { throw VoxportError.audio("\(speakers.name) does not play") }
            // Voice processing joins the two by itself.
            let isJoined = microphone.uid != speakers.uid && !settings.usesVoiceProcessing
            aggregate = isJoined ? try AggregateCard(microphone: microphone, speakers: speakers) : nil
            let card = aggregate?.card ?? speakers
            let block = try card.setBlock(settings.block)
            let rate = try card.sampleRate
            guard rate > 0 else { throw VoxportError.audio("\(card.name) has no sample rate") }
            let recording = aggregate?.card ?? microphone
            func seconds(_ card: SoundCard, _ scope: AudioObjectPropertyScope) throws -> Double {
                Double(try card.latency(scope) + block) / rate
            }
            format = LiveFormat(
                sampleRate: Int(rate.rounded()), block: block,
                inputLatency: try seconds(recording, kAudioObjectPropertyScopeInput),
                outputLatency: try seconds(card, kAudioObjectPropertyScopeOutput))
            device = settings.usesVoiceProcessing && settings.speakers == nil ? nil : card.id
            subType = settings.usesVoiceProcessing ? kAudioUnitSubType_VoiceProcessingIO : kAudioUnitSubType_HALOutput
            listener = CardListener { onChange(.changed) }
            for id in Set([card.id, microphone.id, speakers.id]) {
                try listener.listen(to: kAudioDevicePropertyNominalSampleRate, of: id)
                try listener.listen(to: kAudioDevicePropertyDeviceIsAlive, of: id)
            }
            let system = AudioObjectID(kAudioObjectSystemObject)
            if settings.microphone == nil {
                try listener.listen(to: kAudioHardwarePropertyDefaultInputDevice, of: system)
            }
            if settings.speakers == nil {
                try listener.listen(to: kAudioHardwarePropertyDefaultOutputDevice, of: system)
            }
        }
    }
#endif

#if canImport(AudioToolbox) && (os(iOS) || VOXPORT_FAKE_IOS)
    import AVFAudio

    /// Microphone and speakers of an iPhone, by the app's audio session.
    final class AudioRoute {
        let format: LiveFormat
        let subType: UInt32
        private let observations: [Observation]

        /// Activates the session for recording and playing. `onChange` is called on whichever thread the system posts.
        ///
        /// Throws `VoxportError.audio` where the system refuses.
        init(_ settings: LiveSettings, onChange: @escaping @Sendable (RouteChange) -> Void) throws {
            let session = AVAudioSession.sharedInstance()
            do {
                try session.setCategory(
                    .playAndRecord, mode: settings.usesVoiceProcessing ? .voiceChat : .default,
                    options: [.defaultToSpeaker, .allowBluetoothA2DP])
                try session.setPreferredSampleRate(48000)
                try session.setPreferredIOBufferDuration(Double(settings.block) / 48000)
                try session.setActive(true)
            } catch {
                throw VoxportError.audio("the audio session cannot be activated: \(error.localizedDescription)")
            }
            guard session.isInputAvailable else { throw VoxportError.audio("there is no microphone") }
            // Preferences are wishes: what the hardware has is read back.
            let block = Int((session.ioBufferDuration * session.sampleRate).rounded())
            format = LiveFormat(
                sampleRate: Int(session.sampleRate.rounded()), block: block,
                inputLatency: session.inputLatency + session.ioBufferDuration,
                outputLatency: session.outputLatency + session.ioBufferDuration)
            subType = settings.usesVoiceProcessing ? kAudioUnitSubType_VoiceProcessingIO : kAudioUnitSubType_RemoteIO
            let interruption = Observation(AVAudioSession.interruptionNotification) { note in
                let type = (note.userInfo?[AVAudioSessionInterruptionTypeKey] as? UInt)
                    .flatMap(AVAudioSession.InterruptionType.init)
                if type == .began { return onChange(.interrupted) }
                let options = note.userInfo?[AVAudioSessionInterruptionOptionKey] as? UInt ?? 0
                onChange(.ended(resumes: AVAudioSession.InterruptionOptions(rawValue: options).contains(.shouldResume)))
            }
            let route = Observation(AVAudioSession.routeChangeNotification) { note in
                let reason = (note.userInfo?[AVAudioSessionRouteChangeReasonKey] as? UInt)
                    .flatMap(AVAudioSession.RouteChangeReason.init)
                // Our own activation is told as a change of category.
                if reason != .categoryChange { onChange(.changed) }
            }
            let reset = Observation(AVAudioSession.mediaServicesWereResetNotification) { _ in onChange(.changed) }
            observations = [interruption, route, reset]
        }
    }
#endif
