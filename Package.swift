// swift-tools-version:6.0
import PackageDescription

// It lies at the root because a package that is depended on by the address of its repository has to. All else of it is
// below swift/.

// Off a Mac, Core ML is stood in for by a fake where that is asked for: a target of this name is what canImport finds.
let fakes = Context.environment["VOXPORT_FAKES"] == "1"

let package = Package(
    name: "VoxportRuntime",
    platforms: [.macOS(.v15), .iOS(.v18)],
    products: [
        .library(name: "VoxportRuntime", targets: ["VoxportRuntime"]),
        .library(name: "VoxportCoreML", targets: ["VoxportCoreML"]),
        .library(name: "VoxportONNX", targets: ["VoxportONNX"]),
        .executable(name: "voxport-play", targets: ["voxport-play"]),
    ],
    targets: [
        .target(name: "CRealtime", path: "swift/Sources/CRealtime"),
        .target(name: "COnnxRuntime", path: "swift/Sources/COnnxRuntime"),
        .target(name: "VoxportRuntime", dependencies: ["CRealtime"], path: "swift/Sources/VoxportRuntime"),
        .target(
            name: "VoxportONNX", dependencies: ["VoxportRuntime", "COnnxRuntime"], path: "swift/Sources/VoxportONNX"),
        .target(
            name: "VoxportCoreML", dependencies: ["VoxportRuntime"] + (fakes ? ["CoreML"] : []),
            path: "swift/Sources/VoxportCoreML"),
        .executableTarget(
            name: "voxport-play", dependencies: ["VoxportRuntime", "VoxportONNX", "VoxportCoreML"],
            path: "swift/Sources/voxport-play"),
        .target(name: "CWatch", path: "swift/Tests/CWatch"),
        .testTarget(
            name: "VoxportRuntimeTests", dependencies: ["VoxportRuntime", "VoxportONNX", "CWatch"],
            path: "swift/Tests/VoxportRuntimeTests"),
    ] + (fakes ? [.target(name: "CoreML", dependencies: ["VoxportONNX"], path: "swift/Fakes/CoreML")] : []),
    swiftLanguageModes: [.v6]
)
