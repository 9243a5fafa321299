// Stands in for Core ML where there is none, so that what calls it can be compiled and run: the names, types and
// signatures are those of Apple's documentation, the numbers come from ONNX Runtime. `voxport-play` and the tests are built
// with it where VOXPORT_FAKES=1; no app is.
//
// It is as awkward as the real one is where that has been seen: outputs lie in memory with gaps, and in half precision
// where VOXPORT_FAKE_HALF=1; a model that is compiled lies at a new place each time; the Neural Engine is absent where
// VOXPORT_FAKE_NE=absent, and gives other numbers than it should, without an error, where it is wrong. Arrays for outputs are written to, or
// refused where VOXPORT_FAKE_BACKINGS=refused, or accepted and not used where it is ignored.
import Foundation
import Metal
import VoxportONNX
import VoxportRuntime

public enum MLComputeUnits: Int, Sendable {
    case cpuOnly = 0
    case cpuAndGPU = 1
    case all = 2
    case cpuAndNeuralEngine = 3
}

public final class MLModelConfiguration {
    public var computeUnits = MLComputeUnits.all
    public var functionName: String?
    public init() {}
}

/// macOS 26 added the last one.
public enum MLMultiArrayDataType: Int, Sendable {
    case double = 65600
    case float32 = 65568
    case float16 = 65552
    case int32 = 131104
    case int8 = 131080
}

public enum MLMultiArrayShapeConstraintType: Int, Sendable {
    case unspecified = 1
    case enumerated = 2
    case range = 3
}

public final class MLMultiArrayShapeConstraint {
    public let type: MLMultiArrayShapeConstraintType
    public let sizeRangeForDimension: [NSValue]
    public let enumeratedShapes: [[NSNumber]] = []

    init(_ spec: TensorSpec) {
        let isFixed = spec.shape.allSatisfy { $0.sizes.count == 1 }
        type = isFixed ? .unspecified : .range
        sizeRangeForDimension = spec.shape.map {
            NSValue(range: NSRange(location: $0.sizes.lowerBound, length: $0.sizes.count))
        }
    }
}

public final class MLMultiArrayConstraint {
    public let shape: [NSNumber]
    public let dataType: MLMultiArrayDataType
    public let shapeConstraint: MLMultiArrayShapeConstraint

    init(_ spec: TensorSpec) {
        shape = spec.defaultShape.map { NSNumber(value: $0) }
        dataType = spec.dtype == .int32 ? .int32 : spec.dtype == .float16 ? .float16 : .float32
        shapeConstraint = MLMultiArrayShapeConstraint(spec)
    }
}

public final class MLFeatureDescription {
    public let name: String
    public let multiArrayConstraint: MLMultiArrayConstraint?

    init(_ spec: TensorSpec) {
        name = spec.name
        multiArrayConstraint = MLMultiArrayConstraint(spec)
    }
}

public final class MLModelDescription {
    public let inputDescriptionsByName: [String: MLFeatureDescription]
    public let outputDescriptionsByName: [String: MLFeatureDescription]

    init(_ engine: any Engine) {
        func described(_ specs: [TensorSpec]) -> [String: MLFeatureDescription] {
            Dictionary(uniqueKeysWithValues: specs.map { ($0.name, MLFeatureDescription($0)) })
        }
        inputDescriptionsByName = described(engine.inputs)
        outputDescriptionsByName = described(engine.outputs)
    }
}

public final class MLMultiArray {
    public let shape: [NSNumber]
    public let strides: [NSNumber]
    public let dataType: MLMultiArrayDataType
    private let memory: UnsafeMutableRawBufferPointer

    /// Contiguous, as an app's own array is.
    public convenience init(shape: [NSNumber], dataType: MLMultiArrayDataType) throws {
        self.init(shape.map(\.intValue), dataType, paddedTo: 1)
    }

