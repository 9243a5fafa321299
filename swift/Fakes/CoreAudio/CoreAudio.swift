// Stands in for the hardware layer of Apple's Core Audio where there is none, by the names and signatures of its
// documentation: sound cards of our own, which keep what they are told and call listeners when they change.
@_exported import CAudioTypes
import Foundation

public typealias CFString = NSString
public typealias CFDictionary = NSDictionary

public var noErr: OSStatus { 0 }
public var kAudioHardwareUnknownPropertyError: OSStatus { 0x7768_6F3F }
public var kAudioHardwareBadObjectError: OSStatus { 0x216F_626A }
public let kAudioAggregateDeviceUIDKey = "uid"
public let kAudioAggregateDeviceNameKey = "name"
public let kAudioAggregateDeviceSubDeviceListKey = "subdevices"
public let kAudioAggregateDeviceMainSubDeviceKey = "master"
public let kAudioAggregateDeviceIsPrivateKey = "private"
public let kAudioSubDeviceUIDKey = "uid"
public let kAudioSubDeviceDriftCompensationKey = "drift"

/// The sound cards, as a test sets them up.
public final class FakeHardware: @unchecked Sendable {
    public struct Card {
        public var uid: String
        public var inputs: Int
        public var outputs: Int
        public var sampleRate = 48000.0
        public var frames: UInt32 = 512
        public var frameRange = 15.0...4096.0
        public var latency: UInt32 = 30
        public var safetyOffset: UInt32 = 24
        public var streamLatency: UInt32 = 10
        public var isAlive = true
        /// Of an aggregate: what it was made of.
        public var made: NSDictionary?

        public init(_ uid: String, inputs: Int = 0, outputs: Int = 0) {
            (self.uid, self.inputs, self.outputs) = (uid, inputs, outputs)
        }
    }

    private struct Listener {
        let object: AudioObjectID
        let selector: AudioObjectPropertySelector
        let call: AudioObjectPropertyListenerProc
        let client: UnsafeMutableRawPointer?
    }

    public static let shared = FakeHardware()
    private let lock = NSRecursiveLock()
    private var cards: [AudioObjectID: Card] = [:]
    private var listeners: [Listener] = []
    private var next: AudioObjectID = 100
    private var input: AudioObjectID = 0
    private var output: AudioObjectID = 0

    /// Begins anew with cards, of which the first with inputs and the first with outputs are the defaults.
    public func reset(_ cards: [Card]) {
        lock.withLock {
            self.cards = [:]
            listeners = []
            (next, input, output) = (100, 0, 0)
            for card in cards {
                let id = add(card)
                if input == 0, card.inputs > 0 { input = id }
                if output == 0, card.outputs > 0 { output = id }
            }
        }
    }

    @discardableResult public func add(_ card: Card) -> AudioObjectID {
        lock.withLock {
            next += 1
            cards[next] = card
            return next
        }
    }

    public func card(_ uid: String) -> Card? { lock.withLock { cards.values.first { $0.uid == uid } } }

    public func card(_ id: AudioObjectID) -> Card? { lock.withLock { cards[id] } }

    public var all: [Card] { lock.withLock { cards.sorted { $0.key < $1.key }.map(\.value) } }

    public var listenerCount: Int { lock.withLock { listeners.count } }

    /// Changes a card, and tells who listens to a property of it.
    public func change(_ uid: String, _ selector: AudioObjectPropertySelector, _ body: (inout Card) -> Void) {
        let calls = lock.withLock { () -> [Listener] in
            guard let id = cards.first(where: { $0.value.uid == uid })?.key else { return [] }
            body(&cards[id]!)
            return listeners.filter { $0.object == id && $0.selector == selector }
        }
        tell(calls)
    }

    /// Makes a card the default for output.
    public func choose(output uid: String) {
        let calls = lock.withLock { () -> [Listener] in
            output = cards.first { $0.value.uid == uid }?.key ?? 0
            return listeners.filter {
                $0.object == kAudioObjectSystemObject && $0.selector == kAudioHardwarePropertyDefaultOutputDevice
            }
        }
        tell(calls)
    }

    private func tell(_ calls: [Listener]) {
        for listener in calls {
            var address = AudioObjectPropertyAddress(
                mSelector: listener.selector, mScope: kAudioObjectPropertyScopeGlobal, mElement: 0)
            _ = listener.call(listener.object, 1, &address, listener.client)
        }
    }

