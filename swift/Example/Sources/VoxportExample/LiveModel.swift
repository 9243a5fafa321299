import AVFAudio
import Foundation
import Observation
import VoxportAudio
import VoxportRuntime

/// A voice in place of one's own, as one speaks.
@MainActor @Observable final class LiveModel {
    /// Semitones by which the melody is shifted; heard from the next start on.
    var semitones = 0.0
    /// One's own voice in place of the converted one, as late; heard at once.
    var isOwnVoice = false {
        didSet { ownVoice.isHeard = isOwnVoice }
    }
    private(set) var status = "Choose the folder of a live voice. Wear headphones."
    private(set) var isReady = false
    private(set) var isRunning = false
    private(set) var report = SessionReport()
    /// Of the sound card, in both directions, by what it reports: seconds.
    private(set) var deviceLatency = 0.0
    private let ownVoice = OwnVoice()
    private var opened: OpenBundle?
    private var audio: LiveAudio?
    private var watching: Task<Void, Never>?

    /// Milliseconds from a sound to its conversion, as far as it is known.
    var delay: Double? { report.delay.map { 1000 * ($0 + deviceLatency) } }

    func open(_ folder: URL) async {
        isReady = false
        do {
            opened = try await OpenBundle.open(folder) { step in
                Task { @MainActor in self.status = step }
            }
            isReady = true
        } catch {
            status = error.localizedDescription
        }
    }

    func start() async {
        guard let opened, !isRunning else { return }
        guard await AVAudioApplication.requestRecordPermission() else {
            status = "The microphone is not allowed: System Settings › Privacy & Security › Microphone."
            return
        }
        let (shift, ownVoice) = (semitones, ownVoice)
        let audio = LiveAudio { format in
            let chain = try ConversionChain(
                opened.bundle, engines: opened.engines, sampleRate: format.sampleRate, outputRate: format.sampleRate,
                context: .live, semitones: shift)
            return Session(
                try Mixer(chain, ownVoice: ownVoice), block: format.block,
                prefill: prefill(deviceBlock: format.block, modelBlock: chain.chunk))
        }
        do {
            try await audio.start()
        } catch {
            status = error.localizedDescription
            return
        }
        self.audio = audio
        isRunning = true
        watching = Task {
            async let states: Void = watch(audio)
            while !Task.isCancelled {
                if let report = await audio.report() { self.report = report }
                try? await Task.sleep(for: .milliseconds(50))
            }
            await states
        }
    }

    func stop() async {
        watching?.cancel()
        await audio?.stop()
        audio = nil
        isRunning = false
        status = "Stopped."
    }

    private func watch(_ audio: LiveAudio) async {
        for await state in audio.states {
            switch state {
            case .stopped: status = "Stopped."
            case .running(let format):
                status = "\(format.sampleRate) Hz, blocks of \(format.block) samples."
                deviceLatency = format.inputLatency + format.outputLatency
            case .interrupted: status = "Interrupted by the system."
            case .failed(let reason): status = "\(reason). Trying again…"
            }
        }
    }
}