    /// With rows that begin at multiples of a step, as Core ML's own arrays have them.
    package init(_ sizes: [Int], _ dataType: MLMultiArrayDataType, paddedTo step: Int) {
        var strides = [Int](repeating: 1, count: sizes.count)
        for axis in stride(from: sizes.count - 2, through: 0, by: -1) {
            let inner = sizes[axis + 1] * strides[axis + 1]
            strides[axis] = axis == sizes.count - 2 ? (inner + step - 1) / step * step : inner
        }
        shape = sizes.map { NSNumber(value: $0) }
        self.strides = strides.map { NSNumber(value: $0) }
        self.dataType = dataType
        let width = dataType == .double ? 8 : dataType == .float16 ? 2 : 4
        let count = sizes.isEmpty ? 1 : max(sizes[0] * strides[0], 1)
        memory = .allocate(byteCount: count * width, alignment: 64)
        memory.initializeMemory(as: UInt8.self, repeating: 0xAA)  // what lies in the gaps is nobody's
    }

    deinit { memory.deallocate() }

    public var count: Int { shape.reduce(1) { $0 * $1.intValue } }

    public var dataPointer: UnsafeMutableRawPointer { memory.baseAddress! }

    public func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        try body(UnsafeRawBufferPointer(memory))
    }

    public func withUnsafeMutableBytes<R>(
        _ body: (UnsafeMutableRawBufferPointer, [Int]) throws -> R
    ) rethrows -> R { try body(memory, strides.map(\.intValue)) }
}

public final class MLFeatureValue {
    public let multiArrayValue: MLMultiArray?
    public init(multiArray: MLMultiArray) { multiArrayValue = multiArray }
}

public protocol MLFeatureProvider: AnyObject {
    var featureNames: Set<String> { get }
    func featureValue(for featureName: String) -> MLFeatureValue?
}

public final class MLDictionaryFeatureProvider: MLFeatureProvider {
    private let values: [String: MLFeatureValue]

    public init(dictionary: [String: Any]) throws {
        values = dictionary.compactMapValues { ($0 as? MLMultiArray).map(MLFeatureValue.init(multiArray:)) }
    }

    public var featureNames: Set<String> { Set(values.keys) }
    public func featureValue(for featureName: String) -> MLFeatureValue? { values[featureName] }
}

public final class MLPredictionOptions {
    public var outputBackings: [String: Any] = [:]
    public init() {}
}

public final class MLState {
    let state: (any EngineState)?
    init(_ state: (any EngineState)?) { self.state = state }
}

/// What computes a layer of a class that the app has.
public protocol MLCustomLayer {
    init(parameters: [String: Any]) throws
    func setWeightData(_ weights: [Data]) throws
    func outputShapes(forInputShapes inputShapes: [[NSNumber]]) throws -> [[NSNumber]]
    func evaluate(inputs: [MLMultiArray], outputs: [MLMultiArray]) throws
    func encode(commandBuffer: any MTLCommandBuffer, inputs: [any MTLTexture], outputs: [any MTLTexture]) throws
}

/// A model whose numbers ONNX Runtime computes, of the files that VOXPORT_FAKE_LOWERED names the folder of.
public final class MLModel {
    public let modelDescription: MLModelDescription
    private let engine: ONNXEngine
    private let isWrong: Bool

    private struct Refusal: LocalizedError {
        let errorDescription: String?
    }

    public init(contentsOf url: URL, configuration: MLModelConfiguration) throws {
        let environment = ProcessInfo.processInfo.environment
        let neuralEngine = configuration.computeUnits == .cpuAndNeuralEngine ? environment["VOXPORT_FAKE_NE"] : nil
        if neuralEngine == "absent" { throw Refusal(errorDescription: "there is no Neural Engine") }
        isWrong = neuralEngine == "wrong"
        guard let folder = environment["VOXPORT_FAKE_LOWERED"], let library = environment["VOXPORT_ONNXRUNTIME"] else {
            throw Refusal(errorDescription: "name VOXPORT_FAKE_LOWERED and VOXPORT_ONNXRUNTIME")
        }
        let stem = try String(contentsOf: url.appendingPathComponent("name"), encoding: .utf8)
        let name = configuration.functionName.map { "\(stem).\($0)" } ?? stem
        engine = try ONNXEngine(
            URL(fileURLWithPath: folder).appendingPathComponent("\(name).onnx"), library: URL(fileURLWithPath: library))
        modelDescription = MLModelDescription(engine)
    }

