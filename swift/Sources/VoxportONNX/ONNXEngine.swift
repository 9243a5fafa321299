import COnnxRuntime
import Foundation
import VoxportRuntime

/// Executes an ONNX file, or a program of Core ML that `python -m runtime lower --out` wrote as one, by ONNX Runtime.
///
/// It computes in float32 on the CPU. On a machine without Core ML it is how a bundle runs at all.
public final class ONNXEngine: Engine {
    public let name = "onnx"
    public let inputs: [TensorSpec]
    public let outputs: [TensorSpec]
    /// The version of the library that executes.
    public var version: String { String(cString: vx_onnx_version(model)) }

    private let model: OpaquePointer
    private let states: [TensorSpec]
    private let modelInputs: [(name: String, type: ElementType)]
    private let modelOutputs: [String]

    private final class State: EngineState {
        var tensors: [String: Tensor]
        init(_ tensors: [String: Tensor]) { self.tensors = tensors }
    }

    /// What a lowered program takes and gives, in its own order: a JSON file beside the model.
    private struct Interface: Decodable {
        let inputs: [TensorSpec]
        let outputs: [TensorSpec]
        let states: [TensorSpec]
    }

    /// Opens a model with ONNX Runtime's library; `threads` nil leaves their number to it.
    ///
    /// Throws `VoxportError.engine` where the library cannot be opened, and `VoxportError.artefact` where the model cannot.
    public init(_ url: URL, library: URL, threads: Int? = nil) throws {
        guard FileManager.default.fileExists(atPath: library.path) else {
            throw VoxportError.engine("there is no library of ONNX Runtime at \(library.path)")
        }
        guard FileManager.default.fileExists(atPath: url.path) else {
            throw VoxportError.artefact(
                "there is no \(url.lastPathComponent) in \(url.deletingLastPathComponent().path)")
        }
        guard let model = vx_onnx_open(library.path, url.path, Int32(threads ?? 0)) else {
            throw VoxportError.artefact("\(url.path) cannot be opened: \(String(cString: vx_onnx_message()))")
        }
        self.model = model
        do {
            let given = try (0..<vx_onnx_count(model, 0)).map { try Self.spec(model, 0, $0) }
            let results = try (0..<vx_onnx_count(model, 1)).map { try Self.spec(model, 1, $0) }
            modelInputs = given.map { ($0.name, $0.dtype) }
            modelOutputs = results.map(\.name)
            let description = url.deletingPathExtension().appendingPathExtension("json")
            if let json = try? Data(contentsOf: description) {
                let interface = try JSONDecoder().decode(Interface.self, from: json)
                (inputs, outputs, states) = (interface.inputs, interface.outputs, interface.states)
            } else {
                (inputs, outputs, states) = (given, results, [])
            }
        } catch let error as DecodingError {
            vx_onnx_close(model)
            throw VoxportError.artefact("the description beside \(url.lastPathComponent) is damaged: \(error)")
        } catch {
            vx_onnx_close(model)
            throw error
        }
    }

    deinit { vx_onnx_close(model) }

    public func newState() throws -> (any EngineState)? {
        guard !states.isEmpty else { return nil }
        return State(
            Dictionary(uniqueKeysWithValues: states.map { ($0.name, Tensor(zeros: $0.defaultShape, type: $0.dtype)) }))
    }

    public func run(_ inputs: [String: Tensor], state: (any EngineState)?) throws -> [String: Tensor] {
        let held = try (state ?? newState()) as? State
        let checked = try checkedInputs(self.inputs, inputs).merging(held?.tensors ?? [:]) { $1 }
        let feeds = modelInputs.compactMap { input in checked[input.name]?.converted(to: input.type) }
        guard feeds.count == modelInputs.count else {
            throw VoxportError.artefact("the description of an ONNX model lacks inputs that it has")
        }
        let results = try called(feeds)
        var outputs: [String: Tensor] = [:]
        // A lowered program gives its outputs, then the new values of its states, under names of its own.
        for (spec, result) in zip(self.outputs, results) { outputs[spec.name] = result.converted(to: spec.dtype) }
        for (spec, result) in zip(states, results.dropFirst(self.outputs.count)) {
            held?.tensors[spec.name] = result.converted(to: spec.dtype)
        }
        return outputs
    }