    fileprivate func listen(
        _ object: AudioObjectID, _ selector: AudioObjectPropertySelector,
        _ call: @escaping AudioObjectPropertyListenerProc,
        _ client: UnsafeMutableRawPointer?
    ) {
        lock.withLock {
            listeners.append(Listener(object: object, selector: selector, call: call, client: client))
        }
    }

    fileprivate func unlisten(
        _ object: AudioObjectID, _ selector: AudioObjectPropertySelector, _ client: UnsafeMutableRawPointer?
    ) {
        lock.withLock {
            listeners.removeAll { $0.object == object && $0.selector == selector && $0.client == client }
        }
    }

    fileprivate func remove(_ id: AudioObjectID) -> Bool { lock.withLock { cards.removeValue(forKey: id) != nil } }

    /// The bytes of a property; nil where there is none.
    fileprivate func value(_ object: AudioObjectID, _ address: AudioObjectPropertyAddress) -> Value? {
        lock.withLock {
            if object == kAudioObjectSystemObject {
                switch address.mSelector {
                case kAudioHardwarePropertyDevices: return .numbers(cards.keys.sorted())
                case kAudioHardwarePropertyDefaultInputDevice: return .numbers([input])
                case kAudioHardwarePropertyDefaultOutputDevice: return .numbers([output])
                default: return nil
                }
            }
            if object >= 1_000_000 {  // the stream of a card
                guard address.mSelector == kAudioStreamPropertyLatency, let card = cards[object / 10_000] else {
                    return nil
                }
                return .numbers([card.streamLatency])
            }
            guard let card = cards[object] else { return nil }
            let isInput = address.mScope == kAudioObjectPropertyScopeInput
            switch address.mSelector {
            case kAudioDevicePropertyDeviceUID, kAudioObjectPropertyName: return .text(card.uid)
            case kAudioDevicePropertyDeviceIsAlive: return .numbers([card.isAlive ? 1 : 0])
            case kAudioDevicePropertyNominalSampleRate: return .reals([card.sampleRate])
            case kAudioDevicePropertyBufferFrameSize: return .numbers([card.frames])
            case kAudioDevicePropertyBufferFrameSizeRange:
                return .reals([card.frameRange.lowerBound, card.frameRange.upperBound])
            case kAudioDevicePropertyLatency: return .numbers([card.latency])
            case kAudioDevicePropertySafetyOffset: return .numbers([card.safetyOffset])
            case kAudioDevicePropertyStreams:
                let channels = isInput ? card.inputs : card.outputs
                return .numbers(channels > 0 ? [object * 10_000 + (isInput ? 1 : 2)] : [])
            case kAudioDevicePropertyStreamConfiguration: return .channels(isInput ? card.inputs : card.outputs)
            default: return nil
            }
        }
    }

    fileprivate func set(_ object: AudioObjectID, _ selector: AudioObjectPropertySelector, _ data: UnsafeRawPointer)
        -> OSStatus
    {
        lock.withLock {
            guard var card = cards[object] else { return kAudioHardwareBadObjectError }
            guard selector == kAudioDevicePropertyBufferFrameSize else { return kAudioHardwareUnknownPropertyError }
            let frames = data.load(as: UInt32.self)
            // A card takes what is nearest in its range, and says nothing.
            card.frames = UInt32(min(max(Double(frames), card.frameRange.lowerBound), card.frameRange.upperBound))
            cards[object] = card
            return noErr
        }
    }

