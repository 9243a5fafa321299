/// What an engine keeps from call to call: Core ML's own state, or arrays.
public protocol EngineState: AnyObject {}

/// Executes one function of one artefact. An engine belongs to one thread at a time.
public protocol Engine: AnyObject {
    var name: String { get }
    var inputs: [TensorSpec] { get }
    var outputs: [TensorSpec] { get }

    /// A state of zeros; nil where the function has none.
    func newState() throws -> (any EngineState)?

    /// Runs the function. Returns every output by name; a state is updated in place.
    ///
    /// Throws ``VoxportError/input(_:)`` for a missing, unknown or misshapen tensor.
    func run(_ inputs: [String: Tensor], state: (any EngineState)?) throws -> [String: Tensor]
}

extension Engine {
    /// Runs a function that keeps nothing.
    public func run(_ inputs: [String: Tensor]) throws -> [String: Tensor] { try run(inputs, state: nil) }

    /// The specification of an input. Throws ``VoxportError/artefact(_:)`` where there is none of that name.
    func input(_ name: String) throws -> TensorSpec {
        guard let spec = inputs.first(where: { $0.name == name }) else {
            throw VoxportError.artefact("the manifest names an input \(name), which the artefact does not have")
        }
        return spec
    }

    /// The specification of an output, likewise.
    func output(_ name: String) throws -> TensorSpec {
        guard let spec = outputs.first(where: { $0.name == name }) else {
            throw VoxportError.artefact("the manifest names an output \(name), which the artefact does not have")
        }
        return spec
    }
}

/// Opens engines on the artefacts of bundles.
public protocol EngineSource {
    /// An engine on a component's artefact, on one function of it where it has several.
    func engine(for component: ComponentRecord, function: String?, in bundle: VoxportBundle) throws -> any Engine
}

/// The inputs in the types that an engine declares.
///
/// Throws ``VoxportError/input(_:)`` for a missing, unknown or misshapen tensor.
public func checkedInputs(_ specs: [TensorSpec], _ inputs: [String: Tensor]) throws -> [String: Tensor] {
    let known = specs.map(\.description).joined(separator: ", ")
    for name in inputs.keys.sorted() where !specs.contains(where: { $0.name == name }) {
        throw VoxportError.input("there is no input \(name); the inputs are: \(known)")
    }
    var checked: [String: Tensor] = [:]
    for spec in specs {
        guard let tensor = inputs[spec.name] else {
            throw VoxportError.input("input \(spec.name) is missing; the inputs are: \(known)")
        }
        if let problem = spec.misfit(tensor.shape) {
            throw VoxportError.input("input \(spec.name) \(problem): it is \(spec)")
        }
        checked[spec.name] = tensor.converted(to: spec.dtype)
    }
    return checked
}
