#if canImport(CoreML)
    import CoreML
    import Foundation
    import VoxportRuntime

    #if canImport(HiFiGANUpsample)
        import HiFiGANUpsample
    #endif

    /// Opens the artefacts of bundles with Core ML.
    ///
    /// Core ML keeps what it made of a model for a device under the path of the compiled model: so models are compiled
    /// once, into a folder whose name changes with the bundle and the system alone.
    public struct CoreMLEngines: EngineSource, Sendable {
        /// How far a model is prepared.
        public enum Progress: Equatable, Sendable {
            /// A component is compiled.
            case compiling(String)
            /// A function of it is loaded, which specialises it for the device: the first time may take minutes.
            case loading(String, function: String?)
            /// All of them are there.
            case ready
        }

        /// Where components compute that ``unitsByComponent`` does not name.
        public let units: ComputeUnits
        /// Where single components compute. A vocoder on the Neural Engine may compile for minutes and then run slower.
        public let unitsByComponent: [String: ComputeUnits]
        /// What is tried where a component does not load: an operating system may refuse a unit that the last one took.
        public let fallbacks: [ComputeUnits]
        let folder: URL

        /// `cache`: the folder of compiled models; nil for the app's caches.
        public init(
            units: ComputeUnits = .cpuAndGPU, unitsByComponent: [String: ComputeUnits] = [:],
            fallbacks: [ComputeUnits] = [.cpu], cache: URL? = nil
        ) {
            self.units = units
            self.unitsByComponent = unitsByComponent
            self.fallbacks = fallbacks
            let caches = FileManager.default.urls(for: .cachesDirectory, in: .userDomainMask).first
            folder = cache ?? (caches ?? FileManager.default.temporaryDirectory).appendingPathComponent("voxport")
        }

        /// The same on the CPU alone, for an app in the background: iOS refuses the GPU there, and iOS 27 is said to refuse
        /// the Neural Engine too. What was opened before goes on where it was opened, so open it anew.
        public var inBackground: CoreMLEngines { CoreMLEngines(units: .cpu, fallbacks: [], cache: folder) }

        /// Compiles the components of a bundle, and loads each function once, so that opening it is quick from then on.
        ///
        /// An app calls it once after each installation and update of the system. Throws
        /// `VoxportError.artefact` for what Core ML does not take.
        public func prepare(
            _ bundle: VoxportBundle, progress: @Sendable (Progress) -> Void = { _ in }
        ) async throws {
            try await compile(bundle, progress: progress)
            for component in bundle.manifest.components {
                for function in component.functions {
                    progress(.loading(component.name, function: function))
                    _ = try engine(for: component, function: function, in: bundle)
                }
            }
            progress(.ready)
        }

        /// Compiles what is not compiled yet.
        func compile(_ bundle: VoxportBundle, progress: @Sendable (Progress) -> Void = { _ in }) async throws {
            for component in bundle.manifest.components {
                let target = compiled(component, bundle)
                if FileManager.default.fileExists(atPath: target.path) { continue }
                progress(.compiling(component.name))
                try await compile(component, bundle, to: target)
            }
        }

        public func engine(
            for component: ComponentRecord, function: String?, in bundle: VoxportBundle
        ) throws -> any Engine {
            let url = compiled(component, bundle)
            guard FileManager.default.fileExists(atPath: url.path) else {
                throw VoxportError.engine(
                    "\(component.name) of \(bundle.manifest.name) is not compiled: prepare() it first")
            }
            #if canImport(HiFiGANUpsample)
                // Core ML finds a custom layer's class by its name: naming it here is what has it linked.
                if bundle.manifest.options.upsampler == "metal" { _ = HiFiGANUpsample.self }
            #endif
            let first = unitsByComponent[component.name] ?? units
            var failure: any Error = VoxportError.engine("there are no compute units to try")
            for units in [first] + fallbacks.filter({ $0 != first }) {
                do {
                    return try CoreMLEngine(url, function: function, units: units)
                } catch {
                    failure = error
                }
            }
            throw failure
        }

        private func compile(_ component: ComponentRecord, _ bundle: VoxportBundle, to target: URL) async throws {
            let source = bundle.artefact(of: component)
            let made: URL
            do {
                // Xcode may have compiled it already.
                made = source.pathExtension == "mlmodelc" ? source : try await MLModel.compileModel(at: source)
            } catch {
                throw VoxportError.artefact(
                    "\(source.lastPathComponent) cannot be compiled: \(error.localizedDescription)")
            }
            let manager = FileManager.default
            try manager.createDirectory(at: target.deletingLastPathComponent(), withIntermediateDirectories: true)
            // Aside first: a model that is half there would be taken for a whole one.
            let aside = target.appendingPathExtension("partial-\(UUID().uuidString)")
            if made == source {
                try manager.copyItem(at: made, to: aside)
            } else {
                try manager.moveItem(at: made, to: aside)
            }
            do {
                try manager.moveItem(at: aside, to: target)
            } catch {
                try? manager.removeItem(at: aside)
                // Somebody else was faster.
                guard manager.fileExists(atPath: target.path) else { throw error }
            }
        }

        /// Where a component's compiled model lies. The bundle's key says what it holds.
        private func compiled(_ component: ComponentRecord, _ bundle: VoxportBundle) -> URL {
            let system = ProcessInfo.processInfo.operatingSystemVersion
            let version = "\(system.majorVersion).\(system.minorVersion).\(system.patchVersion)"
            return folder.appendingPathComponent(bundle.manifest.key).appendingPathComponent(version)
                .appendingPathComponent("\(component.name).mlmodelc")
        }
    }

    extension ComponentRecord {
        /// The functions that are called; nil for the default one.
        var functions: [String?] {
            if let stream { return stream.steady.map { [stream.edge, $0] } ?? [stream.edge] }
            return sizes.isEmpty ? [nil] : sizes.values.sorted().map { $0.isEmpty ? nil : $0 }
        }
    }
#endif
