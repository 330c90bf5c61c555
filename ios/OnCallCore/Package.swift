// swift-tools-version:6.0
import PackageDescription

let package = Package(
    name: "OnCallCore",
    platforms: [.iOS(.v17), .macOS(.v14)],
    products: [.library(name: "OnCallCore", targets: ["OnCallCore"])],
    targets: [
        .target(name: "OnCallCore"),
        .testTarget(name: "OnCallCoreTests", dependencies: ["OnCallCore"]),
    ]
)
