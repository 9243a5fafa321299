import Foundation

extension NPZ {
    /// Writes tensors as `numpy.savez` does: an archive of stored arrays, whole or not at all.
    public static func write(_ tensors: [String: Tensor], to url: URL) throws {
        var archive = Data()
        var directory = Data()
        for (name, tensor) in tensors.sorted(by: { $0.key < $1.key }) {
            let array = file(of: tensor)
            // Version, flags, method, time and date (the first there is), checksum, sizes, length of the name, no more.
            var shared = Data()
            for (number, width) in [(20, 2), (0, 2), (0, 2), (0, 2), (33, 2)] { shared.append(number, width) }
            shared.append(Int(checksum(array)), 4)
            shared.append(array.count, 4)
            shared.append(array.count, 4)
            let fileName = Data("\(name).npy".utf8)
            shared.append(fileName.count, 2)
            shared.append(0, 2)
            directory.append(0x0201_4B50, 4)
            directory.append(20, 2)
            directory.append(shared)
            for (number, width) in [(0, 2), (0, 2), (0, 2), (0, 4), (archive.count, 4)] {
                directory.append(number, width)
            }
            directory.append(fileName)
            archive.append(0x0403_4B50, 4)
            archive.append(shared)
            archive.append(fileName)
            archive.append(array)
        }
        let start = archive.count
        archive.append(directory)
        for (number, width) in [
            (0x0605_4B50, 4), (0, 2), (0, 2), (tensors.count, 2), (tensors.count, 2), (directory.count, 4), (start, 4),
            (0, 2),
        ] {
            archive.append(number, width)
        }
        guard archive.count < 1 << 32 else { throw VoxportError.bundle("\(url.path) would be larger than 4 GB") }
        do {
            try archive.write(to: url, options: .atomic)
        } catch {
            throw VoxportError.bundle("\(url.path) could not be written: \(error.localizedDescription)")
        }
    }

    private static func file(of tensor: Tensor) -> Data {
        let sizes = tensor.shape.map(String.init).joined(separator: ", ") + (tensor.shape.count == 1 ? "," : "")
        let descr = Array.types.first { $0.value == tensor.type }!.key
        var header = "{'descr': '\(descr)', 'fortran_order': False, 'shape': (\(sizes)), }"
        // numpy ends its header so that the numbers are aligned to 64 bytes.
        header += String(repeating: " ", count: 63 - (10 + header.utf8.count) % 64) + "\n"
        var data = Data([0x93] + "NUMPY".utf8 + [1, 0])
        data.append(header.utf8.count, 2)
        data.append(Data(header.utf8))
        tensor.elements.withUnsafeBytes { data.append(contentsOf: $0) }
        return data
    }

    /// The CRC-32 of the zip format.
    private static func checksum(_ data: Data) -> UInt32 {
        ~data.reduce(~UInt32(0)) { $0 >> 8 ^ table[Int(($0 ^ UInt32($1)) & 0xFF)] }
    }

    private static let table: [UInt32] = (0..<256).map { byte in
        (0..<8).reduce(UInt32(byte)) { value, _ in value & 1 == 1 ? value >> 1 ^ 0xEDB8_8320 : value >> 1 }
    }
}

extension Data {
    /// Appends a number, its lowest byte first.
    fileprivate mutating func append(_ number: Int, _ width: Int) {
        for byte in 0..<width { append(UInt8(number >> (8 * byte) & 0xFF)) }
    }
}
