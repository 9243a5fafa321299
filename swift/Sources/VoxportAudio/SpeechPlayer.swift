#if canImport(AVFAudio)
    import AVFAudio
    import Foundation
    import VoxportRuntime

    /// Plays speech as it is made, without seams: what a voice gives lies in a ring that the audio engine reads.
    ///
    /// ```swift
    /// try await SpeechPlayer().play(voice.speak("Hello there."))
    /// ```
    ///
    /// On iOS the app chooses its audio session first (`.playback`).
    public actor SpeechPlayer {
        private let engine = AVAudioEngine()
        private var source: AVAudioSourceNode?
        private var playback: Playback?
        private var isPlaying = false

        public init() {}

        /// Seconds that were played of what is said now: for words that light up, or lips. It counts with the speakers,
        /// not with the voice.
        public var position: Double {
            guard let playback else { return 0 }
            return Double(playback.played) / Double(playback.sampleRate)
        }

        /// Times that the voice was too slow for the speakers.
        public var underruns: Int { playback?.underruns ?? 0 }

        /// Plays all of it, and returns when its last sample was heard. One call at a time; a task that is cancelled
        /// falls silent.
        ///
        /// Throws what the voice throws, and `VoxportError.audio` where nothing can be played.
        public func play(_ chunks: AsyncThrowingStream<AudioChunk, any Error>) async throws {
            guard !isPlaying else { throw VoxportError.audio("the player plays something else") }
            isPlaying = true
            defer { close() }
            for try await chunk in chunks {
                if playback == nil { try open(sampleRate: chunk.sampleRate) }
                try await write(chunk.samples)
            }
            playback?.end()
            while let playback, playback.waiting > 0 {
                try start()
                try await Task.sleep(for: .milliseconds(5))
            }
            // Read is not heard: the fall to silence, and what the hardware holds.
            try await Task.sleep(for: .seconds(0.02 + engine.outputNode.presentationLatency))
        }

        public func pause() { playback?.pause() }

        public func resume() { playback?.resume() }

        private func write(_ samples: [Float]) async throws {
            var rest = samples[...]
            while let playback, !rest.isEmpty {
                rest = rest.dropFirst(playback.write(rest))
                try start()
                if !rest.isEmpty { try await Task.sleep(for: .milliseconds(10)) }
            }
        }

        private func open(sampleRate: Int) throws {
            guard let format = AVAudioFormat(standardFormatWithSampleRate: Double(sampleRate), channels: 1) else {
                throw VoxportError.audio("there is no format of \(sampleRate) Hz")
            }
            let playback = Playback(sampleRate: sampleRate)
            let source = Self.node(format, playback.exchange)
            self.playback = playback
            self.source = source
            engine.attach(source)
            // The mixer resamples.
            engine.connect(source, to: engine.mainMixerNode, format: format)
            try start()
        }

        /// A node that reads a playback. Pointers alone are captured: nothing is retained where the block runs.
        ///
        /// No actor may be around the block, or Swift would expect that one on the audio thread, and end the program.
        private static nonisolated func node(_ format: AVAudioFormat, _ exchange: PlaybackExchange) -> AVAudioSourceNode
        {
            AVAudioSourceNode(format: format) { _, _, frames, data in
                guard let output = data.pointee.mBuffers.mData?.assumingMemoryBound(to: Float.self) else { return 0 }
                exchange(output, Int(frames))
                return 0
            }
        }

        /// Starts the engine, where it does not run: other speakers stop it.
        private func start() throws {
            guard !engine.isRunning else { return }
            engine.prepare()
            do {
                try engine.start()
            } catch {
                throw VoxportError.audio("the audio engine cannot be started: \(error.localizedDescription)")
            }
        }

        /// In this order: the engine no longer reads what is taken away.
        private func close() {
            engine.stop()
            if let source { engine.detach(source) }
            (source, playback, isPlaying) = (nil, nil, false)
        }
    }
#endif
