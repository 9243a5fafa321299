import Foundation
import Observation
import VoxportAudio
import VoxportRuntime

/// A voice, and what it says.
@MainActor @Observable final class SpeakModel {
    var text = "Hello there."
    private(set) var status = "Choose the folder of a voice."
    /// Whether the voice takes phonemes in place of text: no phonemizer is in an app.
    private(set) var readsPhonemes = false
    private(set) var isReady = false
    private(set) var isSpeaking = false
    /// Seconds that were played.
    private(set) var position = 0.0
    private var voice: Voice?
    private var task: Task<Void, Never>?
    private var player = SpeechPlayer()

    func open(_ folder: URL) async {
        isReady = false
        do {
            let opened = try await OpenBundle.open(folder) { step in
                Task { @MainActor in self.status = step }
            }
            voice = try Voice(opened.bundle, engines: opened.engines)
            readsPhonemes = opened.bundle.manifest.voice?.text.phonemizer.isEmpty == false
            isReady = true
            status = readsPhonemes ? "It reads phonemes (IPA)." : "It reads text."
        } catch {
            status = error.localizedDescription
        }
    }

    func speak() {
        guard let voice, !isSpeaking else { return }
        isSpeaking = true
        status = ""
        let chunks = readsPhonemes ? voice.speak(symbols: text) : voice.speak(text)
        let player = player
        let clock = Task {
            while !Task.isCancelled {
                position = await player.position
                try? await Task.sleep(for: .milliseconds(50))
            }
        }
        task = Task {
            do {
                try await player.play(chunks)
            } catch is CancellationError {
            } catch {
                status = error.localizedDescription
            }
            clock.cancel()
            isSpeaking = false
        }
    }

    func stop() { task?.cancel() }
}
