/// The positions of one input that calls still need, in memory that grows only when a push does not fit.
///
/// Before position 0 and after the end are zeros.
struct FrameQueue {
    let port: StreamPort
    private let spec: TensorSpec
    private let rows: Int
    private let inner: Int
    /// (rows, positions, inner); those from `head` to `tail` are in use, the last of them being `end` - 1.
    private var buffer: [Float]
    private var capacity: Int
    private var head = 0
    private var tail = 0

    /// Positions appended in all.
    private(set) var end = 0

    /// Throws ``VoxportError/artefact(_:)`` for an input that is no float32.
    init(_ spec: TensorSpec, _ port: StreamPort) throws {
        guard spec.dtype == .float32, spec.shape.indices.contains(port.axis) else {
            throw VoxportError.artefact("\(spec) cannot be streamed along axis \(port.axis)")
        }
        self.spec = spec
        self.port = port
        rows = spec.defaultShape[..<port.axis].reduce(1, *)
        inner = spec.defaultShape[(port.axis + 1)...].reduce(1, *)
        capacity = 4 * port.length + 64
        buffer = Array(repeating: 0, count: rows * capacity * inner)
    }

    /// Starts anew, in the same memory.
    mutating func clear() {
        head = 0
        tail = 0
        end = 0
    }

    /// Throws ``VoxportError/stream(_:)`` unless a tensor continues this input.
    func check(_ tensor: Tensor) throws {
        let shape = spec.defaultShape
        let fits =
            tensor.shape.count == shape.count
            && shape.indices.allSatisfy { $0 == port.axis || shape[$0] == tensor.shape[$0] }
        guard fits else {
            throw VoxportError.stream("input \(spec.name) has shape \(tensor.shape), wants \(spec) of any length")
        }
        guard tensor.shape[port.axis].isMultiple(of: port.rate) else {
            throw VoxportError.stream(
                "input \(spec.name) takes whole frames of \(port.rate), got \(tensor.shape[port.axis]) positions")
        }
    }

    mutating func append(_ tensor: Tensor) {
        let count = tensor.shape[port.axis]
        let used = tail - head
        if tail + count > capacity { makeRoom(for: used + count) }
        let values = tensor.floats
        for row in 0..<rows {
            let target = (row * capacity + tail) * inner
            buffer.replaceSubrange(
                target..<target + count * inner, with: values[row * count * inner..<(row + 1) * count * inner])
        }
        tail += count
        end += count
    }

    private mutating func makeRoom(for needed: Int) {
        let larger = needed > capacity ? 2 * needed : capacity
        let used = tail - head
        var moved = larger == capacity ? buffer : [Float](repeating: 0, count: rows * larger * inner)
        for row in 0..<rows {
            let source = (row * capacity + head) * inner
            for offset in 0..<used * inner { moved[row * larger * inner + offset] = buffer[source + offset] }
        }
        buffer = moved
        capacity = larger
        head = 0
        tail = used
    }

    /// What a call gets whose chunk starts at a position.
    func interval(_ start: Int) -> Tensor {
        let lo = start + port.lo
        let hi = start + port.hi
        let known = end - (tail - head)  // the first position that is still here
        let first = max(lo, known)
        let last = min(hi, end)
        var block = [Float](repeating: 0, count: rows * port.length * inner)
        if first < last {
            for row in 0..<rows {
                let source = (row * capacity + head + first - known) * inner
                let target = (row * port.length + first - lo) * inner
                for offset in 0..<(last - first) * inner { block[target + offset] = buffer[source + offset] }
            }
        }
        var shape = spec.defaultShape
        shape[port.axis] = port.length
        return Tensor(block, shape: shape)
    }

    /// Drops the positions before one.
    mutating func forget(before position: Int) {
        let known = end - (tail - head)
        head = min(head + max(position - known, 0), tail)
    }
}
