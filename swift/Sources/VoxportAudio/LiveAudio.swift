#if canImport(AudioToolbox)
    import Foundation
    import VoxportRuntime

    /// Microphone in, converted voice out: a session on a sound card, which is opened anew when that changes.
    ///
    /// ```swift
    /// let audio = LiveAudio { format in
    ///     let chain = try ConversionChain(
    ///         bundle, engines: engines, sampleRate: format.sampleRate, outputRate: format.sampleRate, context: .live)
    ///     return Session(chain, block: format.block, prefill: prefill(deviceBlock: format.block, modelBlock: chain.chunk))
    /// }
    /// try await audio.start()
    /// for await state in audio.states { show(state) }
    /// ```
    ///
    /// The app asks for the microphone (`NSMicrophoneUsageDescription`) before. Headphones keep what it says from being
    /// converted again.
    public actor LiveAudio {
        public enum State: Equatable, Sendable {
            case stopped
            case running(LiveFormat)
            /// The system has the audio, as during a call.
            case interrupted
            /// It could not be opened again after a change, and is tried every second.
            case failed(String)
        }

        /// Makes the session for a sound card: its chain takes and gives audio at the card's rate.
        public typealias MakeSession = @Sendable (LiveFormat) throws -> sending Session

        /// What happens, the present state first.
        public nonisolated let states: AsyncStream<State>

        public private(set) var state = State.stopped {
            didSet { if state != oldValue { continuation.yield(state) } }
        }

        private let settings: LiveSettings
        private let makeSession: MakeSession
        private let continuation: AsyncStream<State>.Continuation
        private var card: OpenCard?
        private var isWanted = false
        private var changes = 0
        /// Several changes come at once when a device is plugged in; audio is opened anew when this time was quiet.
        private let quiet: Duration
        private let retry: Duration

        public init(settings: LiveSettings = LiveSettings(), makeSession: @escaping MakeSession) {
            self.init(settings, quiet: .milliseconds(300), retry: .seconds(1), makeSession)
        }

        init(_ settings: LiveSettings, quiet: Duration, retry: Duration, _ makeSession: @escaping MakeSession) {
            self.settings = settings
            self.quiet = quiet
            self.retry = retry
            self.makeSession = makeSession
            (states, continuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(16))
            continuation.yield(.stopped)
        }

        deinit { continuation.finish() }

        /// Opens the sound card, makes a session for it and starts it.
        ///
        /// Throws `VoxportError` where a card, the model or the audio unit is refused.
        public func start() throws {
            isWanted = true
            do {
                try open()
            } catch {
                isWanted = false
                close()
                throw error
            }
        }

        public func stop() {
            isWanted = false
            close()
            state = .stopped
        }

        /// What has happened since the card was opened, and levels since the last report; nil while it is stopped.
        public func report() -> SessionReport? { card?.worker.report() }

        private func open() throws {
            close()
            let route = try AudioRoute(settings) { [weak self] change in
                Task { await self?.take(change) }
            }
            let session = try makeSession(route.format)
            guard session.chain.sampleRate == route.format.sampleRate else {
                throw VoxportError.audio(
                    "the session runs at \(session.chain.sampleRate) Hz, the sound card at \(route.format.sampleRate)")
            }
            let card = try OpenCard(route, SessionWorker(session))
            self.card = card
            try card.unit?.start()
            state = .running(route.format)
        }

        private func close() { card = nil }

        private func take(_ change: RouteChange) async {
            guard isWanted else { return }
            switch change {
            case .interrupted:
                changes += 1  // what waited for quiet would talk into the call
                card?.unit?.stop()
                state = .interrupted
            case .ended(let resumes):
                if resumes { await openWhenQuiet() }
            case .changed:
                if state != .interrupted { await openWhenQuiet() }
            }
        }

        private func openWhenQuiet() async {
            changes += 1
            let change = changes
            try? await Task.sleep(for: quiet)
            while change == changes, isWanted {
                do {
                    return try open()
                } catch {
                    close()
                    state = .failed(error.localizedDescription)
                    try? await Task.sleep(for: retry)
                }
            }
        }
    }

    /// What is open of a sound card.
    private final class OpenCard {
        let worker: SessionWorker
        private(set) var unit: DuplexUnit?
        private var route: AudioRoute?

        init(_ route: AudioRoute, _ worker: SessionWorker) throws {
            self.worker = worker
            self.route = route
            unit = try DuplexUnit(route, exchange: worker.exchange)
            worker.start()
        }

        /// In this order: the callback ends before what it calls is taken away, and before its device is.
        deinit {
            unit = nil
            worker.stop()
            route = nil
        }
    }
#endif
