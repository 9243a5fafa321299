import Foundation
import VoxportCoreML
import VoxportRuntime

/// A bundle whose models are compiled, and the engines that execute it.
struct OpenBundle: Sendable {
    let bundle: VoxportBundle
    let engines: CoreMLEngines

    /// Opens a folder. The first time that takes long: Core ML compiles each model, and specialises it for this Mac.
    static func open(_ folder: URL, progress: @escaping @Sendable (String) -> Void) async throws -> OpenBundle {
        let bundle = try VoxportBundle(contentsOf: folder)
        let engines = CoreMLEngines(units: .cpuAndGPU)
        try await engines.prepare(bundle) { step in
            switch step {
            case .compiling(let component): progress("Compiling \(component)…")
            case .loading(let component, _): progress("Loading \(component)…")
            case .ready: progress("Ready.")
            }
        }
        return OpenBundle(bundle: bundle, engines: engines)
    }
}
