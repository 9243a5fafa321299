/// How samples are drawn from a component's output.
///
/// `component` takes `input` (N, C, `samples` / `hopLength`) and `carried` (N, `carried`), which begins with zeros, and
/// gives `samples` (N, `samples`) and `next_carried`. `rows`: N that a call takes at best. `hopLength`: samples that a
/// column stands for.
public struct Sampler: Codable, Equatable, Sendable {
    public let component: String
    public let input: String
    public let samples: Int
    public let carried: Int
    public let rows: Int
    public let hopLength: Int

    /// Columns of `input` that a call takes.
    var columns: Int { samples / hopLength }
}

/// The audio that a component makes: its rate, and the mel in which it is compared with the reference.
public struct Sound: Codable, Equatable, Sendable {
    public let sampleRate: Int
    public let mel: Mel
}

/// A transposed convolution of a component, in the words of its custom layer.
public struct UpsampleShape: Codable, Equatable, Sendable {
    public let channelsIn: Int
    public let channelsOut: Int
    public let kernelSize: Int
    public let stride: Int
    public let padding: Int
    public let frames: Int
    public let outputPadding: Int
    public let slope: Double
    public let hasCondition: Bool
}

/// A function in mixed precision: the operations kept in float32, and what that gained.
public struct MixedRecord: Codable, Equatable, Sendable {
    public let kept: [String: String]
    public let ops: Int
    public let fp16Db: Double
    public let budgetDb: Double
    public let reachedDb: Double
    public let conversions: Int
    public let simulations: Int
}

/// One artefact and how to feed it.
///
/// `inputs` and `outputs` are those of the component; where `stream` is set, the artefact takes a chunk at a time.
public struct ComponentRecord: Codable, Equatable, Sendable {
    public let name: String
    public let artefact: String
    public let reference: String
    public let inputs: [TensorSpec]
    public let outputs: [TensorSpec]
    public let computes: String
    public let ops: [String: Int]
    public let time: TimeAxis?
    public let features: Features?
    public let sound: Sound?
    public let stream: StreamForm?
    /// What is executed in its place where only a Mac can execute it.
    public let validatedBy: String?
    public let upsampling: [UpsampleShape]
    /// Sizes of the flexible axes, in decimal, and the functions that take them; without any they are free.
    public let sizes: [String: String]
    /// Whether an input goes to the next larger size; else its rows are dealt out.
    public let padded: Bool
    public let referenceSize: Int
    public let mixed: [String: MixedRecord]
    public let excluded: [String]?
    public let sampler: Sampler?
    /// Inputs that say whose voice it is to be, and the components that make them of a recording.
    public let targets: [String: String]
    /// Inputs that say whose voice it was, likewise.
    public let sources: [String: String]
}
