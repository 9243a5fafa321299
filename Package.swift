// swift-tools-version:6.0
import PackageDescription

// It lies at the root because a package that is depended on by the address of its repository has to. All else of it is
// below swift/.

// Off a Mac, Apple's frameworks are stood in for by fakes where that is asked for: a target of a framework's name is what
// canImport finds. VOXPORT_FAKES=ios compiles what iOS has otherwise.
let stand = Context.environment["VOXPORT_FAKES"]
#if os(macOS)
    let fakes = false
#else
    let fakes = stand != nil
#endif

/// What a target imports of Apple's: nothing to declare on a Mac.
func apple(_ frameworks: String...) -> [Target.Dependency] {
    fakes ? frameworks.map { Target.Dependency.target(name: $0) } : []
}

let fakeTargets: [Target] = [
    .target(name: "Accelerate", path: "swift/Fakes/Accelerate"),
    .target(name: "CAudioTypes", path: "swift/Fakes/CAudioTypes"),
    .target(name: "CoreAudio", dependencies: ["CAudioTypes"], path: "swift/Fakes/CoreAudio"),
    .target(name: "AudioToolbox", dependencies: ["CoreAudio"], path: "swift/Fakes/AudioToolbox"),
    .target(name: "AVFAudio", dependencies: ["CoreAudio"], path: "swift/Fakes/AVFAudio"),
    .target(name: "Metal", path: "swift/Fakes/Metal"),
    .target(name: "os", path: "swift/Fakes/os"),
    .target(name: "CoreML", dependencies: ["VoxportONNX", "Metal"], path: "swift/Fakes/CoreML"),
    .target(name: "UniformTypeIdentifiers", path: "swift/Fakes/UniformTypeIdentifiers"),
    .target(name: "SwiftUI", dependencies: ["UniformTypeIdentifiers"], path: "swift/Fakes/SwiftUI"),
    .target(name: "MetalPerformanceShaders", dependencies: ["Metal"], path: "swift/Fakes/MetalPerformanceShaders"),
    .target(
        name: "MetalPerformanceShadersGraph", dependencies: ["MetalPerformanceShaders"],
        path: "swift/Fakes/MetalPerformanceShadersGraph"),
    // On a Mac the two are a package of their own. Here the first is compiled, not linked.
    .executableTarget(
        name: "UpsampleExample", dependencies: ["MetalPerformanceShadersGraph"],
        path: "swift/Example/Sources/UpsampleExample"),
    .target(
        name: "VoxportExample",
        dependencies: ["VoxportRuntime", "VoxportCoreML", "VoxportAudio", "AVFAudio", "SwiftUI"],
        path: "swift/Example/Sources/VoxportExample"),
    .testTarget(
        name: "VoxportAppleTests",
        dependencies: [
            "VoxportRuntime", "VoxportAudio", "VoxportCoreML", "HiFiGANUpsample", "CWatch", "CoreML", "AudioToolbox",
            "AVFAudio", "os",
        ], path: "swift/Tests/VoxportAppleTests",
        exclude: [stand == "ios" ? "DuplexTests.swift" : "InterruptionTests.swift"]),
]

// Core ML's custom layer, which is nothing where there is no Metal. A conditional target would be built all the same.
#if os(macOS)
    let hasLayer = true
#else
    let hasLayer = fakes
#endif
let layer: Target = .target(
    name: "HiFiGANUpsample", dependencies: apple("Accelerate", "CoreML", "Metal"), path: "ops/metal/swift",
    exclude: ["Package.swift", "README.md"])
let layerName: [Target.Dependency] = hasLayer ? [.target(name: "HiFiGANUpsample")] : []

let runtime: Target.Dependency = "VoxportRuntime"
let targets: [Target] = [
    .target(name: "CRealtime", path: "swift/Sources/CRealtime"),
    .target(name: "COnnxRuntime", path: "swift/Sources/COnnxRuntime"),
    // The weights of opus's pitch detector lie where Python's runtime has them.
    .target(
        name: "OpusPitch", path: "runtime/speech/opus", exclude: ["COPYING"], resources: [.copy("pitch.npz")]),
    .target(
        name: "VoxportRuntime", dependencies: ["CRealtime", "OpusPitch"] + apple("Accelerate", "os"),
        path: "swift/Sources/VoxportRuntime",
        exclude: ["Features/SpeechDetector/COPYING", "Voices/Text/SentenceEnds/COPYING"]),
    .target(name: "VoxportONNX", dependencies: [runtime, "COnnxRuntime"], path: "swift/Sources/VoxportONNX"),
    .target(
        name: "VoxportCoreML", dependencies: [runtime] + layerName + apple("CoreML"),
        path: "swift/Sources/VoxportCoreML"),
    .target(
        name: "VoxportAudio", dependencies: [runtime] + apple("AudioToolbox", "AVFAudio"),
        path: "swift/Sources/VoxportAudio", swiftSettings: stand == "ios" ? [.define("VOXPORT_FAKE_IOS")] : []),
    .executableTarget(
        name: "voxport-play", dependencies: [runtime, "VoxportONNX", "VoxportCoreML"],
        path: "swift/Sources/voxport-play"),
    .target(name: "CWatch", path: "swift/Tests/CWatch"),
    .testTarget(
        name: "VoxportRuntimeTests", dependencies: [runtime, "VoxportONNX", "CWatch"],
        path: "swift/Tests/VoxportRuntimeTests"),
]

let package = Package(
    name: "VoxportRuntime",
    platforms: [.macOS(.v15), .iOS(.v18)],
    products: [
        .library(name: "VoxportRuntime", targets: ["VoxportRuntime"]),
        .library(name: "VoxportCoreML", targets: ["VoxportCoreML"]),
        .library(name: "VoxportAudio", targets: ["VoxportAudio"]),
        .library(name: "VoxportONNX", targets: ["VoxportONNX"]),
        .executable(name: "voxport-play", targets: ["voxport-play"]),
    ],
    targets: targets + (hasLayer ? [layer] : []) + (fakes ? fakeTargets : []),
    swiftLanguageModes: [.v6]
)
