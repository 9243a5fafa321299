// Types and constants of Apple's Core Audio where it is not there, as its documentation names them: of C, so that Swift
// imports them as it imports Apple's. The functions are those of Fakes/CoreAudio and Fakes/AudioToolbox.
#ifndef VOXPORT_FAKE_AUDIO_TYPES_H
#define VOXPORT_FAKE_AUDIO_TYPES_H

#include <stdint.h>

#pragma clang assume_nonnull begin
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wfour-char-constants"

typedef int32_t OSStatus;

// Buffers, formats, times.

typedef struct AudioBuffer {
    uint32_t mNumberChannels;
    uint32_t mDataByteSize;
    void *_Nullable mData;
} AudioBuffer;

typedef struct AudioBufferList {
    uint32_t mNumberBuffers;
    AudioBuffer mBuffers[1];  // of a length that varies
} AudioBufferList;

typedef uint32_t AudioFormatID;
typedef uint32_t AudioFormatFlags;

typedef struct AudioStreamBasicDescription {
    double mSampleRate;
    AudioFormatID mFormatID;
    AudioFormatFlags mFormatFlags;
    uint32_t mBytesPerPacket;
    uint32_t mFramesPerPacket;
    uint32_t mBytesPerFrame;
    uint32_t mChannelsPerFrame;
    uint32_t mBitsPerChannel;
    uint32_t mReserved;
} AudioStreamBasicDescription;

enum : AudioFormatID { kAudioFormatLinearPCM = 'lpcm' };
enum : AudioFormatFlags {
    kAudioFormatFlagIsFloat = 1u << 0,
    kAudioFormatFlagIsPacked = 1u << 3,
    kAudioFormatFlagIsNonInterleaved = 1u << 5,
    kAudioFormatFlagsNativeEndian = 0,
    kAudioFormatFlagsNativeFloatPacked = 1u << 0 | 1u << 3
};

typedef struct SMPTETime {
    int16_t mSubframes;
    int16_t mSubframeDivisor;
    uint32_t mCounter;
    uint32_t mType;
    uint32_t mFlags;
    int16_t mHours;
    int16_t mMinutes;
    int16_t mSeconds;
    int16_t mFrames;
} SMPTETime;

typedef struct AudioTimeStamp {
    double mSampleTime;
    uint64_t mHostTime;
    double mRateScalar;
    uint64_t mWordClockTime;
    SMPTETime mSMPTETime;
    uint32_t mFlags;
    uint32_t mReserved;
} AudioTimeStamp;

typedef struct AudioValueRange {
    double mMinimum;
    double mMaximum;
} AudioValueRange;

// Objects of the hardware layer.

typedef uint32_t AudioObjectID;
typedef AudioObjectID AudioDeviceID;
typedef AudioObjectID AudioStreamID;
typedef uint32_t AudioObjectPropertySelector;
typedef uint32_t AudioObjectPropertyScope;
typedef uint32_t AudioObjectPropertyElement;

typedef struct AudioObjectPropertyAddress {
    AudioObjectPropertySelector mSelector;
    AudioObjectPropertyScope mScope;
    AudioObjectPropertyElement mElement;
} AudioObjectPropertyAddress;

typedef OSStatus (*AudioObjectPropertyListenerProc)(AudioObjectID inObjectID, uint32_t inNumberAddresses,
                                                    const AudioObjectPropertyAddress *inAddresses,
                                                    void *_Nullable inClientData);

enum : int { kAudioObjectSystemObject = 1 };
enum : AudioObjectPropertyScope {
    kAudioObjectPropertyScopeGlobal = 'glob',
    kAudioObjectPropertyScopeInput = 'inpt',
    kAudioObjectPropertyScopeOutput = 'outp'
};
enum : AudioObjectPropertyElement { kAudioObjectPropertyElementMain = 0 };
enum : AudioObjectPropertySelector {
    kAudioHardwarePropertyDevices = 'dev#',
    kAudioHardwarePropertyDefaultInputDevice = 'dIn ',
    kAudioHardwarePropertyDefaultOutputDevice = 'dOut',
    kAudioObjectPropertyName = 'lnam',
    kAudioDevicePropertyDeviceUID = 'uid ',
    kAudioDevicePropertyDeviceIsAlive = 'livn',
    kAudioDevicePropertyNominalSampleRate = 'nsrt',
    kAudioDevicePropertyBufferFrameSize = 'fsiz',
    kAudioDevicePropertyBufferFrameSizeRange = 'fsz#',
    kAudioDevicePropertyStreamConfiguration = 'slay',
    kAudioDevicePropertyStreams = 'stm#',
    kAudioDevicePropertyLatency = 'ltnc',
    kAudioDevicePropertySafetyOffset = 'saft',
    kAudioStreamPropertyLatency = 'ltnc'
};

// Audio units.

typedef struct OpaqueAudioComponent *AudioComponent;
typedef struct ComponentInstanceRecord *AudioComponentInstance;
typedef AudioComponentInstance AudioUnit;
typedef uint32_t AudioUnitPropertyID;
typedef uint32_t AudioUnitScope;
typedef uint32_t AudioUnitElement;

typedef struct AudioComponentDescription {
    uint32_t componentType;
    uint32_t componentSubType;
    uint32_t componentManufacturer;
    uint32_t componentFlags;
    uint32_t componentFlagsMask;
} AudioComponentDescription;

enum __attribute__((flag_enum, enum_extensibility(open))) AudioUnitRenderActionFlags : uint32_t {
    kAudioUnitRenderAction_PreRender = 1u << 2,
    kAudioUnitRenderAction_OutputIsSilence = 1u << 4
};
typedef enum AudioUnitRenderActionFlags AudioUnitRenderActionFlags;

typedef OSStatus (*AURenderCallback)(void *inRefCon, AudioUnitRenderActionFlags *ioActionFlags,
                                     const AudioTimeStamp *inTimeStamp, uint32_t inBusNumber, uint32_t inNumberFrames,
                                     AudioBufferList *_Nullable ioData);

typedef struct AURenderCallbackStruct {
    AURenderCallback _Nullable inputProc;
    void *_Nullable inputProcRefCon;
} AURenderCallbackStruct;

enum : uint32_t {
    kAudioUnitType_Output = 'auou',
    kAudioUnitSubType_HALOutput = 'ahal',
    kAudioUnitSubType_RemoteIO = 'rioc',
    kAudioUnitSubType_VoiceProcessingIO = 'vpio',
    kAudioUnitManufacturer_Apple = 'appl'
};
enum : AudioUnitScope { kAudioUnitScope_Global = 0, kAudioUnitScope_Input = 1, kAudioUnitScope_Output = 2 };
enum : AudioUnitPropertyID {
    kAudioUnitProperty_StreamFormat = 8,
    kAudioUnitProperty_MaximumFramesPerSlice = 14,
    kAudioUnitProperty_SetRenderCallback = 23,
    kAudioOutputUnitProperty_CurrentDevice = 2000,
    kAudioOutputUnitProperty_EnableIO = 2003
};
enum : OSStatus {
    kAudioUnitErr_InvalidProperty = -10879,
    kAudioUnitErr_InvalidParameter = -10878,
    kAudioUnitErr_TooManyFramesToProcess = -10874,
    kAudioUnitErr_FormatNotSupported = -10868,
    kAudioUnitErr_Uninitialized = -10867,
    kAudioUnitErr_CannotDoInCurrentContext = -10863,
    kAudioUnitErr_Initialized = -10849
};

#pragma clang diagnostic pop
#pragma clang assume_nonnull end

#endif
