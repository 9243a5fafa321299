#if canImport(CoreML)
    import Foundation
    import VoxportRuntime

    /// What one choice of compute units made of a bundle's goldens on this device.
    public struct UnitCheck: Sendable {
        public let units: ComputeUnits
        /// SNR to PyTorch, clip by clip, and its limit; nil where the units did not execute the bundle.
        public let report: Check?
        /// Why they did not.
        public let failure: String?
        /// Seconds that loading the models and playing the goldens took together. Units that need as long as the CPU,
        /// and give its very numbers, may be the CPU: Core ML falls back to it in silence.
        public let seconds: Double

        /// Whether the bundle sounds on them as it was converted.
        public var passed: Bool { report?.passed ?? false }
    }

    extension CoreMLEngines {
        /// Plays the goldens of a bundle on one choice of compute units after another, every component on the same, and
        /// without falling back to others.
        ///
        /// Units have been seen to give other numbers than they should on one chip and not on another, without an error.
        /// Throws `VoxportError` where the bundle has no goldens or Core ML does not compile it; units
        /// that do not execute it are results with a ``UnitCheck/failure``.
        public func check(
            _ bundle: VoxportBundle, units: [ComputeUnits] = ComputeUnits.allCases,
            progress: @Sendable (ComputeUnits) -> Void = { _ in }
        ) async throws -> [UnitCheck] {
            _ = try bundle.goldens()
            try await compile(bundle)
            return units.map { choice in
                progress(choice)
                let alone = CoreMLEngines(units: choice, fallbacks: [], cache: folder)
                let started = Date()
                let result = Result { try Check(bundle, engines: alone) }
                let seconds = Date().timeIntervalSince(started)
                switch result {
                case .success(let report):
                    return UnitCheck(units: choice, report: report, failure: nil, seconds: seconds)
                case .failure(let error):
                    return UnitCheck(units: choice, report: nil, failure: error.localizedDescription, seconds: seconds)
                }
            }
        }
    }
#endif
