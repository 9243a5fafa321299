/// The types of numbers that tensors hold. The raw values are numpy's names.
public enum ElementType: String, Codable, Sendable {
    case float16, float32, float64, int8, int32, int64, bool

    /// Bytes of a number.
    public var size: Int {
        switch self {
        case .int8, .bool: return 1
        case .float16: return 2
        case .float32, .int32: return 4
        case .float64, .int64: return 8
        }
    }
}

/// Numbers in rows: the shape, and the elements in C order without gaps.
public struct Tensor: Equatable, Sendable {
    /// The numbers by their type. Half precision is kept as its bits, because Intel's Macs have no `Float16`.
    public enum Elements: Equatable, Sendable {
        case float16([UInt16])
        case float32([Float])
        case float64([Double])
        case int8([Int8])
        case int32([Int32])
        case int64([Int64])
        case bool([Bool])
    }

    public let shape: [Int]
    public let elements: Elements

    /// A tensor of the elements, as many as the shape says.
    public init(shape: [Int], elements: Elements) {
        precondition(elements.count == shape.reduce(1, *), "\(elements.count) elements do not fill \(shape)")
        self.shape = shape
        self.elements = elements
    }

    public init(_ floats: [Float], shape: [Int]) { self.init(shape: shape, elements: .float32(floats)) }

    public init(_ integers: [Int32], shape: [Int]) { self.init(shape: shape, elements: .int32(integers)) }

    /// Zeros of a type.
    public init(zeros shape: [Int], type: ElementType = .float32) {
        self.init(shape: shape, elements: Elements(zeros: shape.reduce(1, *), type: type))
    }

    public var type: ElementType { elements.type }

    /// Elements in all.
    public var count: Int { elements.count }

    /// The elements as float32, converted where they are of another type.
    public var floats: [Float] {
        switch elements {
        case .float32(let values): return values
        case .float16(let values): return values.map(HalfPrecision.float)
        case .float64(let values): return values.map(Float.init)
        case .int8(let values): return values.map(Float.init)
        case .int32(let values): return values.map(Float.init)
        case .int64(let values): return values.map(Float.init)
        case .bool(let values): return values.map { $0 ? 1 : 0 }
        }
    }

    /// The positions `range` along an axis.
    public func cut(_ range: Range<Int>, along axis: Int) -> Tensor {
        if range == 0..<shape[axis] { return self }
        let inner = shape[(axis + 1)...].reduce(1, *)
        let outer = shape[..<axis].reduce(1, *)
        let stride = shape[axis] * inner
        let runs = (0..<outer).map { $0 * stride + range.lowerBound * inner..<$0 * stride + range.upperBound * inner }
        var cutShape = shape
        cutShape[axis] = range.count
        return Tensor(shape: cutShape, elements: elements.gathered(runs))
    }

    /// One tensor behind another along an axis, on which alone their shapes may differ. At least one is needed.
    public static func joined(_ tensors: [Tensor], along axis: Int) -> Tensor {
        guard tensors.count != 1 else { return tensors[0] }
        let outer = tensors[0].shape[..<axis].reduce(1, *)
        var runs: [Range<Int>] = []
        for row in 0..<outer {
            var start = 0
            for tensor in tensors {
                let length = tensor.count / max(outer, 1)
                runs.append(start + row * length..<start + (row + 1) * length)
                start += tensor.count
            }
        }
        var shape = tensors[0].shape
        shape[axis] = tensors.reduce(0) { $0 + $1.shape[axis] }
        return Tensor(shape: shape, elements: Elements.appended(tensors.map(\.elements)).gathered(runs))
    }

    /// The same, filled up with zeros at the end of the axes.
    public func padded(to size: Int, along axes: [Int]) -> Tensor {
        axes.reduce(self) { tensor, axis in
            guard tensor.shape[axis] < size else { return tensor }
            var rest = tensor.shape
            rest[axis] = size - tensor.shape[axis]
            return .joined([tensor, Tensor(zeros: rest, type: type)], along: axis)
        }
    }

    /// The same elements in another shape.
    public func reshaped(_ shape: [Int]) -> Tensor { Tensor(shape: shape, elements: elements) }

    /// The same numbers as another type; fractions of what becomes an integer are cut off.
    public func converted(to type: ElementType) -> Tensor {
        guard type != self.type else { return self }
        let converted: Elements
        switch type {
        case .float32: converted = .float32(floats)
        case .float16: converted = .float16(floats.map(HalfPrecision.bits))
        case .float64: converted = .float64(floats.map(Double.init))
        case .int8: converted = .int8(floats.map { Int8($0) })
        case .int32: converted = .int32(floats.map { Int32($0) })
        case .int64: converted = .int64(floats.map { Int64($0) })
        case .bool: converted = .bool(floats.map { $0 != 0 })
        }
        return Tensor(shape: shape, elements: converted)
    }
}

extension Tensor.Elements {
    init(zeros count: Int, type: ElementType) {
        switch type {
        case .float16: self = .float16(Array(repeating: 0, count: count))
        case .float32: self = .float32(Array(repeating: 0, count: count))
        case .float64: self = .float64(Array(repeating: 0, count: count))
        case .int8: self = .int8(Array(repeating: 0, count: count))
        case .int32: self = .int32(Array(repeating: 0, count: count))
        case .int64: self = .int64(Array(repeating: 0, count: count))
        case .bool: self = .bool(Array(repeating: false, count: count))
        }
    }

