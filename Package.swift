// swift-tools-version:6.0
import PackageDescription

// It lies at the root because a package that is depended on by the address of its repository has to. All else of it is
// below swift/.
let package = Package(
    name: "VoxportRuntime",
    platforms: [.macOS(.v15), .iOS(.v18)],
    products: [
        .library(name: "VoxportRuntime", targets: ["VoxportRuntime"]),
        .library(name: "VoxportONNX", targets: ["VoxportONNX"]),
        .executable(name: "voxport-play", targets: ["voxport-play"]),
    ],
    targets: [
        .target(name: "CRealtime", path: "swift/Sources/CRealtime"),
        .target(name: "COnnxRuntime", path: "swift/Sources/COnnxRuntime"),
        .target(name: "VoxportRuntime", dependencies: ["CRealtime"], path: "swift/Sources/VoxportRuntime"),
        .target(
            name: "VoxportONNX", dependencies: ["VoxportRuntime", "COnnxRuntime"], path: "swift/Sources/VoxportONNX"),
        .executableTarget(
            name: "voxport-play", dependencies: ["VoxportRuntime", "VoxportONNX"], path: "swift/Sources/voxport-play"),
        .target(name: "CWatch", path: "swift/Tests/CWatch"),
        .testTarget(
            name: "VoxportRuntimeTests", dependencies: ["VoxportRuntime", "VoxportONNX", "CWatch"],
            path: "swift/Tests/VoxportRuntimeTests"),
    ],
    swiftLanguageModes: [.v6]
)