    fileprivate enum Value {
        case numbers([UInt32])
        case reals([Double])
        case text(String)
        case channels(Int)

        var size: Int {
            switch self {
            case .numbers(let numbers): return 4 * numbers.count
            case .reals(let reals): return 8 * reals.count
            case .text: return MemoryLayout<UnsafeRawPointer>.size
            case .channels(let channels):
                return channels > 0
                    ? MemoryLayout<AudioBufferList>.size : MemoryLayout<AudioBufferList>.offset(of: \.mBuffers)!
            }
        }

        func write(to data: UnsafeMutableRawPointer) {
            switch self {
            case .numbers(let numbers):
                numbers.withUnsafeBytes { data.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
            case .reals(let reals):
                reals.withUnsafeBytes { data.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
            case .text(let text):
                data.storeBytes(
                    of: Unmanaged.passRetained(NSString(string: text)).toOpaque(), as: UnsafeMutableRawPointer.self)
            case .channels(let channels):
                data.storeBytes(of: channels > 0 ? 1 : 0, as: UInt32.self)
                if channels > 0 {
                    data.assumingMemoryBound(to: AudioBufferList.self).pointee.mBuffers.mNumberChannels = UInt32(
                        channels)
                }
            }
        }
    }
}

public func AudioObjectGetPropertyDataSize(
    _ inObjectID: AudioObjectID, _ inAddress: UnsafePointer<AudioObjectPropertyAddress>,
    _ inQualifierDataSize: UInt32, _ inQualifierData: UnsafeRawPointer?, _ outDataSize: UnsafeMutablePointer<UInt32>
) -> OSStatus {
    guard let value = FakeHardware.shared.value(inObjectID, inAddress.pointee) else {
        return kAudioHardwareUnknownPropertyError
    }
    outDataSize.pointee = UInt32(value.size)
    return noErr
}

public func AudioObjectGetPropertyData(
    _ inObjectID: AudioObjectID, _ inAddress: UnsafePointer<AudioObjectPropertyAddress>,
    _ inQualifierDataSize: UInt32, _ inQualifierData: UnsafeRawPointer?,
    _ ioDataSize: UnsafeMutablePointer<UInt32>, _ outData: UnsafeMutableRawPointer
) -> OSStatus {
    guard let value = FakeHardware.shared.value(inObjectID, inAddress.pointee),
        Int(ioDataSize.pointee) >= value.size
    else { return kAudioHardwareUnknownPropertyError }
    ioDataSize.pointee = UInt32(value.size)
    value.write(to: outData)
    return noErr
}

public func AudioObjectSetPropertyData(
    _ inObjectID: AudioObjectID, _ inAddress: UnsafePointer<AudioObjectPropertyAddress>,
    _ inQualifierDataSize: UInt32, _ inQualifierData: UnsafeRawPointer?, _ inDataSize: UInt32,
    _ inData: UnsafeRawPointer
) -> OSStatus { FakeHardware.shared.set(inObjectID, inAddress.pointee.mSelector, inData) }

public func AudioObjectAddPropertyListener(
    _ inObjectID: AudioObjectID, _ inAddress: UnsafePointer<AudioObjectPropertyAddress>,
    _ inListener: @escaping AudioObjectPropertyListenerProc, _ inClientData: UnsafeMutableRawPointer?
) -> OSStatus {
    FakeHardware.shared.listen(inObjectID, inAddress.pointee.mSelector, inListener, inClientData)
    return noErr
}

public func AudioObjectRemovePropertyListener(
    _ inObjectID: AudioObjectID, _ inAddress: UnsafePointer<AudioObjectPropertyAddress>,
    _ inListener: @escaping AudioObjectPropertyListenerProc, _ inClientData: UnsafeMutableRawPointer?
) -> OSStatus {
    FakeHardware.shared.unlisten(inObjectID, inAddress.pointee.mSelector, inClientData)
    return noErr
}

public func AudioHardwareCreateAggregateDevice(
    _ inDescription: CFDictionary, _ outDeviceID: UnsafeMutablePointer<AudioObjectID>
) -> OSStatus {
    guard let uid = inDescription[kAudioAggregateDeviceUIDKey] as? String,
        let parts = inDescription[kAudioAggregateDeviceSubDeviceListKey] as? [[String: Any]]
    else { return kAudioHardwareUnknownPropertyError }
    let cards = parts.compactMap { $0[kAudioSubDeviceUIDKey] as? String }.compactMap(FakeHardware.shared.card)
    guard cards.count == parts.count, let main = cards.first else { return kAudioHardwareBadObjectError }
    var card = FakeHardware.Card(
        uid, inputs: cards.reduce(0) { $0 + $1.inputs }, outputs: cards.reduce(0) { $0 + $1.outputs })
    card.sampleRate = main.sampleRate
    card.made = inDescription
    outDeviceID.pointee = FakeHardware.shared.add(card)
    return noErr
}

public func AudioHardwareDestroyAggregateDevice(_ inDeviceID: AudioObjectID) -> OSStatus {
    FakeHardware.shared.remove(inDeviceID) ? noErr : kAudioHardwareBadObjectError
}
