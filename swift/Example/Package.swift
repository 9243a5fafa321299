// swift-tools-version:6.0
import PackageDescription

// The Info.plist, which says why the microphone is asked for, becomes part of the program: so the app needs no Xcode project.
// An own app has that in its target's settings.
let package = Package(
    name: "VoxportExample",
    platforms: [.macOS(.v15)],
    dependencies: [.package(name: "VoxportRuntime", path: "../..")],
    targets: [
        .executableTarget(
            name: "VoxportExample",
            dependencies: [
                .product(name: "VoxportRuntime", package: "VoxportRuntime"),
                .product(name: "VoxportCoreML", package: "VoxportRuntime"),
                .product(name: "VoxportAudio", package: "VoxportRuntime"),
            ],
            linkerSettings: [
                .unsafeFlags([
                    "-Xlinker", "-sectcreate", "-Xlinker", "__TEXT", "-Xlinker", "__info_plist", "-Xlinker",
                    "Info.plist",
                ])
            ]),
        // Metal's kernel for upsampling between two parts of an MPSGraph.
        .executableTarget(name: "UpsampleExample"),
    ],
    swiftLanguageModes: [.v6]
)
