// Stands in for the audio units of Apple's AudioToolbox where there is none, by the names and signatures of its
// documentation: units that are set up as strictly as the real ones, and render when a test says so.
@_exported import CoreAudio
import Foundation

/// A unit that was made.
public final class FakeUnit: @unchecked Sendable {
    /// Those that were made and not disposed of, the oldest first.
    nonisolated(unsafe) public private(set) static var all: [FakeUnit] = []
    private static let lock = NSLock()

    public let subType: UInt32
    public fileprivate(set) var isInitialized = false
    public fileprivate(set) var isRunning = false
    public fileprivate(set) var device: AudioObjectID?
    public fileprivate(set) var maximumFrames: UInt32 = 512
    /// Whether input and output are enabled: input is not, before it is.
    public fileprivate(set) var isEnabled: [UInt32: Bool] = [0: true, 1: false]
    /// By element: what the app gives and takes.
    public fileprivate(set) var formats: [UInt32: AudioStreamBasicDescription] = [:]
    fileprivate var callback: AURenderCallbackStruct?
    fileprivate var isRendering = false
    fileprivate var input: UnsafeMutablePointer<Float>
    private static let most = 8192
    /// What AudioUnitRender answers where it is not to give input.
    public var failure: OSStatus?

    fileprivate init(_ subType: UInt32) {
        self.subType = subType
        input = .allocate(capacity: Self.most)
        input.initialize(repeating: 0, count: Self.most)
    }

    deinit { input.deallocate() }

    fileprivate static func make(_ subType: UInt32) -> FakeUnit {
        let unit = FakeUnit(subType)
        lock.withLock { all.append(unit) }
        return unit
    }

    fileprivate static func dispose(_ unit: FakeUnit) { lock.withLock { all.removeAll { $0 === unit } } }

    fileprivate var sampleRate: Double { device.flatMap(FakeHardware.shared.card)?.sampleRate ?? 48000 }

    /// The device's turn: samples come in, and every channel of what the app plays comes out.
    public func render(_ samples: [Float]) -> [[Float]]? {
        guard isRunning, let call = callback?.inputProc, let context = callback?.inputProcRefCon else { return nil }
        for (index, sample) in samples.enumerated() { input[index] = sample }
        let channels = Int(formats[0]?.mChannelsPerFrame ?? 1)
        let size = MemoryLayout<AudioBufferList>.size + (channels - 1) * MemoryLayout<AudioBuffer>.stride
        let raw = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 16)
        let memory = UnsafeMutablePointer<Float>.allocate(capacity: max(channels * samples.count, 1))
        memory.initialize(repeating: .nan, count: channels * samples.count)
        defer {
            raw.deallocate()
            memory.deallocate()
        }
        let list = raw.bindMemory(to: AudioBufferList.self, capacity: 1)
        list.pointee.mNumberBuffers = UInt32(channels)
        let buffers = (raw + MemoryLayout<AudioBufferList>.offset(of: \.mBuffers)!)
            .assumingMemoryBound(to: AudioBuffer.self)
        for channel in 0..<channels {
            buffers[channel] = AudioBuffer(
                mNumberChannels: 1, mDataByteSize: UInt32(4 * samples.count),
                mData: UnsafeMutableRawPointer(memory + channel * samples.count))
        }
        var flags = AudioUnitRenderActionFlags()
        var time = AudioTimeStamp()
        isRendering = true
        let status = call(context, &flags, &time, 0, UInt32(samples.count), list)
        isRendering = false
        guard status == noErr else { return nil }
        return (0..<channels).map { channel in
            Array(UnsafeBufferPointer(start: memory + channel * samples.count, count: samples.count))
        }
    }
}

private func fake(_ unit: AudioUnit) -> FakeUnit {
    Unmanaged<FakeUnit>.fromOpaque(UnsafeRawPointer(unit)).takeUnretainedValue()
}

public func AudioComponentFindNext(
    _ inComponent: AudioComponent?, _ inDesc: UnsafePointer<AudioComponentDescription>
) -> AudioComponent? {
    guard inDesc.pointee.componentType == kAudioUnitType_Output,
        inDesc.pointee.componentManufacturer == kAudioUnitManufacturer_Apple
    else { return nil }
    return OpaquePointer(bitPattern: UInt(inDesc.pointee.componentSubType))
}

public func AudioComponentInstanceNew(
    _ inComponent: AudioComponent, _ outInstance: UnsafeMutablePointer<AudioComponentInstance?>
) -> OSStatus {
    let unit = FakeUnit.make(UInt32(UInt(bitPattern: inComponent)))
    outInstance.pointee = OpaquePointer(Unmanaged.passRetained(unit).toOpaque())
    return noErr
}

public func AudioComponentInstanceDispose(_ inInstance: AudioComponentInstance) -> OSStatus {
    let unit = fake(inInstance)
    FakeUnit.dispose(unit)
    unit.isRunning = false
    Unmanaged.passUnretained(unit).release()
    return noErr
}