    /// A folder that only knows the name of the package, at a new place.
    public static func compileModel(at modelURL: URL) async throws -> URL {
        guard FileManager.default.fileExists(atPath: modelURL.path) else {
            throw Refusal(errorDescription: "there is no model")
        }
        let name = modelURL.deletingPathExtension().lastPathComponent
        let url = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID().uuidString)/\(name).mlmodelc")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        try Data(name.utf8).write(to: url.appendingPathComponent("name"))
        return url
    }

    public func makeState() -> MLState { MLState(try? engine.newState()) }

    public func prediction(from input: any MLFeatureProvider) throws -> any MLFeatureProvider {
        try predicted(input, nil)
    }

    public func prediction(
        from input: any MLFeatureProvider, options: MLPredictionOptions
    ) throws -> any MLFeatureProvider {
        let mode = ProcessInfo.processInfo.environment["VOXPORT_FAKE_BACKINGS"]
        if mode == "refused", !options.outputBackings.isEmpty {
            throw Refusal(errorDescription: "the output backings do not fit")
        }
        let results = try predicted(input, nil)
        guard mode != "ignored" else { return results }
        var arrays: [String: Any] = [:]
        for name in results.featureNames {
            let array = results.featureValue(for: name)?.multiArrayValue
            guard let array, let backing = options.outputBackings[name] as? MLMultiArray,
                backing.shape == array.shape, backing.dataType == array.dataType
            else {
                arrays[name] = array
                continue
            }
            backing.fill(from: array)
            arrays[name] = backing
        }
        return try MLDictionaryFeatureProvider(dictionary: arrays)
    }

    public func prediction(from input: any MLFeatureProvider, using state: MLState) throws -> any MLFeatureProvider {
        try predicted(input, state.state)
    }

    private func predicted(
        _ input: any MLFeatureProvider, _ state: (any EngineState)?
    ) throws -> any MLFeatureProvider {
        var inputs: [String: Tensor] = [:]
        for name in input.featureNames {
            inputs[name] = input.featureValue(for: name)?.multiArrayValue?.dense
        }
        let isHalf = ProcessInfo.processInfo.environment["VOXPORT_FAKE_HALF"] == "1"
        let outputs = try engine.run(inputs, state: state).mapValues { result in
            let tensor = isWrong ? Tensor(result.floats.map { -$0 }, shape: result.shape) : result
            return MLMultiArray.spread(isHalf && tensor.type == .float32 ? tensor.converted(to: .float16) : tensor)
        }
        return try MLDictionaryFeatureProvider(dictionary: outputs)
    }
}

extension MLMultiArray {
    /// What an app wrote, which has no gaps.
    fileprivate var dense: Tensor {
        let type: ElementType
        switch dataType {
        case .double: type = .float64
        case .float32: type = .float32
        case .float16: type = .float16
        case .int32: type = .int32
        case .int8: type = .int8
        }
        return withUnsafeBytes {
            Tensor(shape: shape.map(\.intValue), elements: .init(copying: $0, count: count, type: type))
        }
    }

    /// Takes over the rows of an array with gaps.
    fileprivate func fill(from other: MLMultiArray) {
        let width = dataType == .double ? 8 : dataType == .float16 ? 2 : 4
        let row = shape.last?.intValue ?? 1
        let rows = row == 0 ? 0 : count / row
        let step = shape.count > 1 ? other.strides[shape.count - 2].intValue : row
        for index in 0..<rows {
            (dataPointer + index * row * width).copyMemory(
                from: other.dataPointer + index * step * width, byteCount: row * width)
        }
    }

    /// A tensor whose rows begin at multiples of 32 elements.
    fileprivate static func spread(_ tensor: Tensor) -> MLMultiArray {
        let types: [ElementType: MLMultiArrayDataType] = [.float64: .double, .float16: .float16, .int32: .int32]
        let array = MLMultiArray(tensor.shape, types[tensor.type] ?? .float32, paddedTo: 32)
        let width = tensor.type.size
        let row = tensor.shape.last ?? 1
        let rows = row == 0 ? 0 : tensor.count / row
        let step = tensor.shape.count > 1 ? array.strides[tensor.shape.count - 2].intValue : row
        tensor.elements.withUnsafeBytes { source in
            array.withUnsafeMutableBytes { target, _ in
                for index in 0..<rows {
                    let from = UnsafeRawBufferPointer(rebasing: source[index * row * width..<(index + 1) * row * width])
                    UnsafeMutableRawBufferPointer(rebasing: target[index * step * width..<(index * step + row) * width])
                        .copyMemory(from: from)
                }
            }
        }
        return array
    }
}