    private func called(_ feeds: [Tensor]) throws -> [Tensor] {
        var tensors = [vx_onnx_tensor](repeating: vx_onnx_tensor(), count: feeds.count + 1)
        var results = [vx_onnx_tensor](repeating: vx_onnx_tensor(), count: modelOutputs.count + 1)
        // The memory of each tensor is lent until the call is over: hence one closure within another.
        func lend(_ index: Int) throws {
            guard index < feeds.count else {
                guard vx_onnx_run(model, tensors, &results) == 0 else {
                    throw VoxportError.input("ONNX Runtime refuses a call: \(String(cString: vx_onnx_message()))")
                }
                return
            }
            try feeds[index].elements.withUnsafeBytes { bytes in
                tensors[index] = Self.tensor(bytes, feeds[index])
                try lend(index + 1)
            }
        }
        try lend(0)
        return try results.prefix(modelOutputs.count).map(Self.copied)
    }

    private static func tensor(_ bytes: UnsafeRawBufferPointer, _ tensor: Tensor) -> vx_onnx_tensor {
        var lent = vx_onnx_tensor()
        lent.data = bytes.baseAddress
        lent.bytes = bytes.count
        lent.type = types.first { $0.value == tensor.type }!.key
        lent.rank = tensor.shape.count
        withUnsafeMutableBytes(of: &lent.shape) { shape in
            let sizes = shape.bindMemory(to: Int64.self)
            for (axis, size) in tensor.shape.enumerated() { sizes[axis] = Int64(size) }
        }
        return lent
    }

    private static func copied(_ result: vx_onnx_tensor) throws -> Tensor {
        guard let type = types[result.type] else {
            throw VoxportError.artefact("an output of an ONNX model is of a type that is not known here")
        }
        var result = result
        let shape = withUnsafeBytes(of: &result.shape) {
            $0.bindMemory(to: Int64.self).prefix(result.rank).map(Int.init)
        }
        let bytes = UnsafeRawBufferPointer(start: result.data, count: result.count * type.size)
        // A number alone is an array of one, as Core ML has no others.
        return Tensor(
            shape: shape.isEmpty ? [1] : shape,
            elements: Tensor.Elements(copying: bytes, count: result.count, type: type))
    }

    private static func spec(_ model: OpaquePointer, _ isOutput: Int32, _ index: Int) throws -> TensorSpec {
        let name = String(cString: vx_onnx_name(model, isOutput, index))
        guard let type = types[vx_onnx_type(model, isOutput, index)] else {
            throw VoxportError.artefact("\(name) of an ONNX model is of a type that is not known here")
        }
        var sizes = [Int64](repeating: 0, count: 8)
        let rank = vx_onnx_shape(model, isOutput, index, &sizes)
        let shape = sizes.prefix(rank).map { size -> Axis in
            size >= 0 ? .fixed(Int(size)) : .flexible(Dim(lo: 1, hi: Int(Int32.max), default: 1))
        }
        return TensorSpec(name: name, shape: shape, dtype: type)
    }

    /// ONNX's numbers of the types.
    private static let types: [Int32: ElementType] = [
        1: .float32, 3: .int8, 6: .int32, 7: .int64, 9: .bool, 10: .float16, 11: .float64,
    ]
}

/// Opens the artefacts of a bundle with ONNX Runtime.
public struct ONNXEngines: EngineSource, Sendable {
    /// The library, such as `onnxruntime/capi/libonnxruntime.so.1.32.0` of the wheel on PyPI.
    public let library: URL
    /// Where `python -m runtime lower BUNDLE --out FOLDER` wrote the programs of Core ML; nil for a bundle of ONNX files.
    public let lowered: URL?
    /// Threads of each engine; nil leaves their number to ONNX Runtime.
    public let threads: Int?

    public init(library: URL, lowered: URL? = nil, threads: Int? = nil) {
        self.library = library
        self.lowered = lowered
        self.threads = threads
    }

    public func engine(
        for component: ComponentRecord, function: String?, in bundle: VoxportBundle
    ) throws -> any Engine {
        let artefact = bundle.artefact(of: component)
        if artefact.pathExtension == "onnx" { return try ONNXEngine(artefact, library: library, threads: threads) }
        guard let lowered else {
            throw VoxportError.engine(
                "\(artefact.lastPathComponent) is a program of Core ML: write it as ONNX files first, with python -m "
                    + "runtime lower \(bundle.url.path) --out FOLDER")
        }
        // A program of one function has no function in its file's name.
        let named = [function.map { "\(component.name).\($0)" }, component.name].compactMap { $0 }
            .map { lowered.appendingPathComponent("\($0).onnx") }
        let file = named.first { FileManager.default.fileExists(atPath: $0.path) } ?? named[0]
        return try ONNXEngine(file, library: library, threads: threads)
    }
}
