import Foundation

/// The arrays of a file of `numpy.savez`: a zip archive without compression.
public struct NPZ: Sendable {
    /// One array: numpy's description of its type, such as `<f4`, its shape, and its bytes.
    public struct Array: Equatable, Sendable {
        public let descr: String
        public let shape: [Int]
        public let bytes: Data
        /// Whether the first index runs fastest, as numpy writes what was transposed.
        public let isFortran: Bool

        /// The array as numbers; nil where it holds anything else.
        public var tensor: Tensor? {
            guard let type = Self.types[descr] else { return nil }
            let count = shape.reduce(1, *)
            let elements = bytes.withUnsafeBytes { Tensor.Elements(copying: $0, count: count, type: type) }
            return Tensor(shape: shape, elements: isFortran ? elements.gathered(runsInC) : elements)
        }

        /// Where the elements lie, in the order of the last index running fastest.
        private var runsInC: [Range<Int>] {
            var places = [0]
            var stride = 1
            for size in shape {
                places = places.flatMap { place in (0..<size).map { place + $0 * stride } }
                stride *= size
            }
            return places.map { $0..<$0 + 1 }
        }

        /// The text of an array of one string; nil where it holds anything else.
        public var text: String? {
            guard descr.hasPrefix("<U"), shape.isEmpty else { return nil }
            let scalars = stride(from: bytes.startIndex, to: bytes.endIndex, by: 4).compactMap { at in
                Unicode.Scalar((0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[at + $1]) << (8 * $1) })
            }
            return String(String.UnicodeScalarView(scalars.filter { $0.value != 0 }))
        }

        static let types: [String: ElementType] = [
            "<f2": .float16, "<f4": .float32, "<f8": .float64, "|i1": .int8, "<i4": .int32, "<i8": .int64,
            "|b1": .bool,
        ]
    }

    /// The arrays by name.
    public let arrays: [String: Array]

    /// Reads a file whole. Throws ``VoxportError/bundle(_:)`` for one that is no such archive, or damaged.
    public init(contentsOf url: URL) throws {
        let name = url.lastPathComponent
        guard let data = try? Data(contentsOf: url, options: .mappedIfSafe) else {
            throw VoxportError.bundle("\(name) cannot be read: it is missing, or no file")
        }
        do {
            arrays = try Archive(data).entries().mapValues(Self.array)
        } catch let damage as Damage {
            throw VoxportError.bundle("\(name) is damaged: \(damage.reason)")
        }
    }

    public subscript(name: String) -> Array? { arrays[name] }

    /// The array of a name as numbers. Throws where there is none.
    public func tensor(_ name: String) throws -> Tensor {
        guard let tensor = arrays[name]?.tensor else { throw VoxportError.bundle("there is no array \(name)") }
        return tensor
    }

    private static func array(_ file: Data) throws -> Array {
        // Magic, version, length of the header in 2 bytes or, from version 2 on, in 4; then Python's text of a dict.
        let bytes = Bytes(file)
        guard try bytes.number(0, 4) == 0x4D55_4E93, try bytes.number(4, 2) == 0x5950 else {
            throw Damage("an entry is no array")
        }
        let isShort = try bytes.number(6, 1) == 1
        let start = isShort ? 10 : 12
        let end = try start + bytes.number(8, isShort ? 2 : 4)
        let header = String(decoding: try bytes.slice(start, end), as: UTF8.self)
        guard let descr = between(header, "'descr': '", "'"), let sizes = between(header, "'shape': (", ")") else {
            throw Damage("an array has no type or no shape")
        }
        let shape = sizes.split(separator: ",").compactMap { Int($0.trimmingCharacters(in: .whitespaces)) }
        let size = try bytesPerElement(descr) * shape.reduce(1, *)
        return Array(
            descr: String(descr), shape: shape, bytes: try bytes.slice(end, end + size),
            isFortran: header.contains("'fortran_order': True"))
    }

    private static func bytesPerElement(_ descr: Substring) throws -> Int {
        guard let size = Int(descr.dropFirst(2)), !descr.hasPrefix(">") else {
            throw Damage("an array of \(descr) is none of plain numbers")
        }
        return descr.dropFirst().first == "U" ? 4 * size : size
    }

    private static func between(_ text: String, _ before: String, _ after: String) -> Substring? {
        guard let start = text.range(of: before)?.upperBound,
            let end = text.range(of: after, range: start..<text.endIndex)?.lowerBound
        else { return nil }
        return text[start..<end]
    }
}

private struct Damage: Error {
    let reason: String
    init(_ reason: String) { self.reason = reason }
}

/// Bytes that are asked for by position, within bounds.
private struct Bytes {
    let data: Data
    init(_ data: Data) { self.data = data }

    func number(_ at: Int, _ width: Int) throws -> Int {
        try slice(at, at + width).reversed().reduce(0) { $0 << 8 | Int($1) }
    }

    func slice(_ start: Int, _ end: Int) throws -> Data {
        guard start >= 0, start <= end, end <= data.count else { throw Damage("it ends before its contents do") }
        return data[data.startIndex + start..<data.startIndex + end]
    }
}

/// A zip archive whose entries are stored as they are.
private struct Archive {
    private let bytes: Bytes

    init(_ data: Data) { bytes = Bytes(data) }

    /// The entries by name, without `.npy`.
    func entries() throws -> [String: Data] {
        var at = try directory()
        var entries: [String: Data] = [:]
        for _ in 0..<(try count()) {
            guard try bytes.number(at, 4) == 0x0201_4B50 else { throw Damage("its directory is broken") }
            guard try bytes.number(at + 10, 2) == 0 else {
                throw Damage("its arrays are compressed (numpy.savez does not)")
            }
            let names = try bytes.number(at + 28, 2)
            let extra = try bytes.number(at + 30, 2)
            let comment = try bytes.number(at + 32, 2)
            let local = try bytes.number(at + 42, 4)
            let size = try bytes.number(at + 24, 4)
            let name = String(decoding: try bytes.slice(at + 46, at + 46 + names), as: UTF8.self)
            guard name.hasSuffix(".npy") else { throw Damage("\(name) is no array") }
            // numpy writes sizes of 8 bytes into the extra field of the local header, of any length then.
            let start = try local + 30 + bytes.number(local + 26, 2) + bytes.number(local + 28, 2)
            guard size != 0xFFFF_FFFF, local != 0xFFFF_FFFF else { throw Damage("it is larger than 4 GB") }
            entries[String(name.dropLast(4))] = try bytes.slice(start, start + size)
            at += 46 + names + extra + comment
        }
        return entries
    }

    /// Where the record at the end lies: 22 bytes, and a comment that numpy does not write.
    private func end() throws -> Int {
        let at = bytes.data.count - 22
        guard at >= 0, try bytes.number(at, 4) == 0x0605_4B50 else { throw Damage("it is no zip archive") }
        return at
    }

    private func count() throws -> Int { try bytes.number(end() + 10, 2) }

    private func directory() throws -> Int { try bytes.number(end() + 16, 4) }
}
