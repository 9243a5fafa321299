#if canImport(AudioToolbox)
    import AudioToolbox
    import VoxportRuntime

    /// One audio unit for microphone and speakers: input is pulled inside the output's callback, so that both are one
    /// thread's and one clock's.
    ///
    /// AUHAL on a Mac, RemoteIO on iOS, VoiceProcessingIO where the system is to cancel echoes.
    final class DuplexUnit {
        /// The largest block that a card may ask for. Its memory is made beforehand, as a callback allocates nothing.
        static let mostFrames = 4096

        private let unit: AudioUnit
        private let callback: UnsafeMutablePointer<DuplexCallback>

        /// Sets a unit up for a route. `exchange` must outlive it.
        ///
        /// Throws `VoxportError.audio` where the system refuses.
        init(_ route: AudioRoute, exchange: Exchange) throws {
            unit = try Self.instance(route)
            callback = .allocate(capacity: 1)
            callback.initialize(to: DuplexCallback(unit: unit, exchange: exchange, capacity: Self.mostFrames))
            // From here on deinit takes back what is made, whatever fails.
            var isOn: UInt32 = 1
            try set(kAudioOutputUnitProperty_EnableIO, kAudioUnitScope_Input, 1, &isOn, "enabling the microphone")
            try set(kAudioOutputUnitProperty_EnableIO, kAudioUnitScope_Output, 0, &isOn, "enabling the speakers")
            #if !os(iOS) && !VOXPORT_FAKE_IOS
                if var device = route.device {
                    let property = kAudioOutputUnitProperty_CurrentDevice
                    try set(property, kAudioUnitScope_Global, 0, &device, "choosing the sound card")
                }
            #endif
            // The inner side of each element is ours: one channel in, and as many out as there are, up to two.
            var input = Self.floats(Double(route.format.sampleRate), channels: 1)
            var output = Self.floats(Double(route.format.sampleRate), channels: min(try hardwareChannels(), 2))
            try set(kAudioUnitProperty_StreamFormat, kAudioUnitScope_Output, 1, &input, "the microphone's format")
            try set(kAudioUnitProperty_StreamFormat, kAudioUnitScope_Input, 0, &output, "the speakers' format")
            var most = UInt32(Self.mostFrames)
            try set(kAudioUnitProperty_MaximumFramesPerSlice, kAudioUnitScope_Global, 0, &most, "the largest block")
            var render = AURenderCallbackStruct(inputProc: renderDuplex, inputProcRefCon: callback)
            try set(kAudioUnitProperty_SetRenderCallback, kAudioUnitScope_Input, 0, &render, "the callback")
            try checked(AudioUnitInitialize(unit), "initialising the audio unit")
        }

        deinit {
            _ = AudioOutputUnitStop(unit)
            _ = AudioUnitUninitialize(unit)
            _ = AudioComponentInstanceDispose(unit)  // when it returns, the callback is over
            callback.pointee.deallocate()
            callback.deallocate()
        }

        func start() throws { try checked(AudioOutputUnitStart(unit), "starting the audio unit") }

        func stop() { _ = AudioOutputUnitStop(unit) }

        private static func instance(_ route: AudioRoute) throws -> AudioUnit {
            var description = AudioComponentDescription(
                componentType: kAudioUnitType_Output, componentSubType: route.subType,
                componentManufacturer: kAudioUnitManufacturer_Apple, componentFlags: 0, componentFlagsMask: 0)
            guard let component = AudioComponentFindNext(nil, &description) else {
                throw VoxportError.audio("this system has no audio unit for input and output")
            }
            var unit: AudioUnit?
            try checked(AudioComponentInstanceNew(component, &unit), "making an audio unit")
            guard let unit else { throw VoxportError.audio("the system made no audio unit") }
            return unit
        }

        private static func floats(_ sampleRate: Double, channels: UInt32) -> AudioStreamBasicDescription {
            AudioStreamBasicDescription(
                mSampleRate: sampleRate, mFormatID: kAudioFormatLinearPCM,
                mFormatFlags: kAudioFormatFlagsNativeFloatPacked | kAudioFormatFlagIsNonInterleaved, mBytesPerPacket: 4,
                mFramesPerPacket: 1, mBytesPerFrame: 4, mChannelsPerFrame: channels, mBitsPerChannel: 32, mReserved: 0)
        }

        private func hardwareChannels() throws -> UInt32 {
            var format = AudioStreamBasicDescription()
            var size = UInt32(MemoryLayout<AudioStreamBasicDescription>.size)
            try checked(
                AudioUnitGetProperty(
                    unit, kAudioUnitProperty_StreamFormat, kAudioUnitScope_Output, 0, &format, &size),
                "reading the speakers' format")
            return max(format.mChannelsPerFrame, 1)
        }

        private func set<Value>(
            _ property: AudioUnitPropertyID, _ scope: AudioUnitScope, _ element: AudioUnitElement,
            _ value: inout Value, _ what: String
        ) throws {
            let status = withUnsafePointer(to: &value) {
                AudioUnitSetProperty(unit, property, scope, element, $0, UInt32(MemoryLayout<Value>.size))
            }
            try checked(status, what)
        }
    }

    /// What the callback sees: pointers and numbers, made beforehand.
    struct DuplexCallback {
        private let unit: AudioUnit
        private let exchange: Exchange
        private let capacity: Int
        private let input: UnsafeMutablePointer<Float>
        private let list: UnsafeMutablePointer<AudioBufferList>
        /// Where the buffers of a list begin.
        private let first: Int

        init(unit: AudioUnit, exchange: Exchange, capacity: Int) {
            (self.unit, self.exchange, self.capacity) = (unit, exchange, capacity)
            first = MemoryLayout<AudioBufferList>.offset(of: \.mBuffers)!
            input = .allocate(capacity: capacity)
            input.initialize(repeating: 0, count: capacity)
            list = .allocate(capacity: 1)
            list.initialize(to: AudioBufferList(mNumberBuffers: 1, mBuffers: AudioBuffer()))
        }

        func deallocate() {
            input.deallocate()
            list.deallocate()
        }

        /// Pulls a block of input, and exchanges it for one of output.
        #if hasAttribute(_noAllocation)
            @_noAllocation@_noLocks
        #endif
        func render(
            _ flags: UnsafeMutablePointer<AudioUnitRenderActionFlags>, _ time: UnsafePointer<AudioTimeStamp>,
            _ frames: UInt32, _ data: UnsafeMutablePointer<AudioBufferList>
        ) -> OSStatus {
            let count = Int(frames)
            let channels = Int(data.pointee.mNumberBuffers)
            let buffers = (UnsafeMutableRawPointer(data) + first).assumingMemoryBound(to: AudioBuffer.self)
            guard channels > 0, let output = buffers[0].mData?.assumingMemoryBound(to: Float.self) else { return noErr }
            guard count <= capacity else { return kAudioUnitErr_TooManyFramesToProcess }
            // The unit may put a buffer of its own there, so ours is named each time.
            list.pointee.mNumberBuffers = 1
            list.pointee.mBuffers.mNumberChannels = 1
            list.pointee.mBuffers.mDataByteSize = frames &* 4
            list.pointee.mBuffers.mData = UnsafeMutableRawPointer(input)
            let status = _unsafePerformance { AudioUnitRender(unit, flags, time, 1, frames, list) }
            var taken = input
            if status == noErr, let data = list.pointee.mBuffers.mData {
                taken = data.assumingMemoryBound(to: Float.self)
            } else {
                for index in 0..<count { input[index] = 0 }
                _unsafePerformance { exchange.noteMissingInput() }
            }
            exchange(taken, output, count)
            for channel in 1..<max(channels, 1) {
                guard let copy = buffers[channel].mData?.assumingMemoryBound(to: Float.self) else { continue }
                for index in 0..<count { copy[index] = output[index] }
            }
            return noErr
        }
    }

    private func renderDuplex(
        _ context: UnsafeMutableRawPointer, _ flags: UnsafeMutablePointer<AudioUnitRenderActionFlags>,
        _ time: UnsafePointer<AudioTimeStamp>, _ bus: UInt32, _ frames: UInt32,
        _ data: UnsafeMutablePointer<AudioBufferList>?
    ) -> OSStatus {
        guard let data else { return noErr }
        return context.assumingMemoryBound(to: DuplexCallback.self).pointee.render(flags, time, frames, data)
    }

    /// Throws `VoxportError.audio` for what the system refuses.
    func checked(_ status: OSStatus, _ what: String) throws {
        guard status != noErr else { return }
        // Many codes are four letters.
        let letters = [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: status >> $0) }
        let code =
            letters.allSatisfy { (32..<127).contains($0) } ? String(decoding: letters, as: UTF8.self) : "\(status)"
        throw VoxportError.audio("\(what): the system refuses it (\(code))")
    }
#endif
