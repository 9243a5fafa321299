extension EngineSource {
    /// An engine on a component as its manifest describes it: an artefact does not always say its bounds.
    ///
    /// Throws ``VoxportError/artefact(_:)`` where the artefact takes or gives other tensors than the manifest says.
    func opened(_ component: ComponentRecord, function: String? = nil, in bundle: VoxportBundle) throws -> any Engine {
        let engine = try engine(for: component, function: function, in: bundle)
        guard component.stream == nil, component.sizes.isEmpty else { return engine }
        for (declared, actual) in [(component.inputs, engine.inputs), (component.outputs, engine.outputs)]
        where Set(declared.map(\.name)) != Set(actual.map(\.name)) {
            let names = actual.map(\.description).joined(separator: ", ")
            throw VoxportError.artefact("\(component.artefact) is not what its manifest describes: it has \(names)")
        }
        return DeclaredEngine(engine, inputs: component.inputs, outputs: component.outputs)
    }
}

/// An engine with the specifications of a manifest for its own.
private final class DeclaredEngine: Engine {
    let inputs: [TensorSpec]
    let outputs: [TensorSpec]
    private let engine: any Engine

    init(_ engine: any Engine, inputs: [TensorSpec], outputs: [TensorSpec]) {
        self.engine = engine
        self.inputs = inputs
        self.outputs = outputs
    }

    var name: String { engine.name }

    func newState() throws -> (any EngineState)? { try engine.newState() }

    func run(_ inputs: [String: Tensor], state: (any EngineState)?) throws -> [String: Tensor] {
        try engine.run(checkedInputs(self.inputs, inputs), state: state)
    }
}
