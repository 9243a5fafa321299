#if canImport(CoreML)
    import CoreML
    import Foundation
    import VoxportRuntime

    /// Executes one function of a compiled model.
    public final class CoreMLEngine: Engine {
        public let name = "coreml"
        public let inputs: [TensorSpec]
        public let outputs: [TensorSpec]
        private let model: MLModel
        /// Arrays that Core ML is to write outputs of one shape to. None, once it did not.
        private var backings: [String: MLMultiArray] = [:]

        private final class State: EngineState {
            let state: MLState
            init(_ state: MLState) { self.state = state }
        }

        /// Loads a compiled model (`.mlmodelc`); `function` nil is its default one.
        ///
        /// Throws `VoxportError.artefact` where Core ML does not load it, or it takes or gives what
        /// is no array.
        public init(_ url: URL, function: String? = nil, units: ComputeUnits) throws {
            let configuration = MLModelConfiguration()
            configuration.computeUnits = units.units
            if let function { configuration.functionName = function }
            do {
                model = try MLModel(contentsOf: url, configuration: configuration)
            } catch {
                throw VoxportError.artefact(
                    "\(url.lastPathComponent) cannot be loaded on \(units.rawValue): \(error.localizedDescription)")
            }
            let description = model.modelDescription
            inputs = try description.inputDescriptionsByName.sorted { $0.key < $1.key }.map(Self.spec)
            outputs = try description.outputDescriptionsByName.sorted { $0.key < $1.key }.map(Self.spec)
            for output in outputs where output.shape.allSatisfy({ $0.sizes.count == 1 }) {
                backings[output.name] = try MLMultiArray(
                    shape: output.defaultShape.map { NSNumber(value: $0) },
                    dataType: MLMultiArray.dataType(of: output.dtype))
            }
        }

        public func newState() -> (any EngineState)? { State(model.makeState()) }

        public func run(_ inputs: [String: Tensor], state: (any EngineState)?) throws -> [String: Tensor] {
            // The arrays are this call's own, and live until it is over: Core ML reads them while it computes.
            let arrays = try checkedInputs(self.inputs, inputs).mapValues(MLMultiArray.copied)
            let provider = try MLDictionaryFeatureProvider(dictionary: arrays)
            let results: any MLFeatureProvider
            do {
                results = try interval("prediction") {
                    guard let state = state as? State else { return try predicted(provider) }
                    // A state may have gone on before arrays of ours were refused: these are not tried.
                    return try model.prediction(from: provider, using: state.state)
                }
            } catch {
                throw VoxportError.artefact("Core ML refuses a call: \(error.localizedDescription)")
            }
            var outputs: [String: Tensor] = [:]
            for spec in self.outputs {
                guard let array = results.featureValue(for: spec.name)?.multiArrayValue else {
                    throw VoxportError.artefact("Core ML gives no \(spec.name)")
                }
                outputs[spec.name] = try array.tensor().converted(to: spec.dtype)
            }
            return outputs
        }

        /// A prediction that keeps nothing, into arrays of ours where Core ML takes them.
        ///
        /// It has been seen to refuse them, and to accept them and give others: then they are done without.
        private func predicted(_ provider: any MLFeatureProvider) throws -> any MLFeatureProvider {
            guard !backings.isEmpty else { return try model.prediction(from: provider) }
            let options = MLPredictionOptions()
            options.outputBackings = backings
            do {
                let results = try model.prediction(from: provider, options: options)
                let isUsed = backings.allSatisfy { results.featureValue(for: $0.key)?.multiArrayValue === $0.value }
                if !isUsed { backings = [:] }
                return results
            } catch {
                backings = [:]
                return try model.prediction(from: provider)
            }
        }

        private static func spec(_ name: String, _ feature: MLFeatureDescription) throws -> TensorSpec {
            guard let constraint = feature.multiArrayConstraint else {
                throw VoxportError.artefact("\(name) of the model is no array")
            }
            let sizes = constraint.shape.map(\.intValue)
            var ranges = sizes.map { $0...$0 }
            switch constraint.shapeConstraint.type {
            case .range:
                let given = constraint.shapeConstraint.sizeRangeForDimension.map(\.rangeValue)
                // Without an end the range is as long as can be.
                ranges = given.map { $0.location...max($0.location, min($0.location + $0.length - 1, Int(Int32.max))) }
            case .enumerated:
                let shapes = constraint.shapeConstraint.enumeratedShapes.map { $0.map(\.intValue) }
                ranges = sizes.indices.map { axis in
                    let choices = shapes.map { $0[axis] } + [sizes[axis]]
                    return choices.min()!...choices.max()!
                }
            default: break
            }
            let axes = zip(sizes, ranges.isEmpty ? sizes.map { $0...$0 } : ranges).map { size, range -> Axis in
                guard range.lowerBound < range.upperBound else { return .fixed(size) }
                return .flexible(Dim(lo: range.lowerBound, hi: range.upperBound, default: size))
            }
            return TensorSpec(name: name, shape: axes, dtype: try type(of: constraint.dataType, name))
        }

        private static func type(of dataType: MLMultiArrayDataType, _ name: String) throws -> ElementType {
            switch dataType {
            case .float32: return .float32
            case .float16: return .float16
            case .double: return .float64
            case .int32: return .int32
            default: throw VoxportError.artefact("\(name) of the model is of a type that is not known here")
            }
        }
    }
#endif
