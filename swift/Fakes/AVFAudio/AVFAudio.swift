// Stands in for Apple's AVFAudio where there is none, by the names and signatures of its documentation: an engine whose
// source node is read when a test says so, and an audio session that takes what is nearest to a wish.
@_exported import CoreAudio
import Foundation

public typealias AVAudioFrameCount = UInt32
public typealias AVAudioChannelCount = UInt32
public typealias AVAudioNodeBus = Int
public typealias AVAudioSourceNodeRenderBlock = (
    UnsafeMutablePointer<Bool>, UnsafePointer<AudioTimeStamp>, AVAudioFrameCount, UnsafeMutablePointer<AudioBufferList>
) -> OSStatus

public class AVAudioFormat {
    public let sampleRate: Double
    public let channelCount: AVAudioChannelCount

    public init?(standardFormatWithSampleRate sampleRate: Double, channels: AVAudioChannelCount) {
        guard sampleRate > 0, channels > 0 else { return nil }
        (self.sampleRate, channelCount) = (sampleRate, channels)
    }
}

public class AVAudioNode {}
public class AVAudioMixerNode: AVAudioNode {}
public class AVAudioIONode: AVAudioNode { public var presentationLatency: TimeInterval { 0.001 } }
public class AVAudioOutputNode: AVAudioIONode {}

public class AVAudioSourceNode: AVAudioNode {
    fileprivate let block: AVAudioSourceNodeRenderBlock

    public init(format: AVAudioFormat, renderBlock block: @escaping AVAudioSourceNodeRenderBlock) { self.block = block }
}

extension Notification.Name {
    public static let AVAudioEngineConfigurationChange = Notification.Name("AVAudioEngineConfigurationChange")
}

public class AVAudioEngine: NSObject {
    public let mainMixerNode = AVAudioMixerNode()
    public let outputNode = AVAudioOutputNode()
    public var isRunning: Bool { lock.withLock { isStarted } }
    private let lock = NSLock()
    private var isStarted = false
    private var attached: [AVAudioNode] = []
    private var connected: AVAudioSourceNode?
    nonisolated(unsafe) private static var weakly: [() -> AVAudioEngine?] = []
    private static let engines = NSLock()

    public override init() {
        super.init()
        Self.engines.withLock { Self.weakly.append { [weak self] in self } }
    }

    /// Those that are there and run.
    public static var running: [AVAudioEngine] {
        engines.withLock { weakly.compactMap { $0() } }.filter(\.isRunning)
    }

    public func attach(_ node: AVAudioNode) { lock.withLock { attached.append(node) } }

    public func detach(_ node: AVAudioNode) {
        lock.withLock {
            attached.removeAll { $0 === node }
            if connected === node { connected = nil }
        }
    }

    public func connect(_ node1: AVAudioNode, to node2: AVAudioNode, format: AVAudioFormat?) {
        lock.withLock {
            precondition(attached.contains { $0 === node1 }, "the node is not attached")
            connected = node1 as? AVAudioSourceNode
        }
    }

    public func prepare() {}

    public func start() throws { lock.withLock { isStarted = true } }

    public func stop() { lock.withLock { isStarted = false } }

    /// The device's turn: so many samples of the source; nil where the engine does not run.
    public func render(_ frames: Int) -> [Float]? {
        lock.withLock {
            guard isStarted, let source = connected else { return nil }
            var samples = [Float](repeating: .nan, count: frames)
            samples.withUnsafeMutableBytes { bytes in
                var list = AudioBufferList(
                    mNumberBuffers: 1,
                    mBuffers: AudioBuffer(
                        mNumberChannels: 1, mDataByteSize: UInt32(bytes.count), mData: bytes.baseAddress))
                var isSilence = false
                var time = AudioTimeStamp()
                _ = source.block(&isSilence, &time, UInt32(frames), &list)
            }
            return samples
        }
    }

    /// Other speakers: the engine has stopped, and says so.
    public func changeConfiguration() {
        stop()
        NotificationCenter.default.post(name: .AVAudioEngineConfigurationChange, object: self)
    }
}

public final class AVAudioApplication {
    public class func requestRecordPermission() async -> Bool { true }
}

// What follows is iOS's.

public let AVAudioSessionInterruptionTypeKey = "AVAudioSessionInterruptionTypeKey"
public let AVAudioSessionInterruptionOptionKey = "AVAudioSessionInterruptionOptionKey"
public let AVAudioSessionRouteChangeReasonKey = "AVAudioSessionRouteChangeReasonKey"

public final class AVAudioSession {
    public struct Category: Sendable {
        public static let playAndRecord = Category()
    }
    public struct Mode: Sendable {
        public static let `default` = Mode()
        public static let voiceChat = Mode()
    }
    public struct CategoryOptions: OptionSet, Sendable {
        public let rawValue: UInt
        public init(rawValue: UInt) { self.rawValue = rawValue }
        public static let defaultToSpeaker = CategoryOptions(rawValue: 8)
        public static let allowBluetoothA2DP = CategoryOptions(rawValue: 32)
    }
    public struct SetActiveOptions: OptionSet, Sendable {
        public let rawValue: UInt
        public init(rawValue: UInt) { self.rawValue = rawValue }
    }
    public struct InterruptionOptions: OptionSet, Sendable {
        public let rawValue: UInt
        public init(rawValue: UInt) { self.rawValue = rawValue }
        public static let shouldResume = InterruptionOptions(rawValue: 1)
    }
    public enum InterruptionType: UInt, Sendable {
        case began = 1
        case ended = 0
    }
    public enum RouteChangeReason: UInt, Sendable {
        case unknown = 0
        case newDeviceAvailable = 1
        case oldDeviceUnavailable = 2
        case categoryChange = 3
    }

    public static let interruptionNotification = Notification.Name("AVAudioSessionInterruptionNotification")
    public static let routeChangeNotification = Notification.Name("AVAudioSessionRouteChangeNotification")
    public static let mediaServicesWereResetNotification = Notification.Name("AVAudioSessionMediaServicesWereReset")

    nonisolated(unsafe) private static let shared = AVAudioSession()
    public static func sharedInstance() -> AVAudioSession { shared }

    public private(set) var sampleRate = 44100.0
    /// The hardware takes 256 samples at least.
    public private(set) var ioBufferDuration = 0.023
    public let inputLatency = 0.002
    public let outputLatency = 0.004
    public let isInputAvailable = true

    public func setCategory(_ category: Category, mode: Mode, options: CategoryOptions = []) throws {}
    public func setPreferredSampleRate(_ sampleRate: Double) throws { self.sampleRate = sampleRate }
    public func setPreferredIOBufferDuration(_ duration: TimeInterval) throws {
        ioBufferDuration = max(duration, 256 / sampleRate)
    }
    public func setActive(_ active: Bool, options: SetActiveOptions = []) throws {}
}