public func AudioUnitSetProperty(
    _ inUnit: AudioUnit, _ inID: AudioUnitPropertyID, _ inScope: AudioUnitScope, _ inElement: AudioUnitElement,
    _ inData: UnsafeRawPointer?, _ inDataSize: UInt32
) -> OSStatus {
    let unit = fake(inUnit)
    guard !unit.isInitialized else { return kAudioUnitErr_Initialized }
    guard let data = inData else { return kAudioUnitErr_InvalidParameter }
    switch inID {
    case kAudioOutputUnitProperty_EnableIO:
        guard inScope == (inElement == 1 ? kAudioUnitScope_Input : kAudioUnitScope_Output) else {
            return kAudioUnitErr_InvalidProperty
        }
        unit.isEnabled[inElement] = data.load(as: UInt32.self) != 0
    case kAudioOutputUnitProperty_CurrentDevice:
        let device = data.load(as: AudioObjectID.self)
        guard unit.subType != kAudioUnitSubType_RemoteIO, FakeHardware.shared.card(device) != nil else {
            return kAudioUnitErr_InvalidProperty
        }
        unit.device = device
    case kAudioUnitProperty_StreamFormat:
        guard inScope == (inElement == 1 ? kAudioUnitScope_Output : kAudioUnitScope_Input) else {
            return kAudioUnitErr_FormatNotSupported  // the other side of each element is the hardware's
        }
        let format = data.load(as: AudioStreamBasicDescription.self)
        // Input is not resampled.
        guard format.mFormatID == kAudioFormatLinearPCM, format.mBytesPerFrame == 4,
            inElement == 0 || format.mSampleRate == unit.sampleRate
        else { return kAudioUnitErr_FormatNotSupported }
        unit.formats[inElement] = format
    case kAudioUnitProperty_MaximumFramesPerSlice: unit.maximumFrames = data.load(as: UInt32.self)
    case kAudioUnitProperty_SetRenderCallback:
        guard inScope == kAudioUnitScope_Input, inElement == 0 else { return kAudioUnitErr_InvalidProperty }
        unit.callback = data.load(as: AURenderCallbackStruct.self)
    default: return kAudioUnitErr_InvalidProperty
    }
    return noErr
}

public func AudioUnitGetProperty(
    _ inUnit: AudioUnit, _ inID: AudioUnitPropertyID, _ inScope: AudioUnitScope, _ inElement: AudioUnitElement,
    _ outData: UnsafeMutableRawPointer, _ ioDataSize: UnsafeMutablePointer<UInt32>
) -> OSStatus {
    let unit = fake(inUnit)
    guard inID == kAudioUnitProperty_StreamFormat, inElement == 0, inScope == kAudioUnitScope_Output,
        Int(ioDataSize.pointee) >= MemoryLayout<AudioStreamBasicDescription>.size
    else { return kAudioUnitErr_InvalidProperty }
    var format = AudioStreamBasicDescription()
    format.mSampleRate = unit.sampleRate
    format.mChannelsPerFrame = UInt32(unit.device.flatMap(FakeHardware.shared.card)?.outputs ?? 2)
    outData.storeBytes(of: format, as: AudioStreamBasicDescription.self)
    return noErr
}

public func AudioUnitInitialize(_ inUnit: AudioUnit) -> OSStatus {
    let unit = fake(inUnit)
    guard unit.isEnabled[0] == true || unit.isEnabled[1] == true, unit.callback != nil else {
        return kAudioUnitErr_InvalidParameter
    }
    unit.isInitialized = true
    return noErr
}

public func AudioUnitUninitialize(_ inUnit: AudioUnit) -> OSStatus {
    fake(inUnit).isInitialized = false
    return noErr
}

public func AudioOutputUnitStart(_ ci: AudioUnit) -> OSStatus {
    guard fake(ci).isInitialized else { return kAudioUnitErr_Uninitialized }
    fake(ci).isRunning = true
    return noErr
}

public func AudioOutputUnitStop(_ ci: AudioUnit) -> OSStatus {
    fake(ci).isRunning = false
    return noErr
}

public func AudioUnitRender(
    _ inUnit: AudioUnit, _ ioActionFlags: UnsafeMutablePointer<AudioUnitRenderActionFlags>?,
    _ inTimeStamp: UnsafePointer<AudioTimeStamp>, _ inOutputBusNumber: UInt32, _ inNumberFrames: UInt32,
    _ ioData: UnsafeMutablePointer<AudioBufferList>
) -> OSStatus {
    let unit = fake(inUnit)
    guard unit.isRendering else { return kAudioUnitErr_CannotDoInCurrentContext }
    guard inOutputBusNumber == 1, unit.isEnabled[1] == true else { return kAudioUnitErr_InvalidParameter }
    guard inNumberFrames <= unit.maximumFrames else { return kAudioUnitErr_TooManyFramesToProcess }
    if let failure = unit.failure { return failure }
    guard let data = ioData.pointee.mBuffers.mData, ioData.pointee.mBuffers.mDataByteSize >= 4 * inNumberFrames else {
        return kAudioUnitErr_InvalidParameter
    }
    data.copyMemory(from: unit.input, byteCount: 4 * Int(inNumberFrames))
    return noErr
}
