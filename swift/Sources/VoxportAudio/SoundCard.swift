// The hardware layer is a Mac's; iOS has one route, of AVAudioSession.
#if canImport(CoreAudio) && !os(iOS) && !VOXPORT_FAKE_IOS
    import CoreAudio
    import Foundation
    import Synchronization
    import VoxportRuntime

    /// A sound card of a Mac.
    public struct SoundCard: Equatable, Sendable {
        public let id: AudioDeviceID
        /// What stays the same when it is plugged in again.
        public let uid: String
        public let name: String
        /// Channels.
        public let inputs: Int
        public let outputs: Int

        /// Every card that can record or play. Throws `VoxportError.audio`.
        public static func all() throws -> [SoundCard] {
            let system = AudioObjectID(kAudioObjectSystemObject)
            let ids: [AudioDeviceID] = try list(system, kAudioHardwarePropertyDevices)
            return try ids.map(SoundCard.init).filter { $0.inputs + $0.outputs > 0 }
        }

        /// The card that the system records from. Throws where there is none.
        static func defaultInput() throws -> SoundCard {
            try standard(kAudioHardwarePropertyDefaultInputDevice, "microphone")
        }

        /// The card that the system plays to. Throws where there is none.
        static func defaultOutput() throws -> SoundCard {
            try standard(kAudioHardwarePropertyDefaultOutputDevice, "speakers")
        }

        /// The card of a UID. Throws where it is not there.
        static func named(_ uid: String) throws -> SoundCard {
            guard let card = try all().first(where: { $0.uid == uid }) else {
                let known = try all().map(\.uid).joined(separator: ", ")
                throw VoxportError.audio("there is no sound card \(uid); there are: \(known)")
            }
            return card
        }

        private static func standard(_ selector: AudioObjectPropertySelector, _ what: String) throws -> SoundCard {
            let id = try value(AudioObjectID(kAudioObjectSystemObject), selector, AudioDeviceID(0))
            guard id != 0 else { throw VoxportError.audio("this Mac has no \(what)") }
            return try SoundCard(id)
        }

        init(_ id: AudioDeviceID) throws {
            self.id = id
            uid = try Self.text(id, kAudioDevicePropertyDeviceUID)
            name = try Self.text(id, kAudioObjectPropertyName)
            inputs = try Self.channels(id, kAudioObjectPropertyScopeInput)
            outputs = try Self.channels(id, kAudioObjectPropertyScopeOutput)
        }

        /// The rate that it runs at.
        var sampleRate: Double { get throws { try Self.value(id, kAudioDevicePropertyNominalSampleRate, 0.0) } }

        /// Asks for blocks of so many samples. Returns what the card has then: it takes what is nearest in its range, and
        /// what another program needs may win.
        func setBlock(_ frames: Int) throws -> Int {
            let range = try Self.value(
                id, kAudioDevicePropertyBufferFrameSizeRange, AudioValueRange(mMinimum: 0, mMaximum: 0))
            var size = UInt32(min(max(Double(frames), range.mMinimum), max(range.mMaximum, range.mMinimum)))
            var address = Self.address(kAudioDevicePropertyBufferFrameSize)
            try checked(
                AudioObjectSetPropertyData(id, &address, 0, nil, UInt32(MemoryLayout<UInt32>.size), &size),
                "setting blocks of \(size) samples")
            return Int(try Self.value(id, kAudioDevicePropertyBufferFrameSize, UInt32(0)))
        }

        /// Samples between a sound and the program's block, by what the card, its stream and its driver report.
        func latency(_ scope: AudioObjectPropertyScope) throws -> Int {
            let streams: [AudioStreamID] = try Self.list(id, kAudioDevicePropertyStreams, scope)
            let stream = try streams.first.map { try Self.value($0, kAudioStreamPropertyLatency, UInt32(0)) } ?? 0
            let device = try Self.value(id, kAudioDevicePropertyLatency, UInt32(0), scope)
            return Int(stream + device) + Int(try Self.value(id, kAudioDevicePropertySafetyOffset, UInt32(0), scope))
        }

        static func address(
            _ selector: AudioObjectPropertySelector, _ scope: AudioObjectPropertyScope = kAudioObjectPropertyScopeGlobal
        ) -> AudioObjectPropertyAddress {
            AudioObjectPropertyAddress(mSelector: selector, mScope: scope, mElement: kAudioObjectPropertyElementMain)
        }

        private static func value<Value>(
            _ id: AudioObjectID, _ selector: AudioObjectPropertySelector, _ initial: Value,
            _ scope: AudioObjectPropertyScope = kAudioObjectPropertyScopeGlobal
        ) throws -> Value {
            var address = address(selector, scope)
            var size = UInt32(MemoryLayout<Value>.size)
            var value = initial
            let status = withUnsafeMutablePointer(to: &value) {
                AudioObjectGetPropertyData(id, &address, 0, nil, &size, $0)
            }
            try checked(status, "reading a sound card")
            return value
        }

        private static func list(
            _ id: AudioObjectID, _ selector: AudioObjectPropertySelector,
            _ scope: AudioObjectPropertyScope = kAudioObjectPropertyScopeGlobal
        ) throws -> [AudioObjectID] {
            var address = address(selector, scope)
            var size: UInt32 = 0
            try checked(AudioObjectGetPropertyDataSize(id, &address, 0, nil, &size), "reading a sound card")
            var ids = [AudioObjectID](repeating: 0, count: Int(size) / MemoryLayout<AudioObjectID>.size)
            guard !ids.isEmpty else { return [] }
            try checked(AudioObjectGetPropertyData(id, &address, 0, nil, &size, &ids), "reading a sound card")
            // It may have become shorter meanwhile.
            return Array(ids.prefix(Int(size) / MemoryLayout<AudioObjectID>.size))
        }

        private static func text(_ id: AudioObjectID, _ selector: AudioObjectPropertySelector) throws -> String {
            let text: Unmanaged<CFString>? = try value(id, selector, nil)
            guard let text else { throw VoxportError.audio("a sound card has no name") }
            return "\(text.takeRetainedValue())"
        }

        private static func channels(_ id: AudioObjectID, _ scope: AudioObjectPropertyScope) throws -> Int {
            var address = address(kAudioDevicePropertyStreamConfiguration, scope)
            var size: UInt32 = 0
            try checked(AudioObjectGetPropertyDataSize(id, &address, 0, nil, &size), "reading a sound card")
            let room = max(Int(size), MemoryLayout<AudioBufferList>.size)
            let bytes = UnsafeMutableRawPointer.allocate(
                byteCount: room, alignment: MemoryLayout<AudioBufferList>.alignment)
            defer { bytes.deallocate() }
            try checked(AudioObjectGetPropertyData(id, &address, 0, nil, &size, bytes), "reading a sound card")
            let list = bytes.assumingMemoryBound(to: AudioBufferList.self)
            let first = MemoryLayout<AudioBufferList>.offset(of: \.mBuffers)!
            let buffers = (bytes + first).assumingMemoryBound(to: AudioBuffer.self)
            let count = min(Int(list.pointee.mNumberBuffers), (room - first) / MemoryLayout<AudioBuffer>.stride)
            return (0..<count).reduce(0) { $0 + Int(buffers[$1].mNumberChannels) }
        }
    }

    /// Two sound cards as one, on the speakers' clock, which the microphone is drawn to. Only this program sees it.
    final class AggregateCard {
        let card: SoundCard

        init(microphone: SoundCard, speakers: SoundCard) throws {
            let parts: [[String: Any]] = [
                [kAudioSubDeviceUIDKey: speakers.uid, kAudioSubDeviceDriftCompensationKey: 0],
                [kAudioSubDeviceUIDKey: microphone.uid, kAudioSubDeviceDriftCompensationKey: 1],
            ]
            let description: [String: Any] = [
                kAudioAggregateDeviceUIDKey: "voxport-\(UUID().uuidString)",
                kAudioAggregateDeviceNameKey: "voxport", kAudioAggregateDeviceIsPrivateKey: 1,
                kAudioAggregateDeviceMainSubDeviceKey: speakers.uid, kAudioAggregateDeviceSubDeviceListKey: parts,
            ]
            var id = AudioDeviceID(0)
            try checked(
                AudioHardwareCreateAggregateDevice(NSDictionary(dictionary: description) as CFDictionary, &id),
                "joining \(microphone.name) and \(speakers.name)")
            do {
                card = try SoundCard(id)
            } catch {
                _ = AudioHardwareDestroyAggregateDevice(id)
                throw error
            }
        }

        deinit { _ = AudioHardwareDestroyAggregateDevice(card.id) }
    }

    /// Calls a body, on a thread of the system's, when one of some properties changes.
    ///
    /// The system may call a listener once more while it is removed: so it is given a number, not a pointer.
    final class CardListener {
        private typealias Property = (AudioObjectID, AudioObjectPropertySelector)

        private static let bodies = Mutex<[Int: @Sendable () -> Void]>([:])
        private static let last = Mutex(0)

        private let number: Int
        private var properties: [Property] = []

        init(_ body: @escaping @Sendable () -> Void) {
            let number = Self.last.withLock { last in
                last += 1
                return last
            }
            self.number = number
            Self.bodies.withLock { $0[number] = body }
        }

        func listen(to selector: AudioObjectPropertySelector, of id: AudioObjectID) throws {
            var address = SoundCard.address(selector)
            try checked(
                AudioObjectAddPropertyListener(id, &address, cardChanged, UnsafeMutableRawPointer(bitPattern: number)),
                "listening to a sound card")
            properties.append((id, selector))
        }

        deinit {
            for (id, selector) in properties {
                var address = SoundCard.address(selector)
                _ = AudioObjectRemovePropertyListener(
                    id, &address, cardChanged, UnsafeMutableRawPointer(bitPattern: number))
            }
            Self.bodies.withLock { $0[number] = nil }
        }

        fileprivate static func call(_ number: Int) { bodies.withLock { $0[number] }?() }
    }

    private func cardChanged(
        _ id: AudioObjectID, _ count: UInt32, _ addresses: UnsafePointer<AudioObjectPropertyAddress>,
        _ client: UnsafeMutableRawPointer?
    ) -> OSStatus {
        CardListener.call(Int(bitPattern: client))
        return noErr
    }
#endif
