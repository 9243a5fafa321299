#if canImport(CoreML)
    import CoreML
    import Foundation
    import VoxportRuntime

    /// Core ML's arrays have gaps where it likes: they are read and written by their strides, and in their own type, which
    /// may be another one than was asked for.
    extension MLMultiArray {
        /// An array of a tensor's numbers.
        static func copied(_ tensor: Tensor) throws -> MLMultiArray {
            let array = try MLMultiArray(
                shape: tensor.shape.map { NSNumber(value: $0) }, dataType: dataType(of: tensor.type))
            try array.fill(with: tensor)
            return array
        }

        /// Writes a tensor of the array's shape and type.
        func fill(with tensor: Tensor) throws {
            try withUnsafeMutableBytes { bytes, strides in
                switch tensor.elements {
                case .float32(let values): scatter(values, into: bytes, strides)
                case .float16(let values): scatter(values, into: bytes, strides)
                case .float64(let values): scatter(values, into: bytes, strides)
                case .int32(let values): scatter(values, into: bytes, strides)
                default: throw VoxportError.input("Core ML has no arrays of \(tensor.type.rawValue)")
                }
            }
        }

        /// The array's numbers, one behind another.
        func tensor() throws -> Tensor {
            let sizes = shape.map(\.intValue)
            let type = dataType
            return try withUnsafeBytes { bytes in
                switch type {
                case .float32: return Tensor(shape: sizes, elements: .float32(gather(bytes)))
                case .float16: return Tensor(shape: sizes, elements: .float16(gather(bytes)))
                case .double: return Tensor(shape: sizes, elements: .float64(gather(bytes)))
                case .int32: return Tensor(shape: sizes, elements: .int32(gather(bytes)))
                default: throw VoxportError.artefact("Core ML gives an array of a type that is not known here")
                }
            }
        }

        /// The type of Core ML's for one of ours.
        static func dataType(of type: ElementType) throws -> MLMultiArrayDataType {
            switch type {
            case .float32: return .float32
            case .float16: return .float16
            case .float64: return .double
            case .int32: return .int32
            default: throw VoxportError.input("Core ML has no arrays of \(type.rawValue)")
            }
        }

        private func scatter<Element>(_ values: [Element], into bytes: UnsafeMutableRawBufferPointer, _ strides: [Int])
        {
            let target = bytes.bindMemory(to: Element.self)
            var next = 0
            Self.visit(shape.map(\.intValue), strides) { offset in
                target[offset] = values[next]
                next += 1
            }
        }

        private func gather<Element>(_ bytes: UnsafeRawBufferPointer) -> [Element] {
            let source = bytes.bindMemory(to: Element.self)
            var values: [Element] = []
            values.reserveCapacity(count)
            Self.visit(shape.map(\.intValue), strides.map(\.intValue)) { values.append(source[$0]) }
            return values
        }

        /// Calls a body with the place of every element, the last index running fastest.
        private static func visit(_ shape: [Int], _ strides: [Int], _ body: (Int) -> Void) {
            guard let inner = shape.last, !shape.contains(0) else { return }
            var index = [Int](repeating: 0, count: shape.count - 1)
            while true {
                var start = 0
                for axis in index.indices { start += index[axis] * strides[axis] }
                for position in 0..<inner { body(start + position * strides[shape.count - 1]) }
                var axis = index.count - 1
                while axis >= 0 {
                    index[axis] += 1
                    if index[axis] < shape[axis] { break }
                    index[axis] = 0
                    axis -= 1
                }
                if axis < 0 { return }
            }
        }
    }
#endif