    var type: ElementType {
        switch self {
        case .float16: return .float16
        case .float32: return .float32
        case .float64: return .float64
        case .int8: return .int8
        case .int32: return .int32
        case .int64: return .int64
        case .bool: return .bool
        }
    }

    var count: Int {
        switch self {
        case .float16(let values): return values.count
        case .float32(let values): return values.count
        case .float64(let values): return values.count
        case .int8(let values): return values.count
        case .int32(let values): return values.count
        case .int64(let values): return values.count
        case .bool(let values): return values.count
        }
    }

    /// Those of some runs, one behind another.
    func gathered(_ runs: [Range<Int>]) -> Self {
        func gather<Element>(_ values: [Element]) -> [Element] {
            var gathered: [Element] = []
            gathered.reserveCapacity(runs.reduce(0) { $0 + $1.count })
            for run in runs { gathered.append(contentsOf: values[run]) }
            return gathered
        }
        switch self {
        case .float16(let values): return .float16(gather(values))
        case .float32(let values): return .float32(gather(values))
        case .float64(let values): return .float64(gather(values))
        case .int8(let values): return .int8(gather(values))
        case .int32(let values): return .int32(gather(values))
        case .int64(let values): return .int64(gather(values))
        case .bool(let values): return .bool(gather(values))
        }
    }

    /// Elements of one type, one behind another.
    static func appended(_ parts: [Self]) -> Self {
        func append<Element>(_ values: (Self) -> [Element]?) -> [Element] { parts.flatMap { values($0)! } }
        switch parts[0] {
        case .float16: return .float16(append { if case .float16(let values) = $0 { values } else { nil } })
        case .float32: return .float32(append { if case .float32(let values) = $0 { values } else { nil } })
        case .float64: return .float64(append { if case .float64(let values) = $0 { values } else { nil } })
        case .int8: return .int8(append { if case .int8(let values) = $0 { values } else { nil } })
        case .int32: return .int32(append { if case .int32(let values) = $0 { values } else { nil } })
        case .int64: return .int64(append { if case .int64(let values) = $0 { values } else { nil } })
        case .bool: return .bool(append { if case .bool(let values) = $0 { values } else { nil } })
        }
    }

    /// Calls a body with the memory of the elements.
    package func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        switch self {
        case .float16(let values): return try values.withUnsafeBytes(body)
        case .float32(let values): return try values.withUnsafeBytes(body)
        case .float64(let values): return try values.withUnsafeBytes(body)
        case .int8(let values): return try values.withUnsafeBytes(body)
        case .int32(let values): return try values.withUnsafeBytes(body)
        case .int64(let values): return try values.withUnsafeBytes(body)
        case .bool(let values): return try values.withUnsafeBytes(body)
        }
    }

    /// The elements of a type that lie, little-endian and aligned as they may be, in memory.
    package init(copying bytes: UnsafeRawBufferPointer, count: Int, type: ElementType) {
        func copy<Element>(_ zero: Element) -> [Element] {
            Array(unsafeUninitializedCapacity: count) { buffer, filled in
                let size = count * MemoryLayout<Element>.stride
                if size > 0 {
                    UnsafeMutableRawPointer(buffer.baseAddress!).copyMemory(from: bytes.baseAddress!, byteCount: size)
                }
                filled = count
            }
        }
        switch type {
        case .float16: self = .float16(copy(0))
        case .float32: self = .float32(copy(0))
        case .float64: self = .float64(copy(0))
        case .int8: self = .int8(copy(0))
        case .int32: self = .int32(copy(0))
        case .int64: self = .int64(copy(0))
        case .bool: self = .bool(copy(UInt8(0)).map { $0 != 0 })
        }
    }
}

/// IEEE's half precision as bits, for processors whose Swift lacks the type.
package enum HalfPrecision {
    /// The number that bits stand for. Exact.
    package static func float(_ bits: UInt16) -> Float {
        let sign = UInt32(bits & 0x8000) << 16
        let exponent = UInt32(bits >> 10) & 0x1F
        let fraction = UInt32(bits & 0x3FF)
        switch exponent {
        case 0:  // a denormal number of half precision is a normal one of single
            let magnitude = Float(fraction) * Float(sign: .plus, exponent: -24, significand: 1)
            return sign == 0 ? magnitude : -magnitude
        case 0x1F: return Float(bitPattern: sign | 0x7F80_0000 | fraction << 13)
        default: return Float(bitPattern: sign | (exponent + 112) << 23 | fraction << 13)
        }
    }

    /// The bits of the nearest number, ties to even; infinity beyond the largest.
    package static func bits(_ value: Float) -> UInt16 {
        let pattern = value.bitPattern
        let sign = UInt16(pattern >> 16 & 0x8000)
        let magnitude = abs(value)
        if value.isNaN { return sign | 0x7E00 }
        if magnitude >= 65520 { return sign | 0x7C00 }
        if magnitude < Float(sign: .plus, exponent: -14, significand: 1) {
            let steps = (magnitude * Float(sign: .plus, exponent: 24, significand: 1)).rounded(.toNearestOrEven)
            return sign | UInt16(steps)
        }
        // Adds half a step, less one bit where the last kept bit is even; what overflows goes into the exponent.
        let rounded = (pattern & 0x7FFF_FFFF) + 0xFFF + (pattern >> 13 & 1)
        return sign | UInt16((rounded >> 13) - (112 << 10))
    }
}
