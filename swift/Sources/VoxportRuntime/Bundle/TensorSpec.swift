/// The sizes that an axis of a tensor may have.
public enum Axis: Equatable, Sendable {
    case fixed(Int)
    case flexible(Dim)

    /// What example inputs use.
    public var defaultSize: Int {
        switch self {
        case .fixed(let size): return size
        case .flexible(let dim): return dim.default
        }
    }

    /// Every size that it may have.
    public var sizes: ClosedRange<Int> {
        switch self {
        case .fixed(let size): return size...size
        case .flexible(let dim): return dim.lo...dim.hi
        }
    }
}

/// A bounded flexible axis: any length from `lo` to `hi`; `default` is what example inputs use.
public struct Dim: Codable, Equatable, Sendable {
    public let lo: Int
    public let hi: Int
    public let `default`: Int

    public init(lo: Int, hi: Int, default: Int) {
        self.lo = lo
        self.hi = hi
        self.default = `default`
    }
}

extension Dim {
    /// As messages write it: one number where there is only one.
    var text: String { lo == hi ? "\(lo)" : "\(lo)..\(hi)" }
}

extension Axis: Codable {
    public init(from decoder: any Decoder) throws {
        if let size = try? decoder.singleValueContainer().decode(Int.self) {
            self = .fixed(size)
        } else {
            self = .flexible(try Dim(from: decoder))
        }
    }

    public func encode(to encoder: any Encoder) throws {
        switch self {
        case .fixed(let size): try size.encode(to: encoder)
        case .flexible(let dim): try dim.encode(to: encoder)
        }
    }
}

/// A named tensor that a component takes or gives.
public struct TensorSpec: Codable, Equatable, Sendable {
    public let name: String
    public let shape: [Axis]
    public let dtype: ElementType
    public let unit: String

    public init(name: String, shape: [Axis], dtype: ElementType = .float32, unit: String = "") {
        self.name = name
        self.shape = shape
        self.dtype = dtype
        self.unit = unit
    }

    /// The shape that example inputs have.
    public var defaultShape: [Int] { shape.map(\.defaultSize) }

    /// Why a tensor of a shape does not fit; nil where it does.
    public func misfit(_ shape: [Int]) -> String? {
        guard shape.count == self.shape.count else { return "has \(shape.count) axes, wants \(self.shape.count)" }
        for (index, (size, axis)) in zip(shape, self.shape).enumerated() where !axis.sizes.contains(size) {
            return "has length \(size) on axis \(index), wants \(text(of: axis))"
        }
        return nil
    }

    private func text(of axis: Axis) -> String {
        switch axis {
        case .fixed(let size): return "\(size)"
        case .flexible(let dim): return "\(dim.lo)..\(dim.hi)"
        }
    }
}

extension TensorSpec: CustomStringConvertible {
    public var description: String { "\(name) (\(shape.map(text).joined(separator: ", "))) \(dtype.rawValue)" }
}

/// How a component that is local in time maps frames of its input to samples of its output.
///
/// A frame is `positions` of the input along its axis. Output sample t depends on the input frames
/// floor(t / samplesPerFrame) - `left` to floor(t / samplesPerFrame) + `right` only, and N frames give exactly
/// N * `samplesPerFrame` + `extra` samples.
public struct TimeAxis: Codable, Equatable, Sendable {
    public let input: String
    public let output: String
    public let inputAxis: Int
    public let outputAxis: Int
    public let samplesPerFrame: Int
    public let left: Int
    public let right: Int
    public let sampleRate: Int
    public let positions: Int
    public let hopLength: Int
    /// None of a bundle that does not say.
    public let extra: Int?

    public init(
        input: String, output: String, inputAxis: Int, outputAxis: Int, samplesPerFrame: Int, left: Int, right: Int,
        sampleRate: Int, positions: Int = 1, hopLength: Int = 1, extra: Int? = nil
    ) {
        self.input = input
        self.output = output
        self.inputAxis = inputAxis
        self.outputAxis = outputAxis
        self.samplesPerFrame = samplesPerFrame
        self.left = left
        self.right = right
        self.sampleRate = sampleRate
        self.positions = positions
        self.hopLength = hopLength
        self.extra = extra
    }

    /// Output samples of an utterance of so many frames.
    public func samples(of frames: Int) -> Int { frames * samplesPerFrame + (extra ?? 0) }

    /// Seconds of audio that a frame stands for.
    public var frameSeconds: Double { Double(samplesPerFrame * hopLength) / Double(sampleRate) }

    /// The frames that an artefact takes in one call, by the specification of its input.
    public func window(of spec: TensorSpec) -> Dim {
        let axis = spec.shape[inputAxis]
        let sizes = axis.sizes
        return Dim(
            lo: (sizes.lowerBound + positions - 1) / positions, hi: sizes.upperBound / positions,
            default: axis.defaultSize / positions)
    }
}
