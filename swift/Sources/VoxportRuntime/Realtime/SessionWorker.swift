import Foundation
import Synchronization

/// What a meter shows of a live session: its counters in all, the rest since the last report.
public struct SessionReport: Equatable, Sendable {
    public var counters = Counters()
    /// From input to output in seconds, without the device's own part; nil until there was output.
    public var delay: Double?
    /// The largest sample that went in and came out, 1 being full scale.
    public var inputPeak = 0.0
    public var outputPeak = 0.0
    /// Outputs of the chain, and the seconds that they took: on average, and the slowest.
    public var outputs = 0
    public var meanCost = 0.0
    public var worstCost = 0.0
    /// Why the chain stopped; nil while it runs.
    public var failure: String?

    public init() {}
}

/// The thread that computes for a live session, at the priority of what a user waits for.
///
/// It looks for a block of input every half block, as signalling it from a device's callback would be work in a real-time
/// thread. It does not join the device's workgroup: that is for threads with a deadline of one block, and a chunk of a
/// model takes longer.
///
/// ```swift
/// let worker = SessionWorker(session)
/// worker.start()
/// worker.exchange(input, output, 128)  // in the device's callback
/// worker.stop()
/// ```
public final class SessionWorker: Sendable {
    /// What the device's callback calls. It is valid as long as the worker is.
    public let exchange: Exchange
    public let sampleRate: Int
    private let shared: SharedCounters
    private let control: Control
    private let work: @Sendable () -> Void

    /// What the thread and those who start and stop it share.
    private final class Control: Sendable {
        enum Phase { case idle, running, stopping, ended }

        let phase = Mutex(Phase.idle)
        let failure = Mutex<String?>(nil)
        let hasEnded = DispatchSemaphore(value: 0)
    }

    /// Takes a session over: nobody else may call it from now on.
    public init(_ session: sending Session) {
        let control = Control()
        (exchange, shared, sampleRate) = (session.exchange, session.shared, session.chain.sampleRate)
        self.control = control
        // The thread alone calls it from here on, which the compiler cannot see of a thread.
        nonisolated(unsafe) let session = session
        work = {
            Self.run(session, control)
            control.phase.withLock { $0 = .ended }
            control.hasEnded.signal()
        }
    }

    deinit { stop() }

    /// Begins to compute. A worker runs once.
    public func start() {
        let isFirst = control.phase.withLock { phase in
            defer { if phase == .idle { phase = .running } }
            return phase == .idle
        }
        guard isFirst else { return }
        let thread = Thread(block: work)
        thread.name = "voxport.session"
        thread.qualityOfService = .userInteractive
        thread.stackSize = 8 << 20  // of a main thread: a library's kernels may want more than half a megabyte
        thread.start()
    }

    /// Ends the thread, and waits for it: for the chunk that it computes.
    public func stop() {
        let isRunning = control.phase.withLock { phase in
            defer { if phase == .running { phase = .stopping } }
            return phase == .running || phase == .stopping
        }
        guard isRunning else { return }
        control.hasEnded.wait()
        control.hasEnded.signal()  // for whoever else waits
    }

    /// What has happened so far; peaks and costs begin anew with each call.
    public func report() -> SessionReport {
        let outputs = shared.take(.outputs)
        let cost = Double(shared.take(.cost)) / 1e9
        var report = SessionReport()
        report.counters = shared.counters
        report.delay = shared.delay.map { Double($0) / Double(sampleRate) }
        report.inputPeak = Double(shared.take(.inputPeak)) / 1e6
        report.outputPeak = Double(shared.take(.outputPeak)) / 1e6
        report.outputs = outputs
        report.meanCost = outputs > 0 ? cost / Double(outputs) : 0
        report.worstCost = Double(shared.take(.worstCost)) / 1e9
        report.failure = control.failure.withLock { $0 }
        return report
    }

    private static func run(_ session: Session, _ control: Control) {
        let wait = Double(session.block) / Double(session.chain.sampleRate) / 2
        func isRunning() -> Bool { control.phase.withLock { $0 == .running } }
        do {
            while isRunning() {
                while session.isWaiting, isRunning() {
                    let started = DispatchTime.now().uptimeNanoseconds
                    let samples = try session.process()
                    let cost = Int(DispatchTime.now().uptimeNanoseconds - started)
                    session.publish(samples)
                    if samples.isEmpty { continue }
                    session.shared.add(cost, to: .cost)
                    session.shared.raise(cost, .worstCost)
                    session.shared.add(1, to: .outputs)
                }
                Thread.sleep(forTimeInterval: wait)
            }
        } catch {
            control.failure.withLock { $0 = error.localizedDescription }
        }
    }
}
