// swift-tools-version:5.9
import PackageDescription

let package = Package(
    name: "HiFiGANUpsample",
    platforms: [.macOS(.v12), .iOS(.v16)],
    products: [
        .library(name: "HiFiGANUpsample", targets: ["HiFiGANUpsample"]),
        .library(name: "HiFiGANUpsampleDynamic", type: .dynamic, targets: ["HiFiGANUpsample"]),
    ],
    targets: [.target(name: "HiFiGANUpsample")]
)
