#if canImport(CoreML)
    import CoreML

    /// Where Core ML may compute.
    public enum ComputeUnits: String, CaseIterable, Sendable {
        case cpu
        case cpuAndGPU = "cpu_and_gpu"
        case cpuAndNeuralEngine = "cpu_and_ne"
        case all

        var units: MLComputeUnits {
            switch self {
            case .cpu: return .cpuOnly
            case .cpuAndGPU: return .cpuAndGPU
            case .cpuAndNeuralEngine: return .cpuAndNeuralEngine
            case .all: return .all
            }
        }
    }
#endif
